"""Tensors of a request, as the Open Inference Protocol v2 has them: JSON, or bytes after it.

Source: "Open Inference Protocol (V2)", github.com/kserve/open-inference-protocol, REST; the binary
tensor data and classification extensions of NVIDIA's Triton (server/docs/protocol).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import (
    BadRequestError,
    InputMismatchError,
    InputTooLargeError,
    OutputUnsupportedError,
)
from workbench.models import bfloat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.models.graph import Port
    from workbench.models.model import Model

#: Names of types in the protocol → numpy's. BYTES holds strings.
KINDS = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BF16": bfloat.NAME,
    "BYTES": "string",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in KINDS.items()}
#: What a field of a request is, for people.
_WORDS = {str: "a text", int: "a whole number", list: "a list", dict: "a JSON object"}
#: Most elements of one tensor: what a request may hold in JSON is far below.
MOST_ELEMENTS = 2**28
#: Most strings of one tensor: each becomes an object, and crosses to a worker process as one.
MOST_STRINGS = 2_000_000
#: Most bytes of JSON that carries tensors, either way: a million numbers of up to 25 characters.
#: A parser takes them in one go, and no other thread has a turn meanwhile.
JSON_BYTES = 25_000_000
#: Most inputs of a request.
MOST_INPUTS = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that was asked for: as bytes or as JSON, and as so many best classes."""

    name: str
    binary: bool
    classes: int


def kind_of_port(dtype: str) -> str:
    """Return the protocol's name of a type; ``float8e5m2`` and the like keep their own."""
    return _NAMES.get(dtype, dtype.upper())


def port_told(port: Port) -> dict[str, Any]:
    """Describe an input or an output: -1 is a size that may vary."""
    dims = [d if isinstance(d, int) else -1 for d in port.shape or ()]
    return {"name": port.name, "datatype": kind_of_port(port.dtype), "shape": dims}


def check_ports(model: Model, outputs: Sequence[str]) -> None:
    """Refuse a model whose inputs, or the outputs that are asked for, no request can carry.

    Raises
    ------
    InputMismatchError, OutputUnsupportedError : no tensor, or of a type that the engine does not
        exchange as a numpy array, such as BF16
    """
    why = "which the engine exchanges with no numpy array"
    for port in model.inputs:
        if not _is_carried(port):
            told = f"{port.describe()}, {why}"
            raise InputMismatchError(port.name, "a tensor of the protocol", told)
    for port in model.outputs:
        if port.name in outputs and not _is_carried(port):
            told = f"a tensor of one of the types {', '.join(KINDS)}"
            raise OutputUnsupportedError(model.id, f"{port.describe()}, {why}", told)


def _is_carried(port: Port) -> bool:
    if port.dtype == bfloat.NAME and not bfloat.is_known():
        return False
    return port.kind == "tensor" and port.dtype in KINDS.values()


