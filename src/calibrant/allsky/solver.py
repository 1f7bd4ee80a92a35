"""Antenna gains and source fluxes together, from visibilities of a sky of known directions and unknown brightness.

Minimises   sum_t sum_{i<j} w_tij | V_tij - gamma_i conj(gamma_j) M_tij |^2,   M_tij = sum_s S_ts u_tsi conj(u_tsj)

over gamma (complex, one an antenna, constant over the snapshots) and S >= 0 (one a source and snapshot):
`alternate` goes between the fluxes (non-negative least squares) and the gains (StefCal, Salvini & Wijnholds 2014),
for many random starts at once; `refine` is a joint Gauss-Newton of all parameters, which also gives their errors.
The gauge: the reference antenna has gamma = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.snapshots import Snapshot, Source
from calibrant.allsky.steering import steering, turned

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
GAIN_STEPS = 3
"""StefCal steps between two solutions for the fluxes."""
TINY = 1e-30
"""Keeps quotients finite, in single precision too."""
SWEEPS = 2
"""Rounds of coordinate descent for the fluxes, which start from the last ones."""


@dataclass(frozen=True)
class Field:
    """One snapshot as the solver sees it: full matrices over antennas."""

    v: Complex
    """(antenna, antenna), Hermitian, zero where there is no datum; or (start, antenna, antenna), as w."""
    w: Real
    """(antenna, antenna), 1 where there is a datum to be used, symmetric, zero diagonal."""
    u: Complex
    """(source, antenna), or (start, source, antenna) where every start has an orientation of its own"""


@dataclass(frozen=True)
class Solution:
    """Gains and fluxes; `cost` is the weighted sum of squares over baselines."""

    gamma: Complex
    fluxes: tuple[Real, ...]
    cost: float
    rotation_deg: float = 0.0


@dataclass(frozen=True)
class Refined:
    """A solution with its errors: per component of gamma, in the gauge of the reference antenna."""

    solution: Solution
    covariance: Real
    """Of (Re gamma, Im gamma, active fluxes, rotation) without the fixed ones, for unit noise per component."""
    free: NDArray[np.int64]
    """Antennas whose gamma is free, in the order of the covariance (all Re, then all Im)."""
    active: tuple[NDArray[np.int64], ...]
    """Per snapshot, the sources with a flux above zero."""
    degrees: int
    """Real data less real parameters."""


def make_field(
    snapshot: Snapshot, sources: Sequence[Source], positions: Real, wavelength_m: float, use: NDArray[np.bool_]
) -> Field:
    """Matrices of a snapshot; `use` (antenna) is False for antennas to be left out."""
    n = len(positions)
    v, w = np.zeros((n, n), dtype=np.complex128), np.zeros((n, n))
    i, j = snapshot.antenna1, snapshot.antenna2
    v[i, j], v[j, i] = snapshot.visibility, snapshot.visibility.conj()
    w[i, j] = w[j, i] = 1.0
    w *= np.outer(use, use)
    return Field(v * w, w, steering(sources, positions, wavelength_m))


def masked(field: Field, keep: NDArray[np.bool_]) -> Field:
    """The field without the baselines where the symmetric matrix `keep` (or one for every start) is False."""
    return replace(field, v=field.v * keep, w=field.w * keep)


def random_starts(fields: Sequence[Field], number: int, seed: int) -> tuple[Complex, list[Real]]:
    """Gains (start, antenna) of amplitude one and any phase, and any fluxes (start, source) of each field."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * np.pi, (number, fields[0].v.shape[-1]))
    return np.exp(1j * phases), [rng.exponential(1.0, (number, field.u.shape[-2])) for field in fields]


def models(u: Complex, fluxes: Real) -> Complex:
    """M (start, antenna, antenna) from fluxes (start, source)."""
    return np.asarray((np.swapaxes(u, -1, -2) * fluxes[:, None, :]) @ u.conj())


