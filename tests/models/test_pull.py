"""Pulling from a server that cuts, lies, stalls and redirects; and what is left afterwards."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from faults import Faults, cut, endless, file, held, redirect, sha256, stall, trickle
from onnx import TensorProto, helper, numpy_helper

from workbench import errors
from workbench.models import address, fetch, guard, lock, part
from workbench.models.hub import ModelHub
from workbench.stopping import Stop

OPEN = {"allow_http": True, "allow_private": True, "progress": False}
PICTURE = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 46806737\n"
)


@pytest.fixture
def server():
    made = Faults()
    yield made
    made.stop()


@pytest.fixture
def hub(tmp_path):
    return ModelHub(model_dir=tmp_path / "shelf")


@pytest.fixture
def shelf(hub):
    return hub.shelf.models


@pytest.fixture
def model(make_classifier, tmp_path):
    """Return the bytes of a classifier of 200 kB, so that a transfer can break off within it."""
    path = make_classifier(tmp_path / "made.onnx", classes=17_000)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE_S", 0.01)
    monkeypatch.setattr(guard, "SLICE_S", 0.05)


def left(shelf: Path) -> list[str]:
    """Return what lies on a shelf."""
    return sorted(p.relative_to(shelf).as_posix() for p in shelf.rglob("*") if p.is_file())


def until(true, limit_s=60.0):
    """Wait until something is true."""
    end_s = time.monotonic() + limit_s
    while not true() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert true()


def when(true, act):
    """Do something, in a thread of its own, as soon as something is true."""
    threading.Thread(target=lambda: (until(true), act()), daemon=True).start()


def pull(hub, url, **options):
    return hub.pull(url, **{**OPEN, "metadata": PICTURE, **options})


# ── what comes whole ──────────────────────────────────────────────────────────────────────────


def test_a_pulled_model_loads_and_is_locked(server, hub, shelf, model):
    server.routes["/a/tiny.onnx"] = file(model)
    handle = pull(hub, f"{server.url}/a/tiny.onnx", sha256=sha256(model))
    assert handle.id == "tiny"
    assert hub.load("tiny").state == "live"
    assert left(shelf) == ["metadata/tiny.json", "models.lock", "tiny.onnx"]
    entry = lock.read(shelf)["tiny"]
    assert entry.source == f"{server.url}/a/tiny.onnx"
    assert entry.model.sha256 == sha256(model)
    assert entry.licence == "not stated"
    assert entry.pulled.endswith("Z")
    assert json.loads((shelf / "metadata/tiny.json").read_text())["sha256"] == sha256(model)


def test_once_locked_nothing_is_asked_any_more(server, hub, model):
    server.routes["/tiny.onnx"] = file(model)
    first = pull(hub, f"{server.url}/tiny.onnx")
    server.stop()
    assert hub.pull(f"{server.url}/tiny.onnx", **OPEN) is first
    assert hub.pull(f"{server.url}/tiny.onnx", offline=True, **OPEN) is first


def test_progress_tells_rate_and_time_left(server, hub, model):
    told, piece = [], len(model) // 8 + 1

    def route(request):
        """Send a piece when the last one has been told of."""
        request.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(model)}\r\n\r\n".encode())
        for at in range(0, len(model), piece):
            until(lambda at=at: (told[-1].done_bytes if told else 0) >= at)
            request.send(model[at : at + piece])

    server.routes["/tiny.onnx"] = route
    pull(hub, f"{server.url}/tiny.onnx", progress=told.append)
    assert told[-1].done_bytes == told[-1].total_bytes == len(model)
    middle = told[len(told) // 2]
    assert 0 < middle.done_bytes < len(model)
    assert middle.rate_bytes > 0
    assert middle.left_s > 0


def test_a_bar_is_shown_with_rate_and_time_left(server, hub, model, capsys):
    server.routes["/tiny.onnx"] = trickle(model, len(model) // 6 + 1, 0.15)
    pull(hub, f"{server.url}/tiny.onnx", progress=True)
    shown = capsys.readouterr().err
    assert "B/s" in shown
    assert "tiny: model.onnx" in shown
    assert "<00:" in shown


# ── resuming ──────────────────────────────────────────────────────────────────────────────────


def test_a_transfer_that_breaks_goes_on_where_it_was(server, hub, shelf, model):
    server.routes["/tiny.onnx"] = cut(model, 50_000, times=3)
    pull(hub, f"{server.url}/tiny.onnx")
    assert (shelf / "tiny.onnx").read_bytes() == model
    asked = [r.headers for r in server.asked]
    assert asked[1]["range"] == "bytes=50000-"
    assert asked[1]["if-range"] == '"1"'
    assert asked[2]["range"] == "bytes=100000-"


def test_many_breaks_are_no_harm_while_it_comes_further(server, hub, shelf, model):
    server.routes["/tiny.onnx"] = cut(model, 10_000, times=15)
    pull(hub, f"{server.url}/tiny.onnx")
    assert (shelf / "tiny.onnx").read_bytes() == model


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, hub, shelf, model):
    other = model[:-1] + bytes([model[-1]])  # the same length

    def route(request):
        if request.number == 0:
            cut(b"\x08" * len(model), 50_000, etag='"old"')(request)
        else:
            request.file(other, '"new"')

    server.routes["/tiny.onnx"] = route
    pull(hub, f"{server.url}/tiny.onnx")
    assert (shelf / "tiny.onnx").read_bytes() == model


def lying(model, header=None, shift=0):
    def route(request):
        if request.number == 0:
            cut(model, 50_000)(request)
        elif "range" in request.headers and request.number == 1:
            start = request.start + shift
            place = header or f"bytes {request.start}-{len(model) - 1}/{len(model)}"
            request.answer(model[start:], "206 Partial Content", etag='"1"', content_range=place)
        else:
            request.file(model)

    return route


@pytest.mark.parametrize(
    "header",
    ["bytes 50000-{}/*", "bytes 0-9/10", "bytes 50001-{}/{}", "nonsense", "bytes 50000-60000/{1}"],
)
def test_a_range_that_is_another_one_begins_it_anew(server, hub, shelf, model, header):
    place = header.format(len(model) - 1, len(model))
    server.routes["/tiny.onnx"] = lying(model, place)
    pull(hub, f"{server.url}/tiny.onnx")
    assert (shelf / "tiny.onnx").read_bytes() == model
    if not place.endswith("/*"):  # which only does not say how much there is
        assert "range" not in server.asked[-1].headers


def test_a_rest_that_ends_early_and_says_no_size_is_found(server, hub, shelf, model):
    def route(request):
        if request.number == 0:
            cut(model, 50_000)(request)
        elif request.number == 1:
            place = f"bytes 50000-{len(model) - 1}/*"
            request.answer(model[50_000:60_000], "206 Partial Content", etag='"1"',
                           content_range=place)  # fmt: skip
        else:
            request.file(model)

    server.routes["/tiny.onnx"] = route
    pull(hub, f"{server.url}/tiny.onnx")
    assert (shelf / "tiny.onnx").read_bytes() == model


@pytest.mark.parametrize("known", [True, False])
def test_a_range_with_other_bytes_than_it_says_begins_it_anew(server, hub, shelf, model, known):
    wrong = model[:50_000] + b"\xff" * (len(model) - 50_000)

    def route(request):
        if request.number == 0:
            cut(model, 50_000)(request)
        else:
            request.file(wrong if "range" in request.headers else model)

    server.routes["/tiny.onnx"] = route
    hashes = {"sha256": sha256(model)} if known else {}
    pull(hub, f"{server.url}/tiny.onnx", **hashes)
    assert (shelf / "tiny.onnx").read_bytes() == model


def test_without_proof_that_it_is_the_same_a_file_is_fetched_anew(server, hub, shelf, model):
    server.routes["/tiny.onnx"] = cut(model, 50_000, etag=None)
    pull(hub, f"{server.url}/tiny.onnx")
    assert "range" not in server.asked[1].headers
    assert (shelf / "tiny.onnx").read_bytes() == model


def test_a_weak_etag_is_no_proof(server, hub, model):
    server.routes["/tiny.onnx"] = cut(model, 50_000, etag='W/"1"')
    pull(hub, f"{server.url}/tiny.onnx")
    assert "range" not in server.asked[1].headers


# ── what is no model ──────────────────────────────────────────────────────────────────────────


def compressed(request):
    request.answer(gzip.compress(bytes(10_000_000)), content_encoding="gzip")


FAULTS = {
    "html": (file(b"<!DOCTYPE html><html>" + b"x" * 900), errors.DownloadError, "HTML page"),
    "short html": (file(b"<html>no</html>"), errors.DownloadError, "HTML page"),
    "pointer": (file(POINTER), errors.DownloadError, "Git LFS pointer to a file of 46.8 MB"),
    "empty": (file(b""), errors.DownloadError, "empty"),
    "json": (file(b'{"error": "gone"}'), errors.DownloadError, "JSON"),
    "bomb": (compressed, errors.DownloadError, "compressed \\(gzip\\)"),
    "missing": (lambda r: r.answer(b"", "404 Not Found"), errors.DownloadError, "404"),
    "forbidden": (lambda r: r.answer(b"", "403 Forbidden"), errors.DownloadError, "403.*HF_TOKEN"),
    "teapot": (lambda r: r.answer(b"", "418 Teapot"), errors.DownloadError, "status 418"),
    "circle": (redirect("/x.onnx"), errors.DownloadError, "circle"),
    "ftp": (redirect("ftp://a.example/x.onnx"), errors.UrlRefusedError, "ftp://"),
    "disk": (redirect("file:///etc/passwd"), errors.UrlRefusedError, "file://"),
    "garbage": (lambda r: r.send(b"\x00\x01garbage\r\n\r\n"), errors.DownloadError, "failed"),
    "silence": (lambda r: r.wait_until_hung_up(), errors.DownloadError, "silent"),
    "stall": (stall(b"\x08" * 9000, 600), errors.DownloadError, "silent"),
    "cut": (cut(b"\x08" * 9000, 1000, times=99, etag=None), errors.DownloadError, "ended before"),
    "protobuf": (file(b"\x08\x07\x12\x7f" + b"x" * 20), errors.InvalidModelError, "it ends after"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_model_is_named_and_leaves_nothing(server, hub, shelf, monkeypatch, name):
    monkeypatch.setattr(fetch, "TRIES", 1)
    route, kind, words = FAULTS[name]
    if words == "silent":
        monkeypatch.setattr(fetch, "STALL_S", 0.3)
    server.routes["/x.onnx"] = route
    with pytest.raises(kind, match=words):
        pull(hub, f"{server.url}/x.onnx")
    assert left(shelf) == []
    assert list(shelf.iterdir()) == []
    assert "x" not in hub


def test_a_wrong_hash_is_named_and_leaves_nothing(server, hub, shelf, model):
    server.routes["/x.onnx"] = file(model)
    with pytest.raises(errors.ChecksumError, match=f"{sha256(model)}; expected {'0' * 64}"):
        pull(hub, f"{server.url}/x.onnx", sha256="0" * 64)
    assert left(shelf) == []


def test_a_truncated_file_of_a_known_hash_is_a_wrong_hash(server, hub, shelf, model):
    server.routes["/x.onnx"] = file(model[:-10])
    with pytest.raises(errors.ChecksumError):
        pull(hub, f"{server.url}/x.onnx", sha256=sha256(model))
    assert left(shelf) == []


def test_metadata_that_the_graph_contradicts_leaves_nothing(server, hub, shelf, model):
    server.routes["/x.onnx"] = file(model)
    with pytest.raises(errors.MetadataMismatchError):
        pull(hub, f"{server.url}/x.onnx", metadata={**PICTURE, "labels": ["a", "b"]})
    assert left(shelf) == []


def test_a_body_without_end_stops_at_the_cap(server, hub, shelf):
    server.routes["/x.onnx"] = endless
    with pytest.raises(errors.DownloadTooLargeError, match=r"more than 1\.00 MB"):
        pull(hub, f"{server.url}/x.onnx", max_bytes=1_000_000)
    assert left(shelf) == []


def test_a_file_that_says_it_is_too_large_is_not_begun(server, hub, shelf):
    server.routes["/x.onnx"] = lambda r: r.answer(b"\x08", content_length=10**12)
    with pytest.raises(errors.DownloadTooLargeError, match="1000 GB"):
        pull(hub, f"{server.url}/x.onnx")
    assert left(shelf) == []


def test_the_total_time_is_limited_however_slowly_it_comes(server, hub, shelf, model):
    server.routes["/x.onnx"] = trickle(model, 100, 0.05)  # it would take 100 seconds
    started = time.monotonic()
    with pytest.raises(errors.DownloadError, match="longer than the limit"):
        pull(hub, f"{server.url}/x.onnx", timeout_s=0.6)
    assert time.monotonic() - started < 40
    assert "x" not in hub


def test_what_had_come_when_the_time_was_over_is_taken_up_as_it_is_told(
    server, hub, shelf, model, monkeypatch
):
    def hanging(request):
        request.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(model)}\r\n\r\n".encode())
        request.send(model[:60_000])
        request.wait_until_hung_up()

    monkeypatch.setattr(fetch, "STALL_S", 60.0)
    server.routes["/x.onnx"] = lambda r: hanging(r) if r.number == 0 else r.file(model)
    with pytest.raises(errors.DownloadError, match="taken up next time"):
        pull(hub, f"{server.url}/x.onnx", timeout_s=3.0, sha256=sha256(model))
    assert [p.name[:6] for p in shelf.iterdir()] == [".pull-"]
    pull(hub, f"{server.url}/x.onnx", sha256=sha256(model))
    assert server.asked[-1].start == 60_000
    assert left(shelf) == ["metadata/x.json", "models.lock", "x.onnx"]


@pytest.mark.parametrize("mark", ["sha256:", "SHA256:", "Sha256-", " "])
def test_a_hash_may_be_written_as_other_tools_write_it(server, hub, model, mark):
    server.routes["/x.onnx"] = file(model)
    assert pull(hub, f"{server.url}/x.onnx", sha256=mark + sha256(model).upper()).id == "x"
    with pytest.raises(errors.ConfigError, match="64 hexadecimal digits"):
        pull(hub, f"{server.url}/y.onnx", sha256=f"md5:{sha256(model)}")


@pytest.mark.parametrize(
    "route",
    [trickle(b"\x08" * 90_000, 50, 0.05), lambda request: request.wait_until_hung_up()],
    ids=["slow", "silent"],
)
def test_a_stop_is_honoured_while_it_comes_and_while_nothing_comes(server, hub, shelf, route):
    server.routes["/x.onnx"] = route
    stop, stopped = Stop(), []

    def cancel():
        stopped.append(time.monotonic())
        stop.cancel()

    when(lambda: server.asked, cancel)
    with pytest.raises(errors.CancelledError):
        pull(hub, f"{server.url}/x.onnx", stop=stop)
    assert time.monotonic() - stopped[0] < 25  # a silent server has 30 s, a slow one takes 90
    assert "x" not in hub


def test_what_had_come_when_it_was_stopped_is_taken_up(server, hub, shelf, model):
    server.routes["/tiny.onnx"] = cut(model, 60_000, times=1)
    stop = Stop()
    with pytest.raises(errors.CancelledError):
        pull(
            hub, f"{server.url}/tiny.onnx", stop=stop,
            progress=lambda p: p.done_bytes >= 60_000 and stop.cancel(),
        )  # fmt: skip
    pull(hub, f"{server.url}/tiny.onnx")
    assert server.asked[-1].headers["range"] == "bytes=60000-"
    assert left(shelf) == ["metadata/tiny.json", "models.lock", "tiny.onnx"]


def test_a_stop_with_a_deadline_of_its_own_is_a_time_limit(server, hub, model):
    server.routes["/x.onnx"] = trickle(model, 100, 0.05)
    with pytest.raises(errors.DownloadError, match="longer than the limit of 300 ms"):
        pull(hub, f"{server.url}/x.onnx", stop=Stop(timeout_s=0.3))


def test_addresses_that_differ_in_their_query_are_different_sources(server, hub, model):
    server.routes["/dl.onnx"] = file(model)
    signed = "X-Amz-Signature=SECRET&X-Amz-Date=1"
    pull(hub, f"{server.url}/dl.onnx?id=1&{signed}")
    pull(hub, f"{server.url}/dl.onnx?id=1&X-Amz-Signature=OTHER")
    assert len(server.asked) == 1  # the same file, signed anew
    with pytest.raises(errors.ConfigError, match="was pulled from"):
        pull(hub, f"{server.url}/dl.onnx?id=2")


# ── busy servers ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("dated", [True, False])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    server, hub, model, status, dated, monkeypatch
):
    paused = []

    def route(request):
        if request.number == 0:
            after = formatdate(time.time() + 90, usegmt=True) if dated else "90"
            request.answer(b"", status, retry_after=after)
        else:
            request.file(model)

    monkeypatch.setattr(fetch.Fetcher, "pause", lambda _, wait_s: paused.append(wait_s))
    server.routes["/tiny.onnx"] = route
    pull(hub, f"{server.url}/tiny.onnx")
    assert paused == [90.0] if not dated else 30 < paused[0] <= 90  # a date has whole seconds
    assert len(paused) == 1
    assert server.count("/tiny.onnx") == 2


def test_a_busy_server_that_asks_for_a_second_is_not_asked_before(server, hub, model):
    times = []

    def route(request):
        times.append(time.monotonic())
        if request.number == 0:
            request.answer(b"", "503 Service Unavailable", retry_after="1")
        else:
            request.file(model)

    server.routes["/tiny.onnx"] = route
    pull(hub, f"{server.url}/tiny.onnx")
    assert times[1] - times[0] >= 1.0


def test_a_wait_that_is_longer_than_the_limit_is_not_begun(server, hub):
    server.routes["/x.onnx"] = lambda r: r.answer(b"", "429 Busy", retry_after="3600")
    started = time.monotonic()
    with pytest.raises(errors.DownloadError, match=r"429.*3600 s of peace"):
        pull(hub, f"{server.url}/x.onnx", timeout_s=100)
    assert time.monotonic() - started < 50


def test_a_server_that_stays_broken_is_given_up(server, hub):
    server.routes["/x.onnx"] = lambda r: r.answer(b"", "500 Oh")
    with pytest.raises(errors.DownloadError, match=r"busy or broken \(500\), 6 times"):
        pull(hub, f"{server.url}/x.onnx")


# ── names ─────────────────────────────────────────────────────────────────────────────────────


def test_a_name_that_the_server_chose_is_not_taken(server, hub, shelf, model, tmp_path):
    server.routes["/tiny.onnx"] = file(model, content_disposition='attachment; filename="../../x"')
    pull(hub, f"{server.url}/tiny.onnx")
    assert left(shelf) == ["metadata/tiny.json", "models.lock", "tiny.onnx"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/Net%20v2.onnx", "Net-v2"), ("/resnet/model.onnx", "resnet"), ("/%2e%2e/x.onnx", "x")],
)
def test_a_model_is_named_after_its_address(server, hub, model, path, name):
    server.routes[path] = file(model)
    assert pull(hub, f"{server.url}{path}").id == name


def test_an_id_that_leads_out_of_the_folder_is_refused(server, hub):
    with pytest.raises(errors.UnsafePathError):
        pull(hub, f"{server.url}/x.onnx", id="../../x")
    assert server.asked == []


def test_a_model_of_ones_own_is_not_overwritten(server, hub, shelf, model):
    shelf.mkdir()
    (shelf / "tiny.onnx").write_bytes(model[:100])
    server.routes["/tiny.onnx"] = file(model)
    with pytest.raises(errors.ConfigError, match="was not pulled"):
        pull(hub, f"{server.url}/tiny.onnx")
    assert (shelf / "tiny.onnx").read_bytes() == model[:100]
    pull(hub, f"{server.url}/tiny.onnx", replace=True)
    assert (shelf / "tiny.onnx").read_bytes() == model


def test_two_sources_do_not_take_each_others_name(server, hub, model):
    server.routes["/a/tiny.onnx"] = server.routes["/b/tiny.onnx"] = file(model)
    pull(hub, f"{server.url}/a/tiny.onnx")
    with pytest.raises(errors.ConfigError, match="was pulled from"):
        pull(hub, f"{server.url}/b/tiny.onnx")
    assert pull(hub, f"{server.url}/b/tiny.onnx", id="other").id == "other"


# ── safety ────────────────────────────────────────────────────────────────────────────────────


def test_plain_http_is_refused_unless_asked(server, hub):
    with pytest.raises(errors.UrlRefusedError, match="plain http"):
        hub.pull(f"{server.url}/x.onnx", allow_private=True)
    assert server.asked == []


PRIVATE = ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "localhost",
           "10.0.0.1", "192.168.1.1", "169.254.169.254", "[fe80::1]", "0.0.0.0", "224.0.0.1",
           "100.64.0.1", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_refused_however_it_is_written(hub, host, monkeypatch):
    real = guard.socket.getaddrinfo
    monkeypatch.setattr(  # the run's own net is lifted for what is no name
        guard, "resolve", lambda h, p: [h.strip("[]")] if ":" in h or (h[:1].isdigit()
        and h.count(".") == 3) else [str(e[4][0]) for e in real("127.0.0.1", p)]
    )  # fmt: skip
    with pytest.raises(errors.UrlRefusedError, match="address"):
        hub.pull(f"https://{host}/x.onnx")


def test_the_address_that_is_dialled_is_the_one_that_was_checked(server, hub, monkeypatch):
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    dialled = []
    monkeypatch.setattr(guard, "resolve", lambda *_: answers.pop(0))
    monkeypatch.setattr(
        guard.Dialler, "_connect", lambda _, raw, place, end: dialled.append(place) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        hub.pull(f"http://rebind.example:{server.server_address[1]}/x.onnx", allow_http=True)
    assert dialled == [("93.184.216.34", server.server_address[1])]
    assert len(answers) == 1  # the name was asked for once


def test_a_name_with_one_private_address_is_refused(hub, monkeypatch):
    monkeypatch.setattr(guard, "resolve", lambda *_: ["93.184.216.34", "10.1.2.3"])
    with pytest.raises(errors.UrlRefusedError, match=r"10\.1\.2\.3"):
        hub.pull("https://two-faced.example/x.onnx")


@pytest.fixture
def public(monkeypatch):
    """Start a server on an address that counts as public; 127.0.0.1 stays private."""
    real = guard.refusal
    monkeypatch.setattr(guard, "refusal", lambda a: "" if a == "127.0.0.2" else real(a))
    made = Faults("127.0.0.2")
    yield made
    made.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="platform: one loopback address")
@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_a_redirect_to_a_private_address_is_refused(public, server, hub, status):
    public.routes["/x.onnx"] = redirect(f"{server.url}/secret", status)
    with pytest.raises(errors.UrlRefusedError, match="redirects to") as caught:
        hub.pull(f"{public.url}/x.onnx", allow_http=True)
    assert "loopback" in str(caught.value)
    assert server.asked == []


@pytest.mark.skipif(sys.platform != "linux", reason="platform: one loopback address")
def test_a_server_of_the_settings_is_trusted_where_it_is_asked_and_nowhere_else(
    public, server, hub, model, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.routes["/org/net/resolve/main/m.onnx"] = file(model)
    assert hub.pull("hf://org/net/m.onnx", metadata=PICTURE, progress=False).id == "m"
    with pytest.raises(errors.UrlRefusedError):
        hub.pull(f"{server.url}/org/net/resolve/main/m.onnx", id="direct")
    public.routes["/x.onnx"] = redirect(f"{server.url}/org/net/resolve/main/m.onnx")
    with pytest.raises(errors.UrlRefusedError):
        hub.pull(f"{public.url}/x.onnx", allow_http=True)


def test_proxies_of_the_environment_are_not_used(server, hub, model, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.routes["/tiny.onnx"] = file(model)
    assert pull(hub, f"{server.url}/tiny.onnx").id == "tiny"


def test_credentials_reach_no_error_log_or_lock(server, hub, shelf, model, caplog):
    caplog.set_level(logging.DEBUG)
    host = server.url.removeprefix("http://")
    server.routes["/tiny.onnx"] = redirect("/there?X-Amz-Signature=SECRET3")
    server.routes["/there"] = file(model)
    handle = pull(hub, f"http://me:SECRET1@{host}/tiny.onnx?token=SECRET2#SECRET4")
    assert server.asked[0].headers["authorization"].startswith("Basic ")
    server.routes["/there"] = lambda r: r.answer(b"", "403 No")
    with pytest.raises(errors.DownloadError) as caught:
        pull(hub, f"http://me:SECRET1@{host}/tiny.onnx?token=SECRET2", id="other")
    told = [str(caught.value), repr(caught.value), caught.value._repr_html_(), caplog.text]
    told += [str(p.read_text()) for p in shelf.rglob("*.json")]
    told += [(shelf / "models.lock").read_text(), str(handle), repr(caught.value.__dict__)]
    assert not [text for text in told if "SECRET" in text]


def test_a_token_is_sent_to_its_own_server_only(server, hub, model, monkeypatch):
    other = Faults()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    server.routes["/org/net/resolve/main/m.onnx"] = redirect(f"{other.url}/blob?sig=1")
    other.routes["/blob"] = file(model)
    try:
        pull(hub, "hf://org/net/m.onnx")
    finally:
        other.stop()
    assert server.asked[-1].headers["authorization"] == "Bearer hf_SECRET"
    assert "authorization" not in other.asked[0].headers


# ── what belongs to a model ───────────────────────────────────────────────────────────────────


def with_data(location: str, length: int = 4096) -> tuple[bytes, bytes]:
    """Return a classifier that keeps its weight in another file, and that file."""
    weight = np.arange(length, dtype=np.float32).reshape(4, -1)
    tensor = numpy_helper.from_array(weight, "weight")
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(data)))):
        tensor.external_data.add(key=key, value=value)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["scores"])]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, length // 4])]
    graph = helper.make_graph(nodes, "g", ports, outs, [tensor])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return made.SerializeToString(), data


def test_data_files_come_along(server, hub, shelf):
    model, data = with_data("sub/weights.bin")
    server.routes["/net/big.onnx"] = file(model)
    server.routes["/net/sub/weights.bin"] = file(data)
    handle = hub.pull(
        f"{server.url}/net/big.onnx", sha256={"sub/weights.bin": sha256(data)}, **OPEN
    )
    assert (shelf / "big/sub/weights.bin").read_bytes() == data
    assert handle.run(np.ones((1, 4), np.float32))["scores"].shape == (1, 1024)
    roles = {f.role for f in lock.read(shelf)["big"].files}
    assert roles == {"model", "data", "metadata"}


@pytest.mark.parametrize("fault", ["missing", "html", "short", "hash"])
def test_data_files_that_are_wrong_leave_nothing(server, hub, shelf, fault):
    model, data = with_data("weights.bin")
    bodies = {"html": b"<html>" + b"x" * len(data), "short": data[:-1], "hash": data[::-1]}
    server.routes["/big.onnx"] = file(model)
    if fault in bodies:
        server.routes["/weights.bin"] = file(bodies[fault])
    with pytest.raises(errors.WorkbenchError):
        hub.pull(f"{server.url}/big.onnx", sha256={"weights.bin": sha256(data)}, **OPEN)
    assert left(shelf) == []


@pytest.mark.parametrize("location", ["../../x", "/etc/passwd", "C:\\x", "a/../../x"])
def test_data_files_that_lie_elsewhere_are_not_asked_for(server, hub, shelf, location):
    model, _ = with_data(location)
    server.routes["/big.onnx"] = file(model)
    with pytest.raises(errors.ExternalDataError):
        hub.pull(f"{server.url}/big.onnx", **OPEN)
    assert len(server.asked) == 1
    assert left(shelf) == []


# ── kills, disks, crowds ──────────────────────────────────────────────────────────────────────

CHILD = """
import sys
from workbench.models.hub import ModelHub
import warnings; warnings.simplefilter("ignore")
hub = ModelHub(model_dir=sys.argv[1])
model = hub.pull(sys.argv[2], allow_http=True, allow_private=True, progress=False)
print(model.id)
"""


def child(shelf, url):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(shelf), url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip


def test_whatever_is_killed_whenever_the_model_is_absent_or_right(server, hub, shelf, model):
    """Before the first byte, in the middle, before the last, and while it is looked at and placed.

    The server sends no more than as far as a child is to come, so that each is killed there.
    """
    ends = [0, 90_000, len(model) - 1, len(model), len(model)]
    delays_s = iter([0.0, 0.1, 0.1, 0.0, 0.03])
    server.routes["/tiny.onnx"] = held(model, ends)
    for end in ends:
        before = len(server.asked)
        process = child(shelf, f"{server.url}/tiny.onnx")
        until(lambda p=process, n=before, e=end: p.poll() is not None or any(
            request.served == e for request in server.asked[n:]))  # fmt: skip
        time.sleep(next(delays_s))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        if end < len(model):
            assert process.returncode == -signal.SIGKILL
            assert not (shelf / "tiny.onnx").exists()
        if (shelf / "tiny.onnx").exists():
            assert (shelf / "tiny.onnx").read_bytes() == model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.InferredMetadataWarning)
        handle = hub.pull(f"{server.url}/tiny.onnx", **OPEN)
    assert handle.path.read_bytes() == model
    assert left(shelf) == ["metadata/tiny.json", "models.lock", "tiny.onnx"]


def test_what_a_killed_pull_has_left_is_taken_up(server, hub, shelf, model):
    server.routes["/tiny.onnx"] = held(model, [70_000])
    process = child(shelf, f"{server.url}/tiny.onnx")
    until(lambda: any(
        part.stat().st_size >= 70_000 for part in shelf.glob(".pull-*/model.onnx")))  # fmt: skip
    process.kill()
    process.communicate(timeout=60)
    pull(hub, f"{server.url}/tiny.onnx")
    assert server.asked[-1].headers["range"] == "bytes=70000-"
    assert left(shelf) == ["metadata/tiny.json", "models.lock", "tiny.onnx"]


def test_several_processes_may_pull_the_same_model(server, hub, shelf, model):
    server.routes["/tiny.onnx"] = trickle(model, 40_000, 0.02)
    crowd = [child(shelf, f"{server.url}/tiny.onnx") for _ in range(3)]
    told = [process.communicate(timeout=300) for process in crowd]
    assert [p.returncode for p in crowd] == [0, 0, 0], told
    assert (shelf / "tiny.onnx").read_bytes() == model
    assert left(shelf) == ["metadata/tiny.json", "models.lock", "tiny.onnx"]
    assert hub.verify().ok


def test_several_processes_may_pull_different_models_and_all_are_locked(server, shelf, model):
    for name in "abc":
        server.routes[f"/{name}.onnx"] = file(model)
    crowd = [child(shelf, f"{server.url}/{name}.onnx") for name in "abc"]
    told = [process.communicate(timeout=300) for process in crowd]
    assert [p.returncode for p in crowd] == [0, 0, 0], told
    assert sorted(lock.read(shelf)) == ["a", "b", "c"]


class FullDisk:
    """A file that takes 50 kB."""

    def __init__(self, refuse):
        self.refuse, self.size = refuse, 0

    def write(self, data):
        self.size += len(data)
        return self.refuse() if self.size > 50_000 else len(data)

    def close(self):
        pass


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("where", ["write", "fsync", "replace", "mkdir"])
def test_a_disk_that_takes_no_more_is_named_and_nothing_is_left(
    server, hub, shelf, model, monkeypatch, code, where
):
    server.routes["/tiny.onnx"] = file(model)

    def refuse(*_args, **_options):
        raise OSError(code, os.strerror(code))

    if where == "write":
        real = Path.open
        monkeypatch.setattr(
            part.Path, "open", lambda self, mode="r", *a, **k: FullDisk(refuse)
            if mode == "xb" else real(self, mode, *a, **k)
        )  # fmt: skip
    elif where == "mkdir":
        shelf.mkdir()
        monkeypatch.setattr(part.Path, "mkdir", refuse)
    else:
        monkeypatch.setattr(part.os, where, refuse)
    words = "no space left" if code == errno.ENOSPC else "read-only"
    with pytest.raises(errors.WriteError, match=words):
        pull(hub, f"{server.url}/tiny.onnx")
    monkeypatch.undo()
    assert not (shelf / "tiny.onnx").exists()
    assert not list(shelf.glob(".pull-*"))


@pytest.mark.parametrize("number", range(4))
def test_a_disk_that_is_full_while_files_are_placed_leaves_nothing(
    server, hub, shelf, monkeypatch, number
):
    model, data = with_data("weights.bin")
    server.routes["/big.onnx"] = file(model)
    server.routes["/weights.bin"] = file(data)
    real, done = os.replace, []

    def refuse(source, target):
        done.append(target)
        if len(done) > number:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(part.os, "replace", refuse)
    with pytest.raises(errors.WriteError, match="no space left"):
        hub.pull(f"{server.url}/big.onnx", **OPEN)
    monkeypatch.undo()
    assert left(shelf) == []
    assert not (shelf / "big").exists()


def test_what_the_old_model_had_and_the_new_has_not_goes_with_it(server, hub, shelf, model):
    large, data = with_data("weights.bin")
    server.routes["/net.onnx"] = file(large)
    server.routes["/weights.bin"] = file(data)
    hub.pull(f"{server.url}/net.onnx", **OPEN)
    server.routes["/new/net.onnx"] = file(model)
    pull(hub, f"{server.url}/new/net.onnx", replace=True)
    assert left(shelf) == ["metadata/net.json", "models.lock", "net.onnx"]
    assert hub.load("net").path == shelf / "net.onnx"


# ── places and names that no server can have ──────────────────────────────────────────────────

NOWHERE = {
    "javascript:alert('SECRET')": "javascript://",
    "mailto:me:SECRET@a.example": "mailto://",
    "https://[::1": "no address",
    "https://me:SECRET@[::zz]/x": "no address",
    "http://a b/": "no server can have",
    "http://xn--/": "no server can have",
    "http://a..example/": "no server can have",
    f"http://{'x' * 64}.example/": "no server can have",
    f"https://me:SECRET@{'x' * 300}/": "no server can have",
}


@pytest.mark.parametrize("place", NOWHERE, ids=lambda text: text[:20])
def test_a_redirect_to_no_address_is_told_at_once(server, hub, shelf, place):
    server.routes["/x.onnx"] = redirect(place)
    with pytest.raises(errors.FetchError, match=NOWHERE[place]) as caught:
        pull(hub, f"{server.url}/x.onnx")
    assert server.count("/x.onnx") == 1
    assert "SECRET" not in str(caught.value)
    assert list(shelf.iterdir()) == []


def test_a_redirect_that_names_no_server_stays_at_its_own(server, hub, model):
    server.routes["/a/x.onnx"] = redirect("http:tiny.onnx")
    server.routes["/a/tiny.onnx"] = file(model)
    assert pull(hub, f"{server.url}/a/x.onnx").id == "x"


@pytest.mark.parametrize("host", ["[::zz]", "x" * 64 + ".example", "a..example", "a b", "xn--"])
def test_an_address_of_no_server_is_refused_without_its_credentials(hub, host):
    address = f"https://me:{'SEC' + 'RET'}@{host}/x.onnx"
    with pytest.raises(errors.UrlRefusedError, match=r"no address|no server") as caught:
        hub.pull(address)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


HIDDEN = "SEC" + "RET"


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (f"ipfs://me:{HIDDEN}@bafy", {}),
        (f"ipfs://me:{HIDDEN}/x@bafy", {}),
        (f"file://me:{HIDDEN}@a.example/x.onnx", {}),
        (f"me:{HIDDEN}@a.example/x.onnx", {}),
        ("resnet18-v2-7", {"metadata": f"http://me:{HIDDEN}@a.example/x.json"}),
        ("resnet18-v2-7", {"metadata": f"me:{HIDDEN}@a.example/x.json"}),
        ("resnet18-v2-7", {"ipfs_gateways": [f"me:{HIDDEN}@a.example"]}),
        ("resnet18-v2-7", {"ipfs_gateways": [f"http://me:{HIDDEN}@[::x]"]}),
        ("resnet18-v2-7", {"ipfs_gateways": [f"https://me:{HIDDEN}@xn--"]}),
        ("resnet18-v2-7", {"hf_endpoint": f"https://me:{HIDDEN}@[::1"}),
        ("resnet18-v2-7", {"mirrors": f"https://me:{HIDDEN}@[::1/x"}),
    ],
)
def test_credentials_are_shown_nowhere_that_an_address_is_refused(hub, source, options):
    with pytest.raises(errors.WorkbenchError) as caught:
        hub.pull(source, offline=True, progress=False, **options)
    told = [*traceback.format_exception(caught.value), caught.value.hint]
    assert HIDDEN not in "".join(told)
    assert not isinstance(caught.value, errors.OfflineError)


def test_the_rules_do_not_show_the_servers_that_they_trust():
    rules = fetch.Rules(trusted=(f"https://me:{HIDDEN}@a.example",))
    assert HIDDEN not in repr(rules)


@pytest.mark.parametrize(
    "name",
    ["apikey", "api_key", "Api-Key", "pw", "pass", "passwd", "jwt", "client_secret", "X-Secret",
     "private_token", "accessKey", "X-Amz-Signature", "sv", "session_id"],
)  # fmt: skip
def test_what_proves_who_asks_is_no_part_of_a_source(server, hub, shelf, model, name):
    server.routes["/tiny.onnx"] = file(model)
    pull(hub, f"{server.url}/tiny.onnx?{name}=hunter2")
    assert lock.read(shelf)["tiny"].query == ""
    pull(hub, f"{server.url}/tiny.onnx?{name}=hunter3")
    assert server.count("/tiny.onnx") == 1


@pytest.mark.parametrize("name", ["id", "version", "keyword", "file", "author", "design", "space"])
def test_what_a_query_asks_for_is_a_part_of_its_source(name):
    one, other = (address.tell(f"https://a.example/m.onnx?{name}={n}") for n in "12")
    assert one.query
    assert one.query != other.query


def test_what_the_lock_keeps_of_a_query_says_nothing_without_its_address():
    one, other = (address.tell(f"https://{h}.example/m.onnx?id=5") for h in "ab")
    assert one.query != other.query
    assert one.query == address.tell("https://a.example/m.onnx?id=5&token=x").query
    assert len(one.query) == 8
