"""Solutions against frequency, one panel an antenna: shared by the bandpass and Tsys figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.material import Material
from calibrant.plots.panels import Panels
from calibrant.plots.solutions import BOTH_HANDS, hands, panel_names, usable
from calibrant.plots.style import FAINT, key
from calibrant.plots.ticks import break_lines, nice_ticks, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calibrant.caltable.table import CalTable

GHZ = 1e9


def draw_spectra(
    material: Material, table: CalTable, spws: list[int], title: str, ylabel: str,
    quantity: Callable[[Any], Any], limits: Callable[[Any], tuple[float, float]],
    wraps: bool = False,
) -> Figure:  # fmt: skip
    """`quantity` makes the drawn value of a parameter array; flagged channels are strokes on the floor.

    `wraps` cuts the line where a phase goes round.
    """
    shown = {spw: np.where(usable(table.spws[spw]), quantity(table.spws[spw].param), np.nan) for spw in spws}
    ylim = limits(np.concatenate([values.ravel() for values in shown.values()]))
    xlim = span(np.concatenate([table.spws[spw].freq for spw in spws]) / GHZ, 0.03)
    panels = Panels(
        panel_names(table, material), title=title, xlabel="frequency (GHz)", ylabel=ylabel,
        xlim=xlim, ylim=ylim, xticks=nice_ticks(*xlim, 3), yticks=nice_ticks(*ylim, 3),
    )  # fmt: skip
    found = hands(material, table)
    for antenna in range(len(table.antenna_names)):
        if not any(np.isfinite(values[:, antenna]).any() for values in shown.values()):
            panels.say(antenna, "no solution")
            continue
        for spw, values in shown.items():
            freq = table.spws[spw].freq / GHZ
            dots = len(freq) <= 128
            for level, hand in enumerate(found):
                for slot in values[:, antenna, :, hand.place]:
                    broken = np.abs(np.diff(slot)) > 180 if wraps else np.zeros(max(len(slot) - 1, 0), bool)
                    x, y = break_lines(freq, slot, broken)
                    panels.add(antenna, x, y, hand.colour, marker="o" if dots else "", line=True, size=1.8)
                gone = np.isnan(values[:, antenna, :, hand.place]).all(axis=0)
                panels.rug(antenna, freq[gone], hand.colour, level)
    figure = panels.figure()
    entries = [(hand.name, hand.colour, "o") for hand in found if hand.name != BOTH_HANDS]
    key(figure, [*entries, ("flagged channel", FAINT, "|")])
    return figure
