"""Figures of a run that took calibration frames: one file a kind. `PLOTS` lists those of the report, in its order.

They take plain data (`RunMaterial`) and import nothing of `calibrant.acquire`; matplotlib is imported inside functions
only.
"""

from __future__ import annotations

from calibrant.plots.acquire import levels, timeline
from calibrant.plots.acquire.material import AttemptLine, FrameLevels, Moment, RunMaterial, Span
from calibrant.plots.acquire.thumbnail import thumbnail
from calibrant.plots.plot import Plot
from calibrant.registry import Registry

PLOTS: Registry[Plot[RunMaterial]] = Registry("run plot", (timeline.PLOT, levels.PLOT), key=lambda plot: plot.name)

__all__ = ["PLOTS", "AttemptLine", "FrameLevels", "Moment", "RunMaterial", "Span", "thumbnail"]
