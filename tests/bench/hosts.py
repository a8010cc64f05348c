"""Hosts made of numbers: what identical or different models would take on a machine with noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from clocks import FakeClock, FakeSubject

from workbench.bench.course import Course, run
from workbench.bench.sequence import Look, Sequence, plan

#: Runs of a round, and which distance each pair of them gives (see workbench/bench/sequence.py).
A, A2, B, B2 = range(4)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What disturbs a run: shares of its time.

    ``independent`` : standard deviation of each run by itself
    ``drift`` : by how much the machine gets slower (or faster) over the whole comparison
    ``wander`` : standard deviation of a random walk's step, a round
    ``bursts`` : probability that a burst begins at a run; it takes 1.2 to 3 times as long
    ``burst_runs`` : mean length of a burst, in runs
    ``modes`` : probability that a run is in the slower of two modes (1.3 times as long)
    ``placement`` : standard deviation of what one session takes more than another
    """

    independent: float = 0.0
    drift: float = 0.0
    wander: float = 0.0
    bursts: float = 0.0
    burst_runs: float = 30.0
    modes: float = 0.0
    placement: float = 0.0


INDEPENDENT = Noise(independent=0.03)
REALISTIC = Noise(
    independent=0.01, drift=0.3, wander=0.01, bursts=0.004, modes=0.35, placement=0.003
)


def times(rounds: int, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Return ln(time) of ``rounds`` × (a, a, b, b), run in random order within each round."""
    runs = 4 * rounds
    steady = noise.drift * rng.uniform(-1, 1) * np.linspace(0, 1, runs)
    wander = np.repeat(np.cumsum(rng.normal(0, noise.wander or 1e-12, rounds)), 4)
    burst = np.zeros(runs)
    if noise.bursts:
        for begin in np.flatnonzero(rng.random(runs) < noise.bursts):
            length = 1 + int(rng.exponential(noise.burst_runs))
            burst[begin : begin + length] = np.log(rng.uniform(1.2, 3.0))
    mode = np.log(1.3) * (rng.random(runs) < noise.modes)
    alone = rng.normal(0, noise.independent or 1e-12, runs)
    in_time = (steady + wander + burst + mode + alone).reshape(rounds, 4)
    order = rng.permuted(np.tile(np.arange(4), (rounds, 1)), axis=1)
    found = np.empty((rounds, 4))
    np.put_along_axis(found, order, in_time, axis=1)
    return found + rng.normal(0, noise.placement or 1e-12, 4)


def compared(
    true_ratio: float, noise: Noise, seed: int, *, round_s: float = 0.004, max_time_s: float = 30.0
) -> tuple[Look, Sequence]:
    """Compare two models on a host made of numbers; b takes ``true_ratio`` of the time of a."""
    rng = np.random.default_rng(seed)
    planned = plan(round_s, max_time_s)
    sequence = Sequence(planned, seed=seed)
    told = times(planned.blocks * planned.pairs, noise, rng)
    told[:, [B, B2]] += np.log(true_ratio)
    for block in told.reshape(planned.blocks, planned.pairs, 4):
        a, a2, b, b2 = block.T
        look = sequence.feed(np.stack([b - a, b2 - a2]), np.stack([a2 - a, b2 - b]))
        if sequence.over:
            assert look is not None
            return look, sequence
    raise AssertionError("the last block of a plan decides")


class Machine:
    """A host that disturbs whatever runs on it, in the order in which it is run.

    Its state (drift, wander, a burst that goes on) is shared by all subjects: what is run next
    meets what was there a moment ago, as on a real host.
    """

    def __init__(self, clock: FakeClock, noise: Noise, seed: int, *, lasts_s: float) -> None:
        self.clock, self.noise, self.lasts_s = clock, noise, lasts_s
        self.rng = np.random.default_rng(seed)
        self.begun_s = clock.now
        self.slope = noise.drift * self.rng.uniform(-1, 1)
        self.wander = self.burst = 0.0
        self.burst_runs = 0

    def takes(self, typical_s: float) -> Iterator[float]:
        """Yield what the runs of one session take, each drawn when it is run."""
        placement = self.rng.normal(0, self.noise.placement or 1e-12)
        while True:
            yield typical_s * float(np.exp(placement + self.disturbance()))

    def disturbance(self) -> float:
        """Return ln of what the next run takes more than it would alone."""
        noise, rng = self.noise, self.rng
        if self.burst_runs:
            self.burst_runs -= 1
        elif rng.random() < noise.bursts:
            self.burst = float(np.log(rng.uniform(1.2, 3.0)))
            self.burst_runs = 1 + int(rng.exponential(noise.burst_runs))
        self.wander += rng.normal(0, (noise.wander or 1e-12) / 2)  # a step a round of four
        steady = self.slope * (self.clock.now - self.begun_s) / self.lasts_s
        mode = np.log(1.3) * (rng.random() < noise.modes)
        alone = rng.normal(0, noise.independent or 1e-12)
        burst = self.burst if self.burst_runs else 0.0
        return float(steady + self.wander + burst + mode + alone)


def raced(
    true_ratio: float, noise: Noise, seed: int, *, run_s: float = 0.001, max_time_s: float = 8.0
) -> Course:
    """Run a whole comparison, as :func:`workbench.compare` does, on a host made of numbers."""
    clock = FakeClock()
    machine = Machine(clock, noise, seed, lasts_s=max_time_s)
    subjects = [
        FakeSubject(name, clock, machine.takes(run_s * ratio))
        for name, ratio in (("a", 1.0), ("a", 1.0), ("b", true_ratio), ("b", true_ratio))
    ]
    return run(subjects, max_time_s=max_time_s, seed=seed, clock=clock)
