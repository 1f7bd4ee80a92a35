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
    from calibrant.station.records import Fivpt, FsLog

Floats = NDArray[np.float64]
POINTING_LASTS_S = 3600.0
ORIGIN = {"xy": 1, "az": 3, "ha": 5}
"""Where the offsets of each kind of axes begin in an ORIG row."""


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
    """By how much the antenna was off the place where the last FIVPT found the source, in beams.

    FIVPT sets the offsets that it finds, and ONOFF's ORIG row says which were set. A fit that failed counts as a whole
    beam; nan without a FIVPT on the same source in the hour before, or without ORIG.
    """
    result = np.full(len(points), np.nan)
    for fivpt in sorted(log.fivpts, key=lambda one: one.time):
        after = points["time"] - fivpt.time
        hit = (points["source"] == fivpt.source.lower()) & (after >= 0) & (after < POINTING_LASTS_S)
        beam = np.where(np.isfinite(points["apr_fwhm_deg"]), points["apr_fwhm_deg"], fivpt.fwhm_deg)
        off = np.array([_off(fivpt, log.scans[number - 1].origin) for number in points["scan_number"][hit]])
        good = fivpt.lat_good and fivpt.lon_good
        result[hit] = off / beam[hit] if good else 1.0
    return result


def _off(fivpt: Fivpt, origin: tuple[float, ...]) -> float:
    """Degrees on the sky between the offsets of a pointing and those set (ORIG: second, then a pair for each axes)."""
    first = ORIGIN.get(fivpt.axes[:2], 0)
    if not first or len(origin) < first + 2:
        return float("nan")
    lon = fivpt.lon_offset_deg - origin[first] * np.cos(np.radians(fivpt.lat_deg))
    return float(np.hypot(lon, fivpt.lat_offset_deg - origin[first + 1]))


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
