"""Sliders for the knobs of a preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipywidgets import Dropdown, FloatSlider, IntSlider, Layout, VBox

from workbench.preprocessing.steps import INTERPOLATIONS
from workbench.widgets.hush import Hush
from workbench.widgets.knob import Knobs
from workbench.widgets.panel import row, show

_CHANNELS = ("red", "green", "blue")


class Dials(VBox):
    """Sliders and choices for :class:`Knobs`; forwards the new position, and nothing else.

    Parameters
    ----------
    turn : called with the knobs that were turned, by name

    The dials follow what is turned elsewhere (:meth:`follow`). One that a person is moving is left
    where it is: sizes are whole pixels, so that a share may come back a little different.

    A browser rounds what a slider is given to its steps, and tells. That turns nothing: a value
    within half a step of what the slider was set to counts as that, to the last digit.
    """

    def __init__(self, turn: Callable[..., object]) -> None:
        super().__init__(layout=Layout(width="100%"))
        self._turn, self._quiet = turn, Hush()
        self._placed: dict[int, float] = {}
        self._stand: Knobs | None = None  # where the knobs stood when they were looked at last
        self._moving: frozenset[str] = frozenset()  # knobs that a person moves right now
        wide = {"style": {"description_width": "92px"}}

        def slider(kind: Any, name: str, **options: Any) -> Any:
            return kind(description=name, layout=Layout(width="300px"), **wide, **options)

        self.side = slider(IntSlider, "Size", min=8, max=512)
        self.crop = slider(FloatSlider, "Crop", min=0.3, max=1.0, step=0.001, readout_format=".3f")
        self.interpolation = slider(Dropdown, "Interpolation", options=tuple(INTERPOLATIONS))
        self.color = slider(Dropdown, "Channels", options=("RGB", "BGR"))
        self.layout_ = slider(Dropdown, "Layout", options=("NCHW", "NHWC"))
        self.mean = tuple(
            slider(FloatSlider, f"Mean {c}", min=0.0, max=1.0, step=0.0001, readout_format=".4f")
            for c in _CHANNELS
        )
        self.std = tuple(
            slider(FloatSlider, f"Std {c}", min=0.01, max=1.0, step=0.0001, readout_format=".4f")
            for c in _CHANNELS
        )
        self.children = (
            row(self.side, self.crop, self.interpolation, self.color, self.layout_),
            row(*self.mean),
            row(*self.std),
        )
        self._forward(self.side, lambda: {"size": (self.side.value, self.side.value)})
        self._forward(self.crop, lambda: {"crop": self._exact(self.crop)})
        self._forward(self.interpolation, lambda: {"interpolation": self.interpolation.value})
        self._forward(self.color, lambda: {"color_format": self.color.value})
        self._forward(self.layout_, lambda: {"layout": self.layout_.value})
        for control in (*self.mean, *self.std):
            self._forward(control, self._constants)

    def _constants(self) -> dict[str, Any]:
        return {
            name: tuple(self._exact(c) for c in controls if c.layout.display != "none")
            for name, controls in (("mean", self.mean), ("std", self.std))
        }

    def _forward(self, control: Any, told: Callable[[], dict[str, Any]]) -> None:
        def moved(change: Any) -> None:
            if self._quiet or self._exact(control, change.old) == self._exact(control, change.new):
                return
            knobs = told()
            self._moving = frozenset(knobs)
            try:
                self._turn(**knobs)
            finally:
                self._moving = frozenset()

        control.observe(moved, "value")

    def _exact(self, control: Any, value: Any = None) -> Any:
        """Return where a control stands: the very value it was set to where it is at that."""
        value = control.value if value is None else value
        was = self._placed.get(id(control))
        return was if was is not None and abs(value - was) <= control.step / 2 else value

    def set(self, knobs: Knobs) -> None:
        """Move all sliders to where the knobs stand, without telling anyone."""
        with self._quiet:
            for name in Knobs.__slots__:
                self._move(name, knobs)
        self._stand = knobs

    def follow(self, knobs: Knobs) -> None:
        """Move the sliders of knobs that were turned since, by code or by another dial.

        A dial that a person moved goes back where its knob did not turn.
        """
        was, moving = self._stand, self._moving
        if was is None:
            return self.set(knobs)
        self._stand = knobs
        with self._quiet:
            for name in Knobs.__slots__:
                same = getattr(was, name) == getattr(knobs, name)
                refused = same and name in moving and name != "crop"
                if refused or (not same and name not in moving):
                    self._move(name, knobs)
        return None

    def _move(self, name: str, knobs: Knobs) -> None:
        match name:
            case "size":
                _place(self.side, None if knobs.size is None else knobs.size[0])
            case "crop":
                self._place(self.crop, knobs.crop)
            case "interpolation":
                _choose(self.interpolation, knobs.interpolation)
            case "color_format":
                _choose(self.color, knobs.color_format if knobs.color_format != "GRAY" else None)
            case "layout":
                _choose(self.layout_, knobs.layout)
            case _:
                values = getattr(knobs, name)
                for number, control in enumerate(getattr(self, name)):
                    there = values is not None and number < len(values)
                    show(control, there)
                    if there:
                        self._place(control, values[number])

    def _place(self, slider: Any, value: float | None) -> None:
        if value is not None:
            self._placed[id(slider)] = value
        _place(slider, value)


def _place(slider: Any, value: float | None) -> None:
    """Put a slider at a value, widening its range; None switches it off."""
    slider.disabled = value is None
    if value is not None:
        slider.min, slider.max = min(slider.min, value), max(slider.max, value)
        slider.value = value


def _choose(choice: Any, value: str | None) -> None:
    choice.disabled = value is None or value not in choice.options
    if not choice.disabled:
        choice.value = value
