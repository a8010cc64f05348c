"""Figures: the only importer of matplotlib. Plain arrays and numbers in, a figure out.

Nothing here goes through ``pyplot``, so no figure is kept alive behind the caller's back and no
backend is chosen: a figure shows itself in a notebook, and is saved with ``figure.savefig`` as
PNG, SVG or PDF. All of them are fit for print: readable without colour (hatches and labels say
what colour says), in one type face, with the unit chosen once a figure.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from io import BytesIO
from itertools import accumulate
from math import ceil, isnan
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from workbench.cards import PALETTE, plain
from workbench.units import count, seconds, share, size, time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_INK, _FAINT, _GRID, _TINT = "#222222", "#666666", "#dddddd", "#cfe0f0"
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo")
#: Bold letters of a title that surely fit into an inch, at 10.5 points.
_LETTERS_PER_IN = 10.5
_WIDTH_IN = 7.0
_ROW_IN = 0.34
_LONGEST = 36
_PER_ROW = 5
_PANELS_PER_ROW = 5
_HISTOGRAMS_PER_ROW = 3
#: Above this many classes a confusion matrix shows shading only.
_COUNTS_FIT = 20
#: Pictures up to this side are drawn with visible pixels.
_SMALL_PIXELS = 96
_NOTEBOOK_SCALE = 2
#: Of a figure without photos in a notebook.
_COLOURS = 128

#: Faces tried in order, the first for its wide coverage (it comes with matplotlib), the others
#: for scripts that it lacks; only those that are installed are named, since matplotlib logs the
#: others at every draw.
_FACES = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC")

_STYLE: Any = {
    "font.family": [f for f in _FACES if f in set(fontManager.get_font_names())] or ["sans-serif"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": _INK,
    "text.parse_math": False,  # a label may hold a dollar sign
    "text.usetex": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "workbench",  # the same figure is the same file
}


class Drawing(Figure):
    """A matplotlib figure that shows itself in a notebook, with no help from ``pyplot``."""

    def draw(self, renderer: Any) -> None:
        """Draw in this project's style, whatever the caller's ``rcParams`` are by now."""
        with mpl.rc_context(_STYLE), warnings.catch_warnings():
            # A sign that no installed face has is drawn as a box; that is seen well enough.
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        """Give twice the pixels and the size to show them at, for dense screens."""
        if _svg_is_wanted():
            return None
        sink = BytesIO()
        self.savefig(sink, format="png", dpi=_NOTEBOOK_SCALE * self.dpi)
        data = sink.getvalue()
        if not any(axes.images for axes in self.axes):
            data = _in_few_colours(data)
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
        return data, {"width": width // _NOTEBOOK_SCALE, "height": height // _NOTEBOOK_SCALE}

    def _repr_svg_(self) -> str | None:
        """Answer ``%config InlineBackend.figure_formats = ["svg"]``."""
        if not _svg_is_wanted():
            return None
        sink = BytesIO()
        self.savefig(sink, format="svg", metadata={"Date": None})
        return sink.getvalue().decode()


def _in_few_colours(png: bytes) -> bytes:
    """Return a drawing without photos with at most 128 colours: a third of the bytes.

    Lines and letters need few, and a notebook keeps every figure.
    """
    from PIL import Image

    sink = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(sink, format="png", optimize=True)
    return sink.getvalue()


def _svg_is_wanted() -> bool:
    """Say whether the notebook's user asked for SVG; nothing is imported to find out."""
    inline = getattr(sys.modules.get("matplotlib_inline.config"), "InlineBackend", None)
    if inline is not None and inline.initialized():
        return "svg" in inline.instance().figure_formats
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    asked = getattr(shell, "config", {}).get("InlineBackend", {})  # kept until pyplot is imported
    return "svg" in (*asked.get("figure_formats", ()), asked.get("figure_format", ""))


def as_svg(figure: Figure) -> tuple[bytes, int, str]:
    """Return any figure as vectors, its width in CSS pixels, and its words (title, labels).

    The same figure gives the same bytes.
    """
    sink = BytesIO()
    with mpl.rc_context({"svg.hashsalt": _STYLE["svg.hashsalt"], "svg.fonttype": "path"}):
        figure.savefig(sink, format="svg", metadata={"Date": None})
    above = [figure.get_suptitle()]
    for axes in figure.axes:
        titles = (axes.get_title(loc=place) for place in ("left", "center", "right"))
        above += [*titles, axes.get_xlabel(), axes.get_ylabel()]
    words = dict.fromkeys(" ".join(text.split()) for text in above if text.strip())
    return sink.getvalue(), round(96 * figure.get_figwidth()), "; ".join(words)


