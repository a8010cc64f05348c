"""The drop zone: the one front-end module of this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from workbench.widgets.transfer import MODEL_BYTES, Inbox, Upload

if TYPE_CHECKING:
    from workbench.errors import WorkbenchError

_HERE = Path(__file__).parent


class DropZone(anywidget.AnyWidget):
    """Takes files by button, drag and drop, from the clipboard and from the camera.

    Parameters
    ----------
    accept : called with each whole :class:`Upload`
    refuse : called with the error, and the name, of each file that is not taken
    begin : called when a person has given something, before the first of its files arrives
    image_bytes, model_bytes : limits, held in the browser before anything is sent, and here
    several : whether several files at once are taken; else the first of them
    label : what stands in the zone

    Nothing of a file enters the widget's state, so nothing of it is saved with a notebook.
    """

    _esm = _HERE / "drop_zone.js"
    _css = _HERE / "drop_zone.css"

    label = traitlets.Unicode("").tag(sync=True)
    accept = traitlets.Unicode("").tag(sync=True)
    several = traitlets.Bool(True).tag(sync=True)
    image_limit = traitlets.Int(0).tag(sync=True)
    model_limit = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        accept: Callable[[Upload], object],
        refuse: Callable[[WorkbenchError, str], object],
        *,
        begin: Callable[[], object] = lambda: None,
        image_bytes: int | None = None,
        model_bytes: int = MODEL_BYTES,
        several: bool = True,
        label: str = "",
    ) -> None:
        self.inbox = Inbox(image_bytes=image_bytes, model_bytes=model_bytes)
        self._accept, self._refuse, self._begin = accept, refuse, begin
        super().__init__(
            label=label or _label(several, bool(model_bytes)),
            several=several,
            accept="image/*,.onnx" if model_bytes else "image/*",
            image_limit=self.inbox.image_bytes,
            model_limit=model_bytes,
        )
        self.on_msg(self._received)

    def close(self) -> None:
        """Close the view, and give up what is under way."""
        self.inbox.clear()
        super().close()

    def clear(self) -> None:
        """Take the list of files from the screen."""
        self.send({"kind": "clear"})

    def stop(self) -> None:
        """Have the browser send no more of what it was given and has not sent yet."""
        self.send({"kind": "stop"})

    def _received(self, _widget: Any, message: object, buffers: Any) -> None:
        arrival = self.inbox.receive(message, buffers or ())
        if arrival.begins:
            self._begin()
        if arrival.reply is not None:
            self.send(dict(arrival.reply))
        if arrival.error is not None:
            self._refuse(arrival.error, arrival.name)
        if arrival.upload is not None:
            self._accept(arrival.upload)


def _label(several: bool, models: bool) -> str:
    what = "pictures" if several else "a picture"
    return f"Drop {what} or .onnx models here" if models else f"Drop {what} here"
