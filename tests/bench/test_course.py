"""A comparison under way, with clocks made of numbers: when it ends, and what it keeps."""

from __future__ import annotations

from collections import Counter
from itertools import chain, count, repeat
from math import inf, nan

import numpy as np
import pytest
from clocks import FakeClock, FakeSubject
from hosts import INDEPENDENT, REALISTIC, Noise, raced

from workbench.bench.course import run
from workbench.bench.sequence import ERROR
from workbench.errors import InferenceError
from workbench.stopping import Stop


def noisy(median_s: float, seed: int, *, sd: float = 0.02):
    rng = np.random.default_rng(seed)
    return (median_s * float(np.exp(rng.normal(0, sd))) for _ in count())


def four(clock: FakeClock, a_s: float = 0.001, b_s: float = 0.001) -> list[FakeSubject]:
    return [
        FakeSubject(name, clock, noisy(take_s, seed))
        for seed, (name, take_s) in enumerate([("a", a_s), ("a", a_s), ("b", b_s), ("b", b_s)])
    ]


def test_a_faster_model_is_found_and_it_ends_at_once():
    clock = FakeClock()
    course = run(four(clock, 0.001, 0.0007), max_time_s=20.0, clock=clock)
    assert course.look.outcome == "faster"
    assert np.exp(course.look.log_ratio) == pytest.approx(0.7, rel=0.02)
    assert course.wall_s < 5.0
    assert course.times_s.shape == course.order.shape == (course.look.blocks * course.pairs, 4)


def test_a_model_against_itself_cannot_be_told():
    clock = FakeClock()
    course = run(four(clock), max_time_s=20.0, clock=clock)
    assert course.look.outcome == "cannot_tell"
    assert course.look.settled_below
    assert not course.stopped
    assert course.problem is None


def test_every_order_of_a_round_comes_and_each_subject_is_run_as_often():
    clock = FakeClock()
    subjects = four(clock)
    course = run(subjects, max_time_s=20.0, clock=clock)
    orders = Counter(map(tuple, course.order.tolist()))
    assert len(orders) == 24
    assert max(orders.values()) < 6 * min(orders.values())
    assert (np.sort(course.order, axis=1) == np.arange(4)).all()


def test_the_same_seed_is_the_same_order():
    clocks = FakeClock(), FakeClock()
    one, two = (run(four(clock), max_time_s=5.0, seed=3, clock=clock) for clock in clocks)
    other_clock = FakeClock()
    other = run(four(other_clock), max_time_s=5.0, seed=4, clock=other_clock)
    assert (one.order == two.order).all()
    assert (one.order[:20] != other.order[:20]).any()


def test_it_ends_when_the_time_is_up():
    clock = FakeClock()
    course = run(four(clock, 1.0, 1.0), max_time_s=30.0, clock=clock)
    assert course.look.outcome == "cannot_tell"
    assert 25.0 <= course.wall_s <= 30.0 + 4.5
    assert len(course.times_s) >= 3


def test_slow_models_that_differ_plainly_are_told_from_few_rounds():
    clock = FakeClock()
    course = run(four(clock, 0.5, 0.2), max_time_s=30.0, clock=clock)
    assert course.look.outcome == "faster"


def test_a_stop_ends_it_and_keeps_what_was_measured():
    clock, stop = FakeClock(), Stop()
    subjects = four(clock, 0.001, 0.0007)
    subjects[3].before = lambda: stop.cancel() if subjects[3].runs == 30 else None
    course = run(subjects, max_time_s=20.0, stop=stop, clock=clock)
    assert course.stopped
    assert course.look.outcome == "cannot_tell"
    assert 0 < len(course.times_s) < 40


def test_an_interrupt_ends_it_and_keeps_what_was_measured():
    clock = FakeClock()
    subjects = four(clock)
    subjects[0].error = KeyboardInterrupt()
    subjects[0].takes_s = chain([0.001] * 60, [None], repeat(0.001))
    course = run(subjects, max_time_s=20.0, clock=clock)
    assert course.stopped
    assert course.problem is None
    assert len(course.times_s) > 0


def test_an_interrupt_before_anything_was_measured_is_no_error_either():
    clock = FakeClock()
    subjects = four(clock)
    subjects[0].takes_s, subjects[0].error = repeat(None), KeyboardInterrupt()
    course = run(subjects, max_time_s=20.0, clock=clock)
    assert course.stopped
    assert course.times_s.shape == (0, 4)
    assert course.look.outcome == "cannot_tell"


