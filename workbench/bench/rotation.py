"""Measuring many configurations in turn: rounds in random order, until each has enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, inf, isnan, nan
from typing import TYPE_CHECKING

import numpy as np

from workbench.bench.canary import Canary, sing
from workbench.bench.progress import Progress
from workbench.bench.quiet import middle, settle, step_of, usable
from workbench.errors import CancelledError, InferenceTimeoutError, WorkbenchError
from workbench.timing import Samples, clock

if TYPE_CHECKING:
    from workbench.bench.subject import Clock, Subject
    from workbench.stopping import Stop

#: Fewest runs of a configuration, so that its spread can be judged and p90 be given.
FEWEST_RUNS = 30
#: Most rounds in which the runs of a configuration are spread over the measurement.
_ROUNDS = 60
#: Share of the time that the warm-up may take.
_WARM_UP = 0.25
#: A configuration is given up where its runs without a usable time are more than so many times
#: those with one, counted from the fewest on.
_PATIENCE = 3


@dataclass(slots=True, eq=False)
class Lane:
    """One configuration under way.

    Attributes
    ----------
    name : how it is called
    subject : what is run; None where it could not be opened
    warm, settled_at : its warm-up, and the run from which it had settled
    laps : what each run told, see :class:`workbench.bench.subject.Subject`
    places : the place of each run in the whole measurement, from 0
    at_s : when each run began, in seconds from the start
    problem : why it was given up
    """

    name: str
    subject: Subject | None
    problem: WorkbenchError | None = None
    warm: Samples = field(default_factory=lambda: Samples(()))
    settled_at: int | None = None
    laps: list[tuple[float, ...]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    _typical_s: float = nan
    _summed_s: float = 0.0
    _usable: int = 0

    def wanted(self, min_time_s: float) -> int:
        """Return how many more runs this takes: 0 where it has enough, or was given up.

        From :data:`FEWEST_RUNS` on its own runs say how long one takes: a warm-up may have been
        slower.
        """
        if self.problem is not None or self.subject is None:
            return 0
        if len(self.laps) - self._usable > _PATIENCE * max(self._usable, FEWEST_RUNS):
            return 0
        typical_s = self._typical_s if usable(self._typical_s) else min_time_s / FEWEST_RUNS
        if self._usable >= FEWEST_RUNS:
            typical_s = self._summed_s / self._usable
        by_time = ceil(max(0.0, min_time_s - self._summed_s) / typical_s)
        return max(by_time, FEWEST_RUNS - len(self.laps), 0)

    def add(self, lap: tuple[float, ...], place: int, at_s: float) -> None:
        """Keep a run; one without a usable time is kept as nan."""
        if 0 < lap[0] < inf and (len(lap) == 1 or min(lap) >= 0):
            self._summed_s += lap[0]
            self._usable += 1
        else:
            lap = (nan,) * len(lap)
        self.laps.append(lap)
        self.places.append(place)
        self.at_s.append(at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How a measurement went: see :class:`workbench.Benchmark`."""

    canary: Canary
    step_s: float
    wall_s: float
    stopped: bool
    time_was_up: bool


@dataclass(slots=True, eq=False)
class _Turning:
    lanes: Sequence[Lane]
    min_time_s: float
    max_time_s: float
    rng: np.random.Generator
    stop: Stop | None
    told: Progress
    clock: Clock
    begun: float
    place: int = 0

    @property
    def left_s(self) -> float:
        return self.begun + self.max_time_s - self.clock()

    def warm_up(self) -> None:
        """Run each until its times settle; one that fails is given up."""
        for number, lane in enumerate(self.lanes):
            self.told.told(_WARM_UP * number / len(self.lanes), f"warm-up of {lane.name}")
            if lane.subject is None or lane.problem is not None:
                continue
            most_s = _WARM_UP * self.max_time_s / len(self.lanes)
            try:
                lane.warm, lane.settled_at = settle(
                    lane.subject, most_s=most_s, stop=self.stop, clock=self.clock
                )
            except WorkbenchError as error:
                self._given_up(lane, error)
            lane._typical_s = middle(lane.warm, lane.settled_at)

    def turn(self) -> None:
        """Run all that is wanted, in rounds: each has its share of every round."""
        while self.left_s > 0:
            wanted = {i: n for i, lane in enumerate(self.lanes) if (n := self._wanted(lane))}
            if not wanted:
                return
            rounds = max(1, min(_ROUNDS, *wanted.values()))
            for number in range(rounds):
                turns = [
                    i
                    for i, n in wanted.items()
                    for _ in range((number + 1) * n // rounds - number * n // rounds)
                ]
                self.rng.shuffle(turns)
                self._round(turns)
                if self.left_s <= 0:
                    return

    def _wanted(self, lane: Lane) -> int:
        return lane.wanted(self.min_time_s)

    def _round(self, turns: list[int]) -> None:
        clock, begun, lanes, stop, place = self.clock, self.begun, self.lanes, self.stop, self.place
        for i in turns:
            lane = lanes[i]
            if lane.problem is not None or lane.subject is None:
                continue
            if stop is not None:
                stop.check(lane.name)
            at_s = clock() - begun
            if at_s > self.max_time_s:
                break
            try:
                lane.add(lane.subject.run(), place, at_s)
            except WorkbenchError as error:
                self._given_up(lane, error)
            place += 1
        self.place = place
        done = [min(1.0, lane._summed_s / self.min_time_s) for lane in self.lanes if lane.subject]
        by_runs = sum(done) / len(done) if done else 1.0
        by_time = 1 - self.left_s / self.max_time_s
        self.told.told(_WARM_UP + (1 - _WARM_UP) * max(by_runs, by_time))

    def _given_up(self, lane: Lane, error: WorkbenchError) -> None:
        """Mark a lane that failed; pass on what was asked for."""
        asked = isinstance(error, (CancelledError, InferenceTimeoutError))
        if asked and self.stop is not None and self.stop.over:
            raise error
        lane.problem = error


def rotate(
    lanes: Sequence[Lane],
    *,
    min_time_s: float,
    max_time_s: float,
    seed: int = 0,
    stop: Stop | None = None,
    told: Progress | None = None,
    clock: Clock = clock,
) -> Rotation:
    """Measure all lanes in turn, in random order; what is measured is kept in them.

    Each is run until its runs add up to ``min_time_s`` and are :data:`FEWEST_RUNS`, all of them
    together for at most ``max_time_s``. A stop or the keyboard interrupt ends it early.
    """
    begun = clock()
    rng = np.random.default_rng(seed)
    told = told or Progress(None)
    turning = _Turning(lanes, min_time_s, max_time_s, rng, stop, told, clock, begun)
    stopped = False
    before_s = after_s = step_s = nan
    try:
        before_s, step_s = sing(clock), step_of(clock)
        turning.warm_up()
        turning.turn()
        after_s = sing(clock)
    except KeyboardInterrupt:
        stopped = True
    except (CancelledError, InferenceTimeoutError):
        stopped = True
    short = any(turning._wanted(lane) for lane in lanes)
    return Rotation(
        canary=Canary(before_s, after_s),
        step_s=step_s,
        wall_s=clock() - begun,
        stopped=stopped,
        time_was_up=short and not stopped and not isnan(after_s),
    )
