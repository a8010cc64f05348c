"""Every mark is on disk before the call returns, safe for spreadsheets."""

from __future__ import annotations

import csv
import io
import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

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


def png(rgb):
    sink = io.BytesIO()
    Image.new("RGB", (20, 30), rgb).save(sink, "PNG")
    return sink.getvalue()


def test_two_galleries_on_one_file_keep_each_others_marks(results, tmp_path):
    one, two = (Ledger(results, tmp_path / "a.csv") for _ in range(2))
    one.mark(1, keep=True)
    two.mark(2, flag=True)
    one.mark(3, relabel="noise")
    told = [(r["keep"], r["flag"], r["relabel"]) for r in rows(one.path)]
    assert told == [("True", "False", ""), ("False", "True", ""), ("False", "False", "noise")]
    assert (one.entries[1].flag, two.entries[0].keep) == (True, True)
    two.mark(1, keep=False)
    assert [r["keep"] for r in rows(one.path)] == ["False", "False", "False"]


def test_galleries_of_other_results_keep_their_rows(hub, tmp_path):
    runner = Runner(hub)
    red, blue = (runner.classify(png(c), model="means") for c in ((255, 0, 0), (0, 0, 255)))
    Ledger([red], tmp_path / "a.csv").mark(1, keep=True)
    Ledger([blue], tmp_path / "a.csv").mark(1, relabel="sea")
    assert [(r["label"], r["keep"], r["relabel"]) for r in rows(tmp_path / "a.csv")] == [
        ("red", "True", ""),
        ("blue", "False", "sea"),
    ]
    both = Ledger([blue, red], tmp_path / "a.csv")
    assert [(e.relabel, e.keep) for e in both.entries] == [("sea", False), ("", True)]


def test_another_picture_of_the_same_name_does_not_inherit_a_mark(hub, tmp_path):
    runner = Runner(hub)
    first, other = (runner.classify(png(c), model="means") for c in ((255, 0, 0), (250, 0, 0)))
    assert (first.source, first.label) == (other.source, other.label) == ("bytes", "red")
    Ledger([first], tmp_path / "a.csv").mark(1, keep=True)
    assert not Ledger([other], tmp_path / "a.csv").entries[0].keep
    assert Ledger([first], tmp_path / "a.csv").entries[0].keep


def test_a_file_without_checksums_is_still_read_and_gets_them(results, tmp_path):
    path = tmp_path / "a.csv"
    Ledger(results, path).mark(1, keep=True)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.drop(columns="sha256").assign(comment="mine").to_csv(path, index=False)
    again = Ledger(results, path)
    assert [e.keep for e in again.entries] == [True, False, False]
    again.mark(2, flag=True)
    assert len(rows(path)) == 3
    assert rows(path)[0]["sha256"] == results[0].checksum != ""
    assert [r["comment"] for r in rows(path)] == ["mine"] * 3


def test_marks_of_many_processes_at_once_are_all_there(results, tmp_path, colour):
    code = (
        "import sys, pickle; from pathlib import Path\n"
        "from workbench.widgets.ledger import Ledger\n"
        "from workbench.errors import NotAnImageError\n"
        "from workbench.inference.results import Failure\n"
        "items = [Failure(source=f'{n}.png', error=NotAnImageError(f'{n}.png', 'text'),"
        " model='means') for n in range(24)]\n"
        "ledger = Ledger(items, sys.argv[1])\n"
        "for number in range(int(sys.argv[2]), 25, 3): ledger.mark(number, keep=True)\n"
        "ledger.problems.check()\n"
    )
    path = tmp_path / "a.csv"
    runs = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in (1, 2, 3)]
    assert [run.wait(120) for run in runs] == [0, 0, 0]
    assert [r["keep"] for r in rows(path)] == ["True"] * 24
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_a_file_with_other_columns_and_no_rows_is_not_overwritten(results, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(ConfigError, match="overwritten"):
        Ledger(results, tmp_path / "a.csv")
