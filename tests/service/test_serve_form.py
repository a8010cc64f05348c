"""The forms of an input, what is refused of each, and the limits, exact to the byte."""

from __future__ import annotations

import base64
import gzip
import json
import random
import socket
import threading
import tracemalloc
import zlib

import numpy as np
import pytest

from workbench import errors
from workbench.service.admission import ClientGoneError
from workbench.service.body import (
    MOST_BARE_BYTES,
    MOST_ESCAPES,
    decompressed,
    is_deep,
    parse_json,
    without_strings,
)
from workbench.service.policy import DEEPEST, MARGIN_BYTES, Policy
from workbench.service.room import Room

EXECUTE = "/api/inference/execute"
LIMIT = 3_000


@pytest.fixture(scope="module")
def narrow(start):
    """Return a service that takes pictures of 3,000 bytes, two at a time."""
    return start(max_image_bytes=LIMIT, max_batch=2)


def top(response):
    assert response.status_code == 200, response.text
    return response.json()["predictions"][0]["label"]


def code(response):
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"]


def test_a_picture_in_every_form_gives_the_same_answer(service, red, png):
    post = service.client.post
    bare = base64.b64encode(png).decode()
    answers = [
        service.execute(red),
        service.execute(bare),
        post(EXECUTE, data={"model_id": "colours"}, files={"file": ("a.png", png, "image/png")}),
        post(EXECUTE, params={"model_id": "colours"}, content=png,
             headers={"Content-Type": "image/png"}),
    ]  # fmt: skip
    assert {top(answer) for answer in answers} == {"red"}
    probabilities = {a.json()["predictions"][0]["probability"] for a in answers}
    assert len(probabilities) == 1


def test_options_come_with_every_form(service, red, png):
    post = service.client.post
    told = {"model_id": "colours", "top_k": "2", "timeout_ms": "20000"}
    answers = [
        service.execute(red, options={"top_k": 2, "timeout_ms": 20000}),
        post(EXECUTE, data=told, files={"file": png}),
        post(EXECUTE, params=told, content=png, headers={"Content-Type": "image/png"}),
    ]
    assert [len(a.json()["predictions"]) for a in answers] == [2, 2, 2]


@pytest.mark.parametrize("path", ["execute", "batch", "jobs"])
def test_a_query_beside_json_is_refused_rather_than_passed_over(service, red, path):
    inputs = {"input": {"data": red}} if path == "execute" else {"inputs": [{"data": red}]}
    response = service.client.post(
        f"/api/inference/{path}?top_k=1", json={"model_id": "colours", **inputs}
    )
    assert code(response) == (400, "bad_request")
    assert response.json()["error"]["message"].startswith("The query is 'top_k=1'; expected none")


def test_a_body_without_a_type_or_with_curls_is_json(service, red):
    body = json.dumps({"model_id": "colours", "input": {"data": red}})
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
        assert top(service.client.post(EXECUTE, content=body, headers=headers)) == "red"


@pytest.mark.parametrize("batch_axis", [True, False])
def test_a_ready_tensor_is_classified(service, batch_axis):
    tensor = np.zeros((1, 3, 8, 8))
    tensor[0, 1] = 1.0
    data = tensor if batch_axis else tensor[0]
    body = {"model_id": "colours", "input": {"type": "tensor", "data": data.tolist()}}
    assert top(service.client.post(EXECUTE, json=body)) == "green"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([[[1, 2], [3]]], (400, "bad_request")),
        ([["a"]], (400, "bad_request")),
        ([[[[1e39] * 8] * 8] * 3], (400, "bad_request")),
        ("text", (400, "bad_request")),
        (None, (400, "bad_request")),
        ([[[[1.0] * 8] * 8] * 4], (422, "input_mismatch")),
        ([[[[1.0] * 8] * 8] * 3] * 2, (422, "input_mismatch")),
        ([1.0], (422, "input_mismatch")),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(service, data, expected):
    body = {"model_id": "colours", "input": {"type": "tensor", "data": data}}
    assert code(service.client.post(EXECUTE, json=body)) == expected


