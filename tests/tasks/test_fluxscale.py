"""fluxscale against CASA's numbers and against truth."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import calibrant.caltable.casa as casa_format
from calibrant.caltable.table import CalTable, SpwSolutions
from calibrant.errors import CalTableError, ExistsError, ParameterError, SelectionError
from calibrant.tasks.fluxscale import _flux, fluxscale


def gains(ratio: Any, nspw: int = 1, flag: Any = None) -> CalTable:
    """Field 0 has unit gains, field 1 gains `ratio` (nant, npar), in every spw."""
    ratio = np.asarray(ratio, float)
    nant = len(ratio)
    param = np.stack([np.ones_like(ratio), ratio])[:, :, None, :].astype(np.complex64)
    flag = np.zeros(param.shape, bool) if flag is None else flag
    zero, two = np.zeros(param.shape, np.float32), np.zeros(2, np.int32)
    spws = {
        k: SpwSolutions(
            k, np.array([0.0, 60.0]), np.zeros(2), np.array([0, 1], np.int32), two, two, np.zeros((2, nant), np.int32),
            np.array([100e9 + 10e9 * k]), np.array([1e9]), param, zero, zero + 100, flag.copy(),
        )
        for k in range(nspw)
    }  # fmt: skip
    names = [f"A{k}" for k in range(nant)]
    return CalTable("G Jones", "Complex", "x.ms", spws, names, ["Neptune", "J0006"], np.zeros((2, 2)), path="x.cal")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """use(table): fluxscale finds this table whatever it is asked to read."""
    return lambda table: monkeypatch.setattr(casa_format, "read", lambda path: table)


# ---- CASA's numbers --------------------------------------------------------------------------------------------
@pytest.mark.oracle
def test_casa_numbers_and_tables(oracle: Path, tmp_path: Path) -> None:
    out = oracle / "out"
    result = fluxscale(
        str(oracle / "tiny.ms"), str(out / "Gainf.cal"), str(tmp_path / "flux.cal"), reference=["1"],
        transfer=["0", "2"], listfile=str(tmp_path / "list.txt"), error_method="casa",
    )  # fmt: skip
    theirs, ours = json.loads((out / "fluxscale.json").read_text()), result.casa_dict()
    for field in ("0", "2"):
        for spw in ("0", "1", "2"):
            for name, values in theirs[field][spw].items():
                assert ours[field][spw][name] == pytest.approx(values, rel=1e-6)
        assert ours[field]["fieldName"] == theirs[field]["fieldName"]
        for name in ("fitFluxd", "fitRefFreq", "spidx"):
            assert ours[field][name] == pytest.approx(theirs[field][name], rel=1e-6)
    assert {k: ours[k] for k in ("freq", "spwID", "spwName")} == {k: theirs[k] for k in ("freq", "spwID", "spwName")}
    flux_lines = [line for line in (out / "fluxscale.txt").read_text().splitlines() if "Flux density for" in line]
    assert (tmp_path / "list.txt").read_text().splitlines()[: len(flux_lines)] == flux_lines
    table, reference = casa_format.read(str(tmp_path / "flux.cal")), casa_format.read(str(out / "flux.cal"))
    for spw in (0, 1):
        np.testing.assert_allclose(table.spws[spw].param, reference.spws[spw].param, rtol=1e-6)
        assert np.array_equal(table.spws[spw].flag, reference.spws[spw].flag)
    assert "fluxscale(" in table.provenance[0] and "Flux density for J0006" in "".join(table.provenance)


@pytest.mark.oracle
def test_incremental_table_holds_the_factors_of_casa(oracle: Path, tmp_path: Path) -> None:
    fluxscale(
        str(oracle / "tiny.ms"), str(oracle / "out" / "Gainf.cal"), str(tmp_path / "inc.cal"), reference="Nept*",
        transfer="J0006-0623", incremental=True,
    )  # fmt: skip
    ours = casa_format.read(str(tmp_path / "inc.cal"))
    theirs = casa_format.read(str(oracle / "out" / "fluxinc.cal"))
    for spw in (0, 1):
        for field in (1, 2):
            a, b = (t.spws[spw].param[t.spws[spw].field == field] for t in (ours, theirs))
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "flux", "error"), [("ngc5921", 2.48427414, 0.00216599), ("ngc5921_pb17", 2.52653561, 0.00218431)]
)
def test_vla_numbers_of_casa(shared: Path, tmp_path: Path, name: str, flux: float, error: float) -> None:
    archives = [p for p in sorted((shared / "data" / "vla").glob("*.tar*")) if p.is_file()]
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
    tables = list(tmp_path.rglob(f"{name}.gcal"))
    if not tables:
        pytest.skip(f"no real data: {name}.gcal is not in shared/data/vla")
    result = fluxscale("none.ms", str(tables[0]), reference="1331*", transfer="1445*", error_method="casa")
    (only,) = result.fluxes
    assert (only.flux, only.error) == (pytest.approx(flux, rel=1e-6), pytest.approx(error, rel=1e-5))
    assert only.count == 54


# ---- errors that are right -------------------------------------------------------------------------------------
@pytest.mark.parametrize("common", [0.0, 0.9], ids=["independent", "X and Y drift together"])
@pytest.mark.parametrize("true_flux", [0.04, 25.0])
def test_pulls_have_unit_width(common: float, true_flux: float) -> None:
    """CASA's error has no factor r: 5 times too large for 0.04 Jy, 5 times too small for 25 Jy."""
    rng = np.random.default_rng(3)
    pulls = []
    for _ in range(600):
        drift = rng.normal(size=(16, 1)) * common**0.5 + rng.normal(size=(16, 2)) * (1 - common) ** 0.5
        flux, error, _ = _flux(np.sqrt(true_flux) * (1 + 0.02 * drift), "jackknife")
        pulls.append((flux - true_flux) / error)
    assert 0.9 < np.std(pulls) < 1.12


