"""IPFS content identifiers: read strictly, and compared with bytes.

A CID names bytes by their hash, so whoever holds one need not trust where the bytes came from.
Small enough to be written here: the libraries on the index bring a table of every codec there is.

Source
------
https://github.com/multiformats/cid (versions 0 and 1), https://github.com/multiformats/multihash,
https://github.com/multiformats/multibase, and https://github.com/multiformats/unsigned-varint
(at most 9 bytes, none of them in vain). Codes: https://github.com/multiformats/multicodec
(table.csv).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.errors import ChecksumError, CidError

#: Codecs whose blocks are read here.
RAW, DAG_PB = 0x55, 0x70
#: Names of codecs that occur, for messages.
CODECS = {0x55: "raw", 0x70: "dag-pb", 0x71: "dag-cbor", 0x0129: "dag-json", 0x72: "libp2p-key"}
#: The hash that holds the bytes themselves.
IDENTITY = 0x00
#: Longest CID that is read, in characters (an identity of 128 bytes in hexadecimal is shorter).
_LONGEST = 400
#: Multihash code → name, bytes of the digest, and how it is made.
HASHES: dict[int, tuple[str, int, Callable[[], Any]]] = {
    0x12: ("sha2-256", 32, hashlib.sha256),
    0x13: ("sha2-512", 64, hashlib.sha512),
    0x14: ("sha3-512", 64, hashlib.sha3_512),
    0x16: ("sha3-256", 32, hashlib.sha3_256),
    0xB220: ("blake2b-256", 32, lambda: hashlib.blake2b(digest_size=32)),
}
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True)
class Cid:
    """What a CID says.

    Attributes
    ----------
    text : as it was written
    version, codec : 0 or 1, and what kind of block it names
    hash_code, digest : the multihash
    """

    text: str
    version: int
    codec: int
    hash_code: int
    digest: bytes

    @property
    def key(self) -> tuple[int, bytes]:
        """What two spellings of one block's name share."""
        return self.hash_code, self.digest

    @property
    def checkable(self) -> bool:
        """Whether bytes can be compared with its hash here."""
        return self.hash_code in HASHES or self.hash_code == IDENTITY

    @property
    def described(self) -> str:
        """Version, codec and hash in words.

        >>> parse("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH").described
        'v0, dag-pb, sha2-256'
        """
        codec = CODECS.get(self.codec, f"codec {self.codec:#x}")
        known = HASHES.get(self.hash_code)
        name = "identity" if self.hash_code == IDENTITY else f"hash {self.hash_code:#x}"
        return f"v{self.version}, {codec}, {known[0] if known else name}"

    def hasher(self) -> Any:
        """Return a fresh hash object for bytes that come in pieces."""
        return HASHES[self.hash_code][2]()

    def check(self, data: bytes, where: str) -> None:
        """Make sure that a block is the one that is named.

        Raises
        ------
        ChecksumError : it is another one
        """
        if self.hash_code == IDENTITY:
            seen = data
        else:
            made = self.hasher()
            made.update(data)
            seen = made.digest()
        if seen != self.digest:
            raise ChecksumError(
                f"A block of {where}", self.digest.hex(), seen[:64].hex(), kind=self._hash_name()
            )

    def _hash_name(self) -> str:
        known = HASHES.get(self.hash_code)
        return known[0] if known else "identity"


def parse(text: str) -> Cid:
    """Read a CID.

    Raises
    ------
    CidError : it is none, and why

    Examples
    --------
    >>> parse("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e").digest.hex()[:16]
    'b94d27b9934d3e08'
    """
    if not text or len(text) > _LONGEST or not text.isascii():
        raise CidError(text, f"it has {len(text)} characters, or some that are not ASCII")
    if len(text) == 46 and text.startswith("Qm"):
        data = _number(text, text, _BASE58, 58)
        if len(data) != 34 or data[:2] != b"\x12\x20":
            raise CidError(text, "a v0 CID holds a sha2-256 of 32 bytes, and this one does not")
        return Cid(text, 0, DAG_PB, 0x12, data[2:])
    if text.startswith("Qm"):
        raise CidError(text, f"a v0 CID has 46 characters, and this one has {len(text)}")
    return from_bytes(_decoded(text), text)


