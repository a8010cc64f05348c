"""The view of :func:`workbench.widgets.results_gallery`."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Checkbox, Combobox, Layout, VBox

from workbench.cards import Card, Notes, Picture, Pictures, as_html
from workbench.inference.results import Failure, Result
from workbench.units import count, share
from workbench.widgets.hush import Hush
from workbench.widgets.panel import Panel, button, row, show, text

if TYPE_CHECKING:
    import pandas as pd

    from workbench.widgets.ledger import Ledger

#: Results on one page.
PAGE = 12


class Gallery(Panel):
    """Results as a grid, each with marks; every mark is on disk at once."""

    title = "workbench results gallery"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.ledger = ledger
        self.page = 0
        self.pages = max(1, ceil(len(ledger.entries) / PAGE))
        self.back_button = button("Previous", lambda: self.turn(-1), "", "chevron-left")
        self.next_button = button("Next", lambda: self.turn(1), "", "chevron-right")
        self.where, self.saved = HTML(), HTML()
        self.grid = row()
        self.grid.layout.align_items = "flex-start"
        self.tiles: list[Tile] = []
        self.paging = row(self.back_button, self.next_button, self.where)
        show(self.paging, self.pages > 1)
        self.children = (self.paging, self.error_line, self.grid, self.saved)
        self._fill()
        self.begin()

    def _ipython_display_(self) -> None:
        self.ledger.refresh()
        super()._ipython_display_()

    def to_frame(self) -> pd.DataFrame:
        """Return a row a result with its marks, those of other galleries too."""
        self.ledger.refresh()
        return self.ledger.to_frame()

    def mark(self, number: int, **marks: Any) -> None:
        """Mark a result (from 1) from a cell: ``keep=``, ``flag=``, ``relabel=``."""
        self.ledger.mark(number, **marks)

    def turn(self, pages: int) -> None:
        """Turn some pages."""
        self.ledger.refresh()
        self.page = min(max(0, self.page + pages), self.pages - 1)
        self._fill()
        self.repaint()

    def _fill(self) -> None:
        old = self.tiles
        first = self.page * PAGE
        shown = range(first, min(first + PAGE, len(self.ledger.entries)))
        labels = self.ledger.labels()
        self.tiles = [Tile(self.ledger, number + 1, labels) for number in shown]
        self.grid.children = tuple(self.tiles)
        for tile in old:
            tile.close()

    def paint(self) -> None:
        """Show where this is, and what is on disk."""
        self.back_button.disabled = self.page == 0
        self.next_button.disabled = self.page == self.pages - 1
        entries = self.ledger.entries
        marked = [e for e in entries if e.keep or e.flag or e.relabel]
        self.where.value = text(f"page {self.page + 1} of {self.pages}")
        self.saved.value = text(
            f"{len(marked)} of {count(len(entries), 'result')} marked. Each mark is written to "
            f"{self.ledger.path} at once."
        )
        for tile in self.tiles:
            tile.paint()


class Tile(VBox):
    """One result with its marks."""

    def __init__(self, ledger: Ledger, number: int, labels: tuple[str, ...]) -> None:
        super().__init__(layout=Layout(width="200px", margin="4px", overflow="hidden"))
        self.ledger, self.number, self._quiet = ledger, number, Hush()
        narrow = {"indent": False, "layout": Layout(width="auto")}
        self.card = HTML(as_html(_tile_card(ledger.results[number - 1])))
        self.keep = Checkbox(description="Keep", **narrow)
        self.flag = Checkbox(description="Flag", **narrow)
        self.relabel = Combobox(options=labels, placeholder="another label",
                                description="Relabel",
                                continuous_update=False, ensure_option=False,
                                style={"description_width": "initial"},
                                layout=Layout(width="190px"))  # fmt: skip
        self.children = (self.card, row(self.keep, self.flag), self.relabel)
        for name in ("keep", "flag", "relabel"):
            getattr(self, name).observe(self._marks(name), "value")
        self.paint()

    def _marks(self, name: str) -> Any:
        def moved(change: Any) -> None:
            if not self._quiet:
                self.ledger.mark(self.number, **{name: change.new})

        return moved

    def paint(self) -> None:
        """Show the marks as they are on disk."""
        entry = self.ledger.entries[self.number - 1]
        with self._quiet:
            self.keep.value, self.flag.value = entry.keep, entry.flag
            self.relabel.value = entry.relabel

    def close(self) -> None:
        """Close every part."""
        for part in (self.card, self.keep, self.flag, self.children[1], self.relabel, self):
            for name in ("layout", "style"):
                if (worn := getattr(part, name, None)) is not None and hasattr(worn, "close"):
                    worn.close()
            if part is not self:
                part.close()
        super().close()


def _tile_card(item: Result | Failure) -> Card:
    if isinstance(item, Failure):
        return Card(item.source, (Notes((f"{item.code}: {item.error.message}",)),))
    lines = (f"{item.label}{'?' if item.flagged else ''}", share(item.probability))
    picture = item.picture()
    shown: list[Any] = []
    if picture is not None:
        shown.append(Pictures((Picture(picture, f"the input {item.source}", lines),)))
    else:
        shown.append(Notes((", ".join(lines),)))
    if item.verdict:
        shown.append(Notes((item.verdict,), urgent=item.flagged))
    return Card(item.source, tuple(shown))
