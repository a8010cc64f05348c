"""Images in: every kind of source and format, and what is said of bad ones."""

from __future__ import annotations

import base64
import io
import os
import re
import socket
import struct
import sys
import threading
import types
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, TiffImagePlugin, features

from tests.golden.photo import make_photo
from workbench import settings as project_settings
from workbench.errors import (
    Base64Error,
    CorruptImageError,
    ImageTooLargeError,
    MissingFileError,
    NotAnImageError,
    TooManyPixelsError,
    UnsupportedFormatError,
    UrlRefusedError,
    WorkbenchError,
)
from workbench.preprocessing import images, signature
from workbench.preprocessing.images import decode_base64, formats_read, open_picture, read_image

PHOTO = make_photo(24, 36)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encode(picture: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    sink = io.BytesIO()
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.save(sink, kind, **options)
    return sink.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}
LOSSY = {"JPEG": {"quality": 95}, "WEBP": {"quality": 90}, "GIF": {}}
HAS_AVIF = "avif" in features.modules and features.check("avif")
if HAS_AVIF:  # Pillow has it from 11.3 on
    LOSSY["AVIF"] = {"quality": 90}


# ── sources ───────────────────────────────────────────────────────────────────────────────────


def test_every_kind_of_source_gives_the_same_picture(tmp_path):
    data = encode(PHOTO)
    path = tmp_path / "ä b.png"
    path.write_bytes(data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    sources = [
        str(path), path, data, bytearray(data), memoryview(data), io.BytesIO(data), uri,
        uri.replace("data:", "DATA:", 1), Image.fromarray(PHOTO), Image.open(path), PHOTO,
    ]  # fmt: skip
    with path.open("rb") as file:
        for source in (*sources, file):
            result = read_image(source)
            assert np.array_equal(result, PHOTO)
            assert result.dtype == np.uint8
            assert result.flags.writeable
            assert not np.shares_memory(result, PHOTO)
    sources[-2].close()


def test_a_file_is_read_from_where_it_stands_and_stays_open(tmp_path):
    file = io.BytesIO(b"head" + encode(PHOTO))
    file.seek(4)
    assert np.array_equal(read_image(file), PHOTO)
    assert not file.closed
    with pytest.raises(NotAnImageError, match=r"seek\(0\)"):
        read_image(file)


def test_a_file_that_reads_in_small_pieces_is_read_to_its_end():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    assert np.array_equal(read_image(Slow(encode(PHOTO))), PHOTO)


@pytest.mark.parametrize(
    ("file", "seen"),
    [
        (io.StringIO("text"), "rb"),
        (types.SimpleNamespace(read=lambda n: 1 / 0), "cannot be read"),
        (types.SimpleNamespace(read=lambda n: b"", tell=lambda: 1 / 0), "empty"),
        (types.SimpleNamespace(read=lambda n: b""), "empty"),
    ],
)
def test_a_file_that_is_none_is_named(file, seen):
    with pytest.raises(NotAnImageError, match=seen):
        read_image(file)


def test_arrays_of_grey_and_alpha_become_rgb():
    grey = PHOTO[:, :, 0]
    assert np.array_equal(read_image(grey), np.stack([grey] * 3, axis=2))
    assert np.array_equal(read_image(grey[:, :, None]), np.stack([grey] * 3, axis=2))
    clear = np.dstack([PHOTO, np.zeros_like(grey)])
    assert read_image(clear).min() == 255
    assert np.array_equal(read_image(clear, background=RED)[0, 0], RED)
    assert np.array_equal(read_image(PHOTO[::-1, ::2]), PHOTO[::-1, ::2])


@pytest.mark.parametrize(
    ("source", "seen", "hint"),
    [
        (np.zeros((4, 5, 3), np.float32), r"float32 array of shape \(4, 5, 3\)", "range"),
        (np.zeros((4, 5), bool), "bool array", "range"),
        (np.zeros((4, 5), np.uint16), "uint16 array", "range"),
        (np.zeros((3, 40, 50), np.uint8), r"\(3, 40, 50\)", "transpose"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"\(1, 4, 5, 3\)", "one picture"),
        (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)", "Expected"),
        (np.zeros(5, np.uint8), r"\(5,\)", "Expected"),
        (np.zeros((4, 5, 2), np.uint8), r"\(4, 5, 2\)", "Expected"),
        (np.zeros((4, 5, 3), object), "object array", "range"),
        (None, "None", "path"),
        ([PHOTO], "list of 1", "path"),
        ((), "tuple of 0", "path"),
        (17, "type int", "path"),
        (np.float32(1), "float32", "path"),
        ("", "empty str", "path"),
        ("  \n", "empty str", "path"),
        ("two\nlines", "neither a path nor a data URI", ""),
        ("a\0b", "neither a path nor a data URI", "path"),
        ("iVBORw0KGgo" * 500, "neither a path nor a data URI", "base64,"),
    ],
)
def test_what_is_no_image_is_named_as_what_it_is(source, seen, hint):
    with pytest.raises(NotAnImageError, match=seen) as caught:
        read_image(source)
    assert hint in caught.value.hint


def test_paths_that_lead_nowhere_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(MissingFileError, match="does not exist"):
        read_image("gone.png")
    with pytest.raises(NotAnImageError, match="a directory"):
        read_image(tmp_path)
    with pytest.raises(MissingFileError, match="cannot be read"):
        read_image("x" * 3000)
    (tmp_path / "empty.png").touch()
    with pytest.raises(NotAnImageError, match="empty"):
        read_image(tmp_path / "empty.png")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(NotAnImageError, match="pipe"):
        read_image(pipe)


@pytest.mark.parametrize("url", ["http://x.org/a.png", "https://x.org", "s3://b/k", "FTP://x"])
def test_an_address_is_refused_and_nothing_is_dialled(url, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(UrlRefusedError, match="Download it first"):
        read_image(url)


def test_where_names_the_picture_in_every_error(tmp_path):
    for source in (b"<html>", PHOTO.astype(float), io.BytesIO(b"x"), "data:x", None):
        with pytest.raises(WorkbenchError, match="upload 7"):
            read_image(source, where="upload 7")
    assert read_image(Image.fromarray(PHOTO), where="x").shape == PHOTO.shape
    (tmp_path / "page.jpg").write_text("<html>")
    with (
        pytest.raises(NotAnImageError, match=r"page\.jpg"),
        (tmp_path / "page.jpg").open("rb") as f,
    ):
        read_image(f)


# ── limits ────────────────────────────────────────────────────────────────────────────────────


def test_the_limit_of_bytes_holds_for_every_source_and_is_exact(tmp_path):
    data = encode(PHOTO)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    uri = "data:;base64," + base64.b64encode(data).decode()
    for make in (
        lambda: data,
        lambda: bytearray(data),
        lambda: memoryview(data),
        lambda: path,
        lambda: io.BytesIO(data),
        lambda: uri,
        lambda: path.open("rb"),
    ):
        source = make()
        assert read_image(source, max_bytes=len(data)).shape == PHOTO.shape
        again = make()
        with pytest.raises(ImageTooLargeError, match=f"{len(data):,}") as caught:
            read_image(again, max_bytes=len(data) - 1)
        assert caught.value.limit_bytes == len(data) - 1
        for opened in (source, again):
            getattr(opened, "close", lambda: None)()


def test_the_limit_of_bytes_comes_from_the_settings(monkeypatch):
    small = project_settings.Settings(max_image_bytes=100)
    monkeypatch.setattr("workbench.preprocessing.source.settings", lambda: small)
    with pytest.raises(ImageTooLargeError, match="100 B"):
        read_image(encode(PHOTO))
    assert project_settings.MAX_IMAGE_BYTES == 10_000_000


def test_a_file_grown_since_it_was_measured_is_not_read_beyond_the_limit():
    endless = types.SimpleNamespace(read=lambda n: b"\0" * n)
    with pytest.raises(ImageTooLargeError):
        read_image(endless, max_bytes=3_000_000)


def bomb(kind: str, width: int = 30_000, height: int = 30_000) -> bytes:
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + body
    if kind == "GIF":
        frame = b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\2\2\x44\x01\0;"
        return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0" + frame
    if kind == "BMP":
        return encode(PHOTO, "BMP").replace(
            struct.pack("<ii", 36, 24), struct.pack("<ii", width, height), 1
        )
    if kind == "JPEG":
        return encode(PHOTO, "JPEG").replace(
            struct.pack(">HH", 24, 36), struct.pack(">HH", height, width), 1
        )
    head = {
        "WEBP lossless": b"VP8L" + bytes(4) + b"\x2f" + struct.pack("<I", 16382 | 16382 << 14),
        "WEBP lossy": b"VP8 " + bytes(4) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383),
        "WEBP extended": b"VP8X" + bytes(8) + b"\xff\xff\0\xff\xff\0",
    }[kind]
    return b"RIFF" + bytes(4) + b"WEBP" + head + bytes(20)


@pytest.mark.parametrize(
    "kind", ["PNG", "GIF", "BMP", "JPEG", "WEBP lossless", "WEBP lossy", "WEBP extended"]
)
def test_too_many_pixels_are_refused_by_the_header_before_any_are_made(kind, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(TooManyPixelsError, match="pixels; the limit is"):
        read_image(bomb(kind))


def test_the_limit_of_pixels_is_exact_and_holds_for_opened_pictures():
    data = encode(PHOTO)
    assert read_image(data, max_pixels=24 * 36).shape == PHOTO.shape
    for source in (data, Image.open(io.BytesIO(data))):
        with pytest.raises(TooManyPixelsError) as caught:
            read_image(source, max_pixels=24 * 36 - 1)
        assert (caught.value.width, caught.value.height) == (36, 24)
    assert images.MAX_PIXELS == 50_000_000


# ── base64 ────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_base64_is_undone(data):
    assert decode_base64(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing"),
        ("QUJD\n", "white space"),
        ("QUJ", "multiple of 4"),
        ("QU-_", "URL-safe"),
        ("QUJ!", "not valid base64"),
        ("QQ==QQ==", "not valid base64"),
        ("=QQQ", "not valid base64"),
        ("QR==", "not zero"),
        ("QUé=", "not valid base64"),
    ],
)
def test_base64_is_strict(text, reason):
    with pytest.raises(Base64Error, match=reason):
        decode_base64(text)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("data:image/png;base64", "comma"),
        ("data:image/png,AAAA", ";base64"),
        ("data:image/svg+xml,<svg/>", ";base64"),
        ("data:image/png;base64,", "nothing"),
        ("data:image/png;base64,%41", "not valid base64"),
    ],
)
def test_a_data_uri_is_taken_apart_strictly(uri, reason):
    with pytest.raises(Base64Error, match=reason):
        read_image(uri)


