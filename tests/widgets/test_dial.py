"""Sliders forward where they are moved to, and are moved without an echo."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.widgets.dial import Dials
from workbench.widgets.knob import Knobs


@pytest.fixture
def dials():
    told = []
    made = Dials(lambda **knobs: told.append(knobs))
    made.told = told
    made.set(Knobs.of(presets.imagenet()))
    return made


def test_setting_the_sliders_tells_nobody(dials):
    assert dials.told == []
    assert dials.side.value == 224
    assert dials.crop.value == 0.875
    assert [s.value for s in dials.mean] == list(presets.IMAGENET_MEAN)


@pytest.mark.parametrize(
    ("name", "state", "knobs"),
    [("side", {"value": 96}, {"size": (96, 96)}), ("crop", {"value": 0.5}, {"crop": 0.5}),
     ("color", {"index": 1}, {"color_format": "BGR"}),
     ("layout_", {"index": 1}, {"layout": "NHWC"})],
)  # fmt: skip
def test_a_moved_slider_is_forwarded(dials, name, state, knobs):
    getattr(dials, name).set_state(state)
    assert dials.told == [knobs]


def test_one_constant_is_forwarded_with_all(dials):
    dials.mean[1].set_state({"value": 0.25})
    assert dials.told[0]["mean"] == (0.485, 0.25, 0.406)
    assert dials.told[0]["std"] == presets.IMAGENET_STD


def test_what_a_recipe_does_not_have_is_switched_off(dials):
    dials.set(Knobs.of(presets.raw()))
    assert dials.crop.disabled
    assert {s.layout.display for s in (*dials.mean, *dials.std)} == {"none"}
    assert not dials.side.disabled


def test_a_recipe_without_a_size_and_with_grey_is_shown_too(dials):
    dials.set(Knobs.of(presets.get("imagenet", color_format="GRAY")))
    assert dials.color.disabled
    assert [s.layout.display for s in dials.mean] == [None, "none", "none"]
    dials.set(Knobs.of(Pipeline.from_recipe([{"step": "Layout", "layout": "CHW"},
                                             {"step": "Batch"}])))  # fmt: skip
    assert dials.side.disabled
    assert dials.interpolation.disabled


def test_a_value_beyond_the_range_widens_it(dials):
    dials.set(Knobs.of(presets.imagenet(1024)))
    assert dials.side.value == 1024


def test_what_a_browser_rounds_to_the_steps_of_a_slider_turns_nothing(dials):
    exact = (0.48512345, 0.456, 0.406)
    dials.set(Knobs.of(presets.imagenet().replace()))
    own = Pipeline.from_recipe(presets.imagenet().recipe())
    knobs = Knobs.of(own)
    dials.set(Knobs(**{f: getattr(knobs, f) for f in Knobs.__slots__} | {"mean": exact}))
    dials.mean[0].set_state({"value": 0.4851})
    assert dials.told == []
    dials.mean[1].set_state({"value": 0.25})
    assert dials.told[0]["mean"] == (exact[0], 0.25, exact[2]), "to the last digit"


def test_dials_follow_what_is_turned_elsewhere_and_leave_the_others_alone(dials):
    dials.crop.set_state({"value": 0.703})  # a person's, which the pixels make 0.7044
    there = replace(Knobs.of(presets.imagenet()), crop=0.7044)
    dials._stand = there
    dials.follow(replace(there, interpolation="nearest", mean=(0.1, 0.2, 0.3)))
    assert dials.interpolation.value == "nearest"
    assert [s.value for s in dials.mean] == [0.1, 0.2, 0.3]
    assert dials.crop.value == 0.703
    assert dials.told == [{"crop": 0.703}]
    dials.follow(replace(there, crop=0.5))
    assert dials.crop.value == 0.5


def test_a_dial_whose_turn_was_refused_goes_back(dials):
    stand = Knobs.of(presets.imagenet())
    dials._turn = lambda **_: dials.follow(stand)
    dials.color.set_state({"index": 1})
    assert dials.color.value == "RGB"


def test_a_dial_that_is_moved_while_another_thread_paints_is_forwarded(dials):
    inside, go = threading.Event(), threading.Event()

    def paints():
        with dials._quiet:
            inside.set()
            go.wait(120)

    painter = threading.Thread(target=paints)
    painter.start()
    assert inside.wait(120)
    dials.side.set_state({"value": 96})
    go.set()
    painter.join()
    assert dials.told == [{"size": (96, 96)}]
