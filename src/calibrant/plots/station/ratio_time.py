"""Tcal ratio against time, one panel a band."""

from __future__ import annotations

from collections.abc import Iterator

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.station.ratio import ratio_drawing

LOOK_FOR = (
    "A step or a slope is a diode, a gain or the pointing that changed in the run; scatter within one time is "
    "frequency or source."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    return ratio_drawing(material, "ratio-time", "time", LOOK_FOR)


PLOT = Plot("ratio_time", "ratio", "Tcal ratio against time", "no scan measured the noise diode.", make)