# ── formats ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossless_formats_give_the_very_pixels(kind, mode):
    image = Image.fromarray(PHOTO).convert(mode)
    assert np.array_equal(read_image(encode(image, kind, **LOSSLESS[kind])), image.convert("RGB"))


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_formats_give_nearly_the_pixels(kind):
    smooth = np.asarray(Image.fromarray(PHOTO).resize((6, 4)).resize((36, 24)))
    result = read_image(encode(smooth, kind, **LOSSY[kind]))
    assert np.abs(result.astype(int) - smooth).mean() < 12
    assert kind in formats_read()


def test_progressive_grey_and_subsampled_jpeg_are_read():
    for options in ({"progressive": True}, {"subsampling": 2}, {"subsampling": 0}):
        assert read_image(encode(PHOTO, "JPEG", **options)).shape == PHOTO.shape
    grey = read_image(encode(PHOTO[:, :, 0], "JPEG"))
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_cmyk_of_photoshop_is_not_inverted():
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    for kind in ("JPEG", "TIFF"):
        result = read_image(encode(cmyk, kind))
        assert np.abs(result.astype(int) - PHOTO).mean() < 15, kind


def test_a_ycck_jpeg_is_read_as_its_cmyk():
    data = bytearray(encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=100))
    at = data.index(b"Adobe")
    assert data[at + 11] == 0  # Adobe's transform: none
    data[at + 11] = 2  # YCCK: what was cyan … black now counts as Y, Cb, Cr, K
    assert read_image(bytes(data)).shape == (16, 16, 3)
    assert not np.array_equal(read_image(bytes(data))[0, 0], (0, 255, 255))


