"""A card as a value: what a widget shows, shown again in a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.cards import Displayable

if TYPE_CHECKING:
    from workbench.cards import Card


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Sheet(Displayable):
    """Shows a card: complete without the widget that it comes from."""

    card: Card

    def _card(self) -> Card:
        return self.card
