"""Antabs from small invented logs whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import DataError, ExistsError, FormatError, ParameterError
from calibrant.station.antab import check_antab, format_antab, read_antab
from calibrant.station.antab_clean import clean, robust_line
from calibrant.station.antab_compare import compare_antabs
from calibrant.station.antab_made import Made
from calibrant.station.antab_make import make_antab
from calibrant.station.detectors import Setup
from calibrant.station.fslog import records
from calibrant.station.records import Setting
from calibrant.station.rxg import Receivers, parse
from calibrant.station.verbs.antab import antab as antab_verb

RXG = """{lo}
2021 06 02
frequency 1.0
{pols}
{dpfu}
{curve}
{tcal}
end_tcal_table
{trec}
end_spillover_table
"""
BOTH = "lcp 4800 2.0\nlcp 5000 4.0\nrcp 4800 1.0\nrcp 5000 3.0"


def rxg(
    name: str = "c.rxg", lo: str = "range 4000 4400", pols: str = "lcp rcp", dpfu: str = "0.15 0.14",
    curve: str = "ALTAZ POLY 1.0 -1.0e-4", tcal: str = BOTH,
):  # type: ignore[no-untyped-def]  # fmt: skip
    trec = " ".join(["0.0"] * len(pols.split()))
    return parse(RXG.format(lo=lo, pols=pols, dpfu=dpfu, curve=curve, tcal=tcal, trec=trec), name)


CONTINUOUS_SETUP = """\
&dbbc01/bbc01=630.00,a,32.00
&dbbc01/bbc09=630.00,b,32.00
&ifd01/lo=
&ifd01/lo=loa,4200.00,usb,rcp,off
&ifd01/lo=lob,4200.00,usb,lcp,off
:scan_name=no0001,tt01,tr,180,180
:source=3c84,031948.16,413042.1,2000.0
:data_valid=on
"""


def write_log(tmp_path: Path, lines: list[str], name: str = "tt01tr.log") -> str:
    """Lines `hh:mm:ss.ss text` (or text alone: at the time of the line before) of day 163 of 2021."""
    out, stamp = [], "04:00:00.00"
    for line in lines:
        if line[2:3] == ":" and line[5:6] == ":":
            stamp, line = line[:11], line[11:].lstrip()
        out.append(f"2021.163.{stamp}{line}")
    path = tmp_path / name
    path.write_text("\n".join(out) + "\n")
    return str(path)


def stamp(seconds: float) -> str:
    return f"{4 + int(seconds) // 3600:02d}:{int(seconds) // 60 % 60:02d}:{seconds % 60:05.2f}"


def levels(tsys: float, tcal: float, off: float = 10000.0) -> tuple[float, float]:
    """(on, off) of a continuous calibration: Tsys includes half of the diode."""
    step = tcal * off / (tsys - tcal / 2)
    return off + step, off


TRUTH = {"1u": (40.0, 1.46), "1l": (38.0, 1.14), "9u": (50.0, 2.46), "9l": (45.0, 2.14)}
"""Tsys, and Tcal of the table above at 4846 and 4814 MHz."""


def continuous(tmp_path: Path, *, n: int = 12, swap: tuple[str, ...] = (), edit: dict[int, str] | None = None) -> str:
    lines = CONTINUOUS_SETUP.splitlines()
    for i in range(n):
        cells = []
        for name, (tsys, tcal) in TRUTH.items():
            on, off = levels(tsys, tcal)
            cells.append(f"{name},{off:.4f},{on:.4f}" if name in swap else f"{name},{on:.4f},{off:.4f}")
        text = ",".join([*cells, "ia,1291.64"])
        lines.append(f"{stamp(1 + 6 * i)}#tpicd#tpcont/{(edit or {}).get(i, text)}")
    lines += [f"{stamp(6 * n + 2)}:data_valid=off", f"{stamp(6 * n + 9)}#tpicd#tpcont/1u,1,2"]
    return write_log(tmp_path, lines)


def made(log: str, *files: object, **options: object) -> Made:
    return make_antab(records(log), Receivers(files or (rxg(),)), log=log, **options)  # type: ignore[arg-type]


def kinds(result: Made) -> set[str]:
    return {finding.kind for finding in result.findings}


def test_continuous_calibration(tmp_path: Path) -> None:
    result = made(continuous(tmp_path))
    tsys = result.antab.tsys[0]
    assert tsys.index == ("R1", "R2", "L1", "L2") and tsys.station == "TR"
    np.testing.assert_allclose(tsys.values, [[38.0, 40.0, 45.0, 50.0]] * 12, rtol=1e-6)
    np.testing.assert_allclose(tsys.seconds - 162 * 86400 - 4 * 3600, 1 + 6 * np.arange(12), atol=1e-3)
    assert [(c.detector.freq_mhz, c.detector.sideband) for c in result.columns[:2]] == [(4814.0, "l"), (4846.0, "u")]
    assert [round(c.tcal_k, 9) for c in result.columns] == [1.14, 1.46, 2.14, 2.46]
    assert result.verdict == "good" and "outside scans" in kinds(result)
    text = format_antab(result.antab)
    assert not [problem for problem in check_antab(text) if problem.severity != "note"]
    assert "!Column 2 = R2: ifA, bbc01, 4846.00 MHz , USB, BW= 32.00 MHz, Tcal=1.46 K" in text
    assert "! 163 04:00.00: scanNum=0001 scanName=no0001 source=3c84" in text


def test_gain_has_the_order_r_l_and_the_true_type(tmp_path: Path) -> None:
    """The rxg lists L first (0.15) and an ALTAZ curve that is opacity corrected."""
    result = made(continuous(tmp_path), rxg(curve="ALTAZ POLY 1.0 -1.0e-4 opacity_corrected"))
    gain = result.antab.gains[0]
    assert (gain.mount, gain.dpfu, gain.poly, gain.freq_mhz) == ("ALTAZ", (0.14, 0.15), (1.0, -1e-4), (4782.0, 4878.0))
    text = format_antab(result.antab)
    poly = text[text.index("POLY") : text.index("/", text.index("POLY"))]
    assert "opacity" not in poly and "! The gain curve of c.rxg is opacity corrected." in text
    assert {"order of DPFU", "opacity corrected"} <= kinds(result)


def test_without_half_of_the_diode(tmp_path: Path) -> None:
    tsys = made(continuous(tmp_path), minus_half_diode=True).antab.tsys[0]
    np.testing.assert_allclose(tsys.values[0], [38 - 0.57, 40 - 0.73, 45 - 1.07, 50 - 1.23], rtol=1e-6)


@pytest.mark.parametrize("minus", [False, True])
def test_swapped_levels_are_put_right_and_reported(tmp_path: Path, minus: bool) -> None:
    right = made(continuous(tmp_path), minus_half_diode=minus)
    swapped = made(continuous(tmp_path, swap=("1u", "1l")), minus_half_diode=minus)
    np.testing.assert_allclose(swapped.antab.tsys[0].values, right.antab.tsys[0].values)
    finding = next(f for f in swapped.findings if f.kind == "on and off swapped")
    assert "1l, 1u" in finding.text and "9u" not in finding.text and swapped.verdict == "check"
    assert [c.swapped for c in swapped.columns] == [True, True, False, False]


def test_failed_readings_are_removed_and_listed(tmp_path: Path) -> None:
    on, off = levels(50.0, 2.46)
    bad = {3: "1u,16100,0,9u,10000,10000", 5: f"1u,10030,10000,9u,{on},{off}"}
    log = continuous(tmp_path, n=30, edit=bad)
    result = made(log)
    assert [(c.label, c.reason, round(c.old, 2)) for c in result.changes if c.label == "R2"] == [
        ("R2", "a total power of 0", 0.73), ("R2", "far from the scan's robust line", 487.4),
    ]  # fmt: skip
    values = result.antab.tsys[0].tsys()
    assert np.isnan(values[:, 1]).sum() == 1
    assert "!Cleaning (robust): 2 of" in format_antab(result.antab) and "999.9" in format_antab(result.antab)
    # Nothing at all is left of the integration that has on = off and no power: it is no row.
    assert "empty rows" in kinds(result) and result.rows == 29


def test_levels_of_one_second_are_one_integration(tmp_path: Path) -> None:
    """The detectors come in several lines, which may be a fraction of a second apart; faster records are averaged."""
    on, off = levels(40.0, 1.46)
    lines = CONTINUOUS_SETUP.splitlines()
    for start in (1.0, 7.0):
        lines.append(f"{stamp(start)}#tpicd#tpcont/1u,{on + 20},{off + 20}")
        lines.append(f"{stamp(start + 0.02)}#tpicd#tpcont/1l,{on},{off}")
        lines.append(f"{stamp(start + 0.5)}#tpicd#tpcont/1u,{on - 20},{off - 20}")
    result = made(write_log(tmp_path, lines))
    assert result.rows == 2
    np.testing.assert_allclose(result.antab.tsys[0].values[:, 1], 40.0, rtol=1e-6)


SINGLE_SETUP = """\
&vc/vc01=100.00,8.000,ul
&vc/vc02=200.00,8.000,u
&vc/vc10=300.00,8.000,l
&ifd/lo=
&ifd/lo=lo1,8000.00,usb,rcp,1
&ifd/lo=lo2,9000.00,lsb,rcp,1
&ifd/patch=
&ifd/patch=lo1,1l,2h
&ifd/patch=lo2,10l
:scan_name=067-1700,r1xxx,ny,60,60
"""
SINGLE_LEVELS = [
    "/tpi/1d,12000,2u,13000,al,14000", "/tpzero/1d,1000,2u,1000,al,1000", "/tpical/1d,13000,2u,14000,al,15000",
    "/tpdiff/1d,1000,2u,1000,al,1000", "/caltemp/1d,5.000,2u,6.000,al,7.000", "/tsys/1d,55.0,2u,72.0,al,91.0",
]  # fmt: skip


def single(tmp_path: Path, n: int = 6) -> str:
    lines = SINGLE_SETUP.splitlines()
    for i in range(n):
        lines += [f"{stamp(60 * i)}{SINGLE_LEVELS[0]}", *SINGLE_LEVELS[1:3]]
        lines += [f"{stamp(60 * i + 5)}{SINGLE_LEVELS[3]}", *SINGLE_LEVELS[4:]]
    return write_log(tmp_path, lines, "r1xxxny.log")


def x_band(name: str = "x.rxg", lo: str = "fixed 8000", tcal: str = "rcp 8000 10.0\nrcp 9000 10.0"):  # type: ignore[no-untyped-def]
    return rxg(name, lo=lo, pols="rcp", dpfu="0.1", curve="ELEV POLY 1.0", tcal=tcal)


def test_single_calibration(tmp_path: Path) -> None:
    """Tcal 10 K instead of the log's 5, 6 and 7 K; double, upper and lower side bands; an LSB LO."""
    result = made(single(tmp_path), x_band(), x_band("y.rxg", lo="fixed 9000"))
    frequencies = {c.detector.name: (c.detector.freq_mhz, c.detector.bandwidth_mhz, c.label) for c in result.columns}
    assert frequencies == {"1d": (8100.0, 16.0, "R1"), "2u": (8204.0, 8.0, "R2"), "al": (8704.0, 8.0, "R3")}
    np.testing.assert_allclose(result.antab.tsys[0].values, [[110.0, 120.0, 130.0]] * 6)
    assert [(g.freq_mhz, g.pols) for g in result.antab.gains] == [
        ((8084.0, 8212.0), ("r",)),
        ((8696.0, 8712.0), ("r",)),
    ]
    assert result.verdict == "good"


