"""Taking a profile: private sessions, the engine's own record, and nothing left behind.

Three sessions are opened, one after another, outside the hub's: one without the record, so that
its cost is known; one with it; and one whose weights are not packed, for a single run, since the
engine tells a node's parameters only of weights that are still in the graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import (
    CancelledError,
    ConfigError,
    InferenceTimeoutError,
    WriteError,
    require_count,
)
from workbench.models.profile import Node, Profile
from workbench.models.record import Event, Run, read_record
from workbench.models.session import Options, Session, SessionFacts, check_feeds, open_session
from workbench.timing import Samples, clock, settled
from workbench.units import shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from workbench.models.model import Model
    from workbench.stopping import Stop

#: What a row is: the node that it is a part of, and the event's own key.
Key = tuple[str, str, str]
Feeds = Mapping[str, "NDArray[Any]"]
#: Runs that are taken even when time is up: fewer than this have no median worth the name.
FEWEST = 3
#: Events that are recorded at most, where that takes no more than one run after the first: a loop
#: writes some for each round, about 1 kB each, and the engine itself ends at a million.
MOST_EVENTS = 200_000


def feeds_of(model: Model, image: Any, batch: int = 1) -> dict[str, NDArray[Any]]:
    """Turn what a caller gives into feeds: nothing, a picture, a ready array, or feeds.

    Parameters
    ----------
    image : None for made-up numbers; a mapping of input name → array; an array that fits the
        only input; else a picture, as everywhere
    batch : how often a picture is repeated; the graph's own batch where that is fixed
    """
    require_count("batch", batch)
    if image is None:
        return model.sample_feeds(batch)
    if isinstance(image, Mapping):
        if mismatch := check_feeds(model.inputs, image):
            raise mismatch
        return dict(image)
    if isinstance(image, np.ndarray) and len(model.inputs) == 1:
        feeds = {model.inputs[0].name: image}
        if check_feeds(model.inputs, feeds) is None:
            return feeds
    one = model.preprocessing(image)
    times = model.picture_batch or batch
    return {model.picture_port.name: np.repeat(one, times, axis=0) if times > 1 else one}


def profile(
    model: Model,
    image: Any = None,
    *,
    runs: int = 30,
    batch: int = 1,
    max_time_s: float = 10.0,
    stop: Stop | None = None,
) -> Profile:
    """See :meth:`workbench.models.model.Model.profile`."""
    require_count("runs", runs)
    if not (isinstance(max_time_s, (int, float)) and max_time_s > 0 and isfinite(max_time_s)):
        raise ConfigError("max_time_s", max_time_s, "a positive number of seconds")
    feeds = feeds_of(model, image, batch)
    hub = model.hub
    live = model.session
    options = model.options if live is None else replace(model.options, spinning=live.spinning)
    with hub.exclusive(timeout_s=hub.timeout_s), _folder() as folder:
        taker = _Taker(model, options, feeds, stop, folder)
        quiet = taker.quiet(runs, max_time_s / 2)
        sizes, events = taker.parameters()
        runs = min(runs, max(1, MOST_EVENTS // max(1, events) - 1))
        wall, session, record = taker.recorded(runs, max_time_s / 2)
    return _profile(model, feeds, quiet, wall, live or session.facts, record, sizes, stop)


@contextmanager
def _folder() -> Iterator[Path]:
    """Give a folder for the record, and take it away whatever happens."""
    try:
        place = tempfile.TemporaryDirectory(prefix="workbench-profile-", ignore_cleanup_errors=True)
    except OSError as error:
        raise WriteError(tempfile.gettempdir(), error.strerror or str(error)) from error
    with place as folder:
        yield Path(folder)


class _Taker:
    """Opens the private sessions of one profile, and closes each."""

    def __init__(
        self, model: Model, options: Options, feeds: Feeds, stop: Stop | None, folder: Path
    ) -> None:
        self.model, self.options, self.feeds = model, options, feeds
        self.stop, self.folder = stop, folder

    @contextmanager
    def _session(self, name: str, **how: Any) -> Iterator[Session]:
        if how.get("record_to"):
            how["record_to"] = self.folder / name
            how["record_to"].mkdir()
        session = open_session(
            self.model.path,
            self.options,
            self.model.graph,
            name=self.model.id,
            timeout_s=self.model.hub.timeout_s,
            **how,
        )
        try:
            yield session
        finally:
            session.end_record()  # else the engine writes it when the session goes
            session.close()

    def _runs(self, session: Session, runs: int, limit_s: float) -> list[float]:
        """Run until there are enough, time is up, or someone stops it: seconds of each."""
        times: list[float] = []
        end_s = clock() + limit_s
        while len(times) < runs and (len(times) < FEWEST or clock() < end_s):
            if self.stop is not None and self.stop.over:
                break
            started = clock()
            try:
                session.run(self.feeds, timeout_s=self.model.hub.timeout_s, stop=self.stop)
            except (CancelledError, InferenceTimeoutError):
                if self.stop is not None and self.stop.over:
                    break
                raise
            times.append(clock() - started)
        return times

    def quiet(self, runs: int, limit_s: float) -> list[float]:
        """Take runs without the record."""
        with self._session("quiet") as session:
            return self._runs(session, runs + 1, limit_s)

    def recorded(self, runs: int, limit_s: float) -> tuple[list[float], Session, tuple[Run, ...]]:
        """Take runs with the record on."""
        with self._session("recorded", record_to=True) as session:
            times = self._runs(session, runs + 1, limit_s)
            if not times:
                raise _nothing_recorded(self.stop)
            file = session.end_record()
            record = () if file is None else read_record(file, self.model.id)
        return times, session, record

    def parameters(self) -> tuple[dict[tuple[str, str], int], int]:
        """Return the bytes of each node's weights before they are packed, and the events a run."""
        if self.stop is not None and self.stop.over:
            return {}, 0
        with self._session("unpacked", record_to=True, prepacked=False) as session:
            if not self._runs(session, 1, 1.0):
                return {}, 0
            file = session.end_record()
            record = () if file is None else read_record(file, self.model.id)
        events = record[0].events if record else ()
        told = {e.key: e.parameter_bytes for e in events}
        return {key: value for key, value in told.items() if value is not None}, len(events)


