"""Points of scans without VAL rows have no direction and may have no polarisation: named and counted, never fatal."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import DataError
from calibrant.jobs.station_report import report
from calibrant.station.load import load
from calibrant.station.simulate import Options, SimulatedStation, simulate_log
from calibrant.station.unknowns import notes_of
from calibrant.station.verbs.edit import edit
from calibrant.station.verbs.fit_gain import fit_gain
from calibrant.station.verbs.fit_tcal import fit_tcal
from calibrant.station.verbs.fit_trec import fit_trec
from calibrant.station.verbs.onoff import onoff
from calibrant.station.verbs.plot import plot

FITS = (fit_gain, fit_tcal, fit_trec)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "opacity"])
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> SimulatedStation:
    options = Options(seed=2, hours=10, interval_min=30, detectors=2, vlbi=False, opacity_corrected=request.param)
    return simulate_log(tmp_path_factory.mktemp("val"), options)


def without_val(made: SimulatedStation, folder: Path, every: int) -> str:
    """The log without VAL and SIG rows of each scan whose number is a multiple of `every`."""
    path, scan, lines = folder / "cut.log", 0, []
    for line in Path(made.log).read_text().splitlines(keepends=True):
        scan += "TCal" in line and "DPFU" in line
        if not (scan % every == 0 and re.search("#onoff#(VAL|SIG)", line)):
            lines.append(line)
    assert scan == made.scans
    path.write_text("".join(lines))
    return str(path)


def test_nothing_fails_and_everything_is_counted(made: SimulatedStation, tmp_path: Path) -> None:
    log = without_val(made, tmp_path, 2)
    table = onoff([log], rxg=[made.rxg])
    assert len(table.rows) == 6 * made.scans
    words = f"{made.scans // 2} scans without VAL rows) have no direction."
    assert f"{3 * made.scans} of {6 * made.scans} points ({words}" in table.summary()
    for fit in FITS:
        found = fit([log], rxg=[made.rxg])
        assert found.common.left_out["of unknown elevation (no VAL row)"] == 3 * made.scans
    drawn = plot([log], x="elevation", y="sefd", rxg=[made.rxg], fit=False, output=str(tmp_path / "p.png"))
    assert (drawn.included, drawn.missing) == (3 * made.scans, 3 * made.scans)
    assert any("have no direction" in note for note in drawn.notes)
    assert plot([log], x="time", y="sefd", output=str(tmp_path / "q.png")).missing == 0
    assert edit([log], rxg=[made.rxg], rules="default", dry_run=True).logs[0].points == 6 * made.scans
    judged = report([log], rxg=[made.rxg], output=str(tmp_path / "r.html"))
    assert any("have no direction" in check.sentence for check in judged.judgement.checks)
    assert "could not be drawn" not in (tmp_path / "r.html").read_text()


def test_a_log_without_any_val_row(made: SimulatedStation, tmp_path: Path) -> None:
    log = without_val(made, tmp_path, 1)
    points = load([log], rxg=[made.rxg]).points
    assert set(points["pol"].tolist()) == {""} and np.isfinite(points["sefd_jy"]).all()
    assert len(list(notes_of(points))) == 2
    for fit in FITS:
        with pytest.raises(DataError, match=f"{len(points)} of unknown polarisation"):
            fit([log], rxg=[made.rxg])
    with pytest.raises(DataError, match=r"nothing to draw of gain .* without VAL rows\) have no polarisation"):
        plot([log], y="gain", rxg=[made.rxg], fit=True, output=str(tmp_path / "p.png"))
    judged = report([log], rxg=[made.rxg], output=str(tmp_path / "r.html"))
    assert judged.verdict == "check"
    assert any("(polarisation unknown): Tcal ratio" in reason for reason in judged.reasons)
    assert any("no elevation is known" in reason for reason in judged.reasons)
    assert "could not be drawn" not in (tmp_path / "r.html").read_text()
