"""Corrected amplitude and phase of each calibrator against time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from calibrant.plots.averages import PartAverages
from calibrant.plots.corrected import drawings
from calibrant.plots.material import Material
from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.ticks import clock_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOK_FOR = (
    "Each point is an integration, averaged over baselines and channels. Suspicious: a trend or steps in amplitude, "
    "times at which the amplitude drops (phases not followed, pointing, shadowing)."
)


def make(material: Material) -> Iterator[Drawing]:
    """For each calibrator one drawing for every four spws."""

    def dress(axes: Axes, part: PartAverages) -> None:
        """Time of day."""
        if len(part.times):
            first, last = float(part.times[0]), float(part.times[-1])
            clock_axis(axes, first, last, origin=first, most=4, scale=material.time_scale)

    yield from drawings(
        material, "time", "time", LOOK_FOR, lambda column: column.time, lambda part: part.times - part.times[:1],
        dress, "o",
    )  # fmt: skip


PLOT = Plot("corrected_time", "calibrators", "Calibrators against time", "No calibrator has corrected data.", make)
