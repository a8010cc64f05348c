"""The view of :func:`workbench.widgets.upload`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import HTML

from workbench.widgets.drop import DropZone
from workbench.widgets.panel import Panel

if TYPE_CHECKING:
    from workbench.widgets.intake import Intake


class Uploader(Panel):
    """A drop zone, and beneath it what became of the last file."""

    title = "workbench upload"

    def __init__(self, intake: Intake) -> None:
        super().__init__(intake)
        self.intake = intake
        self.zone = DropZone(intake.take, intake.fail, begin=intake.begin, model_bytes=0)
        self.result = HTML()
        self.children = (self.zone, self.status, self.error_line, self.result)
        self.begin()

    @property
    def results(self) -> list[Any]:
        """What became of each file, oldest first."""
        return self.intake.results

    def paint(self) -> None:
        """Show the last result."""
        results = self.intake.results
        self.draw_thing(self.result, results[-1] if results else None)
