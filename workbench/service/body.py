"""Reading what a client sends: counted as it comes, in time, and as strict JSON."""

from __future__ import annotations

import asyncio
import gc
import re
import zlib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
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

    from workbench.service.room import Share

#: Bodies above this are parsed in a thread, so that others are answered meanwhile (bytes).
PARSED_ASIDE_BYTES = 1_000_000
_PLAIN, _COMPRESSED = "identity", ("gzip", "x-gzip", "deflate")
#: Either header is found out, with the largest window (zlib.h, inflateInit2).
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_GZIP = b"\x1f\x8b"
#: Parts of one body in gzip: those of ``bgzip`` hold 65,280 bytes each, so 133 MB have 2,000.
_MOST_MEMBERS = 10_000
#: Bytes that are opened in one go, and most that they may open to.
_PIECE_BYTES, _OPENED_BYTES = 16_384, 65_536
_JSON = ("", "application/x-www-form-urlencoded")
#: Values of one body, and names of them, counted by their commas and colons: a parser makes objects
#: of them, and nobody else is answered meanwhile. A larger tensor comes as bytes (``/v2``).
MOST_VALUES = 2_000_000
#: Lists and objects of one body, and commas and colons that stand between something else than the
#: values of a tensor.
MOST_LISTS, _MARGIN = 1_000_000, 1_000
#: Bytes of one body outside of its strings, which cost a parser far more than those within: a
#: tensor of two million values of 20 characters, some 0.1 s.
MOST_BARE_BYTES = 40_000_000
#: Backslashes of one body: base64 with ``\\/`` has one in 60 bytes.
MOST_ESCAPES = 5_000_000
#: Fields of one object that is no metadata and no data, and items of one list of inputs.
MOST_FIELDS, MOST_ITEMS = 100, JOB_ITEMS
#: Bytes that are looked through in one go; in between, other threads have their turn.
_LOOKED_BYTES = 1 << 20
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
    QueueFullError : it is compressed, and there is no room for what it opens to
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
    share: Share = request.state.share
    opened = await asyncio.to_thread(decompressed, data, limit_bytes, refusal, share)
    share.give(len(data))
    return opened


def decompressed(
    data: bytes | bytearray, limit_bytes: int, too_large: WorkbenchError, share: Share
) -> bytes:
    """Undo gzip or zlib (which HTTP calls deflate: RFC 9110, 8.4.1); never more than allowed.

    Gzip may have several members, one behind the other (RFC 1952, 2.2). Room for what is opened is
    taken of ``share`` before it is.

    Raises
    ------
    BadRequestError : it is neither, is cut short, goes on after its end, or has too many members
    QueueFullError : there is no room for what it opens to
    ``too_large`` : there would be more
    """
    opened, at, members = bytearray(), 0, 1
    stream = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
    while not stream.eof or at < len(data):
        if stream.eof:
            if not data[:2] == data[at : at + 2] == _GZIP:
                raise _uncompressed("compressed data with more behind it")
            if (members := members + 1) > _MOST_MEMBERS:
                raise _uncompressed(f"gzip of more than {_MOST_MEMBERS:,} members")
            stream = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        if not (piece := stream.unconsumed_tail):
            piece = bytes(data[at : at + _PIECE_BYTES])
            at += len(piece)
        room = min(_OPENED_BYTES, limit_bytes + 1 - len(opened))
        share.take(room)
        try:
            part = stream.decompress(piece, room)
        except zlib.error as error:
            raise BadRequestError(
                "The body", "no gzip and no deflate", "what it says it is"
            ) from error
        share.give(room - len(part))
        opened += part
        if len(opened) > limit_bytes:
            raise too_large
        if not piece and not part and not stream.eof:
            raise _uncompressed("cut short")
        at -= len(stream.unused_data)
    return bytes(opened)


