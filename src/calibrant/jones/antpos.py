"""KAntPos: error of an antenna position.

    J_i(nu, t) = exp(2 pi i nu dx_i . s(t) / c),   dx = true minus catalogued position (m, ITRF),

with s the unit vector to the phase centre. Source: CASA's 'KAntPos Jones' tables (FPARAM).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.jones.base import JonesTerm, Place

SPEED_OF_LIGHT = 299792458.0


class AntennaPosition(JonesTerm):
    """Position offset in m, three parameters an antenna."""

    kind = "KAntPos Jones"
    order = 20
    real = True
    needs_direction = True
    every_spw = True

    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        if place.toward is None:
            raise ValueError("antenna positions need the direction to the source")
        path = np.einsum("tax,tx->ta", param[:, :, 0, :].astype(float), place.toward)
        phase = 2j * np.pi / SPEED_OF_LIGHT * path[:, :, None, None] * place.freq[None, None, :, None]
        return np.repeat(np.exp(phase), 2, axis=-1)
