"""Jobs in the memory of the service: they end with it.

A job takes its turns in the same queue as everyone, one input at a time, so that it never fills it;
and one worker is left to others, where there are two.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.errors import NotFoundError, QueueFullError
from workbench.service.job import KEPT, KEPT_S, Job, State
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.service.desk import Desk
    from workbench.service.intake import Order


@dataclass(slots=True, eq=False)
class _Work:
    """A job and what it is made of; the order is let go with its end."""

    id: str
    request_id: str
    order: Order | None
    total: int
    state: State = "queued"
    results: list[dict[str, Any]] = field(default_factory=list)
    ended_s: float | None = None
    task: asyncio.Task[None] | None = None

    def seen(self) -> Job:
        return Job(self.id, self.state, self.total, tuple(self.results))


class EmbeddedJobs:
    """The jobs of one service; all methods are called on its event loop."""

    place = "memory"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._jobs: OrderedDict[str, _Work] = OrderedDict()
        self._turns = asyncio.Semaphore(max(1, desk.admission.workers - 1))

    async def start(self, order: Order, request_id: str) -> Job:
        """Begin a job, or put it behind those that have not ended; raises QueueFullError."""
        self._forget()
        later_s, most = self._desk.admission.retry_after_s, self._desk.policy.held_bytes
        if len(self._jobs) >= KEPT:
            raise QueueFullError(len(self._jobs), KEPT, later_s)
        bodies = sum(work.order.size_bytes for work in self._jobs.values() if work.order)
        if bodies + order.size_bytes > most:
            raise QueueFullError(bodies, most, later_s, in_bytes=True)
        work = _Work(secrets.token_urlsafe(12), request_id, order, len(order.items))
        self._jobs[work.id] = work
        work.task = asyncio.get_running_loop().create_task(self._do(work))
        return work.seen()

    async def get(self, job_id: str, start: int = 0) -> Job:
        """Return a job, with its results from this number on; raises NotFoundError."""
        return self._find(job_id).seen().since(start)

    async def cancel(self, job_id: str) -> Job:
        """End a job, and return it with what it has; one that has ended is forgotten."""
        work = self._find(job_id)
        if work.ended_s is not None:
            del self._jobs[job_id]
        else:
            await self._end(work)
        return work.seen()

    async def unfinished(self) -> int:
        """Return how many have not ended."""
        return sum(work.ended_s is None for work in self._jobs.values())

    async def close(self) -> None:
        """End all jobs."""
        for work in tuple(self._jobs.values()):
            await self._end(work)

    def _find(self, job_id: str) -> _Work:
        self._forget()
        if job_id not in self._jobs:
            raise NotFoundError("job of that id")
        return self._jobs[job_id]

    async def _end(self, work: _Work) -> None:
        if work.task is not None and work.ended_s is None:
            work.task.cancel()
            await asyncio.wait({work.task})

    async def _do(self, work: _Work) -> None:
        order = work.order
        assert order is not None
        try:
            async with self._turns:
                work.state = "running"
                for item in order.items:
                    work.results.append(await self._desk.item(order, item, work.request_id))
            work.state = "done"
        except asyncio.CancelledError:
            work.state = "cancelled"
        finally:
            work.ended_s = clock()
            work.order = None  # its pictures are not needed any more

    def _forget(self) -> None:
        now = clock()
        ended = [w for w in self._jobs.values() if w.ended_s is not None]
        spare = len(self._jobs) - KEPT + 1
        for number, work in enumerate(ended):
            if number < spare or now - (work.ended_s or now) > KEPT_S:
                del self._jobs[work.id]
