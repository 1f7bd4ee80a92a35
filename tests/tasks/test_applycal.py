"""applycal against CASA's columns, against planted truth, and what it promises about each mode."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.errors import CalTableError, LockedError, MeasurementSetError, ParameterError, SelectionError
from calibrant.ms.index import open_index
from calibrant.ms.tables import open_table
from calibrant.tasks.applycal import applycal
from calibrant.tasks.bandpass import bandpass
from calibrant.tasks.chain import open_chain
from calibrant.tasks.gaincal import gaincal
from planted import START, Plan, Planted, Window, edit, flag, get, plant, polarization, write_table
from recipe import FIRST, FIRST_INTERP

# ---- CASA's answers --------------------------------------------------------------------------------------------


def casa_runs(oracle: Path) -> list[tuple[str, dict[str, Any]]]:
    """(field, arguments) of the four calls that CASA made."""
    paths = {name: str(oracle / "out" / name) for name in (*FIRST, "B.cal", "Gpint.cal", "Gpinf.cal", "flux.cal")}
    band = [paths[name] for name in (*FIRST, "B.cal")]
    interp = [*FIRST_INTERP, "linear,linear"]
    runs: list[tuple[str, dict[str, Any]]] = [
        (
            field,
            {
                "gaintable": [*band, paths["Gpint.cal"], paths["flux.cal"]],
                "gainfield": ["", "", field, "", field, field],
                "interp": [*interp, "linear", "linear"],
                "applymode": "calflag",
            },
        )
        for field in "012"
    ]
    target = {
        "gaintable": [*band, paths["Gpinf.cal"], paths["flux.cal"]],
        "gainfield": ["", "", "3", "", "2", "2"],
        "interp": [*interp, "linearPD", "linear"],
        "applymode": "calflagstrict",
    }
    return [*runs, ("3", target)]


def in_double(path: str, field: str, spw: int, arguments: dict[str, Any]) -> np.ndarray:
    """CORRECTED_DATA of a field and spw, folded and divided in double precision."""
    index = open_index(path)
    chosen = {k: v for k, v in arguments.items() if k != "applymode"}
    chain = open_chain(index, **chosen)
    rows = np.flatnonzero((index.field == int(field)) & (index.spw == spw))
    times, slot = np.unique(index.time[rows], return_inverse=True)
    jones = chain._fold(spw, int(field), times).jones
    slot = slot if len(jones) > 1 else np.zeros_like(slot)
    data = get(path, "DATA", f"FIELD_ID=={field} && DATA_DESC_ID=={spw}").astype(complex)
    return data / (jones[slot, index.ant1[rows]] * jones[slot, index.ant2[rows]].conj())


@pytest.mark.oracle
def test_agrees_with_casa(tiny_ms: Path, oracle: Path) -> None:
    vis = str(tiny_ms)
    theirs, where = {}, {}
    for field in "0123":
        for spw in (0, 1):
            where[field, spw] = query = f"FIELD_ID=={field} && DATA_DESC_ID=={spw}"
            theirs[field, spw] = {name: get(vis, name, query) for name in ("CORRECTED_DATA", "WEIGHT", "FLAG")}
            for name in ("CORRECTED_DATA", "WEIGHT"):
                edit(vis, name, np.zeros_like, query)
    runs = casa_runs(oracle)
    for field, arguments in runs:
        applycal(vis, field=field, spw="0,1", flagbackup=False, **arguments)
    for (field, spw), casa in theirs.items():
        query = where[field, spw]
        np.testing.assert_array_equal(get(vis, "FLAG", query), casa["FLAG"])
        good = ~casa["FLAG"]
        ours, exact = get(vis, "CORRECTED_DATA", query), in_double(vis, field, spw, dict(runs)[field])
        size = np.abs(exact)[good]
        assert (np.abs(ours - exact)[good] / size).max() < 3e-7
        difference = np.abs(ours - casa["CORRECTED_DATA"])[good] / size
        assert difference.max() < 1.3e-6, "CASA is 1.16e-6 off the exact result: it multiplies in single precision"
        assert np.sqrt(np.mean(difference**2)) < 3e-7
        np.testing.assert_allclose(
            get(vis, "WEIGHT", query)[good.any(axis=1)], casa["WEIGHT"][good.any(axis=1)], rtol=1e-6
        )


CASA_APPLY = """
import sys
from casatasks import applycal
vis, tables = sys.argv[1:]
applycal(vis=vis, field="0", spw="0,1", gaintable=tables.split(","), flagbackup=False, calwt=True)
"""


@pytest.mark.oracle
@pytest.mark.casa
@pytest.mark.slow
def test_casa_applies_our_tables(tiny_ms: Path, tmp_path: Path, casa_python: str) -> None:
    """K, B, G and T tables of ours, applied by CASA and by us, give the same data, weights and flags."""
    vis, copy = str(tiny_ms), str(tmp_path / "copy.ms")
    names = [str(tmp_path / name) for name in ("K", "B", "G", "T")]
    common = {"field": "0", "spw": "0,1", "refant": "DA41"}
    gaincal(vis, names[0], gaintype="K", **common)
    gaincal(vis, str(tmp_path / "P"), calmode="p", solint="int", gaintable=names[0], **common)
    bandpass(vis, names[1], gaintable=[names[0], str(tmp_path / "P")], **common)
    gaincal(vis, names[2], solint="int", gaintable=names[:2], **common)
    gaincal(vis, names[3], gaintype="T", solint="int", gaintable=names[:3], **common)
    shutil.copytree(vis, copy)
    subprocess.run(
        [casa_python, "-c", CASA_APPLY, copy, ",".join(names)], check=True, cwd=tmp_path, capture_output=True
    )
    applycal(vis, field="0", spw="0,1", gaintable=names, flagbackup=False)
    for spw in (0, 1):
        query = f"FIELD_ID==0 && DATA_DESC_ID=={spw}"
        good = ~get(copy, "FLAG", query)
        np.testing.assert_array_equal(get(vis, "FLAG", query), ~good)
        assert good.any()
        ours, theirs = (get(path, "CORRECTED_DATA", query)[good] for path in (vis, copy))
        assert (np.abs(ours - theirs) / np.abs(theirs)).max() < 1.3e-6
        rows = good.any(axis=1)
        np.testing.assert_allclose(get(vis, "WEIGHT", query)[rows], get(copy, "WEIGHT", query)[rows], rtol=1e-6)


# ---- planted truth ---------------------------------------------------------------------------------------------
SKY = 0.3 * np.exp(0.7j)
"""The target's visibility on all baselines."""


