"""How right a classifier is on pictures whose labels are known."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cards import Block, Card, Displayable, Facts, Notes, Picture, Pictures, Table
from workbench.errors import (
    CancelledError,
    ConfigError,
    InferenceTimeoutError,
    LabelsError,
    MissingFileError,
)
from workbench.inference.recipe import in_short, turned
from workbench.inference.results import Failure, Result
from workbench.inference.runner import Runner
from workbench.inference.source import folder_of, listed
from workbench.timing import Samples, clock
from workbench.units import count, seconds, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.inference.recipe import Recipe
    from workbench.inference.source import Kept
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.stopping import Stop

#: Mistakes kept with their pictures: the most confident ones.
KEPT_MISTAKES = 24
#: Bins of the expected calibration error (Guo et al. 2017, arXiv:1706.04599).
BINS = 15
#: Standard score of a two-sided 95 % interval.
_Z95 = 1.959964


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """One wrong answer: what it was, what the model said, how sure it was."""

    source: str
    truth: str
    said: str
    probability: float
    position: int
    _input: Kept | None = field(default=None, repr=False)

    def __lt__(self, other: Mistake) -> bool:
        return (self.probability, -self.position) < (other.probability, -other.position)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Evaluation(Displayable):
    """Accuracy of a classifier.

    Attributes
    ----------
    model : id
    labels : names of the classes, by index
    confusion : (C, C) int64, row: the truth, column: what the model said
    top5_right : pictures whose truth was among the five most probable classes
    mistakes : the most confident mistakes, most confident first
    errors : pictures that could not be answered, by code; they count in no share
    flagged : pictures with the note "probably none of my classes"
    doubtful : pictures with the note "possibly none of my classes"
    calibration_error : expected calibration error (0–1), over 15 bins of equal width
    inference : seconds of each answer's inference
    wall_s : seconds in all
    stopped : whether someone stopped it early
    preprocessing : what was used in place of the model's own; None for that
    """

    model: str
    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    top5_right: int
    mistakes: tuple[Mistake, ...]
    errors: Mapping[str, int]
    flagged: int
    doubtful: int
    calibration_error: float
    inference: Samples
    wall_s: float
    stopped: bool = False
    preprocessing: Pipeline | None = None

    @property
    def n(self) -> int:
        """Pictures answered."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Share of pictures whose truth was the most probable class; nan without pictures."""
        return int(np.trace(self.confusion)) / self.n if self.n else nan

    @property
    def top5(self) -> float:
        """Share of pictures whose truth was among the five most probable classes."""
        return self.top5_right / self.n if self.n else nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of :attr:`top1` (Wilson 1927)."""
        return wilson(self.top1, self.n)

    def per_class(self) -> pd.DataFrame:
        """Return a row a class: ``n``, ``recall``, ``precision``, ``most_taken_for``."""
        import pandas as pd

        right = np.diag(self.confusion).astype(float)
        truth, said = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall, precision = right / truth, right / said
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        taken = [self.labels[i] if w.any() else "" for w in wrong for i in [int(w.argmax())]]
        return pd.DataFrame(
            {"n": truth, "recall": recall, "precision": precision, "most_taken_for": taken},
            index=pd.Index(self.labels, name="class"),
        )

    to_frame = per_class

    def confusion_frame(self) -> pd.DataFrame:
        """Return the confusion as a frame: rows are the truth, columns what the model said."""
        import pandas as pd

        return pd.DataFrame(
            self.confusion,
            index=pd.Index(self.labels, name="truth"),
            columns=pd.Index(self.labels, name="said"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as the metadata JSON keeps them; None where there is none."""
        low, high = self.interval
        return {
            "top1": _figure(self.top1),
            "top5": _figure(self.top5),
            "n": self.n,
            "interval95": [_figure(low), _figure(high)],
            "calibration_error": _figure(self.calibration_error),
        }

    def plot(self) -> Figure:
        """Draw the confusion matrix."""
        from workbench import drawing

        title = f"{self.model}: {share(self.top1)} of {self.n:,}"
        return drawing.confusion(self.confusion, list(self.labels), title=title)

    def _card(self) -> Card:
        low, high = self.interval
        rows = [
            ("top-1", f"{share(self.top1)} (95 % interval {share(low)} to {share(high)})"),
            ("top-5", share(self.top5)),
            ("pictures", f"{self.n:,}"),
            ("calibration error", share(self.calibration_error)),
            (
                "noted as none of its classes",
                f"{self.flagged:,} probably, {self.doubtful:,} possibly",
            ),
            ("inference", f"{seconds(self.inference.median_s)} (median a picture)"),
            ("wall time", seconds(self.wall_s)),
        ]
        if self.errors:
            rows.append(("errors", ", ".join(f"{c} {n}" for c, n in sorted(self.errors.items()))))
        if self.preprocessing is not None:
            rows.append(("not its own preprocessing", in_short(self.preprocessing)))
        blocks: list[Block] = [Facts(tuple(rows))]
        seen = [i for i in np.argsort(self._recalls(), kind="stable") if self.confusion[i].any()]
        table = tuple(self._class_row(int(i)) for i in seen[:20])
        columns = ("class", "n", "recall", "most often taken for")
        caption = "By class, the hardest first"
        blocks.append(Table(columns, table, caption, numeric=("n", "recall")))
        pictures = [
            Picture(
                p,
                f"{m.source}: {m.truth}",
                (f"{m.truth} taken for {m.said}", share(m.probability)),
            )
            for m in self.mistakes[:8]
            if m._input is not None and (p := m._input.picture(96)) is not None
        ]
        if pictures:
            blocks.append(Pictures(tuple(pictures), "The most confident mistakes"))
        if self.stopped:
            blocks.append(Notes(("Stopped on request; what was finished is counted.",)))
        return Card(
            f"evaluation of {self.model}",
            tuple(blocks),
            line=f"{share(self.top1)} top-1 of {count(self.n, 'picture')}",
        )

    def _recalls(self) -> NDArray[np.float64]:
        total = np.maximum(1, self.confusion.sum(axis=1))
        return np.asarray(np.diag(self.confusion) / total, np.float64)

    def _class_row(self, i: int) -> tuple[str, ...]:
        row = self.confusion[i]
        wrong = row.copy()
        wrong[i] = 0
        worst = int(wrong.argmax())
        taken = f"{self.labels[worst]} ({wrong[worst]})" if wrong[worst] else "–"
        return self.labels[i], f"{row.sum():,}", share(float(row[i] / row.sum())), taken


