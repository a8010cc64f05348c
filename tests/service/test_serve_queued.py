"""Jobs that several machines share: a real Redis, real workers, and what may happen to them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from service_tools import environment, png_of, until

import workbench as wb
from tests.graphs import PLAIN, deadly_when_dark, endless_node, means
from workbench import errors
from workbench.models.hub import _Named
from workbench.service import queued
from workbench.service.depot import QUEUE, Depot, connected

SERVER = shutil.which("redis-server")
JOBS = "/api/inference/jobs"
PASSWORD = "not-to-be-seen"
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="not installable: redis-server (Debian: apt-get install redis-server)"
)


class Store:
    """A Redis server of this test, and a connection to it."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        assert SERVER is not None
        self.process = subprocess.Popen(
            [SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD,
             "--save", "", "--dir", str(folder), *options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.redis = Redis.from_url(self.url)
        assert until(self.is_up), "Redis did not start"

    def is_up(self) -> bool:
        try:
            return bool(self.redis.ping())
        except RedisError:  # not yet
            return False

    def close(self) -> None:
        self.redis.close()
        self.process.kill()
        self.process.wait()


class Worker:
    """``workbench worker`` in a process of its own."""

    def __init__(self, store: Store, models: Path, folder: Path, *arguments: str) -> None:
        self.log = (folder / f"worker-{time.monotonic_ns()}.txt").open("w+", encoding="utf-8")
        variables = environment(REDIS_URL=store.url, MODEL_DIR=str(models), LOG_LEVEL="DEBUG")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench", "worker", *arguments],
            stderr=self.log, stdout=self.log, env=variables, cwd=folder,
        )  # fmt: skip

    def said(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text("utf-8")

    def child(self) -> int | None:
        """Return the process that does the job at hand."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid:
                return int(entry.name)
        return None

    def close(self) -> None:
        if self.process.poll() is None:
            if (child := self.child()) is not None:
                os.killpg(child, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("queued")


@pytest.fixture(scope="module")
def models(folder: Path) -> Path:
    shelf = folder / "models"
    (shelf / "metadata").mkdir(parents=True)
    (shelf / "apart").mkdir()
    makers = {"colours": means, "dark": deadly_when_dark, "stuck": endless_node}
    for name, make in makers.items():
        make(shelf / f"{name}.onnx")
        (shelf / "metadata" / f"{name}.json").write_text(json.dumps(PLAIN))
    means(shelf / "apart" / "plain.onnx")
    return shelf


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    made = Store(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(running_kind: type[Any], store: Store, models: Path) -> Any:
    """Return a service whose jobs are kept in Redis."""
    running = running_kind(
        wb.ModelHub(model_dir=models, graph_cache=False), redis_url=store.url, timeout_s=60.0
    )
    yield running
    running.close()


@pytest.fixture
def hire(store: Store, models: Path, folder: Path) -> Iterator[Callable[..., Worker]]:
    """Return what starts a worker; those that are there at the end are killed."""
    hired: list[Worker] = []

    def begin(*arguments: str) -> Worker:
        hired.append(Worker(store, models, folder, *arguments))
        return hired[-1]

    yield begin
    for worker in hired:
        worker.close()


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave nothing in Redis for the next test."""
    yield
    if "store" in request.fixturenames:
        request.getfixturevalue("store").redis.flushall()


def begin(running: Any, inputs: list[dict[str, Any]], model: str = "colours", **more: Any) -> str:
    body = {"model_id": model, "inputs": inputs} | more
    response = running.client.post(JOBS, json=body)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"{JOBS}/{response.json()['job_id']}"
    assert response.json()["state"] == "queued"
    return str(response.json()["job_id"])


def state(running: Any, job: str) -> dict[str, Any]:
    told: dict[str, Any] = running.client.get(f"{JOBS}/{job}").json()
    return told


def ended(running: Any, job: str) -> dict[str, Any]:
    assert until(lambda: state(running, job)["state"] not in ("queued", "running"))
    return state(running, job)


def dark() -> str:
    return f"data:image/png;base64,{base64.b64encode(png_of(0, 0, 0)).decode()}"


def test_a_job_is_done_by_a_worker_and_answers_are_those_of_a_job_in_memory(
    service, shared, store, hire, red
):
    inputs = [{"data": red}] * 7 + [{"data": "x.png"}, {"type": "text", "data": "hello"}]
    job = begin(shared, inputs, options={"top_k": 2})
    assert state(shared, job)["state"] == "queued"
    worker = hire()
    told = ended(shared, job)
    assert (told["state"], told["done"], told["total"]) == ("done", 9, 9)
    here = service.client.post(
        JOBS, json={"model_id": "colours", "inputs": inputs, "options": {"top_k": 2}}
    ).json()["job_id"]
    assert until(lambda: service.client.get(f"{JOBS}/{here}").json()["state"] == "done")
    same = service.client.get(f"{JOBS}/{here}").json()["results"]
    for one, other in zip(told["results"], same, strict=True):
        assert one.keys() == other.keys()
        assert one.get("predictions") == other.get("predictions")
        assert one.get("error", {}).get("code") == other.get("error", {}).get("code")
    part = shared.client.get(f"{JOBS}/{job}?from=7").json()
    assert (part["done"], part["results"]) == (9, told["results"][7:])
    assert shared.client.get(f"{JOBS}/{job}?from=100").json()["results"] == []
    assert not store.redis.exists(f"workbench:job:{job}:order")  # its pictures are let go
    assert PASSWORD not in worker.said()
    assert shared.client.delete(f"{JOBS}/{job}").json()["state"] == "done"
    assert shared.client.get(f"{JOBS}/{job}").status_code == 404
    assert not store.redis.keys("workbench:*")
    assert not store.redis.keys(f"*{job}*")


def test_nothing_is_pickled_and_every_key_has_an_end(shared, store, red):
    job = begin(shared, [{"data": red}])
    content = zlib.decompress(store.redis.hget(f"rq:job:{job}", "data"))
    assert json.loads(content)[0] == "workbench.service.worker.perform"
    assert red not in content.decode()
    assert json.loads(store.redis.get(f"workbench:job:{job}:order"))["items"] == [["image", red]]
    for key in store.redis.keys("workbench:*"):
        assert 0 < store.redis.ttl(key) <= 86_400


def test_a_job_that_waits_can_be_ended(shared, hire, red):
    job, behind = begin(shared, [{"data": red}]), begin(shared, [{"data": red}])
    assert shared.client.get("/api/inference/status").json()["jobs"] == {
        "unfinished": 2, "kept_in": "redis",
    }  # fmt: skip
    assert "workbench_jobs_unfinished 2.0" in shared.client.get("/metrics").text
    gone = shared.client.delete(f"{JOBS}/{job}").json()
    assert (gone["state"], gone["done"]) == ("cancelled", 0)
    hire("--burst")
    assert ended(shared, behind)["state"] == "done"
    assert state(shared, job)["state"] == "cancelled"


def test_a_job_under_way_can_be_ended_within_a_node_and_keeps_what_it_has(shared, hire, red):
    worker = hire()
    job = begin(shared, [{"data": red}], model="stuck")
    assert until(lambda: state(shared, job)["state"] == "running")
    assert until(lambda: worker.child() is not None)
    told = shared.client.delete(f"{JOBS}/{job}").json()
    assert (told["state"], told["done"], told["total"]) == ("cancelled", 0, 1)
    behind = begin(shared, [{"data": red}])
    assert ended(shared, behind)["state"] == "done"


def test_an_input_that_brings_the_engine_down_costs_its_own_answer(shared, hire, red):
    job = begin(shared, [{"data": red}, {"data": dark()}, {"data": red}], model="dark")
    hire("--burst")
    told = ended(shared, job)
    codes = [one.get("error", {}).get("code") for one in told["results"]]
    assert (told["state"], codes) == ("done", [None, "worker_crashed", None])


def test_an_input_that_does_not_end_is_ended_at_its_limit(shared, hire, red):
    job = begin(shared, [{"data": red}], model="stuck", options={"timeout_ms": 500})
    hire("--burst")
    told = ended(shared, job)
    assert told["state"] == "done"
    assert told["results"][0]["error"]["code"] in ("inference_timeout", "load_timeout")


def test_a_name_that_a_request_gave_goes_with_the_job(shared, hire, red):
    body = {"model_id": "mine", "model_path": "apart/plain.onnx", "metadata": PLAIN}
    assert shared.client.post("/api/inference/preload", json=body).status_code == 200
    job = begin(shared, [{"data": red}], model="mine")
    hire("--burst")
    told = ended(shared, job)
    assert told["results"][0]["predictions"][0]["label"] == "red"


def test_a_model_that_only_the_service_has_is_each_input_s_error(shared, hire, red, models):
    apart = models / "apart" / "soon-gone.onnx"
    means(apart)
    body = {"model_id": "soon-gone", "model_path": "apart/soon-gone.onnx", "metadata": PLAIN}
    assert shared.client.post("/api/inference/preload", json=body).status_code == 200
    job = begin(shared, [{"data": red}] * 2, model="soon-gone")
    apart.unlink()
    hire("--burst")
    told = ended(shared, job)
    assert [one["error"]["code"] for one in told["results"]] == ["not_found"] * 2
    assert str(models) not in json.dumps(told)


def test_a_child_that_is_killed_fails_its_job_and_the_worker_goes_on(shared, store, hire, red):
    worker = hire()
    job = begin(shared, [{"data": red}], model="stuck")
    assert until(lambda: state(shared, job)["state"] == "running")
    assert until(lambda: worker.child() is not None)
    os.kill(worker.child(), signal.SIGKILL)
    told = ended(shared, job)
    assert (told["state"], told["error"]["code"]) == ("failed", "worker_crashed")
    assert not store.redis.exists(f"workbench:job:{job}:order")  # its pictures are let go
    behind = begin(shared, [{"data": red}])
    assert ended(shared, behind)["state"] == "done"


def test_a_machine_that_is_lost_fails_its_job_when_it_is_not_heard_of(shared, store, hire, red):
    worker = hire()
    job = begin(shared, [{"data": red}], model="stuck")
    assert until(lambda: state(shared, job)["state"] == "running")
    worker.close()  # with kill -9, as a power cut
    registry = StartedJobRegistry(QUEUE, connection=store.redis, serializer=JSONSerializer)
    for member in store.redis.zrange(registry.key, 0, -1):
        store.redis.zadd(registry.key, {member: 1.0})  # the time to be heard of has passed
    told = ended(shared, job)
    assert (told["state"], told["error"]["code"]) == ("failed", "worker_crashed")
    assert "not heard of" in told["error"]["message"]
    assert not store.redis.exists(f"workbench:job:{job}:order")


def test_a_password_stands_in_no_command_line(shared, hire, red):
    worker = hire()
    job = begin(shared, [{"data": red}], model="stuck")
    assert until(lambda: state(shared, job)["state"] == "running")
    assert until(lambda: worker.child() is not None)
    line = Path(f"/proc/{worker.child()}/cmdline").read_bytes()
    assert b"worker_class" in line  # it is the child of which RQ writes the connection down
    assert PASSWORD.encode() not in line
    shared.client.delete(f"{JOBS}/{job}")


def test_a_signal_lets_the_job_at_hand_be_done(shared, hire, red):
    worker = hire()
    job = begin(shared, [{"data": red}] * 40)
    assert until(lambda: state(shared, job)["done"] > 0)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(120) == 0
    assert (state(shared, job)["state"], state(shared, job)["done"]) == ("done", 40)


def test_another_program_s_job_is_none_of_ours(shared, store):
    other = Queue("other", connection=store.redis).enqueue("os.getpid")
    response = shared.client.get(f"{JOBS}/{other.id}")
    assert response.status_code == 404
    for job in ("nowhere", "a:b", "%2e%2e", "x" * 100):
        assert shared.client.delete(f"{JOBS}/{job}").status_code == 404
    assert Job.exists(other.id, connection=store.redis)


def test_as_many_wait_as_are_kept_in_number_and_in_bytes(shared, red, monkeypatch):
    monkeypatch.setattr(queued, "KEPT", 2)
    for _ in range(2):
        begin(shared, [{"data": red}])
    body = {"model_id": "colours", "inputs": [{"data": red}]}
    full = shared.client.post(JOBS, json=body)
    assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")
    assert int(full.headers["retry-after"]) >= 1
    monkeypatch.undo()
    monkeypatch.setattr(type(shared.desk.policy), "held_bytes", 2_000)
    full = shared.client.post(JOBS, json={"model_id": "colours", "inputs": [{"data": "x" * 1_900}]})
    assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")


def test_the_oldest_of_those_that_ended_make_room(shared, store, hire, red, monkeypatch):
    jobs = [begin(shared, [{"data": red}]) for _ in range(3)]
    hire("--burst")
    for job in jobs:
        assert ended(shared, job)["state"] == "done"
    monkeypatch.setattr(queued, "KEPT", 2)
    begin(shared, [{"data": red}])
    assert [shared.client.get(f"{JOBS}/{job}").status_code for job in jobs] == [404, 200, 200]
    assert not store.redis.keys(f"*{jobs[0]}*")


def test_a_result_that_is_told_twice_is_kept_once(store):
    depot = Depot(store.redis)
    for number in (0, 1, 1, 2, 1):
        depot.add("j", number, {"n": number})
    assert depot.done("j") == 3
    assert [one["n"] for one in depot.results("j")] == [0, 1, 2]
    assert [one["n"] for one in depot.results("j", 2)] == [2]
    assert depot.results("j", 3) == ()


def test_a_redis_that_hangs_keeps_nobody_else_waiting(shared, store, red):
    job = begin(shared, [{"data": red}])
    store.process.send_signal(signal.SIGSTOP)
    asked = [threading.Thread(target=state, args=(shared, job)) for _ in range(8)]
    try:
        for one in asked:
            one.start()
        large = {"model_id": "colours", "input": {"data": red + " " * 2_500_000}}
        assert shared.client.post("/api/inference/execute", json=large).status_code == 400
        status = shared.client.get("/api/inference/status")
        assert status.json()["jobs"]["unfinished"] is None
        assert "workbench_jobs_unfinished" not in shared.client.get("/metrics").text
        assert any(one.is_alive() for one in asked)
    finally:
        store.process.send_signal(signal.SIGCONT)
        for one in asked:
            one.join(120)
    assert until(lambda: shared.client.get(f"{JOBS}/{job}").status_code == 200)


@pytest.mark.parametrize("left", [b"", b"{}", b"not json"])
def test_what_is_left_of_a_job_is_none(shared, store, red, left):
    job = begin(shared, [{"data": red}])
    store.redis.hset(f"rq:job:{job}", "meta", left)
    assert shared.client.get(f"{JOBS}/{job}").status_code == 404
    other = begin(shared, [{"data": red}])
    store.redis.hset(f"rq:job:{other}", "status", "unheard of")
    assert shared.client.delete(f"{JOBS}/{other}").status_code == 404


def test_a_job_whose_inputs_were_evicted_fails(shared, store, hire, red):
    job = begin(shared, [{"data": red}])
    store.redis.delete(f"workbench:job:{job}:order")
    hire("--burst")
    told = ended(shared, job)
    assert told["state"] == "failed"
    assert "not in Redis any more" in told["error"]["message"]


def test_jobs_that_nobody_took_in_a_day_leave_the_queue(shared, store, red, monkeypatch):
    for _ in range(2):
        begin(shared, [{"data": red}])
    for key in store.redis.keys("rq:job:*"):
        store.redis.delete(key)  # as when its time has come
    monkeypatch.setattr(queued, "KEPT", 2)
    assert shared.client.get("/api/inference/status").json()["jobs"]["unfinished"] == 0
    begin(shared, [{"data": red}])


def test_a_load_without_an_end_can_be_ended_also_under_a_given_name(shared, hire, red, models):
    endless_node(models / "apart" / "never.onnx", at_load=True)
    shared.desk.engine.hub._named["never"] = _Named(models / "apart" / "never.onnx", PLAIN)
    worker = hire()
    job = begin(shared, [{"data": red}], model="never")
    assert until(lambda: state(shared, job)["state"] == "running")
    assert until(lambda: worker.child() is not None)
    assert shared.client.delete(f"{JOBS}/{job}").json()["state"] == "cancelled"


def test_a_second_signal_fails_the_job_at_hand(shared, hire, red):
    worker = hire()
    job = begin(shared, [{"data": red}], model="stuck")
    assert until(lambda: state(shared, job)["state"] == "running")
    assert until(lambda: worker.child() is not None)
    worker.process.send_signal(signal.SIGTERM)
    assert until(lambda: "warm shut down" in worker.said())
    time.sleep(1.1)  # RQ takes two within a second for one
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(120)
    told = state(shared, job)
    assert (told["state"], told["error"]["code"]) == ("failed", "worker_crashed")


def test_inputs_leave_room_in_redis_for_all_else(running_kind, folder, models, red):
    small = Store(folder, "--maxmemory", "12mb", "--maxmemory-policy", "noeviction")
    running = running_kind(wb.ModelHub(model_dir=models), redis_url=small.url)
    try:
        body = {"model_id": "colours", "inputs": [{"data": "x" * 1_000_000}] * 2}
        while (answer := running.client.post(JOBS, json=body)).status_code == 202:
            job = answer.json()["job_id"]
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
        assert "there is room for 9.44 MB" in answer.json()["error"]["message"]
        gone = running.client.delete(f"{JOBS}/{job}").json()
        assert gone["state"] == "cancelled"
        assert running.client.post(JOBS, json=body).status_code == 202
    finally:
        running.close()
        small.close()


def test_a_redis_without_room_is_a_full_queue_and_keeps_nothing(running_kind, folder, models, red):
    small = Store(folder, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    running = running_kind(wb.ModelHub(model_dir=models), redis_url=small.url)
    try:
        full = running.client.post(
            JOBS, json={"model_id": "colours", "inputs": [{"data": "x" * 4_000_000}] * 2}
        )
        assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")
        assert not small.redis.keys("*:job:*")
    finally:
        running.close()
        small.close()


def test_without_redis_jobs_are_refused_and_all_else_goes_on(running_kind, folder, models, red):
    lost = Store(folder)
    running = running_kind(wb.ModelHub(model_dir=models), redis_url=lost.url)
    try:
        job = begin(running, [{"data": red}])
        lost.close()
        body = {"model_id": "colours", "inputs": [{"data": red}]}
        for response in (
            running.client.post(JOBS, json=body),
            running.client.get(f"{JOBS}/{job}"),
            running.client.delete(f"{JOBS}/{job}"),
        ):
            assert response.status_code == 503, response.text
            assert response.json()["error"]["code"] == "queue_unavailable"
            assert response.headers["retry-after"] == "5"
            assert PASSWORD not in response.text
        assert running.execute(red).status_code == 200
        assert running.client.get("/api/inference/status").json()["jobs"] == {
            "unfinished": None, "kept_in": "redis",
        }  # fmt: skip
        assert "workbench_jobs_unfinished" not in running.client.get("/metrics").text
    finally:
        running.close()


def test_a_worker_says_what_it_lacks(tmp_path):
    clean = {k: v for k, v in os.environ.items() if "REDIS_URL" not in k}

    def said(**more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "workbench", "worker"], env=clean | more, cwd=tmp_path,
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stderr
        return done.stderr

    assert "REDIS_URL" in said()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"redis://:{PASSWORD}@127.0.0.1:{free.getsockname()[1]}"
        assert "does not answer" in said(REDIS_URL=url)
    assert "REDIS_URL" in said(REDIS_URL=f"http://:{PASSWORD}@127.0.0.1")


@pytest.mark.parametrize("url", ["http://host", "redis", "redis://host:port"])
def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(errors.ConfigError, match="REDIS_URL"):
        connected(url)
    with pytest.raises(errors.ConfigError) as caught:
        connected(f"http://me:{PASSWORD}@host")
    assert PASSWORD not in str(caught.value)


def test_what_a_job_is_to_do_survives_the_way(store):
    from workbench.service.intake import Item, Order

    depot = Depot(store.redis)
    order = Order("a", (Item("tensor", [[1.5, 2]]), Item("image", "é")), 3, 0.5)
    depot.put("j", order, {"path": None, "metadata": PLAIN}, "r")
    taken = depot.take("j")
    assert taken is not None
    assert (taken.order, taken.request_id) == (order, "r")
    assert taken.model["metadata"] == PLAIN
    depot.forget("j")
    assert depot.take("j") is None
