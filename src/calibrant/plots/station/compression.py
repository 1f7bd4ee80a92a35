"""Gain compression against frequency: the diode on source over the diode off source."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.banded import draw_banded, has
from calibrant.plots.station.common import faint_zero
from calibrant.plots.station.material import Floats, StationMaterial
from calibrant.plots.station.ratio import GOOD
from calibrant.plots.ticks import robust_span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOW, HIGH = 0.95, 1.05
LOOK_FOR = (
    "Green: 0.95 to 1.05, the usual limits. Below: the receiver or the sampler is driven too hard by the source. "
    "Scatter on both sides: interference, or a diode that is weak against the noise."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    values = np.where(np.asarray(material.columns["no_diode"], dtype=bool), np.nan, material.get("compression"))
    if has(material, values):
        title = "Gain compression against frequency"
        yield Drawing(
            name="compression", title=title, caption=LOOK_FOR, alt=f"{title}, one panel for each band",
            draw=partial(
                draw_banded, material, "freq_mhz", values, title, "diode on source / off source", _limits, _dress
            ),
        )  # fmt: skip


def _dress(axes: Axes, kept: Any) -> None:
    axes.axhspan(LOW, HIGH, color=GOOD, lw=0, zorder=0)
    faint_zero(axes, 1.0)


def _limits(values: Floats) -> tuple[float, float]:
    low, high = robust_span(values)
    return min(low, 0.93), max(high, 1.07)


PLOT = Plot("compression", "compression", "Gain compression", "no scan measured the noise diode.", make)
