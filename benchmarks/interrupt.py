"""How soon what is asked to stop comes back: a measurement, a cold start, a run, a download.

Each is interrupted (Ctrl-C) or stopped while it is under way, some times; the figure is the time
from there to its return, sessions given back included. The tests hold that it comes back, and that
no further run begins; how many milliseconds that takes is said here, on a machine that does nothing
else. Exits with 1 when the median misses its ceiling.

    python benchmarks/interrupt.py [--times 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import workbench as wb
from workbench import errors

#: Ceilings in seconds: 0.2 s is what the interrupt of a measurement promises, and the sessions
#: that it opened are given back after that.
CEILINGS_S = {
    "benchmark, interrupt": 0.5,
    "comparison, interrupt": 0.4,
    "scenario, interrupt": 1.0,
    "cold start, stop": 0.5,
    "download, stop": 0.5,
}
#: Seconds after which it is asked to stop: warm-ups are over by then.
AFTER_S = 2.0


def back_after(work: Callable[[wb.Stop], object], act: str) -> float:
    """Return the seconds from the interrupt, or from the stop, to the return."""
    stop, asked = wb.Stop(), []

    def ask() -> None:
        asked.append(time.perf_counter())
        if act == "stop":
            stop.cancel()
        else:
            os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(AFTER_S, ask)
    timer.start()
    with contextlib.suppress(errors.CancelledError, KeyboardInterrupt):
        work(stop)
    if not asked:
        timer.cancel()
        raise SystemExit("it ended before it was asked to: raise its time")
    return time.perf_counter() - asked[0]


class Silent(http.server.BaseHTTPRequestHandler):
    """Sends the beginning of a file, and nothing more."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"\x08" * 1000)
        self.wfile.flush()
        self.connection.recv(1)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def works(url: str, folder: Path) -> dict[str, Callable[[wb.Stop], object]]:
    """Return what is asked to stop, by the names of the ceilings."""
    quiet = {"progress": False, "threads": 1}
    return {
        "benchmark, interrupt": lambda _: wb.benchmark(
            "cifar10", min_time_s=60, max_time_s=120, memory=False, **quiet
        ),
        "comparison, interrupt": lambda _: wb.compare(
            "cifar10", "cifar10", max_time_s=200, **quiet
        ),
        "scenario, interrupt": lambda _: wb.benchmark(
            "cifar10", scenario="offline", min_time_s=60, max_time_s=120, progress=False
        ),
        "cold start, stop": lambda stop: wb.cold_start(
            "cifar10", repeats=100, stop=stop, progress=False
        ),
        "download, stop": lambda stop: wb.ModelHub(model_dir=folder).pull(
            url, stop=stop, progress=False, allow_http=True, allow_private=True
        ),
    }


def main() -> int:
    """Measure, print a row each, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{server.server_address[1]}/m.onnx"
        for name, work in works(url, Path(folder)).items():
            act = name.rpartition(", ")[2]
            found[name] = [back_after(work, act) for _ in range(asked.times)]
    missed = 0
    for name, times in found.items():
        middle, ceiling = statistics.median(times), CEILINGS_S[name]
        missed += middle > ceiling
        print(f"{name:24} median {1e3 * middle:6.0f} ms, most {1e3 * max(times):6.0f} ms "
              f"(ceiling {1e3 * ceiling:.0f} ms)")  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(found), encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
