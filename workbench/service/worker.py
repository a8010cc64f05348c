"""``workbench worker``: takes jobs from the Redis that services put them in, one at a time.

RQ's spawning worker starts a child for each job, watches it, and tells Redis that it lives. The
child answers the inputs at a desk like the service's own, in worker processes that can be killed,
so answers and errors are the same: an input that brings a model down costs its own answer only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rq import SpawnWorker, get_current_job
from rq.serializers import JSONSerializer

from workbench.inference.runner import Runner
from workbench.models.hub import ModelHub
from workbench.service import journal
from workbench.service.depot import QUEUE, Depot, answering, connected
from workbench.service.desk import Desk
from workbench.service.engine import Engine
from workbench.service.gate import classified
from workbench.service.policy import Policy
from workbench.service.problem import envelope
from workbench.settings import Settings, pass_on

if TYPE_CHECKING:
    from workbench.errors import WorkbenchError
    from workbench.service.depot import Content
    from workbench.service.intake import Item

#: How often a running job looks whether it is to end, in seconds.
_LOOK_S = 0.25


def work(given: Settings, *, burst: bool = False) -> None:
    """Do jobs until a signal ends it, or, in a burst, until there are none.

    The job under way is done first; a second signal ends it as well.

    Raises
    ------
    QueueUnavailableError : Redis does not answer
    """
    assert given.redis_url is not None
    redis = connected(given.redis_url.get_secret_value(), patient=True)
    with answering():
        redis.ping()
        worker = SpawnWorker(
            [QUEUE], connection=redis, serializer=JSONSerializer, log_job_description=False
        )
    worker.log_result_lifespan = False
    pass_on(given, "redis_url")  # to the children, past their command lines
    worker.work(burst=burst)


def perform(job_id: str) -> None:
    """Do one job; called in a child of the worker."""
    job = get_current_job()
    assert job is not None
    given = Settings()
    journal.set_up(given)
    depot = Depot(job.connection)
    content = depot.take(job_id)
    if content is None:  # cancelled, and forgotten
        return
    runner = Runner(ModelHub(), isolated=True)
    policy = Policy(max_image_bytes=given.max_image_bytes, timeout_s=given.timeout_s)
    desk = Desk(Engine(runner), policy, workers=given.worker_processes)
    try:
        asyncio.run(_Duty(desk, depot, job_id, content).do())
    finally:
        desk.close()
        depot.close(job_id)


@dataclass(frozen=True, slots=True)
class _Duty:
    """One job, the desk that answers its inputs, and the depot that keeps the answers."""

    desk: Desk
    depot: Depot
    job_id: str
    content: Content

    async def do(self) -> None:
        """Answer all inputs, unless the job is to end."""
        journal.request_id.set(self.content.request_id)
        answers = asyncio.ensure_future(self._answer_all())
        asked = asyncio.ensure_future(self._asked_to_end())
        try:
            await asyncio.wait({answers, asked}, return_when=asyncio.FIRST_COMPLETED)
            if answers.done():
                answers.result()
            else:
                asked.result()
        finally:
            for task in (answers, asked):
                task.cancel()
            await asyncio.wait({answers, asked})

    async def _asked_to_end(self) -> None:
        while not await asyncio.to_thread(self.depot.is_asked_to_end, self.job_id):
            await asyncio.sleep(_LOOK_S)

    async def _answer_all(self) -> None:
        """Answer as many inputs at a time as there are processes; keep answers in their order."""
        order, request_id = self.content.order, self.content.request_id
        problem = await asyncio.to_thread(self._named)

        async def one(item: Item) -> dict[str, Any]:
            if problem is not None:
                return envelope(problem, request_id)
            return await self.desk.item(order, item, request_id)

        waiting, under_way = deque(order.items), deque[asyncio.Task[dict[str, Any]]]()
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self.desk.admission.workers:
                    under_way.append(asyncio.ensure_future(one(waiting.popleft())))
                answer = await under_way[0]
                under_way.popleft()
                await asyncio.to_thread(self.depot.add, self.job_id, answer)
        finally:
            for task in under_way:
                task.cancel()

    def _named(self) -> WorkbenchError | None:
        """Give the model the name that a request gave it; return what is wrong with that."""
        model = self.content.model
        if not model:
            return None
        try:
            self.desk.engine.preload(
                self.content.order.model_id, path=model["path"], metadata=model["metadata"]
            )
        except Exception as error:  # noqa: BLE001  (it is the answer to each input)
            return classified(error)
        return None
