"""The gate tells what a model file is, or refuses it with the likely cause."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from workbench import settings
from workbench.errors import (
    EngineMemoryError,
    ExternalDataError,
    InvalidModelError,
    MissingFileError,
    ModelTooLargeError,
    NotOnnxError,
    UnsupportedOperatorError,
    UnsupportedOpsetError,
    WorkbenchError,
)
from workbench.models import gate, inspection, weights
from workbench.models.foreign import recognise
from workbench.models.graph import GraphFacts, Port, describe

Build = Callable[..., Path]
FLOAT = TensorProto.FLOAT


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test with a gate that remembers nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gate.forget()


def value(name: str, *dims: int | str | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(dims))


def identity(*initializers: onnx.TensorProto, nodes: tuple[Any, ...] = ()) -> onnx.GraphProto:
    """Return a graph that passes x through to y."""
    passing = helper.make_node("Identity", ["x"], ["y"])
    return helper.make_graph(
        [*nodes, passing], "g", [value("x", 1, 2)], [value("y", 1, 2)], list(initializers)
    )


def external(name: str = "w", dims: tuple[int, ...] = (4,), **facts: object) -> onnx.TensorProto:
    """Return a float32 weight that is kept in another file."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, fact in facts.items():
        tensor.external_data.add(key=key, value=str(fact))
    return tensor


# ── facts ─────────────────────────────────────────────────────────────────────────────────────


def test_the_facts_of_a_small_classifier_are_complete(tmp_path, make_classifier):
    path = make_classifier(
        tmp_path / "m.onnx", activation="Softmax", metadata={"names": "{0: 'a'}"}
    )
    facts = gate.examine(path)
    assert facts.inputs == (Port("images", "tensor", "float32", ("batch", 3, 8, 8)),)
    assert facts.outputs == (Port("scores", "tensor", "float32", ("batch", 4)),)
    assert (facts.ir_version, facts.opsets, facts.opset()) == (10, (("", 17),), 17)
    assert (facts.producer, facts.name) == ("tests", "tiny")
    assert dict(facts.operators)["Softmax"] == 1
    assert (facts.parameters, facts.parameter_bytes) == (12, 48)
    assert facts.dtypes == (("float32", 12),)
    assert facts.metadata == (("names", "{0: 'a'}"),)
    assert facts.output_operators == ("Softmax",)
    assert (facts.quantized, facts.external_files, facts.class_labels) == ("", (), ())
    assert facts.size_bytes == path.stat().st_size


def test_the_hash_is_that_of_the_file(tiny):
    import hashlib

    assert gate.examine(tiny).sha256 == hashlib.sha256(tiny.read_bytes()).hexdigest()


def test_an_initializer_is_no_input(tmp_path, save_model):
    graph = identity(numpy_helper.from_array(np.zeros(2, np.float32), "w"))
    graph.input.append(value("w", 2))
    facts = gate.examine(save_model(tmp_path / "m.onnx", graph))
    assert [port.name for port in facts.inputs] == ["x"]


def test_ports_of_every_kind_are_described(tmp_path, save_model):
    graph = identity()
    tensor = helper.make_tensor_type_proto(FLOAT, None)
    of_maps = helper.make_map_type_proto(TensorProto.INT64, tensor)
    kinds = {
        "s": helper.make_sequence_type_proto(of_maps),
        "m": helper.make_map_type_proto(
            TensorProto.STRING, helper.make_sequence_type_proto(tensor)
        ),
        "o": helper.make_optional_type_proto(helper.make_optional_type_proto(tensor)),
        "p": helper.make_sparse_tensor_type_proto(FLOAT, [3, 3]),
        "t": helper.make_tensor_type_proto(TensorProto.STRING, ["n"]),
        "u": tensor,
    }
    for name, kind in kinds.items():
        graph.input.append(helper.make_value_info(name, kind))
    graph.input.append(onnx.ValueInfoProto(name="nothing"))
    graph.input.append(helper.make_value_info("odd", helper.make_tensor_type_proto(99, [2])))
    graph.input.append(
        helper.make_value_info("so", helper.make_sequence_type_proto(onnx.TypeProto()))
    )
    facts = gate.examine(save_model(tmp_path / "m.onnx", graph))
    assert [port.describe() for port in facts.inputs[1:]] == [
        "s: sequence of map of int64 to float32",
        "m: map of string to sequence of float32",
        "o: optional of optional float32",
        "p: sparse float32 (3, 3)",
        "t: string (n)",
        "u: float32 of unknown rank",
        "nothing: opaque of unstated type",
        "odd: type 99 (2)",
        "so: sequence of unstated type",
    ]
    assert describe(facts.inputs).endswith("; and 2 more")


