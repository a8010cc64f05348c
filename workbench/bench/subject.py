"""What is measured: one configuration of a model, in a session of its own, ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from workbench.bench.shot import Shots, Timed, batches, check_batch, encoded
from workbench.models.session import Options, Session, open_session
from workbench.tasks.classification import activate, resolve_activation, top_k
from workbench.timing import clock
from workbench.units import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.models.model import Model
    from workbench.models.watch import Watch

Clock = Callable[[], float]
#: Parts of an end-to-end run, in their order.
STAGES = ("preprocessing", "inference", "postprocessing")
#: Classes that an end-to-end run asks for.
_TOP_K = 5


class Subject(Protocol):
    """Something that can be run and knows how long that took."""

    @property
    def name(self) -> str:
        """How it is called in displays."""

    def run(self) -> tuple[float, ...]:
        """Run once; return seconds: the whole, then its :data:`STAGES` where they are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One way of running one model.

    Attributes
    ----------
    model : id
    asked : what the hub was asked for: an id, or a path
    options : of its session
    batch : pictures in a run
    timed : what is inside the timed region
    sha256 : of the model's file
    """

    model: str
    asked: str
    options: Options
    batch: int = 1
    timed: Timed = "inference"
    sha256: str = ""

    @property
    def providers_text(self) -> str:
        """The providers that were asked for."""
        wanted = self.options.providers
        return "auto" if wanted is None else " → ".join(map(str, wanted))

    def describe(self, *, apart: tuple[str, ...] = ("batch", "threads", "providers")) -> str:
        """Name it by what tells it from others: ``cifar10, batch 4, 2 threads``."""
        parts = [self.model]
        if "batch" in apart:
            parts.append(f"batch {self.batch}")
        if "threads" in apart and self.options.threads is not None:
            parts.append(count(self.options.threads, "thread"))
        if "providers" in apart and self.options.providers is not None:
            parts.append(self.providers_text)
        return ", ".join(parts)


@dataclass(eq=False, slots=True)
class ModelSubject:
    """A model in a private session, outside every hub's cache.

    Made by :func:`open_subject`; :meth:`close` gives its session back.
    """

    name: str
    model: Model
    configuration: Configuration
    session: Session
    watch: Watch
    clock: Clock = clock
    _feeds: tuple[dict[str, NDArray[Any]], ...] = ()
    _pictures: tuple[bytes, ...] = ()
    _outputs: list[str] | None = None
    _turn: int = field(default=0)

    def run(self) -> tuple[float, ...]:
        """Run once on the next batch; see :class:`Subject`."""
        if self._pictures:
            return self._end_to_end()
        feeds = self._feeds
        self._turn = turn = (self._turn + 1) % len(feeds)
        return (self.session.timed(feeds[turn], self._outputs, self.watch, self.clock)[1],)

    def _end_to_end(self) -> tuple[float, ...]:
        model, batch, pictures = self.model, self.configuration.batch, self._pictures
        self._turn = (self._turn + batch) % len(pictures)
        sources = [pictures[(self._turn + i) % len(pictures)] for i in range(batch)]
        begun = self.clock()
        ready = model.preprocessing.batch(sources)
        prepared = self.clock()
        values, inference_s = self.session.timed(
            {model.image_input: ready}, self._outputs, self.watch, self.clock
        )
        answered = self.clock()
        rows = values[0].reshape(batch, -1)
        applied, _ = resolve_activation(model.spec.activation, rows, model.output_operator)
        for row in activate(rows, applied):
            top_k(row, _TOP_K, model.labels)
        done = self.clock()
        return (done - begun, prepared - begun, inference_s, done - answered)

    def close(self) -> None:
        """Let the session go."""
        self.session.close()


def open_subject(
    model: Model,
    configuration: Configuration,
    shots: Shots,
    *,
    name: str,
    watch: Watch,
    clock: Clock = clock,
) -> ModelSubject:
    """Open a private session for a configuration, and make ready what it is fed with.

    ``watch`` ends its runs; it may be shared by all subjects that run in turn.

    Raises
    ------
    InputMismatchError : the graph fixes another batch
    ConfigError : ``end_to_end`` without encoded pictures
    UnsupportedInputsError : pictures for a model that takes none
    and whatever :func:`workbench.models.session.open_session` raises
    """
    feeds: tuple[dict[str, NDArray[Any]], ...] = ()
    pictures: tuple[bytes, ...] = ()
    outputs: list[str] | None = None
    if configuration.timed == "end_to_end":
        outputs = [model.scores_output]
        pictures = encoded(shots)
        check_batch(model, configuration.batch)
    else:
        feeds = batches(model, shots, configuration.batch)
    session = open_session(model.path, configuration.options, model.graph, name=model.id)
    return ModelSubject(name, model, configuration, session, watch, clock, feeds, pictures, outputs)
