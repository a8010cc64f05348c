"""Pulling, verifying and updating from a shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from workbench import cli

sys.path.insert(0, str(Path(__file__).parent / "models"))  # the server that the models' tests use
from faults import Faults, file

OPEN = ("--allow-http", "--allow-private")


def run(capsys, *arguments):
    code = cli.main(arguments)
    seen = capsys.readouterr()
    return code, seen.out, seen.err


@pytest.fixture
def url(tmp_path, monkeypatch, make_classifier):
    """Serve a model, and work in a folder whose shelf is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    metadata = {
        "model_type": "classification", "input_shape": [1, 3, 8, 8], "preprocessing": "imagenet",
    }  # fmt: skip
    (tmp_path / "about.json").write_text(json.dumps(metadata))
    made = Faults()
    made.routes["/tiny.onnx"] = file(make_classifier(tmp_path / "made.onnx").read_bytes())
    yield f"{made.url}/tiny.onnx"
    made.stop()


def test_a_model_is_pulled_verified_and_used(url, capsys, tmp_path):
    code, out, err = run(capsys, "pull", url, *OPEN, "--metadata", "about.json")
    assert code == 0
    assert out.startswith("model tiny\n")
    assert "workbench classify -m tiny" in err
    code, out, _ = run(capsys, "verify")
    assert (code, "right" in out) == (0, True)
    code, out, _ = run(capsys, "update", "--dry-run", "--json", *OPEN)
    assert (code, json.loads(out)[0]["outcome"]) == (0, "same")
    path = tmp_path / "models" / "tiny.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    code, out, err = run(capsys, "verify", "--json")
    assert code == 1
    assert [r["state"] for r in json.loads(out)] == ["changed", "right"]
    assert "tiny: tiny.onnx is changed" in err
    code, out, _ = run(capsys, "pull", "--locked", *OPEN)
    assert (code, "tiny.onnx" in out) == (0, True)
    assert run(capsys, "verify")[0] == 0


def test_what_cannot_be_pulled_is_told_in_one_sentence(url, capsys):
    code, out, err = run(capsys, "pull", url)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "plain http" in err
    code, _, err = run(capsys, "pull", url, *OPEN, "--sha256", "0" * 64)
    assert (code, "expected 0000" in err) == (1, True)
    code, _, err = run(capsys, "pull", url, *OPEN, "--max-bytes", "10")
    assert (code, "more than 10 B" in err) == (1, True)


@pytest.mark.parametrize("arguments", [("pull",), ("pull", "x", "--locked"), ("verify", "--what")])
def test_a_command_line_that_says_too_little_is_not_understood(capsys, arguments):
    assert run(capsys, *arguments)[0] == 2


def test_all_lists_what_is_here_and_what_can_be_pulled(url, capsys):
    code, out, _ = run(capsys, "models", "--all")
    lines = out.splitlines()
    assert code == 0
    assert next(n for n, line in enumerate(lines) if "resnet18-v2-7" in line) < next(
        n for n, line in enumerate(lines) if "mobilenetv2-7" in line
    )
    assert any("cifar10-small" in line and line.rstrip().endswith("here") for line in lines)
    code, out, _ = run(capsys, "models", "--all", "--json")
    told = json.loads(out)
    assert len(told["catalogue"]) >= 25
    assert told["catalogue"][0]["id"] == "resnet18-v2-7"
    assert {r["id"] for r in told["here"]} >= {"cifar10"}


def test_a_picture_may_be_named_by_its_address(url, capsys, monkeypatch):
    monkeypatch.setenv("ALLOW_HTTP", "1")
    monkeypatch.setenv("ALLOW_PRIVATE", "1")
    base = url.rpartition("/")[0]
    code, out, err = run(capsys, "classify", "--json", f"{base}/no.png?sig=SECRET")
    assert code == 1
    assert json.loads(out)[0]["error"]["code"] == "download_failed"
    assert "404" in err
    assert "SECRET" not in out + err
