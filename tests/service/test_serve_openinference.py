"""The Open Inference Protocol, verified with Triton's own client, as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from workbench.errors import BadRequestError
from workbench.service.keyring import Keyring
from workbench.service.output import Writing, classes_of
from workbench.service.tensor import Wanted, read_inputs

triton = pytest.importorskip("tritonclient.http", reason="not installable: tritonclient[http]")
from tritonclient.utils import InferenceServerException  # noqa: E402

GREEN = np.zeros((2, 3, 8, 8), np.float32)
GREEN[:, 1] = 1.0


@pytest.fixture(scope="module")
def served(start):
    return start()


@pytest.fixture
def client(served):
    made = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    yield made
    made.close()


def feed(array: np.ndarray, *, binary: bool = True, kind: str = "FP32"):
    tensor = triton.InferInput("images", list(array.shape), kind)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


def test_the_server_tells_of_itself(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    told = client.get_server_metadata()
    assert told["name"] == "workbench"
    assert {"binary_tensor_data", "classification", "statistics"} <= set(told["extensions"])


@pytest.mark.parametrize("version", ["", "1"])
def test_a_model_tells_of_its_ports(client, version):
    told = client.get_model_metadata("colours", version)
    assert told["name"] == "colours"
    assert told["versions"] == ["1"]
    assert told["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]
    assert told["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]
    config = client.get_model_config("colours", version)
    assert config["input"][0]["data_type"] == "TYPE_FP32"


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("answered", [True, False])
def test_tensors_go_in_and_out_as_bytes_and_as_json(client, sent, answered):
    outputs = [triton.InferRequestedOutput("logits", binary_data=answered)]
    result = client.infer(
        "colours", feed(GREEN, binary=sent), outputs=outputs, request_id="r-7", model_version="1"
    )
    assert np.array_equal(result.as_numpy("logits"), [[0, 1, 0], [0, 1, 0]])
    assert result.as_numpy("logits").dtype == np.float32
    assert result.get_response()["id"] == "r-7"
    assert result.get_response()["model_name"] == "colours"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_client_may_compress_what_it_sends(client, coding, binary):
    result = client.infer(
        "colours", feed(GREEN, binary=binary), request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )  # fmt: skip
    assert np.array_equal(result.as_numpy("logits"), [[0, 1, 0], [0, 1, 0]])


def test_without_named_outputs_all_come(client):
    result = client.infer("colours", feed(GREEN))
    assert result.as_numpy("logits").shape == (2, 3)


def test_classification_gives_labels(client):
    outputs = [triton.InferRequestedOutput("logits", class_count=2)]
    told = client.infer("colours", feed(GREEN), outputs=outputs).as_numpy("logits")
    assert told.shape == (2, 2)
    assert told[0][0] == b"1.000000:1:green"
    assert told[0][1].split(b":")[0] == b"0.000000"


def test_answers_are_those_of_python(client, served):
    rng = np.random.default_rng(0)
    batch = rng.random((5, 3, 8, 8), np.float32)
    expected = served.desk.engine.hub.handle("colours").run(batch)["logits"]
    assert np.array_equal(client.infer("colours", feed(batch)).as_numpy("logits"), expected)


def test_many_at_once(client):
    calls = [client.async_infer("colours", feed(GREEN)) for _ in range(8)]
    assert all(call.get_result().as_numpy("logits").shape == (2, 3) for call in calls)


def test_models_are_loaded_and_unloaded(client):
    client.unload_model("colours")
    assert not client.is_model_ready("colours")
    client.load_model("colours")
    assert client.is_model_ready("colours")
    assert client.is_model_ready("colours", "1")
    index = {one["name"]: one["state"] for one in client.get_model_repository_index()}
    assert index["colours"] == "READY"
    assert index["endless"] == "UNAVAILABLE"


def test_statistics_count_what_ran(client):
    before = client.get_inference_statistics("colours")["model_stats"][0]["inference_count"]
    for _ in range(3):
        client.infer("colours", feed(GREEN))
    after = client.get_inference_statistics("colours")["model_stats"][0]
    assert after["inference_count"] == before + 3
    times = after["inference_stats"]
    assert times["success"]["ns"] >= times["compute_infer"]["ns"] > 0
    names = [one["name"] for one in client.get_inference_statistics()["model_stats"]]
    assert "colours" in names


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (lambda c: c.get_model_metadata("nowhere"), "404", "No model named 'nowhere'"),
        (lambda c: c.get_model_metadata("../x"), "40", ""),
        (lambda c: c.get_model_metadata("colours", "2"), "404", "no version '2'"),
        (lambda c: c.infer("colours", feed(GREEN[:, :2])), "422", "images"),
        (lambda c: c.infer("colours", feed(GREEN.astype("f8"), kind="FP64")), "422", "float64"),
        (lambda c: c.infer("colours", feed(GREEN), model_version="2"), "404", "no version"),
        (lambda c: c.load_model("nowhere"), "404", "No model"),
        (lambda c: c.load_model("colours", config="{}"), "403", "switched off"),
        (lambda c: c.infer("colours", feed(GREEN), outputs=[triton.InferRequestedOutput("x")]),
         "400", "expected one of logits"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_the_clients_own_exception(client, call, status, words):
    with pytest.raises(InferenceServerException) as caught:
        call(client)
    assert caught.value.status().startswith(status)
    assert words in caught.value.message()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.get_system_shared_memory_status(), "no extension system_shared_memory"),
        (lambda c: c.register_system_shared_memory("r", "/r", 64), "system_shared_memory"),
        (lambda c: c.unregister_cuda_shared_memory(), "no extension cuda_shared_memory"),
        (lambda c: c.get_log_settings(), "no extension logging"),
        (lambda c: c.get_trace_settings(), "no extension trace"),
    ],
)
def test_an_extension_that_is_not_here_is_named(client, call, words):
    with pytest.raises(InferenceServerException, match=words) as caught:
        call(client)
    assert caught.value.status() == "404"


def test_tensors_in_shared_memory_are_refused(client):
    tensor = triton.InferInput("images", [1, 3, 8, 8], "FP32")
    tensor.set_shared_memory("region", 768)
    output = triton.InferRequestedOutput("logits")
    output.set_shared_memory("region", 12)
    for inputs, outputs in (([tensor], None), (feed(GREEN), [output])):
        with pytest.raises(InferenceServerException, match="shared memory") as caught:
            client.infer("colours", inputs, outputs=outputs)
        assert caught.value.status() == "400"


def test_a_sequence_is_refused_since_no_model_keeps_a_state(client):
    with pytest.raises(InferenceServerException, match="sequence_id") as caught:
        client.infer("colours", feed(GREEN), sequence_id=7, sequence_start=True)
    assert caught.value.status() == "400"


def test_a_client_may_ask_for_less_time(client):
    with pytest.raises(InferenceServerException, match="was stopped") as caught:
        client.infer("endless", feed(GREEN), timeout=50_000)  # microseconds
    assert caught.value.status() == "504"
    assert client.infer("colours", feed(GREEN), timeout=60_000_000).as_numpy("logits").shape


def test_a_key_goes_with_every_call(start):
    key = "correct-horse-battery"
    running = start(keys=Keyring([key]))
    client = triton.InferenceServerClient(f"127.0.0.1:{running.port}")
    headers = {"Authorization": f"Bearer {key}"}
    assert client.is_server_ready(headers=headers)
    with pytest.raises(InferenceServerException, match="No valid API key"):
        client.infer("colours", feed(GREEN))
    assert client.infer("colours", feed(GREEN), headers=headers).as_numpy("logits").shape == (2, 3)
    client.close()


# ── the wire ──────────────────────────────────────────────────────────────────────────────────


def written(array: np.ndarray, *, binary: bool) -> tuple[dict, bytes]:
    """Write one output, and take it apart again: what JSON says of it, and its bytes."""
    writing = Writing("m")
    writing.add(Wanted("x", binary, 0), array)
    body, head = writing.body({"id": ""})
    return json.loads(body[:head])["outputs"][0], b"" if head is None else body[head:]


def part(**more):
    return {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]} | more


@pytest.mark.parametrize(
    ("told", "tail"),
    [
        ({}, b""),
        ({"inputs": 1}, b""),
        ({"inputs": [1]}, b""),
        ({"inputs": [part(name=1)]}, b""),
        ({"inputs": [part(), part()]}, b""),
        ({"inputs": [part(datatype="FP31")]}, b""),
        ({"inputs": [part(shape=[-1, 2])]}, b""),
        ({"inputs": [part(shape=[1.0, 2])]}, b""),
        ({"inputs": [part(shape=[True, 2])]}, b""),
        ({"inputs": [part(shape=[3])]}, b""),
        ({"inputs": [part(data=None)]}, b""),
        ({"inputs": [part(data=["a", "b"])]}, b""),
        ({"inputs": [part(data=[[1], [2, 3]])]}, b""),
        ({"inputs": [part(data=[1e39, 0])]}, b""),
        ({"inputs": [part(datatype="UINT8", data=[256, 0])]}, b""),
        ({"inputs": [part(datatype="INT64", data=[0.5, 0])]}, b""),
        ({"inputs": [part(datatype="BYTES", data=[1, 2])]}, b""),
        ({"inputs": [part(datatype="BYTES", data=["\ud800", "a"])]}, b""),
        ({"inputs": [part(name="\ud800")]}, b""),
        ({"inputs": [part(name=f"x{i}") for i in range(1_001)]}, b""),
        ({"inputs": [part(data=[[]] * 3)]}, b""),
        ({"inputs": [part(data=[[1, 2], []])]}, b""),
        ({"inputs": [part(shape=[1] * 33, data=[1])]}, b""),
        ({"inputs": [part()]}, b"left over"),
        ({"inputs": [part(parameters={"binary_data_size": 8})]}, b"1234"),
        ({"inputs": [part(parameters={"binary_data_size": 4})]}, b"1234"),
        ({"inputs": [part(parameters={"binary_data_size": -1})]}, b""),
        ({"inputs": [part(parameters={"binary_data_size": "8"})]}, b"12345678"),
        ({"inputs": [part(parameters={"shared_memory_region": "r"})]}, b""),
        ({"inputs": [part(datatype="BYTES", parameters={"binary_data_size": 6})]}, b"\x09\0\0\0ab"),
    ],
)
def test_a_request_that_does_not_add_up_is_a_bad_request(told, tail):
    with pytest.raises(BadRequestError):
        read_inputs(told, memoryview(tail))


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "float16", "float32", "float64"])
def test_every_type_survives_the_wire(kind):
    array = np.array([[0, 1], [2, 3]]).astype(kind)
    for binary in (True, False):
        told, tail = written(array, binary=binary)
        back = read_inputs({"inputs": [told]}, memoryview(tail))["x"]
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)


def test_strings_survive_the_wire():
    array = np.array([["a", "é"], ["", "日本"]], dtype=object)
    for binary in (True, False):
        told, tail = written(array, binary=binary)
        assert told["datatype"] == "BYTES"
        assert read_inputs({"inputs": [told]}, memoryview(tail))["x"].tolist() == array.tolist()


def test_nan_goes_out_as_bytes_and_never_as_json():
    array = np.array([np.nan, 1.0], np.float32)
    assert len(written(array, binary=True)[1]) == 8
    with pytest.raises(BadRequestError, match="binary_data"):
        written(array, binary=False)


def test_more_classes_than_there_are_gives_all_best_first():
    told = classes_of(np.array([[0.1, 0.7, 0.2]], np.float32), 9, ["a", "b", "c"])
    assert told.tolist() == [["0.700000:1:b", "0.200000:2:c", "0.100000:0:a"]]
    assert classes_of(np.array([1.0, 2.0]), 1, None).tolist() == ["2.000000:1"]


@pytest.mark.parametrize("header", ["-1", "x", "99999", "1e3"])
def test_a_length_of_the_head_that_cannot_be_is_a_bad_request(served, header):
    response = served.client.post(
        "/v2/models/colours/infer", content=b"{}",
        headers={"Inference-Header-Content-Length": header},
    )  # fmt: skip
    assert response.status_code == 400
    told = response.json()
    assert isinstance(told["error"], str)
    assert set(told) == {"error", "code", "hint", "request_id"}
