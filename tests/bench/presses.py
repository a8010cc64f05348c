"""A person who presses Ctrl-C in the middle of a measurement."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from workbench.bench.subject import ModelSubject

if TYPE_CHECKING:
    import pytest


def interrupt_after(runs: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Interrupt this process soon after so many runs; return when that was, once it was."""
    pressed: list[float] = []
    left = iter(range(runs, -100_000, -1))
    real = ModelSubject.run

    def press() -> None:
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    def run(self: ModelSubject) -> object:
        if next(left) == 0:
            threading.Timer(0.02, press).start()
        return real(self)

    monkeypatch.setattr(ModelSubject, "run", run)
    return pressed
