"""Steps on numbers: order, range, layout and element type of what is fed to a model.

Source
------
torchvision 0.28, ``transforms/functional.py`` (https://github.com/pytorch/vision, BSD-3-Clause):
``to_tensor`` divides by 255, ``normalize`` subtracts and divides in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from workbench.errors import ConfigError
from workbench.preprocessing.step import (
    DTYPES,
    ArrayStep,
    Flow,
    Step,
    as_array,
    as_constants,
    check_choice,
    misfit,
    misplaced,
    numbers_text,
    settle,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    AnyArray: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ChannelOrder(ArrayStep):
    """Reverse red, green and blue: OpenCV's order. (H, W, 3), channels last, in and out."""

    name: ClassVar[str] = "channel_order"
    order: Literal["RGB", "BGR"] = "BGR"

    def __post_init__(self) -> None:
        check_choice("order", self.order, ("RGB", "BGR"))

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return the channels in ``order``: a view."""
        if array.ndim != 3 or array.shape[2] != 3:
            raise misfit(self, array, "(H, W, 3), channels last")
        return array[:, :, ::-1] if self.order == "BGR" else array

    def undo(self, array: AnyArray) -> AnyArray:
        """Return the channels as red, green, blue."""
        return self(array)

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step: nothing new."""
        if before.layout != "HWC" or before.channels != 3:
            raise misplaced(self, before, "on three channels that come last (HWC)")
        return before

    def text(self) -> str:
        """Say what is done."""
        return f"channels as {self.order}"


@dataclass(frozen=True, slots=True)
class Rescale(ArrayStep):
    """Multiply by ``scale`` and turn into float32; 1/255 brings 0–255 to 0–1. Any shape."""

    name: ClassVar[str] = "rescale"
    scale: float = 1 / 255

    def __post_init__(self) -> None:
        if not (isinstance(self.scale, int | float) and isfinite(self.scale) and self.scale > 0):
            raise ConfigError("scale", self.scale, "a finite number above 0")

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return float32."""
        if self.scale == 1 / 255:  # torchvision divides; the product differs in the last bit
            return array.astype(np.float32) / np.float32(255)
        return array.astype(np.float32) * np.float32(self.scale)

    def undo(self, array: AnyArray) -> AnyArray:
        """Return float32 in the range before."""
        return array.astype(np.float32) / np.float32(self.scale)

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step: float32."""
        return replace(before, dtype="float32")

    def text(self) -> str:
        """Say what is done."""
        return f"× {fraction(self.scale)}, float32"


@dataclass(frozen=True, slots=True)
class Normalize(ArrayStep):
    """Subtract ``mean`` and divide by ``std``, per channel, in float32.

    (H, W, C) or (C, H, W) as ``layout`` says; torchvision's ``Normalize``.
    """

    name: ClassVar[str] = "normalize"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Literal["HWC", "CHW"] = "HWC"

    def __post_init__(self) -> None:
        settle(self, "mean", as_constants("mean", self.mean) or (0.0,))
        settle(self, "std", as_constants("std", self.std, zero=False) or (1.0,))
        if len(self.mean) != len(self.std):
            raise ConfigError("std", self.std, f"as many numbers as mean has, {len(self.mean)}")
        check_choice("layout", self.layout, ("HWC", "CHW"))

    def _shaped(self, array: AnyArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        axis = 2 if self.layout == "HWC" else 0
        channels = len(self.mean)
        if array.ndim != 3 or channels not in (1, array.shape[axis]):
            raise misfit(self, array, f"{self.layout} with {channels} channels")
        dims = (1, 1, -1) if axis == 2 else (-1, 1, 1)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return mean.reshape(dims), std.reshape(dims)

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return float32 of the same shape."""
        mean, std = self._shaped(array)
        return (array.astype(np.float32) - mean) / std

    def undo(self, array: AnyArray) -> AnyArray:
        """Return float32 in the range before."""
        mean, std = self._shaped(array)
        return array.astype(np.float32) * std + mean

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step: float32."""
        if before.layout != self.layout or len(self.mean) not in (1, before.channels):
            expected = f"on {self.layout} with {len(self.mean)} channels"
            raise misplaced(self, before, f"{expected} (there are {before.channels})")
        return replace(before, dtype="float32")

    def text(self) -> str:
        """Say what is done."""
        return f"minus {numbers_text(self.mean)}, by {numbers_text(self.std)}"


@dataclass(frozen=True, slots=True)
class Layout(ArrayStep):
    """Order the axes: "CHW" (PyTorch) or "HWC". (H, W, C) in."""

    name: ClassVar[str] = "layout"
    layout: Literal["CHW", "HWC"] = "CHW"

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, ("CHW", "HWC"))

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return the array with its axes in order, contiguous."""
        if array.ndim != 3:
            raise misfit(self, array, "three axes (H, W, C)")
        moved = array.transpose(2, 0, 1) if self.layout == "CHW" else array
        return np.ascontiguousarray(moved)

    def undo(self, array: AnyArray) -> AnyArray:
        """Return (H, W, C)."""
        return array.transpose(1, 2, 0) if self.layout == "CHW" else array

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step: the layout."""
        if before.layout != "HWC":
            raise misplaced(self, before, "on HWC")
        return replace(before, layout=self.layout)

    def text(self) -> str:
        """Say what is done."""
        return f"axes as {self.layout}"


