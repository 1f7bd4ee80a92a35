"""Tcal ratio against elevation, one panel a band."""

from __future__ import annotations

from collections.abc import Iterator

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.station.ratio import ratio_drawing

LOOK_FOR = (
    "A slope or a bow with elevation is the gain curve (or opacity, or pointing at low elevation), not the diode."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    return ratio_drawing(material, "ratio-elevation", "elevation_deg", LOOK_FOR)


PLOT = Plot("ratio_elevation", "ratio", "Tcal ratio against elevation", "no scan measured the noise diode.", make)
