"""Bandpass amplitude against frequency, one panel an antenna."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.solutions import failures, frequency_groups, outliers, per_hand, shorten, spw_words
from calibrant.plots.spectra import draw_spectra
from calibrant.plots.ticks import amplitude_span

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable

LOOK_FOR = (
    "Smooth curves that look alike in all antennas, falling only at the edges of the band. Suspicious: spikes or "
    "steps inside the band (interference, atmospheric lines), ripples, one hand or one antenna unlike the others."
)


def concerns(material: Material, table: CalTable) -> tuple[str, ...]:
    """Failed solutions, and antennas whose typical amplitude or roughness is unlike the others'."""
    roughness = {}
    level = {}
    for _, name, _, ok, param in per_hand(material, table):
        if ok.sum() > 3:
            amplitude = np.abs(param[ok])
            level[name] = float(np.median(amplitude))
            roughness[name] = float(np.median(np.abs(np.diff(amplitude)))) / level[name]
    sentences = failures(material, table) + outliers(level, 0.4, "typical bandpass amplitude")
    rough = outliers(roughness, 2.0, "channel-to-channel scatter")
    return shorten(sentences + rough)


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each group of neighbouring spws of each bandpass table."""
    for role, table in material.tables("B Jones"):
        for number, spws in enumerate(frequency_groups(table)):
            title = f"Bandpass amplitude · {role} · {spw_words(spws)}"
            yield Drawing(
                name=f"bandpass-amplitude-{role}-{spws[0]}",
                title=title,
                caption=LOOK_FOR,
                alt=f"Bandpass amplitude against frequency, one panel for each antenna, {spw_words(spws)}",
                draw=partial(
                    draw_spectra, material, table, spws, title, "amplitude (relative gain)", np.abs, amplitude_span
                ),
                concerns=concerns(material, table) if number == 0 else (),
            )


PLOT = Plot("bandpass_amplitude", "bandpass", "Bandpass amplitude", "The run made no bandpass table.", make)