def headline(figure: Any, title: str) -> None:
    """Write a title over the whole width of a figure: in two lines where one is too short."""
    lines = wrap(plain(title), int(_LETTERS_PER_IN * figure.get_figwidth()), max_lines=2,
                 placeholder="…")  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.2 * (len(lines) - 1))  # the rest keeps its room
    figure.suptitle("\n".join(lines), fontsize=10.5, fontweight="bold", x=0.01, ha="left")


def _canvas(width_in: float, height_in: float) -> Drawing:
    return Drawing(figsize=(width_in, height_in), dpi=100, layout="constrained")


@contextmanager
def sheet(width_in: float, height_in: float) -> Iterator[Drawing]:
    """Give an empty figure to draw on, in this project's style: see :mod:`workbench.charts`."""
    with mpl.rc_context(_STYLE):
        yield _canvas(width_in, height_in)


def stacked_bars(rows: Mapping[str, Mapping[str, float]], *, title: str = "") -> Figure:
    """Draw durations that add up: a horizontal bar a row, a segment a part.

    Parameters
    ----------
    rows : row → part → seconds; a part keeps its colour and hatch in all rows
    title : stands above
    """
    totals = {row: sum(map(drawable, parts.values())) for row, parts in rows.items()}
    names = list(dict.fromkeys(part for parts in rows.values() for part in parts))
    longest = max(totals.values(), default=0.0)
    scale, unit = time_unit(longest)
    with mpl.rc_context(_STYLE):
        legend_rows = ceil(len(names) / 3)
        figure = _canvas(_WIDTH_IN, 0.95 + 0.46 * max(1, len(rows)) + 0.22 * legend_rows)
        axes = figure.add_subplot()
        for place, (row, parts) in enumerate(rows.items()):
            _stack(axes, place, parts, names, longest / scale or 1.0, scale)
            axes.text(totals[row] / scale, place, f" {seconds(totals[row])}", va="center")
        axes.set_yticks(range(len(rows)), [short(row) for row in rows])
        axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
        axes.set_xlim(0, 1.12 * longest / scale or 1.0)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"time ({unit})")
        if title:
            headline(figure, title)
        if names:
            figure.legend(
                handles=[_patch(number, name) for number, name in enumerate(_named(names, rows))],
                loc="outside lower left",
                ncols=min(3, len(names)),
            )
    return figure


def _stack(
    axes: Axes,
    place: int,
    parts: Mapping[str, float],
    names: Sequence[str],
    full: float,
    scale: float,
) -> None:
    left = 0.0
    for number, name in enumerate(names):
        length = drawable(parts.get(name, 0.0)) / scale
        if length <= 0:
            continue
        axes.barh(place, length, left=left, height=0.62, **_look(number))
        if length > 0.035 * min(len(name), 12) * full:  # only where the word fits
            axes.text(
                left + length / 2,
                place,
                short(name, 14),
                ha="center",
                va="center",
                fontsize=8,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
            )
        left += length


