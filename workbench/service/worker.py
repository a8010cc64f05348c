"""``workbench worker``: takes jobs from the Redis that services put them in, one at a time.

RQ's spawning worker starts a child for each job, watches it, and tells Redis that it lives. The
child answers the inputs at a desk like the service's own, in worker processes that can be killed,
so answers and errors are the same: an input that brings a model down costs its own answer only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from rq import SpawnWorker, get_current_job
from rq.serializers import JSONSerializer

from workbench.errors import InferenceTimeoutError, LoadTimeoutError
from workbench.inference.runner import Runner
from workbench.models.hub import ModelHub
from workbench.service import journal
from workbench.service.depot import LOAD_S, QUEUE, Depot, answering, connected
from workbench.service.desk import Desk
from workbench.service.engine import Engine
from workbench.service.gate import classified
from workbench.service.policy import Policy
from workbench.service.problem import envelope
from workbench.settings import Settings, pass_on

if TYPE_CHECKING:
    from rq import Queue
    from rq.job import Job

    from workbench.errors import WorkbenchError
    from workbench.service.depot import Content
    from workbench.service.intake import Item
    from workbench.stopping import Stop

#: How often a running job looks whether it is to end, in seconds.
_LOOK_S = 0.25
#: How often a worker looks for jobs that others have lost, in seconds.
_CARE_S = 60


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
        worker = Worker(
            [QUEUE], connection=redis, serializer=JSONSerializer, log_job_description=False,
            maintenance_interval=_CARE_S,
        )  # fmt: skip
        worker.log_result_lifespan = False
        pass_on(given, "redis_url")  # to the children, past their command lines
        try:
            worker.work(burst=burst)
        except SystemExit:  # a second signal has ended the child
            worker.give_up()
            raise


class Worker(SpawnWorker):
    """RQ's spawning worker, which lets go of what a failed job was to do."""

    def handle_job_failure(self, job: Job, queue: Queue, *arguments: Any, **named: Any) -> None:
        """Fail a job, whose child may have been killed before it could let go."""
        super().handle_job_failure(job, queue, *arguments, **named)
        with suppress(RedisError):
            Depot(self.connection).let_go([job.id])

    def give_up(self) -> None:
        """Fail the job that was at hand: nobody does it any more."""
        for execution in tuple(self.executions.values()):
            with suppress(RedisError):
                self.handle_job_failure(
                    execution.job, self.queues[0], execution=execution,
                    exc_string="Work-horse terminated unexpectedly: a second signal",
                )  # fmt: skip


class InputsGoneError(RuntimeError):
    """What a job was to do is not in Redis any more."""


def perform(job_id: str) -> None:
    """Do one job; called in a child of the worker."""
    job = get_current_job()
    assert job is not None
    given = Settings()
    journal.set_up(given)
    depot = Depot(job.connection)
    content = depot.take(job_id)
    if content is None:
        if depot.is_asked_to_end(job_id):
            return
        raise InputsGoneError
    runner = Runner(ModelHub(), isolated=True)
    policy = Policy(
        max_image_bytes=given.max_image_bytes, max_batch=given.max_batch_size,
        timeout_s=given.timeout_s, batching=given.dynamic_batching,
        batch_delay_s=given.batch_delay / 1000,
    )  # fmt: skip
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
        problem = await self._loaded()

        async def one(item: Item) -> dict[str, Any]:
            if problem is not None:
                return envelope(problem, request_id)
            return await self.desk.item(order, item, request_id)

        waiting, under_way = deque(order.items), deque[asyncio.Task[dict[str, Any]]]()
        try:
            for number in range(len(order.items)):
                while waiting and len(under_way) < self.desk.admission.workers:
                    under_way.append(asyncio.ensure_future(one(waiting.popleft())))
                answer = await under_way[0]
                under_way.popleft()
                await asyncio.to_thread(self.depot.add, self.job_id, number, answer)
        finally:
            for task in under_way:
                task.cancel()

    async def _loaded(self) -> WorkbenchError | None:
        """Load the model, so that no input pays for it; return what is wrong with that.

        It has the name that a request gave it, if one did.
        """
        order, model = self.content.order, self.content.model
        named = {name: model[name] for name in ("path", "metadata") if name in model}

        def work(stop: Stop) -> object:
            return self.desk.engine.preload(order.model_id, **named, stop=stop)

        try:
            await self.desk.admission.run(work, timeout_s=max(order.timeout_s, LOAD_S))
        except InferenceTimeoutError:
            return LoadTimeoutError(order.model_id, max(order.timeout_s, LOAD_S))
        except Exception as error:  # noqa: BLE001  (it is the answer to each input)
            return classified(error)
        return None
