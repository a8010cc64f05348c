"""Servers of one's own, each in a temporary folder on a free port: JupyterLab and Voilà.

JupyterLab's server serves Notebook 7 as well. Nothing is shared with the developer's Jupyter, and
everything that was started is ended, kernels included, also after a failure.
"""

from __future__ import annotations

import ctypes
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

import workbench

ROOT = Path(__file__).resolve().parents[2]
#: How long a server, a page, a run or a click may take on a busy machine, in seconds.
PATIENCE_S = 150.0
#: How long a server may take to end by itself before it is killed, in seconds.
GRACE_S = 15.0
#: JupyterLab as a person has it after the first visit: no news, nothing fetched from elsewhere. All
#: cells are drawn, also those off the screen, so that the tests can look at them.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {
        "checkForUpdates": False,
        "doNotDisturbMode": True,
        "fetchNews": "false",
    },
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


@dataclass(frozen=True, slots=True)
class Lab:
    """A running JupyterLab.

    Attributes
    ----------
    url, token : where it listens, and what it asks for
    folder : what it serves
    """

    url: str
    token: str = field(repr=False)  # no failure prints it
    folder: Path

    def ask(self, path: str, body: Any = None, *, method: str = "GET") -> Any:
        """Call the server's own interface and return what it answers, read as JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def put(self, stem: str, name: str, change: Callable[[Any], None] | None = None) -> str:
        """Copy a notebook of the project into the folder, changed if asked; return its name."""
        notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
        if change is not None:
            change(notebook)
        return self.write(name, notebook)

    def write(self, name: str, notebook: Any) -> str:
        """Write a notebook into the folder; return its name."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
        return name

    def address(self, name: str, front: str = "doc/tree") -> str:
        """Return the page of a notebook alone; ``front`` is "notebooks" for Notebook 7."""
        return f"{self.url}/{front}/{name}?token={self.token}"

    def kernels(self) -> set[str]:
        """Return the ids of the kernels that run."""
        return {kernel["id"] for kernel in self.ask("api/kernels")}

    def rest(self) -> None:
        """End every session and its kernel: what comes next has the machine to itself."""
        for session in self.ask("api/sessions"):
            with suppress(urllib.error.HTTPError):  # it ended meanwhile
                self.ask(f"api/sessions/{session['id']}", method="DELETE")


def never_run(notebook: Any) -> None:
    """Take every output and number out of a notebook."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


@contextmanager
def started(home: Path) -> Iterator[Lab]:
    """Run JupyterLab with the running interpreter, a token, and settings of its own in ``home``."""
    folder, port, token = home / "work", _free_port(), secrets.token_hex(16)
    folder.mkdir()
    env = _environment(home)
    _write_settings(home / "settings")
    secret = home / "jupyter_config_dir" / "jupyter_server_config.json"
    secret.touch(mode=0o600)  # other users may read command lines and environments, not this
    fronts = ("LabApp", "JupyterNotebookApp")
    config = {
        "IdentityProvider": {"token": token},
        **{front: {"expose_app_in_browser": True} for front in fronts},  # kernels are asked there
    }
    secret.write_text(json.dumps(config), encoding="utf-8")
    lab = Lab(f"http://127.0.0.1:{port}", token, folder)
    command = (
        "jupyterlab", "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    )  # fmt: skip
    with _serving(command, folder, env, port, home / "lab.log"):
        try:
            yield lab
        finally:
            with suppress(OSError):  # it is gone already
                lab.rest()


@contextmanager
def voila(home: Path, stem: str) -> Iterator[str]:
    """Have Voilà serve a notebook of the project, as it comes from the shelf; yield the address."""
    port = _free_port()
    notebook = home / f"{stem}.ipynb"
    notebook.write_bytes((ROOT / "notebooks" / notebook.name).read_bytes())
    command = (
        "voila", str(notebook), "--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}",
        "--Voila.port_retries=0", "--show_tracebacks=True",
    )  # fmt: skip
    with _serving(command, home, _environment(home), port, home / "voila.log"):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def _serving(
    command: tuple[str, ...], folder: Path, env: dict[str, str], port: int, log: Path
) -> Iterator[None]:
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            start_new_session=True,
            preexec_fn=_end_with_us if sys.platform == "linux" else None,
        )  # fmt: skip
    try:
        _wait_for(port, server, log)
        yield
    finally:
        _stop(server)


def _end_with_us() -> None:
    """Have the kernel of the system end this server when the tests die, however they die."""
    parent_dies = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None).prctl(parent_dies, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_settings(folder: Path) -> None:
    for name, values in SETTINGS.items():
        file = folder / f"{name}.jupyterlab-settings"
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
    env["WORKBENCH_INFERENCE_TIMEOUT"] = "600000"  # it is a test that stops a run, not the time
    env["PYTHONPATH"] = str(Path(workbench.__file__).parents[1])  # the copy that is tested
    return env


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
    pytest.fail(f"{server.args[2]} did not start; its last words:\n{said}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, kernels included; kill it where it does not."""
    server.terminate()
    try:
        server.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
