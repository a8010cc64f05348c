"""Whether two claims about a model say the same, and whether a claim fits the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, MetadataError, abridge
from workbench.models.spec import ModelSpec, build_pipeline
from workbench.units import count
from workbench.units import shape as shape_text

if TYPE_CHECKING:
    from workbench.models.companion import Claim
    from workbench.models.passport import Picture
    from workbench.models.spec import Color
    from workbench.preprocessing.pipeline import Pipeline

#: Differences of two recipes that are named in one sentence.
_NAMED = 4


def checked(claim: Claim) -> tuple[Any, str]:
    """Return a claim's value as a description keeps it, or why it cannot be one."""
    from pathlib import Path

    try:
        spec = ModelSpec(id="claim", path=Path("claim.onnx"), **{claim.field: claim.value})
    except MetadataError as error:
        return None, f"it is {abridge(claim.value)}, and should be {error.expected}"
    return getattr(spec, claim.field), ""


def pipeline_of(recipe: Any, image: Picture, color: Color) -> Pipeline | None:
    """Return the pipeline of a preset's name or a recipe; None where it cannot be built."""
    try:
        return build_pipeline("The passport", recipe, image, color)
    except MetadataError:
        return None


def fitted(claim: Claim, image: Picture, color: Color) -> tuple[Any, tuple[str, ...], str]:
    """Fit a claimed preprocessing to the graph's input.

    Returns
    -------
    the preset's name or the recipe; what of it the graph overrules, in sentences; and why it
    cannot be used (then the first is None)
    """
    value, reason = checked(claim)
    if reason:
        return None, (), reason
    try:
        pipeline = build_pipeline(claim.source, value, image, color)
    except MetadataError as error:
        return None, (), f"it should be {error.expected}"
    if isinstance(value, str):
        return value, (), ""
    overruled: tuple[str, ...] = ()
    try:
        given, taken = pipeline.size, (image.height, image.width)
        if given is None and None not in taken:
            return None, (), f"what it feeds has no fixed size, and the graph takes {_size(taken)}"
        if given is not None and any(t not in (None, g) for g, t in zip(given, taken, strict=True)):
            size = tuple(g if t is None else t for g, t in zip(given, taken, strict=True))
            told = f"{claim.source} feeds {_size(given)} and the graph takes {_size(size)}"
            overruled = (f"{told}: the graph's size holds.",)
            pipeline = pipeline.replace(size=(size[0], size[1]))
        pipeline = pipeline.replace(layout=image.layout, dtype=image.dtype)
    except ConfigError as error:
        return None, (), f"it cannot be fitted to {_taken(image)}: {error.message}"
    if image.channels not in (None, pipeline.channels):
        seen = count(pipeline.channels, "channel")
        return None, (), f"it feeds {seen}, and the graph takes {image.channels}"
    return pipeline.recipe(), overruled, ""


def _size(size: tuple[Any, ...]) -> str:
    return shape_text(size).strip("()").replace(", ", " × ")


def _taken(image: Picture) -> str:
    return f"an input of {image.dtype}, {image.layout}"


def difference(field: str, held: Any, other: Any, image: Picture | None, color: Color) -> str:
    """Say in words how two values of a field differ; empty where they say the same."""
    if field == "preprocessing" and image is not None:
        return _recipes(held, other, image, color)
    if field == "labels":
        return _labels(held, other)
    if field == "input_shape" and held and other:
        clash = len(held) != len(other) or any(
            a not in (None, b) and b is not None
            for a, b in list(zip(held, other, strict=False))[1:]
        )
        return f"{shape_text(held)} against {shape_text(other)}" if clash else ""
    if isinstance(held, Mapping) and isinstance(other, Mapping):
        shared = [k for k in held if k in other and held[k] != other[k]]
        return ", ".join(f"{k} {abridge(held[k])} against {abridge(other[k])}" for k in shared[:4])
    return "" if held == other else f"{abridge(held)} against {abridge(other)}"


def _recipes(held: Any, other: Any, image: Picture, color: Color) -> str:
    mine, theirs = pipeline_of(held, image, color), pipeline_of(other, image, color)
    if mine is None or theirs is None or mine == theirs:
        return ""
    found = mine.changes(theirs)
    named = [f"{what} {here} against {there}" for what, here, there in found[:_NAMED]]
    if len(found) > _NAMED:
        named.append(f"and {len(found) - _NAMED} more")
    return ", ".join(named) or "the order of the steps"


def _labels(held: Any, other: Any) -> str:
    mine, theirs = list(held or ()), list(other or ())
    if len(mine) != len(theirs):
        return f"{count(len(mine), 'label')} against {count(len(theirs), 'label')}"
    at = [i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
    if not at:
        return ""
    first = f"class {at[0]} is {abridge(mine[at[0]])} against {abridge(theirs[at[0]])}"
    return first if len(at) == 1 else f"{len(at)} of {len(mine)} names, first: {first}"
