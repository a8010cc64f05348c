"""Whether something got slower than allowed since a benchmark that was kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Literal

from workbench.errors import ConfigError
from workbench.units import factor, percent

if TYPE_CHECKING:
    from workbench.bench.difference import Change, Difference

#: ``slower`` and ``fine`` are decided; everything else cannot be told.
Ruling = Literal["slower", "fine", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of one configuration, and the sentence that says so."""

    name: str
    ruling: Ruling
    sentence: str


def judge(difference: Difference, limit: float) -> tuple[Judgement, ...]:
    """Judge each configuration of a difference: is it more than ``limit`` slower than before?

    Parameters
    ----------
    difference : before → now
    limit : share by which a run may take longer: 0.05 is 5 %

    Returns
    -------
    a judgement a configuration. ``slower`` only where the whole interval is beyond the limit and
    the noise, and where neither another host nor another pace of it may have done it

    Raises
    ------
    ConfigError : a limit that is none
    """
    if not (isinstance(limit, float) and 0 <= limit < 100):
        raise ConfigError("limit", limit, "a share from 0.0 on, such as 0.05 for 5 %")
    return tuple(_judge(change, limit) for change in difference.changes)


def _judge(change: Change, limit: float) -> Judgement:
    span = f"{factor(change.ratio)} of the time before ({factor(change.low)} to "
    span += f"{factor(change.high)}; {percent(limit)} slower is allowed)"
    name = change.name
    if change.cause == "pictures":
        return Judgement(name, "cannot_tell", f"{name}: not comparable, it ran on other pictures.")
    if isnan(change.ratio) or isnan(change.low):
        return Judgement(name, "cannot_tell", f"{name}: cannot tell, too few runs to compare.")
    if change.high <= 1 + limit:
        return Judgement(name, "fine", f"{name}: not slower than allowed: {span}.")
    if change.low > 1 + limit and change.cause == "code":
        return Judgement(name, "slower", f"{name}: slower than allowed: {span}.")
    why = {
        "noise": f"it differs by {percent(change.floor)} from itself",
        "code": "the interval holds the limit",
        "host": "host or its state may have done it",
        "engine": "the libraries or how they ran it did it, not the code",
        "code or engine": "the libraries may have done it as well",
    }.get(change.cause, "the host may have done it as well")
    return Judgement(name, "cannot_tell", f"{name}: cannot tell, {why}: {span}.")


def share_of(text: str) -> float:
    """Read a share as people write it: ``5%``, ``5 %`` or ``0.05``.

    Raises
    ------
    ConfigError : it is none

    >>> share_of("5%"), share_of("2.5 %"), share_of("0.05")
    (0.05, 0.025, 0.05)
    """
    body = text.strip()
    number = body.removesuffix("%").rstrip()
    try:
        value = float(number) / (100 if body.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise ConfigError("share", text, "a percentage such as 5%")
    return value
