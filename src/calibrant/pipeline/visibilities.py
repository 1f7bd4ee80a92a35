"""Averages of the visibilities for the report's figures, in one pass over the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.ms.reader import Chunk, read_chunks
from calibrant.pipeline.roles import label
from calibrant.plots.averages import Averages, ColumnAverages, PartAverages

COLUMNS = ("DATA", "CORRECTED_DATA", "MODEL_DATA")
MAX_UV_POINTS = 6000


def average_visibilities(
    index: MSIndex,
    *,
    columns: Sequence[str] = COLUMNS,
    fields: Sequence[int] | None = None,
    spws: Sequence[int] | None = None,
) -> Averages:
    """Average the parallel hands of every field and spw; autocorrelations are left out.

    `columns` that the MS lacks are left out of the result (`PartAverages.columns` says which are there).
    Weighted by WEIGHT, flagged and non-finite samples ignored. Memory: the sums, and one chunk.
    """
    present = [name for name in columns if name in index.columns]
    rows = np.flatnonzero(_chosen(index, fields, spws))
    parts = _prepare(index, rows)
    wanted = [*present, "FLAG", "WEIGHT", "UVW"]
    for chunk in read_chunks(index, rows, wanted):
        _add_chunk(index, parts, chunk, present)
    return Averages([part.result(index) for _, part in sorted(parts.items(), key=lambda item: item[0])])


def _chosen(index: MSIndex, fields: Sequence[int] | None, spws: Sequence[int] | None) -> NDArray[np.bool_]:
    keep = index.ant1 != index.ant2
    if fields is not None:
        keep &= np.isin(index.field, fields)
    if spws is not None:
        keep &= np.isin(index.spw, spws)
    return keep


@dataclass
class _Sums:
    """Running sums of one column: value, amplitude and weight along each kept axis."""

    baseline: NDArray[Any]
    time: NDArray[Any]
    channel: NDArray[Any]

    @classmethod
    def zeros(cls, nbl: int, nt: int, nchan: int, ncorr: int) -> _Sums:
        # last axis: sum of values, sum of amplitudes, sum of weights
        return cls(*(np.zeros((n, ncorr, 3), np.complex128) for n in (nbl, nt, nchan)))

    def result(self) -> ColumnAverages:
        means: list[Any] = []
        for sums in (self.baseline, self.time, self.channel):
            weight = sums[..., 2].real
            known = weight > 0
            scale = np.where(known, 1 / np.where(known, weight, 1), np.nan)
            means += [np.where(known, sums[..., 0], np.nan) * np.where(known, scale, 1), sums[..., 1].real * scale]
        return ColumnAverages(*means)


@dataclass
class _Part:
    """Sums of one field in one spw (and polarization setup)."""

    field: int
    spw: int
    hands: NDArray[np.int64]
    correlations: tuple[str, ...]
    pairs: NDArray[np.int64]
    time_ids: NDArray[np.int64]
    nrow: int
    nchan: int
    sums: dict[str, _Sums] = dataclasses.field(default_factory=dict)
    distance: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))
    uv: list[NDArray[np.float64]] = dataclasses.field(default_factory=list)
    seen: int = 0

    def sums_of(self, column: str) -> _Sums:
        if column not in self.sums:
            self.sums[column] = _Sums.zeros(len(self.pairs), len(self.time_ids), self.nchan, len(self.hands))
        return self.sums[column]

    def result(self, index: MSIndex) -> PartAverages:
        nant = len(index.antennas)
        return PartAverages(
            field=self.field,
            field_name=label(index, self.field),
            spw=self.spw,
            correlations=self.correlations,
            freq=index.spws[self.spw].freq,
            ant1=self.pairs // nant,
            ant2=self.pairs % nant,
            uvdist=self.distance[:, 0] / np.maximum(self.distance[:, 1], 1),
            times=index.times[self.time_ids],
            uv=np.concatenate(self.uv) if self.uv else np.zeros((0, 2)),
            columns={name: sums.result() for name, sums in self.sums.items()},
        )


def _prepare(index: MSIndex, rows: NDArray[np.int64]) -> dict[tuple[int, int, int], _Part]:
    """An empty part for each (field, spw, DATA_DESC_ID) among the rows."""
    nant = len(index.antennas)
    ndd = len(index.ddid_spw)
    group = index.field[rows].astype(np.int64) * ndd + index.ddid[rows]
    parts = {}
    for one in np.unique(group):
        mine = rows[group == one]
        field_id, ddid = int(one) // ndd, int(one) % ndd
        spw = int(index.ddid_spw[ddid])
        polarization = index.polarizations[int(index.ddid_pol[ddid])]
        hands = polarization.parallel
        pairs = np.unique(index.ant1[mine].astype(np.int64) * nant + index.ant2[mine])
        parts[field_id, spw, ddid] = _Part(
            field_id, spw, hands, tuple(polarization.names[hand] for hand in hands), pairs,
            np.unique(index.time_id[mine]).astype(np.int64), len(mine), index.spws[spw].nchan,
            distance=np.zeros((len(pairs), 2)),
        )  # fmt: skip
    return parts


def _add_chunk(index: MSIndex, parts: dict[tuple[int, int, int], _Part], chunk: Chunk, columns: Sequence[str]) -> None:
    fields = index.field[chunk.rows]
    hands = next(part.hands for (_, _, ddid), part in parts.items() if ddid == chunk.ddid)
    weight = np.nan_to_num(np.asarray(chunk["WEIGHT"][:, hands], np.float32), posinf=0.0, neginf=0.0)
    if "FLAG_ROW" in index.columns:
        weight[index.column("FLAG_ROW")[chunk.rows]] = 0
    picks = [(int(one), np.flatnonzero(fields == one)) for one in np.unique(fields)]
    places = {one: _places(index, parts[one, chunk.spw, chunk.ddid], chunk, rows) for one, rows in picks}
    for number, hand in enumerate(hands):
        good = ~chunk["FLAG"][:, :, hand]
        for one, rows in picks:
            _add_uv(parts[one, chunk.spw, chunk.ddid], chunk, rows, good, places[one][0], number)
        for column in columns:
            plane = np.ascontiguousarray(chunk[column][:, :, hand])
            for one, rows in picks:
                sums = parts[one, chunk.spw, chunk.ddid].sums_of(column)
                whole = len(rows) == len(plane)
                values = plane if whole else plane[rows]
                kept = good if whole else good[rows]
                _add_plane(sums, values, kept, weight[rows, number], *places[one], number)


def _places(
    index: MSIndex, part: _Part, chunk: Chunk, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the rows among the part's baselines and times."""
    where = chunk.rows[rows]
    pair = index.ant1[where].astype(np.int64) * len(index.antennas) + index.ant2[where]
    return np.searchsorted(part.pairs, pair), np.searchsorted(part.time_ids, index.time_id[where])


