"""Corrected amplitude and phase in panels, one column a spw: shared by the calibrator figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.averages import ColumnAverages, PartAverages
from calibrant.plots.bandpass_phase import degrees
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing
from calibrant.plots.style import COLOURS, MODEL, empty, key, new_figure, place
from calibrant.plots.ticks import amplitude_span, break_lines, phase_limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORRECTED, RAW, MODELLED = "CORRECTED_DATA", "DATA", "MODEL_DATA"
MOST_COLUMNS = 4

Pick = Callable[[ColumnAverages], Any]
"""Takes the drawn average, (n, ncorr), out of a column's averages."""


def draw_grid(
    material: Material, parts: list[PartAverages], title: str, pick: Pick, across: Callable[[PartAverages], Any],
    dress: Callable[[Axes, PartAverages], None], marker: str,
) -> Figure:  # fmt: skip
    """Amplitude above phase; hands by colour; the model is the dark line."""
    figure = new_figure(5.2, title)
    grid = figure.subplots(2, len(parts), squeeze=False, sharex="col")
    place(figure, top=0.66, wspace=0.2, hspace=0.08)
    values = [pick(part.columns[CORRECTED]) for part in parts]
    models = [_model(material, part, pick) for part in parts]
    amplitudes = [np.abs(value).ravel() for value in values] + [np.abs(np.ravel(model)) for model in models]
    limit = max(phase_limit(degrees(value)) for value in values)
    for column, part in enumerate(parts):
        upper, lower = grid[:, column]
        x = across(part)
        if not np.isfinite(values[column]).any():
            empty(upper, "all data flagged")
        for hand in range(values[column].shape[1]):
            colour = COLOURS[hand % len(COLOURS)]
            upper.plot(x, np.abs(values[column][:, hand]), marker, color=colour, alpha=0.7, rasterized=True)
            lower.plot(x, degrees(values[column][:, hand]), marker, color=colour, alpha=0.7, rasterized=True)
        _draw_model(upper, lower, x, models[column])
        upper.set(title=f"spw {part.spw}", ylim=amplitude_span(np.concatenate(amplitudes)))
        lower.set_ylim(-limit, limit)
        dress(lower, part)
        if column == 0:
            upper.set_ylabel("amplitude (Jy)")
            lower.set_ylabel("phase (degrees)")
        else:
            upper.tick_params(labelleft=False)
            lower.tick_params(labelleft=False)
    names = max((part.correlations for part in parts), key=len)
    entries = [(name, COLOURS[number % len(COLOURS)], "o") for number, name in enumerate(names)]
    modelled = any(len(model) for model in models)
    key(figure, [*entries, *([("model", MODEL, "-")] if modelled else [])])
    return figure


def _model(material: Material, part: PartAverages, pick: Pick) -> Any:
    """Model values (n,) of the first hand: MODEL_DATA where it is, else the flux density; empty: none."""
    if MODELLED in part.columns:
        return pick(part.columns[MODELLED])[:, 0]
    flux = material.flux_of(part.field_name, part.spw)
    if flux is None:
        return np.zeros(0, complex)
    return np.full(len(pick(part.columns[CORRECTED])), complex(flux))


def _draw_model(upper: Axes, lower: Axes, x: Any, model: Any) -> None:
    if not len(model):
        return
    order = np.argsort(x)
    x, model = x[order], model[order]
    upper.plot(x, np.abs(model), "-", color=MODEL, lw=1.2, zorder=4)
    phase = degrees(model)
    lower.plot(*break_lines(x, phase, np.abs(np.diff(phase)) > 150), "-", color=MODEL, lw=1.2, zorder=4)


def drawings(
    material: Material, name: str, what: str, caption: str, pick: Pick, across: Callable[[PartAverages], Any],
    dress: Callable[[Axes, PartAverages], None], marker: str,
    concerns: Callable[[PartAverages], list[str]] | None = None,
) -> Iterator[Drawing]:  # fmt: skip
    """For each calibrator one drawing for every four spws."""
    if material.averages is None:
        return
    for calibrator in material.calibrators:
        parts = [part for part in material.averages.of_field(calibrator) if CORRECTED in part.columns]
        for first in range(0, len(parts), MOST_COLUMNS):
            chosen = parts[first : first + MOST_COLUMNS]
            title = f"{calibrator} · corrected amplitude and phase against {what}"
            sentences = [sentence for part in chosen for sentence in concerns(part)] if concerns else []
            yield Drawing(
                name=f"{name}-{chosen[0].field}-{chosen[0].spw}",
                title=title,
                caption=caption,
                alt=title,
                draw=partial(draw_grid, material, chosen, title, pick, across, dress, marker),
                concerns=tuple(sentences),
            )
