"""Limits beyond which visibilities are interference: from the distribution of amplitudes, robustly.

Noise makes amplitudes of residuals follow a Rayleigh distribution, whose median is sigma sqrt(2 ln 2). A limit of
`SIGMAS` sigma is passed by chance once in 10^13 visibilities; what lies beyond is not noise.

What is not noise is interference or the source: amplitude alone does not tell. A source never stops. A channel in which
most samples of every quarter of a field's time stand out (by half the limit) is a line (a maser, HI); if that holds for
the shortest spacings only, it is structure. On sources without a model both are kept and named, unless the channel is
too bright on a calibrator all the time too; the rest, which comes and goes, is interference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.ms.reader import Chunk, read_chunks

SIGMAS = 8.0
NBIN = 4096
DECADES = (-9.0, 9.0)
CROWDED = 0.1
PARTS = 4
"""A source stands out in every one of so many equal parts of the time,"""
MOST = 0.5
"""... in at least this share of the samples, which are beyond this part of the limit."""
SPACINGS = np.concatenate(([0.0], 10.0 * 2 ** (0.25 * np.arange(80)), [np.inf]))
"""Edges of the bins of projected baseline length (m)."""
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
class Standing:
    """What stands out persistently in a field and spw: channels (a line), and projected baselines up to `spacing` m
    in all channels (structure; 0: none, inf: all)."""

    channels: frozenset[int] = frozenset()
    spacing: float = 0.0

    def kept(self, nchan: int) -> list[int]:
        """`channels` and their neighbours: the wings of a line are fainter than its middle."""
        return sorted({c + step for c in self.channels for step in (-1, 0, 1) if 0 <= c + step < nchan})


def standing_out(
    index: MSIndex, rows: NDArray[np.int64], limits: list[Limit], known: Collection[tuple[int, int]]
) -> dict[tuple[int, int], Standing]:
    """(field, spw) -> what stands out persistently, for limits that something is outside of; one pass over those.

    known: (field, spw) with a flux density, of which only channels too bright are found."""
    bounds = {(limit.field, limit.spw): limit for limit in limits if limit.share > 0}
    # (2, PARTS, spacing, channel): samples that stand out, and all
    counts: dict[tuple[int, int], NDArray[np.int64]] = {}
    parts: dict[tuple[int, int], NDArray[np.int64]] = {}
    nbin = len(SPACINGS) - 1
    for key, limit, mine, chunk in _chunks(index, rows, bounds):
        if key not in counts:
            counts[key] = np.zeros((2, PARTS * nbin, index.spws[key[1]].nchan), np.int64)
            parts[key] = np.unique(index.time_id[rows[(index.field[rows] == key[0]) & (index.spw[rows] == key[1])]])
        good, size = _good(index, chunk, mine)
        bright = good & (size > (limit.high if key in known else MOST * limit.high))
        place = np.searchsorted(parts[key], index.time_id[chunk.rows[mine]]) * PARTS // len(parts[key])
        length = np.hypot(chunk["UVW"][mine, 0], chunk["UVW"][mine, 1])
        place = place * nbin + np.searchsorted(SPACINGS, length, side="right") - 1
        order = np.argsort(place, kind="stable")
        cells, starts = np.unique(place[order], return_index=True)
        for total, samples in zip(counts[key], (bright, good), strict=True):
            total[cells] += np.add.reduceat(samples.sum(axis=2)[order], starts, axis=0)
    found = {}
    for key, count in counts.items():
        both = count.reshape(2, PARTS, nbin, -1)
        found[key] = _standing(both[0], both[1], key in known)
    return found


def _standing(bright: NDArray[np.int64], every: NDArray[np.int64], known: bool) -> Standing:
    """bright, every: (PARTS, spacing, channel) samples that stand out, and all."""
    present = bright.sum(axis=(0, 1)) > 0
    lines = present & (bright.sum(axis=1) >= (CROWDED if known else MOST) * every.sum(axis=1)).all(axis=0)
    if known:
        return Standing(_numbers(lines))
    there = np.flatnonzero(every.sum(axis=(0, 2)) > 0)
    # from the shortest spacing on, how many bins stand out in each channel
    bright, every = bright[:, there], every[:, there]
    alike = np.asarray((bright >= MOST * every).all(axis=0))
    leading = np.logical_and.accumulate(alike, axis=0) & (np.cumsum(bright.sum(axis=0), axis=0) > 0)
    broad = leading.sum(axis=1) > MOST * (every.sum(axis=(0, 1)) > 0).sum()
    last = int(broad.sum())
    if not last:
        return Standing(_numbers(lines | leading.any(axis=0)))
    if every[:, :last].sum() > MOST * every.sum():
        return Standing(spacing=np.inf)
    further = leading[last] if last < len(there) else np.zeros_like(lines)
    # structure has no sharp end: one bin more
    return Standing(_numbers(lines | further), float(SPACINGS[there[min(last, len(there) - 1)] + 1]))


def _numbers(chosen: NDArray[np.bool_]) -> frozenset[int]:
    return frozenset(np.flatnonzero(chosen).tolist())


@dataclass(frozen=True)
class Crowded:
    """A channel of a field in a scan in which so many visibilities are outside the limits that all are suspect."""

    scan: int
    field: int
    spw: int
    channel: int
    share: float


def remaining(
    index: MSIndex, rows: NDArray[np.int64], limits: list[Limit], standing: dict[tuple[int, int], Standing]
) -> tuple[list[Limit], list[Crowded]]:
    """What is outside the limits and does not stand out persistently, in one pass: limits with that share, and the
    channels of scans in which it is more than CROWDED of the visibilities.

    Interference of constant strength leaves some baselines within the limits by chance: its channel goes as a whole.
    """
    bounds = {(limit.field, limit.spw): limit for limit in limits if limit.share > 0}
    outside: dict[tuple[int, int, int], NDArray[np.int64]] = {}
    every: dict[tuple[int, int, int], NDArray[np.int64]] = {}
    for (field, spw), limit, mine, chunk in _chunks(index, rows, bounds):
        kept = standing.get((field, spw), Standing())
        good, size = _good(index, chunk, mine)
        wrong = good & ((size < limit.low) | (size > limit.high))
        wrong[:, kept.kept(wrong.shape[1])] = False
        wrong[np.hypot(chunk["UVW"][mine, 0], chunk["UVW"][mine, 1]) < kept.spacing] = False
        scans = index.scan[chunk.rows[mine]]
        for scan in np.unique(scans).tolist():
            key, zero = (field, spw, scan), np.zeros(good.shape[1], np.int64)
            outside[key] = outside.get(key, zero) + wrong[scans == scan].sum(axis=(0, 2))
            every[key] = every.get(key, zero) + good[scans == scan].sum(axis=(0, 2))
    left = []
    for limit in limits:
        keys = [key for key in every if key[:2] == (limit.field, limit.spw)]
        count = sum(int(outside[key].sum()) for key in keys)
        left.append(replace(limit, share=count / max(sum(int(every[key].sum()) for key in keys), 1)))
    usual = {(limit.field, limit.spw) for limit in left if limit.share <= MAX_SHARE}
    found = []
    for (field, spw, scan), number in sorted(outside.items()):
        share = number / np.maximum(every[field, spw, scan], 1)
        if (field, spw) in usual:
            found += [Crowded(scan, field, spw, int(c), float(share[c])) for c in np.flatnonzero(share > CROWDED)]
    return left, found


def _chunks(
    index: MSIndex, rows: NDArray[np.int64], bounds: dict[tuple[int, int], Limit]
) -> Iterator[tuple[tuple[int, int], Limit, NDArray[np.int64], Chunk]]:
    """(field, spw), its limit, and its rows in a chunk of corrected cross-correlations."""
    wanted = np.zeros(len(rows), bool)
    for field, spw in bounds:
        wanted |= (index.field[rows] == field) & (index.spw[rows] == spw)
    wanted &= index.ant1[rows] != index.ant2[rows]
    for chunk in read_chunks(index, rows[wanted], ["CORRECTED_DATA", "FLAG", "UVW"]):
        fields = index.field[chunk.rows]
        for field in np.unique(fields).tolist():
            if (field, chunk.spw) in bounds:
                yield (field, chunk.spw), bounds[field, chunk.spw], np.flatnonzero(fields == field), chunk


def _good(index: MSIndex, chunk: Chunk, mine: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Unflagged samples of the parallel hands (nrow, nchan, nhand), and the amplitudes of all."""
    hands = index.polarizations[int(index.ddid_pol[chunk.ddid])].parallel
    return ~chunk["FLAG"][mine][:, :, hands], np.abs(chunk["CORRECTED_DATA"][mine][:, :, hands])


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