def test_alpha_is_composed_on_white_or_on_what_is_asked():
    rgba = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 128, np.uint8)])
    expected = np.rint(PHOTO * (128 / 255) + 255 * (127 / 255))
    for source in (rgba, encode(rgba), Image.fromarray(rgba), encode(rgba, "WEBP", lossless=True)):
        assert np.abs(read_image(source).astype(int) - expected).max() <= 1
    assert np.abs(read_image(rgba, background=(0, 0, 0)) - PHOTO * (128 / 255)).max() <= 1
    assert images.WHITE == (255, 255, 255)


def modes_with_alpha() -> dict[str, Image.Image]:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 200, 100, 50])
    with_bytes = palette.copy()
    with_bytes.info["transparency"] = b"\xff\x00"
    with_index = palette.copy()
    with_index.info["transparency"] = 1
    colour_key = Image.new("RGB", (4, 4), (1, 2, 3))
    colour_key.info["transparency"] = (1, 2, 3)
    grey_key = Image.new("L", (4, 4), 7)
    grey_key.info["transparency"] = 7
    return {
        "RGBA": clear, "LA": Image.new("LA", (4, 4), (50, 0)), "RGBa": clear.convert("RGBa"),
        "La": Image.new("LA", (4, 4), (50, 0)).convert("La"),
        "PA": Image.new("PA", (4, 4), (3, 0)), "P bytes": with_bytes,
        "P index": with_index, "RGB key": colour_key, "L key": grey_key,
    }  # fmt: skip


