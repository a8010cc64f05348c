"""Each file goes to a function, in another thread; what comes back is kept."""

from __future__ import annotations

import threading

import pytest

from workbench.errors import WorkbenchError
from workbench.widgets.intake import Intake
from workbench.widgets.transfer import Upload


def test_what_the_function_returns_is_kept():
    intake = Intake(lambda given, stop: (given.name, threading.current_thread().name))
    intake.take(Upload("a.jpg", b""))
    assert intake.wait(60)
    assert intake.results == [("a.jpg", "workbench-widget")]


def test_an_error_is_kept_with_the_name_of_the_file():
    intake = Intake(lambda given, stop: 1 / 0)
    intake.take(Upload("<b>.jpg", b""))
    assert intake.wait(60)
    assert "&lt;b&gt;.jpg" in intake.problems.html()
    with pytest.raises(ZeroDivisionError):
        intake.problems.check()


def test_what_is_no_function_is_refused():
    with pytest.raises(WorkbenchError, match="a function"):
        Intake("text")


def test_an_error_of_somebodys_own_function_is_not_called_a_fault_of_ours():
    made = Intake(lambda upload, stop: {}["missing"])
    made.take(Upload("a.jpg", b"x"))
    assert made.wait(60)
    page = made.problems.html()
    assert "KeyError" in page
    assert "the function that was given" in page
    assert "fault of the workbench" not in page
    made.close()
