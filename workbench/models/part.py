"""A file that is being written: hashed as it grows, resumed where it broke off, whole or not there.

Every pull writes in a folder of its own, ``.pull-…`` beside the target: two processes never share
a file, and no lock is needed. What a killed process has left is *copied* by the next one (its
owner may live on another machine), hashed again while it is copied, and cleared away once its
owner is known to be dead, or after a day.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from workbench.errors import CancelledError, DownloadError, WriteError

#: How much of a file's beginning is kept in memory, in bytes: enough to recognise it.
HEAD_BYTES = 512
#: A folder of a pull that nobody has written to for so long is nobody's, in seconds.
STALE_S = 86_400.0
_CHUNK = 1 << 20
_NAME = re.compile(r"\.pull-([0-9a-f]{12})-([0-9a-f]{8})-(\d+)-[0-9a-f]{16}")


def not_writable(path: Path | str, error: OSError) -> WriteError:
    """Word a full disk, a read-only folder and the like."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        reason = "no space left on the disk"
    elif error.errno == errno.EROFS:
        reason = "the file system is read-only"
    return WriteError(str(path), reason)


class Part:
    """Bytes that arrive for one file.

    Parameters
    ----------
    path : where they are written; a new file

    Attributes
    ----------
    size : bytes so far
    head : the first of them
    seeded : whether what others have left was taken up, and what is left may be
    lost : whether what is left is of no use: the place does not go on where it was
    resumed : whether some were not received in one go from one server
    origin, validator : which address they came from (a hash), and its strong ETag or date
    total : how many there will be, as the server said; None where it did not
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size, self.head, self.resumed, self.seeded, self.lost = 0, b"", False, False, False
        self.origin = self.validator = ""
        self.total: int | None = None
        self._hash = hashlib.sha256()
        try:
            self._sink: IO[bytes] = path.open("xb", buffering=0)
        except OSError as error:
            raise not_writable(path, error) from error

    @property
    def sha256(self) -> str:
        """Of the bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises
        ------
        WriteError : the disk is full, or will not take them
        """
        view = memoryview(chunk)
        try:
            while view:
                view = view[self._sink.write(view) :]
        except OSError as error:
            raise not_writable(self.path.parent.parent, error) from error
        self._hash.update(chunk)
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + chunk)[:HEAD_BYTES]
        self.size += len(chunk)

    def restart(self) -> None:
        """Begin again with nothing."""
        try:
            self._sink.seek(0)
            self._sink.truncate()
        except OSError as error:
            raise not_writable(self.path.parent.parent, error) from error
        self._hash = hashlib.sha256()
        self.size, self.head, self.resumed = 0, b"", False
        self.origin, self.validator, self.total = "", "", None

    def note(self, origin: str, validator: str) -> None:
        """Write down where the bytes that follow come from, for whoever resumes them."""
        if (origin, validator) == (self.origin, self.validator):
            return
        self.origin, self.validator = origin, validator
        with contextlib.suppress(OSError):
            told = json.dumps({"origin": origin, "validator": validator})
            self.path.with_name(f"{self.path.name}.json").write_text(told, "utf-8")

    def finish(self) -> None:
        """Make sure that the bytes are on the disk, and close the file."""
        try:
            os.fsync(self._sink.fileno())
            self._sink.close()
        except OSError as error:
            raise not_writable(self.path.parent.parent, error) from error

    def close(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(OSError):
            self._sink.close()


class Workshop:
    """The folder in which one pull is put together, beside where its files will lie.

    Parameters
    ----------
    shelf : folder of models; made where it is missing
    goal : what is pulled: what a killed pull of the same has left is taken up
    """

    def __init__(self, shelf: Path, goal: str) -> None:
        self.shelf = shelf
        self.goal = hashlib.sha256(goal.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
        name = f".pull-{self.goal}-{host}-{os.getpid()}-{secrets.token_hex(8)}"
        self.host, self.folder = host, shelf / name
        self.parts: list[Part] = []

    def __enter__(self) -> Workshop:
        try:
            self.shelf.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir()
        except OSError as error:
            raise not_writable(self.shelf, error) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        for part in self.parts:
            part.close()
        if isinstance(error, KeyboardInterrupt | CancelledError) or (
            isinstance(error, DownloadError) and error.resumes
        ):
            self._leave()
        shutil.rmtree(self.folder, ignore_errors=True)
        if error is None:
            sweep(self.shelf, self.host, self.goal)

    def _leave(self) -> None:
        """Leave what has come of the model to the next pull of the same, as that of a dead one."""
        parts = [p for p in self.parts if p.seeded and not p.lost and p.size and p.path.is_file()]
        left = self.folder.with_name(self.folder.name.replace(f"-{os.getpid()}-", "-0-"))
        with contextlib.suppress(OSError):
            if parts:
                left.mkdir()
                for name in (parts[-1].path.name, f"{parts[-1].path.name}.json"):
                    (self.folder / name).replace(left / name)

    def part(self, name: str, *, seeded: bool = False, tick: Callable[[], None]) -> Part:
        """Begin a file; ``seeded`` with what a killed pull of the same has left of it."""
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(self.shelf, error) from error
        part = Part(path)
        part.seeded = seeded
        self.parts.append(part)
        if seeded:
            self._seed(part, tick)
        return part

    def _seed(self, part: Part, tick: Callable[[], None]) -> None:
        """Copy the longest that others have left; their owner may still be writing to it."""
        name = part.path.relative_to(self.folder)
        found: list[tuple[int, Path]] = []
        for other in self._others():
            with contextlib.suppress(OSError):
                found.append(((other / name).stat().st_size, other / name))
        for size, path in sorted(found, reverse=True)[:1]:
            try:
                told = json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))
                origin, validator = str(told["origin"]), str(told["validator"])
                with path.open("rb") as source:
                    while part.size < size and (chunk := source.read(_CHUNK)):
                        tick()
                        part.write(chunk[: size - part.size])
            except (OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, WriteError):
                    raise
                part.restart()
                continue
            part.resumed = part.size > 0
            part.note(origin, validator)

    def _others(self) -> list[Path]:
        try:
            names = os.listdir(self.shelf)  # noqa: PTH208  (names alone are needed)
        except OSError:
            return []
        matches = (_NAME.fullmatch(n) for n in names if n != self.folder.name)
        return [self.shelf / m[0] for m in matches if m and m[1] == self.goal]


def sweep(shelf: Path, host: str, goal: str) -> None:
    """Remove what dead pulls of the same have left, and what anyone left more than a day ago."""
    try:
        names = os.listdir(shelf)  # noqa: PTH208  (names alone are needed)
    except OSError:
        return
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        folder = shelf / name
        try:
            age_s = time.time() - max(p.stat().st_mtime for p in (folder, *folder.iterdir()))
        except OSError:
            continue
        dead = match[1] == goal and match[2] == host and not alive(int(match[3]))
        if dead or age_s > STALE_S:
            shutil.rmtree(folder, ignore_errors=True)


def alive(pid: int) -> bool:
    """Say whether a process of this machine runs; when in doubt, it does. 0 was given up."""
    if pid == 0:
        return False
    if os.name != "posix":
        return True  # os.kill would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def settle(source: Path, target: Path) -> None:
    """Move a file into place, whole or not at all, so that it outlives a power cut.

    Raises
    ------
    WriteError : the folder will not take it
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)  # noqa: PTH105  (says the same as Path.replace)
        sync_folder(target.parent)
    except OSError as error:
        raise not_writable(target, error) from error


def sync_folder(folder: Path) -> None:
    """Make sure that a folder's entries are on the disk, where the system has such a thing."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
