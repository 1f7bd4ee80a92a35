"""B: complex gain of an antenna against frequency.

    J_i(nu) = diag(b_i,X(nu), b_i,Y(nu))

Source: CASA's 'B Jones' tables (CPARAM, a channel each). Weights are scaled by the mean over channels of |b|^2, those
of WEIGHT_SPECTRUM too.
"""

from __future__ import annotations

from calibrant.jones.base import ComplexGain


class Bandpass(ComplexGain):
    """B: gain against frequency, a receptor each."""

    kind = "B Jones"
    order = 30
    channelized = True
