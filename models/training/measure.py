"""Measure the embedded models through workbench itself, and write what it found.

Unlike the scripts that train this one needs no torch: the pictures go as encoded files through
``workbench.evaluate`` and ``Runner.classify``, preprocessing included. The figures replace those
in ``models/metadata/<id>.json``, the threshold of the note on outside pictures among them, and
the tables of the model card. Run as::

    python measure.py --data cifar10.npz --images images [--dry-run]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import card
import numpy as np

import workbench as wb

HERE = Path(__file__).resolve().parent
METADATA = HERE.parent / "metadata"
CARD = HERE.parent / "README.md"
KINDS = {
    "cifar10": "float32, kernels stored in 16 bits, fourteen convolutions",
    "cifar10-small": "the same layout, narrower and one block less",
    "cifar10-int8": "cifar10 in 8 bits, static QDQ",
}
#: Share of the outside photos that the threshold makes sure to flag.
CAUGHT = 0.9
#: Groups that set no threshold: the photos of the classes, and the many digits.
APART = ("photos", "mnist")


def test_pictures(data: Path) -> tuple[Iterator[bytes], list[int]]:
    """Return the encoded test pictures and their labels."""
    archive = np.load(data)
    bytes_, offsets = archive["test_bytes"], archive["test_offsets"]
    pictures = (bytes_[a:b].tobytes() for a, b in pairwise(offsets))
    return pictures, archive["test_labels"].tolist()


def listing() -> dict[str, Any]:
    """Return which photos are inside and outside the classes."""
    found: dict[str, Any] = json.loads((HERE / "outside.json").read_text())
    return found


def groups(images: Path) -> dict[str, list[Any]]:
    """Return the photos of each group of outside.json, and the digits as RGB arrays."""
    known = listing()
    found: dict[str, list[Any]] = {
        name: [images / file for file in files] for name, files in known["out"].items()
    }
    with gzip.open(images / known["mnist"]["file"]) as file:
        raw = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    digits = raw[: known["mnist"]["count"]]
    found["mnist"] = [np.repeat(d[:, :, None], 3, axis=2) for d in digits]
    found["photos"] = [images / file for file in known["in"]]
    return found


def scores(answers: wb.Results) -> list[float]:
    """Return the scores of the outside photos in rising order, rounded up: none exceeds its own."""
    return sorted(math.ceil(1e3 * a.outside.score) / 1e3 for a in answers.answered)


def counted(answers: wb.Results) -> dict[str, float]:
    """Count what carries a note, and what stays confident without one."""
    flagged = sum(a.flagged for a in answers.answered)
    sure = [a for a in answers.answered if a.probability > card.CONFIDENT]
    return {
        "count": len(answers),
        "flagged": flagged,
        "share": round(flagged / len(answers), 4),
        "doubtful": sum(a.outside.doubtful for a in answers.answered),
        "confident_unflagged": sum(not a.flagged for a in sure),
        "confident_unnoted": sum(not a.verdict for a in sure),
    }


def together(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    """Add groups up."""
    rows = list(parts)
    total = {key: int(sum(row[key] for row in rows)) for key in rows[0] if key != "share"}
    return total | {"share": round(total["flagged"] / total["count"], 4)}


@dataclass(frozen=True)
class Measured:
    """What one model did on everything."""

    evaluation: wb.Evaluation
    confidence: np.ndarray
    right: np.ndarray
    answers: dict[str, wb.Results]
    outside: dict[str, Any]


def measure(runner: wb.Runner, model: str, data: Path, photos: dict[str, list[Any]]) -> Measured:
    """Run the test pictures twice (evaluated, then one by one) and all photos once."""
    pictures, labels = test_pictures(data)
    evaluation = wb.evaluate(model, pictures, labels, runner=runner)
    pictures, labels = test_pictures(data)
    confidence, right = [], []
    for answer, truth in zip(runner.stream(pictures, model=model), labels, strict=True):
        confidence.append(answer.probability)
        right.append(answer.top[0].index == truth)
    answers = {name: runner.classify(some, model=model) for name, some in photos.items()}
    out = {name: counted(some) for name, some in answers.items()}
    known = {
        "count": evaluation.n,
        "flagged": evaluation.flagged,
        "share": round(evaluation.flagged / evaluation.n, 4),
        "doubtful": evaluation.doubtful,
    }
    inside = {"cifar10_test": known, "photos": out.pop("photos")}
    out["all_photos"] = together(part for name, part in out.items() if name != "mnist")
    found = {"in": inside, "out": out}
    return Measured(evaluation, np.array(confidence), np.array(right), answers, found)


def set_threshold(runner: wb.Runner, model: str, strangers: list[Any]) -> None:
    """Write the scores of the outside photos, and the threshold, into the metadata."""
    path = METADATA / f"{model}.json"
    metadata = json.loads(path.read_text())
    others = scores(runner.classify(strangers, model=model))
    metadata["outside"]["threshold"] = round(float(np.quantile(others, CAUGHT)), 2)
    metadata["outside"]["others"] = others
    path.write_text(written(metadata))


def record(model: str, found: Measured) -> None:
    """Write accuracy and notes into the metadata."""
    path = METADATA / f"{model}.json"
    metadata = json.loads(path.read_text())
    metadata["accuracy"] = {
        "dataset": "CIFAR-10 test, 10,000 images as JPEG",
        **found.evaluation.to_dict(),
        "measured_by": "workbench.evaluate (models/training/measure.py)",
    }
    metadata["outside"]["measured"] = found.outside
    path.write_text(written(metadata))


def written(metadata: dict[str, Any]) -> str:
    """Return metadata as JSON, lists of plain numbers on one line each."""
    text = json.dumps(metadata, indent=2)
    return re.sub(r"\[[-\d.,\s]+\]", lambda m: " ".join(m[0].split()), text) + "\n"


def tables(hub: wb.ModelHub, found: dict[str, Measured]) -> dict[str, str]:
    """Return the tables of the model card; the long ones are about the first model."""
    first, known = next(iter(found)), listing()
    evaluations = {name: m.evaluation for name, m in found.items()}
    handles = {name: hub.load(name) for name in found}
    outside = {
        file: answer
        for group, files in known["out"].items()
        for file, answer in zip(files, found[first].answers[group], strict=True)
    }
    return {
        "files": card.files(
            {name: handle.path for name, handle in handles.items()},
            {name: handle.graph.parameters for name, handle in handles.items()},
            KINDS,
        ),
        "accuracy": card.accuracy(evaluations),
        "classes": card.per_class(evaluations),
        "confusion": card.confusion(evaluations[first]),
        "reliability": card.reliability(found[first].confidence, found[first].right),
        "notes": card.notes(
            {name: m.outside for name, m in found.items()},
            {name: handle.spec.outside.threshold for name, handle in handles.items()},
        ),
        "confident": card.confident(outside),
        "photos": card.photos(
            {name: m.answers["photos"] for name, m in found.items()}, known["in"], first
        ),
    }


def main() -> None:
    """Measure, print, and write the metadata and the tables of the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 archive (.npz)")
    parser.add_argument("--images", type=Path, required=True, help="folder of outside.json")
    parser.add_argument("--dry-run", action="store_true", help="print only")
    arguments = parser.parse_args()
    hub = wb.ModelHub(model_dir=HERE.parent)
    runner = wb.Runner(hub)
    photos = groups(arguments.images)
    strangers = [p for n, some in photos.items() if n not in APART for p in some]
    found = {}
    for model in KINDS:
        if not arguments.dry_run:  # the hub reads the metadata again by itself
            set_threshold(runner, model, strangers)
        found[model] = measure(runner, model, arguments.data, photos)
        if not arguments.dry_run:
            record(model, found[model])
    made = tables(hub, found)
    print(*(f"{name}\n\n{text}\n" for name, text in made.items()), sep="\n")
    if not arguments.dry_run:
        CARD.write_text(card.fill(CARD.read_text(), made))


if __name__ == "__main__":
    main()
