"""The service against a plain Node.js one: Express, Sharp, onnxruntime-node, each as it comes.

Both serve the same ResNet-18 (random weights: only its shape matters for time) and answer the same
photo in the same JSON. They run beside each other, and rounds go through both in turn, so that a
busy machine is busy for both; the ratios are medians over the rounds. Needs node and npm, and
``npm install`` once in ``benchmarks/express`` (ONNXRUNTIME_NODE_INSTALL_CUDA=skip saves the
download of what is not used).

    python benchmarks/express.py [--picture FILE] [--requests 200] [--rounds 5] [--split 3x2]
                                 [--json FILE]

The aim: p50 at one client at most 0.75 of Express's, and at least 1.6 of its requests a second
at eight clients; with the OpenVINO provider, p50 at most 0.4.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _beside import beside

import workbench as wb

HERE = Path(__file__).parent
CLIENTS = (1, 8)
WARM_UP = 30


serving = beside(HERE / "http.py", "serving")
shapes = beside(HERE.parent / "tests" / "service" / "resnet18_graph.py", "shapes")


class Express(serving.Served):
    """The Node.js server in a process of its own."""

    def __init__(self, model: Path, body: bytes) -> None:
        self.process = subprocess.Popen(
            ["node", str(HERE / "express" / "server.js"), str(model)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.begin(body)


def shelf(folder: Path) -> Path:
    """Write a ResNet-18 and its description, and return MODEL_DIR."""
    models = folder / "models"
    (models / "metadata").mkdir(parents=True)
    shapes.resnet18(models / "resnet18.onnx")
    facts = {
        "model_type": "image_classification",
        "input_shape": [1, 3, 224, 224],
        "preprocessing": "imagenet",
    }
    (models / "metadata" / "resnet18.json").write_text(json.dumps(facts))
    return models


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, default=wb.example("flower"))
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--split", default="", help="workers x threads, such as 3x2")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if shutil.which("node") is None or not (HERE / "express" / "node_modules").is_dir():
        print("not measured: node is missing, or 'npm install' in benchmarks/express")
        return 0
    picture = arguments.picture.read_bytes()
    data = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    body = json.dumps({"model_id": "resnet18", "input": {"data": data}}).encode()
    with tempfile.TemporaryDirectory() as folder:
        models = shelf(Path(folder))
        os.environ["MODEL_DIR"] = str(models)
        ours = serving.Served("resnet18", arguments.split, body)
        theirs = Express(models / "resnet18.onnx", body)
        try:
            rows = compared(ours, theirs, arguments.requests, arguments.rounds)
        finally:
            theirs.close()
            ours.close()
    print(f"ResNet-18, {arguments.picture.name}, {len(picture):,} bytes")
    print("clients    p50 ms  Express    ratio   requests/s  Express    ratio")
    for row in rows:
        print(
            f"{row['clients']:7d}  {row['p50_ms']:8.2f} {row['p50_ms_express']:8.2f} "
            f"{row['p50_ratio']:8.2f}   {row['rate']:10.1f} {row['rate_express']:8.1f} "
            f"{row['rate_ratio']:8.2f}"
        )
    for name, service in (("ours", ours), ("Express", theirs)):
        stages = service.stages[-arguments.requests :]  # of one client, the last that was measured
        told = {k: statistics.median([s.get(k, 0.0) for s in stages]) for k in stages[-1]}
        print(f"stages, {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in told.items()) + " ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def compared(ours: Any, theirs: Any, requests: int, rounds: int) -> list[dict[str, float]]:
    """Measure both at each number of clients, in turn, and return medians and their ratios."""
    for service in (ours, theirs):
        service.load(1, WARM_UP)
        service.load(8, WARM_UP)
    seen: dict[tuple[int, bool], list[tuple[float, float]]] = {}
    for number in range(rounds):
        for clients in CLIENTS[::-1]:  # stages of one client are the last ones
            for mine in (True, False) if number % 2 else (False, True):
                times, wall_s = (ours if mine else theirs).load(clients, requests)
                p50_ms = 1e3 * statistics.median(times)
                seen.setdefault((clients, mine), []).append((p50_ms, len(times) / wall_s))
    rows = []
    for clients in CLIENTS:
        mine, other = seen[clients, True], seen[clients, False]
        pairs = list(zip(mine, other, strict=True))
        rows.append({
            "clients": clients,
            "p50_ms": statistics.median([p for p, _ in mine]),
            "p50_ms_express": statistics.median([p for p, _ in other]),
            "p50_ratio": statistics.median([a[0] / b[0] for a, b in pairs]),
            "rate": statistics.median([r for _, r in mine]),
            "rate_express": statistics.median([r for _, r in other]),
            "rate_ratio": statistics.median([a[1] / b[1] for a, b in pairs]),
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    sys.exit(main())
