"""How two recipes differ, in words for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from workbench.preprocessing.arithmetic import _fraction
from workbench.preprocessing.step import numbers_text, size_text

if TYPE_CHECKING:
    from workbench.preprocessing.pipeline import Pipeline

#: What a step is about; steps that do the same in another way share a word.
_ROLES = {
    "Decode": "decoding",
    "Resize": "scaling",
    "ResizeKeepAspect": "scaling",
    "ResizeSampled": "scaling",
    "ResizeCrop": "scaling",
    "Letterbox": "scaling",
    "CenterCrop": "crop",
    "Grayscale": "colours",
    "ChannelOrder": "channel order",
    "Rescale": "range",
    "Normalize": "normalisation",
    "NormalizeBatch": "normalisation",
    "Layout": "layout",
    "Cast": "element type",
    "Batch": "batch axis",
}
#: What a parameter is about, where its name does not say it.
_PARAMETERS = {
    "resize": "scaled to",
    "crop": "middle kept",
    "reducing_gap": "reduced beforehand",
    "scale": "factor",
    "order": "order",
    "dtype": "type",
}
_SIZES = ("size", "resize", "crop")
_ABSENT = "not done"

#: One step of a recipe: what it is about, what it does, and its entry in the recipe.
_Told = tuple[str, str, dict[str, Any]]


def changes(mine: Pipeline, theirs: Pipeline) -> tuple[tuple[str, str, str], ...]:
    """Say what differs between two pipelines: (what, how here, how there), in order.

    >>> from workbench.preprocessing import presets
    >>> changes(presets.imagenet(), presets.imagenet().replace(color_format="BGR"))[-1]
    ('channel order', 'not done', 'channels as BGR')
    """
    ours, others = _told(mine), _told(theirs)
    rows: list[tuple[str, str, str]] = []
    for key in (*ours, *(key for key in others if key not in ours)):
        here, there = ours.get(key), others.get(key)
        if here is None or there is None or here[0] != there[0]:
            words = tuple(_ABSENT if told is None else told[1] for told in (here, there))
            rows.append((key, words[0], words[1]))
            continue
        for name in (*here[2], *(name for name in there[2] if name not in here[2])):
            one, other = here[2].get(name), there[2].get(name)
            if one != other:
                what = f"{key} ({_PARAMETERS.get(name, name.replace('_', ' '))})"
                rows.append((what, _value(name, one), _value(name, other)))
    return tuple(rows)


def _told(pipeline: Pipeline) -> dict[str, _Told]:
    """Return the steps by what they are about; a second of the same kind is numbered."""
    texts = (pipeline._decode_text(), *(step.text() for step in pipeline.steps))
    told: dict[str, _Told] = {}
    for entry, text in zip(pipeline.recipe(), texts, strict=True):
        name = str(entry["step"])
        role = _ROLES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
        number = 1 + sum(re.sub(r" \d+$", "", key) == role for key in told)
        values = {key: value for key, value in entry.items() if key != "step"}
        told[role if number == 1 else f"{role} {number}"] = (name, text, values)
    return told


def _value(name: str, value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() if name in _SIZES:
            return size_text((value[0], value[1]))
        case list() | tuple():
            return numbers_text(tuple(value)) if all(_number(v) for v in value) else str(value)
        case float():
            return _fraction(value)
        case _:
            return str(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float)
