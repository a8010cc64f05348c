"""Images in: whatever was given becomes upright RGB, uint8, or one of our errors.

A path, bytes, a PIL image, an array, a data URI and a file-like object are taken alike. Limits
are checked before anything is decoded (bytes) or allocated (pixels). Colour profiles (ICC) are
not applied, as torchvision and timm do not apply them.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from threading import RLock
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from workbench.errors import (
    CorruptImageError,
    NotAnImageError,
    TooManyPixelsError,
    UnsupportedFormatError,
    WorkbenchError,
    install_line,
)
from workbench.preprocessing.signature import FORMATS, identify
from workbench.preprocessing.source import (
    ImageSource,
    array_hint,
    decode_base64,
    describe,
    plain_words,
    read_bytes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rgb: TypeAlias = tuple[int, int, int]

#: Most pixels of one picture (50 megapixels: 200 MB as Pillow holds it).
MAX_PIXELS = 50_000_000
#: What shows through transparency, unless told otherwise.
WHITE: Rgb = (255, 255, 255)

_ORIENTATION = 0x0112  # Exif 2.3, section 4.6.4 A: tag 274
#: where Pillow keeps what ``getexif`` reads
_EXIF_KEYS = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0, section 3
# Exif orientation → what makes the picture upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_global_switches = RLock()
#: a name in a program: ``Plugin.LIMIT``, ``some_function``, ``call()``
_PROGRAMS_NAME = re.compile(r"\w_\w|\w\(\)|[a-z]\.[A-Z]|'\w+' object")

__all__ = [
    "ImageSource",
    "decode_base64",
    "formats_read",
    "open_picture",
    "read_bytes",
    "read_image",
]

#: Called with the (width, height) of the upright picture; returns the least (width, height)
#: that is wanted of it, for scaled decoding.
Wanted: TypeAlias = Callable[[int, int], tuple[int, int]]


def read_image(
    source: ImageSource,
    *,
    background: Rgb = WHITE,
    max_bytes: int | None = None,
    max_pixels: int = MAX_PIXELS,
    where: str | None = None,
) -> NDArray[np.uint8]:
    """Return a picture upright, as RGB.

    Parameters
    ----------
    source : a path, the bytes of a file, a PIL image, an array ((H, W), (H, W, 1), (H, W, 3) or
        (H, W, 4); uint8), a data URI, or an open binary file, read from where it stands
    background : R, G, B in 0–255; shows through transparency
    max_bytes : limit of the encoded file, after base64 is undone; None: ``MAX_IMAGE_BYTES``
    max_pixels : limit of width × height, checked before they are allocated
    where : the name of the picture in error messages

    Returns
    -------
    (H, W, 3) uint8, RGB, 0–255, a fresh array

    Raises
    ------
    NotAnImageError, UnsupportedFormatError, CorruptImageError, ImageTooLargeError,
    TooManyPixelsError, Base64Error, MissingFileError, UrlRefusedError

    Examples
    --------
    >>> read_image(np.zeros((2, 5), np.uint8)).shape
    (2, 5, 3)
    """
    picture = open_picture(
        source, background=background, max_bytes=max_bytes, max_pixels=max_pixels, where=where
    )
    return np.array(picture)


def open_picture(
    source: ImageSource,
    *,
    background: Rgb = WHITE,
    max_bytes: int | None = None,
    max_pixels: int = MAX_PIXELS,
    where: str | None = None,
    wanted: Wanted | None = None,
) -> Image.Image:
    """Return a picture as a loaded, upright PIL image of mode RGB, as :func:`read_image` does.

    It may be the caller's own object: it must not be changed. With ``wanted``, a JPEG is decoded
    at 1/2, 1/4 or 1/8 of its size where that is no smaller than what is wanted.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, background, where or "The array")
    if isinstance(source, Image.Image):
        given, label = source, where or "The PIL image"
        return _guarded(
            lambda: _finish(given, background, max_pixels, label, None), label, "picture"
        )
    data, where = read_bytes(source, max_bytes=max_bytes, where=where)
    return _from_bytes(data, background, max_pixels, where, wanted)


