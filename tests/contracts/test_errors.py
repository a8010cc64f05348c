"""Every error and warning: its code, its place in the tree, its facts, and its words."""

from __future__ import annotations

import copy
import html
import inspect
import pickle
import re
import traceback

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as engine

from workbench import errors
from workbench.errors import (
    ENGINE_ERRORS,
    CancelledError,
    EngineMemoryError,
    ExternalDataError,
    InferenceError,
    InputMismatchError,
    InvalidModelError,
    MissingFileError,
    NotOnnxError,
    UnsupportedOperatorError,
    UnsupportedOpsetError,
    WorkbenchError,
    WorkbenchWarning,
    from_engine,
)

#: An example of every class that is raised, and the whole of what it says.
SAID = [
    (
        errors.NotAnImageError("cat.txt", "it is plain text"),
        "cat.txt is not an image: it is plain text. Give a path, bytes, a PIL image, an (H, W, 3) "
        "uint8 array, a file-like object or a data URI.",
    ),
    (
        errors.UnsupportedFormatError("a.psd", "a PSD picture", ["JPEG", "PNG"]),
        "a.psd is a PSD picture, which is not read here; formats read are JPEG, PNG. Convert it to "
        "PNG or JPEG first.",
    ),
    (
        errors.CorruptImageError("cat.jpg", "it ends after 12 of 375 rows", "JPEG"),
        "cat.jpg is a damaged JPEG: it ends after 12 of 375 rows. Get the file again: a partial "
        "picture is never classified.",
    ),
    (
        errors.ImageTooLargeError("big.png", 10_000_001, 10_000_000),
        "big.png has 10.0 MB (10,000,001 bytes); the limit is 10.0 MB (10,000,000 bytes). Save it "
        "smaller, or raise MAX_IMAGE_BYTES.",
    ),
    (
        errors.TooManyPixelsError("bomb.png", 60_000, 50_000, 50_000_000),
        "bomb.png is 60000 × 50000 = 3,000,000,000 pixels; the limit is 50,000,000 pixels. "
        "Scale it down, or pass a larger max_pixels=.",
    ),
    (
        errors.Base64Error("The image", "its length is no multiple of 4"),
        "The image is not valid base64: its length is no multiple of 4. Expected a data URI such "
        "as 'data:image/png;base64,…' with the standard alphabet and padding.",
    ),
    (
        errors.WriteError("/full/a.html", "No space left on device"),
        "'/full/a.html' cannot be written: no space left on device. Give a path in a folder that "
        "may be written to, on a disk with room.",
    ),
    (
        errors.CapsuleError("run.json", "it is an empty file."),
        "'run.json' is not a benchmark that can be read: it is an empty file. Expected a file that "
        "was written by bench.save(…).",
    ),
    (
        errors.NotOnnxError("a.onnx", "it is a web page"),
        "a.onnx is not an ONNX model: it is a web page. Expected a serialised ModelProto.",
    ),
    (
        errors.InvalidModelError("a.onnx", "node 'x' has no input."),
        "a.onnx is not a valid ONNX model: node 'x' has no input. Export it again, and check it "
        "with onnx.checker.check_model.",
    ),
    (
        errors.ExternalDataError("a.onnx", "../w.bin", "that leads out of its folder"),
        "a.onnx keeps weights in '../w.bin', and that leads out of its folder. Put the data file "
        "in the model's own folder under that name, or export the model as a single file.",
    ),
    (
        errors.UnsupportedOperatorError("a.onnx", ["Nope", "my.ops:Own"]),
        "a.onnx uses operators that this onnxruntime does not have: Nope, my.ops:Own. Export it "
        "with standard ONNX operators.",
    ),
    (
        errors.UnsupportedOpsetError("a.onnx", "", 99, 22),
        "a.onnx asks for opset 99 of ai.onnx; the newest known here is 22. Update onnx and "
        "onnxruntime, or export with a lower opset_version.",
    ),
    (
        errors.UnsupportedInputsError("a.onnx", "classification", "2 inputs", "1 image"),
        "a.onnx cannot be used for classification: it has 2 inputs; expected 1 image. Use "
        "runner.run with a dict of arrays, one for each input.",
    ),
    (
        errors.QuantizationError("m", "none of its nodes could be"),
        "Model 'm' cannot be quantised: none of its nodes could be. Export it again with a newer "
        "opset (17 or so), or use it as it is.",
    ),
    (
        errors.ModelTooLargeError("a.onnx", "tensor 'w'", 5_000_000_000_000, 8_000_000_000),
        "a.onnx: tensor 'w' has 5000 GB; the limit is 8.00 GB. A size this large is usually a "
        "damaged or hostile file.",
    ),
    (
        errors.ChecksumError("a.onnx", "aa", "bb"),
        "a.onnx has sha256 bb; expected aa. The file is damaged or is another one: get it again "
        "from its source.",
    ),
    (
        errors.MetadataError("a.json", "input_shape", "wide", "a list of integers"),
        "a.json: field 'input_shape' is 'wide'; expected a list of integers.",
    ),
    (
        errors.MetadataMismatchError("a.json", "input_shape", [1, 3, 9, 9], "(1, 3, 32, 32)"),
        "a.json: field 'input_shape' is [1, 3, 9, 9], but the graph has (1, 3, 32, 32). Correct "
        "'input_shape' in the metadata, or take the model that it describes.",
    ),
    (
        errors.LabelsError("a_labels.json", "it holds a number"),
        "a_labels.json holds no usable labels: it holds a number. Expected a JSON list of "
        "strings, one for each class.",
    ),
    (
        errors.ConfigError("PORT", "many", "a number", "See .env.example."),
        "PORT is 'many'; expected a number. See .env.example.",
    ),
    (
        errors.UnsafePathError("../etc", "letters and digits"),
        "'../etc' is not a safe name here; expected letters and digits.",
    ),
    (
        errors.UnknownModelError("resnet51", ("resnet18", "resnet50", "cifar10")),
        "No model named 'resnet51' among 3 known. Did you mean 'resnet50' or 'resnet18'?",
    ),
    (
        errors.MissingFileError("cat.jpg", "image"),
        "The image cat.jpg does not exist. Check the path and its spelling.",
    ),
    (
        errors.MissingExtraError("serve", "the service"),
        "The service needs the extra 'serve', which is not installed. Install it with: "
        f"{errors.pip()} install 'onnx-workbench[serve]'",
    ),
    (
        errors.SwitchedOffError("Reading paths", "others may sit here", "Upload the file."),
        "Reading paths is switched off here: others may sit here. Upload the file.",
    ),
    (
        errors.InputMismatchError("x", "(1, 4) float32", "(1, 3) float32"),
        "Input 'x' got (1, 4) float32; expected (1, 3) float32. Use the model's own "
        "preprocessing, or reshape the array.",
    ),
    (
        errors.InputTooLargeError("The text", "2,000 tokens", "512"),
        "The text has 2,000 tokens; the limit is 512. Send less at a time.",
    ),
    (
        errors.BatchTooLargeError(11, 10),
        "The batch has 11 items; the limit is 10. Split it, or raise MAX_BATCH_SIZE.",
    ),
    (
        errors.InferenceError("cifar10", "node 'a' failed."),
        "Model 'cifar10' failed while running: node 'a' failed.",
    ),
    (
        errors.OutputUnsupportedError("cifar10", "(1, 9, 9)", "(batch, classes)"),
        "The output of model 'cifar10' is (1, 9, 9); expected (batch, classes). Set 'output_name' "
        "in the metadata, or read it raw with runner.run.",
    ),
    (
        errors.OutputNotFiniteError("cifar10", "logits", 3, 10),
        "Output 'logits' of model 'cifar10' has 3 of 10 values that are NaN or infinite. Usual "
        "causes: wrong preprocessing (see model.preprocessing), a broken conversion to 16 bits, "
        "or damaged weights.",
    ),
    (
        errors.InferenceTimeoutError("cifar10", 0.5),
        "Model 'cifar10' did not answer within 500 ms and was stopped. Raise timeout_s= (or "
        "INFERENCE_TIMEOUT, in milliseconds), or use a smaller model.",
    ),
    (
        errors.InferenceTimeoutError("", 2.0, what="The evaluation"),
        "The evaluation did not end within 2.00 s and was stopped. Raise timeout_s= (or "
        "INFERENCE_TIMEOUT, in milliseconds), or use a smaller model.",
    ),
    (
        errors.LoadTimeoutError("cifar10", 30.0),
        "Model 'cifar10' was not loaded within 30.0 s. Raise timeout_s=, or look at what the disk "
        "is doing.",
    ),
    (
        errors.EngineMemoryError("cifar10", "loading", "no 4 GB in one piece."),
        "Out of memory while loading model 'cifar10': no 4 GB in one piece. Unload other models, "
        "lower the batch size, or use a smaller model.",
    ),
    (
        errors.WorkerCrashedError("cifar10", "signal 8"),
        "The worker process that ran model 'cifar10' died (signal 8). This input, or this model, "
        "brings the engine down; other requests are not affected.",
    ),
    (
        errors.CancelledError("The evaluation"),
        "The evaluation was stopped on request. What was finished before is kept.",
    ),
    (
        errors.UrlRefusedError("http://10.0.0.1/", "it is a private address"),
        "'http://10.0.0.1/' is refused: it is a private address.",
    ),
    (
        errors.CidError("Qm", "it is too short"),
        "'Qm' is not an IPFS CID: it is too short. Expected a v0 CID ('Qm…', 46 characters) or a "
        "v1 CID ('bafy…').",
    ),
    (
        errors.DownloadError("https://a.example/m", "the server said 503"),
        "'https://a.example/m' could not be fetched: the server said 503. Nothing was left "
        "behind; try again.",
    ),
    (
        errors.DownloadTooLargeError("https://a.example/m", 12_000_000, 10_000_000),
        "'https://a.example/m' sends more than 10.0 MB (seen: 12.0 MB). Raise the limit if the "
        "file is really that large.",
    ),
    (
        errors.OfflineError("Model 'resnet18'", "Pull it on another machine."),
        "Model 'resnet18' needs the network, which is switched off here. Pull it on another "
        "machine.",
    ),
    (errors.BadRequestError("top_k", -1, "1 or more"), "top_k is -1; expected 1 or more."),
    (
        errors.QueueFullError(5_000_000, 4_000_000, 2.0, in_bytes=True),
        "Requests of 5.00 MB are at hand; there is room for 4.00 MB. Try again in 2.00 s.",
    ),
    (
        errors.UnsupportedMediaError("text/plain", "application/json"),
        "The body is text/plain; expected application/json. Say what it is in Content-Type.",
    ),
    (
        errors.MethodNotAllowedError("PUT", ["GET", "POST"]),
        "PUT is not possible here. This address takes GET, POST.",
    ),
    (
        errors.SlowRequestError(2000, 30.0),
        "The body did not come within 30.0 s: 2.00 kB had come. Send it again, over a better "
        "line or smaller.",
    ),
    (
        errors.UnauthorisedError(),
        "No valid API key was sent. Send it as 'Authorization: Bearer …'.",
    ),
    (
        errors.RateLimitedError("10 a minute", 6.0),
        "More requests than 10 a minute were sent. Try again in 6.00 s.",
    ),
    (
        errors.QueueFullError(64, 64, 1.5),
        "64 requests are waiting; the queue takes 64. Try again in 1.50 s.",
    ),
    (
        errors.QueueUnavailableError(5.0),
        "The queue of jobs does not answer. Try again in 5.00 s; requests that are answered at "
        "once need no queue of jobs.",
    ),
    (errors.NotFoundError("page"), "There is no page here."),
    (
        errors.ProviderFallbackWarning("cifar10", "CUDA", "CPU"),
        "Model 'cifar10' was asked to run on CUDA and runs on CPU. Pass strict=True to make this "
        "an error.",
    ),
    (
        errors.UnstableTimingWarning("cifar10", 0.394),
        "cifar10: the interquartile range is 39.4 % of the median.",
    ),
    (
        errors.InferredMetadataWarning("mine", ["It is a guess.", "So is that."]),
        "Model 'mine' has no metadata. It is a guess. So is that. Write what holds into its "
        "metadata, or pass it as metadata= to hub.preload.",
    ),
    (
        errors.IncompletePullWarning("mine", "Its labels could not be had."),
        "Model 'mine' was pulled, but not all of it. Its labels could not be had.",
    ),
]
#: Families: they are caught, never raised.
FAMILIES = {
    "WorkbenchError", "WorkbenchWarning", "ImageError", "ModelFileError", "DescriptionError",
    "FetchError", "ServiceError",
}  # fmt: skip

