"""Conformance: what a variant answers, whether it may stand in, and that a broken one is found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import isclose, isnan, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from clocks import PatientClock

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.bench import comparison, variants
from workbench.bench.agreement import Agreement, OutputMatch, Tally, cosine
from workbench.bench.conformance import Conformance, Variant
from workbench.bench.limits import FitLimits
from workbench.cards import Table
from workbench.models.hub import ModelHub
from workbench.stopping import Stop

pytestmark = pytest.mark.filterwarnings("ignore::workbench.errors.InferredMetadataWarning")

LIMITS = FitLimits()
QUIET: dict[str, Any] = {"latency_s": 0, "memory": False, "progress": False}


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path / "shelf" / "models")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Return sixty small pictures: parts of the photos that come with the package."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(60):
        names = ("cat", "china", "coffee", "flower", "grace_hopper", "rocket")
        photo = wb.read_image(wb.example(names[number % 6]))
        side = int(min(photo.shape[:2]) * rng.uniform(0.4, 1.0))
        y, x = (int(rng.integers(0, n - side + 1)) for n in photo.shape[:2])
        found.append(np.ascontiguousarray(photo[y : y + side, x : x + side]))
    return found


def spoil(hub: ModelHub, tmp_path: Path, how: str) -> str:
    """Break cifar10-small for good, put it into the hub, and return its name."""
    origin = hub.handle("cifar10-small")
    model = onnx.load(origin.path)
    rng = np.random.default_rng(1)
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.ndim != 4:
            continue
        spoilt = {
            "shuffled": lambda a=array: rng.permutation(a.ravel()).reshape(a.shape),
            "nan": lambda a=array: a * np.array(np.nan, a.dtype),
        }[how]()
        weight.CopyFrom(onnx.numpy_helper.from_array(spoilt.astype(array.dtype), weight.name))
    path = tmp_path / f"{how}.onnx"
    onnx.save(model, path)
    told = {"model_type": "classification", "input_shape": [1, 3, 32, 32],
            "preprocessing": "cifar10", "labels": list(origin.labels or ())}  # fmt: skip
    hub.preload(how, path=path, metadata=told)
    return how


def an_agreement(agreed: int | None, n: int, **facts: Any) -> Agreement:
    outputs = (OutputMatch(name="logits", cosine=facts.pop("cosine", 0.999), least_cosine=0.9,
                           max_difference=0.5, scale=10.0,
                           not_finite=facts.pop("not_finite", 0)),)  # fmt: skip
    return Agreement(n=n, agreed=agreed, outputs=outputs, **facts)


def a_verdict(outcome: str, difference: float) -> Any:
    ratio = 1 / (1 + difference) if outcome == "faster" else 1 + difference
    return SimpleNamespace(
        outcome=outcome, difference=difference, decided=outcome != "cannot_tell", ratio=ratio,
        interval=(0.95 * ratio, 1.05 * ratio),
        b=SimpleNamespace(samples=SimpleNamespace(median_s=0.002)),
    )  # fmt: skip


# ── on real models ────────────────────────────────────────────────────────────────────────────


def test_the_embedded_8_bit_model_is_fit_and_a_shuffled_one_is_broken(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    spoil(hub, tmp_path, "shuffled")
    found = wb.conformance("cifar10", ["cifar10-int8", "shuffled"], pictures, hub=hub, **QUIET)
    assert found.n == 60
    assert found.outcomes()["shuffled"] == "broken"
    assert found["shuffled"].agreement.share < 0.5
    assert found["cifar10-int8"].agreement.share > 0.9
    assert found["cifar10-int8"].agreement.cosine > 0.999
    assert "shuffled: broken: agrees on" in str(found)
    frame = found.to_frame().set_index("candidate")
    assert frame.loc["cifar10-int8", "size_bytes"] == hub.handle("cifar10-int8").graph.size_bytes
    assert found.outputs()["output"].tolist() == ["logits", "logits"]
    assert (found.outputs()["max_difference"] > 0).all()


def test_a_model_is_fit_to_stand_in_for_itself(hub: ModelHub, pictures: list[np.ndarray]):
    found = wb.conformance("cifar10-small", "cifar10-small", pictures, hub=hub, **QUIET)
    (variant,) = found.variants
    assert (variant.agreement.agreed, variant.agreement.n) == (60, 60)
    (output,) = variant.agreement.outputs
    assert (output.max_difference, output.cosine) == (0.0, pytest.approx(1.0))
    assert found.outcomes() == {"cifar10-small (2)": "fit"}
    (table,) = [block for block in found._card().blocks if isinstance(block, Table)]
    assert not {"accuracy", "memory"} & set(table.columns), "columns of dashes only"
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_weights_that_are_nan_are_broken_however_the_limits_are(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    spoil(hub, tmp_path, "nan")
    loose = FitLimits(fit=0, sure=0, broken=0, accuracy=0, fit_cosine=0, broken_cosine=0)
    found = wb.conformance("cifar10-small", "nan", pictures[:8], hub=hub, limits=loose, **QUIET)
    assert found.outcomes() == {"nan": "broken"}
    assert "not finite on 8 pictures" in str(found)
    assert found["nan"].agreement.agreed == 0, "NaN is no answer, whatever argmax says"


def test_a_wrong_scale_in_a_quantised_file_is_found(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    model = onnx.load(hub.handle("cifar10-int8").path)
    first = next(n for n in model.graph.node if n.op_type == "Conv")
    scale = next(n for n in model.graph.node if first.input[0] in n.output).input[1]
    for weight in model.graph.initializer:
        if weight.name == scale:
            array = onnx.numpy_helper.to_array(weight) * np.float32(0)
            weight.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), weight.name))
    path = tmp_path / "scaleless.onnx"
    onnx.save(model, path)
    told = {"model_type": "classification", "input_shape": [1, 3, 32, 32],
            "preprocessing": "cifar10"}  # fmt: skip
    hub.preload("scaleless", path=path, metadata=told)
    found = wb.conformance("cifar10", "scaleless", pictures, hub=hub, **QUIET)
    assert found.outcomes()["scaleless"] in ("broken", "not_fit")
    assert found["scaleless"].agreement.share < 0.8


def test_speed_size_and_memory_are_measured(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(comparison, "run", partial(comparison.run, clock=PatientClock()))
    found = wb.conformance("cifar10", "cifar10-small", pictures[:12], hub=hub, latency_s=1.5,
                           progress=False)  # fmt: skip
    variant = found["cifar10-small"]
    assert variant.latency is not None
    assert variant.latency.a.name == "cifar10"
    assert variant.ratio > 0
    if Path("/proc/self/status").exists():
        assert variant.memory_bytes > 0
        assert found.memory_bytes > 0
    frame = found.to_frame()
    assert frame["latency"][0] == variant.latency.outcome
    assert found.plot().axes
    assert variant.unmeasured == ()


def test_accuracy_is_told_where_labels_are_known(hub: ModelHub, tmp_path: Path):
    """The model says the brightest channel: its answers can be worked out by hand."""
    colours = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}
    pictures = [np.full((8, 8, 3), colours[c], np.uint8) for c in ("red", "green", "blue", "red")]
    for name in ("one", "two"):
        hub.preload(name, path=graphs.means(tmp_path / f"{name}.onnx"), metadata=graphs.PLAIN)
    found = wb.conformance("one", "two", pictures, ["red", "green", "red", 0], hub=hub, **QUIET)
    assert found.reference_accuracy == 0.75
    told = found["two"].agreement
    assert (told.labelled, told.right, told.reference_right, told.lost, told.gained) == (
        4, 3, 3, 0, 0,
    )  # fmt: skip
    assert "75.0 % right (reference 75.0 %)" in found.sentences()[0]
    (table,) = [block for block in found._card().blocks if isinstance(block, Table)]
    assert "accuracy" in table.columns
    folder = tmp_path / "classes"
    from PIL import Image

    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(folder / name / "a.png")
    again = wb.conformance("one", "two", folder, "folders", hub=hub, **QUIET)
    assert again.reference_accuracy == 1.0


def test_classes_in_another_order_agree_by_their_names(hub: ModelHub, tmp_path: Path):
    pictures = [np.full((8, 8, 3), c, np.uint8) for c in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    hub.preload("one", path=graphs.means(tmp_path / "one.onnx"), metadata=graphs.PLAIN)
    swapped = {**graphs.PLAIN, "labels": ["blue", "red", "green"]}
    hub.preload("two", path=graphs.means(tmp_path / "two.onnx"), metadata=swapped)
    found = wb.conformance("one", "two", pictures, hub=hub, **QUIET)
    assert found["two"].agreement.agreed == 0
    assert found["two"].agreement.cosine == pytest.approx(1.0)


def test_models_without_classes_are_held_against_each_other_by_their_outputs(
    hub: ModelHub, tmp_path: Path
):
    one, two = (graphs.two_inputs(tmp_path / f"{n}.onnx") for n in ("one", "two"))
    feeds = [{"a": np.full((1, 4), v, np.float32), "b": np.ones((1, 4), np.float32)}
             for v in (1, 2, 3)]  # fmt: skip
    found = wb.conformance(one, two, feeds, hub=hub, **QUIET)
    assert found["two"].agreement.agreed is None
    assert found.outcomes() == {"two": "fit"}
    assert "cosine 1.0000" in found.sentences()[0]


def test_a_graph_with_a_fixed_batch_answers_one_picture(hub: ModelHub, tmp_path: Path):
    hub.preload("one", path=graphs.means(tmp_path / "one.onnx"), metadata=graphs.PLAIN)
    told = {**graphs.PLAIN, "input_shape": [4, 3, 8, 8]}
    hub.preload("four", path=graphs.means(tmp_path / "four.onnx", batch=4), metadata=told)
    pictures = [np.full((8, 8, 3), c, np.uint8) for c in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    found = wb.conformance("one", "four", pictures, hub=hub, **QUIET)
    assert found["four"].agreement.agreed == 3


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────


def test_a_candidate_that_fails_in_the_middle_says_so_and_the_rest_goes_on(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    from workbench.models.model import Model

    real, taken = Model.run, []

    def failing(self: Model, feeds: Any, **how: Any) -> Any:
        if self.id == "cifar10-int8":
            taken.append(1)
            if len(taken) == 5:
                raise errors.InferenceError(self.id, "it broke")
        return real(self, feeds, **how)

    monkeypatch.setattr(Model, "run", failing)
    found = wb.conformance("cifar10", ["cifar10-int8", "cifar10-small"], pictures[:20], hub=hub,
                           **QUIET)  # fmt: skip
    assert found.outcomes()["cifar10-int8"] == "failed"
    assert found["cifar10-int8"].agreement.n == 4, "what was counted before is kept"
    assert len(taken) == 5
    assert found["cifar10-small"].agreement.n == 20
    assert found.to_frame()["error"].tolist() == ["inference_failed", ""]
    assert "failed: Model 'cifar10-int8' failed while running: it broke" in str(found)


def test_a_damaged_file_and_another_shape_of_output_are_rows(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(hub.handle("cifar10-small").path.read_bytes()[:5000])
    other = graphs.means(tmp_path / "other.onnx", size=32)
    found = wb.conformance("cifar10-small", [torn, other], pictures[:3], hub=hub, **QUIET)
    assert found.outcomes() == {"torn": "failed", "other": "failed"}
    assert found.to_frame()["error"].tolist() == ["model_invalid", "output_unsupported"]
    assert "(1, 3)" in str(found["other"].error)
    assert "(1, 10) as output 'logits' of 'cifar10-small'" in str(found["other"].error)


def test_a_picture_that_cannot_be_read_is_left_out_and_said(
    hub: ModelHub, pictures: list[np.ndarray]
):
    found = wb.conformance("cifar10-small", "cifar10-small", [*pictures[:3], b"junk"], hub=hub,
                           **QUIET)  # fmt: skip
    assert found.n == 3
    assert found.skipped == {"not_an_image": 1}
    assert "left out: not_an_image 1" in str(found)


def test_no_picture_that_can_be_read_is_no_verdict(hub: ModelHub):
    found = wb.conformance("cifar10-small", "cifar10-small", [b"junk"], hub=hub, **QUIET)
    assert found.outcomes() == {"cifar10-small (2)": "cannot_tell"}
    assert "no picture was answered" in found.sentences()[0]


def test_what_cannot_be_is_refused_before_anything_runs(
    hub: ModelHub, pictures: list[np.ndarray], tmp_path: Path
):
    def refused(*given: Any, **more: Any) -> type[Exception]:
        with pytest.raises(errors.WorkbenchError) as caught:
            wb.conformance(*given, hub=hub, **{**QUIET, **more})
        return type(caught.value)

    some = pictures[:2]
    assert refused("cifar11", "cifar10", some) is errors.UnknownModelError
    assert refused("cifar10", "cifar11", some) is errors.UnknownModelError
    assert refused("cifar10", tmp_path / "no.onnx", some) is errors.MissingFileError
    assert refused("cifar10", [], some) is errors.ConfigError
    assert refused("cifar10", "cifar10", []) is errors.ConfigError
    assert refused("cifar10", "cifar10", None) is errors.ConfigError
    assert refused("cifar10", "cifar10", some, ["cat"]) is errors.LabelsError
    assert refused("cifar10", "cifar10", some, ["cat", "unicorn"]) is errors.LabelsError
    assert refused("cifar10", "cifar10", some, latency_s=-1) is errors.ConfigError
    assert refused("cifar10", "cifar10", some, latency_s=nan) is errors.ConfigError
    assert refused("cifar10", "cifar10", some, limits=0.9) is errors.ConfigError
    adder = graphs.two_inputs(tmp_path / "adder.onnx")
    assert refused(adder, adder, some) is errors.UnsupportedInputsError


@pytest.mark.parametrize(
    "wrong",
    [{"fit": 1.5}, {"sure": -0.1}, {"broken": nan}, {"accuracy": "99 %"},
     {"broken": 0.99}, {"broken_cosine": 0.999}],
    ids=str,
)  # fmt: skip
def test_limits_that_cannot_be_are_refused(wrong: dict[str, Any]):
    with pytest.raises(errors.ConfigError, match=next(iter(wrong))):
        FitLimits(**wrong)


def test_a_stop_keeps_what_was_counted(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    stop, real, asked = Stop(), variants.answer_of, []

    def counted(model: Any, source: Any, stop_: Any) -> Any:
        asked.append(model.id)
        if len(asked) == 15:  # ten of the reference, then the fifth of the candidate
            stop.cancel()
        return real(model, source, stop_)

    monkeypatch.setattr(variants, "answer_of", counted)
    found = wb.conformance("cifar10-small", "cifar10-int8", pictures[:10], hub=hub, stop=stop,
                           progress=False)  # fmt: skip
    assert found.stopped
    assert found["cifar10-int8"].agreement.n == 4
    assert found["cifar10-int8"].latency is None
    assert "Stopped on request" in str(found)


def test_the_keyboard_interrupt_keeps_what_was_counted(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    real, asked = variants.answer_of, []

    def interrupted(model: Any, source: Any, stop: Any) -> Any:
        asked.append(1)
        if len(asked) == 8:
            raise KeyboardInterrupt
        return real(model, source, stop)

    monkeypatch.setattr(variants, "answer_of", interrupted)
    found = wb.conformance("cifar10-small", "cifar10-small", pictures[:5], hub=hub, **QUIET)
    assert found.stopped
    assert found.variants[0].agreement.n == 2


def test_the_same_model_twice_is_told_apart(hub: ModelHub, pictures: list[np.ndarray]):
    quiet = hub.load("cifar10-small", threads=1)
    found = wb.conformance("cifar10", ["cifar10-small", quiet], pictures[:2], hub=hub, **QUIET)
    assert list(found.outcomes()) == ["cifar10-small", "cifar10-small (2)"]
    assert found["cifar10-small (2)"].agreement.n == 2


def test_an_interrupt_of_the_comparison_ends_the_rest_as_well(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def interrupted(reference: Any, candidate: Any, **_: Any) -> Any:
        asked.append(candidate.id)
        verdict = a_verdict("cannot_tell", 0.01)
        verdict.stopped = True
        return verdict

    monkeypatch.setattr(variants, "compare", interrupted)
    found = wb.conformance("cifar10", ["cifar10-int8", "cifar10-small"], pictures[:4], hub=hub,
                           memory=False, progress=False)  # fmt: skip
    assert asked == ["cifar10-int8"]
    assert found.stopped
    assert [v.agreement.n for v in found.variants] == [4, 4]
    assert found["cifar10-small"].latency is None


def test_what_cannot_be_measured_is_said_and_the_rest_is_kept(
    hub: ModelHub, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any, **__: Any) -> None:
        raise errors.WriteError("/tmp", "no space left on device")

    monkeypatch.setattr(variants, "peak_bytes", refuse)
    monkeypatch.setattr(variants, "compare", refuse)
    found = wb.conformance("cifar10-small", "cifar10-int8", pictures[:5], hub=hub, latency_s=1,
                           progress=False)  # fmt: skip
    variant = found["cifar10-int8"]
    assert variant.agreement.n == 5
    assert (variant.memory_bytes, variant.latency) == (None, None)
    text = " ".join(str(found).split())
    assert "cifar10-int8: its memory was not measured: '/tmp' cannot be written" in text
    assert "cifar10-int8: its speed was not measured" in text
    monkeypatch.setattr(variants, "peak_bytes", lambda *_: None)
    again = wb.conformance("cifar10-small", "cifar10-int8", pictures[:2], hub=hub, latency_s=0,
                           progress=False)  # fmt: skip
    assert again["cifar10-int8"].memory_bytes is None
    assert "its memory was not measured: the system does not tell" in str(again)


# ── the verdict ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("agreement", "outcome"),
    [
        (an_agreement(994, 1000), "fit"),
        (an_agreement(980, 1000), "fit"),
        (an_agreement(979, 1000), "cannot_tell"),  # 96.8 % to 98.6 %
        (an_agreement(960, 1000), "not_fit"),
        (an_agreement(39, 40), "cannot_tell"),
        (an_agreement(904, 1000), "not_fit"),
        (an_agreement(110, 1000), "broken"),
        (an_agreement(499, 1000), "broken"),
        (an_agreement(501, 1000), "not_fit"),
        (an_agreement(6, 6), "cannot_tell"),
        (an_agreement(34, 34), "cannot_tell"),
        (an_agreement(35, 35), "fit"),
        (an_agreement(1, 1), "cannot_tell"),
        (an_agreement(0, 1), "broken"),
        (an_agreement(0, 6), "broken"),
        (an_agreement(0, 0), "cannot_tell"),
        (an_agreement(1000, 1000, not_finite=1), "broken"),
        (an_agreement(None, 100, cosine=0.995), "fit"),
        (an_agreement(None, 100, cosine=0.9), "not_fit"),
        (an_agreement(None, 100, cosine=0.3), "broken"),
        (an_agreement(None, 100, cosine=nan, not_finite=2), "broken"),
        # accuracy: 900 of 1000 against 930 is less than 99 % of it, and no chance
        (an_agreement(985, 1000, labelled=1000, right=900, reference_right=930, lost=35, gained=5),
         "not_fit"),
        (an_agreement(985, 1000, labelled=1000, right=925, reference_right=930, lost=10, gained=5),
         "fit"),
        # 2 of 100 is 2 % less, and may well be chance
        (an_agreement(98, 100, labelled=100, right=93, reference_right=95, lost=2, gained=0),
         "fit"),
    ],
)  # fmt: skip
def test_outcomes(agreement: Agreement, outcome: str):
    assert Variant(name="v", agreement=agreement).outcome(LIMITS) == outcome


def test_sentences_are_plain():
    fit = Variant(name="cifar10-int8", agreement=an_agreement(994, 1000),
                  latency=a_verdict("faster", 1.1))  # fmt: skip
    assert fit.sentence(LIMITS) == "cifar10-int8: 2.10 × faster, agrees on 99.4 %, fit"
    slow = replace(fit, latency=a_verdict("slower", 0.25))
    assert slow.sentence(LIMITS) == "cifar10-int8: takes 1.25 × as long, agrees on 99.4 %, fit"
    a_bit = replace(fit, latency=a_verdict("faster", 0.07))
    assert a_bit.sentence(LIMITS) == "cifar10-int8: 7.0 % faster, agrees on 99.4 %, fit"
    same = replace(fit, latency=a_verdict("cannot_tell", 0.01))
    assert same.sentence(LIMITS) == (
        "cifar10-int8: no difference in speed that could be told, agrees on 99.4 %, fit"
    )
    broken = replace(fit, agreement=an_agreement(11, 100))
    assert broken.sentence(LIMITS) == "cifar10-int8: broken: agrees on 11.0 %"
    few = replace(fit, agreement=an_agreement(6, 6), latency=None)
    assert few.sentence(LIMITS) == (
        "cifar10-int8: agrees on 100.0 %, cannot tell: 6 pictures are too few"
    )


def test_limits_can_be_moved():
    variant = Variant(name="v", agreement=an_agreement(904, 1000))
    assert variant.outcome(LIMITS) == "not_fit"
    assert variant.outcome(FitLimits(fit=0.9, sure=0.85)) == "fit"
    assert variant.outcome(FitLimits(broken=0.95)) == "broken"


def held(*found: Variant) -> Conformance:
    return Conformance(reference="r", variants=found, size_bytes=4000, memory_bytes=None,
                       reference_accuracy=nan, n=1000, skipped={}, limits=LIMITS)  # fmt: skip


def test_the_front_holds_whom_nobody_surely_beats():
    def at(name: str, difference: float, agreed: int, **facts: Any) -> Variant:
        return Variant(name=name, agreement=an_agreement(agreed, 1000), size_bytes=1000,
                       latency=a_verdict("faster", difference), **facts)  # fmt: skip

    found = held(
        at("quick", 3.0, 985),
        at("close", 1.0, 995),
        at("as close", 1.02, 995),
        at("beaten", 0.5, 990),
        at("broken", 9.0, 100),
        at("failed", 9.0, 1000, error=errors.InferenceError("m", "it broke")),
    )
    assert found.front() == ("r", "quick", "close", "as close")
    words = [t.get_text() for t in found.plot().legends[0].get_texts()]
    assert any("broken: broken, 10.0 %" in text for text in words)
    assert any("Pareto front" in text for text in words)


def test_without_the_clock_the_picture_is_of_sizes():
    found = held(Variant(name="v", agreement=an_agreement(995, 1000), size_bytes=1000))
    assert not found.timed
    assert found.front() == ("r", "v")
    (axes,) = found.plot().axes
    assert "size on disk" in axes.get_xlabel()


def test_an_unknown_row_names_those_that_there_are():
    with pytest.raises(errors.ConfigError, match="one of v"):
        _ = held(Variant(name="v", agreement=an_agreement(1, 1)))["w"]


def test_figures_of_an_output_are_those_of_the_arrays(hub: ModelHub):
    model = hub.handle("cifar10-small")
    tally = Tally(model, model)
    one, two = np.zeros((1, 10), np.float32), np.zeros((1, 10), np.float32)
    one[0, 3], two[0, 3], two[0, 4] = 4.0, 3.0, 3.0
    tally.add({"logits": one}, {"logits": one}, 3)
    tally.add({"logits": one}, {"logits": two}, 4)
    found = tally.agreement()
    (output,) = found.outputs
    assert output.max_difference == 3.0
    assert output.scale == 4.0
    assert isclose(output.least_cosine, 2**-0.5)
    assert isclose(output.cosine, (1 + 2**-0.5) / 2)
    assert (found.agreed, found.right, found.reference_right) == (2, 1, 1)


def test_the_sign_test_is_that_of_the_binomial():
    assert isclose(an_agreement(1, 1, lost=5, gained=0).chance, 1 / 32)
    assert isclose(an_agreement(1, 1, lost=1, gained=1).chance, 3 / 4)
    assert an_agreement(1, 1).chance == 1.0
    assert cosine(np.zeros(3), np.zeros(3)) == 1.0
    assert isnan(Agreement(n=0, agreed=None, outputs=()).cosine)
