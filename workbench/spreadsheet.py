"""What goes into the project's CSV files: cells that no spreadsheet takes for formulas.

Names of files and labels come from strangers, and a spreadsheet runs a cell that begins with an
equals sign.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from math import isnan

from workbench.cards import plain

#: A cell that begins like this is a formula to a spreadsheet (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula; numbers stay numbers.

    >>> safe_cell("=1+1"), safe_cell("cat"), safe_cell(-1.5)
    ("'=1+1", 'cat', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if value.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def as_written(cell: str) -> str:
    """Undo :func:`safe_cell`.

    >>> as_written("'=1+1"), as_written("'tis")
    ('=1+1', "'tis")
    """
    text = cell[1:]
    return text if cell.startswith("'") and safe_cell(text) == cell else cell


def _unknown(value: object) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV, its texts safe for spreadsheets; None and nan are empty.

    >>> csv_text(["source", "share"], [["=x", 0.5], ["y", float("nan")]])
    "source,share\\n'=x,0.5\\ny,\\n"
    """
    sink = StringIO()
    table = csv.writer(sink, lineterminator="\n")
    table.writerow([safe_cell(name) for name in columns])
    for row in rows:
        table.writerow(["" if _unknown(value) else safe_cell(value) for value in row])
    return sink.getvalue()
