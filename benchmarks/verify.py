"""What comparing a pulled model with its lock costs: remembered, and with the hash taken again.

A model of 45 MB is pulled from a file and locked. "stamp" is what each load pays while size, mtime
and inode are those of the lock; "remembered" while they differ, but the file has not changed since
its hash was taken; "hashed" is ``verify="always"``. Exits with 1 when a ceiling is missed.

    python benchmarks/verify.py [--rounds 30] [--megabytes 45] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import workbench as wb
from workbench.models import lock

#: Ceilings: the share of a hash that the two others may take.
STAMP, REMEMBERED = 0.02, 0.05


def write_model(path: Path, megabytes: int) -> None:
    """Write a model of that size: one matrix of random numbers."""
    weight = np.random.default_rng(0).random((megabytes * 250, 1000), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(weight)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)


def median_s(action: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds that an action takes."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def measure(folder: Path, rounds: int, megabytes: int) -> dict[str, float]:
    """Return the three times in seconds, and the size of the file."""
    write_model(folder / "large.onnx", megabytes)
    hub = wb.ModelHub(model_dir=folder / "shelf")
    path = hub.pull(folder / "large.onnx", progress=False).path
    told = {"stamp": median_s(lambda: lock.check(path), 10 * rounds)}
    os.utime(path)  # the stamp is no longer that of the lock
    lock.check(path)
    told["remembered"] = median_s(lambda: lock.check(path), 10 * rounds)
    told["hashed"] = median_s(lambda: lock.check(path, "always"), rounds)
    return {**told, "size_bytes": float(path.stat().st_size)}


def main() -> int:
    """Measure, print, and say whether the ceilings hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--megabytes", type=int, default=45)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        told = measure(Path(folder), given.rounds, given.megabytes)
    whole = told["hashed"]
    rate = told["size_bytes"] / whole / 1e6
    print(f"hash taken again  {whole * 1e3:8.2f} ms  ({rate:,.0f} MB/s)")
    held = True
    for name, ceiling in (("stamp", STAMP), ("remembered", REMEMBERED)):
        share = told[name] / whole
        good = share <= ceiling
        held &= good
        print(f"{name:17s} {told[name] * 1e3:8.3f} ms  {share:.2%} of it, ceiling {ceiling:.0%}"
              f"{'' if good else '  MISSED'}")  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(told, indent=2))
    return 0 if held else 1


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore", wb.WorkbenchWarning)
    sys.exit(main())