def _figure(value: float) -> float | None:
    return None if isnan(value) else round(value, 4)


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share observed on n items.

    >>> [round(x, 4) for x in wilson(0.92, 10_000)]
    [0.9145, 0.9252]
    >>> wilson(0.5, 0)
    (nan, nan)
    """
    if n == 0:
        return nan, nan
    z2 = _Z95**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def evaluate(
    model: str | Path | Model,
    images: Any,
    labels: Iterable[str | int] | None = None,
    *,
    preprocessing: Recipe | None = None,
    hub: ModelHub | None = None,
    runner: Runner | None = None,
    progress: bool = False,
    stop: Stop | None = None,
) -> Evaluation:
    """Measure a classifier on pictures whose labels are known.

    Parameters
    ----------
    model : id, Model, or path to an .onnx file
    images : an iterable of image sources; or a folder with one folder a class
    labels : the truth of each picture, as a label or an index; left out for a folder
    preprocessing : what is done to the pictures in place of the model's own, as of
        :meth:`Runner.classify`; None for the model's own
    hub, runner : where and how to run; None for the process's hub
    progress : show a bar
    stop : ends the work and keeps what was counted

    Raises
    ------
    LabelsError : a label that the model does not have, or more or fewer labels than pictures
    ConfigError : a folder with labels beside it, or pictures without
    InputMismatchError : ``preprocessing`` gives what the model does not take
    """
    runner = runner or Runner(hub)
    handle = runner.hub.handle(model)
    names = handle.labels
    if names is None:
        raise LabelsError(f"model {handle.id!r}", "it has none to compare with")
    paired = pairs(images, labels, names)
    tally = _Tally(names)
    truths: list[int] = []

    def fed() -> Iterator[Any]:
        for source, truth in paired:
            truths.append(truth)
            yield source

    started = clock()
    stopped = False
    wanted = min(5, len(names))
    used = turned(handle, preprocessing)
    answers = runner.stream(fed(), model=handle, preprocessing=used, top_k=wanted, stop=stop)
    try:
        for position, answer in enumerate(_shown(answers, images, labels, progress)):
            tally.add(answer, truths[position], position)
    except (CancelledError, InferenceTimeoutError):  # of the stop: a run's own is a Failure
        stopped = True
    return replace(tally.evaluation(handle.id, clock() - started, stopped), preprocessing=used)


def _shown(answers: Iterator[Any], images: Any, labels: Any, progress: bool) -> Iterable[Any]:
    if not progress:
        return answers
    from tqdm.auto import tqdm

    known = labels if labels is not None else images
    total = len(known) if isinstance(known, Sequence) and not isinstance(known, str) else None
    return tqdm(answers, total=total, unit="picture")


def pairs(
    images: Any, labels: Iterable[str | int] | None, names: Sequence[str]
) -> Iterator[tuple[Any, int]]:
    """Pair each picture with the index of its truth, checking both on the way."""
    by_name = {_key(name): index for index, name in enumerate(names)}
    if isinstance(images, (str, Path)):
        folder = folder_of(images)
        if folder is None and labels is None:
            raise MissingFileError(str(images), "folder")
        if folder is None:
            raise ConfigError("images", images, "a list of pictures, or a folder with one a class")
        if labels is not None:
            raise ConfigError("labels", "given beside a folder", "None: the folders name them")
        return _folder_pairs(folder, by_name, names)
    if isinstance(labels, str):
        raise ConfigError("labels", labels, "a list with one for each picture")
    if labels is None:
        raise ConfigError("labels", None, "one for each picture, or a folder with one a class")
    return _listed_pairs(images, labels, by_name, names)


def _key(name: str) -> str:
    return name.strip().casefold().replace("_", " ").replace("-", " ")


def _index(label: object, by_name: Mapping[str, int], names: Sequence[str], where: str) -> int:
    if isinstance(label, str) and _key(label) in by_name:
        return by_name[_key(label)]
    if isinstance(label, (int, np.integer)) and not isinstance(label, bool):
        if 0 <= label < len(names):
            return int(label)
        raise LabelsError(where, f"index {label} is not among 0 to {len(names) - 1}")
    listed_names = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
    raise LabelsError(where, f"{label!r} is not a class of the model, which has {listed_names}")


def _folder_pairs(
    folder: Path, by_name: Mapping[str, int], names: Sequence[str]
) -> Iterator[tuple[Path, int]]:
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise MissingFileError(str(folder), "folder", "has no folder for a class in it")
    known = [(c, _index(c.name, by_name, names, f"the folder {c.name}")) for c in classes]
    return ((path, truth) for c, truth in known for path in listed(c))


def _listed_pairs(
    images: Any, labels: Iterable[Any], by_name: Mapping[str, int], names: Sequence[str]
) -> Iterator[tuple[Any, int]]:
    end = object()
    truths = iter(labels)
    n = 0
    for source in images:
        label = next(truths, end)
        if label is end:
            raise LabelsError("labels", f"there are {n}, and more pictures than that")
        yield source, _index(label, by_name, names, f"label {n}")
        n += 1
    if next(truths, end) is not end:
        raise LabelsError("labels", f"there are more than the {n} pictures")


class _Tally:
    """Counts answers as they come, in memory that does not grow with their number."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.confusion = np.zeros((len(names), len(names)), np.int64)
        self.top5_right = self.flagged = self.doubtful = 0
        self.errors: Counter[str] = Counter()
        self.mistakes: list[Mistake] = []
        self.bins = np.zeros((BINS, 3))  # number, sum of probabilities, number right
        self.inference: list[float] = []

    def add(self, answer: Result | Failure, truth: int, position: int) -> None:
        if isinstance(answer, Failure):
            self.errors[answer.code] += 1
            return
        best = answer.top[0]
        self.confusion[truth, best.index] += 1
        self.top5_right += any(p.index == truth for p in answer.top[:5])
        self.flagged += answer.flagged
        self.doubtful += bool(answer.verdict) and not answer.flagged
        self.inference.append(answer.timings["inference"])
        slot = min(BINS - 1, int(best.probability * BINS))
        self.bins[slot] += (1, best.probability, best.index == truth)
        if best.index != truth:
            mistake = Mistake(
                answer.source, self.names[truth], best.label, best.probability, position,
                answer._input,
            )  # fmt: skip
            if len(self.mistakes) < KEPT_MISTAKES:
                heapq.heappush(self.mistakes, mistake)
            else:
                heapq.heappushpop(self.mistakes, mistake)

    def evaluation(self, model: str, wall_s: float, stopped: bool) -> Evaluation:
        total = self.bins[:, 0].sum()
        gaps = np.abs(self.bins[:, 1] - self.bins[:, 2]).sum()
        return Evaluation(
            model=model,
            labels=self.names,
            confusion=self.confusion,
            top5_right=self.top5_right,
            mistakes=tuple(sorted(self.mistakes, reverse=True)),
            errors=dict(self.errors),
            flagged=self.flagged,
            doubtful=self.doubtful,
            calibration_error=float(gaps / total) if total else nan,
            inference=Samples(tuple(self.inference), f"{model}, inference"),
            wall_s=wall_s,
            stopped=stopped,
        )
