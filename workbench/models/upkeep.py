"""Keeping pulled models: verifying, restoring a folder from its lock, looking for news."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.errors import (
    ChecksumError,
    DownloadError,
    FetchError,
    MissingFileError,
    UnknownModelError,
    WorkbenchError,
)
from workbench.models import catalog, lock, store
from workbench.models.address import tell
from workbench.models.assembly import fetch_labels, written
from workbench.models.catalog import Labels
from workbench.models.fetch import Fetcher, Rules
from workbench.models.part import Workshop, not_writable, settle
from workbench.models.plan import Planner
from workbench.models.progress import Bar, Shown
from workbench.models.transfer import Item, Place, transfer
from workbench.models.whereabouts import refuse_links
from workbench.units import count

if TYPE_CHECKING:
    import pandas as pd

    from workbench.settings import Settings
    from workbench.stopping import Stop


@dataclass(frozen=True, slots=True, repr=False)
class Verification(Displayable):
    """What became of the files that the lock tells of.

    Attributes
    ----------
    folder : of models
    findings : id of the model, and what became of one file
    unlocked : models in the folder that the lock does not know
    """

    folder: Path
    findings: tuple[tuple[str, lock.Finding], ...]
    unlocked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file is there and right; descriptions may be edited."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[tuple[str, lock.Finding], ...]:
        """The files that are missing or another, or of which the lock states another size."""
        return tuple((n, f) for n, f in self.findings if _state(f) not in ("right", "edited"))

    def rows(self) -> list[dict[str, Any]]:
        """Return a row a file."""
        return [
            {"id": name, "file": f.path, "role": f.role, "state": _state(f), "sha256": f.seen,
             "expected": f.expected}
            for name, f in self.findings
        ]  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """Return a row a file: id, file, role, state, sha256, expected."""
        import pandas as pd

        columns = ("id", "file", "role", "state", "sha256", "expected")
        return pd.DataFrame(self.rows(), columns=list(columns))

    def _card(self) -> Card:
        rows = tuple(
            (r["id"], r["file"], r["role"], r["state"], short(r["sha256"]), short(r["expected"]))
            for r in self.rows()
        )
        columns = ("id", "file", "role", "state", "sha256", "in the lock")
        bad = len(self.wrong)
        line = f"{count(len(rows), 'file')}, {bad} wrong" if rows else "nothing is locked"
        notes = tuple(f"{name} is here and not in the lock." for name in self.unlocked)
        return Card("verification", (Table(columns, rows, "Files"), Notes(notes)), line=line)


def _state(finding: lock.Finding) -> str:
    edited = finding.role == "metadata" and finding.state == "changed"
    return "edited" if edited else finding.state


def short(sha256: str) -> str:
    """Return the beginning of a hash, to be shown."""
    return f"{sha256[:12]}…" if sha256 else "–"


def verify(
    shelf: store.Shelf,
    names: Iterable[str] = (),
    mode: Literal["auto", "always"] = "always",
) -> Verification:
    """Take the hash of every locked file again.

    Raises
    ------
    UnknownModelError : a name that the lock does not have
    """
    entries = lock.read(shelf.models)
    wanted = chosen(entries, names)
    findings = [(n, f) for n in wanted for f in lock.examine(shelf.models, entries[n], mode)]
    here = {f.id for f in store.list_models((shelf,))} if not tuple(names) else set()
    return Verification(shelf.models, tuple(findings), tuple(sorted(here - set(entries))))


def chosen(entries: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the ids that are named, or all; UnknownModelError for one that is not locked."""
    wanted = list(names) or sorted(entries)
    for name in wanted:
        if name not in entries:
            raise UnknownModelError(name, entries)
    return wanted


#: Ending of what was a description before it was made that of the lock again.
_EDITED = ".edited"
_NO_QUERY = (
    "Its address had a query, which a lock does not keep: pull it again by its whole address."
)


# ── a folder from its lock ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)
class Restored(Displayable):
    """What was fetched to make a folder what its lock says.

    Attributes
    ----------
    folder : of models
    fetched, kept : files that came, and files that were right already
    extra : models in the folder that the lock does not know; they are left alone
    edited : descriptions that had been edited; what they said is kept beside them
    """

    folder: Path
    fetched: tuple[str, ...]
    kept: tuple[str, ...]
    extra: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()

    def _card(self) -> Card:
        rows = (
            ("folder", str(self.folder)),
            ("fetched", ", ".join(self.fetched) or "nothing"),
            ("right already", count(len(self.kept), "file")),
        )
        notes = tuple(f"{name} is not in the lock, and was left alone." for name in self.extra)
        notes += tuple(
            f"{path} had been edited and is again what the lock says; the edited one is now "
            f"{path}{_EDITED}. A passport's write() puts what is agreed into the lock."
            for path in self.edited
        )
        line = f"{count(len(self.fetched), 'file')} fetched, {len(self.kept)} right already"
        return Card("restored", (Facts(rows), Notes(notes)), line=line)


