"""System temperature against frequency, one panel an antenna."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.solutions import failures, frequency_groups, outliers, per_hand, shorten, spw_words
from calibrant.plots.spectra import draw_spectra
from calibrant.plots.ticks import amplitude_span

LOOK_FOR = (
    "Similar curves in all antennas; bumps at the same frequency everywhere are atmospheric lines. Suspicious: an "
    "antenna much hotter than the others, negative values, spikes in single channels."
)


def make(material: Material) -> Iterator[Drawing]:
    """One drawing for each group of neighbouring spws of each Tsys table; all times overlaid."""
    for role, table in material.tables("B TSYS"):
        level = {
            name: float(np.median(param[ok].real)) for _, name, _, ok, param in per_hand(material, table) if ok.any()
        }
        sentences = failures(material, table) + outliers(level, 0.4, "typical Tsys", " K")
        for number, spws in enumerate(frequency_groups(table)):
            title = f"System temperature · {role} · {spw_words(spws)}"
            yield Drawing(
                name=f"tsys-{role}-{spws[0]}",
                title=title,
                caption=LOOK_FOR,
                alt=f"System temperature against frequency, one panel for each antenna, {spw_words(spws)}",
                draw=partial(draw_spectra, material, table, spws, title, "Tsys (K)", np.real, amplitude_span),
                concerns=shorten(sentences) if number == 0 else (),
            )


PLOT = Plot("tsys", "bandpass", "System temperature", "The run used no system temperature table.", make)
