"""Phase of each antenna: new with its error, and what is stored in the telescope."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.antennas import NEW, OLD, antenna_axis
from calibrant.plots.allsky.material import AllskyMaterial
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import FAINT, key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = "Phases wrap at ±180 deg. The lower panel has the errors of the new ones, which depend on the sky."
STORED = (
    " Differences between stored and new are what an upload would change. If all antennas differ at random, the "
    "telescope was switched off since its last calibration, or the two belong to different positions."
)


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """One drawing, where any antenna has a solution."""
    if material.used.any():
        title = "Phases"
        words = LOOK_FOR + (STORED if material.stored_phase is not None else "")
        yield Drawing(
            name="phases", title=title, caption=words, alt="Phase of each antenna, new and stored, and its error",
            draw=partial(draw, material, title),
        )  # fmt: skip


def draw(material: AllskyMaterial, title: str) -> Figure:
    """Phases above, errors of the new ones below."""
    figure = new_figure(4.9, title)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.6, 1)})
    place(figure, left=0.8, hspace=0.12, top=0.55)
    used = np.flatnonzero(material.used)
    degrees, errors = np.degrees(material.phase), np.degrees(material.phase_err)
    entries = [("new", NEW, "o")]
    if material.stored_phase is not None:
        stored = np.degrees(np.angle(np.exp(1j * material.stored_phase)))
        offset = used + 0.14
        above.vlines(offset, *_short_way(degrees[used], stored[used]), color=FAINT, lw=0.7, zorder=1)
        above.plot(offset, stored[used], "D", mfc="white", mec=OLD, mew=1.3, ms=5.5, zorder=3)
        entries.append(("stored in the telescope", OLD, "D"))
    above.errorbar(used, degrees[used], yerr=errors[used], fmt="o", color=NEW, ms=5.5, elinewidth=1.0, zorder=4)
    above.set(ylim=(-195, 195), yticks=range(-180, 181, 90), ylabel="phase (deg)")
    antenna_axis(above, material)
    above.set_xlabel("")
    known = used[np.isfinite(errors[used]) & (errors[used] > 0)]
    below.bar(known, errors[known], width=0.55, color=NEW)
    below.set_ylabel("error (deg)")
    below.set_ylim(0, 1.15 * max(errors[known].max(initial=0.0), 1e-3))
    antenna_axis(below, material)
    for text in list(below.texts):
        text.remove()
    below.text(
        material.reference, 0.05, "ref", transform=below.get_xaxis_transform(), ha="center", va="bottom", fontsize=7.5,
        color=FAINT,
    )  # fmt: skip
    key(figure, entries)
    return figure


def _short_way(new: np.ndarray, old: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of lines between the two, where the direct way is the short one around the circle; none elsewhere."""
    direct = np.abs(new - old) <= 180
    return np.where(direct, np.minimum(new, old), np.nan), np.where(direct, np.maximum(new, old), np.nan)


PLOT = Plot("phases", "antennas", "Phases", "no antenna has a solution.", make)
