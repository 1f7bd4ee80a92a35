"""Comparisons with the truth notice what is wrong: a table, a flux or flags that are off."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.jobs.calibrate import calibrate
from calibrant.pipeline.result import CalibrationResult, Flux
from calibrant.pipeline.truth import SIGMAS, Comparison, _within, compare
from calibrant.simulation import Truth, load_truth, simulate

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[CalibrationResult, Truth]:
    """A small observation, calibrated."""
    folder = tmp_path_factory.mktemp("truth")
    ms = str(folder / "a.ms")
    simulate(ms, nant=8, nchan=64, nspw=1, cycles=2, bandpass_time=60, flux_time=60, target_time=60, bad_antennas=1)
    return calibrate(ms, output=str(folder / "out")), load_truth(ms)


def off(result: CalibrationResult, truth: Truth) -> list[str]:
    return [item.what for item in compare(result, truth) if not item.ok]


def test_everything_agrees(run: tuple[CalibrationResult, Truth]) -> None:
    assert off(*run) == []


def test_a_flux_that_is_off(run: tuple[CalibrationResult, Truth]) -> None:
    result, truth = run
    wrong = [dataclasses.replace(f, flux_jy=1.1 * f.flux_jy) if f.field == "J1337-1257" else f for f in result.fluxes]
    assert off(dataclasses.replace(result, fluxes=wrong), truth) == ["flux density of J1337-1257, spw 0 (Jy)"]


def test_gains_that_are_off(run: tuple[CalibrationResult, Truth]) -> None:
    result, truth = run
    turned = truth.phase.copy()
    turned[:, 3:5] += np.radians(3.0)
    found = off(result, dataclasses.replace(truth, phase=turned))
    assert found == ["phase of the gains, spw 0, rms error (deg)"]
    larger = truth.amplitude.copy()
    larger[:, 3:5] *= 1.05
    assert off(result, dataclasses.replace(truth, amplitude=larger)) == [
        "amplitude of the gains, spw 0, rms relative error"
    ]


def test_a_sky_that_is_off(run: tuple[CalibrationResult, Truth]) -> None:
    result, truth = run
    flux = [spw.copy() for spw in truth.flux]
    flux[0][truth.roles.index("target")] *= 1.1
    found = off(result, dataclasses.replace(truth, flux=flux))
    assert "target, spw 0: calibrated over true visibilities" in found


def test_bad_data_that_were_not_flagged(run: tuple[CalibrationResult, Truth]) -> None:
    """As if a good antenna had been bad, and every integration interfered with."""
    result, truth = run
    bad = truth.bad_antennas[0]
    good = next(n for n in range(len(truth.antenna)) if n != bad["antenna"])
    more = [bad, {**bad, "antenna": good, "name": truth.antenna[good], "first": 0}]
    assert "bad antennas: share that was flagged" in off(result, dataclasses.replace(truth, bad_antennas=more))
    rfi = np.array([[0, 9, 0, len(truth.time) - 1, -1, 1.0]])
    assert off(result, dataclasses.replace(truth, rfi=rfi)) == ["interference: share that was flagged"]


def test_trouble_that_did_not_happen_is_not_compared(run: tuple[CalibrationResult, Truth]) -> None:
    result, truth = run
    quiet = dataclasses.replace(truth, rfi=np.zeros((0, 6)), zeroed=np.zeros((0, 2), np.int32))
    words = " ".join(item.what for item in compare(result, quiet))
    assert "interference" not in words and "zeros" not in words and "bad antennas" in words


@pytest.mark.parametrize(("got", "ok"), [(1.0, True), (1 + 0.99 * SIGMAS * 0.1, True), (1.5, False), (np.nan, False)])
def test_within_its_error(got: float, ok: bool) -> None:
    made = _within("flux", 1.0, got, 0.1)
    assert made == Comparison("flux", 1.0, pytest.approx(got, nan_ok=True), 0.1, ok, SIGMAS * 0.1)  # type: ignore[arg-type]
    assert made.line().startswith("  ok  flux" if ok else "  OFF flux")
    values: dict[str, Any] = made.to_dict()
    assert list(values) == ["what", "expected", "got", "sigma", "ok", "limit"] and type(values["ok"]) is bool


def test_flux_from_the_standard_has_no_error_of_its_own(run: tuple[CalibrationResult, Truth]) -> None:
    result, truth = run
    standard = Flux("3C286", 0, 40e9, 1.6, 0.0, "standard")
    (first,) = [c for c in compare(dataclasses.replace(result, fluxes=[standard]), truth) if "flux density" in c.what]
    assert first.sigma == pytest.approx(1e-3 * first.expected)


def test_the_truth_is_beside_the_data(run: tuple[CalibrationResult, Truth]) -> None:
    assert Path(run[0].ms + ".truth.npz").is_file()
