"""From measured visibilities to gains, phases, fluxes and orientation, with what speaks for and against them.

The steps: choose antennas and sources; solve from many random starts; take the best and refine it jointly; fit the
rotation where three or more sources were found, or scan all orientations where asked or where the sky does not fit;
take dead antennas out; then judge by what was not used (`heldout`) and by a sky that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import solver
from calibrant.allsky.sky import chosen_sources, shuffled
from calibrant.allsky.snapshots import CalibrationData, Source
from calibrant.allsky.solver import Field, Refined, Solution
from calibrant.allsky.steering import steering, turned
from calibrant.errors import DataError, ParameterError, SolveError

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

STARTS = 16
ROUNDS = 30
FOLDS = 5
PARTITIONS = 3
NULL_SKIES = 2
AGREE = 1e-3
"""Starts agree where their unexplained power is within this share of the whole."""
FOUND_SIGMA = 5.0
ORIENTABLE = 3
"""Sources needed before a rotation can be told from antenna phases."""
TELLING_DEG = 1.0
"""A rotation with a larger error than this is held."""
DEAD_SHARE, WEAK_SHARE, DEAD_SIGMA = 0.05, 0.35, 5.0
SCAN_STEP_DEG = 3.0
SCAN_BELOW = 0.5
"""Held-out power below which `auto` looks for another orientation."""
NOISE = 0.0015
"""Per component of a visibility of one second, measured on 60 real integrations."""


@dataclass(frozen=True)
class Antenna:
    """One antenna's correction: gain = 1/|gamma|, phase_offset = arg(gamma), radians; errors of one sigma."""

    number: int
    gain: float
    phase: float
    gain_err: float
    phase_err: float
    state: str
    """good, weak, dead (no signal), missing (no visibilities) or ignored."""


@dataclass(frozen=True)
class FoundSource:
    """One source of one snapshot: `flux` in units of the reference antenna's gain; found or silent."""

    snapshot: int
    name: str
    az_deg: float
    el_deg: float
    r_m: float
    flux: float
    flux_err: float
    state: str
    given: bool = False


@dataclass(frozen=True)
class Calibration:
    """The solution and the evidence."""

    data: CalibrationData
    gamma: Complex
    """(antenna), 0 for antennas that are not good or weak."""
    antennas: tuple[Antenna, ...]
    sources: tuple[FoundSource, ...]
    reference: int
    rotation_deg: float
    rotation_err_deg: float
    rotation_state: str
    """fitted, held or scanned, with the reason."""
    mirror: bool
    power: float
    """Explained share of the visibilities' power, in sample."""
    held_out_power: float
    null_power: float
    """Held-out power of skies with shuffled azimuths; nan where one source cannot be told from another."""
    chi2: float
    """Reduced, against `noise`."""
    noise: float
    scatter: float
    """Rms residual per component."""
    agreement: float
    """Share of the random starts that reached this solution."""
    starts: int
    model: tuple[Complex, ...] = field(repr=False, default=())
    """Per snapshot, predicted visibilities in the order of the data."""
    rival_power: float = float("nan")
    """The best explained power of another orientation, where all were scanned."""
    notes: tuple[str, ...] = ()

    @property
    def positions(self) -> Real:
        """Antenna positions in the orientation found."""
        return turned(self.data.positions, self.rotation_deg, self.mirror)

    @property
    def gain(self) -> Real:
        return np.array([antenna.gain for antenna in self.antennas])

    @property
    def phase(self) -> Real:
        return np.array([antenna.phase for antenna in self.antennas])


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


def calibrate(
    data: CalibrationData,
    *,
    sources: Sequence[Source] = (),
    elevation_deg: float = 10.0,
    ignore: Sequence[int] = (),
    reference: int = 0,
    orientation: str = "auto",
    noise: float = np.nan,
    starts: int = STARTS,
    seed: int = 1,
) -> Calibration:
    """Solve and gather the evidence.

    `orientation`: 'hold' the positions as they are; 'fit' a small rotation; 'scan' all rotations, mirrored too;
    'auto' fits where the data can tell, and scans where the sky does not fit at all.
    `noise` per component, for chi2: nan takes the data's own, or that usual for one second.
    Raises ParameterError, DataError or SolveError where there is nothing to solve.
    """
    notes = list(data.notes)
    noise = next(value for value in (noise, data.noise, NOISE) if np.isfinite(value))
    present = _present(data, ignore)
    chosen = chosen_sources(data, sources, elevation_deg)
    problem = Problem(data, chosen, data.positions, present, _reference(reference, present, notes))
    if orientation == "scan":
        problem, mirror, offset, rival = _scanned(problem, seed)
        attempt = _solve(problem, starts, seed, fit_rotation=True)
    else:
        mirror, offset, rival = False, 0.0, np.nan
        attempt = _solve(problem, starts, seed, fit_rotation=orientation != "hold")
        poor = attempt.power < 0.9 and _heldout(attempt, 1) < SCAN_BELOW
        if orientation == "auto" and poor and len({source.name for known in chosen for source in known}) >= ORIENTABLE:
            scanned, mirror_found, offset_found, rival_found = _scanned(problem, seed)
            other = _solve(scanned, starts, seed, fit_rotation=True)
            if other.power > attempt.power and _heldout(other, 1) > _heldout(attempt, 1):
                problem, attempt, mirror, offset, rival = scanned, other, mirror_found, offset_found, rival_found
                notes.append("the sky did not fit the positions as they are; all orientations were tried")
            else:
                notes.append("the sky does not fit the positions in any orientation")
    return _gathered(attempt, mirror, offset, rival, orientation, noise, seed, ignore, notes)


