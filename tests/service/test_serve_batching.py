"""Pictures that wait at the same time share a run, and nobody has to answer for another."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from service_tools import png_of, until

import workbench as wb
from tests.graphs import PLAIN, deadly_when_dark, endless, endless_when_dark, means
from workbench.errors import EngineMemoryError, QueueFullError
from workbench.models.session import Session, SessionFacts
from workbench.service.admission import Admission
from workbench.service.companion import HURRY_S, LEAST_S, MOST_TIMES, Asked, Companions, _limit_s
from workbench.service.policy import Policy

EXECUTE = "/api/inference/execute"


def picture(red: int, green: int, blue: int) -> str:
    return base64.b64encode(png_of(red, green, blue)).decode()


RED, GREEN, BLUE = picture(255, 0, 0), picture(0, 255, 0), picture(0, 0, 255)
DARK = picture(0, 0, 0)
#: Seconds that a picture takes, as far as a service remembers that gathers.
USUAL_S = 0.2


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a MODEL_DIR with models that take any batch, one that takes 1, and bad ones."""
    folder = tmp_path_factory.mktemp("gathered") / "models"
    (folder / "metadata").mkdir(parents=True)
    makers: dict[str, Callable] = {
        "colours": means,
        "single": lambda path: means(path, batch=1),
        "endless": endless,
        "deadly": deadly_when_dark,
        "stuck": endless_when_dark,
    }
    for name, make in makers.items():
        make(folder / f"{name}.onnx")
        (folder / "metadata" / f"{name}.json").write_text(json.dumps(PLAIN))
    return folder


@pytest.fixture
def gathering(start, models) -> Callable:
    """Return what starts a service that gathers, and has answered for a model once.

    It takes its runs for longer ones than they are, so that a slow machine cuts none short.
    """

    def begin(model: str = "colours", **rules):
        running = start(models, **({"workers": 1, "batching": "on"} | rules))
        answer = running.execute(RED, model_id=model)
        assert answer.status_code == 200, answer.text
        takes(running, USUAL_S, model)
        return running

    return begin


@contextmanager
def occupied(running) -> Iterator[None]:
    """Keep all workers of a service busy, until the end of the block."""
    socks = []
    admission = running.desk.admission
    for _ in range(admission.workers):
        socks.append(raw(running, {"model_id": "endless", "input": {"data": RED}}))
    assert until(lambda: admission.running == admission.workers)
    try:
        yield
    finally:
        for sock in socks:
            sock.close()  # a client that leaves takes its work with it


def raw(running, body: dict) -> socket.socket:
    """Send a request on a connection of its own, and return that."""
    data = json.dumps(body).encode()
    head = f"POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    sock = socket.create_connection(("127.0.0.1", running.port))
    sock.sendall(head.encode() + data)
    return sock


class Sent(threading.Thread):
    """A request under way."""

    def __init__(self, running, data: str, model: str = "colours", **options) -> None:
        super().__init__(daemon=True)
        self.url = f"{running.url}{EXECUTE}"
        self.body = {"model_id": model, "input": {"data": data}, "options": options}
        self.answer: httpx.Response
        self.start()

    def run(self) -> None:
        self.answer = httpx.post(self.url, json=self.body, timeout=180)

    def answered(self) -> httpx.Response:
        self.join(180)
        return self.answer

    def label(self) -> str:
        """Return the best label, or the code of the error."""
        told = self.answered().json()
        return told["predictions"][0]["label"] if "predictions" in told else told["error"]["code"]


def together(running, *pictures: str, **more) -> list[Sent]:
    """Have pictures wait at the same time, in this order, and then let them run."""
    sent = []
    with occupied(running):
        for data in pictures:
            sent.append(Sent(running, data, **more))
            assert until(lambda: running.desk.admission.waiting == len(sent))
    return sent


def runs(running) -> dict[int, int]:
    return dict(running.desk.engine.metrics.runs)


def takes(running, seconds: float, model: str = "colours") -> None:
    """Have a model's pictures taken so long, as far as the service remembers."""
    took_s = running.desk.companions._took_s[model]
    took_s.extend([seconds] * took_s.maxlen)


class Held:
    """A door before the shared runs of a service."""

    def __init__(self, running, monkeypatch) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        self.stops: list = []
        through = running.desk.engine.classify_all

        def classify_all(pictures, *arguments, stop, **more):
            self.sizes.append(len(pictures))
            self.stops.append(stop)
            self.entered.set()
            assert self.open.wait(120)
            return through(pictures, *arguments, stop=stop, **more)

        monkeypatch.setattr(running.desk.engine, "classify_all", classify_all)


