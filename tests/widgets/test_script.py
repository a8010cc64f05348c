"""A sitting as code: running it gives the same answers."""

from __future__ import annotations

import pytest

from workbench.widgets.sitting import Sitting
from workbench.widgets.transfer import Upload


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
