"""Writing into somebody's MeasurementSet: safely, or not at all.

    with MSWriter(path, task="applycal", fingerprint=provenance(...)) as writer:
        writer.save_flags()
        writer.ensure_column("CORRECTED_DATA")
        for chunk in chunks:
            writer.put("CORRECTED_DATA", chunk.rows, corrected)

The table is locked for good at once, or LockedError. Columns are created before anything is written; rows of a new
column that the task leaves out are filled at the end as CASA does (CORRECTED_DATA with DATA, MODEL_DATA with a unit
point source), so no cell stays undefined. Rows are never added. A run that is killed leaves a readable MS and a
journal (`calibrant.ms.journal`); the same task run again gives the result of an undisturbed run, provided that what
it writes does not depend on what it has written already (where it does, `note` remembers).
"""

from __future__ import annotations

import fcntl
import glob
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import LockedError, MeasurementSetError
from calibrant.ms import journal as journals
from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.reader import SHORT_RUN, cell_shape, read_chunks, runs
from calibrant.ms.tables import check_complete, open_table

if TYPE_CHECKING:
    from collections.abc import Callable

FLUSH_BYTES = 512 << 20
"""To disk after this many bytes: a flush rewrites headers and waits for the disk (casacore syncs its lock file), so it
should be rare; it bounds what a kill can lose."""
TILE_BYTES = 1 << 20
TILE_ROWS = 64
FULL_BYTES = 1 << 20
"""A disk with less than this free is full (casacore does not pass on the reason of a failed write)."""

NEW_COLUMNS = {"CORRECTED_DATA": "TiledCorrected", "MODEL_DATA": "TiledModel"}
"""Columns that may be created, and what CASA calls their storage managers."""


