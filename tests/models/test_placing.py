"""Putting a model in place: killed at every step, twice at once, and on top of what is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from workbench import errors
from workbench.models import lock, part
from workbench.models.hub import ModelHub

QUIET = {"progress": False}
PICTURE = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}

#: Pulls a model again and again, each time in a process that is killed at the next step that
#: changes something on the disk; tells what is found afterwards.
KILLED = """
import json, os, shutil, sys, warnings
from pathlib import Path
import workbench as wb
from workbench.models import gate, engine  # loaded once, before the processes part

warnings.simplefilter("ignore")
first, second, folder = map(Path, sys.argv[1:4])
before, steps = folder / "before", []
said = {name: {"model_type": "classification", "input_shape": [1, 3, 8, 8],
               "preprocessing": "imagenet", "labels": [name + c for c in "abc"]}
        for name in ("old", "new")}
wb.ModelHub(model_dir=before).pull(first, "m", metadata=said["old"], progress=False)
wb.ModelHub(model_dir=before).load("m")
models = {first.read_bytes(): "old", second.read_bytes(): "new"}

def die_at(number):
    seen = 0
    def hook(event, args):
        nonlocal seen
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
        if event == "open" and isinstance(args[0], str) and str(folder) in args[0]:
            changes = bool(args[2] & (os.O_WRONLY | os.O_RDWR))
        seen += changes
        if seen == number:
            os.kill(os.getpid(), 9)
    sys.addaudithook(hook)

for number in range(1, 200):
    shelf = folder / f"killed-{number}"
    shutil.copytree(before, shelf)
    child = os.fork()
    if not child:
        die_at(number)
        hub = wb.ModelHub(model_dir=shelf)
        hub.pull(second, "m", metadata=said["new"], replace=True, progress=False)
        os._exit(0)
    killed = os.waitpid(child, 0)[1] != 0
    path = shelf / "m.onnx"
    step = {"number": number, "file": "absent", "loads": ""}
    if path.exists():
        step["file"] = models.get(path.read_bytes(), "broken")
        try:
            step["loads"] = wb.ModelHub(model_dir=shelf).handle("m").labels[0][:3]
        except wb.WorkbenchError as error:
            step["loads"] = f"{type(error).__name__}: {error}"
    hub = wb.ModelHub(model_dir=shelf)
    hub.pull(second, "m", metadata=said["new"], replace=True, progress=False)
    step["again"] = hub.load("m").labels[0][:3]
    step["verified"] = hub.verify().ok
    step["left"] = sorted(p.name for p in shelf.iterdir())
    steps.append(step)
    if not killed:
        break
print(json.dumps(steps))
"""


@pytest.fixture
def models(make_classifier, tmp_path):
    """Return the paths of two models that differ."""
    paths = (tmp_path / "one" / "first.onnx", tmp_path / "two" / "second.onnx")
    for path, activation in zip(paths, (None, "Softmax"), strict=True):
        path.parent.mkdir()
        make_classifier(path, classes=3, **({"activation": activation} if activation else {}))
    return paths


@pytest.fixture
def hub(tmp_path):
    return ModelHub(model_dir=tmp_path / "shelf")


@pytest.fixture
def shelf(hub):
    return hub.shelf.models


def run(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="platform: there is no fork here")
def test_a_replacement_that_is_killed_at_any_step_leaves_the_model_absent_or_right(
    models, tmp_path
):
    steps = json.loads(run(KILLED, *models, tmp_path / "killed"))
    assert len(steps) > 10
    assert {s["file"] for s in steps} == {"old", "absent", "new"}
    for step in steps:
        assert step["loads"] == ("" if step["file"] == "absent" else step["file"]), step
        assert (step["again"], step["verified"]) == ("new", True), step
        assert set(step["left"]) <= {"m.onnx", "metadata", "models.lock", "labels"}, step


def test_a_replacement_that_fails_gives_back_what_was_there(hub, shelf, models, monkeypatch):
    hub.pull(models[0], "m", metadata=PICTURE, **QUIET)
    before = {p.name: p.read_bytes() for p in shelf.rglob("*") if p.is_file()}
    inode = (shelf / "m.onnx").stat().st_ino
    real = lock.put

    def full(folder, entry):
        if entry.coming is None and entry.source != str(models[0]):
            raise errors.WriteError(str(folder), "no space left on the disk")
        real(folder, entry)

    monkeypatch.setattr(lock, "put", full)
    with pytest.raises(errors.WriteError):
        hub.pull(models[1], "m", metadata=PICTURE, replace=True, **QUIET)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in shelf.rglob("*") if p.is_file()} == before
    assert (shelf / "m.onnx").stat().st_ino == inode
    assert lock.read(shelf)["m"].coming is None
    assert hub.load("m").state == "live"


RACE = """
import sys, warnings
import workbench as wb
warnings.simplefilter("ignore")
source, shelf, letter = sys.argv[1:4]
said = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet",
        "labels": [letter + c for c in "abc"]}
hub = wb.ModelHub(model_dir=shelf)
for _ in range(8):
    hub.pull(source, "m", metadata=said, replace=True, progress=False)
