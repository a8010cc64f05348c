"""Where a picture comes from: paths, bytes, data URIs and open files become bytes.

The limit of bytes is held before and while reading, and after base64 is undone.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from workbench.errors import (
    Base64Error,
    ImageTooLargeError,
    MissingFileError,
    NotAnImageError,
    UrlRefusedError,
    WorkbenchError,
    abridge,
)
from workbench.settings import settings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

#: Everything that stands for one picture.
ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]"
    " | IO[bytes]"
)

_CHUNK = 1 << 20


def read_bytes(
    source: ImageSource, *, max_bytes: int | None = None, where: str | None = None
) -> tuple[bytes, str]:
    """Return the encoded file behind a path, bytes, a data URI or a file-like object.

    Also returns the name under which errors speak of it.
    """
    limit = settings().max_image_bytes if max_bytes is None else max_bytes
    if isinstance(source, bytes):
        return _limited(source, limit, where or "The data")
    if isinstance(source, bytearray | memoryview):
        where, size = where or "The data", memoryview(source).nbytes
        if size > limit:
            raise ImageTooLargeError(where, size, limit)
        return bytes(source), where
    if isinstance(source, str):
        if source[:5].lower() == "data:":
            where = where or "The data URI"
            return _from_data_uri(source, limit, where), where
        _refuse_text(source, where)
        return _from_path(Path(source), limit, where)
    if isinstance(source, os.PathLike):
        return _from_path(Path(os.fspath(source)), limit, where)
    if callable(getattr(source, "read", None)):
        return _from_file(source, limit, where)
    raise NotAnImageError(where or "The object", describe(source))


def decode_base64(text: str, *, max_bytes: int | None = None, where: str = "The text") -> bytes:
    """Undo base64: the standard alphabet with its padding and nothing else (RFC 4648, 4).

    >>> decode_base64("aGk=")
    b'hi'
    """
    limit = settings().max_image_bytes if max_bytes is None else max_bytes
    size = len(text) // 4 * 3 - text[-2:].count("=")
    if size > limit:
        raise ImageTooLargeError(where, size, limit)
    if not text:
        raise Base64Error(where, "there is nothing after the comma")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Base64Error(where, _why_no_base64(text, error)) from error
    if base64.b64encode(data[(len(data) - 1) // 3 * 3 :]).decode() != text[-4:]:
        raise Base64Error(where, "the bits after its last byte are not zero")
    return data


def _why_no_base64(text: str, error: Exception) -> str:
    """Say what is wrong with a text; sought only now, since most texts are what they should be."""
    if re.search(r"\s", text):
        return "it holds white space"
    if len(text) % 4:
        return f"its length {len(text)} is no multiple of 4 (padding missing?)"
    return "the alphabet is the URL-safe one" if re.search(r"[-_]", text) else plain_words(error)


def _limited(data: bytes, limit: int, where: str) -> tuple[bytes, str]:
    if len(data) > limit:
        raise ImageTooLargeError(where, len(data), limit)
    return data, where


def _refuse_text(text: str, where: str | None) -> None:
    """Raise for a str that can be no path."""
    if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text):
        hint = "Download it first, and give the path of the file or its bytes."
        raise UrlRefusedError(text, f"{scheme[1]}:// is not read here, only local pictures", hint)
    if not text.strip():
        raise NotAnImageError(where or "The text", "an empty str, neither a path nor a data URI")
    if "\0" in text or len(text) > 4096 or ("\n" in text and not _is_file(text)):
        kind = "a str that is neither a path nor a data URI"
        hint = (
            "Base64 is taken with 'data:image/png;base64,' before it."
            if re.fullmatch(r"[A-Za-z0-9+/\s]+=*\s*", text[:4096])
            else ""
        )
        raise NotAnImageError(where or "The text", f"{kind} ({abridge(text, 60)})", hint)


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _from_path(path: Path, limit: int, where: str | None) -> tuple[bytes, str]:
    where = where or abridge(str(path), 160)
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            hint = "Name one picture in it; Runner.classify() takes a whole folder."
            raise NotAnImageError(where, "a directory", hint)
        if not stat.S_ISREG(facts.st_mode):
            raise NotAnImageError(where, "no regular file (a device, a pipe or a socket)")
        if facts.st_size > limit:
            raise ImageTooLargeError(where, facts.st_size, limit)
        with path.open("rb", buffering=0) as file:
            return _read_limited(file, limit, where), where
    except FileNotFoundError as error:
        raise MissingFileError(where, "image file") from error
    except (OSError, ValueError) as error:
        if isinstance(error, WorkbenchError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise MissingFileError(where, "image file", f"cannot be read: {reason}") from error


def _from_file(file: Any, limit: int, where: str | None) -> tuple[bytes, str]:
    name = getattr(file, "name", None)
    where = where or (abridge(name, 160) if isinstance(name, str) else "The file-like object")
    try:
        data = _read_limited(file, limit, where)
    except WorkbenchError:
        raise
    except Exception as error:  # a stranger's read() may raise anything
        raise NotAnImageError(
            where, f"a file that cannot be read ({plain_words(error)})"
        ) from error
    if not data and _position(file) > 0:
        hint = "Its position is at the end: call seek(0) first."
        raise NotAnImageError(where, "a file with nothing left to read", hint)
    return data, where


def _position(file: Any) -> int:
    try:
        return int(file.tell())
    except Exception:  # noqa: BLE001  (only asked for a better message)
        return 0


def _read_limited(file: Any, limit: int, where: str) -> bytes:
    """Read to the end, and never more than one byte beyond the limit."""
    parts: list[bytes] = []
    size = 0
    while size <= limit:
        part = file.read(min(limit + 1 - size, max(_CHUNK, size)))
        if not part:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if not isinstance(part, bytes | bytearray | memoryview):
            hint = 'Open it as bytes: open(path, "rb").'
            raise NotAnImageError(where, f"a file that gives {type(part).__name__}", hint)
        parts.append(bytes(part))
        size += len(parts[-1])
    raise ImageTooLargeError(where, max(size, _length(file, size)), limit)


def _length(file: Any, least: int) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except Exception:  # noqa: BLE001  (only asked for a better message)
        return least


def _from_data_uri(text: str, limit: int, where: str) -> bytes:
    """Take a data URI apart (RFC 2397)."""
    head, comma, body = text.partition(",")
    if not comma:
        raise Base64Error(where, "it has no comma between its head and its data")
    if not head.lower().endswith(";base64"):
        raise Base64Error(where, f"its head {abridge(head, 60)} does not end in ';base64'")
    return decode_base64(body, max_bytes=limit, where=where)


def array_hint(array: NDArray[Any]) -> str:
    expected = "Expected (H, W, 3) uint8, RGB, 0–255 (or (H, W) grey, or (H, W, 4) with alpha)"
    if 0 in array.shape or array.ndim < 2:
        return f"{expected}."
    if array.ndim == 4:
        return f"{expected}: one picture at a time."
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        return f"{expected}; channels first? Use array.transpose(1, 2, 0)."
    if array.dtype != np.uint8:
        return f"{expected}: scale and convert it yourself, since its range is not known here."
    return f"{expected}."


def describe(thing: object) -> str:
    """Name what was given, with shape and dtype where it has them."""
    shape, dtype = getattr(thing, "shape", None), getattr(thing, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        kind = "array" if isinstance(thing, np.ndarray) else f"{type(thing).__name__} object"
        return f"{dtype} {kind} of shape {shape}"
    if thing is None:
        return "None"
    if isinstance(thing, list | tuple):
        return f"a {type(thing).__name__} of {len(thing)}: one picture is expected"
    return f"an object of type {type(thing).__name__}"


def plain_words(error: BaseException) -> str:
    """Return what a foreign error says, on one line and without a full stop."""
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", re.sub(r"\s+", " ", said)).strip().rstrip(".")
    return abridge(text, 200)[1:-1] if text else type(error).__name__