def observe(tmp_path: Path, **changes: Any) -> Planted:
    """A calibrator of high signal-to-noise, and a target with noise."""
    plan = {"flux": (1.0, SKY), "sigma": (0.002, 0.3), "per": "all", "scans": ((0, 5), (1, 20), (0, 5))}
    return plant(tmp_path / "a.ms", Plan(**{**plan, **changes}))


def assert_calibrated(truth: Planted) -> None:
    """CORRECTED_DATA of the target is the sky within the noise, and WEIGHT its inverse variance."""
    index = open_index(truth.path)
    for spw, window in enumerate(truth.plan.windows):
        query = f"FIELD_ID==1 && DATA_DESC_ID=={spw} && ANTENNA1!=ANTENNA2"
        corrected, weight = get(truth.path, "CORRECTED_DATA", query), get(truth.path, "WEIGHT", query)
        product = polarization(window.corr).product
        parallel = product[:, 0] == product[:, 1]
        rows = np.flatnonzero((index.field == 1) & (index.ddid == spw) & (index.ant1 != index.ant2))
        gain = np.abs(truth.gain[spw][0]) ** 2  # (antenna, channel, receptor)
        scale = gain.mean(axis=1)
        expected = scale[index.ant1[rows]][:, product[:, 0]] * scale[index.ant2[rows]][:, product[:, 1]] / 0.3**2
        np.testing.assert_allclose(weight, expected, rtol=0.02)
        difference = corrected - SKY * parallel
        chi2 = (np.abs(difference) ** 2 * weight[:, None]).sum() / (2 * difference.size)
        assert chi2 == pytest.approx(1, abs=4.5 / np.sqrt(difference.size) + 0.01)