def _field(part: Any, name: str, kind: type, where: str, default: Any = None) -> Any:
    value = part.get(name, default) if isinstance(part, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        found = "missing" if value is None else seen(value)
        raise BadRequestError(f"{where}.{name}", found, _WORDS[kind])
    if isinstance(value, str) and not is_text(value):
        raise BadRequestError(f"{where}.{name}", value, "both halves of a surrogate pair")
    return value


def is_text(value: str) -> bool:
    """Say whether UTF-8 can write a text: not half of a surrogate pair (RFC 8259, 8.2)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def seen(value: Any) -> Any:
    """Name a value that may be large by its kind."""
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, list | dict) else value


def read_inputs(told: Mapping[str, Any], tail: memoryview) -> dict[str, NDArray[Any]]:
    """Return the tensors of a request: from its JSON, or from the bytes that follow it.

    Raises
    ------
    BadRequestError : a shape, type or length that does not fit
    """
    inputs = _field(told, "inputs", list, "The body")
    if len(inputs) > MOST_INPUTS:
        raise BadRequestError("inputs", seen(inputs), f"at most {MOST_INPUTS:,}")
    feeds: dict[str, NDArray[Any]] = {}
    at = 0
    for number, part in enumerate(inputs):
        where = f"inputs.{number}"
        name = _field(part, "name", str, where)
        kind = _field(part, "datatype", str, where)
        if kind not in KINDS:
            raise BadRequestError(f"{where}.datatype", kind, f"one of {', '.join(KINDS)}")
        dims = _shape(_field(part, "shape", list, where), where)
        if kind == "BYTES" and math.prod(dims) > MOST_STRINGS:
            strings = f"{math.prod(dims):,} strings"
            raise InputTooLargeError(f"{where}.shape", strings, f"{MOST_STRINGS:,}")
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
    if len(dims) > 32:
        raise BadRequestError(f"{where}.shape", f"list of {len(dims)}", "at most 32 sizes")
    if not all(type(d) is int and 0 <= d < 2**31 for d in dims):
        raise BadRequestError(f"{where}.shape", [*map(seen, dims)], "a list of sizes")
    elements = math.prod(d for d in dims if d)  # of an empty one: those that numpy reckons with
    if elements > MOST_ELEMENTS:
        raise InputTooLargeError(f"{where}.shape", f"{elements:,} elements", f"{MOST_ELEMENTS:,}")
    return tuple(dims)


def _from_bytes(data: memoryview, kind: str, dims: tuple[int, ...], where: str) -> NDArray[Any]:
    number = math.prod(dims)
    if kind == "BYTES":
        return _strings(data, number, where).reshape(dims)
    dtype = bfloat.dtype_of(KINDS[kind]).newbyteorder("<")
    if len(data) != number * dtype.itemsize:
        expected = f"{number * dtype.itemsize} bytes for {kind} {list(dims)}"
        raise BadRequestError(f"{where}: its binary data", f"{len(data)} bytes", expected)
    if kind == "BOOL":  # whatever is not 0
        flags: NDArray[np.bool_] = np.frombuffer(data, np.uint8).reshape(dims).astype(bool)
        return flags
    return np.frombuffer(data, dtype).reshape(dims).astype(dtype.newbyteorder("="))


def _strings(data: memoryview, number: int, where: str) -> NDArray[Any]:
    """Take strings apart: each has its length before it, four bytes, little-endian."""
    found: list[str] = []
    at = 0
    try:
        while at < len(data) and len(found) < number:
            length = int.from_bytes(data[at : at + 4], "little")
            text = bytes(data[at + 4 : at + 4 + length])
            if at + 4 + length > len(data):
                raise ValueError("it ends within a string")
            found.append(text.decode("utf-8"))
            at += 4 + length
        if len(found) != number:
            raise ValueError(f"{len(found)} strings")
        if at != len(data):
            raise ValueError("more than that")
    except ValueError as error:
        raise BadRequestError(f"{where}: its binary data", str(error), f"{number} strings") from (
            error
        )
    return np.array(found, dtype=object)


def _from_json(data: list[Any], kind: str, dims: tuple[int, ...], where: str) -> NDArray[Any]:
    from workbench.service.engine import as_array

    if kind == "BF16":
        raise BadRequestError(f"{where}.data", "JSON", "binary data, which can carry BF16")
    number = math.prod(dims)
    if len(data) not in (number, *dims[:1]):  # before anything is walked through
        expected = f"{number} values for the shape {list(dims)}, in one list or nested as it is"
        raise BadRequestError(f"{where}.data", seen(data), expected)
    if kind == "BYTES":
        flat = _flat(data)
        if not all(isinstance(text, str) and is_text(text) for text in flat):
            raise BadRequestError(f"{where}.data", "not all strings", "strings")
        array: NDArray[Any] = np.array(flat, dtype=object)
    elif number == 0 and not _flat(data):
        return np.zeros(dims, KINDS[kind])
    else:
        array = as_array(data, KINDS[kind], f"{where}.data")
    if array.size != number:
        expected = f"{number} for the shape {list(dims)}"
        raise BadRequestError(f"{where}.data", f"{array.size} values", expected)
    return array.reshape(dims)


def _flat(data: Any) -> list[Any]:
    return [x for part in data for x in _flat(part)] if isinstance(data, list) else [data]


def read_wanted(told: Mapping[str, Any], ports: Sequence[Port]) -> list[Wanted]:
    """Return the outputs that are asked for, of those that a model has: all where none is named.

    Raises
    ------
    BadRequestError : an output that the model does not have, or that was asked for before, or a
        parameter that cannot be
    """
    everywhere = _flag(_field(told, "parameters", dict, "The body", {}), "binary_data_output")
    if not told.get("outputs"):
        return [Wanted(port.name, everywhere, 0) for port in ports]
    left = {port.name: port for port in ports}
    wanted = []
    for number, part in enumerate(_field(told, "outputs", list, "The body")):
        where = f"outputs.{number}"
        name = _field(part, "name", str, where)
        if (port := left.pop(name, None)) is None:
            known = ", ".join(port.name for port in ports)
            raise BadRequestError(f"{where}.name", name, f"one of {known}, each once")
        given = _field(part, "parameters", dict, where, {})
        classes = _field(given, "classification", int, f"{where}.parameters", 0)
        if not 0 <= classes < 2**31:
            raise BadRequestError(f"{where}.parameters.classification", classes, "a whole number")
        if classes and port.dtype in ("bool", "string"):
            asked = f"asked of {kind_of_port(port.dtype)}"
            raise BadRequestError(f"{where}.parameters.classification", asked, "numbers to compare")
        if "shared_memory_region" in given:
            raise BadRequestError(f"{where}.parameters", "shared memory", "data in the answer")
        wanted.append(Wanted(name, _flag(given, "binary_data", everywhere), classes))
    return wanted


def read_limit(told: Mapping[str, Any], longest_s: float) -> float:
    """Return the seconds that a request may take: its ``timeout`` in microseconds, or the longest.

    Raises
    ------
    BadRequestError : it is none; or the request is one of a sequence, which would change its answer
    """
    given = _field(told, "parameters", dict, "The body", {})
    if sequence := given.get("sequence_id"):
        raise BadRequestError("parameters.sequence_id", seen(sequence), "none: no state is kept")
    limit_us = _field(given, "timeout", int, "parameters", 0)
    if limit_us < 0:
        raise BadRequestError("parameters.timeout", limit_us, "microseconds, 0 for no limit")
    return min(limit_us, 1e6 * longest_s) / 1e6 if limit_us else longest_s


def _flag(given: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"parameters.{name}", seen(value), "true or false")
    return value


def split(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """Part a body into its JSON and the bytes behind it.

    ``header`` : ``Inference-Header-Content-Length``, or None where all of it is JSON.
    """
    if header is None:
        return body, memoryview(b"")
    if not (header.isascii() and header.isdigit()) or len(header) > 12 or int(header) > len(body):
        raise BadRequestError("Inference-Header-Content-Length", header, f"0 to {len(body)}")
    return body[: int(header)], memoryview(body)[int(header) :]
