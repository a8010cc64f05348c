"""Where a sitting's models run: in the kernel if they are known, else in a process of their own.

Known is what comes with the package and what the catalogue names, by its checksum. Everything
else was made by someone of whom nothing is known here: a file that was dropped, typed as a path,
or lies on a shelf. Such a model may bring the engine down, run for ever within one node, or want
all memory; apart, that costs a worker process and one error.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.inference.runner import Runner
from workbench.models import catalog
from workbench.models.store import embedded_shelf

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.models.warmup import WarmUp
    from workbench.stopping import Stop


def is_known(model: Model) -> bool:
    """Say whether a model comes with the package, or is one of the catalogue's by its sha256."""
    if model.path.is_relative_to(embedded_shelf().models.resolve()):
        return True
    return model.graph.sha256 in {entry.sha256 for entry in catalog.entries().values()}


class Quarantine:
    """Two runners on one hub: the kernel's own, and an isolated one that is made when needed.

    Attributes
    ----------
    here : runs what is known
    """

    def __init__(self, hub: ModelHub) -> None:
        self.hub = hub
        self.here = Runner(hub)
        self._apart: Runner | None = None
        self._lock = threading.Lock()

    @property
    def apart(self) -> Runner:
        """The runner whose worker can be killed."""
        with self._lock:
            if self._apart is None:
                self._apart = Runner(self.hub, isolated=True)
            return self._apart

    def runner(self, model: Model) -> Runner:
        """Return the runner of a model."""
        return self.here if is_known(model) else self.apart

    def load(self, model: Model, stop: Stop) -> Model:
        """Open a model where it runs; a stop ends that at once where it runs apart."""
        return self.runner(model).load(model, stop=stop)

    def adopt(self, name: str, path: Path, metadata: Mapping[str, Any], stop: Stop) -> Model:
        """Try a model that was dropped, apart, and give it a name if that goes well."""
        return self.apart.load(name, path=path, metadata=metadata, stop=stop)

    def warm_up(self, model: Model, stop: Stop) -> WarmUp:
        """Run a model where it runs until its times settle."""
        return self.runner(model).warm_up(model, stop=stop)

    def unload(self, model: Model) -> object:
        """Close a model's session, here and where it runs apart; tells what came back here."""
        if self._apart is not None and not is_known(model):
            self._apart.unload(model)
        return model.unload()

    def state(self, model: Model) -> str:
        """Return ``live``, ``loading``, ``cold`` or ``missing``: where it runs."""
        told = self.hub.state_of(model)
        if told != "cold" or self._apart is None or is_known(model):
            return told
        return "live" if self._apart.holds(model) else told

    def close(self) -> None:
        """End the worker process, if there is one."""
        with self._lock:
            apart, self._apart = self._apart, None
        if apart is not None:
            apart.close()