def test_text_waits_for_a_model_that_takes_it(service):
    body = {"model_id": "colours", "input": {"type": "text", "data": "a cat"}}
    assert code(service.client.post(EXECUTE, json=body)) == (422, "model_unsupported_inputs")


@pytest.mark.parametrize(
    "data",
    [
        "/etc/passwd", "/tmp/abc", "./cat.png", "../cat.png", "~/cat.png", "cat.jpg",
        "C:\\cat.png", "file:///etc/passwd", "https://example.org/cat.png",
        "http://127.0.0.1/cat", "s3://bucket/cat", "ftp://x/y", "\\\\host\\share\\cat",
        7, None, ["data:"], {"path": "/etc/passwd"},
    ],
)  # fmt: skip
def test_a_path_or_an_address_is_never_followed(service, data):
    assert code(service.execute(data)) == (400, "bad_request")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", (400, "base64_invalid")),
        ("abc", (400, "base64_invalid")),
        ("ab-_", (400, "base64_invalid")),
        ("ab c", (400, "base64_invalid")),
        ("data:image/png,abc", (400, "base64_invalid")),
        ("data:image/png;base64,abc", (400, "base64_invalid")),
        ("aGVsbG8gd29ybGQh", (422, "not_an_image")),
        (base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode(), (422, "corrupt_image")),
        (base64.b64encode(b"8BPS\0\1" + b"\0" * 40).decode(), (415, "unsupported_format")),
    ],
)
def test_what_is_no_picture_is_told_apart(service, data, expected):
    assert code(service.execute(data)) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"", b"  ", b"{", b"[]", b'"x"', b"null", b"{}", b'{"model_id": "colours"}', b"\xff{}",
        b'{"model_id": "colours", "input": {"data": NaN}}',
        b'{"model_id": "colours", "input": {"data": -Infinity}}',
        b'{"model_id": 7, "input": {"data": "x"}}',
        b'{"model_id": "", "input": {"data": "x"}}',
        b'{"model_id": "colours", "input": {"data": "x"}, "path": "y"}',
        b'{"model_id": "colours", "input": {"type": "file", "data": "x"}}',
        b'{"model_id": "colours", "input": {"data": "x"}, "options": {"top_k": 0}}',
        b'{"model_id": "colours", "input": {"data": "x"}, "options": {"top_k": "5"}}',
        b'{"model_id": "colours", "input": {"data": "x"}, "options": {"top_k": true}}',
        b'{"model_id": "colours", "input": {"data": "x"}, "options": {"timeout_ms": 0}}',
        b'{"model_id": "colours", "input": {"data": "x"}, "options": {"timeout_ms": 1e999}}',
        b'{"model_id": "colours", "input": {"data": "x"}, "options": {"timeout_ms": 1e9}}',
        b'{"model_id": "colours", "input": {"type": "tensor", "data": [1e999]}}',
        b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000,
        b'{"model_id": "colours", "input": {"type": "tensor", "data": ' + b"[" * 40 + b"1"
        + b"]" * 40 + b"}}",
    ],
)  # fmt: skip
def test_a_body_that_says_nothing_sensible_is_a_bad_request(service, body):
    headers = {"Content-Type": "application/json"}
    assert code(service.client.post(EXECUTE, content=body, headers=headers)) == (400, "bad_request")


def test_the_message_names_the_field_and_what_was_expected(service, red):
    said = service.execute(red, options={"top_k": 0}).json()["error"]["message"]
    assert said == "options.top_k is 0; expected greater than or equal to 1."
    said = service.client.post(EXECUTE, json={"model_id": "colours"}).json()["error"]["message"]
    assert said == "input is 'missing'; expected a value."


def test_depth_is_counted_outside_strings():
    at_limit = b"[" * DEEPEST + b"]" * DEEPEST
    assert not is_deep(at_limit)
    assert is_deep(b"[" + at_limit + b"]")
    assert is_deep(b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1))
    assert not is_deep(without_strings(b'["' + b"[" * 100 + b'", "\\"' + b"{" * 100 + b'"]'))
    assert not is_deep(b"[" + b"[]," * 50 + b"1]")


