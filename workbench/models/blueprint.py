"""What another process needs to build the same hub, and to mean the same model by a name.

Both are plain values: they hold no session, no lock and no open file, and cross processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.session import Options
    from workbench.models.store import Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything that a hub was made with.

    Attributes
    ----------
    shelves : folders, searched in this order
    max_models, max_bytes : what is kept live; None for no limit of bytes
    timeout_s : limit of one run in seconds
    graphs : folder of optimised graphs and its limit in bytes; None where none are kept
    shared_threads : threads of one pool for all models; None for a pool a model
    """

    shelves: tuple[Shelf, ...]
    max_models: int
    max_bytes: int | None
    timeout_s: float
    graphs: tuple[Path, int] | None
    shared_threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A model as a hub with the same blueprint finds it.

    Attributes
    ----------
    asked : its id, or its path, absolute
    options : how its session is opened
    path, metadata : where the id was given to a path by hand; else None
    """

    asked: str
    options: Options
    path: Path | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """What tells one model, opened in one way, from another."""
        return f"{self.asked} {self.options!r}"
