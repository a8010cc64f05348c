"""Files that a widget writes: whole or not at all, with names that are safe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from workbench.errors import WriteError
from workbench.models import lock
from workbench.page import put


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, making its folder.

    Raises
    ------
    WriteError : it cannot be written, and why
    """
    _make_folder(path)
    try:
        put(path, content)
    except OSError as error:
        raise WriteError(str(path), error.strerror or str(error)) from error
    return path


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold other processes back while a file is read, changed and written; make its folder.

    Raises
    ------
    WriteError : its folder will not take it, and why
    """
    _make_folder(path)
    with lock.alone(path):
        yield


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:  # the name of a folder is a file's
        raise WriteError(str(path), "its folder is a file") from error
    except OSError as error:
        raise WriteError(str(path), error.strerror or str(error)) from error


def safe_name(name: str, mark: str = "") -> str:
    """Return a file name made of what every system takes, with ``mark`` before its ending.

    >>> safe_name("<img src=x>.jpg"), safe_name("katze 猫.png", "1a2b")
    ('img-src-x.jpg', 'katze-1a2b.png')
    """
    pure = PurePath(name)
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", pure.stem).strip("-")[:60] or "picture"
    ending = re.sub(r"[^A-Za-z0-9]", "", pure.suffix)[:8].lower()
    return "-".join(filter(None, (stem, mark))) + (f".{ending}" if ending else "")
