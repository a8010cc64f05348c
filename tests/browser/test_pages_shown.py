"""Displays on a page of their own, with nothing of Jupyter's around them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from tests.browser import sight
from tests.browser.hands import open_page
from tests.browser.lab import PATIENCE_S

pytestmark = pytest.mark.browser

GROUNDS = {"light": ("#ffffff", "#1a1a1a"), "dark": ("#111111", "#e8e8e8")}
PAGE = (
    "<!DOCTYPE html><html lang='en'><meta charset='utf-8'>"
    "<meta name='viewport' content='width=device-width'><title>{title}</title>"
    "<body style='margin:12px;font:14px/1.4 sans-serif;background:{ground};color:{ink}'>{body}"
)


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    """Return what is displayed, as HTML, by name."""
    runner = wb.Runner(wb.ModelHub())
    cat, coffee = wb.example("cat"), wb.example("coffee")
    results = runner.classify([cat, b"no picture", coffee], model="cifar10-small")
    model = runner.hub.load("cifar10")
    things = {
        "result": runner.classify(cat, model="cifar10"),
        "doubted": runner.classify(coffee, model="cifar10"),
        "results": results,
        "failure": results.failures[0],
        "trace": model.preprocessing.trace(cat),
        "model": model,
        "hub": runner.hub,
        "warm-up": model.warm_up(5),
        "metrics": runner.metrics,
    }
    return {name: thing._repr_html_() for name, thing in things.items()}


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("look", GROUNDS)
def test_a_page_fits_its_window_and_can_be_read(
    browser: Any, shown: dict[str, str], screenshots: Path, look: str, width: int
) -> None:
    ground, ink = GROUNDS[look]
    page = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=look)
    page.set_default_timeout(1000 * PATIENCE_S)
    try:
        for name, html in shown.items():
            page.set_content(PAGE.format(title=name, ground=ground, ink=ink, body=html))
            body = page.locator("body")
            assert sight.sticks_out(page) == 0, name
            assert sight.broken_pictures(body) == [], name
            assert sight.pale_texts(body) == [], name
            assert len(body.inner_text()) > 20, name
            page.screenshot(path=screenshots / f"page_{name}_{look}_{width}.png", full_page=True)
    finally:
        page.close()


def test_the_check_of_contrast_sees_pale_texts(browser: Any) -> None:
    page = browser.new_page()
    page.set_content(
        "<body style='background:#fff'><p style='color:#aaa'>pale</p><p>plain</p>"
        "<div style='background:#000'><p style='color:#fff8'>half</p>"
        "<p style='color:rgba(255,255,255,.2)'>faint</p></div><p aria-hidden='true'>"
        "<span style='color:#eee'>ornament</span></p><button disabled>off</button>"
        "<p style='opacity:.3'>thin</p><input style='color:#bbb;background:#fff' value='typed'>"
    )
    pale = [text for text, _ in sight.pale_texts(page.locator("body"), 0)]
    assert pale == ["pale", "faint", "thin", "typed"]
    page.close()


def test_the_check_of_the_width_sees_what_sticks_out(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 300})
    page.set_content("<div style='width:600px'>wide</div><img alt='gone' src='data:,x'>")
    assert sight.sticks_out(page, 0) > 150
    assert sight.broken_pictures(page.locator("body"), 0) == ["gone"]
    page.close()


def test_the_check_of_a_form_sees_what_overlaps_and_what_is_cut_off(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 300})
    page.set_content(
        "<button style='position:absolute;top:0;left:0;width:90px'>under</button>"
        "<button style='position:absolute;top:5px;left:60px;width:90px'>over</button>"
        "<button style='position:absolute;top:60px;left:350px;width:90px'>beyond</button>"
        "<div style='position:absolute;top:90px;width:50px;overflow-x:auto'>"
        "<button style='width:500px'>scrolled to</button></div>"
        "<div style='position:absolute;top:120px;width:390px;overflow:hidden'>"
        "<div style='width:700px;overflow-x:auto'><button style='width:600px'>lost</button></div>"
        "</div>"
        "<button style='position:absolute;top:150px;width:40px;overflow:hidden;white-space:nowrap'>"
        "too long for its place</button>"
        "<button style='position:absolute;top:150px;left:60px'>fine</button>"
    )
    body = page.locator("body")
    assert sight.overlaps(body, 0) == [["under", "over"]]
    assert sight.cut_off(body, 0) == ["beyond", "lost", "too long for its place"]
    page.close()


def test_a_fault_of_a_script_and_a_dialog_are_heard(browser: Any) -> None:
    sheet = open_page(browser)
    sheet.page.set_content(
        "<script>alert('hello')</script><img src='data:,' onerror='nothing.there()'>"
    )
    end_s = time.monotonic() + PATIENCE_S
    while len(sheet.faults) < 2 and time.monotonic() < end_s:
        sheet.page.wait_for_timeout(50)
    assert sheet.faults == ["dialog: hello", "nothing is not defined"]
    sheet.page.close()
