"""The table of points: what receiver files and flux tables add, and that nothing is lost silently."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import ParameterError
from calibrant.station.derived import Opacity, opacity_refusals
from calibrant.station.fluxctl import parse_flux
from calibrant.station.fslog import read_log
from calibrant.station.points import COLUMNS, Points, build_points
from calibrant.station.records import Apriori, FsLog, Level, OnOffScan, Printed, Site, Weather
from calibrant.station.rxg import Receivers, parse
from calibrant.station.verbs.onoff import onoff

RXG = """fixed 21964
2006 02 17
frequency 1.0
lcp rcp
0.118661 0.114000
ELEV POLY 0.8 0.005 -3.125e-5{flag}
lcp 22200 27.44
lcp 22300 37.44
rcp 22200 25.49
end_tcal_table
{trec} {trec}
10 20
50 10
90 5
end_spillover_table
"""
TOG_LOG = """\
2006.048.14:11:15.36#onoff# De Center TCal Flux DPFU Gain Product LO T FWHM
2006.048.14:11:15.37#onoff#APR 5u 22213.00 27.44 16.4 0.118661 0.88588 0.105119 21964.00 c 0.02948
2006.048.14:11:15.37#onoff#APR 6u 22213.00 25.49 16.4 0.114000 0.88588 0.100990 21964.00 c 0.02948
2006.048.14:15:52.42#onoff#SIG 5u 0.02 1.99 1.1 55.661 5.851 0.21
2006.048.14:15:52.42#onoff#VAL dr21 289.9 46.1 5u 1 l 22213.00 1.0076 142.8 1411.3 271.155 1.0384
2006.048.14:15:52.42#onoff#VAL dr21 289.9 46.1 6u 2 r 22213.00 1.0074 141.2 1414.2 255.322 1.0113
2006.048.14:15:52.42#onoff# source Az El De I P Center Comp Tsys SEFD Tcal(j) Tcal(r)
"""


def receivers(trec: float = 40.0, flag: str = "") -> Receivers:
    return Receivers([parse(RXG.format(trec=trec, flag=flag), "k.rxg")])


def log_of(scans: list[OnOffScan], path: str = "x.log") -> FsLog:
    return FsLog(path, 100, 10000, Site(), scans, [], [], [], [])


def scan_of(
    detectors: tuple[str, ...] = ("5u",), *, states: str = "sSfGz", source: str = "dr21", elevation: float = 46.1
) -> OnOffScan:
    """One repetition at the counts of TOG's appendix 2; left for 'u' detectors, right for others."""
    counts = {
        "s": ("ONSO", 8583.8),
        "S": ("ONSC", 10025.8),
        "f": ("OFFS", 8496.6),
        "G": ("OFFC", 9944.2),
        "z": ("ZERO", 1020.2),
    }
    scan = OnOffScan("x.log", 10, 1140185475.37, source, weather=Weather(5, 0.0, 5.0, 1000.0, 60.0, 3.0, 180.0))
    for number, name in enumerate(detectors):
        scan.apriori[name] = Apriori(10 + number, name, 22213.0, 27.44, 16.4, 0.118661, 0.88588, 21964.0, "x", 0.02948)
        scan.levels[name] = [Level(20, *_level(counts[one])) for one in states]
        pol = "l" if name.endswith("u") else "r"
        scan.printed[name] = Printed(
            30 + number, 0.0, source, 289.9, elevation, name, "1", pol, 22213.0, 0.99613, 141.72, 1406.1, 272.255, 1.04
        )
    return scan


def _level(counts: tuple[str, float]) -> tuple[str, float, float, float, float]:
    return counts[0], 0.0, 0.0, 0.0, counts[1]


@pytest.fixture
def tog_log(tmp_path: Path) -> str:
    path = tmp_path / "tog.log"
    path.write_text(TOG_LOG)
    return str(path)


