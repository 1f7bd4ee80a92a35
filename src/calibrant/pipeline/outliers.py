"""Limits beyond which visibilities are interference: from the distribution of amplitudes, robustly.

Noise makes amplitudes of residuals follow a Rayleigh distribution, whose median is sigma sqrt(2 ln 2). A limit of
`SIGMAS` sigma is passed by chance once in 10^13 visibilities; what lies beyond is not noise.

What is not noise is interference or the source: amplitude alone does not tell. A source never stops. Channels that
stand out in most integrations of every quarter of a field's time, and at least once in every scan, are a line (a
maser, HI); spacings that do so are structure which only short baselines see. On sources without a model they are kept
and named; the rest, which comes and goes, is interference.
"""

from __future__ import annotations

from collections.abc import Iterator
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
"""... in at least this share of their integrations."""
SPACINGS = np.concatenate(([0.0], 10.0 * 2 ** (0.5 * np.arange(40)), [np.inf]))
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
    (structure; 0: none, inf: all). `above`: those of the channels that are brighter than the limit, not fainter."""

    channels: frozenset[int] = frozenset()
    spacing: float = 0.0
    above: frozenset[int] = frozenset()


@dataclass
class _Hits:
    """(ntime, n) of a field and spw by channel and by spacing: is there a good sample, is one outside, or above?"""

    time_ids: NDArray[np.int64]
    scans: NDArray[np.int64]
    seen: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    above: NDArray[np.bool_]
    spacing_seen: NDArray[np.bool_]
    spacing_outside: NDArray[np.bool_]
    samples: NDArray[np.int64]


def standing_out(index: MSIndex, rows: NDArray[np.int64], limits: list[Limit]) -> dict[tuple[int, int], Standing]:
    """(field, spw) -> what stands out persistently, for limits that something is outside of; one pass over those."""
    bounds = {(limit.field, limit.spw): limit for limit in limits if limit.share > 0}
    hits: dict[tuple[int, int], _Hits] = {}
    for key, limit, mine, chunk in _chunks(index, rows, bounds, ["UVW"]):
        if key not in hits:
            hits[key] = _no_hits(index, rows, *key)
        hit = hits[key]
        place = np.searchsorted(hit.time_ids, index.time_id[chunk.rows[mine]])
        good, size = _good(index, chunk, mine)
        above = good & (size > limit.high)
        outside = above | (good & (size < limit.low))
        np.logical_or.at(hit.seen, place, good.any(axis=2))
        np.logical_or.at(hit.outside, place, outside.any(axis=2))
        np.logical_or.at(hit.above, place, above.any(axis=2))
        length = _spacing(chunk["UVW"][mine])
        np.logical_or.at(hit.spacing_seen, (place, length), good.any(axis=(1, 2)))
        np.logical_or.at(hit.spacing_outside, (place, length), outside.any(axis=(1, 2)))
        hit.samples += np.bincount(length, good.sum(axis=(1, 2)), len(hit.samples)).astype(np.int64)
    return {key: _standing(hit) for key, hit in hits.items()}


def _no_hits(index: MSIndex, rows: NDArray[np.int64], field: int, spw: int) -> _Hits:
    mine = rows[(index.field[rows] == field) & (index.spw[rows] == spw)]
    ids, first = np.unique(index.time_id[mine], return_index=True)
    by_channel, by_spacing = (len(ids), index.spws[spw].nchan), (len(ids), len(SPACINGS) - 1)
    empty = [np.zeros(shape, bool) for shape in (by_channel, by_channel, by_channel, by_spacing, by_spacing)]
    return _Hits(ids.astype(np.int64), index.scan[mine[first]], *empty, np.zeros(by_spacing[1], np.int64))


def _standing(hit: _Hits) -> Standing:
    channels = _persistent(hit.seen, hit.outside, hit.scans)
    spacings = _persistent(hit.spacing_seen, hit.spacing_outside, hit.scans)
    above = _persistent(hit.seen, hit.above, hit.scans)
    last = int(np.flatnonzero(spacings).max()) + 1 if spacings.any() else 0
    broad = channels.sum() > MOST * max(hit.seen.any(axis=0).sum(), 1)
    all_spacings = hit.samples[:last].sum() > MOST * hit.samples.sum()
    if broad and all_spacings:
        return Standing(spacing=np.inf, above=_numbers(above))
    if broad:  # structure, seen in all channels
        return Standing(spacing=float(SPACINGS[last]), above=_numbers(above))
    # the wings of a line are fainter than its middle
    wide = channels | np.roll(channels, 1) | np.roll(channels, -1) if len(channels) > 2 else channels
    wide[[0, -1]] &= channels[[0, -1]] | channels[[1, -2]] if len(channels) > 2 else True
    return Standing(_numbers(wide), 0.0 if all_spacings else float(SPACINGS[last]), _numbers(above))


def _persistent(seen: NDArray[np.bool_], outside: NDArray[np.bool_], scans: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,): outside in most integrations of every part of the time, and in every scan; (ntime, n) each."""
    result = outside.any(axis=0)
    for part in np.array_split(np.arange(len(seen)), min(PARTS, len(seen))):
        result &= outside[part].sum(axis=0) >= MOST * seen[part].sum(axis=0)
    for scan in np.unique(scans):
        result &= outside[scans == scan].any(axis=0) | ~seen[scans == scan].any(axis=0)
    return result


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
    for (field, spw), limit, mine, chunk in _chunks(index, rows, bounds, ["UVW"]):
        kept = standing.get((field, spw), Standing())
        good, size = _good(index, chunk, mine)
        wrong = good & ((size < limit.low) | (size > limit.high))
        wrong[:, sorted(kept.channels)] = False
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
    index: MSIndex, rows: NDArray[np.int64], bounds: dict[tuple[int, int], Limit], more: list[str]
) -> Iterator[tuple[tuple[int, int], Limit, NDArray[np.int64], Chunk]]:
    """(field, spw), its limit, and its rows in a chunk of corrected cross-correlations."""
    wanted = np.zeros(len(rows), bool)
    for field, spw in bounds:
        wanted |= (index.field[rows] == field) & (index.spw[rows] == spw)
    wanted &= index.ant1[rows] != index.ant2[rows]
    for chunk in read_chunks(index, rows[wanted], ["CORRECTED_DATA", "FLAG", *more]):
        fields = index.field[chunk.rows]
        for field in np.unique(fields).tolist():
            if (field, chunk.spw) in bounds:
                yield (field, chunk.spw), bounds[field, chunk.spw], np.flatnonzero(fields == field), chunk


def _good(
    index: MSIndex, chunk: Chunk, mine: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Unflagged samples of the parallel hands (nrow, nchan, nhand), and the amplitudes of all."""
    hands = index.polarizations[int(index.ddid_pol[chunk.ddid])].parallel
    return ~chunk["FLAG"][mine][:, :, hands], np.abs(chunk["CORRECTED_DATA"][mine][:, :, hands])


def _spacing(uvw: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of SPACINGS of each row."""
    return np.searchsorted(SPACINGS, np.hypot(uvw[:, 0], uvw[:, 1]), side="right") - 1


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