CLASSES = [
    c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
]
RAISED = [c for c in CLASSES if issubclass(c, WorkbenchError) and c.__name__ not in FAMILIES]
by_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
said = pytest.mark.parametrize(("error", "sentence"), SAID, ids=lambda v: type(v).__name__)


@said
def test_a_message_is_word_for_word(error, sentence):
    assert str(error) == sentence


@said
def test_a_message_has_no_loose_ends(error, sentence):
    assert not re.search(r"\.\.(?!/)|\s\s|\{|\}|\( | \)|None", sentence)
    assert sentence[-1] in ".?'"


def test_every_class_has_an_example_here():
    assert {type(error) for error, _ in SAID} == {c for c in CLASSES if c.__name__ not in FAMILIES}


@said
def test_an_error_survives_the_way_to_another_process(error, sentence):
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == sentence
        if isinstance(error, WorkbenchError):
            assert twin.__dict__ == error.__dict__
            assert twin.to_dict() == error.to_dict()


@said
def test_a_fresh_copy_has_no_traceback(error, sentence):
    if isinstance(error, WorkbenchWarning):
        assert issubclass(type(error), UserWarning)
        return
    try:
        raise error from ValueError("cause")
    except WorkbenchError as caught:
        fresh = caught.fresh()
    assert fresh is not error
    assert fresh.__traceback__ is None
    assert isinstance(fresh.__cause__, ValueError)
    assert str(fresh) == sentence
    assert type(error).__name__ in "".join(traceback.format_exception_only(fresh))


