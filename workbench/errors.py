"""Every exception and warning of the project, with its words.

A class takes facts and writes its own sentence: what happened, with the value that was seen;
what was expected; what to do (``hint``). ``code`` is stable and shared by Python, the command
line, the widgets and the REST API. Each class is also a builtin, so that code which knows
nothing of this package catches it sensibly.

::

    WorkbenchError
    ├── ImageError (ValueError)
    │   ├── NotAnImageError          not_an_image
    │   ├── UnsupportedFormatError   unsupported_format
    │   ├── CorruptImageError        corrupt_image
    │   ├── ImageTooLargeError       image_too_large
    │   ├── TooManyPixelsError       too_many_pixels
    │   └── Base64Error              base64_invalid
    ├── ModelFileError (ValueError)
    │   ├── NotOnnxError             model_not_onnx
    │   ├── InvalidModelError        model_invalid
    │   ├── ExternalDataError        model_external_data
    │   ├── UnsupportedOperatorError model_unsupported_op
    │   ├── UnsupportedOpsetError    model_unsupported_opset
    │   ├── UnsupportedInputsError   model_unsupported_inputs
    │   ├── ModelTooLargeError       model_too_large
    │   ├── QuantizationError        model_not_quantizable
    │   └── ChecksumError            checksum_mismatch
    ├── DescriptionError (ValueError)
    │   ├── MetadataError            metadata_invalid
    │   ├── MetadataMismatchError    metadata_mismatch
    │   ├── LabelsError              labels_invalid
    │   ├── ConfigError              config_invalid
    │   └── UnsafePathError          unsafe_path
    ├── UnknownModelError (LookupError)         unknown_model
    ├── MissingFileError (FileNotFoundError)    not_found
    ├── WriteError (OSError)                    not_writable
    ├── CapsuleError (ValueError)               capsule_invalid
    ├── MissingExtraError (ImportError)         missing_extra
    ├── SwitchedOffError (PermissionError)      switched_off
    ├── InputMismatchError (ValueError)         input_mismatch
    ├── InputTooLargeError (ValueError)         input_too_large
    ├── BatchTooLargeError (ValueError)         batch_too_large
    ├── InferenceError (RuntimeError)           inference_failed
    │   ├── OutputUnsupportedError              output_unsupported
    │   └── OutputNotFiniteError (ArithmeticError)  output_not_finite
    ├── InferenceTimeoutError (TimeoutError)    inference_timeout
    ├── LoadTimeoutError (TimeoutError)         load_timeout
    ├── EngineMemoryError (MemoryError)         out_of_memory
    ├── WorkerCrashedError (RuntimeError)       worker_crashed
    ├── CancelledError (RuntimeError)           cancelled
    ├── FetchError (OSError)
    │   ├── UrlRefusedError                     url_refused
    │   ├── CidError                            cid_invalid
    │   ├── DownloadError                       download_failed
    │   ├── DownloadTooLargeError               download_too_large
    │   └── OfflineError                        offline
    └── ServiceError (RuntimeError)
        ├── BadRequestError                     bad_request
        ├── UnsupportedMediaError               unsupported_media_type
        ├── MethodNotAllowedError               method_not_allowed
        ├── SlowRequestError                    request_timeout
        ├── UnauthorisedError                   unauthorised
        ├── RateLimitedError                    rate_limited
        ├── QueueFullError                      queue_full
        ├── QueueUnavailableError               queue_unavailable
        └── NotFoundError                       not_found

    WorkbenchWarning (UserWarning)
    ├── ProviderFallbackWarning     asked for one provider, ran on another
    ├── UnstableTimingWarning       a timing whose spread is too wide to quote
    ├── InferredMetadataWarning     a model without metadata: what was guessed
    └── IncompletePullWarning       a model that was pulled without something that belongs to it
"""

from __future__ import annotations

import contextlib
import copy
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

from workbench.cards import Card, Facts, Notes, Shown
from workbench.units import seconds, share, size

#: Distribution name on the package index, used in the lines that install an extra.
DISTRIBUTION = "onnx-workbench"


