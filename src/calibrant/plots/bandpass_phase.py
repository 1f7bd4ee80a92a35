"""Bandpass phase against frequency, one panel an antenna."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.solutions import frequency_groups, per_hand, shorten, spw_words
from calibrant.plots.spectra import draw_spectra
from calibrant.plots.ticks import phase_limit

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable

ROUGH_DEGREES = 30.0
LOOK_FOR = (
    "Smooth, nearly flat curves; the reference antenna is at zero by definition. Suspicious: a steady slope "
    "(a delay left in the data), jumps between neighbouring channels, an antenna that is noise from edge to edge."
)


def degrees(gain: Any) -> Any:
    """Phase of a complex gain in degrees."""
    return np.degrees(np.angle(gain))


def limits(values: Any) -> tuple[float, float]:
    """Symmetric limits from the usual ones."""
    limit = phase_limit(values)
    return -limit, limit


def concerns(material: Material, table: CalTable) -> tuple[str, ...]:
    """Antennas whose phase jumps from channel to channel."""
    sentences = []
    for _, name, _, ok, param in per_hand(material, table):
        gain = param[ok]
        if len(gain) > 3:
            jump = float(np.median(np.abs(degrees(gain[1:] * gain[:-1].conj()))))
            if jump > ROUGH_DEGREES:
                sentences.append(f"{name}: phase jumps by {jump:.0f}° from channel to channel")
    return shorten(sentences)


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each group of neighbouring spws of each bandpass table."""
    for role, table in material.tables("B Jones"):
        for number, spws in enumerate(frequency_groups(table)):
            title = f"Bandpass phase · {role} · {spw_words(spws)}"
            yield Drawing(
                name=f"bandpass-phase-{role}-{spws[0]}",
                title=title,
                caption=LOOK_FOR,
                alt=f"Bandpass phase against frequency, one panel for each antenna, {spw_words(spws)}",
                draw=partial(draw_spectra, material, table, spws, title, "phase (degrees)", degrees, limits, True),
                concerns=concerns(material, table) if number == 0 else (),
            )


PLOT = Plot("bandpass_phase", "bandpass", "Bandpass phase", "The run made no bandpass table.", make)