@dataclass(frozen=True, slots=True)
class Cast(ArrayStep):
    """Change the element type. Integers are rounded and kept in their range."""

    name: ClassVar[str] = "cast"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, DTYPES)

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return the array as ``dtype``."""
        return _cast(array, np.dtype(self.dtype))

    def undo(self, array: AnyArray) -> AnyArray:
        """Return the same numbers."""
        return array

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step: the element type."""
        return replace(before, dtype=self.dtype)

    def text(self) -> str:
        """Say what is done."""
        return f"as {self.dtype}"


@dataclass(frozen=True, slots=True)
class Batch(ArrayStep):
    """Add the batch axis: (C, H, W) becomes (1, C, H, W)."""

    name: ClassVar[str] = "batch"

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return a view with one more axis."""
        if array.ndim != 3:
            raise misfit(self, array, "three axes")
        return array[None]

    def undo(self, array: AnyArray) -> AnyArray:
        """Return the first item."""
        first: AnyArray = array[0]
        return first

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step: the batch axis."""
        if "N" in before.layout:
            raise misplaced(self, before, "on an array without a batch axis")
        return replace(before, layout="N" + before.layout)

    def text(self) -> str:
        """Say what is done."""
        return "add the batch axis"


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizeBatch(ArrayStep):
    """Fused :class:`Rescale`, :class:`Normalize`, :class:`Layout`, :class:`Cast`, :class:`Batch`.

    One multiplication and one addition a channel, written into the batch at once:
    ``x * (scale / std) - mean / std`` with constants computed in float64, equal to the plain
    steps but for the last bits of float32. Takes (H, W, C) uint8 and gives (1, C, H, W)
    ("NCHW") or (1, H, W, C) ("NHWC"). ``mean`` and ``std`` are meant after scaling, in the order
    of the channels; left out, values are only scaled.
    """

    name: ClassVar[str] = "normalize"
    scale: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        Rescale(self.scale)
        settle(self, "mean", as_constants("mean", self.mean))
        settle(self, "std", as_constants("std", self.std, zero=False))
        if (self.mean is None) != (self.std is None):
            raise ConfigError("std", self.std, "mean and std, or neither")
        if self.mean is not None and len(self.mean) != len(self.std or ()):
            raise ConfigError("std", self.std, f"as many numbers as mean has, {len(self.mean)}")
        check_choice("layout", self.layout, ("NCHW", "NHWC"))
        check_choice("dtype", self.dtype, DTYPES)
        if not self.dtype.startswith("float") and (self.mean is not None or self.scale != 1):
            raise ConfigError("dtype", self.dtype, "a float type, since values are scaled")

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return a fresh, contiguous batch of one."""
        if array.ndim != 3 or array.dtype != np.uint8:
            raise misfit(self, array, "an (H, W, C) uint8 picture")
        return self.into(array, None)

    def into(self, source: AnyArray | Image.Image, out: AnyArray | None) -> AnyArray:
        """Write the batch of one into ``out`` (a fresh one for None), and return it.

        ``source`` : (H, W, C) uint8, or a PIL image of mode RGB or L, which gives its channels
        one by one faster than as one array; the numbers are the same.
        """
        planes = _planes(source) if self.layout == "NCHW" else None
        whole = None if planes else _whole(source)
        dims = (len(planes), *planes[0].shape) if planes else whole.shape  # type: ignore[union-attr]
        if out is None:
            out = np.empty((1, *dims), self.dtype)
        work = out if out.dtype in (np.float32, np.uint8) else np.empty(out.shape, np.float32)
        gain, shift = _coefficients(self.scale, self.mean, self.std, dims[self._axis])
        if planes:
            for c, plane in enumerate(planes):
                _scaled_into(plane, work[0, c], _item(gain, c), _item(shift, c))
        elif whole is not None:
            _scaled_into(whole, work[0], gain, shift)
        if work is not out:
            out[...] = work
        return out

    @property
    def _axis(self) -> int:
        return 0 if self.layout == "NCHW" else 2

    def undo(self, array: AnyArray) -> AnyArray:
        """Return (H, W, C) float32 of the first item, in 0–255 where nothing went astray."""
        first = array[0].transpose(1, 2, 0) if self.layout == "NCHW" else array[0]
        gain, shift = _coefficients(self.scale, self.mean, self.std, first.shape[2])
        values: AnyArray = first.astype(np.float32)
        if shift is not None:
            values = values - shift
        return values if gain is None else values / gain

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step."""
        if before.layout != "HWC" or before.dtype != "uint8":
            raise misplaced(self, before, "on an HWC uint8 picture")
        if self.mean is not None and len(self.mean) not in (1, before.channels):
            seen = f"{len(self.mean)} numbers"
            raise ConfigError("mean and std", seen, f"one number a channel: {before.channels}")
        return replace(before, layout=self.layout, dtype=self.dtype)

    def parts(self) -> tuple[Step, ...]:
        """Return the plain steps."""
        floats = self.dtype.startswith("float")
        plain: list[Step] = [Rescale(self.scale)] if floats else []
        if self.mean is not None and self.std is not None:
            plain.append(Normalize(self.mean, self.std))
        plain.append(Layout("CHW" if self.layout == "NCHW" else "HWC"))
        if self.dtype != ("float32" if floats else "uint8"):
            plain.append(Cast(self.dtype))
        return (*plain, Batch())

    def text(self) -> str:
        """Say what is done."""
        parts = [f"× {fraction(self.scale)}"] if self.scale != 1 else []
        if self.mean is not None and self.std is not None:
            parts.append(f"minus {numbers_text(self.mean)}, by {numbers_text(self.std)}")
        return ", ".join([*parts, f"{self.layout} {self.dtype}"])


