"""The app in a notebook of JupyterLab, used with mouse, keys, files, clipboard and camera."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
import pytest
from PIL import Image

import workbench as wb
from tests import graphs
from tests.browser import sight
from tests.browser.hands import DARK, ERRORS, LIGHT, NARROW, WIDE, Sheet, open_notebook

if TYPE_CHECKING:
    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=window.stung=1>.jpg"
#: What one message to the kernel may hold, in bytes: a piece of a file, and its envelope.
MESSAGE_BYTES = 1_100_000
FOLDS = ("Preprocessing steps", "Times of this sitting", "All results", "The model")


@pytest.fixture(scope="module")
def shelf(lab: Lab) -> Path:
    """Put models beside the notebook that never end, also within one node, and that crash."""
    folder = lab.folder / "app" / "models"
    (folder / "metadata").mkdir(parents=True)
    makers = {
        "endless": graphs.endless,
        "one-node": graphs.endless_node,
        "deadly": graphs.deadly_when_dark,
    }
    for name, make in makers.items():
        make(folder / f"{name}.onnx")
        told = folder / "metadata" / f"{name}.json"
        told.write_text(json.dumps(graphs.PLAIN), encoding="utf-8")
    return folder


def _open(browser: Any, lab: Lab, name: str) -> Sheet:
    cells = ("import workbench as wb\napp = wb.app()\napp", "app")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.cells[1].source = ""
    notebook.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python"
    }  # fmt: skip
    sheet = open_notebook(browser, lab, lab.write(f"app/{name}", notebook))
    sheet.idle()
    sheet.run_cell(0)
    sheet.app.wait_for()
    return sheet


@pytest.fixture(scope="module")
def opened(browser: Any, lab: Lab, shelf: Path) -> Iterator[Sheet]:
    """Open one app for the tests of this module."""
    sheet = _open(browser, lab, "app.ipynb")
    yield sheet
    sheet.page.close()


@pytest.fixture
def desk(opened: Sheet) -> Iterator[Sheet]:
    """Give each test the app as it is at first; no test may leave a fault of a script behind."""
    yield opened
    opened.page.set_viewport_size(WIDE)
    assert opened.faults == []
    opened.button("Clear").click()
    opened.pick("Model", "cifar10")
    opened.app.locator("img").first.wait_for(state="detached")


def _said(photo: str, model: str = "cifar10") -> wb.Result:
    """Return what the model says in this process."""
    (result,) = wb.Runner(wb.ModelHub()).classify([wb.example(photo)], model=model)
    assert isinstance(result, wb.Result)
    return result


def _title(photo: str, shown_as: str = "") -> re.Pattern[str]:
    """Return how the answer to a photo is headed: its name, and what cifar10 says."""
    name = shown_as or wb.example(photo).name
    return re.compile(rf"^{re.escape(name)}: .*\b{_said(photo).label}\b")


def _answer(sheet: Sheet, model: str = "cifar10") -> Any:
    """Return the table of the last answer."""
    return sheet.app.get_by_role("table", name=f"What {model} says").first


def _ask(sheet: Sheet, photo: str) -> None:
    """Give a photo, and wait until its answer and its steps are shown and nothing runs."""
    sheet.choose(wb.example(photo))
    _answer(sheet).wait_for()
    sheet.app.locator("img[alt^='picture after']").first.wait_for()
    sheet.button("Stop").wait_for(state="hidden")


def _strip(sheet: Sheet) -> tuple[list[str], str]:
    """Return the pictures of the steps, and what stands beneath them."""
    pictures = sheet.app.locator("img[alt^='picture after']")
    row = pictures.first.locator("xpath=ancestor::table[1]")
    return pictures.evaluate_all("all => all.map(e => e.src)"), row.inner_text()


def test_pictures_come_by_button_drop_and_paste_and_are_answered(
    desk: Sheet, screenshots: Path
) -> None:
    desk.keep(screenshots / "app_empty.png")
    rocket, flower, china = (wb.example(name) for name in ("rocket", "flower", "china"))
    desk.choose(rocket)
    desk.says(_title("rocket"))
    desk.keep(screenshots / "app_chosen.png")
    desk.give("drop", flower)
    desk.says(_title("flower"))
    desk.keep(screenshots / "app_dropped.png")
    desk.give("paste", china, "pasted.jpg")
    desk.says(_title("china", "pasted.jpg"))
    assert sight.broken_pictures(desk.app) == []
    assert _answer(desk).get_by_role("row").count() == 5
    pictures, _ = _strip(desk)
    assert len(pictures) >= 3
    desk.keep(screenshots / "app_pasted.png")
    sources = desk.run_cell(1, "[result.source for result in app.results]")
    desk.says("['rocket.jpg', 'flower.jpg', 'pasted.jpg']", sources)


def test_a_picture_comes_from_the_camera(desk: Sheet, browser: Any, screenshots: Path) -> None:
    context = desk.page.context
    desk.button("Camera").click()
    desk.says(re.compile("camera.*allow"), desk.app.get_by_role("status"))
    context.grant_permissions(["camera"])
    try:
        desk.button("Camera").click()
        desk.page.wait_for_function("document.querySelector('.wb-drop video')?.videoWidth > 0")
        desk.keep(screenshots / "app_camera.png")
        desk.button("Take picture").click()
        desk.says("camera.jpg: ")
        taken = desk.app.get_by_role("img", name="picture after decode")
        size = taken.evaluate("async e => { await e.decode(); return e.naturalWidth; }")
        assert size > 100
        desk.button("Close camera").click()
        desk.app.locator("video").wait_for(state="detached")
    finally:
        context.clear_permissions()


def test_another_model_answers_the_same_picture(desk: Sheet, screenshots: Path) -> None:
    _ask(desk, "cat")
    desk.pick("Model", "cifar10-small")
    _answer(desk, "cifar10-small").wait_for()
    assert _answer(desk).count() == 0
    shown = _answer(desk, "cifar10-small").inner_text()
    best = _said("cat", "cifar10-small").top[0]
    assert best.label in shown
    assert f"{100 * best.probability:.1f} %" in shown or best.probability > 0.999
    desk.keep(screenshots / "app_other_model.png")


def test_the_slider_of_the_classes_gives_a_longer_answer(desk: Sheet) -> None:
    _ask(desk, "cat")
    before = _answer(desk).get_by_role("row").count()
    desk.slide("Top", "ArrowRight", 2)
    _answer(desk).get_by_role("row").nth(before + 1).wait_for()
    assert _answer(desk).get_by_role("row").count() == before + 2
    desk.slide("Top", "ArrowLeft", 2)
    _answer(desk).get_by_role("row").nth(before).wait_for(state="detached")


def test_a_slider_of_the_preprocessing_changes_the_strip(desk: Sheet, screenshots: Path) -> None:
    _ask(desk, "cat")
    pictures, text = _strip(desk)
    fold = desk.fold("Preprocessing steps", shown=True)
    desk.slide("Crop", "PageDown", 8)
    desk.says(re.compile(r"shorter side to (?!32)\d+, middle 32×32"))
    desk.keep(screenshots / "app_slider.png", fold)
    now, text_now = _strip(desk)
    assert len(now) == len(pictures) >= 3
    assert now[0] == pictures[0], "the picture itself is the same"
    assert now[1] != pictures[1]
    assert text_now != text
    desk.button("Reset").click()
    desk.says("shorter side to 32, middle 32×32")
    desk.fold("Preprocessing steps", shown=False)
    assert _strip(desk)[0] == pictures


def test_stop_ends_a_long_run_and_the_kernel_is_free_meanwhile(
    desk: Sheet, screenshots: Path
) -> None:
    desk.pick("Model", "endless")
    desk.choose(wb.example("cat"))
    stop = desk.button("Stop")
    stop.wait_for()
    desk.says("cat.png: endless …")
    desk.keep(screenshots / "app_running.png")
    meanwhile = desk.run_cell(1, "app.sitting.worker.running.what")
    desk.says("'cat.png: endless'", meanwhile)
    stop.click()
    desk.says("stopped on request")  # not at the time limit, which is ten minutes here
    stop.wait_for(state="hidden")
    assert "inference_timeout" not in desk.app.inner_text()
    desk.keep(screenshots / "app_stopped.png")
    desk.says("True", desk.run_cell(1, "app.wait(60) and not app.sitting.worker.busy"))
    desk.pick("Model", "cifar10")
    _answer(desk).wait_for()  # the picture is asked again: all works as before


def test_stop_ends_one_node_that_has_no_end(desk: Sheet) -> None:
    desk.pick("Model", "one-node")
    desk.choose(wb.example("cat"))
    desk.says("cat.png: one-node …")
    desk.says("True", desk.run_cell(1, "import time; time.sleep(2); app.sitting.worker.busy"))
    desk.button("Stop").click()
    desk.says("stopped on request")
    desk.button("Stop").wait_for(state="hidden")
    assert "inference_timeout" not in desk.app.inner_text()
    desk.pick("Model", "cifar10")
    _answer(desk).wait_for()


def test_a_model_that_crashes_is_an_error_and_the_kernel_lives(
    desk: Sheet, tmp_path: Path, screenshots: Path
) -> None:
    dark = tmp_path / "dark.png"
    Image.new("RGB", (40, 30)).save(dark)
    desk.pick("Model", "deadly")
    desk.choose(wb.example("cat"))
    _answer(desk, "deadly").wait_for()
    desk.choose(dark)
    desk.says("worker_crashed")
    desk.says("SIGFPE: a division that the processor refuses")
    desk.says("brings the engine down")
    desk.keep(screenshots / "app_crashed.png")
    desk.choose(wb.example("coffee"))
    desk.says("coffee.png: ")
    desk.says("worker_crashed'", desk.run_cell(1, "app.sitting.results[1].code"))
    desk.pick("Model", "cifar10")
    _answer(desk).wait_for()
    assert desk.faults == []


def test_a_file_over_the_limit_is_refused_before_it_is_sent(
    desk: Sheet, screenshots: Path, tmp_path: Path
) -> None:
    big = tmp_path / "big.jpg"
    big.write_bytes(b"\xff\xd8" * 5_500_000)
    sent = len(desk.sent)
    desk.choose(big)
    desk.says("not sent: it has 11.0 MB; the limit is 10.0 MB")
    desk.says("image_too_large")
    assert "big.jpg" in desk.app.inner_text()
    assert sum(desk.sent[sent:]) < 100_000
    desk.keep(screenshots / "app_too_large.png")


def test_a_larger_picture_comes_in_pieces(desk: Sheet) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (1000, 1000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert 2_500_000 < len(file.getvalue()) < 10_000_000
    sent = len(desk.sent)
    desk.choose({"name": "noise.png", "mimeType": "image/png", "buffer": file.getvalue()})
    desk.says("noise.png: ")
    pieces = [size for size in desk.sent[sent:] if size > 100_000]
    assert len(pieces) >= 3
    assert max(pieces) < MESSAGE_BYTES
    assert sum(desk.sent[sent:]) > len(file.getvalue())


def test_a_text_with_a_hostile_name_is_refused_in_words_and_runs_nothing(
    desk: Sheet, screenshots: Path
) -> None:
    desk.choose({"name": HOSTILE, "mimeType": "image/jpeg", "buffer": b"just some text"})
    desk.says("not_an_image")
    assert desk.app.get_by_text(HOSTILE).count() >= 2  # in the list of files, and in the error
    desk.says("is not an image")
    desk.fold("All results", shown=True)
    desk.fold("Times of this sitting", shown=True)
    shown = desk.run_cell(1, "display(app.results[-1])")
    desk.says(HOSTILE, shown)
    desk.keep(screenshots / "app_hostile.png", desk.app)
    assert desk.page.locator("img[src='x']").count() == 0
    assert desk.page.evaluate("window.stung") is None
    desk.run_cell(1, "None")
    desk.fold("All results", shown=False)
    desk.fold("Times of this sitting", shown=False)


@pytest.mark.parametrize(("theme", "name"), [(LIGHT, "light"), (DARK, "dark")])
def test_the_app_can_be_read(desk: Sheet, screenshots: Path, theme: str, name: str) -> None:
    desk.theme(theme)
    try:
        _ask(desk, "coffee")
        desk.choose({"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"text"})
        desk.says("not_an_image")
        desk.button("Clear").hover()
        assert sight.pale_texts(desk.app) == []
        desk.keep(screenshots / f"app_{name}.png", desk.app)
        for fold in FOLDS:
            opened = desk.fold(fold, shown=True)
            assert sight.pale_texts(desk.app) == []
            desk.keep(screenshots / f"app_{name}_{fold.split()[-1]}.png", opened)
            desk.fold(fold, shown=False)
    finally:
        desk.theme(LIGHT)


def test_a_narrow_window_cuts_nothing_off_and_nothing_overlaps(
    desk: Sheet, screenshots: Path
) -> None:
    _ask(desk, "coffee")
    assert sight.overlaps(desk.app) == []
    assert sight.cut_off(desk.app) == []
    desk.page.set_viewport_size(NARROW)
    desk.keep(screenshots / "app_narrow.png", desk.app)
    assert sight.sticks_out(desk.page) == 0
    right = "e => e.getBoundingClientRect().right"
    inside = desk.app.evaluate(right)
    for name in ("Catalogue", "Model", "Preprocessing"):
        assert desk.app.get_by_label(name, exact=True).evaluate(right) <= inside, name
    assert sight.overlaps(desk.app) == []
    assert sight.cut_off(desk.app) == []
    for fold in FOLDS:
        opened = desk.fold(fold, shown=True)
        desk.keep(screenshots / f"app_narrow_{fold.split()[-1]}.png", opened)
        assert sight.overlaps(desk.app) == []
        assert sight.cut_off(desk.app) == []
        desk.fold(fold, shown=False)


def test_results_outlive_a_reload_and_a_restart(
    browser: Any, lab: Lab, shelf: Path, screenshots: Path
) -> None:
    sheet = _open(browser, lab, "kept.ipynb")
    page = sheet.page
    sheet.choose(wb.example("cat"))
    title = _title("cat")
    sheet.says(title)
    sheet.button("Keep").click()
    offered = re.search(r"display\(app\.results\[-1\]\)", sheet.says("Kept as").inner_text())
    assert offered is not None
    (written,) = (lab.folder / "app" / "workbench_sitting").glob("*.html")
    sheet.run_cell(1, offered[0])
    below = page.locator(".jp-CodeCell").nth(1)
    sheet.says(title, below)
    sheet.save()
    sheet.reload()
    sheet.says(title)  # the app is live still, and shows what it showed
    sheet.says(title, below)
    sheet.keep(screenshots / "kept_reloaded.png", below)
    sheet.choose(wb.example("rocket"))
    sheet.says(_title("rocket"))

    sheet.command("kernelmenu:restart")
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    page.get_by_role("dialog").wait_for(state="detached")
    sheet.idle()
    sheet.says(title, below)
    assert sight.broken_pictures(below) == []
    sheet.keep(screenshots / "kept_restarted.png", below)
    sheet.reload()
    sheet.idle()
    sheet.says(title, below)
    assert below.locator(ERRORS).count() == 0
    sheet.keep(screenshots / "kept_restarted_reloaded_top.png")
    sheet.keep(screenshots / "kept_restarted_reloaded.png", below)
    assert sheet.faults == []

    page.goto(written.as_uri())
    sheet.says(title, page.locator("body"))
    assert sight.broken_pictures(page.locator("body")) == []
    sheet.keep(screenshots / "kept_page.png")
    page.close()
