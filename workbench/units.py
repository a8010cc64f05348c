"""The only place where a number becomes text.

One formatter a kind of number means one rule in the notebooks' sanitise file, and no table
in which the same duration is written in two ways.
"""

from __future__ import annotations

from math import isfinite

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))


def seconds(value_s: float) -> str:
    """Render a duration: three significant figures and always a unit.

    >>> [seconds(t) for t in (0.00742, 3.2e-5, 0.9996, 123.4, 0.0, float("nan"))]
    ['7.42 ms', '32.0 µs', '1.00 s', '123 s', '0.00 ns', 'n/a']
    """
    if not (value_s >= 0 and isfinite(value_s)):  # nan, or a clock that ran backwards
        return "n/a"
    scale, unit = time_unit(value_s)
    value = float(f"{value_s:.3g}") / scale  # round first: 0.9996 s must not print as 1e+03 ms
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def time_unit(longest_s: float) -> tuple[float, str]:
    """Choose the one unit for a group of durations: its length in seconds, and its name.

    The unit is that of the longest, so that an axis or a column needs no second one.

    >>> [time_unit(t) for t in (12.0, 0.9996, 0.02, 0.0, float("nan"))]
    [(1.0, 's'), (1.0, 's'), (0.001, 'ms'), (1e-09, 'ns'), (1e-09, 'ns')]
    """
    rounded = float(f"{longest_s:.3g}")
    return next((pair for pair in _SECONDS if rounded >= pair[0]), _SECONDS[-1])


def size(value_bytes: float) -> str:
    """Render a number of bytes in decimal units, three significant figures.

    >>> [size(n) for n in (0, 999, 1000, 999_999, 46_700_000, float("nan"))]
    ['0 B', '999 B', '1.00 kB', '1.00 MB', '46.7 MB', 'n/a']
    """
    if not (value_bytes >= 0 and isfinite(value_bytes)):
        return "n/a"
    rounded = float(f"{value_bytes:.3g}") if value_bytes >= 1000 else float(round(value_bytes))
    scale, unit = next((pair for pair in _BYTES if rounded >= pair[0]), _BYTES[-1])
    if scale == 1:
        return f"{rounded:.0f} {unit}"
    value = rounded / scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def share(value: float) -> str:
    """Render a share of one as a percentage with one decimal.

    A share that is not quite nothing, or not quite all, never rounds to it.

    >>> [share(p) for p in (0.0, 0.00004, 0.5, 0.9321, 0.99996, 1.0, float("nan"))]
    ['0.0 %', '<0.1 %', '50.0 %', '93.2 %', '>99.9 %', '100.0 %', 'n/a']
    """
    if not isfinite(value):
        return "n/a"
    text = f"{100 * value:.1f}"
    if text == "0.0" and value > 0:
        return "<0.1 %"
    if text == "100.0" and value < 1:
        return ">99.9 %"
    return f"{text} %"


def percent(value: float) -> str:
    """Render a difference as a percentage: whole from 10 % on, one decimal below.

    >>> [percent(p) for p in (0.412, 0.0316, 0.0999, -0.004, 0.0003, 1.5, 0.0, float("nan"))]
    ['41 %', '3.2 %', '10 %', '−0.4 %', '<0.1 %', '150 %', '0.0 %', 'n/a']
    """
    if not isfinite(value):
        return "n/a"
    sign, size_ = ("−" if value < 0 else ""), abs(100 * value)
    if 0 < size_ < 0.05:
        return "<0.1 %"
    return f"{sign}{size_:.0f} %" if round(size_, 1) >= 10 else f"{sign}{size_:.1f} %"


def factor(value: float) -> str:
    """Render a ratio: two decimals, three where it is close to one, fewer for large ones.

    >>> [factor(r) for r in (0.7062, 1.0034, 2.1, 12.34, 250.0, float("nan"))]
    ['0.71 ×', '1.003 ×', '2.10 ×', '12.3 ×', '250 ×', 'n/a']
    """
    if not isfinite(value):
        return "n/a"
    places = 3 if 0.9 < value < 1.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{places}f} ×"


def decimal(value: float) -> str:
    """Render a plain number with at most three significant figures.

    >>> [decimal(v) for v in (2.0, 0.25, 1.2345, 12345.6, float("nan"))]
    ['2', '0.25', '1.23', '12,300', 'n/a']
    """
    if not isfinite(value):
        return "n/a"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def count(number: float, noun: str) -> str:
    """Render a count with its noun, in the plural where English wants it.

    >>> [count(n, "class") for n in (1, 2, 1000)], count(3, "image")
    (['1 class', '2 classes', '1,000 classes'], '3 images')
    """
    if number == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{number:,} {noun}{ending}"


def shape(dims: tuple[int | str | None, ...]) -> str:
    """Render a shape; an unknown size is a question mark.

    >>> shape(("batch", 3, None, 32)), shape(())
    ('(batch, 3, ?, 32)', '()')
    """
    return "(" + ", ".join("?" if d is None else str(d) for d in dims) + ")"
