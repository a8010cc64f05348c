"""Models of strangers in the service: they are stopped, they crash, and nobody else notices."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from service_tools import until

from tests.graphs import PLAIN, deadly, endless, endless_node, means


@pytest.fixture
def served(command, tmp_path):
    """Return a service with a model that brings its process down, and a good one."""
    models = tmp_path / "models"
    (models / "metadata").mkdir(parents=True)
    deadly(models / "deadly.onnx")
    means(models / "colours.onnx")
    endless(models / "endless.onnx")
    for name in ("colours", "endless"):
        (models / "metadata" / f"{name}.json").write_text(json.dumps(PLAIN))
    return command("--workers", "2", "--models", "colours", MODEL_DIR=str(models))


def divide(client: httpx.Client, x: int) -> httpx.Response:
    inputs = [{"name": "x", "datatype": "INT64", "shape": [1], "data": [x]}]
    return client.post("/v2/models/deadly/infer", json={"inputs": inputs})


def test_a_model_that_crashes_costs_one_error_and_its_worker_is_replaced(served, red):
    good = {"model_id": "colours", "input": {"data": red}}
    with httpx.Client(base_url=served.url, timeout=180) as client:
        assert divide(client, 2).json()["outputs"][0]["data"] == [-(2**63)]
        for _ in range(2):
            answer = divide(client, 0)
            assert (answer.status_code, answer.json()["code"]) == (500, "worker_crashed")
            assert "SIGFPE" in answer.json()["error"]
            assert client.post("/api/inference/execute", json=good).status_code == 200
        assert divide(client, 2).status_code == 200
        assert "workbench_worker_restarts_total 2.0" in client.get("/metrics").text
        assert client.get("/health").json()["ready"] is True
    assert served.end() == 0


def test_status_knows_what_is_in_memory_elsewhere(served, red):
    good = {"model_id": "colours", "input": {"data": red}}
    with httpx.Client(base_url=served.url, timeout=180) as client:
        for _ in range(3):
            client.post("/api/inference/execute", json=good)
        told = client.get("/api/inference/status").json()
        assert [model["model_id"] for model in told["models"]] == ["colours"]
        assert told["cache"]["hits"] == 3
        assert told["cache"]["misses"] == 1
        assert client.get("/v2/models/colours/ready").status_code == 200
        assert client.delete("/api/inference/models/colours").json()["unloaded"] is True
        assert client.get("/v2/models/colours/ready").status_code == 503
        assert client.delete("/api/inference/models/colours").json()["unloaded"] is False
    assert served.end(signal.SIGTERM) == 0


def workers(client: httpx.Client) -> list[dict]:
    return client.get("/api/inference/status").json()["workers"]


def test_status_and_metrics_tell_of_the_workers(served, red):
    good = {"model_id": "colours", "input": {"data": red}}
    with httpx.Client(base_url=served.url, timeout=180) as client:
        assert client.post("/api/inference/execute", json=good).status_code == 200
        assert until(lambda: [one["memory_bytes"] > 1e7 for one in workers(client)] == [True] * 3)
        told = client.get("/api/inference/status").json()
        (model,) = told["models"]
        assert model["provider"] == "CPU"
        assert model["threads"] >= 1
        assert told["cache"]["max_models"] == 6  # three each
        assert {one["spare"] for one in told["workers"]} == {False, True}
        assert [one["models"] for one in told["workers"]] == [["colours"], ["colours"], []]
        assert not any(one["busy"] for one in told["workers"])
        (row,) = [r for r in client.get("/api/inference/models").json()["models"]
                  if r["id"] == "colours"]  # fmt: skip
        assert (row["state"], row["provider"]) == ("live", "CPU")
        seen = client.get("/metrics").text
        held = float(re.search(r"\nworkbench_workers_resident_bytes (\S+)", seen)[1])
        assert held > 3e7
        client.delete("/api/inference/models/colours")
        assert not any(one["models"] for one in workers(client))


def test_what_a_request_said_of_a_model_is_forgotten_in_every_worker(served, red):
    def labels(client: httpx.Client) -> set[str]:
        inputs = [{"data": red}] * 6
        body = {"model_id": "colours", "inputs": inputs}
        results = client.post("/api/inference/batch", json=body).json()["results"]
        return {one["predictions"][0]["label"] for one in results}

    told = {"model_id": "colours", "metadata": PLAIN | {"labels": ["blue", "green", "red"]}}
    with httpx.Client(base_url=served.url, timeout=180) as client:
        assert client.post("/api/inference/preload", json=told).status_code == 200
        assert labels(client) == {"blue"}
        assert client.delete("/api/inference/models/colours").json()["unloaded"] is True
        assert labels(client) == {"red"}


def test_unloading_waits_for_no_run(served, red):
    body = {"model_id": "endless", "input": {"data": red}}
    with httpx.Client(base_url=served.url, timeout=180) as client:

        def queue() -> dict[str, int]:
            return client.get("/api/inference/status").json()["queue"]

        def run() -> None:
            with (
                suppress(httpx.HTTPError),  # the service ends before it
                httpx.Client(base_url=served.url, timeout=180) as other,
            ):
                other.post("/api/inference/execute", json=body)

        threads = [threading.Thread(target=run, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert until(lambda: queue()["running"] == 2)
        told = client.delete("/api/inference/models/colours").json()
        assert told["unloaded"] is True
        assert queue()["running"] == 2  # each of them for the 30 s of its limit
        assert client.delete("/api/inference/models/colours").json()["unloaded"] is False
    served.process.kill()
    for thread in threads:
        thread.join()


def test_a_load_that_does_not_end_is_late_as_a_load(command, tmp_path):
    endless_node(tmp_path / "never.onnx", at_load=True)
    served = command("--workers", "1", MODEL_DIR=str(tmp_path), INFERENCE_TIMEOUT="700")
    told = {"model_id": "never", "metadata": PLAIN}
    response = httpx.post(f"{served.url}/api/inference/preload", json=told, timeout=180)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "load_timeout")
    assert response.json()["error"]["message"] == "Model 'never' was not loaded within 700 ms."


def test_its_workers_end_with_it(served):
    def children() -> list[int]:
        tasks = Path(f"/proc/{served.process.pid}/task")
        return [int(pid) for task in tasks.glob("*/children") for pid in task.read_text().split()]

    mine = children()
    assert mine
    served.process.kill()
    served.process.wait()
    begun = time.monotonic()
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in mine))
    assert time.monotonic() - begun < 60
