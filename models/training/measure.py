"""Measure the embedded models through workbench itself, and write what it found.

Unlike the other scripts here this one needs no torch: the pictures go as encoded files through
``workbench.evaluate`` and ``Runner.classify``, preprocessing included, and the figures replace
those in ``models/metadata/<id>.json``, the threshold of the note on outside pictures among them.
Run as::

    python measure.py --data cifar10.npz --images images [--models cifar10 ...] [--dry-run]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from card import reliability

import workbench as wb

HERE = Path(__file__).resolve().parent
METADATA = HERE.parent / "metadata"
#: An answer above this is confident (as in outside.py).
CONFIDENT = 0.9
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


def photo_table(runner: wb.Runner, model: str, images: Path) -> str:
    """Return what a model says to each photo of its classes, and where it is confidently wrong."""
    inside = listing()["in"]
    answers = runner.classify([images / file for file in inside], model=model)
    lines = ["| photo | shows | model says | probability | note |", "|---|---|---|---:|---|"]
    right = 0
    for (file, truth), answer in zip(inside.items(), answers, strict=True):
        right += answer.label == truth
        said = answer.label if answer.label == truth else f"{answer.label} (wrong)"
        note = answer.verdict.partition(" ")[0]
        lines.append(f"| {file} | {truth} | {said} | {answer.probability:.2f} | {note} |")
    lines += [
        "",
        f"{right} of {len(inside)} photos are named rightly.",
        "",
        "Confident outside, not flagged:",
    ]
    for file in (f for files in listing()["out"].values() for f in files):
        answer = runner.classify(images / file, model=model)
        if answer.probability > CONFIDENT and not answer.flagged:
            note = answer.verdict.partition(" ")[0] or "no note"
            lines.append(f"- {file} ({answer.label} {answer.probability:.2f}, {note})")
    return "\n".join(lines) + "\n"


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


def scores(runner: wb.Runner, model: str, outside: list[Any]) -> list[float]:
    """Return the scores of the outside photos in rising order, rounded up: none exceeds its own."""
    answers = runner.classify(outside, model=model).answered
    return sorted(math.ceil(1e3 * a.outside.score) / 1e3 for a in answers)


def counted(runner: wb.Runner, model: str, pictures: Iterable[Any]) -> dict[str, float]:
    """Count what is flagged or doubted, and what stays confident without a note."""
    answers = runner.classify(list(pictures), model=model).answered
    flagged = sum(a.flagged for a in answers)
    return {
        "count": len(answers),
        "flagged": flagged,
        "share": round(flagged / len(answers), 4),
        "doubtful": sum(a.outside.doubtful for a in answers),
        "confident_unflagged": sum(a.probability > CONFIDENT and not a.flagged for a in answers),
        "confident_unnoted": sum(a.probability > CONFIDENT and not a.verdict for a in answers),
    }


def together(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    """Add groups up."""
    rows = list(parts)
    total = {key: int(sum(row[key] for row in rows)) for key in rows[0] if key != "share"}
    return total | {"share": round(total["flagged"] / total["count"], 4)}


def markdown(found: wb.Evaluation) -> str:
    """Return the per-class table and the confusion matrix as Markdown."""
    lines = [f"{found.model}: {found!r}", "", "| class | recall | precision |", "|---|---:|---:|"]
    for name, row in found.per_class().iterrows():
        lines.append(f"| {name} | {row.recall:.1%} | {row.precision:.1%} |")
    lines += ["", "| truth \\ said | " + " | ".join(found.labels) + " |"]
    lines.append("|---|" + "---:|" * len(found.labels))
    for name, counts in zip(found.labels, found.confusion.tolist(), strict=True):
        lines.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines) + "\n"


def written(metadata: dict[str, Any]) -> str:
    """Return metadata as JSON, lists of plain numbers on one line each."""
    text = json.dumps(metadata, indent=2)
    return re.sub(r"\[[-\d.,\s]+\]", lambda m: " ".join(m[0].split()), text) + "\n"


def main() -> None:
    """Measure, print, and write the metadata."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 archive (.npz)")
    parser.add_argument("--images", type=Path, required=True, help="folder of outside.json")
    parser.add_argument("--models", nargs="+", default=["cifar10", "cifar10-small", "cifar10-int8"])
    parser.add_argument("--dry-run", action="store_true", help="print only")
    arguments = parser.parse_args()
    hub = wb.ModelHub(model_dir=HERE.parent)
    runner = wb.Runner(hub)
    photos = groups(arguments.images)
    for model in arguments.models:
        path = METADATA / f"{model}.json"
        metadata = json.loads(path.read_text())
        if not arguments.dry_run:  # the hub reads it again by itself
            strangers = [p for n, some in photos.items() if n not in APART for p in some]
            others = scores(runner, model, strangers)
            metadata["outside"]["threshold"] = round(float(np.quantile(others, CAUGHT)), 2)
            metadata["outside"]["others"] = others
            path.write_text(written(metadata))
        pictures, labels = test_pictures(arguments.data)
        found = wb.evaluate(model, pictures, labels, runner=runner)
        print(markdown(found))
        pictures, labels = test_pictures(arguments.data)
        answers = runner.classify(pictures, model=model)
        sure = np.array([a.probability for a in answers])
        right = np.array([a.top[0].index == t for a, t in zip(answers, labels, strict=True)])
        print(reliability(sure, right) + "\n")
        print(photo_table(runner, model, arguments.images))
        out = {name: counted(runner, model, some) for name, some in photos.items()}
        inside = {
            "cifar10_test": {
                "count": found.n,
                "flagged": found.flagged,
                "share": round(found.flagged / found.n, 4),
                "doubtful": found.doubtful,
            },
            "photos": out.pop("photos"),
        }
        out["all_photos"] = together(part for name, part in out.items() if name != "mnist")
        print(json.dumps({"in": inside, "out": out}, indent=2))
        if not arguments.dry_run:
            metadata["accuracy"] = {
                "dataset": "CIFAR-10 test, 10,000 images as JPEG",
                **found.to_dict(),
                "measured_by": "workbench.evaluate (models/training/measure.py)",
            }
            metadata["outside"]["measured"] = {"in": inside, "out": out}
            path.write_text(written(metadata))


if __name__ == "__main__":
    main()
