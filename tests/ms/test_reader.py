"""Chunks: every row once, as getcol gives it, whatever the order of the rows; threads; broken files."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from calibrant.errors import MeasurementSetError
from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.reader import Chunk, map_chunks, plan_chunks, read_chunks, read_rows, runs
from calibrant.ms.tables import open_table
from planted import Plan, Planted, Window, flag, get, plant

COLUMNS = ["DATA", "FLAG", "SIGMA", "WEIGHT", "UVW", "TIME", "ANTENNA1"]
WINDOWS = (Window(13, corr="XX XY YX YY"), Window(4, 102e9, corr="XX"), Window(300, 104e9))


@pytest.fixture(scope="module", params=["time", "spw", "shuffled"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    made = plant(tmp_path_factory.mktemp("reader") / "a.ms", Plan(nant=5, windows=WINDOWS, order=request.param))
    rng = np.random.default_rng(1)
    flag(made.path, change=lambda flags: rng.uniform(size=flags.shape) < 0.3)
    return made


def cells(path: str, column: str) -> list[Any]:
    tab = open_table(path)
    result = [tab.getcell(column, row) for row in range(tab.nrows())]
    tab.close()
    return result


SELECTIONS = {
    "all": lambda index: np.arange(index.nrow),
    "every third": lambda index: np.arange(0, index.nrow, 3),
    "scattered": lambda index: np.flatnonzero(np.random.default_rng(2).uniform(size=index.nrow) < 0.3),
    "one spw": lambda index: np.flatnonzero(index.spw == 2),
    "pairs": lambda index: np.flatnonzero(np.arange(index.nrow) % 7 < 5),
    "one row": lambda index: np.array([17]),
}


@pytest.mark.parametrize("chunk_bytes", [2_000, 100_000, 1 << 22])
@pytest.mark.parametrize("name", SELECTIONS)
def test_every_row_once(name: str, chunk_bytes: int, made: Planted) -> None:
    index = open_index(made.path)
    rows = SELECTIONS[name](index)
    truth = {column: cells(made.path, column) for column in COLUMNS}
    seen: list[int] = []
    for chunk in read_chunks(index, rows, COLUMNS, chunk_bytes=chunk_bytes):
        assert (np.diff(chunk.rows) > 0).all()
        assert (index.ddid[chunk.rows] == chunk.ddid).all()
        assert chunk.spw == index.ddid_spw[chunk.ddid]
        for column in COLUMNS:
            np.testing.assert_array_equal(chunk[column], np.stack([truth[column][row] for row in chunk.rows]))
        size = chunk["DATA"].nbytes
        assert size <= max(chunk_bytes, chunk["DATA"][:1].nbytes)
        seen += chunk.rows.tolist()
    assert sorted(seen) == rows.tolist()


def test_interleaved_windows_are_read_once(made: Planted) -> None:
    """Chunks follow the file: a chunk never lies more than a window of rows behind the one before."""
    index = open_index(made.path)
    plans = plan_chunks(index, np.arange(index.nrow), 50_000)
    assert sum(len(plan.rows) for plan in plans) == index.nrow
    last = np.array([plan.rows[-1] for plan in plans])
    reach = sum(50_000 // (8 * w.nchan * len(w.corr.split())) for w in WINDOWS)
    assert (np.maximum.accumulate(last) - last).max() <= reach


def test_buffers_are_reused(made: Planted) -> None:
    index = open_index(made.path)
    rows = np.flatnonzero(index.spw == 0)
    places = {
        chunk["DATA"].__array_interface__["data"][0] for chunk in read_chunks(index, rows, ["DATA"], chunk_bytes=5000)
    }
    assert len(places) == 1


def test_read_rows(made: Planted) -> None:
    index = open_index(made.path)
    rows = np.flatnonzero(index.spw == 1)[::2]
    np.testing.assert_array_equal(read_rows(index, "DATA", rows), np.stack([cells(made.path, "DATA")[r] for r in rows]))
    np.testing.assert_array_equal(read_rows(index, "UVW", np.arange(9)), get(made.path, "UVW")[:9])
    np.testing.assert_array_equal(read_rows(index, "TIME", rows), get(made.path, "TIME")[rows])
    none = np.zeros(0, np.int64)
    assert read_rows(index, "DATA", none).shape == (0, 13, 4)
    assert read_rows(index, "TIME", none).shape == (0,)
    assert list(read_chunks(index, none, ["DATA"])) == []


def test_runs() -> None:
    starts, lengths = runs(np.array([3, 4, 5, 9, 11, 12]))
    assert starts.tolist() == [0, 3, 4]
    assert lengths.tolist() == [3, 1, 2]


# ---- threads ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_commits_come_in_order(threads: int, made: Planted) -> None:
    index = open_index(made.path)
    plans = plan_chunks(index, np.arange(index.nrow), 20_000)
    committed: list[tuple[list[int], complex]] = []

    def work(chunk: Chunk) -> tuple[list[int], complex]:
        return chunk.rows.tolist(), complex(chunk["DATA"].sum(dtype=complex))

    map_chunks(index, plans, ["DATA"], work, committed.append, threads)
    assert [rows for rows, _ in committed] == [plan.rows.tolist() for plan in plans]
    expected = [
        complex(chunk["DATA"].sum(dtype=complex))
        for chunk in read_chunks(index, np.arange(index.nrow), ["DATA"], chunk_bytes=20_000)
    ]
    assert [total for _, total in committed] == expected


@pytest.mark.parametrize("where", ["work", "commit"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_exceptions_reach_the_caller(where: str, error: type[BaseException], made: Planted) -> None:
    """No thread waits for a turn that never comes."""
    index = open_index(made.path)
    plans = plan_chunks(index, np.arange(index.nrow), 5_000)
    committed: list[int] = []

    def fail(value: Any) -> Any:
        if len(committed) == 3:
            raise error("stop")
        return value

    def work(chunk: Chunk) -> int:
        return int(fail(chunk.rows[0]) if where == "work" else chunk.rows[0])

    def commit(first: int) -> None:
        committed.append(int(fail(first) if where == "commit" else first))

    before = threading.active_count()
    with pytest.raises(error, match="stop"):
        map_chunks(index, plans, ["DATA"], work, commit, 3)
    assert committed == [int(plan.rows[0]) for plan in plans[: len(committed)]]
    assert threading.active_count() == before


# ---- broken files ----------------------------------------------------------------------------------------------
def test_missing_column(made: Planted) -> None:
    index: MSIndex = open_index(made.path)
    with pytest.raises(MeasurementSetError, match="no column CORRECTED_DATA"):
        next(read_chunks(index, np.arange(3), ["DATA", "CORRECTED_DATA"]))


@pytest.mark.parametrize("column", ["DATA", "FLAG"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_truncated_column(column: str, keep: float, tmp_path: Path) -> None:
    made = plant(tmp_path / "a.ms", Plan(nant=5, windows=(Window(64),)))
    tab = open_table(made.path)
    number = tab.getdminfo(column)["SEQNR"]
    tab.close()
    for file in Path(made.path).glob(f"table.f{number}_TSM*"):
        os.truncate(file, int(file.stat().st_size * keep))
    index = open_index(made.path)
    with pytest.raises(MeasurementSetError, match=rf"(column {column}|table\.f{number}_TSM).*truncated: copy it again"):
        list(read_chunks(index, np.arange(index.nrow), ["TIME", column]))


def test_cells_without_a_value(tmp_path: Path) -> None:
    """'TSM: no array in row': said with the column and the rows."""
    from casacore.tables import table

    made = plant(tmp_path / "a.ms", Plan(nant=4))
    tab = table(made.path, readonly=False, ack=False)
    tab.addrows(3)
    tab.close()
    index = open_index(made.path)
    with pytest.raises(MeasurementSetError, match=f"column DATA cannot be read in rows .* {index.nrow - 1}"):
        list(read_chunks(index, np.arange(index.nrow), ["DATA"]))
