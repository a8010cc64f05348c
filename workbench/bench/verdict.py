"""What a comparison came to: faster, slower, or cannot tell, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, isfinite, isnan
from typing import TYPE_CHECKING

import numpy as np

from workbench.bench.sequence import (
    ERROR,
    FEWEST_BLOCKS,
    FLOOR_BLOCKS,
    FLOOR_QUANTILE,
    MOST_PAIRS,
    WORTH,
    time_for,
)
from workbench.cards import Block, Card, Displayable, Facts, Fold, Notes, Table
from workbench.timing import Samples
from workbench.units import count, factor, percent, seconds, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.bench.canary import Canary
    from workbench.bench.sequence import Look, Outcome
    from workbench.bench.subject import Configuration
    from workbench.errors import WorkbenchError
    from workbench.host import Host
    from workbench.models.session import SessionFacts

#: Share of the time of a comparison that is left for its rounds: the warm-up may take the rest.
_ROUNDS_SHARE = 0.75
#: From here on a difference is told as "2.40 × as fast" rather than as "140 % faster".
MANIFOLD = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One of two models that were compared.

    Attributes
    ----------
    name : how it is called
    configuration : how it was run
    session : what really ran
    runs_s : (rounds, 2) seconds of each run, a column a session; nan where there was no time
    """

    name: str
    configuration: Configuration
    session: SessionFacts
    runs_s: NDArray[np.float64]

    @property
    def samples(self) -> Samples:
        """Its runs that had a time, in seconds, in the order in which they were taken."""
        values = self.runs_s.ravel()
        return Samples(tuple(values[np.isfinite(values)].tolist()), self.name)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Verdict(Displayable):
    """Whether b is faster or slower than a. Made by :func:`workbench.compare`.

    Attributes
    ----------
    a, b : the two sides; everything is said of b, against a
    look : the look that decided
    looks : all looks, at most five
    between : ln(time of b / time of a), a block each
    within : ln of what a differed by from itself, and b from itself, a block each
    pairs : pairs of runs in a block
    order : (rounds, 4) place of each run (a, a, b, b) within its round
    canary : a fixed piece of work before and after
    fed : what the models ran on
    inside : what was inside the timed region
    seed : of the order and of the bootstrap
    wall_s : seconds in all
    stopped : whether someone stopped it early
    problem : why it ended early, where a model failed
    warned : what else was noticed, in words
    host : the machine

    Notes
    -----
    "b is 41 % faster than a" means: in the same time b makes 1.41 times as many runs, so a run
    takes 1 / 1.41 = 0.71 of the time (:attr:`ratio`). "b is 41 % slower" means that a run takes
    1.41 times as long. So b is as much faster than a as a is slower than b.
    """

    a: Side
    b: Side
    look: Look
    looks: tuple[Look, ...]
    between: tuple[float, ...]
    within: tuple[tuple[float, float], ...]
    pairs: int
    order: NDArray[np.int8]
    canary: Canary
    fed: str
    inside: str
    seed: int
    wall_s: float
    host: Host
    stopped: bool = False
    problem: WorkbenchError | None = None
    warned: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """``"faster"``, ``"slower"`` or ``"cannot_tell"``: b against a."""
        return self.look.outcome or "cannot_tell"

    @property
    def decided(self) -> bool:
        """Whether a difference was found."""
        return self.outcome != "cannot_tell"

    @property
    def ratio(self) -> float:
        """Time of b / time of a: below 1 where b is faster; nan without runs."""
        return exp(self.look.log_ratio)

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of :attr:`ratio`; over all looks together it holds the truth in 95 %."""
        return exp(self.look.low), exp(self.look.high)

    @property
    def noise_floor(self) -> float:
        """What a model differed by from itself: 0.03 is 3 % (95th percentile over the blocks)."""
        return exp(self.look.floor) - 1

    @property
    def threshold(self) -> float:
        """What a difference had to exceed: the noise floor, or what sessions differ by if more."""
        return exp(self.look.threshold) - 1

    @property
    def difference(self) -> float:
        """By how much b is faster or slower, never negative: 0.41 is 41 % (see Notes)."""
        return exp(abs(self.look.log_ratio)) - 1

    @property
    def difference_interval(self) -> tuple[float, float]:
        """Interval of :attr:`difference`; negative where the direction is open."""
        low, high = self.look.low, self.look.high
        if self.look.log_ratio < 0:
            low, high = -high, -low
        return exp(low) - 1, exp(high) - 1

    def sentence(self) -> str:
        """Say the verdict in one sentence."""
        a, b = self.a.name, self.b.name
        if self.decided:
            low, high = self.difference_interval
            if self.difference < MANIFOLD:
                how = f"is {percent(self.difference)} {self.outcome} than"
                span = _range(percent(low), percent(high), " %")
            else:
                how = "is {} as fast as" if self.outcome == "faster" else "takes {} as long as"
                how = how.format(factor(1 + self.difference))
                span = _range(factor(1 + low), factor(1 + high), " ×")
            return f"{b} {how} {a} ({span})."
        if self.problem is not None:
            return f"Cannot tell: {self.problem.message}"
        if self.stopped:
            what = "it was decided" if self._judged else "anything could be judged"
            return (
                f"Cannot tell whether {b} is faster or slower than {a}: it was stopped before "
                f"{what}."
            )
        if isnan(self.look.log_ratio):
            return f"Cannot tell whether {b} is faster or slower than {a}: too little was measured."
        if not self._enough:
            done = count(self.look.blocks, "block")
            return (
                f"Cannot tell whether {b} is faster or slower than {a}: the time was up after "
                f"{done}; at least {FEWEST_BLOCKS} are needed. Give it more with max_time_s=."
            )
        if self.look.settled_below:
            return (
                f"Cannot tell on this host whether {b} is faster or slower than {a}: if they "
                f"differ, then by less than {percent(self.threshold)}, which models differ by "
                "from themselves here."
            )
        return (
            f"Cannot tell on this host whether {b} is faster or slower than {a}: the difference "
            f"is not surely beyond the {percent(self.threshold)} that models differ by from "
            "themselves here."
        )

    @property
    def _enough(self) -> bool:
        return sum(np.isfinite(self.between)) >= FEWEST_BLOCKS

    @property
    def _judged(self) -> bool:
        """Whether there is an interval."""
        return not isnan(self.look.low)

    def _span(self) -> str:
        """Put the interval of the ratio in words, or why there is none."""
        low, high = self.interval
        if self._judged:
            return _range(factor(low), factor(high), " ×")
        if self.stopped:
            return "no interval: stopped before anything could be judged"
        return "no interval: too few blocks"

    def _too_short(self) -> tuple[str, ...]:
        """Say how much time would do, where the rounds were too few to find what is worth it."""
        floor = self.look.threshold
        round_s = 2 * (self.a.samples.median_s + self.b.samples.median_s)
        if self.decided or self.stopped or self.problem is not None or self.pairs >= MOST_PAIRS:
            return ()
        found = time_for(floor, self.pairs, round_s)
        if isnan(round_s) or (self._enough and found <= time_for(0.0, self.pairs, round_s)):
            return ()
        least = WORTH
        if found == inf:  # what the longest blocks find
            least = exp(2 * floor * (self.pairs / MOST_PAIRS) ** 0.5) - 1
            found = time_for(0.0, MOST_PAIRS, round_s)
        asked_s = 10 * ceil(found / _ROUNDS_SHARE / 10)
        known = f" and a floor of {percent(exp(floor) - 1)}" if isfinite(floor) else ""
        note = (
            f"The time was too short for models this slow ({count(len(self.order), 'round')} in "
            f"{seconds(self.wall_s)}): blocks of {count(self.pairs, 'pair')}{known}. To find a "
            f"difference of {percent(least)}, give it about max_time_s={asked_s}."
        )
        return (note,)

    def notes(self) -> tuple[str, ...]:
        """Say in plain words what this rests on, and what it cannot carry."""
        notes = []
        if self.stopped:
            notes.append(f"Stopped on request after {count(self._runs, 'run')}; they are kept.")
        if self.problem is not None:
            notes.append(f"It ended early, after {count(self._runs, 'run')}: {self.problem}")
        if not self.look.floor_is_quantile and not isnan(self.look.floor):
            notes.append(
                f"The noise floor is the largest of {count(2 * self.look.blocks, 'distance')} of "
                f"a model from itself: a 95th percentile takes {2 * FLOOR_BLOCKS}."
            )
        if self.look.placement > self.look.floor:
            notes.append(self._sessions())
        notes += self._too_short()
        for side in (self.a, self.b):
            if not side.session.stoppable:
                notes.append(
                    f"{side.session.provider} runs {side.name} as one piece: a stop takes effect "
                    "only when a run is over."
                )
            notes += [f"{side.name}: {note}" for note in side.session.notes]
        return (*notes, *self.warned)

    def _sessions(self) -> str:
        """Say what the sessions differed by, and why more than that is asked of a difference."""
        within = np.array(self.within, dtype=np.float64).reshape(-1, 2)
        known = within[np.isfinite(within).all(axis=1)]
        told = " and ".join(
            f"those of {side.name} by {percent(exp(abs(float(mean))) - 1)}"
            for side, mean in zip((self.a, self.b), known.mean(axis=0), strict=True)
        )
        return (
            f"Over the whole run the two sessions of a model differed: {told}. From two models it "
            "is not known how much others would: a difference must exceed "
            f"{percent(self.threshold)} to be surely not theirs."
        )

    @property
    def _runs(self) -> int:
        return int(self.order.size)

    # ── frames ────────────────────────────────────────────────────────────────────────────────

    def to_frame(self) -> pd.DataFrame:
        """Return one row: a, b, outcome, ratio and its interval, noise_floor, medians, runs, …"""
        import pandas as pd

        low, high = self.interval
        return pd.DataFrame(
            [
                {
                    "a": self.a.name,
                    "b": self.b.name,
                    "outcome": self.outcome,
                    "ratio": self.ratio,
                    "ratio_low": low,
                    "ratio_high": high,
                    "noise_floor": self.noise_floor,
                    "threshold": self.threshold,
                    "a_median_ms": 1e3 * self.a.samples.median_s,
                    "b_median_ms": 1e3 * self.b.samples.median_s,
                    "runs": self._runs,
                    "blocks": self.look.blocks,
                    "looks": len(self.looks),
                    "canary_drift": self.canary.drift,
                    "timed": self.a.configuration.timed,
                    "stopped": self.stopped,
                }
            ]
        )

    def blocks(self) -> pd.DataFrame:
        """Return a row a block: ``ratio`` (b / a), ``a_itself`` and ``b_itself``."""
        import pandas as pd

        within = np.exp(np.array(self.within).reshape(-1, 2))
        return pd.DataFrame(
            {
                "block": np.arange(len(self.between)),
                "ratio": np.exp(np.array(self.between)),
                "a_itself": within[:, 0],
                "b_itself": within[:, 1],
            }
        )

    def samples(self) -> pd.DataFrame:
        """Return a row a run: round, block, place in the round, model, session, ``ms``."""
        import pandas as pd

        rounds = np.arange(len(self.order))
        parts = []
        for number, side in enumerate((self.a, self.b)):
            for session in range(2):
                column = 2 * number + session
                parts.append(
                    pd.DataFrame(
                        {
                            "round": rounds,
                            "block": rounds // max(1, self.pairs),
                            "place": self.order[:, column].astype(int),
                            "model": side.name,
                            "session": session + 1,
                            "ms": 1e3 * side.runs_s[:, session],
                        }
                    )
                )
        frame = pd.concat(parts, ignore_index=True)
        return frame.sort_values(["round", "place"], ignore_index=True)

    def plot(self) -> Figure:
        """Draw the ratio of each block against the noise floor, and how the times are spread."""
        from workbench import drawing

        return drawing.verdict(
            np.exp(np.array(self.between)),
            np.exp(np.array(self.within).reshape(-1, 2)),
            names=(self.a.name, self.b.name),
            runs_s=(self.a.samples.values_s, self.b.samples.values_s),
            interval=(self.interval[0], self.ratio, self.interval[1]),
            threshold=1 + self.threshold,
            looks=[look.blocks for look in self.looks],
            title=self.sentence(),
        )

    def _card(self) -> Card:
        columns = ("", self.a.name, self.b.name)
        one, two = self.a.samples, self.b.samples
        rows: list[tuple[str, str, str]] = [
            ("median of a run", seconds(one.median_s), seconds(two.median_s)),
            ("IQR", seconds(one.iqr_s), seconds(two.iqr_s)),
            ("runs", str(one.n), str(two.n)),
        ]
        for label, told in (
            ("provider", [s.session.provider_text for s in (self.a, self.b)]),
            ("precision", [s.session.precision for s in (self.a, self.b)]),
            ("threads", [str(s.session.threads) for s in (self.a, self.b)]),
            ("spinning", [s.session.spinning_text for s in (self.a, self.b)]),
            ("batch", [str(s.configuration.batch) for s in (self.a, self.b)]),
        ):
            rows.append((label, told[0], told[1]))
        blocks: list[Block] = [
            Notes((self.sentence(),), urgent=True),
            Facts(self._facts()),
            Table(columns, tuple(rows), "Both sides"),
            Notes(self.notes()),
            Fold("How it was decided", (self._looks_table(), Notes(self._method()))),
        ]
        title = f"{self.b.name} against {self.a.name}"
        return Card(title, tuple(blocks), line=self.sentence())

    def _facts(self) -> tuple[tuple[str, str], ...]:
        ratio = f"{factor(self.ratio)} ({self._span()}), {self.b.name} / {self.a.name}"
        if isnan(self.ratio):
            ratio = self._span()
        floor = f"{percent(self.noise_floor)}: a model against itself"
        rows = [
            ("ratio of the times", ratio),
            ("noise floor", "not known" if isnan(self.noise_floor) else floor),
            ("timed", f"{self.a.configuration.timed}: {self.inside}"),
            ("fed with", self.fed),
            ("took", f"{seconds(self.wall_s)}, {count(self._runs, 'run')}"),
        ]
        drift = self.canary.drift
        if not isnan(drift):
            word = "slower" if drift > 0 else "faster"
            rows.append(("processor's pace", f"{percent(abs(drift))} {word} after than before"))
        return tuple(rows)

    def _looks_table(self) -> Table:
        rows = tuple(
            (
                str(look.number),
                str(look.blocks),
                share(look.error),
                factor(exp(look.log_ratio)),
                "none"
                if isnan(look.low)
                else _range(factor(exp(look.low)), factor(exp(look.high)), " ×"),
                "none" if isnan(look.threshold) else percent(exp(look.threshold) - 1),
                "open" if look.outcome is None else look.outcome.replace("_", " "),
            )
            for look in self.looks
        )
        columns = ("look", "blocks", "error spent", "ratio", "interval", "floor", "outcome")
        return Table(columns, rows, "Looks", numeric=("look", "blocks", "ratio"))

    def _method(self) -> tuple[str, ...]:
        told = (
            f"Blocks of {count(self.pairs, 'pair')} in random order, in two sessions a model. A "
            "difference counts where its whole interval lies beyond the noise floor: the "
            f"{round(100 * FLOOR_QUANTILE)}th percentile of what models differ by from themselves, "
            "over blocks of the same length. All looks together claim a difference where there is "
            f"none in at most {percent(ERROR)} of comparisons (Lan and DeMets 1983)."
        )
        return (told,)


def _range(first: str, second: str, unit: str) -> str:
    """Join both ends of an interval, the unit once: ``38 to 44 %``."""
    return f"{first.removesuffix(unit)} to {second}"
