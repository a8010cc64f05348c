"""How much memory a model takes at most, measured in a process that does nothing else.

What several models take together in one process cannot be told apart; so each configuration is
opened and run a few times in a fresh process, which then tells how much it grew by at most.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workbench
from workbench.errors import CancelledError, WorkbenchError
from workbench.host import resident_bytes
from workbench.timing import clock
from workbench.units import seconds

if TYPE_CHECKING:
    from workbench.bench.subject import Configuration
    from workbench.models.model import Model
    from workbench.stopping import Stop

#: Runs in the fresh process: the arenas have grown to their size by then.
RUNS = 5
#: Longest that a process may take, in seconds, and how often a stop is looked for.
LIMIT_S, _POLL_S = 120.0, 0.05
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CODE = (
    "import sys; sys.path.append(sys.argv[1]); from workbench.bench.peak import main; "
    "sys.exit(main(sys.argv[2]))"
)


def peak_bytes(model: Model, configuration: Configuration, stop: Stop | None = None) -> int | None:
    """Return what a fresh process grew by at most while it opened and ran a configuration.

    ``end_to_end`` or not: it is the engine's call that is run, on arrays that fit.

    Returns
    -------
    bytes; None where the system does not tell (only Linux does), or the process failed

    Raises
    ------
    CancelledError : stopped meanwhile
    """
    return peak_or_why(model, configuration, stop)[0]


def peak_or_why(
    model: Model, configuration: Configuration, stop: Stop | None = None
) -> tuple[int | None, str]:
    """Return what :func:`peak_bytes` does, and why it is unknown; empty where there is no fault.

    Raises
    ------
    CancelledError : stopped meanwhile
    """
    try:
        return _peak(model, configuration, stop)
    except CancelledError:
        raise
    except MemoryError:
        return None, "there was not enough memory"
    except WorkbenchError as error:
        return None, error.message.rstrip(".")
    except OSError as error:  # no interpreter, too many processes, no room for another
        return None, f"no process could be started for it ({error.strerror or error})"


def _peak(model: Model, configuration: Configuration, stop: Stop | None) -> tuple[int | None, str]:
    if not sys.executable:
        return None, "no process could be started for it (the interpreter's path is not known)"
    options = configuration.options
    asked = {
        "path": str(model.path),
        "threads": options.threads,
        "providers": None if options.providers is None else
        [[w.name, dict(w.options)] for w in options.providers],
        "feeds": model.sample_shapes(configuration.batch),
    }  # fmt: skip
    folder = str(Path(workbench.__file__).parents[1])
    command = [sys.executable, "-P", "-c", _CODE, folder, json.dumps(asked)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        try:
            answer = _wait(process, stop)
        finally:
            process.kill()
    if answer is None:
        return None, f"its process did not end within {seconds(LIMIT_S)}"
    try:
        told = json.loads(answer.splitlines()[-1])["peak_bytes"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None, f"its process failed (exit code {process.returncode})"
    return (int(told) if isinstance(told, int) else None), ""


def _wait(process: subprocess.Popen[bytes], stop: Stop | None) -> bytes | None:
    end_s = clock() + LIMIT_S
    while clock() < end_s:
        if stop is not None and stop.over:
            raise CancelledError("Measuring the memory")
        try:
            return process.communicate(timeout=_POLL_S)[0]
        except subprocess.TimeoutExpired:
            continue
    return None


def main(asked: str) -> int:
    """Do what the parent asked for, and tell the peak as JSON; the exit code is 0 or 1."""
    import warnings

    from workbench.models.gate import examine
    from workbench.models.session import Options, open_session
    from workbench.models.warmup import made_up

    warnings.simplefilter("ignore")
    told: dict[str, Any] = json.loads(asked)
    wanted = told["providers"]
    providers = "auto" if wanted is None else [(name, options) for name, options in wanted]
    try:
        path = Path(told["path"])
        facts = examine(path)
        feeds = made_up({name: (kind, tuple(dims)) for name, (kind, dims) in told["feeds"].items()})
        before = _reset()
        session = open_session(
            path, Options.of(told["threads"], providers, False), facts, name=path.stem
        )
        for _ in range(RUNS):
            session.run(feeds)
    except WorkbenchError:
        return 1
    most = _most()
    peak = None if before is None or most is None else max(0, most - before)
    sys.stdout.write(json.dumps({"peak_bytes": peak}) + "\n")
    return 0


def _reset() -> int | None:
    """Forget the peak so far, where the system lets us, and return what is held now."""
    try:
        _RESET.write_text("5", encoding="ascii")  # proc(5): resets the peak resident set size
    except OSError:
        return None
    return resident_bytes()


def _most() -> int | None:
    """Return the most that this process has held, in bytes; None where the system does not tell."""
    try:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None