def choices(names: Iterable[object], *, last: str = "or", most: int = 12) -> str:
    """Join alternatives as English does: ``'a', 'b' or 'c'``.

    >>> choices(["a"]), choices(["a", "b", "c"]), choices(range(20), most=3)
    ("'a'", "'a', 'b' or 'c'", '0, 1, 2 (and 17 more)')
    """
    words = [repr(name) for name in names]
    if len(words) > most:
        return f"{', '.join(words[:most])} (and {len(words) - most} more)"
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask "Did you mean …?" with the closest known names, or return an empty string."""
    near = get_close_matches(name, list(known), n=3)
    return f"Did you mean {choices(near)}?" if near else ""


def abridge(value: object, most: int = 80) -> str:
    """Render a value that a stranger chose: its repr, cut in the middle, on one line."""
    text = repr(value)
    if len(text) <= most:
        return text
    return f"{text[: most - 20]}…{text[-16:]}"


def install_line(extra: str) -> str:
    """Return the exact command that installs an extra of this project where it runs now."""
    return f"{pip()} install '{DISTRIBUTION}[{extra}]'"


def pip() -> str:
    """Return the command that is pip for the interpreter that runs now.

    ``pip`` where the first ``python`` on the path is this one (an activated environment), else
    this interpreter by its path, relative where it is below the working directory.
    """
    import shlex  # only where something is missing
    import shutil

    found = shutil.which("python")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    python = Path(sys.executable)
    with contextlib.suppress(ValueError, OSError):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(str(python))} -m pip"


class WorkbenchError(Shown, Exception):
    """Root of all errors raised by this package. As a value, a notebook shows it as a card.

    Attributes
    ----------
    code : stable identifier, one of the table in the module's docstring
    message : what happened, with the value seen and what was expected
    hint : what to do about it; may be empty
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:  # facts, not constructor arguments, cross processes
        return _restore, (type(self), self.args, self.__dict__)

    def fresh(self) -> WorkbenchError:
        """Return an equal error with no traceback, so that another thread may raise it."""
        twin = copy.copy(self)
        twin.__cause__, twin.__suppress_context__ = self.__cause__, True
        return twin

    def to_dict(self) -> dict[str, str]:
        """Return ``code``, ``message`` and ``hint``: what the doors show."""
        return {"code": self.code, "message": self.message, "hint": self.hint}

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return what a display lists beneath the sentence: code, what was expected, hint."""
        expected = str(self.__dict__.get("expected", ""))
        rows = (("code", self.code), ("expected", expected), ("hint", self.hint))
        return tuple((name, text) for name, text in rows if text)

    def _card(self) -> Card:
        return Card(
            type(self).__name__,
            (Notes((self.message,), urgent=True), Facts(self.facts())),
            line=f"{self.code}: {self.message}",
        )


def _restore(kind: type[Any], args: tuple[Any, ...], facts: dict[str, Any]) -> Any:
    # MemoryError's own __new__ refuses classes whose first base is another; OSError's is needed
    base = Exception if issubclass(kind, MemoryError) else kind
    restored = base.__new__(kind, *args)
    restored.args = args
    restored.__dict__.update(facts)
    return restored


# ── images ────────────────────────────────────────────────────────────────────────────────────


class ImageError(WorkbenchError, ValueError):
    """Something offered as a picture cannot be used as one."""


class NotAnImageError(ImageError):
    """The bytes, or the object, are no picture in any known format."""

    code = "not_an_image"

    def __init__(self, where: str, seen: str, hint: str = "") -> None:
        self.where, self.seen = where, seen
        super().__init__(
            f"{where} is not an image: {seen}.",
            hint
            or "Give a path, bytes, a PIL image, an (H, W, 3) uint8 array, a file-like "
            "object or a data URI.",
        )


class UnsupportedFormatError(ImageError):
    """A picture, but in a format that is not read here."""

    code = "unsupported_format"

    def __init__(self, where: str, seen: str, known: Iterable[str], hint: str = "") -> None:
        self.where, self.seen, self.known = where, seen, tuple(known)
        super().__init__(
            f"{where} is {seen}, which is not read here; formats read are {', '.join(self.known)}.",
            hint or "Convert it to PNG or JPEG first.",
        )


class CorruptImageError(ImageError):
    """A picture whose data is damaged or cut off."""

    code = "corrupt_image"

    def __init__(self, where: str, reason: str, seen_format: str = "image") -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"{where} is a damaged {seen_format}: {reason}.",
            "Get the file again: a partial picture is never classified.",
        )


class ImageTooLargeError(ImageError):
    """The encoded file is larger than the limit."""

    code = "image_too_large"

    def __init__(self, where: str, size_bytes: int, limit_bytes: int) -> None:
        self.where, self.size_bytes, self.limit_bytes = where, size_bytes, limit_bytes
        super().__init__(
            f"{where} has {size(size_bytes)} ({size_bytes:,} bytes); the limit is "
            f"{size(limit_bytes)} ({limit_bytes:,} bytes).",
            "Save it smaller, or raise MAX_IMAGE_BYTES.",
        )


class TooManyPixelsError(ImageError):
    """The header promises more pixels than the limit: refused before any are allocated."""

    code = "too_many_pixels"

    def __init__(self, where: str, width: int, height: int, limit_pixels: int) -> None:
        self.where, self.width, self.height, self.limit_pixels = where, width, height, limit_pixels
        super().__init__(
            f"{where} is {width} × {height} = {width * height:,} pixels; the limit "
            f"is {limit_pixels:,} pixels.",
            "Scale it down, or pass a larger max_pixels=.",
        )


class Base64Error(ImageError):
    """Text that should be base64 and is not."""

    code = "base64_invalid"

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"{where} is not valid base64: {reason}.",
            "Expected a data URI such as 'data:image/png;base64,…' with the standard alphabet "
            "and padding.",
        )


# ── model files ───────────────────────────────────────────────────────────────────────────────


class ModelFileError(WorkbenchError, ValueError):
    """A model file cannot be used. ``where`` names the file."""


class NotOnnxError(ModelFileError):
    """The file is something else than an ONNX model."""

    code = "model_not_onnx"

    def __init__(self, where: str, seen: str, hint: str = "") -> None:
        self.where, self.seen = where, seen
        super().__init__(
            f"{where} is not an ONNX model: {seen}.", hint or "Expected a serialised ModelProto."
        )


class InvalidModelError(ModelFileError):
    """An ONNX file that contradicts itself or that the engine refuses."""

    code = "model_invalid"

    def __init__(self, where: str, reason: str, hint: str = "") -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"{where} is not a valid ONNX model: {reason.rstrip('.')}.",
            hint or "Export it again, and check it with onnx.checker.check_model.",
        )


class ExternalDataError(ModelFileError):
    """Weights kept beside the model are missing, or point out of its folder."""

    code = "model_external_data"

    def __init__(self, where: str, location: str, reason: str) -> None:
        self.where, self.location, self.reason = where, location, reason
        super().__init__(
            f"{where} keeps weights in {abridge(location)}, and {reason}.",
            "Put the data file in the model's own folder under that name, or export the model "
            "as a single file.",
        )


class UnsupportedOperatorError(ModelFileError):
    """The graph uses operators that the engine does not have."""

    code = "model_unsupported_op"

    def __init__(self, where: str, operators: Iterable[str], hint: str = "") -> None:
        self.where, self.operators = where, tuple(operators)
        super().__init__(
            f"{where} uses operators that this onnxruntime does not have: "
            f"{', '.join(self.operators) or 'unnamed'}.",
            hint or "Export it with standard ONNX operators.",
        )


class UnsupportedOpsetError(ModelFileError):
    """The graph asks for a newer (or absurd) version of an operator set."""

    code = "model_unsupported_opset"

    def __init__(self, where: str, domain: str, seen: int, known: int) -> None:
        self.where, self.domain, self.seen, self.known = where, domain, seen, known
        super().__init__(
            f"{where} asks for opset {seen} of {domain or 'ai.onnx'}; the newest known here is "
            f"{known}.",
            "Update onnx and onnxruntime, or export with a lower opset_version.",
        )


class UnsupportedInputsError(ModelFileError):
    """The model is fine, but its ports do not fit the task."""

    code = "model_unsupported_inputs"

    def __init__(self, where: str, task: str, seen: str, expected: str, hint: str = "") -> None:
        self.where, self.task, self.seen, self.expected = where, task, seen, expected
        super().__init__(
            f"{where} cannot be used for {task}: it has {seen}; expected {expected}.",
            hint or "Use runner.run with a dict of arrays, one for each input.",
        )


class ModelTooLargeError(ModelFileError):
    """The file, or what it says it will allocate, is over the limit."""

    code = "model_too_large"

    def __init__(self, where: str, what: str, seen_bytes: int, limit_bytes: int) -> None:
        self.where, self.seen_bytes, self.limit_bytes = where, seen_bytes, limit_bytes
        super().__init__(
            f"{where}: {what} has {size(seen_bytes)}; the limit is {size(limit_bytes)}.",
            "A size this large is usually a damaged or hostile file.",
        )


class QuantizationError(ModelFileError):
    """A model of which no quantised variant can be made."""

    code = "model_not_quantizable"

    def __init__(self, where: str, reason: str, hint: str = "") -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"Model {where!r} cannot be quantised: {reason.rstrip('.')}.",
            hint or "Export it again with a newer opset (17 or so), or use it as it is.",
        )


class ChecksumError(ModelFileError):
    """A file is not the bytes that were promised."""

    code = "checksum_mismatch"

    def __init__(self, where: str, expected: str, seen: str, *, kind: str = "sha256") -> None:
        self.where, self.expected, self.seen = where, expected, seen
        super().__init__(
            f"{where} has {kind} {seen}; expected {expected}.",
            "The file is damaged or is another one: get it again from its source.",
        )


# ── descriptions ──────────────────────────────────────────────────────────────────────────────


class DescriptionError(WorkbenchError, ValueError):
    """What is written about a model, or about the set-up, cannot be used."""


class MetadataError(DescriptionError):
    """A field of a description is missing or impossible."""

    code = "metadata_invalid"

    def __init__(self, where: str, field: str, seen: object, expected: str) -> None:
        self.where, self.field, self.seen, self.expected = where, field, seen, expected
        super().__init__(f"{where}: field {field!r} is {abridge(seen)}; expected {expected}.")


class MetadataMismatchError(DescriptionError):
    """A description contradicts the graph."""

    code = "metadata_mismatch"

    def __init__(self, where: str, field: str, seen: object, graph: str) -> None:
        self.where, self.field, self.seen, self.graph = where, field, seen, graph
        super().__init__(
            f"{where}: field {field!r} is {abridge(seen)}, but the graph has {graph}.",
            f"Correct {field!r} in the metadata, or take the model that it describes.",
        )


class LabelsError(DescriptionError):
    """A labels file that is no list of names."""

    code = "labels_invalid"

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"{where} holds no usable labels: {reason}.",
            "Expected a JSON list of strings, one for each class.",
        )


class ConfigError(DescriptionError):
    """A setting or an argument that cannot be."""

    code = "config_invalid"

    def __init__(self, name: str, seen: object, expected: str, hint: str = "") -> None:
        self.name, self.seen, self.expected = name, seen, expected
        super().__init__(f"{name} is {abridge(seen)}; expected {expected}.", hint)


def require_count(name: str, value: object, *, optional: bool = False) -> None:
    """Raise ConfigError unless a setting is a whole number of at least 1 (or, optionally, None)."""
    if optional and value is None:
        return
    if not (type(value) is int and value >= 1):
        raise ConfigError(name, value, "a whole number of at least 1" + ", or None" * optional)


class UnsafePathError(DescriptionError):
    """A name or a path that leads out of where it may lead."""

    code = "unsafe_path"

    def __init__(self, seen: object, expected: str) -> None:
        self.seen, self.expected = seen, expected
        super().__init__(f"{abridge(seen)} is not a safe name here; expected {expected}.")


class UnknownModelError(WorkbenchError, LookupError):
    """An id that no shelf has."""

    code = "unknown_model"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(known)
        near = nearest(name, self.known)
        listed = f"Known: {choices(self.known, last='and')}." if self.known else ""
        super().__init__(
            f"No model named {abridge(name)} among {len(self.known)} known.",
            near or listed or "Give a path to an .onnx file, or see hub.to_frame().",
        )


class MissingFileError(WorkbenchError, FileNotFoundError):
    """A path at which there is nothing, or nothing that can be read."""

    code = "not_found"

    def __init__(self, where: str, what: str = "file", reason: str = "does not exist") -> None:
        self.where, self.what = where, what
        super().__init__(f"The {what} {where} {reason}.", "Check the path and its spelling.")


class WriteError(WorkbenchError, OSError):
    """A file that cannot be written where it was asked for."""

    code = "not_writable"

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"{abridge(where)} cannot be written: {reason.rstrip('.').lower()}.",
            "Give a path in a folder that may be written to, on a disk with room.",
        )


class CapsuleError(WorkbenchError, ValueError):
    """A file that should hold a benchmark and does not, or no longer."""

    code = "capsule_invalid"

    def __init__(self, where: str, reason: str, hint: str = "") -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"{abridge(where)} is not a benchmark that can be read: {reason.rstrip('.')}.",
            hint or "Expected a file that was written by bench.save(…).",
        )


class MissingExtraError(WorkbenchError, ImportError):
    """A part of the project that is not installed."""

    code = "missing_extra"

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra, self.needed_for = extra, needed_for
        super().__init__(
            f"{needed_for[:1].upper()}{needed_for[1:]} needs the extra {extra!r}, which is not "
            "installed.",
            f"Install it with: {install_line(extra)}",
        )


class SwitchedOffError(WorkbenchError, PermissionError):
    """Something that is not done in this place, though it could be."""

    code = "switched_off"

    def __init__(self, what: str, reason: str, hint: str = "") -> None:
        self.what, self.reason = what, reason
        super().__init__(f"{what} is switched off here: {reason}.", hint)


# ── running ───────────────────────────────────────────────────────────────────────────────────


class InputMismatchError(WorkbenchError, ValueError):
    """An array that does not fit the model's input."""

    code = "input_mismatch"

    def __init__(self, name: str, seen: str, expected: str, hint: str = "") -> None:
        self.name, self.seen, self.expected = name, seen, expected
        super().__init__(
            f"Input {name!r} got {seen}; expected {expected}.",
            hint or "Use the model's own preprocessing, or reshape the array.",
        )


