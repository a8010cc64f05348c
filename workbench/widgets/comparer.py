"""The view of :func:`workbench.widgets.compare_models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipywidgets import HTML, Layout, SelectMultiple

from workbench.widgets.drop import DropZone
from workbench.widgets.panel import Panel, html_of, row

if TYPE_CHECKING:
    import pandas as pd

    from workbench.inference.results import Failure, Result
    from workbench.widgets.comparison import Comparison
    from workbench.widgets.sheet import Sheet


class Comparer(Panel):
    """One picture, several models, their answers side by side."""

    title = "workbench model comparison"

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(comparison)
        self.comparison = comparison
        ids = comparison.hub.ids()
        options = (*(m for m in comparison.models if m not in ids), *ids)
        self.choice = SelectMultiple(options=options, value=comparison.models,
                                     description="Models", rows=min(8, max(3, len(options))),
                                     layout=Layout(width="320px"))  # fmt: skip
        self.zone = DropZone(comparison.take, comparison.fail, model_bytes=0)
        self.zone.layout.flex = "1 1 320px"
        self.table, self.answers = HTML(), HTML()
        self.children = (
            row(self.choice, self.zone),
            self.status,
            self.error_line,
            self.table,
            self.answers,
        )
        self.choice.observe(lambda change: comparison.choose(change.new), "value")
        self.begin()

    @property
    def results(self) -> list[Result | Failure]:
        """What the models said, in the order of the models."""
        return self.comparison.results

    def to_frame(self) -> pd.DataFrame:
        """Return a row a model."""
        return self.comparison.to_frame()

    def side_by_side(self) -> Sheet:
        """Return the answers as a table, agreement and disagreement marked."""
        return self.comparison.table()

    def paint(self) -> None:
        """Show the table, and each answer beside the others."""
        self.table.value = html_of(self.comparison.table())
        self.draw(self.answers, tuple(self.results), self._answers)

    def _answers(self) -> str:
        cells = "".join(
            f"<div style='flex:1 1 300px;min-width:0'>{html_of(r)}</div>" for r in self.results
        )
        return f"<div style='display:flex;flex-wrap:wrap;gap:16px'>{cells}</div>"