def test_a_negative_size_means_any_size(tmp_path, save_model):
    graph = identity()
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    graph.input[0].type.tensor_type.shape.dim[1].Clear()
    facts = gate.examine(save_model(tmp_path / "m.onnx", graph))
    assert facts.inputs[0].shape == (None, None)


def test_sub_graphs_constants_and_local_functions_are_counted(tmp_path, save_model):
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones((1, 2))))],
        "branch", [], [value("c", 1, 2, kind=TensorProto.DOUBLE)],
    )  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("If", ["b"], ["y"], then_branch=branch, else_branch=branch),
            helper.make_node("Twice", ["x"], ["z"], domain="mine"),
        ],
        "g", [value("b", kind=TensorProto.BOOL), value("x", 2)],
        [value("y", 1, 2, kind=TensorProto.DOUBLE), value("z", 2)],
    )  # fmt: skip
    body = [helper.make_node("Add", ["a", "a"], ["r"])]
    twice = helper.make_function("mine", "Twice", ["a"], ["r"], body, [helper.make_opsetid("", 17)])
    path = save_model(tmp_path / "m.onnx", graph, domains={"mine": 1})
    model = onnx.load(path)
    model.functions.append(twice)
    path.write_bytes(model.SerializeToString())
    facts = gate.examine(path)
    assert dict(facts.operators) == {"Constant": 2, "If": 1, "mine:Twice": 1, "Add": 1}
    assert facts.dtypes == (("float64", 4),)
    assert facts.output_operators == ("If", "mine:Twice")


def test_class_labels_of_a_node_are_kept(tmp_path, save_model):
    node = helper.make_node(
        "ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog"]
    )
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, []))
    )
    graph = helper.make_graph([node], "g", [value("x", 1, 2)], [helper.make_value_info("y", kind)])
    facts = gate.examine(save_model(tmp_path / "m.onnx", graph, domains={"ai.onnx.ml": 1}))
    assert facts.class_labels == ("cat", "dog")
    assert facts.output_operators == ("ai.onnx.ml:ZipMap",)


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        (("DequantizeLinear", "Conv"), "QDQ"),
        (("QLinearConv", "DequantizeLinear"), "QOperator"),
        (("com.microsoft:QGemm",), "QOperator"),
        (("DynamicQuantizeLinear", "ConvInteger"), "dynamic"),
        (("MatMulInteger",), "dynamic"),
        (("Conv",), ""),
    ],
)
def test_the_kind_of_quantisation_is_told_by_the_operators(operators, expected):
    assert inspection._quantized(dict.fromkeys(operators, 1)) == expected


def test_the_operator_behind_an_output_is_found_past_those_that_only_pass(tmp_path, save_model):
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=FLOAT),
        helper.make_node("Reshape", ["b", "s"], ["c"]),
    ]
    shape = numpy_helper.from_array(np.array([1, 2]), "s")
    graph = identity(shape, nodes=nodes)
    graph.output.append(value("c", 1, 2))
    graph.output.append(value("x", 1, 2))
    facts = gate.examine(save_model(tmp_path / "m.onnx", graph))
    assert facts.output_operators == ("", "Softmax", "")


def test_a_ring_of_nodes_ends_the_search_for_the_operator_behind():
    a = helper.make_node("Identity", ["q"], ["p"])
    b = helper.make_node("Identity", ["p"], ["q"])
    assert inspection._behind("p", {"p": a, "q": b}) == ""


def test_sparse_weights_are_counted(tmp_path, save_model):
    graph = identity()
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    indices = numpy_helper.from_array(np.array([0, 5]), "i")
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1000]))
    path = save_model(tmp_path / "m.onnx", graph)
    assert gate.examine(path).parameters == 2
    graph.sparse_initializer[0].dims[0] = 2**40
    with pytest.raises(ModelTooLargeError, match=r"'w' of shape \(1099511627776\)"):
        gate.examine(save_model(path, graph))


def test_facts_survive_json(tiny):
    facts = gate.examine(tiny)
    assert GraphFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


def test_text_that_is_no_utf8_is_read_all_the_same(tiny):
    data = tiny.read_bytes().replace(b"tests", b"te\xffts")
    tiny.write_bytes(data)
    assert gate.examine(tiny).producer == "te\N{REPLACEMENT CHARACTER}ts"


# ── files that are something else ─────────────────────────────────────────────────────────────


