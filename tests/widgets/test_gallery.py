"""The gallery's view."""

from __future__ import annotations

from ipywidgets.widgets import widget

from workbench.inference.runner import Runner
from workbench.widgets import results_gallery
from workbench.widgets.gallery import PAGE


def test_a_tick_in_a_tile_is_on_disk_at_once(hub, colour, tmp_path):
    results = Runner(hub).classify([colour(), b"text"], model="means")
    part = results_gallery(results, tmp_path / "a.csv")
    part.tiles[0].keep.set_state({"value": True})
    part.tiles[0].relabel.set_state({"value": "rouge"})
    part.check()
    text = (tmp_path / "a.csv").read_text("utf-8")
    assert "True" in text
    assert "rouge" in text
    assert "1 of 2 results marked" in part.saved.value
    assert list(part.to_frame()["keep"]) == [True, False]
    part.mark(2, flag=True)
    assert part.tiles[1].flag.value
    part.close()


def test_a_mark_that_is_not_on_disk_is_not_ticked(hub, colour, tmp_path):
    (tmp_path / "file").write_text("")
    results = Runner(hub).classify([colour()], model="means")
    part = results_gallery(results, tmp_path / "file" / "a.csv")
    part.tiles[0].keep.set_state({"value": True})
    assert part.tiles[0].keep.value is False
    assert "cannot be written" in part.error_line.value
    part.close()


def test_many_results_are_pages_and_old_tiles_are_closed(hub, colour, tmp_path):
    result = Runner(hub).classify(colour(), model="means")
    part = results_gallery([result] * (PAGE + 1), tmp_path / "a.csv")
    open_ = len(widget._instances)
    part.next_button.click()
    assert len(part.tiles) == 1
    assert len(widget._instances) < open_
    assert part.next_button.disabled
    part.back_button.click()
    assert len(part.tiles) == PAGE
    assert len(widget._instances) == open_
    part.close()


def test_what_another_gallery_marked_is_seen_at_the_next_look(hub, colour, tmp_path, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    results = Runner(hub).classify([colour(), colour("b.png", (0, 0, 255))], model="means")
    one, two = (results_gallery(results, tmp_path / "a.csv") for _ in range(2))
    two.mark(2, flag=True)
    assert list(one.to_frame()["flag"]) == [False, True]
    assert one.tiles[1].flag.value
    two.mark(1, relabel="rouge")
    one._ipython_display_()
    assert one.tiles[0].relabel.value == "rouge"
    assert "2 of 2 results marked" in one.saved.value
    one.close()
    two.close()
