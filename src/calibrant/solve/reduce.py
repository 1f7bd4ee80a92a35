"""The one pass: chunks of visibilities become sums per solution cell, baseline, channel bin and hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.solve import kernels


@dataclass(frozen=True)
class Channels:
    """Which channels go where. `bins` (nchan,) int64: bin of every channel, -1 for none; `nbin` bins."""

    bins: NDArray[np.int64]
    nbin: int

    @property
    def ranges(self) -> NDArray[np.int64]:
        """Selected channels as contiguous [first, end) ranges."""
        used = np.concatenate(([0], (self.bins >= 0).astype(np.int8), [0]))
        edges = np.flatnonzero(np.diff(used))
        return np.ascontiguousarray(edges.reshape(-1, 2), np.int64)


@dataclass(frozen=True)
class Rows:
    """A chunk made ready for the sums (shapes: `kernels`). cell, baseline (nrow,): -1 where not used."""

    vis: NDArray[np.complex64]
    flag: NDArray[np.bool_]
    weight: NDArray[np.float32]
    model: NDArray[np.complex64]
    which: NDArray[np.int64]
    time: NDArray[np.float64]
    cell: NDArray[np.int64]
    baseline: NDArray[np.int64]
    hands: NDArray[np.int64]
    pols: NDArray[np.int64]
    channels: Channels


@dataclass(frozen=True)
class Contribution:
    """What a chunk adds; made in a worker thread, added in order by `Sums.add`."""

    rows: Rows
    numerator: NDArray[np.complex128] | None
    norm: NDArray[np.float64] | None


class Sums:
    """numerator A, norm B: (ncell, nbaseline, nbin, npol); time and weight (ncell,) for the mean time of a cell."""

    def __init__(self, ncell: int, nbaseline: int, nbin: int, npol: int, corrdepflags: bool = False) -> None:
        self.numerator = np.zeros((ncell, nbaseline, nbin, npol), np.complex128)
        self.norm = np.zeros((ncell, nbaseline, nbin, npol))
        self.weight = np.zeros(ncell)
        self._time = np.zeros(ncell)
        self._origin: float | None = None
        self._corrdepflags = corrdepflags

    @property
    def time(self) -> NDArray[np.float64]:
        """Weighted mean time of every cell; 0 where nothing was added."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.weight > 0, (self._origin or 0.0) + self._time / self.weight, 0.0)

    def reduce(self, rows: Rows) -> Contribution:
        """The thread-safe part: sums per row where all channels go into one bin."""
        if self.numerator.shape[2] > 1:
            return Contribution(rows, None, None)
        numerator = np.empty((len(rows.vis), len(rows.hands)), np.complex128)
        norm = np.empty((len(rows.vis), len(rows.hands)))
        for hands, bad in _flag_planes(rows, self._corrdepflags):
            part = np.empty((len(rows.vis), len(hands)), np.complex128)
            part_norm = np.empty((len(rows.vis), len(hands)))
            chosen, ranges = rows.hands[hands], rows.channels.ranges
            kernels.row_sums(rows.vis, bad, rows.weight, rows.model, rows.which, chosen, ranges, part, part_norm)
            numerator[:, hands], norm[:, hands] = part, part_norm
        return Contribution(rows, numerator, norm)

    def add(self, part: Contribution) -> None:
        """Add a chunk's contribution; call in a fixed order for reproducible sums."""
        rows = part.rows
        if part.numerator is None or part.norm is None:
            total = self._add_channels(rows)
        else:
            total = self._add_rows(rows, part.numerator, part.norm)
        used = rows.cell >= 0
        if self._origin is None and used.any():
            self._origin = float(rows.time[used][0])
        origin = self._origin or 0.0
        cell, total = rows.cell[used], total[used]
        count = len(self.weight)
        self.weight += np.bincount(cell, total, count)
        self._time += np.bincount(cell, total * (rows.time[used] - origin), count)

    def _add_rows(
        self, rows: Rows, numerator: NDArray[np.complex128], norm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        used = np.flatnonzero(rows.cell >= 0)
        place = rows.cell[used] * self.norm.shape[1] + rows.baseline[used]
        flat_a = self.numerator.reshape(-1, self.norm.shape[3])
        flat_b = self.norm.reshape(-1, self.norm.shape[3])
        for k, pol in enumerate(rows.pols.tolist()):
            np.add.at(flat_a[:, pol], place, numerator[used, k])
            np.add.at(flat_b[:, pol], place, norm[used, k])
        return norm.sum(axis=1)

    def _add_channels(self, rows: Rows) -> NDArray[np.float64]:
        total = np.zeros(len(rows.vis))
        bins = rows.channels.bins
        whole = len(rows.pols) == self.norm.shape[3]
        for hands, bad in _flag_planes(rows, self._corrdepflags):
            part = np.empty(len(rows.vis))
            if whole and len(hands) == len(rows.hands):
                a, b = self.numerator, self.norm
            else:  # one hand of several: the kernel needs contiguous sums of its own
                pols = rows.pols[hands]
                a = np.ascontiguousarray(self.numerator[..., pols])
                b = np.ascontiguousarray(self.norm[..., pols])
            chosen = rows.hands[hands]
            kernels.channel_sums(
                rows.vis, bad, rows.weight, rows.model, rows.which, chosen, bins, rows.cell, rows.baseline, a, b, part
            )
            if a is not self.numerator:
                self.numerator[..., rows.pols[hands]] = a
                self.norm[..., rows.pols[hands]] = b
            total += part
        return total


def _flag_planes(rows: Rows, corrdepflags: bool) -> list[tuple[NDArray[np.int64], NDArray[Any]]]:
    """(hands, flags per row and channel) pairs: one for all hands, or one a hand with corrdepflags."""
    if corrdepflags:
        return [
            (np.array([k]), np.ascontiguousarray(rows.flag[:, :, hand]).view(np.uint8))
            for k, hand in enumerate(rows.hands)
        ]
    return [(np.arange(len(rows.hands)), any_flag(rows.flag))]


def any_flag(flag: NDArray[np.bool_]) -> NDArray[Any]:
    """(nrow, nchan) unsigned: non-zero where any correlation is flagged; a view where the layout allows."""
    wide = {1: np.uint8, 2: np.uint16, 4: np.uint32}.get(flag.shape[2])
    if wide is None or not flag.flags.c_contiguous:
        return np.asarray(flag.any(axis=2)).view(np.uint8)
    return flag.view(wide)[:, :, 0]
