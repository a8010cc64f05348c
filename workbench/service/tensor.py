"""Tensors on the wire, as the Open Inference Protocol v2 has them: JSON, or bytes after it.

Source: "Open Inference Protocol (V2)", github.com/kserve/open-inference-protocol, REST; the binary
tensor data and classification extensions of NVIDIA's Triton (server/docs/protocol).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import BadRequestError, InputTooLargeError, abridge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.models.graph import Port

#: Names of types in the protocol → numpy's. BYTES holds strings.
KINDS = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "string",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in KINDS.items()}
#: Most elements of one tensor: what a request may hold in JSON is far below.
MOST_ELEMENTS = 2**28


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that was asked for: as bytes or as JSON, and as so many best classes."""

    name: str
    binary: bool
    classes: int


def kind_of_port(dtype: str) -> str:
    """Return the protocol's name of a type; ``bfloat16`` and the like keep their own."""
    return _NAMES.get(dtype, dtype.upper())


def port_told(port: Port) -> dict[str, Any]:
    """Describe an input or an output: -1 is a size that may vary."""
    dims = [d if isinstance(d, int) else -1 for d in port.shape or ()]
    return {"name": port.name, "datatype": kind_of_port(port.dtype), "shape": dims}


def _field(part: Any, name: str, kind: type, where: str, default: Any = None) -> Any:
    value = part.get(name, default) if isinstance(part, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        seen = "missing" if value is None else abridge(value, 40)
        raise BadRequestError(f"{where}.{name}", seen, f"a {kind.__name__}".replace("dict", "map"))
    return value


def read_inputs(told: Mapping[str, Any], tail: memoryview) -> dict[str, NDArray[Any]]:
    """Return the tensors of a request: from its JSON, or from the bytes that follow it.

    Raises
    ------
    BadRequestError : a shape, type or length that does not fit
    """
    inputs = _field(told, "inputs", list, "The body")
    feeds: dict[str, NDArray[Any]] = {}
    at = 0
    for number, part in enumerate(inputs):
        where = f"inputs.{number}"
        name = _field(part, "name", str, where)
        kind = _field(part, "datatype", str, where)
        if kind not in KINDS:
            raise BadRequestError(f"{where}.datatype", kind, f"one of {', '.join(KINDS)}")
        dims = _shape(_field(part, "shape", list, where), where)
        given = _field(part, "parameters", dict, where, {})
        if name in feeds:
            raise BadRequestError(f"{where}.name", name, "each input once")
        if "shared_memory_region" in given:
            raise BadRequestError(f"{where}.parameters", "shared memory", "data in the request")
        if "binary_data_size" in given:
            size = _field(given, "binary_data_size", int, f"{where}.parameters")
            if not 0 <= size <= len(tail) - at:
                left = f"at most the {len(tail) - at} bytes that are left"
                raise BadRequestError(f"{where}.parameters.binary_data_size", size, left)
            feeds[name] = _from_bytes(tail[at : at + size], kind, dims, where)
            at += size
        else:
            feeds[name] = _from_json(_field(part, "data", list, where), kind, dims, where)
    if at != len(tail):
        raise BadRequestError("The body", f"{len(tail) - at} bytes too long", "the inputs' bytes")
    return feeds


def _shape(dims: Sequence[Any], where: str) -> tuple[int, ...]:
    if len(dims) > 32 or not all(type(d) is int and 0 <= d < 2**31 for d in dims):
        raise BadRequestError(f"{where}.shape", abridge(dims, 60), "a list of sizes")
    if math.prod(dims) > MOST_ELEMENTS:
        raise InputTooLargeError(f"{where}.shape", f"{math.prod(dims):,} elements",
                                 f"{MOST_ELEMENTS:,}")  # fmt: skip
    return tuple(dims)


def _from_bytes(data: memoryview, kind: str, dims: tuple[int, ...], where: str) -> NDArray[Any]:
    number = math.prod(dims)
    if kind == "BYTES":
        return _strings(data, number, where).reshape(dims)
    dtype = np.dtype(KINDS[kind]).newbyteorder("<")
    if len(data) != number * dtype.itemsize:
        expected = f"{number * dtype.itemsize} bytes for {kind} {list(dims)}"
        raise BadRequestError(f"{where}: its binary data", f"{len(data)} bytes", expected)
    return np.frombuffer(data, dtype).reshape(dims).astype(dtype.newbyteorder("="))


def _strings(data: memoryview, number: int, where: str) -> NDArray[Any]:
    """Take strings apart: each has its length before it, four bytes, little-endian."""
    found: list[str] = []
    at = 0
    try:
        while at < len(data):
            length = int.from_bytes(data[at : at + 4], "little")
            text = bytes(data[at + 4 : at + 4 + length])
            if at + 4 + length > len(data):
                raise ValueError("it ends within a string")
            found.append(text.decode("utf-8"))
            at += 4 + length
        if len(found) != number:
            raise ValueError(f"{len(found)} strings")
    except ValueError as error:
        raise BadRequestError(f"{where}: its binary data", str(error), f"{number} strings") from (
            error
        )
    return np.array(found, dtype=object)


def _from_json(data: list[Any], kind: str, dims: tuple[int, ...], where: str) -> NDArray[Any]:
    from workbench.service.engine import as_array

    if kind == "BYTES":
        flat = _flat(data)
        if not all(isinstance(text, str) for text in flat):
            raise BadRequestError(f"{where}.data", "not all strings", "strings")
        array: NDArray[Any] = np.array(flat, dtype=object)
    elif not data and 0 in dims:
        return np.zeros(dims, KINDS[kind])
    else:
        array = as_array(data, KINDS[kind], f"{where}.data")
    if array.size != math.prod(dims):
        expected = f"{math.prod(dims)} for the shape {list(dims)}"
        raise BadRequestError(f"{where}.data", f"{array.size} values", expected)
    return array.reshape(dims)


def _flat(data: Any) -> list[Any]:
    return [x for part in data for x in _flat(part)] if isinstance(data, list) else [data]


def read_wanted(told: Mapping[str, Any], known: Sequence[str]) -> list[Wanted]:
    """Return the outputs that are asked for: all of them where none is named.

    Raises
    ------
    BadRequestError : an output that the model does not have, or a parameter that cannot be
    """
    everywhere = _flag(_field(told, "parameters", dict, "The body", {}), "binary_data_output")
    asked = told.get("outputs")
    if not asked:
        return [Wanted(name, everywhere, 0) for name in known]
    wanted = []
    for number, part in enumerate(_field(told, "outputs", list, "The body")):
        where = f"outputs.{number}"
        name = _field(part, "name", str, where)
        if name not in known:
            raise BadRequestError(f"{where}.name", name, f"one of {', '.join(known)}")
        given = _field(part, "parameters", dict, where, {})
        classes = given.get("classification", 0)
        if type(classes) is not int or not 0 <= classes < 2**31:
            raise BadRequestError(f"{where}.parameters.classification", classes, "a whole number")
        if "shared_memory_region" in given:
            raise BadRequestError(f"{where}.parameters", "shared memory", "data in the answer")
        wanted.append(Wanted(name, _flag(given, "binary_data", everywhere), classes))
    return wanted


def _flag(given: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"parameters.{name}", value, "true or false")
    return value


def classes_of(scores: NDArray[Any], most: int, labels: Sequence[str] | None) -> NDArray[Any]:
    """Return the best classes of each row, ``value:index:label``, best first.

    ``scores`` : (..., C); returns (..., min(most, C)) strings.
    """
    rows = scores.reshape(-1, scores.shape[-1]) if scores.ndim > 1 else scores.reshape(1, -1)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :most]
    texts = [
        [
            f"{row[i]:f}:{i}" + (f":{labels[i]}" if labels and i < len(labels) else "")
            for i in indices
        ]
        for row, indices in zip(rows.astype(np.float64), best, strict=True)
    ]
    found: NDArray[Any] = np.array(texts, dtype=object)
    return found.reshape((*scores.shape[:-1], best.shape[1]))


