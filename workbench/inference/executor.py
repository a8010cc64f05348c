"""Where models run: the protocol that every place keeps, and this process, the plain one.

In this process nothing stands between a picture and its answer, and a model that brings the
engine down takes the process along. :mod:`workbench.inference.pool` is the other place.

The path from a ready tensor to a result is kept short on purpose: with a fast provider a whole
ResNet takes 2.5 ms, and what is added around it counts. Many inputs are decoded ahead in threads
while the engine runs; results come in the order of the inputs and do not depend on the threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from workbench.errors import (
    CancelledError,
    EngineMemoryError,
    InferenceError,
    InputMismatchError,
    OutputNotFiniteError,
    OutputUnsupportedError,
    WorkbenchError,
)
from workbench.inference.batch import Prepared, filled, labels_for, prepared, rows_of
from workbench.inference.results import Failure, Outputs, Outside, Result
from workbench.inference.source import Kept, name_of
from workbench.models.model import FEW_CLASSES, Model
from workbench.tasks.classification import read, top_k
from workbench.timing import Stages, clock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from workbench.inference.metrics import Metrics
    from workbench.models.hub import ModelHub
    from workbench.models.session import Session, SessionFacts
    from workbench.models.warmup import WarmUp
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.stopping import Stop

#: Loading faster than this is finding the model live, and no stage of its own (seconds).
LOAD_SHOWN_S = 1e-3

#: Errors of a run of several inputs after which each is tried alone.
_ALONE = (InferenceError, InputMismatchError, EngineMemoryError)

#: What is told of one item of a batch: stages so far, name, what is kept of its source.
Told = tuple[dict[str, float], str, "Kept | None"]


@dataclass(slots=True)  # not frozen: that takes longer to make, and one is made a call
class Job:
    """What was asked for, the same for all inputs of a call."""

    model: Model
    top_k: int
    timeout_s: float
    stop: Stop | None
    turned: Pipeline | None = None  # in place of the model's own preprocessing
    outputs: tuple[str, ...] | None = None  # of those that are raw; None for all
    most_bytes: int | None = None  # that raw outputs may have together


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker process is about.

    Attributes
    ----------
    models : ids of those that are live in it, sorted
    busy : whether it is at work
    resident_bytes : the memory that it holds; None where the system does not tell
    spare : whether it only waits for the end of another
    """

    models: tuple[str, ...]
    busy: bool
    resident_bytes: int | None
    spare: bool = False


class Executor(Protocol):
    """A place where models run. Every answer, and every error, is counted there once."""

    def one(self, source: Any, job: Job) -> Result:
        """Answer one picture, or raise."""
        ...

    def many(self, sources: Iterator[Any], job: Job) -> Iterator[Result | Failure]:
        """Answer pictures in their order; one that cannot be answered is a Failure."""
        ...

    def tensor(self, batch: NDArray[Any], job: Job) -> list[Result | Failure]:
        """Answer a ready batch; a single input that fails is raised."""
        ...

    def outputs(self, feeds: Mapping[str, NDArray[Any]], job: Job) -> Outputs:
        """Run a model on ready arrays and return what it gives."""
        ...

    def load(self, job: Job) -> SessionFacts:
        """Open the model's session, if it must be."""
        ...

    def warm_up(self, job: Job, runs: int) -> WarmUp:
        """Load the model and run it until its times settle."""
        ...

    def unload(self, model: Model) -> object:
        """Close the model's session and give its memory back."""
        ...

    def holds(self, model: Model, *, everywhere: bool = False) -> bool:
        """Say whether the model is live here; of several processes in one, or in each."""
        ...

    def live(self) -> tuple[str, ...]:
        """Return the ids of the models that are live here, sorted."""
        ...

    def sessions(self, model: Model) -> tuple[SessionFacts, ...]:
        """Return what is known of the model's sessions here, as far as answers tell."""
        ...

    @property
    def processes(self) -> int:
        """Worker processes that models run in; 0 where they run in this one."""
        ...

    def worker_states(self) -> tuple[WorkerState, ...]:
        """Return what each worker process is about; nothing where there are none."""
        ...

    @property
    def replaced(self) -> int:
        """Worker processes that ended and were replaced; 0 where there are none."""
        ...

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return what the runner's card tells of this place."""
        ...

    def close(self) -> None:
        """Give back what this place holds; harmless a second time."""
        ...