def test_tcal_of_the_log_where_the_rxg_lacks(tmp_path: Path) -> None:
    result = made(single(tmp_path), x_band())
    np.testing.assert_allclose(result.antab.tsys[0].values[0], [110.0, 120.0, 91.0])
    assert {f.kind: f.level for f in result.findings} == {"Tcal from the log": "check", "no GAIN": "bad"}
    assert result.verdict == "do not trust"


def test_a_tpi_alone_uses_the_last_calibration(tmp_path: Path) -> None:
    log = Path(single(tmp_path, 1))
    later = [
        "2021.163.04:10:00.00/tpi/1d,23000,2u,13000,al,14000",
        "2021.163.04:10:00.00/tsys/1d,110.0,2u,72.0,al,91.0",
    ]
    log.write_text(log.read_text() + "\n".join(later) + "\n")
    result = made(str(log), x_band(lo="range 7000 9500"))
    np.testing.assert_allclose(result.antab.tsys[0].values[:, 0], [110.0, 220.0])


def test_a_diode_that_is_on_during_tpi(tmp_path: Path) -> None:
    log = Path(single(tmp_path))
    text = log.read_text().replace("/tpi/1d,12000", "/tpi/1d,13000").replace("/tpical/1d,13000", "/tpical/1d,12000")
    log.write_text(text.replace("/tpdiff/1d,1000", "/tpdiff/1d,-1000").replace("/tsys/1d,55.0", "/tsys/1d,-60.0"))
    result = made(str(log), x_band(lo="range 7000 9500"))
    np.testing.assert_allclose(result.antab.tsys[0].values[:, 0], 110.0)
    assert "on and off swapped" in kinds(result)