# ── who shares a run ──────────────────────────────────────────────────────────────────────────────


def test_what_waits_at_the_same_time_shares_a_run_and_has_its_own_answer(gathering):
    running = gathering()
    with occupied(running):
        sent = [
            Sent(running, data, top_k=top_k)
            for data, top_k in ((RED, 1), (GREEN, 3), (BLUE, 2), (GREEN, 1))
        ]
        assert until(lambda: running.desk.admission.waiting == 4)
    assert [one.label() for one in sent] == ["red", "green", "blue", "green"]
    told = [one.answered().json() for one in sent]
    assert [len(one["predictions"]) for one in told] == [1, 3, 2, 1]
    assert len({one["request_id"] for one in told}) == 4
    assert runs(running) == {1: 1, 4: 1}
    for one in told:
        times = one["timings_ms"]
        assert {"queue", "decode", "inference", "companions"} <= set(times)
        assert times["queue"] + times["companions"] < times["total"]
    page = running.client.get("/metrics").text
    assert 'workbench_run_inputs_bucket{le="1"} 1.0' in page
    assert 'workbench_run_inputs_bucket{le="2"} 1.0' in page
    assert 'workbench_run_inputs_bucket{le="4"} 2.0' in page
    assert "workbench_run_inputs_sum 5.0" in page
    counts = running.client.get("/api/inference/status").json()["counts"]
    assert counts["by_model"] == {"colours": 5}
    assert counts["batches"]["inputs"] == 6  # with the one that kept the worker busy


@pytest.mark.parametrize("batching", ["off", "auto"])
def test_off_and_on_a_processor_each_runs_alone(gathering, batching):
    running = gathering(batching=batching)
    sent = together(running, RED, GREEN, BLUE)
    assert [one.label() for one in sent] == ["red", "green", "blue"]
    assert runs(running) == {1: 4}
    assert "companions" not in sent[0].answered().json()["timings_ms"]
    limits = running.client.get("/api/inference/status").json()["limits"]
    assert limits["dynamic_batching"] == batching
    assert limits["batch_delay_ms"] == 2


def test_auto_goes_by_what_really_ran(gathering, monkeypatch):
    monkeypatch.setattr(SessionFacts, "on_processor", property(lambda _: False))
    running = gathering(batching="auto")
    sent = together(running, RED, GREEN, BLUE)
    assert [one.label() for one in sent] == ["red", "green", "blue"]
    assert runs(running) == {1: 1, 3: 1}
    monkeypatch.undo()  # loaded anew, it fell back
    assert running.execute(RED).status_code == 200
    assert running.desk.companions.most("colours") == 1


def test_where_a_session_ran_is_told_by_its_provider(models):
    model = wb.ModelHub(model_dir=models, graph_cache=False).load("colours")
    facts = model.session
    assert facts.on_processor
    assert replace(facts, provider="OpenVINO").on_processor
    for provider in ("CUDA", "MIGraphX", "NvTensorRTRTX", "a plugin's"):
        assert not replace(facts, provider=provider).on_processor


def test_a_graph_with_a_batch_of_1_never_gathers(gathering):
    running = gathering("single")
    assert running.desk.companions.most("single") == 1
    sent = together(running, RED, GREEN, BLUE, model="single")
    assert [one.label() for one in sent] == ["red", "green", "blue"]
    assert runs(running) == {1: 4}


def test_models_do_not_mix(gathering):
    running = gathering()
    running.execute(RED, model_id="stuck")
    with occupied(running):
        sent = [Sent(running, data) for data in (RED, GREEN)]
        sent += [Sent(running, RED, model="stuck") for _ in range(3)]
        assert until(lambda: running.desk.admission.waiting == 5)
    assert [one.label() for one in sent] == ["red", "green", "red", "red", "red"]
    assert runs(running) == {1: 2, 2: 1, 3: 1}


def test_no_run_has_more_than_max_batch(gathering):
    running = gathering(max_batch=2)
    sent = together(running, RED, GREEN, BLUE, RED, GREEN)
    assert [one.label() for one in sent] == ["red", "green", "blue", "red", "green"]
    assert runs(running) == {1: 2, 2: 2}


