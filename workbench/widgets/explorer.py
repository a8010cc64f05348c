"""The view of :func:`workbench.widgets.preprocessing_explorer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import HTML

from workbench.widgets.dial import Dials
from workbench.widgets.drop import DropZone
from workbench.widgets.panel import Panel, button, half, html_of, row
from workbench.widgets.snippet import Snippet

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.preprocessing.pipeline import Pipeline, Trace
    from workbench.widgets.exploration import Exploration
    from workbench.widgets.sheet import Sheet


class Explorer(Panel):
    """Sliders, the strip of pictures, what the model says, and the delta to its own recipe."""

    title = "workbench preprocessing explorer"

    def __init__(self, exploration: Exploration) -> None:
        super().__init__(exploration)
        self.exploration = exploration
        self.dials = Dials(exploration.turn)
        self._turned = True  # so that the sliders are placed at first
        self.delta, self.said = half(), half()
        self.strip, self.snippet = HTML(), Snippet()
        self._offered = exploration.code  # what the snippet shows, where it shows something
        self._offered_of = exploration.photo  # … and the picture that it is about
        self.reset_button = button("Reset", exploration.reset, "The model's own recipe", "undo")
        self.code_button = button("Copy as code", self._code, "The recipe as Python", "code")
        self.json_button = button("Copy as JSON", self._json, "For a metadata file", "file")
        self.zone = DropZone(
            exploration.take,
            exploration.fail,
            begin=exploration.begin,
            model_bytes=0,
            several=False,
            label="Drop another picture here",
        )
        self.children = (
            self.dials,
            row(self.reset_button, self.code_button, self.json_button),
            self.snippet,
            self.status,
            self.error_line,
            self.strip,
            row(self.said, self.delta, top=True),
            self.zone,
        )
        self.begin()

    @property
    def pipeline(self) -> Pipeline:
        """What the sliders say now."""
        return self.exploration.pipeline

    @property
    def trace(self) -> Trace | None:
        """What the strip shows; None before the first look."""
        return self.exploration.trace

    def turn(self, **knobs: Any) -> None:
        """Turn knobs from a cell, as a slider does."""
        self.exploration.turn(**knobs)

    def difference(self) -> Sheet:
        """Return the delta against the model's own recipe, and what it does to the answer."""
        return self.exploration.difference()

    def _code(self) -> None:
        self._offer(self.exploration.offered, "The recipe as Python")

    def _json(self) -> None:
        self._offer(self.exploration.json, "The recipe for a metadata file")

    def _offer(self, text: Callable[[], str], title: str) -> None:
        """Show a text, and let it follow the sliders as long as the picture is the same."""
        self._offered, self._offered_of = text, self.exploration.photo
        self.exploration.attempt(lambda: self.snippet.offer(text(), title))

    def paint(self) -> None:
        """Show what was found, and where the knobs stand, whoever has turned them."""
        exploration = self.exploration
        self.draw_thing(self.strip, exploration.trace)
        self.draw_thing(self.said, exploration.outcome)
        self.delta.value = html_of(exploration.difference())
        if self.snippet.value:
            same = exploration.photo is self._offered_of
            self.snippet.value = self._offered() if same else ""
        turned = bool(exploration.delta)
        if self._turned and not turned:
            self.dials.set(exploration.knobs)
        else:
            self.dials.follow(exploration.knobs)
        self._turned = turned
        self.reset_button.disabled = not turned
