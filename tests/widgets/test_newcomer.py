"""A model that nobody has described: what its file tells, and what is guessed."""

from __future__ import annotations

import pytest

from workbench.errors import LabelsError, NotOnnxError, UnsupportedInputsError
from workbench.widgets.newcomer import Newcomer, name_for, read_labels


def test_its_graph_and_its_guesses_are_told(tiny):
    newcomer = Newcomer.look(tiny)
    assert (newcomer.id, newcomer.classes, newcomer.side) == ("tiny", 4, 8)
    assert newcomer.fixed_size
    text = str(newcomer)
    assert "images: float32 (batch, 3, 8, 8)" in text
    assert "guessed" in text


def test_a_graph_that_takes_any_size_is_asked_about(tmp_path, make_classifier):
    path = make_classifier(tmp_path / "any.onnx", size=None, classes=1000)
    newcomer = Newcomer.look(path)
    assert (newcomer.preset, newcomer.side, newcomer.fixed_size) == ("imagenet", 224, False)
    assert newcomer.metadata(side=96)["input_shape"] == [1, 3, 96, 96]


def test_the_layout_of_the_graph_is_that_of_the_metadata(tmp_path, make_classifier):
    path = make_classifier(tmp_path / "last.onnx", layout="NHWC", size=16)
    assert Newcomer.look(path).metadata()["input_shape"] == [1, 16, 16, 3]


def test_what_the_gate_refuses_is_no_newcomer(tmp_path):
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(NotOnnxError):
        Newcomer.look(tmp_path / "text.onnx")


def test_a_model_that_takes_no_picture_is_refused(tmp_path):
    from tests import graphs

    path = graphs.two_inputs(tmp_path / "sum.onnx")
    with pytest.raises(UnsupportedInputsError, match=r"^theirs\.onnx ") as told:
        Newcomer.look(path, name="theirs.onnx")
    assert str(tmp_path) not in str(told.value), "nobody needs to know where it is kept"


def test_answers_make_metadata_that_a_hub_takes(hub, tiny):
    newcomer = Newcomer.look(tiny, known=hub.ids())
    told = newcomer.metadata(preset="raw", labels="a, b, c, d")
    model = hub.preload(newcomer.id, path=tiny, metadata=told)
    assert model.labels == ("a", "b", "c", "d")
    assert not model.spec.guessed


@pytest.mark.parametrize(
    "file", ["../../etc/x.onnx", "<b>.onnx", ".onnx", "", "猫.onnx", "-a-.ONNX"]
)
def test_any_file_name_gives_an_id_that_a_shelf_takes(file):
    from workbench.models.store import check_id

    assert check_id(name_for(file)) == name_for(file)


@pytest.mark.parametrize("text", ["[1, 2]", "[", '["a", 3]', "[{}]"])
def test_a_broken_list_of_labels_is_an_error_in_words(text):
    with pytest.raises(LabelsError):
        read_labels(text)


def test_no_labels_are_no_labels():
    assert read_labels("  \n ") == []
