"""Delays against a planted truth."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.solve.delay import solve_delays


@pytest.mark.parametrize("spread", [0.3e-9, 7e-9])
def test_delays_and_their_errors(spread: float) -> None:
    rng = np.random.default_rng(4)
    nant, nchan, nsolve = 6, 64, 150
    freq = 90e9 + 31.25e6 * np.arange(nchan)
    tau = rng.uniform(-spread, spread, (nsolve, nant, 2))
    ant1, ant2 = (a.astype(np.int64) for a in np.triu_indices(nant, 1))
    phase = 2 * np.pi * (tau[:, ant1] - tau[:, ant2])[:, :, None, :] * freq[None, None, :, None]
    sigma = 0.5
    vis = np.exp(1j * phase) + sigma * (rng.normal(size=phase.shape) + 1j * rng.normal(size=phase.shape))
    norm = np.full(vis.shape, 1 / sigma**2)
    norm[:, :, 20:23] = 0
    found = solve_delays(vis * norm, norm, ant1, ant2, nant, freq, refant=2)
    truth = tau - tau[:, 2:3]
    others = [0, 1, 3, 4, 5]
    pull = (found.delay - truth)[:, others] / found.error[:, others]
    assert found.good.all()
    assert abs(pull.mean()) < 0.1
    assert 0.92 < pull.std() < 1.08
    assert (found.delay[:, 2] == 0).all()


def test_an_antenna_without_baseline_to_the_reference_is_not_good() -> None:
    ant1, ant2 = np.array([0, 0]), np.array([1, 2])
    a = np.ones((1, 2, 8, 2), complex)
    norm = np.ones((1, 2, 8, 2))
    norm[:, 1] = 0
    found = solve_delays(a, norm, ant1, ant2, 3, 1e9 + 1e6 * np.arange(8), refant=0)
    assert found.good[0, :, 0].tolist() == [True, True, False]
