"""flagdata: against CASA's stored numbers and a live CASA, and what it says when things go wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.errors import MeasurementSetError, ParameterError, SelectionError
from calibrant.ms import flagversions
from calibrant.ms.index import open_index
from calibrant.ms.reader import read_chunks, read_rows
from calibrant.ms.tables import open_table
from calibrant.ms.writer import MSWriter
from calibrant.tasks.flagdata import flagdata
from calibrant.tasks.flagmanager import flagmanager

pytestmark = pytest.mark.oracle


@pytest.fixture
def unflagged(tiny_ms: Path) -> str:
    """tiny.ms with the flags it had before CASA's chain: none."""
    flagmanager(str(tiny_ms), mode="restore", versionname="orig")
    return str(tiny_ms)


def flags(path: str) -> dict[int, np.ndarray]:
    """DATA_DESC_ID -> FLAG of its rows, in the order of the MS."""
    index = open_index(path)
    return {int(ddid): read_rows(index, "FLAG", np.flatnonzero(index.ddid == ddid)) for ddid in np.unique(index.ddid)}


def assert_same(left: dict[int, np.ndarray], right: dict[int, np.ndarray]) -> None:
    for ddid in left:
        np.testing.assert_array_equal(left[ddid], right[ddid])


CHAIN: list[dict[str, Any]] = [
    {"mode": "manual", "autocorr": True, "spw": "0,1"},
    {"mode": "shadow", "tolerance": 0.0},
    {"mode": "quack", "quackinterval": 6.0, "quackmode": "beg"},
    {"mode": "manual", "spw": "0:0~1;30~31"},
    {"mode": "clip", "clipzeros": True, "spw": "0,1"},
]


def test_chain_gives_casas_summary(unflagged: str, oracle: Path) -> None:
    """The flagging steps of the oracle's chain, call by call: every number of CASA's summary."""
    for step in CHAIN:
        flagdata(unflagged, **step, flagbackup=False)
    flagdata(unflagged, mode="list", inpfile=str(oracle / "out/flags.txt"), flagbackup=False)
    expected = json.loads((oracle / "out/flagsummary.json").read_text())
    assert flagdata(unflagged, mode="summary").to_dict() == expected


def test_chain_in_one_pass(unflagged: str, oracle: Path) -> None:
    """The same as one list; edge in place of the channel selection, zeros in place of clip."""
    lines = [
        "mode='manual' autocorr=True spw='0,1'",
        "mode='shadow'",
        "mode='quack' quackinterval=6.0",
        "mode='edge' edgechannels=2 spw=0",
        "mode='zeros' spw='0,1'",
        *(oracle / "out/flags.txt").read_text().splitlines(),
        "mode='summary' name='after'",
    ]
    result = flagdata(unflagged, mode="list", inpfile=lines, flagbackup=False)
    expected = json.loads((oracle / "out/flagsummary.json").read_text()) | {"name": "after"}
    assert result.reports == (expected,)
    assert result.flagged == expected["flagged"] == sum(result.by["spw"].values())


def test_summary_of_a_part(unflagged: str) -> None:
    flagdata(unflagged, spw="1:10~19", correlation="XX", scan="2", flagbackup=False)
    report = flagdata(unflagged, mode="summary", spw="1:10~29", scan="2").to_dict()
    assert report["flagged"] * 4 == report["total"] > 0
    assert report["correlation"]["YY"]["flagged"] == 0
    assert set(report["scan"]) == {"2"} and set(report["spw"]) == {"1"}


def test_backup_and_restore(unflagged: str) -> None:
    before = flags(unflagged)
    first = flagdata(unflagged, scan="1", cmdreason="looks bad")
    second = flagdata(unflagged, scan="2")
    assert (first.flag_version, second.flag_version) == ("flagdata_1", "flagdata_2")
    comments = {version.name: version.comment for version in flagversions.list_versions(unflagged)}
    assert comments["flagdata_1"].startswith("Flags autosave on ") and "looks bad" in comments["flagdata_1"]
    flagmanager(unflagged, mode="restore", versionname="flagdata_1")
    assert_same(flags(unflagged), before)


