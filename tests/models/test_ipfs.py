"""CIDs and archives, against names that others published; and gateways that lie."""

from __future__ import annotations

import base64
import hashlib
import io

import pytest
from faults import Faults, file, sha256

from workbench import errors
from workbench.models import cid, fetch, guard, lock
from workbench.models.car import Spool, blocks
from workbench.models.hub import ModelHub

# Published by others. "hello world": the API documentation of net-ipfs-http-client. "version 1 of
# my text" and the folder around it: IPFS Primer, "Wrap directories around content". "Hello IPFS":
# ipfs/kubo, test/sharness/t0124-gateway-ipns-record/README.md. index.html and its folder:
# ipfs/kubo, t0116-gateway-cache/README.md.
HELLO = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
TEXT, TEXT_FOLDER = (
    "QmZtmD2qt6fJot32nabSP3CUjicnypEBz7bHVDhPQt9aAy",
    "QmPvaEQFVvuiaYzkSVUp23iHTQeEUpDaJnP8U7C3PqE57w",
)
RAW_HELLO = "bafkreidfdrlkeq4m4xnxuyx6iae76fdm4wgl5d4xzsb77ixhyqwumhz244"
INDEX, INDEX_FOLDER = (
    "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am",
    "bafybeifq2rzpqnqrsdupncmkmhs3ckxxjhuvdcbvydkgvch3ms24k5lo7q",
)
EMPTY = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
EMPTY_FOLDER = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
PICTURE = {"model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet"}


# ── a small writer of blocks, for what is not published ───────────────────────────────────────


