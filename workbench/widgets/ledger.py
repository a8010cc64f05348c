"""What a person thinks of results: kept, flagged, relabelled; on disk at every change."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, MissingFileError, WriteError
from workbench.inference.results import Failure, Result
from workbench.spreadsheet import as_written, csv_text, safe_cell
from workbench.widgets.activity import Activity
from workbench.widgets.disk import write

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One result, and what a person thinks of it.

    Attributes
    ----------
    number : place among the results, from 1
    source, model, label, probability, note : of the result
    keep, flag : marks
    relabel : what it should have been called; empty for what it was called
    """

    number: int
    source: str
    model: str
    label: str
    probability: float
    note: str
    keep: bool = False
    flag: bool = False
    relabel: str = ""


_COLUMNS = tuple(Entry.__dataclass_fields__)


class Ledger(Activity):
    """The marks on a list of results, in a CSV file that is whole at any moment.

    Parameters
    ----------
    results : of one model or of several
    path : of the file; one that is there already, of the same results, is read and continued
    """

    def __init__(self, results: Iterable[Any], path: str | Path = "workbench_gallery.csv") -> None:
        super().__init__()
        self.results: tuple[Result | Failure, ...] = tuple(results)
        for item in self.results:
            if not isinstance(item, Result | Failure):
                raise ConfigError("results", item, "results, as runner.classify gives them")
        self.path = Path(path)
        before = self._read()
        self.entries = [self._entry(n, r, before) for n, r in enumerate(self.results, 1)]

    @staticmethod
    def _entry(number: int, item: Result | Failure, before: dict[Any, dict[str, str]]) -> Entry:
        fine = isinstance(item, Result)
        entry = Entry(
            number=number,
            source=item.source,
            model=item.model,
            label=item.label if isinstance(item, Result) else "",
            probability=item.probability if isinstance(item, Result) else float("nan"),
            note=item.verdict if fine else item.code,  # type: ignore[union-attr]
        )
        told = before.get((str(number), str(safe_cell(item.source)), str(safe_cell(item.model))))
        if told is None:
            return entry
        return replace(
            entry,
            keep=told.get("keep") == "True",
            flag=told.get("flag") == "True",
            relabel=as_written(told.get("relabel", "")),
        )

    def labels(self) -> tuple[str, ...]:
        """Return the names that come to mind: the classes of the results, and what was given."""
        names: dict[str, None] = {}
        for item in self.results:
            if isinstance(item, Result):
                names |= dict.fromkeys(item.classes or [p.label for p in item.top])
        return (*names, *sorted({e.relabel for e in self.entries} - {"", *names}))

    def mark(
        self,
        number: int,
        *,
        keep: bool | None = None,
        flag: bool | None = None,
        relabel: str | None = None,
    ) -> None:
        """Mark a result (from 1), and write the file before returning."""

        def act() -> None:
            if not 1 <= number <= len(self.entries):
                raise ConfigError("number", number, f"1 to {len(self.entries)}")
            told = {"keep": keep, "flag": flag, "relabel": relabel and relabel.strip()}
            given = {name: value for name, value in told.items() if value is not None}
            before = self.entries[number - 1]
            self.entries[number - 1] = replace(before, **given)  # type: ignore[arg-type]
            try:
                self.save()
            except WriteError:
                self.entries[number - 1] = before  # what is not on disk is not shown as done
                raise

        self.attempt(act, f"result {number}")

    def save(self) -> Path:
        """Write all entries, whole or not at all."""
        rows = (tuple(asdict(entry).values()) for entry in self.entries)
        return write(self.path, csv_text(_COLUMNS, rows).encode())

    def to_frame(self) -> pd.DataFrame:
        """Return a row a result: number, source, model, label, …, keep, flag, relabel."""
        import pandas as pd

        return pd.DataFrame([asdict(entry) for entry in self.entries], columns=list(_COLUMNS))

    def _read(self) -> dict[Any, dict[str, str]]:
        """Return the rows of an earlier file by number, source and model."""
        if not self.path.exists():
            return {}
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise MissingFileError(str(self.path), "file", f"cannot be read: {error}") from error
        if rows and not set(_COLUMNS) <= set(rows[0]):
            expected = "a gallery's: it would be overwritten"
            raise ConfigError("path", str(self.path), expected, "Give another path.")
        return {(r["number"], r["source"], r["model"]): r for r in rows}
