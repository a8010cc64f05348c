"""Controls that are painted are not being moved by a person."""

from __future__ import annotations

import threading


class Hush(threading.local):
    """True within its ``with`` block, in the thread that entered it and in no other.

    A view is painted from the worker's thread while a person moves a control in the main
    thread: what the painting moves must not be forwarded, what the person moves must be.
    """

    _depth = 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def __bool__(self) -> bool:
        return self._depth > 0
