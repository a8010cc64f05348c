"""Worker processes in which models run and load: they can be killed, and are replaced.

Each has a whole runner's machinery and a hub of its own, made like the caller's. It gets
encoded pictures and gives back answers; what it costs to hand them over is a stage of its own.
A worker that dies, or has to be killed, costs the request that it had, and no other.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from workbench.errors import (
    CancelledError,
    EngineMemoryError,
    WorkbenchError,
    WorkerCrashedError,
)
from workbench.host import host
from workbench.inference.crew import UNLOAD_S, Crew
from workbench.inference.errand import Errand, Outfit, Reply
from workbench.inference.executor import LOAD_SHOWN_S, Job, WorkerState
from workbench.inference.process import NotBegunError
from workbench.inference.results import Failure, Outputs, Result
from workbench.inference.source import Kept, Parcel, name_of, pack
from workbench.settings import Settings
from workbench.stopping import Stop, deadline
from workbench.timing import Stages, clock
from workbench.units import count, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.inference.metrics import Metrics
    from workbench.inference.process import Process
    from workbench.models.blueprint import Reference
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.models.session import SessionFacts
    from workbench.models.warmup import WarmUp

#: Stages that only answers from another process have.
WAITING, HAND_OVER = "waiting", "hand-over"
#: How often one errand is given to another worker since the first died before it began.
_MOST_TRIES = 3

#: Threads that each process has at most where that is more than its share.
_MOST_THREADS = 4

#: An answer, what is kept of its input here, the input's name, and the stages done here.
_Came = tuple["Result | Failure", "Kept | None", str, dict[str, float]]


def threads_each(processes: int, threads: int) -> int | None:
    """Return the threads of one operator in each of several processes; None for a session's own.

    Sharing the machine's threads out loses more than it gains: on two cores a ResNet-18 answers
    one client in 23 ms with a thread each and in 16 ms with two each, and at eight clients the
    requests per second are within 3 % (``benchmarks/http.py --workers 2x1,2x2``). More than
    :data:`_MOST_THREADS` each were not measured.

    >>> threads_each(1, 2), threads_each(3, 2), threads_each(4, 16), threads_each(2, 16)
    (None, 2, 4, 8)
    """
    return None if processes == 1 else max(min(threads, _MOST_THREADS), threads // processes)


class Pool:
    """Worker processes behind the protocol of :class:`~workbench.inference.executor.Executor`.

    Parameters
    ----------
    hub : whose shelves, limits and options the workers' hubs have
    metrics : where answers and errors are counted
    max_batch_size : inputs in one run
    workers : threads that decode ahead, in each process
    processes : how many; None for ``WORKER_PROCESSES`` (1)
    memory_bytes : most that one may hold; None for ``WORKER_MEMORY_BYTES``, or three quarters of
        the machine's memory divided among them
    """

    def __init__(
        self,
        hub: ModelHub,
        metrics: Metrics,
        *,
        max_batch_size: int,
        workers: int,
        processes: int | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        given, machine = Settings(), host()
        self.hub, self.metrics, self.max_batch_size = hub, metrics, max_batch_size
        self.processes = processes or given.worker_processes
        fair = int(0.75 * machine.memory_bytes) // self.processes if machine.memory_bytes else None
        self.memory_bytes = memory_bytes or given.worker_memory_bytes or fair
        #: threads of one operator in each process; None for what a session takes by itself
        self._threads = given.worker_threads or threads_each(self.processes, machine.threads)
        self._crew = Crew(self._outfit(workers), self.processes)
        self._ender = weakref.finalize(self, self._crew.close)

    def _outfit(self, workers: int) -> Outfit:
        return Outfit(
            hub=self.hub.blueprint(),
            max_batch_size=self.max_batch_size,
            workers=workers,
            memory_bytes=self.memory_bytes,
        )

    @property
    def crew(self) -> tuple[Process, ...]:
        """The workers there are now."""
        return self._crew.members

    @property
    def replaced(self) -> int:
        """Workers that ended and were replaced."""
        return self._crew.replaced

    def close(self) -> None:
        """End all workers; what they had is cancelled."""
        self._ender()

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return the rows that a runner's card has for its workers."""
        limit = "" if self.memory_bytes is None else f", at most {size(self.memory_bytes)} each"
        again = f"; {self.replaced:,} replaced so far" if self.replaced else ""
        return (
            ("runs in", f"{count(self.processes, 'worker process')}{limit}"),
            ("live there", f"{', '.join(self.live()) or 'nothing'}{again}"),
        )

    def unload(self, model: Model) -> None:
        """Close the model's session in each worker that has it; one at work does so afterwards."""
        self._crew.unload(
            Errand(
                model=self._reference(model), name=model.id, kind="unload", content=None,
                top_k=1, timeout_s=UNLOAD_S,
            )
        )  # fmt: skip

    def live(self) -> tuple[str, ...]:
        """Return the ids of the models that are live in a worker, as far as answers tell."""
        return tuple(sorted({e.name for p in self.crew for e in tuple(p.live.values())}))

    def holds(self, model: Model, *, everywhere: bool = False) -> bool:
        """Say whether the model is live in a worker, or in each, as far as answers tell."""
        key = self._reference(model).key
        return (all if everywhere else any)(key in process.live for process in self.crew)

    def sessions(self, model: Model) -> tuple[SessionFacts, ...]:
        """Return what is known of the model's sessions, one a worker that has it."""
        key = self._reference(model).key
        told = [process.facts.get(key) for process in self.crew if key in process.live]
        return tuple(facts for facts in told if facts is not None)

    def worker_states(self) -> tuple[WorkerState, ...]:
        """Return what each worker is about, and the one in readiness."""
        spare = self._crew.spare
        states = [_state(process) for process in self.crew]
        return tuple(states if spare is None else [*states, replace(_state(spare), spare=True)])

    # ── the protocol ──────────────────────────────────────────────────────────────────────────

    def one(self, source: Any, job: Job) -> Result:
        """Answer one picture, or raise."""
        began = clock()
        try:
            job.model.image_input  # noqa: B018  (refuses what is no classifier before any work)
            parcel, kept, stages = _pack(source, job)
            told = self._ask("one", parcel, job)
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        answer: Result = replace(told.value, preprocessing=job.turned)
        return self._counted(answer, kept, parcel.name, stages, told, clock() - began)

    def many(self, sources: Iterator[Any], job: Job) -> Iterator[Result | Failure]:
        """Answer pictures in their order, a batch an errand; the next are read meanwhile."""
        job.model.image_input  # noqa: B018  (refuses what is no classifier before any work)
        size = job.model.batch_axis or self.max_batch_size
        over = Stop()  # ends what is under way when nobody wants it any more
        with ExitStack() as stack:
            pool = stack.enter_context(
                ThreadPoolExecutor(self.processes + 1, "workbench-hand-over")
            )
            waiting: deque[Future[list[Result | Failure]]] = deque()
            stack.callback(over.cancel)  # before the threads are waited for
            while True:
                while len(waiting) <= self.processes and (part := list(islice(sources, size))):
                    waiting.append(pool.submit(self._part, part, job, over))
                if not waiting:
                    return
                if job.stop is not None:
                    job.stop.check("Classifying")
                yield from waiting.popleft().result()

    def tensor(self, batch: NDArray[Any], job: Job) -> list[Result | Failure]:
        """Answer a ready batch; a single input that fails is raised."""
        began = clock()
        try:
            told = self._ask("tensor", batch, job)
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        whole_s, n = clock() - began, max(1, len(told.value))
        each: list[_Came] = [(item, None, item.source, {}) for item in told.value]
        return self._all_counted(each, told, whole_s / n if n > 1 else whole_s, alone=n == 1)

    def outputs(self, feeds: Mapping[str, NDArray[Any]], job: Job) -> Outputs:
        """Run a model on ready arrays and return what it gives."""
        began = clock()
        try:
            told = self._ask("outputs", dict(feeds), job)
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        answer: Outputs = told.value
        whole_s = clock() - began
        stages = {**told.waited, **answer.timings, HAND_OVER: told.beside(whole_s)}
        self.metrics.add(answer.model, stages, whole_s)
        return replace(answer, timings=Stages(stages, whole_s))

    def load(self, job: Job) -> SessionFacts:
        """Open the model's session in a worker, if it must be; of several, in each."""
        facts: SessionFacts
        try:
            facts = self._ask("load", None, job).value
            for _ in range(self.processes - 1):
                facts = self._ask("load", None, job, elsewhere=True).value
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        return facts

    def warm_up(self, job: Job, runs: int) -> WarmUp:
        """Load the model in a worker and run it there until its times settle."""
        try:
            warm: WarmUp = self._ask("warm_up", runs, job).value
        except WorkbenchError as error:
            self.metrics.add_error(error.code)
            raise
        return warm

    def _reference(self, model: Model) -> Reference:
        """Return what a model is called in a worker: there, several share the processors."""
        told = self.hub.reference(model)
        pooled = self.hub.shared_threads is not None
        if self._threads is None or pooled or told.options.threads is not None:
            return told
        options = replace(told.options, threads=self._threads)
        if self.processes > 1 and options.spinning == "auto":
            options = replace(options, spinning=False)  # whoever waits is in the others' way
        return replace(told, options=options)

    # ── asking ────────────────────────────────────────────────────────────────────────────────

    def _ask(
        self, kind: str, content: Any, job: Job, *others: Stop, elsewhere: bool = False
    ) -> _Told:
        """Have one errand done; raise the error that it ended with."""
        deadline(job.timeout_s)  # refuses what is none
        stop = job.stop
        errand = Errand(
            model=self._reference(job.model), name=job.model.id, kind=kind, content=content,
            top_k=job.top_k, timeout_s=job.timeout_s,
            outputs=job.outputs, most_bytes=job.most_bytes,
        )  # fmt: skip
        if stop is not None:
            stop.check(errand.what)
        stops = [s for s in (stop, *others) if s is not None]
        began = clock()
        for tries in range(_MOST_TRIES):
            process = self._crew.take(errand, stops, elsewhere=elsewhere)
            try:
                process.wait_ready(errand, stops)
                waited_s = clock() - began
                if stop is not None and stop.timeout_s is not None:
                    left = (stop.timeout_s, stop.remaining_s)
                    errand = replace(errand, stop_s=left)
                reply = process.do(errand, stops)
                if isinstance(reply.value, EngineMemoryError):
                    self._out_of_memory(process, reply.value)
            except NotBegunError as error:
                if tries + 1 == _MOST_TRIES:
                    raise WorkerCrashedError(job.model.id, error.how, error.hint) from None
                continue
            finally:
                self._crew.give_back(process)
            if isinstance(reply.value, WorkbenchError):
                raise reply.value
            return _Told(reply, waited_s)
        raise AssertionError("a loop that ends with an answer or an error")

    def _out_of_memory(self, process: Process, error: EngineMemoryError) -> None:
        """Replace a worker whose memory is used up: what the engine has taken, it keeps."""
        process.kill()
        if self.memory_bytes is not None:
            error.hint = (
                f"A worker process may hold {size(self.memory_bytes)}: raise memory_bytes= (or "
                "WORKER_MEMORY_BYTES), lower the batch size, or use a smaller model."
            )

    def _part(self, sources: list[Any], job: Job, over: Stop) -> list[Result | Failure]:
        """Answer some pictures in one errand; one that kills the worker cannot spoil the others."""
        began = clock()
        answers: list[Result | Failure | None] = [None] * len(sources)
        packed = []
        for place, source in enumerate(sources):
            try:
                packed.append((place, *_pack(source, job)))
            except WorkbenchError as error:
                self.metrics.add_error(error.code)
                answers[place] = Failure(source=name_of(source), error=error, model=job.model.id)
        groups = [packed] if packed else []
        while groups:
            group = groups.pop(0)
            try:
                told = self._ask("many", [parcel for _, parcel, _, _ in group], job, over)
            except CancelledError:
                raise
            except WorkbenchError as error:
                if over.cancelled or (job.stop is not None and job.stop.over):
                    raise
                if len(group) > 1 and isinstance(error, (WorkerCrashedError, EngineMemoryError)):
                    groups = [[one] for one in group]  # each alone
                    continue
                for place, parcel, kept, _ in group:
                    self.metrics.add_error(error.code)
                    answers[place] = Failure(
                        source=parcel.name, error=error.fresh(), model=job.model.id, _input=kept
                    )
                continue
            finally:
                whole_s, began = clock() - began, clock()
            each: list[_Came] = [
                (
                    replace(item, preprocessing=job.turned) if isinstance(item, Result) else item,
                    kept,
                    parcel.name,
                    stages,
                )
                for item, (_, parcel, kept, stages) in zip(told.value, group, strict=True)
            ]
            counted = self._all_counted(each, told, whole_s / len(group), alone=False)
            for answer, (place, *_) in zip(counted, group, strict=True):
                answers[place] = answer
        return [answer for answer in answers if answer is not None]

    # ── counting ──────────────────────────────────────────────────────────────────────────────

    def _all_counted(
        self,
        each: Sequence[_Came],
        told: _Told,
        share_s: float,
        *,
        alone: bool,
    ) -> list[Result | Failure]:
        """Count answers that came together; ``share_s`` is each one's part of the whole time."""
        made: list[Result | Failure] = []
        part = told.shared(len(each))
        for item, kept, name, stages in each:
            if isinstance(item, Failure):
                self.metrics.add_error(item.code)
                made.append(replace(item, source=name, _input=kept))
                continue
            made.append(
                self._counted(item, kept, name, stages, part, share_s if alone else None, share_s)
            )
        return made

    def _counted(
        self,
        answer: Result,
        kept: Kept | None,
        name: str,
        before: Mapping[str, float],
        told: _Told,
        whole_s: float | None,
        share_s: float = 0.0,
    ) -> Result:
        """Return an answer as it would be given here, with the time that handing over took."""
        beside_s = told.beside(share_s if whole_s is None else whole_s, before)
        stages = {**before, **told.waited, **answer.timings, HAND_OVER: beside_s}
        total_s = sum(stages.values()) if whole_s is None else whole_s
        self.metrics.add(answer.model, stages, total_s, answer.batch)
        return replace(answer, source=name, timings=Stages(stages, total_s), _input=kept)


