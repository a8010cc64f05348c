"""Optimised graphs on disk, so that a model is opened without optimising it again.

An entry is the graph as the engine left it, and beside it a description: the whole key it was
made for, its sha256, and the state of its file when that was last checked. It is used only for
exactly that key: the model's bytes, the engine's build, the providers and their options, the
processor with its instructions. The description is written last and names its graph by content,
so an entry is whole or absent, whoever writes at the same time. Whatever does not hold is thrown
away and made again.

A mapped graph keeps its weights in a file beside it, arranged as the engine's kernels want them.
The engine maps that file instead of reading it: a load takes as long as parsing the nodes, and
processes that have the same model share its weights. Two worker processes that ran a ResNet-18
of 47 MB grew by 36 MB each (PSS; 12 MB of their own), in place of 200 for a plain load; on the same
busy machine the engine opened it in 11 ms in place of 476 (onnxruntime 1.32, 2 processors). The
file is never written to again: whoever maps it would die of that (SIGBUS).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import settings
from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.host import host
from workbench.models import remembered
from workbench.models.engine import engine
from workbench.models.provider import CPU, Wanted
from workbench.units import count, size

if TYPE_CHECKING:
    import pandas as pd

    from workbench.models.graph import GraphFacts

log = logging.getLogger(__name__)

#: Raised when the form of an entry, or what is done to a graph, changes.
_EDITION = 1
#: A part that a killed process left is cleared away once it is older than this, in seconds.
_STALE_S = 3600.0
#: Names of what is put here: nothing else in the folder is ever read or removed.
_OURS = re.compile(r"^[0-9a-f]{32}(\.json|\.[0-9a-f]{16}\.onnx|\.\w+\.(part|data))$")


@dataclass(frozen=True, slots=True)
class Key:
    """What an optimised graph holds for: the text is kept in the entry, the name is its hash."""

    text: str
    name: str

    @classmethod
    def of(cls, sha256: str, providers: tuple[Wanted, ...], level: str) -> Key:
        """Return the key of a model file's bytes, opened in one way on this machine."""
        text = json.dumps(
            {
                "edition": _EDITION,
                "model": sha256,
                "onnxruntime": list(_build()),
                "providers": [[w.name, *map(list, w.options)] for w in providers],
                "processor": [host().system.partition(",")[0], host().processor, *host().flags],
                "level": level,
            },
            sort_keys=True,
        )
        return cls(text, hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32])