def test_a_model_that_fails_in_the_middle_keeps_what_was_measured():
    clock = FakeClock()
    subjects = four(clock)
    subjects[2].takes_s = chain([0.001] * 60, repeat(None))
    subjects[2].error = InferenceError("b", "a node broke", "")
    course = run(subjects, max_time_s=20.0, clock=clock)
    assert course.problem is subjects[2].error
    assert course.look.outcome == "cannot_tell"
    assert len(course.times_s) > 10


def test_a_model_that_fails_at_once_is_an_error():
    clock = FakeClock()
    subjects = four(clock)
    subjects[2].takes_s, subjects[2].error = repeat(None), InferenceError("b", "a node broke", "")
    with pytest.raises(InferenceError, match="a node broke"):
        run(subjects, max_time_s=20.0, clock=clock)


@pytest.mark.parametrize("bad", [nan, inf, -0.0004, 0.0], ids=str)
def test_a_run_without_a_usable_time_is_left_out_and_told(bad):
    clock = FakeClock()
    subjects = four(clock, 0.001, 0.0007)
    good = subjects[1].takes_s
    subjects[1].takes_s = (bad if n % 7 == 0 else next(good) for n in count())
    course = run(subjects, max_time_s=20.0, clock=clock)
    assert course.look.outcome == "faster"
    dropped = int(np.isnan(course.times_s).sum())
    assert dropped > 0
    assert any(f"{dropped} runs of" in note and "left out" in note for note in course.notes)
    assert np.nanmin(course.times_s) > 0


def test_a_clock_without_any_usable_time_cannot_tell_and_ends():
    clock = FakeClock()
    subjects = [FakeSubject(n, clock, repeat(nan)) for n in "aabb"]
    course = run(subjects, max_time_s=0.002, clock=clock)
    assert course.look.outcome == "cannot_tell"


def test_a_coarse_clock_is_told():
    clock = FakeClock(step_s=1e-4)
    course = run(four(clock), max_time_s=5.0, clock=clock)
    assert any("The clock moves in steps of 100 µs" in note for note in course.notes)


def test_times_that_do_not_settle_are_told():
    clock = FakeClock()
    subjects = four(clock)
    for subject in subjects[:2]:
        subject.takes_s = (0.001 * 1.2**n for n in chain(range(70), repeat(0)))
    course = run(subjects, max_time_s=5.0, clock=clock)
    told = [note for note in course.notes if note.startswith("a did not settle within")]
    assert len(told) == 1  # once, though a model has two sessions


def test_a_processor_that_changes_its_pace_is_told():
    clock = FakeClock()
    subjects = four(clock)

    def slower() -> None:
        clock.step_s = 2e-7

    subjects[0].before = slower
    course = run(subjects, max_time_s=5.0, clock=clock)
    assert course.canary.drift == pytest.approx(1.0, rel=0.01)
    assert any("The processor was 100 % slower after" in note for note in course.notes)


@pytest.mark.parametrize(
    "noise",
    [REALISTIC, Noise(independent=0.002, placement=0.005)],
    ids=["drift, bursts and two modes", "quiet, but sessions differ"],
)
def test_of_60_whole_comparisons_of_a_model_with_itself_at_most_5_percent_claim_more(noise):
    outcomes = [raced(1.0, noise, seed).look.outcome for seed in range(60)]
    assert sum(outcome != "cannot_tell" for outcome in outcomes) <= ERROR * 60


def test_whole_comparisons_find_5_percent_in_independent_noise_and_more_in_a_bad_one():
    found = [raced(ratio, INDEPENDENT, 7 + i).look.outcome for i, ratio in enumerate([1.05] * 40)]
    assert found.count("slower") >= 0.95 * 40
    bad = [raced(0.5, REALISTIC, seed).look.outcome for seed in range(20)]
    assert bad.count("faster") >= 0.95 * 20


def test_the_host_of_these_comparisons_deceives_one_block_after_the_other():
    """The check of the check: the noise is there, so that it takes the order to see through it."""
    medians = []
    for seed in range(30):
        course = raced(1.0, REALISTIC, seed)
        half = len(course.times_s) // 2
        first, second = course.times_s[:half, 0], course.times_s[half:, 0]
        medians.append(np.log(np.median(second) / np.median(first)))
    assert np.mean(np.abs(medians) > 0.05) > 0.5
