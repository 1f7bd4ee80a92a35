"""Weather against time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import utc_axis
from calibrant.plots.station.material import Floats, StationMaterial
from calibrant.plots.style import COLOURS, new_figure, place
from calibrant.plots.ticks import span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ITEMS = {
    "temperature_c": "temperature (°C)", "pressure_hpa": "pressure (hPa)", "humidity_percent": "humidity (%)",
    "wind_speed": "wind (m/s)",
}  # fmt: skip
LOOK_FOR = (
    "Steps in Tsys or opacity that have no counterpart here are the receiver, not the sky. Wind moves the pointing."
)
BREAK = 6 * 3600.0


def present(material: StationMaterial) -> list[str]:
    """The items that have values."""
    return [name for name in ITEMS if name in material.weather and np.isfinite(material.weather[name]).any()]


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    if present(material):
        yield Drawing(
            name="weather", title="Weather", caption=LOOK_FOR, alt="Weather against time",
            draw=partial(draw, material, present(material)),
        )  # fmt: skip


def draw(material: StationMaterial, names: list[str]) -> Figure:
    """One panel an item, two in a row."""
    rows = -(-len(names) // 2)
    figure = new_figure(0.85 + 1.55 * rows, "Weather")
    grid = figure.subplots(rows, min(len(names), 2), squeeze=False, sharex=True)
    place(figure, top=0.5, bottom=0.6, left=0.8, hspace=0.18, wspace=0.16)
    panels = [axes for row in grid for axes in row]
    for spare in panels[len(names) :]:
        spare.set_axis_off()
    time = material.weather["time"]
    for number, (axes, name) in enumerate(zip(panels, names, strict=False)):
        axes.plot(*_broken(time, material.weather[name]), color=COLOURS[number], lw=1.1, marker=".", ms=2.5)
        axes.set_ylabel(ITEMS[name])
        axes.set_ylim(*span(material.weather[name]))
        utc_axis(axes, time, most=5, label=number >= len(names) - 2)
    return figure


def _broken(time: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Nothing joins records that are hours apart."""
    at = np.flatnonzero(np.diff(time) > BREAK) + 1
    return np.insert(time, at, np.nan), np.insert(values, at, np.nan)


PLOT = Plot("weather", "weather", "Weather", "the logs hold no weather records.", make)
