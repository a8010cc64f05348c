"""Where requests become runs: the engine, the queue before it, and the rules, in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import isnan
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.errors import InferenceTimeoutError, LoadTimeoutError, UnsupportedInputsError
from workbench.host import resident_bytes
from workbench.models.graph import describe
from workbench.service.admission import Admission, looked_at, unless_gone
from workbench.service.companion import Asked, Companions
from workbench.service.engine import MOST_NAMES, Loading
from workbench.service.gate import classified
from workbench.service.intake import Item, Order, picture_bytes
from workbench.service.journal import log
from workbench.service.problem import envelope, hide
from workbench.service.traffic import Stages, Traffic
from workbench.timing import clock

if TYPE_CHECKING:
    from fastapi import Request

    from workbench.inference.results import Result
    from workbench.models.model import Model
    from workbench.service.engine import Engine, Loaded
    from workbench.service.policy import Policy
    from workbench.stopping import Stop

T = TypeVar("T")

#: Longest that the unloading of a model is waited for, in seconds.
UNLOAD_S = 10.0


class Desk:
    """Answers orders.

    Attributes
    ----------
    ready : whether the service takes requests; not before it has warmed up
    draining : whether it is about to end
    jobs : in the background and not ended, when that was last looked at; None where unknown
    """

    def __init__(self, engine: Engine, policy: Policy, *, workers: int) -> None:
        self.engine, self.policy = engine, policy
        self.traffic = Traffic(engine.knows)
        self.stages = Stages()
        self.admission = Admission(workers=workers, limit=policy.queue_limit)
        self.companions = Companions(engine, self.admission, policy)
        self._unloading = ThreadPoolExecutor(2, "workbench-unload")
        self.ready = self.draining = False
        self.jobs: int | None = None
        self.started_s = clock()
        self._described: set[str] = set()
        for shelf in engine.hub.shelves:
            hide((shelf.models, shelf.data, shelf.models.parent))

    async def handle(self, model_id: str) -> Model:
        """Return a model's handle; the first time its file is looked at, in a thread.

        Raises
        ------
        UnsafePathError, UnknownModelError, and what a file may be instead of a model
        """
        if model_id in self._described:
            return self.engine.model(model_id)
        model = await asyncio.to_thread(self.engine.model, model_id)
        if len(self._described) < MOST_NAMES:
            self._described.add(model_id)
        return model

    # ── answering ─────────────────────────────────────────────────────────────────────────────

    async def execute(self, order: Order, request: Request) -> dict[str, Any]:
        """Answer one input."""
        self.traffic.add_batch(1)
        answer = await unless_gone(request, self._one(order, order.items[0], _begun(request)))
        return {**answer, "request_id": request.state.request_id}

    async def batch(self, order: Order, request: Request) -> list[dict[str, Any]]:
        """Answer several inputs; one that fails does so in its own place.

        Raises
        ------
        QueueFullError : there is no room for all of them; one may exceed a queue that is empty
        UnknownModelError and the like : what fails for all of them alike
        """
        self.traffic.add_batch(len(order.items))
        await self.handle(order.model_id)
        self.admission.admit(len(order.items) if self.admission.waiting else 1)
        begun, identity = _begun(request), request.state.request_id
        work = [self.item(order, item, identity, begun=begun) for item in order.items]
        return list(await unless_gone(request, asyncio.gather(*work)))

    async def item(
        self, order: Order, item: Item, request_id: str, *, begun: float | None = None
    ) -> dict[str, Any]:
        """Answer one of several inputs: what :meth:`execute` answers, or what is wrong with it."""
        try:
            answer = await self._one(order, item, begun, admitted=True)
        except Exception as error:  # noqa: BLE001  (whatever it is, the other inputs are answered)
            if (known := classified(error)).code == "internal":
                log.error("An input failed in an unforeseen way.", exc_info=error)
            return envelope(known, request_id)
        return {**answer, "request_id": request_id}

    async def _one(
        self, order: Order, item: Item, begun: float | None, *, admitted: bool = False
    ) -> dict[str, Any]:
        asked = clock()
        before = {} if begun is None else {"receive": asked - begun}

        def read() -> tuple[Any, dict[str, float]]:
            started = clock()
            stages = {**before, "queue": started - asked}
            data = item.data
            if item.kind == "image":
                data = picture_bytes(data, self.policy.max_image_bytes)
                if data is not item.data:
                    stages["base64"] = clock() - started
            return data, stages

        def alone(stop: Stop) -> tuple[Result, dict[str, float]]:
            data, stages = read()
            return self._classify(order, item.kind, data, stop), stages

        most = self.companions.most(order.model_id) if item.kind == "image" else 1
        if most > 1:
            picture = Asked(order.model_id, order.top_k, read, alone)
            result, stages = await self.companions.run(
                picture, most, timeout_s=order.timeout_s, begun=begun, admitted=admitted
            )
        else:
            result, stages = await self.admission.run(
                alone, timeout_s=order.timeout_s, begun=begun, admitted=admitted
            )
        self.stages.add(order.model_id, stages)
        self.companions.note(order.model_id, result)
        return answered(result, stages, clock() - (asked if begun is None else begun))

    def _classify(self, order: Order, kind: str, data: Any, stop: Stop) -> Result:
        engine = self.engine
        if kind == "text":
            seen = f"inputs ({describe(engine.model(order.model_id).inputs)})"
            raise UnsupportedInputsError(order.model_id, "text", seen, "a text input")
        call = engine.classify if kind == "image" else engine.classify_tensor
        return call(data, order.model_id, top_k=order.top_k, stop=stop)

    async def call(
        self, work: Callable[[Stop], T], request: Request, *, timeout_s: float | None = None
    ) -> T:
        """Do something else that blocks (a load, a run on tensors), in its turn."""
        limit_s = self.policy.timeout_s if timeout_s is None else timeout_s
        asked = clock()

        def timed(stop: Stop) -> tuple[T, float]:
            started = clock()
            return work(stop), started - asked

        turn = self.admission.run(timed, timeout_s=limit_s, begun=_begun(request))
        answer, waited_s = await unless_gone(request, turn)
        self.stages.add(getattr(request.state, "model", ""), {"queue": waited_s})
        return answer

    async def load(
        self,
        model_id: str,
        request: Request,
        *,
        first: Callable[[Stop], object] | None = None,
        timeout_s: float | None = None,
        **facts: Any,
    ) -> Loaded:
        """Load a model, in its turn.

        Parameters
        ----------
        first : done before it, such as fetching the model
        timeout_s : limit of all that; None for that of a request
        facts : path, metadata and warmup of :meth:`~workbench.service.engine.Engine.preload`

        Raises
        ------
        LoadTimeoutError : the limit ended the load
        InferenceTimeoutError : it ended the waiting before it, or the warm-up after it
        """
        loading = Loading()

        def work(stop: Stop) -> Loaded:
            if first is not None:
                first(stop)
            return self.engine.preload(model_id, stop=stop, loading=loading, **facts)

        try:
            return await self.call(work, request, timeout_s=timeout_s)
        except InferenceTimeoutError as error:
            if not loading.under_way:
                raise
            raise LoadTimeoutError(model_id, error.limit_s) from error

    async def unload(self, model_id: str) -> tuple[bool, int | None]:
        """Close a model's session: whether it had one, and the bytes given back.

        It waits neither for a run nor for anything else that takes its time.

        Raises
        ------
        InferenceTimeoutError : it took longer than :data:`UNLOAD_S`, and goes on
        """
        self._described.discard(model_id)  # it may be described anew
        work = asyncio.wrap_future(self._unloading.submit(self.engine.unload, model_id))
        done, _ = await asyncio.wait({work}, timeout=UNLOAD_S)
        if not done:
            work.add_done_callback(looked_at)
            raise InferenceTimeoutError(model_id, UNLOAD_S, what=f"Unloading {model_id!r}")
        return work.result()

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def status(self) -> dict[str, Any]:
        """Return what is in memory, how busy the service is, what it did, and its limits."""
        metrics, admission, policy = self.engine.metrics, self.admission, self.policy
        latency = {}
        seen = [self.stages.samples(stage) for stage in self.stages.names()]
        seen += [metrics.samples(stage) for stage in metrics.stages()]
        for samples in seen:
            row: dict[str, float | int | None] = {"n": samples.n}
            for p in (0.5, 0.9, 0.99):
                value_s = samples.percentile_s(p)
                row[f"p{round(100 * p)}_ms"] = None if isnan(value_s) else 1e3 * value_s
            latency[samples.what] = row
        requests, inputs = self.traffic.batches()
        return {
            "ready": self.ready,
            "draining": self.draining,
            "uptime_s": clock() - self.started_s,
            **self.engine.status(),
            "queue": {
                "running": admission.running,
                "waiting": admission.waiting,
                "limit": admission.limit,
                "workers": admission.workers,
                "refused": admission.refused,
            },
            "counts": {
                "answered": metrics.count,
                "by_model": dict(metrics.models),
                "errors": dict(metrics.errors),
                "http": self.traffic.totals(),
                "batches": {"requests": requests, "inputs": int(inputs)},
            },
            "latency_ms": latency,
            "memory_bytes": resident_bytes(),
            "limits": {
                "max_image_bytes": policy.max_image_bytes,
                "max_batch": policy.max_batch,
                "max_body_bytes": policy.largest_body_bytes,
                "timeout_ms": 1e3 * policy.timeout_s,
                "queue": policy.queue_limit,
                "dynamic_batching": policy.batching,
                "batch_delay_ms": 1e3 * policy.batch_delay_s,
                "rate": None if policy.rate is None else str(policy.rate),
            },
        }

    def close(self) -> None:
        """Stop what runs, and let go of the engine."""
        self.admission.close()
        self._unloading.shutdown(wait=False, cancel_futures=True)
        self.engine.close()


def _begun(request: Request) -> float | None:
    """Return when the request came, on the clock."""
    return getattr(request.state, "begun", None)


def answered(result: Result, before: dict[str, float], total_s: float) -> dict[str, Any]:
    """Return the body of an answer, but for the request's id."""
    said = result.to_dict()
    times = {name: 1e3 * value for name, value in before.items()}
    times |= {name: ms for name, ms in said["timings_ms"].items() if name != "total"}
    body = {
        "success": True,
        "model_id": said["model_id"],
        "predictions": said["predictions"],
        "timings_ms": {**times, "total": 1e3 * total_s},
        "model": {name: said["model"][name] for name in ("provider", "precision")},
    }
    return {**body, "note": said["note"]} if said["note"] else body
