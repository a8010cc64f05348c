"""The view of :func:`workbench.widgets.model_browser`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Select, Text

from workbench.widgets.hush import Hush
from workbench.widgets.panel import Panel, button, html_of, labelled, row, text

if TYPE_CHECKING:
    from workbench.models.model import Model
    from workbench.widgets.catalogue import Catalogue


class ModelBrowser(Panel):
    """A hub's models: a search, a list, the chosen model's card, warm up and unload."""

    title = "workbench model browser"

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__(catalogue)
        self.catalogue = catalogue
        self._quiet = Hush()
        self.search = labelled(Text, "Search", "300px", placeholder="id, task, input or shelf")
        self.list = labelled(Select, "Models", "300px", rows=6)
        self.warm_button = button("Warm up", catalogue.warm_up, "Load and run it", "fire")
        self.unload_button = button("Unload", catalogue.unload, "Give its memory back", "eject")
        self.table, self.card, self.said = HTML(), HTML(), HTML()
        self.children = (
            row(self.search, self.list, row(self.warm_button, self.unload_button), top=True),
            self.status,
            self.error_line,
            self.said,
            self.table,
            self.card,
        )
        self.search.observe(self._searched, "value")
        self.list.observe(self._picked, "value")
        self.begin()

    @property
    def model(self) -> Model | None:
        """The model that is looked at."""
        return self.catalogue.model

    def _searched(self, change: Any) -> None:
        if not self._quiet:
            self.catalogue.search(change.new)

    def _picked(self, change: Any) -> None:
        if not self._quiet and change.new:
            self.catalogue.pick(change.new)

    def paint(self) -> None:
        """Show what the search found, and the model that is looked at."""
        catalogue = self.catalogue
        names = tuple(r["id"] for r in catalogue.rows())
        with self._quiet:
            self.search.value = catalogue.word
            if tuple(self.list.options) != names:
                self.list.options = names
            self.list.value = catalogue.picked if catalogue.picked in names else None
        self.warm_button.disabled = self.unload_button.disabled = catalogue.model is None
        self.table.value = html_of(catalogue.table())
        self.card.value = html_of(catalogue.model)
        self.said.value = text(catalogue.said) if catalogue.said else ""
