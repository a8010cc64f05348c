"""Many configurations in turn, on clocks made of numbers."""

from __future__ import annotations

from itertools import chain, count, repeat
from math import inf, isnan, nan

import numpy as np
import pytest
from clocks import FakeClock, FakeSubject

from workbench.bench.rotation import FEWEST_RUNS, Lane, rotate
from workbench.errors import InferenceError, InferenceTimeoutError
from workbench.stopping import Stop


def lanes_of(clock: FakeClock, **takes_s: float) -> list[Lane]:
    return [Lane(name, FakeSubject(name, clock, repeat(s))) for name, s in takes_s.items()]


def test_each_has_its_time_and_its_fewest_runs():
    clock = FakeClock()
    lanes = lanes_of(clock, quick=0.001, slow=0.1)
    rotation = rotate(lanes, min_time_s=1.0, max_time_s=60.0, clock=clock)
    quick, slow = lanes
    assert 1000 <= len(quick.laps) <= 1010
    assert len(slow.laps) == FEWEST_RUNS
    assert not rotation.stopped
    assert not rotation.time_was_up
    assert rotation.wall_s < 10


@pytest.mark.parametrize("warm_s", [0.05, 0.01, 0.0001], ids=str)
def test_a_warm_up_at_another_pace_does_not_change_how_long_it_is_measured(warm_s):
    clock = FakeClock()
    lane = Lane("a", FakeSubject("a", clock, chain([warm_s] * 10, repeat(0.0005))))
    rotation = rotate([lane], min_time_s=1.0, max_time_s=60.0, clock=clock)
    assert lane.settled_at is not None
    assert len(lane.warm.values_s) <= 10
    assert sum(lap[0] for lap in lane.laps) >= 1.0
    assert not rotation.time_was_up


def test_runs_of_all_are_spread_over_the_whole_and_in_random_order():
    clock = FakeClock()
    lanes = lanes_of(clock, quick=0.001, slow=0.02)
    rotate(lanes, min_time_s=1.0, max_time_s=60.0, clock=clock)
    total = sum(len(lane.laps) for lane in lanes)
    assert sorted(p for lane in lanes for p in lane.places) == list(range(total))
    for lane in lanes:
        quarters = np.histogram(lane.places, bins=4, range=(0, total))[0]
        assert quarters.min() > 0.15 * len(lane.laps)
    gaps = np.diff(lanes[1].places)
    assert len(set(gaps.tolist())) > 5, "the same distance each time is no random order"


def test_the_same_seed_is_the_same_order():
    places = []
    for seed in (1, 1, 2):
        clock = FakeClock()
        lanes = lanes_of(clock, a=0.001, b=0.001, c=0.002)
        rotate(lanes, min_time_s=0.1, max_time_s=60.0, seed=seed, clock=clock)
        places.append(lanes[0].places)
    assert places[0] == places[1] != places[2]


def test_warm_up_is_apart_and_its_settling_is_detected():
    clock = FakeClock()
    lane = Lane("a", FakeSubject("a", clock, chain([0.05, 0.03, 0.011], repeat(0.01))))
    rotate([lane], min_time_s=0.2, max_time_s=60.0, clock=clock)
    assert lane.settled_at in (2, 3)
    assert max(lane.warm.values_s) == 0.05
    assert {lap[0] for lap in lane.laps} == {0.01}


def test_the_end_of_the_time_is_told():
    clock = FakeClock()
    lanes = lanes_of(clock, a=0.1, b=0.1)
    rotation = rotate(lanes, min_time_s=10.0, max_time_s=5.0, clock=clock)
    assert rotation.time_was_up
    assert 4.9 <= rotation.wall_s <= 5.3
    assert all(len(lane.laps) > 5 for lane in lanes)


