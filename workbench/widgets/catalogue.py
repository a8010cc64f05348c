"""What the model browser does: look through a hub, look at a model, load and unload it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.cards import Card, Notes, Table
from workbench.units import seconds, size
from workbench.widgets.activity import Activity
from workbench.widgets.quarantine import Quarantine
from workbench.widgets.sheet import Sheet

if TYPE_CHECKING:
    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.widgets.worker import Job

_COLUMNS = ("id", "task", "input", "size", "state", "memory", "provider")


class Catalogue(Activity):
    """The models of a hub, narrowed down by a word.

    Attributes
    ----------
    word : what ids, tasks, inputs and shelves are searched for
    picked : name of the one that was picked last; empty before the first
    model : the one that is looked at; None before the first
    said : what the last action came to
    """

    def __init__(self, hub: ModelHub) -> None:
        super().__init__()
        self.hub, self.place = hub, Quarantine(hub)
        self.word = self.picked = ""
        self.model: Model | None = None
        self.said = ""

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the hub in which the word occurs."""
        word = self.word.strip().lower()
        return [
            row
            for row in self.hub.rows()
            if word in " ".join(str(row[n]) for n in ("id", "task", "input", "shelf")).lower()
        ]

    def search(self, word: str) -> None:
        """Narrow the models down."""
        self.word = word
        self.changed()

    def pick(self, name: str) -> None:
        """Look at a model's file and at what is written about it."""
        self.picked = name

        def done(model: Model) -> None:
            self.model = model

        self._do(f"{name}: looking", lambda _: self.hub.handle(name), done, name)

    def warm_up(self) -> None:
        """Load the model and run it until its times settle."""
        if (model := self.model) is not None:
            self._do(f"{model.id}: warming up",
                     lambda job: self.place.warm_up(model, job.stop),
                     lambda w: self._say(f"{model.id} is steady at {seconds(w.steady_s)} a run."),
                     model.id)  # fmt: skip

    def unload(self) -> None:
        """Close the model's session and give its memory back."""
        if (model := self.model) is not None:
            self._do(f"{model.id}: unloading", lambda _: self.place.unload(model),
                     lambda closed: self._say(repr(closed).strip("<>")), model.id)  # fmt: skip

    def close(self) -> None:
        """Stop for good; the process of strangers' models ends."""
        super().close()
        self.place.close()

    def _say(self, line: str) -> None:
        self.said = line

    def _do(self, what: str, work: Any, done: Any, about: str) -> None:
        def act(job: Job) -> Any:
            return work(job)

        self.attempt(lambda: self.worker.submit(what, act, done=done, key=what), about)

    def table(self) -> Sheet:
        """Return what the search found."""
        rows = self.rows()
        cells = tuple(
            (r["id"], r["task"], r["input"], size(r["size_bytes"]), r["state"],
             "–" if r["memory_bytes"] is None else size(r["memory_bytes"]), r["provider"] or "–")
            for r in rows
        )  # fmt: skip
        table = Table(_COLUMNS, cells, numeric=("size", "memory"))
        none = () if rows else (f"No model has {self.word!r} in its id, task, input or shelf.",)
        return Sheet(Card(f"{len(rows)} of {len(self.hub.rows())} models", (table, Notes(none))))
