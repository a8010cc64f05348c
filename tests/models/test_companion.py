"""What lies beside a model, and what its own metadata say: claims, never errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from workbench.models import companion, gate

PREPROCESSOR = {
    "do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3,
    "resample": 2, "size": {"height": 8, "width": 8}, "image_processor_type": "ViTImageProcessor",
}  # fmt: skip
TIMM = {"input_size": [3, 8, 8], "mean": [0.1] * 3, "std": [0.2] * 3, "crop_pct": 1.0,
        "interpolation": "bilinear"}  # fmt: skip


@pytest.fixture
def model(tmp_path, make_classifier):
    return make_classifier(tmp_path / "net" / "model.onnx", classes=3)


def beside(model: Path, **files: Any) -> None:
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        ending = ".pbtxt" if name == "triton" else ".json"
        stem = "config" if name == "triton" else name
        (model.parent / f"{stem}{ending}").write_text(text, encoding="utf-8")


def said(model: Path) -> companion.Said:
    return companion.said(model, gate.examine(model))


def told(model: Path) -> dict[tuple[str, str], Any]:
    return {(c.field, c.source): c.value for c in said(model).claims}


def test_a_model_alone_says_nothing(model):
    assert said(model) == companion.Said()


def test_nothing_is_sought_in_a_folder_of_models(model):
    (model.parent / "metadata").mkdir()
    beside(model, preprocessor_config=PREPROCESSOR)
    assert companion.places(model) == ()
    assert said(model) == companion.Said()


@pytest.mark.parametrize("folder", ["onnx", "1", "42"])
def test_the_folder_above_is_looked_into_after_the_models_own(tmp_path, make_classifier, folder):
    path = make_classifier(tmp_path / "net" / folder / "model.onnx", classes=3)
    (tmp_path / "net" / "config.json").write_text('{"id2label": {"0": "a", "1": "b", "2": "c"}}')
    assert told(path)["labels", "config.json"] == ("a", "b", "c")
    (path.parent / "config.json").write_text('{"id2label": {"0": "x", "1": "y", "2": "z"}}')
    assert told(path)["labels", "config.json"] == ("x", "y", "z")


def test_hugging_faces_files_give_preprocessing_and_labels(model):
    beside(
        model, preprocessor_config=PREPROCESSOR,
        config={"id2label": {"0": "a", "1": "b", "2": "c"},
                "architectures": ["ViTForImageClassification"]},
    )  # fmt: skip
    found = told(model)
    assert found["labels", "config.json"] == ("a", "b", "c")
    assert found["color_format", "preprocessor_config.json"] == "RGB"
    assert found["preprocessing", "preprocessor_config.json"][-1]["mean"] == [0.5] * 3


@pytest.mark.parametrize("file", ["config", "preprocessor_config"])
def test_timms_section_is_read_wherever_it_stands(model, file):
    beside(model, **{file: {"pretrained_cfg": TIMM}})
    found = told(model)
    assert found["preprocessing", f"{file}.json (pretrained_cfg)"][-1]["std"] == [0.2] * 3


def test_tritons_labels_come_from_the_file_that_it_names(model):
    text = """
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, 8, 8 ] } ]
        output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "names.txt" } ]
    """
    beside(model, triton=text)
    (model.parent / "names.txt").write_text("a\n\nb\nc\n")
    assert told(model)["labels", "config.pbtxt (names.txt)"] == ("a", "b", "c")
    (model.parent / "names.txt").unlink()
    assert any("names.txt" in note for note in said(model).notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not JSON"), ("[1]", "no JSON object"), ("null", "no JSON object"),
     ('{"a": 1, "a": 2}', "twice"), ("\ud800".encode("utf-16", "surrogatepass"), "UTF-8")],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_a_note(model, text, words):
    data = text if isinstance(text, bytes) else text.encode()
    (model.parent / "config.json").write_bytes(data)
    found = said(model)
    assert found.claims == ()
    assert len(found.notes) == 1
    assert found.notes[0].startswith("config.json is passed over: ")
    assert words in found.notes[0]
    assert found.notes[0].endswith(".")


def test_a_preprocessor_that_says_too_little_is_a_note(model):
    beside(model, preprocessor_config={"image_processor_type": "SamImageProcessor", "do_pad": True})
    assert "preprocessor_config.json gives no preprocessing" in said(model).notes[0]
    beside(model, preprocessor_config={"pretrained_cfg": {"mean": "red"}})
    assert "(pretrained_cfg) gives no preprocessing" in said(model).notes[0]


def test_labels_that_are_none_are_a_note_and_the_rest_holds(model):
    beside(model, config={"id2label": {"0": "a", "1": 5}, "pretrained_cfg": TIMM})
    found = said(model)
    assert any(c.field == "preprocessing" for c in found.claims)
    assert not any(c.field == "labels" for c in found.claims)


# ── in the file itself ────────────────────────────────────────────────────────────────────────


def write(path: Path, text: str) -> None:
    model = onnx.load(path)
    model.metadata_props.add(key=companion.KEY, value=text)
    onnx.save(model, path)


def test_a_description_in_the_file_is_believed_first_and_its_hash_is_not(model):
    write(model, json.dumps({"preprocessing": "imagenet", "sha256": "0" * 64, "unknown": 1}))
    beside(model, preprocessor_config=PREPROCESSOR)
    claims = said(model).claims
    assert (claims[0].field, claims[0].value, claims[0].source) == (
        "preprocessing", "imagenet", companion.PROPS,
    )  # fmt: skip
    assert not {"sha256", "unknown"} & {c.field for c in claims}


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', "[" * 100_000])
def test_a_description_in_the_file_that_is_none_is_a_note(model, text):
    write(model, text)
    found = said(model)
    assert found.claims == ()
    assert "no JSON object" in found.notes[0]
