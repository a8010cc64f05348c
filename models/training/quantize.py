"""Quantise an exported classifier to 8 bits: static QDQ, one scale per output channel.

Run as::

    python quantize.py --data cifar10.npz --model cifar10.onnx --out cifar10-int8.onnx
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from cifar import load_cifar10, split
from inference import normalised
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

if TYPE_CHECKING:
    from numpy.typing import NDArray

IR_VERSION = 8
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 archive (.npz)")
    parser.add_argument("--model", type=Path, required=True, help="the float32 ONNX file")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--pictures", type=int, default=1000, help="calibration pictures")
    parser.add_argument("--method", choices=sorted(METHODS), default="percentile")
    parser.add_argument("--full-range", action="store_true", help="8-bit weights, not 7-bit")
    parser.add_argument("--held-out", type=int, default=1500)
    return parser.parse_args()


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """Hand uint8 (n, 32, 32, 3) pictures to the calibration, a batch at a time."""

    def __init__(self, pictures: NDArray[np.uint8], batch: int = 50) -> None:
        self._parts = iter(np.split(pictures, range(batch, len(pictures), batch)))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next batch by input name, or None at the end."""
        part = next(self._parts, None)
        return None if part is None else {"images": normalised(part)}


def quantise(
    source: Path, target: Path, pictures: NDArray[np.uint8], method: str, *, full_range: bool
) -> None:
    """Write `source` with quantised weights and activations to `target`.

    Weights use 7 bits unless `full_range`: x86 processors without VNNI add pairs of 8-bit
    products in 16 bits, which saturates with 8-bit weights and gives other results there.
    The last layer stays in float: it is small, and 256 steps are coarse for probabilities.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            target,
            Batches(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=not full_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[method],
            nodes_to_exclude=["head"],
        )
    model = onnx.load(target)
    del model.metadata_props[:]
    opsets = [entry for entry in model.opset_import if not entry.domain]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    model.ir_version = IR_VERSION
    model.graph.name = target.stem
    model.graph.doc_string = f"{source.stem} in 8 bits: static QDQ, per channel."
    model.producer_name, model.producer_version = "onnx-workbench", "models/training"
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def main() -> None:
    """Quantise from the command line."""
    arguments = parse_arguments()
    known, _ = split(load_cifar10(arguments.data, "train"), arguments.held_out)
    pictures = known.images[: arguments.pictures].permute(0, 2, 3, 1).numpy()
    quantise(
        arguments.model,
        arguments.out,
        pictures,
        arguments.method,
        full_range=arguments.full_range,
    )
    print(f"{arguments.out.name}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
