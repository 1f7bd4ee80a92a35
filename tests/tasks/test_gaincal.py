"""gaincal against CASA's tables and against planted gains."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.caltable import casa
from calibrant.caltable.table import CalTable
from calibrant.errors import CalTableError, ExistsError, ParameterError, SelectionError, SolveError
from calibrant.solve.outcome import Outcome
from calibrant.tasks.applycal import applycal
from calibrant.tasks.gaincal import gaincal
from planted import Plan, Window, edit, flag, get, plant, referenced
from recipe import CALIBRATORS, apply_before, compare, edges, excess_chi2, middle, record_sums

# ---- CASA's answers --------------------------------------------------------------------------------------------
CASA_JOBS: dict[str, dict[str, Any]] = {
    "bp.Gpint": {"field": "0", "spw": middle, "calmode": "p", "solint": "int", "before": ("0", [])},
    "Gpint.cal": {"calmode": "p", "solint": "int", "before": ("", ["B.cal"])},
    "Gpinf.cal": {"calmode": "p", "before": ("", ["B.cal"])},
    "Tpint.cal": {"gaintype": "T", "calmode": "p", "solint": "int", "before": ("", ["B.cal", "Gpinf.cal"])},
    "Gainf.cal": {"calmode": "a", "before": ("", ["B.cal", "Gpint.cal"])},
    "Gapinf.cal": {"calmode": "ap", "before": ("", ["B.cal", "Gpint.cal"])},
    "Gapint.cal": {"calmode": "ap", "solint": "int", "before": ("", ["B.cal"])},
    "Tainf.cal": {"gaintype": "T", "calmode": "a", "before": ("", ["B.cal", "Gpint.cal"])},
    "Gpspw.cal": {
        "gaintype": "T", "calmode": "p", "solint": "int", "combine": "spw", "before": ("", ["B.cal", "Gpinf.cal"]),
    },
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASA_JOBS)
def test_agrees_with_casa(name: str, oracle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Solutions within 2 % of CASA's error bars (it stops iterating there), all else equal, chi2 never larger."""
    job = {"field": CALIBRATORS, "spw": edges, **CASA_JOBS[name]}
    priors = apply_before(oracle, *job.pop("before"))
    vis = str(oracle / "tiny.ms")
    sums = record_sums(monkeypatch)
    gaincal(vis, str(tmp_path / name), refant="DA41", **{**job, "spw": job["spw"](vis)}, **priors)
    ours, theirs = casa.read(str(tmp_path / name)), casa.read(str(oracle / "out" / name))
    if name == "Gpspw.cal":  # CASA takes the amplitude out of each spw's phasor, we out of their sum: fewer phasors
        compare(ours, theirs, 0.2, 0.25)
        return
    compare(ours, theirs, 0.02)
    excess = excess_chi2(sums, ours, theirs, job["calmode"])
    assert excess.max() < 1e-6, "CASA's solution fits better"
    assert excess.min() > -1e-3, "fits of other data"


@pytest.mark.oracle
def test_delays_agree_with_casa(oracle: Path, tmp_path: Path) -> None:
    vis, out = str(oracle / "tiny.ms"), str(tmp_path / "K.cal")
    priors = apply_before(oracle, "0", [])
    gaincal(vis, out, field="0", spw=edges(vis), gaintype="K", combine="scan", refant="DA41", **priors)
    ours, theirs = casa.read(out), casa.read(str(oracle / "out" / "K.cal"))
    for spw, they in theirs.spws.items():
        we = ours.spws[spw]
        np.testing.assert_array_equal(we.flag, they.flag)
        np.testing.assert_allclose(we.time, they.time, rtol=0, atol=1e-4)
        np.testing.assert_allclose(we.freq, they.freq, rtol=1e-14)
        good = ~we.flag & (we.error > 0)
        # CASA fits a parabola to the peak of a padded transform, we go to the maximum itself
        difference = np.abs(we.param - they.param)[good]
        assert (difference < np.maximum(0.05 * we.error[good], 2e-3)).all()


CASA_CHAIN = """
import sys
from casatasks import gaincal
vis, prior, spw, out = sys.argv[1:]
gaincal(vis=vis, caltable=out, field="0", spw=spw, refant="DA41", gaintype="G", calmode="p", solint="int",
        gaintable=prior.split(","))
"""


