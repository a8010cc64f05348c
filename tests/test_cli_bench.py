"""``workbench bench``, as a shell and a build server see it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench import cli, errors

SMALL = "cifar10-small"
QUICK = ("--min-time", "0.05", "--threads", "1")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["bench", *arguments])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> wb.Benchmark:
    done = wb.benchmark(SMALL, threads=1, min_time_s=0.3, memory=False, progress=False)
    done.save(tmp_path_factory.mktemp("kept") / "run.json")
    return done


def older(
    done: wb.Benchmark, path: Path, *, faster: float, package: str = "onnx-workbench"
) -> Path:
    """Save a benchmark of another version of a package whose runs took ``faster`` of the time."""
    records = [replace(r, laps_s=r.laps_s * faster) for r in done]
    versions = done.fingerprint.versions | {package: "0.0.1"}
    made = replace(
        done, records=tuple(records), fingerprint=replace(done.fingerprint, versions=versions)
    )
    return made.save(path)


def test_a_benchmark_is_a_table_and_is_kept(capsys, tmp_path):
    path = tmp_path / "run.json"
    code, out, err = run(capsys, SMALL, *QUICK, "--batch", "1", "--batch", "2", "--save", str(path))
    assert code == 0
    assert "Time of a run: inference" in out
    assert len(wb.load_benchmark(path)) == 2
    assert f"Kept in {path}" in err
    assert "%|" not in err, "no bar in a pipe"


def test_rows_are_json_with_null_for_what_is_not_known(capsys):
    code, out, _ = run(capsys, SMALL, *QUICK, "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert row["model"] == SMALL
    assert row["median_ms"] > 0
    assert row["preprocessing_ms"] is None


def test_end_to_end_takes_pictures(capsys):
    image = str(wb.example("cat"))
    code, out, _ = run(capsys, SMALL, *QUICK, "--end-to-end", "--images", image)
    assert code == 0
    assert "Time of a run: end_to_end" in out
    assert "cat.png" in out


def test_compare_tells_a_verdict(capsys):
    code, out, _ = run(capsys, SMALL, SMALL, "--compare", "--max-time", "1", "--threads", "1")
    assert code == 0
    assert f"{SMALL} (again) against {SMALL}" in out
    code, out, _ = run(capsys, SMALL, SMALL, "--compare", "--max-time", "0.5", "--json")
    assert json.loads(out)[0]["outcome"] in ("faster", "slower", "cannot_tell")


def test_a_scenario_is_told(capsys):
    code, out, _ = run(capsys, SMALL, "--scenario", "offline", "--min-time", "0.1")
    assert code == 0
    assert "pictures a second" in out


def test_what_got_slower_by_code_alone_is_exit_code_3(capsys, kept, tmp_path):
    path = older(kept, tmp_path / "run.json", faster=0.001)
    code, out, err = run(capsys, SMALL, *QUICK, "--against", str(path), "--fail-if-slower", "5%")
    if "host" in err:  # the machine changed its pace meanwhile: then it is no decision
        assert code == 0
    else:
        assert code == 3
        assert "slower than allowed" in err
    assert "difference of two benchmarks" in out


def test_what_another_engine_made_slower_is_no_failure_of_the_code(capsys, kept, tmp_path):
    path = older(kept, tmp_path / "run.json", faster=0.001, package="onnxruntime")
    code, out, err = run(capsys, SMALL, *QUICK, "--against", str(path), "--fail-if-slower", "5%")
    assert code == 0
    assert "cannot tell" in err
    assert "version of onnxruntime" in out


def test_what_got_faster_is_fine(capsys, kept, tmp_path):
    path = older(kept, tmp_path / "run.json", faster=1000.0)
    code, _, err = run(capsys, SMALL, *QUICK, "--against", str(path), "--fail-if-slower", "5%")
    assert code == 0
    assert "not slower than allowed" in err


def test_what_is_not_decided_is_no_failure(capsys, kept, tmp_path):
    noise = np.exp(np.random.default_rng(0).normal(0, 1.0, kept[0].laps_s.shape))
    records = (replace(kept[0], laps_s=kept[0].laps_s * noise),)
    path = replace(kept, records=records).save(tmp_path / "run.json")
    code, _, err = run(capsys, SMALL, *QUICK, "--against", str(path), "--fail-if-slower", "0%")
    assert code == 0
    assert "cannot tell" in err or "not slower" in err


def test_without_models_the_kept_ones_are_measured_again(capsys, kept, tmp_path):
    path = kept.save(tmp_path / "run.json")
    code, out, _ = run(capsys, "--against", str(path))
    assert code == 0
    assert "difference of two benchmarks" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "name at least one model"),
        (("nothing-like-it",), 1, "No model named"),
        ((SMALL, "--batch", "0"), 2, "Invalid value for"),
        ((SMALL, "--batch", str(2**70)), 2, "Invalid value for '--batch'"),
        ((SMALL, "--threads", "0"), 2, "Invalid value for"),
        ((SMALL, "--min-time", "-1"), 2, "--min-time is -1"),
        ((SMALL, "--min-time", "nan"), 2, "--min-time is nan"),
        ((SMALL, "--min-time", "5", "--max-time", "1"), 2, "at most --max-time 1"),
        ((SMALL, SMALL, "--compare", "--scenario", "offline"), 2, "do not go together"),
        ((SMALL, SMALL, "--compare", "--min-time", "5", "--max-time", "1"), 2, "no --min-time"),
        ((SMALL, "--scenario", "offline", "--batch", "2"), 2, "it takes no --batch"),
        (("--against", "no.json", "--batch", "2"), 2, "it takes --images only"),
        (("--against", "no.json", "--max-time", "2"), 2, "it takes --images only"),
        ((SMALL, "--save", "/nope/x.json"), 1, "The folder /nope does not exist"),
        ((SMALL, "--save", "/"), 1, "it is a folder"),
        ((SMALL, "--compare"), 2, "two models"),
        ((SMALL, "--scenario", "serving"), 2, "'single_stream'"),
        ((SMALL, "--end-to-end"), 2, "begins with their bytes"),
        ((SMALL, "--fail-if-slower", "5%"), 2, "needs --against"),
        ((SMALL, "--against", "no.json"), 1, "no.json does not exist"),
        ((SMALL, "--against", "no.json", "--fail-if-slower", "much"), 2, "a percentage such as"),
        ((SMALL, "--scenario", "offline", "--save", "a.json"), 2, "plain benchmarks only"),
    ],
)
def test_what_cannot_be_is_one_sentence(capsys, arguments, code, said):
    seen, out, err = run(capsys, *arguments)
    assert seen == code
    assert said in " ".join(err.replace("│", " ").split())
    assert out == ""


@pytest.fixture
def unmeasured(monkeypatch):
    """Fail where something is measured."""
    from workbench.bench import suite

    def measured(*_, **__):
        raise AssertionError("it was measured")

    monkeypatch.setattr(suite, "measure", measured)


def test_what_was_measured_is_shown_where_it_cannot_be_kept(capsys, monkeypatch, tmp_path):
    def full(self, path):
        raise errors.WriteError(str(path), "no space left on device")

    monkeypatch.setattr(wb.Benchmark, "save", full)
    code, out, err = run(capsys, SMALL, *QUICK, "--save", str(tmp_path / "run.json"))
    assert code == 1
    assert "Time of a run: inference" in out
    assert "no space left" in err


@pytest.mark.usefixtures("unmeasured")
def test_a_place_that_cannot_be_written_is_said_before(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(cli.os, "access", lambda *_: False)
    code, _, err = run(capsys, SMALL, *QUICK, "--save", str(tmp_path / "run.json"))
    assert code == 1
    assert "may not be written to" in err


@pytest.mark.usefixtures("unmeasured")
def test_a_file_that_timed_something_else_is_said_before(capsys, kept, tmp_path):
    path = replace(kept, timed="end_to_end").save(tmp_path / "run.json")
    code, _, err = run(capsys, SMALL, *QUICK, "--against", str(path))
    assert code == 1
    assert "a benchmark that timed 'inference'" in err


@pytest.mark.usefixtures("unmeasured")
def test_a_file_of_another_model_is_said(capsys, kept, tmp_path):
    record = replace(kept[0], configuration=replace(kept[0].configuration, model="other"))
    path = replace(kept, records=(record,)).save(tmp_path / "run.json")
    code, _, err = run(capsys, SMALL, *QUICK, "--against", str(path))
    assert code == 1
    assert "one of these configurations" in err
