"""The comparison's view."""

from __future__ import annotations

from workbench.widgets import compare_models


def test_answers_stand_side_by_side_and_models_can_be_chosen(hub, colour):
    part = compare_models(hub, colour(), models=["means"])
    assert part.wait(60)
    part.check()
    assert part.table.value == part.side_by_side()._repr_html_()
    part.choice.set_state({"index": []})
    assert "config_invalid" in part.error_line.value
    part.choice.set_state({"index": [part.choice.options.index("means")]})
    assert part.wait(60)
    assert [r.label for r in part.results] == ["red"]
    assert list(part.to_frame()["model"]) == ["means"]
    part.close()


def test_without_a_picture_it_says_so(hub):
    part = compare_models(hub, models=["means"])
    assert "No picture yet" in part.table.value
    part.close()


def test_the_choice_follows_what_is_chosen_from_a_cell(hub):
    part = compare_models(hub, models=["means"])
    part.comparison.choose(["endless"])
    assert part.choice.value == ("endless",)
    part.close()
