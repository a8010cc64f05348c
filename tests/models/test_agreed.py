"""What was agreed on a pulled model: the lock takes it up, and nothing done later loses it."""

from __future__ import annotations

import json
import shutil

import pytest
from faults import Faults, file, sha256

from workbench import errors
from workbench.models import fetch, lock
from workbench.models.hub import ModelHub

OPEN = {"allow_http": True, "allow_private": True, "progress": False}
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
def newer(make_classifier, tmp_path):
    return make_classifier(tmp_path / "newer.onnx", classes=3, activation="Softmax").read_bytes()


@pytest.fixture
def hub(tmp_path, server, model):
    """Return a hub that has pulled one model."""
    server.routes["/k.onnx"] = file(model)
    hub = ModelHub(model_dir=tmp_path / "shelf")
    hub.pull(f"{server.url}/k.onnx", metadata={**PICTURE, "notes": "from me"}, **OPEN)
    return hub


@pytest.fixture
def shelf(hub):
    return hub.shelf.models


def edit(shelf, **fields) -> None:
    path = shelf / "metadata" / "k.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def said(shelf):
    return json.loads((shelf / "metadata" / "k.json").read_text())


def test_a_written_passport_is_in_the_lock_and_reaches_a_colleague(hub, shelf, tmp_path):
    edit(shelf, preprocessing="inception", licence="MIT")
    assert "edited" in str(hub.verify())
    hub.passport("k").write()
    assert "edited" not in str(hub.verify())
    assert hub.pull_locked(**OPEN).fetched == ()
    assert said(shelf)["preprocessing"] == "inception"
    other = tmp_path / "colleague"
    other.mkdir()
    shutil.copy(shelf / "models.lock", other)
    theirs = ModelHub(model_dir=other)
    theirs.pull_locked(**OPEN)
    assert (other / "metadata/k.json").read_bytes() == (shelf / "metadata/k.json").read_bytes()
    assert theirs.handle("k").spec.licence == "MIT"
    assert theirs.passport("k")["preprocessing"].value == "inception"


@pytest.mark.parametrize("how", ["written", "edited"])
def test_what_was_agreed_or_edited_outlives_updates(hub, shelf, server, model, newer, how):
    edit(shelf, preprocessing="inception", labels=["x", "y", "z"], mine=[1, {"a": 2}])
    if how == "written":
        hub.passport("k").write()
    for number, body in enumerate((newer, model), start=2):
        server.routes["/k.onnx"] = file(body, etag=f'"{number}"')
        assert hub.update(**OPEN).done == ("k",)
        assert (shelf / "k.onnx").read_bytes() == body
        told = said(shelf)
        assert (told["preprocessing"], told["mine"]) == ("inception", [1, {"a": 2}])
        assert (told["notes"], told["labels"]) == ("from me", ["x", "y", "z"])
        assert hub.load("k").labels == ("x", "y", "z")
        assert hub.verify().ok
        assert "edited" not in str(hub.verify())


def test_what_was_agreed_outlives_a_repair(hub, shelf, server):
    edit(shelf, preprocessing="inception")
    hub.passport("k").write()
    (shelf / "k.onnx").unlink()
    hub.pull(f"{server.url}/k.onnx", **OPEN)
    assert said(shelf)["preprocessing"] == "inception"


def test_what_only_the_graph_says_is_not_agreed(hub, shelf, server, make_classifier, tmp_path):
    server.routes["/s.onnx"] = file(make_classifier(tmp_path / "s.onnx", size=8).read_bytes())
    metadata = {name: value for name, value in PICTURE.items() if name != "input_shape"}
    hub.pull(f"{server.url}/s.onnx", metadata=metadata, **OPEN)
    passport = hub.passport("s")
    assert passport["input_shape"].source == "graph"
    passport.write()
    assert "input_shape" not in lock.read(shelf)["s"].given
    larger = make_classifier(tmp_path / "l.onnx", size=16).read_bytes()
    server.routes["/s.onnx"] = file(larger, etag='"2"')
    assert hub.update("s", **OPEN).done == ("s",)
    assert hub.load("s").spec.input_shape[-1] == 16


def test_labels_of_a_file_are_not_spelt_out_for_ever(server, tmp_path, make_classifier):
    source = make_classifier(tmp_path / "from" / "k.onnx", classes=3)
    (source.parent / "k_labels.json").write_text('["a", "b", "c"]')
    hub = ModelHub(model_dir=tmp_path / "shelf")
    hub.pull(source, metadata=PICTURE, progress=False)
    hub.passport("k").write()
    entry = lock.read(hub.shelf.models)["k"]
    assert "labels" not in entry.given
    assert hub.load("k").labels == ("a", "b", "c")
    assert hub.verify().ok


def test_restoring_says_what_it_took_back_and_keeps_it(hub, shelf):
    edit(shelf, preprocessing="inception")
    told = hub.pull_locked(**OPEN)
    assert told.edited == ("metadata/k.json",)
    assert "had been edited" in str(told)
    assert said(shelf)["preprocessing"] == "imagenet"
    aside = json.loads((shelf / "metadata" / "k.json.edited").read_text())
    assert aside["preprocessing"] == "inception"
    assert hub.pull_locked(**OPEN).edited == ()


# ── what a passport may not be written over ───────────────────────────────────────────────────


def test_a_passport_never_breaks_what_a_lock_states(hub, shelf, server, model):
    hub.pull(f"{server.url}/k.onnx", "two", metadata=PICTURE, **OPEN)
    told = said(shelf)
    told.pop("sha256")
    (shelf / "metadata" / "k.json").write_text(json.dumps(told))
    (shelf / "link.onnx").symlink_to(shelf / "k.onnx")
    passport = hub.passport("k")
    before = {p: p.read_bytes() for p in shelf.rglob("*") if p.is_file()}
    places = [None, shelf / ".." / "shelf" / "k.onnx", shelf / "two.onnx", shelf / "link.onnx"]
    for path in places:
        with pytest.raises(errors.ConfigError, match="states the sha256"):
            passport.write("onnx", path=path)
    for path in (shelf / "models.lock", shelf / "k.onnx", shelf / "new.onnx"):
        with pytest.raises(errors.ConfigError, match=r"a \.json file"):
            passport.write(path=path)
    for path in (shelf / "models.lock", shelf / "metadata" / "k.json"):
        with pytest.raises(errors.ConfigError, match=r"an \.onnx file"):
            passport.write("onnx", path=path)
    with pytest.raises(errors.ConfigError, match="states the sha256"):
        passport.write(path=shelf / "metadata" / "two.json")
    assert {p: p.read_bytes() for p in shelf.rglob("*") if p.is_file()} == before
    assert hub.verify().ok
    copy = passport.write("onnx", path=shelf / "copy.onnx")
    assert ModelHub(model_dir=shelf).load(copy).state == "live"
    assert ModelHub(model_dir=shelf).load("k").state == "live"


def test_a_dotted_path_to_its_own_file_is_its_own_file(tmp_path, make_classifier):
    path = make_classifier(tmp_path / "m" / "m.onnx", classes=3)
    hub = ModelHub(model_dir=tmp_path / "shelf")
    before = path.read_bytes()
    path.with_suffix(".json").write_text(json.dumps({**PICTURE, "sha256": sha256(before)}))
    with pytest.raises(errors.ConfigError, match="states the sha256"):
        hub.passport(path).write("onnx", path=tmp_path / "m" / ".." / "m" / "m.onnx")
    assert path.read_bytes() == before
