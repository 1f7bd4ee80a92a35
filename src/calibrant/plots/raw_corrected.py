"""Each calibrator before and after calibration: amplitude and phase by baseline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.averages import PartAverages
from calibrant.plots.bandpass_phase import degrees
from calibrant.plots.corrected import CORRECTED, RAW
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.style import colours_for, key, new_figure, place
from calibrant.plots.ticks import amplitude_span, phase_limit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Left before, right after calibration; each point is a baseline and hand, averaged over time and channels. The "
    "cloud of raw phases must become a narrow line around zero, and the amplitudes a line in Jy."
)


def draw(title: str, parts: list[PartAverages]) -> Figure:
    """Amplitude above phase, raw beside corrected; spws by colour."""
    figure = new_figure(5.0, title)
    grid = figure.subplots(2, 2, sharex=True)
    place(figure, top=0.66, wspace=0.18, hspace=0.08)
    colours = colours_for([str(part.spw) for part in parts])
    for column, (name, unit) in enumerate(((RAW, "raw"), (CORRECTED, "Jy"))):
        upper, lower = grid[:, column]
        for part in parts:
            values = part.columns[name].baseline
            style = {"ms": 2.5, "alpha": 0.7, "color": colours[str(part.spw)], "rasterized": True}
            distance = np.repeat(part.uvdist, values.shape[1])
            upper.plot(distance, np.abs(values).ravel(), "o", **style)
            lower.plot(distance, degrees(values).ravel(), "o", **style)
        every = np.concatenate([part.columns[name].baseline.ravel() for part in parts])
        limit = phase_limit(degrees(every))
        upper.set(ylim=amplitude_span(np.abs(every)), ylabel=f"amplitude ({unit})")
        upper.set_title("before calibration" if name == RAW else "after calibration", loc="left")
        lower.set(ylim=(-limit, limit), ylabel="phase (degrees)", xlabel="uv distance (m)")
    key(figure, [(f"spw {spw}", colour, "o") for spw, colour in list(colours.items())[:10]], columns=10)
    return figure


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each calibrator."""
    if material.averages is None:
        return
    for calibrator in material.calibrators:
        parts = [part for part in material.averages.of_field(calibrator) if {RAW, CORRECTED} <= set(part.columns)]
        if parts:
            title = f"{calibrator} · before and after calibration"
            yield Drawing(
                name=f"raw-corrected-{parts[0].field}",
                title=title,
                caption=LOOK_FOR,
                alt=title,
                draw=partial(draw, title, parts),
            )


PLOT = Plot(
    "raw_corrected", "calibrators", "Before and after calibration", "No calibrator has raw and corrected data.", make
)
