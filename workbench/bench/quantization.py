"""A model in 8 bits: static quantisation through onnxruntime's own tools.

The ranges of all activations are learnt from calibration pictures; weights and activations then
carry QuantizeLinear and DequantizeLinear pairs (QDQ), which engines fuse into integer kernels
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.bench.calibration import Calibration, calibrate
from workbench.cards import Card, Displayable, Facts
from workbench.errors import (
    ConfigError,
    QuantizationError,
    WorkbenchError,
    WriteError,
    require_count,
)
from workbench.models import shelving
from workbench.models.engine import engine
from workbench.models.gate import examine
from workbench.models.hub import ModelHub, default_hub
from workbench.models.model import Model
from workbench.models.session import Options, open_session
from workbench.units import count, share

if TYPE_CHECKING:
    from workbench.models.graph import GraphFacts
    from workbench.stopping import Stop

#: What the calibration may do with the values that it saw.
METHODS = ("percentile", "minmax", "entropy")
#: First opset with a scale a channel.
_CHANNELS = 13
#: What carries weights of its own: the last of these may stay in float.
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class QuantizeOptions(Displayable):
    """How a model is quantised. A value; the defaults are those of the embedded ``cifar10-int8``.

    Attributes
    ----------
    method : the range of an activation: ``percentile`` cuts rare extremes, ``minmax`` keeps all,
        ``entropy`` loses the least information (Kullback–Leibler)
    percentile : kept by ``percentile``, in per cent (99.999 is onnxruntime's own)
    per_channel : a scale for each output channel of a weight, rather than one for all
    reduce_range : weights in 7 bits: x86 processors without VNNI add pairs of 8-bit products in
        16 bits, which saturates and gives other results there (onnxruntime, "Quantize ONNX
        Models": "When to use reduce-range")
    activations : of activations, "uint8" (asymmetric) or "int8"
    weights : of weights, "int8" (symmetric) or "uint8"
    keep_last : leave the last layer in float: it is small, and 256 steps are coarse for scores
    keep : names of further nodes that stay in float
    most_images : calibration pictures that are used, the first ones
    batch : pictures in one run of the calibration; the graph's own batch where that is fixed
    """

    method: Literal["percentile", "minmax", "entropy"] = "percentile"
    percentile: float = 99.999
    per_channel: bool = True
    reduce_range: bool = True
    activations: Literal["uint8", "int8"] = "uint8"
    weights: Literal["int8", "uint8"] = "int8"
    keep_last: bool = True
    keep: tuple[str, ...] = ()
    most_images: int = 1000
    batch: int = 10

    def __post_init__(self) -> None:
        """Raise ConfigError for an option that cannot be."""
        for name, known in (
            ("method", METHODS), ("activations", ("uint8", "int8")), ("weights", ("int8", "uint8"))
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ConfigError(name, getattr(self, name), f"one of {', '.join(known)}")
        if not (type(self.percentile) in (int, float) and 50 < self.percentile <= 100):
            raise ConfigError("percentile", self.percentile, "a number above 50 and at most 100")
        for name in ("per_channel", "reduce_range", "keep_last"):
            if type(getattr(self, name)) is not bool:
                raise ConfigError(name, getattr(self, name), "True or False")
        if type(self.keep) is not tuple or not all(isinstance(n, str) for n in self.keep):
            raise ConfigError("keep", self.keep, "a tuple of names of nodes")
        require_count("most_images", self.most_images)
        require_count("batch", self.batch)

    def _card(self) -> Card:
        bits = "7 bits" if self.reduce_range else "8 bits"
        channel = "a scale a channel" if self.per_channel else "one scale a tensor"
        rows = [
            (
                "ranges",
                self.method + (f" {self.percentile:g}" if self.method == METHODS[0] else ""),
            ),
            ("weights", f"{self.weights}, {bits}, {channel}"),
            ("activations", self.activations),
            ("kept in float", ", ".join(("the last layer",) * self.keep_last + self.keep) or "–"),
            ("calibration", f"at most {count(self.most_images, 'picture')}, {self.batch} a run"),
        ]
        return Card("quantise options", (Facts(tuple(rows)),))


def quantize(
    model: str | Path | Model,
    calibration: Any,
    *,
    id: str | None = None,
    options: QuantizeOptions | None = None,
    hub: ModelHub | None = None,
    overwrite: bool = False,
    progress: bool = True,
    stop: Stop | None = None,
) -> Model:
    """Make an 8-bit variant of a model and put it onto the writable shelf.

    Parameters
    ----------
    model : id, path to an .onnx file, or a Model
    calibration : pictures like those that it will see, a folder of them, or feeds (input name →
        array) for a model that takes no picture; some hundreds are enough, fewer than about
        fifty learn the ranges poorly
    id : of the variant; ``<id>-qdq`` where it is left out
    options : how to quantise; None for :class:`QuantizeOptions()`
    hub : whose shelf it is put on; None for the process's hub
    overwrite : replace another model of that id; a variant of the same model is replaced anyway
    progress : show a bar with the time left
    stop : ends the calibration between two runs; nothing is written then

    Returns
    -------
    the handle of the variant: ``hub.load(variant.id)`` works from now on. Its metadata are those
    of the model, without what was measured of it (accuracy, threshold of the note on outside
    pictures), and with a record of how it was made

    Raises
    ------
    UnknownModelError, MissingFileError, … : there is no such model
    ConfigError : no calibration data, an id that is taken, an option that cannot be
    ImageError and its children : a calibration picture that cannot be read; it is named
    QuantizationError : the model cannot be quantised, or gives no finite answers afterwards
    CancelledError, InferenceTimeoutError : stopped
    WriteError : no room on the disk; the shelf is as it was
    """
    options = QuantizeOptions() if options is None else options
    if not isinstance(options, QuantizeOptions):
        raise ConfigError("options", options, "a QuantizeOptions")
    hub = hub or (model.hub if isinstance(model, Model) else default_hub())
    handle = hub.handle(model)
    if handle.graph.quantized:
        raise QuantizationError(
            handle.id, f"it is quantised already ({handle.graph.quantized})",
            "Take the model that it was made from.",
        )  # fmt: skip
    variant = f"{handle.id}-qdq" if id is None else id
    shelving.writable(hub)
    shelving.check_free(hub, variant, origin=handle.id, overwrite=overwrite)
    try:
        with tempfile.TemporaryDirectory(
            prefix="workbench-quantize-", ignore_cleanup_errors=True
        ) as folder:
            target = Path(folder) / f"{variant}.onnx"
            with calibrate(handle, calibration, options.most_images, options.batch,
                           progress, stop) as data:  # fmt: skip
                _quantise(handle, target, data, options)
            facts = _verified(handle, target, data)
            content = target.read_bytes()
    except OSError as error:
        if isinstance(error, WorkbenchError):
            raise
        raise WriteError(tempfile.gettempdir(), error.strerror or str(error)) from error
    shelving.shelve(
        hub, variant, model=content, metadata=_metadata(handle, facts, data, options),
        labels=handle.labels,
    )  # fmt: skip
    return hub.handle(variant)


def _quantise(model: Model, target: Path, data: Calibration, options: QuantizeOptions) -> None:
    """Write the quantised model to a file, with onnxruntime's tools."""
    engine()  # before anything else of onnxruntime is imported
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    methods = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy,
               "percentile": CalibrationMethod.Percentile}  # fmt: skip
    kinds = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    prepared = target.with_name("prepared.onnx")
    extra: dict[str, Any] = {"CalibStridedMinMax": 1}  # take in one batch, let it go, the next
    if options.method == "percentile":
        extra["CalibPercentile"] = options.percentile
    try:
        with _hushed():
            # inference of symbolic shapes would need sympy, and helps transformers most
            quant_pre_process(model.path, prepared, skip_symbolic_shape=True)
            graph = onnx.load(prepared)
            if options.per_channel:
                graph = _raised(graph)
            exclude = _named(graph, options, model.id)
            onnx.save(graph, prepared)
            quantize_static(
                prepared,
                target,
                data,
                quant_format=QuantFormat.QDQ,
                per_channel=options.per_channel,
                reduce_range=options.reduce_range,
                activation_type=kinds[options.activations],
                weight_type=kinds[options.weights],
                calibrate_method=methods[options.method],
                nodes_to_exclude=exclude,
                extra_options=extra,
            )
            _tidy(target, model)
    except (WorkbenchError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        hint = "Export it again with opset 17 or so, or try other QuantizeOptions()."
        raise QuantizationError(model.id, reason, hint) from error


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep what the tools print and log out of the notebook, and the log's set-up as it was."""
    root, quiet = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(quiet)  # else their first warning sets up logging for the whole process
    root.setLevel(logging.ERROR)
    engine().set_default_logger_severity(3)  # of the tools' own sessions: errors only
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        engine().set_default_logger_severity(2)  # the engine's default: warnings
        root.setLevel(level)
        root.removeHandler(quiet)


def _raised(graph: Any) -> Any:
    """Bring a graph to the first opset in which a scale a channel can be written down.

    (onnx.ai/onnx/operators: DequantizeLinear has its ``axis`` from 13 on.)
    """
    from onnx import version_converter

    opset = next(e.version for e in graph.opset_import if e.domain in ("", "ai.onnx"))
    return graph if opset >= _CHANNELS else version_converter.convert_version(graph, _CHANNELS)


def _named(graph: Any, options: QuantizeOptions, model: str) -> list[str]:
    """Give every node a name; return those that stay in float."""
    for number, node in enumerate(graph.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    names = {node.name for node in graph.graph.node}
    if unknown := [name for name in options.keep if name not in names]:
        raise ConfigError(
            "keep", unknown[0], "names of nodes of the graph",
            f"See the column 'name' of hub.load({model!r}).profile().to_frame(), or a viewer.",
        )  # fmt: skip
    last = _last(graph) if options.keep_last else ""
    stay = [*options.keep, *([last] if last else [])]
    if not any(n.op_type in _WEIGHTED and n.name not in stay for n in graph.graph.node):
        raise QuantizationError(
            model, "no convolution and no matrix product is left to quantise",
            "Only those gain from it; keep_last=False quantises the last layer as well.",
        )  # fmt: skip
    return stay


def _last(graph: Any) -> str:
    """Return the name of the layer with weights that the first output comes from, or ""."""
    makers = {output: node for node in graph.graph.node for output in node.output}
    at = makers.get(graph.graph.output[0].name) if graph.graph.output else None
    while at is not None and at.op_type not in _WEIGHTED:
        at = next((makers[name] for name in at.input if name in makers), None)
    return "" if at is None else str(at.name)


def _tidy(target: Path, model: Model) -> None:
    """Take out of the file what only the tools needed, and say what it is."""
    import onnx

    made = onnx.load(target)
    del made.metadata_props[:]
    kept = [entry for entry in model.graph.metadata if not entry[0].startswith("onnx.")]
    onnx.helper.set_model_props(made, dict(kept))
    used = {node.domain for node in made.graph.node} | {""}
    opsets = [entry for entry in made.opset_import if entry.domain in used]
    del made.opset_import[:]
    made.opset_import.extend(opsets)
    made.graph.doc_string = f"{model.id} in 8 bits: static QDQ."
    made.producer_name, made.producer_version = "onnx-workbench", "quantize"
    for node in made.graph.node:
        del node.metadata_props[:]
    onnx.save(made, target)


def _verified(model: Model, target: Path, data: Calibration) -> GraphFacts:
    """Open what was made and run it once: it must be quantised, and answer in finite numbers.

    Raises
    ------
    QuantizationError : it is not, or it does not
    """
    try:
        facts = examine(target, remember=False)
    except WorkbenchError as error:
        raise QuantizationError(
            model.id, f"what the tools made is not sound ({error.message.rstrip('.')})",
            "Try QuantizeOptions(per_channel=False), or export the model with opset 17.",
        ) from error  # fmt: skip
    if facts.quantized != "QDQ":
        raise QuantizationError(
            model.id, "none of its nodes was",
            "Convolutions and matrix products with constant weights can be.",
        )  # fmt: skip
    session = open_session(
        target, Options(providers=None), facts, name=target.stem, timeout_s=model.hub.timeout_s
    )
    try:
        answers = session.run(data.sample, timeout_s=model.hub.timeout_s)
    finally:
        session.close()
    for port, answer in zip(facts.outputs, answers, strict=True):
        if isinstance(answer, np.ndarray) and answer.dtype.kind == "f":
            wrong = int((~np.isfinite(answer)).sum())
            if wrong:
                raise QuantizationError(
                    model.id, f"afterwards output {port.name!r} has {wrong} of {answer.size} "
                    "values that are not finite", "Use other calibration pictures, or 'minmax'.",
                )  # fmt: skip
    return facts


def _metadata(
    model: Model, facts: GraphFacts, data: Calibration, options: QuantizeOptions
) -> dict[str, Any]:
    """Describe the variant: what holds of the model, and how it was made."""
    spec = model.spec
    told: dict[str, Any] = {
        "model_type": spec.model_type,
        "input_shape": None if spec.input_shape is None else list(spec.input_shape),
        "preprocessing": spec.preprocessing,
        "color_format": spec.color_format,
        "activation": spec.activation,
        "input_name": spec.input_name,
        "output_name": spec.output_name,
        "source": f"{model.id} quantised to 8 bits with workbench.quantize.",
        "licence": spec.licence,
        "sha256": facts.sha256,
    }
    told = {name: value for name, value in told.items() if value is not None}
    told["quantization"] = {
        "origin": model.id,
        "origin_sha256": model.graph.sha256,
        "onnxruntime": str(engine().__version__),
        "calibrated_with": data.taken,
        "options": asdict(options),
        "smaller": share(facts.size_bytes / model.graph.size_bytes),
        **({"preprocessing_guessed": True} if spec.guessed else {}),
    }
    return told
