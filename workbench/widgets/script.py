"""What was done in a widget as a cell of code that does it again in a fresh kernel.

What such a cell needs besides the notebook's own folder is named in it: the hub's shelf, models
that were given a name by hand, pictures that came without a file. What it cannot have is told in
a comment, and never replaced by something else.
"""

from __future__ import annotations

import hashlib
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cards import plain
from workbench.errors import WorkbenchError
from workbench.inference.results import Failure
from workbench.inference.source import is_address
from workbench.models import store
from workbench.models.session import Options
from workbench.preprocessing.images import read_bytes, read_image
from workbench.preprocessing.pipeline import Pipeline
from workbench.settings import Settings
from workbench.widgets import quarantine
from workbench.widgets.disk import safe_name, write

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.widgets.history import Run
    from workbench.widgets.trial import Photo

#: What stands where a value cannot be written: every call refuses it, in words.
_OPEN = "..."


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of code, and why it is not the whole truth; empty where it is."""

    code: str
    doubt: str = ""


class Script:
    """Writes the cell of a sitting, or of one recipe that was turned.

    Parameters
    ----------
    hub : where the models come from
    """

    def __init__(self, hub: ModelHub) -> None:
        self._hub = hub
        self._dropped: set[str] = set()

    def add_model(self, name: str) -> None:
        """Remember a model that was dropped: its file goes with the sitting, and is copied."""
        self._dropped.add(name)

    def cell(self, runs: Sequence[Run], folder: Path) -> str:
        """Return the code of a sitting; what it needs from disk is written below ``folder``."""
        names = dict.fromkeys(r.model for r in runs if not isinstance(r.outcome, Failure))
        models = {name: self._named(name, folder) for name in names}
        recipes: dict[str, Passage] = {}  # name → code, in the order of first use
        calls: dict[str, None] = {}
        for run in runs:
            calls[_commented(run, folder, models, recipes)] = None
        pipelines = [
            line
            for name, made in recipes.items()
            for line in (*_comment(made.doubt), f"{name} = {made.code}")
        ]
        lines = [
            *self._beginning(models.values()),
            self._runner_line(names),
            *pipelines,
            "results = [",
            *calls,
            "]",
            "results[-1] if results else hub",
        ]
        return "\n".join(lines)

    def single(
        self, model: Model, photo: Photo, pipeline: Pipeline, top_k: int, folder: Path | None
    ) -> str:
        """Return the code of one recipe on one picture.

        ``folder`` : where a picture goes that is in memory alone; None to write nothing
        """
        named, recipe = self._named(model.asked, folder), pipeline_code(pipeline)
        picture = _source(photo, folder)
        options = _literal_options(model.options)
        told = f"hub.load({', '.join([_asked(self._hub, model.asked), *options])})"
        lines = [
            *self._beginning([named]),
            f"model = {told}",
            *_comment(recipe.doubt),
            f"pipeline = {recipe.code}",
            *_comment(picture.doubt),
            f"picture = {picture.code}",
            self._runner_line([model.asked]),
            f"runner.classify(picture, model=model, preprocessing=pipeline, top_k={top_k})",
        ]
        return "\n".join(lines)

    def _beginning(self, models: Iterable[Passage]) -> list[str]:
        lines = ["import workbench as wb", "", self._hub_line()]
        for model in models:
            mark = "# " if model.doubt else ""  # what could not run ends no cell
            lines += [*_comment(model.doubt), *(mark + line for line in model.code.splitlines())]
        return lines

    def _runner_line(self, names: Iterable[str]) -> str:
        """Return what asks the models; in a process of its own where one is a stranger's."""
        for name in names:
            try:
                if quarantine.is_known(self._hub.handle(name)):
                    continue
            except WorkbenchError:  # its file is gone, and the cell says so
                continue
            return "runner = wb.Runner(hub, isolated=True)  # a stranger's model may crash"
        return "runner = wb.Runner(hub)"

    def _hub_line(self) -> str:
        """Return how a fresh kernel in the same folder gets the same shelves."""
        given, shelves = Settings(), self._hub.shelves
        if shelves == store.shelves(given.model_dir, given.data_dir):
            return "hub = wb.ModelHub()"
        return f"hub = wb.ModelHub(model_dir={str(shelves[0].models.absolute())!r})"

    def _named(self, name: str, folder: Path | None) -> Passage:
        """Return what gives a model its name; nothing for one that a shelf or a path has."""
        known = self._hub.named(name)
        if known is None:
            return Passage("")
        path, metadata = known
        doubt = ""
        if not path.is_file():
            doubt = f"the file of {plain(name)} is gone"
        elif name in self._dropped and folder is not None:
            content = path.read_bytes()
            mark = hashlib.sha256(content).hexdigest()[:8]
            path = write(folder / safe_name(f"{name}.onnx", mark), content)
        told = [f"{name!r},", f"path={path.as_posix()!r},"]
        if metadata is not None:
            written = _literal(dict(metadata), 72)
            if not _says(written, dict(metadata)):
                doubt = f"the description of {plain(name)} cannot be written as code"
                written = _OPEN
            told.append(f"metadata={written},")
        parts = [f"    {part}" for line in told for part in line.splitlines()]
        return Passage("\n".join(["hub.preload(", *parts, ")"]), doubt)


