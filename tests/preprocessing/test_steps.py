"""Steps: the semantics of torchvision and timm, against their own results, and the checks."""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.golden.photo import make_photo
from workbench.errors import ConfigError, InputMismatchError
from workbench.preprocessing import presets, steps
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import (
    INTERPOLATIONS,
    STEPS,
    Batch,
    Cast,
    CenterCrop,
    ChannelOrder,
    Grayscale,
    Layout,
    Letterbox,
    Normalize,
    NormalizeBatch,
    Rescale,
    Resize,
    ResizeCrop,
    ResizeKeepAspect,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "preprocessing.npz"
STRIDE = 9


@cache
def goldens() -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    with np.load(GOLDEN) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, json.loads(str(arrays.pop("shapes")))


def names(kind: str) -> list[str]:
    return [name for name in goldens()[1] if kind in name.split("|")[:2]]


def picture_of(name: str) -> np.ndarray:
    height, width = map(int, name.rsplit("|", maxsplit=1)[-1].split("x"))
    return make_photo(height, width)


def step_of(name: str) -> steps.Step:
    _, kind, parameters, _ = name.split("|")
    values = parameters.split(",")
    if kind == "Resize":
        *sides, mode = values
        size = int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))
        return Resize(size, mode)
    size = int(values[0]), int(values[1])
    return CenterCrop(size) if kind == "CenterCrop" else ResizeKeepAspect(size, values[2])


def levels_off(seen: np.ndarray, expected: np.ndarray) -> int:
    return int(np.abs(seen.astype(int) - expected.astype(int)).max())


@pytest.mark.parametrize(
    "name", [*names("Resize"), *names("CenterCrop"), *names("ResizeKeepRatio")]
)
def test_a_step_gives_what_torchvision_and_timm_give(name):
    result = step_of(name)(picture_of(name))
    arrays, shapes = goldens()
    assert list(result.shape) == shapes[name]
    assert levels_off(result[::STRIDE, ::STRIDE], arrays[name]) == 0


@pytest.mark.parametrize("name", [n for n in goldens()[1] if n.split("|")[1] in presets.NAMES])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_a_preset_gives_what_torchvision_and_timm_give_to_one_level(name, fused):
    _, preset, size, _ = name.split("|")
    pipeline = presets.get(preset, size=int(size))
    pipeline = pipeline if fused else pipeline.unfused()
    result = pipeline(picture_of(name))
    arrays, shapes = goldens()
    assert list(result.shape[1:]) == shapes[name]
    std = np.array(pipeline.unfused().steps[3].std)[:, None, None]
    off = np.abs(result[0, :, ::STRIDE, ::STRIDE] - arrays[name].astype(np.float64)) * std * 255
    assert off.max() <= (1 if fused else 0) + 0.15  # float16 in the file is 0.13 of a level


def test_the_goldens_say_which_versions_made_them_and_stay_small():
    versions = " ".join(goldens()[0]["versions"])
    assert "torchvision 0.28" in versions
    assert "timm 1.0" in versions
    assert sum(f.stat().st_size for f in GOLDEN.parent.glob("preprocessing*.npz")) < 300_000


sides = st.integers(1, 90)


