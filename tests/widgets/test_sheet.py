"""A card as a value."""

from __future__ import annotations

from workbench.cards import Card, Facts, as_html
from workbench.widgets.sheet import Sheet


def test_a_sheet_shows_its_card():
    card = Card("<b>", (Facts((("a", "1"),)),))
    assert Sheet(card)._repr_html_() == as_html(card)
    assert str(Sheet(card)).startswith("<b>")
