"""Stages, samples and settling."""

from __future__ import annotations

from itertools import pairwise
from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.timing import Samples, Stages, Stopwatch, clock, needed, settled

durations = st.lists(st.floats(min_value=1e-6, max_value=10), min_size=1, max_size=400)


def test_stages_are_a_mapping_in_the_order_in_which_they_ran():
    stages = Stages({"decode": 0.002, "resize": 0.001})
    assert list(stages.items()) == [("decode", 0.002), ("resize", 0.001)]
    assert len(stages) == 2
    assert "decode" in stages
    assert stages.total_s == pytest.approx(0.003)
    assert stages.other_s == 0.0


def test_what_was_measured_around_the_stages_is_shown_as_other():
    stages = Stages({"decode": 0.002}, total_s=0.003)
    assert stages.other_s == pytest.approx(0.001)
    assert repr(stages) == "<timings: 3.00 ms = decode 2.00 ms + other 1.00 ms>"


def test_a_whole_shorter_than_its_parts_has_no_negative_rest():
    assert Stages({"decode": 0.002}, total_s=0.001).other_s == 0.0


def test_no_stages_at_all_can_be_shown():
    empty = Stages({})
    assert repr(empty) == "<timings: 0.00 ns>"
    assert empty._repr_html_()
    assert isnan(empty.to_frame()["share"].iloc[-1])


def test_stages_merge_under_fewer_names_and_keep_their_sum():
    stages = Stages({"resize": 0.001, "crop": 0.002, "inference": 0.005}, total_s=0.009)
    merged = stages.merged({"resize": "preprocessing", "crop": "preprocessing"})
    assert dict(merged) == pytest.approx({"preprocessing": 0.003, "inference": 0.005})
    assert merged.total_s == stages.total_s


def test_a_frame_of_stages_has_milliseconds_and_shares_that_add_up():
    frame = Stages({"decode": 0.002, "inference": 0.006}, total_s=0.010).to_frame()
    assert list(frame.columns) == ["stage", "ms", "share"]
    assert list(frame["stage"]) == ["decode", "inference", "other", "total"]
    assert frame["ms"].iloc[-1] == pytest.approx(frame["ms"].iloc[:-1].sum())
    assert frame["share"].iloc[:-1].sum() == pytest.approx(1.0)


def test_stages_draw_themselves():
    assert len(Stages({"decode": 0.002}).plot().axes) == 1


def test_a_stopwatch_adds_laps_of_one_name_and_takes_over_others():
    watch = Stopwatch()
    watch.lap("a")
    first = watch.parts["a"]
    watch.lap("a")
    assert watch.parts["a"] >= first
    watch.add({"elsewhere": 0.5, "a": 1.0})
    stages = watch.stages()
    assert list(stages) == ["a", "elsewhere"]
    assert stages["a"] >= 1.0
    assert stages["elsewhere"] == 0.5


def test_the_clock_never_runs_backwards():
    readings = [clock() for _ in range(1000)]
    assert readings == sorted(readings)


# ── samples ───────────────────────────────────────────────────────────────────────────────────


def test_statistics_that_the_samples_cannot_carry_are_nan():
    none, one = Samples(()), Samples((0.010,))
    for value in (none.median_s, none.iqr_s, none.spread, none.percentile_s(0.9)):
        assert isnan(value)
    assert one.median_s == 0.010
    assert isnan(one.iqr_s)
    assert isnan(one.percentile_s(0.9))
    assert one.notes()[0] == "1 run: too few to judge the spread."
    assert none.notes()[0] == "0 runs: too few to judge the spread."


@pytest.mark.parametrize(("p", "least"), [(0.9, 30), (0.95, 60), (0.99, 300)])
def test_a_percentile_is_given_from_the_least_number_of_runs_on(p, least):
    assert needed(p) == least
    assert isnan(Samples((0.01,) * (least - 1)).percentile_s(p))
    assert Samples((0.01,) * least).percentile_s(p) == 0.01


def test_an_outlier_moves_neither_the_median_nor_the_spread():
    calm = Samples((0.010,) * 40)
    spiky = Samples((*(0.010,) * 39, 5.0))
    assert spiky.median_s == calm.median_s == 0.010
    assert spiky.iqr_s == calm.iqr_s == 0.0
    assert spiky.percentile_s(0.9) == 0.010


def test_an_unsteady_series_says_so():
    notes = Samples(tuple(0.010 + 0.005 * (i % 2) for i in range(40))).notes()
    assert notes == ("IQR is 40.0 % of the median: unstable.", "p99 needs 300 runs, had 40.")
    assert Samples((0.010,) * 300).notes() == ()


def test_a_summary_and_a_frame_are_in_milliseconds():
    samples = Samples(tuple(0.001 * (i + 1) for i in range(60)), "cifar10")
    summary = samples.summary()
    assert summary["n"] == 60
    assert summary["median_ms"] == pytest.approx(30.5)
    assert summary["p90_ms"] == pytest.approx(54.1)
    assert isnan(summary["p99_ms"])
    frame = samples.to_frame()
    assert list(frame.columns) == ["run", "ms"]
    assert frame["ms"].median() == pytest.approx(summary["median_ms"])


@given(durations)
def test_percentiles_agree_with_numpy_and_stay_in_order(values):
    import numpy as np

    samples = Samples(tuple(values))
    assert samples.median_s == pytest.approx(float(np.median(values)))
    given_ones = [p for p in (0.5, 0.9, 0.95, 0.99) if not isnan(samples.percentile_s(p))]
    for p in given_ones:
        assert samples.percentile_s(p) == pytest.approx(float(np.quantile(values, p)))
    ordered = [samples.percentile_s(p) for p in given_ones]
    assert all(a <= b + 1e-12 for a, b in pairwise(ordered))


# ── settling ──────────────────────────────────────────────────────────────────────────────────


def test_a_series_settles_where_its_tail_begins():
    assert settled([0.030, 0.012, 0.008] + [0.0056, 0.0057, 0.0055] * 8) == 3
    assert settled([1.0] * 10) == 0


def test_a_series_that_keeps_changing_has_not_settled():
    assert settled([1.0 + 0.1 * i for i in range(40)]) is None
    assert settled([]) is None
    assert settled([1.0] * 9) is None, "twice the window is needed to tell"


def test_a_late_jump_moves_the_settled_part_behind_it():
    found = settled([1.0] * 20 + [2.0] * 20)
    assert found is not None
    assert found >= 15


def test_one_outlier_does_not_unsettle_a_series():
    assert settled([1.0] * 12 + [9.0] + [1.0] * 12) == 0


@given(st.lists(st.floats(min_value=1e-6, max_value=10), max_size=60))
def test_what_is_settled_has_enough_runs_behind_it(values):
    found = settled(values)
    assert found is None or 0 <= found <= len(values) - 10


def test_undefined_durations_are_shown_as_such():
    assert repr(Samples((nan,) * 2)).startswith("<samples of runs: runs 2, median n/a")
