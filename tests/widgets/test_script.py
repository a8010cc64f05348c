"""A sitting and a turned recipe as code: running it in a fresh kernel gives the same answers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import workbench as wb
from tests import graphs
from workbench.errors import InferredMetadataWarning
from workbench.models.hub import ModelHub
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import ArrayStep, Flow
from workbench.widgets.exploration import Exploration
from workbench.widgets.sitting import Sitting
from workbench.widgets.transfer import Upload

ROOT = Path(wb.__file__).parents[1]
RED = np.zeros((20, 30, 3), np.uint8)
RED[:, :, 0] = 255


@dataclass(frozen=True)
class Mirrored(ArrayStep):
    """A step of a stranger's, which no recipe knows."""

    def __call__(self, array):
        return array[..., ::-1].copy()

    def undo(self, array):
        return self(array)

    def flow(self, before: Flow) -> Flow:
        return before

    def text(self) -> str:
        return "mirrored"


@pytest.fixture
def sitting(hub):
    made = Sitting(hub, model="means")
    yield made
    made.close()
    assert made.wait(60)


def run(code):
    space: dict = {}
    exec(compile(code, "cell", "exec"), space)  # our own words, made from a stranger's names
    return space["results"]


def test_the_cell_gives_the_same_answers_again(sitting, colour, tiny):
    sitting.take(Upload("it's <b>.png", colour().read_bytes()))
    sitting.open(str(colour("blue.png", (0, 0, 255))))
    sitting.choose(preset="raw", top_k=2)
    sitting.take(Upload("notes\n.jpg", b"text"))
    sitting.take(Upload("net.onnx", tiny.read_bytes()))
    assert sitting.wait(60)
    sitting.photo = sitting.runs[0].photo
    sitting.adopt(preset="raw", labels="a, b, c, d")
    assert sitting.wait(60)
    expected = [r.outcome for r in sitting.runs if hasattr(r.outcome, "top")]
    again = run(sitting.code())
    assert [r.label for r in again] == [r.label for r in expected]
    assert [len(r.top) for r in again] == [len(r.top) for r in expected]
    assert "# notes" in sitting.code()


def test_uploads_are_written_beside_it_under_their_checksum(sitting, colour):
    sitting.take(Upload("../x/<b>.png", colour().read_bytes()))
    assert sitting.wait(60)
    code = sitting.code()
    (written,) = sitting.folder.iterdir()
    assert written.as_posix() in code
    assert written.parent == sitting.folder
    assert sitting.code() == code, "asked twice, it says the same"


def test_the_same_question_asked_twice_is_one_line(sitting, colour):
    sitting.open(str(colour()))
    sitting.again()
    assert sitting.wait(60)
    sitting.again()
    assert sitting.wait(60)
    assert sitting.code().count("runner.classify") == 1


def test_a_sitting_without_results_is_still_a_cell_that_runs(sitting):
    assert run(sitting.code()) == []


# ── in a fresh kernel ─────────────────────────────────────────────────────────────────────────


def fresh(code: str, *, folder: Path = Path()) -> list[list]:
    """Run a cell in a new process, and return label and probability of each of its answers."""
    *lines, last = code.splitlines()
    told = "[[r.label, round(r.probability, 5)] for r in last]"
    cell = [*lines, f"last = {last}", "last = results if 'results' in dir() else [last]"]
    script = "\n".join([*cell, "import json", f"print(json.dumps({told}))"])
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::workbench.errors.InferredMetadataWarning", "-c", script],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def said(*results) -> list[list]:
    return [[r.label, round(r.probability, 5)] for r in results]


@pytest.fixture
def named(hub, tmp_path):
    """Return a hub with a model that it knows by ``preload`` alone, with labels of its own."""
    path = graphs.means(tmp_path / "elsewhere.onnx")
    hub.preload("mine", path=path, metadata=graphs.PLAIN | {"labels": ["rot", "grün", "it's blue"]})
    return hub


def exploration(model, image, **options):
    made = Exploration(model, image, **options)
    assert made.wait(60)
    return made


def test_a_sitting_with_models_that_were_named_by_hand_runs_in_a_fresh_kernel(named, colour):
    made = Sitting(named, model="mine")
    made.open(str(colour("blue.png", (0, 0, 255))))
    made.add(RED)
    made.pick("means")
    assert made.wait(60)
    made.turn(color_format="BGR")
    assert made.wait(60)
    code = made.code()
    assert "hub.preload(" in code
    assert "'it's blue'" in code or '"it\'s blue"' in code
    assert "model_dir=" in code
    again = fresh(code)
    assert again == said(*made.results)
    assert [label for label, _ in again] == ["it's blue", "rot", "red", "blue"]
    made.close()


