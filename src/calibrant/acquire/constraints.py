"""When a sequence may run: the constraints that a clock can answer."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Site
    from calibrant.acquire.sequence import Constraints

_DAY = 86400.0
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


def parse_time(text: str) -> float | None:
    """UTC seconds since 1970 of '2026-11-21T23:30:00' (or with a space, a Z, an offset); None for a time of day."""
    if _CLOCK.fullmatch(text):
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be UTC as 23:30 or 2026-11-21T23:30:00") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def start_time(text: str, now: float) -> float:
    """UTC seconds since 1970 of a start that a user wrote; empty is now, a time of day is the next one."""
    if not text:
        return now
    try:
        when = parse_time(text)
    except ValueError as error:
        raise ParameterError(f"start {text!r} {error}") from None
    return _nearest(text, now + _DAY / 2) if when is None else when


def _nearest(clock: str, to: float) -> float:
    """The time of day `clock` that lies within half a day of `to`."""
    match = _CLOCK.fullmatch(clock)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    second = hours * 3600 + minutes * 60 + seconds
    return to + (second - to % _DAY + _DAY / 2) % _DAY - _DAY / 2


def utc(seconds: float) -> str:
    """'2026-11-21 23:30:00 UTC'."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def broken(constraints: Constraints, begin: float, end: float, site: Site | None = None) -> list[str]:
    """What forbids running from `begin` to `end` (UTC, s), in words. Dome and predecessor are not a clock's matter."""
    faults = []
    if constraints.not_before and begin < (limit := _limit(constraints.not_before, begin)):
        faults.append(f"it would begin at {utc(begin)}, and may not before {utc(limit)} (constraints.not_before)")
    if constraints.not_after and end > (limit := _limit(constraints.not_after, end)):
        faults.append(f"it would end at {utc(end)}, and has to by {utc(limit)} (constraints.not_after)")
    if constraints.sun_alt is not None:
        faults += _sun_too_high(constraints.sun_alt, begin, end, site)
    return faults


def _limit(text: str, near: float) -> float:
    when = parse_time(text)
    return _nearest(text, near) if when is None else when


def _sun_too_high(highest: float, begin: float, end: float, site: Site | None) -> list[str]:
    if site is None:
        return ["constraints.sun_alt cannot be checked: the inventory has no site"]
    for what, when in (("begin", begin), ("end", end)):
        altitude = sun_altitude(site, when)
        if altitude > highest:
            return [
                f"it would {what} at {utc(when)} with the sun at {altitude:.1f} deg, and the sun has to be below "
                f"{highest:g} deg (constraints.sun_alt)"
            ]
    return []


def sun_altitude(site: Site, when: float) -> float:
    """Altitude of the sun's centre in degrees, without refraction; needs no network."""
    return float(sun_altitudes(site, np.array([when]))[0])


def sun_altitudes(site: Site, when: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same for many times (UTC seconds since 1970) at once."""
    import warnings

    from astropy import units
    from astropy.coordinates import AltAz, EarthLocation, get_sun
    from astropy.time import Time
    from astropy.utils import iers

    with (
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("auto_max_age", None),
        warnings.catch_warnings(),
    ):
        # The earth's rotation beyond the shipped tables is uncertain by a second: nothing here.
        warnings.simplefilter("ignore")
        time = Time(when, format="unix")
        place = EarthLocation(site.longitude * units.deg, site.latitude * units.deg, site.height * units.m)
        return np.asarray(get_sun(time).transform_to(AltAz(obstime=time, location=place)).alt.deg)
