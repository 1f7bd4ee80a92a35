"""Real logs of eight stations: nothing that a plain text search finds is lost, and nothing is listed in vain."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from calibrant.station.check_log import check_log
from calibrant.station.fslog import read_log, records
from calibrant.station.records import Setting, TotalPower, Weather

pytestmark = pytest.mark.real_data

LOGS = {
    "r1730ny": (4, 3, "ny", 11.87, "9.11.6"),
    "r4724ny": (4, 2, "ny", 11.87, "9.11.6"),
    "r1751kk": (2, 2, "kk", -159.66, "9.11.7"),
    "r1722yg": (1, 1, "yg", 115.35, "9.11.7"),
    "r4736hb": (3, 3, "hb", 147.44, "9.11.8"),
    "r1749on": (2, 2, "on", 11.92, "9.11.8"),
    "r1749ts": (1, 1, "ts", 140.09, "9.11.6"),
}
"""Scans, pointings, station, east longitude, release."""


@pytest.mark.parametrize("name", LOGS)
def test_every_row_is_read(shared: Path, name: str) -> None:
    path = shared / "data/fs_logs" / f"{name}.log.gz"
    text = gzip.decompress(path.read_bytes())
    log = read_log(str(path))
    scans, pointings, code, longitude, release = LOGS[name]
    counted = {
        record: len(re.findall(rb"(?m)^.{20}#onoff#" + record + rb" ", text)) for record in (b"APR", b"SIG", b"VAL")
    }
    assert sum(len(scan.apriori) for scan in log.scans) == counted[b"APR"]
    assert sum(len(scan.sigma) for scan in log.scans) == counted[b"SIG"]
    assert sum(len(scan.printed) for scan in log.scans) == counted[b"VAL"] > 0
    assert len({level.line for scan in log.scans for levels in scan.levels.values() for level in levels}) == len(
        re.findall(rb"(?m)^.{20}#onoff#(?:ONS[OC]|OFF[SC]|ZERO) ", text)
    )
    assert [scan.status for scan in log.scans] == ["complete"] * scans and len(log.fivpts) == pointings
    assert (log.lines, log.size_bytes) == (text.count(b"\n"), len(text)) and not log.skipped and not log.time_steps
    assert (log.site.code, log.site.release) == (code, release)
    assert log.site.longitude_deg == pytest.approx(longitude)
    assert not any(scan.continuous for scan in log.scans)
    for scan in log.scans:
        last = max((record.line for record in records(str(path), (Weather,)) if record.line < scan.line), default=0)
        assert (scan.weather.line if scan.weather else 0) == last


def test_both_print_forms(shared: Path) -> None:
    with_rms = read_log(str(shared / "data/fs_logs/r1730ny.log.gz")).scans[0]
    without = read_log(str(shared / "data/fs_logs/r1722yg.log.gz")).scans[0]
    assert with_rms.levels["1d"][0].rms == 7.7 and with_rms.levels["1d"][0].level == 12776.0
    assert without.levels["ia"][0].rms != without.levels["ia"][0].rms and without.levels["ia"][0].level == 129.0
    assert [level.repetition for level in without.levels["1l"] if level.state == "ONSC"] == [0, 1, 2]


def test_no_diode(shared: Path) -> None:
    (scan,) = read_log(str(shared / "data/fs_logs/r1749ts.log.gz")).scans
    assert scan.apriori["u5"].tcal_k == -100.0 and scan.printed["u5"].sefd_jy == 533.9 and scan.status == "complete"


def test_continuous_cal_of_torun(shared: Path) -> None:
    path = str(next((shared / "data/fs_logs/ec071m_torun").glob("*.log.gz")))
    power = [record for record in records(path, (TotalPower,)) if isinstance(record, TotalPower)]
    first = power[0]
    assert (first.kind, first.program) == ("tpcont", "tpicd")
    assert first.detectors[:2] == ("1l", "1u") and first.values[:2] == (16289.0, 15998.0)
    assert first.off_values[:2] == (15397.0, 15220.0)
    assert sum(record.kind == "tpcont" for record in power) == 5996 and sum(r.kind == "tsys" for r in power) == 263
    assert read_log(path).skipped_total == 0
    assert sum(isinstance(record, Weather) for record in records(path, (Weather,))) == 76
    lo = next(r for r in records(path, (Setting,)) if isinstance(r, Setting) and r.name == "lo" and r.fields)
    assert lo.fields == ("loa", "4200.00", "usb", "rcp", "off") and not lo.response


def test_a_mail_with_log_lines(shared: Path) -> None:
    path = shared / "data/fs_logs/VT9259_OW_READY_MESSAGE.txt"
    log = read_log(str(path))
    (scan,) = log.scans
    assert len(scan.printed) == 8 and scan.printed["ia"].sefd_jy == 5676.5 and scan.reason == "no APR rows"
    plain = [i for i, line in enumerate(path.read_bytes().split(b"\n"), 1) if not re.match(rb"2019\.259\.", line)]
    assert [item.line for item in log.skipped] == [*plain, 65]
    assert log.fivpts[0].detector == "057u" and log.fivpts[0].source == "casa"


def test_check_of_real_logs(shared: Path) -> None:
    found = check_log(str(next((shared / "data/fs_logs/ec071m_torun").glob("*.log.gz"))))
    assert [problem.line for problem in found] == [0, 296, 338]
    assert "negative Tsys" in found[1].found and "overflowed" in found[2].found
    hobart = check_log(str(shared / "data/fs_logs/r4736hb.log.gz"))
    assert [problem.line for problem in hobart if "noise diode" in problem.found] == [467, 701, 1108]
