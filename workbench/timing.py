"""The clock, and what is measured with it.

Durations are seconds inside; frames show milliseconds in columns that say so. Statistics are
derived from raw samples, and admit what the samples cannot carry.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, nan
from statistics import median, quantiles
from typing import TYPE_CHECKING

from workbench.cards import Card, Displayable, Facts, Notes, Stack
from workbench.units import count, seconds, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: The one clock: monotonic, the finest that the platform has, in seconds.
clock = time.perf_counter

#: An interquartile range above this share of the median is called unstable
#: (the threshold of torch.utils.benchmark, ``_IQR_WARN_THRESHOLD``).
UNSTABLE = 0.1
#: A percentile is only given when at least this many samples are expected beyond it.
BEYOND = 3


class Stages(Mapping[str, float], Displayable):
    """How long each stage took, in seconds, in the order in which they ran.

    Parameters
    ----------
    parts : stage → seconds
    total_s : the whole, measured on its own; the sum of the parts when left out

    Examples
    --------
    >>> stages = Stages({"decode": 0.002, "inference": 0.006}, total_s=0.009)
    >>> stages["decode"], stages.total_s, round(stages.other_s, 6)
    (0.002, 0.009, 0.001)
    >>> stages
    <timings: 9.00 ms = decode 2.00 ms + inference 6.00 ms + other 1.00 ms>
    """

    __slots__ = ("_parts", "_total_s")

    def __init__(self, parts: Mapping[str, float], total_s: float | None = None) -> None:
        self._parts = parts
        self._total_s = total_s

    def __getitem__(self, stage: str) -> float:
        return self._parts[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    __repr__ = Displayable.__repr__

    @property
    def total_s(self) -> float:
        """The whole, in seconds; never less than what was measured around it."""
        return sum(self._parts.values()) if self._total_s is None else self._total_s

    @property
    def other_s(self) -> float:
        """What the whole took beyond its named stages, in seconds."""
        return max(0.0, self.total_s - sum(self._parts.values()))

    def merged(self, groups: Mapping[str, str]) -> Stages:
        """Return the same time under fewer names: stage → group; unnamed stages stay."""
        parts: dict[str, float] = {}
        for stage, value in self._parts.items():
            name = groups.get(stage, stage)
            parts[name] = parts.get(name, 0.0) + value
        return Stages(parts, self._total_s)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a stage, then ``total``: ``stage``, ``ms``, ``share`` (0–1)."""
        import pandas as pd

        total = self.total_s
        rows = [(name, 1e3 * s, s / total if total else nan) for name, s in self.shown()]
        rows.append(("total", 1e3 * total, 1.0 if total else nan))
        return pd.DataFrame(rows, columns=["stage", "ms", "share"])

    def plot(self) -> Figure:
        """Draw the stages as one stacked bar."""
        from workbench import drawing

        return drawing.stacked_bars({"": dict(self.shown())})

    def shown(self) -> tuple[tuple[str, float], ...]:
        """Return the stages as they are shown: with ``other``, so that they add up."""
        other = self.other_s
        named = tuple(self._parts.items())
        return (*named, ("other", other)) if other > 0 and self._total_s is not None else named

    def _card(self) -> Card:
        shown = self.shown()
        sum_text = " + ".join(f"{name} {seconds(value)}" for name, value in shown)
        whole = seconds(self.total_s)
        return Card(
            "timings",
            (Stack(shown, caption=f"Timings: {whole} in all"),),
            line=f"{whole} = {sum_text}" if shown else whole,
        )


class Stopwatch:
    """Collects laps: each call of :meth:`lap` closes the stage that ran since the last.

    >>> watch = Stopwatch()
    >>> watch.lap("decode"); watch.lap("resize")
    >>> list(watch.stages())
    ['decode', 'resize']
    """

    __slots__ = ("_last", "_start", "parts")

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._start = self._last = clock()

    def lap(self, stage: str) -> None:
        """Close a stage; a name used twice adds up."""
        now = clock()
        self.parts[stage] = self.parts.get(stage, 0.0) + now - self._last
        self._last = now

    def add(self, stages: Mapping[str, float]) -> None:
        """Take over stages that were measured elsewhere, and go on from now."""
        for name, value in stages.items():
            self.parts[name] = self.parts.get(name, 0.0) + value
        self._last = clock()

    def stages(self) -> Stages:
        """Return the laps so far, with the time since the start as their total."""
        return Stages(dict(self.parts), clock() - self._start)


