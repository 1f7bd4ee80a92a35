"""An ALMA-like array on the Chajnantor site, and the geometry of its baselines.

Earth orientation is that of the IAU (precession, nutation, Earth rotation angle) with UT1 = UTC and no polar motion,
so that nothing has to be looked up: directions are good to 15 arcsec, a common rotation of all baselines of a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import Antennas

SITE = np.array([2225061.869, -5440061.953, -2481682.085])
"""ITRF position of the array's centre (m)."""
DISH = 12.0
SPACING = 24.0
"""Least distance of two antennas (m): no shadows down to 30 degrees of elevation."""
TT_MINUS_UTC = 69.184
"""Seconds, since 2017."""
DAY = 86400.0
MJD_ZERO = 2400000.5


def layout(nant: int, radius: float) -> Antennas:
    """`nant` antennas within about `radius` m of the site: a sunflower, denser in the middle, slightly uneven."""
    number = np.arange(nant)
    distance = np.maximum(radius, SPACING * np.sqrt(nant)) * ((number + 0.5) / nant) ** 0.75
    angle = number * np.pi * (3 - np.sqrt(5))
    local = np.stack([distance * np.sin(angle), distance * np.cos(angle), 3.0 * np.sin(2.3 * number)], 1)
    names = [f"DA{41 + n}" if n % 2 == 0 else f"DV{n:02d}" for n in number.tolist()]
    pads = [f"A{n + 1:03d}" for n in number.tolist()]
    return Antennas(names, pads, ["ALT-AZ"] * nant, SITE + local @ _local_axes(), np.full(nant, DISH))


def _local_axes() -> NDArray[np.float64]:
    """East, north and up at the site as ITRF unit vectors, in rows (up along the geocentric radius)."""
    up = SITE / np.linalg.norm(SITE)
    east = np.cross([0.0, 0.0, 1.0], up)
    east /= np.linalg.norm(east)
    return np.array([east, np.cross(up, east), up])


def celestial(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (ntime, 3, 3) that turn ITRF vectors into J2000 at `times` (UTC, s of MJD)."""
    import erfa  # type: ignore[import-untyped]

    utc = np.asarray(times) / DAY
    turned: NDArray[np.float64] = erfa.c2t06a(MJD_ZERO, utc + TT_MINUS_UTC / DAY, MJD_ZERO, utc, 0.0, 0.0)
    return turned.transpose(0, 2, 1)


def antenna_uvw(
    position: NDArray[np.float64], direction: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """u, v, w (ntime, nant, 3) in m of every antenna relative to the site, for directions (ntime, 2) rad, J2000.

    The UVW of a row is that of ANTENNA1 minus that of ANTENNA2: u east, v north, w towards the source.
    """
    ra, dec = direction[:, 0], direction[:, 1]
    zero = np.zeros_like(ra)
    axes = np.array([
        [-np.sin(ra), np.cos(ra), zero],
        [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)],
        [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)],
    ])  # fmt: skip
    projection = axes.transpose(2, 0, 1) @ celestial(times)
    return np.einsum("tij,aj->tai", projection, position - SITE)


def elevation(direction: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elevation in rad of directions (ntime, 2) at `times`."""
    up = antenna_uvw(SITE[None] + _local_axes()[2:], direction, times)[:, 0]
    return np.arcsin(up[:, 2])
