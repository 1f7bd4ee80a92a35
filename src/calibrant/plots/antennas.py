"""Where the antennas stand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Offsets from the middle of the array. A good reference antenna stands near the middle. The right panel shows the "
    "inner part, which holds the shorter baselines and the antennas that may shadow each other."
)


def local_offsets(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """East, north, up in m, (nant, 3), from the median of ITRF positions (spherical Earth, good to 0.4 %)."""
    centre = np.median(position, axis=0)
    radius = float(np.linalg.norm(centre))
    if radius == 0:
        return position - centre
    up = centre / radius
    east = np.array([-up[1], up[0], 0.0])
    size = float(np.linalg.norm(east))
    east = east / size if size > 0 else np.array([0.0, 1.0, 0.0])
    return (position - centre) @ np.stack([east, np.cross(up, east), up]).T


def draw(material: Material) -> Figure:
    """All antennas left, the inner half right."""
    offsets = local_offsets(material.positions)[:, :2]
    reach = float(np.abs(offsets).max())
    unit, scale = ("km", 1000.0) if reach > 3000 else ("m", 1.0)
    offsets = offsets / scale
    distance = np.hypot(*(offsets - np.median(offsets, axis=0)).T)
    inner = distance <= np.sort(distance)[len(distance) // 2]
    figure = new_figure(6.0, "Antenna positions")
    place(figure, wspace=0.18)
    whole, middle = figure.subplots(1, 2)
    for axes, shown, title in ((whole, np.ones_like(inner), "all antennas"), (middle, inner, "inner half")):
        for number, (east, north) in enumerate(offsets):
            if not shown[number]:
                continue
            reference = material.antennas[number] == material.refant
            axes.plot(
                east, north, "*" if reference else "o", color=COLOURS[1 if reference else 0], ms=15 if reference else 6
            )
            if axes is whole and inner[number]:
                continue  # named in the other panel, where there is room
            axes.annotate(
                material.antennas[number], (east, north), xytext=(5, 4), textcoords="offset points", fontsize=7.5
            )
        centre = (offsets[shown].min(axis=0) + offsets[shown].max(axis=0)) / 2
        half = 0.58 * max(float(np.ptp(offsets[shown], axis=0).max()), 1.0 / scale)
        axes.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half))
        axes.set_aspect("equal")
        axes.set(xlabel=f"east ({unit})", ylabel=f"north ({unit})")
        axes.set_title(title, loc="left")
    key(figure, [("antenna", COLOURS[0], "o"), (f"reference antenna {material.refant}", COLOURS[1], "*")])
    return figure


def make(material: Material) -> Iterator[Drawing]:
    """One drawing."""
    if not len(material.positions):
        return
    yield Drawing(
        name="antennas",
        title="Antenna positions",
        caption=LOOK_FOR,
        alt=f"Map of {len(material.antennas)} antennas; the reference antenna {material.refant} is marked",
        draw=partial(draw, material),
    )


PLOT = Plot("antennas", "observation", "Antenna positions", "The observation lists no antennas.", make)
