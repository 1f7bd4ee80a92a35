"""What the model leaves over, against the length of the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.material import AllskyMaterial
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, INK, key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Residuals at the level of the noise mean that the sky is understood. Larger ones on short baselines point to "
    "something extended (interference, the ground, the sun); larger ones on long baselines to wrong positions."
)
RMS_NOISE = np.sqrt(np.pi / 2)
"""Mean modulus of complex noise, in units of its scatter per component."""


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """One drawing, where a model was predicted."""
    if len(material.model):
        title = "Residuals against baseline length"
        yield Drawing(
            name="residuals", title=title, caption=LOOK_FOR, alt="Amplitude of observed, and of observed less model",
            draw=partial(draw, material, title),
        )  # fmt: skip


def draw(material: AllskyMaterial, title: str) -> Figure:
    """Amplitudes of the data and of what is left, logarithmic."""
    figure = new_figure(3.7, title)
    axes = figure.subplots()
    place(figure, left=0.85, top=0.55)
    size = 3.5 if len(material.length) < 1000 else 2.2
    axes.plot(material.length, np.abs(material.observed), "o", color="#b9c0c9", ms=size, mew=0, zorder=2)
    left = np.abs(material.observed - material.model)
    axes.plot(material.length, left, "o", color=COLOURS[0], ms=size, mew=0, alpha=0.75, zorder=3)
    axes.axhline(RMS_NOISE * material.noise, color=COLOURS[1], lw=1.4, ls="--", zorder=4)
    edges = np.quantile(material.length, np.linspace(0, 1, 9))
    middle, level = [], []
    for low, high in pairwise(edges):
        here = (material.length >= low) & (material.length <= high)
        if here.any():
            middle.append(float(np.median(material.length[here])))
            level.append(float(np.mean(left[here])))
    axes.plot(middle, level, "-", color=INK, lw=1.6, zorder=5)
    axes.set(yscale="log", xlabel="baseline (m)", ylabel="correlation")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    floor = max(float(np.quantile(left[left > 0], 0.005)) if (left > 0).any() else 1e-6, 1e-7)
    axes.set_ylim(0.6 * min(floor, material.noise), 1.6 * float(np.abs(material.observed).max()))
    axes.set_xlim(0, 1.03 * float(material.length.max()))
    key(
        figure,
        [("observed", "#b9c0c9", "o"), ("observed - model", COLOURS[0], "o"), ("its mean", INK, "-"),
         (f"noise of {material.noise:g}", COLOURS[1], "-")],
    )  # fmt: skip
    return figure


PLOT = Plot("residuals", "residuals", "Residuals against baseline length", "there is no model.", make)
