"""What every widget's behaviour has: a worker, its problems, and someone who looks on."""

from __future__ import annotations

from collections.abc import Callable

from workbench.widgets.problem import Problems, attempt
from workbench.widgets.worker import Worker


class Activity:
    """Base of the behaviours; knows nothing of how it is shown.

    Attributes
    ----------
    worker : does the long work
    problems : what went wrong
    """

    def __init__(self, problems: Problems | None = None) -> None:
        self.problems = Problems() if problems is None else problems
        self.worker = Worker(self.changed, self.fail)
        self._lookers: list[Callable[[], object]] = []

    def listen(self, call: Callable[[], object]) -> None:
        """Have something called whenever what can be seen has changed, from any thread."""
        self._lookers.append(call)

    def changed(self) -> None:
        """Tell those who look on."""
        for call in self._lookers:
            call()

    def fail(self, error: Exception, about: str = "") -> None:
        """Show an error and keep it."""
        self.problems.add(error, about)
        self.changed()

    def begin(self) -> None:
        """Note that a person begins something: earlier errors leave the screen."""
        self.problems.clear()

    def attempt(self, call: Callable[[], object], about: str = "", *, begins: bool = True) -> bool:
        """Do what a person asked for; an error is shown.

        ``begins`` : whether earlier errors leave the screen. Not so for the second of several
        files that were dropped at once, which must not hide what became of the first.
        """
        if begins:
            self.begin()
        fine = attempt(self.problems, call, about)
        self.changed()
        return fine

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the worker; return whether it was done in time."""
        return self.worker.wait(timeout_s)

    def stop(self) -> None:
        """Stop what runs, and forget what waits."""
        self.worker.cancel()

    def close(self) -> None:
        """Stop for good, and tell nobody any more."""
        self._lookers.clear()
        self.worker.close()