class InputTooLargeError(WorkbenchError, ValueError):
    """An input over its limit."""

    code = "input_too_large"

    def __init__(self, what: str, seen: str, limit: str) -> None:
        self.what, self.seen, self.limit = what, seen, limit
        super().__init__(f"{what} has {seen}; the limit is {limit}.", "Send less at a time.")


class BatchTooLargeError(WorkbenchError, ValueError):
    """More items in one batch than the limit."""

    code = "batch_too_large"

    def __init__(self, seen: int, limit: int) -> None:
        self.seen, self.limit = seen, limit
        super().__init__(
            f"The batch has {seen} items; the limit is {limit}.",
            "Split it, or raise MAX_BATCH_SIZE.",
        )


class InferenceError(WorkbenchError, RuntimeError):
    """The engine failed while running a model."""

    code = "inference_failed"

    def __init__(self, model: str, reason: str, hint: str = "") -> None:
        self.model, self.reason = model, reason
        super().__init__(f"Model {model!r} failed while running: {reason.rstrip('.')}.", hint)


class OutputUnsupportedError(InferenceError):
    """The model answered with something the task cannot read."""

    code = "output_unsupported"

    def __init__(self, model: str, seen: str, expected: str) -> None:
        self.model, self.seen, self.expected = model, seen, expected
        WorkbenchError.__init__(
            self,
            f"The output of model {model!r} is {seen}; expected {expected}.",
            "Set 'output_name' in the metadata, or read it raw with runner.run.",
        )


