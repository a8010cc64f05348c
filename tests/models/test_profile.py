"""Profiles: rows of nodes, what they add up to, what is left behind (nothing)."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from math import isclose, isnan
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests import graphs
from workbench import errors
from workbench.models import profiling
from workbench.models.difference import ProfileDifference
from workbench.models.hub import ModelHub
from workbench.models.profile import Node, Profile
from workbench.models.session import Ran
from workbench.stopping import Stop
from workbench.timing import Samples

pytestmark = pytest.mark.filterwarnings("ignore::workbench.errors.InferredMetadataWarning")


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path / "shelf")


def made(*nodes: Node, wall_s: float = 0.010, **facts: object) -> Profile:
    values: dict[str, object] = {
        "model": "m",
        "nodes": nodes,
        "wall": Samples((wall_s,) * 10),
        "engine_s": 0.9 * wall_s,
        "execute_s": 0.85 * wall_s,
        "quiet": Samples((0.9 * wall_s,) * 10),
        "first_s": 2 * wall_s,
        "shapes": (("images", "float32 (1, 3, 8, 8)"),),
        "provider": "CPU",
        **facts,
    }
    return Profile(**values)  # type: ignore[arg-type]


def a_node(name: str, op: str, ms: float, **facts: object) -> Node:
    values: dict[str, object] = {
        "name": name, "op": op, "provider": "CPUExecutionProvider", "inputs": "", "outputs": "",
        "parameter_bytes": None, "first_s": 2e-3 * ms, "times_s": (1e-3 * ms,) * 10, **facts,
    }  # fmt: skip
    return Node(**values)  # type: ignore[arg-type]


def test_a_profile_has_a_row_for_each_node_that_runs(hub: ModelHub, temporary: Path):
    found = hub.load("cifar10", providers="cpu", threads=1).profile(wb.example("cat"), runs=12)
    frame = found.to_frame()
    assert list(frame.columns) == [
        "name", "op", "provider", "inputs", "outputs", "parameter_bytes", "first_ms", "ms",
        "iqr_ms", "share", "calls", "memory_bytes", "within",
    ]  # fmt: skip
    assert {"Conv", "MaxPool", "Gemm"} <= set(frame["op"])
    assert set(frame["provider"]) == {"CPU"}
    assert (frame["ms"] >= 0).all()
    assert isclose(frame["share"].sum(), 1.0, abs_tol=1e-9)
    convs = frame[frame["op"] == "Conv"]
    assert convs["outputs"].str.startswith("float32 (").all()
    assert (convs["ms"] > 0).all()
    assert list(temporary.iterdir()) == []


def test_the_weights_of_a_packed_operator_are_counted(hub: ModelHub, temporary: Path):
    """Packed weights leave the engine's graph, and its own figure leaves them out."""
    model = hub.load("cifar10-int8", providers="cpu", threads=1)
    frame = model.profile(runs=5).to_frame()
    told = int(frame["parameter_bytes"].sum())
    assert 0.9 * model.graph.parameter_bytes < told < 1.1 * model.graph.parameter_bytes


def test_the_account_adds_up_to_the_run(hub: ModelHub):
    calm = made(a_node("a", "Conv", 5), a_node("b", "Relu", 3)).account()
    assert dict(calm) == pytest.approx({"nodes": 0.008, "between nodes": 0.0005,
                                        "engine, around the graph": 0.0005,
                                        "call from Python": 0.001})  # fmt: skip
    assert calm.total_s == pytest.approx(0.010)
    found = hub.load("cifar10-small", providers="cpu", threads=1).profile(runs=12)
    account = found.account()
    assert list(account) == list(calm)
    # these are medians, and the median of a sum is not the sum of medians: the busier, the less
    assert found.wall_s * (1 - 1e-9) <= account.total_s < 2 * found.wall_s
    assert 0.1 < found.coverage < 2
    assert found.first_s > 0
    assert found.quiet.n == 12


def test_operators_and_providers_are_summed(hub: ModelHub):
    found = made(
        a_node("a", "Conv", 2, parameter_bytes=10),
        a_node("b", "Conv", 4, parameter_bytes=5),
        a_node("c", "Relu", 2),
    )
    ops = found.by_op()
    assert list(ops["op"]) == ["Conv", "Relu"]
    assert list(ops["nodes"]) == [2, 1]
    assert ops["ms"].tolist() == pytest.approx([6, 2])
    assert ops["share"].tolist() == pytest.approx([0.75, 0.25])
    assert ops["parameter_bytes"][0] == 15
    assert ops["parameter_bytes"].isna().tolist() == [False, True]
    assert found.by_provider()["nodes"].tolist() == [3]


def test_nodes_within_another_are_shown_and_not_counted_twice():
    found = made(a_node("loop", "Loop", 6), a_node("in", "Add", 5, within="loop", calls=9))
    assert found.nodes_s == pytest.approx(0.006)
    assert found.coverage == pytest.approx(0.6)
    assert len(found.to_frame()) == 2
    assert "counts once" in str(found)


