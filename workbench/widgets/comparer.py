"""The view of :func:`workbench.widgets.compare_models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, SelectMultiple

from workbench.widgets.drop import DropZone
from workbench.widgets.hush import Hush
from workbench.widgets.panel import Panel, html_of, labelled, row, text

if TYPE_CHECKING:
    import pandas as pd

    from workbench.inference.opinion import Opinions
    from workbench.inference.results import Failure, Result
    from workbench.widgets.comparison import Comparison


class Comparer(Panel):
    """One picture, several models, their answers side by side."""

    title = "workbench model comparison"

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(comparison)
        self.comparison = comparison
        ids = comparison.hub.ids()
        options = (*(m for m in comparison.models if m not in ids), *ids)
        self.choice = labelled(
            SelectMultiple,
            "Models",
            "280px",
            options=options,
            value=comparison.models,
            rows=min(8, max(3, len(options))),
        )
        self.zone = DropZone(
            comparison.take, comparison.fail, begin=comparison.begin, model_bytes=0, several=False
        )
        self.zone.layout.flex, self.zone.layout.min_width = "1 1 320px", "0"
        self.table = HTML()
        self.table.add_class("wb-side-by-side")
        controls = row(self.choice, self.zone, top=True)
        self.children = (controls, self.status, self.error_line, self.table)
        self._quiet = Hush()
        self.choice.observe(self._chosen, "value")
        self.begin()

    def _chosen(self, change: Any) -> None:
        if not self._quiet:
            self.comparison.choose(change.new)

    @property
    def results(self) -> list[Result | Failure]:
        """What the models said, in the order of the models."""
        return self.comparison.results

    def to_frame(self) -> pd.DataFrame:
        """Return a row a model: its answer, the mark, and its times in ms."""
        return self.side_by_side().to_frame()

    def side_by_side(self) -> Opinions:
        """Return the answers as a value: a table and bars, agreement and disagreement marked."""
        return self.comparison.opinions()

    def paint(self) -> None:
        """Show what was said so far, and who is asked."""
        asked = self.comparison.models
        with self._quiet:
            if new := tuple(name for name in asked if name not in self.choice.options):
                self.choice.options = (*new, *self.choice.options)
            self.choice.value = asked
        said = tuple(self.results)
        waiting = text("" if self.comparison.photo else "No picture yet: give one above.")
        self.draw(self.table, said, lambda: html_of(self.side_by_side()) if said else waiting)
