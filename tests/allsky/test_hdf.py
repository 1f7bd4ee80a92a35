"""HDF5 files of telescopes: read, averaged, and not believed under a sky of another day."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import skies

from calibrant.allsky.calibration import calibrate
from calibrant.allsky.hdf import mean_noise, read_vis_hdf
from calibrant.allsky.snapshots import read_catalogue
from calibrant.allsky.verbs.calibrate import solve
from calibrant.allsky.verdict import judge
from calibrant.errors import DataError, FormatError

REAL = [
    "ghana-vis.hdf",
    pytest.param("vis_2025-03-09_06_26_46.859046.hdf", marks=pytest.mark.slow),
    pytest.param("vis_2021-03-25_20_50_23.568474.hdf", marks=pytest.mark.slow),
    pytest.param("vis_2026-06-12_04_25_46.149086.hdf", marks=pytest.mark.slow),
]


@pytest.fixture
def made(tmp_path: Path) -> str:
    """A minute of a simulated sky, as a telescope stores it, and its catalogue."""
    truth, data = skies.simulated(satellites=16, noise=0.001, seed=4)
    snapshot = data.snapshots[0]
    rng = np.random.default_rng(1)
    shape = (60, len(snapshot.visibility))
    noise = 0.004 * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    info = {"name": "Test", "operating_frequency": 1.57542e9, "lon": 170.5456, "lat": -45.85177, "alt": 270.0}
    path = tmp_path / "vis.hdf"
    with h5py.File(path, "w") as file:
        file["config"] = [json.dumps(info).encode()]
        file["baselines"] = np.column_stack([snapshot.antenna1, snapshot.antenna2])
        file["vis"] = (snapshot.visibility + noise).astype(np.complex64)
        file["antenna_positions"] = data.positions
        file["timestamp"] = np.array([f"2019-05-10T00:39:{second:02d}.000".encode() for second in range(60)])
    sky = [{"name": one.name, "az": one.az_deg, "el": one.el_deg, "r": 2.2e7} for one in truth.sources[0]]
    (tmp_path / "sky.json").write_text(json.dumps(sky))
    return str(path)


def test_a_minute_is_averaged_and_calibrated(made: str) -> None:
    data = read_vis_hdf(made, made.replace("vis.hdf", "sky.json"))
    assert data.noise == pytest.approx(0.004 / np.sqrt(60), rel=0.05)
    assert data.latitude_deg == pytest.approx(-45.85177) and data.name == "Test"
    result = calibrate(data)
    assert result.noise == data.noise
    assert judge(result).verdict == "good"


def test_without_a_catalogue_a_source_is_asked_for(made: str) -> None:
    with pytest.raises(DataError, match="its list of sources is empty; give one with --source"):
        solve(made)


def test_noise_is_told_from_slow_changes() -> None:
    rng = np.random.default_rng(2)
    noise = 0.01 * (rng.standard_normal((200, 50)) + 1j * rng.standard_normal((200, 50)))
    drift = np.linspace(0, 1, 200)[:, None]
    assert mean_noise(noise + drift) == pytest.approx(0.01 / np.sqrt(200), rel=0.05)
    assert np.isnan(mean_noise(noise[:1]))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf"
    path.write_text("no HDF5")
    with pytest.raises(FormatError, match="cannot be read as HDF5"):
        read_vis_hdf(str(path))
    with h5py.File(path, "w") as file:
        file["vis"] = np.zeros((2, 3))
    with pytest.raises(FormatError, match="has no config, baselines, antenna_positions, timestamp"):
        read_vis_hdf(str(path))


def test_catalogues_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "sky.json"
    for text, words in (("{", "is no JSON"), ('{"a": 1}', "found dict, expected a list of sources")):
        path.write_text(text)
        with pytest.raises(FormatError, match=words):
            read_catalogue(str(path), 0.0)


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_not_believed_under_another_sky(shared: Path, name: str) -> None:
    folder = shared / "data/tart"
    catalogue = str(folder / "json" / f"{skies.DUNEDIN}.json")
    data = read_vis_hdf(str(folder / "hdf" / name), catalogue)
    assert len(data.positions) == 24 and 0 < data.noise < 0.002
    result = calibrate(data)
    assert judge(result).verdict == "do not upload"
    assert result.held_out_power < 0.5
