"""Companions: pictures of one model that wait at the same time share a run.

They gather while all workers are busy, and for a moment while one is free. Each keeps its own
deadline, place and answer: a client that leaves is left out, a bad picture is an error of its own,
and where a shared run fails or does not end in time, each picture of it runs alone, as if it had
never had company. A shared run has not long to end: what one picture does to it, the others wait
for. All but the runs is done on the event loop, so that it needs no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import TYPE_CHECKING

from workbench.errors import ImageError, ServiceError, WorkbenchError
from workbench.inference.results import Failure, Result
from workbench.service.admission import GRACE_S, late
from workbench.service.journal import log
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.service.admission import Admission
    from workbench.service.engine import Engine
    from workbench.service.policy import Policy
    from workbench.stopping import Stop

#: Seconds for which pictures of a model run alone after a run that they could not share: one that
#: did not end, crashed or had no memory for so many, or inputs that differ in shape.
ALONE_S = 60.0
#: Seconds left to a picture with less than which it waits for nobody.
HURRY_S = GRACE_S
#: A shared run may take so many times what its pictures usually take one by one,
MOST_TIMES = 10
#: and in any case so many seconds.
LEAST_S = 0.5
#: Share of its time for which a picture waits for others while a worker is free.
_PATIENCE = 0.25
#: Answers of a model from which its usual time is reckoned.
_RECENT = 50

#: An answer, and the seconds of the stages before and beside its own.
Said = tuple[Result, dict[str, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One picture that is to be classified.

    Attributes
    ----------
    read : gives the bytes of its file, and the seconds of the stages so far; called in a thread
    alone : classifies it by itself; called in a thread
    """

    model_id: str
    top_k: int
    read: Callable[[], tuple[bytes, dict[str, float]]]
    alone: Callable[[Stop], Said]


@dataclass(slots=True, eq=False)
class _Member:
    """A picture in a group; ``answer`` may be its error, or None where it has to run alone."""

    asked: Asked
    stop: Stop
    answer: asyncio.Future[Said | Exception | None]


