"""One thread that does the long work of a widget, so that the kernel stays free.

The thread lives as long as there is work. Jobs run one after another; one with the key of
another takes its place, so that of many moves of a slider only the last is carried out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import CancelledError, WorkbenchError
from workbench.stopping import Stop


@dataclass(eq=False, slots=True)
class Job:
    """One piece of work.

    Attributes
    ----------
    what : what is being done, for people
    stop : ends it; handed to everything that takes one
    key : a later job with the same key takes its place; empty for none
    about : what an error of it is about, for people; ``what`` where it is left out
    told : how far it has come, for people; empty where it does not say
    share : of it that is done, 0 to 1; None where that is not known
    """

    what: str
    work: Callable[[Job], Any]
    done: Callable[[Any], object]
    key: str = ""
    about: str = ""
    stop: Stop = field(default_factory=Stop)
    superseded: bool = False
    told: str = ""
    share: float | None = None


class Worker:
    """Runs jobs in one thread of its own.

    Parameters
    ----------
    changed : called, from the thread, when a job begins and when nothing is left to do; it must
        not raise
    failed : called with every error of a job that was not superseded; a job that was stopped
        fails with ``CancelledError``
    """

    def __init__(
        self, changed: Callable[[], object], failed: Callable[[Exception, str], object]
    ) -> None:
        self._changed, self._failed = changed, failed
        self._state = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        #: what is being done now; None when there is nothing to do
        self.running: Job | None = None
        #: jobs that have ended since there was last nothing to do
        self.finished = 0

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits."""
        return self.running is not None or bool(self._waiting)

    @property
    def total(self) -> int:
        """Jobs since there was last nothing to do, those that wait included."""
        with self._state:
            return self.finished + len(self._waiting) + (self.running is not None)

    def submit(
        self,
        what: str,
        work: Callable[[Job], Any],
        *,
        done: Callable[[Any], object] = lambda _: None,
        key: str = "",
        about: str = "",
    ) -> Job:
        """Queue a job and return at once; ``done`` gets, in the thread, what ``work`` returns."""
        job = Job(what, work, done, key, about or what)
        with self._state:
            if self._closed:
                raise CancelledError(what)
            if key:
                for other in (*self._waiting, *([self.running] if self.running else [])):
                    if other.key == key:
                        other.superseded = True
                        other.stop.cancel()
                self._waiting = deque(j for j in self._waiting if not j.superseded)
            self._waiting.append(job)
            if self._thread is None:
                self.finished = 0
                self._thread = threading.Thread(
                    target=self._work, name="workbench-widget", daemon=True
                )
                self._thread.start()
        return job

    @property
    def stopping(self) -> bool:
        """Whether what runs was told to stop and has not ended yet."""
        running = self.running
        return running is not None and running.stop.cancelled and not running.superseded

    def cancel(self) -> tuple[Job, ...]:
        """Stop what runs, and forget what waits; return what waited."""
        with self._state:
            left = tuple(self._waiting)
            self._waiting.clear()
            running = self.running
        if running is not None:
            running.stop.cancel()
        return left

    def drop(self) -> None:
        """Stop everything, and say nothing of it: something else has taken its place."""
        with self._state:
            running = self.running
            if running is not None:
                running.superseded = True
        self.cancel()

    def resubmit(self, job: Job) -> Job:
        """Queue the work of a job that was left out once more."""
        return self.submit(job.what, job.work, done=job.done, key=job.key, about=job.about)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until there is nothing to do; return whether that came in time."""
        with self._state:
            return self._state.wait_for(lambda: self._thread is None, timeout_s)

    def close(self) -> None:
        """Stop everything, for good."""
        with self._state:
            self._closed = True
        self.cancel()

    def _work(self) -> None:
        while True:
            with self._state:
                job = self.running = self._waiting.popleft() if self._waiting else None
            self._changed()  # also when nothing is left: all is painted before wait() returns
            if job is not None:
                self._carry_out(job)
            with self._state:
                self.running = None
                self.finished += job is not None
                if job is None and not self._waiting:
                    self._thread = None
                    self._state.notify_all()
                    return

    def _carry_out(self, job: Job) -> None:
        try:
            job.stop.check(job.what)
            answer = job.work(job)
            if not job.superseded:
                job.stop.check(job.what)  # what ended after it was stopped is not taken up
                job.done(answer)
        except WorkbenchError as error:
            if not job.superseded:
                self._failed(error, job.about)
        except Exception as error:  # noqa: BLE001  (a fault of ours: shown and kept all the same)
            self._failed(error, job.about)