def archive(name: str, data: bytes = b"data") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as z:
        z.writestr(name, data)
    return sink.getvalue()


def tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as t:
        t.addfile(tarfile.TarInfo("model.onnx"))
    return sink.getvalue()


LFS = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:41a36090dafe98f4ad8f9b7fe0b218c5"
    b"6ac3c031e547f0367c30655d2702bffe\nsize 3593903\n"
)
FOREIGN = {
    "empty": (b"", "the file is empty", "broke off"),
    "zeros": (bytes(2000), "512 zero bytes", "broke off"),
    "html": (b"\n <!DOCTYPE HTML><html><title>Sign in", "an HTML page", "web page in place"),
    "lfs": (LFS, "Git LFS pointer to a file of 3.59 MB", "git lfs pull"),
    "zip": (archive("model.onnx"), "a zip archive whose first member is 'model.onnx'", "Unpack"),
    "empty zip": (archive("x")[-22:], "a zip archive without members", "Unpack"),
    "torch": (archive("archive/data.pkl"), "made by torch.save", "torch.onnx.export"),
    "npz": (archive("arr_0.npy"), "numpy arrays", "Give the model"),
    "pickle": (pickle.dumps({"w": 1}, protocol=2), "a Python pickle", "torch.onnx.export"),
    "gzip": (gzip.compress(b"x"), "gzip", "Unpack"),
    "tar": (tar(), "a tar archive", "Unpack"),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(8) + b"x", "an HDF5 file", "tf2onnx"),
    "tflite": (b"\x1c\0\0\0TFL3\x14", "a TensorFlow Lite model", "tf2onnx"),
    "ort": (b"\x18\0\0\0ORTM\x14", "onnxruntime's own .ort format", "Give the .onnx"),
    "gguf": (b"GGUF\x03\0", "a GGUF file", "llama.cpp"),
    "npy": (b"\x93NUMPY\x01", "a numpy array", "Give the model"),
    "jpeg": (b"\xff\xd8\xff\xe0", "a JPEG picture", "runner.classify"),
    "safetensors": (
        b"\x10" + bytes(7) + b'{"__metadata__":{}}', "a safetensors file", "optimum-cli",
    ),
    "xml": (b"<?xml version='1.0'?><Error>", "an XML document", "missing or private"),
    "openvino": (b"<?xml version='1.0'?>\n<net name='m'>", "OpenVINO IR", "converted from"),
    "json": (b'\xef\xbb\xbf{"model_type": "x"}', "a JSON text", "metadata="),
    "textproto": (b"ir_version: 8\nproducer_name: 'x'", "in text form", "onnx.save"),
    "text": (b"Entry not found", "a text that begins 'Entry not found'", "if it was downloaded"),
    "long text": ("é".encode() * 700, "a text that begins", "if it was downloaded"),
    "noise": (b"\xfe\xff\x00\x01", "starts with the bytes fe ff 00 01", "ModelProto"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_onnx_model_is_named_with_its_likely_cause(case, tmp_path):
    data, seen, hint = FOREIGN[case]
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(NotOnnxError) as caught:
        gate.examine(path)
    assert seen in caught.value.seen
    assert hint in caught.value.hint
    assert str(path) in caught.value.message


PAGES = [
    "<!DOCTYPE html><title>Sign in", "<html>", "  \n<HTML lang='de'>", "<head>",
    "<script>x()</script>", "<meta charset='utf-8'>", "<title>Déjà vu</title>",
    "<!-- moved --><html>", "<!-- no end",
    "<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN'>",
    "<!-- a --> <!-- b -->\n<body class='x'>", "<h1>404</h1>", "<p>Gone</p>", "<br/>",
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
                                      "utf-32", "latin-1"])  # fmt: skip
@pytest.mark.parametrize("text", PAGES)
def test_a_web_page_is_named_however_it_begins_and_is_encoded(text, encoding):
    for page in (text, text + "\n<p>é</p>" * 200):
        data = page.encode(encoding)
        found = recognise(data[:512], len(data))
        assert found is not None
        assert found[0] == "it is an HTML page"


@pytest.mark.parametrize(
    "head",
    [b"<htmlx>", b"<net name='m'>", b"<!-- made --> <net name='m'>", b"<p\0\0\0", b"<image/>",
     b"<preface>", b"<\0\0\0", b"\xff\xfe", b"\xff\xfe<\0n\0e\0t\0"],
)  # fmt: skip
def test_what_only_resembles_a_web_page_is_not_called_one(head):
    found = recognise(head, len(head))
    assert found is None or "HTML" not in found[0]


