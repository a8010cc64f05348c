"""What a person thinks of results: kept, flagged, relabelled; on disk at every change.

Several galleries, in one process or in many, may write one file: each mark is put into what is
on disk at that moment, and what others have written stays. A mark belongs to a picture (by the
checksum of its bytes), a model and what that model said, wherever the answer stands in a list.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, MissingFileError, WriteError
from workbench.inference.results import Failure, Result
from workbench.spreadsheet import as_written, csv_text, safe_cell
from workbench.widgets.activity import Activity
from workbench.widgets.disk import alone, write

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
    sha256 : of the picture's bytes; empty where they cannot be had
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
    sha256: str = ""


_COLUMNS = tuple(Entry.__dataclass_fields__)
_MARKS = ("keep", "flag", "relabel")

#: What tells an answer from all others: facts of it, and how many like it come before.
Key = tuple[str, ...]


class Ledger(Activity):
    """The marks on a list of results, in a CSV file that is whole at any moment.

    Parameters
    ----------
    results : of one model or of several
    path : of the file; one that is there already is continued: rows of these results are read,
        rows of others stay as they are
    """

    def __init__(self, results: Iterable[Any], path: str | Path = "workbench_gallery.csv") -> None:
        super().__init__()
        self.results: tuple[Result | Failure, ...] = tuple(results)
        for item in self.results:
            if not isinstance(item, Result | Failure):
                raise ConfigError("results", item, "results, as runner.classify gives them")
        self.path = Path(path)
        self.entries = [_entry(number, item) for number, item in enumerate(self.results, 1)]
        cells = [{name: str(safe_cell(v)) for name, v in asdict(e).items()} for e in self.entries]
        self._keys, self._old_keys = _keys(cells), _keys(cells, old=True)
        self._take(_Sheet.read(self.path))

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
        """Mark a result (from 1), and write the file before returning.

        What others have marked in the same file since is read first, and stays.
        """

        def act() -> None:
            if not 1 <= number <= len(self.entries):
                raise ConfigError("number", number, f"1 to {len(self.entries)}")
            told = {"keep": keep, "flag": flag, "relabel": relabel and relabel.strip()}
            self._save(number, {name: value for name, value in told.items() if value is not None})

        self.attempt(act, f"result {number}")

    def refresh(self) -> None:
        """Take over what others have marked in the same file since."""
        self.attempt(lambda: self._take(_Sheet.read(self.path)), str(self.path), begins=False)

    def save(self) -> Path:
        """Write all entries, whole or not at all, into what is on disk by now."""
        return self._save(None, {})

    def _save(self, number: int | None, given: Mapping[str, Any]) -> Path:
        before = list(self.entries)
        try:
            with alone(self.path):
                sheet = _Sheet.read(self.path)
                self._take(sheet)
                if number is not None:
                    self.entries[number - 1] = replace(self.entries[number - 1], **given)
                for entry, key, old in zip(self.entries, self._keys, self._old_keys, strict=True):
                    sheet.put(entry, key, old)
                return write(self.path, sheet.text().encode())
        except (WriteError, MissingFileError, ConfigError):
            self.entries = before  # what is not on disk is not shown as done
            raise

    def to_frame(self) -> pd.DataFrame:
        """Return a row a result: number, source, model, label, …, keep, flag, relabel, sha256."""
        import pandas as pd

        return pd.DataFrame([asdict(entry) for entry in self.entries], columns=list(_COLUMNS))

    def _take(self, sheet: _Sheet) -> None:
        """Take over the marks that a file has of these results."""
        for place, entry in enumerate(self.entries):
            told = sheet.find(self._keys[place], self._old_keys[place])
            if told is not None:
                self.entries[place] = replace(
                    entry,
                    keep=told["keep"] == "True",
                    flag=told["flag"] == "True",
                    relabel=as_written(told["relabel"]),
                )


class _Sheet:
    """The rows of a gallery's file, in their order, by what they are about."""

    def __init__(self, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
        self.columns, self.rows = columns, rows
        self._place: dict[Key, int] = {}
        for old in (False, True):
            places = [n for n, row in enumerate(rows) if bool(row.get("sha256")) is not old]
            about = _keys([rows[n] for n in places], old=old)
            self._place |= dict(zip(about, places, strict=True))

    @classmethod
    def read(cls, path: Path) -> _Sheet:
        """Read a file; one that is not there has no rows.

        Raises
        ------
        MissingFileError : it cannot be read
        ConfigError : it is no gallery's
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                table = csv.DictReader(file, restkey="", restval="")
                rows = [{k: v for k, v in row.items() if k} for row in table]
                columns = tuple(name for name in table.fieldnames or () if name)
        except (FileNotFoundError, NotADirectoryError):
            return cls(_COLUMNS, [])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise MissingFileError(str(path), "file", f"cannot be read: {error}") from error
        if columns and not set(_COLUMNS) - {"sha256"} <= set(columns):
            expected = "a gallery's: it would be overwritten"
            raise ConfigError("path", str(path), expected, "Give another path.")
        return cls((*_COLUMNS, *(name for name in columns if name not in _COLUMNS)), rows)

    def find(self, key: Key, old: Key) -> dict[str, str] | None:
        """Return the row of an answer, or the row without a checksum that may be of it."""
        place = self._place.get(key, self._place.get(old))
        return None if place is None else self.rows[place]

    def put(self, entry: Entry, key: Key, old: Key) -> None:
        """Put an entry in the place of its row, or at the end; columns of others stay."""
        told = {name: str(safe_cell(value)) for name, value in asdict(entry).items()}
        if isnan(entry.probability):
            told["probability"] = ""
        place = self._place.get(key, self._place.get(old))
        if place is None:
            place = len(self.rows)
            self.rows.append({})
        self._place[key] = place
        self.rows[place] = {**self.rows[place], **told}

    def text(self) -> str:
        """Return the file's text."""
        rows = [[as_written(row.get(name, "")) for name in self.columns] for row in self.rows]
        return csv_text(self.columns, rows)


def _entry(number: int, item: Result | Failure) -> Entry:
    fine = isinstance(item, Result)
    return Entry(
        number=number,
        source=item.source,
        model=item.model,
        label=item.label if isinstance(item, Result) else "",
        probability=item.probability if isinstance(item, Result) else float("nan"),
        note=item.verdict if fine else item.code,  # type: ignore[union-attr]
        sha256=item.checksum,
    )


def _keys(rows: Iterable[Mapping[str, str]], *, old: bool = False) -> list[Key]:
    """Return what each row is about; of equal rows the first, the second, …

    ``old`` : without checksums, as in files of earlier versions: by place, name and answer
    """
    seen: Counter[Key] = Counter()
    keys = []
    for row in rows:
        facts = (row["model"], row["label"])
        known = row.get("sha256") and not old
        which = ("sum", row["sha256"]) if known else ("", row["number"], row["source"])
        key: Key = (*which, *facts)
        seen[key] += 1
        keys.append((*key, str(seen[key])))
    return keys
