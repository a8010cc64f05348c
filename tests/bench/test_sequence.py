"""The decision of a comparison, on hosts made of numbers (seeds fixed, no clock read)."""

from __future__ import annotations

from math import exp, isnan, log, nan

import numpy as np
import pytest
from hosts import INDEPENDENT, REALISTIC, Noise, compared, times

from workbench.bench.sequence import (
    ERROR,
    FEWEST_BLOCKS,
    LOOKS,
    Plan,
    Sequence,
    centres,
    floor_of,
    plan,
    spent,
    time_for,
)

COMPARISONS = 400


@pytest.mark.parametrize(
    "noise",
    [REALISTIC, INDEPENDENT, Noise(independent=0.002, placement=0.005)],
    ids=["drift, bursts and two modes", "independent", "quiet, but sessions differ"],
)
def test_of_400_models_against_themselves_at_most_5_percent_are_claimed_to_differ(noise):
    claims = [compared(1.0, noise, seed)[0].outcome for seed in range(COMPARISONS)]
    wrong = sum(outcome != "cannot_tell" for outcome in claims)
    assert wrong <= ERROR * COMPARISONS


def test_the_same_noise_deceives_a_comparison_of_one_block_after_the_other():
    """The check of the check: on this host, "a, then b, and a t-test" claims differences."""
    wrong = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        told = times(200, REALISTIC, rng).ravel()  # in order of time within a round is enough here
        first, second = told[:400], told[400:]
        distance = second.mean() - first.mean()
        error = np.sqrt(first.var() / first.size + second.var() / second.size)
        wrong += abs(distance) > 1.96 * error
    assert wrong > 50


def test_5_percent_under_3_percent_of_independent_noise_is_found_in_time():
    for ratio, name in ((1 / 1.05, "faster"), (1.05, "slower")):
        found = [compared(ratio, INDEPENDENT, seed)[0] for seed in range(COMPARISONS)]
        right = sum(look.outcome == name for look in found)
        assert right >= 0.95 * COMPARISONS
        assert all(look.blocks <= plan(0.004, 30.0).blocks for look in found)


@pytest.mark.parametrize(
    ("ratio", "noise"),
    [
        (1.005, INDEPENDENT), (1.01, INDEPENDENT), (1 / 1.015, INDEPENDENT),
        (1.03, Noise(independent=0.06)), (1.03, REALISTIC), (1 / 1.05, REALISTIC),
    ],
)  # fmt: skip
def test_a_difference_below_the_floor_that_was_measured_is_not_told(ratio, noise):
    below = wrong = 0
    for seed in range(100):
        look, _ = compared(ratio, noise, seed)
        if abs(log(ratio)) < look.floor:
            below += 1
            wrong += look.outcome != "cannot_tell"
    assert below >= 50, "the noise is too small for this test"
    assert wrong <= ERROR * below


@pytest.mark.parametrize(("noise", "round_s"), [(0.02, 0.4), (0.03, 1.2)], ids=["100ms", "300ms"])
def test_the_time_that_is_proposed_for_slow_models_finds_what_30_s_do_not(noise, round_s):
    host = Noise(independent=noise)
    short = [compared(1.05, host, seed, round_s=round_s, max_time_s=22.5)[0] for seed in range(40)]
    assert sum(look.outcome == "slower" for look in short) <= 4
    floor = float(np.median([look.threshold for look in short]))
    seconds = time_for(floor, plan(round_s, 22.5).pairs, round_s)
    found = [
        compared(1.05, host, 1000 + seed, round_s=round_s, max_time_s=seconds)[0].outcome
        for seed in range(40)
    ]
    assert found.count("slower") >= 0.95 * 40


def test_a_difference_just_above_the_floor_may_take_longer_than_a_plain_one():
    near = np.median([compared(1.05, INDEPENDENT, seed)[0].blocks for seed in range(40)])
    far = np.median([compared(1.5, INDEPENDENT, seed)[0].blocks for seed in range(40)])
    assert far <= near


