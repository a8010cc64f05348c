"""Cold starts: from nothing to steady, in fresh processes, taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import median, quantiles
from typing import TYPE_CHECKING

from workbench.cards import Block, Card, Displayable, Facts, Notes, Stack, Table
from workbench.timing import Samples
from workbench.units import count, seconds, size

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from workbench.errors import WorkbenchError

#: The stages of a cold start, in their order; what follows them is steady.
STAGES = ("launch", "import", "check", "read", "optimise", "first run", "settling")
#: What each is, in words.
MEANING = {
    "launch": "the interpreter starts",
    "import": "this package and onnxruntime are imported",
    "check": "the file is looked at, and what is known of it found",
    "read": "the file comes from the disk, or from the system's cache",
    "optimise": "the engine parses the graph, simplifies it and lays out the weights",
    "first run": "memory is set aside and reached for the first time",
    "settling": "further runs, until the times are steady",
    "steady": "one run from then on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One cold start, in a process of its own.

    Attributes
    ----------
    fed : the inputs' shapes, in words
    number : which repetition it was, from 0
    stages : stage → seconds; a stage that was not reached is missing
    runs : seconds of each run after the first
    settled_at : index of the first steady one of them; None: not settled
    provider, precision, threads : how it ran
    peak_bytes, grown_bytes : the most memory that the process held, and what of it came after the
        imports; None where the system does not tell
    error : why there is nothing more
    """

    fed: str
    number: int
    stages: Mapping[str, float]
    runs: Samples
    settled_at: int | None = None
    provider: str = ""
    precision: str = ""
    threads: int = 0
    peak_bytes: int | None = None
    grown_bytes: int | None = None
    error: WorkbenchError | None = None

    @property
    def settling_s(self) -> float:
        """Seconds of the runs before the steady ones; nan where they never were."""
        return nan if self.settled_at is None else sum(self.runs.values_s[: self.settled_at])

    @property
    def steady_s(self) -> float:
        """Median seconds of the steady runs (of all, where they never were); nan without any."""
        return Samples(self.runs.values_s[self.settled_at or 0 :]).median_s

    def stage_s(self, stage: str) -> float:
        """Return the seconds of a stage, of ``settling`` or of ``steady``; nan for none."""
        match stage:
            case "settling":
                return self.settling_s
            case "steady":
                return self.steady_s
            case _:
                return self.stages.get(stage, nan)

    @property
    def first_answer_s(self) -> float:
        """Seconds from launching the process to its first answer; nan where there was none."""
        parts = [self.stage_s(stage) for stage in STAGES[:-1]]
        return nan if "first run" not in self.stages else sum(p for p in parts if not isnan(p))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ColdStart(Displayable):
    """From nothing to steady, in fresh processes.

    Attributes
    ----------
    model : id
    starts : each cold start, in the order in which they were taken
    wanted : how many were asked for
    seed : of the order
    stopped : whether someone stopped it early
    """

    model: str
    starts: tuple[Start, ...]
    wanted: int
    seed: int = 0
    stopped: bool = False

    @property
    def fed(self) -> tuple[str, ...]:
        """The shapes that were fed, in words, in a fixed order."""
        return tuple(dict.fromkeys(sorted((s.fed for s in self.starts), key=_by_length)))

    def stage(self, stage: str, fed: str) -> Samples:
        """Return the seconds of a stage with a shape, one a process."""
        values = [s.stage_s(stage) for s in self.starts if s.fed == fed]
        return Samples(tuple(v for v in values if not isnan(v)), f"{stage}, {fed}")

    def first_answer(self, fed: str) -> Samples:
        """Return the seconds to the first answer with a shape, one a process."""
        values = [s.first_answer_s for s in self.starts if s.fed == fed]
        return Samples(tuple(v for v in values if not isnan(v)), f"first answer, {fed}")

    @property
    def failed(self) -> tuple[Start, ...]:
        """The starts that did not get through."""
        return tuple(s for s in self.starts if s.error is not None)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a stage and shape: ``fed``, ``stage``, ``median_ms``, ``low_ms`` and
        ``high_ms`` (quartiles; the extremes below 4 processes), ``n``."""
        import pandas as pd

        rows = []
        for fed in self.fed:
            for stage in (*STAGES, "steady"):
                found = self.stage(stage, fed)
                low, high = spread(found.values_s)
                rows.append((fed, stage, 1e3 * found.median_s, 1e3 * low, 1e3 * high, found.n))
        columns = ["fed", "stage", "median_ms", "low_ms", "high_ms", "n"]
        return pd.DataFrame(rows, columns=columns)

    def samples(self) -> pd.DataFrame:
        """Return a row a process: its stages in milliseconds, memory, and its error if any."""
        import pandas as pd

        rows = [
            {
                "fed": s.fed,
                "number": s.number,
                **{
                    f"{stage.replace(' ', '_')}_ms": 1e3 * s.stage_s(stage)
                    for stage in (*STAGES, "steady")
                },
                "first_answer_ms": 1e3 * s.first_answer_s,
                "runs": s.runs.n,
                "settled_at": s.settled_at,
                "provider": s.provider,
                "precision": s.precision,
                "threads": s.threads,
                "peak_bytes": s.peak_bytes,
                "grown_bytes": s.grown_bytes,
                "error": "" if s.error is None else s.error.code,
                "why": "" if s.error is None else str(s.error),
            }
            for s in self.starts
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Draw the stages as stacked bars, a row a shape, with a mark for each process."""
        from workbench import charts

        return charts.cold_starts(
            {fed: {stage: self.stage(stage, fed).median_s for stage in STAGES} for fed in self.fed},
            {fed: self.first_answer(fed).values_s for fed in self.fed},
            title=f"Cold start of {self.model}",
        )

    def notes(self) -> tuple[str, ...]:
        """Say in plain words what these figures mean and what they cannot carry."""
        notes = []
        if self.stopped:
            notes.append(
                f"Stopped on request: {len(self.starts)} of {count(self.wanted, 'process')}."
            )
        if self.starts and len(self.failed) < len(self.starts):
            notes.append(
                "The file had been read before: it came from the system's cache. The first start "
                "after booting also waits for the disk."
            )
        unsettled = sum(s.error is None and s.settled_at is None for s in self.starts)
        if unsettled:
            notes.append(
                f"The times did not settle in {unsettled} of {count(len(self.starts), 'process')}:"
                " the machine is busy, or more runs are needed."
            )
        return tuple(notes)

    def _card(self) -> Card:
        done = [s for s in self.starts if s.error is None]
        rows = [("processes", f"{len(done)} of {self.wanted}, one after another, shuffled")]
        if done:
            last = done[-1]
            threads = count(last.threads, "thread")
            rows.append(("ran on", f"{last.provider}, {last.precision}, {threads}"))
        blocks: list[Block] = []
        told = dict.fromkeys(str(s.error) for s in self.failed)
        if told:
            failed = (
                f"{len(self.failed)} of {count(len(self.starts), 'process')} did not get through."
            )
            blocks.append(Notes((failed, *list(told)[:3]), urgent=True))
        for fed in self.fed:
            first = self.first_answer(fed)
            if not first.n:
                continue
            low, high = spread(first.values_s)
            rows.append(
                (f"first answer, {fed}",
                 f"{seconds(first.median_s)} ({seconds(low)} to {seconds(high)})")
            )  # fmt: skip
            rows.append((f"steady, {fed}", f"{seconds(self.stage('steady', fed).median_s)} a run"))
            memory = [s.grown_bytes for s in done if s.fed == fed and s.grown_bytes is not None]
            if memory:
                rows.append((f"memory, {fed}", f"{size(median(memory))} beyond the imports"))
        blocks.insert(0, Facts(tuple(rows)))
        for fed in self.fed:
            parts = [(stage, self.stage(stage, fed).median_s) for stage in STAGES]
            if shown := tuple((stage, s) for stage, s in parts if s > 0):
                blocks.append(Stack(shown, f"From nothing to steady, {fed} (medians)"))
        if done:
            meaning = tuple((stage, MEANING[stage]) for stage in (*STAGES, "steady"))
            blocks.append(Table(("stage", "what happens"), meaning, "The stages"))
        blocks.append(Notes(self.notes()))
        return Card(f"cold start of {self.model}", tuple(blocks), line=self._line())

    def _line(self) -> str:
        if not self.fed or not (first := self.first_answer(self.fed[0])).n:
            return "nothing measured"
        steady_s = self.stage("steady", self.fed[0]).median_s
        return (
            f"first answer after {seconds(first.median_s)}, then {seconds(steady_s)} a run, "
            f"median of {count(first.n, 'process')}"
        )


def spread(values_s: Sequence[float]) -> tuple[float, float]:
    """Return the quartiles; below four values, the extremes; nan without any."""
    if len(values_s) < 4:
        return min(values_s, default=nan), max(values_s, default=nan)
    low, _, high = quantiles(values_s, n=4, method="inclusive")
    return low, high


def _by_length(text: str) -> tuple[int, str]:
    return len(text), text
