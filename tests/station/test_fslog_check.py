"""What `check` tells about a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibrant.station.check_log import check_log
from calibrant.station.problem import Problem

STAMP = "2021.100.10:00:00.00"
SCAN = f"""\
{STAMP};Log Opened: Mark IV Field System Version 10.0.0
{STAMP}#onoff#    De      Center  TCal    Flux    DPFU     Gain    Product   LO    T   FWHM
{STAMP}#onoff#APR 045u   6568.40 1.900 1200.10  0.050000 0.99000  0.049500  4080.00 c 0.30000
{STAMP}#onoff#ONSO     5.4   0.00000   0.00000 045u  16240
{STAMP}#onoff#ONSC    15.4   0.00000   0.00000 045u  17240
{STAMP}#onoff#OFFC    23.8   1.71297   0.00000 045u  14240
{STAMP}#onoff#OFFS    33.8   1.71297   0.00000 045u  13240
{STAMP}#onoff#ZERO    33.8   1.71297   0.00000 045u      0
{STAMP}#onoff#    source       Az   El  De   I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)
{STAMP}#onoff#VAL casa        44.6 43.2 045u 6 r   6568.40 0.9994 54.87 2029.6  67.355  1.00
{STAMP}#onoff#    source       Az   El  De   I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)
"""


def check(tmp_path: Path, text: str) -> dict[int, Problem]:
    path = tmp_path / "demo1ny.log"
    path.write_text(text)
    return {problem.line: problem for problem in check_log(str(path))}


def test_a_good_log_has_nothing_to_tell(tmp_path: Path) -> None:
    assert check(tmp_path, SCAN) == {}


def test_lines_not_understood_by_reason(tmp_path: Path) -> None:
    found = check(tmp_path, SCAN + "rubbish\n\n" + "more rubbish\n" * 20 + f"{STAMP}/wx/1\n")
    assert set(found) == {12, 13, 34}
    assert found[12].severity == "warning" and "21 lines not understood, no time stamp" in found[12].found
    assert "lines 12, 14, 15" in found[12].found and "and 9 more" in found[12].found
    assert found[13].severity == "note" and "1 line not understood, empty line" in found[13].found
    assert "weather: 1 values" in found[34].found


def test_aborted_scan(tmp_path: Path) -> None:
    found = check(tmp_path, "".join(SCAN.splitlines(keepends=True)[:6]))
    assert "ONOFF aborted: end of the log" in found[3].found


def test_overflow_and_dead_diode_and_types(tmp_path: Path) -> None:
    text = SCAN.replace("Version 10.0.0", "Version 10.2.1").replace("045u  14240", "045u  13240")
    path = tmp_path / "demo1ny.log"
    path.write_text(text.replace("2029.6", "$$$$$$"))
    found = [problem.found for problem in check_log(str(path))]
    assert len(found) == 3
    assert any("overflowed or are not finite for 045u" in text for text in found)
    assert any("not higher with the noise diode on for 045u" in text for text in found)
    assert any("source types in the APR rows of FS 10.2.1" in text for text in found)


@pytest.mark.parametrize(("row", "word"), [("tpcont/1l,100,200", "cal on lower"), ("tsys/1l,-30.0", "negative Tsys")])
def test_continuous_cal_the_wrong_way(tmp_path: Path, row: str, word: str) -> None:
    found = check(tmp_path, SCAN + f"{STAMP}#tpicd#{row}\n" * 10)
    assert word in found[12].found and "1l" in found[12].found


def test_time_going_back(tmp_path: Path) -> None:
    later = SCAN.replace("2021.100", "2021.110")
    assert "time going back by 10.0 days" in check(tmp_path, later + SCAN)[12].found
