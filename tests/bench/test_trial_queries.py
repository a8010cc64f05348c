"""Queries: when they are sent, what their latency counts from, and the highest rate."""

from __future__ import annotations

import os
import signal
import threading
import time
from math import nan

import numpy as np
import pytest

from workbench.bench import trial as trial_
from workbench.bench.trial import (
    Trial,
    all_at_once,
    arrivals,
    arriving,
    highest_rate,
    one_after_the_other,
)
from workbench.errors import CancelledError, InferenceError, InferenceTimeoutError
from workbench.stopping import Stop


def queue(rate: float, service_s: float, queries: int, seed: int) -> Trial:
    """Answer Poisson arrivals one at a time, each in the same time: M/D/1, by Lindley's rule."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, queries)
    wait, latencies = 0.0, np.empty(queries)
    for n, gap in enumerate(gaps):
        wait = max(0.0, wait + service_s - gap) if n else 0.0
        latencies[n] = wait + service_s
    return Trial(latency_s=latencies, wall_s=float(gaps.sum()), rate=rate)


def test_the_highest_rate_keeps_the_bound_and_a_higher_one_does_not():
    service_s, bound_s = 0.010, 0.030
    seeds = iter(range(100))
    found, trials, whole = highest_rate(
        lambda rate: queue(rate, service_s, 20_000, next(seeds)), 1 / service_s, bound_s
    )
    assert whole
    assert len({t.rate for t in trials}) == 7
    assert len(trials) == 7 + sum(not t.meets(bound_s) for t in trials) // 2
    assert queue(0.95 * found, service_s, 200_000, 1).meets(bound_s)
    assert not queue(1.1 * found, service_s, 200_000, 1).meets(bound_s)


def test_a_bound_below_the_time_of_one_answer_is_met_by_no_rate():
    found, trials, _ = highest_rate(lambda rate: queue(rate, 0.01, 2000, 0), 100.0, 0.005)
    assert found == 0.0
    assert not any(t.meets(0.005) for t in trials)


def test_a_bound_that_nothing_exceeds_is_met_up_to_the_capacity():
    found, _, _ = highest_rate(lambda rate: queue(rate, 0.01, 2000, 0), 100.0, 1e9)
    assert found > 98


def test_one_burst_does_not_end_a_rate():
    burst = iter([True] + [False] * 100)

    def trial(rate: float) -> Trial:
        return queue(rate, 10.0 if next(burst) else 0.001, 1000, 0)

    found, trials, whole = highest_rate(trial, 100.0, 1.0)
    assert whole
    assert found > 98
    assert [t.meets(1.0) for t in trials] == [False] + [True] * 7


def test_a_search_without_time_says_that_it_is_not_whole():
    left = iter([True, True, False])
    found, trials, whole = highest_rate(
        lambda rate: queue(rate, 0.001, 1000, 0), 100.0, 1.0, time_for=lambda _rate: next(left)
    )
    assert not whole
    assert len(trials) == 2
    assert found == 75


def test_p99_of_too_few_queries_meets_nothing():
    few = Trial(latency_s=np.full(299, 0.001), wall_s=1.0)
    assert not few.meets(1.0)
    assert Trial(latency_s=np.full(300, 0.001), wall_s=1.0).meets(1.0)


def test_arrivals_are_those_of_a_poisson_process():
    due = arrivals(200.0, 50.0, np.random.default_rng(0))
    gaps = np.diff(due)
    assert len(due) == 10_000
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as an exponential's
    assert len(arrivals(1.0, 1.0, np.random.default_rng(0))) == 300


def test_a_latency_counts_from_when_the_query_was_due():
    """One answer that takes long delays those behind it: that is theirs as well."""
    main, begun, ended = threading.current_thread(), [], []

    def clock() -> float:
        """Tell the time, and keep what was told: of the begin, and of each answer."""
        now = time.perf_counter()
        if threading.current_thread() is not main:
            ended.append(now)
        elif len(begun) < 2:  # before the workers are started, and after
            begun.append(now)
        return now

    first = threading.Event()

    def answer(_number: int) -> None:
        if not first.is_set():
            first.set()
            time.sleep(0.2)

    due = np.linspace(0.0, 0.1, 20)
    trial = arriving(answer, due, workers=1, stop=None, clock=clock)
    assert len(trial.latency_s) == 20
    assert trial.latency_s == pytest.approx(np.array(ended) - begun[1] - due, abs=1e-9)
    assert trial.latency_s.min() > 0.09
    assert trial.latency_s.max() >= 0.2


def test_queries_are_sent_when_they_are_due(monkeypatch):
    """On a clock that sleeping alone moves, and that waits for what was sent to be answered."""
    now, begun_s = [100.0], 100.0
    due = np.array([0.05, 0.15, 0.35])
    sent: list[float] = []

    def sleep(seconds: float) -> None:
        wanted, end = int((begun_s + due <= now[0]).sum()), time.monotonic() + 60
        while len(sent) < wanted and time.monotonic() < end:
            time.sleep(0.001)
        now[0] += max(seconds, 1e-5)

    monkeypatch.setattr(trial_, "sleep", sleep)
    arriving(lambda _n: sent.append(now[0]), due, workers=2, stop=None, clock=lambda: now[0])
    late_s = np.array(sent) - begun_s - due
    assert (late_s >= 0).all()
    assert late_s.max() < 0.001


def test_workers_answer_at_the_same_time():
    together = threading.Barrier(4)  # it takes four that wait for each other
    trial = all_at_once(lambda _n: together.wait(60), 8, workers=4, stop=None)
    assert len(trial.latency_s) == 8
    assert np.isnan(trial.rate)
    assert trial.queries_per_s == 8 / trial.wall_s


def test_each_worker_has_a_number_of_its_own():
    seen: list[int] = []
    together = threading.Barrier(3)

    def answer(number: int) -> None:
        seen.append(number)
        together.wait(60)

    all_at_once(answer, 3, workers=3, stop=None)
    assert sorted(seen) == [0, 1, 2]


def working() -> list[str]:
    """Return the names of the workers that there are."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("workbench-bench")]


