"""Where an app meets the notebook around it: keys, odd names, what is cut off in the middle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

import workbench as wb
from tests.browser import sight
from tests.browser.hands import DARK, LIGHT, Sheet, open_notebook
from tests.browser.lab import PATIENCE_S

if TYPE_CHECKING:
    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

#: A name whose ending is not what it looks like where the sign is obeyed ("…gpj.exe").
TURNED = "photo\u202egpj.exe\u200b.jpg"
LONG = f"{'a very long name of a photo ' * 8}from the lake.png"

#: Has the next run of the app go on until it is let go, whoever stops it.
_DEAF = """
import threading
import workbench.widgets.sitting as desk
from workbench.stopping import Stop
before, plain, go = len(app.results), desk.answer, threading.Event()
def deaf(*args, stop, **options):
    go.wait(60)
    return plain(*args, stop=Stop(), **options)
desk.answer = deaf
"""


def _open(browser: Any, lab: Lab, name: str) -> Sheet:
    cells = ("import workbench as wb\napp = wb.app()\napp", "None")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python"
    }  # fmt: skip
    sheet = open_notebook(browser, lab, lab.write(f"edges/{name}", notebook))
    sheet.idle()
    sheet.run_cell(0)
    sheet.app.wait_for()
    return sheet


@pytest.fixture(scope="module")
def opened(browser: Any, lab: Lab) -> Iterator[Sheet]:
    """Open one app for the tests of this module."""
    sheet = _open(browser, lab, "edges.ipynb")
    yield sheet
    assert sheet.faults == []
    sheet.page.close()


def _focus(sheet: Sheet) -> None:
    zone = sheet.app.locator(".wb-drop")
    zone.focus()
    assert zone.evaluate("e => e === document.activeElement")


def _chooses(sheet: Sheet, key: str) -> bool:
    """Say whether a key on the button opens the choice of files.

    It is pressed again where it came to nothing: JupyterLab may take the focus away in between,
    as it does when a save or a run before has ended.
    """
    from playwright.sync_api import TimeoutError as Late

    for _ in range(10):
        try:
            with sheet.page.expect_file_chooser(timeout=100 * PATIENCE_S):
                sheet.button("Choose files").press(key)
        except Late:
            continue
        return True
    return False


def test_the_notebook_s_keys_work_while_the_drop_zone_has_the_focus(opened: Sheet) -> None:
    page = opened.page
    opened.run_cell(1, "'changed'")
    dirty = "jupyterapp.shell.currentWidget.context.model.dirty"
    page.wait_for_function(f"{dirty} === true")
    _focus(opened)
    opened.save()
    assert page.evaluate(dirty) is False


def test_keys_that_the_zone_needs_are_its_own(opened: Sheet) -> None:
    page = opened.page
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    for key in ("Enter", " "):
        assert _chooses(opened, key)
    _focus(opened)
    page.keyboard.press("Control+V")  # nothing is there, and no cell is pasted
    opened.says(re.compile("no picture on the clipboard"))
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells


def test_names_show_what_cannot_be_seen_and_keep_their_ending(
    opened: Sheet, screenshots: Path
) -> None:
    content = wb.example("cat").read_bytes()
    opened.choose(*(
        {"name": name, "mimeType": "image/png", "buffer": content} for name in (TURNED, LONG)
    ))  # fmt: skip
    names = opened.app.locator(".wb-drop-name")
    names.nth(1).wait_for()
    turned, long = names.all_inner_texts()
    assert turned == "photo\ufffdgpj.exe\ufffd.jpg"
    assert long.endswith("from the lake.png")
    assert len(long) == 56
    assert names.nth(1).get_attribute("title") == LONG
    assert names.first.evaluate("e => [e.tagName, e.dir]") == ["BDI", "ltr"]
    opened.app.locator(".wb-drop-done").nth(1).wait_for()
    opened.button("Stop").wait_for(state="hidden")
    assert "\u202e" not in opened.app.inner_text()
    opened.keep(screenshots / "edges_names.png", opened.app)


def test_a_reload_in_the_middle_of_an_upload_leaves_nothing(browser: Any, lab: Lab) -> None:
    sheet = _open(browser, lab, "half.ipynb")
    sheet.save()
    # the kernel is held so that the first pieces are all that comes
    sheet.page.evaluate(
        """() => {
          const plain = Blob.prototype.arrayBuffer;
          let pieces = 0;
          Blob.prototype.arrayBuffer = function () {
            pieces += 1;
            return pieces > 2 ? new Promise(() => {}) : plain.call(this);
          };
        }"""
    )
    big = {"name": "big.png", "mimeType": "image/png", "buffer": b"\x89PNG" * 1_000_000}
    sheet.choose(big)
    sheet.says("25 %")
    told = sheet.run_cell(1, "app.zone.inbox.waiting")
    sheet.says("('big.png',)", told)
    sheet.save()
    sheet.reload()
    sheet.app.wait_for()
    sheet.idle()
    told = sheet.run_cell(1, "app.zone.inbox.waiting").locator(".jp-OutputArea-output")
    assert told.inner_text() == "()"
    sheet.page.close()


def _restart(sheet: Sheet) -> None:
    sheet.command("kernelmenu:restart")
    dialog = sheet.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Confirm").click()
    dialog.wait_for(state="detached")
    sheet.idle()


def test_after_a_restart_live_parts_say_that_they_have_ended(
    browser: Any, lab: Lab, screenshots: Path
) -> None:
    sheet = _open(browser, lab, "restarted.ipynb")
    page = sheet.page
    sheet.choose(wb.example("cat"))
    sheet.says("What cifar10 says")
    sheet.run_cell(1, "from workbench.widgets import results_gallery as g; g(app.results)")
    panels = page.locator(".wb-panel")
    panels.nth(1).locator("input[type=checkbox]").first.wait_for()
    words = page.get_by_text(re.compile("^The kernel that made this has ended: run this cell"))
    assert words.count() == 0
    _restart(sheet)
    words.nth(1).wait_for()
    assert words.count() == panels.count() == 2, "one sentence a panel"
    for number in range(2):
        word, panel = words.nth(number), panels.nth(number)
        assert word.is_visible()
        inside = panel.locator("button.jupyter-button, select, input[type=checkbox]")
        assert inside.count() > 1
        assert all(inside.evaluate_all("all => all.map(e => e.closest('[inert]') !== null)"))
        assert word.bounding_box()["y"] - panel.bounding_box()["y"] < 20, "it stands above the rest"
    signs = page.locator(".jupyter-widgets-disconnected").evaluate_all(
        "all => all.map(e => getComputedStyle(e, '::before').content)"
    )
    assert len(signs) > 20, "the mark of ipywidgets is what it was"
    assert set(signs) == {"none"}
    # one file, and then another: each is answered
    states = sheet.app.locator(".wb-drop-failed .wb-drop-state")
    for name in ("cat", "flower"):
        sheet.choose(wb.example(name))
        states.first.wait_for()
        assert states.all_inner_texts() == [
            "not sent: the kernel that made this has ended. Run the cell again"
        ]
        assert sheet.app.locator(".wb-drop-name").inner_text() == wb.example(name).name
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        sheet.theme(theme)
        assert [sight.pale_texts(words.nth(n)) for n in range(2)] == [[], []]
        sheet.keep(screenshots / f"edges_restarted_{name}.png", sheet.app)
        sheet.keep(screenshots / f"edges_restarted_{name}_gallery.png", panels.nth(1))
    sheet.theme(LIGHT)
    assert sheet.faults == []
    sheet.run_cell(1, "1 + 1")
    assert words.count() == 1, "the app's is still there"
    sheet.run_cell(0)
    words.wait_for(state="detached")
    sheet.choose(wb.example("cat"))
    sheet.says("What cifar10 says")
    assert sheet.faults == []
    page.close()


def test_without_its_kernel_an_app_says_what_to_do_and_results_stay(
    browser: Any, lab: Lab, screenshots: Path
) -> None:
    sheet = _open(browser, lab, "ended.ipynb")
    page, first = sheet.page, sheet.page.locator(".jp-CodeCell").first
    word = first.locator(".wb-no-kernel")
    assert word.count() == 1
    assert not word.is_visible()
    sheet.choose(wb.example("cat"))
    sheet.says("What cifar10 says")
    below = sheet.run_cell(1, "app.results[-1]")
    sheet.says(re.compile(r"^cat\.png: "), below)
    sheet.save()
    _restart(sheet)
    sheet.reload()
    sheet.idle()
    sheet.says("model not found", first)
    word.wait_for()
    assert "run this cell again" in word.inner_text()
    sheet.says(re.compile(r"^cat\.png: "), below)
    sheet.keep(screenshots / "edges_ended.png")
    sheet.run_cell(1, "1 + 1")  # so that its number is another one than before
    sheet.run_cell(0)
    sheet.app.wait_for()
    word.wait_for(state="hidden")
    page.close()


def test_models_that_are_dropped_at_once_are_asked_about_in_turn(
    opened: Sheet, tiny: Path, screenshots: Path
) -> None:
    content = tiny.read_bytes()
    opened.choose(*(
        {"name": name, "mimeType": "", "buffer": content} for name in ("one.onnx", "two.onnx")
    ))  # fmt: skip
    opened.says("Asked about next: two.")
    opened.keep(screenshots / "edges_models.png", opened.app)
    opened.button("Dismiss").click()
    opened.says("new model two")
    assert opened.app.get_by_label("Name", exact=True).input_value() == "two"
    assert opened.app.get_by_text("Asked about next").count() == 0
    opened.button("Dismiss").click()
    opened.button("Use this model").wait_for(state="hidden")


def test_what_waits_at_a_stop_is_named_and_can_be_taken_up(
    opened: Sheet, screenshots: Path
) -> None:
    # a run that hears of no stop, as one huge node of a graph is
    opened.run_cell(1, _DEAF)
    content = wb.example("cat").read_bytes()
    names = [f"cat {number}.png" for number in range(1, 7)]
    opened.choose(*({"name": n, "mimeType": "image/png", "buffer": content} for n in names))
    opened.app.locator(".wb-drop-done").nth(5).wait_for()
    opened.button("Stop").click()
    opened.says("Stopping … cat 1.png: cifar10: the step under way ends first.")
    opened.says("5 that waited were left out: cat 2.png, cat 3.png, cat 4.png, cat 5.png and 1")
    opened.keep(screenshots / "edges_stopping.png", opened.app)
    opened.run_cell(1, "go.set(); desk.answer = plain")
    opened.button("Stop").wait_for(state="hidden")
    opened.says("stopped on request")
    opened.keep(screenshots / "edges_left_out.png", opened.app)
    opened.button("Take up again").click()
    opened.says("cat 6.png: cat")
    opened.button("Take up again").wait_for(state="hidden")
    told = opened.run_cell(1, "app.wait(30); len(app.results) - before")
    assert told.locator(".jp-OutputArea-output").inner_text() == "5"


def test_what_the_browser_has_not_sent_at_a_stop_is_not_sent(opened: Sheet) -> None:
    opened.run_cell(1, _DEAF)
    opened.page.evaluate(
        """() => {
          const plain = Blob.prototype.arrayBuffer;
          Blob.prototype.arrayBuffer = async function () {
            if (this.size > 900_000) await new Promise(go => setTimeout(go, 1_500));
            return plain.call(this);
          };
        }"""
    )
    small, large = wb.example("cat").read_bytes(), b"\x89PNG" * 1_000_000
    names = ("cat 1.png", "large.png", "cat 2.png")
    kinds = zip(names, (small, large, small), strict=True)
    opened.choose(*({"name": n, "mimeType": "image/png", "buffer": b} for n, b in kinds))
    opened.says("25 %")
    opened.button("Stop").click()
    states = opened.app.locator(".wb-drop-failed .wb-drop-state")
    states.nth(1).wait_for()
    assert set(states.all_inner_texts()) == {"not sent: stopped. Give it again"}
    opened.run_cell(1, "go.set(); desk.answer = plain; app.wait(30); app.zone.inbox.waiting")
    opened.button("Stop").wait_for(state="hidden")
    opened.says("()", opened.run_cell(1, "app.zone.inbox.waiting"))
