"""bfloat16 at the ports: arrays of ml_dtypes go in and come out, beside others and in a worker."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.models.hub import ModelHub

ml_dtypes = pytest.importorskip("ml_dtypes", reason="not installable: ml_dtypes")


@pytest.fixture
def mixed(tmp_path):
    """Add 1 to bfloat16 by way of float32, and give both; a scale beside them is float32."""
    nodes = [
        h.make_node("Cast", ["x"], ["wide"], to=T.FLOAT),
        h.make_node("Mul", ["wide", "scale"], ["scaled"]),
        h.make_node("Cast", ["scaled"], ["narrow"], to=T.BFLOAT16),
    ]

    def port(name, kind):
        return h.make_tensor_value_info(name, kind, ["n"])

    inputs = [port("x", T.BFLOAT16), h.make_tensor_value_info("scale", T.FLOAT, [])]
    outputs = [port("scaled", T.FLOAT), port("narrow", T.BFLOAT16)]
    return graphs.save(tmp_path / "mixed.onnx", nodes, inputs, outputs)


@pytest.mark.parametrize("isolated", [False, True])
def test_arrays_go_in_and_come_out(mixed, isolated):
    x = np.array([1.0, -2.5, 3.0, np.inf], ml_dtypes.bfloat16)
    feeds = {"x": x[::2], "scale": np.array(2, np.float32)}  # not in one piece
    with wb.Runner(ModelHub(graph_cache=False), isolated=isolated) as runner:
        both = runner.run(feeds, mixed)
        assert both["scaled"].tolist() == [2.0, 6.0]
        assert both["narrow"].dtype == ml_dtypes.bfloat16
        assert both["narrow"].tolist() == [2.0, 6.0]
        assert runner.outputs(feeds, mixed, names=["scaled"])["scaled"].tolist() == [2.0, 6.0]
        empty = runner.run({**feeds, "x": x[:0]}, mixed)
        assert empty["narrow"].shape == (0,)
        with pytest.raises(errors.InputMismatchError, match="expected x: bfloat16"):
            runner.run({**feeds, "x": np.ones(2, np.float32)}, mixed)


def test_it_is_warmed_up_with_arrays_of_its_own(mixed):
    hub = ModelHub(graph_cache=False)
    model = hub.load(mixed)
    assert model.sample_feeds()["x"].dtype == ml_dtypes.bfloat16
    assert model.warm_up(3).first_run_s > 0
