"""Solutions against a planted truth: the errors follow the noise, failures are outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calibrant.solve.antenna import solve_gains
from calibrant.solve.outcome import Outcome

NANT = 12
ANT1, ANT2 = (a.astype(np.int64) for a in np.triu_indices(NANT, 1))


def simulate(
    seed: int, nsolve: int = 300, sigma: float = 0.1, common: bool = False, phase_only: bool = False
) -> tuple[NDArray, NDArray, NDArray]:
    """(gains, A, B) with noise `sigma` per axis on every baseline and unequal weights."""
    rng = np.random.default_rng(seed)
    amplitude = 1 if phase_only else rng.uniform(0.7, 1.3, (nsolve, NANT, 1 if common else 2))
    gain = amplitude * np.exp(1j * rng.uniform(-np.pi, np.pi, (nsolve, NANT, 1 if common else 2)))
    each = sigma * rng.uniform(0.7, 1.5, (len(ANT1), 2))
    noise = each * (rng.normal(size=(nsolve, len(ANT1), 2)) + 1j * rng.normal(size=(nsolve, len(ANT1), 2)))
    vis = gain[:, ANT1] * gain[:, ANT2].conj() + noise
    norm = np.broadcast_to(1 / each**2, vis.shape).copy()
    return gain, vis * norm, norm


def referenced(gain: NDArray) -> NDArray:
    """Phases relative to antenna 0."""
    return gain * np.exp(-1j * np.angle(gain[:, :1]))


@pytest.mark.parametrize("calmode", ["ap", "p", "a"])
@pytest.mark.parametrize("common", [False, True])
def test_pulls_are_standard_normal(calmode: str, common: bool) -> None:
    gain, a, b = simulate(3, common=common, phase_only=calmode == "p", sigma=0.05)
    found = solve_gains(a, b, ANT1, ANT2, NANT, calmode=calmode, common=common)
    assert (found.outcome == Outcome.CONVERGED).all()
    # PARAMERR is that of the complex number: per axis 1/sqrt(2), but all in one axis where the other was taken out
    sigma = found.error / np.sqrt(2) if calmode == "ap" else found.error
    if calmode != "a":
        difference = np.angle(referenced(found.gain)[:, 1:] * referenced(gain)[:, 1:].conj())
        expected = np.hypot(sigma[:, 1:] / np.abs(found.gain[:, 1:]), sigma[:, :1] / np.abs(found.gain[:, :1]))
        pull = difference / expected
        assert abs(pull.mean()) < 0.1
        assert 0.93 < pull.std() < 1.07
    if calmode != "p":
        pull = (np.abs(found.gain) - np.abs(gain)) / sigma
        assert abs(pull.mean()) < 0.1
        assert 0.93 < pull.std() < 1.07


def test_exact_data_give_the_exact_gains() -> None:
    gain, _, b = simulate(1, nsolve=20)
    vis = gain[:, ANT1] * gain[:, ANT2].conj()
    found = solve_gains(vis * b, b, ANT1, ANT2, NANT)
    np.testing.assert_allclose(referenced(found.gain), referenced(gain), atol=1e-7)


def test_the_minimum_cannot_be_improved() -> None:
    _, a, b = simulate(5, nsolve=5, sigma=0.4)
    found = solve_gains(a, b, ANT1, ANT2, NANT)

    def chi2(gain: NDArray) -> NDArray:
        return (b * np.abs(a / b - gain[:, ANT1] * gain[:, ANT2].conj()) ** 2).sum(axis=(1, 2))

    np.testing.assert_allclose(chi2(found.gain), found.chi2, rtol=1e-9)
    rng = np.random.default_rng(0)
    for size in (1e-2, 1e-3):
        step = size * (rng.normal(size=found.gain.shape) + 1j * rng.normal(size=found.gain.shape))
        assert (chi2(found.gain + step) > found.chi2).all()


def test_failures_are_outcomes() -> None:
    _, a, b = simulate(2, nsolve=3)
    touches = (ANT1 == 4) | (ANT2 == 4)
    b[0, touches] = a[0, touches] = 0  # antenna 4 has no data in the first interval
    few = touches & (ANT1 != 0) & (ANT1 != 1)
    b[1, few] = a[1, few] = 0  # and two baselines in the second
    b[2, touches, 1] = a[2, touches, 1] = 0  # and no Y in the third
    found = solve_gains(a, b, ANT1, ANT2, NANT, minblperant=4)
    assert (found.outcome[0, 4] == Outcome.NO_DATA).all()
    assert (found.outcome[1, 4] == Outcome.TOO_FEW_BASELINES).all()
    assert found.outcome[2, 4].tolist() == [Outcome.CONVERGED, Outcome.NO_DATA]
    assert (found.gain[0, 4] == 1).all()
    others = np.delete(found.outcome, 4, axis=1)
    assert (others == Outcome.CONVERGED).all()


def test_minblperant_is_counted_again_after_each_removal() -> None:
    """A chain 0-1-2-3 plus a full square of 4..7: with three baselines wanted the chain falls apart."""
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4)] + [(i, j) for i in range(4, 8) for j in range(i + 1, 8)]
    ant1, ant2 = (np.array(x, np.int64) for x in zip(*pairs, strict=True))
    b = np.ones((1, len(pairs), 2))
    found = solve_gains(b.astype(complex), b, ant1, ant2, 8, minblperant=3)
    assert (found.outcome[0, :4] == Outcome.TOO_FEW_BASELINES).all()
    assert (found.outcome[0, 4:] == Outcome.CONVERGED).all()
