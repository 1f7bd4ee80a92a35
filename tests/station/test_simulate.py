"""Simulated logs: they look like the Field System's, agree with themselves, and hold the truth they say."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.errors import ExistsError, ParameterError, SelectionError
from calibrant.station.fslog import read_log, records
from calibrant.station.onoff_errors import sig_is_old
from calibrant.station.points import build_points
from calibrant.station.records import OnOffScan, ScanStart, TotalPower
from calibrant.station.rxg import read_rxg
from calibrant.station.simulate import Options, make_truth, simulate_log
from calibrant.station.simulate.levels import measure, sequence
from calibrant.station.simulate.model import SPOILS
from calibrant.station.simulate.rows import fixed
from calibrant.station.simulate.sky import azel, position_deg

SHORT = Options(hours=2.0, interval_min=12.0, detectors=2, sources=("cygnusa", "casa"))
KINDS = [
    SHORT,
    replace(SHORT, form="old", rack="vc"),
    replace(SHORT, integration=1),
    replace(SHORT, mode="continuous", rack="dbbc3"),
    replace(SHORT, mode="none"),
]

# From r1730ny.log (Ny-Alesund 2016) and r1722yg.log (Yarragadee 2016).
REAL = {
    "APR": "APR 1d   8212.99 11.80  187.28  0.100000 1.00000  0.100000 8080.00 c 0.12758",
    "ORIG": "ORIG 58468.2   0.00000   0.00000  -0.05488   0.02390   0.00000   0.00000",
    "ONSO": "ONSO     5.4   0.00000   0.00000 1d  12776.0      7.7 2u  18211.6      5.3",
    "SIG": "SIG                       1d               0.0378  1.74   57.1   7.158  0.06",
    "VAL": "VAL cygnusa    308.3 34.4 1d 1 r   8212.99 0.9897 64.57 1413.2 258.248  2.19",
}
REAL_COUNTS = "ONSO     5.2   0.00000   0.00000 1l 16282 8l 16158 1u 16240 2u 16217 3u 16245"


def ends(row: str) -> list[int]:
    return [match.end() for match in re.finditer(r"\S+", row)]


def first_row(path: str, kind: str) -> str:
    text = Path(path).read_text()
    found = re.search(rf"#onoff#({kind} .*)", text)
    assert found
    return found.group(1)


@pytest.mark.parametrize("kind", sorted(REAL))
def test_fields_end_where_those_of_a_real_log_end(tmp_path: Path, kind: str) -> None:
    made = simulate_log(tmp_path, replace(SHORT, sources=("cygnusa",)))
    assert ends(first_row(made.log, kind)) == ends(REAL[kind])


def test_whole_counts_stand_as_in_a_real_log(tmp_path: Path) -> None:
    made = simulate_log(tmp_path, replace(SHORT, integration=1))
    assert ends(first_row(made.log, "ONSO"))[:12] == ends(REAL_COUNTS)[:12]


def test_old_form_has_six_sigmas_and_four_decimals_in_the_ratio(tmp_path: Path) -> None:
    made = simulate_log(tmp_path, replace(SHORT, form="old"))
    sigma, value = first_row(made.log, "SIG").split(), first_row(made.log, "VAL").split()
    assert len(sigma) == 2 + 6
    assert [len(word.partition(".")[2]) for word in sigma[2:]] == [2, 2, 1, 3, 3, 2]
    assert len(value[-1].partition(".")[2]) == 4
    assert re.fullmatch(r"\d+\.\d", first_row(made.log, "APR").split()[4])


@pytest.mark.parametrize(
    ("value", "width", "decimals", "printed"),
    [
        (64.57, 5, 2, "64.57"), (114.68, 5, 2, "114.7"), (664.81, 5, 2, "664.8"), (2179.2, 5, 2, "2179."),
        (-100.0, 5, 2, "-100."), (123456.0, 5, 2, "$$$$$"), (1053.18, 7, 3, "1053.18"), (0.06, 5, 2, " 0.06"),
        (math.inf, 6, 1, "$$$$$$"), (math.nan, 6, 1, "$$$$$$"), (9999.96, 6, 1, "10000."), (5.5, 5, 3, "5.500"),
    ],
)  # fmt: skip
def test_a_field_loses_decimals_then_overflows(value: float, width: int, decimals: int, printed: str) -> None:
    assert fixed(value, width, decimals) == printed


@pytest.mark.parametrize("options", KINDS, ids=lambda o: f"{o.mode}-{o.form}-{o.rack}-{o.integration}")
def test_results_follow_from_the_printed_levels(tmp_path: Path, options: Options) -> None:
    log = read_log(simulate_log(tmp_path, options).log)
    assert log.skipped == [] and len(log.scans) == 10
    for scan in log.scans:
        assert scan.status == "complete" and len(scan.printed) == len(scan.apriori) == len(scan.sigma) == 6
        for detector in scan.printed:
            check_against_levels(scan, detector)


@pytest.mark.parametrize(
    ("options", "old"),
    [
        (replace(SHORT, rack="dbbc"), False), (replace(SHORT, rack="vc"), True), (replace(SHORT, form="old"), True),
        (replace(SHORT, rack="dbbc3", mode="continuous"), False), (replace(SHORT, rack="vc", mode="none"), True),
        (replace(SHORT, rack="vc", repetitions=1), True), (replace(SHORT, rack="vc", repetitions=4), True),
    ],
)  # fmt: skip
def test_sig_has_the_form_of_its_release_and_is_repeated(tmp_path: Path, options: Options, old: bool) -> None:
    log = read_log(simulate_log(tmp_path, options).log)
    assert sig_is_old(log.site.release) == old
    points, _ = build_points([log], errors="fs")
    fine = 0.01 if options.form == "old" else 0.0001
    for name, last in (("sefd_jy", 0.1), ("tcal_jy", 0.001), ("tsys_k", 0.01), ("compression", fine)):
        ours, printed = points[f"{name}_err"], points[f"fs_{name}_err"]
        known = np.isfinite(ours)
        assert (known | points["no_diode"]).all()
        # Levels are printed with one decimal: their scatter is off by up to that.
        np.testing.assert_allclose(ours[known], printed[known], rtol=0.12, atol=1.5 * last)
        assert ours[known].sum() == pytest.approx(printed[known].sum(), rel=0.02, abs=known.sum() * last / 4), name


def check_against_levels(scan: OnOffScan, detector: str) -> None:
    apr, val = scan.apriori[detector], scan.printed[detector]
    mean = {
        state: np.mean([level.level for level in scan.levels[detector] if level.state == state])
        for state in {level.state for level in scan.levels[detector]}
    }
    step = mean["ONSO"] - mean["OFFS"]
    v = mean["OFFS"]
    if apr.tcal_k > 0:
        cal = mean["OFFC"] - mean["OFFS"]
        v = (mean["OFFS"] + mean["OFFC"]) / 2 if scan.continuous else v
        close(val.compression, (mean["ONSC"] - mean["ONSO"]) / cal, 1e-4)
        close(val.tsys_k, (v - mean["ZERO"]) * apr.tcal_k / cal, 0.006)
        close(val.tcal_jy, cal * apr.flux_jy / step, 0.0006)
        close(val.tcal_ratio, apr.dpfu * apr.gain * cal * apr.flux_jy / step / apr.tcal_k, 0.006)
    else:
        assert (val.compression, val.tsys_k, val.tcal_jy, val.tcal_ratio) == (0.0, -100.0, 0.0, 0.0)
    close(val.sefd_jy, (v - mean["ZERO"]) * apr.flux_jy / step, 0.06)


def close(printed: float, computed: float, rounding: float) -> None:
    """Rounding of the field itself, and of the levels and the a-priori values (0.1 of 1000, 0.1 of 300)."""
    assert abs(printed - computed) < rounding + 4e-4 * abs(computed)


@pytest.mark.parametrize("mode", ["switched", "continuous"])
@pytest.mark.parametrize("corrected", [True, False])
def test_without_noise_onoff_finds_the_truth(mode: str, corrected: bool) -> None:
    """Ratio, SEFD, Tcal(Jy) and Tsys to rounding errors of the arithmetic; the wrong Tcal scales Tsys."""
    options = replace(
        SHORT,
        noise=0.0,
        drift=0.0,
        moving=False,
        tau_change=0.0,
        tau_scatter=0.0,
        mode=mode,
        opacity_corrected=corrected,
    )
    truth = make_truth(options)
    found = measure(truth, np.arange(len(truth.time)), np.random.default_rng(0)).results
    record = json.loads(json.dumps(truth.to_dict()))["scans"]
    has_diode = [k for k, det in enumerate(truth.detectors) if det.diode]
    tsys = np.array(record["tsys_k"]) + (truth.tcal_k / 2 if mode == "continuous" else 0.0)
    scale = truth.tcal_assumed_k / np.where(truth.tcal_k > 0, truth.tcal_k, 1.0)
    sefd = np.array(record["sefd_jy"]) * tsys / np.array(record["tsys_k"])
    for name, expected in (
        ("ratio", np.array(record["tcal_ratio"], dtype=float)), ("tcal_jy", np.array(record["tcal_jy"])),
        ("tsys", tsys * scale), ("sefd", sefd), ("compression", np.ones(sefd.shape)),
    ):  # fmt: skip
        np.testing.assert_allclose(found[name][:, has_diode], expected[:, has_diode], rtol=2e-6)


def test_off_the_curve_the_truth_is_the_forward_model() -> None:
    """One detector by hand: Trec + Tspill + Tatm (1 - e^-tau airmass), and DPFU g e^-tau airmass."""
    truth = make_truth(replace(SHORT, tau=0.05, tau_change=0.0, tau_scatter=0.0, moving=False, rack="vc"))
    el = float(truth.elevation[3])
    through = math.exp(-0.05 / math.sin(math.radians(el)))
    spill = float(np.interp(el, [5, 30, 60, 90], [9.0, 4.0, 3.0, 2.5]))
    right = next(k for k, det in enumerate(truth.detectors) if det.pol == "r")
    assert truth.tsys(truth.time, truth.elevation)[3, right] == pytest.approx(25.0 + spill + 273.0 * (1 - through))
    gain = 0.131 * (1.0 - 4.0e-5 * (el - 47.0) ** 2)
    assert truth.response(truth.time, truth.elevation)[3, right] == pytest.approx(gain * through)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    options = replace(SHORT, spoil=SPOILS, seed=5)
    one, two = simulate_log(tmp_path / "one", options), simulate_log(tmp_path / "two", options)
    other = simulate_log(tmp_path / "other", replace(options, seed=6))
    for name in ("log", "rxg", "flux", "truth_file"):
        content = Path(getattr(one, name)).read_bytes()
        assert content == Path(getattr(two, name)).read_bytes()
        assert name == "flux" or content != Path(getattr(other, name)).read_bytes()


def test_noise_is_that_of_the_radiometer() -> None:
    """Scatter of the levels of many scans: 1 / sqrt(bandwidth x time), and the gain's fluctuation on top of it."""
    options = replace(
        SHORT,
        sources=("casa",),
        hours=200.0,
        drift=0.0,
        moving=False,
        fluctuation=0.0,
        tau_change=0.0,
        tau_scatter=0.0,
        integration=4,
    )
    truth = make_truth(options)
    scans = np.arange(len(truth.time))
    first = measure(truth, scans, np.random.default_rng(1)).levels[:, 0, 0]
    exact = measure(make_truth(replace(options, noise=0.0)), scans, np.random.default_rng(1)).levels[:, 0, 0]
    assert np.std(first / exact) == pytest.approx(1.0 / math.sqrt(16e6 * 4), rel=0.1)


