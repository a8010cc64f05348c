"""Promises of every display; see examples.py for what is shown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from examples import EXAMPLES, HOSTILE

from workbench import page
from workbench.cards import (
    SEGMENTS,
    BarGrid,
    Bars,
    Block,
    Card,
    Displayable,
    Facts,
    Fold,
    Notes,
    Pictures,
    Stack,
    Table,
    plain,
)
from workbench.units import seconds

every = pytest.mark.parametrize("make", EXAMPLES, ids=lambda make: make.__name__)
_VOID = {"br", "img"}
_WITHIN_A_LINE = {"span"}


class Reader(HTMLParser):
    """Reads a page as someone without a style sheet would: its texts, tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag not in _WITHIN_A_LINE:
            self.texts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"<{tag}> is closed out of order"
        if tag not in _WITHIN_A_LINE:
            self.texts.append("\n")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def words(card: Card) -> list[str]:
    """Every text that a card carries."""
    return [plain(text) for text in (card.title, *words_of(card.blocks)) if text]


def words_of(blocks: tuple[Block, ...]) -> list[str]:
    said: list[str] = []
    for block in blocks:
        match block:
            case Facts(rows, title):
                said += [title, *(cell for row in rows for cell in row)]
            case Table(columns, rows, caption, _):
                said += [caption, *columns, *(cell for row in rows for cell in row)]
            case Bars(rows, caption):
                said += [caption, *(word for b in rows for word in (b.label, b.text))]
            case Stack(parts, caption):
                said += [caption, *(word for n, v in parts for word in (n, seconds(v)))]
            case Pictures(items, caption):
                said += [caption, *(line for p in items for line in p.lines)]
            case BarGrid(columns, rows, caption):
                bars = [bar for _, row in rows for bar in row if bar is not None]
                said += [caption, *columns, *(label for label, _ in rows)]
                said += [word for bar in bars for word in (bar.label, bar.text)]
            case Fold(title, inside):
                said += [title, *words_of(inside)]
            case Notes(lines, _):
                said += lines
    return said


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


#: The grounds that a display must stand out from: paper, and JupyterLab's dark theme.
GROUNDS = ("#ffffff", "#111111")
#: Least contrast of text, and of what is drawn (WCAG 2.2: 1.4.3 and 1.4.11).
TEXT, DRAWN = 4.5, 3.0


@every
def test_the_same_object_shown_twice_is_the_same_page(make):
    thing = make()
    assert thing._repr_html_() == thing._repr_html_() == make()._repr_html_()


@every
def test_a_page_needs_no_script_style_sheet_or_id(make):
    page = make()._repr_html_()
    read = Reader(page)
    assert read.open == []
    assert not {tag for tag, _ in read.tags} & {
        "script",
        "svg",
        "style",
        "link",
        "iframe",
        "object",
    }
    for tag, attributes in read.tags:
        assert "id" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    assert not re.search(r"0x[0-9a-f]{6,}", page), "an address in memory"


@every
def test_a_page_is_small_without_its_pictures(make):
    page = make()._repr_html_()
    assert len(re.sub(r"data:image/[a-z]+;base64,[^'\"]+", "", page)) < 20_000
    for picture in re.findall(r"base64,([^'\"]+)", page):
        assert len(picture) * 3 / 4 <= 8_000 + 3


@every
def test_every_word_is_in_the_page_and_in_the_text(make):
    thing = make()
    page = Reader(re.sub(r" style='[^']*'", "", thing._repr_html_()))
    flat = " ".join(str(thing).split())
    for word in words(thing._card()):
        assert word in page.text
        assert " ".join(word.split()) in flat


@every
def test_every_colour_is_hex_before_it_is_a_variable(make):
    styles = [a["style"] or "" for _, a in Reader(make()._repr_html_()).tags if "style" in a]
    for style in styles:
        hexes = 0
        for declaration in style.split(";"):
            name, _, value = declaration.partition(":")
            if "var(" in value:
                assert hexes, f"{declaration} has no plain colour before it in {style}"
                assert re.fullmatch(r"var\(--jp-[\w-]+,#[0-9a-f]{6}\)", value), declaration
            elif re.search(r"#[0-9a-f]{6}", value):
                hexes += 1
            assert name.strip(), style


