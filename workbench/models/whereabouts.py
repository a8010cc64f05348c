"""Where the files of a pulled model lie below the folder of models, and which names are not theirs.

A model is ``<id>.onnx``, or ``<id>/model.onnx`` where files lie beside it; its labels and its
metadata have one place each. A lock, and a model, may come from a stranger: neither may name a
file that belongs to another model, to the lock or to what a pull itself keeps.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from workbench.errors import UnsafePathError
from workbench.models import companion

#: Name of the lock in the folder of models.
LOCK = "models.lock"
#: What a file of a pulled model can be.
ROLES = ("model", "data", "labels", "metadata", "config")
#: Endings that no file of weights has, and that files with another meaning have.
_NOT_WEIGHTS = (".json", ".lock", ".pbtxt", ".onnx", ".part")
#: Folders that have a meaning in a folder of models; one in a model's own would be taken for it.
_FOLDERS = ("metadata", "labels")


def inside(path: str) -> bool:
    """Say whether a relative path stays in its folder, on any system."""
    parts = re.split(r"[/\\]", path)
    return bool(path) and not any(p in ("", ".", "..") or ":" in p or "\0" in p for p in parts)


def reserved(location: str) -> str:
    """Say why a file of weights may not have a name, or return an empty string.

    >>> reserved("models.lock"), reserved("model.onnx_data"), reserved("a/.pull-x")
    ('that name belongs to another kind of file', '', 'that is a hidden file or folder')
    """
    parts = [part.casefold() for part in re.split(r"[/\\]", location)]
    if any(part.startswith(".") for part in parts):
        return "that is a hidden file or folder"
    if parts[-1].endswith(_NOT_WEIGHTS) or parts[0] in _FOLDERS:
        return "that name belongs to another kind of file"
    return ""


def fits(model_id: str, role: str, path: str) -> bool:
    """Say whether a file of a model may lie at a path below the folder of models.

    >>> fits("net", "labels", "labels/net_labels.json"), fits("net", "metadata", "models.lock")
    (True, False)
    """
    if not inside(path):
        return False
    match role:
        case "model":
            return path in (f"{model_id}.onnx", f"{model_id}/model.onnx")
        case "labels":
            return path == f"labels/{model_id}_labels.json"
        case "metadata":
            return path == f"metadata/{model_id}.json"
        case "config":
            return path in [f"{model_id}/{name}" for name in companion.FILES]
        case "data":
            folder, _, location = path.partition("/")
            return folder == model_id and bool(location) and not reserved(location)
    return False


def refuse_links(root: Path, path: str) -> None:
    """Refuse a path whose folders lead out of the folder of models.

    Raises
    ------
    UnsafePathError : one of them is a link to somewhere else
    """
    folder = (root / path).parent
    if not folder.resolve().is_relative_to(root.resolve()):
        where = PurePosixPath(path).parent.as_posix()
        raise UnsafePathError(path, f"{where!r} to be a folder of {root}, not a link out of it")