def test_while_a_worker_is_free_it_waits_until_there_are_enough(gathering):
    running = gathering(max_batch=2, batch_delay_s=0.05, workers=2)
    assert running.execute(GREEN).json()["predictions"][0]["label"] == "green"  # nobody came
    assert runs(running) == {1: 2}
    patient = gathering(max_batch=2, batch_delay_s=3600.0, workers=2, timeout_s=600.0)
    first = Sent(patient, RED)
    assert until(lambda: patient.desk.admission.waiting == 1)
    assert patient.desk.admission.running == 0
    assert Sent(patient, BLUE).label() == "blue"
    assert first.label() == "red"
    assert runs(patient) == {1: 1, 2: 1}


def test_it_waits_for_others_no_longer_than_a_quarter_of_its_time(gathering):
    running = gathering(batch_delay_s=3600.0, workers=2, timeout_s=600.0)
    assert running.execute(GREEN, options={"timeout_ms": 8_000}).status_code == 200
    assert runs(running) == {1: 2}
    patient = Sent(running, RED)
    assert until(lambda: running.desk.admission.waiting == 1)
    assert Sent(running, BLUE, timeout_ms=8_000).label() == "blue"
    assert patient.label() == "red"
    assert runs(running) == {1: 2, 2: 1}


def test_one_in_a_hurry_waits_for_nobody_and_nobody_for_it(gathering, monkeypatch):
    running = gathering("stuck", max_batch=3, batch_delay_s=3600.0, workers=2, timeout_s=600.0)
    door = Held(running, monkeypatch)
    door.open.set()
    sent = [Sent(running, data, model="stuck") for data in (RED, RED)]
    assert until(lambda: running.desk.admission.waiting == 2)
    hurried_ms = int(1e3 * HURRY_S)
    assert Sent(running, DARK, "stuck", timeout_ms=hurried_ms).label() == "inference_timeout"
    assert door.sizes == []
    assert running.desk.admission.waiting == 2
    sent.append(Sent(running, RED, model="stuck"))
    assert [one.label() for one in sent] == ["red", "red", "red"]
    assert runs(running) == {1: 1, 3: 1}


def test_without_a_delay_it_gathers_only_while_all_workers_are_busy(gathering):
    running = gathering(batch_delay_s=0.0, workers=2)
    assert running.desk.companions.most("colours") == 1
    assert [one.label() for one in together(running, RED, GREEN, BLUE)] == ["red", "green", "blue"]
    assert runs(running) == {1: 1, 3: 1}


def test_a_model_that_would_have_to_be_loaded_runs_alone(gathering):
    running = gathering(workers=2, isolated=True)
    assert running.desk.engine.holds("colours")
    assert running.desk.companions.most("colours") == 1  # one of two processes has it
    assert running.client.post("/api/inference/preload", json={"model_id": "colours"}).is_success
    assert running.desk.companions.most("colours") == 10
    assert [one.label() for one in together(running, RED, GREEN)] == ["red", "green"]
    assert runs(running) == {1: 1, 2: 1}
    running.client.delete("/api/inference/models/colours")
    assert running.desk.companions.most("colours") == 1


def test_inputs_of_a_batch_share_a_run_as_well_and_tensors_do_not(gathering):
    running = gathering(batch_delay_s=3600.0, max_batch=3)
    inputs = [{"data": RED}, {"data": "bm8gcGljdHVyZQ=="}, {"data": BLUE}]
    body = {"model_id": "colours", "inputs": inputs}
    told = running.client.post("/api/inference/batch", json=body).json()["results"]
    assert [one.get("error", {}).get("code", "good") for one in told] == [
        "good", "not_an_image", "good",
    ]  # fmt: skip
    assert runs(running) == {1: 1, 2: 1}
    green = [[[float(channel == 1)] * 8] * 8 for channel in range(3)]
    body = {"model_id": "colours", "input": {"type": "tensor", "data": green}}
    answer = running.client.post(EXECUTE, json=body).json()
    assert answer["predictions"][0]["label"] == "green"
    assert runs(running) == {1: 2, 2: 1}


# ── each for itself ───────────────────────────────────────────────────────────────────────────────


def test_a_bad_picture_is_an_error_in_its_own_place(gathering):
    running = gathering()
    no_picture, no_base64 = base64.b64encode(b"no picture").decode(), "?!"
    sent = together(running, RED, no_picture, no_base64, BLUE)
    assert [one.label() for one in sent] == ["red", "not_an_image", "base64_invalid", "blue"]
    assert runs(running) == {1: 1, 2: 1}
    assert dict(running.desk.engine.metrics.errors)["not_an_image"] == 1
    assert [one.label() for one in together(running, RED, no_picture)] == ["red", "not_an_image"]
    assert running.desk.companions.most("colours") > 1, "the model is not to blame"


