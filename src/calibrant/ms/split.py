"""A part of a MeasurementSet as a new one: rows, channels and correlations selected, channels and times averaged.

Averages are weighted with the inverse variances of the unflagged samples,

    V = sum w_k V_k / sum w_k,    WEIGHT = 1/var(V) = sum w_k,    SIGMA = 1/sqrt(WEIGHT),

w_k = WEIGHT (or WEIGHT_SPECTRUM) for the corrected data and the model, 1/SIGMA^2 for the raw data of an MS that has
corrected data too (applycal gives WEIGHT the units of CORRECTED_DATA, SIGMA stays that of DATA). An average is flagged
only if all its samples are; then it is the average of the flagged. Channels are taken to be independent.

As CASA's split, except: averages over channels are weighted, not plain means; averaged data always get a
WEIGHT_SPECTRUM (flags make channels differ), WEIGHT is its mean over the unflagged channels and SIGMA follows from
WEIGHT always; DATA gets the weights of DATA; correlations keep their labels in any order asked; channels are not
averaged across gaps of the selection; FLAG_ROW is set where all is flagged. Same as CASA: a time bin takes the
integrations whose middle is less than `timebin` after its first; a rest of channels that does not fill a bin is
dropped (and named in the report).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import MeasurementSetError, ParameterError, SelectionError
from calibrant.ms.create import NewMS, check_output, create_ms_from, weight_of_sigma
from calibrant.ms.index import MSIndex
from calibrant.ms.reader import Chunk, read_chunks, runs
from calibrant.ms.split_subtables import adapt_subtables, renumber
from calibrant.ms.tables import open_table
from calibrant.progress import progress

if TYPE_CHECKING:
    from calibrant.ms.selection import Selection

SCALARS = (
    "TIME", "TIME_CENTROID", "INTERVAL", "EXPOSURE", "ANTENNA1", "ANTENNA2", "FEED1", "FEED2", "FIELD_ID",
    "DATA_DESC_ID", "SCAN_NUMBER", "STATE_ID", "OBSERVATION_ID", "ARRAY_ID", "PROCESSOR_ID",
)  # fmt: skip
CARRIED = {
    *SCALARS, "UVW", "FLAG", "FLAG_ROW", "FLAG_CATEGORY", "DATA", "CORRECTED_DATA", "MODEL_DATA", "WEIGHT", "SIGMA",
    "WEIGHT_SPECTRUM", "SIGMA_SPECTRUM", "IMAGING_WEIGHT",
}  # fmt: skip
"""MAIN columns that split knows; others are named in the report as left out."""

COLUMNS = {"data": "DATA", "corrected": "CORRECTED_DATA", "model": "MODEL_DATA"}
COMBINE = ("scan", "state")

BLOCK_BYTES = 32 << 20
"""Memory of the sums that are built at one time."""
CELL_BYTES = 49
"""Bytes of the sums of one averaged visibility (see `Sums`)."""
ROWS_AT_ONCE = 1 << 20
MANY_ROWS = 64
"""Time averages of more rows in one chunk are summed in one call instead of row after row."""
TINY_WEIGHT = 1e-20
"""Stands for weight 0 in averages that have nothing better."""


@dataclass(frozen=True)
class ChannelBins:
    """index (nbin, width): the channels of each bin; dropped: selected channels that fill no bin."""

    index: NDArray[np.int64]
    dropped: NDArray[np.int64]

    @property
    def nbin(self) -> int:
        return len(self.index)

    @property
    def width(self) -> int:
        return int(self.index.shape[1])


def channel_bins(channels: NDArray[np.int64], width: int) -> ChannelBins:
    """Bins of `width` neighbouring channels within each run of consecutive channels.

    Where the longest run has fewer than `width` channels, it becomes one bin.
    """
    channels = np.asarray(channels, np.int64)
    starts, lengths = runs(channels)
    width = min(width, int(lengths.max()))
    full = [(start, length // width * width) for start, length in zip(starts, lengths, strict=True)]
    used = np.concatenate([channels[start : start + length] for start, length in full])
    return ChannelBins(used.reshape(-1, width), np.setdiff1d(channels, used))


@dataclass(frozen=True)
class Averaging:
    """What is averaged: `width` channels of every spw (spw -> width), `timebin` (s, 0: none), what bins may cross."""

    width: dict[int, int] = field(default_factory=dict)
    timebin: float = 0.0
    combine: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ids:
    """Old ids kept in the output, in the order of their new ids."""

    fields: NDArray[np.int64]
    spws: NDArray[np.int64]
    pols: NDArray[np.int64]
    ddids: NDArray[np.int64]
    sources: NDArray[np.int64]


@dataclass(frozen=True)
class SplitPlan:
    """Everything decided before the data are read. `bin_of_row` numbers the output row of each row of `rows`."""

    index: MSIndex
    column: str
    rows: NDArray[np.int64]
    bin_of_row: NDArray[np.int64]
    nrow: int
    bins: dict[int, ChannelBins]
    correlations: dict[int, NDArray[np.int64]]
    ids: Ids
    averaging: Averaging
    spectrum_in: bool
    use_sigma: bool
    notes: tuple[str, ...]

    @property
    def averages(self) -> bool:
        return self.averaging.timebin > 0 or any(bins.width > 1 for bins in self.bins.values())

    @property
    def spectrum_out(self) -> bool:
        return self.averages or self.spectrum_in

    def shape(self, ddid: int) -> tuple[int, int]:
        """(nchan, ncorr) of the output for an old DATA_DESC_ID."""
        spw, pol = int(self.index.ddid_spw[ddid]), int(self.index.ddid_pol[ddid])
        return self.bins[spw].nbin, len(self.correlations[pol])

    @property
    def bytes(self) -> int:
        """Size of the output's data, flags and weights."""
        first = _first_of_bins(self)
        cell = 8.125 + (4 if self.spectrum_out else 0)
        counts = np.bincount(self.index.ddid[self.rows[first]], minlength=len(self.index.ddid_spw))
        cells = sum(int(counts[ddid]) * np.prod(self.shape(int(ddid))) for ddid in self.ids.ddids)
        return int(cells * cell)


