"""The look of all panels comes along once with each, and folds open and close."""

from __future__ import annotations

from ipywidgets import HTML

from workbench.widgets import model_browser
from workbench.widgets.look import Fold, Look
from workbench.widgets.panel import parts


def test_every_panel_brings_its_look_along_once(hub):
    part = model_browser(hub)
    assert sum(isinstance(p, Look) for p in parts(part)) == 1
    assert "wb-panel" in part._dom_classes
    part.close()


def test_a_fold_is_closed_first_and_its_button_names_it():
    fold = Fold("Times", HTML("inside"))
    assert fold.button.description == "Times"
    assert fold.inside.layout.display == "none"
    fold.button.set_state({"value": True})
    assert fold.inside.layout.display is None
    assert fold.button.icon == "caret-down"
