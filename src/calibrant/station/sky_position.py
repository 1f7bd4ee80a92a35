"""Azimuth and elevation of sources, the sun and the moon, without a network.

astropy's own tables of the Earth's rotation are used and never fetched anew: old ones cost less than a second of
arc in elevation, far below what planning needs. Positions are geometric (no refraction), as AQUIR compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.station.aquir import EPHEMERIS, Target

if TYPE_CHECKING:
    from calibrant.station.records import Site

Floats = NDArray[np.float64]
STEP = 300.0
"""Seconds between computed positions; straight lines between their directions are within 0.2 arc minutes."""


@dataclass(frozen=True)
class Tracks:
    """Azimuth (0..360, from north over east) and elevation in degrees, axes (source, time); times in s since 1970."""

    times: Floats
    azimuth_deg: Floats
    elevation_deg: Floats


def tracks(targets: Sequence[Target], site: Site, times: Floats) -> Tracks:
    """Where the targets are at increasing times (s since 1970 UTC) as seen from a site."""
    coarse = np.arange(times[0], times[-1] + STEP, STEP)
    if len(coarse) > len(times):
        coarse = times
    vectors = _directions(targets, site, coarse)
    if coarse is not times:
        place = (times - coarse[0]) / STEP
        left = np.minimum(place.astype(int), len(coarse) - 2)
        share = place - left
        vectors = vectors[..., left] * (1 - share) + vectors[..., left + 1] * share
    north, east, up = vectors
    azimuth = np.degrees(np.arctan2(east, north)) % 360.0
    return Tracks(times, azimuth, np.degrees(np.arctan2(up, np.hypot(north, east))))


def _directions(targets: Sequence[Target], site: Site, times: Floats) -> Floats:
    """Unit vectors (north, east, up) of shape (3, source, time)."""
    import astropy.units as u
    from astropy.coordinates import AltAz, EarthLocation
    from astropy.time import Time
    from astropy.utils import iers

    result = np.empty((3, len(targets), len(times)))
    names = [target.name.lower() for target in targets]
    fixed = [n for n, name in enumerate(names) if name not in EPHEMERIS]
    with (
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("auto_max_age", None),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
    ):
        moments = Time(times, format="unix", scale="utc")
        place = EarthLocation.from_geodetic(site.longitude_deg * u.deg, site.latitude_deg * u.deg, site.height_m * u.m)
        frame = AltAz(obstime=moments, location=place)
        if fixed:
            stars = _stars([targets[n] for n in fixed])[:, np.newaxis]
            seen = stars.transform_to(AltAz(obstime=moments[np.newaxis, :], location=place))
            result[:, fixed] = seen.cartesian.xyz.value
        for n, name in enumerate(names):
            if name in EPHEMERIS:
                result[:, n] = _body(name, moments, place, frame)
    return result


def _stars(targets: Sequence[Target]) -> Any:
    """Their ICRS coordinates: 1950 and before in FK4, later epochs in FK5 of that equinox."""
    import astropy.units as u
    from astropy.coordinates import FK4, FK5, SkyCoord

    places = np.empty((2, len(targets)))
    for n, target in enumerate(targets):
        frame = FK4(equinox=f"B{target.epoch}") if target.epoch < 1984 else FK5(equinox=f"J{target.epoch}")
        place = SkyCoord(target.ra_deg * u.deg, target.dec_deg * u.deg, frame=frame).icrs
        places[:, n] = place.ra.deg, place.dec.deg
    return SkyCoord(places[0] * u.deg, places[1] * u.deg, frame="icrs")


def _body(name: str, moments: Any, place: Any, frame: Any) -> Floats:
    """Topocentric direction of the sun or moon, from astropy's built-in ephemeris."""
    from astropy.coordinates import get_body, solar_system_ephemeris

    with solar_system_ephemeris.set("builtin"):
        xyz = get_body(name, moments, place).transform_to(frame).cartesian.xyz.value
    return np.asarray(xyz / np.linalg.norm(xyz, axis=0))
