"""Spectrum of each target, before and after calibration."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.averages import PartAverages
from calibrant.plots.corrected import CORRECTED, RAW
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import COLOURS, empty, key, new_figure, place
from calibrant.plots.ticks import nice_ticks, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 4
EDGE_SHARE = 20
"""One twentieth of the channels at either edge does not count for the limits: noise is large there."""
LOOK_FOR = (
    "Top: mean raw amplitude, in which the shape of the bandpass dominates. Middle: mean corrected amplitude of all "
    "samples, which shows extended and offset emission too, above a floor of noise. Bottom: real part of the vector "
    "average over all baselines and times, the spectrum at the phase centre. Spectral lines of the source show in the "
    "two lower rows and not in the calibrators."
)


def draw(title: str, parts: list[PartAverages]) -> Figure:
    """One column a spw; hands by colour, their mean as a dark line."""
    figure = new_figure(6.6, title)
    grid = figure.subplots(3, len(parts), squeeze=False, sharex="col")
    place(figure, top=0.66, wspace=0.28, hspace=0.1)
    rows = (
        (RAW, "mean raw amplitude", lambda column: column.channel_amp),
        (CORRECTED, "mean amplitude (Jy)", lambda column: column.channel_amp),
        (CORRECTED, "real, vector average (Jy)", lambda column: column.channel.real),
    )
    for row, (name, label, pick) in enumerate(rows):
        for column, part in enumerate(parts):
            axes = grid[row, column]
            if name in part.columns:
                _draw_spectrum(axes, part, pick(part.columns[name]))
            else:
                empty(axes, f"no {name}")
            if column == 0:
                axes.set_ylabel(label)
    for column, part in enumerate(parts):
        grid[0, column].set_title(f"spw {part.spw}")
        low, high = span(part.freq / 1e9, 0.03)
        grid[2, column].set_xlim(low, high)
        grid[2, column].set_xticks(*nice_ticks(low, high, 5 if len(parts) < 3 else 3))
        grid[2, column].set_xlabel("frequency (GHz)")
    names = max((part.correlations for part in parts), key=len)
    entries = [(name, COLOURS[number % len(COLOURS)], "o") for number, name in enumerate(names)]
    key(figure, [*entries, ("mean of hands", "#222222", "-")])
    return figure


def _draw_spectrum(axes: Axes, part: PartAverages, values: Any) -> None:
    if not np.isfinite(values).any():
        empty(axes, "all data flagged")
        return
    freq = part.freq / 1e9
    for hand in range(values.shape[1]):
        axes.plot(freq, values[:, hand], "o", ms=2, color=COLOURS[hand % len(COLOURS)], alpha=0.55)
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    axes.plot(freq, mean, "-", color="#222222", lw=1.1, drawstyle="steps-mid")
    edge = len(freq) // EDGE_SHARE
    axes.set_ylim(*span(values[edge : len(freq) - edge], 0.08))


def make(material: Material) -> Iterator[Drawing]:
    """For each target one drawing for every four spws."""
    if material.averages is None:
        return
    for target in material.targets:
        parts = [part for part in material.averages.of_field(target) if len(part.freq) > 1 and part.columns]
        for first in range(0, len(parts), MOST_COLUMNS):
            chosen = parts[first : first + MOST_COLUMNS]
            title = f"{target} · spectrum before and after calibration"
            yield Drawing(
                name=f"target-spectrum-{chosen[0].field}-{chosen[0].spw}",
                title=title,
                caption=LOOK_FOR,
                alt=title,
                draw=partial(draw, title, chosen),
            )


PLOT = Plot("target_spectrum", "target", "Target spectrum", "There are no data of a target.", make)