@given(sides, sides, st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_a_shorter_side_is_exact_and_the_longer_one_cut(height, width, target):
    result = Resize(target)(np.zeros((height, width, 3), np.uint8))
    short, long = sorted((height, width))
    assert sorted(result.shape[:2]) == sorted((target, int(target * long / short)))
    assert (result.shape[0] - result.shape[1]) * (height - width) >= 0


@given(sides, sides, sides, sides)
@settings(max_examples=60, deadline=None)
def test_a_centre_crop_has_its_size_and_keeps_or_pads_the_middle(height, width, rows, columns):
    picture = np.full((height, width, 3), 200, np.uint8)
    result = CenterCrop((rows, columns))(picture)
    assert result.shape == (rows, columns, 3)
    assert (result == 200).sum() == 3 * min(height, rows) * min(width, columns)


@given(
    st.integers(20, 200),
    st.integers(20, 200),
    st.integers(8, 120),
    st.sampled_from([0.5, 0.875, 1.0]),
    st.sampled_from(sorted(INTERPOLATIONS)),
)
@settings(max_examples=80, deadline=None)
def test_resize_crop_is_within_one_level_of_its_two_parts(height, width, crop, share, how):
    picture = make_photo(height, width)
    fused = ResizeCrop(int(crop / share), crop, how)
    first, second = fused.parts()
    assert levels_off(fused(picture), second(first(picture))) <= 1


@pytest.mark.parametrize("size", [(224, 320), (320, 224)])
@pytest.mark.parametrize("shape", [(375, 500), (500, 375), (100, 900)])
def test_resize_crop_covers_a_size_that_is_not_square(size, shape):
    fused = ResizeCrop((256, 365) if size[0] < size[1] else (365, 256), size)
    picture = make_photo(*shape)
    whole = fused.parts()[0](picture)
    assert whole.shape[0] >= size[0]
    assert whole.shape[1] >= size[1]
    assert levels_off(fused(picture), fused.parts()[1](whole)) <= 1


def test_a_crop_larger_than_the_scaled_picture_is_padded_with_black():
    result = ResizeCrop(10, 20)(np.full((40, 40, 3), 255, np.uint8))
    assert result.shape == (20, 20, 3)
    assert result[5:15, 5:15].min() == 255
    assert result[0].max() == 0


def test_a_very_long_picture_is_cropped_without_making_the_whole():
    result = ResizeCrop(256, 224)(np.zeros((3, 60_000, 3), np.uint8))
    assert result.shape == (224, 224, 3)
    with pytest.raises(InputMismatchError, match="65535"):
        Resize(256)(np.zeros((3, 60_000, 3), np.uint8))


@pytest.mark.parametrize("shape", [(375, 500), (500, 375), (64, 64), (33, 47)])
def test_a_letterbox_fits_the_whole_picture_and_fills_the_rest(shape):
    result = Letterbox(96, fill=(1, 2, 3))(np.full((*shape, 3), 250, np.uint8))
    inner = (result == 250).all(axis=2)
    assert result.shape == (96, 96, 3)
    assert max(inner.any(axis=1).sum(), inner.any(axis=0).sum()) == 96
    assert set(map(tuple, result[~inner])) <= {(1, 2, 3)}


def test_a_letterbox_of_a_grey_picture_is_grey():
    assert Letterbox((10, 20), fill=(30, 60, 90))(np.zeros((5, 5, 1), np.uint8))[0, 0, 0] == 60


def test_grey_weighs_the_channels_as_torchvision_does():
    picture = make_photo(20, 30)
    expected = np.asarray(Image.fromarray(picture).convert("L"))[:, :, None]
    assert np.array_equal(Grayscale()(picture), expected)
    weighted = picture @ np.array([0.299, 0.587, 0.114])
    assert np.abs(expected[:, :, 0] - weighted).max() <= 1


def test_channel_order_reverses_and_is_its_own_inverse():
    picture = make_photo(4, 5)
    step = ChannelOrder("BGR")
    assert np.array_equal(step(picture)[..., 0], picture[..., 2])
    assert np.array_equal(step.undo(step(picture)), picture)
    assert np.array_equal(ChannelOrder("RGB")(picture), picture)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["HWC", "CHW"]))