@pytest.mark.parametrize("name", modes_with_alpha())
def test_every_kind_of_transparency_shows_the_background(name):
    image = modes_with_alpha()[name]
    assert np.array_equal(read_image(image, background=BLUE)[2, 2], BLUE)
    if name not in ("RGBa", "La", "PA"):
        data = encode(image, "PNG", transparency=image.info.get("transparency"))
        assert np.array_equal(read_image(data, background=BLUE)[2, 2], BLUE)


def test_palettes_and_bilevel_pictures_keep_their_colours():
    palette = Image.fromarray(PHOTO).quantize(64)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(read_image(encode(palette, kind)), palette.convert("RGB"))
    bilevel = Image.fromarray(PHOTO).convert("1")
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(read_image(encode(bilevel, kind)), bilevel.convert("RGB"))


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", None])
def test_sixteen_bits_are_scaled_and_never_clipped(mode, kind):
    values = np.linspace(0, 65535, 24 * 36).reshape(24, 36).astype(np.uint16)
    if mode == "I;16B":
        image = Image.frombytes(mode, (36, 24), values.astype(">u2").tobytes())
    else:
        image = Image.fromarray(values)
    if kind and mode == "I;16B" and kind == "PNG":
        image = Image.fromarray(values)
    result = read_image(encode(image, kind) if kind else image)
    assert np.array_equal(result[..., 1], np.rint(values / 257))


def test_sixteen_bit_colour_is_scaled():
    rows = np.full((2, 3, 3), 0x8001, ">u2")
    header = struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    assert np.abs(read_image(b"\x89PNG\r\n\x1a\n" + body).astype(int) - 128).max() <= 1


