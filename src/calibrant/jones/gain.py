"""G and T: complex gain of an antenna, constant over the band.

    J_i = diag(g_i,X, g_i,Y)   (G, one parameter a receptor: the electronics)
    J_i = g_i 1                (T, one parameter for both: the troposphere)

Source: Hamaker, Bregman & Sault 1996; CASA's 'G Jones', 'T Jones' tables (CPARAM).
"""

from __future__ import annotations

from calibrant.jones.base import ComplexGain


class Gain(ComplexGain):
    """G: gain against time, a receptor each."""

    kind = "G Jones"
    order = 50
    flat = True


class Tropo(ComplexGain):
    """T: gain against time, common to both receptors."""

    kind = "T Jones"
    order = 120
    flat = True
