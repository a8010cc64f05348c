"""The doctor of recipes, on embedded models whose preprocessing is broken on purpose."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from workbench.errors import (
    CancelledError,
    ConfigError,
    LabelsError,
    NotAnImageError,
    UnsupportedInputsError,
)
from workbench.inference.diagnose import Diagnosis, diagnose
from workbench.models.hub import ModelHub
from workbench.preprocessing import presets, recipes
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import (
    ChannelOrder,
    NormalizeBatch,
    Resize,
    ResizeCrop,
    Step,
)
from workbench.stopping import Stop

MEAN, STD = presets.CIFAR10_MEAN, presets.CIFAR10_STD
CROP = ResizeCrop(32, 32)
BROKEN: dict[str, tuple[Step, ...]] = {
    "BGR swapped": (CROP, ChannelOrder("BGR"), NormalizeBatch(mean=MEAN, std=STD)),
    "normalisation dropped": (CROP, NormalizeBatch()),
    "0–255 instead of 0–1": (CROP, NormalizeBatch(scale=1.0, mean=MEAN, std=STD)),
    "wrong mean and std": (CROP, NormalizeBatch(mean=(0.7, 0.2, 0.5), std=(0.1, 0.5, 0.3))),
    "another family's range": (CROP, NormalizeBatch(mean=(0.5,) * 3, std=(0.5,) * 3)),
}
STRETCHED = (Resize((32, 32)), NormalizeBatch(mean=MEAN, std=STD))
SHARED = Path(os.environ.get("WORKBENCH_SHARED") or Path(__file__).parents[3] / "shared")


def views(picture: np.ndarray) -> list[np.ndarray]:
    """Return a picture, six parts of it, and the mirror image of each."""
    height, width = picture.shape[:2]
    found = [picture]
    for kept in (0.8, 0.65):
        h, w = int(height * kept), int(width * kept)
        for at in (0, 0.5, 1):
            y, x = int((height - h) * at), int((width - w) * at)
            found.append(picture[y : y + h, x : x + w])
    return [np.ascontiguousarray(v) for p in found for v in (p, p[:, ::-1])]


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Return 84 small views of the six photos that come with the package."""
    found = []
    for name in ("cat", "china", "coffee", "flower", "grace_hopper", "rocket"):
        picture = Image.open(wb.example(name)).convert("RGB")
        picture.thumbnail((160, 160), Image.Resampling.LANCZOS)
        found += views(np.asarray(picture))
    return found


def with_recipe(name: str, steps: tuple[Step, ...], **fields: Any) -> tuple[ModelHub, str]:
    """Return a hub that knows an embedded model under a recipe of another's making."""
    known = ModelHub().passport(name)
    pipeline = Pipeline(steps)
    metadata = {
        "model_type": "classification",
        "input_shape": [1, 3, 32, 32],
        "preprocessing": pipeline.recipe(),
        "color_format": pipeline.color_format,
        "labels": list(known["labels"].value),
    }
    hub = ModelHub()
    hub.preload("broken", path=known.path, metadata=metadata | fields)
    return hub, "broken"


@pytest.mark.parametrize(
    ("name", "how"),
    [*(("cifar10-small", how) for how in BROKEN), ("cifar10", "BGR swapped"),
     ("cifar10-int8", "normalisation dropped")],
)  # fmt: skip
def test_the_right_recipe_is_named_without_labels(photos, name, how):
    hub, broken = with_recipe(name, BROKEN[how])
    found = diagnose(broken, photos if name == "cifar10-small" else photos[::3], hub=hub)
    assert found.named.candidate is not None
    assert (found.named.candidate.values, found.named.candidate.color) == (
        "CIFAR-10 mean/std", "RGB",
    )  # fmt: skip
    assert found.named.pipeline == presets.cifar10()
    assert not found.healthy
    assert "is wrong" in found.verdict
    assert found.in_use.beaten >= 0.95


