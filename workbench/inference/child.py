"""The program of a worker process: one errand after another, for a runner in another process.

The errands come through one connection. Through the other it is told to stop what it does, and
tells what it is about: nobody wakes for that, it is read when a time limit is near. When that
connection ends, the runner's process is gone, however it went, and so is this one at once: a
thread of its own waits for that, and the engine lets go of the interpreter while it loads and runs.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from workbench.errors import InferredMetadataWarning, WorkbenchError, WorkbenchWarning
from workbench.host import resident_bytes
from workbench.inference.errand import (
    LOADING,
    PREPARING,
    READY,
    WARMING,
    Errand,
    Outfit,
    Reply,
    cannot_cross,
    classified,
)
from workbench.inference.executor import InProcess, Job
from workbench.inference.metrics import Metrics
from workbench.models.engine import engine
from workbench.models.hub import ModelHub
from workbench.stopping import Stop
from workbench.timing import clock

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from workbench.models.model import Model
    from workbench.models.session import SessionFacts

log = logging.getLogger(__name__)


def serve(outfit: Outfit, errands: Connection, control: Connection) -> None:
    """Do errands until the other side hangs up."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # also within a node, where Python has no say
    _no_core()
    engine()  # imported now, so that the first errand does not wait for it
    worker = _Worker(outfit, control)
    threading.Thread(target=worker.listen, name="workbench-lifeline", daemon=True).start()
    if outfit.memory_bytes is not None:
        limit_memory(outfit.memory_bytes)
    errands.send(READY)
    while True:
        try:
            packed = errands.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            number, errand = pickle.loads(packed)  # from the runner's process
        except Exception as error:  # noqa: BLE001  (a class of its main module, which is not here)
            name, reply = "", Reply(cannot_cross(None, error), 0.0)
        else:
            name, reply = errand.name, worker.do(number, errand)
        del packed
        with suppress(BrokenPipeError):
            errands.send_bytes(_packed(reply, name))


class _Worker:
    """Does errands with a hub of its own."""

    def __init__(self, outfit: Outfit, control: Connection) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._stop: tuple[int, Stop] | None = None
        self._told: dict[str, SessionFacts | None] = {}
        self._stopped = -1  # the number of an errand that is to be stopped, begun or not
        self.hub = ModelHub.built(outfit.hub)
        self.executor = InProcess(
            self.hub,
            Metrics(),  # nobody reads it: the runner counts
            max_batch_size=outfit.max_batch_size,
            workers=outfit.workers,
            tell=self.tell,
            limit_load=True,
        )

    def tell(self, what: str) -> None:
        """Note what this process is about, and since when; the clock is the machine's."""
        self._control.send((what, clock()))

    def listen(self) -> None:
        """Stop what is told to be stopped; end when the runner's process has ended."""
        while True:
            try:
                number = self._control.recv()
            except (EOFError, OSError):
                os._exit(0)
            with self._lock:
                self._stopped = number
                stop = self._stop[1] if self._stop and self._stop[0] == number else None
            if stop is not None:
                stop.cancel()

    def do(self, number: int, errand: Errand) -> Reply:
        """Do one errand; every error becomes one of ours."""
        began = clock()
        self.tell(PREPARING)
        stop = Stop()
        if errand.stop_s is not None:
            stop.timeout_s, left_s = errand.stop_s
            stop.deadline_s = began + left_s
        with self._lock:
            self._stop = (number, stop)
            stopped = self._stopped == number
        if stopped:
            stop.cancel()
        heard: list[Warning] = []
        facts: SessionFacts | None = None
        try:
            with warnings.catch_warnings():
                _hear(heard)
                model = self.hub.refer(errand.model)
                value: Any = self._done(errand, model, stop)
                facts = self._news(errand, model)
        except Exception as error:
            if not isinstance(error, WorkbenchError):
                log.exception("An errand with %s failed.", errand.name)
            value = classified(error, errand.name)
        finally:
            with self._lock:
                self._stop = None
        try:
            return Reply(value, clock() - began, tuple(heard), facts)
        finally:
            del value  # an error holds its frames: none of them may hold it, or both wait for gc

    def _news(self, errand: Errand, model: Model) -> SessionFacts | None:
        """Return what is known of a model's session, unless that was told already."""
        key = errand.model.key
        facts = None if errand.kind == "unload" else model.session
        if self._told.get(key) is facts:
            return None
        self._told[key] = facts
        return facts

    def _done(self, errand: Errand, model: Model, stop: Stop) -> Any:
        job = Job(
            model, errand.top_k, errand.timeout_s, stop,
            outputs=errand.outputs, most_bytes=errand.most_bytes,
        )  # fmt: skip
        content: Any = errand.content
        match errand.kind:
            case "one":
                return self.executor.one(content, job)
            case "many":
                return list(self.executor.many(iter(content), job))
            case "tensor":
                return self.executor.tensor(content, job)
            case "outputs":
                return self.executor.outputs(content, job)
            case "load":
                self.tell(LOADING)
                return self.executor.load(job)
            case "unload":
                return self.hub.unload(model)
            case "warm_up":
                # a first run under its own limit: what has no end has none here
                self.executor.outputs(model.sample_feeds(), job)
                self.tell(WARMING)
                return self.executor.warm_up(job, content)
        raise ValueError(f"no errand is called {errand.kind!r}")


def _hear(heard: list[Warning]) -> None:
    """Collect warnings of ours for the runner, which has given those about metadata itself."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if isinstance(message, WorkbenchWarning):
            if not isinstance(message, InferredMetadataWarning):
                heard.append(message)
        else:
            log.warning("%s: %s", category.__name__, message)

    warnings.simplefilter("always", WorkbenchWarning)
    warnings.showwarning = show


def _packed(reply: Reply, model: str) -> bytes:
    """Return a reply as bytes; one that cannot cross becomes an error that can."""
    try:
        return pickle.dumps(reply, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  (pickle raises what the object's class raises)
        return pickle.dumps(Reply(classified(error, model), reply.spent_s))


def _no_core() -> None:
    """Write no memory image when this process dies: that would take seconds, and a disk."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(limit_bytes: int) -> None:
    """Have the system refuse memory beyond a limit, where it can (Linux).

    The limit is of private memory that can be written to (``RLIMIT_DATA``), which the system
    counts when it is asked for. ``RLIMIT_AS`` would also count what is only reserved, and files
    that are mapped. What this process has asked for and does not hold is left out of account.
    """
    with suppress(ImportError, OSError, ValueError, StopIteration):
        import resource

        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
            line = next(text for text in status if text.startswith("VmData:"))
        asked_bytes = 1024 * int(line.split()[1])
        held_bytes = resident_bytes() or 0
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        room = asked_bytes + max(0, limit_bytes - held_bytes)
        soft = room if hard == resource.RLIM_INFINITY else min(room, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