# ---- planning -------------------------------------------------------------------------------------------


def plan_split(
    index: MSIndex,
    selection: Selection,
    *,
    datacolumn: str = "corrected",
    fields: Sequence[int] | None = None,
    averaging: Averaging | None = None,
    keepflags: bool = True,
) -> SplitPlan:
    """Decide rows, bins and new ids. fields: ids to keep in FIELD (default: all), in ascending order.

    Raises MeasurementSetError where the column is missing, SelectionError where nothing is left to write.
    """
    averaging = averaging or Averaging()
    column = _data_column(index, datacolumn)
    bins = {
        spw: channel_bins(channels, averaging.width.get(spw, 1)) for spw, channels in sorted(selection.channels.items())
    }
    rows, notes = _rows_with_correlations(index, selection)
    notes += [
        f"{len(b.dropped)} channels of spw {spw} do not fill a bin of {b.width} and are left out: {_span(b.dropped)}"
        for spw, b in bins.items()
        if len(b.dropped)
    ]
    extra = sorted(set(index.columns) - CARRIED)
    if extra:
        notes.append(f"columns left out: {', '.join(extra)}")
    spectrum = "WEIGHT_SPECTRUM" in index.columns and _is_filled(index, "WEIGHT_SPECTRUM", rows)
    use_sigma = column == "DATA" and "CORRECTED_DATA" in index.columns
    if not keepflags:
        rows, note = _drop_flagged(index, rows, bins, selection.correlations, averaging)
        notes += note
    if not len(rows):
        raise SelectionError(
            f"{index.path}: every selected row is flagged; nothing to split (keepflags=True keeps them)"
        )
    bin_of_row, nrow = row_bins(index, rows, averaging)
    ids = _ids(index, list(bins), selection.correlations, fields)
    return SplitPlan(
        index, column, rows, bin_of_row, nrow, bins, dict(selection.correlations), ids, averaging,
        spectrum and not use_sigma, use_sigma, tuple(notes),
    )  # fmt: skip