def test_unflag_clears_flag_row(unflagged: str) -> None:
    index = open_index(unflagged)
    rows = np.flatnonzero(index.scan == 1)
    flagdata(unflagged, scan="1,2", flagbackup=False)
    with MSWriter(unflagged, "test") as out:
        out.put("FLAG_ROW", np.arange(index.nrow), np.isin(index.scan, (1, 2)))
    scans, times = index.scan.copy(), index.time.copy()
    result = flagdata(unflagged, mode="unflag", scan="1", flagbackup=False)
    index = open_index(unflagged)
    assert result.unflagged > 0 and result.flagged == 0
    np.testing.assert_array_equal(np.flatnonzero(index.column("FLAG_ROW")), np.flatnonzero(index.scan == 2))
    np.testing.assert_array_equal((index.scan, index.time), (scans, times))
    assert not any(chunk["FLAG"].any() for chunk in read_chunks(index, rows, ["FLAG"]))


def test_calculate_and_dry_run_touch_nothing(unflagged: str) -> None:
    before = flags(unflagged)
    stamp = os.stat(Path(unflagged) / "table.f3_TSM1").st_mtime_ns
    calculated = flagdata(unflagged, mode="quack", quackinterval=6.0, action="calculate")
    told = flagdata(unflagged, mode="quack", quackinterval=6.0, dry_run=True)
    assert "2720 rows" in told.summary() and "everything" not in told.summary()
    assert "without a selection, everything would be flagged" in flagdata(unflagged, dry_run=True).summary()
    assert calculated.flagged > 0 and "would be newly flagged" in calculated.summary()
    assert told.flagged == 0 and "Nothing was touched" in told.summary()
    assert os.stat(Path(unflagged) / "table.f3_TSM1").st_mtime_ns == stamp
    assert [version.name for version in flagversions.list_versions(unflagged)] == ["orig", "applycal_1"]
    assert_same(flags(unflagged), before)
    assert flagdata(unflagged, mode="quack", quackinterval=6.0, flagbackup=False).flagged == calculated.flagged


def test_repeating_flags_nothing_new(unflagged: str) -> None:
    assert flagdata(unflagged, antenna="DV01", flagbackup=False).flagged > 0
    assert flagdata(unflagged, antenna="DV01", flagbackup=False).flagged == 0


def test_not_a_number_is_flagged(unflagged: str) -> None:
    rows = np.flatnonzero(open_index(unflagged).ddid == 0)[:3]
    data = read_rows(open_index(unflagged), "DATA", rows)
    data[0, 3, 0], data[1, 4, 1], data[2, 5, 0] = np.nan, complex(np.inf, np.nan), 0
    with MSWriter(unflagged, "test") as out:
        out.put("DATA", rows, data)
    assert flagdata(unflagged, mode="clip", flagbackup=False).flagged == 2
    assert flagdata(unflagged, mode="zeros", flagbackup=False).flagged == 1
    where = np.argwhere(read_rows(open_index(unflagged), "FLAG", rows))
    assert where.tolist() == [[0, 3, 0], [1, 4, 1], [2, 5, 0]]


