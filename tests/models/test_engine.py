"""The engine is imported with its telemetry off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "program",
    [
        "import workbench as wb; wb.ModelHub().load('cifar10-small')",
        "from workbench.models.engine import engine; engine(); assert engine() is engine()",
    ],
)
def test_nothing_of_the_engine_is_left_in_the_cache_folder(tmp_path: Path, program: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
    assert not list(tmp_path.rglob("*onnxruntime*"))


@pytest.mark.parametrize(
    ("before", "told"), [("pass", "0 < s < 60"), ("import onnxruntime", "s != s")]
)
def test_the_import_is_timed_where_it_happens_here(before: str, told: str) -> None:
    program = (
        f"{before}\nfrom workbench.models import engine as e\n"
        f"assert e.import_seconds() != e.import_seconds()\ne.engine()\n"
        f"s = e.import_seconds()\nassert {told}, s"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
