"""Percentage of visibilities flagged, antenna by step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.heatmap import ROW, UPRIGHT, draw_cells
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.solutions import outliers, shorten
from calibrant.plots.style import LOSS, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Percentage flagged after each step, which grows to the right. Suspicious: an antenna flagged much more than the "
    "others, or a step that takes a large part of the data at once."
)
LARGE_STEP = 0.2


def draw(material: Material) -> Figure:
    """Heat map; the last row is the total."""
    rows = [*material.antennas, "all data"]
    columns = [step.step for step in material.flags]
    values = np.array(
        [
            [100 * step.by_antenna.get(name, np.nan) for name in material.antennas] + [100 * step.total]
            for step in material.flags
        ]
    ).T
    longest = max(len(column) for column in columns)
    words = 0.4 + 0.085 * longest if len(columns) > UPRIGHT else 0.6
    figure = new_figure(0.5 + words + ROW * len(rows), "Flagged visibilities (%)")
    axes = figure.subplots()
    place(figure, top=0.5, bottom=words, left=0.9)
    draw_cells(
        axes, values, rows, columns, colours=LOSS, low=0, high=100, form="{:.1f}", width=11 / max(len(columns), 1)
    )
    axes.axhline(len(rows) - 1.5, color="#222222", lw=1.2)
    axes.set_xlabel("flagged after this step (%)")
    return figure


def concerns(material: Material) -> tuple[str, ...]:
    """Antennas flagged more than the others at the end, and steps that flag much."""
    last = {name: 100 * share for name, share in material.flags[-1].by_antenna.items()}
    sentences = [sentence for sentence in outliers(last, 0.5, "flagged", " %") if last[sentence.split(":")[0]] > 20]
    for before, after in zip(material.flags, material.flags[1:], strict=False):
        if after.total - before.total > LARGE_STEP:
            sentences.append(f"step {after.step} flagged {100 * (after.total - before.total):.0f} % of the data")
    return shorten(sentences)


def make(material: Material) -> Iterator[Drawing]:
    """One drawing of all steps."""
    if not material.flags:
        return
    yield Drawing(
        name="flag-fractions",
        title="Flagged visibilities",
        caption=LOOK_FOR,
        alt="Heat map of the percentage of visibilities flagged for each antenna after each step",
        draw=partial(draw, material),
        concerns=concerns(material),
    )


PLOT = Plot("flag_fractions", "flags", "Flagged visibilities", "No flag fractions were recorded.", make)
