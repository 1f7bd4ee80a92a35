"""Figures of an all-sky array: one file a kind. `PLOTS` lists those of the report, in its order.

They take plain arrays (`AllskyMaterial`, `SkyPanel`) and import nothing of `calibrant.allsky`; matplotlib is imported
inside functions only.
"""

from __future__ import annotations

from calibrant.plots.allsky import (
    evidence,
    fluxes,
    gains,
    layout,
    phases,
    residuals,
    sky,
    visibilities,
)
from calibrant.plots.allsky.material import AllskyMaterial, Mark, SkyPanel, SourceFlux
from calibrant.plots.allsky.sky import draw_skies, smooth_png
from calibrant.plots.plot import Plot
from calibrant.registry import Registry

SECTIONS = ("sky", "snapshots", "evidence", "antennas", "sources", "residuals", "orientation")
"""Sections of the report that hold figures, in the order read."""

PLOTS: Registry[Plot[AllskyMaterial]] = Registry(
    "all-sky plot",
    (
        sky.PLOT,
        sky.PLOT_MORE,
        evidence.PLOT,
        phases.PLOT,
        gains.PLOT,
        fluxes.PLOT,
        residuals.PLOT,
        visibilities.PLOT,
        layout.PLOT,
    ),
    key=lambda plot: plot.name,
)

__all__ = [
    "PLOTS", "SECTIONS", "AllskyMaterial", "Mark", "SkyPanel", "SourceFlux", "draw_skies", "smooth_png",
]  # fmt: skip