def _state(process: Process) -> WorkerState:
    models = tuple(sorted({errand.name for errand in tuple(process.live.values())}))
    return WorkerState(models, process.in_hand is not None, process.resident_bytes)


def _pack(source: Any, job: Job) -> tuple[Parcel, Kept, dict[str, float]]:
    steps = job.turned or job.model.preprocessing
    return pack(source, steps, job.stop, whole=job.turned is not None)


class _Told:
    """A reply, and how long it had to wait for a worker; or one input's share of both."""

    __slots__ = ("spent_s", "value", "waited_s")

    def __init__(self, reply: Reply, waited_s: float, among: int = 1) -> None:
        self.value = reply.value
        self.spent_s, self.waited_s = reply.spent_s / among, waited_s / among

    def shared(self, among: int) -> _Told:
        """Return the share of one of so many."""
        return _Told(Reply(None, self.spent_s), self.waited_s, max(1, among))

    @property
    def waited(self) -> dict[str, float]:
        """The stage of waiting for a worker, where it is worth one."""
        return {WAITING: self.waited_s} if self.waited_s > LOAD_SHOWN_S else {}

    def beside(self, whole_s: float, before: Mapping[str, float] | None = None) -> float:
        """Return what the whole took beside the worker's own time and all that is named."""
        named_s = sum((before or {}).values()) + sum(self.waited.values())
        return max(0.0, whole_s - self.spent_s - named_s)
