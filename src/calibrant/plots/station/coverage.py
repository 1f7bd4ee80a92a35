"""Where and when was observed: elevation against time by source, and the sky."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import category_styles, side_legend, utc_axis
from calibrant.plots.station.material import StationMaterial
from calibrant.plots.style import BAD, FAINT, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK_FOR = (
    "A gain curve needs elevations from the horizon to the top, best from few sources that are followed; shaded: "
    "elevations between the lowest and the highest that nobody observed. Right: the sky, north up, horizon at the rim."
)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing."""
    if np.isfinite(material.get("elevation_deg")).any():
        yield Drawing(
            name="coverage", title="Elevation against time, and the sky", caption=LOOK_FOR,
            alt="Elevation of every scan against time by source, and azimuth and elevation on the sky",
            draw=partial(draw, material),
        )  # fmt: skip


def draw(material: StationMaterial) -> Figure:
    """One symbol a scan: the detectors of a scan have one place."""
    _, first = np.unique(np.asarray(material.columns["scan"]), return_index=True)
    time, elevation = material.get("time")[first], material.get("elevation_deg")[first]
    azimuth, source = material.get("azimuth_deg")[first], np.asarray(material.columns["source"])[first]
    styles = category_styles(sorted({str(one) for one in source}))
    longest = max([len(name) for name in styles], default=6)
    figure = new_figure(4.3, "Elevation against time, and the sky")
    reach = (0.55 + 0.085 * min(longest, 20)) / 12
    axes = figure.add_axes((0.065, 0.17, 0.56 - reach / 2, 0.69))
    sky = figure.add_axes((0.66 - reach / 2, 0.06, 0.30, 0.80), projection="polar")
    for name, (colour, marker) in styles.items():
        mine = source == name
        axes.plot(time[mine], elevation[mine], marker, color=colour, ms=5, mew=0, alpha=0.85)
        sky.plot(np.radians(azimuth[mine]), 90 - elevation[mine], marker, color=colour, ms=4.5, mew=0, alpha=0.85)
    for low, high in material.elevation_gaps:
        axes.axhspan(low, high, color=BAD, lw=0, zorder=0)
    axes.set(ylim=(0, 90), ylabel="elevation (°)")
    axes.set_yticks(range(0, 91, 15))
    utc_axis(axes, time, most=6)
    _sky_axes(sky)
    side_legend(figure, _handles(styles))
    return figure


def _sky_axes(sky: Axes) -> None:
    polar: Any = sky
    polar.set_theta_zero_location("N")
    polar.set_theta_direction(-1)
    polar.set_rlim(0, 90)
    polar.set_rgrids((30, 60, 90), labels=("60°", "30°", "0°"), angle=45, color=FAINT, fontsize=7.5)
    polar.set_thetagrids((0, 90, 180, 270), labels=("N", "E", "S", "W"))


def _handles(styles: dict[str, tuple[str, str]]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, marker=marker, lw=0, ms=6, label=name) for name, (colour, marker) in styles.items()
    ]


PLOT = Plot("coverage", "coverage", "Elevation and sky", "no scan has a position.", make)
