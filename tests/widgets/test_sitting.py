"""A sitting without any widget: pictures in, answers out, and everything in Python."""

from __future__ import annotations

import threading
import time

import pandas as pd
import pytest

from workbench import settings
from workbench.errors import (
    CancelledError,
    ConfigError,
    ImageError,
    NotAnImageError,
    SwitchedOffError,
    UrlRefusedError,
    WorkbenchError,
)
from workbench.inference.results import Failure, Result
from workbench.models import hub as hub_module
from workbench.stopping import Stop
from workbench.widgets import sitting as module
from workbench.widgets.sitting import Sitting
from workbench.widgets.transfer import Upload

HOSTILE = "<img src=x onerror=alert(1)>.jpg"
LONG_S = 60.0


@pytest.fixture
def sitting(hub, temporary):
    made = Sitting(hub, model="means")
    yield made
    made.close()
    assert not list(temporary.iterdir())


def finish(sitting):
    assert sitting.wait(LONG_S)
    return sitting


def upload(path, name=None):
    return Upload(name or path.name, path.read_bytes(), "drop")


def until(true, limit_s=LONG_S):
    end = time.monotonic() + limit_s
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    assert true()


def test_a_dropped_picture_is_answered_with_its_trace(sitting, colour):
    sitting.take(upload(colour()))
    finish(sitting)
    assert (sitting.shown.label, sitting.shown.source) == ("red", "red.png")
    assert sitting.trace.names[0] == "decode"
    assert sitting.state == "warm"
    assert sitting.problems.check() is None


def test_several_pictures_are_several_answers_in_their_order(sitting, colour):
    for name, rgb in (("r.png", (255, 0, 0)), ("g.png", (0, 255, 0)), ("b.png", (0, 0, 255))):
        sitting.take(upload(colour(name, rgb)))
    finish(sitting)
    assert [r.label for r in sitting.results] == ["red", "green", "blue"]
    assert list(sitting.to_frame()["source"]) == ["r.png", "g.png", "b.png"]


def test_a_text_with_the_name_of_a_picture_is_a_failure_and_a_problem(sitting):
    sitting.take(Upload(HOSTILE, b"just some text"))
    finish(sitting)
    assert isinstance(sitting.results[-1], Failure)
    assert sitting.shown is None
    with pytest.raises(NotAnImageError):
        sitting.problems.check()
    page = sitting.problems.html() + sitting.results[-1]._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_another_model_answers_for_the_same_picture(sitting, colour, hub, tiny):
    hub.preload("tiny", path=tiny, metadata={"model_type": "classification",
                                             "input_shape": [1, 3, 8, 8],
                                             "preprocessing": "raw"})  # fmt: skip
    sitting.take(upload(colour()))
    finish(sitting)
    sitting.pick("tiny")
    finish(sitting)
    assert [r.model for r in sitting.results] == ["means", "tiny"]
    assert sitting.results[1].source == "red.png"


def test_picking_before_there_is_a_picture_looks_at_the_model_and_runs_nothing(sitting):
    sitting.pick("endless")
    assert sitting.model == "endless"
    finish(sitting)
    assert sitting.state == "cold"
    assert sitting.described.id == "endless"
    assert sitting.runs == []


def test_a_parameter_that_is_turned_changes_what_is_fed(sitting, colour):
    sitting.take(upload(colour()))
    finish(sitting)
    sitting.turn(color_format="BGR")
    finish(sitting)
    assert [r.label for r in sitting.results] == ["red", "blue"]
    sitting.turn(interpolation="nearest")
    finish(sitting)
    assert sitting.pipeline.color_format == "BGR", "what was turned before stays"
    sitting.pick("means")
    finish(sitting)
    assert sitting.runs[-1].pipeline is None


def test_stop_really_ends_a_run_that_would_never_end(sitting, colour):
    sitting.pick("endless")
    sitting.take(upload(colour()))
    until(lambda: sitting.state == "warm" and sitting.worker.running is not None)
    time.sleep(0.05)
    assert sitting.worker.busy, "an endless run has not ended by itself"
    sitting.stop()
    finish(sitting)
    with pytest.raises(CancelledError):
        sitting.problems.check()
    assert sitting.runs == []
    sitting.pick("means")
    finish(sitting)
    assert sitting.shown.label == "red", "and the next run is none the worse"


