"""Pages: whole in themselves, the same every time, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench import drawing, page
from workbench.cards import Card, Displayable, Facts
from workbench.errors import ConfigError, MissingFileError, UnknownModelError, WriteError

HOSTILE = "</title><script>alert(1)</script>"


class Thing(Displayable):
    def __init__(self, name: str = "thing") -> None:
        self.name = name

    def _card(self) -> Card:
        return Card(self.name, (Facts((("a", "1"),)),))


class Reader(HTMLParser):
    """Reads a page; tags must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def figure():
    return drawing.bars(["cat", HOSTILE], [0.9, 0.1], title=HOSTILE)


@pytest.fixture
def everything(tmp_path: Path) -> str:
    items = [
        Thing("one"),
        "First.\n\nSecond <b>.",
        figure(),
        Thing(HOSTILE),
        UnknownModelError("x", ["y"]),
    ]
    return wb.report(items, tmp_path / "a.html", title=HOSTILE).read_text(encoding="utf-8")


def test_a_page_says_what_it_is(everything):
    read = Reader(everything)
    assert everything.startswith("<!doctype html>\n<html lang='en'>")
    assert read.all("meta")[0] == {"charset": "utf-8"}
    assert [m for m in read.all("meta") if m.get("name") == "viewport"]
    assert len(read.all("title")) == len(read.all("h1")) == len(read.all("main")) == 1
    assert "prefers-color-scheme:dark" in everything


def test_a_page_has_no_script_and_loads_nothing(everything):
    read = Reader(everything)
    assert not {t for t, _ in read.tags} & {"script", "svg", "link", "iframe", "object", "base"}
    for tag, attributes in read.tags:
        assert not [n for n in attributes if n.startswith("on")], tag
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(m["content"] for m in read.all("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "url(" not in everything
    assert "@import" not in everything


def test_a_page_shows_all_in_order_and_escapes_it(everything):
    said = " ".join(Reader(everything).texts)
    places = [said.index(w) for w in ("First.", "Second <b>.", "No model named")]
    assert places == sorted(places)
    assert "<script" not in everything
    assert HOSTILE in said


def test_the_contents_lead_to_the_headings(everything):
    read = Reader(everything)
    targets = [(a.get("href") or "").removeprefix("#") for a in read.all("a")]
    assert targets == [h.get("id") for h in read.all("h2")]
    assert len(targets) == len(set(targets)) == 3


def test_a_page_of_one_display_is_titled_by_it_and_needs_no_contents(tmp_path):
    path = Thing("cat.png: cat").to_html(tmp_path / "a.html")
    read = Reader(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "a.html"
    assert read.all("nav") == read.all("h2") == []
    assert read.texts.count("cat.png: cat") == 2
    titled = Thing("x").to_html(str(tmp_path / "b.html"), title="Mine").read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in titled
    assert ">x</h2>" in titled


def test_the_same_things_give_the_same_page(tmp_path):
    def made(name: str) -> bytes:
        return wb.report([Thing(), figure()], tmp_path / name).read_bytes()

    assert made("a.html") == made("b.html")


def test_a_figure_is_kept_as_vectors_with_its_words_beside_it(everything):
    (picture,) = [i for i in Reader(everything).all("img") if i.get("class") == "figure"]
    assert (picture["src"] or "").startswith("data:image/svg+xml;base64,")
    assert HOSTILE in (picture["alt"] or "")


def test_a_figure_of_pyplot_is_the_same_every_time(tmp_path):
    from matplotlib.figure import Figure

    def made() -> bytes:
        theirs = Figure()
        theirs.add_subplot().plot(np.arange(5))
        return wb.report([theirs], tmp_path / "a.html").read_bytes()

    assert made() == made()


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "at least one display"),
        ("text", "a list of displays"),
        (3, "a list of displays"),
        ([Thing(), 3], "items[1] is 3"),
    ],
)
def test_what_cannot_be_shown_is_refused(items, said, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(said)):
        wb.report(items, tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_a_title_is_a_text(tmp_path):
    with pytest.raises(ConfigError, match="title is 3; expected a string"):
        wb.report([Thing()], tmp_path / "a.html", title=3)


def test_one_display_may_stand_without_a_list(tmp_path):
    assert wb.report(Thing("alone"), tmp_path / "a.html").read_text(encoding="utf-8").count("alone")


# ── writing ───────────────────────────────────────────────────────────────────────────────────


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere.*does not exist"):
        Thing().to_html(tmp_path / "nowhere" / "a.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [None, 3, "a\0b.html", "~nobody-has-this-name/a.html"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises((ConfigError, MissingFileError)):
        Thing().to_html(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.html").mkdir()
    with pytest.raises(WriteError, match="cannot be written"):
        Thing().to_html(tmp_path / "a.html")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="platform: there are no named pipes")
def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(WriteError, match="no regular file"):
        Thing().to_html(pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="platform: the rights of folders do not hold for the superuser",
)
def test_a_folder_that_may_not_be_written_to_stays_as_it_is(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WriteError, match="permission denied"):
            Thing().to_html(tmp_path / "a.html")
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_what_was_there(there, tmp_path, monkeypatch):
    target = tmp_path / "a.html"
    if there:
        target.write_text("before", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(page.os, "replace", full)
    with pytest.raises(WriteError, match="no space left") as caught:
        Thing().to_html(target)
    assert isinstance(caught.value, OSError)
    assert [p.read_text(encoding="utf-8") for p in tmp_path.iterdir()] == ["before"] * there


def test_an_older_page_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    for name in ("one", "two"):
        Thing(name).to_html(tmp_path / "a.html")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    assert "two" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_a_page_may_be_read_by_whoever_may_read_new_files(tmp_path):
    other = tmp_path / "other"
    other.touch()
    path = Thing().to_html(tmp_path / "a.html")
    assert path.stat().st_mode == other.stat().st_mode
