"""Reading what a client sends: counted as it comes, in time, and as strict JSON."""

from __future__ import annotations

import asyncio
import gc
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
from workbench.service.policy import DEEPEST, JOB_ITEMS

if TYPE_CHECKING:
    from fastapi import Request

#: Bodies above this are parsed in a thread, so that others are answered meanwhile (bytes).
PARSED_ASIDE_BYTES = 1_000_000
_PLAIN, _COMPRESSED = "identity", ("gzip", "x-gzip", "deflate")
#: Either header is found out, with the largest window (zlib.h, inflateInit2).
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_JSON = ("", "application/x-www-form-urlencoded")
#: Values of one body: a parser makes objects of them, and nobody else is answered meanwhile. Two
#: million take about 0.2 s, and some 100 MB; a larger tensor comes as bytes (``/v2``).
MOST_VALUES = 2_000_000
#: Backslashes of one body, which cost a parser as much: base64 with ``\\/`` has one in 60 bytes.
MOST_ESCAPES = 4_000_000
#: Fields of one object that is no metadata and no data, and items of one list of inputs.
MOST_FIELDS, MOST_ITEMS = 100, JOB_ITEMS
#: A string, whole or cut off: it always matches where it begins, so that no byte is seen twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_ESCAPED_SURROGATE = (b"\\ud", b"\\uD")
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
    """Parse strict JSON (RFC 8259): UTF-8, no NaN, no infinity, no half of a surrogate pair.

    Raises
    ------
    BadRequestError : it is not that, or nested more than 32 levels deep
    InputTooLargeError : it has more than two million values
    """
    if len(body) > PARSED_ASIDE_BYTES:
        return await asyncio.to_thread(parse_json, body)
    return parse_json(body)


def parse_json(body: bytes) -> Any:
    """Do the work of :func:`json_body`."""
    if not body.strip():
        raise BadRequestError("The body", "empty", "a JSON object")
    if len(body) > MOST_VALUES:  # as many bytes as values, at the least
        _refuse_many(body)
    if is_deep(body):
        raise BadRequestError(
            "The body", f"nested more than {DEEPEST} levels deep", f"at most {DEEPEST} levels"
        )
    try:
        value = _loaded(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        seen = body[:20].decode("utf-8", "replace")
        raise BadRequestError("The body", seen, "JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise BadRequestError("The body", f"no JSON ({error.msg}, {at})", "JSON") from error
    except (_NoJsonError, RecursionError) as error:
        raise BadRequestError("The body", f"no JSON ({error})", "JSON") from error
    except ValueError as error:  # whole numbers of more than 4,300 digits: sys.int_info
        raise BadRequestError("The body", "JSON with an endless number", "numbers") from error
    if any(mark in body for mark in _ESCAPED_SURROGATE):
        _refuse_half_pairs(value)
    return value


def _loaded(text: str) -> Any:
    """Parse, without looking for garbage meanwhile: what is made is all in use, however much it is.

    A million lists take 0.1 s instead of 0.6, in which nobody else is answered.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text, parse_constant=_refuse)
    finally:
        if collects:
            gc.enable()


def is_deep(body: bytes) -> bool:
    """Say whether JSON is nested more than :data:`~workbench.service.policy.DEEPEST` levels deep.

    Counted on the bytes, before a parser meets them: strings are cut out, then pairs of brackets
    with nothing in between, once a level.
    """
    if _brackets(body) <= DEEPEST:
        return False
    left = _STRING.sub(b"", body).translate(_ROUND, _NO_BRACKETS)
    levels = 0
    while levels < DEEPEST and len(shorter := left.replace(b"[]", b"")) < len(left):
        left, levels = shorter, levels + 1
    return levels + left.count(b"[") > DEEPEST  # those that nobody closes are levels as well


def _brackets(body: bytes) -> int:
    """Count opening brackets until there are too many; find is much faster at it than count."""
    number = 0
    for bracket in (b"[", b"{"):
        at = body.find(bracket)
        while at >= 0 and number <= DEEPEST:
            number += 1
            at = body.find(bracket, at + 1)
    return number


def _refuse_many(body: bytes) -> None:
    """Refuse what would keep a parser busy for too long, before it begins."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES:
        raise InputTooLargeError(
            "The body", "more values than that",
            f"{MOST_VALUES:,} values: a larger tensor comes as bytes through /v2",
        )  # fmt: skip
    if body.count(b"\\") > MOST_ESCAPES:
        raise InputTooLargeError(
            "The body", "more backslashes than that", f"{MOST_ESCAPES:,} backslashes"
        )


class _NoJsonError(ValueError):
    """What Python's parser takes and JSON does not have."""


def _refuse(constant: str) -> NoReturn:
    raise _NoJsonError(f"{constant} is none")


def _refuse_half_pairs(value: Any) -> None:
    """Refuse half of a surrogate pair: no text in UTF-8 can say it (RFC 8259, 8.2)."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            try:
                one.encode()
            except UnicodeEncodeError as error:
                raise BadRequestError(
                    "The body", f"text with half a character ({one[error.start]!a})",
                    "both halves of a surrogate pair",
                ) from error  # fmt: skip
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one


def _refuse_crowds(value: dict[str, Any]) -> None:
    """Refuse what has far too many fields or items, before each of them gets an error."""
    waiting: list[tuple[str, Any]] = [("The body", value)]
    while waiting:
        where, one = waiting.pop()
        if isinstance(one, dict):
            if len(one) > MOST_FIELDS:
                raise BadRequestError(
                    where, _short(one), f"an object of at most {MOST_FIELDS} fields"
                )
            inside = ((str(k), v) for k, v in one.items() if k != "data")
            waiting += [
                # of metadata the names alone: there may be labels by the thousand
                (k, dict.fromkeys(v) if k == "metadata" and isinstance(v, dict) else v)
                for k, v in inside
            ]
        elif isinstance(one, list):
            if len(one) > MOST_ITEMS:
                raise BadRequestError(where, _short(one), f"a list of at most {MOST_ITEMS:,} items")
            waiting += [(where, item) for item in one]


def validated(kind: type[M], value: Any) -> M:
    """Return a request of some kind.

    Raises
    ------
    BadRequestError : naming the field, what it holds, and what was expected
    """
    if not isinstance(value, dict):
        raise BadRequestError("The body", _short(value), "a JSON object")
    _refuse_crowds(value)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "The body"
        words = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        words = re.sub(r"\bdictionary or instance of \w+", "object", words)
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
