"""Fluxes of all sources, found and silent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.material import AllskyMaterial, SourceFlux
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, FAINT, key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 60
ROW = 0.17
LOOK_FOR = (
    "Fluxes are fitted, not taken from the catalogue; the unit is the correlation of the reference antenna. A source "
    "is found where its flux is five times its error. Satellites that do not transmit in this band stay silent; many "
    "silent GPS satellites high in the sky would be suspicious."
)


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """One drawing, where there are sources."""
    if material.sources:
        title = "Fluxes of the sources"
        yield Drawing(
            name="fluxes", title=title, caption=LOOK_FOR, alt="Flux of each source with its error, found and silent",
            draw=partial(draw, material, title),
        )  # fmt: skip


def draw(material: AllskyMaterial, title: str) -> Figure:
    """A row for each name, a point for each snapshot; the brightest at the top."""
    by_name: dict[str, list[SourceFlux]] = {}
    for source in material.sources:
        by_name.setdefault(source.name, []).append(source)
    names = sorted(by_name, key=lambda name: -max(one.flux for one in by_name[name]))
    shown = names[:MOST]
    figure = new_figure(max(1.9, 1.15 + ROW * len(shown)), title)
    axes = figure.subplots()
    place(figure, left=2.75, top=0.5, bottom=0.5)
    snapshots = max(one.snapshot for one in material.sources)
    for row, name in enumerate(shown):
        for one in by_name[name]:
            shift = 0.0 if snapshots == 1 else 0.5 * ((one.snapshot - 1) / (snapshots - 1) - 0.5)
            colour = FAINT if not one.found else COLOURS[2] if one.given else COLOURS[0]
            error = one.flux_err if np.isfinite(one.flux_err) else 0.0
            marker = "D" if one.given else "o"
            axes.errorbar(
                one.flux, row + shift, xerr=error, fmt=marker, color=colour, ms=4.5 if snapshots == 1 else 3.4,
                mfc=colour if one.found else "white", elinewidth=0.9, zorder=3,
            )  # fmt: skip
    axes.set_yticks(range(len(shown)), [name[:38] for name in shown])
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel="flux (correlation of the reference antenna)")
    top = max(one.flux + np.nan_to_num(one.flux_err) for one in material.sources)
    axes.set_xlim(-0.02 * top, 1.06 * top)
    axes.axvline(0, color=FAINT, lw=0.9, zorder=1)
    entries = [("found", COLOURS[0], "o"), ("silent", FAINT, "o")]
    if any(one.given for one in material.sources):
        entries.insert(0, ("given", COLOURS[2], "D"))
    states = {(one.found, one.given) for one in material.sources}
    wanted = {"found": (True, False) in states, "silent": any(not f for f, _ in states), "given": True}
    key(figure, [entry for entry in entries if wanted[entry[0]]])
    if len(names) > MOST:
        axes.text(1, 0, f"and {len(names) - MOST} fainter ones", transform=axes.transAxes, ha="right", va="bottom")
    return figure


PLOT = Plot("fluxes", "sources", "Fluxes of the sources", "there are no sources.", make)
