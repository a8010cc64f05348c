"""Work in the background."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from service_tools import until

from workbench.service import embedded
from workbench.service.job import Job

JOBS = "/api/inference/jobs"


def begin(running, inputs, **more):
    body = {"model_id": "colours", "inputs": inputs} | more
    response = running.client.post(JOBS, json=body)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"{JOBS}/{response.json()['job_id']}"
    return response.json()["job_id"]


def state(running, job):
    return running.client.get(f"{JOBS}/{job}").json()


def test_a_job_is_done_in_the_background_and_keeps_what_it_found(service, red):
    job = begin(service, [{"data": red}] * 30 + [{"data": "x.png"}])
    assert until(lambda: state(service, job)["state"] == "done")
    told = state(service, job)
    assert (told["done"], told["total"]) == (31, 31)
    assert [one["predictions"][0]["label"] for one in told["results"][:30]] == ["red"] * 30
    kept = service.client.get("/api/inference/status").json()["jobs"]
    assert kept == {"unfinished": 0, "kept_in": "memory"}
    assert told["results"][30]["error"]["code"] == "bad_request"
    gone = service.client.delete(f"{JOBS}/{job}")
    assert gone.json()["state"] == "done"
    assert service.client.get(f"{JOBS}/{job}").status_code == 404


def test_results_are_shown_from_the_one_that_is_asked_for(service, red):
    job = begin(service, [{"data": red}, {"data": "x.png"}, {"data": "é"}])
    assert until(lambda: state(service, job)["state"] == "done")
    whole = state(service, job)
    assert list(whole) == ["success", "job_id", "state", "done", "total", "results", "request_id"]
    assert len(whole["results"]) == 3
    for start in (0, 1, 3, 4, 1000):
        part = service.client.get(f"{JOBS}/{job}", params={"from": start}).json()
        assert part["results"] == whole["results"][start:]
        assert (part["done"], part["total"], part["state"]) == (3, 3, "done")
    for wrong, expected in {
        "-1": "greater than or equal to 0",
        "1001": "less than or equal to 1000",
        "x": "a valid integer",
        "1.5": "a valid integer",
        "": "a valid integer",
    }.items():
        refused = service.client.get(f"{JOBS}/{job}", params={"from": wrong})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (400, "bad_request")
        assert error["message"] == f"from is {wrong!r}; expected {expected}."


def test_a_job_is_written_as_it_is():
    """A result is written by itself, so that a thousand keep nobody waiting."""
    results = ({"predictions": [{"label": "é", "index": 1}]}, {"error": {"code": "bad_request"}})
    failed = Job("a", "failed", 5, results, error={"code": "internal"})
    told = {"success": True, "job_id": "a", "state": "failed", "done": 2, "total": 5}
    end = {"error": {"code": "internal"}, "request_id": "r"}
    assert json.loads(failed.written("r")) == told | {"results": list(results)} | end
    assert json.loads(failed.since(1).written("r")) == told | {"results": [results[1]]} | end
    assert failed.since(1).since(1) == failed.since(1)
    assert json.loads(Job("a", "queued", 1).written("r"))["results"] == []


def test_long_results_are_written_beside_the_event_loop(start, red, monkeypatch):
    """While 65 MB were written, nobody else was answered."""
    running, written, free = start(), Job.written, threading.Event()

    def waiting(self, request_id):
        assert free.wait(60)
        return written(self, request_id)

    job = begin(running, [{"data": red}])
    monkeypatch.setattr(Job, "written", waiting)
    with ThreadPoolExecutor() as pool:
        told = pool.submit(state, running, job)
        try:
            assert running.client.get("/health").status_code == 200
            assert not told.done()
        finally:
            free.set()
        assert told.result()["job_id"] == job


def test_a_job_can_be_ended_and_what_it_has_stays(service, red):
    job = begin(service, [{"data": red}], model_id="endless")
    assert until(lambda: state(service, job)["state"] == "running")
    behind = begin(service, [{"data": red}])
    assert state(service, behind)["state"] == "queued"
    ended = service.client.delete(f"{JOBS}/{job}").json()
    assert (ended["state"], ended["done"], ended["total"]) == ("cancelled", 0, 1)
    assert until(lambda: state(service, behind)["state"] == "done")
    assert until(lambda: service.desk.admission.running == 0)


def test_a_job_that_does_not_end_leaves_a_turn_to_others(start, red):
    running = start(workers=3)
    stuck = begin(running, [{"data": red}], model_id="endless")
    assert until(lambda: state(running, stuck)["state"] == "running")
    other = begin(running, [{"data": red}] * 3)
    assert until(lambda: state(running, other)["state"] == "done", within_s=20)
    assert state(running, stuck)["state"] == "running"
    running.client.delete(f"{JOBS}/{stuck}")


def test_a_job_never_fills_the_queue(start, red):
    running = start(workers=1, queue_limit=1)
    job = begin(running, [{"data": red}] * 50)
    assert running.execute(red).status_code == 200
    assert until(lambda: state(running, job)["state"] == "done")
    assert all("predictions" in one for one in state(running, job)["results"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model_id": "nowhere", "inputs": [{"data": "x"}]}, (404, "unknown_model")),
        ({"model_id": "colours", "inputs": []}, (400, "bad_request")),
        ({"model_id": "colours", "inputs": [{"data": "x"}] * 1001}, (400, "bad_request")),
        ({"model_id": "colours"}, (400, "bad_request")),
    ],
)
def test_what_could_never_be_done_is_refused_at_once(service, body, expected):
    response = service.client.post(JOBS, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == expected


def test_a_form_is_no_job(service, png):
    response = service.client.post(JOBS, data={"model_id": "colours"}, files={"file": png})
    assert response.json()["error"]["code"] == "unsupported_media_type"


def test_a_job_that_is_not_there_is_not_found(service):
    for method in ("GET", "DELETE"):
        response = service.client.request(method, f"{JOBS}/nowhere")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_old_jobs_make_room_and_running_ones_do_not(start, red, monkeypatch):
    running = start()
    monkeypatch.setattr(embedded, "KEPT", 2)
    first = begin(running, [{"data": red}])
    assert until(lambda: state(running, first)["state"] == "done")
    second = begin(running, [{"data": red}], model_id="endless")
    third = begin(running, [{"data": red}], model_id="endless")
    assert running.client.get(f"{JOBS}/{first}").status_code == 404
    body = {"model_id": "colours", "inputs": [{"data": red}]}
    full = running.client.post(JOBS, json=body)
    assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")
    for job in (second, third):
        assert running.client.delete(f"{JOBS}/{job}").json()["state"] == "cancelled"


def test_jobs_that_wait_have_a_limit_of_bytes(start, red, monkeypatch):
    running = start()
    monkeypatch.setattr(type(running.desk.policy), "held_bytes", 2_000)
    first = begin(running, [{"data": red}], model_id="endless")
    body = {"model_id": "colours", "inputs": [{"data": "x" * 1_800}]}
    full = running.client.post(JOBS, json=body)
    assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")
    running.client.delete(f"{JOBS}/{first}")
    second = begin(running, [{"data": red}])
    assert until(lambda: state(running, second)["state"] == "done")


def test_jobs_end_with_the_service(command, shelf, red):
    import httpx

    served = command(MODEL_DIR=str(shelf))
    body = {"model_id": "endless", "inputs": [{"data": red}]}
    assert httpx.post(f"{served.url}{JOBS}", json=body).status_code == 202
    assert served.end() == 0
