"""bandpass against CASA's tables and against planted bandpasses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.caltable import casa
from calibrant.errors import ExistsError, ParameterError, SolveError
from calibrant.solve.outcome import Outcome
from calibrant.tasks.bandpass import bandpass
from planted import Plan, Planted, Window, edit, flag, plant, referenced
from recipe import apply_before, compare, excess_chi2, record_sums

CASA_JOBS: dict[str, dict[str, Any]] = {
    "B.cal": {"spw": "0,1", "solnorm": True},
    "Bnn.cal": {"spw": "0,1", "solnorm": False},
    "B8.cal": {"spw": "1", "solint": "inf,8ch", "solnorm": True},
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASA_JOBS)
def test_agrees_with_casa(name: str, oracle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, out = CASA_JOBS[name], str(tmp_path / name)
    priors = apply_before(oracle, "0", ["bp.Gpint"])
    priors["interp"][-1] = "linear"
    sums = record_sums(monkeypatch)
    bandpass(str(oracle / "tiny.ms"), out, field="0", combine="scan", refant="DA41", **job, **priors)
    ours, theirs = casa.read(out), casa.read(str(oracle / "out" / name))
    if job["solnorm"]:  # CASA leaves PARAMERR as it was before the normalisation
        for spw, they in theirs.spws.items():
            scale = [np.where(s.flag, np.nan, s.error) for s in (ours.spws[spw], they)]
            they.error = they.error * np.nanmedian(scale[0] / scale[1], axis=2, keepdims=True)
    compare(ours, theirs, 0.02)
    if not job["solnorm"]:
        excess = excess_chi2(sums, ours, theirs, "ap")
        assert excess.max() < 1e-6, "CASA's solution fits better"
        assert excess.min() > -1e-3, "fits of other data"


# ---- planted bandpasses ----------------------------------------------------------------------------------------
WIDE = (Window(32), Window(64, 102e9, 2.5e6))
BAND = Plan(windows=WIDE, scans=((0, 4), (0, 4)), per="all", per_channel=True, sigma=0.2, seed=11)


def pull_of(truth: Planted, out: str, channels: Any = slice(None)) -> np.ndarray:
    """|solution - planted| over the error of the complex number, all but the reference antenna."""
    result = []
    for spw, found in casa.read(out).spws.items():
        true = referenced(truth.gain[spw][:1])[:, :, channels]
        phase = found.error[:, :1] / np.abs(found.param[:, :1]) / np.sqrt(2) * np.abs(true[:, 1:])
        result.append((np.abs(found.param - true)[:, 1:] / np.hypot(found.error[:, 1:], phase)).ravel())
    return np.concatenate(result)


@pytest.mark.parametrize(("combine", "slots"), [("scan", 1), ("", 2), ("scan,field", 1)])
@pytest.mark.parametrize(("solint", "bins"), [("inf", (32, 64)), ("inf,8ch", (4, 8)), ("inf,20MHz", (16, 8))])
def test_pulls(combine: str, slots: int, solint: str, bins: tuple[int, int], tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", BAND)
    if solint != "inf":  # constant over a bin
        truth = plant(tmp_path / "b.ms", Plan(**{**vars(BAND), "per_channel": False}))
    out = str(tmp_path / "B")
    bandpass(truth.path, out, solint=solint, combine=combine, refant="DV00")
    table = casa.read(out)
    for spw, count in enumerate(bins):
        found = table.spws[spw]
        assert found.shape == (slots, 8, count, 2)
        per = truth.plan.windows[spw].nchan // count
        np.testing.assert_allclose(
            found.freq, truth.plan.windows[spw].freq.reshape(count, per).mean(axis=1), rtol=1e-14
        )
        np.testing.assert_allclose(found.width, truth.plan.windows[spw].width * per, rtol=1e-9)
    pull = pull_of(truth, out, slice(None) if solint == "inf" else slice(0, 1))
    assert np.mean(pull**2) == pytest.approx(1, abs=4.5 * np.sqrt(3 / len(pull)))  # |complex pull|^2: exponential


def test_selected_channels_and_reversed_bands(tmp_path: Path) -> None:
    plan = Plan(**{**vars(BAND), "windows": (Window(32, width=-10e6), Window(4, 102e9, 1e6))})
    truth, out = plant(tmp_path / "a.ms", plan), str(tmp_path / "B")
    bandpass(truth.path, out, spw="0:4~9;20~29,1", refant="DV00")
    found = casa.read(out).spws
    channels = [*range(4, 10), *range(20, 30)]
    np.testing.assert_array_equal(found[0].freq, truth.plan.windows[0].freq[channels])
    assert (found[0].width > 0).all() or (found[0].width < 0).all()
    true = referenced(truth.gain[0][:1])[:, :, channels]
    assert (np.abs(found[0].param - true) < 6 * found[0].error)[:, 1:].all()
    assert found[1].shape[2] == 4


def test_solnorm_gives_unit_power_and_no_mean_phase(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", BAND)
    bandpass(truth.path, str(tmp_path / "B"), refant="DV00", solnorm=True)
    bandpass(truth.path, str(tmp_path / "raw"), refant="DV00")
    for spw, found in casa.read(str(tmp_path / "B")).spws.items():
        np.testing.assert_allclose((np.abs(found.param) ** 2).mean(axis=2), 1, rtol=1e-6)
        np.testing.assert_allclose(np.angle((found.param / np.abs(found.param)).sum(axis=2)), 0, atol=1e-5)
        raw = casa.read(str(tmp_path / "raw")).spws[spw]
        np.testing.assert_allclose(found.snr, raw.snr)
        np.testing.assert_allclose(np.abs(found.param) / found.error, np.abs(raw.param) / raw.error, rtol=1e-5)


def test_a_whole_correlation_may_be_flagged(tmp_path: Path) -> None:
    """CASA's bandpass fails then (its known issues). With corrdepflags the other one is solved."""
    truth = plant(tmp_path / "a.ms", BAND)
    flag(truth.path, change=lambda flags: flags | np.array([False, True]))
    with pytest.raises(SolveError, match="flagged"):
        bandpass(truth.path, str(tmp_path / "no"), refant="DV00")
    result = bandpass(truth.path, str(tmp_path / "B"), refant="DV00", corrdepflags=True)
    for spw, found in casa.read(str(tmp_path / "B")).spws.items():
        assert found.flag[..., 1].all()
        assert not found.flag[..., 0].any()
        true = referenced(truth.gain[spw][:1])
        assert (np.abs(found.param - true)[:, 1:, :, 0] < 6 * found.error[:, 1:, :, 0]).all()
    assert any("flagged or absent" in text for text in result.failed)


