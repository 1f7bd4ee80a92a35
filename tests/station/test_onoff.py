"""ONOFF recomputed: the reference's numbers, the Field System's own results, and errors that mean what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import DataError, FormatError, ParameterError
from calibrant.station.agreement import WIDTHS, agreement, half_unit
from calibrant.station.fslog import read_log
from calibrant.station.onoff import VALUES, OnOffResult, reduce_scan, reduce_scans
from calibrant.station.points import build_points
from calibrant.station.records import NAN, STATES, Apriori, Level, OnOffScan
from calibrant.station.simulate import Options, simulate_log
from calibrant.station.verbs.onoff import onoff

TOG = {"ONSO": 8583.8, "ONSC": 10025.8, "OFFS": 8496.6, "OFFC": 9944.2, "ZERO": 1020.2}
APR_5U = Apriori(1, "5u", 22213.00, 27.44, 16.4, 0.118661, 0.88588, 21964.00, "c", 0.02948)


def scan_of(levels: dict[str, Sequence[float]], apriori: Apriori = APR_5U, *, continuous: bool = False) -> OnOffScan:
    """One detector; ON and OFF interleave, 60 s a repetition."""
    start = {"ONSO": 0.0, "ONSC": 9.0, "OFFC": 24.0, "OFFS": 32.0, "ZERO": 40.0}
    found = [
        Level(2, state, start[state] + 60.0 * visit, 0.0, 0.0, level, NAN, visit)
        for state, values in levels.items()
        for visit, level in enumerate(values)
    ]
    return OnOffScan(
        "x.log", 1, 0.0, "dr21", {apriori.detector: apriori}, {apriori.detector: found}, continuous=continuous
    )


def only(scan: OnOffScan, **options: object) -> OnOffResult:
    (result,) = reduce_scan(scan, **options)  # type: ignore[arg-type]
    return result


def test_worked_numbers_of_tog_appendix_2() -> None:
    result = only(scan_of({state: [level] for state, level in TOG.items()}))
    assert result.compression == pytest.approx(0.99613, abs=5e-6)
    assert result.tsys_k == pytest.approx(141.719, abs=5e-4)
    assert result.sefd_jy == pytest.approx(1406.11, abs=5e-3)
    assert result.tcal_jy == pytest.approx(272.255, abs=5e-4)
    assert result.tcal_ratio == pytest.approx(1.04297, abs=5e-5)


@pytest.mark.real_data
def test_fixture_with_two_repetitions(shared: Path) -> None:
    truth = json.loads((shared / "data/rxg/fixtures.json").read_text())["two_repetitions"]
    given = truth["levels"]
    apriori = replace(APR_5U, flux_jy=given["flux"], tcal_k=given["tcal"], dpfu=given["dpfu_gain"], gain=1.0)
    names = dict(zip(("ons", "onsc", "ofs", "ofsc", "zero"), STATES, strict=True))
    result = only(scan_of({names[name]: given[name] for name in names}, apriori), errors="fs")
    assert result.repetitions == 2
    for name, key in zip(VALUES, ("comp", "tsys", "sefd", "tcalj", "ratio"), strict=True):
        assert getattr(result, name) == pytest.approx(truth[key], rel=1e-12)
        assert getattr(result, f"{name}_err") == pytest.approx(truth[f"{key}_sig"], rel=1e-12)


def test_continuous_calibration_takes_half_of_the_diode() -> None:
    levels = {state: [level] for state, level in TOG.items()}
    switched, continuous = only(scan_of(levels)), only(scan_of(levels, continuous=True))
    assert continuous.tsys_k - switched.tsys_k == pytest.approx(27.44 / 2)
    assert continuous.sefd_jy - switched.sefd_jy == pytest.approx(switched.tcal_jy / 2)
    assert continuous.tcal_jy == switched.tcal_jy


def test_without_a_diode_the_sefd_stays() -> None:
    levels = {state: [TOG[state]] for state in ("ONSO", "OFFS", "ZERO")}
    result = only(scan_of(levels, replace(APR_5U, tcal_k=-100.0)))
    assert result.no_diode
    assert result.sefd_jy == pytest.approx(1406.11, abs=5e-3)
    assert np.isnan([result.compression, result.tsys_k, result.tcal_jy, result.tcal_ratio]).all()
    # An IF detector under continuous calibration has a Tcal, but no levels with the diode on.
    assert only(scan_of(levels, continuous=True)).sefd_jy == pytest.approx(1406.11, abs=5e-3)


def test_interrupted_scans_give_what_their_levels_allow() -> None:
    without_zero = {state: [TOG[state]] for state in ("ONSO", "ONSC", "OFFC", "OFFS")}
    result = only(scan_of(without_zero))
    assert result.tcal_jy == pytest.approx(272.255, abs=5e-4)
    assert np.isnan([result.sefd_jy, result.tsys_k]).all()
    assert reduce_scan(scan_of({"ONSO": [8583.8], "ONSC": [10025.8]})) == []
    nothing = reduce_scans([scan_of({"ONSO": [8583.8], "ONSC": [10025.8]})])
    assert nothing.problem(0) == "no usable OFFS or ZERO level"
    equal = reduce_scans([scan_of({"ONSO": [8583.8], "OFFS": [8583.8], "ZERO": [0.0]})])
    assert equal.problem(0) == "the levels on and off the source are equal"


def test_unknown_kind_of_errors() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'mean'"):
        reduce_scans([], errors="mena")  # type: ignore[arg-type]


# ---------------------------------------------------------------- errors


def simulated(
    rng: np.random.Generator,
    detectors: int,
    repetitions: int,
    within: float,
    visit: float = 0.0,
    *,
    shared: bool = False,
) -> OnOffScan:
    """TOG's levels with fractional noise: of each level, and common to diode on and off of a visit."""
    scan = OnOffScan("x.log", 1, 0.0, "dr21")
    common = rng.normal(size=(2, repetitions + 1))
    for number in range(detectors):
        own = common if shared else rng.normal(size=(2, repetitions + 1))
        levels = {}
        for index, (state, level) in enumerate(TOG.items()):
            count = repetitions + 1 if index < 2 else repetitions
            noise = within * rng.normal(size=count) + visit * own[index // 2 % 2, :count]
            levels[state] = level + (level - TOG["ZERO"]) * noise if state != "ZERO" else [level]
        one = scan_of(levels)
        name = f"{number:02d}"
        scan.apriori[name], scan.levels[name] = replace(APR_5U, detector=name), one.levels["5u"]
    return scan


TRUTH = reduce_scans([scan_of({state: [level] for state, level in TOG.items()})]).values


def pulls(scans: list[OnOffScan]) -> dict[str, np.ndarray]:
    reduction = reduce_scans(scans)
    return {name: (reduction.values[name] - TRUTH[name]) / reduction.errors[name] for name in VALUES}


def test_pulls_are_normal_for_independent_noise() -> None:
    """34000 pulls of 2000 scans; those of one scan share what is known of their noise."""
    rng = np.random.default_rng(3)
    for name, found in pulls([simulated(rng, 17, 2, 3e-4) for _ in range(2000)]).items():
        assert abs(found.mean()) < 0.05, name  # a quotient is biased by the noise of its denominator
        assert found.std() == pytest.approx(1.0, abs=0.05), name
        assert np.mean(np.abs(found) < 1) == pytest.approx(0.683, abs=0.025), name


@pytest.mark.parametrize("shared", [False, True])
def test_noise_of_whole_visits_is_covered(shared: bool) -> None:
    """Pointing noise, as in real logs: common to diode on and off, and maybe to all detectors."""
    rng = np.random.default_rng(4)
    for name, found in pulls([simulated(rng, 8, 2, 1e-4, 4e-4, shared=shared) for _ in range(1000)]).items():
        assert 0.65 < np.mean(np.abs(found) < 1) < 0.78, name


@pytest.mark.parametrize(("repetitions", "most"), [(1, 0.83), (2, 0.78), (4, 0.73)])
def test_one_detector_alone_is_covered_too(repetitions: int, most: float) -> None:
    """With one repetition a detector has two degrees of freedom in all: the errors are on the safe side."""
    rng = np.random.default_rng(5)
    for name, found in pulls([simulated(rng, 1, repetitions, 3e-4) for _ in range(2000)]).items():
        assert 0.65 < np.mean(np.abs(found) < 1) < most, name


def test_a_linear_drift_does_not_count_as_noise() -> None:
    """On and off interleave: a drift of 2 % during the scan leaves SEFD and its error nearly alone."""
    rng = np.random.default_rng(6)
    scan = simulated(rng, 8, 4, 1e-5)
    for levels in scan.levels.values():
        levels[:] = [
            replace(one, level=one.level + (one.level - TOG["ZERO"]) * 8e-5 * (one.seconds - 130.0))
            if one.state != "ZERO"
            else one
            for one in levels
        ]
    result = reduce_scan(scan)
    assert max(abs(one.sefd_jy - TRUTH["sefd_jy"][0]) / one.sefd_jy_err for one in result) < 4
    assert max(one.sefd_jy_err / one.sefd_jy for one in result) < 0.1
    scatter = reduce_scan(scan, errors="fs")
    assert min(one.sefd_jy_err / one.sefd_jy for one in scatter) > 0.5


def test_derivatives_are_exact() -> None:
    """SIG of single levels is the finite difference with each of them times 0.0033 of it."""
    base = {state: [level] for state, level in TOG.items()}
    expected = dict.fromkeys(VALUES, 0.0)
    for state, level in TOG.items():
        up, down = (only(scan_of(base | {state: [level + step]})) for step in (1e-3, -1e-3))
        for name in VALUES:
            expected[name] += ((getattr(up, name) - getattr(down, name)) / 2e-3 * 0.0033 * level) ** 2
    values = only(scan_of(base), errors="fs")
    for name in VALUES:
        assert getattr(values, f"{name}_err") == pytest.approx(expected[name] ** 0.5, rel=1e-5)


def test_missing_noise_falls_back_to_the_field_systems_assumption() -> None:
    result = only(scan_of({state: [level] for state, level in TOG.items()}))
    assert 0.01 < result.compression_err < 1


# ---------------------------------------------------------------- real logs


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "rows"), [("r1730ny", 68), ("r4724ny", 68), ("r1751kk", 38)])
def test_every_val_row_is_repeated(shared: Path, name: str, rows: int) -> None:
    """No row is left out, and none needs more than the last digit of VAL besides 1e-3."""
    found = agreement(read_log(str(shared / f"data/fs_logs/{name}.log.gz"), progress=False).scans, tolerance=1e-3)
    assert (found.rows, found.close, found.disagreements) == (rows, rows, [])
    for quantity in ("tsys_k", "sefd_jy", "tcal_jy"):
        assert found.worst[quantity] < 1e-3
    assert found.worst["sefd_jy"] < 1.2e-4
    assert found.worst["tcal_jy"] < 1e-4


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "rows", "sefd_close"), [("r4736hb", 60, 52), ("r1722yg", 20, 18), ("r1749on", 10, 10)]
)
def test_integer_counts_of_weak_sources(shared: Path, name: str, rows: int, sefd_close: int) -> None:
    """One count is several percent of the signal: SEFD within 1e-2 as far as that allows, never beyond it."""
    log = read_log(str(shared / f"data/fs_logs/{name}.log.gz"), progress=False)
    found = agreement(log.scans, tolerance=1e-2)
    assert (found.rows, found.disagreements) == (rows, [])
    points, _ = build_points([log])
    close = np.abs(points["sefd_jy"] / points["fs_sefd_jy"] - 1) < 1e-2
    assert (close & points["recomputed"]).sum() == sefd_close