def test_a_stretched_picture_is_told_from_a_cropped_one_by_labels(photos):
    hub, broken = with_recipe("cifar10-small", STRETCHED)
    wide, truths = [], []
    for number, view in enumerate(photos[::2]):  # between borders of its own colours
        side = view.shape[1] * (3 + number % 2) // 2
        wide.append(np.pad(view, ((0, 0), (side, side), (0, 0)), mode="edge"))
        truths.append(wb.Runner(hub).classify(view, model="cifar10-small").label)
    found = diagnose(broken, wide, truths, hub=hub)
    assert found.conclusive
    assert found.named.candidate is not None
    assert found.named.candidate.crop is not None
    assert found.named.candidate.values == "CIFAR-10 mean/std"
    assert found.in_use.candidate is not None
    assert found.in_use.candidate.crop is None
    assert not found.healthy
    assert found.named.accuracy > found.in_use.accuracy


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("how", ["BGR swapped", "0–255 instead of 0–1"])
def test_on_pictures_of_one_kind_no_recipe_is_called_wrong(photos, how, labelled):
    hub, broken = with_recipe("cifar10-small", BROKEN[how])
    cats = photos[:14]
    found = diagnose(broken, cats * 5, ["cat"] * 70 if labelled else None, hub=hub)
    assert not found.conclusive
    assert found.kinds < found.kinds_needed
    assert found.healthy
    assert found.verdict.startswith("Cannot tell")
    assert all(trial.equivalent for trial in found.trials)
    assert found.named.pipeline == presets.cifar10()  # the usual one
    note = next(note for note in found._notes() if "too few kinds" in note)
    assert ("by their labels" if labelled else "by what the model answers") in note
    assert note in " ".join(str(found).split())


def test_a_model_with_the_right_recipe_is_healthy_and_says_what_cannot_be_told(photos):
    found = diagnose("cifar10-small", photos)
    assert found.healthy
    assert found.conclusive
    assert not any("kinds (" in note for note in found._notes())
    assert found.named.pipeline == presets.cifar10()
    assert found.named is found.in_use
    assert "crop" in found.undecided
    assert "Cannot tell" in found.verdict
    assert found.effects[0].choice == "values"
    assert [e.moved for e in found.effects] == sorted(
        (e.moved for e in found.effects), reverse=True
    )
    assert {e.choice for e in found.effects} == {
        "values", "color", "crop", "interpolation", "sampling",
    }  # fmt: skip


def test_two_recipes_that_are_the_same_on_these_pictures_cannot_be_told_apart():
    grey = [np.repeat(np.random.default_rng(n).integers(0, 256, (32, 32, 1), np.uint8), 3, 2)
            for n in range(12)]  # fmt: skip
    found = diagnose("cifar10-small", grey, ["cat", "dog"] * 6)
    assert {"interpolation", "sampling"} <= set(found.undecided)
    assert "Cannot tell" in found.verdict


def test_a_diagnosis_is_repeatable_and_can_be_put_to_use(photos):
    hub, broken = with_recipe("cifar10-small", BROKEN["BGR swapped"])
    first, second = (diagnose(broken, photos[::3], hub=hub) for _ in range(2))
    assert first.to_frame().equals(second.to_frame())
    frame = first.to_frame()
    assert frame.named.sum() == frame.in_use.sum() == 1
    assert frame.score.between(0, 1).all()
    hub.preload("mended", path=hub.handle(broken).path, metadata=first.metadata())
    assert hub.handle("mended").preprocessing == first.named.pipeline


def test_one_softmax_too_many_is_named(tmp_path, make_classifier: Callable[..., Path], photos):
    path = make_classifier(tmp_path / "m.onnx", size=32, classes=10, activation="Softmax")
    hub = ModelHub(model_dir=tmp_path)
    hub.preload("m", path=path, metadata={
        "model_type": "classification", "input_shape": [1, 3, 32, 32],
        "preprocessing": "cifar10", "activation": "softmax",
    })  # fmt: skip
    assert diagnose("m", photos[:4], hub=hub).activation.startswith("double softmax")
    assert not diagnose("cifar10-small", photos[:4]).activation.startswith("double")


def test_an_open_layout_is_tried_both_ways(tmp_path, make_classifier, photos):
    path = make_classifier(tmp_path / "open.onnx", channels=None, size=None)
    hub = ModelHub(model_dir=tmp_path)
    hub.preload("open", path=path, metadata={
        "model_type": "classification", "input_shape": [1, None, None, None],
        "preprocessing": Pipeline((Resize((3, 3)), NormalizeBatch())).recipe(),
    })  # fmt: skip
    found = diagnose("open", photos[:6], hub=hub)
    assert {"NCHW", "NHWC"} == set(found.to_frame().layout.dropna())


