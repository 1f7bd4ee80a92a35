"""What the figures with one column for each antenna share: states, colours, the axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.material import AllskyMaterial
from calibrant.plots.style import BAD, COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEW, OLD = COLOURS[0], COLOURS[1]
STATE_COLOURS = {"good": COLOURS[0], "weak": COLOURS[4], "dead": "#C1121F", "missing": FAINT, "ignored": FAINT}
STATE_MARKERS = {"good": "o", "weak": "^", "dead": "X", "missing": "s", "ignored": "D"}


def antenna_axis(axes: Axes, material: AllskyMaterial) -> None:
    """Antenna numbers below; bands behind antennas without a solution, with the reason."""
    number = len(material.state)
    axes.set_xlim(-0.7, number - 0.3)
    step = 1 if number <= 40 else 2 if number <= 80 else 8
    axes.set_xticks(np.arange(0, number, step))
    axes.set_xlabel("antenna")
    axes.grid(axis="x", visible=False)
    for k, state in enumerate(material.state):
        if not material.used[k]:
            axes.axvspan(k - 0.45, k + 0.45, color=BAD, lw=0, zorder=0)
            axes.text(
                k, 0.03, state, rotation=90, transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                fontsize=8, color="#a8321a",
            )  # fmt: skip
