"""Reading what the engine wrote down of its runs: who ran, when, for how long, with what.

The record is onnxruntime's profile, a JSON list of events in Chrome's trace format
(https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html): times in whole
microseconds, cut and not rounded. Newer engines tell more (memory from 1.28 on, a fused
provider's own kernels); what an event lacks is None here, and nothing is required but the times.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import InferenceError
from workbench.units import shape

#: Operators that run a graph of their own: what runs inside is told apart, and is part of their
#: time (onnx.ai/onnx/operators, and onnxruntime's ContribOperators.md).
OWN_GRAPH = frozenset(
    ("If", "Loop", "Scan", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")
)
#: What stands for the operator of a part of the graph that a provider runs as one piece.
FUSED = "(fused graph)"
_SUFFIX = "_kernel_time"
_NUMPY = {"float": "float32", "double": "float64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One execution of a node, or of a kernel within a node that a provider has fused.

    Attributes
    ----------
    key : the same in all runs of one session
    start_us, length_us : since the record began; how long it ran
    inputs, outputs : types and shapes in words; "" where the engine does not tell
    parameter_bytes : of the weights that the node still had; packed ones have left the graph
    memory_bytes : what the allocator held more after it than before
    peak_bytes : the most that the allocator has held so far
    within : name of the node that it is a part of; "" for a node of the main graph
    """

    key: tuple[str, str]
    name: str
    op: str
    provider: str
    start_us: int
    length_us: int
    inputs: str = ""
    outputs: str = ""
    parameter_bytes: int | None = None
    memory_bytes: int | None = None
    peak_bytes: int | None = None
    within: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: how long the engine was called, how long it executed nodes, and the events."""

    call_us: int
    execute_us: int
    events: tuple[Event, ...]


def read_record(path: Path, model: str) -> tuple[Run, ...]:
    """Read the engine's file; its runs in order, each with its events in order of their start.

    Raises
    ------
    InferenceError : there is no whole record in the file (a full disk leaves half of one)
    """
    try:
        told = json.loads(path.read_bytes())
        if not isinstance(told, list):
            raise ValueError("it is no list of events")
        return runs_of(told)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InferenceError(
            model, f"the engine's record of it cannot be read ({error})",
            "Is the disk of the folder for temporary files full?",
        ) from error  # fmt: skip


def runs_of(told: Iterable[Mapping[str, Any]]) -> tuple[Run, ...]:
    """Sort events into the runs in which they happened."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for event in told:
        cat = str(event.get("cat", ""))
        kinds.setdefault(str(event["name"]) if cat == "Session" else cat, []).append(event)
    calls = sorted(kinds.get("model_run", ()), key=lambda e: int(e["ts"]))
    starts = [int(call["ts"]) for call in calls]
    executed = [0] * len(calls)
    events: list[list[Event]] = [[] for _ in calls]
    for event in kinds.get("SequentialExecutor::Execute", ()):
        if (at := bisect_right(starts, int(event["ts"])) - 1) >= 0:  # sub-graphs have some too
            executed[at] = max(executed[at], int(event["dur"]))
    for kind in ("Node", "Kernel"):
        for event in kinds.get(kind, ()):
            if (at := bisect_right(starts, int(event["ts"])) - 1) >= 0:
                events[at].append(_event(event, kind))
    return tuple(
        Run(call_us=int(call["dur"]), execute_us=executed[at], events=_nested(events[at]))
        for at, call in enumerate(calls)
    )


def _event(event: Mapping[str, Any], kind: str) -> Event:
    told: Mapping[str, Any] = event.get("args") or {}
    name = str(event["name"]).removesuffix(_SUFFIX)
    start_us, length_us = int(event["ts"]), int(event["dur"])
    provider = str(told.get("provider") or told.get("ep") or "")
    if kind == "Kernel":
        within = str(told.get("parent_ort_event_name", "")).removesuffix(_SUFFIX)
        op = next((str(v) for k, v in told.items() if k.endswith("node_type")), name)
        return Event(
            key=(within, name), name=name, op=op, provider=provider, start_us=start_us,
            length_us=length_us, within=within or provider,
        )  # fmt: skip
    op = str(told.get("op_name", ""))
    fused = bool(provider) and op.startswith(provider)  # named by a hash, its weights swallowed
    return Event(
        key=(name, str(told.get("node_index", ""))),
        name=name,
        op=FUSED if fused else op,
        provider=provider,
        start_us=start_us,
        length_us=length_us,
        inputs=_ports(told.get("input_type_shape")),
        outputs=_ports(told.get("output_type_shape")),
        parameter_bytes=None if fused else _number(told.get("parameter_size")),
        memory_bytes=_number(told.get("mem_in_use_delta")),
        peak_bytes=_number(told.get("mem_in_use_peak")),
    )


def _number(value: object) -> int | None:
    try:
        return None if value is None else int(str(value))
    except ValueError:
        return None


def _ports(told: object) -> str:
    """Render types and shapes: ``float32 (1, 3, 32, 32), int64 (8)``."""
    if not isinstance(told, list):
        return ""
    return ", ".join(
        f"{_NUMPY.get(kind, kind)} {shape(tuple(dims))}"
        for port in told
        for kind, dims in (port.items() if isinstance(port, dict) else ())
    )


def _nested(events: list[Event]) -> tuple[Event, ...]:
    """Put events in order of their start, and say which ran inside another's own graph."""
    ordered = sorted(events, key=lambda e: (e.start_us, -e.length_us))
    placed: list[Event] = []
    open_: list[Event] = []
    for event in ordered:
        if event.within:
            placed.append(event)
            continue
        while open_ and event.start_us >= open_[-1].start_us + open_[-1].length_us:
            open_.pop()
        placed.append(replace(event, within=open_[-1].name) if open_ else event)
        if event.op in OWN_GRAPH:
            open_.append(event)
    return tuple(placed)
