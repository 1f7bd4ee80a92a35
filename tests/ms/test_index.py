"""The index: what the rows and subtables say, checked against what was written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.errors import MeasurementSetError
from calibrant.ms.index import open_index
from planted import STEP, Plan, Planted, Window, get, plant


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    windows = (Window(4, corr="XX XY YX YY"), Window(3, 102e9, -2e6))
    return plant(tmp_path_factory.mktemp("index") / "a.ms", Plan(nant=4, windows=windows, order="shuffled"))


def test_without_a_home(made: Planted) -> None:
    """As in a bare container or a cron job: casacore opens no table where HOME is not set."""
    code = f"from calibrant.ms.index import open_index; print(open_index({made.path!r}).time_scale)"
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True)
    assert done.stdout == "UTC\n", done.stderr


def test_rows(made: Planted) -> None:
    index = open_index(made.path)
    names = {"ddid": "DATA_DESC_ID", "field": "FIELD_ID", "scan": "SCAN_NUMBER", "state": "STATE_ID",
             "obs": "OBSERVATION_ID", "array": "ARRAY_ID", "ant1": "ANTENNA1", "ant2": "ANTENNA2"}  # fmt: skip
    for name, column in names.items():
        values = getattr(index, name)
        assert values.dtype == np.int32
        np.testing.assert_array_equal(values, get(made.path, column))
        assert getattr(index, name) is values, "read once"
    assert index.nrow == len(index.ddid) == 10 * 10 * 2
    np.testing.assert_array_equal(index.spw, index.ddid)


def test_times(made: Planted) -> None:
    index = open_index(made.path)
    np.testing.assert_array_equal(index.times, made.time)
    np.testing.assert_array_equal(index.times[index.time_id], get(made.path, "TIME"))
    assert np.diff(index.times).min() == STEP


def test_subtables(made: Planted) -> None:
    index = open_index(made.path)
    assert index.antennas.name == ["DV00", "DV01", "DV02", "DV03"]
    assert index.antennas.position.shape == (4, 3)
    assert (index.antennas.diameter == 12).all()
    assert index.fields.name == ["CAL0", "CAL1"]
    np.testing.assert_allclose(index.fields.direction, [[1.0, -0.4], [1.1, -0.4]])
    assert [spw.nchan for spw in index.spws] == [4, 3]
    np.testing.assert_array_equal(index.spws[1].freq, 102e9 - 2e6 * np.arange(3))
    assert (index.spws[1].width == -2e6).all()
    assert index.spws[1].total_bandwidth == 6e6
    assert index.intents(0) == ["CALIBRATE_PHASE#ON_SOURCE"]
    assert index.intents(-1) == index.intents(7) == []
    assert index.observations[0].telescope == "ALMA"
    assert index.observations[0].time_range[0] == made.time[0] - STEP / 2
    assert index.subtable("NOT_THERE") == {}
    assert list(index.subtable("ANTENNA")["STATION"]) == ["A000", "A001", "A002", "A003"]


def test_polarizations(made: Planted) -> None:
    four, two = open_index(made.path).polarizations
    assert four.names == ["XX", "XY", "YX", "YY"]
    np.testing.assert_array_equal(four.product, [[0, 0], [0, 1], [1, 0], [1, 1]])
    assert four.parallel.tolist() == [0, 3]
    assert two.names == ["XX", "YY"]
    assert two.parallel.tolist() == [0, 1]


@pytest.mark.parametrize(("corr", "parallel"), [("YY XX", [1, 0]), ("XY", []), ("YY", [0]), ("I", [0])])
def test_parallel_hands_are_ordered_by_receptor(corr: str, parallel: list[int], tmp_path: Path) -> None:
    made = plant(tmp_path / "a.ms", Plan(nant=3, windows=(Window(2, corr=corr),), scans=((0, 1),)))
    (pol,) = open_index(made.path).polarizations
    assert pol.parallel.tolist() == parallel


def test_what_is_no_measurement_set(made: Planted, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "absent", "does not exist"),
        (tmp_path / "file", "is a file"),
        (tmp_path, "without table.dat"),
        (Path(made.path) / "FIELD", "is a table but not a MeasurementSet: it has no column ANTENNA1, ANTENNA2"),
    ):
        with pytest.raises(MeasurementSetError, match=message):
            open_index(str(path))
    copy = tmp_path / "copy.ms"
    shutil.copytree(made.path, copy)
    shutil.rmtree(copy / "SPECTRAL_WINDOW")
    with pytest.raises(MeasurementSetError, match=r"copy\.ms has no subtable SPECTRAL_WINDOW"):
        open_index(str(copy))
    index = open_index(made.path)
    with pytest.raises(MeasurementSetError, match="no column FLOAT_DATA"):
        index.column("FLOAT_DATA")


def test_empty(made: Planted, tmp_path: Path) -> None:
    from casacore.tables import table

    tab = table(made.path, ack=False)
    none = tab.query("FIELD_ID == 99")
    none.copy(str(tmp_path / "none.ms"), deep=True).close()
    none.close()
    tab.close()
    for name in ("ANTENNA", "DATA_DESCRIPTION", "FIELD", "POLARIZATION", "SPECTRAL_WINDOW"):
        if not (tmp_path / "none.ms" / name).exists():
            shutil.copytree(Path(made.path) / name, tmp_path / "none.ms" / name)
    with pytest.raises(MeasurementSetError, match="has no rows"):
        open_index(str(tmp_path / "none.ms"))
