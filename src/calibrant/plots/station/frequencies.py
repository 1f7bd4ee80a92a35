"""Which frequencies were observed, and which the Tcal tables hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import FILE, POL_COLOURS, POL_MARKERS, POL_WORDS, POLS, panel_row, shown
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.style import key
from calibrant.plots.ticks import span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "How many points each detector frequency has; green strokes: frequencies of the Tcal table. A detector outside "
    "the strokes gets the constant value of the table's end, a stroke without a point cannot be renewed from these "
    "logs."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    if len(material.band):
        yield Drawing(
            name="frequencies", title="Points at each frequency", caption=LOOK_FOR,
            alt="Number of points at each frequency, and the frequencies of the Tcal tables",
            draw=partial(draw, material),
        )  # fmt: skip


def draw(material: StationMaterial) -> Figure:
    """One panel a band."""
    bands = shown(material.bands)
    columns = 2 if len(bands) > 1 else 1
    figure, panels = panel_row("Points at each frequency", bands, height=2.5, columns=columns)
    freq, kept = material.get("freq_mhz"), ~material.deleted
    for axes, band in zip(panels, bands, strict=True):
        mine = (material.band == band) & kept
        most = 1
        for pol in POLS:
            if not (mine & (material.pol == pol)).any():
                continue
            places, counts = np.unique(freq[mine & (material.pol == pol)], return_counts=True)
            most = max(most, *counts.tolist(), 1)
            colour = POL_COLOURS[pol]
            places = places + 0.0025 * np.ptp(freq[mine]) * {"l": -1, "r": 1, "": 0}[pol]
            axes.vlines(places, 0, counts, color=colour, lw=1.2, alpha=0.7)
            axes.plot(places, counts, POL_MARKERS[pol], color=colour, ms=4, mew=0)
        table = np.asarray(material.tables.get(band, np.zeros(0)))
        axes.plot(table, np.full(len(table), -0.06 * most), "|", color=FILE, ms=8, mew=1.1)
        axes.set_xlim(*span(np.concatenate([freq[material.band == band], table])))
        axes.set(ylim=(-0.13 * most, 1.12 * most), xlabel="frequency (MHz)", ylabel="points")
    entries = [(POL_WORDS[pol], POL_COLOURS[pol], POL_MARKERS[pol]) for pol in POLS if np.any(material.pol == pol)]
    key(figure, [*entries, *([("Tcal table", FILE, "|")] if material.tables else [])])
    return figure


PLOT = Plot("frequencies", "coverage", "Frequencies", "there are no points.", make)