def test_every_recognised_format_has_a_hint():
    from workbench.models.foreign import _MARKS

    for offset, mark, what, hint in _MARKS:
        seen = recognise(b"\x01" * offset + mark + b"\x01" * 8, 600)
        assert seen == (f"it is {what}", hint)


def test_a_model_whose_maker_looks_like_another_format_is_still_a_model(tiny):
    model = onnx.load(tiny)
    model.producer_name = "TFL3"
    tiny.write_bytes(model.SerializeToString())
    assert tiny.read_bytes()[4:8] == b"TFL3"
    assert gate.examine(tiny).producer == "TFL3"


def test_what_begins_like_a_model_and_is_another_format_is_named(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\0\0\0TFL3\x14")
    with pytest.raises(NotOnnxError, match="TensorFlow Lite"):
        gate.examine(path)


def test_a_cut_off_model_says_so(tiny):
    data = tiny.read_bytes()
    tiny.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidModelError, match=r"it ends after .* should have") as caught:
        gate.examine(tiny)
    assert "broke off" in caught.value.hint


def test_a_damaged_model_says_so(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x0a\x0f\x01\x02")
    with pytest.raises(InvalidModelError, match="its structure cannot be followed"):
        gate.examine(path)
    path.write_bytes(b"\x08\x0a\x3d\x01\x01\x01\x01\x41" + bytes(8) + b"\x08\xff\xff")
    with pytest.raises(InvalidModelError, match="damaged"):
        gate.examine(path)


@pytest.mark.parametrize(("data", "seen"), [(b"\x08\x0a", "no graph"), (b"\x3a\x00", "no version")])
def test_a_protobuf_without_a_graph_or_a_version_is_no_model(data, seen, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(NotOnnxError, match=seen) as caught:
        gate.examine(path)
    assert caught.value.hint


# ── paths ─────────────────────────────────────────────────────────────────────────────────────


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.onnx does not exist"):
        gate.examine(tmp_path / "none.onnx")
    with pytest.raises(MissingFileError, match="is a folder"):
        gate.examine(tmp_path)
    with pytest.raises(MissingFileError, match="cannot be read"):
        gate.examine("nul\0byte.onnx")
    with pytest.raises(MissingFileError, match="cannot be read"):
        gate.examine(tmp_path / ("x" * 5000))
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(MissingFileError, match="cannot be read"):
        gate.examine(tmp_path / "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="platform: no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(MissingFileError, match="no regular file"):
        gate.examine(tmp_path / "m.onnx")


def test_a_file_that_cannot_be_opened_is_named(tiny, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MissingFileError, match="Permission denied"):
        gate.examine(tiny)


def test_a_file_over_the_limit_is_refused_before_it_is_read(tiny):
    with pytest.raises(ModelTooLargeError, match="the file has"):
        gate.examine(tiny, limit_bytes=10)


@pytest.mark.parametrize("size", [5, 10**6])
def test_a_file_whose_size_changes_while_it_is_read_is_refused(size, tiny, monkeypatch):
    real, known = gate._identify(str(tiny))
    monkeypatch.setattr(gate, "_identify", lambda _: (real, (known[0], size, *known[2:])))
    with pytest.raises(InvalidModelError, match="it changed while it was read"):
        gate.examine(tiny)


@pytest.mark.parametrize("doing", ["reading", "parsing"])
def test_too_little_memory_is_told(doing, tiny, monkeypatch):
    def fail(*_: object, **__: object) -> Any:
        raise MemoryError

    if doing == "reading":
        monkeypatch.setattr(gate, "recognise", fail)
    else:

        class Full:
            ParseFromString = staticmethod(fail)

        monkeypatch.setattr(onnx, "ModelProto", Full)
    with pytest.raises(EngineMemoryError, match=f"while {doing}"):
        gate.examine(tiny)


# ── versions and operators ────────────────────────────────────────────────────────────────────


def test_an_opset_of_the_future_is_refused_with_the_newest_known(tmp_path, make_classifier):
    newest = onnx.defs.onnx_opset_version()
    with pytest.raises(UnsupportedOpsetError, match=rf"opset 99 of ai\.onnx; .* is {newest}"):
        gate.examine(make_classifier(tmp_path / "m.onnx", opset=99))
    with pytest.raises(UnsupportedOpsetError, match="opset 0 of"):
        gate.examine(make_classifier(tmp_path / "m.onnx", opset=0))


def test_versions_of_known_domains_are_checked_and_unused_strange_ones_are_not(
    tmp_path, save_model
):
    path = tmp_path / "m.onnx"
    assert gate.examine(save_model(path, identity(), domains={"ai.onnx.contrib": 1000}))
    with pytest.raises(UnsupportedOpsetError, match=r"of ai\.onnx\.ml"):
        gate.examine(save_model(path, identity(), domains={"ai.onnx.ml": 90}))


@pytest.mark.parametrize("version", [0, -3, 99])
def test_an_unknown_ir_version_is_refused(version, tiny):
    model = onnx.load(tiny)
    model.ir_version = version
    tiny.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModelError, match=f"ir_version is {version}"):
        gate.examine(tiny)


def test_a_model_without_operator_sets_is_refused(tiny):
    model = onnx.load(tiny)
    del model.opset_import[:]
    tiny.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModelError, match="opset_import is empty"):
        gate.examine(tiny)


@pytest.mark.parametrize(
    ("domain", "name", "named", "hint"),
    [
        ("", "Frobnicate", "Frobnicate", "has no operator 'Frobnicate'"),
        ("", "Gelu", "Gelu", "newer than opset 17"),
        ("", "Upsample", "Upsample", "withdrawn in opset 10"),
        ("ai.onnx.ml", "Nothing", "ai.onnx.ml:Nothing", "has no operator 'Nothing'"),
        ("com.microsoft.extensions", "DecodeImage", "com.microsoft.extensions:DecodeImage",
         "onnxruntime-extensions"),
        ("acme", "Rocket", "acme:Rocket", "an operator library for the domain 'acme'"),
    ],
)  # fmt: skip
def test_an_unknown_operator_is_named_with_what_to_do(
    domain, name, named, hint, tmp_path, save_model
):
    graph = identity(nodes=(helper.make_node(name, ["x"], ["z"], domain=domain),))
    path = save_model(tmp_path / "m.onnx", graph, domains={domain: 1} if domain else None)
    with pytest.raises(UnsupportedOperatorError) as caught:
        gate.examine(path)
    assert caught.value.operators == (named,)
    assert hint in caught.value.hint


def test_unknown_operators_are_named_all_at_once(tmp_path, save_model):
    nodes = tuple(helper.make_node(name, ["x"], [name]) for name in ("Foo", "Bar"))
    with pytest.raises(UnsupportedOperatorError, match="Bar, Foo"):
        gate.examine(save_model(tmp_path / "m.onnx", identity(nodes=nodes)))


@pytest.mark.parametrize(
    ("domain", "name"), [("", "ThresholdedRelu"), ("com.microsoft", "FusedConv"), ("", "Affine")]
)
def test_operators_of_the_engine_are_left_to_the_engine(domain, name, tmp_path, save_model):
    graph = identity(nodes=(helper.make_node(name, ["x"], ["z"], domain=domain),))
    path = save_model(tmp_path / "m.onnx", graph, opset=9, domains={"com.microsoft": 1})
    assert name in str(gate.examine(path).operators)


def test_an_operator_of_a_domain_without_a_version_is_refused(tmp_path, save_model):
    graph = identity(nodes=(helper.make_node("FusedConv", ["x"], ["z"], domain="com.microsoft"),))
    with pytest.raises(InvalidModelError, match="without naming a version"):
        gate.examine(save_model(tmp_path / "m.onnx", graph))


def test_sub_graphs_that_are_nested_too_deep_are_refused(tmp_path, save_model):
    graph = helper.make_graph([], "leaf", [], [])
    for _ in range(inspection.MAX_DEPTH):
        node = helper.make_node("If", ["x"], ["y"])
        node.attribute.append(helper.make_attribute("then_branch", graph))
        graph = helper.make_graph([node], "g", [], [])
    graph.output.append(value("y", 1))
    with pytest.raises(InvalidModelError, match="nested more than 24 deep"):
        gate.examine(save_model(tmp_path / "m.onnx", graph))


# ── structure and sizes ───────────────────────────────────────────────────────────────────────


def test_a_graph_without_outputs_or_with_twin_names_is_refused(tmp_path, save_model):
    path = tmp_path / "m.onnx"
    graph = identity()
    graph.input.append(value("x", 1))
    with pytest.raises(InvalidModelError, match=r"two inputs named 'x'"):
        gate.examine(save_model(path, graph))
    graph = identity()
    del graph.output[:]
    with pytest.raises(InvalidModelError, match="no output"):
        gate.examine(save_model(path, graph))


def test_a_port_of_impossible_size_is_refused(tmp_path, save_model):
    graph = identity()
    graph.input.append(value("huge", 1, 2**40, 2**40))
    with pytest.raises(ModelTooLargeError, match=r"'huge' has .* GB"):
        gate.examine(save_model(tmp_path / "m.onnx", graph))


@pytest.mark.parametrize(
    "dims", [(2**31, 2**31), (2**62, 2**62, 2**62), (10**6, 10**6), (2**62,) * 4000]
)
def test_sizes_that_overflow_are_refused_and_never_allocated(dims, tmp_path, save_model):
    bomb = TensorProto(name="bomb", data_type=FLOAT, dims=dims, raw_data=b"1234")
    with pytest.raises(ModelTooLargeError, match="the weight 'bomb'"):
        gate.examine(save_model(tmp_path / "m.onnx", identity(bomb)))


def test_a_huge_number_of_strings_is_refused(tmp_path, save_model):
    bomb = TensorProto(name="bomb", data_type=TensorProto.STRING, dims=[2**40])
    with pytest.raises(ModelTooLargeError, match="'bomb'"):
        gate.examine(save_model(tmp_path / "m.onnx", identity(bomb)))


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (TensorProto(name="w", data_type=FLOAT, dims=[3], raw_data=b"1234"),
         "takes 12 bytes, and 4 are stored"),
        (TensorProto(name="w", data_type=FLOAT, dims=[3], float_data=[1]),
         "takes 3 values, and 1 are stored"),
        (TensorProto(name="w", data_type=77, dims=[1]), "element type 77"),
        (TensorProto(name="w", data_type=FLOAT, dims=[-1]), "a negative size"),
        (TensorProto(name="w", data_type=FLOAT, dims=[1] * 9 + [2]),
         r"\(1, 1, 1, 1, 1, 1, 1, 1, and 2 more\)"),
    ],
)  # fmt: skip
def test_weights_that_do_not_add_up_are_refused(tensor, reason, tmp_path, save_model):
    with pytest.raises(InvalidModelError, match=reason):
        gate.examine(save_model(tmp_path / "m.onnx", identity(tensor)))


