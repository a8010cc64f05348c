"""A recipe is turned, and the strip and the answer change."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench.cards import BarGrid
from workbench.errors import ConfigError, WorkbenchError
from workbench.inference.results import Failure
from workbench.preprocessing.pipeline import Pipeline
from workbench.widgets.exploration import Exploration
from workbench.widgets.transfer import Upload


@pytest.fixture
def exploration(hub, colour):
    made = Exploration(hub.load("means"), colour())
    assert made.wait(60)
    yield made
    made.close()
    assert made.wait(60)


def test_it_begins_with_the_models_own_recipe(exploration):
    assert exploration.delta == ()
    assert exploration.outcome.label == exploration.own_outcome.label == "red"
    assert "own recipe" in str(exploration.difference())
    assert len(exploration.trace) == 5


def test_turning_changes_the_strip_the_answer_and_the_delta(exploration):
    before = exploration.trace
    exploration.turn(color_format="BGR")
    assert exploration.wait(60)
    assert exploration.trace is not before
    assert exploration.outcome.label == "blue"
    assert exploration.own_outcome.label == "red"
    assert ("ChannelOrder", None, True) in exploration.delta
    text = str(exploration.difference())
    assert "the model's own" in text
    assert "What it does to the answer" in text


def test_a_turned_recipe_is_seen_in_the_pictures(exploration):
    own = exploration.trace
    assert np.array_equal(own.seen, own.picture)
    assert own.seen[0, 0].tolist() == [255, 0, 0]
    exploration.turn(color_format="BGR")
    assert exploration.wait(60)
    assert exploration.trace.seen[0, 0].tolist() == [0, 0, 255], "blue, as the model reads it"
    assert "what the model sees" in exploration.trace._repr_html_()
    assert "what the model sees" not in own._repr_html_()
    exploration.use(Pipeline.from_recipe(exploration.pipeline.recipe()))
    assert exploration.wait(60)
    assert exploration.trace.seen[0, 0].tolist() == [0, 0, 255], "whoever made the recipe"


def test_the_effect_is_told_of_every_class_that_either_answer_names(hub, colour):
    made = Exploration(hub.load("means"), colour(), top_k=1)
    made.turn(color_format="BGR")
    assert made.wait(60)
    bars = next(b for b in made.difference().card.blocks if isinstance(b, BarGrid))
    told = dict(bars.rows)
    assert set(told) == {"red", "blue"}
    assert told["red"][0].share > told["red"][1].share > 0
    assert told["blue"][1].share > told["blue"][0].share > 0
    assert [bar.label for bar in (*told["red"], *told["blue"])] == ["→", "", "", "→"]
    made.close()


def test_many_turns_end_at_the_last(exploration):
    for side in range(8, 40):
        exploration.turn(size=(side, side))
    assert exploration.wait(60)
    assert exploration.trace[-1].shape == (1, 3, 39, 39)


def test_what_the_model_refuses_is_said_and_the_strip_is_still_shown(exploration):
    exploration.turn(size=(16, 16))
    assert exploration.wait(60)
    assert isinstance(exploration.outcome, Failure)
    assert exploration.trace[-1].shape == (1, 3, 16, 16)
    with pytest.raises(WorkbenchError):
        exploration.problems.check()


def test_reset_goes_back(exploration):
    exploration.turn(interpolation="nearest")
    exploration.reset()
    assert exploration.wait(60)
    assert exploration.pipeline is exploration.own


def test_the_recipe_can_be_copied_as_json_and_as_code(exploration):
    exploration.turn(interpolation="nearest")
    told = json.loads(exploration.json())["preprocessing"]
    assert Pipeline.from_recipe(told) == exploration.pipeline
    space: dict = {}
    assert exploration.wait(60)
    exec(compile(exploration.code(), "cell", "exec"), space)
    assert space["pipeline"] == exploration.pipeline


def test_another_picture_is_asked_with_the_same_knobs(exploration, colour):
    exploration.turn(color_format="BGR")
    exploration.take(Upload("b.png", colour("b.png", (0, 0, 255)).read_bytes()))
    assert exploration.wait(60)
    assert (exploration.outcome.label, exploration.own_outcome.label) == ("red", "blue")


def test_an_impossible_position_is_a_problem(exploration):
    exploration.turn(crop=0.5, size=None)
    assert exploration.wait(60)
    exploration.turn(layout="HWC")
    with pytest.raises(ConfigError):
        exploration.problems.check()


def test_a_model_by_name_is_refused_in_words(colour):
    with pytest.raises(ConfigError, match=r"hub\.load"):
        Exploration("means", colour())


def test_a_file_that_is_no_picture_leaves_the_picture_before(exploration, colour):
    exploration.take(Upload("x.jpg", b"only a text", "drop"))
    assert exploration.wait(60)
    with pytest.raises(WorkbenchError, match=r"x\.jpg"):
        exploration.problems.check()
    assert exploration.photo.name != "x.jpg"
    exploration.turn(color_format="BGR")
    assert exploration.wait(60)
    assert len(exploration.problems.kept) == 1, "of the text alone"
    assert exploration.outcome.label == "blue"
    assert "x.jpg" not in exploration.code()
