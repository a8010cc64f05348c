"""One watch over many runs, one at a time: what a measurement can afford between two runs.

A run of its own takes care of itself (:meth:`Session.run`): its guard comes and goes with it, which
costs some microseconds a run. While a measurement goes on, one guard stays, and a run only tells
it when it begins and ends.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from workbench import stopping
from workbench.errors import CancelledError
from workbench.models.engine import engine
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.stopping import Stop


class Watch(stopping.Guard):
    """Ends the run under way at its time limit, at the keyboard interrupt and at a stop.

    Parameters
    ----------
    timeout_s : limit of each run in seconds
    stop : ends the run under way, and lets no other begin

    Use it in a ``with`` block, in the thread that runs.
    """

    __slots__ = ("_stack", "options", "running", "stop", "timeout_s")

    def __init__(self, timeout_s: float, stop: Stop | None = None) -> None:
        stopping.deadline(timeout_s)  # refuses what is none
        super().__init__(self.end_run)
        self.timeout_s = timeout_s
        self.stop = stop
        self.running = False
        self.options = _options()
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        stopping.watchdog.begin(self, clock() + self.timeout_s)
        self._stack.callback(stopping.watchdog.end, self)
        if self.stop is not None:
            self._stack.enter_context(self.stop.acting(self.end_run))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def end_run(self) -> None:
        """End the run under way, if there is one; may be called from any thread."""
        if self.running:
            self.options.terminate = True

    def begin_run(self, name: str) -> Any:
        """Return the engine's options for a run that begins now.

        Raises
        ------
        KeyboardInterrupt : it came between two runs, and an event loop took it for itself
        CancelledError : someone asked to stop
        """
        if self.fired:
            self._renew()
        if self.stop is not None and self.stop.over:
            raise CancelledError(f"The run of model {name!r}")
        self.deadline_s = clock() + self.timeout_s
        self.running = True
        return self.options

    def pass_interrupt_on(self) -> None:
        """Raise KeyboardInterrupt if it came: once, also where Python is about to raise its own.

        Python's own is raised when this function is entered; what is raised here is for an event
        loop that has taken the signal for itself.
        """
        if self.fired == "interrupt":
            raise KeyboardInterrupt

    def _renew(self) -> None:
        """Forget a run that was ended, or a time limit that passed between two runs."""
        self.pass_interrupt_on()
        stopping.watchdog.end(self)
        self.fired = ""
        self.options = _options()
        stopping.watchdog.begin(self, clock() + self.timeout_s)


def _options() -> Any:
    options = engine().RunOptions()
    options.log_severity_level = 4  # what it would log is what it raises
    return options
