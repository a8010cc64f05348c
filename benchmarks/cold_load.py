"""A load with the optimised graph kept, against a plain one, for a model of 45 MB.

The model has the shape of a ResNet-18 and random weights; it is made here, in a temporary
folder. The gate's answer and the file's hash are remembered in both cases, and the file is in
the system's page cache. Loads are taken in turn, in random order; the figures are medians, the
ratio is that of each round, with a 95 % bootstrap interval of its median. Outputs must be equal
bit by bit. Exits with 1 when the ceiling is missed or an output differs.

    python benchmarks/cold_load.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: What a kept load may take of a plain one.
CEILING = 0.55


class Net:
    """A graph under construction: convolutions with batch normalisation, and what joins them."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, values: np.ndarray) -> str:
        """Add an initialiser and return its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Add a node and return the name of its output."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def conv(self, x: str, channels: tuple[int, int], kernel: int, stride: int) -> str:
        """Add a convolution without bias and its batch normalisation."""
        taken, given = channels
        scale = np.sqrt(2 / (taken * kernel**2))
        w = self.weight(scale * self.rng.standard_normal((given, taken, kernel, kernel)))
        x = self.node("Conv", x, w, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                      pads=[kernel // 2] * 4)  # fmt: skip
        ones, noise = np.ones(given), 0.01 * self.rng.standard_normal(given)
        scaled = [self.weight(v) for v in (ones, noise, noise, ones)]
        return self.node("BatchNormalization", x, *scaled)

    def block(self, x: str, channels: tuple[int, int], stride: int) -> str:
        """Add a residual block of two 3×3 convolutions."""
        taken, given = channels
        y = self.node("Relu", self.conv(x, channels, 3, stride))
        y = self.conv(y, (given, given), 3, 1)
        if taken != given:
            x = self.conv(x, channels, 1, stride)
        return self.node("Relu", self.node("Add", x, y))


def resnet18(path: Path) -> Path:
    """Write a model with the layers of ResNet-18 (He et al. 2015, table 1) and random weights."""
    net = Net()
    x = net.node("Relu", net.conv("image", (3, 64), 7, 2))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    taken = 64
    for given in (64, 128, 256, 512):
        x = net.block(x, (taken, given), 1 if taken == given else 2)
        x = net.block(x, (given, given), 1)
        taken = given
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    head = net.weight(0.04 * net.rng.standard_normal((1000, 512)))
    net.nodes.append(
        helper.make_node("Gemm", [x, head, net.weight(np.zeros(1000))], ["scores"], transB=1)
    )
    graph = helper.make_graph(
        net.nodes,
        "resnet18",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1000])],
        net.weights,
    )
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    return path


def measure(path: Path, rounds: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return seconds of plain and of kept loads, and whether all outputs were equal."""
    import workbench as wb

    hubs = [wb.ModelHub(graph_cache=kept) for kept in (False, True)]
    metadata = {"model_type": "other", "input_shape": [1, 3, 224, 224], "preprocessing": "imagenet"}
    models = [hub.preload("resnet18", path=path, metadata=metadata) for hub in hubs]
    feeds = models[0].sample_feeds()
    wanted = models[0].run(feeds)["scores"]
    rng = np.random.default_rng(0)
    times = np.empty((rounds, 2))
    equal = True
    for hub in hubs:
        hub.unload()
    for row in times:
        for n in rng.permutation(2):
            gc.collect()
            begin = time.perf_counter()
            hubs[n].load(models[n])
            row[n] = time.perf_counter() - begin
            assert models[n].session is not None
            assert models[n].session.kept == bool(n), "the wrong kind of load was measured"
            equal &= np.array_equal(models[n].run(feeds)["scores"], wanted)
            hubs[n].unload()
    return times[:, 0], times[:, 1], equal


def main() -> int:
    """Make the model, measure, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # leave the user's cache alone
        os.environ["WORKBENCH_MODEL_DIR"] = folder
        path = resnet18(Path(folder) / "resnet18.onnx")
        size_bytes = path.stat().st_size
        plain_s, kept_s, equal = measure(path, arguments.rounds)
    ratios = kept_s / plain_s
    rng = np.random.default_rng(0)
    draws = np.median(rng.choice(ratios, (1000, len(ratios))), axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    ratio = float(np.median(ratios))
    missed = ratio > CEILING or not equal
    print(f"model               {size_bytes / 1e6:7.1f} MB, {arguments.rounds} rounds")
    print(f"plain load          {1e3 * np.median(plain_s):7.1f} ms")
    print(f"kept optimised graph {1e3 * np.median(kept_s):6.1f} ms")
    print(
        f"ratio               {ratio:7.2f} (95 %: {low:.2f} to {high:.2f}), ceiling {CEILING}:"
        f" {'missed' if ratio > CEILING else 'holds'}"
    )
    print(f"outputs             {'equal, bit by bit' if equal else 'differ'}")
    if arguments.json:
        told = {"plain_s": float(np.median(plain_s)), "kept_s": float(np.median(kept_s)),
                "ratio": ratio, "low": float(low), "high": float(high), "ceiling": CEILING,
                "equal": bool(equal)}  # fmt: skip
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
