"""Warming a model up, and saying where a cold start spends its time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Any

from workbench.cards import Card, Displayable, Facts, Notes, Stack
from workbench.errors import CancelledError, InferenceTimeoutError, require_count
from workbench.timing import Samples, Stages, clock, settled
from workbench.units import count, seconds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.stopping import Stop


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WarmUp(Displayable):
    """The anatomy of a cold start.

    Attributes
    ----------
    model : id
    load : seconds to ``read`` the file and to ``optimise`` it (parse, optimise, allocate)
    first_run_s : seconds of the session's first run, measured when it happened
    import_s : seconds of the engine's import, once a process; nan where others imported it
    fed : input → type and shape
    shape_run_s : seconds of the first warm-up run with this shape, where the session had run with
        another before (memory is planned anew); nan where it had not
    samples : the runs after that, in seconds
    settled_at : index of the first of them from which the times are steady; None: not settled
    stopped : whether someone stopped it early
    kept : whether the optimised graph came from the cache
    """

    model: str
    load: Stages
    first_run_s: float
    samples: Samples
    settled_at: int | None
    stopped: bool = False
    import_s: float = nan
    fed: tuple[tuple[str, str], ...] = ()
    shape_run_s: float = nan
    kept: bool = False

    @property
    def settling_s(self) -> float:
        """Seconds spent in runs before the times were steady; nan if they never were."""
        return nan if self.settled_at is None else sum(self.samples.values_s[: self.settled_at])

    @property
    def steady(self) -> Samples:
        """The runs from which the times were steady (all of them if they never were)."""
        return Samples(self.samples.values_s[self.settled_at or 0 :], f"{self.model}, steady")

    @property
    def steady_s(self) -> float:
        """Median of one steady run, in seconds."""
        return self.steady.median_s

    def stages(self) -> Stages:
        """Return read, optimise, first run and settling as durations that add up."""
        parts = {**self.load, "first run": self.first_run_s}
        if self.settled_at:
            parts["settling"] = self.settling_s
        return Stages(parts)

    def notes(self) -> tuple[str, ...]:
        """Say in plain words what these figures cannot carry."""
        notes = []
        if self.stopped:
            notes.append(f"Stopped on request after {count(self.samples.n, 'run')}.")
        if self.settled_at is None:
            notes.append(
                f"The times did not settle within {count(self.samples.n, 'run')}: "
                "the machine is busy, or more runs are needed."
            )
        if self.kept:
            notes.append(
                "The optimised graph was kept from an earlier load: read is finding it, "
                "optimise is opening it."
            )
        if self.load.get("read") == 0.0:
            notes.append("The engine read the file itself: reading is part of optimise.")
        return tuple(notes)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a stage: ``stage``, ``ms``, ``runs``; ``steady`` is one median run.

        ``import`` happens once a process, for all models; it is NaN where others imported the
        engine. In a process of its own each stage is measured by ``wb.cold_start``.
        """
        import pandas as pd

        rows = [("import", 1e3 * self.import_s, 0)]
        rows += [(name, 1e3 * value, 0) for name, value in self.load.items()]
        rows.append(("first run", 1e3 * self.first_run_s, 1))
        if not isnan(self.shape_run_s):
            rows.append(("first of this shape", 1e3 * self.shape_run_s, 1))
        rows.append(("settling", 1e3 * self.settling_s, self.settled_at or 0))
        rows.append(("steady", 1e3 * self.steady_s, self.steady.n))
        return pd.DataFrame(rows, columns=["stage", "ms", "runs"])

    def plot(self) -> Figure:
        """Draw the cold start as a stacked bar, and each run after it as a dot."""
        from workbench import drawing

        return drawing.settling(
            self.samples.values_s,
            self.settled_at,
            parts=dict(self.stages()),
            title=f"Warm-up of {self.model}",
        )

    def _card(self) -> Card:
        settling = "not settled" if isnan(self.settling_s) else (
            f"{seconds(self.settling_s)} in {count(self.settled_at or 0, 'run')}"
        )  # fmt: skip
        imported = () if isnan(self.import_s) else (
            ("import", f"{seconds(self.import_s)}, once a process"),
        )  # fmt: skip
        shape = () if isnan(self.shape_run_s) else (
            ("first of this shape", seconds(self.shape_run_s)),
        )  # fmt: skip
        fed = "; ".join(f"{name}: {told}" for name, told in self.fed)
        rows = (
            *((("fed", fed),) if fed else ()),
            *imported,
            *((name, seconds(value)) for name, value in self.load.items()),
            ("first run", seconds(self.first_run_s)),
            *shape,
            ("settling", settling),
            ("steady", f"{seconds(self.steady_s)} a run (median of {self.steady.n})"),
        )
        return Card(
            f"warm-up of {self.model}",
            (
                Facts(rows),
                Stack(tuple(self.stages().items()), caption="From cold to steady"),
                Notes(self.notes()),
            ),
            line=f"steady at {seconds(self.steady_s)} after {seconds(self.stages().total_s)}",
        )


def made_up(shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, NDArray[Any]]:
    """Make arrays of some shapes, the same every time: input → dtype and shape.

    Floats are normally distributed (seed 0), everything else is 0.
    """
    import numpy as np

    from workbench.models.bfloat import dtype_of

    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(dims, np.float32).astype(dtype_of(dtype))
        if "float" in dtype
        else np.zeros(dims, dtype)
        for name, (dtype, dims) in shapes.items()
    }


def warm_up(
    model: str,
    run: Callable[[], object],
    load: Stages,
    first_run_s: float,
    *,
    runs: int = 30,
    stop: Stop | None = None,
    import_s: float = nan,
    fed: tuple[tuple[str, str], ...] = (),
    shape_run_s: float = nan,
    kept: bool = False,
) -> WarmUp:
    """Call ``run`` until its times settle, at most ``runs`` times.

    What else is given was measured when it happened; it is reported with it.
    """
    require_count("runs", runs)
    values: list[float] = []
    at: int | None = None
    while len(values) < runs and at is None and not (stop is not None and stop.over):
        started = clock()
        try:
            run()
        except (CancelledError, InferenceTimeoutError):
            if stop is not None and stop.over:
                break
            raise
        values.append(clock() - started)
        at = settled(values)
    return WarmUp(
        model=model,
        load=load,
        first_run_s=first_run_s,
        samples=Samples(tuple(values), model),
        settled_at=at,
        stopped=at is None and len(values) < runs,
        import_s=import_s,
        fed=fed,
        shape_run_s=shape_run_s,
        kept=kept,
    )
