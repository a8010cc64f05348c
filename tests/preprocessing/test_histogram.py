"""Histograms of a trace: counts worked out by hand, channels by their names."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import ConfigError
from workbench.preprocessing import presets
from workbench.preprocessing.histogram import Histograms, histograms_of
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.steps import Cast, ChannelOrder, Layout, Rescale

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def flat(red: int, green: int, blue: int) -> np.ndarray:
    return np.broadcast_to(np.uint8([red, green, blue]), (4, 4, 3)).copy()


def test_every_value_of_every_step_is_counted_once():
    trace = presets.cifar10().unfused().trace(PHOTO)
    found = trace.histograms()
    assert list(found.by_step()) == list(trace.names)
    for step in trace:
        channels = found.by_step()[step.name]
        assert [c.name for c in channels] == ["R", "G", "B"]
        assert sum(int(c.counts.sum()) for c in channels) == step.array.size
        assert min(c.low for c in channels) == pytest.approx(step.low)
        assert max(c.high for c in channels) == pytest.approx(step.high)


def test_figures_are_those_of_numpy():
    found = Pipeline((Rescale(),)).trace(PHOTO).histograms(bins=32)
    for position, channel in enumerate(found):
        step, plane = divmod(position, 3)
        values = PHOTO[..., plane] / (255 if step else 1)
        assert channel.mean == pytest.approx(values.mean(), rel=1e-6)
        assert channel.std == pytest.approx(values.std(), rel=1e-6)
        assert len(channel.counts) == 32 == len(channel.edges) - 1
    eight_bits = found[0]
    by_hand = [int(((PHOTO[..., 0] // 8) == level).sum()) for level in range(32)]
    assert eight_bits.counts.tolist() == by_hand


def test_channels_keep_their_names_when_they_are_reversed():
    found = Pipeline((ChannelOrder("BGR"), Layout("CHW"), Rescale())).trace(flat(10, 20, 30))
    named = {(c.step, c.name): c.mean for c in found.histograms()}
    assert named["decode", "R"] == named["channel_order", "R"] == named["layout", "R"] == 10
    assert named["rescale", "B"] == pytest.approx(30 / 255)


def test_a_grey_picture_has_one_channel():
    found = presets.get("imagenet", size=32, channels=1).trace(PHOTO).histograms()
    assert [c.name for c in found][-1] == "grey"


def test_values_that_are_not_finite_are_counted_apart():
    trace = Pipeline((Cast("float32"),)).trace(flat(1, 2, 3))
    bad = trace[1].array.copy()
    bad[0, 0, 0], bad[..., 1] = np.inf, np.nan
    import dataclasses

    found = histograms_of([dataclasses.replace(trace[1], array=bad)])
    assert [c.missing for c in found] == [1, 16, 0]
    assert int(found[0].counts.sum()) == 15
    assert np.isnan(found[1].mean)
    assert "not finite" in str(found)
    assert found.plot().axes


def test_a_frame_has_a_row_a_bin_and_a_figure_a_panel_a_step():
    found = presets.cifar10().trace(PHOTO).histograms(bins=16)
    frame = found.to_frame()
    assert list(frame.columns) == ["step", "channel", "from", "to", "count"]
    assert len(frame) == 16 * len(found)
    panels = [a for a in found.plot().axes if a.get_title(loc="left")]
    assert len(panels) == len(found.by_step())
    assert len(found[:2]) == 2
    assert isinstance(found, Histograms)


@pytest.mark.parametrize("bins", [0, 1, 257, 2.5, True, "many"])
def test_bins_that_cannot_be_are_refused(bins):
    with pytest.raises(ConfigError, match=r"bins is .*; expected a whole number of bins, 2 to 256"):
        presets.cifar10().trace(PHOTO).histograms(bins=bins)