def alternate(
    fields: Sequence[Field], gamma: Complex, fluxes: Sequence[Real], iterations: int
) -> tuple[Complex, list[Real], Real]:
    """Gains (start, antenna), fluxes per field (start, source) and costs (start) after so many rounds."""
    s = list(fluxes)
    for _ in range(iterations):
        gamma = _gain_steps(fields, gamma, s)
        s = [solve_fluxes(field, gamma, flux) for field, flux in zip(fields, s, strict=True)]
    s = [solve_fluxes(field, gamma, flux, sweeps=10) for field, flux in zip(fields, s, strict=True)]
    cost = sum((_cost(field, gamma, flux) for field, flux in zip(fields, s, strict=True)), np.zeros(len(gamma)))
    return gamma, s, cost


def _cost(field: Field, gamma: Complex, fluxes: Real) -> Real:
    predicted = gamma[:, :, None] * gamma[:, None, :].conj() * models(field.u, fluxes)
    return np.asarray((field.w * np.abs(field.v - predicted) ** 2).sum(axis=(1, 2)) / 2)


def _gain_steps(fields: Sequence[Field], gamma: Complex, fluxes: Sequence[Real]) -> Complex:
    """StefCal, the model fixed: gamma_i = sum_j a_ij gamma_j / sum_j c_ij |gamma_j|^2; every other step averaged."""
    a, c = np.zeros((len(gamma), *fields[0].v.shape[-2:]), dtype=gamma.dtype), 0.0
    for field, s in zip(fields, fluxes, strict=True):
        m = models(field.u, s)
        a = a + field.v * m.conj()
        c = c + field.w * np.abs(m) ** 2
    for step in range(GAIN_STEPS):
        weight = np.einsum("bij,bj->bi", c, np.abs(gamma) ** 2)
        new = np.einsum("bij,bj->bi", a, gamma) / np.maximum(weight, TINY)
        new = np.where(weight > 0, new, gamma * (np.abs(c).sum(axis=2) > 0))
        gamma = (new + gamma) / 2 if step % 2 == 0 else new
    # Fluxes take the scale: gains of mean square one keep both well conditioned.
    return np.asarray(gamma / np.sqrt(np.maximum(np.mean(np.abs(gamma) ** 2, axis=1, keepdims=True), TINY)))


def flux_equations(field: Field, gamma: Complex) -> tuple[Real, Real]:
    """Normal equations (start, source, source) and (start, source) of the fluxes for fixed gains."""
    x = gamma[:, None, :] * field.u
    together = x @ x.conj().transpose(0, 2, 1)
    normal = np.abs(together) ** 2
    # All pairs of antennas are in |sum_i|^2; the diagonal and the baselines without data are taken out again.
    size = np.abs(x) ** 2
    normal -= size @ size.transpose(0, 2, 1)
    i, j, is_absent = _absent(field.w)
    if i.size:
        pairs = np.take_along_axis(x, i, axis=2) * np.take_along_axis(x, j, axis=2).conj() * is_absent
        normal -= 2 * (pairs @ pairs.conj().transpose(0, 2, 1)).real
    right = np.einsum("bsi,bsi->bs", x.conj(), (field.v @ x.transpose(0, 2, 1)).transpose(0, 2, 1)).real
    return normal / 2, right / 2


def _absent(w: Real) -> tuple[NDArray[np.int64], NDArray[np.int64], Real]:
    """Baselines i < j without data, each (start or 1, 1, baseline), and 1, or 0 for those that only fill a row up."""
    some = w if w.ndim == 3 else w[None]
    n = some.shape[-1]
    upper = np.triu_indices(n, 1)
    none = some[:, upper[0], upper[1]] == 0
    order = np.argsort(~none, axis=1, kind="stable")[:, : int(none.sum(axis=1).max(initial=0))]
    there = np.take_along_axis(none, order, axis=1).astype(w.dtype)
    return upper[0][order][:, None, :], upper[1][order][:, None, :], there[:, None, :]


