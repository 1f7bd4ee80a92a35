"""Every sentence of the verdict, from evidence made up for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import skies

from calibrant.allsky.calibration import Antenna, Calibration, FoundSource
from calibrant.allsky.verdict import judge


def source(name: str, state: str = "found", **changes: Any) -> FoundSource:
    return replace(FoundSource(1, name, 10.0, 50.0, math.inf, 0.1, 0.001, state), **changes)


def antennas(*states: str) -> tuple[Antenna, ...]:
    named = (*states, *["good"] * (24 - len(states)))
    return tuple(
        Antenna(k, 1.0, 0.0, *([0.01, 0.01] if state in ("good", "weak") else [np.nan, np.nan]), state)
        for k, state in enumerate(named)
    )


@pytest.fixture(scope="module")
def good() -> Calibration:
    """A calibration with which nothing is wrong."""
    _, data = skies.simulated(satellites=4)
    return Calibration(
        data=data,
        gamma=np.ones(24, dtype=np.complex128),
        antennas=antennas(),
        sources=tuple(source(name) for name in "abcde"),
        reference=0,
        rotation_deg=0.6,
        rotation_err_deg=0.05,
        rotation_state="fitted",
        mirror=False,
        power=0.94,
        held_out_power=0.91,
        null_power=0.20,
        chi2=200.0,
        noise=0.0015,
        scatter=0.03,
        agreement=0.75,
        starts=16,
        degrees=400,
        unknowns=90,
    )


def verdict(good: Calibration, **changes: Any) -> tuple[str, str]:
    """(word, first reason)"""
    judged = judge(replace(good, **changes))
    return judged.verdict, judged.reasons[0]


def test_good(good: Calibration) -> None:
    judged = judge(good)
    assert judged.verdict == "good"
    assert judged.reasons == (
        "The model explains 91.0 % of the power on baselines that were left out (94.0 % in sample); "
        "a shuffled sky 20 %.",
        "12 of 16 random starts agree.",
        "5 source(s) found, 0 silent.",
    )


def test_a_sky_that_explains_too_little(good: Calibration) -> None:
    word, reason = verdict(good, held_out_power=0.3, power=0.5)
    assert word == "do not upload"
    assert reason.startswith("The sky explains 30 % of the power on baselines that were left out; a calibration explai")


def test_a_negative_power_is_said_as_none(good: Calibration) -> None:
    assert "explains 0 %" in verdict(good, held_out_power=-2.0, power=0.3)[1]


def test_a_middling_sky_is_to_be_checked(good: Calibration) -> None:
    word, reason = verdict(good, held_out_power=0.65, power=0.7)
    assert word == "check"
    assert "something else is in the data, or something is not in the catalogue" in reason


def test_a_sky_no_better_than_a_shuffled_one(good: Calibration) -> None:
    word, reason = verdict(good, null_power=0.9)
    assert word == "do not upload"
    assert reason.startswith("A sky with shuffled azimuths explains 90 % of that power, nearly as much")


def test_two_sources_must_be_clearer(good: Calibration) -> None:
    two = tuple(source(name) for name in "ab")
    assert verdict(good, sources=two, held_out_power=0.8, null_power=0.65)[0] == "do not upload"
    assert verdict(good, held_out_power=0.8, null_power=0.65)[0] == "good"
    assert verdict(good, sources=two, held_out_power=0.99, null_power=0.8)[0] == "good"


def test_a_mirrored_array(good: Calibration) -> None:
    word, reason = verdict(
        good, mirror=True, rotation_deg=39.3, power=0.676, held_out_power=0.52, rival_power=0.504, null_power=0.11
    )
    assert word == "do not upload"
    assert reason.startswith("The sky fits only with the antennas mirrored east to west and turned by 39.3 deg; then")
    assert "68 % of the power (next best 50 %)" in reason and "upload with --positions --force" in reason


def test_a_turned_array(good: Calibration) -> None:
    word, reason = verdict(good, rotation_deg=-12.0, rival_power=0.5)
    assert word == "do not upload" and "antennas turned by -12.0 deg" in reason and "mirrored" not in reason


def test_an_orientation_that_is_not_clear(good: Calibration) -> None:
    word, reason = verdict(good, rotation_deg=80.0, power=0.6, held_out_power=0.55, rival_power=0.53)
    assert word == "do not upload"
    assert "another orientation explains nearly as much (53 %): none is certain" in reason


def test_a_given_source_that_is_silent(good: Calibration) -> None:
    word, reason = verdict(good, sources=(*good.sources, source("mast", "silent", given=True)))
    assert word == "do not upload" and reason.startswith("The given source mast was not found")


def test_a_given_source_that_is_heard_once(good: Calibration) -> None:
    """On in one snapshot, off in another."""
    both = (source("mast", given=True), source("mast", "silent", given=True, snapshot=2))
    assert verdict(good, sources=(*good.sources, *both))[0] == "good"


def test_one_of_many_satellites(good: Calibration) -> None:
    word, reason = verdict(good, sources=(source("a"), source("b", "silent")), null_power=np.nan)
    assert word == "do not upload"
    assert "Only one of 2 sources was found, and one source fits in any direction" in reason


@pytest.mark.parametrize("only", [source("a"), source("a", r_m=25.0), source("a", given=True)])
def test_one_source_that_is_known(good: Calibration, only: FoundSource) -> None:
    judged = judge(replace(good, sources=(only, source("sun", "silent")), null_power=np.nan, held_out_power=0.99))
    assert judged.verdict == "good"
    assert any("cannot show an error of its position" in reason for reason in judged.reasons)


def test_starts_that_do_not_agree(good: Calibration) -> None:
    word, reason = verdict(good, agreement=1 / 16)
    assert word == "check" and reason == "Only 1 of 16 random starts came to this solution. Take more snapshots."
    judged = judge(replace(good, agreement=1 / 16, held_out_power=0.6, power=0.65))
    assert judged.verdict == "do not upload" and "another run may find another" in judged.reasons[0]


def test_uncertain_phases(good: Calibration) -> None:
    blurred = (*antennas()[:7], replace(antennas()[7], phase_err=math.radians(14.0)), *antennas()[8:])
    assert verdict(good, antennas=blurred) == ("check", "The phase of antenna 7 is known to 14 deg only.")


def test_too_few_data(good: Calibration) -> None:
    word, reason = verdict(good, degrees=10, unknowns=50)
    assert word == "check" and reason.startswith("There are 60 data for 50 unknowns")


def test_most_antennas_gone(good: Calibration) -> None:
    word, reason = verdict(good, antennas=antennas(*["dead"] * 14))
    assert word == "do not upload" and reason.startswith("Only 10 of 24 antennas have a solution")


def test_antennas_are_named(good: Calibration) -> None:
    judged = judge(replace(good, antennas=antennas("good", "dead", "dead", "missing", "weak"), notes=("A note.",)))
    assert judged.verdict == "good"
    assert judged.reasons[-4:] == (
        "Antennas 1, 2: no signal.", "Antenna 3: no visibilities.", "Antenna 4: a weak signal.", "A note.",
    )  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_six_antennas_and_one_snapshot_are_never_simply_good(seed: int) -> None:
    from calibrant.allsky.calibration import calibrate

    _, data = skies.simulated(antennas=6, satellites=20, seed=seed)
    assert judge(calibrate(data)).verdict in ("check", "do not upload")
    assert judge(calibrate(skies.shuffled(data, seed))).verdict == "do not upload"
