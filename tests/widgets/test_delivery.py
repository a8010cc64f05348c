"""The catalogue in the app: one click from a name to an answer."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.models import catalog, fetch
from workbench.models.progress import Progress
from workbench.widgets import sitting as module
from workbench.widgets.delivery import offers, told

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # the server of the models' tests
from faults import Faults, file, held, sha256

LABELS = b"n1 red\nn2 green\nn3 blue\n"


def until(true):
    """Wait until something is true."""
    end_s = time.monotonic() + 60
    while not true() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert true()


@pytest.fixture
def store(monkeypatch, tmp_path):
    """Serve a small model in the place of the catalogue's first."""
    made = Faults()
    data = graphs.means(tmp_path / "made.onnx").read_bytes()
    first = catalog.entries()["resnet18-v2-7"]
    labels = catalog.Labels(
        sources=("https://127.0.0.1:1/synset.txt",), sha256=sha256(LABELS), form="synset"
    )
    entry = replace(
        first, sha256=sha256(data), size_bytes=len(data), labels=labels,
        sources=("https://127.0.0.1:1/x.onnx",), metadata={
            n: v for n, v in graphs.PLAIN.items() if n not in ("labels", "model_type")},
    )  # fmt: skip
    monkeypatch.setattr(catalog, "entries", lambda: {entry.id: entry})
    monkeypatch.setattr("workbench.widgets.delivery.entries", lambda: {entry.id: entry})
    monkeypatch.setenv("MIRRORS", made.url)
    monkeypatch.setattr(fetch, "PAUSE_S", 0.01)
    monkeypatch.setattr(fetch, "TRIES", 0)
    made.routes["/resnet18-v2-7.onnx"] = file(data)
    made.routes["/synset.txt"] = file(LABELS)
    made.data = data
    yield made
    made.stop()


@pytest.fixture
def app(hub, store):
    made = wb.app(hub, model="means")
    yield made
    made.close()
    assert made.wait(60)


def test_a_model_of_the_catalogue_is_one_click_away(app, hub, colour):
    app.add(colour())
    assert app.wait(60)
    assert app.offer.options[0][0].startswith("resnet18-v2-7 · classification · ")
    app.pull_button.click()
    assert app.wait(60)
    app.check()
    assert app.picker.value == "resnet18-v2-7"
    assert "resnet18-v2-7" in [name for _, name in app.picker.options]
    assert [r.model for r in app.results] == ["means", "resnet18-v2-7"]
    assert app.results[-1].label == "red"
    assert "resnet18-v2-7 is here, and is chosen." in app.said.value
    assert app.offer.options == ()
    assert app.shop.layout.display == "none"
    assert hub.verify("resnet18-v2-7").ok


def test_progress_is_seen_meanwhile(app, store, monkeypatch):
    monkeypatch.setattr("workbench.widgets.delivery._PAINT_S", 0.0)
    seen = []

    def bars():
        return [value for value, doing in seen if "pulling" in doing]

    def route(request):
        """Send a piece when what was told of the last one has been seen."""
        data, third = store.data, len(store.data) // 3
        request.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        request.send(data[:third])
        until(lambda: any(0 < value < 1 for value in bars()))
        request.send(data[third : 2 * third])
        until(lambda: any("/s" in doing and "left" in doing for _, doing in seen))
        request.send(data[2 * third :])

    store.routes["/resnet18-v2-7.onnx"] = route
    assert app.wait(60)
    app.activity.listen(lambda: seen.append((app._bar.value / app._bar.max, app._doing.value)))
    app.pull_button.click()
    assert app.wait(60)
    app.check()
    assert any(0 < value < 1 for value in bars())
    assert any("/s" in doing and "left" in doing for _, doing in seen)


def test_a_pull_is_stopped(app, store, hub):
    store.routes["/resnet18-v2-7.onnx"] = held(store.data, [100])
    assert app.wait(60)
    app.pull_button.click()
    until(lambda: store.count("/resnet18-v2-7.onnx"))
    app.stop_button.click()
    assert app.wait(60)
    with pytest.raises(errors.CancelledError):
        app.check()
    assert "resnet18-v2-7" not in hub


def test_what_cannot_be_pulled_is_shown(app, store):
    store.routes["/resnet18-v2-7.onnx"] = file(store.data[::-1])
    app.pull_button.click()
    assert app.wait(60)
    with pytest.raises(errors.ChecksumError):
        app.check()
    assert "checksum_mismatch" in app.error_line.value
    assert not app.pull_button.disabled


def test_without_its_labels_it_says_so(app, store):
    del store.routes["/synset.txt"]
    app.pull_button.click()
    assert app.wait(60)
    app.check()
    assert "labels could not be had" in app.said.value


def test_before_an_audience_nothing_is_pulled(hub, store, monkeypatch):
    monkeypatch.setattr(module, "audience", lambda: "Voilà serves this notebook to others")
    made = wb.app(hub, model="means")
    assert made.shop.layout.display == "none"
    made.sitting.pull("resnet18-v2-7")
    with pytest.raises(errors.SwitchedOffError, match="Pulling models"):
        made.check()
    assert store.asked == []
    made.close()


def test_the_address_of_a_picture_is_opened(app, store, colour, monkeypatch):
    monkeypatch.setenv("ALLOW_HTTP", "1")
    monkeypatch.setenv("ALLOW_PRIVATE", "1")
    store.routes["/red.png"] = file(colour().read_bytes())
    app.path.value = f"{store.url}/red.png?sig=SECRET"
    app.open_button.click()
    assert app.wait(60)
    app.check()
    assert app.results[0].label == "red"
    app.again_button.click()
    assert app.wait(60)
    assert store.count("/red.png") == 1
    assert "SECRET" not in app.code() + app.result.value


def test_what_is_here_is_not_on_offer(hub, store):
    assert [name for _, name in offers(hub)] == ["resnet18-v2-7"]
    hub.pull("resnet18-v2-7", progress=False)
    assert offers(hub) == ()


def test_progress_in_words():
    assert told(Progress("a", 1_000, None, nan)) == "1.00 kB"
    line = told(Progress("a", 5_000_000, 10_000_000, 1_000_000.0))
    assert line == "5.00 MB of 10.0 MB, 1.00 MB/s, 5.00 s left"
