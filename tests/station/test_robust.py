"""Robust least squares: honest errors with independent and with common errors, and with outliers."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.station.robust import combine, few, robust_fit, steady_errors, weighted_mean

TRUE = np.array([0.1, 0.01, -0.012])


def observed(rng, scans, points, common, factor, outliers):
    """Quadratic at `scans` places with `points` points each; relative errors 0.5 to 2 %."""
    x, scan = np.repeat(np.linspace(-1, 1, scans), points), np.repeat(np.arange(scans), points)
    design = np.vander(x, 3, increasing=True)
    value = design @ TRUE
    sigma = 0.01 * value * rng.uniform(0.5, 2, len(value))
    y = value + factor * sigma * rng.normal(size=len(value)) + common * value * rng.normal(size=scans)[scan]
    bad = rng.random(len(value)) < outliers
    return design, np.where(bad, y * rng.choice([0.7, 1.3, 2.0], len(y)), y), sigma, scan, bad


def fitted(design, y, sigma, scan, loss):
    return robust_fit(lambda p: (design @ p, design), [np.median(y), 0, 0], y, sigma, group=scan, loss=loss)


@pytest.mark.parametrize(
    ("scans", "points", "common", "factor", "outliers", "loss"),
    [
        (30, 1, 0.0, 1.0, 0.0, "tukey"),
        (30, 1, 0.0, 2.0, 0.05, "tukey"),
        (30, 6, 0.0, 1.0, 0.05, "tukey"),
        (30, 6, 0.03, 1.0, 0.0, "none"),
        (30, 6, 0.03, 2.0, 0.05, "tukey"),
        (40, 1, 0.0, 1.0, 0.0, "huber"),
        (40, 4, 0.03, 1.0, 0.05, "clip"),
    ],
)
def test_pulls(scans, points, common, factor, outliers, loss):
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(120):
        fit = fitted(*observed(rng, scans, points, common, factor, outliers)[:4], loss)
        assert fit.converged
        pulls.append((fit.parameters - TRUE) / fit.errors)
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.3
    assert 0.83 < np.std(pulls) < 1.17


def test_outliers_are_found_and_good_points_kept():
    rng = np.random.default_rng(1)
    *data, bad = observed(rng, 30, 6, 0.02, 1.0, 0.08)
    fit = fitted(*data, "tukey")
    assert not fit.used[bad].any()
    assert fit.used[~bad].mean() > 0.97
    assert fit.scale < 1.2
    assert fit.common == pytest.approx(0.02, rel=0.5)


def test_errors_are_scaled_up_but_never_down():
    rng = np.random.default_rng(2)
    design, y, sigma, _, _ = observed(rng, 40, 1, 0.0, 1.0, 0.0)
    too_large = robust_fit(lambda p: (design @ p, design), [0.1, 0, 0], y, 3 * sigma)
    too_small = robust_fit(lambda p: (design @ p, design), [0.1, 0, 0], y, sigma / 3)
    assert too_large.scale == 1.0
    assert too_small.scale == pytest.approx(3.0, rel=0.25)
    assert too_small.reduced_chi2 == pytest.approx(9.0, rel=0.5)


def test_unknown_errors_come_from_the_scatter():
    rng = np.random.default_rng(3)
    y = 5 + 0.2 * rng.normal(size=400)
    fit = robust_fit(lambda p: (np.full(400, p[0]), np.ones((400, 1))), [4.0], y)
    assert fit.scale == pytest.approx(0.2, rel=0.1)
    assert fit.errors[0] == pytest.approx(0.01, rel=0.1)


def test_combine_adds_what_values_differ_by():
    same = combine([1.0, 1.01, 0.99], np.diag([0.01] * 3))
    assert same.scatter == 0
    assert same.error == pytest.approx(0.1 / np.sqrt(3))
    apart = combine([1.0, 2.0, 3.0, 4.0, 5.0], np.diag([1e-6] * 5))
    assert apart.mean == pytest.approx(3.0)
    assert apart.error == pytest.approx(np.sqrt(2.5 / 5 * few(5)), rel=1e-2)


def test_weighted_mean():
    assert weighted_mean([1.0, 3.0], [1.0, 0.5]) == (pytest.approx(2.6), pytest.approx(np.sqrt(0.2)))


def test_steady_errors_follow_the_expected_noise():
    rng = np.random.default_rng(4)
    noise = rng.uniform(1, 30, 400)
    estimated = 0.01 * noise * np.sqrt(rng.chisquare(2, 400) / 2)
    estimated[:3] = np.nan
    steady = steady_errors(estimated, noise)
    assert np.std(steady / noise) < 0.3 * np.nanstd(estimated / noise) + 0.002
    assert np.median(steady / (0.01 * noise)) == pytest.approx(1.0, rel=0.15)
    assert np.isfinite(steady).all()
    assert steady_errors(np.full(4, np.nan)) is None
