"""The engine's record: which event belongs to which run, and to which node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import InferenceError
from workbench.models.record import FUSED, read_record, runs_of


def session(name: str, ts: int, dur: int) -> dict[str, Any]:
    return {"cat": "Session", "name": name, "ts": ts, "dur": dur, "args": {}}


def node(name: str, op: str, ts: int, dur: int, **told: Any) -> dict[str, Any]:
    args = {"op_name": op, "provider": "CPUExecutionProvider", "node_index": "1", **told}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def test_events_go_to_the_run_in_which_they_happened():
    told = [
        session("model_loading_uri", 0, 5),
        node("a", "Conv", 101, 7),
        session("SequentialExecutor::Execute", 100, 20),
        session("model_run", 99, 25),
        node("a", "Conv", 201, 5),
        session("SequentialExecutor::Execute", 200, 10),
        session("model_run", 199, 12),
    ]
    first, second = runs_of(told)
    assert [e.length_us for e in first.events] == [7]
    assert [e.length_us for e in second.events] == [5]
    assert (first.call_us, first.execute_us) == (25, 20)
    assert (second.call_us, second.execute_us) == (12, 10)


def test_what_runs_in_a_nodes_own_graph_is_within_it_and_what_follows_is_not():
    told = [
        node("inner", "Add", 110, 10),
        session("SequentialExecutor::Execute", 105, 20),
        node("loop", "Loop", 100, 50),
        node("after", "Relu", 150, 5),
        session("SequentialExecutor::Execute", 99, 60),
        session("model_run", 98, 65),
    ]
    (run,) = runs_of(told)
    assert [(e.name, e.within) for e in run.events] == [
        ("loop", ""),
        ("inner", "loop"),
        ("after", ""),
    ]
    assert run.execute_us == 60


def test_a_short_node_that_seems_to_lie_in_a_plain_one_is_not_within_it():
    told = [node("a", "Conv", 100, 5), node("b", "Relu", 104, 0), session("model_run", 99, 10)]
    (run,) = runs_of(told)
    assert [e.within for e in run.events] == ["", ""]


def test_shapes_bytes_and_memory_are_read_where_they_are_told():
    told = [
        node("a", "Conv", 100, 5, parameter_size="64", mem_in_use_delta="-8", mem_in_use_peak="99",
             input_type_shape=[{"float": [1, 3]}, {"int64": []}],
             output_type_shape=[{"double": [2]}]),
        node("b", "Relu", 106, 1),
        session("model_run", 99, 10),
    ]  # fmt: skip
    (run,) = runs_of(told)
    full, bare = run.events
    assert full.inputs == "float32 (1, 3), int64 ()"
    assert full.outputs == "float64 (2)"
    assert (full.parameter_bytes, full.memory_bytes, full.peak_bytes) == (64, -8, 99)
    assert (bare.inputs, bare.parameter_bytes, bare.memory_bytes) == ("", None, None)


def test_the_kernels_of_a_fused_graph_are_within_its_row():
    name = "OpenVINOExecutionProvider_OpenVINOExecutionProvider_77_0_0"
    fused = node(name, "OpenVINOExecutionProvider_77_0", 100, 50, parameter_size="0",
                 provider="OpenVINOExecutionProvider")  # fmt: skip
    kernel = {"cat": "Kernel", "name": "OV::stem", "ts": 101, "dur": 9, "args": {
        "ov_node_type": "Convolution", "ep": "OpenVINOExecutionProvider",
        "parent_ort_event_name": f"{name}_kernel_time"}}  # fmt: skip
    (run,) = runs_of([fused, session("model_run", 99, 60), kernel])
    row, inside = run.events
    assert (row.op, row.parameter_bytes, row.within) == (FUSED, None, "")
    assert (inside.op, inside.within, inside.length_us) == ("Convolution", name, 9)


@pytest.mark.parametrize("content", [b"", b'[{"cat": "No', b'{"a": 1}', b'[{"cat": "Node"}]'])
def test_half_a_record_is_refused_in_words(tmp_path: Path, content: bytes):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(InferenceError, match="record of it cannot be read") as caught:
        read_record(path, "m")
    assert "full" in caught.value.hint


def test_a_whole_record_is_read(tmp_path: Path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps([node("a", "Conv", 100, 5), session("model_run", 99, 10)]))
    (run,) = read_record(path, "m")
    assert run.events[0].name == "a"
