"""What several models say about the same pictures, side by side.

Labels are compared by their words (case, hyphens and underscores aside), which says most where
the models know the same classes; where they do not, the displays say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import isnan, nan
from typing import TYPE_CHECKING, Any, overload

from workbench.cards import (
    Bar,
    BarGrid,
    Block,
    Card,
    Displayable,
    Facts,
    Notes,
    Picture,
    Pictures,
    Table,
)
from workbench.errors import ConfigError, choices
from workbench.inference.recipe import in_short
from workbench.inference.results import SHOWN, Answers, Failure, Result, Results
from workbench.units import count, seconds, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Labels shown side by side; :meth:`Opinions.to_frame` has all that were given.
_LABELS_SHOWN = 10
#: Marks of an answer among others, in words: colour alone says nothing to some.
AGREES, DIFFERS, NO_ANSWER, ALONE = "= agrees", "≠ differs", "no answer", ""
_FIRST = "→"
_OTHER_CLASSES = (
    "These models do not all know the same classes, or do not say which: labels are compared by "
    "their words, and a difference may be one of names."
)


def key_of(label: str) -> str:
    """Return what two spellings of one label have in common.

    >>> key_of("Traffic_light") == key_of("traffic light")
    True
    """
    return " ".join(label.replace("_", " ").replace("-", " ").casefold().split())


def agreement_of(labels: Sequence[str]) -> float:
    """Return the share of pairs that say the same (0–1); nan below two labels.

    >>> agreement_of(["cat", "cat", "dog"]), agreement_of(["cat"])
    (0.3333333333333333, nan)
    """
    pairs = [key_of(a) == key_of(b) for a, b in combinations(labels, 2)]
    return sum(pairs) / len(pairs) if pairs else nan


def majority_of(labels: Sequence[str]) -> str | None:
    """Return the label that more say than any other, as first spelt; None where none is.

    >>> majority_of(["cat", "Cat", "dog"]), majority_of(["cat", "dog"]), majority_of(["cat"])
    ('cat', None, 'cat')
    """
    counts = Counter(map(key_of, labels)).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return next(label for label in labels if key_of(label) == counts[0][0])


def same_classes(labels: Iterable[Sequence[str] | None]) -> bool:
    """Say whether models know the same classes, by their labels; None: one does not say which.

    >>> same_classes([["cat", "dog"], ["Dog", "cat"]]), same_classes([["cat"], None])
    (True, False)
    """
    known = {None if names is None else tuple(sorted(map(key_of, names))) for names in labels}
    return len(known) < 2 and None not in known


class Opinions(Answers):
    """What several models say about one input, in the order in which they were asked.

    An answer is found by its number or by its model's name.

    Attributes
    ----------
    models : a name a model: its id, numbered where two handles have the same
    source : name of the input, for people
    wall_s : seconds from the first to the last answer
    same_classes : whether all models that could be looked at know the same classes
    """

    def __init__(
        self,
        items: Sequence[Result | Failure],
        *,
        models: Sequence[str],
        wall_s: float,
        same_classes: bool = True,
    ) -> None:
        self._items = tuple(items)
        self.models = tuple(models)
        self.source = self._items[0].source if self._items else ""
        self.wall_s = wall_s
        self.same_classes = same_classes

    @overload
    def __getitem__(self, key: int | str) -> Result | Failure: ...
    @overload
    def __getitem__(self, key: slice) -> Opinions: ...
    def __getitem__(self, key: int | str | slice) -> Result | Failure | Opinions:
        """Return the answer of a model, by number or name; of a slice, these models alone."""
        if isinstance(key, slice):
            return Opinions(
                self._items[key],
                models=self.models[key],
                wall_s=self.wall_s,
                same_classes=self.same_classes,
            )
        return self._items[_position(self.models, key) if isinstance(key, str) else key]

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The label of each model; None where it gave no answer."""
        return tuple(i.label if isinstance(i, Result) else None for i in self._items)

    @property
    def _said(self) -> list[str]:
        return [r.label for r in self.answered]

    @property
    def agree(self) -> bool:
        """Whether at least two models answered, and all of them with the same label."""
        return self.agreement == 1

    @property
    def agreement(self) -> float:
        """The share of pairs of models with the same label (0–1); nan below two answers."""
        return agreement_of(self._said)

    @property
    def majority(self) -> str | None:
        """The label that more models gave than any other; None where no label leads."""
        return majority_of(self._said)

    @property
    def marks(self) -> tuple[str, ...]:
        """For each model, whether it agrees with the majority, differs, or gave no answer."""
        majority, alone = self.majority, len(self.answered) < 2
        return tuple(
            NO_ANSWER
            if label is None
            else ALONE
            if alone
            else AGREES
            if majority is not None and key_of(label) == key_of(majority)
            else DIFFERS
            for label in self.labels
        )

    def picture(self) -> NDArray[Any] | None:
        """Return the input small, (h, w, 3) uint8 RGB; None where it cannot be had any more."""
        return next((p for r in self.answered if (p := r.picture()) is not None), None)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a model: its answer, the mark, and its times in ms."""
        frame = Results(self._items, model="", wall_s=self.wall_s).to_frame()
        frame["model"] = self.models
        frame.insert(3, "mark", self.marks)  # beside the label
        return frame

    def probabilities_frame(self) -> pd.DataFrame:
        """Return a row a label, a column a model: probabilities, nan where none is known."""
        import pandas as pd

        labels = self._labels(None)
        columns = [[_probability(item, label) for label in labels] for item in self._items]
        frame = pd.DataFrame(dict(enumerate(columns)), index=pd.Index(labels, name="label"))
        frame.columns = pd.Index(self.models, name="model")
        return frame

    def plot(self) -> Figure:
        """Draw the picture beside a panel a model, with the same labels in all of them."""
        from workbench import drawing

        labels = self._labels(_LABELS_SHOWN)
        asked = list(zip(self.models, self._items, self.marks, strict=True))
        return drawing.bars_side_by_side(
            labels,
            {name: [_probability(item, label) for label in labels] for name, item, _ in asked},
            marks=dict(zip(self.models, self.marks, strict=True)),
            title=f"{self.source}: {self._verdict()}",
            picture=self.picture(),
        )

    def _labels(self, most: int | None) -> list[str]:
        """Return the labels in any model's top, the largest sum of probabilities first."""
        spelt: dict[str, str] = {}
        for result in self.answered:
            for prediction in result.top:
                spelt.setdefault(key_of(prediction.label), prediction.label)

        def weight(label: str) -> float:
            values = (_probability(r, label) for r in self.answered)
            return -sum(v for v in values if not isnan(v))

        return sorted(spelt.values(), key=weight)[:most]

    def _verdict(self) -> str:
        """Say in one line who agrees, and whether they believe it themselves."""
        said, doubt = self._said, self._doubt()
        if len(said) < 2:
            return f"{len(said)} of {count(len(self), 'model')} answered{doubt}"
        everyone = "both models" if len(said) == 2 else f"all {len(said)} models"
        if self.agree and all(r.flagged for r in self.answered):
            return f"none of their classes? (nearest for {everyone}: {said[0]})"
        if self.agree:
            return f"{said[0]}, say {everyone}{doubt}"
        counts = Counter(map(key_of, said))
        spelt = {key_of(label): label for label in reversed(said)}
        told = ", ".join(f"{spelt[k]} {n}" for k, n in counts.most_common())
        return f"models differ: {told}{doubt}"

    def _doubt(self) -> str:
        """Say how many answers come with a note that it may be none of the classes."""
        told = Counter(r.verdict for r in self.answered if r.verdict)
        among = f" of {len(self.answered)}" if len(self.answered) > 1 else ""
        return "".join(f"; {n}{among}: {verdict}" for verdict, n in sorted(told.items())[::-1])

    def _card(self) -> Card:
        blocks: list[Block] = []
        picture = self.picture()
        if picture is not None:
            blocks.append(Pictures((Picture(picture, f"the input {self.source}"),)))
        answers = list(zip(self.models, self._items, strict=True))
        doubts = [(name, r) for name, r in answers if isinstance(r, Result) and r.verdict]
        for urgent in (True, False):
            lines = (f"{name}: {' '.join(r.notes())}" for name, r in doubts if r.flagged is urgent)
            blocks.append(Notes(tuple(lines), urgent=urgent))
        asked = zip(self.models, self._items, self.marks, strict=True)
        rows = tuple(_row(name, item, mark) for name, item, mark in asked)
        columns = ("model", "answer", "probability", "compared", "time", "ran on", "note")
        blocks.append(Table(columns, rows, "Answers", numeric=("probability", "time")))
        labels = self._labels(_LABELS_SHOWN)
        if labels:
            grid = tuple((label, tuple(_bar(item, label) for item in self._items))
                         for label in labels)  # fmt: skip
            blocks.append(
                BarGrid(self.models, grid, f"Probabilities side by side ({_FIRST} its answer)")
            )
        notes = [f"{name}: {item.error}" for name, item in zip(self.models, self, strict=True)
                 if isinstance(item, Failure)]  # fmt: skip
        notes += [
            f"{name}, not with its own preprocessing: {in_short(item.preprocessing)}."
            for name, item in zip(self.models, self, strict=True)
            if isinstance(item, Result) and item.preprocessing is not None
        ]
        if not self.same_classes:
            notes.append(_OTHER_CLASSES)
        blocks.append(Notes(tuple(notes)))
        return Card(
            f"{self.source}: {self._verdict()}",
            tuple(blocks),
            line=f"{len(self.answered)} of {count(len(self), 'model')} answered, "
            f"{share(self.agreement)} of pairs agree, in {seconds(self.wall_s)}",
        )


