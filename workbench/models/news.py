"""News: what the sources of locked models have now, without pulling anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cards import Card, Displayable, Notes, Table
from workbench.errors import CancelledError, DownloadError, WorkbenchError
from workbench.models import agreed, lock, store
from workbench.models.address import tell
from workbench.models.fetch import Fetcher, Rules
from workbench.models.plan import Planner
from workbench.models.upkeep import chosen, short
from workbench.units import count

if TYPE_CHECKING:
    import pandas as pd

    from workbench.models.transfer import Item
    from workbench.settings import Settings
    from workbench.stopping import Stop


@dataclass(frozen=True, slots=True)
class News:
    """What the source of one model says now.

    Attributes
    ----------
    outcome : "same", "changed", "cannot tell", "failed", or "incomplete" where its labels could not
        be had when it was pulled
    locked, now : sha256; ``now`` is empty where the source does not tell it
    reason : in words
    held : whether the model is left alone all the same, for the reason that is told
    """

    id: str
    source: str
    outcome: str
    locked: str
    now: str = ""
    reason: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Update(Displayable):
    """What the sources of the locked models have now.

    Attributes
    ----------
    news : a model each
    done : ids that were pulled anew; empty for a dry run
    dry_run : whether anything would have been pulled
    """

    news: tuple[News, ...]
    done: tuple[str, ...] = ()
    dry_run: bool = True

    @property
    def changed(self) -> tuple[str, ...]:
        """Ids whose source has another file, or may have."""
        return tuple(n.id for n in self.news if n.outcome in ("changed", "cannot tell"))

    @property
    def due(self) -> tuple[str, ...]:
        """Ids that an update pulls anew: those with news that nothing holds back."""
        news = ("changed", "cannot tell", "incomplete")
        return tuple(n.id for n in self.news if n.outcome in news and not n.held)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row a model."""
        return [
            {"id": n.id, "source": n.source, "outcome": n.outcome, "locked": n.locked,
             "now": n.now, "reason": n.reason}
            for n in self.news
        ]  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """Return a row a model: id, source, outcome, locked, now, reason."""
        import pandas as pd

        columns = ("id", "source", "outcome", "locked", "now", "reason")
        return pd.DataFrame(self.rows(), columns=list(columns))

    def _card(self) -> Card:
        rows = tuple(
            (n.id, n.outcome, short(n.locked), short(n.now), n.reason or "–") for n in self.news
        )
        columns = ("id", "outcome", "locked", "now", "why")
        told = f"Pulled anew: {', '.join(self.done)}." if self.done else "Nothing was pulled."
        line = (
            f"{count(len(rows), 'model')}, {sum(n.outcome != 'same' for n in self.news)} with news"
        )
        return Card("update", (Table(columns, rows, "Locked models"), Notes((told,))), line=line)


def look(
    shelf: store.Shelf,
    names: Iterable[str],
    rules: Rules,
    given: Settings,
    stop: Stop | None = None,
) -> tuple[News, ...]:
    """Ask the sources of locked models what they have now; nothing is pulled."""
    entries = lock.read(shelf.models)
    found = []
    fetcher = Fetcher(rules, stop)
    try:
        for name in chosen(entries, names):
            try:
                news = _news(entries[name], fetcher, given)
                if news.outcome == "same" and agreed.lacks_labels(shelf.models, entries[name]):
                    news = replace(news, outcome="incomplete", reason="its labels are missing")
                found.append(news)
            except WorkbenchError as error:
                if isinstance(error, CancelledError):
                    raise
                entry = entries[name]
                found.append(
                    News(name, entry.source, "failed", entry.model.sha256, reason=error.message)
                )
    finally:
        fetcher.close()
    return tuple(found)


_QUERY = (
    "the address had a query, which a lock does not keep: pull it again by its whole address, with "
    "replace=True (--replace)"
)
_PINNED = "its sha256 was demanded when it was pulled: pull it again with another and replace=True"


def _news(entry: lock.Entry, fetcher: Fetcher, given: Settings) -> News:
    locked = entry.model
    news = News(entry.id, entry.source, "same", locked.sha256)
    if entry.query:  # without it the address may lead to quite another file
        return replace(news, outcome="cannot tell", reason=_QUERY, held=True)
    return _pinned(_asked_of_source(news, entry, fetcher, given), entry)


def _pinned(news: News, entry: lock.Entry) -> News:
    """Hold back what is demanded by its hash: only who demanded it may want another."""
    if not entry.pin or news.outcome not in ("changed", "cannot tell"):
        return news
    reason = f"{news.reason}; {_PINNED}" if news.reason else _PINNED
    return replace(news, reason=reason, held=True)


def _asked_of_source(news: News, entry: lock.Entry, fetcher: Fetcher, given: Settings) -> News:
    locked, told = entry.model, tell(entry.source)
    if told.kind == "ipfs":
        return replace(news, now=locked.sha256, reason="a CID never changes")
    if told.kind == "file":
        return _compared(news, lock.sha256_of(Path(told.text)))
    plan = Planner(fetcher, given).plan(told, {})
    if plan.model.sha256:
        return _compared(news, plan.model.sha256)
    if told.kind == "bucket":
        return replace(news, outcome="cannot tell", reason="a bucket tells no hash")
    return _asked(news, locked, plan.model, fetcher)


def _compared(news: News, now: str) -> News:
    return replace(news, outcome="same" if now == news.locked else "changed", now=now)


def _asked(news: News, locked: lock.Locked, item: Item, fetcher: Fetcher) -> News:
    """Ask a server whether the file is still the one that it gave, without fetching it."""
    place = item.places[0]

    def act() -> News:
        with fetcher.open(place.address, dict(place.headers), trusted=place.trusted) as response:
            length = response.headers.get("content-length", "")
            etag = response.headers.get("etag") or response.headers.get("last-modified", "")
            if length.isdigit() and int(length) != locked.size_bytes:
                reason = f"it has {int(length):,} bytes there, and {locked.size_bytes:,} here"
                return replace(news, outcome="changed", reason=reason)
            if locked.validator and etag == locked.validator:
                return replace(news, now=locked.sha256, reason=f"still {etag[:40]}")
            if locked.validator and etag:
                return replace(news, outcome="changed", reason="another ETag or date")
            return replace(news, outcome="cannot tell", reason="the server tells no hash")

    try:
        told: News = fetcher.retrying(place.shown, act)
    except DownloadError as error:
        return replace(news, outcome="failed", reason=error.message)
    return told
