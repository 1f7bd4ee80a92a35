"""SEFD against elevation, one panel a band."""

from __future__ import annotations

from collections.abc import Iterator

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.station.sefd import sefd_drawing

LOOK_FOR = (
    "The rise to low elevations is atmosphere and spill-over; jumps between neighbouring scans are pointing, weather,"
    " or a source whose flux density is not what the table says."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    return sefd_drawing(material, "sefd-elevation", "elevation_deg", LOOK_FOR)


PLOT = Plot("sefd_elevation", "sefd", "SEFD against elevation", "no scan gave an SEFD.", make)
