"""What speaks for a solution: power on baselines that it did not use, and what a sky that is not there would reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import solver
from calibrant.allsky.problem import ORIENTABLE, ROUNDS, Attempt, best_of_starts
from calibrant.allsky.sky import shuffled
from calibrant.allsky.solver import Field, Solution
from calibrant.allsky.steering import steering, turned

FOLDS = 5
PARTITIONS = 3
NULL_SKIES = 2
NULL_STARTS = 8


def held_out(attempt: Attempt, partitions: int, seed: int = 7) -> float:
    """Explained power of baselines that were not used: 5-fold, averaged over several ways to divide them."""
    problem, n = attempt.problem, len(attempt.problem.use)
    i, j = np.triu_indices(n, 1)
    fields, solution = problem.fields(), attempt.refined.solution
    missed = 0.0
    for partition in range(partitions):
        fold = np.random.default_rng(seed + partition).permutation(len(i)) % FOLDS
        for k in range(FOLDS):
            keep = np.ones((n, n), dtype=bool)
            keep[i[fold == k], j[fold == k]] = keep[j[fold == k], i[fold == k]] = False
            missed += _missed(attempt, fields, solution, keep)
    return 1.0 - missed / partitions / attempt.measured


def _missed(attempt: Attempt, fields: Sequence[Field], solution: Solution, keep: NDArray[np.bool_]) -> float:
    """Unexplained power on the baselines left out, of a solution found from the others."""
    problem = attempt.problem
    masked = [solver.masked(one, keep) for one in fields]
    there = [solver.masked(one, keep) for one in problem.fields(solution.rotation_deg)]
    gamma, fluxes, _ = solver.alternate(
        there, solution.gamma[None], [flux[None] for flux in solution.fluxes], ROUNDS // 3
    )
    start = replace(solution, gamma=gamma[0], fluxes=tuple(flux[0] for flux in fluxes))
    refined = problem.refine(masked if attempt.rotated else there, start, attempt.rotated, iterations=8).solution
    missed = 0.0
    for one, flux, known in zip(fields, refined.fluxes, problem.sources, strict=True):
        u = steering(known, turned(problem.positions, refined.rotation_deg), problem.data.wavelength_m)
        predicted = np.outer(refined.gamma, refined.gamma.conj()) * solver.models(u, flux[None])[0]
        missed += float((one.w * ~keep * np.abs(one.v - predicted) ** 2).sum()) / 2
    return missed


def null_power(attempt: Attempt, seed: int) -> float:
    """Held-out power of skies with every azimuth shuffled; the best of a few."""
    if len({source.name for known in attempt.problem.sources for source in known}) < ORIENTABLE:
        return float("nan")
    results = []
    for k in range(NULL_SKIES):
        sky = replace(attempt.problem, sources=shuffled(attempt.problem.sources, seed + 100 + k))
        results.append(held_out(best_of_starts(sky, 8, seed), 1))
    return max(results)