class OutputNotFiniteError(InferenceError, ArithmeticError):
    """The model answered with NaN or infinity: there is no honest label for that."""

    code = "output_not_finite"

    def __init__(self, model: str, output: str, not_finite: int, total: int) -> None:
        self.model, self.output, self.not_finite, self.total = model, output, not_finite, total
        WorkbenchError.__init__(
            self,
            f"Output {output!r} of model {model!r} has {not_finite} of {total} values that are "
            "NaN or infinite.",
            "Usual causes: wrong preprocessing (see model.preprocessing), a broken conversion "
            "to 16 bits, or damaged weights.",
        )


class InferenceTimeoutError(WorkbenchError, TimeoutError):
    """A run that went over its time limit and was stopped."""

    code = "inference_timeout"

    def __init__(self, model: str, limit_s: float, *, what: str = "") -> None:
        self.model, self.limit_s = model, limit_s
        late = f"{what} did not end" if what else f"Model {model!r} did not answer"
        super().__init__(
            f"{late} within {seconds(limit_s)} and was stopped.",
            "Raise timeout_s= (or INFERENCE_TIMEOUT, in milliseconds), or use a smaller model.",
        )


class LoadTimeoutError(WorkbenchError, TimeoutError):
    """A load that went over its time limit."""

    code = "load_timeout"

    def __init__(self, model: str, limit_s: float) -> None:
        self.model, self.limit_s = model, limit_s
        super().__init__(
            f"Model {model!r} was not loaded within {seconds(limit_s)}.",
            "Raise timeout_s=, or look at what the disk is doing.",
        )


