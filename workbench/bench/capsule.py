"""A benchmark in one file: everything that was measured, and all that it rests on.

A capsule is JSON with a checksum over its contents, so that a damaged one is told from a whole
one. It is written beside its target and then moved: a full disk leaves what was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.util import find_spec
from io import BytesIO
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.bench.asked import MOST_BATCH
from workbench.bench.canary import Canary
from workbench.bench.fingerprint import Fingerprint
from workbench.bench.outcome import Benchmark
from workbench.bench.record import Record
from workbench.bench.subject import STAGES, Configuration
from workbench.errors import (
    CapsuleError,
    ConfigError,
    MissingExtraError,
    MissingFileError,
    WriteError,
)
from workbench.models.provider import Wanted
from workbench.models.session import Options, Ran, SessionFacts
from workbench.page import write
from workbench.spreadsheet import safe_cell
from workbench.timing import Stages
from workbench.units import size

if TYPE_CHECKING:
    import pandas as pd

#: What a capsule calls itself, and the newest form that is known here.
FORMAT, VERSION = "workbench-benchmark", 1
#: Largest file that is read: about ten million runs.
_MOST_BYTES = 500_000_000
#: A number that may be missing: JSON has no nan.
_Number = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e12)] | None
#: Seconds: none is negative, and none is longer than thirty years.
_Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e9)]
#: Counts and sizes are what 64 bits hold.
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Threads = Annotated[int, Field(ge=1, lt=2**31)]
#: Shortest time of a run: below it no clock can tell, and its inverse is no longer a number.
_SHORTEST_S = 1e-12


class _Part(BaseModel):
    """A part of a capsule: exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Options(_Part):
    threads: _Threads | None
    providers: list[tuple[str, dict[str, str]]] | None
    spinning: bool | Literal["auto"]
    strict: bool


class _Configuration(_Part):
    model: str
    asked: str
    options: _Options
    batch: Annotated[int, Field(ge=1, le=MOST_BATCH)]
    timed: Literal["inference", "end_to_end"]
    sha256: str


class _Session(_Part):
    ran: list[tuple[str, _Count, _Count]]
    provider: str
    precision: str
    threads: _Threads
    spinning: bool
    why_spinning: str
    stoppable: bool
    load_s: dict[str, _Seconds]
    memory_bytes: Annotated[int, Field(gt=-(2**63), lt=2**63)] | None
    notes: list[str]


class _Record(_Part):
    name: str
    configuration: _Configuration
    session: _Session | None
    laps_s: list[list[_Seconds | None]]
    places: list[_Count]
    at_s: list[_Seconds]
    warm_up_s: list[_Seconds | None]
    settled_at: _Count | None
    first_run_s: _Seconds | None
    peak_bytes: _Count | None
    problem: str
    code: str


class _Fingerprint(_Part):
    processor: str
    flags: list[str]
    cores: _Count
    allowed: _Count
    quota: _Number
    memory_bytes: _Count | None
    system: str
    governor: str
    load: _Number
    versions: dict[str, str]


class _Body(_Part):
    records: Annotated[list[_Record], Field(min_length=1)]
    timed: Literal["inference", "end_to_end"]
    fed: str
    images_sha256: str
    recipes: dict[str, Any]
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    min_time_s: Annotated[float, Field(gt=0, le=1e9)]
    max_time_s: Annotated[float, Field(gt=0, le=1e9)]
    canary_s: tuple[_Number, _Number]
    step_s: _Number
    fingerprint: _Fingerprint
    wall_s: _Seconds
    stopped: bool
    time_was_up: bool
    warned: list[str]


# ── writing ───────────────────────────────────────────────────────────────────────────────────


def save(bench: Benchmark, path: str | Path) -> Path:
    """Write a capsule; see :meth:`workbench.Benchmark.save`."""
    if path == "":  # it would be the working directory
        raise ConfigError("path", path, "the path of a file to write")
    if isinstance(path, (str, Path)) and os.path.isdir(os.path.expanduser(path)):  # noqa: PTH111, PTH112 (a null in it is no error here)
        raise WriteError(str(path), "it is a folder")
    body = _plain(bench)
    told = {"format": FORMAT, "version": VERSION, "sha256": _checksum(body), "body": body}
    return write(path, json.dumps(told, allow_nan=False, ensure_ascii=False) + "\n")


