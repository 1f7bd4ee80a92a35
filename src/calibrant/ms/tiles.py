"""Reading columns straight from their tile files, where the layout is plain: three times less work than getcol.

casacore's tiled storage managers keep a hypercube per cell shape in a file of its own. Where a tile spans whole cells,
rows follow each other in that file as in a C array (flags as bits, lowest first), so a run of rows is one read that
needs no lock of the interpreter. Which row lies where is written in the manager's header (TiledShapeStMan: blocks
rowMap, cubeMap, posMap), and a few rows are compared with getcol before the layout is trusted. Anything else (other
managers, tiles that cut cells, other byte order) is left to casacore. Layout: casacore notes 255 and the source of
TiledShapeStMan; checked against getcol in the tests.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import MeasurementSetError

MIN_RUN_BYTES = 4096
"""Shorter runs of rows are cheaper to read through casacore."""
PROBES = 5

DTYPES = {"complex": np.complex64, "float": np.float32, "double": np.float64, "boolean": np.bool_}


@dataclass(frozen=True)
class Cube:
    """One hypercube: its file, its cell shape as numpy sees it, and how many rows it holds."""

    path: str
    shape: tuple[int, ...]
    rows: int


class TileColumn:
    """One column read from its tile files. `read` is thread-safe."""

    def __init__(self, dtype: type, cubes: dict[int, Cube], cube_of: _RowMap) -> None:
        self._dtype = np.dtype(dtype)
        self._cubes = cubes
        self._rows = cube_of
        self._files: dict[int, int] = {}

    def close(self) -> None:
        for handle in self._files.values():
            os.close(handle)
        self._files.clear()

    def read(self, rows: NDArray[np.int64], out: NDArray[Any]) -> bool:
        """Fill `out` (nrow, ...) with ascending `rows`; False if these rows must be read through casacore."""
        cube, place = self._rows.locate(rows)
        if cube is None or self._cubes[cube].shape != out.shape[1:]:
            return False
        breaks = np.flatnonzero(np.diff(place) != 1) + 1
        if len(breaks) and len(rows) * self._cell_bytes(out) < MIN_RUN_BYTES * (len(breaks) + 1):
            return False
        for first, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(place)], strict=True):
            self._read_run(cube, int(place[first]), out[first:end])
        return True

    def _cell_bytes(self, out: NDArray[Any]) -> float:
        size = int(np.prod(out.shape[1:]))
        return size / 8 if self._dtype == np.bool_ else size * self._dtype.itemsize

    def _read_run(self, cube: int, first: int, out: NDArray[Any]) -> None:
        handle = self._file(cube)
        cell = int(np.prod(out.shape[1:]))
        if self._dtype != np.bool_:
            self._pread(handle, memoryview(out.data).cast("B"), first * cell * self._dtype.itemsize, cube)
            return
        begin, end = first * cell, (first + len(out)) * cell
        packed = np.empty((end + 7) // 8 - begin // 8, np.uint8)
        self._pread(handle, memoryview(packed.data), begin // 8, cube)
        skip = begin % 8
        bits = np.unpackbits(packed, count=end - begin + skip, bitorder="little")
        out.reshape(-1)[:] = bits[skip:].view(np.bool_)

    def _pread(self, handle: int, buffer: memoryview, offset: int, cube: int) -> None:
        done = 0
        while done < len(buffer):
            count = os.preadv(handle, [buffer[done:]], offset + done)
            if count == 0:
                raise MeasurementSetError(
                    f"{self._cubes[cube].path} ends at byte {offset + done}, {len(buffer) - done} bytes too early; "
                    "the MeasurementSet is truncated: copy it again"
                )
            done += count

    def _file(self, cube: int) -> int:
        if cube not in self._files:
            handle = os.open(self._cubes[cube].path, os.O_RDONLY)
            if self._files.setdefault(cube, handle) != handle:
                os.close(handle)  # another thread was faster
        return self._files[cube]


@dataclass(frozen=True)
class _RowMap:
    """Intervals of rows: last row, hypercube, position of the last row in it."""

    last: NDArray[np.int64]
    cube: NDArray[np.int64]
    position: NDArray[np.int64]

    def locate(self, rows: NDArray[np.int64]) -> tuple[int | None, NDArray[np.int64]]:
        """(hypercube, position of every row); None where they lie in several."""
        k = np.searchsorted(self.last, rows)
        cube = int(self.cube[k[0]])
        if (self.cube[k] != cube).any():
            return None, rows
        return cube, self.position[k] - (self.last[k] - rows)


def open_tiles(path: str, tab: Any, columns: Sequence[str]) -> dict[str, TileColumn]:
    """The columns of `columns` that can be read directly, checked against getcol."""
    managers = {column: info for info in tab.getdminfo().values() for column in info["COLUMNS"]}
    found = {}
    for name in columns:
        info = managers.get(name)
        if info is None or len(info["COLUMNS"]) != 1:
            continue
        column = _open(path, tab, name, info)
        if column is not None:
            found[name] = column
    return found


def check_files(path: str, tab: Any, unfinished: Collection[str] = ()) -> None:
    """MeasurementSetError where a tile file of the open table is missing or shorter than its hypercube.

    casacore lengthens short files with zeros as soon as a table is opened for writing, after which nobody can tell.
    unfinished: columns that a killed task had begun to fill, whose files may be short.
    """
    for info in tab.getdminfo().values():
        if info["TYPE"] not in ("TiledColumnStMan", "TiledShapeStMan") or set(info["COLUMNS"]) <= set(unfinished):
            continue
        stem = os.path.join(path, f"table.f{info['SEQNR']}")
        if not os.path.exists(stem):
            continue  # all managers in one file, or a table that only refers to others
        for key, cube in info["SPEC"]["HYPERCUBES"].items():
            shape, tile = np.asarray(cube["CubeShape"], float), np.asarray(cube["TileShape"], float)
            expected = int(np.prod(np.ceil(shape / tile))) * int(cube["BucketSize"]) if shape.size else 0
            file = _tile_file(stem, info["TYPE"], int(key[1:]))
            found = os.path.getsize(file) if os.path.exists(file) else 0
            if found < expected:
                raise MeasurementSetError(
                    f"{file} (column {', '.join(info['COLUMNS'])}) has {found} bytes instead of {expected}; "
                    "the MeasurementSet is truncated: copy it again (nothing was changed)"
                )


def _tile_file(stem: str, manager: str, cube: int) -> str:
    return f"{stem}_TSM{cube if manager == 'TiledShapeStMan' else cube - 1}"


def _open(path: str, tab: Any, name: str, info: dict[str, Any]) -> TileColumn | None:
    dtype = DTYPES.get(tab.coldatatype(name))
    if dtype is None or info["TYPE"] not in ("TiledColumnStMan", "TiledShapeStMan"):
        return None
    stem = os.path.join(path, f"table.f{info['SEQNR']}")
    if not os.path.exists(stem):
        return None  # all managers in one file, or a table that only refers to others
    shaped = info["TYPE"] == "TiledShapeStMan"
    cubes = {}
    for key, cube in info["SPEC"]["HYPERCUBES"].items():
        number = int(key[1:])
        shape = tuple(int(n) for n in cube["CubeShape"])
        tile = tuple(int(n) for n in cube["TileShape"])
        if tile[:-1] != shape[:-1]:
            return None
        if dtype == np.bool_ and int(np.prod(tile)) % 8:
            return None  # bits of a tile are padded to a byte
        cubes[number] = Cube(_tile_file(stem, info["TYPE"], number), shape[:-1][::-1], shape[-1])
    nrow = tab.nrows()
    where = _shape_map(stem, nrow, cubes) if shaped else _RowMap(*(np.array([v]) for v in (nrow - 1, 1, nrow - 1)))
    if where is None or not cubes or not all(os.path.exists(cube.path) for cube in cubes.values()):
        return None
    column = TileColumn(dtype, cubes, where)
    return column if _agrees(column, tab, name, where) else None


def _shape_map(stem: str, nrow: int, cubes: dict[int, Cube]) -> _RowMap | None:
    """The three blocks at the end of a TiledShapeStMan header; None if they are not as expected."""
    with open(stem, "rb") as file:
        header = file.read()
    blocks = []
    end = len(header)
    for _ in range(3):
        start = header.rfind(b"\x00\x00\x00\x05Block", 0, end)
        if start < 4:
            return None
        version, count = struct.unpack_from(">II", header, start + 9)
        if version != 1 or start + 17 + 4 * count != end:
            return None
        blocks.append(np.frombuffer(header, ">u4", count, start + 17).astype(np.int64))
        end = start - 4
    position, cube, last = blocks
    if not len(last) == len(cube) == len(position) or len(last) == 0 or last[-1] != nrow - 1:
        return None
    lengths = np.diff(last, prepend=-1)
    inside = [number in cubes for number in cube.tolist()]
    if not all(inside) or (lengths <= 0).any() or (position - lengths + 1 < 0).any():
        return None
    if any(position[k] >= cubes[int(cube[k])].rows for k in range(len(cube))):
        return None
    return _RowMap(last, cube, position)


def _agrees(column: TileColumn, tab: Any, name: str, where: _RowMap) -> bool:
    """Compare a few rows of every hypercube, spread over the table, with getcell."""
    for cube in np.unique(where.cube):
        intervals = np.flatnonzero(where.cube == cube)
        for k in np.unique(np.linspace(0, len(intervals) - 1, PROBES).astype(int)):
            row = int(where.last[intervals[k]])
            try:
                truth = np.asarray(tab.getcell(name, row))
                mine = np.empty((1, *truth.shape), truth.dtype)
                column._read_run(int(cube), int(column._rows.locate(np.array([row]))[1][0]), mine)
            except (MeasurementSetError, RuntimeError):
                return False  # truncated: the reader says so where it happens
            if mine.tobytes() != truth.tobytes():
                return False
    return True
