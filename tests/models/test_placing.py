"""Putting a model in place: killed at every step, twice at once, and on top of what is there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from workbench import errors
from workbench.models import lock, part
from workbench.models.hub import ModelHub

QUIET = {"progress": False}
PICTURE = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}


class Killed(BaseException):
    """What a killed process does: nothing any more."""


class Killer:
    """Ends all that changes something on the disk from a certain step on, cleaning up included."""

    def __init__(self) -> None:
        self.folder, self.left = "", 0
        sys.addaudithook(self.hook)  # it stays for ever, and is idle without a folder

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        if not self.folder:
            return
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime")
        if event == "open" and isinstance(args[2], int):
            changes = bool(args[2] & (os.O_WRONLY | os.O_RDWR))
        if changes and self.folder in str(args[0]):
            self.left -= 1
            if self.left < 0:
                raise Killed


KILLER = Killer()


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


def test_a_replacement_that_is_killed_at_any_step_leaves_the_model_absent_or_right(
    models, tmp_path
):
    said = [{**PICTURE, "labels": [name + c for c in "abc"]} for name in ("old", "new")]
    bytes_of = {models[0].read_bytes(): "old", models[1].read_bytes(): "new"}
    before = tmp_path / "before"
    ModelHub(model_dir=before).pull(models[0], "m", metadata=said[0], **QUIET)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    found = []
    for step in range(200):
        shelf = tmp_path / f"killed-{step}"
        shutil.copytree(before, shelf)
        KILLER.folder, KILLER.left = str(shelf), step
        with suppress(Killed):
            ModelHub(model_dir=shelf).pull(models[1], "m", metadata=said[1], replace=True, **QUIET)
        KILLER.folder = ""
        if KILLER.left >= 0:
            break  # it came to its end
        mark = shelf / ".models.lock.held"
        if mark.exists():
            mark.write_text(f"{socket.gethostname()} {dead.pid} 0")
        path = shelf / "m.onnx"
        found.append(bytes_of[path.read_bytes()] if path.exists() else "absent")
        if path.exists():
            assert ModelHub(model_dir=shelf).handle("m").labels[0] == f"{found[-1]}a", step
        hub = ModelHub(model_dir=shelf)
        hub.pull(models[1], "m", metadata=said[1], replace=True, **QUIET)
        assert hub.handle("m").labels[0] == "newa", step
        assert hub.verify().ok, step
        assert not mark.exists()
    assert len(found) > 10
    assert list(dict.fromkeys(found)) == ["old", "absent", "new"]


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
