"""Candidates and their scores, on answers that are written by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.preprocessing import presets, recipes
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.recipes import Answers, Candidate, Wanted
from workbench.preprocessing.steps import (
    CenterCrop,
    ChannelOrder,
    NormalizeBatch,
    Resize,
    ResizeCrop,
    ResizeSampled,
)

BASE = Candidate("ImageNet mean/std", crop=0.875)
WANTED = Wanted((224, 224), "float32", 3, ("NCHW",), BASE)


def told(*rows: tuple[float, ...]) -> Answers:
    p = np.array(rows, np.float32)
    return Answers(p, p)


def one_hot(*classes: int, of: int = 10, sure: float = 1.0) -> Answers:
    p = np.full((len(classes), of), (1 - sure) / (of - 1), np.float32)
    p[np.arange(len(classes)), classes] = sure
    return Answers(p, p)


# ── candidates ────────────────────────────────────────────────────────────────────────────────


def test_the_usual_candidate_of_imagenet_is_the_preset():
    assert recipes.pipeline_of(BASE, WANTED).steps[-1] == NormalizeBatch(
        mean=presets.IMAGENET_MEAN, std=presets.IMAGENET_STD
    )
    assert recipes.geometry_of(BASE, WANTED) == (ResizeCrop(256, (224, 224), "bilinear"),)


def test_swapped_colours_swap_the_constants_with_them():
    steps = recipes.pipeline_of(replace(BASE, color="BGR"), WANTED).steps
    assert ChannelOrder("BGR") in steps
    assert steps[-1].mean == presets.IMAGENET_MEAN[::-1]


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"crop": None}, (Resize((224, 224), "bilinear"),)),
        ({"crop": None, "sampling": "sampled"}, (ResizeSampled((224, 224), "bilinear"),)),
        ({"sampling": "sampled"}, (ResizeSampled(256, "bilinear"), CenterCrop((224, 224)))),
        ({"crop": 1.0, "interpolation": "bicubic"}, (ResizeCrop(224, (224, 224), "bicubic"),)),
    ],
)
def test_every_choice_of_geometry_is_its_own_steps(choices, expected):
    assert recipes.geometry_of(replace(BASE, **choices), WANTED) == expected


@pytest.mark.parametrize("values", recipes.VALUES)
@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_what_a_candidate_does_to_the_numbers_is_read_back_from_its_pipeline(values, color):
    made = recipes.pipeline_of(Candidate(values, color, 0.875), WANTED)
    found = recipes.constants_of(made)
    assert found is not None
    assert found[0] == values


def test_a_recipe_of_ones_own_is_kept_as_written():
    own = Pipeline((ResizeCrop(256, 224), NormalizeBatch(mean=(0.1,) * 3, std=(0.9,) * 3)))
    name, constants = recipes.constants_of(own)
    assert name == recipes.WRITTEN
    wanted = Wanted((224, 224), "float32", 3, ("NCHW",), BASE, written=constants)
    assert recipes.WRITTEN in wanted.families()
    assert wanted.constants(recipes.WRITTEN) == constants


def test_alternatives_differ_in_one_choice_and_are_all_different():
    for choice in recipes.CHOICES:
        found = recipes.alternatives(BASE, choice, WANTED)
        assert len(set(found)) == len(found)
        for other in found:
            assert [c for c in recipes.CHOICES if getattr(other, c) != getattr(BASE, c)] == [choice]
            assert recipes.usual(other, BASE) == 1
    assert recipes.alternatives(BASE, "layout", WANTED) == ()


def test_screening_tries_all_numbers_in_both_orders_of_colours_once():
    found = list(recipes.screening(WANTED))
    assert len(found) == len(set(found)) == 2 * len(recipes.VALUES)
    whole = Wanted((8, 8), "uint8", 3, ("NCHW", "NHWC"), BASE)
    assert {c.values for c in recipes.screening(whole)} == {"0 to 255"}
    assert {c.layout for c in recipes.screening(whole)} == {"NCHW", "NHWC"}


# ── scores ────────────────────────────────────────────────────────────────────────────────────


def test_with_labels_the_score_is_the_mean_of_accuracy_and_of_what_the_truth_is_given():
    answers = told((0.7, 0.3), (0.4, 0.6), (0.9, 0.1))
    even = recipes.resamples(3)[:1]
    score = recipes.scores(answers, np.array([0, 1, 1]), even)[0]
    assert score == pytest.approx((2 / 3 + (0.7 + 0.6 + 0.1) / 3) / 2)


def test_sure_and_varied_answers_score_more_than_sure_or_varied_ones():
    varied = one_hot(*range(10))
    stuck = one_hot(*[3] * 10)
    unsure = one_hot(*range(10), sure=0.2)
    even = recipes.resamples(10)[:1]
    good, same, low = (float(recipes.scores(a, None, even)[0]) for a in (varied, stuck, unsure))
    assert good == pytest.approx(1)
    assert same == pytest.approx(0, abs=1e-9)
    assert 0 < low < good


def test_answers_that_change_in_the_mirror_score_less():
    p = one_hot(*range(10)).plain
    turned = Answers(p, np.roll(p, 1, axis=1))
    assert recipes.agreement(turned) == 0
    assert recipes.scores(turned, None, recipes.resamples(10)[:1])[0] == 0


def test_what_is_not_finite_scores_nothing():
    broken = told((float("nan"), 0.5))
    assert recipes.scores(broken, None, recipes.resamples(1)).max() == 0
    assert recipes.moved(broken, broken) == 1


def test_the_bootstrap_is_the_same_each_time_and_every_round_adds_up():
    weights = recipes.resamples(7, 50)
    assert (weights == recipes.resamples(7, 50)).all()
    assert weights.sum(axis=1) == pytest.approx(np.ones(51))
    assert weights[0] == pytest.approx(np.full(7, 1 / 7))


def test_a_recipe_is_told_from_the_best_only_by_winning_often_and_by_enough():
    best = np.full(101, 0.9)
    assert not recipes.alike(best, np.full(101, 0.8))
    assert recipes.alike(best, np.full(101, 0.9 - recipes.MARGIN / 2))  # always, and by little
    seldom = np.where(np.arange(101) % 5, 0.8, 0.95)
    assert recipes.won(best, seldom) == pytest.approx(0.8)
    assert recipes.alike(best, seldom)
    assert recipes.won(best, best) == 0.5


def test_how_far_answers_move_is_the_total_variation_distance():
    one, other = told((1.0, 0.0), (0.5, 0.5)), told((0.0, 1.0), (0.5, 0.5))
    assert recipes.moved(one, other) == pytest.approx(0.5)
    assert recipes.changed(one, other) == pytest.approx(0.5)
    assert recipes.confidence(one) == pytest.approx(0.75)


# ── of how many kinds pictures are ────────────────────────────────────────────────────────────


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_kinds_lie_between_one_and_the_number_of_classes(classes):
    found = recipes.variety(np.array(classes))
    assert 1 - 1e-9 <= found <= len(set(classes)) + 1e-9


def test_kinds_are_counted_by_their_share():
    even = [recipes.variety(np.array([*range(n)] * 4)) for n in (1, 2, 5, 10)]
    assert even == pytest.approx([1, 2, 5, 10])
    tilted = [recipes.variety(np.array([0] * (10 - n) + [1] * n)) for n in range(6)]
    assert all(a < b for a, b in pairwise(tilted))


def test_of_the_recipes_that_may_be_right_the_least_kinds_count():
    leading = replace(BASE, values="0 to 1")
    answers = {
        leading: one_hot(*range(6), 0, 1),
        BASE: one_hot(*[0] * 7, 1),
        replace(BASE, values="−1 to 1"): one_hot(*[2] * 8),
    }
    scored = dict(zip(answers, (0.8, 0.7, 0.1), strict=True))
    found = recipes.kinds(answers, scored, leading, WANTED)
    assert found == pytest.approx(recipes.variety(np.array([0] * 7 + [1])))
    scored[BASE] = 0.5  # it scores too little to be the right one
    found = recipes.kinds(answers, scored, leading, WANTED)
    assert found == pytest.approx(recipes.variety(np.array([*range(6), 0, 1])))


def test_numbers_of_another_order_say_nothing_of_kinds():
    large = replace(BASE, values="0 to 255")
    answers = {BASE: one_hot(*range(8)), large: one_hot(*[0] * 8)}
    scored = dict.fromkeys(answers, 0.9)
    assert recipes.kinds(answers, scored, BASE, WANTED) == pytest.approx(8)
    assert recipes.kinds(answers, scored, large, WANTED) == pytest.approx(1)


def test_crops_say_nothing_of_kinds():
    other = replace(BASE, crop=None)
    answers = {BASE: one_hot(*range(8)), other: one_hot(*[0] * 8)}
    assert recipes.kinds(answers, dict.fromkeys(answers, 0.9), BASE, WANTED) == pytest.approx(8)


def test_more_kinds_are_needed_without_labels_and_fewer_where_there_are_few_classes():
    assert recipes.kinds_needed(10, labelled=True) < 2 < recipes.kinds_needed(10, labelled=False)
    for labelled in (True, False):
        assert 1 < recipes.kinds_needed(2, labelled=labelled) < 2
