"""What OpenAPI is told of bodies and errors that the routes read and write themselves."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from workbench.service.gate import OPEN
from workbench.service.problem import STATUS
from workbench.service.schema import ErrorBody, ProtocolError, Ready

if TYPE_CHECKING:
    from pydantic import BaseModel


def protocol_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route of the Open Inference Protocol."""
    told = responses(*statuses)
    return {status: {**facts, "model": ProtocolError} for status, facts in told.items()}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route, with the codes that have each status."""
    told: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 400, 500}):
        codes = ", ".join(f"`{code}`" for code, its in STATUS.items() if its == status)
        told[status] = {
            "model": ErrorBody,
            "description": f"{HTTPStatus(status).phrase}: {codes}",
        }
    return told


def ready_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe a route that says whether something takes requests: 503 says no."""
    no: dict[str, Any] = {"model": Ready, "description": "It does not take requests now."}
    return {**protocol_responses(*statuses), 503: no}


def with_keys(schema: dict[str, Any], *, demanded: bool) -> dict[str, Any]:
    """Add to an OpenAPI document how a key is sent, and where one is needed."""
    ways = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    }
    schema.setdefault("components", {})["securitySchemes"] = ways
    if demanded:
        schema["security"] = [{way: []} for way in ways]
        for path in OPEN & schema["paths"].keys():
            for operation in schema["paths"][path].values():
                operation["security"] = []
    return schema


def body_of(kind: type[BaseModel], *, forms: bool = False, bare: bool = False) -> dict[str, Any]:
    """Describe a JSON body that a route reads itself, and the other forms of a picture."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    content: dict[str, Any] = {"application/json": {"schema": _inlined(schema)}}
    fields: dict[str, Any] = {}
    if forms:
        fields = {
            "model_id": {"type": "string"},
            "top_k": {"type": "integer", "minimum": 1},
            "timeout_ms": {"type": "number", "exclusiveMinimum": 0},
            "file": {"type": "string", "format": "binary"},
        }
        form = {"type": "object", "properties": fields, "required": ["model_id", "file"]}
        content["multipart/form-data"] = {"schema": form}
    told: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    if bare:
        picture = {"type": "string", "format": "binary"}
        content |= {kind: {"schema": picture} for kind in ("image/png", "image/jpeg")}
        told["parameters"] = [
            {"name": name, "in": "query", "required": False, "schema": fields[name],
             "description": "For a body that is the picture itself; refused beside JSON."}
            for name in ("model_id", "top_k", "timeout_ms")
        ]  # fmt: skip
    return told


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without references: its definitions stand where they are used."""
    definitions = schema.pop("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, list):
            return [resolve(p) for p in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            found = definitions[part["$ref"].rpartition("/")[2]]
            return resolve({**found, **{k: v for k, v in part.items() if k != "$ref"}})
        return {key: resolve(value) for key, value in part.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved
