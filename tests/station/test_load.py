"""Logs put together: copies count once; sessions compared; pointings, sun and moon beside the points."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from calibrant.station.load import load
from calibrant.station.rules import RULES
from calibrant.station.simulate import Options, SimulatedStation, simulate_log
from calibrant.station.surroundings import add_surroundings
from calibrant.station.verbs.edit import edit


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedStation:
    options = Options(seed=6, hours=10, interval_min=30, detectors=2, vlbi=False, spoil=("pointing",))
    return simulate_log(tmp_path_factory.mktemp("load"), options)


def test_a_copy_of_a_log_counts_once(made: SimulatedStation, tmp_path: Path) -> None:
    packed = tmp_path / "again.log.gz"
    packed.write_bytes(gzip.compress(Path(made.log).read_bytes()))
    once, twice = load([made.log]), load([made.log, str(packed), made.log])
    assert len(once.points) == len(twice.points)
    (copy,) = twice.skipped[:1]
    assert {copy.file, made.log} == {str(packed), made.log} and "a copy of" in copy.reason
    other = simulate_log(tmp_path, Options(seed=7, name="sim002cb", hours=4, detectors=2, vlbi=False))
    assert len(load([made.log, other.log]).logs) == 2


def test_two_sessions_are_compared(made: SimulatedStation, tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "ben").mkdir()
    anna, ben = str(tmp_path / "anna"), str(tmp_path / "ben")
    edit([made.log], delete=True, scan="1~3", reason="rain", session=anna)
    edit([made.log], delete=True, scan="3~4", reason="snow", session=ben)
    (log,) = edit([made.log], session=anna, compare=ben).logs
    assert log.only_here == [("rain [1]", 12)] and log.only_there == [("snow [1]", 6)]
    text = edit([made.log], session=anna, compare=ben).summary()
    assert "deleted only here: 12 points" in text and f"deleted only in {ben}: 6 points" in text


def test_pointing_rule_finds_the_lost_pointings(made: SimulatedStation) -> None:
    """An offset that FIVPT found and set is none any more."""
    loaded = load([made.log])
    assert max(abs(one.lat_offset_deg) for one in loaded.logs[0].fivpts) > 0.001
    add_surroundings(loaded.points, loaded.logs, ["pointing_beams"])
    lost = {spoil.scan for spoil in made.truth.spoiled("pointing")}
    found = RULES["pointing"].apply(loaded.points)[0]
    assert lost and set(loaded.points["scan"][found].tolist()) == lost
    assert loaded.points["pointing_beams"][~found].max() < 0.002


@pytest.mark.real_data
def test_offsets_that_were_set_are_no_pointing_errors(shared: Path) -> None:
    """r1730ny: half a beam was found and set; r1749on: 0.06 beams were found and not set; r1722yg: the fits failed."""
    expected = {"r1730ny": 0.0, "r1749on": 0.06, "r1722yg": 1.0}
    for name, beams in expected.items():
        loaded = load([str(shared / f"data/fs_logs/{name}.log.gz")], session="none")
        add_surroundings(loaded.points, loaded.logs, ["pointing_beams", "sun_deg", "moon_deg"])
        assert loaded.points["pointing_beams"].max() == pytest.approx(beams, abs=0.005)
        assert np.all(loaded.points["sun_deg"] > 5)
