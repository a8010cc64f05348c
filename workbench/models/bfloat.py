"""bfloat16 at the ports of a graph, which the engine exchanges with no numpy array.

It does as a value of its own. Arrays have the type of ml_dtypes, which onnx brings from 1.19 on;
where that is missing, such ports stay closed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.models.engine import engine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.models.graph import GraphFacts

#: Its name, as numpy has it once ml_dtypes is there.
NAME = "bfloat16"
#: Its number in ONNX (``TensorProto.BFLOAT16``).
_ONNX = 16
#: What makes the engine's value of words; onnxruntime 1.20 may not have it.
_MAKER = "ortvalue_from_numpy_with_onnx_type"


@cache
def is_known() -> bool:
    """Say whether arrays of it can be made here."""
    return find_spec("ml_dtypes") is not None


def dtype_of(name: str) -> np.dtype[Any]:
    """Return numpy's type of a name, also of this one.

    >>> dtype_of("bfloat16").itemsize, dtype_of("float32").itemsize
    (2, 4)
    """
    if name == NAME:
        import ml_dtypes  # noqa: F401  (numpy knows the name from then on)

    return np.dtype(name)


def bridged(raw: Any, facts: GraphFacts) -> Any:
    """Return the engine's session, or one around it where a port is bfloat16."""
    outputs = [port.name for port in facts.outputs]
    of_kind = [port.name for port in (*facts.inputs, *facts.outputs) if port.dtype == NAME]
    if not of_kind or not is_known() or not hasattr(engine().OrtValue, _MAKER):
        return raw
    return _Bridged(raw, outputs, frozenset(of_kind).intersection(outputs))


class _Bridged:
    """The engine's session, with arrays of bfloat16 both ways."""

    def __init__(self, raw: Any, outputs: Sequence[str], words: frozenset[str]) -> None:
        self._raw, self._outputs, self._words = raw, outputs, words
        self._sess = self  # where the engine's own faces are looked beneath

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def run(
        self, outputs: Sequence[str] | None, feeds: Mapping[str, Any], options: Any = None
    ) -> list[Any]:
        """Run the graph as the engine's session does."""
        names = list(outputs or self._outputs)
        kind = engine().OrtValue
        words = {
            name: np.asarray(array, order="C").view(np.uint16)  # held: a value has no copy of them
            for name, array in feeds.items()
            if isinstance(array, np.ndarray) and array.dtype.name == NAME
        }
        fed = {**feeds, **{name: getattr(kind, _MAKER)(w, _ONNX) for name, w in words.items()}}
        if self._words.isdisjoint(names):
            return list(self._raw.run(names, fed, options))
        for name in feeds.keys() - words:
            fed[name] = kind.ortvalue_from_numpy(feeds[name])
        return [_read(one) for one in self._raw.run_with_ort_values(names, fed, options)]


def _read(value: Any) -> NDArray[Any]:
    """Return the array of one of the engine's values."""
    if NAME not in value.data_type():
        return value.numpy()  # type: ignore[no-any-return]
    dims = tuple(value.shape())
    data = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(dims, dtype=np.int64)))
    return np.frombuffer(data, np.uint16).reshape(dims).view(dtype_of(NAME))
