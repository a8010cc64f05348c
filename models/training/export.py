"""Write a trained network as an ONNX file: BatchNorm folded, probabilities calibrated.

Run as::

    python export.py --data cifar10.npz --run runs/cifar10 --out cifar10.onnx

The graph is written node by node, from folded weights. It holds what inference needs and
nothing else, and every initialiser has a name a reader can place.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import torch
from cifar import SIZE, load_cifar10, normalise, split, to_float
from network import Block, Network, Stage
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional
from train import logits_of, restore

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8
FLOAT = onnx.TensorProto.FLOAT

#: Views of a picture that are averaged: shift down and right in pixels (-1 or 1), mirrored or not.
VIEWS = {
    1: (),
    2: ((-1, -1, False), (1, 1, True)),
    4: ((-1, -1, False), (1, 1, True), (1, 1, False), (-1, -1, True)),
}

Folded = dict[str, Tensor]
Views = tuple[tuple[int, int, bool], ...]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 archive (.npz)")
    parser.add_argument("--run", type=Path, required=True, help="folder written by train.py")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--views", type=int, choices=sorted(VIEWS), default=1, help="averaged")
    parser.add_argument("--held-out", type=int, default=1500)
    return parser.parse_args()


def seen(network: Network, images: Tensor, views: Views) -> Tensor:
    """Return the logits of uint8 pictures, averaged over `views` where there are any."""
    if not views:
        return logits_of(network, images)
    padded = functional.pad(images.float(), (1, 1, 1, 1), mode="reflect").to(torch.uint8)
    total = torch.zeros(len(images), 10)
    for down, right, mirrored in views:
        view = padded[:, :, 1 + down : 1 + down + SIZE, 1 + right : 1 + right + SIZE]
        total += logits_of(network, view.flip(3) if mirrored else view)
    return total / len(views)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the divisor of the logits with the lowest cross-entropy (Guo et al., 2017)."""
    candidates = torch.linspace(-1.5, 1.5, 3001).exp()
    losses = torch.stack([functional.cross_entropy(logits / t, labels) for t in candidates])
    return candidates[losses.argmin()].item()


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error of the highest probability."""
    confidence, chosen = logits.softmax(1).max(1)
    right = (chosen == labels).float()
    place = (confidence * bins).long().clamp_max(bins - 1)
    gaps = [(confidence[place == i] - right[place == i]).sum().abs() for i in range(bins)]
    return (torch.stack(gaps).sum() / len(labels)).item()


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Folded:
    """Merge a BatchNorm into the convolution before it.

    Between the first convolution of a stage and its norm lies a max pooling. Taking a maximum
    commutes with a positive factor only; `Network.keep_foldable` sees to that.
    """
    state = {name: tensor.double() for name, tensor in norm.state_dict().items()}
    scale = state["weight"] / (state["running_var"] + norm.eps).sqrt()
    weight = convolution.weight.double() * scale.view(-1, 1, 1, 1)
    return {"weight": weight, "bias": state["bias"] - state["running_mean"] * scale}


class GraphWriter:
    """Collect the nodes and initialisers of a chain of layers.

    Kernels are stored as float16 and cast to float32 in front of their node: half the bytes on
    disk. A runtime does the casts once, when it loads the file, and computes in float32.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.last = "images"

    def add(
        self,
        kind: str,
        name: str,
        inputs: tuple[str, ...] = (),
        **attributes: int | str | list[int],
    ) -> None:
        """Append one node that reads the previous one's output and the named `inputs`."""
        node = helper.make_node(kind, [self.last, *inputs], [name], name)
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
        self.last = name

    def store(self, name: str, tensors: Folded) -> tuple[str, str]:
        """Store the weight in 16 bits and the bias in 32, and return what to call them."""
        weight = tensors["weight"].detach().numpy().astype(np.float16)
        bias = tensors["bias"].detach().numpy().astype(np.float32)
        stored = {f"{name}.weight.half": weight, f"{name}.bias": bias}
        for part, array in stored.items():
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), part))
        whole = f"{name}.weight"
        cast = helper.make_node("Cast", [f"{whole}.half"], [whole], whole, to=FLOAT)
        self.nodes.append(cast)
        return whole, f"{name}.bias"

    def convolve(self, name: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        """Append a 3x3 convolution with its norm folded in."""
        stored = self.store(name, fold(convolution, norm))
        self.add("Conv", name, stored, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])

    def constant(self, name: str, values: list[int]) -> str:
        """Store whole numbers, and return what to call them."""
        self.initializers.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def look(self, views: Views) -> None:
        """Replace the batch by its views, one after another: (views * n, 3, 32, 32)."""
        edge = [0, 0, 1, 1, 0, 0, 1, 1]
        self.add("Pad", "padded", (self.constant("padded.pads", edge),), mode="reflect")
        padded, names = self.last, []
        for number, (down, right, mirrored) in enumerate(views, 1):
            name, top, left = f"view{number}", 1 + down, 1 + right
            across = [left + SIZE - 1, left - 1 - (SIZE + 2), -1] if mirrored else None
            begin, end, step = across or [left, left + SIZE, 1]
            spans = ("starts", [top, begin]), ("ends", [top + SIZE, end]), ("steps", [1, step])
            given = {key: self.constant(f"{name}.{key}", values) for key, values in spans}
            axes = self.constant(f"{name}.axes", [2, 3])
            self.last = padded
            self.add("Slice", name, (given["starts"], given["ends"], axes, given["steps"]))
            names.append(name)
        self.last = names[0]
        self.add("Concat", "views", tuple(names[1:]), axis=0)

    def average(self, views: Views) -> None:
        """Average the answers to the views of each picture."""
        self.add("Reshape", "answers", (self.constant("answers.shape", [len(views), -1, 10]),))
        self.add("ReduceMean", "mean", axes=[0], keepdims=0)

    def relu(self) -> None:
        """Append a ReLU, named after what it reads."""
        self.add("Relu", f"{self.last}.relu")

    def block(self, name: str, block: Block) -> None:
        """Append two convolutions and the way around them."""
        before = self.last
        self.convolve(f"{name}.conv1", block.conv1, block.norm1)
        self.relu()
        self.convolve(f"{name}.conv2", block.conv2, block.norm2)
        self.add("Add", f"{name}.sum", (before,))
        self.relu()


