"""Looking for news: what an update pulls anew, and what it leaves alone, with the reason."""

from __future__ import annotations

import json

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
def hub(tmp_path):
    return ModelHub(model_dir=tmp_path / "shelf")


@pytest.fixture
def shelf(hub):
    return hub.shelf.models


def test_an_address_that_had_a_query_is_left_alone_since_the_lock_has_none(
    server, hub, shelf, model, newer
):
    server.routes["/get"] = file(newer, etag='"2"')
    server.routes["/get?id=small"] = file(model)
    hub.pull(f"{server.url}/get?id=small", "small", metadata=PICTURE, **OPEN)
    before = (shelf / "models.lock").read_bytes()
    for told in (hub.update(dry_run=True, **OPEN), hub.update(**OPEN)):
        (news,) = told.news
        assert (news.outcome, news.held) == ("cannot tell", True)
        assert "the address had a query" in news.reason
        assert told.done == told.due == ()
    assert (shelf / "small.onnx").read_bytes() == model
    assert (shelf / "models.lock").read_bytes() == before
    assert hub.load("small").state == "live"


@pytest.mark.parametrize("how", ["sha256", "mapping", "metadata"])
def test_a_hash_that_was_demanded_is_kept(server, hub, shelf, model, newer, how):
    server.routes["/p.onnx"] = file(model)
    pin = sha256(model)
    asked = {
        "sha256": {"sha256": pin, "metadata": PICTURE},
        "mapping": {"sha256": {"": f"sha256:{pin}"}, "metadata": PICTURE},
        "metadata": {"metadata": {**PICTURE, "sha256": pin}},
    }
    hub.pull(f"{server.url}/p.onnx", **asked[how], **OPEN)
    assert lock.read(shelf)["p"].pin == pin
    server.routes["/p.onnx"] = file(newer, etag='"2"')
    told = hub.update(**OPEN)
    (news,) = told.news
    assert (news.outcome, news.held, told.done) == ("changed", True, ())
    assert "was demanded" in news.reason
    assert (shelf / "p.onnx").read_bytes() == model
    assert hub.verify().ok
    assert hub.load("p").state == "live"
    # who pulls it again without saying anything has demanded nothing else
    (shelf / "p.onnx").unlink()
    with pytest.raises((errors.ChecksumError, errors.DownloadError)):
        hub.pull(f"{server.url}/p.onnx", **OPEN)
    server.routes["/p.onnx"] = file(model)
    hub.pull(f"{server.url}/p.onnx", **OPEN)
    assert lock.read(shelf)["p"].pin == pin


def test_another_hash_may_be_demanded_with_replace(server, hub, shelf, model, newer):
    server.routes["/p.onnx"] = file(model)
    hub.pull(f"{server.url}/p.onnx", sha256=sha256(model), metadata=PICTURE, **OPEN)
    server.routes["/p.onnx"] = file(newer, etag='"2"')
    with pytest.raises(errors.ConfigError):
        hub.pull(f"{server.url}/p.onnx", sha256=sha256(newer), **OPEN)
    hub.pull(f"{server.url}/p.onnx", sha256=sha256(newer), replace=True, **OPEN)
    assert (shelf / "p.onnx").read_bytes() == newer
    told = json.loads((shelf / "models.lock").read_text())["models"]["p"]
    assert told["pinned"] == {"": sha256(newer)}
