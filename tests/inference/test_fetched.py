"""Pictures that are named by their address."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import workbench as wb
from workbench import errors
from workbench.inference.results import Failure
from workbench.models import fetch

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # the server of the models' tests
from faults import Faults, endless, file, redirect

CAT = wb.example("cat").read_bytes()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("ALLOW_HTTP", "true")
    monkeypatch.setenv("ALLOW_PRIVATE", "true")
    monkeypatch.setattr(fetch, "PAUSE_S", 0.01)
    monkeypatch.setattr(fetch, "TRIES", 1)
    made = Faults()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def runner():
    return wb.Runner(wb.ModelHub())


def test_a_picture_is_fetched_and_classified(server, runner):
    server.routes["/a/cat.png"] = file(CAT)
    result = runner.classify(f"{server.url}/a/cat.png?token=SECRET", model="cifar10-small")
    assert result.label == "cat"
    assert result.source == "cat.png"
    assert result.timings["fetch"] > 0
    assert "SECRET" not in str(result) + repr(result) + result._repr_html_()
    assert "data:image" in result._repr_html_()  # a thumbnail of what came


def test_of_many_one_that_cannot_be_had_fails_alone(server, runner):
    server.routes["/cat.png"] = file(CAT)
    urls = [f"{server.url}/cat.png", f"{server.url}/no.png", wb.example("coffee")]
    results = runner.classify(urls, model="cifar10-small")
    assert [isinstance(r, Failure) for r in results] == [False, True, False]
    assert results[1].error.code == "download_failed"


def test_several_models_look_at_what_was_fetched_once(server, runner):
    server.routes["/cat.png"] = file(CAT)
    runner.classify(f"{server.url}/cat.png", model=["cifar10-small", "cifar10"])
    assert server.count("/cat.png") == 1


@pytest.mark.parametrize(
    ("route", "kind"),
    [
        (endless, errors.ImageTooLargeError),
        (file(bytes(2_000_000)), errors.ImageTooLargeError),
        (file(b"<html>" + b" " * 600), errors.NotAnImageError),
        (redirect("file:///etc/passwd"), errors.UrlRefusedError),
        (lambda r: r.answer(b"", "404 No"), errors.DownloadError),
    ],
)
def test_what_is_no_picture_is_refused(server, runner, monkeypatch, route, kind):
    monkeypatch.setenv("MAX_IMAGE_BYTES", "1000000")
    server.routes["/x"] = route
    with pytest.raises(kind):
        runner.classify(f"{server.url}/x", model="cifar10-small")


def test_private_addresses_and_plain_http_are_refused(server, runner, monkeypatch):
    server.routes["/cat.png"] = file(CAT)
    monkeypatch.delenv("ALLOW_PRIVATE")
    with pytest.raises(errors.UrlRefusedError, match="loopback"):
        runner.classify(f"{server.url}/cat.png", model="cifar10-small")
    monkeypatch.delenv("ALLOW_HTTP")
    with pytest.raises(errors.UrlRefusedError, match="plain http"):
        runner.classify(f"{server.url}/cat.png", model="cifar10-small")
    assert server.asked == []


def test_a_stop_ends_the_fetching(server, runner):
    stop = wb.Stop()

    def route(request):
        request.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CAT))
        request.send(CAT[:500])
        stop.cancel()
        request.wait_until_hung_up()

    server.routes["/slow.png"] = route
    with pytest.raises(errors.CancelledError):
        runner.classify(f"{server.url}/slow.png", model="cifar10-small", stop=stop)


def test_where_pictures_are_read_an_address_is_still_refused():
    with pytest.raises(errors.UrlRefusedError, match="Download it first"):
        wb.read_image("https://a.example/cat.png")
