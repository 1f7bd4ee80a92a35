"""Where the sun stands, to a hundredth of a degree: enough to tell whether a catalogue is of the data's time.

Low-precision formulas of the Astronomical Almanac (section C), valid 1950-2050; no refraction.
"""

from __future__ import annotations

import math

from calibrant.allsky.snapshots import CalibrationData, Snapshot
from calibrant.allsky.steering import directions
from calibrant.errors import DataError

J2000 = 946728000.0
APART_DEG = 2.0
"""The sky turns so far in eight minutes, and satellites move faster."""


def sun_az_el(time: float, longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
    """(azimuth clockwise from north, elevation) of the sun in degrees at a UTC time (seconds since 1970)."""
    days = (time - J2000) / 86400.0
    mean = math.radians((357.528 + 0.9856003 * days) % 360)
    longitude = math.radians(280.460 + 0.9856474 * days + 1.915 * math.sin(mean) + 0.020 * math.sin(2 * mean))
    obliquity = math.radians(23.439 - 4e-7 * days)
    right_ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    sidereal = math.radians((280.46061837 + 360.98564736629 * days + longitude_deg) % 360)
    hour, latitude = sidereal - right_ascension, math.radians(latitude_deg)
    east = -math.cos(declination) * math.sin(hour)
    north = math.sin(declination) * math.cos(latitude) - math.cos(declination) * math.cos(hour) * math.sin(latitude)
    up = math.sin(declination) * math.sin(latitude) + math.cos(declination) * math.cos(hour) * math.cos(latitude)
    return math.degrees(math.atan2(east, north)) % 360, math.degrees(math.asin(max(-1.0, min(1.0, up))))


def check_catalogue_time(data: CalibrationData) -> None:
    """DataError where the sun of a snapshot's catalogue is not where it was when the data were taken."""
    for snapshot in data.snapshots:
        apart = sun_apart_deg(snapshot, data)
        if apart > APART_DEG:
            raise DataError(
                f"{snapshot.label}: the catalogue's sun is {apart:.1f} deg from where it stood at the time of the "
                "visibilities: the catalogue is of another time or place. Collect both together again, or take the "
                "sun out of the list if the directions are right"
            )


def sun_apart_deg(snapshot: Snapshot, data: CalibrationData) -> float:
    """Distance between the catalogue's sun and the computed one; nan where either is not known."""
    suns = [source for source in snapshot.sources if source.name.strip().lower() == "sun"]
    if not suns or math.isnan(snapshot.time + data.longitude_deg + data.latitude_deg):
        return math.nan
    here = directions(*sun_az_el(snapshot.time, data.longitude_deg, data.latitude_deg))
    there = directions(suns[0].az_deg, suns[0].el_deg)
    return math.degrees(math.acos(max(-1.0, min(1.0, float(here @ there)))))