@pytest.mark.oracle
@pytest.mark.casa
@pytest.mark.slow
def test_casa_solves_with_our_tables_applied(tiny_ms: Path, tmp_path: Path, casa_python: str) -> None:
    """CASA's gaincal and ours agree on what is left after our delay and bandpass tables."""
    from calibrant.tasks.bandpass import bandpass

    vis, spw = str(tiny_ms), edges(str(tiny_ms))
    delay, phase, band = (str(tmp_path / name) for name in ("K", "G", "B"))
    gaincal(vis, delay, field="0", spw=spw, gaintype="K", refant="DA41")
    gaincal(vis, phase, field="0", spw=spw, calmode="p", solint="int", refant="DA41", gaintable=[delay])
    bandpass(vis, band, field="0", refant="DA41", gaintable=[delay, phase])
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    gaincal(vis, ours, field="0", spw=spw, calmode="p", solint="int", refant="DA41", gaintable=[delay, band])
    command = [casa_python, "-c", CASA_CHAIN, vis, f"{delay},{band}", spw, theirs]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    compare(casa.read(ours), casa.read(theirs), 0.02)


# ---- planted gains ---------------------------------------------------------------------------------------------
MANY = tuple((0, 3) for _ in range(25))


def solved(plan: Plan, tmp_path: Path, **arguments: Any) -> tuple[Any, CalTable]:
    truth = plant(tmp_path / "a.ms", plan)
    out = str(tmp_path / "a.cal")
    gaincal(truth.path, out, refant="DV00", **arguments)
    return truth, casa.read(out)


def planted_gain(truth: Any, table: CalTable, spw: int) -> np.ndarray:
    """The planted gains of the table's slots, phases relative to the first antenna."""
    nearest = np.abs(table.spws[spw].time[:, None] - truth.time).argmin(axis=1)
    middle_channel = truth.gain[spw].shape[2] // 2
    gain = referenced(truth.gain[spw][nearest][:, :, [middle_channel]])
    return gain[..., : table.spws[spw].shape[3]]


def pulls(truth: Any, table: CalTable, calmode: str) -> np.ndarray:
    """(solution - truth) / error, phases against the first antenna's; all solutions of the table."""
    result = []
    for spw, found in table.spws.items():
        true = planted_gain(truth, table, spw)
        error = found.error / np.sqrt(2) if calmode == "ap" else found.error  # see solve.antenna
        relative = error / np.abs(found.param)
        if calmode != "a":
            turn = np.angle(found.param * true.conj())[:, 1:]
            result.append((turn / np.hypot(relative[:, 1:], relative[:, :1])).ravel())
        if calmode != "p":
            result.append(((np.abs(found.param) - np.abs(true)) / error).ravel())
    return np.concatenate(result)


def assert_standard_normal(pull: np.ndarray) -> None:
    """Mean 0 and scatter 1 within 4.5 sigma; solutions that share data count as a third of their number."""
    count = len(pull) / 3
    assert abs(pull.mean()) < 4.5 / np.sqrt(count)
    assert abs(pull.std() - 1) < 4.5 / np.sqrt(2 * count) + 0.02


@pytest.mark.parametrize("calmode", ["ap", "p", "a"])
@pytest.mark.parametrize("gaintype", ["G", "T"])
@pytest.mark.parametrize(("solint", "per"), [("int", "int"), ("inf", "scan"), ("12s", 12.0)])
def test_pulls(gaintype: str, calmode: str, solint: str, per: Any, tmp_path: Path) -> None:
    plan = Plan(scans=MANY, per=per, common=gaintype == "T", sigma=0.15, seed=7)
    truth, table = solved(plan, tmp_path, gaintype=gaintype, calmode=calmode, solint=solint)
    expected = {"int": 75, "inf": 25, "12s": 50}[solint]
    assert table.kind == f"{gaintype} Jones"
    for spw in (0, 1):
        assert table.spws[spw].shape == (expected, 8, 1, 2 if gaintype == "G" else 1)
        assert not table.spws[spw].flag.any()
        assert (table.spws[spw].refant == 0).all()
        if calmode == "p":
            np.testing.assert_allclose(np.abs(table.spws[spw].param), 1, rtol=1e-6)
        if calmode == "a":
            assert (table.spws[spw].param.imag == 0).all()
    assert_standard_normal(pulls(truth, table, calmode))