@pytest.mark.parametrize(
    "tensor",
    [
        helper.make_tensor("w", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("w", TensorProto.COMPLEX64, [2], [1 + 2j, 3j]),
        helper.make_tensor("w", TensorProto.INT4, [3], [1, 2, 3]),
        helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"b"]),
        helper.make_tensor("w", TensorProto.UINT64, [2], [1, 2]),
        helper.make_tensor("w", TensorProto.BOOL, [2], [True, False]),
        helper.make_tensor("w", TensorProto.DOUBLE, [0], []),
        numpy_helper.from_array(np.zeros((2, 3), np.int16), "w"),
    ],
    ids=lambda tensor: weights.ELEMENTS[tensor.data_type][0],
)
def test_weights_of_every_kind_of_storage_are_measured(tensor, tmp_path, save_model):
    facts = gate.examine(save_model(tmp_path / "m.onnx", identity(tensor)))
    assert facts.parameters == int(np.prod(list(tensor.dims)))


def test_every_element_type_of_onnx_is_known():
    ours = set(weights.ELEMENTS)
    assert {n for name, n in TensorProto.DataType.items() if name != "UNDEFINED"} <= ours


# ── external data ─────────────────────────────────────────────────────────────────────────────


def test_weights_beside_the_model_are_found(tmp_path, save_model):
    (tmp_path / "m.data").write_bytes(bytes(64))
    weight = external(location="./m.data", offset=16, length=16)
    other = external("v", location="./m.data")
    facts = gate.examine(save_model(tmp_path / "m.onnx", identity(weight, other)))
    assert facts.external_files == ("./m.data",)
    assert facts.parameters == 8


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"location": "none.data"}, "that file is not there"),
        ({}, "the name of the data file is empty"),
        ({"location": "/etc/passwd"}, "absolute path"),
        ({"location": "C:\\weights.bin"}, "absolute path"),
        ({"location": "\\\\server\\share"}, "absolute path"),
        ({"location": "../up.data"}, "leads out of the model's folder"),
        ({"location": "sub\\..\\..\\up.data"}, "leads out of the model's folder"),
        ({"location": "*/_ORT_MEM_ADDR_/*", "offset": 4096}, "an address in memory"),
        ({"location": "a\0b"}, "no file name"),
        ({"location": "folder"}, "no regular file"),
        ({"location": "short.data"}, "that file ends after 10 bytes"),
        ({"location": "long.data", "offset": 90}, "before the weight 'w' (bytes 90 to 106)"),
        ({"location": "long.data", "offset": 2**62}, "that file ends after 100 bytes"),
        ({"location": "long.data", "offset": -1}, "its offset there is '-1'"),
        ({"location": "long.data", "offset": "9" * 5000}, "its offset there is"),
        ({"location": "long.data", "length": "many"}, "its length there is 'many'"),
        ({"location": "long.data", "length": 12}, "16 bytes, but 12 are set aside"),
        ({"location": "link"}, "a link which leads out"),
        ({"location": "loop"}, "that file is not there"),
    ],
)
def test_external_data_that_is_elsewhere_or_wrong_is_refused(facts, reason, tmp_path, save_model):
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    for file, data in {"home/short.data": 10, "home/long.data": 100, "up.data": 100}.items():
        (tmp_path / file).write_bytes(bytes(data))
    (home / "link").symlink_to(tmp_path / "up.data")
    (home / "loop").symlink_to(home / "loop")
    path = save_model(home / "m.onnx", identity(external(**facts)))
    with pytest.raises(ExternalDataError) as caught:
        gate.examine(path)
    assert reason in caught.value.message
    assert caught.value.hint


