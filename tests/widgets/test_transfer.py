"""What a browser sends is put together, checked, or refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import (
    BadRequestError,
    ImageTooLargeError,
    InputTooLargeError,
    ModelTooLargeError,
)
from workbench.widgets import transfer as module
from workbench.widgets.transfer import MOST_OPEN, Inbox, Upload, clean_name

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


def begin(inbox, key="a", name="cat.jpg", size=3, **more):
    return inbox.receive({"kind": "begin", "id": key, "name": name, "size": size, **more})


def chunk(inbox, content, key="a", offset=0):
    return inbox.receive({"kind": "chunk", "id": key, "offset": offset}, [memoryview(content)])


def test_a_file_in_one_piece_arrives_whole():
    inbox = Inbox()
    assert begin(inbox, via="drop").reply == {"kind": "more", "id": "a", "offset": 0}
    arrival = chunk(inbox, b"abc")
    assert arrival.reply == {"kind": "done", "id": "a"}
    assert arrival.upload == Upload("cat.jpg", b"abc", "drop")
    assert inbox.waiting == ()


@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_file_in_any_pieces_arrives_as_it_was(content, step):
    inbox = Inbox()
    arrival = begin(inbox, size=len(content))
    while arrival.upload is None:
        offset = arrival.reply["offset"]
        arrival = chunk(inbox, content[offset : offset + step], offset=offset)
        assert arrival.error is None
    assert arrival.upload.content == content


def test_two_files_may_be_under_way_at_once():
    inbox = Inbox()
    begin(inbox, "a"), begin(inbox, "b", "dog.png", 2)
    assert inbox.waiting == ("cat.jpg", "dog.png")
    assert chunk(inbox, b"no", "b").upload.name == "dog.png"
    assert chunk(inbox, b"yes", "a").upload.content == b"yes"


def test_an_upload_does_not_show_its_bytes():
    assert "secret" not in repr(Upload("a.jpg", b"secret"))


def test_a_picture_over_the_limit_is_refused_before_any_byte_of_it():
    arrival = begin(Inbox(), size=11_000_000)
    assert isinstance(arrival.error, ImageTooLargeError)
    assert "11.0 MB" in arrival.reply["message"]
    assert "10.0 MB" in arrival.reply["message"]
    assert arrival.reply["kind"] == "refused"


def test_what_the_browser_refused_is_the_same_error_here():
    arrival = Inbox().receive({"kind": "refused", "name": HOSTILE, "size": 11_000_000})
    assert isinstance(arrival.error, ImageTooLargeError)
    assert arrival.error.where == HOSTILE
    assert arrival.reply is None


def test_a_model_may_be_larger_than_a_picture_but_not_endless():
    inbox = Inbox(model_bytes=20_000_000)
    assert begin(inbox, name="net.onnx", size=15_000_000).error is None
    refused = begin(inbox, "b", "net.onnx", 30_000_000).error
    assert isinstance(refused, ModelTooLargeError)
    assert refused.limit_bytes == 20_000_000


def test_where_no_models_are_taken_one_is_refused_in_words():
    refused = begin(Inbox(model_bytes=0), name="net.onnx").error
    assert isinstance(refused, BadRequestError)
    assert "no models are taken here" in str(refused)


def test_the_limit_of_pictures_is_the_setting(monkeypatch):
    monkeypatch.setenv("MAX_IMAGE_BYTES", "2000")
    assert isinstance(begin(Inbox(), size=2001).error, ImageTooLargeError)
    assert begin(Inbox(), size=2000).error is None


@pytest.mark.parametrize(
    ("content", "offset", "field"),
    [(b"abcd", 0, "the piece"), (b"", 0, "the piece"), (b"ab", 1, "offset"), (b"ab", -1, "offset"),
     (b"ab", "0", "offset"), (b"ab", None, "offset"), (b"ab", True, "offset")],
)  # fmt: skip
def test_a_piece_that_was_not_asked_for_ends_the_upload(content, offset, field):
    inbox = Inbox()
    begin(inbox)
    arrival = chunk(inbox, content, offset=offset)
    assert isinstance(arrival.error, BadRequestError)
    assert arrival.error.field == field
    assert inbox.waiting == ()
    assert chunk(inbox, b"abc").error.field == "id"


def test_a_piece_twice_is_refused():
    inbox = Inbox()
    begin(inbox, size=6)
    assert chunk(inbox, b"abc").error is None
    assert chunk(inbox, b"abc").error.field == "offset"


@pytest.mark.parametrize(
    "message",
    [None, "text", 3, [], {}, {"kind": "other"}, {"kind": ["begin"]}, {"kind": "begin"},
     {"kind": "begin", "id": "a", "size": -1}, {"kind": "begin", "id": "a", "size": 1.5},
     {"kind": "chunk"}, {"kind": "refused"}, {"kind": "refused", "size": "x"}],
)  # fmt: skip
def test_nonsense_is_refused_and_harms_nothing(message):
    inbox = Inbox()
    assert isinstance(inbox.receive(message).error, BadRequestError)
    assert inbox.waiting == ()


def test_two_buffers_for_one_piece_are_refused():
    inbox = Inbox()
    begin(inbox)
    told = {"kind": "chunk", "id": "a", "offset": 0}
    assert inbox.receive(told, [b"a", b"b"]).error.field == "the piece"


def test_the_same_id_twice_is_refused():
    inbox = Inbox()
    begin(inbox)
    assert begin(inbox).error.field == "id"


def test_an_upload_given_up_in_the_browser_leaves_nothing():
    inbox = Inbox()
    begin(inbox)
    assert inbox.receive({"kind": "abort", "id": "a"}).error is None
    assert inbox.waiting == ()


def test_what_closed_pages_began_is_dropped_in_time():
    inbox = Inbox()
    for number in range(MOST_OPEN + 5):
        assert begin(inbox, f"k{number}", f"{number}.jpg").error is None
    assert len(inbox.waiting) == MOST_OPEN
    assert inbox.waiting[0] == "5.jpg"


def test_all_that_is_under_way_has_a_limit_too():
    inbox = Inbox(image_bytes=100, model_bytes=0)
    arrivals = [begin(inbox, f"k{number}", size=100) for number in range(11)]
    assert all(a.error is None for a in arrivals[:10])
    assert isinstance(arrivals[10].error, InputTooLargeError)
    assert inbox.waiting == ()


@pytest.mark.parametrize(
    ("told", "name"),
    [(HOSTILE, HOSTILE), ("../../etc/passwd", "passwd"), ("a\x1b[31m.png", "a\ufffd[31m.png"),
     ("", "unnamed"), (None, "None"), ("/", "unnamed")],
)  # fmt: skip
def test_a_name_is_one_line_without_folders(told, name):
    assert clean_name(told) == name


def test_a_long_name_keeps_its_ending():
    name = clean_name("x" * 500 + ".onnx")
    assert len(name) == 120
    assert name.endswith(".onnx")


def test_only_the_first_of_several_files_begins_something_new():
    inbox = Inbox()
    assert begin(inbox, "a").begins
    assert not begin(inbox, "b", first=False).begins
    assert inbox.receive({"kind": "refused", "name": "big.jpg", "size": 11_000_000}).begins
    told = {"kind": "refused", "name": "big.jpg", "size": 11_000_000, "first": False}
    assert not inbox.receive(told).begins
    assert not chunk(inbox, b"abc", "a").begins


def test_half_a_file_of_a_page_that_is_gone_is_given_up_when_another_begins(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(module, "clock", lambda: now_s[0])
    inbox = module.Inbox()

    def begin(name):
        told = {"kind": "begin", "id": name, "name": f"{name}.png", "size": 3_000_000}
        return inbox.receive(told | {"via": "drop"})

    begin("half")
    inbox.receive({"kind": "chunk", "id": "half", "offset": 0}, [b"x" * 1_000_000])
    now_s[0] += module.SILENCE_S - 1
    begin("alive")
    assert inbox.waiting == ("half.png", "alive.png")
    now_s[0] += 2
    begin("next")
    assert inbox.waiting == ("alive.png", "next.png")
    inbox.clear()
    assert inbox.waiting == ()
