"""Tables of the model card, made from evaluations and answers; no torch, no figures by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    import workbench as wb

#: Confidence from which an answer counts as confident (as in outside.py).
CONFIDENT = 0.9
_GROUPS = {
    "cifar10_test": "CIFAR-10 test (in)",
    "photos": "in-class photos (in)",
    "imagenet": "ImageNet photos",
    "coco_val": "COCO photos",
    "faces": "group portraits",
    "classic": "classic test photos",
    "reference": "reference photos",
    "mnist": "MNIST digits",
    "all_photos": "all photos outside",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first `left` columns are aligned to the left."""
    rule = "|" + "---|" * left + "---:|" * (len(head) - left)
    lines = [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def files(
    models: Mapping[str, Path], parameters: Mapping[str, int], kinds: Mapping[str, str]
) -> str:
    """Return name, bytes, parameters and nature of each file."""
    rows = [
        [name, f"{path.stat().st_size:,} bytes", f"{parameters[name]:,}", kinds[name]]
        for name, path in models.items()
    ]
    text = table(("model", "file", "parameters", "what it is"), rows)
    return text.replace("---:|---:|---:|", "---:|---:|---|")


def accuracy(found: Mapping[str, wb.Evaluation]) -> str:
    """Return a row a model: pictures, top-1 with its interval, top-5, calibration error."""
    rows = [
        [name, f"{e.n:,}", f"{e.top1:.2%}", f"{e.interval[0]:.1%} to {e.interval[1]:.1%}",
         f"{e.top5:.2%}", f"{e.calibration_error:.4f}"]
        for name, e in found.items()
    ]  # fmt: skip
    return table(("model", "pictures", "top-1", "95 % interval", "top-5", "ECE"), rows)


def per_class(found: Mapping[str, wb.Evaluation]) -> str:
    """Return the share of each class that is named rightly, a column a model."""
    frames = {name: e.per_class() for name, e in found.items()}
    labels = next(iter(found.values())).labels
    rows = [[c, *(f"{f.loc[c, 'recall']:.1%}" for f in frames.values())] for c in labels]
    return table(("class", *found), rows)


def confusion(evaluation: wb.Evaluation) -> str:
    """Return the confusion matrix: true classes down, answers across."""
    pairs = zip(evaluation.labels, evaluation.confusion.tolist(), strict=True)
    return table(("true", *evaluation.labels), [[name, *map(str, row)] for name, row in pairs])


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> str:
    """Return stated confidence against accuracy, a picture an element."""
    edges = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.001)
    rows = []
    for low, high in pairwise(edges):
        here = (confidence >= low) & (confidence < high)
        if here.any():
            rows.append(
                [f"{low:g} to {min(high, 1):g}", f"{here.sum():,}",
                 f"{confidence[here].mean():.3f}", f"{right[here].mean():.3f}"]
            )  # fmt: skip
    return table(("confidence", "pictures", "mean confidence", "accuracy"), rows)


def notes(measured: Mapping[str, Mapping[str, Any]], thresholds: Mapping[str, float]) -> str:
    """Return how many pictures of each group carry a note: probably, possibly."""
    rows = []
    for group, name in _GROUPS.items():
        found = [m["in"].get(group) or m["out"].get(group) for m in measured.values()]
        cells = [f"{g['flagged']:,} + {g['doubtful']:,} of {g['count']:,}" for g in found]
        rows.append([name, *cells])
    silent = [str(m["out"]["all_photos"]["confident_unnoted"]) for m in measured.values()]
    rows.append([f"outside photos over {CONFIDENT} with no note", *silent])
    rows.append(["threshold of the energy", *(f"{t:.2f}" for t in thresholds.values())])
    return table(("group", *measured), rows)


def photos(answers: Mapping[str, wb.Results], truths: Mapping[str, str], shown: str) -> str:
    """Return how many in-class photos each model names rightly, and all answers of `shown`."""
    right = [
        f"{name} {sum(a.label == t for a, t in zip(some, truths.values(), strict=True))}"
        for name, some in answers.items()
    ]
    rows = []
    for (file, truth), answer in zip(truths.items(), answers[shown], strict=True):
        said = answer.label if answer.label == truth else f"{answer.label} (wrong)"
        rows.append([file, truth, said, f"{answer.probability:.2f}", word(answer)])
    head = ("photo", "shows", f"{shown} says", "probability", "note")
    text = table(head, rows, 3).replace("---:|---:|", "---:|---|")
    return f"Right, of {len(truths)}: {', '.join(right)}.\n\n{text}"


def confident(answers: Mapping[str, wb.Result]) -> str:
    """Return the outside photos that get a confident label, and the note beside it."""
    rows = [
        [file, a.label, f"{a.probability:.2f}", word(a) or "none", str(a.outside.rivals)]
        for file, a in answers.items()
        if a.probability > CONFIDENT and not a.flagged and a.outside is not None
    ]
    head = ("photo", "label", "probability", "note", "other things that score as high")
    return table(head, rows, 2) if rows else "None."


def word(answer: wb.Result) -> str:
    """Return "probably", "possibly" or nothing."""
    return answer.verdict.partition(" ")[0]


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Put each table between its marks, ``<!-- name -->`` and ``<!-- end -->``.

    Raises
    ------
    ValueError
        A table has no marks, or marks have no table.
    """
    marks = re.findall(r"<!-- (?!end)([\w-]+) -->", text)
    if sorted(marks) != sorted(tables):
        message = f"The card has marks for {sorted(marks)}, and tables are {sorted(tables)}."
        raise ValueError(message)
    for name, content in tables.items():
        pattern = rf"<!-- {name} -->.*?<!-- end -->"
        block = f"<!-- {name} -->\n{content}\n<!-- end -->"
        text = re.sub(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
    return text
