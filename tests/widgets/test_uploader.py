"""The upload widget shows what became of the last file."""

from __future__ import annotations

from workbench.widgets import upload


def drop(part, content, name="red.png"):
    zone = part.zone
    told = {"kind": "begin", "id": "v", "name": name, "size": len(content), "via": "file"}
    zone._handle_custom_msg(told, [])
    zone._handle_custom_msg({"kind": "chunk", "id": "v", "offset": 0}, [memoryview(content)])
    assert part.wait(60)


def test_a_picture_is_classified_and_shown(hub, colour):
    part = upload(hub=hub, model="means")
    drop(part, colour().read_bytes())
    part.check()
    assert part.results[0].label == "red"
    assert part.result.value == part.results[0]._repr_html_()
    part.close()


def test_any_function_may_be_run_and_what_it_returns_is_escaped():
    part = upload(lambda given, stop: f"<b>{len(given.content)}</b>")
    drop(part, b"abc", "<i>.png")
    assert "&lt;b&gt;3&lt;/b&gt;" in part.result.value
    part.close()


def test_an_error_stands_on_its_error_line(hub):
    part = upload(hub=hub, model="means")
    drop(part, b"text", "<i>.png")
    assert "not_an_image" in part.error_line.value
    assert "<i>" not in part.error_line.value
    part.close()


def test_models_are_not_taken():
    part = upload(lambda given, stop: None)
    part.zone._handle_custom_msg({"kind": "refused", "name": "a.onnx", "size": 3}, [])
    assert "no models are taken here" in part.error_line.value
    part.close()
