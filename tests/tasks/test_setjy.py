"""setjy: standards and manual models, in MODEL_DATA or virtual, as CASA writes them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import table
from numpy.typing import NDArray

from calibrant.errors import FluxModelError, ParameterError
from calibrant.ms.index import open_index
from calibrant.ms.model import load_model_assignment
from calibrant.sky.standards import flux_density
from calibrant.tasks.models import calibrator_of, j2000_direction, row_models
from calibrant.tasks.setjy import frequency, manual_model, setjy

C286 = (3.539257626070549, 0.5324850225220917)
MANUAL: dict[str, Any] = {"fluxdensity": [12.0, 0, 0, 0], "spix": -0.6, "reffreq": "100GHz"}


def rename(ms: Path, field: int, name: str, direction: tuple[float, float] = C286, scale: float = 1.0) -> None:
    """Make a field another source, and scale all frequencies."""
    with table(f"{ms}/FIELD", readonly=False, ack=False) as fields:
        fields.putcell("NAME", field, name)
        fields.putcell("PHASE_DIR", field, np.array([direction]))
    with table(f"{ms}/SPECTRAL_WINDOW", readonly=False, ack=False) as spws:
        for row in range(spws.nrows()):
            spws.putcell("CHAN_FREQ", row, spws.getcell("CHAN_FREQ", row) * scale)


def drop(ms: Path, *columns: str) -> None:
    with table(str(ms), readonly=False, ack=False) as main:
        main.removecols(list(columns))


def model_data(ms: Path, field: int, ddid: int) -> NDArray[np.complex64]:
    with (
        table(str(ms), ack=False) as main,
        main.query(f"FIELD_ID=={field} && DATA_DESC_ID=={ddid}") as rows,
    ):
        return np.asarray(rows.getcol("MODEL_DATA"))


# ---- parameters -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "hz"),
    [("1GHz", 1e9), ("1413.42 MHz", 1413.42e6), ("TOPO 1.4e2ghz", 1.4e11), ("LSRK 2GHz", 2e9), ("5hz", 5.0)],
)
def test_reffreq(text: str, hz: float) -> None:
    assert frequency(text) == pytest.approx(hz)


@pytest.mark.parametrize("text", ["", "1e9", "1 Jy", "-1GHz", "1-2GHz", "GHz"])
def test_bad_reffreq(text: str) -> None:
    with pytest.raises(ParameterError, match=r"write it like '1.4GHz'"):
        frequency(text)


def test_a_flux_density_means_manual() -> None:
    for standard in ("manual", "Perley-Butler 2017"):
        model = manual_model(standard, [12.0, 1, 0, 0], [-0.6, 0.1], "100GHz")
        assert model is not None
        assert model.stokes([100e9])[0] == pytest.approx([12, 1, 0, 0])
    assert manual_model("Perley-Taylor 99", -1, 0.0, "1GHz") is None
    assert manual_model("manual", 2.5, 0.0, "1GHz") is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("manual", -1.0, 0.0, "1GHz"), "needs fluxdensity"),
        (("manual", [0.0, 1, 0, 0], 0.0, "1GHz"), "must be above 0 Jy"),
        (("Perley-Butler 2017", 0.0, 0.0, "1GHz"), "must be above 0 Jy"),
        (("Perley-Butler 2017", -2.0, 0.0, "1GHz"), "must be above 0 Jy"),
        (("Perley-Butler 2017", [], 0.0, "1GHz"), "has 0 numbers"),
        (("Perley-Taylor 99", 3.0, 0.0, "1GHz"), "exclude each other"),
        (("Perley-Taylor 99", -1, -0.7, "1GHz"), "has its own spectrum"),
        (("manual", [1.0, 2.0], 0.0, "1GHz"), "has 2 numbers"),
        (("manual", 1.0, [-12.0], "1GHz"), "beyond 10"),
    ],
)
def test_contradictory_parameters(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        manual_model(*arguments)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(ParameterError, match="image models are not supported"):
        setjy("x.ms", model="3C286_L.im")
    with pytest.raises(ParameterError, match="usescratch=True"):
        setjy("x.ms", scan="1", usescratch=False)


# ---- on a MeasurementSet --------------------------------------------------------------------------------------
@pytest.mark.oracle
def test_model_data_of_a_new_column(tiny_ms: Path) -> None:
    """CASA's MODEL_DATA for the same call: 12.22073174 Jy in the first channel; 1 Jy in the other fields."""
    drop(tiny_ms, "MODEL_DATA")
    result = setjy(str(tiny_ms), field="0", standard="manual", usescratch=True, **MANUAL)
    assert model_data(tiny_ms, 0, 0)[:, 0] == pytest.approx(12.22073174, rel=1e-6)
    assert model_data(tiny_ms, 0, 1)[:, 0] == pytest.approx(11.35379028, rel=1e-6)
    assert model_data(tiny_ms, 0, 2)[:, -1] == pytest.approx(8.20314884, rel=1e-6)
    assert (model_data(tiny_ms, 1, 0) == 1).all()
    answer = result.to_dict()
    assert answer["0"]["fieldName"] == "J2253+1608"
    assert answer["0"]["0"]["fluxd"] == pytest.approx([12.22073174, 0, 0, 0])
    assert "set 3 models" in result.summary() and "12.221" in result.summary()
    assert max(map(len, result.summary().splitlines())) <= 100 + len(str(tiny_ms))


