"""The evaluation: counts that can be checked by hand, folders, labels, stops."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count, repeat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.inference.evaluate import KEPT_MISTAKES, wilson
from workbench.models.hub import ModelHub
from workbench.stopping import Stop
from workbench.timing import clock

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    hub = ModelHub(model_dir=tmp_path / "shelf")
    path = graphs.means(tmp_path / "m.onnx")
    hub.preload("colours", path=path, metadata=graphs.PLAIN)
    hub.preload("nameless", path=path, metadata={k: v for k, v in graphs.PLAIN.items()
                                                 if k != "labels"})  # fmt: skip
    return hub


def plate(colour: str) -> np.ndarray:
    return np.full((8, 8, 3), COLOURS[colour], np.uint8)


def png(colour: str) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(plate(colour)).save(sink, "PNG")
    return sink.getvalue()


def test_top_1_confusion_and_mistakes_are_counted(hub: ModelHub) -> None:
    said = ["red", "red", "green", "blue", "blue", "blue"]
    truth = ["red", "green", "green", "blue", "red", 2]
    found = wb.evaluate("colours", [png(s) for s in said], truth, hub=hub)
    assert found.confusion.tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 2]]
    assert found.n == 6
    assert found.top1 == pytest.approx(4 / 6)
    assert found.top5 == 1.0
    assert [(m.truth, m.said) for m in found.mistakes] == [("green", "red"), ("red", "blue")]
    per_class = found.per_class()
    assert per_class.loc["red", "recall"] == 0.5
    assert per_class.loc["red", "most_taken_for"] == "blue"
    assert found.confusion_frame().loc["green", "red"] == 1
    low, high = found.interval
    assert low < 4 / 6 < high


def test_a_folder_with_a_folder_a_class_is_taken(hub: ModelHub, tmp_path: Path) -> None:
    for colour in COLOURS:
        folder = tmp_path / "set" / colour.upper()
        folder.mkdir(parents=True)
        for n in range(2):
            (folder / f"{n}.png").write_bytes(png(colour))
    (tmp_path / "set" / ".hidden").mkdir()
    found = wb.evaluate("colours", tmp_path / "set", hub=hub, progress=True)
    assert found.top1 == 1.0
    assert found.n == 6
    assert not found.mistakes


def test_a_picture_that_fails_counts_in_no_share(hub: ModelHub) -> None:
    found = wb.evaluate("colours", [png("red"), b"junk"], ["red", "red"], hub=hub)
    assert found.n == 1
    assert found.top1 == 1.0
    assert found.errors == {"not_an_image": 1}
    assert "not_an_image 1" in str(found)


def test_calibration_error_is_the_gap_between_sure_and_right(hub: ModelHub) -> None:
    found = wb.evaluate("colours", [png("red")] * 4, ["red", "red", "green", "green"], hub=hub)
    sure = float(np.exp(1) / (np.exp(1) + 2))
    assert found.calibration_error == pytest.approx(abs(sure - 0.5), abs=1e-6)


def test_only_the_most_confident_mistakes_are_kept(hub: ModelHub) -> None:
    found = wb.evaluate("colours", [plate("red")] * 40, ["blue"] * 40, hub=hub)
    assert len(found.mistakes) == KEPT_MISTAKES
    assert found.top1 == 0.0


def test_a_stop_keeps_what_was_counted(hub: ModelHub) -> None:
    stop = Stop()
    stop.cancel()
    found = wb.evaluate("colours", [png("red")] * 5, ["red"] * 5, hub=hub, stop=stop)
    assert found.stopped
    assert found.n == 0
    assert np.isnan(found.top1)
    assert "Stopped on request" in str(found)


@pytest.mark.parametrize(
    ("labels", "kind", "words"),
    [
        (["red"], errors.LabelsError, "there are 1, and more pictures"),
        (["red", "red", "red"], errors.LabelsError, "more than the 2 pictures"),
        (["red", "pink"], errors.LabelsError, "'pink' is not a class of the model, which has red"),
        (["red", 3], errors.LabelsError, "index 3 is not among 0 to 2"),
        (["red", True], errors.LabelsError, "True is not a class"),
        (None, errors.ConfigError, "one for each picture"),
    ],
)
def test_labels_are_checked(hub: ModelHub, labels: object, kind: type, words: str) -> None:
    with pytest.raises(kind) as caught:
        wb.evaluate("colours", [png("red"), png("red")], labels, hub=hub)
    assert words in str(caught.value)


def test_folders_and_models_that_cannot_be_used_are_refused(hub: ModelHub, tmp_path: Path) -> None:
    (tmp_path / "set" / "pink").mkdir(parents=True)
    with pytest.raises(errors.LabelsError, match="'pink' is not a class"):
        wb.evaluate("colours", tmp_path / "set", hub=hub)
    with pytest.raises(errors.MissingFileError, match="no folder for a class"):
        wb.evaluate("colours", tmp_path / "set" / "pink", hub=hub)
    with pytest.raises(errors.ConfigError, match="the folders name them"):
        wb.evaluate("colours", tmp_path / "set", ["red"], hub=hub)
    with pytest.raises(errors.LabelsError, match="none to compare with"):
        wb.evaluate("nameless", [png("red")], [0], hub=hub)


def test_it_shows_itself(hub: ModelHub) -> None:
    found = wb.evaluate("colours", [png("red"), png("green")], ["red", "red"], hub=hub)
    page = found._repr_html_()
    assert page == found._repr_html_()
    assert "red taken for green" in page
    assert found.plot().axes
    assert found.to_dict()["n"] == 2
    assert repr(found).startswith("<evaluation of colours: 50.0 % top-1 of 2 pictures")


def test_wilson_stays_within_0_and_1() -> None:
    assert wilson(1.0, 3) == pytest.approx((0.4385, 1.0), abs=1e-4)
    assert wilson(0.0, 3) == pytest.approx((0.0, 0.5615), abs=1e-4)


def test_a_limit_of_the_stop_keeps_what_was_counted(hub: ModelHub) -> None:
    stop = Stop(3600)

    def until_the_limit() -> Iterator[np.ndarray]:
        for n in count():
            if n == 400:  # far more than are prepared ahead
                stop.deadline_s = clock()
            yield plate("red")

    found = wb.evaluate("colours", until_the_limit(), repeat("red"), hub=hub, stop=stop)
    assert found.stopped
    assert 0 < found.n < 400
    assert found.errors == {}


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ("no/such/folder", None, "The folder no/such/folder does not exist"),
        ("cat.png", ["red"], "images is 'cat.png'; expected a list of pictures"),
        ([b""], "red", "labels is 'red'; expected a list with one for each picture"),
    ],
)
def test_one_text_is_no_list(hub: ModelHub, images: object, labels: object, message: str) -> None:
    with pytest.raises(errors.WorkbenchError, match=message):
        wb.evaluate("colours", images, labels, hub=hub)
