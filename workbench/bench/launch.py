"""Fresh processes for cold starts: one each, with a time limit, ended at once by a stop."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.bench.rehearsal import ERROR, FOUND, Found
from workbench.errors import (
    CancelledError,
    InferenceTimeoutError,
    SwitchedOffError,
    WorkbenchError,
    WorkerCrashedError,
    WriteError,
)
from workbench.timing import clock

if TYPE_CHECKING:
    from workbench.models.model import Model
    from workbench.stopping import Stop

#: How often a stop is looked for while a child works, in seconds.
POLL_S = 0.05
#: The child's program: the clock is read before anything else is done.
_PROGRAM = (
    "import time; started = time.perf_counter(); import sys, json; "
    "sys.path[:] = json.loads(sys.argv[1]); "
    "from workbench.bench.rehearsal import main; main(started, sys.argv[2])"
)

#: Input → dtype and shape.
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def rehearse(
    model: Model,
    shapes: Shapes,
    *,
    runs: int,
    timeout_s: float,
    stop: Stop | None = None,
) -> tuple[Found, WorkbenchError | None]:
    """Start a model cold in a process of its own; return what it found, and what stopped it.

    Something may have been found before an error: a process that was killed because its time was
    up (InferenceTimeoutError), that died (WorkerCrashedError), or that said why it gave up.

    Parameters
    ----------
    model : whose file and options are used
    shapes : what it is fed with: made-up numbers
    runs : most runs after the first, until the times settle
    timeout_s : limit of the whole process in seconds

    Raises
    ------
    CancelledError : a stop ended it
    SwitchedOffError : no Python can be started here
    WriteError : there is no room for its files
    """
    if not sys.executable:
        raise SwitchedOffError(
            "A cold start", "this program is no Python that can be started again"
        )
    try:
        with tempfile.TemporaryDirectory(
            prefix="workbench-cold-", ignore_cleanup_errors=True
        ) as folder:
            return _in_folder(Path(folder), model, shapes, runs, timeout_s, stop)
    except OSError as error:
        raise WriteError(tempfile.gettempdir(), error.strerror or str(error)) from error


def _in_folder(
    folder: Path, model: Model, shapes: Shapes, runs: int, timeout_s: float, stop: Stop | None
) -> tuple[Found, WorkbenchError | None]:
    options = model.options
    providers = options.providers
    task = {
        "model": model.id,
        "path": str(model.path.absolute()),
        "options": asdict(options)
        | {"providers": None if providers is None else [[p.name, p.options] for p in providers]},
        "shapes": shapes,
        "runs": runs,
        "spawned_s": 0.0,
    }
    with (folder / "errors").open("wb") as errors:
        task["spawned_s"] = clock()
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # an interrupt is for this process, which then ends the child
        )
        try:
            late = not _ended(child, model.id, timeout_s, stop)
        finally:
            with suppress(OSError):
                child.kill()
            child.wait()
    found: Found = {}
    with suppress(OSError, ValueError):
        found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    stage = found.get("stage", "launch")
    if late:
        what = f"The cold start of {model.id!r} in a process of its own (it was at {stage!r})"
        return found, InferenceTimeoutError(model.id, timeout_s, what=what)
    if (said := folder / ERROR).exists():
        error: WorkbenchError = pickle.loads(said.read_bytes())  # written by our own child
        return found, error
    if stage:
        return found, WorkerCrashedError(model.id, _how(child.returncode, stage, folder))
    return found, None


def _ended(child: subprocess.Popen[bytes], model: str, timeout_s: float, stop: Stop | None) -> bool:
    """Wait for the end of a child; False when its time is up; raise when a stop came."""
    end_s = clock() + timeout_s
    while True:
        try:
            child.wait(min(POLL_S, max(0.0, end_s - clock())))
            return True
        except subprocess.TimeoutExpired:
            pass
        if stop is not None and stop.over:
            raise CancelledError(f"The cold start of {model!r}")
        if clock() >= end_s:
            return False


def _how(code: int, stage: str, folder: Path) -> str:
    """Say how a child died: its signal or its exit status, the stage, and its last words."""
    how = f"exit status {code}"
    if code < 0:
        with suppress(ValueError):
            how = signal.Signals(-code).name
    words = ""
    with suppress(OSError):
        lines = (folder / "errors").read_text(encoding="utf-8", errors="replace").split("\n")
        words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = f": {words[:200]}" if words else ""
    return f"{how} during {stage!r}{said}"