@lru_cache(maxsize=256)
def _coefficients(
    scale: float, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, channels: int
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Return gain and shift, one a channel: x · gain + shift; None where it changes nothing."""
    if mean is None or std is None:
        return (None if scale == 1 else np.full(channels, scale, np.float32)), None
    deviation = np.broadcast_to(np.array(std, np.float64), (channels,))
    centre = np.broadcast_to(np.array(mean, np.float64), (channels,))
    return (scale / deviation).astype(np.float32), (-centre / deviation).astype(np.float32)


def _planes(source: AnyArray | Image.Image) -> list[NDArray[np.uint8]]:
    """Return the channels of a picture, each (H, W) uint8."""
    if isinstance(source, np.ndarray):
        return [source[:, :, c] for c in range(source.shape[2])]
    if source.mode == "L":
        return [np.asarray(source)]
    shape = source.height, source.width
    # one channel at a time: contiguous, and half the time of taking RGB apart with numpy
    bands = (source.tobytes("raw", band) for band in "RGB")
    return [np.frombuffer(band, np.uint8).reshape(shape) for band in bands]


def _whole(source: AnyArray | Image.Image) -> NDArray[np.uint8]:
    return source if isinstance(source, np.ndarray) else as_array(source)


def _item(values: NDArray[np.float32] | None, channel: int) -> np.float32 | None:
    return None if values is None else values[channel]


def _scaled_into(values: AnyArray, out: AnyArray, gain: Any, shift: Any) -> None:
    """Write ``values * gain + shift`` into ``out``; without a scale the values as they are."""
    out[...] = values
    if gain is not None:
        np.multiply(out, gain, out=out)
    if shift is not None:
        np.add(out, shift, out=out)


def _cast(array: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    if dtype.kind == "f" or array.dtype == dtype:
        return array.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    whole: AnyArray = np.clip(np.rint(array), limits.min, limits.max)
    return whole.astype(dtype)


def fraction(scale: float) -> str:
    """Render a scale as it is meant: 1/255 rather than 0.00392157."""
    inverse = round(1 / scale) if scale < 1 else 0
    return f"1/{inverse}" if inverse and scale == 1 / inverse else f"{scale:.6g}"
