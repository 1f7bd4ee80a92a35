"""Small multiples: one panel an antenna, all with the same limits, drawn into a single Axes.

Sixty Axes take matplotlib seconds; one Axes with the panels laid out by arithmetic takes a fraction of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.style import BAD, FAINT, GRID, INK, WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT, GAP, TITLE = 1.12, 0.12, 0.2
LEFT, RIGHT, TOP, BOTTOM = 0.72, 0.15, 0.44, 0.52

Ticks = tuple[NDArray[np.float64], list[str]]


class Panels:
    """A figure of equal panels. Give it limits and ticks in data units; add points; take `figure()`."""

    def __init__(
        self, names: Sequence[str], *, title: str, xlabel: str, ylabel: str,
        xlim: tuple[float, float], ylim: tuple[float, float], xticks: Ticks, yticks: Ticks,
    ) -> None:  # fmt: skip
        self.names, self.title, self.xlabel, self.ylabel = list(names), title, xlabel, ylabel
        self.xlim, self.ylim, self.xticks, self.yticks = xlim, ylim, xticks, yticks
        count = max(len(self.names), 1)
        self.columns = min(count, 4 if count <= 12 else 5 if count <= 30 else 6)
        self.rows = -(-count // self.columns)
        self.height = TOP + BOTTOM + self.rows * (HEIGHT + TITLE + GAP)
        self.width = (WIDTH - LEFT - RIGHT - GAP * (self.columns - 1)) / self.columns
        self._strokes: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
        self._words: list[tuple[int, str]] = []

    def corner(self, panel: int) -> tuple[float, float]:
        """Lower left corner of a panel in inches."""
        row, column = divmod(panel, self.columns)
        top = self.height - TOP - row * (HEIGHT + TITLE + GAP)
        return LEFT + column * (self.width + GAP), top - TITLE - HEIGHT

    def add(
        self, panel: int, x: Any, y: Any, colour: str, *, marker: str = "", line: bool = False,
        size: float = 2.2, order: int = 3, open_face: bool = False,
    ) -> None:  # fmt: skip
        """Points and/or a line; NaN breaks the line. What lies above or below the limits is marked at the edge."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        low, high = self.ylim
        inside = np.where((y >= low) & (y <= high), y, np.nan)
        self._stroke(panel, x, inside, (colour, marker, line, size, order, open_face))
        for outside, edge, arrow in ((y > high, high, "^"), (y < low, low, "v")):
            if outside.any():
                inset = (0.035 if edge == low else -0.035) * (high - low)
                at = np.full(outside.sum(), edge + inset)
                self._stroke(panel, x[outside], at, (colour, arrow, False, 3.5, order, False))

    def rug(self, panel: int, x: Any, colour: str, level: int) -> None:
        """Short strokes along the floor of a panel: flagged channels, flagged times."""
        y = self.ylim[0] + (0.04 + 0.08 * level) * (self.ylim[1] - self.ylim[0])
        self._stroke(panel, np.asarray(x, float), np.full(len(x), y), (colour, "|", False, 4.0, 2, False))

    def say(self, panel: int, words: str) -> None:
        """Words in the middle of a panel, on a coloured ground."""
        self._words.append((panel, words))

    def _stroke(self, panel: int, x: Any, y: Any, style: tuple[Any, ...]) -> None:
        left, floor = self.corner(panel)
        across = left + (x - self.xlim[0]) / (self.xlim[1] - self.xlim[0]) * self.width
        up = floor + (y - self.ylim[0]) / (self.ylim[1] - self.ylim[0]) * HEIGHT
        off = (across < left) | (across > left + self.width)
        self._strokes.setdefault(style, []).append(
            (np.append(across, np.nan), np.append(np.where(off, np.nan, up), np.nan))
        )

    def figure(self) -> Figure:
        """Draw everything added so far."""
        figure = new_figure(self.height, self.title)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, WIDTH), ylim=(0, self.height))
        self._draw_frames(axes)
        for (colour, marker, line, size, order, open_face), pieces in self._strokes.items():
            axes.plot(
                np.concatenate([x for x, _ in pieces]), np.concatenate([y for _, y in pieces]),
                color=colour, marker=marker, markersize=size, lw=0.9 if line else 0, zorder=order,
                markerfacecolor="white" if open_face else colour,
                markeredgewidth=0.8 if open_face or marker == "|" else 0,
            )  # fmt: skip
        return figure

    def _draw_frames(self, axes: Any) -> None:
        from matplotlib.collections import LineCollection, PatchCollection
        from matplotlib.patches import Rectangle

        bad = {panel for panel, _ in self._words}
        corners = [self.corner(panel) for panel in range(len(self.names))]
        for ground, chosen in (("white", False), (BAD, True)):
            boxes = [Rectangle(at, self.width, HEIGHT) for panel, at in enumerate(corners) if (panel in bad) == chosen]
            axes.add_collection(PatchCollection(boxes, facecolor=ground, edgecolor=FAINT, lw=0.6, zorder=1))
        across = (self.xticks[0] - self.xlim[0]) / (self.xlim[1] - self.xlim[0]) * self.width
        up = (self.yticks[0] - self.ylim[0]) / (self.ylim[1] - self.ylim[0]) * HEIGHT
        grid = [[(x, y + step), (x + self.width, y + step)] for x, y in corners for step in up]
        grid += [[(x + step, y), (x + step, y + HEIGHT)] for x, y in corners for step in across]
        axes.add_collection(LineCollection(grid, colors=GRID, linewidths=0.6, zorder=1.5))
        self._draw_words(axes, corners, across, up)

    def _draw_words(self, axes: Any, corners: list[tuple[float, float]], across: Any, up: Any) -> None:
        for panel, (x, y) in enumerate(corners):
            axes.text(x + 0.03, y + HEIGHT + 0.05, self.names[panel], fontsize=8.5, weight="bold", color=INK)
            if panel % self.columns == 0:
                for step, label in zip(up, self.yticks[1], strict=True):
                    axes.text(x - 0.06, y + step, label, fontsize=7.5, ha="right", va="center", color=INK)
            if panel + self.columns >= len(self.names):
                for step, label in zip(across, self.xticks[1], strict=True):
                    side = "left" if step < 0.12 else "right" if step > self.width - 0.12 else "center"
                    axes.text(x + step, y - 0.06, label, fontsize=7.5, ha=side, va="top", color=INK)
        for panel, words in self._words:
            x, y = corners[panel]
            centre = (x + self.width / 2, y + HEIGHT / 2)
            axes.text(*centre, words, ha="center", va="center", fontsize=8.5, color="#7a2e14")
        axes.text(LEFT + (WIDTH - LEFT - RIGHT) / 2, 0.14, self.xlabel, ha="center", va="bottom", fontsize=9.5)
        middle = BOTTOM + (self.height - TOP - BOTTOM) / 2
        axes.text(0.1, middle, self.ylabel, rotation=90, ha="left", va="center", fontsize=9.5)
