"""An isolated runner in a notebook's kernel: a model that crashes it, and the interrupt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import workbench as wb
from tests import graphs

#: Starts a kernel and tells what its cells came to; in a process of its own, since the client
#: leaves event loops behind.
DRIVER = """
import json, sys, threading
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name="python3")
told = []
def ask(code):
    printed = []
    def keep(message):
        content = message["content"]
        printed.append(content.get("text") or content.get("ename", ""))
    reply = client.execute_interactive(code, timeout=60, output_hook=keep)
    told.append("".join(printed).strip())
try:
    ask(f'''import os, time, numpy as np, workbench as wb
dark, light = (np.full((8, 8, 3), value, np.uint8) for value in (0, 200))
runner = wb.Runner(wb.ModelHub(model_dir={sys.argv[1]!r}), isolated=True)
runner.load("endless"); runner.load("dark")
print(runner.classify(light, model="dark").label)''')
    ask('runner.classify(dark, model="dark")')
    ask('runner.load("endless"); worker = runner._executor.crew[0].pid')
    timer = threading.Timer(1.0, manager.interrupt_kernel)
    timer.start()
    ask('runner.classify(light, model="endless")')
    timer.join()
    ask('print(runner.classify(light, model="dark").label)')
    ask('worker = runner._executor.crew[0].pid; print(worker)')
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)  # SIGKILL: nothing in the kernel can tell its worker
print(json.dumps(told))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="platform: signals and /proc are looked at"
)
def test_a_kernel_outlives_a_crash_and_interrupts_one_endless_node(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    for name, make in (("endless", graphs.endless_node), ("dark", graphs.deadly_when_dark)):
        make(tmp_path / f"{name}.onnx")
        described = tmp_path / "metadata" / f"{name}.json"
        described.write_text(json.dumps(graphs.PLAIN), encoding="utf-8")
    root = str(Path(wb.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, str(tmp_path)],
        capture_output=True, text=True, timeout=110, check=False,
        env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *told, worker = json.loads(done.stdout.splitlines()[-1])
    assert told == ["red", "WorkerCrashedError", "", "KeyboardInterrupt", "red"]
    assert worker.isdigit()
    state = Path(f"/proc/{worker}/stat")
    end_s = time.monotonic() + 20
    while state.exists() and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not state.exists(), "an orphan is left"