@pytest.mark.parametrize(
    ("combine", "per", "slots"),
    [("scan", "field", 2), ("scan,field", "all", 1), ("field", "scan", 30), ("spw", "scan", 30), ("obs", "scan", 30)],
)
@pytest.mark.parametrize("gaintype", ["G", "T"])
@pytest.mark.parametrize("calmode", ["ap", "p", "a"])
def test_combine(calmode: str, gaintype: str, combine: str, per: str, slots: int, tmp_path: Path) -> None:
    scans = tuple((n % 2, 2) for n in range(30))
    plan = Plan(
        nant=20, scans=scans, per=per, common=gaintype == "T", same_spw="spw" in combine, sigma=0.3, autos=False, seed=3
    )
    truth, table = solved(plan, tmp_path, gaintype=gaintype, combine=combine, calmode=calmode)
    assert sorted(table.spws) == ([0] if "spw" in combine else [0, 1])
    found = table.spws[0]
    assert found.shape[0] == slots
    assert (found.scan == -1).all() == ("scan" in combine)
    assert (found.field == -1).all() == (combine == "scan,field")
    if "spw" in combine:  # the bandwidth's centre of all windows
        centre = np.concatenate([window.freq for window in plan.windows]).mean()
        np.testing.assert_allclose(found.freq, [centre])
    assert_standard_normal(pulls(truth, table, calmode))


