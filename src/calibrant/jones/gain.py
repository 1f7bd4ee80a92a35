"""G and T: complex gain of an antenna, constant over the band.

    J_i = diag(g_i,X, g_i,Y)   (G, one parameter a receptor: the electronics)
    J_i = g_i 1                (T, one parameter for both: the troposphere)

Source: Hamaker, Bregman & Sault 1996; CASA's 'G Jones', 'T Jones' tables (CPARAM).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.jones.base import JonesTerm, Place, both_receptors, mean_unflagged


class Gain(JonesTerm):
    """G: gain against time, a receptor each."""

    kind = "G Jones"
    order = 50
    flat = True

    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        return both_receptors(param).astype(np.complex128)

    def weights(self, param: NDArray[np.inexact], flag: NDArray[np.bool_]) -> NDArray[np.float64]:
        return both_receptors(mean_unflagged(np.abs(param) ** 2, flag))


class Tropo(JonesTerm):
    """T: gain against time, common to both receptors."""

    kind = "T Jones"
    order = 120
    flat = True

    def factors(self, param: NDArray[np.inexact], place: Place) -> NDArray[np.complex128]:
        return both_receptors(param).astype(np.complex128)

    def weights(self, param: NDArray[np.inexact], flag: NDArray[np.bool_]) -> NDArray[np.float64]:
        return both_receptors(mean_unflagged(np.abs(param) ** 2, flag))
