"""The frame of every view: an error line, progress, a Stop button, and painting from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Button, HBox, IntProgress, Layout, VBox, Widget

from workbench.cards import Card, Notes, as_html
from workbench.widgets.look import Look
from workbench.widgets.problem import Problem

if TYPE_CHECKING:
    from workbench.widgets.activity import Activity
    from workbench.widgets.drop import DropZone
    from workbench.widgets.worker import Job

#: Of what was left out, so many are named.
_NAMED = 4
#: What stands for a panel where no widget can be shown at all.
_LIVE = "This part is live: run the cell to use it. What it found stays in Python."
#: What stands beneath a panel whose kernel has ended.
_NEEDS_KERNEL = (
    "A live part needs the kernel that made it. Where it says that a model was not found, or where "
    "nothing is shown, run this cell again (Shift+Enter). What other cells have displayed stays, "
    "and so do the pages and files that were written."
)
#: A row whose parts go beneath each other where the window is narrow.
WRAP = {"flex_flow": "row wrap", "align_items": "center", "width": "100%", "grid_gap": "2px 14px"}


class Panel(VBox):
    """A view of an :class:`Activity`: lays out, forwards and paints.

    Attributes
    ----------
    activity : the behaviour
    error_line, stop_button : what every panel has
    """

    #: what this is, and what to do where nothing answers
    title = "workbench widget"
    #: where files are given, in panels that take some
    zone: DropZone | None = None
    children: tuple[Widget, ...]

    def __init__(self, activity: Activity) -> None:
        super().__init__(layout=Layout(width="100%", overflow="hidden"))
        self.add_class("wb-panel")
        self.activity = activity
        self._painting = threading.RLock()
        self._drawn: dict[int, object] = {}
        self.error_line = HTML()
        self._doing = HTML()
        self._bar = IntProgress(min=0, max=1, layout=Layout(width="120px"))
        self.stop_button = button("Stop", self._stop, "Stop what runs, and what waits", "stop")
        self._progress = row(self._bar, self._doing, self.stop_button)
        self._left = HTML()
        self.take_up_button = button("Take up again", activity.take_up,
                                     "Do what was left out after all", "refresh")  # fmt: skip
        self.leave_out_button = button("Forget", activity.leave_out, "Leave it out for good",
                                       "times")  # fmt: skip
        self._rest = row(self._left, self.take_up_button, self.leave_out_button)
        self.status = VBox((self._progress, self._rest), layout=Layout(width="100%"))
        self.status.add_class("wb-status")

    def _stop(self) -> None:
        self.activity.stop()
        if self.zone is not None:
            self.zone.stop()  # what has not been sent yet

    def begin(self) -> None:
        """Paint, now and from now on: called once all parts are there."""
        self.children = (Look(), *self.children)
        self.activity.listen(self.repaint)
        self.repaint()

    @property
    def errors(self) -> list[Exception]:
        """What went wrong, oldest first; also what is no longer shown."""
        return list(self.activity.problems.kept)

    def check(self) -> None:
        """Raise the last error that was kept, if there is one."""
        self.activity.problems.check()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs and all is painted; return whether that came in time."""
        return self.activity.wait(timeout_s)

    def paint(self) -> None:
        """Show what the activity knows; called from any thread, one at a time."""

    def repaint(self) -> None:
        """Show everything as it is now; an error of the painting itself is shown and kept."""
        with self._painting:
            try:
                self._paint_status()
                self.paint()
            except Exception as error:  # noqa: BLE001  (the worker's thread must go on)
                self.activity.problems.kept.append(error)
                self.error_line.value = as_html(Problem(error, "Painting").card())

    def draw(self, place: HTML, stamp: object, make: Callable[[], str]) -> None:
        """Draw into a place, unless what is there was drawn for the same stamp.

        Pictures are encoded once for each answer, and not at every move of a slider.
        """
        key = id(place)
        if key not in self._drawn or not _same(self._drawn[key], stamp):
            self._drawn[key] = stamp
            place.value = make()

    def draw_thing(self, place: HTML, thing: Any) -> None:
        """Draw how something shows itself."""
        self.draw(place, thing, lambda: html_of(thing))

    def _paint_status(self) -> None:
        worker = self.activity.worker
        running, total, done = worker.running, worker.total, worker.finished
        stopping = worker.stopping
        self.stop_button.disabled = running is None or stopping
        if running is None:
            self._doing.value = ""
        elif stopping:
            self._doing.value = text(f"Stopping … {running.what}: the step under way ends first.")
        else:
            many = f" ({done + 1} of {total})" if total > 1 else ""
            far = f" {running.told}" if running.told else ""
            self._doing.value = text(f"{running.what} …{far}{many}")
        share = running.share if running is not None else None
        self._bar.max = 100 * max(total, 1)
        self._bar.value = round(100 * (done + (share or 0.0))) if running else 0
        left = self.activity.left_out
        self._left.value = text(_listed(left)) if left else ""
        show(self._progress, running is not None)
        show(self._rest, bool(left))
        show(self.status, running is not None or bool(left))
        self.error_line.value = self.activity.problems.html()

    def close(self) -> None:
        """Stop the work and close every part."""
        self.activity.close()
        for part in list(parts(self)):
            for name in ("layout", "style"):
                if isinstance(worn := getattr(part, name, None), Widget):
                    worn.close()
            if part is not self:
                part.close()
        super().close()

    def __repr__(self) -> str:
        return f"<{self.title}>"

    def _ipython_display_(self) -> None:
        """Show the live view, and after it a static word that is seen where the view is not.

        JupyterLab draws the view of a widget or says "model not found"; it takes none of the other
        forms in the same output. So the word is an output of its own, and the style sheet of the
        panels hides it while a live panel stands beside it.
        """
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)  # type: ignore[no-untyped-call]
        line = f"<div class='wb-no-kernel'>{text(_NEEDS_KERNEL)}</div>"
        word = {"text/html": line, "text/plain": _NEEDS_KERNEL}
        display(word, raw=True)  # type: ignore[no-untyped-call]

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Return the live view, and a sentence for where there is no kernel behind it."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        bundle["text/html"] = as_html(Card(self.title, (Notes((_LIVE,)),)))
        bundle["text/plain"] = repr(self)
        return bundle


