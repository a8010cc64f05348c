"""Write the metadata of the embedded models: what is known before they are measured.

Run as::

    python describe.py --out ../metadata ../cifar10.onnx ...

Accuracy, and the threshold of the note on outside pictures, are put in by ``measure.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

SOURCES = {
    "cifar10": "Trained on CIFAR-10 by this project; recipe in models/training/.",
    "cifar10-small": "Trained on CIFAR-10 by this project; recipe in models/training/.",
    "cifar10-int8": "cifar10 quantised to 8 bits by this project; recipe in models/training/.",
}


def describe(model: Path) -> dict[str, object]:
    """Return the metadata of one model; nothing is noted as outside until it is measured."""
    return {
        "model_type": "classification",
        "input_shape": [1, 3, 32, 32],
        "preprocessing": "cifar10",
        "color_format": "RGB",
        "activation": "softmax",
        "input_name": "images",
        "output_name": "logits",
        "source": SOURCES[model.stem],
        "licence": "MIT",
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "accuracy": None,
        "outside": {"score": "energy", "threshold": 0.0, "note": "probably none of my classes"},
    }


def main() -> None:
    """Describe the models named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", help="ONNX files named after their id")
    parser.add_argument("--out", type=Path, required=True, help="metadata folder")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        path = arguments.out / f"{model.stem}.json"
        path.write_text(json.dumps(describe(model), indent=2) + "\n")


if __name__ == "__main__":
    main()