def test_a_sitting_by_path_runs_wherever_the_kernel_was_started(hub, colour, tmp_path, monkeypatch):
    path = graphs.means(tmp_path / "bare.onnx")
    monkeypatch.chdir(path.parent)
    with pytest.warns(InferredMetadataWarning):
        made = Sitting(hub, model="bare.onnx")
    made.add(RED)
    assert made.wait(60)
    assert f"model={path.as_posix()!r}" in made.code()
    assert fresh(made.code()) == said(*made.results)
    made.close()


@pytest.mark.parametrize("form", ["upload", "array", "picture with alpha", "data URI", "path"])
def test_a_turned_recipe_runs_in_a_fresh_kernel_whatever_the_picture_came_as(
    named, colour, form, tmp_path
):
    import base64

    alpha = Image.fromarray(np.dstack([RED, np.full(RED.shape[:2], 90, np.uint8)]))
    content = colour().read_bytes()
    image = {
        "upload": Upload("<b>it's.png", content),
        "array": RED,
        "picture with alpha": alpha,
        "data URI": f"data:image/png;base64,{base64.b64encode(content).decode()}",
        "path": colour(),
    }[form]
    made = exploration(named.load("mine", threads=1), image, top_k=2)
    made.use(made.own.replace(color_format="BGR", background=(0, 0, 255)))
    assert made.wait(60)
    code = made.code()
    assert "threads=1" in code
    assert "preprocessing=pipeline, top_k=2" in code
    assert fresh(code) == said(made.outcome)
    assert made.code() == code, "asked twice, it says the same"
    made.close()


def test_an_array_that_is_written_to_afterwards_is_not_the_picture_that_was_asked_about(hub):
    picture = RED.copy()
    made = exploration(hub.load("means"), picture)
    picture[...] = 0
    assert fresh(made.code()) == said(made.outcome)
    made.close()


def test_the_models_own_recipe_on_the_default_shelf_is_told_short(colour):
    hub = ModelHub()
    made = exploration(hub.load("cifar10"), wb.example("cat"))
    code = made.code()
    assert "hub = wb.ModelHub()\n" in code
    assert "preload" not in code
    assert fresh(code) == said(made.outcome)
    assert made.outcome.preprocessing is None
    made.close()


def test_before_an_audience_no_file_is_written_and_the_cell_says_what_is_missing(
    hub, colour, monkeypatch
):
    made = exploration(hub.load("means"), Upload("<b>.png\n#", colour().read_bytes()))
    monkeypatch.setattr("workbench.widgets.exploration.audience", lambda: "others")
    code = made.offered()
    assert not made.folder.exists()
    assert "# <b>.png" in code
    assert "is on no disk: put its path here\npicture = ..." in code
    with pytest.raises(wb.WorkbenchError, match="is not an image"):
        exec(compile(code, "cell", "exec"), {})
    monkeypatch.undo()
    made.close()


def test_what_cannot_be_done_again_is_a_comment_and_the_rest_runs(named, colour, tmp_path):
    made = Sitting(named, model="means")
    kept, gone = colour("kept.png"), colour("gone.png", (0, 0, 255))
    made.open(str(kept))
    made.open(str(gone))
    assert made.wait(60)
    own = made.described.preprocessing
    made.choose(pipeline=replace(own, steps=(*own.steps, Mirrored())))
    assert made.wait(60)
    odd = {"labels": np.array(["a", "b", "c"])}
    named._named["mine"] = replace(named._named["mine"], metadata=odd)
    gone.unlink()
    code = made.code()
    assert fresh(code) == said(made.results[0])
    assert "# gone.png: gone.png is gone: runner.classify(" in code
    assert "pipeline_1 is not written" in code
    assert "# the recipe has steps of your own" in code
    made.close()


def test_a_description_that_is_no_literal_is_left_open(named):
    made = exploration(named.load("mine"), RED)
    odd = graphs.PLAIN | {"labels": np.array(["a", "b", "c"])}
    named._named["mine"] = replace(named._named["mine"], metadata=odd)
    code = made.code()
    assert "# the description of mine cannot be written as code" in code
    assert "metadata=..." in code
    named._named["mine"].path.unlink()
    assert "# the file of mine is gone" in made.code() or "cannot be written" in made.code()
    made.close()


def test_a_recipe_of_own_steps_is_left_open(hub):
    made = exploration(hub.load("means"), RED)
    made.use(replace(made.own, steps=(*made.own.steps, Mirrored())))
    assert made.wait(60)
    assert "put your pipeline here\npipeline = ...\n" in made.code()
    assert made.own == Pipeline.from_recipe(made.own.recipe())
    made.close()