def test_strings_are_cut_out_wherever_their_marks_lie(monkeypatch):
    """Bodies are looked through in pieces, so a mark may lie on either side of each border."""
    body = b'{"a\\\\":["\\\\\\"[","",1,"\\n\\"]"],"b\\"":{}}\\'
    for size in range(2, len(body) + 1):
        monkeypatch.setattr("workbench.service.body._LOOKED_BYTES", size)
        assert without_strings(body) == b"{:[,,1,],:{}}\\"
    assert without_strings(b'[1,"cut off [') == b"[1,"


@pytest.mark.parametrize("end", [b"", b"\\"], ids=["cut", "cut in an escape"])
def test_a_string_without_an_end_is_looked_at_once(service, end):
    """What looked for its end from each quotation mark in it took hours of a megabyte."""
    body = b'{"a":"' + b'\\"' * 400_000 + b"[" * 40 + end
    assert without_strings(body) == b"{:"  # the rest of it is a string
    response = service.client.post(EXECUTE, content=body)
    assert code(response) == (400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 1_100_000 + b"1]",
        b"[" + b"1," * 2_002_000 + b"1]",
        b'{"a":' * 1_000_001,
        b"{" + b'"":1,' * 1_001_000 + b'"":1}',
        b'""' * 2_002_000,
        b'{"a":"' + b"\\/" * (MOST_ESCAPES + 1) + b'"}',
    ],
    ids=["lists", "numbers", "objects", "names", "strings", "escapes"],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(service, body):
    assert code(service.client.post(EXECUTE, content=body)) == (413, "input_too_large")


def test_as_many_values_as_are_allowed_are_parsed():
    told = {"model_id": "colours", "input": {"type": "tensor", "data": [0.5] * 2_000_000}}
    assert len(parse_json(json.dumps(told).encode())["input"]["data"]) == 2_000_000


def test_brackets_are_no_values():
    rows = [[[0.5] * 16] * 4_161] * 30  # 1,997,280 values, and 124,861 lists
    assert parse_json(json.dumps({"input": {"data": rows}}).encode())["input"]["data"] == rows


def test_numbers_without_an_end_to_their_digits_are_refused_before_they_are_parsed(service):
    """What has 4,299 digits each took seconds, in which nobody else was answered."""
    body = b"[" + b",".join([b"9" * 4_299] * 10_000) + b"]"
    refused = service.client.post("/api/inference/batch", content=body)
    assert code(refused) == (413, "input_too_large")
    assert "outside of its strings" in refused.json()["error"]["message"]
    assert "/v2" in refused.json()["error"]["message"]
    at_limit = b"1" + b" " * (MOST_BARE_BYTES - 1)
    assert parse_json(at_limit) == 1
    with pytest.raises(errors.InputTooLargeError):
        parse_json(at_limit + b" ")


def test_numbers_are_read_as_exactly_as_python_reads_them():
    chance = random.Random(1)
    floats = [chance.uniform(-1, 1) * 10.0 ** chance.randrange(-320, 300) for _ in range(20_000)]
    assert parse_json(json.dumps(floats).encode()) == floats
    whole = [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 10**40]
    assert parse_json(json.dumps(whole).encode()) == whole
    assert [type(one) for one in parse_json(b"[1, 1.0, 1e2]")] == [int, float, float]


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "[-Infinity]", "[1,]", "{1:2}", "'a'", "01"])
def test_what_only_other_parsers_take_is_no_json(text):
    with pytest.raises(errors.BadRequestError, match="no JSON"):
        parse_json(text.encode())


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("batch", {"model_id": "colours", "inputs": [{}] * 300_000}, "at most 1,000 items"),
        ("jobs", {"model_id": "colours", "inputs": [{}] * 300_000}, "at most 1,000 items"),
        ("execute", {str(i): 1 for i in range(100_000)}, "at most 100 fields"),
        ("execute", {"input": {str(i): 1 for i in range(100_000)}}, "at most 100 fields"),
        ("preload", {"metadata": {str(i): 1 for i in range(50_000)}}, "at most 100 fields"),
    ],
)
def test_a_crowd_gets_one_error_instead_of_one_each(service, path, body, words):
    response = service.client.post(f"/api/inference/{path}", json=body)
    assert code(response) == (400, "bad_request")
    assert words in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '"\\uDC00x"', '{"\\ud83d":1}', '["\\ud83dx\\ude00"]']
)
def test_half_of_a_surrogate_pair_is_no_text(service, text):
    with pytest.raises(errors.BadRequestError, match="half a character"):
        parse_json(text.encode())
    response = service.client.post(EXECUTE, content=text.encode())
    assert code(response) == (400, "bad_request")


