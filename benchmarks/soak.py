"""A soak: whether the service stays what it was through thousands of requests, one in five bad.

A service is started in a process of its own; four clients send it pictures in three forms and
tensors, and, every fifth time, something bad, each kind with the status and code that it must be
answered with. After each tenth of the requests the clients hang up, and the service is looked at
while it rests: memory, open files and threads of its process and of its workers, all together.
Memory is RSS, which other programs of the machine do not move (PSS and USS become more when
another process ends that had the same libraries mapped). "own" is the part of it that is in no
other process, for comparison.

The first tenth warms up. From there on memory must stay within 5 % of what it was, and files and
threads may not become more; every good request must have the answer that it had the first time,
every bad one its own error, and none a 500. Exits with 1 when any of that is missed.

    python benchmarks/soak.py [--model cifar10] [--requests 10000] [--workers N] [--json FILE]
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil  # with ipykernel, and so with JupyterLab
from PIL import Image

import workbench as wb

CLIENTS = 4
#: One request in so many is bad.
BAD_EVERY = 5
#: How far memory may move, as a share of what it was after the first tenth.
MEMORY = 0.05
#: So many times the service is looked at.
LOOKS = 10
#: Seconds that a service gets to come to rest once its clients have hung up.
REST_S = 10.0
EXECUTE, BATCH = "/api/inference/execute", "/api/inference/batch"


@dataclass(frozen=True)
class Request:
    """What is sent, and the status and error code that it must be answered with."""

    name: str
    path: str
    body: bytes
    kind: str = "application/json"
    status: int = 200
    code: str = ""


@dataclass
class Tally:
    """What the clients met."""

    good: int = 0
    bad: int = 0
    failed: list[str] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)
    unclassified: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    expected: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """The service and its workers while they rest."""

    requests: int
    service_bytes: int
    workers_bytes: int
    own_bytes: int
    files: int
    threads: int
    processes: int

    @property
    def memory_bytes(self) -> int:
        return self.service_bytes + self.workers_bytes


def encoded(name: str, kind: str) -> bytes:
    """Return a photo of 320 pixels as a file of that kind."""
    picture = Image.open(wb.example(name)).convert("RGB")
    picture.thumbnail((320, 320))
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def execute(model: str, data: object, kind: str = "image") -> bytes:
    """Return the JSON body of one request."""
    return json.dumps({"model_id": model, "input": {"type": kind, "data": data}}).encode()


def good_requests(model: str) -> list[Request]:
    """Return requests that must be answered: three forms of pictures, a tensor, a batch."""
    jpeg, png = encoded("flower", "JPEG"), encoded("cat", "PNG")
    text = base64.b64encode(png).decode()
    tensor = wb.default_hub().load(model).preprocessing(png)
    batch = {"model_id": model, "inputs": [{"type": "image", "data": text}] * 2}
    form = (
        b'--cut\r\nContent-Disposition: form-data; name="model_id"\r\n\r\n' + model.encode()
        + b'\r\n--cut\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        + jpeg + b"\r\n--cut--\r\n"
    )  # fmt: skip
    return [
        Request("data URI", EXECUTE, execute(model, f"data:image/png;base64,{text}")),
        Request("body", f"{EXECUTE}?model_id={model}", jpeg, "image/jpeg"),
        Request("form", EXECUTE, form, "multipart/form-data; boundary=cut"),
        Request("tensor", EXECUTE, execute(model, tensor.tolist(), "tensor")),
        Request("batch", BATCH, json.dumps(batch).encode()),
    ]


def bad_requests(model: str) -> list[Request]:
    """Return requests that must be refused, each in its own words."""
    jpeg, png = encoded("flower", "JPEG"), encoded("cat", "PNG")
    text = base64.b64encode(jpeg).decode()
    late = {"model_id": model, "input": {"data": text}, "options": {"timeout_ms": 0.01}}
    half = base64.b64encode(png[: len(png) // 2]).decode()
    kinds = [
        ("a text", execute(model, base64.b64encode(b"hello").decode()), 422, "not_an_image"),
        ("half a picture", execute(model, half), 422, "corrupt_image"),
        ("no base64", execute(model, "*" * 100), 400, "base64_invalid"),
        ("a path", execute(model, "pictures/cat.png"), 400, "bad_request"),
        ("no model", execute("nobody", text), 404, "unknown_model"),
        ("no JSON", b'{"model_id": ', 400, "bad_request"),
        ("a NaN", b'{"model_id": NaN}', 400, "bad_request"),
        ("deep JSON", b"[" * 5000 + b"]" * 5000, 400, "bad_request"),
        ("a small tensor", execute(model, [1.0, 2.0], "tensor"), 422, "input_mismatch"),
        ("no time", json.dumps(late).encode(), 504, "inference_timeout"),
    ]
    return [
        *(Request(name, EXECUTE, body, status=status, code=code)
          for name, body, status, code in kinds),
        Request("no such address", "/api/nothing", b"{}", status=404, code="not_found"),
        Request("another type", EXECUTE, b"hello", "text/plain", 415, "unsupported_media_type"),
    ]  # fmt: skip


class Served:
    """A service in a process of its own, and what it holds."""

    def __init__(self, model: str, workers: int | None) -> None:
        command = [sys.executable, "-m", "workbench", "serve", "--port", "0", "--models", model]
        command += ["--workers", str(workers)] if workers else []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir(),
            env=os.environ | {"LOG_LEVEL": "CRITICAL"},
        )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", self.process.stdout.readline())
        assert found is not None, "the service did not start"
        self.host, self.port = found[1], int(found[2])
        self.tree = psutil.Process(self.process.pid)

    def connect(self) -> HTTPConnection:
        return HTTPConnection(self.host, self.port, timeout=120)

    def look(self, requests: int) -> Look:
        """Wait until all connections are closed, and count what is held."""
        end = time.monotonic() + REST_S
        while time.monotonic() < end and any(
            c.status == psutil.CONN_ESTABLISHED for c in self.tree.net_connections("tcp")
        ):
            time.sleep(0.05)
        workers = self.tree.children(recursive=True)
        everyone = [self.tree, *workers]
        return Look(
            requests,
            self.tree.memory_info().rss,
            sum(process.memory_info().rss for process in workers),
            sum(process.memory_full_info().uss for process in everyone),
            sum(process.num_fds() for process in everyone),
            sum(process.num_threads() for process in everyone),
            len(everyone),
        )

    def close(self) -> int:
        """End the service, and return its exit code."""
        self.process.terminate()
        return self.process.wait(60)


def answer_of(sent: Request, body: dict) -> str:
    """Return what of an answer must be the same each time."""
    results = body["results"] if sent.path == BATCH else [body]
    return " ".join(result["predictions"][0]["label"] for result in results)


def judge(sent: Request, status: int, content: bytes, tally: Tally) -> None:
    """Compare an answer with what it must be."""
    body = json.loads(content)
    code = body["error"]["code"] if "error" in body else ""
    tally.unclassified += status == 500 and code in ("", "internal")
    tally.answers[f"{status} {code}".strip()] += 1
    if sent.status == 200:
        tally.good += 1
        same = status == 200 and answer_of(sent, body)
        if not same or tally.expected.setdefault(sent.name, same) != same:
            tally.failed.append(f"{sent.name}: {status} {content[:200]!r}")
    else:
        tally.bad += 1
        if (status, code) != (sent.status, sent.code):
            tally.astray.append(f"{sent.name}: {status} {content[:200]!r}")


def client(service: Served, mine: list[Request], tally: Tally, lock: threading.Lock) -> None:
    """Send requests one after another on one connection, which is opened again when it ends."""
    connection = service.connect()
    for sent in mine:
        try:
            connection.request("POST", sent.path, sent.body, {"Content-Type": sent.kind})
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            status, content = 0, json.dumps({"error": {"code": repr(error)}}).encode()
        with lock:
            judge(sent, status, content, tally)
    connection.close()


def soak(service: Served, model: str, requests: int) -> tuple[Tally, list[Look]]:
    """Send all requests, and look at the service after each tenth of them."""
    tally, lock, looks = Tally(), threading.Lock(), []
    good, bad = itertools.cycle(good_requests(model)), itertools.cycle(bad_requests(model))
    for part in range(1, LOOKS + 1):
        sent = [next(good) if i % BAD_EVERY else next(bad) for i in range(requests // LOOKS)]
        threads = [
            threading.Thread(target=client, args=(service, sent[i::CLIENTS], tally, lock))
            for i in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        looks.append(service.look(part * (requests // LOOKS)))
        row(looks[-1])
    return tally, looks


def row(look: Look) -> None:
    """Print a line of the table."""
    print(
        f"{look.requests:8,d}  {look.memory_bytes / 1e6:9.1f}  {look.service_bytes / 1e6:7.1f}"
        f"  {look.workers_bytes / 1e6:7.1f}  {look.own_bytes / 1e6:6.1f}  {look.files:5d}"
        f"  {look.threads:7d}  {look.processes:9d}",
        flush=True,
    )


def missed(tally: Tally, looks: list[Look], exit_code: int) -> list[str]:
    """Return what is not as it was promised, in words."""
    first = looks[0]
    moved = max(abs(look.memory_bytes / first.memory_bytes - 1) for look in looks)
    checks = {
        f"{len(tally.failed)} good requests failed: {tally.failed[:3]}": tally.failed,
        f"{len(tally.astray)} bad requests had another answer: {tally.astray[:3]}": tally.astray,
        f"{tally.unclassified} unclassified errors 500": tally.unclassified,
        f"memory moved by {moved:.1%}, at most {MEMORY:.0%}": moved > MEMORY,
        "files became more": max(look.files for look in looks) > first.files,
        "threads became more": max(look.threads for look in looks) > first.threads,
        f"the service ended with {exit_code}": exit_code,
    }
    return [words for words, wrong in checks.items() if wrong]


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    service = Served(arguments.model, arguments.workers)
    exit_code = 0
    print(
        "requests  memory MB  service  workers     own  files  threads  processes   "
        f"({CLIENTS} clients)"
    )
    try:
        begun = time.monotonic()
        tally, looks = soak(service, arguments.model, arguments.requests)
        took_s = time.monotonic() - begun
    finally:
        exit_code = service.close()
    moved = [look.memory_bytes / looks[0].memory_bytes - 1 for look in looks]
    print(
        f"{tally.good:,} good and {tally.bad:,} bad in {took_s:.0f} s; memory {min(moved):+.1%} to "
        f"{max(moved):+.1%} of {looks[0].memory_bytes / 1e6:.0f} MB, at the end {moved[-1]:+.1%}"
    )
    print("answers: " + ", ".join(f"{n:,} × {what}" for what, n in tally.answers.most_common()))
    if arguments.json:
        told = {"looks": [asdict(look) for look in looks], "answers": tally.answers}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    wrong = missed(tally, looks, exit_code)
    for words in wrong:
        print(f"missed: {words}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
