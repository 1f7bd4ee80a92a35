"""A new MeasurementSet: complete, what was put in comes out, all or nothing, and good enough for CASA."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.errors import ExistsError, MeasurementSetError
from calibrant.ms.create import create_ms, tile_rows
from calibrant.ms.create_subtables import Source
from calibrant.ms.index import Antennas, Fields, Observation, Polarization, SpectralWindow, open_index
from calibrant.ms.tables import open_subtable, open_table

NANT, NTIME, START = 5, 6, 5230414800.0
NBL = NANT * (NANT - 1) // 2
NROW = 2 * NTIME * NBL


def linear(*codes: int) -> Polarization:
    product = {9: (0, 0), 10: (0, 1), 11: (1, 0), 12: (1, 1)}
    return Polarization(np.array(codes, np.int32), np.array([product[code] for code in codes], np.int32))


def window(number: int, nchan: int, first: float) -> SpectralWindow:
    freq = first + 1e6 * np.arange(nchan)
    width = np.full(nchan, 1e6)
    return SpectralWindow(number, f"SPW{number}", freq, width, width, width, freq[0], nchan * 1e6, 5, 1)


def description() -> dict[str, Any]:
    """Two fields, two spectral windows of other shapes (8 x 4 and 6 x 2), states with intents."""
    angle = np.arange(NANT) * 1.3
    position = np.array([2225061.0, -5440057.0, -2481681.0]) + 200 * np.stack(
        [np.cos(angle), np.sin(angle), angle * 0], axis=1
    )
    return {
        "antennas": Antennas(
            [f"DV{n:02d}" for n in range(NANT)],
            [f"A{n:03d}" for n in range(NANT)],
            ["ALT-AZ"] * NANT,
            position,
            np.full(NANT, 12.0),
        ),
        "fields": Fields(
            ["cal", "target"], ["none"] * 2, np.array([0, 1], np.int32), np.array([[1, -0.4], [1.1, -0.5]])
        ),
        "spws": [window(0, 8, 100e9), window(1, 6, 110e9)],
        "polarizations": [linear(9, 10, 11, 12), linear(9, 12)],
        "ddids": [(0, 0), (1, 1)],
        "states": ["CALIBRATE_PHASE#ON_SOURCE", "OBSERVE_TARGET#ON_SOURCE"],
        "observations": [Observation("ALMA", "me", "P1", np.zeros(2))],
        "sources": [
            Source(0, "cal", (1, -0.4), spw=0),
            Source(1, "target", (1.1, -0.5), spw=1, rest_frequency=(110.2e9,), sysvel=(1e3,), transition=("CO",)),
        ],
    }  # fmt: skip


def rows(ddid: int, step: int) -> dict[str, Any]:
    """All rows of one time and DATA_DESC_ID: the point source of 1 Jy with a little noise."""
    ant1, ant2 = np.triu_indices(NANT, 1)
    shape = [(8, 4), (6, 2)][ddid]
    random = np.random.default_rng(10 * step + ddid)
    noise = random.normal(size=(2, NBL, *shape)) * 0.01
    data = np.broadcast_to(np.array({4: [1, 0, 0, 1], 2: [1, 1]}[shape[1]]), (NBL, *shape)) + noise[0] + 1j * noise[1]
    field = step // 3
    return {
        "TIME": np.full(NBL, START + 6.0 * step),
        "INTERVAL": np.full(NBL, 6.0),
        "ANTENNA1": ant1,
        "ANTENNA2": ant2,
        "DATA_DESC_ID": np.full(NBL, ddid),
        "FIELD_ID": np.full(NBL, field),
        "SCAN_NUMBER": np.full(NBL, field + 1),
        "STATE_ID": np.full(NBL, field),
        "UVW": random.normal(size=(NBL, 3)) * 100,
        "DATA": data,
        "FLAG": np.zeros((NBL, *shape), bool),
        "SIGMA": np.full((NBL, shape[1]), 0.01),
    }


def write(path: Path, **options: Any) -> None:
    """Interleaved rows: time by time, both spectral windows, in one put each."""
    with create_ms(str(path), nrow=NROW, **description(), **options) as new:
        for step in range(NTIME):
            for ddid in range(2):
                new.put_rows((2 * step + ddid) * NBL, rows(ddid, step))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "new.ms"
    write(path, history=["simulate(...)"])
    return path


def test_index_shows_what_was_described(made: Path) -> None:
    index = open_index(str(made))
    assert index.nrow == NROW
    assert index.antennas.name == [f"DV{n:02d}" for n in range(NANT)]
    assert index.fields.name == ["cal", "target"]
    np.testing.assert_allclose(index.fields.direction, [[1, -0.4], [1.1, -0.5]])
    assert [spw.nchan for spw in index.spws] == [8, 6]
    assert index.spws[1].freq[2] == 110.002e9
    assert [pol.names for pol in index.polarizations] == [["XX", "XY", "YX", "YY"], ["XX", "YY"]]
    assert index.intents(1) == ["OBSERVE_TARGET#ON_SOURCE"]
    assert index.observations[0].telescope == "ALMA"
    np.testing.assert_array_equal(index.observations[0].time_range, [START - 3, START + 6 * NTIME - 3])
    assert len(index.times) == NTIME


def test_rows_come_back(made: Path) -> None:
    tab = open_table(str(made))
    for step in range(NTIME):
        for ddid in range(2):
            start, want = (2 * step + ddid) * NBL, rows(ddid, step)
            for name, values in want.items():
                got = tab.getcol(name, start, NBL)
                np.testing.assert_array_equal(got, np.asarray(values).astype(got.dtype), err_msg=name)
    np.testing.assert_array_equal(tab.getcol("TIME_CENTROID"), tab.getcol("TIME"))
    np.testing.assert_array_equal(tab.getcol("EXPOSURE"), 6.0)
    np.testing.assert_allclose(tab.getcell("WEIGHT", 3), 1e4, rtol=1e-6)
    assert not tab.getcol("FLAG_ROW").any()
    tab.close()


def test_units_frames_and_subtables(made: Path) -> None:
    tab = open_table(str(made))
    assert tab.getcolkeyword("TIME", "MEASINFO") == {"type": "epoch", "Ref": "UTC"}
    assert tab.getcolkeyword("UVW", "QuantumUnits") == ["m", "m", "m"]
    assert tab.getkeyword("MS_VERSION") == 2.0
    assert tab.info()["type"] == "Measurement Set"
    names = {"ANTENNA", "DATA_DESCRIPTION", "FEED", "FIELD", "FLAG_CMD", "HISTORY", "OBSERVATION", "POINTING",
             "POLARIZATION", "PROCESSOR", "SOURCE", "SPECTRAL_WINDOW", "STATE"}  # fmt: skip
    for name in names:
        assert os.path.samefile(tab.getkeyword(name).removeprefix("Table: "), made / name)
    assert tab.getdminfo("DATA")["TYPE"] == "TiledShapeStMan"
    tab.close()
    spw = open_subtable(str(made), "SPECTRAL_WINDOW")
    assert spw.getcolkeyword("CHAN_FREQ", "MEASINFO")["VarRefCol"] == "MEAS_FREQ_REF"
    spw.close()
    source = open_subtable(str(made), "SOURCE")
    assert source.getcell("REST_FREQUENCY", 1) == [110.2e9]
    assert source.getcell("TRANSITION", 1) == ["CO"]
    source.close()
    history = open_subtable(str(made), "HISTORY")
    assert history.getcol("MESSAGE")[-1] == "simulate(...)"
    history.close()


def test_columns_may_come_one_after_the_other(tmp_path: Path) -> None:
    """All ids of all rows first, then cubes in pieces of any size."""
    path = tmp_path / "new.ms"
    parts = [rows(ddid, step) for ddid in range(2) for step in range(NTIME)]
    cubes = ("DATA", "FLAG", "SIGMA", "WEIGHT_SPECTRUM")
    for part in parts:
        part["WEIGHT_SPECTRUM"] = np.full(part["DATA"].shape, 1e4)
    with create_ms(str(path), nrow=NROW, weight_spectrum=True, **description()) as new:
        new.put_rows(0, {k: np.concatenate([part[k] for part in parts]) for k in parts[0] if k not in cubes})
        for half in range(2):
            whole = {k: np.concatenate([part[k] for part in parts[6 * half : 6 * half + 6]]) for k in cubes}
            first = half * NROW // 2
            new.put_rows(first, {k: values[:23] for k, values in whole.items()})
            new.put_rows(first + 23, {k: values[23:] for k, values in whole.items()})
    tab = open_table(str(path))
    np.testing.assert_array_equal(tab.getcol("DATA", NROW // 2, NBL), parts[NTIME]["DATA"].astype(np.complex64))
    assert tab.getcell("WEIGHT_SPECTRUM", NROW - 1).shape == (6, 2)
    tab.close()


def test_frame_offset_and_absent_states(tmp_path: Path) -> None:
    path = tmp_path / "new.ms"
    told = {**description(), "states": (), "sources": None}
    offset = np.zeros((NANT, 3))
    offset[1, 0] = 2.5
    with create_ms(str(path), nrow=NBL, direction_frame="B1950", antenna_offset=offset, **told) as new:
        part = rows(0, 0)
        del part["STATE_ID"]
        new.put_rows(0, part)
    field = open_subtable(str(path), "FIELD")
    assert field.getcolkeyword("PHASE_DIR", "MEASINFO")["Ref"] == "B1950"
    field.close()
    antenna = open_subtable(str(path), "ANTENNA")
    assert antenna.getcell("OFFSET", 1)[0] == 2.5
    antenna.close()
    assert (open_index(str(path)).state == -1).all()
    assert list(open_index(str(path)).subtable("SOURCE")["NAME"]) == ["cal", "target"]


def test_nothing_is_left_after_an_exception(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError),
        create_ms(str(tmp_path / "new.ms"), nrow=NROW, **description()) as new,
    ):
        new.put_rows(0, rows(0, 0))
        raise KeyError("the caller failed")
    assert list(tmp_path.iterdir()) == []


def test_missing_rows_are_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(MeasurementSetError, match=f"{NBL + 1} rows were announced.*{NBL} of DATA"),
        create_ms(str(tmp_path / "new.ms"), nrow=NBL + 1, **description()) as new,
    ):
        new.put_rows(0, rows(0, 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "start", "message"),
    [
        ({"UVW": np.zeros((3, 3))}, 0, r"another length: UVW \(3\)"),
        ({"MODEL_DATA": np.zeros((NBL, 8, 4))}, 0, "no column MODEL_DATA"),
        ({}, 5, "cannot write 10 rows from row 5 of 10"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, change: dict[str, Any], start: int, message: str) -> None:
    with (
        pytest.raises(MeasurementSetError, match=message),
        create_ms(str(tmp_path / "new.ms"), nrow=NBL, **description()) as new,
    ):
        new.put_rows(start, {**rows(0, 0), **change})


def test_existing_output(tmp_path: Path) -> None:
    path = tmp_path / "new.ms"
    write(path)
    (tmp_path / "new.ms.flagversions").mkdir()
    with pytest.raises(ExistsError, match="overwrite"):
        write(path)
    write(path, overwrite=True)
    assert open_index(str(path)).nrow == NROW
    assert [entry.name for entry in tmp_path.iterdir()] == ["new.ms"]  # flag versions of other rows are gone
    other = tmp_path / "precious"
    other.mkdir()
    with pytest.raises(ExistsError, match=r"no table\.dat"):
        write(other, overwrite=True)
    assert other.is_dir()


def test_tiles() -> None:
    assert tile_rows([(64, 4)], 10**6) == 512  # 1 MiB
    assert tile_rows([(64, 4)], 100) == 100
    assert tile_rows([(3840, 2), (4, 1)], 10**6) == 68  # the small shape lifts it, to 4 MiB at most


CASA_CHECK = """
import json, sys
import numpy as np
from casatasks import applycal, exportuvfits, gaincal, listobs
from casatools import table
vis, cal, fits = sys.argv[1:]
listed = listobs(vis=vis, verbose=False)
gaincal(vis=vis, caltable=cal, field="cal", spw="0", refant="DV00", solint="inf", calmode="ap", minblperant=2)
applycal(vis=vis, gaintable=[cal], field="cal", spw="0")
exportuvfits(vis=vis, fitsfile=fits, spw="1", datacolumn="data")
tb = table(); tb.open(cal); gain = np.abs(tb.getcol("CPARAM")); tb.close()
print("RESULT " + json.dumps({"fields": listed["nfields"], "scans": sorted(k for k in listed if k.startswith("scan_")),
    "gain": [float(gain.min()), float(gain.max())]}))
"""


@pytest.mark.casa
@pytest.mark.slow
def test_casa_lists_solves_applies_and_exports(casa_python: str, tmp_path: Path) -> None:
    path = tmp_path / "new.ms"
    write(path)
    command = [casa_python, "-c", CASA_CHECK, str(path), str(tmp_path / "g.cal"), str(tmp_path / "out.fits")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert "RESULT " in done.stdout, done.stdout + done.stderr
    got = json.loads(done.stdout.split("RESULT ")[1].splitlines()[0])
    assert got["fields"] == 2
    assert got["scans"] == ["scan_1", "scan_2"]
    assert 0.99 < got["gain"][0] < got["gain"][1] < 1.01
    assert (tmp_path / "out.fits").stat().st_size > 5000
    tab = open_table(str(path))
    corrected = tab.getcol("CORRECTED_DATA", 0, NBL)
    assert abs(corrected[..., 0].mean() - 1) < 0.01
    tab.close()
