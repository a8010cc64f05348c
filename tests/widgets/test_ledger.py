"""Every mark is on disk before the call returns, safe for spreadsheets."""

from __future__ import annotations

import csv

import pandas as pd
import pytest

from workbench.errors import ConfigError, WriteError
from workbench.inference.runner import Runner
from workbench.widgets.ledger import Ledger


@pytest.fixture
def results(hub, colour):
    bad = colour("=cmd.png")
    return Runner(hub).classify([colour(), bad, b"text"], model="means")


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_mark_is_on_disk_at_once(results, tmp_path):
    ledger = Ledger(results, tmp_path / "a.csv")
    assert not ledger.path.exists()
    ledger.mark(1, keep=True)
    assert [r["keep"] for r in rows(ledger.path)] == ["True", "False", "False"]
    ledger.mark(2, relabel=" rouge ")
    assert rows(ledger.path)[1]["relabel"] == "rouge"
    assert [p.name for p in tmp_path.glob("*.part")] == []


def test_what_was_marked_is_there_again(results, tmp_path):
    first = Ledger(results, tmp_path / "a.csv")
    first.mark(2, flag=True, relabel="=1+1")
    assert rows(first.path)[1]["relabel"] == "'=1+1"
    again = Ledger(results, tmp_path / "a.csv")
    assert again.entries == first.entries or pd.isna(again.entries[2].probability)
    assert (again.entries[1].flag, again.entries[1].relabel) == (True, "=1+1")


def test_no_cell_of_the_file_is_a_formula(results, tmp_path):
    ledger = Ledger(results, tmp_path / "a.csv")
    ledger.mark(1, relabel="@sum")
    for row in rows(ledger.path):
        assert not any(cell.startswith(("=", "+", "@")) for cell in row.values())


def test_a_failure_is_an_entry_too(results, tmp_path):
    entry = Ledger(results, tmp_path / "a.csv").entries[2]
    assert (entry.label, entry.note) == ("", "not_an_image")


def test_a_mark_that_cannot_be_written_is_a_problem_and_not_shown_as_done(results, tmp_path):
    (tmp_path / "file").write_text("")
    ledger = Ledger(results, tmp_path / "file" / "a.csv")
    ledger.mark(1, keep=True)
    assert not ledger.entries[0].keep
    with pytest.raises(WriteError):
        ledger.problems.check()


def test_a_file_of_something_else_is_not_overwritten(results, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="overwritten"):
        Ledger(results, tmp_path / "a.csv")


def test_what_are_no_results_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        Ledger(["text"], tmp_path / "a.csv")


def test_a_number_that_nobody_has_is_a_problem(results, tmp_path):
    ledger = Ledger(results, tmp_path / "a.csv")
    ledger.mark(4, keep=True)
    with pytest.raises(ConfigError):
        ledger.problems.check()


def test_the_names_that_come_to_mind_are_the_classes_and_what_was_given(results, tmp_path):
    ledger = Ledger(results, tmp_path / "a.csv")
    ledger.mark(1, relabel="zebra")
    assert ledger.labels() == ("red", "green", "blue", "zebra")


def test_the_frame_has_all(results, tmp_path):
    frame = Ledger(results, tmp_path / "a.csv").to_frame()
    assert list(frame["number"]) == [1, 2, 3]
