"""The memory of the process, looked at before and after what a hub does, and who holds it.

Loads, warm-ups, evictions and unloads are all noted. Runs are too many for that: a session's
runs 1, 2, 4, 8, … are, and every 1024th, which costs the others nothing that can be measured.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.host import resident_bytes
from workbench.timing import clock
from workbench.units import count, seconds, size

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Entries kept; the oldest go first.
_KEPT = 4096
#: Entries on a card, the last ones.
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that a hub did, and the memory of the process around it.

    Attributes
    ----------
    at_s : seconds since the hub was made, when it was over
    event : "load", "warm-up", "run", "evict" or "unload"
    model : id; several where they were closed together, separated by commas
    before_bytes, after_bytes : resident memory of the process; None where it cannot be read
    note : "run 8"
    """

    at_s: float
    event: str
    model: str
    before_bytes: int | None
    after_bytes: int | None
    note: str = ""

    @property
    def change_bytes(self) -> int | None:
        """What the process grew by (negative: gave back); None where unknown."""
        if self.before_bytes is None or self.after_bytes is None:
            return None
        return self.after_bytes - self.before_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A live session and what it holds.

    Attributes
    ----------
    model : id
    file_bytes : of the model's file: its weights are held at least once
    grown_bytes : what the process grew by when it was opened; None where it took memory that
        was free already
    runs : runs so far
    busy : whether a run is under way
    """

    model: str
    file_bytes: int
    grown_bytes: int | None
    runs: int
    busy: bool

    @property
    def held_bytes(self) -> int:
        """The better estimate of what it holds: what was seen, else its file's size."""
        return self.file_bytes if self.grown_bytes is None else self.grown_bytes


class Ledger:
    """Where a hub notes what it does; safe to use from any thread."""

    def __init__(self) -> None:
        self._began_s = clock()
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._noted = 0
        self._lock = threading.Lock()

    def note(self, event: str, model: str, before_bytes: int | None, note: str = "") -> None:
        """Note something that is just over; the memory is looked at now."""
        entry = Entry(
            at_s=clock() - self._began_s,
            event=event,
            model=model,
            before_bytes=before_bytes,
            after_bytes=resident_bytes(),
            note=note,
        )
        with self._lock:
            self._entries.append(entry)
            self._noted += 1

    @contextmanager
    def noting(self, event: str, model: str) -> Iterator[None]:
        """Note what happens in a ``with`` block, unless it fails."""
        before = resident_bytes()
        yield
        self.note(event, model, before)

    def look(self, holders: tuple[Holder, ...]) -> MemoryLedger:
        """Return what was noted so far."""
        with self._lock:
            entries, noted = tuple(self._entries), self._noted
        return MemoryLedger(
            entries=entries,
            holders=holders,
            now_bytes=resident_bytes(),
            forgotten=noted - len(entries),
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MemoryLedger(Displayable):
    """The memory around what a hub did, and who holds it now.

    Attributes
    ----------
    entries : what was done, oldest first
    holders : live sessions, least recently used first
    now_bytes : resident memory of the process when this was taken; None where unknown
    forgotten : older entries that are no longer kept
    """

    entries: tuple[Entry, ...]
    holders: tuple[Holder, ...]
    now_bytes: int | None
    forgotten: int = 0

    @property
    def held_bytes(self) -> int:
        """What the live sessions hold, an estimate."""
        return sum(h.held_bytes for h in self.holders)

    @property
    def rest_bytes(self) -> int | None:
        """What is not held by live sessions: Python, libraries, arrays, free memory kept."""
        return None if self.now_bytes is None else max(0, self.now_bytes - self.held_bytes)

    def to_frame(self) -> pd.DataFrame:
        """Return a row an event, with ``before_bytes``, ``after_bytes`` and ``change_bytes``."""
        import pandas as pd

        columns = ["at_s", "event", "model", "before_bytes", "after_bytes", "change_bytes", "note"]
        rows = [[getattr(e, c) for c in columns] for e in self.entries]
        frame = pd.DataFrame(rows, columns=columns)
        whole = [c for c in columns if c.endswith("_bytes")]
        return frame.astype(dict.fromkeys(whole, "Int64"))

    def holders_frame(self) -> pd.DataFrame:
        """Return a row a live session (``held_bytes``, ``runs``, …), and one of the rest."""
        import pandas as pd

        rows = [(h.model, h.held_bytes, h.file_bytes, h.grown_bytes, h.runs, h.busy)
                for h in self.holders]  # fmt: skip
        columns = ["holder", "held_bytes", "file_bytes", "grown_bytes", "runs", "busy"]
        frame = pd.DataFrame([*rows, ("the rest", self.rest_bytes, None, None, None, None)],
                             columns=columns)  # fmt: skip
        whole = {c: "Int64" for c in columns if c.endswith("_bytes") or c == "runs"}
        return frame.astype({**whole, "busy": "boolean"})

    def plot(self) -> Figure:
        """Draw the process's memory over the events, with loads and closings marked."""
        from workbench import drawing

        known = [e for e in self.entries if e.after_bytes is not None]
        return drawing.memory(
            [float(e.after_bytes or 0) for e in known],
            [e.event for e in known],
            title="Memory of the process",
        )

    def _card(self) -> Card:
        def told(value: int | None) -> str:
            return "unknown" if value is None else size(value)

        facts = (
            ("process", told(self.now_bytes)),
            ("live sessions", f"about {size(self.held_bytes)} in {len(self.holders)}"),
            ("the rest", f"{told(self.rest_bytes)} (Python, libraries, arrays, free memory)"),
        )
        holders = tuple(
            (h.model, size(h.held_bytes), size(h.file_bytes), f"{h.runs:,}",
             "yes" if h.busy else "no")
            for h in self.holders
        )  # fmt: skip
        rows = tuple(
            (seconds(e.at_s), e.event, e.model, told(e.before_bytes), told(e.after_bytes),
             _change(e.change_bytes), e.note)
            for e in self.entries[-_SHOWN:]
        )  # fmt: skip
        who = Table(("model", "holds", "file", "runs", "running"), holders, "Who holds memory",
                    numeric=("holds", "file", "runs"))  # fmt: skip
        many = count(len(self.entries), "event")
        part = f"The last {len(rows)} of {many}" if len(rows) < len(self.entries) else "Events"
        what = Table(("at", "what", "model", "before", "after", "change", "note"), rows,
                     part, numeric=("at", "before", "after", "change"))  # fmt: skip
        estimate = (
            "What a session holds is an estimate: what the process grew by when it was opened, "
            "or its file's size where it grew by less."
        )
        notes = [estimate]
        if any(e.event == "run" for e in self.entries):
            notes.append(
                "Of a session's runs the 1st, 2nd, 4th, 8th, … and every 1,024th are here."
            )
        if self.forgotten:
            notes.append(f"{self.forgotten:,} older events are no longer kept.")
        blocks = (Facts(facts), *((who,) if holders else ()), *((what,) if rows else ()),
                  Notes(tuple(notes)))  # fmt: skip
        held = f"{told(self.now_bytes)} in the process, about {size(self.held_bytes)} held by "
        return Card("memory", blocks, line=held + count(len(holders), "live session"))


def _change(value: int | None) -> str:
    if value is None:
        return "unknown"
    if value == 0:
        return "none"
    return f"{'+' if value > 0 else '−'}{size(abs(value))}"
