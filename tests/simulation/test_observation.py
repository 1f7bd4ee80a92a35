"""The simulated observation is what its truth says: equation, noise, weights, faults, and CASA reads it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibrant.errors import ExistsError, FormatError, ParameterError
from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.reader import read_rows
from calibrant.params import declared
from calibrant.simulation import Truth, load_truth, simulate
from calibrant.sky.standards import flux_density

C = 299792458.0
SMALL: dict[str, Any] = {
    "nant": 5, "cycles": 1, "bandpass_time": 18.0, "flux_time": 12.0, "phase_time": 12.0, "target_time": 24.0,
}  # fmt: skip
CLEAN: dict[str, Any] = {"bad_antennas": 0, "rfi": False, "zeros": False, "quack": False}


def make(folder: Path, **options: Any) -> tuple[MSIndex, Truth]:
    vis = str(folder / "sim.ms")
    simulate(vis, **(SMALL | options))
    return open_index(vis), load_truth(vis)


def columns(index: MSIndex, spw: int, **wanted: int) -> tuple[NDArray[np.int64], NDArray[np.complex64]]:
    """Rows and DATA of a window; wanted: field, and auto 0 or 1."""
    mask = index.ddid == spw
    if "field" in wanted:
        mask &= index.field == wanted["field"]
    if "auto" in wanted:
        mask &= (index.ant1 == index.ant2) == bool(wanted["auto"])
    rows = np.flatnonzero(mask)
    return rows, read_rows(index, "DATA", rows)


def test_rows_scans_fields_and_intents(tmp_path: Path) -> None:
    vis = str(tmp_path / "sim.ms")
    result = simulate(vis, nchan=[16, 24], **SMALL)
    index = open_index(vis)
    # 3 + 2 + 2 + 4 + 2 integrations, 2 windows, 15 baselines with autocorrelations
    assert index.nrow == result.nrow == 13 * 2 * 15
    assert [spw.nchan for spw in index.spws] == [16, 24]
    assert index.fields.name == ["J1256-0547", "3C286", "J1337-1257", "TARGET"]
    first = np.flatnonzero(np.diff(index.scan, prepend=0))
    assert index.field[first].tolist() == [0, 1, 2, 3, 2]
    assert index.intents(int(index.state[first[1]])) == ["CALIBRATE_FLUX#ON_SOURCE", "CALIBRATE_WVR#ON_SOURCE"]
    # windows are interleaved: every integration has all of them
    assert index.ddid[:30].tolist() == [0] * 15 + [1] * 15 and (index.time[:30] == index.time[0]).all()
    assert (index.ant1 <= index.ant2).all()
    assert "3C286 (flux)" in result.summary()
    assert json.loads(json.dumps(result.to_dict()))["truth"].endswith("sim.ms.truth.npz")


def test_data_obey_the_equation(tmp_path: Path) -> None:
    index, truth = make(tmp_path, nchan=16, noise=0.0, **CLEAN)
    for spw in (0, 1):
        rows, data = columns(index, spw, auto=0)
        when = np.searchsorted(truth.time, index.time[rows] - 1e-3)
        freq = truth.freq[spw]
        offset = freq - freq[0]
        spectral = truth.bandpass[spw] * np.exp(2j * np.pi * truth.delay[spw][..., None] * offset)
        temporal = truth.amplitude[spw] * np.exp(1j * truth.phase[spw])
        uvw = read_rows(index, "UVW", rows)
        sky = np.zeros((len(rows), len(freq)), complex)
        for field, east, north, fraction in truth.points:
            mine = truth.time_field[when] == field
            w_factor = np.sqrt(1 - east**2 - north**2) - 1
            path = uvw[mine] @ np.array([east, north, w_factor])
            wave = np.exp(2j * np.pi * path[:, None] * freq / C)
            sky[mine] += fraction * truth.flux[spw][int(field)] * wave
        for pol in (0, 1):
            gain = [
                temporal[ant, pol, when][:, None] * spectral[ant, pol] for ant in (index.ant1[rows], index.ant2[rows])
            ]
            expected = gain[0] * gain[1].conj() * sky
            np.testing.assert_allclose(data[..., pol], expected, atol=1e-6 * np.abs(expected).max())


def test_target_is_two_points_with_a_line(tmp_path: Path) -> None:
    _, truth = make(tmp_path, nchan=64, **CLEAN)
    target = truth.roles.index("target")
    assert (truth.points[:, 0] == target).sum() == 2
    assert truth.points[truth.points[:, 0] == target, 3].sum() == 1
    continuum = 0.2 * (truth.freq[1] / 40e9) ** 2
    ratio = truth.flux[1][target] / continuum
    assert ratio.max() == pytest.approx(2.5, abs=0.05) and ratio.argmax() in (34, 35) and ratio[0] == pytest.approx(1)
    np.testing.assert_allclose(truth.flux[0][target], 0.2 * (truth.freq[0] / 40e9) ** 2)


def test_flux_calibrator_is_on_the_standard(tmp_path: Path) -> None:
    _, truth = make(tmp_path, nchan=16)
    for spw in (0, 1):
        expected = flux_density("Perley-Butler 2017", "3C286", truth.freq[spw])
        np.testing.assert_allclose(truth.flux[spw][truth.field.index("3C286")], expected)


def test_noise_has_the_sigma_and_weight_of_the_columns(tmp_path: Path) -> None:
    index, truth = make(tmp_path, nchan=64, nant=8, bandpass_time=60.0, **CLEAN)
    rows, noisy = columns(index, 0, auto=0)
    (tmp_path / "b").mkdir()
    other, _ = make(tmp_path / "b", nchan=64, nant=8, bandpass_time=60.0, noise=0.0, **CLEAN)
    noise = noisy - columns(other, 0, auto=0)[1]
    sigma = 1 / np.sqrt(2 * truth.width[0][0] * truth.interval)
    assert truth.sigma[0] == pytest.approx(sigma)
    count = noise.size
    assert noise.real.std() == pytest.approx(sigma, rel=4 / np.sqrt(2 * count))
    assert noise.imag.std() == pytest.approx(sigma, rel=4 / np.sqrt(2 * count))
    assert abs(np.corrcoef(noise.real.ravel(), noise.imag.ravel())[0, 1]) < 4 / np.sqrt(count)
    np.testing.assert_allclose(read_rows(index, "SIGMA", rows), sigma, rtol=1e-6)
    np.testing.assert_allclose(read_rows(index, "WEIGHT", rows), sigma**-2, rtol=1e-6)
    autos, power = columns(index, 0, auto=1)
    np.testing.assert_allclose(read_rows(index, "WEIGHT", autos), 0.5 * sigma**-2, rtol=1e-6)
    assert not power.imag.any() and 0.5 < np.median(power.real) < 1.5


def test_bad_antennas_are_as_announced(tmp_path: Path) -> None:
    index, truth = make(tmp_path, nchan=16, noise=0.0, **(CLEAN | {"bad_antennas": 3}))
    kinds = {bad["kind"]: bad for bad in truth.bad_antennas}
    assert set(kinds) == {"dead", "jumpy", "deaf"}
    rows, data = columns(index, 0, auto=0)
    dead = kinds["dead"]["antenna"]
    silent = (index.ant1[rows] == dead) | (index.ant2[rows] == dead)
    silent &= index.time[rows] > truth.time[kinds["dead"]["first"]] - 1e-3
    assert silent.any() and not data[silent].any() and data[~silent].all()
    jumpy, deaf = kinds["jumpy"]["antenna"], kinds["deaf"]["antenna"]
    assert np.abs(np.diff(truth.phase[0, jumpy, 1])).mean() > 1 > np.abs(np.diff(truth.phase[0, jumpy, 0])).max()
    assert truth.amplitude[0, deaf, 0].max() < 0.1 * truth.amplitude[0, deaf, 1].min()


def test_interference_zeros_and_quack_are_where_the_truth_says(tmp_path: Path) -> None:
    options = {"nchan": 16, "noise": 0.0, "phase_time": 30.0}
    index, truth = make(tmp_path, **(options | CLEAN | {"rfi": True, "zeros": True}))
    (tmp_path / "b").mkdir()
    clean, _ = make(tmp_path / "b", **(options | CLEAN | {"quack": True}))
    for spw in (0, 1):
        rows, data = columns(index, spw)
        gain = truth.gain(spw)
        when = np.searchsorted(truth.time, index.time[rows] - 1e-3)
        zero = np.zeros(len(rows), bool)
        for time, antenna in truth.zeroed:
            zero |= (when == time) & ((index.ant1[rows] == antenna) | (index.ant2[rows] == antenna))
        assert zero.any() and not data[zero].any()
        cross = (index.ant1[rows] != index.ant2[rows]) & ~zero
        quiet = gain[when, index.ant1[rows]] * gain[when, index.ant2[rows]].conj()
        expected = np.zeros_like(data)
        for field in range(4):
            mine = index.field[rows] == field
            expected[mine] = quiet[mine] * truth.model(spw, field, read_rows(index, "UVW", rows)[mine])[..., None]
        added = np.zeros(data.shape)
        for _, channel, first, last, antenna, strength in truth.rfi[truth.rfi[:, 0] == spw]:
            hit = (when >= first) & (when <= last)
            hit &= (antenna < 0) | (index.ant1[rows] == antenna) | (index.ant2[rows] == antenna)
            added[hit, int(channel)] += strength
        assert added[cross].any()
        np.testing.assert_allclose((data - expected)[cross], added[cross], atol=2e-7 * np.abs(added).max())
    first = np.flatnonzero(np.diff(truth.scan, prepend=0))
    quacked = load_truth(clean.path)
    assert np.flatnonzero(quacked.quacked).tolist() == first.tolist()
    ratio = quacked.amplitude[..., first] / truth.amplitude[..., first]
    assert 0.2 <= ratio.min() < ratio.max() <= 0.6


def test_the_seed_decides(tmp_path: Path) -> None:
    data = []
    for number, seed in enumerate((3, 3, 4)):
        folder = tmp_path / str(number)
        folder.mkdir()
        data.append(columns(make(folder, nchan=8, seed=seed)[0], 0)[1])
    np.testing.assert_array_equal(data[0], data[1])
    assert (data[0] != data[2]).any()


def test_truth_survives_the_file(tmp_path: Path) -> None:
    _, truth = make(tmp_path, nchan=[8, 12])
    assert truth.gain(1).shape == (len(truth.time), 5, 12, 2)
    assert truth.roles == ["bandpass", "flux", "phase", "target"] and truth.parameters["nant"] == 5
    truth.save(str(tmp_path / "copy.truth.npz"))
    again = load_truth(str(tmp_path / "copy.truth.npz"))
    np.testing.assert_array_equal(again.bandpass[1], truth.bandpass[1])
    assert again.bad_antennas == truth.bad_antennas and again.interval == truth.interval
    with pytest.raises(FormatError, match="only simulated MeasurementSets have a truth"):
        load_truth(str(tmp_path / "none.ms"))
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="is no truth written by calibrant simulate"):
        load_truth(str(tmp_path / "bad.npz"))


def test_wrong_parameters_and_existing_outputs_are_refused(tmp_path: Path) -> None:
    vis = str(tmp_path / "sim.ms")
    for options, message in (
        ({"nant": 1}, "nant = 1; at least 2"),
        ({"nchan": [8, 8, 8]}, "nchan has 3 numbers, but there are 2"),
        ({"integration": 0.0}, "integration = 0.0; a positive number"),
        ({"bad_antennas": 99}, "bad_antennas = 99; 0 to"),
        ({"bad_antennas": -1}, "bad_antennas = -1; 0 to"),
        ({"start": "yesterday"}, "start = 'yesterday'; a time like"),
        ({"start": "2025/03/20/17:30:00"}, "is at an elevation of -"),
    ):
        with pytest.raises(ParameterError, match=message):
            simulate(vis, **(SMALL | options))
    assert simulate(vis, dry_run=True, **SMALL).nrow > 0
    assert list(tmp_path.iterdir()) == []
    simulate(vis, nchan=8, **SMALL)
    with pytest.raises(ExistsError):
        simulate(vis, nchan=8, **SMALL)
    with pytest.raises(ParameterError, match="start"):
        simulate(vis, **(SMALL | {"start": "yesterday"}))
    assert simulate(vis, nchan=8, dry_run=True, **SMALL).nrow > 0
    simulate(vis, nchan=8, overwrite=True, **SMALL)


def test_parameters_are_declared() -> None:
    names = [item.name for item in declared(simulate)]
    assert names[:4] == ["vis", "nant", "nchan", "nspw"] and {"overwrite", "dry_run", "seed"} <= set(names)


@pytest.mark.casa
def test_casa_lists_it_and_predicts_the_same_target(tmp_path: Path, casa_python: str) -> None:
    index, truth = make(tmp_path, nchan=8, **CLEAN)
    code = f"""