def test_a_model_against_itself_does_not_take_all_of_the_time():
    blocks = [compared(1.0, INDEPENDENT, seed)[0].blocks for seed in range(40)]
    assert np.median(blocks) < plan(0.004, 30.0).blocks / 4


def test_the_estimate_and_its_interval_hold_what_is_true():
    held = 0
    for seed in range(200):
        look, _ = compared(1.2, INDEPENDENT, seed)
        held += look.low <= log(1.2) <= look.high
    assert held >= 0.95 * 200


def test_the_same_seed_gives_the_same_look():
    assert compared(1.03, REALISTIC, 5)[0] == compared(1.03, REALISTIC, 5)[0]


def test_there_are_at_most_five_looks_and_together_they_spend_the_error():
    for round_s in (1e-4, 0.004, 0.05, 0.4, 3.0, 40.0):
        planned = plan(round_s, 30.0)
        assert 1 <= len(planned.looks) <= 5 == len(LOOKS)
        assert planned.looks[-1] == planned.blocks
        shares = [n / planned.blocks for n in planned.looks]
        errors = np.diff([0.0, *map(spent, shares)])
        assert errors.sum() == pytest.approx(ERROR)
        assert (errors > 0).all()


def test_errors_spent_by_a_real_sequence_add_up_to_no_more_than_the_whole():
    _, sequence = compared(1.028, INDEPENDENT, 3)
    assert sum(look.error for look in sequence.looks) <= ERROR + 1e-12
    assert [look.number for look in sequence.looks] == list(range(1, len(sequence.looks) + 1))


def test_a_plan_fits_the_time():
    for round_s in (1e-4, 0.004, 0.05, 0.4, 3.0):
        planned = plan(round_s, 30.0)
        assert planned.pairs * planned.blocks * round_s <= 30.0 + round_s


def test_too_few_blocks_are_never_a_difference():
    sequence = Sequence(plan(10.0, 30.0))
    blocks = FEWEST_BLOCKS - 1
    for number in range(blocks):
        look = sequence.feed(np.full((2, 1), 3.0), np.zeros((2, 1)), last=number == blocks - 1)
        if sequence.over:
            break
    assert look is not None
    assert look.outcome == "cannot_tell"


def test_runs_without_a_time_are_left_out():
    sequence = Sequence(Plan(pairs=4, blocks=12, looks=(12,)))
    rng = np.random.default_rng(0)
    for _ in range(12):
        between, within = rng.normal(0.5, 0.01, (2, 4)), rng.normal(0, 0.01, (2, 4))
        between[0, 1] = within[1, 3] = nan
        look = sequence.feed(between, within)
    assert look is not None
    assert look.outcome == "slower"
    assert exp(look.log_ratio) == pytest.approx(exp(0.5), rel=0.02)


def test_a_comparison_in_which_nothing_had_a_time_cannot_tell():
    sequence = Sequence(Plan(pairs=4, blocks=12, looks=(12,)))
    for _ in range(12):
        look = sequence.feed(np.full((2, 4), nan), np.full((2, 4), nan))
    assert look is not None
    assert look.outcome == "cannot_tell"
    assert isnan(look.log_ratio)
    assert isnan(look.floor)


def test_bursts_at_the_ends_do_not_move_a_block():
    row = np.array([[0.1] * 6 + [5.0, -5.0]])
    assert centres(row)[0] == pytest.approx(0.1)


def test_the_floor_is_the_95th_percentile_where_there_are_enough_and_else_the_largest():
    many = np.linspace(-1, 1, 201)
    assert floor_of(many) == (pytest.approx(np.quantile(np.abs(many), 0.95)), True)
    assert floor_of(np.array([0.1, -0.7, 0.2, nan])) == (0.7, False)
    assert isnan(floor_of(np.array([nan]))[0])
