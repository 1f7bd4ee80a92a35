"""Zenith opacity against time: of every point, and of the fits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.banded import draw_banded, has
from calibrant.plots.station.common import FIT, POL_COLOURS, faint_zero
from calibrant.plots.station.material import Floats, StationMaterial
from calibrant.plots.ticks import robust_span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Zenith opacity of each point from its Tsys, Tspill and the Trec on file; large symbols: of the fits. It should "
    "change slowly and agree between the polarisations; negative values mean that Trec or Tcal is too high."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing, from points, fits or both."""
    values = material.get("opacity_zenith")
    if has(material, values):
        title = "Zenith opacity against time"
        yield Drawing(
            name="opacity", title=title, caption=LOOK_FOR, alt=f"{title}, one panel for each band",
            draw=partial(draw, material, values, title),
        )  # fmt: skip


def draw(material: StationMaterial, values: Floats, title: str) -> Figure:
    """Points as for every quantity, and the fits over them."""
    figure = draw_banded(material, "time", values, title, "zenith opacity", _limits)
    axes_of = {axes.get_title(loc="left"): axes for axes in figure.get_axes()}
    for own in axes_of.values():
        faint_zero(own, 0.0)
    for panel in material.trecs:
        if panel.band not in axes_of or not panel.segments:
            continue
        axes = axes_of[panel.band]
        style: Any = {"color": POL_COLOURS.get(panel.pol, FIT), "mec": "white", "ms": 8, "capsize": 2, "zorder": 6}
        axes.errorbar(
            [one.time for one in panel.segments], [one.tau for one in panel.segments],
            yerr=[np.nan_to_num(abs(one.tau_err)) for one in panel.segments],
            fmt="o" if panel.pol == "l" else "^", elinewidth=1, **style,
        )  # fmt: skip
    return figure


def _limits(values: Floats) -> tuple[float, float]:
    low, high = robust_span(values)
    return min(low, -0.01), max(high, 0.05)


PLOT = Plot(
    "opacity", "trec", "Zenith opacity",
    "the opacity of single points needs an rxg file with Trec (0 there means unknown).", make,
)  # fmt: skip
