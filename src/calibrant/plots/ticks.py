"""Axis limits and ticks as plain numbers: used by the axes and by the small multiples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DAY = 86400.0
CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
PHASE_LIMITS = (10.0, 20.0, 45.0, 90.0, 180.0)


def day_of(time: float) -> str:
    """Date of a time in s MJD: '2024-08-15'."""
    return str(np.datetime64("1858-11-17") + np.timedelta64(math.floor(time / DAY), "D"))


def clock(time: float, step: float = 60.0) -> str:
    """Time of day 'HH:MM' ('HH:MM:SS' for steps below a minute)."""
    second = round(time % DAY) % int(DAY)
    hour, minute = second // 3600, second % 3600 // 60
    return f"{hour:02d}:{minute:02d}" + (f":{second % 60:02d}" if step < 60 else "")


def clock_ticks(start: float, end: float, most: int = 6) -> tuple[NDArray[np.float64], list[str]]:
    """At most `most` round times of day within [start, end], in s, and their labels."""
    span = max(end - start, 1.0)
    step: float = next((step for step in CLOCK_STEPS if span / step <= most), math.ceil(span / DAY / most) * DAY)
    ticks = np.arange(math.ceil(start / step), math.floor(end / step) + 1) * float(step)
    return np.asarray(ticks, np.float64), [clock(tick, step) for tick in ticks]


def clock_axis(axes: Axes, start: float, end: float, *, origin: float, most: int = 8, scale: str = "UTC") -> None:
    """Show the x axis (s since `origin`) as time of day; `scale` names the time scale, '' leaves the label out."""
    margin = 0.02 * max(end - start, 1.0)
    axes.set_xlim(start - margin - origin, end + margin - origin)
    ticks, labels = clock_ticks(start, end, most)
    axes.set_xticks(ticks - origin, labels)
    if scale:
        axes.set_xlabel(f"time on {day_of(start)} ({scale})")


def span(values: Any, margin: float = 0.05) -> tuple[float, float]:
    """Smallest and largest finite value with a margin; (0, 1) where there is none."""
    values = np.asarray(values)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if high <= low:
        pad = abs(low) * margin or 0.5
        return low - pad, high + pad
    return low - margin * (high - low), high + margin * (high - low)


def robust_span(values: Any, margin: float = 0.08) -> tuple[float, float]:
    """Like `span`, but far outliers do not squeeze the rest: limits end 6 quartile distances out."""
    values = np.asarray(values)
    values = values[np.isfinite(values)]
    if len(values) < 4:
        return span(values, margin)
    low, middle, high = np.percentile(values, (25, 50, 75))
    reach = 6 * max(high - low, 0.02 * abs(middle))
    return span(values[(values >= low - reach) & (values <= high + reach)], margin)


def amplitude_span(values: Any) -> tuple[float, float]:
    """Limits for amplitudes: from zero where any is far below the middle, and never narrower than 6 % of it."""
    values = np.asarray(values)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = robust_span(values)
    middle = float(np.median(values))
    if values.min() < 0.6 * middle:
        return 0.0, max(high, 1.1 * middle)
    return min(low, 0.97 * middle), max(high, 1.03 * middle)


def phase_limit(degrees: Any) -> float:
    """The smallest of the usual limits that holds all phases."""
    values = np.abs(np.asarray(degrees))
    values = values[np.isfinite(values)]
    largest = float(values.max()) if len(values) else 0.0
    return next((limit for limit in PHASE_LIMITS if largest <= 0.95 * limit), 180.0)


def break_lines(x: Any, y: Any, broken: Any) -> tuple[Any, Any]:
    """The series with NaN put in after every point where `broken` (n - 1,) is true."""
    at = np.flatnonzero(broken) + 1
    return np.insert(np.asarray(x, float), at, np.nan), np.insert(np.asarray(y, float), at, np.nan)


def nice_ticks(low: float, high: float, most: int = 4) -> tuple[NDArray[np.float64], list[str]]:
    """Round numbers within [low, high] and labels with just enough digits."""
    from matplotlib.ticker import MaxNLocator

    ticks = np.asarray(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    ticks = ticks[(ticks >= low) & (ticks <= high)]
    step = float(np.min(np.diff(ticks))) if len(ticks) > 1 else abs(high - low) or 1.0
    digits = next((digits for digits in range(9) if abs(round(step, digits) - step) < 1e-6 * step), 9)
    return ticks, [f"{tick + 0.0:.{digits}f}" for tick in ticks]