def test_the_number_of_classes_and_the_preset_are_those_chosen(sitting, colour):
    sitting.take(upload(colour()))
    sitting.choose(top_k=2)
    sitting.choose(preset="raw")
    finish(sitting)
    assert len(sitting.shown.top) == 2
    assert sitting.runs[-1].pipeline.name == "raw"
    assert sitting.trace.arrays[-1].max() == 255
    sitting.choose(preset="")
    finish(sitting)
    assert sitting.runs[-1].pipeline is None


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"preset": "nonsense"}])
def test_an_impossible_choice_is_a_problem_and_changes_nothing(sitting, wrong):
    sitting.choose(**wrong)
    assert (sitting.top_k, sitting.preset) == (5, None)
    with pytest.raises(ConfigError):
        sitting.problems.check()


def test_warming_up_says_when_it_is_steady(sitting):
    assert sitting.state == "cold"
    sitting.warm_up()
    finish(sitting)
    assert sitting.state == "warm"
    assert "means is steady at" in sitting.said


def test_a_model_is_seen_loading(sitting, colour):
    states = []
    sitting.listen(lambda: states.append(sitting.state))
    sitting.take(upload(colour()))
    finish(sitting)
    assert "loading" in states
    assert states[-1] == "warm"


def test_a_path_and_a_folder_may_be_typed(sitting, colour):
    path = colour()
    sitting.open(f"  {path} ")
    finish(sitting)
    colour("two.png")
    sitting.open(str(path.parent))
    finish(sitting)
    assert [r.source for r in sitting.results] == ["red.png", "red.png", "two.png"]


