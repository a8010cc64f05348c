"""What the preprocessing explorer does: turn a recipe, see the strip and the answer change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cards import Bar, BarGrid, Card, Notes, Table
from workbench.errors import ConfigError, WorkbenchError
from workbench.inference.results import Failure, Result
from workbench.models.model import Model
from workbench.settings import audience
from workbench.units import share
from workbench.widgets.activity import Activity
from workbench.widgets.knob import Knobs, turned
from workbench.widgets.quarantine import Quarantine
from workbench.widgets.script import Script
from workbench.widgets.sheet import Sheet
from workbench.widgets.trial import Photo, answer, unreadable

if TYPE_CHECKING:
    from workbench.preprocessing.images import ImageSource
    from workbench.preprocessing.pipeline import Pipeline, Trace
    from workbench.widgets.transfer import Upload
    from workbench.widgets.worker import Job


_OWN = "the model's own"


class Exploration(Activity):
    """One model, one picture, and a recipe that can be turned.

    Parameters
    ----------
    model : whose own recipe it begins with
    image : anything that stands for one picture
    top_k : classes in an answer
    folder : where a picture that is in memory alone goes with the code that is copied

    Attributes
    ----------
    own : the model's own preprocessing
    pipeline : what the knobs say now
    trace : every step of ``pipeline`` on the picture; None before the first
    outcome, own_outcome : what the model says to it, and to its own recipe's picture
    """

    def __init__(
        self,
        model: Model,
        image: ImageSource,
        *,
        top_k: int = 5,
        folder: str | Path = "workbench_sitting",
    ) -> None:
        super().__init__()
        if not isinstance(model, Model):
            raise ConfigError("model", model, "a Model: hub.load('cifar10')")
        self.model, self.top_k, self.folder = model, top_k, Path(folder)
        self.place = Quarantine(model.hub)
        self.photo = Photo.of(image)
        self.own: Pipeline = model.preprocessing
        self.pipeline = self.own
        self.trace: Trace | None = None
        self.outcome: Result | Failure | None = None
        self.own_outcome: Result | Failure | None = None
        #: the last picture that could be read, and what the model says of it by its own recipe
        self._read: tuple[Photo, Result | Failure] | None = None
        self.look()

    @property
    def knobs(self) -> Knobs:
        """Where the knobs stand."""
        return Knobs.of(self.pipeline)

    def turn(self, **knobs: Any) -> None:
        """Turn some knobs (see :class:`Knobs`); the others stay."""
        self.attempt(lambda: self.use(turned(self.own, self.knobs.turned(**knobs))))

    def use(self, pipeline: Pipeline) -> None:
        """Look through another pipeline."""
        self.pipeline = pipeline
        self.look()

    def reset(self) -> None:
        """Go back to the model's own recipe."""
        self.attempt(lambda: self.use(self.own))

    def take(self, upload: Upload) -> None:
        """Look at another picture."""
        self.photo, self.own_outcome = Photo.of(upload), None
        self.attempt(self.look, upload.name)

    def look(self) -> None:
        """Trace and ask, in the worker; an earlier look that is not done yet is given up."""
        photo, pipeline, before = self.photo, self.pipeline, self.own_outcome

        def work(job: Job) -> tuple[Trace, Result | Failure, Result | Failure]:
            def ask(steps: Pipeline) -> Result | Failure:
                return answer(self.place.runner(self.model), photo, self.model, pipeline=steps,
                              top_k=self.top_k, stop=job.stop)  # fmt: skip

            try:
                seen = pipeline.trace(photo.source, reader=self.own, where=photo.name)
            except WorkbenchError as error:
                self._put_back(photo, error)
                raise
            own = before or ask(self.own)
            self._read = (photo, own)
            return seen, own if pipeline == self.own else ask(pipeline), own

        self.worker.submit(f"{photo.name}: {self.model.id}", work, done=self._seen, key="look")

    def _put_back(self, photo: Photo, error: WorkbenchError) -> None:
        """Go on with the picture before, where this one cannot be read."""
        if self.photo is photo and self._read is not None and unreadable(error):
            self.photo, self.own_outcome = self._read

    def _seen(self, found: tuple[Trace, Result | Failure, Result | Failure]) -> None:
        self.trace, self.outcome, self.own_outcome = found
        if isinstance(self.outcome, Failure):
            self.problems.add(self.outcome.error, "What the model says to this")
        self.changed()

    def close(self) -> None:
        """Stop for good; the process of a stranger's model ends."""
        super().close()
        self.place.close()

    # ── what there is to see and to copy ──────────────────────────────────────────────────────

    @property
    def delta(self) -> tuple[tuple[str, object, object], ...]:
        """What differs from the model's own recipe: (parameter, own, here)."""
        return self.own.difference(self.pipeline)

    def difference(self) -> Sheet:
        """Return the delta against the model's own recipe, and what it does to the answer."""
        rows = self.own.differs_from(self.pipeline)
        blocks: list[Any] = []
        if rows:
            blocks.append(Table(("what", _OWN, "here"), rows, "What differs"))
        else:
            blocks.append(Notes(("This is the model's own recipe.",)))
        said, before = self.outcome, self.own_outcome
        if rows and isinstance(said, Result) and isinstance(before, Result):
            classes = {p.index: p.label for p in (*before.top, *said.top)}
            grid = tuple(
                (label, tuple(_bar(told, index) for told in (before, said)))
                for index, label in classes.items()
            )
            blocks.append(BarGrid((_OWN, "here"), grid, "What it does to the answer"))
        return Sheet(Card(f"recipe for {self.model.id}", tuple(blocks)))

    def code(self) -> str:
        """Return the recipe, and the answer to it, as a cell: for the author of a notebook.

        A picture that is in memory alone is written below ``folder`` first, under a name with
        its checksum, so that the cell finds it.
        """
        return self._script(self.folder)

    def offered(self) -> str:
        """Return the same for whoever sits before the browser; nobody else's disk is written to."""
        return self._script(None if audience() else self.folder)

    def _script(self, folder: Path | None) -> str:
        script = Script(self.model.hub)
        return script.single(self.model, self.photo, self.pipeline, self.top_k, folder)

    def json(self) -> str:
        """Return the recipe as the field of a metadata file."""
        return json.dumps({"preprocessing": self.pipeline.recipe()}, indent=2)


def _bar(told: Result, index: int) -> Bar | None:
    """Return what an answer gives a class, marked where it is the answer itself."""
    if told.probabilities is None:
        return None
    value = float(told.probabilities[index])
    return Bar("→" if told.top[0].index == index else "", value, share(value))
