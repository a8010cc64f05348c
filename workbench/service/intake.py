"""The forms in which inputs come: JSON, multipart, or the body of a picture itself.

Whatever the form, an :class:`Order` comes out. A path or an address is never followed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from workbench.errors import (
    BadRequestError,
    BatchTooLargeError,
    ImageTooLargeError,
    UnsupportedMediaError,
)
from workbench.preprocessing.images import decode_base64, read_bytes
from workbench.service.body import PARSED_ASIDE_BYTES, json_body, kind_of, read_body, validated
from workbench.service.schema import Batch, Execute, Input, Job, Options, Told

if TYPE_CHECKING:
    from fastapi import Request

    from workbench.service.policy import Policy

#: Text that names a file or an address. Base64 of a JPEG begins with ``/9j/``; no other format
#: that is read here begins with a slash, and none ends in a dot and letters.
_PLACE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:(?!.{0,40},)|~|\.{1,2}/|/(?!9j/)|[A-Za-z]:\\)")
_ENDING = re.compile(r"\.[A-Za-z0-9]{2,5}$")
#: Whole number, and a plain decimal one, as a query or a form may have them.
_WHOLE, _DECIMAL = re.compile(r"\d{1,9}"), re.compile(r"\d{1,9}(\.\d{1,9})?")
#: Fields that a form may have beside its files, and files that are counted at all.
_FIELDS, _COUNTED = 10, 1_000
_EXPECTED_BODY = "application/json, multipart/form-data or image/*"


@dataclass(frozen=True, slots=True)
class Item:
    """One input: ``image`` (bytes, or text that holds them), ``tensor`` or ``text``."""

    kind: str
    data: Any


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for; ``size_bytes`` is that of its body."""

    model_id: str
    items: tuple[Item, ...]
    top_k: int
    timeout_s: float
    size_bytes: int = 0


def picture_bytes(data: Any, limit_bytes: int) -> bytes:
    """Return the encoded file of a picture from a data URI, base64 or bytes.

    Raises
    ------
    BadRequestError : it is a path, an address, or no text
    Base64Error, ImageTooLargeError : what came is no base64, or is too large once it is undone
    """
    if isinstance(data, bytes):
        if len(data) > limit_bytes:
            raise ImageTooLargeError("The picture", len(data), limit_bytes)
        return data
    expected = "a data URI or base64"
    if not isinstance(data, str):
        raise BadRequestError("input.data", type(data).__name__, expected)
    if data[:5].lower() == "data:":
        return read_bytes(data, max_bytes=limit_bytes, where="The picture")[0]
    if _PLACE.match(data) or _ENDING.search(data[-8:]) or "\\" in data[:300]:
        raise BadRequestError(
            "input.data", data[:60], f"{expected}: a path or an address is never followed here"
        )
    return decode_base64(data, max_bytes=limit_bytes, where="The picture")


async def execute_order(request: Request, policy: Policy) -> Order:
    """Read a request for one input."""
    kind = kind_of(request)
    if kind == "application/json":
        _refuse_query(request)
        body = await _body(request, policy, policy.json_bytes())
        asked = validated(Execute, await json_body(body))
        return _order(asked.model_id, [asked.input], asked.options, policy)
    return await _bare(request, policy, kind, 1)


async def batch_order(request: Request, policy: Policy) -> Order:
    """Read a request for several inputs."""
    most = policy.max_batch
    kind = kind_of(request)
    if kind == "application/json":
        _refuse_query(request)
        body = await _body(request, policy, policy.json_bytes(most))
        asked = validated(Batch, await json_body(body))
        if len(asked.inputs) > most:
            raise BatchTooLargeError(len(asked.inputs), most)
        return _order(asked.model_id, asked.inputs, asked.options, policy)
    return await _bare(request, policy, kind, most)


async def job_order(request: Request, policy: Policy) -> Order:
    """Read a request for many inputs in the background; JSON only."""
    kind = kind_of(request)
    if kind != "application/json":
        raise UnsupportedMediaError(kind, "application/json")
    _refuse_query(request)
    body = await _body(request, policy, policy.json_bytes(policy.max_batch))
    asked = validated(Job, await json_body(body))
    order = _order(asked.model_id, asked.inputs, asked.options, policy)
    return replace(order, size_bytes=len(body))


