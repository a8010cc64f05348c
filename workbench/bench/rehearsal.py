"""One cold start, in this process: what a fresh child of :mod:`workbench.bench.launch` runs.

Nothing heavy is imported at the top: importing is a stage, and is measured.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

#: What the child writes into its folder: what it found so far, and why it gave up.
FOUND, ERROR = "found.json", "error.pickle"

#: What was found: the stage that has begun last, seconds of those before it, and so on.
Found = dict[str, Any]


def main(started_s: float, folder: str) -> None:
    """Do what ``task.json`` in a folder says, and write ``found.json`` beside it.

    ``started_s`` : the clock when the interpreter reached its first statement
    """
    place = Path(folder)
    task = json.loads((place / "task.json").read_text(encoding="utf-8"))
    found: Found = {"launch_s": started_s - task["spawned_s"], "stages": {}, "runs_s": []}
    begin(place, "import", found)
    from workbench.errors import WorkbenchError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what ran is in what was found
            rehearse(task, place, started_s, found)
    except WorkbenchError as error:
        (place / ERROR).write_bytes(pickle.dumps(error))
    else:
        begin(place, "", found)


def begin(place: Path, stage: str, found: Found) -> None:
    """Leave word of what was found and of the stage that begins; "" when all is done.

    Whoever finds this process dead can say how far it came. Where that cannot be written the
    process dies, and that is said.
    """
    found["stage"] = stage
    part = place / f"{FOUND}.part"
    part.write_text(json.dumps(found), encoding="utf-8")
    part.replace(place / FOUND)


def rehearse(task: dict[str, Any], place: Path, started_s: float, found: Found) -> None:
    """Import, check, read, optimise, run for the first time, and run until the times settle."""
    from workbench.models.engine import engine
    from workbench.models.gate import examine
    from workbench.models.provider import Wanted, offered
    from workbench.models.session import Options, open_session
    from workbench.models.warmup import made_up
    from workbench.timing import settled

    import_module("workbench.models.hub")  # what using the package takes is a part of it
    engine()
    offered()  # registers the plugins
    stages = found["stages"]
    stages["import"] = perf_counter() - started_s
    imported = memory()
    begin(place, "check", found)
    lap = perf_counter()
    path = Path(task["path"])
    facts = examine(path)
    stages["check"] = perf_counter() - lap
    given = task["options"]
    wanted = given["providers"]
    options = Options(
        threads=given["threads"],
        providers=None
        if wanted is None
        else tuple(Wanted(name, tuple(map(tuple, pairs))) for name, pairs in wanted),
        spinning=given["spinning"],
        strict=given["strict"],
    )
    begin(place, "optimise", found)
    session = open_session(path, options, facts, name=task["model"])
    stages |= dict(session.facts.load)
    found["provider"], found["precision"] = session.facts.provider, session.facts.precision
    found["threads"] = session.facts.threads
    feeds = made_up({name: (kind, tuple(dims)) for name, (kind, dims) in task["shapes"].items()})
    begin(place, "first run", found)
    session.run(feeds)
    stages["first run"] = session.first_run_s
    begin(place, "settling", found)
    runs: list[float] = found["runs_s"]
    while len(runs) < task["runs"] and settled(runs) is None:
        lap = perf_counter()
        session.run(feeds)
        runs.append(perf_counter() - lap)
    found["settled_at"] = settled(runs)
    found["imported_bytes"], found["peak_bytes"] = imported, memory(peak=True)


def memory(*, peak: bool = False) -> int | None:
    """Return the memory that this process holds (or has held at most) in bytes, or None.

    Linux tells both of this program alone; elsewhere only the peak is told (macOS in bytes).
    ``getrusage`` would count what the parent held before the program was loaded.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        told = dict(line.split(":", 1) for line in lines)
        return 1024 * int(told["VmHWM" if peak else "VmRSS"].split()[0])
    except (OSError, KeyError, ValueError):
        pass
    if peak and sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