def _named(names: Sequence[str], rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Name the parts for the legend; with a single row, with their durations."""
    if len(rows) != 1:
        return [short(name) for name in names]
    (parts,) = rows.values()
    return [f"{short(name)}  {seconds(parts[name])}" for name in names]


def _look(number: int) -> dict[str, Any]:
    """Return colour and hatch of a part: 7 colours with 7 hatches, 49 in all before a repeat."""
    turn, place = divmod(number, len(PALETTE))
    hatch = _HATCHES[(place + turn) % len(_HATCHES)]
    return {"facecolor": PALETTE[place], "hatch": hatch, "edgecolor": "white", "linewidth": 0.8}


def _patch(number: int, label: str) -> Patch:
    return Patch(label=label, **_look(number))


def picture_strip(
    pictures: Sequence[tuple[str, NDArray[np.uint8], Sequence[str]]], *, title: str = ""
) -> Figure:
    """Draw pictures in reading order, each with its name above and lines beneath.

    Parameters
    ----------
    pictures : name, (H, W, 3) or (H, W) uint8, lines; five fit in a row
    title : stands above all
    """
    columns = min(_PER_ROW, max(1, len(pictures)))
    rows = max(1, ceil(len(pictures) / columns))
    beneath = [[row for line in lines for row in _rows_of(line)] for _, _, lines in pictures]
    most = max(map(len, beneath), default=0)
    side_in = min(2.2, _WIDTH_IN / columns)
    tall = max((min(1.0, p.shape[0] / p.shape[1]) for _, p, _ in pictures), default=1.0)
    with mpl.rc_context(_STYLE):
        height_in = rows * (tall * side_in + 0.32 + 0.16 * most) + (0.25 if title else 0.0)
        figure = _canvas(columns * side_in, height_in)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(pictures) :]:
            axes.set_axis_off()
        for number, (axes, (name, image, _)) in enumerate(
            zip(grid, pictures, strict=False), start=1
        ):
            _show(axes, image)
            label = f"{number} {name}" if len(pictures) > 1 else name
            axes.set_title(short(label, 20), fontsize=9, loc="center")
            axes.set_xlabel("\n".join(beneath[number - 1]), fontsize=7.5)
        if title:
            headline(figure, title)
    return figure


def _show(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Show one picture at the top of its place, without ticks."""
    small = max(image.shape[:2]) <= _SMALL_PIXELS
    axes.imshow(
        image, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if small else "antialiased"
    )
    axes.set_anchor("N")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def bars(
    labels: Sequence[str],
    shares: Sequence[float],
    *,
    title: str = "",
    mark: str | None = None,
    picture: NDArray[np.uint8] | None = None,
) -> Figure:
    """Draw labelled shares of one, the first at the top.

    Parameters
    ----------
    labels, shares : one bar each; the scale always goes from 0 to 100 %
    title : stands above
    mark : label that is set off: its bar dark and its name bold, the others pale
    picture : (H, W, 3) or (H, W) uint8, shown at the left
    """
    with mpl.rc_context(_STYLE):
        height_in = max(0.5 + _ROW_IN * len(labels), 1.9 if picture is not None else 1.0)
        figure = _canvas(_WIDTH_IN, height_in)
        if picture is None:
            axes = figure.add_subplot()
        else:
            left, axes = figure.subplots(1, 2, width_ratios=(1, 2.4))
            _show(left, picture)
        colours = [PALETTE[0] if mark in (None, label) else _TINT for label in labels]
        axes.barh(range(len(labels)), list(map(drawable, shares)), height=0.66, color=colours)
        for place, value in enumerate(shares):
            axes.text(drawable(value) + 0.012, place, share(value), va="center")
        most = _LONGEST if picture is None else 24
        axes.set_yticks(range(len(labels)), [short(label, most) for label in labels])
        for text, label in zip(axes.get_yticklabels(), labels, strict=True):
            text.set_fontweight("bold" if label == mark else "normal")
        only_rows(axes, len(labels), 1.15, title)
    return figure


def bars_side_by_side(
    labels: Sequence[str],
    shares: Mapping[str, Sequence[float]],
    *,
    marks: Mapping[str, str] | None = None,
    title: str = "",
    picture: NDArray[np.uint8] | None = None,
) -> Figure:
    """Draw shares of the same labels after several things that are compared, a panel each.

    Parameters
    ----------
    labels : one row each, the same in all panels
    shares : name of the panel → a share a label; nan where there is none, which is said
    marks : name of the panel → a word that stands beneath its name
    title : stands above all
    picture : (H, W, 3) or (H, W) uint8, shown in a place of its own, first

    A panel's largest share is dark and its number bold, the others are pale.
    """
    first = 0 if picture is None else 1
    places = max(1, len(shares) + first)
    columns = min(_PANELS_PER_ROW, places)
    rows = ceil(places / columns)
    with mpl.rc_context(_STYLE):
        tall_in = max(1.5, 0.75 + 0.27 * len(labels))
        figure = _canvas(_WIDTH_IN + 0.6, rows * tall_in + (0.3 if title else 0.0))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[places:]:
            axes.set_axis_off()
        if picture is not None:
            _show(grid[0], picture)
        for number, (name, values) in enumerate(shares.items(), first):
            leftmost = number % columns == 0 or number == first
            _panel(grid[number], labels if leftmost else [""] * len(labels), values)
            mark = (marks or {}).get(name, "")
            lines = (short(name, 20), short(mark, 24)) if mark else (short(name, 20),)
            grid[number].set_title("\n".join(lines), fontsize=9)
        if title:
            headline(figure, title)
    return figure


def _panel(axes: Axes, labels: Sequence[str], values: Sequence[float]) -> None:
    """Draw shares, the largest dark and its number bold; or say that there are none."""
    largest = max(map(drawable, values), default=0.0)
    first = [drawable(value) == largest > 0 for value in values]
    colours = [PALETTE[0] if dark else _TINT for dark in first]
    axes.barh(range(len(labels)), list(map(drawable, values)), height=0.66, color=colours)
    for place, value in enumerate(values):
        text = "–" if isnan(value) else share(value)
        weight = "bold" if first[place] else "normal"
        axes.text(drawable(value) + 0.02, place, text, va="center", fontsize=8, weight=weight)
    axes.set_yticks(range(len(labels)), [short(label, 16) for label in labels], fontsize=8.5)
    only_rows(axes, len(labels), 1.5, "")


def histograms(
    panels: Sequence[tuple[str, Sequence[tuple[str, NDArray[Any], NDArray[Any]]]]],
    *,
    title: str = "",
) -> Figure:
    """Draw how often each value comes, a panel a step and a line a channel.

    Parameters
    ----------
    panels : name → channels: each its name, counts (n,) and edges (n + 1,)
    title : stands above all

    Channels differ in their lines (solid, dashed, dotted) as well as in their colours.
    """
    columns = min(_HISTOGRAMS_PER_ROW, max(1, len(panels)))
    rows = max(1, ceil(len(panels) / columns))
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN + 0.6, rows * 1.75 + 0.35 + (0.3 if title else 0.0))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if not panels:
            figure.text(0.5, 0.5, "no values", ha="center", va="center", color=_FAINT)
        named: dict[str, Any] = {}
        for axes, (name, channels) in zip(grid, panels, strict=False):
            for number, (channel, counts, edges) in enumerate(channels):
                total = counts.sum() or 1
                line = axes.stairs(counts / total, edges, label=channel, **_line(number))
                named.setdefault(channel, line)
            axes.set_ylim(bottom=0)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="x", labelsize=8)
            axes.set_title(short(name, 28), fontsize=9)
        if named:
            figure.legend(
                named.values(), map(short, named), loc="outside lower left", ncols=len(named)
            )
        if title:
            headline(figure, title)
    return figure


