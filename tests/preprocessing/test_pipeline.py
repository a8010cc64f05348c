"""Pipelines: one path for calls, batches, timings and traces; recipes; changes."""

from __future__ import annotations

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.golden.photo import make_photo
from workbench.cards import Pictures, Table
from workbench.errors import (
    ConfigError,
    ImageTooLargeError,
    InputMismatchError,
    MetadataError,
    NotAnImageError,
)
from workbench.preprocessing import presets
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import (
    ArrayStep,
    Batch,
    Cast,
    CenterCrop,
    ChannelOrder,
    Flow,
    Grayscale,
    Layout,
    Letterbox,
    Normalize,
    NormalizeBatch,
    PictureStep,
    Rescale,
    Resize,
    ResizeCrop,
    ResizeKeepAspect,
)

PHOTO = make_photo(75, 100)
NORMAL = NormalizeBatch(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))

PIPELINES = [
    *(presets.get(name) for name in presets.NAMES),
    presets.get("imagenet", size=(64, 96), color_format="BGR", layout="NHWC", dtype="float16"),
    presets.get("imagenet", size=64, channels=1),
    presets.get("raw", size=20, dtype="uint8"),
    presets.imagenet(64).unfused(),
    presets.get("clip", size=48, color_format="BGR", layout="NHWC").unfused(),
    Pipeline((Letterbox(64), Rescale(), Layout("CHW"), Batch())),
    Pipeline((Resize(40),)),
    Pipeline((CenterCrop(30), Grayscale(), Layout("CHW"), Cast("float16"), Batch())),
    Pipeline((ChannelOrder("BGR"), ChannelOrder("BGR"), NORMAL)),
]


def jpeg(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, "JPEG", quality=90)
    return sink.getvalue()


@pytest.mark.parametrize("pipeline", PIPELINES, ids=repr)
def test_the_last_array_of_a_trace_is_bit_equal_to_the_call_and_to_every_other_way(pipeline):
    data = jpeg(PHOTO)
    result = pipeline(data)
    trace = pipeline.trace(data)
    assert trace.arrays[-1].tobytes() == result.tobytes()
    assert trace.arrays[-1].dtype == result.dtype == pipeline.dtype
    timed, stages = pipeline.timed(data)
    assert timed.tobytes() == result.tobytes()
    assert list(stages) == list(trace.names)
    assert next(iter(stages)) == "decode"
    if pipeline.layout.startswith("N"):
        assert pipeline.batch([data, data])[1].tobytes() == result.tobytes()
    assert len(result.shape) == len(pipeline.shape)
    for side, promised in zip(result.shape, pipeline.shape, strict=True):
        assert promised in (None, side)


@pytest.mark.parametrize("pipeline", PIPELINES, ids=repr)
def test_a_pipeline_is_a_value_with_a_recipe(pipeline):
    again = Pipeline.from_recipe(json.loads(json.dumps(pipeline.recipe())))
    assert again == pipeline
    assert hash(again) == hash(pipeline)
    assert again.difference(pipeline) == ()
    copy = pickle.loads(pickle.dumps(pipeline))
    assert copy == pipeline
    assert copy.shape == pipeline.shape
    assert "\n" not in repr(pipeline)
    assert len(repr(pipeline)) < 160
    assert pipeline.describe().endswith(".")
    for step in pipeline.steps:
        assert step.text() in str(pipeline)
        assert step.text() in pipeline.describe()


@pytest.mark.parametrize("pipeline", PIPELINES[:11], ids=repr)
def test_what_is_fed_can_be_looked_at(pipeline):
    trace = pipeline.trace(PHOTO)
    before = [s for s in trace if s.step is None or isinstance(s.step, PictureStep)][-1].picture
    seen = pipeline.denormalize(trace.arrays[-1])
    assert seen.dtype == np.uint8
    drawn = trace.picture[:, :, ::-1] if pipeline.color_format == "BGR" else trace.picture
    assert np.array_equal(seen, drawn)
    before = before if before.ndim == 3 else np.repeat(before[:, :, None], 3, axis=2)
    assert np.abs(seen.astype(int) - before).max() <= 1


def test_the_plain_steps_agree_with_the_fused_ones():
    fused = presets.imagenet()
    plain = fused.unfused()
    names = [type(step).__name__ for step in plain.steps]
    assert names == ["Resize", "CenterCrop", "Rescale", "Normalize", "Layout", "Batch"]
    level = 1 / 255 / min(presets.IMAGENET_STD)
    photo = make_photo(375, 500)
    assert np.abs(fused(photo) - plain(photo)).max() <= level + 1e-5


