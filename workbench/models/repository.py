"""What the Hugging Face Hub tells of a repository: its files, its model, its licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import DownloadError
from workbench.units import size

_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Sibling:
    """A file of a repository: what is known of it before it is fetched."""

    sha256: str = ""
    size_bytes: int | None = None
    git_oid: str = ""


def siblings(told: Mapping[str, Any]) -> dict[str, Sibling]:
    """Return the files of a repository by path, from either answer of the Hub."""
    found = {}
    for entry in told.get("siblings", ()):
        if not isinstance(entry, Mapping) or entry.get("type") == "directory":
            continue
        path = entry.get("rfilename", entry.get("path"))
        told_lfs = entry.get("lfs")
        lfs = told_lfs if isinstance(told_lfs, Mapping) else {}
        sha256 = str(lfs.get("sha256", lfs.get("oid", ""))).removeprefix("sha256:")
        git = str(entry.get("blobId", entry.get("oid", "")) or "")
        length = lfs.get("size", entry.get("size"))
        if isinstance(path, str) and path:
            found[path] = Sibling(
                sha256.lower() if _HEX.fullmatch(sha256) else "",
                length if type(length) is int and length >= 0 else None,
                git if re.fullmatch(r"[0-9a-f]{40}", git) and not lfs else "",
            )
    return found


def the_model(listed: Mapping[str, Sibling], repo: str) -> str:
    """Return the one .onnx file of a repository.

    Raises
    ------
    DownloadError : it has none, or several, which are listed
    """
    models = [path for path in listed if path.lower().endswith(".onnx")]
    if len(models) == 1:
        return models[0]
    shown = f"hf://{repo}"
    if not models:
        raise DownloadError(
            shown, "the repository has no .onnx file", "Export it, or name another."
        )
    raise DownloadError(
        shown,
        f"it has {len(models)} ONNX files, and which one is meant is not clear",
        f"Name one: {variants(listed, f'{shown}/')}.",
    )


def variants(listed: Mapping[str, Sibling], before: str = "") -> str:
    """List the .onnx files of a repository with their sizes."""
    models = sorted(path for path in listed if path.lower().endswith(".onnx"))
    told = []
    for path in models[:20]:
        length = listed[path].size_bytes
        told.append(f"{before}{path}" + (f" ({size(length)})" if length is not None else ""))
    more = f" (and {len(models) - 20} more)" if len(models) > 20 else ""
    return ", ".join(told) + more


def licence_of(told: Mapping[str, Any]) -> str:
    """Return the licence that a repository states; empty where it states none."""
    card = told.get("cardData")
    stated = card.get("license") if isinstance(card, Mapping) else None
    if isinstance(stated, str):
        return stated
    tags = told.get("tags")
    names = [t for t in tags if isinstance(t, str)] if isinstance(tags, list) else []
    return next((t.partition(":")[2] for t in names if t.startswith("license:")), "")
