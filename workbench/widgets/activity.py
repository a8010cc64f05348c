"""What every widget's behaviour has: a worker, its problems, and someone who looks on."""

from __future__ import annotations

from collections.abc import Callable

from workbench.widgets.problem import Problems, attempt
from workbench.widgets.worker import Job, Worker


class Activity:
    """Base of the behaviours; knows nothing of how it is shown.

    Attributes
    ----------
    worker : does the long work
    problems : what went wrong
    left_out : what waited when someone stopped, oldest first
    """

    def __init__(self, problems: Problems | None = None) -> None:
        self.problems = Problems() if problems is None else problems
        self.worker = Worker(self.changed, self.fail)
        self.left_out: tuple[Job, ...] = ()
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
        """Stop what runs, and leave out what waits: it may be taken up again."""
        self.left_out = (*self.left_out, *self.worker.cancel())
        self.changed()

    def take_up(self) -> None:
        """Do what was left out after all."""
        left, self.left_out = self.left_out, ()

        def act() -> None:
            for job in left:
                self.worker.resubmit(job)

        self.attempt(act)

    def begin_anew(self) -> None:
        """Drop what runs, what waits and what was left out: something else takes its place."""
        self.worker.drop()
        self.left_out = ()

    def leave_out(self) -> None:
        """Forget what was left out."""
        self.left_out = ()
        self.changed()

    def close(self) -> None:
        """Stop for good, and tell nobody any more."""
        self._lookers.clear()
        self.left_out = ()
        self.worker.close()
