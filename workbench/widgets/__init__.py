"""Parts for a notebook that answer to the mouse: behaviour in plain classes, views apart.

The modules whose classes do something (:mod:`~workbench.widgets.sitting`,
:mod:`~workbench.widgets.transfer`, …) know nothing of Jupyter; the views, made with ipywidgets and
anywidget, lay out, forward and paint. What a widget found is in Python (``app.results``), never in
the front end alone. The functions here import what they need when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.stopping import Stop
    from workbench.widgets.desk import App
    from workbench.widgets.transfer import Upload
    from workbench.widgets.uploader import Uploader

__all__ = ["app", "upload"]


def app(
    hub: ModelHub | None = None,
    *,
    model: str | None = None,
    top_k: int = 5,
    folder: str | Path = "workbench_sitting",
) -> App:
    """Return the whole workbench as a widget: drop a picture, pick a model, see everything.

    Parameters
    ----------
    hub : where models come from; None for the process's hub
    model : the one to begin with; None for ``cifar10``, or the first there is
    top_k : classes in an answer
    folder : where kept pages, exports and uploaded pictures go when they are asked for

    Returns
    -------
    a widget; ``.results``, ``.to_frame()`` and ``.code()`` outlive its view
    """
    from workbench.widgets.desk import App
    from workbench.widgets.sitting import Sitting

    return App(Sitting(hub, model=model, top_k=top_k, folder=folder))


def upload(
    run: Callable[[Upload, Stop], Any] | None = None,
    *,
    hub: ModelHub | None = None,
    model: str = "cifar10",
    top_k: int = 5,
) -> Uploader:
    """Return a drop zone for pictures that shows what became of the last one.

    Parameters
    ----------
    run : called in a thread with each :class:`~workbench.widgets.transfer.Upload` and a
        :class:`~workbench.Stop`; what it returns is shown. None to classify
    hub, model, top_k : for classifying
    """
    from workbench.inference.runner import Runner
    from workbench.widgets.intake import Intake
    from workbench.widgets.trial import Photo, classify
    from workbench.widgets.uploader import Uploader

    def classified(given: Upload, stop: Stop) -> Any:
        runner = Runner(hub, top_k=top_k)
        return classify(runner, Photo.of(given), runner.hub.handle(model), stop=stop)

    return Uploader(Intake(run or classified))
