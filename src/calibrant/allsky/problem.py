"""Data, sky and orientation as the solver needs them; solved from many starts, with errors and dead antennas.

`solve(Problem(...), starts, seed, fit_rotation)` is an `Attempt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import solver
from calibrant.allsky.snapshots import CalibrationData, Source
from calibrant.allsky.solver import Field, Refined, Solution
from calibrant.allsky.steering import turned
from calibrant.errors import SolveError

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

ROUNDS = 30
AGREE = 1e-3
"""Starts agree where their unexplained power is within this share of the whole."""
FOUND_SIGMA = 5.0
ORIENTABLE = 3
"""Sources needed before a rotation can be told from antenna phases."""
TELLING_DEG = 1.0
"""A rotation with a larger error than this is held."""
DEAD_SHARE, WEAK_SHARE, DEAD_SIGMA = 0.05, 0.35, 5.0
LEFT_OUT = 3
"""Rounds of leaving dead antennas out: one whose signal is noise can hide another."""
SMALLEST = 4
"""Antennas that an amplitude needs."""


@dataclass(frozen=True)
class Problem:
    """Data and sky at one orientation, as the solver needs them."""

    data: CalibrationData
    sources: tuple[tuple[Source, ...], ...]
    positions: Real
    use: NDArray[np.bool_]
    reference: int

    def fields(self, rotation_deg: float = 0.0) -> list[Field]:
        there = turned(self.positions, rotation_deg) if rotation_deg else self.positions
        lam = self.data.wavelength_m
        return [
            solver.make_field(snapshot, known, there, lam, self.use)
            for snapshot, known in zip(self.data.snapshots, self.sources, strict=True)
        ]

    @property
    def measured(self) -> float:
        """Power of the visibilities used."""
        return float(sum((np.abs(one.v) ** 2).sum() / 2 for one in self.fields()))

    def refine(self, fields: Sequence[Field], start: Solution, fit_rotation: bool, iterations: int = 30) -> Refined:
        return solver.refine(
            fields,
            start,
            self.reference,
            sources=self.sources,
            positions=self.positions,
            wavelength_m=self.data.wavelength_m,
            fit_rotation=fit_rotation,
            iterations=iterations,
        )


@dataclass(frozen=True)
class Attempt:
    """A problem solved: the refined solution and how many starts came to it."""

    problem: Problem
    refined: Refined
    agreement: float
    starts: int
    rotated: bool
    why: str

    @property
    def fields(self) -> list[Field]:
        return self.problem.fields(self.refined.solution.rotation_deg)

    @property
    def measured(self) -> float:
        """Power of the visibilities used."""
        return self.problem.measured

    @property
    def power(self) -> float:
        return 1.0 - self.refined.solution.cost / self.measured

    @property
    def found(self) -> int:
        """Different directions (a degree apart, of all snapshots together) with a flux well above its error."""
        places = set()
        for known, flux, error in zip(
            self.problem.sources, self.refined.solution.fluxes, detection_errors(self), strict=True
        ):
            loud = flux > FOUND_SIGMA * error
            places |= {(round(s.az_deg), round(s.el_deg)) for s, on in zip(known, loud, strict=True) if on}
        return len(places)


def solve(problem: Problem, starts: int, seed: int, fit_rotation: bool) -> Attempt:
    """Best of many starts, refined; without dead antennas; rotation fitted where the data can tell."""
    attempt = best_of_starts(problem, starts, seed)
    for _ in range(LEFT_OUT):
        use = attempt.problem.use & ~_dead(attempt)
        if use.sum() == attempt.problem.use.sum() or use.sum() < SMALLEST:
            break
        reference = problem.reference if use[problem.reference] else int(np.flatnonzero(use)[0])
        attempt = best_of_starts(replace(problem, use=use, reference=reference), starts, seed)
    if not fit_rotation:
        return replace(attempt, why="held as asked")
    if attempt.found < ORIENTABLE:
        words = f"held: {attempt.found} source(s) found, {ORIENTABLE} are needed to tell a rotation from phases"
        return replace(attempt, why=words)
    solution = attempt.refined.solution
    turned_ = attempt.problem.refine(attempt.problem.fields(), solution, fit_rotation=True)
    error = np.sqrt(turned_.solution.cost / max(turned_.degrees, 1) * turned_.covariance[-1, -1])
    if error > TELLING_DEG:
        return replace(attempt, why=f"held: the data give it to {error:.1f} deg only")
    return replace(attempt, refined=turned_, rotated=True, why="fitted")


def best_of_starts(problem: Problem, starts: int, seed: int) -> Attempt:
    """The cheapest of so many random starts (and one from the given sources alone), refined at a fixed rotation."""
    fields = problem.fields()
    measured = problem.measured
    if measured == 0:
        raise SolveError(f"{problem.data.path}: every visibility is zero; is the correlator running?")
    gamma, fluxes = solver.random_starts(fields, starts, seed)
    if any(source.given for known in problem.sources for source in known):
        gamma, fluxes = _with_given_start(problem, fields, gamma, fluxes, seed)
    gamma, fluxes, cost = solver.alternate(fields, gamma, fluxes, ROUNDS)
    best = int(np.argmin(cost))
    if len(cost) > starts and cost[-1] - cost[best] < AGREE * measured:
        # One source fits in any direction: among equals, that which was given counts.
        best = len(cost) - 1
    if not np.isfinite(cost[best]):
        raise SolveError(f"{problem.data.path}: no start came to a solution")
    start = Solution(gamma[best], tuple(flux[best] for flux in fluxes), float(cost[best]))
    refined = problem.refine(fields, start, fit_rotation=False)
    agreement = float(np.mean(cost[:starts] - cost[best] < AGREE * measured))
    return Attempt(problem, refined, agreement, starts, rotated=False, why="")


def _with_given_start(
    problem: Problem, fields: Sequence[Field], gamma: Complex, fluxes: Sequence[Real], seed: int
) -> tuple[Complex, list[Real]]:
    """The starts and, as the last one, the solution for the given sources alone."""
    given = [np.array([source.given for source in known]) for known in problem.sources]
    alone = [replace(one, u=one.u[mask]) for one, mask in zip(fields, given, strict=True)]
    found, strengths, cost = solver.alternate(alone, *solver.random_starts(alone, 4, seed), ROUNDS)
    best = int(np.argmin(cost))
    start = []
    for mask, strength, flux in zip(given, strengths, fluxes, strict=True):
        row = np.zeros((1, len(mask)))
        row[0, mask] = strength[best]
        start.append(np.concatenate([flux, row]))
    return np.concatenate([gamma, found[best : best + 1]]), start


def _dead(attempt: Attempt) -> NDArray[np.bool_]:
    """Antennas used whose gain is a small share of the others', or does not stand out of its error."""
    size = np.abs(attempt.refined.solution.gamma)
    use = attempt.problem.use
    middle = float(np.median(size[use]))
    error, _ = gamma_errors(attempt)
    return np.asarray(use & ((size < DEAD_SHARE * middle) | (size < DEAD_SIGMA * error) & (size < WEAK_SHARE * middle)))


