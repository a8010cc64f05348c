"""One process at a time: a file that only one can create, which also holds where locks do nothing.

What a killed process has left is taken away: at once where it is known to be dead, else after a
while.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.models.part import alive, not_writable
from workbench.timing import clock

#: Who has given no sign of life for so long, in seconds, is dead; a process that is known to live
#: may only be slow, and is waited for longer (its number may be another's by now).
HELD_S, SLOW_S = 10.0, 60.0


@contextmanager
def alone(mark: Path) -> Iterator[Callable[[], None]]:
    """Hold other processes back for the length of a block; gives what says "still at it".

    Raises
    ------
    WriteError : the folder will not take the mark
    """
    owner = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    end_s, seen = clock() + SLOW_S, ""
    while True:
        try:
            handle = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _clear(mark)
            if (holder := _holder(mark)) not in ("", seen):  # it goes from hand to hand: in turn
                end_s, seen = clock() + SLOW_S, holder
            if clock() >= end_s:
                break  # rather two writers, one of whom may be forgotten, than none
            time.sleep(0.01)
            continue
        except OSError as error:
            raise not_writable(mark.parent, error) from error
        try:
            with os.fdopen(handle, "w") as sink:
                sink.write(owner)
        except OSError as error:  # the disk is full: the mark would hold everybody back
            with suppress(OSError):
                mark.unlink()
            raise not_writable(mark.parent, error) from error
        break

    def still() -> None:
        with suppress(OSError):
            os.utime(mark)

    try:
        yield still
    finally:
        with suppress(OSError, UnicodeDecodeError):
            if mark.read_text() == owner:
                mark.unlink()


def _clear(mark: Path) -> None:
    """Take away the mark of a dead one: by renaming it, so that only one does."""
    with suppress(OSError, UnicodeDecodeError):
        told = mark.read_text()
        if not _dead(mark, told):
            return
        aside = mark.with_name(f"{mark.name}.{secrets.token_hex(8)}")
        mark.rename(aside)
        if aside.read_text() != told or not _dead(aside, told):
            os.link(aside, mark)  # another was quicker, and this one is new: put it back
        aside.unlink()


def _holder(mark: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return mark.read_text()
    return ""


def _dead(mark: Path, told: str) -> bool:
    silent_s = time.time() - mark.stat().st_mtime
    host, _, rest = told.partition(" ")
    pid = rest.partition(" ")[0]
    if host == socket.gethostname() and pid.isdecimal():
        return silent_s > SLOW_S or not alive(int(pid))
    return silent_s > HELD_S