@pytest.mark.parametrize(
    ("text", "error"),
    [("https://127.0.0.1/cat.jpg", UrlRefusedError), ("nowhere.jpg", WorkbenchError),
     ("", WorkbenchError), ("nowhere.onnx", WorkbenchError), ("data:image/png,x", ImageError)],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(sitting, text, error):
    sitting.open(text)
    finish(sitting)
    with pytest.raises(error):
        sitting.problems.check()
    assert "code" in sitting.problems.html()


def test_before_an_audience_nothing_is_read_or_written_by_name(hub, colour, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "audience", lambda: "Voilà serves this notebook to others")
    made = Sitting(hub, model="means")
    made.open(str(colour()))
    with pytest.raises(SwitchedOffError):
        made.problems.check()
    made.take(upload(colour()))
    finish(made)
    for write in (made.keep, made.export):
        write()
        with pytest.raises(SwitchedOffError, match="Voilà"):
            made.problems.check()
    with pytest.raises(SwitchedOffError):
        made.offered()
    assert not (tmp_path / "workbench_sitting").exists()
    assert "runner.classify" in made.code()  # a cell asks: that is the author, not a visitor
    assert (tmp_path / "workbench_sitting").exists()
    made.close()


def test_a_dropped_model_is_looked_at_described_and_used(sitting, colour, tiny):
    sitting.take(upload(colour()))
    sitting.take(upload(tiny, "my net.onnx"))
    finish(sitting)
    assert sitting.newcomer.id == "my-net"
    assert sitting.model == "means", "it is not used before it is described"
    sitting.adopt(preset="raw", labels="a\nb\nc\nd")
    finish(sitting)
    assert sitting.newcomer is None
    assert (sitting.model, sitting.shown.model) == ("my-net", "my-net")
    assert sitting.shown.label in "abcd"


def test_answers_that_contradict_the_graph_leave_the_newcomer_to_be_mended(sitting, tiny):
    sitting.take(upload(tiny))
    finish(sitting)
    sitting.adopt(labels="only one")
    finish(sitting)
    assert sitting.newcomer is not None
    with pytest.raises(WorkbenchError, match="4 classes"):
        sitting.problems.check()


def test_a_name_that_is_taken_is_refused(sitting, tiny):
    sitting.take(upload(tiny))
    finish(sitting)
    sitting.adopt("means")
    with pytest.raises(ConfigError, match="means"):
        sitting.problems.check()


def test_a_file_that_only_calls_itself_a_model_is_refused(sitting):
    sitting.take(Upload("net.onnx", b"not a model"))
    finish(sitting)
    assert sitting.newcomer is None
    with pytest.raises(WorkbenchError) as caught:
        sitting.problems.check()
    assert caught.value.code == "model_not_onnx"


def test_keep_writes_a_page_and_says_the_line(sitting, colour):
    sitting.take(upload(colour(), HOSTILE))
    finish(sitting)
    sitting.keep()
    page = next(sitting.folder.glob("*.html")).read_text("utf-8")
    assert "display(app.results[-1])" in sitting.said
    assert "red" in page
    assert "<img src=x" not in page
    sitting.again()
    assert sitting.said == ""
    finish(sitting)


def test_keep_and_export_never_replace_what_another_sitting_wrote(sitting, colour):
    for _ in range(2):
        sitting.take(upload(colour(), "pasted.png"))
        finish(sitting)
        for _ in range(2):  # the same again goes where it was
            sitting.keep()
            sitting.export()
        sitting.clear()
    assert sorted(p.name for p in sitting.folder.iterdir()) == [
        "pasted-png-001-2.html", "pasted-png-001.html",
        "results-2.csv", "results-2.html", "results.csv", "results.html",
    ]  # fmt: skip


def test_export_writes_all_results_safely(sitting, colour):
    sitting.take(upload(colour(), "=cmd.png"))
    finish(sitting)
    sitting.export()
    frame = pd.read_csv(sitting.folder / "results.csv")
    assert list(frame["source"]) == ["'=cmd.png"]
    assert (sitting.folder / "results.html").stat().st_size > 1000


@pytest.mark.parametrize("what", ["keep", "export"])
def test_there_is_nothing_to_write_before_the_first_result(sitting, what):
    getattr(sitting, what)()
    with pytest.raises(WorkbenchError, match="classify a picture first"):
        sitting.problems.check()
    assert not sitting.folder.exists()


def test_clear_begins_anew_and_keeps_the_model(sitting, colour):
    sitting.take(upload(colour()))
    finish(sitting)
    sitting.clear()
    assert (sitting.results, sitting.trace, sitting.photo) == ([], None, None)
    assert sitting.state == "warm"


def test_an_answer_that_comes_after_clear_is_not_shown(sitting, colour, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    plain = module.answer

    def slow(*args, stop, **options):  # the answer was there before the stop
        begun.set()
        assert go.wait(LONG_S)
        return plain(*args, stop=Stop(), **options)

    monkeypatch.setattr(module, "answer", slow)
    sitting.take(upload(colour()))
    assert begun.wait(LONG_S)
    sitting.clear()
    go.set()
    finish(sitting)
    assert (sitting.results, sitting.trace, sitting.photo) == ([], None, None)
    assert sitting.problems.shown == ()


def test_the_history_tells_every_run(sitting, colour):
    sitting.take(upload(colour()))
    sitting.take(Upload("notes.jpg", b"text"))
    finish(sitting)
    runs = next(b for b in sitting.runs.times().card.blocks if getattr(b, "caption", "") == "Runs")
    assert [row[3] for row in runs.rows] == ["red", "not_an_image"]


def test_a_model_by_its_path_may_be_chosen_from_the_start(hub, tiny):
    with pytest.warns(Warning, match="no metadata"):
        made = Sitting(hub, model=str(tiny))
    assert made.models()[0] == str(tiny)
    made.close()


def test_an_unknown_model_is_refused_at_once(hub):
    with pytest.raises(WorkbenchError, match="No model named"):
        Sitting(hub, model="nonsense")


def test_what_is_open_to_others_is_asked_of_the_settings():
    assert module.audience is settings.audience


def test_results_are_values_without_the_sitting(hub, colour):
    made = Sitting(hub, model="means")
    made.add(colour())
    finish(made)
    result = made.results[0]
    made.close()
    assert isinstance(result, Result)
    assert "red" in result._repr_html_()


@pytest.fixture
def slow_load(monkeypatch):
    """Have the engine take long to open a session, and let it hear of no stop."""
    begun, go = threading.Event(), threading.Event()
    plain = hub_module.open_session

    def slow(*args, **options):
        begun.set()
        assert go.wait(LONG_S)
        return plain(*args, **{**options, "stop": None})

    monkeypatch.setattr(hub_module, "open_session", slow)
    return begun, go


def test_a_stop_while_a_model_loads_gives_the_load_up_and_says_so(sitting, colour, slow_load):
    begun, go = slow_load
    sitting.take(upload(colour()))
    assert begun.wait(LONG_S)
    sitting.stop()
    assert sitting.worker.stopping
    go.set()
    finish(sitting)
    assert (sitting.results, sitting.state) == ([], "cold")
    with pytest.raises(CancelledError, match="Loading means was stopped"):
        sitting.problems.check()


def test_a_newcomer_whose_load_is_stopped_can_be_used_later(sitting, tiny):
    sitting.open(str(tiny))
    finish(sitting)
    sitting.adopt("mine", preset="raw")
    until(lambda: sitting.state_of("mine") == "loading")  # a process starts for it
    sitting.stop()
    finish(sitting)
    with pytest.raises(CancelledError, match="Loading mine was stopped"):
        sitting.problems.check()
    assert "mine" not in sitting.hub
    assert (sitting.model, sitting.newcomer is not None) == ("means", True)
    sitting.adopt("mine", preset="raw")
    finish(sitting)
    assert sitting.model == "mine"


def test_files_that_waited_at_a_stop_are_named_and_can_be_taken_up(sitting, colour, slow_load):
    begun, go = slow_load
    for name in ("a.png", "b.png", "c.png"):
        sitting.take(upload(colour(name)))
    assert begun.wait(LONG_S)
    sitting.stop()
    go.set()
    finish(sitting)
    assert [job.about for job in sitting.left_out] == ["b.png", "c.png"]
    sitting.take_up()
    assert sitting.left_out == ()
    finish(sitting)
    assert [r.source for r in sitting.results] == ["b.png", "c.png"]


def test_what_was_left_out_is_forgotten_when_a_person_begins_anew(sitting, colour, slow_load):
    begun, go = slow_load
    for name in ("a.png", "b.png"):
        sitting.take(upload(colour(name)))
    assert begun.wait(LONG_S)
    sitting.stop()
    go.set()
    sitting.clear()
    finish(sitting)
    assert sitting.left_out == ()


def test_models_that_are_dropped_at_once_are_asked_about_in_turn(sitting, tiny):
    for _ in range(3):
        sitting.take(Upload("net.onnx", tiny.read_bytes()))
    finish(sitting)
    assert [n.id for n in sitting.newcomers] == ["net", "net-2", "net-3"]
    sitting.adopt(preset="raw")
    finish(sitting)
    assert (sitting.model, sitting.newcomer.id) == ("net", "net-2")
    sitting.dismiss()
    assert sitting.newcomer.id == "net-3"
    sitting.adopt("third", preset="raw")
    finish(sitting)
    assert sitting.newcomer is None
    assert {"net", "third"} <= set(sitting.models())
    assert "net-2" not in sitting.models()


@pytest.mark.parametrize("named", ["missing.png", "https://127.0.0.1/x.png"])
def test_what_cannot_be_read_is_not_asked_about_again(sitting, colour, named):
    sitting.add(colour())
    finish(sitting)
    good = sitting.photo
    sitting.open(named)
    finish(sitting)
    with pytest.raises(WorkbenchError):
        sitting.problems.check()
    assert sitting.photo is good, "the last that could be read"
    sitting.choose(top_k=1)
    finish(sitting)
    assert len(sitting.problems.kept) == 1, "asked once, and told once"
    assert isinstance(sitting.results[-1], Result)


def test_a_recipe_may_be_named_and_nothing_else_is_taken_for_one(sitting, colour):
    sitting.add(colour())
    finish(sitting)
    sitting.choose(pipeline="raw")
    finish(sitting)
    assert sitting.pipeline.name == "raw"
    before = sitting.pipeline
    for wrong in (3, "no such preset"):
        sitting.choose(pipeline=wrong)
        finish(sitting)
        with pytest.raises(ConfigError, match="preprocessing"):
            sitting.problems.check()
        assert sitting.pipeline is before


def test_a_hub_is_a_hub():
    with pytest.raises(ConfigError, match="a ModelHub"):
        Sitting(3)
