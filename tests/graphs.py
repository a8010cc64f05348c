"""Small models with one trait each, built with onnx.helper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h


def save(path: Path, nodes: list, inputs: list, outputs: list, weights: dict | None = None) -> Path:
    """Write a checked model of opset 17."""
    initializers = [onnx.numpy_helper.from_array(v, k) for k, v in (weights or {}).items()]
    graph = h.make_graph(nodes, path.stem, inputs, outputs, initializers)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _port(name: str, dims: list, kind: int = T.FLOAT) -> onnx.ValueInfoProto:
    return h.make_tensor_value_info(name, kind, dims)


def means(path: Path, *, classes: int = 3, size: int = 8, batch: int | str = "batch") -> Path:
    """Score class i by the mean of channel i % 3: what it says can be worked out by hand."""
    weight = np.eye(3, dtype=np.float32)[:, np.arange(classes) % 3]
    nodes = [
        h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        h.make_node("Flatten", ["pooled"], ["flat"]),
        h.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    ports = [_port("images", [batch, 3, size, size])], [_port("logits", [batch, classes])]
    return save(path, nodes, *ports, {"weight": weight})


def brittle(path: Path) -> Path:
    """Answer NaN for a picture whose red channel is all 0: log of its mean, times 0."""
    nodes = [
        h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        h.make_node("Flatten", ["pooled"], ["flat"]),
        h.make_node("Log", ["flat"], ["log"]),
        h.make_node("Mul", ["log", "nothing"], ["silent"]),
        h.make_node("Add", ["flat", "silent"], ["logits"]),
    ]
    ports = [_port("images", ["n", 3, 8, 8])], [_port("logits", ["n", 3])]
    return save(path, nodes, *ports, {"nothing": np.zeros(1, np.float32)})


def endless(path: Path, *, rounds: int = 2**40) -> Path:
    """Loop for (practically) ever, in nodes that take no time: it can be ended between two."""
    body = h.make_graph(
        [
            h.make_node("Identity", ["go"], ["go_on"]),
            h.make_node("Add", ["carried", "one"], ["next"]),
        ],
        "body",
        [_port("i", [], T.INT64), _port("go", [], T.BOOL), _port("carried", ["n", 3])],
        [_port("go_on", [], T.BOOL), _port("next", ["n", 3])],
    )
    nodes = [
        h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        h.make_node("Flatten", ["pooled"], ["flat"]),
        h.make_node("Loop", ["rounds", "", "flat"], ["logits"], body=body),
    ]
    weights = {"rounds": np.array(rounds, np.int64), "one": np.ones(1, np.float32)}
    ports = [_port("images", ["n", 3, 8, 8])], [_port("logits", ["n", 3])]
    return save(path, nodes, *ports, weights)


def two_inputs(path: Path) -> Path:
    """Add two tensors: no classifier, but a model that runs."""
    nodes = [h.make_node("Add", ["a", "b"], ["sum"])]
    ports = [_port("a", ["n", 4]), _port("b", ["n", 4])], [_port("sum", ["n", 4])]
    return save(path, nodes, *ports)


def constant(path: Path) -> Path:
    """Answer the same always: a model without inputs."""
    value = onnx.numpy_helper.from_array(np.ones((1, 3), np.float32))
    nodes = [h.make_node("Constant", [], ["logits"], value=value)]
    return save(path, nodes, [], [_port("logits", [1, 3])])


def refused_by_the_engine(path: Path) -> Path:
    """Pass every check but the engine's: a MatMul whose shapes cannot meet."""
    weight = np.ones((5, 2), np.float32)
    nodes = [
        h.make_node("Flatten", ["images"], ["flat"]),
        h.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    ports = [_port("images", [1, 3, 8, 8])], [_port("logits", [1, 2])]
    return save(path, nodes, *ports, {"weight": weight})


#: Metadata under which :func:`means` and its kin get pixels of 0 to 1, unchanged.
PLAIN = {
    "model_type": "classification",
    "input_shape": [1, 3, 8, 8],
    "preprocessing": [
        {"step": "Resize", "size": [8, 8]},
        {"step": "Rescale", "scale": 1 / 255},
        {"step": "Layout", "layout": "CHW"},
        {"step": "Batch"},
    ],
    "labels": ["red", "green", "blue"],
    "activation": "softmax",
}


def deadly(path: Path) -> Path:
    """Divide the least int64 by (x − 1): with x = 0 the processor stops the process (SIGFPE)."""
    nodes = [h.make_node("Sub", ["x", "one"], ["by"]), h.make_node("Div", ["least", "by"], ["y"])]
    ports = [_port("x", ["n"], T.INT64)], [_port("y", ["n"], T.INT64)]
    weights = {"one": np.ones(1, np.int64), "least": np.array([-(2**63)], np.int64)}
    return save(path, nodes, *ports, weights)


def mask(path: Path, *, opset: int = 17) -> Path:
    """Give each pixel two scores, by two convolutions: a picture in, no classes out."""
    rng = np.random.default_rng(3)
    weights = {
        "one": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "two": rng.normal(size=(2, 4, 1, 1)).astype(np.float32),
    }
    nodes = [
        h.make_node("Conv", ["images", "one"], ["seen"], pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["seen"], ["kept"]),
        h.make_node("Conv", ["kept", "two"], ["mask"]),
    ]
    ports = [_port("images", ["n", 3, 8, 8])], [_port("mask", ["n", 2, 8, 8])]
    initializers = [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()]
    graph = h.make_graph(nodes, path.stem, *ports, initializers)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=7)
    path.write_bytes(model.SerializeToString())
    return path


