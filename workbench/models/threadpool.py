"""One pool of threads for all models, where the engine has it (onnxruntime ≥ 1.23).

Each session has threads of its own otherwise: three live models on four cores keep nine threads
that wait. The engine makes one pool a process, once, with a size that stays; it spins as the
engine decides, which no option of a session changes.
"""

from __future__ import annotations

import threading

from workbench.errors import ConfigError
from workbench.models.engine import engine

_lock = threading.Lock()
_size: int | None = None


def why_no_pool() -> str:
    """Say why this engine has no shared pool; empty where it has one."""
    if hasattr(engine(), "set_global_thread_pool_sizes"):
        return ""
    return f"onnxruntime {engine().__version__} has no shared pool of threads; 1.23 or newer has"


def share_threads(threads: int) -> str:
    """Have the process's pool made, with ``threads`` threads, the caller's included.

    Returns
    -------
    why there is none, in words; empty where there is one of this size now

    Raises
    ------
    ConfigError : the process has one of another size already
    """
    global _size  # noqa: PLW0603  (one a process, as the engine has it)
    if why := why_no_pool():
        return why
    with _lock:
        if _size is None:
            try:
                engine().set_global_thread_pool_sizes(threads, 1)
            except Exception as error:  # noqa: BLE001  (someone else made it: its size is unknown)
                return f"the shared pool of threads could not be made ({error})"
            _size = threads
        if _size != threads:
            raise ConfigError(
                "shared_threads", threads, f"{_size}, the size of the pool that this process has",
                hint="A process has one pool, whose size stays: start another process.",
            )  # fmt: skip
    return ""
