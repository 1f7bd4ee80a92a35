"""The schedule of a night: sun, windows, order, gort's file, and what LVM really took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.acquire import twilight
from calibrant.acquire.calibrations import load_calendar
from calibrant.acquire.inventory import Inventory, Site, load_inventory
from calibrant.acquire.night import night_of, stamp
from calibrant.acquire.schedule import Slot, derive, window
from calibrant.acquire.verbs.schedule import schedule
from calibrant.errors import FormatError, ParameterError

EVENING = "2025-11-15"
TWILIGHT_FLATS = [1, 1.9, 3.3, 5.2, 7.9, 11.9, 17.8, 27.1, 42.6, 71.4, 135.7, 300]
FIRST_FLAT_S, FIRST_ARC_S = 266, 2030
"""Taken at LVM in the night of 2025-11-15: exposure times, and seconds after sunset (lvmcore, exposure_list_60995)."""
CALS = ["arc 10 s", "arc 50 s", "flat 20 s", "flat 150 s"]


@pytest.fixture(scope="module")
def lvm() -> Inventory:
    return load_inventory("lvm")


def site(lvm: Inventory) -> Site:
    assert lvm.site is not None
    return lvm.site


def entry(**more: Any) -> dict[str, Any]:
    return {"name": "one", "recipe": "demo", "min_start_time": 0, "time_mode": "secs_after_sunset", **more}


def slots(lvm: Inventory, *entries: dict[str, Any], **options: Any) -> dict[str, Slot]:
    night = night_of(site(lvm), EVENING)
    return {slot.entry.name: slot for slot in derive(load_calendar(entries), lvm, night, **options)}


# ---- the night


def test_night(lvm: Inventory) -> None:
    night = night_of(site(lvm), EVENING)
    assert (night.sjd, night.evening) == (60995, EVENING)
    assert night_of(site(lvm), 60995) == night
    assert night_of(site(lvm), "", now=night.noon + 1) == night == night_of(site(lvm), "", now=night.end - 1)
    assert night.sunset is not None and night.sunrise is not None
    assert night.sun(night.sunset) == pytest.approx(-2.174, abs=1e-4)
    assert f"{night.local(night.sunset):%H:%M}" == "20:21"
    times = [night.noon, night.sunset, *night.dusk.values(), *reversed(night.dawn.values()), night.sunrise, night.end]
    assert times == sorted(t for t in times if t is not None)
    for altitude, when in zip((-6, -12, -18), night.dusk.values(), strict=True):
        assert when is not None and night.sun(when) == pytest.approx(altitude, abs=1e-3)


def test_midnight_sun_and_polar_night() -> None:
    north = Site(longitude=20.0, latitude=70.0)
    summer, winter = night_of(north, "2026-06-21"), night_of(north, "2026-12-21")
    assert summer.sunset is None and winter.sunset is None and winter.dusk["astronomical"] is not None
    entries = load_calendar([entry()])
    with pytest.raises(ParameterError, match="does not set"):
        window(entries[0], summer)


@pytest.mark.parametrize("date", ["15.11.2025", "2025-13-01", "609950"])
def test_wrong_date(lvm: Inventory, date: str) -> None:
    with pytest.raises(ParameterError, match="2025-11-15, or an SJD"):
        night_of(site(lvm), date)


@pytest.mark.real_data
def test_sun_against_lvm_ephemeris(lvm: Inventory, shared: Path) -> None:
    """Twenty years of lvmopstools' table: within two seconds."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(shared / "data/lvm/lvmopstools_ephemeris_59945_62866.parquet").to_pylist()
    sunset, sunrise = [], []
    for row in table[::150]:
        night = night_of(site(lvm), row["SJD"])
        assert night.evening == row["date"] and night.sunset is not None and night.sunrise is not None
        sunset.append(night.sunset - (row["sunset"] - 2440587.5) * 86400)
        sunrise.append(night.sunrise - (row["sunrise"] - 2440587.5) * 86400)
    assert np.abs(sunset).max() < 2.5 and np.abs(sunrise).max() < 2.5
    assert abs(np.median(sunset)) < 1 and abs(np.median(sunrise)) < 1


# ---- twilight flats


def test_twilight_formula_and_limits() -> None:
    flats = twilight.sky_flats(0.0, 0.0, "evening", 64.0, [f"P1-{n}" for n in range(1, 13)])
    assert [flat.exposure_s for flat in flats] == pytest.approx(TWILIGHT_FLATS, rel=0.06)
    assert flats[0].begin == pytest.approx(FIRST_FLAT_S, abs=3)
    assert [flat.fibre for flat in flats] == [f"P1-{n}" for n in range(1, 13)]
    for flat in flats[1:-1]:
        assert flat.exposure_s == pytest.approx(twilight.exposure_time(flat.begin - 5), abs=0.06)


