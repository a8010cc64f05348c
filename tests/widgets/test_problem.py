"""Errors are shown with their code and hint, escaped, and kept."""

from __future__ import annotations

import pytest

from workbench.errors import CancelledError, ConfigError, NotAnImageError
from workbench.widgets.problem import Problems, attempt

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


def test_an_error_is_shown_with_its_sentence_code_and_hint():
    problems = Problems()
    error = NotAnImageError("a.jpg", "plain text")
    problems.add(error, "a.jpg")
    page = problems.html()
    for words in (error.message, "not_an_image", error.hint, "role='alert'"):
        assert words in page


def test_a_hostile_name_is_text():
    problems = Problems()
    problems.add(NotAnImageError(HOSTILE, "plain text"), HOSTILE)
    assert "<img" not in problems.html()
    assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in problems.html()


def test_what_was_kept_can_be_raised_after_it_is_no_longer_shown():
    problems = Problems()
    error = ConfigError("a", 1, "2")
    assert not attempt(problems, lambda: (_ for _ in ()).throw(error))
    problems.clear()
    assert problems.html() == ""
    with pytest.raises(ConfigError) as caught:
        problems.check()
    assert caught.value is error


def test_an_error_that_is_none_of_ours_is_shown_as_a_fault_of_ours():
    problems = Problems()
    attempt(problems, lambda: 1 / 0, "Sum")
    assert "ZeroDivisionError: division by zero" in problems.html()
    assert "internal" in problems.html()


def test_a_stop_is_a_note_and_no_alarm():
    problems = Problems()
    problems.add(CancelledError("Model 'a'"), "cat.jpg")
    assert "stopped on request" in problems.html()
    assert "not done" not in problems.html()


def test_where_all_is_well_nothing_is_shown_or_raised():
    problems = Problems()
    assert attempt(problems, lambda: 1)
    assert problems.check() is None
    assert problems.html() == ""


def test_many_errors_do_not_fill_the_screen_or_the_memory():
    problems = Problems()
    for number in range(300):
        problems.add(ConfigError("a", number, "b"))
    assert len(problems.shown) == 8
    assert len(problems.kept) == 100
    assert "300 things were not done" in problems.html()
    assert "And 292 before these" in problems.html()
    problems.clear()
    problems.add(ConfigError("a", 1, "b"), "a.jpg")
    assert "before these" not in problems.html()


def test_several_errors_are_a_row_each_with_hint_and_code():
    problems = Problems()
    for name in ("a.jpg", HOSTILE):
        problems.add(NotAnImageError(name, "plain text"), name)
    page = problems.html()
    assert "2 things were not done" in page
    assert page.count("not_an_image") == 2
    assert "a.jpg" in page
    assert "<img" not in page
