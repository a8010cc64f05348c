"""The view of :func:`workbench.app`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipywidgets import (
    HTML,
    BoundedIntText,
    Dropdown,
    IntSlider,
    Layout,
    Text,
    Textarea,
    VBox,
)

from workbench.preprocessing import presets
from workbench.units import count
from workbench.widgets.delivery import offers
from workbench.widgets.dial import Dials
from workbench.widgets.drop import DropZone
from workbench.widgets.history import ORDERS
from workbench.widgets.hush import Hush
from workbench.widgets.knob import Knobs
from workbench.widgets.look import Fold
from workbench.widgets.panel import Panel, button, half, html_of, labelled, row, show, text
from workbench.widgets.snippet import Snippet

if TYPE_CHECKING:
    import pandas as pd

    from workbench.inference.results import Failure, Result
    from workbench.widgets.sitting import Sitting

_OWN = "the model's own"
_NOTHING = text("Nothing yet.")
_MARKS = {"cold": "○", "loading": "◐", "warm": "●", "missing": "✗"}


class App(Panel):
    """The whole workbench in one cell. Made by :func:`workbench.app`.

    Everything it found is in Python and outlives the view: :attr:`results`,
    :meth:`to_frame`, :meth:`code`.
    """

    title = "workbench app"
    zone: DropZone

    def __init__(self, sitting: Sitting) -> None:
        super().__init__(sitting)
        self.sitting = sitting
        self._quiet = Hush()  # while controls are painted, they are not being moved
        self.zone = DropZone(sitting.take, sitting.fail, begin=sitting.begin)
        self._make_place()
        self._make_controls()
        self._make_shop()
        self.form = NewcomerForm(sitting)
        self.result, self.trace = half("340px"), half("640px")
        self.history, self.all, self.about = HTML(), HTML(), HTML()
        self.order = labelled(Dropdown, "Order", "240px", options=tuple(ORDERS))
        self.order.observe(lambda _: self.repaint(), "value")
        self.dials = Dials(sitting.turn)
        self.reset_button = button("Reset", sitting.reset, "Turn everything back", "undo")
        self._turned = False
        self.more = (
            Fold("Preprocessing steps", self.dials, row(self.reset_button)),
            Fold("Times of this sitting", self.history),
            Fold("All results", self.order, self.all),
            Fold("The model", self.about),
        )
        self._make_endings()
        self.children = (
            self.zone,
            self.place,
            self.controls,
            self.shop,
            self.endings,
            self.status,
            self.error_line,
            self.said,
            self.snippet,
            self.form,
            row(self.result, self.trace, top=True),
            *self.more,
        )
        self.begin()
        sitting.look()

    # ── what it found ─────────────────────────────────────────────────────────────────────────

    @property
    def results(self) -> list[Result | Failure]:
        """All answers of this sitting, oldest first."""
        return self.sitting.results

    def to_frame(self) -> pd.DataFrame:
        """Return a row an answer: source, model, label, probability, flagged, note, *_ms …"""
        return self.sitting.to_frame()

    def code(self) -> str:
        """Return the sitting as a cell that reproduces it; uploads are written beside it."""
        return self.sitting.code()

    def add(self, source: Any) -> None:
        """Take a picture from a cell, as if it had been dropped."""
        self.sitting.add(source)

    # ── layout ────────────────────────────────────────────────────────────────────────────────

    def _make_place(self) -> None:
        sitting = self.sitting
        self.path = Text(
            description="Path or URL",
            placeholder="a picture, a folder of pictures, an .onnx file, or https://…",
            style={"description_width": "initial"},
            layout=Layout(flex="1 1 280px"),
        )
        self.open_button = button("Open", self._open, "Take what the field says", "folder-open")
        self.path.on_msg(self._typed)
        if sitting.audience:
            self.place = HTML(
                text(f"Path and URL fields are off, and no file is written: {sitting.audience}.")
            )
        else:
            self.place = row(self.path, self.open_button)

    def _typed(self, _widget: Any, message: Any, _buffers: Any) -> None:
        if isinstance(message, dict) and message.get("event") == "submit":
            self._open()

    def _open(self) -> None:
        self.sitting.open(self.path.value)

    def _make_controls(self) -> None:
        sitting = self.sitting
        self.picker = labelled(Dropdown, "Model", "280px", options=self._models(),
                               value=sitting.model or None)  # fmt: skip
        self.warm_button = button("Warm up", sitting.warm_up, "Load it and run it until it is "
                                  "steady", "fire")  # fmt: skip
        self.top_k = labelled(IntSlider, "Top", "180px", value=sitting.top_k, min=1, max=20,
                              continuous_update=False)  # fmt: skip
        self.preset = labelled(
            Dropdown,
            "Preprocessing",
            "240px",
            options=[(_OWN, ""), *((name, name) for name in presets.NAMES)],
        )
        self.again_button = button("Again", sitting.again, "Ask about the last picture once more",
                                   "refresh")  # fmt: skip
        self.controls = row(
            self.picker, self.warm_button, self.top_k, self.preset, self.again_button
        )
        self._forward(self.picker, sitting.pick)
        self._forward(self.top_k, lambda value: sitting.choose(top_k=value))
        self._forward(self.preset, lambda value: sitting.choose(preset=value))

    def _models(self) -> tuple[tuple[str, str], ...]:
        """Return what the picker offers: a line for people, with the state, and the name."""
        states = self.sitting.states()
        return tuple((f"{_MARKS[state]} {name} · {state}", name) for name, state in states.items())

    def _make_shop(self) -> None:
        """Lay out the catalogue: what is chosen there is one click away."""
        self.offer = labelled(Dropdown, "Catalogue", "440px", options=offers(self.sitting.hub))
        self.pull_button = button("Pull", self._pull, "Fetch this model, verify it, and use it",
                                  "cloud-download")  # fmt: skip
        self.offer.layout.max_width = "calc(100% - 4px)"  # a widget has margins of 2 px
        self.shop = row(self.offer, self.pull_button)

    def _pull(self) -> None:
        if self.offer.value:
            self.sitting.pull(self.offer.value)

    def _paint_shop(self) -> None:
        """Take out what is here by now; what was chosen stays chosen."""
        options, chosen = offers(self.sitting.hub), self.offer.value
        if tuple(self.offer.options) != options:
            self.offer.options = options
            if chosen in {name for _, name in options}:
                self.offer.value = chosen
        running = self.sitting.worker.running
        pulling = running is not None and running.key.startswith("pull ")
        self.pull_button.disabled = pulling or not options
        show(self.shop, bool(options) and not self.sitting.audience)

    def _forward(self, control: Any, call: Any) -> None:
        def moved(change: Any) -> None:
            if not self._quiet:
                call(change.new)

        control.observe(moved, "value")

    def _make_endings(self) -> None:
        sitting = self.sitting
        self.keep_button = button("Keep", sitting.keep, "Write the result as a page", "bookmark")
        self.export_button = button("Export", sitting.export, "Write all results as CSV and as "
                                    "a page", "download")  # fmt: skip
        self.code_button = button("Copy as code", self._offer_code, "This sitting as a cell that "
                                  "reproduces it", "code")  # fmt: skip
        self.clear_button = button("Clear", self._clear, "Begin anew", "trash")
        self.said, self.snippet = HTML(), Snippet()
        self._offered = 0  # runs in the cell that the snippet shows
        self.endings = row(
            self.keep_button, self.export_button, self.code_button, self.clear_button
        )

    def _offer_code(self) -> None:
        def act() -> None:
            self._offered = len(self.sitting.runs)
            self.snippet.offer(self.sitting.offered(), self._snippet_label())

        self.sitting.attempt(act)

    def _snippet_label(self) -> str:
        """Say of how many runs the cell is: it writes files, and so is made when asked for."""
        has, there = self._offered, len(self.sitting.runs)
        if has == there:
            return f"This sitting as a cell ({count(has, 'run')})"
        return (
            f"This sitting as a cell, up to run {has} of {there}: “Copy as code” takes in the rest"
        )

    def _clear(self) -> None:
        self.snippet.value = ""
        self.zone.clear()
        self.sitting.clear()

    # ── painting ──────────────────────────────────────────────────────────────────────────────

    def paint(self) -> None:
        """Show the sitting as it is now."""
        sitting = self.sitting
        with self._quiet:
            self._paint_choices()
        self.warm_button.disabled = not sitting.model or sitting.state == "loading"
        any_runs, audience = bool(sitting.runs), bool(sitting.audience)
        self.again_button.disabled = sitting.photo is None
        for made in (self.keep_button, self.export_button, self.code_button):
            made.disabled = not any_runs or audience
        self.draw_thing(self.result, sitting.shown)
        self.draw_thing(self.trace, sitting.trace)
        self.said.value = text(sitting.said) if sitting.said else ""
        if not any_runs:
            self.snippet.value = ""
        elif self.snippet.value:
            self.snippet.label = self._snippet_label()
        runs = tuple(sitting.runs)
        self.draw(self.history, runs, lambda: html_of(sitting.runs.times()) if runs else _NOTHING)
        order = self.order.value
        self.draw(
            self.all,
            (*runs, order),
            lambda: html_of(sitting.runs.together(order)) if runs else _NOTHING,
        )
        self.about.value = html_of(sitting.described) or text("It has not been looked at yet.")
        self._paint_dials()
        self._paint_shop()
        self.form.paint()

    def _paint_choices(self) -> None:
        """Have the controls say what is chosen, whoever has chosen it."""
        sitting = self.sitting
        with self.picker.hold_sync():
            if tuple(self.picker.options) != (models := self._models()):
                self.picker.options = models
            self.picker.value = sitting.model or None
        self.top_k.max = max(self.top_k.max, sitting.top_k)
        self.top_k.value = sitting.top_k
        self.preset.value = sitting.preset or ""

    def _paint_dials(self) -> None:
        """Have the sliders stand where the recipe does."""
        base, pipeline = self.sitting.base, self.sitting.pipeline
        turned = pipeline not in (None, base)
        self.reset_button.disabled = not turned
        if base is not None:
            move = self.dials.set if self._turned and not turned else self.dials.follow
            move(Knobs.of(pipeline or base))
            self._turned = turned
        show(self.dials, base is not None)

    def __repr__(self) -> str:
        return f"<workbench app: {count(len(self.sitting.runs), 'result')}>"


class NewcomerForm(VBox):
    """Asks what is missing of a model that was dropped; every field begins with a guess."""

    def __init__(self, sitting: Sitting) -> None:
        super().__init__(layout=Layout(width="100%"))
        self.sitting = sitting
        self._asked: object = None
        wide = {"style": {"description_width": "110px"}, "layout": Layout(width="320px")}
        self.card, self.after = HTML(), HTML()
        self.name = Text(description="Name", **wide)
        self.preset = Dropdown(options=presets.NAMES, description="Preset", **wide)
        self.side = BoundedIntText(description="Input size", min=1, max=16_384, **wide)
        self.color = Dropdown(options=("RGB", "BGR", "GRAY"), description="Colours", **wide)
        self.activation = Dropdown(
            options=("auto", "softmax", "sigmoid", "none"), description="Activation", **wide
        )
        self.labels = Textarea(
            description="Labels",
            placeholder="a name a line, names with commas, or a JSON list; empty for class 0, 1 …",
            rows=4,
            style={"description_width": "110px"},
            layout=Layout(width="100%", max_width="640px"),
        )
        self.use_button = button("Use this model", self._use, "Load it as described here", "check")
        self.dismiss_button = button("Dismiss", sitting.dismiss, "Forget it", "times")
        self.children = (
            self.after,
            self.card,
            row(self.name, self.preset, self.side, self.color, self.activation),
            self.labels,
            row(self.use_button, self.dismiss_button),
        )

    def _use(self) -> None:
        self.sitting.adopt(
            self.name.value,
            preset=self.preset.value,
            side=self.side.value,
            color_format=self.color.value,
            activation=self.activation.value,
            labels=self.labels.value,
        )

    def paint(self) -> None:
        """Show the newcomer, with guesses in the fields when it is seen first."""
        newcomer = self.sitting.newcomer
        show(self, newcomer is not None)
        after = [other.id for other in self.sitting.newcomers[1:]]
        self.after.value = text(f"Asked about next: {', '.join(after)}.") if after else ""
        if newcomer is None or newcomer is self._asked:
            self._asked = newcomer
            return
        self._asked = newcomer
        self.card.value = html_of(newcomer)
        self.name.value = newcomer.id
        self.preset.value = newcomer.preset
        self.side.value, self.side.disabled = newcomer.side, newcomer.fixed_size
        self.color.value = newcomer.spec.color_format
        self.activation.value = "auto"
        self.labels.value = "\n".join(newcomer.spec.labels or ())
