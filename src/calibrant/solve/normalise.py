"""Normalising gains and bandpasses, and filling gaps of flagged channels (conventions: CASA's solnorm, fillgaps)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def normalise_gain(gain: NDArray[np.complexfloating], flag: NDArray[np.bool_], normtype: str) -> float:
    """The one factor of a spw's whole table: sqrt of mean or median of |g|^2 over unflagged solutions; 1 if none."""
    power = np.abs(gain[~flag]) ** 2
    if len(power) == 0:
        return 1.0
    return float(np.sqrt(np.median(power) if normtype == "median" else np.mean(power)))


def normalise_bandpass(gain: NDArray[np.complexfloating], flag: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """The factor (nt, nant, 1, npar) that gives every bandpass unit rms amplitude and zero mean phase.

    sqrt(mean_nu |b|^2) times the phase of sum_nu b/|b|, over unflagged channels; 1 where all are flagged.
    """
    good = ~flag & (np.abs(gain) > 0)
    count = good.sum(axis=2, keepdims=True)
    power = np.where(good, np.abs(gain) ** 2, 0.0).sum(axis=2, keepdims=True) / np.maximum(count, 1)
    phasor = np.where(good, gain / np.where(good, np.abs(gain), 1.0), 0.0).sum(axis=2, keepdims=True)
    size = np.abs(phasor)
    phase = np.where(size > 0, phasor / np.where(size > 0, size, 1.0), 1.0)
    return np.where(count > 0, np.sqrt(np.where(power > 0, power, 1.0)) * phase, 1.0)


def fill_gaps(
    gain: NDArray[np.complexfloating], flag: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.complexfloating], NDArray[np.bool_]]:
    """Interpolate linearly (amplitude and unwrapped phase) over gaps of at most `width` flagged channels inside a band.

    gain, flag: (nt, nant, nchan, npar). Returns the filled gain and which solutions were filled.
    """
    gain, filled = gain.copy(), np.zeros_like(flag)
    nchan = gain.shape[2]
    for t, a, p in zip(*np.nonzero(flag.any(axis=2) & ~flag.all(axis=2)), strict=True):
        bad = flag[t, a, :, p]
        good = np.flatnonzero(~bad)
        gaps = np.flatnonzero((np.diff(good) > 1) & (np.diff(good) - 1 <= width))
        inside = np.zeros(nchan, bool)
        for k in gaps:
            inside[good[k] + 1 : good[k + 1]] = True
        if inside.any():
            where = np.flatnonzero(inside)
            amplitude = np.interp(where, good, np.abs(gain[t, a, good, p]))
            phase = np.interp(where, good, np.unwrap(np.angle(gain[t, a, good, p])))
            gain[t, a, where, p] = amplitude * np.exp(1j * phase)
            filled[t, a, where, p] = True
    return gain, filled
