"""What it costs to run models in a process that can be killed, and whether its promises hold.

- a hand-over: the same pictures in this process and in a worker, taken in turn, in random order;
  medians, and the median of the differences
- a start: from asking for an isolated runner to its first answer
- a replacement: from ``kill -9`` of the worker to the next answer, the model loaded again
- a limit: how late the reply is, within one node of the graph that goes on for minutes, and
  during a load that does
- a stop: the same, from the call of ``cancel``

The figures are medians; what was promised is held by the slowest. Exits with 1 when a reply
comes more than 1 s late, when a replacement takes more than 2 s, or when an answer differs.

    python benchmarks/isolation.py [--rounds 100] [--times 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import workbench as wb

#: A reply may be so late, and a replacement may take so long, in seconds.
LATE_S, REPLACED_S = 1.0, 2.0
#: Between two kills, in seconds; a second worker that dies at once is replaced by a fresh start.
PAUSE_S = 2.0
#: The limit that is broken, in seconds.
LIMIT_S = 0.5
#: Side of two matrices of int64 whose product takes minutes.
SIDE = 8192


def endless(path: Path, *, at_load: bool) -> Path:
    """Write a model of one node that goes on for minutes, when it runs or when it is loaded."""
    size = ["shape"]
    nodes = []
    if not at_load:
        nodes = [
            helper.make_node("Shape", ["x"], ["dims"], start=0, end=1),
            helper.make_node("Mul", ["dims", "zero"], ["nothing"]),
            helper.make_node("Add", ["shape", "nothing"], ["size"]),
        ]
        size = ["size"]
    one = numpy_helper.from_array(np.ones(1, np.int64))
    nodes += [
        helper.make_node("ConstantOfShape", size, ["ones"], value=one),
        helper.make_node("MatMul", ["ones", "ones"], ["product"]),
        helper.make_node("Cast", ["product"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0),
        helper.make_node("Add", ["x", "mean"], ["y"]),
    ]
    weights = {"shape": np.array([SIDE, SIDE], np.int64), "zero": np.zeros(1, np.int64)}
    if at_load:
        del weights["zero"]
    graph = helper.make_graph(
        nodes,
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    return path


def hand_over(
    runners: tuple[wb.Runner, wb.Runner], ask: Callable[[wb.Runner], wb.Result], rounds: int
) -> tuple[np.ndarray, bool]:
    """Return seconds (rounds, 2), here and there, and whether all answers were equal."""
    rng = np.random.default_rng(0)
    times, equal = np.empty((rounds, 2)), True
    for runner in runners:
        for _ in range(5):
            wanted = ask(runner).top
    for row in times:
        for n in rng.permutation(2):
            begin = time.perf_counter()
            answer = ask(runners[n])
            row[n] = time.perf_counter() - begin
            equal &= answer.top == wanted
    return times, equal


def start(hub: wb.ModelHub, picture: Path, times: int) -> list[float]:
    """Return the seconds of so many starts, each with a first answer."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        with wb.Runner(hub, isolated=True) as runner:
            runner.classify(picture, model="cifar10")
            taken.append(time.perf_counter() - begin)
    return taken


def replacement(runner: wb.Runner, picture: Path, times: int) -> list[float]:
    """Return the seconds from so many kills to the next answer."""
    taken = []
    for _ in range(times):
        runner.classify(picture, model="cifar10")
        time.sleep(PAUSE_S)  # the one in readiness gets up
        (worker,) = runner._executor.crew
        begin = time.perf_counter()
        os.kill(worker.pid, signal.SIGKILL)
        runner.classify(picture, model="cifar10")
        taken.append(time.perf_counter() - begin)
    return taken


def lateness(
    act: Callable[[wb.Stop | None, float], object],
    ready: Callable[[], object],
    times: int,
    *,
    stop: bool,
) -> list[float]:
    """Return by how many seconds so many replies were late, to a limit or to a stop.

    ``ready`` brings a worker up and is no part of it.
    """
    late = []
    for _ in range(times):
        ready()
        asked = wb.Stop()
        timer = threading.Timer(LIMIT_S, asked.cancel)
        begin = time.perf_counter()
        if stop:
            timer.start()
        try:
            act(asked if stop else None, 600.0 if stop else LIMIT_S)
        except wb.WorkbenchError as error:
            assert error.code in ("inference_timeout", "load_timeout", "cancelled"), error  # noqa: PT017
        else:
            raise AssertionError("what has no end has ended")
        late.append(time.perf_counter() - begin - LIMIT_S)
    return late


def main() -> int:
    """Measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    told: dict[str, float] = {}
    failed = False

    def say(name: str, seconds: list[float] | np.ndarray, ceiling: float | None = None) -> None:
        nonlocal failed
        worst = max(seconds)
        text = f"{name:34}{1e3 * median(seconds):8.1f} ms, at most {1e3 * worst:.1f}"
        if ceiling is not None:
            failed |= worst > ceiling
            text += f", ceiling {1e3 * ceiling:.0f}: {'missed' if worst > ceiling else 'holds'}"
        print(text)
        told[name] = float(median(seconds))

    with tempfile.TemporaryDirectory() as folder:
        run = endless(Path(folder) / "run.onnx", at_load=False)
        load = endless(Path(folder) / "load.onnx", at_load=True)
        feeds = {"x": np.zeros((1, 3), np.float32)}
        hub = wb.ModelHub(model_dir=folder)
        cat = wb.example("cat")
        batch = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
        with wb.Runner(hub, isolated=True) as there:
            here = wb.Runner(hub)
            sources: dict[str, Callable[[wb.Runner], wb.Result]] = {
                "a picture by its path": lambda r: r.classify(cat, model="cifar10"),
                "an array of 12 megapixels": lambda r: r.classify(large, model="cifar10"),
                "a ready tensor": lambda r: r.classify_tensor(batch, model="cifar10"),
            }
            large = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
            for name, ask in sources.items():
                rounds = arguments.rounds if "12" not in name else max(10, arguments.rounds // 5)
                times, equal = hand_over((here, there), ask, rounds)
                failed |= not equal
                added_s, ratio = (
                    np.median(times[:, 1] - times[:, 0]),
                    np.median(times[:, 1] / times[:, 0]),
                )
                print(
                    f"{name:34}{1e3 * np.median(times[:, 0]):8.2f} ms here,"
                    f" {1e3 * np.median(times[:, 1]):.2f} there: {1e3 * added_s:+.2f} ms,"
                    f" {ratio:.2f} ×, answers {'equal' if equal else 'differ'}"
                )
                told[f"hand-over of {name}"] = float(added_s)
            say("start of a worker", start(hub, cat, arguments.times))
            say("replacement of a killed worker", replacement(there, cat, arguments.times),
                REPLACED_S)  # fmt: skip

            def ready() -> None:
                there.classify(cat, model="cifar10")
                there.load(run, timeout_s=600)

            cases: dict[str, Callable[[wb.Stop | None, float], object]] = {
                "within one node": lambda stop, s: there.run(feeds, run, stop=stop, timeout_s=s),
                "during a load": lambda stop, s: there.load(load, stop=stop, timeout_s=s),
            }
            for about, act in cases.items():
                for stopped in (False, True):
                    late = lateness(act, ready, arguments.times, stop=stopped)
                    say(f"late to a {'stop' if stopped else 'limit'}, {about}", late, LATE_S)
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