@by_class
def test_every_class_is_also_a_builtin(kind):
    if kind in (WorkbenchError, WorkbenchWarning):
        return
    builtin = [c for c in kind.__mro__ if c.__module__ == "builtins"]
    assert any(c not in (Exception, BaseException, Warning, object) for c in builtin)


@by_class
def test_every_class_explains_itself(kind):
    assert inspect.getdoc(kind)
    assert kind.__name__.endswith(("Error", "Warning"))


def test_codes_are_unique_but_for_the_two_kinds_of_missing():
    codes: dict[str, set[str]] = {}
    for kind in RAISED:
        codes.setdefault(kind.code, set()).add(kind.__name__)
    shared = {code: names for code, names in codes.items() if len(names) > 1}
    assert shared == {"not_found": {"MissingFileError", "NotFoundError"}}
    assert "internal" not in codes


def test_the_tree_in_the_docstring_is_the_real_tree():
    drawn: dict[str, tuple[str | None, str | None, str | None]] = {}
    above: dict[int, str] = {}
    for line in inspect.getdoc(errors).splitlines():
        found = re.match(
            r"^( *[│├└─ ]*)(Workbench\w+|\w+Error|\w+Warning)(?: \((\w+)\))?(?:\s+(.+))?$", line
        )
        if not found:
            continue
        depth = len(found[1]) // 4
        above[depth] = found[2]
        drawn[found[2]] = (above.get(depth - 1) if depth > 1 else None, found[3], found[4])
    assert set(drawn) == {c.__name__ for c in CLASSES}
    for kind in CLASSES:
        parent, builtin, code = drawn[kind.__name__]
        bases = [b.__name__ for b in kind.__bases__]
        if parent is not None:
            assert bases[0] == parent
        if builtin is not None and kind is not WorkbenchWarning:
            assert bases[1:] == [builtin], kind
        if issubclass(kind, WorkbenchError) and kind in RAISED:
            assert code == kind.code


