"""The interrupt of a notebook's kernel: the measurement comes back with what it has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

#: Starts a kernel, presses its interrupt while a measurement is under way, and tells how it went;
#: in a process of its own, since the client leaves event loops behind.
DRIVER = """
import json, sys, threading, time
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name="python3")
try:
    def ask(code):
        printed = []
        def keep(message):
            content = message["content"]
            printed.append(content.get("text") or "".join(content.get("traceback", ())))
        reply = client.execute_interactive(code, timeout=60, output_hook=keep)
        return "".join(printed), reply["content"]["status"]

    pressed = []
    def press():
        pressed.append(time.time())
        manager.interrupt_kernel()

    ask("import time, workbench as wb; wb.default_hub().handle('cifar10')")
    timer = threading.Timer(2.0, press)
    timer.start()
    printed, status = ask(f"done = {sys.argv[1]}; ended = time.time()")
    timer.join()
    told, _ = ask("print(ended, done.stopped, len(done.samples()))")
    ended, stopped, runs = told.split()
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
print(json.dumps({"printed": printed, "status": status, "stopped": stopped, "runs": int(runs),
                  "late_s": float(ended) - pressed[0]}))
"""


@pytest.mark.parametrize(
    "call",
    [
        "wb.benchmark('cifar10-small', threads=1, min_time_s=30, progress=False)",
        "wb.compare('cifar10', 'cifar10', threads=1, max_time_s=60, progress=False)",
    ],
    ids=["benchmark", "compare"],
)
def test_the_kernels_interrupt_ends_it_in_time_and_keeps_the_runs(call):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, call],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["printed"], told["status"]) == ("", "ok"), "the interrupt is no error"
    assert told["stopped"] == "True"
    assert told["runs"] > 50
    assert told["late_s"] < 1.0  # 0.2 s, and sessions that are closed
