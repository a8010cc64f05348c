"""What is known of a model, and which preprocessing it was made for, from a shell."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from workbench import cli
from workbench.models.hub import ModelHub
from workbench.preprocessing import presets

SHORT = ("cat", "china", "coffee", "flower", "grace_hopper", "rocket")


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Work in a folder that has the small embedded model under another name, badly described."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    known = ModelHub().passport("cifar10-small")
    (tmp_path / "models" / "metadata").mkdir(parents=True)
    shutil.copy(known.path, tmp_path / "models" / "mine.onnx")
    recipe = presets.cifar10().replace(color_format="BGR")
    (tmp_path / "models" / "metadata" / "mine.json").write_text(
        json.dumps({
            "model_type": "classification", "input_shape": [1, 3, 32, 32],
            "preprocessing": recipe.recipe(), "color_format": "BGR",
            "labels": list(known["labels"].value),
        })
    )  # fmt: skip
    return tmp_path / "models"


@pytest.fixture
def folder(tmp_path):
    """Keep 84 small views of the photos that come with the package."""
    place = tmp_path / "photos"
    place.mkdir()
    for name in SHORT:
        picture = Image.open(wb.example(name)).convert("RGB")
        picture.thumbnail((160, 160), Image.Resampling.LANCZOS)
        whole = np.asarray(picture)
        for number, kept in enumerate((1, 0.8, 0.8, 0.8, 0.65, 0.65, 0.65)):
            at = (number - 1) % 3 / 2 if number else 0
            h, w = (int(side * kept) for side in whole.shape[:2])
            y, x = int((whole.shape[0] - h) * at), int((whole.shape[1] - w) * at)
            view = whole[y : y + h, x : x + w]
            Image.fromarray(view).save(place / f"{name}-{number}.png")
            Image.fromarray(view[:, ::-1]).save(place / f"{name}-{number}-mirrored.png")
    return place


# ── the passport ──────────────────────────────────────────────────────────────────────────────


def test_a_passport_is_shown_with_its_sources(capsys):
    code, out, err = run(capsys, "passport", "cifar10-small")
    assert (code, err) == (0, "")
    assert out.startswith("passport of cifar10-small\n")
    assert "learnt from" in out
    assert "metadata JSON" in out


def test_a_passport_as_json_has_an_object_a_claim(capsys):
    code, out, _ = run(capsys, "passport", "cifar10-small", "--json")
    told = json.loads(out)
    assert code == 0
    assert {"field", "value", "source", "holds", "conflict", "note"} == set(told[0])
    assert {"preprocessing", "labels"} <= {row["field"] for row in told}


def test_a_conflict_is_settled_and_written(capsys, shelf, make_classifier):
    (shelf / "net").mkdir()
    make_classifier(shelf / "net" / "model.onnx")
    for name, mean in (("preprocessor_config.json", 0.5), ("config.json", 0.25)):
        plain = {"image_mean": [mean] * 3, "image_std": [0.5] * 3, "do_normalize": True,
                 "do_rescale": True, "rescale_factor": 1 / 255, "do_resize": True,
                 "size": {"height": 8, "width": 8},
                 "image_processor_type": "ViTImageProcessor"}  # fmt: skip
        timm = {"pretrained_cfg": {"mean": [mean] * 3, "std": [0.5] * 3, "crop_pct": 1.0,
                                   "input_size": [3, 8, 8],
                                   "interpolation": "bilinear"}}  # fmt: skip
        told = plain if name.startswith("pre") else timm
        (shelf / "net" / name).write_text(json.dumps(told))
    code, out, _ = run(capsys, "passport", "net")
    assert code == 0
    assert "Conflicts" in out
    assert "undecided" in out
    code, _, err = run(capsys, "passport", "net", "--write")
    assert code == 1
    assert "passport.settle(preprocessing=" in err
    written = shelf / "metadata" / "net.json"
    assert not written.exists()
    code, _, err = run(
        capsys, "passport", "net", "--write", "--settle", "preprocessing=preprocessor_config.json"
    )
    assert code == 0
    assert str(written) in err
    assert json.loads(written.read_text())["preprocessing"][-1]["mean"] == [0.5] * 3


def test_a_passport_is_written_to_another_file_and_into_a_copy_of_the_model(
    capsys, shelf, tmp_path
):
    code, _, err = run(capsys, "passport", "mine", "--to", tmp_path / "about.json")
    assert (code, "about.json" in err) == (0, True)
    assert json.loads((tmp_path / "about.json").read_text())["color_format"] == "BGR"
    code, _, _ = run(capsys, "passport", "mine", "--onnx", "--to", tmp_path / "copy.onnx")
    assert code == 0
    assert ModelHub().passport(tmp_path / "copy.onnx")["color_format"].value == "BGR"


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        (("passport", "nobody"), 1, "No model named 'nobody'"),
        (("passport", "mine", "--settle", "color_format=nobody"), 1, "nobody"),
        (("passport", "mine", "--settle", "nothing=graph"), 1, "nothing"),
        (("passport", "mine", "--settle", "color_format"), 2, "FIELD=SOURCE"),
        (("passport",), 2, "Missing argument"),
        (("diagnose", "mine"), 2, "Missing argument"),
        (("diagnose", "mine", "nowhere.png"), 1, "nowhere.png"),
        (("diagnose", "nobody", "x.png"), 1, "No model named 'nobody'"),
        (("diagnose", "mine", "x.png", "--html", "no/where.html"), 1, "folder"),
    ],
)
def test_what_cannot_be_done_is_told(capsys, shelf, arguments, expected, words):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (expected, "")
    assert words in err


# ── the doctor ────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_recipe_is_found_and_the_right_one_named(capsys, shelf, folder, tmp_path):
    code, out, err = run(capsys, "diagnose", "mine", folder, "--html", tmp_path / "told.html")
    assert code == 1
    assert out.startswith("diagnosis of mine\n")
    assert "is wrong" in out
    assert "RGB, CIFAR-10 mean/std" in out
    assert "mine: the preprocessing in use is wrong" in err
    page = (tmp_path / "told.html").read_text("utf-8")
    assert "data:image/svg+xml" in page
    assert "Best recipes" in page


def test_the_right_recipe_ends_with_0_and_is_told_as_json(capsys, folder):
    code, out, err = run(capsys, "diagnose", "cifar10-small", folder, "--json", "--most", "60")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert told["healthy"] is True
    assert told["conclusive"] is True
    assert told["named"]["preprocessing"] == presets.cifar10().recipe()
    assert sum(row["in_use"] for row in told["recipes"]) == 1
    assert told["recipes"][0]["accuracy"] is None  # no labels


def test_several_pictures_may_be_named_and_one_kind_is_not_judged(capsys, shelf):
    cat = wb.example("cat")
    code, out, _ = run(capsys, "diagnose", "mine", cat, cat, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["conclusive"] is False
    assert told["verdict"].startswith("Cannot tell")
