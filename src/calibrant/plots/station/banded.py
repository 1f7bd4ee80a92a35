"""One quantity of every band against frequency, time or elevation: shared by ratio, SEFD and compression."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.station.common import legend_entries, panel_row, pol_points, shown, utc_axis
from calibrant.plots.station.material import Floats, StationMaterial
from calibrant.plots.style import key
from calibrant.plots.ticks import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

X_LABELS = {"time": "time (UTC)", "freq_mhz": "frequency (MHz)", "elevation_deg": "elevation (°)"}


def draw_banded(
    material: StationMaterial, x_name: str, values: Floats, title: str, ylabel: str,
    limits: Callable[[Floats], tuple[float, float]], dress: Callable[[Axes, Any], None] | None = None,
) -> Figure:  # fmt: skip
    """One panel a band; `limits` from the values that count, `dress(axes, mask)` draws what belongs behind."""
    there = np.isfinite(values)
    every = [band for band in material.bands if (there & (material.band == band)).any()]
    bands = shown(every)
    if len(every) > len(bands):
        title += f" · {len(bands)} of {len(every)} bands"
    figure, panels = panel_row(title, bands, columns=2 if len(bands) > 1 else 1)
    x, pol, deleted = material.get(x_name), material.pol, material.deleted
    for axes, band in zip(panels, bands, strict=False):
        mine = (material.band == band) & there
        kept = mine & ~deleted
        axes.set_ylabel(ylabel)
        if dress is not None:
            dress(axes, kept)
        low_high = limits(values[kept] if kept.any() else values[mine])
        pol_points(
            axes,
            apart(x[mine], pol[mine]) if x_name == "freq_mhz" else x[mine],
            values[mine],
            pol[mine],
            deleted[mine],
            low_high,
        )
        if x_name == "time":
            utc_axis(axes, x[mine], most=7 if len(panels) == 1 else 5)
        else:
            axes.set_xlim(*span(x[mine]))
            axes.set_xlabel(X_LABELS[x_name])
    key(figure, legend_entries(pol, deleted & np.isfinite(values)))
    return figure


def apart(x: Floats, pol: NDArray[Any]) -> Floats:
    """Left and right polarisation side by side where they have the same frequency."""
    step = 0.0025 * float(np.ptp(x))
    return np.asarray(x + step * ((pol == "r").astype(np.float64) - (pol == "l")))


def has(material: StationMaterial, values: Floats) -> bool:
    """Whether there is anything to draw."""
    return bool(len(values) and np.isfinite(values[np.isin(material.band, list(material.bands))]).any())
