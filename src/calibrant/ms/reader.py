"""Reading MAIN in small chunks: one pass, bounded memory, reused buffers.

Rows are taken in file order in windows; inside a window they are grouped by DATA_DESC_ID, so that a chunk has one
shape, and interleaved spectral windows are still read once. A chunk is about 4 MB of DATA, which stays in the
processor's cache while it is worked on (measured: twice as fast as 80 MB chunks). Buffers are reused, because fresh
memory costs more than the data (page faults): copy what you keep.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import MeasurementSetError
from calibrant.ms.index import MSIndex
from calibrant.ms.journal import load
from calibrant.ms.tables import open_table
from calibrant.ms.tiles import TileColumn, open_tiles

CHUNK_BYTES = 4 << 20
MAX_CHUNK_ROWS = 1 << 16
THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""On few cores a second thread shortens nothing (measured: same wall time, 20 % more CPU time on two)."""
SHORT_RUN = 4
"""Rows scattered in runs shorter than this are read through a row selection inside casacore."""

SHAPES = {
    "DATA": ("cf", np.complex64),
    "CORRECTED_DATA": ("cf", np.complex64),
    "MODEL_DATA": ("cf", np.complex64),
    "FLAG": ("cf", np.bool_),
    "WEIGHT_SPECTRUM": ("cf", np.float32),
    "SIGMA_SPECTRUM": ("cf", np.float32),
    "WEIGHT": ("c", np.float32),
    "SIGMA": ("c", np.float32),
    "UVW": ("u", np.float64),
}
"""Columns that are read from disk chunk by chunk: 'cf' (channel, correlation), 'c' (correlation), 'u' (3)."""

Payload = TypeVar("Payload")


@dataclass(frozen=True)
class ChunkPlan:
    """Rows (ascending) of one DATA_DESC_ID that are read together."""

    ddid: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """Data of some rows of one DATA_DESC_ID. Arrays are views of reused buffers, valid until the next chunk.

    data: column -> (nrow, nchan, ncorr), (nrow, ncorr), (nrow, 3) or (nrow,), in the order of `rows`.
    """

    ddid: int
    spw: int
    rows: NDArray[np.int64]
    data: dict[str, NDArray[Any]]

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.data[column]