def solve_fluxes(field: Field, gamma: Complex, start: Real, sweeps: int = SWEEPS) -> Real:
    """S >= 0 by coordinate descent from `start` (start, source)."""
    normal, right = flux_equations(field, gamma)
    s = start.copy()
    diagonal = np.maximum(np.einsum("bss->bs", normal), TINY)
    gradient = right - np.einsum("bst,bt->bs", normal, s)
    for _ in range(sweeps):
        for k in range(s.shape[1]):
            step = np.maximum(s[:, k] + gradient[:, k] / diagonal[:, k], 0.0) - s[:, k]
            s[:, k] += step
            gradient -= normal[:, k] * step[:, None]
    return s


def refine(
    fields: Sequence[Field],
    start: Solution,
    reference: int,
    *,
    sources: Sequence[Sequence[Source]] = (),
    positions: Real | None = None,
    wavelength_m: float = 1.0,
    fit_rotation: bool = False,
    iterations: int = 30,
) -> Refined:
    """Joint Gauss-Newton (damped) of gains, fluxes and, where asked, the rotation of the array.

    The rotation turns `positions` by so many degrees; it needs the sources again, to steer anew.
    """
    use = np.flatnonzero(sum(field.w.sum(axis=1) for field in fields) > 0)
    free = use[use != reference]
    scale = start.gamma[reference]
    gamma = start.gamma / scale if abs(scale) > 0 else start.gamma
    fluxes = [s * abs(scale) ** 2 for s in start.fluxes]
    rotation, damping = start.rotation_deg, 1e-3
    now = list(fields)
    cost = _total(now, gamma, fluxes)
    active = [np.flatnonzero(s > 0) for s in fluxes]
    normal = right = np.empty(0)
    for _ in range(iterations):
        turning = _turning(now, sources, positions, wavelength_m, rotation) if fit_rotation else None
        normal, right = _normal_equations(now, gamma, fluxes, free, active, turning)
        diagonal = np.diag(normal)
        # The small part of the largest keeps a parameter that the data do not touch from making this singular.
        step: Real = np.linalg.solve(normal + np.diag(damping * (diagonal + 1e-9 * diagonal.max())), right).astype(
            np.float64
        )
        new_gamma, new_fluxes, turn = _stepped(gamma, fluxes, free, active, step, fit_rotation)
        trial = _steered(fields, sources, positions, wavelength_m, rotation + turn) if fit_rotation else now
        new_cost = _total(trial, new_gamma, new_fluxes)
        if new_cost <= cost:
            done = cost - new_cost < 1e-10 * cost
            gamma, fluxes, cost, now, rotation = new_gamma, new_fluxes, new_cost, list(trial), rotation + turn
            damping /= 10
            active = _active(now, gamma, fluxes)
            if done:
                break
        else:
            damping *= 10
            if damping > 1e6:
                break
    turning = _turning(now, sources, positions, wavelength_m, rotation) if fit_rotation else None
    normal, _ = _normal_equations(now, gamma, fluxes, free, active, turning)
    data = int(sum((np.triu(field.w, 1) > 0).sum() for field in fields)) * 2
    return Refined(
        Solution(gamma, tuple(fluxes), cost, rotation),
        np.asarray(np.linalg.pinv(normal, hermitian=True), dtype=np.float64),
        free,
        tuple(active),
        data - len(normal),
    )


def _total(fields: Sequence[Field], gamma: Complex, fluxes: Sequence[Real]) -> float:
    return float(sum(_cost(field, gamma[None], s[None])[0] for field, s in zip(fields, fluxes, strict=True)))


def _steered(
    fields: Sequence[Field],
    sources: Sequence[Sequence[Source]],
    positions: Real | None,
    wavelength_m: float,
    rotation_deg: float,
) -> list[Field]:
    there = turned(np.asarray(positions), rotation_deg)
    return [
        replace(field, u=steering(known, there, wavelength_m)) for field, known in zip(fields, sources, strict=True)
    ]


