"""Starting a worker process: through pebble, from a notebook and from a plain script alike.

pebble starts the process (``pebble.concurrent.process``), watches over it in a thread, reaps it,
and tells its end with its exit status: one supervised process a worker. Its ``ProcessPool`` does
not keep what is promised here (read in pebble 5.2): a worker that dies while it has nothing to
do ends the pool and everything that waits in it ("All workers expired"); one whose time is up
gets SIGTERM, which Python handles only between two instructions, so never within an operator,
and SIGKILL three seconds later; and all workers share one pipe under one lock, with which a
worker can die.

A process that ``multiprocessing`` spawns runs the user's main module again, so that a script
without ``if __name__ == "__main__"`` would start itself over and over. Nothing of that module
is needed here: the process is told of none.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pebble import ProcessFuture, concurrent

from workbench.errors import SwitchedOffError

_starting = threading.Lock()


class _Process(SpawnProcess):
    """A process that knows nothing of the user's main module."""

    def start(self) -> None:
        with _starting, _without_main(), _unmoved_by_interrupts():
            super().start()


class _Spawning(SpawnContext):
    """What pebble starts one process with; keeps hold of it, so that it can be killed at once."""

    process: _Process | None = None

    def Process(self, *args: Any, **options: Any) -> _Process:  # type: ignore[override]  # noqa: N802
        self.process = _Process(*args, **options)
        return self.process


def start(program: Callable[..., None], *args: Any) -> tuple[SpawnProcess, ProcessFuture[None]]:
    """Start a process that runs ``program``; return it, and the future that tells its end.

    Raises
    ------
    SwitchedOffError : no process can be started here
    """
    if not sys.executable:
        why = "this program is no Python that can be started again"
        raise SwitchedOffError("A worker process", why)
    context = _Spawning()
    # pebble reads "context" and declares "mp_context"
    options: dict[str, Any] = {"context": context, "mp_context": context}
    try:  # it begins in the working directory, with the same places to import from
        future = concurrent.process(name="workbench-worker", daemon=True, **options)(program)(*args)
    except (OSError, AssertionError) as error:  # a daemonic process may have no children
        why = str(error) or type(error).__name__
        raise SwitchedOffError("A worker process", f"it could not be started ({why})") from error
    assert context.process is not None, "pebble started another kind of process"
    return context.process, future


@contextmanager
def _without_main() -> Iterator[None]:
    """Have processes that this thread starts not import the main module; others go on as ever."""
    plain, here = spawn.get_preparation_data, threading.get_ident()

    def data(name: str) -> dict[str, Any]:
        told: dict[str, Any] = plain(name)
        if threading.get_ident() == here:
            for key in ("init_main_from_name", "init_main_from_path"):
                told.pop(key, None)
        return told

    spawn.get_preparation_data = data
    try:
        yield
    finally:
        spawn.get_preparation_data = plain


@contextmanager
def _unmoved_by_interrupts() -> Iterator[None]:
    """Start a process with the interrupt blocked: a terminal's goes to all, and is the parent's."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


#: What a signal that ends a process means, for people.
_MEANING = {
    "SIGFPE": "a division that the processor refuses",
    "SIGSEGV": "it touched memory that is not its own",
    "SIGBUS": "it touched memory that is not there",
    "SIGILL": "an instruction that this processor does not have",
    "SIGABRT": "it gave up by itself",
    "SIGKILL": "killed from outside, or by the system for want of memory",
    "SIGTERM": "ended from outside",
}


def ending(future: ProcessFuture[None], timeout_s: float) -> tuple[str, bool]:
    """Wait for the end of a process; say how it died, and whether that came from outside.

    Returns
    -------
    its signal and what that means, or its exit status; and True for a signal that nothing in a
    process gives itself
    """
    try:
        error = future.exception(timeout_s)
    except Exception:  # noqa: BLE001  (cancelled, or it does not end)
        return "it hung up", False
    code = getattr(error, "exitcode", 0)
    if code is None or code >= 0:
        return f"exit status {code or 0}", False
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    meaning = f": {_MEANING[name]}" if name in _MEANING else ""
    return f"{name}{meaning}", name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
