"""What a model is fed with while it is measured: pictures, read before the clock runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.errors import ConfigError, InputMismatchError, UnsupportedInputsError
from workbench.inference.source import listed, name_of
from workbench.preprocessing.images import read_image
from workbench.preprocessing.source import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from workbench.models.model import Model
    from workbench.preprocessing.images import ImageSource

#: What is inside the timed region: the engine's call alone, or everything from the encoded bytes
#: of a picture to its best classes.
Timed = Literal["inference", "end_to_end"]
TIMED: tuple[Timed, ...] = ("inference", "end_to_end")
#: What "inside" means, in words.
INSIDE = {
    "inference": "one call of the engine, on arrays that are ready",
    "end_to_end": "from the encoded bytes in memory through decoding, preprocessing and the "
    "engine's call to the five best classes",
}
#: Most pictures that are kept, and most different batches that a model is fed with in turn.
MOST_PICTURES, MOST_BATCHES = 256, 8


@dataclass(frozen=True, slots=True, eq=False)
class Shots:
    """Pictures as they are fed: encoded bytes, or arrays and PIL images as they were given.

    ``sources`` is empty where no pictures were given: arrays are made that fit the model.
    """

    sources: tuple[Any, ...]
    names: tuple[str, ...]
    sha256: str

    @property
    def text(self) -> str:
        """What is fed, in words."""
        if not self.sources:
            return "arrays made to fit (normally distributed, seed 0)"
        return ", ".join(self.names[:3]) + (
            f" and {len(self.names) - 3} more" if len(self.names) > 3 else ""
        )


def gather(images: ImageSource | Iterable[ImageSource] | None) -> Shots:
    """Read pictures into memory; None for none.

    Raises
    ------
    ConfigError : an empty list
    MissingFileError : no such file, or a folder without pictures
    NotAnImageError and its kin : what was given is no picture
    """
    if images is None:
        return Shots((), (), "")
    sources: list[Any] = []
    names: list[str] = []
    digest = hashlib.sha256()
    for source in listed(images):
        if len(sources) == MOST_PICTURES:
            break
        if isinstance(source, np.ndarray) or hasattr(source, "getexif"):
            digest.update(np.ascontiguousarray(np.asarray(source)).tobytes())
            sources.append(source)
        else:
            data, where = read_bytes(source)
            read_image(data, where=where)  # what is no picture is refused before it is measured
            digest.update(data)
            sources.append(data)
        names.append(name_of(source))
    if not sources:
        raise ConfigError("images", [], "at least one picture, or None for arrays made to fit")
    return Shots(tuple(sources), tuple(names), digest.hexdigest())


def encoded(shots: Shots) -> tuple[bytes, ...]:
    """Return the encoded pictures; raise ConfigError where they are none, or not encoded."""
    if not shots.sources:
        raise ConfigError("images", None, "pictures, since 'end_to_end' begins with their bytes")
    for name, source in zip(shots.names, shots.sources, strict=True):
        if not isinstance(source, bytes):
            raise ConfigError("images", name, "encoded pictures (paths or bytes) for 'end_to_end'")
    return shots.sources


def batches(model: Model, shots: Shots, batch: int) -> tuple[dict[str, NDArray[Any]], ...]:
    """Make the arrays that a model is fed with in turn: from the pictures, or to fit.

    Raises
    ------
    InputMismatchError : the graph fixes another batch
    UnsupportedInputsError : pictures for a model that takes none
    """
    check_batch(model, batch)
    if not shots.sources:
        return (model.sample_feeds(batch),)
    name = model.image_input
    turns = max(1, min(MOST_BATCHES, len(shots.sources) // batch))
    return tuple(
        {name: model.preprocessing.batch(_turn(shots.sources, turn, batch))}
        for turn in range(turns)
    )


def check_batch(model: Model, batch: int) -> None:
    """Raise InputMismatchError where the graph fixes another batch than this."""
    fixed = fixed_batch(model)
    if fixed is not None and fixed != batch:
        port = next(p for p in model.inputs if p.shape and p.shape[0] == fixed)
        raise InputMismatchError(
            port.name, f"a batch of {batch}", port.describe(),
            f"The graph fixes its batch: use batch_sizes=[{fixed}].",
        )  # fmt: skip


def fixed_batch(model: Model) -> int | None:
    """Return the batch that a model's graph fixes; None where it is free."""
    try:
        return model.batch_axis
    except UnsupportedInputsError:  # not a classifier: the first axis of its first array counts
        first = model.inputs[0].shape if model.inputs else None
        return first[0] if first and isinstance(first[0], int) else None


def _turn(sources: Sequence[Any], turn: int, batch: int) -> list[Any]:
    """Return the pictures of one batch: the next ones, from the start again after the last."""
    return [sources[(turn * batch + i) % len(sources)] for i in range(batch)]
