"""What every step is, and the checks of its parameters."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from PIL import Image

from workbench.cards import Card, Facts, Notes, Shown
from workbench.errors import ConfigError, InputMismatchError, choices
from workbench.units import shape as shape_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    AnyArray: TypeAlias = NDArray[Any]

Size: TypeAlias = tuple[int, int]

#: Names of Pillow's filters; all but "nearest" are antialiased.
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
#: Element types that a batch can have.
DTYPES = ("float32", "float16", "float64", "uint8", "int32")
#: What no picture is larger than, on one side.
MAX_SIDE = 65_535


@dataclass(frozen=True, slots=True)
class Flow:
    """What is known of an array between two steps, before there is one.

    ``layout``: "HWC", "CHW", "NHWC" or "NCHW"; ``size``: (height, width), None where it depends
    on the picture.
    """

    layout: str = "HWC"
    channels: int = 3
    dtype: str = "uint8"
    size: Size | None = None


class Step(Shown):
    """One step: ``name`` is that of its stage in timings. Its ``repr`` is its recipe."""

    __slots__ = ()
    name: ClassVar[str] = "step"

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return what comes out for ``array``; the input stays as it is."""
        raise NotImplementedError

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step; raises ConfigError where it cannot stand."""
        raise NotImplementedError

    def parts(self) -> tuple[Step, ...]:
        """Return the plain steps that this one fuses, or itself alone."""
        return (self,)

    def text(self) -> str:
        """Say in a few words what is done."""
        raise NotImplementedError

    def recipe(self) -> dict[str, Any]:
        """Return the step as JSON-able values: ``{"step": name, field: value …}``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {"step": type(self).__name__} | {
            key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
        }

    def _card(self) -> Card:
        rows = tuple((n, str(v)) for n, v in self.recipe().items() if n != "step")
        return Card(f"step {type(self).__name__}", (Notes((self.text(),)), Facts(rows)))


class PictureStep(Step):
    """A step on a picture: (H, W, C) uint8 in and out, done by Pillow (which frees the GIL)."""

    __slots__ = ()

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return the changed picture, (H, W, C) uint8."""
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
            raise misfit(self, array, "an (H, W, 3) or (H, W, 1) uint8 picture")
        grey = array.shape[2] == 1
        return as_array(self.apply(Image.fromarray(array[:, :, 0] if grey else array)))

    def apply(self, picture: Image.Image) -> Image.Image:
        """Return the changed picture: a PIL image of mode RGB or L in and out."""
        raise NotImplementedError

    def wanted(self, width: int, height: int) -> Size:
        """Return the least (width, height) that this step has use for."""
        return width, height

    def flow(self, before: Flow) -> Flow:
        """Return what is known after this step."""
        if before.layout != "HWC" or before.dtype != "uint8":
            raise misplaced(self, before, "before the steps that compute: on an HWC uint8 picture")
        return replace(before, size=self.size_after(before.size))

    def size_after(self, size: Size | None) -> Size | None:
        """Return (height, width) after this step, None where it depends on the picture."""
        raise NotImplementedError


class ArrayStep(Step):
    """A step on numbers."""

    __slots__ = ()

    def undo(self, array: AnyArray) -> AnyArray:
        """Return what went in, as float32 where rounding has not lost it."""
        raise NotImplementedError


def as_array(picture: Image.Image) -> NDArray[np.uint8]:
    """Return a PIL image of mode RGB or L as (H, W, C) uint8; the array is read-only."""
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[:, :, None]


# ── checks of parameters, for the modules that define steps ──────────────────────────────────


def misfit(step: Step, array: AnyArray, expected: str) -> InputMismatchError:
    seen = f"{array.dtype} {shape_text(array.shape)}"
    return InputMismatchError(type(step).__name__, seen, expected, "Put the steps in order.")


def misplaced(step: Step, before: Flow, expected: str) -> ConfigError:
    seen = f"on {before.layout} {before.dtype}"
    return ConfigError(f"the place of {type(step).__name__}", seen, expected)


def settle(step: Step, name: str, value: object) -> None:
    object.__setattr__(step, name, value)


def as_side(field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ConfigError(field, value, f"whole numbers of pixels, 1 to {MAX_SIDE}")
    if not 1 <= value <= MAX_SIDE:
        raise ConfigError(field, value, f"1 to {MAX_SIDE} pixels")
    return int(value)


def as_size(field: str, value: object) -> Size:
    """Return ``value`` (one side of a square, or height and width) as (height, width)."""
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ConfigError(field, value, "one number, or (height, width)")
        return as_side(field, value[0]), as_side(field, value[1])
    return as_side(field, value), as_side(field, value)


def as_side_or_size(field: str, value: object) -> int | Size:
    return as_size(field, value) if isinstance(value, tuple | list) else as_side(field, value)


def check_filter(name: str) -> None:
    if name not in INTERPOLATIONS:
        raise ConfigError("interpolation", name, choices(INTERPOLATIONS))


def check_choice(field: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(field, value, choices(known))


def as_constants(field: str, value: object, *, zero: bool = True) -> tuple[float, ...] | None:
    if value is None:
        return None
    items = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value,)
    try:
        numbers = tuple(float(v) for v in items)
    except (TypeError, ValueError):
        raise ConfigError(field, value, "one number a channel") from None
    if len(numbers) not in (1, 3):
        raise ConfigError(field, value, "1 or 3 numbers, one a channel")
    if not all(isfinite(v) for v in numbers):
        raise ConfigError(field, value, "finite numbers")
    if not zero and any(v <= 0 for v in numbers):
        raise ConfigError(field, value, "numbers above 0, since they divide")
    return numbers


def numbers_text(values: tuple[float, ...]) -> str:
    texts = [f"{v:.6g}" for v in values]
    return texts[0] if len(set(texts)) == 1 else " ".join(texts)


def size_text(size: int | Size) -> str:
    return str(size) if isinstance(size, int) else f"{size[0]}×{size[1]}"
