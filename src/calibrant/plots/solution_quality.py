"""Share of failed solutions and median signal-to-noise, antenna by calibration table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.heatmap import ROW, draw_cells
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.solutions import BOTH_HANDS, SOLVED_KINDS, hands, usable
from calibrant.plots.style import LOSS, SEQUENTIAL, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 40
LOOK_FOR = (
    "Left: percentage of solutions that failed; pale is good, a dark row is a bad antenna, a dark column a "
    "bad spectral window or a solution interval too short. Right: median signal-to-noise of the good solutions; below "
    "about 5 they add noise."
)


def quality(material: Material) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """(columns, failed % (antenna, column), median SNR (antenna, column)); a column a table, spw and hand."""
    columns, failed, snr = [], [], []
    tables = [(role, table) for role, table in material.caltables.items() if table.antenna_names == material.antennas]
    by_hand = sum(len(table.spws) * len(hands(material, table)) for _, table in tables) <= MOST_COLUMNS
    for role, table in tables:
        for spw, one in table.spws.items():
            ok = usable(one)
            kept = np.where(ok & (one.snr > 0), one.snr, np.nan)
            found = hands(material, table)
            groups = [[hand] for hand in found] if by_hand else [found]
            for group in groups:
                places = [hand.place for hand in group]
                name = "" if len(group) > 1 or group[0].name == BOTH_HANDS else f" {group[0].name}"
                columns.append(f"{role} spw {spw}{name}")
                failed.append(100 * (1 - ok[..., places].mean(axis=(0, 2, 3))))
                solved = table.kind in SOLVED_KINDS
                snr.append(_median(kept[..., places]) if solved else np.full(len(material.antennas), np.nan))
    count = len(material.antennas)
    return columns, np.array(failed).reshape(-1, count).T, np.array(snr).reshape(-1, count).T


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(nt, nant, nchan, nhand) -> (nant,); NaN where an antenna has nothing."""
    rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in rows])


def draw(material: Material) -> Figure:
    """Two heat maps side by side."""
    columns, failed, snr = quality(material)
    words = 0.3 + 0.085 * max((len(column) for column in columns), default=0)
    figure = new_figure(0.7 + words + ROW * len(material.antennas), "Solutions by antenna and table")
    left, right = figure.subplots(1, 2, sharey=True)
    place(figure, bottom=words, wspace=0.06)
    width = 5.3 / max(len(columns), 1)
    draw_cells(left, failed, material.antennas, columns, colours=LOSS, low=0, high=100, form="{:.0f}", width=width)
    left.set_title("failed solutions (%)", loc="left")
    good = snr[np.isfinite(snr)]
    low, high = (max(float(good.min()), 1.0), max(float(good.max()), 10.0)) if len(good) else (1.0, 10.0)
    draw_cells(
        right, snr, material.antennas, columns, colours=SEQUENTIAL, low=low, high=high, form="{:.0f}",
        logarithmic=True, width=width,
    )  # fmt: skip
    right.set_title("median signal-to-noise (logarithmic colours; white: none)", loc="left")
    return figure


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for all tables."""
    if not material.caltables:
        return
    yield Drawing(
        name="solution-quality",
        title="Solutions by antenna and table",
        caption=LOOK_FOR,
        alt="Heat maps of failed solutions in per cent and of median signal-to-noise for each antenna and table",
        draw=partial(draw, material),
    )


PLOT = Plot("solution_quality", "solutions", "Failed solutions and SNR", "The run made no calibration table.", make)
