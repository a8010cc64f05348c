"""Models of strangers in a sitting: tried and run apart, stopped within a node, and survived."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import graphs
from workbench.widgets.catalogue import Catalogue
from workbench.widgets.comparison import Comparison
from workbench.widgets.exploration import Exploration
from workbench.widgets.quarantine import Quarantine, is_known
from workbench.widgets.sitting import Sitting
from workbench.widgets.transfer import Upload

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="platform: signals are looked at"
)


@pytest.fixture
def strict() -> None:
    """Take models of the tests for what they are: strangers'."""


@pytest.fixture
def sitting(hub: ModelHub, strict: None, tmp_path: Path) -> Iterator[Sitting]:
    made = Sitting(hub, model="cifar10", folder=tmp_path / "out")
    yield made
    made.close()


#: What a person says of the models here: 8 by 8 pixels from 0 to 255, as they are.
ANSWERS = {"preset": "raw", "side": 8, "labels": "red, green, blue"}


def dropped(sitting: Sitting, make: Callable[[Path], Path], folder: Path) -> None:
    """Drop a model's file, and say what it is."""
    path = make(folder / "dropped.onnx")
    sitting.take(Upload(path.name, path.read_bytes()))
    assert sitting.wait(60)
    assert sitting.newcomer is not None
    sitting.adopt("stranger", **ANSWERS)


def codes(sitting: Sitting) -> list[str]:
    return [problem.code for problem in sitting.problems.shown]


def until(holds: Callable[[], object]) -> None:
    end_s = time.monotonic() + 60
    while not holds() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert holds()


def test_what_comes_with_the_package_is_known_and_a_file_of_somebody_is_not(
    hub: ModelHub, strict: None
) -> None:
    assert is_known(hub.handle("cifar10"))
    assert not is_known(hub.handle("means"))
    place = Quarantine(hub)
    assert place.runner(hub.handle("cifar10")) is place.here
    assert place.state(hub.handle("means")) == "cold"
    assert place._apart is None, "no process for what does not run"
    place.close()


def test_a_model_that_crashes_while_it_is_loaded_is_an_error_on_the_screen(
    sitting: Sitting, tmp_path: Path, colour: Callable[..., Path]
) -> None:
    dropped(sitting, graphs.deadly_to_load, tmp_path)
    assert sitting.wait(60)
    assert codes(sitting) == ["worker_crashed"]
    assert "SIGFPE" in sitting.problems.html()
    assert "brings the engine down" in sitting.problems.html()
    assert ("stranger" in sitting.hub, sitting.model) == (False, "cifar10")
    sitting.add(colour())
    assert sitting.wait(60)
    assert sitting.shown is not None
    assert sitting.shown.model == "cifar10"


def test_a_model_that_crashes_on_a_picture_answers_others_before_and_after(
    sitting: Sitting, tmp_path: Path, colour: Callable[..., Path]
) -> None:
    dropped(sitting, graphs.deadly_when_dark, tmp_path)
    assert sitting.wait(60)
    for name, rgb in (("1.png", (255, 0, 0)), ("2.png", (0, 0, 0)), ("3.png", (0, 255, 0))):
        sitting.take(Upload(name, colour(name, rgb).read_bytes()))
    assert sitting.wait(60)
    told = [getattr(answer, "label", "") or answer.code for answer in sitting.results]
    assert told == ["red", "worker_crashed", "green"]
    assert codes(sitting) == ["worker_crashed"]
    assert sitting.state == "warm"
    assert "hand-over" in sitting.shown.timings
    assert sitting.hub.cache_info().live == 0, "nothing of it is open in this process"
    sitting.warm_up()
    assert sitting.wait(60)
    assert sitting.said.startswith("stranger is steady at ")


@pytest.mark.parametrize("at_load", [False, True], ids=["at a run", "at the load"])
def test_stop_ends_one_endless_node(
    at_load: bool, sitting: Sitting, tmp_path: Path, colour: Callable[..., Path]
) -> None:
    dropped(sitting, lambda path: graphs.endless_node(path, at_load=at_load), tmp_path)
    if not at_load:
        assert sitting.wait(60)
        assert sitting.model == "stranger"
        sitting.add(colour())
    (process,) = sitting.place.apart._executor.crew
    wanted = "load" if at_load else "tensor"
    until(lambda: process.in_hand is not None and process.in_hand.kind == wanted)
    time.sleep(0.2)
    sitting.stop()
    assert sitting.wait(20), "it went on"
    assert codes(sitting) == ["cancelled"]
    sitting.pick("cifar10")
    sitting.add(colour())
    assert sitting.wait(60)
    assert sitting.shown is not None
    assert sitting.shown.model == "cifar10"


def test_the_process_ends_with_the_sitting(sitting: Sitting, tmp_path: Path) -> None:
    dropped(sitting, graphs.means, tmp_path)
    assert sitting.wait(60)
    (process,) = sitting.place.apart._executor.crew
    pid = process.pid
    assert Path(f"/proc/{pid}").exists()
    sitting.close()
    assert not Path(f"/proc/{pid}").exists()


def test_other_widgets_survive_a_strangers_model_too(hub, strict, tmp_path, colour) -> None:
    path = graphs.deadly_when_dark(tmp_path / "dark.onnx")
    with hub.naming("dark", path, graphs.PLAIN):
        model = hub.handle("dark")
    dark = colour("dark.png", (0, 0, 0))
    compared = Comparison(hub, dark, models=["cifar10-small", "dark"])
    explored = Exploration(model, dark)
    browsed = Catalogue(hub)
    browsed.pick("dark")
    try:
        assert compared.wait(120)
        assert explored.wait(120)
        assert browsed.wait(120)
        assert [type(o).__name__ for o in compared.results] == ["Result", "Failure"]
        assert compared.results[1].code == "worker_crashed"
        assert [p.code for p in explored.problems.shown] == ["worker_crashed"]
        browsed.warm_up()
        assert browsed.wait(120)
        assert hub.state_of(model) == "cold", "it never was in this process"
        assert "isolated=True" in explored.code()
    finally:
        for made in (compared, explored, browsed):
            made.close()


def test_stop_ends_one_endless_node_of_a_comparison(hub, strict, tmp_path, colour) -> None:
    with hub.naming("one", graphs.endless_node(tmp_path / "one.onnx"), graphs.PLAIN):
        hub.handle("one")
    compared = Comparison(hub, colour(), models=["one"])
    try:
        until(lambda: compared.place.apart.holds("one"))
        compared.stop()
        assert compared.wait(30), "the node itself goes on for minutes"
    finally:
        compared.close()
