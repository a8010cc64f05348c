"""Is a variant a substitute for its reference? What it answers, how fast, how large; a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING

from workbench.bench.agreement import CHANCE, Agreement
from workbench.bench.limits import WORDS, FitLimits, Outcome
from workbench.bench.verdict import MANIFOLD
from workbench.cards import Block, Card, Displayable, Facts, Fold, Notes, Table
from workbench.errors import ConfigError
from workbench.units import count, factor, percent, seconds, share, size

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from workbench.bench.verdict import Verdict
    from workbench.errors import WorkbenchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One candidate, held against the reference.

    Attributes
    ----------
    name : id
    agreement : what was counted
    size_bytes : of its file
    precision : what its arithmetic is done in, where it ran
    memory_bytes : what a fresh process grew by with it, beyond the imports; None where unknown
    latency : what wb.compare says of it against the reference; None where it was not asked
    error : why it did not get through
    unmeasured : what could not be measured of it, in words
    """

    name: str
    agreement: Agreement
    size_bytes: int = 0
    precision: str = ""
    memory_bytes: int | None = None
    latency: Verdict | None = None
    error: WorkbenchError | None = None
    unmeasured: tuple[str, ...] = ()

    def outcome(self, limits: FitLimits) -> Outcome:
        """Judge it: ``fit``, ``not_fit``, ``broken``, ``cannot_tell`` or ``failed``."""
        if self.error is not None:
            return "failed"
        told = self.agreement
        if told.n == 0:
            return "cannot_tell"
        if told.agreed is None:
            if told.not_finite or told.cosine < limits.broken_cosine:
                return "broken"
            return "fit" if told.cosine >= limits.fit_cosine else "not_fit"
        low, high = told.interval
        if told.not_finite or (told.share < limits.broken and high < limits.fit):
            return "broken"
        if told.share < limits.fit:  # surely so, or more pictures are needed
            return "not_fit" if high < limits.fit else "cannot_tell"
        if self.lost_accuracy(limits):
            return "not_fit"
        return "fit" if low >= limits.sure else "cannot_tell"

    def lost_accuracy(self, limits: FitLimits) -> bool:
        """Whether it lost more accuracy than it may, and more than chance explains."""
        told = self.agreement
        if not told.labelled or not told.reference_right:
            return False
        return told.accuracy < limits.accuracy * told.reference_accuracy and told.chance < CHANCE

    @property
    def speed(self) -> str:
        """How fast it is against the reference, in words; "" where that was not measured."""
        verdict = self.latency
        if verdict is None:
            return ""
        if not verdict.decided:
            return "no difference in speed that could be told"
        if verdict.outcome == "faster":
            more = verdict.difference
            return f"{factor(1 + more) if more >= MANIFOLD else percent(more)} faster"
        return f"takes {factor(1 + verdict.difference)} as long"

    def sentence(self, limits: FitLimits) -> str:
        """Say the verdict in one sentence."""
        outcome = self.outcome(limits)
        told = self.agreement
        if self.error is not None:
            return f"{self.name}: failed: {self.error.message}"
        if told.n == 0:
            return f"{self.name}: cannot tell: no picture was answered"
        agrees = (
            f"cosine {told.cosine:.4f}" if told.agreed is None else f"agrees on {share(told.share)}"
        )
        if told.not_finite:
            agrees += f", not finite on {count(told.not_finite, 'picture')}"
        if outcome == "broken":
            return f"{self.name}: broken: {agrees}"
        right = ""
        if told.labelled:
            right = f", {share(told.accuracy)} right (reference {share(told.reference_accuracy)})"
        speed = f"{self.speed}, " if self.speed else ""
        verdict = WORDS[outcome]
        if outcome == "cannot_tell":
            verdict = f"cannot tell: {count(told.n, 'picture')} are too few"
        return f"{self.name}: {speed}{agrees}{right}, {verdict}"

    @property
    def ratio(self) -> float:
        """Time of a run as a share of the reference's; nan where it was not measured."""
        return nan if self.latency is None else self.latency.ratio

    @property
    def closeness(self) -> float:
        """The agreement; of what has no classes the mean cosine, and nothing below 0."""
        told = self.agreement
        return told.share if told.agreed is not None else max(0.0, told.cosine)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Conformance(Displayable):
    """Candidates held against a reference. Made by :func:`workbench.conformance`.

    Attributes
    ----------
    reference : id
    variants : one a candidate, in the order in which they were given
    size_bytes, memory_bytes : of the reference, as of a variant
    reference_accuracy : share of labelled pictures that the reference answers rightly; nan: none
    n : pictures that the reference answered
    skipped : pictures that it could not, by code
    limits : from where on a candidate is fit, and up to where broken
    stopped : whether someone stopped it early
    """

    reference: str
    variants: tuple[Variant, ...]
    size_bytes: int
    memory_bytes: int | None
    reference_accuracy: float
    n: int
    skipped: Mapping[str, int]
    limits: FitLimits
    stopped: bool = False

    def __getitem__(self, name: str) -> Variant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise ConfigError("variant", name, f"one of {', '.join(v.name for v in self.variants)}")

    def outcomes(self) -> dict[str, Outcome]:
        """Return the outcome of each candidate by its name."""
        return {v.name: v.outcome(self.limits) for v in self.variants}

    def sentences(self) -> tuple[str, ...]:
        """Return the verdict on each candidate in a sentence."""
        return tuple(v.sentence(self.limits) for v in self.variants)

    def front(self) -> tuple[str, ...]:
        """Return who is on the Pareto front of time (or size) and agreement, the reference too.

        Nobody else is as close to the reference and surely cheaper (their intervals do not
        meet), or closer and not dearer. Broken and failed candidates are not on it.
        """
        points = {self.reference: (1.0, 1.0, 1.0, 1.0), **self._points()}

        def beaten(name: str) -> bool:
            low, cost, _, close = points[name]
            return any(
                (a >= close and high < low) or (a > close and c <= cost)
                for other, (_, c, high, a) in points.items()
                if other != name
            )

        return tuple(name for name in points if not beaten(name))

    @property
    def timed(self) -> bool:
        """Whether times were measured; else sizes stand in their place in the picture."""
        return any(not isnan(v.ratio) for v in self.variants)

    def _points(self) -> dict[str, tuple[float, float, float, float]]:
        """Return who may be on the front: low, middle and high cost, and closeness."""
        points = {}
        for variant in self.variants:
            cost = self._cost(variant)
            usable = variant.outcome(self.limits) not in ("broken", "failed")
            if usable and not isnan(cost) and not isnan(variant.closeness):
                low = high = cost
                if self.timed and variant.latency is not None:
                    low, high = variant.latency.interval
                points[variant.name] = (low, cost, high, variant.closeness)
        return points

    def _cost(self, variant: Variant) -> float:
        if self.timed:
            return variant.ratio
        return variant.size_bytes / self.size_bytes if self.size_bytes else nan

    def to_frame(self) -> pd.DataFrame:
        """Return a row a candidate: ``outcome``, ``agreement`` and its interval, accuracies,
        ``cosine``, ``max_difference``, latency (``speed``, ``ratio``), sizes, ``error``."""
        import pandas as pd

        rows = []
        for v in self.variants:
            told = v.agreement
            low, high = told.interval
            outcome = "" if v.latency is None else v.latency.outcome
            r_low, r_high = (nan, nan) if v.latency is None else v.latency.interval
            rows.append(
                {
                    "candidate": v.name,
                    "outcome": v.outcome(self.limits),
                    "agreement": told.share,
                    "agreement_low": low,
                    "agreement_high": high,
                    "n": told.n,
                    "accuracy": told.accuracy,
                    "reference_accuracy": told.reference_accuracy,
                    "cosine": told.cosine,
                    "max_difference": max((o.max_difference for o in told.outputs), default=nan),
                    "not_finite": told.not_finite,
                    "latency": outcome,
                    "ratio": v.ratio,
                    "ratio_low": r_low,
                    "ratio_high": r_high,
                    "size_bytes": v.size_bytes,
                    "memory_bytes": v.memory_bytes,
                    "precision": v.precision,
                    "error": "" if v.error is None else v.error.code,
                }
            )
        return pd.DataFrame(rows).astype({"memory_bytes": "Int64"}) if rows else pd.DataFrame()

    def outputs(self) -> pd.DataFrame:
        """Return a row a candidate and output: cosine (mean, least), largest difference, scale."""
        import pandas as pd

        columns = ["candidate", "output", "cosine", "least_cosine", "max_difference", "scale",
                   "not_finite"]  # fmt: skip
        rows = [
            (v.name, o.name, o.cosine, o.least_cosine, o.max_difference, o.scale, o.not_finite)
            for v in self.variants
            for o in v.agreement.outputs
        ]
        return pd.DataFrame(rows, columns=columns)

    def plot(self) -> Figure:
        """Draw who is fast and close: time (or size) against agreement, and the Pareto front."""
        from workbench import charts

        front = self.front()
        points = [(self.reference, 1.0, 1.0, "reference", size(self.size_bytes))]
        for v in self.variants:
            cost = self._cost(v)
            if not isnan(cost) and not isnan(v.closeness):
                word = WORDS[v.outcome(self.limits)]
                points.append((v.name, cost, v.closeness, word, size(v.size_bytes)))
        classes = any(v.agreement.agreed is not None for v in self.variants)
        return charts.pareto(
            points,
            front=front,
            cost="time of a run" if self.timed else "size on disk",
            close="agrees with the reference" if classes else "mean cosine to the reference",
            limit=self.limits.fit if classes else self.limits.fit_cosine,
            title=f"Variants of {self.reference}: {count(self.n, 'picture')}",
        )

    def notes(self) -> tuple[str, ...]:
        """Say in plain words what the verdicts rest on, and what they cannot carry."""
        limits = self.limits
        rule = (
            f"Fit: agrees on at least {share(limits.fit)}, surely on {share(limits.sure)} (95 % "
            f"interval), and keeps {share(limits.accuracy)} of the accuracy where labels are "
            f"known. Not fit: surely agrees on less than {share(limits.fit)}. Broken: agrees on "
            f"less than {share(limits.broken)}, or is not finite."
        )
        notes = [rule]
        if self.stopped:
            notes.append("Stopped on request: what was counted until then is kept.")
        if self.skipped:
            told = ", ".join(f"{code} {n}" for code, n in sorted(self.skipped.items()))
            notes.append(f"Pictures that were left out: {told}.")
        for variant in self.variants:
            notes += [f"{variant.name}: {text}" for text in variant.unmeasured]
        return tuple(notes)

    def _card(self) -> Card:
        rows = [("reference", self.reference), ("pictures", f"{self.n:,}")]
        if not isnan(self.reference_accuracy):
            rows.append(("its accuracy", share(self.reference_accuracy)))
        rows.append(("its size", size(self.size_bytes)))
        if self.memory_bytes is not None:
            rows.append(("its memory", f"{size(self.memory_bytes)} in a fresh process"))
        blocks: list[Block] = []
        bad = ("broken", "failed")
        outcomes = self.outcomes()
        for urgent in (True, False):
            told = tuple(
                sentence
                for variant, sentence in zip(self.variants, self.sentences(), strict=True)
                if (outcomes[variant.name] in bad) is urgent
            )
            if told:
                blocks.append(Notes(told, urgent=urgent))
        blocks += [Facts(tuple(rows)), self._table(), self._outputs(), Notes(self.notes())]
        line = "; ".join(self.sentences()) or "no candidates"
        return Card(f"conformance with {self.reference}", tuple(blocks), line=line)

    def _table(self) -> Table:
        front = self.front()
        rows = []
        for v in self.variants:
            told = v.agreement
            low, high = told.interval
            agrees = f"{share(told.share)} ({share(low)} to {share(high)})"
            rows.append(
                (
                    v.name,
                    WORDS[v.outcome(self.limits)],
                    "–" if isnan(told.share) else agrees,
                    "–" if isnan(told.accuracy) else share(told.accuracy),
                    "–" if isnan(told.cosine) else f"{told.cosine:.4f}",
                    self._time(v),
                    size(v.size_bytes),
                    "–" if v.memory_bytes is None else size(v.memory_bytes),
                    "yes" if v.name in front else "",
                )
            )
        columns = ("candidate", "verdict", "agreement", "accuracy", "cosine", "time of a run",
                   "size", "memory", "Pareto front")  # fmt: skip
        hidden = {
            i for i, name in enumerate(columns)
            if name in ("accuracy", "memory") and all(row[i] == "–" for row in rows)
        }  # fmt: skip
        kept = [i for i in range(len(columns)) if i not in hidden]
        numeric = tuple(n for n in ("accuracy", "cosine", "size", "memory")
                        if columns.index(n) in kept)  # fmt: skip
        return Table(
            tuple(columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in rows),
            "Candidates",
            numeric,
        )

    @staticmethod
    def _time(variant: Variant) -> str:
        verdict = variant.latency
        if verdict is None or isnan(verdict.ratio):
            return "–"
        low, high = verdict.interval
        span = f"{factor(low)} to {factor(high)}"
        return f"{seconds(verdict.b.samples.median_s)}, {factor(verdict.ratio)} ({span})"

    def _outputs(self) -> Fold:
        rows = tuple(
            (v.name, o.name, f"{o.cosine:.5f}", f"{o.least_cosine:.5f}",
             f"{o.max_difference:.3g}", f"{o.scale:.3g}")
            for v in self.variants
            for o in v.agreement.outputs
        )  # fmt: skip
        columns = ("candidate", "output", "mean cosine", "least cosine", "largest difference",
                   "largest value")  # fmt: skip
        return Fold("Output by output", (Table(columns, rows, "", columns[2:]),))
