"""Two recipes, told apart in words."""

from __future__ import annotations

import pytest

from workbench.preprocessing import presets
from workbench.preprocessing.wording import changes


def test_a_recipe_does_not_differ_from_itself():
    assert changes(presets.imagenet(), presets.imagenet()) == ()


def test_a_step_that_only_one_has_is_said_in_its_own_words():
    rows = changes(presets.imagenet(), presets.get("imagenet", color_format="BGR"))
    assert rows == (
        ("normalisation (mean)", "0.485 0.456 0.406", "0.406 0.456 0.485"),
        ("normalisation (std)", "0.229 0.224 0.225", "0.225 0.224 0.229"),
        ("channel order", "not done", "channels as BGR"),
    )


def test_steps_that_do_the_same_in_another_way_stand_side_by_side():
    (scaling, *rest) = changes(presets.imagenet(), presets.raw())
    assert scaling == (
        "scaling",
        "shorter side to 256, middle 224×224 (bilinear, fused)",
        "stretch to 224×224 (bilinear)",
    )
    assert ("normalisation (factor)", "1/255", "1") in rest
    assert ("normalisation (mean)", "0.485 0.456 0.406", "none") in rest


def test_sizes_and_filters_are_named():
    rows = changes(presets.imagenet(), presets.inception())
    assert rows[:3] == (
        ("scaling (scaled to)", "256", "341"),
        ("scaling (middle kept)", "224×224", "299×299"),
        ("scaling (interpolation)", "bilinear", "bicubic"),
    )


@pytest.mark.parametrize("name", presets.NAMES)
def test_no_row_speaks_in_python(name):
    for row in changes(presets.imagenet(), presets.get(name)):
        assert not any(word in " ".join(row) for word in ("True", "None", "False", "[", "]"))