@torch.no_grad()
def to_onnx(network: Network, temperature: float, views: Views) -> onnx.ModelProto:
    """Build the ONNX model; its logits are those of `network` divided by `temperature`.

    With `views`, the graph answers to each view of a picture and averages the answers.
    """
    graph = GraphWriter()
    if views:
        graph.look(views)
    graph.convolve("stem", network.stem, network.norm)
    graph.relu()
    for number, stage in enumerate(network.stages, 1):
        assert isinstance(stage, Stage)
        # ReLU before pooling is the same as after it, and runtimes fuse it with the Conv.
        graph.convolve(f"stage{number}", stage.conv, stage.norm)
        graph.relu()
        graph.add("MaxPool", f"stage{number}.pool", kernel_shape=[2, 2], strides=[2, 2])
        for place, block in enumerate(stage.blocks, 1):
            assert isinstance(block, Block)
            graph.block(f"stage{number}.block{place}", block)
    graph.add("GlobalMaxPool", "pool")
    graph.add("Flatten", "features", axis=1)
    head = {name: tensor / temperature for name, tensor in network.head.state_dict().items()}
    graph.add("Gemm", "head", graph.store("head", head), transB=1)
    if views:
        graph.average(views)
    graph.nodes[-1].output[0] = "logits"
    built = helper.make_graph(
        graph.nodes,
        network.design.name,
        [helper.make_tensor_value_info("images", FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", FLOAT, ["batch", 10])],
        graph.initializers,
        doc_string="CIFAR-10 classifier: normalised 32x32 RGB in, calibrated logits out.",
    )
    return helper.make_model(
        built,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="onnx-workbench",
        producer_version="models/training",
    )


@torch.no_grad()
def check(path: Path, expected: NDArray[np.float32], images: Tensor) -> float:
    """Compare the file with the logits that are expected, and a batch with single pictures.

    Returns
    -------
    float
        The largest difference between onnxruntime's logits and torch's, whose kernels are not
        rounded to 16 bits.
    """
    onnx.checker.check_model(str(path), full_check=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    together = session.run(None, {"images": images.numpy()})[0]
    singly = [session.run(None, {"images": one[None]})[0] for one in images.numpy()]
    np.testing.assert_allclose(together, expected, atol=0.03, rtol=0)
    np.testing.assert_allclose(together, np.concatenate(singly), atol=1e-4, rtol=0)
    return float(np.abs(together - expected).max())


def main() -> None:
    """Export from the command line."""
    arguments = parse_arguments()
    network = restore(arguments.run)
    _, held_out = split(load_cifar10(arguments.data, "train"), arguments.held_out)
    views = VIEWS[arguments.views]
    logits = seen(network, held_out.images, views)
    temperature = fit_temperature(logits, held_out.labels)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(network, temperature, views), arguments.out)
    images = normalise(to_float(held_out.images[:64]))
    difference = check(arguments.out, (logits[:64] / temperature).numpy(), images)
    right = (logits.argmax(1) == held_out.labels).float().mean().item()
    before = calibration_error(logits, held_out.labels)
    after = calibration_error(logits / temperature, held_out.labels)
    print(
        f"{arguments.out.name}: {arguments.out.stat().st_size:,} bytes, held-out accuracy "
        f"{right:.2%}, temperature {temperature:.3f}, held-out ECE {before:.4f} -> {after:.4f}, "
        f"largest difference to torch {difference:.1e}"
    )


if __name__ == "__main__":
    main()