@pytest.mark.oracle
def test_standard_by_channel_and_by_window(tiny_ms: Path) -> None:
    """3C286 at 1.41342 GHz on both scales, CASA: 14.760754 and 15.011835 Jy."""
    rename(tiny_ms, 0, "1331+30500002_0")
    with table(f"{tiny_ms}/SPECTRAL_WINDOW", readonly=False, ack=False) as spws:
        for row in range(spws.nrows()):
            spws.putcell("CHAN_FREQ", row, 1.41342e9 + 1e6 * np.arange(spws.getcell("NUM_CHAN", row)))
    result = setjy(str(tiny_ms), field="0", standard="Perley-Taylor 99")
    assert result.to_dict()["0"]["0"]["fluxd"][0] == pytest.approx(14.760754, rel=1e-6)
    assert model_data(tiny_ms, 0, 0)[0, 0] == pytest.approx(14.760754, rel=1e-6)
    slope = model_data(tiny_ms, 0, 0)[0, -1, 0] / model_data(tiny_ms, 0, 0)[0, 0, 0]
    assert slope == pytest.approx((1.44442 / 1.41342) ** -0.475, rel=1e-3)
    result = setjy(str(tiny_ms), field="0", spw="2", scalebychan=False)
    middle = float(open_index(str(tiny_ms)).spws[2].freq.mean())
    assert result.models[0].freq == pytest.approx(middle)
    assert result.models[0].stokes[0] == pytest.approx(flux_density("Perley-Butler 2017", "3C286", middle)[0])
    assert result.models[0].stokes[0] == pytest.approx(15.011835, rel=1e-3)
    assert np.ptp(model_data(tiny_ms, 0, 2).real) == 0


@pytest.mark.oracle
def test_the_last_setjy_on_a_field_wins(tiny_ms: Path) -> None:
    def suppliers() -> list[str]:
        assignment = load_model_assignment(open_index(str(tiny_ms)))
        return [assignment.supplier(0, 0), assignment.supplier(0, 1), assignment.supplier(2, 0)]

    assert suppliers() == ["column", "column", "column"]
    setjy(str(tiny_ms), field="0,2", spw="0", usescratch=False, **MANUAL)
    assert suppliers() == ["virtual", "column", "virtual"]
    setjy(str(tiny_ms), field="0", spw="0", usescratch=True, fluxdensity=3.0)
    assert suppliers() == ["column", "column", "virtual"]
    assert model_data(tiny_ms, 0, 0) == pytest.approx(3.0)
    setjy(str(tiny_ms), field="0", usescratch=False, fluxdensity=4.0)
    models = row_models(open_index(str(tiny_ms)), 0)
    assert models.spectra[models.model_of_field[0]] == pytest.approx(4.0)


@pytest.mark.oracle
def test_rows_left_out_keep_their_virtual_model(tiny_ms: Path) -> None:
    drop(tiny_ms, "MODEL_DATA")
    index = open_index(str(tiny_ms))
    scans = np.unique(index.scan[index.field == 2]).tolist()
    setjy(str(tiny_ms), field="2", usescratch=False, fluxdensity=5.0)
    setjy(str(tiny_ms), field="2", scan=str(scans[0]), usescratch=True, fluxdensity=7.0)
    first = index.scan[(index.field == 2) & (index.ddid == 0)] == scans[0]
    assert model_data(tiny_ms, 2, 0)[first] == pytest.approx(7.0)
    assert model_data(tiny_ms, 2, 0)[~first] == pytest.approx(5.0)
    assert load_model_assignment(open_index(str(tiny_ms))).virtual == {}


@pytest.mark.oracle
def test_models_of_rows(tiny_ms: Path) -> None:
    index = open_index(str(tiny_ms))
    assert row_models(index, 0).model_of_field.tolist() == [-1, -1, -1, -1]
    assert row_models(index, 0).needs_column == {0, 1, 2, 3}
    drop(tiny_ms, "MODEL_DATA")
    setjy(str(tiny_ms), field="2", spw="1", usescratch=False, **MANUAL)
    index = open_index(str(tiny_ms))
    unset, virtual = row_models(index, 0), row_models(index, 1)
    assert unset.model_of_field.tolist() == [0, 0, 0, 0] and not unset.needs_column
    assert (unset.spectra == 1).all() and unset.spectra.shape == (1, 32, 2)
    assert virtual.model_of_field.tolist() == [0, 0, 1, 0]
    assert virtual.spectra[1, 0] == pytest.approx(11.35379028, rel=1e-6)


