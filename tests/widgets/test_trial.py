"""One picture through one model, with any preprocessing."""

from __future__ import annotations

import io

import numpy as np
import pytest

from workbench.errors import ConfigError, NotAnImageError
from workbench.inference.results import Failure
from workbench.inference.runner import Runner
from workbench.preprocessing.pipeline import Pipeline
from workbench.stopping import Stop
from workbench.widgets.transfer import Upload
from workbench.widgets.trial import Photo, answer, classify, named


def test_the_answer_is_the_runners_own(hub, colour):
    runner, path = Runner(hub), colour()
    mine = classify(runner, Photo.of(path), hub.load("means"))
    theirs = runner.classify(path, model="means")
    assert mine.top == theirs.top
    assert mine.source == theirs.source == "red.png"
    assert set(mine.timings) == set(theirs.timings)
    assert mine.timings.total_s == pytest.approx(sum(mine.timings.values()))


def test_an_answer_keeps_a_small_picture_and_not_the_upload(hub, colour):
    content = colour().read_bytes()
    result = classify(Runner(hub), Photo.of(Upload("red.png", content)), hub.load("means"))
    assert result.picture().shape == (20, 30, 3)
    assert result._input.source is not content


def test_another_preprocessing_gives_another_answer(hub, colour):
    model = hub.load("means")
    steps = [s for s in model.preprocessing.recipe() if s["step"] != "Decode"]
    swapped = Pipeline.from_recipe([steps[0], {"step": "ChannelOrder"}, *steps[1:]])
    photo = Photo.of(colour())
    assert classify(Runner(hub), photo, model).label == "red"
    assert classify(Runner(hub), photo, model, pipeline=swapped).label == "blue"


def test_an_error_names_the_picture(hub):
    photo = Photo.of(Upload("notes.jpg", b"just some text"))
    with pytest.raises(NotAnImageError, match=r"notes\.jpg"):
        classify(Runner(hub), photo, hub.load("means"))
    failure = answer(Runner(hub), photo, hub.load("means"), stop=Stop())
    assert isinstance(failure, Failure)
    assert (failure.source, failure.code) == ("notes.jpg", "not_an_image")


def test_a_file_like_object_may_be_asked_twice(hub, colour):
    photo = Photo.of(io.BytesIO(colour().read_bytes()))
    model = hub.load("means")
    assert classify(Runner(hub), photo, model).top == classify(Runner(hub), photo, model).top


def test_arrays_are_pictures_too(hub):
    photo = Photo.of(np.full((8, 8, 3), (0, 255, 0), np.uint8))
    assert classify(Runner(hub), photo, hub.load("means")).label == "green"


def test_a_folder_with_more_pictures_than_are_taken_is_refused(colour):
    folder = colour("a.png").parent
    colour("b.png")
    assert [p.name for p in named(str(folder), most=2)] == ["a.png", "b.png"]
    with pytest.raises(ConfigError, match="at most 1 picture here"):
        named(str(folder), most=1)


def test_a_text_that_names_no_folder_is_one_picture():
    assert [p.name for p in named("https://example.org/cat.jpg", most=1)] == ["cat.jpg"]
    assert [p.name for p in named("data:image/png;base64,xx", most=1)] == ["data URI"]
