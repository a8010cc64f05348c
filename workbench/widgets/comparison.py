"""What the comparison widget does: one picture, several models, where they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.cards import Card, Notes, Table
from workbench.errors import ConfigError
from workbench.inference.results import Failure, Result
from workbench.inference.runner import Runner
from workbench.units import seconds, share
from workbench.widgets.activity import Activity
from workbench.widgets.sheet import Sheet
from workbench.widgets.trial import Photo, answer

if TYPE_CHECKING:
    import pandas as pd

    from workbench.models.hub import ModelHub
    from workbench.preprocessing.images import ImageSource
    from workbench.widgets.transfer import Upload
    from workbench.widgets.worker import Job

#: Models that are asked unless some are chosen.
FIRST = 4


class Comparison(Activity):
    """Asks several models about one picture, one after another.

    Parameters
    ----------
    hub : where they come from
    image : anything that stands for one picture; None to wait for an upload
    models : ids; None for the first few of the hub

    Attributes
    ----------
    outcomes : what each model said, by its id, in the order asked
    """

    def __init__(
        self,
        hub: ModelHub,
        image: ImageSource | None = None,
        *,
        models: Sequence[str] | None = None,
        top_k: int = 3,
    ) -> None:
        super().__init__()
        self.hub, self.runner, self.top_k = hub, Runner(hub), top_k
        self.models = tuple(hub.ids()[:FIRST] if models is None else models)
        self.photo = None if image is None else Photo.of(image)
        self.outcomes: dict[str, Result | Failure] = {}
        self.ask()

    def choose(self, models: Sequence[str]) -> None:
        """Ask other models; what one has said already stays."""
        self.models = tuple(models)
        self.outcomes = {n: o for n, o in self.outcomes.items() if n in self.models}
        self.attempt(self.ask)

    def take(self, upload: Upload) -> None:
        """Ask about another picture."""
        self.stop()
        self.photo, self.outcomes = Photo.of(upload), {}
        self.attempt(self.ask, upload.name)

    def ask(self) -> None:
        """Ask every model that has not said anything yet, each in a job of its own."""
        if not self.models:
            raise ConfigError("models", (), "at least one")
        for name in self.models:
            if self.photo is not None and name not in self.outcomes:
                self._ask(name, self.photo)

    def _ask(self, name: str, photo: Photo) -> None:
        def work(job: Job) -> Result | Failure:
            return answer(self.runner, photo, self.hub.handle(name), top_k=self.top_k,
                          stop=job.stop)  # fmt: skip

        def done(outcome: Result | Failure) -> None:
            if photo is not self.photo or name not in self.models:
                return
            self.outcomes[name] = outcome
            if isinstance(outcome, Failure):
                self.problems.add(outcome.error, f"{photo.name}: {name}")

        self.worker.submit(f"{photo.name}: {name}", work, done=done, key=name)

    @property
    def results(self) -> list[Result | Failure]:
        """What the models said, in the order of the models."""
        return [self.outcomes[name] for name in self.models if name in self.outcomes]

    @property
    def agreed(self) -> str:
        """The label that most models say; empty where no two agree, or two labels tie."""
        labels = Counter(_plain(r.label) for r in self.results if isinstance(r, Result))
        ranked = labels.most_common(2)
        if not ranked or ranked[0][1] < 2:
            return ""
        return "" if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]

    def mark(self, outcome: Result | Failure) -> str:
        """Say of an answer whether it agrees with the others."""
        if isinstance(outcome, Failure):
            return "failed"
        if not self.agreed:
            return "alone" if len(self.results) > 1 else ""
        return "agrees" if _plain(outcome.label) == self.agreed else "differs"

    def to_frame(self) -> pd.DataFrame:
        """Return a row a model: model, label, probability, agrees, note, total_ms, error."""
        import pandas as pd

        rows = [
            {
                "model": r.model,
                "label": r.label if isinstance(r, Result) else None,
                "probability": r.probability if isinstance(r, Result) else float("nan"),
                "agreement": self.mark(r),
                "note": r.verdict if isinstance(r, Result) else "",
                "total_ms": 1e3 * r.timings.total_s if isinstance(r, Result) else float("nan"),
                "error": r.code if isinstance(r, Failure) else "",
            }
            for r in self.results
        ]
        columns = ["model", "label", "probability", "agreement", "note", "total_ms", "error"]
        return pd.DataFrame(rows, columns=columns)

    def table(self) -> Sheet:
        """Return the answers side by side, with agreement and disagreement marked."""
        marks = {"agrees": "= agrees", "differs": "≠ differs", "alone": "≠ no two agree",
                 "failed": "failed", "": ""}  # fmt: skip
        rows = tuple(
            (r.model, r.label, share(r.probability), marks[self.mark(r)],
             seconds(r.timings["inference"]), seconds(r.timings.total_s), r.verdict)
            if isinstance(r, Result)
            else (r.model, "–", "–", marks["failed"], "–", "–", r.code)
            for r in self.results
        )  # fmt: skip
        columns = ("model", "label", "probability", "agreement", "inference", "in all", "note")
        table = Table(columns, rows, "Answers", ("probability", "inference", "in all"))
        several = len(self.results) > 1
        line = f"Most say {self.agreed}." if self.agreed else "No two agree." if several else ""
        name = self.photo.name if self.photo else "no picture yet"
        return Sheet(
            Card(
                f"{name}: {len(self.results)} of {len(self.models)} models",
                (table, Notes((line,) if line else ())),
            )
        )


def _plain(label: str) -> str:
    return label.strip().lower()