def test_reasons_choose_lines(unflagged: str, tmp_path: Path) -> None:
    path = tmp_path / "flags.txt"
    path.write_text("# a comment\n\nscan=1 reason=one\nmode='manual' scan='2' reason='two'  # why\n")
    assert len(flagdata(unflagged, mode="list", inpfile=str(path), dry_run=True).commands) == 2
    chosen = flagdata(unflagged, mode="list", inpfile=str(path), reason="two", dry_run=True).commands
    assert len(chosen) == 1 and "scan='2'" in chosen[0]
    with pytest.raises(ParameterError, match="no command with reason 'three'"):
        flagdata(unflagged, mode="list", inpfile=str(path), reason="three")


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        (["mode='manul' scan='1'"], ParameterError, "command 1 of the list.*Did you mean 'manual'"),
        (["scan='1'", "scann='1'"], ParameterError, "command 2 of the list.*Did you mean 'scan'"),
        (["scan='1' scan='2'"], ParameterError, "given twice"),
        (["scan='1' and more"], ParameterError, "cannot be understood at 'and more'"),
        (["clipzeros=maybe"], ParameterError, "clipzeros=maybe is no value"),
        (["antenna='DV99'"], SelectionError, "command 1 of the list.*DV99"),
        (["mode='quack' quackinterval=0"], ParameterError, "quackinterval=0.0"),
        (["mode='quack' quackmode=begin"], ParameterError, "quackmode called 'begin'"),
        (["mode='clip' clipminmax=[5,1]"], ParameterError, "lowest, highest"),
        (["mode='clip' correlation='PHASE_XX'"], ParameterError, "operator called 'PHASE'"),
        (["mode='clip' datacolumn='DATTA'"], ParameterError, "Did you mean 'DATA'"),
        (["mode='edge' edgechannels=2"], ParameterError, "all 4 channels of spw 2"),
        (["no such file"], ParameterError, "neither a file nor a command"),
        ([], ParameterError, "needs inpfile"),
    ],
)
def test_bad_orders_change_nothing(unflagged: str, lines: list[str], error: type[Exception], words: str) -> None:
    before = flags(unflagged)
    with pytest.raises(error, match=words):
        flagdata(unflagged, mode="list", inpfile=lines)
    assert_same(flags(unflagged), before)
    assert [version.name for version in flagversions.list_versions(unflagged)] == ["orig", "applycal_1"]


def test_missing_column(unflagged: str) -> None:
    tab = open_table(unflagged, writable=True)
    tab.removecols(["CORRECTED_DATA"])
    tab.close()
    with pytest.raises(MeasurementSetError, match="no column CORRECTED_DATA, read by clip"):
        flagdata(unflagged, mode="clip", datacolumn="CORRECTED")


def test_channel_steps_are_kept(unflagged: str) -> None:
    """CASA's flagdata drops the step and flags every channel from 10 to 20."""
    flagdata(unflagged, spw="1:10~20^2", flagbackup=False)
    assert np.flatnonzero(flags(unflagged)[1].any(axis=(0, 2))).tolist() == [10, 12, 14, 16, 18, 20]


CASES: dict[str, list[dict[str, Any]]] = {
    "antenna": [{"antenna": "DV01"}],
    "antenna with autos": [{"antenna": "DV01&&&"}],
    "baselines": [{"antenna": "DV01&DA41;2&&3"}],
    "channels": [{"spw": "0:3~7;20,1:10~20"}],
    "correlation": [{"correlation": "YY", "spw": "0,1"}],
    "field": [{"field": "1,TARGET*"}],
    "scan": [{"scan": "2~3,>5"}],
    "intent": [{"intent": "*PHASE*"}],
    "uvrange": [{"uvrange": ">100m"}],
    "uvrange in wavelengths": [{"uvrange": "0~30klambda", "spw": "0,1"}],
    "timerange": [{"timerange": "05:00:00~05:00:30"}],
    "later": [{"timerange": ">2024/08/15/05:03:00"}],
    "autocorr": [{"autocorr": True}],
    "shadow": [{"mode": "shadow"}],
    "shadow with tolerance": [{"mode": "shadow", "tolerance": 20.0}],
    "quack 6": [{"mode": "quack", "quackinterval": 6.0}],
    "quack 6.1": [{"mode": "quack", "quackinterval": 6.1}],
    "quack beg": [{"mode": "quack", "quackinterval": 15.0}],
    "quack endb": [{"mode": "quack", "quackinterval": 15.0, "quackmode": "endb"}],
    "quack tail": [{"mode": "quack", "quackinterval": 15.0, "quackmode": "tail"}],
    "quack end": [{"mode": "quack", "quackinterval": 15.0, "quackmode": "end"}],
    "quack a part": [{"mode": "quack", "quackinterval": 8.0, "timerange": ">05:00:20", "spw": "0"}],
    "quack increment": [{"mode": "quack", "quackinterval": 10.0}]
    + 2 * [{"mode": "quack", "quackinterval": 10.0, "quackincrement": True}],
    "quack increment endb": [
        {"scan": "3"},
        {"mode": "quack", "quackinterval": 10.0, "quackmode": "endb"},
        {"mode": "quack", "quackinterval": 10.0, "quackmode": "endb", "quackincrement": True},
    ],
    "clip outside": [{"mode": "clip", "clipminmax": [1e-4, 3e-3], "spw": "0,1"}],
    "clip inside": [{"mode": "clip", "clipminmax": [1e-4, 3e-3], "clipoutside": False, "spw": "0,1"}],
    "clip one correlation": [{"mode": "clip", "clipminmax": [0.0, 2e-3], "correlation": "ABS_XX", "spw": "0,1"}],
    "clip real": [{"mode": "clip", "clipminmax": [-1e-3, 1e-3], "correlation": "REAL_ALL", "spw": "0,1"}],
    "clip arg": [{"mode": "clip", "clipminmax": [-1.0, 1.0], "correlation": "ARG_YY", "spw": "0,1"}],
    "clip corrected": [{"mode": "clip", "clipminmax": [0.0, 5.0], "datacolumn": "CORRECTED", "spw": "0,1"}],
    "clip model": [{"mode": "clip", "clipminmax": [0.0, 5.0], "datacolumn": "MODEL", "spw": "0,1"}],
    "clip residual": [{"mode": "clip", "clipminmax": [0.0, 1.0], "datacolumn": "RESIDUAL", "spw": "0,1"}],
    "clip zeros": [{"mode": "clip", "clipzeros": True}],
    "unflag": [{"scan": "1~3"}, {"mode": "unflag", "antenna": "DV01"}, {"mode": "unflag", "spw": "0:3~5"}],
}