def _line(number: int) -> dict[str, Any]:
    """Return a look that can be told from the others without colour."""
    styles = ("-", (0, (4, 1.5)), (0, (1, 1.2)), "-.")
    colours = (PALETTE[5], PALETTE[2], PALETTE[0], PALETTE[6])
    return {
        "color": colours[number % len(colours)],
        "linestyle": styles[number % len(styles)],
        "linewidth": 1.1 + 0.15 * (number % 3),
    }


def runs(values_s: Sequence[float], *, title: str = "") -> Figure:
    """Draw durations as dots in the order in which they were taken, with their median.

    ``values_s`` : seconds of each run
    """
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN, 2.6)
        axes = figure.add_subplot()
        values = np.asarray(values_s, dtype=np.float64)
        middle_s = float(np.median(values)) if values.size else 0.0
        scale, unit = time_unit(middle_s)
        axes.plot(np.arange(1, values.size + 1), values / scale, "o", ms=4, color=PALETTE[0])
        if values.size:
            axes.axhline(middle_s / scale, color=_INK, linewidth=1, linestyle="--")
        axes.set_ylim(0, 1.1 * float(values.max(initial=0.0)) / scale or 1.0)
        axes.set_xlim(0.3, values.size + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.set_xlabel("run")
        axes.set_ylabel(f"time ({unit})")
        said = f"median {seconds(middle_s)} of {values.size}" if values.size else "no runs"
        axes.set_title(f"{short(title, 60)}: {said}" if title else said)
    return figure


def sizes(
    values: Mapping[str, float], *, marked: Set[str] = frozenset(), title: str = ""
) -> Figure:
    """Draw sizes in bytes, one bar each, the largest first; marked ones are dark.

    Parameters
    ----------
    values : name → bytes
    marked : names that are set off, and said to be "live"
    """
    names = sorted(values, key=lambda name: (-values[name], name))
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN, max(0.6 + _ROW_IN * len(names), 1.0))
        axes = figure.add_subplot()
        colours = [PALETTE[0] if name in marked else _TINT for name in names]
        axes.barh(range(len(names)), [values[n] for n in names], height=0.66, color=colours)
        largest = max(values.values(), default=1) or 1
        for place, name in enumerate(names):
            text = size(values[name]) + (", live" if name in marked else "")
            axes.text(values[name] + 0.012 * largest, place, text, va="center")
        axes.set_yticks(range(len(names)), [short(name) for name in names])
        only_rows(axes, len(names), 1.25 * largest, title)
    return figure


