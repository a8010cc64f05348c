"""Jobs that several machines share: RQ's queue in a Redis, and ``workbench worker`` behind it.

A job outlives the service that took it. Whoever starts one needs the model on the shelf of the
workers as well; a name that a request gave to a file of ``MODEL_DIR`` goes with the job.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job as Queued
from rq.job import JobStatus
from rq.registry import (
    CanceledJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    StartedJobRegistry,
)
from rq.serializers import JSONSerializer

from workbench.errors import (
    InferenceTimeoutError,
    NotFoundError,
    QueueFullError,
    QueueUnavailableError,
    WorkbenchError,
    WorkerCrashedError,
)
from workbench.service.admission import looked_at
from workbench.service.depot import AGAIN_S, LOAD_S, QUEUE, WAITING_S, Depot, answering, connected
from workbench.service.job import KEPT, KEPT_S, Job, State
from workbench.service.problem import InternalError, told
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.service.desk import Desk
    from workbench.service.intake import Order

T = TypeVar("T")

#: What a worker's child calls with the id of a job.
PERFORM = "workbench.service.worker.perform"
#: Seconds beyond the limits of its inputs that a job may take: for a start, and a load, of each.
_START_S = 300.0
#: Seconds that a job gets to end once it is asked to, and how often that is looked at.
_END_S, _NAP_S = 10.0, 0.05
#: Threads that wait for Redis, the seconds that a request waits for one of them to be done, and
#: those that the status and the metrics wait.
_THREADS, _LONGEST_S, _LOOK_S = 4, 15.0, 1.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STATES: dict[JobStatus, State] = {
    JobStatus.CREATED: "queued",
    JobStatus.QUEUED: "queued",
    JobStatus.DEFERRED: "queued",
    JobStatus.SCHEDULED: "queued",
    JobStatus.STARTED: "running",
    JobStatus.FINISHED: "done",
    JobStatus.STOPPED: "cancelled",
    JobStatus.CANCELED: "cancelled",
    JobStatus.FAILED: "failed",
}


class RedisJobs:
    """The jobs in one Redis.

    Parameters
    ----------
    desk : whose models and limits hold for what is started here
    url : of the Redis; nothing is connected before the first job

    Raises
    ------
    ConfigError : it is no such address
    """

    place = "redis"

    def __init__(self, desk: Desk, url: str) -> None:
        self._desk = desk
        redis = connected(url)
        self._depot = Depot(redis)
        self._queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
        self._threads = ThreadPoolExecutor(_THREADS, "workbench-jobs")
        self._look: asyncio.Future[list[str]] | None = None

    async def start(self, order: Order, request_id: str) -> Job:
        """Put a job behind the others; raises QueueFullError, QueueUnavailableError."""
        return await self._in_time(self._start, order, request_id)

    async def get(self, job_id: str, start: int = 0) -> Job:
        """Return a job, with its results from this number on.

        Raises
        ------
        NotFoundError, QueueUnavailableError
        """
        return await self._in_time(self._get, job_id, start)

    async def cancel(self, job_id: str) -> Job:
        """End a job, and return it with what it has; one that has ended is forgotten.

        It may be running still when its worker does not react within ten seconds.
        """
        seen, forgotten = await self._in_time(self._ask_to_end, job_id)
        end_s = clock() + _END_S
        while not forgotten and seen.state in ("queued", "running") and clock() < end_s:
            await asyncio.sleep(_NAP_S)
            seen = await self.get(job_id, seen.total)  # without its results
        return seen if forgotten else await self.get(job_id)

    async def unfinished(self) -> int | None:
        """Return how many have not ended; None where Redis does not answer within a second."""
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().run_in_executor(self._threads, self._unfinished)
            self._look.add_done_callback(looked_at)
        await asyncio.wait({self._look}, timeout=_LOOK_S)
        if not self._look.done() or self._look.exception() is not None:
            return None
        return len(self._look.result())

    async def close(self) -> None:
        """Hang up; the jobs go on."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._depot.redis.close()

    async def _in_time(self, call: Callable[..., T], *arguments: Any) -> T:
        """Do something with Redis in a thread of ours: others are not to wait for a Redis.

        Raises
        ------
        QueueUnavailableError : it takes too long
        """
        future = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        future.add_done_callback(looked_at)
        done, _ = await asyncio.wait({future}, timeout=_LONGEST_S)
        if not done:
            raise QueueUnavailableError(AGAIN_S)
        return future.result()

    # ── in threads ────────────────────────────────────────────────────────────────────────────

    def _start(self, order: Order, request_id: str) -> Job:
        open_ids = self._unfinished()
        if len(open_ids) >= KEPT:
            raise QueueFullError(len(open_ids), KEPT, AGAIN_S)
        with answering(order.size_bytes):
            held, most = self._depot.size_bytes(open_ids), self._desk.policy.held_bytes
            if held + order.size_bytes > most:
                raise QueueFullError(held, most, AGAIN_S, in_bytes=True)
            self._make_room()
            self._depot.check_room(order.size_bytes)
            job_id, total = secrets.token_urlsafe(12), len(order.items)
            try:
                self._depot.put(job_id, order, self._model(order.model_id), request_id)
                self._queue.enqueue_call(
                    PERFORM, (job_id,), job_id=job_id, ttl=WAITING_S, result_ttl=round(KEPT_S),
                    failure_ttl=round(KEPT_S), timeout=_limit_s(order),
                    description=f"{total} inputs for {order.model_id}",
                    meta={"total": total, "model": order.model_id, "request_id": request_id},
                )  # fmt: skip
            except BaseException:
                with answering():
                    self._depot.forget(job_id)
                raise
        return Job(job_id, "queued", total)

    def _model(self, model_id: str) -> dict[str, Any]:
        """Return the file below MODEL_DIR, and the description, that a request gave to a name."""
        hub = self._desk.engine.hub
        given = hub.named(model_id)
        if given is None:
            return {}
        path, metadata = given
        root, file = hub.shelf.models.resolve(), path.resolve()
        below = file.relative_to(root).as_posix() if file.is_relative_to(root) else None
        return {"path": below, "metadata": None if metadata is None else dict(metadata)}

    def _get(self, job_id: str, start: int) -> Job:
        with answering():
            return self._seen(self._find(job_id), start)

    def _ask_to_end(self, job_id: str) -> tuple[Job, bool]:
        """Have a job end, or forget one that has; return it, and whether it is forgotten."""
        with answering():
            queued = self._find(job_id)
            seen = self._seen(queued)
            if seen.state not in ("queued", "running"):
                if job_id not in self._under_way():  # else a child of a worker still looks for it
                    queued.delete()
                    self._depot.forget(job_id)
                return seen, True
            if seen.state == "queued":
                self._depot.let_go([job_id])  # first, since a full Redis has no room for a wish
            self._depot.ask_to_end(job_id)  # a worker may just be taking it
            if seen.state == "queued":
                with suppress(InvalidJobOperation):  # somebody else did
                    queued.cancel()
                self._depot.close(job_id)
                self._depot.redis.expire(queued.key, round(KEPT_S))
            return self._seen(self._find(job_id)), False

    def _find(self, job_id: str) -> Queued:
        """Return a job of ours: not one of another program, and not what is left of one."""
        with suppress(NoSuchJobError, InvalidJobOperation, ValueError):
            if _ID.fullmatch(job_id):
                found = Queued.fetch(
                    job_id, connection=self._depot.redis, serializer=JSONSerializer
                )
                whole = type(found.meta) is dict and type(found.meta.get("total")) is int
                if found.origin == QUEUE and whole and found.get_status(refresh=False) in _STATES:
                    return found
        raise NotFoundError("job of that id")

    def _seen(self, queued: Queued, start: int = 0) -> Job:
        state = self._state(queued)
        if state == "running":  # unless its worker has not been heard of for too long
            self._registry(StartedJobRegistry).cleanup()
            state = self._state(queued)
        total, before = queued.meta["total"], min(start, self._depot.done(queued.id))
        results = self._depot.results(queued.id, before)
        if state == "done" and before + len(results) < total:
            ended = self._depot.is_asked_to_end(queued.id)
            state = "cancelled" if ended else state
        if state != "failed":
            return Job(queued.id, state, total, results, before=before)
        self._depot.let_go([queued.id])
        latest = queued.latest_result()
        why = _why(queued, "" if latest is None else latest.exc_string or "")
        return Job(queued.id, state, total, results, told(why), before)

    def _state(self, queued: Queued) -> State:
        try:
            return _STATES[queued.get_status()]
        except (InvalidJobOperation, ValueError, KeyError) as error:  # it is just being forgotten
            raise NotFoundError("job of that id") from error

    def _under_way(self) -> set[str]:
        """Return the ids that workers have; those of lost workers have failed by this."""
        taken = IntermediateQueue(self._queue.key, connection=self._depot.redis).get_job_ids()
        return {*taken, *self._registry(StartedJobRegistry).get_job_ids()}

    def _unfinished(self) -> list[str]:
        """Return the ids of jobs that have not ended; drop those that waited for over a day."""
        with answering():
            waiting = list(self._queue.job_ids)
            pipe = self._depot.redis.pipeline(transaction=False)
            for job_id in waiting:
                pipe.exists(Queued.key_for(job_id))
            there = [job_id for job_id, known in zip(waiting, pipe.execute(), strict=True) if known]
            for job_id in set(waiting).difference(there):
                self._queue.remove(job_id)
            return [*there, *self._under_way()]

    def _make_room(self) -> None:
        """Forget the oldest of the jobs that ended, where there are more than are kept."""
        for kind in (FinishedJobRegistry, FailedJobRegistry, CanceledJobRegistry):
            ended = self._registry(kind).get_job_ids()
            self._depot.let_go(ended)
            for job_id in ended[: max(0, len(ended) - KEPT)]:
                self._depot.forget(job_id)
                with suppress(NotFoundError):
                    self._find(job_id).delete()

    def _registry(self, kind: type[Any]) -> Any:
        return kind(queue=self._queue)


def _limit_s(order: Order) -> int:
    """Return the seconds after which a job is given up: its inputs have limits of their own."""
    return round(_START_S + len(order.items) * (order.timeout_s + LOAD_S))


def _why(queued: Queued, seen: str) -> WorkbenchError:
    """Return why a job failed as a whole, from what RQ has written down about it."""
    model = str(queued.meta.get("model", ""))
    if "JobTimeoutException" in seen:
        return InferenceTimeoutError(model, float(queued.timeout or 0), what="The job")
    if "InputsGoneError" in seen:
        return WorkerCrashedError(
            model, "its inputs were not in Redis any more",
            "Start the job again. A Redis that evicts keys is no place for jobs: noeviction.",
        )  # fmt: skip
    if "AbandonedJobError" in seen or "intermediate queue" in seen:
        return WorkerCrashedError(model, "it was not heard of any more", "Start the job again.")
    if "terminated unexpectedly" in seen:
        return WorkerCrashedError(model, "it was killed", "Start the job again.")
    return InternalError()
