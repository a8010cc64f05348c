"""No test of a widget leaves one behind, and each has a hub of small models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ipywidgets.widgets import widget
from PIL import Image

from tests import graphs
from workbench.models.hub import ModelHub

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(autouse=True)
def no_widget_is_left() -> Iterator[None]:
    """Close every widget after the test, and make sure that no comm stays open."""
    before = set(widget._instances)
    yield
    for key in set(widget._instances) - before:
        made = widget._instances.get(key)
        if made is not None:
            made.close()
    assert set(widget._instances) <= before


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path) -> None:
    """Work in an empty folder, and hide any Jupyter server that this runs under."""
    for name in ("SERVER_SOFTWARE", "JPY_PARENT_PID", "JPY_SESSION_NAME", "JUPYTERHUB_USER",
                 "JUPYTERHUB_SERVICE_PREFIX"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def trusting(request, monkeypatch) -> None:
    """Have shelved models run in this process, but in tests of the place where strangers' run."""
    if "strict" not in request.fixturenames:
        monkeypatch.setattr("workbench.widgets.quarantine.is_known", lambda _: True)


@pytest.fixture
def hub(tmp_path) -> ModelHub:
    """Return a hub with ``means`` (scores of red, green and blue) and ``endless`` on its shelf."""
    import json

    shelf = tmp_path / "models"
    (shelf / "metadata").mkdir(parents=True)
    graphs.means(shelf / "means.onnx")
    graphs.endless(shelf / "endless.onnx")
    for name in ("means", "endless"):
        (shelf / "metadata" / f"{name}.json").write_text(json.dumps(graphs.PLAIN))
    return ModelHub(model_dir=shelf)


@pytest.fixture
def colour(tmp_path):
    """Return a function that writes a picture of one colour and gives its path."""

    def make(name: str = "red.png", rgb: tuple[int, int, int] = (255, 0, 0)) -> Path:
        path = tmp_path / "photos" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), rgb, np.uint8)).save(path)
        return path

    return make
