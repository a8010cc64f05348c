"""The command line, as a shell and a pipe see it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from tests import graphs
from workbench import __main__, cli
from workbench.errors import pip


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def test_classify_shows_the_label_the_bars_and_the_times(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys, "classify", str(wb.example("cat")))
    assert (code, err) == (0, "")
    assert out.startswith("cat.png: cat\n")
    for words in ("inference", "ms", "CPU", "airplane, automobile", "█"):
        assert words in out
    assert "\x1b[" not in out, "no colours in a pipe"


def test_json_is_a_list_with_an_entry_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [str(wb.example("cat")), str(wb.example("coffee"))]
    code, out, _ = run(
        capsys, "classify", *pictures, "--json", "--top-k", "2", "-m", "cifar10-small"
    )
    told = json.loads(out)
    assert code == 0
    assert [len(t["predictions"]) for t in told] == [2, 2]
    assert {t["model_id"] for t in told} == {"cifar10-small"}


def test_csv_has_a_row_a_prediction_and_runs_no_formula(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hostile = tmp_path / "=cmd.png"
    hostile.write_bytes(wb.example("cat").read_bytes())
    code, out, _ = run(capsys, "classify", str(hostile), "--csv", "-k", "3")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [r["rank"] for r in rows] == ["1", "2", "3"]
    assert rows[0]["source"] == "'=cmd.png"
    assert rows[0]["label"] == "cat"


def test_a_folder_is_classified_whole(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "classify", str(wb.example("cat").parent), "--json")
    assert code == 0
    assert [t["source"] for t in json.loads(out)][:2] == ["cat.png", "china.jpg"]


def test_one_bad_picture_costs_exit_code_1_and_a_sentence_and_no_other_answer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html>not found</html>")
    code, out, err = run(capsys, "classify", str(bad), str(wb.example("cat")))
    assert code == 1
    assert out.startswith("cat.png: cat")
    assert err.startswith("workbench: ")
    assert "bad.jpg" in err
    assert "Traceback" not in err
    assert err.count("\n") == 1
    code, out, err = run(capsys, "classify", str(bad), "--csv")
    assert (code, "not_an_image" in out) == (1, True)


def test_an_unknown_model_is_one_sentence_and_a_traceback_only_with_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys, "classify", "x.png", "--model", "cifar11")
    assert (code, out) == (1, "")
    assert "Did you mean 'cifar10'" in err
    assert "Traceback" not in err
    code, _, err = run(capsys, "--debug", "classify", "x.png", "--model", "cifar11")
    assert code == 1
    assert "Traceback" in err


@pytest.mark.parametrize(
    "arguments",
    [("classify",), ("classify", "a.png", "--top-k", "0"), ("no-such",), ("--no-such",),
     ("classify", "a.png", "--json", "--csv")],
)  # fmt: skip
def test_a_command_line_that_cannot_be_understood_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert err


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models")
    assert code == 0
    for words in ("cifar10", "cifar10-small", "cifar10-int8", "(1, 3, 32, 32)", "MIT", "%"):
        assert words in out
    code, out, _ = run(capsys, "models", "--json")
    assert {"cifar10", "cifar10-int8"} <= {m["id"] for m in json.loads(out)}


def test_info_tells_versions_providers_threads_folders_and_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capsys, "info")
    assert code == 0
    for words in ("onnxruntime", "CPU", "threads used by default", "quota", "spinning", "shelf",
                  "cache"):  # fmt: skip
        assert words in out, words
    told = json.loads(run(capsys, "info", "--json")[1])
    assert told["Versions"]["python"] == sys.version.split()[0]
    missing = told["Not installed"]
    for extra, line in missing.items():
        if extra != "nothing":
            assert line.startswith(f"{pip()} install 'onnx-workbench[")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"onnx-workbench {wb.__version__}\n", "")


def test_lab_starts_jupyterlab_on_the_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command))
    code, _, err = run(capsys, "lab", str(tmp_path), "--port", "9999", "--no-browser")
    assert code == 0
    assert started[0][1:] == [
        "-m", "jupyterlab", f"--ServerApp.root_dir={tmp_path.resolve()}", "--port=9999",
        "--no-browser",
    ]  # fmt: skip
    assert "Opening JupyterLab" in err
    assert run(capsys, "lab", str(tmp_path / "nowhere"))[0] == 1


def test_the_interrupt_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    assert run(capsys, "models")[0] == 130


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m workbench.cli models --json | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "["
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    not Path("/dev/full").is_char_device(), reason="platform: there is no /dev/full"
)
def test_output_that_cannot_be_written_is_said_in_one_sentence() -> None:
    cat = str(wb.example("cat"))
    command = [sys.executable, "-m", "workbench", "classify", cat, "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "could not be written: No space left on device" in done.stderr


def test_an_interrupt_while_the_command_is_imported_ends_it_as_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "workbench.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "workbench.cli")
    monkeypatch.delattr(wb, "cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert __main__.main() == 130
    assert capsys.readouterr().err == "workbench: interrupted\n"


def test_an_empty_argument_is_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "classify", "")
    assert (code, out) == (1, "")
    assert "an empty str" in err


def test_pip_is_the_one_of_this_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = tmp_path / "my env" / "bin"
    here.mkdir(parents=True)
    for name in ("python", "pip"):
        (here / name).write_text("")
        (here / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    monkeypatch.setenv("PATH", str(here))
    assert pip() == "pip"
    monkeypatch.setenv("PATH", "/nowhere")
    assert pip() == f"'{here}/python' -m pip"
    monkeypatch.chdir(tmp_path)
    assert pip() == "'my env/bin/python' -m pip"


def test_colours_are_for_terminals_and_no_color_switches_them_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert cli._coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not cli._coloured()


def test_an_interrupt_is_said_and_has_its_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_answers", interrupted)
    assert cli.main(["classify", "x.png"]) == 130
    assert capsys.readouterr().err.strip() == "workbench: interrupted"


def test_a_traceback_of_a_failed_picture_comes_with_debug_wherever_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run(capsys, "classify", "nowhere.png", "--debug")
    assert code == 1
    assert "Traceback" in err
    assert "'nowhere.png' does not exist" in err


def test_json_is_whole_even_when_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from workbench.inference.runner import Runner

    classify = Runner.classify

    def interrupted(self: Runner, path: str, **options: object) -> object:
        if Path(path).name == "coffee.png":
            raise KeyboardInterrupt
        return classify(self, path, **options)

    monkeypatch.setattr(Runner, "classify", interrupted)
    pictures = [str(wb.example("cat")), str(wb.example("coffee"))]
    code, out, _ = run(capsys, "classify", *pictures, "--json")
    assert code == 130
    assert [t["source"] for t in json.loads(out)] == ["cat.png"]


def test_isolated_gives_the_same_answer_and_survives_a_model_that_crashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for options in ((), ("--isolated",)):
        code, out, _ = run(capsys, "classify", str(wb.example("cat")), "--json", *options)
        assert code == 0
        told.append(json.loads(out)[0]["predictions"])
    assert told[0] == told[1]
    path = graphs.deadly_to_load(tmp_path / "dead.onnx")
    path.with_suffix(".json").write_text(json.dumps(graphs.PLAIN), encoding="utf-8")
    code, out, err = run(capsys, "classify", str(wb.example("cat")), "-m", str(path), "--isolated")
    assert (code, out) == (1, "")
    assert "'dead' died (SIGFPE" in err
