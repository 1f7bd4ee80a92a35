"""Tile files read directly give what getcol gives, or are left to casacore."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import makearrcoldesc, maketabdesc, table

from calibrant.ms.tiles import TileColumn, open_tiles

TYPES = {"DATA": ("complex", np.complex64), "FLAG": ("boolean", np.bool_), "WEIGHT": ("float", np.float32),
         "UVW": ("double", np.float64)}  # fmt: skip


def make(
    path: Path,
    column: str,
    shapes: list[tuple[int, ...]],
    which: np.ndarray,
    tile: list[int],
    manager: str = "TiledShapeStMan",
    endian: str = "",
    seed: int = 0,
) -> list[np.ndarray]:
    """A table of one column; row r has shape shapes[which[r]] (numpy order). Returns the cells."""
    kind, dtype = TYPES[column]
    options: dict[str, Any] = {"ndim": len(shapes[0]), "valuetype": kind}
    if manager == "TiledColumnStMan":
        options |= {"shape": list(shapes[0]), "options": 4}
    zero = {"complex": 0j, "boolean": False}.get(kind, 0.0)
    description = maketabdesc([makearrcoldesc(column, zero, datamanagertype=manager, datamanagergroup="T", **options)])
    managers = {"*1": {"TYPE": manager, "NAME": "T", "SEQNR": 0, "COLUMNS": [column],
                       "SPEC": {"DEFAULTTILESHAPE": np.array(tile, np.int32)}}}  # fmt: skip
    place = {"endian": endian} if endian else {}
    tab = table(str(path), description, nrow=len(which), dminfo=managers, ack=False, **place)
    rng = np.random.default_rng(seed)
    cells = []
    for row, number in enumerate(which):
        cells.append(random(rng, shapes[number], dtype))
        tab.putcell(column, row, cells[-1])
    tab.close()
    return cells


def random(rng: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    values = rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype == np.complex64 else 0)
    return (values > 0.3) if dtype == np.bool_ else np.asarray(values).astype(dtype)


def opened(path: Path, column: str) -> TileColumn | None:
    tab = table(str(path), ack=False)
    tiles = open_tiles(str(path), tab, [column]).get(column)
    tab.close()
    return tiles


def check(tiles: TileColumn, cells: list[np.ndarray], rows: np.ndarray) -> None:
    out = np.empty((len(rows), *cells[rows[0]].shape), cells[0].dtype)
    assert tiles.read(rows, out)
    np.testing.assert_array_equal(out, np.stack([cells[row] for row in rows]))


@pytest.mark.parametrize("column", ["DATA", "FLAG", "WEIGHT", "UVW"])
@pytest.mark.parametrize("manager", ["TiledShapeStMan", "TiledColumnStMan"])
def test_one_shape(column: str, manager: str, tmp_path: Path) -> None:
    shape = {"DATA": (5, 2), "FLAG": (5, 3), "WEIGHT": (2,), "UVW": (3,)}[column]
    cells = make(tmp_path / "t", column, [shape], np.zeros(3000, int), [*shape[::-1], 16], manager)
    tiles = opened(tmp_path / "t", column)
    assert tiles is not None
    rng = np.random.default_rng(2)
    check(tiles, cells, np.arange(3000))
    for _ in range(20):
        first, last = np.sort(rng.choice(3001, 2, replace=False))
        rows = np.arange(first, last)
        out = np.empty((len(rows), *shape), cells[0].dtype)
        assert tiles.read(rows, out)
        np.testing.assert_array_equal(out, np.stack(cells[first:last]))
    tiles.close()


@pytest.mark.parametrize("order", ["blocks", "interleaved", "shuffled"])
@pytest.mark.parametrize("column", ["DATA", "FLAG"])
def test_several_shapes(column: str, order: str, tmp_path: Path) -> None:
    """Rows of each shape, whatever lies between them; runs across the borders of the row map."""
    shapes = [(64, 4), (3, 1), (17, 2)]
    which = {
        "blocks": np.repeat([0, 1, 2, 0, 1], 60),
        "interleaved": np.tile(np.repeat([0, 1, 2], 10), 10),
        "shuffled": np.random.default_rng(4).integers(3, size=300),
    }[order]
    cells = make(tmp_path / "t", column, shapes, which, [4, 64, 8])
    tiles = opened(tmp_path / "t", column)
    if tiles is None:
        pytest.skip("casacore gives the small shapes tiles that cut cells or bytes")
    for number, shape in enumerate(shapes):
        rows = np.flatnonzero(which == number)
        out = np.zeros((len(rows), *shape), cells[0].dtype)
        if tiles.read(rows, out):
            np.testing.assert_array_equal(out, np.stack([cells[row] for row in rows]))
    mixed = np.flatnonzero(which < 2)
    assert not tiles.read(mixed, np.empty((len(mixed), *shapes[0]), cells[0].dtype))
    tiles.close()


def test_reads_large_cells_of_several_shapes(tmp_path: Path) -> None:
    """The case that matters: it must be the fast way, not casacore."""
    shapes = [(1024, 2), (512, 4)]
    which = np.tile([0, 1], 20)
    cells = make(tmp_path / "t", "DATA", shapes, which, [4, 1024, 4])
    tiles = opened(tmp_path / "t", "DATA")
    assert tiles is not None
    for number in (0, 1):
        check(tiles, cells, np.flatnonzero(which == number))
        check(tiles, cells, np.flatnonzero(which == number)[3:4])
        check(tiles, cells, np.flatnonzero(which == number)[2::5])  # with gaps
    tiles.close()


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (9, 3), (13, 2), (31, 4), (1, 2)])
@pytest.mark.parametrize("rows_per_tile", [8, 16, 5])
def test_bits_of_odd_cells(shape: tuple[int, int], rows_per_tile: int, tmp_path: Path) -> None:
    """FLAG is packed eight to a byte and cells start anywhere in one; tiles that end inside a byte are left alone."""
    cells = make(tmp_path / "t", "FLAG", [shape], np.zeros(1000, int), [*shape[::-1], rows_per_tile])
    tiles = opened(tmp_path / "t", "FLAG")
    whole = np.prod(shape) * rows_per_tile % 8 == 0
    assert (tiles is not None) == whole
    if tiles is None:
        return
    for first in range(20):
        for count in (1, 2, 7, 8, 9, 333):
            check(tiles, cells, np.arange(first, first + count))
    tiles.close()


@pytest.mark.parametrize("tile", [[2, 8, 16], [1, 32, 4]])
def test_tiles_that_cut_cells_are_left_to_casacore(tile: list[int], tmp_path: Path) -> None:
    make(tmp_path / "t", "DATA", [(32, 2)], np.zeros(50, int), tile)
    assert opened(tmp_path / "t", "DATA") is None


@pytest.mark.parametrize("manager", ["TiledShapeStMan", "TiledColumnStMan"])
def test_other_byte_order_is_left_to_casacore(manager: str, tmp_path: Path) -> None:
    other = "big" if sys.byteorder == "little" else "little"
    cells = make(tmp_path / "t", "DATA", [(32, 2)], np.zeros(50, int), [2, 32, 8], manager, endian=other)
    tab = table(str(tmp_path / "t"), ack=False)
    np.testing.assert_array_equal(tab.getcol("DATA"), np.stack(cells))
    assert tab.endianformat() == other
    tab.close()
    assert opened(tmp_path / "t", "DATA") is None


def test_other_managers_are_left_to_casacore(tmp_path: Path) -> None:
    description = maketabdesc([makearrcoldesc("DATA", 0j, ndim=2, valuetype="complex")])
    tab = table(str(tmp_path / "t"), description, nrow=3, ack=False)
    tab.putcol("DATA", np.ones((3, 4, 2), np.complex64))
    tab.flush()
    assert open_tiles(str(tmp_path / "t"), tab, ["DATA", "NONE"]) == {}
    tab.close()


def test_undefined_cells_are_left_to_casacore(tmp_path: Path) -> None:
    make(tmp_path / "t", "DATA", [(32, 2)], np.zeros(50, int), [2, 32, 8])
    tab = table(str(tmp_path / "t"), readonly=False, ack=False)
    tab.addrows(5)
    tab.close()
    assert opened(tmp_path / "t", "DATA") is None


@pytest.mark.parametrize("keep", [0.0, 0.4, 0.99])
def test_truncated_file(keep: float, tmp_path: Path) -> None:
    """Not trusted, and no exception from probing: the reader names the column."""
    make(tmp_path / "t", "DATA", [(32, 2)], np.zeros(500, int), [2, 32, 8])
    (file,) = [f for f in (tmp_path / "t").glob("table.f0_TSM*") if f.stat().st_size]
    os.truncate(file, int(file.stat().st_size * keep))
    assert opened(tmp_path / "t", "DATA") is None


def test_damaged_header_is_not_trusted(tmp_path: Path) -> None:
    """The row map says that rows are elsewhere: the comparison with getcell finds out."""
    cells = make(tmp_path / "t", "DATA", [(32, 2), (16, 2)], np.tile([0, 1], 20), [2, 32, 8])
    tab = table(str(tmp_path / "t"), ack=False)
    header = tmp_path / "t" / "table.f0"
    content = bytearray(header.read_bytes())
    start = content.rfind(b"\x00\x00\x00\x05Block")  # the last block: positions
    (count,) = struct.unpack_from(">I", content, start + 13)
    positions = np.frombuffer(content, ">u4", count, start + 17).copy()
    content[start + 17 : start + 17 + 4 * count] = np.roll(positions, 2).astype(">u4").tobytes()
    header.write_bytes(content)
    assert open_tiles(str(tmp_path / "t"), tab, ["DATA"]) == {}
    tab.close()
    assert len(cells) == 40


# ---- after a rewrite -------------------------------------------------------------------------------------------
def test_after_a_rewrite_in_this_process(tmp_path: Path) -> None:
    make(tmp_path / "t", "DATA", [(32, 2)], np.zeros(100, int), [2, 32, 8])
    tab = table(str(tmp_path / "t"), readonly=False, ack=False)
    new = random(np.random.default_rng(9), (100, 32, 2), np.complex64)
    tab.putcol("DATA", new)
    tab.close()
    tiles = opened(tmp_path / "t", "DATA")
    assert tiles is not None
    check(tiles, list(new), np.arange(100))
    tiles.close()


REWRITE = """
import sys
import numpy as np
from casacore.tables import table
tab = table(sys.argv[1], readonly=False, ack=False)
tab.putcol("DATA", np.full((40, 32, 2), 7 + 1j, np.complex64), 30, 40)
tab.close()
"""


def test_after_a_rewrite_by_another_process(tmp_path: Path) -> None:
    """Also with the files open already."""
    cells = make(tmp_path / "t", "DATA", [(32, 2)], np.zeros(100, int), [2, 32, 8])
    tiles = opened(tmp_path / "t", "DATA")
    assert tiles is not None
    check(tiles, cells, np.arange(100))
    subprocess.run([sys.executable, "-c", REWRITE, str(tmp_path / "t")], check=True)
    cells[30:70] = [np.full((32, 2), 7 + 1j, np.complex64)] * 40
    check(tiles, cells, np.arange(100))
    again = opened(tmp_path / "t", "DATA")
    assert again is not None
    check(again, cells, np.arange(20, 80))
    tiles.close()
    again.close()


def test_many_threads_open_each_file_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    cells = make(tmp_path / "t", "DATA", [(32, 2)], np.zeros(400, int), [2, 32, 8])
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    tiles = opened(tmp_path / "t", "DATA")
    assert tiles is not None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: check(tiles, cells, np.arange(k, k + 50)), range(300)))
    tiles.close()
    if before:
        assert set(os.listdir("/proc/self/fd")) <= before
