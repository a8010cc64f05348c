"""Running two models against each other: rounds in random order until it is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, isnan, nan
from typing import TYPE_CHECKING

import numpy as np

from workbench.bench import sequence as sequence_
from workbench.bench.canary import Canary, sing
from workbench.bench.progress import Progress
from workbench.bench.quiet import coarse, middle, settle, step_of, usable
from workbench.bench.sequence import RUNS_A_ROUND, Look
from workbench.errors import CancelledError, InferenceTimeoutError, WorkbenchError
from workbench.timing import clock
from workbench.units import count, factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.bench.subject import Clock, Subject
    from workbench.stopping import Stop

#: Share of the time that the warm-up may take.
_WARM_UP = 0.25
#: Order of the four subjects: the two sessions of a, then the two of b.
_A, _A2, _B, _B2 = range(RUNS_A_ROUND)
#: Order in which they are opened and warmed up: what comes of being first or last is shared.
OPENING = (_A, _B, _B2, _A2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """What happened while two models ran against each other.

    Attributes
    ----------
    look, looks : the last look, and all
    times_s : (rounds, 4) seconds of a, a, b, b; nan where a run had no usable time
    order : (rounds, 4) place of each run within its round, from 0
    between, within : distances of the blocks, see :class:`workbench.bench.sequence.Sequence`
    pairs : of a block
    canary, notes, wall_s, stopped, problem : as of :class:`workbench.Verdict`
    """

    look: Look
    looks: tuple[Look, ...]
    times_s: NDArray[np.float64]
    order: NDArray[np.int8]
    between: tuple[float, ...]
    within: tuple[tuple[float, float], ...]
    pairs: int
    canary: Canary
    notes: tuple[str, ...]
    wall_s: float
    stopped: bool
    problem: WorkbenchError | None


@dataclass(slots=True, eq=False)
class _Race:
    """Two models under way."""

    subjects: Sequence[Subject]
    max_time_s: float
    seed: int
    stop: Stop | None
    told: Progress
    clock: Clock
    decision: sequence_.Sequence
    begun: float
    times: list[list[float]] = field(default_factory=list)
    orders: list[list[int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before_s: float = nan
    after_s: float = nan

    @property
    def left_s(self) -> float:
        return self.begun + self.max_time_s - self.clock()

    def prepare(self) -> None:
        """Look at the processor and the clock, warm up, and plan what there is time for."""
        self.before_s = sing(self.clock)
        step_s = step_of(self.clock)
        typical = []
        for which in OPENING:
            subject = self.subjects[which]
            most_s = _WARM_UP * self.max_time_s / len(self.subjects)
            warm, at = settle(subject, most_s=most_s, stop=self.stop, clock=self.clock)
            typical.append(middle(warm, at))
            if at is None:
                note = f"{subject.name} did not settle within {count(warm.n, 'run')}."
                if note not in self.notes:  # a model has two sessions
                    self.notes.append(note)
        self.notes += coarse(step_s, min(typical))
        round_s, left_s = sum(typical), max(0.0, self.left_s)
        planned = sequence_.plan(round_s if usable(round_s) else left_s, left_s)
        self.decision = sequence_.Sequence(planned, seed=self.seed)

    def run(self) -> None:
        """Run block after block until it is decided, or the time is up."""
        rng = np.random.default_rng(self.seed)
        pairs = self.decision.plan.pairs
        while not self.decision.over and self.left_s > 0:
            self.told.told(1 - self.left_s / self.max_time_s, _word(self.decision))
            if not self.block(pairs, rng):
                break  # the time is up in the middle of a block
            self.decision.feed(*_ratios(self.times[-pairs:]))
        self.after_s = sing(self.clock)

    def block(self, pairs: int, rng: np.random.Generator) -> bool:
        """Run one block, a round a pair; say whether it is whole. Whole rounds are kept."""
        for done in range(1, pairs + 1):
            row, places = [nan] * RUNS_A_ROUND, [0] * RUNS_A_ROUND
            for place, which in enumerate(rng.permutation(RUNS_A_ROUND).tolist()):
                if self.stop is not None:
                    self.stop.check(self.subjects[which].name)
                value = self.subjects[which].run()[0]
                row[which] = value if usable(value) else nan
                places[which] = place
            self.times.append(row)
            self.orders.append(places)
            if self.left_s <= 0:
                return done == pairs
        return True


def run(
    subjects: Sequence[Subject],
    *,
    max_time_s: float,
    seed: int = 0,
    stop: Stop | None = None,
    told: Progress | None = None,
    clock: Clock = clock,
) -> Course:
    """Run four subjects (a, a, b, b) against each other until it is decided.

    ``subjects`` know their own times; ``clock`` is read for the time that is left.

    Raises
    ------
    WorkbenchError : a model failed before anything was measured; later it is kept as ``problem``
    """
    nothing = sequence_.Sequence(sequence_.plan(inf, max_time_s), seed=seed)
    told = told or Progress(None)
    race = _Race(subjects, max_time_s, seed, stop, told, clock, nothing, clock())
    stopped, problem = False, None
    try:
        race.prepare()
        race.run()
    except KeyboardInterrupt:
        stopped = True
    except WorkbenchError as error:
        asked = isinstance(error, (CancelledError, InferenceTimeoutError))
        stopped = asked and stop is not None and stop.over
        if not stopped:
            if not race.times:
                raise
            problem = error
    return _course(race, stopped, problem)


def _course(race: _Race, stopped: bool, problem: WorkbenchError | None) -> Course:
    """Close a race: what is still open cannot be told."""
    decision = race.decision
    if not decision.over:
        decision.look(last=True)
        if stopped or problem is not None:  # when it ended was not planned: nothing is claimed
            decision.looks[-1] = replace(decision.looks[-1], outcome="cannot_tell")
    canary = Canary(race.before_s, race.after_s)
    times_s = np.array(race.times, dtype=np.float64).reshape(-1, RUNS_A_ROUND)
    return Course(
        look=decision.looks[-1],
        looks=tuple(decision.looks),
        times_s=times_s,
        order=np.array(race.orders, dtype=np.int8).reshape(-1, RUNS_A_ROUND),
        between=tuple(decision.between),
        within=tuple(decision.within),
        pairs=decision.plan.pairs,
        canary=canary,
        notes=(*race.notes, *canary.notes(), *dropped(times_s)),
        wall_s=race.clock() - race.begun,
        stopped=stopped,
        problem=problem,
    )


def _ratios(rounds: list[list[float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances of a block: between the models, and of each from itself, (2, pairs)."""
    logs = np.log(np.array(rounds)).T
    between = np.stack([logs[_B] - logs[_A], logs[_B2] - logs[_A2]])
    within = np.stack([logs[_A2] - logs[_A], logs[_B2] - logs[_B]])
    return between, within


def _word(decision: sequence_.Sequence) -> str:
    if not decision.looks or isnan(decision.looks[-1].log_ratio):
        return ""
    return f"ratio {factor(np.exp(decision.looks[-1].log_ratio))}"


def dropped(times_s: NDArray[np.float64]) -> tuple[str, ...]:
    """Say in words how many runs had no usable time, where some had none."""
    bad = int(np.isnan(times_s).sum())
    if not bad:
        return ()
    why = "the clock stood still, stepped back, or gave no number"
    left = "is" if bad == 1 else "are"
    return (
        f"{count(bad, 'run')} of {times_s.size} had no usable time ({why}) and {left} left out.",
    )