@pytest.mark.real_data
def test_tsukuba_has_no_diode(shared: Path) -> None:
    points, skipped = build_points([read_log(str(shared / "data/fs_logs/r1749ts.log.gz"), progress=False)])
    assert points["no_diode"].all() and not skipped
    np.testing.assert_allclose(points["sefd_jy"], [533.9, 374.8], atol=0.05)
    assert (points["fs_tsys_k"] == -100).all() and np.isnan(points["tsys_k"]).all()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["r1730ny", "r4724ny", "r1751kk"])
def test_sig_rows_are_repeated_to_the_last_digit(shared: Path, name: str) -> None:
    points, _ = build_points([read_log(str(shared / f"data/fs_logs/{name}.log.gz"), progress=False)], errors="fs")
    for value in VALUES:
        ours, printed = points[f"{value}_err"], points[f"fs_{value}_err"]
        assert np.isfinite(ours).all() and np.isfinite(printed).all()
        allowed = 2e-3 * printed + 1.01 * half_unit(printed, *WIDTHS[value])
        assert (np.abs(ours - printed) <= allowed).all(), value


def test_a_log_without_onoff_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "none.log"
    log.write_text("2024.100.00:00:00.00;MARK IV Field System Version 9.13.2\n2024.100.00:00:01.00:source=casa\n")
    with pytest.raises(DataError, match="no ONOFF scan"):
        onoff([str(log)], output=str(tmp_path / "rows.csv"))
    with pytest.raises(FormatError, match="is a directory"):
        onoff([str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["none.log"]


@pytest.mark.parametrize("token", ["$$$$$", "NaN"])
def test_a_level_without_a_number_is_named(tmp_path: Path, token: str) -> None:
    """The other repetitions still give a result; the level that was left out is listed, and the scan is not whole."""
    made = simulate_log(tmp_path, Options(hours=1.0, interval_min=30.0, vlbi=False, fivpt=False))
    lines = Path(made.log).read_text().split("\n")
    at = next(number for number, line in enumerate(lines) if "#onoff#ONSO" in line)
    name, count = lines[at].split()[4:6]
    lines[at] = lines[at].replace(f"{name} {count.rjust(8)}", f"{name} {token.rjust(8)}")
    assert token in lines[at]
    Path(made.log).write_text("\n".join(lines))
    found = onoff([made.log])
    assert [(one.line, one.reason) for one in found.skipped] == [(at + 1, "ONSO row: no number, left out")]
    assert f"detector {name}" in found.skipped[0].text
    scan = read_log(made.log, progress=False).scans[0]
    assert (scan.status, scan.reason) == ("partial", f"no number in ONSO of {name} (line {at + 1})")
