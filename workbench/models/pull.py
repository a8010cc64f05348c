"""Pulling a model: what is here already, what may be overwritten, and then the fetching."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import (
    ChecksumError,
    ConfigError,
    WorkbenchError,
)
from workbench.models import agreed, lock, store
from workbench.models.address import Source, known_sha256, tell
from workbench.models.assembly import Assembly, Pulled, Wish, mapping_of
from workbench.models.fetch import Fetcher, Rules
from workbench.models.labels import read_json
from workbench.models.part import Workshop
from workbench.models.placing import refuse_loss
from workbench.models.plan import Plan, Planner

if TYPE_CHECKING:
    from workbench.settings import Settings
    from workbench.stopping import Stop


def pull(
    shelf: store.Shelf,
    source: str | Path,
    wish: Wish,
    rules: Rules,
    given: Settings,
    stop: Stop | None = None,
) -> Pulled:
    """Put a model on a shelf; see :meth:`workbench.ModelHub.pull`."""
    told = tell(source)
    hashes = known_sha256(wish.sha256)
    name = told.name if wish.id is None else store.check_id(wish.id)
    if not name:
        raise ConfigError("id", wish.id, "a name for the model, since its source gives none")
    here = _here(shelf, told, name, hashes, wish)
    if here is not None:
        return here
    written_sha256 = str(mapping_of(wish.metadata).get("sha256") or "").lower()
    if written_sha256:
        hashes.setdefault("", written_sha256)
    if written_sha256 and hashes[""] != written_sha256:
        raise ConfigError("sha256", hashes[""], f"the one in metadata=, {written_sha256}")
    entry = lock.read(shelf.models).get(name)
    if entry is not None and _came_from(entry, told):
        if wish.metadata is None:
            wish = replace(wish, metadata=agreed.kept(shelf.models, entry))
        if wish.sha256 is None:
            hashes = {**entry.pinned, **hashes}
    if entry is None and not wish.replace:
        _unhidden(shelf, name)
        if not _ours(shelf, name, told):
            refuse_loss(shelf.models / "metadata" / f"{name}.json", mapping_of(wish.metadata))
    fetcher = Fetcher(rules, stop)
    try:
        plan = Planner(fetcher, given).plan(told, hashes)
        known = hashes.get("") or _locked_sha256(shelf, name, told, wish)
        if known and hashes.get("") and plan.model.sha256 not in ("", known):
            raise ChecksumError(told.shown, known, plan.model.sha256)
        if known:
            plan = replace(plan, model=replace(plan.model, sha256=known))
        own = _own(shelf, name, plan, wish)
        with Workshop(shelf.models, f"{name}\n{told.shown}") as shop:
            again = _ours(shelf, name, told)
            make = Assembly(fetcher, plan, shop, shelf, name, wish, own, told.query, again)
            return make.run(hashes)
    finally:
        fetcher.close()


def _unhidden(shelf: store.Shelf, name: str) -> None:
    """Refuse to put a model before one of the same name that comes with the package."""
    embedded = store.embedded_shelf()
    if _there(shelf, name) is None and _there(embedded, name) is not None:
        raise ConfigError(
            "id", name, "a name that is free",
            "A model of that name comes with the package. Give another id=, or replace=True to "
            "have this one in its place.",
        )  # fmt: skip


def _locked_sha256(shelf: store.Shelf, name: str, told: Source, wish: Wish) -> str:
    """Return what the lock demands of a model that is pulled again from the same source."""
    entry = lock.read(shelf.models).get(name)
    again = entry is not None and _came_from(entry, told) and not wish.renew
    return entry.model.sha256 if entry is not None and again else ""


def _came_from(entry: lock.Entry, told: Source) -> bool:
    return (entry.source, entry.query) == (told.shown, told.query)


def _here(
    shelf: store.Shelf, told: Source, name: str, hashes: Mapping[str, str], wish: Wish
) -> Pulled | None:
    """Answer from the lock where it can; refuse to overwrite what was not pulled from here."""
    entry = lock.read(shelf.models).get(name)
    path = _there(shelf, name)
    if entry is not None and not wish.renew:
        same = _came_from(entry, told)
        if same and hashes.get("", entry.model.sha256) == entry.model.sha256:
            findings = lock.examine(shelf.models, lock.guarded_of(entry))
            whole = not agreed.lacks_labels(shelf.models, entry)
            if all(f.state == "right" for f in findings) and wish.metadata is None and whole:
                return Pulled(name, shelf.models / entry.model.path, fetched=False)
        elif path is not None and not wish.replace:
            raise ConfigError(
                "id", name, "a name that is free",
                f"That model was pulled from {entry.source!r}. Give another id=, or replace=True.",
            )  # fmt: skip
    elif entry is None and path is not None and not wish.replace and not _ours(shelf, name, told):
        known = hashes.get("")
        if not (known and _is(path, known)) and told.kind != "catalogue":
            raise ConfigError(
                "id", name, "a name that is free",
                f"{path} was not pulled. Give another id=, or replace=True.",
            )  # fmt: skip
    return None


def _ours(shelf: store.Shelf, name: str, told: Source) -> bool:
    """Say whether a killed pull of the same source has put the model in place."""
    with suppress(WorkbenchError, ValueError, OSError):
        facts = read_json(shelf.models / "metadata" / f"{name}.json", "metadata file")
        return isinstance(facts, Mapping) and facts.get("pulled_from") == told.shown
    return False


def _there(shelf: store.Shelf, name: str) -> Path | None:
    places = (shelf.models / f"{name}.onnx", shelf.models / name / "model.onnx")
    return next((p for p in places if p.is_file()), None)


def _is(path: Path, sha256: str) -> bool:
    try:
        return lock.sha256_of(path) == sha256
    except OSError:  # another process has just taken it away
        return False


def _own(shelf: store.Shelf, name: str, plan: Plan, wish: Wish) -> Path | None:
    """Return the file that is here already where it is the right one.

    Raises
    ------
    ConfigError : it is another one, and was not pulled
    """
    path = _there(shelf, name)
    if path is None or not plan.model.sha256:
        return None
    if _is(path, plan.model.sha256):
        return path
    if not wish.replace and name not in lock.read(shelf.models):
        raise ConfigError(
            "id", name, "a name that is free",
            f"{path} was not pulled, and is another file. Give another id=, or replace=True.",
        )  # fmt: skip
    return None