def test_flagged_channels_and_fillgaps(tmp_path: Path) -> None:
    plan = Plan(windows=(Window(32),), scans=((0, 5),), per="all", sigma=0.01, per_channel=False)
    truth = plant(tmp_path / "a.ms", plan)
    gaps = np.zeros(32, bool)
    gaps[[0, 5, 6, 12, 13, 14, 15, 16, 30, 31]] = True
    flag(truth.path, change=lambda flags: flags | gaps[:, None])
    bandpass(truth.path, str(tmp_path / "raw"), refant="DV00")
    raw = casa.read(str(tmp_path / "raw")).spws[0]
    np.testing.assert_array_equal(raw.flag, np.broadcast_to(gaps[:, None], raw.shape))
    assert (raw.outcome[raw.flag] == Outcome.NO_DATA).all()
    result = bandpass(truth.path, str(tmp_path / "B"), refant="DV00", fillgaps=2)
    found = casa.read(str(tmp_path / "B")).spws[0]
    filled = np.zeros(32, bool)
    filled[[5, 6]] = True  # not the edges of the band, not the gap of five
    np.testing.assert_array_equal(found.flag, np.broadcast_to((gaps & ~filled)[:, None], raw.shape))
    assert (found.outcome[:, :, filled] == Outcome.FILLED).all()
    np.testing.assert_allclose(found.param[:, :, 5:7], referenced(truth.gain[0][:1])[:, :, 5:7], rtol=0.02)
    assert result.above_minsnr == int((~found.flag).sum())


@pytest.mark.parametrize(
    "change",
    [
        {"order": "shuffled"},
        {"order": "spw"},
        {"windows": (Window(32, corr="XX XY YX YY"), Window(4, 102e9, corr="XX"))},
        {"windows": (Window(32, corr="XX"),)},
    ],
    ids=["shuffled", "by spw", "4 and 1 correlations", "1 correlation"],
)
def test_layouts_of_data(change: dict[str, Any], tmp_path: Path) -> None:
    truth, out = plant(tmp_path / "a.ms", Plan(**{**vars(BAND), **change})), str(tmp_path / "B")
    bandpass(truth.path, out, refant="DV00")
    for spw, window in enumerate(truth.plan.windows):
        found = casa.read(out).spws[spw]
        receptors = [0] if window.corr == "XX" else [0, 1]
        true = referenced(truth.gain[spw][:1])
        assert not found.flag[..., receptors].any()
        assert (np.abs(found.param - true)[..., receptors] < 6 * found.error[..., receptors])[:, 1:].all()
        assert found.flag[..., [p for p in (0, 1) if p not in receptors]].all()


def test_memory_is_bounded_by_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many intervals of many channels are solved batch by batch, with the same result."""
    from calibrant.tasks import solving

    truth = plant(tmp_path / "a.ms", BAND)
    bandpass(truth.path, str(tmp_path / "one"), solint="int", refant="DV00")
    monkeypatch.setattr(solving, "BATCH_BYTES", 200_000)
    held = []
    batches = solving._batches
    monkeypatch.setattr(solving, "_batches", lambda *a: (held.append(b) or b for b in batches(*a)))
    bandpass(truth.path, str(tmp_path / "many"), solint="int", refant="DV00")
    assert len(held) > 4
    for spw in (0, 1):
        one, many = (casa.read(str(tmp_path / name)).spws[spw] for name in ("one", "many"))
        np.testing.assert_allclose(one.param, many.param, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(one.time, many.time)


def test_errors(tmp_path: Path) -> None:
    truth, out = plant(tmp_path / "a.ms", BAND), str(tmp_path / "B")
    with pytest.raises(ParameterError, match="combine spws"):
        bandpass(truth.path, out, combine="scan,spw")
    with pytest.raises(ParameterError, match="no channel width"):
        bandpass(truth.path, out, solint="inf,8km")
    with pytest.raises(ParameterError, match="BPOLY"):
        bandpass(truth.path, out, bandtype="BPOLY")
    bandpass(truth.path, out)
    with pytest.raises(ExistsError):
        bandpass(truth.path, out)
    edit(truth.path, "SIGMA", lambda sigma: sigma * 0)
    before = casa.read(out).spws[0].param
    with pytest.raises(SolveError, match="SIGMA"):
        bandpass(truth.path, out, overwrite=True)
    np.testing.assert_array_equal(casa.read(out).spws[0].param, before)  # the table of before is still there


def test_dry_run(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.ms", BAND)
    result = bandpass(truth.path, str(tmp_path / "B"), dry_run=True)
    assert result.intervals == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ms"]