def _uncompressed(seen: str) -> BadRequestError:
    return BadRequestError("The body", seen, "all of one compressed body, and nothing else")


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
    InputTooLargeError : it has more than two million values, or 40 MB outside of its strings
    """
    if len(body) > PARSED_ASIDE_BYTES:
        return await asyncio.to_thread(parse_json, body)
    return parse_json(body)


def parse_json(body: bytes) -> Any:
    """Do the work of :func:`json_body`."""
    if not body.strip():
        raise BadRequestError("The body", "empty", "a JSON object")
    bare = without_strings(body)
    _refuse_many(bare)
    if is_deep(bare):
        raise BadRequestError(
            "The body", f"nested more than {DEEPEST} levels deep", f"at most {DEEPEST} levels"
        )
    del bare
    try:
        return _loaded(body)
    except ValueError as error:
        raise _no_json(body, str(error)) from error


def _no_json(body: bytes, why: str) -> BadRequestError:
    """Say what is wrong with a body, of which the parser said why."""
    if "hex escape" in why:
        return BadRequestError(
            "The body", f"text with half a character ({why})", "both halves of a surrogate pair"
        )
    if "number out of range" in why:
        return BadRequestError("The body", "JSON with an endless number", "numbers")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return BadRequestError("The body", body[:20].decode("utf-8", "replace"), "JSON in UTF-8")
    return BadRequestError("The body", f"no JSON ({why})", "JSON")


def _loaded(body: bytes) -> Any:
    """Parse, without looking for garbage meanwhile: what is made is all in use, however much it is.

    Nobody else is answered meanwhile, so it has to be quick: two million floats take some 0.1 s,
    a fifth of what they take the parser of the standard library.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return from_json(body, allow_inf_nan=False, cache_strings=False)
    finally:
        if collects:
            gc.enable()


def without_strings(body: bytes) -> bytes:
    """Return what stands outside of the strings of JSON, their quotation marks left out.

    One that is cut off goes to the end of the body.

    Raises
    ------
    InputTooLargeError : more than :data:`MOST_BARE_BYTES`, :data:`MOST_ESCAPES` backslashes, or
        :data:`MOST_VALUES` strings
    """
    outside: list[bytes] = []
    within, at, size_bytes, escapes, marks = 0, 0, 0, 0, 0
    while at < len(body):
        piece = body[at : at + _LOOKED_BYTES]
        if len(piece) > 1 and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = piece[:-1]  # what it escapes comes with it
        at += len(piece)
        if b"\\" in piece:
            escapes += piece.count(b"\\")
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside.append(b"".join(parts[within::2]))
        size_bytes += len(outside[-1])
        marks += len(parts) - 1
        within = marks % 2
        if marks > 2 * (MOST_VALUES + _MARGIN):
            raise _many_values()
        if escapes > MOST_ESCAPES:
            raise InputTooLargeError(
                "The body", "more backslashes than that", f"{MOST_ESCAPES:,} backslashes"
            )
        if size_bytes > MOST_BARE_BYTES:
            raise InputTooLargeError(
                "The body", "more bytes outside of its strings than that",
                f"{MOST_BARE_BYTES:,} bytes: a larger tensor comes as bytes through /v2",
            )  # fmt: skip
    return b"".join(outside)


def is_deep(bare: bytes) -> bool:
    """Say whether JSON is nested more than :data:`~workbench.service.policy.DEEPEST` levels deep.

    Counted on its bytes outside of strings, before a parser meets them: pairs of brackets with
    nothing in between are cut out, once a level.
    """
    left = bare.translate(_ROUND, _NO_BRACKETS)
    levels = 0
    while levels < DEEPEST and len(shorter := left.replace(b"[]", b"")) < len(left):
        left, levels = shorter, levels + 1
    return levels + left.count(b"[") > DEEPEST  # those that nobody closes are levels as well


def _many_values() -> InputTooLargeError:
    return InputTooLargeError(
        "The body", "more values than that",
        f"{MOST_VALUES:,} values: a larger tensor comes as bytes through /v2",
    )  # fmt: skip


def _refuse_many(bare: bytes) -> None:
    """Refuse what would keep a parser busy for too long, before it begins."""
    if len(bare) < MOST_LISTS:  # as many bytes as lists, at the least
        return
    if bare.count(b",") + bare.count(b":") > MOST_VALUES + _MARGIN:
        raise _many_values()
    if bare.count(b"[") + bare.count(b"{") > MOST_LISTS:
        raise InputTooLargeError(
            "The body", "more lists and objects than that",
            f"{MOST_LISTS:,} of them: a larger tensor comes as bytes through /v2",
        )  # fmt: skip


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
