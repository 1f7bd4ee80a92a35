"""Corrected amplitude and phase of each calibrator against uv distance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.plots.averages import PartAverages
from calibrant.plots.corrected import CORRECTED, MODELLED, drawings
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.solutions import outliers, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAINT_SHARE = 0.2
"""Baselines on which the model is fainter than this share of its maximum say little about gains."""
LOOK_FOR = (
    "Each point is a baseline, averaged over time and channels. A point source gives constant amplitude and zero "
    "phase; amplitudes that fall with distance mean that the source is resolved, or that phases were lost on long "
    "baselines. Suspicious: single baselines away from the model."
)


def dress(axes: Axes, part: PartAverages) -> None:
    """Distances from zero, in metres."""
    axes.set_xlabel("uv distance (m)")
    axes.set_xlim(0, 1.03 * float(part.uvdist.max(initial=1.0)))


def resolved(uvdist: NDArray[np.float64], amplitude: NDArray[np.float64]) -> bool:
    """Whether the long baselines see clearly less than the short ones."""
    third = len(uvdist) // 3
    values = amplitude[np.argsort(uvdist)]
    near, far = values[:third], values[len(values) - third :]
    near, far = near[np.isfinite(near)], far[np.isfinite(far)]
    return bool(len(near) and len(far) and np.median(far) < 0.9 * np.median(near))


def antenna_levels(part: PartAverages, antennas: list[str]) -> list[str]:
    """Antennas whose baselines have amplitudes unlike the others', over the model where it is known."""
    amplitude = np.abs(part.columns[CORRECTED].baseline)
    unit = " Jy"
    if MODELLED in part.columns:
        model = np.abs(part.columns[MODELLED].baseline)
        strong = model > FAINT_SHARE * np.nanmax(model, initial=0.0)
        amplitude = np.where(strong, amplitude / np.where(strong, model, 1), np.nan)
        unit = " of the model"
    elif resolved(part.uvdist, amplitude):
        return []
    sentences = []
    for hand, correlation in enumerate(part.correlations):
        levels = {}
        for antenna in np.unique(np.concatenate([part.ant1, part.ant2])):
            mine = amplitude[(part.ant1 == antenna) | (part.ant2 == antenna), hand]
            mine = mine[np.isfinite(mine)]
            if len(mine):
                levels[f"{antennas[antenna]} {correlation} spw {part.spw}"] = float(np.median(mine))
        sentences += outliers(levels, 0.15, "amplitude", unit)
    return sentences


def make(material: Material) -> Iterator[Drawing]:
    """For each calibrator one drawing for every four spws."""
    yield from drawings(
        material, "uvdist", "uv distance", LOOK_FOR, lambda column: column.baseline, lambda part: part.uvdist,
        dress, "o", lambda part: list(shorten(antenna_levels(part, material.antennas))),
    )  # fmt: skip


PLOT = Plot(
    "corrected_uvdist", "calibrators", "Calibrators against uv distance", "No calibrator has corrected data.", make
)
