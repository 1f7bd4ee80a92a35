"""Jones terms: what an antenna does to a wave. One term a file; adding one is one new file and its name in TERMS.

V_obs_ij = J_i V_sky_ij J_j^H with i = ANTENNA1. All terms here are diagonal: one complex factor a receptor.
"""

from __future__ import annotations

from calibrant.jones.antpos import AntennaPosition
from calibrant.jones.bandpass import Bandpass
from calibrant.jones.base import JonesTerm, Place
from calibrant.jones.delay import Delay
from calibrant.jones.gain import Gain, Tropo
from calibrant.jones.tsys import SystemTemperature
from calibrant.registry import Registry

TERMS: Registry[JonesTerm] = Registry(
    "calibration type",
    (AntennaPosition(), SystemTemperature(), Bandpass(), Delay(), Gain(), Tropo()),
    key=lambda term: term.kind,
)
"""By the name that stands in a table (VisCal), in the physical order from the correlator to the sky."""

__all__ = ["TERMS", "JonesTerm", "Place"]
