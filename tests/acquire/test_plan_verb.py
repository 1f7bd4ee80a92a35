"""The verbs check and plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calibrant.acquire.constraints import broken, start_time, sun_altitude, utc
from calibrant.acquire.inventory import load_inventory
from calibrant.acquire.sequence import SEQUENCES, Constraints
from calibrant.acquire.verbs.check import check
from calibrant.acquire.verbs.plan import plan
from calibrant.errors import ParameterError
from calibrant.plain import plain

SITE = load_inventory("lvm").site


def test_check_of_a_valid_sequence() -> None:
    result = check("normal")
    assert result.exit_code == 0
    assert result.summary() == "normal: valid; inventory lvm can take its 12 frame(s) in 2610 s (0:43:30)."
    assert result.to_dict()["valid"] is True


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("lamps: {Quarz: {exposure_time: 1}}\n")
    result = check(str(path))
    assert result.exit_code == 1
    assert "Did you mean 'Quartz'" in result.summary()
    path.write_text("lamps: {Quartz: {exposure_time: -1}}\n")
    assert "lamps.Quartz.exposure_time" in check(str(path)).summary()
    path.write_text("lamps: {Quarz: {exposure_time: 1}, Xenn: {exposure_time: 1}}\n")
    first, second = check(str(path)).to_dict()["problems"]
    assert first.startswith("lamps.Quarz") and second.startswith("lamps.Xenn")
    assert check("norml").exit_code == 1
    with pytest.raises(ParameterError, match="name a sequence"):
        check()
    with pytest.raises(ParameterError, match="inventory"):
        check("normal", inventory="nowhere")


def test_check_prints_the_schema() -> None:
    result = check(schema=True)
    assert json.loads(result.summary()) == result.to_dict()
    assert result.to_dict()["additionalProperties"] is False


@pytest.mark.parametrize("name", SEQUENCES)
def test_plan_fits_the_terminal(name: str) -> None:
    lines = plan(name, start="2026-11-21T23:30:00").summary().splitlines()
    assert max(len(line) for line in lines) <= 100


def test_plan_tells_times_lamps_and_data() -> None:
    text = plan("normal", start="2026-11-21T23:30:00").summary()
    for words in (
        "2610 s (0:43:30)",
        "5 bias, 1 dark, 2 flat, 4 arc",
        "Begins 2026-11-21 23:30:00 UTC, ends 2026-11-22 00:13:30 UTC",
        "LDLS 6.5 min",
        "3.63 GB",
        "the slew is not counted",
        "dark-01 is read out beside the next steps",
    ):
        assert words in text.replace("\n", " ")


def test_overlap_is_seen_in_the_bars() -> None:
    lines = {
        line.split("|")[0].strip(): line.split("|")[1] for line in plan("normal").summary().splitlines() if "|" in line
    }
    assert list(lines) == ["LDLS", "Quartz", "Argon", "Neon", "HgNe", "Xenon", "mask", "exposing", "reading"]
    beside = [cell for cell, lamp in zip(lines["reading"], lines["Argon"], strict=False) if cell == "█" and lamp == "░"]
    assert beside


def test_plan_as_json() -> None:
    result = plain(plan("demo", start="12:00").to_dict())
    assert result["duration_s"] == 150
    assert [step["kind"] for step in result["steps"]][:3] == ["all_off", "expose", "readout"]
    assert result["frames"] == ["bias-01", "quartz-01"]
    json.dumps(result)


def test_constraints_forbid_a_start() -> None:
    begin = start_time("2026-11-21T23:30:00", 0.0)
    assert broken(Constraints(not_before="23:00", not_after="00:30"), begin, begin + 3000, SITE) == []
    assert "not_after" in broken(Constraints(not_after="00:30"), begin, begin + 3700, SITE)[0]
    assert "not_before" in broken(Constraints(not_before="2026-11-22T00:00:00"), begin, begin + 10, SITE)[0]
    assert "no site" in broken(Constraints(sun_alt=-12), begin, begin + 10)[0]


def test_constraint_on_the_sun() -> None:
    sunset = start_time("2025-11-15T23:15:00", 0.0)
    assert SITE is not None
    assert sun_altitude(SITE, sunset) == pytest.approx(-0.84, abs=0.02)
    assert "sun at -0.8 deg" in broken(Constraints(sun_alt=-5), sunset, sunset + 60, SITE)[0]
    assert broken(Constraints(sun_alt=-5), sunset + 3600, sunset + 3700, SITE) == []


def test_plan_with_a_forbidden_start_fails(tmp_path: Path) -> None:
    path = tmp_path / "late.yaml"
    path.write_text("biases: {count: 1}\nconstraints: {not_before: 2030-01-01T00:00:00, dome: closed}\n")
    result = plan(str(path), start="2026-11-21T23:30:00")
    assert result.exit_code == 1
    assert "may not run: it would begin at" in result.summary()
    assert "the dome has to be closed" in result.summary()
    assert plan(str(path)).exit_code == 0


def test_start_is_a_time_or_refused() -> None:
    assert utc(start_time("23:30", start_time("2026-11-21T20:00:00", 0.0))) == "2026-11-21 23:30:00 UTC"
    assert utc(start_time("03:00", start_time("2026-11-21T20:00:00", 0.0))) == "2026-11-22 03:00:00 UTC"
    with pytest.raises(ParameterError, match="start 'soon'"):
        start_time("soon", 0.0)
