"""Where pictures come from: one or many, files of a folder, their names, and what an answer keeps.

An answer keeps of its picture only what its thumbnail needs later, and shows none rather than
another one: a file that has changed since, or an array that was written to, is not shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cards import THUMBNAIL_PIXELS
from workbench.errors import (
    DownloadTooLargeError,
    ImageTooLargeError,
    MissingFileError,
    WorkbenchError,
    abridge,
)
from workbench.preprocessing.images import read_bytes, read_image
from workbench.settings import Settings, without_credentials
from workbench.timing import clock
from workbench.units import shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workbench.preprocessing.pipeline import Pipeline
    from workbench.stopping import Stop

#: Longest that fetching one picture may take, in seconds.
FETCH_S = 60.0
#: Endings of the files that a folder is searched for, in lower case.
IMAGE_ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp"),
        *(".tif", ".tiff", ".avif", ".heic", ".heif"),
    )
)
#: Of an array, every so many pixels are kept that about this many are left a side.
_KEPT_PIXELS = 2 * THUMBNAIL_PIXELS


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What an answer keeps of its picture: a file and its stamp, or something to read again.

    Attributes
    ----------
    source : what is read again; None where nothing can be
    stamp : size and mtime of a file when it was read
    sha256 : of the picture's bytes, where it is known and the bytes are no longer there
    """

    source: Any
    stamp: tuple[int, int] | None = None
    sha256: str = ""

    def checksum(self) -> str:
        """Return the sha256 of the picture's bytes: of the file, else of the pixels.

        Empty where neither can be had any more.
        """
        if self.sha256:
            return self.sha256
        source = self.source
        if self.stamp is not None:
            if self.stamp != _stamp(source):
                return ""
            try:
                return hashlib.sha256(Path(source).expanduser().read_bytes()).hexdigest()
            except OSError:
                return ""
        if isinstance(source, (bytes, bytearray, memoryview)):
            return hashlib.sha256(source).hexdigest()
        if source is None:
            return ""
        try:
            pixels = read_image(source)
        except WorkbenchError:
            return ""
        told = f"{pixels.shape} {pixels.dtype}\n".encode()
        return hashlib.sha256(told + np.ascontiguousarray(pixels).tobytes()).hexdigest()

    def bare(self) -> Kept:
        """Return what tells the picture from others, without the picture."""
        return Kept(None, sha256=self.checksum())

    def picture(self, side: int = THUMBNAIL_PIXELS) -> NDArray[np.uint8] | None:
        """Return the picture small, (h, w, 3) uint8 RGB; None where it cannot be had any more."""
        from PIL import Image

        if self.source is None or (self.stamp is not None and self.stamp != _stamp(self.source)):
            return None
        try:
            image = Image.fromarray(read_image(self.source))
        except WorkbenchError:
            return None
        image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(image)


