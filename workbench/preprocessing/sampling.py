"""Scaling as OpenCV does it: each new pixel is looked up between its neighbours, not averaged.

Where a picture shrinks, what lies between the looked-up places is lost, while Pillow's filters
(:class:`~workbench.preprocessing.geometry.Resize`) average over it.

Source
------
https://github.com/opencv/opencv (Apache-2.0), ``modules/imgproc/src/resize.cpp``: centres of
pixels meet centres, borders are repeated, ``INTER_CUBIC`` with a = −0.75. torchvision's
``resize(antialias=False)`` on tensors samples at the same places. OpenCV computes in fixed point:
values may differ by one 8-bit level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from PIL import Image

from workbench.preprocessing.geometry import shorter_side_to
from workbench.preprocessing.step import (
    PictureStep,
    Size,
    as_array,
    as_side_or_size,
    check_choice,
    settle,
    size_text,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The parameter of OpenCV's cubic kernel.
_A = -0.75


@dataclass(frozen=True, slots=True)
class ResizeSampled(PictureStep):
    """Scale the picture as ``cv2.resize`` does: not antialiased.

    ``size`` : the shorter side (the longer one becomes ``int(size * long / short)``), or
    (height, width) exactly. ``interpolation`` : "nearest", "bilinear" (``INTER_LINEAR``) or
    "bicubic" (``INTER_CUBIC``).
    """

    name: ClassVar[str] = "resize"
    size: int | Size
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        settle(self, "size", as_side_or_size("size", self.size))
        check_choice("interpolation", self.interpolation, ("nearest", "bilinear", "bicubic"))

    def wanted(self, width: int, height: int) -> Size:
        """Return the size after scaling, (width, height)."""
        if isinstance(self.size, int):
            return shorter_side_to(self.size, width, height)
        return self.size[1], self.size[0]

    def apply(self, picture: Image.Image) -> Image.Image:
        """Return the scaled picture."""
        width, height = self.wanted(*picture.size)
        if picture.size == (width, height):
            return picture
        values = as_array(picture).astype(np.float32)
        for axis, (before, after) in enumerate(((picture.height, height), (picture.width, width))):
            places, weights = _lookup(before, after, self.interpolation)
            shape = (1,) * axis + (after,) + (1,) * (values.ndim - axis - 1)
            values = sum(
                np.take(values, places[k], axis) * weights[k].reshape(shape)
                for k in range(len(places))
            )
        levels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)

    def size_after(self, size: Size | None) -> Size | None:
        """Return (height, width); None for a shorter side."""
        if isinstance(self.size, int):
            return None if size is None else shorter_side_to(self.size, size[1], size[0])[::-1]
        return self.size

    def text(self) -> str:
        """Say what is done."""
        what = "shorter side to" if isinstance(self.size, int) else "stretch to"
        return f"{what} {size_text(self.size)} ({self.interpolation}, not antialiased)"


@lru_cache(maxsize=64)
def _lookup(
    before: int, after: int, interpolation: str
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return which pixels are looked up for each new one, and by what they are multiplied.

    Both (taps, after).
    """
    scale = before / after
    if interpolation == "nearest":  # cv2.INTER_NEAREST: floor of the corner
        places = np.minimum((np.arange(after) * scale).astype(np.intp), before - 1)
        return places[None], np.ones((1, after), np.float32)
    at = (np.arange(after) + 0.5) * scale - 0.5
    first = np.floor(at).astype(np.intp)
    share = at - first
    if interpolation == "bilinear":
        weights = np.stack([1 - share, share])
        places = np.stack([first, first + 1])
    else:
        far, near = 1 + share, 1 - share
        one = ((_A * far - 5 * _A) * far + 8 * _A) * far - 4 * _A
        two = ((_A + 2) * share - (_A + 3)) * share * share + 1
        three = ((_A + 2) * near - (_A + 3)) * near * near + 1
        weights = np.stack([one, two, three, 1 - one - two - three])
        places = np.stack([first + k for k in (-1, 0, 1, 2)])
    return np.clip(places, 0, before - 1), weights.astype(np.float32)
