"""Under pressure: full queues, late runs, slow clients, clients that leave, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import threading
import time

import httpx
import pytest
from service_tools import raw, until

from workbench.errors import QueueFullError
from workbench.service.admission import Admission

EXECUTE = "/api/inference/execute"


def code(response):
    return response.status_code, response.json()["error"]["code"]


def busy(running, red, number: int, timeout_ms: int = 20_000) -> list[threading.Thread]:
    """Send requests that do not end by themselves, and return their threads."""
    body = {"model_id": "endless", "input": {"data": red}, "options": {"timeout_ms": timeout_ms}}

    def send() -> None:
        with httpx.Client(base_url=running.url, timeout=180) as client:
            client.post(EXECUTE, json=body)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def release(running, threads) -> None:
    running.desk.admission.cancel_all()
    for thread in threads:
        thread.join(120)
    assert until(lambda: running.desk.admission.running == 0)


def test_a_full_queue_turns_away_at_once_and_says_when_to_come_back(start, red):
    running = start(workers=1, queue_limit=2)
    threads = busy(running, red, 3)
    admission = running.desk.admission
    assert until(lambda: (admission.running, admission.waiting) == (1, 2))
    begun = time.monotonic()
    response = running.execute(red)
    assert code(response) == (503, "queue_full")
    assert int(response.headers["retry-after"]) >= 1
    assert time.monotonic() - begun < 45
    assert running.client.get("/health").status_code == 200
    assert admission.refused == 1
    release(running, threads)
    assert running.execute(red).status_code == 200


def test_a_batch_is_admitted_whole_or_not_at_all(start, red):
    running = start(workers=1, queue_limit=2)
    admission = running.desk.admission
    body = {"model_id": "colours", "inputs": [{"data": red}] * 2}
    threads = busy(running, red, 2)
    assert until(lambda: (admission.running, admission.waiting) == (1, 1))
    assert code(running.client.post("/api/inference/batch", json=body)) == (503, "queue_full")
    assert admission.waiting == 1
    release(running, threads)
    body["inputs"] *= 5  # more than may wait, but nobody does
    results = running.client.post("/api/inference/batch", json=body).json()["results"]
    assert [one["success"] for one in results] == [True] * 10


def test_the_time_in_which_the_body_came_counts_as_well(service, red):
    body = {"model_id": "colours", "input": {"data": red}, "options": {"timeout_ms": 300}}

    def slowly():
        told = json.dumps(body).encode()
        yield told[:20]
        time.sleep(0.4)
        yield told[20:]

    headers = {"Content-Type": "application/json"}
    response = service.client.post(EXECUTE, content=slowly(), headers=headers)
    assert code(response) == (504, "inference_timeout")
    assert "within 300 ms" in response.json()["error"]["message"]


def test_a_run_that_does_not_end_is_answered_within_a_second_of_its_limit(service, red):
    begun = time.monotonic()
    response = service.execute(red, model_id="endless", options={"timeout_ms": 500})
    assert code(response) == (504, "inference_timeout")
    assert 0.5 <= time.monotonic() - begun < 45
    assert until(lambda: service.desk.admission.running == 0)
    assert service.execute(red).status_code == 200


def test_waiting_counts_as_well(start, red):
    running = start(workers=1, queue_limit=5)
    threads = busy(running, red, 1)
    assert until(lambda: running.desk.admission.running == 1)
    response = running.execute(red, options={"timeout_ms": 300})
    assert code(response) == (504, "inference_timeout")
    assert running.desk.admission.waiting == 0
    release(running, threads)


def test_a_client_that_leaves_takes_its_work_with_it(service, red):
    body = json.dumps({"model_id": "endless", "input": {"data": red}}).encode()
    head = f"POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    sock = socket.create_connection(("127.0.0.1", service.port))
    sock.sendall(head.encode() + body)
    assert until(lambda: service.desk.admission.running == 1)
    sock.close()
    # the run would go on for the 30 s of the limit, and its thread with it
    assert until(lambda: service.desk.admission.running == 0, within_s=20)


def test_a_client_that_leaves_the_queue_is_never_run(start, red):
    running = start(workers=1)
    threads = busy(running, red, 1)
    admission = running.desk.admission
    assert until(lambda: admission.running == 1)
    body = json.dumps({"model_id": "colours", "input": {"data": red}}).encode()
    head = f"POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    sock = socket.create_connection(("127.0.0.1", running.port))
    sock.sendall(head.encode() + body)
    assert until(lambda: admission.waiting == 1)
    sock.close()
    assert until(lambda: admission.waiting == 0)
    release(running, threads)
    assert running.desk.engine.metrics.count == 0


def test_a_body_that_does_not_come_is_given_up(start):
    running = start(body_s=0.3)
    head = f"POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + '{"a'
    with socket.create_connection(("127.0.0.1", running.port), timeout=180) as sock:
        sock.sendall(head.encode())
        answer = sock.recv(65536)
        while b"}" not in answer:
            answer += sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"request_timeout"' in answer


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: local"])
def test_a_head_that_does_not_come_closes_the_connection(start, sent):
    running = start(head_s=0.3)
    with socket.create_connection(("127.0.0.1", running.port), timeout=180) as sock:
        sock.sendall(sent)
        assert sock.recv(100) == b""


def test_a_second_head_has_to_come_as_well_and_a_long_run_may_take_its_time(start, red):
    running = start(head_s=0.3)
    running.execute(red, model_id="endless", options={"timeout_ms": 700})  # longer than a head
    with socket.create_connection(("127.0.0.1", running.port), timeout=180) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /health HT")
        assert sock.recv(100) == b""


def test_a_head_without_an_end_is_refused(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=180) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        answer = b""
        with contextlib.suppress(OSError):
            for _ in range(40):
                sock.sendall(b"X-Filler: " + b"x" * 10_000 + b"\r\n")
                time.sleep(0.005)
        with contextlib.suppress(OSError):
            answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400") or answer == b""  # or it was cut off meanwhile
    assert service.client.get("/health").status_code == 200


@pytest.mark.parametrize("declared", [True, False])
def test_a_client_that_goes_on_sending_still_reads_that_it_was_refused(start, declared):
    running = start(max_image_bytes=1_000)
    body = b"x" * 8_000_000
    content = body if declared else iter([body[:4_000_000], body[4_000_000:]])
    headers = {"Content-Type": "application/json"}
    for _ in range(3):  # on the same connection
        response = running.client.post(EXECUTE, content=content, headers=headers)
        assert code(response) == (413, "input_too_large")
        content = body
    assert running.client.get("/health").status_code == 200


def test_what_is_sent_after_a_refusal_has_to_end(start):
    running = start(max_image_bytes=1_000, head_s=0.3)
    with socket.create_connection(("127.0.0.1", running.port), timeout=180) as sock:
        head = f"POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 413")
        ended = False
        for _ in range(200):
            try:
                sock.sendall(b"x")
                time.sleep(0.02)
            except OSError:
                ended = True
                break
        assert ended


def test_bodies_at_hand_have_a_limit_together(start, red, monkeypatch):
    running = start(max_image_bytes=1_000)
    monkeypatch.setattr(type(running.desk.policy), "held_bytes", 50_000)
    head = f"POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=180) as sock:
        sock.sendall(head.encode() + b"x" * 40_000)
        assert until(lambda: running.desk.traffic.open == 1)
        big = running.client.post(
            EXECUTE, content=b"y" * 30_000, headers={"Content-Type": "application/json"}
        )
        assert code(big) == (503, "queue_full")
        assert "there is room for 50.0 kB" in big.json()["error"]["message"]
        assert int(big.headers["retry-after"]) >= 1
    assert until(lambda: running.desk.traffic.open == 0)
    assert running.execute(red).status_code == 200


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 5000, b"GET\r\n\r\n"]
)
def test_what_is_no_http_is_refused_counted_and_written_down(service, caplog, nonsense):
    def counted() -> int:
        served = service.desk.traffic.served()
        return sum(n for s, n in served.items() if (s.method, s.status) == ("(none)", 400))

    before = counted()
    with caplog.at_level("INFO", "workbench.service"):
        answer = raw(service.port, nonsense)
        assert until(lambda: counted() == before + 1)
        assert until(lambda: any(getattr(r, "request_id", "") for r in caplog.records))
    head, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body)["error"]
    assert head.startswith(b"HTTP/1.1 400")
    assert told["code"] == "bad_request"
    assert f"x-request-id: {told['request_id']}\r\n".encode() in head + b"\r\n"
    lines = [r for r in caplog.records if getattr(r, "request_id", "") == told["request_id"]]
    assert [(line.status, line.code) for line in lines] == [(400, "bad_request")]
    assert service.client.get("/health").status_code == 200


def test_a_wish_for_websockets_is_passed_over_in_silence(service, caplog):
    answer = raw(
        service.port,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert [r.getMessage() for r in caplog.records if r.name.startswith("uvicorn")] == []


def test_a_client_that_only_connects_where_tls_is_spoken_is_hung_up_on(start, certificate):
    running = start(tls=certificate, head_s=0.3)
    for sent in (b"", b"\x16\x03\x01"):  # a server that does not care gives it a minute
        assert raw(running.port, sent, within_s=30) == b""
    trust = ssl.create_default_context(cafile=certificate[0])
    assert httpx.get(f"{running.url}/health", verify=trust).json()["ready"] is True


def test_many_at_once_are_all_answered(service, red):
    async def load() -> list[int]:
        body = {"model_id": "colours", "input": {"data": red}}
        async with httpx.AsyncClient(base_url=service.url, timeout=180) as client:
            answers = await asyncio.gather(*(client.post(EXECUTE, json=body) for _ in range(40)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(load()) == [200] * 40


def test_good_bad_and_broken_off_together_fail_only_where_they_should(start, red):
    running = start(workers=2)
    bad = [b"{", b'{"model_id": "colours", "input": {"data": "aGk="}}', b"[" * 5_000, b"\xff"]
    expected = {200, 400, 422}
    seen: list[int] = []

    def client(number: int) -> None:
        good = {"model_id": "colours", "input": {"data": red}}
        with httpx.Client(base_url=running.url, timeout=180) as session:
            for step in range(40):
                if step % 5 == 4:
                    headers = {"Content-Type": "application/json"}
                    answer = session.post(EXECUTE, content=bad[step % 4], headers=headers)
                elif step % 5 == 3:
                    body = json.dumps({"model_id": "endless", "input": {"data": red}}).encode()
                    head = f"POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                    with socket.create_connection(("127.0.0.1", running.port)) as sock:
                        sock.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
                        time.sleep(0.01 * (number % 3))
                    continue
                else:
                    answer = session.post(EXECUTE, json=good)
                    assert answer.status_code == 200, answer.text
                seen.append(answer.status_code)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(seen) == expected
    assert seen.count(200) == 4 * 24
    assert until(lambda: running.desk.admission.running == running.desk.admission.waiting == 0)
    assert until(lambda: running.desk.traffic.open == 0)
    told = running.client.get("/api/inference/status").json()["counts"]["http"]
    assert "internal" not in told
    assert told["cancelled"] == 4 * 8


def test_at_sigterm_what_runs_is_answered_and_the_exit_is_0(command, shelf, red):
    served = command(MODEL_DIR=str(shelf), INFERENCE_TIMEOUT="20000")
    answers = []
    body = {"model_id": "endless", "input": {"data": red}, "options": {"timeout_ms": 2000}}

    def send() -> None:
        answers.append(httpx.post(f"{served.url}{EXECUTE}", json=body, timeout=180))

    thread = threading.Thread(target=send)
    thread.start()
    with httpx.Client(base_url=served.url) as client:
        assert until(lambda: client.get("/api/inference/status").json()["queue"]["running"] == 1)
    assert served.end(signal.SIGTERM) == 0
    thread.join(120)
    assert code(answers[0]) == (504, "inference_timeout")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/health")


def test_what_does_not_end_is_cut_off_when_draining_takes_too_long(command, shelf, red):
    served = command(MODEL_DIR=str(shelf), DRAIN_TIMEOUT="1000")
    body = {"model_id": "endless", "input": {"data": red}}
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{served.url}{EXECUTE}", json=body, timeout=180))
    )
    thread.start()
    with httpx.Client(base_url=served.url) as client:
        assert until(lambda: client.get("/api/inference/status").json()["queue"]["running"] == 1)
    begun = time.monotonic()
    assert served.end(signal.SIGINT) == 0
    assert time.monotonic() - begun < 60
    thread.join(120)
    assert code(answers[0]) == (503, "cancelled")


def test_admission_counts_what_it_has():
    async def check() -> None:
        admission = Admission(workers=1, limit=1)
        gate = threading.Event()
        first = asyncio.ensure_future(admission.run(lambda stop: gate.wait(120), timeout_s=None))
        second = asyncio.ensure_future(admission.run(lambda stop: "second", timeout_s=None))
        await asyncio.sleep(0.05)
        assert (admission.running, admission.waiting) == (1, 1)
        with pytest.raises(QueueFullError) as caught:
            await admission.run(lambda stop: None, timeout_s=1.0)
        assert caught.value.retry_after_s >= 1
        gate.set()
        assert await first is True
        assert await second == "second"
        assert (admission.running, admission.waiting, admission.refused) == (0, 0, 1)
        admission.close()

    asyncio.run(check())


@pytest.mark.parametrize("raised", [StopIteration, SystemExit, MemoryError, KeyError])
def test_a_place_is_free_again_whatever_the_work_raises(raised):
    async def check() -> None:
        admission = Admission(workers=1, limit=1)

        def work(stop):
            raise raised

        for _ in range(3):
            with pytest.raises(RuntimeError if raised is StopIteration else raised):
                await admission.run(work, timeout_s=100)
        assert (admission.running, admission.waiting) == (0, 0)
        assert await admission.run(lambda stop: "next", timeout_s=100) == "next"
        admission.close()

    asyncio.run(check())
