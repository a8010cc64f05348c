"""The drop zone forwards what it is sent, answers, and keeps nothing in its state."""

from __future__ import annotations

import json

import pytest

from workbench.errors import ImageTooLargeError
from workbench.widgets import drop
from workbench.widgets.drop import DropZone


@pytest.fixture
def zone(monkeypatch):
    """Return a drop zone, with what it accepted, refused and answered."""
    accepted, refused, sent = [], [], []
    made = DropZone(accepted.append, lambda error, name: refused.append((error, name)))
    monkeypatch.setattr(made, "send", lambda content, buffers=None: sent.append(content))
    made.seen = accepted, refused, sent
    return made


def tell(zone, message, *buffers):
    zone._handle_custom_msg(message, list(buffers))


def upload(zone, name="cat.jpg", content=b"abc", step=1_000_000, key="v-1"):
    tell(zone, {"kind": "begin", "id": key, "name": name, "size": len(content), "via": "paste"})
    for offset in range(0, len(content), step):
        part = memoryview(content[offset : offset + step])
        tell(zone, {"kind": "chunk", "id": key, "offset": offset}, part)


def test_a_file_goes_to_accept_and_every_piece_is_answered(zone):
    accepted, refused, sent = zone.seen
    upload(zone, content=b"x" * 2_500_000)
    assert [u.content for u in accepted] == [b"x" * 2_500_000]
    assert [m["kind"] for m in sent] == ["more", "more", "more", "done"]
    assert refused == []


def test_a_file_over_the_limit_goes_to_refuse(zone):
    accepted, refused, sent = zone.seen
    tell(zone, {"kind": "begin", "id": "v-1", "name": "big.jpg", "size": 11_000_000})
    assert isinstance(refused[0][0], ImageTooLargeError)
    assert refused[0][1] == "big.jpg"
    assert sent[0]["kind"] == "refused"
    assert accepted == []


def test_nothing_of_an_upload_is_in_the_state(zone):
    before = set(zone.get_state())
    upload(zone, name="private-name.jpg", content=b"private bytes")
    state = zone.get_state()
    assert set(state) == before
    assert "private" not in json.dumps({k: v for k, v in state.items() if k != "layout"})


def test_the_browser_is_told_the_limits(zone):
    state = zone.get_state()
    assert state["image_limit"] == 10_000_000
    assert state["model_limit"] == 500_000_000
    assert ".onnx" in state["accept"]


def test_a_zone_for_pictures_alone_says_so():
    state = DropZone(print, print, model_bytes=0).get_state()
    assert state["accept"] == "image/*"
    assert "onnx" not in state["label"]


def test_the_front_end_lies_in_the_package_and_writes_names_as_text_only():
    script = (drop._HERE / "drop_zone.js").read_text(encoding="utf-8")
    assert DropZone(print, print).get_state()["_esm"] == script
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in script


def test_every_colour_of_the_style_sheet_follows_the_theme_and_has_a_fallback():
    sheet = (drop._HERE / "drop_zone.css").read_text(encoding="utf-8")
    for line in sheet.splitlines():
        name, _, value = line.strip().partition(":")
        if name in {"color", "background", "border-color"}:
            assert "var(--jp-" in value, line
            assert "#" in value, line


def test_a_zone_that_is_closed_keeps_no_half_a_file(zone):
    tell(zone, {"kind": "begin", "id": "v-1", "name": "a.png", "size": 9, "via": "drop"})
    assert zone.inbox.waiting == ("a.png",)
    zone.close()
    assert zone.inbox.waiting == ()
