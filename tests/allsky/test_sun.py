"""The sun's place, and catalogues of another time."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import skies

from calibrant.allsky.snapshots import CalibrationData
from calibrant.allsky.sun import check_catalogue_time, sun_apart_deg, sun_az_el
from calibrant.errors import DataError


@pytest.mark.parametrize(
    ("when", "longitude", "latitude", "az", "el"),
    [
        # Solstice noon at Greenwich: 90 - 51.4769 + 23.4365; equation of time -1.9 min.
        ("2024-06-20T12:01:51", 0.0, 51.4769, 180.0, 61.96),
        # December solstice, local noon in Dunedin: 90 - 45.85 + 23.44, to the north.
        ("2024-12-21T00:36:05", 170.5456, -45.85177, 0.0, 67.59),
        # Equinox on the equator at noon: overhead, within the declination of that hour.
        ("2024-03-20T06:00:00", 0.0, 0.0, 90.0, -1.9),
    ],
)
def test_known_places(when: str, longitude: float, latitude: float, az: float, el: float) -> None:
    time = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    found_az, found_el = sun_az_el(time, longitude, latitude)
    assert found_el == pytest.approx(el, abs=0.1)
    assert (found_az - az + 180) % 360 - 180 == pytest.approx(0.0, abs=0.4)


def moved(data: CalibrationData, seconds: float) -> CalibrationData:
    return replace(data, snapshots=tuple(replace(one, time=one.time + seconds) for one in data.snapshots))


def test_a_catalogue_of_another_time_is_refused() -> None:
    _, data = skies.simulated(antennas=6, satellites=5)
    check_catalogue_time(data)
    with pytest.raises(DataError, match=r"snapshot 1: the catalogue's sun is 1\d\.\d deg from where it stood"):
        check_catalogue_time(moved(data, 3600.0))


def test_without_a_sun_there_is_nothing_to_compare() -> None:
    _, data = skies.simulated(antennas=6, satellites=5)
    dark = skies.under(data, [[one for one in data.snapshots[0].sources if one.name != "sun"]])
    assert math.isnan(sun_apart_deg(dark.snapshots[0], dark))
    check_catalogue_time(moved(dark, 3600.0))


@pytest.mark.real_data
@pytest.mark.parametrize("name", [skies.DUNEDIN, skies.RHODES])
def test_real_catalogues_are_of_their_time(shared: Path, name: str) -> None:
    data = skies.real(shared, name)
    apart = [sun_apart_deg(one, data) for one in data.snapshots]
    assert all(math.isnan(one) or one < 0.5 for one in apart)
    check_catalogue_time(data)