def number(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def pb(name: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return number(name << 3) + number(value)
    return number(name << 3 | 2) + number(len(value)) + value


def leaf(data: bytes) -> bytes:
    return pb(1, pb(1, 2) + (pb(2, data) if data else b"") + pb(3, len(data)))


def tree(children: list[tuple[bytes, int]], sizes: list[int] | None = None) -> bytes:
    """Return the node above (binary CID, size of the file below)."""
    links = b"".join(pb(2, pb(1, c) + pb(2, b"") + pb(3, n)) for c, n in children)
    sizes = [n for _, n in children] if sizes is None else sizes
    told = pb(1, 2) + pb(3, sum(sizes)) + b"".join(pb(4, n) for n in sizes)
    return links + pb(1, told)


def folder(children: dict[str, tuple[bytes, int]]) -> bytes:
    links = b"".join(
        pb(2, pb(1, c) + pb(2, n.encode()) + pb(3, size)) for n, (c, size) in children.items()
    )
    return links + pb(1, pb(1, 1))


def v0(block: bytes) -> bytes:
    return b"\x12\x20" + hashlib.sha256(block).digest()


def v1(block: bytes, codec: int = 0x70) -> bytes:
    return b"\x01" + number(codec) + b"\x12\x20" + hashlib.sha256(block).digest()


def text_of(binary: bytes) -> str:
    if binary[:1] == b"\x12":
        value, out = int.from_bytes(binary, "big"), ""
        while value:
            value, digit = divmod(value, 58)
            out = cid._BASE58[digit] + out
        return out
    return "b" + base64.b32encode(binary).decode().lower().rstrip("=")


def archive(*parts: tuple[bytes, bytes], root: bytes | None = None) -> bytes:
    """Return a CAR of (binary CID, block)."""
    named = b"\x00" + (parts[0][0] if root is None else root)
    head = b"\xa2\x65roots\x81\xd8\x2a\x58" + bytes([len(named)]) + named + b"\x67version\x01"
    body = b"".join(number(len(c) + len(b)) + c + b for c, b in parts)
    return number(len(head)) + head + body


def put_together(car: bytes, root: str, path: tuple[str, ...] = (), limit: int = 10**6) -> bytes:
    spool = Spool(io.BytesIO(), "the archive", limit)
    spool.fill([car[i : i + 7] for i in range(0, len(car), 7)])
    out = bytearray()
    spool.pour(spool.find(cid.parse(root), path), out.extend, lambda: None)
    return bytes(out)


# ── names ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "block"),
    [
        (HELLO, leaf(b"hello world")),
        (TEXT, leaf(b"version 1 of my text\n")),
        (EMPTY, leaf(b"")),
        (EMPTY_FOLDER, pb(1, pb(1, 1))),
        (RAW_HELLO, b"Hello IPFS\n"),
        (INDEX, b"hello\n"),
    ],
)
def test_a_published_name_is_that_of_its_block(name, block):
    told = cid.parse(name)
    told.check(block, "it")
    with pytest.raises(errors.ChecksumError, match="has sha2-256"):
        told.check(block + b"x", "it")


def test_one_block_may_be_written_in_every_base():
    digest = hashlib.sha256(b"Hello IPFS\n").digest()
    binary = b"\x01\x55\x12\x20" + digest
    value = int.from_bytes(binary, "big")
    base36 = base58 = ""
    left = value
    while left:
        left, digit = divmod(left, 36)
        base36 = cid._BASE36[digit] + base36
    while value:
        value, digit = divmod(value, 58)
        base58 = cid._BASE58[digit] + base58
    texts = [RAW_HELLO, "B" + RAW_HELLO[1:].upper(), "f" + binary.hex(), "F" + binary.hex().upper(),
             "z" + base58, "k" + base36, "u" + base64.urlsafe_b64encode(binary).decode().rstrip("=")]  # fmt: skip  # noqa: E501
    assert {cid.parse(text).key for text in texts} == {(0x12, digest)}


BAD = [
    "", "Qm", "Q" * 46, HELLO[:-1], HELLO + "x", HELLO.replace("g", "0"), "0" + HELLO[1:],
    RAW_HELLO[:-1], RAW_HELLO + "a", RAW_HELLO.replace("k", "1", 1), "b", "x" + RAW_HELLO[1:],
    "b" + RAW_HELLO[1:].upper(), "../../etc", "bafk/../x", "f0155" + "1220" + "ab" * 31,
    "f0155122" + "0" * 3, "f02551220" + "ab" * 32, "f01d5001220" + "ab" * 32, "f" + "80" * 12,
    "bafy€", "f0155" + "b" * 500,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_bad_name_is_refused_before_anything_is_dialled(text, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "resolve", lambda *_: pytest.fail("a name was looked up"))
    with pytest.raises((errors.CidError, errors.UrlRefusedError)) as caught:
        ModelHub(model_dir=tmp_path).pull(f"ipfs://{text}")
    assert caught.value.code in ("cid_invalid", "url_refused")
    with pytest.raises(errors.CidError, match="is not an IPFS CID"):
        cid.parse(text)


# ── archives ──────────────────────────────────────────────────────────────────────────────────


def test_a_published_folder_is_walked():
    block = leaf(b"version 1 of my text\n")
    above = folder({"mytextfile.txt": (v0(block), len(block))})
    assert text_of(v0(above)) == TEXT_FOLDER
    car = archive((v0(above), above), (v0(block), block))
    assert put_together(car, TEXT_FOLDER, ("mytextfile.txt",)) == b"version 1 of my text\n"
    with pytest.raises(errors.DownloadError, match="a folder with mytextfile"):
        put_together(car, TEXT_FOLDER)
    with pytest.raises(errors.DownloadError, match="has no 'other'"):
        put_together(car, TEXT_FOLDER, ("other",))


def test_a_published_folder_with_raw_leaves_is_walked():
    index = v1(b"hello\n", 0x55)
    above = folder({"index.html": (index, 6)})
    assert text_of(v1(above)) == INDEX_FOLDER
    car = archive((v1(above), above), (index, b"hello\n"))
    assert put_together(car, INDEX_FOLDER, ("index.html",)) == b"hello\n"


def of_three(kind=v1):
    """Return a file of three blocks, one of which occurs twice: its name, parts and bytes."""
    pieces = [b"a" * 1000, b"b" * 1000, b"a" * 1000, b"c" * 10]
    parts = [(v1(p, 0x55), p) for p in pieces]
    root = tree([(c, len(p)) for c, p in parts])
    return text_of(kind(root)), [(kind(root), root), *parts], b"".join(pieces)


@pytest.mark.parametrize("order", ["dfs", "reversed", "no duplicates", "with others"])
def test_blocks_may_come_in_any_order(order):
    name, parts, whole = of_three()
    if order == "reversed":
        parts = parts[::-1]
    elif order == "no duplicates":
        parts = parts[:3] + parts[4:]
    elif order == "with others":
        parts.insert(1, (v1(b"other", 0x55), b"other"))
    assert put_together(archive(*parts), name) == whole


def test_a_block_that_is_another_one_is_found():
    name, parts, _ = of_three()
    parts[2] = (parts[2][0], b"x" * 1000)
    with pytest.raises(errors.ChecksumError, match="has sha2-256"):
        put_together(archive(*parts), name)


@pytest.mark.parametrize("cut", [1, 500, 1100])
def test_an_archive_that_is_cut_off_is_found(cut):
    name, parts, _ = of_three()
    with pytest.raises(errors.DownloadError, match=r"ends within a block|lacks the block"):
        put_together(archive(*parts)[:-cut], name)


def test_sizes_that_lie_are_found():
    big = b"a" * 1000
    root = tree([(v1(big, 0x55), 1000)], [999])
    with pytest.raises(errors.DownloadError, match="do not add up"):
        put_together(archive((v1(root), root), (v1(big, 0x55), big)), text_of(v1(root)))


def test_a_small_archive_does_not_grow_without_end():
    block, size, parts = b"a" * 1000, 1000, [(v1(b"a" * 1000, 0x55), b"a" * 1000)]
    name = v1(block, 0x55)
    for _ in range(12):  # each node names the one below ten times: 10¹² kB
        node = tree([(name, size)] * 10)
        name, size = v1(node), size * 10
        parts.append((name, node))
    with pytest.raises(errors.DownloadTooLargeError):
        put_together(archive(*parts), text_of(name))


def test_nodes_of_nothing_are_not_walked_for_ever():
    empty = leaf(b"")
    parts, name = [(v1(empty), empty)], v1(empty)
    for _ in range(60):
        node = tree([(name, 0)] * 100)
        name = v1(node)
        parts.append((name, node))
    with pytest.raises(errors.DownloadError, match="do not add up"):
        put_together(archive(*parts), text_of(name))


@pytest.mark.parametrize("head", [b"", b"<html>", b"\x0a\xa1\x67version\x02", b"\xff" * 20])
def test_what_is_no_archive_is_named(head):
    with pytest.raises(errors.DownloadError, match=r"no archive|damaged|ends within"):
        list(blocks([head], "it"))


# ── gateways ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def gateways(monkeypatch):
    """Start two; the first stands for a node of one's own."""
    made = [Faults(), Faults()]
    monkeypatch.setenv("IPFS_GATEWAYS", ",".join(s.url for s in made))
    monkeypatch.setattr(fetch, "PAUSE_S", 0.01)
    monkeypatch.setattr(fetch, "TRIES", 1)
    yield made
    for server in made:
        server.stop()


@pytest.fixture
def hub(tmp_path):
    return ModelHub(model_dir=tmp_path / "shelf")


@pytest.fixture
def model(make_classifier, tmp_path):
    return make_classifier(tmp_path / "made.onnx", classes=3000).read_bytes()


def chunked(model: bytes, codec: int = 0x55):
    pieces = [model[i : i + 8192] for i in range(0, len(model), 8192)]
    parts = [(v1(p, codec), p) for p in pieces]
    root = tree([(c, len(p)) for c, p in parts])
    return text_of(v0(root)), [(v0(root), root), *parts]


CAR = {"content_type": "application/vnd.ipld.car; version=1"}


def take(hub, source, **options):
    return hub.pull(source, metadata=PICTURE, progress=False, **options)


def test_a_raw_block_is_compared_with_its_name(gateways, hub, model):
    name = text_of(v1(model, 0x55))
    gateways[0].routes[f"/ipfs/{name}"] = file(model, content_type="application/vnd.ipld.raw")
    handle = take(hub, f"ipfs://{name}")
    assert handle.path.read_bytes() == model
    assert gateways[0].asked[0].target.endswith("?format=raw")
    assert lock.read(hub.shelf.models)[handle.id].source == f"ipfs://{name}"
    assert gateways[1].asked == []


def test_a_file_of_many_blocks_is_checked_block_by_block(gateways, hub, model):
    name, parts = chunked(model)
    gateways[0].routes[f"/ipfs/{name}"] = file(archive(*parts), **CAR)
    assert take(hub, f"ipfs://{name}").path.read_bytes() == model
    assert "format=car" in gateways[0].asked[0].target


def test_a_file_in_a_folder_and_the_data_beside_it(gateways, hub, model):
    name, parts = chunked(model)
    above = folder({"net.onnx": (parts[0][0], len(model))})
    root = text_of(v1(above))
    whole = archive((v1(above), above), *parts)
    gateways[0].routes[f"/ipfs/{root}/net.onnx"] = file(whole, **CAR)
    handle = take(hub, f"ipfs://{root}/net.onnx")
    assert handle.id == "net"
    assert handle.path.read_bytes() == model
    assert name != root


def test_a_gateway_that_lies_is_passed_over(gateways, hub, model):
    name, parts = chunked(model)
    lie = [parts[0], (parts[1][0], b"x" * len(parts[1][1])), *parts[2:]]
    gateways[0].routes[f"/ipfs/{name}"] = file(archive(*lie), **CAR)
    gateways[1].routes[f"/ipfs/{name}"] = file(archive(*parts), **CAR)
    assert take(hub, f"ipfs://{name}").path.read_bytes() == model


@pytest.mark.parametrize("kind", ["raw", "car"])
def test_where_all_gateways_lie_nothing_is_left(gateways, hub, model, kind):
    name, parts = chunked(model)
    if kind == "raw":
        name, body, told = text_of(v1(model, 0x55)), model[::-1], {}
    else:
        body, told = archive(parts[0], (parts[1][0], b"no"), *parts[2:]), CAR
    for server in gateways:
        server.routes[f"/ipfs/{name}"] = file(body, **told)
    with pytest.raises(errors.ChecksumError):
        take(hub, f"ipfs://{name}")
    assert list(hub.shelf.models.iterdir()) == []


def test_without_an_archive_a_sha256_is_required(gateways, hub, model):
    name, _ = chunked(model)
    for server in gateways:
        server.routes[f"/ipfs/{name}"] = file(model, content_type="application/octet-stream")
    with pytest.raises(errors.DownloadError, match=r"no archive of blocks.*Give sha256="):
        take(hub, f"ipfs://{name}")
    handle = take(hub, f"ipfs://{name}", sha256=sha256(model))
    assert handle.path.read_bytes() == model


@pytest.mark.parametrize("kind", ["raw", "car", "unproven"])
def test_a_time_limit_leaves_nothing_that_is_not_taken_up(gateways, hub, model, kind):
    name, parts = chunked(model)
    body, known, told = archive(*parts), {}, CAR
    if kind == "raw":
        name, body, told = text_of(v1(model, 0x55)), model, {}
    elif kind == "unproven":
        body, known, told = model, {"sha256": sha256(model)}, {}

    def hanging(request):
        head = f"Content-Length: {len(body)}\r\n"
        head += "".join(f"Content-Type: {value}\r\n" for value in told.values())
        request.send(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body[: len(body) // 2])
        request.wait_until_hung_up()

    gateways[0].routes[f"/ipfs/{name}"] = hanging
    with pytest.raises(errors.DownloadError, match="longer than the limit") as caught:
        take(hub, f"ipfs://{name}", timeout_s=1.0, **known)
    assert "begins anew" in caught.value.hint
    assert "taken up" not in str(caught.value)
    assert list(hub.shelf.models.iterdir()) == []
    assert gateways[1].asked == []


def test_a_codec_that_cannot_be_checked_needs_a_sha256(gateways, hub, model):
    name = text_of(v1(model, 0x71))
    with pytest.raises(errors.CidError, match=r"dag-cbor.*give sha256="):
        take(hub, f"ipfs://{name}")
    assert gateways[0].asked == []
    gateways[0].routes[f"/ipfs/{name}"] = file(model)
    assert take(hub, f"ipfs://{name}", sha256=sha256(model)).path.read_bytes() == model


def test_a_gateway_may_not_lead_elsewhere(gateways, hub, model, monkeypatch):
    name = text_of(v1(model, 0x55))
    stranger = Faults()
    stranger.routes[f"/ipfs/{name}"] = file(model)
    for server in gateways:
        server.routes[f"/ipfs/{name}"] = lambda r: r.answer(
            b"", "302 Found", location=f"{stranger.url}/ipfs/{name}"
        )
    with pytest.raises(errors.UrlRefusedError):
        take(hub, f"ipfs://{name}")
    assert stranger.asked == []
    stranger.stop()