def test_worked_example_of_the_reference(tog_log: str) -> None:
    """Section 4.1: gndat's numbers for TOG's VAL line, which has no counts for all repetitions: VAL itself is used."""
    points, skipped = build_points([read_log(tog_log, progress=False)], receivers())
    assert not skipped and len(points) == 2
    first = points.rows()[0]
    assert first["detector"] == "5u" and first["rxg"] == "k.rxg" and not first["recomputed"]
    assert first["tcal_assumed_k"] == pytest.approx(28.740, abs=5e-4)
    assert first["tsys_scaled_k"] == pytest.approx(149.57, abs=5e-3)
    assert first["tcal_k"] == pytest.approx(31.020, abs=5e-4)
    assert first["ratio"] == pytest.approx(1.0793, abs=5e-5)
    assert first["gain"] == pytest.approx(0.10599, abs=5e-6)
    assert first["tspill_k"] == pytest.approx(11.0, abs=0.03)
    assert first["tsys_minus_tspill_k"] == pytest.approx(138.59, abs=0.03)
    assert first["airmass"] == pytest.approx(1.0 / math.sin(math.radians(46.1)))
    assert round(first["airmass"], 2) == 1.39
    assert first["fs_tcal_jy"] == 271.155 and first["tcal_jy_err"] == pytest.approx(55.661)


def test_every_column_has_one_value_per_point() -> None:
    points, _ = build_points([log_of([scan_of(("5u", "6l"))])], receivers())
    assert tuple(name for name in COLUMNS if name not in points.columns) == ()
    assert set(points.columns) == set(COLUMNS)
    assert {len(column) for column in points.columns.values()} == {2}
    assert points["recomputed"].all() and points["line"].tolist() == [30, 31]
    np.testing.assert_allclose(points["sefd_jy"], 1406.11, atol=5e-3)
    assert json.loads(json.dumps(points.rows(), allow_nan=False))[0]["source"] == "dr21"


def test_selection_concatenation_and_editing() -> None:
    points, _ = build_points([log_of([scan_of(("5u", "6l"))])])
    left = points.where(points["pol"] == "l")
    assert left["detector"].tolist() == ["5u"]
    both = Points.concatenate([left, points])
    assert both["detector"].tolist() == ["5u", "5u", "6l"]
    both["deleted"][1], both["reason"][1] = True, "a reason longer than any before it"
    assert both.rows()[1]["reason"] == "a reason longer than any before it"
    assert len(Points.concatenate([])) == len(Points.empty()) == 0
    with pytest.raises(ParameterError, match="Did you mean 'sefd_jy'"):
        points["sefd_yj"]


def test_no_log_no_points() -> None:
    points, skipped = build_points([], receivers())
    assert len(points) == 0 and skipped == [] and set(points.columns) == set(COLUMNS)


def test_aborted_scan_is_kept_without_fs_values() -> None:
    whole, cut = scan_of(), scan_of()
    cut.printed.clear()
    cut.status, cut.reason = "aborted", "nf -20 not on source (line 40)"
    points, skipped = build_points([log_of([whole, cut])], receivers())
    assert not skipped
    np.testing.assert_allclose(points["sefd_jy"], 1406.11, atol=5e-3)
    assert np.isnan(points["fs_sefd_jy"][1]) and points["line"][1] == 10
    assert points["pol"].tolist() == ["l", "l"]  # as in the whole scan
    assert np.isnan(points["elevation_deg"][1]) and np.isnan(points["ratio"][1])


def test_what_gives_nothing_is_listed_with_its_reason() -> None:
    part, nothing = scan_of(("5u", "6u")), scan_of(states="sS")
    part.levels["6u"] = []
    part.printed.pop("6u")
    nothing.printed.clear()
    nothing.reason = "nf -80 overflow (line 77)"
    points, skipped = build_points([log_of([part, nothing])])
    assert points["detector"].tolist() == ["5u"]
    assert [(one.file, one.line, one.reason) for one in skipped] == [
        ("x.log", 11, "no usable ONSO or OFFS or ZERO level"),
        ("x.log", 10, "no usable OFFS or ZERO level; nf -80 overflow (line 77)"),
    ]


# ---------------------------------------------------------------- fluxes


