"""A night at a place: sunset, sunrise and twilights, without network.

A night runs from local noon to local noon. It is named by the date of its evening, and by its SJD as the SDSS does:
the MJD that begins in it, so that the night of 2025-11-15 in Chile is SJD 60995.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.acquire.constraints import sun_altitudes
from calibrant.errors import ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Site

DAY = 86400.0
MJD_1970 = 40587
TWILIGHTS = {"civil": -6.0, "nautical": -12.0, "astronomical": -18.0}
"""The sun's altitude where they end, degrees."""
_GRID_S = 900.0
STEPS = 3
"""Newton's steps from the grid: to a millisecond."""


@dataclass(frozen=True)
class Night:
    """Times are UTC seconds since 1970; None where the sun does not pass that altitude."""

    sjd: int
    evening: str
    """The date at local noon, as '2025-11-15'."""
    noon: float
    sunset: float | None
    sunrise: float | None
    dusk: dict[str, float | None]
    """End of each evening twilight."""
    dawn: dict[str, float | None]
    """Beginning of each morning twilight."""
    site: Site

    @property
    def end(self) -> float:
        """The next noon."""
        return self.noon + DAY

    def sun(self, when: float) -> float:
        """Its altitude, degrees."""
        return float(sun_altitudes(self.site, np.array([when]))[0])

    def local(self, when: float) -> datetime:
        """On the site's clocks."""
        return datetime.fromtimestamp(when, zone(self.site))

    def to_dict(self) -> dict[str, Any]:
        return {
            "sjd": self.sjd,
            "evening": self.evening,
            "sunset": stamp(self.sunset),
            "sunrise": stamp(self.sunrise),
            "dusk": {name: stamp(when) for name, when in self.dusk.items()},
            "dawn": {name: stamp(when) for name, when in self.dawn.items()},
        }


def stamp(when: float | None) -> str | None:
    """'2025-11-15T23:21:36Z'."""
    return None if when is None else f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"


def clock(when: float | None) -> str:
    """'23:21:36', or nothing for no limit."""
    return "" if when is None else f"{datetime.fromtimestamp(when, UTC):%H:%M:%S}"


def zone(site: Site) -> tzinfo:
    """The site's time zone; mean solar time where the inventory names none, or the system knows none."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if site.timezone:
        try:
            return ZoneInfo(site.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            pass
    return timezone(timedelta(minutes=round(_east(site) * 4)), "solar")


def night_of(site: Site, when: str | int = "", now: float = 0.0) -> Night:
    """The night of an evening's date ('2025-11-15') or SJD (60995); empty: the one that `now` lies in."""
    day = _day(str(when).strip(), site, now)
    noon = (day - MJD_1970 + 0.5 - _east(site) / 360) * DAY
    times = noon + np.arange(0.0, DAY + _GRID_S, _GRID_S)
    altitudes = sun_altitudes(site, times)
    lowest = int(np.argmin(altitudes))
    wanted = np.array([site.sunset_altitude, *TWILIGHTS.values()])
    evening = _passing(site, times[: lowest + 1], altitudes[: lowest + 1], wanted)
    morning = _passing(site, times[lowest:], altitudes[lowest:], wanted)
    return Night(
        sjd=day + 1,
        evening=(date(1858, 11, 17) + timedelta(days=day)).isoformat(),
        noon=noon,
        sunset=evening[0],
        sunrise=morning[0],
        dusk=dict(zip(TWILIGHTS, evening[1:], strict=True)),
        dawn=dict(zip(TWILIGHTS, morning[1:], strict=True)),
        site=site,
    )


def _passing(
    site: Site, times: NDArray[np.float64], altitudes: NDArray[np.float64], wanted: NDArray[np.float64]
) -> list[float | None]:
    """When the sun passes each altitude; Newton's steps from the grid. None where it does not."""
    above = altitudes[None, :] > wanted[:, None]
    passes = above[:, :-1] != above[:, 1:]
    there = passes.any(axis=1)
    place = passes.argmax(axis=1)[there]
    rate = np.diff(altitudes)[place] / np.diff(times)[place]
    when = times[place] + (wanted[there] - altitudes[place]) / rate
    for _ in range(STEPS if there.any() else 0):
        when += (wanted[there] - sun_altitudes(site, when)) / rate
    found = iter(when.tolist())
    return [next(found) if one else None for one in there]


def _day(when: str, site: Site, now: float) -> int:
    """The MJD of the evening's date."""
    if not when:
        return int(np.floor(now / DAY + _east(site) / 360 - 0.5)) + MJD_1970
    if re.fullmatch(r"\d{5}", when):
        return int(when) - 1
    try:
        return (date.fromisoformat(when) - date(1858, 11, 17)).days
    except ValueError:
        raise ParameterError(
            f"date {when!r}: expected the date of the evening, as 2025-11-15, or an SJD, as 60995"
        ) from None


def _east(site: Site) -> float:
    """Longitude within 180 degrees of Greenwich."""
    return (site.longitude + 180) % 360 - 180
