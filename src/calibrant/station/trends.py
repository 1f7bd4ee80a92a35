"""Bands over several logs: Tcal ratio, SEFD and Tsys of each log, and what has changed since the others."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.station.bands import groups, median_and_scatter, ratio_of

if TYPE_CHECKING:
    from calibrant.station.points import Points

CHANGE = 0.05
"""A ratio or SEFD that differs from the median of the other logs by more than this is told (relative)."""


@dataclass(frozen=True)
class TrendPoint:
    """One log, band and polarisation: mean time (s since 1970, UTC), medians and robust scatters."""

    log: str
    time: float
    band: str
    pol: str
    points: int
    ratio_median: float
    ratio_scatter: float
    sefd_median_jy: float
    sefd_scatter_jy: float
    tsys_median_k: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def trends(points: Points, labels: NDArray[np.str_]) -> tuple[TrendPoint, ...]:
    """By band and polarisation, in order of time; deleted points left out; empty for a single log."""
    if len(np.unique(points["log"])) < 2:
        return ()
    ratio = ratio_of(points)
    result = []
    for band, pol, mine in groups(points, labels):
        kept = mine & ~points["deleted"]
        for log in np.unique(points["log"][kept]):
            result.append(_trend_point(points, kept & (points["log"] == log), band, pol, ratio))
    return tuple(result)


def _trend_point(points: Points, mine: Any, band: str, pol: str, ratio: Any) -> TrendPoint:
    sefd, sefd_scatter = median_and_scatter(points["sefd_jy"][mine])
    middle, scatter = median_and_scatter(ratio[mine])
    return TrendPoint(
        log=os.path.basename(str(points["file"][mine][0])),
        time=float(points["time"][mine].mean()),
        band=band,
        pol=pol,
        points=int(mine.sum()),
        ratio_median=middle,
        ratio_scatter=scatter,
        sefd_median_jy=sefd,
        sefd_scatter_jy=sefd_scatter,
        tsys_median_k=median_and_scatter(points["tsys_k"][mine & ~points["no_diode"]])[0],
    )


def changes(series: tuple[TrendPoint, ...]) -> list[str]:
    """Sentences about the latest log of each band and polarisation against the median of those before it."""
    found = []
    for band, pol in dict.fromkeys((one.band, one.pol) for one in series):
        mine = [one for one in series if (one.band, one.pol) == (band, pol)]
        for name, word in (("ratio_median", "Tcal ratio"), ("sefd_median_jy", "SEFD")):
            values = [(one, getattr(one, name)) for one in mine if np.isfinite(getattr(one, name))]
            if len(values) < 2:
                continue
            before = float(np.median([value for _, value in values[:-1]]))
            change = values[-1][1] / before - 1
            if abs(change) > CHANGE:
                last, count = values[-1][0].log, len(values) - 1
                others = f"{count} logs" if count > 1 else "log"
                words = f"{word} of {band} {pol}: {values[-1][1]:.4g} in {last}, {100 * change:+.0f} % against"
                found.append(f"{words} {before:.4g} in the {others} before it")
    return found
