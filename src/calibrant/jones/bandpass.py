"""B: complex gain of an antenna against frequency.

    J_i(nu) = diag(b_i,X(nu), b_i,Y(nu))

Source: CASA's 'B Jones' tables (CPARAM, a channel each). Weights are scaled by the mean over channels of |b|^2, those
of WEIGHT_SPECTRUM too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.jones.base import JonesTerm, Place, both_receptors, mean_unflagged


class Bandpass(JonesTerm):
    """B: gain against frequency, a receptor each."""

    kind = "B Jones"
    order = 30
    channelized = True

    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        return both_receptors(param).astype(np.complex128)

    def weights(self, param: NDArray[np.inexact], flag: NDArray[np.bool_]) -> NDArray[np.float64]:
        return both_receptors(mean_unflagged(np.abs(param) ** 2, flag))
