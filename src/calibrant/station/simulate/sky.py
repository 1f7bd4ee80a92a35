"""Where a source is, and which source is observed when. Spherical astronomy without precession and refraction."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calibrant.errors import SelectionError
from calibrant.station.simulate.model import SOURCES, TARGETS, Floats, Options

J2000 = 946_728_000.0
"""2000-01-01 12:00 in seconds since 1970."""


def position_deg(source: str) -> tuple[float, float]:
    """Right ascension and declination in degrees of a calibrator or target."""
    ra, dec = (SOURCES | TARGETS)[source]
    hours = int(ra[:2]) + int(ra[2:4]) / 60 + float(ra[4:]) / 3600
    degrees = int(dec[1:3]) + int(dec[3:5]) / 60 + float(dec[5:]) / 3600
    return 15.0 * hours, -degrees if dec[0] == "-" else degrees


def azel(source: str, time: ArrayLike, longitude_deg: float, latitude_deg: float) -> tuple[Floats, Floats]:
    """Azimuth (from north through east) and elevation in degrees at times in seconds since 1970 UTC."""
    ra, dec = position_deg(source)
    days = (np.asarray(time, dtype=np.float64) - J2000) / 86400.0
    hour = np.radians(280.46061837 + 360.98564736629 * days + longitude_deg - ra)
    lat, declination = np.radians(latitude_deg), np.radians(dec)
    up = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(lat) * np.sin(declination) - np.sin(lat) * np.cos(declination) * np.cos(hour)
    return np.degrees(np.arctan2(east, north)) % 360.0, np.degrees(np.arcsin(np.clip(up, -1.0, 1.0)))


def schedule(options: Options) -> tuple[Floats, list[str]]:
    """Start times and sources of the ONOFFs: in each slot the source that is up and was observed longest ago.

    Slots with nothing up stay empty. SelectionError: no slot has a source.
    """
    slots = options.start + 60.0 * options.interval_min * np.arange(int(60.0 * options.hours / options.interval_min))
    slots = slots + options.lead_s
    low, high = options.elevation
    site = options.site
    heights = np.array([azel(name, slots, site.longitude_deg, site.latitude_deg)[1] for name in options.observed])
    up = (heights > low) & (heights < high)
    last = np.full(len(options.observed), -1)
    times, names = [], []
    for slot, time in enumerate(slots):
        able = np.flatnonzero(up[:, slot])
        if able.size:
            chosen = int(able[np.argmin(last[able])])
            last[chosen] = slot
            times.append(time)
            names.append(options.observed[chosen])
    if not times:
        raise SelectionError(
            f"none of {', '.join(options.observed)} is up between {low:g} and {high:g} degrees in {options.hours:g} h."
            " Simulate more hours, or other sources."
        )
    return np.array(times), names
