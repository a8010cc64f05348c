"""Uploads in pieces: what a browser sends becomes whole files, checked, or a refusal in words.

A server takes messages of 10 MB at most, so files come in pieces of about 1 MB. Python asks for
each piece by its offset ("more"), which is the flow control as well: no piece is under way that
was not asked for. What arrives is checked against what was promised; whoever sends it is a
stranger, and so is the name.

::

    browser                                    Python
    begin   id, name, size, via, first →
                                       ←       more     id, offset
    chunk   id, offset, one buffer     →
                                       ←       more …   or done id, or refused id, message
    refused name, size, first          →       (over the limit: it was never sent)
    abort   id                         →

``first`` is false for the others of several files that a person gave at once.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.cards import plain
from workbench.errors import (
    BadRequestError,
    ImageTooLargeError,
    InputTooLargeError,
    ModelTooLargeError,
    WorkbenchError,
    require_count,
)
from workbench.settings import settings
from workbench.timing import clock
from workbench.units import count, size

#: Largest ``.onnx`` file that is taken from a browser, in bytes.
MODEL_BYTES = 500_000_000
#: Files that may be under way at once.
MOST_OPEN = 64
#: A file of which nothing was heard for so long is given up when another begins, in seconds: its
#: page was closed or reloaded in the middle.
SILENCE_S = 15.0
#: Longest name, in characters; the middle of a longer one is left out.
_NAME_LENGTH = 120
_WAYS = ("file", "drop", "paste", "camera")


@dataclass(frozen=True, slots=True)
class Upload:
    """A whole file from the browser.

    Attributes
    ----------
    name : as the browser told it, on one line and without folders; a stranger's text all the same
    content : the bytes of the file
    via : ``file`` (chosen), ``drop``, ``paste`` or ``camera``
    """

    name: str
    content: bytes = field(repr=False)
    via: str = "file"

    @property
    def is_model(self) -> bool:
        """Whether its name says that it is an ONNX model."""
        return is_model(self.name)

    @property
    def sha256(self) -> str:
        """The checksum of the bytes, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a message led to: an answer for the browser, a whole file, a refusal.

    ``begins`` : whether a person has just given something new; ``name`` : of a refused file.
    """

    reply: Mapping[str, Any] | None = None
    upload: Upload | None = None
    error: WorkbenchError | None = None
    begins: bool = False
    name: str = ""


@dataclass(slots=True)
class _Open:
    """A file under way."""

    name: str
    size_bytes: int
    via: str
    parts: list[bytes] = field(default_factory=list)
    got_bytes: int = 0
    heard_s: float = field(default_factory=clock)


def is_model(name: str) -> bool:
    """Say whether a name is that of an ONNX model.

    >>> is_model("net.ONNX"), is_model("net.onnx.jpg")
    (True, False)
    """
    return name.lower().endswith(".onnx")


def clean_name(name: object) -> str:
    r"""Return a stranger's file name on one line, without folders, and not too long.

    It is still a stranger's text: escape it wherever it is shown.

    >>> clean_name("C:\\photos\\cat.jpg"), clean_name("a\nb.jpg"), clean_name("")
    ('cat.jpg', 'a�b.jpg', 'unnamed')
    """
    text = plain(re.split(r"[/\\]", str(name))[-1]).strip() or "unnamed"
    if len(text) <= _NAME_LENGTH:
        return text
    return f"{text[: _NAME_LENGTH - 21]}…{text[-20:]}"


class Inbox:
    """Puts the pieces of files together.

    Parameters
    ----------
    image_bytes : largest picture; None for ``MAX_IMAGE_BYTES``
    model_bytes : largest ``.onnx`` file; 0 where no models are taken
    """

    def __init__(self, *, image_bytes: int | None = None, model_bytes: int = MODEL_BYTES) -> None:
        require_count("image_bytes", image_bytes, optional=True)
        self.image_bytes = image_bytes or settings().max_image_bytes
        self.model_bytes = model_bytes
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def clear(self) -> None:
        """Give up what is under way: nobody will send the rest."""
        self._open.clear()

    @property
    def waiting(self) -> tuple[str, ...]:
        """Names of the files under way."""
        return tuple(f.name for f in self._open.values())

    @property
    def room_bytes(self) -> int:
        """How much may be under way in all."""
        return max(self.model_bytes, 0) + 10 * self.image_bytes

    def receive(self, message: object, buffers: Sequence[Any] = ()) -> Arrival:
        """Take a message of the browser, and say what it led to."""
        told = message if isinstance(message, Mapping) else {}
        kind = told.get("kind")
        begins = kind in ("begin", "refused") and told.get("first") is not False
        arrival = self._receive(kind, told, buffers)
        name = clean_name(told["name"]) if arrival.error is not None and "name" in told else ""
        return replace(arrival, begins=begins, name=name)

    def _receive(self, kind: object, told: Mapping[str, Any], buffers: Sequence[Any]) -> Arrival:
        key = str(told.get("id", ""))[:64]
        try:
            match kind:
                case "begin":
                    return self._begin(key, told)
                case "chunk":
                    return self._chunk(key, told, buffers)
                case "abort":
                    self._open.pop(key, None)
                    return Arrival()
                case "refused":
                    name, size_bytes = clean_name(told.get("name")), _whole("size", told)
                    return Arrival(error=self._too_large(name, size_bytes) or _why(name))
                case other:
                    raise BadRequestError("kind", other, "begin, chunk, abort or refused")
        except WorkbenchError as error:
            self._open.pop(key, None)
            return Arrival(reply={"kind": "refused", "id": key, "message": str(error)}, error=error)

    def _begin(self, key: str, told: Mapping[str, Any]) -> Arrival:
        if not key or key in self._open:
            raise BadRequestError("id", key, "a new one for each file")
        name, size_bytes = clean_name(told.get("name")), _whole("size", told)
        if problem := self._too_large(name, size_bytes):
            raise problem
        now_s = clock()
        for other, file in list(self._open.items()):
            if now_s - file.heard_s > SILENCE_S:  # a page that was closed never ends what it began
                del self._open[other]
        if len(self._open) >= MOST_OPEN:
            self._open.popitem(last=False)
        under_way = size_bytes + sum(f.size_bytes for f in self._open.values())
        if under_way > self.room_bytes:
            seen = f"{size(under_way)} in {count(len(self._open) + 1, 'file')}"
            self._open.clear()
            raise InputTooLargeError("What is being uploaded", seen, size(self.room_bytes))
        via = told.get("via")
        file = _Open(name, size_bytes, via if via in _WAYS else "file")
        self._open[key] = file
        return self._next(key, file)

    def _chunk(self, key: str, told: Mapping[str, Any], buffers: Sequence[Any]) -> Arrival:
        file = self._open.get(key)
        if file is None:
            raise BadRequestError("id", key, "a file that was begun")
        offset = _whole("offset", told)
        if offset != file.got_bytes:
            raise BadRequestError("offset", offset, f"{file.got_bytes}, what comes next")
        part = bytes(buffers[0]) if len(buffers) == 1 else b""
        rest = file.size_bytes - file.got_bytes
        if not 0 < len(part) <= rest:
            raise BadRequestError("the piece", f"{len(part)} bytes", f"1 to {rest:,} bytes")
        file.parts.append(part)
        file.got_bytes += len(part)
        file.heard_s = clock()
        return self._next(key, file)

    def _next(self, key: str, file: _Open) -> Arrival:
        """Ask for the next piece, or hand the whole over."""
        if file.got_bytes < file.size_bytes:
            return Arrival(reply={"kind": "more", "id": key, "offset": file.got_bytes})
        del self._open[key]
        upload = Upload(file.name, b"".join(file.parts), file.via)
        return Arrival(reply={"kind": "done", "id": key}, upload=upload)

    def _too_large(self, name: str, size_bytes: int) -> WorkbenchError | None:
        if is_model(name):
            if self.model_bytes < 1:
                return BadRequestError("The file", name, "a picture: no models are taken here")
            if size_bytes > self.model_bytes:
                return ModelTooLargeError(name, "the file", size_bytes, self.model_bytes)
        elif size_bytes > self.image_bytes:
            return ImageTooLargeError(name, size_bytes, self.image_bytes)
        return None


def _why(name: str) -> WorkbenchError:
    return BadRequestError("The file", name, "one that the browser can read")


def _whole(field: str, told: Mapping[str, Any]) -> int:
    value = told.get(field)
    if type(value) is not int or value < 0:
        raise BadRequestError(field, value, "a whole number of bytes")
    return value
