"""Cells of CSV files: no text is a formula, numbers stay numbers, nothing is lost."""

from __future__ import annotations

import csv

import pytest

from workbench.spreadsheet import as_written, csv_text, safe_cell

FORMULAS = ["=1+1", "+1", "-1", "@sum", "\tx", "\r=1", "=cmd|' /C calc'!A0"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_text_begins_like_a_formula(cell: str) -> None:
    assert str(safe_cell(cell)).startswith("'")


@pytest.mark.parametrize("cell", ["=1+1", "-1", "cat", "'tis", "", "''", "a 'quote'"])
def test_what_was_written_can_be_read_as_it_was(cell: str) -> None:
    assert as_written(str(safe_cell(cell))) == cell


def test_numbers_stay_numbers_and_what_is_not_known_is_empty() -> None:
    text = csv_text(["=name", "n"], [["=1", -1.5], ["cat", float("nan")], [None, 2]])
    assert text.splitlines() == ["'=name,n", "'=1,-1.5", "cat,", ",2"]


def test_a_table_with_commas_and_quotes_is_read_back_whole() -> None:
    rows = [["a,b", 'say "x"'], ["two", "=1"]]
    read = list(csv.reader(csv_text(["one", "two"], rows).splitlines()))
    assert read == [["one", "two"], ["a,b", 'say "x"'], ["two", "'=1"]]
