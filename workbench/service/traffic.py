"""What came over HTTP: requests by route, status, code and model. The runs are the runner's."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.inference.metrics import Metrics, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.timing import Samples

#: Models that are told apart; all others count as "other", and so do names that are no model's.
MOST_MODELS = 200


@dataclass(frozen=True, slots=True)
class Served:
    """What one request came to.

    Attributes
    ----------
    route : the pattern of its address, such as ``/v2/models/{model}/infer``; never the address
    code : of its error, or empty
    model : id, or empty
    """

    route: str
    method: str
    status: int
    code: str
    model: str


class Stages:
    """How long the stages took that are the service's own, such as the queue, by model."""

    def __init__(self) -> None:
        self._metrics = Metrics()

    def add(self, model: str, stages: Mapping[str, float]) -> None:
        """Count the stages of one input, in seconds by name."""
        self._metrics.add(model, stages, 0.0)

    def names(self) -> tuple[str, ...]:
        """Return the stages seen."""
        return tuple(name for name in self._metrics.stages() if name != "total")

    def samples(self, stage: str) -> Samples:
        """Return the most recent durations of a stage."""
        return self._metrics.samples(stage)

    def tallies(self) -> dict[tuple[str, str], Tally]:
        """Return all durations, counted by class: (model, stage) → tally."""
        return {key: t for key, t in self._metrics.tallies().items() if key[1] != "total"}


class Traffic:
    """Counts of requests, safe to read from any thread.

    Parameters
    ----------
    knows : says whether a name is a model's
    """

    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows
        self._lock = threading.Lock()
        self._served: Counter[Served] = Counter()
        self._times: dict[str, Tally] = {}
        self._batches = Tally()
        self._models: set[str] = set()
        #: requests whose answer is not out yet
        self.open = 0

    def add(self, served: Served, took_s: float) -> None:
        """Count one request."""
        if served.model and not self._told_apart(served):
            served = replace(served, model="other")
        with self._lock:
            self._served[served] += 1
            if served.route not in self._times:
                self._times[served.route] = Tally()
            self._times[served.route].add(took_s)

    def _told_apart(self, served: Served) -> bool:
        """Say whether the model of a request is counted under its name."""
        if served.model in self._models:
            return True
        if served.code == "unknown_model" or len(self._models) >= MOST_MODELS:
            return False
        if not self._knows(served.model):
            return False
        with self._lock:
            self._models.add(served.model)
        return True

    def add_batch(self, size: int) -> None:
        """Count the inputs of one request."""
        with self._lock:
            self._batches.add(float(size))

    def served(self) -> dict[Served, int]:
        """Return the counts."""
        with self._lock:
            return dict(self._served)

    def times(self) -> dict[str, Tally]:
        """Return how long requests took, by route."""
        with self._lock:
            return {k: Tally(list(t.counts), t.sum_s) for k, t in self._times.items()}

    def batches(self) -> tuple[int, float]:
        """Return the number of requests with inputs, and the number of their inputs."""
        with self._lock:
            return self._batches.n, self._batches.sum_s

    def totals(self) -> dict[str, int]:
        """Return requests, and those that ended in an error, by code."""
        told: Counter[str] = Counter()
        for served, number in self.served().items():
            told["requests"] += number
            if served.code:
                told[served.code] += number
        return dict(told)