def residual_variance(attempt: Attempt) -> float:
    """Noise variance per component, from the residuals."""
    return attempt.refined.solution.cost / max(attempt.refined.degrees, 1)


def gamma_errors(attempt: Attempt) -> tuple[Real, Real]:
    """(error of |gamma|, error of arg gamma) per antenna; 0 for the reference, nan for antennas not used."""
    refined, n = attempt.refined, len(attempt.problem.use)
    free, count = refined.free, len(refined.free)
    covariance = refined.covariance * residual_variance(attempt)
    k = np.arange(count)
    re, im, cross = covariance[k, k], covariance[count + k, count + k], covariance[k, count + k]
    gamma = refined.solution.gamma[free]
    c, s = np.cos(np.angle(gamma)), np.sin(np.angle(gamma))
    size, phase = np.full(n, np.nan), np.full(n, np.nan)
    size[attempt.problem.reference] = phase[attempt.problem.reference] = 0.0
    size[free] = np.sqrt(np.maximum(c**2 * re + s**2 * im + 2 * c * s * cross, 0.0))
    across = np.sqrt(np.maximum(s**2 * re + c**2 * im - 2 * c * s * cross, 0.0))
    phase[free] = across / np.maximum(np.abs(gamma), 1e-300)
    return size, phase


def flux_errors(attempt: Attempt) -> list[Real]:
    """Per snapshot, one sigma of each flux in the gauge of the reference antenna, whose noise they all share.

    For a source that the solution has at zero, that of a flux that were fitted alone.
    """
    refined, result = attempt.refined, detection_errors(attempt)
    variance = np.maximum(np.diag(refined.covariance) * residual_variance(attempt), 0.0)
    offset = 2 * len(refined.free)
    for errors, on in zip(result, refined.active, strict=True):
        errors[on] = np.sqrt(variance[offset : offset + len(on)])
        offset += len(on)
    return result


def detection_errors(attempt: Attempt) -> list[Real]:
    """Per snapshot, one sigma of each flux for fixed gains: what tells a source from silence."""
    refined, unit = attempt.refined, residual_variance(attempt)
    result = []
    for one, on in zip(attempt.fields, refined.active, strict=True):
        normal = solver.flux_equations(one, refined.solution.gamma[None])[0][0]
        errors = np.sqrt(unit / np.maximum(np.diag(normal), 1e-300))
        together = np.linalg.pinv(normal[np.ix_(on, on)], hermitian=True)
        errors[on] = np.sqrt(np.maximum(unit * np.diag(together), 0.0))
        result.append(errors)
    return result
