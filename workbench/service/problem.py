"""What the service answers when something is wrong: a status a code, and words without paths.

The codes are those of :mod:`workbench.errors`; :data:`STATUS` gives each its HTTP status. What an
error says to someone at a keyboard may name folders and Python's arguments: here folders are cut
off, and where a hint speaks of Python, one that speaks of requests takes its place.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import workbench
from workbench.errors import (
    QueueFullError,
    QueueUnavailableError,
    RateLimitedError,
    WorkbenchError,
)
from workbench.settings import cache_folder, data_folder

#: Code → HTTP status (RFC 9110, 15; 429: RFC 6585).
STATUS: Mapping[str, int] = {
    # the picture
    "not_an_image": 422,
    "unsupported_format": 415,
    "corrupt_image": 422,
    "image_too_large": 413,
    "too_many_pixels": 413,
    "base64_invalid": 400,
    # the model's file
    "model_not_onnx": 422,
    "model_invalid": 422,
    "model_external_data": 422,
    "model_unsupported_op": 422,
    "model_unsupported_opset": 422,
    "model_unsupported_inputs": 422,
    "model_too_large": 422,
    "model_not_quantizable": 422,
    "checksum_mismatch": 422,
    # its description
    "unknown_model": 404,
    "metadata_invalid": 422,
    "metadata_mismatch": 422,
    "labels_invalid": 422,
    "config_invalid": 400,
    "unsafe_path": 400,
    "capsule_invalid": 422,
    "missing_extra": 501,
    "switched_off": 403,
    "not_writable": 500,
    # the run
    "input_mismatch": 422,
    "input_too_large": 413,
    "batch_too_large": 413,
    "inference_failed": 500,
    "inference_timeout": 504,
    "load_timeout": 504,
    "output_unsupported": 422,
    "output_not_finite": 422,
    "out_of_memory": 503,
    "worker_crashed": 500,
    "cancelled": 503,
    # fetching
    "url_refused": 403,
    "cid_invalid": 400,
    "download_failed": 502,
    "download_too_large": 413,
    "offline": 503,
    # the request
    "bad_request": 400,
    "unauthorised": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "queue_full": 503,
    "queue_unavailable": 503,
    "internal": 500,
}
#: Hints for those who send requests, where the error's own speaks of Python.
_HINTS: Mapping[str, str] = {
    "not_an_image": "Send the file of a picture: as a data URI, as base64, as multipart/form-data "
    "or as a body of type image/*.",
    "base64_invalid": "Expected base64 with the standard alphabet and padding, with or without "
    "'data:image/png;base64,' before it.",
    "too_many_pixels": "Scale it down.",
    "model_unsupported_inputs": "Models of any kind are run with tensors through /v2.",
    "unknown_model": "GET /api/inference/models lists what is here.",
    "not_found": "",
    "input_mismatch": "GET /v2/models/ID tells what the model takes.",
    "output_unsupported": "Models of any kind are run with tensors through /v2, a few outputs at a "
    "time.",
    "output_not_finite": "The usual cause is an input that the model was not made for.",
    "inference_timeout": "Send a larger options.timeout_ms (below /v2: parameters.timeout), or use "
    "a smaller model.",
    "load_timeout": "Try again: the model may be in memory by then.",
    "out_of_memory": "Unload other models, or use a smaller one.",
    "cancelled": "",
    "unauthorised": "Send a key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.",
}
#: A file's absolute path in a sentence: POSIX, or Windows with a drive, in quotes or up to the
#: next blank. The slashes of an address come after a colon, a slash or a letter.
_PATH = re.compile(
    r"(?<=')(?:~?/(?:[^'/]+/)+|[A-Za-z]:\\(?:[^\\']+\\)+)([^'\\/]*)(?=')"
    r"|(?<![\w:/.~-])(?:~?/(?:[^\s/'\",;]+/)+|[A-Za-z]:\\(?:[^\\'\",;]+\\)+)([^\s'\",;\\/]*)"
)
_INTERNAL = "Something went wrong inside the service."


class InternalError(WorkbenchError):
    """What nobody foresaw; the log has the traceback, under the request's id."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__(_INTERNAL, "Tell its operator the request's id: the log has the rest.")


