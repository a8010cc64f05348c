"""The model browser's view."""

from __future__ import annotations

from workbench.widgets import model_browser


def test_search_pick_warm_up_and_unload(hub):
    part = model_browser(hub)
    assert part.warm_button.disabled
    part.search.set_state({"value": "means"})
    assert tuple(part.list.options) == ("means",)
    part.list.set_state({"index": 0})
    assert part.wait(60)
    assert part.model.id == "means"
    assert "model means" in part.card.value
    part.warm_button.click()
    assert part.wait(60)
    assert "steady" in part.said.value
    assert "live" in part.table.value
    part.unload_button.click()
    assert part.wait(60)
    part.check()
    assert part.model.state == "cold"
    part.close()


def test_the_chosen_model_stays_chosen_while_the_search_changes(hub):
    part = model_browser(hub)
    part.list.set_state({"index": part.list.options.index("means")})
    assert part.wait(60)
    part.search.set_state({"value": "mean"})
    assert part.list.value == "means"
    part.close()


def test_the_list_and_the_search_follow_what_is_done_from_a_cell(hub):
    part = model_browser(hub)
    part.catalogue.pick("means")
    assert part.list.value == "means"
    part.catalogue.search("mea")
    assert (part.search.value, part.list.options) == ("mea", ("means",))
    assert part.wait(60)
    part.close()
