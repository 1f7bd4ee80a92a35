"""The orientation of an array, from nothing: every rotation, mirrored and not, each from a few random starts.

All orientations are solved side by side, a few rounds first; the more promising ones go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky import solver
from calibrant.allsky.problem import Problem
from calibrant.allsky.solver import Field
from calibrant.allsky.steering import turned

Real = NDArray[np.float64]

OF_BEAM = 0.8
"""Step of the scan as a share of lambda / (longest baseline)."""
LARGEST_STEP_DEG = 4.0
FIRST_STARTS, FIRST_ROUNDS = 4, 6
THEN_SHARE, THEN_STARTS, THEN_ROUNDS = 0.15, 8, 15
BATCH = 4e6
"""Complex numbers that the solver may hold at a time."""


@dataclass(frozen=True)
class Orientation:
    """The best orientation: mirrored first, then turned; `rival` is the explained power of the next best, elsewhere."""

    problem: Problem
    mirror: bool
    degrees: float
    rival: float


def scan_orientations(problem: Problem, seed: int) -> Orientation:
    """Try all orientations of `problem` and turn it into the best."""
    step = min(OF_BEAM * np.degrees(problem.data.wavelength_m / problem.data.size_m), LARGEST_STEP_DEG)
    number = int(np.ceil(360 / step))
    angles = np.tile(np.arange(number) * 360 / number, 2)
    mirrors = np.repeat([False, True], number)
    power = _tried(problem, angles, mirrors, FIRST_STARTS, FIRST_ROUNDS, seed)
    first = np.argsort(-power)[: max(10, int(THEN_SHARE * len(power)))]
    then = _tried(problem, angles[first], mirrors[first], THEN_STARTS, THEN_ROUNDS, seed + 1)
    best = int(first[np.argmax(then)])
    apart = np.abs((angles[first] - angles[best] + 180) % 360 - 180)
    others = (mirrors[first] != mirrors[best]) | (apart > 3.5 * 360 / number)
    rival = float(then[others].max()) if others.any() else float("nan")
    positions = turned(problem.data.positions, float(angles[best]), bool(mirrors[best]))
    return Orientation(replace(problem, positions=positions), bool(mirrors[best]), float(angles[best]), rival)


def _tried(problem: Problem, angles: Real, mirrors: NDArray[np.bool_], starts: int, rounds: int, seed: int) -> Real:
    """Explained power (orientation) of the best of a few starts."""
    cost = np.empty(len(angles))
    for part in _parts(problem, len(angles), starts):
        fields = _side_by_side(problem, angles[part], mirrors[part], starts)
        gamma, fluxes = solver.random_starts(fields, starts * len(angles[part]), seed)
        few_bits: Any = np.complex64, np.float32
        strengths = [flux.astype(few_bits[1]) for flux in fluxes]
        found = solver.alternate(fields, gamma.astype(few_bits[0]), strengths, rounds)[2]
        cost[part] = found.reshape(-1, starts).min(axis=1)
    return 1.0 - cost / problem.measured


def _parts(problem: Problem, number: int, starts: int) -> Iterator[slice]:
    n, s = len(problem.use), max(map(len, problem.sources))
    size = max(1, int(BATCH / starts / (2 * n * n + 3 * n * s + 2 * s * s)))
    return (slice(k, min(k + size, number)) for k in range(0, number, size))


def _side_by_side(problem: Problem, angles: Real, mirrors: NDArray[np.bool_], starts: int) -> list[Field]:
    """Fields whose u is (orientation and start, source, antenna), in single precision: the scan only compares."""
    there = [
        replace(problem, positions=turned(problem.data.positions, float(angle), bool(mirror))).fields()
        for angle, mirror in zip(angles, mirrors, strict=True)
    ]
    return [
        Field(
            one.v.astype(np.complex64),
            one.w.astype(np.float32),
            np.repeat(np.stack([fields[k].u for fields in there]).astype(np.complex64), starts, axis=0),
        )
        for k, one in enumerate(there[0])
    ]