def memory(values: Sequence[float], events: Sequence[str], *, title: str = "") -> Figure:
    """Draw the memory of a process over events, one mark a kind of event.

    Parameters
    ----------
    values : bytes after each event, in order
    events : kind of each ("load", "run", …), as long as ``values``
    """
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN, 2.8)
        axes = figure.add_subplot()
        at = np.arange(1, len(values) + 1)
        held = np.asarray(values, dtype=np.float64)
        largest = float(held.max(initial=0.0))
        scale = 10.0 ** (3 * max(0, min(4, int(np.log10(largest)) // 3))) if largest >= 1 else 1.0
        unit = size(scale).split()[1]
        axes.plot(at, held / scale, "-", color=_FAINT, linewidth=1, zorder=1)
        for number, kind in enumerate(dict.fromkeys(events)):
            chosen = np.asarray([e == kind for e in events], dtype=bool)
            axes.plot(
                at[chosen], held[chosen] / scale, "osv^Dx"[number % 6],
                ms=5, color=PALETTE[number % len(PALETTE)], label=plain(kind), zorder=2,
            )  # fmt: skip
        axes.set_ylim(0, 1.12 * largest / scale or 1.0)
        axes.set_xlim(0.3, len(values) + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.set_xlabel("event")
        axes.set_ylabel(f"resident memory ({unit})")
        said = f"at most {size(largest)}" if len(values) else "nothing was done"
        axes.set_title(f"{short(title, 60)}: {said}" if title else said)
        if len(values):
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def only_rows(axes: Axes, rows: int, widest: float, title: str = "") -> None:
    """Leave of the axes what labelled rows of bars need: the first at the top, no scale."""
    axes.set_ylim(max(1, rows) - 0.4, -0.6)
    axes.set_xlim(0, widest)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)
    if title:
        headline(axes.get_figure(root=True), title)


def spread(rows: Mapping[str, Sequence[float]], *, title: str = "") -> Figure:
    """Draw repeated durations: a dot a run, a box around the middle half, a line at the median.

    The scale ends a little beyond what most runs of the slowest row take; how many took longer,
    and the longest of them, is written at its end, so that one hiccup does not squeeze the rest.

    Parameters
    ----------
    rows : name → seconds of each run, in order
    title : stands above
    """
    runs = {name: np.array([v for v in values if drawable(v)]) for name, values in rows.items()}
    end = 1.1 * max((_usual(v) for v in runs.values() if v.size), default=0.0)
    scale, unit = time_unit(end)
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN, 0.95 + 0.6 * max(1, len(rows)))
        axes = figure.add_subplot()
        for place, values in enumerate(runs.values()):
            if values.size:
                _one_spread(axes, place, values / scale, end / scale, scale)
        axes.set_yticks(range(len(rows)), [short(name) for name in rows])
        axes.set_ylim(max(1, len(rows)) - 0.5, -0.6)
        axes.set_xlim(0, end / scale or 1.0)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel(f"time ({unit})")
        if title:
            headline(figure, title)
    return figure


def _usual(values: NDArray[np.float64]) -> float:
    """Return what 19 of 20 runs do not exceed, or three medians where a busy machine gives more."""
    return float(min(np.quantile(values, 0.95), 3 * np.median(values)))


def _one_spread(
    axes: Axes, place: int, values: NDArray[np.float64], end: float, scale: float
) -> None:
    """Draw one row of :func:`spread`: its runs in the order in which they were taken, downwards."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    heights = place + np.linspace(-0.2, 0.3, values.size)
    axes.plot(values, heights, "o", ms=2.5, mew=0, color=PALETTE[0], alpha=0.45)
    box = Rectangle((low, place - 0.22), high - low, 0.54, fill=False, ec=_INK, lw=1)
    axes.add_patch(box)
    axes.plot([middle, middle], [place - 0.22, place + 0.32], color=_INK, lw=2)
    text = f"{count(values.size, 'run')}, median {seconds(float(middle * scale))}"
    if (beyond := values[values > end]).size:
        longest = seconds(float(beyond.max() * scale))
        text += f"; {beyond.size} off the scale, up to {longest} →"
    axes.text(end, place - 0.38, text, ha="right", va="center", fontsize=8)


def verdict(
    ratios: NDArray[np.float64],
    itself: NDArray[np.float64],
    *,
    names: tuple[str, str],
    runs_s: tuple[Sequence[float], Sequence[float]],
    interval: tuple[float, float, float],
    threshold: float,
    looks: Sequence[int],
    title: str = "",
) -> Figure:
    """Draw a comparison: the ratio of each block, and how the times of both are spread.

    Parameters
    ----------
    ratios : (blocks,) time of the second / time of the first; nan where there was none
    itself : (blocks, 2) the same of the first with itself, and of the second
    names : of the first and the second
    runs_s : seconds of the runs of the first, and of the second
    interval : lower end, middle and upper end of the ratio
    threshold : above 1; ratios between its inverse and it are within the noise
    looks : blocks after which was looked
    title : stands above
    """
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN + 1.0, 3.6)
        if title:
            headline(figure, title)
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _ratios(left, ratios, itself, interval, threshold, looks)
        left.set_ylabel("ratio of the times")
        left.set_title(short(f"{names[1]} / {names[0]}", 46), fontsize=9.5, fontweight="normal")
        _ecdf(right, dict(zip(_distinct(names), runs_s, strict=True)))
        right.set_title("Share of runs that took at most …", fontsize=9.5, fontweight="normal")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower left", ncols=4, fontsize=8
        )
    return figure


def _ratios(
    axes: Axes,
    ratios: NDArray[np.float64],
    itself: NDArray[np.float64],
    interval: tuple[float, float, float],
    threshold: float,
    looks: Sequence[int],
) -> None:
    """Draw ratios block by block on a logarithmic scale, over the band that is noise."""
    blocks = np.arange(1, ratios.size + 1)
    axes.set_yscale("log")
    if np.isfinite(threshold):
        axes.axhspan(1 / threshold, threshold, color=_TINT, alpha=0.6, lw=0, label="noise floor")
    axes.axhline(1, color=_FAINT, lw=0.8)
    for column in range(itself.shape[1]):
        label = "a model / itself" if column == 0 else None
        axes.plot(blocks, itself[:, column], "x", ms=3, mew=0.8, color=_FAINT, label=label)
    axes.plot(blocks, ratios, "o", ms=3.5, mew=0, color=PALETTE[0], label="a block")
    low, middle, high = interval
    if np.isfinite([low, high]).all():
        end = ratios.size + max(1.0, 0.03 * ratios.size)
        axes.errorbar([end], [middle], [[middle - low], [high - middle]], fmt="s", ms=4.5,
                      color=PALETTE[5], capsize=3, lw=1.6, label="in all")  # fmt: skip
    for look in looks[:-1]:
        axes.axvline(look + 0.5, color=_GRID, lw=0.8, zorder=0)
    known = np.concatenate([ratios, itself.ravel(), [1.0, low, high]])
    known = np.log(known[np.isfinite(known) & (known > 0)])
    room = 0.12 * max(float(np.ptp(known)), 0.02)
    axes.set_ylim(np.exp(known.min() - room), np.exp(known.max() + room))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, ratios.size + max(2.0, 0.06 * ratios.size))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("block (lines: looks)" if len(looks) > 1 else "block")


def _distinct(names: tuple[str, str]) -> tuple[str, str]:
    return names if names[0] != names[1] else (names[0], f"{names[1]} (again)")


def _ecdf(axes: Axes, groups: Mapping[str, Sequence[float]]) -> None:
    """Draw how many of the runs took at most so long; lines differ in style and colour."""
    known = {name: np.sort([v for v in values if v > 0]) for name, values in groups.items()}
    filled = [values for values in known.values() if values.size]
    scale, unit = time_unit(max((float(np.median(v)) for v in filled), default=0.0))
    ends = [float(min(np.quantile(v, 0.99), 3 * np.median(v))) for v in filled]
    for number, (name, values) in enumerate(known.items()):
        if not values.size:
            continue
        heights = np.arange(1, values.size + 1) / values.size
        line = _line(number)
        axes.step(values / scale, heights, where="post", label=short(name), **line)
        middle = float(np.median(values)) / scale
        axes.plot([middle], [0.5], "o", ms=4, color=line["color"])
    axes.axhline(0.5, color=_GRID, lw=0.8, zorder=0)
    if filled:
        first = min(float(v[0]) for v in filled) / scale
        last = max(ends) / scale
        axes.set_xlim(first - 0.03 * (last - first), last + 0.06 * (last - first))
    axes.set_ylim(0, 1.01)
    axes.yaxis.set_major_formatter(_whole_percent)
    axes.set_xlabel(f"time of a run ({unit}); the few longest are cut off", fontsize=8.5)
    if filled:
        axes.legend(loc="lower right", fontsize=8 if len(filled) < 5 else 7)


def _whole_percent(value: float, _place: object) -> str:
    return f"{round(100 * value)} %"


def ecdf(rows: Mapping[str, Sequence[float]], *, title: str = "") -> Figure:
    """Draw how many of the runs took at most so long, a line a row.

    Parameters
    ----------
    rows : name → seconds of each run
    title : stands above
    """
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN, 3.2)
        axes = figure.add_subplot()
        _ecdf(axes, rows)
        axes.set_ylabel("share of runs")
        if title:
            headline(figure, title)
    return figure


def throughput(points: Sequence[tuple[str, str, float, float]], *, title: str = "") -> Figure:
    """Draw pictures a second against the time of a run; the best are up and to the left.

    Parameters
    ----------
    points : group, name, seconds of a run, pictures a second; points of a group are joined
    title : stands above
    """
    known = [p for p in points if drawable(p[2]) and drawable(p[3])]
    scale, unit = time_unit(max((p[2] for p in known), default=0.0))
    groups = list(dict.fromkeys(p[0] for p in known))
    markers = ("o", "s", "^", "D", "v", "P", "X")
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN, 3.6)
        axes = figure.add_subplot()
        for number, group in enumerate(groups):
            mine = [p for p in known if p[0] == group]
            xs, ys = [p[2] / scale for p in mine], [p[3] for p in mine]
            colour = PALETTE[number % len(PALETTE)]
            axes.plot(xs, ys, markers[number % len(markers)], ms=6, color=colour,
                      label=short(group))  # fmt: skip
        axes.set_xlim(0, 1.18 * max((p[2] for p in known), default=1.0) / scale)
        axes.set_ylim(0, 1.12 * max((p[3] for p in known), default=1.0))
        if len(known) <= _NAMED_POINTS:
            _beside(axes, [(p[2] / scale, p[3], p[1].removeprefix(f"{p[0]}, ")) for p in known
                           if p[1].startswith(f"{p[0]}, ")])  # fmt: skip
        axes.grid()
        axes.set_xlabel(f"median time of a run ({unit})")
        axes.set_ylabel("pictures a second")
        if groups:
            # below, where no sign of it can be taken for a point
            figure.legend(loc="outside lower left", ncols=3, fontsize=8.5)
        if title:
            headline(figure, title)
    return figure


def _beside(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write the names of points beside them, each where it covers no point and no other name.

    Places are tried from the nearest on; a name that is not close has a line to its point. What
    finds no place is left out.
    """
    figure: Any = axes.get_figure(root=True)
    # what the axes will measure, in points: the layout is known only when it is drawn
    wide, tall = 72 * (figure.get_figwidth() - 0.75), 72 * (figure.get_figheight() - 1.2)
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    dots = [(wide * x / right, tall * y / top) for x, y, _ in points]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in dots]
    for (x, y, name), (px, py) in zip(points, dots, strict=True):
        text = short(name, 26)
        length = 3.9 * len(text)  # of 7 points
        for dx, dy in ((dx, dy) for dy in (3, -9, 14, -20, 25, -31, 36, -42) for dx in (6, -6)):
            left = px + dx if dx > 0 else px + dx - length
            box = (left, py + dy, left + length, py + dy + 8)
            inside = min(box) >= 0 and box[2] <= wide and box[3] <= tall
            if not inside or any(_overlap(box, other) for other in taken):
                continue
            taken.append(box)
            far = dy not in (3, -9)
            axes.annotate(text, (x, y), fontsize=7, xytext=(dx, dy), textcoords="offset points",
                          ha="left" if dx > 0 else "right", color=_FAINT,
                          arrowprops={"arrowstyle": "-", "lw": 0.5, "color": _FAINT,
                                      "shrinkA": 0, "shrinkB": 3} if far else None)  # fmt: skip
            break


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


#: With more points than this, throughput names groups only.
_NAMED_POINTS = 16


def heat(panels: Mapping[str, Mapping[tuple[int, int], float]], *, title: str = "") -> Figure:
    """Draw durations by batch and threads, a panel a model: dark is slow, and each is written.

    Parameters
    ----------
    panels : name → (batch, threads) → seconds; nan where nothing was measured
    title : stands above all
    """
    columns = min(3, max(1, len(panels)))
    rows = max(1, ceil(len(panels) / columns))
    tall = max((len({b for b, _ in cells}) for cells in panels.values()), default=1)
    longest = max((drawable(v) for cells in panels.values() for v in cells.values()), default=0.0)
    with mpl.rc_context(_STYLE):
        height_in = rows * (0.85 + 0.42 * tall) + (0.3 if title else 0.0)
        figure = _canvas(_WIDTH_IN + 0.6, height_in)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if not panels:
            figure.text(0.5, 0.5, "nothing measured", ha="center", va="center", color=_FAINT)
        for axes, (name, cells) in zip(grid, panels.items(), strict=False):
            _heat(axes, cells, longest)
            axes.set_title(short(name, 28), fontsize=9)
        if title:
            headline(figure, title)
    return figure


def _heat(axes: Axes, cells: Mapping[tuple[int, int], float], longest: float) -> None:
    batches = sorted({batch for batch, _ in cells})
    threads = sorted({number for _, number in cells})
    table = np.full((len(batches), len(threads)), np.nan)
    for (batch, number), value in cells.items():
        table[batches.index(batch), threads.index(number)] = value
    shortest = min((v for v in cells.values() if v > 0), default=1.0)
    with np.errstate(divide="ignore", invalid="ignore"):  # nan stays nan and is left white
        shade = np.log(table / shortest) / max(float(np.log(longest / shortest)), 1e-9)
    axes.imshow(shade, cmap="Blues", vmin=-0.15, vmax=1.1, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if shade[row, column] > 0.55 else _INK
        text = seconds(value) if value > 0 else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(threads)), [str(n) for n in threads])
    axes.set_yticks(range(len(batches)), [str(n) for n in batches])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("threads")
    axes.set_ylabel("batch")