def _checksum(body: Any) -> str:
    text = json.dumps(body, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(bench: Benchmark) -> dict[str, Any]:
    """Return a benchmark as JSON-able values."""
    return {
        "records": [_plain_record(record) for record in bench.records],
        "timed": bench.timed,
        "fed": bench.fed,
        "images_sha256": bench.images_sha256,
        "recipes": json.loads(json.dumps(bench.recipes)),
        "seed": bench.seed,
        "min_time_s": bench.min_time_s,
        "max_time_s": bench.max_time_s,
        "canary_s": [_number(bench.canary.before_s), _number(bench.canary.after_s)],
        "step_s": _number(bench.step_s),
        "fingerprint": bench.fingerprint.to_dict(),
        "wall_s": bench.wall_s,
        "stopped": bench.stopped,
        "time_was_up": bench.time_was_up,
        "warned": list(bench.warned),
    }


def _plain_record(record: Record) -> dict[str, Any]:
    configuration, session = record.configuration, record.session
    options = configuration.options
    providers = options.providers
    return {
        "name": record.name,
        "configuration": {
            "model": configuration.model,
            "asked": configuration.asked,
            "options": {
                "threads": options.threads,
                "providers": None if providers is None else
                [[w.name, dict(w.options)] for w in providers],
                "spinning": options.spinning,
                "strict": options.strict,
            },
            "batch": configuration.batch,
            "timed": configuration.timed,
            "sha256": configuration.sha256,
        },
        "session": None if session is None else {
            "ran": [[r.provider, r.nodes, r.of] for r in session.ran],
            "provider": session.provider,
            "precision": session.precision,
            "threads": session.threads,
            "spinning": session.spinning,
            "why_spinning": session.why_spinning,
            "stoppable": session.stoppable,
            "load_s": dict(session.load),
            "memory_bytes": session.memory_bytes,
            "notes": list(session.notes),
        },
        "laps_s": [[_number(v) for v in lap] for lap in record.laps_s.tolist()],
        "places": record.places.tolist(),
        "at_s": record.at_s.tolist(),
        "warm_up_s": [_number(v) for v in record.warm_up_s],
        "settled_at": record.settled_at,
        "first_run_s": _number(record.first_run_s),
        "peak_bytes": record.peak_bytes,
        "problem": record.problem,
        "code": record.code,
    }  # fmt: skip


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


# ── reading ───────────────────────────────────────────────────────────────────────────────────


def load_benchmark(path: str | Path) -> Benchmark:
    """Read a benchmark that was written by :meth:`Benchmark.save`.

    Returns
    -------
    the same benchmark: its frames, displays, figures, ``diff`` and ``rerun``

    Raises
    ------
    MissingFileError : there is no such file
    CapsuleError : the file is damaged, was changed, is from a newer version, or is another one
    """
    where = str(path)
    try:
        if path == "":  # it would be the working directory
            raise ConfigError("path", path, "the path of a file to read")
        file = Path(path).expanduser()
        if not file.is_file():
            reason = "is a folder" if file.is_dir() else "does not exist"
            raise MissingFileError(where, "file", reason)
        if (length := file.stat().st_size) > _MOST_BYTES:
            reason = f"it has {size(length)}; the limit is {size(_MOST_BYTES)}"
            raise CapsuleError(where, reason)
        data = file.read_bytes()
    except (TypeError, ValueError, RuntimeError) as error:  # no path, a null in it, no such home
        if isinstance(error, (CapsuleError, ConfigError)):
            raise
        raise ConfigError("path", path, "the path of a file to read") from error
    except MissingFileError:
        raise
    except OSError as error:
        raise MissingFileError(where, "file", f"cannot be read: {error.strerror}") from error
    return _read(where, data)


def _read(where: str, data: bytes) -> Benchmark:
    told = _parsed(where, data)
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise CapsuleError(where, "it is JSON, but of another kind")
    version = told.get("version")
    if type(version) is not int or version < 1:
        raise CapsuleError(where, f"its version is {version!r}")
    if version > VERSION:
        raise CapsuleError(
            where, f"it is of version {version}; the newest known here is {VERSION}",
            "Update this package.",
        )  # fmt: skip
    body = told.get("body")
    found = _checksum_of(where, body)
    if found is None or found != told.get("sha256"):
        raise CapsuleError(
            where, "its checksum does not fit its contents: it was damaged or changed",
            "Get the file again, or measure again.",
        )  # fmt: skip
    try:
        parsed = _Body.model_validate_json(json.dumps(body))
        return _benchmark(parsed)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CapsuleError(where, f"{place or 'its body'}: {first['msg']}") from error
    except _OddError as error:
        raise CapsuleError(where, str(error)) from error


def _parsed(where: str, data: bytes) -> Any:
    if not data.strip():
        raise CapsuleError(where, "it is empty")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise CapsuleError(where, "it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise CapsuleError(where, "it is no JSON") from error
    except ValueError as error:
        cut = data.lstrip()[:1] == b"{" and not data.rstrip().endswith(b"}")
        why = "it breaks off in the middle" if cut else "it is no JSON"
        if not isinstance(error, json.JSONDecodeError):  # Python reads no number that long
            why = "it holds a number with thousands of digits"
        raise CapsuleError(where, why) from error


def _checksum_of(where: str, body: Any) -> str | None:
    try:
        return _checksum(body)
    except ValueError:  # a NaN in it, which JSON does not have
        return None
    except RecursionError as error:
        raise CapsuleError(where, "it is nested too deeply") from error


class _OddError(ValueError):
    """Parts of a capsule that do not fit each other."""


def _benchmark(body: _Body) -> Benchmark:
    told = body.fingerprint.model_dump()
    return Benchmark(
        records=tuple(_record(part) for part in body.records),
        timed=body.timed,
        fed=body.fed,
        images_sha256=body.images_sha256,
        recipes=body.recipes,
        seed=body.seed,
        min_time_s=body.min_time_s,
        max_time_s=body.max_time_s,
        canary=Canary(*map(_or_nan, body.canary_s)),
        step_s=_or_nan(body.step_s),
        fingerprint=Fingerprint(**told | {"flags": tuple(told["flags"])}),
        wall_s=body.wall_s,
        stopped=body.stopped,
        time_was_up=body.time_was_up,
        warned=tuple(body.warned),
    )


def _record(part: _Record) -> Record:
    wide = 1 + len(STAGES) if part.configuration.timed == "end_to_end" else 1
    if any(len(lap) != wide for lap in part.laps_s):
        raise _OddError(f"a run of {part.name!r} has not {wide} times")
    if not len(part.laps_s) == len(part.places) == len(part.at_s):
        raise _OddError(f"{part.name!r} has more times than places, or fewer")
    for lap in part.laps_s:
        whole, known = lap[0], sum(value is not None for value in lap)
        if known not in (0, wide) or (whole is not None and whole < _SHORTEST_S):
            raise _OddError(f"a run of {part.name!r} took {lap} s, which no run can")
    if part.settled_at is not None and part.settled_at > len(part.warm_up_s):
        raise _OddError(f"{part.name!r} settled after its warm-up was over")
    options = part.configuration.options
    providers = options.providers
    session = part.session
    return Record(
        name=part.name,
        configuration=Configuration(
            model=part.configuration.model,
            asked=part.configuration.asked,
            options=Options(
                threads=options.threads,
                providers=None if providers is None else
                tuple(Wanted(name, tuple(sorted(pairs.items()))) for name, pairs in providers),
                spinning=options.spinning,
                strict=options.strict,
            ),
            batch=part.configuration.batch,
            timed=part.configuration.timed,
            sha256=part.configuration.sha256,
        ),
        session=None if session is None else SessionFacts(
            ran=tuple(Ran(*ran) for ran in session.ran),
            provider=session.provider,
            precision=session.precision,
            threads=session.threads,
            spinning=session.spinning,
            why_spinning=session.why_spinning,
            stoppable=session.stoppable,
            load=Stages(session.load_s),
            memory_bytes=session.memory_bytes,
            notes=tuple(session.notes),
        ),
        laps_s=np.array([[_or_nan(v) for v in lap] for lap in part.laps_s], np.float64).reshape(
            -1, wide
        ),
        places=np.array(part.places, np.int64),
        at_s=np.array(part.at_s, np.float64),
        warm_up_s=tuple(map(_or_nan, part.warm_up_s)),
        settled_at=part.settled_at,
        first_run_s=_or_nan(part.first_run_s),
        peak_bytes=part.peak_bytes,
        problem=part.problem,
        code=part.code,
    )  # fmt: skip


def _or_nan(value: float | None) -> float:
    return nan if value is None else value


# ── tables ────────────────────────────────────────────────────────────────────────────────────


def export(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a frame as ``.csv`` or ``.parquet``, its texts safe for a spreadsheet.

    Raises
    ------
    ConfigError, MissingExtraError, MissingFileError, WriteError : see ``Benchmark.export``
    """
    ending = Path(path).suffix.lower() if isinstance(path, (str, Path)) else ""
    if ending not in (".csv", ".parquet"):
        raise ConfigError("path", path, "a path that ends in .csv or .parquet")
    from pandas.api.types import is_numeric_dtype

    texts = [name for name in frame.columns if not is_numeric_dtype(frame[name])]
    safe = frame.assign(**{name: frame[name].map(safe_cell) for name in texts})
    if ending == ".csv":
        return write(path, safe.to_csv(index=False, lineterminator="\n"))
    if find_spec("pyarrow") is None and find_spec("fastparquet") is None:
        raise MissingExtraError("parquet", "writing Parquet")
    sink = BytesIO()
    safe.to_parquet(sink, index=False)
    return write(path, sink.getvalue())
