"""The routes of the REST API."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from workbench import __version__
from workbench.errors import UnsupportedMediaError
from workbench.service.body import json_body, kind_of, read_body, validated
from workbench.service.intake import batch_order, execute_order
from workbench.service.policy import SMALL_BYTES
from workbench.service.schema import (
    Answer,
    Batch,
    BatchAnswer,
    Execute,
    Health,
    Models,
    Preload,
    Preloaded,
    UnloadedAnswer,
)
from workbench.service.shown import body_of, responses

if TYPE_CHECKING:
    from typing import TypeVar

    from pydantic import BaseModel

    from workbench.service.desk import Desk
    from workbench.service.engine import Loaded
    from workbench.service.job import Jobs

    M = TypeVar("M", bound=BaseModel)

#: What /health names the versions of.
_VERSIONS = ("onnxruntime", "numpy", "fastapi")


def reply(request: Request, body: Mapping[str, Any], status: int = 200) -> JSONResponse:
    """Return a body with the request's id at its end; JSON without NaN (starlette refuses it)."""
    return JSONResponse({**body, "request_id": request.state.request_id}, status_code=status)


async def asked(request: Request, kind: type[M], limit_s: float) -> M:
    """Return a small JSON body, checked."""
    seen = kind_of(request)
    if seen != "application/json":
        raise UnsupportedMediaError(seen, "application/json")
    body = await read_body(request, limit_bytes=SMALL_BYTES, limit_s=limit_s)
    return validated(kind, await json_body(body))


@cache
def versions() -> dict[str, str]:
    """Return the versions of what runs here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"workbench": __version__, "python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def router(desk: Desk, jobs: Jobs) -> APIRouter:
    """Return the routes that answer at this desk."""
    routes = APIRouter()
    policy = desk.policy

    @routes.get("/health", tags=["service"], response_model=Health, responses=responses())
    async def health() -> dict[str, Any]:
        """Say whether the service lives and takes requests. Needs no key."""
        status = "draining" if desk.draining else "ok" if desk.ready else "starting"
        ready = status == "ok"
        return {"status": status, "live": True, "ready": ready, "versions": versions()}

    @routes.get("/api/inference/status", tags=["service"], responses=responses(401, 429))
    async def status(request: Request) -> Response:
        """Show models in memory, hits and evictions, the queue, counts, latencies and limits."""
        told = await asyncio.to_thread(desk.status)
        kept = {"unfinished": await jobs.unfinished(), "kept_in": jobs.place}
        return reply(request, {"success": True, **told, "jobs": kept})

    @routes.get(
        "/api/inference/models", tags=["models"], response_model=Models,
        responses=responses(401, 429),
    )  # fmt: skip
    async def models(request: Request) -> Response:
        """List the models that can be used here."""
        names = ("id", "task", "input", "size_bytes", "state", "provider", "licence")
        found = await asyncio.to_thread(desk.engine.rows)
        rows = [{name: row[name] for name in names} for row in found]
        return reply(request, {"success": True, "models": rows})

    @routes.post(
        "/api/inference/preload", tags=["models"], response_model=Preloaded,
        responses=responses(400, 401, 404, 408, 413, 415, 422, 429, 503, 504),
        openapi_extra=body_of(Preload),
    )  # fmt: skip
    async def preload(request: Request) -> Response:
        """Load a model, under a name of your choice where a file is given, and warm it up."""
        body = await asked(request, Preload, policy.body_s)
        request.state.model = body.model_id
        done = await desk.load(
            body.model_id, request, path=body.model_path, metadata=body.metadata, warmup=body.warmup
        )
        return reply(request, loaded(body.model_id, done))

    @routes.delete(
        "/api/inference/models/{model_id}", tags=["models"], response_model=UnloadedAnswer,
        responses=responses(400, 401, 404, 429, 504),
    )  # fmt: skip
    async def unload(request: Request, model_id: str) -> Response:
        """Take a model out of memory; its file stays, and using it loads it again.

        A worker process that is at work does so once it is free. What requests said of a model
        that was here before them is forgotten.
        """
        request.state.model = model_id
        was, freed = await desk.unload(model_id)
        told = {"success": True, "model_id": model_id, "unloaded": was, "freed_bytes": freed}
        return reply(request, told)

    @routes.post(
        "/api/inference/execute", tags=["inference"], response_model=Answer,
        responses=responses(400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=body_of(Execute, forms=True, bare=True),
    )  # fmt: skip
    async def execute(request: Request) -> Response:
        """Classify one input: a picture as data URI, base64, form or body, or a ready tensor."""
        desk.admission.admit()  # before the body is read
        order = await execute_order(request, policy)
        request.state.model = order.model_id
        return JSONResponse(await desk.execute(order, request))

    @routes.post(
        "/api/inference/batch", tags=["inference"], response_model=BatchAnswer,
        responses=responses(400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=body_of(Batch, forms=True),
    )  # fmt: skip
    async def batch(request: Request) -> Response:
        """Classify up to ten inputs; each that fails does so in its own place."""
        desk.admission.admit()  # before the body is read
        order = await batch_order(request, policy)
        request.state.model = order.model_id
        results = await desk.batch(order, request)
        return reply(request, {"success": True, "results": results})

    return routes


def loaded(model_id: str, done: Loaded) -> dict[str, Any]:
    """Return the body of an answer to a preload, but for the request's id."""
    return {
        "success": True,
        "model_id": model_id,
        "cached": done.cached,
        "load_ms": 1e3 * done.load_s,
        "warmup_ms": 1e3 * done.warmup_s,
    }