def confusion(matrix: NDArray[Any], labels: Sequence[str], *, title: str = "") -> Figure:
    """Draw a confusion matrix: counts, shaded by their share of the row.

    Parameters
    ----------
    matrix : (n, n) integers; rows are true classes, columns predictions
    labels : n names
    title : stands above
    """
    counts = np.asarray(matrix)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    n = len(labels)
    with mpl.rc_context(_STYLE):
        side_in = min(8.0, max(3.2, 1.6 + 0.42 * n))
        figure = _canvas(side_in + 0.7, side_in)
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        if n <= _COUNTS_FIT:
            _counts(axes, counts, shares)
            for place in range(n):
                text = share(shares[place, place]) if totals[place, 0] else "n/a"
                axes.text(n - 0.35, place, text, va="center", fontsize=8, color=_FAINT)
        step = max(1, ceil(n / 40))
        names = [short(label, 22) for label in labels]
        axes.set_xticks(range(0, n, step), names[::step], rotation=45, ha="right")
        axes.set_yticks(range(0, n, step), names[::step])
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(1, n) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, n) - 0.5, minor=True)
        if n <= _COUNTS_FIT:
            axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true (right: share found)" if n <= _COUNTS_FIT else "true")
        if title:
            headline(figure, title)
    return figure


