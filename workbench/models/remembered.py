"""Small things that the cache folder remembers: JSON behind its own sha256, whole or not at all.

What is damaged, torn or written by somebody else is as good as nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """Return what was written; None where there is nothing, or it is damaged."""
    try:
        digest, _, body = path.read_text("utf-8").partition("\n")
        return json.loads(body) if _digest(body) == digest else None
    except (OSError, ValueError, RecursionError):
        return None


def write(path: Path, told: Any) -> None:
    """Write something in one step, also beside other processes.

    Raises
    ------
    OSError : the folder will not take it; nothing is left behind
    ValueError, TypeError : it is no JSON
    """
    body = json.dumps(told)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as sink:
            sink.write(f"{_digest(body)}\n{body}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def place(folder: Path, subject: str) -> Path:
    """Return the file in a folder that remembers of a subject, such as a path."""
    name = hashlib.sha256(subject.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return folder / f"{name}.json"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()
