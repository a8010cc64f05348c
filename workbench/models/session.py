"""One live session of the engine: stated options, stoppable runs, honest about what ran.

The engine comes from ``engine.py`` and is used here and in ``provider.py``. Whatever it raises
leaves this module as an error of ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench import stopping
from workbench.errors import (
    CancelledError,
    ConfigError,
    InferenceTimeoutError,
    InputMismatchError,
    LoadTimeoutError,
    ProviderFallbackWarning,
    WorkbenchError,
    from_engine,
    is_terminated,
)
from workbench.host import host, resident_bytes
from workbench.models import provider as provider_
from workbench.models.bfloat import bridged
from workbench.models.engine import engine
from workbench.models.opening import How, create, from_kept, try_keeping
from workbench.models.provider import CPU, FUSING, Wanted, short
from workbench.models.threadpool import share_threads
from workbench.timing import Stages, Stopwatch, clock
from workbench.units import count, shape, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.models.gate import GraphFacts, Port
    from workbench.models.ledger import Ledger
    from workbench.models.optimised import GraphCache
    from workbench.models.watch import Watch
    from workbench.stopping import Stop

log = logging.getLogger(__name__)

#: A file up to this size is read into memory first, so that the bytes that were checked are the
#: bytes that run and reading is timed apart; larger ones are left to the engine.
READ_BYTES = 512_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a session is opened. A value: two equal ones share a session.

    Attributes
    ----------
    threads : threads of one operator; None for what affinity and quota allow
    providers : providers to try in order, or None for ``auto``
    spinning : whether idle threads burn time waiting for work; ``auto`` is quiet where cores
        are shared, limited by a quota or loaded
    strict : make a fall-back to another provider an error
    """

    threads: int | None = None
    providers: tuple[Wanted, ...] | None = None
    spinning: bool | Literal["auto"] = "auto"
    strict: bool = False

    @classmethod
    def of(
        cls,
        threads: int | None = None,
        providers: object = "auto",
        spinning: bool | Literal["auto"] = "auto",
        strict: bool = False,
    ) -> Options:
        """Check and normalise what a caller wrote; raises ConfigError."""
        if threads is not None and not (type(threads) is int and 1 <= threads <= 1024):
            raise ConfigError("threads", threads, "a whole number from 1 to 1024, or None")
        if spinning not in (True, False, "auto"):
            raise ConfigError("spinning", spinning, "True, False or 'auto'")
        return cls(
            threads=threads,
            providers=provider_.parse(providers),
            spinning=spinning,
            strict=bool(strict),
        )


@dataclass(frozen=True, slots=True)
class Ran:
    """A provider that really runs a part of the graph: its nodes, of how many."""

    provider: str
    nodes: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What is known of a session once it is open.

    Attributes
    ----------
    ran : who runs how many nodes (the engine counts them before its last fusions, and after
        them where the graph was kept); empty where the engine does not tell
    provider : the provider that runs most of the graph, short ("CPU", "OpenVINO")
    precision : what the arithmetic is done in ("float32", "int8", "bfloat16 …")
    threads, spinning, why_spinning : as resolved
    stoppable : whether a run can be ended between nodes
    load : seconds of ``read`` and ``optimise`` (parse, optimise, allocate); where the optimised
        graph was kept, of finding and checking it and of opening it. ``keep`` is the time that
        checking a new one and putting it into the cache took (writing it is part of optimise)
    kept : whether the optimised graph came from the cache
    shared_threads : whether the threads are the pool's that models share
    memory_bytes : what the process grew by when it was opened, an estimate; None where unknown
    notes : fall-backs and the like, in words
    """

    ran: tuple[Ran, ...]
    provider: str
    precision: str
    threads: int
    spinning: bool
    why_spinning: str
    stoppable: bool
    load: Stages
    memory_bytes: int | None = None
    kept: bool = False
    shared_threads: bool = False
    notes: tuple[str, ...] = ()

    @property
    def provider_text(self) -> str:
        """Who runs the graph, with shares where it is more than one."""
        if len(self.ran) < 2:
            return self.provider
        return ", ".join(f"{short(r.provider)} {r.nodes} of {r.of} nodes" for r in self.ran)

    @property
    def on_processor(self) -> bool:
        """Whether it is the machine's processor that runs most of the graph."""
        return self.provider in provider_.ON_PROCESSOR

    @property
    def threads_text(self) -> str:
        """How many threads, and whether they are shared."""
        return f"{self.threads}{' (one pool for all models)' if self.shared_threads else ''}"

    @property
    def spinning_text(self) -> str:
        """Whether threads spin, and why."""
        return f"{'on' if self.spinning else 'off'} ({self.why_spinning})"


