"""Importing a script by its path: ``http.py`` here has the name of a module of Python's own."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


def beside(path: Path, name: str) -> Any:
    """Return the module of a file, imported under a name."""
    found = spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module
