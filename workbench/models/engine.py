"""The engine, imported in one place: onnxruntime, with its telemetry off.

From 1.32 on onnxruntime makes a device id and a database of events in the user's cache folder
when it is imported. A laboratory has no business with that: the variable that switches it off is
set before the import, unless the user has set it.
"""

from __future__ import annotations

import contextlib
import sys
from functools import cache
from math import nan
from typing import Any

from workbench.settings import default_variable
from workbench.timing import clock

#: Read by onnxruntime when it is imported.
TELEMETRY = "ORT_DISABLE_TELEMETRY"


_import_s = nan


def import_seconds() -> float:
    """Return how long the engine's import took in this process; nan where others did it."""
    return _import_s


@cache
def engine() -> Any:
    """Return the module ``onnxruntime``."""
    global _import_s  # noqa: PLW0603  (one import a process)
    late = "onnxruntime" in sys.modules
    off = default_variable(TELEMETRY, "1") not in ("0", "false")
    started = clock()
    import onnxruntime

    if not late:
        _import_s = clock() - started
    if late and off:  # someone imported it before: what it still would send is stopped
        with contextlib.suppress(AttributeError):
            onnxruntime.disable_telemetry_events()
    return onnxruntime
