"""Figures: what is on them, in print and in a notebook, and that nothing leaks."""

from __future__ import annotations

import io
import pickle
import sys
import types
from functools import cache
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from workbench import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOSTILE = "$\\frac{1}{<b>\x1b[31m\n猫"
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
PARTS = {"read and check": 0.035, "create session": 0.083, "first run": 0.030}
RUNS = [0.030, 0.012, 0.008, *[0.0056 + 0.0001 * (i % 3) for i in range(20)]]

BLOCKS = np.exp(np.random.default_rng(1).normal(-0.3, 0.02, 30))
ITSELF = np.exp(np.random.default_rng(2).normal(0, 0.02, (30, 2)))


def verdict(names: tuple[str, str] = ("a", "b"), title: str = "b is 35 % faster than a.") -> Figure:
    return drawing.verdict(
        BLOCKS, ITSELF, names=names, runs_s=(RUNS, [0.7 * v for v in RUNS]),
        interval=(0.72, 0.74, 0.76), threshold=1.04, looks=[12, 30], title=title,
    )  # fmt: skip


def no_verdict() -> Figure:
    nothing = float("nan")
    return drawing.verdict(
        np.array([]), np.empty((0, 2)), names=("a", "a"), runs_s=([], []),
        interval=(nothing, nothing, nothing), threshold=nothing, looks=[],
    )  # fmt: skip