def test_more_flats_while_they_are_short() -> None:
    """A fast detector has time for more than one round before 100 s are reached."""
    flats = twilight.sky_flats(0.0, 0.0, "evening", 5.0, ["P1-1", "P1-2"])
    assert len(flats) > 12 and all(flat.exposure_s <= 100 for flat in flats)
    assert flats[2].fibre == "P1-1"


def test_late_flats_are_cut_at_300_s() -> None:
    flats = twilight.sky_flats(0.0, 1400.0, "evening", 64.0, [f"P1-{n}" for n in range(1, 13)])
    assert [flat.exposure_s for flat in flats] == [300.0] * 12


def test_morning_flats_become_shorter() -> None:
    flats = twilight.sky_flats(0.0, -3600.0, "morning", 64.0, [f"P1-{n}" for n in range(1, 13)])
    times = [flat.exposure_s for flat in flats]
    assert times == sorted(times, reverse=True) and flats[0].begin >= -900
    assert times[0] <= 400 and times[-1] >= 1


def test_twilight_plan_keeps_its_times(lvm: Inventory) -> None:
    plan = twilight.twilight_plan(lvm, 1000.0, 1000.0, "evening", 60995)
    assert [step.kind for step in plan.steps[:5]] == ["all_off", "point", "wait", "expose", "readout"]
    assert plan.steps[1].place == "sunset_sky" and plan.steps[1].options["coordinates"]["sci"] == [40.0, 270.0]
    exposures = plan.frames
    waits = [step for step in plan.steps if step.kind == "wait"]
    for before, after, wait in zip(exposures, exposures[1:], waits[1:], strict=False):
        assert wait.options["interval_s"] == pytest.approx(after.start_s - before.start_s)
        assert after.start_s - before.start_s == pytest.approx(before.exposure_s + 64)
    assert {step.mask_start for step in exposures} == {f"P1-{n}" for n in range(1, 13)}
    assert all(step.options["on_failure"] == "skip" for step in exposures)


# ---- gort's file