def formats_read() -> tuple[str, ...]:
    """Return the names of the formats that are read in this installation."""
    extra = [name for name in ("AVIF", "HEIF") if _factory(name) is not None]
    return ("JPEG", "MPO", *FORMATS[1:], *extra)


def _from_array(array: NDArray[Any], background: Rgb, where: str) -> Image.Image:
    good = array.dtype == np.uint8 and (
        array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    )
    if not good or 0 in array.shape:
        raise NotAnImageError(where, describe(array), array_hint(array))
    plain = np.asarray(array)
    if plain.ndim == 3 and plain.shape[2] == 1:
        plain = plain[:, :, 0]
    return _to_rgb(Image.fromarray(np.ascontiguousarray(plain)), background, where)


def _from_bytes(
    data: bytes, background: Rgb, max_pixels: int, where: str, wanted: Wanted | None
) -> Image.Image:
    seen = identify(data)
    if seen.kind == "other":
        expected = "Give the file of a picture: JPEG, PNG, WebP, GIF, BMP or TIFF."
        raise NotAnImageError(where, seen.name, seen.hint or expected)
    factory = _factory(seen.name) if seen.kind == "read" else None
    if factory is None:
        raise _unsupported(seen.name, where)
    if seen.name == "WEBP":  # Pillow makes the canvas while it opens a WebP
        _check_pixels(_webp_size(data), max_pixels, where)

    def decode(content: bytes = data) -> Image.Image:
        picture = factory(BytesIO(content), "")
        # one feed instead of one for every 64 kB
        picture.decodermaxblock = max(len(content), 1)
        return _finish(picture, background, max_pixels, where, wanted)

    try:
        return _guarded(decode, where, seen.name)
    except CorruptImageError:
        if seen.name != "JPEG" or (bare := _without_metadata(data)) == data:
            raise
        return _guarded(lambda: decode(bare), where, seen.name)


def _unsupported(name: str, where: str) -> UnsupportedFormatError:
    if name == "HEIF":
        hint = f"HEIC is read once its extra is installed: {install_line('heif')}"
        return UnsupportedFormatError(where, "a HEIC picture", formats_read(), hint)
    if name == "AVIF":
        hint = "This Pillow was built without AVIF: update it, or convert the picture."
        return UnsupportedFormatError(where, "an AVIF picture", formats_read(), hint)
    return UnsupportedFormatError(where, name, formats_read())


def _factory(name: str) -> Callable[[IO[bytes], str], Any] | None:
    """Return Pillow's opener of a format.

    The opener itself rather than ``Image.open``, which warns and refuses by its own limit of
    pixels before ours can speak. An MPO is opened as the JPEG that it begins with.
    """
    if name == "JPEG":
        return JpegImagePlugin.JpegImageFile
    if name == "HEIF" and name not in Image.OPEN:
        if find_spec("pillow_heif") is None:
            return None
        from pillow_heif import register_heif_opener

        register_heif_opener()
    if name not in Image.OPEN:
        Image.init()
    found = Image.OPEN.get(name)
    if found is None or (name == "AVIF" and not _has_avif()):
        return None
    return found[0]


def _has_avif() -> bool:
    from PIL import features

    return "avif" in features.modules and bool(features.check("avif"))


def _guarded(decode: Callable[[], Image.Image], where: str, name: str) -> Image.Image:
    """Run Pillow; whatever it raises becomes one of our errors."""
    try:
        with _strict_loading():
            try:
                return decode()
            except Warning:
                # warnings were made errors, and Pillow warns about harmless junk
                with _global_switches, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return decode()
    except WorkbenchError:
        raise
    except MemoryError as error:
        raise CorruptImageError(where, "there is not enough memory to decode it", name) from error
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error and more
        raise CorruptImageError(where, _reason(error), name) from error


def _reason(error: Exception) -> str:
    """Say of a picture what Pillow says, and not what it says of its own names and Python's."""
    if isinstance(error, struct.error):
        return "one of its parts is cut off"
    if isinstance(error, TypeError | AttributeError | LookupError | NameError | AssertionError):
        return "its parts do not fit together"
    words = plain_words(error)
    if "MAX_TEXT" in words:
        return "the texts in it are too long"
    return "its decoder cannot read it" if _PROGRAMS_NAME.search(words) else words