class EngineMemoryError(WorkbenchError, MemoryError):
    """The engine could not allocate memory."""

    code = "out_of_memory"

    def __init__(self, model: str, doing: str, reason: str) -> None:
        self.model, self.reason = model, reason
        super().__init__(
            f"Out of memory while {doing} model {model!r}: {reason.rstrip('.')}.",
            "Unload other models, lower the batch size, or use a smaller model.",
        )


class WorkerCrashedError(WorkbenchError, RuntimeError):
    """A worker process died while it had this input."""

    code = "worker_crashed"

    def __init__(self, model: str, how: str, hint: str = "") -> None:
        self.model, self.how = model, how
        super().__init__(
            f"The worker process that ran model {model!r} died ({how}).",
            hint
            or "This input, or this model, brings the engine down; other requests are not "
            "affected.",
        )


class CancelledError(WorkbenchError, RuntimeError):
    """Work that was stopped because someone asked for it."""

    code = "cancelled"

    def __init__(self, what: str = "The work") -> None:
        self.what = what
        super().__init__(f"{what} was stopped on request.", "What was finished before is kept.")


# ── fetching ──────────────────────────────────────────────────────────────────────────────────


class FetchError(WorkbenchError, OSError):
    """Something could not be fetched."""


class UrlRefusedError(FetchError):
    """An address that is not dialled."""

    code = "url_refused"

    def __init__(self, url: str, reason: str, hint: str = "") -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{abridge(url)} is refused: {reason}.", hint)


