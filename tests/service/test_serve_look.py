"""What can be seen of the service: status, metrics, and the log."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import workbench as wb
from workbench.errors import WriteError
from workbench.inference.metrics import BOUNDS_S, Metrics
from workbench.service import journal, traffic
from workbench.service.engine import Engine
from workbench.settings import Settings


def scrape(running):
    response = running.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(seen, name, **labels):
    wanted = set(labels.items())
    found = [v for (n, told), v in seen.items() if n == name and wanted <= set(told)]
    return sum(found)


def test_metrics_are_what_was_counted(start, red):
    running = start()
    for _ in range(3):
        running.execute(red)
    running.execute("aGk=")
    running.execute(red, model_id="nowhere")
    batch = {"model_id": "colours", "inputs": [{"data": red}] * 2}
    running.client.post("/api/inference/batch", json=batch)
    seen = scrape(running)
    total = "workbench_requests_total"
    route = "/api/inference/execute"
    assert value(seen, total, route=route, code="", model="colours") == 3
    assert value(seen, total, route=route, code="not_an_image", status="422") == 1
    assert value(seen, total, route=route, code="unknown_model", status="404") == 1
    assert value(seen, "workbench_answered_total", model="colours") == 5
    assert value(seen, "workbench_run_errors_total", code="not_an_image") == 1
    assert value(seen, "workbench_batches_total") == 6
    assert value(seen, "workbench_batch_inputs_total") == 7
    stage = {"model": "colours", "stage": "inference"}
    assert value(seen, "workbench_stage_seconds_count", **stage) == 5
    assert value(seen, "workbench_stage_seconds_bucket", le="+Inf", **stage) == 5
    assert value(seen, "workbench_stage_seconds_sum", **stage) > 0
    waited = {"model": "colours", "stage": "queue"}
    assert value(seen, "workbench_stage_seconds_count", **waited) == 5
    assert value(seen, "workbench_stage_seconds_bucket", le="+Inf", **waited) == 5
    assert value(seen, "workbench_stage_seconds_count", model="colours", stage="total") == 5
    assert running.client.get("/api/inference/status").json()["latency_ms"]["queue"]["n"] == 5
    assert value(seen, "workbench_cache_misses_total") == 1
    assert value(seen, "workbench_models_live") == 1
    assert value(seen, "workbench_queue_limit") == 64
    assert value(seen, "workbench_resident_bytes") > 1e6
    assert value(seen, "workbench_requests_open") == 1
    again = scrape(running)
    assert value(again, total, route="/metrics") == 1
    before = {k: v for k, v in seen.items() if k[0].endswith(("_total", "_count", "_bucket"))}
    assert all(again[key] >= number for key, number in before.items())


def test_the_memory_of_a_model_is_that_of_all_its_workers(shelf, monkeypatch):
    runner = wb.Runner(wb.ModelHub(model_dir=shelf, graph_cache=False))
    facts = runner.load("colours").session
    runner.unload("colours")
    told = [replace(facts, memory_bytes=grown) for grown in (3, None, 4)]
    monkeypatch.setattr(wb.Runner, "live", property(lambda _: ("colours",)))
    monkeypatch.setattr(wb.Runner, "sessions", lambda *_: told)
    (model,) = Engine(runner).status()["models"]
    assert (model["model_id"], model["memory_bytes"]) == ("colours", 7)
    assert (model["provider"], model["threads"]) == (facts.provider, facts.threads)
    del told[0], told[1]
    assert Engine(runner).status()["models"][0]["memory_bytes"] is None


def test_strangers_cannot_fill_the_metrics(start, red, monkeypatch):
    monkeypatch.setattr(traffic, "MOST_MODELS", 2)
    running = start()
    for number in range(3):
        running.execute(red, model_id=f"m{number}")
        running.client.get(f"/v2/models/n{number}")
        told = {"model_id": f"o{number}", "model_path": "../x.onnx"}
        running.client.post("/api/inference/preload", json=told)
    assert running.execute("aGk=").status_code == 422
    assert running.execute(red).status_code == 200
    for number in range(5):
        running.client.get(f"/nowhere/{number}")
    seen = scrape(running)
    total = "workbench_requests_total"
    models = {dict(labels)["model"] for (name, labels) in seen if name == total}
    assert models == {"", "colours", "other"}
    assert value(seen, total, model="other") == 9
    assert value(seen, total, model="colours") == 2
    assert value(seen, "workbench_requests_total", route="(none)", status="404") == 5


def test_histograms_only_ever_grow_and_percentiles_forget():
    metrics = Metrics()
    for _ in range(3):
        metrics.add("m", {"inference": 0.0004}, 0.02)
    metrics.add("m", {"inference": 99.0}, 99.0)
    tally = metrics.tallies()["m", "inference"]
    assert tally.n == 4
    assert tally.counts[BOUNDS_S.index(0.0005)] == 3
    assert tally.counts[-1] == 1
    assert tally.sum_s == pytest.approx(99.0012)
    metrics.reset()
    assert metrics.tallies() == {}


def test_the_bounds_are_1_2_and_a_half_and_5_of_every_decade():
    assert BOUNDS_S[:4] == pytest.approx((1e-4, 2.5e-4, 5e-4, 1e-3))
    assert BOUNDS_S[-1] == 10.0
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))


def test_status_says_what_is_in_memory_and_how_it_went(start, red):
    running = start()
    running.execute(red)
    running.execute("aGk=")
    told = running.client.get("/api/inference/status").json()
    assert [model["model_id"] for model in told["models"]] == ["colours"]
    assert told["counts"]["answered"] == 1
    assert told["counts"]["errors"] == {"not_an_image": 1}
    assert told["counts"]["http"]["not_an_image"] == 1
    assert told["latency_ms"]["total"]["p50_ms"] > 0
    assert told["latency_ms"]["total"]["p99_ms"] is None  # one run carries no p99
    assert told["queue"] == {"running": 0, "waiting": 0, "limit": 64, "workers": 2, "refused": 0}
    assert told["limits"]["max_image_bytes"] == 10_000_000
    assert told["limits"]["max_body_bytes"] == running.desk.policy.largest_body_bytes


def test_models_are_listed_without_a_path(service, shelf):
    response = service.client.get("/api/inference/models")
    rows = {row["id"]: row for row in response.json()["models"]}
    assert rows["colours"]["task"] == "classification"
    assert str(shelf) not in response.text


# ── the log ───────────────────────────────────────────────────────────────────────────────────


def test_a_request_keeps_the_id_that_it_came_with(service, red):
    for sent, kept in (("my-id.7", True), ("no spaces", False), ("x" * 65, False), ("", False)):
        response = service.client.get("/health", headers={"X-Request-ID": sent})
        assert (response.headers["x-request-id"] == sent) == kept
        assert 1 <= len(response.headers["x-request-id"]) <= 64


def test_the_log_is_a_json_object_a_line_with_the_requests_id(command, tmp_path, red):
    logs = tmp_path / "logs"
    served = command(LOG_DIR=str(logs))
    with httpx.Client(base_url=served.url) as client:
        client.get("/health", headers={"X-Request-ID": "one"})
        client.get("/nowhere", headers={"X-Request-ID": "two"})
    assert served.end() == 0
    for text in (served.said(), (logs / "combined.log").read_text("utf-8")):
        lines = [json.loads(line) for line in text.splitlines()]
        requests = {line["request_id"]: line for line in lines if "route" in line}
        assert requests["one"]["route"] == "/health"
        assert requests["one"]["status"] == 200
        assert requests["one"]["took_ms"] >= 0
        assert requests["two"]["code"] == "not_found"
        assert {"time", "level", "logger", "message"} <= set(requests["one"])
    assert (logs / "error.log").read_text("utf-8") == ""


def test_a_full_disk_is_told_in_a_sentence_and_stops_nothing(command, tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("platform: no device that is always full")
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "combined.log").symlink_to(full)
    served = command(LOG_DIR=str(logs))
    with httpx.Client(base_url=served.url) as client:
        assert [client.get("/nowhere").status_code for _ in range(20)] == [404] * 20
    assert served.end() == 0
    lines = [json.loads(line) for line in served.said().splitlines()]
    told = [line for line in lines if "cannot be written" in line["message"]]
    assert [line["level"] for line in told] == ["ERROR"]
    assert "no space left on device" in told[0]["message"]
    assert sum(line.get("status") == 404 for line in lines) == 20


def test_half_a_pair_of_surrogates_can_be_written_down(tmp_path):
    handler = journal.LogFile(tmp_path / "some.log")
    try:
        handler.handle(logging.LogRecord("a", logging.INFO, "", 0, "name \udc80", None, None))
    finally:
        handler.close()
    (line,) = (tmp_path / "some.log").read_text("utf-8").splitlines()
    assert json.loads(line)["message"] == "name \udc80"


def test_log_level_is_obeyed(command):
    served = command(LOG_LEVEL="error")
    httpx.get(f"{served.url}/health")
    assert served.end() == 0
    assert served.said() == ""


def test_people_get_sentences():
    record = logging.LogRecord("workbench.service", logging.INFO, "f", 1, "GET %s", ("/x",), None)
    record.request_id = "abc"
    line = journal.Console().format(record)
    assert line.endswith("INFO    GET /x  [abc]")
    try:
        raise ValueError("inside")
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    assert "ValueError: inside" in journal.Console().format(record)
    assert "ValueError: inside" in json.loads(journal.JsonLines().format(record))["traceback"]


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        journal.set_up(Settings(log_dir=tmp_path / "file"))


def test_log_files_rotate(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "FILE_BYTES", 2_000)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    root.handlers[:] = []
    try:
        journal.set_up(Settings(log_dir=tmp_path / "logs", log_format="json"))
        for number in range(60):
            logging.getLogger("workbench.service").error("line %s", number)
        names = sorted(path.name for path in (tmp_path / "logs").iterdir())
        assert "combined.log.1" in names
        assert "error.log.1" in names
        assert all(p.stat().st_size <= 2_000 for p in (tmp_path / "logs").iterdir())
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:], level = before
        root.setLevel(level)
        logging.captureWarnings(False)


def test_what_nobody_foresaw_is_one_classified_answer_and_one_traceback(
    start, red, monkeypatch, caplog
):
    running = start()

    def broken(*_, **__):
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(running.desk.engine, "classify", broken)
    response = running.execute(red)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert "secret" not in response.text
    batch = running.client.post(
        "/api/inference/batch", json={"model_id": "colours", "inputs": [{"data": red}]}
    )
    assert batch.json()["results"][0]["error"]["code"] == "internal"
    assert "secret" not in batch.text
    assert "a secret of the inside" in caplog.text
    assert running.client.get("/health").status_code == 200
