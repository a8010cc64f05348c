"""``wb.serve``: the same hub over HTTP, from a notebook."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import threading

import httpx
import pytest

import workbench as wb
from workbench.errors import ConfigError, MissingExtraError, UnknownModelError


@pytest.fixture(scope="module")
def hub(shelf):
    hub = wb.ModelHub(model_dir=shelf, graph_cache=False)
    hub.load("colours")
    return hub


@pytest.fixture(scope="module")
def served(hub):
    with wb.serve(hub, port=0) as service:
        yield service


def test_it_is_ready_when_it_returns_and_serves_the_same_hub(served, hub, red):
    health = httpx.get(f"{served.url}/health").json()
    assert (health["status"], health["ready"]) == ("ok", True)
    assert served.models == ("colours",)
    before = hub.cache_info().hits
    answer = httpx.post(
        f"{served.url}/api/inference/execute", headers=served.headers,
        json={"model_id": "colours", "input": {"data": red}},
    ).json()  # fmt: skip
    assert answer["predictions"][0]["label"] == "red"
    assert hub.cache_info().hits == before + 1
    assert served.desk.engine.hub is hub


def test_it_listens_here_alone_and_wants_its_token(served):
    assert served.url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{served.url}/api/inference/models").status_code == 401
    wrong = {"Authorization": "Bearer " + "x" * 32}
    assert httpx.get(f"{served.url}/api/inference/models", headers=wrong).status_code == 401


def test_its_display_says_where_it_is_and_never_shows_the_token(served):
    shown = f"{served!r}{served}{served._repr_html_()}"
    assert served.url in repr(served)
    assert served.url in served._repr_html_()
    assert served.token not in shown
    assert "running" in repr(served)
    assert served._repr_html_() == served._repr_html_()


def test_two_have_two_ports_and_two_tokens(served, hub):
    other = wb.serve(hub)
    try:
        assert other.url != served.url
        assert other.token != served.token
        response = httpx.get(f"{served.url}/api/inference/models", headers=other.headers)
        assert response.status_code == 401
    finally:
        other.stop()


def test_stop_ends_it_and_leaves_the_hub_usable(hub):
    service = wb.serve(hub)
    assert service.running
    service.stop()
    service.stop()
    assert not service.running
    assert "stopped" in repr(service)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/health")
    assert hub.load("colours").state == "live"


def test_its_threads_end_with_it(hub, red):
    before = {t.ident for t in threading.enumerate()}
    with wb.serve(hub) as service:
        httpx.post(f"{service.url}/api/inference/execute", headers=service.headers,
                   json={"model_id": "colours", "input": {"data": red}})  # fmt: skip
    left = [t for t in threading.enumerate() if t.ident not in before]
    for thread in left:
        if thread.name.startswith("workbench-serv"):
            thread.join(10)
    assert [t.name for t in threading.enumerate() if t.ident not in before
            and t.name.startswith("workbench-serv")] == []  # fmt: skip


def test_named_models_are_warm_before_it_is_ready(shelf):
    hub = wb.ModelHub(model_dir=shelf, graph_cache=False)
    with wb.serve(hub, models=["colours"]) as service:
        assert service.models == ("colours",)
        assert hub.handle("colours").state == "live"
        with hub.handle("colours").lease() as session:
            assert session.first_run_s is not None


def test_what_cannot_start_says_why_and_leaves_nothing(shelf):
    hub = wb.ModelHub(model_dir=shelf, graph_cache=False)
    before = sum(thread.name == "workbench-service" for thread in threading.enumerate())
    with pytest.raises(UnknownModelError):
        wb.serve(hub, models=["nowhere"])
    for wrong in (-1, 70000, "3000", None):
        with pytest.raises(ConfigError, match="port"):
            wb.serve(hub, port=wrong)
    with pytest.raises(ConfigError, match="a list of ids"):
        wb.serve(hub, models="colours")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="can be listened on"):
            wb.serve(hub, port=port)
    assert sum(thread.name == "workbench-service" for thread in threading.enumerate()) == before


def test_a_model_that_fails_to_warm_up_is_told_as_itself(tmp_path):
    from tests.graphs import refused_by_the_engine

    (tmp_path / "models").mkdir()
    refused_by_the_engine(tmp_path / "models" / "broken.onnx")
    hub = wb.ModelHub(model_dir=tmp_path / "models", graph_cache=False)
    with (
        pytest.raises(wb.errors.InvalidModelError, match="broken"),
        pytest.warns(wb.errors.InferredMetadataWarning),
    ):
        wb.serve(hub, models=["broken"])


def test_it_ends_with_its_process(shelf):
    code = f"""
        import workbench as wb
        hub = wb.ModelHub(model_dir={str(shelf)!r}, graph_cache=False)
        service = wb.serve(hub, models=["colours"])
        print(service.url, flush=True)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{run.stdout.strip()}/health")


def test_without_the_extra_one_sentence_says_how_to_get_it(monkeypatch):
    import workbench.service as service

    real = service.find_spec
    monkeypatch.setattr(service, "find_spec", lambda n: None if n == "fastapi" else real(n))
    with pytest.raises(MissingExtraError) as caught:
        wb.serve()
    assert "The service needs the extra 'serve', which is not installed." in str(caught.value)
    assert "install 'onnx-workbench[serve]'" in str(caught.value)


def test_without_the_extra_the_command_says_so_too(tmp_path):
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda n, p=None: None if n == 'fastapi' else real(n, p)\n"
        "from workbench.cli import main; sys.exit(main(['serve']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith("workbench: The service needs the extra 'serve'")
    assert len(run.stderr.strip().splitlines()) == 1


def test_importing_the_package_or_the_door_loads_no_server():
    code = (
        "import workbench, workbench.service, sys; workbench.ModelHub\n"
        "print(sorted({'fastapi', 'uvicorn', 'starlette', 'prometheus_client', 'limits'}"
        " & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True
    )
    assert run.stdout.strip() == "[]"
