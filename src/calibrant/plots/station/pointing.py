"""Pointing offsets in beams: on the sky, and against time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.plot import Drawing, Plot
from calibrant.plots.station.common import DELETED, faint_zero, utc_axis
from calibrant.plots.station.material import Pointings, StationMaterial
from calibrant.plots.style import COLOURS, FAINT, key, new_figure, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOK_FOR = (
    "Inside the circle of 0.1 beam the source loses less than 3 % of its flux density; at 0.2 beams it is 11 %, which "
    "then stands in gain and SEFD as if the antenna were worse."
)
CIRCLES = (0.1, 0.2)


def make(material: StationMaterial) -> Iterator[Drawing]:
    """One drawing, where pointings give offsets in beams."""
    seen = material.pointings
    if seen is not None and (np.isfinite(seen.lon) & np.isfinite(seen.lat)).any():
        title = "Pointing offsets"
        yield Drawing(
            name="pointing", title=title, caption=LOOK_FOR, draw=partial(draw, seen, title),
            alt="Pointing offsets in beams on the sky and against time",
        )  # fmt: skip


def draw(seen: Pointings, title: str) -> Figure:
    """Offsets across (longitude) and along (latitude); fits that failed as crosses."""
    figure = new_figure(3.9, title)
    sky, run = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1, 2.1)})
    place(figure, top=0.55, left=0.8, wspace=0.16, bottom=0.7)
    good = seen.good
    bound = max(0.25, 1.15 * float(np.nanmax(np.abs([seen.lon, seen.lat])[:, good], initial=0.0)))
    angle = np.linspace(0, 2 * np.pi, 181)
    for radius in CIRCLES:
        sky.plot(radius * np.cos(angle), radius * np.sin(angle), color=FAINT, lw=0.9, zorder=1)
        sky.annotate(f"{radius:g}", (0, radius), fontsize=7.5, color=FAINT, ha="center", va="bottom")
    sky.plot(seen.lon[good], seen.lat[good], "o", color=COLOURS[2], ms=4.5, mew=0, alpha=0.8)
    sky.plot(*_clip(seen.lon[~good], seen.lat[~good], bound), "x", color=DELETED, ms=5)
    sky.set(xlim=(-bound, bound), ylim=(-bound, bound), xlabel="longitude (beams)", ylabel="latitude (beams)")
    sky.set_aspect("equal", adjustable="box")
    for number, (values, errors) in enumerate(((seen.lon, seen.lon_err), (seen.lat, seen.lat_err))):
        bars = np.where(np.isfinite(errors[good]), np.abs(errors[good]), 0.0)
        run.errorbar(
            seen.time[good], values[good], yerr=bars, fmt="o^"[number], color=COLOURS[number], ms=4.5, mew=0,
            elinewidth=0.7, alpha=0.85,
        )  # fmt: skip
    failed = seen.time[~good]
    run.plot(failed, np.full(len(failed), -0.96 * bound), "x", color=DELETED, ms=5)
    faint_zero(run, 0.0)
    run.set(ylim=(-bound, bound), ylabel="offset (beams)")
    utc_axis(run, seen.time, most=6)
    entries = [("longitude", COLOURS[0], "o"), ("latitude", COLOURS[1], "^")]
    key(figure, entries + ([("fit failed", DELETED, "x")] if len(failed) else []))
    return figure


def _clip(x: Any, y: Any, bound: float) -> tuple[Any, Any]:
    return np.clip(x, -bound, bound), np.clip(y, -bound, bound)


PLOT = Plot("pointing", "pointing", "Pointing offsets", "the logs hold no pointing run with a beam width.", make)