class CidError(FetchError):
    """Text that is no IPFS content identifier."""

    code = "cid_invalid"

    def __init__(self, cid: str, reason: str) -> None:
        self.cid, self.reason = cid, reason
        super().__init__(
            f"{abridge(cid)} is not an IPFS CID: {reason}.",
            "Expected a v0 CID ('Qm…', 46 characters) or a v1 CID ('bafy…').",
        )


class DownloadError(FetchError):
    """A transfer that failed; nothing was left behind, unless it is meant to be resumed."""

    code = "download_failed"

    def __init__(self, url: str, reason: str, hint: str = "", *, resumes: bool = False) -> None:
        self.url, self.reason, self.resumes = url, reason, resumes
        super().__init__(
            f"{abridge(url)} could not be fetched: {reason}.",
            hint or "Nothing was left behind; try again.",
        )


class DownloadTooLargeError(FetchError):
    """A transfer over its size cap; nothing was left behind."""

    code = "download_too_large"

    def __init__(self, url: str, seen_bytes: int, limit_bytes: int) -> None:
        self.url, self.seen_bytes, self.limit_bytes = url, seen_bytes, limit_bytes
        super().__init__(
            f"{abridge(url)} sends more than {size(limit_bytes)} (seen: {size(seen_bytes)}).",
            "Raise the limit if the file is really that large.",
        )


class OfflineError(FetchError):
    """The network is needed and is switched off."""

    code = "offline"

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        super().__init__(f"{what} needs the network, which is switched off here.", hint)


# ── service ───────────────────────────────────────────────────────────────────────────────────


class ServiceError(WorkbenchError, RuntimeError):
    """A request that the service does not carry out."""


class BadRequestError(ServiceError):
    """A request that does not say what it should."""

    code = "bad_request"

    def __init__(self, field: str, seen: object, expected: str) -> None:
        self.field, self.seen, self.expected = field, seen, expected
        super().__init__(f"{field} is {abridge(seen)}; expected {expected}.")


class UnsupportedMediaError(ServiceError):
    """A body of a kind that this address does not take."""

    code = "unsupported_media_type"

    def __init__(self, seen: str, expected: str) -> None:
        self.seen, self.expected = seen, expected
        super().__init__(
            f"The body is {seen}; expected {expected}.", "Say what it is in Content-Type."
        )


class MethodNotAllowedError(ServiceError):
    """An address that takes other methods."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self.method, self.allowed = method, tuple(allowed)
        super().__init__(
            f"{method} is not possible here.",
            f"This address takes {', '.join(self.allowed)}." if self.allowed else "",
        )


class SlowRequestError(ServiceError):
    """A body that did not come in time."""

    code = "request_timeout"

    def __init__(self, seen_bytes: int, limit_s: float) -> None:
        self.seen_bytes, self.limit_s = seen_bytes, limit_s
        super().__init__(
            f"The body did not come within {seconds(limit_s)}: {size(seen_bytes)} had come.",
            "Send it again, over a better line or smaller.",
        )


class UnauthorisedError(ServiceError):
    """A request without a valid key."""

    code = "unauthorised"

    def __init__(self) -> None:
        super().__init__("No valid API key was sent.", "Send it as 'Authorization: Bearer …'.")


class RateLimitedError(ServiceError):
    """More requests than this key may send."""

    code = "rate_limited"

    def __init__(self, limit: str, retry_after_s: float) -> None:
        self.limit, self.retry_after_s = limit, retry_after_s
        super().__init__(
            f"More requests than {limit} were sent.", f"Try again in {seconds(retry_after_s)}."
        )


class QueueFullError(ServiceError):
    """More work than the queue takes, in number or in bytes."""

    code = "queue_full"

    def __init__(
        self, waiting: int, limit: int, retry_after_s: float, *, in_bytes: bool = False
    ) -> None:
        self.waiting, self.limit, self.retry_after_s = waiting, limit, retry_after_s
        said = (
            f"Requests of {size(waiting)} are at hand; there is room for {size(limit)}."
            if in_bytes
            else f"{waiting} requests are waiting; the queue takes {limit}."
        )
        super().__init__(said, f"Try again in {seconds(retry_after_s)}.")


class QueueUnavailableError(ServiceError):
    """The queue that several machines share does not answer."""

    code = "queue_unavailable"

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            "The queue of jobs does not answer.",
            f"Try again in {seconds(retry_after_s)}; requests that are answered at once need no "
            "queue of jobs.",
        )


class NotFoundError(ServiceError):
    """An address that the service does not have."""

    code = "not_found"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"There is no {what} here.")


# ── warnings ──────────────────────────────────────────────────────────────────────────────────


class WorkbenchWarning(UserWarning):
    """Root of all warnings of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class ProviderFallbackWarning(WorkbenchWarning):
    """A model was asked to run on one provider and runs, wholly or partly, on another."""

    def __init__(self, model: str, wanted: str, ran: str, hint: str = "") -> None:
        self.model, self.wanted, self.ran = model, wanted, ran
        super().__init__(
            f"Model {model!r} was asked to run on {wanted} and runs on {ran}."
            f" {hint or 'Pass strict=True to make this an error.'}"
        )