def test_a_cache_of_links_to_blobs_in_one_folder_is_followed(tmp_path, save_model):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    (blobs / "b2").write_bytes(bytes(16))
    save_model(blobs / "b1", identity(external(location="m.data")))
    (snapshot / "m.onnx").symlink_to(blobs / "b1")
    (snapshot / "m.data").symlink_to(blobs / "b2")
    assert gate.examine(snapshot / "m.onnx").external_files == ("m.data",)


def test_external_data_that_changes_is_looked_at_again(tmp_path, save_model):
    data = tmp_path / "m.data"
    data.write_bytes(bytes(16))
    path = save_model(tmp_path / "m.onnx", identity(external(location="m.data")))
    assert gate.examine(path) is gate.examine(path)
    data.write_bytes(bytes(3))
    with pytest.raises(ExternalDataError, match="ends after 3 bytes"):
        gate.examine(path)
    data.unlink()
    with pytest.raises(ExternalDataError, match="not there"):
        gate.examine(path)
    data.write_bytes(bytes(16))
    assert gate.examine(path).external_files == ("m.data",)


# ── memory ────────────────────────────────────────────────────────────────────────────────────


def cached(path: Path) -> Path:
    return gate._entry(str(path.resolve()))


def read_count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    real = gate._read

    def counting(where: str, *rest: Any) -> Any:
        reads.append(where)
        return real(where, *rest)

    monkeypatch.setattr(gate, "_read", counting)
    return reads