def _data_column(index: MSIndex, datacolumn: str) -> str:
    if datacolumn not in COLUMNS:
        raise ParameterError(
            f"datacolumn={datacolumn!r}: split writes one column, as DATA: data, corrected or model "
            "(several columns at once would need several sets of weights; copy the MeasurementSet instead)"
        )
    column = COLUMNS[datacolumn]
    if column not in index.columns:
        what = {
            "DATA": "it holds no visibilities in the usual form",
            "CORRECTED_DATA": "run applycal first, or use datacolumn='data'",
            "MODEL_DATA": "run setjy with usescratch=True first",
        }[column]
        raise MeasurementSetError(f"{index.path} has no column {column}: {what}")
    return column


def _is_filled(index: MSIndex, column: str, rows: NDArray[np.int64]) -> bool:
    """Whether an optional column has values (CASA may leave it there without any)."""
    if not len(rows):
        return False
    tab = open_table(index.path)
    filled = bool(tab.iscelldefined(column, int(rows[0])))
    tab.close()
    return filled


def _rows_with_correlations(index: MSIndex, selection: Selection) -> tuple[NDArray[np.int64], list[str]]:
    """The selected rows without those whose polarization setup has none of the selected correlations."""
    ncorr = np.array([len(selection.correlations.get(pol, ())) for pol in range(len(index.polarizations))])
    rows = np.asarray(selection.rows, np.int64)
    good = ncorr[index.ddid_pol[index.ddid[rows]]] > 0
    dropped = int((~good).sum())
    notes = [f"{dropped} rows have none of the selected correlations and are left out"] if dropped else []
    return rows[good], notes


def _drop_flagged(
    index: MSIndex,
    rows: NDArray[np.int64],
    bins: dict[int, ChannelBins],
    correlations: dict[int, NDArray[np.int64]],
    averaging: Averaging,
) -> tuple[NDArray[np.int64], list[str]]:
    """Leave out the rows of those output rows whose samples are all flagged (one pass over FLAG)."""
    flagged = np.zeros(len(rows), bool)
    for chunk in read_chunks(index, rows, ["FLAG", "FLAG_ROW"]):
        where = np.searchsorted(rows, chunk.rows)
        pol = int(index.ddid_pol[chunk.ddid])
        cube = chunk["FLAG"][:, bins[chunk.spw].index.ravel()][:, :, correlations[pol]]
        flagged[where] = chunk["FLAG_ROW"] | cube.all(axis=(1, 2))
    bin_of_row, nrow = row_bins(index, rows, averaging)
    some = np.zeros(nrow, bool)
    some[bin_of_row[~flagged]] = True
    notes = [f"{int((~some).sum())} rows are flagged throughout and are left out"] if not some.all() else []
    return rows[some[bin_of_row]], notes


def row_bins(index: MSIndex, rows: NDArray[np.int64], averaging: Averaging) -> tuple[NDArray[np.int64], int]:
    """(output row of every row of `rows`, number of output rows); output rows in the order of their first row.

    A bin holds one baseline (with its feeds) of one DATA_DESC_ID, field, observation, array and, unless combined,
    scan and state.
    """
    if averaging.timebin <= 0:
        return np.arange(len(rows)), len(rows)
    apart = ["DATA_DESC_ID", "FIELD_ID", "OBSERVATION_ID", "ARRAY_ID"]
    apart += [name for word, name in (("scan", "SCAN_NUMBER"), ("state", "STATE_ID")) if word not in averaging.combine]
    group = _number([index.column(name)[rows] for name in apart if name in index.columns])
    slot = _time_slots(group, index.time[rows], averaging.timebin)
    pair = [index.column(name)[rows] for name in ("ANTENNA1", "ANTENNA2", "FEED1", "FEED2") if name in index.columns]
    _, first, inverse = np.unique(_number([slot, *pair]), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse.ravel()], len(first)


