"""What was measured of one configuration: raw runs, what they tell, and what they cannot."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.bench.subject import STAGES
from workbench.timing import UNSTABLE, Samples, needed
from workbench.units import count, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.bench.subject import Configuration
    from workbench.models.session import SessionFacts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One configuration and its runs.

    Attributes
    ----------
    name : by which it is told from the others
    configuration : how it was run
    session : what really ran; None where it could not be opened
    laps_s : (runs, 1) seconds of each run, or (runs, 4): the whole, then preprocessing, inference
        and postprocessing; a row of nan where the clock gave no usable time
    places : (runs,) place of each run in the whole measurement, from 0
    at_s : (runs,) seconds from the start at which each began
    warm_up_s : seconds of each run of the warm-up, apart from the others
    settled_at : the run of the warm-up from which the times were steady; None: they never were
    first_run_s : seconds of the session's very first run
    peak_bytes : what a fresh process grew by at most; None where it was not measured
    problem, code : why it was given up, in words and as a code; empty where it was not
    """

    name: str
    configuration: Configuration
    session: SessionFacts | None
    laps_s: NDArray[np.float64]
    places: NDArray[np.int64]
    at_s: NDArray[np.float64]
    warm_up_s: tuple[float, ...] = ()
    settled_at: int | None = None
    first_run_s: float = nan
    peak_bytes: int | None = None
    problem: str = ""
    code: str = ""

    @property
    def samples(self) -> Samples:
        """Its runs that had a usable time, in seconds, in the order in which they were taken."""
        values = self.laps_s[:, 0]
        return Samples(tuple(values[np.isfinite(values)].tolist()), self.name)

    @property
    def dropped(self) -> int:
        """Runs without a usable time."""
        return int(np.isnan(self.laps_s[:, 0]).sum())

    @property
    def runs_per_s(self) -> float:
        """Runs in a second, one after the other: the inverse of their mean; nan without runs."""
        values = self.samples.values_s
        return len(values) / sum(values) if values else nan

    @property
    def images_per_s(self) -> float:
        """Pictures in a second."""
        return self.configuration.batch * self.runs_per_s

    @property
    def stages_s(self) -> dict[str, float]:
        """Median seconds of each stage; nan where only the inference was timed."""
        known = self.laps_s[np.isfinite(self.laps_s[:, 0])]
        if self.laps_s.shape[1] < 4 or not len(known):
            inference = self.samples.median_s if self.laps_s.shape[1] == 1 else nan
            return dict(zip(STAGES, (nan, inference, nan), strict=True))
        medians = np.median(known[:, 1:], axis=0).tolist()
        return dict(zip(STAGES, medians, strict=True))

    def row(self) -> dict[str, Any]:
        """Return its row of :meth:`workbench.Benchmark.to_frame`."""
        configuration, session, samples = self.configuration, self.session, self.samples
        peak = nan if self.peak_bytes is None else float(self.peak_bytes)
        return {
            "model": configuration.model,
            "batch": configuration.batch,
            "threads": session.threads if session else configuration.options.threads,
            "provider": session.provider_text if session else "",
            "precision": session.precision if session else "",
            "timed": configuration.timed,
            "n": samples.n,
            **{key: value for key, value in samples.summary().items() if key != "n"},
            "runs_per_s": self.runs_per_s,
            "images_per_s": self.images_per_s,
            **{f"{stage}_ms": 1e3 * value for stage, value in self.stages_s.items()},
            "first_run_ms": 1e3 * self.first_run_s,
            "settled_after": nan if self.settled_at is None else float(self.settled_at),
            "peak_memory_bytes": peak,
            "notes": " ".join(self.notes()),
            "error": self.problem,
        }

    def notes(self) -> tuple[str, ...]:
        """Say in plain words what its runs cannot carry."""
        samples, notes = self.samples, []
        if self.problem:
            done = f" after {count(samples.n, 'run')}" if samples.n else ""
            notes.append(f"Given up{done}: {self.problem}")
        if self.dropped:
            notes.append(
                f"{count(self.dropped, 'run')} had no usable time (the clock stood still, stepped "
                "back, or gave no number) and are left out."
            )
        if samples.n and self.settled_at is None:
            notes.append(
                f"The times did not settle within {count(len(self.warm_up_s), 'run')} of warm-up."
            )
        if 0 < samples.n < 10:
            notes.append(f"{count(samples.n, 'run')}: too few to judge the spread.")
        elif samples.spread > UNSTABLE:
            notes.append(f"IQR is {share(samples.spread)} of the median: unstable.")
        if 0 < samples.n < needed(0.99):
            notes.append(f"p99 needs {needed(0.99)} runs, had {samples.n}.")
        if self.session is not None:
            notes += self.session.notes
            if not self.session.stoppable:
                notes.append(
                    f"{self.session.provider} runs the graph as one piece: a stop takes effect "
                    "only when a run is over."
                )
        return tuple(notes)
