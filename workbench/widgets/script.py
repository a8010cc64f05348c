"""A sitting as a cell of code that reproduces it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Any

from workbench.cards import plain
from workbench.inference.results import Failure
from workbench.widgets.disk import safe_name, write

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.preprocessing.pipeline import Pipeline
    from workbench.widgets.history import Run
    from workbench.widgets.trial import Photo


class Script:
    """Remembers what a cell needs besides the runs: the hub, and the models that were dropped."""

    def __init__(self, hub: ModelHub) -> None:
        self._hub = hub
        self._models: dict[str, tuple[Path, dict[str, Any]]] = {}

    def add_model(self, name: str, path: Path, metadata: Mapping[str, Any]) -> None:
        """Remember a model that was given a name in the sitting."""
        self._models[name] = (path, dict(metadata))

    def cell(self, runs: Sequence[Run], folder: Path) -> str:
        """Return the code; what it needs from disk is written below ``folder`` first."""
        lines = ["import workbench as wb", "", self._hub_line()]
        used = {run.model for run in runs}
        for name, (path, metadata) in self._models.items():
            if name not in used:
                continue
            content = path.read_bytes()
            mark = hashlib.sha256(content).hexdigest()[:8]
            kept = write(folder / safe_name(f"{name}.onnx", mark), content)
            told = (
                f"{name!r},",
                f"path={kept.as_posix()!r},",
                f"metadata={_literal(metadata, 72)},",
            )
            lines += [
                "hub.preload(",
                *(f"    {part}" for line in told for part in line.splitlines()),
                ")",
            ]
        lines.append("runner = wb.Runner(hub)")
        pipelines: dict[str, str] = {}  # code → name, in the order of first use
        calls: dict[str, None] = {}
        for run in runs:
            if run.pipeline is not None and not isinstance(run.outcome, Failure):
                pipelines.setdefault(pipeline_code(run.pipeline), f"pipeline_{len(pipelines) + 1}")
            calls[self._call(run, folder, pipelines)] = None
        lines += [f"{name} = {code}" for code, name in pipelines.items()]
        return "\n".join([*lines, "results = [", *calls, "]", "results[-1] if results else hub"])

    def _hub_line(self) -> str:
        shelf = self._hub.shelves[0]
        own = shelf.name == "argument"
        return f"hub = wb.ModelHub(model_dir={str(shelf.models)!r})" if own else "hub = wb.ModelHub()"  # fmt: skip  # noqa: E501

    @staticmethod
    def _call(run: Run, folder: Path, pipelines: Mapping[str, str]) -> str:
        if isinstance(run.outcome, Failure):
            return f"    # {plain(run.photo.name)}: {run.outcome.code}"
        source = _source(run.photo, folder)
        rest = f"model={run.model!r}, top_k={run.top_k}"
        if run.pipeline is None:
            return f"    runner.classify({source}, {rest}),"
        name = pipelines[pipeline_code(run.pipeline)]
        return f"    runner.classify_tensor({name}({source}), {rest}),"


def pipeline_code(pipeline: Pipeline) -> str:
    """Return the expression that builds a pipeline, a line a step."""
    steps = "".join(f"    {_literal(step)},\n" for step in pipeline.recipe())
    return f"wb.Pipeline.from_recipe([\n{steps}])"


def _literal(value: object, width: int = 10**6) -> str:
    """Return Python code of a value, on one line where a width allows it."""
    return pformat(value, sort_dicts=False, width=width, compact=True)


def _source(photo: Photo, folder: Path) -> str:
    """Return how a cell reads a picture: its own path, or the file that it is written to."""
    if isinstance(photo.source, str):
        return repr(photo.source)
    if not isinstance(photo.source, bytes):
        content = _png(photo.source)
        name = safe_name("picture.png", hashlib.sha256(content).hexdigest()[:8])
    else:
        content = photo.source
        name = safe_name(photo.name, hashlib.sha256(content).hexdigest()[:8])
    return repr(write(folder / name, content).as_posix())


def _png(source: Any) -> bytes:
    from io import BytesIO

    from PIL import Image

    from workbench.preprocessing.images import read_image

    sink = BytesIO()
    Image.fromarray(read_image(source)).save(sink, "PNG")
    return sink.getvalue()
