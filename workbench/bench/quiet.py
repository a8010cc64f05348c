"""Quiet while something is measured: no other runs of the hub, no garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite, nan
from statistics import median
from typing import TYPE_CHECKING

from workbench.host import host
from workbench.timing import Samples, clock, settled
from workbench.units import count, seconds

if TYPE_CHECKING:
    from workbench.bench.subject import Clock, Subject
    from workbench.models.hub import ModelHub
    from workbench.stopping import Stop

#: Most runs of a warm-up, and fewest seconds that it may take before it is given up.
WARM_UP_RUNS = 60
#: A run shorter than so many steps of the clock is measured too coarsely to be compared.
STEPS = 100
_READINGS = 1000


@contextmanager
def quiet(hub: ModelHub) -> Iterator[None]:
    """Hold other leases of a hub and the garbage collector back for a ``with`` block.

    Both are let go again however the block ends. Waits for runs under way, at most as long as
    the hub lets one take.

    Raises
    ------
    InferenceTimeoutError : the runs under way did not end
    """
    with hub.exclusive(timeout_s=hub.timeout_s):
        gc.collect()
        was = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was:
                gc.enable()


def settle(
    subject: Subject, *, most_s: float, stop: Stop | None, clock: Clock = clock
) -> tuple[Samples, int | None]:
    """Run a subject until its times settle; return them, and from which run on they had.

    At most :data:`WARM_UP_RUNS` runs and ``most_s`` seconds, and at least two runs.
    """
    values: list[float] = []
    at: int | None = None
    end_s = clock() + most_s
    while len(values) < WARM_UP_RUNS and at is None and (len(values) < 2 or clock() < end_s):
        if stop is not None:
            stop.check(subject.name)
        value = subject.run()[0]
        values.append(value if usable(value) else nan)
        at = settled([v for v in values if usable(v)])
    return Samples(tuple(values), subject.name), at


def usable(value_s: float) -> bool:
    """Say whether a clock's answer can be a duration: a finite number above 0."""
    return isfinite(value_s) and value_s > 0


def step_of(clock: Clock = clock) -> float:
    """Return the smallest step by which a clock was seen to move, in seconds; nan for none."""
    steps = []
    last = clock()
    for _ in range(_READINGS):
        now = clock()
        if usable(now - last):
            steps.append(now - last)
        last = now
    return min(steps, default=nan)


def coarse(step_s: float, shortest_s: float) -> tuple[str, ...]:
    """Say in words that a clock is too coarse for runs of this length, where it is."""
    if not (usable(step_s) and usable(shortest_s)) or shortest_s >= STEPS * step_s:
        return ()
    note = (
        f"The clock moves in steps of {seconds(step_s)}, and a run takes {seconds(shortest_s)}: "
        "the times are coarse. Measure larger batches."
    )
    return (note,)


def neighbours(hub: ModelHub) -> tuple[str, ...]:
    """Say in words what else may have been using the cores."""
    notes = []
    spinning = [s.name for s in hub._cache.live().values() if s.facts.spinning]
    if spinning:
        notes.append(
            f"{count(len(spinning), 'live session')} of the hub may spin ({', '.join(spinning)}): "
            "held back while it was measured, and idle. hub.unload() closes them."
        )
    shared = host().shared
    if shared:
        notes.append(f"The processors are shared: {shared}.")
    return tuple(notes)


def middle(samples: Samples, at: int | None) -> float:
    """Return the median of a warm-up from where it settled, in seconds; nan without times."""
    values = [v for v in samples.values_s[at or len(samples.values_s) // 2 :] if usable(v)]
    return median(values) if values else nan