def restore(
    shelf: store.Shelf,
    names: Iterable[str],
    rules: Rules,
    given: Settings,
    *,
    progress: Shown = True,
    stop: Stop | None = None,
) -> Restored:
    """Make a folder what its lock says, byte by byte; what is right already is left alone.

    A file that cannot be had hinders no other: what can be is put right before the error tells of
    it. Only a model whose own files cannot all be had is left as it is.

    Raises
    ------
    ChecksumError : no source has the file that the lock tells of
    """
    entries = lock.read(shelf.models)
    fetched: list[str] = []
    kept: list[str] = []
    edited: list[str] = []
    failures: list[tuple[str, WorkbenchError]] = []
    fetcher = Fetcher(rules, stop)
    try:
        for name in chosen(entries, names):
            entry = entries[name]
            states = {f.path: f.state for f in lock.examine(shelf.models, entry)}
            wrong = [f for f in entry.files if states[f.path] != "right"]
            kept += [f.path for f in entry.files if states[f.path] == "right"]
            edited += [f.path for f in wrong if (f.role, states[f.path]) == ("metadata", "changed")]
            if wrong:
                done, failed = _renew(shelf, entry, wrong, fetcher, given, progress)
                fetched += [f.path for f in wrong if f.path in done]
                failures += failed
    finally:
        fetcher.close()
    if failures:
        raise _incomplete(failures, fetched)
    extra = {f.id for f in store.list_models((shelf,))} - set(entries)
    told = (tuple(fetched), tuple(kept), tuple(sorted(extra)), tuple(edited))
    return Restored(shelf.models, *told)


def _renew(
    shelf: store.Shelf,
    entry: lock.Entry,
    wrong: list[lock.Locked],
    fetcher: Fetcher,
    given: Settings,
    progress: Shown,
) -> tuple[list[str], list[tuple[str, WorkbenchError]]]:
    """Fetch the files of one model that are missing or wrong; its own comes last.

    Returns what was put in place, and what could not be had: without labels the rest is placed.
    """
    failures: list[tuple[str, WorkbenchError]] = []
    for file in wrong:
        refuse_links(shelf.models, file.path)
    with Workshop(shelf.models, f"{entry.id}\n{entry.source}") as shop:
        ready = []
        for file in sorted(wrong, key=lambda f: f.role == "model"):
            try:
                path = _made_again(shop, file, entry, fetcher, given, progress)
            except (FetchError, ChecksumError, MissingFileError) as error:
                if entry.query and isinstance(error, FetchError):
                    error.hint += f" {_NO_QUERY}"
                if isinstance(error, DownloadError) and error.resumes:
                    raise
                failures.append((file.path, error))
                if file.role != "labels":
                    return [], failures
                continue
            ready.append((path, shelf.models / file.path, file.role))
        with lock.alone(shelf.models / lock.NAME) as still:
            for path, target, role in ready:
                still()
                if role == "metadata" and target.is_file():  # what was edited is not thrown away
                    try:
                        shutil.copy2(target, target.with_name(f"{target.name}{_EDITED}"))
                    except OSError as error:
                        raise not_writable(target, error) from error
                settle(path, target)
    return [target.relative_to(shelf.models).as_posix() for _, target, _ in ready], failures


def _incomplete(failures: list[tuple[str, WorkbenchError]], fetched: list[str]) -> WorkbenchError:
    """Return the first of several failures, which tells of the others and of what was done."""
    first = failures[0][1]
    missing = ", ".join(path for path, _ in failures)
    done = f"All else is right: {len(fetched)} fetched." if fetched else "Nothing was fetched."
    first.hint = f"{first.hint} Not as the lock has it: {missing}. {done}".strip()
    return first


def _made_again(
    shop: Workshop,
    file: lock.Locked,
    entry: lock.Entry,
    fetcher: Fetcher,
    given: Settings,
    progress: Shown,
) -> Path:
    """Fetch a file, or write it again from what the lock tells of it."""
    name = file.path.replace("/", "__")
    if file.role not in ("labels", "metadata") or file.content is None:
        part = shop.part(name, seeded=file.role == "model", tick=fetcher.tick)
        item = Item(name, _places(file, entry, fetcher, given), file.sha256, file.size_bytes)
        with Bar(f"{entry.id}: {file.path}", progress) as bar:
            transfer(fetcher, item, part, lambda *_: None, bar.told)
        return part.path
    path = shop.folder / name
    try:
        data = _rewritten(file, fetcher, given, entry)
    except (FetchError, MissingFileError) as error:
        sources = file.content.get("sources", ()) if isinstance(file.content, Mapping) else ()
        if file.role == "labels" and sources:
            own = str(sources[0]).rpartition("/")[2]
            error.hint = f"{error.hint} A mirror has it as {own}, or as labels/{own}.".strip()
        raise
    seen = hashlib.sha256(data).hexdigest()
    if seen != file.sha256:
        raise ChecksumError(file.path, file.sha256, seen)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise not_writable(shop.shelf, error) from error
    return path


def _places(
    file: lock.Locked, entry: lock.Entry, fetcher: Fetcher, given: Settings
) -> tuple[Place, ...]:
    """Return where a locked file may be had: as it was, and where its source leads now."""
    places: list[Place] = []
    planner = Planner(fetcher, given)
    try:
        plan = planner.plan(tell(entry.source), {"": file.sha256})
        if file.role == "model":
            places += plan.model.places
        else:
            item = file.path.partition("/")[2]
            places += next((e.places for e in plan.extras if e.name == item), ())
            places += plan.beside(item).places if file.role == "data" else ()
    except WorkbenchError:
        pass  # its own sources are left
    known = {p.shown for p in places}
    return (*places, *(planner.place(s) for s in file.sources if s not in known))


def _rewritten(file: lock.Locked, fetcher: Fetcher, given: Settings, entry: lock.Entry) -> bytes:
    """Make a file of labels or of metadata again from what the lock tells of it."""
    content = file.content
    if file.role == "metadata":
        return written(content)
    if "names" in content:
        return written(content["names"])
    labels = Labels(
        sources=tuple(map(str, content["sources"])),
        sha256=str(content["sha256"]),
        form=str(content["form"]),
    )
    planner = Planner(fetcher, given)
    places = [planner.place(s) for s in labels.sources]
    if entry.source in catalog.entries():
        plan = planner.plan(tell(entry.source), {})
        places = [*plan.label_places, *places]
    data, where = fetch_labels(fetcher, labels, tuple(places))
    return written(list(labels.read(data, where)))
