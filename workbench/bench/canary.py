"""A fixed piece of work that tells whether the processor itself got slower meanwhile."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import log, nan
from statistics import median
from typing import TYPE_CHECKING

from workbench.timing import clock
from workbench.units import percent

if TYPE_CHECKING:
    from workbench.bench.subject import Clock

#: The work: SHA-256 over so many bytes, so many times; a few milliseconds on one core each.
_BYTES, REPEATS = 1_000_000, 15
#: A change above this is told.
DRIFT = 0.05


@dataclass(frozen=True, slots=True)
class Canary:
    """Seconds of the fixed work before and after a measurement (medians; nan where unknown)."""

    before_s: float
    after_s: float

    @property
    def drift(self) -> float:
        """By how much the work took longer afterwards: 0.04 is 4 %; nan where unknown."""
        if not (self.before_s > 0 and self.after_s > 0):
            return nan
        return self.after_s / self.before_s - 1

    def notes(self) -> tuple[str, ...]:
        """Say in words that the processor changed its pace, where it did."""
        if not (self.before_s > 0 and self.after_s > 0):
            return ()
        if abs(log(self.after_s / self.before_s)) <= DRIFT:
            return ()
        word = "slower" if self.drift > 0 else "faster"
        note = (
            f"The processor was {percent(abs(self.drift))} {word} after the measurement than "
            "before it (a fixed piece of work): others use it, or its clock rate changed."
        )
        return (note,)


def sing(clock: Clock = clock) -> float:
    """Do the work and return its median time in seconds; nan where the clock gives none."""
    data = bytes(_BYTES)
    values = []
    for _ in range(REPEATS):
        begun = clock()
        hashlib.sha256(data).digest()
        took = clock() - begun
        if took > 0:
            values.append(took)
    return median(values) if values else nan
