"""What a runner has done so far: counts, errors by kind, and times by stage."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from workbench.cards import Card, Displayable, Facts, Table
from workbench.timing import Samples
from workbench.units import count, seconds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Durations kept a stage: percentiles speak of the most recent ones, counts of all.
KEPT = 10_000
#: Answers that are counted in together: after a large model's run one alone takes 30 µs, since
#: the caches are cold, and the others of sixteen 3 µs each.
_TOGETHER = 16
#: Upper ends of the classes into which all durations are counted, in seconds: 1, 2.5, 5 a decade
#: from a tenth of a millisecond, the least that a stage of interest takes, to ten seconds.
BOUNDS_S = (*(digit * 10.0**power for power in range(-4, 1) for digit in (1.0, 2.5, 5.0)), 10.0)


@dataclass(slots=True)
class Tally:
    """All durations of one stage of one model, counted by class.

    Attributes
    ----------
    counts : durations in each class of :data:`BOUNDS_S`, and above them
    sum_s : their sum, in seconds
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    @property
    def n(self) -> int:
        """How many durations there were."""
        return sum(self.counts)

    def add(self, value_s: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, value_s)] += 1
        self.sum_s += value_s


class _Recent:
    """The most recent :data:`KEPT` durations, eight bytes each."""

    __slots__ = ("_next", "_values")

    def __init__(self) -> None:
        self._values = array("d")
        self._next = 0

    def append(self, value_s: float) -> None:
        """Keep a duration, in place of the oldest where all places are taken."""
        if len(self._values) < KEPT:
            self._values.append(value_s)
        else:
            self._values[self._next] = value_s
            self._next = (self._next + 1) % KEPT

    def __iter__(self) -> Iterator[float]:
        """Give them, the oldest first."""
        return chain(self._values[self._next :], self._values[: self._next])


def _by_stage() -> defaultdict[str, Tally]:
    return defaultdict(Tally)


