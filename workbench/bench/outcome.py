"""A benchmark as a value: its records, its displays and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from workbench.bench.record import Record
from workbench.bench.shot import INSIDE
from workbench.bench.subject import STAGES
from workbench.cards import Block, Card, Displayable, Facts, Notes, Table
from workbench.errors import ConfigError, choices
from workbench.timing import UNSTABLE, needed
from workbench.units import count, decimal, percent, seconds, size

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from workbench.bench.canary import Canary
    from workbench.bench.difference import Difference
    from workbench.bench.fingerprint import Fingerprint
    from workbench.bench.shot import Shots, Timed
    from workbench.models.hub import ModelHub
    from workbench.preprocessing.images import ImageSource
    from workbench.stopping import Stop

#: Rows that a display has room for; the frame has them all.
_SHOWN = 24
#: Notes of single configurations that a display has room for.
_NOTED = 8
#: Unstable rows that have a note each; more of them share one.
_UNSTABLE_ALONE = 3
Kind = Literal["auto", "spread", "ecdf", "throughput", "heat"]
_KINDS: tuple[Kind, ...] = ("auto", "spread", "ecdf", "throughput", "heat")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Benchmark(Displayable, Sequence[Record]):
    """What was measured, a record a configuration. Made by :func:`workbench.benchmark`.

    Attributes
    ----------
    records : in the order in which they were asked for
    timed : what was inside the timed region: ``inference`` or ``end_to_end``
    fed : what the models ran on, in words; ``images_sha256`` of the pictures, empty for none
    recipes : model → its preprocessing, as JSON-able values; empty where none was used
    seed : of the order of the runs
    min_time_s, max_time_s : as they were asked for
    canary : a fixed piece of work before and after
    step_s : smallest step of the clock, in seconds
    fingerprint : of the host, before it began
    wall_s : seconds of the measuring
    stopped : whether someone stopped it early
    time_was_up : whether the time was up before all had enough runs
    warned : what else was noticed, in words
    """

    records: tuple[Record, ...]
    timed: Timed
    fed: str
    images_sha256: str
    recipes: dict[str, Any]
    seed: int
    min_time_s: float
    max_time_s: float
    canary: Canary
    step_s: float
    fingerprint: Fingerprint
    wall_s: float
    stopped: bool = False
    time_was_up: bool = False
    warned: tuple[str, ...] = ()
    _shots: Shots | None = field(default=None, repr=False)
    _hub: ModelHub | None = field(default=None, repr=False)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | Sequence[Record]:
        return self.records[at]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    # ── frames and figures ────────────────────────────────────────────────────────────────────

    def to_frame(self) -> pd.DataFrame:
        """Return a row a configuration.

        ``model``, ``batch``, ``threads``, ``provider`` and ``precision`` that ran, ``timed``,
        ``n``, ``median_ms``, ``iqr_ms``, ``p90_ms``, ``p95_ms``, ``p99_ms`` (nan where n cannot
        carry it), ``runs_per_s``, ``images_per_s``, median ``*_ms`` of the stages,
        ``first_run_ms``, ``settled_after`` (runs of warm-up), ``peak_memory_bytes`` (what a fresh
        process grew by at most), ``notes``, ``error``.
        """
        import pandas as pd

        return pd.DataFrame([record.row() for record in self.records])

    def samples(self) -> pd.DataFrame:
        """Return a row a run, in the order in which they were taken.

        ``place`` (from 0), ``at_s``, ``model``, ``batch``, ``threads``, ``provider``, ``run`` (of
        its configuration, from 0), ``ms`` (nan: no usable time), and the stages where known.
        """
        import pandas as pd

        parts = []
        for record in self.records:
            row = record.row()
            n = len(record.places)
            stages = record.laps_s[:, 1:] if record.laps_s.shape[1] == 1 + len(STAGES) else None
            columns = {
                "place": record.places,
                "at_s": record.at_s,
                **{name: [row[name]] * n for name in ("model", "batch", "threads", "provider")},
                "run": np.arange(n),
                "ms": 1e3 * record.laps_s[:, 0],
            }
            if stages is not None:
                columns |= {f"{s}_ms": 1e3 * stages[:, i] for i, s in enumerate(STAGES)}
            parts.append(pd.DataFrame(columns))
        if not parts:
            names = ("place", "at_s", "model", "batch", "threads", "provider", "run", "ms")
            return pd.DataFrame(columns=names)
        filled = [part for part in parts if len(part)] or parts[:1]
        return pd.concat(filled, ignore_index=True).sort_values("place", ignore_index=True)

    def plot(self, kind: Kind = "auto") -> Figure:
        """Draw the runs.

        Parameters
        ----------
        kind : ``"spread"`` (a dot a run), ``"ecdf"`` (share of runs that took at most so long),
            ``"throughput"`` (pictures a second against the time of a run), ``"heat"`` (batch ×
            threads, a panel a model); ``"auto"`` is heat for a grid of both, else spread
        """
        from workbench import drawing

        if kind not in _KINDS:
            raise ConfigError("kind", kind, choices(_KINDS))
        grid = all(len(set(axis)) > 1 for axis in zip(*self._axes(), strict=True))
        if kind == "heat" or (kind == "auto" and len(self.records) > 1 and grid):
            return drawing.heat(self._cells(), title=f"Median time of a run ({self.timed})")
        if kind == "throughput":
            points = [
                (r.configuration.model, r.name, r.samples.median_s, r.images_per_s)
                for r in self.records
            ]
            return drawing.throughput(points, title="Pictures a second, and the time of a run")
        rows = {record.name: record.samples.values_s for record in self.records}
        if kind == "ecdf":
            return drawing.ecdf(rows, title=f"Share of runs that took at most … ({self.timed})")
        return drawing.spread(rows, title=f"Time of a run ({self.timed})")

    def _axes(self) -> list[tuple[int, int | None]]:
        return [(r.configuration.batch, r.row()["threads"]) for r in self.records]

    def _cells(self) -> dict[str, dict[tuple[int, int], float]]:
        """Return model (and provider, where there are several) → (batch, threads) → median."""
        panels: dict[str, dict[tuple[int, int], float]] = {}
        several = len({r.configuration.providers_text for r in self.records}) > 1
        for record in self.records:
            where = record.configuration.providers_text
            name = record.configuration.model + (f" on {where}" if several else "")
            threads = record.row()["threads"] or 0
            cell = (record.configuration.batch, threads)
            panels.setdefault(name, {})[cell] = record.samples.median_s
        return panels

    # ── keeping and comparing ─────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> Path:
        """Write everything into one file that :func:`workbench.load_benchmark` reads.

        Raises
        ------
        MissingFileError : there is no such folder
        WriteError : the file cannot be written (a full disk); what was there before is kept
        """
        from workbench.bench.capsule import save

        return save(self, path)

    def export(self, path: str | Path, *, samples: bool = False) -> Path:
        """Write the frame (or the samples) as ``.csv`` or ``.parquet``, by the path's ending.

        Texts that a spreadsheet would take for a formula are made plain.

        Raises
        ------
        ConfigError : another ending
        MissingExtraError : Parquet needs pyarrow or fastparquet
        MissingFileError, WriteError : as of :meth:`save`
        """
        from workbench.bench.capsule import export

        return export(self.samples() if samples else self.to_frame(), path)

    def rerun(
        self,
        *,
        images: ImageSource | Any | None = None,
        hub: ModelHub | None = None,
        stop: Stop | None = None,
        progress: bool = True,
    ) -> Benchmark:
        """Measure the same again, now.

        Parameters
        ----------
        images : the pictures; only needed where this was loaded from a file and had some
        hub, stop, progress : as of :func:`workbench.benchmark`
        """
        from workbench.bench.suite import rerun

        return rerun(self, images=images, hub=hub, stop=stop, progress=progress)

    def diff(self, other: Benchmark) -> Difference:
        """Say what changed from this to ``other``: did code, engine, host or noise do it?"""
        from workbench.bench.difference import difference

        return difference(self, other)

    # ── display ───────────────────────────────────────────────────────────────────────────────

    def notes(self) -> tuple[str, ...]:
        """Say in plain words what this rests on, and what it cannot carry."""
        notes = []
        runs = sum(r.samples.n for r in self.records)
        if self.stopped:
            notes.append(f"Stopped on request after {count(runs, 'run')}; they are kept.")
        if self.time_was_up:
            notes.append(
                f"The time ({seconds(self.max_time_s)}) was up before all had "
                f"{seconds(self.min_time_s)} of runs: max_time_s= gives them more."
            )
        notes += self.warned
        notes += self.canary.notes()
        few = [r.samples.n for r in self.records if 0 < r.samples.n < needed(0.99)]
        if few:
            some = f"{min(few)}" if min(few) == max(few) else f"{min(few)} to {max(few)}"
            which = "" if len(few) == len(self.records) else f" in {len(few)} of {len(self)} rows"
            notes.append(f"p99 needs {needed(0.99)} runs, had {some}{which}: not given there.")
        wide = [r.samples.spread for r in self.records if r.samples.spread > UNSTABLE]
        grouped = len(wide) > _UNSTABLE_ALONE
        if grouped:
            notes.append(
                f"IQR is more than {percent(UNSTABLE)} of the median in {len(wide)} of "
                f"{len(self)} rows (!), up to {percent(max(wide))}: unstable."
            )
        told_above = ("p99", "Given up", *(("IQR",) if grouped else ()))
        single = [
            f"{r.name}: {note}" if len(self) > 1 else note
            for r in self.records
            for note in r.notes()
            if not note.startswith(told_above)
        ]
        notes += single[:_NOTED]
        if len(single) > _NOTED:
            more = count(len(single) - _NOTED, "note")
            notes.append(f"{more} more: see the column 'notes' of to_frame().")
        return tuple(notes)

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be measured and why, a sentence each."""
        return tuple(
            f"{r.name}: {note}" for r in self.records for note in r.notes() if r.problem
            and note.startswith("Given up")
        )  # fmt: skip

    def _card(self) -> Card:
        notes = list(self.notes())
        if len(self.records) > _SHOWN:
            notes.insert(0, f"{count(len(self) - _SHOWN, 'row')} more in to_frame().")
        blocks: tuple[Block, ...] = (
            Notes(self.failures, urgent=True),
            self._table(),
            Notes(tuple(notes)),
            Facts(self._facts(), "How it was measured"),
        )
        names = dict.fromkeys(r.configuration.model for r in self.records)
        title = f"benchmark of {', '.join(names)}"
        line = "; ".join(f"{r.name} {seconds(r.samples.median_s)}" for r in self.records[:4])
        return Card(title, blocks, line=line)

    def _table(self) -> Table:
        columns = ("model", "batch", "threads", "provider", "precision", "runs", "median", "IQR",
                   "p90", "p95", "p99", "images/s", "memory")  # fmt: skip
        rows = [_cells_of(record) for record in self.records[:_SHOWN]]
        hidden = {
            i for i, name in enumerate(columns)
            if (name in ("p90", "p95", "p99", "memory") and all(row[i] == "–" for row in rows))
            or (name in ("provider", "precision") and len({row[i] for row in rows}) == 1
                and len(rows) > 1)
        }  # fmt: skip
        kept = [i for i in range(len(columns)) if i not in hidden]
        numeric = tuple(columns[i] for i in kept if i not in (0, 3, 4))
        return Table(
            tuple(columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in rows),
            f"Time of a run: {self.timed}",
            numeric,
        )

    def _facts(self) -> tuple[tuple[str, str], ...]:
        rows = [
            ("timed", f"{self.timed}: {INSIDE[self.timed]}"),
            ("fed with", self.fed),
            ("order", f"all configurations in turn, in random order (seed {self.seed})"),
            ("took", f"{seconds(self.wall_s)}, without opening the sessions"),
            ("processor", self.fingerprint.processor),
        ]
        ran = [r.session for r in self.records if r.session is not None]
        for name, values in (
            ("provider", {s.provider_text for s in ran}),
            ("precision", {s.precision for s in ran}),
            ("spinning", {s.spinning_text for s in ran}),
        ):
            if len(values) == 1:
                rows.append((name, next(iter(values))))
            elif name == "precision":
                said = {f"{r.configuration.model}: {r.session.precision}" for r in self.records
                        if r.session is not None}  # fmt: skip
                rows.append((name, "; ".join(sorted(said))))
        if not isnan(self.canary.drift):
            word = "slower" if self.canary.drift > 0 else "faster"
            rows.append(
                ("processor's pace", f"{percent(abs(self.canary.drift))} {word} after than before")
            )
        if self.fingerprint.load is not None:
            rows.append(("load before", decimal(self.fingerprint.load)))
        if any(r.peak_bytes is not None for r in self.records):
            rows.append(("memory", "what a fresh process grew by at most, opening and running"))
        return tuple(rows)


def _cells_of(record: Record) -> tuple[str, ...]:
    """Return a record's cells of the display; what is not known, or not carried, is a dash."""
    row, samples = record.row(), record.samples

    def time(value_s: float) -> str:
        return "–" if isnan(value_s) else seconds(value_s)

    return (
        str(row["model"]),
        str(row["batch"]),
        "–" if row["threads"] is None else str(row["threads"]),
        row["provider"] or "–",
        row["precision"].partition(" (")[0] or "–",
        str(samples.n),
        time(samples.median_s),
        time(samples.iqr_s) + (" (!)" if samples.spread > UNSTABLE else ""),
        *(time(samples.percentile_s(p)) for p in (0.9, 0.95, 0.99)),
        "–" if isnan(row["images_per_s"]) else decimal(row["images_per_s"]),
        "–" if record.peak_bytes is None else size(record.peak_bytes),
    )