def test_a_trace_shows_every_step():
    trace = presets.imagenet(64).unfused().trace(PHOTO)
    assert trace.names == (
        "decode", "resize", "center_crop", "rescale", "normalize", "layout", "batch"
    )  # fmt: skip
    assert trace["resize"].shape == (73, 97, 3)
    assert trace[0].text == "upright RGB"
    assert [s.layout for s in trace[-2:]] == ["CHW", "NCHW"]
    assert trace["rescale"].shown == "de-normalised"
    assert trace["resize"].shown == "as it is"
    assert 0 <= trace["rescale"].low <= trace["rescale"].high <= 1
    assert len(list(trace)) == len(trace) == 7
    with pytest.raises(KeyError, match="center_crop"):
        trace["crop"]
    for array in trace.arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert list(trace.timings) == list(trace.names)
    assert trace.timings.total_s >= sum(trace.timings.values()) - 1e-9


def test_a_trace_has_a_frame_a_figure_and_a_card():
    trace = presets.get("imagenet", size=64, channels=1).trace(PHOTO)
    frame = trace.to_frame()
    columns = ["step", "shape", "dtype", "layout", "channels", "min", "max", "ms"]
    assert list(frame.columns) == columns
    assert frame["channels"].tolist() == ["RGB", "RGB", "GRAY", "GRAY"]
    assert frame["step"].tolist() == list(trace.names)
    assert frame["shape"].iloc[-1] == (1, 1, 64, 64)
    figure = trace.plot()
    assert len([a for a in figure.axes if a.images]) == len(trace)
    card = trace._card()
    shown = next(b for b in card.blocks if isinstance(b, Pictures))
    assert len(shown.items) == len(trace)
    table = next(b for b in card.blocks if isinstance(b, Table))
    assert table.columns[:6] == ("step", "what", "shape", "dtype", "layout", "min")
    page = trace._repr_html_()
    assert page == trace._repr_html_()
    strip, _, folded = page.partition("<details>")
    assert strip.count("<img") == len(trace)
    assert folded.count("<img") == len(trace), "histograms, a step each"
    assert len(repr(trace)) < 160
    assert "normalize" in repr(trace["normalize"])


@dataclass(frozen=True)
class Halve(ArrayStep):
    """A step of a stranger's, with no way back."""

    def __call__(self, array):
        return array.astype(np.float32) / 2

    def flow(self, before):
        return Flow(before.layout, before.channels, "float32", before.size)

    def text(self):
        return "halve"


@pytest.mark.parametrize("rest", [(), (Layout("CHW"), Batch())])
def test_a_step_that_cannot_be_undone_is_shown_stretched_and_says_so(rest):
    trace = Pipeline((CenterCrop(20), Halve(), *rest)).trace(PHOTO)
    assert trace[2].shown == "min–max stretched"
    assert (trace.picture.min(), trace.picture.max()) == (0, 255)
    assert "cannot be undone" in str(trace)
    assert Pipeline((Grayscale(), Halve())).trace(PHOTO).picture.shape == (75, 100, 3)
    flat = Pipeline((CenterCrop(20), Halve())).trace(np.zeros((30, 30, 3), np.uint8))
    assert flat.picture.max() == 0
    with pytest.raises(NotImplementedError):
        Halve().undo(np.zeros(1))


def test_steps_of_one_kind_have_names_of_their_own():
    pipeline = Pipeline((Resize(50), CenterCrop(40), Resize(30)))
    assert pipeline.trace(PHOTO).names == ("decode", "resize", "center_crop", "resize_2")


def test_the_size_is_known_where_the_steps_fix_it():
    assert presets.imagenet().size == (224, 224)
    assert Pipeline((Resize(50),)).size is None
    assert Pipeline((Resize((30, 40)), Resize(60))).size == (60, 80)
    assert Pipeline((Resize((30, 40)), ResizeKeepAspect(60))).size == (60, 80)
    assert Pipeline((ResizeKeepAspect(60),)).size is None
    assert Pipeline((Resize(50), Batch())).shape == (1, None, None, 3)


def test_a_batch_is_one_array_of_all_pictures():
    pipeline = presets.imagenet(32)
    pictures = [make_photo(40 + n, 50) for n in range(3)]
    batch = pipeline.batch(iter(pictures))
    assert batch.shape == (3, 3, 32, 32)
    for number, picture in enumerate(pictures):
        assert np.array_equal(batch[number], pipeline.array(picture)[0])
    with pytest.raises(ConfigError, match="at least one"):
        pipeline.batch([])
    with pytest.raises(ConfigError, match="batch axis"):
        Pipeline((Resize(8),)).batch([PHOTO])
    loose = Pipeline((Resize(8), NORMAL))
    assert loose.batch([PHOTO, PHOTO]).shape == (2, 3, 8, 10)
    with pytest.raises(InputMismatchError, match="CenterCrop"):
        loose.batch([PHOTO, PHOTO.transpose(1, 0, 2)])


