"""Tensors of every type through a started service: exact, within limits, and never an accident."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto as T

import workbench as wb
from conftest import Running
from tests.graphs import large, listing, same
from workbench.models import bfloat
from workbench.service.tensor import JSON_BYTES

KINDS = {
    "f32": ("FP32", T.FLOAT), "f16": ("FP16", T.FLOAT16), "u8": ("UINT8", T.UINT8),
    "i64": ("INT64", T.INT64), "u64": ("UINT64", T.UINT64), "flag": ("BOOL", T.BOOL),
    "text": ("BYTES", T.STRING), "bf16": ("BF16", T.BFLOAT16),
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wire") / "models"
    folder.mkdir()
    for name, (_, kind) in KINDS.items():
        same(folder / f"{name}.onnx", kind)
    large(folder / "large.onnx")
    listing(folder / "listing.onnx")
    return folder


@pytest.fixture(scope="module")
def served(models):
    running = Running(wb.ModelHub(model_dir=models, graph_cache=False))
    yield running
    running.close()


def infer(served, model, data, shape=None, *, tail=b"", name="x", parameters=None, **more):
    kind = KINDS.get(model, ("INT64",))[0]
    part = {"name": name, "datatype": kind, "shape": [1, len(data)] if shape is None else shape}
    if tail is not None and data is None:
        part["parameters"] = {"binary_data_size": len(tail)}
    else:
        part["data"] = data
    body = json.dumps({"inputs": [part], "parameters": parameters or {}} | more).encode()
    headers = {"Inference-Header-Content-Length": str(len(body))} if data is None else {}
    return served.client.post(f"/v2/models/{model}/infer", content=body + tail, headers=headers)


def classes(number):
    return [{"name": "y", "parameters": {"classification": number}}]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("u64", [2**64 - 1, 5]),
        ("u64", [2**64 - 1, 2**63]),
        ("i64", [2**63 - 1, -(2**63)]),
        ("f32", [10**30, 1]),
        ("flag", [True, False]),
        ("text", ["a", "日本"]),
    ],
)
def test_numbers_come_back_as_they_were_sent(served, model, data):
    answer = infer(served, model, data)
    assert answer.status_code == 200, answer.text
    got = answer.json()["outputs"][0]["data"]
    assert got == pytest.approx(data) if model == "f32" else got == data


@pytest.mark.parametrize(
    ("model", "data", "shape"),
    [
        ("u64", [2**64, 5], None),
        ("u64", [-1, 5], None),
        ("u64", [2**64 - 1, 0.5], None),
        ("i64", [2**63, 1], None),
        ("i64", ["1", 1], None),
        ("flag", [2, 0], None),
        ("f32", [], [0, 2**31 - 1, 2**31 - 1, 2**31 - 1]),
        ("text", [], [0, 2**31 - 1, 2**31 - 1, 2**31 - 1]),
        ("f32", [[1, 2]], [2, 1]),
        ("f32", [[]] * 3, [1, 3]),
        ("f32", [1], [[1] * 100, 1]),
    ],
)
def test_what_is_no_such_tensor_is_the_clients_fault(served, model, data, shape):
    answer = infer(served, model, data, shape)
    assert answer.json()["code"] in ("bad_request", "input_too_large"), answer.text
    assert len(answer.content) < 600


@pytest.mark.parametrize("model", ["f32", "text"])
def test_an_empty_tensor_of_impossible_size_is_the_clients_fault_as_bytes_too(served, model):
    answer = infer(served, model, None, [0, 2**31 - 1, 2**31 - 1, 2**31 - 1])
    assert answer.json()["code"] == "input_too_large"


@pytest.mark.parametrize("data", [[], [[], []]])
def test_an_empty_tensor_is_one(served, data):
    assert infer(served, "f32", data, [2, 0]).json()["outputs"][0]["shape"] == [2, 0]


def test_a_length_in_other_digits_is_a_bad_request(served):
    headers = {"Inference-Header-Content-Length": b"\xb2"}  # a superscript two, in Latin-1
    answer = served.client.post("/v2/models/f32/infer", content=b"{}", headers=headers)
    assert answer.json()["code"] == "bad_request"


@pytest.mark.parametrize(
    "told",
    [
        r'{"id": "\ud800", "inputs": []}',
        r'{"inputs": [{"name": "\udc00", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}',
        r'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 1], "data": ["\ud800"]}]}',
    ],
)
def test_half_a_character_is_a_bad_request(served, told):
    answer = served.client.post("/v2/models/text/infer", content=told.encode())
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


# ── classes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [
        ("u8", [0, 5, 200], ["200:2", "5:1"]),
        ("i64", [-(2**63), 5, 2**63 - 1], [f"{2**63 - 1}:2", "5:1"]),
        ("u64", [2**64 - 1, 5, 2**63], [f"{2**64 - 1}:0", f"{2**63}:2"]),
        ("f16", [0.5, 2.0, 1.0], ["2.000000:1", "1.000000:2"]),
        ("f32", [1.0, 1.0, 0.0], ["1.000000:0", "1.000000:1"]),
    ],
)
def test_the_best_classes_are_the_largest_numbers(served, model, data, told):
    answer = infer(served, model, data, outputs=classes(2)).json()
    assert answer["outputs"][0]["data"] == told


@pytest.mark.parametrize("shape", [[1, 0], [0, 3]])
def test_there_are_no_classes_where_there_is_nothing(served, shape):
    out = infer(served, "f32", [], shape, outputs=classes(1)).json()["outputs"][0]
    assert out["data"] == []
    assert out["shape"] == [shape[0], min(1, shape[1])]


@pytest.mark.parametrize(("model", "data"), [("flag", [True, False]), ("text", ["a", "b"])])
def test_classes_of_what_has_no_order_are_a_bad_request(served, model, data):
    answer = infer(served, model, data, outputs=classes(1))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert KINDS[model][0] in answer.json()["error"]


# ── what JSON, or the engine, does not have ───────────────────────────────────────────────────


def test_bfloat16_goes_in_and_out_as_words(served):
    told = served.client.get("/v2/models/bf16").json()
    assert told["inputs"][0]["datatype"] == told["outputs"][0]["datatype"] == "BF16"
    config = served.client.get("/v2/models/bf16/config").json()
    assert config["input"][0]["data_type"] == "TYPE_BF16"
    words = b"\x80\x3f\x20\xc0\x00\x40"  # 1, -2.5 and 2
    every = {"binary_data_output": True}
    answer = infer(served, "bf16", None, [1, 3], tail=words, parameters=every)
    assert answer.status_code == 200, answer.text
    assert answer.content.endswith(words)
    assert b'"BF16"' in answer.content
    best = infer(served, "bf16", None, [1, 3], tail=words, outputs=classes(2)).json()
    assert best["outputs"][0]["data"] == ["2.000000:2", "1.000000:0"]


def test_bfloat16_is_no_json(served):
    sent = infer(served, "bf16", [1, 2])
    asked = infer(served, "bf16", None, [1, 1], tail=b"\x80\x3f")
    for answer in (sent, asked):
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
        assert "binary" in answer.json()["error"]


def test_bfloat16_stays_closed_where_its_arrays_are_unknown(served, monkeypatch):
    monkeypatch.setattr(bfloat, "is_known", lambda: False)
    answer = infer(served, "bf16", None, [1, 1], tail=b"\x80\x3f")
    assert (answer.status_code, answer.json()["code"]) == (422, "input_mismatch")
    assert "exchanges with no numpy array" in answer.json()["error"]


def test_a_list_of_tensors_is_refused_in_words(served):
    part = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    answer = served.client.post("/v2/models/listing/infer", json={"inputs": [part]})
    assert (answer.status_code, answer.json()["code"]) == (422, "output_unsupported")


# ── limits ────────────────────────────────────────────────────────────────────────────────────


def test_more_json_than_is_parsed_at_a_time_is_refused_with_what_to_do(served):
    answer = served.client.post("/v2/models/f32/infer", content=b" " * (JSON_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "input_too_large")
    assert "binary data" in answer.json()["error"]
    headers = {"Inference-Header-Content-Length": str(JSON_BYTES + 1)}
    text = b" " * (JSON_BYTES + 2)
    behind = served.client.post("/v2/models/f32/infer", content=text, headers=headers)
    assert behind.json()["code"] == "input_too_large"


def test_an_answer_is_written_as_json_up_to_a_limit_and_as_bytes_beyond(served):
    number = JSON_BYTES // 2 + 1  # "0," is the least that one takes
    short = infer(served, "large", [1000], [1]).json()["outputs"]
    assert short[0]["data"] == [0.0] * 1000
    assert short[1]["data"] == [1000]
    long = infer(served, "large", [number], [1])
    assert (long.status_code, long.json()["code"]) == (422, "output_unsupported")
    assert "binary_data" in long.json()["error"]
    spread = infer(served, "large", [number // 2], [1])  # "0.0," in truth
    assert spread.json()["code"] == "output_unsupported"
    raw = infer(served, "large", [number], [1], parameters={"binary_data_output": True})
    head = int(raw.headers["inference-header-content-length"])
    assert len(raw.content) - head == 4 * number + 8
    assert json.loads(raw.content[:head])["outputs"][0]["shape"] == [number]


def test_an_answer_beyond_all_limits_is_refused_unless_less_is_asked_for(served):
    number = served.desk.policy.tensor_bytes // 4 + 1
    every = {"binary_data_output": True}
    whole = infer(served, "large", [number], [1], parameters=every)
    assert (whole.status_code, whole.json()["code"]) == (422, "output_unsupported")
    assert "fewer outputs" in whole.json()["error"]
    part = infer(served, "large", [number], [1], outputs=[{"name": "number"}])
    assert part.json()["outputs"][0]["data"] == [number]


def test_an_output_is_given_once(served):
    answer = infer(served, "f32", [1], outputs=[{"name": "y"}, {"name": "y"}])
    assert answer.json()["code"] == "bad_request"


@pytest.mark.parametrize("limit_us", [-1, True, 1.5, "1"])
def test_a_timeout_that_cannot_be_is_a_bad_request(served, limit_us):
    answer = infer(served, "f32", [1], parameters={"timeout": limit_us})
    assert answer.json()["code"] == "bad_request"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="platform: /proc is looked at")
def test_a_process_that_answers_with_too_much_sends_nothing(command, models):
    started = command("--workers", "1", MODEL_DIR=str(models))
    with httpx.Client(base_url=started.url, timeout=180) as client:
        part = {"name": "x", "datatype": "INT64", "shape": [1], "data": [100_000_000]}
        told = {"inputs": [part], "parameters": {"binary_data_output": True}}
        answer = client.post("/v2/models/large/infer", json=told)
        assert (answer.status_code, answer.json()["code"]) == (422, "output_unsupported")
        told["outputs"] = [{"name": "number", "parameters": {"binary_data": False}}]
        answer = client.post("/v2/models/large/infer", json=told)
        assert answer.json()["outputs"][0]["data"] == [100_000_000]
        status = Path(f"/proc/{started.process.pid}/status").read_text("ascii")
        peak_bytes = 1024 * int(status.partition("VmHWM:")[2].split()[0])
        assert peak_bytes < 350_000_000  # of 400 MB none came over