class UnstableTimingWarning(WorkbenchWarning):
    """A timing whose spread is too wide to be quoted."""

    def __init__(self, what: str, spread: float) -> None:
        self.what, self.spread = what, spread
        super().__init__(f"{what}: the interquartile range is {share(spread)} of the median.")


class InferredMetadataWarning(WorkbenchWarning):
    """What a model needs is not in its metadata, and was guessed from its graph.

    Parameters
    ----------
    model : its id
    guesses : what was guessed, in sentences
    described : whether it has metadata that says other things
    """

    def __init__(self, model: str, guesses: Iterable[str], *, described: bool = False) -> None:
        self.model, self.guesses, self.described = model, tuple(guesses), described
        lacks = "is not wholly described by its metadata" if described else "has no metadata"
        super().__init__(
            f"Model {model!r} {lacks}. {' '.join(self.guesses)} Write what holds into "
            "its metadata, or pass it as metadata= to hub.preload."
        )


class IncompletePullWarning(WorkbenchWarning):
    """A model was pulled, and something that belongs to it was not."""

    def __init__(self, model: str, reason: str) -> None:
        self.model, self.reason = model, reason
        super().__init__(f"Model {model!r} was pulled, but not all of it. {reason}")


# ── the engine's own errors ───────────────────────────────────────────────────────────────────

#: onnxruntime's exception classes (all straight from Exception), by name, and what each means
#: when a model is being loaded and when it runs. A contract test compares the keys with the
#: classes that the installed onnxruntime really has.
ENGINE_ERRORS: dict[str, tuple[str, str]] = {
    "Fail": ("invalid", "failed"),
    "InvalidArgument": ("invalid", "mismatch"),
    "NoSuchFile": ("missing", "missing"),
    "NoModel": ("invalid", "failed"),
    "EngineError": ("failed", "failed"),
    "RuntimeException": ("failed", "failed"),
    "InvalidProtobuf": ("not_onnx", "failed"),
    "ModelLoaded": ("failed", "failed"),
    "NotImplemented": ("operator", "operator"),
    "InvalidGraph": ("invalid", "failed"),
    "EPFail": ("failed", "failed"),
    "ModelLoadCanceled": ("cancelled", "cancelled"),
    "ModelRequiresCompilation": ("failed", "failed"),
    "NotFound": ("missing", "failed"),
    "DeviceReset": ("failed", "failed"),
}

