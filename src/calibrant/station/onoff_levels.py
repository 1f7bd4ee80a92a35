"""The counts of many ONOFF scans as flat arrays: one row per scan and detector, one cell per row and state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.station.records import NAN, STATES, Apriori, Level, OnOffScan

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ONSO, ONSC, OFFS, OFFC, ZERO = range(5)


def rows(scans: Sequence[OnOffScan]) -> list[tuple[int, Apriori]]:
    """(index of the scan, a-priori row) in the order of all tables; VAL rows without APR come last, with nan."""
    return [(index, row) for index, scan in enumerate(scans) for row in (*scan.apriori.values(), *_unannounced(scan))]


def _unannounced(scan: OnOffScan) -> Iterator[Apriori]:
    for name, row in scan.printed.items():
        if name not in scan.apriori:
            yield Apriori(row.line, name, row.freq_mhz, NAN, NAN, NAN, NAN, NAN, "x", NAN)


@dataclass(frozen=True)
class LevelTable:
    """Levels of many scans as flat arrays, and their means by row and state."""

    scan: Integers
    apriori: list[Apriori]
    continuous: NDArray[np.bool_]
    cell: Integers
    """Of each level: 5 * row + state."""
    visit: Integers
    """Of each level: which visit of its state it was, from 0."""
    level: Floats
    seconds: Floats
    mean: Floats
    """(row, state), counts; nan where there is no level."""
    mean_seconds: Floats
    count: Integers

    @classmethod
    def of(cls, scans: Sequence[OnOffScan]) -> LevelTable:
        order = rows(scans)
        levels = [scans[scan].levels.get(row.detector, []) for scan, row in order]
        number = {state: index for index, state in enumerate(STATES)}
        flat: list[Level] = [level for group in levels for level in group]
        row = np.repeat(np.arange(len(order)), [len(group) for group in levels])
        cell = 5 * row + np.fromiter((number[level.state] for level in flat), dtype=np.int64, count=len(flat))
        value = np.fromiter((level.level for level in flat), dtype=np.float64, count=len(flat))
        seconds = np.fromiter((level.seconds for level in flat), dtype=np.float64, count=len(flat))
        visit = np.fromiter((level.repetition for level in flat), dtype=np.int64, count=len(flat))
        good = np.isfinite(value)
        cell, value, seconds, visit = cell[good], value[good], seconds[good], visit[good]
        count = np.bincount(cell, minlength=5 * len(order)).reshape(-1, 5)
        return cls(
            np.array([scan for scan, _ in order], dtype=np.int64),
            [row for _, row in order],
            np.array([scans[scan].continuous for scan, _ in order], dtype=bool),
            cell,
            np.maximum(visit, _rank(cell)),
            value,
            seconds,
            _mean(cell, value, count),
            _mean(cell, seconds, count),
            count,
        )

    def column(self, name: str) -> Floats:
        return np.array([getattr(row, name) for row in self.apriori], dtype=np.float64)

    def printed_step(self) -> Floats:
        """Counts of the last digit with which the levels of each row are printed."""
        row = self.cell // 5
        step = np.full(len(self.scan), 1e-4)
        for digits in (3, 2, 1, 0):
            finer = np.abs(self.level - np.round(self.level, digits)) > 1e-6
            whole = np.bincount(row, weights=finer, minlength=len(step)) == 0
            step[whole] = 10.0**-digits
        return step


def _rank(cell: Integers) -> Integers:
    """Of each item: how many of the same cell come before it."""
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    rank = np.empty(len(cell), dtype=np.int64)
    rank[order] = np.arange(len(cell)) - np.searchsorted(ordered, ordered)
    return rank


def _mean(cell: Integers, value: Floats, count: Integers) -> Floats:
    total = np.bincount(cell, weights=value, minlength=count.size).reshape(count.shape)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))
