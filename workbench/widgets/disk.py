"""Files that a widget writes: whole or not at all, with names that are safe."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from workbench.cards import plain
from workbench.errors import MissingFileError
from workbench.page import put

if TYPE_CHECKING:
    import pandas as pd

#: A cell that begins like this is a formula to a spreadsheet (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, making its folder.

    Raises
    ------
    MissingFileError : it cannot be written, and why
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingFileError(str(path), "file", f"cannot be written: {reason}") from error
    return path


def safe_name(name: str, mark: str = "") -> str:
    """Return a file name made of what every system takes, with ``mark`` before its ending.

    >>> safe_name("<img src=x>.jpg"), safe_name("katze 猫.png", "1a2b")
    ('img-src-x.jpg', 'katze-1a2b.png')
    """
    pure = PurePath(name)
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", pure.stem).strip("-")[:60] or "picture"
    ending = re.sub(r"[^A-Za-z0-9]", "", pure.suffix)[:8].lower()
    return "-".join(filter(None, (stem, mark))) + (f".{ending}" if ending else "")


def safe_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula; numbers stay numbers.

    >>> safe_cell("=1+1"), safe_cell("cat"), safe_cell(-1.5)
    ("'=1+1", 'cat', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if value.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def csv(frame: pd.DataFrame) -> bytes:
    """Return a frame as CSV in UTF-8, its texts safe for spreadsheets."""
    safe = frame.rename(columns=lambda name: safe_cell(str(name))).map(safe_cell)
    return safe.to_csv(index=False).encode()
