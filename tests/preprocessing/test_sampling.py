"""Scaling as OpenCV does it: values worked out by hand, and where it equals Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from workbench.errors import ConfigError
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import CenterCrop, NormalizeBatch, ResizeSampled


def test_sampling_looks_up_between_two_pixels_and_averages_nothing_else():
    row = np.array([0, 10, 200, 30, 40, 50, 60, 70], np.uint8)
    picture = np.repeat(row[None, :, None], 3, 2).repeat(2, 0)
    half = np.asarray(ResizeSampled((2, 4)).apply(Image.fromarray(picture)))
    assert half[0, :, 0].tolist() == [5, 115, 45, 65]
    quarter = np.asarray(ResizeSampled((2, 2)).apply(Image.fromarray(picture)))
    assert quarter[0, :, 0].tolist() == [105, 55]
    nearest = np.asarray(ResizeSampled((2, 4), "nearest").apply(Image.fromarray(picture)))
    assert nearest[0, :, 0].tolist() == [0, 200, 40, 60]


def test_sampled_cubic_weights_are_opencvs():
    step = np.array([0, 0, 0, 0, 200, 200, 200, 200], np.uint8)
    picture = np.repeat(step[None, :, None], 3, 2)
    twice = np.asarray(ResizeSampled((1, 16), "bicubic").apply(Image.fromarray(picture)))
    # a = −0.75, a quarter beyond the pixel: −0.10546875, 0.87890625, 0.26171875, −0.03515625
    assert twice[0, 7:9, 0].tolist() == [round(200 * (0.26171875 - 0.03515625)),
                                         round(200 * (0.87890625 - 0.10546875))]  # fmt: skip


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_enlarging_samples_as_pillow_filters(kind):
    picture = np.random.default_rng(1).integers(0, 256, (9, 7, 3), np.uint8)
    ours = np.asarray(ResizeSampled((18, 21), kind).apply(Image.fromarray(picture)), int)
    theirs = np.asarray(
        Image.fromarray(picture).resize((21, 18), getattr(Image.Resampling, kind.upper())), int
    )
    assert np.abs(ours - theirs).max() <= (1 if kind == "bilinear" else 48)
    assert ours.shape == theirs.shape


@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(5, 9), (20, 31), (1, 1), (13, 17)])
def test_a_plain_picture_stays_plain_whatever_the_filter(kind, size):
    picture = Image.new("RGB", (17, 13), (10, 200, 77))
    scaled = ResizeSampled(size, kind).apply(picture)
    assert scaled.size == size[::-1]
    assert np.unique(np.asarray(scaled).reshape(-1, 3), axis=0).tolist() == [[10, 200, 77]]


@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bicubic"])
def test_a_picture_of_the_wanted_size_is_returned_as_it_is(kind):
    picture = Image.new("RGB", (7, 9))
    assert ResizeSampled((9, 7), kind).apply(picture) is picture


def test_cubic_values_stay_within_a_byte():
    step = np.repeat(np.array([[0, 0, 0, 255, 255, 255]], np.uint8)[:, :, None], 3, 2)
    scaled = np.asarray(ResizeSampled((1, 24), "bicubic").apply(Image.fromarray(step)))
    assert scaled.dtype == np.uint8
    assert (scaled.min(), scaled.max()) == (0, 255)  # the overshoot is cut, not wrapped
    assert (np.diff(scaled[0, 6:18, 0].astype(int)) >= 0).all()


def test_grey_pictures_are_scaled_as_the_channels_of_coloured_ones():
    grey = np.random.default_rng(2).integers(0, 256, (12, 10), np.uint8)
    coloured = Image.fromarray(np.repeat(grey[:, :, None], 3, 2))
    one = ResizeSampled((5, 7)).apply(Image.fromarray(grey))
    three = np.asarray(ResizeSampled((5, 7)).apply(coloured))
    assert np.asarray(one).shape == (5, 7)
    assert all((np.asarray(one) == three[:, :, c]).all() for c in range(3))


def test_half_the_size_turns_with_the_picture():
    picture = np.random.default_rng(3).integers(0, 256, (8, 12, 3), np.uint8)
    plain = np.asarray(ResizeSampled((4, 6)).apply(Image.fromarray(picture)))
    turned = np.asarray(ResizeSampled((6, 4)).apply(Image.fromarray(picture.transpose(1, 0, 2))))
    assert (plain.transpose(1, 0, 2) == turned).all()


@pytest.mark.parametrize(
    ("size", "before", "after"),
    [(8, (20, 10), (16, 8)), (8, (10, 25), (8, 20)), ((4, 6), (9, 9), (6, 4))],
)
def test_the_shorter_side_or_both_are_given(size, before, after):
    step = ResizeSampled(size)
    assert step.wanted(*before) == step.apply(Image.new("RGB", before)).size == after
    assert step.size_after(before[::-1]) == after[::-1]
    assert step.size_after(None) == (None if isinstance(size, int) else size)


def test_it_is_read_back_from_its_recipe_and_says_that_it_does_not_average():
    pipeline = Pipeline((ResizeSampled(40, "bicubic"), CenterCrop(32), NormalizeBatch()))
    assert Pipeline.from_recipe(pipeline.recipe()) == pipeline
    assert ResizeSampled(40, "bicubic").text() == "shorter side to 40 (bicubic, not antialiased)"
    assert ResizeSampled((4, 6)).text().startswith("stretch to 4×6")


@pytest.mark.parametrize("given", [{"size": 0}, {"size": (3,)}, {"size": 8, "interpolation": "x"}])
def test_what_cannot_be_is_refused(given):
    with pytest.raises(ConfigError):
        ResizeSampled(**given)