# ── the engine ────────────────────────────────────────────────────────────────────────────────


def test_onnxruntime_has_no_error_that_is_not_translated():
    theirs = {n for n, c in vars(engine).items() if inspect.isclass(c) and issubclass(c, Exception)}
    assert theirs - set(ENGINE_ERRORS) == set(), "add these to errors.ENGINE_ERRORS"


@pytest.mark.parametrize("name", ENGINE_ERRORS)
@pytest.mark.parametrize("doing", ["load", "run"])
def test_every_engine_error_becomes_one_of_ours(name, doing):
    raised = type(name, (Exception,), {})("[ONNXRuntimeError] : 1 : FAIL : it went wrong.")
    ours = from_engine(raised, model="cifar10", doing=doing)
    assert type(ours) is not WorkbenchError
    assert ours.code != "internal"
    assert "ONNXRuntimeError" not in str(ours)
    assert ".." not in str(ours)


def test_what_is_ours_already_stays_as_it_is():
    ours = CancelledError("x")
    assert from_engine(ours, model="m", doing="run") is ours


def port(name, kind=TensorProto.FLOAT, shape=(1, 3)):
    return helper.make_tensor_value_info(name, kind, shape)


def model(*nodes, inputs=None, outputs=None, opset=17, ir=9, domain=None, weights=()):
    graph = helper.make_graph(
        nodes, "g", inputs or [port("x")], outputs or [port("y")], initializer=list(weights)
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    made = helper.make_model(graph, opset_imports=opsets)
    made.ir_version = ir
    return made.SerializeToString()


def session(content):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def relu(**options):
    return model(helper.make_node("Relu", ["x"], ["y"]), **options)


UNLOADABLE = {
    "garbage": (b"garbage", NotOnnxError, "m.onnx is not an ONNX model: "),
    "unknown operator": (
        model(helper.make_node("Nope", ["x"], ["y"])),
        UnsupportedOperatorError,
        "m.onnx uses operators that this onnxruntime does not have: Nope. ",
    ),
    "unknown domain": (
        model(helper.make_node("Own", ["x"], ["y"], domain="my.ops"), domain="my.ops"),
        UnsupportedOperatorError,
        "m.onnx uses operators that this onnxruntime does not have: my.ops:Own(-1). ",
    ),
    "no kernel": (
        model(
            helper.make_node("Sin", ["x"], ["y"]),
            inputs=[port("x", TensorProto.BFLOAT16)],
            outputs=[port("y", TensorProto.BFLOAT16)],
            opset=22,
        ),
        UnsupportedOperatorError,
        "m.onnx uses operators that this onnxruntime does not have: Sin(22). ",
    ),
    "opset of the future": (
        relu(opset=999), UnsupportedOpsetError, "m.onnx asks for opset 999 of ai.onnx; "
    ),
    "format of the future": (
        relu(ir=99), InvalidModelError, "m.onnx is not a valid ONNX model: Unsupported model IR "
    ),
    "dangling input": (
        model(helper.make_node("Relu", ["z"], ["y"])),
        InvalidModelError,
        "m.onnx is not a valid ONNX model: Invalid model. Node input 'z' is not a graph input",
    ),
    "wrong type": (
        relu(outputs=[port("y", TensorProto.INT64)]),
        InvalidModelError,
        "m.onnx is not a valid ONNX model: Type Error: Type (tensor(int64)) of output arg (y)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNLOADABLE)
def test_a_model_that_onnxruntime_refuses(what):
    content, kind, start = UNLOADABLE[what]
    with pytest.raises(Exception) as caught:  # noqa: PT011  (theirs, of any class)
        session(content)
    ours = from_engine(caught.value, model="m.onnx", doing="load")
    assert type(ours) is kind
    assert str(ours).startswith(start)
    assert "onnxruntime::" not in str(ours)
    assert "/onnxruntime_src" not in str(ours)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        session(str(tmp_path / "none.onnx"))
    assert type(from_engine(caught.value, model="m", doing="load")) is MissingFileError


def test_a_model_whose_weights_are_not_there(tmp_path):
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3], [1, 2, 3])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "nope.bin"
    path = tmp_path / "m.onnx"
    path.write_bytes(model(helper.make_node("Add", ["x", "w"], ["y"]), weights=[weights]))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        session(str(path))
    ours = from_engine(caught.value, model="m.onnx", doing="load")
    assert type(ours) is ExternalDataError
    assert "nope.bin" in str(ours)


ONE = np.zeros((1, 3), np.float32)
FEEDS = {
    "no input": ({}, InputMismatchError, "Input 'x' got nothing; expected an array. "),
    "another input": ({"q": ONE}, InputMismatchError, "Input 'x' got nothing; expected an array. "),
    "wrong size": (
        {"x": np.zeros((1, 4), np.float32)},
        InputMismatchError,
        "Input 'x' got an array with 4 at axis 1; expected 3. ",
    ),
    "wrong rank": (
        {"x": np.zeros(3, np.float32)},
        InputMismatchError,
        "Input 'x' got an array of rank 1; expected rank 2. ",
    ),
    "wrong type": (
        {"x": np.zeros((1, 3))},
        InputMismatchError,
        "Input '?' got tensor(double); expected tensor(float). ",
    ),
    "no array": (
        {"x": "text"},
        InputMismatchError,
        "Input 'x' got no array; expected a numpy array. ",
    ),
}


@pytest.mark.parametrize("what", FEEDS)
def test_a_feed_that_onnxruntime_refuses(what):
    feed, kind, start = FEEDS[what]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        session(relu()).run(None, feed)
    ours = from_engine(caught.value, model="cifar10", doing="run")
    assert type(ours) is kind
    assert str(ours).startswith(start)


def test_an_output_that_the_model_does_not_have():
    with pytest.raises(Exception) as caught:  # noqa: PT011
        session(relu()).run(["w"], {"x": ONE})
    ours = from_engine(caught.value, model="cifar10", doing="run")
    assert type(ours) is InferenceError
    assert "Invalid output name" in str(ours)


def test_a_run_that_was_told_to_end():
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    options.terminate = True
    with pytest.raises(Exception) as caught:  # noqa: PT011
        session(relu()).run(None, {"x": ONE}, options)
    assert errors.is_terminated(caught.value)
    ours = from_engine(caught.value, model="cifar10", doing="run")
    assert str(ours).startswith("The run of model 'cifar10' was stopped on request.")


def failing(operator, feed):
    shape = port("s", TensorProto.INT64, (2,))
    inputs = [port("x"), shape] if operator == "Reshape" else [shape]
    node = helper.make_node(operator, [i.name for i in inputs], ["y"])
    made = session(model(node, inputs=inputs, outputs=[port("y", shape=None)]))
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception) as caught:  # noqa: PT011
        made.run(None, feed, options)
    return from_engine(caught.value, model="m", doing="run")


