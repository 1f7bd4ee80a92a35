"""What another antab of the same station would have made of the amplitudes.

A station's visibility amplitudes are multiplied by sqrt(Tsys / (DPFU g)): the ratio of this between two files is what
one of them changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrant.errors import DataError
from calibrant.station.antab import Antab, AntabGain, AntabTsys

NEAREST_S = 10.0
"""Rows farther apart in time are not compared."""
ELEVATIONS = np.arange(10.0, 86.0, 5.0)


@dataclass(frozen=True)
class ColumnComparison:
    """New over old of one column: Tsys (median over common rows), DPFU g and the amplitude scale at 45 degrees."""

    label: str
    rows: int
    tsys_ratio: float
    gain_ratio: float
    """Of DPFU g at 45 degrees."""
    amplitude_ratio: float
    """sqrt(tsys_ratio / gain_ratio)."""
    lowest: float
    highest: float
    """Of amplitude_ratio between elevations of 10 and 85 degrees."""


def compare_antabs(new: Antab, old: Antab) -> list[ColumnComparison]:
    """Column by column of the labels that both have; DataError where there is no common station, time or label."""
    pairs = [(a, b) for a in new.tsys for b in old.tsys if a.station == b.station]
    result = []
    for a, b in pairs:
        for label in [label for label in a.index if label in b.index and label[0] in "RL"]:
            column = _column(new, old, a, b, label)
            if column is not None:
                result.append(column)
    if not result:
        stations = f"{', '.join(new.stations())} and {', '.join(old.stations())}"
        raise DataError(f"The two antabs ({stations}) have no station, column and time in common; nothing to compare.")
    return result


def _column(new: Antab, old: Antab, a: AntabTsys, b: AntabTsys, label: str) -> ColumnComparison | None:
    mine, theirs = (t.tsys()[:, t.index.index(label)] for t in (a, b))
    nearest = _nearest(a.seconds, b.seconds)
    close = np.abs(a.seconds - b.seconds[nearest]) <= NEAREST_S
    ratio = (mine / theirs[nearest])[close]
    ratio = ratio[np.isfinite(ratio)]
    if not len(ratio):
        return None
    tsys_ratio = float(np.median(ratio))
    curves = _gain(new, a.station, label), _gain(old, b.station, label)
    gains = curves[0] / curves[1]
    amplitude = np.sqrt(tsys_ratio / gains)
    middle = int(np.argmin(np.abs(ELEVATIONS - 45.0)))
    return ColumnComparison(
        label, len(ratio), tsys_ratio, float(gains[middle]), float(amplitude[middle]),
        float(amplitude.min()), float(amplitude.max()),
    )  # fmt: skip


def _gain(antab: Antab, station: str, label: str) -> np.ndarray:
    """DPFU g at `ELEVATIONS` for a column; nan where the file has no such GAIN."""
    pol = label[0].lower()
    for gain in antab.gains:
        if gain.station == station and np.isfinite(gain.dpfu_of(pol)):
            return gain.dpfu_of(pol) * _curve(gain)
    return np.full(len(ELEVATIONS), np.nan)


def _curve(gain: AntabGain) -> np.ndarray:
    if gain.curve is not None:
        return gain.curve(ELEVATIONS)
    if gain.table:
        x, y = np.array(sorted(gain.table)).T
        return np.interp(ELEVATIONS if gain.mount == "ELEV" else 90.0 - ELEVATIONS, x, y)
    return np.full(len(ELEVATIONS), np.nan)


def _nearest(wanted: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Index into ascending `there` of what is nearest to each of `wanted`."""
    after = np.clip(np.searchsorted(there, wanted), 1, max(len(there) - 1, 1)).clip(max=len(there) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(wanted - there[before]) <= np.abs(there[after] - wanted), before, after)
