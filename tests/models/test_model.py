"""The handle: what it knows, how it runs, how it warms up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import graphs
from workbench import errors
from workbench.models.hub import ModelHub
from workbench.models.warmup import WarmUp, warm_up
from workbench.stopping import Stop
from workbench.timing import Stages

#: Most of these models come without metadata on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::workbench.errors.InferredMetadataWarning")


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path / "shelf")


def test_the_card_tells_ports_opset_provider_precision_threads_bytes_and_classes(
    hub: ModelHub,
) -> None:
    model = hub.load("cifar10", threads=1)
    text = str(model)
    for words in (
        "images: float32 (batch, 3, 32, 32)", "logits: float32 (batch, 10)", "ai.onnx", "CPU",
        "float32", "threads", "MB", "airplane, automobile, bird", "live", "top-1",
    ):  # fmt: skip
        assert words in text, words
    assert repr(model).startswith("<model cifar10: live")
    assert model._repr_html_() == model._repr_html_()


def test_each_fact_is_shown_with_its_value_and_where_it_came_from(hub: ModelHub) -> None:
    model = hub.load("cifar10")
    table = model.spec.learnt()
    assert table.columns == ("fact", "value", "learnt from")
    rows = {fact: (value, came) for fact, value, came in table.rows}
    assert rows["input_shape"][0] == "(?, 3, 32, 32)"
    assert rows["labels"][0] == "10 classes"
    assert all(came for _, came in rows.values())
    assert table in model._card().blocks
    assert table in model.spec._card().blocks


def test_a_model_without_metadata_says_that_it_was_guessed(hub: ModelHub, tmp_path: Path) -> None:
    with pytest.warns(errors.InferredMetadataWarning, match="guessed to be 'imagenet'"):
        model = hub.load(graphs.means(tmp_path / "m.onnx"))
    assert model.spec.guessed
    assert "No metadata" in str(model)
    assert model.labels is None


def test_what_is_made_of_a_models_recipe_shows_what_the_model_sees(hub: ModelHub) -> None:
    own = hub.load("cifar10").preprocessing
    assert own.reader == own
    red = np.zeros((32, 32, 3), np.uint8)
    red[:, :, 0] = 200
    trace = own.replace(color_format="BGR").trace(red)
    assert trace.seen is not None
    assert trace.seen[9, 9].argmax() == 2, "blue: red is where the model looks for blue"
    right = own.trace(red).seen
    assert right is not None
    assert right[9, 9].tolist() == [200, 0, 0]


def test_a_run_takes_a_bare_array_or_a_dict_and_gives_outputs_by_name(
    hub: ModelHub, tmp_path: Path
) -> None:
    model = hub.load(graphs.means(tmp_path / "m.onnx"))
    x = np.ones((1, 3, 8, 8), np.float32)
    assert model.run(x)["logits"].tolist() == model.run({"images": x})["logits"].tolist()
    adder = hub.load(graphs.two_inputs(tmp_path / "two.onnx"))
    a = np.ones((2, 4), np.float32)
    assert adder.run({"a": a, "b": a}, outputs=("sum",))["sum"].tolist() == (a + a).tolist()
    with pytest.raises(errors.InputMismatchError, match="a dict with 2 inputs"):
        adder.run(a)
    with pytest.raises(errors.InputMismatchError, match="one of 'sum'"):
        adder.run({"a": a, "b": a}, outputs=("product",))


def test_several_inputs_are_described_and_refused_for_classification(
    hub: ModelHub, tmp_path: Path
) -> None:
    adder = hub.load(graphs.two_inputs(tmp_path / "two.onnx"))
    with pytest.raises(errors.UnsupportedInputsError) as caught:
        adder.image_input  # noqa: B018
    assert "a: float32 (n, 4)" in str(caught.value)


def test_warm_up_reports_the_anatomy_of_a_cold_start(hub: ModelHub) -> None:
    warm = hub.load("cifar10-small").warm_up(runs=25)
    frame = warm.to_frame().set_index("stage")
    stages = [stage for stage in frame.index if stage != "keep"]
    assert stages == ["import", "read", "optimise", "first run", "settling", "steady"]
    assert (frame.loc[["read", "optimise", "first run", "steady"], "ms"] > 0).all()
    assert 1 <= warm.samples.n <= 25
    assert "warm-up of cifar10-small" in str(warm)
    assert warm.plot().axes


def test_a_warm_up_names_what_was_fed_and_a_new_shape_has_a_first_run_of_its_own(
    hub: ModelHub,
) -> None:
    model = hub.load("cifar10-small")
    first, again, other = (model.warm_up(runs=2, batch=batch) for batch in (1, 1, 3))
    assert first.fed == again.fed == (("images", "float32 (1, 3, 32, 32)"),)
    assert other.fed == (("images", "float32 (3, 3, 32, 32)"),)
    assert first.shape_run_s != first.shape_run_s
    assert again.shape_run_s != again.shape_run_s
    assert other.shape_run_s > 0
    assert other.first_run_s == first.first_run_s
    assert "first of this shape" in str(other)
    assert "first of this shape" not in str(again)
    assert "first of this shape" in set(other.to_frame()["stage"])


def test_a_second_warm_up_keeps_the_first_run_that_really_was_first(hub: ModelHub) -> None:
    model = hub.load("cifar10-small")
    assert model.warm_up(runs=1).first_run_s == model.warm_up(runs=1).first_run_s


def test_warm_up_stops_when_it_is_told_and_keeps_what_it_has(hub: ModelHub) -> None:
    stop = Stop()
    stop.cancel()
    warm = hub.load("cifar10-small").warm_up(stop=stop)
    assert warm.stopped
    assert warm.samples.n == 0
    assert "Stopped on request" in str(warm)
    with pytest.raises(errors.ConfigError, match="runs is 0"):
        hub.load("cifar10-small").warm_up(runs=0)


def test_warm_up_ends_as_soon_as_the_times_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.models import warmup

    times = iter([5.0, 3.0, *[1.0] * 60])
    now = [0.0]
    monkeypatch.setattr(warmup, "clock", lambda: now[0])

    def run() -> None:
        now[0] += next(times)

    load = Stages({"read": 0.5, "optimise": 0.25})
    run()
    warm = warm_up("m", run, load, now[0], runs=50)
    assert (warm.first_run_s, warm.settled_at, warm.settling_s, warm.steady_s) == (5.0, 1, 3.0, 1.0)
    assert warm.samples.n == 11, "ten steady runs tell that it has settled"
    assert warm.stages().total_s == 0.5 + 0.25 + 5.0 + 3.0


def test_times_that_never_settle_say_so() -> None:
    from workbench.timing import Samples

    warm = WarmUp(
        model="m", load=Stages({"read": 0.0, "optimise": 1.0}), first_run_s=1.0,
        samples=Samples((1.0, 2.0, 3.0)), settled_at=None,
    )  # fmt: skip
    notes = " ".join(warm.notes())
    assert "did not settle within 3 runs" in notes
    assert "reading is part of optimise" in notes
    assert warm.settling_s != warm.settling_s


def test_sample_feeds_fit_every_input_and_are_the_same_each_time(
    hub: ModelHub, tmp_path: Path
) -> None:
    model = hub.load("cifar10-small")
    feeds = model.sample_feeds(3)
    assert feeds["images"].shape == (3, 3, 32, 32)
    assert np.array_equal(feeds["images"], model.sample_feeds(3)["images"])
    adder = hub.load(graphs.two_inputs(tmp_path / "two.onnx"))
    assert {k: v.shape for k, v in adder.sample_feeds(2).items()} == {"a": (2, 4), "b": (2, 4)}


def test_unload_through_the_handle(hub: ModelHub) -> None:
    model = hub.load("cifar10-small")
    assert model.unload().models == ("cifar10-small",)
    assert model.state == "cold"


def test_a_file_called_model_is_named_after_its_folder(hub: ModelHub, tmp_path: Path) -> None:
    (tmp_path / "resnet").mkdir()
    assert hub.load(graphs.means(tmp_path / "resnet" / "model.onnx")).id == "resnet"


def test_a_stop_ends_a_warm_up_within_a_run(hub: ModelHub, tmp_path: Path) -> None:
    model = hub.preload("e", path=graphs.endless(tmp_path / "e.onnx"), metadata=graphs.PLAIN)
    warm = model.warm_up(stop=Stop(timeout_s=0.3))
    assert warm.stopped
    assert warm.samples.n == 0
    assert "not settled" in str(warm)


@pytest.mark.parametrize("batch", [0, -1, "2", 1.5])
def test_a_warm_up_takes_a_batch_of_at_least_one(hub: ModelHub, batch: object) -> None:
    with pytest.raises(errors.ConfigError, match="a whole number of at least 1"):
        hub.load("cifar10-small").warm_up(batch=batch)