@contextmanager
def _strict_loading() -> Iterator[None]:
    """Hold to "truncated is an error", also where somebody has told Pillow otherwise."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _global_switches:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _check_pixels(size: tuple[int, int], limit: int, where: str) -> None:
    if size[0] * size[1] > limit:
        raise TooManyPixelsError(where, size[0], size[1], limit)


def _finish(
    picture: Image.Image, background: Rgb, max_pixels: int, where: str, wanted: Wanted | None
) -> Image.Image:
    """Load, convert and turn a picture that Pillow has opened."""
    _check_pixels(picture.size, max_pixels, where)
    if wanted is not None and picture.format == "JPEG":
        _draft(picture, wanted)
    picture.load()
    turn = _UPRIGHT.get(_orientation(picture))
    rgb = picture if picture.mode == "RGB" and "transparency" not in picture.info else None
    rgb = _to_rgb(picture, background, where) if rgb is None else rgb
    return rgb if turn is None else rgb.transpose(turn)


def _draft(picture: Any, wanted: Wanted) -> None:
    """Ask libjpeg for 1/2, 1/4 or 1/8 of the picture, never less than is wanted."""
    width, height = picture.size
    if _orientation(picture) >= 5:  # it lies on its side
        least_height, least_width = wanted(height, width)
    else:
        least_width, least_height = wanted(width, height)
    picture.draft(None, (max(1, least_width), max(1, least_height)))


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation 1–8, and 1 for anything that cannot be one."""
    if getattr(picture, "_exif", None) is None and not _EXIF_KEYS & picture.info.keys():
        return 1
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  (junk EXIF never costs the picture)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(picture: Image.Image, background: Rgb, where: str) -> Image.Image:
    mode = picture.mode
    if mode.startswith("I;16") or (mode == "I" and picture.format == "PNG"):
        return _from_16_bit(picture, background)
    if mode in ("I", "F", "LAB"):
        kinds = {"I": "a picture of 32-bit integers", "F": "a picture of floats"}
        raise UnsupportedFormatError(
            where,
            kinds.get(mode, "a picture in CIE L*a*b*"),
            formats_read(),
            "Its range is not known here: scale it to 8 or 16 bits first.",
        )
    if "transparency" in picture.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        if mode in ("La", "PA"):
            picture = picture.convert("LA" if mode == "La" else "RGBA")
        return _compose(picture.convert("RGBA"), background)
    return picture if mode == "RGB" else picture.convert("RGB")


def _compose(rgba: Image.Image, background: Rgb) -> Image.Image:
    """Lay a picture with alpha on a plain ground."""
    ground = Image.new("RGB", rgba.size, background)
    ground.paste(rgba, mask=rgba.getchannel("A"))
    return ground


def _from_16_bit(picture: Image.Image, background: Rgb) -> Image.Image:
    """Scale 16-bit (or 12-bit) grey to 8 bits; convert("L") would clip it at 255."""
    values = np.asarray(picture).astype(np.float32)
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(_BITS, (16,))
    top = float(2 ** (bits[0] if isinstance(bits, tuple) else bits) - 1)
    grey = np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = np.uint8(255) - grey
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    key = picture.info.get("transparency")
    if isinstance(key, int):
        rgb[values == key] = background
    return Image.fromarray(rgb)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read width and height off a WebP's header (RFC 9649, section 2); (0, 0) if unclear."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30:
        width, height = data[26:28], data[28:30]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    return 0, 0


def _without_metadata(data: bytes) -> bytes:
    """Return a JPEG without its APP1–APP13, APP15 and comment segments (Exif, XMP, MPF …).

    APP0 (JFIF) and APP14 (Adobe) say how the colours are meant, and stay.
    """
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        marker = data[at + 1]
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            parts.append(data[at:end])
        at = end
    return b"".join((*parts, data[at:]))
