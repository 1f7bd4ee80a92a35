"""The beginning or end of scans, when antennas are still moving or settling.

With t the time of a row, t0 and t1 the first and last time of its scan among the selected rows, and dt = quackinterval:
beg t <= t0 + dt, endb t >= t1 - dt, tail t > t0 + dt, end t < t1 - dt (times are the middles of integrations).
quackincrement counts t0 and t1 from data not yet flagged, so that repeated runs eat further into the scan; a scan
that is wholly flagged is left alone. Scans are told apart by observation, array and scan number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.flag.flagger import Flagger, Rows
from calibrant.ms.index import MSIndex
from calibrant.ms.reader import read_chunks
from calibrant.ms.selection import Selection
from calibrant.registry import unknown

MODES = ("beg", "endb", "end", "tail")
Limits = list[tuple[int, int, int, float, float]]
"""(observation, array, scan, first time, last time) of every scan with unflagged data."""


@dataclass(frozen=True)
class Quack(Flagger):
    """quackinterval: seconds; quackmode: beg, endb, end, tail; quackincrement: see the module's text.

    limits: with quackincrement, the scans' times of unflagged data (`unflagged_limits`), found beforehand.
    """

    quackinterval: float = 1.0
    quackmode: str = "beg"
    quackincrement: bool = False
    limits: tuple[tuple[int, int, int, float, float], ...] | None = None
    mode = "quack"

    def __post_init__(self) -> None:
        if not self.quackinterval > 0:
            raise ParameterError(f"quackinterval={self.quackinterval}: give the seconds to flag, more than 0")
        if self.quackmode not in MODES:
            raise ParameterError(unknown("quackmode", self.quackmode, MODES))

    def with_limits(self, limits: Limits) -> Quack:
        """This flagger with the scans' times of unflagged data."""
        return replace(self, limits=tuple((int(o), int(a), int(s), float(t0), float(t1)) for o, a, s, t0, t1 in limits))

    def rows(self, index: MSIndex, selection: Selection) -> Rows:
        rows = selection.rows
        if self.limits is None:
            start, stop = _limits_of_rows(index, rows)
        else:
            start, stop = self._given_limits(index, rows)
        time, interval = index.time[rows], self.quackinterval
        touched = {
            "beg": lambda: time <= start + interval,
            "endb": lambda: time >= stop - interval,
            "tail": lambda: time > start + interval,
            "end": lambda: time < stop - interval,
        }[self.quackmode]()
        return rows[touched]

    def _given_limits(self, index: MSIndex, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # NaN compares false: rows of scans without limits are left alone
        start, stop = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        for observation, array, scan, first, last in self.limits or ():
            mine = (index.obs[rows] == observation) & (index.array[rows] == array) & (index.scan[rows] == scan)
            start[mine], stop[mine] = first, last
        return start, stop


def _scan_of(index: MSIndex, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Distinct (observation, array, scan), and for every row which of them it is in."""
    keys = np.column_stack((index.obs[rows], index.array[rows], index.scan[rows]))
    values, inverse = np.unique(keys, axis=0, return_inverse=True)
    return values, inverse.ravel()


def _limits(
    inverse: NDArray[np.int64], count: int, time: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, last = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first, inverse, time)
    np.maximum.at(last, inverse, time)
    return first, last


def _limits_of_rows(index: MSIndex, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, inverse = _scan_of(index, rows)
    first, last = _limits(inverse, len(values), index.time[rows])
    return first[inverse], last[inverse]


def unflagged_limits(index: MSIndex, selection: Selection) -> Limits:
    """First and last time with an unflagged visibility, scan by scan; scans without one are left out."""
    good = [
        chunk.rows[~chunk["FLAG"].reshape(len(chunk.rows), -1).all(axis=1)]
        for chunk in read_chunks(index, selection.rows, ["FLAG"])
    ]
    rows = np.sort(np.concatenate(good))
    if not len(rows):
        return []
    values, inverse = _scan_of(index, rows)
    first, last = _limits(inverse, len(values), index.time[rows])
    return [(*(int(i) for i in key), float(t0), float(t1)) for key, t0, t1 in zip(values, first, last, strict=True)]  # type: ignore[misc]
