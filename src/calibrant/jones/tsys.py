"""B TSYS: system temperature, which turns correlation coefficients into Kelvin.

    J_i(nu) = 1 / sqrt(Tsys_i(nu)),  so that V_corrected = V sqrt(Tsys_i Tsys_j)

Source: CASA's 'B TSYS' tables (FPARAM, K): weights are divided by the band's mean Tsys.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.jones.base import JonesTerm, Place, both_receptors, mean_unflagged


class SystemTemperature(JonesTerm):
    """Tsys in K against frequency, a receptor each."""

    kind = "B TSYS"
    order = 30
    real = True
    channelized = True
    weighs_channels = True

    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        kelvin = both_receptors(param).astype(float)
        return (1.0 / np.sqrt(np.where(kelvin > 0, kelvin, 1.0))).astype(np.complex128)

    def weights(self, param: NDArray[np.inexact], flag: NDArray[np.bool_]) -> NDArray[np.float64]:
        return both_receptors(1.0 / mean_unflagged(param, flag | (param <= 0)))
