"""Everything that is said of a model, field by field, and who says it: its passport."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cards import Block, Card, Displayable, Facts, Notes, Table
from workbench.errors import (
    ConfigError,
    InvalidModelError,
    MissingFileError,
    WorkbenchError,
    WriteError,
    abridge,
    choices,
    nearest,
)
from workbench.models import agreed, agreement
from workbench.models.companion import GRAPH, KEY, METADATA, Claim
from workbench.models.spec import WRITABLE, ModelSpec, in_short
from workbench.page import put
from workbench.units import count

if TYPE_CHECKING:
    import pandas as pd

    from workbench.models.graph import GraphFacts

#: Who settled a conflict, where it was the caller.
CHOSEN = "chosen here"
#: Longest value on the card, in characters; :meth:`Passport.metadata` has all of it.
_WIDE = 64
#: Fields that are shown even where nobody says anything of them.
_ALWAYS = ("preprocessing", "labels")
#: Fields that are worked out anew from the graph each time, and need not be written.
_GRAPHS = ("input_shape", "input_name", "output_name")


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a passport.

    Attributes
    ----------
    field : as a metadata file has it
    value : what holds; None where nobody says
    source : who says so
    claims : what every source says of it, the one that holds first
    conflict : how the others differ, in words; empty where all agree
    settled : whether somebody decided: the metadata JSON, or the caller
    """

    field: str
    value: Any
    source: str
    claims: tuple[Claim, ...]
    conflict: str = ""
    settled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Passport(Displayable):
    """What is known of a model, where it was learnt, and where the sources differ.

    Attributes
    ----------
    id, path : of the model
    entries : a field each, in the order of a metadata file
    notes : what could not be read or used, in sentences
    spec : what a load makes of it
    external : names of the files that hold the model's weights, beside it

    Examples
    --------
    >>> import workbench as wb
    >>> passport = wb.ModelHub().passport("cifar10-small")
    >>> passport["preprocessing"].value, passport["preprocessing"].source
    ('cifar10', 'metadata JSON')
    """

    id: str
    path: Path
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    spec: ModelSpec
    external: tuple[str, ...] = ()
    _target: Path

    def __getitem__(self, field: str) -> Entry:
        """Return a field by its name; ConfigError where there is none."""
        for entry in self.entries:
            if entry.field == field:
                return entry
        names = [entry.field for entry in self.entries]
        raise ConfigError("field", field, choices(names), nearest(str(field), names))

    @property
    def conflicts(self) -> tuple[Entry, ...]:
        """The fields of which sources say different things, settled ones included."""
        return tuple(entry for entry in self.entries if entry.conflict)

    @property
    def open(self) -> tuple[Entry, ...]:
        """The conflicts that nobody has decided."""
        return tuple(entry for entry in self.conflicts if not entry.settled)

    def settle(self, **sources: str) -> Passport:
        """Return the passport with conflicts decided: a field's name = the source to believe.

        Raises
        ------
        ConfigError : no such field, or a source that does not say anything usable of it
        """
        entries = {entry.field: entry for entry in self.entries}
        for field, source in sources.items():
            entry = self[field]
            usable = [claim for claim in entry.claims if not claim.note]
            chosen = next((claim for claim in usable if claim.source == source), None)
            if chosen is None:
                raise ConfigError(field, source, choices([claim.source for claim in usable]))
            rest = tuple(claim for claim in entry.claims if claim is not chosen)
            entries[field] = replace(
                entry, value=chosen.value, source=f"{source}, {CHOSEN}", claims=(chosen, *rest),
                settled=True,
            )  # fmt: skip
        return replace(self, entries=tuple(entries.values()))

    def metadata(self) -> dict[str, Any]:
        """Return the agreed passport as a metadata file has it; guesses are left out."""
        told: dict[str, Any] = {}
        for entry in self.entries:
            known = entry.value is not None and entry.source not in ("guess", "default", "")
            fixed = entry.field in _GRAPHS and entry.source == GRAPH and entry.field != _GRAPHS[0]
            if known and not fixed:
                told[entry.field] = _plain(entry.value)
        for name, value in self.spec.extra.items():
            told.setdefault(name, value)
        return told

    def write(self, to: str = "metadata", *, path: str | Path | None = None) -> Path:
        """Put the agreed passport into the metadata JSON, or into the ONNX file itself.

        Of a pulled model the lock takes up what the metadata JSON says now: ``pull --locked``
        gives it to others, and an update keeps it. Its ONNX file stays the one that was pulled;
        give ``path`` for a copy.

        Parameters
        ----------
        to : "metadata", or "onnx" (as ``workbench.metadata`` among its ``metadata_props``; the
            graph and the weights stay as they are, and the file's hash does not)
        path : where to, in place of the model's own metadata file or the model itself

        Returns
        -------
        the file that was written: whole, or not at all

        Raises
        ------
        ConfigError : a conflict that nobody has decided (see :meth:`settle`); or a model whose
            metadata states its hash, which writing into it would break; or a path to a file whose
            hash a lock states
        WriteError, MissingFileError : it cannot be written there
        """
        if to not in ("metadata", "onnx"):
            raise ConfigError("to", to, "'metadata' or 'onnx'")
        if self.open:
            first = self.open[0]
            names = choices([claim.source for claim in first.claims if not claim.note])
            raise ConfigError(
                "The passport", f"undecided on {', '.join(e.field for e in self.open)}",
                "every conflict to be settled before it is written",
                f"For example: passport.settle({first.field}=…), with {names}.",
            )  # fmt: skip
        target = self._place(to, path)
        agreed.refuse(self.id, to, target)
        content = self._as_json() if to == "metadata" else self._as_onnx(target)
        unsettled = [entry.field for entry in self.entries if entry.source == GRAPH]
        try:
            if to == "metadata" and path is None:
                target.parent.mkdir(parents=True, exist_ok=True)
            if not target.parent.is_dir():
                raise MissingFileError(abridge(str(target.parent)), "folder", "does not exist")
            put(target, content) if to == "onnx" else agreed.write(target, content, unsettled)
        except WorkbenchError:
            raise
        except OSError as error:
            raise WriteError(str(target), error.strerror or str(error)) from error
        return target

    def _place(self, to: str, path: str | Path | None) -> Path:
        if path is None:
            return self._target if to == "metadata" else self.path
        try:
            return Path(path).expanduser()
        except (TypeError, RuntimeError) as error:
            raise ConfigError("path", path, "the path of a file to write") from error

    def _as_json(self) -> bytes:
        return (json.dumps(self.metadata(), indent=2, ensure_ascii=False) + "\n").encode()

    def _as_onnx(self, target: Path) -> bytes:
        """Return the model file with the passport among its metadata."""
        import onnx

        own = agreed.same(target, self.path)
        if own and self.spec.sha256:
            raise ConfigError(
                "path", None, "another file: the metadata states the sha256 of this one",
                "Give path= for a copy, or write to the metadata JSON.",
            )  # fmt: skip
        if self.external and target.absolute().parent != self.path.absolute().parent:
            raise ConfigError(
                "path", target, f"a file in {self.path.parent}, beside {self.external[0]!r}"
            )
        model = onnx.load(self.path, load_external_data=False)
        kept = [(p.key, p.value) for p in model.metadata_props if p.key != KEY]
        told = {name: value for name, value in self.metadata().items() if name != "sha256"}
        del model.metadata_props[:]
        for key, value in [*kept, (KEY, json.dumps(told, ensure_ascii=False))]:
            model.metadata_props.add(key=key, value=value)
        try:
            return bytes(model.SerializeToString())
        except ValueError as error:  # protobuf ends at 2 GiB
            raise InvalidModelError(str(target), f"it cannot be written: {error}") from error

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each claim: field, value, source, holds, conflict, note."""
        import pandas as pd

        rows = [
            {
                "field": entry.field,
                "value": in_short(entry.field, claim.value),
                "source": claim.source,
                "holds": number == 0 and not claim.note,
                "conflict": bool(entry.conflict),
                "note": claim.note,
            }
            for entry in self.entries
            for number, claim in enumerate(entry.claims)
        ]
        return pd.DataFrame(rows)

    def _card(self) -> Card:
        rows = tuple(
            (
                entry.field,
                _shown(entry, self.spec),
                entry.source,
                "; ".join(c.source + (" (not usable)" if c.note else "") for c in entry.claims[1:])
                or "–",
            )
            for entry in self.entries
        )
        head = Facts((("model", self.id), ("file", self.path.name)))
        blocks: list[Block] = [
            head,
            Table(("field", "value", "learnt from", "also said by"), rows, "What is known"),
        ]
        if self.conflicts:
            told = tuple(
                (e.field, e.conflict, e.source + ("" if e.settled else ", undecided"))
                for e in self.conflicts
            )
            blocks.append(Table(("field", "how they differ", "holds"), told, "Conflicts"))
        blocks.append(Notes(self.notes))
        clash = count(len(self.conflicts), "conflict")
        line = f"{count(len(self.entries), 'field')} known, {clash}"
        if self.open:
            line += f" ({len(self.open)} undecided)"
        return Card(f"passport of {self.id}", tuple(blocks), line=line)


def _shown(entry: Entry, spec: ModelSpec) -> str:
    """Render a value so that it fits into a table; a recipe by its steps."""
    if entry.field == "preprocessing" and isinstance(entry.value, list) and spec.image is not None:
        pipeline = agreement.pipeline_of(entry.value, spec.image, spec.color_format)
        if pipeline is not None:
            return "; ".join(step.text() for step in pipeline.steps)
    text = in_short(entry.field, entry.value)
    if entry.field == "sha256" and entry.value:
        return f"{text[:12]}…"  # all of it would push the sources out of sight
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def passport_of(spec: ModelSpec, facts: GraphFacts, target: Path) -> Passport:
    """Put together what is known of a model.

    Parameters
    ----------
    spec : what a load makes of it, with all claims
    facts : what the gate found
    target : the metadata file that :meth:`Passport.write` writes
    """
    entries = [_entry(field, spec) for field in WRITABLE]
    return Passport(
        id=spec.id,
        path=spec.path,
        entries=tuple(e for e in entries if e.claims or e.field in _ALWAYS),
        notes=(*spec.guesses, *spec.conflicts),
        spec=spec,
        external=facts.external_files,
        _target=spec.metadata_path or target,
    )


def _entry(field: str, spec: ModelSpec) -> Entry:
    value, source = getattr(spec, field), spec.origins.get(field, "")
    said = [claim for claim in spec.claims if claim.field == field]
    held = Claim(field, value, source)
    others = [claim for claim in said if claim.source != source]
    told = []
    for claim in others:
        if claim.note:
            told.append(f"{claim.source}: {claim.note}")
            continue
        differs = agreement.difference(field, value, claim.value, spec.image, spec.color_format)
        if differs:
            told.append(f"{claim.source}: {differs}")
    return Entry(
        field=field,
        value=value,
        source=source,
        claims=(held, *others) if source else tuple(others),
        conflict="; ".join(told),
        settled=not told or METADATA in source or source.endswith(CHOSEN),
    )
