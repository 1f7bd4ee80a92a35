"""Logs of every form and every kind of damage: what is read, and what is listed as not understood."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from calibrant.errors import FormatError
from calibrant.station.fslog import MOST_ERRORS, MOST_SKIPPED, read_log, records
from calibrant.station.records import (
    FsLog,
    LogError,
    OnOffScan,
    ScanStart,
    Setting,
    Skipped,
    TotalPower,
    Weather,
)
from calibrant.station.rxg import parse

STAMP = "2016.067.16:14:27.45"
TOG = """\
2006.048.14:11:10.00;source=DR21,203900.0,+422000.,2000.
2006.048.14:11:12.00/wx/4.5,1012.0,80.0,3.0,120.0
2006.048.14:11:15.36#onoff#    De    Center  TCal    Flux    DPFU     Gain    Product   LO    T   FWHM
2006.048.14:11:15.37#onoff#APR 5u 22213.00 27.44    16.4  0.118661 0.88588  0.105119 21964.00 c 0.02948
2006.048.14:11:15.37#onoff#APR i2 22264.00 30.26    16.4  0.114000 0.88588  0.100990 21964.00 c 0.02941
2006.048.14:12:27.46#onoff#ORIG 51145.1 0.00000 0.00000 0.00000 0.00000 0.00000 0.00000 0.00000
2006.048.14:12:34.02#onoff#ONSO     6.7   0.00000   0.00000 5u   8583.8      2.3 i2  18391.6      1.2
2006.048.14:12:42.93#onoff#ONSC    15.7   0.00000   0.00000 5u  10025.8      2.9 i2  21577.2      5.4
2006.048.14:12:56.58#onoff#OFFC    29.3   0.21649   0.00000 5u   9944.2      4.4 i2  21414.0      1.8
2006.048.14:13:05.51#onoff#OFFS    38.2   0.21649   0.00000 5u   8496.6      1.8 i2  18216.6      1.4
2006.048.14:13:12.14#onoff#ZERO    44.8   0.21649   0.00000 5u   1020.2      0.2 i2    823.6      0.7
2006.048.14:13:30.02#onoff#ONSO    60.7   0.00000   0.00000 5u   8580.0      2.3 i2  18390.0      1.2
2006.048.14:15:52.42#onoff#SIG                       5u                 0.02  1.99    1.1  55.661 5.851  0.21
2006.048.14:15:52.42#onoff#SIG                       i2                 0.02  2.24    1.2  71.291 7.200  0.24
2006.048.14:15:52.42#onoff#    source       Az   El  De I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)
2006.048.14:15:52.42#onoff#VAL dr21       289.9 46.1 i2 2 r  22264.00 1.0067 166.1 1644.3 299.589 0.9997
2006.048.14:15:52.42#onoff#VAL dr21       289.9 46.1 5u 1 l  22213.00 1.0076 142.8 1411.3 271.155 1.0384
2006.048.14:15:52.42#onoff#    source       Az   El  De I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)
"""
"""The lines printed in the TOG notes of 2006 (old forms), VAL in another order than APR."""
MODERN = """\
2021.100.10:00:00.00;Log Opened: Mark IV Field System Version 10.0.0
2021.100.10:00:01.00#onoff#    De      Center  TCal    Flux    DPFU     Gain    Product   LO    T   FWHM
2021.100.10:00:01.00#onoff#APR 045u   6568.40 1.900 1200.10  0.050000 0.99000  0.049500  4080.00 c 0.30000
2021.100.10:00:01.00#onoff#APR ia     6500.00 -100. 1205.00  0.050000 0.99000  0.049500  4080.00 c 0.30300
2021.100.10:00:02.00#onoff# Starting run with 2 detectors selected
2021.100.10:00:02.00#onoff# Integrating for 1 seconds
2021.100.10:00:03.00#onoff#ONSO     5.4   0.00000   0.00000 045u  16240 ia   171
2021.100.10:00:03.00#onoff#ONSC     5.4   0.00000   0.00000 045u  17240 ia   171
2021.100.10:00:09.00#onoff#OFFC    13.8   1.71297   0.00000 045u  14240 ia   130
2021.100.10:00:09.00#onoff#OFFS    13.8   1.71297   0.00000 045u  13240 ia   130
2021.100.10:00:09.00#onoff#ZERO    13.8   1.71297   0.00000 045u      0 ia     0
2021.100.10:00:15.00#onoff#ONSO    19.4   0.00000   0.00000 045u  16244 ia   172
2021.100.10:00:15.00#onoff#ONSC    19.4   0.00000   0.00000 045u  17244 ia   172
2021.100.10:00:16.00#onoff#SIG                       045u               0.0021  0.10 $$$$$$ 1053.18  0.62
2021.100.10:00:16.00#onoff#SIG                       ia                 0.0000  0.00   16.1   0.000  0.00
2021.100.10:00:16.00#onoff#    source       Az   El  De   I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)
2021.100.10:00:16.00#onoff#VAL casa        44.6 43.2 045u 6 r   6568.40 0.9994 54.87 $$$$$$  67.355  1.00
2021.100.10:00:16.00#onoff#VAL casa        44.6 43.2 ia   1 l   6500.00 0.0000 -100. 5676.5   0.000  0.00
2021.100.10:00:16.00#onoff#    source       Az   El  De   I P   Center   Comp   Tsys  SEFD  Tcal(j) Tcal(r)
"""
"""A run of one second per point with the diode switched continuously; the second detector has no diode."""

Reader = Callable[[str | bytes], FsLog]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def read(content: str | bytes) -> FsLog:
        path = tmp_path / "demony.log"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_log(str(path), progress=False)

    return read


def reasons(log: FsLog) -> list[tuple[int, str]]:
    return [(item.line, item.reason) for item in log.skipped]


# ---- ONOFF ------------------------------------------------------------------------------------------------


def test_old_rows(read: Reader) -> None:
    log = read(TOG)
    (scan,) = log.scans
    assert scan.line == 4 and scan.source == "dr21" and scan.status == "complete" and not scan.continuous
    assert scan.time == pytest.approx(1140185475.37)
    assert scan.apriori["5u"].tcal_k == 27.44 and scan.apriori["i2"].tcal_k == 30.26
    assert scan.apriori["5u"].lo_mhz == 21964.0 and scan.apriori["5u"].fwhm_deg == 0.02948
    assert scan.printed["5u"].sefd_jy == 1411.3 and scan.printed["5u"].pol == "l" and scan.printed["5u"].line == 17
    assert scan.printed["i2"].tcal_ratio == 0.9997 and scan.printed["i2"].line == 16
    assert scan.sigma["5u"].tcal_k == 5.851 and scan.sigma["5u"].tcal_ratio == 0.21 and scan.sigma["i2"].tsys_k == 2.24
    assert len(scan.origin) == 8 and scan.origin[0] == 51145.1
    visits = [(level.state, level.repetition) for level in scan.levels["5u"]]
    assert visits == [("ONSO", 0), ("ONSC", 0), ("OFFC", 0), ("OFFS", 0), ("ZERO", 0), ("ONSO", 1)]
    assert (scan.levels["5u"][3].level, scan.levels["5u"][3].rms, scan.levels["5u"][3].daz_deg) == (
        8496.6,
        1.8,
        0.21649,
    )
    assert scan.weather is not None and scan.weather.humidity_percent == 80.0
    assert not log.skipped


def test_new_rows_continuous_diode_and_none(read: Reader) -> None:
    log = read(MODERN)
    (scan,) = log.scans
    assert scan.continuous and log.site.release == "10.0.0"
    assert [level.level for level in scan.levels["045u"] if level.state == "ONSO"] == [16240.0, 16244.0]
    assert math.isnan(scan.levels["045u"][0].rms)
    assert math.isnan(scan.printed["045u"].sefd_jy) and math.isnan(scan.sigma["045u"].sefd_jy)
    assert scan.printed["045u"].if_chain == "6" and scan.printed["045u"].freq_mhz == 6568.40
    assert scan.apriori["ia"].tcal_k == scan.printed["ia"].tsys_k == -100.0 and scan.printed["ia"].sefd_jy == 5676.5
    assert scan.status == "complete" and not log.skipped


@pytest.mark.parametrize("name", ["1d", "2u", "ia", "i1", "u5", "001u", "a05", "01a0", "none"])
def test_detectors_of_every_generation(read: Reader, name: str) -> None:
    (scan,) = read(TOG.replace("5u ", f"{name} ")).scans
    assert set(scan.apriori) == set(scan.printed) == set(scan.sigma) == set(scan.levels) == {name, "i2"}


def test_aborted_by_an_error_by_a_new_run_and_by_the_end(read: Reader) -> None:
    lines = TOG.splitlines(keepends=True)
    error = "2006.048.14:14:00.00?ERROR nf  -22 Source not acquired within specified time-out.\n"
    text = "".join([*lines[:10], error, *lines[2:8], *lines[2:18], *lines[2:5]])
    log = read(text)
    assert [scan.status for scan in log.scans] == ["aborted", "aborted", "complete", "aborted"]
    assert "nf -22 Source not acquired" in log.scans[0].reason and "(line 11)" in log.scans[0].reason
    assert log.scans[1].reason == "cut off by a new onoff"
    assert log.scans[3].reason == "end of the log" and not log.scans[3].levels
    assert len(log.scans[0].levels["5u"]) == 4 and log.scans[0].source == "dr21"


def test_partial_scan(read: Reader) -> None:
    text = "".join(line for line in TOG.splitlines(keepends=True) if "VAL dr21       289.9 46.1 5u" not in line)
    (scan,) = read(text).scans
    assert (scan.status, scan.reason) == ("partial", "no VAL row for 5u")


def test_results_alone(read: Reader) -> None:
    log = read("".join(TOG.splitlines(keepends=True)[12:]))
    (scan,) = log.scans
    assert scan.status == "partial" and scan.reason == "no APR rows" and set(scan.sigma) == {"5u", "i2"}


def test_rows_outside_a_scan_are_listed(read: Reader) -> None:
    log = read("".join(TOG.splitlines(keepends=True)[6:]))
    assert [line for line, _ in reasons(log)] == [1, 2, 3, 4, 5, 6]
    assert log.skipped_counts == {"ONOFF row outside a scan": 6}


def test_before_fs_9_5_15(read: Reader) -> None:
    log = read(f"{STAMP}#onoff#source cygnusa  195928.4 +404402\n{STAMP}#onoff#VAL/1,2,3\n")
    assert log.skipped_counts == {"ONOFF before FS 9.5.15": 2} and not log.scans


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("22213.00 27.44", "22213.00 27.44 1.0"),
        (" c 0.02948", " q 0.02948"),
        ("5u   8583.8      2.3", "5u   8583.8"),
        ("8583.8", "85x3.8"),
        ("ONSO     6.7   0.00000   0.00000", "ONSO     6.7"),
        ("2.24    1.2  71.291", "2.24"),
        ("289.9 46.1 i2", "289.9 i2"),
        ("i2 2 r", "i2 2 x"),
        ("ORIG 51145.1 0.00000", "ORIG"),
        ("#onoff#ZERO", "#onoff#ZORE"),
        ("1.0067 166.1 1644.3", "1.0067 166_1 1644.3"),
    ],
)
def test_a_damaged_row_is_listed_and_named_by_its_scan(read: Reader, good: str, bad: str) -> None:
    number = next(i for i, line in enumerate(TOG.splitlines(), 1) if good in line)
    log = read(TOG.replace(good, bad, 1))
    assert [line for line, _ in reasons(log)] == [number]
    assert len(log.scans) == 1 and f"damaged rows: lines {number}" in log.scans[0].reason


def test_fields_that_ran_together(read: Reader) -> None:
    text = (
        TOG.replace(" 1411.3 271.155", "$$$$$$ 271.155").replace("5u   8580.0", "5u$$$$$$$$").replace("142.8", "-42.8")
    )
    (scan,) = read(text.replace("1.0076 -42.8", "1.0076-42.8")).scans
    assert math.isnan(scan.printed["5u"].sefd_jy) and scan.printed["5u"].tsys_k == -42.8
    assert math.isnan(scan.levels["5u"][-1].level) and scan.levels["i2"][-1].level == 18390.0
    assert scan.status == "partial" and re.fullmatch(r"no number in ONSO of 5u \(line \d+\)", scan.reason)


def test_nan_is_no_number_but_no_fault(read: Reader) -> None:
    (scan,) = read(TOG.replace("166.1 1644.3", "nan inf")).scans
    assert math.isnan(scan.printed["i2"].tsys_k) and math.isnan(scan.printed["i2"].sefd_jy)


def test_stray_symbols_inside_rows(read: Reader) -> None:
    (scan,) = read(TOG.encode().replace(b"#onoff#ONSO     6.7", b"#onoff#\xc2\xb6ONSO     6.7")).scans
    assert len(scan.levels["5u"]) == 6 and scan.status == "complete"


def test_quoted_rows_in_comments_are_no_rows(read: Reader) -> None:
    quoted = '2006.048.14:20:00.00;" value=2006.048.14:15:52.42#onoff#VAL dr21 289.9 46.1 5u 1 l 22213.00 1 1 1 1 1\n'
    remote = "2006.048.14:20:00.00;\" Command from 'oper': source=stow\n"
    log = read(TOG + quoted + remote)
    assert len(log.scans) == 1 and not log.skipped


# ---- pointing ---------------------------------------------------------------------------------------------

POINTING = f"""\
{STAMP}#fivpt#source casa       232324.8 +584859 2000.0 2016.067.16:07:35
{STAMP}#fivpt#site NyAlesun 348.1299  78.9291  20.00 xxxx   0  1.00  0.00
{STAMP}#fivpt#fivept azel  -2   9 0.40  1 i1  11.7  0.1250     182.3
{STAMP}#fivpt#tsys 305.989  34.696  59.341
{STAMP}#fivpt#lat   1  58245.  -0.1846    0.908
{STAMP}#fivpt#latfit   0.02390  0.1156  7.1777  0.7800  0.0015   5
{STAMP}#fivpt#lonfit  -0.05488  0.1121  7.0756  1.1871  0.0084   5
{STAMP}#fivpt#perform    0.603  1529.1    0.341    5.748
{STAMP}#fivpt#offset   307.7682   34.5307  -0.05488   0.02390  1  1
"""


@pytest.mark.parametrize(("end", "detector"), [("cygnusa    ", "i1"), ("057u casa", "057u")])
def test_pointing(read: Reader, end: str, detector: str) -> None:
    row = f"{STAMP}#fivpt#xoffset  307.7682   34.5307  -0.04521   0.02390  0.00195  0.00151 1 0 {end}\n"
    (pointing,) = read(POINTING + row).fivpts
    assert pointing.source == end.split()[-1] and pointing.detector == detector
    assert (pointing.lon_offset_deg, pointing.lat_offset_deg) == (-0.04521, 0.0239)
    assert pointing.lon_good and not pointing.lat_good and pointing.fwhm_deg == 0.1121
    assert (pointing.tsys_k, pointing.sefd_jy, pointing.azimuth_deg) == (59.341, 1529.1, 307.7682)


def test_pointing_without_a_result_is_listed(read: Reader) -> None:
    log = read(POINTING + POINTING)
    assert [line for line, _ in reasons(log)] == [1, 10] and log.skipped_counts == {"FIVPT without a result": 2}


# ---- other records ----------------------------------------------------------------------------------------

MANY = f"""\
{STAMP};location,NyAlesun,348.13,78.93,89.6
{STAMP};antenna,20.0,120.0,120.0,-100.0,449.0,2.1,89.8,azel
{STAMP}:" R1730     2016 NYALES20 N Ny
{STAMP}&ifdsx/lo=lo1,8080.00,usb,rcp,1
{STAMP}:scan_name=067-1700a,r1730,ny,46,46
{STAMP}:source=CygnusA,195928.4,+404402.,2000.
{STAMP}#antcn#/wx/17.0,1001.7,100.0, 2.0,212.2
{STAMP}#wx#/WX/14.0,1011.0, 86.9
{STAMP}/tpi/1d,12775,2u,18178
{STAMP}/tsys1/1d,72.0,2u,$$$$$
{STAMP}#tpicd#tpcont/1l,16289,15397,ia,1291.64
{STAMP}#dbtcn#tsys/001u,-36.9
{STAMP}/bbc01/ 612.990000,a, 8, 1,agc,109,110,16063
{STAMP}?ERROR qk -301 Tsys value for device eu overflowed or was less than zero.
{STAMP}/mk5/!version?  0 :  jive5ab
"""


def test_records_in_their_order(read: Reader, tmp_path: Path) -> None:
    log = read(MANY)
    found = list(records(str(tmp_path / "demony.log")))
    kinds = [Setting, ScanStart, ScanStart, Weather, Weather, *[TotalPower] * 4, Setting, LogError]
    assert [type(record) for record in found] == kinds
    lo, scan, source, wet, dry, tpi, tsys, tpcont, dbbc3, bbc, error = found
    assert isinstance(lo, Setting) and (lo.name, lo.fields[:2], lo.response) == ("lo", ("lo1", "8080.00"), False)
    assert isinstance(bbc, Setting) and bbc.name == "bbc01" and bbc.fields[0] == "612.990000" and bbc.response
    assert isinstance(scan, ScanStart) and scan.kind == "scan_name" and scan.fields[0] == "067-1700a"
    assert isinstance(source, ScanStart) and source.kind == "source" and source.fields[0] == "CygnusA"
    assert isinstance(wet, Weather) and wet.wind_azimuth_deg == 212.2
    assert isinstance(dry, Weather) and dry.temperature_c == 14.0 and math.isnan(dry.wind_speed)
    assert isinstance(tpi, TotalPower) and (tpi.kind, tpi.detectors, tpi.values) == (
        "tpi",
        ("1d", "2u"),
        (12775, 18178),
    )
    assert isinstance(tsys, TotalPower) and tsys.kind == "tsys" and math.isnan(tsys.values[1]) and not tsys.program
    assert isinstance(tpcont, TotalPower) and (tpcont.kind, tpcont.program) == ("tpcont", "tpicd")
    assert tpcont.values == (16289.0, 1291.64) and tpcont.off_values[0] == 15397.0 and math.isnan(tpcont.off_values[1])
    assert isinstance(dbbc3, TotalPower) and dbbc3.program == "dbtcn" and dbbc3.detectors == ("001u",)
    assert isinstance(error, LogError) and (error.mnemonic, error.number) == ("qk", -301)
    assert list(records(str(tmp_path / "demony.log"), (Weather,))) == [wet, dry]
    assert log.site.longitude_deg == pytest.approx(11.87) and (log.site.code, log.site.diameter_m) == ("ny", 20.0)
    assert len(log.weather) == 1 and log.errors == [error] and not log.skipped


@pytest.mark.parametrize(
    "bad",
    [
        "/wx/12.0,1000.0",
        "/wx/12.0,abc,50",
        "/tpi/1d,12775,2u",
        "/tpi/1d,12775,18178",
        "/tpi/12775",
        "/tpical/1d,12a75",
        "/tpdiff/1d,,2u,3",
        "/caltemp/toolong,12.0",
        "#tpicd#tpcont/1l,16289,15397,3",
        "#tpicd#tsys/1l,1.2.3",
        "?ERROR something",
        ";location,NyAlesun,348.13",
        "#fivpt#xoffset 1 2 3",
        "#fivpt#nonsense 1 2 3",
        ":rxg_file,",
    ],
)
def test_fields_that_do_not_decode_are_listed(read: Reader, bad: str) -> None:
    log = read(f"{MANY}{STAMP}{bad}\n")
    assert [line for line, _ in reasons(log)] == [16], reasons(log)
    assert log.skipped[0].text == f"{STAMP}{bad}"[:100]


def test_names_of_logs_tell_the_station(read: Reader, tmp_path: Path) -> None:
    for name, code in (("r1730ny.log", "ny"), ("ec071mtr.log.gz", "tr"), ("station.log", ""), ("vt9259ow_1.log", "")):
        data = f"{STAMP};wx\n".encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        assert read_log(str(tmp_path / name)).site.code == code


def test_rxg_dump(read: Reader) -> None:
    rows = [
        "fixed,7600.000000",
        "2019,5,14",
        "frequency,1.000000",
        "lcp,rcp",
        "5.000000e-02,5.100000e-02",
        ",poly,1.000000e+00,-1.000000e-04",
        ",lcp,8.100000e+03,5.500000e+00",
        ",rcp,8.100000e+03,5.600000e+00",
        "end_tcal_table",
    ]
    log = read("".join(f"{STAMP}:rxg_file,x.rxg,{row}\n" for row in rows))
    text = log.rxg_dumps["x.rxg"].splitlines()
    assert text[1] == "fixed 7600.000000" and text[6] == "ALTAZ POLY 1.000000e+00 -1.000000e-04"
    assert text[7] == "lcp 8.100000e+03 5.500000e+00"
    assert text[-3:] == ["end_tcal_table", "0.0 0.0", "end_spillover_table"]
    receiver = parse(log.rxg_dumps["x.rxg"], "x.rxg")
    assert receiver.curve.kind == "altaz" and receiver.dpfu == {"l": 0.05, "r": 0.051} and receiver.trec["l"] == 0.0


def test_rxg_dump_with_spill_over_and_elevation_given_twice(read: Reader) -> None:
    rows = ["range,100,200", "2019,5,14", "constant,1.0", "rcp", "1.0", "elevation,poly,1.0,opacity_corrected"]
    rows += ["rcp,150,5", "end_tcal_table", "20.0", ",10.0,5.0", ",90.0,1.0", "end_spillover_table"]
    dump = "".join(f"{STAMP}:rxg_file,u.rxg,{row}\n" for row in rows)
    text = read(dump + dump).rxg_dumps["u.rxg"].splitlines()
    assert text[6] == "ELEV POLY 1.0 opacity_corrected" and text[9:] == [
        "20.0",
        "10.0 5.0",
        "90.0 1.0",
        "end_spillover_table",
    ]
    assert len(text) == len(rows) + 1


# ---- damaged files ----------------------------------------------------------------------------------------


def test_what_is_no_log_is_refused(read: Reader) -> None:
    for content in ("", "* a comment\nfixed 2020\n", bytes(range(256)) * 40, "{}\n", b"\0" * 10000):
        with pytest.raises(FormatError, match=r"demony\.log.*expected a Field System log"):
            read(content)


def test_gz_and_damaged_gz(read: Reader) -> None:
    packed = gzip.compress(TOG.encode())
    assert len(read(packed).scans) == 1
    for damaged in (packed[: len(packed) // 2], packed[:20] + b"xxxxx" + packed[25:]):
        with pytest.raises(FormatError, match="gz file is damaged"):
            read(damaged)


def test_crlf_and_byte_order_mark(read: Reader) -> None:
    plain, crlf = read(TOG + MANY), read(b"\xef\xbb\xbf" + (TOG + MANY).replace("\n", "\r\n").encode())
    assert plain.scans == crlf.scans and plain.weather == crlf.weather and not crlf.skipped
    assert plain.lines == crlf.lines == 33


def test_lines_without_a_time_stamp(read: Reader) -> None:
    bad = [
        "hello",
        "",
        "\x01\x02\x03\x04ab",
        "2016.367.16:14:27.45;wx",
        "2016.067.25:14:27.45;wx",
        "16:14:27;wx",
        "067161427;wx",
    ]
    log = read(TOG + "\n".join(bad) + "\n")
    assert [line for line, _ in reasons(log)] == list(range(19, 26))
    assert log.skipped_counts == {
        "no time stamp": 1, "empty line": 1, "binary data": 1, "impossible time": 2, "no date": 2,
    }  # fmt: skip


def test_binary_garbage_inside_a_log(read: Reader) -> None:
    log = read(TOG.encode() + b"\x80\x81\x00\xff\n" + f"{STAMP}/wx/1,2\0,3\n".encode() + MANY.encode())
    assert [line for line, _ in reasons(log)] == [19, 20] and log.skipped_counts == {"binary data": 2}
    assert log.skipped[0].text == "????" and len(log.scans) == 1 and len(log.weather) == 2


def test_long_lines(read: Reader) -> None:
    ordinary, long = f"{STAMP}/mk5/{'x' * 275}\n", f"{STAMP}/wx/1,2,3{',4' * 600}\n"
    log = read(ordinary + long + TOG)
    assert reasons(log) == [(2, "long line: 1229 characters, more than 1000")] and len(log.scans) == 1


def test_a_flood_without_line_ends_is_one_long_line(read: Reader) -> None:
    log = read(TOG.encode() + b"\xfe" * 20_000_000 + b"\n" + MANY.encode())
    assert len(log.skipped) == 1 and log.skipped[0].line == 19 and "long line" in log.skipped[0].reason
    assert len(log.scans) == 1 and log.lines == 34


def test_cut_off_in_every_place(read: Reader) -> None:
    """Whatever remains, what was read before is not lost, and the torn line is never used."""
    whole = read(TOG).scans[0]
    for length in range(len(TOG) - 400, len(TOG), 7):
        log = read(TOG[:length])
        torn = TOG[length - 1] != "\n"
        assert [reason.partition(":")[0] for _, reason in reasons(log)] == ["cut off"] * torn
        assert log.scans[0].levels == whole.levels
        assert all(whole.printed[name] == row for name, row in log.scans[0].printed.items())


def test_only_the_first_thousand_are_kept_and_all_are_counted(read: Reader) -> None:
    errors = "".join(f"{STAMP}?ERROR st -1 no\n" for _ in range(2 * MOST_ERRORS))
    log = read(TOG + "garbage\n" * 3000 + errors)
    assert len(log.skipped) == MOST_SKIPPED and log.skipped_total == 3000
    assert len(log.errors) == MOST_ERRORS and log.error_counts == {("st", -1): 2 * MOST_ERRORS}


def test_two_digit_years(read: Reader) -> None:
    log = read(TOG.replace("2006.048", "06.048"))
    assert log.scans[0].time == pytest.approx(1140185475.37) and not log.skipped and log.scans[0].line == 4
    assert read(TOG.replace("2006.048", "99.048")).start < 1e9


def test_time_going_back(read: Reader) -> None:
    log = read(MANY + TOG + MANY)
    ((line, seconds),) = log.time_steps
    assert line == 16 and seconds == pytest.approx(1140185470.0 - 1457367267.45)
    assert log.end == pytest.approx(1457367267.45)


def test_blocks_of_any_size_give_the_same(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TOG + "rubbish\n" + POINTING + MANY
    whole = read(text)
    for size in (64, 100, 1000):
        monkeypatch.setattr("calibrant.station.loglines.BLOCK_BYTES", size)
        assert read(text) == whole


def test_leap_years_and_centuries(read: Reader) -> None:
    import datetime

    for year, day in ((1972, 366), (1999, 365), (2000, 60), (2000, 366), (2001, 1), (2024, 366), (2100, 365)):
        log = read(f"{year}.{day:03d}.12:34:56.78;wx\n")
        start = datetime.datetime(year, 1, 1, 12, 34, 56, 780000, datetime.UTC) + datetime.timedelta(days=day - 1)
        assert log.start == pytest.approx(start.timestamp(), abs=1e-5)


def test_skipped_of_records_are_those_looked_at(read: Reader, tmp_path: Path) -> None:
    read(f"{MANY}rubbish\n{STAMP}/wx/1,2\n{STAMP}/tpi/1\n")
    path = str(tmp_path / "demony.log")
    assert [r.line for r in records(path, (Skipped, Weather)) if isinstance(r, Skipped)] == [16, 17]
    assert [r.line for r in records(path) if isinstance(r, Skipped)] == [16, 17, 18]
    assert not [r for r in records(path, (OnOffScan,)) if not isinstance(r, OnOffScan)]
