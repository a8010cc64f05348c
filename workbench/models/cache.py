"""Live sessions: the only place that owns them, opens them and closes them.

Least recently used first out, by count and, if set, by bytes. One load a key however many
threads ask (single flight); a failed load fails everyone who waited for it once, and the next
call tries again. A session in use is never closed: a lease holds it for the length of a run.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from workbench.cards import Card, Displayable, Facts
from workbench.errors import (
    CancelledError,
    ConfigError,
    InferenceTimeoutError,
    WorkbenchError,
)
from workbench.host import resident_bytes, return_memory
from workbench.models.ledger import Holder, Ledger
from workbench.stopping import deadline
from workbench.timing import clock
from workbench.units import seconds, size

if TYPE_CHECKING:
    from workbench.models.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class CacheInfo(Displayable):
    """How the hub's cache has done; the first three as in :func:`functools.lru_cache`.

    Attributes
    ----------
    hits, misses : uses that found a live session, and uses that had to open one
    evictions : sessions closed to make room
    live, max_models : sessions open now, and the limit
    bytes, max_bytes : size of their files, and the limit (None: no limit)
    """

    hits: int
    misses: int
    evictions: int
    live: int
    max_models: int
    bytes: int
    max_bytes: int | None

    def _card(self) -> Card:
        room = "no limit" if self.max_bytes is None else f"limit {size(self.max_bytes)}"
        rows = (
            ("hits", str(self.hits)),
            ("misses", str(self.misses)),
            ("evictions", str(self.evictions)),
            ("live", f"{self.live} of {self.max_models}"),
            ("bytes", f"{size(self.bytes)} ({room})"),
        )
        return Card("cache", (Facts(rows),))


@dataclass(frozen=True, slots=True, repr=False)
class Unloaded(Displayable):
    """What an unload did.

    Attributes
    ----------
    models : ids whose sessions were closed
    busy : ids whose sessions close when the runs under way are over
    freed_bytes : resident memory given back to the system; None where it cannot be read
    """

    models: tuple[str, ...]
    busy: tuple[str, ...] = ()
    freed_bytes: int | None = None

    def _card(self) -> Card:
        rows = [("closed", ", ".join(self.models) or "nothing")]
        if self.busy:
            rows.append(("closing after its runs", ", ".join(self.busy)))
        freed = "unknown" if self.freed_bytes is None else size(max(0, self.freed_bytes))
        rows.append(("memory given back", freed))
        return Card("unload", (Facts(tuple(rows)),))


@dataclass(eq=False, slots=True)
class Slot:
    """One session, or the load that will become one. ``holders`` are the threads that borrowed."""

    name: str
    session: Session | None = None
    error: WorkbenchError | None = None
    done: threading.Event = field(default_factory=threading.Event)
    leases: int = 0
    holders: list[int] = field(default_factory=list)
    doomed: bool = False

    @property
    def busy(self) -> bool:
        """Whether a run is under way, or a load that a run waits for."""
        return self.leases > 0 or self.session is None


class SessionCache:
    """Live sessions by key.

    Parameters
    ----------
    max_models : sessions to keep
    max_bytes : bytes of model files to keep; None for no such limit. One session is always kept
    ledger : where loads, evictions and unloads are noted; None for one of its own
    """

    def __init__(
        self, max_models: int, max_bytes: int | None, ledger: Ledger | None = None
    ) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.max_models = max_models
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._slots: OrderedDict[Hashable, Slot] = OrderedDict()
        self._closing: set[Slot] = set()
        self._owner: int | None = None
        self._hits = self._misses = self._evictions = 0

    def acquire(self, key: Hashable, name: str, open_: Callable[[], Session]) -> Slot:
        """Borrow a session until :meth:`release`; ``open_`` makes it where there is none.

        It is not closed meanwhile, and ``open_`` is called once for all threads that ask.
        """
        while True:
            with self._lock:
                while self._owner is not None and self._owner != threading.get_ident():
                    self._quiet.wait()
                slot = self._slots.get(key)
                if slot is not None and slot.session is not None:
                    slot.leases += 1
                    slot.holders.append(threading.get_ident())
                    self._hits += 1
                    self._slots.move_to_end(key)
                    return slot
                mine = slot is None
                if slot is None:
                    self._misses += 1
                    slot = self._slots[key] = Slot(name)
            if mine:
                return self._fill(key, slot, open_)
            slot.done.wait()
            if isinstance(slot.error, CancelledError):
                continue  # someone else gave it up, and this thread did not
            if slot.error is not None:
                raise slot.error.fresh()

    def _fill(self, key: Hashable, slot: Slot, open_: Callable[[], Session]) -> Slot:
        """Open the session of a slot that this thread has put up; everyone else waits for it."""
        before = resident_bytes()
        try:
            session = open_()
            note = "kept graph" if session.facts.kept else ""
            self.ledger.note("load", slot.name, before, note)
        except BaseException as error:
            stopped = WorkbenchError(f"Loading model {slot.name!r} was interrupted.", "Try again.")
            with self._lock:
                self._slots.pop(key, None)
                slot.error = error if isinstance(error, WorkbenchError) else stopped
                slot.done.set()
                self._quiet.notify_all()
            raise
        with self._lock:
            slot.session = session
            slot.leases += 1
            slot.holders.append(threading.get_ident())
            out = self._make_room()
            slot.done.set()
        self._close(out, "evict")
        return slot

    def release(self, slot: Slot) -> None:
        """Give a session back that was borrowed with :meth:`acquire`."""
        out: list[Slot] = []
        event = "evict"
        with self._lock:
            slot.leases -= 1
            try:
                slot.holders.remove(threading.get_ident())
            except ValueError:  # a lease may end in another thread than it began in
                del slot.holders[:1]
            if slot.leases == 0:
                if slot.doomed:
                    self._closing.discard(slot)
                    out.append(slot)
                    event = "unload"
                elif len(self._slots) > self.max_models or self.max_bytes is not None:
                    out += self._make_room()
                if self._owner is not None:
                    self._quiet.notify_all()
        if out:
            self._close(out, event)

    def _make_room(self) -> list[Slot]:
        """Take the least recently used sessions out until the limits hold; the lock is held."""
        live = {key: s for key, s in self._slots.items() if s.session is not None}
        number, total = len(live), sum(_bytes(s) for s in live.values())
        out: list[Slot] = []
        for key, slot in live.items():
            over = self.max_bytes is not None and total > self.max_bytes and number > 1
            if number <= self.max_models and not over:
                break
            if slot.leases == 0:
                del self._slots[key]
                number, total = number - 1, total - _bytes(slot)
                self._evictions += 1
                out.append(slot)
        return out

    def _close(self, slots: list[Slot], event: str) -> int | None:
        """Close sessions that nobody can reach any more; return the memory given back."""
        if not slots:
            return 0
        before = resident_bytes()
        for slot in slots:
            if slot.session is not None:
                slot.session.close()
                slot.session = None
                log.info("closed the session of %s", slot.name)
        return_memory()
        self.ledger.note(event, ", ".join(slot.name for slot in slots), before)
        after = resident_bytes()
        return None if before is None or after is None else before - after

    def unload(self, wanted: Callable[[Hashable], bool]) -> Unloaded:
        """Close the sessions whose key is wanted; one in use when its last run is over."""
        out: list[Slot] = []
        busy: list[str] = []
        with self._lock:
            for key, slot in list(self._slots.items()):
                if slot.session is None or not wanted(key):
                    continue
                del self._slots[key]
                if slot.leases:
                    slot.doomed = True
                    self._closing.add(slot)
                    busy.append(slot.name)
                else:
                    out.append(slot)
        names = tuple(slot.name for slot in out)
        return Unloaded(names, tuple(busy), self._close(out, "unload"))

    @contextmanager
    def exclusive(self, timeout_s: float | None) -> Iterator[None]:
        """Hold all leases of other threads back; see :meth:`ModelHub.exclusive`."""
        me = threading.get_ident()
        end_s = deadline(timeout_s)
        with self._lock:
            if self._owner == me:
                raise ConfigError("hub.exclusive()", "a second time", "one block at a time")
            for slot in (*self._slots.values(), *self._closing):
                if me in slot.holders:  # it would wait for itself
                    raise ConfigError(
                        "lease", f"{slot.name} in this thread",
                        "none in the thread that wants the hub for itself",
                        "Leave the block of model.lease() (or end what yields results) first.",
                    )  # fmt: skip
            while self._owner is not None:
                self._wait(end_s, timeout_s)
            self._owner = me  # nobody new comes in while the others finish
            try:
                while any(s.busy for s in (*self._slots.values(), *self._closing)):
                    self._wait(end_s, timeout_s)
            except BaseException:
                self._owner = None
                self._quiet.notify_all()
                raise
        try:
            yield
        finally:
            with self._lock:
                self._owner = None
                self._quiet.notify_all()

    def _wait(self, end_s: float, timeout_s: float | None) -> None:
        left_s = end_s - clock()
        if left_s <= 0:
            raise self._late(timeout_s or 0.0)
        self._quiet.wait(None if left_s == inf else min(left_s, threading.TIMEOUT_MAX))

    def _late(self, limit_s: float) -> InferenceTimeoutError:
        """Say in the error what was waited for: nothing was stopped, and no model is at fault."""
        busy = [s.name for s in (*self._slots.values(), *self._closing) if s.busy]
        what = f"Runs of {', '.join(busy)}" if busy else "Another measurement"
        error = InferenceTimeoutError("hub.exclusive()", limit_s)
        error.message = f"{what} did not end within {seconds(limit_s)}."
        error.hint = "Wait until what uses the hub is over, or raise timeout_s=."
        error.args = (error.message,)
        return error

    def state(self, key: Hashable) -> str:
        """Return ``live``, ``loading`` or ``cold``."""
        slot = self._slots.get(key)
        if slot is None:
            return "cold"
        return "loading" if slot.session is None else "live"

    def holders(self) -> tuple[Holder, ...]:
        """Return who holds memory now, least recently used first; those that close included."""
        with self._lock:
            slots = [(s, s.session) for s in (*self._closing, *self._slots.values())]
            return tuple(
                Holder(
                    model=slot.name,
                    file_bytes=session.size_bytes,
                    grown_bytes=session.facts.memory_bytes,
                    runs=session.runs,
                    busy=slot.leases > 0,
                )
                for slot, session in slots
                if session is not None
            )

    def live(self) -> dict[Hashable, Session]:
        """Return the sessions that are open now, least recently used first."""
        with self._lock:
            return {k: s.session for k, s in self._slots.items() if s.session is not None}

    def info(self) -> CacheInfo:
        """Return hits, misses, evictions, and what is live."""
        with self._lock:
            live = [s for s in self._slots.values() if s.session is not None]
            return CacheInfo(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                live=len(live),
                max_models=self.max_models,
                bytes=sum(_bytes(s) for s in live),
                max_bytes=self.max_bytes,
            )


def _bytes(slot: Slot) -> int:
    return 0 if slot.session is None else slot.session.size_bytes
