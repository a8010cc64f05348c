"""Jobs that several machines share: RQ's queue in a Redis, and ``workbench worker`` behind it.

A job outlives the service that took it. Whoever starts one needs the model on the shelf of the
workers as well; a name that a request gave to a file of ``MODEL_DIR`` goes with the job.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING, Any

from rq import Queue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
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
    WorkbenchError,
    WorkerCrashedError,
)
from workbench.service.depot import AGAIN_S, QUEUE, WAITING_S, Depot, answering, connected
from workbench.service.job import KEPT, KEPT_S, Job, State
from workbench.service.problem import InternalError, told
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.service.desk import Desk
    from workbench.service.intake import Order

#: What a worker's child calls with the id of a job.
PERFORM = "workbench.service.worker.perform"
#: Seconds beyond the limits of its inputs that a job may take: for a start, and a load, of each.
_START_S, _LOAD_S = 300.0, 30.0
#: Seconds that a job gets to end once it is asked to, and how often that is looked at.
_END_S, _NAP_S = 10.0, 0.05
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

    async def start(self, order: Order, request_id: str) -> Job:
        """Put a job behind the others; raises QueueFullError, QueueUnavailableError."""
        return await asyncio.to_thread(self._start, order, request_id)

    async def get(self, job_id: str, start: int = 0) -> Job:
        """Return a job, with its results from this number on.

        Raises
        ------
        NotFoundError, QueueUnavailableError
        """
        return (await asyncio.to_thread(self._get, job_id)).since(start)

    async def cancel(self, job_id: str) -> Job:
        """End a job, and return it with what it has; one that has ended is forgotten.

        It may be running still when its worker does not react within ten seconds.
        """
        return await asyncio.to_thread(self._cancel, job_id)

    async def unfinished(self) -> int | None:
        """Return how many have not ended; None where Redis does not answer."""
        try:
            return len(await asyncio.to_thread(self._unfinished))
        except WorkbenchError:
            return None

    async def close(self) -> None:
        """Hang up; the jobs go on."""
        await asyncio.to_thread(self._depot.redis.close)

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

    def _get(self, job_id: str) -> Job:
        with answering():
            return self._seen(self._find(job_id))

    def _cancel(self, job_id: str) -> Job:
        with answering():
            queued = self._find(job_id)
            seen = self._seen(queued)
            if seen.state not in ("queued", "running"):
                queued.delete()
                self._depot.forget(job_id)
                return seen
            self._depot.ask_to_end(job_id)  # first, since a worker may just be taking it
            if seen.state == "queued":
                with suppress(InvalidJobOperation):  # somebody else did
                    queued.cancel()
            end_s = clock() + _END_S
            while (seen := self._seen(self._find(job_id))).state in ("queued", "running"):
                if clock() > end_s:
                    break
                sleep(_NAP_S)
            if seen.state == "cancelled":
                self._depot.close(job_id)
                self._depot.redis.expire(queued.key, round(KEPT_S))
            return seen

    def _find(self, job_id: str) -> Queued:
        try:
            if _ID.fullmatch(job_id):
                found = Queued.fetch(
                    job_id, connection=self._depot.redis, serializer=JSONSerializer
                )
                if found.origin == QUEUE:  # and no other program's
                    return found
        except NoSuchJobError:
            pass
        raise NotFoundError("job of that id")

    def _seen(self, queued: Queued) -> Job:
        state = _STATES[queued.get_status()]
        if state == "running":  # unless its worker has not been heard of for too long
            self._registry(StartedJobRegistry).cleanup()
            state = _STATES[queued.get_status()]
        results, total = self._depot.results(queued.id), queued.meta["total"]
        if state == "done" and len(results) < total and self._depot.is_asked_to_end(queued.id):
            state = "cancelled"
        if state != "failed":
            return Job(queued.id, state, total, results)
        latest = queued.latest_result()
        why = _why(queued, "" if latest is None else latest.exc_string or "")
        return Job(queued.id, state, total, results, told(why))

    def _unfinished(self) -> list[str]:
        """Return the ids of jobs that have not ended; those of lost workers have failed by this."""
        with answering():
            return [*self._queue.job_ids, *self._registry(StartedJobRegistry).get_job_ids()]

    def _make_room(self) -> None:
        """Forget the oldest of the jobs that ended, where there are more than are kept."""
        for kind in (FinishedJobRegistry, FailedJobRegistry, CanceledJobRegistry):
            for job_id in self._registry(kind).get_job_ids(0, -KEPT - 1):
                self._depot.forget(job_id)
                try:
                    self._find(job_id).delete()
                except NotFoundError:
                    continue

    def _registry(self, kind: type[Any]) -> Any:
        return kind(queue=self._queue)


def _limit_s(order: Order) -> int:
    """Return the seconds after which a job is given up: its inputs have limits of their own."""
    return round(_START_S + len(order.items) * (order.timeout_s + _LOAD_S))


def _why(queued: Queued, seen: str) -> WorkbenchError:
    """Return why a job failed as a whole, from what RQ has written down about it."""
    model = str(queued.meta.get("model", ""))
    if "JobTimeoutException" in seen:
        return InferenceTimeoutError(model, float(queued.timeout or 0), what="The job")
    if "AbandonedJobError" in seen:
        return WorkerCrashedError(model, "it was not heard of any more", "Start the job again.")
    if "terminated unexpectedly" in seen:
        return WorkerCrashedError(model, "it was killed", "Start the job again.")
    return InternalError()