@cache
def _build() -> tuple[str, str]:
    """Return the engine's version and its build (two builds of one version differ in kernels)."""
    return engine().__version__, getattr(engine(), "get_build_info", str)()


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class KeptGraphs(Displayable):
    """What lies in the folder of optimised graphs.

    Attributes
    ----------
    folder : where they lie
    entries : a pair an entry, last used first: model's sha256, bytes
    limit_bytes : where the least recently used are let go
    enabled : whether loads use it
    """

    folder: Path
    entries: tuple[tuple[str, int], ...]
    limit_bytes: int
    enabled: bool

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries."""
        return sum(n for _, n in self.entries)

    def to_frame(self) -> pd.DataFrame:
        """Return a row an entry, last used first: ``sha256`` of the model, ``size_bytes``."""
        import pandas as pd

        return pd.DataFrame(self.entries, columns=["sha256", "size_bytes"])

    def _card(self) -> Card:
        rows = tuple((sha[:16], size(n)) for sha, n in self.entries)
        said = f"{count(len(rows), 'graph')}, {size(self.size_bytes)} of {size(self.limit_bytes)}"
        facts = (
            ("folder", str(self.folder)),
            ("holds", said),
            ("used by loads", "yes" if self.enabled else "no (WORKBENCH_GRAPH_CACHE is off)"),
        )
        note = "workbench cache --clear empties it; what is needed is made again."
        table = Table(("model (sha256)", "size"), rows, "Last used first", numeric=("size",))
        blocks = (Facts(facts), *((table,) if rows else ()), Notes((note,)))
        return Card("optimised graphs", blocks, line=said)


class GraphCache:
    """Optimised graphs in a folder.

    Parameters
    ----------
    folder : where; it need not exist, nor be writable
    limit_bytes : of all entries; the least recently used go first
    mapped : keep weights in a file of their own, which is mapped and so shared by processes
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        limit_bytes: int | None = None,
        mapped: bool = False,
    ) -> None:
        given = settings.settings()
        self.mapped = mapped
        self.folder = settings.cache_folder() / "optimised" if folder is None else folder
        self.limit_bytes = given.max_graph_cache_bytes if limit_bytes is None else limit_bytes

    def key(self, facts: GraphFacts, providers: tuple[Wanted, ...], level: str) -> Key | None:
        """Return the key of a model, or None for one whose graph is not kept.

        Not kept is what another provider than the engine's own CPU runs (it compiles the graph,
        or lays it out for a device), and a model whose weights lie in other files (the engine
        would write a graph that refers to them from the wrong folder).
        """
        alone = [w.name for w in providers] == [CPU]
        if not alone or facts.external_files or not facts.sha256 or self.limit_bytes == 0:
            return None
        return Key.of(facts.sha256, providers, f"{level}, mapped" if self.mapped else level)

    def find(self, key: Key) -> Path | None:
        """Return the file of the graph kept for a key, checked; None where there is none."""
        described = self.folder / f"{key.name}.json"
        told = _described(described)
        if told is None:
            if described.exists():
                self.discard(key, "its description is damaged")
            return None
        graph = self.folder / str(told["graph"])
        if told["key"] != key.text or not all(_OURS.match(name) for name in _names(told)):
            self.discard(key, "it was made for something else")
            return None
        try:
            now = dict(told)
            for name, file, sha256 in _FILES[: len(_names(told))]:
                path = self.folder / str(told[name])
                seen = now[file] = _identity(path)
                if seen == told[file]:
                    continue  # else touched, copied or damaged since it was checked
                if seen[0] != told[file][0] or _sha256(path) != told[sha256]:
                    self.discard(key, "it is not what was written")
                    return None
            if now != told:
                with suppress(OSError):
                    remembered.write(described, now)
        except OSError as error:
            self.discard(key, f"it cannot be read: {error}")
            return None
        with suppress(OSError):
            os.utime(described)  # used just now
        return graph

    def part(self, key: Key) -> Path | None:
        """Make an empty file that the engine can write to; None where the folder takes none."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=f"{key.name}.", suffix=".part")
            os.close(handle)
        except OSError as error:
            log.debug("optimised graphs are not kept: %s", error)
            return None
        return Path(name)

    def keep(self, key: Key, part: Path) -> bool:
        """Take a graph that the engine has written into the cache; return whether it is there."""
        data = data_of(part)
        try:
            written = [path for path in (part, data) if path == part or path.exists()]
            for path in written:
                with path.open("rb+") as handle:
                    os.fsync(handle.fileno())
            if not 0 < sum(path.stat().st_size for path in written) <= self.limit_bytes:
                return False
            digest = _sha256(part)
            graph = self.folder / f"{key.name}.{digest[:16]}.onnx"
            part.replace(graph)
            told = {
                "key": key.text,
                "graph": graph.name,
                "sha256": digest,
                "file": _identity(graph),
                "model": json.loads(key.text)["model"],
            }
            if data in written:  # under the name by which the graph knows it
                told |= {"data": data.name, "data_file": _identity(data)}
                told |= {"data_sha256": _sha256(data)}
            data = part  # it is in place
            remembered.write(self.folder / f"{key.name}.json", told)
            self._make_room()
        except OSError as error:
            log.debug("an optimised graph is not kept: %s", error)
            return False
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
                data.unlink(missing_ok=True)
        return True

    def drop(self, part: Path) -> None:
        """Remove what the engine has written, or has begun to."""
        for path in (part, data_of(part)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def discard(self, key: Key, why: str) -> None:
        """Throw an entry away, with a line in the log."""
        log.info("the optimised graph %s is thrown away: %s", key.name, why)
        for path in self._files():
            if path.name.startswith(f"{key.name}.") and path.suffix != ".part":
                with suppress(OSError):
                    path.unlink()

    def clear(self) -> int:
        """Remove all entries; return the bytes that were freed."""
        freed = 0
        for path in self._files():
            with suppress(OSError):
                n = path.stat().st_size
                path.unlink()
                freed += n
        return freed

    def look(self) -> KeptGraphs:
        """Return what is kept, last used first."""
        entries = tuple((told["model"], n) for _, _, told, n in self._entries()[::-1])
        return KeptGraphs(
            folder=self.folder,
            entries=entries,
            limit_bytes=self.limit_bytes,
            enabled=settings.settings().graph_cache,
        )

    def _files(self) -> Iterator[Path]:
        with suppress(OSError):
            yield from (p for p in sorted(self.folder.iterdir()) if _OURS.match(p.name))

    def _entries(self) -> list[tuple[float, Path, dict[str, Any], int]]:
        """List the entries, least recently used first: used at, description, told, bytes."""
        found = []
        for path in self._files():
            if path.suffix == ".json" and (told := _described(path)):
                with suppress(OSError):
                    parts = (path, *(self.folder / name for name in _names(told)))
                    n = sum(part.stat().st_size for part in parts)
                    found.append((path.stat().st_mtime, path, told, n))
        return sorted(found, key=lambda entry: (entry[0], entry[1].name))

    def _make_room(self) -> None:
        """Remove the least recently used, and what no description names, until the limit holds."""
        entries = self._entries()
        total = sum(n for *_, n in entries)
        for _, described, told, n in entries:
            if total <= self.limit_bytes:
                break
            described.unlink(missing_ok=True)
            for name in _names(told):
                (self.folder / name).unlink(missing_ok=True)
            total -= n
        named = {name for _, _, told, _ in entries for name in _names(told)}
        for path in self._files():
            with suppress(OSError):
                old = time.time() - path.stat().st_mtime > _STALE_S  # else its writer may be at it
                if old and path.suffix != ".json" and path.name not in named:
                    path.unlink()


#: In a description: the name of a file, its state when it was last checked, and its sha256.
_FILES = (("graph", "file", "sha256"), ("data", "data_file", "data_sha256"))


def _names(told: dict[str, Any]) -> tuple[str, ...]:
    """Return the files of an entry: the graph, and its weights where they are apart."""
    return tuple(str(told[name]) for name, _, _ in _FILES if name in told)


def data_of(part: Path) -> Path:
    """Return where the engine writes the weights of a mapped graph, beside the graph itself."""
    return part.with_suffix(".data")


def _identity(path: Path) -> list[int]:
    """Return what tells a file from any other state of it."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _described(path: Path) -> dict[str, Any] | None:
    """Read a description; None where there is none, or it is damaged."""
    fields: dict[str, Callable[[object], bool]] = {
        "key": lambda v: isinstance(v, str),
        "graph": lambda v: isinstance(v, str),
        "sha256": lambda v: isinstance(v, str),
        "model": lambda v: isinstance(v, str),
        "file": lambda v: isinstance(v, list) and len(v) == 4,
    }
    told = remembered.read(path)
    if not isinstance(told, dict):
        return None
    if "data" in told:
        fields |= {"data": fields["graph"], "data_file": fields["file"]}
        fields |= {"data_sha256": fields["graph"]}
    return told if all(check(told.get(f)) for f, check in fields.items()) else None
