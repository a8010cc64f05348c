"""How two recipes differ, in words: what is done to a picture, whatever steps it is written in."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.preprocessing.arithmetic import (
    Batch,
    Cast,
    ChannelOrder,
    Layout,
    Normalize,
    Rescale,
    fraction,
)
from workbench.preprocessing.geometry import Grayscale
from workbench.preprocessing.images import WHITE
from workbench.preprocessing.step import PictureStep, Step, numbers_text, size_text

if TYPE_CHECKING:
    from workbench.preprocessing.pipeline import Pipeline

NOTHING = "–"
#: What differs between two recipes that do the same in other steps.
COMPUTED = "computed"
_COLOURS = {"GRAY": "grey", "RGB": "RGB", "BGR": "BGR"}
_KNOWN = (Batch, Cast, ChannelOrder, Layout, Normalize, Rescale)


class Differing(NamedTuple):
    """One thing that differs between two recipes: its name, and what each of them says of it."""

    what: str
    here: str
    there: str


def differing(one: Pipeline, other: Pipeline) -> tuple[Differing, ...]:
    """Return what differs between two recipes, in words and in the order in which it is done.

    Two that do the same in other steps (fused, or one by one) differ in ``computed`` alone.
    """
    if one == other:
        return ()
    mine, theirs = _told(one), _told(other)
    names = [*mine, *(name for name in theirs if name not in mine)]
    pairs = ((n, mine.get(n, NOTHING), theirs.get(n, NOTHING)) for n in names)
    rows = tuple(Differing(*pair) for pair in pairs if pair[1] != pair[2])
    return rows or (Differing(COMPUTED, _written(one), _written(other)),)


def flat(pipeline: Pipeline) -> dict[str, object]:
    """Return every parameter of a recipe under one name, for comparison."""
    found: dict[str, object] = {}
    for entry in pipeline.recipe():
        name = str(entry["step"])
        again = sum(key.startswith(f"{name} ") or key == name for key in found)
        name = f"{name} {again + 1}" if again else name
        found[name] = True
        found |= {f"{name}.{key}": value for key, value in entry.items() if key != "step"}
    return found


def _told(pipeline: Pipeline) -> dict[str, str]:
    """Say aspect by aspect what a recipe does; what it does not do is left out."""
    plain = [part for step in pipeline.steps for part in step.parts()]
    pictures = [s for s in plain if isinstance(s, PictureStep) and not isinstance(s, Grayscale)]
    filters = [f for s in pictures if (f := getattr(s, "interpolation", None))]
    told = {
        "decoding": "at a fraction of the size, where that suffices"
        if pipeline.fast_decode
        else "at full size",
        "background": "white"
        if pipeline.background == WHITE
        else ", ".join(map(str, pipeline.background)),
        "size fed": "the picture's" if pipeline.size is None else size_text(pipeline.size),
        "scaled and cut": "; ".join(map(_without_filter, pictures)) or "not at all",
        "interpolation": ", ".join(dict.fromkeys(filters)) or NOTHING,
        "details of scaling": ", ".join(d for s in pictures for d in _details(s)) or NOTHING,
        "colours": _COLOURS[pipeline.color_format],
        **_numbers(plain, bgr=pipeline.color_format == "BGR"),
        "order of the axes": pipeline.layout,
        "type of the numbers": pipeline.dtype,
    }
    if others := [s.text() for s in plain if not isinstance(s, (PictureStep, *_KNOWN))]:
        told["other steps"] = "; ".join(others)
    return told


def _without_filter(step: Step) -> str:
    """Say what a step does to the picture, but not with which filter."""
    told: Any = step
    name = getattr(step, "interpolation", None)
    return str(told.text()).replace(f"({name}, ", "(").replace(f" ({name})", "")


def _details(step: Step) -> list[str]:
    """Return the parameters of a step on the picture that its words leave out."""
    rest = {f.name: f for f in fields(step)}  # type: ignore[arg-type]
    skipped = ("size", "resize", "crop", "interpolation", "fit", "fill")
    values = ((n, getattr(step, n), f.default) for n, f in rest.items() if n not in skipped)
    return [f"{n.replace('_', ' ')} {v}" for n, v, default in values if v != default]


def _numbers(plain: list[Step], *, bgr: bool) -> dict[str, str]:
    """Say what is done to the numbers 0–255: one scale and one pair of constants, or each step."""
    steps = [s for s in plain if isinstance(s, Rescale | Normalize)]
    scales = [s.scale for s in steps if isinstance(s, Rescale)]
    constants = [s for s in steps if isinstance(s, Normalize)]
    if len(scales) > 1 or len(constants) > 1 or isinstance(next(iter(steps), None), Normalize):
        return {"done to the numbers": "; ".join(s.text() for s in steps)}
    told = {"multiplied by": fraction(scales[0]) if scales and scales[0] != 1 else "1 (0 to 255)"}
    for name, field in (("mean subtracted", "mean"), ("divided by", "std")):
        values = getattr(constants[0], field) if constants else None
        told[name] = "nothing" if values is None else _constants(values, bgr=bgr)
    return told


def _constants(values: tuple[float, ...], *, bgr: bool) -> str:
    """Return constants a channel, always red, green, blue."""
    return numbers_text(values[::-1] if bgr else values).replace(" ", ", ")


def _written(pipeline: Pipeline) -> str:
    return "; ".join(step.text() for step in pipeline.steps)
