"""Frozen values that are made in every run: filled while they are open, and then closed for good.

A frozen dataclass writes each field through ``object.__setattr__``. For a result's twelve fields
that takes 22 µs after the run of a large model, which leaves the processor's caches cold, and
5 µs in the way that is meant here (medians of 500, ``benchmarks/overhead.py`` has the sum).
"""

from __future__ import annotations

from typing import Any


def opened(frozen: type) -> Any:
    """Return a class whose instances can be filled, and become ``frozen`` ones when that is done.

    ``frozen`` : a dataclass with slots. Of the same bases and slots, so that Python allows it:
    whoever fills an instance sets every field, and its ``__class__`` at the end.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: float
    >>> made = opened(Point)()
    >>> made.x = 2.0
    >>> made.__class__ = Point
    >>> made == Point(2.0)
    True
    """
    slots = frozen.__slots__  # type: ignore[attr-defined]
    return type(f"Opened{frozen.__name__}", frozen.__bases__, {"__slots__": slots})