FIGURES = {
    "verdict": verdict,
    "verdict without runs": no_verdict,
    "hostile verdict": lambda: verdict((HOSTILE, HOSTILE), HOSTILE),
    "ecdf": lambda: drawing.ecdf({"a": RUNS, HOSTILE: [0.02], "none": []}, title=HOSTILE),
    "ecdf of many": lambda: drawing.ecdf({f"row {n}": RUNS for n in range(12)}),
    "no ecdf": lambda: drawing.ecdf({}),
    "throughput": lambda: drawing.throughput(
        [
            ("a", "a, batch 1", 0.001, 900.0),
            ("a", "a, batch 4", 0.003, 1200.0),
            (HOSTILE, HOSTILE, 0.002, 500.0),
            ("b", "b", float("nan"), float("nan")),
        ],
        title=HOSTILE,
    ),
    "no throughput": lambda: drawing.throughput([]),
    "heat": lambda: drawing.heat(
        {"a": {(1, 1): 0.001, (1, 2): 0.0008, (4, 1): 0.004}, HOSTILE: {(1, 1): float("nan")}},
        title=HOSTILE,
    ),
    "no heat": lambda: drawing.heat({}),
    "stages of one": lambda: drawing.stacked_bars({"": {"decode": 0.0015, "run": 0.0056}}),
    "stages of three": lambda: drawing.stacked_bars(
        {"a": {"decode": 1e-3, "run": 5e-3}, "b": {"run": 9e-3}, "c": {}}, title="Where time goes"
    ),
    "no stages": lambda: drawing.stacked_bars({}),
    "many stages": lambda: drawing.stacked_bars({"a": {f"part {i}": 0.001 for i in range(30)}}),
    "pictures": lambda: drawing.picture_strip(
        [(f"step {i}", PHOTO, ("(60, 90, 3)", "0 … 255")) for i in range(7)], title="All steps"
    ),
    "one grey picture": lambda: drawing.picture_strip([("grey", PHOTO[..., 0], ())]),
    "no pictures": lambda: drawing.picture_strip([]),
    "top k": lambda: drawing.bars(["cat", "dog"], [0.9, 0.1], title="cat.jpg", picture=PHOTO),
    "top k, marked": lambda: drawing.bars(["cat", "dog"], [0.9, float("nan")], mark="dog"),
    "no labels": lambda: drawing.bars([], []),
    "side by side": lambda: drawing.bars_side_by_side(
        ["cat", "dog"],
        {"a": [0.9, 0.1], "b": [0.4, 0.6], "c": [float("nan")] * 2},
        marks={"a": "= agrees", "b": "≠ differs"},
        title="cat.jpg",
        picture=PHOTO,
    ),
    "many side by side": lambda: drawing.bars_side_by_side(
        ["cat"], {f"model {n}": [n / 12] for n in range(12)}
    ),
    "nothing side by side": lambda: drawing.bars_side_by_side([], {}),
    "hostile side by side": lambda: drawing.bars_side_by_side(
        [HOSTILE], {HOSTILE: [0.5]}, marks={HOSTILE: HOSTILE}, title=HOSTILE
    ),
    "histograms": lambda: drawing.histograms(
        [
            (f"step {n}", [(c, *np.histogram(PHOTO[..., i], 16)) for i, c in enumerate("RGB")])
            for n in range(4)
        ],
        title="Values",
    ),
    "no histograms": lambda: drawing.histograms([]),
    "hostile histograms": lambda: drawing.histograms(
        [(HOSTILE, [(HOSTILE, np.zeros(2), np.arange(3))])], title=HOSTILE
    ),
    "runs": lambda: drawing.runs(RUNS, title="cifar10"),
    "no runs at all": lambda: drawing.runs([]),
    "hostile runs": lambda: drawing.runs(RUNS, title=HOSTILE),
    "confusion": lambda: drawing.confusion(np.array([[5, 1], [0, 0]]), ["yes", "no"], title="t"),
    "confusion of many": lambda: drawing.confusion(
        np.eye(60, dtype=int), [f"{i}" for i in range(60)]
    ),
    "sizes": lambda: drawing.sizes({"a": 2e6, HOSTILE: 1e3}, marked={"a"}, title="Models"),
    "no sizes": lambda: drawing.sizes({}),
    "spread": lambda: drawing.spread(
        {"a": [*RUNS, 9.0], HOSTILE: [0.02], "none": [], "odd": [float("nan"), -1.0]}, title="Runs"
    ),
    "no spread": lambda: drawing.spread({}),
    "warm-up": lambda: drawing.settling(RUNS, 3, parts=PARTS, title="Warm-up of cifar10"),
    "never settled": lambda: drawing.settling(RUNS[:3], None, parts={}),
    "no runs": lambda: drawing.settling([], None, parts=PARTS),
    "hostile": lambda: drawing.stacked_bars({HOSTILE: {HOSTILE: 0.1}}, title=HOSTILE),
    "hostile top k": lambda: drawing.bars([HOSTILE, "b"], [0.5, 0.2], title=HOSTILE, mark=HOSTILE),
    "hostile pictures": lambda: drawing.picture_strip(
        [(HOSTILE, PHOTO, (HOSTILE,))], title=HOSTILE
    ),
    "hostile confusion": lambda: drawing.confusion(
        np.eye(2, dtype=int), [HOSTILE, "b"], title=HOSTILE
    ),
}
every = pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())


def texts(figure) -> str:
    return "\n".join(t.get_text() for t in figure.findobj(Text) if t.get_text())


def saved(figure, kind: str) -> bytes:
    sink = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure.savefig(sink, format=kind, metadata=metadata)
    return sink.getvalue()


@cache
def first(make, kind: str):
    """Return the first that is drawn of a figure: once for all tests that look at it."""
    return make()._repr_png_() if kind == "shown" else saved(make(), kind)


@every
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_figure_can_be_saved_for_screen_and_print(make, kind):
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert first(make, kind).startswith(start)


