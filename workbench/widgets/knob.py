"""The parameters of a preprocessing as a handful of knobs, and a pipeline turned by them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, choices, nearest
from workbench.preprocessing import presets
from workbench.preprocessing.steps import (
    CenterCrop,
    Normalize,
    NormalizeBatch,
    Resize,
    ResizeCrop,
    Size,
    Step,
    as_size,
)
from workbench.units import count

if TYPE_CHECKING:
    from workbench.preprocessing.pipeline import Pipeline


#: Of the share that is kept: fine enough that two sizes to scale to do not have the same.
_PLACES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What can be turned; None where a pipeline has no such thing.

    Attributes
    ----------
    size : (height, width) that is fed
    crop : share of the scaled picture's side that is kept, above 0 and up to 1
    interpolation : name of the filter
    mean, std : a number a channel, always in the order red, green, blue
    color_format, layout : "RGB", "BGR" or "GRAY"; "NCHW" or "NHWC"
    """

    size: Size | None
    crop: float | None
    interpolation: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    color_format: str
    layout: str

    def turned(self, **knobs: Any) -> Knobs:
        """Return the knobs with some of them turned.

        Raises
        ------
        ConfigError : there is no such knob; not a number a channel
        """
        names = tuple(field.name for field in dataclasses.fields(self))
        for name, value in knobs.items():
            if name not in names:
                seen = f"{name}={value!r}"
                raise ConfigError("A knob", seen, choices(names), nearest(name, names))
        for name in ("mean", "std"):
            was, now = getattr(self, name), knobs.get(name)
            if was is not None and now is not None and len(now) != len(was):
                raise ConfigError(name, now, f"{count(len(was), 'number')}, one a channel")
        return replace(self, **knobs)

    @classmethod
    def of(cls, pipeline: Pipeline) -> Knobs:
        """Read the knobs of a pipeline.

        >>> Knobs.of(presets.imagenet()).crop
        0.875
        """
        filters = [f for s in pipeline.steps if (f := getattr(s, "interpolation", None))]
        constants = next((s for s in pipeline.steps if _has_constants(s)), None)
        mean, std = getattr(constants, "mean", None), getattr(constants, "std", None)
        if mean is not None and std is not None and pipeline.color_format == "BGR":
            mean, std = mean[::-1], std[::-1]
        return cls(
            size=pipeline.size,
            crop=_crop(pipeline.steps),
            interpolation=filters[0] if filters else None,
            mean=mean,
            std=std,
            color_format=pipeline.color_format,
            layout=pipeline.layout,
        )


def turned(own: Pipeline, knobs: Knobs) -> Pipeline:
    """Return a pipeline with its knobs turned; what was not turned stays as it is.

    Raises
    ------
    ConfigError : a position that cannot be
    """
    was = Knobs.of(own)
    pipeline = own.replace(
        size=knobs.size if knobs.size != was.size else None,
        color_format=knobs.color_format if knobs.color_format != was.color_format else None,
        layout=knobs.layout if knobs.layout != was.layout else None,
    )
    steps = tuple(_turned(step, knobs, was, pipeline) for step in pipeline.steps)
    if steps == own.steps:
        return own
    return dataclasses.replace(pipeline, steps=steps, name="")


def _turned(step: Any, knobs: Knobs, was: Knobs, pipeline: Pipeline) -> Any:
    if knobs.interpolation != was.interpolation and hasattr(step, "interpolation"):
        step = replace(step, interpolation=knobs.interpolation)
    if knobs.crop != was.crop and knobs.crop is not None and pipeline.size is not None:
        side = _scaled(pipeline.size, knobs.crop)
        if isinstance(step, ResizeCrop):
            step = replace(step, resize=side)
        elif isinstance(step, Resize) and isinstance(step.size, int):
            step = replace(step, size=side)
    if (knobs.mean, knobs.std) != (was.mean, was.std) and _has_constants(step):
        mean, std = knobs.mean or (), knobs.std or ()
        if pipeline.color_format == "BGR":
            mean, std = mean[::-1], std[::-1]
        if len(mean) == len(getattr(step, "mean", None) or ()):
            step = replace(step, mean=mean, std=std)
    return step


def _has_constants(step: Step) -> bool:
    return isinstance(step, Normalize | NormalizeBatch) and step.mean is not None


def _crop(steps: tuple[Step, ...]) -> float | None:
    """Return what share of the scaled side the crop keeps; None where nothing is cropped."""
    for number, step in enumerate(steps):
        if isinstance(step, ResizeCrop):
            return _share(step.crop, step.resize)
        after = steps[number + 1] if number + 1 < len(steps) else None
        if isinstance(step, Resize) and isinstance(step.size, int) and isinstance(after, CenterCrop):  # fmt: skip  # noqa: E501
            return _share(after.size, step.size)
    return None


def _share(crop: int | Size, scaled: int | Size) -> float | None:
    share = as_size("crop", crop)[0] / as_size("resize", scaled)[0]
    return round(share, _PLACES) if share <= 1 else None


def _scaled(size: Size, crop: float) -> int | Size:
    """Return what is scaled to, so that the crop keeps this share: the very one it was read of."""
    side = presets.scale_size(size, crop)
    if isinstance(side, int) and _share(size, side + 1) == round(crop, _PLACES):
        return side + 1  # the share was rounded up
    return side