def _add_uv(
    part: _Part, chunk: Chunk, rows: NDArray[np.int64], good: NDArray[np.bool_], pair: NDArray[np.int64], number: int
) -> None:
    """Baseline lengths of all rows; u, v of an even sample of rows with data. Once, with the first hand."""
    if number:
        return
    uv = chunk["UVW"][rows, :2]
    length = np.hypot(uv[:, 0], uv[:, 1])
    part.distance[:, 0] += np.bincount(pair, length, len(part.distance))
    part.distance[:, 1] += np.bincount(pair, minlength=len(part.distance))
    stride = max(1, part.nrow // MAX_UV_POINTS)
    sample = np.arange((-part.seen) % stride, len(rows), stride)
    part.seen += len(rows)
    part.uv.append(uv[sample][good[rows[sample]].any(axis=1)])


def _add_plane(
    sums: _Sums, values: NDArray[np.complex64], good: NDArray[np.bool_], weight: NDArray[np.float32],
    pair: NDArray[np.int64], time: NDArray[np.int64], number: int,
) -> None:  # fmt: skip
    """Add one hand of rows (nrow, nchan). Channel sums are matrix products; row sums go to baseline and time."""
    kept = good.astype(np.float32)
    values = values * kept
    ones = np.ones(values.shape[1], np.float32)
    total = values @ ones.astype(np.complex64)
    if not np.isfinite(total).all():
        finite = np.isfinite(values)
        values = np.where(finite, values, 0)
        kept *= finite
        total = values @ ones.astype(np.complex64)
    count = (kept @ ones).astype(np.float64)
    sums.channel[:, number, 0] += weight.astype(np.complex64) @ values
    sums.channel[:, number, 1] += weight @ np.abs(values)
    sums.channel[:, number, 2] += weight @ kept
    row_sum = total.astype(np.complex128) * weight
    row_amp, row_weight = np.abs(row_sum), count * weight
    for target, place in ((sums.baseline, pair), (sums.time, time)):
        size = len(target)
        target[:, number, 0] += np.bincount(place, row_sum.real, size) + 1j * np.bincount(place, row_sum.imag, size)
        target[:, number, 1] += np.bincount(place, row_amp, size)
        target[:, number, 2] += np.bincount(place, row_weight, size)