#: Folders that :func:`hide` was told of, and the last part of each.
_hidden: dict[str, str] = {}


def hide(folders: Iterable[Path]) -> None:
    """Have :func:`without_paths` cut these folders off whatever stands in their names.

    A folder whose name has a blank or a comma ends nowhere in a sentence, unless it is known.
    """
    _hidden.update(_spellings(folders))


def _spellings(folders: Iterable[Path]) -> dict[str, str]:
    found = list(folders)
    for folder in tuple(found):
        with suppress(RuntimeError, OSError):  # a link that leads to itself
            found.append(folder.resolve())
    return {str(folder): folder.name for folder in found if len(folder.parts) > 1}


@cache
def _own_folders() -> dict[str, str]:
    """Return the folders in which most of what this process reads and writes lies."""
    package = Path(workbench.__file__).parent
    found = [package, package.parent, Path(sys.prefix), Path(tempfile.gettempdir())]
    found += [data_folder(), cache_folder()]
    for folder in (Path.home, Path.cwd):
        with suppress(RuntimeError, OSError):  # there is no such user, or it has been deleted
            found.append(folder())
    return _spellings(found)


def without_paths(text: str) -> str:
    """Return a sentence in which a file is named without its folders.

    >>> without_paths("The model file /srv/models/a.onnx does not exist, see https://a.example/b/c")
    'The model file a.onnx does not exist, see https://a.example/b/c'
    """
    if "/" not in text and "\\" not in text:
        return text
    known = _own_folders() | _hidden
    for folder in sorted(known, key=len, reverse=True):
        if folder in text:
            begins = rf"(?<![\w:/.~-]){re.escape(folder)}"
            text = re.sub(rf"{begins}(?=[/\\])", "/_", text)  # which _PATH cuts off
            stays = known[folder].replace("\\", r"\\") + "\0"
            text = re.sub(rf"{begins}(?![\w-]|\.\w)", stays, text)
    text = _PATH.sub(_file, text)
    text = re.sub(r"([^\s,\0]+)\0(?:, \1\0)+", r"\1", text)  # folders that have become the same
    return text.replace("\0", "")


def _file(found: re.Match[str]) -> str:
    """Return the file of a path, marked as what is left of one; a sentence may end with it."""
    text = found[1] or found[2] or ""
    name = text.rstrip(".")
    return f"{name}\0{text[len(name) :]}"


def writable(text: str) -> str:
    """Return a text that UTF-8 can write: half of a pair of surrogates becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def status_of(error: WorkbenchError) -> int:
    """Return the HTTP status of an error."""
    return STATUS[error.code]


def told(error: WorkbenchError) -> dict[str, str]:
    """Return code, message and hint as a client may read them."""
    hint = writable(without_paths(error.hint))
    if error.code in _HINTS and not hint.startswith("Did you mean"):
        hint = _HINTS[error.code]
    return {"code": error.code, "message": writable(without_paths(error.message)), "hint": hint}


def envelope(error: WorkbenchError, request_id: str, *, protocol: str = "") -> dict[str, Any]:
    """Return the body of an error.

    Parameters
    ----------
    protocol : "v2" for the Open Inference Protocol, in which ``error`` is a string; what it has no
        place for stands beside it
    """
    facts = {**told(error), "request_id": request_id}
    if protocol == "v2":
        return {"error": f"{facts.pop('message')} {facts['hint']}".rstrip(), **facts}
    return {"error": facts}


def headers_of(error: WorkbenchError) -> dict[str, str]:
    """Return the headers that belong to an error, such as when to try again."""
    if isinstance(error, QueueFullError | QueueUnavailableError | RateLimitedError):
        return {"Retry-After": str(max(1, ceil(error.retry_after_s)))}
    if error.code == "unauthorised":  # a browser asks for a password where Basic comes first
        return {"WWW-Authenticate": 'Basic realm="workbench", Bearer realm="workbench"'}
    allowed = getattr(error, "allowed", ())
    if error.code == "method_not_allowed" and allowed:
        return {"Allow": ", ".join(allowed)}
    if error.code == "out_of_memory":
        return {"Retry-After": "5"}
    return {}
