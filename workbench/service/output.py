"""Outputs on the wire: as bytes, as JSON or as the best classes, and never more than agreed.

Source: as of :mod:`workbench.service.tensor`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import BadRequestError, OutputUnsupportedError
from workbench.models import bfloat
from workbench.service.tensor import JSON_BYTES, kind_of_port

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.service.tensor import Wanted

#: Values that are written in one go: some milliseconds, in which no other thread has a turn.
_AT_ONCE = 10_000
#: Fewest bytes of a value in JSON, and of a class: ``0,`` and ``"0:0",``.
_VALUE_BYTES, _CLASS_BYTES = 2, 6


def classes_of(scores: NDArray[Any], most: int, labels: Sequence[str] | None) -> NDArray[Any]:
    """Return the best classes of each row, ``value:index:label``, best first.

    ``scores`` : numbers, (..., C); returns (..., min(most, C)) strings. Of equal scores the first
    is the better one; NaN comes last.
    """
    *heads, number = scores.shape or (1,)
    rows = scores.reshape(math.prod(heads), number)
    whole = rows.dtype.kind in "iu"
    falling = ~rows if whole else -rows  # -x of a whole number may wrap
    best = np.argsort(falling, axis=1, kind="stable")[:, :most]
    texts = [
        f"{row[i] if whole else f'{row[i]:f}'}:{i}"
        + (f":{labels[i]}" if labels and i < len(labels) else "")
        for row, indices in zip(rows, best, strict=True)
        for i in indices
    ]
    return np.array(texts, dtype=object).reshape((*heads, best.shape[1]))


class Writing:
    """The outputs of one answer, written one after the other.

    Parameters
    ----------
    model : its id, for errors
    json_bytes : most that may be written as JSON
    """

    def __init__(self, model: str, json_bytes: int = JSON_BYTES) -> None:
        self.model, self.json_bytes = model, json_bytes
        self._left_bytes = json_bytes
        self._parts: list[bytes] = []
        self._tails: list[bytes | memoryview] = []
        self._binary = False

    def add(self, one: Wanted, array: NDArray[Any], labels: Sequence[str] | None = None) -> None:
        """Write an output as it was asked for.

        Raises
        ------
        OutputUnsupportedError : it would be too much JSON
        BadRequestError : JSON cannot carry NaN, infinity or BF16; bytes can
        """
        if one.classes:
            *heads, number = array.shape or (1,)
            self._check(math.prod(heads) * min(one.classes, number) * _CLASS_BYTES, one.name)
            if array.dtype.name == bfloat.NAME:
                array = array.astype(np.float32)
            array = classes_of(array, one.classes, labels)
        strings = array.dtype.kind in "OU"
        kind = "BYTES" if strings else kind_of_port(array.dtype.name)
        told: dict[str, Any] = {"name": one.name, "datatype": kind, "shape": list(array.shape)}
        if one.binary:
            tail = _strings(array) if strings else _bytes(array)
            self._binary = True
            self._tails.append(tail)
            told["parameters"] = {"binary_data_size": len(tail)}
            self._parts.append(_json(told))
        else:
            data = self._data(array, one.name)
            self._parts.append(_json(told)[:-1] + b',"data":[' + data + b"]}")

    def _data(self, array: NDArray[Any], name: str) -> bytes:
        if array.dtype.name == bfloat.NAME:
            raise BadRequestError(f"Output {name}", "BF16", "binary_data, which can carry it")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadRequestError(
                f"Output {name}", "not finite throughout", "binary_data, which can carry NaN"
            )
        self._check(array.size * _VALUE_BYTES, name)
        flat, texts = array.ravel(), []
        for at in range(0, len(flat), _AT_ONCE):
            texts.append(_json(flat[at : at + _AT_ONCE].tolist())[1:-1])
            self._left_bytes -= len(texts[-1]) + 1
            self._check(0, name)
        return b",".join(texts)

    def _check(self, more_bytes: int, name: str) -> None:
        if more_bytes > self._left_bytes:
            raise OutputUnsupportedError(
                self.model,
                f"more than {self.json_bytes:,} bytes of JSON ({name})",
                "less: ask for it as bytes (binary_data), for fewer outputs or for fewer classes",
            )

    def body(self, head: Mapping[str, Any]) -> tuple[bytes, int | None]:
        """Return the body of the answer, and the length of its JSON where bytes follow."""
        text = _json(head)[:-1] + b',"outputs":[' + b",".join(self._parts) + b"]}"
        return b"".join([text, *self._tails]), len(text) if self._binary else None


def _json(value: Any) -> bytes:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of numbers, little-endian, without a copy where that is how they lie."""
    ordered = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return ordered.reshape(-1).view(np.uint8).data


def _strings(array: NDArray[Any]) -> bytes:
    """Put strings together: each has its length before it, four bytes, little-endian."""
    texts = [str(text).encode("utf-8", "replace") for text in array.ravel()]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))