class MSWriter:
    """The one writer of a MeasurementSet; a context manager (see the module's text).

    task, fingerprint: what is being done, with which parameters; a killed run of the same two is taken up again.
    After entering, `resumed` says whether that is so, and `messages` what the user should be told.
    Raises LockedError at once where somebody else has the MS open for writing, MeasurementSetError where it is
    read-only, not there, or the disk is full.
    """

    def __init__(self, path: str, task: str, fingerprint: str = "") -> None:
        self.path = os.path.normpath(path)
        self.task, self.fingerprint = task, fingerprint
        self.resumed = False
        self.messages: list[str] = []
        self._table: Any = None
        self._owner = -1
        self._journal = journals.Journal(self.path)
        self._run = journals.Run(task, fingerprint)
        self._created: list[str] = []
        self._written: dict[str, NDArray[np.bool_]] = {}
        self._unsaved = 0
        self._touched = False
        self._safe: set[str] = set()

    # ---- begin and end ----------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        self._own()
        try:
            self._table = self._open()
            self._begin()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._do(self._finish)
            elif self._table is not None:
                if isinstance(error, RuntimeError | OSError) and self._is_full(str(error)):
                    # readers share casacore's table and flush it when they close
                    self._disk_full(str(error))
                self._close_table()
                if not (self._touched or self._created or self.resumed):
                    self._journal.finish()
        finally:
            self._release()

    def _finish(self) -> None:
        self._fill_unwritten()
        self._table.flush()
        self._close_table()
        self._journal.finish()

    def _own(self) -> None:
        """One Calibrant writer at a time: a lock on the directory, gone when the process is."""
        if not os.path.isdir(self.path):
            return
        self._owner = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            raise LockedError(f"{self.path} is being written by another calibrant task; wait for its end") from None
        except OSError:
            return  # file systems without flock: casacore's own lock remains

    def _release(self) -> None:
        if self._table is not None:
            self._close_table()
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    def _open(self) -> Any:
        journals.repair(self.path)
        if os.path.exists(os.path.join(self.path, "table.dat")):
            check_complete(self.path)  # not for the journal to repair
        try:
            return open_table(self.path, writable=True)
        except LockedError:
            raise
        except MeasurementSetError:
            if not journals.recover(self.path):
                raise
        tab = open_table(self.path, writable=True)
        journals.remove_strays(self.path, tab)
        self.messages.append(f"{self.path} was left unreadable by a killed task; repaired from its journal")
        return tab

    def _begin(self) -> None:
        unfinished = journals.load(self.path).killed
        same = [run for run in unfinished if (run.task, run.fingerprint) == (self.task, self.fingerprint)]
        others = [run for run in unfinished if run not in same]
        if same:
            self.resumed, self._run = True, same[-1]
            self.messages.append(f"{self.task} with these parameters did not reach its end before; it is repeated")
        self.messages += [self._warning(run) for run in others]
        small = journals.snapshot(self.path, self._table)
        self._journal = journals.Journal(self.path, self._run, others, small)
        self._journal.save()

    def _warning(self, run: journals.Run) -> str:
        columns = "".join(f"; {name} is incomplete" for name in run.columns)
        saved = f"; the flags before it are in version {run.flag_version}" if run.flag_version else ""
        return (
            f"{run.task} did not reach its end on this MeasurementSet, its flags or data may be half applied"
            f"{columns}{saved}: run it again, or remove {self._journal.filename} to forget it"
        )

    def _close_table(self) -> None:
        tab, self._table = self._table, None
        tab.close()

    # ---- columns ----------------------------------------------------------------------------------------
    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._table.colnames())

    def ensure_column(self, name: str) -> bool:
        """Create MODEL_DATA or CORRECTED_DATA as CASA does, unless it is there; True where it holds nothing yet.

        Call it before anything is written. Raises MeasurementSetError where the disk has no room for it.
        """
        exists = name in self.columns
        begun = any(name in run.columns for run in (self._run, *self._journal.killed))
        if not exists:
            self._create(name)
        if not exists or begun:
            self._written[name] = np.zeros(self._table.nrows(), bool)
        return name in self._written

    def _create(self, name: str) -> None:
        group = NEW_COLUMNS[name]
        if "DATA" not in self.columns:
            raise MeasurementSetError(f"{self.path} has no column DATA, so {name} cannot be made from it")
        index = open_index(self.path)
        self._check_room(name, index)
        # written down first: whatever happens from here on, the column counts as incomplete
        self._run.columns.append(name)
        self._journal.save()
        self._do(lambda: add_column(self._table, name, group, tile_shape(index)))
        self._created.append(name)
        self.flush()
        self._close_table()
        self._table = open_table(self.path, writable=True)
        self._journal.files = journals.snapshot(self.path, self._table)
        self._journal.save()

    def _check_room(self, name: str, index: MSIndex) -> None:
        rows = tile_shape(index)[2]
        tiles = -(-np.bincount(index.ddid) // rows)
        need = sum(int(n) * rows * 8 * int(np.prod(cell_shape(index, ddid))) for ddid, n in enumerate(tiles) if n)
        free = free_bytes(self.path)
        if need + FULL_BYTES > free:
            raise MeasurementSetError(
                f"{self.path}: {name} needs {need / 1e9:.3g} GB, the disk has {free / 1e9:.3g} GB free; "
                "free some space (nothing was changed)"
            )

    def _fill_unwritten(self) -> None:
        """Rows of new columns that were not put: DATA into CORRECTED_DATA, a unit point source into MODEL_DATA."""
        for name, written in self._written.items():
            rest = np.flatnonzero(~written)
            if len(rest):
                self._fill(name, rest)
            for run in (self._run, *self._journal.killed):
                run.columns = [column for column in run.columns if column != name]

    def _fill(self, name: str, rows: NDArray[np.int64]) -> None:
        index = open_index(self.path)
        if name == "CORRECTED_DATA":
            for chunk in read_chunks(index, rows, ["DATA"]):
                self.put(name, chunk.rows, chunk["DATA"])
            return
        for chunk in read_chunks(index, rows, ["FLAG"]):
            unit = np.zeros(chunk["FLAG"].shape, np.complex64)
            unit[:, :, index.polarizations[int(index.ddid_pol[chunk.ddid])].parallel] = 1
            self.put(name, chunk.rows, unit)

    # ---- values -----------------------------------------------------------------------------------------
    def put(self, column: str, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Write `values` (one a row, cells as read by `read_chunks`) into ascending `rows` of `column`."""
        if len(rows) != len(values):
            raise ValueError(f"{len(rows)} rows, {len(values)} values")
        if not len(rows):
            return
        self._touched = True
        self._protect(column)
        self._do(lambda: put_rows(self._table, column, rows, values))
        if column in self._written:
            self._written[column][rows] = True
        self._unsaved += values.nbytes
        if self._unsaved >= FLUSH_BYTES:
            self.flush()

    def _protect(self, column: str) -> None:
        """Keep a copy of the file of an untiled column: a kill while it is rewritten can tear its other columns."""
        if column not in self._safe:
            for manager in self._table.getdminfo().values():
                if manager["TYPE"] not in journals.TILED and column in manager["COLUMNS"]:
                    self.flush()
                    for name in (f"table.f{manager['SEQNR']}", f"table.f{manager['SEQNR']}i"):
                        if os.path.exists(os.path.join(self.path, name)):
                            self._journal.copy_aside(name)
                    self._safe |= set(manager["COLUMNS"])
            self._safe.add(column)

    def flush(self) -> None:
        """Everything put so far to disk."""
        self._do(self._table.flush)
        self._unsaved = 0

    def put_keyword(self, name: str, value: Any) -> None:
        """Set a keyword of MAIN."""
        self._touched = True
        self._do(lambda: self._table.putkeyword(name, value))

    def get_keyword(self, name: str) -> Any:
        """A keyword of MAIN, or None."""
        return self._table.getkeyword(name) if name in self._table.keywordnames() else None

    # ---- what a repeated run must know ------------------------------------------------------------------
    def save_flags(self, comment: str = "") -> str:
        """Save the flags as version `<task>_<n>` and return its name; a repeated run keeps the version of the first."""
        from calibrant.ms import flagversions

        listed = [version.name for version in flagversions.list_versions(self.path)]
        if self._run.flag_version not in listed:
            # the name is written down first, so that a run killed while saving takes the same one
            self._run.flag_version = self._run.flag_version or flagversions.next_name(self.path, self.task)
            self._journal.save()
            flagversions.save(self.path, self._run.flag_version, comment or flagversions.autosave_comment())
        return self._run.flag_version

    def note(self, key: str, value: Any) -> None:
        """Remember a JSON value for a repeated run, before what it was computed from is overwritten."""
        self._run.notes[key] = value
        self._journal.save()

    def noted(self, key: str) -> Any:
        """What a killed run of this task noted, or None."""
        return self._run.notes.get(key)

    # ---- failures ---------------------------------------------------------------------------------------
    def _do(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except (RuntimeError, OSError) as error:
            if self._is_full(str(error)):
                self._disk_full(str(error))
            raise MeasurementSetError(f"{self.path} cannot be written: {error}") from None

    def _is_full(self, text: str) -> bool:
        return free_bytes(self.path) < FULL_BYTES or "No space left" in text or "quota" in text.lower()

    def _disk_full(self, text: str) -> None:
        """Make room by dropping the columns this run created, so that the rest can be closed in order."""
        if self._table is not None:
            for manager in self._table.getdminfo().values():
                if set(manager["COLUMNS"]) & set(self._created):
                    base = glob.escape(os.path.join(self.path, f"table.f{manager['SEQNR']}_TSM"))
                    for name in glob.glob(base + "*"):
                        os.truncate(name, 0)
            # through casacore and not by hand: a reader of this process may hold the same table
            if self._created:
                self._table.removecols(self._created)
                self._run.columns = [name for name in self._run.columns if name not in self._created]
            self._table.flush()
            self._close_table()
        dropped = f" {', '.join(self._created)} was removed again;" if self._created else ""
        raise MeasurementSetError(
            f"{self.path}: the disk is full ({text});{dropped} the MeasurementSet is readable: "
            "free some space and run it again"
        ) from None


def free_bytes(path: str) -> int:
    """Bytes that a user may still write on the disk of `path`."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def tile_shape(index: MSIndex) -> tuple[int, int, int]:
    """(ncorr, nchan, rows) of a tile of a new column: about 1 MiB for the largest spectral window."""
    shapes = [cell_shape(index, int(ddid)) for ddid in np.unique(index.ddid)]
    nchan, ncorr = max(nchan for nchan, _ in shapes), max(ncorr for _, ncorr in shapes)
    # the row count holds for small spectral windows too (WVR: 4 channels), whose tiles must not get tiny
    return ncorr, nchan, max(TILE_BYTES // (8 * nchan * ncorr), TILE_ROWS)


def add_column(tab: Any, name: str, group: str, tile: tuple[int, int, int]) -> None:
    """Add a complex column of variable shape in a tiled storage manager of its own."""
    from casacore.tables import makearrcoldesc, maketabdesc

    description = makearrcoldesc(
        name,
        0j,
        ndim=2,
        valuetype="complex",
        datamanagertype="TiledShapeStMan",
        datamanagergroup=group,
        comment="The data column",
        keywords={"UNIT": "Jy"},
    )
    manager = {
        "TYPE": "TiledShapeStMan",
        "NAME": group,
        "SEQNR": 0,
        "SPEC": {"DEFAULTTILESHAPE": np.array(tile, np.int32)},
        "COLUMNS": [name],
    }
    tab.addcols(maketabdesc([description]), {"*1": manager})


def put_rows(tab: Any, column: str, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Write ascending `rows` of `column` with as few casacore calls as the rows allow."""
    starts, lengths = runs(rows)
    if len(starts) == 1:
        tab.putcol(column, values, int(rows[0]), len(rows))
        return
    steps = np.diff(rows)
    if (steps == steps[0]).all():
        tab.putcol(column, values, int(rows[0]), len(rows), int(steps[0]))
    elif len(rows) < SHORT_RUN * len(starts):
        selected = tab.selectrows(rows.tolist())
        selected.putcol(column, values)
        selected.close()
    else:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            tab.putcol(column, values[start : start + length], int(rows[start]), length)
