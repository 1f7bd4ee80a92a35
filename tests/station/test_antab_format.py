"""ANTAB text: read, checked line by line, written and read back."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.errors import DataError, ExistsError, FormatError
from calibrant.station.antab import (
    Antab,
    AntabGain,
    AntabTsys,
    check_antab,
    expand_label,
    format_antab,
    parse_antab,
    read_antab,
    write_antab,
)
from calibrant.station.problem import Problem, apply_edits

GOOD = """! a station
GAIN TR ELEV DPFU=0.14,0.15 FREQ=4782.49,5070.49
POLY=0.9,1.6E-03,-1.5E-05 /
TSYS TR FT=1.5 TIMEOFF=30
INDEX= 'R1','L1' /
!Column 1 = R1: bbc01
163 04:00.03 36.4 33.5
! 163 04:01.00: scanNum=0001
163 04:01.50 36.2 999.9   ! why not
163 04:02:06.50 36.1 -1.0
163 4.5000 36.0 33.0
/
"""


def errors(text: str) -> list[Problem]:
    return [problem for problem in check_antab(text) if problem.severity == "error"]


def found(text: str, words: str) -> Problem:
    """The one problem whose description holds `words`."""
    hits = [problem for problem in check_antab(text) if words in problem.describe("x")]
    assert len(hits) == 1, [problem.describe("x") for problem in check_antab(text)]
    return hits[0]


def mended(text: str) -> str:
    return "\n".join(apply_edits(text.splitlines(), check_antab(text))) + "\n"


def test_what_is_in_a_file() -> None:
    antab, _, fatal = parse_antab(GOOD)
    assert not fatal
    gain, tsys = antab.gains[0], antab.tsys[0]
    assert (gain.station, gain.mount, gain.dpfu, gain.freq_mhz) == ("TR", "ELEV", (0.14, 0.15), (4782.49, 5070.49))
    assert gain.poly == (0.9, 1.6e-3, -1.5e-5)
    assert (gain.dpfu_of("r"), gain.dpfu_of("l")) == (0.14, 0.15)
    assert gain.curve is not None and gain.curve.kind == "elev"
    assert tsys.index == ("R1", "L1") and tsys.timeoff_s == 30.0
    day = 162 * 86400.0
    np.testing.assert_allclose(tsys.seconds - day, [4 * 3600 + 1.8, 4 * 3600 + 90, 4 * 3600 + 126.5, 4.5 * 3600])
    np.testing.assert_allclose(tsys.tsys(), [[54.6, 50.25], [54.3, np.nan], [54.15, np.nan], [54.0, 49.5]])
    assert tsys.lines.tolist() == [7, 9, 10, 11]
    assert tsys.notes == ((0, "Column 1 = R1: bbc01"), (1, " 163 04:01.00: scanNum=0001"))


def test_times_get_their_year() -> None:
    rows = "TSYS TR INDEX='R1' /\n365 23:59.50 40.0\n001 00:00.50 41.0\n/\n"
    tsys = parse_antab(rows)[0].tsys[0]
    assert np.diff(tsys.times(2021)).tolist() == [60.0]
    assert tsys.times(2021)[0] == np.datetime64("2021-12-31T23:59:30", "s").astype(float)
    assert not errors(rows)


def test_forms_of_the_vlba() -> None:
    """Station before GAIN, several keywords, FT of both polarisations, strings with `!` and `/`, one FREQ."""
    text = (
        " BAND = '4cm'  TIMERANG = 1985,01,01,00, 1993,09,28,00 COMMENT = 'S/N 5!'\n"
        " FREQ = 8418. TS = 185., 187. FT = 1.000, 1.000\n"
        "NL   GAIN ALTAZ DPFU = 0.076, 0.077 POLY= 1.0 /\n"
    )
    gain = parse_antab(text)[0].gains[0]
    assert (gain.station, gain.mount, gain.band, gain.freq_mhz) == ("NL", "ALTAZ", "4cm", (8418.0,))
    assert gain.timerang[:4] == (1985.0, 1.0, 1.0, 0.0)
    assert ("COMMENT", ("S/N 5!",)) in gain.others
    assert not errors(text)


def test_tables_of_gain() -> None:
    gain = parse_antab("GAIN EF EQUAT DPFU=1.5 RCP FREQ=1,2 TABLE /\n10 0.9\n50 1.0\n/\n")[0].gains[0]
    assert gain.table == ((10.0, 0.9), (50.0, 1.0)) and gain.pols == ("r",) and gain.curve is None
    assert np.isnan(gain.dpfu_of("l"))


@pytest.mark.parametrize(
    ("label", "channels"),
    [("R1", [("r", 1)]), ("r2|L2", [("r", 2), ("l", 2)]), ("L3:5", [("l", 3), ("l", 4), ("l", 5)]), ("X", [])],
)
def test_labels(label: str, channels: list[tuple[str, int]]) -> None:
    assert expand_label(label) == channels


@pytest.mark.parametrize(
    ("old", "new", "words", "line", "severity"),
    [
        ("1.5E-05 /", "1.5E-05 opacity_corrected /", "opacity_corrected after POLY", 3, "error"),
        ("1.5E-05 /", "1.5E-05,opacity_corrected /", "opacity_corrected after POLY", 3, "error"),
        ("-1.5E-05", "-1.5e-5", "", 0, ""),
        ("-1.5E-05", "-15E-6", "casa-vlbi reads an exponent", 3, "warning"),
        ("'R1','L1'", "'R1','R1'", "R1 and R1", 4, "error"),
        ("'R1','L1'", "'R1:2','R2|L1'", "both R2", 4, "error"),
        ("'R1','L1'", "'R1','Q1'", "'Q1' is no INDEX label", 4, "error"),
        ("36.4 33.5", "36.4", "found 1 values", 7, "error"),
        ("36.4 33.5", "36.4 33.5 1.0", "found 3 values", 7, "error"),
        ("36.4 33.5", "36.4 nan", "'nan'", 7, "error"),
        ("36.4 33.5", "36.4 $$$$", "'$$$$'", 7, "error"),
        ("163 04:00.03", "163 05:00.03", "time going backwards 1 times", 9, "error"),
        ("163 04:00.03", "367 04:00.03", "day of year between 1 and 366", 7, "error"),
        ("163 04:00.03", "163 04:60.03", "hh:mm.mm", 7, "error"),
        ("163 04:00.03", "163 04:01.50", "1 rows with the time of the row before", 9, "warning"),
        ("36.4 33.5", "36.4 12000", "1 of 8 values above 10000 K", 7, "warning"),
        ("DPFU=0.14,0.15", "DPFU=0.14,0.15,0.16", "3 DPFU", 2, "error"),
        ("ELEV DPFU", "ELEV RCP DPFU", "two DPFU with RCP", 2, "error"),
        ("DPFU=0.14,0.15", "", "without DPFU", 2, "error"),
        ("FREQ=4782.49,5070.49", "FREQ=5070,4782", "lowest, highest frequency", 2, "error"),
        ("ELEV", "", "no type of curve", 2, "error"),
        ("POLY=0.9,1.6E-03,-1.5E-05", "", "neither POLY nor TABLE", 2, "error"),
        ("POLY=0.9,1.6E-03,-1.5E-05", "POLY=" + ",".join(["0.1"] * 12), "12 coefficients", 2, "error"),
        ("POLY=0.9,1.6E-03,-1.5E-05", "POLY=0.9,-0.1", "its square root", 2, "warning"),
        ("! a station", "! a sta\u00e7ion", "outside ASCII", 1, "warning"),
        ("GAIN TR", "GAIN TRO", "station code 'TRO'", 2, "warning"),
        ("-1.5E-05 /", "-1.5E-05 / ! end", "text after the `/`", 3, "warning"),
        ("FT=1.5", "FT=0", "a factor above 0", 4, "error"),
        ("FT=1.5", "FT=a", "FT=a", 4, "error"),
        ("36.4 33.5", " ".join(["36.4"] * 60), "found 60 values", 7, "error"),
    ],
)  # fmt: skip
def test_each_fault_has_its_line(old: str, new: str, words: str, line: int, severity: str) -> None:
    text = GOOD.replace(old, new)
    if words:
        problem = found(text, words)
        assert (problem.line, problem.severity) == (line, severity)
    else:
        assert not errors(text)


def test_values_that_mean_nothing_are_counted() -> None:
    assert "1 of 8 values <= 0" in found(GOOD, "<= 0").found
    assert "1 of 8 values 999.9" in found(GOOD, "999.9").found
    assert not errors(GOOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-1.5E-05 /", "-1.5E-05 opacity_corrected /"),
        ("\n/\n", "\n"),
        ("-1.5E-05 /", "-1.5E-05"),
        ("-1.5E-05", "-15E-6"),
        ("TSYS TR", "/\nTSYS TR"),
        ("\n", "\r\n"),
    ],
)
def test_edits_mend_without_changing_the_content(old: str, new: str) -> None:
    broken = GOOD.replace(old, new)
    assert check_antab(broken) != check_antab(GOOD)
    text = mended(broken)
    assert not errors(text)
    assert [p.found for p in check_antab(text)] == [p.found for p in check_antab(GOOD)]
    assert parse_antab(text)[0].gains == parse_antab(GOOD)[0].gains
    np.testing.assert_array_equal(parse_antab(text)[0].tsys[0].values, parse_antab(GOOD)[0].tsys[0].values)


def test_a_group_without_end_does_not_swallow_the_next() -> None:
    text = "TSYS EF FT=1.0\nINDEX='R1','L1'\nGAIN NT ELEV DPFU=0.1 FREQ=1,2 POLY=1.0 /\n"
    antab, problems, fatal = parse_antab(text)
    assert [group.station for group in antab.groups] == ["EF", "NT"] and not fatal
    assert any("without `/`" in problem.found and problem.line == 2 for problem in problems)
    assert not errors(mended(text))


@pytest.mark.parametrize("text", ["", "   \n\n", "\0\1\2\3" * 50, "hello world\n", "x" * 300 + "\n", "! only\n"])
def test_what_is_no_antab(text: str) -> None:
    assert errors(text)


@pytest.mark.parametrize("cut", range(20, len(GOOD) - 3, 7))
def test_a_truncated_file_is_never_silently_good(cut: int) -> None:
    problems = check_antab(GOOD[:cut])
    assert any(problem.severity in ("error", "warning") for problem in problems)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.antab"
    path.write_text(GOOD.replace("36.4 33.5", "36.4"))
    with pytest.raises(FormatError, match=r"x\.antab:7: error: found 1 values"):
        read_antab(str(path))
    path.write_bytes(b"\x00\x01" * 100)
    with pytest.raises(FormatError):
        read_antab(str(path))
    path.write_bytes(gzip.compress(GOOD.encode())[:-9])
    with pytest.raises(FormatError, match="damaged"):
        read_antab(str(path))
    with pytest.raises(DataError):
        read_antab(str(tmp_path / "absent"))


def test_writing_is_complete_or_nothing(tmp_path: Path) -> None:
    antab = parse_antab(GOOD)[0]
    path = tmp_path / "out.antab"
    write_antab(antab, str(path))
    again = read_antab(str(path))
    assert again.gains == antab.gains
    np.testing.assert_allclose(again.tsys[0].seconds, antab.tsys[0].seconds, atol=0.3)
    assert again.tsys[0].notes == antab.tsys[0].notes
    with pytest.raises(ExistsError):
        write_antab(antab, str(path))
    bad = Antab((AntabGain("TR", "ELEV", (0.1, 0.2, 0.3), (1.0,), freq_mhz=(1.0, 2.0)),))
    with pytest.raises(FormatError, match="Nothing was written"):
        write_antab(bad, str(path), overwrite=True)
    assert path.read_text() == format_antab(antab)
    assert [file.name for file in tmp_path.iterdir()] == ["out.antab"]


numbers = st.floats(1e-6, 1e6, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(
    dpfu=st.lists(numbers, min_size=1, max_size=2),
    poly=st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=1, max_size=10),
    mount=st.sampled_from(["ELEV", "ALTAZ"]),
    rows=st.lists(st.lists(st.integers(1, 99999), min_size=3, max_size=3), min_size=1, max_size=6),
    minutes=st.lists(st.integers(0, 365 * 1440 * 100 - 1), min_size=6, max_size=6, unique=True),
)
def test_what_is_written_reads_back(
    dpfu: list[float], poly: list[float], mount: str, rows: list[list[int]], minutes: list[int]
) -> None:
    gain = AntabGain("TR", mount, tuple(dpfu), tuple(poly), freq_mhz=(100.5, 200.25))
    seconds = np.sort(np.array(minutes[: len(rows)], dtype=float)) * 0.6
    values = np.array(rows, dtype=float) / 10
    tsys = AntabTsys("TR", ("R1", "R2|L2", "X"), seconds, values, notes=((0, " a"), (len(rows), " b")))
    again, problems, fatal = parse_antab(format_antab(Antab((gain, tsys), (" end",))))
    assert not fatal and not [p for p in problems if p.severity == "error"]
    assert again.gains == [gain] and again.tail == (" end",)
    np.testing.assert_allclose(again.tsys[0].seconds, seconds, atol=1e-6)
    np.testing.assert_array_equal(again.tsys[0].values, values)
    assert (again.tsys[0].index, again.tsys[0].notes) == (tsys.index, tsys.notes)


@pytest.mark.real_data
def test_files_of_others(shared: Path) -> None:
    vlba = read_antab(str(shared / "data/antab/vlba_gains.key"))
    assert (len(vlba.gains), len(vlba.tsys), len(vlba.stations())) == (1590, 0, 10)
    path = shared / "data/antab/rsg12.antab.gz"
    rsg = read_antab(str(path))
    assert rsg.counts() == {
        "gains": 12, "tsys_groups": 12, "stations": 11, "rows": 6817, "values": 13634, "invalid": 0, "too_high": 0,
    }  # fmt: skip
    # The file has a TSYS group of EF that was pasted twice, the second time without its values and its `/`.
    wrong = errors(gzip.decompress(path.read_bytes()).decode())
    assert {problem.line for problem in wrong} == {1822}


@pytest.mark.parametrize("text", ["= 3\n", ", 3\n", "2016.067.16:04:46.23;x=,3\n= 4 /\n"])
def test_marks_without_a_keyword_are_faults(text: str) -> None:
    """As in a log that was given for an antab."""
    assert any(problem.severity == "error" for problem in check_antab(text))
