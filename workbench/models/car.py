"""Files out of IPFS archives (CAR), each block compared with its name.

An archive may hold its blocks in any order, once or many times, and others besides: they are
kept on disk with an index, and the file is put together by walking from the root that was asked
for. Nothing of the archive is believed but what its hashes prove.

Source
------
https://ipld.io/specs/transport/car/carv1/ (the archive), https://ipld.io/specs/codecs/dag-pb/spec/
(PBNode: Links 2, Data 1; PBLink: Hash 1, Name 2, Tsize 3), and
https://specs.ipfs.tech/unixfs/ (Data: Type 1, Data 2, filesize 3, blocksizes 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from workbench.errors import CidError, DownloadError, DownloadTooLargeError
from workbench.models.cid import DAG_PB, IDENTITY, RAW, Cid, from_bytes, read, varint

#: Largest block, in bytes. Nodes exchange at most 2 MiB; archives may carry a little more
#: (https://specs.ipfs.tech/bitswap-protocol/, "Block Sizes").
BLOCK_BYTES = 8 << 20
#: Deepest tree that is walked: 174 links a node, as Kubo makes them, reach any size in 8.
_DEEPEST = 64
_VERSION_1 = b"\x67version\x01"
#: UnixFS types.
_RAW, _DIRECTORY, _FILE = 0, 1, 2
_TYPES = {3: "metadata", 4: "a symbolic link", 5: "a directory in shards"}


class _Feed:
    """Bytes that come in pieces, taken in the lengths that are asked for."""

    def __init__(self, chunks: Iterable[bytes], where: str) -> None:
        self.chunks, self.where = iter(chunks), where
        self.have = bytearray()

    def more(self) -> bool:
        chunk = next(self.chunks, None)
        if chunk is None:
            return False
        self.have += chunk
        return True

    def take(self, length: int) -> bytes:
        while len(self.have) < length:
            if not self.more():
                raise DownloadError(self.where, "the archive ends within a block")
        taken = bytes(self.have[:length])
        del self.have[:length]
        return taken

    def length(self) -> int | None:
        """Read the length of what comes next; None at the end."""
        while not self.have:
            if not self.more():
                return None
        while self.have[-1] >= 128 and len(self.have) < 9 and self.more():
            pass
        value, used = varint(bytes(self.have[:9]), 0, "a length in the archive")
        del self.have[:used]
        return value


def blocks(chunks: Iterable[bytes], where: str) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blocks of an archive as it comes, each compared with its name.

    Raises
    ------
    DownloadError : it is no archive of version 1, or it is cut off
    ChecksumError : a block is not what its name says
    """
    feed = _Feed(chunks, where)
    try:
        head = feed.length()
        if head is None or not 10 <= head <= BLOCK_BYTES or _VERSION_1 not in feed.take(head):
            raise DownloadError(where, "what came is no archive of blocks (CAR, version 1)")
        while (length := feed.length()) is not None:
            if not 1 < length <= BLOCK_BYTES:
                raise DownloadError(where, f"a block of the archive has {length:,} bytes")
            section = feed.take(length)
            cid, used = read(section)
            if cid.checkable:
                cid.check(section[used:], where)
                yield cid, section[used:]
    except CidError as error:
        raise DownloadError(where, f"the archive is damaged ({error.reason})") from error


@dataclass(frozen=True, slots=True)
class Node:
    """A block of a file or a folder.

    Attributes
    ----------
    kind : "file" or "folder"
    data : the bytes that it holds itself
    links : name and CID of each child
    sizes : bytes of the file below each child
    size : bytes of the file, itself and below
    """

    kind: str
    data: bytes = b""
    links: tuple[tuple[str, Cid], ...] = ()
    sizes: tuple[int, ...] = ()
    size: int = 0