import math, numpy as np
from casatasks import ft, listobs
from casatools import componentlist, table
listobs({index.path!r}, listfile="list.txt")
cl, (ra, dec) = componentlist(), {truth.direction[3].tolist()!r}
for _, l, m, part in {truth.points[truth.points[:, 0] == 3].tolist()!r}:
    n = math.sqrt(1 - l * l - m * m)
    d = math.asin(m * math.cos(dec) + n * math.sin(dec))
    a = ra + math.atan2(l, n * math.cos(dec) - m * math.sin(dec))
    cl.addcomponent(flux=part, dir=f"J2000 {{a}}rad {{d}}rad", shape="point")
cl.rename("target.cl")
cl.close()
ft({index.path!r}, field="3", complist="target.cl", usescratch=True)
tb = table()
tb.open({index.path!r})
part = tb.query("FIELD_ID==3 && DATA_DESC_ID==0")
np.savez("model.npz", model=part.getcol("MODEL_DATA")[0].T, uvw=part.getcol("UVW").T)
part.close()
tb.close()
"""
    subprocess.run([casa_python, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=180)
    listing = (tmp_path / "list.txt").read_text()
    assert "J1337-1257" in listing and "CALIBRATE_FLUX#ON_SOURCE" in listing and "ALMA_RB_01#BB_2" in listing
    stored = np.load(tmp_path / "model.npz")
    ours = truth.model(0, 3, stored["uvw"]) / truth.flux[0][3]
    np.testing.assert_allclose(ours, stored["model"], atol=1e-6)
