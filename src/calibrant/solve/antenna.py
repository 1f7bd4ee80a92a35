"""From sums per baseline to antenna gains: the only iteration loop.

Minimises chi2 = sum B_ij |g_i conj(g_j) - A_ij/B_ij|^2 over the antennas (Salvini & Wijnholds 2014, alternating
direction: each antenna's gain is a linear least-squares problem given the others; every second step is averaged).
Errors as CASA defines them, so that they do not depend on the absolute scale of the weights:

    hess_i = sum_j B_ij |g_j|^2,  k2 = chi2 / nDOF,  nDOF = max(2 (Nvis - Npar), 1),
    error_i = sqrt(2 k2 / hess_i)  (of the complex number),  SNR_i = |g_i| / error_i.

calmode 'p' solves on V/|V| with weights w |V|^2, 'a' on |V|: the amplitude or phase of the data is taken out before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.solve.compiler import kernel
from calibrant.solve.outcome import Outcome

NO_DATA = int(Outcome.NO_DATA)
TOO_FEW = int(Outcome.TOO_FEW_BASELINES)
NOT_CONVERGED = int(Outcome.NOT_CONVERGED)

TOLERANCE = 1e-8
MAX_ITERATIONS = 500


@dataclass(frozen=True)
class AntennaGains:
    """gain, error, snr: (nsolve, nant, npar) complex128 / float64; outcome (nsolve, nant, npar) uint8;
    chi2 (nsolve,)."""

    gain: NDArray[np.complex128]
    error: NDArray[np.float64]
    snr: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    chi2: NDArray[np.float64]


def solve_gains(
    numerator: NDArray[np.complex128],
    norm: NDArray[np.float64],
    ant1: NDArray[np.int64],
    ant2: NDArray[np.int64],
    nant: int,
    *,
    calmode: str = "ap",
    common: bool = False,
    minblperant: int = 4,
    guess_refant: int = 0,
) -> AntennaGains:
    """Solve every interval on its own.

    numerator, norm: (nsolve, nbaseline, npol), the sums A and B; ant1, ant2: (nbaseline,), cross baselines only.
    common: one gain for all polarisations (T). guess_refant: antenna whose baselines give the first guess.
    """
    nsolve = len(numerator)
    npar = 1 if common else numerator.shape[2]
    gain = np.ones((nsolve, nant, npar), np.complex128)
    error = np.zeros((nsolve, nant, npar))
    snr = np.zeros((nsolve, nant, npar))
    outcome = np.zeros((nsolve, nant, npar), np.uint8)
    chi2 = np.zeros(nsolve)
    a, b = _for_calmode(numerator, norm, calmode)
    nbl = len(ant1)
    _solve(
        a, b, ant1, ant2, minblperant, guess_refant, common, gain, error, snr, outcome, chi2,
        np.empty(nbl, np.complex128), np.empty(nbl), np.empty(nant, np.uint8), np.empty(nant, np.int64),
        np.empty(nant, np.complex128), np.empty((2, nant)),
    )  # fmt: skip
    if calmode == "p":
        gain /= np.abs(gain)
    elif calmode == "a":
        gain = np.abs(gain).astype(np.complex128)
    gain[outcome == NO_DATA] = 1.0
    gain[outcome == TOO_FEW] = 1.0
    return AntennaGains(gain, error, snr, outcome, chi2)


def _for_calmode(
    numerator: NDArray[np.complex128], norm: NDArray[np.float64], calmode: str
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """The sums of V/|V| with weight w|V|^2 ('p'), of |V| ('a'), or of V itself ('ap'); V = A/B."""
    if calmode == "ap":
        return np.ascontiguousarray(numerator), np.ascontiguousarray(norm)
    size = np.abs(numerator)
    if calmode == "a":
        return size.astype(np.complex128), np.ascontiguousarray(norm)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(norm > 0, size / norm, 0.0)
    return numerator * scale, size * scale


def _usable_antennas(b, ant1, ant2, minblperant, state, count):  # type: ignore[no-untyped-def]
    """state (nant,): 0 no data, 1 too few baselines (counted again after each removal), 2 usable."""
    nant = len(state)
    state[:] = 0
    for k in range(len(ant1)):
        if b[k].sum() > 0:
            state[ant1[k]] = 2
            state[ant2[k]] = 2
    changed = True
    while changed:
        changed = False
        count[:] = 0
        for k in range(len(ant1)):
            if b[k].sum() > 0 and state[ant1[k]] == 2 and state[ant2[k]] == 2:
                count[ant1[k]] += 1
                count[ant2[k]] += 1
        for i in range(nant):
            if state[i] == 2 and count[i] < max(minblperant, 1):
                state[i] = 1
                changed = True


def _guess(a, b, ant1, ant2, refant, g, weight):  # type: ignore[no-untyped-def]
    """Phases from the baselines to `refant` (or to the best connected antenna), one common amplitude."""
    weight[:] = 0
    total_a, total_b = 0.0, 0.0
    for k in range(len(a)):
        if b[k] > 0:
            weight[ant1[k]] += b[k]
            weight[ant2[k]] += b[k]
            total_a += _size(a[k])
            total_b += b[k]
    if total_b == 0:
        return
    ref = refant
    if weight[refant] <= 0:
        for i in range(len(g)):
            if weight[i] > weight[ref]:
                ref = i
    amplitude = np.sqrt(total_a / total_b)
    for i in range(len(g)):
        g[i] = amplitude
    for k in range(len(a)):
        if b[k] > 0 and _size(a[k]) > 0:
            phase = a[k] / _size(a[k])
            if ant2[k] == ref:
                g[ant1[k]] = amplitude * phase
            elif ant1[k] == ref:
                g[ant2[k]] = amplitude * np.conj(phase)


def _size(z):  # type: ignore[no-untyped-def]
    """|z| without a call of the C library."""
    return np.sqrt(z.real * z.real + z.imag * z.imag)


def _iterate(a, b, ant1, ant2, refant, g, num, den):  # type: ignore[no-untyped-def]
    """Iterate g in place to the minimum of chi2; True if it converged."""
    nant = len(g)
    _guess(a, b, ant1, ant2, refant, g, den)
    for step in range(MAX_ITERATIONS):
        num[:] = 0
        den[:] = 0
        for k in range(len(a)):
            if b[k] > 0:
                i, j = ant1[k], ant2[k]
                num[i] += a[k] * g[j]
                num[j] += np.conj(a[k]) * g[i]
                den[i] += b[k] * (g[j].real ** 2 + g[j].imag ** 2)
                den[j] += b[k] * (g[i].real ** 2 + g[i].imag ** 2)
        moved, size = 0.0, 0.0
        for i in range(nant):
            if den[i] > 0:
                new = num[i] / den[i]
                if step % 2 == 1:
                    new = 0.5 * (new + g[i])
                d = new - g[i]
                moved = max(moved, d.real**2 + d.imag**2)
                size = max(size, new.real**2 + new.imag**2)
                g[i] = new
        if size == 0.0:
            return False
        if moved <= TOLERANCE**2 * size:
            return True
    return False


@kernel(
    "complex128[:,:,:]", "float64[:,:,:]", "int64[:]", "int64[:]", "int64", "int64", "bool", "complex128[:,:,:]",
    "float64[:,:,:]", "float64[:,:,:]", "uint8[:,:,:]", "float64[:]", "complex128[:]", "float64[:]", "uint8[:]",
    "int64[:]", "complex128[:]", "float64[:,:]", helpers=(_size, _usable_antennas, _guess, _iterate),
)  # fmt: skip
def _solve(  # type: ignore[no-untyped-def]
    a, b, ant1, ant2, minblperant, refant, common, gain, error, snr, outcome, chi2,
    sum_a, sum_b, usable, count, num, work,
):  # fmt: skip
    """Solve all intervals; arrays from sum_a on are scratch (see `solve_gains` for the rest)."""
    nsolve, nbl, npol = a.shape
    nant, npar = gain.shape[1], gain.shape[2]
    hess, den = work[0], work[1]
    for n in range(nsolve):
        _usable_antennas(b[n], ant1, ant2, minblperant, usable, count)
        chi, nvis, nok = 0.0, 0, 0
        for par in range(npar):
            for k in range(nbl):
                sum_a[k], sum_b[k] = 0.0, 0.0
                if usable[ant1[k]] == 2 and usable[ant2[k]] == 2:
                    for p in range(npol if common else 1):
                        q = p if common else par
                        sum_a[k] += a[n, k, q]
                        sum_b[k] += b[n, k, q]
            g = gain[n, :, par]
            converged = _iterate(sum_a, sum_b, ant1, ant2, refant, g, num, den)
            hess[:] = 0
            for k in range(nbl):
                if sum_b[k] > 0:
                    i, j = ant1[k], ant2[k]
                    hess[i] += sum_b[k] * (g[j].real ** 2 + g[j].imag ** 2)
                    hess[j] += sum_b[k] * (g[i].real ** 2 + g[i].imag ** 2)
                    for p in range(npol if common else 1):
                        q = p if common else par
                        if b[n, k, q] > 0:
                            d = a[n, k, q] / b[n, k, q] - g[i] * np.conj(g[j])
                            chi += b[n, k, q] * (d.real**2 + d.imag**2)
                            nvis += 1
            for i in range(nant):
                error[n, i, par] = hess[i]
                if usable[i] == 0 or (usable[i] == 2 and hess[i] <= 0):
                    outcome[n, i, par] = NO_DATA
                elif usable[i] == 1:
                    outcome[n, i, par] = TOO_FEW
                else:
                    nok += 1
                    if not converged:
                        outcome[n, i, par] = NOT_CONVERGED
        chi2[n] = chi
        k2 = chi / max(2 * (nvis - nok), 1)
        for par in range(npar):
            for i in range(nant):
                hess_i = error[n, i, par]
                if outcome[n, i, par] == NO_DATA or outcome[n, i, par] == TOO_FEW:
                    error[n, i, par] = 0.0
                    continue
                error[n, i, par] = np.sqrt(2 * k2 / hess_i)
                # a perfect fit has no scatter; keep its SNR finite
                snr[n, i, par] = min(_size(gain[n, i, par]) / max(error[n, i, par], 1e-30), 1e9)
