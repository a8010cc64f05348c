"""Subjects that take what they are told to, on a clock that only they move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.errors import WorkbenchError


@dataclass
class FakeClock:
    """A clock that moves by a little at each reading, and by what is run."""

    now: float = 100.0
    step_s: float = 1e-7

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


@dataclass
class PatientClock:
    """The real clock, on which nothing takes longer than ``most_s``.

    A machine that was paused, or did something else for seconds, has not used up the time of a
    measurement.
    """

    most_s: float = 0.02
    now: float = 100.0
    last: float = field(default_factory=time.perf_counter)

    def __call__(self) -> float:
        read = time.perf_counter()
        self.now += min(read - self.last, self.most_s)
        self.last = read
        return self.now


@dataclass
class FakeSubject:
    """Takes the next of ``takes_s`` seconds; None raises ``error``; a callable is called first."""

    name: str
    clock: FakeClock
    takes_s: Iterator[float | None] = field(default_factory=lambda: repeat(0.001))
    error: WorkbenchError | BaseException | None = None
    before: Callable[[], None] | None = None
    runs: int = 0

    def run(self) -> tuple[float, ...]:
        if self.before is not None:
            self.before()
        took = next(self.takes_s)
        if took is None:
            assert self.error is not None
            raise self.error
        self.runs += 1
        if isfinite(took) and took > 0:
            self.clock.now += took
        return (took,)
