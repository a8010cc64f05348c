"""How far a download has come: as a bar, or told to a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.timing import clock


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file has come.

    Attributes
    ----------
    name : of the file
    done_bytes, total_bytes : None where the server does not say how many there will be
    rate_bytes : a second, so far; nan at the very beginning
    """

    name: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes: float

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at this rate; None where that cannot be told."""
        if self.total_bytes is None or not self.rate_bytes > 0:
            return None
        return max(0, self.total_bytes - self.done_bytes) / self.rate_bytes


#: Shown as a bar (True), not at all (False), or told to a function.
Shown = bool | Callable[[Progress], None]


class Bar:
    """Tells how far a file has come: as a bar, to a function, or to nobody."""

    def __init__(self, name: str, shown: Shown) -> None:
        self.name, self.shown = name, shown
        self._bar: Any = None
        self._begun_s, self._first = clock(), 0
        self._before = -1

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def told(self, done: int, total: int | None) -> None:
        """Take note of how many bytes are there, and how many there will be."""
        if self.shown is False or done == self._before:
            return
        if self._before < 0:
            self._begun_s, self._first = clock(), done
        self._before = done
        if callable(self.shown):
            spent_s = clock() - self._begun_s
            rate = (done - self._first) / spent_s if spent_s > 0 else float("nan")
            self.shown(Progress(self.name, done, total, rate))
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                desc=self.name, total=total, initial=done, unit="B", unit_scale=True, leave=False
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)
