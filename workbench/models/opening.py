"""Asking the engine for a session: its options, the graph that is kept, and what goes wrong."""

from __future__ import annotations

import logging
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import stopping
from workbench.errors import CancelledError, LoadTimeoutError, WorkbenchError, from_engine
from workbench.models import provider as provider_
from workbench.models.optimised import data_of

if TYPE_CHECKING:
    from workbench.models.optimised import GraphCache, Key
    from workbench.models.provider import Wanted
    from workbench.stopping import Stop
    from workbench.timing import Stopwatch

log = logging.getLogger(__name__)


#: Entries that put weights of a page or more into a file of their own, arranged for the kernels
#: (the last from onnxruntime 1.22; an engine that does not know it arranges them at each load).
#: https://github.com/microsoft/onnxruntime, onnxruntime_session_options_config_keys.h
_DATA = "session.optimized_model_external_initializers_file_name"
_MAPPED = {
    "session.optimized_model_external_initializers_min_size_in_bytes": "4096",
    "session.save_external_prepacked_constant_initializers": "1",
}


@dataclass(frozen=True, slots=True)
class How:
    """How the engine is asked to open a session; all that is resolved already."""

    chosen: tuple[Wanted, ...]
    threads: int | None  # None: the shared pool
    spinning: bool
    optimised: bool
    name: str
    timeout_s: float | None
    record_to: Path | None = None
    prepacked: bool = True
    stop: Stop | None = None
    mapped: bool = False


def from_kept(
    ort: Any, how: How, graphs: GraphCache | None, key: Key | None, watch: Stopwatch
) -> Any:
    """Open the graph that is kept for a key; None where there is none that can be opened."""
    if graphs is None or key is None or (kept := graphs.find(key)) is None:
        return None
    watch.lap("read")
    try:  # by its path: the engine reads it in less time than it takes to hand it the bytes
        raw = create(ort, str(kept), replace(how, optimised=False))
        watch.lap("optimise")
        return raw
    except (LoadTimeoutError, CancelledError):
        raise
    except WorkbenchError as error:
        graphs.discard(key, f"the engine does not open it: {error.message}")
        return None


def try_keeping(ort: Any, source: bytes | str, how: How, part: Path | None) -> Any:
    """Open a session and write its graph to ``part``; a disk that takes none is no harm."""
    if part is not None:
        try:
            return create(ort, source, how, part)
        except (LoadTimeoutError, CancelledError):
            raise
        except WorkbenchError as error:
            log.debug("%s: opened once more, without keeping its graph: %s", how.name, error)
    return create(ort, source, how)


def create(ort: Any, source: bytes | str, how: How, part: Path | None = None) -> Any:
    """Let the engine open a session; its optimised graph is written to ``part``, if given."""
    chosen, name, timeout_s = how.chosen, how.name, how.timeout_s
    made = ort.SessionOptions()
    made.log_severity_level = 3
    if how.threads is None:
        made.use_per_session_threads = False
    else:
        made.intra_op_num_threads = how.threads
        made.inter_op_num_threads = 1
        made.add_session_config_entry("session.intra_op.allow_spinning", str(int(how.spinning)))
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if part is not None:
        made.optimized_model_filepath = str(part)
        if how.mapped:
            for name, value in _MAPPED.items():
                made.add_session_config_entry(name, value)
            made.add_session_config_entry(_DATA, data_of(part).name)
    if not how.optimised:
        made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if not how.prepacked:
        made.add_session_config_entry("session.disable_prepacking", "1")
    if how.record_to is not None:
        made.enable_profiling = True
        made.profile_file_prefix = str(how.record_to / "record")
    devices = {o.name: o.devices for o in provider_.offered() if o.devices}
    plugins = [w for w in chosen if w.name in devices]
    for wanted in plugins:
        made.add_provider_for_devices(_pick(devices[wanted.name], wanted), _plugin_options(wanted))
    names = [(w.name, dict(w.options)) for w in chosen if w.name not in devices]

    def give_up() -> None:
        if hasattr(made, "set_load_cancellation_flag"):
            made.set_load_cancellation_flag(True)

    stop = how.stop
    guard = stopping.watchdog.begin(stopping.Guard(give_up), stopping.deadline(timeout_s))
    try:
        told = nullcontext() if stop is None else stop.acting(give_up)
        with told, warnings.catch_warnings():  # what it warns of is found out and said by us
            warnings.simplefilter("ignore")
            # providers must not be named again beside those of the options
            raw = ort.InferenceSession(source, made, **({} if plugins else {"providers": names}))
        raw.disable_fallback()
        return raw
    except Exception as error:
        if part is not None:
            part.unlink(missing_ok=True)
            data_of(part).unlink(missing_ok=True)
        if guard.fired == "timeout":
            raise LoadTimeoutError(name, timeout_s or 0.0) from error
        if stop is not None and stop.cancelled:
            raise CancelledError(f"Loading {name}") from error
        raise from_engine(error, model=name, doing="load") from error
    finally:
        stopping.watchdog.end(guard)


def _pick(devices: tuple[Any, ...], wanted: Wanted) -> list[Any]:
    """Choose a plugin's device: the one named by the option ``device``, else its CPU, else any."""
    asked = dict(wanted.options).get("device", "CPU").upper()
    named = [d for d in devices if provider_._device_name(d).upper() == asked]
    return named[:1] or list(devices[:1])


def _plugin_options(wanted: Wanted) -> dict[str, str]:
    return {key: value for key, value in wanted.options if key != "device"}
