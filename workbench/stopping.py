"""Stopping work: a deadline and a cancel flag that everything long accepts, and the watchdog.

The watchdog is one persistent thread for the whole process. It owns the deadlines of runs that
are under way and, through :func:`signal.set_wakeup_fd`, the keyboard interrupt: Python's own
handler cannot act while the main thread is inside native code, the watchdog can. Registering a
run costs a few microseconds: no thread is started, and none is woken unless its deadline is
earlier than the one the watchdog already sleeps towards.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from math import inf

from workbench.cards import Card, Displayable, Facts
from workbench.errors import CancelledError, ConfigError, InferenceTimeoutError
from workbench.timing import clock
from workbench.units import seconds


def deadline(timeout_s: float | None) -> float:
    """Return when a limit of so many seconds is over, on the clock; ``inf`` for None.

    Raises
    ------
    ConfigError : it is no limit
    """
    if timeout_s is None:
        return inf
    try:
        if timeout_s > 0:
            return clock() + timeout_s
    except (TypeError, OverflowError):
        pass
    raise ConfigError("timeout_s", timeout_s, "a positive number of seconds, or None")


class Stop(Displayable):
    """A deadline and a cancel flag.

    Parameters
    ----------
    timeout_s : seconds from now; None for no deadline

    Examples
    --------
    >>> stop = Stop()
    >>> stop.check("copying"); stop.cancel(); stop.cancelled
    True
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self.timeout_s = timeout_s
        self.deadline_s = deadline(timeout_s)
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether someone asked to stop."""
        return self._event.is_set()

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return clock() >= self.deadline_s

    @property
    def over(self) -> bool:
        """Whether it is time to stop: cancelled, or expired."""
        return self.cancelled or self.expired

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline (``inf`` without one), never negative."""
        return max(0.0, self.deadline_s - clock())

    def cancel(self) -> None:
        """Ask to stop; what runs under :meth:`acting` is told at once."""
        with self._lock:
            actions = () if self._event.is_set() else tuple(self._actions)
            self._event.set()
        for action in actions:
            action()

    def check(self, what: str = "The work") -> None:
        """Raise if it is time to stop.

        Raises
        ------
        CancelledError : someone asked to stop
        InferenceTimeoutError : the deadline has passed
        """
        if self._event.is_set():
            raise CancelledError(what)
        if clock() >= self.deadline_s:
            raise InferenceTimeoutError("", self.timeout_s or 0.0, what=what)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until cancelled or for ``timeout_s``; return whether it was cancelled."""
        return self._event.wait(min(timeout_s, self.remaining_s, threading.TIMEOUT_MAX))

    def _card(self) -> Card:
        limit = "none" if self.timeout_s is None else seconds(self.timeout_s)
        state = "cancelled" if self.cancelled else "expired" if self.expired else "not over"
        return Card("stop", (Facts((("limit", limit), ("state", state))),))

    @contextlib.contextmanager
    def acting(self, action: Callable[[], None]) -> Iterator[None]:
        """Call ``action`` (once, from the thread that cancels) if cancelled meanwhile."""
        with self._lock:
            already = self._event.is_set()
            self._actions.append(action)
        try:
            if already:
                action()
            yield
        finally:
            with self._lock:
                self._actions.remove(action)


class Guard:
    """One run that the watchdog looks after; one that never fired may serve another run.

    Parameters
    ----------
    act : ends the run; may be called from the watchdog's thread
    """

    __slots__ = ("__weakref__", "act", "before_fd", "deadline_s", "fired", "in_main", "ref")

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.ref = weakref.ref(self)
        self.deadline_s = inf
        self.in_main = False
        #: why it was stopped: "" (it was not), "timeout" or "interrupt"
        self.fired = ""
        #: what was told of signals before this run, to be told of them after it
        self.before_fd = -1


#: Longest sleep of the watchdog: what the platform takes for a time has an end.
_LONGEST_S = 3600.0
_POKE = b"\0"
_log = logging.getLogger(__name__)


class Watchdog:
    """One thread that ends runs at their deadline or at the keyboard interrupt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: runs under way, by identity; weak, since an interrupt may come before the end of one
        #: is told
        self._refs: dict[int, weakref.ref[Guard]] = {}
        self._main = threading.main_thread().ident
        self._wake_at_s = -inf  # the thread does not run yet, so nobody needs to poke it
        self._ear, self._mouth = socket.socketpair()
        for end in (self._ear, self._mouth):
            end.setblocking(False)
        self._mouth_fd = self._mouth.fileno()
        self._forward_fd = -1
        self._thread: threading.Thread | None = None

    def begin(self, guard: Guard, deadline_s: float) -> Guard:
        """Look after a run until :meth:`end`; called by the thread that runs it."""
        guard.deadline_s = deadline_s
        guard.in_main = in_main = threading.get_ident() == self._main
        if self._thread is None:
            self._start()
        with self._lock:
            self._refs[id(guard)] = guard.ref
            poke = deadline_s < self._wake_at_s
        if in_main:
            guard.before_fd = signal.set_wakeup_fd(self._mouth_fd, warn_on_full_buffer=False)
            if guard.before_fd != self._mouth_fd:  # else a run within a run
                self._forward_fd = guard.before_fd
        if poke:
            with contextlib.suppress(BlockingIOError):
                self._mouth.send(_POKE)
        return guard

    def end(self, guard: Guard) -> None:
        """Stop looking after a run; ``guard.fired`` tells whether it was ended."""
        if guard.in_main:
            signal.set_wakeup_fd(guard.before_fd, warn_on_full_buffer=False)
        with self._lock:
            self._refs.pop(id(guard), None)

    def guards(self) -> list[Guard]:
        """Return the runs under way."""
        return [guard for ref in tuple(self._refs.values()) if (guard := ref()) is not None]

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._wake_at_s = inf
                self._thread = threading.Thread(
                    target=self._watch, name="workbench-watchdog", daemon=True
                )
                self._thread.start()

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._wake_at_s = min((g.deadline_s for g in self.guards()), default=inf)
                wake_at_s = self._wake_at_s
            pause = None if wake_at_s == inf else min(max(0.0, wake_at_s - clock()), _LONGEST_S)
            self._ear.settimeout(pause)  # select() would take no descriptor above 1023
            try:
                heard = self._ear.recv(4096)
            except (TimeoutError, BlockingIOError):
                heard = b""
            signals = heard.replace(_POKE, b"")
            if signals and self._forward_fd >= 0:  # an event loop also waits for these
                with contextlib.suppress(OSError):
                    os.write(self._forward_fd, signals)
            self._fire(interrupted=signal.SIGINT in signals)

    def _fire(self, *, interrupted: bool) -> None:
        now = clock()
        with self._lock:
            for guard in self.guards():
                why = "interrupt" if interrupted and guard.in_main else ""
                why = why or ("timeout" if guard.deadline_s <= now else "")
                if why:
                    guard.fired = why
                    guard.deadline_s = inf
                    try:
                        guard.act()
                    except Exception:  # noqa: BLE001  (the other runs still need their watchdog)
                        _log.exception("Ending a run at its %s failed.", why)

    def _renew(self) -> None:
        """Begin anew in a forked child: threads do not survive a fork, and its runs are not ours.

        In place, so that whoever holds the watchdog holds the new one.
        """
        if any(guard.in_main for guard in self.guards()):
            signal.set_wakeup_fd(-1)
        self.__init__()  # type: ignore[misc]


#: The process's watchdog.
watchdog = Watchdog()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=watchdog._renew)
