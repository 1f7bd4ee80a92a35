"""From a MeasurementSet to solutions: what `gaincal` and `bandpass` share.

One pass: rows -> cells -> sums (`solve.reduce`) -> gains (`solve.antenna`) or delays (`solve.delay`) -> reference
antenna, SNR cut, normalisation -> a CalTable. Cells are taken in batches, so that memory depends on the solutions
wanted and not on the length of the observation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError, SelectionError, SolveError
from calibrant.ms.index import MSIndex
from calibrant.ms.reader import THREADS, Chunk, has_cells, map_chunks, plan_chunks
from calibrant.progress import progress
from calibrant.tasks.chain import Chain
from calibrant.tasks.intervals import Cells, Solint, plan_cells

if TYPE_CHECKING:
    from calibrant.caltable.table import CalTable, SpwSolutions
    from calibrant.ms.selection import Selection
    from calibrant.solve.reduce import Channels, Sums

BATCH_BYTES = 48 << 20


@dataclass(frozen=True)
class Solve:
    """What to solve: kind ('G Jones', ...), how, and with what priors."""

    kind: str
    solint: Solint
    combine: frozenset[str]
    refants: list[int]
    calmode: str = "ap"
    strict: bool = False
    minblperant: int = 4
    minsnr: float = 3.0
    corrdepflags: bool = False
    channelized: bool = False

    @property
    def npar(self) -> int:
        return 1 if self.kind == "T Jones" else 2


@dataclass
class SolveStats:
    """Counts of solutions (antenna x receptor x interval x channel) and of their outcomes."""

    expected: int = 0
    with_data: int = 0
    above_minblperant: int = 0
    above_minsnr: int = 0
    intervals: int = 0
    intervals_without_data: int = 0
    outcomes: Counter[int] = field(default_factory=Counter)
    refants: Counter[int] = field(default_factory=Counter)

    def add(self, outcome: NDArray[np.uint8]) -> None:
        from calibrant.solve.outcome import Outcome

        counts = np.bincount(outcome.ravel(), minlength=max(Outcome) + 1)
        self.expected += outcome.size
        self.with_data += outcome.size - int(counts[Outcome.NO_DATA])
        self.above_minblperant += int(outcome.size - counts[Outcome.NO_DATA] - counts[Outcome.TOO_FEW_BASELINES])
        self.above_minsnr += int(counts[Outcome.CONVERGED] + counts[Outcome.FILLED])
        self.outcomes.update({code: int(n) for code, n in enumerate(counts) if n})

    def sentences(self) -> list[str]:
        """One sentence an outcome that is not success, most frequent first."""
        from calibrant.solve.outcome import SENTENCES, Outcome

        failed = [(n, code) for code, n in self.outcomes.items() if code not in (Outcome.CONVERGED, Outcome.FILLED)]
        return [f"{n} of {self.expected}: {SENTENCES[Outcome(code)]}" for n, code in sorted(failed, reverse=True)]


@dataclass(frozen=True)
class Baselines:
    """number (nant, nant): position of a cross baseline, -1 if absent; ant1, ant2 (nbaseline,)."""

    number: NDArray[np.int64]
    ant1: NDArray[np.int64]
    ant2: NDArray[np.int64]


def baselines_of(index: MSIndex, rows: NDArray[np.int64]) -> Baselines:
    """The cross baselines present in `rows`."""
    nant = len(index.antennas)
    present = np.zeros(nant * nant, bool)
    present[index.ant1[rows].astype(np.int64) * nant + index.ant2[rows]] = True
    grid = present.reshape(nant, nant)
    np.fill_diagonal(grid, False)
    ant1, ant2 = np.nonzero(grid)
    number = np.full((nant, nant), -1, np.int64)
    number[ant1, ant2] = np.arange(len(ant1))
    return Baselines(number, ant1.astype(np.int64), ant2.astype(np.int64))


def solve(index: MSIndex, selection: Selection, how: Solve, chain: Chain, title: str) -> tuple[CalTable, SolveStats]:
    """Solve and return the table (not yet written) and its statistics.

    Raises SelectionError without cross-correlations, SolveError if not a single interval has unflagged data.
    """
    from calibrant.caltable.table import CalTable

    rows = _cross_rows(index, selection, chain, how)
    cells = plan_cells(index, rows, how.solint, how.combine)
    baselines = baselines_of(index, rows)
    axes = {spw: channel_bins(index, selection, spw, how) for spw in selection.channels}
    stats = SolveStats(intervals=len(cells))
    solved: dict[int, list[Solved]] = {}
    with progress(title, total=len(rows)) as bar:
        for batch in _batches(cells, baselines, axes, how):
            mine = np.isin(cells.cell, batch.cells) if len(batch.cells) < len(cells) else slice(None)
            part = Pass(index, how, chain, selection, baselines, axes, batch, rows[mine], cells.cell[mine])
            sums = part.run(bar)
            solved.setdefault(batch.spw, []).append(part.solve(sums, cells))
    spws = {}
    for spw, parts in sorted(solved.items()):
        solutions = _finish(index, how, spw, _concatenate(parts), axes, stats)
        if solutions is not None:
            spws[spw] = solutions
    if not spws:
        raise SolveError(
            f"{index.path}: no solution in any of {len(cells)} intervals, because all selected data are flagged"
            " (see calibrant flagdata --mode summary) or have no weight (SIGMA is 0)"
        )
    if stats.above_minsnr == 0:
        why = "; ".join(stats.sentences())
        raise SolveError(f"{index.path}: not one good solution in {len(cells)} intervals; {why}")
    table = CalTable(
        kind=how.kind,
        par_type="Float" if how.kind == "K Jones" else "Complex",
        ms_name=index.path.rsplit("/", 1)[-1],
        spws=spws,
        antenna_names=list(index.antennas.name),
        field_names=list(index.fields.name),
        field_direction=index.fields.direction,
    )
    return table, stats


def _cross_rows(index: MSIndex, selection: Selection, chain: Chain, how: Solve) -> NDArray[np.int64]:
    rows = selection.rows
    rows = rows[index.ant1[rows] != index.ant2[rows]]  # autocorrelations carry noise power, not the source
    if len(rows) == 0:
        raise SelectionError(f"{index.path}: the selection ({selection.describe()}) has no cross-correlations")
    missing = {spw: chain.missing(spw) for spw in np.unique(index.spw[rows]).tolist()}
    lacking = {spw: paths for spw, paths in missing.items() if paths}
    if lacking:
        words = "; ".join(f"spw {spw}: {', '.join(paths)}" for spw, paths in lacking.items())
        raise SolveError(f"no solutions to apply beforehand for {words}; give spwmap, or leave these spws out")
    if how.kind == "K Jones":
        if not how.refants:
            raise ParameterError("gaintype 'K' needs a refant: delays are measured against one antenna")
        touching = [(index.ant1[rows] == ant) | (index.ant2[rows] == ant) for ant in how.refants]
        best = next((mask for mask in touching if mask.any()), None)
        if best is None:
            names = ", ".join(index.antennas.name[ant] for ant in how.refants)
            raise SelectionError(f"refant {names}: no selected data on its baselines")
        rows = rows[best]
    return rows


# ---- channels -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """Channels of one data spw: bins for the kernel, and the frequency and width (Hz) of each bin."""

    channels: Channels
    freq: NDArray[np.float64]
    width: NDArray[np.float64]
    centroid: float
    bandwidth: float


def channel_bins(index: MSIndex, selection: Selection, spw: int, how: Solve) -> Axis:
    """How the selected channels of a spw are binned: one bin, or bins of solint's width, or every channel."""
    from calibrant.solve.reduce import Channels

    window = index.spws[spw]
    chosen = np.asarray(selection.channels[spw], np.int64)
    freq, width = window.freq[chosen], np.abs(window.width[chosen])
    if not (how.channelized or how.kind == "K Jones"):
        bin_of = np.zeros(len(chosen), np.int64)
    elif how.solint.nchan:
        bin_of = np.arange(len(chosen)) // how.solint.nchan
    elif how.solint.hertz:
        middle = (np.cumsum(width) - 0.5 * width) // how.solint.hertz
        bin_of = np.unique(middle, return_inverse=True)[1].astype(np.int64)
    else:
        bin_of = np.arange(len(chosen))
    bins = np.full(window.nchan, -1, np.int64)
    bins[chosen] = bin_of
    nbin = int(bin_of.max()) + 1
    count = np.bincount(bin_of, minlength=nbin)
    return Axis(
        Channels(bins, nbin),
        np.bincount(bin_of, freq, nbin) / count,
        np.asarray(np.bincount(bin_of, width, nbin), float),
        float(np.average(freq, weights=width)),
        float(width.sum()),
    )


