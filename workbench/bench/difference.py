"""What changed between two benchmarks, and what did it: code, engine, host or noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, isnan, nan
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from workbench.bench.interval import mean_interval
from workbench.bench.sequence import ERROR, FLOOR_QUANTILE
from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.errors import DISTRIBUTION, ConfigError
from workbench.units import count, factor, percent, seconds

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from workbench.bench.outcome import Benchmark
    from workbench.bench.record import Record

#: Blocks into which the runs of a record are cut, and fewest runs in one.
_BLOCKS, _RUNS_A_BLOCK = 20, 3
#: A processor whose pace changed by at least this share of a difference may have made it.
_EXPLAINED = 0.5
#: Seed of the bootstrap: the same two benchmarks always differ by the same.
_SEED = 0

Cause = Literal[
    "noise", "unknown", "pictures", "code", "engine", "host", "code or engine", "code or host",
    "engine or host", "code or engine or host",
]  # fmt: skip
#: Causes that are no change: nothing was found, or nothing can be told.
_NONE = ("noise", "unknown", "pictures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How one configuration changed.

    Attributes
    ----------
    name : of the configuration
    before_s, after_s : medians in seconds
    ratio, low, high : time after / time before, and its 95 % interval
    floor : what each differed by from itself, from one part of its runs to another (0.03: 3 %)
    cause : ``unknown`` where the runs are too few to tell, ``pictures`` where they ran on other
        pictures and cannot be compared, ``noise`` where the interval is not wholly beyond the
        floor, else what did it
    """

    name: str
    before_s: float
    after_s: float
    ratio: float
    low: float
    high: float
    floor: float
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Difference(Displayable):
    """What changed from one benchmark to another. Made by :meth:`workbench.Benchmark.diff`.

    Attributes
    ----------
    changes : a change a configuration that both have
    code : what differs in models, recipes and this package: name → before, after
    engine : what differs in the libraries and in how their sessions ran: name → before, after
    host : what differs in the machine: name → before, after
    pace : time of a fixed piece of work, after / before; nan where unknown
    only_before, only_after : configurations that only one of them has
    pictures : their checksums before and after, where they differ; else None
    """

    changes: tuple[Change, ...]
    code: dict[str, tuple[str, str]]
    host: dict[str, tuple[str, str]]
    pace: float
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    engine: dict[str, tuple[str, str]] = field(default_factory=dict)
    pictures: tuple[str, str] | None = None

    def to_frame(self) -> pd.DataFrame:
        """Return a row a configuration: medians, ratio and interval, noise_floor, cause."""
        import pandas as pd

        columns = ["configuration", "before_ms", "after_ms", "ratio", "ratio_low", "ratio_high",
                   "noise_floor", "cause"]  # fmt: skip
        rows = [
            (c.name, 1e3 * c.before_s, 1e3 * c.after_s, c.ratio, c.low, c.high, c.floor, c.cause)
            for c in self.changes
        ]
        return pd.DataFrame(rows, columns=columns)

    def sentences(self) -> tuple[str, ...]:
        """Say what changed, a sentence a configuration."""
        return tuple(self._sentence(change) for change in self.changes)

    def _sentence(self, change: Change) -> str:
        if change.cause == "pictures":
            before, after = self.pictures or ("none", "none")
            return f"{change.name}: not comparable, other pictures ({before} → {after})."
        if isnan(change.ratio):
            return f"{change.name}: nothing to compare."
        if change.cause == "unknown":
            return (
                f"{change.name}: too few runs to tell. The medians are "
                f"{seconds(change.before_s)} and {seconds(change.after_s)}."
            )
        if change.cause == "noise":
            return (
                f"{change.name}: noise. The times differ by {percent(abs(change.ratio - 1))}, and "
                f"each of them by {percent(change.floor)} from itself."
            )
        word = "slower" if change.ratio > 1 else "faster"
        much = percent(max(change.ratio, 1 / change.ratio) - 1)
        return f"{change.name}: {much} {word}. {self._why(change.cause)}"

    def _why(self, cause: Cause) -> str:
        host = ", ".join(self.host)
        told = {
            "code": ", ".join(self.code),
            "engine": ", ".join(self.engine),
            "host": host or "the processor's pace",
        }
        parts = cause.split(" or ")
        if len(parts) > 1:
            what = "; ".join(told[part] for part in parts)
            words = f"{', '.join(parts[:-1])} or {parts[-1]}".capitalize()
            return f"{words}, which cannot be told apart: {what}."
        if cause != "host":
            return f"The {cause} did it: what differs is {told[cause]}."
        if host:
            return f"The host did it: what differs is {host}."
        pace = "" if isnan(self.pace) else f" (a fixed piece of work took {factor(self.pace)})"
        return f"The host did it: code and machine are the same, its state is not{pace}."

    def _card(self) -> Card:
        rows = tuple(
            (c.name, seconds(c.before_s), seconds(c.after_s), factor(c.ratio),
             f"{factor(c.low)} to {factor(c.high)}", percent(c.floor), c.cause)
            for c in self.changes
        )  # fmt: skip
        columns = ("configuration", "before", "after", "ratio", "interval", "noise floor", "cause")
        differs = (("code", self.code), ("engine", self.engine), ("host", self.host))
        facts = tuple(
            (f"{kind}: {name}", f"{before} → {after}")
            for kind, found in differs
            for name, (before, after) in found.items()
        )
        notes = [f"Only before: {name}." for name in self.only_before]
        notes += [f"Only after: {name}." for name in self.only_after]
        changed = [c.cause for c in self.changes if c.cause not in _NONE]
        told = f"{len(changed)} of {count(len(self.changes), 'configuration')} changed"
        return Card(
            "difference of two benchmarks",
            (
                Notes(self.sentences(), urgent=True),
                Table(columns, rows, "After against before",
                      numeric=("before", "after", "ratio", "noise floor")),
                Facts(facts or (("code and machine", "the same"),), "What differs"),
                Notes(tuple(notes)),
            ),
            line=told,
        )  # fmt: skip


