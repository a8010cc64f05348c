"""Quantised variants: made whole or not at all, and loadable like any other model."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import workbench as wb
from tests import graphs
from workbench import errors, page
from workbench.bench import quantization
from workbench.bench.quantization import QuantizeOptions
from workbench.models.hub import ModelHub
from workbench.models.store import embedded_shelf
from workbench.stopping import Stop

pytestmark = pytest.mark.filterwarnings("ignore::workbench.errors.InferredMetadataWarning")

QUICK = QuantizeOptions(method="minmax", batch=4)


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path / "shelf" / "models")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(10)]


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_variant_is_put_on_the_shelf_with_its_description_and_labels(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    variant = wb.quantize("cifar10-small", pictures, options=QUICK, hub=hub, progress=False)
    assert variant.id == "cifar10-small-qdq"
    assert files(tmp_path / "shelf") == [
        "data/labels/cifar10-small-qdq_labels.json",
        "models/cifar10-small-qdq.onnx",
        "models/metadata/cifar10-small-qdq.json",
    ]
    assert variant.graph.quantized == "QDQ"
    again = ModelHub(model_dir=tmp_path / "shelf" / "models").load(variant.id)
    origin = hub.load("cifar10-small")
    assert again.labels == origin.labels
    assert again.spec.preprocessing == origin.spec.preprocessing
    assert again.spec.accuracy is None, "what was measured of the float model is not claimed"
    assert again.spec.outside is None
    assert again.graph.size_bytes < 0.9 * origin.graph.size_bytes or origin.graph.size_bytes < 10**6
    told = json.loads((tmp_path / "shelf/models/metadata/cifar10-small-qdq.json").read_text())
    assert told["quantization"]["origin"] == "cifar10-small"
    assert told["quantization"]["origin_sha256"] == origin.graph.sha256
    assert told["quantization"]["calibrated_with"] == 10
    assert told["quantization"]["options"]["method"] == "minmax"
    assert told["sha256"] == again.graph.sha256
    feeds = {"images": origin.preprocessing(wb.example("cat"))}
    one, two = (m.run(feeds)["logits"] for m in (origin, again))
    assert one.argmax() == two.argmax()
    assert float((one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two)) > 0.98
    assert capsys.readouterr().out == "", "the tools print, and are not heard"


def test_nothing_is_remembered_of_the_files_that_the_tools_needed(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from workbench import settings

    cache = tmp_path / "cache"
    monkeypatch.setattr(settings, "cache_folder", lambda: cache)
    wb.quantize("cifar10-small", pictures[:4], options=QUICK, hub=hub, progress=False)
    told = [p.read_text() for p in cache.rglob("*.json")]
    assert any("cifar10-small-qdq.onnx" in text for text in told), "the file on the shelf is"
    assert not any("workbench-quantize-" in text for text in told)


def test_the_set_up_of_the_log_is_as_it_was(hub: ModelHub, pictures: list[np.ndarray]):
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    wb.quantize("cifar10-small", pictures[:4], options=QUICK, hub=hub, progress=False)
    assert (root.level, list(root.handlers)) == before


def test_the_defaults_make_what_the_embedded_one_is(hub: ModelHub, pictures: list[np.ndarray]):
    """cifar10-int8 was made with the same options, from other pictures."""
    variant = wb.quantize("cifar10", pictures, hub=hub, progress=False)
    embedded = hub.load("cifar10-int8")
    for model in (variant, embedded):
        assert model.graph.quantized == "QDQ"
    assert variant.graph.opset() == embedded.graph.opset()
    operators = [dict(m.graph.operators) for m in (variant, embedded)]
    assert operators[0] == operators[1]
    weights = [
        onnx.numpy_helper.to_array(w)
        for w in onnx.load(variant.path).graph.initializer
        if w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 4
    ]
    assert weights
    assert max(int(np.abs(w).max()) for w in weights) <= 64, "7 bits"


def test_options_do_what_they_say(hub: ModelHub, pictures: list[np.ndarray]):
    def made(**options: Any) -> onnx.ModelProto:
        chosen = QuantizeOptions(method="minmax", **options)
        path = wb.quantize("cifar10-small", pictures[:2], options=chosen, hub=hub,
                           progress=False).path  # fmt: skip
        return onnx.load(path)

    def largest(model: onnx.ModelProto) -> int:
        arrays = [onnx.numpy_helper.to_array(w) for w in model.graph.initializer
                  if w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 4]  # fmt: skip
        return max(int(np.abs(a).max()) for a in arrays)

    def scales(model: onnx.ModelProto) -> int:
        weights = {w.name for w in model.graph.initializer if len(w.dims) == 4}
        names = {n.input[1] for n in model.graph.node
                 if n.op_type == "DequantizeLinear" and n.input[0] in weights}  # fmt: skip
        return max(int(np.prod(w.dims)) for w in model.graph.initializer if w.name in names)

    def integers(model: onnx.ModelProto) -> int:
        return sum(w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 4
                   for w in model.graph.initializer)  # fmt: skip

    plain = made()
    assert largest(plain) <= 64
    assert scales(plain) > 1
    full = made(reduce_range=False, per_channel=False)
    assert 64 < largest(full) <= 127
    assert scales(full) == 1
    count = lambda m: sum(n.op_type == "QuantizeLinear" for n in m.graph.node)  # noqa: E731
    assert count(made(keep_last=False)) > count(plain)
    conv = next(n.name for n in plain.graph.node if n.op_type == "Conv")
    assert integers(made(keep=(conv,))) == integers(plain) - 1


def test_feeds_calibrate_a_model_that_takes_no_picture(hub: ModelHub, tmp_path: Path):
    path = tmp_path / "rows.onnx"
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
         onnx.helper.make_node("Relu", ["h"], ["r"]),
         onnx.helper.make_node("MatMul", ["r", "v"], ["y"])],
        "rows",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(np.eye(8, dtype=np.float32), "w"),
         onnx.numpy_helper.from_array(np.ones((8, 4), np.float32), "v")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 10
    path.write_bytes(model.SerializeToString())
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.normal(size=(2, 8)).astype(np.float32)} for _ in range(5)]
    variant = wb.quantize(path, feeds, options=QUICK, hub=hub, progress=False)
    assert variant.graph.quantized == "QDQ"
    with pytest.raises(errors.UnsupportedInputsError):
        wb.quantize(path, [wb.example("cat")], hub=hub, progress=False)
    with pytest.raises(errors.InputMismatchError):
        wb.quantize(path, [{"z": feeds[0]["x"]}], hub=hub, progress=False)


def test_a_graph_with_a_fixed_batch_is_fed_whole_batches(hub: ModelHub, tmp_path: Path):
    path = graphs.means(tmp_path / "four.onnx", batch=4, size=8)
    seen: list[int] = []
    real = quantization.Calibration.get_next

    def told(self: Any) -> Any:
        feeds = real(self)
        seen.extend([] if feeds is None else [len(feeds["images"])])
        return feeds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization.Calibration, "get_next", told)
        options = QuantizeOptions(method="minmax", keep_last=False)
        pictures = [np.full((8, 8, 3), v, np.uint8) for v in range(6)]
        wb.quantize(path, pictures, options=options, hub=hub, progress=False)
    assert seen == [4, 4]


# ── an id that is taken ───────────────────────────────────────────────────────────────────────


def test_a_variant_of_the_same_model_is_replaced_and_nothing_else_is(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    first = wb.quantize("cifar10-small", pictures[:2], options=QUICK, hub=hub, progress=False)
    sha256 = first.graph.sha256
    second = wb.quantize("cifar10-small", pictures[2:], options=QUICK, hub=hub, progress=False)
    assert second is first, "the handle stays"
    assert second.graph.sha256 != sha256
    shutil.copy(hub.handle("cifar10").path, tmp_path / "shelf/models/mine.onnx")
    with pytest.raises(errors.ConfigError, match="overwrite=True") as caught:
        wb.quantize("cifar10-small", pictures[:2], id="mine", hub=hub, progress=False)
    assert caught.value.seen == "mine"
    made = wb.quantize("cifar10-small", pictures[:2], id="mine", overwrite=True, options=QUICK,
                       hub=hub, progress=False)  # fmt: skip
    assert made.graph.quantized == "QDQ"


def test_an_embedded_model_is_never_shadowed(hub: ModelHub, pictures: list[np.ndarray]):
    with pytest.raises(errors.ConfigError, match="no embedded model has"):
        wb.quantize("cifar10", pictures, id="cifar10-int8", overwrite=True, hub=hub, progress=False)
    with pytest.raises(errors.UnsafePathError):
        wb.quantize("cifar10", pictures, id="../out", hub=hub, progress=False)


def test_a_hub_without_a_writable_shelf_says_so(pictures: list[np.ndarray]):
    hub = ModelHub()
    hub.shelves = (embedded_shelf(),)
    with pytest.raises(errors.ConfigError, match="writable shelf"):
        wb.quantize("cifar10-small", pictures, hub=hub, progress=False)


# ── what cannot be ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nothing", [[], None, {}, 5], ids=str)
def test_no_calibration_data_is_refused(hub: ModelHub, nothing: Any, tmp_path: Path):
    with pytest.raises((errors.ConfigError, errors.InputMismatchError, errors.ImageError)):
        wb.quantize("cifar10-small", nothing, hub=hub, progress=False)
    assert files(tmp_path) == []


def test_a_folder_without_pictures_is_refused(hub: ModelHub, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.MissingFileError, match="no picture"):
        wb.quantize("cifar10-small", tmp_path / "empty", hub=hub, progress=False)


def test_a_damaged_picture_is_named_and_nothing_is_written(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(wb.example("china").read_bytes()[:20_000])
    with pytest.raises(errors.CorruptImageError, match=r"bad\.jpg") as caught:
        wb.quantize("cifar10-small", [*pictures, bad], options=QUICK, hub=hub, progress=False)
    assert any("bad.jpg" in note for note in caught.value.__notes__)
    assert files(tmp_path) == ["bad.jpg"]


@pytest.mark.parametrize(
    "wrong",
    [{"method": "best"}, {"percentile": 0}, {"percentile": 101}, {"percentile": "99"},
     {"per_channel": 1}, {"reduce_range": "auto"}, {"activations": "int4"}, {"weights": "float"},
     {"keep": "conv"}, {"keep": [1]}, {"most_images": 0}, {"most_images": -4}, {"batch": 0}],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]):
    with pytest.raises(errors.ConfigError, match=next(iter(wrong))):
        QuantizeOptions(**wrong)


def test_what_cannot_be_quantised_says_so(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    def refused(model: Any, **more: Any) -> str:
        with pytest.raises(errors.WorkbenchError) as caught:
            wb.quantize(model, pictures[:2], hub=hub, progress=False, **more)
        return f"{caught.value.code}: {caught.value}"

    assert refused("cifar11").startswith("unknown_model")
    assert "is quantised already (QDQ)" in refused("cifar10-int8")
    logs = [onnx.helper.make_node("Log", ["images"], ["logits"])]
    port = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])
    out = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])
    path = graphs.save(tmp_path / "plain.onnx", logs, [port], [out])
    with pytest.raises(errors.QuantizationError, match="no matrix product is left"):
        wb.quantize(path, {"images": np.ones((1, 3, 8, 8), np.float32)}, hub=hub, progress=False)
    assert refused("cifar10-small", options="fast").startswith("config_invalid")
    unknown = QuantizeOptions(method="minmax", keep=("nobody",))
    assert "'nobody'" in refused("cifar10-small", options=unknown)
    assert files(tmp_path / "shelf") == []


def test_what_the_tools_raise_is_told_in_words(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("the tools\n gave up")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", broken)
    with pytest.raises(errors.QuantizationError, match="the tools gave up"):
        wb.quantize("cifar10-small", pictures, options=QUICK, hub=hub, progress=False)
    assert files(tmp_path) == []


def test_a_variant_that_answers_nan_is_not_put_on_the_shelf(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    real = quantization._tidy

    def spoilt(target: Path, model: Any) -> None:
        real(target, model)
        made = onnx.load(target)
        for weight in made.graph.initializer:
            if weight.data_type == onnx.TensorProto.FLOAT and "scale" in weight.name:
                array = onnx.numpy_helper.to_array(weight) * np.float32(np.nan)
                weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        onnx.save(made, target)

    monkeypatch.setattr(quantization, "_tidy", spoilt)
    with pytest.raises(errors.QuantizationError, match="not finite"):
        wb.quantize("cifar10-small", pictures, options=QUICK, hub=hub, progress=False)
    assert files(tmp_path) == []


# ── stopping, and the disk ────────────────────────────────────────────────────────────────────


def test_a_stop_ends_the_calibration_and_nothing_is_written(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    stop, asked, real = Stop(), [], quantization.Calibration.get_next

    def counted(self: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            stop.cancel()
        return real(self)

    monkeypatch.setattr(quantization.Calibration, "get_next", counted)
    with pytest.raises(errors.CancelledError, match="The calibration was stopped"):
        wb.quantize("cifar10-small", pictures, options=QUICK, hub=hub, stop=stop, progress=False)
    assert len(asked) == 2
    assert files(tmp_path) == []


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_full_disk_leaves_the_shelf_as_it_was(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    fails_at: int,
):  # fmt: skip
    from workbench.models import shelving

    real, puts = page.put, []

    def full(target: Path, content: bytes) -> None:
        puts.append(target)
        if len(puts) == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(target, content)

    monkeypatch.setattr(shelving, "put", full)
    with pytest.raises(errors.WriteError, match="no space left"):
        wb.quantize("cifar10-small", pictures, options=QUICK, hub=hub, progress=False)
    assert files(tmp_path) == []
    assert not (tmp_path / "shelf").exists(), "nor folders that were made for it"
    assert "cifar10-small-qdq" not in hub


def test_a_full_disk_brings_back_what_was_there(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from workbench.models import shelving

    wb.quantize("cifar10-small", pictures[:2], options=QUICK, hub=hub, progress=False)
    before = {p: (tmp_path / p).read_bytes() for p in files(tmp_path)}
    real, puts = page.put, []

    def full(target: Path, content: bytes) -> None:
        puts.append(target)
        if len(puts) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(target, content)

    monkeypatch.setattr(shelving, "put", full)
    with pytest.raises(errors.WriteError):
        wb.quantize("cifar10-small", pictures, options=QUICK, hub=hub, progress=False)
    assert {p: (tmp_path / p).read_bytes() for p in files(tmp_path)} == before
    assert hub.load("cifar10-small-qdq").graph.quantized == "QDQ"


def test_no_room_for_the_tools_is_said(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(errors.WriteError, match="no such file"):
        wb.quantize("cifar10-small", pictures, hub=hub, progress=False)


@pytest.mark.parametrize("opset", [11, 17])
def test_a_model_with_pictures_and_no_classes_can_be_quantised_also_an_old_one(
    hub: ModelHub, tmp_path: Path, opset: int
):
    """A scale a channel takes opset 13: an older graph is brought to it."""
    path = graphs.mask(tmp_path / "mask.onnx", opset=opset)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(6)]
    told = {"model_type": "segmentation", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}
    hub.preload("mask", path=path, metadata=told)
    options = QuantizeOptions(method="minmax", keep_last=False)
    variant = wb.quantize("mask", pictures, options=options, hub=hub, progress=False)
    assert variant.graph.quantized == "QDQ"
    assert variant.graph.opset() >= 13
    assert variant.spec.model_type == "segmentation"
    found = wb.conformance("mask", variant, pictures, hub=hub, latency_s=0.3, memory=False,
                           progress=False)  # fmt: skip
    assert found.outcomes() == {"mask-qdq": "fit"}
    assert found["mask-qdq"].latency is not None
    shapes = hub.load("mask").profile(pictures[0], runs=2, batch=2).shapes
    assert shapes == (("images", "float32 (2, 3, 8, 8)"),)


def test_what_the_tools_make_is_examined(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def torn(target: Path, model: Any) -> None:
        target.write_bytes(target.read_bytes()[:3000])

    monkeypatch.setattr(quantization, "_tidy", torn)
    with pytest.raises(errors.QuantizationError, match="what the tools made is not sound"):
        wb.quantize("cifar10-small", pictures, options=QUICK, hub=hub, progress=False)
    assert files(tmp_path) == []
