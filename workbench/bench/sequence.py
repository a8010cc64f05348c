"""When to stop comparing, and what may be said then: a decision apart from any clock.

Two models run in blocks of pairs. A block tells how far apart they were, and how far apart each
of them was from itself. After some of the blocks (a *look*) the difference is put against two
things: its own uncertainty, at the share of the 5 % error that this look may spend; and the
*noise floor*, what identical models differed by from block to block on this host in this run.
Only a difference that is surely beyond the floor is a difference. So that nothing is taken for
the model that belongs to one of its sessions (where its weights came to lie in memory, say), each
model runs in two sessions, and what these differ by, over the whole run, is a floor as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, e, inf, isnan, log, nan
from typing import TYPE_CHECKING, Literal

import numpy as np

from workbench.bench.interval import mean_interval
from workbench.timing import needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Error of the whole comparison: claims of a difference where there is none.
ERROR = 0.05
#: Shares of the planned blocks after which is looked: early for what is plain to see.
LOOKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
#: Fewest blocks before the first look; the last one takes fewer where the time is up.
FIRST_BLOCKS, FEWEST_BLOCKS = 12, 6
#: Most blocks and most pairs in one: more of either finds what nobody would notice.
MOST_BLOCKS, MOST_PAIRS = 400, 25
#: The floor is a quantile of the distances of identical models.
FLOOR_QUANTILE = 0.95
#: Blocks from which on the floor is that quantile: each gives two distances.
FLOOR_BLOCKS = ceil(needed(FLOOR_QUANTILE) / 2)
#: Runs in one round: each model in its two sessions, so that it meets the other and itself.
RUNS_A_ROUND = 4
#: What two sessions of a model differ by is known from two models only: Student's t with 2
#: degrees of freedom exceeds this with a probability of half of :data:`ERROR`.
_T_OF_SESSIONS = 6.205
#: A difference that is worth finding, and the share of it that the floor may have: what is left
#: is room for the uncertainty of the difference itself.
WORTH, _ROOM = 0.05, 0.5

Outcome = Literal["faster", "slower", "cannot_tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured at most, and when it is looked at.

    Attributes
    ----------
    pairs : pairs of runs in a block, for each of its four distances
    blocks : most blocks
    looks : blocks after which is looked; the last is ``blocks``
    """

    pairs: int
    blocks: int
    looks: tuple[int, ...]


