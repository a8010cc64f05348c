"""Reading what a client sends: counted as it comes, in time, and as strict JSON."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from workbench.errors import (
    BadRequestError,
    InputTooLargeError,
    SlowRequestError,
    UnsupportedMediaError,
    WorkbenchError,
    abridge,
)
from workbench.service.admission import ClientGoneError
from workbench.service.policy import DEEPEST

if TYPE_CHECKING:
    from fastapi import Request

#: Bodies above this are parsed in a thread, so that others are answered meanwhile (bytes).
PARSED_ASIDE_BYTES = 1_000_000
_PLAIN, _COMPRESSED = "identity", ("gzip", "x-gzip", "deflate")
#: Either header is found out, with the largest window (zlib.h, inflateInit2).
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_JSON = ("", "application/x-www-form-urlencoded")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(b for b in range(256) if b not in b"[]{}")
_ROUND = bytes.maketrans(b"{}", b"[]")

M = TypeVar("M", bound=BaseModel)


async def read_body(
    request: Request, *, limit_bytes: int, limit_s: float, too_large: WorkbenchError | None = None
) -> bytes:
    """Return the body of a request.

    Parameters
    ----------
    limit_bytes : bytes on the wire, and again once they are decompressed (gzip, deflate); one more
        is refused, whatever Content-Length says
    limit_s : seconds in which all of it must come
    too_large : the error that says so; None for one about the body

    Raises
    ------
    InputTooLargeError (or ``too_large``), SlowRequestError, UnsupportedMediaError
    BadRequestError : it is compressed, and damaged
    ClientGoneError : the client went away
    """
    coding = request.headers.get("content-encoding", _PLAIN).strip().lower()
    if coding != _PLAIN and coding not in _COMPRESSED:
        raise UnsupportedMediaError(
            f"compressed ({abridge(coding, 20)})", "a body as it is, or with gzip or deflate"
        )
    declared = request.headers.get("content-length", "")
    refusal = too_large or InputTooLargeError(
        "The body", "more bytes than that" if not declared else f"{declared} bytes",
        f"{limit_bytes:,} bytes",
    )  # fmt: skip
    if declared.isdigit() and len(declared) < 20 and int(declared) > limit_bytes:
        raise refusal
    data = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limit_bytes:
                    raise refusal
    except TimeoutError as error:
        raise SlowRequestError(len(data), limit_s) from error
    except ClientDisconnect as error:
        raise ClientGoneError from error
    if coding == _PLAIN:
        return bytes(data)
    if len(data) > PARSED_ASIDE_BYTES // 10:
        return await asyncio.to_thread(decompressed, bytes(data), limit_bytes, refusal)
    return decompressed(bytes(data), limit_bytes, refusal)


def decompressed(data: bytes, limit_bytes: int, too_large: WorkbenchError) -> bytes:
    """Undo gzip or zlib (which HTTP calls deflate: RFC 9110, 8.4.1); never more than allowed.

    Raises
    ------
    BadRequestError : it is neither, is cut short, or goes on after its end
    ``too_large`` : there would be more
    """
    stream = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    try:
        opened = stream.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise BadRequestError("The body", "no gzip and no deflate", "what it says it is") from error
    if len(opened) > limit_bytes:
        raise too_large
    if not stream.eof or stream.unused_data:
        seen = "compressed data with more behind it" if stream.eof else "cut short"
        raise BadRequestError("The body", seen, "all of one compressed stream")
    return opened


def kind_of(request: Request) -> str:
    """Return the media type of a body, in lower case, without its parameters.

    A body of no type, and what ``curl -d`` calls every body, count as JSON: a form of that type is
    taken nowhere here, and a strange page is stopped by its Origin, not by the type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return "application/json" if kind in _JSON else kind


async def json_body(body: bytes) -> Any:
    """Parse strict JSON (RFC 8259): UTF-8, no NaN, no infinity, at most 32 levels deep.

    Raises
    ------
    BadRequestError : it is not that
    """
    if len(body) > PARSED_ASIDE_BYTES:
        return await asyncio.to_thread(parse_json, body)
    return parse_json(body)


def parse_json(body: bytes) -> Any:
    """Do the work of :func:`json_body`."""
    if not body.strip():
        raise BadRequestError("The body", "empty", "a JSON object")
    if is_deep(body):
        raise BadRequestError(
            "The body", f"nested more than {DEEPEST} levels deep", f"at most {DEEPEST} levels"
        )
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise BadRequestError("The body", body[:20], "JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise BadRequestError("The body", f"no JSON ({error.msg}, {at})", "JSON") from error
    except (ValueError, RecursionError) as error:
        raise BadRequestError("The body", abridge(body[:40]), f"JSON ({error})") from error


def is_deep(body: bytes) -> bool:
    """Say whether JSON is nested more than :data:`~workbench.service.policy.DEEPEST` levels deep.

    Counted on the bytes, before a parser meets them: strings are cut out, then pairs of brackets
    with nothing in between, once a level.
    """
    if _brackets(body) <= DEEPEST:
        return False
    left = _STRING.sub(b"", body).translate(_ROUND, _NO_BRACKETS)
    for _ in range(DEEPEST):
        shorter = left.replace(b"[]", b"")
        if len(shorter) == len(left):
            break
        left = shorter
    return left.startswith(b"[")


def _brackets(body: bytes) -> int:
    """Count opening brackets until there are too many; find is much faster at it than count."""
    number = 0
    for bracket in (b"[", b"{"):
        at = body.find(bracket)
        while at >= 0 and number <= DEEPEST:
            number += 1
            at = body.find(bracket, at + 1)
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def validated(kind: type[M], value: Any) -> M:
    """Return a request of some kind.

    Raises
    ------
    BadRequestError : naming the field, what it holds, and what was expected
    """
    if not isinstance(value, dict):
        raise BadRequestError("The body", _short(value), "a JSON object")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "The body"
        words = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if first["type"] == "missing":
            raise BadRequestError(where, "missing", "a value") from error
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            raise BadRequestError(where, "a field unknown here", f"one of {known}") from error
        raise BadRequestError(where, _short(first["input"]), words[:1].lower() + words[1:]) from (
            error
        )


def _short(value: Any) -> Any:
    """Name a value that may be large by its kind."""
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}".replace("dict", "object")
    return value[:60] if isinstance(value, str) else value
