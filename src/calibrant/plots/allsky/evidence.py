"""How much of the visibilities the model explains: in sample, on baselines left out, and with skies that are not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.material import AllskyMaterial
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, FAINT, INK, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "The bar that counts is the second one: a fifth of the baselines was left out of the fit and predicted, five times "
    "over. A wrong sky explains much in sample, because there are many parameters, but little of what it has not seen."
)


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """One drawing."""
    title = "Explained power"
    yield Drawing(
        name="evidence", title=title, caption=LOOK_FOR, draw=partial(draw, material, title),
        alt=f"Explained power: held out {100 * material.held_out:.1f} %, in sample {100 * material.power:.1f} %",
    )  # fmt: skip


def draw(material: AllskyMaterial, title: str) -> Figure:
    """Horizontal bars in percent, with the limits of the verdict."""
    bars = [
        ("in sample", material.power, FAINT),
        ("baselines left out", material.held_out, COLOURS[0]),
        ("shuffled sky, left out", material.null, COLOURS[1]),
        ("next best orientation, in sample", material.rival, COLOURS[3]),
    ]
    bars = [bar for bar in bars if np.isfinite(bar[1])]
    figure = new_figure(1.25 + 0.34 * len(bars), title)
    axes = figure.subplots()
    place(figure, left=2.3, right=0.6, top=0.68, bottom=0.5)
    for row, (_, share, colour) in enumerate(bars):
        percent = 100 * max(share, 0.0)
        axes.barh(row, percent, height=0.62, color=colour, zorder=2)
        axes.text(percent + 0.8, row, f"{100 * share:.1f} %", va="center", fontsize=9, color=INK, zorder=5)
    for limit, words, side in (
        (material.poor_power, "do not upload below", "right"), (material.good_power, "good from here", "left")
    ):  # fmt: skip
        axes.axvline(100 * limit, color=INK, lw=1.0, ls="--", zorder=3)
        axes.text(
            100 * limit + (0.6 if side == "left" else -0.6), 1.02, words, transform=axes.get_xaxis_transform(),
            ha=side, va="bottom", fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set(ylim=(len(bars) - 0.4, -0.6), xlim=(0, 105), xlabel="explained power (%)")
    axes.grid(axis="y", visible=False)
    return figure


PLOT = Plot("evidence", "evidence", "Explained power", "there is nothing to show.", make)
