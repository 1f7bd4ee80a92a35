"""A table of fractions or numbers, antenna by something, as coloured cells with their values written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.style import GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.2
NARROW = 0.034
UPRIGHT = 6
"""More columns than these have their names written upwards."""


def draw_cells(
    axes: Axes, values: NDArray[Any], rows: Sequence[str], columns: Sequence[str], *,
    colours: str, low: float, high: float, form: str, logarithmic: bool = False, width: float = 1.0,
) -> None:  # fmt: skip
    """values (row, column), NaN left white. `width`: share of a row's height a cell must have to carry text."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    norm = LogNorm(low, high, clip=True) if logarithmic else Normalize(low, high, clip=True)
    map_ = colormaps[colours]
    axes.imshow(np.ma.masked_invalid(values), aspect="auto", cmap=map_, norm=norm, interpolation="nearest")
    axes.set_xticks(np.arange(len(columns)), columns, rotation=90 if len(columns) > UPRIGHT else 0, fontsize=8)
    axes.set_yticks(np.arange(len(rows)), rows, fontsize=8)
    axes.grid(False)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color="white", lw=1)
    axes.tick_params(which="both", length=0)
    if width < NARROW * len(form.format(99.0)) * 2:
        return
    for row, column in np.argwhere(np.isfinite(values)):
        value = float(values[row, column])
        red, green, blue, _ = map_(norm(value))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
        axes.text(column, row, form.format(value), ha="center", va="center", fontsize=7.5, color=GRID if dark else INK)