#: What is cut from, or reworded in, the engine's messages, in this order.
_CLUTTER = (
    (re.compile(r"\[ONNXRuntimeError\]\s*:\s*\d+\s*:\s*[A-Z_]+\s*:\s*"), ""),
    # a place in its C++ sources, with the signature of the function
    (
        re.compile(
            r"(?:[A-Z]:\\|/)\S+\.(?:cc|h|cpp):\d+\s[^()]*(\((?:[^()]|\([^()]*\))*\))( const)?"
        ),
        "",
    ),
    (re.compile(r"\b\w+\.(?:cc|h|cpp):\d+\s+\w+\s"), ""),
    (re.compile(r"^\s*Load model from .*? failed:\s*"), ""),
    (re.compile(r"Non-zero status code returned while running (\w+) node\."), r"\1 node failed."),
    (re.compile(r"\s*Name:'' Status Message:"), ""),
    (re.compile(r"\s*Name:'([^']+)' Status Message:"), r" Its name: '\1'."),
    (re.compile(r"\s*Please fix either the inputs/outputs or the model\."), ""),
)
_NO_OPERATOR = re.compile(
    r"([\w.]*:?\w+\(-?\d+\)) is not a registered function/op"
    r"|Could not find an implementation for (\w+\(\d+\))"
    r"|No Op registered for (\w+)"
)
_OPSET = re.compile(
    r"[Oo]pset (\d+) is under development.*?domain (\S+) is till opset (\d+)", re.DOTALL
)
_IR = re.compile(r"Unsupported model IR version")
_EXTERNAL = re.compile(
    r"[Ee]xternal data path[^\"']*[\"']([^\"']+)[\"']|External data.*?path", re.DOTALL
)
_MEMORY = re.compile(
    r"bad_alloc|failed to allocate memory|out of memory|length_error", re.IGNORECASE
)
_TERMINATED = re.compile(r"terminate flag", re.IGNORECASE)
#: A refused feed: pattern with the input's name (if the engine tells it), what was seen, what
#: was expected; the last two are templates for the pattern's groups.
_REFUSED_FEEDS = (
    (re.compile(r"Required inputs \((?P<name>.+?)\) are missing"), "nothing", "an array"),
    (
        re.compile(
            r"dimensions for input: (?P<name>\S+).*?index: (\d+) Got: (\d+) Expected: (\d+)"
        ),
        r"an array with \3 at axis \2",
        r"\4",
    ),
    (
        re.compile(r"Invalid rank for input: (?P<name>\S+) Got: (\d+) Expected: (\d+)"),
        r"an array of rank \2",
        r"rank \3",
    ),
    (re.compile(r"input data type\. Actual: \((.+?)\) , expected: \((.+?)\)$"), r"\1", r"\2"),
    (re.compile(r"Invalid Feed Input Name: ?(?P<name>\S+)"), "an array", "no input of that name"),
    (re.compile(r"numpy array for input '(?P<name>.+?)'"), "no array", "a numpy array"),
)


def engine_words(error: BaseException) -> str:
    """Return onnxruntime's message without prefix, source positions, line breaks and full stop."""
    return _abridged(_cleaned(error))


def _cleaned(error: BaseException) -> str:
    text = " ".join(str(error).split())
    for pattern, instead in _CLUTTER:
        text = pattern.sub(instead, text)
    return " ".join(text.split()).rstrip(". ")


def _abridged(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}…"


def is_terminated(error: BaseException) -> bool:
    """Say whether an engine error only reports that ``RunOptions.terminate`` was set."""
    return _TERMINATED.search(str(error)) is not None


def from_engine(
    error: BaseException, *, model: str, doing: Literal["load", "run"]
) -> WorkbenchError:
    """Translate what onnxruntime raised into one of our errors, by class name and words.

    Parameters
    ----------
    error : any exception that came out of onnxruntime
    model : id or file name, for the sentence
    doing : whether a session was being made or run

    Notes
    -----
    onnxruntime is not imported here: its classes are recognised by their names. The caller
    raises the result ``from error``.
    """
    if isinstance(error, WorkbenchError):
        return error
    text = _cleaned(error)
    words = _abridged(text)
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return EngineMemoryError(model, "loading" if doing == "load" else "running", words)
    if is_terminated(error):
        return CancelledError(f"The {doing} of model {model!r}")
    if found := _NO_OPERATOR.search(text):
        return UnsupportedOperatorError(model, [next(filter(None, found.groups()))])
    if found := _OPSET.search(text):
        return UnsupportedOpsetError(model, found[2], int(found[1]), int(found[3]))
    if doing == "load":
        if _IR.search(text):
            hint = "Update onnxruntime, or save the model with a lower ir_version."
            return InvalidModelError(model, words, hint)
        if found := _EXTERNAL.search(text):
            location = found[1] or "another file"
            return ExternalDataError(model, location, "onnxruntime cannot read it")
    elif refused := _refused_feed(text):
        return refused
    meaning = ENGINE_ERRORS.get(type(error).__name__, ("failed", "failed"))[doing == "run"]
    match meaning:
        case "not_onnx":
            return NotOnnxError(model, words)
        case "missing":
            return MissingFileError(model, "model file", f"cannot be read ({words})")
        case "operator":
            return UnsupportedOperatorError(model, [words])
        case "cancelled":
            return CancelledError(f"The {doing} of model {model!r}")
        case "mismatch":
            return InferenceError(model, words, "Compare what was asked of it with its ports.")
        case "invalid":
            return InvalidModelError(model, words)
        case _ if doing == "load":
            return InvalidModelError(model, f"the engine could not load it ({words})")
        case _:
            return InferenceError(model, words)


def _refused_feed(text: str) -> InputMismatchError | None:
    """Read out of the engine's words which input was refused, and why."""
    for pattern, seen, expected in _REFUSED_FEEDS:
        if found := pattern.search(text):
            name = found.groupdict().get("name") or "?"
            name = name.strip("[]'").replace("', '", ", ")
            return InputMismatchError(name, found.expand(seen), found.expand(expected))
    return None
