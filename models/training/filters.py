"""Compare resize filters: what becomes of large pictures on the way down to 32x32.

Run as::

    python filters.py --data cifar10.npz --images images --models cifar10.onnx

Held-out pictures, enlarged eight times, stand in for many photos; the in-class photos are
real but few.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import photos
from cifar import CLASSES, SIZE, load_cifar10, split
from inference import logits, softmax
from PIL import Image


def main() -> None:
    """Print one line per filter and model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 archive (.npz)")
    parser.add_argument("--images", type=Path, required=True, help="folder of outside.json")
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=int, default=1500)
    arguments = parser.parse_args()
    _, kept = split(load_cifar10(arguments.data, "train"), arguments.held_out)
    originals = kept.images.permute(0, 2, 3, 1).numpy()
    labels = kept.labels.numpy()
    big = (SIZE * 8, SIZE * 8)
    enlarged = [Image.fromarray(one).resize(big, Image.Resampling.BICUBIC) for one in originals]
    print("| model | filter | enlarged and shrunk | photos right | mean probability |")
    print("|---|---|---:|---:|---:|")
    for name in photos.FILTERS:
        shrunk = np.stack([photos.shrink(one, name) for one in enlarged])
        names, pictures = photos.inside(arguments.images, name)
        wanted = np.array([CLASSES.index(label) for label in names.values()])
        for model in arguments.models:
            right = (logits(model, shrunk).argmax(1) == labels).mean()
            probabilities = softmax(logits(model, pictures))
            hits = int((probabilities.argmax(1) == wanted).sum())
            mean = probabilities[np.arange(len(wanted)), wanted].mean()
            print(f"| {model.stem} | {name} | {right:.2%} | {hits}/{len(wanted)} | {mean:.3f} |")


if __name__ == "__main__":
    main()