def test_a_whole_pair_and_what_only_looks_like_half_of_one_are_text():
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse_json(b'"\\\\ud800"') == "\\ud800"


def test_words_about_a_body_are_no_python(service):
    sent = [
        b'{"a": 1' + b"0" * 5_000 + b"}",
        b'{"model_id": "colours", "input": {"data": "x"}, "options": 3}',
        b"\xff\xfe",
    ]
    for body in sent:
        response = service.client.post(EXECUTE, content=body)
        assert code(response) == (400, "bad_request")
        for word in ("set_int_max", "instance of", "b'", 'b"', "dictionary"):
            assert word not in response.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "audio/wav", "video/mp4"])
def test_other_types_of_body_are_refused(service, kind):
    response = service.client.post(EXECUTE, content=b"x", headers={"Content-Type": kind})
    assert code(response) == (415, "unsupported_media_type")


PACKED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}


def packed(service, coding, data, kind="application/json"):
    headers = {"Content-Type": kind, "Content-Encoding": coding}
    return service.client.post(address(kind), content=data, headers=headers)


def address(kind):
    return EXECUTE if kind == "application/json" else f"{EXECUTE}?model_id=colours"


@pytest.mark.parametrize("coding", PACKED)
def test_a_compressed_body_is_opened(service, coding, red, png):
    body = json.dumps({"model_id": "colours", "input": {"data": red}}).encode()
    for data, kind in ((body, "application/json"), (png, "image/png")):
        response = packed(service, coding, PACKED[coding](data), kind)
        assert response.json()["predictions"][0]["label"] == "red"


def test_other_compressions_are_refused(service):
    for coding in ("br", "zstd", "gzip, gzip", "é".encode("latin-1")):
        assert code(packed(service, coding, b"x")) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"",
        gzip.compress(b"{}")[:-1],
        gzip.compress(b"{}") + b"x",
        gzip.compress(b"{}") + zlib.compress(b"{}"),
        zlib.compress(b"{}") * 2,
        gzip.compress(b"{}")[:-1] + gzip.compress(b" "),
    ],
    ids=["other", "empty", "cut", "more", "another kind", "twice", "cut in between"],
)
def test_damaged_compression_is_a_bad_request(service, data):
    assert code(packed(service, "gzip", data)) == (400, "bad_request")


def test_gzip_may_come_in_members(service, red):
    body = json.dumps({"model_id": "colours", "input": {"data": red}}).encode()
    parts = [gzip.compress(body[at : at + 7]) for at in range(0, len(body), 7)]
    assert top(packed(service, "gzip", b"".join(parts))) == "red"
    large = random.Random(1).randbytes(200_000)
    for size in (1, 16_384, 65_536, 150_000):
        members = gzip.compress(large[:size]) + gzip.compress(b"") + gzip.compress(large[size:])
        assert opened(members, len(large)) == large
    crowd = gzip.compress(b" ") * 10_001
    assert code(packed(service, "gzip", crowd)) == (400, "bad_request")