def test_existing_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "flux.ctl").write_text("mine\n")
    with pytest.raises(ExistsError, match=r"flux\.ctl"):
        simulate_log(tmp_path, SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["flux.ctl"]
    simulate_log(tmp_path, SHORT, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "flux.ctl", "sim001cb.log", "sim001cb.rxg", "truth.json"
    ]  # fmt: skip


def test_what_is_spoiled_shows_and_is_told(tmp_path: Path) -> None:
    options = replace(SHORT, hours=8.0, spoil=SPOILS, spoil_fraction=0.5, seed=3)
    made = simulate_log(tmp_path, options)
    log = read_log(made.log)
    told = {(item["reason"], item["scan"]): item["detectors"] for item in json.loads(read(made.truth_file))["spoiled"]}
    status = {"abort": "aborted", "partial": "partial"}
    for number, scan in enumerate(log.scans):
        kind = next((kind for kind in status if (kind, number) in told), "")
        assert scan.status == status.get(kind, "complete")
        assert "u5" not in scan.printed or scan.printed["u5"].sefd_jy > 100
    assert any("-22" in scan.reason for scan in log.scans)
    for scan in (scan for kind, scan in told if kind == "overflow"):
        (name,) = told["overflow", scan]
        assert not abs(log.scans[scan].printed[name].tcal_ratio) > 0.1
    compressed = next(iter(names for (kind, _), names in told.items() if kind == "compression"))[0]
    ratios = [s.printed[compressed].compression for s in log.scans if compressed in s.printed and s.source == "casa"]
    assert np.nanmedian(ratios) < 0.97
    missed = {scan for kind, scan in told if kind == "pointing"}
    bad = {number for number, pointing in enumerate(log.fivpts) if not pointing.lat_good}
    assert missed == bad and missed


def read(path: str) -> str:
    return Path(path).read_text()


def test_structure_warning_is_printed(tmp_path: Path) -> None:
    made = simulate_log(tmp_path, replace(SHORT, band="X", sources=("taurusa",), hours=12.0))
    assert "?ERROR nf   -7 WARNING: Source structure correction greater than 20% for detector 1u." in read(made.log)


def test_the_rxg_file_is_what_is_assumed(tmp_path: Path) -> None:
    made = simulate_log(tmp_path, replace(SHORT, wrong=("tcal", "gain", "trec")))
    rxg, assumed, true = read_rxg(made.rxg), made.truth.assumed, made.truth.true
    assert rxg.dpfu == assumed.dpfu != true.dpfu and rxg.trec == assumed.trec_k != true.trec_k
    assert rxg.curve == assumed.curve != true.curve
    for pol in ("l", "r"):
        np.testing.assert_allclose(rxg.tcal[pol][1], assumed.tcal[pol][1])
        assert 0.02 < np.abs(assumed.tcal[pol][1] / true.tcal[pol][1] - 1).max() < 0.7
    apriori = read_log(made.log).scans[0].apriori
    for name, row in apriori.items():
        pol = next(det.pol for det in made.truth.detectors if det.name == name)
        assert row.tcal_k == pytest.approx(float(rxg.tcal_at(pol, row.freq_mhz)), abs=6e-3)


def test_rxg_without_diode_is_negative(tmp_path: Path) -> None:
    made = simulate_log(tmp_path, replace(SHORT, mode="none"))
    assert set(read_rxg(made.rxg).tcal["l"][1]) == {-100.0}


def test_tsys_records_give_the_true_tsys(tmp_path: Path) -> None:
    """Single calibration: Tcal (tpi - tpzero) / tpdiff with the true Tcal; continuous: tpcont is on, then off."""
    for mode, rack in (("switched", "vc"), ("continuous", "dbbc")):
        made = simulate_log(tmp_path / mode, replace(SHORT, mode=mode, rack=rack, interval_min=20.0))
        truth = json.loads(read(made.truth_file))["vlbi_scans"]
        names = [det.name for det in made.truth.detectors]
        assert len(truth) == made.scans
        found: list[tuple[float, str, float]] = []
        level: dict[str, dict[str, float]] = {}
        for record in records(made.log, (TotalPower, ScanStart)):
            if isinstance(record, TotalPower):
                values = dict(zip(record.detectors, record.values, strict=True))
                level.setdefault(record.kind, {}).update(values)
                if record.kind == "tpdiff":
                    found += [
                        (record.time, name, (level["tpi"][name] - level["tpzero"][name]) / diff)
                        for name, diff in values.items()
                    ]
                elif record.kind == "tpcont":
                    found += [
                        (record.time, name, off / (on - off))
                        for name, on, off in zip(record.detectors, record.values, record.off_values, strict=True)
                        if math.isfinite(off)
                    ]
        for time, name, ratio in found:
            scan = max(k for k, item in enumerate(truth) if item["time"][0] - 10 < time)
            near = int(np.argmin(np.abs(np.array(truth[scan]["time"]) - time)))
            k = names.index(name)
            assert ratio * made.truth.tcal_k[scan, k] == pytest.approx(truth[scan]["tsys_k"][near][k], rel=0.02)
        assert len(found) > 20


def test_positions_on_the_meridian() -> None:
    """At transit a source south of the zenith stands due south at 90 - lat + dec; below the pole, due north."""
    ra, dec = position_deg("3c123")
    days = (ra - 280.46061837 - 10.0) / 360.98564736629
    time = 946_728_000.0 + 86400.0 * days
    az, el = azel("3c123", time, 10.0, 50.0)
    assert az == pytest.approx(180.0, abs=1e-6) and el == pytest.approx(90.0 - 50.0 + dec)
    ra, dec = position_deg("casa")
    time = 946_728_000.0 + 86400.0 * (ra + 180.0 - 280.46061837 - 10.0) / 360.98564736629
    az, el = azel("casa", time, 10.0, 50.0)
    assert min(az, 360.0 - az) == pytest.approx(0.0, abs=1e-6) and el == pytest.approx(50.0 + dec - 90.0)
    # An hour before transit it is in the east.
    assert 90.0 < azel("3c123", 946_728_000.0 + 86400.0 * days - 3600.0, 10.0, 50.0)[0] < 180.0


def test_order_of_the_levels() -> None:
    states = [step.state for step in sequence(Options())]
    assert states == [
        "ONSO", "ONSC", "OFFC", "OFFS", "ZERO", "ONSO", "ONSC", "OFFC", "OFFS", "ONSO", "ONSC",
    ]  # fmt: skip
    assert [step.side for step in sequence(Options()) if step.state == "OFFC"] == [1, -1]
    continuous = [(step.state, step.seconds) for step in sequence(Options(mode="continuous"))][:2]
    assert [state for state, _ in continuous] == ["ONSO", "ONSC"] and continuous[0][1] == continuous[1][1]
    assert {step.state for step in sequence(Options(mode="none"))} == {"ONSO", "OFFS", "ZERO"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"band": "Q"}, "band"), ({"mode": "cont"}, "continuous"), ({"sources": ("casb",)}, "casa"),
        ({"spoil": ("rain",)}, "spoil"), ({"hours": 0.0}, "hours"), ({"detectors": 9}, "1 to 8"),
        ({"rack": "vc", "mode": "continuous"}, "vc"), ({"name": "../x"}, "name"), ({"wrong": ("dpfu",)}, "wrong"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(change: dict[str, object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        Options(**change)  # type: ignore[arg-type]


def test_no_time_and_no_source(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="longer interval"):
        simulate_log(tmp_path, replace(SHORT, interval_min=3.0))
    with pytest.raises(SelectionError, match="more hours"):
        simulate_log(tmp_path, replace(SHORT, sources=("3c161",), hours=1.0))
    assert list(tmp_path.iterdir()) == []


def test_the_verb(tmp_path: Path) -> None:
    from calibrant.station.verbs.simulate import simulate

    result = simulate(str(tmp_path), seed=2, hours=2.0, spoil="rfi,abort", sources="casa, cygnusa", band="X")
    text = result.summary()
    assert "8 ONOFF scans of casa, cygnusa" in text and "calibrant station fit tcal" in text
    assert "spoiled scans: rfi 1, abort 1" in text
    record = json.loads(json.dumps(result.to_dict()))
    assert record["scans"] == 8 and Path(record["truth"]).exists() and record["seed"] == 2
