"""Work in the background: jobs that a request starts and others ask after.

They are kept in the memory of this process and end with it. A job takes its turns in the same
queue as everyone, one input at a time, so that it never fills it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import NotFoundError, QueueFullError
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.service.desk import Desk
    from workbench.service.intake import Order

#: Jobs that are kept; those that ended go first, the oldest of them before the others.
KEPT = 100
#: Seconds for which a job that ended can be asked after.
KEPT_S = 3600.0

State = Literal["queued", "running", "done", "cancelled"]


@dataclass(slots=True, eq=False)
class Job:
    """One job.

    Attributes
    ----------
    request_id : of the request that started it
    results : in the order of the inputs, as they are done
    ended_s : when it ended, on the clock; None before
    """

    id: str
    request_id: str
    order: Order | None
    total: int
    state: State = "queued"
    results: list[dict[str, Any]] = field(default_factory=list)
    ended_s: float | None = None
    task: asyncio.Task[None] | None = None

    def told(self) -> dict[str, Any]:
        """Return what is shown of it."""
        return {
            "job_id": self.id,
            "state": self.state,
            "done": len(self.results),
            "total": self.total,
            "results": self.results,
        }


class Jobs:
    """The jobs of one service; all methods are called on its event loop."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turn = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    def start(self, order: Order, request_id: str) -> Job:
        """Begin a job, or put it behind those that have not ended.

        Raises
        ------
        QueueFullError : as many jobs as are kept have not ended, or as many bytes of them
        """
        self._forget()
        later_s, most = self._desk.admission.retry_after_s, self._desk.policy.held_bytes
        if len(self._jobs) >= KEPT:
            raise QueueFullError(len(self._jobs), KEPT, later_s)
        bodies = sum(job.order.size_bytes for job in self._jobs.values() if job.order is not None)
        if bodies + order.size_bytes > most:
            raise QueueFullError(bodies, most, later_s, in_bytes=True)
        job = Job(secrets.token_urlsafe(12), request_id, order, len(order.items))
        self._jobs[job.id] = job
        job.task = asyncio.get_running_loop().create_task(self._work(job))
        return job

    def get(self, job_id: str) -> Job:
        """Return a job; raises NotFoundError."""
        self._forget()
        if job_id not in self._jobs:
            raise NotFoundError("job of that id")
        return self._jobs[job_id]

    async def cancel(self, job_id: str) -> Job:
        """End a job, and return it with what it has; one that has ended is forgotten."""
        job = self.get(job_id)
        if job.ended_s is not None:
            del self._jobs[job_id]
            return job
        await self._end(job)
        return job

    async def close(self) -> None:
        """End all jobs."""
        for job in tuple(self._jobs.values()):
            await self._end(job)

    async def _end(self, job: Job) -> None:
        if job.task is not None and job.ended_s is None:
            job.task.cancel()
            await asyncio.wait({job.task})

    async def _work(self, job: Job) -> None:
        order = job.order
        assert order is not None
        try:
            async with self._turn:
                job.state = "running"
                for item in order.items:
                    job.results.append(await self._desk.item(order, item, job.request_id))
            job.state = "done"
        except asyncio.CancelledError:
            job.state = "cancelled"
        finally:
            job.ended_s = clock()
            job.order = None  # its pictures are not needed any more

    def _forget(self) -> None:
        now = clock()
        ended = [j for j in self._jobs.values() if j.ended_s is not None]
        spare = len(self._jobs) - KEPT + 1
        for number, job in enumerate(ended):
            if number < spare or now - (job.ended_s or now) > KEPT_S:
                del self._jobs[job.id]