def test_a_new_set_up_is_a_new_group(tmp_path: Path) -> None:
    log = Path(continuous(tmp_path))
    on, off = levels(40.0, 1.5)
    more = [":bbc01=650.00,a,16.00", ":data_valid=on", f"#tpicd#tpcont/1u,{on:.3f},{off:.3f}"]
    log.write_text(log.read_text() + "".join(f"2021.163.05:00:0{i}.00{line}\n" for i, line in enumerate(more)))
    result = made(str(log))
    assert [(t.index, len(t.seconds)) for t in result.antab.tsys] == [(("R1", "R2", "L1", "L2"), 12), (("R1",), 1)]
    assert [c.detector.freq_mhz for c in result.columns if c.setup == 2] == [4858.0]


def test_no_diode_and_extrapolation_are_said(tmp_path: Path) -> None:
    table = "lcp 4000 -100.0\nrcp 4820 1.46\nrcp 5000 1.46"
    result = made(continuous(tmp_path), rxg(tcal=table))
    assert [c.label for c in result.columns] == ["R1", "R2"]
    assert {"no Tcal", "extrapolated Tcal"} <= kinds(result)
    assert result.verdict == "do not trust"


def test_two_curves_are_two_gains(tmp_path: Path) -> None:
    right = rxg("r.rxg", pols="rcp", dpfu="0.14", curve="ELEV POLY 1.0", tcal="rcp 4000 1.0\nrcp 6000 1.0")
    left = rxg("l.rxg", pols="lcp", dpfu="0.15", curve="ELEV POLY 0.9", tcal="lcp 4000 1.0\nlcp 6000 1.0")
    result = made(continuous(tmp_path), right, left)
    assert [(g.pols, g.dpfu) for g in result.antab.gains] == [(("r",), (0.14,)), (("l",), (0.15,))]
    assert "two curves" in kinds(result)