def test_a_pipeline_changes_nothing_that_it_is_given_and_returns_what_is_ours():
    picture = PHOTO.copy()
    for pipeline in (*PIPELINES, Pipeline((Resize((75, 100)),))):
        result = pipeline(picture)
        assert result.flags.writeable
        assert not np.shares_memory(result, picture)
    image = Image.fromarray(picture)
    Pipeline((Resize((75, 100)),))(image)[:] = 0
    assert np.array_equal(picture, PHOTO)
    assert np.array_equal(image, PHOTO)


def test_errors_and_limits_of_reading_pass_through():
    pipeline = presets.imagenet(32)
    with pytest.raises(NotAnImageError, match="the sketch"):
        pipeline(b"<html>", where="the sketch")
    for call in (pipeline, pipeline.timed, pipeline.trace):
        with pytest.raises(ImageTooLargeError):
            call(jpeg(PHOTO), max_bytes=10)
    with pytest.raises(ImageTooLargeError):
        pipeline.batch([jpeg(PHOTO)], max_bytes=10)


def test_fast_decoding_is_asked_for_and_close():
    photo = np.asarray(Image.fromarray(make_photo(60, 80)).resize((1600, 1200), 3))
    data = jpeg(photo)
    exact = presets.imagenet()
    fast = exact.replace(fast_decode=True)
    assert exact.trace(data)["decode"].shape == (1200, 1600, 3)
    assert fast.trace(data)["decode"].shape == (300, 400, 3)
    assert fast != exact
    assert fast.recipe()[0]["fast"] is True
    assert "fraction" in fast.describe()
    assert "fast decode" in repr(fast)
    off = np.abs(fast.denormalize(fast(data)).astype(int) - exact.denormalize(exact(data)))
    assert off.mean() < 2
    assert np.array_equal(fast(photo), exact(photo))
    late = Pipeline((NORMAL,), fast_decode=True)
    assert late(data).shape == (1, 3, 1200, 1600)


def test_the_background_shows_through_transparency():
    clear = np.zeros((8, 8, 4), np.uint8)
    pipeline = presets.raw(8)
    assert pipeline(clear).min() == 255
    black = pipeline.replace(background=(0, 0, 0))
    assert black(clear).max() == 0
    assert Pipeline.from_recipe(black.recipe()) == black
    assert "(0, 0, 0)" in black.describe()


def test_replace_scales_the_resize_with_the_crop():
    assert presets.imagenet().replace(size=299).steps[0] == ResizeCrop(341, 299)
    assert presets.imagenet().replace(size=224) == presets.imagenet()
    assert presets.imagenet().replace(size=160) == presets.imagenet(160)
    wide = presets.imagenet().replace(size=(224, 320))
    assert wide.steps[0] == ResizeCrop((256, 365), (224, 320))
    assert wide.size == (224, 320)
    assert presets.raw().replace(size=(3, 4)).steps[0] == Resize((3, 4))
    assert Pipeline((Letterbox(64), NORMAL)).replace(size=96).steps[0] == Letterbox(96)
    plain = presets.imagenet().unfused().replace(size=112)
    assert plain.steps[:2] == (Resize(128), CenterCrop(112))
    cover = Pipeline((ResizeKeepAspect(64), CenterCrop(56))).replace(size=112)
    assert cover.steps == (ResizeKeepAspect(128), CenterCrop(112))
    with pytest.raises(ConfigError, match="depends on the picture"):
        Pipeline((Resize(8),)).replace(size=9)


def test_replace_turns_constants_with_the_channels_and_averages_them_visibly():
    pipeline = Pipeline((CenterCrop(32), NORMAL))
    turned = pipeline.replace(color_format="BGR")
    assert turned.color_format == "BGR"
    assert turned.steps[2].mean == (0.3, 0.4, 0.5)
    assert np.array_equal(turned(PHOTO), pipeline(PHOTO)[:, ::-1])
    assert turned.replace(color_format="RGB") == pipeline
    assert turned.replace(color_format="BGR") == turned
    grey = turned.replace(color_format="GRAY")
    assert grey.steps[2].mean == (0.4,)
    assert grey.steps[2].std == (0.3,)
    assert "averaged" in str(grey)
    assert grey.shape == (1, 1, 32, 32)
    assert presets.raw(8).replace(color_format="GRAY").notes == ()
    for wanted, start in (("RGB", grey), ("CMYK", pipeline)):
        with pytest.raises(ConfigError, match="color_format"):
            start.replace(color_format=wanted)


