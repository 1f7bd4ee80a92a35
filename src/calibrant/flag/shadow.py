"""Antennas that stand in the view of others.

Two antennas overlap as seen from the source where sqrt(u^2 + v^2) < (d1 + d2) / 2 - tolerance, with d the dish
diameters. The one behind is shadowed: ANTENNA1 where w < 0, else ANTENNA2. All baselines of a shadowed antenna at
that time are touched, its autocorrelation too. Source: behaviour of CASA's flagdata, with the UVW of the MS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.flag.flagger import Flagger, Rows
from calibrant.ms.index import MSIndex
from calibrant.ms.reader import read_chunks
from calibrant.ms.selection import Selection


@dataclass(frozen=True)
class Shadow(Flagger):
    """tolerance: overlap that is allowed (m)."""

    tolerance: float = 0.0
    mode = "shadow"

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ParameterError(f"tolerance={self.tolerance}: the overlap allowed by shadow is 0 m or more")

    def rows(self, index: MSIndex, selection: Selection) -> Rows:
        rows = selection.rows
        shadowed = self._shadowed(index, np.unique(index.time_id[rows]))
        time, first, second = index.time_id[rows], index.ant1[rows], index.ant2[rows]
        return rows[shadowed[time, first] | shadowed[time, second]]

    def _shadowed(self, index: MSIndex, times: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool (ntime, nantenna), from all baselines of these times, whether selected or not."""
        wanted = np.zeros(len(index.times), bool)
        wanted[times] = True
        shadowed = np.zeros((len(index.times), len(index.antennas)), bool)
        diameter = index.antennas.diameter
        reach = (diameter[index.ant1] + diameter[index.ant2]) / 2 - self.tolerance
        cross = np.flatnonzero(wanted[index.time_id] & (index.ant1 != index.ant2))
        for chunk in read_chunks(index, cross, ["UVW"]):
            u, v, w = chunk["UVW"].T
            near = np.hypot(u, v) < reach[chunk.rows]
            rows = chunk.rows[near]
            behind = np.where(w[near] < 0, index.ant1[rows], index.ant2[rows])
            shadowed[index.time_id[rows], behind] = True
        return shadowed
