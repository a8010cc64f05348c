"""Every code has a status, and what is said at the door names no folder."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from workbench import errors
from workbench.errors import BadRequestError, MissingFileError, UnknownModelError, WorkbenchError
from workbench.service.problem import STATUS, InternalError, envelope, hide, told, without_paths
from workbench.settings import cache_folder

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass)
           if issubclass(c, WorkbenchError)]  # fmt: skip


def test_every_code_has_a_status_and_no_other_has():
    assert set(STATUS) == {c.code for c in CLASSES}
    assert all(400 <= status < 600 for status in STATUS.values())


def test_what_the_client_did_is_never_called_the_services_fault():
    ours = {code for code, status in STATUS.items() if status >= 500}
    assert ours == {
        "missing_extra", "not_writable", "inference_failed", "inference_timeout", "load_timeout",
        "out_of_memory", "worker_crashed", "cancelled", "download_failed", "offline", "queue_full",
        "queue_unavailable",
        "internal",
    }  # fmt: skip


def test_the_status_table_is_in_the_documentation():
    from pathlib import Path

    text = (Path(errors.__file__).parent.parent / "docs" / "API.md").read_text("utf-8")
    for code, status in STATUS.items():
        assert f"| `{code}` | {status} |" in text, code


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The file '/srv/models/a.onnx' is no model.", "The file 'a.onnx' is no model."),
        ("It is in none of /srv/x/labels, ~/y/labels", "It is in none of labels"),
        ("It is in none of /srv/x/labels, /srv/models.", "It is in none of labels, models."),
        ("The file '/srv/my models, old/a.onnx' is none.", "The file 'a.onnx' is none."),
        ("shapes 1, 1, 1 of /srv/a.onnx", "shapes 1, 1, 1 of a.onnx"),
        (r"C:\models\deep\a.onnx is no model.", "a.onnx is no model."),
        ("see https://a.example/b/c.html", "see https://a.example/b/c.html"),
        ("expected image/png or n/a", "expected image/png or n/a"),
        ("/home/ada/venv/bin/python -m pip install x", "python -m pip install x"),
    ],
)
def test_paths_are_cut_to_the_file(said, shown):
    assert without_paths(said) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("{0}/models/bad.onnx is none", "bad.onnx is none"),
        ("{0}/models/metadata/bad.json: a", "bad.json: a"),
        ("x is not in {0}/data/labels, {0}/models/labels", "x is not in labels"),
        ("The folder {0}/models is full.", "The folder models is full."),
        ("see https://a.example{0}/models/a", "see https://a.example{0}/models/a"),
    ],
)
def test_known_folders_are_cut_off_whatever_stands_in_their_names(tmp_path, said, shown):
    folder = tmp_path / "my secret, dir"
    hide([folder, folder / "models"])
    assert without_paths(said.format(folder)) == shown.format(folder)


def test_the_folders_of_this_process_are_known_without_being_told():
    home = Path.home()
    assert without_paths(f"{home} is full.") == f"{home.name} is full."
    assert without_paths(f"{home}-else/x is full.") == "x is full."
    assert without_paths(f"not in {cache_folder()}/a b") == "not in a b"


def test_an_envelope_can_always_be_written():
    error = BadRequestError("The name \udc80", 0, "one without \ud800")
    text = json.dumps(envelope(error, "r1"), ensure_ascii=False)
    assert "The name ? is 0; expected one without ?." in text.encode("utf-8").decode()


def test_an_error_keeps_its_words_without_its_folders():
    error = MissingFileError("/srv/secret/models/a.onnx", "model file")
    assert told(error) == {
        "code": "not_found", "message": "The model file a.onnx does not exist.", "hint": "",
    }  # fmt: skip


def test_a_suggestion_is_kept_and_a_hint_for_python_is_replaced():
    assert told(UnknownModelError("cifar1", ["cifar10"]))["hint"] == "Did you mean 'cifar10'?"
    assert told(UnknownModelError("x", []))["hint"].startswith("GET /api/inference/models")


def test_both_forms_of_the_envelope():
    error = BadRequestError("top_k", 0, "a number of at least 1")
    assert envelope(error, "r1") == {
        "error": {"code": "bad_request", "message": "top_k is 0; expected a number of at least 1.",
                  "hint": "", "request_id": "r1"},
    }  # fmt: skip
    assert envelope(error, "r1", protocol="v2") == {
        "error": "top_k is 0; expected a number of at least 1.",
        "code": "bad_request", "hint": "", "request_id": "r1",
    }  # fmt: skip


def test_what_nobody_foresaw_says_nothing_of_the_inside():
    assert told(InternalError())["message"] == "Something went wrong inside the service."