"""


def test_two_processes_that_replace_one_model_by_different_ones_do_not_mix_them(models, shelf):
    for _ in range(2):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", RACE, str(source), str(shelf), letter],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for source, letter in zip(models, "xy", strict=True)
        ]  # fmt: skip
        told = [child.communicate(timeout=120)[1] for child in children]
        assert [child.returncode for child in children] == [0, 0], told
        hub = ModelHub(model_dir=shelf)
        assert hub.verify().ok
        first = (shelf / "m.onnx").read_bytes() == models[0].read_bytes()
        assert hub.load("m").labels[0] == ("xa" if first else "ya")
        assert lock.read(shelf)["m"].source == str(models[0] if first else models[1])


def test_of_two_that_pull_the_same_name_unasked_the_second_is_told(hub, shelf, models, monkeypatch):
    real, turns = part.Workshop.__enter__, []

    def meanwhile(shop):
        made = real(shop)
        if not turns:
            turns.append(1)
            ModelHub(model_dir=shelf).pull(models[1], "m", metadata=PICTURE, **QUIET)
        return made

    monkeypatch.setattr(part.Workshop, "__enter__", meanwhile)
    with pytest.raises(errors.ConfigError, match="name that is free"):
        hub.pull(models[0], "m", metadata=PICTURE, **QUIET)
    assert lock.read(shelf)["m"].source == str(models[1])
    assert (shelf / "m.onnx").read_bytes() == models[1].read_bytes()
    assert not list(shelf.glob(".pull-*"))


# ── what was there before, and no pull has put there ──────────────────────────────────────────


def test_a_description_written_by_hand_is_not_lost_unasked(hub, shelf, models):
    written = shelf / "metadata" / "m.json"
    written.parent.mkdir(parents=True)
    written.write_text(json.dumps({**PICTURE, "notes": "mine"}))
    before = written.read_bytes()
    with pytest.raises(errors.ConfigError, match="was not pulled"):
        hub.pull(models[0], "m", **QUIET)
    with pytest.raises(errors.ConfigError, match="was not pulled"):
        hub.pull(models[0], "m", metadata={**PICTURE, "notes": "other"}, **QUIET)
    assert written.read_bytes() == before
    assert not (shelf / "m.onnx").exists()
    hub.pull(models[0], "m", metadata=written, **QUIET)
    assert json.loads(written.read_text())["notes"] == "mine"
    assert hub.load("m").state == "live"


def test_a_description_written_by_hand_may_be_replaced_when_asked(hub, shelf, models):
    written = shelf / "metadata" / "m.json"
    written.parent.mkdir(parents=True)
    written.write_text("[1]")
    with pytest.raises(errors.ConfigError, match="was not pulled"):
        hub.pull(models[0], "m", metadata=PICTURE, **QUIET)
    hub.pull(models[0], "m", metadata=PICTURE, replace=True, **QUIET)
    assert json.loads(written.read_text())["preprocessing"] == "imagenet"


def test_labels_written_by_hand_are_not_lost_unasked(hub, shelf, models):
    source = models[0]
    (source.parent / "first_labels.json").write_text('["a", "b", "c"]')
    own = shelf / "labels" / "m_labels.json"
    own.parent.mkdir(parents=True)
    own.write_text('["mine", "b", "c"]')
    with pytest.raises(errors.ConfigError, match="was not pulled"):
        hub.pull(source, "m", metadata=PICTURE, **QUIET)
    assert own.read_text() == '["mine", "b", "c"]'
    hub.pull(source, "m", metadata=PICTURE, replace=True, **QUIET)
    assert hub.load("m").labels == ("a", "b", "c")


def test_what_comes_with_the_package_is_not_hidden_unasked(hub, shelf, models):
    with pytest.raises(errors.ConfigError, match="comes with the package"):
        hub.pull(models[0], "cifar10", metadata=PICTURE, **QUIET)
    assert not shelf.exists() or not list(shelf.rglob("*.onnx"))
    hub.pull(models[0], "cifar10", metadata=PICTURE, replace=True, **QUIET)
    assert hub.handle("cifar10").path == shelf / "cifar10.onnx"
    hub.pull(models[0], "cifar10", **QUIET)  # the lock has it: it was asked for


def test_a_folder_that_leads_out_of_the_shelf_is_not_written_to(hub, shelf, models, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    shelf.mkdir()
    (shelf / "metadata").symlink_to(outside)
    with pytest.raises(errors.UnsafePathError, match="link out of it"):
        hub.pull(models[0], "m", metadata=PICTURE, **QUIET)
    assert list(outside.iterdir()) == []
    assert sorted(p.name for p in shelf.iterdir()) == ["metadata"]


def test_what_is_pulled_again_with_another_description_stays_the_same_file(hub, shelf, models):
    hub.pull(models[0], "m", metadata=PICTURE, **QUIET)
    before = lock.stamp(shelf / "m.onnx")
    hub.pull(models[0], "m", metadata={**PICTURE, "licence": "MIT"}, **QUIET)
    assert lock.stamp(shelf / "m.onnx") == before == lock.read(shelf)["m"].model.stamp
    assert hub.load("m").spec.licence == "MIT"


def test_of_the_old_model_nothing_is_left(hub, shelf, models):
    (models[0].parent / "first_labels.json").write_text('["a", "b", "c"]')
    hub.pull(models[0], "m", metadata=PICTURE, **QUIET)
    assert (shelf / "labels" / "m_labels.json").exists()
    hub.pull(models[1], "m", metadata=PICTURE, replace=True, **QUIET)
    assert sorted(p.relative_to(shelf).as_posix() for p in shelf.rglob("*") if p.is_file()) == [
        "m.onnx", "metadata/m.json", "models.lock",
    ]  # fmt: skip
