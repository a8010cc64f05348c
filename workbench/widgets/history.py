"""What was answered in one sitting: every run, as values, tables and files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cards import Bar, Bars, Card, Notes, Table
from workbench.errors import BadRequestError, ConfigError, choices
from workbench.inference.results import Failure, Result, Results
from workbench.page import rendered
from workbench.spreadsheet import csv_text
from workbench.units import count, seconds, share
from workbench.widgets.disk import safe_name, write
from workbench.widgets.sheet import Sheet

if TYPE_CHECKING:
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.widgets.trial import Photo

#: Runs that the table of times shows; the frame has all.
SHOWN = 20
#: Orders in which all answers can be looked at.
ORDERS: dict[str, Callable[[Results], Results]] = {
    "as they came": lambda results: results,
    "least sure first": Results.least_sure_first,
    "slowest first": Results.slowest_first,
}


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One answer of a sitting, and all that is needed to get it again."""

    photo: Photo
    model: str
    top_k: int
    pipeline: Pipeline | None
    outcome: Result | Failure


class History(list[Run]):
    """The runs of a sitting, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        #: files that were written, and of what
        self._written: dict[Path, object] = {}

    @property
    def results(self) -> list[Result | Failure]:
        """All answers, oldest first."""
        return [run.outcome for run in self]

    @property
    def last(self) -> Result | None:
        """The last answer that was given; None before the first."""
        given = (r.outcome for r in reversed(self) if isinstance(r.outcome, Result))
        return next(given, None)

    def together(self, order: str = "as they came") -> Results:
        """Return all answers as one value with a grid and a frame, in one of :data:`ORDERS`."""
        if order not in ORDERS:
            raise ConfigError("order", order, choices(ORDERS))
        spent = sum(r.timings.total_s for r in self.results if isinstance(r, Result))
        names = ", ".join(dict.fromkeys(run.model for run in self)) or "this sitting"
        return ORDERS[order](Results(self.results, model=names, wall_s=spent))

    def times(self) -> Sheet:
        """Return the times of the sitting."""
        recent = list(enumerate(self, 1))[-SHOWN:]
        rows, bars = [], []
        done = [r.outcome.timings.total_s for _, r in recent if isinstance(r.outcome, Result)]
        longest = max(done, default=0.0)
        for number, run in recent:
            what = run.outcome
            head = (str(number), run.photo.name, run.model)
            if isinstance(what, Failure):
                rows.append((*head, what.code, "–", "–", "–"))
                continue
            total_s = what.timings.total_s
            label = f"{what.label}?" if what.flagged else what.label
            rows.append((*head, label, share(what.probability),
                         seconds(what.timings["inference"]), seconds(total_s)))  # fmt: skip
            bars.append(Bar(f"{number} {run.model}", total_s / (longest or 1), seconds(total_s)))
        columns = ("run", "input", "model", "label", "probability", "inference", "in all")
        numeric = ("probability", "inference", "in all")
        left_out = len(self) - len(recent)
        notes = (f"The last {len(recent)} of {len(self)}; to_frame() has all.",) if left_out else ()
        table = Table(columns, tuple(rows), "Runs", numeric)
        drawn = (Bars(tuple(bars), "Time in all"),) if bars else ()
        blocks = (table, *drawn, Notes(notes))
        return Sheet(Card(f"times of this sitting: {count(len(self), 'run')}", blocks))

    def keep(self, folder: Path) -> tuple[Path, int]:
        """Write the last answer that was given as a page; return its path and the answer's place.

        Raises
        ------
        BadRequestError : there is none
        WriteError : the page cannot be written
        """
        last = self.last
        if last is None:
            raise BadRequestError("The result", None, "one: classify a picture first")
        place = self.results.index(last)
        name = safe_name(f"{last.source}.html", f"{place + 1:03d}")
        page = rendered([last], f"{last.source} by {last.model}")
        return write(self._place(folder / name, last), page.encode()), place

    def export(self, folder: Path) -> tuple[Path, Path]:
        """Write all answers as a CSV file and as a page; return their paths.

        Raises
        ------
        BadRequestError : there is none
        WriteError : a file cannot be written
        """
        if not self:
            raise BadRequestError("The results", None, "at least one: classify a picture first")
        frame = self.together().to_frame()
        rows = frame.itertuples(index=False, name=None)
        text = csv_text(list(frame.columns), rows)
        table = write(self._place(folder / "results.csv", self), text.encode())
        everything = [self.together(), *self.results]
        page = rendered(everything, "Results of this sitting")
        return table, write(self._place(folder / "results.html", self), page.encode())

    def _place(self, path: Path, content: object) -> Path:
        """Return where a file goes: what others have written is never replaced.

        The same content, written again, goes where it was.
        """
        number, place = 1, path
        while place.exists() and self._written.get(place) is not content:
            number += 1
            place = path.with_stem(f"{path.stem}-{number}")
        self._written[place] = content
        return place
