"""Capsules: what is saved comes back, what is damaged is refused, what is full loses nothing."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench import errors, page
from workbench.bench import capsule
from workbench.models.hub import ModelHub

SMALL = "cifar10-small"


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> wb.Benchmark:
    hub = ModelHub(model_dir=tmp_path_factory.mktemp("shelf"))
    return wb.benchmark(
        [SMALL, "cifar10-int8"], hub=hub, threads=1, images=wb.example("cat"),
        timed="end_to_end", min_time_s=0.05, memory=False, progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def text(done, tmp_path_factory) -> str:
    return done.save(tmp_path_factory.mktemp("a") / "run.json").read_text(encoding="utf-8")


def test_what_is_saved_comes_back(done, tmp_path):
    path = done.save(tmp_path / "run.json")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    back = wb.load_benchmark(path)
    pd.testing.assert_frame_equal(back.to_frame(), done.to_frame())
    pd.testing.assert_frame_equal(back.samples(), done.samples())
    assert str(back) == str(done)
    assert back._repr_html_() == done._repr_html_()
    assert back.fingerprint == done.fingerprint
    assert back[0].configuration == done[0].configuration
    assert back[0].session == done[0].session
    assert back.save(tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_capsule_holds_what_a_measurement_rests_on(text, done):
    body = json.loads(text)["body"]
    assert body["recipes"][SMALL][0]["step"] == "Decode"
    assert body["records"][0]["configuration"]["sha256"] == done[0].configuration.sha256
    assert len(body["records"][0]["laps_s"]) == done[0].samples.n
    assert body["fingerprint"]["versions"]["onnxruntime"]
    assert {"processor", "quota", "governor", "load"} <= set(body["fingerprint"])
    assert body["seed"] == 0
    assert body["records"][0]["session"]["ran"][0][0] == "CPUExecutionProvider"


def test_failures_and_runs_without_a_time_come_back_too(done, tmp_path):
    laps = done[0].laps_s.copy()
    laps[3] = np.nan
    records = (
        replace(done[0], laps_s=laps, first_run_s=float("nan"), settled_at=None),
        replace(done[1], session=None, problem="broke", code="inference_failed"),
    )
    odd = replace(done, records=records, stopped=True)
    back = wb.load_benchmark(odd.save(tmp_path / "odd.json"))
    assert str(back) == str(odd)
    assert back[0].dropped == 1
    assert back[1].problem == "broke"
    assert back[1].session is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\x89PNG\r\n\x1a\n", "it is no JSON"),
        (b"\xff\xfe\x00", "it is no JSON"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "it is nested too deeply"),
        (b'{"body": ' + b"9" * 5000 + b"}", "a number with thousands of digits"),
        (
            b'{"format": "workbench-benchmark", "version": 1, "body": NaN, "sha256": ""}',
            "its checksum",
        ),
        (b"[1, 2]", "it is JSON, but of another kind"),
        (b'{"format": "other"}', "it is JSON, but of another kind"),
        (b'{"format": "workbench-benchmark"}', "its version is None"),
        (b'{"format": "workbench-benchmark", "version": 99}', "the newest known here is 1"),
        (b'{"format": "workbench-benchmark", "version": 1}', "its checksum does not fit"),
        (b'{"format": "workbench-benchmark", "version": 1, "body": NaN}', "its checksum"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_is_no_capsule_is_refused_in_words(tmp_path, content, said):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(errors.CapsuleError, match=said) as caught:
        wb.load_benchmark(path)
    assert "run.json" in str(caught.value)


def test_one_that_breaks_off_is_told_from_another_kind_of_file(text, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(errors.CapsuleError, match="breaks off in the middle"):
        wb.load_benchmark(path)


def test_a_number_that_was_changed_is_found(text, tmp_path):
    told = json.loads(text)
    told["body"]["records"][0]["laps_s"][0][0] *= 0.5
    path = tmp_path / "run.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(errors.CapsuleError, match="damaged or changed"):
        wb.load_benchmark(path)


def laps(body: dict) -> int:
    return len(body["records"][0]["laps_s"])


def resealed(told: dict) -> str:
    body = json.dumps(told["body"], sort_keys=True, separators=(",", ":"))
    return json.dumps(told | {"sha256": hashlib.sha256(body.encode()).hexdigest()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b.pop("seed"), "seed"),
        (lambda b: b.update(more=1), "more"),
        (lambda b: b.update(seed="zero"), "seed"),
        (lambda b: b.update(timed="everything"), "timed"),
        (lambda b: b["records"][0].update(places=[0]), "more times than places"),
        (lambda b: b["records"][0].update(laps_s=[[1.0]]), "has not 4 times"),
        (lambda b: b["records"][0]["places"].__setitem__(0, -1), "places"),
        (lambda b: b["records"][0]["configuration"].update(batch=0), "batch"),
        (lambda b: b["records"][0]["session"].update(load_s="x"), "load_s"),
        (lambda b: b["records"][0]["places"].__setitem__(0, 10**30), "places"),
        (lambda b: b["records"][0].update(laps_s=[[0.0] * 4] * laps(b)), "which no run can"),
        (lambda b: b["records"][0]["laps_s"].__setitem__(0, [5e-324, 0, 0, 0]), "no run can"),
        (lambda b: b["records"][0]["laps_s"].__setitem__(0, [1.0, None, 0, 0]), "no run can"),
        (lambda b: b["records"][0]["laps_s"].__setitem__(0, [-1.0, 0, 0, 0]), "laps_s"),
        (lambda b: b["records"][0]["laps_s"].__setitem__(0, [10**400, 0, 0, 0]), "laps_s"),
        (lambda b: b["records"][0]["at_s"].__setitem__(0, -1.0), "at_s"),
        (lambda b: b["records"][0]["configuration"].update(batch=10**400), "batch"),
        (lambda b: b["records"][0].update(peak_bytes=10**400), "peak_bytes"),
        (lambda b: b["records"][0].update(settled_at=10**400), "settled_at"),
        (lambda b: b["records"][0].update(settled_at=10**6), "settled after its warm-up"),
        (lambda b: b["fingerprint"].update(memory_bytes=10**400), "memory_bytes"),
        (lambda b: b.update(wall_s=-1.0), "wall_s"),
        (lambda b: b.update(wall_s=10**400), "wall_s"),
        (lambda b: b.update(seed=-1), "seed"),
        (lambda b: b.update(records=[]), "records"),
    ],
)
def test_contents_that_cannot_be_are_refused_with_their_place(text, tmp_path, change, said):
    told = json.loads(text)
    change(told["body"])
    path = tmp_path / "run.json"
    path.write_text(resealed(told), encoding="utf-8")
    with pytest.raises(errors.CapsuleError, match=said):
        wb.load_benchmark(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_capsule_with_a_damaged_byte_is_never_read(text, tmp_path_factory, data):
    raw = bytearray(text.encode())
    at = data.draw(st.integers(0, len(raw) - 2))
    before = raw[at]
    raw[at] = data.draw(st.integers(0, 255).filter(lambda b: b != before))
    path = tmp_path_factory.mktemp("damaged") / "run.json"
    path.write_bytes(bytes(raw))
    try:
        back = wb.load_benchmark(path)
    except errors.CapsuleError:
        return
    whole = json.loads(text)["body"]  # only what JSON takes for the same may pass
    assert capsule._plain(back) == whole


def test_a_file_that_is_not_there_a_folder_and_no_path(tmp_path):
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        wb.load_benchmark(tmp_path / "none.json")
    with pytest.raises(errors.MissingFileError, match="is a folder"):
        wb.load_benchmark(tmp_path)
    with pytest.raises(errors.ConfigError, match="path is 3"):
        wb.load_benchmark(3)
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        wb.load_benchmark("a\0b")


def test_a_file_that_is_too_large_is_not_read(text, tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(capsule, "_MOST_BYTES", 1000)
    with pytest.raises(errors.CapsuleError, match=r"the limit is 1\.00 kB"):
        wb.load_benchmark(path)


def test_a_full_disk_leaves_what_was_there_before(done, tmp_path, monkeypatch):
    path = done.save(tmp_path / "run.json")
    before = path.read_bytes()

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.os, "replace", full)
    with pytest.raises(errors.WriteError, match="no space left on device"):
        replace(done, seed=7).save(path)
    with pytest.raises(errors.WriteError):
        done.export(tmp_path / "run.csv")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="platform: limits the size of files")
def test_a_write_that_breaks_off_in_the_middle_leaves_what_was_there_before(done, tmp_path):
    import resource

    path = done.save(tmp_path / "run.json")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(errors.WriteError, match="file too large"):
            replace(done, seed=7).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    with pytest.raises(errors.MissingFileError, match="folder"):
        done.save(tmp_path / "no" / "run.json")


def test_tables_are_safe_for_a_spreadsheet(done, tmp_path):
    evil = replace(done[0].configuration, model="=HYPERLINK(1)")
    odd = replace(done, records=(replace(done[0], configuration=evil), done[1]))
    back = pd.read_csv(odd.export(tmp_path / "run.csv"))
    assert back["model"].tolist() == ["'=HYPERLINK(1)", "cifar10-int8"]
    assert back["median_ms"].tolist() == pytest.approx(done.to_frame()["median_ms"].tolist())
    runs = pd.read_csv(odd.export(tmp_path / "runs.csv", samples=True))
    assert len(runs) == len(done.samples())
    assert set(runs["model"]) == {"'=HYPERLINK(1)", "cifar10-int8"}


def test_parquet_without_its_extra_names_it(done, tmp_path, monkeypatch):
    monkeypatch.setattr(capsule, "find_spec", lambda _name: None)
    with pytest.raises(errors.MissingExtraError, match=r"onnx-workbench\[parquet\]"):
        done.export(tmp_path / "run.parquet")
    assert list(tmp_path.iterdir()) == []


def test_parquet_holds_the_same_rows(done, tmp_path, monkeypatch):
    if not (find_spec("pyarrow") or find_spec("fastparquet")):
        # no writer is installed: what would be handed to one is looked at
        handed: list[pd.DataFrame] = []
        monkeypatch.setattr(capsule, "find_spec", lambda _name: object())
        monkeypatch.setattr(
            pd.DataFrame, "to_parquet", lambda frame, sink, **_: handed.append(frame)
        )
        done.export(tmp_path / "run.parquet")
        back = handed[0]
    else:
        back = pd.read_parquet(done.export(tmp_path / "run.parquet"))
    assert back["model"].tolist() == done.to_frame()["model"].tolist()
    assert back["median_ms"].tolist() == done.to_frame()["median_ms"].tolist()


@pytest.mark.parametrize("path", ["run.xlsx", "run", 3])
def test_another_ending_is_refused(done, path):
    with pytest.raises(errors.ConfigError, match=r"\.csv or \.parquet"):
        done.export(path)


def test_a_benchmark_is_measured_again_also_from_its_file(done, tmp_path):
    again = done.rerun(progress=False)
    assert [r.name for r in again] == [r.name for r in done]
    assert again.seed == done.seed
    assert again[0].samples.n >= 30
    assert again.samples()["ms"].tolist() != done.samples()["ms"].tolist()
    back = wb.load_benchmark(done.save(tmp_path / "run.json"))
    with pytest.raises(errors.ConfigError, match="the pictures that it ran on"):
        back.rerun(progress=False)
    once_more = back.rerun(images=wb.example("cat"), progress=False)
    assert once_more.images_sha256 == done.images_sha256


def test_an_empty_path_is_said(done):
    with pytest.raises(errors.ConfigError, match="path is ''"):
        wb.load_benchmark("")
    with pytest.raises(errors.ConfigError, match="path is ''"):
        done.save("")
    with pytest.raises(errors.WriteError, match="it is a folder"):
        done.save(".")
