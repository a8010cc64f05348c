"""What a person does with a notebook in a browser, in JupyterLab 4 and in Notebook 7."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.browser.lab import PATIENCE_S, Lab

WIDE, NARROW = {"width": 1280, "height": 1000}, {"width": 420, "height": 900}
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
CODE_CELLS = ".jp-Notebook .jp-CodeCell"
_FAILED = "[data-mime-type='application/vnd.jupyter.error']"
#: What stands in an output where a cell, or the drawing of a widget, went wrong.
ERRORS = (
    f"{_FAILED}, [data-mime-type='application/vnd.jupyter.stderr'], "
    ".jp-OutputArea-output:has-text('Error displaying widget')"
)
_PANEL = "window.jupyterapp?.shell.currentWidget"
#: The kernel is there, listens, and does nothing. (What the tool bar shows comes too early.)
_IDLE = f"""(kernel => kernel?.connectionStatus === 'connected' && kernel.status === 'idle')(
  {_PANEL}?.sessionContext?.session?.kernel)"""
#: Every code cell carries a number, and nothing runs or waits; or something went wrong.
_ALL_RAN = f"""() => {{
  const told = [...document.querySelectorAll('{CODE_CELLS} .jp-InputPrompt')]
    .map(e => e.textContent);
  return {_IDLE}
    && (told.length > 0 && told.every(t => /\\[\\d+\\]/.test(t))
      || document.querySelector("{_FAILED}") !== null);
}}"""
#: Gives an element a file as the browser would: dropped on it, or pasted into it.
_GIVE = """(element, [how, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type}));
  const common = {bubbles: true, cancelable: true};
  if (how === 'paste')
    element.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, ...common}));
  else for (const kind of ['dragenter', 'dragover', 'drop'])
    element.dispatchEvent(new DragEvent(kind, {dataTransfer: data, ...common}));
}"""


@dataclass(eq=False)
class Sheet:
    """A notebook in a browser's window.

    Attributes
    ----------
    page : Playwright's page
    faults : errors of scripts, and dialogs that a script opened: there should be none
    sent : how many bytes each message to the kernel had
    """

    page: Any
    faults: list[str] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    @property
    def app(self) -> Any:
        """The output that holds the first drop zone: the app."""
        return self.page.locator(".jp-OutputArea-output:has(.wb-drop)").first

    def button(self, name: str) -> Any:
        """Return the app's button of this name."""
        # an icon before the word is part of its name
        return self.app.get_by_role("button", name=re.compile(rf"(^|\W){re.escape(name)}$"))

    def choose(self, *files: Any) -> None:
        """Give files by the button and the browser's file chooser: paths, or name and content."""
        with self.page.expect_file_chooser() as opened:
            self.button("Choose files").click()
        opened.value.set_files(list(files))

    def give(self, how: str, file: Path, name: str = "") -> None:
        """Drop a picture onto the app's zone, or paste it there."""
        kind = "image/png" if file.suffix == ".png" else "image/jpeg"
        text = base64.b64encode(file.read_bytes()).decode()
        zone = self.app.locator(".wb-drop")
        zone.focus()
        zone.evaluate(_GIVE, [how, name or file.name, kind, text])

    def pick(self, label: str, option: str) -> None:
        """Choose in one of the app's lists: by the whole line, or by a word of it."""
        place = self.app.get_by_label(label, exact=True)
        lines = place.locator("option").all_inner_texts()
        (number,) = (n for n, line in enumerate(lines) if option in (line, *line.split()))
        place.select_option(index=number)

    def slide(self, label: str, key: str, times: int = 1) -> None:
        """Move one of the app's sliders by keys."""
        for _ in range(times):
            self.app.get_by_role("slider", name=label, exact=True).press(key)

    def fold(self, title: str, *, shown: bool) -> Any:
        """Show or hide one of the folded parts of the app; return its button."""
        button = self.button(title)
        if button.get_attribute("aria-expanded") != str(shown).lower():
            button.click()
        inside = button.locator("xpath=following-sibling::div")
        inside.wait_for(state="visible" if shown else "hidden")
        self.page.wait_for_function(
            "([button, shown]) => button.getAttribute('aria-expanded') === shown",
            arg=[button.element_handle(), str(shown).lower()],
        )
        return button

    def says(self, text: Any, within: Any = None, wait_s: float = PATIENCE_S) -> Any:
        """Wait until this stands on the screen, and return where."""
        place = (within or self.app).get_by_text(text).first
        place.wait_for(timeout=1000 * wait_s)
        return place

    def run_all(self) -> None:
        """Choose "Run All Cells" in the menu, and wait until all have run; none may fail."""
        self.idle()
        self.page.click(".lm-MenuBar-itemLabel:text-is('Run')")
        self.page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
        self.page.wait_for_function(_ALL_RAN)
        assert self.page.locator(_FAILED).all_inner_texts() == []

    def run_cell(self, number: int, source: str | None = None) -> Any:
        """Run a code cell, of another source if given; return its place."""
        cell = self.page.locator(CODE_CELLS).nth(number)
        cell.locator(".cm-content").click()
        if source is not None:
            self.page.keyboard.press("Control+A")
            self.page.keyboard.insert_text(source)
        before = cell.locator(".jp-InputPrompt").inner_text()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(
            "([cell, before]) => { const now = cell.querySelector('.jp-InputPrompt').textContent;"
            " return /\\[\\d+\\]/.test(now) && now !== before; }",
            arg=[cell.element_handle(), before],
        )
        return cell

    def idle(self) -> None:
        """Wait until the kernel is there and does nothing."""
        self.page.wait_for_function(_IDLE)

    def command(self, name: str, **options: Any) -> None:
        """Carry out one of JupyterLab's commands, as a menu does."""
        self.page.evaluate(
            "([name, options]) => { void jupyterapp.commands.execute(name, options); }",
            [name, options],
        )

    def theme(self, name: str) -> None:
        """Choose a theme."""
        self.command("apputils:change-theme", theme=name)
        light = str("Dark" not in name).lower()
        # attached, not visible: the body of JupyterLab has no size
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")
        self.unveiled()

    def unveiled(self) -> None:
        """Wait until the picture that JupyterLab shows while it loads has gone."""
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def save(self) -> None:
        """Save with the keyboard, and wait until it is saved."""
        self.page.keyboard.press("Control+s")
        self.page.wait_for_function(f"{_PANEL}.context.model.dirty === false")

    def reload(self) -> None:
        """Load the page anew."""
        self.page.reload()
        self.page.wait_for_selector(CODE_CELLS)
        self.unveiled()

    def keep(self, file: Path, place: Any = None) -> None:
        """Keep a picture of the window, after what matters has been brought into it."""
        if place is not None:
            place.evaluate("element => element.scrollIntoView({block: 'start'})")
        self.page.screenshot(path=file)
        assert file.stat().st_size > 10_000, "a window with nothing in it"


def open_notebook(browser: Any, lab: Lab, name: str, front: str = "doc/tree") -> Sheet:
    """Open a notebook in a window of its own."""
    sheet = open_page(browser)
    sheet.page.goto(lab.address(name, front))
    sheet.page.wait_for_selector(CODE_CELLS)
    sheet.unveiled()
    return sheet


def open_page(browser: Any) -> Sheet:
    """Open a window, and listen to what goes wrong in it."""
    page = browser.new_page(viewport=WIDE)
    page.set_default_timeout(1000 * PATIENCE_S)
    sheet = Sheet(page)

    def asked(dialog: Any) -> None:
        sheet.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def connected(socket: Any) -> None:
        socket.on("framesent", lambda payload: sheet.sent.append(len(payload)))

    page.on("dialog", asked)

    def failed(error: Any) -> None:
        frames = re.findall(r"(?:https?|blob):\S+", error.stack or "")
        if not frames or any("/static/" not in frame for frame in frames):
            sheet.faults.append(str(error))  # not one of the front end's own

    page.on("pageerror", failed)
    page.on("websocket", connected)
    return sheet
