"""What sharing runs gains or costs: one service with dynamic batching and one without, in turn.

Both are started beside each other, and rounds go through them in turn, the first of a round being
the second of the next, so that a busy machine is busy for both. What counts are the ratios, of
requests per second and of the median time of a request, which are taken within a round.

    python benchmarks/batching.py [--model ID] [--picture FILE] [--requests 400] [--rounds 5]
                                  [--workers 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import statistics
import sys
from pathlib import Path
from urllib.request import urlopen

from _beside import beside

import workbench as wb

http = beside(Path(__file__).with_name("http.py"), "serving")


def run_sizes(service) -> tuple[float, float]:
    """Return how many inputs a service has answered, and in how many runs."""
    with urlopen(f"http://{service.host}:{service.port}/metrics") as answer:
        page = answer.read().decode()
    found = [re.search(rf"workbench_run_inputs_{n} (\S+)", page)[1] for n in ("sum", "count")]
    return float(found[0]), float(found[1])


def measure(services: dict, requests: int, rounds: int) -> list[dict]:
    """Return a row for each number of clients."""
    rows = []
    for clients in http.CLIENTS:
        rates: dict[str, list[float]] = {"off": [], "on": []}
        medians: dict[str, list[float]] = {"off": [], "on": []}
        before = run_sizes(services["on"])
        for turn in range(rounds):
            for name in ("off", "on") if turn % 2 == 0 else ("on", "off"):
                times, wall_s = services[name].load(clients, requests)
                rates[name].append(len(times) / wall_s)
                medians[name].append(1e3 * statistics.median(times))
        inputs, runs = (b - a for a, b in zip(before, run_sizes(services["on"]), strict=True))
        pairs = zip(rates["on"], rates["off"], strict=True)
        times_of = zip(medians["on"], medians["off"], strict=True)
        rows.append(
            {
                "clients": clients,
                "inputs_of_a_run": inputs / runs,
                "off_requests_per_s": statistics.median(rates["off"]),
                "off_p50_ms": statistics.median(medians["off"]),
                "rates": sorted(a / b for a, b in pairs),
                "p50s": sorted(a / b for a, b in times_of),
            }
        )
    return rows


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--picture", type=Path, default=wb.example("flower"))
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", default="", help="a split such as 2x1; left out: its own")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = base64.b64encode(arguments.picture.read_bytes()).decode()
    body = json.dumps({"model_id": arguments.model, "input": {"data": data}}).encode()
    services = {}
    for name in ("off", "on"):
        os.environ["DYNAMIC_BATCHING"] = name
        services[name] = http.Served(arguments.model, arguments.workers, body)
    try:
        for service in services.values():
            service.load(1, http.WARM_UP)
        rows = measure(services, arguments.requests, arguments.rounds)
    finally:
        for service in services.values():
            service.close()
    split = f"{arguments.workers or 'its own number of'} workers"
    print(f"{arguments.model}, {arguments.picture.name}, {split}; with batching")
    print("against without: median of the rounds (least to most)")
    print("clients  inputs a run  without: requests/s  p50 ms       requests/s              p50")
    for row in rows:
        ratios = [
            f"{statistics.median(row[name]):5.2f} x ({row[name][0]:.2f} to {row[name][-1]:.2f})"
            for name in ("rates", "p50s")
        ]
        print(
            f"{row['clients']:7d}  {row['inputs_of_a_run']:12.1f}  "
            f"{row['off_requests_per_s']:19.1f}"
            f"  {row['off_p50_ms']:6.1f}  {ratios[0]}  {ratios[1]}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
