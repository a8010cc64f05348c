"""Progress of a measurement: a bar with the time left, once it is worth one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Work that is done sooner shows no bar.
DELAY_S = 1.0
_PARTS = 1000


class Progress:
    """Tells a bar how much of the work is done; silent without one."""

    def __init__(self, bar: Any | None) -> None:
        self._bar = bar

    def told(self, share: float, word: str = "") -> None:
        """Show that this share of the work (0–1) is done, and a word about it."""
        bar = self._bar
        if bar is None:
            return
        if word:
            bar.set_postfix_str(word, refresh=False)
        ahead = int(_PARTS * min(1.0, max(0.0, share))) - bar.n
        if ahead > 0:
            bar.update(ahead)


@contextmanager
def progress(title: str, wanted: bool) -> Iterator[Progress]:
    """Show a bar for a ``with`` block; it goes away at the end."""
    if not wanted:
        yield Progress(None)
        return
    from tqdm.auto import tqdm

    form = "{desc} {percentage:3.0f} %|{bar}| {elapsed} gone, {remaining} left{postfix}"
    bar = tqdm(total=_PARTS, desc=title, delay=DELAY_S, leave=False, bar_format=form)
    try:
        yield Progress(bar)
    finally:
        bar.close()
