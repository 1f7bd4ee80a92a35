"""Where a direction over the horizon is in the sky now: what a mount that knows only the sky is told."""

from __future__ import annotations

import math


def sidereal_time(utc: float, longitude: float) -> float:
    """Local sidereal time, degrees, to a few arc seconds (mean, UT1 = UTC); longitude in degrees, east positive."""
    days = utc / 86400 + 2440587.5 - 2451545.0
    return (280.46061837 + 360.98564736629 * days + longitude) % 360


def equatorial(altitude: float, azimuth: float, latitude: float, sidereal: float) -> tuple[float, float]:
    """Right ascension and declination (of date, no refraction), all in degrees; azimuth from north by east."""
    alt, az, lat = map(math.radians, (altitude, azimuth, latitude))
    sine = math.sin(alt) * math.sin(lat) + math.cos(alt) * math.cos(lat) * math.cos(az)
    east = -math.cos(alt) * math.sin(az)
    south = math.sin(alt) * math.cos(lat) - math.cos(alt) * math.sin(lat) * math.cos(az)
    hour_angle = math.degrees(math.atan2(east, south))
    return (sidereal - hour_angle) % 360, math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def separation(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Degrees between two directions (longitude, latitude)."""
    vectors = [
        (math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b))
        for a, b in ((math.radians(place[0]), math.radians(place[1])) for place in (one, other))
    ]
    return math.degrees(2 * math.asin(min(1.0, math.dist(*vectors) / 2)))
