"""What a person does in one sitting with :func:`workbench.app`, with no widget in sight."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import (
    BadRequestError,
    ConfigError,
    SwitchedOffError,
    WorkbenchError,
    require_count,
)
from workbench.inference import recipe
from workbench.inference.results import Failure, Result
from workbench.models.hub import ModelHub, default_hub
from workbench.preprocessing import presets
from workbench.settings import audience
from workbench.units import seconds
from workbench.widgets.activity import Activity
from workbench.widgets.delivery import deliver
from workbench.widgets.disk import safe_name, write
from workbench.widgets.history import History, Run
from workbench.widgets.knob import Knobs, turned
from workbench.widgets.newcomer import Newcomer
from workbench.widgets.quarantine import Quarantine
from workbench.widgets.script import Script
from workbench.widgets.transfer import Upload, is_model
from workbench.widgets.trial import Photo, answer, fitted, named, unreadable

if TYPE_CHECKING:
    import pandas as pd

    from workbench.inference.recipe import Recipe
    from workbench.inference.runner import Runner
    from workbench.models.assembly import Pulled
    from workbench.models.model import Model
    from workbench.preprocessing.images import ImageSource
    from workbench.preprocessing.pipeline import Pipeline, Trace
    from workbench.widgets.worker import Job

#: Pictures of one folder that are taken.
MOST_OF_A_FOLDER = 100


class Sitting(Activity):
    """Pictures in, answers out, and everything that was chosen meanwhile.

    Parameters
    ----------
    hub : where models come from; None for the process's hub
    model : the one to begin with; None for the first of the hub
    top_k : classes in an answer
    folder : where files go that a person asks for (kept pages, exports, uploaded pictures)

    Attributes
    ----------
    runs : what was answered, oldest first
    trace : every preprocessing step of the last picture that was answered
    photo : what is asked about again when something else is chosen: the last that could be read
    newcomers : models that were dropped and are not described yet, in the order asked about
    said : the line to say after something was done; empty if nothing was
    audience : who else may sit before the browser; where it is not empty, nothing is read from
        or written to this machine's disk by name
    """

    def __init__(
        self,
        hub: ModelHub | None = None,
        *,
        model: str | None = None,
        top_k: int = 5,
        folder: str | Path = "workbench_sitting",
    ) -> None:
        super().__init__()
        require_count("top_k", top_k)
        if hub is not None and not isinstance(hub, ModelHub):
            raise ConfigError("hub", hub, "a ModelHub, or None for the process's")
        self.hub = default_hub() if hub is None else hub
        self.place = Quarantine(self.hub)
        self.runner = self.place.here
        known = self.hub.ids()
        if model is not None and model not in known:
            self.hub.handle(model)  # raises UnknownModelError, or knows it by its path
        self.model = model or ("cifar10" if "cifar10" in known else (known or ("",))[0])
        self.top_k = top_k
        self.preset: str | None = None
        self.pipeline: Pipeline | None = None
        self.folder = Path(folder)
        self.audience = audience()
        self.runs = History()
        self.trace: Trace | None = None
        self.photo: Photo | None = None
        self._answered_photo: Photo | None = None
        self.newcomers: list[Newcomer] = []
        self.said = ""
        self._loading = ""
        self._script = Script(self.hub)
        self._models: dict[str, Model] = {}
        self._temporary: Path | None = None

    def begin(self) -> None:
        """Note that a person begins something: what was said before leaves the screen."""
        self.said = ""
        super().begin()

    # ── what a person does ────────────────────────────────────────────────────────────────────

    def take(self, upload: Upload) -> None:
        """Take a file from the browser: a picture is classified, a model is looked at.

        Errors stay on the screen: it may be one of several files that came at once.
        """

        def act() -> None:
            if upload.is_model:
                path = self._shelf() / safe_name(upload.name, upload.sha256[:8])
                self._look(write(path, upload.content), upload.name)
            else:
                self._classify(Photo.of(upload))

        self.attempt(act, upload.name, begins=False)

    def open(self, text: str) -> None:
        """Take what was typed: the path of a picture, of a folder of them, or of a model."""
        self.attempt(lambda: self._open(text.strip()), text.strip())

    def add(self, source: ImageSource) -> None:
        """Take a picture from a cell: anything that stands for one."""
        self.attempt(lambda: self._classify(Photo.of(source)))

    def pick(self, model: str) -> None:
        """Choose a model; the last picture is asked again."""
        self.attempt(lambda: self._pick(model), model)

    def choose(
        self,
        *,
        top_k: int | None = None,
        preset: str | None = None,
        pipeline: Recipe | None = None,
    ) -> None:
        """Choose how many classes are shown, or another preprocessing.

        ``preset`` by its name, "" for the model's own; ``pipeline`` as ``preprocessing=`` of
        :meth:`~workbench.Runner.classify`: a Pipeline, a preset's name, or a recipe.
        """
        self.attempt(lambda: self._choose(top_k, preset, pipeline))

    def again(self) -> None:
        """Ask about the last picture once more, with what is chosen now."""
        self.attempt(self._again)

    def turn(self, **knobs: Any) -> None:
        """Turn parameters of the preprocessing (see :class:`Knobs`); the others stay."""

        def act() -> None:
            if (base := self.base) is not None:
                now = Knobs.of(self.pipeline or base)
                self._choose(None, None, turned(base, now.turned(**knobs)))

        self.attempt(act)

    def reset(self) -> None:
        """Go back to the recipe that parameters are turned from."""
        self.attempt(lambda: self._choose(None, self.preset or "", None))

    def look(self) -> None:
        """Read what the chosen model is, without loading it."""
        name = self.model
        if name and name not in self._models:
            self.worker.submit(f"{name}: looking", lambda _: self._handle(name), key="look")

    def warm_up(self) -> None:
        """Load the chosen model and run it until its times settle."""
        self.attempt(lambda: self._warm_up(self.model), self.model)

    def pull(self, name: str) -> None:
        """Fetch a model of the catalogue, choose it, and ask it about the last picture."""
        self.attempt(lambda: self._pull(name), name)

    def adopt(self, model_id: str = "", **answers: Any) -> None:
        """Use the newcomer, described by the answers of :meth:`Newcomer.metadata`."""
        self.attempt(lambda: self._adopt(model_id, answers), model_id)

    def dismiss(self) -> None:
        """Forget the newcomer; the next is asked about."""
        del self.newcomers[:1]
        self.changed()

    def clear(self) -> None:
        """Begin anew: results, pictures and errors go; the models stay."""
        self.begin_anew()
        self.runs = History()
        self.trace = self.photo = self._answered_photo = None
        self.newcomers.clear()
        self.said = ""
        self.problems.clear()
        self.changed()

    def keep(self) -> None:
        """Write the result that is shown as a page that opens anywhere."""
        self.attempt(self._keep)

    def export(self) -> None:
        """Write all results as CSV and as a page."""
        self.attempt(self._export)

    # ── what there is to see ──────────────────────────────────────────────────────────────────

    @property
    def results(self) -> list[Result | Failure]:
        """All answers, oldest first."""
        return self.runs.results

    @property
    def newcomer(self) -> Newcomer | None:
        """The dropped model that is asked about now; None where there is none."""
        return self.newcomers[0] if self.newcomers else None

    @property
    def shown(self) -> Result | None:
        """The last answer that was given; what failed since is among :attr:`results`."""
        return self.runs.last

    def to_frame(self) -> pd.DataFrame:
        """Return a row an answer: source, model, label, probability, flagged, note, *_ms …"""
        return self.runs.together().to_frame()

    def code(self) -> str:
        """Return the sitting as a cell that reproduces it: for the author of a notebook.

        Uploaded pictures and dropped models are written below ``folder`` first, each under a
        name with its checksum, so that the cell finds them.
        """
        return self._script.cell(self.runs, self.folder)

    def offered(self) -> str:
        """Return the same for whoever sits before the browser; nobody else's disk is written to.

        Raises
        ------
        SwitchedOffError : before an audience
        """
        self._private("Writing files")
        return self.code()

    @property
    def state(self) -> str:
        """``cold``, ``loading`` or ``warm``: the chosen model's."""
        return self.state_of(self.model)

    def state_of(self, name: str) -> str:
        """Return ``cold``, ``loading``, ``warm`` or ``missing``; reads no file."""
        if self._loading == name:
            return "loading"
        known = self._models.get(name)
        state = "cold" if known is None else self.place.state(known)
        return "warm" if state == "live" else state

    def states(self) -> dict[str, str]:
        """Return the state of every model to choose from, by name; see :meth:`state_of`."""
        live = {row["id"] for row in self.hub.rows() if row["state"] == "live"}
        return {
            name: "warm" if name not in self._models and name in live else self.state_of(name)
            for name in self.models()
        }

    @property
    def described(self) -> Model | None:
        """The chosen model, once it has been looked at."""
        return self._models.get(self.model)

    @property
    def base(self) -> Pipeline | None:
        """The preprocessing that parameters are turned from: the model's own, or the preset.

        None where the model has not been looked at, or takes no picture.
        """
        model = self.described
        if model is None or model.spec.image is None:
            return None
        return fitted(self.preset, model.preprocessing) or model.preprocessing

    def _shelf(self) -> Path:
        """Return the folder of uploaded models, which goes with the sitting or the process."""
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="workbench-"))
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary

    def models(self) -> tuple[str, ...]:
        """Return the models to choose from."""
        ids = self.hub.ids()
        return ids if self.model in ids or not self.model else (self.model, *ids)

    def close(self) -> None:
        """Stop, and remove the files of uploads that nobody asked to keep."""
        super().close()
        self.wait(5.0)
        self.place.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    # ── how ───────────────────────────────────────────────────────────────────────────────────

    def _private(self, what: str) -> None:
        if self.audience:
            raise SwitchedOffError(what, self.audience, "Upload the file through the drop zone.")

    def _open(self, text: str) -> None:
        self._private("Reading by path or URL")
        if not text:
            raise BadRequestError("The field", text, "the path of a picture, a folder or a model")
        if is_model(text) and "://" not in text:
            path = Path(text).expanduser()
            return self._look(path, path.name)
        for photo in named(text, most=MOST_OF_A_FOLDER):
            self._classify(photo)
        return None

    def _pick(self, model: str) -> None:
        self.model = model
        self.pipeline = None
        if self.photo is None:
            self.look()
        self._again()

    def _choose(self, top_k: int | None, preset: str | None, pipeline: Recipe | None) -> None:
        if top_k is not None:
            require_count("top_k", top_k)
            self.top_k = top_k
        if preset is not None:
            if preset and preset not in presets.NAMES:
                presets.get(preset)  # raises, with the choices
            self.preset = preset or None
            self.pipeline = None
        if pipeline is not None:
            own = self._handle(self.model).preprocessing
            self.pipeline = recipe.read(pipeline, own)
        self._again()

    def _again(self) -> None:
        if self.photo is not None:
            self._classify(self.photo, key="again")

    def _handle(self, name: str) -> Model:
        model = self.hub.handle(name)
        self._models[name] = model
        return model

    def _here(self, photo: Photo, job: Job) -> Photo:
        """Return a picture whose bytes are here: one that is named by its address is fetched."""
        here = photo.here(job.stop)
        if self.photo is photo:
            self.photo = here  # and is not fetched again
        return here

    def _classify(self, asked: Photo, key: str = "") -> None:
        name, top_k, preset, own = self.model, self.top_k, self.preset, self.pipeline
        self.photo, runs = asked, self.runs

        def work(job: Job) -> tuple[Run, Trace | None]:
            model = self._load(name, job)
            pipeline = own or fitted(preset, model.preprocessing)
            try:
                photo = self._here(asked, job)
            except WorkbenchError as error:
                self._put_back(asked, error)
                raise
            outcome = answer(
                self._runner(model), photo, model,
                pipeline=pipeline, top_k=top_k, stop=job.stop, load=False,
            )  # fmt: skip
            trace = None
            if isinstance(outcome, Result):
                reader = model.preprocessing
                trace = (pipeline or reader).trace(photo.source, reader=reader, where=photo.name)
            return Run(photo, name, top_k, pipeline, outcome), trace

        def done(made: tuple[Run, Trace | None]) -> None:
            if self.runs is runs:  # not cleared meanwhile
                self._answered(made)

        self.worker.submit(f"{asked.name}: {name}", work, done=done, key=key, about=asked.name)

    def _answered(self, made: tuple[Run, Trace | None]) -> None:
        run, trace = made
        self.runs.append(run)
        if isinstance(run.outcome, Failure):
            self.problems.add(run.outcome.error, run.photo.name)
            self._put_back(run.photo, run.outcome.error)
        else:
            self.trace, self._answered_photo = trace, run.photo
        self.changed()

    def _put_back(self, photo: Photo, error: WorkbenchError) -> None:
        """Go on with the picture before: what cannot be read is not asked about again."""
        if self.photo is photo and unreadable(error):
            self.photo = self._answered_photo

    def _runner(self, model: Model) -> Runner:
        """Return the runner that serves a model: the one place where that is decided."""
        return self.place.runner(model)

    def _load(self, name: str, job: Job) -> Model:
        """Open the session, if it must be, and have that seen meanwhile."""
        if self.state_of(name) == "warm":
            return self._handle(name)
        self._loading = name
        self.changed()
        try:
            return self.place.load(self._handle(name), job.stop)
        finally:
            self._loading = ""
            self.changed()

    def _warm_up(self, name: str) -> None:
        def work(job: Job) -> object:
            return self.place.warm_up(self._load(name, job), job.stop)

        def done(warm: Any) -> None:
            self.said = f"{name} is steady at {seconds(warm.steady_s)} a run."

        self.worker.submit(f"{name}: warming up", work, done=done, key="warm-up", about=name)

    def _pull(self, name: str) -> None:
        self._private("Pulling models")

        def done(made: Pulled) -> None:
            how = "is here" if made.fetched else "was here already"
            self.said = " ".join((f"{made.id} {how}, and is chosen.", *made.notes))
            self._pick(made.id)

        self.worker.submit(
            f"{name}: pulling",
            lambda job: deliver(self.hub, name, job, self.changed),
            done=done,
            key=f"pull {name}",
            about=name,
        )

    def _look(self, path: Path, name: str) -> None:
        def work(_: Job) -> Newcomer:
            known = (*self.hub.ids(), *(waiting.id for waiting in self.newcomers))
            return Newcomer.look(path, name=name, known=known)

        self.worker.submit(
            f"{name}: looking at the model",
            work,
            done=self.newcomers.append,
            about=name,
        )

    def _adopt(self, model_id: str, answers: Mapping[str, Any]) -> None:
        newcomer = self.newcomer
        if newcomer is None:
            raise BadRequestError("The model", model_id, "one that was dropped and looked at")
        name, metadata = model_id or newcomer.id, newcomer.metadata(**answers)
        if name in self.hub:
            raise ConfigError("The name", name, "one that no other model has")

        def work(job: Job) -> None:
            self._loading = name
            try:
                self._models[name] = self.place.adopt(name, newcomer.path, metadata, job.stop)
            finally:
                self._loading = ""

        def done(_: object) -> None:
            self._script.add_model(name)
            if newcomer in self.newcomers:  # not dismissed meanwhile
                self.newcomers.remove(newcomer)
            self.model, self.pipeline = name, None
            self._again()
            self.changed()

        self.worker.submit(f"{name}: loading", work, done=done, about=name)

    def _keep(self) -> None:
        self._private("Writing a page")
        path, place = self.runs.keep(self.folder)
        index = place - len(self.runs)
        self.said = f"Kept as {path}. In a cell: display(app.results[{index}])"

    def _export(self) -> None:
        self._private("Writing files")
        table, page = self.runs.export(self.folder)
        self.said = f"Written: {table} and {page}"
