"""One file, from the first of several places that has it: verified while it comes.

Where a transfer breaks off it goes on where it was, if the place proves that the file is still
the same; a proof that fails, or a hash that is wrong in the end, begins it anew once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import (
    ChecksumError,
    DownloadError,
    DownloadTooLargeError,
    FetchError,
    MissingFileError,
    WorkbenchError,
)
from workbench.models.car import Spool
from workbench.models.cid import DAG_PB, IDENTITY, RAW, Cid
from workbench.models.fetch import BrokenError, Fetcher, bucket_pieces
from workbench.models.part import HEAD_BYTES, Part, not_writable
from workbench.settings import without_credentials

if TYPE_CHECKING:
    import httpx

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_CAR = "application/vnd.ipld.car"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file may be had.

    Attributes
    ----------
    address : https://, s3://, gs://, or a path; it may hold credentials, and is not shown
    headers : sent to that server alone
    trusted : the settings name the server
    cid, path : of a file in IPFS, where the address is that of a gateway
    """

    address: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    trusted: bool = False
    cid: Cid | None = None
    path: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The address without credentials."""
        return without_credentials(self.address).removesuffix("?…")


@dataclass(frozen=True, slots=True)
class Item:
    """A file that is wanted.

    Attributes
    ----------
    name : its path below the model's folder
    places : where it may be had, in order
    sha256 : of the whole file, lower case; empty where nobody says
    size_bytes : of the whole file; None where nobody says
    git_oid : SHA-1 by which git names it; empty where nobody says
    """

    name: str
    places: tuple[Place, ...]
    sha256: str = ""
    size_bytes: int | None = None
    git_oid: str = ""


#: Looks at the first bytes of a file, and how many there are in all (None: not known yet).
Look = Callable[[bytes, int | None, str], None]
#: Told of bytes that came, and of how many there will be.
Meter = Callable[[int, int | None], None]


def transfer(fetcher: Fetcher, item: Item, part: Part, look: Look, meter: Meter) -> Place:
    """Fill a part from the first place that has the file; return that place.

    Raises
    ------
    ChecksumError, DownloadError, DownloadTooLargeError, UrlRefusedError, OfflineError,
    MissingFileError, MissingExtraError : no place has it; of several reasons the most telling
    WriteError, CancelledError : there is no point in asking others
    """
    failures: list[WorkbenchError] = []
    for place in item.places:
        # a disk, a bucket and a gateway of IPFS are read from their beginning each time
        part.lost = place.cid is not None or not place.address.startswith(("http://", "https://"))
        try:
            fetcher.tick()
            _from(fetcher, place, item, part, look, meter)
            part.finish()
            fetcher.whole_bytes += part.size
            return place
        except (FetchError, ChecksumError, MissingFileError) as error:
            if isinstance(error, DownloadError) and error.resumes:
                if part.lost:
                    error.hint = "It begins anew next time. Raise timeout_s= or DOWNLOAD_TIMEOUT."
                raise
            failures.append(error)
    if not failures:
        raise DownloadError(item.name, "no place is known that has it")
    raise telling(failures)


def telling(failures: Sequence[WorkbenchError]) -> WorkbenchError:
    """Return the reason that says most, and what the other places answered in its hint."""
    order = (ChecksumError, DownloadTooLargeError)
    first = next((e for kind in order for e in failures if isinstance(e, kind)), failures[0])
    others = [e for e in failures if e is not first]
    if others and not isinstance(first, ChecksumError | DownloadTooLargeError):
        first, others = failures[-1], list(failures[:-1])
    if others:
        first.hint = f"{first.hint} Also tried: {' '.join(e.message for e in others)}".strip()
    return first


def _from(fetcher: Fetcher, place: Place, item: Item, part: Part, look: Look, meter: Meter) -> None:
    """Fill a part from one place, and compare it with what is known of the file."""

    def begin(total: int | None) -> None:
        meter(part.size, total if item.size_bytes is None else item.size_bytes)

    for last in (False, True):
        fetcher.received_bytes = fetcher.whole_bytes
        if place.cid is not None:
            part.restart()
            _from_ipfs(fetcher, place, item, part, begin)
        elif place.address.startswith(("http://", "https://")):
            fetcher.retrying(
                place.shown,
                lambda: _from_web(fetcher, place, item, part, look, begin),
                lambda: part.size,
            )
        else:
            part.restart()
            _from_storage(fetcher, place, part, begin)
        if part.size <= HEAD_BYTES:
            look(part.head, part.size, place.shown)
        try:
            verify(item, part, place.shown)
            return
        except (ChecksumError, DownloadError):
            resumed, part.resumed = part.resumed, False
            if last or not resumed:
                part.restart()
                raise
            part.restart()  # a range that lied, or a beginning from elsewhere: once more, whole


def verify(item: Item, part: Part, shown: str) -> None:
    """Compare a whole file with what is known of it.

    Raises
    ------
    DownloadError : it has another size
    ChecksumError : it has another hash
    """
    if item.size_bytes is not None and part.size != item.size_bytes:
        short = part.size < item.size_bytes
        raise DownloadError(
            shown,
            f"{'it is cut off: ' if short else ''}it has {part.size:,} bytes; expected "
            f"{item.size_bytes:,}",
        )
    if item.sha256 and part.sha256 != item.sha256:
        raise ChecksumError(shown, item.sha256, part.sha256)
    if item.git_oid and not item.sha256:
        seen = git_oid(part.path)
        if seen != item.git_oid:
            raise ChecksumError(shown, item.git_oid, seen, kind="the git hash")


def git_oid(path: Path) -> str:
    """Return the SHA-1 by which git names a file (``git hash-object``)."""
    made = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            made.update(chunk)
    return made.hexdigest()


# ── from a server ─────────────────────────────────────────────────────────────────────────────


def _from_web(
    fetcher: Fetcher,
    place: Place,
    item: Item,
    part: Part,
    look: Look,
    begin: Callable[[int | None], None],
) -> None:
    """Send one request: for the rest of the file where that is safe, else for the whole."""
    here = hashlib.sha256(place.address.encode("utf-8", "surrogateescape")).hexdigest()
    same = part.origin == here and bool(part.validator)
    if part.size and not same and not item.sha256:
        part.restart()
    if item.size_bytes is not None and part.size >= item.size_bytes > 0:
        if part.size == item.size_bytes:
            return  # all of it was left by a killed pull; its hash tells
        part.restart()
    headers = dict(place.headers)
    if part.size:
        headers["range"] = f"bytes={part.size}-"
        if same:
            headers["if-range"] = part.validator
    asked_from = part.size
    fetcher.received_bytes = fetcher.whole_bytes + part.size
    with fetcher.open(place.address, headers, trusted=place.trusted) as response:
        total = _total(response, asked_from)
        if asked_from and total is None:  # it may not be continued
            part.restart()
            asked_from = 0
            fetcher.received_bytes = fetcher.whole_bytes
            if response.status_code != 200:
                raise BrokenError("the server answered with another range than was asked for", 0.0)
            total = _total(response, 0)
        elif asked_from:
            if same and _validator(response) not in ("", part.validator):
                part.restart()
                raise BrokenError("the file changed while it was fetched", 0.0)
            if part.total is not None and total not in (-1, part.total):
                part.restart()
                raise BrokenError("the file has another size than before", 0.0)
            part.resumed = True
        elif response.status_code != 200:
            raise DownloadError(place.shown, f"the server answers with {response.status_code}")
        part.note(here, _validator(response))
        _pour(fetcher, place, item, part, look, begin, response, total)


def _pour(
    fetcher: Fetcher,
    place: Place,
    item: Item,
    part: Part,
    look: Look,
    begin: Callable[[int | None], None],
    response: httpx.Response,
    total: int | None,
) -> None:
    looked = part.size > HEAD_BYTES
    total = part.total if total is not None and total < 0 else total
    part.total = total
    begin(total)
    for chunk in fetcher.pieces(response, place.shown):
        part.write(chunk)
        if not looked and part.size >= HEAD_BYTES:
            look(part.head, total, place.shown)
            looked = True
        if looked and item.size_bytes is not None:
            if total is not None and total != item.size_bytes:
                raise DownloadError(
                    place.shown, f"it has {total:,} bytes there; expected {item.size_bytes:,}"
                )
            if part.size > item.size_bytes:
                raise DownloadError(
                    place.shown, f"it has more than the {item.size_bytes:,} bytes expected"
                )
        begin(total)
    if total is not None and part.size < total:
        raise BrokenError(f"it is cut off: it ends after {part.size:,} of {total:,} bytes")


def _total(response: httpx.Response, start: int) -> int | None:
    """Return the size of the whole file; -1 where it is not told; None for a range that lies."""
    length = response.headers.get("content-length", "")
    promised = int(length) if length.isdigit() and len(length) < 19 else -1
    if response.status_code == 200:
        return promised if not start else None
    match = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if response.status_code != 206 or match is None or int(match[1]) != start:
        return None
    last = int(match[2])
    if match[3] == "*":
        return -1
    total = int(match[3])
    whole = last == total - 1 and (promised < 0 or promised == total - start)
    return total if whole else None


def _validator(response: httpx.Response) -> str:
    """Return what proves that a file is still the same: a strong ETag, or a date."""
    etag = str(response.headers.get("etag", ""))
    if etag:
        return "" if etag.startswith("W/") else etag
    return str(response.headers.get("last-modified", ""))


# ── from a disk, a bucket, IPFS ───────────────────────────────────────────────────────────────


def _from_storage(
    fetcher: Fetcher, place: Place, part: Part, begin: Callable[[int | None], None]
) -> None:
    if "://" in place.address:
        begin(None)
        for chunk in bucket_pieces(place.address, fetcher.tick):
            fetcher.tally(len(chunk), place.shown)
            part.write(chunk)
            begin(None)
        return
    path = Path(place.address)
    try:
        total = path.stat().st_size
        if not path.is_file():
            raise MissingFileError(str(path), "file", "is no regular file")
        with path.open("rb") as source:
            begin(total)
            while chunk := source.read(_CHUNK):
                fetcher.tick()
                fetcher.tally(len(chunk), place.shown)
                part.write(chunk)
                begin(total)
    except WorkbenchError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(str(path)) from error
    except OSError as error:
        raise MissingFileError(str(path), "file", f"cannot be read: {error.strerror}") from error


def _from_ipfs(
    fetcher: Fetcher, place: Place, item: Item, part: Part, begin: Callable[[int | None], None]
) -> None:
    """Ask a gateway, and believe nothing but hashes."""
    cid = place.cid
    assert cid is not None
    if cid.hash_code == IDENTITY and cid.codec == RAW and not place.path:
        part.write(cid.digest)  # the name is the file
        return
    if cid.codec == RAW and not place.path and cid.checkable:
        fetcher.retrying(place.shown, lambda: _raw_block(fetcher, place, cid, part, begin))
    elif cid.codec in (RAW, DAG_PB) and cid.checkable:
        try:
            fetcher.retrying(place.shown, lambda: _archive(fetcher, place, cid, part, begin))
        except _NoArchiveError as error:
            if not item.sha256:
                raise DownloadError(
                    place.shown,
                    "the gateway gives no archive of blocks, so that nothing can be checked",
                    "Give sha256=, or another gateway (IPFS_GATEWAYS).",
                ) from error
            _unproven(fetcher, place, part, begin)
        except DownloadError as error:
            if not item.sha256 or error.resumes:
                raise
            _unproven(fetcher, place, part, begin)  # a folder in shards, for one
    else:
        _unproven(fetcher, place, part, begin)  # the sha256, which is asked for, decides


class _NoArchiveError(Exception):
    """A gateway that answers with something else than an archive."""


def _raw_block(
    fetcher: Fetcher, place: Place, cid: Cid, part: Part, begin: Callable[[int | None], None]
) -> None:
    part.restart()
    fetcher.received_bytes = fetcher.whole_bytes
    made: Any = cid.hasher()
    headers = {"accept": "application/vnd.ipld.raw"}
    address = f"{place.address}?format=raw"
    with fetcher.open(address, headers, trusted=place.trusted) as response:
        begin(None)
        for chunk in fetcher.pieces(response, place.shown):
            made.update(chunk)
            part.write(chunk)
            begin(None)
    if made.digest() != cid.digest:
        raise ChecksumError(place.shown, cid.digest.hex(), made.hexdigest(), kind="the hash")


def _archive(
    fetcher: Fetcher, place: Place, cid: Cid, part: Part, begin: Callable[[int | None], None]
) -> None:
    """Fetch the blocks below a CID, and put the file together from those that are right."""
    part.restart()
    fetcher.received_bytes = fetcher.whole_bytes
    headers = {"accept": f"{_CAR}; version=1; order=dfs; dups=n"}
    address = f"{place.address}?format=car&dag-scope=entity"
    spooled = part.path.with_name(f"{part.path.name}.blocks")

    def chunks(response: httpx.Response) -> Any:
        for chunk in fetcher.pieces(response, place.shown):
            begin(None)
            yield chunk

    try:
        with spooled.open("w+b") as disk:
            spool = Spool(disk, place.shown, fetcher.rules.max_bytes)
            with fetcher.open(address, headers, trusted=place.trusted) as response:
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if response.status_code != 200 or kind != _CAR:
                    raise _NoArchiveError
                spool.fill(chunks(response))
            spool.pour(spool.find(cid, place.path), part.write, fetcher.tick)
    except OSError as error:
        if isinstance(error, WorkbenchError):
            raise
        raise not_writable(part.path.parent.parent, error) from error
    finally:
        spooled.unlink(missing_ok=True)


def _unproven(
    fetcher: Fetcher, place: Place, part: Part, begin: Callable[[int | None], None]
) -> None:
    """Take what the gateway has put together itself; only a sha256 can judge it."""

    def act() -> None:
        part.restart()
        with fetcher.open(place.address, trusted=place.trusted) as response:
            begin(None)
            for chunk in fetcher.pieces(response, place.shown):
                part.write(chunk)
                begin(None)

    fetcher.retrying(place.shown, act)