LAYOUTS = {
    "2 correlations": {},
    "1 correlation": {"windows": (Window(corr="XX"), Window(4, 102e9, corr="XX"))},
    "4 correlations": {"windows": (Window(corr="XX XY YX YY"),)},
    "mixed": {"windows": (Window(corr="XX XY YX YY"), Window(4, 102e9, corr="I"), Window(16, 104e9, -5e6))},
    "by spw": {"order": "spw"},
    "shuffled": {"order": "shuffled"},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_target_is_the_sky_within_the_noise(name: str, tmp_path: Path) -> None:
    """The autocorrelations, 1000 times stronger than the source, must not matter."""
    truth = observe(tmp_path, **LAYOUTS[name])
    out = str(tmp_path / "G")
    gaincal(truth.path, out, field="CAL0", refant="DV00", combine="scan")
    result = applycal(truth.path, gaintable=out, flagbackup=False)
    assert result.flagged_now == 0
    assert_calibrated(truth)


def test_chain_of_delay_bandpass_gain_and_common_gain(tmp_path: Path) -> None:
    delays = np.random.default_rng(3).uniform(-3e-9, 3e-9, (8, 2))
    windows = (Window(32), Window(16, 102e9))
    truth = observe(tmp_path, windows=windows, per_channel=False, delays=delays)
    names = [str(tmp_path / name) for name in ("K", "B", "G", "T")]
    common = {"field": "0", "refant": "DV00"}
    gaincal(truth.path, names[0], gaintype="K", **common)
    bandpass(truth.path, names[1], gaintable=names[:1], **common)
    gaincal(truth.path, names[2], gaintable=names[:2], **common)
    gaincal(truth.path, names[3], gaintype="T", gaintable=names[:3], **common)
    applycal(truth.path, gaintable=names[::-1])  # the order in the list does not matter
    assert_calibrated(truth)


def test_rubbish_does_not_spread(tmp_path: Path) -> None:
    """NaN outside and under flags stay where they are; SIGMA of 0 means weight 0."""
    truth = observe(tmp_path)
    index = open_index(truth.path)
    odd = np.zeros(index.nrow, bool)
    odd[::7] = True
    for spw in (0, 1):
        hit = odd[index.ddid == spw]
        edit(truth.path, "DATA", lambda d, h=hit: np.where(h[:, None, None], np.nan, d), f"DATA_DESC_ID=={spw}")
        edit(truth.path, "SIGMA", lambda s, h=hit: np.where(h[:, None], 0, s), f"DATA_DESC_ID=={spw}")
    gaincal(truth.path, str(tmp_path / "G"), field="0", refant="DV00", combine="scan")
    applycal(truth.path, gaintable=str(tmp_path / "G"))
    for spw in (0, 1):
        hit = odd[index.ddid == spw]
        corrected, weight = (get(truth.path, name, f"DATA_DESC_ID=={spw}") for name in ("CORRECTED_DATA", "WEIGHT"))
        assert np.isnan(corrected[hit]).all()
        assert np.isfinite(corrected[~hit]).all()
        assert (weight[hit] == 0).all()
        assert (weight[~hit] > 0).all()


# ---- what each mode promises -----------------------------------------------------------------------------------
@pytest.fixture
def small(tmp_path: Path) -> Planted:
    return plant(tmp_path / "a.ms", Plan(nant=4, scans=((0, 3), (1, 3)), windows=(Window(4), Window(3, 102e9))))


def gains(spws: tuple[int, ...] = (0, 1), value: complex = 2.0, bad: Any = None) -> dict[int, dict[str, Any]]:
    param = np.full((1, 4, 1, 2), value, complex)
    flags = np.zeros(param.shape, bool)
    if bad is not None:
        flags[bad] = True
    return {spw: {"param": param, "flag": flags} for spw in spws}


def columns(path: str, ddid: int) -> tuple[np.ndarray, ...]:
    return tuple(get(path, name, f"DATA_DESC_ID=={ddid}") for name in ("DATA", "CORRECTED_DATA", "WEIGHT", "FLAG"))


def test_running_twice_does_not_accumulate(small: Planted, tmp_path: Path) -> None:
    table = write_table(tmp_path / "G", small.path, "G Jones", gains(value=2j))
    for _ in range(2):
        applycal(small.path, gaintable=table)
        data, corrected, weight, _ = columns(small.path, 0)
        np.testing.assert_allclose(corrected, data / 4, rtol=1e-6)
        np.testing.assert_allclose(weight, 16 / 0.05**2, rtol=1e-6)
    np.testing.assert_array_equal(get(small.path, "SIGMA"), np.float32(0.05))


@pytest.mark.parametrize("mode", ["calflag", "calflagstrict", "calonly"])
def test_window_without_solutions(mode: str, small: Planted, tmp_path: Path) -> None:
    """CASA leaves there what an earlier applycal wrote. Here data and weights are those of DATA, and it is said."""
    both = write_table(tmp_path / "both", small.path, "G Jones", gains())
    one = write_table(tmp_path / "one", small.path, "G Jones", gains((0,), 3.0))
    applycal(small.path, gaintable=both)
    result = applycal(small.path, gaintable=one, applymode=mode)
    data, corrected, weight, flags = columns(small.path, 1)
    np.testing.assert_array_equal(corrected, data)
    np.testing.assert_allclose(weight, 1 / 0.05**2, rtol=1e-6)
    assert flags.all() == ("strict" in mode)
    assert flags.any() == ("strict" in mode)
    assert result.uncalibrated_spws == {"1": [one]}
    assert f"spw 1: no solutions in {one}" in result.summary()
    np.testing.assert_allclose(columns(small.path, 0)[1], columns(small.path, 0)[0] / 9, rtol=1e-6)


@pytest.mark.parametrize("mode", ["calflag", "calflagstrict", "calonly", "flagonly", "flagonlystrict", "trial"])
def test_flagged_solutions(mode: str, small: Planted, tmp_path: Path) -> None:
    """Antenna 2 has no solution in Y: its YY is flagged, or left alone."""
    table = write_table(tmp_path / "G", small.path, "G Jones", gains(bad=(0, 2, 0, 1)))
    if not mode.startswith("cal"):
        applycal(small.path, gaintable=write_table(tmp_path / "old", small.path, "G Jones", gains(value=5)))
    before = columns(small.path, 0) if not mode.startswith("cal") else None
    applycal(small.path, gaintable=table, applymode=mode)
    data, corrected, weight, flags = columns(small.path, 0)
    touched = get(small.path, "ANTENNA1", "DATA_DESC_ID==0") == 2
    touched |= get(small.path, "ANTENNA2", "DATA_DESC_ID==0") == 2
    expected = np.zeros(flags.shape, bool)
    expected[touched, :, 1] = "flag" in mode
    np.testing.assert_array_equal(flags, expected)
    if before is not None:
        np.testing.assert_array_equal(corrected, before[1])
        np.testing.assert_array_equal(weight, before[2])
        return
    np.testing.assert_allclose(corrected[..., 0], data[..., 0] / 4, rtol=1e-6)
    np.testing.assert_allclose(corrected[~touched], data[~touched] / 4, rtol=1e-6)
    if mode == "calonly":  # not half calibrated, and weighed accordingly
        np.testing.assert_array_equal(corrected[touched][..., 1], data[touched][..., 1])
        np.testing.assert_allclose(weight[touched][:, 1], 1 / 0.05**2, rtol=1e-6)


def test_flags_are_added_and_saved(small: Planted, tmp_path: Path) -> None:
    from calibrant.ms.flagversions import list_versions

    flag(small.path, "ANTENNA1==0 && ANTENNA2==1")
    table = write_table(tmp_path / "G", small.path, "G Jones", gains(bad=(0, 2)))
    result = applycal(small.path, gaintable=table)
    share = {"before": 1 / 10, "now": 5 / 10}  # of ten baselines with autocorrelations, four have antenna 2
    assert result.flagged_before == pytest.approx(share["before"] * result.visibilities)
    assert result.flagged_now == pytest.approx(share["now"] * result.visibilities)
    assert [version.name for version in list_versions(small.path)] == ["applycal_1"] == [result.flag_version]
    assert applycal(small.path, gaintable=table, flagbackup=False).flag_version == ""
    assert applycal(small.path, gaintable=table).flag_version == "applycal_2"


def test_calwt(small: Planted, tmp_path: Path) -> None:
    """False leaves WEIGHT as it is; for some tables only those count."""
    g = write_table(tmp_path / "G", small.path, "G Jones", gains(value=2))
    t = write_table(
        tmp_path / "T", small.path, "T Jones", {s: {"param": np.full((1, 4, 1, 1), 3 + 0j)} for s in (0, 1)}
    )
    edit(small.path, "WEIGHT", lambda weight: weight * 0 + 7)
    applycal(small.path, gaintable=[g, t], calwt=False)
    assert (get(small.path, "WEIGHT") == 7).all()
    base = 1 / 0.05**2
    for calwt, factor in (
        ([True, False], 16),
        ([False, True], 81),
        ([True, True], 1296),
        (True, 1296),
        ([False], None),
    ):
        edit(small.path, "WEIGHT", lambda weight: weight * 0 + 7)
        applycal(small.path, gaintable=[g, t], calwt=calwt)
        expected = 7 if factor is None else base * factor
        np.testing.assert_allclose(get(small.path, "WEIGHT"), expected, rtol=1e-5)
        np.testing.assert_allclose(columns(small.path, 0)[1], columns(small.path, 0)[0] / 36, rtol=1e-6)


def test_weight_spectrum(tmp_path: Path) -> None:
    """As in CASA, Tsys scales WEIGHT_SPECTRUM channel by channel (WEIGHT is its median), B by its mean power."""
    truth = plant(tmp_path / "a.ms", Plan(nant=4, windows=(Window(5),), scans=((0, 2),), weight_spectrum=True))
    ramp = np.broadcast_to(np.arange(1.0, 6)[:, None], (1, 4, 5, 2))
    band = write_table(tmp_path / "B", truth.path, "B Jones", {0: {"param": ramp.astype(complex)}})
    tsys = write_table(tmp_path / "T", truth.path, "B TSYS", {0: {"param": ramp.astype(np.float32)}})
    applycal(truth.path, gaintable=band)
    for name in ("WEIGHT", "WEIGHT_SPECTRUM"):
        np.testing.assert_allclose(get(truth.path, name), 11**2 / 0.05**2, rtol=1e-6)
    applycal(truth.path, gaintable=[band, tsys])
    spectrum = get(truth.path, "WEIGHT_SPECTRUM")
    expected = 11**2 / np.arange(1, 6)[:, None] ** 2 / 0.05**2
    np.testing.assert_allclose(spectrum, np.broadcast_to(expected, spectrum.shape), rtol=1e-6)
    np.testing.assert_allclose(get(truth.path, "WEIGHT"), 11**2 / 9 / 0.05**2, rtol=1e-6)


CASA_APPLY_SPECTRAL = """
from casatasks import applycal
applycal(vis="casa.ms", field="0,1", gaintable=["B", "G"], flagbackup=False, calwt=True)
"""


@pytest.mark.real_data
@pytest.mark.casa
@pytest.mark.slow
def test_weight_spectrum_agrees_with_casa(
    shared: Path, tmp_path: Path, casa_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NGC 5921 from UVFITS has WEIGHT_SPECTRUM. B and G of ours, applied by CASA and by us."""
    from calibrant.tasks.importuvfits import importuvfits

    monkeypatch.chdir(tmp_path)
    importuvfits(str(shared / "data" / "vla" / "NGC5921.fits.gz"), "ours.ms", antnamescheme="new")
    bandpass("ours.ms", "B", field="0", scan="1", refant="VA15")
    gaincal("ours.ms", "G", field="0,1", refant="VA15", gaintable="B")
    shutil.copytree("ours.ms", "casa.ms")
    subprocess.run([casa_python, "-c", CASA_APPLY_SPECTRAL], check=True, cwd=tmp_path, capture_output=True)
    applycal("ours.ms", field="0,1", gaintable=["B", "G"], flagbackup=False)
    query = "FIELD_ID in [0,1]"
    good = ~get("casa.ms", "FLAG", query)
    np.testing.assert_array_equal(get("ours.ms", "FLAG", query), ~good)
    for name, chosen in (("WEIGHT", good.any(axis=1)), ("WEIGHT_SPECTRUM", good)):
        ours, theirs = (get(path, name, query)[chosen] for path in ("ours.ms", "casa.ms"))
        difference = np.abs(ours / theirs - 1)
        assert difference.max() < 2e-6, "CASA takes means over channels in single precision"
        assert np.sqrt(np.mean(difference**2)) < 1e-6


def test_weight_without_spectrum_is_that_of_the_mean_power(small: Planted, tmp_path: Path) -> None:
    band = np.broadcast_to(np.arange(1, 5)[:, None], (1, 4, 4, 2)).astype(complex)
    flags = np.zeros(band.shape, bool)
    flags[:, :, 3] = True
    table = write_table(tmp_path / "B", small.path, "B Jones", {0: {"param": band, "flag": flags}})
    applycal(small.path, spw="0", gaintable=table)
    np.testing.assert_allclose(
        get(small.path, "WEIGHT", "DATA_DESC_ID==0"), ((1 + 4 + 9) / 3) ** 2 / 0.05**2, rtol=1e-5
    )


def test_only_the_selection_is_written(small: Planted, tmp_path: Path) -> None:
    table = write_table(tmp_path / "G", small.path, "G Jones", gains(bad=(0, 2)))
    applycal(small.path, field="1", spw="1", antenna="DV00", gaintable=table)
    index = open_index(small.path)
    for spw in (0, 1):
        data, corrected, weight, flags = columns(small.path, spw)
        mine = index.ddid == spw
        chosen = (spw == 1) & (index.field == 1) & ((index.ant1 == 0) | (index.ant2 == 0)) & (index.ant1 != index.ant2)
        hit = chosen[mine]
        good = hit & (index.ant2[mine] != 2)
        np.testing.assert_allclose(corrected[good], data[good] / 4, rtol=1e-6)
        np.testing.assert_array_equal(corrected[~hit], data[~hit])
        np.testing.assert_allclose(weight[~hit], 1 / 0.05**2, rtol=1e-6)
        assert not flags[~hit].any()


@pytest.mark.parametrize("gaintable", [[], "", [""]])
def test_no_table_is_refused(gaintable: Any, small: Planted, tmp_path: Path) -> None:
    """An earlier calibration must not be overwritten with DATA by a forgotten parameter."""
    applycal(small.path, gaintable=write_table(tmp_path / "G", small.path, "G Jones", gains()))
    before = contents(Path(small.path))
    with pytest.raises(ParameterError, match="nothing to apply: give gaintable"):
        applycal(small.path, gaintable=gaintable)
    assert contents(Path(small.path)) == before


# ---- nothing is touched ----------------------------------------------------------------------------------------
def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "table.lock"}


def test_dry_run(small: Planted, tmp_path: Path) -> None:
    table = write_table(tmp_path / "G", small.path, "G Jones", gains((0,)))
    before = contents(tmp_path)
    result = applycal(small.path, gaintable=table, dry_run=True)
    assert contents(tmp_path) == before
    assert "Nothing was touched" in result.summary()
    assert result.uncalibrated_spws == {"1": [table]}
    assert result.rows == 120


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gaintable": "absent"}, CalTableError, "absent does not exist"),
        ({"gainfield": "CAL1"}, SelectionError, r"gainfield 'CAL1'.*G has no solutions of it; it has CAL0 \(0\)"),
        ({"gainfield": "CAL9"}, SelectionError, "CAL9.*CAL0, CAL1"),
        ({"field": "CAL9"}, SelectionError, "CAL9"),
        ({"interp": "quick"}, ParameterError, "quick"),
        ({"spwmap": [0, 0, 0]}, ParameterError, "longer than the 2 spectral windows"),
        ({"gainfield": ["", "CAL0"]}, ParameterError, "gainfield has 2 entries for 1 tables"),
        ({"applymode": "calflags"}, ParameterError, "Did you mean 'calflag'"),
    ],
)
def test_errors_come_before_anything_is_written(
    arguments: dict[str, Any], error: type[Exception], message: str, small: Planted, tmp_path: Path
) -> None:
    table = write_table(tmp_path / "G", small.path, "G Jones", gains())
    before = contents(tmp_path)
    with pytest.raises(error, match=message):
        applycal(small.path, **{"gaintable": table, **arguments})
    assert contents(tmp_path) == before


def test_table_of_another_measurement_set(small: Planted, tmp_path: Path) -> None:
    table = write_table(tmp_path / "G", small.path, "G Jones", gains())
    other = plant(tmp_path / "b.ms", Plan(nant=5))
    with pytest.raises(CalTableError, match=r"4 antennas .*has 5"):
        applycal(other.path, gaintable=table)
    edit(f"{small.path}/ANTENNA", "NAME", lambda names: [*names[:3], "PM04"])
    with pytest.raises(CalTableError, match=r"other antennas .*DV03 instead of PM04"):
        applycal(small.path, gaintable=table)


def test_bpoly_is_refused_in_words(small: Planted, tmp_path: Path) -> None:
    table = write_table(tmp_path / "G", small.path, "D Jones", gains())
    with pytest.raises(CalTableError, match="'D Jones', which cannot be applied yet; can be"):
        applycal(small.path, gaintable=table)


def test_read_only_measurement_set(small: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_table(tmp_path / "G", small.path, "G Jones", gains())
    before = contents(Path(small.path))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    with pytest.raises(MeasurementSetError, match="read-only"):
        applycal(small.path, gaintable=table)
    assert contents(Path(small.path)) == before


HOLD = """
import sys
from casacore.tables import table
tab = table(sys.argv[1], readonly=False, ack=False, lockoptions="permanent")
print("held", flush=True)
sys.stdin.read()
"""


def test_locked_measurement_set(small: Planted, tmp_path: Path) -> None:
    """Another process writes: applycal fails at once and in words, gaincal reads on."""
    table = write_table(tmp_path / "G", small.path, "G Jones", gains())
    holder = subprocess.Popen([sys.executable, "-c", HOLD, small.path], stdin=-1, stdout=-1, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="in use"):
            applycal(small.path, gaintable=table)
        gaincal(small.path, str(tmp_path / "new"), minblperant=2)
    finally:
        holder.communicate("")
    applycal(small.path, gaintable=table)


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_truncated_data(keep: float, tmp_path: Path) -> None:
    """A copy that was cut short: the error names column or file, and nothing is corrected with rubbish."""
    truth = plant(tmp_path / "a.ms", Plan(scans=((0, 40),)))
    table = open_table(truth.path)
    number = table.getdminfo("DATA")["SEQNR"]
    table.close()
    for file in Path(truth.path).glob(f"table.f{number}_TSM*"):
        os.truncate(file, int(file.stat().st_size * keep))
    with pytest.raises(MeasurementSetError, match=rf"(column DATA|table\.f{number}_TSM).*truncated"):
        gaincal(truth.path, str(tmp_path / "G"))
    assert not (tmp_path / "G").exists()


@pytest.mark.parametrize("verb", ["applycal", "setjy", "flagdata"])
@pytest.mark.parametrize("keep", [0.0, 0.7])
def test_truncated_data_are_not_filled_with_zeros(verb: str, keep: float, small: Planted, tmp_path: Path) -> None:
    """casacore lengthens short tile files as soon as it may write: nothing may be opened for writing."""
    from calibrant.tasks.flagdata import flagdata
    from calibrant.tasks.setjy import setjy

    table = open_table(small.path)
    file = Path(small.path) / f"table.f{table.getdminfo('DATA')['SEQNR']}_TSM1"
    table.close()
    size = file.stat().st_size
    os.truncate(file, int(size * keep))
    gain = write_table(tmp_path / "G", small.path, "G Jones", gains())
    before = contents(Path(small.path))
    words = rf"{file.name} \(column DATA\) has {int(size * keep)} bytes instead of {size}; .*truncated"
    with pytest.raises(MeasurementSetError, match=words):
        if verb == "applycal":
            applycal(small.path, gaintable=gain)
        elif verb == "setjy":
            setjy(small.path, fluxdensity=1.0)
        else:
            flagdata(small.path, antenna="0")
    assert contents(Path(small.path)) == before


@pytest.mark.parametrize("name", ["ANTENNA", "SPECTRAL_WINDOW", "FIELD", "POLARIZATION", "DATA_DESCRIPTION"])
def test_missing_subtable(name: str, small: Planted, tmp_path: Path) -> None:
    shutil.rmtree(f"{small.path}/{name}")
    with pytest.raises(MeasurementSetError, match=f"no subtable {name}"):
        applycal(small.path)
    with pytest.raises(MeasurementSetError, match=f"no subtable {name}"):
        gaincal(small.path, str(tmp_path / "G"))


def test_not_a_measurement_set(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "without table.dat"), (tmp_path / "no.ms", "does not exist")):
        with pytest.raises(MeasurementSetError, match=message):
            applycal(str(path))
    truth = plant(tmp_path / "a.ms", Plan(nant=3))
    with pytest.raises(MeasurementSetError, match="not a MeasurementSet"):
        applycal(f"{truth.path}/ANTENNA")


def test_virtual_time_of_solutions(small: Planted, tmp_path: Path) -> None:
    """Interpolation happens at each row's TIME: from 1 at the start to 3 at the end, linearly."""
    param = np.broadcast_to(np.array([1, 3]).reshape(2, 1, 1, 1), (2, 4, 1, 2)).astype(complex)
    last = small.time[-1] - START
    part = {"param": param, "time": [START, START + last]}
    applycal(small.path, gaintable=write_table(tmp_path / "G", small.path, "G Jones", {0: part, 1: part}))
    data, corrected, _, _ = columns(small.path, 1)
    gain = 1 + 2 * (get(small.path, "TIME", "DATA_DESC_ID==1") - START) / last
    np.testing.assert_allclose(corrected, data / gain[:, None, None] ** 2, rtol=1e-6)
