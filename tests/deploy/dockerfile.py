"""The Dockerfile and .dockerignore, read."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def steps(text: str) -> list[tuple[str, str]]:
    """Return instruction and argument of each step, continued lines joined."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", plain)
    return [(name.upper(), rest.strip()) for name, _, rest in
            (line.partition(" ") for line in joined.splitlines() if line.strip())]  # fmt: skip


STEPS = steps((ROOT / "Dockerfile").read_text("utf-8"))


def of(name: str) -> list[str]:
    """Return the arguments of all steps of a name."""
    return [argument for step, argument in STEPS if step == name]


def listed(name: str) -> list[str]:
    """Return the JSON list of the only step of a name."""
    (argument,) = of(name)
    found = json.loads(argument)
    assert isinstance(found, list)
    return found


def variables() -> dict[str, str]:
    """Return what ENV sets."""
    return dict(pair.split("=", 1) for line in of("ENV") for pair in shlex.split(line))


def copied() -> list[str]:
    """Return what is copied from the checkout."""
    taken = [shlex.split(line) for line in of("COPY") if not line.startswith("--from")]
    return [source for parts in taken for source in parts[:-1]]


def ignored(path: str) -> bool:
    """Say whether .dockerignore keeps a file (relative to the root) out: the last word counts."""
    out = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        taken_back = pattern.startswith("!")
        pattern = re.escape(pattern.lstrip("!"))
        pattern = pattern.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.match(rf"{pattern}(?:/|$)", path):
            out = not taken_back
    return out


def context() -> set[str]:
    """Return the files that the steps of the Dockerfile find."""
    files: set[str] = set()
    for source in copied():
        place = ROOT / source
        inside = place.rglob("*") if place.is_dir() else [place]
        files |= {f.relative_to(ROOT).as_posix() for f in inside if f.is_file()}
    return {file for file in files if not ignored(file)}
