"""The systemd unit: systemd takes it, it is closed, and it lets the service end in peace."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.dockerfile import ROOT
from workbench.settings import Settings

UNIT = ROOT / "deploy" / "workbench.service"
WORKER = ROOT / "deploy" / "workbench-worker.service"
TEXT = UNIT.read_text("utf-8")
VARIABLES = {str(c) for f in Settings.model_fields.values() for c in f.validation_alias.choices}
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    ANALYZE is None, reason="platform: no systemd-analyze to look at the unit with"
)


def values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", TEXT, re.MULTILINE)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(params=[UNIT, WORKER], ids=["service", "worker"])
def installed(tmp_path, request) -> Path:
    """Return a unit with a program that is here in the place of the installed one."""
    (start,) = values("ExecStart")
    program = start.split()[0]
    place = tmp_path / request.param.name
    place.write_text(request.param.read_text("utf-8").replace(program, sys.executable))
    return place


def test_the_worker_s_is_the_service_s_but_for_what_it_starts_and_how_long_its_end_may_take():
    def told(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("#")]

    mine, other = told(TEXT), told(WORKER.read_text("utf-8"))
    assert [line for line in other if line not in mine] == [
        "Description=Jobs of ONNX models (workbench)",
        "ExecStart=/opt/workbench/bin/workbench worker",
        "TimeoutStopSec=600",
    ]
    gone = {line.split("=")[0] for line in mine if line not in other}
    assert gone == {"Description", "ExecStart", "ExecStartPre", "TimeoutStopSec"}


@needs_systemd
def test_systemd_takes_it(installed):
    done = analyze("verify", str(installed))
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_would_find_a_slip(installed):
    installed.write_text(installed.read_text().replace("KillMode=mixed", "KilMode=mixed"))
    assert "KilMode" in analyze("verify", str(installed)).stderr


@needs_systemd
def test_it_is_closed(installed):
    done = analyze("security", "--offline=true", "--threshold=20", str(installed))
    if "unrecognized option" in done.stderr:
        pytest.skip("platform: this systemd cannot judge a unit that does not run")
    assert done.returncode == 0, done.stdout[-300:]  # 2.0 of 10, where 10 is without any guard


def test_the_end_is_the_service_s_own():
    assert values("KillSignal") == ["SIGTERM"]
    assert values("KillMode") == ["mixed"], "workers finish what they run"
    assert int(values("TimeoutStopSec")[0]) > Settings.model_fields["drain_timeout"].default / 1000


def test_what_it_sets_are_settings_in_folders_that_it_may_write_to():
    places = dict(line.split("=", 1) for line in values("Environment"))
    assert set(places) - {"XDG_CACHE_HOME"} <= VARIABLES
    (state,), (cache,) = values("StateDirectory"), values("CacheDirectory")
    written = [f"/var/lib/{name}" for name in state.split()] + [f"/var/cache/{cache}"]
    for name in ("MODEL_DIR", "DATA_DIR", "XDG_CACHE_HOME"):
        assert places[name] in written
    assert values("ProtectSystem") == ["strict"]
    assert values("User") == ["workbench"]


def test_its_settings_file_has_settings_and_is_where_it_says():
    (file,) = values("EnvironmentFile")
    text = (ROOT / "deploy" / "workbench.env").read_text("utf-8")
    assert text.startswith(f"# {file}:")
    named = re.findall(r"^(\w+)=", text, re.MULTILINE)
    assert named
    assert set(named) <= VARIABLES


@pytest.mark.parametrize(("keys", "code"), [("", 1), ("me:0123456789abcdef", 0)])
def test_it_does_not_start_without_keys(keys, code):
    """nginx asks from the same machine, for which the service itself wants none."""
    (line,) = values("ExecStartPre")
    script = re.fullmatch(r"/bin/sh -c '(.*)'", line)
    assert script is not None
    done = subprocess.run(
        ["/bin/sh", "-c", script[1]], env={"API_KEYS": keys}, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert ("/etc/workbench.env" in done.stderr) is bool(code)


def test_it_starts_the_command():
    (start,) = values("ExecStart")
    assert start == "/opt/workbench/bin/workbench serve"
    readme = (ROOT / "deploy" / "README.md").read_text("utf-8")
    assert "/opt/workbench/bin/pip install" in readme
