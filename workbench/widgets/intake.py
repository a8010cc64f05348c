"""What the upload widget does: hand each file to a function, and keep what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workbench.errors import BadRequestError
from workbench.widgets.activity import Activity
from workbench.widgets.problem import Problems

if TYPE_CHECKING:
    from workbench.stopping import Stop
    from workbench.widgets.transfer import Upload
    from workbench.widgets.worker import Job


class Intake(Activity):
    """Runs a function on each file that arrives, in the worker's thread.

    Parameters
    ----------
    run : called with the upload and a :class:`~workbench.Stop`
    own : whether ``run`` is this package's, and not somebody's own

    Attributes
    ----------
    results : what ``run`` returned, oldest first
    """

    def __init__(self, run: Callable[[Upload, Stop], Any], *, own: bool = False) -> None:
        super().__init__(None if own else Problems("It comes from the function that was given."))
        if not callable(run):
            raise BadRequestError("run", run, "a function of an upload and a Stop")
        self._run = run
        self.results: list[Any] = []

    def take(self, upload: Upload) -> None:
        """Queue a file and return at once."""

        def work(job: Job) -> Any:
            return self._run(upload, job.stop)

        def act() -> None:
            self.worker.submit(upload.name, work, done=self.results.append)

        self.attempt(act, upload.name, begins=False)  # it may be one of several that came at once
