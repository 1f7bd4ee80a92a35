"""Solutions against time, one panel an antenna: shared by the gain figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.material import Material
from calibrant.plots.panels import Panels
from calibrant.plots.solutions import BOTH_HANDS, Hand, hands, panel_names, usable
from calibrant.plots.style import FAINT, colours_for, key
from calibrant.plots.ticks import break_lines, clock_ticks, day_of, nice_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calibrant.caltable.table import CalTable, SpwSolutions

GAIN_KINDS = ("G Jones", "T Jones")
HAND_MARKERS = ("o", "^")
MOST_LINES = 400
PHASE_SOLVED = 1e-3


def changes_in(quantity: Callable[[Any], Any], table: CalTable, least: float) -> bool:
    """Whether the quantity (amplitude, phase) was solved for at all: phase-only tables have amplitude 1."""
    values = [quantity(spw.param[usable(spw)]) for spw in table.spws.values()]
    return any(len(value) and float(np.ptp(value)) > least for value in values)


def field_names(table: CalTable) -> dict[int, str]:
    """Ids and names of the fields that have solutions."""
    ids = np.unique(np.concatenate([spw.field for spw in table.spws.values()]))
    return {int(one): table.field_names[one] if 0 <= one < len(table.field_names) else f"field {one}" for one in ids}


def draw_series(
    material: Material, table: CalTable, spw: int, title: str, ylabel: str,
    quantity: Callable[[Any], Any], ylim: tuple[float, float], wraps: bool,
) -> Figure:  # fmt: skip
    """Colour is the field, marker the hand; `wraps` cuts lines where a phase goes round."""
    solutions = table.spws[spw]
    start, end = float(solutions.time.min()), float(solutions.time.max())
    margin = max(0.04 * (end - start), 30.0)
    ticks, labels = clock_ticks(start - margin, end + margin, 4)
    panels = Panels(
        panel_names(table, material), title=title, ylabel=ylabel,
        xlabel=f"time on {day_of(start)} ({material.time_scale})",
        xlim=(-margin, end - start + margin), ylim=ylim, xticks=(ticks - start, labels), yticks=nice_ticks(*ylim, 4),
    )  # fmt: skip
    names = field_names(table)
    colours = colours_for(list(names.values()))
    found = hands(material, table)
    values = np.where(usable(solutions), quantity(solutions.param), np.nan)[:, :, 0]
    for antenna in range(len(table.antenna_names)):
        if np.isnan(values[:, antenna]).all():
            panels.say(antenna, "no solution")
            continue
        for level, hand in enumerate(found):
            _add_hand(panels, antenna, level, hand, solutions, values, names, colours, start, wraps)
    figure = panels.figure()
    marks = [(hand.name, FAINT, HAND_MARKERS[hand.place % 2]) for hand in found if hand.name != BOTH_HANDS]
    key(figure, [*((name, colours[name], "s") for name in names.values()), *marks, ("failed", FAINT, "|")])
    return figure


def _add_hand(
    panels: Panels, antenna: int, level: int, hand: Hand, solutions: SpwSolutions, values: NDArray[Any],
    names: dict[int, str], colours: dict[str, str], start: float, wraps: bool,
) -> None:  # fmt: skip
    for field, name in names.items():
        mine = np.flatnonzero(solutions.field == field)
        x, y = solutions.time[mine] - start, values[mine, antenna, hand.place]
        style = {"marker": HAND_MARKERS[hand.place % 2], "open_face": hand.place % 2 == 1}
        panels.add(antenna, x, y, colours[name], size=2.6 if len(x) < 60 else 1.8, **style)  # type: ignore[arg-type]
        panels.rug(antenna, x[np.isnan(y)], colours[name], level)
        if len(x) <= MOST_LINES:
            panels.add(antenna, *cut(x, y, solutions.scan[mine], wraps), colours[name], line=True, order=2)


def cut(x: Any, y: Any, scan: Any, wraps: bool) -> tuple[Any, Any]:
    """The series with NaN where the line must break: at the ends of scans and where a phase goes round.

    A series with one solution a scan is joined across scans.
    """
    if len(x) < 2:
        return x, y
    broken = np.zeros(len(x) - 1, bool)
    if len(np.unique(scan)) < len(scan):
        broken |= np.diff(scan) != 0
    if wraps:
        broken |= np.abs(np.diff(y)) > 180
    return break_lines(x, y, broken)
