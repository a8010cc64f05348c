"""Slower than allowed, fine, or cannot tell: only what is decided is called slower."""

from __future__ import annotations

from math import nan

import pytest

from workbench import errors
from workbench.bench.difference import Change, Difference
from workbench.bench.regression import judge, share_of


def change(low: float, ratio: float, high: float, cause: str = "code") -> Difference:
    made = Change(
        name="m", before_s=0.001, after_s=0.001 * ratio, ratio=ratio, low=low, high=high,
        floor=0.02, cause=cause,
    )  # fmt: skip
    return Difference(changes=(made,), code={}, host={}, pace=1.0)


@pytest.mark.parametrize(
    ("low", "ratio", "high", "cause", "ruling"),
    [
        (1.08, 1.10, 1.12, "code", "slower"),
        (1.04, 1.06, 1.08, "code", "cannot_tell"),  # the interval holds the limit
        (1.08, 1.10, 1.12, "host", "cannot_tell"),
        (1.08, 1.10, 1.12, "code or host", "cannot_tell"),
        (1.08, 1.10, 1.12, "noise", "cannot_tell"),
        (1.08, 1.10, 1.12, "engine", "cannot_tell"),
        (1.08, 1.10, 1.12, "code or engine", "cannot_tell"),
        (1.08, 1.10, 1.12, "engine or host", "cannot_tell"),
        (1.08, 1.10, 1.12, "pictures", "cannot_tell"),
        (1.00, 1.00, 1.01, "pictures", "cannot_tell"),
        (nan, 10.0, nan, "unknown", "cannot_tell"),
        (1.00, 1.02, 1.04, "code", "fine"),
        (0.60, 0.70, 0.80, "host", "fine"),
        (0.99, 1.00, 1.01, "noise", "fine"),
        (nan, nan, nan, "noise", "cannot_tell"),
    ],
)
def test_only_what_is_decided_is_slower(low, ratio, high, cause, ruling):
    (judgement,) = judge(change(low, ratio, high, cause), 0.05)
    assert judgement.ruling == ruling
    assert judgement.sentence.startswith("m: ")


def test_the_limit_is_the_callers():
    assert judge(change(1.08, 1.10, 1.12), 0.2)[0].ruling == "fine"
    assert judge(change(1.08, 1.10, 1.12), 0.0)[0].ruling == "slower"
    with pytest.raises(errors.ConfigError, match="a share"):
        judge(change(1.0, 1.0, 1.0), -0.1)


@pytest.mark.parametrize("text", ["much", "", "%", "-5%", "nan", "inf", "1e9"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(errors.ConfigError, match="a percentage such as 5%"):
        share_of(text)
