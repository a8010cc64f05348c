"""Queries and their latencies: sent one after the other, all at once, or as they arrive."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from time import sleep
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import CancelledError, InferenceTimeoutError
from workbench.timing import Samples, clock, needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.stopping import Stop

#: Percentile of the latency that a bound is put to.
TAIL = 0.99
#: Trials of the search for the highest rate, after which it is known to a few percent.
TRIALS = 7
#: Seconds by which a sleep is cut short, to wake in time for an arrival.
_EARLY_S = 0.0005

Clock = Callable[[], float]
#: Answers one query, on the session of the worker with this number.
Answer = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """Queries of one scenario.

    Attributes
    ----------
    latency_s : (queries,) seconds from when each was due to when it was answered
    wall_s : seconds from the first query to the last answer
    rate : queries a second that were sent (or asked for); nan where the next waited for the last
    stopped : whether someone stopped it before its end; what was answered until then is kept
    """

    latency_s: NDArray[np.float64]
    wall_s: float
    rate: float = nan
    stopped: bool = False

    @property
    def samples(self) -> Samples:
        """The latencies."""
        return Samples(tuple(self.latency_s.tolist()), "queries")

    @property
    def queries_per_s(self) -> float:
        """Queries that were answered in a second; nan for none."""
        return len(self.latency_s) / self.wall_s if self.wall_s > 0 else nan

    def meets(self, bound_s: float) -> bool:
        """Say whether p99 of the latency is within a bound, and known: from 300 queries on.

        A trial that was stopped meets none: the queries that were still to come are not known.
        """
        p99 = self.samples.percentile_s(TAIL)
        return not self.stopped and not isnan(p99) and p99 <= bound_s


def on_request(error: BaseException, stop: Stop | None) -> bool:
    """Say whether an error is how work ends that someone stopped, rather than a failure."""
    if isinstance(error, InferenceTimeoutError):  # of the run itself, unless the stop is over
        return stop is not None and stop.over
    return isinstance(error, (KeyboardInterrupt, CancelledError))


def one_after_the_other(
    answer: Answer,
    *,
    min_time_s: float,
    max_time_s: float = inf,
    fewest: int = 1,
    most: int,
    stop: Stop | None,
    clock: Clock = clock,
) -> Trial:
    """Send a query when the last is answered: for some seconds, and ``fewest`` to ``most``.

    After ``max_time_s`` it ends with fewer, but never with none. A stop or the keyboard interrupt
    ends it as well: what was answered is kept, and the trial is marked as stopped.
    """
    latencies: list[float] = []
    stopped = False
    begun = now = clock()
    try:
        while len(latencies) < most:
            enough = now - begun >= min_time_s and len(latencies) >= fewest
            late = now - begun >= max_time_s and latencies
            if enough or late:
                break
            if stop is not None and stop.over:
                stopped = True
                break
            sent = clock()
            answer(0)
            now = clock()
            latencies.append(now - sent)
    except (KeyboardInterrupt, CancelledError, InferenceTimeoutError) as error:
        if not on_request(error, stop):
            raise
        stopped = True
    return Trial(latency_s=np.array(latencies), wall_s=now - begun, stopped=stopped)


def all_at_once(
    answer: Answer,
    queries: int,
    *,
    workers: int,
    stop: Stop | None,
    halt: Callable[[], None] | None = None,
    clock: Clock = clock,
) -> Trial:
    """Let the workers answer so many queries, all of which are due at the beginning."""
    due = np.zeros(queries)
    return arriving(answer, due, workers=workers, stop=stop, halt=halt, clock=clock)


def arrivals(rate: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return when queries of a Poisson process are due: seconds from the beginning, rising.

    At least as many as p99 takes (300), so that a slow rate takes longer than ``seconds``.
    """
    queries = max(needed(TAIL), round(rate * seconds))
    return np.cumsum(rng.exponential(1 / rate, queries))


