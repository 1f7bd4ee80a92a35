"""Gain against elevation with the curve on file and the new one, residuals below."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import FILE, FIT, POL_WORDS, category_styles, draw_line, faint_zero, side_legend
from calibrant.plots.station.material import GainPanel, StationMaterial
from calibrant.plots.style import empty, new_figure, place
from calibrant.plots.ticks import robust_span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Solid green: DPFU times curve on file. Dashed: the new fit with its band of one sigma, dotted outside the "
    "observed elevations. Below: what is left after the new curve (the one on file where nothing was fitted), in "
    "percent. One source above all others has a wrong flux density, or the beam resolves it."
)
HEIGHT = 5.4


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing for each band."""
    for number, band in enumerate(dict.fromkeys(panel.band for panel in material.gains)):
        panels = [panel for panel in material.gains if panel.band == band]
        yield Drawing(
            name=f"gain-curve-{number}", title=f"Gain against elevation · {band}", caption=LOOK_FOR,
            alt=f"Measured gain against elevation with gain curves and residuals, {band}",
            draw=partial(draw, panels, f"Gain against elevation · {band}"),
        )  # fmt: skip


def draw(panels: list[GainPanel], title: str) -> Figure:
    """A column for each polarisation: gain above, residuals below."""
    names = sorted({str(one) for panel in panels for one in panel.source})
    styles = category_styles(names)
    figure = new_figure(HEIGHT, title)
    grid = figure.subplots(
        2, len(panels), squeeze=False, sharex="col", sharey="row", gridspec_kw={"height_ratios": (2.6, 1)}
    )
    longest = max([len(name) for name in names], default=6)
    place(figure, right=0.75 + 0.085 * max(min(longest, 16), 9), top=0.72, hspace=0.08, wspace=0.06, left=0.85)
    for (above, below), panel in zip(grid.T, panels, strict=True):
        above.set_title(f"{POL_WORDS.get(panel.pol, panel.pol)} polarisation", loc="left")
        _draw_gain(above, panel, styles)
        _draw_residuals(below, panel, styles)
        below.set_xlabel("elevation (°)")
    top = robust_span(np.concatenate([panel.gain for panel in panels]), 0.15)
    grid[0, 0].set_ylim(max(top[0], 0.0), top[1])
    left = robust_span(np.concatenate([_residual(panel) for panel in panels]), 0.15)
    bound = max(abs(left[0]), abs(left[1]), 2.0)
    grid[1, 0].set_ylim(-bound, bound)
    grid[0, 0].set_ylabel("gain (K/Jy)")
    grid[1, 0].set_ylabel("residual (%)")
    side_legend(figure, _handles(panels, styles))
    return figure


def _draw_gain(axes: Axes, panel: GainPanel, styles: dict[str, tuple[str, str]]) -> None:
    if not len(panel.gain):
        empty(axes, "no data")
    _points(axes, panel, panel.gain, np.abs(panel.gain_err), styles)
    draw_line(axes, panel.old, fitted=False)
    draw_line(axes, panel.new, fitted=True)
    axes.set_xlim(0, 90)
    axes.set_xticks(range(0, 91, 15))


def _draw_residuals(axes: Axes, panel: GainPanel, styles: dict[str, tuple[str, str]]) -> None:
    faint_zero(axes, 0.0)
    line = panel.new or panel.old
    if line is None or not len(panel.gain):
        empty(axes, "no curve")
        return
    at = np.interp(panel.elevation, line.x, line.y)
    _points(axes, panel, _residual(panel), 100 * np.abs(panel.gain_err) / at, styles)
    if line.low is not None and line.high is not None:
        ground: Any = {"color": FIT, "alpha": 0.13, "lw": 0}
        axes.fill_between(line.x, 100 * (line.low / line.y - 1), 100 * (line.high / line.y - 1), **ground)


def _residual(panel: GainPanel) -> Any:
    """Percent of the new curve, or of the one on file."""
    line = panel.new or panel.old
    if line is None or not len(panel.gain):
        return np.zeros(0)
    return 100 * (panel.gain / np.interp(panel.elevation, line.x, line.y) - 1)


def _points(axes: Axes, panel: GainPanel, y: Any, err: Any, styles: dict[str, tuple[str, str]]) -> None:
    """Points by source; errors as thin strokes."""
    size = 4.2 if len(y) < 300 else 3.0
    for name, (colour, marker) in styles.items():
        mine = (panel.source == name) & np.isfinite(y)
        if mine.any():
            bars = np.where(np.isfinite(err[mine]), err[mine], 0.0)
            axes.errorbar(
                panel.elevation[mine], y[mine], yerr=bars, fmt=marker, color=colour, ms=size, mew=0, elinewidth=0.6,
                alpha=0.75, zorder=3,
            )  # fmt: skip


def _handles(panels: list[GainPanel], styles: dict[str, tuple[str, str]]) -> list[Any]:
    from matplotlib.lines import Line2D

    found = [
        Line2D([], [], color=colour, marker=marker, lw=0, ms=6, label=name) for name, (colour, marker) in styles.items()
    ]
    if any(panel.old for panel in panels):
        found.append(Line2D([], [], color=FILE, lw=1.6, label="on file"))
    if any(panel.new for panel in panels):
        found.append(Line2D([], [], color=FIT, lw=1.6, ls="--", label="new fit ± 1σ"))
    return found


PLOT = Plot(
    "gain_curve", "gain", "Gain curve",
    "measured gain needs the assumed Tcal of an rxg file: give --rxg.", make,
)  # fmt: skip
