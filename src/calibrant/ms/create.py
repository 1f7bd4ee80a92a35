"""Making a new MeasurementSet (version 2.0) that CASA and we accept.

    with create_ms("new.ms", antennas=..., fields=..., spws=[...], polarizations=[...],
                   ddids=[(0, 0), (1, 0)], observations=[...], nrow=1000) as new:
        new.put_rows(0, {"TIME": time, "ANTENNA1": a1, ..., "DATA": data, "FLAG": flag, "SIGMA": sigma})

The table is built under a temporary name in the same directory and renamed when the block ends well; after
an exception nothing is left behind. The number of rows is fixed at the start: a table whose rows grow while
it is written cannot be opened any more when the writer is killed at the wrong moment. Layout: MS definition
2.0 (casacore note 229), storage managers as CASA's own tasks choose them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.errors import ExistsError, MeasurementSetError
from calibrant.ms.create_subtables import (
    Source,
    put_antennas,
    put_feeds,
    put_fields,
    put_history,
    put_observations,
    put_polarizations,
    put_processor,
    put_sources,
    put_spws,
    put_states,
    sources_of,
)
from calibrant.ms.index import Antennas, Fields, Observation, Polarization, SpectralWindow
from calibrant.ms.tables import open_subtable, open_table

TILE_BYTES = 1 << 20
SMALLEST_TILE_BYTES = 1 << 15
"""Tiles of the smallest shape in a table are not made smaller than this for the sake of the largest."""

IDS = (
    "ANTENNA1", "ANTENNA2", "ARRAY_ID", "DATA_DESC_ID", "FEED1", "FEED2", "FIELD_ID", "OBSERVATION_ID",
    "PROCESSOR_ID", "SCAN_NUMBER", "STATE_ID",
)  # fmt: skip
DTYPES: dict[str, Any] = {
    **dict.fromkeys(IDS, np.int32),
    **dict.fromkeys(("TIME", "TIME_CENTROID", "INTERVAL", "EXPOSURE", "UVW"), np.float64),
    **dict.fromkeys(("DATA", "CORRECTED_DATA", "MODEL_DATA"), np.complex64),
    **dict.fromkeys(("WEIGHT", "SIGMA", "WEIGHT_SPECTRUM", "SIGMA_SPECTRUM"), np.float32),
    **dict.fromkeys(("FLAG", "FLAG_ROW"), np.bool_),
}
"""The MAIN columns that can be written, and their type."""

ALWAYS = (
    "TIME", "INTERVAL", "ANTENNA1", "ANTENNA2", "DATA_DESC_ID", "FIELD_ID", "UVW", "FLAG", "WEIGHT", "SIGMA",
)  # fmt: skip
"""Columns that every row must have been given when the MeasurementSet is finished."""

SLOW = (
    "ARRAY_ID", "FEED1", "FEED2", "FIELD_ID", "INTERVAL", "OBSERVATION_ID", "PROCESSOR_ID", "SCAN_NUMBER",
    "STATE_ID", "TIME",
)  # fmt: skip
"""Columns that change seldom from row to row: stored incrementally."""

class NewMS:
    """The MeasurementSet being written; `path` is its temporary place (subtables can be opened there)."""

    def __init__(self, path: str, target: str, table: Any, nrow: int, default_state: int) -> None:
        self.path, self.target, self.nrow = path, target, nrow
        self._table, self._default_state = table, default_state
        self._columns = frozenset(table.colnames())
        self._written: dict[str, int] = {}
        self._spans: dict[int, tuple[float, float]] = {}

    def put_rows(self, start: int, values: Mapping[str, ArrayLike]) -> None:
        """Write consecutive rows from `start`: column -> values, all of one length.

        Shaped columns ((nrow, nchan, ncorr), (nrow, ncorr), (nrow, 3)) need rows of one shape. Calls may give
        all columns of some rows or some columns of all rows; every cell is written once. Filled in where
        absent: TIME_CENTROID = TIME, EXPOSURE = INTERVAL, STATE_ID (0, or -1 without states), WEIGHT =
        1/SIGMA^2 or SIGMA = 1/sqrt(WEIGHT) (0 where the other is 0), FLAG_ROW where FLAG is set throughout;
        ids stay 0.
        """
        given = {name: self._array(name, value) for name, value in values.items()}
        columns = _complete(given, self._default_state)
        count = len(next(iter(columns.values()), ()))
        uneven = [f"{name} ({len(array)})" for name, array in columns.items() if len(array) != count]
        if uneven or start < 0 or start + count > self.nrow:
            raise MeasurementSetError(
                f"{self.target}: cannot write {count} rows from row {start} of {self.nrow}"
                + (f"; columns of another length: {', '.join(uneven)}" if uneven else "")
            )
        if not count:
            return
        for name, array in columns.items():
            self._put(name, start, array)
        if "TIME" in columns:
            self._note_span(columns)

    def _array(self, name: str, values: ArrayLike) -> NDArray[Any]:
        if name not in self._columns or name not in DTYPES:
            raise MeasurementSetError(f"{self.target}: no column {name} was asked for when it was created")
        return np.ascontiguousarray(values, DTYPES[name])

    def _put(self, name: str, start: int, array: NDArray[Any]) -> None:
        try:
            self._table.putcol(name, array, start, len(array))
        except RuntimeError as error:
            raise MeasurementSetError(
                f"{self.target}: column {name}, rows {start} to {start + len(array) - 1} cannot be written "
                f"({error}); is the disk full?"
            ) from None
        self._written[name] = self._written.get(name, 0) + len(array)

    def _note_span(self, columns: Mapping[str, NDArray[Any]]) -> None:
        middle = columns["TIME"]
        half = columns["INTERVAL"] / 2 if "INTERVAL" in columns else np.zeros_like(middle)
        ids = columns.get("OBSERVATION_ID", np.zeros(len(middle), np.int32))
        for obs in np.unique(ids).tolist():
            mine = ids == obs
            first, last = float((middle - half)[mine].min()), float((middle + half)[mine].max())
            held = self._spans.get(obs, (first, last))
            self._spans[obs] = (min(first, held[0]), max(last, held[1]))

    def check_complete(self, required: Sequence[str]) -> None:
        """MeasurementSetError if a required column was not given a value for every row, exactly once."""
        counts = {name: self._written.get(name, 0) for name in required}
        wrong = ", ".join(f"{count} of {name}" for name, count in counts.items() if count != self.nrow)
        if wrong:
            raise MeasurementSetError(f"{self.target}: {self.nrow} rows were announced, written were {wrong}")

    def put_time_ranges(self) -> None:
        """OBSERVATION.TIME_RANGE from the rows written, where it was left 0."""
        tab = open_subtable(self.path, "OBSERVATION", writable=True)
        for obs, span in self._spans.items():
            if 0 <= obs < tab.nrows() and not np.any(tab.getcell("TIME_RANGE", obs)):
                tab.putcell("TIME_RANGE", obs, np.array(span))
        tab.close()

    def close(self) -> None:
        self._table.close()


def _complete(columns: dict[str, NDArray[Any]], default_state: int) -> dict[str, NDArray[Any]]:
    """The columns with those that follow from others filled in (see `NewMS.put_rows`)."""
    if "TIME" in columns:
        columns.setdefault("TIME_CENTROID", columns["TIME"])
        columns.setdefault("STATE_ID", np.full(len(columns["TIME"]), default_state, np.int32))
    if "INTERVAL" in columns:
        columns.setdefault("EXPOSURE", columns["INTERVAL"])
    if "FLAG" in columns:
        columns.setdefault("FLAG_ROW", np.asarray(columns["FLAG"].all(axis=(1, 2))))
    if "SIGMA" in columns and "WEIGHT" not in columns:
        columns["WEIGHT"] = weight_of_sigma(columns["SIGMA"])
    elif "WEIGHT" in columns and "SIGMA" not in columns:
        columns["SIGMA"] = sigma_of_weight(columns["WEIGHT"])
    return columns


def weight_of_sigma(sigma: NDArray[np.float32]) -> NDArray[np.float32]:
    """1/sigma^2; 0 where sigma is 0 or not finite."""
    good = np.isfinite(sigma) & (sigma > 0)
    return np.where(good, 1 / np.where(good, sigma, 1) ** 2, 0).astype(np.float32)


def sigma_of_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """1/sqrt(weight); 0 where weight is 0 or not finite."""
    good = np.isfinite(weight) & (weight > 0)
    return np.where(good, 1 / np.sqrt(np.where(good, weight, 1)), 0).astype(np.float32)


@contextmanager
def create_ms(
    path: str,
    *,
    antennas: Antennas,
    fields: Fields,
    spws: Sequence[SpectralWindow],
    polarizations: Sequence[Polarization],
    ddids: Sequence[tuple[int, int]],
    observations: Sequence[Observation],
    nrow: int,
    states: Sequence[str] = (),
    sources: Sequence[Source] | None = None,
    data_columns: Sequence[str] = ("DATA",),
    weight_spectrum: bool = False,
    direction_frame: str = "J2000",
    antenna_offset: ArrayLike | None = None,
    history: Sequence[str] = (),
    overwrite: bool = False,
) -> Iterator[NewMS]:
    """A new MeasurementSet of `nrow` rows at `path`, open for writing until the block ends.

    ddids: (spectral window, polarization) of each DATA_DESC_ID; rows may mix them in any order. states:
    OBS_MODE of each STATE. sources: by default one for each FIELD.SOURCE_ID. antenna_offset: (nant, 3) m.
    history: lines of provenance. An Observation.time_range of zeros is filled from the rows.
    Raises ExistsError where `path` exists and `overwrite` is not set, MeasurementSetError where it cannot be
    written or the block ended without writing all rows.
    """
    shapes = [(spws[spw].nchan, len(polarizations[pol].corr_type)) for spw, pol in ddids]
    with _building(path, overwrite) as place:
        table = _new_main(place, shapes, nrow, data_columns, weight_spectrum)
        new = NewMS(place, path, table, nrow, 0 if states else -1)
        try:
            table.putcolkeyword("UVW", "MEASINFO", {"type": "uvw", "Ref": direction_frame})
            put_antennas(place, antennas, antenna_offset)
            put_feeds(place, len(antennas), polarizations)
            put_fields(place, fields, direction_frame)
            put_sources(place, table, sources_of(fields) if sources is None else sources, direction_frame)
            put_spws(place, spws)
            put_polarizations(place, polarizations, ddids)
            put_states(place, states)
            put_observations(place, observations)
            put_processor(place)
            put_history(place, history)
            yield new
            new.check_complete((*ALWAYS, *data_columns, *(["WEIGHT_SPECTRUM"] if weight_spectrum else [])))
            new.put_time_ranges()
        finally:
            new.close()


@contextmanager
def create_ms_from(
    path: str,
    template: str,
    *,
    shapes: Sequence[tuple[int, int]],
    nrow: int,
    data_columns: Sequence[str] = ("DATA",),
    weight_spectrum: bool = False,
    history: Sequence[str] = (),
    overwrite: bool = False,
) -> Iterator[NewMS]:
    """As `create_ms`, with every subtable copied from the MeasurementSet `template` (optional ones too).

    shapes: (nchan, ncorr) of every DATA_DESC_ID that will be written. The caller then changes what it must in
    the subtables at `NewMS.path`. `history` is added to the template's HISTORY.
    """
    if os.path.realpath(path) == os.path.realpath(template):
        raise ExistsError(f"{path} is both input and output; give the output another name")
    with _building(path, overwrite) as place:
        table = _new_main(place, shapes, nrow, data_columns, weight_spectrum)
        new = NewMS(place, path, table, nrow, -1)
        try:
            _copy_subtables(template, place, table)
            _copy_time_scale(template, table)
            put_history(place, history)
            yield new
            new.check_complete((*ALWAYS, *data_columns, *(["WEIGHT_SPECTRUM"] if weight_spectrum else [])))
        finally:
            new.close()


# ---- files ----------------------------------------------------------------------------------------------


@contextmanager
def _building(path: str, overwrite: bool) -> Iterator[str]:
    """A temporary name beside `path`, renamed to it at the end; removed after an exception."""
    path = os.path.normpath(path)
    check_output(path, overwrite)
    folder, name = os.path.split(os.path.abspath(path))
    if not os.access(folder, os.W_OK):
        raise MeasurementSetError(f"{path} cannot be made: {folder} does not exist or is read-only for you")
    place = os.path.join(folder, f".{name}.tmp-{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield place
        _sync(place)
        check_output(path, overwrite)
        _replace(place, os.path.join(folder, name))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def check_output(path: str, overwrite: bool) -> None:
    """ExistsError if `path` is there and may not be replaced, or is not a table (which is never deleted)."""
    if not os.path.lexists(path):
        if os.path.exists(path + ".flagversions") and not overwrite:
            raise ExistsError(
                f"{path}.flagversions is left from another {os.path.basename(path)}; remove it, choose "
                "another name or set overwrite=True (--overwrite)"
            )
        return
    if not overwrite:
        raise ExistsError(f"{path} exists; choose another name or set overwrite=True (--overwrite)")
    if not os.path.exists(os.path.join(path, "table.dat")):
        raise ExistsError(f"{path} exists and is no table (no table.dat in it): remove it yourself")


def _replace(place: str, path: str) -> None:
    """Rename `place` to `path`; what was at `path`, with its flag versions, is deleted after that."""
    old = f"{place}.old"
    if os.path.lexists(path):
        os.rename(path, old)
    os.rename(place, path)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(path + ".flagversions", ignore_errors=True)


def _sync(place: str) -> None:
    for folder, _, names in os.walk(place):
        for name in [os.path.join(folder, name) for name in names] + [folder]:
            handle = os.open(name, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


# ---- MAIN -----------------------------------------------------------------------------------------------


def _new_main(
    place: str,
    shapes: Sequence[tuple[int, int]],
    nrow: int,
    data_columns: Sequence[str],
    weight_spectrum: bool,
) -> Any:
    from casacore.tables import default_ms, required_ms_desc

    if nrow < 1 or not shapes:
        raise MeasurementSetError(f"no rows to write ({nrow} rows, {len(shapes)} data descriptions)")
    required = required_ms_desc()
    columns = {"FLAG_CATEGORY": {**required["FLAG_CATEGORY"], "keywords": {"CATEGORY": np.zeros(0, str)}}}
    for name in data_columns:
        columns[name] = _cube_column("complex", f"The {name.lower().replace('_', ' ')} column")
    if weight_spectrum:
        columns["WEIGHT_SPECTRUM"] = _cube_column("float", "Weight for each data point")
    try:
        table = default_ms(place, columns, _storage(shapes, nrow, data_columns, weight_spectrum))
        table.addrows(nrow)
    except RuntimeError as error:
        raise MeasurementSetError(f"a new MeasurementSet cannot be made at {place} ({error})") from None
    return table


def _cube_column(kind: str, comment: str) -> dict[str, Any]:
    return {
        "valueType": kind, "dataManagerType": "TiledShapeStMan", "dataManagerGroup": "", "option": 0,
        "maxlen": 0, "comment": comment, "ndim": 2, "keywords": {},
    }  # fmt: skip


def _storage(
    shapes: Sequence[tuple[int, int]], nrow: int, data_columns: Sequence[str], weight_spectrum: bool
) -> dict[str, Any]:
    """Storage managers (casacore's dminfo). Tiles hold all channels and correlations of some rows."""
    nchan, ncorr = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    rows = tile_rows(shapes, nrow)
    cubes = [(name, [ncorr, nchan, rows]) for name in data_columns]
    # flags are stored as bits: eight times the rows still make a small tile
    cubes.append(("FLAG", [ncorr, nchan, min(8 * rows, _upto8(nrow))]))
    cubes.append(("FLAG_CATEGORY", [ncorr, nchan, 1, rows]))
    vector_rows = min(nrow, TILE_BYTES // (8 * ncorr))
    cubes += [("WEIGHT", [ncorr, vector_rows]), ("SIGMA", [ncorr, vector_rows])]
    if weight_spectrum:
        cubes.append(("WEIGHT_SPECTRUM", [ncorr, nchan, 2 * rows]))
    managers: list[dict[str, Any]] = [
        {"TYPE": "TiledShapeStMan", "NAME": f"Tiled{name}", "COLUMNS": [name], "SPEC": _tile(shape)}
        for name, shape in cubes
    ]
    uvw = _tile([3, min(nrow, TILE_BYTES // 24)])
    managers += [
        {"TYPE": "TiledColumnStMan", "NAME": "TiledUVW", "COLUMNS": ["UVW"], "SPEC": uvw},
        {
            "TYPE": "IncrementalStMan",
            "NAME": "ISMData",
            "COLUMNS": list(SLOW),
            "SPEC": {"BUCKETSIZE": 1 << 16},
        },
        {
            "TYPE": "StandardStMan",
            "NAME": "SSMData",
            "COLUMNS": ["ANTENNA1", "ANTENNA2", "DATA_DESC_ID", "EXPOSURE", "TIME_CENTROID", "FLAG_ROW"],
            "SPEC": {"BUCKETSIZE": 1 << 15},
        },
    ]
    return {f"*{number + 1}": manager for number, manager in enumerate(managers)}


def _tile(shape: Sequence[int]) -> dict[str, Any]:
    return {"DEFAULTTILESHAPE": np.array(shape, np.int32)}


def _upto8(count: int) -> int:
    return -(-count // 8) * 8


def tile_rows(shapes: Sequence[tuple[int, int]], nrow: int) -> int:
    """Rows of a tile: about 1 MiB of the largest shape, more where that leaves the smallest shape tiny tiles.

    One number serves all shapes of a column (the storage manager has one default tile)."""
    sizes = [8 * nchan * ncorr for nchan, ncorr in shapes]
    most = 4 * TILE_BYTES // max(sizes)
    rows = max(TILE_BYTES // max(sizes), min(most, SMALLEST_TILE_BYTES // min(sizes)), 1)
    return min(nrow, rows)


# ---- subtables ------------------------------------------------------------------------------------------


def _copy_subtables(template: str, place: str, main: Any) -> None:
    """Deep copies of all subtables that the template's MAIN names (a dangling name leaves the empty default)."""
    source = open_table(template)
    tables = {
        name: str(value).removeprefix("Table: ")
        for name, value in source.getkeywords().items()
        if str(value).startswith("Table: ") and name != "SORTED_TABLE"
    }
    source.close()
    for name, old in tables.items():
        if not os.path.exists(os.path.join(old, "table.dat")):
            continue
        copy = os.path.join(place, name)
        shutil.rmtree(copy, ignore_errors=True)
        tab = open_table(old)
        tab.copy(copy, deep=True).close()
        tab.close()
        main.putkeyword(name, f"Table: {copy}")
        _copy_folders(old, copy)


def _copy_time_scale(template: str, main: Any) -> None:
    """The template's MEASINFO of TIME and TIME_CENTROID: times are copied, so they stay UTC or TAI."""
    source = open_table(template)
    for column in ("TIME", "TIME_CENTROID"):
        measure = source.getcolkeywords(column).get("MEASINFO") if column in source.colnames() else None
        if measure:
            main.putcolkeyword(column, "MEASINFO", measure)
    source.close()


def _copy_folders(old: str, copy: str) -> None:
    """What lies in a subtable's folder without being part of it: the ephemerides of FIELD."""
    for entry in os.scandir(old):
        if entry.is_dir() and not os.path.exists(os.path.join(copy, entry.name)):
            shutil.copytree(entry.path, os.path.join(copy, entry.name))