def test_the_card_says_why_the_nodes_are_not_the_run():
    text = " ".join(str(made(a_node("a", "Conv", 8))).split())
    assert "The nodes add up to 80.0 % of a run" in text
    assert "handing over from node to node" in text
    assert "whole microseconds" in text
    assert "Writing the record costs 11.1 %: without it a run takes 9.00 ms" in text


def test_a_fused_provider_is_named_with_what_it_covers():
    row = a_node("f", "(fused graph)", 8, provider="OpenVINOExecutionProvider")
    ran = (Ran("OpenVINOExecutionProvider", 40, 42), Ran("CPUExecutionProvider", 2, 42))
    text = " ".join(str(made(row, ran=ran)).split())
    assert "OpenVINO has fused 40 of the graph's 42 nodes into 1 row" in text
    assert "what happens inside is not told" in text
    inside = a_node("k", "Convolution", 3, provider=row.provider, within="f")
    text = " ".join(str(made(row, inside, ran=ran)).split())
    assert "1 kernel, which may run at the same time" in text
    assert "counts once" not in text


def test_two_profiles_are_compared_by_node_and_by_operator():
    before = made(a_node("a", "Conv", 4), a_node("b", "Relu", 1))
    after = made(a_node("a", "Conv", 1), a_node("c", "Relu", 1), wall_s=0.005)
    found = before.diff(after)
    assert isinstance(found, ProfileDifference)
    frame = found.to_frame()
    assert frame["name"].tolist() == ["a", "b", "c"]
    assert frame["delta_ms"].tolist() == pytest.approx([-3, -1, 1])
    assert isnan(frame["after_ms"][1])
    assert found.matched == 1
    assert found.ratio == pytest.approx(0.5)
    ops = found.to_frame(by="op")
    assert ops["delta_ms"].tolist() == pytest.approx([-3, 0])
    assert ops["tells"].tolist() == [True, False]
    assert "Few nodes have the same name" in str(found)


def test_a_quantised_operator_is_compared_with_the_one_it_stands_for():
    found = made(a_node("a", "Conv", 4)).diff(made(a_node("q", "QLinearConv", 1)))
    assert found.to_frame(by="op")["delta_ms"].tolist() == pytest.approx([-3])


def test_a_change_within_the_spread_says_nothing():
    noisy = tuple(1e-3 * ms for ms in (4, 5, 6, 7, 8, 4, 5, 6, 7, 8))
    before = made(a_node("a", "Conv", 4, times_s=noisy))
    assert before.diff(made(a_node("a", "Conv", 7))).to_frame()["tells"].tolist() == [False]
    assert before.diff(made(a_node("a", "Conv", 20))).to_frame()["tells"].tolist() == [True]


@pytest.mark.parametrize("other", [None, "cifar10"])
def test_only_profiles_can_be_compared(other: object):
    with pytest.raises(errors.ConfigError, match="expected a Profile"):
        made(a_node("a", "Conv", 1)).diff(other)  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigError, match="'node' or 'op'"):
        made().diff(made()).to_frame(by="provider")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"runs": 0}, {"runs": -3}, {"runs": 2.5}, {"batch": 0}, {"max_time_s": 0},
     {"max_time_s": float("nan")}, {"max_time_s": -1}],
)  # fmt: skip
def test_counts_that_cannot_be_are_refused(hub: ModelHub, wrong: dict[str, object]):
    with pytest.raises(errors.ConfigError, match=next(iter(wrong))):
        hub.load("cifar10-small").profile(**wrong)  # type: ignore[arg-type]


def test_what_is_fed_may_be_a_picture_an_array_or_feeds(hub: ModelHub, tmp_path: Path):
    model = hub.load(graphs.means(tmp_path / "m.onnx"), threads=1)
    array = np.zeros((2, 3, 8, 8), np.float32)
    for given in (array, {"images": array}):
        found = model.profile(given, runs=3)
        assert found.shapes == (("images", "float32 (2, 3, 8, 8)"),)
    picture = hub.load("cifar10-small").profile(wb.example("cat"), runs=3, batch=2)
    assert picture.shapes == (("images", "float32 (2, 3, 32, 32)"),)
    fixed = hub.load(graphs.means(tmp_path / "f.onnx", batch=4), threads=1)
    assert fixed.profile(runs=3).shapes == (("images", "float32 (4, 3, 8, 8)"),)
    with pytest.raises(errors.InputMismatchError):
        model.profile({"images": np.zeros((1, 3), np.float32)})
    with pytest.raises(errors.ImageError):
        model.profile(b"no picture")


def test_a_loop_is_told_with_what_runs_inside(hub: ModelHub, tmp_path: Path):
    model = hub.load(graphs.endless(tmp_path / "loop.onnx", rounds=5), threads=1)
    frame = model.profile(runs=3).to_frame()
    loop = frame[frame["op"] == "Loop"].iloc[0]
    inside = frame[frame["within"] == loop["name"]]
    assert set(inside["op"]) >= {"Add"}
    assert set(inside[inside["op"] == "Add"]["calls"]) == {5}


