"""Where the time of a model goes, node by node: what a profile is, and how two differ.

The figures come from the engine's own record (:mod:`workbench.models.record`); how they are
taken is :mod:`workbench.models.profiling`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from statistics import median
from typing import TYPE_CHECKING

from workbench.cards import Bar, Bars, Block, Card, Displayable, Facts, Fold, Notes, Stack, Table
from workbench.models.provider import short
from workbench.timing import Samples, Stages
from workbench.units import count, seconds, share, size

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from workbench.models.difference import ProfileDifference
    from workbench.models.session import Ran

#: Rows of the slowest nodes, and of the operators, on a card.
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of the graph that really runs (optimised, with fused operators).

    Attributes
    ----------
    name, op, provider : as the engine has them
    inputs, outputs : types and shapes, weights included; packed weights have left the inputs
    parameter_bytes : of its weights as the graph has them; None where the engine does not tell
    first_s : seconds in the session's first run
    times_s : seconds in each run after it, warm-up apart
    calls : how often it runs in one run (more than once within a loop)
    memory_bytes : what the allocator held more after it than before, in the first run (from the
        second on one block is planned for all nodes); None where the engine does not tell
    within : the node that it is a part of: its time is in that node's too; "" for the main graph
    """

    name: str
    op: str
    provider: str
    inputs: str
    outputs: str
    parameter_bytes: int | None
    first_s: float
    times_s: tuple[float, ...]
    calls: int = 1
    memory_bytes: int | None = None
    within: str = ""

    @property
    def time_s(self) -> float:
        """Median seconds in one run."""
        return median(self.times_s) if self.times_s else nan


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Profile(Displayable):
    """Where the time of one run goes.

    Attributes
    ----------
    model : id
    nodes : in the order in which they ran
    wall : seconds of each run, seen from Python, with the engine's record on; warm-up apart
    engine_s, execute_s : median seconds of the engine's own part of a run, and of executing nodes
    quiet : seconds of each run without the record
    first_s : seconds of the first run
    shapes : input → type and shape that was fed
    ran : who was given how many nodes of the graph; () where the engine does not tell
    provider, precision, threads, spinning : how it ran
    peak_bytes : the most that the engine's allocator held; None where it does not tell
    settled : whether the times became steady before the runs that are kept
    stopped : whether someone stopped it early
    """

    model: str
    nodes: tuple[Node, ...]
    wall: Samples
    engine_s: float
    execute_s: float
    quiet: Samples
    first_s: float
    shapes: tuple[tuple[str, str], ...]
    ran: tuple[Ran, ...] = ()
    provider: str = ""
    precision: str = ""
    threads: int = 1
    spinning: str = ""
    peak_bytes: int | None = None
    settled: bool = True
    stopped: bool = False

    @cached_property
    def main(self) -> tuple[Node, ...]:
        """The nodes of the main graph: their times add up."""
        return tuple(node for node in self.nodes if not node.within)

    @cached_property
    def nodes_s(self) -> float:
        """Seconds of all nodes of the main graph, in one run."""
        return sum(node.time_s for node in self.main) if self.main else nan

    @property
    def wall_s(self) -> float:
        """Median seconds of one run, seen from Python."""
        return self.wall.median_s

    @property
    def coverage(self) -> float:
        """Share of the wall time that the nodes account for (0–1)."""
        return self.nodes_s / self.wall_s if self.wall_s > 0 else nan

    def account(self) -> Stages:
        """Return what one run is made of: nodes, and what is around them; it adds up."""
        parts = {
            "nodes": self.nodes_s,
            "between nodes": max(0.0, self.execute_s - self.nodes_s),
            "engine, around the graph": max(0.0, self.engine_s - self.execute_s),
            "call from Python": max(0.0, self.wall_s - self.engine_s),
        }
        return Stages({name: value for name, value in parts.items() if not isnan(value)})

    def share_of(self, node: Node) -> float:
        """Return a node's share of the time of all nodes (0–1)."""
        return node.time_s / self.nodes_s if self.nodes_s > 0 else nan

    # ── frames ────────────────────────────────────────────────────────────────────────────────

    def to_frame(self) -> pd.DataFrame:
        """Return a row a node, in the order in which they ran.

        Columns: ``name``, ``op``, ``provider``, ``inputs``, ``outputs``, ``parameter_bytes``,
        ``first_ms``, ``ms`` (median), ``iqr_ms``, ``share`` (of all nodes, 0–1), ``calls``,
        ``memory_bytes``, ``within``. What the engine does not tell is missing (NaN, or <NA>).
        """
        import pandas as pd

        frame = pd.DataFrame(
            {
                "name": [n.name for n in self.nodes],
                "op": [n.op for n in self.nodes],
                "provider": [short(n.provider) for n in self.nodes],
                "inputs": [n.inputs for n in self.nodes],
                "outputs": [n.outputs for n in self.nodes],
                "parameter_bytes": [n.parameter_bytes for n in self.nodes],
                "first_ms": [1e3 * n.first_s for n in self.nodes],
                "ms": [1e3 * n.time_s for n in self.nodes],
                "iqr_ms": [1e3 * Samples(n.times_s).iqr_s for n in self.nodes],
                "share": [self.share_of(n) for n in self.nodes],
                "calls": [n.calls for n in self.nodes],
                "memory_bytes": [n.memory_bytes for n in self.nodes],
                "within": [n.within for n in self.nodes],
            }
        )
        whole = {"parameter_bytes": "Int64", "memory_bytes": "Int64"}
        return frame.astype(whole).rename_axis("position")

    def by_op(self) -> pd.DataFrame:
        """Return a row an operator, the slowest first: nodes, ms, share, first_ms, bytes."""
        return self._grouped("op", lambda node: node.op)

    def by_provider(self) -> pd.DataFrame:
        """Return a row a provider, the slowest first, as :meth:`by_op` does."""
        return self._grouped("provider", lambda node: short(node.provider))

    def _grouped(self, name: str, key: Callable[[Node], str]) -> pd.DataFrame:
        import pandas as pd

        rows = [
            {
                name: group,
                "nodes": len(members),
                "ms": 1e3 * sum(n.time_s for n in members),
                "share": sum(self.share_of(n) for n in members),
                "first_ms": 1e3 * sum(n.first_s for n in members),
                "parameter_bytes": _total(n.parameter_bytes for n in members),
            }
            for group, members in self.groups(key)
        ]
        columns = [name, "nodes", "ms", "share", "first_ms", "parameter_bytes"]
        return pd.DataFrame(rows, columns=columns).astype({"parameter_bytes": "Int64"})

    def groups(self, key: Callable[[Node], str]) -> list[tuple[str, list[Node]]]:
        """Return the nodes of the main graph in groups, the slowest group first."""
        found: dict[str, list[Node]] = {}
        for node in self.main:
            found.setdefault(key(node), []).append(node)
        return sorted(found.items(), key=lambda item: (-sum(n.time_s for n in item[1]), item[0]))

    def slowest(self, most: int = SHOWN) -> tuple[Node, ...]:
        """Return the slowest nodes of the main graph, the slowest first."""
        return tuple(sorted(self.main, key=lambda n: -n.time_s)[:most])

    def diff(self, other: Profile) -> ProfileDifference:
        """Say what takes longer here than in another profile, and what does not.

        Nodes are matched by name; of two models, or of two providers, few names may match: the
        operators are compared as well.
        """
        from workbench.models.difference import difference

        return difference(self, other)

    def plot(self) -> Figure:
        """Draw the slowest nodes as bars, and all nodes as a strip in the order they ran.

        Of a graph that was fused into one row, what its provider reports of the inside is drawn.
        """
        from workbench import charts

        inside = tuple(n for n in self.nodes if n.within)
        fused = len(self.main) == 1 and bool(inside)
        shown = inside if fused else self.main
        slowest = sorted(shown, key=lambda n: -n.time_s)[:SHOWN]
        ranks = {id(node): number for number, node in enumerate(slowest, 1)}
        told = f"{seconds(self.nodes_s)} of {seconds(self.wall_s)}"
        kind = f"{count(len(inside), 'row')} inside one node" if fused else (
            count(len(shown), "node")
        )  # fmt: skip
        return charts.nodes(
            [(n.name, n.op, n.time_s) for n in shown],
            marks={at: ranks[id(n)] for at, n in enumerate(shown) if id(n) in ranks},
            title=f"{self.model} on {self.provider}: {kind}, {told}",
        )

    # ── in words ──────────────────────────────────────────────────────────────────────────────

    def notes(self) -> tuple[str, ...]:
        """Say why the nodes do not add up to the run, and what the figures cannot carry."""
        rest = max(0.0, 1.0 - self.coverage)
        notes = []
        if self.main:
            notes.append(
                f"The nodes add up to {share(min(self.coverage, 1.0))} of a run. The other "
                f"{share(rest)} is the engine handing over from node to node, checking what is "
                "fed and fetching what comes out, and the call from Python; and the engine cuts "
                f"each time to whole microseconds, up to {seconds(1e-6 * len(self.main))} in all."
            )
        notes += self._fused()
        quiet_s = self.quiet.median_s
        if quiet_s > 0 and self.wall_s > 1.05 * quiet_s:
            notes.append(
                f"Writing the record costs {share(self.wall_s / quiet_s - 1)}: without it a run "
                f"takes {seconds(quiet_s)}. Shares hold better than milliseconds."
            )
        inner = [n for n in self.nodes if n.within]
        if inner and not self._fused():
            notes.append(
                f"{count(len(inner), 'row')} beneath a node with a graph of its own: their time "
                "is in that node's, and counts once."
            )
        if not self.settled:
            notes.append("The times did not settle: the machine is busy, or more runs are needed.")
        if self.stopped:
            notes.append(f"Stopped on request after {count(self.wall.n, 'run')}.")
        return tuple(notes)

    def _fused(self) -> list[str]:
        notes = []
        for ran in self.ran:
            rows = [n for n in self.main if n.provider == ran.provider]
            inside = [n for n in self.nodes if n.within and n.provider == ran.provider]
            if not rows or len(rows) >= ran.nodes or short(ran.provider) == "CPU":
                continue
            told = (
                f"what it reports of the inside are {count(len(inside), 'kernel')}, which may "
                "run at the same time: they need not add up to the row"
                if inside
                else "what happens inside is not told"
            )
            notes.append(
                f"{short(ran.provider)} has fused {ran.nodes} of the graph's {ran.of} nodes into "
                f"{count(len(rows), 'row')}: {told}."
            )
        return notes

    def _card(self) -> Card:
        rows_told = count(len(self.main), "row")
        covered = share(min(self.coverage, 1.0))
        rows = [
            ("one run", f"{seconds(self.wall_s)} (median of {self.wall.n}, with the record on)"),
            ("nodes", f"{rows_told}, {seconds(self.nodes_s)}: {covered} of the run"),
            ("first run", seconds(self.first_s)),
            ("without the record", f"{seconds(self.quiet.median_s)} (median of {self.quiet.n})"),
            ("fed", "; ".join(f"{name}: {told}" for name, told in self.shapes)),
            ("provider", f"{self.provider}, {self.precision}"),
            ("threads", f"{self.threads}, spinning {self.spinning}"),
        ]  # fmt: skip
        if self.peak_bytes is not None:
            own = "" if self.provider in ("CPU", "") else f"; {self.provider}'s own is not in it"
            peak = size(self.peak_bytes)
            rows.append(("memory", f"{peak} at most in the engine's allocator{own}"))
        ops = self.groups(lambda node: node.op)
        blocks: list[Block] = [
            Facts(tuple(rows)),
            Stack(tuple(self.account().items()), "What one run is made of"),
            Bars(tuple(self._bar(op, members) for op, members in ops[:SHOWN]), "By operator"),
            self._slowest(),
        ]
        providers = self.groups(lambda node: short(node.provider))
        if len(providers) > 1:
            bars = tuple(self._bar(name, members) for name, members in providers)
            blocks.insert(3, Bars(bars, "By provider"))
        if inner := sorted((n for n in self.nodes if n.within), key=lambda n: -n.time_s):
            told = tuple(
                (n.name, n.op, seconds(n.time_s), str(n.calls)) for n in inner[: 2 * SHOWN]
            )
            table = Table(("name", "op", "time", "calls"), told, "", ("time", "calls"))
            blocks.append(Fold(f"Inside: the slowest of {count(len(inner), 'row')}", (table,)))
        blocks.append(Notes(self.notes()))
        first = f", most of it in {ops[0][0]}" if ops else ""
        nodes = count(len(self.main), "node")
        line = f"{seconds(self.wall_s)} a run on {self.provider}, {nodes}{first}"
        return Card(f"profile of {self.model}", tuple(blocks), line=line)

    def _bar(self, name: str, members: list[Node]) -> Bar:
        of_all = sum(self.share_of(n) for n in members)
        time = seconds(sum(n.time_s for n in members))
        return Bar(f"{name} × {len(members)}", of_all, f"{time}, {share(of_all)}")

    def _slowest(self) -> Table:
        positions = {id(node): at for at, node in enumerate(self.main)}
        rows = tuple(
            (
                n.name,
                n.op,
                str(positions[id(n)]),
                n.outputs or "–",
                _bytes(n.parameter_bytes),
                seconds(n.first_s),
                seconds(n.time_s),
                share(self.share_of(n)),
            )
            for n in self.slowest()
        )
        columns = ("node", "op", "position", "output", "parameters", "first run", "time", "share")
        few = f"The slowest {len(rows)} of {count(len(self.main), 'node')}"
        caption = few if len(rows) < len(self.main) else "The nodes, the slowest first"
        numeric = ("position", "parameters", "first run", "time", "share")
        return Table(columns, rows, caption, numeric)


def _bytes(value: int | None) -> str:
    return "–" if value is None else size(value)


def _total(values: object) -> int | None:
    """Add up what is told; None where nothing is."""
    told = [value for value in values if value is not None]  # type: ignore[attr-defined]
    return sum(told) if told else None