@every
def test_texts_keep_the_readers_own_colour_and_what_is_drawn_stands_out(make):
    """No colour has 4.5 : 1 to white and to #111111 at once, so no text is given one."""
    for tag, attributes in Reader(make()._repr_html_()).tags:
        for declaration in (attributes.get("style") or "").split(";"):
            name, _, value = declaration.partition(":")
            colours = re.findall(r"#[0-9a-f]{6}", value)
            if name == "color":
                assert attributes.get("aria-hidden") == "true", f"<{tag}> gives a text a colour"
            elif colours:
                assert re.match(r"background|border", name), declaration
            for colour in colours:
                for ground in GROUNDS:
                    assert contrast(colour, ground) >= DRAWN, (declaration, ground)


@every
def test_what_has_a_coloured_ground_has_no_text_on_it(make):
    page = make()._repr_html_()
    grounds = re.findall(r"<(\w+) [^>]*style='[^']*background:[^']*'>([^<]*)</", page)
    assert all(tag == "div" and not text for tag, text in grounds)
    assert len(grounds) == len(re.findall(r"style='[^']*background:", page))


def test_neighbouring_segments_differ_in_grey():
    pairs = zip(SEGMENTS, SEGMENTS[1:] + SEGMENTS[:1], strict=True)
    assert all(contrast(one, other) >= 1.3 for one, other in pairs)
    assert len(set(SEGMENTS)) == len(SEGMENTS)


def test_colours_of_a_page_of_its_own_are_legible_in_light_and_in_dark():
    light, _, rest = page.STYLE.partition("@media (prefers-color-scheme:dark)")
    dark = rest.partition("@media print")[0]
    for sheet, ground in ((light, "#ffffff"), (dark, "#111111")):
        body = re.search(r"body{[^}]*background:(#\w{6});color:(#\w{6})", sheet)
        assert body is not None
        assert body[1] == ground
        link = re.search(r"a{color:(#\w{6})", sheet)
        assert link is not None
        for colour in (body[2], link[1]):
            assert contrast(colour, ground) >= TEXT
        drawn = re.findall(r"--jp-(?:brand|warn)-color1:(#\w{6})", sheet)
        assert len(drawn) == 2
        assert all(contrast(colour, ground) >= TEXT for colour in drawn)
        assert contrast(*re.findall(r"--jp-border-color1:(#\w{6})", sheet), ground) >= DRAWN


@every
def test_every_display_can_be_a_page_of_its_own(make, tmp_path):
    thing = make()
    first, second = thing.to_html(tmp_path / "a.html"), thing.to_html(str(tmp_path / "b.html"))
    text = first.read_text(encoding="utf-8")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]
    body = text[text.index("<main>") : text.index("</main>")]
    flat = Reader(body).text
    assert all(word in flat for word in words(thing._card()))
    assert "<script" not in text
    assert HOSTILE not in text


@every
def test_tables_have_captions_headers_with_scope_and_pictures_alternatives(make):
    read = Reader(make()._repr_html_())
    tags = [tag for tag, _ in read.tags]
    assert tags.count("table") == tags.count("caption")
    assert all(a.get("scope") in {"row", "col"} for tag, a in read.tags if tag == "th")
    assert all(a.get("alt") for tag, a in read.tags if tag == "img")


@every
def test_the_repr_is_one_short_line(make):
    line = repr(make())
    assert len(line) < 160
    assert line.isprintable()
    assert line.startswith("<")
    assert line.endswith(">")


@every
def test_a_strangers_text_cannot_steer_a_terminal_or_a_page(make):
    thing = make()
    assert all(c.isprintable() or c == "\n" for c in str(thing))
    assert "<script" not in thing._repr_html_()
    assert HOSTILE not in str(thing)


def test_an_object_without_a_card_says_so():
    class Silent(Displayable):
        pass

    with pytest.raises(NotImplementedError, match="Silent must describe itself"):
        str(Silent())
