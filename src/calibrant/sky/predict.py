"""Visibilities of point sources anywhere in the field.

    V(u, v, w, nu) = sum_k S_k(nu) exp(+2 pi i nu/c (u l + v m + w (n - 1))),   n = sqrt(1 - l^2 - m^2)

with the UVW of the MS (position of ANTENNA1 minus position of ANTENNA2), l to the east and m to the north: the sign
CASA's ft and setjy have (tested against CASA).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.sky.model import SourceModel

SPEED_OF_LIGHT = 299792458.0
"""m/s"""


@dataclass(frozen=True)
class PointComponent:
    """A point source at the direction cosines l (east) and m (north) from the phase centre."""

    model: SourceModel
    l: float = 0.0  # noqa: E741
    m: float = 0.0


def predict(
    uvw: NDArray[np.float64], freq: ArrayLike, components: Sequence[PointComponent], corr_types: ArrayLike
) -> NDArray[np.complex64]:
    """Model visibilities in Jy, (nrow, nchan, ncorr). uvw: (nrow, 3) in m; freq: (nchan,) in Hz."""
    freq = np.atleast_1d(np.asarray(freq, float))
    ncorr = len(np.atleast_1d(corr_types))
    total = np.zeros((len(uvw), len(freq), ncorr), np.complex64)
    for component in components:
        flux = component.model.visibilities(freq, corr_types)
        if component.l == 0 and component.m == 0:
            total += flux
            continue
        n = np.sqrt(1.0 - component.l**2 - component.m**2)
        path = uvw @ np.array([component.l, component.m, n - 1.0])
        phase = np.exp(2j * np.pi / SPEED_OF_LIGHT * path[:, None] * freq)
        total += (phase[:, :, None] * flux).astype(np.complex64)
    return total


def direction_cosines(direction: Sequence[float], centre: Sequence[float]) -> tuple[float, float]:
    """l and m of `direction` seen from the phase centre, both (right ascension, declination) in rad."""
    (ra, dec), (ra0, dec0) = direction, centre
    offset = ra - ra0
    return (
        float(np.cos(dec) * np.sin(offset)),
        float(np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(offset)),
    )
