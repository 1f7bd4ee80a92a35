"""The numerical core: fluxes, gains, errors, masks, and batches against one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skies

from calibrant.allsky import solver
from calibrant.allsky.simulate import Truth
from calibrant.allsky.solver import Field, Solution
from calibrant.allsky.steering import steering


def exact(seed: int = 3, antennas: int = 10, satellites: int = 6) -> tuple[Truth, Field]:
    """A field without noise."""
    truth, data = skies.simulated(antennas=antennas, satellites=satellites, noise=0.0, silent=0.0, seed=seed)
    sources = truth.sources[0]
    use = np.ones(antennas, dtype=bool)
    return truth, solver.make_field(data.snapshots[0], sources, data.positions, data.wavelength_m, use)


def gamma_of(truth: Truth) -> np.ndarray:
    return np.exp(1j * truth.phase) / truth.gain


def test_fluxes_of_known_gains() -> None:
    truth, field = exact()
    found = solver.solve_fluxes(field, gamma_of(truth)[None], np.zeros((1, 6)), sweeps=400)[0]
    np.testing.assert_allclose(found, truth.fluxes[0], atol=1e-6)


def test_fluxes_are_never_negative() -> None:
    truth, field = exact()
    flipped = replace(field, v=-field.v)
    assert np.all(solver.solve_fluxes(flipped, gamma_of(truth)[None], np.zeros((1, 6)), sweeps=50) >= 0)


def keeping(field: Field, seed: int) -> np.ndarray:
    """A mask that leaves some baselines out."""
    left = np.triu(np.random.default_rng(seed).uniform(size=field.w.shape) < 0.3, 1)
    return np.asarray(~(left | left.T))


def test_flux_equations_are_sums_over_baselines() -> None:
    truth, field = exact()
    field = solver.masked(field, keeping(field, 1))
    gamma = gamma_of(truth)
    normal, right = solver.flux_equations(field, gamma[None])
    i, j = np.nonzero(np.triu(field.w, 1))
    rows = (gamma[i] * gamma[j].conj() * field.u[:, i] * field.u[:, j].conj()).T
    np.testing.assert_allclose(normal[0], (rows.conj().T @ rows).real, atol=1e-9)
    np.testing.assert_allclose(right[0], (rows.conj().T @ field.v[i, j]).real, atol=1e-9)


def test_masks_side_by_side_are_as_one_by_one() -> None:
    _, field = exact()
    keep = np.array([keeping(field, seed) for seed in (1, 2, 3)])
    start = solver.random_starts([field], 3, 1)
    together = solver.alternate([solver.masked(field, keep)], *start, 12)
    for k in range(3):
        one = solver.alternate([solver.masked(field, keep[k])], start[0][k : k + 1], [start[1][0][k : k + 1]], 12)
        np.testing.assert_allclose(together[0][k], one[0][0], atol=1e-10)
        assert together[2][k] == pytest.approx(one[2][0], rel=1e-9)


def test_skies_side_by_side_are_as_one_by_one() -> None:
    truth, field = exact()
    positions = truth.positions + np.random.default_rng(0).normal(size=truth.positions.shape) * 0.1
    other = replace(field, u=steering(truth.sources[0], positions, 0.19))
    both = replace(field, u=np.stack([field.u, other.u]))
    start = solver.random_starts([both], 2, 1)
    together = solver.alternate([both], *start, 12)
    for k, one in enumerate((field, other)):
        alone = solver.alternate([one], start[0][k : k + 1], [start[1][0][k : k + 1]], 12)
        np.testing.assert_allclose(together[0][k], alone[0][0], atol=1e-10)


def test_alternation_and_refinement_find_the_truth() -> None:
    truth, field = exact()
    gamma, fluxes, cost = solver.alternate([field], *solver.random_starts([field], 16, 1), 60)
    best = int(np.argmin(cost))
    start = Solution(gamma[best], (fluxes[0][best],), float(cost[best]))
    found = solver.refine([field], start, 0).solution
    np.testing.assert_allclose(found.gamma / gamma_of(truth) * gamma_of(truth)[0], 1.0, atol=1e-6)
    np.testing.assert_allclose(found.fluxes[0], truth.fluxes[0], atol=1e-6)


def test_the_covariance_is_the_inverse_of_the_curvature() -> None:
    """A small shift of a gain raises the cost by shift^2 x the inverse of its conditional variance."""
    truth, field = exact()
    refined = solver.refine([field], Solution(gamma_of(truth), (truth.fluxes[0],), np.inf), 0)
    normal = np.linalg.inv(refined.covariance)
    step = 1e-4
    shifted = refined.solution.gamma.copy()
    shifted[refined.free[2]] += step
    predicted = shifted[:, None] * shifted.conj() * solver.models(field.u, refined.solution.fluxes[0][None])[0]
    cost = (field.w * np.abs(field.v - predicted) ** 2).sum() / 2
    assert cost == pytest.approx(normal[2, 2] * step**2, rel=1e-3)


def test_the_reference_has_gain_one() -> None:
    truth, field = exact()
    refined = solver.refine([field], Solution(gamma_of(truth), (truth.fluxes[0],), np.inf), 4)
    assert refined.solution.gamma[4] == pytest.approx(1.0)
    assert 4 not in refined.free and len(refined.free) == 9
    assert refined.degrees == 2 * 45 - 18 - 6


def test_antennas_left_out_have_no_weight() -> None:
    truth, data = skies.simulated(antennas=6, satellites=4)
    use = np.array([True] * 5 + [False])
    field = solver.make_field(data.snapshots[0], truth.sources[0], data.positions, data.wavelength_m, use)
    assert field.w[5].sum() == 0 and np.all(field.v[5] == 0) and field.w.sum() == 20
    np.testing.assert_array_equal(field.v, field.v.conj().T)