def test_a_16_bit_colour_key_and_white_is_zero_are_honoured():
    values = np.array([[0, 1000], [40000, 65535]], np.uint16)
    header = struct.pack(">IIBBBBB", 2, 2, 16, 0, 0, 0, 0)
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", 1000))
    body += chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    result = read_image(b"\x89PNG\r\n\x1a\n" + body, background=RED)
    assert np.array_equal(result[0, 1], RED)
    assert result[1, 1].tolist() == [255, 255, 255]
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[262] = 0
    data = encode(Image.fromarray(values), "TIFF", tiffinfo=directory)
    with Image.open(io.BytesIO(data)) as check:
        inverted = check.tag_v2[262] == 0
    assert (read_image(data)[0, 0, 0] == 255) == inverted


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_a_picture_whose_range_is_unknown_is_refused_rather_than_guessed(mode):
    with pytest.raises(UnsupportedFormatError, match="range"):
        read_image(Image.new(mode, (3, 3)))


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "RGBX", "CMYK"])
def test_other_modes_of_pil_are_converted(mode):
    image = Image.fromarray(PHOTO).convert(mode)
    assert np.abs(read_image(image).astype(int) - PHOTO).mean() < 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_or_of_many_pages_is_read(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE, (0, 255, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(read_image(data)[4, 4], RED)


def test_the_first_picture_of_an_mpo_is_read():
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(read_image(data)[8, 8].astype(int) - RED).max() < 4
    assert "MPO" in formats_read()


def test_heic_is_read_with_its_extra_and_names_it_without(monkeypatch):
    heic = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(40)
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedFormatError, match=r"pip install 'onnx-workbench\[heif\]'"):
        read_image(heic)
    plugin = types.ModuleType("pillow_heif")
    opened = lambda fp, name: Image.new("RGB", (2, 2), RED)  # noqa: E731
    plugin.register_heif_opener = lambda: Image.OPEN.__setitem__("HEIF", (opened, None))
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    monkeypatch.setattr(images, "find_spec", lambda name: True)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    assert np.array_equal(read_image(heic)[0, 0], RED)
    assert "HEIF" in formats_read()


@pytest.mark.skipif(not HAS_AVIF, reason="platform: this Pillow cannot write AVIF")
def test_avif_without_support_in_pillow_says_so(monkeypatch):
    data = encode(PHOTO, "AVIF")
    monkeypatch.setattr(images, "_has_avif", lambda: False)
    with pytest.raises(UnsupportedFormatError, match="AVIF"):
        read_image(data)
    assert "AVIF" not in formats_read()


NAMED = {
    "empty": b"",
    "an HTML page": b"\n <!DOCTYPE html><html>",
    "a PDF document": b"%PDF-1.7",
    "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:",
    "zip": b"PK\x03\x04",
    "gzip": b"\x1f\x8b\x08",
    "NumPy": b"\x93NUMPY\x01",
    "video": b"\0\0\0\x18ftypisom" + bytes(16),
    "RIFF": b"RIFF\0\0\0\0WAVEfmt ",
    "XML": b"<?xml version='1.0'?><a/>",
    "JSON": b'{"error": "not found"}',
    "base64": base64.b64encode(encode(PHOTO)),
    "data URI given as bytes": b"data:image/png;base64,AAAA",
    "text that begins": "naïve".encode() + b" text",
    "zero bytes only": bytes(64),
    "no known picture": b"\xde\xad\xbe\xef" * 8,
    "tar archive": bytes(1) + bytes(256) + b"ustar",
}
PICTURES = {
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "SVG ": b"<?xml version='1.0'?>\n<svg/>",
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "JPEG XL": b"\xff\x0a" + bytes(10),
    "Photoshop": b"8BPS\0\x01",
    "Netpbm": b"P6 2 2 255 " + bytes(12),
    "icon": b"\0\0\x01\0\x01\0",
    "Canon": b"II*\0\x10\0\0\0CR\x02\0",
    "PostScript": b"%!PS-Adobe",
    "DICOM": bytes(128) + b"DICM",
}


@pytest.mark.parametrize("name", NAMED)
def test_junk_is_named_as_what_it_is(name):
    with pytest.raises(NotAnImageError, match=name):
        read_image(NAMED[name])


@pytest.mark.parametrize("name", PICTURES)
def test_formats_off_the_list_are_unsupported_and_the_list_is_shown(name):
    with pytest.raises(UnsupportedFormatError, match=name.strip()) as caught:
        read_image(PICTURES[name])
    assert "JPEG, MPO, PNG, WEBP, GIF, BMP, TIFF" in str(caught.value)
    assert caught.value.code == "unsupported_format"


def test_text_that_is_cut_inside_a_character_is_still_text():
    assert "text" in signature.identify("é".encode() * 511 + b"ab\xc3").name
    assert "no known" in signature.identify(b"abc\xff\xfe\xfd" * 9).name
    assert "BM is text" in signature.identify(b"BM is text, no bitmap").name


# ── EXIF ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_becomes_upright(kind, orientation):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = RED
    upright[:16, 32:] = (0, 255, 0)
    upright[16:, :16] = BLUE
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = Image.fromarray(upright)
    stored = stored if back is None else stored.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = encode(stored, kind, exif=exif, **options.get(kind, {}))
    for source in (data, Image.open(io.BytesIO(data))):
        result = read_image(source)
        assert result.shape == upright.shape
        assert np.abs(result.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_cannot_be_is_ignored(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert np.array_equal(read_image(encode(PHOTO, exif=exif)), PHOTO)


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_junk_exif_never_costs_the_picture(junk, little):
    head = b"II*\0\x08\0\0\0" if little else b"MM\0*\0\0\0\x08"
    exif = b"Exif\0\0" + head + junk
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(PHOTO, kind, exif=exif)
        result = read_image(data)
        assert sorted(result.shape) == sorted(PHOTO.shape)


@given(st.binary(max_size=40), st.sampled_from([0xE1, 0xE2, 0xED, 0xFE]))
@settings(max_examples=60, deadline=None)
def test_junk_segments_of_a_jpeg_never_cost_the_picture(junk, marker):
    data = encode(PHOTO, "JPEG")
    for start in (b"", b"Exif\0\0", b"MPF\0", b"Photoshop 3.0\0", b"ICC_PROFILE\0"):
        body = start + junk
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        assert sorted(read_image(data[:2] + segment + data[2:]).shape) == sorted(PHOTO.shape)


def test_a_warning_of_pillow_is_no_error_even_where_warnings_are():
    data = encode(PHOTO, "TIFF")

    class Warns(io.BytesIO):
        pass

    def noisy(fp, name):
        warnings.warn("harmless", stacklevel=1)
        return Image.open(fp)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr(images, "_factory", lambda name: noisy)
        assert np.array_equal(read_image(data), PHOTO)


def picture_or_code(data: bytes) -> np.ndarray | str:
    try:
        return read_image(data, max_pixels=10_000)
    except WorkbenchError as error:
        return error.code


# ── damage ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in ("BMP", "TIFF", "PNG", *LOSSY)),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_file_cut_anywhere_is_an_error_or_the_whole_picture(kind, options):
    data = encode(PHOTO, kind, **options)
    whole = read_image(data)
    cuts = {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 4, len(data))}
    refused = 0
    for cut in sorted(cuts):
        result = picture_or_code(data[:cut])
        if isinstance(result, str):
            refused += 1
            assert result in ("corrupt_image", "not_an_image", "unsupported_format"), cut
        else:
            assert np.array_equal(result, whole), f"cut at {cut} of {len(data)}"
    assert refused > len(cuts) * 0.8


def test_truncated_is_an_error_even_where_pillow_was_told_otherwise(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for kind in ("JPEG", "PNG"):
        data = encode(make_photo(64, 64), kind)
        with pytest.raises(CorruptImageError):
            read_image(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_random_bytes_never_give_anything_but_our_errors(data):
    with pytest.raises(WorkbenchError):
        read_image(data)


IMAGE_CODES = ("not_an_image", "unsupported_format", "corrupt_image", "too_many_pixels")
STARTS = [encode(PHOTO, kind)[:n] for kind in (*LOSSLESS, *LOSSY) for n in (12, 40, 120)]


@given(st.sampled_from(STARTS), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_junk_behind_a_true_header_never_gives_anything_but_our_errors(start, junk):
    result = picture_or_code(start + junk)
    assert result in IMAGE_CODES if isinstance(result, str) else result.ndim == 3


@given(st.sampled_from([*LOSSLESS, *LOSSY]), st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_gives_a_picture_or_one_of_our_errors(kind, draw):
    data = bytearray(encode(PHOTO, kind))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    result = picture_or_code(bytes(data))
    assert result in IMAGE_CODES if isinstance(result, str) else result.ndim == 3


@pytest.mark.parametrize(
    "raised", [OSError, ValueError, SyntaxError, TypeError, struct.error, KeyError, MemoryError]
)
def test_whatever_pillow_raises_becomes_a_corrupt_image(raised, monkeypatch):
    def load(self):
        raise raised("broken\nat 0x7f12 here.")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(CorruptImageError, match="damaged PNG") as caught:
        read_image(encode(PHOTO))
    assert isinstance(caught.value.__cause__, raised)
    assert "0x7f12" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_closed_picture_of_the_callers_is_an_error_of_ours():
    image = Image.open(io.BytesIO(encode(PHOTO)))
    image.close()
    with pytest.raises(CorruptImageError, match="The PIL image"):
        read_image(image)


# ── manners ───────────────────────────────────────────────────────────────────────────────────


def test_the_callers_picture_and_array_are_never_changed():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encode(PHOTO, exif=exif)))
    array = PHOTO.copy()
    assert read_image(image).shape == (36, 24, 3)
    assert image.size == (36, 24)
    assert image.getexif()[0x0112] == 6
    assert read_image(image).shape == (36, 24, 3)
    read_image(array)[:] = 0
    assert np.array_equal(array, PHOTO)
    plain = Image.fromarray(PHOTO)
    read_image(plain)[:] = 0
    assert np.array_equal(plain, PHOTO)


def test_a_frame_that_the_caller_has_chosen_is_read():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    image = Image.open(
        io.BytesIO(encode(frames[0], "GIF", save_all=True, append_images=[frames[1]]))
    )
    image.seek(1)
    assert np.array_equal(read_image(image)[4, 4], BLUE)


def test_scaled_decoding_is_never_smaller_than_what_is_wanted():
    data = encode(make_photo(400, 600), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(make_photo(400, 600), "JPEG", exif=exif)
    for wanted, expected in (
        ((150, 100), (150, 100)),
        ((151, 100), (300, 200)),
        ((1, 1), (75, 50)),
    ):
        assert open_picture(data, wanted=lambda w, h, size=wanted: size).size == expected
        sideways = open_picture(turned, wanted=lambda w, h, size=wanted: size[::-1])
        assert sideways.size == expected[::-1]
    assert open_picture(data).size == (600, 400)


def test_many_threads_read_the_same_bytes_alike():
    data, barrier = encode(PHOTO), threading.Barrier(8)

    def read(_):
        barrier.wait()
        return read_image(data)

    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(result, PHOTO) for result in pool.map(read, range(8)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG (its specification, 5.3)."""
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def test_what_is_wrong_is_never_said_in_names_of_a_program():
    png = encode(PHOTO)
    long = _chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 3_000_000))
    with pytest.raises(CorruptImageError, match="the texts in it are too long"):
        read_image(png[:33] + long + png[33:])
    for raised, words in (
        (struct.error("unpack_from requires a buffer of at least 8 bytes"), "is cut off"),
        (TypeError("'NoneType' object is not subscriptable"), "do not fit together"),
        (ValueError("Plugin.LIMIT is too small"), "its decoder cannot read it"),
        (OSError("broken data stream when reading image file"), "broken data stream"),
    ):
        with pytest.raises(CorruptImageError, match=words) as caught:
            images._guarded(_raising(raised), "The picture", "PNG")
        assert not re.search("_|NoneType|LIMIT", str(caught.value))


def _raising(error: Exception):
    def decode():
        raise error

    return decode
