"""Figures of a VLBI station: one file a kind. `PLOTS` lists those of the report, in its order.

They take plain arrays (`StationMaterial`, `Scatter`) and import nothing of `calibrant.station`; matplotlib is imported
inside functions only.
"""

from __future__ import annotations

from calibrant.plots.plot import Plot
from calibrant.plots.station import (
    compression,
    coverage,
    frequencies,
    gain_curve,
    opacity,
    pointing,
    ratio_elevation,
    ratio_frequency,
    ratio_time,
    sefd_elevation,
    sefd_frequency,
    tcal_table,
    trec,
    trends,
    weather,
)
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.station.scatter import Scatter, draw_scatter
from calibrant.registry import Registry

SECTIONS = ("ratio", "sefd", "gain", "tcal", "trec", "compression", "coverage", "pointing", "weather", "trends")
"""Sections of the report that hold figures, in the order read."""

PLOTS: Registry[Plot[StationMaterial]] = Registry(
    "station plot",
    (
        ratio_frequency.PLOT,
        ratio_time.PLOT,
        ratio_elevation.PLOT,
        sefd_frequency.PLOT,
        sefd_elevation.PLOT,
        gain_curve.PLOT,
        tcal_table.PLOT,
        trec.PLOT,
        opacity.PLOT,
        compression.PLOT,
        coverage.PLOT,
        frequencies.PLOT,
        pointing.PLOT,
        weather.PLOT,
        trends.PLOT,
    ),
    key=lambda plot: plot.name,
)

__all__ = ["PLOTS", "SECTIONS", "Plot", "Scatter", "StationMaterial", "draw_scatter"]
