"""Trec and tau0: recovered truth, GNPLT's own numbers, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from calibrant.errors import SolveError
from calibrant.station.trec import TrecData, consecutive, equal_bins, fit_trec, gnplt_trec

TREC = {"l": 40.0, "r": 50.0}
TAU = (0.08, 0.1)


def true_tau(time):
    """Linear between the mean times of two segments, constant before and after."""
    half = equal_bins(time, 2.0)
    return np.interp(time, [time[half == k].mean() for k in (0, 1)], TAU)


def observed(rng, scans=24, detectors=1, common=0.0, outliers=0.0, differ=0.0, highest=4.0, scale=1.0):
    """Four hours in which tau goes from 0.08 to 0.1; errors of 0.25 to 1 K."""
    each = 2 * detectors
    airmass, scan = np.repeat(rng.uniform(1, highest, scans), each), np.repeat(np.arange(scans), each)
    time = np.repeat(np.linspace(0, 4, scans), each) * 3600
    pol = np.tile(np.repeat(["l", "r"], detectors), scans)
    tau = true_tau(time)
    true = np.where(pol == "l", 40.0, 50.0) + 273 * -np.expm1(-tau * airmass)
    true = true + differ * np.tile(rng.normal(size=each), scans)
    error = 0.5 * rng.uniform(0.5, 2, len(true))
    y = true + scale * error * rng.normal(size=len(true)) + common * airmass * rng.normal(size=scans)[scan]
    y = np.where(rng.random(len(true)) < outliers, y + rng.choice([-20, 20, 50], len(true)), y)
    return TrecData(y, airmass, time, pol, error, scan, np.tile([f"{i:x}u" for i in range(each)], scans))


@pytest.mark.parametrize(
    "kind", [{}, {"detectors": 3, "common": 0.5}, {"detectors": 2, "outliers": 0.05, "common": 0.5, "scale": 2.0}]
)
def test_pulls_of_200_simulations(kind):
    rng = np.random.default_rng(1)
    pulls = []
    for _ in range(200):
        data = observed(rng, **kind)
        fit = fit_trec(data, interval_hours=2.0)
        tau = [true_tau(data.time)[equal_bins(data.time, 2.0) == k].mean() for k in (0, 1)]
        trec = [(fit.trec[p] - TREC[p]) / fit.errors[p] for p in "lr"]
        pulls.append(trec + [(s.tau0 - t) / s.tau0_error for s, t in zip(fit.segments, tau, strict=True)])
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.2
    assert np.all((np.std(pulls, axis=0) > 0.85) & (np.std(pulls, axis=0) < 1.15))


def test_a_trend_within_the_segments_does_not_bend_trec():
    """Opacity that changes by half over the night, hourly segments: linear in between is enough."""
    rng = np.random.default_rng(9)
    data = observed(rng, scans=40, scale=0.0)
    tau = 0.06 + 0.03 * data.time / data.time.max()
    true = np.where(data.pol == "l", 40.0, 50.0) + 273 * -np.expm1(-tau * data.airmass)
    fit = fit_trec(replace(data, tsys_minus_tspill_k=true), interval_hours=1.0)
    assert [fit.trec[p] - TREC[p] for p in "lr"] == pytest.approx([0.0, 0.0], abs=0.12)
    assert [s.tau0 for s in fit.segments] == pytest.approx([0.06375, 0.07125, 0.07875, 0.08625], abs=0.001)


def test_detectors_that_differ_make_the_error_larger():
    rng = np.random.default_rng(2)
    same, apart = fit_trec(observed(rng, detectors=4)), fit_trec(observed(rng, detectors=4, differ=4.0))
    assert apart.errors["l"] > 2 * same.errors["l"]
    assert apart.detector_scatter_k["l"] > 1.0
    assert abs(apart.trec["l"] - 40) < 3 * apart.errors["l"]


def test_per_segment():
    fit = fit_trec(observed(np.random.default_rng(3), scans=40), interval_hours=2.0, per_segment=True)
    assert len(fit.segments) == 2
    weights = np.array([1 / s.trec_errors["l"] ** 2 for s in fit.segments])
    mean = sum(w * s.trec["l"] for w, s in zip(weights, fit.segments, strict=True)) / weights.sum()
    assert fit.trec["l"] == pytest.approx(mean)
    assert abs(fit.trec["l"] - 40) < 4 * fit.errors["l"]


def test_tatm_is_fitted_only_where_the_data_tell_it():
    rng = np.random.default_rng(4)
    good = fit_trec(observed(rng, scans=60, detectors=3, highest=12.0), interval_hours=2.0, tatm_k=260.0, fit_tatm=True)
    assert abs(good.tatm_k - 273) < 4 * good.tatm_error
    assert good.tatm_error < 5
    with pytest.raises(SolveError, match="Tatm"):
        fit_trec(observed(rng, highest=2.0), interval_hours=2.0, fit_tatm=True)


def test_refusals():
    rng = np.random.default_rng(5)
    with pytest.raises(SolveError, match=r"airmass goes from .* a range of 0\.3"):
        fit_trec(observed(rng, highest=1.2))
    noisy = observed(rng, scans=6, highest=1.6)
    blurred = TrecData(noisy.tsys_minus_tspill_k, noisy.airmass, noisy.time, noisy.pol, 60 * noisy.error, noisy.scan)
    with pytest.raises(SolveError, match="nothing that could be used"):
        fit_trec(blurred, interval_hours=5)
    with pytest.raises(SolveError, match="2 points"):
        fit_trec(observed(rng).select(np.arange(48) < 2))


def test_gnplt_fixture(shared):
    reference = json.loads((shared / "data/rxg/fixtures.json").read_text())["trec"]
    airmass = np.linspace(1, 5, 12)
    data = TrecData(40 + 273 * (1 - np.exp(-0.08 * airmass)), airmass, np.arange(12.0) * 60, np.array(["l"] * 12))
    for first in (False, True):
        fit = gnplt_trec(data, first=first)
        assert fit.trec["l"] == pytest.approx(reference["trec"], rel=1e-12)
        assert fit.segments[0].tau0 == pytest.approx(reference["tau"], rel=1e-11)
        assert fit.iterations == reference["iterations"]


def test_gnplt_averages():
    data = observed(np.random.default_rng(6), scans=40)
    plain, first = gnplt_trec(data, interval_hours=2.0), gnplt_trec(data, interval_hours=2.0, first=True)
    own = [s.trec["l"] for s in plain.segments if "l" in s.trec]
    assert plain.trec["l"] == pytest.approx(np.mean(own))
    values = [(s.trec["l"], 1 / s.trec_errors["l"] ** 2) for s in first.segments if "l" in s.trec]
    assert first.trec["l"] == pytest.approx(sum(v * w for v, w in values) / sum(w for _, w in values))


def test_segments():
    time = np.array([0.0, 1800, 3600, 3700, 7300, 7301, 20000])
    assert consecutive(time, 1.0).tolist() == [0, 0, 0, 1, 1, 2, 3]
    assert equal_bins(np.array([0.0, 3600, 7200, 9000]), 1.0).tolist() == [0, 1, 2, 2]
    assert equal_bins(np.zeros(3), 1.0).tolist() == [0, 0, 0]


def test_json():
    json.dumps(fit_trec(observed(np.random.default_rng(7))).to_dict())