def written(array: NDArray[Any], name: str, *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """Return an output's JSON, and the bytes that go behind all JSON (none where it is JSON).

    Raises
    ------
    BadRequestError : JSON cannot carry NaN or infinity; bytes can
    """
    strings = array.dtype.kind in "OU"
    kind = "BYTES" if strings else kind_of_port(array.dtype.name)
    told: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(array.shape)}
    if binary:
        if strings:
            texts = [str(text).encode() for text in array.ravel()]
            data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        else:
            data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        return {**told, "parameters": {"binary_data_size": len(data)}}, data
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadRequestError(
            f"Output {name}", "not finite throughout", "binary_data, which can carry NaN"
        )
    return {**told, "data": array.ravel().tolist()}, b""


def split(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """Part a body into its JSON and the bytes behind it.

    ``header`` : ``Inference-Header-Content-Length``, or None where all of it is JSON.
    """
    if header is None:
        return body, memoryview(b"")
    if not header.isdigit() or len(header) > 12 or int(header) > len(body):
        raise BadRequestError("Inference-Header-Content-Length", header, f"0 to {len(body)}")
    return body[: int(header)], memoryview(body)[int(header) :]


def joined(told: dict[str, Any], tails: Sequence[bytes]) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON where bytes follow."""
    head = json.dumps(told, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    tail = b"".join(tails)
    binary = any("binary_data_size" in out.get("parameters", {}) for out in told["outputs"])
    return head + tail, len(head) if binary else None
