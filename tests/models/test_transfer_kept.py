"""One file from several places: what is compared with what is known of it, and when it is safe."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from faults import Faults, file, redirect, sha256

from workbench import errors
from workbench.models import fetch, guard
from workbench.models.fetch import Fetcher, Rules
from workbench.models.part import Workshop, settle
from workbench.models.transfer import Item, Place, git_oid, telling, transfer, verify

BODY = b"\x08" + bytes(range(256)) * 8


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE_S", 0.01)
    monkeypatch.setattr(fetch, "TRIES", 1)
    monkeypatch.setattr(guard, "SLICE_S", 0.05)


@pytest.fixture
def server():
    made = Faults()
    yield made
    made.stop()


def take(folder, item, rules=None):
    """Transfer a file, and return its bytes and where they came from."""
    fetcher = Fetcher(rules or Rules(allow_http=True, allow_private=True))
    try:
        with Workshop(folder / "shelf", "goal") as shop:
            part = shop.part(item.name, tick=fetcher.tick)
            place = transfer(fetcher, item, part, lambda *_: None, lambda *_: None)
            return part.path.read_bytes(), place
    finally:
        fetcher.close()


def without_size(body):
    """Serve a file whose end only the end of the connection tells."""
    return lambda request: request.answer(body, content_length=None)


# ── what is known of a file ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["disk", "web", "web, no size told"])
@pytest.mark.parametrize("body", [BODY, BODY[:100]], ids=["long", "short"])
@pytest.mark.parametrize("off", [-7, 7])
def test_a_file_of_another_size_is_refused_where_no_hash_is_known(
    server, tmp_path, kind, body, off
):
    (tmp_path / "x").write_bytes(body)
    server.routes["/x"] = file(body) if kind == "web" else without_size(body)
    place = Place(str(tmp_path / "x")) if kind == "disk" else Place(f"{server.url}/x")
    right = Item("x", (place,), size_bytes=len(body))
    assert take(tmp_path, right) == (body, place)
    wrong = Item("x", (place,), size_bytes=len(body) + off)
    with pytest.raises(errors.DownloadError, match=f"(expected|more than the) {len(body) + off:,}"):
        take(tmp_path, wrong)


def test_a_whole_file_is_compared_with_size_hash_and_name_in_git(tmp_path):
    with Workshop(tmp_path, "goal") as shop:
        part = shop.part("x", tick=lambda: None)
        part.write(BODY)
        part.finish()
        oid = hashlib.sha1(b"blob %d\0" % len(BODY) + BODY).hexdigest()
        assert git_oid(part.path) == oid
        facts = {"size_bytes": len(BODY), "sha256": sha256(BODY), "git_oid": oid}
        verify(Item("x", (), **facts), part, "x")
        for wrong, kind, words in (
            ({"size_bytes": len(BODY) + 1}, errors.DownloadError, "cut off"),
            ({"size_bytes": len(BODY) - 1}, errors.DownloadError, "expected"),
            ({"sha256": "0" * 64}, errors.ChecksumError, "0000"),
            ({"git_oid": "0" * 40, "sha256": ""}, errors.ChecksumError, "git"),
        ):
            with pytest.raises(kind, match=words):
                verify(Item("x", (), **{**facts, **wrong}), part, "x")


def test_the_places_are_asked_in_order_and_the_most_telling_reason_is_told(server, tmp_path):
    server.routes["/good"] = file(BODY)
    server.routes["/bad"] = file(BODY[::-1])
    places = tuple(Place(f"{server.url}/{name}") for name in ("gone", "bad", "good"))
    assert take(tmp_path, Item("x", places, sha256(BODY)))[1] is places[2]
    assert [r.target for r in server.asked] == ["/gone", "/bad", "/good"]
    with pytest.raises(errors.ChecksumError) as caught:
        take(tmp_path, Item("x", places[:2], sha256(BODY)))
    assert "Also tried" in caught.value.hint
    assert "nothing at that address" in caught.value.hint
    lone = errors.DownloadError("a", "it is gone")
    assert telling([lone]) is lone
    assert "Also tried" not in lone.hint


def test_nothing_is_left_in_the_workshop(server, tmp_path):
    server.routes["/x"] = file(BODY)
    take(tmp_path, Item("x", (Place(f"{server.url}/x"),)))
    assert list((tmp_path / "shelf").iterdir()) == []


# ── a server that the settings name ───────────────────────────────────────────────────────────


def test_a_trusted_server_may_not_pass_its_trust_on(server, tmp_path):
    """Plain http is allowed, so that the address alone decides."""
    other = Faults()
    try:
        other.routes["/x"] = file(BODY)
        server.routes["/x"] = redirect(f"{other.url}/x")
        server.routes["/here"] = redirect("/there")
        server.routes["/there"] = file(BODY)
        rules = Rules(allow_http=True, trusted=(server.url,))
        own = Place(f"{server.url}/here", trusted=True)
        assert take(tmp_path, Item("x", (own,)), rules) == (BODY, own)
        away = Place(f"{server.url}/x", trusted=True)
        with pytest.raises(errors.UrlRefusedError, match="loopback"):
            take(tmp_path, Item("x", (away,)), rules)
        assert other.asked == []
        with pytest.raises(errors.UrlRefusedError, match="loopback"):
            take(tmp_path, Item("x", (Place(f"{server.url}/there"),)), rules)
    finally:
        other.stop()


# ── a power cut ───────────────────────────────────────────────────────────────────────────────


def test_bytes_are_on_the_disk_before_the_file_has_its_name(server, tmp_path, monkeypatch):
    happened: list[tuple[str, int]] = []
    sync, replace = os.fsync, os.replace

    def synced(handle):
        happened.append(("sync", os.fstat(handle).st_ino))
        sync(handle)

    def replaced(source, target):
        happened.append(("move", Path(source).stat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    server.routes["/x"] = file(BODY)
    fetcher = Fetcher(Rules(allow_http=True, allow_private=True))
    with Workshop(tmp_path / "shelf", "goal") as shop:
        part = shop.part("x", tick=fetcher.tick)
        item = Item("x", (Place(f"{server.url}/x"),))
        transfer(fetcher, item, part, lambda *_: None, lambda *_: None)
        inode = part.path.stat().st_ino
        settle(part.path, tmp_path / "shelf" / "x")
    fetcher.close()
    assert happened[:2] == [("sync", inode), ("move", inode)]
    folder = ("sync", (tmp_path / "shelf").stat().st_ino)
    assert os.name != "posix" or happened[2] == folder