def test_median_defies_one_bad_antenna() -> None:
    ratio = np.full((9, 2), 0.8)
    ratio[4] = 50.0
    assert _flux(ratio, "jackknife")[0] == pytest.approx(0.64)


def test_antennas_bad_on_one_field_are_left_out(use: Any) -> None:
    flag = np.zeros((2, 4, 1, 2), bool)
    flag[0, 1], flag[1, 2, 0, 0] = True, True
    use(gains([[2, 2], [9, 9], [7, 2], [2, 2]], flag=flag))
    (only,) = fluxscale("x.ms", "x.cal", reference="0").fluxes
    assert (only.flux, only.count) == (4.0, 5)


def test_gainthreshold_leaves_out_far_gains(use: Any) -> None:
    use(gains([[2, 2], [2, 2], [2, 2], [3, 3.1]]))
    (only,) = fluxscale("x.ms", "x.cal", reference="Neptune", gainthreshold=0.15).fluxes
    assert (only.flux, only.count) == (4.0, 6)


def test_spectral_index_and_its_error(use: Any) -> None:
    table = gains(np.ones((6, 2)) + 0.01 * np.random.default_rng(0).normal(size=(6, 2)), nspw=3)
    for spw, sol in table.spws.items():
        scale = (sol.freq[0] / 100e9) ** -0.35
        table.spws[spw].param = (sol.param * np.array([1.0, scale]).reshape(2, 1, 1, 1)).astype(np.complex64)
    use(table)
    result = fluxscale("x.ms", "x.cal", reference="0")
    fit = result.spectra[1]
    assert fit.coefficients[1] == pytest.approx(-0.7, abs=1e-5)
    assert 0.01 < fit.errors[1] < 0.3
    assert fit.error == pytest.approx(result.fluxes[0].error / 3**0.5, rel=0.1)


# ---- what cannot be done ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({}, ParameterError, "reference is empty; name the field .* Neptune, J0006"),
        ({"reference": "Uranus"}, SelectionError, "no field called 'Uranus'"),
        ({"reference": "0~1"}, SelectionError, "solutions of the reference only"),
        ({"reference": "0", "transfer": "Neptune"}, ParameterError, "names the reference only"),
        ({"reference": "0", "refspwmap": [5]}, ParameterError, r"names spw \[5\]"),
        ({"reference": "0", "error_method": "cassa"}, ParameterError, "Did you mean 'casa'"),
        ({"reference": "0", "fitorder": -1}, ParameterError, "fitorder is -1"),
    ],
)
def test_wrong_parameters(use: Any, arguments: dict[str, Any], kind: type, words: str) -> None:
    use(gains(np.ones((4, 2))))
    with pytest.raises(kind, match=words):
        fluxscale("x.ms", "x.cal", **arguments)


def test_nothing_in_common(use: Any) -> None:
    flag = np.zeros((2, 2, 1, 1), bool)
    flag[0, 0] = flag[1, 1] = True
    use(gains(np.ones((2, 1)), flag=flag))
    with pytest.raises(CalTableError, match="no antenna has unflagged solutions both here and on the reference"):
        fluxscale("x.ms", "x.cal", reference="0")
    flag = np.zeros((2, 2, 1, 1), bool)
    flag[0] = True
    use(gains(np.ones((2, 1)), flag=flag))
    with pytest.raises(CalTableError, match="the reference Neptune has no unflagged solutions"):
        fluxscale("x.ms", "x.cal", reference="0")


@pytest.mark.oracle
def test_outputs_are_protected_and_dry_run_writes_nothing(oracle: Path, tmp_path: Path) -> None:
    arguments = {"caltable": str(oracle / "out" / "Gainf.cal"), "reference": "1", "vis": str(oracle / "tiny.ms")}
    listing = tmp_path / "list.txt"
    fluxscale(**arguments, fluxtable=str(tmp_path / "f.cal"), listfile=str(listing), dry_run=True)
    assert list(tmp_path.iterdir()) == []
    listing.write_text("mine")
    with pytest.raises(ExistsError, match=r"list\.txt exists"):
        fluxscale(**arguments, listfile=str(listing))
    assert fluxscale(**arguments, listfile=str(listing), dry_run=True).fluxes


@pytest.mark.oracle
def test_bandpass_tables_are_refused(oracle: Path) -> None:
    with pytest.raises(CalTableError, match="'B Jones' with 64 channels"):
        fluxscale(str(oracle / "tiny.ms"), str(oracle / "out" / "B.cal"), reference="0")


@pytest.mark.oracle
def test_antennas_can_be_left_out(oracle: Path) -> None:
    pytest.importorskip("calibrant.ms.selection")
    arguments = {"caltable": str(oracle / "out" / "Gainf.cal"), "reference": "1", "vis": str(oracle / "tiny.ms")}
    assert {f.count for f in fluxscale(**arguments, antenna="!0").fluxes} == {14}
    assert {f.count for f in fluxscale(**arguments, antenna="0~2").fluxes} == {6}
    assert {f.field for f in fluxscale(**arguments, scan="1,2").fluxes} == {0}