@pytest.mark.parametrize("most", [1, 5])
def test_so_many_pictures_are_used_at_most(photos, most):
    assert diagnose("cifar10-small", photos, most=most).n == most


def test_a_folder_with_a_folder_per_class_gives_the_labels(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(wb.example("cat").read_bytes())
    found = diagnose("cifar10-small", tmp_path)
    assert (found.n, found.labelled) == (1, True)


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        ([], None, ConfigError, "at least one picture"),
        ([], [], ConfigError, "at least one picture"),
        (["cat", "cat"], ["cat"], LabelsError, "more pictures than that"),
        (["cat"], ["cat", "dog"], LabelsError, "more than the 1 pictures"),
        (["cat"], ["unicorn"], LabelsError, "'unicorn' is not a class"),
        (["cat"], [10], LabelsError, "index 10 is not among 0 to 9"),
        ([b"junk"], None, NotAnImageError, "junk|text"),
    ],
)
def test_what_cannot_be_diagnosed_is_said(images, labels, error, words):
    sources = [wb.example(i) if isinstance(i, str) else i for i in images]
    with pytest.raises(error, match=words):
        diagnose("cifar10-small", sources, labels)


def test_a_model_that_is_no_classifier_is_refused(tmp_path, save_model):
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 9]) for n in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save_model(tmp_path / "m.onnx", helper.make_graph([node], "g", ports[:1], ports[1:]))
    with pytest.raises(UnsupportedInputsError):
        diagnose(path, [wb.example("cat")])


def test_a_stop_keeps_what_was_tried_and_ends_before_the_first(photos):
    class Later(Stop):
        checks = 0

        def check(self, what: str = "") -> None:
            self.checks += 1
            if self.checks > 20:
                self.cancel()
            super().check(what)

    found = diagnose("cifar10-small", photos[:8], stop=Later())
    assert found.stopped
    assert 1 <= len(found.trials) < 20
    assert any("Stopped early" in note for note in found._notes())
    over = Stop()
    over.cancel()
    with pytest.raises(CancelledError):
        diagnose("cifar10-small", photos[:8], stop=over)


def test_the_picture_shows_recipes_and_effects(photos):
    found: Diagnosis = diagnose("cifar10-small", photos[:12])
    figure = found.plot()
    labels = [t.get_text() for a in figure.findobj(match=lambda o: hasattr(o, "get_yticklabels"))
              for t in a.get_yticklabels()]  # fmt: skip
    assert any("CIFAR-10" in label for label in labels)
    assert {"values", "color"} <= set(labels)


def test_the_recipe_that_is_named_and_in_use_is_shown_once():
    found = diagnose("cifar10-small", [wb.example("cat")] * 3)
    assert str(found).count("named, in use") == 1


# ── real models and pictures, where they are ──────────────────────────────────────────────────

needs_cifar = pytest.mark.skipif(
    not (SHARED / "data" / "cifar10-jpeg.npz").is_file(), reason=f"acceptance: no data in {SHARED}"
)
needs_imagenet = pytest.mark.skipif(
    not (SHARED / "images" / "index.json").is_file(), reason=f"acceptance: no images in {SHARED}"
)


def decoded(archive: Any, chosen: np.ndarray) -> list[np.ndarray]:
    offsets, data = archive["test_offsets"], archive["test_bytes"]
    files = [data[offsets[i] : offsets[i + 1]].tobytes() for i in chosen]
    return [np.asarray(Image.open(io.BytesIO(f)).convert("RGB")) for f in files]


def cifar(n: int) -> tuple[list[np.ndarray], list[int]]:
    archive = np.load(SHARED / "data" / "cifar10-jpeg.npz")
    chosen = np.random.default_rng(5).permutation(10_000)[:n]
    return decoded(archive, chosen), [int(archive["test_labels"][i]) for i in chosen]


