"""Another preprocessing in place of the model's own: used, checked, and told in the answer."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.cards import Table
from workbench.inference.opinion import OpinionGrid, Opinions
from workbench.inference.recipe import in_short, turned
from workbench.inference.results import Failure, Result, Results
from workbench.inference.runner import Runner
from workbench.models.hub import ModelHub
from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import Batch, Cast, CenterCrop, Layout, Rescale

RED = np.zeros((8, 8, 3), np.uint8)
RED[:, :, 0] = 255


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(ModelHub(model_dir=tmp_path / "shelf"))


@pytest.fixture
def model(runner: Runner, tmp_path: Path) -> wb.Model:
    """Return a model that names the brightest of red, green and blue."""
    return runner.hub.preload("means", path=graphs.means(tmp_path / "means.onnx"), metadata=graphs.PLAIN)  # fmt: skip  # noqa: E501


def bgr(model: wb.Model) -> Pipeline:
    return model.preprocessing.replace(color_format="BGR")


def test_a_turned_recipe_is_used_and_the_answer_says_by_what_it_differs(
    runner: Runner, model: wb.Model
) -> None:
    own = runner.classify(RED, model=model)
    result = runner.classify(RED, model=model, preprocessing=bgr(model))
    assert (own.label, result.label) == ("red", "blue")
    assert (own.preprocessing, own.differs) == (None, ())
    assert result.preprocessing == bgr(model)
    assert result.differs == (("colours", "RGB", "BGR"),)
    tables = [b for b in result._card().blocks if isinstance(b, Table)]
    assert tables[0].caption == "Not the model's own preprocessing"
    assert tables[0].rows == (("colours", "RGB", "BGR"),)
    assert "not by its own preprocessing" in repr(result)
    assert "own preprocessing" not in str(own)
    assert set(result.to_frame()["preprocessing"]) == {"colours: BGR, not RGB"}
    assert result.to_dict()["preprocessing"] == bgr(model).recipe()
    assert "preprocessing" not in own.to_dict()
    again = pickle.loads(pickle.dumps(result))
    assert again.differs == result.differs


def test_the_answer_is_that_to_the_ready_tensor_of_the_recipe(
    runner: Runner, model: wb.Model
) -> None:
    photo = wb.example("cat")
    recipe = model.preprocessing.replace(fast_decode=True, color_format="BGR")
    result = runner.classify(photo, model=model, preprocessing=recipe)
    ready = runner.classify_tensor(recipe(photo), model=model)
    assert np.array_equal(result.probabilities, ready.probabilities)
    assert result.picture() is not None
    assert "decode" in result.timings
    assert ready.preprocessing is None


@pytest.mark.parametrize("form", ["pipeline", "recipe", "preset"])
def test_a_recipe_and_the_name_of_a_preset_stand_for_a_pipeline(
    runner: Runner, model: wb.Model, form: str
) -> None:
    wanted = presets.get("imagenet", size=(8, 8), dtype="float32")
    given: dict[str, Any] = {"pipeline": wanted, "recipe": wanted.recipe(), "preset": "imagenet"}
    result = runner.classify(RED, model=model, preprocessing=given[form])
    assert result.preprocessing == wanted
    assert np.array_equal(
        result.probabilities, runner.classify_tensor(wanted(RED), model=model).probabilities
    )


def test_the_models_own_recipe_given_by_hand_is_its_own(runner: Runner, model: wb.Model) -> None:
    result = runner.classify(RED, model=model, preprocessing=model.preprocessing.recipe())
    assert result.preprocessing is None
    assert turned(model, None) is None
    assert in_short(result.preprocessing) == "its own"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 16}, r"float32 \(1, 3, 16, 16\), NCHW, from this preprocessing"),
        ({"layout": "NHWC"}, r"float32 \(1, 8, 8, 3\), NHWC, from this .*float32 .*NCHW"),
        ({"color_format": "GRAY"}, r"\(1, 1, 8, 8\)"),
        ({"dtype": "float16"}, r"got float16 .*expected images: float32"),
    ],
    ids=["size", "layout", "channels", "type"],
)
def test_what_the_graph_does_not_take_is_refused_before_any_work(
    runner: Runner, model: wb.Model, change: dict[str, Any], words: str
) -> None:
    wrong = model.preprocessing.replace(**change)
    for images in (RED, [RED, RED]):
        with pytest.raises(errors.InputMismatchError, match=words) as caught:
            runner.classify(images, model=model, preprocessing=wrong)
        assert caught.value.code == "input_mismatch"
        assert "model.preprocessing.replace" in caught.value.hint
    assert runner.metrics.count == 0


def test_a_layout_is_told_apart_where_the_graph_leaves_all_sizes_open(
    runner: Runner, tmp_path: Path
) -> None:
    path = graphs.means(tmp_path / "open.onnx", size="side")  # type: ignore[arg-type]
    model = runner.hub.preload("open", path=path, metadata=graphs.PLAIN)
    assert runner.classify(RED, model=model, preprocessing=bgr(model)).label == "blue"
    larger = model.preprocessing.replace(size=16)
    assert runner.classify(RED, model=model, preprocessing=larger).differs[0].what == "size fed"
    with pytest.raises(errors.InputMismatchError, match="NHWC"):
        runner.classify(RED, model=model, preprocessing=larger.replace(layout="NHWC"))


def test_a_recipe_whose_size_depends_on_the_picture_is_checked_with_each_picture(
    runner: Runner, model: wb.Model
) -> None:
    loose = Pipeline((Rescale(), Cast("float32"), Layout("CHW"), Batch()))
    assert runner.classify(RED, model=model, preprocessing=loose).label == "red"
    found = runner.classify([RED, np.zeros((9, 9, 3), np.uint8)], model=model, preprocessing=loose)
    assert [type(item) for item in found] == [Result, Failure]
    assert found.failures[0].code == "input_mismatch"


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ("imagnet", errors.ConfigError, "'imagenet'"),
        (7, errors.ConfigError, "a Pipeline, the name of a preset, or a recipe"),
        (presets.imagenet, errors.ConfigError, "a Pipeline"),
        ([{"step": "Resiz", "size": 8}], errors.MetadataError, "'Resiz'"),
        ([{"step": "Resize", "size": -8}], errors.MetadataError, "1 to"),
    ],
)
def test_what_is_no_preprocessing_is_refused(
    runner: Runner, model: wb.Model, given: Any, kind: type[Exception], words: str
) -> None:
    for call in (runner.classify, runner.run):
        with pytest.raises(kind, match=words):
            call(RED, model=model, preprocessing=given)


def test_a_preprocessing_beside_what_is_ready_is_refused(runner: Runner, model: wb.Model) -> None:
    batch = model.preprocessing(RED)
    for ready in (batch, {"images": batch}):
        with pytest.raises(errors.ConfigError, match="for pictures"):
            runner.run(ready, model, preprocessing="raw")
    assert runner.run(RED, model, preprocessing=bgr(model)).label == "blue"


def test_many_pictures_are_told_apart_in_card_and_frame(
    runner: Runner, model: wb.Model, tmp_path: Path
) -> None:
    sink = io.BytesIO()
    Image.fromarray(RED).save(sink, "PNG")
    found = runner.classify([sink.getvalue(), b"x"], model=model, preprocessing=bgr(model))
    assert isinstance(found, Results)
    assert found.to_frame()["preprocessing"].tolist() == ["colours: BGR, not RGB", ""]
    assert ("not its own preprocessing", "colours: BGR, not RGB") in found._card().facts()
    own = runner.classify([RED], model=model)
    assert "preprocessing" not in own.to_frame()
    streamed = runner.stream([RED], model=model, preprocessing=bgr(model))
    assert [item.label for item in streamed] == ["blue"]


def test_several_models_are_each_asked_with_it_where_it_fits(
    runner: Runner, model: wb.Model, tmp_path: Path
) -> None:
    large = runner.hub.preload(
        "large",
        path=graphs.means(tmp_path / "large.onnx", size=16),
        metadata=graphs.PLAIN | {"input_shape": [1, 3, 16, 16], "preprocessing": "raw"},
    )
    told = runner.classify(RED, model=[model, large], preprocessing=bgr(model))
    assert isinstance(told, Opinions)
    assert told["means"].label == "blue"
    assert told["large"].code == "input_mismatch"
    assert "means, not with its own preprocessing: colours: BGR, not RGB." in str(told)
    both = runner.classify(RED, model=[model, large], preprocessing="imagenet")
    assert [r.preprocessing.size for r in both] == [(8, 8), (16, 16)]
    grid = runner.classify([RED], model=[model, large], preprocessing="imagenet")
    assert isinstance(grid, OpinionGrid)
    assert grid[0]["large"].preprocessing is not None


def test_an_evaluation_says_with_what_it_was_made(
    runner: Runner, model: wb.Model, tmp_path: Path
) -> None:
    truths = ["red", "red"]
    own = wb.evaluate(model, [RED, RED], truths, runner=runner)
    wrong = wb.evaluate(model, [RED, RED], truths, preprocessing=bgr(model), runner=runner)
    assert (own.top1, wrong.top1) == (1, 0)
    assert (own.preprocessing, wrong.preprocessing) == (None, bgr(model))
    assert ("not its own preprocessing", "colours: BGR, not RGB") in wrong._card().facts()
    cut = Pipeline((CenterCrop(4), *model.preprocessing.steps[1:]))
    with pytest.raises(errors.InputMismatchError):
        wb.evaluate(model, [RED], ["red"], preprocessing=cut, runner=runner)


def test_a_folder_and_a_file_take_one_too(runner: Runner, model: wb.Model, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(wb.example("cat"), folder)
    found = runner.classify(folder, model=model, preprocessing=bgr(model))
    alone = runner.classify(folder / "cat.png", model=model, preprocessing=bgr(model))
    assert found[0].label == alone.label
    assert found[0].preprocessing == alone.preprocessing == bgr(model)


def test_a_model_that_takes_no_picture_takes_no_preprocessing(
    runner: Runner, tmp_path: Path
) -> None:
    adder = runner.hub.preload("adder", path=graphs.two_inputs(tmp_path / "two.onnx"), metadata={"model_type": "unknown"})  # fmt: skip  # noqa: E501
    with pytest.raises(errors.UnsupportedInputsError):
        runner.classify(RED, model=adder, preprocessing="raw")
