"""The sources of a simulated observation: a bandpass quasar, 3C286, a phase calibrator, a target with a line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPEED_OF_LIGHT = 299792458.0
REFERENCE = 40e9
"""Frequency (Hz) of the flux densities below."""
STANDARD = "Perley-Butler 2017"
ARCSEC = math.pi / 648000

LINE_WINDOW, LINE_CENTRE, LINE_WIDTH, LINE_RATIO = 1, 0.55, 0.03, 1.5
"""The target's line: spectral window, centre and Gaussian width as fractions of the band, peak over continuum."""


@dataclass(frozen=True)
class SimulatedSource:
    """Name, role, intent and direction (rad, J2000); flux (Jy at 40 GHz) and spectral index, or a known standard.

    points: (offset east, offset north in arcsec, fraction of the flux)."""

    name: str
    role: str
    intent: str
    direction: tuple[float, float]
    flux: float = 0.0
    index: float = 0.0
    standard: str = ""
    points: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 1.0),)

    def spectrum(self, freq: NDArray[np.float64]) -> NDArray[np.float64]:
        """Continuum flux density (Jy) at `freq` (Hz)."""
        if self.standard:
            from calibrant.sky.standards import flux_density

            return np.asarray(flux_density(self.standard, self.name, freq), float)
        return self.flux * (freq / REFERENCE) ** self.index


def _direction(
    hours: float, minutes: float, seconds: float, sign: int, dms: tuple[int, int, float]
) -> tuple[float, float]:
    dec = dms[0] + dms[1] / 60 + dms[2] / 3600
    return math.radians(15 * (hours + minutes / 60 + seconds / 3600)), math.radians(sign * dec)


def _intent(*words: str) -> str:
    return ",".join(f"{word}#ON_SOURCE" for word in (*words, "CALIBRATE_WVR"))


BANDPASS, FLUX, PHASE, TARGET = range(4)
SOURCES = (
    SimulatedSource(
        "J1256-0547", "bandpass", _intent("CALIBRATE_BANDPASS"), _direction(12, 56, 11.1666, -1, (5, 47, 21.525)),
        12.0, -0.6,
    ),
    SimulatedSource(
        "3C286", "flux", _intent("CALIBRATE_FLUX"), _direction(13, 31, 8.2881, 1, (30, 30, 32.960)),
        standard=STANDARD,
    ),
    SimulatedSource(
        "J1337-1257", "phase", _intent("CALIBRATE_PHASE"), _direction(13, 37, 39.7828, -1, (12, 57, 24.693)),
        1.6, -0.4,
    ),
    SimulatedSource(
        "TARGET", "target", "OBSERVE_TARGET#ON_SOURCE", _direction(13, 44, 0.0, -1, (11, 30, 0.0)),
        0.2, 2.0, points=((2.0, 1.5, 0.75), (-3.0, 0.5, 0.25)),
    ),
)  # fmt: skip


def line(freq: NDArray[np.float64], window: int, windows: int) -> NDArray[np.float64]:
    """Factor (nchan,) by which the line raises the target's continuum in this window; 1 without the line."""
    if window != min(LINE_WINDOW, windows - 1):
        return np.ones(len(freq))
    place = (np.arange(len(freq)) + 0.5) / len(freq)
    return 1 + LINE_RATIO * np.exp(-0.5 * ((place - LINE_CENTRE) / LINE_WIDTH) ** 2)


def fringe(uvw: NDArray[np.float64], freq: NDArray[np.float64], east: float, north: float) -> NDArray[np.complex64]:
    """exp(+2 pi i nu/c (u l + v m + w (n-1))) (..., nchan) of a point at direction cosines l = east, m = north.

    UVW in m as an MS has it (ANTENNA1 minus ANTENNA2), which fixes the sign."""
    path = uvw[..., 0] * east + uvw[..., 1] * north + uvw[..., 2] * (math.sqrt(1 - east**2 - north**2) - 1)
    turns = path[..., None] * (freq / SPEED_OF_LIGHT)
    # whole turns are dropped before single precision
    phase = (2 * np.pi * (turns - np.rint(turns))).astype(np.float32)
    wave = np.empty(phase.shape, np.complex64)
    wave.real, wave.imag = np.cos(phase), np.sin(phase)
    return wave
