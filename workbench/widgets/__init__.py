"""Parts for a notebook that answer to the mouse: behaviour in plain classes, views apart.

The modules whose classes do something (:mod:`~workbench.widgets.sitting`,
:mod:`~workbench.widgets.transfer`, …) know nothing of Jupyter; the views, made with ipywidgets and
anywidget, lay out, forward and paint. What a widget found is in Python (``app.results``), never in
the front end alone. The functions here import what they need when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.inference.results import Failure, Result
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.preprocessing.images import ImageSource
    from workbench.stopping import Stop
    from workbench.widgets.browser import ModelBrowser
    from workbench.widgets.comparer import Comparer
    from workbench.widgets.desk import App
    from workbench.widgets.explorer import Explorer
    from workbench.widgets.gallery import Gallery
    from workbench.widgets.transfer import Upload
    from workbench.widgets.uploader import Uploader

__all__ = [
    "app",
    "compare_models",
    "model_browser",
    "preprocessing_explorer",
    "results_gallery",
    "upload",
]


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
    from workbench.models.hub import default_hub
    from workbench.widgets.intake import Intake
    from workbench.widgets.quarantine import Quarantine
    from workbench.widgets.trial import Photo, classify
    from workbench.widgets.uploader import Uploader

    place = Quarantine(default_hub() if hub is None else hub)

    def classified(given: Upload, stop: Stop) -> Any:
        handle = place.load(place.hub.handle(model), stop)
        runner = place.runner(handle)
        return classify(runner, Photo.of(given), handle, top_k=top_k, stop=stop)

    return Uploader(Intake(run or classified, own=run is None))


def preprocessing_explorer(
    model: Model,
    image: ImageSource,
    *,
    top_k: int = 5,
    folder: str | Path = "workbench_sitting",
) -> Explorer:
    """Return sliders for a model's preprocessing; the strip and the answer change live.

    Parameters
    ----------
    model : whose own recipe it begins with
    image : anything that stands for one picture
    top_k : classes in an answer
    folder : where a picture that is in memory alone goes with the code that is copied

    Returns
    -------
    a widget; ``.pipeline`` is what the sliders say
    """
    from workbench.widgets.exploration import Exploration
    from workbench.widgets.explorer import Explorer

    return Explorer(Exploration(model, image, top_k=top_k, folder=folder))


def model_browser(hub: ModelHub | None = None) -> ModelBrowser:
    """Return a hub's models to search, look at, warm up and unload; ``.model`` is the chosen."""
    from workbench.models.hub import default_hub
    from workbench.widgets.browser import ModelBrowser
    from workbench.widgets.catalogue import Catalogue

    return ModelBrowser(Catalogue(default_hub() if hub is None else hub))


def compare_models(
    hub: ModelHub | None = None,
    image: ImageSource | None = None,
    *,
    models: Sequence[str] | None = None,
    top_k: int = 3,
) -> Comparer:
    """Return what several models say about one picture, agreement marked.

    Parameters
    ----------
    hub : where models come from; None for the process's hub
    image : anything that stands for one picture; None to wait for an upload
    models : ids; None for the first four of the hub
    top_k : classes in an answer
    """
    from workbench.models.hub import default_hub
    from workbench.widgets.comparer import Comparer
    from workbench.widgets.comparison import Comparison

    whose = default_hub() if hub is None else hub
    return Comparer(Comparison(whose, image, models=models, top_k=top_k))


def results_gallery(
    results: Iterable[Result | Failure], path: str | Path = "workbench_gallery.csv"
) -> Gallery:
    """Return results to keep, flag and relabel; each mark is written to a CSV file at once.

    Parameters
    ----------
    results : as ``runner.classify`` or ``app.results`` gives them
    path : of the CSV file; one that is there already, of the same results, is continued
    """
    from workbench.widgets.gallery import Gallery
    from workbench.widgets.ledger import Ledger

    return Gallery(Ledger(results, path))
