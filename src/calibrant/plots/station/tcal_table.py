"""Tcal against frequency: measured, table on file and new table, and their difference in percent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import FILE, FIT, POL_COLOURS, POL_WORDS, faint_zero
from calibrant.plots.station.material import StationMaterial, TcalPanel
from calibrant.plots.style import empty, key, new_figure, place
from calibrant.plots.ticks import robust_span, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Dots: every measurement (right only where DPFU and curve are). Solid green: table on file, interpolated as the "
    "Field System does. Dashed: new table; frequencies without observation keep their old value. Below: new minus old."
)
HEIGHT = 5.2


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing for each band."""
    for number, band in enumerate(dict.fromkeys(panel.band for panel in material.tcals)):
        panels = [panel for panel in material.tcals if panel.band == band]
        yield Drawing(
            name=f"tcal-{number}", title=f"Tcal against frequency · {band}", caption=LOOK_FOR,
            alt=f"Noise diode temperature against frequency, old and new table and difference, {band}",
            draw=partial(draw, panels, f"Tcal against frequency · {band}"),
        )  # fmt: skip


def draw(panels: list[TcalPanel], title: str) -> Figure:
    """A column for each polarisation: Tcal above, the difference below."""
    figure = new_figure(HEIGHT, title)
    grid = figure.subplots(
        2, len(panels), squeeze=False, sharex="col", sharey="row", gridspec_kw={"height_ratios": (2.4, 1)}
    )
    place(figure, top=0.75, hspace=0.08, wspace=0.06, left=0.85)
    for (above, below), panel in zip(grid.T, panels, strict=True):
        above.set_title(f"{POL_WORDS.get(panel.pol, panel.pol)} polarisation", loc="left")
        _draw_tcal(above, panel)
        _draw_difference(below, panel)
        below.set_xlabel("frequency (MHz)")
    low, high = robust_span(np.concatenate([_every(panel) for panel in panels]), 0.12)
    grid[0, 0].set_ylim(max(low, 0.0) if low > -1 else low, high)
    grid[0, 0].set_ylabel("Tcal (K)")
    grid[1, 0].set_ylabel("new − old (%)")
    key(figure, [
        ("measured", POL_COLOURS["l"], "o"), ("table on file", FILE, "-"), ("new table", FIT, "-"),
    ])  # fmt: skip
    return figure


def _every(panel: TcalPanel) -> Any:
    return np.concatenate([panel.tcal, panel.old_tcal, panel.new_tcal])


def _draw_tcal(axes: Axes, panel: TcalPanel) -> None:
    colour = POL_COLOURS["l"]
    size = 3.2 if len(panel.tcal) < 400 else 2.2
    axes.plot(panel.freq, panel.tcal, "o", color=colour, ms=size, mew=0, alpha=0.5, zorder=3)
    every = np.concatenate([panel.freq, panel.new_freq]) if len(panel.freq) else panel.old_freq
    low, high = span(every, 0.08)
    if len(panel.old_freq):
        x = np.unique(np.concatenate([panel.old_freq, [min(low, panel.old_freq[0]), max(high, panel.old_freq[-1])]]))
        axes.plot(x, np.interp(x, panel.old_freq, panel.old_tcal), "-", color=FILE, lw=1.4, zorder=4)
        axes.plot(panel.old_freq, panel.old_tcal, "|", color=FILE, ms=6, mew=0.8, zorder=4)
    if len(panel.new_freq):
        axes.plot(panel.new_freq, panel.new_tcal, "--", color=FIT, lw=1.1, zorder=5)
        axes.errorbar(
            panel.new_freq, panel.new_tcal, yerr=np.nan_to_num(np.abs(panel.new_err)), fmt="s", color=FIT, ms=3.4,
            mew=0, elinewidth=0.8, zorder=6,
        )  # fmt: skip
    if not len(_every(panel)):
        empty(axes, "no data")
    axes.set_xlim(*span(np.concatenate([panel.freq, panel.new_freq, panel.old_freq])))


def _draw_difference(axes: Axes, panel: TcalPanel) -> None:
    faint_zero(axes, 0.0)
    if not len(panel.new_freq) or not len(panel.old_freq):
        empty(axes, "no new table" if len(panel.old_freq) else "no table on file")
        return
    old = np.interp(panel.new_freq, panel.old_freq, panel.old_tcal)
    with np.errstate(divide="ignore", invalid="ignore"):
        change, err = 100 * (panel.new_tcal / old - 1), 100 * np.nan_to_num(np.abs(panel.new_err / old))
    axes.errorbar(panel.new_freq, change, yerr=err, fmt="s", color=FIT, ms=3.4, mew=0, elinewidth=0.8, zorder=3)
    axes.vlines(panel.new_freq, 0, change, color=FIT, lw=0.6, alpha=0.5)


PLOT = Plot(
    "tcal_table", "tcal", "Tcal against frequency", "Tcal in K needs DPFU and curve of an rxg file: give --rxg.", make
)