def test_what_a_body_opens_to_counts_as_a_body_at_hand(start, monkeypatch):
    running = start()
    running.client.get("/health")
    monkeypatch.setattr(type(running.desk.policy), "held_bytes", 3_000_000)
    small = gzip.compress(b" " * 2_000_000)
    assert len(small) < 3_000
    assert code(packed(running, "gzip", small)) == (400, "bad_request")  # it is empty JSON
    full = packed(running, "gzip", gzip.compress(b" " * 3_000_001))
    assert code(full) == (503, "queue_full")
    assert int(full.headers["retry-after"]) >= 1
    assert code(packed(running, "gzip", small)) == (400, "bad_request")  # there is room again


def test_room_is_taken_before_anything_is_opened_and_is_free_again():
    room = Room(Policy())
    share, other, data = room.share(), room.share(), gzip.compress(bytes(1_000_000))
    assert opened(data, 1_000_000, share) == bytes(1_000_000)
    assert room.held_bytes == 1_000_000
    other.take(room.policy.held_bytes - 1_500_000)
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(errors.QueueFullError):
        opened(bomb, 100_000_000, share)
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()
    share.close()
    share.close()
    other.close()
    assert room.held_bytes == 0
    with pytest.raises(ClientGoneError):  # a thread that goes on after its request holds nothing
        opened(data, 1_000_000, share)
    assert room.held_bytes == 0


def test_room_is_counted_right_by_many_threads():
    room = Room(Policy())

    def use() -> None:
        share = room.share()
        for _ in range(2_000):
            share.take(3)
            share.give(1)
        share.close()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert room.held_bytes == 0


def opened(data, limit_bytes, share=None):
    too_large = errors.InputTooLargeError("The body", "more", "less")
    return decompressed(data, limit_bytes, too_large, share or Room(Policy()).share())


def test_a_bomb_is_too_large_and_takes_no_memory(service):
    limit = service.desk.policy.json_bytes()
    bomb = gzip.compress(bytes(20 * limit))
    assert len(bomb) < limit / 10
    assert code(packed(service, "gzip", bomb)) == (413, "input_too_large")
    tracemalloc.start()
    with pytest.raises(errors.InputTooLargeError):
        opened(bomb, limit)
    assert tracemalloc.get_traced_memory()[1] < 3 * limit
    tracemalloc.stop()


def test_the_limit_holds_to_the_byte_once_it_is_decompressed(start):
    running = start(max_image_bytes=1_000)
    limit = running.desk.policy.max_image_bytes
    for size, expected in ((limit, "not_an_image"), (limit + 1, "image_too_large")):
        assert code(packed(running, "gzip", gzip.compress(bytes(size)), "image/png"))[1] == expected


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({"model_id": "colours"}, {}),
        ({}, {"file": b"x"}),
        ({"model_id": "colours", "top_k": "many"}, {"file": b"x"}),
        ({"model_id": "colours", "top_k": "0"}, {"file": b"x"}),
        ({"model_id": "colours", "colour": "red"}, {"file": b"x"}),
        ({"model_id": "colours"}, {"one": b"x", "two": b"y"}),
        ({f"f{i}": "x" for i in range(20)}, {"file": b"x"}),
    ],
)
def test_a_form_that_says_nothing_sensible_is_a_bad_request(service, fields, files):
    boundary = "workbench"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
             for k, v in fields.items()]  # fmt: skip
    parts += [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"; filename="a"\r\n\r\n'
              .encode() + v + b"\r\n" for k, v in files.items()]  # fmt: skip
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert code(service.client.post(EXECUTE, content=body, headers=headers)) == (400, "bad_request")


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_form_that_is_none_is_a_bad_request(service, header):
    response = service.client.post(EXECUTE, content=b"x", headers={"Content-Type": header})
    assert code(response) == (400, "bad_request")
    assert "expected multipart/form-data with its boundary" in response.json()["error"]["message"]


# ── limits ────────────────────────────────────────────────────────────────────────────────────


