"""Deadlines, cancelling, and the watchdog."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from math import inf, nan

import pytest

from workbench import stopping
from workbench.errors import CancelledError, ConfigError, InferenceTimeoutError
from workbench.stopping import Guard, Stop, Watchdog
from workbench.timing import clock

posix = pytest.mark.skipif(os.name != "posix", reason="platform: signals and forks of POSIX")


def test_a_stop_without_a_limit_never_expires():
    stop = Stop()
    assert stop.remaining_s == inf
    assert not stop.expired
    assert not stop.cancelled
    stop.check()


def test_a_stop_expires_at_its_deadline():
    assert 0 < Stop(timeout_s=3600).remaining_s <= 3600
    stop = Stop(timeout_s=0.02)
    assert stop.remaining_s <= 0.02
    assert not stop.wait(1.0), "waiting ends at the deadline, and says that nobody cancelled"
    assert stop.expired
    assert stop.remaining_s == 0.0
    with pytest.raises(InferenceTimeoutError, match=r"^The evaluation did not end within 20.0 ms "):
        stop.check("The evaluation")


@pytest.mark.parametrize("timeout_s", [0, -1.0, nan, "5", [5], 10**400])
def test_a_limit_must_be_positive(timeout_s):
    with pytest.raises(ConfigError, match="expected a positive number of seconds, or None"):
        Stop(timeout_s=timeout_s)


def test_cancelling_is_seen_by_whoever_checks_or_waits():
    stop = Stop()
    threading.Timer(0.01, stop.cancel).start()
    assert stop.wait(60.0)
    assert stop.cancelled
    with pytest.raises(CancelledError, match=r"^The copy was stopped on request\."):
        stop.check("The copy")


def test_cancelling_acts_once_on_what_is_under_way_and_never_on_what_is_over():
    stop, told = Stop(), []
    with stop.acting(lambda: told.append("over")):
        pass
    with stop.acting(lambda: told.append("under way")):
        stop.cancel()
        stop.cancel()
    assert told == ["under way"]


def test_what_begins_after_cancelling_is_told_at_once():
    stop, told = Stop(), []
    stop.cancel()
    with stop.acting(lambda: told.append("late")):
        assert told == ["late"]


def test_acting_lets_go_even_when_the_work_fails():
    stop, told = Stop(), []
    with pytest.raises(ValueError, match="broken"), stop.acting(lambda: told.append("x")):
        raise ValueError("broken")
    stop.cancel()
    assert told == []


# ── the watchdog ──────────────────────────────────────────────────────────────────────────────


def test_the_watchdog_ends_a_run_at_its_deadline():
    dog, ended = Watchdog(), threading.Event()
    begin = clock()
    guard = dog.begin(Guard(ended.set), begin + 0.05)
    assert ended.wait(60.0)
    assert clock() - begin >= 0.05
    dog.end(guard)
    assert guard.fired == "timeout"


def test_the_watchdog_leaves_a_run_alone_that_ends_in_time():
    dog, ended, later = Watchdog(), threading.Event(), threading.Event()
    guard = dog.begin(Guard(ended.set), clock() + 3600)
    dog.end(guard)
    guard.deadline_s = clock() - 1  # its deadline passes
    after = dog.begin(Guard(later.set), clock() + 0.01)
    assert later.wait(60.0)
    dog.end(after)
    assert not ended.is_set()
    assert guard.fired == ""


def test_a_limit_beyond_what_the_platform_can_sleep_does_no_harm():
    dog, ended = Watchdog(), threading.Event()
    never = dog.begin(Guard(lambda: None), clock() + 1e300)
    time.sleep(0.05)  # it sleeps towards that
    soon = dog.begin(Guard(ended.set), clock() + 0.02)
    assert ended.wait(60.0)
    dog.end(soon)
    dog.end(never)
    stop = Stop(timeout_s=1e300)
    threading.Timer(0.01, stop.cancel).start()
    assert stop.wait(1e300)


@posix
def test_a_process_with_more_than_a_thousand_descriptors_has_a_watchdog_too():
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1200:
        pytest.skip("platform: fewer than 1,200 descriptors are allowed")
    with contextlib.ExitStack() as files:
        for _ in range(1100):
            files.enter_context(open(os.devnull, "rb"))  # noqa: PTH123
        dog, ended = Watchdog(), threading.Event()
        guard = dog.begin(Guard(ended.set), clock() + 0.02)
        assert ended.wait(60.0)
        dog.end(guard)


def test_the_earlier_deadline_wakes_it_first():
    dog, ended = Watchdog(), threading.Event()
    slow = dog.begin(Guard(lambda: None), clock() + 3600)
    time.sleep(0.05)  # it sleeps towards that
    fast = dog.begin(Guard(ended.set), clock() + 0.03)
    assert ended.wait(60.0)
    dog.end(fast)
    dog.end(slow)
    assert (fast.fired, slow.fired) == ("timeout", "")


def test_one_run_whose_end_fails_does_not_take_the_watchdog_with_it(caplog):
    dog, ended = Watchdog(), threading.Event()

    def fail():
        raise RuntimeError("no")

    first = dog.begin(Guard(fail), clock() + 0.01)
    second = dog.begin(Guard(ended.set), clock() + 0.05)
    assert ended.wait(60.0)
    dog.end(first)
    dog.end(second)
    assert "Ending a run at its timeout failed." in caplog.text


def test_many_threads_share_one_watchdog():
    dog, ended = Watchdog(), []

    def work(number: int) -> None:
        over = threading.Event()
        guard = dog.begin(Guard(over.set), clock() + 0.02 + 0.001 * number)
        if over.wait(60.0):
            ended.append(number)
        dog.end(guard)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == list(range(20))


@posix
def test_the_wakeup_of_others_is_put_back():
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    try:
        dog = Watchdog()
        outer = dog.begin(Guard(lambda: None), inf)
        inner = dog.begin(Guard(lambda: None), inf)
        dog.end(inner)
        taken = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(taken, warn_on_full_buffer=False)
        assert taken not in (-1, mouth), "the outer run is still looked after"
        dog.end(outer)
        assert signal.set_wakeup_fd(before) == mouth
    finally:
        signal.set_wakeup_fd(before)
        os.close(ear)
        os.close(mouth)


def run_python(code: str) -> str:
    """Run code in a fresh interpreter, away from pytest's own handlers; return what it prints."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@posix
