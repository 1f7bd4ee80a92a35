"""Flag versions: saved copies of FLAG and FLAG_ROW in CASA's layout, which CASA lists and restores.

`<ms>.flagversions/FLAG_VERSION_LIST` is text, one line `name : comment` a version; `flags.<name>/` beside it is a table
of the MS's rows with the columns FLAG and FLAG_ROW. The table comes first and its line last, so that a kill leaves at
most a folder that is not listed.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import MeasurementSetError, ParameterError
from calibrant.ms.index import MSIndex, open_index
from calibrant.ms.reader import cell_shape, fill, read_chunks
from calibrant.ms.tables import open_table
from calibrant.ms.writer import MSWriter, put_rows
from calibrant.registry import unknown

LIST = "FLAG_VERSION_LIST"
TILE_BITS = 8 << 20
MERGES = ("replace", "or", "and")


@dataclass(frozen=True)
class FlagVersion:
    """One line of the list."""

    name: str
    comment: str


def folder(path: str) -> str:
    """Where the flag versions of the MS at `path` are."""
    return os.path.normpath(path) + ".flagversions"


def table_path(path: str, name: str) -> str:
    return os.path.join(folder(path), f"flags.{name}")


def autosave_comment() -> str:
    """The comment of a version that a task saves before it changes flags, as CASA words it."""
    return f"Flags autosave on {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}"


# ---- the list ---------------------------------------------------------------------------------------------
def list_versions(path: str) -> list[FlagVersion]:
    """The versions of the MS at `path`, oldest first; [] where there are none."""
    try:
        with open(os.path.join(folder(path), LIST)) as stream:
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return []
    parts = [line.partition(" : ") for line in lines if line.strip()]
    return [FlagVersion(name.strip(), comment) for name, _, comment in parts]


def _write_list(path: str, versions: list[FlagVersion]) -> None:
    target = os.path.join(folder(path), LIST)
    temporary = f"{target}.tmp"
    with open(temporary, "w") as stream:
        stream.writelines(f"{version.name} : {version.comment}\n" for version in versions)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, target)


def next_name(path: str, prefix: str) -> str:
    """`<prefix>_<n>` with the lowest n that is free, as CASA counts."""
    taken = {version.name for version in list_versions(path)}
    number = 1
    while f"{prefix}_{number}" in taken:
        number += 1
    return f"{prefix}_{number}"


def _require(path: str, name: str) -> FlagVersion:
    versions = list_versions(path)
    for version in versions:
        if version.name == name:
            return version
    raise ParameterError(f"{path}: " + unknown("flag version", name, tuple(v.name for v in versions)))


def _check_name(name: str) -> None:
    if not name or "/" in name or " : " in name or "\n" in name or name != name.strip():
        raise ParameterError(f"{name!r} cannot be the name of a flag version: no '/', no ' : ', no blanks at its ends")


def _check_comment(comment: str) -> None:
    if "\n" in comment:
        raise ParameterError("the comment of a flag version is one line; it has a line break")


# ---- save -------------------------------------------------------------------------------------------------
def save(path: str, name: str, comment: str = "") -> str | None:
    """Save FLAG and FLAG_ROW as version `name`. An older version of that name becomes `name.old.<time>`.

    Returns the new name of the older version, if there was one.
    """
    _check_name(name)
    _check_comment(comment)
    index = open_index(path)
    os.makedirs(folder(path), exist_ok=True)
    target = table_path(path, name)
    temporary = os.path.join(folder(path), f".flags.{name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _copy_flags(index, temporary)
    except (RuntimeError, OSError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise MeasurementSetError(f"{target} cannot be written ({error}); is the disk full?") from None
    older = _set_aside(path, name)
    if os.path.isdir(target):
        shutil.rmtree(target)  # not listed: left over by a kill
    os.rename(temporary, target)
    _write_list(path, [*list_versions(path), FlagVersion(name, comment)])
    return older


def _set_aside(path: str, name: str) -> str | None:
    if name not in {version.name for version in list_versions(path)}:
        return None
    older = f"{name}.old.{int(time.time())}"
    rename(path, name, older)
    return older


def _copy_flags(index: MSIndex, target: str) -> None:
    version = _create(index, target)
    try:
        for chunk in read_chunks(index, np.arange(index.nrow), ["FLAG"]):
            put_rows(version, "FLAG", chunk.rows, chunk["FLAG"])
        version.putcol("FLAG_ROW", index.column("FLAG_ROW"))
    finally:
        version.close()


def _create(index: MSIndex, target: str) -> Any:
    from casacore.tables import makearrcoldesc, makescacoldesc, maketabdesc, table

    shapes = [cell_shape(index, int(ddid)) for ddid in np.unique(index.ddid)]
    nchan, ncorr = max(nchan for nchan, _ in shapes), max(ncorr for _, ncorr in shapes)
    rows = min(max(TILE_BITS // (nchan * ncorr), 8), 1 << 16)
    flag = makearrcoldesc(
        "FLAG", False, ndim=2, datamanagertype="TiledShapeStMan", datamanagergroup="TiledFlag", valuetype="boolean"
    )
    flag_row = makescacoldesc("FLAG_ROW", False, datamanagertype="StandardStMan", datamanagergroup="StandardStMan")
    manager = {
        "TYPE": "TiledShapeStMan",
        "NAME": "TiledFlag",
        "SEQNR": 0,
        "SPEC": {"DEFAULTTILESHAPE": np.array([ncorr, nchan, rows], np.int32)},
        "COLUMNS": ["FLAG"],
    }
    description = maketabdesc([flag, flag_row])
    return table(target, description, nrow=index.nrow, dminfo={"*1": manager}, ack=False, lockoptions="permanent")


# ---- restore ----------------------------------------------------------------------------------------------
def restore(path: str, name: str, merge: str = "replace") -> int:
    """Put version `name` into FLAG and FLAG_ROW: 'replace' them, or 'or', 'and' with what is there.

    Returns the number of visibilities whose flag changed. Raises ParameterError for an unknown version,
    MeasurementSetError where the version does not fit the MS or is missing on disk.
    """
    if merge not in MERGES:
        raise ParameterError(unknown("merge", merge, MERGES))
    _require(path, name)
    index = open_index(path)
    version = open_table(table_path(path, name))
    try:
        if version.nrows() != index.nrow:
            raise MeasurementSetError(
                f"{table_path(path, name)} has {version.nrows()} rows, {path} has {index.nrow}: "
                "it belongs to another state of the MeasurementSet"
            )
        with MSWriter(path, "flagmanager", f"restore {name} {merge}") as writer:
            return _restore(index, version, writer, merge)
    finally:
        version.close()


def restore_since(path: str, name: str, since: str) -> int:
    """Put version `name` into FLAG and FLAG_ROW, and keep what was flagged after version `since` was saved.

    Returns the number of visibilities kept flagged that are not flagged in `name`. Raises as `restore`.
    """
    tables = []
    index = open_index(path)
    try:
        for version in (name, since):
            _require(path, version)
            tables.append(open_table(table_path(path, version)))
            if tables[-1].nrows() != index.nrow:
                raise MeasurementSetError(
                    f"{table_path(path, version)} has {tables[-1].nrows()} rows, {path} has {index.nrow}: "
                    "it belongs to another state of the MeasurementSet"
                )
        with MSWriter(path, "flagmanager", f"restore {name} since {since}") as writer:
            return _restore_since(index, tables[0], tables[1], writer)
    finally:
        for tab in tables:
            tab.close()


def _restore_since(index: MSIndex, base: Any, since: Any, writer: MSWriter) -> int:
    kept = 0
    for chunk in read_chunks(index, np.arange(index.nrow), ["FLAG"]):
        present = chunk["FLAG"]
        old, done = np.empty(present.shape, bool), np.empty(present.shape, bool)
        try:
            fill(base, "FLAG", chunk.rows, old)
            fill(since, "FLAG", chunk.rows, done)
        except RuntimeError as error:
            raise MeasurementSetError(f"a flag version does not fit {index.path}, or is incomplete ({error})") from None
        merged = old | (present & ~done)
        kept += int(np.count_nonzero(merged & ~old))
        if (merged != present).any():
            writer.put("FLAG", chunk.rows, merged)
    present = index.column("FLAG_ROW")
    old, done = (np.asarray(tab.getcol("FLAG_ROW")) for tab in (base, since))
    merged = old | (present & ~done)
    if (merged != present).any():
        writer.put("FLAG_ROW", np.arange(index.nrow), merged)
    return kept


def _restore(index: MSIndex, version: Any, writer: MSWriter, merge: str) -> int:
    changed = 0
    for chunk in read_chunks(index, np.arange(index.nrow), ["FLAG"]):
        saved = np.empty(chunk["FLAG"].shape, bool)
        try:
            fill(version, "FLAG", chunk.rows, saved)
        except RuntimeError as error:
            raise MeasurementSetError(f"a flag version does not fit {index.path}, or is incomplete ({error})") from None
        merged = _merge(chunk["FLAG"], saved, merge)
        count = int(np.count_nonzero(merged != chunk["FLAG"]))
        if count:
            writer.put("FLAG", chunk.rows, merged)
            changed += count
    before = index.column("FLAG_ROW")
    rows = _merge(before, np.asarray(version.getcol("FLAG_ROW")), merge)
    if (rows != before).any():
        writer.put("FLAG_ROW", np.arange(index.nrow), rows)
    return changed


def _merge(present: NDArray[np.bool_], saved: NDArray[np.bool_], merge: str) -> NDArray[np.bool_]:
    if merge == "replace":
        return saved
    return present | saved if merge == "or" else present & saved


# ---- delete, rename ---------------------------------------------------------------------------------------
def delete(path: str, name: str) -> None:
    """Delete version `name`."""
    _require(path, name)
    _write_list(path, [version for version in list_versions(path) if version.name != name])
    shutil.rmtree(table_path(path, name), ignore_errors=True)


def rename(path: str, old: str, new: str, comment: str | None = None) -> None:
    """Give version `old` the name `new` (and another comment)."""
    _check_name(new)
    version = _require(path, old)
    comment = version.comment if comment is None else comment
    _check_comment(comment)
    if new in {known.name for known in list_versions(path)}:
        raise ParameterError(f"{path} already has a flag version called {new!r}; delete it first")
    os.rename(table_path(path, old), table_path(path, new))
    _write_list(path, [FlagVersion(new, comment) if v.name == old else v for v in list_versions(path)])
