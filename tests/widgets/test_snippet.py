"""A text to be copied."""

from __future__ import annotations

from workbench.widgets import snippet
from workbench.widgets.snippet import Snippet


def test_a_text_is_offered_and_the_browser_is_asked_to_copy_it(monkeypatch):
    part, sent = Snippet(), []
    monkeypatch.setattr(part, "send", sent.append)
    part.offer("import workbench as wb", "The cell")
    assert (part.value, part.label) == ("import workbench as wb", "The cell")
    assert sent == [{"kind": "copy"}]


def test_texts_are_written_as_text_only():
    script = (snippet._HERE / "snippet.js").read_text(encoding="utf-8")
    assert "textContent" in script
    assert "innerHTML" not in script