@pytest.mark.real_data
def test_gort_file_is_read_unchanged(shared: Path) -> None:
    given = load_calendar(shared / "data/lvm/gort_calibrations.yaml")
    assert given == load_calendar("lvm")
    assert [one.name for one in given] == [
        "twilight_flats_sunset", "quick_cals", "bias_sequence", "long_term_calibrations",
    ]  # fmt: skip
    assert given[0].max_try_time == 600 and given[3].disabled and given[1].max_try_time == 300


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (entry(recipe="quick_cal"), ["calibrations[0].recipe", "'quick_cal'", "Did you mean 'quick_cals'"]),
        (entry(time_mode="secs_after_sunest"), ["secs_before_sunrise", "Did you mean 'secs_after_sunset'"]),
        (entry(max_starttime=3), ["unknown key", "Did you mean 'max_start_time'"]),
        (entry(after="two"), ["calibrations[0].after", "'two'", "allowed: one"]),
        (entry(after="one"), ["one after one", "none can be the first"]),
        (entry(max_start_time=-1), ["min_start_time 0 is later than max_start_time -1"]),
        (entry(time_mode="secs_before_sunrise", min_start_time=600, max_start_time=900), ["larger number"]),
        (entry(min_start_time="soon"), ["min_start_time", "'soon'"]),
        (entry(dome="shut"), ["dome", "open, closed"]),
        ({"name": "one", "recipe": "demo"}, ["min_start_time, or after"]),
        ({"name": "one", "recipe": "demo", "min_start_time": 3}, ["time_mode"]),
        ({"recipe": "demo"}, ["calibrations[0].name", "required"]),
    ],
)  # fmt: skip
def test_what_is_refused(wrong: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(FormatError) as error:
        load_calendar([wrong])
    for word in words:
        assert word in str(error.value)


def test_names_twice_files_and_lists(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="has this name, too"):
        load_calendar([entry(), entry()])
    (tmp_path / "mine.yaml").write_text("biases: {count: 1}")
    (tmp_path / "list.json").write_text(json.dumps([entry(recipe="mine.yaml")]))
    assert load_calendar(tmp_path / "list.json")[0].recipe == str(tmp_path / "mine.yaml")
    with pytest.raises(FormatError, match="no such file"):
        load_calendar([entry(recipe="other.yaml")])
    (tmp_path / "list.yaml").write_text("name: one")
    with pytest.raises(FormatError, match="expected a list"):
        load_calendar(tmp_path / "list.yaml")
    with pytest.raises(ParameterError, match="Did you mean 'lvm'"):
        load_calendar("lvn")


# ---- what runs when


def test_the_night_that_was_taken(lvm: Inventory) -> None:
    """2025-11-15: twilight flats from 266 s, quick_cals with the first arc at 2030 s, seven biases: as taken."""
    night = night_of(site(lvm), EVENING)
    assert night.sunset is not None
    found = derive(load_calendar("lvm"), lvm, night)
    assert [slot.state for slot in found] == ["planned", "planned", "planned", "disabled"]
    flats, cals, biases = found[:3]
    assert [float(words.split()[1]) for words in flats.frames] == pytest.approx(TWILIGHT_FLATS, rel=0.06)
    assert list(cals.frames) == CALS and list(biases.frames) == ["bias"] * 7
    assert flats.begin == flats.earliest == night.sunset
    assert flats.end is not None and cals.begin == night.sunset + 1800 > flats.end
    assert biases.begin == cals.end and biases.latest == night.sunset + 3600
    # As taken: the warm-up of 180 s comes before the first arc; the slew and the lamps' switching are not counted.
    assert 0 < FIRST_ARC_S - (1800 + 180) < 60
    assert cals.notes[0] == "dome closed" and "after quick_cals" in biases.notes


def test_priority_conflicts_and_lateness(lvm: Inventory) -> None:
    low, high = entry(name="low", priority=1, max_start_time=100), entry(name="high", recipe="normal", priority=9)
    third = entry(name="third", priority=0, max_start_time=4000)
    found = slots(lvm, low, high, third)
    assert (found["high"].state, found["third"].state) == ("planned", "planned")
    assert "while high was under way" in found["low"].reasons[0] and found["low"].state == "impossible"
    assert "begins 2610 s after its window opens: high is under way" in found["third"].notes[0]


def test_after_disabled_and_after_failed(lvm: Inventory) -> None:
    chain = [entry(name="first", disabled=True), entry(name="second", after="first", min_start_time=None)]
    assert slots(lvm, *chain)["second"].reasons == ("it waits for first, which is disabled",)
    night = night_of(site(lvm), EVENING)
    late = [entry(name="first", max_start_time=10), entry(name="second", after="first", min_start_time=None)]
    # As in gort: what is too late is over, and what comes after it may run.
    found = slots(lvm, *late, start=(night.sunset or 0) + 100)
    assert (found["first"].state, found["second"].state) == ("impossible", "planned")
    assert slots(lvm, *late, over=["first"])["first"].state == "over"


def test_time_modes(lvm: Inventory) -> None:
    night = night_of(site(lvm), EVENING)

    def found(mode: str, first: float, last: float | None = None) -> list[str | None]:
        given = load_calendar([entry(time_mode=mode, min_start_time=first, max_start_time=last)])
        return [stamp(when) for when in window(given[0], night)]

    assert found("utc", 23.5, 1) == ["2025-11-15T23:30:00Z", "2025-11-16T01:00:00Z"]
    assert found("jd", 2460995.5) == ["2025-11-16T00:00:00Z", None]
    assert found("secs_before_sunrise", 900, 600) == ["2025-11-16T09:18:13Z", "2025-11-16T09:23:13Z"]
    morning = entry(recipe="twilight_flats", time_mode="secs_before_sunrise", min_start_time=900, max_start_time=600)
    flats = slots(lvm, morning)["one"]
    assert flats.state == "planned" and flats.sun is not None and flats.sun[1] > flats.sun[0]
    assert slots(lvm, entry(time_mode="jd", min_start_time=2460000))["one"].state == "planned"
    assert "before the next noon" in slots(lvm, entry(time_mode="jd", min_start_time=2470000))["one"].reasons[0]


def test_sequences_constraints_hold(lvm: Inventory) -> None:
    assert "wants the dome closed" in slots(lvm, entry(recipe="quick_cals", dome="open"))["one"].reasons[0]
    assert "wants quick_cals before" in slots(lvm, entry(recipe="bias_sequence"))["one"].reasons[0]
    assert "no mask" in slots(load_inventory("lvm").model_copy(update={"mask": None}), entry(recipe="twilight_flats"))[
        "one"
    ].reasons[0]  # fmt: skip


# ---- the verb


def test_verb(tmp_path: Path) -> None:
    result = schedule("lvm", date=EVENING)
    words = result.summary()
    assert all(len(line) <= 100 for line in words.splitlines())
    for text in (
        "SJD 60995",
        "Sunset  23:21:36 (20:21); dusk: civil 23:40:47",
        "12 frames: flat 1, 2,",
        "7 x bias",
        "it is disabled",
    ):
        assert text in words
    assert result.exit_code == 0
    content = json.loads(json.dumps(result.to_dict()))
    assert [one["state"] for one in content["calibrations"]] == ["planned"] * 3 + ["disabled"]
    assert content["calibrations"][1]["begin"] == "2025-11-15T23:51:36Z"
    late = tmp_path / "late.json"
    late.write_text(json.dumps([entry(time_mode="jd", min_start_time=2470000)]))
    assert schedule(str(late), date=EVENING).exit_code == 1
    with pytest.raises(ParameterError, match="is not now"):
        schedule("lvm", date=EVENING, run=True)
    with pytest.raises(ParameterError, match="add --simulate"):
        schedule("lvm", date=EVENING, run=True, speed=10)
