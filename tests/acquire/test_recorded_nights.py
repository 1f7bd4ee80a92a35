"""The schedule against what the LVM recorded: one night in detail, and how many of all nights match.

The lists are parquet files; without pyarrow (not a dependency) these tests are skipped by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire import twilight
from calibrant.acquire.calibrations import load_calendar
from calibrant.acquire.inventory import load_inventory
from calibrant.acquire.night import night_of
from calibrant.acquire.schedule import derive

pytestmark = [pytest.mark.real_data, pytest.mark.slow]
ARCHIVE = "data/lvm/lvmcore_exposure_list.tar.xz"
LAMPS = ("Argon", "Neon", "LDLS", "Quartz", "HgNe", "Xenon")
FIRST_SJD = 60900
"""From August 2025 on, gort took calibrations as its list says; before, it took others, or with other times."""
QUICK_CALS = [
    ("arc", 10.0, ("Argon", "Neon", "HgNe", "Xenon")),
    ("arc", 50.0, ("Argon", "Neon", "HgNe", "Xenon")),
    ("flat", 20.0, ("Quartz",)),
    ("flat", 150.0, ("LDLS",)),
]
BEFORE_ARC_S = 180.0
SETTING_UP_S = 60.0
"""Slew, mask and lamps, before the warm-up."""
Exposure = tuple[float, str, float, tuple[str, ...]]
"""Seconds after sunset, kind, exposure time, lamps."""


@pytest.fixture(scope="module")
def nights(unpack: Callable[[str], Path]) -> dict[int, list[Exposure]]:
    """SJD -> the exposures of the first three hours after sunset."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = unpack(ARCHIVE)
    site = load_inventory("lvm").site
    assert site is not None
    found = {}
    for path in sorted(folder.rglob("exposure_list_6*.parquet")):
        rows = parquet.read_table(path).to_pylist()
        if not rows or rows[0]["mjd"] < FIRST_SJD:
            continue
        sunset = night_of(site, rows[0]["mjd"]).sunset
        assert sunset is not None
        taken = sorted(_exposure(row, sunset) for row in rows)
        found[rows[0]["mjd"]] = [one for one in taken if 0 < one[0] < 10800]
    return found


def _exposure(row: dict[str, Any], sunset: float) -> Exposure:
    begin = datetime.fromisoformat(row["obstime"]).replace(tzinfo=UTC).timestamp()
    lamps = tuple(name for name in LAMPS if row[name])
    return begin - sunset, row["image_type"], round(row["exposure_time"], 1), lamps


def sky_flats(taken: list[Exposure]) -> list[Exposure]:
    return [one for one in taken if one[1] == "flat" and not one[3] and one[0] < 2400]


def mismatches(taken: list[Exposure]) -> list[str]:
    """What of a night is not as the schedule says."""
    if not taken:
        return ["nothing was taken"]
    faults = []
    flats = sky_flats(taken)
    if not flats:
        faults.append("no twilight flats")
    else:
        if not 12 <= len(flats) <= 13:
            faults.append("not 12 twilight flats")
        if not 120 < flats[0][0] < 600:
            faults.append("twilight flats outside their window")
        expected = [min(max(twilight.exposure_time(one[0] - 5), 1.0), 300.0) for one in flats]
        if any(abs(one[2] - t) > max(0.06 * t, 0.35) for one, t in zip(flats, expected, strict=True)):
            faults.append("other twilight exposure times")
    said = [one[1:] for one in taken]
    at = next((place for place in range(len(said)) if said[place : place + 4] == QUICK_CALS), None)
    if at is None:
        return [*faults, "no quick_cals"]
    began = taken[at][0] - BEFORE_ARC_S
    if not 1800 <= began <= 3600 + SETTING_UP_S:
        faults.append("quick_cals outside their window")
    if flats and flats[-1][0] > taken[at][0]:
        faults.append("another order")
    if [one[1] for one in taken[at + 4 : at + 11]] != ["bias"] * 7:
        faults.append("no seven biases after quick_cals")
    return faults


def test_the_night_of_2025_11_15(nights: dict[int, list[Exposure]]) -> None:
    """What we derive is what was taken: the same frames in the same order, each calibration within its window."""
    lvm = load_inventory("lvm")
    assert lvm.site is not None
    night = night_of(lvm.site, "2025-11-15")
    flats, cals, biases, _ = derive(load_calendar("lvm"), lvm, night)
    derived = [*flats.frames, *cals.frames, *biases.frames]
    taken = nights[60995][:23]
    assert [frame.split()[0] for frame in derived] == [one[1] for one in taken]
    times = [float(frame.split()[1]) if " " in frame else 0.0 for frame in derived]
    assert times == pytest.approx([one[2] for one in taken], rel=0.06)
    assert [one[3] for one in taken[12:16]] == [lamps for _, _, lamps in QUICK_CALS]
    sunset = night.sunset or 0.0
    begins = [taken[0][0], taken[12][0] - BEFORE_ARC_S, taken[16][0]]
    for slot, began in zip((flats, cals, biases), begins, strict=True):
        assert (slot.earliest or 0.0) - sunset <= began <= (slot.latest or 0.0) - sunset
    assert mismatches(nights[60995]) == []


def test_how_many_nights_match(nights: dict[int, list[Exposure]]) -> None:
    """Of 332 nights, two thirds match in full; most of the others lack sky flats: the dome stayed closed."""
    faults = {sjd: mismatches(taken) for sjd, taken in nights.items()}
    count = Counter(fault for night in faults.values() for fault in night)
    matching = sum(not night for night in faults.values())
    open_sky = {sjd for sjd, night in faults.items() if not {"no twilight flats", "nothing was taken"} & set(night)}
    in_lamps = sum(not any("quick_cals" in fault or "nothing" in fault for fault in night) for night in faults.values())
    assert len(faults) > 300
    assert matching / len(faults) > 0.62, count
    assert sum(not faults[sjd] for sjd in open_sky) / len(open_sky) > 0.88, count
    assert in_lamps / len(faults) > 0.92, count
    assert count.most_common(1)[0][0] == "no twilight flats"
