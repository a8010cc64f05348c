"""A model with the shape of ResNet-18 and random weights: 11.7 million parameters, 1000 classes.

The layers of "Deep Residual Learning for Image Recognition" (arXiv:1512.03385, table 1), with
batch normalisation folded into the convolutions as exporters do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save


class _Net:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(18)
        self.nodes: list = []
        self.weights: list = []

    def add(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, *dims: int) -> str:
        name = f"w{len(self.weights)}"
        fan = int(np.prod(dims[1:])) if len(dims) > 1 else 1
        scale = np.sqrt(2 / fan) if len(dims) > 1 else 0.0
        values = (self.rng.standard_normal(dims, np.float32) * scale).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, at: str, channels: int, wide: int, size: int, stride: int) -> str:
        pad = size // 2
        return self.add(
            "Conv", [at, self.weight(wide, channels, size, size), self.weight(wide)],
            pads=[pad] * 4, strides=[stride] * 2,
        )  # fmt: skip

    def block(self, at: str, channels: int, wide: int, stride: int) -> str:
        first = self.add("Relu", [self.conv(at, channels, wide, 3, stride)])
        second = self.conv(first, wide, wide, 3, 1)
        beside = at if channels == wide else self.conv(at, channels, wide, 1, stride)
        return self.add("Relu", [self.add("Add", [second, beside])])


def resnet18(path: Path, classes: int = 1000) -> Path:
    """Write the model; its input is (1, 3, 224, 224) float32, its output (1, classes) logits."""
    net = _Net()
    at = net.add("Relu", [net.conv("input", 3, 64, 7, 2)])
    at = net.add("MaxPool", [at], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for wide, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        at = net.block(at, channels, wide, stride)
        at = net.block(at, wide, wide, 1)
        channels = wide
    at = net.add("Flatten", [net.add("GlobalAveragePool", [at])])
    net.add("Gemm", [at, net.weight(classes, 512), net.weight(classes)], transB=1)
    net.nodes[-1].output[0] = "output"
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        net.nodes, "resnet18",
        [tensor("input", TensorProto.FLOAT, [1, 3, 224, 224])],
        [tensor("output", TensorProto.FLOAT, [1, classes])],
        net.weights,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path