def _present(data: CalibrationData, ignore: Sequence[int]) -> NDArray[np.bool_]:
    n = len(data.positions)
    wrong = [number for number in ignore if not 0 <= number < n]
    if wrong:
        raise ParameterError(f"ignore={list(ignore)}: there is no antenna {wrong[0]}; they are 0 to {n - 1}")
    present = np.zeros(n, dtype=bool)
    for snapshot in data.snapshots:
        present[snapshot.antenna1] = present[snapshot.antenna2] = True
    present[list(ignore)] = False
    if present.sum() < 4:
        raise DataError(f"{data.path}: {present.sum()} antennas have visibilities and are not ignored; 4 are needed")
    return present


def _reference(wanted: int, use: NDArray[np.bool_], notes: list[str]) -> int:
    if not 0 <= wanted < len(use):
        raise ParameterError(f"reference={wanted}: there is no such antenna; they are 0 to {len(use) - 1}")
    if use[wanted]:
        return wanted
    other = int(np.flatnonzero(use)[0])
    notes.append(f"antenna {wanted} has no signal; antenna {other} is the reference in its place")
    return other


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
        return float(sum((np.abs(one.v) ** 2).sum() / 2 for one in self.problem.fields()))

    @property
    def power(self) -> float:
        return 1.0 - self.refined.solution.cost / self.measured

    @property
    def found(self) -> int:
        """Directions (of all snapshots together) with a flux well above its error."""
        return sum(
            int(np.sum(s > FOUND_SIGMA * e))
            for s, e in zip(self.refined.solution.fluxes, _flux_errors(self), strict=True)
        )


def _solve(problem: Problem, starts: int, seed: int, fit_rotation: bool) -> Attempt:
    """Best of many starts, refined; without dead antennas; rotation fitted where the data can tell."""
    attempt = _best(problem, starts, seed)
    dead = _dead(attempt)
    if dead.any() and (problem.use & ~dead).sum() >= 4:
        use = problem.use & ~dead
        reference = problem.reference if use[problem.reference] else int(np.flatnonzero(use)[0])
        attempt = _best(replace(problem, use=use, reference=reference), starts, seed)
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


def _best(problem: Problem, starts: int, seed: int) -> Attempt:
    fields = problem.fields()
    measured = float(sum((np.abs(one.v) ** 2).sum() / 2 for one in fields))
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
    error, _ = _gamma_errors(attempt)
    return np.asarray(use & ((size < DEAD_SHARE * middle) | (size < DEAD_SIGMA * error) & (size < WEAK_SHARE * middle)))


def _unit(attempt: Attempt) -> float:
    """Noise variance per component, from the residuals."""
    return attempt.refined.solution.cost / max(attempt.refined.degrees, 1)


def _gamma_errors(attempt: Attempt) -> tuple[Real, Real]:
    """(error of |gamma|, error of arg gamma) per antenna; 0 for the reference, nan for antennas not used."""
    refined, n = attempt.refined, len(attempt.problem.use)
    free, count = refined.free, len(refined.free)
    covariance = refined.covariance * _unit(attempt)
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


def _flux_errors(attempt: Attempt) -> list[Real]:
    """Per snapshot, one sigma of each flux, gains fixed: what tells a source from silence.

    (All fluxes together also share the uncertainty of the reference antenna's gain.)
    """
    refined, unit = attempt.refined, _unit(attempt)
    result = []
    for one, on in zip(attempt.fields, refined.active, strict=True):
        normal = solver.flux_equations(one, refined.solution.gamma[None])[0][0]
        errors = np.sqrt(unit / np.maximum(np.diag(normal), 1e-300))
        together = np.linalg.pinv(normal[np.ix_(on, on)], hermitian=True)
        errors[on] = np.sqrt(np.maximum(unit * np.diag(together), 0.0))
        result.append(errors)
    return result


def _heldout(attempt: Attempt, partitions: int, seed: int = 7) -> float:
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


