"""What a job keeps in Redis besides what RQ keeps: its inputs, its results, the wish to end it.

Everything is JSON, and RQ is told to use JSON as well: nothing out of Redis is unpickled. The
inputs have a key of their own, so that to ask after a job does not fetch its pictures. Every key
has an end, so that nothing stays when a machine is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import OutOfMemoryError, RedisError
from redis.retry import Retry

from workbench.errors import ConfigError, QueueFullError, QueueUnavailableError
from workbench.service.intake import Item, Order
from workbench.service.job import KEPT_S
from workbench.settings import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The name of the queue, for RQ; and what begins the names of our own keys.
QUEUE = "workbench"
#: Seconds for which a job may wait for a worker, and be under way: a day.
WAITING_S = 86_400
#: Seconds that Redis gets to take a connection, and to answer.
CONNECT_S, ANSWER_S = 2.0, 5.0
#: Share of a Redis's memory that inputs may take; the rest is for results, and for what RQ keeps.
FOR_INPUTS = 0.75
#: Seconds that a worker has for a load, where an input has less.
LOAD_S = 30.0
#: Seconds after which a client may try again where Redis has no room or does not answer.
AGAIN_S = 5.0
#: The variable that a worker's child finds the address in; its password stands nowhere else.
VARIABLE = "WORKBENCH_REDIS_URL"


class _Hidden(str):
    """A password which, written down as Python, is where to find it.

    RQ writes the connection of a worker into the command line of each child it spawns, and
    everybody on a machine can read command lines.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return (
            "__import__('redis').connection.parse_url("
            f"__import__('os').environ[{VARIABLE!r}])['password']"
        )


def connected(url: str, *, patient: bool = False) -> Redis:
    """Return a connection to Redis, which is made when it is first used.

    Parameters
    ----------
    url : ``redis://[[user]:password@]host[:port][/db]``, ``rediss://…`` or ``unix:///path``
    patient : wait as long as RQ wishes, as a worker does; a request does not

    Raises
    ------
    ConfigError : it is no such address
    """
    shown = without_credentials(url)
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise ConfigError("REDIS_URL", shown, "redis://host:6379/0, rediss:// or unix:///path")
    try:
        parse_url(url)  # type: ignore[no-untyped-call]
        more: dict[str, Any] = {} if patient else {
            "socket_timeout": ANSWER_S, "retry": Retry(NoBackoff(), 1)
        }  # fmt: skip
        made = Redis.from_url(url, socket_connect_timeout=CONNECT_S, **more)
    except ValueError as error:
        raise ConfigError("REDIS_URL", shown, "redis://host:6379/0") from error
    kept = made.connection_pool.connection_kwargs
    kept["decode_responses"] = False  # whatever the address says
    if kept.get("password"):
        kept["password"] = _Hidden(kept["password"])
    return made


@contextmanager
def answering(size_bytes: int = 0) -> Iterator[None]:
    """Make errors of ours of those of Redis.

    Raises
    ------
    QueueFullError : it has no room for so many bytes more
    QueueUnavailableError : it cannot be reached, or does not do what it is asked
    """
    try:
        yield
    except OutOfMemoryError as error:  # other programs have filled it
        raise QueueFullError(size_bytes, 0, AGAIN_S, in_bytes=True) from error
    except (RedisError, OSError) as error:
        raise QueueUnavailableError(AGAIN_S) from error


@dataclass(frozen=True, slots=True)
class Content:
    """What a job is to do.

    Attributes
    ----------
    model : ``path`` below MODEL_DIR and ``metadata`` that a request gave to the model's name;
        empty where it has its own
    request_id : of the request that started the job
    """

    order: Order
    model: dict[str, Any]
    request_id: str


class Depot:
    """The keys of jobs in one Redis."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    # ── the inputs ────────────────────────────────────────────────────────────────────────────

    def put(self, job_id: str, order: Order, model: Mapping[str, Any], request_id: str) -> int:
        """Keep what a job is to do, and return its size in bytes."""
        told = {
            "model_id": order.model_id,
            "model": dict(model),
            "items": [[item.kind, item.data] for item in order.items],
            "top_k": order.top_k,
            "timeout_s": order.timeout_s,
            "request_id": request_id,
        }
        content = json.dumps(told, separators=(",", ":"), allow_nan=False).encode()
        self.redis.set(_key(job_id, "order"), content, ex=WAITING_S)
        return len(content)

    def take(self, job_id: str) -> Content | None:
        """Return what a job is to do; None if it is gone."""
        content = self.redis.get(_key(job_id, "order"))
        if content is None:
            return None
        told = json.loads(content)
        items = tuple(Item(kind, data) for kind, data in told["items"])
        order = Order(told["model_id"], items, told["top_k"], told["timeout_s"])
        return Content(order, told["model"], told["request_id"])

    def check_room(self, size_bytes: int) -> None:
        """Raise where so many bytes more would leave too little of Redis's memory for the rest.

        Raises
        ------
        QueueFullError : with what is held, and what it may be
        """
        told = self.redis.info("memory")
        limit = int(told.get("maxmemory", 0) * FOR_INPUTS)
        if limit and (held := int(told["used_memory"])) + size_bytes > limit:
            raise QueueFullError(held + size_bytes, limit, AGAIN_S, in_bytes=True)

    def size_bytes(self, job_ids: Iterable[str]) -> int:
        """Return the bytes of all that these jobs are to do."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.strlen(_key(job_id, "order"))
        return sum(pipe.execute())

    # ── the results ───────────────────────────────────────────────────────────────────────────

    def add(self, job_id: str, number: int, result: Mapping[str, Any]) -> None:
        """Keep the result of an input, in its place: it may be told twice when a line is cut."""
        pipe = self.redis.pipeline()
        pipe.hset(_key(job_id, "results"), str(number), json.dumps(result, allow_nan=False))
        pipe.expire(_key(job_id, "results"), WAITING_S)
        pipe.execute()

    def done(self, job_id: str) -> int:
        """Return how many results there are: those of the first inputs."""
        return int(self.redis.hlen(_key(job_id, "results")))

    def results(self, job_id: str, start: int = 0) -> tuple[dict[str, Any], ...]:
        """Return the results so far, from that of the input of a number on."""
        numbers = [str(number) for number in range(start, self.done(job_id))]
        found = self.redis.hmget(_key(job_id, "results"), numbers) if numbers else []
        return tuple(json.loads(one) for one in found if one is not None)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def ask_to_end(self, job_id: str) -> None:
        """Leave word that a job is to end; whoever runs it looks for that."""
        self.redis.set(_key(job_id, "end"), b"1", ex=WAITING_S)

    def is_asked_to_end(self, job_id: str) -> bool:
        """Say whether a job is to end."""
        return bool(self.redis.exists(_key(job_id, "end")))

    def let_go(self, job_ids: Iterable[str]) -> None:
        """Let go of what jobs were to do."""
        if keys := [_key(job_id, "order") for job_id in job_ids]:
            self.redis.delete(*keys)

    def close(self, job_id: str) -> None:
        """Let go of what a job was to do; its results stay as long as it can be asked after."""
        pipe = self.redis.pipeline()
        pipe.delete(_key(job_id, "order"))
        for name in ("results", "end"):
            pipe.expire(_key(job_id, name), round(KEPT_S))
        pipe.execute()

    def forget(self, job_id: str) -> None:
        """Let go of everything of a job."""
        self.redis.delete(*(_key(job_id, name) for name in ("order", "results", "end")))


def _key(job_id: str, name: str) -> str:
    return f"{QUEUE}:job:{job_id}:{name}"