def test_one_that_fails_in_the_middle_is_given_up_and_the_rest_goes_on():
    clock = FakeClock()
    broken = FakeSubject("broken", clock, chain([0.001] * 40, repeat(None)))
    broken.error = InferenceError("broken", "a node broke", "")
    lanes = [*lanes_of(clock, fine=0.001), Lane("broken", broken)]
    rotation = rotate(lanes, min_time_s=0.5, max_time_s=60.0, clock=clock)
    fine, failed = lanes
    assert fine.problem is None
    assert len(fine.laps) >= 500
    assert failed.problem is broken.error
    assert 0 < len(failed.laps) < 40
    assert not rotation.stopped
    assert not rotation.time_was_up


def test_a_run_that_takes_too_long_is_a_failure_of_its_own():
    clock = FakeClock()
    late = FakeSubject("late", clock, repeat(None), error=InferenceTimeoutError("late", 1.0))
    lanes = [Lane("late", late), *lanes_of(clock, fine=0.001)]
    rotation = rotate(lanes, min_time_s=0.1, max_time_s=60.0, stop=Stop(), clock=clock)
    assert lanes[0].problem is late.error
    assert len(lanes[1].laps) >= 100
    assert not rotation.stopped


def test_a_stop_keeps_what_was_measured():
    clock, stop = FakeClock(), Stop()
    lanes = lanes_of(clock, a=0.001, b=0.001)
    lanes[1].subject.before = lambda: stop.cancel() if lanes[1].subject.runs == 60 else None
    rotation = rotate(lanes, min_time_s=1.0, max_time_s=60.0, stop=stop, clock=clock)
    assert rotation.stopped
    assert all(20 < len(lane.laps) < 80 for lane in lanes)
    assert all(lane.problem is None for lane in lanes)


@pytest.mark.parametrize("runs", [0, 3, 60], ids=["at once", "in the warm-up", "later"])
def test_the_interrupt_keeps_what_was_measured(runs):
    clock = FakeClock()
    subject = FakeSubject("a", clock, chain([0.001] * runs, repeat(None)), KeyboardInterrupt())
    lane = Lane("a", subject)
    rotation = rotate([lane], min_time_s=1.0, max_time_s=60.0, clock=clock)
    assert rotation.stopped
    assert len(lane.laps) == max(0, runs - len(lane.warm.values_s)) if runs == 60 else True
    assert len(lane.laps) == len(lane.places) == len(lane.at_s)


@pytest.mark.parametrize("bad", [nan, inf, -inf, -0.001, 0.0], ids=str)
def test_a_run_without_a_usable_time_is_kept_as_nan(bad):
    clock = FakeClock()
    lane = Lane("a", FakeSubject("a", clock, (bad if n % 5 == 0 else 0.001 for n in count())))
    rotate([lane], min_time_s=0.2, max_time_s=60.0, clock=clock)
    values = np.array(lane.laps)[:, 0]
    assert np.isnan(values).sum() > 10
    assert (values[np.isfinite(values)] > 0).all()
    assert np.isfinite(values).sum() >= 200


def test_a_stage_that_steps_back_makes_its_run_unusable():
    lane = Lane("a", None)
    lane.add((0.01, -0.001, 0.009, 0.002), 0, 0.0)
    lane.add((0.01, 0.001, 0.007, 0.002), 1, 0.0)
    assert [isnan(lap[0]) for lap in lane.laps] == [True, False]
    assert len(lane.laps[0]) == 4


def test_a_clock_that_stands_still_does_not_go_on_for_ever():
    clock = FakeClock()
    lane = Lane("a", FakeSubject("a", clock, repeat(0.0)))
    rotate([lane], min_time_s=0.2, max_time_s=60.0, clock=clock)
    assert np.isnan(np.array(lane.laps)).all()
    assert len(lane.laps) < 1000


def test_one_that_could_not_be_opened_stays_empty():
    clock = FakeClock()
    shut = Lane("shut", None, InferenceError("shut", "no", ""))
    lanes = [shut, *lanes_of(clock, a=0.001)]
    rotation = rotate(lanes, min_time_s=0.1, max_time_s=60.0, clock=clock)
    assert shut.laps == []
    assert not rotation.time_was_up