def test_a_failure_of_a_worker_ends_the_trial_and_is_raised():
    problem = InferenceError("m", "a node broke", "")

    def answer(_number: int) -> None:
        assert len(working()) == 2
        raise problem

    begun = time.perf_counter()
    with pytest.raises(InferenceError, match="a node broke"):
        arriving(answer, np.linspace(0, 300.0, 1000), workers=2, stop=None)
    assert time.perf_counter() - begun < 60
    assert working() == []


def test_the_interrupt_halts_the_answers_under_way():
    halted, held = threading.Event(), threading.Barrier(2)
    before = set(threading.enumerate())
    begun = time.perf_counter()
    first = iter([True, True])

    def answer(_number: int) -> None:
        if not next(first, False):
            if held.wait(30) == 0:  # both are under way, and the two before are answered
                os.kill(os.getpid(), signal.SIGINT)
            halted.wait(30)
            raise CancelledError("The run")

    trial = all_at_once(answer, 4, workers=2, stop=None, halt=halted.set)
    assert trial.stopped
    assert len(trial.latency_s) == 2
    assert time.perf_counter() - begun < 20  # and not the 30 s that an answer would wait
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("at_once", [False, True], ids=["as they arrive", "all at once"])
def test_a_stop_ends_it_and_keeps_what_was_answered(at_once):
    stop, answered = Stop(), iter(range(10_000))

    def answer(_number: int) -> None:
        if next(answered) == 9:
            stop.cancel()
        if stop.cancelled:
            time.sleep(0.1)  # the trial ends long before all are answered

    if at_once:
        trial = all_at_once(answer, 10_000, workers=2, stop=stop)
    else:
        trial = arriving(answer, np.linspace(0, 600.0, 60_000), workers=1, stop=stop)
    assert trial.stopped
    assert 10 <= len(trial.latency_s) < 100


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CancelledError("The run")], ids=repr)
def test_what_was_answered_one_after_the_other_before_a_stop_is_kept(error):
    turns = iter([None] * 7 + [error])

    def answer(_number: int) -> None:
        if (raised := next(turns)) is not None:
            raise raised

    trial = one_after_the_other(answer, min_time_s=60.0, most=100, stop=None)
    assert len(trial.latency_s) == 7
    assert trial.stopped
    assert not Trial(latency_s=np.full(300, 0.001), wall_s=1.0, stopped=True).meets(1.0)


def test_a_run_that_takes_too_long_is_a_failure_and_no_stop():
    def answer(_number: int) -> None:
        raise InferenceTimeoutError("m", 1.0)

    with pytest.raises(InferenceTimeoutError):
        one_after_the_other(answer, min_time_s=1.0, most=100, stop=Stop())
    with pytest.raises(InferenceTimeoutError):
        all_at_once(answer, 4, workers=2, stop=Stop())


def test_one_after_the_other_takes_its_time_and_its_fewest():
    now = [0.0]

    def answer(_number: int) -> None:
        now[0] += 0.1

    def clock() -> float:
        return now[0]

    def asked(**times: float) -> int:
        now[0] = 0.0
        options = {"min_time_s": 1.0, "most": 1000, "stop": None, "clock": clock}
        return len(one_after_the_other(answer, **{**options, **times}).latency_s)

    assert asked() in (10, 11)
    assert asked(fewest=30) == 30
    assert asked(most=5) == 5
    assert asked(fewest=300, max_time_s=2.0) in (20, 21)
    assert asked(max_time_s=0.01) == 1


def test_nothing_has_no_rate():
    nothing = Trial(latency_s=np.array([]), wall_s=0.0)
    assert np.isnan(nothing.queries_per_s)
    assert nothing.samples.n == 0
    assert nan != nothing.rate
