"""Figures of measurements: what they say in words, in grey, and of nothing at all."""

from __future__ import annotations

from io import BytesIO
from math import nan
from typing import TYPE_CHECKING

import pytest

from workbench import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOSTILE = "<script>$x_1^2$</script>\x1b[31m\n猫"


def png(figure: Figure) -> bytes:
    sink = BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()


def words(figure: Figure) -> list[str]:
    found = [t.get_text() for axes in figure.axes for t in axes.texts]
    found += [t.get_text() for axes in figure.axes for t in axes.get_yticklabels()]
    for legend in (*figure.legends, *(a.get_legend() for a in figure.axes)):
        found += [] if legend is None else [t.get_text() for t in legend.get_texts()]
    return found


def test_nodes_have_a_bar_with_their_share_and_the_same_number_in_the_strip():
    rows = [("a", "Conv", 0.003), ("b", "Relu", 0.001), ("c", "Conv", 0.006)]
    figure = charts.nodes(rows, marks={2: 1, 0: 2}, title="m")
    said = words(figure)
    assert any("6.00 ms, 60.0 %" in text for text in said)
    assert any("3.00 ms, 30.0 %" in text for text in said)
    top, strip = figure.axes
    assert [label.get_text() for label in top.get_yticklabels()] == ["c  Conv  1", "a  Conv  2"]
    assert {text.get_text() for text in strip.texts} == {"1", "2"}
    assert len(strip.patches) == 3


def test_operators_differ_without_colour():
    rows = [(op, op, 0.001 * n) for n, op in enumerate(("A", "B", "C", "D", "E", "F"), 1)]
    figure = charts.nodes(rows, marks={5: 1})
    strip = figure.axes[1]
    looks = {(p.get_hatch() or "", p.get_facecolor() == (1, 1, 1, 1)) for p in strip.patches}
    assert len(looks) == 5, "four of their own, and one for all others"
    assert "others" in words(figure)


@pytest.mark.parametrize(
    "figure",
    [
        lambda: charts.nodes([], marks={}),
        lambda: charts.nodes([("a", "Conv", nan), ("b", "Conv", 0.0)], marks={0: 1}),
        lambda: charts.nodes([(HOSTILE, HOSTILE, 0.1)], marks={0: 1}, title=HOSTILE),
        lambda: charts.changes([], names=("a", "b")),
        lambda: charts.changes([(HOSTILE, nan, 0.1)], names=(HOSTILE, HOSTILE), title=HOSTILE),
        lambda: charts.cold_starts({}, {}),
        lambda: charts.cold_starts({HOSTILE: {"import": nan}}, {HOSTILE: [nan, 0.2]}),
        lambda: charts.pareto([], front=[], cost="time", close="agreement", limit=0.98),
        lambda: charts.pareto([(HOSTILE, 1.0, 1.0, "reference", "1 B")], front=[HOSTILE],
                              cost="time", close="agreement", limit=0.98, title=HOSTILE),
    ],
    ids=["no nodes", "no times", "hostile nodes", "no changes", "hostile changes", "no starts",
         "no stages", "no points", "hostile points"],
)  # fmt: skip
def test_figures_of_nothing_and_of_strangers_texts_can_be_drawn_and_stay_the_same(figure):
    first = png(figure())
    assert first.startswith(b"\x89PNG")
    assert png(figure()) == first


def test_changes_are_written_at_the_end_of_both_bars():
    figure = charts.changes([("Conv", 0.004, 0.001), ("Add", nan, 0.001)], names=("x", "y"))
    said = words(figure)
    assert any("−3.00 ms" in text for text in said)
    assert any("+1.00 ms" in text for text in said)
    assert {"x", "y"} <= set(said)


def test_a_slow_first_answer_is_not_cut_off():
    figure = charts.cold_starts({"(1, 3)": {"import": 0.3}}, {"(1, 3)": [0.31, 0.9]})
    (axes,) = figure.axes
    (marks,) = axes.lines
    assert axes.get_xlim()[1] > max(marks.get_xdata())
    assert "one process a mark" in axes.get_xlabel()


def test_a_broken_variant_far_below_stands_at_the_edge_and_says_so():
    points = [
        ("r", 1.0, 1.0, "reference", "4 MB"),
        ("good", 0.5, 0.995, "fit", "2 MB"),
        ("bad", 0.9, 0.02, "broken", "2 MB"),
    ]
    figure = charts.pareto(points, front=["r", "good"], cost="time of a run",
                           close="agrees with the reference", limit=0.98)  # fmt: skip
    said = words(figure)
    assert "3  bad: broken, 2.0 %, 0.90 ×, 2 MB (below the scale)" in said
    assert "2  good: fit, 99.5 %, 0.50 ×, 2 MB" in said
    assert any("fit from 98.0 %" in text for text in said)
    (axes,) = figure.axes
    assert axes.get_ylim()[0] > 0.9, "the others are not squeezed"
    marks = {line.get_marker() for line in axes.lines}
    assert {"s", "o", "x"} <= marks
