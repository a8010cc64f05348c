"""Errors of callbacks: shown with their code and hint, kept, never swallowed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from workbench.cards import Card, Facts, Notes, as_html
from workbench.errors import CancelledError, WorkbenchError, abridge

#: Errors that are kept, and those that are shown at once.
_KEPT, _SHOWN = 100, 8


_OURS = "This is a fault of the workbench, not of what you gave it."


@dataclass(frozen=True, slots=True)
class Problem:
    """One error, what it is about, and what to say of one that is none of this package."""

    error: Exception
    about: str = ""
    blame: str = _OURS

    @property
    def code(self) -> str:
        """The stable code; ``internal`` for what is no error of this package."""
        return self.error.code if isinstance(self.error, WorkbenchError) else "internal"

    def words(self) -> tuple[str, str]:
        """Return the sentence, and the hint (which may be empty)."""
        if isinstance(self.error, WorkbenchError):
            return self.error.message, self.error.hint
        sentence = f"{type(self.error).__name__}: {abridge(str(self.error), 300)[1:-1]}"
        return sentence, self.blame

    def card(self) -> Card:
        """Return what is shown: the sentence first, then the code and the hint."""
        if isinstance(self.error, CancelledError):
            return Card(self.about or "Stopped", (Notes((str(self.error),)),))
        sentence, hint = self.words()
        rows = (("code", self.code), *((("hint", hint),) if hint else ()))
        return Card(
            f"{self.about}: not done" if self.about else "Not done",
            (Notes((sentence,), urgent=True), Facts(rows)),
        )


def _together(problems: tuple[Problem, ...], more: int) -> Card:
    """Return several errors as one card with a row each."""
    rows = tuple(
        (p.about or "–", " ".join(filter(None, (f"{p.code}:", *p.words())))) for p in problems
    )
    many = f"{len(problems) + more} things were not done:"
    notes = (f"And {more} before these; .errors has them.",) if more else ()
    return Card("Not done", (Notes((many,), urgent=True), Facts(rows), Notes(notes)))


class Problems:
    """What went wrong in a widget.

    Parameters
    ----------
    blame : the hint of an error that is none of this package

    Attributes
    ----------
    kept : the last errors, oldest first, also when they are no longer shown
    """

    def __init__(self, blame: str = _OURS) -> None:
        self._blame = blame
        self.kept: deque[Exception] = deque(maxlen=_KEPT)
        self._shown: deque[Problem] = deque(maxlen=_SHOWN)
        self._more = 0  # that were shown and gave way to later ones
        self._lock = threading.Lock()  # the worker adds while the view reads

    @property
    def shown(self) -> tuple[Problem, ...]:
        """What is shown now."""
        with self._lock:
            return tuple(self._shown)

    def add(self, error: Exception, about: str = "") -> None:
        """Keep an error and show it."""
        with self._lock:
            self.kept.append(error)
            self._more += len(self._shown) == _SHOWN
            self._shown.append(Problem(error, about, self._blame))

    def clear(self) -> None:
        """Show nothing any more; what is kept stays."""
        with self._lock:
            self._shown.clear()
            self._more = 0

    def check(self) -> None:
        """Raise the last error that was kept, if there is one."""
        if self.kept:
            raise self.kept[-1]

    def html(self) -> str:
        """Return what is shown as HTML; empty where all is well."""
        shown = self.shown
        if not shown:
            return ""
        card = shown[0].card() if len(shown) == 1 else _together(shown, self._more)
        return f"<div role='alert'>{as_html(card)}</div>"


def attempt(problems: Problems, call: Callable[[], object], about: str = "") -> bool:
    """Call something for a widget: an error is shown and kept. Return whether all went well."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  (a callback's error has nobody else to go to)
        problems.add(error, about)
        return False
    return True
