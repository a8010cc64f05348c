"""The lock: what it holds, what it refuses, and what is made from it."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from faults import Faults, file, sha256

from workbench import errors
from workbench.models import fetch, gate, lock
from workbench.models.hub import ModelHub

OPEN = {"allow_http": True, "allow_private": True}
PICTURE = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE_S", 0.01)
    monkeypatch.setattr(fetch, "TRIES", 1)
    made = Faults()
    yield made
    made.stop()


@pytest.fixture
def model(make_classifier, tmp_path):
    return make_classifier(tmp_path / "made.onnx", classes=3).read_bytes()


@pytest.fixture
def hub(tmp_path, server, model):
    """Return a hub that has pulled one model."""
    server.routes["/tiny.onnx"] = file(model)
    hub = ModelHub(model_dir=tmp_path / "shelf")
    metadata = {**PICTURE, "labels": ["a", "b", "c"], "licence": "MIT"}
    hub.pull(f"{server.url}/tiny.onnx", metadata=metadata, progress=False, **OPEN)
    return hub


@pytest.fixture
def shelf(hub):
    return hub.shelf.models


def flip(path, at: int = 100, keep_time: bool = False) -> None:
    """Change one bit of a file."""
    stamp = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    if keep_time:
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_the_lock_says_what_where_which_under_what_and_when(hub, shelf, server, model):
    told = json.loads((shelf / "models.lock").read_text())["models"]["tiny"]
    assert told["source"] == f"{server.url}/tiny.onnx"
    assert told["licence"] == "MIT"
    assert told["pulled"][:2] == "20"
    assert told["files"][0]["sha256"] == sha256(model)
    assert told["files"][0]["inode"] == (shelf / "tiny.onnx").stat().st_ino


def test_the_lock_is_in_the_same_order_whatever_came_first(hub, shelf, server, model):
    for name in ("z", "a"):
        server.routes[f"/{name}.onnx"] = file(model)
        hub.pull(f"{server.url}/{name}.onnx", metadata=PICTURE, progress=False, **OPEN)
    assert list(json.loads((shelf / "models.lock").read_text())["models"]) == ["a", "tiny", "z"]


def test_one_flipped_bit_is_found_and_the_model_refused(hub, shelf):
    assert hub.verify().ok
    flip(shelf / "tiny.onnx")
    told = hub.verify()
    assert not told.ok
    assert [(n, f.path, f.state) for n, f in told.wrong] == [("tiny", "tiny.onnx", "changed")]
    with pytest.raises(errors.ChecksumError):
        hub.load("tiny")
    with pytest.raises(errors.ChecksumError):
        hub.load(shelf / "tiny.onnx")
    with pytest.raises(errors.ChecksumError):
        ModelHub(model_dir=shelf).load("tiny")


def test_a_bit_that_was_flipped_in_secret_is_found_by_always(hub, shelf):
    hub.load("tiny")
    flip(shelf / "tiny.onnx", keep_time=True)
    with pytest.raises(errors.ChecksumError):
        hub.load("tiny", verify="always")
    with pytest.raises(errors.ConfigError, match="verify"):
        hub.load("tiny", verify="never")


@pytest.mark.parametrize("change", ["mtime", "inode"])
def test_the_hash_is_taken_again_where_the_stamp_differs(hub, shelf, monkeypatch, change):
    read = []
    real = lock.sha256_of
    monkeypatch.setattr(lock, "sha256_of", lambda *a: read.append(a) or real(*a))
    path = shelf / "tiny.onnx"
    ModelHub(model_dir=shelf).load("tiny")
    assert read == []
    if change == "mtime":
        os.utime(path, (1, 1))
    else:
        shutil.copy2(path, shelf / "copy")
        (shelf / "copy").replace(path)
    ModelHub(model_dir=shelf).load("tiny")
    assert [a[0].name for a in read] == ["tiny.onnx"]
    hub.load("tiny", verify="always")
    assert [a[0].name for a in read if a[1:] == ("always",)] == ["tiny.onnx"]


@pytest.mark.parametrize("where", ["locked", "embedded"])
def test_always_reads_every_byte_once(hub, where, monkeypatch):
    handle = hub.load("tiny" if where == "locked" else "cifar10-small")
    read = []
    for module, name in ((lock, "sha256_of"), (gate, "_read")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda path, *a, real=real: read.append(str(path)) or real(path, *a)
        )
    hub.load(handle, verify="always")
    assert read == [str(handle.path)]


def test_a_model_of_no_lock_that_was_changed_in_secret_is_found_by_its_description(hub, shelf):
    shutil.copy(shelf / "tiny.onnx", shelf / "mine.onnx")
    told = json.loads((shelf / "metadata" / "tiny.json").read_text())
    (shelf / "metadata" / "mine.json").write_text(json.dumps(told))
    hub.load("mine")
    flip(shelf / "mine.onnx", keep_time=True)
    with pytest.raises(errors.ChecksumError):
        hub.load("mine", verify="always")


def test_a_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    assert lock.sha256_of(path) == sha256(b"one")
    opened = []
    real = type(path).open
    monkeypatch.setattr(
        type(path), "open", lambda self, *a, **k: opened.append(self) or real(self, *a, **k)
    )
    assert lock.sha256_of(path) == sha256(b"one")
    assert path not in opened
    assert lock.sha256_of(path, "always") == sha256(b"one")
    assert path in opened
    monkeypatch.undo()
    path.write_bytes(b"two")
    assert lock.sha256_of(path) == sha256(b"two")


def test_a_description_may_be_edited(hub, shelf):
    path = shelf / "metadata" / "tiny.json"
    path.write_text(path.read_text().replace("MIT", "BSD-3-Clause"))
    told = hub.verify()
    assert told.ok
    assert "edited" in str(told)
    assert hub.load("tiny").spec.licence == "BSD-3-Clause"


def test_a_file_that_is_gone_is_missing(hub, shelf):
    (shelf / "tiny.onnx").unlink()
    assert [f.state for _, f in hub.verify().wrong] == ["missing"]


def test_a_damaged_model_is_pulled_again_and_must_be_the_locked_one(hub, shelf, server, model):
    flip(shelf / "tiny.onnx")
    hub.pull(f"{server.url}/tiny.onnx", progress=False, **OPEN)
    assert (shelf / "tiny.onnx").read_bytes() == model
    assert hub.load("tiny").labels == ("a", "b", "c")
    flip(shelf / "tiny.onnx")
    server.routes["/tiny.onnx"] = file(model + b"\x00")
    with pytest.raises(errors.ChecksumError):
        hub.pull(f"{server.url}/tiny.onnx", progress=False, **OPEN)


# ── pull --locked ─────────────────────────────────────────────────────────────────────────────


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_a_folder_is_made_from_its_lock_byte_by_byte(hub, shelf, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(shelf / "models.lock", other)
    told = ModelHub(model_dir=other).pull_locked(progress=False, **OPEN)
    assert set(told.fetched) == {"tiny.onnx", "metadata/tiny.json"}
    assert tree(other) == tree(shelf)
    again = ModelHub(model_dir=other).pull_locked(progress=False, offline=True)
    assert again.fetched == ()
    assert ModelHub(model_dir=other).load("tiny").state == "live"


def test_what_differs_from_the_lock_is_put_right_and_the_rest_left_alone(hub, shelf, model):
    flip(shelf / "tiny.onnx")
    (shelf / "mine.onnx").write_bytes(model)
    told = hub.pull_locked(progress=False, **OPEN)
    assert told.fetched == ("tiny.onnx",)
    assert told.extra == ("mine",)
    assert hub.verify().ok


def test_a_source_that_has_another_file_by_now_is_refused(hub, shelf, server, model):
    (shelf / "tiny.onnx").unlink()
    server.routes["/tiny.onnx"] = file(model + b"\x00")
    with pytest.raises((errors.ChecksumError, errors.DownloadError)):
        hub.pull_locked(progress=False, **OPEN)
    assert not (shelf / "tiny.onnx").exists()
    assert not list(shelf.glob(".pull-*"))


def test_without_the_network_only_what_is_missing_is_an_error(hub, shelf):
    (shelf / "tiny.onnx").unlink()
    with pytest.raises(errors.OfflineError):
        hub.pull_locked(progress=False, offline=True, **OPEN)


# ── update ────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_shows_the_difference_and_changes_nothing(hub, shelf, server, model):
    before = tree(shelf)
    same = hub.update(dry_run=True, **OPEN)
    assert [n.outcome for n in same.news] == ["same"]
    server.routes["/tiny.onnx"] = file(model, etag='"2"')
    told = hub.update(dry_run=True, **OPEN)
    assert told.changed == ("tiny",)
    assert "another ETag" in str(told)
    assert tree(shelf) == before


def test_an_update_pulls_what_has_changed(hub, shelf, server, make_classifier, tmp_path):
    newer = make_classifier(tmp_path / "newer.onnx", classes=3, activation="Softmax").read_bytes()
    server.routes["/tiny.onnx"] = file(newer, etag='"2"')
    told = hub.update(progress=False, **OPEN)
    assert told.done == ("tiny",)
    assert (shelf / "tiny.onnx").read_bytes() == newer
    assert hub.load("tiny").labels == ("a", "b", "c")
    assert hub.verify().ok


def test_of_several_updates_one_that_fails_hinders_no_other(
    hub, shelf, server, model, make_classifier, tmp_path
):
    server.routes["/z.onnx"] = file(model)
    hub.pull(f"{server.url}/z.onnx", metadata=PICTURE, progress=False, **OPEN)
    newer = make_classifier(tmp_path / "n.onnx", classes=3, activation="Softmax").read_bytes()
    server.routes["/z.onnx"] = file(newer, etag='"2"')
    server.routes["/tiny.onnx"] = file(b"<html>" + b" " * 900, etag='"2"')
    told = hub.update(progress=False, **OPEN)
    assert told.done == ("z",)
    assert {n.id: n.outcome for n in told.news} == {"tiny": "failed", "z": "changed"}
    assert (shelf / "tiny.onnx").read_bytes() == model
    assert hub.verify().ok


def test_a_source_that_is_gone_is_told_of(hub, server):
    server.routes.clear()
    told = hub.update(dry_run=True, **OPEN)
    assert [n.outcome for n in told.news] == ["failed"]
    assert "404" in str(told)


def test_a_name_that_is_not_locked_is_told(hub):
    with pytest.raises(errors.UnknownModelError):
        hub.verify("nothing")
    with pytest.raises(errors.UnknownModelError):
        hub.update("nothing", dry_run=True)
    with pytest.raises(errors.ConfigError, match="allow_https"):
        hub.update(allow_https=True)


# ── locks that cannot be trusted ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["models"]["tiny"]["files"][0].update(path="../../x"),
        lambda t: t["models"]["tiny"]["files"][0].update(path="/etc/x"),
        lambda t: t["models"]["tiny"]["files"][0].update(path="a\\..\\x"),
        lambda t: t["models"]["tiny"]["files"][0].update(sha256="x"),
        lambda t: t["models"]["tiny"]["files"][0].update(role="root"),
        lambda t: t["models"]["tiny"]["files"].pop(0),
        lambda t: t["models"].update({"../x": t["models"]["tiny"]}),
        lambda t: t.update(edition=99),
        lambda t: t.pop("models"),
    ],
)
def test_a_lock_that_cannot_be_trusted_is_refused(hub, shelf, change):
    told = json.loads((shelf / "models.lock").read_text())
    change(told)
    (shelf / "models.lock").write_text(json.dumps(told))
    with pytest.raises((errors.ConfigError, errors.UnsafePathError)):
        hub.pull_locked(progress=False)


def test_a_lock_that_is_no_json_is_refused(hub, shelf):
    (shelf / "models.lock").write_text("{")
    with pytest.raises(errors.ConfigError, match=r"models\.lock"):
        hub.verify()


def test_a_writer_that_was_killed_holds_nobody_back_for_long(hub, shelf, server, model):
    mark = shelf / ".models.lock.held"
    mark.write_text("somebody 1 0")
    os.utime(mark, (time.time() - 60, time.time() - 60))
    server.routes["/b.onnx"] = file(model)
    hub.pull(f"{server.url}/b.onnx", metadata=PICTURE, progress=False, **OPEN)
    assert "b" in lock.read(shelf)
    assert not mark.exists()