@needs_cifar
@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("how", "labelled"),
    [*((how, labelled) for how in BROKEN for labelled in (True, False)), ("stretched", True)],
)
def test_pictures_of_cifar_name_the_right_recipe(how, labelled):
    pictures, truths = cifar(120)
    if how == "stretched":
        pictures = [np.pad(p, ((0, 0), (16, 16), (0, 0)), mode="reflect") for p in pictures]
    hub, broken = with_recipe("cifar10-small", BROKEN.get(how, STRETCHED))
    found = diagnose(broken, pictures, truths if labelled else None, hub=hub)
    assert found.named.candidate is not None
    assert (found.named.candidate.values, found.named.candidate.color) == (
        "CIFAR-10 mean/std", "RGB",
    )  # fmt: skip
    assert found.named.candidate.crop is not None
    assert not found.healthy


@needs_cifar
@pytest.mark.acceptance
@pytest.mark.parametrize(("name", "labelled"), [("airplane", False), ("bird", True)])
def test_the_right_recipe_is_not_called_wrong_on_one_class_of_cifar(name, labelled):
    archive = np.load(SHARED / "data" / "cifar10-jpeg.npz")
    index = [str(c) for c in archive["classes"]].index(name)
    chosen = np.flatnonzero(archive["test_labels"] == index)[:100]
    found = diagnose("cifar10-small", decoded(archive, chosen), [name] * 100 if labelled else None)
    assert found.healthy
    assert not found.conclusive
    assert "is wrong" not in found.verdict


@needs_cifar
@pytest.mark.acceptance
@pytest.mark.parametrize("labelled", [True, False])
def test_a_recipe_that_does_as_well_as_the_right_one_is_not_called_wrong(labelled):
    """ImageNet's constants are so near those of CIFAR-10 that the 8-bit model hardly minds."""
    near = (CROP, NormalizeBatch(mean=presets.IMAGENET_MEAN, std=presets.IMAGENET_STD))
    hub, broken = with_recipe("cifar10-int8", near)
    pictures, truths = cifar(60)
    found = diagnose(broken, pictures, truths if labelled else None, hub=hub)
    assert found.named.pipeline == presets.cifar10()
    assert found.named.score - found.in_use.score < recipes.MARGIN
    assert found.healthy
    assert f"more usual for such a model: {found.named.name}" in found.verdict


@needs_cifar
@pytest.mark.acceptance
def test_a_strangers_cifar_model_loses_what_is_known_that_it_loses():
    """Its info.json: 0.687 as it should be, 0.239 without mean and std."""
    pictures, truths = cifar(200)
    path = SHARED / "models" / "cifar10_resnet_2b" / "model.onnx"
    labels = ModelHub().passport("cifar10")["labels"].value
    hub = ModelHub()
    hub.preload("m", path=path, metadata={
        "model_type": "classification", "input_shape": [1, 3, 32, 32], "labels": list(labels),
        "preprocessing": Pipeline((CROP, NormalizeBatch())).recipe(),
    })  # fmt: skip
    found = diagnose("m", pictures, truths, hub=hub)
    assert found.named.candidate is not None
    assert found.named.candidate.values in ("CIFAR-10 mean/std", "ImageNet mean/std")
    assert abs(found.named.accuracy - 0.687) < 0.1
    assert abs(found.in_use.accuracy - 0.239) < 0.1
    assert not found.healthy


@needs_imagenet
@pytest.mark.acceptance
def test_a_strangers_imagenet_model_loses_what_is_known_that_it_loses():
    """Its info.json: top-1 0.81 as it should be, 0.627 with BGR."""
    synsets = (SHARED / "images" / "labels" / "imagenet_synset.txt").read_text("utf-8").splitlines()
    rank = {line.split()[0]: at for at, line in enumerate(synsets)}
    files = sorted((SHARED / "images" / "imagenet").glob("n*"))[::2]
    truths = [rank[f.name.split("_")[0]] for f in files]
    hub = ModelHub()
    hub.preload("m", path=SHARED / "models" / "mobilenetv2_12_qdq" / "model.onnx", metadata={
        "model_type": "classification", "input_shape": [1, 3, 224, 224],
        "preprocessing": presets.imagenet().replace(color_format="BGR").recipe(),
        "color_format": "BGR",
    })  # fmt: skip
    found = diagnose("m", files, truths, hub=hub)
    assert found.named.candidate is not None
    assert (found.named.candidate.values, found.named.candidate.color) == (
        "ImageNet mean/std", "RGB",
    )  # fmt: skip
    assert found.named.accuracy > found.in_use.accuracy
    assert json.dumps(found.metadata())
