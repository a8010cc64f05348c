"""The gate: nothing reaches onnxruntime before this has looked at it.

:func:`examine` tells what a model file is, or refuses it with the likely cause. The answer is
remembered by the file's identity, in memory and on disk, so that a known file is answered
without importing ``onnx``. Only answers are remembered, never refusals.

The engine stays the last judge: operators of its own domains, and the wiring of the graph, are
checked when a session is made. The newest opset is the one that the installed ``onnx`` knows;
onnxruntime, which is not imported here, may know fewer.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import time
from collections import OrderedDict
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from workbench import settings
from workbench.errors import (
    EngineMemoryError,
    InvalidModelError,
    MissingFileError,
    ModelTooLargeError,
    NotOnnxError,
    abridge,
)
from workbench.models import remembered
from workbench.models.foreign import HEAD_BYTES, recognise
from workbench.models.graph import GraphFacts, Port
from workbench.units import size

if TYPE_CHECKING:
    from workbench.models.weights import Weights

__all__ = ["LIMIT_BYTES", "GraphFacts", "Port", "examine", "forget"]

_log = logging.getLogger(__name__)

#: Protobuf cannot hold more than 2 GiB in one message.
LIMIT_BYTES = 2**31 - 1
#: Raised when what is remembered changes its form or its meaning.
_EDITION = 1
#: Answers kept in memory.
_KEPT = 256
#: A file changed twice within one tick of the clock of its folder looks unchanged
#: (4 ms on Linux): the gate reads a file only once it is older than this, in seconds.
_TICK_S = 0.01

_OTHER_PROTOBUF = (
    "It may be another kind of protobuf, such as a TensorFlow .pb: convert it with tf2onnx."
)

Identity = tuple[str, int, int, int, int]
_known: OrderedDict[str, tuple[list[Identity], GraphFacts]] = OrderedDict()
_lock = Lock()


def examine(
    path: str | os.PathLike[str],
    *,
    name: str = "",
    verify: Literal["auto", "always"] = "auto",
    limit_bytes: int = LIMIT_BYTES,
    remember: bool = True,
) -> GraphFacts:
    """Tell what a model file is, or refuse it.

    Parameters
    ----------
    path : of the file
    name : what a refusal calls the file; its path where it is left out
    verify : "auto" trusts what is remembered of a file whose path, size, times and inode are
        the same (those of its external data files included); "always" reads it again
    limit_bytes : of the model file
    remember : keep the answer; False for a file that is about to go

    Raises
    ------
    MissingFileError : there is no such file, or it cannot be read
    NotOnnxError : it is something else; the hint names the likely cause
    InvalidModelError : it is damaged, or contradicts itself
    ExternalDataError : its weights lie in a file that is missing, too short, or elsewhere
    ModelTooLargeError : it is too large, or says so of its weights
    UnsupportedOpsetError, UnsupportedOperatorError : this onnx does not know them
    """
    where = os.fspath(path)
    real, identity = _identify(where)
    if identity[1] > limit_bytes:
        raise ModelTooLargeError(name or where, "the file", identity[1], limit_bytes)
    if verify == "auto" and (facts := _recall(identity)):
        return facts
    age_s = time.time() - identity[2] / 1e9
    if 0 <= age_s < _TICK_S:
        time.sleep(_TICK_S)
        real, identity = _identify(where)
    facts, others = _read(where, name or where, real, identity[1], limit_bytes)
    identities = [identity, *(_identify(str(other))[1] for other in others)]
    if remember and _identify(where)[1] == identity:  # else it changed while it was read
        _remember(identities, facts)
    return facts


def _identify(where: str) -> tuple[Path, Identity]:
    """Return the file behind a path, and what tells it from any other state of it."""
    try:
        real = Path(where).resolve(strict=True)
        found = real.stat()
    except FileNotFoundError as error:
        raise MissingFileError(where, "model file") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingFileError(abridge(where), "model file", f"cannot be read: {error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise MissingFileError(where, "model file", "is a folder; give the .onnx file in it")
    if not stat.S_ISREG(found.st_mode):
        raise MissingFileError(where, "model file", "is no regular file")
    return real, (str(real), found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def _read(
    path: str, where: str, real: Path, size_bytes: int, limit_bytes: int
) -> tuple[GraphFacts, list[Path]]:
    """Read a file that is not known yet: its facts, and the data files beside it.

    ``where`` is what a refusal calls it.
    """
    try:
        with real.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
            foreign = recognise(head, size_bytes)
            if foreign and not head.startswith(b"\x08"):  # a ModelProto begins with ir_version
                raise NotOnnxError(where, *foreign)
            handle.seek(0)
            data = handle.read(size_bytes + 1)
    except OSError as error:
        raise MissingFileError(where, "model file", f"cannot be read: {error}") from error
    except MemoryError as error:
        raise EngineMemoryError(where, "reading", size(size_bytes)) from error
    if len(data) != size_bytes:
        raise InvalidModelError(where, "it changed while it was read", "Wait for its writer.")
    sha256 = hashlib.sha256(data).hexdigest()
    model = _parse(where, data, foreign)
    del data  # the parsed model has its own copy of the weights

    from workbench.models.inspection import read_model
    from workbench.models.weights import Weights

    weights: Weights = Weights(
        where, Path(path).absolute().parent.resolve(), real.parent, size_bytes, limit_bytes
    )
    try:
        facts = read_model(model, weights, size_bytes=size_bytes, sha256=sha256)
    except (UnicodeError, OverflowError, RecursionError, TypeError, AttributeError) as error:
        raise InvalidModelError(where, f"it cannot be read: {error}") from error
    return facts, list(weights.external.values())


def _parse(where: str, data: bytes, foreign: tuple[str, str] | None) -> Any:
    """Return the ModelProto in some bytes."""
    import onnx

    decode_error = import_module("google.protobuf.message").DecodeError
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except decode_error as error:
        if foreign:
            raise NotOnnxError(where, *foreign) from error
        if data[:1] == b"\x08":
            reason = _break(data)
            raise InvalidModelError(
                where,
                reason,
                "A download or a copy that broke off leaves such a file: get it again."
                if "ends" in reason
                else "The file is damaged: get it again from its source.",
            ) from error
        raise NotOnnxError(
            where, f"it is no known format; it starts with the bytes {data[:8].hex(' ')}"
        ) from error
    except MemoryError as error:
        raise EngineMemoryError(where, "parsing", size(len(data))) from error
    if not model.HasField("graph") or not model.HasField("ir_version"):
        what = "graph" if model.HasField("ir_version") else "version of the format"
        raise NotOnnxError(where, *(foreign or (f"it holds no {what}", _OTHER_PROTOBUF)))
    return model


def _break(data: bytes) -> str:
    """Say where the top level of a message breaks off."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = _varint(data, at)
            if at + length > end:
                return (
                    f"it ends after {size(end)}, but a part that begins at byte {at:,} should "
                    f"have {min(length, 2**63):,} bytes"
                )
            at += length
        else:
            break
    return "it is damaged: its structure cannot be followed"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    return value, at