def test_flux_of_the_table_replaces_that_of_the_log() -> None:
    table = parse_flux("dr21 p 1000 50000 2.0 0 0 0. gauss 100 20s\n", "flux.ctl")
    points, _ = build_points([log_of([scan_of()])], flux=table)
    correction = 1 + (20 / 3600 / 0.02948) ** 2
    assert points["structure_correction"][0] == pytest.approx(correction)
    assert points["flux_assumed_jy"][0] == pytest.approx(100 / correction)
    assert points["sefd_jy"][0] == pytest.approx(1406.112 * 100 / correction / 16.4, rel=1e-6)
    assert points["type"][0] == "p"  # the APR row says x, as since FS 10.1.0


def test_unknown_source_keeps_the_logs_flux() -> None:
    table = parse_flux("casa c 1000 50000 2.0 0 0 0. gauss 100 20s\n", "flux.ctl")
    points, _ = build_points([log_of([scan_of()])], flux=table)
    assert points["flux_assumed_jy"][0] == 16.4 and np.isnan(points["structure_correction"][0])
    assert points["type"][0] == "x"


# ---------------------------------------------------------------- opacity and the sources of the gain


def test_opacity_corrects_once_and_in_the_right_direction() -> None:
    plain, _ = build_points(
        [log_of([scan_of()])], receivers(flag=" opacity_corrected"), opacity=Opacity(correct="none")
    )
    corrected, _ = build_points([log_of([scan_of()])], receivers(flag=" opacity_corrected"))
    through = 1 - (plain["tsys_minus_tspill_k"] - 40.0) / 273.0
    np.testing.assert_allclose(plain["transmission"], through)
    np.testing.assert_allclose(plain["opacity_zenith"], -np.log(through) / plain["airmass"])
    assert through < 1
    np.testing.assert_allclose(plain["gain_corrected"], plain["gain"])
    np.testing.assert_allclose(corrected["gain"], plain["gain"])
    np.testing.assert_allclose(corrected["gain_corrected"], plain["gain"] / through)
    # Tcal(K) trusts the gain, so its opacity is that of the SEFD, whatever the diode of the rxg is.
    power = plain["sefd_jy"] * plain["dpfu"] * plain["curve_gain"]
    by_gain = (273.0 + plain["tspill_k"] + 40.0) / (273.0 + power)
    np.testing.assert_allclose(power * by_gain, 40.0 + plain["tspill_k"] + 273.0 * (1 - by_gain))
    np.testing.assert_allclose(corrected["tcal_k_corrected"], plain["tcal_k"] * by_gain)
    np.testing.assert_allclose(corrected["ratio_corrected"], plain["ratio"] * by_gain)
    gnplt, _ = build_points(
        [log_of([scan_of()])], receivers(flag=" opacity_corrected"), opacity=Opacity(like_gnplt=True)
    )
    np.testing.assert_allclose(gnplt["gain_corrected"], plain["gain"] / through)
    np.testing.assert_allclose(gnplt["tcal_k_corrected"], plain["tcal_k"] * through)


