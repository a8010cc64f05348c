"""Answers as values: what a model said, how sure it was, and where the time went."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

from workbench.cards import (
    THUMBNAIL_PIXELS,
    Bar,
    Bars,
    Block,
    Card,
    Displayable,
    Facts,
    Notes,
    Picture,
    Pictures,
    Stack,
    Table,
)
from workbench.inference.recipe import in_short
from workbench.units import count, seconds, share
from workbench.value import opened

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.errors import WorkbenchError
    from workbench.inference.source import Kept
    from workbench.models.session import SessionFacts
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.preprocessing.wording import Differing
    from workbench.tasks.classification import Prediction
    from workbench.timing import Stages

#: Results of many inputs show at most this many pictures and rows; the frame has all.
SHOWN = 24


_OTHER_RECIPE = "Not with the model's own preprocessing: what differs is told below."


@dataclass(frozen=True, slots=True)
class Outside:
    """Whether an input looks like none of the model's classes.

    Attributes
    ----------
    score, threshold : the input's score, and the value below which the note is given
    kind : ``max_softmax``, ``max_logit`` or ``energy``
    note : what is shown below the threshold
    rivals : how many of the pictures known to show none of the classes scored at least as high
    compared : how many of those pictures there are
    """

    score: float
    threshold: float
    kind: str
    note: str
    rivals: int = 0
    compared: int = 0

    @classmethod
    def among(
        cls, others: Sequence[float], score: float, threshold: float, kind: str, note: str
    ) -> Outside:
        """Judge a score beside those of pictures of other things, in rising order."""
        made = _OPENED_OUTSIDE()
        made.score, made.threshold, made.kind, made.note = score, threshold, kind, note
        made.compared = compared = len(others)
        made.rivals = compared - bisect_left(others, score)
        made.__class__ = cls
        return made  # type: ignore[no-any-return]

    @property
    def flagged(self) -> bool:
        """Whether the input is probably none of the model's classes."""
        return self.score < self.threshold

    @property
    def doubtful(self) -> bool:
        """Whether the input is possibly none of the classes: some other thing scored as high."""
        return not self.flagged and self.rivals > 0

    @property
    def verdict(self) -> str:
        """What to say beside the label in three words or so; empty where there is no doubt."""
        if self.flagged:
            return "probably none of its classes"
        return "possibly none of its classes" if self.doubtful else ""

    def sentence(self) -> str:
        """Return the note with the figures behind it; empty when it does not apply."""
        named = f"the {self.kind.replace('_', ' ')} score is {self.score:.3g}"
        if self.flagged:
            note = self.note[:1].upper() + self.note[1:].rstrip(".")
            return (
                f"{note}: {named}, and below {self.threshold:.3g} a picture is usually "
                "something else."
            )
        if self.doubtful:
            return (
                f"Possibly none of my classes: {named}, and {self.rivals} of "
                f"{count(self.compared, 'picture')} of other things scored as high."
            )
        return ""