def _number(keys: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """One number (0, 1, ...) for each distinct combination of the keys."""
    number = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        _, inverse = np.unique(key, return_inverse=True)
        combined = number * (int(inverse.max()) + 1) + inverse.ravel()
        number = np.unique(combined, return_inverse=True)[1].ravel()
    return number


def _time_slots(group: NDArray[np.int64], time: NDArray[np.float64], timebin: float) -> NDArray[np.int64]:
    """Number of the time bin of every row: in each group a bin starts at the first time not in the one before."""
    order = np.lexsort((time, group))
    ordered_group, ordered_time = group[order], time[order]
    starts = []
    for first, last in _stretches(ordered_group):
        position = first
        while position < last:
            starts.append(position)
            # times are f8 seconds near 5e9, good to 1e-6: a multiple of the integration must not gain one more
            limit = ordered_time[position] + timebin * (1 - 1e-6) - 1e-6
            position += max(1, int(np.searchsorted(ordered_time[position:last], limit)))
    slot = np.zeros(len(time), np.int64)
    slot[np.array(starts, np.int64)] = 1
    result = np.empty(len(time), np.int64)
    result[order] = np.cumsum(slot) - 1
    return result


def _stretches(ordered: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(first, last + 1) of every stretch of equal values."""
    cuts = (np.flatnonzero(np.diff(ordered)) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(ordered)], strict=True))


def _ids(
    index: MSIndex,
    spws: list[int],
    correlations: dict[int, NDArray[np.int64]],
    fields: Sequence[int] | None,
) -> Ids:
    kept_fields = np.arange(len(index.fields)) if fields is None else np.unique(np.asarray(fields, np.int64))
    chosen = np.isin(index.ddid_spw, spws)
    chosen &= np.array([len(correlations.get(int(pol), ())) > 0 for pol in index.ddid_pol], bool)
    ddids = np.flatnonzero(chosen)
    pols = np.unique(index.ddid_pol[ddids]).astype(np.int64)
    sources = np.unique(index.fields.source_id[kept_fields])
    return Ids(kept_fields, np.array(sorted(spws), np.int64), pols, ddids, sources[sources >= 0].astype(np.int64))


def _span(channels: NDArray[np.int64]) -> str:
    starts, lengths = runs(channels)
    parts = [(int(channels[s]), int(n)) for s, n in zip(starts, lengths, strict=True)]
    return ";".join(str(first) if count == 1 else f"{first}~{first + count - 1}" for first, count in parts)


def _first_of_bins(plan: SplitPlan) -> NDArray[np.int64]:
    """Position in `plan.rows` of the first row of every output row."""
    first = np.full(plan.nrow, len(plan.rows), np.int64)
    np.minimum.at(first, plan.bin_of_row, np.arange(len(plan.rows)))
    return first


# ---- writing --------------------------------------------------------------------------------------------


def write_split(plan: SplitPlan, outputvis: str, *, history: Sequence[str] = (), overwrite: bool = False) -> int:
    """Write the output; number of non-finite samples that averages treated as flagged.

    Raises ExistsError, MeasurementSetError (see `create_ms_from`); nothing is left after an error.
    """
    check_output(outputvis, overwrite)
    shapes = [plan.shape(int(ddid)) for ddid in plan.ids.ddids]
    with create_ms_from(
        outputvis, plan.index.path, shapes=shapes, nrow=plan.nrow, weight_spectrum=plan.spectrum_out,
        history=history, overwrite=overwrite,
    ) as new:  # fmt: skip
        adapt_subtables(plan, new.path)
        with progress("split", len(plan.rows)) as bar:
            if not plan.averages:
                _copy_rows(plan, new, bar)
                return 0
            return _average_rows(plan, new, bar)


def _columns(plan: SplitPlan) -> list[str]:
    """The shaped columns to read: data, flags, weights."""
    weights = ["SIGMA"] if plan.use_sigma else ["WEIGHT"]
    return [plan.column, "FLAG", *weights, *(["WEIGHT_SPECTRUM"] if plan.spectrum_in else [])]


def _scalars(plan: SplitPlan, positions: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Scalar columns of some of `plan.rows`, with new ids."""
    index = plan.index
    values = {name: index.column(name)[plan.rows[positions]] for name in SCALARS if name in index.columns}
    values["DATA_DESC_ID"] = renumber(plan.ids.ddids, len(index.ddid_spw))[values["DATA_DESC_ID"]]
    values["FIELD_ID"] = renumber(plan.ids.fields, len(index.fields))[values["FIELD_ID"]]
    return values


def _selected(plan: SplitPlan, chunk: Chunk) -> dict[str, NDArray[Any]]:
    """The chunk's data, flags and weights with only the channels (in bins) and correlations of the output."""
    channels = plan.bins[chunk.spw].index.ravel()
    corrs = plan.correlations[int(plan.index.ddid_pol[chunk.ddid])]
    nchan, ncorr = chunk["FLAG"].shape[1:]
    all_channels = len(channels) == nchan
    all_corrs = np.array_equal(corrs, np.arange(ncorr))
    found: dict[str, NDArray[Any]] = {}
    for name in _columns(plan):
        array = chunk[name]
        if array.ndim == 3 and not all_channels:
            array = array[:, channels]
        found[name] = array if all_corrs else array[..., corrs]
    found["FLAG"] = found["FLAG"] | plan.index.column("FLAG_ROW")[chunk.rows][:, None, None]
    if plan.use_sigma:
        found["WEIGHT"] = weight_of_sigma(found["SIGMA"])
    return found


def _copy_rows(plan: SplitPlan, new: NewMS, bar: Any) -> None:
    """No averaging: output row n is row n of `plan.rows`."""
    for start in range(0, plan.nrow, ROWS_AT_ONCE):
        positions = np.arange(start, min(start + ROWS_AT_ONCE, plan.nrow))
        new.put_rows(start, _scalars(plan, positions))
    for chunk in read_chunks(plan.index, plan.rows, [*_columns(plan), "UVW"]):
        found = _selected(plan, chunk)
        values = {"DATA": found[plan.column], "FLAG": found["FLAG"], "WEIGHT": found["WEIGHT"], "UVW": chunk["UVW"]}
        if plan.spectrum_in:
            values["WEIGHT_SPECTRUM"] = found["WEIGHT_SPECTRUM"]
        put_scattered(new, np.searchsorted(plan.rows, chunk.rows), values)
        bar.advance(len(chunk.rows))


def put_scattered(new: NewMS, rows: NDArray[np.int64], values: dict[str, NDArray[Any]]) -> None:
    """Write values of ascending `rows`, one put for each run of consecutive rows."""
    starts, lengths = runs(rows)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        piece = slice(start, start + length)
        new.put_rows(int(rows[start]), {name: array[piece] for name, array in values.items()})


class Sums:
    """Weighted sums of the output rows of one DATA_DESC_ID: (nrow, nbin, ncorr) each.

    good: some sample is unflagged; `data`, `weight` sum the unflagged samples, `spare_data`, `spare_weight` the
    others, for averages of which nothing is unflagged.
    """

    def __init__(self, rows: NDArray[np.int64], shape: tuple[int, int]) -> None:
        self.rows = rows
        size = (len(rows), *shape)
        self.data, self.spare_data = np.zeros(size, np.complex128), np.zeros(size, np.complex128)
        self.weight, self.spare_weight = np.zeros(size), np.zeros(size)
        self.good = np.zeros(size, bool)

    def result(self) -> dict[str, NDArray[Any]]:
        """DATA, FLAG, WEIGHT_SPECTRUM and WEIGHT of the averages."""
        empty = self.weight <= 0
        spare = np.where(self.spare_weight > 0, self.spare_weight, 1)
        data = np.where(empty, self.spare_data / spare, self.data / np.where(empty, 1, self.weight))
        spectrum = np.where(
            self.good, self.weight, np.where(self.spare_weight > 1e6 * TINY_WEIGHT, self.spare_weight, 0)
        )
        # a row's weight speaks for the channels that are used, if any are
        used = np.where(self.good.any(axis=1, keepdims=True), self.good, True)
        weight = (spectrum * used).sum(axis=1) / used.sum(axis=1)
        return {"DATA": data, "FLAG": ~self.good, "WEIGHT_SPECTRUM": spectrum, "WEIGHT": weight}


class RowSums:
    """What the scalar columns of averaged rows need, summed over rows: weights, times, uvw, exposures."""

    def __init__(self, nrow: int) -> None:
        self.weight, self.time, self.uvw = np.zeros(nrow), np.zeros(nrow), np.zeros((nrow, 3))
        self.exposure, self.all_exposure, self.interval = np.zeros(nrow), np.zeros(nrow), np.zeros(nrow)
        self.plain, self.plain_time, self.plain_uvw = np.zeros(nrow), np.zeros(nrow), np.zeros((nrow, 3))
        self.first, self.last = np.full(nrow, np.inf), np.full(nrow, -np.inf)

    def add(self, out: NDArray[np.int64], weight: NDArray[Any], row: dict[str, NDArray[Any]], origin: float) -> None:
        """out: output row of each row; weight: its summed good weight (0: nothing unflagged)."""
        time, half = row["TIME_CENTROID"] - origin, row["INTERVAL"] / 2
        np.add.at(self.weight, out, weight)
        np.add.at(self.time, out, weight * time)
        np.add.at(self.uvw, out, weight[:, None] * row["UVW"])
        np.add.at(self.plain, out, 1)
        np.add.at(self.plain_time, out, time)
        np.add.at(self.plain_uvw, out, row["UVW"])
        np.add.at(self.exposure, out, row["EXPOSURE"] * (weight > 0))
        np.add.at(self.all_exposure, out, row["EXPOSURE"])
        np.add.at(self.interval, out, row["INTERVAL"])
        np.minimum.at(self.first, out, row["TIME"] - origin - half)
        np.maximum.at(self.last, out, row["TIME"] - origin + half)

    def result(self, origin: float) -> dict[str, NDArray[Any]]:
        """TIME is the bin's middle, INTERVAL its sum; the rest belongs to the unflagged data (all, if none)."""
        none = self.weight <= 0
        total = np.where(none, self.plain, self.weight)
        return {
            "TIME": origin + (self.first + self.last) / 2,
            "TIME_CENTROID": origin + np.where(none, self.plain_time, self.time) / total,
            "INTERVAL": self.interval,
            "EXPOSURE": np.where(none, self.all_exposure, self.exposure),
            "UVW": np.where(none[:, None], self.plain_uvw, self.uvw) / total[:, None],
        }


def _average_rows(plan: SplitPlan, new: NewMS, bar: Any) -> int:
    """Build the output block by block; number of non-finite samples met."""
    first = _first_of_bins(plan)
    order = np.argsort(plan.bin_of_row, kind="stable")
    ends = np.searchsorted(plan.bin_of_row[order], np.arange(plan.nrow), side="right")
    columns = [*_columns(plan), "UVW", "TIME", "TIME_CENTROID", "INTERVAL", "EXPOSURE"]
    broken = 0
    for start, stop in _blocks(plan, first):
        members = np.sort(order[(ends[start - 1] if start else 0) : ends[stop - 1]])
        rows = plan.rows[members]
        ddid_of = plan.index.ddid[plan.rows[first[start:stop]]]
        sums = {int(ddid): Sums(np.flatnonzero(ddid_of == ddid), plan.shape(int(ddid))) for ddid in np.unique(ddid_of)}
        row_sums, origin = RowSums(stop - start), float(plan.index.time[rows[0]])
        for chunk in read_chunks(plan.index, rows, columns):
            out = plan.bin_of_row[np.searchsorted(plan.rows, chunk.rows)] - start
            weight, count = _add_chunk(plan, chunk, sums[chunk.ddid], out)
            row_sums.add(out, weight, chunk.data, origin)
            broken += count
            bar.advance(len(chunk.rows))
        new.put_rows(start, {**_scalars(plan, first[start:stop]), **row_sums.result(origin)})
        for part in sums.values():
            put_scattered(new, part.rows + start, part.result())
    return broken


def _blocks(plan: SplitPlan, first: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of output rows whose sums take about BLOCK_BYTES."""
    ddids = plan.index.ddid[plan.rows[first]]
    size = np.zeros(len(plan.index.ddid_spw), np.int64)
    for ddid in plan.ids.ddids:
        size[ddid] = CELL_BYTES * int(np.prod(plan.shape(int(ddid))))
    number = np.cumsum(size[ddids]) // BLOCK_BYTES
    yield from _stretches(number)


def _add_chunk(plan: SplitPlan, chunk: Chunk, sums: Sums, out: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """Add a chunk to the sums; (each row's good weight, number of non-finite unflagged samples)."""
    found, bins = _selected(plan, chunk), plan.bins[chunk.spw]
    data, flag = found[plan.column], found["FLAG"]
    weight = found["WEIGHT_SPECTRUM"] if plan.spectrum_in else found["WEIGHT"][:, None, :]
    weight = np.where(np.isfinite(weight) & (weight > 0), weight, 0)
    finite = np.isfinite(data)
    broken = int((~finite & ~flag).sum())
    if not finite.all():
        data = np.where(finite, data, 0)
    good = finite & ~flag
    used = np.where(good, weight, np.float32(0))
    part = {"data": used * data, "weight": used, "good": good.astype(np.float32)}
    if not (used > 0).all():
        spare = np.where(used > 0, 0, np.maximum(weight, TINY_WEIGHT)) * finite
        part |= {"spare_data": spare * data, "spare_weight": spare}
    order = np.argsort(out, kind="stable")
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(out[order])) + 1))
    target = np.searchsorted(sums.rows, out[order][cuts])
    for name, array in part.items():
        total = _sum_rows(_sum_channels(array, bins), order, cuts)
        if name == "good":
            sums.good[target] |= total > 0.5
        else:
            getattr(sums, name)[target] += total
    return used.sum(axis=(1, 2), dtype=np.float64), broken


def _sum_rows(array: NDArray[Any], order: NDArray[np.int64], cuts: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of array[order] from each of `cuts` to the next, in double precision."""
    counts = np.diff(np.append(cuts, len(order)))
    if counts.max() == 1:
        return array[order]
    double = np.result_type(array, np.float64)
    if counts.max() > MANY_ROWS:
        return np.asarray(np.add.reduceat(array[order], cuts, axis=0, dtype=double))
    # one integration of all baselines at a time: reduceat over the first axis takes three times as long
    total = array[order[cuts]].astype(double)
    for step in range(1, int(counts.max())):
        more = np.flatnonzero(counts > step)
        total[slice(None) if len(more) == len(cuts) else more] += array[order[cuts[more] + step]]
    return total


def _sum_channels(array: NDArray[Any], bins: ChannelBins) -> NDArray[Any]:
    """(nrow, nbin*width, ncorr) -> (nrow, nbin, ncorr), in the precision of `array`.

    Channel by channel: numpy's own sum over a short middle axis takes five times as long, and a matrix product
    waits for its threads on a busy machine."""
    nrow, _, ncorr = array.shape
    if bins.width == 1:
        return array
    cube = array.reshape(nrow, bins.nbin, bins.width, ncorr)
    total = cube[:, :, 0].copy()
    for channel in range(1, bins.width):
        total += cube[:, :, channel]
    return total
