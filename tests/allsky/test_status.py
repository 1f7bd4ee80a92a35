"""The health of a telescope in words, over real HTTP."""

from __future__ import annotations

from typing import Any

import fabricated_array as made
import pytest

from calibrant.allsky.api import Telescope
from calibrant.allsky.status import Status, status
from calibrant.allsky.verbs.status import status as verb
from calibrant.errors import ServerError
from calibrant.simulation.tart_api import FakeTelescope, Fault

NOON = 1795255200.0
"""2026-11-21T10:00:00Z, when the first snapshot was taken."""


def at(api: Telescope, later_s: float = 3.0) -> Status:
    return status(api, NOON + later_s)


def test_a_healthy_telescope(both: FakeTelescope, both_api: Telescope) -> None:
    found = at(both_api)
    assert (found.verdict, found.reasons, found.missing) == ("ok", [], [])
    assert found.summary().splitlines() == [
        "Test Hill: ok",
        "Mode: vis",
        f"Latest visibilities: {made.TIMES[0]}, 3 s ago; 15 baselines",
        "Antennas: 6 of 6 enabled",
    ]


def change(**fields: Any) -> dict[str, Any]:
    return fields


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (change(mode="off"), "The telescope is off"),
        (change(mode="raw"), "No visibilities are made in mode raw"),
        (change(blind=True), "There are no visibilities"),
        (change(disabled={1, 4}), "Antenna(s) 1, 4 are switched off"),
        (change(radio_mean={3: 0.98}), "Radio mean out of bounds for channel(s) 3 (0.98)"),
        (
            change(gains={"gain": [1, None, 1, 0, 1, 1], "phase_offset": [0, 1, 2, 0, 1, None]}),
            "null for antenna(s) 1, 5",
        ),
        (change(gains={"gain": [1, 1, 1, 0, 1, 1], "phase_offset": [0, 1, 2, 0, 1, 1]}), "0 (dead) for antenna(s) 3"),
        (change(gains={"gain": [1.0] * 6, "phase_offset": [0.0] * 6}), "not calibrated"),
        (change(gains={"gain": [1.0] * 4, "phase_offset": [0, 1, 2, 3]}), "info 6, positions 6, gains 4, phases 4"),
    ],
)
def test_what_is_wrong_is_said(both: FakeTelescope, both_api: Telescope, fields: dict[str, Any], words: str) -> None:
    for name, value in fields.items():
        setattr(both, name, value)
    found = at(both_api)
    assert found.verdict == "check" and words in " ".join(found.summary().split())


def test_stale_and_future_visibilities(api: Telescope, telescope: FakeTelescope) -> None:
    telescope.frozen = True
    assert "old: 3 hours ago" in at(api, 10800.0).summary()
    assert "from the future" in at(api, -3600.0).summary()


def test_times_without_zone_are_utc(api: Telescope, telescope: FakeTelescope) -> None:
    telescope.zone = False
    assert at(api).age_s == 3.0


def test_switched_off_antennas_are_not_also_silent_or_bad(api: Telescope, telescope: FakeTelescope) -> None:
    telescope.disabled, telescope.radio_mean = {2}, {2: 0.0}
    found = at(api)
    assert (found.disabled, found.silent, found.bad_radio) == ([2], [], [])


def test_enabled_antenna_without_visibilities(api: Telescope, telescope: FakeTelescope) -> None:
    rows = telescope.content["data"][0][0]["data"]
    telescope.content["data"][0][0]["data"] = [row for row in rows if 5 not in (row["i"], row["j"])]
    assert "Antenna(s) 5 are on but have no visibilities" in at(api).summary()


@pytest.mark.parametrize("path", ["mode/current", "channel", "status/channel", "status/fpga", "calibration/gain"])
def test_endpoints_that_fail_are_named(both: FakeTelescope, both_api: Telescope, path: str) -> None:
    both.faults = [Fault("error", path)]
    found = at(both_api)
    assert found.missing == [f"{path} (status 500)"] and f"Not answered: {path}" in found.summary()


def test_dead_telescope_is_an_error(api: Telescope, telescope: FakeTelescope) -> None:
    telescope.faults = [Fault("die", after=3)]
    with pytest.raises(ServerError):
        at(api)


def test_verb(url: str) -> None:
    found = verb(url).to_dict()
    assert found["verdict"] in ("ok", "check") and found["antennas"] == 6