@every
def test_a_figure_shows_itself_in_a_notebook_sharp_and_at_its_own_size(make):
    data, size = first(make, "shown")
    picture = Image.open(io.BytesIO(data))
    assert (picture.width // 2, picture.height // 2) == (size["width"], size["height"])
    assert size["width"] <= 1000
    assert np.asarray(picture.convert("L")).std() > 0 or make is FIGURES["no pictures"]


def test_a_notebook_keeps_figures_in_few_colours_and_photos_in_all_of_theirs():
    plain, photo = (FIGURES[name]()._repr_png_()[0] for name in ("verdict", "hostile pictures"))
    few = Image.open(io.BytesIO(plain))
    assert few.mode == "P"
    assert len(few.convert("RGB").getcolors()) > 8
    assert Image.open(io.BytesIO(photo)).mode != "P"
    sink = io.BytesIO()
    FIGURES["verdict"]().savefig(sink, format="png", dpi=200)
    assert len(plain) < 0.6 * len(sink.getvalue())
    whole = np.asarray(Image.open(sink).convert("L"), int)
    assert abs(np.asarray(few.convert("L"), int) - whole).mean() < 1  # nobody sees it


@every
def test_the_same_figure_is_the_same_file(make):
    assert first(make, "svg") == saved(make(), "svg")
    assert first(make, "shown") == make()._repr_png_()


@every
def test_no_letter_is_too_small_to_read(make):
    for text in make().findobj(Text):
        assert text.get_fontsize() >= 7


@every
def test_no_text_of_a_stranger_is_read_as_a_formula(make):
    figure = make()
    figure.draw_without_rendering()
    assert not [t for t in figure.findobj(Text) if t.get_parse_math() and "$" in t.get_text()]


def test_the_callers_style_is_neither_used_nor_changed():
    before = dict(mpl.rcParams)
    plain = FIGURES["top k"]()._repr_png_()
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": False}):
        assert drawing.stacked_bars({"": {"a": 1.0}}).findobj(Text)[0].get_fontsize() < 15
    assert FIGURES["top k"]()._repr_png_() == plain


def test_no_figure_is_kept_alive_behind_the_callers_back():
    for _ in range(25):
        FIGURES["top k"]()._repr_png_()
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_a_figure_crosses_processes():
    assert saved(pickle.loads(pickle.dumps(FIGURES["top k"]())), "png").startswith(b"\x89PNG")


def test_stages_say_their_names_durations_and_whole():
    said = texts(FIGURES["stages of one"]())
    for word in ("decode  1.50 ms", "run  5.60 ms", "7.10 ms", "time (ms)"):
        assert word in said


def test_one_unit_is_chosen_for_a_whole_figure():
    said = texts(drawing.stacked_bars({"a": {"x": 2e-6}, "b": {"x": 0.5}}))
    assert "time (ms)" in said
    assert said.count("time (") == 1


def test_segments_differ_without_colour():
    looks = [drawing._look(number) for number in range(49)]
    assert len({(look["facecolor"], look["hatch"]) for look in looks}) == 49
    assert len({look["hatch"] for look in looks[:7]}) == 7


def test_segments_are_as_long_as_their_durations():
    axes = drawing.stacked_bars({"a": {"x": 0.001, "y": 0.003}}).axes[0]
    assert [p.get_x() for p in axes.patches] == pytest.approx([0, 1])
    assert [p.get_width() for p in axes.patches] == pytest.approx([1, 3])


def test_shares_are_bars_from_zero_to_one_with_their_text():
    figure = drawing.bars(["cat", "dog"], [0.9321, 0.00004])
    assert [p.get_width() for p in figure.axes[0].patches] == pytest.approx([0.9321, 0.00004])
    assert "93.2 %" in texts(figure)
    assert "<0.1 %" in texts(figure)


def test_the_largest_share_of_each_panel_is_bold_and_a_missing_one_is_said():
    panels = [a for a in FIGURES["side by side"]().axes if not a.images]
    assert [p.get_title(loc="left") for p in panels] == ["a\n= agrees", "b\n≠ differs", "c"]
    weights = [[(t.get_text(), t.get_fontweight()) for t in panel.texts] for panel in panels]
    assert weights[0] == [("90.0 %", "bold"), ("10.0 %", "normal")]
    assert weights[1] == [("40.0 %", "normal"), ("60.0 %", "bold")]
    assert weights[2] == [("–", "normal"), ("–", "normal")]


def test_lines_of_a_histogram_differ_without_colour():
    looks = [drawing._line(number) for number in range(4)]
    assert len({str(look["linestyle"]) for look in looks}) == 4
    assert {"R", "G", "B"} <= set(texts(FIGURES["histograms"]()).split("\n"))


def test_a_figure_as_vectors_comes_with_its_width_and_words():
    data, width, words = drawing.as_svg(FIGURES["side by side"]())
    assert data.startswith(b"<?xml")
    assert width == round(96 * 7.6)
    assert words == "cat.jpg; a = agrees; b ≠ differs; c"


def test_a_long_line_beneath_a_picture_is_broken_rather_than_cut():
    figure = drawing.picture_strip([("a", PHOTO, ("probably none of its classes", "x" * 90))])
    said = figure.axes[0].get_xlabel().split("\n")
    assert said[:2] == ["probably none of its", "classes"]
    assert len(said) == 4
    assert max(map(len, said)) <= 26


def test_the_marked_label_is_set_off_in_weight_as_well():
    axes = drawing.bars(["cat", "dog"], [0.9, 0.1], mark="dog").axes[0]
    assert [t.get_fontweight() for t in axes.get_yticklabels()] == ["normal", "bold"]


def test_a_confusion_matrix_shows_its_counts_and_the_share_found():
    said = texts(drawing.confusion(np.array([[5, 1], [2, 6]]), ["yes", "no"]))
    for word in ("5", "1", "2", "6", "83.3 %", "75.0 %", "predicted", "true"):
        assert word in said
    assert "n/a" in texts(FIGURES["confusion"]()), "a class without examples has no share"


def test_a_warm_up_names_the_settled_run_and_its_median():
    said = texts(FIGURES["warm-up"]())
    assert "Runs: settled from run 4, median 5.70 ms" in said
    assert "Cold start: 148 ms" in said
    assert "not settled" in texts(FIGURES["never settled"]())


def test_the_stages_of_a_cold_start_follow_one_another():
    left = FIGURES["warm-up"]().axes[0]
    starts = [p.get_x() for p in left.patches]
    assert starts == pytest.approx([0, 35, 118])


def test_sizes_stand_largest_first_and_say_which_are_live():
    figure = drawing.sizes({"small": 1e3, "large": 2e6}, marked={"small"})
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["large", "small"]
    assert "1.00 kB, live" in texts(figure)
    assert "2.00 MB" in texts(figure)


def test_a_spread_says_each_median_and_what_does_not_fit_on_the_scale():
    figure = drawing.spread({"calm": [0.010] * 99, "a hiccup": [0.020] * 39 + [5.0]})
    said = texts(figure)
    assert "99 runs, median 10.0 ms" in said
    assert "40 runs, median 20.0 ms; 1 off the scale, up to 5.00 s →" in said
    assert figure.axes[0].get_xlim() == pytest.approx((0, 22)), "one hiccup squeezes nothing"


def test_a_verdict_shows_its_sentence_its_blocks_and_the_band_that_is_noise():
    figure = verdict()
    assert figure.get_suptitle() == "b is 35 % faster than a."
    left, right = figure.axes
    assert [line.get_xdata().size for line in left.lines if line.get_label() == "a block"] == [30]
    low, high = left.get_ylim()
    assert low < BLOCKS.min() < BLOCKS.max() < high
    band = next(p for p in left.patches if p.get_label() == "noise floor")
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((1 / 1.04, 1.04))
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["a", "b"]
    assert len({line.get_linestyle() for line in right.lines if len(line.get_xdata()) > 2}) == 2


def test_a_line_of_shares_ends_at_all_and_passes_the_median_at_a_half():
    axes = drawing.ecdf({"a": RUNS}).axes[0]
    steps, middle = axes.lines[:2]
    assert steps.get_ydata()[-1] == 1
    assert middle.get_xdata()[0] == pytest.approx(1e3 * np.median(RUNS))


def test_heat_writes_every_duration_and_a_dash_where_there_is_none():
    axes = drawing.heat({"a": {(1, 1): 0.001, (4, 2): 0.004}}).axes[0]
    assert [t.get_text() for t in axes.texts] == ["1.00 ms", "–", "–", "4.00 ms"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["1", "4"]


def test_throughput_names_the_points_of_a_group_by_what_they_differ_in():
    points = [("m", "m, batch 1", 0.001, 900.0), ("m", "m, batch 4", 0.003, 1200.0)]
    axes = drawing.throughput(points).axes[0]
    assert [t.get_text() for t in axes.texts] == ["batch 1", "batch 4"]
    assert axes.lines[0].get_xydata().tolist() == [[1.0, 900.0], [3.0, 1200.0]]


def test_the_box_of_a_spread_holds_the_middle_half():
    (box,) = drawing.spread({"runs": [0.001 * (i + 1) for i in range(101)]}).axes[0].patches
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((26, 76))


def test_pictures_are_numbered_in_reading_order():
    said = texts(FIGURES["pictures"]())
    assert [f"{i} step {i - 1}" in said for i in range(1, 8)] == [True] * 7


# ── which form a notebook gets ────────────────────────────────────────────────────────────────


def ask_for(formats, monkeypatch, *, initialised: bool):
    if initialised:
        backend = types.SimpleNamespace(figure_formats=set(formats))
        inline = types.SimpleNamespace(
            InlineBackend=types.SimpleNamespace(initialized=lambda: True, instance=lambda: backend)
        )
        monkeypatch.setitem(sys.modules, "matplotlib_inline.config", inline)
    else:
        monkeypatch.delitem(sys.modules, "matplotlib_inline.config", raising=False)
        shell = types.SimpleNamespace(config={"InlineBackend": {"figure_formats": formats}})
        monkeypatch.setitem(
            sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell)
        )


@pytest.mark.parametrize("initialised", [True, False])
def test_a_notebook_that_asks_for_svg_gets_svg_once(initialised, monkeypatch):
    ask_for(["svg"], monkeypatch, initialised=initialised)
    figure = FIGURES["top k"]()
    assert figure._repr_png_() is None
    assert figure._repr_svg_().startswith("<?xml")


@pytest.mark.parametrize("initialised", [True, False])
def test_a_notebook_that_asks_for_nothing_special_gets_png_once(initialised, monkeypatch):
    ask_for(["png"], monkeypatch, initialised=initialised)
    figure = FIGURES["top k"]()
    assert figure._repr_png_() is not None
    assert figure._repr_svg_() is None


def test_beneath_a_picture_no_number_is_parted_from_its_unit() -> None:
    for line in ("cifar10-int8: = automobile 74.6 %", "1 of many things that took 12.3 ms"):
        rows = drawing._rows_of(line)
        assert not any(row[0] in "%m" for row in rows[1:]), rows


def test_a_long_title_is_whole_in_two_lines_and_takes_no_room_from_the_rest():
    title = "grace_hopper.jpg: cifar10-small (probably none of its classes), and some words more"
    long, short_ = (drawing.bars(["a"], [0.5], title=t, picture=PHOTO) for t in (title, "short"))
    assert long.get_suptitle().split() == title.split()
    assert long.get_suptitle().count("\n") == 1
    assert long.get_figheight() > short_.get_figheight()
    long.draw_without_rendering()
    box = long._suptitle.get_window_extent()
    assert box.x1 <= long.bbox.width, "nothing of it is cut off"


def test_names_of_near_points_cover_neither_each_other_nor_a_point():
    from matplotlib.text import Text

    points = [
        (model, f"{model}, batch {b}, {t} threads", base * b**0.9 / t**0.4, b**0.1 * t**0.4 / base)
        for model, base in (("one", 2.0e-3), ("two", 1.9e-3), ("three", 0.6e-3))
        for b in (1, 4)
        for t in (1, 2)
    ]
    figure = drawing.throughput(points)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = []
    for text in axes.texts:  # the words alone, without the line that leads to the point
        text.get_window_extent()  # puts them in their place
        boxes.append(Text.get_window_extent(text).padded(-1))
    assert len(boxes) == len(points), "all have found a place"
    for number, box in enumerate(boxes):
        assert box.x1 <= figure.bbox.width
        assert not any(box.overlaps(other) for other in boxes[:number])
