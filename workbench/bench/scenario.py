"""Scenarios in MLPerf's words: how the queries come decides what is measured.

The definitions are those of LoadGen, the load generator of MLPerf Inference (Reddi et al. 2020,
arXiv:1911.02549, section IV; "MLPerf Inference Rules", section 3):

``single_stream``
    one picture a query, the next when the last is answered; told by p90 of the latency
``multi_stream``
    eight pictures a query, the next when the last is answered; told by p99 of the latency
``server``
    one picture a query, arriving at random (Poisson); told by the highest rate at which p99 of
    the latency stays within a bound
``offline``
    all pictures are there from the beginning; told by pictures a second

Ours differ: they take seconds (LoadGen asks for 60 s at least, and up to 270,336 queries), so a
percentile that the queries cannot carry is not told. No accuracy is measured beside. A picture
is an array that is ready. In ``server`` and ``offline`` each core has a session of one thread
(LoadGen leaves that to who is measured), and ``offline`` sends a query a picture, not one with
all of them. The highest rate is found by bisection, not by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from workbench.bench.progress import Progress
from workbench.bench.progress import progress as bar
from workbench.bench.quiet import neighbours, quiet
from workbench.bench.shot import batches
from workbench.bench.trial import (
    TAIL,
    TRIALS,
    Trial,
    all_at_once,
    arrivals,
    arriving,
    highest_rate,
    on_request,
    one_after_the_other,
)
from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.errors import CancelledError, InferenceTimeoutError, WorkbenchError
from workbench.host import host, return_memory
from workbench.models.session import Options, Session, open_session
from workbench.stopping import Stop
from workbench.timing import clock, needed
from workbench.units import count, decimal, seconds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.bench.shot import Shots
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.models.session import SessionFacts

Scenario = Literal["single_stream", "multi_stream", "server", "offline"]
SCENARIOS: tuple[Scenario, ...] = ("single_stream", "multi_stream", "server", "offline")
#: Pictures in a query of ``multi_stream`` (MLPerf Inference Rules, from v2.0 on).
STREAMS = 8
#: Percentile that a scenario is told by; ``offline`` is told by its throughput.
PERCENTILE = {"single_stream": 0.9, "multi_stream": TAIL, "server": TAIL}
#: Latency bound of ``server``: that of ResNet-50 in MLPerf Inference, in seconds.
BOUND_S = 0.015
#: Runs before anything counts, and queries from which the pace is judged at first.
_WARM, _PACE = 10, 20
#: Most queries of a trial.
_MOST = 100_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Played:
    """One model in one scenario.

    Attributes
    ----------
    model : id
    scenario : whose words these are, see :mod:`workbench.bench.scenario`
    pictures : in a query
    workers : sessions that answer at the same time
    session : what really ran; None where it could not be opened
    trial : its queries; of ``server`` those at the highest rate that met the bound
    trials : of ``server``, all rates that were tried
    bound_s : of ``server``, on p99 of the latency
    highest_rate : of ``server``, queries a second; 0.0 where no rate met the bound, nan where it
        was stopped before one was tried to the end
    time_was_up : of ``server``, whether the search ended before it was done
    stopped : whether someone stopped it; the queries until then are kept
    problem : why it was given up, in words; empty where it was not
    """

    model: str
    scenario: Scenario
    pictures: int
    workers: int
    session: SessionFacts | None
    trial: Trial | None
    trials: tuple[Trial, ...] = ()
    bound_s: float = nan
    highest_rate: float = nan
    time_was_up: bool = False
    stopped: bool = False
    problem: str = ""

    @property
    def images_per_s(self) -> float:
        """Pictures a second; nan without queries."""
        return nan if self.trial is None else self.pictures * self.trial.queries_per_s

    def sentence(self) -> str:
        """Say what the scenario is told by."""
        if self.problem:
            return f"{self.model}: given up: {self.problem}"
        if self.trial is None or not len(self.trial.latency_s):
            return f"{self.model}: nothing was measured."
        told = self._told()
        if not self.stopped:
            return told
        answered = sum(t.samples.n for t in self.trials or (self.trial,))
        return f"{told} Stopped on request after {count(answered, 'answer')}."

    def _told(self) -> str:
        """Say what was found, of one with queries."""
        assert self.trial is not None
        if self.scenario == "offline":
            return (
                f"{self.model}: {decimal(self.images_per_s)} pictures a second, "
                f"{count(self.workers, 'worker')}."
            )
        if self.scenario == "server":
            late = ""
            if self.time_was_up:
                tried = count(len(self.trials), "trial")
                late = f" The time was up after {tried}: max_time_s= gives more."
            if isnan(self.highest_rate):
                return f"{self.model}: no rate was tried to its end."
            if not self.highest_rate:
                none = f"{self.model}: no rate that was tried keeps p99 within"
                return f"{none} {seconds(self.bound_s)}.{late}"
            return (
                f"{self.model}: {decimal(self.highest_rate)} queries a second keep p99 within "
                f"{seconds(self.bound_s)}.{late}"
            )
        share = PERCENTILE[self.scenario]
        value = self.trial.samples.percentile_s(share)
        name = f"p{round(100 * share)}"
        if isnan(value):
            n = self.trial.samples.n
            return f"{self.model}: {name} needs {needed(share)} queries, had {n}."
        return f"{self.model}: {name} of the latency is {seconds(value)}."

    def row(self) -> dict[str, Any]:
        """Return its row of :meth:`Scenarios.to_frame`."""
        samples = self.trial.samples if self.trial is not None else None
        summary = samples.summary() if samples is not None else {}
        return {
            "model": self.model,
            "scenario": self.scenario,
            "pictures": self.pictures,
            "workers": self.workers,
            "threads": self.session.threads if self.session else None,
            "provider": self.session.provider_text if self.session else "",
            "precision": self.session.precision if self.session else "",
            "queries": samples.n if samples is not None else 0,
            **{k: summary.get(k, nan) for k in ("median_ms", "p90_ms", "p95_ms", "p99_ms")},
            "queries_per_s": nan if self.trial is None else self.trial.queries_per_s,
            "images_per_s": self.images_per_s,
            "highest_rate": self.highest_rate,
            "bound_ms": 1e3 * self.bound_s,
            "stopped": self.stopped,
            "error": self.problem,
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Scenarios(Displayable, Sequence[Played]):
    """Models in one scenario. Made by :func:`workbench.benchmark` with ``scenario=``.

    Attributes
    ----------
    scenario : which
    played : a value a model
    seed : of the arrivals
    stopped : whether someone stopped it early
    warned : what else was noticed, in words
    """

    scenario: Scenario
    played: tuple[Played, ...]
    seed: int
    stopped: bool = False
    warned: tuple[str, ...] = ()

    @overload
    def __getitem__(self, at: int) -> Played: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Played]: ...
    def __getitem__(self, at: int | slice) -> Played | Sequence[Played]:
        return self.played[at]

    def __len__(self) -> int:
        return len(self.played)

    def __iter__(self) -> Iterator[Played]:
        return iter(self.played)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a model: latencies (nan where n cannot carry them), rates, ``stopped``,
        ``error``.
        """
        import pandas as pd

        columns = list(_failed("", self.scenario, "").row())
        return pd.DataFrame([one.row() for one in self.played], columns=columns)

    def samples(self) -> pd.DataFrame:
        """Return a row a query, in the order in which they were answered.

        ``model``, ``scenario``, ``trial`` (of the model, from 0; ``server`` has one a rate that
        was tried), ``rate`` (queries a second that were sent; nan where the next waited for the
        last), ``query`` (of the trial, from 0), ``ms`` (from when it was due to its answer).
        """
        import pandas as pd

        columns = ["model", "scenario", "trial", "rate", "query", "ms"]
        parts = [
            pd.DataFrame(
                {
                    "model": one.model,
                    "scenario": one.scenario,
                    "trial": number,
                    "rate": trial.rate,
                    "query": np.arange(len(trial.latency_s)),
                    "ms": 1e3 * trial.latency_s,
                }
            )
            for one in self.played
            for number, trial in enumerate(one.trials or ((one.trial,) if one.trial else ()))
        ]
        filled = [part for part in parts if len(part)]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)

    def trials(self) -> pd.DataFrame:
        """Return a row a rate that ``server`` tried: ``rate``, ``queries``, ``p99_ms``, ``met``,
        and ``stopped``: one that was ended before its last query meets nothing.
        """
        import pandas as pd

        columns = ["model", "rate", "queries", "median_ms", "p99_ms", "met", "stopped"]
        rows = [
            (one.model, t.rate, t.samples.n, 1e3 * t.samples.median_s,
             1e3 * t.samples.percentile_s(TAIL), t.meets(one.bound_s), t.stopped)
            for one in self.played
            for t in one.trials
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def plot(self) -> Figure:
        """Draw how the latencies are spread, a line a model."""
        from workbench import drawing

        rows = {o.model: o.trial.samples.values_s for o in self.played if o.trial is not None}
        return drawing.ecdf(rows, title=f"Share of queries answered within … ({self.scenario})")

    def _card(self) -> Card:
        columns = ("model", "queries", "workers", "threads", "median", "p90", "p99", "queries/s",
                   "pictures/s")  # fmt: skip
        rows = tuple(_cells(one) for one in self.played)
        notes = [*self.warned]
        if self.stopped:
            notes.insert(0, "Stopped on request; the queries until then are kept.")
        facts = [("scenario", f"{self.scenario}: {_MEANS[self.scenario]}")]
        if self.scenario == "server":
            facts.append(
                ("rates tried", "bisection; a rate that misses the bound is tried once more")
            )
        sentences = tuple(one.sentence() for one in self.played)
        blocks = (
            Notes(sentences, urgent=True),
            Table(columns, rows, f"Queries: {self.scenario}", columns[1:]),
            Notes(tuple(notes)),
            Facts(tuple(facts)),
        )
        return Card(f"scenario {self.scenario}", blocks, line=" ".join(sentences))


_MEANS = {
    "single_stream": "one picture a query, the next when the last is answered",
    "multi_stream": f"{STREAMS} pictures a query, the next when the last is answered",
    "server": "one picture a query, arriving at random (Poisson), first come, first served",
    "offline": "all queries are due at the beginning, every core answers with one thread",
}


def _cells(one: Played) -> tuple[str, ...]:
    row = one.row()

    def time(key: str) -> str:
        return "–" if isnan(row[key]) else seconds(row[key] / 1e3)

    def rate(key: str) -> str:
        return "–" if isnan(row[key]) else decimal(row[key])

    threads = "–" if row["threads"] is None else str(row["threads"])
    return (
        *(one.model, str(row["queries"]), str(one.workers), threads),
        *(time("median_ms"), time("p90_ms"), time("p99_ms")),
        *(rate("queries_per_s"), rate("images_per_s")),
    )


def play(
    hub: ModelHub,
    models: Sequence[Model],
    shots: Shots,
    *,
    scenario: Scenario,
    options: Options,
    min_time_s: float,
    max_time_s: float,
    bound_s: float,
    seed: int,
    stop: Stop | None,
    progress: bool,
) -> Scenarios:
    """Measure models in a scenario, one after the other; see :func:`workbench.benchmark`."""
    around = neighbours(hub)
    played: list[Played] = []
    stopped = False
    with bar(scenario, progress) as told, quiet(hub):
        for number, model in enumerate(models):
            told.told(number / len(models), model.id)
            try:
                played.append(
                    _play_one(model, shots, scenario, options, (min_time_s, max_time_s), bound_s,
                              seed, stop, told, (number, len(models)))
                )  # fmt: skip
            except (KeyboardInterrupt, WorkbenchError) as error:
                if on_request(error, stop):  # before its first query
                    stopped = True
                    break
                played.append(_failed(model.id, scenario, str(error)))
            if played[-1].stopped:
                stopped = True
                break
    return Scenarios(
        scenario=scenario, played=tuple(played), seed=seed, stopped=stopped, warned=around
    )


def _failed(model: str, scenario: Scenario, problem: str) -> Played:
    return Played(
        model=model, scenario=scenario, pictures=_pictures(scenario), workers=0, session=None,
        trial=None, problem=problem,
    )  # fmt: skip


def _pictures(scenario: Scenario) -> int:
    return STREAMS if scenario == "multi_stream" else 1


def _play_one(
    model: Model,
    shots: Shots,
    scenario: Scenario,
    options: Options,
    times_s: tuple[float, float],
    bound_s: float,
    seed: int,
    stop: Stop | None,
    told: Progress,
    place: tuple[int, int],
) -> Played:
    pictures = _pictures(scenario)
    feeds = batches(model, shots, pictures)
    parallel = scenario in ("server", "offline")
    workers = host().threads if parallel else 1
    if parallel:
        options = Options(threads=1, providers=options.providers, spinning=False)
    limit_s = model.hub.timeout_s
    min_time_s, max_time_s = times_s
    with ExitStack() as stack:
        stack.callback(return_memory)
        sessions: list[Session] = []
        for _ in range(workers):
            session = open_session(model.path, options, model.graph, name=model.id)
            stack.callback(session.close)
            sessions.append(session)
        turns = [0] * workers
        inner = Stop()  # also what the keyboard interrupt ends the workers' runs with
        if stop is not None:
            stack.enter_context(stop.acting(inner.cancel))

        def answer(number: int) -> None:
            turns[number] = (turns[number] + 1) % len(feeds)
            sessions[number].run(feeds[turns[number]], timeout_s=limit_s, stop=inner)

        for number in range(workers):
            for _ in range(_WARM):
                answer(number)
        blank = Played(model=model.id, scenario=scenario, pictures=pictures, workers=workers,
                       session=sessions[0].facts, trial=None)  # fmt: skip
        if not parallel:
            trial = one_after_the_other(
                answer, min_time_s=min_time_s, max_time_s=max_time_s,
                fewest=needed(PERCENTILE[scenario]), most=_MOST, stop=stop,
            )  # fmt: skip
            return replace(blank, trial=trial, stopped=trial.stopped)

        many: dict[str, Any] = {"workers": workers, "stop": stop, "halt": inner.cancel}

        def sent(due: NDArray[np.float64]) -> Trial:
            return arriving(answer, due, **many)

        def said(rate: float, tried: int) -> None:
            done = (place[0] + min(1.0, tried / TRIALS)) / place[1]
            told.told(done, f"{decimal(rate)} a second")

        whole = all_at_once(answer, _PACE * workers, **many)
        if not whole.stopped:
            queries = int(min(_MOST, max(_PACE * workers, whole.queries_per_s * min_time_s)))
            whole = all_at_once(answer, queries, **many)
        if scenario == "offline" or whole.stopped:
            bound_s = bound_s if scenario == "server" else nan
            return replace(blank, trial=whole, stopped=whole.stopped, bound_s=bound_s)
        rng = np.random.default_rng(seed)
        return _searched(blank, whole, sent, said, (min_time_s, max_time_s), bound_s, rng, stop)


def _searched(
    blank: Played,
    whole: Trial,
    sent: Callable[[NDArray[np.float64]], Trial],
    said: Callable[[float, int], None],
    times_s: tuple[float, float],
    bound_s: float,
    rng: np.random.Generator,
    stop: Stop | None,
) -> Played:
    """Search the highest rate of ``server``; one that is stopped keeps the trials until then."""
    min_time_s, max_time_s = times_s
    done: list[Trial] = []
    begun = clock()

    def tried(rate: float) -> Trial:
        said(rate, len(done))
        done.append(replace(sent(arrivals(rate, min_time_s, rng)), rate=rate))
        return done[-1]

    def time_for(rate: float) -> bool:
        lasts_s = max(min_time_s, needed(TAIL) / rate)
        asked = stop is not None and stop.over
        return not asked and clock() - begun + lasts_s <= max_time_s

    stopped = complete = False
    try:
        complete = highest_rate(tried, whole.queries_per_s, bound_s, time_for=time_for)[2]
    except (KeyboardInterrupt, CancelledError, InferenceTimeoutError) as error:
        if not on_request(error, stop):  # else it came between two trials
            raise
        stopped = True
    if not complete and not stopped:
        stopped = any(t.stopped for t in done) or (stop is not None and stop.over)
    met = [trial for trial in done if trial.meets(bound_s)]
    finished = [trial for trial in done if not trial.stopped]
    rate = max((trial.rate for trial in met), default=0.0 if finished or not stopped else nan)
    best = (met or finished or [whole])[-1]
    return replace(
        blank, trial=best, trials=tuple(done), bound_s=bound_s, highest_rate=rate,
        time_was_up=not complete and not stopped, stopped=stopped,
    )  # fmt: skip
