"""Passports: what several sources say of one model, whom one believes, and what is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from workbench.errors import ConfigError, MissingFileError, WriteError
from workbench.inference.runner import Runner
from workbench.models import companion, huggingface, triton
from workbench.models.hub import ModelHub
from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline

NAMES = ("tench", "goldfish", "great white shark", "tiger shark")
#: google/vit-base-patch16-224, as the Hub has it (its 1,000 labels cut to four).
VIT: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 24, "width": 24},
}
#: microsoft/resnet-50
RESNET: dict[str, Any] = {
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "size": 224,
}
CONFIG: dict[str, Any] = {
    "_name_or_path": "google/vit-base-patch16-224",
    "architectures": ["ViTForImageClassification"],
    "id2label": {str(i): name for i, name in enumerate(NAMES)},
    "label2id": {name: i for i, name in enumerate(NAMES)},
    "model_type": "vit",
}
TIMM: dict[str, Any] = {
    "architecture": "resnet50",
    "num_classes": 4,
    "pretrained_cfg": {
        "crop_mode": "center",
        "crop_pct": 0.875,
        "input_size": [3, 24, 24],
        "interpolation": "bicubic",
        "license": "apache-2.0",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "label_names": ["n01440764", "n01443537", "n01484850", "n01491361"],
    "label_descriptions": dict(
        zip(("n01440764", "n01443537", "n01484850", "n01491361"), NAMES, strict=True)
    ),
}


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path / "shelf" / "models")


@pytest.fixture
def folder(tmp_path: Path, make_classifier: Callable[..., Path]) -> Path:
    """Return a folder as optimum exports one: all axes dynamic, no metadata of ours."""
    path = tmp_path / "vit" / "onnx" / "model.onnx"
    make_classifier(path, channels=None, size=None, classes=4)
    _json(tmp_path / "vit" / "preprocessor_config.json", VIT)
    _json(tmp_path / "vit" / "config.json", CONFIG)
    return tmp_path / "vit"


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def test_a_hugging_face_folder_classifies_with_its_own_preprocessing_and_labels(hub, folder):
    model = hub.load(folder / "onnx" / "model.onnx")
    picture = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    small = Image.fromarray(picture).resize((24, 24), Image.Resampling.BILINEAR)
    wanted = (np.asarray(small, np.float32) / 255 - 0.5) / 0.5
    fed = model.preprocessing(picture)
    assert fed.shape == (1, 3, 24, 24)
    assert np.abs(fed[0].transpose(1, 2, 0) - wanted).max() < 1e-6
    assert (model.id, model.labels, model.spec.guessed) == ("vit", NAMES, False)
    assert Runner(hub).classify(picture, model=model).label in NAMES
    assert model.passport["preprocessing"].source == "preprocessor_config.json"
    assert model.passport["labels"].source == "config.json"
    assert model.passport["model_type"].source == "config.json"
    assert model.passport.conflicts == ()
    assert not {"torch", "transformers", "timm"} & set(sys.modules)


def test_a_passport_is_had_without_loading(hub, folder):
    passport = hub.passport(folder / "onnx" / "model.onnx")
    assert passport["labels"].value == NAMES
    assert hub.cache_info().live == 0


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        (VIT, "stretch to 24×24 (bilinear)"),
        (VIT | {"size": 224}, "stretch to 224×224 (bilinear)"),
        (RESNET, "shorter side to 256, middle 224×224 (bicubic, fused)"),
        (RESNET | {"size": {"shortest_edge": 384}}, "stretch to 384×384 (bicubic)"),
        (
            {
                "image_processor_type": "CLIPImageProcessor", "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 224},
                "resample": 3, "image_mean": [0.48, 0.45, 0.4], "image_std": [0.26, 0.26, 0.27],
            },
            "shorter side to 224, middle 224×224 (bicubic, fused)",
        ),
        (
            {
                "image_processor_type": "DeiTImageProcessor", "do_center_crop": True,
                "crop_size": 224, "size": 256, "resample": 3, "image_mean": 0.5, "image_std": 0.5,
            },
            "stretch to 256×256 (bicubic)",
        ),
        (
            {
                "image_processor_type": "LevitImageProcessor", "do_center_crop": True,
                "crop_size": 224, "size": 224, "image_mean": 0.5, "image_std": 0.5,
            },
            "shorter side to 256, middle 224×224 (bicubic, fused)",
        ),
        (
            {
                "image_processor_type": "PoolFormerImageProcessor", "do_center_crop": True,
                "crop_size": 224, "size": 224, "crop_pct": 0.9, "image_mean": 0.5,
                "image_std": 0.5,
            },
            "shorter side to 248, middle 224×224 (bicubic, fused)",
        ),
    ],
)  # fmt: skip
def test_each_family_scales_and_crops_as_its_processor_does(config, steps):
    assert huggingface.preprocessor(config).steps[0].text() == steps


def test_channels_are_flipped_and_not_normalised_for_mobilevit():
    pipeline = huggingface.preprocessor(
        {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 28},
         "crop_size": {"height": 24, "width": 24}, "do_center_crop": True,
         "do_flip_channel_order": True, "resample": 2}
    )  # fmt: skip
    red = np.zeros((28, 28, 3), np.uint8)
    red[..., 0] = 255
    assert pipeline.color_format == "BGR"
    assert pipeline(red)[0, :, 5, 5].tolist() == [0.0, 0.0, 1.0]


def test_efficientnet_divides_by_its_std_twice():
    config = VIT | {"image_processor_type": "EfficientNetImageProcessor", "include_top": True,
                    "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    white = np.full((24, 24, 3), 255, np.uint8)
    assert huggingface.preprocessor(config)(white).max() == pytest.approx((1 - 0.5) / 0.5 / 0.5)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": {"longest_edge": 300}}, "longest_edge"),
        ({"resample": 17}, "resample is 17"),
        ({"image_std": None}, "does not say by which"),
        ({"image_std": [0, 0, 0]}, "std"),
        ({"do_resize": "yes"}, "do_resize is 'yes'"),
        ({"image_processor_type": "PerceiverImageProcessor"}, "crops before it scales"),
    ],
)
def test_a_configuration_that_is_not_understood_is_a_note_and_no_error(hub, folder, change, why):
    _json(folder / "preprocessor_config.json", VIT | change)
    passport = hub.passport(folder / "onnx" / "model.onnx")
    assert any(why in note for note in passport.notes)
    assert passport["preprocessing"].source == "guess"


def test_broken_files_beside_a_model_are_named_and_passed_over(hub, folder):
    (folder / "config.json").write_text("{", encoding="utf-8")
    (folder / "config.pbtxt").write_text("input [ {", encoding="utf-8")
    notes = hub.passport(folder / "onnx" / "model.onnx").notes
    assert any(n.startswith("config.json is passed over: it is not JSON") for n in notes)
    assert any(n.startswith("config.pbtxt is passed over: it ends") for n in notes)


def test_timms_configuration_gives_preprocessing_labels_and_licence(hub, tmp_path, make_classifier):
    path = make_classifier(tmp_path / "resnet" / "model.onnx", size=24)
    _json(tmp_path / "resnet" / "config.json", TIMM)
    passport = hub.passport(path)
    assert passport["preprocessing"].source == "config.json (pretrained_cfg)"
    assert passport["labels"].value == NAMES
    assert passport["licence"].value == "apache-2.0"
    pipeline = passport.spec.pipeline()
    assert pipeline == presets.imagenet(24, interpolation="bicubic")


@pytest.mark.parametrize(
    ("mode", "first"),
    [
        ("squash", "stretch to 27×27 (bicubic)"),
        ("border", "fit into 27×27 on 124 116 104 (bicubic)"),
    ],
)
def test_timms_crop_modes(mode, first):
    cfg = TIMM["pretrained_cfg"] | {"crop_mode": mode}
    assert huggingface.pretrained(cfg).steps[0].text() == first


def test_sources_that_differ_are_shown_and_not_settled_in_silence(hub, folder):
    _json(folder / "config.json", CONFIG | {"pretrained_cfg": TIMM["pretrained_cfg"]})
    passport = hub.passport(folder / "onnx" / "model.onnx")
    entry = passport["preprocessing"]
    assert entry.source == "preprocessor_config.json"
    assert "config.json (pretrained_cfg)" in entry.conflict
    assert "mean" in entry.conflict
    assert [e.field for e in passport.open] == ["preprocessing"]
    assert "undecided" in str(passport)
    with pytest.raises(ConfigError, match="undecided on preprocessing") as caught:
        passport.write()
    assert "settle(preprocessing=…)" in caught.value.hint
    settled = passport.settle(preprocessing="config.json (pretrained_cfg)")
    assert settled.open == ()
    written = settled.write()
    assert Pipeline.from_recipe(json.loads(written.read_text("utf-8"))["preprocessing"]) == (
        presets.imagenet(24, interpolation="bicubic")
    )
    again = hub.passport(folder / "onnx" / "model.onnx")
    assert again["preprocessing"].source == "metadata JSON"
    assert "preprocessor_config.json" in again["preprocessing"].conflict
    assert again.open == ()


def test_only_a_source_that_says_something_can_be_believed(hub, folder):
    passport = hub.passport(folder / "onnx" / "model.onnx")
    with pytest.raises(ConfigError, match=r"expected 'preprocessor_config\.json'"):
        passport.settle(preprocessing="my aunt")
    with pytest.raises(ConfigError, match="field is 'colour'"):
        passport.settle(colour="config.json")


def test_a_size_that_the_graph_does_not_take_is_overruled_aloud(hub, tmp_path, make_classifier):
    path = make_classifier(tmp_path / "vit" / "model.onnx", size=32)
    _json(tmp_path / "vit" / "preprocessor_config.json", VIT)
    passport = hub.passport(path)
    assert passport.spec.pipeline().size == (32, 32)
    assert any("feeds 24 × 24 and the graph takes 32 × 32" in note for note in passport.notes)


def test_labels_that_are_too_few_are_not_used(hub, tmp_path, make_classifier):
    path = make_classifier(tmp_path / "m" / "model.onnx", classes=7)
    _json(tmp_path / "m" / "config.json", CONFIG)
    passport = hub.passport(path)
    assert passport["labels"].value is None
    assert "4 labels for 7 classes" in passport["labels"].conflict


def test_placeholders_are_no_labels(hub, folder):
    _json(folder / "config.json", CONFIG | {"id2label": {str(i): f"LABEL_{i}" for i in range(4)}})
    assert hub.load(folder / "onnx" / "model.onnx").labels is None


@pytest.mark.parametrize("to", ["metadata", "onnx"])
def test_an_agreed_passport_travels_with_the_model(hub, folder, tmp_path, to):
    path = folder / "onnx" / "model.onnx"
    before = hub.load(path)
    fed = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    scores = before.run(before.preprocessing(fed))["scores"]
    written = before.passport.write(to)
    for name in ("preprocessor_config.json", "config.json"):
        (folder / name).unlink()
    after = ModelHub(model_dir=tmp_path / "other").load(path)
    assert written == (path if to == "onnx" else path.with_suffix(".json"))
    assert after.labels == NAMES
    assert after.preprocessing == before.preprocessing
    source = "ONNX metadata_props" if to == "onnx" else "metadata JSON"
    assert after.passport["preprocessing"].source == source
    assert after.run(after.preprocessing(fed))["scores"].tobytes() == scores.tobytes()
    assert not list(folder.rglob("*.part"))
    assert after.passport.metadata() == before.passport.metadata()


def test_writing_into_a_model_keeps_what_else_its_metadata_says(hub, tmp_path, make_classifier):
    path = make_classifier(
        tmp_path / "m.onnx", metadata={"author": "somebody", companion.KEY: '{"licence": "MIT"}'}
    )
    assert hub.passport(path)["licence"].value == "MIT"
    copy = hub.passport(path).write("onnx", path=tmp_path / "copy.onnx")
    props = {p.key: p.value for p in onnx.load(copy).metadata_props}
    assert set(props) == {"author", companion.KEY}
    assert json.loads(props[companion.KEY])["licence"] == "MIT"


def test_a_model_whose_hash_is_written_down_is_not_written_into(hub, tmp_path):
    passport = ModelHub().passport("cifar10-small")
    before = passport.path.read_bytes()
    with pytest.raises(ConfigError, match="states the sha256"):
        passport.write("onnx")
    assert passport.path.read_bytes() == before
    copy = passport.write("onnx", path=tmp_path / "copy.onnx")
    assert hub.passport(copy)["labels"].value == passport["labels"].value


def test_a_passport_cannot_be_written_where_nothing_can(hub, folder, tmp_path, monkeypatch):
    passport = hub.passport(folder / "onnx" / "model.onnx")
    with pytest.raises(ConfigError, match="'metadata' or 'onnx'"):
        passport.write("paper")
    with pytest.raises(MissingFileError):
        passport.write(path=tmp_path / "nowhere" / "m.json")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    before = (folder / "onnx" / "model.onnx").read_bytes()
    with pytest.raises(WriteError, match="no space left"):
        passport.write("onnx")
    assert (folder / "onnx" / "model.onnx").read_bytes() == before
    assert [p.name for p in (folder / "onnx").iterdir()] == ["model.onnx"]


TRITON = """
# densenet, as Triton's own examples have it
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size : 8
input [
  { name: "images" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 8, 8 ] }
]
output [
  { name: "scores", data_type: TYPE_FP32, dims: [ 4 ], label_filename: "names.txt" }
]
instance_group { kind: KIND_CPU count: 1 }
"""


def test_tritons_configuration_gives_labels_and_shapes(hub, tmp_path, make_classifier):
    path = make_classifier(tmp_path / "densenet" / "1" / "model.onnx", size=None)
    (tmp_path / "densenet" / "config.pbtxt").write_text(TRITON, encoding="utf-8")
    (tmp_path / "densenet" / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    passport = hub.passport(path)
    assert passport.id == "densenet"
    assert passport["labels"].value == NAMES
    assert passport["labels"].source == "config.pbtxt (names.txt)"
    assert passport["input_shape"].source == "config.pbtxt"
    assert passport["input_shape"].value == (None, 3, 8, 8)


def test_tritons_shape_that_the_graph_does_not_have_is_not_used(hub, tmp_path, make_classifier):
    path = make_classifier(tmp_path / "m" / "model.onnx", size=16)
    (tmp_path / "m" / "config.pbtxt").write_text(TRITON, encoding="utf-8")
    passport = hub.passport(path)
    assert passport["input_shape"].value == (None, 3, 16, 16)
    assert "config.pbtxt" in passport["input_shape"].conflict
    assert any("names.txt" in note for note in passport.notes)


@pytest.mark.parametrize("text", ["a {", "a: [1, ", "= 3", 'a: "x', "a: }", "a" + "{a" * 99])
def test_what_is_no_text_form_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        triton.parse(text)


def test_the_frame_has_a_row_for_each_claim(hub, folder):
    _json(folder / "config.json", CONFIG | {"pretrained_cfg": TIMM["pretrained_cfg"]})
    frame = hub.passport(folder / "onnx" / "model.onnx").to_frame()
    rows = frame[frame.field == "preprocessing"]
    assert rows.source.tolist() == ["preprocessor_config.json", "config.json (pretrained_cfg)"]
    assert rows.holds.tolist() == [True, False]
    assert rows.conflict.all()


def test_files_in_a_shelfs_own_folder_belong_to_no_model(tmp_path, make_classifier):
    shelf = tmp_path / "models"
    make_classifier(shelf / "mine.onnx")
    _json(shelf / "metadata" / "mine.json", {"model_type": "classification"})
    _json(shelf / "config.json", CONFIG)
    assert ModelHub(model_dir=shelf).passport("mine")["labels"].value is None


def test_a_handle_sees_a_configuration_that_changes(hub, folder):
    model = hub.load(folder / "onnx" / "model.onnx")
    other = CONFIG | {"id2label": {str(i): f"kind {i}" for i in range(4)}}
    _json(folder / "config.json", other)
    assert hub.load(folder / "onnx" / "model.onnx") is model
    assert model.labels == ("kind 0", "kind 1", "kind 2", "kind 3")


def test_a_hash_does_not_push_the_sources_out_of_sight():
    passport = ModelHub().passport("cifar10-small")
    whole = passport["sha256"].value
    assert f"{whole[:12]}…" in str(passport)
    assert whole not in str(passport)
    assert passport.metadata()["sha256"] == whole
