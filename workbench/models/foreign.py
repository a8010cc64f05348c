"""What a file is when it is no ONNX model: told from its first bytes, with the likely cause.

Nothing is unpacked, parsed or executed; only the head of the file is looked at.
"""

from __future__ import annotations

import re

from workbench.errors import abridge
from workbench.units import size

#: How much of a file is looked at, in bytes: tar keeps its mark at 257.
HEAD_BYTES = 512

_BROKEN_OFF = "A download that broke off leaves such a file: get it again."
_UNPACK = "Unpack it and give the .onnx file inside."
_TORCH = (
    "Export it in Python, where its class is known: torch.onnx.export(model, example, "
    "'model.onnx'). It is never unpickled here: a pickle can run any code."
)
_PICTURE = "Give the picture to runner.classify, and the model's .onnx file here."

#: offset, bytes at that offset, what the file is, what to do (marks from each format's own
#: specification)
_MARKS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x1f\x8b", "gzip-compressed data", f"{_UNPACK} (gunzip)"),
    (0, b"BZh", "bzip2-compressed data", f"{_UNPACK} (bunzip2)"),
    (0, b"\xfd7zXZ\x00", "xz-compressed data", f"{_UNPACK} (unxz)"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed data", f"{_UNPACK} (unzstd)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", f"{_UNPACK} (tar -xf)"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5 weights)", "Convert it with tf2onnx."),
    (4, b"TFL3", "a TensorFlow Lite model", "Convert it: python -m tf2onnx.convert --tflite …"),
    (
        4,
        b"ORTM",
        "a model in onnxruntime's own .ort format",
        "Give the .onnx file it was made from: .ort files tell too little about themselves.",
    ),
    (0, b"GGUF", "a GGUF file (llama.cpp)", "Such models run in llama.cpp, not in onnxruntime."),
    (0, b"\x93NUMPY", "a numpy array (.npy)", "Give the model, not its test data."),
    (0, b"\xff\xd8\xff", "a JPEG picture", _PICTURE),
    (0, b"\x89PNG\r\n", "a PNG picture", _PICTURE),
    (0, b"GIF8", "a GIF picture", _PICTURE),
    (8, b"WEBP", "a WebP picture", _PICTURE),
    (0, b"%PDF", "a PDF document", "Give the model's .onnx file."),
    (0, b"\x7fELF", "a Linux program or library", "Give the model's .onnx file."),
    (0, b"MZ", "a Windows program or library", "Give the model's .onnx file."),
    (0, b"ptrt", "a TensorRT engine", "An engine fits one GPU: give the .onnx it was built from."),
    (0, b"ftrt", "a TensorRT engine", "An engine fits one GPU: give the .onnx it was built from."),
)


#: How a page may begin, beside a comment and a declaration of XML.
#: Source: https://mimesniff.spec.whatwg.org/#rules-for-identifying-an-unknown-mime-type, with
#: three more tags that belong into a page's head.
_PAGE = re.compile(
    r"(?is)(\s|<!--.*?-->|<\?xml[^>]*\?>)*"
    r"(<!doctype\s+html|<!--|<(html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|"
    r"meta|link|noscript)[\s/>])"
)
#: Marks of an encoding, the longer ones first.
_BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xef\xbb\xbf", "utf-8-sig"),
         (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # fmt: skip


def recognise(head: bytes, size_bytes: int) -> tuple[str, str] | None:
    """Tell what a file is from its head, and what to do; None where nothing is recognised.

    Parameters
    ----------
    head : the first :data:`HEAD_BYTES` bytes of the file, or all of it
    size_bytes : of the whole file

    Returns
    -------
    ``(what it is, hint)``, each fit for :class:`~workbench.errors.NotOnnxError`

    Examples
    --------
    >>> recognise(b"", 0)[0]
    'the file is empty (0 bytes)'
    >>> recognise(b"<!DOCTYPE html><title>Sign in", 29)[0]
    'it is an HTML page'
    >>> recognise("\ufeff<!-- moved --> <HTML lang='de'>".encode("utf-16-le"), 62)[0]
    'it is an HTML page'
    """
    if not size_bytes:
        return "the file is empty (0 bytes)", _BROKEN_OFF
    if not head.strip(b"\0"):
        return f"it starts with {len(head)} zero bytes", _BROKEN_OFF
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return _lfs_pointer(head)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(head)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "it is a Python pickle (an old PyTorch or scikit-learn file)", _TORCH
    for offset, mark, what, hint in _MARKS:
        if head.startswith(mark, offset):
            return f"it is {what}", hint
    if _is_safetensors(head, size_bytes):
        return (
            "it is a safetensors file: weights without a graph",
            "Export the model that they belong to, for example with optimum-cli export onnx.",
        )
    return _text(head)


def _lfs_pointer(head: bytes) -> tuple[str, str]:
    promised = re.search(rb"^size (\d{1,15})$", head, re.MULTILINE)
    real = f" to a file of {size(int(promised[1]))}" if promised else ""
    return (
        f"it is a Git LFS pointer{real}, not the file itself",
        "Run 'git lfs pull' in the repository, or download the file from its web page.",
    )


def _zip(head: bytes) -> tuple[str, str]:
    length = int.from_bytes(head[26:28], "little")
    first = head[30 : 30 + length].decode("utf-8", "replace")
    if first.endswith((".data/version", "/data.pkl", "/version", "/byteorder", "/.format_version")):
        return "it is a zip archive made by torch.save (a .pt file)", _TORCH
    if first.endswith(".npy"):
        return "it is a zip archive of numpy arrays (.npz)", "Give the model, not its arrays."
    inside = f" whose first member is {abridge(first)}" if first else " without members"
    return f"it is a zip archive{inside}", _UNPACK


def _is_safetensors(head: bytes, size_bytes: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:10] in (b'{"', b"{}") and 2 <= length <= size_bytes


def _is_page(head: bytes) -> bool:
    """Say whether a head is that of a web page, in whatever encoding it is."""
    encoding = next((name for mark, name in _BOMS if head.startswith(mark)), "latin-1")
    if encoding == "latin-1" and head[:2].count(0) == 1:  # without a mark
        encoding = "utf-16-be" if head.startswith(b"\0") else "utf-16-le"
    text = head.decode(encoding, "ignore")
    return "\0" not in text and _PAGE.match(text) is not None


def _text(head: bytes) -> tuple[str, str] | None:
    if b"<net " not in head and _is_page(head):
        return (
            "it is an HTML page",
            (
                "The server sent a web page in place of the file (a login, a licence to accept, "
                "or the page about the file): use the direct download link."
            ),
        )
    try:  # the head may end in the middle of a character
        text = head.decode("utf-8", "strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    text = text.removeprefix("\ufeff").strip()
    if not all(c.isprintable() or c in "\r\n\t\f" for c in text):
        return None
    lower = text.lower()
    if "<net " in lower and "<" in lower[:1]:
        return "it is an OpenVINO IR description (.xml)", "Give the .onnx it was converted from."
    if lower.startswith(("<?xml", "<error")):
        return (
            "it is an XML document",
            "Storage services answer so when a file is missing or private: check the address.",
        )
    if lower.startswith(("{", "[")):
        return "it is a JSON text", "Give the model's .onnx file; metadata goes in metadata=."
    if lower.startswith(("ir_version:", "<\n", "<ir_version", "< ir_version")):
        return (
            "it is an ONNX model in text form",
            "Turn it into binary form: onnx.save(onnx.load(path, format='textproto'), …).",
        )
    return (
        f"it is a text that begins {abridge(text, 60)}",
        "The server may have sent a message in place of the file, if it was downloaded.",
    )