def raw(running, body: bytes, *, declared: int | None, kind: str) -> tuple[int, str]:
    """Send a body byte by byte as it is, with or without its length, and return what came."""
    head = f"POST {address(kind)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=180) as sock:
        if declared is not None:
            sock.sendall(f"{head}Content-Length: {declared}\r\n\r\n".encode() + body)
        else:
            sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            half = len(body) // 2
            for part in (body[:half], body[half:], b""):
                sock.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        answer = b""
        while b"}" not in answer.partition(b"\r\n\r\n")[2]:
            more = sock.recv(65536)
            if not more:
                break
            answer += more
    status = int(answer.split()[1])
    return status, json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_raw_picture_is_limited_to_the_byte(narrow, chunked):
    for size, expected in ((LIMIT, (422, "not_an_image")), (LIMIT + 1, (413, "image_too_large"))):
        declared = None if chunked else size
        assert raw(narrow, b"x" * size, declared=declared, kind="image/png") == expected


@pytest.mark.parametrize("chunked", [True, False])
def test_a_json_body_is_limited_to_the_byte(narrow, chunked):
    most = LIMIT // 3 * 4 * 33 // 32 + MARGIN_BYTES
    for size, expected in ((most, (400, "bad_request")), (most + 1, (413, "input_too_large"))):
        body = b'{"x": "' + b"y" * (size - 9) + b'"}'
        assert len(body) == size
        declared = None if chunked else size
        assert raw(narrow, body, declared=declared, kind="application/json") == expected


def test_a_length_that_is_declared_too_large_is_refused_before_a_byte_came(narrow):
    assert raw(narrow, b"", declared=10**12, kind="application/json") == (413, "input_too_large")


def test_a_picture_of_exactly_the_limit_passes_as_base64_and_one_more_byte_does_not(narrow):
    for size, expected in ((LIMIT, (422, "not_an_image")), (LIMIT + 1, (413, "image_too_large"))):
        data = base64.b64encode(b"x" * size).decode()
        assert code(narrow.execute(data)) == expected
        assert code(narrow.execute(f"data:image/png;base64,{data}")) == expected
        form = narrow.client.post(
            EXECUTE, data={"model_id": "colours"}, files={"file": b"x" * size}
        )
        assert code(form) == expected


def test_a_picture_of_the_limit_passes_with_its_slashes_escaped(start):
    running = start(max_image_bytes=300_000)
    text = base64.b64encode(b"\xff\xd8\xff" + random.Random(1).randbytes(299_997)).decode()
    body = json.dumps({"model_id": "colours", "input": {"data": text}}).replace("/", "\\/")
    assert len(body) > len(text) * 65 / 64
    response = running.client.post(EXECUTE, content=body)
    assert code(response)[0] == 422  # no picture, but not too large


def test_a_batch_has_a_limit_of_items_and_room_for_all_of_them(narrow):
    post = narrow.client.post
    item = {"data": base64.b64encode(b"x" * LIMIT).decode()}
    two = post("/api/inference/batch", json={"model_id": "colours", "inputs": [item] * 2})
    assert [one["error"]["code"] for one in two.json()["results"]] == ["not_an_image"] * 2
    small = {"data": "aGk="}
    three = post("/api/inference/batch", json={"model_id": "colours", "inputs": [small] * 3})
    assert code(three) == (413, "batch_too_large")
    files = [("file", ("a", b"x"))] * 3
    form = post("/api/inference/batch", data={"model_id": "colours"}, files=files)
    assert code(form) == (413, "batch_too_large")
    assert form.json()["error"]["message"] == three.json()["error"]["message"]
    none = post("/api/inference/batch", json={"model_id": "colours", "inputs": []})
    assert code(none) == (400, "bad_request")


def test_a_batch_of_files_is_answered_in_their_order(service, png):
    files = [("file", ("a", png)), ("file", ("b", b"no picture")), ("file", ("c", png))]
    response = service.client.post(
        "/api/inference/batch", data={"model_id": "colours", "top_k": "1"}, files=files
    )
    told = response.json()["results"]
    assert [one.get("error", {}).get("code") for one in told] == [None, "not_an_image", None]
    assert all(set(one) == {"error"} or one["predictions"][0]["label"] == "red" for one in told)
    assert {one.get("request_id", one.get("error", {}).get("request_id")) for one in told} == {
        response.headers["x-request-id"]
    }
