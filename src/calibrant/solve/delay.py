"""Delays: the phase slope over frequency of the baselines to the reference antenna.

For baseline (i, ref) the channel sums A(nu) = sum w V conj(M) turn as exp(2 pi i tau nu). The peak of

    P(tau) = |sum_nu A(nu) exp(-2 pi i tau nu)|

is the maximum-likelihood delay of one baseline; it is found on an 8 times oversampled grid by FFT and then refined on
the exact sum. Its error follows from the signal-to-noise of the sum and the rms bandwidth:
sigma_tau = 1 / (2 pi SNR sigma_nu) (Rogers 1970).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVERSAMPLING = 8
REFINEMENTS = 30
MOST_CELLS = 1 << 17


@dataclass(frozen=True)
class Delays:
    """delay, error: s; snr: of the summed visibility; good. All (nsolve, nant, npol)."""

    delay: NDArray[np.float64]
    error: NDArray[np.float64]
    snr: NDArray[np.float64]
    good: NDArray[np.bool_]


def solve_delays(
    numerator: NDArray[np.complex128],
    norm: NDArray[np.float64],
    ant1: NDArray[np.int64],
    ant2: NDArray[np.int64],
    nant: int,
    freq: NDArray[np.float64],
    refant: int,
) -> Delays:
    """Delay of every antenna with respect to `refant` (0 there).

    numerator, norm: (nsolve, nbaseline, nchan, npol). freq (nchan,) Hz, window by window, rising or falling in each.
    An antenna without an unflagged baseline to `refant` is not good.
    """
    nsolve, _, _, npol = numerator.shape
    shape = (nsolve, nant, npol)
    result = Delays(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, bool))
    for k in np.flatnonzero((ant1 == refant) | (ant2 == refant)):
        antenna, sign = (int(ant1[k]), 1.0) if ant2[k] == refant else (int(ant2[k]), -1.0)
        for n in range(nsolve):
            for p in range(npol):
                a, b = numerator[n, k, :, p], norm[n, k, :, p]
                if len(np.unique(freq[b > 0])) < 2:
                    continue
                tau, error, snr = _baseline_delay(a, b, freq)
                result.delay[n, antenna, p] = sign * tau
                result.error[n, antenna, p] = error
                result.snr[n, antenna, p] = snr
                result.good[n, antenna, p] = True
    found = result.good.any(axis=1)
    result.good[:, refant] = found
    result.snr[:, refant] = np.where(found, result.snr.max(axis=1), 0.0)
    return result


def _baseline_delay(
    a: NDArray[np.complex128], b: NDArray[np.float64], freq: NDArray[np.float64]
) -> tuple[float, float, float]:
    """(delay s, error s, SNR) of one baseline from its channel sums."""
    used = b > 0
    nu = freq[used] - freq[used].mean()
    vis = a[used] / b[used]  # CASA, too, transforms visibilities without weights
    tau = _refine(vis, nu, _coarse(vis, nu))
    rotated = vis * np.exp(-2j * np.pi * tau * nu)
    mean = rotated.mean()
    residual = rotated - mean
    dof = max(len(vis) - 2, 1)
    sigma = np.sqrt(np.sum(np.abs(residual) ** 2) / (2 * dof))  # per axis and channel
    scatter = sigma / np.sqrt(len(vis))
    snr = float(np.abs(mean) / max(scatter, 1e-9 * np.abs(mean), 1e-300))
    width = np.sqrt(np.mean(nu**2))
    return tau, float(1.0 / (2 * np.pi * snr * width)) if snr > 0 else np.inf, min(snr, 1e9)


def _coarse(vis: NDArray[np.complex128], nu: NDArray[np.float64]) -> float:
    """Delay of the highest peak of the padded transform, on a grid as fine as the finest channels."""
    apart = np.abs(np.diff(nu))  # neighbours in the order given: windows may overlap with a small offset
    step = max(float(apart[apart > 0].min()), float(np.ptp(nu)) / MOST_CELLS)
    cell = np.rint((nu - nu.min()) / step).astype(np.int64)
    size = int(2 ** np.ceil(np.log2((cell.max() + 1) * OVERSAMPLING)))
    grid = np.zeros(size, np.complex128)
    np.add.at(grid, cell, vis)
    peak = int(np.argmax(np.abs(np.fft.fft(grid))))
    return (peak if peak < size // 2 else peak - size) / (size * step)


def _refine(vis: NDArray[np.complex128], nu: NDArray[np.float64], tau: float) -> float:
    """Newton steps on |sum vis exp(-2 pi i tau nu)|^2 around the coarse peak."""
    turn = -2j * np.pi * nu
    largest = 0.25 / max(np.ptp(nu), 1e-300)
    for _ in range(REFINEMENTS):
        term = vis * np.exp(turn * tau)
        s, d, dd = term.sum(), (turn * term).sum(), (turn**2 * term).sum()
        slope = 2 * (s.conjugate() * d).real
        curve = 2 * ((s.conjugate() * dd).real + abs(d) ** 2)
        if curve >= 0:
            break
        move = float(np.clip(-slope / curve, -largest, largest))
        tau += move
        if abs(move) < 1e-7 * largest:
            break
    return tau
