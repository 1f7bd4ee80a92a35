"""Tsys - Tspill against airmass with the fits that give Trec and zenith opacity."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import FILE, POL_WORDS, panel_row, utc_text
from calibrant.plots.station.material import StationMaterial, TrecPanel
from calibrant.plots.style import FAINT, SEQUENTIAL, empty
from calibrant.plots.ticks import robust_span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Colour is time. Each line is the fit to one stretch of time; where it meets airmass 0 stands its Trec. Green "
    "diamond: Trec on file. Lines that fan out are opacity that changes; points that bend up at high airmass only are"
    " spill-over or a horizon mask."
)
MOST_LABELS = 6


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing for each band."""
    for number, band in enumerate(dict.fromkeys(panel.band for panel in material.trecs)):
        panels = [panel for panel in material.trecs if panel.band == band]
        yield Drawing(
            name=f"trec-{number}", title=f"Tsys − Tspill against airmass · {band}", caption=LOOK_FOR,
            alt=f"Tsys minus spill-over against airmass with fits, {band}",
            draw=partial(draw, panels, f"Tsys − Tspill against airmass · {band}"),
        )  # fmt: skip


def draw(panels: list[TrecPanel], title: str) -> Figure:
    """One panel for each polarisation."""
    names = [f"{POL_WORDS.get(panel.pol, panel.pol)} polarisation" for panel in panels]
    figure, every = panel_row(title, names, height=4.2, columns=2, sharey=True)
    for axes, panel in zip(every, panels, strict=True):
        _draw_panel(axes, panel)
    every[0].set_ylabel("Tsys − Tspill (K)")
    low, high = robust_span(np.concatenate([panel.value for panel in panels]), 0.1)
    marks = [segment.trec for panel in panels for segment in panel.segments]
    marks += [panel.trec_old for panel in panels if panel.trec_old > 0]
    every[0].set_ylim(min([0.0 if low > 0 else low, *marks]), max([high, *(1.05 * mark for mark in marks)]))
    return figure


def _draw_panel(axes: Axes, panel: TrecPanel) -> None:
    from matplotlib import colormaps

    axes.set_xlabel("airmass")
    if not len(panel.value):
        empty(axes, "no data")
        return
    start, end = float(panel.time.min()), float(panel.time.max())
    cmap = colormaps[SEQUENTIAL]
    shade = (panel.time - start) / max(end - start, 1.0)
    axes.scatter(panel.airmass, panel.value, c=shade, cmap=cmap, s=16, linewidths=0, alpha=0.8, zorder=3)
    for segment, label in zip(panel.segments, _labels(panel), strict=True):
        colour = cmap((segment.time - start) / max(end - start, 1.0))
        axes.plot(segment.line.x, segment.line.y, "--", color=colour, lw=1.2, zorder=4)
        axes.errorbar(
            [0], [segment.trec], yerr=[np.nan_to_num(abs(segment.trec_err))], fmt="o", color=colour, ms=5,
            elinewidth=1, clip_on=False, zorder=5, label=label,
        )  # fmt: skip
    if panel.trec_old > 0:
        axes.plot(
            [0], [panel.trec_old], "D", color=FILE, ms=7, mec="white", clip_on=False, zorder=6,
            label=f"on file: Trec {panel.trec_old:.1f} K",
        )  # fmt: skip
    axes.set_xlim(0, max(float(np.nanmax(panel.airmass)) * 1.04, 1.2))
    if panel.segments or panel.trec_old > 0:
        axes.legend(loc="lower right", fontsize=7.5, frameon=True, framealpha=0.9, edgecolor=FAINT)


def _labels(panel: TrecPanel) -> list[str | None]:
    """One entry for a common Trec, else one for each stretch of time, up to MOST_LABELS."""
    found = panel.segments
    if len({round(segment.trec, 6) for segment in found}) == 1:
        taus = [segment.tau for segment in found]
        span = f"{min(taus):.3f} to {max(taus):.3f} in {len(found)} stretches" if len(found) > 1 else f"{taus[0]:.3f}"
        words = f"fit: Trec {found[0].trec:.1f} ± {found[0].trec_err:.1f} K, τ₀ {span}"
        return [words, *[None] * (len(found) - 1)]
    labels: list[str | None] = [
        f"{utc_text(segment.time, '%m-%d %H:%M')}  Trec {segment.trec:.1f} K, τ₀ {segment.tau:.3f}"
        for segment in found[:MOST_LABELS]
    ]
    if len(found) > MOST_LABELS:
        labels[-1] = f"and {len(found) - MOST_LABELS + 1} more stretches"
    return labels + [None] * (len(found) - len(labels))


PLOT = Plot(
    "trec", "trec", "Trec",
    "Trec and opacity need Tsys minus spill-over, from the Tcal of an rxg file: give --rxg.", make,
)  # fmt: skip
