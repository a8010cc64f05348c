"""What changed between two benchmarks, and what did it: runs made of numbers."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np
import pytest

from workbench import errors
from workbench.bench.canary import Canary
from workbench.bench.difference import blocks_of
from workbench.bench.fingerprint import fingerprint
from workbench.bench.outcome import Benchmark
from workbench.bench.record import Record
from workbench.bench.subject import Configuration
from workbench.models.session import Options


def made(
    median_s: float = 0.001,
    *,
    seed: int = 0,
    n: int = 300,
    sha256: str = "aa",
    pace_s: float = 0.001,
    names: tuple[str, ...] = ("m",),
    **more,
) -> Benchmark:
    rng = np.random.default_rng(seed)
    records = [
        Record(
            name=name,
            configuration=Configuration(model=name, asked=name, options=Options(), sha256=sha256),
            session=None,
            laps_s=(median_s * np.exp(rng.normal(0, 0.03, n))).reshape(-1, 1),
            places=np.arange(n),
            at_s=np.arange(n) * median_s,
            settled_at=0,
        )
        for name in names
    ]
    whole = {
        "timed": "inference", "fed": "arrays", "images_sha256": "", "recipes": {}, "seed": 0,
        "min_time_s": 1.0, "max_time_s": 60.0, "canary": Canary(pace_s, pace_s), "step_s": 1e-8,
        "fingerprint": fingerprint(), "wall_s": 1.0,
    }  # fmt: skip
    return Benchmark(records=tuple(records), **{**whole, **more})


def other_host(bench: Benchmark) -> Benchmark:
    return replace(bench, fingerprint=replace(bench.fingerprint, processor="another one"))


def other_engine(bench: Benchmark) -> Benchmark:
    versions = bench.fingerprint.versions | {"onnxruntime": "9.9"}
    return replace(bench, fingerprint=replace(bench.fingerprint, versions=versions))


def cause(before: Benchmark, after: Benchmark) -> str:
    return before.diff(after).changes[0].cause


def test_the_same_again_is_noise():
    causes = [cause(made(seed=2 * s), made(seed=2 * s + 1)) for s in range(60)]
    assert causes.count("noise") >= 57


def test_noise_stays_noise_whatever_else_differs():
    assert cause(made(), other_host(other_engine(made(seed=1, sha256="bb")))) == "noise"


@pytest.mark.parametrize("ratio", [0.7, 1.4])
def test_a_change_is_laid_to_what_differs(ratio):
    before, after = made(), made(0.001 * ratio, seed=1)
    assert cause(before, replace_sha(after)) == "code"
    assert cause(before, other_engine(after)) == "engine"
    assert cause(before, other_engine(replace_sha(after))) == "code or engine"
    assert cause(before, other_host(other_engine(after))) == "engine or host"
    assert cause(before, other_host(after)) == "host"
    assert cause(before, other_host(replace_sha(after))) == "code or host"
    assert cause(before, after) == "host"


def replace_sha(bench: Benchmark) -> Benchmark:
    records = [
        replace(r, configuration=replace(r.configuration, sha256="bb")) for r in bench.records
    ]
    return replace(bench, records=tuple(records))


def test_a_processor_that_changed_its_pace_may_have_done_it():
    after = made(0.0014, seed=1, pace_s=0.0014)
    assert cause(made(), replace_sha(after)) == "code or host"
    told = made().diff(after)
    assert told.pace == pytest.approx(1.4)
    assert "1.40 ×" in told.sentences()[0]
    assert cause(made(), replace_sha(made(0.0014, seed=1, pace_s=0.0007))) == "code"


def test_a_change_of_one_model_is_not_laid_to_the_file_of_another():
    before = made(names=("a", "b"))
    slower = made(0.0014, seed=1, names=("a", "b"))
    first = replace(slower[0], configuration=replace(slower[0].configuration, sha256="bb"))
    after = replace(slower, records=(first, slower[1]))
    assert [c.cause for c in before.diff(after).changes] == ["code", "host"]


def test_it_says_so_in_words():
    told = made().diff(replace_sha(made(0.0014, seed=1)))
    assert told.sentences()[0].startswith("m: 4")
    assert "% slower. The code did it: what differs is file of m." in told.sentences()[0]
    assert "aa → bb" in str(told)
    assert "1 of 1 configuration changed" in repr(told)
    frame = told.to_frame()
    assert frame["cause"].tolist() == ["code"]
    assert frame["ratio_low"][0] < frame["ratio"][0] < frame["ratio_high"][0]
    assert "noise" in made().diff(made(seed=1)).sentences()[0]


def test_what_only_one_of_them_has_is_named():
    told = made(names=("a", "b")).diff(made(names=("b", "c")))
    assert (told.only_before, told.only_after) == (("a",), ("c",))
    assert "Only before: a." in str(told)
    assert len(told.changes) == 1


def test_what_cannot_be_compared_is_refused_or_said():
    with pytest.raises(errors.ConfigError, match="expected a Benchmark"):
        made().diff("run.json")
    with pytest.raises(errors.ConfigError, match="timed 'inference'"):
        made().diff(made(timed="end_to_end"))
    told = made().diff(made(n=2))
    assert told.sentences() == ("m: nothing to compare.",)
    assert str(told)


def test_the_same_two_always_differ_by_the_same():
    one, two = made(), made(0.0014, seed=1)
    assert one.diff(two).changes == one.diff(two).changes


def test_runs_without_a_time_are_not_among_the_blocks():
    record = made()[0]
    laps = record.laps_s.copy()
    laps[::2] = nan
    blocks = blocks_of(replace(record, laps_s=laps))
    assert blocks.size == 20
    assert np.isfinite(blocks).all()


@pytest.mark.parametrize("n", [6, 7, 8])
def test_too_few_runs_are_said_and_are_not_called_noise(n):
    told = made(n=n).diff(replace_sha(made(0.01, seed=1, n=n)))
    assert told.changes[0].cause == "unknown"
    assert told.sentences()[0].startswith("m: too few runs to tell. The medians are ")
    assert "noise." not in told.sentences()[0]
    assert "0 of 1 configuration changed" in repr(told)


def test_other_pictures_cannot_be_compared():
    told = made(images_sha256="a" * 64).diff(replace_sha(made(0.01, seed=1, images_sha256="")))
    assert told.changes[0].cause == "pictures"
    assert told.sentences() == ("m: not comparable, other pictures (aaaaaaaaaaaa → none).",)
    assert "pictures" not in told.code


def test_only_models_recipes_and_this_package_are_code():
    told = made().diff(other_engine(replace_sha(made(0.01, seed=1))))
    assert list(told.code) == ["file of m"]
    assert list(told.engine) == ["version of onnxruntime"]
    assert "Code or engine, which cannot be told apart: file of m; version of" in str(told)
