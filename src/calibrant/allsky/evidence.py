"""What speaks for a solution: power on baselines that it did not use, and what a sky that is not there would reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import solver
from calibrant.allsky.problem import ROUNDS, Attempt, best_of_starts
from calibrant.allsky.sky import shuffled
from calibrant.allsky.solver import Field, Solution
from calibrant.allsky.steering import steering, turned

FOLDS = 5
PARTITIONS = 3
NULL_SKIES = 2
FEW_NAMES, NULL_OF_FEW = 8, 6
"""A sky of few sources differs much from shuffle to shuffle; more are tried, and they are quick."""
NULL_STARTS = 8
SHUFFLED = 2
"""Sources, in different directions, that a shuffled sky needs."""


def held_out(attempt: Attempt, partitions: int, seed: int = 7) -> float:
    """Explained power of baselines that were not used: 5-fold, averaged over several ways to divide them."""
    problem, solution = attempt.problem, attempt.refined.solution
    keep = _folds(len(problem.use), partitions, seed)
    here = attempt.fields
    starts = np.repeat(solution.gamma[None], len(keep), axis=0)
    fluxes = [np.repeat(flux[None], len(keep), axis=0) for flux in solution.fluxes]
    gamma, fluxes, _ = solver.alternate([solver.masked(one, keep) for one in here], starts, fluxes, ROUNDS // 3)
    missed = 0.0
    for k, used in enumerate(keep):
        start = replace(solution, gamma=gamma[k], fluxes=tuple(flux[k] for flux in fluxes))
        missed += _missed(attempt, here, start, used)
    return 1.0 - missed / partitions / attempt.measured


def _folds(antennas: int, partitions: int, seed: int) -> NDArray[np.bool_]:
    """(fold, antenna, antenna), False for the fifth of the baselines that is left out; a pair in both orders."""
    i, j = np.triu_indices(antennas, 1)
    keep = np.ones((partitions, FOLDS, antennas, antennas), dtype=bool)
    for partition in range(partitions):
        fold = np.random.default_rng(seed + partition).permutation(len(i)) % FOLDS
        keep[partition, fold, i, j] = keep[partition, fold, j, i] = False
    return keep.reshape(-1, antennas, antennas)


def _missed(attempt: Attempt, here: Sequence[Field], start: Solution, keep: NDArray[np.bool_]) -> float:
    """Unexplained power on the baselines left out, of the solution from the others that is next to `start`."""
    problem = attempt.problem
    fields = problem.fields() if attempt.rotated else here
    masked = [solver.masked(one, keep) for one in fields]
    refined = problem.refine(masked, start, attempt.rotated, iterations=8).solution
    missed = 0.0
    for one, flux, known in zip(fields, refined.fluxes, problem.sources, strict=True):
        u = steering(known, turned(problem.positions, refined.rotation_deg), problem.data.wavelength_m)
        predicted = np.outer(refined.gamma, refined.gamma.conj()) * solver.models(u, flux[None])[0]
        missed += float((one.w * ~keep * np.abs(one.v - predicted) ** 2).sum()) / 2
    return missed


def null_power(attempt: Attempt, seed: int) -> float:
    """Held-out power of skies with every azimuth shuffled; the best of a few. nan where the sky is one source.

    One source fits in any direction, so a shuffled sky says nothing of it.
    """
    if attempt.found < SHUFFLED:
        return float("nan")
    results = []
    names = {source.name for known in attempt.problem.sources for source in known}
    for k in range(NULL_OF_FEW if len(names) <= FEW_NAMES else NULL_SKIES):
        sky = replace(attempt.problem, sources=shuffled(attempt.problem.sources, seed + 100 + k))
        results.append(held_out(best_of_starts(sky, NULL_STARTS, seed), 1))
    return max(results)