@dataclass(slots=True, eq=False)
class _Group:
    """Pictures that wait together, and then run together.

    ``gathered`` is set when nobody else is to be waited for, ``begun`` when they have their turn.
    """

    members: list[_Member] = field(default_factory=list)
    gathered: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Companions:
    """Who shares a run with whom.

    Parameters
    ----------
    engine, admission : what runs them, and when
    policy : whether (``batching``), how long they wait, and how many share a run
    """

    def __init__(self, engine: Engine, admission: Admission, policy: Policy) -> None:
        self._engine, self._admission, self._policy = engine, admission, policy
        self._known: set[str] = set()  # models that have answered, and for which it pays
        self._alone_until: dict[str, float] = {}
        self._open: dict[str, _Group] = {}
        self._took_s: dict[str, deque[float]] = {}

    def note(self, model_id: str, result: Result) -> None:
        """Learn from an answer how long a model takes, and whether its pictures are to share runs.

        On the processor a run of n inputs takes as long as n runs; other devices are better used.
        """
        times = result.timings
        took_s = self._took_s.setdefault(model_id, deque(maxlen=_RECENT))
        took_s.append(times.total_s - times.get("load", 0.0))
        mode = self._policy.batching
        if mode == "on" or (mode == "auto" and not result.session.on_processor):
            self._known.add(model_id)
        else:
            self._known.discard(model_id)

    def _likely_s(self, model_id: str, number: int) -> float:
        """Return the seconds that so many pictures of a model are likely to take, one by one."""
        took_s = self._took_s.get(model_id)
        return number * median_low(took_s) if took_s else 0.0

    def most(self, model_id: str) -> int:
        """Return how many pictures may share a run of a model now; 1 where they run alone.

        Alone is the first of a model, and one that a worker would have to load it for: a load
        takes longer than a run, and is held to the whole of a request's time. So is one that
        finds a worker free and is not to wait for others.
        """
        if model_id not in self._known or self._alone_until.get(model_id, 0.0) > clock():
            return 1
        if not self._policy.batch_delay_s and not self._admission.free.locked():
            return 1
        if not self._engine.holds(model_id, everywhere=True):
            return 1
        fixed = self._engine.model(model_id).batch_axis
        return min(self._policy.max_batch, fixed or self._policy.max_batch)

    async def run(
        self,
        asked: Asked,
        most: int,
        *,
        timeout_s: float,
        begun: float | None = None,
        admitted: bool,
    ) -> Said:
        """Classify a picture with others that wait; what it returns and raises is its own.

        ``timeout_s`` counts from ``begun``, on the clock; None for now. One in a hurry runs alone.

        Raises
        ------
        QueueFullError, InferenceTimeoutError, and what is wrong with the picture or the model
        """
        admission = self._admission
        if not admitted:
            admission.admit()
        with admission.stopping(timeout_s, begun) as stop:
            if _hurried(stop.remaining_s, self._likely_s(asked.model_id, 1)):
                return await admission.run_under(stop, asked.alone)
            answer = asyncio.get_running_loop().create_future()
            said = await self._together(_Member(asked, stop, answer), most)
            if isinstance(said, Exception):
                raise said
            return await admission.run_under(stop, asked.alone) if said is None else said

    async def _together(self, member: _Member, most: int) -> Said | Exception | None:
        """Wait in a group until it has run, or until the time of this member is over."""
        group, stop = self._group(member.asked.model_id, most), member.stop
        group.members.append(member)
        if len(group.members) >= most:
            group.gathered.set()
        patience_s = min(self._policy.batch_delay_s, stop.remaining_s * _PATIENCE)
        patience = asyncio.get_running_loop().call_later(patience_s, group.gathered.set)
        self._admission.waiting += 1
        try:
            async with asyncio.timeout(stop.remaining_s):
                await group.begun.wait()
            async with asyncio.timeout(stop.remaining_s + GRACE_S):
                return await member.answer
        except TimeoutError:
            raise late(stop) from None
        finally:
            patience.cancel()
            group.members.remove(member)
            if not group.begun.is_set():
                self._admission.waiting -= 1
            if not group.members:  # nobody waits for it any more
                self._close(member.asked.model_id, group)
                assert group.task is not None
                group.task.cancel()

    def _group(self, model_id: str, most: int) -> _Group:
        """Return the group of a model that has room."""
        group = self._open.get(model_id)
        if group is None or len(group.members) >= most:
            group = self._open[model_id] = _Group()
            group.task = asyncio.create_task(self._lead(model_id, group))
        return group

    def _close(self, model_id: str, group: _Group) -> None:
        if self._open.get(model_id) is group:
            del self._open[model_id]

    async def _lead(self, model_id: str, group: _Group) -> None:
        """See a group through: let it gather, take its turn, run it, and hand out the answers."""
        await group.gathered.wait()
        await self._admission.free.acquire()
        self._close(model_id, group)
        members = tuple(group.members)
        self._admission.waiting -= len(members)
        group.begun.set()
        answers = await (self._one(*members) if len(members) == 1 else self._all(members))
        for member, said in zip(members, answers, strict=True):
            if not member.answer.done():  # else it has left
                member.answer.set_result(said)

    async def _one(self, member: _Member) -> Sequence[Said | Exception]:
        """Run a group that nobody else has come to: no other than a request without one."""
        try:
            return [await self._admission.carry_out(member.asked.alone, member.stop)]
        except Exception as error:  # noqa: BLE001  (it is raised where the request waits)
            return [error]

    async def _all(self, members: Sequence[_Member]) -> Sequence[Said | Exception | None]:
        """Run a group together; None for each where that went wrong."""
        model_id = members[0].asked.model_id
        answers: Sequence[Said | Exception | None] = [None] * len(members)
        likely_s = self._likely_s(model_id, len(members))
        limit_s = _limit_s([member.stop.remaining_s for member in members], likely_s)
        with self._admission.stopping(limit_s) as stop:
            try:
                answers = await self._admission.carry_out(lambda s: self._work(members, s), stop)
            except WorkbenchError as error:
                log.info("A shared run of %s failed: %s", model_id, error)
            except Exception:  # noqa: BLE001  (whatever it is, it costs nobody else an answer)
                log.exception("A shared run of %s failed in an unforeseen way.", model_id)
        good = [said for said in answers if not isinstance(said, (ImageError, ServiceError))]
        shared = any(isinstance(said, tuple) and said[0].batch > 1 for said in good)
        if len(good) > 1 and not shared:
            self._alone_until[model_id] = clock() + ALONE_S
        return answers

    def _work(self, members: Sequence[_Member], stop: Stop) -> list[Said | Exception]:
        """Answer all members, in a thread: the most classes that one asks for, cut for others."""
        began = clock()
        answers: dict[_Member, Said | Exception] = {}
        read: list[tuple[_Member, bytes, dict[str, float]]] = []
        for member in members:
            try:
                read.append((member, *member.asked.read()))
            except WorkbenchError as error:
                answers[member] = error
        told = self._engine.classify_all(
            [picture for _, picture, _ in read],
            members[0].asked.model_id,
            top_k=max(member.asked.top_k for member in members),
            stop=stop,
        )
        whole_s = clock() - began
        for (member, _, stages), found in zip(read, told, strict=True):
            if isinstance(found, Failure):
                answers[member] = found.error
                continue
            own_s = stages.get("base64", 0.0) + found.timings.total_s
            result = replace(found, top=found.top[: member.asked.top_k])
            answers[member] = result, {**stages, "companions": max(0.0, whole_s - own_s)}
        return [answers[member] for member in members]


def _hurried(left_s: float, likely_s: float) -> bool:
    """Say whether a picture has no time for a run of so many seconds and for one alone after it."""
    return left_s < max(HURRY_S, 2 * likely_s)


def _limit_s(left_s: Sequence[float], likely_s: float) -> float:
    """Return the limit of a shared run that is likely to take so many seconds.

    It is half of the least time that one of its pictures has left: the other half is for running
    each alone. Where there is no time for that, it is not kept free. And it is no more than a few
    times what is likely: on one picture that does not end, the others wait no longer.
    """
    calm = [s for s in left_s if not _hurried(s, likely_s)]
    most_s = min(calm) / 2 if calm else max(1e-3, *left_s)
    return min(most_s, max(LEAST_S, MOST_TIMES * likely_s))
