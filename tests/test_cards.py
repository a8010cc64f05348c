"""Cards: text, HTML and thumbnails. Promises of all displays are in contracts/test_displays.py."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from workbench import cards
from workbench.cards import (
    THUMBNAIL_BYTES,
    THUMBNAIL_PIXELS,
    Bar,
    Bars,
    Card,
    Displayable,
    Facts,
    Notes,
    Picture,
    Pictures,
    Stack,
    Table,
    as_html,
    as_line,
    as_text,
    plain,
    table_of,
    thumbnail,
)


def make_image(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_whole_card_as_text():
    card = Card(
        "model cifar10",
        (
            Facts((("opset", "17"), ("parameters", "980,000"))),
            Table(
                ("id", "size"), (("a", "1.00 kB"), ("long name", "10.0 MB")), "Models", ("size",)
            ),
            Bars((Bar("cat", 0.75, "75.0 %"), Bar("dog", 0.0, "0.0 %")), "Top 2"),
            Stack((("decode", 0.001), ("run", 0.003)), "Timings"),
            Pictures((Picture(make_image(2, 2), "a cat", ("2 × 2",)),)),
            Notes(("All is well.",)),
            Notes(("Look out.",), urgent=True),
        ),
    )
    assert as_text(card) == (
        "model cifar10\n"
        "  opset       17\n"
        "  parameters  980,000\n"
        "  Models\n"
        "  id            size\n"
        "  ─────────  ───────\n"
        "  a          1.00 kB\n"
        "  long name  10.0 MB\n"
        "  Top 2\n"
        "  cat  75.0 %  ██████████████████\n"
        "  dog   0.0 %\n"
        "  Timings\n"
        "  decode  1.00 ms  ██████\n"
        "  run     3.00 ms  ██████████████████\n"
        "  [a cat] 2 × 2\n"
        "  All is well.\n"
        "! Look out."
    )


def test_a_line_is_its_own_or_the_first_facts():
    facts = Facts(tuple((f"n{i}", str(i)) for i in range(9)))
    assert as_line(Card("x", (facts,))) == "<x: n0 0, n1 1, n2 2, n3 3>"
    assert as_line(Card("x", (facts,), line="said")) == "<x: said>"
    assert as_line(Card("x")) == "<x>"


def test_a_long_line_is_cut_at_its_end():
    line = as_line(Card("x", line="y" * 500))
    assert len(line) == cards.LINE_LENGTH
    assert line.endswith("…>")


def test_wide_signs_keep_columns_aligned():
    text = as_text(Card("x", (Facts((("猫", "a"), ("dog", "b"))),)))
    assert text.splitlines()[1:] == ["  猫   a", "  dog  b"]


def test_control_characters_become_visible_marks():
    assert plain("a\x1b[31mb\nc\u202ed") == "a�[31mb�c�d"


@pytest.mark.parametrize("value", [float("nan"), -1.0, float("inf")])
def test_a_bar_of_an_impossible_share_has_a_possible_length(value):
    card = Card("x", (Bars((Bar("a", value, "n/a"),)),))
    assert "width:100.0%" in as_html(card) or "width:0.0%" in as_html(card)
    assert len(as_text(card).splitlines()) == 2


def test_an_empty_block_says_nothing():
    assert as_text(Card("x", (Bars(()), Facts(()), Notes(()), Pictures(())))) == "x"


def test_parts_of_nothing_have_no_share():
    assert "0.0 %" in as_html(Card("x", (Stack((("a", 0.0),)),)))


def test_facts_of_a_card_come_in_order():
    card = Card("x", (Facts((("a", "1"),)), Notes(("n",)), Facts((("b", "2"),))))
    assert card.facts() == (("a", "1"), ("b", "2"))


def test_a_table_takes_any_cells():
    table = table_of(["n", "x"], [(1, None), (2.5, "y")], caption="c")
    assert table == Table(("n", "x"), (("1", "None"), ("2.5", "y")), "c")


# ── thumbnails ────────────────────────────────────────────────────────────────────────────────


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (32, 32), (480, 640), (2000, 30), (30, 2000)])
def test_a_thumbnail_is_small_in_bytes_and_pixels(size):
    kind, data, shown = thumbnail(make_image(*size))
    picture = decoded(data)
    assert len(data) <= THUMBNAIL_BYTES
    assert max(picture.size) <= THUMBNAIL_PIXELS
    assert (picture.format or "").lower() == kind
    assert 0 < shown <= THUMBNAIL_PIXELS


def test_a_small_picture_keeps_its_pixels_and_is_shown_enlarged():
    image = make_image(32, 32)
    kind, data, shown = thumbnail(image)
    assert kind == "png"
    assert np.array_equal(np.asarray(decoded(data)), image)
    assert shown == 96
    assert "image-rendering:pixelated" in as_html(Card("x", (Pictures((Picture(image, "a"),)),)))


def test_a_flat_picture_stays_exact_and_a_noisy_one_becomes_jpeg():
    assert thumbnail(np.full((400, 400, 3), 9, np.uint8))[0] == "png"
    assert thumbnail(make_image(160, 160))[0] == "jpeg"


def test_a_grey_picture_and_a_view_of_one_can_be_shown():
    grey = make_image(40, 40)[..., 0]
    assert np.array_equal(np.asarray(decoded(thumbnail(grey)[1])), grey)
    flipped = make_image(40, 40)[:, ::-1]
    assert np.array_equal(np.asarray(decoded(thumbnail(flipped)[1])), flipped)


def test_the_same_picture_gives_the_same_bytes():
    assert thumbnail(make_image(300, 200)) == thumbnail(make_image(300, 200))


# ── displayable ───────────────────────────────────────────────────────────────────────────────


class Thing(Displayable):
    __slots__ = ()

    def _card(self) -> Card:
        return Card("thing", (Facts((("a", "1"),)),))


class Printer:
    said = ""

    def text(self, text: str) -> None:
        self.said += text


def test_the_three_forms_come_from_one_card():
    assert repr(Thing()) == "<thing: a 1>"
    assert str(Thing()) == "thing\n  a  1"
    assert "<caption" in Thing()._repr_html_()


def test_a_displayable_with_slots_has_no_dict():
    assert not hasattr(Thing(), "__dict__")


@pytest.mark.parametrize(
    ("shell", "cycle", "said"),
    [
        ("TerminalInteractiveShell", False, "thing\n  a  1"),
        ("TerminalInteractiveShell", True, "<thing: a 1>"),
        ("ZMQInteractiveShell", False, "<thing: a 1>"),
    ],
)
def test_ipython_shows_the_whole_card_in_a_terminal_only(shell, cycle, said, monkeypatch):
    module = type("IPython", (), {"get_ipython": staticmethod(lambda: type(shell, (), {})())})
    monkeypatch.setitem(cards.sys.modules, "IPython", module)
    printer = Printer()
    Thing()._repr_pretty_(printer, cycle)
    assert printer.said == said


def test_without_ipython_the_line_is_shown(monkeypatch):
    monkeypatch.delitem(cards.sys.modules, "IPython", raising=False)
    printer = Printer()
    Thing()._repr_pretty_(printer, False)
    assert printer.said == "<thing: a 1>"


def test_an_address_breaks_rather_than_run_out_of_the_page_and_a_checksum_stays_whole():
    address, checksum = f"https://example.org/{'a' * 90}", "ab" * 32
    card = Card("x", (Facts((("a", address), ("b", checksum))), Table(("c",), ((address,),))))
    page = as_html(card)
    assert page.count("overflow-wrap:anywhere") == 2
    assert "overflow-wrap" not in page.split(checksum)[0].rpartition("<td")[2]
