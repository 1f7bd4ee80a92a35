"""Tcal ratio against frequency, one panel a band."""

from __future__ import annotations

from collections.abc import Iterator

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.station.ratio import ratio_drawing

LOOK_FOR = (
    "Thin lines join the medians. A ratio that is the same everywhere but not 1 asks for another DPFU or for scaled "
    "Tcal; one that wanders with frequency asks for a new Tcal table. Green: within half of what the verdict allows; "
    "yellow: to be looked at."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    return ratio_drawing(material, "ratio-frequency", "freq_mhz", LOOK_FOR)


PLOT = Plot("ratio_frequency", "ratio", "Tcal ratio against frequency", "no scan measured the noise diode.", make)