@dataclass(slots=True)
class Spool:
    """Blocks on disk, by name.

    Attributes
    ----------
    disk : open for writing and reading; empty at first
    where : the archive, for messages
    limit_bytes : of all blocks together
    """

    disk: IO[bytes]
    where: str
    limit_bytes: int
    places: dict[tuple[int, bytes], tuple[int, int]] = field(default_factory=dict)
    end: int = 0

    def fill(self, chunks: Iterable[bytes]) -> None:
        """Keep every block of an archive."""
        for cid, data in blocks(chunks, self.where):
            if cid.key in self.places:
                continue
            if self.end + len(data) > self.limit_bytes:
                raise DownloadTooLargeError(self.where, self.end + len(data), self.limit_bytes)
            self.disk.seek(self.end)
            self.disk.write(data)
            self.places[cid.key] = (self.end, len(data))
            self.end += len(data)

    def block(self, cid: Cid) -> bytes:
        """Return a block.

        Raises
        ------
        DownloadError : the archive did not hold it
        """
        if cid.hash_code == IDENTITY:
            return cid.digest
        if cid.key not in self.places:
            raise DownloadError(
                self.where,
                f"the archive lacks the block {cid.digest.hex()[:16]}… that the file needs",
            )
        offset, length = self.places[cid.key]
        self.disk.seek(offset)
        return self.disk.read(length)

    def node(self, cid: Cid) -> Node:
        """Read a block as a part of a file, or as a folder."""
        data = self.block(cid)
        if cid.codec == RAW:
            return Node("file", data, size=len(data))
        if cid.codec != DAG_PB:
            raise DownloadError(self.where, f"a block of another kind ({cid.described})")
        try:
            return _unixfs(data)
        except (ValueError, IndexError, CidError) as error:
            reason = error.reason if isinstance(error, CidError) else error
            raise DownloadError(self.where, f"a block cannot be read ({reason})") from error

    def find(self, root: Cid, path: Sequence[str]) -> Cid:
        """Walk from a folder down to a file."""
        here = root
        for name in path:
            node = self.node(here)
            found = next((cid for label, cid in node.links if label == name), None)
            if node.kind != "folder" or found is None:
                known = ", ".join(sorted(label for label, _ in node.links)[:12]) or "nothing"
                raise DownloadError(self.where, f"it has no {name!r}; it has {known}")
            here = found
        return here

    def pour(self, root: Cid, write: Callable[[bytes], None], tick: Callable[[], None]) -> None:
        """Write the file below a root, part by part; its declared sizes must hold."""
        node = self.node(root)
        if node.kind == "folder":
            known = ", ".join(sorted(label for label, _ in node.links)[:12]) or "nothing"
            raise DownloadError(
                self.where, f"it is a folder with {known}", "Name the file: ipfs://CID/file.onnx."
            )
        if node.size > self.limit_bytes:
            raise DownloadTooLargeError(self.where, node.size, self.limit_bytes)
        self._pour(node, node.size, write, tick, 0)

    def _pour(
        self,
        node: Node,
        size: int,
        write: Callable[[bytes], None],
        tick: Callable[[], None],
        depth: int,
    ) -> None:
        tick()
        inner = node.kind == "file" and len(node.sizes) == len(node.links)
        if not inner or depth > _DEEPEST or node.size != size:
            raise DownloadError(self.where, "the sizes that its blocks declare do not add up")
        if len(node.data) + sum(node.sizes) != size or 0 in node.sizes:
            raise DownloadError(self.where, "the sizes that its blocks declare do not add up")
        if node.data:
            write(node.data)
        for (_, cid), below in zip(node.links, node.sizes, strict=True):
            self._pour(self.node(cid), below, write, tick, depth + 1)


def _unixfs(block: bytes) -> Node:
    """Read a PBNode and the UnixFS message in it."""
    links, message = [], b""
    for number, value in _fields(block):
        if number == 2 and isinstance(value, bytes):
            cid, name = b"", ""
            for inner, told in _fields(value):
                if inner == 1 and isinstance(told, bytes):
                    cid = told
                elif inner == 2 and isinstance(told, bytes):
                    name = told.decode("utf-8")
            links.append((name, from_bytes(cid)))
        elif number == 1 and isinstance(value, bytes):
            message = value
    kind, data, size, sizes = -1, b"", None, []
    for number, value in _fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            data = value
        elif number == 3 and isinstance(value, int):
            size = value
        elif number == 4 and isinstance(value, int):
            sizes.append(value)
    if kind == _DIRECTORY:
        return Node("folder", links=tuple(links))
    if kind not in (_RAW, _FILE):
        raise ValueError(f"it is {_TYPES.get(kind, 'of no known type')}, which is not read here")
    whole = len(data) + sum(sizes) if size is None else size
    return Node("file", data, tuple(links), tuple(sizes), whole)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message: number and value."""
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        if tag & 7 == 0:
            value, at = _number(data, at)
            yield tag >> 3, value
        elif tag & 7 == 2:
            length, at = _number(data, at)
            if at + length > len(data):
                raise ValueError("a field is longer than its block")
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            raise ValueError("a field of a kind that does not occur in it")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        byte = data[at + count]
        value |= (byte & 127) << (7 * count)
        if byte < 128:
            return value, at + count + 1
    raise ValueError("a number has more than 10 bytes")
