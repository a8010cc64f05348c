"""What goes between a runner and its worker processes: plain values, both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import (
    EngineMemoryError,
    InferenceError,
    InputMismatchError,
    WorkbenchError,
    abridge,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.inference.source import Parcel
    from workbench.models.blueprint import Blueprint, Reference
    from workbench.models.session import SessionFacts

#: What a worker says of itself: it is up, prepares an input, loads, runs, or runs many times.
READY, PREPARING, LOADING, RUNNING, WARMING = "ready", "preparing", "load", "run", "warm-up"
#: What it is about until it says so.
HANDED = "handed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outfit:
    """What a worker process is made with.

    Attributes
    ----------
    hub : what its hub is built from
    max_batch_size, workers : as of the runner whose work it does
    memory_bytes : most that the process may hold; None for no limit
    """

    hub: Blueprint
    max_batch_size: int
    workers: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One piece of work.

    Attributes
    ----------
    model : what it is done with
    content : a picture, pictures, a ready batch, arrays by input name, or nothing (a load), or a
        number of runs (a warm-up)
    name : the model's id, for people
    kind : ``one``, ``many``, ``tensor``, ``outputs``, ``load``, ``unload`` or ``warm_up``
    top_k : classes in an answer
    timeout_s : limit of a load and of a run, in seconds
    outputs, most_bytes : of raw outputs: which ones (None: all), and most bytes of all together
    stop_s : the limit of the caller's stop, and what is left of it, in seconds; None for none
    """

    model: Reference
    name: str
    kind: str
    content: Parcel | list[Parcel] | NDArray[Any] | dict[str, NDArray[Any]] | int | None
    top_k: int
    timeout_s: float
    outputs: tuple[str, ...] | None = None
    most_bytes: int | None = None
    stop_s: tuple[float, float] | None = None

    @property
    def what(self) -> str:
        """What it is, for people: the words of the same work in the runner's own process."""
        return f"Loading {self.name}" if self.kind == "load" else f"The run of model {self.name!r}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of an errand.

    Attributes
    ----------
    value : the answer, or the error
    spent_s : seconds that the worker had it
    warned : warnings of ours that came up meanwhile
    facts : of the model's session there, where they are not what was told last
    """

    value: Any
    spent_s: float
    warned: tuple[Warning, ...] = ()
    facts: SessionFacts | None = None


def cannot_cross(content: object, error: Exception) -> InputMismatchError:
    """Return the error of an input that cannot be handed to another process."""
    return InputMismatchError(
        "?",
        f"a {type(content).__name__} that cannot cross to a worker process ({error})",
        "plain arrays",
        hint="Give numpy arrays; classes of a notebook are unknown there.",
    )


def classified(error: BaseException, model: str) -> WorkbenchError:
    """Return an error as one of ours: a fault of ours, too, has a code when it crosses."""
    if isinstance(error, WorkbenchError):
        return error
    if isinstance(error, MemoryError):
        return EngineMemoryError(model, "running", str(error) or "an allocation failed")
    words = f"{type(error).__name__}: {abridge(str(error), 300)[1:-1]}"
    hint = "This is a fault of the workbench; the worker's log has its traceback."
    return InferenceError(model, words, hint)
