"""CASA's calibration tables on disk ("NewCalTable"), read and written.

One row an antenna, time and spectral window; all columns in one StandardStMan; subtables copied from the
MeasurementSet, except that SPECTRAL_WINDOW describes the channels of the solutions (left as in the MS, CASA aborts).
Outcomes of solutions (`solve.outcome`) stand in a column of our own that CASA ignores. Missing outcomes are fine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time as clock
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.caltable.table import CalTable, SpwSolutions
from calibrant.errors import CalTableError, ExistsError

os.environ.setdefault("HOME", tempfile.gettempdir())  # without it casacore opens no table

OUTCOME_COLUMN = "CALIBRANT_OUTCOME"
SUMMARY_ORIGIN = "calibrant outcomes"
REQUIRED_COLUMNS = ("TIME", "FIELD_ID", "SPECTRAL_WINDOW_ID", "ANTENNA1", "FLAG")
SUBTABLES = ("OBSERVATION", "ANTENNA", "FIELD", "SPECTRAL_WINDOW")
GROUP = "MSMTAB"
MJD_OF_UNIX_EPOCH_S = 40587 * 86400.0


# ---- reading ---------------------------------------------------------------------------------------------------
def read(path: str) -> CalTable:
    """Read the calibration table at `path`.

    Raises CalTableError, saying what was found, where it is no calibration table, of a format or kind that cannot be
    used (polynomials BPOLY and GSPLINE, baseline-based Mueller terms), truncated, or has no solutions.
    """
    path = os.path.normpath(path)
    tab = _open(path)
    try:
        kind, par_type = _check_kind(tab, path)
        keywords = tab.getkeywords()
        antenna_names, field_names, field_direction = _names(path)
        spectral = _spectral_windows(path)
        version = str(keywords.get("CASA_Version", ""))
        by_reference = "Jones" in kind and kind.split()[0] in ("K", "Kcross", "Fringe") and _before_5_3_0_107(version)
        spws = _read_spws(tab, path, par_type, len(antenna_names), spectral, by_reference)
        return CalTable(
            kind, par_type, str(keywords.get("MSName", "")), spws, antenna_names, field_names, field_direction,
            _history(path), path, version, [s.name for s in spectral],
        )  # fmt: skip
    except RuntimeError as error:  # casacore's only exception
        raise CalTableError(f"{path} cannot be read: {error}; truncated or damaged, make or copy it again") from None
    finally:
        tab.close()


def _open(path: str, writable: bool = False) -> Any:
    from casacore.tables import table

    if not os.path.isdir(path):
        what = "is a file, not a table directory" if os.path.exists(path) else "does not exist"
        raise CalTableError(f"{path} {what}; a calibration table is a directory with a file table.dat in it")
    if not os.path.exists(os.path.join(path, "table.dat")):
        raise CalTableError(f"{path} is a directory without table.dat: not a calibration table, or an incomplete copy")
    try:
        return table(path, readonly=not writable, ack=False, lockoptions="permanent" if writable else "autonoread")
    except RuntimeError as error:
        hint = "" if "HOME" in str(error) else "; it may be truncated: make or copy it again"
        raise CalTableError(f"{path} cannot be opened: {error}{hint}") from None


def _check_kind(tab: Any, path: str) -> tuple[str, str]:
    """(kind, par_type) of a table that we can read; CalTableError otherwise."""
    info = tab.info()
    if "CAL_DESC" in tab.keywordnames():
        raise CalTableError(
            f"{path} is a {info['subType'] or 'calibration'} table in CASA's old format (with CAL_DESC), which is not "
            "read; solve with bandtype='B' or gaintype='G' instead"
        )
    if info["type"] != "Calibration":
        raise CalTableError(f"{path} is a table of type {info['type']!r}; a calibration table has type 'Calibration'")
    kind = str(info["subType"])
    if "Mueller" in kind or "Noise" in kind:
        raise CalTableError(
            f"{path} holds {kind!r}, solutions by baseline; only solutions by antenna are read: solve with gaincal or "
            "bandpass instead of blcal"
        )
    columns = tab.colnames()
    par_type = "Complex" if "CPARAM" in columns else "Float"
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    missing += [] if par_type == "Complex" or "FPARAM" in columns else ["CPARAM or FPARAM"]
    if missing:
        raise CalTableError(f"{path} has no column {', '.join(missing)}; found {', '.join(columns)}")
    if tab.nrows() == 0:
        raise CalTableError(f"{path} has no rows, that is no solutions; solve again and look at what was flagged")
    return kind, par_type


def _before_5_3_0_107(version: str) -> bool:
    """Whether CASA takes REF_FREQUENCY as the reference of a delay in a table of this version."""
    numbers = [int(part) for part in version.replace("-", ".").split(".") if part.isdigit()]
    return numbers < [5, 3, 0, 107]


def _names(path: str) -> tuple[list[str], list[str], NDArray[np.float64]]:
    antennas = _open(f"{path}/ANTENNA")
    antenna_names = list(antennas.getcol("NAME"))
    antennas.close()
    fields = _open(f"{path}/FIELD")
    count = fields.nrows()
    field_names = list(fields.getcol("NAME")) if count else []
    direction = np.array([np.asarray(fields.getcell("PHASE_DIR", row))[0] for row in range(count)], float)
    fields.close()
    return antenna_names, field_names, direction.reshape(-1, 2)


@dataclass(frozen=True)
class _Spectral:
    """A row of SPECTRAL_WINDOW. RESOLUTION and TOTAL_BANDWIDTH are not read: CASA writes frequencies there."""

    name: str
    freq: NDArray[np.float64]
    width: NDArray[np.float64]
    reference: float


def _spectral_windows(path: str) -> list[_Spectral]:
    tab = _open(f"{path}/SPECTRAL_WINDOW")
    result = [
        _Spectral(
            str(tab.getcell("NAME", row)),
            np.atleast_1d(np.asarray(tab.getcell("CHAN_FREQ", row), float)),
            np.atleast_1d(np.asarray(tab.getcell("CHAN_WIDTH", row), float)),
            float(tab.getcell("REF_FREQUENCY", row)),
        )
        for row in range(tab.nrows())
    ]
    tab.close()
    return result


def _channels(spectral: _Spectral, nchan: int, by_reference: bool, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Frequencies and widths of the solutions' channels (Hz)."""
    freq, width = spectral.freq, spectral.width
    if nchan == 1:
        at = spectral.reference if by_reference else freq[len(freq) // 2]
        return np.array([at]), np.array([width.sum()])
    if len(freq) != nchan:
        raise CalTableError(f"{where}: solutions have {nchan} channels, SPECTRAL_WINDOW has {len(freq)}")
    return freq, width


def _history(path: str) -> list[str]:
    if not os.path.isdir(f"{path}/HISTORY"):
        return []
    tab = _open(f"{path}/HISTORY")
    rows = zip(tab.getcol("MESSAGE"), tab.getcol("ORIGIN"), strict=True) if tab.nrows() else ()
    lines = [str(message) for message, origin in rows if origin != SUMMARY_ORIGIN]
    tab.close()
    return lines


def _read_spws(
    tab: Any, path: str, par_type: str, nant: int, spectral: list[_Spectral], by_reference: bool
) -> dict[int, SpwSolutions]:
    spw_column = tab.getcol("SPECTRAL_WINDOW_ID")
    result = {}
    for spw in (int(s) for s in np.unique(spw_column)):
        where = f"{path}, spw {spw}"
        if not 0 <= spw < len(spectral):
            raise CalTableError(f"{where}: SPECTRAL_WINDOW has {len(spectral)} rows; the table is damaged")
        part = _Rows(tab, np.flatnonzero(spw_column == spw), where)
        result[spw] = _read_spw(part, spw, par_type, nant, spectral[spw], by_reference)
    return result


class _Rows:
    """Columns of some rows of a table: as one block where they lie together, else as a selection."""

    def __init__(self, tab: Any, rows: NDArray[np.int64], where: str) -> None:
        self.count, self.where, self.columns = len(rows), where, tab.colnames()
        together = rows[-1] - rows[0] + 1 == len(rows)
        self._tab = tab if together else tab.selectrows(rows)
        self._start = int(rows[0]) if together else 0

    def get(self, name: str) -> NDArray[Any]:
        try:
            return np.asarray(self._tab.getcol(name, self._start, self.count))
        except RuntimeError as error:
            raise CalTableError(
                f"{self.where}: column {name} cannot be read ({error}); solutions of one spw must have one shape"
            ) from None

    def get_or(self, name: str, default: float, dtype: Any) -> NDArray[Any]:
        return self.get(name).astype(dtype, copy=False) if name in self.columns else np.full(self.count, default, dtype)

    def get_like(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array column that some tables leave undefined; zeros then."""
        if name not in self.columns or not self._tab.iscelldefined(name, self._start):
            return np.zeros(shape, np.float32)
        return np.broadcast_to(self.get(name), shape).astype(np.float32, copy=False)


def _read_spw(
    part: _Rows, spw: int, par_type: str, nant: int, spectral: _Spectral, by_reference: bool
) -> SpwSolutions:
    keys = {
        "time": part.get("TIME"),
        "field": part.get("FIELD_ID"),
        "scan": part.get_or("SCAN_NUMBER", -1, np.int32),
        "obs": part.get_or("OBSERVATION_ID", 0, np.int32),
    }
    antenna = part.get("ANTENNA1")
    if antenna.min() < 0 or antenna.max() >= nant:
        raise CalTableError(f"{part.where}: ANTENNA1 is {antenna.min()} to {antenna.max()}, but {nant} antennas exist")
    order, slot, first = _slots(list(keys.values()), antenna, nant, part.where)
    param = part.get("CPARAM" if par_type == "Complex" else "FPARAM")
    flag = np.broadcast_to(part.get("FLAG"), param.shape)
    dense = _Dense(order, slot, antenna, len(first), nant)
    freq, width = _channels(spectral, param.shape[1], by_reference, part.where)
    outcome = None
    if OUTCOME_COLUMN in part.columns:
        outcome = dense.fill(part.get(OUTCOME_COLUMN), 1)
    return SpwSolutions(
        spw, keys["time"][first], part.get_or("INTERVAL", 0.0, np.float64)[first], keys["field"][first],
        keys["scan"][first], keys["obs"][first], dense.fill(part.get_or("ANTENNA2", -1, np.int32), -1), freq, width,
        dense.fill(param, 1 if par_type == "Complex" else 0), dense.fill(part.get_like("PARAMERR", param.shape), 0),
        dense.fill(part.get_like("SNR", param.shape), 0), dense.fill(flag, True), outcome, dense.present,
    )  # fmt: skip


def _slots(
    keys: list[NDArray[Any]], antenna: NDArray[np.int32], nant: int, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sort rows into slots of equal keys (the first key counts most): (order, slot of each, first row of each slot)."""
    order = np.lexsort([antenna, *keys[::-1]])
    new = np.zeros(len(order), bool)
    new[0] = True
    for key in keys:
        new[1:] |= np.diff(key[order]) != 0
    slot = np.cumsum(new) - 1
    place = slot * nant + antenna[order]
    twice = np.flatnonzero(np.diff(place) == 0)
    if len(twice):
        row = order[twice[0]]
        raise CalTableError(
            f"{where}: antenna {antenna[row]} has two solutions at TIME {keys[0][row]:.3f} s of field {keys[1][row]}, "
            f"scan {keys[2][row]} ({len(twice)} such pairs), as after append=True; make the table again"
        )
    return order, slot, order[new]


class _Dense:
    """Puts rows into (slot, antenna) arrays."""

    def __init__(
        self, order: NDArray[np.int64], slot: NDArray[np.int64], antenna: NDArray[np.int32], nt: int, nant: int
    ) -> None:
        self._order, self._place, self._grid = order, slot * nant + antenna[order], (nt, nant)
        complete = len(order) == nt * nant
        self._as_is = complete and bool(np.all(order == np.arange(len(order))))
        self.present: NDArray[np.bool_] | None = None
        if not complete:
            self.present = np.zeros(nt * nant, bool)
            self.present[self._place] = True
            self.present = self.present.reshape(nt, nant)

    def fill(self, values: NDArray[Any], default: float | bool) -> NDArray[Any]:
        """(row, ...) -> (slot, antenna, ...); `default` where a row is absent."""
        if self._as_is:
            return values.reshape(*self._grid, *values.shape[1:])
        result = np.full((self._grid[0] * self._grid[1], *values.shape[1:]), default, values.dtype)
        result[self._place] = values[self._order]
        return result.reshape(*self._grid, *values.shape[1:])


# ---- writing ---------------------------------------------------------------------------------------------------
def write(table: CalTable, path: str, ms_path: str, overwrite: bool = False) -> None:
    """Write `table` at `path` in CASA's layout; subtables come from the MeasurementSet at `ms_path`.

    The table appears at `path` when it is complete. Raises ExistsError where something is there and `overwrite` is
    False, or where it is no calibration table; CalTableError where the solutions do not fit the MeasurementSet, or the
    folder does not exist.
    """
    path = os.path.abspath(path)
    check_output(path, overwrite)
    if not table.spws:
        raise CalTableError(f"{path}: there is no solution to write")
    missing = [name for name in SUBTABLES[1:] if not os.path.isdir(os.path.join(ms_path, name))]
    if missing:
        raise CalTableError(f"{ms_path} has no subtable {', '.join(missing)}, which {path} would copy")
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write_main(table, temporary)
        _write_subtables(table, temporary, ms_path)
        _put_in_place(temporary, path)
    except OSError as error:
        raise CalTableError(f"{path} cannot be written: {error}") from None
    except RuntimeError as error:  # casacore's only exception
        raise CalTableError(f"{path} cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_output(path: str, overwrite: bool) -> None:
    """Raise ExistsError where a calibration table may not be written at `path`, CalTableError without its folder."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise CalTableError(f"{path} cannot be made: {folder} does not exist; make it first")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise ExistsError(f"{path} exists; give overwrite=True to replace it, or another name")
    info = os.path.join(path, "table.info")
    if os.path.isfile(info):
        with open(info, encoding="utf-8", errors="replace") as lines:
            if lines.readline().split("=")[-1].strip() == "Calibration":
                return
    raise ExistsError(f"{path} exists and is not a calibration table; it is not replaced: give another name")


def _put_in_place(temporary: str, path: str) -> None:
    if not os.path.isdir(path):
        os.rename(temporary, path)
        return
    old = f"{temporary}-old"
    os.rename(path, old)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _description(param: str, with_outcome: bool) -> Any:
    from casacore.tables import makearrcoldesc, makescacoldesc, maketabdesc

    storage = {"datamanagertype": "StandardStMan", "datamanagergroup": GROUP}
    seconds = {"QuantumUnits": ["s"]}
    keywords = {"TIME": seconds | {"MEASINFO": {"type": "epoch", "Ref": "UTC"}}, "INTERVAL": seconds}

    def scalar(name: str, kind: str, zero: float) -> Any:
        return makescacoldesc(name, zero, valuetype=kind, options=5, keywords=keywords.get(name, {}), **storage)

    def array(name: str, kind: str, zero: complex) -> Any:
        return makearrcoldesc(name, zero, valuetype=kind, ndim=-1, **storage)

    columns = [scalar("TIME", "double", 0.0)]
    columns += [scalar(name, "int", 0) for name in ("FIELD_ID", "SPECTRAL_WINDOW_ID", "ANTENNA1", "ANTENNA2")]
    columns += [scalar("INTERVAL", "double", 0.0), scalar("SCAN_NUMBER", "int", 0), scalar("OBSERVATION_ID", "int", 0)]
    columns += [array(param, "complex" if param == "CPARAM" else "float", 0)]
    columns += [array("PARAMERR", "float", 0), array("FLAG", "boolean", False), array("SNR", "float", 0)]
    columns += [array("WEIGHT", "float", 0)]  # CASA refuses tables without the column; its cells stay undefined
    if with_outcome:
        columns += [array(OUTCOME_COLUMN, "uchar", 0)]
    return maketabdesc(columns)


def _write_main(table: CalTable, path: str) -> None:
    from casacore.tables import table as casacore_table

    name = "CPARAM" if table.par_type == "Complex" else "FPARAM"
    with_outcome = any(s.outcome is not None for s in table.spws.values())
    counts = {spw: _present(s).sum() for spw, s in sorted(table.spws.items())}
    tab = casacore_table(path, _description(name, with_outcome), nrow=int(sum(counts.values())), ack=False)
    try:
        start = 0
        for spw, count in counts.items():
            for column, values in _columns(table.spws[spw], name, with_outcome).items():
                tab.putcol(column, values, start, int(count))
            start += int(count)
        tab.putkeywords(
            {"ParType": table.par_type, "MSName": table.ms_name, "VisCal": table.kind, "PolBasis": "unknown"}
        )
        if table.casa_version:
            tab.putkeyword("CASA_Version", table.casa_version)
        tab.putinfo({"type": "Calibration", "subType": table.kind, "readme": ""})
    finally:
        tab.close()


def _present(solutions: SpwSolutions) -> NDArray[np.bool_]:
    return np.ones(solutions.shape[:2], bool) if solutions.present is None else solutions.present


def _columns(s: SpwSolutions, name: str, with_outcome: bool) -> dict[str, NDArray[Any]]:
    """Columns of the rows of one spectral window, sorted by time and antenna."""
    nt, nant = s.shape[:2]
    complete = s.present is None
    rows = slice(None) if s.present is None else s.present.ravel()

    def by_slot(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
        return np.repeat(np.asarray(values, dtype), nant)[rows]

    def cells(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
        flat = np.asarray(values, dtype).reshape(nt * nant, *values.shape[2:])
        return np.ascontiguousarray(flat if complete else flat[rows])

    columns = {
        "TIME": by_slot(s.time, np.float64),
        "FIELD_ID": by_slot(s.field, np.int32),
        "SPECTRAL_WINDOW_ID": by_slot(np.full(nt, s.spw), np.int32),
        "ANTENNA1": np.tile(np.arange(nant, dtype=np.int32), nt)[rows],
        "ANTENNA2": cells(s.refant, np.int32),
        "INTERVAL": by_slot(s.interval, np.float64),
        "SCAN_NUMBER": by_slot(s.scan, np.int32),
        "OBSERVATION_ID": by_slot(s.obs, np.int32),
        name: cells(s.param, np.complex64 if name == "CPARAM" else np.float32),
        "PARAMERR": cells(s.error, np.float32),
        "FLAG": cells(s.flag, bool),
        "SNR": cells(s.snr, np.float32),
    }
    if with_outcome:
        columns[OUTCOME_COLUMN] = cells(np.zeros(s.shape, np.uint8) if s.outcome is None else s.outcome, np.uint8)
    return columns


def _write_subtables(table: CalTable, path: str, ms_path: str) -> None:
    from casacore.tables import table as casacore_table

    tab = _open(path, writable=True)
    try:
        for name in SUBTABLES:
            source = os.path.join(ms_path, name)
            if os.path.isdir(source):
                original = casacore_table(source, ack=False, lockoptions="autonoread")
                original.copy(f"{path}/{name}", deep=True, valuecopy=True).close()
                original.close()
                tab.putkeyword(name, f"Table: {path}/{name}")
        _write_history(table, f"{path}/HISTORY")
        tab.putkeyword("HISTORY", f"Table: {path}/HISTORY")
    finally:
        tab.close()
    _fit_antennas(table, path, ms_path)
    _drop_ephemerides(f"{path}/FIELD")
    _rewrite_spectral_window(table, f"{path}/SPECTRAL_WINDOW", ms_path)


def _fit_antennas(table: CalTable, path: str, ms_path: str) -> None:
    tab = _open(f"{path}/ANTENNA")
    names = list(tab.getcol("NAME"))
    tab.close()
    counts = {s.shape[1] for s in table.spws.values()}
    if counts != {len(names)}:
        raise CalTableError(f"{path}: solutions for {sorted(counts)} antennas, but {ms_path} has {len(names)}")


def _drop_ephemerides(path: str) -> None:
    """A caltable has no ephemeris tables: fields stand at their nominal directions."""
    tab = _open(path, writable=True)
    if "EPHEMERIS_ID" in tab.colnames() and tab.nrows():
        tab.putcol("EPHEMERIS_ID", np.full(tab.nrows(), -1, np.int32))
    tab.close()


def _rewrite_spectral_window(table: CalTable, path: str, ms_path: str) -> None:
    tab = _open(path, writable=True)
    try:
        count = tab.nrows()
        outside = [spw for spw in table.spws if not 0 <= spw < count]
        if outside:
            raise CalTableError(f"solutions for spw {outside}, but {ms_path} has {count} spectral windows")
        collapse = all(s.shape[2] == 1 for s in table.spws.values())
        for row in range(count):
            solutions = table.spws.get(row)
            freq = tab.getcell("CHAN_FREQ", row) if solutions is None else solutions.freq
            width = tab.getcell("CHAN_WIDTH", row) if solutions is None else solutions.width
            if solutions is None and collapse:
                freq, width = np.array([np.mean(freq)]), np.array([np.sum(width)])
            _put_spectral_window(tab, row, np.asarray(freq, float), np.asarray(width, float), solutions is not None)
    finally:
        tab.close()


def _put_spectral_window(
    tab: Any, row: int, freq: NDArray[np.float64], width: NDArray[np.float64], solved: bool
) -> None:
    tab.putcell("NUM_CHAN", row, len(freq))
    tab.putcell("CHAN_FREQ", row, freq)
    tab.putcell("CHAN_WIDTH", row, width)
    tab.putcell("EFFECTIVE_BW", row, np.abs(width))
    tab.putcell("RESOLUTION", row, np.abs(width))
    tab.putcell("TOTAL_BANDWIDTH", row, float(np.abs(width).sum()))
    tab.putcell("FLAG_ROW", row, not solved)


def _write_history(table: CalTable, path: str) -> None:
    from casacore.tables import default_ms_subtable

    lines = [("calibrant", line) for line in table.provenance]
    lines += [(SUMMARY_ORIGIN, f"{count} solutions: {o.sentence}") for o, count in table.outcomes().items()]
    tab = default_ms_subtable("HISTORY", path)
    try:
        now = clock.time() + MJD_OF_UNIX_EPOCH_S
        tab.addrows(len(lines))
        for row, (origin, message) in enumerate(lines):
            for name, value in (("MESSAGE", message), ("ORIGIN", origin), ("APPLICATION", "calibrant"), ("TIME", now)):
                tab.putcell(name, row, value)
            tab.putcell("PRIORITY", row, "INFO")
            tab.putcell("OBSERVATION_ID", row, -1)
            tab.putcell("OBJECT_ID", row, 0)
            for name in ("APP_PARAMS", "CLI_COMMAND"):
                tab.putcell(name, row, [""])
    finally:
        tab.close()
