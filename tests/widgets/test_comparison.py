"""Several models about one picture: where they agree, and where not."""

from __future__ import annotations

import json

import pytest

from tests import graphs
from workbench.errors import ConfigError, WorkbenchError
from workbench.widgets.comparison import Comparison
from workbench.widgets.transfer import Upload


@pytest.fixture
def several(hub):
    """Add a second model that agrees, one that differs, and one that cannot answer."""
    shelf = hub.shelves[0].models
    swapped = {**graphs.PLAIN, "labels": ["blue", "green", "red"]}
    for name, told in (("same", graphs.PLAIN), ("other", swapped)):
        graphs.means(shelf / f"{name}.onnx")
        (shelf / "metadata" / f"{name}.json").write_text(json.dumps(told))
    graphs.brittle(shelf / "brittle.onnx")
    (shelf / "metadata" / "brittle.json").write_text(json.dumps(graphs.PLAIN))
    return hub


def compared(hub, picture, models):
    made = Comparison(hub, picture, models=models)
    assert made.wait(60)
    made.close()
    return made


def test_agreement_and_disagreement_are_marked(several, colour):
    made = compared(several, colour(), ["means", "same", "other"])
    said = made.opinions()
    assert said.majority == "red"
    assert said.marks == ("= agrees", "= agrees", "≠ differs")
    assert said.same_classes
    assert "models differ: red 2, blue 1" in str(said)


def test_where_no_two_agree_nobody_is_right(several, colour):
    made = compared(several, colour(), ["means", "other"])
    assert made.opinions().majority is None
    assert made.opinions().marks == ("≠ differs", "≠ differs")


def test_a_model_that_fails_does_not_stop_the_others(several, colour):
    made = compared(several, colour("g.png", (0, 255, 0)), ["brittle", "means"])
    assert list(made.opinions().to_frame()["error"]) == ["output_not_finite", ""]
    with pytest.raises(WorkbenchError):
        made.problems.check()


def test_other_models_are_asked_and_known_answers_stay(several, colour):
    made = Comparison(several, colour(), models=["means"])
    assert made.wait(60)
    first = made.results[0]
    made.choose(["means", "same"])
    assert made.wait(60)
    assert made.results[0] is first
    assert [r.model for r in made.results] == ["means", "same"]
    made.choose([])
    with pytest.raises(ConfigError):
        made.problems.check()
    made.close()


def test_another_picture_begins_anew(several, colour):
    made = Comparison(several, colour(), models=["means", "same"])
    made.take(Upload("b.png", colour("b.png", (0, 0, 255)).read_bytes()))
    assert made.wait(60)
    assert [r.label for r in made.results] == ["blue", "blue"]
    made.close()


def test_without_a_picture_it_waits(several):
    made = Comparison(several, models=["means"])
    assert made.results == []
    assert len(made.opinions()) == 0
    made.close()
