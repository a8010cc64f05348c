"""The tile in JupyterLab: a real Jupyter server with jupyter-server-proxy starts the service."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from service_tools import until

import workbench
from workbench.service.launcher import server

TOKEN = "token-of-the-tests"


def test_the_entry_point_is_what_is_written_down():
    text = (Path(workbench.__file__).parent.parent / "pyproject.toml").read_text("utf-8")
    points = tomllib.loads(text)["project"]["entry-points"]["jupyter_serverproxy_servers"]
    module, _, name = points["workbench"].partition(":")
    assert getattr(importlib.import_module(module), name) is server


def test_describing_it_loads_nothing_and_shows_no_key_on_the_command_line():
    code = (
        "import sys; from workbench.service.launcher import server; server()\n"
        "print(sorted({'fastapi', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180
    )
    assert run.stdout.strip() == "[]"
    told = server()
    key = told["request_headers_override"]["X-API-Key"]
    assert told["environment"]["WORKBENCH_API_KEYS"] == f"jupyter:{key}"
    assert not any(key in word for word in told["command"])


def test_jupyter_starts_it_and_hands_requests_on(tmp_path, shelf):
    pytest.importorskip("jupyter_server_proxy", reason="not installable: jupyter-server-proxy")
    folders = {name: str(tmp_path / name) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}  # fmt: skip
    (tmp_path / "config.py").write_text(
        "from workbench.service.launcher import server\n"
        "c.ServerProxy.servers = {'workbench': server()}\n"
    )
    log = (tmp_path / "log.txt").open("w")
    jupyter = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", f"--config={tmp_path / 'config.py'}",
         f"--IdentityProvider.token={TOKEN}", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1",
         "--ServerApp.open_browser=False", "--allow-root",
         "--ServerApp.jpserver_extensions={'jupyter_server_proxy': True}"],
        cwd=tmp_path, env=os.environ | folders | {"MODEL_DIR": str(shelf)}, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        runtime = tmp_path / "JUPYTER_RUNTIME_DIR"

        def told() -> str:
            return "".join(path.read_text() for path in runtime.glob("jpserver-*.json"))

        assert until(lambda: told().endswith("}"), within_s=60), (tmp_path / "log.txt").read_text()
        url = json.loads(told())["url"]
        with httpx.Client(base_url=url, timeout=180) as client:
            client.headers["Authorization"] = f"token {TOKEN}"
            health = client.get("workbench/health").json()
            assert health["ready"] is True
            models = client.get("workbench/api/inference/models").json()["models"]
            assert "colours" in [model["id"] for model in models]
            assert "<h1>workbench" in client.get("workbench/docs").text
            stranger = httpx.get(f"{url}workbench/health")
            assert stranger.status_code in (302, 403)  # Jupyter asks who it is
    finally:
        jupyter.terminate()
        jupyter.wait(30)
        log.close()
