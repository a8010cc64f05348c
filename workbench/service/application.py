"""The application: desk, gate and routes put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from workbench import __version__
from workbench.errors import BadRequestError
from workbench.service import (
    background,
    collector,
    openinference,
    remote,
    require_extra_jobs,
    rest,
)
from workbench.service.desk import Desk
from workbench.service.embedded import EmbeddedJobs
from workbench.service.engine import Engine
from workbench.service.gate import Gate, answer, classified
from workbench.service.journal import log
from workbench.service.policy import Policy
from workbench.service.reference import reference
from workbench.service.shown import responses, with_keys
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.inference.runner import Runner
    from workbench.service.engine import Loaded
    from workbench.service.job import Jobs
    from workbench.stopping import Stop

_ABOUT = """Models in the ONNX format over HTTP: the same hub, the same preprocessing and the same
answers as in a notebook. Every error is `{"error": {"code", "message", "hint", "request_id"}}`;
below `/v2`, whose protocol wants a text there, `error` is the message, and the rest stands beside
it."""


def create_app(
    runner: Runner | None = None,
    *,
    policy: Policy | None = None,
    workers: int | None = None,
    models: Sequence[str] | None = None,
    redis_url: str | None = None,
) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    runner : what runs the models; None for one over a hub of the settings
    policy : what is allowed; None for the settings
    workers : runs at a time; None for ``WORKERS``, or what was measured to be best
    models : loaded and warmed up before it is ready; None for ``PRELOAD_MODELS``
    redis_url : of the Redis that jobs are kept in; None for ``REDIS_URL``, and "" for the memory
        of this process

    Notes
    -----
    ``app.state.desk`` is where requests become runs; ``app.state.desk.ready`` is true once the
    models are warm, and ``app.state.failed`` is why they cannot be; ``app.state.warming`` is the
    task that warms them up, from when it runs. Requests that come before are answered as well.
    """
    given = Settings()
    rules = Policy.of(given) if policy is None else policy
    at_a_time = workers or given.workers or default_workers()
    engine = Engine(_runner(at_a_time) if runner is None else runner)
    desk = Desk(engine, rules, workers=at_a_time)
    jobs = _jobs(desk, given, redis_url)
    first = tuple(given.preload_models if models is None else models)

    async def warm() -> None:
        try:
            for name in first:

                def work(stop: Stop, name: str = name) -> Loaded:
                    return desk.engine.preload(name, warmup=True, stop=stop)

                await desk.admission.run(work, timeout_s=None, admitted=True)
                log.info("Model %s is warm.", name)
            desk.ready = True
        except Exception as error:  # noqa: BLE001  (whoever serves is told of it)
            app.state.failed = known = classified(error)
            log.error("%s", known, exc_info=error if known.code == "internal" else None)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        # beside the requests, so that /health can say that it is not ready yet
        app.state.warming = warming = asyncio.create_task(warm())
        try:
            yield {"traffic": desk.traffic}
        finally:
            desk.ready = False
            desk.draining = True
            warming.cancel()
            await asyncio.wait({warming})
            await jobs.close()
            desk.close()

    app = FastAPI(
        title="workbench", version=__version__, description=_ABOUT, lifespan=life,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.desk, app.state.failed, app.state.warming = desk, None, None
    app.include_router(rest.router(desk, jobs))
    app.include_router(remote.router(desk))
    app.include_router(background.router(desk, jobs))
    app.include_router(openinference.router(desk))
    _pages(app, desk, jobs)
    _keys(app, demanded=bool(rules.keys))
    _errors(app)
    app.add_middleware(Gate, policy=rules, traffic=desk.traffic)
    return app


def _jobs(desk: Desk, given: Settings, url: str | None) -> Jobs:
    """Return where jobs are kept: in this process unless a Redis is named."""
    if url is None and given.redis_url is not None:
        url = given.redis_url.get_secret_value()
    if not url:
        return EmbeddedJobs(desk)
    require_extra_jobs()
    from workbench.service.queued import RedisJobs

    return RedisJobs(desk, url)


def default_workers() -> int:
    """Return how many runs go at a time where nobody says: one more than the machine has threads.

    While one run is handed over, its worker idles: at eight clients, three workers on two cores
    answered 7 % more requests a second than two (``benchmarks/http.py --workers 2x2,3x2,4x2``);
    a fourth gave 3 % more, and holds each model a fourth time.
    """
    from workbench.host import host

    return host().threads + 1


def _runner(workers: int) -> Runner:
    from workbench.inference.runner import Runner
    from workbench.models.hub import ModelHub

    return Runner(ModelHub(), isolated=True, processes=workers)


def _pages(app: FastAPI, desk: Desk, jobs: Jobs) -> None:
    """Add what is for people and for Prometheus."""
    seen = collector.registry(desk)

    @app.get(
        "/metrics", tags=["service"], response_class=PlainTextResponse,
        responses=responses(401, 429),
    )  # fmt: skip
    async def metrics(request: Request) -> Response:
        """Show counts, times, queue, cache and memory in the format of Prometheus."""
        desk.jobs = await jobs.unfinished()
        return Response(collector.page(seen), media_type=collector.CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(reference(app.openapi()))

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> RedirectResponse:
        return RedirectResponse("/docs")


def _keys(app: FastAPI, *, demanded: bool) -> None:
    """Have OpenAPI say how a key is sent, and whether one is needed."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        return app.openapi_schema or with_keys(plain(), demanded=demanded)

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation does it


def _errors(app: FastAPI) -> None:
    """Give the framework's own errors the form of ours; the gate has all others."""

    async def of_http(request: Request, error: Exception) -> Response:
        return answer(error, request.scope)

    async def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first: dict[str, Any] = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "The request"
        words = first["msg"].removeprefix("Input should be ").partition(", unable")[0]
        known = BadRequestError(where, first.get("input"), words[:1].lower() + words[1:])
        return answer(known, request.scope)

    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)
