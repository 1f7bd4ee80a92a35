"""What was observed when: scans by field, coloured by role, and the elevation of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, FAINT, ROLE_COLOURS, key, new_figure, place
from calibrant.plots.ticks import clock_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOW_ELEVATION = 20.0
ORDER = ("target", "flux", "bandpass", "delay", "check", "phase")
LOOK_FOR = (
    "Each bar is a scan. The phase calibrator should frame every block on the target. A field with several roles shows "
    "the colours of all of them, one above the other."
)


def role_colour(role: str) -> str:
    """The role's fixed colour, a spare one for other roles."""
    return ROLE_COLOURS.get(role, COLOURS[6])


def draw(material: Material) -> Figure:
    """Bars by field above, elevation below where it is known."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    fields = list(dict.fromkeys(scan.field for scan in material.scans))
    start, end = min(scan.start for scan in material.scans), max(scan.end for scan in material.scans)
    known = any(np.isfinite(scan.elevation) for scan in material.scans)
    bars = 0.3 * max(len(fields), 3)
    figure = new_figure(1.3 + bars + (2.1 if known else 0), "Scans")
    ratios = [bars, 1.9] if known else [1.0]
    rows = figure.subplots(len(ratios), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})[:, 0]
    longest = max(len(field) for field in fields)
    place(figure, left=min(0.5 + 0.075 * longest, 3.0), hspace=0.12)
    shortest = 0.002 * (end - start)
    for line, field in enumerate(fields):
        roles = material.roles_of(field) or [""]
        for level, role in enumerate(roles):
            boxes = [
                Rectangle(
                    (scan.start - start, line - 0.38 + 0.76 * level / len(roles)),
                    max(scan.end - scan.start, shortest), 0.76 / len(roles),
                )
                for scan in material.scans if scan.field == field
            ]  # fmt: skip
            colour = role_colour(role) if role else FAINT
            rows[0].add_collection(PatchCollection(boxes, facecolor=colour, edgecolor="none"))
    rows[0].set_yticks(np.arange(len(fields)), fields)
    rows[0].set_ylim(len(fields) - 0.4, -0.6)
    rows[0].set_ylabel("field")
    clock_axis(rows[0], start, end, origin=start, scale="" if known else material.time_scale)
    if known:
        _draw_elevation(material, rows[1], start, end)
        rows[0].tick_params(labelbottom=False)
    roles = [role for role in ROLE_COLOURS if role in material.roles] + [
        role for role in material.roles if role not in ROLE_COLOURS
    ]
    spare = [("no role", FAINT, "s")] if any(not material.roles_of(field) for field in fields) else []
    key(figure, [*((role, role_colour(role), "s") for role in roles), *spare])
    return figure


def _draw_elevation(material: Material, axes: object, start: float, end: float) -> None:
    from matplotlib.axes import Axes

    if not isinstance(axes, Axes):
        raise TypeError("elevation needs an Axes")
    for scan in material.scans:
        roles = material.roles_of(scan.field)
        colour = role_colour(next((role for role in ORDER if role in roles), "")) if roles else FAINT
        ends = [scan.start - start, scan.end - start]
        axes.plot(ends, [scan.elevation] * 2, color=colour, lw=4, solid_capstyle="butt")
        axes.plot((scan.start + scan.end) / 2 - start, scan.elevation, "o", color=colour, ms=4)
    axes.set_ylim(0, 92)
    axes.axhline(LOW_ELEVATION, color=FAINT, lw=0.8, ls="--")
    axes.set_ylabel("elevation (degrees)")
    clock_axis(axes, start, end, origin=start, scale=material.time_scale)


def make(material: Material) -> Iterator[Drawing]:
    """One drawing."""
    if not material.scans:
        return
    low: dict[str, float] = {}
    for scan in material.scans:
        if scan.elevation < LOW_ELEVATION:
            low[scan.field] = min(low.get(scan.field, 90.0), scan.elevation)
    yield Drawing(
        name="scans",
        title="Scans and elevation",
        caption=LOOK_FOR,
        alt=f"Time line of {len(material.scans)} scans by field, coloured by role",
        draw=partial(draw, material),
        concerns=tuple(f"{field}: observed as low as {degrees:.0f}° elevation" for field, degrees in low.items()),
    )


PLOT = Plot("scans", "observation", "Scans and elevation", "The observation lists no scans.", make)
