"""A pipeline as knobs, and a pipeline turned by them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from workbench.errors import ConfigError
from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.widgets.knob import Knobs, turned


@pytest.mark.parametrize("name", presets.NAMES)
@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
def test_knobs_that_are_not_turned_change_nothing(name, color):
    own = presets.get(name, color_format=color)
    assert turned(own, Knobs.of(own)) is own


def turn(own, **knobs):
    return turned(own, dataclasses.replace(Knobs.of(own), **knobs))


@pytest.mark.parametrize(
    ("knob", "value", "same"),
    [("size", (96, 96), presets.imagenet(96)),
     ("crop", 1.0, presets.imagenet(crop_pct=1.0)),
     ("interpolation", "bicubic", presets.imagenet(interpolation="bicubic")),
     ("mean", (0.5, 0.4, 0.3), presets.imagenet(mean=(0.5, 0.4, 0.3))),
     ("std", (0.5, 0.4, 0.3), presets.imagenet(std=(0.5, 0.4, 0.3))),
     ("color_format", "BGR", presets.get("imagenet", color_format="BGR")),
     ("layout", "NHWC", presets.get("imagenet", layout="NHWC"))],
)  # fmt: skip
def test_a_knob_gives_what_the_preset_gives_with_that_argument(knob, value, same):
    made = turn(presets.imagenet(), **{knob: value})
    assert made == same
    assert getattr(Knobs.of(made), knob) == value


def test_constants_are_red_green_blue_in_whatever_order_the_channels_are():
    own = presets.get("imagenet", color_format="BGR")
    assert Knobs.of(own).mean == presets.IMAGENET_MEAN
    made = turn(own, mean=(0.1, 0.2, 0.3))
    assert made == turn(turn(presets.imagenet(), mean=(0.1, 0.2, 0.3)), color_format="BGR")


def test_plain_steps_have_the_same_knobs():
    own = presets.imagenet().unfused()
    made = turn(own, crop=1.0, interpolation="bicubic", mean=(0.5, 0.5, 0.5))
    assert Knobs.of(made) == Knobs.of(
        presets.imagenet(crop_pct=1.0, interpolation="bicubic", mean=(0.5, 0.5, 0.5))
    )


def test_what_a_recipe_does_not_have_is_none():
    knobs = Knobs.of(Pipeline.from_recipe([{"step": "Layout", "layout": "CHW"}, {"step": "Batch"}]))
    assert (knobs.size, knobs.crop, knobs.interpolation, knobs.mean) == (None, None, None, None)


def test_a_position_that_cannot_be_is_refused_in_words():
    with pytest.raises(ConfigError):
        turn(presets.imagenet(), crop=2.0)
    with pytest.raises(ConfigError):
        turn(presets.imagenet(), std=(0.0, 1.0, 1.0))


def test_a_turned_pipeline_runs():
    made = turn(presets.imagenet(), size=(64, 64), layout="NHWC", crop=0.5)
    assert made(np.zeros((100, 150, 3), np.uint8)).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("own", [presets.cifar10(), presets.imagenet(), presets.inception()])
def test_the_crop_stays_where_another_knob_is_turned(own):
    for crop in np.arange(0.3, 1.0005, 0.001).round(3).tolist():
        now = turned(own, Knobs.of(own).turned(crop=crop))
        there = turned(own, Knobs.of(now).turned(color_format="BGR"))
        again = turned(own, Knobs.of(there).turned(color_format="RGB", interpolation="nearest"))
        back = turned(own, Knobs.of(again).turned(interpolation=Knobs.of(own).interpolation))
        assert back == now, crop


def test_what_is_no_knob_and_too_few_numbers_are_refused_in_words():
    knobs = Knobs.of(presets.imagenet())
    with pytest.raises(ConfigError, match="interpolation"):
        knobs.turned(interpolaton="nearest")
    for wrong in ((1,), (1, 2, 3, 4)):
        with pytest.raises(ConfigError, match="3 numbers, one a channel"):
            knobs.turned(mean=wrong)