def difference(before: Benchmark, after: Benchmark) -> Difference:
    """Compare two benchmarks, configuration by configuration.

    Raises
    ------
    ConfigError : ``after`` is no benchmark, or they timed different things
    """
    from workbench.bench.outcome import Benchmark

    if not isinstance(after, Benchmark):
        raise ConfigError("other", after, "a Benchmark")
    if before.timed != after.timed:
        raise ConfigError("other", after.timed, f"a benchmark that timed {before.timed!r}")
    first, second = ({_key(r): r for r in b.records} for b in (before, after))
    code = _changed(_code(before), _code(after))
    engine = _changed(_engine(before), _engine(after))
    pictures = tuple(b.images_sha256[:12] or "none" for b in (before, after))
    fed_alike = before.images_sha256 == after.images_sha256
    host = _changed(before.fingerprint.machine(), after.fingerprint.machine())
    paces = [b.canary.before_s for b in (before, after)]
    pace = paces[1] / paces[0] if all(p > 0 for p in paces) else nan
    changes = [
        _change(first[key], second[key], (set(code), set(engine)), bool(host), pace, fed_alike)
        for key in first
        if key in second
    ]
    return Difference(
        changes=tuple(changes),
        code=code,
        engine=engine,
        pictures=None if fed_alike else (pictures[0], pictures[1]),
        host=host,
        pace=pace,
        only_before=tuple(r.name for key, r in first.items() if key not in second),
        only_after=tuple(r.name for key, r in second.items() if key not in first),
    )


def _key(record: Record) -> tuple[object, ...]:
    """Return what makes two records the same configuration: what was asked for, not what ran."""
    options = record.configuration.options
    return (record.configuration.model, record.configuration.batch, options.threads,
            options.providers)  # fmt: skip


def _code(bench: Benchmark) -> dict[str, str]:
    """Return all that is code: models, recipes, and this package."""
    found = {f"version of {DISTRIBUTION}": bench.fingerprint.versions.get(DISTRIBUTION, "none")}
    for record in bench.records:
        found[f"file of {record.configuration.model}"] = record.configuration.sha256[:12]
    for model, recipe in bench.recipes.items():
        found[f"preprocessing of {model}"] = str(recipe)
    return found


def _engine(bench: Benchmark) -> dict[str, str]:
    """Return what ran the code: the versions of the libraries, and how the sessions ran."""
    found = {
        f"version of {name}": text
        for name, text in bench.fingerprint.versions.items()
        if name != DISTRIBUTION
    }
    for record in bench.records:
        session = record.session
        if session is not None:
            found[f"provider of {record.name}"] = session.provider_text
            found[f"precision of {record.name}"] = session.precision
            found[f"threads of {record.name}"] = str(session.threads)
            found[f"spinning of {record.name}"] = "on" if session.spinning else "off"
    return found


def _changed(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {
        name: (before.get(name, "none"), after.get(name, "none"))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    }


def _change(
    before: Record,
    after: Record,
    differs: tuple[set[str], set[str]],
    host: bool,
    pace: float,
    fed_alike: bool,
) -> Change:
    """Say how a record changed; ``differs`` are the names of what differs in code and engine."""
    first, second = (blocks_of(record) for record in (before, after))
    ratio, low, high, floor = nan, nan, nan, nan
    cause: Cause = "unknown"
    if len(first) > 1 and len(second) > 1:
        n = min(len(first), len(second))
        apart = second[:n] - first[:n] if n > 2 else np.array([])
        ratio = second.mean() - first.mean()
        low, high = mean_interval(apart, error=ERROR, rng=np.random.default_rng(_SEED))
        floor = _floor(first, second)
        cause = "unknown" if isnan(low) else "noise"
        if low > floor or high < -floor:
            by_pace = not isnan(pace) and np.sign(np.log(pace)) == np.sign(ratio)
            by_pace = by_pace and abs(np.log(pace)) >= _EXPLAINED * abs(ratio)
            parts = [
                name
                for name, found in zip(("code", "engine"), differs, strict=True)
                if _concerns(found, after)
            ]
            parts += ["host"] if host or by_pace or not parts else []
            cause = cast("Cause", " or ".join(parts))
    if not fed_alike:
        cause = "pictures"
    return Change(
        name=after.name,
        before_s=before.samples.median_s,
        after_s=after.samples.median_s,
        ratio=exp(ratio),
        low=exp(low),
        high=exp(high),
        floor=exp(floor) - 1,
        cause=cause,
    )


def _concerns(code: set[str], record: Record) -> bool:
    """Say whether one of the changes is about this record: a version, its model, its session."""
    mine = {record.name, record.configuration.model}
    return any(name.startswith("version of ") or name.partition(" of ")[2] in mine for name in code)


def blocks_of(record: Record) -> NDArray[np.float64]:
    """Return ln of the medians of a record's runs, block after block in the order of time."""
    values = np.array(record.samples.values_s)
    blocks = min(_BLOCKS, len(values) // _RUNS_A_BLOCK)
    if blocks < 2:
        return np.array([])
    return np.log([np.median(part) for part in np.array_split(values, blocks)])


def _floor(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return what records differ by from themselves: all pairs of blocks of one and the same."""
    sizes = [np.abs(b[:, None] - b)[np.triu_indices(len(b), 1)] for b in (first, second)]
    return float(np.quantile(np.concatenate(sizes), FLOOR_QUANTILE))
