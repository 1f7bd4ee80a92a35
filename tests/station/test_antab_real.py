"""Antabs from real logs: against the Torun station's own file, and against the Field System's Tsys."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from calibrant.station.antab import AntabTsys, check_antab, format_antab, read_antab
from calibrant.station.antab_made import Made
from calibrant.station.antab_make import make_antab
from calibrant.station.detectors import Setup
from calibrant.station.fslog import records
from calibrant.station.records import OnOffScan, ScanStart, Setting, TotalPower
from calibrant.station.rxg import Receivers, parse
from calibrant.station.tsys_series import collect, system_temperature

pytestmark = pytest.mark.real_data

KINDS = (TotalPower, Setting, ScanStart)


@pytest.fixture(scope="module")
def torun(shared: Path) -> Path:
    return shared / "data/fs_logs/ec071m_torun"


@pytest.fixture(scope="module")
def plain(torun: Path) -> Made:
    """Ours, without cleaning."""
    log = str(torun / "ec071mtr.log.gz")
    return make_antab(records(log, KINDS), Receivers.read(torun / "Trc.rxg"), log=log, method="none")


def ours_for(theirs: AntabTsys, ours: AntabTsys) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of their rows: (our row, seconds that their stamp is later, whether they lack our row before)."""
    row = np.searchsorted(ours.seconds, theirs.seconds + 0.31) - 1
    missing = np.setdiff1d(np.arange(len(ours.seconds)), row)
    return row, theirs.seconds - ours.seconds[row], np.isin(row - 1, missing)


def test_torun_header(torun: Path, plain: Made) -> None:
    """Same columns, frequencies, Tcal, FREQ and curve as antabfs's file; its extra `/` is a note."""
    path = torun / "ec071mtr.antabfs"
    theirs = read_antab(str(path))
    gain, other = plain.antab.gains[0], theirs.gains[0]
    assert (gain.mount, gain.dpfu, gain.freq_mhz) == (other.mount, other.dpfu, other.freq_mhz)
    np.testing.assert_allclose(gain.poly, other.poly, rtol=1e-5)
    ours, his = plain.antab.tsys[0], theirs.tsys[0]
    assert ours.index == his.index
    columns = [[text for _, text in tsys.notes if text.startswith("Column")] for tsys in (ours, his)]
    assert columns[0] == columns[1] and len(columns[0]) == 16
    assert [(p.severity, p.line) for p in check_antab(path.read_text())] == [("note", 11)]


def test_torun_values(torun: Path, plain: Made) -> None:
    """All 21520 values of the station's file, with what differs named.

    1. antabfs averages the levels of an integration after which the Field System printed its own Tsys into the next
       row (115 rows); ours has both rows.
    2. It stamps an integration with the log line that ends it, up to 5.5 s late (80 rows: first and last of scans).
    3. Six values of R1 whose level without diode was 0 (Tsys = Tcal / 2) were replaced; the others were left.
    """
    theirs, ours = read_antab(str(torun / "ec071mtr.antabfs")).tsys[0], plain.antab.tsys[0]
    assert (len(theirs.seconds), len(ours.seconds)) == (1345, 1460)
    row, late, joined = ours_for(theirs, ours)
    assert joined.sum() == 115 and len(np.unique(row)) == 1345
    assert (np.abs(late) <= 0.31).sum() == 1265
    assert late[late > 0.31].min() > 1.0 and late.max() < 5.5

    log = collect(records(str(torun / "ec071mtr.log.gz"), KINDS)).series[0]
    order = [[d.name for d in log.detectors].index(c.detector.name) for c in plain.columns]
    tcal = np.array([c.tcal_k for c in plain.columns])
    high, low = (levels[:, order] for levels in (log.high, log.low))
    on, off = (np.where(joined[:, None], 0.5 * (x[row - 1] + x[row]), x[row]) for x in (high, low))
    expected = 0.5 * (on + off) * tcal / (on - off)
    np.testing.assert_allclose(expected[~joined], ours.values[row[~joined]], rtol=1e-9)
    wrong = np.abs(theirs.values - expected) > 0.0501
    assert wrong.sum() == 6 and wrong[:, 0].sum() == 6
    assert (low[row][wrong] == 0).all() and (np.abs(theirs.values[wrong] - 35.75) < 1.3).all()

    ratio = theirs.values[~joined] / ours.values[row[~joined]]
    assert abs(np.median(ratio) - 1) < 2e-4
    close = np.abs(theirs.values - ours.values[row]) <= np.maximum(0.0501, 5e-3 * ours.values[row])
    assert close.mean() > 0.95


def test_torun_rows_of_the_field_system(torun: Path, plain: Made) -> None:
    """The rows that antabfs comments out are the Field System's own Tsys, negative for IF A: a finding here."""
    text = (torun / "ec071mtr.antabfs").read_text()
    own = [line.split()[3:] for line in text.splitlines() if re.match(r"! 163 \d\d:\d\d\.\d\d -?\d", line)]
    values = np.array(own, dtype=float)
    assert len(own) == 130 and (values[:, :8] < 0).mean() > 0.99 and (np.median(values[:, 8:], axis=0) > 0).all()
    finding = next(f for f in plain.findings if f.kind == "negative Tsys printed")
    assert "1l, 1u, 2l, 2u, 3l, 3u, 4l, 4u" in finding.text
    assert "9l" not in finding.text and not any(column.swapped for column in plain.columns)
    assert abs(plain.columns[0].median_k - 36.0) < 0.5


