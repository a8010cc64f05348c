"""One worker process, as the runner's process sees it: given errands, held to limits, killed."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from math import inf
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import (
    CancelledError,
    EngineMemoryError,
    InferenceTimeoutError,
    LoadTimeoutError,
    WorkbenchError,
    WorkerCrashedError,
)
from workbench.inference.child import serve
from workbench.inference.errand import (
    HANDED,
    LOADING,
    PREPARING,
    READY,
    RUNNING,
    WARMING,
    Errand,
    Outfit,
    Reply,
    cannot_cross,
)
from workbench.inference.spawning import ending, start
from workbench.stopping import Guard, watchdog
from workbench.timing import clock
from workbench.units import size

if TYPE_CHECKING:
    from workbench.models.session import SessionFacts
    from workbench.stopping import Stop

#: Longest that a process may take to start, in seconds: an import from a slow disk.
START_S = 60.0
#: Longest that an input may take to be prepared, however short the limit of a run is, in seconds.
PREPARE_S = 30.0
#: How long a worker may be late with an answer of its own to a limit or a stop, in seconds,
#: before it is killed. Ending a run between two nodes takes 0.6–5 ms.
GRACE_S = 0.5
#: How often a worker at work is looked at, in seconds.
LOOK_S = 0.05
#: Longest that a worker that has nothing to do takes to accept an errand, in seconds.
ACCEPT_S = 5.0
#: An errand up to this size, in bytes, fits into what the system buffers: handing it over does
#: not wait (Linux: 212,992 bytes, ``net.core.wmem_default``).
AT_ONCE = 100_000
#: Longest wait for the exit status of a process that has hung up, in seconds.
_END_S = 5.0


class Process:
    """A worker process and the connections to it; one errand at a time.

    Attributes
    ----------
    live : models that it has opened, as far as answers tell, last used last: key → how to load it
    facts : of their sessions: key → what was told last
    leaving : models that it is to close when it is free: key → how
    in_hand : what it was given last and has not answered, if it died meanwhile
    errands : how many it was given
    began_s : when it was started, on the clock
    ready, dead : whether it is up, and whether it is known to have ended
    holder : the thread that has it; None while nobody has
    """

    def __init__(self, outfit: Outfit) -> None:
        self.limit_bytes = outfit.memory_bytes
        self._most_live = outfit.hub.max_models
        self.began_s = clock()
        self.live: dict[str, Errand] = {}
        self.facts: dict[str, SessionFacts] = {}
        self.leaving: dict[str, Errand] = {}
        self.in_hand: Errand | None = None
        self.errands = 0
        self.ready = False
        self.dead = False
        self.holder: int | None = None
        self._at_work = False
        self._about = (HANDED, self.began_s)
        mine, theirs = Pipe()
        my_control, their_control = Pipe()
        self._ear, self._mouth = Pipe(duplex=False)
        self._errands, self._control = mine, my_control
        try:
            self._process, self.ended = start(serve, outfit, theirs, their_control)
        except BaseException:
            self.hang_up()
            raise
        finally:
            theirs.close()
            their_control.close()

    @property
    def pid(self) -> int:
        """The process's number; 0 where it has none any more."""
        try:
            return self._process.pid or 0
        except ValueError:
            return 0

    @property
    def resident_bytes(self) -> int | None:
        """The memory that it holds now, in bytes; None where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError, AttributeError):
            return None

    def kill(self) -> None:
        """End the process at once, whatever it is about; pebble's thread reaps it."""
        self.dead = True
        with suppress(OSError, ValueError, AttributeError):
            self._process.kill()

    def join(self) -> None:
        """Wait until the process has ended and was reaped."""
        with suppress(Exception):
            self.ended.exception(_END_S)

    def forget(self) -> None:
        """Let go of what the system keeps of a process that was reaped."""
        with suppress(ValueError, OSError):
            self._process.close()

    def hang_up(self) -> None:
        """Close the connections to it; for whoever has it, and nobody else."""
        for end in (self._errands, self._control, self._ear, self._mouth):
            with suppress(OSError):
                end.close()

    # ── errands ───────────────────────────────────────────────────────────────────────────────

    def wait_ready(self, errand: Errand, stops: Sequence[Stop] = ()) -> None:
        """Wait until the process is up; raises what :meth:`do` raises."""
        if not self.ready:
            with self._watched(stops) as guard:
                self._wait_ready(guard, errand, stops)

    def do(self, errand: Errand, stops: Sequence[Stop] = ()) -> Reply:
        """Have an errand done, and return what became of it within a second after its limit.

        Raises
        ------
        WorkerCrashedError : the process died
        EngineMemoryError : it was killed since it held more than it may
        LoadTimeoutError, InferenceTimeoutError, CancelledError, KeyboardInterrupt : a limit, a
            stop or the interrupt; the process was killed where it did not end by itself
        """
        try:
            with self._watched(stops) as guard:
                self._wait_ready(guard, errand, stops)
                packed = _packed((self.errands + 1, errand), errand)
                self.in_hand, self._at_work = errand, True
                self.errands = number = self.errands + 1
                self._about = (HANDED, clock())
                self._send(packed, errand)
                reply = self._answer(errand, number, guard, stops)
        finally:
            if self._at_work:
                self.kill()
        if not isinstance(reply.value, WorkbenchError):
            if reply.facts is not None:
                self.facts[errand.model.key] = reply.facts
            self._note(errand)
        for warning in reply.warned:
            warnings.warn(warning, stacklevel=2)
        return reply

    def _note(self, errand: Errand) -> None:
        """Keep in mind what is live there: its hub lets the one go that was used least recently."""
        self.live.pop(errand.model.key, None)
        if errand.kind == "unload" or errand.model.key in self.leaving:
            return
        self.live[errand.model.key] = replace(errand, kind="load", content=None)
        while len(self.live) > self._most_live:
            del self.live[next(iter(self.live))]

    @contextmanager
    def _watched(self, stops: Sequence[Stop]) -> Iterator[Guard]:
        """Have the waiting woken by a stop, and by an interrupt that an event loop took."""
        guard = Guard(self._wake)
        watchdog.begin(guard, inf)
        try:
            with ExitStack() as stack:
                for stop in stops:
                    stack.enter_context(stop.acting(self._wake))
                yield guard
        finally:
            watchdog.end(guard)

    def _wake(self) -> None:
        with suppress(OSError):
            self._mouth.send_bytes(b"\0")

    def _wait_ready(self, guard: Guard, errand: Errand, stops: Sequence[Stop]) -> None:
        while not self.ready:
            left_s = self.began_s + START_S - clock()
            if left_s <= 0:
                self.kill()
                raise WorkerCrashedError(errand.name, f"it had not started after {START_S:g} s")
            self._listen(min([left_s, *(stop.remaining_s for stop in stops)]))
            if guard.fired == "interrupt":
                raise KeyboardInterrupt
            for stop in stops:
                stop.check(errand.what)
            if self._errands.poll():
                self.ready = self._receive(errand.name) == READY

    def _listen(self, pause_s: float) -> bool:
        """Sleep until something comes; return whether it is the worker's."""
        heard = wait([self._errands, self._ear], None if pause_s == inf else max(0.0, pause_s))
        if self._ear in heard:
            while self._ear.poll():
                self._ear.recv_bytes()
        return self._errands in heard

    def _send(self, packed: bytes, errand: Errand) -> None:
        try:
            if len(packed) <= AT_ONCE:
                self._errands.send_bytes(packed)
                return
            guard = watchdog.begin(Guard(self.kill), clock() + ACCEPT_S)
            try:
                self._errands.send_bytes(packed)
            finally:
                watchdog.end(guard)
        except OSError:
            raise self._crashed(errand.name) from None

    def _answer(self, errand: Errand, number: int, guard: Guard, stops: Sequence[Stop]) -> Reply:
        told_s = inf  # when it was told to stop
        interrupted = False
        while True:
            limit_s = self._limit(errand)
            look_s = clock() + LOOK_S  # at its memory, and at what it is about by then
            if told_s == inf:
                ends = [stop.deadline_s for stop in stops]
                wake_s = min([limit_s + GRACE_S, look_s, *ends])
            else:
                wake_s = min(told_s + GRACE_S, look_s)
            try:
                answered = self._listen(wake_s - clock())
            except KeyboardInterrupt:
                interrupted, answered = True, False
            interrupted = interrupted or guard.fired == "interrupt"
            if answered:
                reply: Reply = self._receive(errand.name)
                self._drain()
                self.in_hand, self._at_work = None, False
                if interrupted:
                    raise KeyboardInterrupt
                return reply
            now = clock()
            if told_s == inf and (interrupted or any(stop.over for stop in stops)):
                told_s = now  # at the end of its time a run ends by itself
                if interrupted or any(stop.cancelled for stop in stops):
                    with suppress(OSError):
                        self._control.send(number)
            elif told_s + GRACE_S <= now:
                self.kill()
                if interrupted:
                    raise KeyboardInterrupt
                raise _stopped(errand, stops)
            self._look(errand)
            if told_s == inf and self._limit(errand) + GRACE_S <= now:
                self.kill()
                raise self._late(errand)

    def _receive(self, name: str) -> Any:
        try:
            return pickle.loads(self._errands.recv_bytes())  # from our own process
        except (EOFError, OSError):
            raise self._crashed(name) from None
        except Exception as error:
            self.kill()
            raise WorkerCrashedError(name, f"its answer cannot be read: {error}") from error

    def _drain(self) -> None:
        """Read what the worker has said of itself."""
        with suppress(EOFError, OSError):
            while self._control.poll():
                self._about = self._control.recv()

    def _limit(self, errand: Errand) -> float:
        """Return when what the worker is about now must be over, on the clock."""
        self._drain()
        what, since_s = self._about
        if what in (HANDED, PREPARING):
            return since_s + max(PREPARE_S, errand.timeout_s)
        runs = errand.content if what == WARMING and isinstance(errand.content, int) else 1
        return since_s + errand.timeout_s * runs

    def _late(self, errand: Errand) -> WorkbenchError:
        what = self._about[0]
        if what == LOADING:
            return LoadTimeoutError(errand.name, errand.timeout_s)
        if what in (HANDED, PREPARING):
            doing = f"Preparing an input of model {errand.name!r}"
            return InferenceTimeoutError(errand.name, PREPARE_S, what=doing)
        return InferenceTimeoutError(errand.name, errand.timeout_s)

    def _look(self, errand: Errand) -> None:
        """Kill the worker if it holds more than it may."""
        limit, held = self.limit_bytes, None
        if limit is not None:
            held = self.resident_bytes
        if limit is None or held is None or held <= limit:
            return
        self.kill()
        doing = "loading" if self._about[0] == LOADING else "running"
        reason = (
            f"the worker process held {size(held)}, and may hold {size(limit)} "
            "(memory_bytes=, or WORKER_MEMORY_BYTES)"
        )
        raise EngineMemoryError(errand.name, doing, reason)

    def _crashed(self, name: str) -> WorkerCrashedError | NotBegunError:
        self.dead = True
        self._drain()
        about, (how, outside) = self._about[0], ending(self.ended, _END_S)
        if about == HANDED:
            self.in_hand = None
            hint = "It could not start, or was ended from outside: see what it wrote to stderr."
            return NotBegunError(name, f"{how}, before it began", hint)
        hint = "Another worker takes its place: ask again." if outside else ""
        return WorkerCrashedError(name, f"{how}, {_DOING.get(about, about)}", hint)


class NotBegunError(WorkerCrashedError):
    """A worker process that died before it began with an errand: another can have it."""


#: What a worker was about when it died, for people.
_DOING = {
    PREPARING: "while it prepared the input",
    LOADING: "while it loaded the model",
    RUNNING: "while it ran the model",
    WARMING: "while it warmed the model up",
}


def _packed(told: object, errand: Errand) -> bytes:
    try:
        return pickle.dumps(told, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # pickle raises what an object's class raises
        raise cannot_cross(errand.content, error) from error


def _stopped(errand: Errand, stops: Sequence[Stop]) -> WorkbenchError:
    """Return the error that the run itself would have ended with."""
    cancelled = next((stop for stop in stops if stop.cancelled), None)
    if cancelled is None and (late := next((s for s in stops if s.expired), None)) is not None:
        if errand.kind == "load":
            return LoadTimeoutError(errand.name, late.timeout_s or 0.0)
        return InferenceTimeoutError(errand.name, late.timeout_s or 0.0)
    return CancelledError(errand.what)
