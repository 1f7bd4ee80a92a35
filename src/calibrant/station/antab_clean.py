"""Outliers in series of system temperatures, scan by scan. Nothing is changed without being listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Method = Literal["robust", "antabfs", "none"]
HIGHEST_K = 10000.0
SIGMAS = 5.0
LEAST_DEVIATION = 0.05
"""Fraction of the fit: what is nearer is never an outlier, however quiet the scan."""
LEAST_POINTS = 5
"""A scan with fewer is compared with its neighbours in time instead of a fit of its own."""
NEIGHBOURS = 7
"""Integrations on either side, of that comparison."""
FAR_FACTOR = 3.0
ANTABFS_DEVIATION = 0.1
TUKEY = 4.685


@dataclass(frozen=True)
class Change:
    """One value that cleaning changed. `row` and `column` index the series' arrays; new is nan where it was removed."""

    row: int
    column: int
    old: float
    new: float
    reason: str


def clean(
    time: Floats, values: Floats, scan: NDArray[np.int64], method: Method = "robust"
) -> tuple[Floats, list[Change]]:
    """(cleaned values, what was changed). `values` is (integrations, columns) in K.

    robust: values <= 0, above 10000 K, or far (more than 5 robust sigma and 5 %) from a robust straight line through
    their scan are removed. antabfs: values < 0 or above 10000 K become the geometric mean of their scan, and what is
    more than 10 % from a straight line through the scan becomes that line. none: nothing is changed.
    """
    if method == "none":
        return values, []
    result = values.copy()
    changes: list[Change] = []
    impossible = (values < 0) | (values > HIGHEST_K) | ((values == 0) & (method == "robust"))
    for row, column in np.argwhere(impossible):
        old = float(values[row, column])
        reason = "not above 0" if old <= 0 else f"above {HIGHEST_K:g} K"
        new = np.nan if method == "robust" else _geometric_mean(values[scan == scan[row], column])
        result[row, column] = new
        changes.append(Change(int(row), int(column), old, new, reason))
    for number in np.unique(scan):
        rows = np.nonzero(scan == number)[0]
        far, line = _far(time[rows], result[rows], method)
        for i, column in np.argwhere(far):
            row = int(rows[i])
            new = np.nan if method == "robust" else float(line[i, column])
            changes.append(Change(row, int(column), float(result[row, column]), new, _reason(method)))
            result[row, column] = new
    if method == "robust":
        changes += _lonely(result, scan)
    return result, sorted(changes, key=lambda change: (change.row, change.column))


def _reason(method: Method) -> str:
    return f"over {ANTABFS_DEVIATION:.0%} from the line" if method == "antabfs" else "far from the scan's robust line"


def _far(time: Floats, values: Floats, method: Method) -> tuple[NDArray[np.bool_], Floats]:
    """(outliers, the line) of one scan."""
    if len(time) < (LEAST_POINTS if method == "robust" else 3):
        return np.zeros(values.shape, bool), values
    if method == "antabfs":
        line = robust_line(time, values, rounds=0)
        return np.abs(values - line) > ANTABFS_DEVIATION * np.abs(line), line
    line = robust_line(time, values)
    residual = np.abs(values - line)
    sigma = _mad(values - line)
    return residual > np.maximum(SIGMAS * sigma, LEAST_DEVIATION * np.abs(line)), line


def robust_line(time: Floats, values: Floats, rounds: int = 20) -> Floats:
    """Straight line through each column of `values` (points, columns): Tukey's biweight from the median on;
    `rounds` = 0: plain least squares. nan values have no weight."""
    x = (time - time.mean())[:, None]
    there = np.isfinite(values)
    y = np.where(there, values, 0.0)
    weight = there.astype(np.float64)
    line = np.zeros_like(values)
    if rounds:
        line = np.broadcast_to(_median(values), values.shape)
    for _ in range(max(rounds, 1)):
        if rounds:
            sigma = np.maximum(_mad(np.where(there, values, np.nan) - line), 1e-3 * np.abs(line).max(axis=0) + 1e-12)
            u = (y - line) / (TUKEY * sigma)
            weight = np.where(there & (np.abs(u) < 1), (1 - u**2) ** 2, 0.0)
        line = _weighted_line(x, y, weight)
    return line


def _weighted_line(x: Floats, y: Floats, weight: Floats) -> Floats:
    total = np.maximum(weight.sum(axis=0), 1e-300)
    mean_x, mean_y = (weight * x).sum(axis=0) / total, (weight * y).sum(axis=0) / total
    spread = (weight * (x - mean_x) ** 2).sum(axis=0)
    slope = np.where(spread > 0, (weight * (x - mean_x) * y).sum(axis=0) / np.where(spread > 0, spread, 1.0), 0.0)
    return np.asarray(mean_y + slope * (x - mean_x))


def _lonely(values: Floats, scan: NDArray[np.int64]) -> list[Change]:
    """Removes, in place, values of short scans that their neighbours in time contradict by a factor of 3."""
    numbers, counts = np.unique(scan, return_counts=True)
    rows = np.nonzero(np.isin(scan, numbers[counts < LEAST_POINTS]))[0]
    if not len(rows) or len(values) < LEAST_POINTS:
        return []
    padded = np.pad(values, ((NEIGHBOURS, NEIGHBOURS), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBOURS + 1, axis=0)
    typical = _median(np.moveaxis(windows[rows], 2, 0))
    with np.errstate(invalid="ignore"):
        far = (values[rows] > FAR_FACTOR * typical) | (values[rows] < typical / FAR_FACTOR)
    reason = f"over a factor of {FAR_FACTOR:g} from its neighbours' median"
    changes = []
    for i, column in np.argwhere(far):
        changes.append(Change(int(rows[i]), int(column), float(values[rows[i], column]), np.nan, reason))
        values[rows[i], column] = np.nan
    return changes


def _geometric_mean(values: Floats) -> float:
    good = values[(values > 0) & (values <= HIGHEST_K)]
    return float(np.exp(np.mean(np.log(good)))) if len(good) else float("nan")


def _median(values: Floats) -> Floats:
    """Along the first axis, without nan; nan where there is nothing."""
    ordered = np.sort(values, axis=0)
    count = np.isfinite(values).sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    high = np.take_along_axis(ordered, (count // 2).clip(0, len(values) - 1)[None], axis=0)[0]
    return np.where(count > 0, 0.5 * (low + high), np.nan)


def _mad(residual: Floats) -> Floats:
    return 1.4826 * _median(np.abs(residual - _median(residual)))
