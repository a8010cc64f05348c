"""Tell pictures outside the ten classes by the logits alone: compare scores.

Run as::

    python outside.py --data cifar10.npz --images images --models cifar10.onnx cifar10-int8.onnx

A picture is flagged when its score is below the threshold. Three scores are compared: the
highest probability (Hendrycks and Gimpel, 2017, arXiv:1610.02136), the highest logit
(Hendrycks et al., 2022, arXiv:1911.11132) and the energy, here log-sum-exp of the logits (Liu
et al., 2020, arXiv:2010.03759).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import photos
from cifar import load_cifar10
from inference import logits, softmax
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.float32]


def max_softmax(values: Floats) -> Floats:
    """Return the highest probability of each row."""
    return softmax(values).max(1)


def max_logit(values: Floats) -> Floats:
    """Return the highest logit of each row."""
    return values.max(1)


def energy(values: Floats, temperature: float = 1.0) -> Floats:
    """Return log-sum-exp of the logits, the negative of the free energy."""
    scaled = values / temperature
    top = scaled.max(1)
    return temperature * (top + np.log(np.exp(scaled - top[:, None]).sum(1)))


SCORES: dict[str, Callable[[Floats], Floats]] = {
    "max_softmax": max_softmax,
    "max_logit": max_logit,
    "energy": energy,
}


def auroc(inside: Floats, outside: Floats) -> float:
    """Return how often a picture from inside scores higher than one from outside."""
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, "left")
    up_to = np.searchsorted(ordered, inside, "right")
    return float((below + up_to).mean() / (2 * len(outside)))


def missed(inside: Floats, outside: Floats, flagged: float) -> float:
    """Return the share from outside not flagged where `flagged` of the inside is."""
    return float((outside >= np.quantile(inside, flagged)).mean())


@dataclass(frozen=True)
class Evidence:
    """The logits of one model on everything the comparison looks at."""

    test: Floats
    photos: Floats
    outside: dict[str, Floats]

    @property
    def strangers(self) -> Floats:
        """All photos outside the classes; the many digits would drown them."""
        return np.concatenate([v for name, v in self.outside.items() if name != "mnist"])


@dataclass(frozen=True)
class Sources:
    """The pictures behind `Evidence`, uint8 (n, 32, 32, 3), read once for all models."""

    test: NDArray[np.uint8]
    photos: NDArray[np.uint8]
    outside: dict[str, NDArray[np.uint8]]

    @classmethod
    def load(cls, data: Path, images: Path) -> Sources:
        """Read the test pictures of CIFAR-10 and the photos."""
        test = load_cifar10(data, "test")
        return cls(
            test.images.permute(0, 2, 3, 1).numpy(),
            photos.inside(images)[1],
            photos.outside(images),
        )

    def through(self, model: Path) -> Evidence:
        """Run everything through one model."""
        return Evidence(
            logits(model, self.test),
            logits(model, self.photos),
            {name: logits(model, some) for name, some in self.outside.items()},
        )


def comparison(evidence: Evidence) -> list[str]:
    """Return the lines of a table that compares the scores."""
    rows = ["| score | in | AUROC | missed at 5 % | missed at 10 % | AUROC digits |"]
    rows.append("|---|---|---|---|---|---|")
    candidates = dict(SCORES)
    for temperature in (0.5, 2.0, 4.0):
        candidates[f"energy, T={temperature:g}"] = partial(energy, temperature=temperature)
    groups = {
        "CIFAR test": evidence.test,
        "photos": evidence.photos,
        "both": np.concatenate([evidence.test, evidence.photos]),
    }
    for name, score in candidates.items():
        out, digits = score(evidence.strangers), score(evidence.outside["mnist"])
        for where, values in groups.items():
            known = score(values)
            shares = " | ".join(f"{missed(known, out, share):.3f}" for share in (0.05, 0.10))
            rows.append(
                f"| {name} | {where} | {auroc(known, out):.4f} | {shares} "
                f"| {auroc(known, digits):.4f} |"
            )
    return rows


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 archive (.npz)")
    parser.add_argument("--images", type=Path, required=True, help="folder of outside.json")
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    return parser.parse_args()


def main() -> None:
    """Compare the scores from the command line."""
    arguments = parse_arguments()
    sources = Sources.load(arguments.data, arguments.images)
    for model in arguments.models:
        evidence = sources.through(model)
        print(f"\n{model.stem}\n", *comparison(evidence), sep="\n")


if __name__ == "__main__":
    main()