CASA = """
import json, sys
import numpy as np
from casatasks import flagdata, flagmanager
from casatools import table
vis, out = sys.argv[1:]
tb, result = table(), {}
for name, calls in json.load(open(out + ".json")).items():
    flagmanager(vis, mode="restore", versionname="orig")
    for call in calls:
        flagdata(vis, flagbackup=False, **call)
    for ddid in range(3):
        tb.open(vis)
        part = tb.query(f"DATA_DESC_ID=={ddid}")
        result[f"{name} {ddid}"] = np.transpose(part.getcol("FLAG"), (2, 1, 0))
        part.close()
        tb.close()
np.savez(out, **result)
"""


@pytest.fixture(scope="module")
def casa_flags(
    oracle: Path, tmp_path_factory: pytest.TempPathFactory, casa_python: str
) -> tuple[str, dict[str, np.ndarray]]:
    """An MS with wide dishes (so that some are shadowed) and a few zeros, and what CASA flags in it, case by case."""
    import shutil

    folder = tmp_path_factory.mktemp("casa")
    for name in ("tiny.ms", "tiny.ms.flagversions"):
        shutil.copytree(oracle / name, folder / name)
    path = str(folder / "tiny.ms")
    tab = open_table(path + "/ANTENNA", writable=True)
    tab.putcol("DISH_DIAMETER", np.full(tab.nrows(), 60.0))
    tab.close()
    with MSWriter(path, "test") as out:
        rows = np.flatnonzero(open_index(path).ddid == 0)[:50]
        data = read_rows(open_index(path), "DATA", rows)
        data[::7, 3:5, 0] = 0
        out.put("DATA", rows, data)
    (folder / "flags.json").write_text(json.dumps(CASES))
    command = [casa_python, "-c", CASA, path, str(folder / "flags")]
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return path, dict(np.load(folder / "flags.npz"))


@pytest.mark.casa
@pytest.mark.parametrize("case", CASES)
def test_flags_are_casas(casa_flags: tuple[str, dict[str, np.ndarray]], case: str) -> None:
    path, expected = casa_flags
    flagmanager(path, mode="restore", versionname="orig")
    for call in CASES[case]:
        flagdata(path, flagbackup=False, **call)
    found = flags(path)
    assert any(part.any() for part in found.values()), "the case flags nothing"
    for ddid, part in found.items():
        np.testing.assert_array_equal(part, expected[f"{case} {ddid}"])
