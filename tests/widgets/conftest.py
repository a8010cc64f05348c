"""No test of a widget leaves one behind."""

from __future__ import annotations

from collections.abc import Iterator

import ipywidgets
import pytest
from ipywidgets.widgets import widget


@pytest.fixture(autouse=True)
def no_widget_is_left() -> Iterator[None]:
    """Close every widget after the test, and make sure that no comm stays open."""
    before = set(widget._instances)
    yield
    for key in set(widget._instances) - before:
        made = widget._instances.get(key)
        if made is not None:
            made.close()
    assert set(widget._instances) <= before
    assert ipywidgets.Widget is widget.Widget