@pytest.mark.oracle
def test_dry_run_touches_nothing(tiny_ms: Path) -> None:
    before = model_data(tiny_ms, 0, 0)
    result = setjy(str(tiny_ms), field="0", dry_run=True, **MANUAL)
    assert "would set 3 models" in result.summary()
    assert (model_data(tiny_ms, 0, 0) == before).all()
    assert load_model_assignment(open_index(str(tiny_ms))).virtual == {}


@pytest.mark.oracle
def test_unknown_calibrators_are_errors(tiny_ms: Path) -> None:
    with pytest.raises(FluxModelError, match=r"'J2253\+1608'.*is no calibrator of Perley-Butler 2017.*Known: "):
        setjy(str(tiny_ms), field="0")
    with pytest.raises(FluxModelError, match="ephemeris models are not yet available"):
        setjy(str(tiny_ms), field="Neptune")
    with pytest.raises(FluxModelError, match="there is no flux standard called 'Butler-JPL-Horizons 2012'"):
        setjy(str(tiny_ms), field="Neptune", standard="Butler-JPL-Horizons 2012")
    rename(tiny_ms, 0, "3C286", scale=0.01)
    with pytest.raises(FluxModelError, match=r"Of the selected fields these are: 0 \(3C286\)"):
        setjy(str(tiny_ms))
    rename(tiny_ms, 0, "3C286", (0.1, 0.2))
    with pytest.raises(FluxModelError, match="has the name of 3C286, but lies"):
        setjy(str(tiny_ms), field="0")


@pytest.mark.oracle
def test_a_frequency_far_outside_is_an_error_a_near_one_a_note(tiny_ms: Path) -> None:
    rename(tiny_ms, 0, "3C286")
    with pytest.raises(
        FluxModelError, match=r"3C286 between 0\.05 and 50 GHz, but 184\.19 to 188\.51 GHz is asked for"
    ):
        setjy(str(tiny_ms), field="0", spw="2")
    result = setjy(str(tiny_ms), field="0", spw="0:3~5", usescratch=False)
    assert any("extrapolated" in note for note in result.notes)
    assert any("channels named in spw are ignored" in note for note in result.notes)


@pytest.mark.oracle
def test_positions_of_other_frames(tiny_ms: Path) -> None:
    """3C286 in B1950: 13h28m49.657s +30d45m58.64s."""
    b1950 = (np.radians(15 * (13 + 28 / 60 + 49.657 / 3600)), np.radians(30 + 45 / 60 + 58.64 / 3600))
    rename(tiny_ms, 0, "BP", (float(b1950[0]), float(b1950[1])))
    for frame, near in (("B1950", True), ("J2000", False), ("AZEL", False)):
        with table(f"{tiny_ms}/FIELD", readonly=False, ack=False) as fields:
            fields.putcolkeyword("PHASE_DIR", "MEASINFO", {"type": "direction", "Ref": frame})
        index = open_index(str(tiny_ms))
        assert (calibrator_of(index, 0) is not None) == near
    assert j2000_direction(index, 0) is None


CASA = """
import sys
from casatasks import setjy
setjy(sys.argv[1], field=sys.argv[2], standard="manual", fluxdensity=[12,1,2,0.5], spix=[-0.6,0.4], reffreq="95GHz",
      usescratch=sys.argv[3] == "True")
"""


@pytest.mark.oracle
@pytest.mark.casa
def test_model_data_is_that_of_live_casa(tiny_ms: Path, casa_python: str, tmp_path: Path) -> None:
    drop(tiny_ms, "MODEL_DATA")
    run = [casa_python, "-c", CASA, str(tiny_ms), "0,2", "True"]
    subprocess.run(run, check=True, cwd=tmp_path, capture_output=True)
    casa = {(field, ddid): model_data(tiny_ms, field, ddid) for field in range(4) for ddid in range(3)}
    drop(tiny_ms, "MODEL_DATA")
    setjy(str(tiny_ms), field="0,2", fluxdensity=[12, 1, 2, 0.5], spix=[-0.6, 0.4], reffreq="95GHz")
    for (field, ddid), expected in casa.items():
        assert model_data(tiny_ms, field, ddid) == pytest.approx(expected, rel=1e-6)


@pytest.mark.oracle
@pytest.mark.casa
def test_virtual_models_of_casa_are_not_ignored(tiny_ms: Path, casa_python: str, tmp_path: Path) -> None:
    run = [casa_python, "-c", CASA, str(tiny_ms), "0,2", "False"]
    subprocess.run(run, check=True, cwd=tmp_path, capture_output=True)
    index = open_index(str(tiny_ms))
    with pytest.raises(FluxModelError, match=r"field 0 \(J2253\+1608\) has a virtual model made by CASA"):
        row_models(index, 0)
    assert row_models(index, 0, fields=[1, 3]).needs_column == {1, 3}
    setjy(str(tiny_ms), field="0", fluxdensity=3.0)
    assert load_model_assignment(index).foreign == {2}
