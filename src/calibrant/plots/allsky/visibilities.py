"""Every visibility as observed against as predicted: amplitude and phase."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.material import AllskyMaterial
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, FAINT, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Points on the lines are visibilities that the model predicts. Faint visibilities have uncertain phases: points of "
    "the right panel are the larger the brighter they are."
)


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """One drawing, where a model was predicted."""
    if len(material.model):
        title = "Observed against predicted"
        yield Drawing(
            name="visibilities", title=title, caption=LOOK_FOR, draw=partial(draw, material, title),
            alt="Amplitude observed against predicted, and phase difference against phase",
        )  # fmt: skip


def draw(material: AllskyMaterial, title: str) -> Figure:
    """Amplitudes at the left; at the right the phase difference against amplitude."""
    figure = new_figure(4.6, title)
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1, 1.35)})
    place(figure, left=0.8, top=0.5, wspace=0.2)
    observed, model = np.abs(material.observed), np.abs(material.model)
    alpha = 0.7 if len(observed) < 1000 else 0.35
    top = 1.06 * float(max(observed.max(), model.max()))
    left.plot((0, top), (0, top), color=FAINT, lw=1.0, zorder=1)
    left.plot(model, observed, "o", color=COLOURS[0], ms=3.4, mew=0, alpha=alpha)
    left.set(xlim=(0, top), ylim=(0, top), xlabel="predicted amplitude", ylabel="observed amplitude")
    left.set_aspect("equal", adjustable="box")
    apart = np.degrees(np.angle(material.observed * material.model.conj()))
    size = 4 + 36 * (observed / max(float(observed.max()), 1e-12)) ** 2
    right.axhline(0, color=FAINT, lw=1.0, zorder=1)
    right.scatter(
        np.degrees(np.angle(material.model)), apart, s=size, color=COLOURS[0], alpha=alpha, linewidths=0, zorder=2
    )
    bright = observed > 0.5 * np.median(observed)
    bound = min(180.0, max(5.0, 1.3 * float(np.quantile(np.abs(apart[bright]), 0.99)))) if bright.any() else 180.0
    right.set(
        xlim=(-180, 180), xticks=range(-180, 181, 90), ylim=(-bound, bound), xlabel="predicted phase (deg)",
        ylabel="observed - predicted (deg)",
    )  # fmt: skip
    outside = int(np.sum(np.abs(apart) > bound))
    if outside:
        right.text(
            0.99, 0.02, f"{outside} of {len(apart)} outside", transform=right.transAxes, ha="right", va="bottom",
            fontsize=8, color=FAINT,
        )  # fmt: skip
    return figure


PLOT = Plot("visibilities", "residuals", "Observed against predicted", "there is no model.", make)
