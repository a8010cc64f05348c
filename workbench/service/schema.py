"""The bodies of requests and answers, as pydantic checks them and as OpenAPI shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.service.policy import JOB_ITEMS

#: Most classes in one answer.
MOST_CLASSES = 1_000

ModelId = Annotated[
    str,
    Field(min_length=1, max_length=128, examples=["cifar10"], description="Name of the model."),
]


class _Strict(BaseModel):
    """A request: what is not known is refused rather than passed over."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class Options(_Strict):
    """How to answer."""

    top_k: int = Field(5, ge=1, le=MOST_CLASSES, description="Classes in the answer.")
    timeout_ms: float | None = Field(
        None, gt=0, description="Limit of the whole request; the service's own where left out."
    )


class Input(_Strict):
    """One input: a picture as a data URI or base64, a ready tensor, or text."""

    type: Literal["image", "tensor", "text"] = Field("image", description="What ``data`` is.")
    data: Any = Field(
        description="image: a data URI or base64. tensor: nested lists in the model's own layout, "
        "with or without the batch axis of 1. text: a string (no model here takes one yet)."
    )


class Told(BaseModel):
    """What stands in the query, or among the fields of a form, beside a picture: all text."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model_id: ModelId
    top_k: str | None = None
    timeout_ms: str | None = None


class Execute(_Strict):
    """Classify one input."""

    model_id: ModelId
    input: Input
    options: Options = Options()


class Batch(_Strict):
    """Classify several inputs; each fails alone."""

    model_id: ModelId
    inputs: list[Input] = Field(min_length=1)
    options: Options = Options()


class Job(_Strict):
    """Classify many inputs in the background."""

    model_id: ModelId
    inputs: list[Input] = Field(min_length=1, max_length=JOB_ITEMS)
    options: Options = Options()


class Preload(_Strict):
    """Load a model, and warm it up if asked."""

    model_id: ModelId
    model_path: str | None = Field(
        None, min_length=1, max_length=1024, examples=["resnet18.onnx"],
        description="Its file, relative to MODEL_DIR and below it; the model's own where left out.",
    )  # fmt: skip
    metadata: dict[str, Any] | None = Field(
        None, description="model_type, input_shape, preprocessing, and optionally more."
    )
    warmup: bool = Field(False, description="Run it until its times settle.")


class Pull(_Strict):
    """Fetch a model from a source that is allowed, and load it."""

    model_id: ModelId
    source: str = Field(
        min_length=1, max_length=2048, description="Catalogue name, hf://, ipfs:// or https://."
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-fA-F]{64}$")
    metadata: dict[str, Any] | None = None


class PullIpfs(_Strict):
    """Fetch a model by its IPFS content identifier, and load it."""

    model_id: ModelId
    ipfs_cid: str = Field(min_length=1, max_length=512, description="CID, or CID/path/to/file.")
    metadata: dict[str, Any] | None = None


class Prediction(BaseModel):
    """One class."""

    label: str
    index: int
    probability: float


class Ran(BaseModel):
    """What ran."""

    provider: str
    precision: str


class Answer(BaseModel):
    """What a model says about one input."""

    model_config = ConfigDict(protected_namespaces=())

    success: Literal[True] = True
    model_id: str
    predictions: list[Prediction]
    note: str | None = Field(
        None, description="Only where there is a doubt: the picture shows none of the classes."
    )
    timings_ms: dict[str, float] = Field(
        description="Milliseconds by stage, and ``total``. In a shared run ``inference`` is this "
        "input's share, and ``companions`` what went by for the others."
    )
    model: Ran
    request_id: str


class Problem(BaseModel):
    """What is wrong: the code is stable."""

    code: str
    message: str
    hint: str
    request_id: str


class ErrorBody(BaseModel):
    """The body of every error."""

    error: Problem


class ProtocolError(BaseModel):
    """The body of an error of the Open Inference Protocol, which wants a text in ``error``."""

    error: str
    code: str
    hint: str
    request_id: str


class Ready(BaseModel):
    """Whether something takes requests."""

    name: str | None = None
    ready: bool


class BatchAnswer(BaseModel):
    """The answers in the order of the inputs."""

    success: Literal[True] = True
    results: list[Answer | ErrorBody]
    request_id: str


class Preloaded(BaseModel):
    """A model that is in memory now."""

    model_config = ConfigDict(protected_namespaces=())

    success: Literal[True] = True
    model_id: str
    cached: bool = Field(description="It was in memory already.")
    load_ms: float
    warmup_ms: float = Field(description="0 where no warm-up was asked for.")
    request_id: str


class UnloadedAnswer(BaseModel):
    """A model that is in memory no more."""

    model_config = ConfigDict(protected_namespaces=())

    success: Literal[True] = True
    model_id: str
    unloaded: bool = Field(description="It was in memory.")
    freed_bytes: int | None
    request_id: str


class Health(BaseModel):
    """Whether the service lives, and whether it takes requests."""

    status: Literal["ok", "starting", "draining"]
    live: Literal[True] = True
    ready: bool
    versions: dict[str, str]


class ModelRow(BaseModel):
    """A model that can be used here."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    task: str
    input: str
    size_bytes: int
    state: str
    provider: str
    licence: str


class Models(BaseModel):
    """All models that can be used here."""

    success: Literal[True] = True
    models: list[ModelRow]
    request_id: str


class JobState(BaseModel):
    """A job: how far it is, and its results so far."""

    success: Literal[True] = True
    job_id: str
    state: Literal["queued", "running", "done", "cancelled", "failed"]
    done: int
    total: int
    results: list[Answer | ErrorBody]
    error: dict[str, str] | None = Field(
        None, description="Why it failed as a whole: code, message and hint. Left out otherwise."
    )
    request_id: str
