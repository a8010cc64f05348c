"""The notebook of the widgets where people meet it: JupyterLab 4, Notebook 7 and Voilà."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import workbench as wb
from tests.browser import sight
from tests.browser.hands import (
    CODE_CELLS,
    DARK,
    ERRORS,
    LIGHT,
    NARROW,
    WIDE,
    Sheet,
    open_notebook,
    open_page,
)
from tests.browser.lab import never_run, voila

if TYPE_CHECKING:
    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

NAME = "06_widgets"
#: Everything that a cell showed, where there is an area for it.
OUTPUTS = ".jp-OutputArea-output"
#: The live parts: what holds widgets.
LIVE = f"{OUTPUTS}:has(.jupyter-widgets)"


def _check_widgets(sheet: Sheet) -> None:
    """All of the live parts are there, with their pictures, and nothing went wrong."""
    page = sheet.page
    assert page.locator(ERRORS).count() == 0
    page.locator(LIVE).nth(3).wait_for()
    assert page.locator(LIVE).count() == 4  # app, explorer, comparison, gallery
    assert sight.broken_pictures(page.locator("body")) == []
    for number in range(4):
        assert sight.pale_texts(page.locator(LIVE).nth(number)) == []
    assert page.locator("img[src='x']").count() == 0
    assert page.locator(".wb-no-kernel:visible").count() == 0
    assert sheet.faults == []


def _upload(sheet: Sheet) -> None:
    """Give the app a photo; it is answered as in this process."""
    (said,) = wb.Runner(wb.ModelHub()).classify([wb.example("flower")], model="cifar10")
    sheet.choose(wb.example("flower"))
    sheet.says(re.compile(rf"^flower\.jpg: .*\b{said.label}\b"))
    assert sight.broken_pictures(sheet.app) == []


@pytest.fixture(scope="module")
def ran(browser: Any, lab: Lab) -> Iterator[Sheet]:
    """Open the notebook in JupyterLab, and choose "Run All Cells" in the menu."""
    sheet = open_notebook(browser, lab, lab.put(NAME, "widgets.ipynb", never_run))
    sheet.run_all()
    yield sheet
    sheet.page.close()


def test_all_cells_run_and_the_widgets_are_there(ran: Sheet, screenshots: Path) -> None:
    prompts = ran.page.locator(f"{CODE_CELLS} .jp-InputPrompt").all_inner_texts()
    assert prompts == [f"[{n}]:" for n in range(1, len(prompts) + 1)]
    _check_widgets(ran)
    for number in range(4):
        ran.keep(screenshots / f"06_light_{number}.png", ran.page.locator(LIVE).nth(number))


def test_the_app_of_the_notebook_takes_a_picture(ran: Sheet) -> None:
    _upload(ran)


def test_a_slider_of_the_explorer_changes_strip_and_difference(
    ran: Sheet, screenshots: Path
) -> None:
    explorer = ran.page.locator(LIVE).nth(1)
    pictures = explorer.locator("img[alt^='picture after']")
    before = pictures.evaluate_all("all => all.map(e => e.src)")
    for _ in range(8):
        explorer.get_by_role("slider", name="Crop", exact=True).press("PageDown")
    ran.says(re.compile(r"shorter side to (?!32)\d+, middle 32×32"), explorer)
    after = pictures.evaluate_all("all => all.map(e => e.src)")
    assert len(after) == len(before) >= 3
    assert after[1] != before[1]
    ran.keep(screenshots / "06_explorer_turned.png", explorer)


def test_the_widgets_can_be_read_in_the_dark(ran: Sheet, screenshots: Path) -> None:
    ran.theme(DARK)
    try:
        _check_widgets(ran)
        for number in range(4):
            ran.keep(screenshots / f"06_dark_{number}.png", ran.page.locator(LIVE).nth(number))
    finally:
        ran.theme(LIGHT)


def test_a_narrow_window_cuts_no_widget_off(ran: Sheet, screenshots: Path) -> None:
    ran.page.set_viewport_size(NARROW)
    try:
        assert sight.sticks_out(ran.page) == 0
        for number in range(4):
            live = ran.page.locator(LIVE).nth(number)
            ran.keep(screenshots / f"06_narrow_{number}.png", live)
            assert sight.overlaps(live) == []
            assert sight.cut_off(live) == []
        rows = ran.page.locator(LIVE).nth(2).get_by_role("table", name="Answers").locator("tr")
        heights = rows.evaluate_all("all => all.map(row => row.offsetHeight)")
        assert max(heights) < 2 * min(heights), "a row is one line high"
    finally:
        ran.page.set_viewport_size(WIDE)


def test_notebook_7_runs_it_and_takes_a_picture(browser: Any, lab: Lab, screenshots: Path) -> None:
    sheet = open_notebook(browser, lab, lab.put(NAME, "widgets_7.ipynb", never_run), "notebooks")
    sheet.run_all()
    _check_widgets(sheet)
    _upload(sheet)
    sheet.keep(screenshots / "06_notebook_7.png", sheet.app)
    sheet.page.close()


def test_voila_serves_it_without_path_and_url(
    browser: Any, tmp_path: Path, screenshots: Path
) -> None:
    with voila(tmp_path, NAME) as url:
        sheet = open_page(browser)
        page = sheet.page
        page.goto(url)
        sheet.app.wait_for()
        sheet.says(re.compile("Path and URL.* off.*Voilà serves this notebook to others"))
        assert sheet.app.get_by_role("textbox").count() == 0
        for name in ("Keep", "Export", "Copy as code"):
            assert sheet.button(name).is_disabled()
        _upload(sheet)
        sheet.keep(screenshots / "06_voila.png", sheet.app)
        _check_widgets(sheet)
        sheet.says("of 2 results marked", page.locator(LIVE).nth(3))  # the last cell ran
        sheet.keep(screenshots / "06_voila_end.png", page.locator(LIVE).nth(3))
        page.close()
