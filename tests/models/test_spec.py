"""A spec is metadata weighed against the graph, or inferred from it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from workbench.errors import (
    ChecksumError,
    LabelsError,
    MetadataError,
    MetadataMismatchError,
    MissingFileError,
    UnsafePathError,
    UnsupportedInputsError,
)
from workbench.models import gate, labels, passport
from workbench.models.evidence import infer_spec, read_spec
from workbench.models.graph import GraphFacts, Port
from workbench.models.spec import ModelSpec

Build = Callable[..., Path]
PLAIN = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "cifar10"}
NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def read(tmp_path: Path, make_classifier: Build) -> Callable[..., ModelSpec]:
    """Return a function that builds a model, and reads its spec with some metadata."""

    def reading(
        metadata: Any = None, *, labels_dir: Path | None = None, **options: Any
    ) -> ModelSpec:
        path = make_classifier(tmp_path / "m.onnx", **options)
        return read_spec(
            "m", path, facts=gate.examine(path), metadata=metadata, labels_dir=labels_dir
        )

    return reading


def facts_of(*inputs: Port, outputs: tuple[Port, ...] = (), **fields: Any) -> GraphFacts:
    """Return facts of a graph that need not exist."""
    given: dict[str, Any] = {
        "ir_version": 10, "opsets": (("", 17),), "producer": "", "name": "", "operators": (),
        "parameters": 0, "parameter_bytes": 0, "dtypes": (), "metadata": (), "class_labels": (),
        "external_files": (), "quantized": "", "output_operators": (), "size_bytes": 1,
        "sha256": "0" * 64,
    }  # fmt: skip
    outputs = outputs or (Port("scores", "tensor", "float32", (None, 4)),)
    return GraphFacts(inputs=inputs, outputs=outputs, **(given | fields))


def image(*shape: int | str | None, dtype: str = "float32", name: str = "x") -> Port:
    return Port(name, "tensor", dtype, shape)


def infer(*inputs: Port, outputs: tuple[Port, ...] = (), **fields: Any) -> ModelSpec:
    return infer_spec("m", Path("m.onnx"), facts_of(*inputs, outputs=outputs, **fields))


# ── metadata that holds ───────────────────────────────────────────────────────────────────────


def test_three_fields_suffice(read):
    spec = read(PLAIN)
    assert (spec.model_type, spec.preprocessing) == ("classification", "cifar10")
    assert spec.input_shape == (None, 3, 8, 8), "a batch of 1 fixes no batch"
    assert (spec.color_format, spec.activation, spec.labels) == ("RGB", "auto", None)
    assert (spec.input_name, spec.output_name, spec.layout) == ("images", "scores", "NCHW")
    assert not spec.guessed
    assert spec.notes() == ()


def test_the_pipeline_feeds_what_the_graph_takes(read):
    picture = np.full((20, 30, 3), 128, np.uint8)
    for options, shape in (
        ({}, (1, 3, 8, 8)),
        ({"layout": "NHWC"}, (1, 8, 8, 3)),
        ({"channels": 1}, (1, 1, 8, 8)),
        ({"size": (6, 10)}, (1, 3, 6, 10)),
        ({"dtype": "float16"}, (1, 3, 8, 8)),
        ({"dtype": "float64"}, (1, 3, 8, 8)),
    ):
        metadata = {"model_type": "classification", "preprocessing": "imagenet"}
        batch = read(metadata, **options).pipeline()(picture)
        assert batch.shape == shape
        assert batch.dtype == options.get("dtype", "float32")


def test_the_written_shape_overrides_the_presets_size_where_the_graph_leaves_it_open(read):
    spec = read(PLAIN | {"input_shape": [1, 3, 20, 24]}, size=None)
    assert spec.input_shape == (None, 3, 20, 24)
    assert spec.pipeline().size == (20, 24)


@pytest.mark.parametrize("shape", [[None, 3, 8, 8], [-1, 3, -1, 8], ["n", 3, "h", "w"], None])
def test_open_sizes_take_those_of_the_graph(shape, read):
    assert read(PLAIN | {"input_shape": shape}).input_shape == (None, 3, 8, 8)
    assert read(PLAIN | {"input_shape": shape}, batch=2).input_shape == (2, 3, 8, 8)


def test_a_recipe_may_stand_in_the_metadata(read):
    recipe = read(PLAIN).pipeline().recipe()
    spec = read(PLAIN | {"preprocessing": recipe})
    assert spec.pipeline().recipe() == recipe
    assert "own recipe" in str(spec)


def test_all_fields_are_kept_and_unknown_ones_too(read):
    spec = read(
        PLAIN
        | {
            "activation": "softmax", "source": "here", "license": "MIT", "accuracy": 0.9,
            "color_format": "bgr", "input_name": "images", "output_name": "scores",
            "labels": NAMES, "year": 2016,
            "outside": {"score": "max_logit", "threshold": 1.5, "measured": {"n": 1}},
        }
    )  # fmt: skip
    assert (spec.activation, spec.source, spec.licence) == ("softmax", "here", "MIT")
    assert spec.accuracy == {"top1": 0.9}
    assert (spec.color_format, spec.labels) == ("BGR", tuple(NAMES))
    assert spec.extra == {"year": 2016}
    assert spec.outside is not None
    assert (spec.outside.threshold, spec.outside.note) == (1.5, "probably none of my classes")
    assert spec.origins["labels"] == spec.origins["licence"] == "metadata JSON"


def test_metadata_may_lie_in_a_file_with_a_byte_order_mark(tmp_path, read):
    path = tmp_path / "m.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(PLAIN).encode())
    spec = read(path)
    assert spec.metadata_path == path
    assert spec == read(path)


def test_spellings_of_tasks_and_colours_are_understood(read):
    spec = read(PLAIN | {"model_type": "Image-Classification", "color_format": "rgb"})
    assert (spec.model_type, spec.color_format) == ("classification", "RGB")
    assert read(PLAIN | {"input_shape": None, "color_format": "grey"}, channels=1).layout == "NCHW"


def test_one_channel_is_grey_when_nobody_says_otherwise(read):
    spec = read({**PLAIN, "input_shape": [1, 1, 8, 8]}, channels=1)
    assert (spec.color_format, spec.origins["color_format"]) == ("GRAY", "graph (one channel)")


def test_the_right_checksum_passes_and_another_is_refused(read, tmp_path, make_classifier):
    sha256 = gate.examine(make_classifier(tmp_path / "m.onnx")).sha256
    assert read(PLAIN | {"sha256": sha256.upper()}).sha256 == sha256.upper()
    with pytest.raises(ChecksumError, match="expected 00000"):
        read(PLAIN | {"sha256": "0" * 64})


def test_a_spec_shows_where_each_fact_came_from(read):
    spec = read(PLAIN | {"source": "a <b>bold</b> place", "labels": NAMES})
    assert "metadata JSON" in str(spec)
    assert "4 classes" in str(spec)
    assert repr(spec).startswith("<spec of m: task classification")
    assert "<b>" not in spec._repr_html_()


def test_a_spec_crosses_processes(read):
    spec = read(PLAIN | {"labels": NAMES})
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_embedded_models_fit_their_metadata():
    from workbench.models import store

    shelf = store.embedded_shelf()
    models = store.list_models([shelf])
    for found in models:
        facts = gate.examine(found.path)
        spec = read_spec(
            found.id, found.path, facts=facts,
            metadata=found.metadata_path, labels_dir=found.labels_dir,
        )  # fmt: skip
        spec.check_classification(facts)
        assert spec.labels is not None
        assert len(spec.labels) == 10
        assert spec.outside is not None
    assert "cifar10" in [found.id for found in models]


# ── metadata that cannot be ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"preprocessing": "imgnet"}, "preprocessing", "a preset (imagenet, inception"),
        ({"preprocessing": 5}, "preprocessing", "the name of a preset"),
        ({"preprocessing": []}, "preprocessing", "the name of a preset"),
        ({"preprocessing": [{"step": "Explode"}]}, "preprocessing[0]", "a step"),
        (
            {"preprocessing": [{"step": "Normalize", "mean": [0.5] * 3, "std": [0.5, 0, 0.5]}]},
            "preprocessing[0].std", "numbers above 0",
        ),
        ({"std": [0, 0, 0]}, "std", "no such field"),
        ({"input_shape": []}, "input_shape", "a list of sizes"),
        ({"input_shape": "1x3x8x8"}, "input_shape", "a list of sizes"),
        ({"input_shape": [1, 3, 0, 8]}, "input_shape", "a list of sizes"),
        ({"input_shape": [1, 3, True, 8]}, "input_shape", "a list of sizes"),
        ({"input_shape": [1, 3, 10**9, 8]}, "input_shape", "at most 16,384"),
        ({"model_type": ""}, "model_type", "a task"),
        ({"color_format": "CMYK"}, "color_format", "'RGB', 'BGR' or 'GRAY'"),
        ({"color_format": 3}, "color_format", "'RGB', 'BGR' or 'GRAY'"),
        ({"activation": "relu"}, "activation", "'auto', 'softmax'"),
        ({"sha256": "abc"}, "sha256", "pattern"),
        ({"accuracy": "high"}, "accuracy", "a share of one"),
        ({"accuracy": 1.5}, "accuracy", "a share of one"),
        ({"accuracy": {"top1": 92}}, "accuracy", "a share of one as top1"),
        ({"accuracy": {"top5": "x"}}, "accuracy", "a share of one as top5"),
        ({"source": 7}, "source", "a valid string"),
        ({"outside": {"score": "energy", "threshold": 1, "others": [1, "x"]}}, "outside.others",
         "a list of finite numbers"),
        ({"outside": {"score": "energy", "threshold": 1, "others": [1e999]}}, "outside.others",
         "a list of finite numbers"),
        ({"outside": {"score": "luck", "threshold": 1}}, "outside.score", "'max_softmax'"),
        ({"outside": {"score": "energy", "threshold": float("nan")}}, "outside.threshold",
         "finite"),
        ({"colour_format": "BGR"}, "colour_format", "spelt 'color_format'"),
        ({"labels": 5}, "labels", "a list of names"),
        ({"labels": ["a", 2]}, "labels", "item 1 is 2, not a name"),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_with_field_value_and_what_was_expected(
    change, field, expected, read
):
    with pytest.raises(MetadataError) as caught:
        read(PLAIN | change)
    assert caught.value.field == field
    assert expected in caught.value.message
    assert "'m'" in caught.value.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "it is not JSON"),
        (b"[1]", "a JSON object"),
        (b"null", "a JSON object"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b'{"labels": [], "labels": []}', "it says 'labels' twice"),
        (b"[" * 200_000, "nested too deep"),
    ],
)
def test_a_metadata_file_that_is_no_json_object_is_refused(text, reason, tmp_path, read):
    path = tmp_path / "m.json"
    path.write_bytes(text)
    with pytest.raises(MetadataError, match=reason) as caught:
        read(path)
    assert str(path) in caught.value.message


def test_metadata_that_is_no_mapping_is_refused(read):
    with pytest.raises(MetadataError, match="expected a JSON object"):
        read(["labels"])


def test_a_metadata_file_that_is_not_there_or_huge_is_refused(tmp_path, read, monkeypatch):
    with pytest.raises(MissingFileError, match=r"metadata file .* does not exist"):
        read(tmp_path / "none.json")
    with pytest.raises(MissingFileError, match="cannot be read"):
        read(tmp_path)
    monkeypatch.setattr(labels, "TEXT_BYTES", 3)
    (tmp_path / "m.json").write_text("{}  ")
    with pytest.raises(MetadataError, match="more than 3 B"):
        read(tmp_path / "m.json")


def test_a_spec_built_by_hand_is_checked_as_well():
    with pytest.raises(MetadataError, match=r"'m'.*'activation'"):
        ModelSpec(id="m", path=Path("m.onnx"), activation="tanh")
    assert ModelSpec(id="m", path=Path("m.onnx"), preprocessing="raw").layout == "NCHW"


# ── metadata that contradicts the graph ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "options", "field", "graph"),
    [
        ({"input_shape": [1, 3, 16, 8]}, {}, "input_shape", "images: float32 (batch, 3, 8, 8)"),
        ({"input_shape": [1, 1, 8, 8]}, {}, "input_shape", "(batch, 3, 8, 8)"),
        ({"input_shape": [1, 8, 8, 3]}, {}, "input_shape", "(batch, 3, 8, 8)"),
        ({"input_shape": [3, 8, 8]}, {}, "input_shape", "(batch, 3, 8, 8)"),
        ({"input_shape": [2, 3, 8, 8]}, {"batch": 1}, "input_shape", "(1, 3, 8, 8)"),
        ({"color_format": "GRAY"}, {}, "color_format", "3 channels in images"),
        (
            {"color_format": "RGB", "input_shape": None}, {"channels": 1},
            "color_format", "1 channel in images",
        ),
        ({"labels": ["a", "b"]}, {}, "labels", "4 classes in scores"),
        ({"input_name": "x"}, {}, "input_name", "the inputs images"),
        ({"output_name": "y"}, {}, "output_name", "the outputs scores"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused_with_field_value_and_what_the_graph_says(
    change, options, field, graph, read
):
    with pytest.raises(MetadataMismatchError) as caught:
        read(PLAIN | change, **options)
    assert caught.value.field == field
    assert graph in caught.value.message
    assert caught.value.hint


def test_a_recipe_that_gives_what_the_graph_does_not_take_is_refused(read):
    recipe = read(PLAIN).pipeline().replace(size=(9, 9)).recipe()
    with pytest.raises(MetadataMismatchError, match=r"gives float32 NCHW, 3 channels, 9 × 9'"):
        read(PLAIN | {"preprocessing": recipe})
    floats = read(PLAIN).pipeline().recipe()
    with pytest.raises(MetadataMismatchError, match="uint8"):
        read(PLAIN | {"preprocessing": floats}, dtype="uint8")


def test_a_preset_that_cannot_feed_the_input_is_refused(read):
    with pytest.raises(MetadataError, match="'preprocessing' is 'cifar10'"):
        read(PLAIN, dtype="uint8")
    assert read(PLAIN | {"preprocessing": "raw"}, dtype="uint8").pipeline().dtype == "uint8"


def test_unknown_preprocessing_is_refused_even_where_no_picture_is_taken():
    facts = facts_of(image(None, 77))
    with pytest.raises(MetadataError, match="a preset"):
        read_spec("m", Path("m.onnx"), facts=facts, metadata={"preprocessing": "magic"})


def test_a_shape_that_fits_none_of_several_inputs_is_refused_with_all_of_them():
    facts = facts_of(image(1, 3, 4, 4), image(1, 7, name="y"))
    with pytest.raises(MetadataMismatchError, match=r"x: float32 .*; y: float32"):
        read_spec("m", Path("m.onnx"), facts=facts, metadata=PLAIN)
    spec = read_spec(
        "m", Path("m.onnx"), facts=facts, metadata=PLAIN | {"input_shape": [1, 3, 4, 4]}
    )
    assert spec.input_name == "x"
    with pytest.raises(UnsupportedInputsError, match="2 inputs"):
        spec.check_classification(facts)


def test_a_shape_for_an_input_that_is_no_tensor_is_refused():
    facts = facts_of(Port("s", "sequence", "float32", None))
    with pytest.raises(MetadataMismatchError, match="s: sequence of float32"):
        read_spec("m", Path("m.onnx"), facts=facts, metadata=PLAIN)


def test_an_input_of_unknown_rank_takes_the_written_shape():
    facts = facts_of(Port("x", "tensor", "float32", None))
    spec = read_spec("m", Path("m.onnx"), facts=facts, metadata=PLAIN)
    assert spec.input_shape == (1, 3, 8, 8)
    spec.check_classification(facts)


# ── labels ────────────────────────────────────────────────────────────────────────────────────


def test_labels_are_sought_in_the_metadata_then_in_their_file_then_in_the_graph(tmp_path):
    facts = facts_of(image(1, 3, 8, 8), class_labels=("a", "b", "c", "d"))

    def found(**written: object) -> tuple[str, ...] | None:
        metadata = PLAIN | written
        return read_spec(
            "m", Path("m.onnx"), facts=facts, metadata=metadata, labels_dir=tmp_path
        ).labels

    assert found() == ("a", "b", "c", "d")
    (tmp_path / "m_labels.json").write_text(json.dumps(NAMES))
    assert found() == tuple(NAMES)
    assert found(labels=["w", "x", "y", "z"]) == ("w", "x", "y", "z")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("names", "{0: 'ant', 1: 'bee', 2: 'cat', 3: 'dog'}"),
        ("labels", '["ant", "bee", "cat", "dog"]'),
        ("id2label", '{"3": "dog", "0": "ant", "1": "bee", "2": "cat"}'),
        ("Classes", "('ant', 'bee', 'cat', 'dog')"),
        ("class_names", "ant, bee, cat,dog"),
    ],
)
def test_labels_that_the_file_carries_are_read(key, text):
    spec = infer(image(1, 3, 8, 8), metadata=((key, text),))
    assert spec.labels == tuple(NAMES)
    assert spec.origins["labels"] == f"graph ({key.lower()} in its metadata)"


@pytest.mark.parametrize("text", ["nothing", "{0: 'a', 2: 'b'}", "5", "[" * 10_000, "{'a': 'b'}"])
def test_what_cannot_be_read_as_labels_is_passed_over(text):
    assert infer(image(1, 3, 8, 8), metadata=(("names", text),)).labels is None


def test_labels_of_a_classifier_node_are_read():
    spec = infer(image(1, 3, 8, 8), class_labels=("a", "b", "c", "d"))
    assert spec.labels == ("a", "b", "c", "d")
    assert "ZipMap" in spec.origins["labels"]
    numbers = infer(image(1, 3, 8, 8), metadata=(("classes", "[7, 8, 9, 10]"),))
    assert numbers.labels == ("7", "8", "9", "10")


def test_carried_labels_of_another_number_are_left_out_and_that_is_said():
    spec = infer(image(1, 3, 8, 8), class_labels=("a", "b"))
    assert spec.labels is None
    assert "2 labels for 4 classes" in spec.notes()[-1]


def test_the_metadata_wins_over_the_graph_and_the_conflict_is_shown():
    facts = facts_of(
        image(1, 3, 8, 8), class_labels=("a", "b", "c", "d"),
        metadata=(("task", "detect"), ("Image.BitmapPixelFormat", "Bgr8")),
    )  # fmt: skip
    written = PLAIN | {"labels": NAMES, "color_format": "RGB"}
    spec = read_spec("m", Path("m.onnx"), facts=facts, metadata=written)
    assert (spec.labels, spec.color_format) == (tuple(NAMES), "RGB")
    assert len(spec.conflicts) == 3
    assert all("hold" in line for line in spec.notes())


def labels_file(folder: Path, names: object, name: str = "m_labels.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(names))
    return path


def test_a_labels_file_is_found_by_the_id(tmp_path, read):
    labels_file(tmp_path, NAMES)
    spec = read(PLAIN, labels_dir=tmp_path)
    assert spec.labels == tuple(NAMES)
    assert spec.origins["labels"] == "labels/m_labels.json"
    assert read(PLAIN | {"labels": ["w", "x", "y", "z"]}, labels_dir=tmp_path).labels == (
        "w", "x", "y", "z",
    )  # fmt: skip


def test_a_labels_file_of_another_length_is_refused_with_its_path(tmp_path, read):
    file = labels_file(tmp_path, NAMES[:3])
    with pytest.raises(MetadataMismatchError, match="3 labels") as caught:
        read(PLAIN, labels_dir=tmp_path)
    assert str(file) in caught.value.message


def test_the_metadata_may_name_a_labels_file(tmp_path, read):
    labels_file(tmp_path, NAMES, "pets.json")
    for name in ("pets.json", "pets"):
        spec = read(PLAIN | {"labels": name}, labels_dir=tmp_path)
        assert spec.labels == tuple(NAMES)
        assert spec.origins["labels"] == "labels/pets.json, named in the metadata JSON"
    embedded = read(PLAIN | {"labels": "cifar10"}, classes=10)
    assert embedded.labels is not None
    assert embedded.labels[3] == "cat"


@pytest.mark.parametrize("name", ["../secrets.json", "/etc/passwd", "a\\b", "", "..", "c:x"])
def test_a_labels_file_elsewhere_is_refused(name, tmp_path, read):
    with pytest.raises(UnsafePathError):
        read(PLAIN | {"labels": name}, labels_dir=tmp_path)


def test_a_labels_file_that_is_missing_or_no_list_is_refused(tmp_path, read):
    with pytest.raises(MissingFileError, match="labels file none is not in"):
        read(PLAIN | {"labels": "none"}, labels_dir=tmp_path)
    for content, reason in (
        ({"a": 1}, "its keys are not class numbers"),
        ({"1": "a"}, "do not run from 0 to 0"),
        ("cat", "it is 'cat'"),
        ([], "the list is empty"),
        (["a", " "], "item 1 is ' '"),
    ):
        labels_file(tmp_path, content)
        with pytest.raises(LabelsError, match=reason):
            read(PLAIN, labels_dir=tmp_path)
    (tmp_path / "m_labels.json").write_text("[")
    with pytest.raises(LabelsError, match="it is not JSON"):
        read(PLAIN, labels_dir=tmp_path)


def test_a_name_may_occur_twice():
    assert labels.as_labels(["crane", "crane"], "here") == ("crane", "crane")


# ── no metadata ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("port", "classes", "preset", "layout", "color"),
    [
        (image(None, 3, 32, 32), 10, "cifar10", "NCHW", "RGB"),
        (image(1, 3, 299, 299), 1000, "inception", "NCHW", "RGB"),
        (image(1, 224, 224, 3), 1001, "inception", "NHWC", "RGB"),
        (image("n", 3, 224, 224), 1000, "imagenet", "NCHW", "RGB"),
        (image("n", 3, "h", "w"), 7, "imagenet", "NCHW", "RGB"),
        (image(1, 224, 224, 3, dtype="uint8"), 1000, "raw", "NHWC", "RGB"),
        (image(1, 1, 28, 28), 10, "raw", "NCHW", "GRAY"),
        (image(None, None, None, None), 10, "imagenet", "NCHW", "RGB"),
        (image(1, 64, 64, None), 10, "imagenet", "NHWC", "RGB"),
        (image(1, None, 64, 64), 10, "imagenet", "NCHW", "RGB"),
    ],
)
def test_without_metadata_the_preprocessing_is_guessed_and_that_is_said(
    port, classes, preset, layout, color
):
    spec = infer(port, outputs=(Port("y", "tensor", "float32", (None, classes)),))
    assert (spec.model_type, spec.preprocessing, spec.layout) == ("classification", preset, layout)
    assert spec.color_format == color
    assert spec.guessed
    assert spec.origins["preprocessing"] == spec.origins["model_type"] == "guess"
    assert any(f"guessed to be {preset!r}" in line for line in spec.notes())
    assert spec.notes()[0].startswith("No metadata")
    assert "(a guess)" in str(spec)
    batch = spec.pipeline()(np.zeros((40, 50, 3), np.uint8))
    assert batch.dtype == port.dtype


def test_an_open_layout_or_size_is_said_to_be_a_guess():
    notes = " ".join(infer(image(None, None, None, None)).notes())
    assert "The layout is guessed to be NCHW" in notes
    assert "The graph takes any size" in notes


def test_a_side_that_is_free_takes_the_length_of_the_fixed_one():
    for port in (image("n", 3, 12, "w"), image("n", 3, None, 12)):
        spec = infer(port)
        assert spec.pipeline()(np.zeros((40, 50, 3), np.uint8)).shape == (1, 3, 12, 12)
        assert "one side free: 12 × 12 is used" in " ".join(spec.notes())


def test_what_is_not_written_is_inferred_and_said(read):
    spec = read({"labels": NAMES})
    assert (spec.model_type, spec.preprocessing, spec.guessed) == (
        "classification",
        "imagenet",
        True,
    )
    assert spec.labels == tuple(NAMES)


def test_the_colours_of_a_windows_model_are_read():
    spec = infer(image(1, 3, 8, 8), metadata=(("Image.BitmapPixelFormat", "Bgr8"),))
    assert spec.color_format == "BGR"
    told = infer(image(1, 3, 8, 8), metadata=(("Image.BitmapPixelFormat", "Rgb8"),))
    assert "BitmapPixelFormat" in told.origins["color_format"]


TENSOR = ("tensor", "float32")
MISFITS = {
    "strings": ((Port("s", "tensor", "string", (None,)),), (), "s: string (?)"),
    "sequence": ((Port("s", "sequence", "float32", None),), (), "s: sequence of float32"),
    "two inputs": ((image(1, 3, 8, 8), image(1, name="y")), (), "2 inputs (x: float32"),
    "no input": ((), (), "0 inputs (none)"),
    "flat": ((image(None, 100),), (), "x: float32 (?, 100)"),
    "video": ((image(1, 3, 5, 8, 8),), (), "(1, 3, 5, 8, 8)"),
    "no size": ((image(1, 3, 0, 8),), (), "(1, 3, 0, 8)"),
    "features": ((image(1, 85, 22, 22),), (), "(1, 85, 22, 22)"),
    "whole numbers": ((image(1, 3, 8, 8, dtype="int64"),), (), "int64"),
    "no rank": ((Port("x", "tensor", "float32", None),), (), "of unknown rank"),
    "four channels": ((image(1, 4, 8, 8),), (), "(1, 4, 8, 8)"),
    "maps out": (
        (image(1, 3, 8, 8),), (Port("p", "sequence", "map of int64 to float32", None),),
        "1 output (p: sequence of map",
    ),
    "boxes": (
        (image(1, 3, 8, 8),),
        (Port("s", *TENSOR, (1, 9, 2)), Port("b", *TENSOR, (1, 9, 4))), "2 outputs (s: float32",
    ),
    "two heads": (
        (image(1, 3, 8, 8),), (Port("a", *TENSOR, (1, 9)), Port("b", *TENSOR, (1, 4))),
        "2 outputs (a: float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_what_is_no_classifier_loads_and_is_refused_for_classification(case):
    inputs, outputs, seen = MISFITS[case]
    facts = facts_of(*inputs, outputs=outputs)
    spec = infer_spec("m", Path("m.onnx"), facts)
    assert spec.model_type == "unknown"
    with pytest.raises(UnsupportedInputsError) as caught:
        spec.check_classification(facts)
    assert seen in caught.value.seen
    assert caught.value.hint
    assert repr(spec)
    assert spec._repr_html_()


def test_a_model_that_takes_no_picture_has_no_pipeline():
    spec = infer(image(None, 100))
    assert spec.preprocessing == "none"
    with pytest.raises(UnsupportedInputsError, match=r"x: float32 \(\?, 100\)"):
        spec.pipeline()


def test_another_task_is_not_classified():
    facts = facts_of(image(1, 3, 8, 8))
    written = PLAIN | {"model_type": "detection", "labels": ["face"]}
    spec = read_spec("m", Path("m.onnx"), facts=facts, metadata=written)
    assert (spec.model_type, spec.labels, spec.output_name) == ("detection", ("face",), "scores")
    with pytest.raises(UnsupportedInputsError, match="the task 'detection' in its metadata"):
        spec.check_classification(facts)


def test_one_of_several_heads_can_be_named(read):
    heads = (Port("a", *TENSOR, (1, 9)), Port("b", *TENSOR, (1, 4)))
    facts = facts_of(image(1, 3, 8, 8), outputs=heads)
    spec = read_spec("m", Path("m.onnx"), facts=facts, metadata=PLAIN | {"output_name": "b"})
    spec.check_classification(facts)
    assert spec.output_name == "b"
    with pytest.raises(MetadataMismatchError, match="9 classes in a"):
        read_spec(
            "m", Path("m.onnx"), facts=facts, metadata=PLAIN | {"output_name": "a", "labels": NAMES}
        )


@pytest.mark.parametrize(
    ("shape", "number"),
    [((None, 10), 10), ((1, 10, 1, 1), 10), ((1, 1, 1, 7), 7), ((1, 1), 1), ((1, "c"), None),
     (None, None)],
)  # fmt: skip
def test_the_number_of_classes_is_read_from_the_scores(shape, number):
    port = Port("y", *TENSOR, shape)
    assert passport.scores((port,)) == port
    assert passport.classes(port) == number
    assert passport.classes(None) is None


def test_scores_are_told_from_an_output_of_labels():
    label = Port("label", "tensor", "string", (None,))
    port = Port("p", *TENSOR, (None, 4))
    assert passport.scores((label, port)) == port
    assert passport.scores((label, port), "label") is None


def test_scores_of_four_axes_are_classified(read):
    spec = read(PLAIN | {"labels": NAMES}, rank=4)
    assert spec.output_name == "scores"


def test_a_real_graph_with_several_inputs_is_described(tmp_path, save_model):
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "ab"]
    add = helper.make_node("Add", ["a", "b"], ["y"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    path = save_model(tmp_path / "m.onnx", helper.make_graph([add], "g", ports, [out]))
    facts = gate.examine(path)
    with pytest.raises(UnsupportedInputsError, match=r"a: float32 \(1, 3, 8, 8\); b: float32"):
        infer_spec("m", path, facts).check_classification(facts)
