"""Gain of each antenna: new with its error, and what is stored in the telescope."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.antennas import NEW, OLD, STATE_COLOURS, antenna_axis
from calibrant.plots.allsky.material import AllskyMaterial
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import FAINT, key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "The gain is what a visibility is multiplied with: a high one means a weak antenna. Healthy antennas lie close "
    "together. Dead ones are stored as 0, which telescopes and programs take as switched off."
)


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """One drawing, where any antenna has a solution."""
    if material.used.any():
        weak = [str(k) for k, state in enumerate(material.state) if state == "weak"]
        yield Drawing(
            name="gains", title="Gains", caption=LOOK_FOR, alt="Gain of each antenna, new and stored",
            draw=partial(draw, material, "Gains"),
            concerns=(f"weak: antenna {', '.join(weak)}",) if weak else (),
        )  # fmt: skip


def draw(material: AllskyMaterial, title: str) -> Figure:
    """Gains over that of the reference antenna."""
    figure = new_figure(3.4, title)
    axes = figure.subplots()
    place(figure, left=0.8, top=0.55)
    used = np.flatnonzero(material.used)
    entries = [("new", NEW, "o")]
    axes.axhline(1.0, color=FAINT, lw=0.9, zorder=1)
    errors = np.nan_to_num(material.gain_err[used])
    shown = material.gain[used] + np.minimum(errors, material.gain[used])
    if material.stored_gain is not None:
        stored = material.stored_gain[used]
        axes.plot(used + 0.14, stored, "D", mfc="white", mec=OLD, mew=1.3, ms=5.5, zorder=3)
        entries.append(("stored in the telescope", OLD, "D"))
        shown = np.concatenate([shown, stored[np.isfinite(stored)]])
    for state in ("good", "weak"):
        mine = np.array([k for k in used if material.state[k] == state], dtype=int)
        axes.errorbar(
            mine, material.gain[mine], yerr=np.nan_to_num(material.gain_err[mine]), fmt="o^"[state == "weak"],
            color=STATE_COLOURS[state], ms=5.5, elinewidth=1.0, zorder=4,
        )  # fmt: skip
        if state == "weak" and len(mine):
            entries.append(("new, weak antenna", STATE_COLOURS[state], "^"))
    axes.set(ylim=(0, 1.1 * float(shown.max(initial=1.0))), ylabel="gain")
    antenna_axis(axes, material)
    key(figure, entries)
    return figure


PLOT = Plot("gains", "antennas", "Gains", "no antenna has a solution.", make)