def test_each_keeps_its_own_deadline(gathering, monkeypatch):
    running = gathering()
    door = Held(running, monkeypatch)
    with occupied(running):
        sent = [Sent(running, RED), Sent(running, BLUE)]
        assert until(lambda: running.desk.admission.waiting == 2)
        hurried = Sent(running, GREEN, timeout_ms=10_000)
        assert until(lambda: running.desk.admission.waiting == 3)
    assert door.entered.wait(60)
    assert door.sizes == [3]
    # half of its time for all together, the other half for each alone
    assert door.stops[0].timeout_s < 5
    door.open.set()
    assert [one.label() for one in (*sent, hurried)] == ["red", "blue", "green"]


def test_one_whose_time_is_over_is_answered_while_the_others_still_run(gathering, monkeypatch):
    running = gathering()
    door = Held(running, monkeypatch)
    with occupied(running):
        sent = [Sent(running, RED), Sent(running, BLUE)]
        assert until(lambda: running.desk.admission.waiting == 2)
        hurried = Sent(running, GREEN, timeout_ms=900)
        assert until(lambda: running.desk.admission.waiting == 3 or not hurried.is_alive())
    assert hurried.label() == "inference_timeout"
    assert hurried.answered().status_code == 504
    assert door.sizes in ([3], [2])  # on a machine that is slow it had to wait too long
    assert not door.stops[0].over, "the others have time"
    door.open.set()
    assert [one.label() for one in sent] == ["red", "blue"]


def test_the_time_of_one_that_waits_is_its_own_as_well(gathering):
    running = gathering()
    with occupied(running):
        patient = Sent(running, RED)
        assert until(lambda: running.desk.admission.waiting == 1)
        assert Sent(running, GREEN, timeout_ms=200).label() == "inference_timeout"
        assert running.desk.admission.waiting == 1
    assert patient.label() == "red"
    assert runs(running) == {1: 2}


def test_the_limit_of_a_shared_run_leaves_time_to_run_each_alone():
    assert _limit_s([30.0, 10.0, 20.0], 2.0) == 5.0
    assert _limit_s([30.0, 3.9], 2.0) == 15.0, "one in a hurry goes along as far as it can"
    assert _limit_s([3.9, 3.0], 2.0) == 3.9
    assert _limit_s([HURRY_S / 2, HURRY_S / 4], 0.0) == HURRY_S / 2
    assert _limit_s([0.0], 0.0) > 0


def test_the_limit_of_a_shared_run_is_no_more_than_a_few_times_what_is_usual():
    assert _limit_s([30.0, 30.0], 0.2) == MOST_TIMES * 0.2
    assert _limit_s([30.0, 30.0], 0.001) == LEAST_S
    assert _limit_s([30.0, HURRY_S / 2], 0.0) == LEAST_S


def test_a_client_that_leaves_is_dropped_from_its_group(gathering, monkeypatch):
    running = gathering()
    door = Held(running, monkeypatch)
    door.open.set()
    with occupied(running):
        sent = [Sent(running, RED), Sent(running, BLUE)]
        assert until(lambda: running.desk.admission.waiting == 2)
        leaving = raw(running, {"model_id": "colours", "input": {"data": GREEN}})
        assert until(lambda: running.desk.admission.waiting == 3)
        leaving.close()
        assert until(lambda: running.desk.admission.waiting == 2)
    assert [one.label() for one in sent] == ["red", "blue"]
    assert door.sizes == [2]


def test_a_run_is_cancelled_when_the_last_of_its_clients_has_left(gathering, monkeypatch):
    running = gathering()
    door = Held(running, monkeypatch)
    body = {"model_id": "colours", "input": {"data": GREEN}}
    with occupied(running):
        leaving = [raw(running, body), raw(running, body)]
        assert until(lambda: running.desk.admission.waiting == 2)
    assert door.entered.wait(60)
    open_before = running.desk.traffic.open
    leaving[0].close()
    assert until(lambda: running.desk.traffic.open == open_before - 1)
    assert not door.stops[0].cancelled, "somebody still waits for it"
    leaving[1].close()
    assert until(lambda: door.stops[0].cancelled)
    assert not door.stops[0].expired
    door.open.set()
    assert until(lambda: running.desk.admission.running == 0)
    assert running.desk.admission.waiting == 0
    assert running.execute(RED).status_code == 200


