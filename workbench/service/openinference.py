"""The Open Inference Protocol v2: any of its clients works with the models of this hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from workbench import __version__
from workbench.errors import BadRequestError, InputTooLargeError, NotFoundError, SwitchedOffError
from workbench.service.body import json_body, read_body
from workbench.service.output import Writing
from workbench.service.policy import SMALL_BYTES
from workbench.service.shown import protocol_responses, ready_responses
from workbench.service.tensor import (
    JSON_BYTES,
    check_ports,
    is_text,
    port_told,
    read_inputs,
    read_limit,
    read_wanted,
    seen,
    split,
)

if TYPE_CHECKING:
    from workbench.models.model import Model
    from workbench.service.desk import Desk
    from workbench.service.policy import Policy
    from workbench.stopping import Stop

#: The only version that a model has here: its file is replaced in place.
VERSION = "1"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository",
              "model_repository(unload_dependents)", "statistics")  # fmt: skip
#: Where clients ask for extensions that are not here, and their names.
ABSENT = {"systemsharedmemory": "system_shared_memory", "cudasharedmemory": "cuda_shared_memory",
          "trace": "trace", "logging": "logging"}  # fmt: skip
#: The stages that the protocol knows, of those that a run has here.
_INFER, _AFTER = ("inference",), ("postprocessing",)
_TENSOR = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    "datatype": {"type": "string"},
                    "parameters": {"type": "object"},
                    "data": {"type": "array", "items": {}},
                },
            },
        },
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    },
}
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _TENSOR}}}}
_LOAD = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}


def router(desk: Desk) -> APIRouter:
    """Return the routes of the protocol that answer at this desk."""
    routes = APIRouter(prefix="/v2", tags=["open inference protocol"])
    policy = desk.policy

    async def found(request: Request, model: str, version: str | None = None) -> Model:
        request.state.model = model
        handle = await desk.handle(model)
        if version not in (None, VERSION):
            raise NotFoundError(f"version {version!r} of that model (it has {VERSION!r})")
        return handle

    @routes.get("", responses=protocol_responses(401, 429))
    async def server(request: Request) -> dict[str, Any]:
        """Tell the server's name, version and extensions."""
        return {"name": "workbench", "version": __version__, "extensions": list(EXTENSIONS)}

    @routes.get("/health/live", responses=protocol_responses(401, 429))
    async def live() -> dict[str, bool]:
        """Say that the server lives."""
        return {"live": True}

    @routes.get("/health/ready", responses=ready_responses(401, 429))
    async def ready() -> JSONResponse:
        """Say whether the server takes requests."""
        good = desk.ready and not desk.draining
        return JSONResponse({"ready": good}, status_code=200 if good else 503)

    @routes.get("/models/stats", responses=protocol_responses(401, 429))
    async def all_stats(request: Request) -> dict[str, Any]:
        """Tell how often each model has run, and for how long."""
        return {"model_stats": [_stats(desk, name) for name in sorted(desk.engine.metrics.models)]}

    for path in ("/models/{model}", "/models/{model}/versions/{version}"):

        @routes.get(path, responses=protocol_responses(401, 404, 422, 429))
        async def metadata(
            request: Request, model: str, version: str | None = None
        ) -> dict[str, Any]:
            """Tell a model's inputs and outputs."""
            handle = await found(request, model, version)
            return {
                "name": handle.id,
                "versions": [VERSION],
                "platform": "onnxruntime_onnx",
                "inputs": [port_told(port) for port in handle.inputs],
                "outputs": [port_told(port) for port in handle.outputs],
            }

        @routes.get(f"{path}/ready", responses=ready_responses(401, 404, 422, 429))
        async def model_ready(
            request: Request, model: str, version: str | None = None
        ) -> JSONResponse:
            """Say whether a model is in memory; one that is not is loaded by its first request."""
            good = desk.engine.holds((await found(request, model, version)).id)
            told = {"name": model, "ready": good}
            return JSONResponse(told, status_code=200 if good else 503)

        @routes.get(f"{path}/config", responses=protocol_responses(401, 404, 422, 429))
        async def config(
            request: Request, model: str, version: str | None = None
        ) -> dict[str, Any]:
            """Tell a model's configuration in the form of Triton's."""
            return _config(await found(request, model, version))

        @routes.get(f"{path}/stats", responses=protocol_responses(401, 404, 422, 429))
        async def stats(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
            """Tell how often a model has run, and for how long."""
            return {"model_stats": [_stats(desk, (await found(request, model, version)).id)]}

        @routes.post(
            f"{path}/infer", openapi_extra=_BODY,
            responses=protocol_responses(401, 404, 408, 413, 415, 422, 429, 500, 503, 504),
        )  # fmt: skip
        async def infer(request: Request, model: str, version: str | None = None) -> Response:
            """Run a model on tensors: in JSON, or as bytes behind it."""
            handle = await found(request, model, version)
            told, tail = await _received(request, policy)
            return await _infer(desk, request, handle, told, tail)

    @routes.post(
        "/repository/index", openapi_extra=_LOAD,
        responses=protocol_responses(401, 408, 413, 415, 429, 503),
    )  # fmt: skip
    async def index(request: Request) -> list[dict[str, str]]:
        """List the models that can be used here."""
        asked = await _optional(request, policy.body_s)
        rows = desk.engine.rows()
        return [
            {"name": row["id"], "version": VERSION,
             "state": "READY" if row["state"] == "live" else "UNAVAILABLE",
             "reason": "" if row["state"] == "live" else "not in memory: loaded when it is used"}
            for row in rows
            if row["state"] == "live" or not asked.get("ready")
        ]  # fmt: skip

    @routes.post(
        "/repository/models/{model}/load", openapi_extra=_LOAD,
        responses=protocol_responses(401, 403, 404, 408, 413, 415, 422, 429, 503, 504),
    )  # fmt: skip
    async def load(request: Request, model: str) -> Response:
        """Load a model into memory."""
        given = (await _optional(request, policy.body_s)).get("parameters") or {}
        await found(request, model)
        if given:
            raise SwitchedOffError(
                "A load with a configuration or files of the client's", "models lie in MODEL_DIR"
            )
        await desk.load(model, request)
        return Response(status_code=200)

    @routes.post(
        "/repository/models/{model}/unload", openapi_extra=_LOAD,
        responses=protocol_responses(401, 404, 408, 413, 415, 422, 429, 503, 504),
    )  # fmt: skip
    async def unload(request: Request, model: str) -> Response:
        """Take a model out of memory."""
        await _optional(request, policy.body_s)
        await found(request, model)
        await desk.unload(model)
        return Response(status_code=200)

    _tell_absent(routes)
    return routes


def _tell_absent(routes: APIRouter) -> None:
    """Say of an extension that there is none, rather than of a page."""

    async def absent(request: Request) -> None:
        name = next(ABSENT[part] for part in request.url.path.split("/") if part in ABSENT)
        raise NotFoundError(f"extension {name} of the protocol (there are {', '.join(EXTENSIONS)})")

    for place in ABSENT:
        for path in (f"/{place}", f"/{place}/{{rest:path}}"):
            routes.add_api_route(path, absent, methods=["GET", "POST"], include_in_schema=False)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequestError("The body", type(value).__name__, "a JSON object")
    return value


async def _optional(request: Request, limit_s: float) -> Mapping[str, Any]:
    body = await read_body(request, limit_bytes=SMALL_BYTES, limit_s=limit_s)
    return _mapping(await json_body(body)) if body.strip() else {}


async def _received(request: Request, policy: Policy) -> tuple[Mapping[str, Any], memoryview]:
    """Return the JSON of a request for a run, and the bytes behind it."""
    length = request.headers.get("inference-header-content-length")
    limit, limit_bytes = None, policy.tensor_bytes
    if length is None and limit_bytes > JSON_BYTES:
        limit, limit_bytes = _much_json(), JSON_BYTES
    body = await read_body(request, limit_bytes=limit_bytes, limit_s=policy.body_s, too_large=limit)
    head, tail = split(body, length)
    if len(head) > JSON_BYTES:
        raise _much_json()
    return _mapping(await json_body(head)), tail


async def _infer(
    desk: Desk, request: Request, model: Model, told: Mapping[str, Any], tail: memoryview
) -> Response:
    wanted = read_wanted(told, model.outputs)
    check_ports(model, [one.name for one in wanted])
    limit_s = read_limit(told, desk.policy.timeout_s)
    identity = told.get("id", "")
    if not isinstance(identity, str) or not is_text(identity):
        raise BadRequestError("id", seen(identity), "a text")

    def work(stop: Stop) -> tuple[bytes, int | None]:  # with all that takes time for large tensors
        answer = desk.engine.run(
            read_inputs(told, tail), model.id, stop=stop,
            outputs=[one.name for one in wanted], most_bytes=desk.policy.tensor_bytes,
        )  # fmt: skip
        writing = Writing(model.id)
        for one in wanted:
            writing.add(one, answer.arrays[one.name], model.labels)
        return writing.body({"model_name": model.id, "model_version": VERSION, "id": identity})

    desk.traffic.add_batch(1)
    body, head = await desk.call(work, request, timeout_s=limit_s)
    if head is None:
        return Response(body, media_type="application/json")
    return Response(
        body,
        media_type="application/octet-stream",
        headers={"Inference-Header-Content-Length": str(head)},
    )


def _much_json() -> InputTooLargeError:
    limit = f"{JSON_BYTES:,} bytes: send tensors as binary data, behind it"
    return InputTooLargeError("The JSON of the request", "more bytes than that", limit)


def _config(model: Model) -> dict[str, Any]:
    """Write a model's ports as Triton's configuration has them."""

    def ports(which: Any) -> list[dict[str, Any]]:
        told = [port_told(port) for port in which]
        return [
            {"name": t["name"], "data_type": _type(t["datatype"]), "dims": t["shape"]} for t in told
        ]

    return {
        "name": model.id,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 0,  # the batch is one of the dimensions
        "input": ports(model.inputs),
        "output": ports(model.outputs),
    }


def _type(kind: str) -> str:
    return "TYPE_STRING" if kind == "BYTES" else f"TYPE_{kind}"


def _stats(desk: Desk, model: str) -> dict[str, Any]:
    """Count a model's runs as Triton's statistics do: times are summed, in nanoseconds."""
    counted, spent = 0, {"compute_input": 0.0, "compute_infer": 0.0, "compute_output": 0.0}
    whole = 0.0
    for (name, stage), tally in desk.engine.metrics.tallies().items():
        if name != model:
            continue
        if stage == "total":
            counted, whole = tally.n, tally.sum_s
        elif stage in _INFER:
            spent["compute_infer"] += tally.sum_s
        elif stage in _AFTER:
            spent["compute_output"] += tally.sum_s
        else:
            spent["compute_input"] += tally.sum_s
    failures = sum(
        number for one, number in desk.traffic.served().items() if one.model == model and one.code
    )
    durations = {
        "success": {"count": counted, "ns": round(1e9 * whole)},
        "fail": {"count": failures, "ns": 0},
        "queue": {"count": counted, "ns": 0},
        **{k: {"count": counted, "ns": round(1e9 * s)} for k, s in spent.items()},
        "cache_hit": {"count": 0, "ns": 0},
        "cache_miss": {"count": 0, "ns": 0},
    }
    return {
        "name": model,
        "version": VERSION,
        "last_inference": 0,
        "inference_count": counted,
        "execution_count": counted,
        "inference_stats": durations,
        "batch_stats": [],
    }
