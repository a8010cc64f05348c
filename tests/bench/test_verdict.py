"""A verdict in words: what was found, what it rests on, and what it cannot carry."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log, nan

import pytest

import workbench as wb
from workbench.bench.canary import Canary
from workbench.bench.sequence import Look
from workbench.errors import InferenceError
from workbench.models.hub import ModelHub


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> wb.Verdict:
    hub = ModelHub(model_dir=tmp_path_factory.mktemp("shelf"))
    names = ("cifar10-small", "cifar10-int8")
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
    assert "stopped before" in replace(open_, stopped=True).sentence()
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
    assert any("The two sessions of a model differed" in note for note in placed.notes())
    fused = replace(real.b, session=replace(real.b.session, stoppable=False, notes=("fell back",)))
    notes = replace(told(real, 0.5, outcome="faster"), b=fused).notes()
    assert any("a stop takes effect only when a run is over" in note for note in notes)
    assert "cifar10-int8: fell back" in notes
    assert Canary(1.0, 1.02).notes() == ()
    assert Canary(nan, 1.0).notes() == ()
    assert "20 % faster after" in Canary(1.0, 0.8).notes()[0]
