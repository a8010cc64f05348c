"""What the comparison widget does: one picture, several models, where they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.errors import ConfigError
from workbench.inference.opinion import Opinions, same_classes
from workbench.inference.results import Failure, Result
from workbench.widgets.activity import Activity
from workbench.widgets.quarantine import Quarantine
from workbench.widgets.trial import Photo, answer

if TYPE_CHECKING:
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
        self.hub, self.place, self.top_k = hub, Quarantine(hub), top_k
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
        self.begin_anew()
        self.photo, self.outcomes = Photo.of(upload), {}
        self.attempt(self.ask, upload.name, begins=False)

    def ask(self) -> None:
        """Ask every model that has not said anything yet, each in a job of its own."""
        if not self.models:
            raise ConfigError("models", (), "at least one")
        for name in self.models:
            if self.photo is not None and name not in self.outcomes:
                self._ask(name, self.photo)

    def _ask(self, name: str, photo: Photo) -> None:
        def work(job: Job) -> Result | Failure:
            model = self.hub.handle(name)
            return answer(self.place.runner(model), photo, model, top_k=self.top_k,
                          stop=job.stop)  # fmt: skip

        def done(outcome: Result | Failure) -> None:
            if photo is not self.photo or name not in self.models:
                return
            self.outcomes[name] = outcome
            if isinstance(outcome, Failure):
                self.problems.add(outcome.error, f"{photo.name}: {name}")

        self.worker.submit(f"{photo.name}: {name}", work, done=done, key=name)

    def close(self) -> None:
        """Stop for good; the process of strangers' models ends."""
        super().close()
        self.place.close()

    @property
    def results(self) -> list[Result | Failure]:
        """What the models said, in the order of the models."""
        return [self.outcomes[name] for name in self.models if name in self.outcomes]

    def opinions(self) -> Opinions:
        """Return what was said so far, with agreement and disagreement marked."""
        asked = [name for name in self.models if name in self.outcomes]
        answered = {n: r for n, r in self.outcomes.items() if isinstance(r, Result)}
        return Opinions(
            self.results,
            models=asked,
            wall_s=sum(r.timings.total_s for r in answered.values()),
            same_classes=same_classes(self.hub.handle(name).labels for name in answered),
        )