def test_the_interrupt_reaches_a_run_while_the_main_thread_is_in_native_code():
    # A main thread in native code runs no handler of Python's, so it has to be told by another.
    said = run_python("""
        import os, signal, threading, time
        from math import inf
        from workbench.stopping import Guard, watchdog
        handled, ended = [], []
        signal.signal(signal.SIGINT, lambda *_: handled.append(1))
        def act():
            ended.append((threading.current_thread().name, len(handled)))
        guard = watchdog.begin(Guard(act), inf)
        os.kill(os.getpid(), signal.SIGINT)
        end = time.monotonic() + 60
        while not ended and time.monotonic() < end:
            time.sleep(0.01)
        watchdog.end(guard)
        print(guard.fired, ended[0][0], handled)
    """)
    assert said == "interrupt workbench-watchdog [1]"


@posix
def test_a_run_whose_end_is_never_told_costs_later_runs_nothing():
    # As after an interrupt that comes between the run and the telling.
    said = run_python("""
        import os, signal, threading
        from math import inf
        from workbench.stopping import Guard, watchdog
        signal.signal(signal.SIGINT, lambda *_: None)
        lost = watchdog.begin(Guard(lambda: None), inf)
        del lost
        print(len(watchdog.guards()))
        signal.set_wakeup_fd(-1)  # as an event loop does when it ends
        told = threading.Event()
        guard = watchdog.begin(Guard(told.set), inf)
        os.kill(os.getpid(), signal.SIGINT)
        print(told.wait(60), guard.fired)
        watchdog.end(guard)
    """)
    assert said.split() == ["0", "True", "interrupt"]


@posix
def test_the_interrupt_leaves_runs_of_other_threads_alone():
    said = run_python("""
        import os, signal, threading, time
        from math import inf
        from workbench.stopping import Guard, watchdog
        signal.signal(signal.SIGINT, lambda *_: None)
        begun, over, guards = threading.Event(), threading.Event(), []
        def work():
            guards.append(watchdog.begin(Guard(lambda: None), inf))
            begun.set(); over.wait(60)
            watchdog.end(guards[0])
        thread = threading.Thread(target=work); thread.start(); begun.wait(60)
        told = threading.Event()
        mine = watchdog.begin(Guard(told.set), inf)
        os.kill(os.getpid(), signal.SIGINT)
        told.wait(60); watchdog.end(mine); over.set(); thread.join()
        print(mine.fired, repr(guards[0].fired))
    """)
    assert said == "interrupt ''"


@posix
def test_an_event_loop_that_waits_for_signals_still_gets_them():
    said = run_python("""
        import os, select, signal, threading
        from math import inf
        from workbench.stopping import Guard, watchdog
        told = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        signal.set_wakeup_fd(mouth)
        guard = watchdog.begin(Guard(told.set), inf)
        got = b""
        for number in (signal.SIGUSR1, signal.SIGINT):
            os.kill(os.getpid(), number)
            select.select([ear], [], [], 60)
            got += os.read(ear, 10)
        told.wait(60); watchdog.end(guard)
        print(got == bytes([signal.SIGUSR1, signal.SIGINT]), guard.fired)
        print(signal.set_wakeup_fd(-1) == mouth)
    """)
    assert said.split() == ["True", "interrupt", "True"]


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_has_a_watchdog_of_its_own():
    dog = stopping.watchdog
    kept = dog.begin(
        Guard(lambda: None), clock() + 60
    )  # its thread runs now, and will not be in the child
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ended = threading.Event()
            guard = dog.begin(Guard(ended.set), clock() + 0.02)
            fine = ended.wait(60) and guard.fired == "timeout"
            dog.end(guard)
            fine = fine and signal.set_wakeup_fd(-1) == -1
            code = 0 if fine else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 120
    status = None
    while status is None and time.monotonic() < deadline:
        done, answer = os.waitpid(child, os.WNOHANG)
        status = answer if done else None
        time.sleep(0.01)
    dog.end(kept)
    assert status == 0


def test_looking_after_a_run_starts_no_thread_of_its_own():
    dog = Watchdog()
    dog.end(dog.begin(Guard(lambda: None), inf))
    before = set(threading.enumerate())
    for _ in range(100):
        dog.end(dog.begin(Guard(lambda: None), clock() + 60))
    assert not set(threading.enumerate()) - before
