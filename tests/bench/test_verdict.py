"""A verdict in words: what was found, what it rests on, and what it cannot carry."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import exp, log, nan

import numpy as np
import pytest
from clocks import PatientClock

import workbench as wb
from workbench.bench import comparison
from workbench.bench.canary import Canary
from workbench.bench.sequence import Look
from workbench.errors import InferenceError
from workbench.models.hub import ModelHub


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> wb.Verdict:
    hub = ModelHub(model_dir=tmp_path_factory.mktemp("shelf"))
    names = ("cifar10-small", "cifar10-int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "run", partial(comparison.run, clock=PatientClock()))
        return wb.compare(*names, hub=hub, threads=1, max_time_s=1.0, progress=False)


def told(real: wb.Verdict, ratio: float, *, spread: float = 0.01, **more) -> wb.Verdict:
    """Return a verdict whose last look found this ratio."""
    centre = log(ratio)
    fields = {
        "number": 1, "blocks": 40, "error": 0.01, "log_ratio": centre, "low": centre - spread,
        "high": centre + spread, "floor": 0.02, "floor_is_quantile": True, "placement": 0.01,
        "outcome": None,
    }  # fmt: skip
    look = Look(**{**fields, **more})
    between = (centre,) * 40
    return replace(real, look=look, looks=(look,), between=between, warned=(),
                   stopped=False, problem=None)  # fmt: skip


def test_a_difference_is_told_in_percent_with_its_interval(real):
    faster = told(real, 1 / 1.41, outcome="faster")
    assert faster.sentence() == (
        "cifar10-int8 is 41 % faster than cifar10-small (40 to 42 %)."
    )  # 1.41 times as many runs in the same time
    slower = told(real, 1.05, outcome="slower")
    assert slower.sentence() == "cifar10-int8 is 5.0 % slower than cifar10-small (4.0 to 6.1 %)."


def test_a_large_difference_is_told_as_a_multiple(real):
    assert told(real, 1 / 2.4, outcome="faster").sentence() == (
        "cifar10-int8 is 2.40 × as fast as cifar10-small (2.38 to 2.42 ×)."
    )
    assert told(real, 2.4, outcome="slower").sentence() == (
        "cifar10-int8 takes 2.40 × as long as cifar10-small (2.38 to 2.42 ×)."
    )


def test_the_numbers_are_those_of_the_look_turned_into_ratios(real):
    verdict = told(real, 0.8, outcome="faster")
    assert verdict.ratio == pytest.approx(0.8)
    assert verdict.interval == pytest.approx((0.8 * exp(-0.01), 0.8 * exp(0.01)))
    assert verdict.noise_floor == pytest.approx(exp(0.02) - 1)
    assert verdict.threshold == verdict.noise_floor
    assert verdict.difference == pytest.approx(0.25)
    assert verdict.decided
    assert told(real, 0.8, placement=0.05).threshold == pytest.approx(exp(0.05) - 1)


def test_the_other_way_round_is_the_same_difference(real):
    one, other = told(real, 0.8, outcome="faster"), told(real, 1 / 0.8, outcome="slower")
    assert one.difference == pytest.approx(other.difference)
    assert one.difference_interval == pytest.approx(other.difference_interval)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"settled_below": True}, "if they differ, then by less than 2.0 %"),
        ({}, "the difference is not surely beyond the 2.0 %"),
        ({"log_ratio": nan, "low": nan, "high": nan}, "too little was measured"),
    ],
)
def test_what_cannot_be_told_says_why(real, more, said):
    verdict = told(real, 1.01, outcome="cannot_tell", **more)
    assert said in verdict.sentence()
    assert verdict.outcome == "cannot_tell"
    assert not verdict.decided


def test_what_ended_early_says_so(real):
    open_ = told(real, 0.5, outcome="cannot_tell")
    assert replace(open_, stopped=True).sentence().endswith("it was stopped before it was decided.")
    broke = replace(open_, problem=InferenceError("cifar10-int8", "a node broke", ""))
    assert "a node broke" in broke.sentence()
    assert any("It ended early, after" in note for note in broke.notes())
    few = replace(open_, between=(0.1,) * 3)
    assert "at least 6 are needed. Give it more with max_time_s=." in few.sentence()


def test_the_card_says_what_was_timed_and_how_it_was_decided(real):
    text = str(real)
    assert "inference: one call of the engine" in text
    assert "How it was decided" in text
    assert "Lan and DeMets" in text
    assert "arrays made to fit" in text
    assert repr(real).startswith("<cifar10-int8 against cifar10-small: ")


def test_notes_tell_a_floor_of_few_blocks_sessions_that_differ_and_a_drift(real):
    few = told(real, 0.5, outcome="faster", floor_is_quantile=False, blocks=12)
    assert any("the largest of 24 distances" in note for note in few.notes())
    placed = told(real, 0.5, outcome="faster", placement=0.05)
    within = ((0.01, -0.03), (0.03, -0.03))
    note = next(n for n in replace(placed, within=within).notes() if "two sessions" in n)
    assert "those of cifar10-small by 2.0 % and those of cifar10-int8 by 3.0 %" in note
    assert "a difference must exceed 5.1 %" in note
    assert not any("two sessions" in note for note in told(real, 0.5, placement=0.01).notes())
    fused = replace(real.b, session=replace(real.b.session, stoppable=False, notes=("fell back",)))
    notes = replace(told(real, 0.5, outcome="faster"), b=fused).notes()
    assert any("a stop takes effect only when a run is over" in note for note in notes)
    assert "cifar10-int8: fell back" in notes
    assert Canary(1.0, 1.02).notes() == ()
    assert Canary(nan, 1.0).notes() == ()
    assert "20 % faster after" in Canary(1.0, 0.8).notes()[0]


def test_one_that_was_stopped_before_it_could_be_judged_says_so_in_words(real):
    open_ = told(real, 0.965, outcome="cannot_tell", low=nan, high=nan, blocks=2)
    stopped = replace(open_, stopped=True)
    assert stopped.sentence().endswith("it was stopped before anything could be judged.")
    assert "0.965 × (no interval: stopped before anything could be judged)" in str(stopped)
    nothing = told(real, 1.0, outcome="cannot_tell", log_ratio=nan, low=nan, high=nan, floor=nan)
    for verdict in (stopped, open_, replace(nothing, stopped=True), nothing):
        assert "n/a to n/a" not in str(verdict)
    assert "no interval: too few blocks" in str(open_)


def slow(real: wb.Verdict, run_s: float, floor: float, *, rounds: int = 56, **more) -> wb.Verdict:
    """Return a verdict over models that take so long a run, with blocks of one pair."""
    verdict = told(real, 1.02, outcome="cannot_tell", floor=floor, placement=0.0, **more)
    runs_s = np.full((rounds, 2), run_s)
    return replace(
        verdict, pairs=1, a=replace(real.a, runs_s=runs_s), b=replace(real.b, runs_s=runs_s),
        order=np.zeros((rounds, 4), np.int8), wall_s=30.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("run_s", "floor", "said"),
    [
        (0.1, 0.055, "To find a difference of 5.0 %, give it about max_time_s=100."),
        (0.3, 0.1, "To find a difference of 5.0 %, give it about max_time_s=820."),
        (0.1, 0.2, "To find a difference of 8.3 %, give it about max_time_s=400."),
    ],
)
def test_a_time_too_short_for_slow_models_is_told_with_one_that_would_do(real, run_s, floor, said):
    note = next(n for n in slow(real, run_s, floor).notes() if "too short" in n)
    assert "56 rounds in 30.0 s" in note
    assert said in note


def test_a_time_that_would_do_is_proposed_only_where_it_was_the_time(real):
    def proposed(verdict: wb.Verdict) -> bool:
        return any("max_time_s=" in note for note in verdict.notes())

    short = slow(real, 0.1, 0.055)
    assert proposed(short)
    assert not proposed(replace(short, stopped=True))
    assert not proposed(replace(short, problem=InferenceError("b", "a node broke", "")))
    assert not proposed(replace(short, look=replace(short.look, outcome="faster")))
    assert not proposed(replace(short, pairs=25))
    assert not proposed(slow(real, 0.1, 0.02)), "the floor is low enough for 5 %"
    few = replace(slow(real, 3.0, nan, rounds=2, blocks=2), between=(0.02,) * 2)
    assert "max_time_s=480" in few.notes()[-1]
