"""What all panels look like beyond the theme: a focus that can be seen, labels that can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
from ipywidgets import Layout, ToggleButton, VBox, Widget

_HERE = Path(__file__).parent


class Look(anywidget.AnyWidget):
    """Brings the style sheet of the panels and what screen readers need.

    It shows one sentence, above its panel, when the kernel has ended; and nothing before.
    """

    _esm = _HERE / "panel.js"
    _css = _HERE / "panel.css"


class Fold(VBox):
    """Parts behind a button with their title: reached by keyboard, said by screen readers.

    Parameters
    ----------
    title : of the parts
    parts : what is shown when the button is pressed
    """

    def __init__(self, title: str, *parts: Widget) -> None:
        super().__init__(layout=Layout(width="100%"))
        self.add_class("wb-fold")
        self.button = ToggleButton(
            description=title,
            tooltip=f"Show or hide: {title}",
            icon="caret-right",
            layout=Layout(width="auto"),
        )
        self.inside = VBox(parts, layout=Layout(width="auto", padding="4px 12px", display="none"))
        self.children = (self.button, self.inside)
        self.button.observe(self._pressed, "value")

    def _pressed(self, change: Any) -> None:
        self.button.icon = "caret-down" if change.new else "caret-right"
        self.inside.layout.display = None if change.new else "none"
