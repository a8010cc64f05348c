"""What a lock guards, what it refuses to believe, and how writers of it take turns."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import time

import onnx
import pytest
from faults import Faults, file, sha256

from workbench import errors
from workbench.models import fetch, lock, turn
from workbench.models.hub import ModelHub
from workbench.models.whereabouts import fits, reserved

OPEN = {"allow_http": True, "allow_private": True, "progress": False}
PICTURE = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "resample": 2,
    "size": {"height": 8, "width": 8}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.4914, 0.4822, 0.4465],
    "image_std": [0.247, 0.2435, 0.2616],
}  # fmt: skip
CONFIG = {"id2label": {"0": "a", "1": "b", "2": "c"}}


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
def hub(tmp_path):
    return ModelHub(model_dir=tmp_path / "shelf")


@pytest.fixture
def shelf(hub):
    return hub.shelf.models


@pytest.fixture
def tiny(hub, server, model):
    """Pull one model, and return its lock file."""
    server.routes["/tiny.onnx"] = file(model)
    hub.pull(f"{server.url}/tiny.onnx", metadata={**PICTURE, "labels": ["a", "b", "c"]}, **OPEN)
    return hub.shelf.models / "models.lock"


@pytest.fixture
def vision(hub, server, model):
    """Pull a classifier with its configuration, as Hugging Face keeps it; return its folder."""
    files = {
        "model.onnx": model,
        "config.json": json.dumps(CONFIG).encode(),
        "preprocessor_config.json": json.dumps(PROCESSOR).encode(),
    }
    listed = [
        {
            "rfilename": name,
            "size": len(data),
            "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
        }
        for name, data in files.items()
    ]
    told = json.dumps({"sha": "c", "siblings": listed}).encode()
    server.routes["/api/models/o/r"] = lambda request: request.answer(told)
    for name, data in files.items():
        server.routes[f"/o/r/resolve/c/{name}"] = file(data)
    hub.pull("o/r", hf_endpoint=server.url, progress=False)
    return hub.shelf.models / "r"


def edit(path, change) -> None:
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


# ── what it guards ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["preprocessor_config.json", "config.json"])
def test_a_changed_configuration_that_was_fetched_is_found_and_the_model_refused(
    hub, shelf, vision, name
):
    assert hub.load("r").labels == ("a", "b", "c")
    path = vision / name
    path.write_text(path.read_text().replace("0.4914", "0.9914").replace('"a"', '"z"'))
    told = hub.verify()
    assert not told.ok
    assert [f.state for _, f in told.wrong] == ["changed"]
    for one in (hub, ModelHub(model_dir=shelf)):
        with pytest.raises(errors.ChecksumError, match=name) as caught:
            one.load("r")
        assert "pull --locked" in caught.value.hint
        assert "metadata JSON" in caught.value.hint


@pytest.mark.parametrize("name", ["r/preprocessor_config.json", "labels/r_labels.json"])
def test_a_description_that_is_gone_is_not_made_up_for_by_a_guess(hub, shelf, vision, server, name):
    (shelf / name).unlink()
    assert not hub.verify().ok
    with pytest.raises(errors.MissingFileError, match=name.partition("/")[2]) as caught:
        ModelHub(model_dir=shelf).load("r")
    assert "pull --locked" in caught.value.hint
    hub.pull_locked(progress=False, hf_endpoint=server.url)
    assert hub.verify().ok
    assert ModelHub(model_dir=shelf).load("r").labels == ("a", "b", "c")


def with_data(model: bytes, location: str, folder) -> tuple[bytes, bytes]:
    """Return a model that keeps its weights in a file of that name, and the weights."""
    onnx.save_model(
        onnx.load_from_string(model), folder / "big.onnx", save_as_external_data=True,
        location="weights.bin", size_threshold=0,
    )  # fmt: skip
    made = onnx.load(folder / "big.onnx", load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    return made.SerializeToString(), (folder / "weights.bin").read_bytes()


@pytest.mark.parametrize(
    "location",
    [
        "models.lock", "MODELS.LOCK", "config.json", "preprocessor_config.json", "config.pbtxt",
        "model.onnx.json", "MODEL.onnx", ".pull-x", "a/.b/c.bin", "metadata/w.bin",
    ],
)  # fmt: skip
def test_a_model_may_not_bring_files_with_another_meaning(
    server, hub, shelf, model, tmp_path, location
):
    made, weights = with_data(model, location, tmp_path)
    server.routes["/big.onnx"] = file(made)
    server.routes[f"/{location}"] = file(weights)
    with pytest.raises(errors.ExternalDataError, match=r"hidden|another kind"):
        hub.pull(f"{server.url}/big.onnx", metadata=PICTURE, **OPEN)
    assert server.count(f"/{location}") == 0
    assert [p for p in shelf.rglob("*") if p.is_file()] == []


def test_a_lock_in_the_models_own_folder_takes_nothing_back(server, hub, shelf, model, tmp_path):
    made, weights = with_data(model, "weights.bin", tmp_path)
    server.routes["/big.onnx"], server.routes["/weights.bin"] = file(made), file(weights)
    hub.pull(f"{server.url}/big.onnx", metadata=PICTURE, **OPEN)
    (shelf / "big" / "weights.bin").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    own = {"path": "model.onnx", "role": "model", "sha256": sha256(made), "size_bytes": len(made)}
    entry = {"source": "x", "licence": "", "pulled": "", "files": [own]}
    planted = {"edition": 1, "models": {"model": entry}}
    (shelf / "big" / "models.lock").write_text(json.dumps(planted))
    for what in ("big", shelf / "big" / "model.onnx"):
        with pytest.raises(errors.ChecksumError):
            ModelHub(model_dir=shelf).load(what)


def test_a_running_hub_sees_that_the_lock_was_edited(hub, tiny):
    hub.load("tiny")
    edit(tiny, lambda t: t["models"]["tiny"]["files"][0].update(sha256="0" * 64, mtime_ns=1))
    with pytest.raises(errors.ChecksumError):
        hub.load("tiny")


# ── what it refuses to believe ────────────────────────────────────────────────────────────────


def added(path: str, role: str = "metadata"):
    extra = {"path": path, "role": role, "sha256": "0" * 64, "size_bytes": 3, "content": {}}
    return lambda told: told["models"]["tiny"]["files"].append(extra)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["models"]["tiny"]["files"][0].update(size_bytes=float("inf")),
        lambda t: t["models"]["tiny"]["files"][0].update(size_bytes=-5),
        lambda t: t["models"]["tiny"]["files"][0].update(size_bytes="5"),
        lambda t: t["models"]["tiny"]["files"][0].update(size_bytes=True),
        lambda t: t["models"]["tiny"].update(source="\ud800"),
        lambda t: t["models"]["tiny"]["files"][0].update(path="a\ud800b"),
        lambda t: t["models"]["tiny"]["files"][0].update(path="other.onnx"),
        lambda t: t.update(edition=True),
        added("models.lock"),
        added("metadata/mine.json"),
        added("metadata/tiny.json"),
        added("tiny/models.lock", "data"),
        added("other/weights.bin", "data"),
        added("tiny/secret.json", "config"),
        added("labels/other_labels.json", "labels"),
    ],
)
def test_a_lock_may_only_name_the_files_of_its_models(hub, shelf, tiny, change):
    mine = shelf / "metadata" / "mine.json"
    mine.write_text('{"precious": 1}')
    edit(tiny, change)
    before = tiny.read_bytes()
    for act in (hub.verify, lambda: hub.load("tiny"), lambda: hub.pull_locked(progress=False)):
        with pytest.raises(errors.ConfigError, match=r"models\.lock"):
            act()
    assert mine.read_text() == '{"precious": 1}'
    assert tiny.read_bytes() == before


def test_a_lock_that_says_a_thing_twice_is_refused(hub, tiny):
    text = tiny.read_text()
    entry = '"tiny": {"source": "x", "licence": "", "pulled": "", "files": []},'
    tiny.write_text(text.replace('"models": {', f'"models": {{{entry}', 1))
    with pytest.raises(errors.ConfigError, match="twice"):
        hub.verify()


def test_a_size_that_contradicts_the_hash_is_found(hub, shelf, tiny):
    edit(tiny, lambda t: t["models"]["tiny"]["files"][0].update(size_bytes=5))
    told = hub.verify()
    assert not told.ok
    assert [f.state for _, f in told.wrong] == ["misstated"]
    with pytest.raises(errors.ConfigError, match=r"size_bytes of tiny\.onnx") as caught:
        hub.load("tiny")
    assert str((shelf / "tiny.onnx").stat().st_size) in str(caught.value)


def test_nothing_is_restored_through_a_link_out_of_the_shelf(hub, shelf, tiny, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (shelf / "metadata" / "tiny.json").unlink()
    (shelf / "metadata").rmdir()
    (shelf / "metadata").symlink_to(outside)
    with pytest.raises(errors.UnsafePathError, match="link out of it"):
        hub.pull_locked(**OPEN)
    assert list(outside.iterdir()) == []


def test_what_fits_and_what_is_reserved():
    assert fits("n", "model", "n.onnx")
    assert fits("n", "model", "n/model.onnx")
    assert fits("n", "data", "n/a/b.bin")
    assert not fits("n", "data", "n")
    assert not fits("n", "other", "n.onnx")
    assert not fits("n", "data", "n/../b.bin")
    assert reserved("onnx__MatMul_12") == reserved("model.onnx_data") == ""


# ── turns ─────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_leaves_no_mark_that_holds_others_back(tmp_path, monkeypatch):
    mark = tmp_path / ".models.lock.held"
    real = os.fdopen

    class Full:
        def __init__(self, handle: int) -> None:
            self.sink = real(handle, "w")

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.sink.close()

        def write(self, _: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(turn.os, "fdopen", lambda handle, _: Full(handle))
    with pytest.raises(errors.WriteError, match="no space left"), turn.alone(mark):
        pytest.fail("nobody has the turn")
    assert not mark.exists()


def test_the_mark_of_a_dead_process_is_taken_away_whatever_its_age(tmp_path, monkeypatch):
    for name in ("HELD_S", "SLOW_S"):
        monkeypatch.setattr(turn, name, 1e6)  # else nobody would ever have the turn
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mark = tmp_path / ".models.lock.held"
    mark.write_text(f"{socket.gethostname()} {dead.pid} 0")
    with turn.alone(mark):
        assert str(os.getpid()) in mark.read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_mark_of_another_machine_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(turn, "HELD_S", 0.4)
    mark = tmp_path / ".models.lock.held"
    mark.write_text("another-machine.invalid 1 0")
    begun = time.monotonic()
    with turn.alone(mark):
        assert time.monotonic() - begun > 0.3


def test_a_turn_that_goes_from_hand_to_hand_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(turn, "SLOW_S", 0.5)
    mark = tmp_path / ".models.lock.held"
    mark.write_text("another-machine.invalid 0 0")
    naps = []

    def nap(_: float) -> None:
        naps.append(0.3)
        if len(naps) < 10:  # another has it, and another: 3 s in all, each of them alive
            mark.write_text(f"another-machine.invalid {len(naps)} 0")
        else:
            mark.unlink()

    monkeypatch.setattr(turn.time, "sleep", nap)
    monkeypatch.setattr(turn, "clock", lambda: sum(naps))
    with turn.alone(mark):
        assert str(os.getpid()) in mark.read_text()  # and not without a mark of its own
    assert len(naps) == 10


def test_what_killed_writers_have_left_is_swept(hub, shelf, tiny, server, model):
    old = [shelf / ".models.lock.0123456789abcdef.part", shelf / ".models.lock.held.0123"]
    new = shelf / ".models.lock.fedcba9876543210.part"
    for path in (*old, new):
        path.write_text("x")
    for path in old:
        os.utime(path, (1, 1))
    server.routes["/b.onnx"] = file(model)
    hub.pull(f"{server.url}/b.onnx", metadata=PICTURE, **OPEN)
    assert not any(path.exists() for path in old)
    assert new.exists()
    assert set(lock.read(shelf)) == {"tiny", "b"}