def test_order_of_the_antennas_of_a_baseline(tmp_path: Path) -> None:
    """Rows may name the later antenna first, with conjugate data; also where ANTENNA2 is the refant of a delay."""
    delays = np.random.default_rng(5).uniform(-4e-9, 4e-9, (8, 2))
    truth = plant(tmp_path / "a.ms", Plan(delays=delays, autos=False, windows=(Window(33),)))
    names = [str(tmp_path / name) for name in ("G", "K", "G2", "K2")]
    for name, gaintype in zip(names[:2], "GK", strict=True):
        gaincal(truth.path, name, gaintype=gaintype, refant="DV03")
    odd = np.arange(len(get(truth.path, "TIME"))) % 2 == 1
    first, second = get(truth.path, "ANTENNA1"), get(truth.path, "ANTENNA2")
    edit(truth.path, "ANTENNA1", lambda _: np.where(odd, second, first))
    edit(truth.path, "ANTENNA2", lambda _: np.where(odd, first, second))
    edit(truth.path, "DATA", lambda data: np.where(odd[:, None, None], data.conj(), data))
    for name, gaintype in zip(names[2:], "GK", strict=True):
        gaincal(truth.path, name, gaintype=gaintype, refant="DV03")
    for before, after in zip(names[:2], names[2:], strict=True):
        one, other = casa.read(before).spws[0], casa.read(after).spws[0]
        np.testing.assert_allclose(one.param, other.param, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(one.flag, other.flag)


@pytest.mark.parametrize("solint", ["int", "inf", "12s"])
@pytest.mark.parametrize("combine", ["", "spw"])
def test_delays(solint: str, combine: str, tmp_path: Path) -> None:
    delays = np.random.default_rng(5).uniform(-4e-9, 4e-9, (8, 2))
    plan = Plan(
        windows=(Window(32), Window(48, 100.5e9, 10e6)), scans=MANY, per="scan", same_spw=bool(combine), sigma=0.3,
        delays=delays, amplitude=False, seed=2,
    )  # fmt: skip
    if combine:  # one slope over both windows
        plan.windows = (Window(32), Window(48, 100.32e9))
        plan.phase = False
    truth = plant(tmp_path / "a.ms", plan)
    if combine:
        turn_windows_together(truth)
    gaincal(truth.path, str(tmp_path / "K"), gaintype="K", solint=solint, combine=combine, refant="DV00", minsnr=0)
    pull = []
    for found in casa.read(str(tmp_path / "K")).spws.values():
        true = (delays - delays[0]) * 1e9
        difference = found.param[:, :, 0] - true
        np.testing.assert_array_equal(found.param[:, 0], 0)
        pull.append((difference[:, 1:] / found.error[:, 1:, 0]).ravel())
        assert not found.flag.any()
        assert (found.refant == -1).all()
    assert_standard_normal(np.concatenate(pull))


def turn_windows_together(truth: Any) -> None:
    """Write the second window's data anew: planted delays are zero at each window's own middle."""
    first, second = truth.plan.windows
    offset = second.freq[second.nchan // 2] - first.freq[first.nchan // 2]
    ant1, ant2 = (get(truth.path, name, "DATA_DESC_ID==1") for name in ("ANTENNA1", "ANTENNA2"))
    delay = truth.plan.delays[ant1] - truth.plan.delays[ant2]
    edit(truth.path, "DATA", lambda data: data * np.exp(2j * np.pi * delay * offset)[:, None], "DATA_DESC_ID==1")


def test_delays_over_windows_that_overlap(tmp_path: Path) -> None:
    """The common grid of channels 1 Hz apart has 10^9 cells: it must not be made."""
    delays = np.linspace(-3e-9, 3e-9, 16).reshape(8, 2)
    windows = (Window(16), Window(16, 100e9 + 1.0))
    truth = plant(tmp_path / "a.ms", Plan(windows=windows, per="all", same_spw=True, phase=False, delays=delays))
    gaincal(truth.path, str(tmp_path / "K"), gaintype="K", combine="spw", refant="DV00")
    found = casa.read(str(tmp_path / "K")).spws[0]
    np.testing.assert_allclose(found.param[0, :, 0], (delays - delays[0]) * 1e9, atol=0.05)


def test_one_channel_has_no_delay(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan(windows=(Window(1),)))
    with pytest.raises(SolveError, match="not one good solution"):
        gaincal(truth.path, str(tmp_path / "K"), gaintype="K", refant="DV00")
    assert not (tmp_path / "K").exists()


# ---- data as they come -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {"windows": (Window(8, corr="XX"), Window(4, 102e9, corr="XX"))},
        {"windows": (Window(8, corr="YY"),)},
        {"windows": (Window(8, corr="XX XY YX YY"), Window(4, 102e9))},
        {"windows": (Window(8, width=-10e6), Window(4, 102e9, corr="I"))},
        {"order": "spw"},
        {"order": "shuffled"},
        {"autos": False},
    ],
    ids=["1 correlation", "YY only", "4 and 2", "reversed and total power", "by spw", "shuffled", "no autos"],
)
def test_layouts_of_data(changes: dict[str, Any], tmp_path: Path) -> None:
    truth, table = solved(Plan(scans=((0, 20), (1, 20)), seed=4, **changes), tmp_path, solint="int")
    for spw, window in enumerate(truth.plan.windows):
        found, true = table.spws[spw], planted_gain(truth, table, spw)
        receptors = {"XX": [0], "YY": [1], "I": [0]}.get(window.corr, [0, 1])
        absent = [p for p in (0, 1) if p not in receptors]
        assert not found.flag[..., receptors].any()
        assert found.flag[..., absent].all()
        assert (found.param[..., absent] == 1).all()
        pull = np.abs(found.param - true)[:, 1:, :, receptors] / found.error[:, 1:, :, receptors]
        assert 0.8 < np.sqrt(np.mean(pull**2)) < 1.6
        assert found.width[0] == pytest.approx(abs(window.width) * window.nchan)