class Metrics(Displayable):
    """Counts and durations of a runner, safe to use from many threads.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.add("cifar10", {"inference": 0.002}, 0.003)
    >>> metrics.add_error("corrupt_image")
    >>> metrics.count, metrics.errors["corrupt_image"]
    (1, 1)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: answers that are not counted in yet: they are together, as that is faster
        self._fresh: deque[tuple[str, Mapping[str, float], float, int]] = deque()
        self._stages: defaultdict[str, _Recent] = defaultdict(_Recent)
        self._models: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._sharing: Counter[int] = Counter()
        self._tallies: defaultdict[str, defaultdict[str, Tally]] = defaultdict(_by_stage)

    def add(self, model: str, parts: Mapping[str, float], total_s: float, batch: int = 1) -> None:
        """Record one answered input.

        Parameters
        ----------
        parts : seconds by stage; the mapping is kept
        total_s : the whole
        batch : inputs that shared the run
        """
        fresh = self._fresh
        fresh.append((model, parts, total_s, batch))
        if len(fresh) >= _TOGETHER:
            with self._lock:
                self._count_in()

    def _count_in(self) -> None:
        """Count in what came since the last time; the lock is held."""
        fresh = self._fresh
        while fresh:
            model, parts, total_s, batch = fresh.popleft()
            self._models[model] += 1
            self._sharing[batch] += 1
            tallies = self._tallies[model]
            for name, value in parts.items():
                self._stages[name].append(value)
                tallies[name].add(value)
            self._stages["total"].append(total_s)
            tallies["total"].add(total_s)

    def add_error(self, code: str) -> None:
        """Record one input that ended in an error of this kind."""
        with self._lock:
            self._errors[code] += 1

    @property
    def count(self) -> int:
        """Inputs answered."""
        with self._lock:
            self._count_in()
            return sum(self._models.values())

    @property
    def models(self) -> Mapping[str, int]:
        """Inputs answered, by model."""
        with self._lock:
            self._count_in()
            return Counter(self._models)

    @property
    def errors(self) -> Mapping[str, int]:
        """Inputs that ended in an error, by code; 0 for a code that never came."""
        with self._lock:
            return Counter(self._errors)

    @property
    def runs(self) -> Mapping[int, int]:
        """Runs, by how many inputs shared them: size → number.

        They are reckoned from the inputs answered: one that failed within a run is not counted.
        """
        with self._lock:
            self._count_in()
            return {size: -(-inputs // size) for size, inputs in sorted(self._sharing.items())}

    def samples(self, stage: str) -> Samples:
        """Return the most recent durations of a stage (``total`` for the whole)."""
        with self._lock:
            self._count_in()
            return Samples(tuple(self._stages.get(stage, ())), stage)

    def tallies(self) -> dict[tuple[str, str], Tally]:
        """Return all durations since the last reset, counted by class: (model, stage) → tally."""
        with self._lock:
            self._count_in()
            return {
                (model, stage): Tally(list(tally.counts), tally.sum_s)
                for model, stages in self._tallies.items()
                for stage, tally in stages.items()
            }

    def stages(self) -> tuple[str, ...]:
        """Return the names of the stages seen, ``total`` last."""
        with self._lock:
            self._count_in()
            names = [name for name in self._stages if name != "total"]
            return (*names, "total") if "total" in self._stages else tuple(names)

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._fresh.clear()
            self._stages.clear()
            self._models.clear()
            self._errors.clear()
            self._sharing.clear()
            self._tallies.clear()

    def to_frame(self) -> pd.DataFrame:
        """Return a row a stage: ``n``, ``p50_ms``, ``p90_ms``, ``p95_ms``, ``p99_ms``.

        A percentile that n cannot carry is nan (see :meth:`Samples.percentile_s`). Below them
        a row for each kind of error, ``error: <code>``, with its ``n`` alone.
        """
        import pandas as pd

        names = self.stages()
        rows = []
        for name in names:
            samples = self.samples(name)
            row: dict[str, float | int] = {"n": samples.n}
            for p in (0.5, 0.9, 0.95, 0.99):
                row[f"p{round(100 * p)}_ms"] = 1e3 * samples.percentile_s(p)
            rows.append(row)
        errors = sorted(self.errors.items())
        rows += [{"n": n} for _, n in errors]
        names = (*names, *(f"error: {code}" for code, _ in errors))
        columns = ["n", *(f"p{round(100 * p)}_ms" for p in (0.5, 0.9, 0.95, 0.99))]
        return pd.DataFrame(rows, index=pd.Index(names, name="stage"), columns=columns)

    def plot(self) -> Figure:
        """Draw the medians of the stages as a stacked bar; rare ones (loading) have their own."""
        from workbench import drawing

        samples = {n: self.samples(n) for n in self.stages() if n != "total"}
        most = max((s.n for s in samples.values()), default=0)
        often = {name: s.median_s for name, s in samples.items() if 2 * s.n > most}
        rows = {f"median of {most:,}": often}
        rows |= {f"{name}, {count(s.n, 'time')}": {name: s.median_s}
                 for name, s in samples.items() if name not in often}  # fmt: skip
        return drawing.stacked_bars(rows, title="Where the time goes")

    def _card(self) -> Card:
        rows = []
        for name in self.stages():
            s = self.samples(name)
            cells = [seconds(s.percentile_s(p)) for p in (0.5, 0.9, 0.95, 0.99)]
            rows.append((name, str(s.n), *cells))
        errors = ", ".join(f"{code} {n}" for code, n in sorted(self.errors.items())) or "none"
        by_model = ", ".join(f"{m} {n}" for m, n in sorted(self.models.items())) or "none"
        columns = ("stage", "n", "p50", "p90", "p95", "p99")
        timed = Table(columns, tuple(rows), "Time by stage", numeric=columns[1:])
        return Card(
            "metrics",
            (
                Facts((("answered", str(self.count)), ("by model", by_model), ("errors", errors))),
                *((timed,) if rows else ()),
            ),
            line=f"{self.count} answered, errors: {errors}",
        )
