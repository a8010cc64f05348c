"""The explorer's view."""

from __future__ import annotations

import pytest

from workbench.widgets import preprocessing_explorer


@pytest.fixture
def explorer(hub, colour):
    made = preprocessing_explorer(hub.load("means"), colour())
    assert made.wait(60)
    yield made
    made.close()
    assert made.exploration.worker._closed


def test_moving_a_slider_changes_the_strip_the_answer_and_the_delta(explorer):
    strip, said = explorer.strip.value, explorer.said.value
    assert explorer.reset_button.disabled
    explorer.dials.color.set_state({"index": 1})
    assert explorer.wait(60)
    explorer.check()
    assert explorer.delta.value == explorer.difference()._repr_html_()
    assert explorer.strip.value != strip
    assert explorer.said.value != said
    assert ("colours", "RGB", "BGR") in explorer.exploration.own.differs_from(explorer.pipeline)
    assert ">colours</th>" in explorer.delta.value
    assert explorer.pipeline.color_format == "BGR"


def test_reset_moves_the_sliders_back(explorer):
    explorer.turn(interpolation="nearest")
    assert explorer.wait(60)
    explorer.reset_button.click()
    assert explorer.wait(60)
    assert explorer.dials.interpolation.value == "bilinear"
    assert explorer.reset_button.disabled


def test_the_recipe_is_offered_for_copying(explorer):
    explorer.code_button.click()
    assert "wb.Pipeline.from_recipe" in explorer.snippet.value
    explorer.json_button.click()
    assert explorer.snippet.value.startswith("{")


def test_the_sliders_follow_what_is_turned_from_a_cell(explorer):
    explorer.turn(color_format="BGR", size=(6, 6))
    assert (explorer.dials.color.value, explorer.dials.side.value) == ("BGR", 6)
    explorer.exploration.use(explorer.exploration.own)
    explorer.exploration.changed()
    assert (explorer.dials.color.value, explorer.dials.side.value) == ("RGB", 8)
    assert explorer.wait(60)


def test_what_was_offered_for_copying_follows_the_sliders(explorer):
    explorer.json_button.click()
    explorer.turn(color_format="BGR")
    assert explorer.snippet.value == explorer.exploration.json()
    assert "ChannelOrder" in explorer.snippet.value
    explorer.code_button.click()
    explorer.reset_button.click()
    assert explorer.snippet.value == explorer.exploration.code()
    assert explorer.wait(60)