def test_rubbish_stays_out(tmp_path: Path) -> None:
    """NaN and huge values under flags, NaN outside flags, zero and negative and NaN SIGMA: all are left out."""
    truth = plant(tmp_path / "a.ms", Plan(scans=((0, 20),)))
    rng = np.random.default_rng(1)
    clean = str(tmp_path / "clean.cal")
    for query in ("DATA_DESC_ID==0", "DATA_DESC_ID==1"):
        shape = get(truth.path, "FLAG", query).shape
        hit = rng.uniform(size=shape) < 0.1
        edit(truth.path, "FLAG", lambda flag, hit=hit: flag | hit, query)
        out = rng.uniform(size=shape[0]) < 0.1
        edit(truth.path, "FLAG", lambda flag, out=out: flag | out[:, None, None], query)
    gaincal(truth.path, clean, solint="int", refant="DV00")
    for query in ("DATA_DESC_ID==0", "DATA_DESC_ID==1"):
        flag = get(truth.path, "FLAG", query)
        bad = flag.any(axis=2) & (rng.uniform(size=flag.shape[:2]) < 0.5)
        whole = flag.all(axis=(1, 2))
        rubbish = np.array([np.nan, np.inf, 1e30, complex(0, np.nan)])[rng.integers(4, size=flag.shape)]
        edit(truth.path, "DATA", lambda d, f=flag, r=rubbish: np.where(f, r, d), query)
        keep = flag.any(axis=2) & ~bad & ~whole[:, None]  # unflag these: NaN alone must keep them out
        edit(truth.path, "DATA", lambda d, k=keep: np.where(k[..., None], np.nan, d), query)
        edit(truth.path, "FLAG", lambda f, k=keep: f & ~k[..., None], query)
        useless = np.array([0, -1, np.nan, np.inf], np.float32)[rng.integers(4, size=len(flag))]
        edit(truth.path, "SIGMA", lambda s, w=whole, u=useless: np.where(w[:, None], u[:, None], s), query)
        edit(truth.path, "FLAG", lambda f, w=whole: f & ~w[:, None, None], query)
    gaincal(truth.path, str(tmp_path / "dirty.cal"), solint="int", refant="DV00")
    one, other = casa.read(clean), casa.read(str(tmp_path / "dirty.cal"))
    for spw in (0, 1):
        for name in ("param", "error", "flag", "time", "snr"):
            np.testing.assert_allclose(
                getattr(one.spws[spw], name), getattr(other.spws[spw], name), rtol=2e-6, atol=1e-6, err_msg=name
            )


def test_time_is_the_weighted_mean_of_unflagged_data(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan(scans=((0, 6),), per="all"))
    flag(truth.path, f"TIME > {truth.time[2] + 1}")
    gaincal(truth.path, str(tmp_path / "G"))
    np.testing.assert_allclose(casa.read(str(tmp_path / "G")).spws[0].time, truth.time[1], atol=1e-4)


