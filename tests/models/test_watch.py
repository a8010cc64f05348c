"""One watch over many runs: time limits, stops and interrupts, and what is as before afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from graphs import endless, means

from workbench import errors
from workbench.models.gate import examine
from workbench.models.session import Options, Session, open_session
from workbench.models.watch import Watch
from workbench.stopping import Stop, watchdog
from workbench.timing import clock

FEEDS = {"images": np.zeros((1, 3, 8, 8), np.float32)}


@pytest.fixture
def short(tmp_path: Path) -> Session:
    path = means(tmp_path / "short.onnx")
    return open_session(path, Options.of(1), examine(path), name="short")


@pytest.fixture
def long(tmp_path: Path) -> Session:
    path = endless(tmp_path / "long.onnx")
    return open_session(path, Options.of(1), examine(path), name="long")


def later(action) -> threading.Thread:
    """Act soon after a run has begun under a watch, and never before."""

    def wait_and_act() -> None:
        until(lambda: any(getattr(guard, "running", False) for guard in watchdog.guards()))
        time.sleep(0.1)
        action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def until(true) -> None:
    """Wait until something is true."""
    end_s = time.monotonic() + 60
    while not true() and time.monotonic() < end_s:
        time.sleep(0.005)
    assert true()


def limit_passes(watch: Watch) -> None:
    """Let the time limit of the last run pass, and the watchdog see it."""
    watchdog.end(watch)
    watchdog.begin(watch, clock())
    until(lambda: watch.fired == "timeout")


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_run_answers_as_without_a_watch_and_its_time_is_told(short):
    begun = time.perf_counter()
    with Watch(60.0) as watch:
        values, seconds = short.timed(FEEDS, None, watch)
    assert 0 < seconds < time.perf_counter() - begun
    assert (values[0] == short.run(FEEDS)[0]).all()
    assert short.first_run_s == seconds


def test_only_the_engines_own_call_is_timed(short):
    readings = iter([10.0, 10.5])
    with Watch(5.0) as watch:
        assert short.timed(FEEDS, None, watch, lambda: next(readings))[1] == 0.5


def test_a_run_ends_at_its_limit_and_the_next_goes_on(short, long):
    with Watch(0.5) as watch:  # ten thousand times what the short one takes
        for _ in range(2):
            begun = time.perf_counter()
            with pytest.raises(errors.InferenceTimeoutError, match="within 500 ms"):
                long.timed(FEEDS, None, watch)
            assert 0.5 <= time.perf_counter() - begun < 60
            assert short.timed(FEEDS, None, watch)[1] > 0


def test_a_limit_that_passes_between_two_runs_ends_none(short):
    with Watch(60.0) as watch:
        short.timed(FEEDS, None, watch)
        limit_passes(watch)
        assert short.timed(FEEDS, None, watch)[1] > 0


def test_many_runs_may_take_longer_than_the_limit_of_one(short):
    limits_s = []
    with Watch(60.0) as watch:
        for _ in range(200):
            before_s = watch.deadline_s
            short.timed(FEEDS, None, watch)
            limits_s.append(watch.deadline_s)
            assert watch.deadline_s > before_s
        assert watch.fired == ""
    assert limits_s == sorted(limits_s), "each run has the limit that begins with it"


def test_a_stop_ends_the_run_under_way_and_lets_no_other_begin(short, long):
    stop = Stop()
    timer = later(stop.cancel)
    with Watch(100.0, stop) as watch:
        with pytest.raises(errors.CancelledError):
            long.timed(FEEDS, None, watch)
        with pytest.raises(errors.CancelledError):
            short.timed(FEEDS, None, watch)
    timer.join()
    assert short.run(FEEDS)


def test_the_interrupt_ends_the_run_under_way(short, long):
    timer = later(press)
    with Watch(100.0) as watch, pytest.raises(KeyboardInterrupt):
        long.timed(FEEDS, None, watch)
    timer.join()
    assert short.run(FEEDS)


def test_an_interrupt_that_an_event_loop_took_is_not_lost(short, long):
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        timer = later(press)
        with Watch(100.0) as watch:
            with pytest.raises(KeyboardInterrupt):
                long.timed(FEEDS, None, watch)
            timer.join()
        with Watch(100.0) as watch:
            press()
            until(lambda: watch.fired)  # between two runs
            with pytest.raises(KeyboardInterrupt):
                short.timed(FEEDS, None, watch)
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_is_watched_any_more_afterwards(short):
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with Watch(60.0) as watch:
        short.timed(FEEDS, None, watch)
        limit_passes(watch)
        short.timed(FEEDS, None, watch)
        assert watch in watchdog.guards()
    assert watch not in watchdog.guards()
    assert signal.set_wakeup_fd(before) == before


def test_what_does_not_fit_and_what_is_closed_is_said(short):
    with Watch(5.0) as watch:
        with pytest.raises(errors.InputMismatchError):
            short.timed({"images": np.zeros((1, 3, 8), np.float32)}, None, watch)
        short.close()
        with pytest.raises(errors.WorkbenchError, match="is closed"):
            short.timed(FEEDS, None, watch)
    with pytest.raises(errors.ConfigError):
        Watch(-1.0)