def _scored(nodes: list, weights: dict, path: Path) -> Path:
    """Write a classifier of (n, 3, 8, 8) that adds the number "extra" to the three means."""
    nodes = [
        h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        h.make_node("Flatten", ["pooled"], ["flat"]),
        *nodes,
        h.make_node("Add", ["flat", "extra"], ["logits"]),
    ]
    ports = [_port("images", ["n", 3, 8, 8])], [_port("logits", ["n", 3])]
    return save(path, nodes, *ports, weights)


_LEAST = np.array([-(2**63)], np.int64)


def deadly_when_dark(path: Path) -> Path:
    """Divide the least int64 by −1 for a picture without any red: the process dies (SIGFPE)."""
    nodes = [
        h.make_node("ReduceSum", ["flat", "axis"], ["sum"], keepdims=0),
        h.make_node("ReduceMin", ["sum"], ["darkest"], keepdims=0),
        h.make_node("Ceil", ["darkest"], ["whole"]),
        h.make_node("Cast", ["whole"], ["count"], to=T.INT64),
        h.make_node("Sub", ["count", "one"], ["by"]),
        h.make_node("Where", ["odd", "by", "two"], ["divisor"]),
        h.make_node("Div", ["least", "divisor"], ["divided"]),
        h.make_node("Cast", ["divided"], ["number"], to=T.FLOAT),
        h.make_node("Mul", ["number", "nothing"], ["extra"]),
    ]
    nodes.insert(5, h.make_node("Equal", ["count", "zero"], ["odd"]))
    weights = {
        "axis": np.array([1], np.int64),
        "zero": np.zeros(1, np.int64),
        "one": np.ones(1, np.int64),
        "two": np.full(1, 2, np.int64),
        "least": _LEAST,
        "nothing": np.zeros(1, np.float32),
    }
    return _scored(nodes, weights, path)


def endless_when_dark(path: Path) -> Path:
    """Loop for (practically) ever if a picture of the batch has no red at all; else not once."""
    body = h.make_graph(
        [
            h.make_node("Identity", ["go"], ["go_on"]),
            h.make_node("Add", ["carried", "nothing"], ["next"]),
        ],
        "body",
        [_port("i", [], T.INT64), _port("go", [], T.BOOL), _port("carried", [])],
        [_port("go_on", [], T.BOOL), _port("next", [])],
    )
    nodes = [
        h.make_node("Slice", ["flat", "from", "to", "axis"], ["reds"]),
        h.make_node("ReduceMin", ["reds"], ["darkest"], keepdims=0),
        h.make_node("Equal", ["darkest", "nothing"], ["dark"]),
        h.make_node("Where", ["dark", "many", "none"], ["rounds"]),
        h.make_node("Loop", ["rounds", "", "nothing"], ["extra"], body=body),
    ]
    weights = {
        "from": np.array([0], np.int64),
        "to": np.array([1], np.int64),
        "axis": np.array([1], np.int64),
        "many": np.array(2**40, np.int64),
        "none": np.array(0, np.int64),
        "nothing": np.array(0, np.float32),
    }
    return _scored(nodes, weights, path)