_OPENED_OUTSIDE = opened(Outside)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Result(Displayable):
    """What a classifier said about one input.

    Attributes
    ----------
    top : the most probable classes, best first
    timings : seconds by stage: ``decode``, each preprocessing step, ``inference``,
        ``postprocessing``; and ``load`` when the model was cold
    model : id of the model
    session : provider, precision, threads and spinning of the session that ran
    source : name of the input, for people
    probabilities : (C,) float32 of all classes, read-only; None where only the top was kept
    activation : what was applied to the output, and why
    outside : whether this looks like none of the classes; None where that is not known
    classes : names of the classes where they are few, else None
    preprocessing : what was done to the picture in place of the model's own preprocessing; None
        where that was used, or a ready tensor came
    batch : inputs that shared the run; their inference time is divided evenly
    """

    top: tuple[Prediction, ...]
    timings: Stages
    model: str
    session: SessionFacts
    source: str
    probabilities: NDArray[np.float32] | None = None
    activation: str = ""
    outside: Outside | None = None
    classes: tuple[str, ...] | None = None
    preprocessing: Pipeline | None = None
    batch: int = 1
    _input: Kept | None = field(default=None)

    @classmethod
    def made(
        cls,
        top: tuple[Prediction, ...],
        timings: Stages,
        model: str,
        session: SessionFacts,
        source: str,
        probabilities: NDArray[np.float32] | None,
        activation: str,
        outside: Outside | None,
        classes: tuple[str, ...] | None,
        preprocessing: Pipeline | None,
        batch: int,
        kept: Kept | None,
    ) -> Result:
        """Make one of its fields, in their order: what every run does (see :func:`opened`)."""
        made = _OPENED_RESULT()
        made.top, made.timings, made.model, made.session = top, timings, model, session
        made.source, made.probabilities, made.activation = source, probabilities, activation
        made.outside, made.classes, made.preprocessing = outside, classes, preprocessing
        made.batch, made._input = batch, kept
        made.__class__ = cls
        return made  # type: ignore[no-any-return]

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.top[0].label

    @property
    def probability(self) -> float:
        """The probability of the most probable label (0–1)."""
        return self.top[0].probability

    @property
    def flagged(self) -> bool:
        """Whether the note "probably none of my classes" applies."""
        return self.outside is not None and self.outside.flagged

    @property
    def verdict(self) -> str:
        """Whether this is probably, or possibly, none of the model's classes; else empty."""
        return self.outside.verdict if self.outside is not None else ""

    @property
    def differs(self) -> tuple[Differing, ...]:
        """What the preprocessing differs by from the model's own: (what, its own, here)."""
        if self.preprocessing is None or self.preprocessing.reader is None:
            return ()
        return self.preprocessing.reader.differs_from(self.preprocessing)

    def picture(self) -> NDArray[np.uint8] | None:
        """Return the input small, (h, w, 3) uint8 RGB, read again.

        None where it cannot be had any more, or is another one by now.
        """
        return None if self._input is None else self._input.picture()

    def to_frame(self) -> pd.DataFrame:
        """Return a row a prediction: ``rank`` (from 1), ``label``, ``index``, ``probability``.

        One more column, ``preprocessing``, says by what it differs from the model's own, where
        it does.
        """
        import pandas as pd

        rows = [(n, p.label, p.index, p.probability) for n, p in enumerate(self.top, 1)]
        frame = pd.DataFrame(rows, columns=["rank", "label", "index", "probability"])
        return (
            frame
            if self.preprocessing is None
            else frame.assign(preprocessing=in_short(self.preprocessing))
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form: label, predictions, note, timings in ms, what ran."""
        other = self.preprocessing
        return {
            "success": True,
            "source": self.source,
            "model_id": self.model,
            "predictions": [
                {"label": p.label, "index": p.index, "probability": p.probability} for p in self.top
            ],
            "note": self.outside.sentence() if self.outside else "",
            **({} if other is None else {"preprocessing": other.recipe()}),
            "timings_ms": {
                **{name: 1e3 * value for name, value in self.timings.items()},
                "total": 1e3 * self.timings.total_s,
            },
            "model": {
                "provider": self.session.provider,
                "precision": self.session.precision,
                "threads": self.session.threads,
            },
        }

    def plot(self) -> Figure:
        """Draw the picture beside its bars; a doubt about them is in the title."""
        from workbench import drawing

        doubt = f" ({self.verdict})" if self.verdict else ""
        return drawing.bars(
            [p.label for p in self.top],
            [p.probability for p in self.top],
            title=f"{self.source}: {self.model}{doubt}",
            picture=self.picture(),
        )

    def lighter(self) -> Result:
        """Return the same answer without what its thumbnail needs, for long lists.

        Of the picture its checksum stays: what a person says of it later is not said of another.
        """
        return self if _light(self._input) else replace(self, _input=_bare(self._input))

    @property
    def checksum(self) -> str:
        """sha256 of the picture's bytes (of the pixels where there were none); else empty."""
        return "" if self._input is None else self._input.checksum()

    def notes(self) -> tuple[str, ...]:
        """Return what a reader must know besides the label."""
        sentence = self.outside.sentence() if self.outside else ""
        return (sentence,) if sentence else ()

    def _card(self) -> Card:
        ran = self.session
        blocks: list[Block] = []
        picture = self.picture()
        if picture is not None:
            blocks.append(Pictures((Picture(picture, f"the input {self.source}"),)))
        if self.verdict:
            blocks.append(Notes(self.notes(), urgent=self.flagged))
        if self.preprocessing is not None:
            blocks.append(Notes((_OTHER_RECIPE,)))
        bars = tuple(Bar(p.label, p.probability, share(p.probability)) for p in self.top)
        blocks.append(Bars(bars, f"What {self.model} says"))
        whole = seconds(self.timings.total_s)
        shared = f" (inference: its share of a batch of {self.batch})" if self.batch > 1 else ""
        blocks.append(Stack(self.timings.shown(), f"Time: {whole} in all{shared}"))
        rows = [
            ("ran on", f"{ran.provider_text}, {ran.precision}, {count(ran.threads, 'thread')}"),
            ("spinning", ran.spinning_text),
            ("activation", self.activation),
        ]
        if self.classes:
            rows.append(("it knows only", ", ".join(self.classes)))
        blocks.append(Facts(tuple(rows)))
        other = ""
        if self.preprocessing is not None:
            other = ", not by its own preprocessing"
            columns = ("what", "the model's own", "used here")
            blocks.append(Table(columns, self.differs, "Not the model's own preprocessing"))
        doubt = f", {self.verdict}" if self.verdict else ""
        title = f"none of its classes? (nearest: {self.label})" if self.flagged else self.label
        return Card(
            f"{self.source}: {title}",
            tuple(blocks),
            line=f"{share(self.probability)} by {self.model} in {whole}{doubt}{other}",
        )


_OPENED_RESULT = opened(Result)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Failure(Displayable):
    """An input that could not be answered, beside others that were.

    Attributes
    ----------
    source : name of the input, for people
    error : what went wrong; its ``code`` is stable
    model : id of the model
    """

    source: str
    error: WorkbenchError
    model: str
    _input: Kept | None = field(default=None)

    def lighter(self) -> Failure:
        """Return the same failure without what it keeps of its input, for long lists."""
        return self if _light(self._input) else replace(self, _input=_bare(self._input))

    @property
    def checksum(self) -> str:
        """sha256 of the input's bytes, as of a :class:`Result`; empty where they are gone."""
        return "" if self._input is None else self._input.checksum()

    @property
    def code(self) -> str:
        """The error's stable code."""
        return self.error.code

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form with the error's code, message and hint."""
        return {
            "success": False,
            "source": self.source,
            "model_id": self.model,
            "error": self.error.to_dict(),
        }

    def _card(self) -> Card:
        blocks = (Notes((self.error.message,), urgent=True), Facts(self.error.facts()))
        return Card(
            f"{self.source}: no answer from {self.model}",
            blocks,
            line=f"{self.code}: {self.error.message}",
        )


class Answers(Sequence["Result | Failure"], Displayable):
    """Answers in a row; one that could not be given is a :class:`Failure`."""

    _items: tuple[Result | Failure, ...]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Result | Failure]:
        return iter(self._items)

    __repr__ = Displayable.__repr__

    @property
    def answered(self) -> tuple[Result, ...]:
        """Those that were given."""
        return tuple(i for i in self._items if isinstance(i, Result))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What stands in the place of those that were not."""
        return tuple(i for i in self._items if isinstance(i, Failure))


class Results(Answers):
    """The answers to many inputs, in their order; one that failed is a :class:`Failure`.

    Attributes
    ----------
    model : id of the model
    wall_s : seconds from the first input to the last answer
    stopped : whether someone stopped it early; what was finished is here
    order : in which they stand, where that is not the inputs' own
    """

    def __init__(
        self,
        items: Sequence[Result | Failure],
        *,
        model: str,
        wall_s: float,
        stopped: bool = False,
        order: str = "",
    ) -> None:
        self._items = tuple(items)
        self.model = model
        self.wall_s = wall_s
        self.stopped = stopped
        self.order = order

    @overload
    def __getitem__(self, index: int) -> Result | Failure: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Result | Failure | Results:
        if isinstance(index, slice):
            return self._with(self._items[index], self.order)
        return self._items[index]

    @property
    def images_per_s(self) -> float:
        """Answers per second of wall time."""
        return len(self.answered) / self.wall_s if self.wall_s > 0 else float("nan")

    def least_sure_first(self) -> Results:
        """Return the same answers, the lowest top probability first, failures last."""
        return self._sorted(lambda r: r.probability, "least sure first")

    def slowest_first(self) -> Results:
        """Return the same answers, the longest total first, failures last."""
        return self._sorted(lambda r: -r.timings.total_s, "slowest first")

    def _sorted(self, key: Any, order: str) -> Results:
        return self._with([*sorted(self.answered, key=key), *self.failures], order)

    def _with(self, items: Sequence[Result | Failure], order: str) -> Results:
        return Results(
            items, model=self.model, wall_s=self.wall_s, stopped=self.stopped, order=order
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a row an input: source, label, probability, flagged, note, error, *_ms …

        One more column, ``preprocessing``, where one is not the model's own: what differs.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for item in self._items:
            row: dict[str, Any] = {"source": item.source, "model": item.model}
            if isinstance(item, Result):
                row |= {
                    "label": item.label,
                    "probability": item.probability,
                    "flagged": item.flagged,
                    "note": item.verdict,
                    "error": "",
                    "message": "",
                    **{f"{name}_ms": 1e3 * value for name, value in item.timings.items()},
                    "total_ms": 1e3 * item.timings.total_s,
                }
            else:
                row |= {"label": None, "probability": float("nan"), "flagged": False, "note": "",
                        "error": item.code, "message": item.error.message}  # fmt: skip
            rows.append(row)
        head = ["source", "model", "label", "probability", "flagged", "note", "error", "message"]
        if any(r.preprocessing is not None for r in self.answered):
            head.append("preprocessing")
            for row, item in zip(rows, self._items, strict=True):
                told = in_short(item.preprocessing) if isinstance(item, Result) else ""
                row["preprocessing"] = told
        frame = pd.DataFrame(rows)
        return frame if rows else pd.DataFrame(columns=head)

    def plot(self) -> Figure:
        """Draw the first pictures with their labels."""
        from workbench import drawing

        strip = []
        for item in self.answered[:SHOWN]:
            picture = item.picture()
            if picture is not None:
                strip.append((_doubted(item), picture, _beneath(item)[1:]))
        order = f", {self.order}" if self.order else ""
        return drawing.picture_strip(strip, title=f"What {self.model} says{order}")

    def _card(self) -> Card:
        blocks: list[Block] = []
        order = f", {self.order}" if self.order else ""
        labels = Counter(r.label for r in self.answered)
        errors = Counter(f.code for f in self.failures)
        rows = [
            ("answered", f"{len(self.answered)} of {len(self)}"),
            ("labels", ", ".join(f"{n} {c}" for n, c in labels.most_common(8)) or "none"),
        ]
        if self.wall_s > 0:
            wall = f"{seconds(self.wall_s)} ({self.images_per_s:.1f} images/s)"
            rows.insert(1, ("wall time", wall))
        if errors:
            rows.append(("errors", ", ".join(f"{c} {n}" for c, n in errors.most_common())))
        recipes = dict.fromkeys(r.preprocessing for r in self.answered)
        rows += [("not its own preprocessing", in_short(p)) for p in recipes if p is not None]
        blocks.append(Facts(tuple(rows)))
        pictures = [
            Picture(p, f"the input {r.source}", _beneath(r))
            for r in self.answered[: SHOWN // 2]
            if r._input is not None and (p := r._input.picture(THUMBNAIL_PIXELS // 2)) is not None
        ]
        if pictures:
            blocks.append(Pictures(tuple(pictures), f"Pictures{order}"))
        table = tuple(
            (r.source, _doubted(r), share(r.probability), seconds(r.timings.total_s),
             r.verdict)
            if isinstance(r, Result)
            else (r.source, "–", "–", "–", f"{r.code}: {r.error.message}")
            for r in self._items[:SHOWN]
        )  # fmt: skip
        columns = ("input", "label", "probability", "time", "note")
        blocks.append(Table(columns, table, f"Answers{order}", numeric=("probability", "time")))
        notes = []
        if len(self) > SHOWN:
            notes.append(f"The first {SHOWN} of {len(self)}; to_frame() has all.")
        if self.stopped:
            notes.append("Stopped on request; what was finished is kept.")
        blocks.append(Notes(tuple(notes)))
        return Card(
            f"results of {self.model}",
            tuple(blocks),
            line=f"{len(self.answered)} of {count(len(self), 'input')} answered in "
            f"{seconds(self.wall_s)}",
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Outputs(Displayable):
    """The raw outputs of a model whose task is not known here, or that was fed ready arrays.

    Attributes
    ----------
    arrays : output name → array (or what the engine gives for sequences and maps)
    timings : seconds of ``inference``, and ``load`` when the model was cold
    """

    arrays: dict[str, Any]
    timings: Stages
    model: str
    session: SessionFacts

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]

    def to_frame(self) -> pd.DataFrame:
        """Return a row an output: ``output``, ``dtype``, ``shape``, ``min``, ``max``."""
        import pandas as pd

        return pd.DataFrame(
            [self._row(n, a) for n, a in self.arrays.items()],
            columns=["output", "dtype", "shape", "min", "max"],
        )

    @staticmethod
    def _row(name: str, value: Any) -> tuple[Any, ...]:
        if not hasattr(value, "dtype"):
            return name, type(value).__name__, f"{len(value)} items", None, None
        numeric = value.size > 0 and value.dtype.kind in "fiu"
        low, high = (value.min(), value.max()) if numeric else (None, None)
        return name, value.dtype.name, str(value.shape), low, high

    def _card(self) -> Card:
        rows = tuple(
            tuple("" if c is None else f"{c:.4g}" if hasattr(c, "dtype") else str(c) for c in row)
            for row in (self._row(n, a) for n, a in self.arrays.items())
        )
        table = Table(("output", "dtype", "shape", "min", "max"), rows, "Outputs")
        time = Stack(self.timings.shown(), f"Time: {seconds(self.timings.total_s)}")
        ran = Facts((("ran on", f"{self.session.provider_text}, {self.session.precision}"),))
        return Card(f"outputs of {self.model}", (table, time, ran))


def _beneath(result: Result) -> tuple[str, ...]:
    """Return what stands beneath a picture of many: label, share, time, and a doubt if any."""
    sure, took = share(result.probability), seconds(result.timings.total_s)
    return tuple(line for line in (_doubted(result), f"{sure}, {took}", result.verdict) if line)


def _doubted(result: Result) -> str:
    return f"{result.label}?" if result.flagged else result.label


def _light(kept: Kept | None) -> bool:
    """Say whether what is kept of a picture is small anyhow: nothing, or where its file is."""
    return kept is None or kept.stamp is not None


def _bare(kept: Kept | None) -> Kept | None:
    return None if kept is None else kept.bare()
