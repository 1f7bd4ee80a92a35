"""Gain curve and DPFU: recovered truth, GNPLT's own numbers, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from calibrant.errors import ParameterError, SolveError
from calibrant.station.curve import GainCurve
from calibrant.station.dpfu import advise, new_dpfu, scale_tcal
from calibrant.station.gaincurve import GainData, fit_gain_curve, gnplt_gain_curve

RAW = GainCurve("elev", (0.088, 0.001045, -1.155e-5))
TOP = RAW.maximum()[1]
CURVE = RAW.scaled(1 / TOP)
DPFU = {"l": TOP, "r": 0.1}


def gains(rng, scans=20, detectors=1, common=0.0, tcal=0.0, flux=(1.0,), outliers=0.0, low=12.0, high=82.0, noise=1.0):
    """Gains of both polarisations, errors of 0.5 to 2 %."""
    each = 2 * detectors
    elevation, scan = np.repeat(rng.uniform(low, high, scans), each), np.repeat(np.arange(scans), each)
    pol = np.tile(np.repeat(["l", "r"], detectors), scans)
    names = [f"{i:x}u" for i in range(each)]
    factor = np.exp(tcal * rng.normal(size=each))
    true = np.where(pol == "l", DPFU["l"], DPFU["r"]) * CURVE(elevation)
    relative = 0.01 * rng.uniform(0.5, 2, len(true))
    shared = common * rng.normal(size=scans)[scan]
    gain = true * (1 + noise * relative * rng.normal(size=len(true)) + shared) / np.tile(factor, scans)
    gain = gain * np.array(flux)[scan % len(flux)]
    gain = np.where(rng.random(len(true)) < outliers, gain * rng.choice([0.5, 1.5], len(true)), gain)
    source = np.array([f"s{k % len(flux)}" for k in scan])
    return GainData(gain, elevation, pol, relative * true, scan, source, np.tile(names, scans))


def pulls_of(fit):
    truth = np.array([DPFU["l"], DPFU["r"], *CURVE.coefficients])
    found = np.array([*fit.dpfu.values(), *fit.curve.coefficients])
    return (found - truth) / np.sqrt(np.diag(fit.covariance))


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"detectors": 4, "common": 0.03, "outliers": 0.05},
    ],
)
def test_pulls_of_200_simulations(kind):
    rng = np.random.default_rng(10)
    fits = [fit_gain_curve(gains(rng, scans=24, **kind), degree=2) for _ in range(200)]
    pulls = np.array([pulls_of(fit) for fit in fits])
    assert np.abs(pulls.mean(axis=0)).max() < 0.2
    assert np.all((pulls.std(axis=0) > 0.85) & (pulls.std(axis=0) < 1.15))
    bias = np.mean([fit.dpfu["l"] / DPFU["l"] - 1 for fit in fits])
    assert abs(bias) < 0.001


def test_source_and_detector_factors():
    rng = np.random.default_rng(11)
    flux = np.array([1.06, 0.97, 1.0, 1.01])
    data = gains(rng, scans=40, detectors=3, tcal=0.05, flux=flux)
    fit = fit_gain_curve(data, degree=2, sources="factors", detectors="auto")
    expected = flux / np.prod(flux) ** 0.25
    for name, value in zip(("s0", "s1", "s2", "s3"), expected, strict=True):
        assert fit.source_factors[name].value == pytest.approx(value, abs=4 * fit.source_factors[name].error)
    assert len(fit.detector_factors) == 6
    assert np.prod([f.value for f in fit.source_factors.values()]) == pytest.approx(1.0)
    named = fit_gain_curve(data, degree=2, sources="s2", detectors="auto")
    assert named.source_factors["s2"].value == 1.0
    assert named.source_factors["s0"].value == pytest.approx(1.06, abs=4 * named.source_factors["s0"].error)
    # What detectors and sources differ by is in the DPFU's error.
    assert fit.dpfu_errors["l"] / fit.dpfu["l"] > 0.01
    assert np.all(np.abs(pulls_of(fit)) < 4)


def test_disagreeing_sources_are_named():
    data = gains(np.random.default_rng(12), scans=40, detectors=3, flux=(1.0, 1.0, 1.15))
    assert any("s2" in note and "--factors" in note for note in fit_gain_curve(data, degree=2).warnings)


def test_degree_by_aic_and_altaz_are_the_same_curve():
    rng = np.random.default_rng(13)
    data = gains(rng, scans=40, detectors=2)
    elev, altaz = fit_gain_curve(data), fit_gain_curve(data, kind="altaz")
    assert elev.degree == altaz.degree == 2
    assert [t.degree for t in elev.degrees] == [0, 1, 2, 3, 4]
    assert altaz.curve.kind == "altaz"
    np.testing.assert_allclose(altaz.curve([10, 45, 80]), elev.curve([10, 45, 80]), rtol=1e-6)
    np.testing.assert_allclose(altaz.band([10, 45, 80], "l"), elev.band([10, 45, 80], "l"), rtol=1e-3)
    assert elev.curve.maximum()[1] == pytest.approx(1.0)
    assert not elev.extrapolated


def test_band_is_the_scatter_of_the_curve():
    rng = np.random.default_rng(14)
    fits = [fit_gain_curve(gains(rng), degree=2) for _ in range(100)]
    values = np.array([fit.gain("l", [15.0, 45.0, 75.0]) for fit in fits])
    width = np.mean([fit.band([15.0, 45.0, 75.0], "l") for fit in fits], axis=0)
    np.testing.assert_allclose(values.std(axis=0), width, rtol=0.2)


def test_maximum_outside_the_data_is_marked():
    data = gains(np.random.default_rng(15), low=12, high=35)
    fit = fit_gain_curve(data, degree=1)
    assert fit.extrapolated
    assert any("extrapolation" in note for note in fit.warnings)
    inside = fit_gain_curve(data, degree=1, peak="observed")
    assert not inside.extrapolated
    assert inside.curve(inside.peak_elevation_deg) == pytest.approx(1.0)
    np.testing.assert_allclose(inside.gain("l", 20.0), fit.gain("l", 20.0), rtol=1e-6)


def test_negative_curve_is_named():
    x = np.linspace(60, 85, 30)
    data = GainData(0.1 * (1 - 0.9 * ((x - 75) / 30) ** 2), x, np.array(["l"] * 30), np.full(30, 1e-3))
    assert any("negative" in note for note in fit_gain_curve(data, degree=2).warnings)


def test_like_gnplt(shared):
    reference = json.loads((shared / "data/rxg/fixtures.json").read_text())["dpfu_fit"]
    elevation = np.linspace(10, 85, 40)
    data = GainData(np.asarray(RAW(elevation)), elevation, np.array(["l"] * 40))
    fit = gnplt_gain_curve(data, degree=2)
    assert fit.dpfu["l"] == pytest.approx(reference["grid_05"], rel=1e-9)
    assert fit.rms < 1e-12
    exact = fit_gain_curve(data, degree=2)
    assert exact.dpfu["l"] == pytest.approx(reference["dpfu"], rel=1e-9)
    assert exact.peak_elevation_deg == pytest.approx(reference["el_max"], abs=1e-6)
    np.testing.assert_allclose(exact.curve.coefficients, reference["norm"], rtol=1e-7)


def test_like_gnplt_is_plain_least_squares():
    data = gains(np.random.default_rng(16))
    left = data.select(data.pol == "l")
    raw = np.polynomial.polynomial.polyfit(left.elevation_deg, left.gain, 2)
    grid = np.arange(0, 90, 0.5)
    top = np.polynomial.polynomial.polyval(grid, raw).max()
    fit = gnplt_gain_curve(left, degree=2)
    assert fit.dpfu["l"] == pytest.approx(top, rel=1e-9)
    np.testing.assert_allclose(fit.curve.coefficients, raw / top, rtol=1e-6)
    residual = left.gain - np.polynomial.polynomial.polyval(left.elevation_deg, raw)
    assert fit.rms == pytest.approx(np.sqrt(np.mean(residual**2)) / top)
    plain = new_dpfu(data, CURVE, like_gnplt=True)
    for pol in "lr":
        mine = data.pol == pol
        assert plain.values[pol] == pytest.approx(np.mean(data.gain[mine] / CURVE(data.elevation_deg[mine])))


def test_new_dpfu_and_scale():
    rng = np.random.default_rng(17)
    pulls = []
    for _ in range(100):
        fit = new_dpfu(gains(rng, detectors=2, common=0.02, outliers=0.05), CURVE)
        pulls.append([(fit.values[p] - DPFU[p]) / fit.errors[p] for p in "lr"])
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.3
    assert 0.85 < np.std(pulls) < 1.15
    scale = scale_tcal(gains(rng, scans=60), CURVE, {"l": DPFU["l"] / 1.1, "r": DPFU["r"]})
    assert scale.values["l"] == pytest.approx(1.1, abs=4 * scale.errors["l"])
    assert scale.values["r"] == pytest.approx(1.0, abs=4 * scale.errors["r"])


@pytest.mark.parametrize(
    ("dpfu", "curve", "tcal", "best"),
    [
        (1.2, CURVE, 0.0, "dpfu"),
        (1.0, GainCurve("elev", (1.0, -0.004)), 0.0, "curve"),
        (1.0, CURVE, 0.1, "tcal"),
        (1.0, CURVE, 0.0, "none"),
    ],
)
def test_advice(dpfu, curve, tcal, best):
    data = gains(np.random.default_rng(18), scans=40, detectors=5, tcal=tcal)
    freq = np.tile(np.arange(10.0), 40)
    found = advise(data, curve, {p: value * dpfu for p, value in DPFU.items()}, freq)
    assert found.best == best
    assert found.median == pytest.approx(dpfu, rel=0.25)


def test_refusals():
    data = gains(np.random.default_rng(19))
    one = data.select(data.scan == 0)
    with pytest.raises(SolveError, match="one elevation"):
        fit_gain_curve(one)
    with pytest.raises(SolveError, match="degree 6 needs points at 7 elevations"):
        fit_gain_curve(data.select(data.scan < 4), degree=6)
    with pytest.raises(ParameterError, match="0 to 9"):
        fit_gain_curve(data, degree=10)
    with pytest.raises(ParameterError, match="s0"):
        fit_gain_curve(data, degree=2, sources="casa")
    apart = gains(np.random.default_rng(19), scans=2, flux=(1.0, 1.0), noise=0.0)
    with pytest.raises(SolveError, match="cannot be told"):
        fit_gain_curve(apart, degree=1, sources="factors")


def test_to_dict_is_json():
    json.dumps(fit_gain_curve(gains(np.random.default_rng(20)), sources="none").to_dict())