def _scanned(problem: Problem, seed: int) -> tuple[Problem, bool, float, float]:
    """The problem at the best of all orientations: (problem, mirrored, degrees, explained power of the runner-up)."""
    angles = np.arange(0.0, 360.0, SCAN_STEP_DEG)
    costs = np.empty((2, len(angles)))
    for m in (0, 1):
        for k, angle in enumerate(angles):
            there = replace(problem, positions=turned(problem.data.positions, float(angle), bool(m)))
            fields = there.fields()
            costs[m, k] = solver.alternate(fields, *solver.random_starts(fields, 6, seed), 15)[2].min()
    measured = float(sum((np.abs(one.v) ** 2).sum() / 2 for one in problem.fields()))
    m, k = divmod(int(np.argmin(costs)), len(angles))
    near = np.abs((angles - angles[k] + 180) % 360 - 180) < 4 * SCAN_STEP_DEG
    others = costs.copy()
    others[m, near] = np.inf
    positions = turned(problem.data.positions, float(angles[k]), bool(m))
    return replace(problem, positions=positions), bool(m), float(angles[k]), 1.0 - float(others.min()) / measured


def _gathered(
    attempt: Attempt,
    mirror: bool,
    offset: float,
    rival: float,
    orientation: str,
    noise: float,
    seed: int,
    ignore: Sequence[int],
    notes: list[str],
) -> Calibration:
    problem, refined = attempt.problem, attempt.refined
    solution = refined.solution
    degrees = max(refined.degrees, 1)
    turn_err = float(np.sqrt(max(_unit(attempt) * refined.covariance[-1, -1], 0.0))) if attempt.rotated else np.nan
    scanned = orientation == "scan" or offset or mirror
    return Calibration(
        data=problem.data,
        gamma=np.where(problem.use, solution.gamma, 0.0),
        antennas=_antennas(attempt, ignore),
        sources=_found(attempt),
        reference=problem.reference,
        rotation_deg=(offset + solution.rotation_deg + 180) % 360 - 180,
        rotation_err_deg=turn_err,
        rotation_state=("scanned, then " if scanned else "") + attempt.why,
        mirror=mirror,
        power=attempt.power,
        held_out_power=_heldout(attempt, PARTITIONS),
        null_power=_null(attempt, seed),
        chi2=solution.cost / degrees / noise**2,
        noise=noise,
        scatter=float(np.sqrt(solution.cost / degrees)),
        agreement=attempt.agreement,
        starts=attempt.starts,
        model=_model(attempt),
        rival_power=rival,
        notes=tuple(notes),
    )


def _null(attempt: Attempt, seed: int) -> float:
    """Held-out power of skies with every azimuth shuffled; the best of a few."""
    if len({source.name for known in attempt.problem.sources for source in known}) < ORIENTABLE:
        return float("nan")
    results = []
    for k in range(NULL_SKIES):
        sky = replace(attempt.problem, sources=shuffled(attempt.problem.sources, seed + 100 + k))
        results.append(_heldout(_best(sky, 8, seed), 1))
    return max(results)


def _antennas(attempt: Attempt, ignore: Sequence[int]) -> tuple[Antenna, ...]:
    problem, gamma = attempt.problem, attempt.refined.solution.gamma
    size_err, phase_err = _gamma_errors(attempt)
    size = np.abs(gamma)
    seen = np.zeros(len(gamma), dtype=bool)
    for snapshot in problem.data.snapshots:
        seen[snapshot.antenna1] = seen[snapshot.antenna2] = True
    middle = np.median(size[problem.use])
    result = []
    for k in range(len(gamma)):
        if problem.use[k]:
            state = "weak" if size[k] < WEAK_SHARE * middle else "good"
            gain = 1.0 / size[k]
            result.append(
                Antenna(k, gain, float(np.angle(gamma[k])), size_err[k] * gain**2, float(phase_err[k]), state)
            )
        else:
            state = "ignored" if k in ignore else "dead" if seen[k] else "missing"
            result.append(Antenna(k, 0.0, 0.0, np.nan, np.nan, state))
    return tuple(result)


def _found(attempt: Attempt) -> tuple[FoundSource, ...]:
    result = []
    errors = _flux_errors(attempt)
    for number, (known, fluxes, error) in enumerate(
        zip(attempt.problem.sources, attempt.refined.solution.fluxes, errors, strict=True), 1
    ):
        for source, flux, sigma in zip(known, fluxes, error, strict=True):
            state = "found" if flux > FOUND_SIGMA * sigma else "silent"
            place = (source.name, source.az_deg, source.el_deg, source.r_m)
            result.append(FoundSource(number, *place, float(flux), float(sigma), state, source.given))
    return tuple(result)


def _model(attempt: Attempt) -> tuple[Complex, ...]:
    gamma = attempt.refined.solution.gamma
    result = []
    for one, fluxes, snapshot in zip(
        attempt.fields, attempt.refined.solution.fluxes, attempt.problem.data.snapshots, strict=True
    ):
        predicted = np.outer(gamma, gamma.conj()) * solver.models(one.u, fluxes[None])[0]
        result.append(predicted[snapshot.antenna1, snapshot.antenna2])
    return tuple(result)
