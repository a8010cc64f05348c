"""Two profiles side by side: which nodes and which operators take longer, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Literal

from workbench.cards import Card, Displayable, Facts, Notes, Table
from workbench.errors import ConfigError
from workbench.models.profile import SHOWN, Node, Profile
from workbench.timing import Samples
from workbench.units import count, seconds, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of a difference, in seconds; nan on the side that does not have it.

    ``noise_s`` is the larger interquartile range of the two: a change within it says nothing.
    """

    name: str
    op: str
    before_s: float
    after_s: float
    noise_s: float

    @property
    def delta_s(self) -> float:
        """Seconds more (negative: fewer) than before; a missing side counts as nothing."""
        before, after = (0.0 if isnan(v) else v for v in (self.before_s, self.after_s))
        return after - before

    @property
    def tells(self) -> bool:
        """Whether the change is larger than the spread of either side."""
        return abs(self.delta_s) > (0.0 if isnan(self.noise_s) else self.noise_s)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ProfileDifference(Displayable):
    """What takes longer in one profile than in the other.

    Attributes
    ----------
    before, after : the two profiles
    nodes : a change a node, matched by name; the largest first
    ops : a change an operator, the largest first; quantised and fused variants count as the
        operator that they stand for
    """

    before: Profile
    after: Profile
    nodes: tuple[Change, ...]
    ops: tuple[Change, ...]

    @property
    def matched(self) -> int:
        """Nodes that both have."""
        return sum(not isnan(c.before_s) and not isnan(c.after_s) for c in self.nodes)

    @property
    def ratio(self) -> float:
        """How many times as long a run takes after as before (wall time)."""
        return self.after.wall_s / self.before.wall_s if self.before.wall_s > 0 else nan

    def to_frame(self, by: Literal["node", "op"] = "node") -> pd.DataFrame:
        """Return a row a node (or an operator): before_ms, after_ms, delta_ms, noise_ms, tells."""
        import pandas as pd

        if by not in ("node", "op"):
            raise ConfigError("by", by, "'node' or 'op'")
        changes = self.nodes if by == "node" else self.ops
        return pd.DataFrame(
            {
                "name": [c.name for c in changes],
                "op": [c.op for c in changes],
                "before_ms": [1e3 * c.before_s for c in changes],
                "after_ms": [1e3 * c.after_s for c in changes],
                "delta_ms": [1e3 * c.delta_s for c in changes],
                "noise_ms": [1e3 * c.noise_s for c in changes],
                "tells": [c.tells for c in changes],
            }
        )

    def plot(self) -> Figure:
        """Draw the largest changes: by node where the names match, else by operator."""
        from workbench import charts

        by_node = self.matched > len(self.nodes) // 2
        changes = (self.nodes if by_node else self.ops)[:SHOWN]
        return charts.changes(
            [(c.name, c.before_s, c.after_s) for c in changes],
            names=_names(self.before, self.after),
            title=f"Largest changes, by {'node' if by_node else 'operator'}",
        )

    def _card(self) -> Card:
        first, second = _names(self.before, self.after)
        rows = (
            ("before", f"{first}: {seconds(self.before.wall_s)} a run on {self.before.provider}"),
            ("after", f"{second}: {seconds(self.after.wall_s)} a run on {self.after.provider}"),
            ("after ÷ before", share(self.ratio)),
            ("nodes that both have", f"{self.matched} of {len(self.nodes)}"),
        )
        few = self.matched <= len(self.nodes) // 2
        meanwhile = (
            "Two profiles taken one after the other also differ by what the machine did "
            "meanwhile: wb.compare says whether one is faster."
        )
        notes = [meanwhile]
        if few:
            notes.insert(0, "Few nodes have the same name in both: read the operators.")
        blocks = (
            Facts(rows),
            _table(self.ops, "By operator, the largest change first"),
            *(() if few else (_table(self.nodes, "By node, the largest change first"),)),
            Notes(tuple(notes)),
        )
        line = f"{seconds(self.before.wall_s)} before, {seconds(self.after.wall_s)} after"
        return Card(f"{first} against {second}", blocks, line=line)


def _names(before: Profile, after: Profile) -> tuple[str, str]:
    """Name the two sides so that they can be told apart."""
    if before.model != after.model:
        return before.model, after.model
    told = [f"{p.model} ({p.provider}, {count(p.threads, 'thread')})" for p in (before, after)]
    return (told[0], told[1]) if told[0] != told[1] else (told[0], f"{told[1]}, again")


def _table(changes: tuple[Change, ...], caption: str) -> Table:
    rows = tuple(
        (
            c.name,
            "–" if isnan(c.before_s) else seconds(c.before_s),
            "–" if isnan(c.after_s) else seconds(c.after_s),
            f"{'+' if c.delta_s >= 0 else '−'}{seconds(abs(c.delta_s))}",
            "" if c.tells else "within the spread",
        )
        for c in changes[:SHOWN]
    )
    numeric = ("before", "after", "change")
    return Table(("name", "before", "after", "change", "note"), rows, caption, numeric)


def difference(before: Profile, after: Profile) -> ProfileDifference:
    """Match two profiles by the names of their nodes, and by operator.

    Raises
    ------
    ConfigError : what is given is no profile
    """
    if not isinstance(after, Profile):
        raise ConfigError("other", after, "a Profile")
    sides = [{(n.name, n.op): [n] for n in p.main} for p in (before, after)]
    by_op: list[Mapping[tuple[str, str], list[Node]]] = [
        {(op, op): members for op, members in p.groups(lambda n: family(n.op))}
        for p in (before, after)
    ]
    return ProfileDifference(
        before=before, after=after, nodes=_changes(sides[0], sides[1]), ops=_changes(*by_op)
    )


def family(op: str) -> str:
    """Return the operator that an engine's own variant of it stands for.

    onnxruntime replaces operators by quantised, fused and channels-last ones of other names
    (its ContribOperators.md); compared with a float graph they are the same work.

    >>> [family(op) for op in ("QLinearConv", "NhwcMaxPool", "FusedConv", "QGemm", "Quant")]
    ['Conv', 'MaxPool', 'Conv', 'Gemm', 'Quant']
    """
    for prefix in ("QLinear", "Nhwc", "Fused", "Q"):
        rest = op.removeprefix(prefix)
        if rest != op and rest[:1].isupper():
            return rest
    return op


def _changes(
    before: Mapping[tuple[str, str], list[Node]], after: Mapping[tuple[str, str], list[Node]]
) -> tuple[Change, ...]:
    def spread(members: list[Node]) -> float:
        ranges = [Samples(n.times_s).iqr_s for n in members]
        return sum(0.0 if isnan(r) else r for r in ranges)

    changes = []
    for name, op in dict.fromkeys((*before, *after)):
        one, two = before.get((name, op), []), after.get((name, op), [])
        changes.append(
            Change(
                name=name,
                op=op,
                before_s=sum(n.time_s for n in one) if one else nan,
                after_s=sum(n.time_s for n in two) if two else nan,
                noise_s=max(spread(one), spread(two)),
            )
        )
    return tuple(sorted(changes, key=lambda c: (-abs(c.delta_s), c.name)))
