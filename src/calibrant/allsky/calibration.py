"""From measured visibilities to gains, phases, fluxes and orientation, with what speaks for and against them.

The steps: choose antennas and sources; solve from many random starts, take the best and refine it jointly, leave dead
antennas out and fit the rotation where three or more sources were found (`problem`); scan all orientations where asked
or where the sky does not fit (`scan`); judge by what was not used and by a sky that is not there (`evidence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import solver
from calibrant.allsky.evidence import PARTITIONS, held_out, null_power
from calibrant.allsky.problem import (
    FOUND_SIGMA,
    ORIENTABLE,
    SMALLEST,
    WEAK_SHARE,
    Attempt,
    Problem,
    detection_errors,
    flux_errors,
    gamma_errors,
    residual_variance,
    solve,
)
from calibrant.allsky.scan import scan_orientations
from calibrant.allsky.sky import chosen_sources
from calibrant.allsky.snapshots import CalibrationData, Source
from calibrant.allsky.steering import turned
from calibrant.allsky.threads import one_thread
from calibrant.errors import DataError, ParameterError

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

STARTS = 16
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
    degrees: int = 0
    """Real data less unknowns."""
    unknowns: int = 0

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
    with one_thread():
        oriented = _oriented(problem, orientation, starts, seed, notes)
        _say_reference(problem.reference, oriented.attempt.problem.reference, notes)
        return _gathered(oriented, noise, seed, ignore, notes)


@dataclass(frozen=True)
class _Oriented:
    """A solution and the orientation at which the positions were taken for it."""

    attempt: Attempt
    scanned: bool = False
    mirror: bool = False
    degrees: float = 0.0
    rival: float = float("nan")


def _oriented(problem: Problem, orientation: str, starts: int, seed: int, notes: list[str]) -> _Oriented:
    """The problem solved in the positions' own orientation, or in the best of all."""
    if orientation == "scan":
        return _scanned(problem, starts, seed)
    attempt = solve(problem, starts, seed, fit_rotation=orientation != "hold")
    names = {source.name for known in problem.sources for source in known}
    poor = attempt.power < 0.9 and held_out(attempt, 1) < SCAN_BELOW
    if orientation != "auto" or not poor or len(names) < ORIENTABLE:
        return _Oriented(attempt)
    other = _scanned(problem, starts, seed)
    if other.attempt.power > attempt.power and held_out(other.attempt, 1) > held_out(attempt, 1):
        notes.append("The sky did not fit the positions as they are; all orientations were tried.")
        return other
    notes.append("The sky does not fit the positions in any orientation.")
    return _Oriented(attempt)


def _scanned(problem: Problem, starts: int, seed: int) -> _Oriented:
    best = scan_orientations(problem, seed)
    return _Oriented(solve(best.problem, starts, seed, fit_rotation=True), True, best.mirror, best.degrees, best.rival)


def _present(data: CalibrationData, ignore: Sequence[int]) -> NDArray[np.bool_]:
    n = len(data.positions)
    wrong = [number for number in ignore if not 0 <= number < n]
    if wrong:
        raise ParameterError(f"ignore={list(ignore)}: there is no antenna {wrong[0]}; they are 0 to {n - 1}")
    present = np.zeros(n, dtype=bool)
    for snapshot in data.snapshots:
        present[snapshot.antenna1] = present[snapshot.antenna2] = True
    present[list(ignore)] = False
    if present.sum() < SMALLEST:
        raise DataError(
            f"{data.path}: {present.sum()} antennas have visibilities and are not ignored; {SMALLEST} are needed"
        )
    return present


def _reference(wanted: int, use: NDArray[np.bool_], notes: list[str]) -> int:
    if not 0 <= wanted < len(use):
        raise ParameterError(f"reference={wanted}: there is no such antenna; they are 0 to {len(use) - 1}")
    if use[wanted]:
        return wanted
    other = int(np.flatnonzero(use)[0])
    _say_reference(wanted, other, notes)
    return other


def _say_reference(wanted: int, taken: int, notes: list[str]) -> None:
    if taken != wanted:
        notes.append(f"Antenna {wanted} has no signal; antenna {taken} is the reference in its place.")


def _gathered(oriented: _Oriented, noise: float, seed: int, ignore: Sequence[int], notes: list[str]) -> Calibration:
    attempt = oriented.attempt
    problem, refined = attempt.problem, attempt.refined
    solution, variance = refined.solution, residual_variance(attempt)
    turn_err = float(np.sqrt(max(variance * refined.covariance[-1, -1], 0.0))) if attempt.rotated else np.nan
    return Calibration(
        data=problem.data,
        gamma=np.where(problem.use, solution.gamma, 0.0),
        antennas=_antennas(attempt, ignore),
        sources=_found(attempt),
        reference=problem.reference,
        rotation_deg=(oriented.degrees + solution.rotation_deg + 180) % 360 - 180,
        rotation_err_deg=turn_err,
        rotation_state=("scanned, then " if oriented.scanned else "") + attempt.why,
        mirror=oriented.mirror,
        power=attempt.power,
        held_out_power=held_out(attempt, PARTITIONS),
        null_power=null_power(attempt, seed),
        chi2=variance / noise**2,
        noise=noise,
        scatter=float(np.sqrt(variance)),
        agreement=attempt.agreement,
        starts=attempt.starts,
        model=_model(attempt),
        rival_power=oriented.rival,
        notes=tuple(notes),
        degrees=refined.degrees,
        unknowns=len(refined.covariance),
    )


def _antennas(attempt: Attempt, ignore: Sequence[int]) -> tuple[Antenna, ...]:
    problem, gamma = attempt.problem, attempt.refined.solution.gamma
    size_err, phase_err = gamma_errors(attempt)
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
                Antenna(k, gain, float(np.angle(gamma[k])) + 0.0, size_err[k] * gain**2, float(phase_err[k]), state)
            )
        else:
            state = "ignored" if k in ignore else "dead" if seen[k] else "missing"
            result.append(Antenna(k, 0.0, 0.0, np.nan, np.nan, state))
    return tuple(result)


def _found(attempt: Attempt) -> tuple[FoundSource, ...]:
    result = []
    fluxes, known = attempt.refined.solution.fluxes, attempt.problem.sources
    for number, (sky, flux, full, fixed) in enumerate(
        zip(known, fluxes, flux_errors(attempt), detection_errors(attempt), strict=True), 1
    ):
        for k, source in enumerate(sky):
            state = "found" if flux[k] > FOUND_SIGMA * fixed[k] else "silent"
            place = (source.name, source.az_deg, source.el_deg, source.r_m)
            result.append(FoundSource(number, *place, float(flux[k]), float(full[k]), state, source.given))
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
