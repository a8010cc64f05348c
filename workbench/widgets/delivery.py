"""Models of the catalogue on offer, and how far one that was asked for has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.models import pull
from workbench.models.assembly import Pulled, Wish
from workbench.models.catalog import entries
from workbench.models.fetch import Rules
from workbench.settings import Settings
from workbench.timing import clock
from workbench.units import seconds, size

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.models.progress import Progress
    from workbench.widgets.worker import Job

#: A page is painted this often while bytes come, in seconds.
_PAINT_S = 0.2


def offers(hub: ModelHub) -> tuple[tuple[str, str], ...]:
    """Return what the catalogue has and the hub has not: a line for people, and the name.

    Models that classify come first: these the app can use.
    """
    here = set(hub.ids())
    return tuple(
        (f"{e.id} · {e.task} · {size(e.size_bytes)} · {e.licence}", e.id)
        for e in entries().values()
        if e.id not in here
    )


def told(progress: Progress) -> str:
    """Say in one line how far a file has come, at what rate, and how long the rest will take."""
    line = size(progress.done_bytes)
    if progress.total_bytes is not None:
        line += f" of {size(progress.total_bytes)}"
    if progress.rate_bytes > 0:
        line += f", {size(progress.rate_bytes)}/s"
    if progress.left_s is not None:
        line += f", {seconds(progress.left_s)} left"
    return line


def deliver(hub: ModelHub, name: str, job: Job, changed: Callable[[], object]) -> Pulled:
    """Pull a model of the catalogue; the job tells how far it has come, and its stop ends it.

    Raises
    ------
    what :meth:`ModelHub.pull` raises
    """
    painted_s = -_PAINT_S

    def note(progress: Progress) -> None:
        nonlocal painted_s
        total = progress.total_bytes
        job.share = None if not total else progress.done_bytes / total
        job.told = told(progress)
        if clock() - painted_s >= _PAINT_S or progress.done_bytes == total:
            painted_s = clock()
            changed()

    given = Settings()
    wish = Wish(progress=note)
    return pull.pull(hub.shelf, name, wish, Rules.of(given), given, job.stop)