class InProcess:
    """This process: no hand-over, and no protection.

    Parameters
    ----------
    hub : owns the sessions
    metrics : where answers and errors are counted
    max_batch_size : inputs in one run
    workers : threads that decode ahead
    tell : called with ``"load"`` before a session is asked for, and with ``"run"`` before a run
    limit_load : hold a load to the job's time limit as well
    """

    def __init__(
        self,
        hub: ModelHub,
        metrics: Metrics,
        *,
        max_batch_size: int,
        workers: int,
        tell: Callable[[str], object] | None = None,
        limit_load: bool = False,
    ) -> None:
        self.hub, self.metrics = hub, metrics
        self.max_batch_size, self.workers = max_batch_size, workers
        self._tell, self._limit_load = tell, limit_load

    def one(self, source: Any, job: Job) -> Result:
        """Answer one picture, or raise."""
        model = job.model
        started = clock()
        try:
            model.image_input  # noqa: B018  (refuses what is no classifier before any work)
            kept, batch, parts = prepared(job, source)
            batch = filled(batch, model.batch_axis)
            told = [(parts, name_of(source), kept)]
            result = self._answer(batch, told, job, started)[0]
            if isinstance(result, Failure):
                raise result.error
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        return result

    def many(self, sources: Iterator[Any], job: Job) -> Iterator[Result | Failure]:
        """Answer pictures in their order, decoding ahead in threads while the engine runs."""
        job.model.image_input  # noqa: B018  (refuses what is no classifier before any work)
        size = job.model.batch_axis or self.max_batch_size
        ahead = size + 2 * self.workers
        with ThreadPoolExecutor(self.workers, "workbench-decode") as pool:
            waiting: deque[tuple[str, Future[Prepared]]] = deque()
            try:
                while True:
                    while len(waiting) < ahead and (source := next(sources, _END)) is not _END:
                        future = pool.submit(prepared, job, source)
                        waiting.append((name_of(source), future))
                    if not waiting:
                        return
                    if job.stop is not None:
                        job.stop.check("Classifying")
                    chunk = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                    yield from self._chunk(chunk, job)
            finally:
                for _, future in waiting:
                    future.cancel()

    def tensor(self, batch: NDArray[Any], job: Job) -> list[Result | Failure]:
        """Answer a ready batch in the model's own layout; a single input that fails is raised."""
        started = clock()
        fixed = job.model.batch_axis
        try:
            many = isinstance(batch, np.ndarray) and batch.ndim > 0
            n = len(batch) if many else 1
            told: list[Told] = [({}, "tensor", None)] * n
            if fixed is None or n == fixed or not many:
                results = self._answer(batch, told, job, started)
            else:  # the graph takes so many at a time: the last run is filled up
                parts = [batch[i : i + fixed] for i in range(0, n, fixed)]
                begun = started if n == 1 else None
                results = [
                    answer
                    for part in parts
                    for answer in self._answer(filled(part, fixed), told[: len(part)], job, begun)
                ]
            if len(results) == 1 and isinstance(results[0], Failure):
                raise results[0].error
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        return results

    def _chunk(
        self,
        chunk: Sequence[tuple[str, Future[Prepared]]],
        job: Job,
    ) -> Iterator[Result | Failure]:
        """Answer up to a batch of inputs: one bad input fails alone."""
        model = job.model
        answers: list[Result | Failure | None] = [None] * len(chunk)
        groups: dict[tuple[int, ...], list[int]] = {}
        ready: dict[int, Prepared] = {}
        for position, (name, future) in enumerate(chunk):
            try:
                ready[position] = future.result()
                groups.setdefault(ready[position][1].shape, []).append(position)
            except WorkbenchError as error:
                self.metrics.add_error(error.code)
                answers[position] = Failure(source=name, error=error, model=model.id)
        for members in groups.values():
            told: list[Told] = [(ready[i][2], chunk[i][0], ready[i][0]) for i in members]
            batch = np.concatenate([ready[i][1] for i in members])
            found = self._answer_all(batch, told, job)
            for position, answer in zip(members, found, strict=True):
                answers[position] = answer
        yield from (a for a in answers if a is not None)

    def _answer_all(
        self,
        batch: NDArray[Any],
        told: list[Told],
        job: Job,
    ) -> list[Result | Failure]:
        """Answer a batch; where the run fails, try each input alone, so that one cannot spoil."""
        whole = filled(batch, job.model.batch_axis)
        try:
            return self._answer(whole, told, job, None)
        except CancelledError:
            raise
        except WorkbenchError as error:
            if job.stop is not None and job.stop.over:
                raise
            if len(told) > 1 and isinstance(error, _ALONE):
                single = zip(batch, told, strict=True)
                return [self._answer_all(b[None], [t], job)[0] for b, t in single]
            failed: list[Result | Failure] = []
            for _, name, kept in told:
                self.metrics.add_error(error.code)
                failed.append(
                    Failure(source=name, error=error.fresh(), model=job.model.id, _input=kept)
                )
            return failed

    # ── from a ready tensor to results ────────────────────────────────────────────────────────

    def _answer(
        self,
        batch: NDArray[Any],
        told: Sequence[Told],
        job: Job,
        started: float | None,
    ) -> list[Result | Failure]:
        """Run a ready batch and make an answer an input; ``batch`` may be filled up at its end.

        ``started`` is when a single input began; None for one of many, whose total is the sum
        of its stages.
        """
        model = job.model
        asked = clock()
        tell = self._tell
        if tell is not None:
            tell("load")
        with self._lease(job) as session:
            cold = session.first_run_s is None
            if tell is not None:
                tell("run")
            before = clock()
            values = session.run(
                {model.image_input: batch},
                [model.scores_output],
                timeout_s=job.timeout_s,
                stop=job.stop,
            )[0]
            after = clock()
        load_s = before - asked if cold and before - asked > LOAD_SHOWN_S else 0.0
        n = len(told)
        rows = rows_of(values, len(batch), model)
        if n < len(rows):  # the batch was filled up
            rows = rows[:n]
        spec = model.spec
        if not n:
            return []
        rule = spec.outside
        kind = None if rule is None else rule.score
        labels = labels_for(model, rows.shape[-1])
        few = labels if labels is not None and len(labels) <= FEW_CLASSES else None
        single = n == 1 and started is not None
        inference_s = (after - before) / n
        answers: list[Result | Failure] = []
        begun = after  # what is done for the whole batch at once is told of the first
        for row, (parts, name, kept) in zip(rows, told, strict=True):
            found = read(row, spec.activation, operator=model.output_operator, outside=kind)
            if not found.finite:
                bad = int((~np.isfinite(row)).sum())
                problem = OutputNotFiniteError(model.id, model.scores_output, bad, len(row))
                if started is None or n > 1:
                    self.metrics.add_error(problem.code)
                answers.append(Failure(source=name, error=problem, model=model.id, _input=kept))
                continue
            shares = found.probabilities if found.shares is None else found.shares
            top = top_k(shares, job.top_k, labels)
            stages = dict(parts)
            if load_s:
                stages["load"] = load_s / n
            stages["inference"] = inference_s
            now = clock()
            stages["postprocessing"] = now - begun
            begun = now
            total_s = now - started if single else sum(stages.values())  # type: ignore[operator]
            self.metrics.add(model.id, stages, total_s, n)
            score = found.outside
            outside = None if rule is None or score is None else Outside.among(
                rule.others, score, rule.threshold, rule.score, rule.note
            )  # fmt: skip
            answers.append(
                Result.made(
                    top, Stages(stages, total_s), model.id, session.facts, name,
                    found.probabilities if single else None, found.activation, outside, few,
                    job.turned, n, kept,
                )
            )  # fmt: skip
        return answers

    def outputs(self, feeds: Mapping[str, NDArray[Any]], job: Job) -> Outputs:
        """Run a model on ready arrays and return what it gives."""
        asked = clock()
        model, tell = job.model, self._tell
        names = [port.name for port in model.outputs] if job.outputs is None else [*job.outputs]
        try:
            if tell is not None:
                tell("load")
            with self._lease(job) as session:
                cold = session.first_run_s is None
                if tell is not None:
                    tell("run")
                before = clock()
                values = session.run(feeds, names, timeout_s=job.timeout_s, stop=job.stop)
                stages = {"inference": clock() - before}
            if job.most_bytes is not None:
                _check_size(model, dict(zip(names, values, strict=True)), job.most_bytes)
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        if cold and before - asked > LOAD_SHOWN_S:
            stages = {"load": before - asked, **stages}
        timings = Stages(stages, clock() - asked)
        self.metrics.add(model.id, stages, timings.total_s)
        return Outputs(
            arrays=dict(zip(names, values, strict=True)),
            timings=timings,
            model=model.id,
            session=session.facts,
        )

    # ── sessions ──────────────────────────────────────────────────────────────────────────────

    def _lease(self, job: Job) -> AbstractContextManager[Session]:
        if not self._limit_load:
            return self.hub.lease(job.model)
        return self.hub.lease(job.model, timeout_s=job.timeout_s, stop=job.stop)

    def load(self, job: Job) -> SessionFacts:
        """Open the model's session, if it must be."""
        try:
            if self._tell is not None:
                self._tell("load")
            facts = self.hub.load(job.model, timeout_s=job.timeout_s, stop=job.stop).session
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        assert facts is not None, "it was live just now"
        return facts

    def warm_up(self, job: Job, runs: int) -> WarmUp:
        """Load the model and run it until its times settle."""
        try:
            return job.model.warm_up(runs, stop=job.stop)
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise

    def unload(self, model: Model) -> object:
        """Close the model's session and give its memory back."""
        return self.hub.unload(model)

    def holds(self, model: Model, *, everywhere: bool = False) -> bool:
        """Say whether the model is live here."""
        return self.hub.state_of(model) == "live"

    def live(self) -> tuple[str, ...]:
        """Return the ids of the models that are live here, sorted."""
        return tuple(sorted(row["id"] for row in self.hub.rows() if row["state"] == "live"))

    def sessions(self, model: Model) -> tuple[SessionFacts, ...]:
        """Return what is known of the model's session, if it is live."""
        facts = model.session if self.holds(model) else None
        return () if facts is None else (facts,)

    @property
    def processes(self) -> int:
        """None: this process is not counted."""
        return 0

    def worker_states(self) -> tuple[WorkerState, ...]:
        """Return nothing: there are none."""
        return ()

    @property
    def replaced(self) -> int:
        """None: there are no worker processes."""
        return 0

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Say nothing: this is the plain case."""
        return ()

    def close(self) -> None:
        """Do nothing: the sessions are the hub's."""


def _check_size(model: Model, values: Mapping[str, Any], most: int) -> None:
    """Refuse raw outputs that are too large, before they are sent anywhere."""
    sizes = {name: _size_bytes(value) for name, value in values.items()}
    if (seen := sum(sizes.values())) > most:
        largest = max(sizes, key=sizes.__getitem__)
        raise OutputUnsupportedError(
            model.id, f"{seen:,} bytes (the largest: {largest!r})",
            f"at most {most:,} bytes in one answer: ask for fewer outputs, or send less at a time",
        )  # fmt: skip


def _size_bytes(value: Any) -> int:
    """Return what a raw output takes; of strings, the characters; of what is no array, nothing."""
    if not isinstance(value, np.ndarray):
        return 0
    texts = sum(map(len, value.flat)) if value.dtype.kind == "O" else 0
    return value.nbytes + texts


_END = object()
