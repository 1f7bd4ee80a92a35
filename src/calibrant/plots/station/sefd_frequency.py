"""SEFD against frequency, one panel a band."""

from __future__ import annotations

from collections.abc import Iterator

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.station.sefd import sefd_drawing

LOOK_FOR = (
    "Low and even over the band is good. A single high frequency is interference or the edge of a filter; one "
    "polarisation above the other is a receiver or its polariser."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    return sefd_drawing(material, "sefd-frequency", "freq_mhz", LOOK_FOR)


PLOT = Plot("sefd_frequency", "sefd", "SEFD against frequency", "no scan gave an SEFD.", make)