def test_torun_cleaned(torun: Path) -> None:
    """The 162 readings with a level of 0 (Tsys of Tcal / 2 = 1 K in the station's file) are removed, all listed."""
    log = str(torun / "ec071mtr.log.gz")
    result = make_antab(records(log, KINDS), Receivers.read(torun / "Trc.rxg"), log=log)
    reasons = [change.reason for change in result.changes]
    assert reasons.count("a total power of 0") == 162 and len(reasons) < 300
    values = result.antab.tsys[0].tsys()
    assert np.isnan(values).sum() == len(reasons) and np.nanmin(values) > 14
    assert result.verdict == "good" and result.station == "TR"
    text = format_antab(result.antab)
    assert not [p for p in check_antab(text) if p.severity == "error"]


@pytest.mark.parametrize(
    ("name", "count"),
    [("r1730ny", 13648), ("r1722yg", 7184), ("r1749on", 5408), ("r1751kk", 6303), ("r4724ny", 9100), ("r4736hb", 3156)],
)
def test_every_tsys_of_the_field_system(shared: Path, name: str, count: int) -> None:
    """Tsys from tpi, tpzero, tpdiff and the log's caltemp is what the log prints, to its rounding (0.1 K)."""
    found = collect(records(str(shared / f"data/fs_logs/{name}.log.gz"), KINDS))
    compared = 0
    for series in found.series:
        tsys = system_temperature(series, series.caltemp)
        both = np.isfinite(tsys) & np.isfinite(series.printed)
        compared += int(both.sum())
        assert np.all(np.abs(tsys - series.printed)[both] <= 0.0501 + 1e-3 * np.abs(series.printed[both]))
    assert compared == count


@pytest.mark.parametrize("name", ["r4724ny", "r1722yg", "r1749on", "r1751kk", "r4736hb"])
def test_frequencies_are_those_of_onoff(shared: Path, name: str) -> None:
    """Sky frequency and LO of every detector from the set-up commands are those of the log's APR rows."""
    setup, checked = Setup(), 0
    for record in records(str(shared / f"data/fs_logs/{name}.log.gz"), (OnOffScan, Setting)):
        if isinstance(record, Setting):
            setup.feed(record)
            continue
        for apriori in record.apriori.values():
            detector, _ = setup.detector(apriori.detector)
            if detector is not None:
                assert abs(detector.freq_mhz - apriori.freq_mhz) < 0.0051
                assert abs(detector.lo_mhz - apriori.lo_mhz) < 0.0051
                checked += 1
    assert checked > 0


def receivers_of(log: str) -> Receivers:
    """Receiver files with the LOs, DPFU and Tcal of a log's APR rows."""
    lows: dict[float, list[tuple[float, float, float]]] = {}
    for record in records(log, (OnOffScan,)):
        if isinstance(record, OnOffScan):
            for a in record.apriori.values():
                lows.setdefault(a.lo_mhz, []).append((a.freq_mhz, a.tcal_k, a.dpfu))
    files = []
    for lo, rows in lows.items():
        table = "\n".join(f"rcp {freq} {tcal}" for freq, tcal, _ in sorted(set(rows)))
        head = f"fixed {lo}\n2016 1 1\nfrequency 1.0\nrcp\n{rows[0][2]}\nELEV POLY 1.0\n"
        text = f"{head}{table}\nend_tcal_table\n0.0\nend_spillover_table\n"
        files.append(parse(text, f"lo{lo:.0f}.rxg"))
    return Receivers(files)


@pytest.mark.parametrize(("name", "rows", "columns", "gains"), [("r1730ny", 976, 14, 3), ("r1722yg", 449, 16, 2)])
def test_antab_of_single_calibration(
    shared: Path, tmp_path: Path, name: str, rows: int, columns: int, gains: int
) -> None:
    log = str(tmp_path / f"{name}.log")
    Path(log).write_bytes(gzip.decompress((shared / f"data/fs_logs/{name}.log.gz").read_bytes()))
    made = make_antab(records(log, KINDS), receivers_of(log), log=log, method="none")
    assert (made.station, len(made.columns), len(made.antab.gains)) == (name[-2:].upper(), columns, gains)
    assert [g.pols for g in made.antab.gains] == [("r",)] * gains
    series = collect(records(log, KINDS)).series[0]
    tsys = made.antab.tsys[0]
    assert len(tsys.seconds) == rows
    np.testing.assert_array_equal([c.detector.name for c in made.columns], [d.name for d in series.detectors])
    good = np.isfinite(series.printed) & np.isfinite(tsys.values)
    # The APR rows give Tcal to four digits (27.90), the rxg that printed caltemp had more.
    assert np.abs(tsys.values / series.printed - 1)[good & (series.printed > 30)].max() < 3e-3
    assert "differs from printed" not in {f.kind for f in made.findings}
    assert not [p for p in check_antab(format_antab(made.antab)) if p.severity == "error"]
