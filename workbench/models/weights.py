"""Checks of a model's weights: sizes that add up, and data files that lie where they may.

Dimensions are never trusted: sizes are computed in Python's integers and compared with the
bytes that are there, before anything allocates them.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from workbench.errors import ExternalDataError, InvalidModelError, ModelTooLargeError, abridge
from workbench.units import shape as shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable

#: TensorProto.DataType: number → (name, bits an element), from onnx.proto of onnx 1.23
#: (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Numpy's name where numpy has one.
ELEMENTS: dict[int, tuple[str, int]] = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16),
    6: ("int32", 32), 7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8), 10: ("float16", 16),
    11: ("float64", 64), 12: ("uint32", 32), 13: ("uint64", 64), 14: ("complex64", 64),
    15: ("complex128", 128), 16: ("bfloat16", 16), 17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8), 19: ("float8e5m2", 8), 20: ("float8e5m2fnuz", 8),
    21: ("uint4", 4), 22: ("int4", 4), 23: ("float4e2m1", 4), 24: ("float8e8m0", 8),
    25: ("uint2", 2), 26: ("int2", 2), 27: ("float6e2m3", 6), 28: ("float6e3m2", 6),
}  # fmt: skip
#: DataType numbers by the repeated field that holds their values when raw_data is not used,
#: and how many entries an element takes there (complex numbers take two).
_TYPED = {1: ("float_data", 1), 14: ("float_data", 2), 11: ("double_data", 1),
          15: ("double_data", 2), 7: ("int64_data", 1), 12: ("uint64_data", 1),
          13: ("uint64_data", 1), 8: ("string_data", 1)}  # fmt: skip
_STRING = 8
_EXTERNAL = 1
#: Sizes are not computed beyond this: a product of a million dimensions would never end.
_ENOUGH = 2**63
#: onnxruntime takes this location for an address in its own memory (tensorprotoutils.h,
#: kTensorProtoMemoryAddressTag): a file that says so would read from anywhere.
_MEMORY_TAG = "_ORT_MEM_ADDR_"


def elements(dims: Iterable[int]) -> int:
    """Multiply dimensions, and stop once the product has passed any real size.

    >>> elements([]), elements([2, 3]), elements([2**62, 2**62, 0]), elements([2**62] * 3) > 2**63
    (1, 6, 0, True)
    """
    sizes = list(dims)
    if 0 in sizes:
        return 0
    product = 1
    for dim in sizes:
        product *= dim
        if product > _ENOUGH:
            break
    return product


@dataclass(slots=True)
class Weights:
    """Counts the weights of one model, and refuses those that cannot be.

    Attributes
    ----------
    where : the model, for messages
    folder, real_folder : in which its data files may lie: that of the path as it was given,
        and that of the file a link led to (as in the cache of huggingface_hub)
    size_bytes : of the model file: no weight inside it can be larger
    limit_bytes : for weights whose size the file does not show
    """

    where: str
    folder: Path
    real_folder: Path
    size_bytes: int
    limit_bytes: int
    parameters: int = 0
    parameter_bytes: int = 0
    dtypes: dict[str, int] = field(default_factory=dict)
    external: dict[str, Path] = field(default_factory=dict)

    def add(self, tensor: Any, *, counted: bool = True) -> None:
        """Check one TensorProto, and count it among the parameters."""
        dtype, number, expected = self._size(tensor.data_type, list(tensor.dims), tensor.name)
        if tensor.data_location == _EXTERNAL:
            self._external(tensor, expected)
        else:
            self._inline(tensor, number, expected)
        if counted:
            self.parameters += number
            self.parameter_bytes += expected
            self.dtypes[dtype] = self.dtypes.get(dtype, 0) + number

    def add_sparse(self, sparse: Any, *, counted: bool = True) -> None:
        """Check one SparseTensorProto: its dense form must fit the limit as well."""
        self.add(sparse.values, counted=counted)
        self.add(sparse.indices, counted=False)
        name = sparse.values.name
        _, _, dense = self._size(sparse.values.data_type, list(sparse.dims), name)
        if dense > self.limit_bytes:
            raise self._too_large(name, list(sparse.dims), dense, self.limit_bytes)

    def _size(self, data_type: int, dims: list[int], name: str) -> tuple[str, int, int]:
        if data_type not in ELEMENTS:
            raise InvalidModelError(
                self.where,
                f"the weight {abridge(name)} has element type {data_type}, which is unknown",
            )
        if any(dim < 0 for dim in dims):
            raise InvalidModelError(
                self.where,
                f"the weight {abridge(name)} has the shape {_dims(dims)} with a negative size",
            )
        dtype, bits = ELEMENTS[data_type]
        number = elements(dims)
        return dtype, number, -(-number * bits // 8)

    def _inline(self, tensor: Any, number: int, expected: int) -> None:
        if expected > self.size_bytes or (tensor.data_type == _STRING and number > self.size_bytes):
            raise self._too_large(tensor.name, list(tensor.dims), expected, self.size_bytes)
        if tensor.HasField("raw_data") and tensor.data_type != _STRING:
            stored, wanted, unit = len(tensor.raw_data), expected, "bytes"
        else:
            name, each = _TYPED.get(tensor.data_type, ("int32_data", 1))
            bits = ELEMENTS[tensor.data_type][1]
            wanted = -(-number * bits // 8) if 0 < bits < 8 else number * each
            stored, unit = len(getattr(tensor, name)), "values"
        if stored != wanted:
            raise InvalidModelError(
                self.where,
                f"the weight {abridge(tensor.name)} has the shape {_dims(list(tensor.dims))}, "
                f"which takes {wanted:,} {unit}, and {stored:,} are stored",
            )

    def _external(self, tensor: Any, expected: int) -> None:
        facts = {entry.key: entry.value for entry in tensor.external_data}
        location = str(facts.get("location", ""))
        path = self._locate(location)
        offset = self._whole(facts, "offset", 0, location)
        length = self._whole(facts, "length", expected, location)
        if length != expected:
            raise ExternalDataError(
                self.where,
                location,
                f"the weight {abridge(tensor.name)} takes {expected:,} bytes, but {length:,} "
                "are set aside for it",
            )
        available = path.stat().st_size
        if offset + length > available:
            raise ExternalDataError(
                self.where,
                location,
                f"that file ends after {available:,} bytes, before the weight "
                f"{abridge(tensor.name)} (bytes {offset:,} to {offset + length:,})",
            )

    def _whole(self, facts: dict[str, str], key: str, default: int, location: str) -> int:
        text = facts.get(key, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise ExternalDataError(self.where, location, f"its {key} there is {abridge(text)}")
        return int(text)

    def _locate(self, location: str) -> Path:
        if location in self.external:
            return self.external[location]
        reason = unsafe_location(location)
        if reason:
            raise ExternalDataError(self.where, location, reason)
        for folder in dict.fromkeys((self.folder, self.real_folder)):
            path = folder / location
            try:
                real = path.resolve(strict=True)
                kind = real.stat().st_mode
            except (OSError, RuntimeError):  # RuntimeError: a loop of links
                continue
            if not (real.is_relative_to(self.folder) or real.is_relative_to(self.real_folder)):
                raise ExternalDataError(
                    self.where, location, "that is a link which leads out of the model's folder"
                )
            if not stat.S_ISREG(kind):
                raise ExternalDataError(self.where, location, "that is no regular file")
            self.external[location] = real
            return real
        raise ExternalDataError(self.where, location, "that file is not there")

    def _too_large(self, name: str, dims: list[int], seen: int, limit: int) -> ModelTooLargeError:
        return ModelTooLargeError(
            self.where, f"the weight {abridge(name)} of shape {_dims(dims)}", seen, limit
        )


def _dims(dims: list[int]) -> str:
    text = shape_text(tuple(dims[:8]))
    return text if len(dims) <= 8 else f"{text[:-1]}, and {len(dims) - 8} more)"


def unsafe_location(location: str) -> str:
    """Say why a data file may not lie there, or return an empty string."""
    if not location:
        return "the name of the data file is empty"
    if "\0" in location:
        return "that is no file name"
    if _MEMORY_TAG in location:
        return "that is an address in memory, not a file"
    windows = PureWindowsPath(location)
    if PurePosixPath(location).is_absolute() or windows.drive or windows.root:
        return "that is an absolute path, outside the model's folder"
    if ".." in windows.parts:  # Windows paths know both separators
        return "that leads out of the model's folder"
    return ""