def test_a_known_file_is_read_once(tiny, monkeypatch):
    reads = read_count(monkeypatch)
    first = gate.examine(tiny)
    assert gate.examine(tiny) is first
    gate.forget()
    assert gate.examine(str(tiny)) == first
    assert len(reads) == 1


def test_it_is_read_again_when_asked(tiny, monkeypatch):
    reads = read_count(monkeypatch)
    assert gate.examine(tiny) == gate.examine(tiny, verify="always")
    assert len(reads) == 2


def test_it_is_read_again_when_it_changes_even_at_the_same_size_and_time(tmp_path, make_classifier):
    path = make_classifier(tmp_path / "m.onnx", opset=13)
    times = path.stat()
    before = gate.examine(path)
    data = path.read_bytes()
    path.write_bytes(make_classifier(tmp_path / "n.onnx", opset=14).read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == len(data)
    assert gate.examine(path).opset() == before.opset() + 1


def test_a_refusal_is_not_remembered(tmp_path, tiny):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"<html>")
    with pytest.raises(NotOnnxError):
        gate.examine(path)
    path.write_bytes(tiny.read_bytes())
    assert gate.examine(path).outputs


def test_a_model_that_turns_bad_is_refused_although_it_was_known(tiny):
    gate.examine(tiny)
    tiny.write_bytes(b"")
    with pytest.raises(NotOnnxError):
        gate.examine(tiny)