#: Sessions that are open and spin: a second one would take the first one's cores.
_spinning: weakref.WeakSet[Session] = weakref.WeakSet()
_spinning_lock = threading.Lock()


@dataclass(eq=False, slots=True, weakref_slot=True)
class Session:
    """A live engine session. Made by :func:`open_session`, owned by a hub or a benchmark."""

    name: str
    path: Path
    options: Options
    facts: SessionFacts
    inputs: tuple[Port, ...]
    size_bytes: int
    _raw: Any
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: seconds of the first run; None before it
    first_run_s: float | None = None
    #: runs so far; one that fails counts
    runs: int = 0
    #: where some of them are noted; None for a private session
    ledger: Ledger | None = None
    _noted_at: int = 1
    #: what past runs were ended with, and were not: nothing holds these any more
    _spare: list[_Run] = field(default_factory=list)
    #: whether the engine writes down what each node takes
    recording: bool = False
    #: what it has been warmed up with: inputs with their types and shapes
    warmed: set[tuple[tuple[str, str], ...]] = field(default_factory=set)

    @property
    def closed(self) -> bool:
        """Whether the engine's session is gone."""
        return self._raw is None

    def run(
        self,
        feeds: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        *,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> list[Any]:
        """Run the model once, in this thread.

        Parameters
        ----------
        feeds : input name → array with the port's dtype and shape
        outputs : names of the outputs wanted, in this order; None for all
        timeout_s : seconds after which the run is ended between two nodes
        stop : ends the run when cancelled

        Raises
        ------
        InputMismatchError, InferenceTimeoutError, CancelledError, InferenceError, …

        Notes
        -----
        The keyboard interrupt ends a run as well, when it is in the main thread. The session
        stays usable after each of these.
        """
        raw = self._raw
        if raw is None:
            raise WorkbenchError(f"The session of {self.name!r} is closed.", "Load it again.")
        if outputs:  # beneath the engine's Python face, whose questions are asked after a failure
            raw = getattr(raw, "_sess", raw)
        try:
            guard = self._spare.pop()
        except IndexError:
            guard = _Run()
        deadline_s = stopping.deadline(timeout_s)
        if stop is not None:
            stop.check(f"The run of model {self.name!r}")
            deadline_s = min(deadline_s, stop.deadline_s)
        self.runs = n = self.runs + 1
        before = None
        if noted := n >= self._noted_at and self.ledger is not None:
            self._noted_at += min(n, 1024)  # 1, 2, 4, … 1,024, and every 1,024th: see ledger.py
            before = resident_bytes()
        started = clock() if self.first_run_s is None else 0.0
        watchdog = stopping.watchdog
        watchdog.begin(guard, deadline_s)
        try:
            if stop is None:
                answer = raw.run(outputs, feeds, guard.options)
            else:
                with stop.acting(guard.act):
                    answer = raw.run(outputs, feeds, guard.options)
        except Exception as error:
            if guard.fired == "interrupt":  # an event loop may have taken the signal for itself
                raise KeyboardInterrupt from error
            raise self._why(error, feeds, guard.fired, timeout_s, stop) from error
        finally:
            watchdog.end(guard)
        if guard.fired == "timeout":  # a fused graph ran on to its end: the promise was broken
            raise InferenceTimeoutError(self.name, _limit(timeout_s, stop))
        if stop is None and not guard.fired:  # who cancels a stop may act after the run
            self._spare.append(guard)
        if self.first_run_s is None:
            self.first_run_s = clock() - started
        if noted and self.ledger is not None:
            self.ledger.note("run", self.name, before, f"run {n}")
        return answer  # type: ignore[no-any-return]

    def timed(
        self,
        feeds: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None,
        watch: Watch,
        clock: Callable[[], float] = clock,
    ) -> tuple[list[Any], float]:
        """Run the model once under a watch; return the outputs and the engine's seconds.

        ``clock`` reads the time, in seconds: right before the engine is called, and right after.
        Raises what :meth:`run` raises.
        """
        raw = self._raw
        if raw is None:
            raise WorkbenchError(f"The session of {self.name!r} is closed.", "Load it again.")
        options = watch.begin_run(self.name)
        try:
            started = clock()
            answer = raw.run(outputs, feeds, options)
            ended = clock()
        except Exception as error:
            watch.pass_interrupt_on()
            raise self._why(error, feeds, watch.fired, watch.timeout_s, watch.stop) from error
        finally:
            watch.running = False
        if watch.fired == "timeout":  # a fused graph ran on to its end: the promise was broken
            raise InferenceTimeoutError(self.name, watch.timeout_s)
        if self.first_run_s is None:
            self.first_run_s = ended - started
        return answer, ended - started

    def _why(
        self,
        error: Exception,
        feeds: Mapping[str, NDArray[Any]],
        fired: str,
        timeout_s: float | None,
        stop: Stop | None,
    ) -> WorkbenchError:
        if is_terminated(error) or fired:
            if fired == "timeout":
                return InferenceTimeoutError(self.name, _limit(timeout_s, stop))
            return CancelledError(f"The run of model {self.name!r}")
        mismatch = check_feeds(self.inputs, feeds)
        return mismatch or from_engine(error, model=self.name, doing="run")

    def end_record(self) -> Path | None:
        """End what ``record_to`` began, and return the engine's file; None where there is none."""
        with self._lock:
            raw, recording = self._raw, self.recording
            self.recording = False
            if raw is None or not recording:
                return None
            file = raw.end_profiling()
        return Path(file) if file else None

    def close(self) -> None:
        """Let the engine's session go; harmless when it is gone already."""
        with self._lock:
            self._raw = None
        with _spinning_lock:
            _spinning.discard(self)


def _limit(timeout_s: float | None, stop: Stop | None) -> float:
    limits = [s for s in (timeout_s, stop.timeout_s if stop else None) if s is not None]
    return min(limits, default=inf)


class _Run(stopping.Guard):
    """What one run is ended with: the engine's options, and the watchdog's guard over them."""

    __slots__ = ("options",)

    def __init__(self) -> None:
        self.options = options = engine().RunOptions()
        options.log_severity_level = 4  # what it would log is what it raises

        def end() -> None:
            options.terminate = True

        super().__init__(end)


def check_feeds(
    ports: Sequence[Port], feeds: Mapping[str, NDArray[Any]]
) -> InputMismatchError | None:
    """Compare feeds with the ports; return the first mismatch as an error, or None."""
    known = {port.name: port for port in ports}
    for name in feeds:
        if name not in known:
            return InputMismatchError(name, "an array", f"one of {', '.join(map(repr, known))}")
    for name, port in known.items():
        if name not in feeds:
            return InputMismatchError(name, "nothing", port.describe())
        array = feeds[name]
        if not hasattr(array, "dtype"):
            return InputMismatchError(name, f"a {type(array).__name__}", port.describe())
        wanted = port.shape
        fits = port.dtype in ("string", array.dtype.name)
        if wanted is not None and fits:
            fits = len(wanted) == array.ndim and all(
                not isinstance(want, int) or want == have
                for want, have in zip(wanted, array.shape, strict=True)
            )
        if not fits:
            seen = f"{array.dtype.name} {shape(array.shape)}"
            return InputMismatchError(name, seen, port.describe())
    return None


def open_session(
    path: Path,
    options: Options,
    facts: GraphFacts,
    *,
    name: str,
    timeout_s: float | None = None,
    optimised: bool = True,
    record_to: Path | None = None,
    prepacked: bool = True,
    graphs: GraphCache | None = None,
    shared_threads: int | None = None,
    stop: Stop | None = None,
) -> Session:
    """Open a session on a model file that has passed the gate.

    Parameters
    ----------
    path : the file
    options : how to open it
    facts : what the gate found in it
    name : id of the model, for errors
    timeout_s : limit of the load, where the engine can be stopped (onnxruntime ≥ 1.22)
    optimised : False leaves the graph as it is (for measurements)
    record_to : folder in which the engine writes down what each node took; see
        :meth:`Session.end_record`
    prepacked : False leaves weights as the graph has them, so that the record tells their sizes
    graphs : where optimised graphs are kept, and taken from; None for a plain load
    shared_threads : size of the pool that models share (see :mod:`workbench.models.threadpool`),
        used where the options name neither threads nor spinning; None for threads of its own
    stop : ends the load when cancelled, where the engine can be stopped

    Raises
    ------
    LoadTimeoutError, CancelledError, ConfigError (with ``strict``), and whatever
    :func:`from_engine` gives

    Warns
    -----
    ProviderFallbackWarning : another provider than the one asked for runs the model
    """
    ort = engine()
    chosen, missing = provider_.choose(options.providers)
    threads, spinning, why, shared, no_pool = _threads(options, shared_threads)
    if missing and options.strict:
        raise ConfigError("providers", str(options.providers and options.providers[0]),
                          "a provider that can run here", hint=f"{missing[0]}.")  # fmt: skip
    before = resident_bytes()
    watch = Stopwatch()
    how = How(chosen, None if shared else threads, spinning, optimised, name, timeout_s,
              record_to=record_to, prepacked=prepacked, stop=stop,
              mapped=graphs is not None and graphs.mapped)  # fmt: skip
    notes = [*missing, *([f"{no_pool}: a pool a model."] if no_pool else [])]
    plain = record_to is None and prepacked
    key = graphs.key(facts, chosen, "all") if graphs is not None and optimised and plain else None
    raw = from_kept(ort, how, graphs, key, watch)
    kept = raw is not None
    if not kept:
        watch = Stopwatch()
        try:
            whole = facts.size_bytes <= READ_BYTES and not facts.external_files
            source: bytes | str = path.read_bytes() if whole else str(path)
        except OSError as error:
            raise from_engine(error, model=name, doing="load") from error
        watch.lap("read")
        part = graphs.part(key) if graphs is not None and key is not None and whole else None
        try:
            raw = try_keeping(ort, source, how, part)
        except WorkbenchError as error:
            first = chosen[0]
            if (
                first.name == CPU
                or options.strict
                or isinstance(error, LoadTimeoutError | CancelledError)
            ):
                raise
            notes.append(f"{first} failed to take the model ({error.message})")
            log.info("%s: %s", name, notes[-1])
            chosen = (Wanted(CPU),)
            raw = create(ort, source, replace(how, chosen=chosen))
        watch.lap("optimise")
        if graphs is not None and key is not None and part is not None:
            # what was read must be what the gate has seen, or it would be kept for another file
            same = hashlib.sha256(source).hexdigest() == facts.sha256  # type: ignore[arg-type]
            graphs.keep(key, part) if same else graphs.drop(part)
            watch.lap("keep")
        del source
    ran = _assignments(raw)
    lead = max(ran, key=lambda r: r.nodes).provider if ran else raw.get_providers()[0]
    notes += _fallback(name, options, chosen, missing, ran, notes)
    session = Session(
        name,
        path,
        options,
        SessionFacts(
            ran=ran,
            provider=short(lead),
            precision=precision(lead, chosen, facts),
            threads=threads,
            spinning=spinning,
            why_spinning=why,
            stoppable=not any(r.provider in FUSING for r in ran) and lead not in FUSING,
            load=watch.stages(),
            kept=kept,
            shared_threads=shared,
            memory_bytes=_grown(before, facts.size_bytes),
            notes=tuple(notes),
        ),
        facts.inputs,
        facts.size_bytes,
        bridged(raw, facts),
        recording=record_to is not None,
    )
    if spinning:
        with _spinning_lock:
            _spinning.add(session)
    return session


def _threads(options: Options, pool: int | None) -> tuple[int, bool, str, bool, str]:
    """Return threads, spinning and why, whether the pool is shared, and why it is not."""
    no_pool = ""
    if pool is not None and options.threads is None and options.spinning == "auto":
        no_pool = share_threads(pool)
        if not no_pool:
            return pool, pool > 1, "as the shared pool does", True, ""
    threads = options.threads or host().threads
    return threads, *resolve_spinning(options.spinning, threads), False, no_pool


def resolve_spinning(asked: bool | Literal["auto"], threads: int) -> tuple[bool, str]:
    """Decide whether threads spin, and say why."""
    if threads == 1:
        return False, "one thread has nobody to wait for"
    if asked != "auto":
        return asked, "as asked"
    machine = host()
    if machine.shared:
        return False, f"auto: {machine.shared}"
    with _spinning_lock:
        others = len(_spinning)
    if others:
        return False, f"auto: {count(others, 'other live session')} spinning"
    return True, "auto: the cores are free"


def _assignments(raw: Any) -> tuple[Ran, ...]:
    """Ask the engine who runs which nodes (onnxruntime ≥ 1.24); () where it does not tell."""
    tell = getattr(raw, "get_provider_graph_assignment_info", None)
    if tell is None:
        return ()
    counts: Counter[str] = Counter()
    with contextlib.suppress(Exception):
        for part in tell():
            counts[part.ep_name] += len(part.get_nodes())
    total = sum(counts.values())
    return tuple(Ran(name, nodes, total) for name, nodes in counts.most_common())


def _fallback(
    name: str,
    options: Options,
    chosen: tuple[Wanted, ...],
    missing: tuple[str, ...],
    ran: tuple[Ran, ...],
    notes: list[str],
) -> list[str]:
    """Warn, or raise with ``strict``, where a provider that was asked for runs nothing."""
    if options.providers is None or options.providers[0].name == CPU:
        return []
    asked = options.providers[0]
    share_of_it = sum(r.nodes / r.of for r in ran if r.provider == asked.name)
    if share_of_it > 0 or (not ran and not missing and chosen[0] == asked):
        partly = 0 < share_of_it < 1
        return [f"{asked} runs {share(share_of_it)} of the nodes"] if partly else []
    there = short(ran[0].provider) if ran else short(chosen[0].name)
    why = "; ".join(notes) or f"{asked} took no node of the graph"
    if options.strict:
        raise ConfigError("providers", str(asked), "a provider that runs the model", hint=why)
    warnings.warn(ProviderFallbackWarning(name, str(asked), there, f"{why}."), stacklevel=4)
    return [] if notes else [why]


def _grown(before: int | None, file_bytes: int) -> int | None:
    """Return what the process grew by; None where it took memory that was free already.

    A session holds at least its weights: a process that grew by less than the file reused pages
    of an earlier session, and the difference says nothing.
    """
    now = resident_bytes()
    if before is None or now is None or now - before < file_bytes:
        return None
    return now - before


def precision(lead: str, chosen: tuple[Wanted, ...], facts: GraphFacts) -> str:
    """Say what the arithmetic is done in, as far as file, provider and processor tell.

    OpenVINO computes a float32 graph in bfloat16 where the processor has instructions for it,
    unless INFERENCE_PRECISION_HINT says f32 (docs.openvino.ai, "Precision Control").
    """
    if facts.quantized:
        return f"int8 ({facts.quantized})"
    kinds = dict(facts.dtypes)
    floats = [k for k in ("float16", "bfloat16", "float64", "float32") if kinds.get(k)]
    stored = max(floats, key=lambda k: kinds[k]) if floats else "float32"
    fed = {port.dtype for port in facts.inputs}
    cast = stored == "float16" and fed == {"float32"} and bool(dict(facts.operators).get("Cast"))
    plain = "float32 (weights stored in float16)" if cast else stored
    if lead != "OpenVINOExecutionProvider" or not plain.startswith("float32"):
        return plain
    options = " ".join(v for w in chosen for _, v in w.options)
    has = {"amx_bf16", "avx512_bf16"} & set(host().flags)
    return "bfloat16 (OpenVINO's default here)" if has and '"f32"' not in options else plain
