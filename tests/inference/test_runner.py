"""The runner: one, many, folders; batches, errors, limits; threads change nothing."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.cards import Stack
from workbench.inference.results import Failure, Outputs, Result, Results
from workbench.inference.runner import Runner
from workbench.models.hub import ModelHub
from workbench.stopping import Stop
from workbench.timing import clock


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(ModelHub(model_dir=tmp_path / "shelf"))


def plain(runner: Runner, path: Path, **changes: object) -> wb.Model:
    return runner.hub.preload(path.stem, path=path, metadata=graphs.PLAIN | changes)


def picture(colour: tuple[int, int, int], size: int = 8) -> np.ndarray:
    return np.full((size, size, 3), colour, np.uint8)


def png(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return sink.getvalue()


def test_one_picture_gives_a_result_with_top_timings_and_a_frame(runner: Runner) -> None:
    result = runner.classify(wb.example("cat"), model="cifar10", top_k=3)
    assert isinstance(result, Result)
    assert result.top[0].label == "cat"
    assert len(result.top) == 3
    assert result.probabilities.shape == (10,)
    assert abs(float(result.probabilities.sum()) - 1) < 1e-5
    stages = list(result.timings)
    assert stages[0] == "decode"
    assert stages[-2:] == ["inference", "postprocessing"]
    assert result.timings.total_s >= sum(result.timings.values()) * 0.99
    frame = result.to_frame()
    assert list(frame.columns) == ["rank", "label", "index", "probability"]
    assert result.to_dict()["timings_ms"]["total"] > 0


def test_every_kind_of_source_gives_the_same_answer(runner: Runner, tmp_path: Path) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx"))
    image = picture((10, 200, 30))
    data = png(image)
    path = tmp_path / "green.png"
    path.write_bytes(data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    sources = [path, str(path), data, bytearray(data), Image.fromarray(image), image,
               io.BytesIO(data), uri]  # fmt: skip
    answers = [runner.classify(s, model=model) for s in sources]
    assert {a.label for a in answers} == {"green"}
    assert len({a.probabilities.tobytes() for a in answers}) == 1
    assert [a.source for a in answers[:3]] == ["green.png", "green.png", "bytes"]


def test_softmax_is_applied_only_where_it_is_needed(runner: Runner, tmp_path: Path) -> None:
    path = graphs.means(tmp_path / "m.onnx")
    image = picture((255, 0, 0))
    told = plain(runner, path, activation="none")
    raw = runner.classify(image, model=told)
    assert raw.probability == 1.0
    assert raw.activation == "none (as the metadata says)"
    found = runner.hub.preload("auto", path=path, metadata=graphs.PLAIN | {"activation": "auto"})
    assert runner.classify(picture((128, 128, 128)), model=found).activation.startswith("softmax")
    assert runner.classify(image, model=found).activation.startswith("none (auto: the values are")


def test_many_pictures_keep_their_order_and_a_bad_one_fails_alone(
    runner: Runner, tmp_path: Path
) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx"))
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sources: list[object] = [png(picture(colours[i % 3])) for i in range(25)]
    sources[7] = b"no picture"
    sources[13] = tmp_path / "nowhere.png"
    results = runner.classify(sources, model=model)
    assert isinstance(results, Results)
    assert len(results) == 25
    expected = [["red", "green", "blue"][i % 3] for i in range(25) if i not in (7, 13)]
    assert [r.label for r in results.answered] == expected
    assert [f.code for f in results.failures] == ["not_an_image", "not_found"]
    assert isinstance(results[7], Failure)
    frame = results.to_frame()
    assert len(frame) == 25
    assert frame.loc[13, "error"] == "not_found"
    assert runner.metrics.count == 23
    assert dict(runner.metrics.errors) == {"not_an_image": 1, "not_found": 1}


def test_a_batch_uses_the_dynamic_axis_and_a_fixed_one_is_looped(tmp_path: Path) -> None:
    runner = Runner(ModelHub(model_dir=tmp_path / "s"), max_batch_size=4)
    sources = [picture((i, 255, 0)) for i in range(10)]
    free = plain(runner, graphs.means(tmp_path / "free.onnx"))
    one = plain(runner, graphs.means(tmp_path / "one.onnx", batch=1))
    three = plain(runner, graphs.means(tmp_path / "three.onnx", batch=3), input_shape=[3, 3, 8, 8])
    answers = {m.id: runner.classify(sources, model=m) for m in (free, one, three)}
    assert [r.batch for r in answers["free"]] == [4] * 8 + [2] * 2
    assert {r.batch for r in answers["one"]} == {1}
    assert [r.batch for r in answers["three"]] == [3] * 9 + [1]
    tops = {m: [r.top for r in rs] for m, rs in answers.items()}
    assert tops["free"] == tops["one"] == tops["three"]


def test_a_single_picture_fills_a_fixed_batch_up(runner: Runner, tmp_path: Path) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx", batch=4), input_shape=[4, 3, 8, 8])
    assert runner.classify(picture((0, 0, 255)), model=model).label == "blue"


def test_nan_is_an_error_and_spoils_no_neighbour(runner: Runner, tmp_path: Path) -> None:
    model = plain(runner, graphs.brittle(tmp_path / "m.onnx"))
    good, bad = picture((200, 10, 10)), picture((0, 10, 200))
    with pytest.raises(errors.OutputNotFiniteError, match=r"[13] of 3") as caught:
        runner.classify(bad, model=model)
    assert caught.value.code == "output_not_finite"
    results = runner.classify([good, bad, good], model=model)
    assert [type(r).__name__ for r in results] == ["Result", "Failure", "Result"]
    assert runner.metrics.errors["output_not_finite"] == 2


def test_a_time_limit_is_an_error_and_the_next_run_works(runner: Runner, tmp_path: Path) -> None:
    slow = plain(runner, graphs.endless(tmp_path / "slow.onnx"))
    with pytest.raises(errors.InferenceTimeoutError):
        runner.classify(picture((1, 2, 3)), model=slow, timeout_s=0.1)
    results = runner.classify([picture((1, 2, 3))] * 2, model=slow, timeout_s=0.1)
    assert [f.code for f in results.failures] == ["inference_timeout"] * 2
    assert runner.classify(wb.example("cat"), model="cifar10-small").top


def test_a_stop_keeps_what_is_finished(runner: Runner, tmp_path: Path) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx"))
    stop = Stop()

    def endless() -> Iterator[np.ndarray]:
        for n in range(10_000):
            if n == 60:
                stop.cancel()
            yield picture((255, 0, 0))

    results = runner.classify(endless(), model=model, stop=stop)
    assert results.stopped
    assert 0 < len(results) < 100
    assert "Stopped on request" in str(results)


def test_threads_get_what_serial_runs_get_bit_for_bit(runner: Runner) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + i, 60, 3), np.uint8) for i in range(24)]
    serial = [runner.classify(i, model="cifar10-small").probabilities.tobytes() for i in images]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(
            pool.map(
                lambda i: runner.classify(i, model="cifar10-small").probabilities.tobytes(),
                images,
            )
        )
    assert threaded == serial
    first = [r.top for r in runner.classify(images, model="cifar10-small")]
    again = Runner(runner.hub, workers=1).classify(images, model="cifar10-small")
    assert first == [r.top for r in again], "the number of decoding threads must not matter"


def test_a_folder_is_streamed_in_the_order_of_names(runner: Runner, tmp_path: Path) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx"))
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for name, colour in (("b.png", (0, 255, 0)), ("a.png", (255, 0, 0)), ("deep/c.PNG", (0, 0, 9))):
        (folder / name).write_bytes(png(picture(colour)))
    (folder / "notes.txt").write_text("not a picture")
    results = runner.classify(folder, model=model)
    assert [(r.source, r.label) for r in results] == [
        ("a.png", "red"), ("b.png", "green"), ("c.PNG", "blue")
    ]  # fmt: skip
    assert runner.classify(str(folder), model=model)[0].picture() is not None
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(errors.MissingFileError, match="has no picture in it"):
        runner.classify(empty, model=model)


def test_a_stream_holds_only_a_few_pictures_at_once(runner: Runner, tmp_path: Path) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx"))
    asked = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield picture((255, 0, 0))

    before = set(threading.enumerate())
    stream = runner.stream(counted(), model=model)
    next(stream)
    assert asked <= runner.max_batch_size + 2 * runner.workers
    stream.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive() or thread.name == "workbench-watchdog"


def test_a_ready_tensor_gives_a_result_and_several_give_results(runner: Runner) -> None:
    model = runner.hub.load("cifar10-small")
    batch = model.preprocessing(wb.example("cat"))
    by_tensor = runner.classify_tensor(batch, model=model)
    by_picture = runner.classify(wb.example("cat"), model=model)
    assert by_tensor.top == by_picture.top
    assert "decode" not in by_tensor.timings
    three = runner.run(np.concatenate([batch] * 3), "cifar10-small")
    assert isinstance(three, Results)
    assert len(three) == 3
    with pytest.raises(errors.InputMismatchError, match=r"float32 \(1, 3, 31, 32\)"):
        runner.classify_tensor(batch[:, :, 1:], model=model)


def test_run_gives_raw_outputs_for_a_dict(runner: Runner, tmp_path: Path) -> None:
    path = graphs.two_inputs(tmp_path / "two.onnx")
    a = np.arange(4, dtype=np.float32)[None]
    out = runner.run({"a": a, "b": a}, path)
    assert isinstance(out, Outputs)
    assert out["sum"].tolist() == [[0, 2, 4, 6]]
    assert list(out.to_frame()["output"]) == ["sum"]
    assert "sum" in str(out)
    with pytest.raises(errors.UnsupportedInputsError, match="a: float32"):
        runner.classify(wb.example("cat"), model=path)


@pytest.mark.parametrize("isolated", [False, True])
def test_of_raw_outputs_some_are_asked_for_within_a_limit(tmp_path, isolated):
    path = graphs.large(tmp_path / "large.onnx")
    with wb.Runner(ModelHub(graph_cache=False), isolated=isolated) as runner:
        feeds = {"x": np.array([1000])}
        assert runner.outputs(feeds, path, most_bytes=4008).arrays.keys() == {"zeros", "number"}
        with pytest.raises(errors.OutputUnsupportedError, match=r"4,008 bytes .*'zeros'"):
            runner.outputs(feeds, path, most_bytes=4007)
        few = runner.outputs(feeds, path, names=["number"], most_bytes=8)
        assert few.arrays == {"number": 1000}
        for names in ([], ["number", "nothing"]):
            with pytest.raises(errors.ConfigError, match="some of 'zeros' and 'number'"):
                runner.outputs(feeds, path, names=names)


def test_a_cold_model_shows_its_load_as_a_stage(runner: Runner) -> None:
    cold = runner.classify(wb.example("cat"), model="cifar10")
    warm = runner.classify(wb.example("cat"), model="cifar10")
    assert "load" in cold.timings
    assert "load" not in warm.timings


def test_the_note_about_other_things_comes_with_its_figures(runner: Runner, tmp_path: Path) -> None:
    rule = {"score": "max_softmax", "threshold": 0.5, "note": "probably none of my classes"}
    model = plain(runner, graphs.means(tmp_path / "m.onnx"), outside=rule)
    grey = runner.classify(picture((90, 90, 90)), model=model)
    assert grey.flagged
    assert "Probably none of my classes: the max softmax score is 0.333" in str(grey)
    assert str(grey).startswith("array (8, 8, 3): none of its classes? (nearest: red)")
    assert "red?" in str(runner.classify([picture((90, 90, 90))], model=model))
    assert "below 0.5" in grey.to_dict()["note"]
    red = runner.classify(picture((255, 0, 0)), model=model)
    assert not red.flagged
    assert red.to_dict()["note"] == ""
    logit = plain(runner, graphs.means(tmp_path / "n.onnx"), outside=rule | {"score": "max_logit"})
    assert abs(runner.classify(picture((255, 0, 0)), model=logit).outside.score - 1) < 1e-6


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda r: r.classify(wb.example("cat"), model="cifar10", top_k=0), errors.ConfigError),
        (lambda r: r.classify(b"", model="cifar10"), errors.NotAnImageError),
        (lambda r: r.classify(None, model="cifar10"), errors.NotAnImageError),
        (lambda r: r.classify(7, model="cifar10"), errors.NotAnImageError),
        (lambda r: r.classify("https://127.0.0.1/b.jpg", model="cifar10"), errors.UrlRefusedError),
        (lambda r: r.classify(wb.example("cat"), model="no-such"), errors.UnknownModelError),
        (lambda r: Runner(r.hub, top_k=0), errors.ConfigError),
        (lambda r: Runner(r.hub, workers=1.5), errors.ConfigError),
    ],
)
def test_what_cannot_be_is_refused(runner: Runner, call: object, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        call(runner)


def test_labels_that_do_not_match_what_comes_out_are_refused(
    runner: Runner, tmp_path: Path
) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx"))
    object.__setattr__(model, "spec", model.spec.model_copy(update={"labels": ("a", "b")}))
    with pytest.raises(errors.OutputUnsupportedError, match="3 scores; expected one for each"):
        runner.classify(picture((1, 1, 1)), model=model)


def test_ready_tensors_are_looped_where_the_batch_is_fixed(runner: Runner, tmp_path: Path) -> None:
    model = plain(runner, graphs.means(tmp_path / "m.onnx", batch=3), input_shape=[3, 3, 8, 8])
    batch = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0, 2, 2], :, None, None]
    batch = np.broadcast_to(batch, (7, 3, 8, 8)).copy()
    results = runner.classify_tensor(batch, model=model)
    assert [r.label for r in results] == ["red", "green", "blue", "green", "red", "blue", "blue"]
    only = runner.classify_tensor(batch[:1], model=model)
    assert only.label == "red"
    assert only.probabilities.shape == (3,), "one alone keeps all of them, as with a free batch"
    with pytest.raises(errors.InputMismatchError):
        runner.classify_tensor(None, model=model)
    before = runner.metrics.errors["output_not_finite"]
    with pytest.raises(errors.OutputNotFiniteError):
        runner.classify_tensor(np.full((1, 3, 8, 8), np.nan, np.float32), model=model)
    assert runner.metrics.errors["output_not_finite"] == before + 1, "counted once"


def test_an_answer_does_not_depend_on_a_broken_neighbour(tmp_path: Path) -> None:
    hub = ModelHub()
    outside = {"score": "max_softmax", "threshold": 0.99}
    hub.preload(
        "brittle", path=graphs.brittle(tmp_path / "b.onnx"),
        metadata={**graphs.PLAIN, "outside": outside},
    )  # fmt: skip
    good, bad = np.full((8, 8, 3), 200, np.uint8), np.full((8, 8, 3), 200, np.uint8)
    bad[..., 0] = 0
    runner = Runner(hub)
    alone = runner.classify(good, model="brittle")
    beside, failed = runner.classify([good, bad], model="brittle")
    assert failed.code == "output_not_finite"
    assert alone.flagged
    assert beside.flagged
    assert beside.outside == alone.outside


def test_the_activation_is_found_out_for_each_input_alone(tmp_path: Path) -> None:
    hub = ModelHub()
    metadata = {**graphs.PLAIN, "activation": "auto"}
    hub.preload("m", path=graphs.means(tmp_path / "m.onnx"), metadata=metadata)
    shares, scores = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    shares[...] = (51, 102, 102)  # 0.2 + 0.4 + 0.4: these are probabilities already
    runner = Runner(hub)
    alone = [runner.classify(x, model="m") for x in (shares, scores)]
    together = runner.classify([shares, scores], model="m")
    assert [r.activation.split()[0] for r in together] == ["none", "softmax"]
    assert [r.top for r in together] == [r.top for r in alone]


def test_a_limit_of_the_stop_keeps_what_was_finished(tmp_path: Path) -> None:
    hub = ModelHub()
    hub.preload("m", path=graphs.means(tmp_path / "m.onnx"), metadata=graphs.PLAIN)
    picture = np.zeros((8, 8, 3), np.uint8)
    stop = Stop(3600)

    def until_the_limit() -> Iterator[np.ndarray]:
        for n in count():
            if n == 60:
                stop.deadline_s = clock()
            yield picture

    runner = Runner(hub, max_batch_size=2, workers=2)
    results = runner.classify(until_the_limit(), model="m", stop=stop)
    assert results.stopped
    assert len(results) < 60
    assert results.answered
    assert not results.failures


@pytest.mark.parametrize("odd", ["iVBORw0KGgo" * 60, "~no_such_user/x.jpg", "a\0b", "", "y" * 300])
def test_a_text_that_can_be_no_path_is_refused_in_our_words(tmp_path: Path, odd: str) -> None:
    hub = ModelHub()
    hub.preload("m", path=graphs.means(tmp_path / "m.onnx"), metadata=graphs.PLAIN)
    with pytest.raises(errors.WorkbenchError):
        Runner(hub).classify(odd, model="m")
    (failure,) = Runner(hub).classify([odd], model="m")
    assert len(failure.source) < 256


def test_ready_tensors_are_counted_and_may_be_none(tmp_path: Path) -> None:
    hub = ModelHub()
    hub.preload("m", path=graphs.brittle(tmp_path / "b.onnx"), metadata=graphs.PLAIN)
    runner = Runner(hub)
    with pytest.raises(errors.OutputNotFiniteError):
        runner.classify_tensor(np.zeros((1, 3, 8, 8), np.float32), model="m")
    assert runner.metrics.errors["output_not_finite"] == 1
    assert len(runner.classify_tensor(np.zeros((0, 3, 8, 8), np.float32), model="m")) == 0
    for odd in (None, np.float32(3.0)):
        with pytest.raises(errors.InputMismatchError):
            runner.classify_tensor(odd, model="m")


def test_run_takes_an_array_of_pictures_for_pictures(tmp_path: Path) -> None:
    hub = ModelHub()
    hub.preload("m", path=graphs.means(tmp_path / "m.onnx"), metadata=graphs.PLAIN)
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    pictures[..., 1] = 255
    assert [r.label for r in Runner(hub).run(pictures, model="m")] == ["green", "green"]


def test_the_times_that_are_shown_add_up_to_the_whole(tmp_path: Path) -> None:
    hub = ModelHub()
    hub.preload("m", path=graphs.means(tmp_path / "m.onnx"), metadata=graphs.PLAIN)
    result = Runner(hub).classify(np.zeros((8, 8, 3), np.uint8), model="m")
    (stack,) = [b for b in result._card().blocks if isinstance(b, Stack)]
    assert sum(value for _, value in stack.parts) == pytest.approx(result.timings.total_s)


def test_postprocessing_is_each_ones_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.inference import executor as module

    ticks = iter(range(10_000))
    monkeypatch.setattr(module, "clock", lambda: float(next(ticks)))
    hub = ModelHub()
    hub.preload("m", path=graphs.means(tmp_path / "m.onnx"), metadata=graphs.PLAIN)
    batch = np.zeros((4, 3, 8, 8), np.float32)
    results = Runner(hub).classify_tensor(batch, model="m")
    own = [r.timings["postprocessing"] for r in results]
    assert len(set(own)) == 1, "not the time of all that came before it"
