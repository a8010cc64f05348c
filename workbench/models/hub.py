"""The hub: models by name, one handle each, and the sessions behind them.

Two names for one file, opened with the same options, are one session; each keeps its own
description. What is live, and what is closed to make room, is :mod:`workbench.models.cache`'s.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.cards import Card, Displayable, Notes, Table
from workbench.errors import (
    ChecksumError,
    ConfigError,
    DescriptionError,
    FetchError,
    IncompletePullWarning,
    InferredMetadataWarning,
    MissingFileError,
    ModelFileError,
    UnknownModelError,
    WorkbenchError,
    abridge,
    choices,
    nearest,
    require_count,
)
from workbench.models import store
from workbench.models.blueprint import Blueprint, Reference
from workbench.models.cache import CacheInfo, SessionCache, Unloaded
from workbench.models.ledger import Ledger, MemoryLedger
from workbench.models.model import Model
from workbench.models.optimised import GraphCache
from workbench.models.session import Options, Session, open_session
from workbench.settings import Settings
from workbench.stopping import deadline
from workbench.units import count, shape, size

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from workbench.models.dossier import Passport
    from workbench.models.fetch import Rules
    from workbench.models.graph import GraphFacts
    from workbench.models.news import Update
    from workbench.models.progress import Progress
    from workbench.models.spec import ModelSpec
    from workbench.models.upkeep import Restored, Verification
    from workbench.stopping import Stop

#: What tells one session from another: the file as it is now, and how it is opened (as text: a
#: string remembers its hash).
Key = tuple[str, int, int, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Named:
    """A model that was given a name here, with a path and perhaps metadata of its own.

    Two are never equal: the metadata may be the same dict, and say something else by now.
    """

    path: Path
    metadata: Mapping[str, Any] | None


class ModelHub(Displayable):
    """Models by name, and their live sessions.

    Parameters
    ----------
    model_dir : writable shelf; None for the setting (see :mod:`workbench.settings`)
    max_models : live sessions to keep; None for ``MAX_MODELS_IN_MEMORY`` (3)
    max_bytes : bytes of model files to keep live; None for ``MAX_MODEL_BYTES`` (no limit)
    timeout_s : limit of one run in seconds; None for ``INFERENCE_TIMEOUT`` (30 s)
    graph_cache : load optimised graphs from the cache folder, and keep them there; None for
        ``GRAPH_CACHE`` (yes)
    shared_threads : threads of one pool for all models of the process; None for
        ``SHARED_THREADS`` (a pool a model). ``threads=`` and ``spinning=`` of a load win

    Examples
    --------
    >>> hub = ModelHub(max_models=2)
    >>> model = hub.load("cifar10-small")
    >>> hub.load("cifar10-small") is model
    True
    >>> hub.cache_info().hits, hub.cache_info().misses
    (1, 1)
    """

    def __init__(
        self,
        *,
        model_dir: str | Path | None = None,
        max_models: int | None = None,
        max_bytes: int | None = None,
        timeout_s: float | None = None,
        graph_cache: bool | None = None,
        shared_threads: int | None = None,
    ) -> None:
        given = Settings()
        require_count("max_models", max_models, optional=True)
        require_count("max_bytes", max_bytes, optional=True)
        deadline(timeout_s)  # refuses what is none
        self.timeout_s = given.timeout_s if timeout_s is None else timeout_s
        try:
            folder = given.model_dir if model_dir is None else Path(model_dir)
            self.shelves = store.shelves(folder, given.data_dir)
        except (TypeError, ValueError, RuntimeError, OSError) as error:
            if isinstance(error, WorkbenchError):
                raise
            raise ConfigError("model_dir", model_dir, "a folder's path") from error
        self._ledger = Ledger()
        self._cache = SessionCache(
            given.max_models_in_memory if max_models is None else max_models,
            given.max_model_bytes if max_bytes is None else max_bytes,
            self._ledger,
        )
        require_count("shared_threads", shared_threads, optional=True)
        self.shared_threads = given.shared_threads if shared_threads is None else shared_threads
        use = given.graph_cache if graph_cache is None else graph_cache
        self._graphs = GraphCache(limit_bytes=given.max_graph_cache_bytes) if use else None
        self._named: dict[str, _Named] = {}
        self._handles: dict[tuple[str, Options], tuple[Model, tuple[Any, ...]]] = {}
        self._describing = threading.Lock()

    # ── the same hub elsewhere ────────────────────────────────────────────────────────────────

    def blueprint(self) -> Blueprint:
        """Return what a hub in another process is built from, with :meth:`built`."""
        graphs = self._graphs
        return Blueprint(
            shelves=self.shelves,
            max_models=self._cache.max_models,
            max_bytes=self._cache.max_bytes,
            timeout_s=self.timeout_s,
            graphs=None if graphs is None else (graphs.folder, graphs.limit_bytes),
            shared_threads=self.shared_threads,
        )

    @classmethod
    def built(cls, plan: Blueprint) -> ModelHub:
        """Return a hub with nothing live, made as another one was."""
        made = cls(
            max_models=plan.max_models, max_bytes=plan.max_bytes, timeout_s=plan.timeout_s,
            graph_cache=False, shared_threads=plan.shared_threads,
        )  # fmt: skip
        made.shelves, made.shared_threads = plan.shelves, plan.shared_threads
        if plan.graphs is not None:
            folder, limit_bytes = plan.graphs
            made._graphs = GraphCache(folder, limit_bytes=limit_bytes, mapped=True)
        return made

    def reference(self, model: str | Path | Model) -> Reference:
        """Return how a hub that was built alike finds a model; it is described, not loaded."""
        handle = self.handle(model)
        named = self._named.get(handle.asked)
        if named is None:
            return Reference(asked=handle.asked, options=handle.options)
        return Reference(
            asked=handle.asked, options=handle.options, path=named.path, metadata=named.metadata
        )

    def refer(self, reference: Reference) -> Model:
        """Return the handle that a reference means; nothing is loaded.

        A path and metadata of its own stay known to this hub under that name.

        Raises
        ------
        UnsafePathError, MissingFileError, NotOnnxError, MetadataError, … : nothing is remembered
        """
        name, known = reference.asked, self._named.get(reference.asked)
        told = (reference.path, reference.metadata)
        if known is not None and (known.path, known.metadata) == told:
            return self.handle(name, reference.options)
        if reference.path is None:
            self.forget(name)  # as the hub that it comes from did
        with self.naming(name, *told):
            return self.handle(name, reference.options)

    # ── loading ───────────────────────────────────────────────────────────────────────────────

    def load(
        self,
        model: str | Path | Model,
        *,
        threads: int | None = None,
        providers: object = "auto",
        spinning: bool | Literal["auto"] = "auto",
        strict: bool = False,
        timeout_s: float | None = None,
        verify: Literal["auto", "always"] = "auto",
        stop: Stop | None = None,
    ) -> Model:
        """Return the handle of a model whose session is live; open it if it is not.

        Parameters
        ----------
        model : id on a shelf, path to an .onnx file, or a handle (whose options hold)
        threads : threads of one operator; None for what affinity and quota allow
        providers : ``"auto"``, a name, or a list of names and ``(name, options)`` pairs
        spinning : whether idle threads burn time waiting for work
        strict : make a fall-back to another provider an error
        timeout_s : limit of the load in seconds
        verify : a model that was pulled is compared with its lock: "auto" takes the hash again
            when size, mtime or inode differ, "always" each time
        stop : gives the load up when cancelled; what was opened all the same is closed again

        Returns
        -------
        the same object for the same model and options, also after an eviction

        Raises
        ------
        UnknownModelError, MissingFileError, NotOnnxError, InvalidModelError, MetadataError,
        MetadataMismatchError, ChecksumError, ConfigError, LoadTimeoutError, CancelledError, …

        Warns
        -----
        ProviderFallbackWarning : the provider that was asked for does not run the model
        InferredMetadataWarning : there is no metadata, and what was guessed in its place
        """
        if isinstance(model, Model):
            handle = self._own(model)
        else:
            handle = self.handle(model, Options.of(threads, providers, spinning, strict))
        if verify != "auto":
            self._verify(handle, verify)
        what = f"Loading {handle.id}"
        live = stop is not None and self.state_of(handle) == "live"
        if stop is not None:
            stop.check(what)
        with Lease(self, handle, timeout_s, stop):
            pass
        if stop is not None and stop.cancelled and not live:
            self.unload(handle)  # the engine did not hear of it in time
            stop.check(what)
        return handle

    @staticmethod
    def _verify(handle: Model, verify: object) -> None:
        from workbench.models import gate, lock

        if verify != "always":
            raise ConfigError("verify", verify, "'auto' or 'always'")
        path, told = handle.path, handle.spec.sha256
        lock.check(path, "always")
        entries = ((f, e) for f in (path.parent.parent, path.parent) for e in lock.read(f).values())
        proven = next((e.model.sha256 for f, e in entries if f / e.model.path == path), "")
        seen = proven or lock.sha256_of(path, "always")  # each byte is read once
        if told and told.lower() != seen:
            raise ChecksumError(str(path), told.lower(), seen)
        if handle.graph.sha256 != seen:  # it was never described, and changed in secret
            gate.examine(path, verify="always")

    def preload(
        self,
        name: str,
        *,
        path: str | Path | None = None,
        metadata: Mapping[str, Any] | None = None,
        warmup: bool = False,
        **options: Any,
    ) -> Model:
        """Load a model under a name of your choice, and warm it up if asked.

        ``path`` and ``metadata`` stay known to this hub under ``name``; where the load fails,
        nothing is remembered. ``options`` are those of :meth:`load`.
        """
        with self.naming(name, path, metadata):
            model = self.load(name, **options)
            if warmup:
                model.warm_up()
        return model

    @contextmanager
    def naming(
        self, name: str, path: str | Path | None, metadata: Mapping[str, Any] | None
    ) -> Iterator[None]:
        """Give a model a path, or a description of its own; both are forgotten if the block fails.

        Raises
        ------
        UnsafePathError, MissingFileError, UnknownModelError : nothing is remembered
        """
        before = self._named.get(name)
        if path is not None:
            store.check_id(name)
            self._named[name] = _Named(_file(path), metadata)
        elif metadata is not None:
            self._named[name] = _Named(store.find(name, self.shelves).path, metadata)
        try:
            yield
        except BaseException:
            if before is None:
                self._named.pop(name, None)
            else:
                self._named[name] = before
            raise

    def named(self, name: str) -> tuple[Path, Mapping[str, Any] | None] | None:
        """Return the file and the description that a name was given by :meth:`preload`.

        None for a name that it was not given; a description of None is that of the file.
        """
        known = self._named.get(name)
        return None if known is None else (known.path, known.metadata)

    def forget(self, name: str) -> None:
        """Let go of the file and the description that a name was given by :meth:`preload`.

        A model on a shelf has its own description again; any other name is unknown from then on.
        """
        self._named.pop(name, None)

    def passport(self, model: str | Path | Model) -> Passport:
        """Return what is known of a model, and who says so, without loading it."""
        if isinstance(model, Model):
            return self._own(model).passport
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InferredMetadataWarning)  # the passport says it itself
            return self.handle(model).passport

    def described_in(self, model: Model) -> Path:
        """Return the metadata file of a model, whether or not it is there."""
        if model.spec.metadata_path is not None:
            return model.spec.metadata_path
        shelf = next((s for s in self.shelves if model.path.is_relative_to(s.models)), None)
        if shelf is not None and not store.is_path(model.asked):
            return shelf.models / "metadata" / f"{model.id}.json"
        return model.path.with_suffix(".json")

    def handle(self, model: str | Path | Model, options: Options | None = None) -> Model:
        """Return the handle of a model without opening a session."""
        if isinstance(model, Model):
            return self._own(model)
        if not isinstance(model, (str, Path)):
            raise ConfigError("model", model, "an id, a path to an .onnx file, or a Model")
        key = (self._spelt(str(model)), options or _PLAIN)
        known = self._handles.get(key)
        if known is not None and known[1] == self._identity(known[0]):
            return known[0]
        with self._describing:  # one description at a time, and one handle for all who ask
            known = self._handles.get(key)
            if known is not None and known[1] == self._identity(known[0]):
                return known[0]
            spec, graph, watched = self._describe(key[0])
            if known is not None:  # the file, or what is written about it, has changed
                made = known[0]
                made._update(spec, graph)
            else:
                made = self._twin(spec, key[1]) or Model(self, spec, graph, key[1], key[0])
            made._watched = watched
            self._handles[key] = (made, self._identity(made))
        if spec.guessed and spec.model_type == "classification":
            warning = InferredMetadataWarning(made.id, spec.guesses, described=spec.described)
            warnings.warn(warning, stacklevel=3)
        return made

    def _spelt(self, name: str) -> str:
        """Return a name, or a path that stays the same when the working directory changes."""
        if name in self._named or not store.is_path(name):
            return name
        try:
            return os.path.abspath(os.path.expanduser(name))  # noqa: PTH100, PTH111  (keeps links)
        except OSError:  # the working directory is gone
            return name

    def _own(self, model: Model) -> Model:
        if model._hub is not self:
            raise ConfigError("model", model.id, "a Model of this hub, or its id")
        return model

    def _describe(self, name: str) -> tuple[ModelSpec, GraphFacts, tuple[str, ...]]:
        """Look at a model's file, at what is written about it, and where more may be written."""
        from workbench.models import companion, gate, lock
        from workbench.models.evidence import read_spec

        named = self._named.get(name)
        labels: tuple[Path, ...] = ()
        places: tuple[Path, ...] = ()
        metadata: Mapping[str, Any] | Path | None
        if named is not None:
            model_id, path, metadata = name, named.path, named.metadata
            labels = self._labels_of_shelf(path)
        elif store.is_path(name):
            path = _file(name)
            model_id = companion.home(path).name if path.stem == "model" else path.stem
            places = (path.with_suffix(".json"), path.parent / "metadata" / f"{model_id}.json")
            metadata = next((p for p in places if p.is_file()), None)
            labels = (path.parent, path.parent / "labels", path.parent.parent / "data" / "labels")
        else:
            found = store.find(name, self.shelves)
            model_id, path, metadata = name, found.path, found.metadata_path
            labels = found.labels_folders
            places = (found.shelf.models / "metadata" / f"{name}.json",)
        locked = lock.check(path)
        graph = gate.examine(path)
        spec = read_spec(model_id, path, facts=graph, metadata=metadata, labels_dir=labels)
        if (origin := spec.origins.get("labels", "")) != "metadata JSON":
            listed = origin.removeprefix("labels/").partition(",")[0]
            file = listed if origin.startswith("labels/") else f"{model_id}_labels.json"
            places += tuple(folder / file for folder in labels)
        places += companion.places(path)
        return spec, graph, tuple(map(str, (*places, *locked)))

    def _labels_of_shelf(self, path: Path) -> tuple[Path, ...]:
        """Return where labels are sought for a file that lies on a shelf under another name."""
        at = (s for s in self.shelves if path.is_relative_to(s.models.resolve()))
        return next((shelf.labels_folders() for shelf in at), ())

    def _twin(self, described: ModelSpec, options: Options) -> Model | None:
        """Find a handle that says the same, so that two spellings of a path give one object."""
        for (_, opened), (model, _) in self._handles.items():
            if opened == options and model.spec == described:
                return model
        return None

    def _identity(self, model: Model) -> tuple[Any, ...]:
        """Tell whether the file, or what is written about it, has changed."""
        stamps = []
        for path in (model._file, *model._watched):
            try:
                status = os.stat(path)  # noqa: PTH116  (half the time of Path.stat)
                stamps.append((status.st_size, status.st_mtime_ns, status.st_ino))
            except OSError:
                stamps.append((-1, -1, -1))
        return (*stamps, self._named.get(model.id))

    def _described(self, model: Model) -> tuple[Any, ...] | None:
        known = self._handles.get((model.asked, model.options))
        return None if known is None else known[1]

    # ── pulling ───────────────────────────────────────────────────────────────────────────────

    @property
    def shelf(self) -> store.Shelf:
        """The shelf that models are pulled to."""
        return self.shelves[0]

    def pull(
        self,
        source: str | Path,
        id: str | None = None,
        *,
        sha256: str | Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | str | Path | None = None,
        replace: bool = False,
        progress: bool | Callable[[Progress], None] = True,
        stop: Stop | None = None,
        **options: Any,
    ) -> Model:
        """Fetch a model, verify it, and put it on the writable shelf with all that belongs to it.

        A model that the lock has from the same source is not asked for again: see
        :meth:`update`. Whatever is killed, whenever, the model is absent or right.

        Parameters
        ----------
        source : name of the catalogue (``workbench models --all``), ``https://``,
            ``hf://org/repo/file`` or a bare ``org/repo``, ``ipfs://CID/path``, ``s3://``,
            ``gs://`` (both with the extra ``remote``), or a path
        id : name that the model gets; None for its own
        sha256 : that the file must have, or a mapping of file name → sha256 ("" is the model)
        metadata : fields of its description, or a path to them; they go before the source's
        replace : put it in the place of another model of that name
        progress : a bar with rate and time left; or a function that is told a ``Progress``
        stop : ends the download when cancelled; what has come is taken up next time
        options : ``max_bytes``, ``timeout_s``, ``allow_http``, ``allow_private``, ``offline``,
            ``mirrors``, ``ipfs_gateways``, ``hf_endpoint``; None, or left out, for the setting

        Returns
        -------
        the handle of the model; nothing is loaded

        Raises
        ------
        UrlRefusedError, CidError, OfflineError : before anything is dialled
        DownloadError, DownloadTooLargeError, ChecksumError, NotOnnxError, WriteError, … :
            nothing was put in place

        Warns
        -----
        IncompletePullWarning : something that belongs to it could not be had
        """
        from workbench.models import lock
        from workbench.models import pull as pulling
        from workbench.models.assembly import Wish

        given, rules = _asked(options)
        wish = Wish(id=id, sha256=sha256, metadata=metadata, replace=replace, progress=progress)
        done = pulling.pull(self.shelf, source, wish, rules, given, stop)
        for note in done.notes:
            warnings.warn(IncompletePullWarning(done.id, note), stacklevel=2)
        try:
            return self.handle(done.id)
        except (UnknownModelError, MissingFileError, ChecksumError):
            # another process was just replacing it
            with lock.alone(self.shelf.models / lock.NAME):
                return self.handle(done.id)

    def pull_locked(
        self,
        *names: str,
        progress: bool | Callable[[Progress], None] = True,
        stop: Stop | None = None,
        **options: Any,
    ) -> Restored:
        """Make the shelf what its ``models.lock`` says, byte by byte (all models, or those named).

        What is right already is left alone, and so is what the lock does not know.
        """
        from workbench.models import upkeep

        given, rules = _asked(options)
        return upkeep.restore(self.shelf, names, rules, given, progress=progress, stop=stop)

    def verify(self, *names: str, mode: Literal["auto", "always"] = "always") -> Verification:
        """Take the hash of every locked file again (of all models, or of those named).

        ``mode="auto"`` does so only where size, mtime or inode differ from the lock.
        """
        from workbench.models import upkeep

        return upkeep.verify(self.shelf, names, mode)

    def update(
        self,
        *names: str,
        dry_run: bool = False,
        progress: bool | Callable[[Progress], None] = True,
        stop: Stop | None = None,
        **options: Any,
    ) -> Update:
        """Ask the sources of locked models what they have now, and pull what has changed.

        Left alone is a model whose address had a query (the lock does not keep it), and one whose
        sha256 was demanded. ``dry_run`` : only show the difference.
        """
        from dataclasses import replace

        from workbench.models import news as asking
        from workbench.models import pull as pulling
        from workbench.models.assembly import Wish

        given, rules = _asked(options)
        news = asking.look(self.shelf, names, rules, given, stop)
        told = asking.Update(news, dry_run=dry_run)
        if dry_run:
            return told
        done: list[str] = []
        final = []
        for one in news:
            if one.id in told.due:
                wish = Wish(id=one.id, renew=True, progress=progress)
                try:
                    made = pulling.pull(self.shelf, one.source, wish, rules, given, stop)
                    if made.notes:
                        one = replace(one, reason=" ".join(made.notes))  # noqa: PLW2901
                    if one.outcome != "incomplete" or not made.notes:
                        done.append(one.id)
                except (FetchError, ModelFileError, DescriptionError) as error:
                    one = replace(one, outcome="failed", reason=error.message)  # noqa: PLW2901
            final.append(one)
        return asking.Update(tuple(final), tuple(done), dry_run=False)

    # ── sessions ──────────────────────────────────────────────────────────────────────────────

    def lease(
        self, model: Model, *, timeout_s: float | None = None, stop: Stop | None = None
    ) -> AbstractContextManager[Session]:
        """Borrow a model's live session; it is opened if it must be, and not closed meanwhile.

        ``timeout_s`` and ``stop`` are of the load, where there is one to do.
        """
        return Lease(self, model, timeout_s, stop)

    def _open(self, model: Model, timeout_s: float | None, stop: Stop | None = None) -> Session:
        if self._identity(model) != self._described(model):
            self.handle(model.asked, model.options)  # looks at it again before the engine does
        session = open_session(
            model.path, model.options, model.graph,
            name=model.id, timeout_s=timeout_s, graphs=self._graphs,
            shared_threads=self.shared_threads, stop=stop,
        )  # fmt: skip
        session.ledger = self._ledger
        return session

    def _key(self, model: Model) -> Key:
        try:
            status = os.stat(model._raw_path)  # noqa: PTH116  (half the time of Path.stat)
        except OSError as error:
            raise MissingFileError(model._file, "model file") from error
        return (model._file, status.st_size, status.st_mtime_ns, model._opened)

    def unload(self, model: str | Path | Model | None = None) -> Unloaded:
        """Close the sessions of a model (all models: None) and give their memory back.

        A session in use is closed when its last run is over. The handles stay valid. What was
        loaded by its path is known by its id as well, and also when its file has gone.
        """
        if model is None:
            return self._cache.unload(lambda _: True)
        files = self._files_of(model)
        return self._cache.unload(lambda key: isinstance(key, tuple) and key[0] in files)

    def _files_of(self, model: str | Path | Model) -> set[str]:
        """Return the files that a name stands for among the handles, else on the shelves."""
        if isinstance(model, (str, Path)):
            names = {str(model), self._spelt(str(model))}
            known = [m for m, _ in list(self._handles.values()) if {m.id, m.asked} & names]
            if known:
                return {m._file for m in known}
        return {self.handle(model)._file}

    def exclusive(self, *, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Hold all leases of other threads back for the length of a ``with`` block.

        Waits for the runs under way; within the block only this thread gets sessions of this
        hub. For measurements. Not to be entered by a thread that holds a lease.

        Raises
        ------
        InferenceTimeoutError : the runs under way took longer than ``timeout_s``
        """
        return self._cache.exclusive(timeout_s)

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def ids(self) -> tuple[str, ...]:
        """Return the names of all models that this hub can load, sorted."""
        return tuple(sorted({f.id for f in store.list_models(self.shelves)} | set(self._named)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids())

    def __len__(self) -> int:
        return len(self.ids())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.ids()

    def __getitem__(self, name: str) -> Model:
        return self.load(name)

    def state_of(self, model: Model) -> str:
        """Return ``live``, ``loading``, ``cold``, or ``missing`` where the file has gone."""
        try:
            return self._cache.state(self._key(model))
        except MissingFileError:
            return "missing"

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, evictions, and what is live."""
        return self._cache.info()

    def memory(self) -> MemoryLedger:
        """Return the process's memory before and after all that this hub did, and who holds it."""
        return self._ledger.look(self._cache.holders())

    def rows(self) -> list[dict[str, Any]]:
        """Describe every model without opening or reading any: a row each."""
        live = {session.path: session.facts for session in self._cache.live().values()}
        known = {model.path: model.spec for model, _ in list(self._handles.values())}
        rows = []
        for found in self._all():
            facts, spec = live.get(found.path), known.get(found.path)
            told = store.summary(found)
            dims = spec.input_shape if spec is not None else None
            rows.append(
                {
                    "id": found.id,
                    "task": spec.model_type if spec is not None else told.task,
                    "input": shape(dims) if dims is not None else told.input,
                    "size_bytes": told.size_bytes,
                    "state": "cold" if facts is None else "live",
                    "memory_bytes": None if facts is None else facts.memory_bytes,
                    "provider": "" if facts is None else facts.provider,
                    "threads": None if facts is None else facts.threads,
                    "accuracy": told.accuracy,
                    "licence": told.licence,
                    "shelf": found.shelf.name,
                }
            )
        return rows

    def _all(self) -> list[store.Found]:
        """List the shelves, what was given a name here, and what was loaded by its path."""
        found = {f.id: f for f in store.list_models(self.shelves)}
        found |= {n: store.Found.of_file(n, v.path) for n, v in self._named.items()}
        for model, _ in list(self._handles.values()):
            if store.is_path(model.asked) and model.path not in {f.path for f in found.values()}:
                name = model.asked if model.id in found else model.id
                found[name] = store.Found.of_file(name, model.path, model.spec.metadata_path)
        return [f for _, f in sorted(found.items())]

    def to_frame(self) -> pd.DataFrame:
        """Return a row a model: id, task, input, size_bytes, state, memory_bytes, provider, …

        ``memory_bytes`` is what the process grew by when the session was opened: an estimate.
        """
        import pandas as pd

        return pd.DataFrame(self.rows())

    def plot(self) -> Figure:
        """Draw the models by size on disk; live ones are set off."""
        from workbench import drawing

        rows = self.rows()
        return drawing.sizes(
            {r["id"]: r["size_bytes"] for r in rows},
            marked={r["id"] for r in rows if r["state"] == "live"},
            title="Models on the shelves, by size on disk",
        )

    def _card(self) -> Card:
        rows = tuple(
            (
                r["id"],
                r["task"],
                r["input"],
                size(r["size_bytes"]),
                r["state"],
                "–" if r["memory_bytes"] is None else size(r["memory_bytes"]),
                r["provider"] or "–",
                r["shelf"],
            )
            for r in self.rows()
        )
        info = self.cache_info()
        columns = ("id", "task", "input", "size", "state", "memory", "provider", "shelf")
        done = f"hits {info.hits}, misses {info.misses}, evictions {info.evictions}"
        notes = (f"{info.live} of at most {info.max_models} live. Cache: {done}.",)
        return Card(
            "model hub",
            (Table(columns, rows, "On the shelves", numeric=("size", "memory")), Notes(notes)),
            line=f"{count(len(rows), 'model')}, {info.live} live of at most {info.max_models}",
        )


class Lease(AbstractContextManager["Session"]):
    """A live session, borrowed for a ``with`` block.

    A class and no generator, since every run goes through it.
    """

    __slots__ = ("_hub", "_model", "_slot", "_stop", "_timeout_s")

    def __init__(
        self, hub: ModelHub, model: Model, timeout_s: float | None, stop: Stop | None = None
    ) -> None:
        self._hub, self._model, self._timeout_s, self._stop = hub, model, timeout_s, stop

    def __enter__(self) -> Session:
        hub, model = self._hub, self._model
        self._slot = slot = hub._cache.acquire(hub._key(model), model.id, self._open)
        session = slot.session
        assert session is not None
        model.session = session.facts
        return session

    def __exit__(self, *_: object) -> None:
        self._hub._cache.release(self._slot)

    def _open(self) -> Session:
        return self._hub._open(self._model, self._timeout_s, self._stop)


_PLAIN = Options()
_LIMITS = ("max_bytes", "timeout_s", "allow_http", "allow_private", "offline")
_PLACES = ("mirrors", "ipfs_gateways", "hf_endpoint")


def _asked(options: Mapping[str, Any]) -> tuple[Settings, Rules]:
    """Return the settings of a download and its rules; what was asked for wins over settings."""
    from workbench.models.fetch import Rules

    places: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for name, value in options.items():
        if name in _PLACES and value is not None:
            one = isinstance(value, (str, Path)) and name != "hf_endpoint"
            many = (value,) if one else value
            places[name] = value if name == "hf_endpoint" else tuple(str(v) for v in many)
        elif name in _LIMITS:
            limits[name] = value
        elif name not in _PLACES:
            known = (*_LIMITS, *_PLACES)
            raise ConfigError("An argument", name, choices(known), nearest(name, known))
    require_count("max_bytes", limits.get("max_bytes"), optional=True)
    deadline(limits.get("timeout_s"))  # refuses what is none
    for name in ("allow_http", "allow_private", "offline"):
        if limits.get(name) not in (None, True, False):
            raise ConfigError(name, limits[name], "True, False or None")
    given = Settings(**places)
    return given, Rules.of(given, **limits)


def _file(path: str | Path) -> Path:
    try:
        resolved = Path(path).expanduser().resolve()
        if resolved.is_file():
            return resolved
        what = "is a folder" if resolved.is_dir() else "does not exist"
    except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links, a null
        reason = getattr(error, "strerror", None) or error
        raise MissingFileError(abridge(str(path)), "model file", f"cannot be: {reason}") from error
    raise MissingFileError(str(path), "model file", what)


_default: ModelHub | None = None
_default_lock = threading.Lock()


def default_hub() -> ModelHub:
    """Return the hub of this process, used wherever ``hub=`` is left out."""
    global _default  # noqa: PLW0603  (one a process)
    with _default_lock:
        if _default is None:
            _default = ModelHub()
        return _default
