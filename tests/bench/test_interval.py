"""Intervals: they hold what they promise, for few values and for dependent ones."""

from __future__ import annotations

from math import inf, isnan

import numpy as np
import pytest

from workbench.bench.interval import dependence, mean_interval, t_quantile


@pytest.mark.parametrize(
    ("error", "freedom", "exact"),
    [  # Student's own table, as in any handbook
        (0.05, 5, 2.571), (0.05, 11, 2.201), (0.01, 5, 4.032), (0.01, 11, 3.106),
        (0.005, 11, 3.497), (0.05, 1000, 1.962),
    ],
)  # fmt: skip
def test_t_is_that_of_the_tables(error, freedom, exact):
    assert t_quantile(error, freedom) == pytest.approx(exact, rel=0.01)
    assert t_quantile(error, 0.5) == inf


@pytest.mark.parametrize("n", [6, 12, 50])
def test_an_interval_of_few_values_holds_the_mean_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(400):
        low, high = mean_interval(rng.normal(1.0, 0.1, n), error=0.05, rng=rng)
        held += low <= 1.0 <= high
    assert held >= 0.93 * 400


def test_values_that_depend_on_their_neighbours_are_drawn_together_and_hold():
    rng = np.random.default_rng(0)

    def series() -> np.ndarray:
        steps = rng.normal(0, 1, 240)
        for i in range(1, 240):
            steps[i] += 0.6 * steps[i - 1]
        return steps

    assert dependence(series()) > 1
    assert dependence(rng.normal(0, 1, 240)) == 1
    held = apart = 0
    for _ in range(200):
        values = series()
        low, high = mean_interval(values, error=0.05, rng=rng)
        held += low <= 0 <= high
        half = 1.96 * values.std() / np.sqrt(values.size)  # as if they were independent
        apart += abs(values.mean()) <= half
    assert held >= 0.85 * 200 > apart


def test_too_few_values_have_no_interval():
    low, high = mean_interval(np.array([1.0, 2.0]), error=0.05, rng=np.random.default_rng(0))
    assert isnan(low)
    assert isnan(high)
    assert dependence(np.ones(20)) == 1
