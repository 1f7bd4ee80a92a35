"""Corrected amplitude and phase of each calibrator against frequency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from calibrant.plots.averages import PartAverages
from calibrant.plots.corrected import CORRECTED, drawings
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.ticks import nice_ticks, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPIKE_MAD = 8.0
SPIKE_SHARE = 0.02
LOOK_FOR = (
    "Each point is a channel, averaged over time and baselines. A continuum source gives a flat or gently sloping "
    "line. Suspicious: narrow spikes (interference), the shape of the bandpass left in the data, phases that slope "
    "(a delay)."
)


def dress(axes: Axes, part: PartAverages) -> None:
    """Frequency in GHz."""
    low, high = span(part.freq / 1e9, 0.03)
    axes.set_xlim(low, high)
    axes.set_xticks(*nice_ticks(low, high, 4))
    axes.set_xlabel("frequency (GHz)")


def spikes(part: PartAverages) -> list[str]:
    """Channels far off their neighbours."""
    sentences = []
    for hand, correlation in enumerate(part.correlations):
        values = np.abs(part.columns[CORRECTED].channel[:, hand])
        if np.isfinite(values).sum() < 16:
            continue
        off = np.abs(values - np.nanmedian(values))
        noise = 1.4826 * float(np.nanmedian(off))
        loud = np.flatnonzero(off > max(SPIKE_MAD * noise, SPIKE_SHARE * float(np.nanmedian(values))))
        if 0 < len(loud) <= 0.1 * len(values):
            shown = ", ".join(str(channel) for channel in loud[:5]) + (" …" if len(loud) > 5 else "")
            channels = "channels" if len(loud) > 1 else "channel"
            sentences.append(f"spw {part.spw} {correlation}: {channels} {shown} off the others")
    return sentences


def make(material: Material) -> Iterator[Drawing]:
    """For each calibrator one drawing for every four spws."""
    yield from drawings(
        material, "frequency", "frequency", LOOK_FOR, lambda column: column.channel, lambda part: part.freq / 1e9,
        dress, "o", spikes,
    )  # fmt: skip


PLOT = Plot(
    "corrected_frequency", "calibrators", "Calibrators against frequency", "No calibrator has corrected data.", make
)