def test_nothing_to_make_an_antab_of(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no total powers"):
        made(write_log(tmp_path, CONTINUOUS_SETUP.splitlines()))
    with pytest.raises(DataError, match="nothing is known about what they see"):
        made(write_log(tmp_path, ["#tpicd#tpcont/1u,11000,10000"]))
    nameless = str(tmp_path / "some.log")
    Path(nameless).write_text(Path(continuous(tmp_path)).read_text().replace(",tt01,tr,180,180", ""))
    with pytest.raises(ParameterError, match="--station"):
        made(nameless)
    with pytest.raises(DataError, match="no detector has a Tcal"):
        made(continuous(tmp_path), rxg(lo="fixed 8000"))


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        ([("bbc01", "612.99,a,8.000,4.000"), ("lo", "loa,7600.00,usb,rcp")], "1l", (8210.99, 4.0)),
        ([("bbc01", "612.99,a,8,1"), ("lo", "loa,7600.00,usb,rcp")], "1l", (8208.99, 8.0)),
        ([("bbc16", "100,b,16"), ("lo", "lob,5000.00,lsb,lcp")], "gu", (4892.0, 16.0)),
        ([("bbc012", "100,b,32"), ("lo", "lob,5000.00,usb,lcp")], "012u", (5116.0, 32.0)),
        ([("bbc01", "1,a,8"), ("bbc01", "*,*"), ("vc01", "alarm"), ("lo", "loa,5000,usb,lcp")], "1u", (5005.0, 8.0)),
        ([("bbc01", "1,a,8"), ("lo", "loa,5000.00,usb,lcp"), ("lo", "")], "1u", None),
        ([("vc01", "1,8.000,u"), ("lo", "lo1,5000.00,usb,lcp"), ("patch", "lo1,1l"), ("patch", "")], "1u", None),
        ([("lo", "loa,5000.00,usb,lcp")], "ia", None),
    ],
)  # fmt: skip
def test_what_a_detector_sees(settings: list[tuple[str, str]], name: str, expected: tuple[float, float] | None) -> None:
    setup = Setup()
    for key, fields in settings:
        setup.feed(Setting(1, 0.0, key, tuple(fields.split(",")), False))
    detector, why = setup.detector(name)
    if expected is None:
        assert detector is None and why
    else:
        assert detector is not None and (detector.freq_mhz, detector.bandwidth_mhz) == expected


