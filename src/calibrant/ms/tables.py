"""Opening casacore tables so that people understand what went wrong.

Readers never wait for a lock; writers ask for it once and fail at once with the name of the table.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from calibrant.errors import LockedError, MeasurementSetError
from calibrant.ms.journal import load, recover_abandoned

os.environ.setdefault("HOME", tempfile.gettempdir())  # without it casacore opens no table


def open_table(path: str, writable: bool = False) -> Any:
    """A `casacore.tables.table`; MeasurementSetError or LockedError with a sentence if it cannot be had."""
    from casacore.tables import table

    if not os.path.isdir(path):
        what = "is a file, not a table directory" if os.path.exists(path) else "does not exist"
        raise MeasurementSetError(f"{path} {what}; a MeasurementSet is a directory with a file table.dat in it")
    if not os.path.exists(os.path.join(path, "table.dat")):
        raise MeasurementSetError(
            f"{path} is a directory without table.dat: not a MeasurementSet, or an incomplete copy"
        )
    if writable:
        denied = [p for p in (path, os.path.join(path, "table.dat")) if not os.access(p, os.W_OK)]
        if denied:
            raise MeasurementSetError(f"{denied[0]} is read-only for you; make it writable or work on a copy")
        check_complete(path)
    options = {"readonly": not writable, "ack": False, "lockoptions": "permanent" if writable else "autonoread"}
    try:
        return table(path, **options)
    except RuntimeError as error:
        text = str(error)
    if "could not be acquired" in text:
        raise LockedError(f"{path} is in use by another process; close it there and try again ({text})")
    if not writable and recover_abandoned(path):
        return table(path, **options)
    hint = "" if "HOME" in text else "; the copy may be truncated"
    raise MeasurementSetError(f"{path} cannot be opened: {text}{hint}")


def check_complete(path: str) -> None:
    """MeasurementSetError where files of the table are shorter than they must be, found without changing them.

    A table that cannot be opened passes: opening it says why. So do columns that a killed task left incomplete."""
    from casacore.tables import table

    from calibrant.ms.tiles import check_files

    try:
        tab = table(path, ack=False, lockoptions="autonoread")
    except RuntimeError:
        return
    try:
        check_files(path, tab, {column for run in load(path).killed for column in run.columns})
    finally:
        tab.close()


def open_subtable(path: str, name: str, writable: bool = False) -> Any:
    """The subtable `name` of the MS at `path`; MeasurementSetError if it is missing."""
    sub = os.path.join(path, name)
    if not os.path.isdir(sub):
        raise MeasurementSetError(
            f"{path} has no subtable {name}; the MeasurementSet is incomplete (copy it again, or re-import it)"
        )
    return open_table(sub, writable)


def read_column(tab: Any, name: str, path: str) -> Any:
    """A whole fixed-shape or scalar column; MeasurementSetError naming table and column if that fails."""
    try:
        return tab.getcol(name)
    except RuntimeError as error:
        raise MeasurementSetError(f"{path}: column {name} cannot be read ({error})") from None
