"""The simulation keeps to the measurement equation, and its file is one that the calibration reads."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skies

from calibrant.allsky.simulate import file_positions, make_truth, to_json, truth_json, visibilities
from calibrant.allsky.snapshots import LIGHT, from_json, read_calibration_data
from calibrant.allsky.steering import directions, turned
from calibrant.allsky.sun import check_catalogue_time
from calibrant.allsky.verbs.simulate import simulate
from calibrant.errors import ExistsError, ParameterError


def test_visibilities_are_the_measurement_equation() -> None:
    truth = replace(make_truth(antennas=5, satellites=3, silent=0.0), noise=0.0)
    ((i, j, v),) = visibilities(truth)
    s = directions([one.az_deg for one in truth.sources[0]], [one.el_deg for one in truth.sources[0]])
    apart = truth.positions[i] - truth.positions[j]
    sky = (truth.fluxes[0] * np.exp(2j * np.pi * apart @ s.T * 1.57542e9 / LIGHT)).sum(axis=1)
    gamma = np.exp(1j * truth.phase) / truth.gain
    np.testing.assert_allclose(v, gamma[i] * gamma[j].conj() * sky, atol=1e-12)
    correction = truth.gain[i] * truth.gain[j] * np.exp(-1j * (truth.phase[i] - truth.phase[j]))
    np.testing.assert_allclose(v * correction, sky, atol=1e-12)


def test_noise_is_per_component() -> None:
    truth = make_truth(antennas=60, size_m=10, satellites=0, given=(skies.FAR,), given_flux=0.0, noise=0.01)
    ((_, _, v),) = visibilities(truth)
    assert v.real.std() == pytest.approx(0.01, rel=0.05) and v.imag.std() == pytest.approx(0.01, rel=0.05)


def test_missing_antennas_have_no_baselines() -> None:
    _, data = skies.simulated(antennas=6, satellites=4, missing=(2,))
    snapshot = data.snapshots[0]
    assert len(snapshot.visibility) == 10 and not np.any((snapshot.antenna1 == 2) | (snapshot.antenna2 == 2))


def test_the_files_positions_are_put_right_by_the_true_orientation() -> None:
    truth = make_truth(antennas=6, rotation_deg=30.0, mirror=True)
    np.testing.assert_allclose(turned(file_positions(truth), 30.0, mirror=True), truth.positions, atol=1e-12)


def test_the_catalogue_has_the_sun_and_no_beacon() -> None:
    truth = make_truth(antennas=6, satellites=4, given=(skies.NEAR,))
    names = [row["name"] for row in to_json(truth)["data"][0][1]]
    assert "beacon" not in names and names[-1] == "sun" and len(names) == 5
    check_catalogue_time(from_json(to_json(truth), "x"))


def test_the_truth_has_zeros_for_dead_antennas() -> None:
    made = truth_json(make_truth(antennas=6, dead=(1,), missing=(4,)))
    assert made["gain"][1] == made["gain"][4] == 0.0 and made["dead"] == [1] and made["missing"] == [4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"antennas": 3}, "needs 4 at least"),
        ({"dead": (24,)}, "there is no antenna 24"),
        ({"satellites": 0}, "needs a source"),
        ({"antennas": 300, "size_m": 0.5}, "do not fit on a disc"),
    ],
)
def test_arrays_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        make_truth(**options)


def test_the_verb_writes_a_file_and_its_truth(tmp_path: Path) -> None:
    path = tmp_path / "calib.json"
    result = simulate(str(path), antennas=8, satellites=6, snapshots=2, source=["az=0", "el=45", "r=25"])
    assert read_calibration_data(str(path)).positions.shape == (8, 3)
    assert Path(result.truth).name == "calib.truth.json" and Path(result.truth).exists()
    assert f"calibrate {path} --source az=0,el=45,r=25" in result.summary()
    assert math.isclose(result.to_dict()["sources"], 7)
    with pytest.raises(ExistsError):
        simulate(str(path))
