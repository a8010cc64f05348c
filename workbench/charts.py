"""Figures of measurements: nodes of a graph, changes, cold starts, variants.

They are drawn on the sheets of :mod:`workbench.drawing`, which alone knows matplotlib, in its
style: fit for print, readable without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from workbench import drawing
from workbench.cards import PALETTE, plain
from workbench.drawing import drawable, headline, only_rows, short
from workbench.units import factor, seconds, share, time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _TINT = "#222222", "#666666", "#cfe0f0"
_WIDTH_IN = 7.4
_ROW_IN = 0.27
#: Operators with a look of their own in the strip; the others share one.
_OWN_LOOK = 4


def nodes(
    rows: Sequence[tuple[str, str, float]], *, marks: Mapping[int, int], title: str = ""
) -> Figure:
    """Draw the nodes of a graph: the slowest as bars, and all as a strip in execution order.

    Parameters
    ----------
    rows : name, operator and seconds of each node, in the order in which they ran
    marks : position → rank of the nodes that have a bar; the same number stands in the strip
    title : stands above
    """
    ranked = sorted(marks, key=lambda at: marks[at])
    whole = sum(drawable(value) for _, _, value in rows)
    with drawing.sheet(_WIDTH_IN, 2.7 + _ROW_IN * max(1, len(ranked))) as figure:
        parts = figure.subfigures(
            2, 1, squeeze=False, height_ratios=(0.3 + _ROW_IN * len(ranked), 1.9)
        )
        upper, lower = parts[:, 0]
        top, strip = upper.subplots(), lower.subplots()
        looks = _looks(rows)
        for place, at in enumerate(ranked):
            _, op, value = rows[at]
            top.barh(place, drawable(value), height=0.7, **looks.get(op, _OTHER))
            told = f" {seconds(value)}, {share(drawable(value) / whole) if whole else 'n/a'}"
            top.text(drawable(value), place, told, va="center", fontsize=8)
        names = [f"{_end(rows[at][0], 34)}  {short(rows[at][1], 16)}  {marks[at]}"
                 for at in ranked]  # fmt: skip
        top.set_yticks(range(len(ranked)), names, fontsize=8)
        longest = max((drawable(rows[at][2]) for at in ranked), default=0.0)
        only_rows(top, len(ranked), 1.3 * longest or 1.0)
        if title:
            headline(figure, title)
        _strip(strip, rows, marks, looks)
    return figure


def _strip(
    axes: Axes,
    rows: Sequence[tuple[str, str, float]],
    marks: Mapping[int, int],
    looks: Mapping[str, Mapping[str, Any]],
) -> None:
    """Draw all nodes in the order in which they ran: a bar each, as high as its time."""
    highest = max((drawable(value) for _, _, value in rows), default=0.0)
    scale, unit = time_unit(highest)
    drawn: set[str] = set()
    for at, (_, op, value) in enumerate(rows):
        label = op if op in looks else "others"
        look = looks.get(op, _OTHER)
        first = label not in drawn
        drawn.add(label)
        axes.bar(at, drawable(value) / scale, width=1.0, label=short(label, 20) if first else None,
                 **look)  # fmt: skip
    for at, rank in marks.items():
        axes.text(
            at, drawable(rows[at][2]) / scale, str(rank), ha="center", va="bottom", fontsize=7
        )
    axes.set_xlim(-0.7, max(1, len(rows)) - 0.3)
    axes.set_ylim(0, 1.18 * highest / scale or 1.0)
    step = max(1, -(-len(rows) // 12))
    axes.set_xticks(range(0, len(rows), step))
    axes.set_xlabel("node, in the order in which they run")
    axes.set_ylabel(f"time ({unit})")
    if drawn:
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.3), ncols=5, fontsize=7.5,
                    handlelength=1.4, columnspacing=1.0)  # fmt: skip


_OTHER: dict[str, Any] = {"facecolor": "#ffffff", "edgecolor": _FAINT, "linewidth": 0.5}


def _looks(rows: Sequence[tuple[str, str, float]]) -> dict[str, dict[str, Any]]:
    """Give the operators that take most time a colour and a hatch of their own."""
    spent: dict[str, float] = {}
    for _, op, value in rows:
        spent[op] = spent.get(op, 0.0) + drawable(value)
    first = sorted(spent, key=lambda op: (-spent[op], op))[:_OWN_LOOK]
    hatches = ("", "////", "....", "xxxx")
    return {
        op: {"facecolor": PALETTE[n], "hatch": hatches[n], "edgecolor": "white", "linewidth": 0.3}
        for n, op in enumerate(first)
    }


def changes(
    rows: Sequence[tuple[str, float, float]], *, names: tuple[str, str], title: str = ""
) -> Figure:
    """Draw durations before and after: two bars a row, the change in words at their end.

    Parameters
    ----------
    rows : name, seconds before, seconds after; nan on the side that has none
    names : what the two sides are
    title : stands above
    """
    longest = max((drawable(v) for _, *both in rows for v in both), default=0.0)
    scale, unit = time_unit(longest)
    with drawing.sheet(_WIDTH_IN, 1.3 + 0.46 * max(1, len(rows))) as figure:
        axes = figure.add_subplot()
        for place, (_, before, after) in enumerate(rows):
            for shift, value, look in ((-0.19, before, _BEFORE), (0.19, after, _AFTER)):
                axes.barh(place + shift, drawable(value) / scale, height=0.36, **look)
            delta = (0.0 if isnan(after) else after) - (0.0 if isnan(before) else before)
            told = f" {'+' if delta >= 0 else '−'}{seconds(abs(delta))}"
            end = max(drawable(before), drawable(after)) / scale
            axes.text(end, place, told, va="center", fontsize=8)
        axes.set_yticks(range(len(rows)), [short(name, 34) for name, _, _ in rows], fontsize=8)
        axes.set_ylim(max(1, len(rows)) - 0.4, -0.6)
        axes.set_xlim(0, 1.2 * longest / scale or 1.0)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"time ({unit})")
        if title:
            headline(figure, title)
        for look, name in ((_BEFORE, names[0]), (_AFTER, names[1])):
            axes.barh(0, 0, label=short(name, 44), **look)
        figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    return figure


def cold_starts(
    rows: Mapping[str, Mapping[str, float]],
    answers: Mapping[str, Sequence[float]],
    *,
    title: str = "",
) -> Figure:
    """Draw cold starts: a stacked bar a shape, and a mark a process at its first answer.

    Parameters
    ----------
    rows : shape in words → stage → median seconds
    answers : shape in words → seconds to the first answer of each process
    title : stands above
    """
    figure = drawing.stacked_bars(rows, title=title)
    figure.set_figheight(figure.get_figheight() + 0.3)  # for the words below, and the marks
    longest = max((sum(map(drawable, parts.values())) for parts in rows.values()), default=0.0)
    scale, unit = time_unit(longest)
    furthest = 1.12 * longest
    (axes,) = figure.axes
    for place, row in enumerate(rows):
        marks = [value / scale for value in answers.get(row, ()) if drawable(value)]
        axes.plot(marks, [place + 0.4] * len(marks), "|", ms=8, mew=1.2, color=_INK)
        furthest = max([furthest, *(1.03 * mark * scale for mark in marks)])
    axes.set_xlim(0, furthest / scale or 1.0)
    axes.set_xlabel(f"time ({unit})\nbeneath each bar: first answers, one process a mark")
    return figure


def pareto(
    points: Sequence[tuple[str, float, float, str, str]],
    *,
    front: Sequence[str],
    cost: str,
    close: str,
    limit: float,
    title: str = "",
) -> Figure:
    """Draw what variants cost against how close they are to their reference.

    Parameters
    ----------
    points : name, cost as a share of the reference's, closeness (0–1), verdict, size in words
    front : names on the Pareto front: filled marks, joined by a line
    cost, close : what the axes show, in words
    limit : closeness from which on a variant may be fit: a dashed line
    title : stands above

    Each mark has a number, and a line beneath the figure with its name, verdict and figures. What
    is broken is a cross; one that lies far below the others stands at the lower edge.
    """
    with drawing.sheet(_WIDTH_IN, 3.4 + 0.19 * (1 + len(points))) as figure:
        axes = figure.add_subplot()
        whole = [height for _, _, height, word, _ in points if word != "broken"] or [1.0]
        lowest = min([limit, *whole]) if limit <= max(whole) else min(whole)
        room = max(0.02, 1 - lowest)
        floor = lowest - 0.3 * room
        on = sorted((p for p in points if p[0] in front), key=lambda p: p[1])
        axes.plot([p[1] for p in on], [p[2] for p in on], color=_FAINT, lw=1, zorder=1,
                  label="Pareto front (filled marks)")  # fmt: skip
        axes.axhline(limit, color=_INK, lw=0.8, ls="--", zorder=0)
        axes.text(0.0, limit, f" fit from {share(limit)}", fontsize=7.5, va="bottom",
                  transform=axes.get_yaxis_transform())  # fmt: skip
        widest = max((p[1] for p in points), default=1.0)
        placed: list[tuple[float, float]] = []
        for number, (name, at, height, word, size) in enumerate(points, 1):
            shown, off = max(height, floor + 0.06 * room), height < floor
            mark = {"reference": "s", "broken": "x"}.get(word, "o")
            filled = PALETTE[0] if name in front else "white"
            told = f"{number}  {short(name, 32)}: {word}, {share(height)}, {factor(at)}, {size}"
            told += " (below the scale)" if off else ""
            axes.plot([at], [shown], mark, ms=8, mew=1.6, mec=PALETTE[0], mfc=filled, zorder=2,
                      label=told)  # fmt: skip
            near = sum(abs(x - at) < 0.04 * widest and abs(y - shown) < 0.08 * room
                       for x, y in placed)  # fmt: skip
            placed.append((at, shown))
            axes.annotate(str(number), (at, shown), xytext=(7 + 11 * near, 5), fontsize=9,
                          textcoords="offset points")  # fmt: skip
        axes.set_xlim(0, 1.12 * widest or 1.0)
        axes.set_ylim(floor, 1 + 0.18 * room)
        axes.set_yticks([y for y in axes.get_yticks() if floor <= y <= 1])
        axes.set_yticklabels([share(y) for y in axes.get_yticks()])
        axes.grid(True)
        axes.set_xlabel(f"{cost}, of the reference's (left is better)")
        axes.set_ylabel(close)
        if title:
            headline(figure, title)
        figure.legend(loc="outside lower left", fontsize=8, handletextpad=0.3)
    return figure


_BEFORE: dict[str, Any] = {"facecolor": _TINT, "edgecolor": _FAINT, "linewidth": 0.5}
_AFTER: dict[str, Any] = {"facecolor": PALETTE[0], "edgecolor": PALETTE[0], "linewidth": 0.5}


def ranking(
    rows: Sequence[tuple[str, float, float, float, str, bool]],
    *,
    effects: Sequence[tuple[str, float, str]],
    score: str,
    title: str = "",
) -> Figure:
    """Draw things by their score, best first, and what moves the answers as bars below.

    Parameters
    ----------
    rows : name, score, both ends of its interval (shares), a mark in words, and whether it
        cannot be told from the best: those have a filled dot, the others an open one
    effects : name, share of one, and what was tried instead
    score : what the scores are
    title : stands above
    """
    n, below = max(1, len(rows)), len(effects)
    height = 1.75 + 0.36 * n + (0.9 + _ROW_IN * below if below else 0)
    with drawing.sheet(_WIDTH_IN, height) as figure:
        ratios = (n + 1.6, below + 1.6) if below else (1,)
        parts = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        top = parts[0].subplots()
        names = []
        for place, (name, value, low, high, mark, alike) in enumerate(rows):
            names.append("\n".join(wrap(plain(name), 46, max_lines=2, placeholder="…")))
            top.plot((drawable(low), drawable(high)), (place, place), color=_FAINT, linewidth=1.2)
            top.plot(
                drawable(value), place, "o", markersize=6.5, markeredgecolor=PALETTE[0],
                color=PALETTE[0] if alike else "#ffffff",
            )  # fmt: skip
            told = f"  {share(value)}" + (f", {mark}" if mark else "")
            top.text(max(drawable(high), drawable(value)), place, told, va="center", fontsize=8)
        top.set_yticks(range(len(rows)), names, fontsize=7.5)
        top.set_ylim(n - 0.4, -0.6)
        top.set_xlim(0, 1.0 + 0.32)
        top.set_xticks([0, 0.25, 0.5, 0.75, 1.0], [share(v) for v in (0, 0.25, 0.5, 0.75, 1)])
        top.tick_params(axis="y", length=0)
        top.set_xlabel(
            f"score: {score}\nline: 95 % interval; filled: cannot be told from the best",
            fontsize=8.5,
        )
        if title:
            headline(figure, title)
        if below:
            lower = parts[1].subplots()
            for place, (_, value, instead) in enumerate(effects):
                lower.barh(place, drawable(value), height=0.66, **_BEFORE)
                told = f"  {share(value)}, with {short(instead, 30)}"
                lower.text(drawable(value), place, told, va="center", fontsize=8)
            lower.set_yticks(range(below), [short(e[0], 46) for e in effects], fontsize=8)
            only_rows(lower, below, 1.32)
            lower.set_title("How far one other choice moves the answers", fontsize=9)
    return figure


def _end(text: str, most: int) -> str:
    """Cut a stranger's text at its beginning: of a path through a graph, the end tells most."""
    text = plain(text)
    return text if len(text) <= most else f"…{text[1 - most :]}"
