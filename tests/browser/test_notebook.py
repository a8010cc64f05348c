"""A notebook of results in JupyterLab as a person meets it: run, untrusted, dark, narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from tests.browser import sight
from tests.browser.hands import CODE_CELLS, DARK, ERRORS, LIGHT, NARROW, WIDE, Sheet, open_notebook
from tests.browser.lab import never_run

if TYPE_CHECKING:
    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

NAME = "03_classifying"
OUTPUTS = ".jp-Notebook .jp-OutputArea-output"
CARDS = f"{OUTPUTS}.jp-RenderedHTML, {OUTPUTS} .jp-RenderedHTML"
DIVS = f"{OUTPUTS}.jp-RenderedHTML > div, {OUTPUTS} .jp-RenderedHTML > div"
#: How far each card reaches beyond its place, how much of it is hidden, and whether it, or what it
#: stands in, can be scrolled.
REACH = """
cards => cards.map(e => {
  const area = e.closest('.jp-OutputArea');
  let scrolls = false;
  for (let around = e; around !== area; around = around.parentElement)
    scrolls ||= ['auto', 'scroll'].includes(getComputedStyle(around).overflowX);
  const place = e.closest('.jp-OutputArea-output').getBoundingClientRect();
  return {
    more: e.scrollWidth - e.clientWidth, scrolls,
    over: place.right - area.getBoundingClientRect().right,
  };
})
"""


def _without_kernel(notebook: Any) -> None:
    """Ask for a kernel that is not there, in a language for which there is no other."""
    notebook.metadata = {
        "kernelspec": {"name": "none-of-these", "display_name": "None", "language": "none"}
    }


@pytest.fixture(scope="module")
def ran(browser: Any, lab: Lab) -> Iterator[Sheet]:
    """Open a copy that was never run, and choose "Run All Cells" in the menu."""
    sheet = open_notebook(browser, lab, lab.put(NAME, "run.ipynb", never_run))
    sheet.run_all()
    yield sheet
    sheet.page.close()


def _result(sheet: Sheet) -> Any:
    """Return the first output: the card of one picture's answer."""
    return sheet.page.locator(OUTPUTS).first


def _check_results(sheet: Sheet) -> None:
    """All pictures are there, and the bars are as long as they say."""
    assert sight.broken_pictures(sheet.page.locator(".jp-Notebook")) == []
    assert sheet.page.locator(f"{OUTPUTS} img").count() >= 5
    assert "cat" in _result(sheet).inner_text()
    bars = sight.bars(_result(sheet))
    assert len(bars) >= 10  # five answers and at least five stages
    for bar in bars:
        assert bar["width"] == pytest.approx(bar["room"] * bar["share"] / 100, abs=3)
    assert max(bar["width"] for bar in bars) > 50


def test_all_cells_run_and_no_error_is_shown(ran: Sheet, screenshots: Path) -> None:
    prompts = ran.page.locator(f"{CODE_CELLS} .jp-InputPrompt").all_inner_texts()
    assert prompts == [f"[{n}]:" for n in range(1, len(prompts) + 1)]
    assert ran.page.locator(ERRORS).count() == 0
    ran.keep(screenshots / "03_light.png", _result(ran))
    assert ran.faults == []


def test_results_are_shown_with_pictures_and_bars(ran: Sheet) -> None:
    _check_results(ran)


def test_results_can_be_read_in_light_and_in_dark(ran: Sheet, screenshots: Path) -> None:
    assert ran.page.locator(CARDS).count() >= 4
    assert sight.pale_texts(ran.page.locator(CARDS)) == []
    ran.theme(DARK)
    try:
        assert sight.pale_texts(ran.page.locator(CARDS)) == []
        _check_results(ran)
        ran.keep(screenshots / "03_dark.png", _result(ran))
    finally:
        ran.theme(LIGHT)


def test_a_narrow_window_cuts_nothing_off(ran: Sheet, screenshots: Path) -> None:
    ran.page.set_viewport_size(NARROW)
    try:
        assert sight.sticks_out(ran.page) == 0
        ran.keep(screenshots / "03_narrow.png", _result(ran))
        reaches = ran.page.locator(DIVS).evaluate_all(REACH)
        assert len(reaches) >= 4
        for reach in reaches:
            assert reach["over"] <= 1, "a card is wider than its place"
            assert reach["more"] <= 1 or reach["scrolls"], "it cannot be reached"
    finally:
        ran.page.set_viewport_size(WIDE)


def _stored(lab: Lab, name: str) -> dict[str, int]:
    """Count what the file holds of what a front end could strip."""
    cells = nbformat.read(lab.folder / name, as_version=4).cells
    data = [o.get("data", {}) for c in cells for o in c.get("outputs", ())]
    html = "".join(str(d["text/html"]) for d in data if "text/html" in d)
    tags = {
        tag: len(re.findall(rf"<{tag}[ >]", html))
        for tag in ("img", "caption", "th", "td", "details")
    }
    figures = sum("image/png" in d and "text/html" not in d for d in data)
    return {**tags, "img": tags["img"] + figures}


def test_an_untrusted_copy_shows_its_results_without_a_kernel(
    browser: Any, lab: Lab, screenshots: Path
) -> None:
    name = lab.put(NAME, "stranger.ipynb", _without_kernel)
    before = lab.kernels()
    sheet = open_notebook(browser, lab, name)
    page = sheet.page
    page.wait_for_selector(".jp-Dialog")  # which kernel? none
    page.select_option(".jp-Dialog select", label="No Kernel")
    page.click(".jp-Dialog button.jp-mod-accept")
    page.wait_for_selector(".jp-Dialog", state="detached")
    cells = lab.ask(f"api/contents/{name}?content=1")["content"]["cells"]
    trusted = [c["metadata"].get("trusted") for c in cells if c["cell_type"] == "code"]
    assert set(trusted) == {False}, "the copy is trusted, so this would show nothing"
    _check_results(sheet)
    stored = _stored(lab, name)
    assert stored["img"] >= 10
    assert {tag: page.locator(f"{OUTPUTS} {tag}").count() for tag in stored} == stored
    assert sight.pale_texts(page.locator(CARDS)) == []
    sheet.keep(screenshots / "03_untrusted.png", _result(sheet))
    sheet.theme(DARK)
    try:
        assert sight.pale_texts(page.locator(CARDS)) == []
        sheet.keep(screenshots / "03_untrusted_dark.png", _result(sheet))
    finally:
        sheet.theme(LIGHT)
    assert lab.kernels() == before
    page.close()