def test_those_who_gather_wait_and_fill_the_queue(gathering):
    running = gathering(queue_limit=2)
    with occupied(running):
        sent = [Sent(running, RED), Sent(running, BLUE)]
        assert until(lambda: running.desk.admission.waiting == 2)
        assert Sent(running, GREEN).label() == "queue_full"
    assert [one.label() for one in sent] == ["red", "blue"]
    assert running.desk.admission.waiting == 0
    assert running.desk.admission.refused == 1


def test_those_who_gather_while_workers_are_free_leave_the_queue_to_others():
    async def admitted() -> None:
        admission = Admission(workers=2, limit=1)
        admission.waiting = 2  # for companions, before two free workers
        admission.admit()
        admission.waiting = 3
        with pytest.raises(QueueFullError):
            admission.admit()

    asyncio.run(admitted())


def test_it_is_admitted_as_any_other():
    async def refused() -> None:
        admission = Admission(workers=1, limit=0)
        admission.running = 1
        companions = Companions(None, admission, Policy())
        with pytest.raises(QueueFullError):
            await companions.run(
                Asked("colours", 1, None, None), 10, timeout_s=60.0, admitted=False
            )

    asyncio.run(refused())


# ── where a shared run goes wrong ─────────────────────────────────────────────────────────────────


def test_a_picture_that_kills_the_process_costs_the_others_nothing(gathering):
    running = gathering("deadly", isolated=True)
    sent = together(running, RED, RED, DARK, RED, model="deadly")
    assert [one.label() for one in sent] == ["red", "red", "worker_crashed", "red"]
    metrics = running.desk.engine.metrics
    assert dict(metrics.errors)["worker_crashed"] == 1
    assert dict(metrics.models) == {"deadly": 4}
    assert until(lambda: running.desk.engine.restarts == 2)  # together, and alone
    assert running.desk.companions.most("deadly") == 1, "for a while they run alone"


def test_a_picture_that_does_not_end_costs_the_others_nothing_but_time(gathering):
    running = gathering("stuck", workers=2)
    takes(running, 0.01, "stuck")
    sent = together(running, RED, DARK, RED, RED, model="stuck", timeout_ms=8_000)
    assert [one.label() for one in sent] == ["red", "inference_timeout", "red", "red"]
    errors = dict(running.desk.engine.metrics.errors)
    assert errors["inference_timeout"] == 1
    assert running.desk.companions.most("stuck") == 1


def test_for_a_picture_that_does_not_end_the_others_do_not_wait_long(gathering, monkeypatch):
    running = gathering("stuck", workers=2)
    takes(running, 0.001, "stuck")
    door = Held(running, monkeypatch)
    door.open.set()
    with occupied(running):
        dark = raw(running, {"model_id": "stuck", "input": {"data": DARK}})
        sent = []
        for number in (2, 3):
            assert until(lambda number=number: running.desk.admission.waiting == number - 1)
            sent.append(Sent(running, RED, model="stuck"))
        assert until(lambda: running.desk.admission.waiting == 3)
    assert [one.label() for one in sent] == ["red", "red"]
    assert running.desk.admission.running == 1, "the dark one, by itself"
    dark.close()
    assert until(lambda: running.desk.admission.running == 0)
    assert door.sizes == [3]
    assert door.stops[0].timeout_s == LEAST_S


def test_too_many_for_the_memory_run_alone(gathering, monkeypatch):
    running = gathering()
    through = Session.run

    def run(self, feeds, *arguments, **more):
        if len(next(iter(feeds.values()))) > 1:
            raise EngineMemoryError(self.name, "running", "a test")
        return through(self, feeds, *arguments, **more)

    monkeypatch.setattr(Session, "run", run)
    sent = together(running, RED, GREEN, BLUE)
    assert [one.label() for one in sent] == ["red", "green", "blue"]
    assert runs(running) == {1: 4}
    assert dict(running.desk.engine.metrics.errors).get("out_of_memory", 0) == 0
    assert running.desk.companions.most("colours") == 1


def test_what_nobody_foresaw_costs_nobody_an_answer(gathering, monkeypatch, caplog):
    running = gathering()

    def classify_all(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(running.desk.engine, "classify_all", classify_all)
    sent = together(running, RED, GREEN)
    assert [one.label() for one in sent] == ["red", "green"]
    assert runs(running) == {1: 3}