def keep(source: Any) -> Kept:
    """Note what shows this picture again: never its pixels at full size."""
    if isinstance(source, (str, Path)) and not str(source).startswith("data:"):
        return Kept(source, _stamp(source))
    if isinstance(source, np.ndarray):
        step = max(1, max(source.shape[:2]) // _KEPT_PIXELS)
        return Kept(source[::step, ::step].copy())
    return Kept(source)


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """A picture on its way to another process, where it becomes what it would have become here.

    An encoded picture goes as its bytes and is decoded there. What is decoded already, an array
    or a PIL image, is prepared here by the same pipeline, and what the model is fed goes: it is
    the same bit by bit, and mostly smaller (an array of 12 megapixels has 36 MB). So is every
    picture that another preprocessing than the model's own is asked for: its steps may be classes
    that the other process does not have.

    Attributes
    ----------
    name : of the input, for people
    data : the encoded bytes; None where it is prepared
    where : what errors call it; None for their own word
    ready : what the model is fed, where it is prepared
    """

    name: str
    data: bytes | None
    where: str | None = None
    ready: NDArray[Any] | None = None

    def prepared(self, pipeline: Pipeline) -> tuple[NDArray[Any], dict[str, float]]:
        """Return what the model is fed, and the seconds of each stage."""
        if self.ready is not None:
            return self.ready, {}
        assert self.data is not None
        size = len(self.data)  # the sender has held it to the limit
        return pipeline.timed(self.data, max_bytes=max(size, 1), where=self.where)


def pack(
    source: Any, pipeline: Pipeline, stop: Stop | None = None, *, whole: bool = False
) -> tuple[Parcel, Kept, dict[str, float]]:
    """Return a picture as it crosses, what is kept of it here, and the stages done here.

    ``whole`` : prepare it here, whatever it is

    Raises
    ------
    ImageError and its children, MissingFileError : it cannot be read
    UrlRefusedError, DownloadError, … : see :func:`fetched`
    """
    name, stages = name_of(source), dict[str, float]()
    if is_address(source):
        begun = clock()
        source = fetched(source, stop)
        stages["fetch"] = clock() - begun
    if hasattr(source, "read") and not hasattr(source, "getexif"):
        source = read_bytes(source)[0]  # a file-like object can be read once only
    kept = keep(source)  # before it is read: a file that changes meanwhile is not shown
    if whole or isinstance(source, np.ndarray) or hasattr(source, "getexif"):
        batch, parts = pipeline.timed(source)
        return Parcel(name, None, ready=batch), kept, stages | parts
    data, where = read_bytes(source)
    return Parcel(name, data, where), kept, stages


def _stamp(path: str | Path) -> tuple[int, int] | None:
    try:
        status = Path(path).expanduser().stat()
    except (OSError, RuntimeError, ValueError):
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


def is_address(source: Any) -> bool:
    """Say whether this is the address of a picture on a server."""
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def fetched(address: str, stop: Stop | None = None) -> bytes:
    """Return the encoded picture at an address, under the rules of every download.

    Only public addresses over https unless the settings allow others, at most
    ``MAX_IMAGE_BYTES``, at most :data:`FETCH_S` seconds.

    Raises
    ------
    UrlRefusedError, OfflineError, DownloadError, CancelledError : see :mod:`workbench.models.fetch`
    ImageTooLargeError : it has more bytes than a picture may have
    """
    from workbench.models.fetch import Fetcher, Rules

    given = Settings()
    rules = Rules.of(given, timeout_s=min(FETCH_S, given.download_timeout_s))
    fetcher = Fetcher(rules, stop)
    try:
        return fetcher.read(address, limit_bytes=given.max_image_bytes)
    except DownloadTooLargeError as error:
        shown = without_credentials(address)
        raise ImageTooLargeError(shown, error.seen_bytes, given.max_image_bytes) from error
    finally:
        fetcher.close()


def is_one(images: Any) -> bool:
    """Say whether this is one picture (True), or many, or a folder (False)."""
    if isinstance(images, (bytes, bytearray, memoryview)):
        return True
    if isinstance(images, (str, Path)):
        return is_address(images) or folder_of(images) is None
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    if hasattr(images, "read") or hasattr(images, "getexif"):
        return True
    return not isinstance(images, Iterable)


def folder_of(images: str | Path) -> Path | None:
    """Return the folder that a text names; None where it names none, or can be no path."""
    if not str(images) or str(images).startswith("data:"):
        return None
    try:
        path = Path(images).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long, a home that there is not, a null
        return None


def listed(images: Any) -> Iterator[Any]:
    """Yield the single pictures of a folder or an iterable.

    Hidden files and folders (``.ipynb_checkpoints``) are passed over.

    Raises
    ------
    MissingFileError : a folder without a picture in it
    """
    if not isinstance(images, (str, Path)):
        yield from [images] if is_one(images) else images
        return
    folder = folder_of(images)
    if folder is None:
        yield images
        return
    paths = sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in IMAGE_ENDINGS
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
        and p.is_file()
    )
    if not paths:
        raise MissingFileError(str(folder), "folder", "has no picture in it")
    yield from paths


def name_of(source: Any) -> str:
    """Name an input for people: a file's name, or what kind of thing it is."""
    if isinstance(source, Parcel):
        return source.name
    if is_address(source):
        return without_credentials(source).removesuffix("?…").rstrip("/").rpartition("/")[2][:80]
    if isinstance(source, (str, Path)):
        text = str(source)
        file = Path(text).name
        if text.startswith("data:"):
            return "data URI"
        return file if 0 < len(file) < 256 else abridge(text)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes"
    if isinstance(source, np.ndarray):
        return f"array {shape(source.shape)}"
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) and name else type(source).__name__
