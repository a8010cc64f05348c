"""Who runs next: a bounded queue before a bounded pool of threads.

A request waits here or is turned away at once; it never outlives its deadline by more than
:data:`GRACE_S`, and a client that leaves takes its work with it. All counting is done on the event
loop, so that it needs no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.errors import InferenceTimeoutError, QueueFullError
from workbench.stopping import Stop
from workbench.timing import clock

if TYPE_CHECKING:
    from fastapi import Request

T = TypeVar("T")

#: Seconds that a run gets after its deadline to end by itself, before its client is answered.
GRACE_S = 0.5
#: Runs whose mean length the time to come back is reckoned from.
_RECENT = 50


class Admission:
    """A queue and the threads behind it.

    Parameters
    ----------
    workers : runs at a time
    limit : requests that may wait

    Attributes
    ----------
    running, waiting : now
    refused : requests that were turned away since the start
    free : the workers that are
    """

    def __init__(self, *, workers: int, limit: int) -> None:
        self.workers, self.limit = workers, limit
        self.running = self.waiting = self.refused = 0
        self._pool = ThreadPoolExecutor(workers, "workbench-serve")
        self.free = asyncio.Semaphore(workers)
        self._took_s: deque[float] = deque(maxlen=_RECENT)
        self._stops: set[Stop] = set()

    def admit(self, number: int = 1) -> None:
        """Raise unless so many more requests may come in.

        Raises
        ------
        QueueFullError : with the seconds after which there is likely to be room
        """
        if self.waiting + number > self.limit + self.workers - self.running:
            self.refused += 1
            raise QueueFullError(self.waiting, self.limit, self.retry_after_s)

    @property
    def retry_after_s(self) -> float:
        """Seconds in which those who wait now are likely to be through; at least one."""
        mean_s = sum(self._took_s) / len(self._took_s) if self._took_s else 1.0
        return max(1.0, mean_s * (self.waiting + self.running) / self.workers)

    async def run(
        self,
        work: Callable[[Stop], T],
        *,
        timeout_s: float | None,
        begun: float | None = None,
        admitted: bool = False,
    ) -> T:
        """Run something in a thread when it is its turn, and return what it returns.

        Parameters
        ----------
        work : is told a Stop, which ends at the deadline or when the caller is cancelled
        timeout_s : seconds, waiting included; None for no limit
        begun : when they began, on the clock; None for now
        admitted : :meth:`admit` was asked for a whole batch already

        Raises
        ------
        QueueFullError, InferenceTimeoutError, and whatever the work raises
        """
        if not admitted:
            self.admit()
        with self.stopping(timeout_s, begun) as stop:
            return await self.run_under(stop, work)

    @contextmanager
    def stopping(self, timeout_s: float | None, begun: float | None = None) -> Iterator[Stop]:
        """Make a Stop that ends with the block, or when everything is to stop.

        ``begun`` : when its time began, on the clock; None for now
        """
        stop = Stop(timeout_s)
        if begun is not None and timeout_s is not None:
            stop.deadline_s = begun + timeout_s
        self._stops.add(stop)
        try:
            yield stop
        finally:
            stop.cancel()  # also of a thread that is left behind
            self._stops.discard(stop)

    async def run_under(self, stop: Stop, work: Callable[[Stop], T]) -> T:
        """Run something that was admitted, in its turn, under a Stop that there is already."""
        self.waiting += 1
        try:
            async with asyncio.timeout(stop.remaining_s if stop.timeout_s is not None else None):
                await self.free.acquire()
        except TimeoutError as error:
            raise late(stop) from error
        finally:
            self.waiting -= 1
        if stop.over:
            self.free.release()
            stop.check("The request")
        return await self.carry_out(work, stop)

    async def carry_out(self, work: Callable[[Stop], T], stop: Stop) -> T:
        """Run something in a thread; whoever calls has acquired :attr:`free`, which is given back.

        Raises
        ------
        InferenceTimeoutError : it has not ended :data:`GRACE_S` after the Stop's deadline
        """
        self.running += 1
        began = clock()
        loop = asyncio.get_running_loop()

        def ended() -> None:
            self.running -= 1
            self.free.release()
            self._took_s.append(clock() - began)

        def carried_out() -> T:
            try:
                return work(stop)
            except StopIteration as error:  # which no future takes, and whoever waits never hears
                raise RuntimeError("the work raised StopIteration") from error
            finally:  # whatever was raised, the place is free
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(ended)

        future = loop.run_in_executor(self._pool, carried_out)
        future.add_done_callback(looked_at)
        limit_s = None if stop.timeout_s is None else stop.remaining_s + GRACE_S
        done, _ = await asyncio.wait({future}, timeout=limit_s)
        if not done:
            raise late(stop)
        return future.result()

    def cancel_all(self) -> None:
        """Ask everything under way to stop."""
        for stop in tuple(self._stops):
            stop.cancel()

    def close(self) -> None:
        """Take nothing more, and let the threads end by themselves."""
        self.cancel_all()
        self._pool.shutdown(wait=False, cancel_futures=True)


def looked_at(done: asyncio.Future[Any]) -> None:
    """Look at an error, so that nobody complains about one that is left behind."""
    if not done.cancelled():
        done.exception()


def late(stop: Stop) -> InferenceTimeoutError:
    """Return the error of a request whose time is over."""
    return InferenceTimeoutError("", stop.timeout_s or 0.0, what="The request")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more: there is nobody to tell."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Return what some work gives, unless the client leaves: then cancel it.

    The body must have been read: what the server tells after it is only that the client left.

    Raises
    ------
    ClientGoneError : the client left
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for one in (leaving, task):
            one.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await one


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
