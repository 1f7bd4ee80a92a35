"""Figures of the report: one file a kind. `PLOTS` lists them in the order of the report.

matplotlib is imported inside functions only. To add a figure: write `plots/NAME.py` with a `PLOT`, add it here.
"""

from __future__ import annotations

from calibrant.plots import (
    antennas,
    bandpass_amplitude,
    bandpass_phase,
    corrected_frequency,
    corrected_time,
    corrected_uvdist,
    delay,
    flag_fractions,
    flux_densities,
    gain_amplitude,
    gain_phase,
    raw_corrected,
    scans,
    solution_quality,
    target_spectrum,
    tsys,
    uv_coverage,
)
from calibrant.plots.averages import Averages, ColumnAverages, PartAverages
from calibrant.plots.material import Material, Scan
from calibrant.plots.plot import SECTIONS, Drawing, Plot
from calibrant.registry import Registry

PLOTS: Registry[Plot[Material]] = Registry(
    "plot",
    (
        scans.PLOT,
        antennas.PLOT,
        bandpass_amplitude.PLOT,
        bandpass_phase.PLOT,
        tsys.PLOT,
        delay.PLOT,
        gain_phase.PLOT,
        gain_amplitude.PLOT,
        solution_quality.PLOT,
        flux_densities.PLOT,
        raw_corrected.PLOT,
        corrected_uvdist.PLOT,
        corrected_time.PLOT,
        corrected_frequency.PLOT,
        target_spectrum.PLOT,
        uv_coverage.PLOT,
        flag_fractions.PLOT,
    ),
    key=lambda plot: plot.name,
)

__all__ = [
    "PLOTS", "SECTIONS", "Averages", "ColumnAverages", "Drawing", "Material", "PartAverages", "Plot", "Scan",
]  # fmt: skip
