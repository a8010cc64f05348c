"""The interrupt of a notebook's kernel: the measurement comes back with what it has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from presses import BACK_S

#: Starts a kernel, presses its interrupt while a measurement is under way, and tells how it went;
#: in a process of its own, since the client leaves event loops behind.
DRIVER = """
import json, pathlib, sys, threading, time
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name="python3", startup_timeout=250)
try:
    def ask(code):
        printed = []
        def keep(message):
            content = message["content"]
            printed.append(content.get("text") or "".join(content.get("traceback", ())))
        reply = client.execute_interactive(code, timeout=250, output_hook=keep)
        return "".join(printed), reply["content"]["status"]

    pressed, over = [], threading.Event()
    def press():
        while not under_way.exists() and not over.wait(0.02):
            pass
        pressed.append(time.time())
        manager.interrupt_kernel()

    under_way = pathlib.Path(sys.argv[2])
    ask(sys.argv[3])
    presser = threading.Thread(target=press)
    presser.start()
    printed, status = ask(f"done = {sys.argv[1]}; ended = time.time()")
    over.set()
    presser.join()
    told, _ = ask("print(ended, done.stopped, len(done.samples()))")
    ended, stopped, runs = told.split()
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
print(json.dumps({"printed": printed, "status": status, "stopped": stopped, "runs": int(runs),
                  "late_s": float(ended) - pressed[0]}))
"""


#: Runs in the kernel: leaves word when enough runs are done, warm-ups being 240 at most.
PREPARE = """
import pathlib, time
import workbench as wb
from workbench.bench.subject import ModelSubject
wb.default_hub().handle("cifar10")
real, left = ModelSubject.run, iter(range(400, -10_000_000, -1))
def run(self):
    if next(left) == 0:
        pathlib.Path({!r}).touch()
    return real(self)
ModelSubject.run = run
"""


@pytest.mark.parametrize(
    "call",
    [
        "wb.benchmark('cifar10-small', threads=1, min_time_s=100, max_time_s=200, progress=False)",
        "wb.compare('cifar10', 'cifar10', threads=1, max_time_s=200, progress=False)",
    ],
    ids=["benchmark", "compare"],
)
def test_the_kernels_interrupt_ends_it_and_keeps_the_runs(call, tmp_path):
    mark = str(tmp_path / "under way")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, call, mark, PREPARE.format(mark)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["printed"], told["status"]) == ("", "ok"), "the interrupt is no error"
    assert told["stopped"] == "True"
    assert told["runs"] > 50
    assert told["late_s"] < BACK_S  # how late it really is: benchmarks/interrupt.py
