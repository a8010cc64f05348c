"""A JupyterLab of one's own: started in a temporary folder on a free port, and stopped."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

import workbench

ROOT = Path(__file__).resolve().parents[2]
#: How long a server, a page or a run may take on a busy machine, in seconds.
PATIENCE_S = 240.0
#: JupyterLab as a person has it after the first visit: no news, nothing fetched from elsewhere. All
#: cells are drawn, also those off the screen, so that the tests can look at them.
SETTINGS = {
    "apputils-extension/notification": {
        "checkForUpdates": False,
        "doNotDisturbMode": True,
        "fetchNews": "false",
    },
    "notebook-extension/tracker": {"windowingMode": "none"},
}


@dataclass(frozen=True, slots=True)
class Lab:
    """A running JupyterLab.

    Attributes
    ----------
    url, token : where it listens, and what it asks for
    folder : what it serves
    env : the environment of the server and its kernels
    """

    url: str
    token: str
    folder: Path
    env: dict[str, str]

    def ask(self, path: str, body: Any = None, *, method: str = "GET") -> Any:
        """Call the server's own interface and return what it answers, read as JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def put(self, stem: str, name: str, change: Callable[[Any], None] | None = None) -> str:
        """Copy a notebook of the project into the folder, changed if asked; return its name."""
        notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
        if change is not None:
            change(notebook)
        nbformat.write(notebook, self.folder / name)
        return name

    def address(self, name: str) -> str:
        """Return the page of a notebook alone, without side bars."""
        return f"{self.url}/doc/tree/{name}?token={self.token}"


@contextmanager
def started(home: Path) -> Iterator[Lab]:
    """Run JupyterLab with the running interpreter, a token, and settings of its own in ``home``."""
    folder = home / "work"
    folder.mkdir()
    _write_settings(home / "settings")
    url, token, env = f"http://127.0.0.1:{_free_port()}", secrets.token_hex(16), _environment(home)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={url.rpartition(':')[2]}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    log = home / "server.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            command, cwd=folder, env=env, stdout=sink, stderr=sink, start_new_session=True
        )
    running = Lab(url, token, folder, env)
    try:
        _wait_for(running, server, log)
        yield running
    finally:
        _stop(running, server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_settings(folder: Path) -> None:
    for name, values in SETTINGS.items():
        file = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")


def _environment(home: Path) -> dict[str, str]:
    """Return an environment that shares nothing with the developer's Jupyter."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "WORKBENCH_"))}
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR",
                 "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR", "XDG_CACHE_HOME",
                 "XDG_CONFIG_HOME", "XDG_DATA_HOME"):  # fmt: skip
        env[name] = str(home / name.lower())
        Path(env[name]).mkdir(exist_ok=True)
    env["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    env["PYTHONPATH"] = str(Path(workbench.__file__).parents[1])  # the copy that is tested
    return env


def _wait_for(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and server.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            lab.ask("api/status")
            return
        time.sleep(0.2)
    said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
    pytest.fail(f"JupyterLab did not start; its last words:\n{said}")


def _stop(lab: Lab, server: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, kernels included; end it where it does not."""
    with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        lab.ask("api/shutdown", {}, method="POST")
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
