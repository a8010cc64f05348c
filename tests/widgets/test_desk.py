"""The app's view: it lays out, forwards and paints; driven with set_state, no browser."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from ipywidgets.widgets import widget

import workbench as wb
from workbench.errors import ImageTooLargeError, SwitchedOffError
from workbench.stopping import Stop
from workbench.widgets import sitting as module
from workbench.widgets.knob import Knobs, turned

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture
def app(hub):
    made = wb.app(hub, model="means")
    yield made
    made.close()
    assert made.wait(60)


def drop(app, path=None, *, name="red.png", content=None):
    content = path.read_bytes() if content is None else content
    zone = app.zone
    zone._handle_custom_msg(
        {"kind": "begin", "id": "v", "name": name, "size": len(content), "via": "drop"}, []
    )
    zone._handle_custom_msg({"kind": "chunk", "id": "v", "offset": 0}, [memoryview(content)])


def pick(control, value):
    """Choose as a browser does."""
    values = [o[1] if isinstance(o, tuple) else o for o in control.options]
    control.set_state({"index": values.index(value)})


def test_a_dropped_picture_is_shown_with_what_the_model_saw_and_said(app, colour):
    drop(app, colour())
    assert app.wait(60)
    app.check()
    assert app.results[0].label == "red"
    assert app.result.value == app.results[0]._repr_html_()
    assert "What each step gives" in app.trace.value
    assert "Runs" in app.history.value
    assert "●" in app.picker.label
    assert repr(app) == "<workbench app: 1 result>"


def test_switching_the_model_in_the_picker_asks_again(app, hub, colour, tiny):
    hub.preload("tiny", path=tiny, metadata={"model_type": "classification",
                                             "input_shape": [1, 3, 8, 8],
                                             "preprocessing": "raw"})  # fmt: skip
    drop(app, colour())
    assert app.wait(60)
    pick(app.picker, "tiny")
    assert app.wait(60)
    app.check()
    assert [r.model for r in app.results] == ["means", "tiny"]
    assert app.result.value == app.results[1]._repr_html_()
    assert "model tiny" in app.about.value


def test_a_slider_of_the_preprocessing_asks_again_and_another_model_moves_it_back(app, colour):
    drop(app, colour())
    assert app.wait(60)
    assert app.dials.layout.display is None
    app.dials.color.set_state({"index": 1})
    assert app.wait(60)
    assert [r.label for r in app.results] == ["red", "blue"]
    assert app.dials.color.value == "BGR"
    app.preset.set_state({"index": 4})
    assert app.wait(60)
    assert app.sitting.preset == "raw"
    assert app.dials.color.value == "RGB"
    assert app.dials.crop.disabled


def test_a_callback_returns_at_once_while_a_run_goes_on_and_stop_ends_it(app, colour):
    pick(app.picker, "endless")
    began = time.monotonic()
    drop(app, colour())
    app.top_k.set_state({"value": 3})
    assert app.sitting.worker.busy
    deadline = time.monotonic() + 60
    while app.stop_button.disabled and time.monotonic() < deadline:
        time.sleep(0.005)
    app.stop_button.click()
    assert app.wait(60)
    assert app.stop_button.disabled
    assert app.sitting.top_k == 3
    assert time.monotonic() - began < 60


def test_a_file_over_the_limit_is_refused_on_the_error_line(app):
    app.zone._handle_custom_msg({"kind": "refused", "name": HOSTILE, "size": 11_000_000}, [])
    assert "11.0 MB" in app.error_line.value
    assert "10.0 MB" in app.error_line.value
    assert "image_too_large" in app.error_line.value
    assert "<img" not in app.error_line.value
    with pytest.raises(ImageTooLargeError):
        app.check()


def test_a_text_with_a_hostile_name_is_refused_in_words_and_as_text(app):
    drop(app, name=HOSTILE, content=b"just some text")
    assert app.wait(60)
    seen = app.error_line.value + app.result.value + app.history.value + app.all.value
    assert "not_an_image" in app.error_line.value
    assert "<img src=x" not in seen
    assert "&lt;img src=x" in seen


def test_the_error_line_is_empty_again_after_something_that_works(app, colour):
    drop(app, name="a.jpg", content=b"text")
    assert app.wait(60)
    assert app.error_line.value
    drop(app, colour())
    assert app.wait(60)
    assert app.error_line.value == ""
    assert len(app.errors) == 1


def test_enter_in_the_field_and_the_button_open_what_it_says(app, colour):
    app.path.set_state({"value": str(colour())})
    assert app.results == []
    app.path._handle_custom_msg({"event": "submit"}, [])
    assert app.wait(60)
    app.open_button.click()
    assert app.wait(60)
    assert [r.source for r in app.results] == ["red.png", "red.png"]


def test_a_url_is_refused_in_the_words_of_the_core(app):
    app.path.set_state({"value": "https://127.0.0.1/cat.jpg"})
    app.open_button.click()
    assert app.wait(60)
    assert "url_refused" in app.error_line.value


def test_before_an_audience_the_field_is_not_there_and_a_sentence_is(hub, monkeypatch):
    monkeypatch.setattr(module, "audience", lambda: "Voilà serves this notebook to others")
    app = wb.app(hub, model="means")
    assert "Voilà" in app.place.value
    assert app.path not in getattr(app.place, "children", ())
    assert app.keep_button.disabled
    assert app.code_button.disabled
    app.code_button.click()  # a front end can send what its button would not
    with pytest.raises(SwitchedOffError, match="Voilà"):
        app.check()
    assert app.snippet.value == ""
    app.close()


def test_a_dropped_model_is_asked_about_and_used(app, colour, tiny):
    drop(app, colour())
    drop(app, tiny, name="my net.onnx")
    assert app.wait(60)
    form = app.form
    assert form.layout.display is None
    assert (form.name.value, form.side.value, form.side.disabled) == ("my-net", 8, True)
    assert "images: float32" in form.card.value
    form.preset.set_state({"index": form.preset.options.index("raw")})
    form.labels.set_state({"value": "a\nb\nc\nd"})
    form.use_button.click()
    assert app.wait(60)
    app.check()
    assert form.layout.display == "none"
    assert app.picker.value == "my-net"
    assert app.results[-1].model == "my-net"


def test_what_a_person_typed_is_not_painted_over(app, tiny):
    drop(app, tiny, name="net.onnx")
    assert app.wait(60)
    app.form.name.set_state({"value": "mine"})
    app.repaint()
    assert app.form.name.value == "mine"
    app.form.dismiss_button.click()
    assert app.sitting.newcomer is None


def test_copy_as_code_offers_the_cell(app, colour):
    drop(app, colour())
    assert app.wait(60)
    app.code_button.click()
    assert app.snippet.value == app.code()
    app.clear_button.click()
    assert app.snippet.value == ""
    assert app.results == []


def test_keep_and_export_say_what_they_wrote(app, colour):
    assert app.keep_button.disabled
    drop(app, colour())
    assert app.wait(60)
    app.keep_button.click()
    assert "display(app.results[-1])" in app.said.value
    app.export_button.click()
    assert "results.csv" in app.said.value
    assert list(app.to_frame()["label"]) == ["red"]


def test_the_warm_up_button_warms(app):
    assert "cold" in app.picker.label
    app.warm_button.click()
    assert app.wait(60)
    assert "warm" in app.picker.label


def test_an_error_of_the_painting_is_shown_and_kept(app, monkeypatch):
    monkeypatch.setattr(type(app.sitting.runs), "times", lambda _: 1 / 0)
    app.sitting.runs.append(object())
    monkeypatch.setattr(type(app.sitting), "results", property(lambda _: []))
    app.repaint()
    assert "Painting" in app.error_line.value
    assert app.errors
    app.sitting.runs.clear()


def test_its_display_says_something_where_there_is_no_kernel(app):
    bundle = app._repr_mimebundle_()
    assert "run the cell" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == "<workbench app: 0 results>"


def test_every_control_has_a_name_that_a_screen_reader_can_say(app):
    from workbench.widgets.panel import parts

    for part in parts(app):
        if type(part).__name__ not in {"HTML", "IntProgress"}:  # shown, not used
            assert getattr(part, "description", "a name") != "", type(part).__name__


def test_closing_closes_every_part(hub):
    before = set(widget._instances)
    app = wb.app(hub, model="means")
    app.close()
    assert set(widget._instances) - before == set()


def test_reset_turns_the_sliders_and_the_answer_back(app, colour):
    drop(app, colour())
    assert app.wait(60)
    assert app.reset_button.disabled
    app.dials.color.set_state({"index": 1})
    assert app.wait(60)
    assert not app.reset_button.disabled
    app.reset_button.click()
    assert app.wait(60)
    assert app.dials.color.value == "RGB"
    assert [r.label for r in app.results] == ["red", "blue", "red"]
    assert app.sitting.runs[-1].pipeline is None


def test_what_became_of_each_of_several_files_stays_on_the_error_line(app, colour):
    zone = app.zone
    zone._handle_custom_msg({"kind": "refused", "name": "a.jpg", "size": 11_000_000}, [])
    told = {"kind": "begin", "id": "b", "name": "b.jpg", "size": 4, "via": "drop", "first": False}
    zone._handle_custom_msg(told, [])
    zone._handle_custom_msg({"kind": "chunk", "id": "b", "offset": 0}, [memoryview(b"text")])
    assert app.wait(60)
    assert "image_too_large" in app.error_line.value
    assert "not_an_image" in app.error_line.value
    drop(app, colour())
    assert app.wait(60)
    assert app.error_line.value == ""


def test_what_is_no_picture_is_not_asked_about_again(app, colour):
    drop(app, colour())
    drop(app, name="notes.jpg", content=b"text")
    assert app.wait(60)
    assert app.result.value == app.results[0]._repr_html_(), "the last answer is still shown"
    app.again_button.click()
    assert app.wait(60)
    assert [r.source for r in app.results] == ["red.png", "notes.jpg", "red.png"]


def test_all_results_can_be_put_in_order(app, colour):
    for name in ("a.png", "b.png"):
        drop(app, colour(name), name=name)
    assert app.wait(60)
    app.order.set_state({"index": app.order.options.index("slowest first")})
    assert "slowest first" in app.all.value
    app.order.set_state({"index": 0})
    assert "slowest first" not in app.all.value


def test_a_fold_shows_its_parts_when_its_button_is_pressed(app):
    fold = app.more[0]
    assert fold.inside.layout.display == "none"
    fold.button.set_state({"value": True})
    assert fold.inside.layout.display is None
    fold.button.set_state({"value": False})
    assert fold.inside.layout.display == "none"


def test_stop_says_at_once_that_it_is_stopping_and_then_what_was_left_out(app, monkeypatch, colour):
    begun, go, plain = threading.Event(), threading.Event(), module.answer

    def deaf(*args, stop, **options):  # as one huge node of a graph is
        begun.set()
        assert go.wait(60)
        return plain(*args, stop=Stop(), **options)

    monkeypatch.setattr(module, "answer", deaf)
    for name in ("a.png", "b.png", HOSTILE):
        drop(app, colour(), name=name)
    assert begun.wait(60)
    assert app.stop_button.disabled is False
    app.stop_button.click()
    assert "Stopping … a.png: means" in app._doing.value
    assert app.stop_button.disabled
    assert "2 that waited were left out: b.png, &lt;img" in app._left.value
    go.set()
    assert app.wait(60)
    assert app.results == []
    assert "was stopped on request" in app.error_line.value
    assert app.status.layout.display is None
    app.take_up_button.click()
    assert app.wait(60)
    assert [r.source for r in app.results] == ["b.png", HOSTILE]
    assert app.status.layout.display == "none"


def test_what_was_left_out_can_be_forgotten(app, monkeypatch, colour):
    begun = threading.Event()

    def waits(*_, stop, **__):
        begun.set()
        stop.wait(60)
        stop.check("answering")

    monkeypatch.setattr(module, "answer", waits)
    for name in ("a.png", "b.png"):
        drop(app, colour(), name=name)
    assert begun.wait(60)
    app.stop_button.click()
    assert app.wait(60)
    assert "1 that waited was left out: b.png." in app._left.value
    app.leave_out_button.click()
    assert app._left.value == ""
    assert app.status.layout.display == "none"


def test_the_form_asks_about_one_dropped_model_after_the_other(app, tiny):
    for name in ("one.onnx", "two.onnx"):
        drop(app, tiny, name=name)
    assert app.wait(60)
    assert app.form.name.value == "one"
    assert "Asked about next: two." in app.form.after.value
    app.form.dismiss_button.click()
    assert (app.form.name.value, app.form.after.value) == ("two", "")
    app.form.dismiss_button.click()
    assert app.form.layout.display == "none"


def test_controls_follow_what_is_chosen_from_a_cell(app, colour):
    drop(app, colour())
    assert app.wait(60)
    app.sitting.turn(color_format="BGR")
    assert app.dials.color.value == "BGR"
    app.sitting.choose(top_k=30, preset="inception")
    assert (app.top_k.value, app.preset.value) == (30, "inception")
    assert app.dials.color.value == "RGB"
    assert app.dials.interpolation.value == "bicubic"
    base = app.sitting.base
    app.sitting.choose(pipeline=turned(base, replace(Knobs.of(base), interpolation="nearest")))
    assert app.dials.interpolation.value == "nearest"
    app.sitting.choose(preset="")
    assert app.preset.value == ""
    app.sitting.pick("endless")
    assert app.picker.value == "endless"
    app.sitting.stop()
    assert app.wait(60)
    assert len(app.results) <= 6, "what is painted is not chosen again"


def test_a_static_word_for_where_there_is_no_kernel_is_an_output_of_its_own(app, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    app._ipython_display_()
    (live, _), (word, _) = shown
    assert "application/vnd.jupyter.widget-view+json" in live
    assert set(word) == {"text/html", "text/plain"}
    assert "run this cell again" in word["text/html"]
    assert "<script" not in word["text/html"]


def test_the_picker_shows_the_state_of_each_model(app, hub, colour):
    def lines():
        return {name: line for line, name in app.picker.options}

    assert (lines()["means"], lines()["endless"]) == ("○ means · cold", "○ endless · cold")
    hub.load("endless")  # by someone else
    drop(app, colour())
    assert app.wait(60)
    assert (lines()["means"], lines()["endless"]) == ("● means · warm", "● endless · warm")
    hub.unload("means")
    app.repaint()
    assert lines()["means"] == "○ means · cold"
    assert app.picker.value == "means"
    assert len(app.results) == 1


def test_the_cell_that_was_copied_says_how_far_it_goes(app, colour):
    drop(app, colour())
    assert app.wait(60)
    app.code_button.click()
    assert app.snippet.label == "This sitting as a cell (1 run)"
    before = app.snippet.value
    app.again_button.click()
    assert app.wait(60)
    assert app.snippet.label.startswith("This sitting as a cell, up to run 1 of 2")
    assert app.snippet.value == before
    app.code_button.click()
    assert app.snippet.label == "This sitting as a cell (2 runs)"
    app.sitting.clear()
    assert app.snippet.value == ""