def _listed(left: tuple[Job, ...]) -> str:
    """Say what was left out: how many, and the first few."""
    more = len(left) - _NAMED
    names = ", ".join(job.about for job in left[:_NAMED]) + (
        f" and {more} more" if more > 0 else ""
    )
    were = "was" if len(left) == 1 else "were"
    return f"Stopped; {len(left)} that waited {were} left out: {names}."


def _same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
    return one is other


def parts(widget: Widget) -> Iterable[Widget]:
    """Yield a widget and everything in it, the inner parts first."""
    for child in getattr(widget, "children", ()):
        yield from parts(child)
    yield widget


def row(*children: Widget, top: bool = False) -> HBox:
    """Return a row that wraps; its parts stand on one line, or begin at one (``top``)."""
    lines = {"align_items": "flex-start"} if top else {}
    return HBox(children, layout=Layout(**WRAP | lines))


def half(basis: str = "360px") -> HTML:
    """Return a place for a display in a row: it takes its share, and never more than there is."""
    return HTML(layout=Layout(flex=f"1 1 {basis}", width="auto", min_width="0", max_width="100%"))


def labelled(kind: Callable[..., Any], name: str, width: str, **options: Any) -> Any:
    """Return a control whose label takes the room that it needs, and no more."""
    style = {"description_width": "initial"}
    return kind(description=name, style=style, layout=Layout(width=width), **options)


def button(name: str, call: Callable[[], object], tooltip: str = "", icon: str = "") -> Button:
    """Return a button that forwards its click."""
    made = Button(description=name, tooltip=tooltip, icon=icon, layout=Layout(width="auto"))
    made.on_click(lambda _: call())
    return made


def show(widget: Widget, visible: bool) -> None:
    """Show a part, or take it out of the layout."""
    widget.layout.display = None if visible else "none"


def text(line: str) -> str:
    """Return a plain line as HTML, escaped where all text is escaped."""
    return as_html(Card("", (Notes((line,)),))).replace(
        "<p style='margin:4px 0'><strong></strong></p>", ""
    )


def html_of(thing: Any) -> str:
    """Return how something shows itself; what has no display of its own shows its repr."""
    draw = getattr(thing, "_repr_html_", None)
    return str(draw()) if callable(draw) else text(repr(thing)) if thing is not None else ""