@settings(max_examples=20, deadline=None)
def test_normalize_is_the_formula_and_undo_takes_it_back(seed, layout):
    values = np.random.default_rng(seed).random((4, 5, 3), np.float32)
    values = values if layout == "HWC" else values.transpose(2, 0, 1)
    step = Normalize((0.4, 0.5, 0.6), (0.1, 0.2, 0.3), layout)
    result = step(values)
    channel = result[..., 1] if layout == "HWC" else result[1]
    raw = values[..., 1] if layout == "HWC" else values[1]
    assert np.allclose(channel, (raw - np.float32(0.5)) / np.float32(0.2), rtol=1e-6)
    assert np.allclose(step.undo(result), values, atol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("constants", [(None, None), ((0.5,), (0.25,)), presets.CLIP_MEAN])
def test_the_fused_normalisation_equals_its_plain_parts(layout, dtype, constants):
    mean, std = constants if len(constants) == 2 else (presets.CLIP_MEAN, presets.CLIP_STD)
    fused = NormalizeBatch(mean=mean, std=std, layout=layout, dtype=dtype)
    picture = make_photo(31, 44)
    plain = picture
    for step in fused.parts():
        plain = step(plain)
    result = fused(picture)
    assert result.shape == plain.shape
    assert result.dtype == plain.dtype == dtype
    assert result.flags.c_contiguous
    assert np.allclose(result, plain, atol=4e-3 if dtype == "float16" else 2e-6)
    assert np.abs(fused.undo(result) - picture).max() < (0.3 if dtype == "float16" else 1e-3)


def test_the_fused_normalisation_of_a_picture_is_that_of_its_array_bit_for_bit():
    picture = make_photo(31, 44)
    step = NormalizeBatch(mean=presets.CLIP_MEAN, std=presets.CLIP_STD)
    assert np.array_equal(step.into(Image.fromarray(picture), None), step(picture))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_batch_of_bytes_holds_the_very_pixels(layout):
    picture = make_photo(9, 7)
    fused = NormalizeBatch(scale=1, dtype="uint8", layout=layout)
    result = fused(picture)
    assert result.dtype == np.uint8
    assert np.array_equal(result[0] if layout == "NHWC" else result[0].transpose(1, 2, 0), picture)
    plain = picture
    for step in fused.parts():
        plain = step(plain)
    assert np.array_equal(result, plain)
    integers = NormalizeBatch(scale=1, dtype="int32")(picture)
    assert integers.dtype == np.int32
    assert np.array_equal(integers[0].transpose(1, 2, 0), picture)


def test_cast_rounds_and_stays_in_range():
    assert Cast("uint8")(np.array([-3.0, 0.5, 1.5, 300.0])).tolist() == [0, 0, 2, 255]
    assert Cast("float16")(np.ones(2, np.float32)).dtype == np.float16
    assert Cast("uint8").undo(np.ones(2)).tolist() == [1, 1]


def test_layout_and_batch_are_taken_back():
    picture = make_photo(4, 6)
    assert Layout("CHW")(picture).shape == (3, 4, 6)
    assert Layout("CHW")(picture).flags.c_contiguous
    assert np.array_equal(Layout("CHW").undo(Layout("CHW")(picture)), picture)
    assert np.array_equal(Layout("HWC").undo(Layout("HWC")(picture)), picture)
    assert np.array_equal(Batch().undo(Batch()(picture)), picture)


def test_rescale_by_255_divides_as_torchvision_does():
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(Rescale()(values), values.astype(np.float32) / np.float32(255))
    assert np.allclose(Rescale(2.0)(values), 2.0 * values)
    assert np.allclose(Rescale().undo(Rescale()(values)), values)


EVERY = [
    Resize(256),
    Resize((10, 20), "nearest"),
    ResizeKeepAspect(64, "contain"),
    CenterCrop(224),
    Letterbox(64),
    ResizeCrop(256, 224, "bicubic", 3.0),
    Grayscale(),
    ChannelOrder("BGR"),
    Rescale(),
    Normalize((0.5,), (0.5,)),
    Layout("CHW"),
    Cast("float16"),
    Batch(),
    NormalizeBatch(mean=(0.5,), std=(0.5,)),
]


@pytest.mark.parametrize("step", EVERY, ids=lambda s: type(s).__name__)
def test_every_step_is_a_hashable_value_with_words_and_a_recipe(step):
    assert pickle.loads(pickle.dumps(step)) == step
    assert hash(step) == hash(pickle.loads(pickle.dumps(step)))
    assert eval(repr(step), vars(steps)) == step  # the repr is the recipe
    assert step.text()
    assert json.loads(json.dumps(step.recipe()))["step"] == type(step).__name__
    assert step.recipe()["step"] in STEPS
    assert all(isinstance(part, steps.Step) for part in step.parts())


def test_reducing_gap_is_stated_and_changes_little():
    picture = make_photo(900, 1200)
    exact, quick = ResizeCrop(100, 90), ResizeCrop(100, 90, reducing_gap=2.0)
    assert exact != quick
    assert 0 < np.abs(exact(picture).astype(int) - quick(picture)).mean() < 3


@pytest.mark.parametrize(
    ("make", "field", "expected"),
    [
        (lambda: Resize(0), "size", "1 to"),
        (lambda: Resize(True), "size", "pixels"),
        (lambda: Resize((3, 4, 5)), "size", "height, width"),
        (lambda: Resize((3, -4)), "size", "1 to"),
        (lambda: Resize(70_000), "size", "65535"),
        (lambda: Resize(2.5), "size", "whole numbers"),
        (lambda: Resize(8, "cubic"), "interpolation", "bicubic"),
        (lambda: Resize(8, reducing_gap=0.5), "reducing_gap", "at least 1"),
        (lambda: ResizeKeepAspect(8, "stretch"), "fit", "contain"),
        (lambda: Letterbox(8, fill=(1, 2)), "fill", "0–255"),
        (lambda: Letterbox(8, fill=(1, 2, 256)), "fill", "0–255"),
        (lambda: ChannelOrder("GBR"), "order", "BGR"),
        (lambda: Rescale(0), "scale", "above 0"),
        (lambda: Rescale(float("nan")), "scale", "finite"),
        (lambda: Normalize((0.5,), (0.0,)), "std", "above 0"),
        (lambda: Normalize((0.5, 0.5), (0.5, 0.5)), "mean", "1 or 3"),
        (lambda: Normalize((0.5,), (0.5, 0.5, 0.5)), "std", "as many"),
        (lambda: Normalize(("a",), (0.5,)), "mean", "number"),
        (lambda: Normalize((float("inf"),), (0.5,)), "mean", "finite"),
        (lambda: Layout("WHC"), "layout", "CHW"),
        (lambda: Cast("string"), "dtype", "float16"),
        (lambda: NormalizeBatch(mean=(0.5,)), "std", "neither"),
        (lambda: NormalizeBatch(mean=(0.5,), std=(0.5,) * 3), "std", "as many"),
        (lambda: NormalizeBatch(layout="CHW"), "layout", "NCHW"),
        (lambda: NormalizeBatch(dtype="uint8"), "dtype", "float"),
    ],
)
def test_impossible_parameters_are_named_with_what_was_expected(make, field, expected):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.name == field
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Resize(4)(np.zeros((3, 4, 4), np.float32)),
        lambda: Resize(4)(np.zeros((4, 4), np.uint8)),
        lambda: ChannelOrder()(np.zeros((4, 4, 1), np.uint8)),
        lambda: Normalize((0.5,) * 3, (0.5,) * 3)(np.zeros((3, 4, 4), np.float32)),
        lambda: Layout()(np.zeros((4, 4), np.float32)),
        lambda: Batch()(np.zeros((4, 4), np.float32)),
        lambda: NormalizeBatch()(np.zeros((4, 4, 3), np.float32)),
    ],
)
def test_an_array_that_does_not_fit_a_step_is_named_with_its_shape(call):
    with pytest.raises(InputMismatchError, match=r"(float32|uint8) \(\d"):
        call()