def plan_chunks(index: MSIndex, rows: NDArray[np.int64], chunk_bytes: int = CHUNK_BYTES) -> list[ChunkPlan]:
    """Cut ascending `rows` into chunks of one DATA_DESC_ID and about `chunk_bytes` of DATA each."""
    rows = np.asarray(rows, np.int64)
    if not len(rows):
        return []
    ddids = index.ddid[rows]
    present = np.unique(ddids)
    size = np.array([max(1, _cell_bytes(index, int(ddid))) for ddid in present])
    limit = dict(zip(present.tolist(), np.clip(chunk_bytes // size, 1, MAX_CHUNK_ROWS).tolist(), strict=True))
    if len(present) == 1:
        step = limit[int(present[0])]
        return [ChunkPlan(int(present[0]), rows[start : start + step]) for start in range(0, len(rows), step)]
    window = int(sum(limit.values()))
    plans = []
    for start in range(0, len(rows), window):
        part, ids = rows[start : start + window], ddids[start : start + window]
        for ddid in np.unique(ids):
            mine = part[ids == ddid]
            step = limit[int(ddid)]
            plans += [ChunkPlan(int(ddid), mine[first : first + step]) for first in range(0, len(mine), step)]
    return plans


def _cell_bytes(index: MSIndex, ddid: int) -> int:
    nchan, ncorr = cell_shape(index, ddid)
    return 8 * nchan * ncorr


def cell_shape(index: MSIndex, ddid: int) -> tuple[int, int]:
    """(nchan, ncorr) of a DATA cell of this DATA_DESC_ID."""
    return (
        index.spws[int(index.ddid_spw[ddid])].nchan,
        len(index.polarizations[int(index.ddid_pol[ddid])].corr_type),
    )


class ChunkReader:
    """Reads chunks of the given columns into its own reused buffers. One a thread; `share` the open table."""

    def __init__(self, index: MSIndex, columns: Sequence[str], share: ChunkReader | None = None) -> None:
        self.index, self.columns = index, tuple(columns)
        missing = [name for name in columns if name not in index.columns]
        if missing:
            raise MeasurementSetError(f"{index.path} has no column {', '.join(missing)}")
        self._table: Any = share._table if share else open_table(index.path)
        self._tiles: dict[str, TileColumn] = share._tiles if share else open_tiles(index.path, self._table, columns)
        self._buffers: dict[tuple[str, int, int], NDArray[Any]] = {}

    def close(self) -> None:
        for tiles in self._tiles.values():
            tiles.close()
        self._table.close()

    def read(self, plan: ChunkPlan) -> Chunk:
        """Read one chunk. MeasurementSetError names the column and rows that could not be read."""
        data = {name: self._column(name, plan) for name in self.columns}
        return Chunk(plan.ddid, int(self.index.ddid_spw[plan.ddid]), plan.rows, data)

    def _column(self, name: str, plan: ChunkPlan) -> NDArray[Any]:
        if name not in SHAPES:
            return self.index.column(name)[plan.rows]
        out = self.buffer(name, plan)
        tiles = self._tiles.get(name)
        if tiles is not None and tiles.read(plan.rows, out):
            return out
        try:
            fill(self._table, name, plan.rows, out)
        except RuntimeError as error:
            first, last = plan.rows[0], plan.rows[-1]
            unfinished = [run.task for run in load(self.index.path).killed if name in run.columns]
            hint = "the MeasurementSet may be truncated: copy it again"
            if unfinished:
                hint = f"{unfinished[-1]}, which fills it, did not reach its end: run it again"
            raise MeasurementSetError(
                f"{self.index.path}: column {name} cannot be read in rows {first} to {last} ({error}); {hint}"
            ) from None
        return out

    def buffer(self, name: str, plan: ChunkPlan) -> NDArray[Any]:
        """Reused memory for a column of these rows, of the shape that their DATA_DESC_ID asks for."""
        axes, dtype = SHAPES[name]
        nchan, ncorr = cell_shape(self.index, plan.ddid)
        shape = {"cf": (nchan, ncorr), "c": (ncorr,), "u": (3,)}[axes]
        key = (name, nchan, ncorr)
        held = self._buffers.get(key)
        if held is None or len(held) < len(plan.rows):
            held = self._buffers[key] = np.empty((len(plan.rows), *shape), dtype)
        return held[: len(plan.rows)]


def runs(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(position in `rows`, length) of every run of consecutive row numbers."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = np.concatenate(([0], breaks)).astype(np.int64)
    return starts, np.diff(np.append(starts, len(rows)))


def fill(tab: Any, column: str, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Read `column` of ascending `rows` into `out` with as few casacore calls as the rows allow."""
    starts, lengths = runs(rows)
    if len(starts) == 1:
        tab.getcolnp(column, out, int(rows[0]), len(rows), 1)
        return
    steps = np.diff(rows)
    if (steps == steps[0]).all():
        tab.getcolnp(column, out, int(rows[0]), len(rows), int(steps[0]))
    elif len(rows) < SHORT_RUN * len(starts):
        selected = tab.selectrows(rows.tolist())
        selected.getcolnp(column, out, 0, len(rows), 1)
        selected.close()
    else:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            tab.getcolnp(column, out[start : start + length], int(rows[start]), length, 1)


def has_cells(index: MSIndex, column: str, rows: NDArray[np.int64]) -> bool:
    """Whether an optional column exists and its cells in these rows are filled with the shape of DATA."""
    if column not in index.columns or len(rows) == 0:
        return False
    tab = open_table(index.path)
    ddids, first = np.unique(index.ddid[rows], return_index=True)
    filled = all(
        tab.iscelldefined(column, row) and np.shape(tab.getcell(column, row)) == cell_shape(index, ddid)
        for ddid, row in zip(ddids.tolist(), rows[first].tolist(), strict=True)
    )
    tab.close()
    return filled


def read_chunks(
    index: MSIndex, rows: NDArray[np.int64], columns: Sequence[str], *, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Chunk]:
    """Iterate over ascending `rows` chunk by chunk (see the module's text for order and reuse of buffers)."""
    reader = ChunkReader(index, columns)
    try:
        for plan in plan_chunks(index, rows, chunk_bytes):
            yield reader.read(plan)
    finally:
        reader.close()


def read_rows(index: MSIndex, column: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """`column` of ascending `rows` as one fresh array; shaped columns need rows of one DATA_DESC_ID."""
    rows = np.asarray(rows, np.int64)
    if column not in SHAPES:
        return index.column(column)[rows]
    reader = ChunkReader(index, [column])
    try:
        if len(rows) == 0:
            return reader.buffer(column, ChunkPlan(0, rows)).copy()
        return reader.read(ChunkPlan(int(index.ddid[rows[0]]), rows))[column].copy()
    finally:
        reader.close()


def map_chunks(
    index: MSIndex,
    plans: Sequence[ChunkPlan],
    columns: Sequence[str],
    work: Callable[[Chunk], Payload],
    commit: Callable[[Payload], None],
    threads: int = THREADS,
) -> None:
    """Run `work` on every chunk in `threads` threads and `commit` its result in the order of `plans`.

    Kernels and tile reads release the GIL, python-casacore does not: one thread reads while the other computes.
    The chunk's buffers are free for reuse after `commit`. The order of commits makes results reproducible.
    """
    readers = [ChunkReader(index, columns)]
    try:
        if threads < 2 or len(plans) < 3:
            for plan in plans:
                commit(work(readers[0].read(plan)))
            return
        readers += [ChunkReader(index, columns, share=readers[0]) for _ in range(threads - 1)]
        _run_threads(readers, plans, work, commit)
    finally:
        readers[0].close()


def _run_threads(
    readers: list[ChunkReader],
    plans: Sequence[ChunkPlan],
    work: Callable[[Chunk], Payload],
    commit: Callable[[Payload], None],
) -> None:
    turn = threading.Condition()
    state = {"next": 0, "committed": 0}
    failed: list[BaseException] = []

    def worker(reader: ChunkReader) -> None:
        try:
            while not failed:
                with turn:
                    mine = state["next"]
                    state["next"] += 1
                if mine >= len(plans):
                    return
                payload = work(reader.read(plans[mine]))
                with turn:
                    while state["committed"] != mine and not failed:
                        turn.wait()
                    if failed:
                        return
                    commit(payload)
                    state["committed"] += 1
                    turn.notify_all()
        except BaseException as error:
            with turn:
                failed.append(error)
                turn.notify_all()

    with ThreadPoolExecutor(len(readers)) as pool:
        list(pool.map(worker, readers))
    if failed:
        raise failed[0]