def from_bytes(data: bytes, text: str = "", *, whole: bool = True) -> Cid:
    """Read a binary CID; it may be v0 only where no text is given (within blocks and archives)."""
    return read(data, text, whole=whole)[0]


def read(data: bytes, text: str = "", *, whole: bool = False) -> tuple[Cid, int]:
    """Read a binary CID at the front of some bytes; return it and how many it takes."""
    shown = text or data[:40].hex()
    if not text and data[:2] == b"\x12\x20":
        if len(data) < 34:
            raise CidError(shown, "it is cut off")
        return Cid(shown, 0, DAG_PB, 0x12, data[2:34]), 34
    version, at = varint(data, 0, shown)
    if version != 1:
        raise CidError(shown, f"its version is {version}, and 1 is the only one written like this")
    codec, at = varint(data, at, shown)
    hash_code, at = varint(data, at, shown)
    length, at = varint(data, at, shown)
    digest = data[at : at + length]
    known = HASHES.get(hash_code)
    if len(digest) != length or length > 128:
        raise CidError(shown, f"its hash should have {length} bytes, and has {len(digest)}")
    if known and length != known[1]:
        raise CidError(shown, f"a {known[0]} has {known[1]} bytes, and this one {length}")
    if not known and hash_code != IDENTITY and length < 20:
        raise CidError(shown, f"a hash of {length} bytes proves nothing")
    end = at + length
    if whole and end != len(data):
        raise CidError(shown, f"{len(data) - end} bytes follow its hash")
    return Cid(shown, 1, codec, hash_code, digest), end


def varint(data: bytes, at: int, shown: str = "") -> tuple[int, int]:
    """Read an unsigned varint; return the number and where the next thing begins."""
    value = 0
    for count in range(9):
        if at + count >= len(data):
            raise CidError(shown, "it is cut off")
        byte = data[at + count]
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            if byte == 0 and count:
                raise CidError(shown, "a number in it is longer than it need be")
            return value, at + count + 1
    raise CidError(shown, "a number in it has more than 9 bytes")


def _decoded(text: str) -> bytes:
    base, body = text[0], text[1:]
    if not body:
        raise CidError(text, "there is nothing after its first character")
    if base in "bB":
        wanted = body if base == "b" else body.lower()
        if base == "B" and body != body.upper():
            raise CidError(text, "'B' promises upper case")
        return _bits(text, wanted)
    if base in "fF":
        try:
            if body != (body.lower() if base == "f" else body.upper()):
                raise ValueError
            return bytes.fromhex(body) if body.isalnum() else b""
        except ValueError as error:
            raise CidError(text, "it is not hexadecimal after its first character") from error
    if base == "z":
        return _number(text, body, _BASE58, 58)
    if base == "k":
        return _number(text, body, _BASE36, 36)
    if base == "u":
        try:
            padded = body.replace("-", "+").replace("_", "/") + "=" * (-len(body) % 4)
            return base64.b64decode(padded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise CidError(text, "it is not base64url after its first character") from error
    raise CidError(text, f"it begins with {base!r}, which is no encoding that is read here")


def _number(text: str, body: str, alphabet: str, base: int) -> bytes:
    """Undo base58 or base36: one large number, with a zero byte for each leading zero digit."""
    value = 0
    for letter in body:
        digit = alphabet.find(letter)
        if digit < 0:
            raise CidError(text, f"the character {letter!r} does not occur in base{base}")
        value = value * base + digit
    zeros = len(body) - len(body.lstrip(alphabet[0]))
    return b"\0" * zeros + value.to_bytes((value.bit_length() + 7) // 8, "big")


def _bits(text: str, body: str) -> bytes:
    """Undo base32 without padding (RFC 4648, 6); the bits after the last byte must be zero."""
    value = 0
    for letter in body:
        digit = _BASE32.find(letter)
        if digit < 0:
            raise CidError(text, f"the character {letter!r} does not occur in base32")
        value = value << 5 | digit
    spare = len(body) * 5 % 8
    if spare >= 5 or value & ((1 << spare) - 1):
        raise CidError(text, "it ends within a byte (a character is missing, or one too many)")
    return (value >> spare).to_bytes(len(body) * 5 // 8, "big")