@pytest.mark.parametrize("damage", ["cut", "flip", "junk", "edition", "shape", "deep"])
def test_a_damaged_memory_is_passed_over_and_mended(damage, tiny, monkeypatch):
    import hashlib

    facts = gate.examine(tiny)
    entry = cached(tiny)
    good = entry.read_text()

    def sealed(body: str) -> str:
        return f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}"

    body = json.loads(good.partition("\n")[2])
    bad = {
        "cut": good[: len(good) // 2],
        "flip": good.replace('"tiny"', '"tinY"'),
        "junk": "\0",
        "edition": sealed(json.dumps(body | {"edition": -1})),
        "shape": sealed(json.dumps(body | {"facts": {"inputs": 5}})),
        "deep": sealed("[" * 100_000),
    }[damage]
    entry.write_text(bad)
    gate.forget()
    reads = read_count(monkeypatch)
    assert gate.examine(tiny) == facts
    assert len(reads) == 1
    assert entry.read_text() == good


def test_a_cache_folder_that_cannot_be_written_to_is_no_harm(tiny, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert gate.examine(tiny) is gate.examine(tiny)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "cache").unlink()
    monkeypatch.setattr(Path, "replace", full)
    assert gate.examine(tiny, verify="always").inputs
    assert list(cached(tiny).parent.iterdir()) == []


def test_memory_holds_so_many_answers_and_no_more(tmp_path, make_classifier, monkeypatch):
    monkeypatch.setattr(gate, "_KEPT", 2)
    for name in "abc":
        gate.examine(make_classifier(tmp_path / f"{name}.onnx"))
    assert len(gate._known) == 2
    assert str((tmp_path / "a.onnx").resolve()) not in gate._known


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tiny, monkeypatch):
    real = gate._read

    def slow(*args: Any) -> Any:
        answer = real(*args)
        tiny.write_bytes(tiny.read_bytes() + b"\0")
        return answer

    monkeypatch.setattr(gate, "_read", slow)
    gate.examine(tiny)
    assert not gate._known
    assert not cached(tiny).exists()


def test_a_file_written_a_moment_ago_is_given_time_to_settle(tiny, monkeypatch):
    naps: list[float] = []
    real, mine = time.sleep, threading.get_ident()

    def sleep(seconds: float) -> None:  # threads of other tests may still be about
        naps.append(seconds) if threading.get_ident() == mine else real(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    os.utime(tiny)
    gate.examine(tiny)
    os.utime(tiny, (1e9, 1e9))
    gate.examine(tiny)
    assert len(naps) <= 1
    assert gate.examine(tiny).outputs


def test_a_known_file_is_answered_without_onnx(tiny):
    gate.examine(tiny)
    program = (
        "import sys; from workbench.models import gate; "
        f"facts = gate.examine({str(tiny)!r}); "
        "print(facts.name, 'onnx' in sys.modules, 'onnxruntime' in sys.modules, "
        "'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(gate.__file__).parents[2])},
    )  # fmt: skip
    assert done.stdout.split() == ["tiny", "False", "False", "False"]


def test_answers_are_kept_below_the_cache_folder(tiny):
    gate.examine(tiny)
    assert cached(tiny).is_file()
    assert cached(tiny).parent == settings.cache_folder() / "gate"


# ── whatever comes ────────────────────────────────────────────────────────────────────────────

ANY = hypothesis_settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def outcome(path: Path, data: bytes) -> str:
    """Examine some bytes: "" for a model, the code of a refusal otherwise."""
    path.write_bytes(data)
    try:
        gate.examine(path, verify="always")
    except WorkbenchError as error:
        return error.code if error.message and error.hint else "wordless"
    return ""


@pytest.fixture
def no_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@ANY
@given(data=st.binary(max_size=600), start=st.sampled_from([b"", b"\x08\x0a", b"\x08\x0a\x3a"]))
def test_no_junk_gets_past_the_gate_or_breaks_it(data, start, tmp_path, no_naps):
    assert outcome(tmp_path / "m.onnx", start + data) in ("model_not_onnx", "model_invalid",
                                                          "model_unsupported_opset")  # fmt: skip


@ANY
@given(cut=st.floats(0, 1, exclude_max=True))
def test_no_cut_breaks_the_gate(cut, tmp_path, tiny, no_naps):
    data = tiny.read_bytes()
    assert outcome(tmp_path / "m.onnx", data[: int(cut * len(data))])


@ANY
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
                      min_size=1, max_size=6))  # fmt: skip
def test_no_flipped_bit_breaks_the_gate(flips, tmp_path, tiny, no_naps):
    data = bytearray(tiny.read_bytes())
    for where, bit in flips:
        data[int(where * len(data))] ^= 1 << bit
    codes = ("", "model_invalid", "model_not_onnx", "model_unsupported_op", "model_too_large",
             "model_unsupported_opset", "model_external_data")  # fmt: skip
    assert outcome(tmp_path / "m.onnx", bytes(data)) in codes


def test_a_refusal_calls_the_file_as_it_is_told_to(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"Entry not found")
    with pytest.raises(NotOnnxError) as caught:
        gate.examine(path, name="my net.onnx")
    assert caught.value.message.startswith("my net.onnx is not")
    assert str(tmp_path) not in caught.value.message