# ── what is remembered ────────────────────────────────────────────────────────────────────────


def forget() -> None:
    """Forget what is remembered in memory; what is on disk stays."""
    with _lock:
        _known.clear()


def _recall(identity: Identity) -> GraphFacts | None:
    with _lock:
        entry = _known.get(identity[0])
    if entry is None and (entry := _load(identity[0])) is None:
        return None
    identities, facts = entry
    if identities[0] != identity or not all(_unchanged(other) for other in identities[1:]):
        return None
    _keep(identities, facts)
    return facts


def _unchanged(identity: Identity) -> bool:
    try:
        return _identify(identity[0])[1] == identity
    except MissingFileError:
        return False


def _keep(identities: list[Identity], facts: GraphFacts) -> None:
    with _lock:
        _known[identities[0][0]] = identities, facts
        _known.move_to_end(identities[0][0])
        while len(_known) > _KEPT:
            _known.popitem(last=False)


def _entry(path: str) -> Path:
    return remembered.place(settings.cache_folder() / "gate", path)


def _load(path: str) -> tuple[list[Identity], GraphFacts] | None:
    """Return what the disk remembers of a path; None where that is nothing, or damaged."""
    entry = remembered.read(_entry(path))
    try:
        if entry["edition"] != _EDITION:
            return None
        identities = [
            (str(i[0]), int(i[1]), int(i[2]), int(i[3]), int(i[4])) for i in entry["files"]
        ]
        return identities, GraphFacts.from_dict(entry["facts"])
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _remember(identities: list[Identity], facts: GraphFacts) -> None:
    """Keep an answer; a disk that cannot be written to is no harm."""
    _keep(identities, facts)
    told = {"edition": _EDITION, "files": identities, "facts": facts.to_dict()}
    try:
        remembered.write(_entry(identities[0][0]), told)
    except (OSError, ValueError) as error:
        _log.debug("The gate's answer is not kept on disk: %s", error)