def deadly_to_load(path: Path) -> Path:
    """Have the engine divide the least int64 by −1 while it folds constants: SIGFPE at load."""
    nodes = [
        h.make_node("Div", ["least", "minus"], ["divided"]),
        h.make_node("Cast", ["divided"], ["extra"], to=T.FLOAT),
    ]
    return _scored(nodes, {"least": _LEAST, "minus": np.full(1, -1, np.int64)}, path)


def endless_node(path: Path, *, side: int = 4096, at_load: bool = False) -> Path:
    """Multiply two matrices of int64 in one node, for minutes: nothing ends it in between.

    ``at_load`` : of constants, which the engine does while it loads the model
    """
    nodes = [
        *(
            [h.make_node("Identity", ["shape"], ["size"])]
            if at_load
            else [
                h.make_node("Shape", ["images"], ["dims"], start=0, end=1),
                h.make_node("Mul", ["dims", "none"], ["zero"]),
                h.make_node("Add", ["shape", "zero"], ["size"]),
            ]
        ),
        h.make_node(
            "ConstantOfShape", ["size"], ["ones"],
            value=onnx.numpy_helper.from_array(np.ones(1, np.int64)),
        ),
        h.make_node("MatMul", ["ones", "ones"], ["product"]),
        h.make_node("Cast", ["product"], ["floats"], to=T.FLOAT),
        h.make_node("ReduceMean", ["floats"], ["extra"], keepdims=0),
    ]  # fmt: skip
    weights = {"shape": np.array([side, side], np.int64)}
    return _scored(nodes, weights if at_load else weights | {"none": np.zeros(1, np.int64)}, path)


def hungry(path: Path, *, megabytes: int = 3000) -> Path:
    """Fill so much memory with ones in one run."""
    nodes = [
        h.make_node("Shape", ["images"], ["dims"], start=0, end=1),
        h.make_node("Mul", ["dims", "none"], ["zero"]),
        h.make_node("Add", ["size", "zero"], ["length"]),
        h.make_node(
            "ConstantOfShape", ["length"], ["ones"],
            value=onnx.numpy_helper.from_array(np.ones(1, np.float32)),
        ),
        h.make_node("ReduceMean", ["ones"], ["extra"], keepdims=0),
    ]  # fmt: skip
    weights = {"none": np.zeros(1, np.int64), "size": np.array([megabytes * 250_000], np.int64)}
    return _scored(nodes, weights, path)


def same(path: Path, kind: int) -> Path:
    """Give back what comes in, of any shape with two axes, in the type that it has."""
    ports = [_port("x", ["n", "m"], kind)], [_port("y", ["n", "m"], kind)]
    return save(path, [h.make_node("Identity", ["x"], ["y"])], *ports)


def large(path: Path) -> Path:
    """Give as many zeros as is asked for, and how many those are."""
    nodes = [
        h.make_node("ConstantOfShape", ["x"], ["zeros"]),
        h.make_node("Size", ["zeros"], ["number"]),
    ]
    ports = [_port("x", [1], T.INT64)], [_port("zeros", ["n"]), _port("number", [], T.INT64)]
    return save(path, nodes, *ports)


def listing(path: Path) -> Path:
    """Answer with a list of tensors rather than with one."""
    ports = [_port("x", ["n"])], [h.make_tensor_sequence_value_info("y", T.FLOAT, None)]
    return save(path, [h.make_node("SequenceConstruct", ["x", "x"], ["y"])], *ports)