def pipeline_code(pipeline: Pipeline) -> Passage:
    """Return the expression that builds a pipeline, a line a step."""
    recipe = pipeline.recipe()
    steps = "".join(f"    {_literal(step)},\n" for step in recipe)
    try:
        if Pipeline.from_recipe(literal_eval(f"[{steps}]")) == pipeline:
            return Passage(f"wb.Pipeline.from_recipe([\n{steps}])")
    except (WorkbenchError, ValueError, SyntaxError):
        pass
    odd = "the recipe has steps of your own, which are not written as code: put your pipeline here"
    return Passage(_OPEN, odd)


def _commented(
    run: Run, folder: Path, models: Mapping[str, Passage], recipes: dict[str, Passage]
) -> str:
    """Return the line of a run; a comment where it gave no answer, or could not give it again."""
    about = plain(run.photo.name)
    if isinstance(run.outcome, Failure):
        return f"    # {about}: {run.outcome.code}"
    picture, doubts = _source(run.photo, folder), [models[run.model].doubt]
    rest = f"model={_path_or_id(run.model, given=bool(models[run.model].code))}"
    if run.pipeline is not None:
        made = pipeline_code(run.pipeline)
        name = next((n for n, known in recipes.items() if known == made), "")
        if not name:
            name = f"pipeline_{len(recipes) + 1}"
            recipes[name] = made
        rest += f", preprocessing={name}"
        doubts.append(made.doubt and f"{name} is not written")
    line = f"runner.classify({picture.code}, {rest}, top_k={run.top_k}),"
    told = "; ".join(filter(None, (picture.doubt, *doubts)))
    return f"    # {about}: {told}: {line}" if told else f"    {line}"


def _comment(doubt: str) -> list[str]:
    return [f"# {doubt}"] if doubt else []


def _asked(hub: ModelHub, name: str) -> str:
    return _path_or_id(name, given=hub.named(name) is not None)


def _path_or_id(name: str, *, given: bool) -> str:
    """Return a model's id, or its path so that it does not depend on the working directory."""
    if given or not store.is_path(name):
        return repr(name)
    return repr(Path(name).expanduser().absolute().as_posix())


def _literal_options(options: Options) -> list[str]:
    """Return the arguments with which a session was opened, but those that are the default."""
    plain_ = Options()
    told = [
        f"{name}={getattr(options, name)!r}"
        for name in ("threads", "spinning", "strict")
        if getattr(options, name) != getattr(plain_, name)
    ]
    if options.providers is not None:
        wanted = [(w.name, dict(w.options)) if w.options else w.name for w in options.providers]
        told.append(f"providers={wanted!r}")
    return told


def _literal(value: object, width: int = 10**6) -> str:
    """Return Python code of a value, on one line where a width allows it."""
    return pformat(value, sort_dicts=False, width=width, compact=True)


def _says(code: str, value: object) -> bool:
    """Say whether code is a literal of that very value."""
    try:
        return bool(literal_eval(code) == value)
    except (ValueError, SyntaxError, TypeError):
        return False


def _source(photo: Photo, folder: Path | None) -> Passage:
    """Return how a cell reads a picture: its own path, or the file that it is written to."""
    about, source = plain(photo.name), photo.source
    if isinstance(source, str) and source[:5].lower() != "data:":
        gone = not is_address(source) and not Path(source).expanduser().is_file()
        return Passage(repr(source), f"{about} is gone" if gone else "")
    if folder is None:
        return Passage(_OPEN, f"{about} came from the browser and is on no disk: put its path here")
    content, name = _encoded(source), photo.name
    if isinstance(source, np.ndarray) or hasattr(source, "getexif"):
        name = "picture.png"
    mark = hashlib.sha256(content).hexdigest()[:8]
    return Passage(repr(write(folder / safe_name(name, mark), content).as_posix()))


def _encoded(source: Any) -> bytes:
    """Return the file of a picture that is in memory: its own, or one that loses nothing."""
    from io import BytesIO

    from PIL import Image, ImageOps

    if isinstance(source, bytes | bytearray | memoryview | str):
        return read_bytes(source)[0]
    sink = BytesIO()
    if hasattr(source, "getexif"):
        try:  # as it is, with its transparency, which a recipe may lay on another ground
            ImageOps.exif_transpose(source).save(sink, "PNG")
            return sink.getvalue()
        except (OSError, ValueError):  # of a kind that no PNG has
            sink = BytesIO()
    Image.fromarray(read_image(source)).save(sink, "PNG")
    return sink.getvalue()