def _turning(
    fields: Sequence[Field],
    sources: Sequence[Sequence[Source]],
    positions: Real | None,
    wavelength_m: float,
    rotation_deg: float,
) -> list[Complex]:
    """du/drotation (source, antenna) of each field, per degree."""
    h = 1e-4
    ahead = _steered(fields, sources, positions, wavelength_m, rotation_deg + h)
    behind = _steered(fields, sources, positions, wavelength_m, rotation_deg - h)
    return [(one.u - other.u) / (2 * h) for one, other in zip(ahead, behind, strict=True)]


def _active(fields: Sequence[Field], gamma: Complex, fluxes: Sequence[Real]) -> list[NDArray[np.int64]]:
    """Sources above zero, and those whose gradient would lift them."""
    result = []
    for field, s in zip(fields, fluxes, strict=True):
        normal, right = flux_equations(field, gamma[None])
        gradient = right[0] - normal[0] @ s
        limit = 1e-9 * np.abs(right).max(initial=0.0)
        result.append(np.flatnonzero((s > 0) | (gradient > limit)))
    return result


def _normal_equations(
    fields: Sequence[Field],
    gamma: Complex,
    fluxes: Sequence[Real],
    free: NDArray[np.int64],
    active: Sequence[NDArray[np.int64]],
    turning: Sequence[Complex] | None,
) -> tuple[Real, Real]:
    """J^T J and J^T r over (Re gamma, Im gamma, active fluxes by field, rotation)."""
    n, total = len(gamma), 2 * len(free) + sum(map(len, active)) + (turning is not None)
    normal, right = np.zeros((total, total)), np.zeros(total)
    offset = 2 * len(free)
    place = np.full(n, -1)
    place[free] = np.arange(len(free))
    for k, (field, s, on) in enumerate(zip(fields, fluxes, active, strict=True)):
        i, j = np.nonzero(np.triu(field.w, 1))
        u = field.u
        m = np.einsum("s,sb->b", s, u[:, i] * u[:, j].conj())
        jacobian = np.zeros((len(i), total), dtype=np.complex128)
        rows = np.arange(len(i))
        for antenna, derivative, sign in ((i, gamma[j].conj() * m, 1j), (j, gamma[i] * m, -1j)):
            here = place[antenna] >= 0
            jacobian[rows[here], place[antenna[here]]] += derivative[here]
            jacobian[rows[here], len(free) + place[antenna[here]]] += sign * derivative[here]
        pair = gamma[i] * gamma[j].conj()
        jacobian[:, offset : offset + len(on)] = (pair * u[on][:, i] * u[on][:, j].conj()).T
        if turning is not None:
            du = turning[k]
            jacobian[:, -1] = pair * np.einsum("s,sb->b", s, du[:, i] * u[:, j].conj() + u[:, i] * du[:, j].conj())
        residual = field.v[i, j] - pair * m
        real = np.concatenate([jacobian.real, jacobian.imag])
        normal += real.T @ real
        right += real.T @ np.concatenate([residual.real, residual.imag])
        offset += len(on)
    return normal, right


def _stepped(
    gamma: Complex,
    fluxes: Sequence[Real],
    free: NDArray[np.int64],
    active: Sequence[NDArray[np.int64]],
    step: Real,
    with_rotation: bool,
) -> tuple[Complex, list[Real], float]:
    new = gamma.copy()
    new[free] += step[: len(free)] + 1j * step[len(free) : 2 * len(free)]
    offset, result = 2 * len(free), []
    for s, on in zip(fluxes, active, strict=True):
        changed = s.copy()
        changed[on] = np.maximum(changed[on] + step[offset : offset + len(on)], 0.0)
        result.append(changed)
        offset += len(on)
    return new, result, float(step[-1]) if with_rotation else 0.0
