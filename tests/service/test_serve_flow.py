"""The flow that people know from the server this grew out of, word for word."""

from __future__ import annotations

import base64
import json
import subprocess

import httpx
import pytest
from resnet18_graph import resnet18

import workbench as wb

METADATA = {
    "model_type": "image_classification",
    "input_shape": [1, 3, 224, 224],
    "preprocessing": "imagenet",
    "color_format": "RGB",
}


@pytest.fixture
def project(tmp_path):
    """Return a folder with a model, its metadata and its labels, and a picture to send."""
    resnet18(tmp_path / "models" / "resnet18.onnx")
    (tmp_path / "models" / "metadata").mkdir()
    (tmp_path / "models" / "metadata" / "resnet18.json").write_text(json.dumps(METADATA))
    (tmp_path / "data" / "labels").mkdir(parents=True)
    labels = [f"thing {i}" for i in range(1000)]
    (tmp_path / "data" / "labels" / "resnet18_labels.json").write_text(json.dumps(labels))
    return tmp_path


def curl(url: str, body: dict, folder) -> dict:
    (folder / "payload.json").write_text(json.dumps(body))
    run = subprocess.run(
        ["curl", "-s", "-S", "-X", "POST", url, "-H", "Content-Type: application/json",
         "-d", "@payload.json"],
        cwd=folder, capture_output=True, text=True, check=True, timeout=180,
    )  # fmt: skip
    return json.loads(run.stdout)


def test_the_flow_people_know(project, command):
    served = command(MODEL_DIR=str(project / "models"), DATA_DIR=str(project / "data"), cwd=project)
    with httpx.Client(base_url=served.url, timeout=180) as client:
        health = client.get("/health").json()
        assert (health["live"], health["ready"]) == (True, True)

        told = {
            "model_id": "resnet18",
            "model_path": "resnet18.onnx",
            "metadata": {
                "model_type": "image_classification",
                "input_shape": [1, 3, 224, 224],
                "preprocessing": "imagenet",
            },
            "warmup": True,
        }
        preload = client.post("/api/inference/preload", json=told).json()
        assert set(preload) == {
            "success", "model_id", "cached", "load_ms", "warmup_ms", "request_id",
        }  # fmt: skip
        assert (preload["success"], preload["model_id"]) == (True, "resnet18")
        assert preload["cached"] is False
        assert preload["load_ms"] > 0
        assert preload["warmup_ms"] > 0
        assert client.post("/api/inference/preload", json=told).json()["cached"] is True

        photo = wb.example("cat").read_bytes()
        uri = f"data:image/png;base64,{base64.b64encode(photo).decode()}"
        body = {
            "model_id": "resnet18",
            "input": {"type": "image", "data": uri},
            "options": {"top_k": 5},
        }
        answer = curl(f"{served.url}/api/inference/execute", body, project)
        assert set(answer) == {
            "success", "model_id", "predictions", "timings_ms", "model", "request_id",
        }  # fmt: skip
        assert answer["success"] is True
        assert set(answer["model"]) == {"provider", "precision"}
        assert answer["timings_ms"]["total"] >= answer["timings_ms"]["inference"] > 0
        top = answer["predictions"]
        assert len(top) == 5
        assert all(set(p) == {"label", "index", "probability"} for p in top)
        assert [p["probability"] for p in top] == sorted(p["probability"] for p in top)[::-1]
        assert all(p["label"] == f"thing {p['index']}" for p in top)

        batch = client.post(
            "/api/inference/batch",
            json={"model_id": "resnet18", "inputs": [body["input"]] * 3 + [{"data": "x.jpg"}]},
        ).json()
        assert set(batch) == {"success", "results", "request_id"}
        assert [set(one) == set(answer) for one in batch["results"]] == [True, True, True, False]
        assert set(batch["results"][3]) == {"error"}
        assert batch["results"][3]["error"]["code"] == "bad_request"
        assert all(one["predictions"] == top for one in batch["results"][:3])

        status = client.get("/api/inference/status").json()
        assert [one["model_id"] for one in status["models"]] == ["resnet18"]
        assert status["counts"]["answered"] == 4
        assert status["cache"]["hits"] > 0
        assert status["latency_ms"]["inference"]["n"] == 4

        gone = client.delete("/api/inference/models/resnet18").json()
        assert (gone["success"], gone["unloaded"]) == (True, True)
    assert served.end() == 0


def test_every_valid_request_is_answered(service, red):
    answers = [service.execute(red) for _ in range(100)]
    assert [a.status_code for a in answers] == [200] * 100
    assert {a.json()["predictions"][0]["label"] for a in answers} == {"red"}