def test_flags_of_one_correlation(tmp_path: Path) -> None:
    """A flag of X takes Y with it, unless corrdepflags; then Y is solved and X is not."""
    truth = plant(tmp_path / "a.ms", Plan())
    flag(truth.path, change=lambda flags: flags | np.array([True, False]))
    with pytest.raises(SolveError, match="flagged"):
        gaincal(truth.path, str(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
    gaincal(truth.path, str(tmp_path / "yes"), corrdepflags=True, solint="int", refant="DV00")
    table = casa.read(str(tmp_path / "yes"))
    assert table.spws[0].flag[..., 0].all()
    assert not table.spws[0].flag[..., 1].any()
    pull = np.abs(table.spws[0].param - planted_gain(truth, table, 0))[..., 1] / table.spws[0].error[..., 1]
    assert pull.max() < 6


# ---- reference antenna, minblperant, minsnr ---------------------------------------------------------------------
def without_refant_in_scan_2(tmp_path: Path) -> Any:
    truth = plant(tmp_path / "a.ms", Plan(scans=((0, 3), (0, 3), (0, 3)), per="scan"))
    flag(truth.path, "SCAN_NUMBER==2 && (ANTENNA1==0 || ANTENNA2==0)")
    return truth


def test_flex_takes_an_alternate_and_does_not_jump(tmp_path: Path) -> None:
    truth = without_refant_in_scan_2(tmp_path)
    gaincal(truth.path, str(tmp_path / "G"), refant="DV00,DV03", refantmode="flex")
    found = casa.read(str(tmp_path / "G")).spws[0]
    assert found.refant[:, 1].tolist() == [0, 3, 3]  # the preferred one returns when it was good twice (CASA, too)
    np.testing.assert_allclose(np.angle(found.param[0, 0]), 0, atol=1e-6)
    np.testing.assert_allclose(
        np.angle(found.param[:, 3]), np.angle(found.param[[0], 3]) + np.zeros((3, 1, 1)), atol=1e-6
    )
    assert found.flag[1, 0].all()
    assert not np.delete(found.flag, 0, axis=1).any()


def test_strict_flags_what_cannot_be_referenced(tmp_path: Path) -> None:
    truth = without_refant_in_scan_2(tmp_path)
    result = gaincal(truth.path, str(tmp_path / "G"), refant="DV00,DV03", refantmode="strict")
    found = casa.read(str(tmp_path / "G")).spws[0]
    assert found.flag[1].all()
    assert not found.flag[[0, 2]].any()
    assert found.refant[:, 1].tolist() == [0, -1, 0]
    assert (found.outcome[1, 1:] == Outcome.NO_REFERENCE).all()
    assert any("reference antenna has no solution" in text for text in result.failed)


def test_delays_where_the_refant_is_flagged(tmp_path: Path) -> None:
    truth = without_refant_in_scan_2(tmp_path)
    gaincal(truth.path, str(tmp_path / "K"), gaintype="K", refant="DV00", minsnr=0)
    found = casa.read(str(tmp_path / "K")).spws[0]
    assert len(found.time) == 2  # the interval without data of the refant has no delays at all
    assert not found.flag.any()


def test_minblperant(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    flag(truth.path, "ANTENNA2==7 && ANTENNA1>2")  # antenna 7 keeps three baselines
    result = gaincal(truth.path, str(tmp_path / "G"), refant="DV00")
    found = casa.read(str(tmp_path / "G")).spws[0]
    assert found.flag[:, 7].all()
    assert not found.flag[:, :7].any()
    assert (found.outcome[:, 7] == Outcome.TOO_FEW_BASELINES).all()
    assert (found.param[:, 7] == 1).all()
    assert any("minblperant" in text for text in result.failed)
    gaincal(truth.path, str(tmp_path / "G3"), refant="DV00", minblperant=3)
    assert not casa.read(str(tmp_path / "G3")).spws[0].flag.any()


def test_minsnr_is_strict_and_named(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan(sigma=1.0))
    gaincal(truth.path, str(tmp_path / "all"), minsnr=0)
    median = float(np.median(casa.read(str(tmp_path / "all")).spws[0].snr))
    result = gaincal(truth.path, str(tmp_path / "G"), minsnr=median)
    found = casa.read(str(tmp_path / "G")).spws[0]
    np.testing.assert_array_equal(found.flag, found.snr <= np.float32(median))
    assert 0 < found.flag.sum() < found.flag.size
    assert result.above_minsnr == sum((~s.flag).sum() for s in casa.read(str(tmp_path / "G")).spws.values())
    assert any("minsnr" in text for text in result.failed)
    assert result.expected == 2 * 2 * 8 * 2


def test_solnorm(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan(scans=MANY[:6]))
    gaincal(truth.path, str(tmp_path / "raw"))
    for normtype, average in (("mean", np.mean), ("median", np.median)):
        gaincal(truth.path, str(tmp_path / normtype), solnorm=True, normtype=normtype)
        for spw in (0, 1):
            raw = casa.read(str(tmp_path / "raw")).spws[spw]
            normal = casa.read(str(tmp_path / normtype)).spws[spw]
            factor = np.sqrt(average(np.abs(raw.param) ** 2))
            np.testing.assert_allclose(normal.param, raw.param / factor, rtol=1e-5)
            np.testing.assert_allclose(normal.error, raw.error / factor, rtol=1e-5)
    with pytest.raises(ParameterError, match="solnorm"):
        gaincal(truth.path, str(tmp_path / "K"), gaintype="K", refant="DV00", solnorm=True)


# ---- the model -------------------------------------------------------------------------------------------------
def test_model_is_divided_out(tmp_path: Path) -> None:
    """A calibrator of 4 Jy without a model gives gains that are twice too large; with MODEL_DATA they are right."""
    truth = plant(tmp_path / "a.ms", Plan(flux=(4.0, 1.0), scans=((0, 3), (1, 3))))
    gaincal(truth.path, str(tmp_path / "unit"), solint="int", refant="DV00")
    unit = casa.read(str(tmp_path / "unit"))
    true = planted_gain(truth, unit, 0)
    np.testing.assert_allclose(np.abs(unit.spws[0].param[:3] / true[:3]), 2, rtol=0.05)
    from calibrant.tasks.setjy import setjy

    setjy(truth.path, field="CAL0", standard="manual", fluxdensity=[4.0, 0, 0, 0])
    gaincal(truth.path, str(tmp_path / "model"), solint="int", refant="DV00")
    np.testing.assert_allclose(np.abs(casa.read(str(tmp_path / "model")).spws[0].param / true), 1, rtol=0.1)


# ---- tables and messages ---------------------------------------------------------------------------------------
def test_append(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    gaincal(truth.path, whole, refant="DV00")
    gaincal(truth.path, parts, refant="DV00", field="0", append=True)  # there is nothing to append to: a new table
    gaincal(truth.path, parts, refant="DV00", field="1", append=True)
    one, other = casa.read(whole), casa.read(parts)
    for spw in (0, 1):
        np.testing.assert_allclose(one.spws[spw].param, other.spws[spw].param, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(one.spws[spw].field, other.spws[spw].field)
    with pytest.raises(CalTableError, match="T Jones"):
        gaincal(truth.path, parts, gaintype="T", append=True)
    with pytest.raises(CalTableError):  # the same solutions once more
        gaincal(truth.path, parts, refant="DV00", field="1", append=True)
    np.testing.assert_array_equal(casa.read(parts).spws[0].param, other.spws[0].param)


def test_existing_table_is_kept(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    out = str(tmp_path / "G")
    gaincal(truth.path, out, solint="int")
    with pytest.raises(ExistsError, match="exists"):
        gaincal(truth.path, out)
    assert len(casa.read(out).spws[0].time) == 10
    gaincal(truth.path, out, overwrite=True)
    assert len(casa.read(out).spws[0].time) == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["G", "a.ms"]


def test_output_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    with pytest.raises(CalTableError, match=r"e\.cal cannot be made: .*nodir does not exist"):
        gaincal(truth.path, str(tmp_path / "nodir" / "e.cal"))
    assert not (tmp_path / "nodir").exists()


def test_provenance_is_the_call(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    out, second = str(tmp_path / "G"), str(tmp_path / "T")
    gaincal(truth.path, out, refant="DV00")
    assert casa.read(out).provenance[0] == f"gaincal(vis={truth.path!r}, caltable={out!r}, refant='DV00')"
    gaincal(truth.path, second, gaintype="T", gaintable=out, interp="nearest", spwmap=[0, 0], refantmode="strict")
    text = casa.read(second).provenance[0]
    for word in (f"gaintable={out!r}", "interp='nearest'", "spwmap=[0, 0]", "refantmode='strict'", "gaintype='T'"):
        assert word in text


def test_dry_run_touches_nothing(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    out = str(tmp_path / "G")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = gaincal(truth.path, out, solint="int", dry_run=True)
    assert result.intervals == 20
    assert "Nothing was touched" in result.summary()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def zero_sigma(path: str) -> None:
    edit(path, "SIGMA", lambda sigma: sigma * 0)


def nothing(path: str) -> None:
    pass


@pytest.mark.parametrize(
    ("before", "arguments", "error", "message"),
    [
        (flag, {}, SolveError, "all selected data are flagged"),
        (zero_sigma, {}, SolveError, "SIGMA is 0"),
        (nothing, {"minsnr": 1e9}, SolveError, r"not one good.*64 of 64: signal-to-noise at or below minsnr"),
        (nothing, {"field": "7"}, SelectionError, "field.*CAL0"),
        (nothing, {"antenna": "*&&&"}, SelectionError, "no cross-correlations"),
        (nothing, {"refant": "DV99"}, SelectionError, "refant 'DV99'.*DV00"),
        (nothing, {"solint": "1m"}, ParameterError, "use 'min'"),
        (nothing, {"solint": "often"}, ParameterError, "'often' is not a time"),
        (nothing, {"solint": "inf,8ch"}, ParameterError, "one solution for all selected channels"),
        (nothing, {"combine": "scans"}, ParameterError, "'scans' is none of scan"),
        (nothing, {"gaintype": "J"}, ParameterError, "G, T, K"),
        (nothing, {"calmode": "phase"}, ParameterError, "ap, p, a"),
        (nothing, {"gaintype": "K"}, ParameterError, "needs a refant"),
        (nothing, {"gaintable": "absent.cal"}, CalTableError, "absent.cal does not exist"),
    ],
)
def test_errors_say_what_is_wrong(
    before: Callable[[str], None], arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """CASA's 'could not be solved due to missing (pre-)calibration' and tables that silently are not there."""
    truth = plant(tmp_path / "a.ms", Plan())
    before(truth.path)
    with pytest.raises(error, match=message):
        gaincal(truth.path, str(tmp_path / "G"), **arguments)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ms"]


def test_prior_without_a_window_is_an_error(tmp_path: Path) -> None:
    """CASA drops the window with a warning."""
    truth = plant(tmp_path / "a.ms", Plan())
    prior = str(tmp_path / "P")
    gaincal(truth.path, prior, spw="0")
    with pytest.raises(SolveError, match=r"spw 1: .*P; give spwmap"):
        gaincal(truth.path, str(tmp_path / "G"), gaintable=prior)
    gaincal(truth.path, str(tmp_path / "G"), gaintable=prior, spwmap=[0, 0])


def test_what_is_left_after_applying(tmp_path: Path) -> None:
    """Solving again with the solutions applied gives 1; applied solutions that are flagged flag the data."""
    truth = plant(tmp_path / "a.ms", Plan(sigma=0.02))
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    gaincal(truth.path, first, solint="int", refant="DV00")
    gaincal(truth.path, second, solint="int", refant="DV00", gaintable=first)
    found = casa.read(second).spws[0]
    np.testing.assert_allclose(found.param, 1, atol=1e-5)
    edit(first, "FLAG", lambda flag: flag | True, "ANTENNA1==3")
    gaincal(truth.path, second, solint="int", refant="DV00", gaintable=first, overwrite=True)
    assert casa.read(second).spws[0].flag[:, 3].all()


def test_the_median_snr_is_that_of_the_table(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    result = gaincal(truth.path, str(tmp_path / "G"), refant="DV00")
    snr = np.concatenate([s.snr[~s.flag] for s in casa.read(str(tmp_path / "G")).spws.values()])
    assert result.median_snr == pytest.approx(np.median(snr), rel=1e-6)
    assert result.refant == "DV00"
    assert result.to_dict()["intervals"] == 4
    assert max(map(len, result.summary().replace(str(tmp_path), "").splitlines())) <= 100


def test_solving_does_not_touch_the_measurement_set(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", Plan())
    applycal_free = {path: path.read_bytes() for path in Path(truth.path).rglob("*") if path.is_file()}
    gaincal(truth.path, str(tmp_path / "G"))
    assert {path: path.read_bytes() for path in Path(truth.path).rglob("*") if path.is_file()} == applycal_free
    applycal(truth.path, gaintable=str(tmp_path / "G"), dry_run=True)
    assert {path: path.read_bytes() for path in Path(truth.path).rglob("*") if path.is_file()} == applycal_free


def test_sigma_spectrum_weighs_channels(tmp_path: Path) -> None:
    """Two channels are ruined; with a SIGMA_SPECTRUM that says so the gains are as good as without them."""
    from casacore.tables import makearrcoldesc, table

    truth = plant(tmp_path / "a.ms", nant=6, windows=(Window(8),), scans=((0, 5),), flux=(1.0,), sigma=0.05)
    ruined = get(truth.path, "DATA").copy()
    rng = np.random.default_rng(0)
    ruined[:, 2:4] += 5 * (rng.normal(size=ruined[:, 2:4].shape) + 1j * rng.normal(size=ruined[:, 2:4].shape))
    edit(truth.path, "DATA", lambda values: ruined)
    gaincal(truth.path, str(tmp_path / "flat.cal"), refant="0")
    sigma = np.repeat(get(truth.path, "SIGMA")[:, None, :], 8, axis=1)
    sigma[:, 2:4] *= 100
    with table(truth.path, readonly=False, ack=False) as ms:
        ms.addcols(makearrcoldesc("SIGMA_SPECTRUM", 0.0, valuetype="float", ndim=2))
        ms.putcol("SIGMA_SPECTRUM", sigma.astype(np.float32))
    gaincal(truth.path, str(tmp_path / "weighed.cal"), refant="0")
    planted = referenced(truth.gain[0][:1, :, 0])
    errors = []
    for name in ("flat.cal", "weighed.cal"):
        found = referenced(casa.read(str(tmp_path / name)).spws[0].param[:, :, 0])
        errors.append(np.sqrt(np.mean(np.abs(found - planted) ** 2)))
    assert errors[1] < 0.1 * errors[0]
    assert errors[1] < 2 * 0.05 / np.sqrt(5 * 6 * 5)
