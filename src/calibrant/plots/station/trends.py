"""Tcal ratio and SEFD of every band and polarisation over several logs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import (
    POL_COLOURS,
    POL_MARKERS,
    POL_WORDS,
    POLS,
    faint_zero,
    limits_of,
    shown,
    utc_axis,
)
from calibrant.plots.station.material import StationMaterial, Trend
from calibrant.plots.style import key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Medians of each log with their robust scatter. A ratio that drifts is a diode that ages; SEFD that rises over "
    "months is a receiver that warms up, water in a horn, or pointing."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing, where there are two logs or more."""
    if several(material):
        yield Drawing(
            name="trends", title="Trends over the logs", caption=LOOK_FOR, draw=partial(draw, material),
            alt="Median Tcal ratio and SEFD of every log against date, one column for each band",
        )  # fmt: skip


def several(material: StationMaterial) -> list[str]:
    """The bands that two logs or more have."""
    return [band for band in material.bands if any(t.band == band and len(t.time) > 1 for t in material.trends)]


def draw(material: StationMaterial) -> Figure:
    """A row for each band: ratio at the left, SEFD at the right."""
    bands = shown(several(material))
    figure = new_figure(0.8 + 2.3 * len(bands), "Trends over the logs")
    grid = figure.subplots(len(bands), 2, squeeze=False)
    place(figure, top=0.65, bottom=0.6, left=0.8, right=0.4, hspace=0.62, wspace=0.16)
    for (left, right), band in zip(grid, bands, strict=True):
        mine = [trend for trend in material.trends if trend.band == band]
        _draw(left, mine, "ratio")
        _draw(right, mine, "sefd")
        left.set_title(band, loc="left")
        left.set_ylabel("Tcal ratio")
        right.set_ylabel("SEFD (Jy)")
        faint_zero(left, 1.0)
    key(figure, [(POL_WORDS[pol], POL_COLOURS[pol], POL_MARKERS[pol]) for pol in POLS
                 if any(trend.pol == pol for trend in material.trends)])  # fmt: skip
    return figure


def _draw(axes: Axes, trends: list[Trend], name: str) -> None:
    for trend in trends:
        values, scatter = getattr(trend, name), getattr(trend, f"{name}_scatter")
        axes.errorbar(
            trend.time, values, yerr=np.where(np.isfinite(scatter), scatter, 0.0), color=POL_COLOURS[trend.pol],
            marker=POL_MARKERS[trend.pol], ms=5, mew=0, lw=0.9, elinewidth=0.8, capsize=2,
        )  # fmt: skip
    every = [getattr(trend, name) + side * np.nan_to_num(getattr(trend, f"{name}_scatter"))
             for trend in trends for side in (-1, 1)]  # fmt: skip
    low, high = limits_of(*every, least=0.08)
    axes.set_ylim((min(low, 0.9), max(high, 1.1)) if name == "ratio" else (max(low, 0.0), high))
    utc_axis(axes, np.concatenate([trend.time for trend in trends]), most=4, label=False)


PLOT = Plot("trends", "trends", "Trends", "no band was observed in two logs or more.", make)