def test_robust_line_ignores_outliers() -> None:
    time = np.arange(40.0)
    truth = 50 + 0.2 * time
    values = truth + np.random.default_rng(1).normal(0, 0.3, 40)
    values[[3, 20, 35]] = 400.0, 1.0, 90.0
    line = robust_line(time, values[:, None])[:, 0]
    assert np.abs(line - truth).max() < 0.3
    cleaned, changes = clean(time, values[:, None], np.zeros(40, int))
    assert [(c.row, np.isnan(c.new)) for c in changes] == [(3, True), (20, True), (35, True)]
    assert np.isnan(cleaned).sum() == 3


def test_cleaning_like_antabfs() -> None:
    """Negative and huge values become the geometric mean of their scan, 10 % outliers the straight line."""
    time = np.arange(10.0)
    values = np.full((10, 1), 40.0)
    values[2], values[5], values[7] = -5.0, 20000.0, 50.0
    cleaned, changes = clean(time, values, np.zeros(10, int), "antabfs")
    mean = float(np.exp(np.log(values[(values > 0) & (values < 1e4)]).mean()))
    line = np.polyval(np.polyfit(time, np.where((values < 0) | (values > 1e4), mean, values)[:, 0], 1), time)
    np.testing.assert_allclose(cleaned[[2, 5, 7], 0], [mean, mean, line[7]])
    assert [change.row for change in changes] == [2, 5, 7]
    assert clean(time, values, np.zeros(10, int), "none")[1] == []


def test_scans_of_one_value_are_compared_with_their_neighbours() -> None:
    values = np.full((30, 1), 40.0)
    values[11], values[4] = 400.0, 80.0
    cleaned, changes = clean(np.arange(30.0), values, np.arange(30))
    assert [change.row for change in changes] == [11] and np.isnan(cleaned[11, 0])


def test_comparison_shows_what_an_old_file_did(tmp_path: Path) -> None:
    """Exchanged DPFU: R rises by sqrt(0.15/0.14), L falls."""
    log = continuous(tmp_path)
    new, old = made(log).antab, made(log, rxg(dpfu="0.14 0.15")).antab
    ratios = {c.label: c.amplitude_ratio for c in compare_antabs(new, old)}
    up = (0.15 / 0.14) ** 0.5
    assert ratios == pytest.approx({"R1": up, "R2": up, "L1": 1 / up, "L2": 1 / up})
    with pytest.raises(DataError, match="nothing to compare"):
        compare_antabs(new, made(log, station="Mc").antab)


def test_the_verb(tmp_path: Path) -> None:
    log = continuous(tmp_path, n=20, edit={3: "1u,16100,0,1l,16100,0"})
    receiver = tmp_path / "c.rxg"
    receiver.write_text(
        RXG.format(lo="range 4000 4400", pols="lcp rcp", dpfu="0.15 0.14", curve="ELEV POLY 1.0", tcal=BOTH, trec="0 0")
    )
    dry = antab_verb(log, [str(receiver)], dry_run=True)
    assert not dry.output and not list(tmp_path.glob("*.antabfs"))
    result = antab_verb(log, [str(tmp_path)], station="Tr")
    assert result.output == str(tmp_path / "tt01tr.antabfs")
    assert read_antab(result.output).counts()["rows"] == 19
    summary = result.summary()
    assert "2 a total power of 0" in summary and "Verdict: good; written to" in summary
    assert max(map(len, summary.splitlines())) <= 100 + len(str(tmp_path))
    stored = json.loads(json.dumps(result.to_dict(), default=float))
    assert [c["label"] for c in stored["columns"]] == ["R1", "R2", "L1", "L2"]
    assert [(c["label"], c["new"], c["time"]) for c in stored["changes"]] == [
        ("R1", None, "2021.163.04:00:19"), ("R2", None, "2021.163.04:00:19"),
    ]  # fmt: skip
    with pytest.raises(ExistsError):
        antab_verb(log, [str(receiver)])
    antab_verb(log, [str(receiver)], overwrite=True, compare=result.output)
    with pytest.raises(ParameterError):
        antab_verb(log, [str(receiver)], station="TRO", overwrite=True)


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"GAIN TR\n" * 5])
def test_a_bad_log_writes_nothing(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "bad.log"
    log.write_bytes(content)
    receiver = tmp_path / "c.rxg"
    receiver.write_text(
        RXG.format(lo="range 4000 4400", pols="lcp rcp", dpfu="0.15 0.14", curve="ELEV POLY 1.0", tcal=BOTH, trec="0 0")
    )
    with pytest.raises((FormatError, DataError)):
        antab_verb(str(log), [str(receiver)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.log", "c.rxg"]