def test_a_run_that_fails_in_the_middle_raises_and_leaves_nothing(
    hub: ModelHub, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    from workbench.models.session import Session

    model = hub.load("cifar10-small")
    taken, real = [], Session.run

    def failing(self: Session, *args: object, **how: object) -> object:
        taken.append(1)
        if len(taken) == 9:
            raise errors.InferenceError("cifar10-small", "it broke")
        return real(self, *args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "run", failing)
    with pytest.raises(errors.InferenceError, match="it broke"):
        model.profile(runs=5)
    assert list(temporary.iterdir()) == []
    monkeypatch.undo()
    assert hub.load("cifar10-small").run(model.sample_feeds())  # the hub is not held any more


def test_a_keyboard_interrupt_leaves_nothing_behind(
    hub: ModelHub, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    model = hub.load("cifar10-small")
    monkeypatch.setattr(profiling, "read_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.profile(runs=3)
    assert list(temporary.iterdir()) == []


def test_no_folder_for_temporary_files_is_said(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = hub.load("cifar10-small")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(errors.WriteError, match="no such file"):
        model.profile(runs=3)


def test_a_stop_before_anything_was_recorded_is_said(hub: ModelHub, temporary: Path):
    stop = Stop()
    stop.cancel()
    with pytest.raises(errors.CancelledError, match="The profile was stopped") as caught:
        hub.load("cifar10-small").profile(stop=stop)
    assert "is kept." not in str(caught.value)
    assert "No run had been recorded yet, so nothing is kept" in str(caught.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("at", "kept"), [(3, 0), (8, 0), (9, 1), (10, 1), (11, 2)])
def test_a_stop_keeps_every_recorded_run_that_was_over(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch, at: int, kept: int
):
    from workbench.models.session import Session

    stop, taken, real = Stop(), [], Session.run

    def counted(self: Session, *args: object, **how: object) -> object:
        taken.append(1)
        if len(taken) == at:  # six without the record, one for the weights, then those with it
            stop.cancel()
        return real(self, *args, **how)  # type: ignore[arg-type]

    model = hub.load("cifar10-small")
    monkeypatch.setattr(Session, "run", counted)
    if not kept:
        with pytest.raises(errors.CancelledError, match="nothing is kept"):
            model.profile(runs=5, stop=stop)
        return
    found = model.profile(runs=5, stop=stop)
    assert found.stopped
    assert found.wall.n == kept
    assert found.nodes
    assert "Stopped on request" in str(found)


def test_a_deadline_before_anything_was_recorded_is_said(hub: ModelHub):
    with pytest.raises(errors.InferenceTimeoutError, match="The profile did not end") as caught:
        hub.load("cifar10-small").profile(stop=Stop(1e-6))
    assert "nothing is kept" in str(caught.value)


def test_a_stop_in_the_middle_keeps_what_was_recorded(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
):
    from workbench.models.session import Session

    stop, taken, real = Stop(), [], Session.run

    def counted(self: Session, *args: object, **how: object) -> object:
        taken.append(1)
        if len(taken) == 13:  # six without the record, one for the weights, the sixth with it
            stop.cancel()
        return real(self, *args, **how)  # type: ignore[arg-type]

    model = hub.load("cifar10-small")
    monkeypatch.setattr(Session, "run", counted)
    found = model.profile(runs=5, stop=stop)
    assert found.stopped
    assert found.wall.n == 4
    assert "Stopped on request" in str(found)
    assert found.nodes


def test_the_time_limit_holds_for_a_slow_model(hub: ModelHub, tmp_path: Path):
    model = hub.load(graphs.endless(tmp_path / "slow.onnx", rounds=2_000), threads=1)
    found = model.profile(runs=10_000, max_time_s=1e-6)  # over before the first run is
    assert found.quiet.n == found.wall.n == profiling.FEWEST - 1  # the first is apart
    assert model.profile(runs=10_000, max_time_s=0.02).quiet.n < 10_000


def test_a_loop_that_writes_much_is_recorded_for_fewer_runs(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = hub.load(graphs.endless(tmp_path / "loop.onnx", rounds=100), threads=1)
    assert model.profile(runs=8).to_frame()["calls"].max() == 100
    monkeypatch.setattr(profiling, "MOST_EVENTS", 1000)  # a run writes some 200
    found = model.profile(runs=50)
    assert 1 <= found.wall.n <= 5
    assert found.quiet.n == 50


def test_a_profile_without_nodes_can_be_shown():
    empty = made()
    assert isnan(empty.nodes_s)
    assert len(empty.to_frame()) == 0
    assert "m" in repr(empty)
    assert empty.plot() is not None
    assert replace(empty, stopped=True).notes()


def test_figures_say_in_words_what_they_draw():
    found = made(a_node("x" * 60 + "tail", "Conv", 4), a_node("b", "Relu", 1))
    figure = found.plot()
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any("4.00 ms, 80.0 %" in text for text in words)
    labels = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert any(label.startswith("…") and "tail" in label for label in labels)
    difference = found.diff(made(a_node("b", "Relu", 3))).plot()
    words = [text.get_text() for axes in difference.axes for text in axes.texts]
    assert any("+2.00 ms" in text for text in words)
