"""The service from outside: latency and throughput at 1, 8 and 64 clients, and what HTTP adds.

For each split, a number of worker processes (``workbench serve --workers``) and of threads in each
(``WORKER_THREADS``; ``2x1``, or ``2`` for the default), a service is started in a process of its
own, all of them beside each other; rounds go through them in turn, so that a busy machine is busy
for all. The clients are coroutines of this process that write the same request over and over on
connections that stay open. What HTTP adds is the time of one client's request less the same call
in-process, taken in turn; its stages are the service's own.

    python benchmarks/http.py [--model ID] [--picture FILE] [--requests 400] [--rounds 3]
                              [--workers 1x2,2x1,2x2] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "http":  # the folder of a script stands first: one beside this wants Python's own
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    found = PathFinder.find_spec("http", [p for p in sys.path if Path(p) != Path(__file__).parent])
    assert found is not None
    assert found.loader is not None
    sys.modules["http"] = module_from_spec(found)
    found.loader.exec_module(sys.modules["http"])
else:
    import workbench as wb

CLIENTS = (1, 8, 64)
WARM_UP = 50


class Served:
    """A service in a process of its own, and requests to it."""

    def __init__(self, model: str, split: str, body: bytes) -> None:
        workers, _, threads = split.partition("x")
        environment = os.environ | {"LOG_LEVEL": "ERROR", "QUEUE_LIMIT": "1000"}
        if threads:
            environment["WORKER_THREADS"] = threads
        if workers:
            environment["WORKERS"] = workers
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench", "serve", "--port", "0", "--models", model],
            stdout=subprocess.PIPE, text=True, env=environment, cwd=tempfile.gettempdir(),
        )  # fmt: skip
        self.begin(body)

    def begin(self, body: bytes) -> None:
        """Wait until it serves, and write the request that is sent to it."""
        assert self.process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", self.process.stdout.readline())
        assert found is not None, "the service did not start"
        self.host, self.port = found[1], int(found[2])
        head = (
            f"POST /api/inference/execute HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body
        self.stages: list[dict[str, float]] = []

    async def client(
        self, requests: int, times: list[float], before: Callable[[], object] | None = None
    ) -> None:
        """Send requests one after another on one connection; ``before`` is called before each."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        for _ in range(requests):
            if before is not None:
                before()
            began = time.perf_counter()
            writer.write(self.request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
            body = await reader.readexactly(length)
            times.append(time.perf_counter() - began)
            assert head.startswith(b"HTTP/1.1 200"), body
            self.stages.append(json.loads(body)["timings_ms"])
        writer.close()
        await writer.wait_closed()

    def load(self, clients: int, requests: int) -> tuple[list[float], float]:
        """Return the seconds of each request, and of all of them together."""
        times: list[float] = []

        async def all_clients() -> None:
            each = max(1, requests // clients)
            await asyncio.gather(*(self.client(each, times) for _ in range(clients)))

        began = time.perf_counter()
        asyncio.run(all_clients())
        return times, time.perf_counter() - began

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def percentile(values: list[float], p: float) -> float:
    """Return the p-quantile, nan where there are too few values for it."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(p * len(ordered)))]


def throughput(served: dict[str, Served], requests: int, rounds: int) -> dict:
    """Measure every service at every number of clients, in turn."""
    times: dict[tuple[str, int], list[float]] = {}
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for clients in CLIENTS:
            for workers, service in served.items():
                some, wall_s = service.load(clients, requests)
                times.setdefault((workers, clients), []).extend(some)
                rates.setdefault((workers, clients), []).append(len(some) / wall_s)
    return {
        key: {
            "workers": key[0],
            "clients": key[1],
            "n": len(some),
            "p50_ms": 1e3 * percentile(some, 0.5),
            "p99_ms": 1e3 * percentile(some, 0.99),
            "requests_per_s": statistics.median(rates[key]),
        }
        for key, some in times.items()
    }


def gap(service: Served, model: str, picture: bytes, rounds: int) -> dict:
    """Measure one client's request less the same call in-process, in turn."""
    runner = wb.Runner()
    runner.hub.load(model)
    for _ in range(20):
        runner.classify(picture, model=model)
    service.stages.clear()
    inside: list[float] = []
    outside: list[float] = []

    def call() -> None:
        began = time.perf_counter()
        runner.classify(picture, model=model)
        inside.append(time.perf_counter() - began)

    asyncio.run(service.client(rounds, outside, before=call))
    stages = {
        name: statistics.median([told.get(name, 0.0) for told in service.stages])
        for name in service.stages[-1]
    }
    return {
        "inside_ms": 1e3 * statistics.median(inside),
        "outside_ms": 1e3 * statistics.median(outside),
        "added_ms": 1e3 * statistics.median([b - a for a, b in zip(inside, outside, strict=True)]),
        "stages_ms": stages,
    }


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--picture", type=Path, default=wb.example("flower"))
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1,2,4", help="splits, such as 1x2,2x1,2x2")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    picture = arguments.picture.read_bytes()
    data = base64.b64encode(picture).decode()
    body = json.dumps({"model_id": arguments.model, "input": {"data": data}}).encode()
    served = {n: Served(arguments.model, n, body) for n in arguments.workers.split(",")}
    try:
        for service in served.values():
            service.load(1, WARM_UP)
        rows = throughput(served, arguments.requests, arguments.rounds)
        added = gap(next(iter(served.values())), arguments.model, picture, arguments.requests)
    finally:
        for service in served.values():
            service.close()
    print(f"{arguments.model}, {arguments.picture.name}, {len(picture):,} bytes")
    print("workers  clients      p50 ms     p99 ms   requests/s")
    for row in rows.values():
        print(
            f"{row['workers']:>7}  {row['clients']:7d}  {row['p50_ms']:10.2f} {row['p99_ms']:10.2f}"
            f"  {row['requests_per_s']:11.1f}"
        )
    print(
        f"one client {added['outside_ms']:.2f} ms, the same call in-process "
        f"{added['inside_ms']:.2f} ms, added {added['added_ms']:.2f} ms (medians of pairs)"
    )
    print("stages of a request: " + ", ".join(
        f"{name} {value:.2f}" for name, value in added["stages_ms"].items()) + " ms")  # fmt: skip
    if arguments.json:
        told = {"throughput": list(rows.values()), "gap": added}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
