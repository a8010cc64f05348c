"""Work in the background: what a job is to those who ask after it, wherever jobs are kept.

There are two places: the memory of the service (:mod:`workbench.service.embedded`), and a Redis
that several machines share (:mod:`workbench.service.queued`). Requests cannot tell which it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from workbench.service.intake import Order

#: Jobs that are kept; those that ended go first, the oldest of them before the others.
KEPT = 100
#: Seconds for which a job that ended can be asked after.
KEPT_S = 3600.0

State = Literal["queued", "running", "done", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Job:
    """One job, as it is at the moment.

    Attributes
    ----------
    total : inputs
    results : in the order of the inputs, those that are done
    before : results that are left out, before these
    error : code, message and hint of why it failed as a whole; None unless it did
    """

    id: str
    state: State
    total: int
    results: tuple[dict[str, Any], ...] = ()
    error: dict[str, Any] | None = None
    before: int = 0

    def since(self, start: int) -> Job:
        """Return it without the results before the one of this number, counted from 0."""
        out = max(0, min(start - self.before, len(self.results)))
        return replace(self, results=self.results[out:], before=self.before + out)

    def written(self, request_id: str) -> bytes:
        """Return what is shown of it, as JSON.

        Each result is written by itself, so that other threads have their turn in between.
        """
        told = {
            "success": True,
            "job_id": self.id,
            "state": self.state,
            "done": self.before + len(self.results),
            "total": self.total,
        }
        more = {} if self.error is None else {"error": self.error}
        results = b",".join(_json(one) for one in self.results)
        tail = _json({**more, "request_id": request_id})
        return b'%b,"results":[%b],%b' % (_json(told)[:-1], results, tail[1:])


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class Jobs(Protocol):
    """A place where jobs are kept."""

    #: What it is called in the status: ``memory`` or ``redis``.
    place: str

    async def start(self, order: Order, request_id: str) -> Job:
        """Begin a job, or put it behind those that have not ended.

        Raises
        ------
        QueueFullError : as many jobs as are kept have not ended, or as many bytes of them
        QueueUnavailableError : the place does not answer
        """
        ...

    async def get(self, job_id: str, start: int = 0) -> Job:
        """Return a job, with its results from this number on, counted from 0.

        Raises
        ------
        NotFoundError, QueueUnavailableError
        """
        ...

    async def cancel(self, job_id: str) -> Job:
        """End a job, and return it with what it has; one that has ended is forgotten."""
        ...

    async def unfinished(self) -> int | None:
        """Return how many have not ended; None where the place does not answer."""
        ...

    async def close(self) -> None:
        """Let go of the place; jobs in memory end, others go on."""
        ...
