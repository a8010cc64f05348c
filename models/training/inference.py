"""Run a finished ONNX classifier, the way its users will: onnxruntime on normalised RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from cifar import MEAN, STD

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def normalised(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn uint8 (n, 32, 32, 3) pictures into the network's input (n, 3, 32, 32)."""
    values = pictures.astype(np.float32) / np.float32(255)
    values -= np.asarray(MEAN, dtype=np.float32)
    values /= np.asarray(STD, dtype=np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def logits(path: Path, pictures: NDArray[np.uint8], batch: int = 250) -> NDArray[np.float32]:
    """Return the logits (n, 10) of uint8 (n, 32, 32, 3) pictures."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    parts = [
        session.run(None, {"images": normalised(pictures[i : i + batch])})[0]
        for i in range(0, len(pictures), batch)
    ]
    return np.concatenate(parts)


def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of each row of logits."""
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