def arriving(
    answer: Answer,
    due_s: NDArray[np.float64],
    *,
    workers: int,
    stop: Stop | None,
    halt: Callable[[], None] | None = None,
    clock: Clock = clock,
) -> Trial:
    """Send queries when they are due, whether the last are answered or not.

    First come, first served. A latency counts from when its query was due, not from when
    somebody had time for it.

    ``halt`` ends the answers under way; it is called when the keyboard interrupt comes. That, or
    a stop, ends the trial: what was answered is kept, and it is marked as stopped.

    Raises
    ------
    WorkbenchError : a worker failed; the others end as well
    """
    waiting: deque[float] = deque()
    latencies: list[float] = []
    problems: list[BaseException] = []
    there, over = threading.Semaphore(0), threading.Event()

    def work(number: int) -> None:
        while True:
            there.acquire()
            if over.is_set():
                return
            try:
                due = waiting.popleft()
            except IndexError:  # the end
                return
            try:
                answer(number)
            except BaseException as error:  # noqa: BLE001  (raised again by whoever waits)
                problems.append(error)
                over.set()
                return
            latencies.append(clock() - due)

    threads = [
        threading.Thread(target=work, args=(n,), name=f"workbench-bench-{n}", daemon=True)
        for n in range(workers)
    ]
    stopped, begun = False, clock()
    try:
        for thread in threads:
            thread.start()
        begun = clock()
        for due in due_s.tolist():
            while (left := begun + due - clock()) > 0 and not over.is_set():
                sleep(max(0.0, left - _EARLY_S) if left > 2 * _EARLY_S else 0)
            if over.is_set():
                break
            if stop is not None and stop.over:
                stopped = True
                break
            waiting.append(begun + due)
            there.release()
        else:
            stopped = not _drain(waiting, latencies, len(due_s), over, stop)
    except BaseException as error:
        if halt is not None:
            halt()
        if not on_request(error, stop):
            raise
        stopped = True
    finally:
        waiting.clear() if stop is not None and stop.over else None
        over.set()
        for _ in threads:
            there.release()
        for thread in filter(lambda thread: thread.ident is not None, threads):  # was it started?
            thread.join()
    ended = clock()
    for problem in problems:
        if not on_request(problem, stop):
            raise problem
    rate = len(due_s) / float(due_s[-1]) if len(due_s) and due_s[-1] > 0 else nan
    return Trial(
        latency_s=np.array(latencies), wall_s=ended - begun, rate=rate,
        stopped=stopped or bool(problems),
    )  # fmt: skip


def _drain(
    waiting: deque[float],
    latencies: Sequence[float],
    queries: int,
    over: threading.Event,
    stop: Stop | None,
) -> bool:
    """Wait until all are answered or something failed; False where someone asked to stop."""
    while len(latencies) < queries and not over.is_set():
        if stop is not None and stop.over:
            waiting.clear()
            return False
        sleep(0.0002)
    return True


def highest_rate(
    trial: Callable[[float], Trial],
    capacity: float,
    bound_s: float,
    *,
    trials: int = TRIALS,
    time_for: Callable[[float], bool] = lambda _rate: True,
) -> tuple[float, list[Trial], bool]:
    """Find the highest rate whose trial meets a bound, by bisection below the capacity.

    A rate that misses the bound is tried once more before it counts as missed.

    Parameters
    ----------
    trial : sends queries at a rate (a second) and tells how it went
    capacity : queries a second that the workers can answer at all
    bound_s : of p99 of the latency
    trials : rates that are tried
    time_for : says whether there is time to try a rate; the search ends where there is none

    Returns
    -------
    the highest rate that met the bound (0.0 where none did), all trials, and whether the search
    was whole; a trial that was stopped ends the search and is kept
    """
    low, high = 0.0, capacity
    found = 0.0
    done: list[Trial] = []
    for _ in range(trials):
        rate = (low + high) / 2
        if not time_for(rate):
            return found, done, False
        told = trial(rate)
        done.append(told)
        if not (told.stopped or told.meets(bound_s)) and time_for(rate):
            told = trial(rate)  # a burst of the host is not the model's
            done.append(told)
        if told.stopped:
            return found, done, False
        if told.meets(bound_s):
            low = found = rate
        else:
            high = rate
    return found, done, True
