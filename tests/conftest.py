"""Tiny models that all tests share, built in a few lines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

_ELEMENTS = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
}


def make_classifier(
    path: Path,
    *,
    channels: int | None = 3,
    size: int | tuple[int | None, int | None] | None = 8,
    classes: int = 4,
    batch: int | str | None = "batch",
    activation: str | None = None,
    layout: str = "NCHW",
    opset: int = 17,
    ir_version: int = 10,
    dtype: str = "float32",
    rank: int = 2,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a classifier that averages its picture and multiplies by a fixed matrix.

    Parameters
    ----------
    path : where to write it; folders are made
    channels, size, batch : of its input "images"; None, or a name, for any
    classes : of its output "scores", float32
    activation : None, "Softmax" or "Sigmoid", at the end of the graph
    layout : "NCHW" or "NHWC"
    dtype : of the input
    rank : of the output: 2, or 4 for (N, C, 1, 1)
    metadata : the file's own metadata_props

    Returns
    -------
    ``path``. The matrix is the same for the same number of channels and classes.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    dims = [batch, channels, height, width]
    if layout == "NHWC":
        dims = [batch, height, width, channels]
    matrix = np.random.default_rng(7).normal(size=(channels or 3, classes)).astype(np.float32)
    nodes, at = [], "images"

    def add(kind: str, *inputs: str, output: str = "", **attributes: Any) -> None:
        nonlocal at
        output = output or f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, [at, *inputs], [output], **attributes))
        at = output

    if dtype != "float32":
        add("Cast", to=TensorProto.FLOAT)
    if layout == "NHWC":
        add("Transpose", perm=[0, 3, 1, 2])
    add("GlobalAveragePool")
    if rank == 2:
        add("Flatten")
        add("MatMul", "weight")
    else:
        matrix = np.ascontiguousarray(matrix.T)[:, :, None, None]
        add("Conv", "weight")
    if activation:
        add(activation, **({"axis": 1} if activation == "Softmax" else {}))
    add("Identity", output="scores")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", _ELEMENTS[dtype], dims)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, classes, 1, 1][:rank])],
        [numpy_helper.from_array(matrix, "weight")],
    )
    return save_model(path, graph, opset=opset, ir_version=ir_version, metadata=metadata)


def save_model(
    path: Path,
    graph: onnx.GraphProto,
    *,
    opset: int = 17,
    ir_version: int = 10,
    metadata: Mapping[str, str] | None = None,
    domains: Mapping[str, int] | None = None,
) -> Path:
    """Write a graph as a model, with the versions of the operator sets that it uses."""
    imports = [helper.make_opsetid(name, n) for name, n in {"": opset, **(domains or {})}.items()]
    model = helper.make_model(
        graph, opset_imports=imports, ir_version=ir_version, producer_name="tests"
    )
    if metadata:
        helper.set_model_props(model, dict(metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(name="make_classifier", scope="session")
def make_classifier_fixture() -> Callable[..., Path]:
    """Return :func:`make_classifier`."""
    return make_classifier


@pytest.fixture(name="save_model", scope="session")
def save_model_fixture() -> Callable[..., Path]:
    """Return :func:`save_model`."""
    return save_model


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files, which must be empty again afterwards."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the path of a classifier of four classes that takes (batch, 3, 8, 8)."""
    return make_classifier(tmp_path / "tiny.onnx")
