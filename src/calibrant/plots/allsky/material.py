"""What the figures of an all-sky array draw from: plain arrays, names and words.

Angles are degrees, azimuth clockwise from north; lengths metres; phases radians as stored in telescopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A source on the sky; `found` ones get a circle, and the first of them their names."""

    name: str
    az_deg: float
    el_deg: float
    found: bool
    given: bool = False


@dataclass(frozen=True)
class SkyPanel:
    """An image of the whole sky: rows from north to south, columns from east to west, nan below the horizon."""

    name: str
    """none, stored or new."""
    title: str
    image: NDArray[Any]
    scatter: float
    """1.4826 times the median absolute deviation of the image."""
    marks: tuple[Mark, ...] = ()
    beam_deg: float = 4.0
    """FWHM of the dirty beam in the zenith."""

    @property
    def contrast(self) -> float:
        return float(np.nanmax(self.image)) / self.scatter if self.scatter > 0 else float("nan")


@dataclass(frozen=True)
class SourceFlux:
    """One source in one snapshot: flux in correlation of the reference antenna."""

    name: str
    snapshot: int
    flux: float
    flux_err: float
    found: bool
    given: bool = False


@dataclass(frozen=True)
class AllskyMaterial:
    """Everything that the report of a calibration draws."""

    panels: tuple[SkyPanel, ...]
    """The first snapshot, with each set of gains that there is."""
    more: tuple[SkyPanel, ...]
    """Further snapshots with the new gains."""
    gain: Floats
    gain_err: Floats
    phase: Floats
    phase_err: Floats
    state: tuple[str, ...]
    """For each antenna: good, weak, dead, missing or ignored."""
    reference: int
    stored_gain: Floats | None
    """In the gauge of the reference antenna; nan where there is none."""
    stored_phase: Floats | None
    length: Floats
    """Of the baselines of all snapshots: metres."""
    observed: NDArray[np.complex128]
    model: NDArray[np.complex128]
    noise: float
    """Expected, per real and imaginary part."""
    scatter: float
    """Rms of observed - model, per real and imaginary part."""
    sources: tuple[SourceFlux, ...]
    power: float
    held_out: float
    null: float
    rival: float
    good_power: float
    poor_power: float
    positions: Floats
    """(antenna, 3) as the telescope has them."""
    turned: Floats
    """(antenna, 3) in the orientation found."""
    rotation_deg: float
    mirror: bool
    orientation: str
    """In words."""

    @property
    def used(self) -> NDArray[np.bool_]:
        """Antennas with a solution."""
        return np.array([state in ("good", "weak") for state in self.state], dtype=bool)
