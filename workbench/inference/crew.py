"""The worker processes of a pool: who is free, who has ended, who comes in its place."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.errors import SwitchedOffError, WorkbenchError, WorkerCrashedError
from workbench.inference.process import Process
from workbench.stopping import Stop

if TYPE_CHECKING:
    from workbench.inference.errand import Errand, Outfit

#: Limit of a load when a worker is replaced, in seconds.
REWARM_S = 30.0
#: Longest that a worker may take to close a model, in seconds; then it is replaced.
UNLOAD_S = 5.0
#: Workers that end in a row before any was up: there is no use in starting more.
_MOST_STILLBORN = 3
#: How long a request sleeps at most before it looks again for a free worker, in seconds.
_NAP_S = 1.0


class Crew:
    """A number of worker processes, kept up.

    One more is held in readiness, with nothing loaded (about 50 MB of its own), once the first
    has worked: it takes the place of one that ends at once, where starting another would take
    half a second, or two on a machine that is busy.

    Parameters
    ----------
    outfit : what each is made with
    number : how many

    Attributes
    ----------
    replaced : workers that ended and were replaced
    """

    def __init__(self, outfit: Outfit, number: int) -> None:
        self._outfit, self._number = outfit, number
        self._state = threading.Condition()
        self._members: list[Process] = []
        self._free: list[Process] = []
        self._spare: Process | None = None
        self._owner = os.getpid()
        self._closed = False
        self._barren = False
        self._readying = False
        self._stillborn = 0
        self.replaced = 0
        self._fill()

    def _fill(self) -> None:
        try:
            for _ in range(self._number):
                self._engage()
        except BaseException:
            self.close()
            raise

    @property
    def members(self) -> tuple[Process, ...]:
        """The workers there are now."""
        with self._state:
            return tuple(self._members)

    @property
    def spare(self) -> Process | None:
        """The worker that is held in readiness."""
        return self._spare

    # ── who has whom ──────────────────────────────────────────────────────────────────────────

    def take(self, errand: Errand, stops: Sequence[Stop], *, elsewhere: bool = False) -> Process:
        """Return a free worker: one that has the model, else the one that did least.

        ``elsewhere`` : rather one that has not

        Raises
        ------
        SwitchedOffError : all have been ended
        WorkerCrashedError : none can be started
        CancelledError, InferenceTimeoutError : a stop
        """
        key = errand.model.key
        with ExitStack() as stack:
            for stop in stops:
                stack.enter_context(stop.acting(self._notify))
            with self._state:
                self._begin_anew()
                while True:
                    self._check(errand.name)
                    for stop in stops:
                        stop.check(errand.what)
                    if self._free:
                        best = min(
                            self._free, key=lambda p: ((key in p.live) is elsewhere, p.errands)
                        )
                        best.holder = threading.get_ident()
                        self._free.remove(best)
                        return best
                    left_s = min((stop.remaining_s for stop in stops), default=_NAP_S)
                    self._state.wait(min(_NAP_S, left_s))

    def _notify(self) -> None:
        with self._state:
            self._state.notify_all()

    def _begin_anew(self) -> None:
        """End what an interrupt made this thread forget; try again where none could be started."""
        for process in self._members:
            if process.holder == threading.get_ident():
                process.kill()
        if self._barren and not self._members and not self._closed:
            self._barren, self._stillborn = False, 0
            self._fill()

    def _check(self, name: str) -> None:
        if self._closed or os.getpid() != self._owner:
            why = "its processes have been ended" if self._closed else "this is a forked process"
            raise SwitchedOffError("This isolated runner", why, "Make another wb.Runner.")
        if self._barren and not self._members:
            hint = "See what they wrote to stderr; the next request tries again."
            raise WorkerCrashedError(name, "none can be started", hint)

    def give_back(self, process: Process) -> None:
        """Let others have a worker; one that has ended is replaced by whoever hears of it."""
        with self._state:
            process.holder = None
            if process.leaving and not process.dead and process in self._members:
                threading.Thread(
                    target=self._tidy, args=(process,), name="workbench-tidy", daemon=True
                ).start()
                return
            if process.dead or process not in self._members:
                process.hang_up()
            else:
                self._free.append(process)
            self._state.notify_all()
            if not process.ready:
                return
            self._stillborn = 0
            if self._spare is not None or self._readying or self._closed:
                return
            self._readying = True
        threading.Thread(target=self._get_ready, name="workbench-spare", daemon=True).start()

    def unload(self, errand: Errand) -> None:
        """Have a model closed by each worker that has it; one at work does so when it is free.

        Whoever looks finds it closed from now on.
        """
        key, free = errand.model.key, []
        with self._state:
            for process in self._members:
                if process.live.pop(key, None) is None:
                    continue
                process.leaving[key] = errand
                if process in self._free:
                    self._free.remove(process)
                    process.holder = threading.get_ident()
                    free.append(process)
        for process in free:
            self._tidy(process)

    def _tidy(self, process: Process) -> None:
        """Have a worker close what is leaving it, and let others have it."""
        process.holder = threading.get_ident()
        try:
            while process.leaving:
                _, errand = process.leaving.popitem()
                process.do(errand, [Stop(UNLOAD_S)])
        except WorkbenchError:
            pass  # it has ended, and all that it had with it
        finally:
            self.give_back(process)

    # ── who comes and goes ────────────────────────────────────────────────────────────────────

    def _engage(self) -> Process:
        """Add a worker that can be taken at once: the one in readiness, or a new one."""
        with self._state:
            process, self._spare = self._spare, None
            fresh = process is None
            if process is None:
                process = Process(self._outfit)
            self._members.append(process)
            self._free.append(process)
            self._state.notify_all()
        if fresh:
            process.ended.add_done_callback(lambda _: self._left(process))
        return process

    def _get_ready(self) -> None:
        """Start a worker that waits for the end of another."""
        process = None
        with suppress(WorkbenchError):
            process = Process(self._outfit)
        with self._state:
            self._readying = False
            wanted = process is not None and not self._closed
            self._spare = process if wanted else None
        if process is not None and wanted:
            process.ended.add_done_callback(lambda _: self._left(process))
        elif process is not None:
            _end([process], [process])

    def _left(self, process: Process) -> None:
        """Replace a worker that has ended; called in the thread in which pebble watched it."""
        process.forget()
        with self._state:
            process.dead = True
            mine = process in self._members
            if mine:
                self._members.remove(process)
            if process in self._free:  # nobody has it, and nobody can get it any more
                self._free.remove(process)
                process.hang_up()
            elif process is self._spare:
                self._spare = None
                process.hang_up()
            if mine:
                self._stillborn = 0 if process.ready else self._stillborn + 1
            self._barren = self._stillborn >= _MOST_STILLBORN and not self._members
            over = self._closed or self._barren or not mine
            self.replaced += not over
            self._state.notify_all()
        if over:
            return
        suspect = process.in_hand.model.key if process.in_hand is not None else ""
        warm = [errand for key, errand in process.live.items() if key != suspect]
        try:
            successor = self._engage()
        except WorkbenchError:
            with self._state:
                self._barren = True
                self._state.notify_all()
            return
        if self._closed:  # meanwhile
            _end([successor], [])
            return
        self._rewarm(successor, warm)

    def _rewarm(self, process: Process, warm: Sequence[Errand]) -> None:
        """Load what a worker's predecessor had, whenever nobody has the worker."""
        for errand in warm:
            with self._state:
                while process not in self._free:
                    if process.dead or self._closed:
                        return
                    self._state.wait(_NAP_S)
                if errand.model.key in process.live:
                    continue
                self._free.remove(process)
                process.holder = threading.get_ident()
            try:
                process.do(replace(errand, timeout_s=REWARM_S, stop_s=None))
            except WorkbenchError:
                return  # it has left, and whoever comes next begins without that model
            finally:
                self.give_back(process)

    def close(self) -> None:
        """End all; harmless a second time, and in a forked process."""
        if os.getpid() != self._owner:
            return
        with self._state:
            self._closed = True
            spare = [] if self._spare is None else [self._spare]
            members, free = [*self._members, *spare], [*self._free, *spare]
            self._members, self._free, self._spare = [], [], None
            self._state.notify_all()
        _end(members, free)


def _end(processes: Sequence[Process], free: Sequence[Process]) -> None:
    """End processes, wait until they have ended, and hang up on those that nobody has."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    for process in free:
        process.hang_up()