@dataclass(frozen=True, slots=True, repr=False)
class Samples(Displayable):
    """Raw durations of one thing, in seconds, in the order in which they were taken.

    Undefined statistics are nan, never a flattering 0.

    >>> s = Samples((0.010, 0.012, 0.011, 0.030), "resnet")
    >>> s.median_s, round(s.iqr_s, 5), s.percentile_s(0.99)
    (0.0115, 0.00575, nan)
    >>> s.notes()
    ('4 runs: too few to judge the spread.', 'p99 needs 300 runs, had 4.')
    """

    values_s: tuple[float, ...]
    what: str = "runs"

    @property
    def n(self) -> int:
        """How many samples there are."""
        return len(self.values_s)

    @property
    def median_s(self) -> float:
        """The median, in seconds; nan without samples."""
        return median(self.values_s) if self.values_s else nan

    @property
    def iqr_s(self) -> float:
        """The interquartile range, in seconds; nan below 4 samples."""
        if self.n < 4:
            return nan
        low, _, high = quantiles(self.values_s, n=4, method="inclusive")
        return high - low

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median; nan where undefined."""
        return self.iqr_s / self.median_s if self.n and self.median_s > 0 else nan

    def percentile_s(self, p: float) -> float:
        """Return the p-quantile (0 < p < 1), in seconds; nan where n cannot carry it.

        At least :data:`BEYOND` samples must be expected above it: p90 takes 30 samples,
        p95 60, p99 300. The median is always given.
        """
        if p == 0.5:
            return self.median_s
        if self.n < needed(p):
            return nan
        ordered = sorted(self.values_s)
        position = p * (self.n - 1)
        low = int(position)
        high = min(low + 1, self.n - 1)
        return ordered[low] + (position - low) * (ordered[high] - ordered[low])

    def notes(self) -> tuple[str, ...]:
        """Say in plain words what these samples cannot carry."""
        notes = []
        if self.n < 10:
            notes.append(f"{count(self.n, 'run')}: too few to judge the spread.")
        elif self.spread > UNSTABLE:
            notes.append(f"IQR is {share(self.spread)} of the median: unstable.")
        if self.n < needed(0.99):
            notes.append(f"p99 needs {needed(0.99)} runs, had {self.n}.")
        return tuple(notes)

    def summary(self) -> dict[str, float]:
        """Return n, the median, the IQR and the percentiles, in milliseconds."""
        row = {"n": float(self.n), "median_ms": 1e3 * self.median_s, "iqr_ms": 1e3 * self.iqr_s}
        row |= {f"p{round(100 * p)}_ms": 1e3 * self.percentile_s(p) for p in (0.9, 0.95, 0.99)}
        return row

    def to_frame(self) -> pd.DataFrame:
        """Return a row a run: ``run`` (from 0), ``ms``."""
        import pandas as pd

        return pd.DataFrame({"run": range(self.n), "ms": [1e3 * v for v in self.values_s]})

    def _card(self) -> Card:
        rows = (
            ("runs", str(self.n)),
            ("median", seconds(self.median_s)),
            ("IQR", seconds(self.iqr_s)),
            *((f"p{round(100 * p)}", seconds(self.percentile_s(p))) for p in (0.9, 0.95, 0.99)),
        )
        return Card(f"samples of {self.what}", (Facts(rows), Notes(self.notes())))


def needed(p: float) -> int:
    """Return how many samples the p-quantile takes before it is given.

    >>> needed(0.9), needed(0.95), needed(0.99)
    (30, 60, 300)
    """
    return ceil(round(BEYOND / (1 - p), 6))


def settled(values_s: Iterable[float], *, window: int = 5, tolerance: float = 0.05) -> int | None:
    """Return the index of the first sample from which a series has settled, else None.

    Twice ``window`` samples from there on are needed to tell. Settled means: the median of the
    first ``window`` samples is within ``tolerance`` of the median of everything from there on,
    and no later window of the same length strays by more than twice that.

    >>> settled([9.0, 5.0, 1.1, 1.0, 1.0, 1.0, 1.01, 1.0, 0.99, 1.0, 1.0, 1.0])
    2
    >>> settled([3.0, 2.9]) is None
    True
    """
    values = list(values_s)
    medians = [median(values[i : i + window]) for i in range(len(values) - window + 1)]
    for start in range(len(values) - 2 * window + 1):
        rest = median(values[start:])
        close = abs(values[start] - rest) <= 4 * tolerance * rest
        calm = all(abs(m - rest) <= 2 * tolerance * rest for m in medians[start:])
        if close and calm and abs(medians[start] - rest) <= tolerance * rest:
            return start
    return None
