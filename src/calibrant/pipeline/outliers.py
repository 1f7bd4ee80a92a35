"""Limits beyond which visibilities are interference: from the distribution of amplitudes, robustly.

Noise makes amplitudes of residuals follow a Rayleigh distribution, whose median is sigma sqrt(2 ln 2). A limit of
`SIGMAS` sigma is passed by chance once in 10^13 visibilities; what lies beyond is not noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.ms.reader import read_chunks

SIGMAS = 8.0
NBIN = 4096
DECADES = (-9.0, 9.0)
CROWDED = 0.1
MAX_SHARE = 0.02
"""More than this share beyond the limit is not interference but a wrong model or a bright, resolved source."""


@dataclass(frozen=True)
class Limit:
    """Amplitudes outside [low, high] Jy are interference, for one field and spw; share of visibilities outside."""

    field: int
    spw: int
    low: float
    high: float
    share: float


def amplitude_limits(index: MSIndex, rows: NDArray[np.int64], flux: dict[tuple[int, int], float]) -> list[Limit]:
    """Limits of |CORRECTED_DATA| in the parallel hands, per field and spw, in one pass over `rows`.

    flux: (field, spw) -> Jy of a point source at the phase centre; where it is not given, 0 (a faint target).
    """
    residuals: dict[tuple[int, int], NDArray[np.int64]] = {}
    amplitudes: dict[tuple[int, int], NDArray[np.int64]] = {}
    cross = rows[index.ant1[rows] != index.ant2[rows]]
    for chunk in read_chunks(index, cross, ["CORRECTED_DATA", "FLAG"]):
        hands = index.polarizations[int(index.ddid_pol[chunk.ddid])].parallel
        fields = index.field[chunk.rows]
        for field in np.unique(fields).tolist():
            mine = np.flatnonzero(fields == field)
            vis = chunk["CORRECTED_DATA"][mine][:, :, hands]
            good = vis[~chunk["FLAG"][mine][:, :, hands]]
            key = (field, chunk.spw)
            jy = flux.get(key, 0.0)
            _count(residuals, key, np.abs(good - np.float32(jy)))
            _count(amplitudes, key, np.abs(np.abs(good) - np.float32(jy)))
    return [
        _limit(key, flux.get(key, 0.0), histogram, amplitudes[key])
        for key, histogram in sorted(residuals.items())
        if histogram.any()
    ]


@dataclass(frozen=True)
class Crowded:
    """A channel of a scan in which so many visibilities are outside the limits that all are suspect."""

    scan: int
    spw: int
    channel: int
    share: float


def crowded_channels(index: MSIndex, rows: NDArray[np.int64], limits: list[Limit]) -> list[Crowded]:
    """Channels of scans in which more than CROWDED of the visibilities are outside the limits, in one pass.

    Interference of constant strength leaves some baselines within the limits by chance: its channel goes as a whole.
    """
    bounds = {(limit.field, limit.spw): limit for limit in limits if 0 < limit.share <= MAX_SHARE}
    outside: dict[tuple[int, int], NDArray[np.int64]] = {}
    every: dict[tuple[int, int], NDArray[np.int64]] = {}
    cross = rows[index.ant1[rows] != index.ant2[rows]]
    for chunk in read_chunks(index, cross, ["CORRECTED_DATA", "FLAG"]):
        hands = index.polarizations[int(index.ddid_pol[chunk.ddid])].parallel
        pairs = np.stack([index.scan[chunk.rows], index.field[chunk.rows]], axis=1)
        for scan, field in np.unique(pairs, axis=0).tolist():
            limit = bounds.get((field, chunk.spw))
            if limit is None:
                continue
            mine = np.flatnonzero((pairs == (scan, field)).all(axis=1))
            good = ~chunk["FLAG"][mine][:, :, hands]
            size = np.abs(chunk["CORRECTED_DATA"][mine][:, :, hands])
            wrong = good & ((size < limit.low) | (size > limit.high))
            key, zero = (scan, chunk.spw), np.zeros(good.shape[1], np.int64)
            outside[key] = outside.get(key, zero) + wrong.sum(axis=(0, 2))
            every[key] = every.get(key, zero) + good.sum(axis=(0, 2))
    found = []
    for (scan, spw), count in sorted(outside.items()):
        share = count / np.maximum(every[scan, spw], 1)
        found += [Crowded(scan, spw, int(c), float(share[c])) for c in np.flatnonzero(share > CROWDED)]
    return found


def _count(counts: dict[tuple[int, int], NDArray[np.int64]], key: tuple[int, int], size: NDArray[np.float32]) -> None:
    """Add `size` (Jy) to the logarithmic histogram of `key`."""
    size = size[np.isfinite(size) & (size > 0)]
    place = (np.log10(size) - DECADES[0]) / (DECADES[1] - DECADES[0]) * NBIN
    histogram = np.bincount(np.clip(place, 0, NBIN - 1).astype(np.int64), minlength=NBIN)
    counts[key] = counts.get(key, np.zeros(NBIN, np.int64)) + histogram


def _limit(key: tuple[int, int], flux: float, residual: NDArray[np.int64], amplitude: NDArray[np.int64]) -> Limit:
    edges = 10 ** np.linspace(*DECADES, NBIN + 1)
    total = np.cumsum(residual)
    median = edges[int(np.searchsorted(total, 0.5 * total[-1])) + 1]
    limit = SIGMAS * median / np.sqrt(2 * np.log(2))
    share = amplitude[np.searchsorted(edges, limit) :].sum() / max(amplitude.sum(), 1)
    return Limit(*key, float(max(flux - limit, 0.0)), float(flux + limit), float(share))