def _counts(axes: Axes, counts: NDArray[Any], shares: NDArray[np.float64]) -> None:
    size = 8.5 if int(counts.max(initial=0)) < 1000 else 7.5
    for (row, column), value in np.ndenumerate(counts):
        if value:
            colour = "white" if shares[row, column] > 0.5 else _INK
            axes.text(
                column, row, f"{int(value)}", ha="center", va="center", color=colour, fontsize=size
            )


def settling(
    values_s: Sequence[float],
    settled_at: int | None,
    *,
    parts: Mapping[str, float],
    title: str = "",
) -> Figure:
    """Draw a warm-up: the stages of the cold start, and how long each run took after it.

    Parameters
    ----------
    values_s : seconds of each run, in order
    settled_at : index of the first settled run; None if they never settled
    parts : stage of the cold start → seconds, in order
    title : stands above
    """
    with mpl.rc_context(_STYLE):
        figure = _canvas(_WIDTH_IN + 1.0, 2.9)
        if title:
            headline(figure, title)
        if parts:
            left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
            _waterfall(left, parts)
        else:
            right = figure.add_subplot()
        _runs(right, values_s, settled_at)
    return figure


def _waterfall(axes: Axes, parts: Mapping[str, float]) -> None:
    """Draw each stage where the one before it ended."""
    values = [drawable(v) for v in parts.values()]
    whole = sum(values)
    scale, unit = time_unit(whole)
    starts = [0.0, *accumulate(values)]
    for place, (start, value) in enumerate(zip(starts, values, strict=False)):
        axes.barh(place, value / scale, left=start / scale, height=0.62, color=PALETTE[0])
        end = (start + value) / scale
        late = start + value > 0.72 * whole  # no room at the right: write before the bar
        x, side = (start / scale, "right") if late and start > 0.25 * whole else (end, "left")
        axes.text(x, place, f" {seconds(value)} ", va="center", ha=side, fontsize=8.5)
    axes.set_yticks(range(len(parts)), [short(name, 22) for name in parts])
    axes.set_ylim(max(1, len(parts)) - 0.4, -0.6)
    axes.set_xlim(0, 1.05 * whole / scale or 1.0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"time ({unit})")
    axes.set_title(f"Cold start: {seconds(whole)}", fontsize=9.5, fontweight="normal")