@pytest.mark.parametrize(
    "order",
    [
        (Rescale(), Resize(8)),
        (Layout("CHW"), ChannelOrder()),
        (Layout("CHW"), Normalize((0.5,) * 3, (0.5,) * 3)),
        (Layout("CHW"), Layout("CHW")),
        (Batch(), Batch()),
        (Rescale(), NormalizeBatch()),
        (Grayscale(), NormalizeBatch(mean=(0.5,) * 3, std=(0.5,) * 3)),
    ],
)
def test_steps_in_an_order_that_cannot_be_are_refused_when_the_pipeline_is_made(order):
    with pytest.raises(ConfigError, match="expected"):
        Pipeline(order)


def test_steps_leave_their_input_alone():
    picture = make_photo(20, 30)
    before = picture.copy()
    for step in EVERY[:9]:
        step(picture)
    assert np.array_equal(picture, before)


def test_a_step_without_its_own_words_says_so():
    for call in (steps.Step().text, lambda: steps.Step()(None), lambda: steps.Step().flow(None)):
        with pytest.raises(NotImplementedError):
            call()
    assert Resize(9).wanted(18, 36) == (9, 18)
    assert CenterCrop(9).wanted(18, 36) == (18, 36)
    assert steps.PictureStep().wanted(3, 4) == (3, 4)


def test_a_step_shows_what_it_does_and_its_repr_stays_its_recipe():
    step = Resize(256)
    page = step._repr_html_()
    assert step.text() in page
    assert "interpolation" in page
    assert "bilinear" in page
    assert repr(step).startswith("Resize(")