def _refuse_query(request: Request) -> None:
    """Refuse a query beside JSON, which has all that a query could say."""
    if request.url.query:
        expected = "none beside a JSON body, which has model_id and options itself"
        raise BadRequestError("The query", request.url.query[:60], expected)


def _order(model_id: str, inputs: list[Input], options: Options, policy: Policy) -> Order:
    items = tuple(Item(one.type, one.data) for one in inputs)
    return Order(model_id, items, options.top_k, _timeout_s(options.timeout_ms, policy))


def _timeout_s(asked_ms: float | None, policy: Policy) -> float:
    if asked_ms is None:
        return policy.timeout_s
    if asked_ms > 1e3 * policy.timeout_s:
        most = f"milliseconds, at most {1e3 * policy.timeout_s:.0f}"
        raise BadRequestError("options.timeout_ms", asked_ms, most)
    return asked_ms / 1e3


async def _body(request: Request, policy: Policy, limit_bytes: int) -> bytes:
    return await read_body(request, limit_bytes=limit_bytes, limit_s=policy.body_s)


async def _bare(request: Request, policy: Policy, kind: str, most: int) -> Order:
    """Read a body that is no JSON; options stand in the query, or among the form's fields."""
    told = dict(request.query_params)
    if kind == "multipart/form-data":
        body = await _body(request, policy, policy.form_bytes(most))
        fields, pictures = await _form(request, body, most)
        told |= fields
    elif kind.startswith("image/") and most == 1:
        limit = policy.max_image_bytes
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isdigit() and len(declared) < 20 else limit + 1
        too_large = ImageTooLargeError("The picture", max(size, limit + 1), limit)
        pictures = [
            await read_body(request, limit_bytes=limit, limit_s=policy.body_s, too_large=too_large)
        ]
    else:
        expected = _EXPECTED_BODY if most == 1 else _EXPECTED_BODY.replace(" or image/*", "")
        raise UnsupportedMediaError(kind[:40], expected)
    if not pictures:
        raise BadRequestError("The form", "without a file", "at least one file")
    asked = validated(Told, told)
    options = validated(
        Options,
        {
            "top_k": _number(asked.top_k, "top_k", _WHOLE, 5),
            "timeout_ms": _number(asked.timeout_ms, "timeout_ms", _DECIMAL, None),
        },
    )
    items = tuple(Item("image", picture) for picture in pictures)
    return Order(asked.model_id, items, options.top_k, _timeout_s(options.timeout_ms, policy))


async def _form(request: Request, body: bytes, most: int) -> tuple[dict[str, str], list[bytes]]:
    """Return the fields of a form, and its files.

    Raises
    ------
    BatchTooLargeError : more files than a batch may have
    BadRequestError : it is no form, or several files where one is taken
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=_COUNTED, max_fields=_FIELDS)
    parser.spool_max_size = len(body) + 1  # it is in memory already: nothing goes to disk

    async def parse() -> tuple[dict[str, str], list[bytes]]:
        form = await parser.parse()
        fields, files = {}, []
        try:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    files.append(await value.read())
                else:
                    fields[name] = value
        finally:
            await form.close()
        return fields, files

    try:
        if len(body) > PARSED_ASIDE_BYTES:
            fields, files = await asyncio.to_thread(asyncio.run, parse())
        else:
            fields, files = await parse()
    except (MultiPartException, FormParserError) as error:
        expected = f"multipart/form-data with its boundary, and at most {_FIELDS} fields"
        raise BadRequestError("The form", str(error), expected) from error
    if len(files) > most == 1:
        expected = "one picture: /api/inference/batch takes several"
        raise BadRequestError("The form", f"{len(files)} files", expected)
    if len(files) > most:
        raise BatchTooLargeError(len(files), most)
    return fields, files


def _number(text: str | None, name: str, pattern: re.Pattern[str], default: Any) -> Any:
    if text is None:
        return default
    if not pattern.fullmatch(text):
        raise BadRequestError(name, text, "a number")
    return int(text) if pattern is _WHOLE else float(text)