def test_replace_sets_layout_and_dtype():
    pipeline = presets.imagenet(32)
    for changed in (pipeline.replace(layout="NHWC"), pipeline.unfused().replace(layout="NHWC")):
        assert changed.layout == "NHWC"
        assert np.allclose(changed(PHOTO).transpose(0, 3, 1, 2), pipeline(PHOTO), atol=2e-2)
    assert pipeline.replace(dtype="float16")(PHOTO).dtype == np.float16
    half = pipeline.unfused().replace(dtype="float16")
    assert half(PHOTO).dtype == np.float16
    assert half.replace(dtype="float64").steps[-1] == Cast("float64")
    for wrong in ("CHW", "NWHC"):
        with pytest.raises(ConfigError, match="layout"):
            pipeline.replace(layout=wrong)
    with pytest.raises(ConfigError, match="no step that sets it"):
        Pipeline((CenterCrop(8), Batch())).replace(layout="NCHW")


def test_the_difference_names_every_parameter():
    ours, theirs = presets.imagenet(), presets.imagenet(192, interpolation="bicubic")
    assert ours.difference(theirs) == (
        ("ResizeCrop.resize", 256, 219),
        ("ResizeCrop.crop", [224, 224], [192, 192]),
        ("ResizeCrop.interpolation", "bilinear", "bicubic"),
    )
    assert ours.difference(ours.replace(fast_decode=True)) == (("Decode.fast", False, True),)
    twice = Pipeline((Resize(9), Resize(8)))
    assert twice.difference(Pipeline((Resize(9), Resize(7)))) == (("Resize 2.size", 8, 7),)
    assert ("Grayscale", True, None) in ours.replace(color_format="GRAY").difference(ours)


@pytest.mark.parametrize(
    ("recipe", "field", "expected"),
    [
        ("imagenet", "preprocessing", "a list"),
        ([1], "preprocessing[0]", "'step'"),
        ([{"size": 3}], "preprocessing[0]", "'step'"),
        ([{"step": "Rezise", "size": 3}], "preprocessing[0]", "'Resize'"),
        ([{"step": "Resize"}], "preprocessing[0].size", "needs"),
        ([{"step": "Resize", "side": 3}], "preprocessing[0]", "'size'"),
        ([{"step": "Resize", "size": 0}], "preprocessing[0].size", "1 to"),
        ([{"step": "Batch", "axis": 0}], "preprocessing[0]", "has none"),
        ([{"step": "Decode", "quick": 1}], "preprocessing[0]", "'fast'"),
        ([{"step": "Decode"}], "preprocessing", "at least one step"),
        ([{"step": "Decode", "background": 3}, {"step": "Batch"}], "preprocessing", "0–255"),
        ([{"step": "Batch"}, {"step": "Batch"}], "preprocessing", "without a batch axis"),
    ],
)
def test_a_recipe_that_cannot_be_is_named_by_its_field(recipe, field, expected):
    with pytest.raises(MetadataError) as caught:
        Pipeline.from_recipe(recipe, where="mine.json")
    assert caught.value.field == field
    assert expected in str(caught.value)
    assert str(caught.value).startswith("mine.json")


def test_pipelines_that_cannot_be_are_refused():
    for steps in ((), (Resize(3), "crop"), (lambda x: x,)):
        with pytest.raises(ConfigError, match="steps"):
            Pipeline(steps)
    with pytest.raises(ConfigError, match="background"):
        Pipeline((Resize(3),), background=(0, 0))
    with pytest.raises(InputMismatchError, match="4 axes"):
        presets.imagenet().denormalize(np.zeros((3, 224, 224), np.float32))


def test_not_finite_numbers_are_shown_without_a_warning():
    batch = np.full((1, 3, 4, 4), np.nan, np.float32)
    batch[0, 0] = np.inf
    assert presets.imagenet().denormalize(batch).shape == (4, 4, 3)


def test_a_pipeline_is_safe_to_share_between_threads():
    pipeline = presets.imagenet(64)
    pictures = [jpeg(make_photo(60 + n, 90)) for n in range(24)]
    expected = [pipeline(picture) for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        for result, alone in zip(pool.map(pipeline, pictures), expected, strict=True):
            assert np.array_equal(result, alone)


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(presets.NAMES),
    st.sampled_from(["RGB", "BGR", "GRAY"]),
    st.sampled_from(["NCHW", "NHWC"]),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=60, deadline=None)
def test_every_picture_fits_every_preset(height, width, name, color, layout, size):
    pipeline = presets.get(name, size=size, color_format=color, layout=layout)
    result = pipeline(make_photo(height, width))
    assert result.shape == pipeline.shape
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.isfinite(result).all()


def test_normalize_may_stand_behind_the_layout():
    late = Pipeline(
        (CenterCrop(32), Rescale(), Layout("CHW"), Normalize((0.5,), (0.5,), "CHW"), Batch())
    )
    early = Pipeline((CenterCrop(32), Rescale(), Normalize((0.5,), (0.5,)), Layout("CHW"), Batch()))
    assert np.array_equal(late(PHOTO), early(PHOTO))
