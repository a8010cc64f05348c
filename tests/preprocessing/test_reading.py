"""A trace shows what is fed as it lies in memory, and what the model takes it for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from workbench.cards import Pictures
from workbench.errors import ConfigError
from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import ChannelOrder, Layout, Normalize, Rescale, Resize

RED = np.zeros((40, 50, 3), np.uint8)
RED[:, :, 0] = 200
#: Two models, each with its own recipe as what it reads.
WANTS_RGB = replace(presets.cifar10(), reader=presets.cifar10())
_BGR = presets.get("cifar10", color_format="BGR")
WANTS_BGR = replace(_BGR, reader=_BGR)


def colour(picture):
    """Say which channel of a picture is the brightest."""
    return "RGB"[int(picture.reshape(-1, 3).mean(axis=0).argmax())]


def words(thing):
    return " ".join(str(thing).split())


def strip(thing):
    return next(b for b in thing._card().blocks if isinstance(b, Pictures)).items


def test_every_picture_from_the_exchange_on_is_drawn_as_the_numbers_lie_and_says_so():
    plain = presets.cifar10().unfused().steps
    at = next(n for n, s in enumerate(plain) if isinstance(s, Rescale))
    trace = Pipeline((*plain[:at], ChannelOrder("BGR"), *plain[at:])).trace(RED)
    place = trace.names.index("channel_order")
    assert [colour(s.picture) for s in trace] == ["R"] * place + ["B"] * (len(trace) - place)
    assert [s.color_format for s in trace] == ["RGB"] * place + ["BGR"] * (len(trace) - place)
    badges = [any("channel 0 = blue" in line for line in s.lines()) for s in trace]
    assert badges == [s.color_format == "BGR" for s in trace]
    assert colour(trace.picture) == "B"
    assert "red and blue are seen exchanged" in words(trace)
    assert trace.to_frame()["channels"].iloc[-1] == "BGR"


@pytest.mark.parametrize("steps", [(), (Rescale(), Layout("CHW"))], ids=["uint8", "float32, CHW"])
def test_two_exchanges_are_none(steps):
    trace = Pipeline((ChannelOrder("BGR"), ChannelOrder("BGR"), *steps)).trace(RED)
    assert [colour(s.picture) for s in trace][:3] == ["R", "B", "R"]
    assert colour(trace.picture) == "R"
    assert trace.seen is None, "no model is known"


def test_a_model_that_wants_rgb_sees_exchanged_colours_in_bgr():
    right, wrong = WANTS_RGB.trace(RED), WANTS_RGB.replace(color_format="BGR").trace(RED)
    assert (colour(right.seen), colour(wrong.seen)) == ("R", "B")
    assert (colour(right.picture), colour(wrong.picture)) == ("R", "B")
    assert len(strip(right)) == len(right), "the last step shows it already"
    assert len(strip(wrong)) == len(wrong) + 1
    assert strip(wrong)[-1].lines == (
        "what the model sees",
        "it reads RGB",
        "these steps are not its own",
    )
    assert len([a for a in wrong.plot().axes if a.images]) == len(wrong) + 1


def test_a_model_that_wants_bgr_sees_the_right_colours_in_bgr_and_wrong_ones_in_rgb():
    right, wrong = WANTS_BGR.trace(RED), WANTS_BGR.replace(color_format="RGB").trace(RED)
    assert (colour(right.seen), colour(wrong.seen)) == ("R", "B")
    assert (colour(right.picture), colour(wrong.picture)) == ("B", "R"), "as the numbers lie"
    assert strip(right)[-1].lines == ("what the model sees", "it reads BGR", "by its own recipe")
    assert "channel 0 = blue" in str(right)
    assert "channel 0 = blue" not in str(wrong)


def test_what_is_fed_in_another_range_is_seen_as_the_model_takes_it():
    grey = np.full((40, 40, 3), 60, np.uint8)
    raw = Pipeline((Resize((32, 32)), Rescale(1.0), Layout("CHW")), reader=WANTS_RGB)
    assert raw.trace(grey).seen is None, "without a batch it is not taken at all"
    raw = presets.get("raw", size=(32, 32), dtype="float32")
    fed = raw.trace(grey, reader=WANTS_RGB)
    assert fed.picture.max() == 60
    assert fed.seen.min() == 255, "numbers up to 255 where about ±2 are expected: white"
    normal = Normalize((0.2, 0.2, 0.2), (0.2, 0.2, 0.2), "HWC")
    darker = WANTS_RGB.unfused()
    steps = [normal if isinstance(s, Normalize) else s for s in darker.steps]
    trace = replace(darker, steps=tuple(steps)).trace(grey)
    assert abs(int(trace.picture.mean()) - 60) <= 1
    assert abs(int(trace.seen.mean()) - 60) > 20


def test_what_the_model_would_refuse_is_said_and_not_drawn():
    trace = WANTS_RGB.replace(layout="NHWC").trace(RED)
    assert trace.seen is None
    assert "float32 NCHW with 3 channels, and this is float32 NHWC" in words(trace)
    assert len(strip(trace)) == len(trace)
    grey = WANTS_RGB.replace(color_format="GRAY").trace(RED)
    assert "this is float32 NCHW with 1 channel." in words(grey)


def test_the_reader_is_no_part_of_the_recipe():
    assert presets.cifar10() == WANTS_RGB
    assert hash(WANTS_RGB) == hash(presets.cifar10())
    assert WANTS_RGB.recipe() == presets.cifar10().recipe()
    with pytest.raises(ConfigError, match="reader"):
        replace(WANTS_RGB, reader="cifar10")


def test_a_step_on_the_picture_cannot_follow_one_on_numbers():
    with pytest.raises(ConfigError, match="before ChannelOrder"):
        Pipeline((ChannelOrder("BGR"), Resize(8)))


def test_the_own_recipe_in_plain_steps_is_its_own_recipe():
    own = presets.imagenet()
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    assert own.unfused().trace(pixels, reader=own).reading.same
    assert not own.replace(color_format="BGR").trace(pixels, reader=own).reading.same
