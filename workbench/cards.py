"""What an object wants shown, and the two ways of drawing it.

An object answers ``_card()`` with a :class:`Card`: a title and typed blocks, no markup. Text
and HTML are both drawn from it, so they cannot drift apart. Everything is escaped once, here,
at the leaf. The HTML needs neither script nor CSS (GitHub, nbconvert, an untrusted notebook),
holds no id, clock or address, and writes every colour twice: a hex value that is legible on
light and dark, then the theme's variable, which JupyterLab drops in untrusted notebooks.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from math import isnan
from textwrap import fill
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

from workbench.units import seconds, share

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

#: Longest one-line form of an object, in characters.
LINE_LENGTH = 159
#: Largest thumbnail in an HTML page, in bytes, before base64.
THUMBNAIL_BYTES = 8_000
#: Longest side of a thumbnail, in pixels.
THUMBNAIL_PIXELS = 160

_TEXT_WIDTH = 100
_BAR_CHARACTERS = 24
#: Okabe and Ito's colour-blind safe palette (jfly.uni-koeln.de/color), without its yellow: for
#: figures, which stand on white and carry hatches as well.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f")
#: Colours of segments in HTML. Each has at least 3 : 1 to white and to JupyterLab's dark #111111
#: (WCAG 2.2, 1.4.11), and dark and bright ones alternate, so that neighbours differ in grey too.
SEGMENTS = (
    "#0072b2", "#bd7f00", "#a5477f", "#009e73", "#6a6a6a", "#1f8fd0", "#8a5a00", "#c06fa5",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, one pair a row."""

    rows: tuple[tuple[str, str], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; ``numeric`` names the columns that are aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a label, its length as a share of one, and the text at its end."""

    label: str
    share: float
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Labelled bars, one a row."""

    rows: tuple[Bar, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class BarGrid:
    """Bars side by side: a row a label, a column a thing that is compared.

    ``rows`` : label, and one bar (or None: nothing to show) a column; a bar's own ``label`` is a
    mark in words that stands beside its text, or empty.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Bar | None, ...]], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Stack:
    """Durations in seconds that add up, drawn as one bar with a segment each."""

    parts: tuple[tuple[str, float], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture to be shown small.

    ``image`` : (H, W, 3) or (H, W) uint8; ``alt`` says what it shows; ``lines`` stand beneath.
    """

    image: NDArray[np.uint8]
    alt: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pictures:
    """A strip of pictures, left to right."""

    items: tuple[Picture, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Notes:
    """Plain sentences; ``urgent`` ones must not be overlooked."""

    lines: tuple[str, ...]
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that a page shows on demand, behind their title; text shows them as they are."""

    title: str
    blocks: tuple[Block, ...]


Block = Facts | Table | Bars | BarGrid | Stack | Pictures | Notes | Fold


@dataclass(frozen=True, slots=True)
class Card:
    """A title, the one line that says most, and blocks in the order in which they are read."""

    title: str
    blocks: tuple[Block, ...] = ()
    line: str = ""

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return all name–value pairs of the card, in order."""
        return tuple(row for b in self.blocks if isinstance(b, Facts) for row in b.rows)


class Shown:
    """Gives a page to a class that answers ``_card()``; its ``repr`` and ``str`` stay its own."""

    __slots__ = ()

    def _card(self) -> Card:
        raise NotImplementedError(f"{type(self).__name__} must describe itself in _card()")

    def _repr_html_(self) -> str:
        return as_html(self._card())

    def to_html(self, path: str | Path, *, title: str = "") -> Path:
        """Write this as a page of its own, which opens anywhere, and return its path.

        Parameters
        ----------
        path : where to; a file that is there is replaced, by a whole one or not at all
        title : of the page; the display's own where it is left out

        Raises
        ------
        MissingFileError : there is no such folder
        WriteError : the file cannot be written
        """
        from workbench.page import report

        return report([self], path, title=title)


class Displayable(Shown):
    """Gives every form of display to a class that answers ``_card()``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return as_line(self._card())

    def __str__(self) -> str:
        return as_text(self._card())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the whole card in IPython's terminal, and the one line everywhere else."""
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        terminal = type(shell).__name__ == "TerminalInteractiveShell"
        printer.text(str(self) if terminal and not cycle else repr(self))


def plain(text: str) -> str:
    """Make a stranger's text safe for a terminal: one line, no control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _columns(text: str) -> int:
    """Count the terminal columns that a text takes."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, right: bool = False) -> str:
    gap = " " * max(0, width - _columns(text))
    return gap + text if right else text + gap


# ── text ──────────────────────────────────────────────────────────────────────────────────────


def as_line(card: Card) -> str:
    """Render a card as one line of fewer than 160 characters."""
    body = card.line or ", ".join(f"{name} {value}" for name, value in card.facts()[:4])
    text = plain(f"<{card.title}: {body}>" if body else f"<{card.title}>")
    return text if len(text) <= LINE_LENGTH else f"{text[: LINE_LENGTH - 2]}…>"


def as_text(card: Card) -> str:
    """Render a whole card as plain text, with no trailing line break."""
    parts = [plain(card.title)]
    for block in card.blocks:
        text = "\n".join(_text_lines(block))
        if text:
            parts.append(text)
    return "\n".join(parts)


def _text_lines(block: Block) -> list[str]:
    match block:
        case Facts(rows, title):
            width = max((_columns(plain(name)) for name, _ in rows), default=0)
            head = [f"  {plain(title)}"] if title else []
            return head + [f"  {_pad(plain(n), width)}  {plain(v)}" for n, v in rows]
        case Table():
            return _text_table(block)
        case Bars(rows, caption):
            return _text_bars(rows, caption)
        case Stack(parts, caption):
            total = sum(value for _, value in parts if value > 0)
            rows = tuple(Bar(n, v / total if total else 0.0, seconds(v)) for n, v in parts)
            return _text_bars(rows, caption)
        case BarGrid(columns, grid, caption):
            cells = tuple((label, *map(_text_cell, bars)) for label, bars in grid)
            return _text_table(Table(("", *columns), cells, caption, columns))
        case Fold(title, blocks):
            return [f"  {plain(title)}", *(line for b in blocks for line in _text_lines(b))]
        case Pictures(items, caption):
            head = [f"  {plain(caption)}"] if caption else []
            return head + [
                f"  [{plain(p.alt)}]" + (f" {plain(', '.join(p.lines))}" if p.lines else "")
                for p in items
            ]
        case Notes(lines, urgent):
            mark = "! " if urgent else "  "
            return [
                fill(
                    plain(n),
                    _TEXT_WIDTH,
                    initial_indent=mark,
                    subsequent_indent="  ",
                    break_on_hyphens=False,  # a path stays in one piece
                    break_long_words=False,
                )
                for n in lines
            ]


def _text_table(table: Table) -> list[str]:
    rows = [tuple(plain(cell) for cell in row) for row in (table.columns, *table.rows)]
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    right = [name in table.numeric for name in table.columns]
    lines = [f"  {plain(table.caption)}"] if table.caption else []
    for number, row in enumerate(rows):
        cells = (_pad(c, w, r) for c, w, r in zip(row, widths, right, strict=True))
        lines.append(f"  {'  '.join(cells)}".rstrip())
        if number == 0:
            lines.append(f"  {'  '.join('─' * w for w in widths)}")
    return lines


def _text_cell(bar: Bar | None) -> str:
    return "–" if bar is None else f"{bar.label} {bar.text}".lstrip()


def _text_bars(rows: Iterable[Bar], caption: str) -> list[str]:
    bars = [(plain(b.label), _clip(b.share), plain(b.text)) for b in rows]
    width = max((_columns(label) for label, _, _ in bars), default=0)
    end = max((_columns(text) for _, _, text in bars), default=0)
    lines = [f"  {plain(caption)}"] if caption else []
    for label, length, text in bars:
        eighths = round(length * _BAR_CHARACTERS * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        lines.append(f"  {_pad(label, width)}  {_pad(text, end, right=True)}  {bar}".rstrip())
    return lines


# ── HTML ──────────────────────────────────────────────────────────────────────────────────────

_BAR_COLOUR = "background:#2979c9;background:var(--jp-brand-color1,#2979c9)"
_LINE_COLOUR = "border:1px solid #8a8a8a;border-color:var(--jp-border-color1,#8a8a8a)"
_NOTE_COLOUR = "border-left:4px solid #b06000;border-left-color:var(--jp-warn-color1,#b06000)"
_CELL = "text-align:left;vertical-align:top;padding:2px 10px 2px 0"
_NUMBER = "text-align:right;vertical-align:top;padding:2px 10px 2px 0;white-space:nowrap"
#: A cell with a sentence keeps room for it, also in a narrow window, which then scrolls.
_SENTENCE, _SENTENCE_LETTERS = ";min-width:13em", 40
#: A longer word breaks: an address does, a checksum (64 letters) stays whole.
_WORD_LETTERS = 70
#: A cell that is shorter stays on one line: a shape, a count with its unit.
_ONE_LINE, _SHORT_LETTERS = ";white-space:nowrap", 24
#: A number and its unit, which stay together where a line wraps.
_QUANTITY = re.compile(r"(?:&[lg]t;)?\d[\d.]* (?:%|[nµm]?s|[kMG]?B)(?!\w)")
_WIDE = "640px"
#: Bars take all the room that names and numbers leave, and those stand close to them.
_BAR_ROOM = "100%"
_CAPTION = "text-align:left;caption-side:top;font-weight:bold;padding:2px 0"


def as_html(card: Card) -> str:
    """Render a card as an HTML fragment: no script, no id, no style sheet."""
    title = f"<p style='margin:4px 0'><strong>{leaf(card.title)}</strong></p>"
    body = as_html_body(card)
    return f"<div style='max-width:100%;overflow-x:auto;line-height:1.4'>{title}{body}</div>"


def as_html_body(card: Card) -> str:
    """Render a card's blocks as HTML, for a page that gives them a heading of its own."""
    return "".join(_html(block) for block in card.blocks)


def leaf(text: str) -> str:
    """Escape a text: the only place where that happens."""
    return escape(plain(text), quote=True)


def _clip(value: float) -> float:
    return 0.0 if isnan(value) else min(1.0, max(0.0, value))


def _html(block: Block) -> str:
    match block:
        case Facts(rows, title):
            body = "".join(
                f"<tr><th scope='row' style='{_CELL}{_short(n)}'>{leaf(n)}</th>"
                f"<td style='{_CELL}{_breaking(v)}'>{leaf(v)}</td></tr>"
                for n, v in rows
            )
            return _table(title or "Facts", body, hidden=not title)
        case Table():
            return _html_table(block)
        case Bars(rows, caption):
            body = "".join(
                f"<tr><th scope='row' style='{_CELL}{_short(b.label) or _SENTENCE}'>"
                f"{leaf(b.label)}</th><td style='{_NUMBER}'>{leaf(b.text)}</td>"
                f"<td style='{_CELL};width:{_BAR_ROOM}'>{_html_bar(b.share)}</td></tr>"
                for b in rows
            )
            return _table(caption or "Bars", body, hidden=not caption, room=_WIDE)
        case BarGrid():
            return _html_bar_grid(block)
        case Stack():
            return _html_stack(block)
        case Fold(title, blocks):
            inside = "".join(map(_html, blocks))
            return f"<details><summary>{leaf(title)}</summary>{inside}</details>"
        case Pictures(items, caption):
            cells = "".join(_html_picture(p) for p in items)
            row = f"<tr style='text-align:left'>{cells}</tr>"  # also where they wrap
            return _table(caption or "Pictures", row, hidden=not caption, room="100%")
        case Notes(lines, urgent):
            if not urgent:
                return "".join(f"<p role='note' style='margin:4px 0'>{leaf(n)}</p>" for n in lines)
            style = f"margin:4px 0;padding-left:8px;{_NOTE_COLOUR}"
            return "".join(
                f"<p role='note' style='{style}'><strong>{leaf(n)}</strong></p>" for n in lines
            )


def _html_bar(value: float, height: str = "0.9em") -> str:
    width = 100 * _clip(value)
    return f"<div style='{_BAR_COLOUR};height:{height};width:{width:.1f}%'></div>"


def _html_bar_grid(grid: BarGrid) -> str:
    def cell(bar: Bar | None) -> str:
        if bar is None:
            return f"<td style='{_CELL}'>–</td>"
        mark = f"<strong>{leaf(bar.label)}</strong> " if bar.label else ""
        thin = _html_bar(bar.share, "0.5em")
        return f"<td style='{_CELL};min-width:7em'>{mark}{leaf(bar.text)}{thin}</td>"

    names = "".join(
        f"<th scope='col' style='{_CELL}{_ONE_LINE}'>{leaf(n)}</th>" for n in grid.columns
    )
    body = "".join(
        f"<tr><th scope='row' style='{_CELL}'>{leaf(label)}</th>{''.join(map(cell, bars))}</tr>"
        for label, bars in grid.rows
    )
    head = f"<thead><tr><td></td>{names}</tr></thead>"
    caption = grid.caption or "Side by side"
    return _table(caption, f"{head}<tbody>{body}</tbody>", hidden=not grid.caption)


def _short(name: str) -> str:
    """Keep a short name on one line."""
    return _ONE_LINE if len(name) <= _SHORT_LETTERS else ""


def _breaking(text: str) -> str:
    """Let a very long word, an address, break anywhere rather than run out of the page."""
    long_ = any(len(word) > _WORD_LETTERS for word in text.split())
    return f"{_SENTENCE};overflow-wrap:anywhere" if long_ else ""


def _table(caption: str, body: str, *, hidden: bool = False, room: str = "") -> str:
    hide = ";position:absolute;left:-10000px" if hidden else ""
    width = f"width:100%;max-width:{room};table-layout:auto;" if room else ""
    return (
        f"<table style='{width}border-collapse:collapse;margin:4px 0'>"
        f"<caption style='{_CAPTION}{hide}'>{leaf(caption)}</caption>{body}</table>"
    )


def _html_table(table: Table) -> str:
    styles = [_NUMBER if name in table.numeric else _CELL for name in table.columns]
    head = "".join(
        f"<th scope='col' style='{s}'>{leaf(n)}</th>"
        for n, s in zip(table.columns, styles, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(map(_html_cell, range(len(row)), row, styles)) + "</tr>"
        for row in table.rows
    )
    return _table(
        table.caption or "Table",
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>",
        hidden=not table.caption,
    )


def _html_cell(position: int, text: str, style: str) -> str:
    room = _SENTENCE if len(text) > _SENTENCE_LETTERS else ""
    if (" " in text or "-" in text) and style != _NUMBER:
        room = _short(text) or room
    room = _breaking(text) or room
    kind, scope = ("td", "") if position else ("th", " scope='row'")
    return f"<{kind}{scope} style='{style}{room}'>{leaf(text)}</{kind}>"


def _html_stack(stack: Stack) -> str:
    total = sum(value for _, value in stack.parts if value > 0)
    segments, legend = [], []
    for number, (name, value) in enumerate(stack.parts):
        part = _clip(value / total) if total else 0.0
        colour = SEGMENTS[number % len(SEGMENTS)]
        segments.append(
            f"<div title='{leaf(name)}' style='display:inline-block;background:{colour};"
            f"height:1em;width:{100 * part:.1f}%'></div>"
        )
        legend.append(
            f"<tr><th scope='row' style='{_CELL}'>"
            f"<span style='color:{colour}' aria-hidden='true'>&#9632;</span> {leaf(name)}</th>"
            f"<td style='{_NUMBER}'>{leaf(seconds(value))}</td>"
            f"<td style='{_NUMBER}'>{leaf(share(part))}</td></tr>"
        )
    bar = (
        f"<div aria-hidden='true' style='white-space:nowrap;line-height:1em;width:100%;"
        f"max-width:{_WIDE};margin:4px 0'>{''.join(segments)}</div>"
    )
    head = f"<p style='margin:4px 0'><strong>{leaf(stack.caption)}</strong></p>"
    table = _table("Stages", "".join(legend), hidden=True)
    return (head if stack.caption else "") + bar + table


def _html_picture(picture: Picture) -> str:
    kind, data, shown = thumbnail(picture.image)
    lines = "".join(f"<br>{_whole_quantities(leaf(line))}" for line in picture.lines)
    small = max(picture.image.shape[:2]) <= THUMBNAIL_PIXELS // 2
    pixels = ";image-rendering:pixelated" if small else ""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return (
        f"<td style='{_CELL};display:inline-block'><div style='max-width:{THUMBNAIL_PIXELS}px'>"
        f"<img alt='{leaf(picture.alt)}' width='{shown}' "
        f"style='{_LINE_COLOUR}{pixels}' src='{source}'>{lines}</div></td>"
    )


def _whole_quantities(text: str) -> str:
    """Keep each number with its unit, in an escaped line that may wrap anywhere else."""
    return _QUANTITY.sub(r"<span style='white-space:nowrap'>\g<0></span>", text)


def thumbnail(image: NDArray[np.uint8]) -> tuple[str, bytes, int]:
    """Encode a picture small: its kind ("png" or "jpeg"), its bytes, and the width to show it at.

    ``image`` : (H, W, 3) or (H, W) uint8. At most :data:`THUMBNAIL_BYTES` and
    :data:`THUMBNAIL_PIXELS` a side; a small picture stays as it is and is shown enlarged, so
    that its pixels can be seen. The same picture always gives the same bytes.
    """
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    enlarge = max(1, (THUMBNAIL_PIXELS * 3 // 4) // max(picture.size))
    shown = picture.width * enlarge
    if (data := _encode(picture, "PNG", optimize=True)) and len(data) <= THUMBNAIL_BYTES:
        return "png", data, shown
    for quality in (85, 70, 50, 30):
        data = _encode(picture, "JPEG", quality=quality)
        if len(data) <= THUMBNAIL_BYTES:
            return "jpeg", data, shown
    half = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))
    return "jpeg", _encode(half, "JPEG", quality=30), shown


def _encode(picture: Any, kind: str, **options: Any) -> bytes:
    sink = BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]], **options: Any) -> Table:
    """Build a :class:`Table` from any cells, each rendered with ``str``."""
    return Table(tuple(columns), tuple(tuple(str(c) for c in row) for row in rows), **options)
