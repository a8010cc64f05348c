"""A notebook in JupyterLab as a person meets it: run, unrun, untrusted, dark, narrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import sight
from tests.browser.lab import PATIENCE_S, Lab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(2 * PATIENCE_S)]

NAME = "03_classifying"
WIDE, NARROW = {"width": 1280, "height": 1000}, {"width": 420, "height": 900}
IDLE = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
OUTPUTS = ".jp-Notebook .jp-OutputArea-output"
CARDS = f"{OUTPUTS}.jp-RenderedHTML, {OUTPUTS} .jp-RenderedHTML"
DIVS = f"{OUTPUTS}.jp-RenderedHTML > div, {OUTPUTS} .jp-RenderedHTML > div"
#: How far each card reaches beyond its place, how much of it is hidden, and whether it scrolls.
REACH = """
cards => cards.map(e => ({
  more: e.scrollWidth - e.clientWidth,
  how: getComputedStyle(e).overflowX,
  over: e.getBoundingClientRect().right
    - e.closest('.jp-OutputArea').getBoundingClientRect().right,
}))
"""
ERRORS = (
    "[data-mime-type='application/vnd.jupyter.error'], "
    "[data-mime-type='application/vnd.jupyter.stderr']"
)


def _never_run(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _without_kernel(notebook: Any) -> None:
    notebook.metadata["kernelspec"] = {
        "name": "none-of-these", "display_name": "None of these", "language": "python"
    }  # fmt: skip


def _open(browser: Any, lab: Lab, name: str) -> Any:
    page = browser.new_page(viewport=WIDE)
    page.set_default_timeout(1000 * PATIENCE_S)
    page.goto(lab.address(name))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    return page


def _theme(page: Any, name: str) -> None:
    page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}})")
    light = "false" if "Dark" in name else "true"
    page.wait_for_selector(f"body[data-jp-theme-light='{light}']")


def _picture(page: Any, output: Any, file: Path) -> None:
    """Keep what the window shows once an output has been brought into it."""
    output.scroll_into_view_if_needed()
    page.screenshot(path=file)
    assert file.stat().st_size > 10_000, "a window with nothing in it"


@pytest.fixture(scope="module")
def ran(browser: Any, lab: Lab) -> Iterator[Any]:
    """Open a copy that was never run, and choose "Run All Cells" in the menu."""
    page = _open(browser, lab, lab.put(NAME, "run.ipynb", _never_run))
    page.wait_for_function(IDLE)
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    page.wait_for_function(
        "() => { const p = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
        ".map(e => e.textContent); return p.length && p.every(t => /\\[\\d+\\]/.test(t)); }"
    )
    page.wait_for_function(IDLE)
    yield page
    page.close()


def _result(page: Any) -> Any:
    """Return the first output: the card of one picture's answer."""
    return page.locator(OUTPUTS).first


def _check_results(page: Any) -> None:
    """All pictures are there, and the bars are as long as they say."""
    assert sight.broken_pictures(page.locator(".jp-Notebook")) == []
    assert page.locator(f"{OUTPUTS} img").count() >= 5
    assert "cat" in _result(page).inner_text()
    bars = sight.bars(_result(page))
    assert len(bars) >= 10  # five answers and at least five stages
    for bar in bars:
        assert bar["width"] == pytest.approx(bar["room"] * bar["share"] / 100, abs=3)
    assert max(bar["width"] for bar in bars) > 50


def test_all_cells_run_and_no_error_is_shown(ran: Any, screenshots: Path) -> None:
    prompts = ran.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    assert prompts == [f"[{n}]:" for n in range(1, len(prompts) + 1)]
    assert ran.locator(ERRORS).count() == 0
    _picture(ran, _result(ran), screenshots / "03_light.png")


def test_results_are_shown_with_pictures_and_bars(ran: Any) -> None:
    _check_results(ran)


def test_results_can_be_read_in_light_and_in_dark(ran: Any, screenshots: Path) -> None:
    assert ran.locator(CARDS).count() >= 4
    assert sight.pale_texts(ran.locator(CARDS)) == []
    _theme(ran, "JupyterLab Dark")
    try:
        assert sight.pale_texts(ran.locator(CARDS)) == []
        _check_results(ran)
        _picture(ran, _result(ran), screenshots / "03_dark.png")
    finally:
        _theme(ran, "JupyterLab Light")


def test_a_narrow_window_cuts_nothing_off(ran: Any, screenshots: Path) -> None:
    ran.set_viewport_size(NARROW)
    try:
        assert sight.sticks_out(ran) == 0
        _picture(ran, _result(ran), screenshots / "03_narrow.png")
        reaches = ran.locator(DIVS).evaluate_all(REACH)
        assert len(reaches) >= 4
        for reach in reaches:
            assert reach["over"] <= 1, "a card is wider than its place"
            assert reach["more"] <= 1 or reach["how"] in {"auto", "scroll"}, "it cannot be reached"
    finally:
        ran.set_viewport_size(WIDE)


def test_an_untrusted_copy_shows_its_results_without_a_kernel(
    browser: Any, lab: Lab, screenshots: Path
) -> None:
    name = lab.put(NAME, "stranger.ipynb", _without_kernel)
    before = {kernel["id"] for kernel in lab.ask("api/kernels")}
    page = _open(browser, lab, name)
    page.wait_for_selector(".jp-Dialog")  # which kernel? none
    page.select_option(".jp-Dialog select", label="No Kernel")
    page.click(".jp-Dialog button.jp-mod-accept")
    page.wait_for_selector(".jp-Dialog", state="detached")
    cells = lab.ask(f"api/contents/{name}?content=1")["content"]["cells"]
    trusted = [c["metadata"].get("trusted") for c in cells if c["cell_type"] == "code"]
    assert set(trusted) == {False}, "the copy is trusted, so this would show nothing"
    _check_results(page)
    assert sight.pale_texts(page.locator(CARDS)) == []
    _picture(page, _result(page), screenshots / "03_untrusted.png")
    _theme(page, "JupyterLab Dark")
    try:
        assert sight.pale_texts(page.locator(CARDS)) == []
        _picture(page, _result(page), screenshots / "03_untrusted_dark.png")
    finally:
        _theme(page, "JupyterLab Light")
    assert {kernel["id"] for kernel in lab.ask("api/kernels")} == before
    page.close()
