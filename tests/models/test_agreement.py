"""Whether claims about a model say the same, and whether they fit a graph."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.models import agreement
from workbench.models.companion import Claim
from workbench.models.passport import Picture
from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import ChannelOrder, NormalizeBatch, Resize, ResizeCrop

IMAGE = Picture("images", "NCHW", 3, 224, 224, "float32")
IMAGENET = presets.imagenet().recipe()


def recipe(*steps: Any) -> list[dict[str, Any]]:
    return Pipeline(steps).recipe()


def claim(value: Any, field: str = "preprocessing") -> Claim:
    return Claim(field, value, "config.json")


# ── what a claim may be ───────────────────────────────────────────────────────────────────────


def test_a_claim_is_kept_in_the_form_of_the_metadata():
    value, reason = agreement.checked(claim([1, 3, 8, 8], "input_shape"))
    assert (value, reason) == ((1, 3, 8, 8), "")


@pytest.mark.parametrize(
    ("field", "value"),
    [("color_format", "XYZ"), ("input_shape", "large"), ("sha256", "abc"), ("activation", 7)],
)
def test_a_claim_that_can_be_none_is_told_with_what_it_should_be(field, value):
    found, reason = agreement.checked(claim(value, field))
    assert found is None
    assert reason.startswith("it is ")
    assert "should be" in reason


# ── what fits a graph ─────────────────────────────────────────────────────────────────────────


def test_a_preset_fits_by_its_name():
    assert agreement.fitted(claim("imagenet"), IMAGE, "RGB") == ("imagenet", (), "")


def test_a_recipe_that_fits_is_taken_as_it_is():
    assert agreement.fitted(claim(IMAGENET), IMAGE, "RGB") == (IMAGENET, (), "")


def test_layout_and_type_are_the_graphs():
    image = Picture("images", "NHWC", 3, 224, 224, "float16")
    value, overruled, reason = agreement.fitted(claim(IMAGENET), image, "RGB")
    assert (overruled, reason) == ((), "")
    assert (value[-1]["layout"], value[-1]["dtype"]) == ("NHWC", "float16")


def test_the_graphs_size_holds_and_that_is_told():
    image = Picture("images", "NCHW", 3, 160, 160, "float32")
    value, overruled, reason = agreement.fitted(claim(IMAGENET), image, "RGB")
    assert reason == ""
    assert overruled == (
        "config.json feeds 224 × 224 and the graph takes 160 × 160: the graph's size holds.",
    )
    made = agreement.pipeline_of(value, image, "RGB")
    assert made is not None
    assert made.size == (160, 160)


def test_a_side_that_the_graph_leaves_free_is_the_claims():
    image = Picture("images", "NCHW", 3, None, None, "float32")
    assert agreement.fitted(claim(IMAGENET), image, "RGB") == (IMAGENET, (), "")


@pytest.mark.parametrize(
    ("value", "image", "words"),
    [
        (5, IMAGE, "should be"),
        ("nonsense", IMAGE, "should be"),
        ([{"step": "NoSuchStep"}], IMAGE, "should be"),
        (recipe(Resize(224), NormalizeBatch()), IMAGE, "no fixed size"),
        (IMAGENET, Picture("x", "NCHW", 1, 224, 224, "float32"), "3 channels"),
    ],
)
def test_what_cannot_be_fitted_is_told(value, image, words):
    found, overruled, reason = agreement.fitted(claim(value), image, "RGB")
    assert (found, overruled) == (None, ())
    assert words in reason


# ── whether two say the same ──────────────────────────────────────────────────────────────────


def differ(field: str, held: Any, other: Any, image: Picture | None = IMAGE) -> str:
    return agreement.difference(field, held, other, image, "RGB")


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("preprocessing", "imagenet", IMAGENET),
        ("preprocessing", IMAGENET, "imagenet"),
        ("labels", ("a", "b"), ["a", "b"]),
        ("input_shape", (1, 3, 8, 8), (None, 3, 8, 8)),
        ("input_shape", (1, 3, 8, 8), (16, 3, 8, 8)),  # a batch of one fixes no batch
        ("input_shape", (1, 3, None, None), (1, 3, 8, 8)),
        ("licence", "MIT", "MIT"),
        ("accuracy", {"top1": 0.7}, {"top1": 0.7, "top5": 0.9}),
    ],
)
def test_what_says_the_same_in_other_words_is_no_difference(field, one, other):
    assert differ(field, one, other) == ""


@pytest.mark.parametrize(
    ("field", "one", "other", "words"),
    [
        ("input_shape", (1, 3, 8, 8), (1, 3, 9, 8), "(1, 3, 8, 8) against (1, 3, 9, 8)"),
        ("input_shape", (1, 3, 8, 8), (1, 8), "(1, 3, 8, 8) against (1, 8)"),
        ("labels", ("a", "b"), ("a", "b", "c"), "2 labels against 3 labels"),
        ("labels", ("a", "b"), ("a", "c"), "class 1 is 'b' against 'c'"),
        ("labels", ("a", "b"), ("x", "y"), "2 of 2 names, first: class 0 is 'a' against 'x'"),
        ("licence", "MIT", "GPL", "'MIT' against 'GPL'"),
        ("accuracy", {"top1": 0.7}, {"top1": 0.8}, "top1 0.7 against 0.8"),
        ("preprocessing", "imagenet", "inception", "0.485"),
    ],
)
def test_a_difference_is_told_with_both_values(field, one, other, words):
    assert words in differ(field, one, other)


def test_many_differences_of_recipes_are_cut_short():
    other = recipe(
        ResizeCrop(300, 224, "bicubic"), ChannelOrder("BGR"),
        NormalizeBatch(scale=1.0, mean=(1.0,) * 3, std=(2.0,) * 3),
    )  # fmt: skip
    told = differ("preprocessing", IMAGENET, other)
    assert told.count(" against ") == 4
    assert "more" in told


def test_a_recipe_that_cannot_be_built_is_no_difference_but_a_note_elsewhere():
    assert differ("preprocessing", "imagenet", "nonsense") == ""
    assert agreement.pipeline_of("nonsense", IMAGE, "RGB") is None
