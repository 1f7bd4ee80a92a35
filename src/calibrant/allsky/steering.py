"""How a point source arrives at the antennas: phases and, near the array, amplitudes.

far    u_i = exp(2 pi i r_i.s / lambda)
near   u_i = (r / rho_i) exp(-2 pi i (rho_i - r) / lambda),   rho_i = |r s - r_i|

so that V_ij = gamma_i conj(gamma_j) sum_s S_s u_si conj(u_sj). The near form tends to the far one for large r.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.allsky.snapshots import Source


def directions(az_deg: ArrayLike, el_deg: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors (..., 3) east, north, up; azimuth clockwise from north."""
    az, el = np.radians(np.asarray(az_deg, dtype=np.float64)), np.radians(np.asarray(el_deg, dtype=np.float64))
    return np.stack([np.sin(az) * np.cos(el), np.cos(az) * np.cos(el), np.sin(el)], axis=-1)


def steering(sources: Sequence[Source], positions: NDArray[np.float64], wavelength_m: float) -> NDArray[np.complex128]:
    """u (source, antenna)."""
    if not sources:
        return np.empty((0, len(positions)), dtype=np.complex128)
    s = directions([source.az_deg for source in sources], [source.el_deg for source in sources])
    turns = s @ positions.T / wavelength_m
    result = np.exp(2j * np.pi * turns)
    for k, source in enumerate(sources):
        if np.isfinite(source.r_m):
            rho = np.linalg.norm(source.r_m * s[k] - positions, axis=1)
            result[k] = source.r_m / rho * np.exp(-2j * np.pi * (rho - source.r_m) / wavelength_m)
    return np.asarray(result)


def taken_as_far_deg(source: Source, r_m: float, positions: NDArray[np.float64], wavelength_m: float) -> float:
    """Rms error, over the antennas, of the phases from a source at `r_m` that is taken as infinitely far, degrees."""
    s = directions(source.az_deg, source.el_deg)
    longer = np.linalg.norm(r_m * s - positions, axis=1) - (r_m - positions @ s)
    return float(np.std(longer) * 360.0 / wavelength_m)


def turned(positions: NDArray[np.float64], rotation_deg: float, mirror: bool = False) -> NDArray[np.float64]:
    """Positions after mirroring (east -> -east, where asked) and then turning from east towards north."""
    east, north, up = positions.T
    east = -east if mirror else east
    c, s = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    return np.stack([east * c - north * s, north * c + east * s, up], axis=1)
