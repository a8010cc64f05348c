"""The handle of a model: what it is, where it comes from, and how to run it.

A handle is light. It holds no session: the hub owns those, a lease lasts one run, and using a
handle whose session was evicted loads it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cards import Block, Card, Displayable, Facts, Notes
from workbench.errors import (
    CancelledError,
    InferenceTimeoutError,
    InputMismatchError,
    UnsupportedInputsError,
    require_count,
)
from workbench.models.engine import import_seconds
from workbench.models.warmup import WarmUp, made_up, warm_up
from workbench.timing import clock
from workbench.units import count, shape, share, size

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from workbench.models.dossier import Passport
    from workbench.models.gate import GraphFacts, Port
    from workbench.models.hub import ModelHub
    from workbench.models.profile import Profile
    from workbench.models.session import Options, Session, SessionFacts
    from workbench.models.spec import ModelSpec
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.stopping import Stop

#: A model with at most this many classes lists them on its card.
FEW_CLASSES = 20


class Model(Displayable):
    """A model of a hub. Made by :meth:`ModelHub.load`, never directly.

    Attributes
    ----------
    id : name on the shelf, or the stem of the file
    spec : what is known about it, and where that was learnt
    graph : what the file itself says
    options : how its session is opened
    """

    def __init__(
        self, hub: ModelHub, spec: ModelSpec, graph: GraphFacts, options: Options, asked: str
    ) -> None:
        self.id = spec.id
        self.spec = spec
        self.graph = graph
        self.options = options
        #: file and options as text, for the hub: a Path would be turned into it in each run
        self._file, self._opened = str(spec.path), repr(options)
        self._raw_path = os.fsencode(spec.path)  # what the system is asked for in each run
        #: what the hub was asked for: the id, or the path
        self.asked = asked
        self._hub = hub
        #: files that, once they change or appear, make another description
        self._watched: tuple[str, ...] = ()
        #: facts of the session that was opened last; None before the first
        self.session: SessionFacts | None = None

    def _update(self, spec: ModelSpec, graph: GraphFacts) -> None:
        """Take over a new description: the file, or its metadata, has changed."""
        self.spec, self.graph, self.session = spec, graph, None
        self._file = str(spec.path)
        self._raw_path = os.fsencode(spec.path)
        for name in ("preprocessing", "image_input", "scores_output", "output_operator",
                     "batch_axis"):  # fmt: skip
            self.__dict__.pop(name, None)

    @property
    def hub(self) -> ModelHub:
        """The hub that owns this model's session."""
        return self._hub

    @property
    def path(self) -> Path:
        """The model's file."""
        return self.spec.path

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Inputs that a caller must feed, in the graph's order."""
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Outputs, in the graph's order."""
        return self.graph.outputs

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes by index, or None where nobody says."""
        return self.spec.labels

    @cached_property
    def preprocessing(self) -> Pipeline:
        """The steps from a picture to this model's input; its trace shows what the model sees.

        Raises
        ------
        UnsupportedInputsError : the model takes no single picture
        """
        own = self.spec.pipeline()
        return replace(own, reader=own)

    @property
    def passport(self) -> Passport:
        """What is known of the model, field by field: who says so, and who says otherwise."""
        from workbench.models.dossier import passport_of

        return passport_of(self.spec, self.graph, self._hub.described_in(self))

    @cached_property
    def image_input(self) -> str:
        """Name of the one input that takes the picture; raises UnsupportedInputsError."""
        self.spec.check_classification(self.graph)
        return self.spec.input_name or self.inputs[0].name

    @property
    def picture_port(self) -> Port:
        """The input that takes a picture, whatever the outputs mean.

        Raises
        ------
        UnsupportedInputsError : the model takes no picture
        """
        self.preprocessing  # noqa: B018  (refuses a model that takes none)
        return next(port for port in self.inputs if port.name == self.spec.input_name)

    @property
    def picture_batch(self) -> int | None:
        """The batch that the graph fixes for its pictures, or None where it is dynamic."""
        return _fixed_batch(self.picture_port)

    @cached_property
    def scores_output(self) -> str:
        """Name of the output that holds the (N, C) scores; raises UnsupportedInputsError."""
        self.spec.check_classification(self.graph)
        return self.spec.output_name or self.outputs[0].name

    @cached_property
    def output_operator(self) -> str:
        """The operator that makes the scores ("Softmax", "Gemm", …), or an empty string."""
        names = [port.name for port in self.outputs]
        operators = self.graph.output_operators
        position = names.index(self.scores_output)
        return operators[position] if position < len(operators) else ""

    @cached_property
    def batch_axis(self) -> int | None:
        """The batch that the graph fixes, or None where its first axis is dynamic."""
        port = next(p for p in self.inputs if p.name == self.image_input)
        return _fixed_batch(port)

    @property
    def state(self) -> str:
        """``live`` (a session is open), ``loading`` or ``cold``."""
        return self._hub.state_of(self)

    def lease(self) -> AbstractContextManager[Session]:
        """Borrow the live session for a ``with`` block; it is not closed meanwhile."""
        return self._hub.lease(self)

    def run(
        self,
        feeds: Mapping[str, NDArray[Any]] | NDArray[Any],
        *,
        outputs: tuple[str, ...] | None = None,
        timeout_s: float | None = None,
        stop: Stop | None = None,
    ) -> dict[str, Any]:
        """Run the model on ready arrays and return its raw outputs by name.

        Parameters
        ----------
        feeds : input name → array; a bare array is the feed of a single input
        outputs : names of the outputs wanted; None for all
        timeout_s : limit of the run in seconds; None for the hub's
        stop : ends the run when cancelled

        Raises
        ------
        InputMismatchError : an array that does not fit, or a name that is not an input
        InferenceTimeoutError, CancelledError, InferenceError, EngineMemoryError
        """
        if not isinstance(feeds, Mapping):
            if len(self.inputs) != 1:
                raise InputMismatchError(
                    "?",
                    "one bare array",
                    f"a dict with {count(len(self.inputs), 'input')}: "
                    + "; ".join(port.describe() for port in self.inputs),
                )
            feeds = {self.inputs[0].name: feeds}
        known = [port.name for port in self.outputs]
        for name in outputs or ():
            if name not in known:
                raise InputMismatchError(
                    name, "a request for that output", f"one of {', '.join(map(repr, known))}",
                    hint="See model.outputs.",
                )  # fmt: skip
        names = list(outputs or known)
        limit_s = self._hub.timeout_s if timeout_s is None else timeout_s
        with self.lease() as session:
            answers = session.run(feeds, names, timeout_s=limit_s, stop=stop)
        return dict(zip(names, answers, strict=True))

    def warm_up(self, runs: int = 30, *, batch: int = 1, stop: Stop | None = None) -> WarmUp:
        """Load the model if it is cold and run it until its times settle.

        Parameters
        ----------
        runs : most runs to take
        batch : items in each run
        stop : ends the warm-up and keeps what was measured

        Returns
        -------
        the anatomy of the cold start: import, read, optimise, first run, settling, steady; a
        shape that the session has not been warmed up with yet has a first run of its own
        """
        require_count("batch", batch)
        shapes = self.sample_shapes(batch)
        feeds = made_up(shapes)
        fed = tuple((name, f"{kind} {shape(dims)}") for name, (kind, dims) in shapes.items())
        shape_run_s = nan
        with self.lease() as session:

            def run() -> None:
                session.run(feeds, timeout_s=self._hub.timeout_s, stop=stop)

            known = session.first_run_s is not None
            if not known or (fed not in session.warmed and not (stop and stop.over)):
                started = clock()
                try:
                    run()
                except (CancelledError, InferenceTimeoutError):
                    if stop is None or not stop.over:
                        raise
                else:
                    shape_run_s = clock() - started if known and session.warmed else nan
                    session.warmed.add(fed)
            with self._hub._ledger.noting("warm-up", self.id):
                return warm_up(
                    self.id,
                    run,
                    session.facts.load,
                    session.first_run_s or nan,
                    runs=runs,
                    stop=stop,
                    import_s=import_seconds(),
                    fed=fed,
                    shape_run_s=shape_run_s,
                    kept=session.facts.kept,
                )

    def profile(
        self,
        image: Any = None,
        *,
        runs: int = 30,
        batch: int = 1,
        max_time_s: float = 10.0,
        stop: Stop | None = None,
    ) -> Profile:
        """Say where the time of a run goes, node by node, from the engine's own record.

        Private sessions are opened for it, with this model's options; other runs of the hub wait
        meanwhile, and this thread must hold no lease. The engine's files are removed again.

        Parameters
        ----------
        image : a picture, a mapping of input name → array, an array that fits the only input, or
            None for made-up numbers (:meth:`sample_feeds`)
        runs : runs with the record on, after the first; as many are taken without it. Fewer where
            a graph with loops would write down more than 200,000 events
        batch : how often the picture is repeated in the batch
        max_time_s : limit of both together in seconds; at least three of each are taken
        stop : ends it, and keeps what was recorded

        Raises
        ------
        ImageError and its children, InputMismatchError : what is fed
        CancelledError : stopped before anything was recorded
        InferenceError, InferenceTimeoutError, WriteError : a run, or its record, failed
        """
        from workbench.models.profiling import profile

        return profile(self, image, runs=runs, batch=batch, max_time_s=max_time_s, stop=stop)

    def sample_feeds(self, batch: int = 1) -> dict[str, NDArray[Any]]:
        """Make arrays that fit the inputs: the same every time, for warming up and measuring.

        Floats are normally distributed (seed 0), integers 0; a dynamic axis takes ``batch``
        where it is the first, else the size that the metadata gives, else 1.
        """
        return made_up(self.sample_shapes(batch))

    def sample_shapes(self, batch: int = 1) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return what :meth:`sample_feeds` makes: input → dtype and shape."""
        shapes = {}
        for port in self.inputs:
            if port.kind != "tensor" or port.shape is None or port.dtype == "string":
                raise UnsupportedInputsError(
                    self.id, "a warm-up", port.describe(), "tensors of numbers"
                )
            shapes[port.name] = (port.dtype, self._concrete(port, batch))
        return shapes

    def _concrete(self, port: Port, batch: int) -> tuple[int, ...]:
        assert port.shape is not None
        described = self.spec.input_shape or ()
        use = described if len(described) == len(port.shape) else (None,) * len(port.shape)
        dims: list[int] = []
        for axis, (graph_dim, told) in enumerate(zip(port.shape, use, strict=True)):
            if isinstance(graph_dim, int):
                dims.append(graph_dim)
            else:
                dims.append(batch if axis == 0 else told or 1)
        return tuple(dims)

    def unload(self) -> object:
        """Close the session and give its memory back; using the model loads it again."""
        return self._hub.unload(self)

    def _card(self) -> Card:
        spec, graph, live = self.spec, self.graph, self.session
        rows = [
            ("state", self.state),
            ("task", spec.model_type),
            ("inputs", "; ".join(port.describe() for port in self.inputs)),
            ("outputs", "; ".join(port.describe() for port in self.outputs)),
            ("opset", ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in graph.opsets)),
            ("parameters", f"{graph.parameters:,}"),
            ("size on disk", size(graph.size_bytes)),
        ]
        if live is not None and self.state == "live":
            rows += [
                ("provider", live.provider_text),
                ("precision", live.precision),
                ("threads", live.threads_text),
                ("spinning", live.spinning_text),
            ]
            if live.memory_bytes is not None:
                rows.append(("memory", f"about {size(live.memory_bytes)} when it was opened"))
        if (accuracy := spec.accuracy) and isinstance(accuracy.get("top1"), (int, float)):
            where = accuracy.get("dataset", "its test set")
            rows.append(("accuracy", f"{share(float(accuracy['top1']))} top-1 on {where}"))
        rows += [(n, str(v)) for n, v in (("source", spec.source), ("licence", spec.licence)) if v]
        if self.labels is None:
            rows.append(("classes", "no labels: answers read 'class 281'"))
        elif len(self.labels) <= FEW_CLASSES:
            rows.append(("classes", ", ".join(self.labels)))
        else:
            first = ", ".join(self.labels[:3])
            rows.append(("classes", f"{len(self.labels):,}: {first}, …, {self.labels[-1]}"))
        blocks: list[Block] = [Facts(tuple(rows))]
        if spec.origins:
            blocks.append(spec.learnt())
        blocks.append(Notes(self._notes()))
        line = f"{self.state}, {rows[2][1]} → {rows[3][1]}, {size(graph.size_bytes)}"
        return Card(f"model {self.id}", tuple(blocks), line=line)

    def _notes(self) -> tuple[str, ...]:
        notes = list(self.spec.notes())
        if self.session is not None:
            notes += self.session.notes
            if not self.session.stoppable:
                notes.append(
                    f"{self.session.provider} runs the graph as one piece: a time limit or a "
                    "stop takes effect only when the run is over."
                )
        return tuple(notes)


def _fixed_batch(port: Port) -> int | None:
    """Return the batch that a graph fixes for an input, or None where it is dynamic."""
    first = port.shape[0] if port.shape else None
    return first if isinstance(first, int) else None
