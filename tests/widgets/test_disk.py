"""Files are written whole, under safe names, safe for spreadsheets."""

from __future__ import annotations

import os

import pytest

from workbench.errors import WriteError
from workbench.widgets.disk import safe_name, write


def test_a_file_is_written_with_its_folder_and_nothing_else_is_left(tmp_path):
    path = write(tmp_path / "new" / "a.txt", b"one")
    write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o444 == 0o444 or os.name == "nt"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_file_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        write(tmp_path / "file" / "a.txt", b"")


@pytest.mark.parametrize("name", ["../../x.jpg", "<b>.jpg", "a/b\\c.png", "", ".", "con\0.gif"])
def test_a_safe_name_has_no_folder_and_no_markup(name):
    safe = safe_name(name, "1234")
    assert "1234" in safe
    assert not set(safe) & set("<>/\\\0 ")