# ---- batches --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Cells of one output spw whose sums are held in memory together."""

    spw: int
    cells: NDArray[np.int64]
    nbin: int


def _batches(cells: Cells, baselines: Baselines, axes: dict[int, Axis], how: Solve) -> Iterator[Batch]:
    for spw in np.unique(cells.spw).tolist():
        mine = np.flatnonzero(cells.spw == spw)
        nbin = total_bins(axes, spw, how)
        size = len(baselines.ant1) * nbin * 2 * 24
        step = max(1, BATCH_BYTES // max(size, 1))
        for start in range(0, len(mine), step):
            yield Batch(int(spw), mine[start : start + step], nbin)


def total_bins(axes: dict[int, Axis], spw: int, how: Solve) -> int:
    """Bins of an output spw; delays over combined spws keep every spw's channels."""
    if "spw" in how.combine and how.kind == "K Jones":
        return sum(axis.channels.nbin for axis in axes.values())
    return axes[spw].channels.nbin


# ---- one pass over the rows of a batch ------------------------------------------------------------------------


@dataclass(frozen=True)
class Solved:
    """Solutions of a batch: gain (real for delays), error, snr (nslot, nant, nbin, npar), outcome; and the slots'
    time, field, scan, obs; `seen`: any unflagged data."""

    gain: NDArray[Any]
    error: NDArray[np.float64]
    snr: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    time: NDArray[np.float64]
    field: NDArray[np.int32]
    scan: NDArray[np.int32]
    obs: NDArray[np.int32]
    seen: NDArray[np.bool_]


@dataclass
class Pass:
    """Reads the rows of one batch and solves its cells."""

    index: MSIndex
    how: Solve
    chain: Chain
    selection: Selection
    baselines: Baselines
    axes: dict[int, Axis]
    batch: Batch
    rows: NDArray[np.int64]
    cell: NDArray[np.int32]

    def run(self, bar: Any) -> Sums:
        """Sums of the batch's cells."""
        from calibrant.solve.reduce import Sums
        from calibrant.tasks.models import row_models

        sums = Sums(len(self.batch.cells), len(self.baselines.ant1), self.batch.nbin, 2, self.how.corrdepflags)
        cell_of = np.full(self.index.nrow, -1, np.int32)
        cell_of[self.rows] = np.searchsorted(self.batch.cells, self.cell)
        ddids = np.unique(self.index.ddid[self.rows]).tolist()
        present = np.unique(self.index.field[self.rows])
        models = {ddid: row_models(self.index, ddid, present.tolist()) for ddid in ddids}
        columns = ["DATA", "FLAG", "SIGMA"]
        if has_cells(self.index, "SIGMA_SPECTRUM", self.rows):
            columns.append("SIGMA_SPECTRUM")
        if any((model.model_of_field[present] < 0).any() for model in models.values()):
            columns.append("MODEL_DATA")
        time_column = "TIME_CENTROID" if "TIME_CENTROID" in self.index.columns else "TIME"
        self.index.column(time_column)
        prepare = Preparation(self, models, cell_of, time_column)

        def commit(part: Any) -> None:
            sums.add(part)
            bar.advance(len(part.rows.vis))

        plans = plan_chunks(self.index, self.rows)
        map_chunks(self.index, plans, columns, lambda chunk: sums.reduce(prepare(chunk)), commit)
        return sums

    def solve(self, sums: Sums, cells: Cells) -> Solved:
        """Gains or delays of the batch's cells, before the reference antenna and the SNR cut."""
        which = self.batch.cells
        seen = sums.weight > 0
        if self.how.kind == "K Jones":
            gain, error, snr, outcome = self._delays(sums)
        else:
            gain, error, snr, outcome = self._gains(sums)
        return Solved(
            gain, error, snr, outcome, sums.time, cells.field[which], cells.scan[which], cells.obs[which], seen
        )

    def _gains(self, sums: Sums) -> tuple[NDArray[Any], ...]:
        from calibrant.solve.antenna import solve_gains

        ncell, nbl, nbin, npol = sums.norm.shape
        nant, npar = len(self.index.antennas), self.how.npar
        guess = self.how.refants[0] if self.how.refants else 0
        gain = np.empty((ncell, nbin, nant, npar), np.complex128)
        error, snr = np.empty((ncell, nbin, nant, npar)), np.empty((ncell, nbin, nant, npar))
        outcome = np.empty((ncell, nbin, nant, npar), np.uint8)

        def block(place: tuple[slice, slice]) -> None:
            cell, bin_ = place
            a = np.ascontiguousarray(sums.numerator[cell, :, bin_].swapaxes(1, 2)).reshape(-1, nbl, npol)
            b = np.ascontiguousarray(sums.norm[cell, :, bin_].swapaxes(1, 2)).reshape(-1, nbl, npol)
            found = solve_gains(
                a, b, self.baselines.ant1, self.baselines.ant2, nant,
                calmode=self.how.calmode, common=npar == 1, minblperant=self.how.minblperant, guess_refant=guess,
            )  # fmt: skip
            shape = gain[cell, bin_].shape
            gain[cell, bin_], error[cell, bin_] = found.gain.reshape(shape), found.error.reshape(shape)
            snr[cell, bin_], outcome[cell, bin_] = found.snr.reshape(shape), found.outcome.reshape(shape)

        step = 64
        if nbin == 1:
            places = [(slice(k, k + step), slice(0, 1)) for k in range(0, ncell, step)]
        else:
            places = [(slice(c, c + 1), slice(k, k + step)) for c in range(ncell) for k in range(0, nbin, step)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(block, places))
        return tuple(array.swapaxes(1, 2) for array in (gain, error, snr, outcome))

    def _delays(self, sums: Sums) -> tuple[NDArray[Any], ...]:
        from calibrant.solve.delay import solve_delays
        from calibrant.solve.outcome import Outcome

        combined = "spw" in self.how.combine
        axes = list(self.axes.values()) if combined else [self.axes[self.batch.spw]]
        freq = np.concatenate([axis.freq for axis in axes])
        refant = next(
            ant for ant in self.how.refants if ((self.baselines.ant1 == ant) | (self.baselines.ant2 == ant)).any()
        )
        found = solve_delays(
            sums.numerator, sums.norm, self.baselines.ant1, self.baselines.ant2, len(self.index.antennas), freq, refant
        )
        outcome = np.where(found.good, Outcome.CONVERGED, Outcome.NO_DATA).astype(np.uint8)
        nanoseconds = 1e9
        return tuple(
            array[:, :, None, :] for array in (found.delay * nanoseconds, found.error * nanoseconds, found.snr, outcome)
        )


@dataclass
class Preparation:
    """Makes a chunk ready for the sums: priors divided out, weights, model, cell and baseline of every row."""

    part: Pass
    models: dict[int, Any]
    cell_of: NDArray[np.int32]
    time_column: str

    def __call__(self, chunk: Chunk) -> Any:
        from calibrant.solve import kernels
        from calibrant.solve.reduce import Rows

        part, index = self.part, self.part.index
        rows = chunk.rows
        pol = index.polarizations[int(index.ddid_pol[chunk.ddid])]
        product = np.ascontiguousarray(pol.product, np.int64)
        ant1, ant2 = index.ant1[rows].astype(np.int64), index.ant2[rows].astype(np.int64)
        vis, flag = chunk["DATA"], chunk["FLAG"]
        spectral = chunk.data.get("SIGMA_SPECTRUM")  # where it exists it counts, as in CASA's solvers
        weight = weights_from_sigma(chunk["SIGMA"]) if spectral is None else np.ones_like(chunk["SIGMA"])
        own = np.float32(1) if spectral is None else weights_from_sigma(spectral)
        factor: Any = 1
        if part.chain:
            factors = part.chain.factors(chunk.spw, rows)
            kernels.correct(vis, factors.inverse, factors.slot, ant1, ant2, product, vis)
            kernels.spread_flags(flag, factors.bad, factors.slot, ant1, ant2, product)
            kernels.scale_weights(weight, factors.weight, factors.slot, ant1, ant2, product)
            if factors.spectrum is not None:
                left = factors.spectrum[factors.slot, ant1][:, :, product[:, 0]]
                right = factors.spectrum[factors.slot, ant2][:, :, product[:, 1]]
                factor = left * right
        by_channel = own * weight[:, None, :] * factor
        spectra, which = self._model(chunk)
        hands = np.ascontiguousarray(pol.parallel, np.int64)
        return Rows(
            vis, flag, np.ascontiguousarray(by_channel, np.float32), spectra, which,
            index.column(self.time_column)[rows], self.cell_of[rows].astype(np.int64),
            part.baselines.number[ant1, ant2], hands, product[hands, 0], self._channels(chunk.spw),
        )  # fmt: skip

    def _model(self, chunk: Chunk) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
        model = self.models[chunk.ddid]
        which = model.model_of_field[self.part.index.field[chunk.rows]].astype(np.int64)
        if (which < 0).any():
            full = chunk["MODEL_DATA"]
            for row_model in np.unique(which[which >= 0]).tolist():
                full[which == row_model] = model.spectra[row_model]
            return full, np.arange(len(which), dtype=np.int64)
        return model.spectra, which

    def _channels(self, spw: int) -> Channels:
        from calibrant.solve.reduce import Channels

        part = self.part
        own = part.axes[spw].channels
        if not ("spw" in part.how.combine and part.how.kind == "K Jones"):
            return own
        offset = 0
        for other, axis in part.axes.items():
            if other == spw:
                break
            offset += axis.channels.nbin
        return Channels(np.where(own.bins >= 0, own.bins + offset, -1), part.batch.nbin)


def weights_from_sigma(sigma: NDArray[np.float32]) -> NDArray[np.float32]:
    """1/sigma^2; 0 where sigma is not a positive number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = 1.0 / np.square(sigma)
    return np.where((sigma > 0) & np.isfinite(weight), weight, np.float32(0)).astype(np.float32)


# ---- after the solve ------------------------------------------------------------------------------------------


def _concatenate(parts: list[Solved]) -> Solved:
    if len(parts) == 1:
        return parts[0]
    names = ("gain", "error", "snr", "outcome", "time", "field", "scan", "obs", "seen")
    return Solved(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _finish(
    index: MSIndex, how: Solve, spw: int, solved: Solved, axes: dict[int, Axis], stats: SolveStats
) -> SpwSolutions | None:
    """Drop intervals without data, cut on SNR, reference phases; None where nothing is left."""
    from calibrant.caltable.table import SpwSolutions
    from calibrant.solve.outcome import Outcome
    from calibrant.solve.refant import apply_refant, candidate_order

    stats.intervals_without_data += int((~solved.seen).sum())
    keep = np.flatnonzero(solved.seen)
    keep = keep[np.argsort(solved.time[keep], kind="stable")]
    if len(keep) == 0:
        return None
    gain, error, snr = solved.gain[keep], solved.error[keep], solved.snr[keep]
    outcome = solved.outcome[keep].copy()
    converged = outcome == Outcome.CONVERGED
    outcome[(converged | (outcome == Outcome.NOT_CONVERGED)) & (snr <= how.minsnr)] = Outcome.LOW_SNR
    good = outcome == Outcome.CONVERGED
    refant = np.full(len(keep), -1, np.int32)
    if how.refants and how.kind != "K Jones":
        order = candidate_order(how.refants, index.antennas.position)
        before = good
        if how.calmode == "a":
            refant[:] = how.refants[0]
        else:
            gain, good, refant = apply_refant(gain, good, order, how.strict)
            outcome[before & ~good] = Outcome.NO_REFERENCE
    stats.add(outcome)
    stats.refants.update(refant.tolist())
    freq, width = _table_axis(axes, spw, how)
    nant = len(index.antennas)
    return SpwSolutions(
        spw=spw,
        time=solved.time[keep],
        interval=np.zeros(len(keep)),
        field=solved.field[keep],
        scan=solved.scan[keep],
        obs=solved.obs[keep],
        refant=np.repeat(refant[:, None], nant, axis=1),
        freq=freq,
        width=width,
        param=gain.astype(np.float32 if how.kind == "K Jones" else np.complex64),
        error=error.astype(np.float32),
        snr=snr.astype(np.float32),
        flag=~good,
        outcome=outcome,
    )


def _table_axis(axes: dict[int, Axis], spw: int, how: Solve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequency and width of the table's channels: the bins, or one channel at the band's centroid."""
    if how.channelized:
        return axes[spw].freq, axes[spw].width
    used = list(axes.values()) if "spw" in how.combine else [axes[spw]]
    width = np.array([axis.bandwidth for axis in used])
    centroid = np.average([axis.centroid for axis in used], weights=width)
    return np.array([centroid]), np.array([width.sum()])
