"""What differs between two recipes is said in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import (
    Cast,
    CenterCrop,
    ChannelOrder,
    Normalize,
    Rescale,
    Resize,
    ResizeSampled,
)

OURS = presets.imagenet()


def told(other):
    return {what: (here, there) for what, here, there in OURS.differs_from(other)}


def test_recipes_that_are_equal_do_not_differ():
    assert OURS.differs_from(presets.imagenet()) == ()
    assert OURS.differs_from(replace(OURS, name="mine")) == ()


@pytest.mark.parametrize(
    ("other", "rows"),
    [
        (OURS.replace(color_format="BGR"), {"colours": ("RGB", "BGR")}),
        (OURS.replace(layout="NHWC"), {"order of the axes": ("NCHW", "NHWC")}),
        (OURS.replace(dtype="float16"), {"type of the numbers": ("float32", "float16")}),
        (
            OURS.replace(fast_decode=True),
            {"decoding": ("at full size", "at a fraction of the size, where that suffices")},
        ),
        (OURS.replace(background=(0, 0, 0)), {"background": ("white", "0, 0, 0")}),
        (
            presets.imagenet(interpolation="nearest"),
            {"interpolation": ("bilinear", "nearest")},
        ),
        (
            presets.get("raw", size=(224, 224), dtype="float32"),
            {
                "scaled and cut": (
                    "shorter side to 256; middle 224×224",
                    "stretch to 224×224",
                ),
                "multiplied by": ("1/255", "1 (0 to 255)"),
                "mean subtracted": ("0.485, 0.456, 0.406", "nothing"),
                "divided by": ("0.229, 0.224, 0.225", "nothing"),
            },
        ),
    ],
    ids=["colours", "axes", "type", "decoding", "background", "filter", "all numbers"],
)
def test_each_aspect_is_named_for_people(other, rows):
    assert told(other) == rows


def test_constants_are_told_in_red_green_blue_whatever_the_order_of_the_channels():
    bgr = OURS.replace(color_format="BGR")
    steps = [replace(s, mean=(0.1, 0.2, 0.3)) if hasattr(s, "mean") else s for s in bgr.steps]
    assert told(replace(bgr, steps=tuple(steps)))["mean subtracted"][1] == "0.3, 0.2, 0.1"


def test_the_same_in_other_steps_differs_in_how_it_is_computed_alone():
    (row,) = OURS.differs_from(OURS.unfused())
    assert row.what == "computed"
    assert "fused" in row.here
    assert "add the batch axis" in row.there


def test_what_the_words_of_a_step_leave_out_is_told():
    rough = Pipeline((Resize(256, reducing_gap=2.0), *OURS.unfused().steps[1:]))
    assert told(rough)["details of scaling"] == ("–", "reducing gap 2.0")
    sampled = Pipeline((ResizeSampled(256), *OURS.unfused().steps[1:]))
    assert "not antialiased" in told(sampled)["scaled and cut"][1]


def test_numbers_in_an_unusual_order_are_told_step_by_step():
    odd = Pipeline((CenterCrop(8), ChannelOrder("BGR"), Normalize(0.5, 0.5), Rescale(2), Cast()))
    assert told(odd)["done to the numbers"][1].startswith("minus 0.5, by 0.5; × 2")
