"""A real JupyterLab in a temporary folder and a real browser on it, both on this machine alone.

Screenshots are kept in the folder that the variable ``SCREENSHOTS`` names, to be looked at; without
it they lie in pytest's temporary folder. Chromium is the system's: none is ever downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import PATIENCE_S, Lab, started

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",  # a camera that shows a test picture
)


#: Browsers that are open now: what they show is kept where a test fails.
OPEN: list[Any] = []


@pytest.fixture(scope="session")
def chromium() -> str:
    """Find the system's Chromium; without one the tests skip, and in CI they fail."""
    pytest.importorskip(
        "playwright", reason="playwright is not installed: pip install -e '.[test]'"
    )
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip(f"no Chromium on this machine (sought: {', '.join(PROGRAMS)})")
    return found


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which what was seen is kept."""
    named = os.environ.get("SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Start Chromium. For a module, not longer: Playwright keeps an event loop in this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium, args=list(QUIET), timeout=1000 * PATIENCE_S
        )
        OPEN.append(opened)
        try:
            yield opened
        finally:
            OPEN.remove(opened)
            opened.close()


@pytest.fixture(scope="session")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start JupyterLab with the running interpreter, a token, and settings of its own."""
    with started(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


@pytest.fixture(scope="module")
def lab(server: Lab) -> Iterator[Lab]:
    """Give JupyterLab to a module, and end the kernels that it leaves."""
    yield server
    server.rest()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep what was on the screen when a test failed."""
    report = yield
    folder = os.environ.get("SCREENSHOTS")
    if report.failed and folder:
        pages = [page for browser in OPEN for context in browser.contexts for page in context.pages]
        what = re.sub(r"[^a-z0-9]+", "_", item.name)
        for number, page in enumerate(pages):
            file = Path(folder) / f"failed_{report.when}_{what}_{number}.png"
            with suppress(Exception):  # the failure itself is what is to be told
                page.screenshot(path=file, timeout=10_000)
    return report