def plan(round_s: float, max_time_s: float) -> Plan:
    """Plan a comparison whose rounds (two runs of each model) take so many seconds.

    A block has as many pairs as leave room for the blocks that the floor needs.

    >>> plan(0.004, 30.0)
    Plan(pairs=25, blocks=300, looks=(19, 38, 75, 150, 300))
    >>> plan(0.4, 30.0)
    Plan(pairs=2, blocks=37, looks=(12, 19, 37))
    """
    rounds = max_time_s / max(round_s, 1e-9)
    pairs = int(min(MOST_PAIRS, max(1, rounds // FLOOR_BLOCKS)))
    blocks = int(min(MOST_BLOCKS, max(1, rounds // pairs)))
    looks = {min(blocks, max(FIRST_BLOCKS, ceil(share * blocks))) for share in LOOKS}
    return Plan(pairs=pairs, blocks=blocks, looks=tuple(sorted(looks)))


def time_for(floor: float, pairs: int, round_s: float, *, difference: float = WORTH) -> float:
    """Return about how many seconds of rounds would find a difference, by what was measured.

    Longer blocks lower the floor with the square root of their pairs, so a floor that is twice as
    high takes four times as long.

    Parameters
    ----------
    floor : logarithm of what a difference had to exceed in blocks of ``pairs`` pairs; nan where
        that is not known: then the shortest blocks are taken to do
    pairs : of a block
    round_s : seconds of a round (two runs of each model)
    difference : a share of one, which is to be found

    Returns
    -------
    seconds, so that 5 % are found in 95 of 100 comparisons at least (simulated with independent
    noise, runs of 100 and 300 ms); ``inf`` where no block that is planned is long enough
    (:data:`MOST_PAIRS`)

    >>> time_for(0.055, 1, 0.4), time_for(0.1, 1, 1.2), time_for(0.2, 1, 0.4)
    (72.0, 612.0, inf)
    """
    if isnan(floor):
        return FLOOR_BLOCKS * round_s
    needs = max(pairs, ceil(pairs * (floor / (_ROOM * log(1 + difference))) ** 2))
    return inf if needs > MOST_PAIRS else FLOOR_BLOCKS * needs * round_s


def spent(share: float) -> float:
    """Return the error that may have been spent when this share of the plan is done.

    Source: Lan & DeMets 1983, Biometrika 70, 659: the spending function of Pocock's type.
    Each look is tested at what it spends itself; by Bonferroni's inequality the sum holds
    whatever the looks have in common.

    >>> [round(spent(t), 4) for t in (0.0, 1 / 16, 0.5, 1.0)]
    [0.0, 0.0051, 0.031, 0.05]
    """
    return ERROR * log(1 + (e - 1) * min(1.0, max(0.0, share)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one look, in logarithms of ratios.

    Attributes
    ----------
    number : of the look, from 1
    blocks : blocks so far
    error : what this look spends
    log_ratio : mean over the blocks of ln(time of b / time of a)
    low, high : its interval, but for ``error``
    floor : what identical models differ by from block to block
    floor_is_quantile : False where it is the largest of too few distances
    placement : what two models may differ by because of the sessions that they ran in
    outcome : None while it is open
    settled_below : whether the interval lies within the floor, so that going on is of no use
    """

    number: int
    blocks: int
    error: float
    log_ratio: float
    low: float
    high: float
    floor: float
    floor_is_quantile: bool
    placement: float
    outcome: Outcome | None
    settled_below: bool = False

    @property
    def threshold(self) -> float:
        """What a difference must surely exceed: the larger of the two floors."""
        return max(self.floor, self.placement)


class Sequence:
    """Takes blocks, and decides at the looks of its plan.

    Parameters
    ----------
    plan : how much, and when to look
    seed : of the bootstrap

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sequence = Sequence(plan(0.004, 30.0))
    >>> while not sequence.over:
    ...     look = sequence.feed(rng.normal(-0.3, 0.03, (2, 25)), rng.normal(0, 0.03, (2, 25)))
    >>> look.outcome, look.blocks
    ('faster', 19)
    """

    def __init__(self, plan: Plan, *, seed: int = 0) -> None:
        self.plan = plan
        self.looks: list[Look] = []
        #: distance of b from a, a block each; nan where nothing was measured
        self.between: list[float] = []
        #: distances of a from itself and of b from itself, a block each
        self.within: list[tuple[float, float]] = []
        self._rng = np.random.default_rng(seed)

    @property
    def outcome(self) -> Outcome | None:
        """What was decided; None while it is open."""
        return self.looks[-1].outcome if self.looks else None

    @property
    def over(self) -> bool:
        """Whether it is decided."""
        return self.outcome is not None

    def feed(
        self, between: NDArray[np.float64], within: NDArray[np.float64], *, last: bool = False
    ) -> Look | None:
        """Take one block; return the look that was due after it, if one was.

        Parameters
        ----------
        between : (2, pairs) ln(time of b / time of a) of each pair; nan where a run had no time
        within : (2, pairs) the same of a with itself, and of b with itself
        last : the time is up: look now, and decide
        """
        self.between.append(float(np.nanmean(centres(between))) if _any(between) else nan)
        first, second = centres(within)
        self.within.append((float(first), float(second)))
        if last or len(self.between) in self.plan.looks:
            return self.look(last=last or len(self.between) >= self.plan.blocks)
        return None

    def look(self, *, last: bool = False) -> Look:
        """Look at what there is; with ``last`` the answer is no longer open."""
        done = len(self.between)
        values = np.array(self.between)
        values = values[np.isfinite(values)]
        error = spent(1.0 if last else done / self.plan.blocks) - spent(
            self.looks[-1].blocks / self.plan.blocks if self.looks else 0.0
        )
        low, high = mean_interval(values, error=error, rng=self._rng)
        floor, is_quantile = floor_of(np.array(self.within).ravel())
        placement = placement_of(np.array(self.within))
        beyond = max(floor, placement)
        outcome: Outcome | None = None
        enough = values.size >= FEWEST_BLOCKS and not isnan(floor)
        within = enough and -beyond <= low and high <= beyond
        if enough and high < -beyond:
            outcome = "faster"
        elif enough and low > beyond:
            outcome = "slower"
        elif last or (within and is_quantile):
            outcome = "cannot_tell"
        look = Look(
            number=len(self.looks) + 1,
            blocks=done,
            error=error,
            log_ratio=float(values.mean()) if values.size else nan,
            low=low,
            high=high,
            floor=floor,
            floor_is_quantile=is_quantile,
            placement=placement,
            outcome=outcome,
            settled_below=within,
        )
        self.looks.append(look)
        return look


def centres(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the middle half of each row: bursts at either end do not move it.

    ``ratios`` : (rows, pairs), nan where a run had no time; a row without any gives nan

    >>> centres(np.array([[0.0, 0.1, 0.2, 9.0], [np.nan, 0.1, 0.3, np.nan]])).tolist()
    [0.15000000000000002, 0.2]
    """
    found = np.full(len(ratios), nan)
    for number, row in enumerate(np.sort(ratios, axis=1)):  # nan is sorted to the end
        n = int(np.isfinite(row).sum())
        cut = n // 4
        if n:
            found[number] = row[cut : n - cut].mean()
    return found


def floor_of(distances: NDArray[np.float64]) -> tuple[float, bool]:
    """Return the noise floor of signed distances of identical models, and how it was found.

    The 95th percentile of their sizes where there are enough for it (60); the largest of fewer,
    which is no less; nan without any.
    """
    sizes = np.abs(distances[np.isfinite(distances)])
    if not sizes.size:
        return nan, False
    if sizes.size < needed(FLOOR_QUANTILE):
        return float(sizes.max()), False
    return float(np.quantile(sizes, FLOOR_QUANTILE)), True


def placement_of(distances: NDArray[np.float64]) -> float:
    """Return what two models may differ by because each has run in two sessions only.

    ``distances`` : (blocks, 2) of the sessions of a, and of those of b. Each session is taken to
    be off by something of its own, alike in size for all four; 0.0 where nothing is known. It is
    a limit, not what they differed by: half of t times that. The sampling error of the two means
    is left in it: taking it out lowers what a difference must exceed by 2 % at most (simulated).

    >>> placement_of(np.array([[0.01, 0.0], [0.01, 0.0]]))
    0.031025
    """
    pairs = distances.reshape(-1, 2)
    known = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(known):
        return 0.0
    first, second = known.mean(axis=0)
    return float(_T_OF_SESSIONS * np.hypot(first, second) / 2)


def _any(ratios: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(ratios).any())
