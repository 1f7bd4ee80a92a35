"""What stood near the beam: the last pointing before a scan, the sun and the moon.

Columns that only some rules need, added to the points when one of them is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from calibrant.station.points import Points
    from calibrant.station.records import FsLog

Floats = NDArray[np.float64]
POINTING_LASTS_S = 3600.0


def add_surroundings(points: Points, logs: Sequence[FsLog], columns: Iterable[str]) -> None:
    """Add `pointing_beams`, `sun_deg` or `moon_deg`, each nan where it cannot be known."""
    for name in set(columns) - set(points.columns):
        values = np.full(len(points), np.nan)
        for index, log in enumerate(logs):
            mine = points["log"] == index
            if mine.any():
                part = points.where(mine)
                values[mine] = _pointing(part, log) if name == "pointing_beams" else _apart(part, log, name)
        points.columns[name] = values


def _pointing(points: Points, log: FsLog) -> Floats:
    """Offset that the last FIVPT on the same source found, in beams; a fit that failed counts as a whole beam."""
    result = np.full(len(points), np.nan)
    for fivpt in sorted(log.fivpts, key=lambda one: one.time):
        after = points["time"] - fivpt.time
        hit = (points["source"] == fivpt.source.lower()) & (after >= 0) & (after < POINTING_LASTS_S)
        beam = np.where(np.isfinite(points["apr_fwhm_deg"]), points["apr_fwhm_deg"], fivpt.fwhm_deg)
        offset = float(np.hypot(fivpt.lat_offset_deg, fivpt.lon_offset_deg))
        good = fivpt.lat_good and fivpt.lon_good
        result[hit] = offset / beam[hit] if good else 1.0
    return result


def _apart(points: Points, log: FsLog, name: str) -> Floats:
    """Degrees between each point and the sun or moon (`sun_deg`, `moon_deg`)."""
    if np.isnan(log.site.longitude_deg + log.site.latitude_deg):
        return np.full(len(points), np.nan)
    from calibrant.station.aquir import Call, Target
    from calibrant.station.sky_position import tracks

    none = Call("", -2)
    body = Target(name.removesuffix("_deg"), "0", "0", 2000.0, none, 0, 0, 0, none)
    times, place = np.unique(points["time"], return_inverse=True)
    track = tracks([body], log.site, times)
    there = _vector(track.azimuth_deg[0, place], track.elevation_deg[0, place])
    here = _vector(points["azimuth_deg"], points["elevation_deg"])
    return np.asarray(np.degrees(np.arccos(np.clip((here * there).sum(axis=0), -1, 1))))


def _vector(azimuth_deg: Floats, elevation_deg: Floats) -> Floats:
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    return np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