def _nothing_recorded(stop: Stop | None) -> CancelledError | InferenceTimeoutError:
    """Say that a stop came before a single run was recorded: there is nothing to keep."""
    error: CancelledError | InferenceTimeoutError = CancelledError("The profile")
    if stop is not None and not stop.cancelled:
        error = InferenceTimeoutError("", stop.timeout_s or 0.0, what="The profile")
    error.hint = "No run had been recorded yet, so nothing is kept: give it more time."
    return error


def _profile(
    model: Model,
    feeds: Feeds,
    quiet: list[float],
    wall: list[float],
    facts: SessionFacts,
    record: tuple[Run, ...],
    sizes: Mapping[tuple[str, str], int],
    stop: Stop | None,
) -> Profile:
    """Put the runs after the warm-up together."""
    whole = list(zip(wall, record, strict=False))  # a run that was stopped is in neither
    later = whole[1:]
    at = settled([seconds for seconds, _ in later])
    steady = later[at or 0 :] or whole
    peaks = [e.peak_bytes for run in record for e in run.events if e.peak_bytes is not None]
    return Profile(
        model=model.id,
        nodes=_nodes(whole[0][1] if whole else None, [run for _, run in steady], sizes),
        wall=Samples(tuple(seconds for seconds, _ in steady), f"{model.id}, with the record"),
        engine_s=median([1e-6 * run.call_us for _, run in steady]),
        execute_s=median([1e-6 * run.execute_us for _, run in steady]),
        quiet=Samples(tuple(quiet[1:] or quiet), f"{model.id}, without the record"),
        first_s=wall[0],
        shapes=tuple((name, f"{a.dtype.name} {shape(a.shape)}") for name, a in feeds.items()),
        ran=facts.ran,
        provider=facts.provider,
        precision=facts.precision,
        threads=facts.threads,
        spinning=facts.spinning_text,
        peak_bytes=max(peaks, default=None),
        settled=at is not None,
        stopped=stop is not None and stop.over,
    )


def _nodes(
    first: Run | None, steady: list[Run], sizes: Mapping[tuple[str, str], int]
) -> tuple[Node, ...]:
    """Join the events of all runs: a node a key, in the order in which they ran."""
    times: list[dict[Key, int]] = []
    for run in steady:
        spent: dict[Key, int] = {}
        for event in run.events:
            key = (event.within, *event.key)
            spent[key] = spent.get(key, 0) + event.length_us
        times.append(spent)
    begun: dict[Key, list[Event]] = {}
    for event in first.events if first else ():
        begun.setdefault((event.within, *event.key), []).append(event)
    known: dict[Key, list[Event]] = {}
    for event in steady[0].events if steady else ():
        known.setdefault((event.within, *event.key), []).append(event)
    nodes = []
    for key, events in known.items():
        event = events[0]
        early = begun.get(key, [])
        memory = [e.memory_bytes for e in early if e.memory_bytes is not None]
        nodes.append(
            Node(
                name=event.name,
                op=event.op,
                provider=event.provider,
                inputs=event.inputs,
                outputs=event.outputs,
                parameter_bytes=sizes.get(event.key, None if sizes else event.parameter_bytes),
                first_s=1e-6 * sum(e.length_us for e in early),
                times_s=tuple(1e-6 * spent.get(key, 0) for spent in times),
                calls=len(events),
                memory_bytes=sum(memory) if memory else None,
                within=event.within,
            )
        )
    return tuple(nodes)