def test_a_node_that_fails_is_named():
    ours = failing("Reshape", {"x": ONE, "s": np.array([2, 2])})
    assert type(ours) is InferenceError
    assert str(ours).startswith("Model 'm' failed while running: Reshape node failed. ")
    assert "onnxruntime::" not in str(ours)


def test_memory_that_cannot_be_had():
    ours = failing("ConstantOfShape", {"s": np.array([10**7, 10**7])})
    assert type(ours) is EngineMemoryError
    assert isinstance(ours, MemoryError)
    assert "onnxruntime::" not in str(ours)


def test_memory_errors_of_python_are_memory_errors():
    assert type(from_engine(MemoryError(), model="m", doing="load")) is EngineMemoryError


# ── small words ───────────────────────────────────────────────────────────────────────────────


def test_the_closest_names_come_first_and_strangers_not_at_all():
    assert errors.nearest("imagnet", ["imagenet", "inception"]) == "Did you mean 'imagenet'?"
    assert errors.nearest("zzz", ["imagenet"]) == ""


def test_a_long_value_is_cut_in_the_middle():
    text = errors.abridge("x" * 500)
    assert len(text) <= 80
    assert text.startswith("'xxx")
    assert text.endswith("xxx'")
    assert "…" in text
    assert errors.abridge("short") == "'short'"


def test_an_unknown_model_lists_what_there_is():
    assert str(errors.UnknownModelError("zzz", ["a", "b"])) == (
        "No model named 'zzz' among 2 known. Known: 'a' and 'b'."
    )
    assert str(errors.UnknownModelError("zzz", [])) == (
        "No model named 'zzz' among 0 known. Give a path to an .onnx file, or see hub.to_frame()."
    )


@pytest.mark.parametrize(("error", "sentence"), SAID, ids=lambda x: type(x).__name__)
def test_an_error_is_a_card_in_a_notebook(error, sentence):
    if not isinstance(error, WorkbenchError):
        assert isinstance(error, WorkbenchWarning)
        return
    page = error._repr_html_()
    assert page == error._repr_html_()
    for said in (error.code, error.message, error.hint, getattr(error, "expected", "")):
        assert html.escape(said) in page
    assert repr(error).startswith(type(error).__name__), "an error's repr is Python's own"