def _runs(axes: Axes, values_s: Sequence[float], settled_at: int | None) -> None:
    """Draw run times as dots: open before settling, filled after, with the settled median."""
    values = np.asarray(values_s, dtype=np.float64)
    scale, unit = time_unit(float(np.median(values)) if values.size else 0.0)
    first = values.size if settled_at is None else settled_at
    runs = np.arange(1, values.size + 1)
    axes.plot(
        runs[:first],
        values[:first] / scale,
        "o",
        ms=4.5,
        mfc="white",
        mec=PALETTE[5],
        label="warm-up",
    )
    axes.plot(runs[first:], values[first:] / scale, "o", ms=4.5, color=PALETTE[0], label="settled")
    caption = "Runs: not settled"
    if first < values.size:
        middle = float(np.median(values[first:]))
        axes.axhline(middle / scale, color=_INK, linewidth=1, linestyle="--")
        caption = f"Runs: settled from run {first + 1}, median {seconds(middle)}"
    named = 0 < first < values.size
    axes.set_ylim(0, axes.get_ylim()[1] * (1.2 if named else 1.08))  # room above for the names
    axes.set_xlim(0.3, values.size + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.set_xlabel("run")
    axes.set_ylabel(f"time ({unit})")
    axes.set_title(caption, fontsize=9.5, fontweight="normal")
    if named:
        axes.legend(loc="upper right", ncols=2, fontsize=8.5, handletextpad=0.1)


def drawable(value: float) -> float:
    """Return what of a number can be drawn as a length: nothing below 0, nothing of nan."""
    return value if 0 < value < float("inf") else 0.0


def _rows_of(line: str) -> list[str]:
    """Break a line beneath a picture into at most two rows, and no number from its unit."""
    whole = re.sub(r"(?<=\d) (?=(%|[nµm]?s|[kMG]?B)(?!\w))", "\N{NO-BREAK SPACE}", plain(line))
    return wrap(whole, 26, max_lines=2, placeholder="…")


def short(text: str, most: int = _LONGEST) -> str:
    """Cut a stranger's text to a length that fits, on one line."""
    text = plain(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