class OpinionGrid(Sequence[Opinions], Displayable):
    """What several models say about many inputs: a row an input, a column a model.

    A number gives a row (:class:`Opinions`), a model's name its column (:class:`Results`).

    Attributes
    ----------
    models : a name a model: its id, numbered where two handles have the same
    wall_s : seconds from the first input to the last answer
    stopped : whether someone stopped it early; the rows that were finished are here
    same_classes : whether all models that could be looked at know the same classes
    """

    def __init__(
        self,
        columns: Sequence[Results],
        *,
        models: Sequence[str],
        wall_s: float,
        stopped: bool = False,
        same_classes: bool = True,
    ) -> None:
        self._columns = tuple(columns)
        self.models = tuple(models)
        self.wall_s = wall_s
        self.stopped = stopped
        self.same_classes = same_classes

    @overload
    def __getitem__(self, key: int) -> Opinions: ...
    @overload
    def __getitem__(self, key: str) -> Results: ...
    @overload
    def __getitem__(self, key: slice) -> OpinionGrid: ...
    def __getitem__(self, key: int | str | slice) -> Opinions | Results | OpinionGrid:
        """Return a row by number, a column by its model's name, or some of the rows."""
        if isinstance(key, str):
            return self._columns[_position(self.models, key)]
        if isinstance(key, slice):
            return self._rows(range(len(self))[key])
        items = [column[key] for column in self._columns]
        return Opinions(
            items,
            models=self.models,
            wall_s=sum(i.timings.total_s for i in items if isinstance(i, Result)),
            same_classes=self.same_classes,
        )

    def __len__(self) -> int:
        return len(self._columns[0]) if self._columns else 0

    def __iter__(self) -> Iterator[Opinions]:
        return (self[i] for i in range(len(self)))

    __repr__ = Displayable.__repr__

    def _rows(self, positions: Sequence[int]) -> OpinionGrid:
        columns = [
            Results([c[i] for i in positions], model=c.model, wall_s=c.wall_s, stopped=c.stopped)
            for c in self._columns
        ]
        return OpinionGrid(
            columns,
            models=self.models,
            wall_s=self.wall_s,
            stopped=self.stopped,
            same_classes=self.same_classes,
        )

    @property
    def agreement(self) -> float:
        """The share of inputs whose models all agree (0–1), of those with two answers or more."""
        told = [row.agree for row in self if len(row.answered) > 1]
        return sum(told) / len(told) if told else nan

    def disagreements(self) -> OpinionGrid:
        """Return the rows whose answers are not all the same, the least agreed on first."""
        open_ = {i: row.agreement for i, row in enumerate(self) if row.agreement < 1}
        return self._rows(sorted(open_, key=lambda i: open_[i]))

    def to_frame(self) -> pd.DataFrame:
        """Return a row an input: source, a label a model, majority, agreement (0–1), agree.

        ``agreement`` is the share of pairs of models with the same label. A column's
        probabilities, notes, errors and times are in ``grid[model].to_frame()``.
        """
        import pandas as pd

        rows = [(row.source, *row.labels, row.majority, row.agreement, row.agree) for row in self]
        columns = ["source", *self.models, "majority", "agreement", "agree"]
        return pd.DataFrame(rows, columns=columns)

    def agreement_frame(self) -> pd.DataFrame:
        """Return the share of inputs on which two models agree (0–1), for each two of them."""
        import pandas as pd

        labels = [row.labels for row in self]
        n = len(self.models)
        shares = [[_same(labels, i, j) for j in range(n)] for i in range(n)]
        names = pd.Index(self.models, name="model")
        return pd.DataFrame(shares, index=names, columns=names, dtype=float)

    def plot(self) -> Figure:
        """Draw the first pictures with what each model says; those that differ are marked."""
        from workbench import drawing

        strip = []
        for row in self[:SHOWN]:
            picture = row.picture()
            if picture is not None:
                said = zip(self.models, row, row.marks, strict=True)
                strip.append((row.source, picture, [_said(*one, most=50) for one in said]))
        return drawing.picture_strip(strip, title=f"What {count(len(self.models), 'model')} say")

    def _card(self) -> Card:
        split = [row for row in self if row.agreement < 1]
        several = sum(len(row.answered) > 1 for row in self)
        rows = [
            ("models", ", ".join(self.models)),
            ("all agree on", f"{share(self.agreement)} of {count(several, 'input')}"),
            ("wall time", seconds(self.wall_s)),
        ]
        noted = sum(any(r.verdict for r in row.answered) for row in self)
        if noted:
            told = f"{noted} of {count(len(self), 'input')}, by at least one model"
            rows.append(("noted as none of the classes", told))
        for name, column in zip(self.models, self._columns, strict=True):
            if column.failures:
                codes = Counter(f.code for f in column.failures)
                told = ", ".join(f"{c} {n}" for c, n in codes.most_common())
                rows.append((f"no answer from {name}", told))
        blocks: list[Block] = [Facts(tuple(rows))]
        pictures = [
            Picture(p, f"the input {row.source}", tuple(
                _said(*one) for one in zip(self.models, row, row.marks, strict=True)))
            for row in split[: SHOWN // 2]
            if (p := row.picture()) is not None
        ]  # fmt: skip
        if pictures:
            blocks.append(Pictures(tuple(pictures), "Where they differ"))
        table = tuple(
            (row.source, *map(_cell, row, row.marks), share(row.agreement)) for row in self[:SHOWN]
        )
        columns = ("input", *self.models, "agreement")
        caption = "A row an input, a column a model (= as most say, ≠ otherwise)"
        blocks.append(Table(columns, table, caption, numeric=("agreement",)))
        if 1 < len(self.models) <= 12:
            blocks.append(self._pairs())
        notes = []
        if len(self) > SHOWN:
            notes.append(f"The first {SHOWN} of {len(self)}; to_frame() has all.")
        if not self.same_classes:
            notes.append(_OTHER_CLASSES)
        if self.stopped:
            notes.append("Stopped on request; the rows that were finished are kept.")
        blocks.append(Notes(tuple(notes)))
        return Card(
            f"opinions of {count(len(self.models), 'model')}",
            tuple(blocks),
            line=f"{count(len(self), 'input')}, all agree on {share(self.agreement)}, "
            f"in {seconds(self.wall_s)}",
        )

    def _pairs(self) -> Table:
        labels = [row.labels for row in self]
        n = len(self.models)
        rows = tuple(
            (name, *("–" if i == j else share(_same(labels, i, j)) for j in range(n)))
            for i, name in enumerate(self.models)
        )
        columns = ("same label", *self.models)
        return Table(columns, rows, "How often two models agree", numeric=self.models)


def _position(models: Sequence[str], name: str) -> int:
    if name not in models:
        raise ConfigError("model", name, choices(models))
    return models.index(name)


def _probability(item: Result | Failure, label: str) -> float:
    """Return what a model gives a label; nan where it does not know it, or did not tell."""
    if isinstance(item, Failure):
        return nan
    wanted = key_of(label)
    for prediction in item.top:
        if key_of(prediction.label) == wanted:
            return prediction.probability
    if item.probabilities is not None and item.classes:
        for name, value in zip(item.classes, item.probabilities, strict=True):
            if key_of(name) == wanted:
                return float(value)
    return nan


def _bar(item: Result | Failure, label: str) -> Bar | None:
    value = _probability(item, label)
    if isnan(value):
        return None
    first = isinstance(item, Result) and key_of(item.label) == key_of(label)
    return Bar(_FIRST if first else "", value, share(value))


def _row(name: str, item: Result | Failure, mark: str) -> tuple[str, ...]:
    if isinstance(item, Failure):
        return name, "–", "–", mark, "–", "–", item.code
    ran = item.session
    how = f"{ran.provider_text}, {ran.precision}, {count(ran.threads, 'thread')}"
    said, sure, took = _label(item), share(item.probability), seconds(item.timings.total_s)
    return name, said, sure, mark, took, how, item.verdict


def _label(result: Result) -> str:
    return f"{result.label}?" if result.flagged else result.label


def _cell(item: Result | Failure, mark: str) -> str:
    if isinstance(item, Failure):
        return f"no answer: {item.code}"
    return f"{mark[:1]} {_label(item)} {share(item.probability)}".lstrip()


def _said(name: str, item: Result | Failure, mark: str, most: int = 60) -> str:
    """Say who said what in at most so many letters, where the name alone can be cut to that."""
    said = _cell(item, mark) if isinstance(item, Result) else NO_ANSWER
    room = max(4, most - len(said) - 2)
    return f"{name if len(name) <= room else name[: room - 1] + '…'}: {said}"


def _same(labels: Sequence[tuple[str | None, ...]], i: int, j: int) -> float:
    """Return on which share of inputs two models gave the same label, of those both answered."""
    both = [(a, b) for row in labels if (a := row[i]) is not None and (b := row[j]) is not None]
    return sum(key_of(a) == key_of(b) for a, b in both) / len(both) if both else nan