def test_corrected_tcal_does_not_depend_on_the_diode_of_the_rxg() -> None:
    found = []
    for tcal in ("27.44", "20.00"):
        text = RXG.format(trec=40.0, flag=" opacity_corrected").replace("lcp 22200 27.44", f"lcp 22200 {tcal}")
        points, _ = build_points([log_of([scan_of()])], Receivers([parse(text, "k.rxg")]))
        found.append((points["tcal_k_corrected"][0], points["gain_corrected"][0]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert found[0][1] != pytest.approx(found[1][1], rel=0.01)


@pytest.mark.parametrize("continuous", [False, True])
def test_errors_of_what_is_corrected_are_those_of_its_parts(continuous: bool) -> None:
    """Counts disturbed at random: Tcal(Jy), Tsys and SEFD share their noise, the errors take it into account."""
    rng = np.random.default_rng(5)
    count, sky, diode, source, zero = 4000, 7500.0, 1450.0, 900.0, 1000.0
    f, s = sky + zero + 5 * rng.standard_normal(count), sky + zero + source + 5 * rng.standard_normal(count)
    g = sky + zero + diode + 5 * rng.standard_normal(count)
    v = (f + g) / 2 if continuous else f
    tsys, sefd, tcal_jy = (v - zero) * 27.44 / (g - f), (v - zero) * 16.4 / (s - f), (g - f) * 16.4 / (s - f)
    columns = Points.empty(count).columns | {
        "lo_mhz": np.full(count, 21964.0), "freq_mhz": np.full(count, 22213.0), "pol": np.full(count, "l"),
        "elevation_deg": np.full(count, 46.0), "airmass": np.full(count, 1.39),
        "continuous": np.full(count, continuous),
        "apr_tcal_k": np.full(count, 27.44), "tsys_k": tsys, "sefd_jy": sefd, "tcal_jy": tcal_jy,
    }  # fmt: skip
    columns |= {f"{name}_err": np.full(count, columns[name].std()) for name in ("tsys_k", "sefd_jy", "tcal_jy")}
    points = Points(columns)
    for like_gnplt in (False, True):
        made = points.derived(receivers(flag=" opacity_corrected"), Opacity(like_gnplt=like_gnplt))
        for name in ("gain_corrected", "tcal_k_corrected", "ratio_corrected", "opacity_zenith"):
            assert np.median(made[f"{name}_err"]) == pytest.approx(made[name].std(), rel=0.05), (name, like_gnplt)


def test_half_the_diode_is_no_receiver_temperature() -> None:
    """Under continuous calibration Tsys is the mean with the diode on and off."""
    scan = scan_of()
    scan.continuous = True
    (switched, _), (continuous, _) = (
        build_points([log_of([scan_of()])], receivers()),
        build_points([log_of([scan])], receivers()),
    )
    assert continuous["continuous"].all() and not switched["continuous"].any()
    assert continuous["tsys_k"][0] == pytest.approx(switched["tsys_k"][0] + 27.44 / 2)
    for name in ("tsys_minus_tspill_k", "transmission", "opacity_zenith"):
        assert continuous[name][0] == pytest.approx(switched[name][0]), name
    both = [one.derived(receivers(flag=" opacity_corrected")) for one in (switched, continuous)]
    assert both[0]["tcal_k_corrected"][0] == pytest.approx(both[1]["tcal_k_corrected"][0])
    gnplt = continuous.derived(receivers(), Opacity(like_gnplt=True))
    assert gnplt["tsys_minus_tspill_k"][0] == pytest.approx(gnplt["tsys_scaled_k"][0] - gnplt["tspill_k"][0])


@pytest.mark.parametrize(
    ("choice", "gain", "tcal"), [("gain", True, False), ("tcal", False, True), ("both", True, True)]
)
def test_opacity_choices(choice: str, gain: bool, tcal: bool) -> None:
    points, _ = build_points([log_of([scan_of()])], receivers(), opacity=Opacity(by_rxg={"k.rxg": choice}))
    assert (points["gain_corrected"][0] != points["gain"][0]) == gain
    assert (points["tcal_k_corrected"][0] != points["tcal_k"][0]) == tcal


def test_opacity_is_refused_with_a_reason() -> None:
    unknown, _ = build_points([log_of([scan_of()])], receivers(trec=0.0))
    assert np.isnan(unknown["opacity_zenith"]).all() and np.isfinite(unknown["gain_corrected"]).all()
    assert opacity_refusals(unknown.columns) == {"Trec is 0 in the rxg: unknown": 1}
    cold, _ = build_points([log_of([scan_of()])], receivers(), opacity=Opacity(tatm_k=50.0, correct="both"))
    assert np.isnan(cold["gain_corrected"]).all()
    assert opacity_refusals(cold.columns) == {"Tsys - Tspill - Trec is as large as Tatm or larger": 1}


def test_tatm_from_the_weather() -> None:
    points, _ = build_points([log_of([scan_of()])], receivers(), opacity=Opacity(tatm_k="weather"))
    fixed, _ = build_points([log_of([scan_of()])], receivers(), opacity=Opacity(tatm_k=70.2 + 0.72 * 278.15))
    np.testing.assert_allclose(points["opacity_zenith"], fixed["opacity_zenith"])
    dry = scan_of()
    dry.weather = None
    without, _ = build_points([log_of([dry])], receivers(), opacity=Opacity(tatm_k="weather"))
    assert opacity_refusals(without.columns) == {"no temperature in the log for Tatm": 1}


def test_opacity_options_are_checked() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'both'"):
        Opacity(correct="boht")
    with pytest.raises(ParameterError, match="below 400"):
        Opacity(tatm_k=-3)


def test_gain_from_one_tcal_or_scaled_to_a_mean() -> None:
    scans = [scan_of(elevation=elevation) for elevation in (20.0, 40.0, 50.0)]
    given, _ = build_points([log_of(scans)], receivers(), gain_tcal_k=30.0)
    np.testing.assert_allclose(given["gain"], 30.0 / given["tcal_jy"])
    scaled, _ = build_points([log_of(scans)], gain_at=(35.0, 55.0, 0.12))
    np.testing.assert_allclose(scaled["gain"], 0.12)
    np.testing.assert_allclose(scaled["gain_err"] / scaled["gain"], scaled["tcal_jy_err"] / scaled["tcal_jy"])
    with pytest.raises(ParameterError, match="no point lies between"):
        build_points([log_of(scans)], gain_at=(70.0, 80.0, 0.12))


# ---------------------------------------------------------------- the verb


FIXED = [
    *("file", "line", "time", "source", "detector", "pol", "freq_mhz", "azimuth_deg", "elevation_deg"),
    *("compression", "tsys_k", "sefd_jy", "tcal_jy", "tcal_ratio"),
    *("compression_err", "tsys_k_err", "sefd_jy_err", "tcal_jy_err", "tcal_ratio_err"),
    *("fs_tsys_k", "fs_sefd_jy", "fs_tcal_jy", "fs_tcal_ratio"),
]


@pytest.mark.real_data
def test_rows_have_the_fixed_names(shared: Path, tmp_path: Path) -> None:
    log = str(shared / "data/fs_logs/r1730ny.log.gz")
    for suffix in ("csv", "json"):
        result = onoff([log], session="none", output=str(tmp_path / f"rows.{suffix}"))
    found = json.loads((tmp_path / "rows.json").read_text())
    assert len(found["rows"]) == 68 and set(FIXED) <= set(found["rows"][0])
    assert found["rows"][0]["time"] == "2016-03-07T16:14:27.45Z" and found["rows"][0]["line"] == 375
    assert found["agreement"]["close"] == 68
    assert all({"line", "reason", "file"} <= set(one) for one in found["skipped"])
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 69
    assert max(map(len, result.summary().splitlines()[:-1])) <= 100
    assert "68 repeated within 0.001; none disagrees" in result.summary()


def test_disagreement_is_reported(tmp_path: Path) -> None:
    log = tmp_path / "wrong.log"
    time = "2006.048.14:11:15.37#onoff#"
    states = {"ONSO": 8583.8, "ONSC": 10025.8, "OFFC": 9944.2, "OFFS": 8496.6, "ZERO": 1020.2}
    rows = [f"{state} {number}.7 0.00000 0.00000 5u {states[state]} 2.3" for number, state in enumerate(states)]
    lines = TOG_LOG.splitlines()
    wrong = lines[4].replace("1411.3", "1511.3")
    log.write_text("\n".join([*lines[:2], *(time + row for row in rows), wrong, lines[6], ""]))
    result = onoff([str(log)], session="none", tolerance=0.02)
    assert result.agreement.disagreeing_rows == 1
    assert "1 DISAGREE" in result.summary() and "5u sefd_jy: 1406.11, printed 1511" in result.summary()


def test_output_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"\.parquet"):
        onoff(["no.log"], output=str(tmp_path / "rows.xls"))
    with pytest.raises(ParameterError, match="between 0 and 1"):
        onoff(["no.log"], tolerance=3.0)


def test_if_detectors_and_pols_are_joined_by_lo() -> None:
    other = scan_of(("7u",))
    other.apriori["7u"] = replace(other.apriori["7u"], lo_mhz=8080.0)
    points, _ = build_points([log_of([scan_of(("5u", "6l")), other])], receivers())
    assert points["rxg"].tolist() == ["k.rxg", "k.rxg", ""]
    np.testing.assert_allclose(points["dpfu"], [0.118661, 0.114, np.nan])
    np.testing.assert_allclose(points["tcal_assumed_k"][1], 25.49)
