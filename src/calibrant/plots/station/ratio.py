"""Tcal ratio against one quantity: shared by three figures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.plot import Drawing
from calibrant.plots.station.banded import X_LABELS, draw_banded, has
from calibrant.plots.station.common import POL_COLOURS, POLS, faint_zero
from calibrant.plots.station.material import Floats, StationMaterial
from calibrant.plots.ticks import robust_span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, DOUBTFUL = "#e3f1ea", "#fbf1d8"


def ratio_drawing(material: StationMaterial, name: str, x_name: str, caption: str) -> Iterator[Drawing]:
    """The drawing of one axis, where there are ratios at all."""
    if has(material, material.ratio):
        words = X_LABELS[x_name].split(" (")[0]
        title = f"Tcal ratio against {words}"
        yield Drawing(
            name=name, title=title, caption=caption, draw=partial(draw, material, x_name, title),
            alt=f"Measured over assumed noise diode temperature against {words}, one panel for each band",
        )  # fmt: skip


def draw(material: StationMaterial, x_name: str, title: str) -> Figure:
    """Ratio with the zones of the verdict behind it, and a running median by polarisation over frequency."""

    def dress(axes: Axes, kept: Any) -> None:
        axes.axhspan(1 - material.beyond, 1 + material.beyond, color=DOUBTFUL, lw=0, zorder=0)
        axes.axhspan(1 - material.beyond / 2, 1 + material.beyond / 2, color=GOOD, lw=0, zorder=0.5)
        faint_zero(axes, 1.0)
        if x_name == "freq_mhz":
            _medians(axes, material, kept)

    return draw_banded(material, x_name, material.ratio, title, "Tcal ratio", _limits, dress)


def _limits(values: Floats) -> tuple[float, float]:
    low, high = robust_span(values)
    return min(low, 0.87), max(high, 1.13)


def _medians(axes: Axes, material: StationMaterial, kept: Any) -> None:
    freq = material.get("freq_mhz")
    for pol in POLS:
        mine = kept & (material.pol == pol)
        places = np.unique(freq[mine])
        middles = [float(np.median(material.ratio[mine & (freq == place)])) for place in places]
        axes.plot(places, middles, "-", color=POL_COLOURS[pol], lw=0.9, alpha=0.6, zorder=2)
