"""Where the antennas stand: a map, with the orientation that the sky asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.allsky.antennas import STATE_COLOURS, STATE_MARKERS
from calibrant.plots.allsky.labels import place_labels
from calibrant.plots.allsky.material import AllskyMaterial, Floats
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, FAINT, INK, key, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK_FOR = (
    "A map from above: north is up and east on the right (pictures of the sky have it on the left). The arrow N is "
    "where the north of the stored positions points. In directions with short baselines only, images are blurred."
)
SIDE = 4.6
"""Inches of a map."""
VISIBLE_DEG = 0.2
"""Smaller rotations cannot be seen on a map."""


def make(material: AllskyMaterial) -> Iterator[Drawing]:
    """One drawing; two maps where the orientation was changed."""
    title = "Antenna positions"
    yield Drawing(
        name="layout", title=title, caption=LOOK_FOR, alt=f"Map of the antennas. {material.orientation}",
        draw=partial(draw, material, title),
    )  # fmt: skip


def draw(material: AllskyMaterial, title: str) -> Figure:
    """The positions stored, and beside them in the orientation found."""
    maps = [("as stored in the telescope", material.positions, 0.0, False)]
    if material.mirror or abs(material.rotation_deg) > VISIBLE_DEG:
        mirrored = "mirrored, " if material.mirror else ""
        words = f"as the sky sees them: {mirrored}turned {material.rotation_deg:+.2f}°"
        maps.append((words, material.turned, material.rotation_deg, material.mirror))
    side = SIDE
    height = side + 1.15
    figure = new_figure(height, title)
    width = figure.get_size_inches()[0]
    bound = 1.14 * max(float(np.abs(places[:, :2] - places[:, :2].mean(0)).max()) for _, places, _, _ in maps)
    for number, (words, places, rotation, mirror) in enumerate(maps):
        left = 0.8 + number * (side + 1.0)
        axes = figure.add_axes((left / width, 0.55 / height, side / width, side / height))
        _map(axes, material, places, bound)
        _arrow(axes, rotation, mirror)
        axes.set_title(words, loc="left", color=INK)
        axes.set_xlabel("east (m)")
        axes.set_ylabel("north (m)" if number == 0 else "")
    states = list(dict.fromkeys(material.state))
    key(figure, [(state, STATE_COLOURS[state], STATE_MARKERS[state]) for state in STATE_COLOURS if state in states])
    if len(maps) == 1:
        _coverage(figure.add_axes(((1.8 + side + 0.2) / width, 0.55 / height, side / width, side / height)), material)
    return figure


def _coverage(axes: Axes, material: AllskyMaterial) -> None:
    """The baselines of antennas with a solution, in the place of a second map."""
    places = material.positions[material.used, :2]
    i, j = np.triu_indices(len(places), 1)
    apart = places[j] - places[i]
    both = np.concatenate([apart, -apart])
    axes.plot(both[:, 0], both[:, 1], "o", color=COLOURS[0], ms=2.6, mew=0, alpha=0.6)
    bound = 1.08 * float(np.abs(both).max(initial=1e-3))
    axes.set(xlim=(-bound, bound), ylim=(-bound, bound), xlabel="east (m)", ylabel="north (m)")
    axes.set_aspect("equal")
    axes.set_title("baselines, seen from either end", loc="left", color=INK)


def _map(axes: Axes, material: AllskyMaterial, places: Floats, bound: float) -> None:
    middle = places[:, :2].mean(0)
    for k, (east, north) in enumerate(places[:, :2]):
        state = material.state[k]
        axes.plot(east, north, STATE_MARKERS[state], color=STATE_COLOURS[state], ms=6.5, mec="white", mew=0.6, zorder=3)
    inch = 2 * bound / SIDE
    points = [(float(east - middle[0]), float(north - middle[1])) for east, north in places[:, :2]]
    sizes = [(0.062 * len(str(k)) * inch + 0.04 * inch, 0.11 * inch) for k in range(len(points))]
    for k, spot in enumerate(place_labels(points, sizes, 0.055 * inch, 2 * bound)):
        if spot is not None:
            x, y = spot[0] + middle[0], spot[1] + middle[1]
            axes.text(x, y, str(k), fontsize=7.5, color=INK, ha="center", va="center", zorder=4)
    axes.set(xlim=(middle[0] - bound, middle[0] + bound), ylim=(middle[1] - bound, middle[1] + bound))
    axes.set_aspect("equal")


def _arrow(axes: Axes, rotation_deg: float, mirror: bool) -> None:
    """North (and the hand of the system) of the stored positions, after the turn from east towards north."""
    at, size = (0.16, 0.83), 0.085
    turn = math.radians(rotation_deg)
    for word, angle, colour in (
        ("N", turn + math.pi / 2, COLOURS[1]), ("E", turn + (math.pi if mirror else 0.0), FAINT)
    ):  # fmt: skip
        tip = (at[0] + size * math.cos(angle), at[1] + size * math.sin(angle))
        axes.annotate(
            "", tip, at, xycoords="axes fraction", textcoords="axes fraction",
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6}, zorder=6,
        )  # fmt: skip
        axes.text(
            at[0] + 1.35 * size * math.cos(angle), at[1] + 1.35 * size * math.sin(angle), word, color=colour,
            transform=axes.transAxes, ha="center", va="center", fontsize=9, weight="bold", zorder=6,
        )  # fmt: skip


PLOT = Plot("layout", "orientation", "Antenna positions", "there are no positions.", make)
