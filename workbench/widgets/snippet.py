"""Text to be copied: shown, and put on the clipboard where the browser allows it."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

_HERE = Path(__file__).parent


class Snippet(anywidget.AnyWidget):
    """A block of text with a button that copies it; empty text shows nothing."""

    _esm = _HERE / "snippet.js"
    _css = _HERE / "snippet.css"

    value = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("Code").tag(sync=True)

    def offer(self, text: str, label: str = "Code") -> None:
        """Show a text, and have the browser try to copy it at once."""
        self.label = label
        self.value = text
        self.send({"kind": "copy"})
