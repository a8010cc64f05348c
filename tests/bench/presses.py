"""Somebody who ends a measurement in its middle: with Ctrl-C, or with a stop.

What is asked for comes after so many runs, not after so many seconds: a slow machine changes
nothing but how long the test takes. What a run is told of is the order of events; how many
milliseconds it takes to come back is measured by benchmarks/interrupt.py.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.bench.subject import ModelSubject

if TYPE_CHECKING:
    import pytest

#: Longest that anything may take to come back, in seconds: far less than what it would take
#: otherwise, and far more than a busy machine needs.
BACK_S = 25.0


@dataclass
class Presser:
    """Does ``act`` once, from a thread of its own, when told to; counts what begins afterwards.

    Attributes
    ----------
    done_s : when ``act`` had returned, on ``time.perf_counter``
    begun_after : runs that began after that
    pressed : whether it was told to act
    """

    act: Callable[[], None]
    done_s: float = 0.0
    begun_after: int = 0
    pressed: bool = False
    _done: threading.Event = field(default_factory=threading.Event)

    def soon(self, after_s: float = 0.02) -> None:
        """Act in a moment: by then the run that began just now is in the engine."""
        self.pressed = True
        threading.Timer(after_s, self._go).start()

    def _go(self) -> None:
        self.act()
        self.done_s = time.perf_counter()
        self._done.set()

    def run_begins(self) -> None:
        """Count a run that begins."""
        self.begun_after += self._done.is_set()

    def check_that_it_ended_there(self, most: int = 2) -> None:
        """Check that it was pressed, that hardly a run began after it, and that it came back.

        The signal is the main thread's as soon as it is sent, but the thread may be about to begin
        a run; so it is a few, and not none.
        """
        back_s = time.perf_counter()
        assert self.pressed, "it ended before it was asked to"
        assert self._done.wait(60)  # it may be back before the other thread is
        assert back_s - self.done_s < BACK_S
        assert self.begun_after <= most


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def after_runs(
    runs: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None] = interrupt
) -> Presser:
    """Act while the run after so many runs of any model is under way."""
    presser = Presser(act)
    left = iter(range(runs, -10_000_000, -1))
    real = ModelSubject.run

    def run(self: ModelSubject) -> tuple[float, ...]:
        if next(left) == 0:
            presser.soon()
        presser.run_begins()
        return real(self)

    monkeypatch.setattr(ModelSubject, "run", run)
    return presser
