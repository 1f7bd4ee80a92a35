"""The journal of a writing task: what makes a killed run harmless.

While a task writes into a MeasurementSet, a small JSON file `<ms>.calibrant-journal` lies beside it with the
task, the fingerprint of its parameters, the flag version it saved, the columns it has begun to fill, and copies of
the few small files (table.dat, headers of tiled columns) that casacore rewrites by truncating them: a kill at
that instant leaves a table that nobody can open. The next writer puts the copies back. The file is replaced
atomically and synced; it disappears when the task ends. A task that was killed stays listed in it until the same
task has run to its end, so that others can be told.
"""

from __future__ import annotations

import base64
import fcntl
import glob
import json
import os
import re
import shutil
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

from calibrant.errors import MeasurementSetError

SUFFIX = ".calibrant-journal"
TILED = ("TiledShapeStMan", "TiledColumnStMan", "TiledCellStMan", "TiledDataStMan")


@dataclass
class Run:
    """One run of a writing task, as far as it got.

    columns: columns it created and has not filled completely; flag_version: the version it saved first;
    notes: what it must remember to be repeated identically.
    """

    task: str
    fingerprint: str
    columns: list[str] = field(default_factory=list)
    flag_version: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Journal:
    """The journal of the MeasurementSet at `path`: the run in progress, killed runs, copies of files.

    files: name -> content of small files; aside: names of larger ones, whose copies lie beside the journal.
    """

    path: str
    current: Run | None = None
    killed: list[Run] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)

    @property
    def filename(self) -> str:
        return self.path + SUFFIX

    def save(self) -> None:
        """Write to disk, atomically and synced. MeasurementSetError if the folder cannot be written."""
        content = {
            "format": 1,
            "current": asdict(self.current) if self.current else None,
            "killed": [asdict(run) for run in self.killed],
            "files": {name: base64.b64encode(zlib.compress(data)).decode() for name, data in self.files.items()},
            "aside": self.aside,
        }
        temporary = f"{self.filename}.tmp"
        try:
            with open(temporary, "w") as stream:
                json.dump(content, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self.filename)
        except OSError as error:
            if os.path.exists(temporary):
                os.remove(temporary)
            raise MeasurementSetError(
                f"{self.filename} cannot be written ({error.strerror}); it protects {self.path} while a task "
                "writes into it: make the folder writable, or free some space"
            ) from None

    def copy_aside(self, name: str) -> None:
        """Copy the file `name` of the table, which is about to be rewritten in a way that a kill may tear."""
        try:
            shutil.copyfile(os.path.join(self.path, name), aside_path(self.path, name))
        except OSError as error:
            raise MeasurementSetError(f"{aside_path(self.path, name)} cannot be written ({error.strerror})") from None
        self.aside.append(name)
        self.save()

    def finish(self) -> None:
        """The run in progress is over: remove the file, or keep it with the killed runs of other tasks."""
        self.current, self.aside = None, []
        for name in glob.glob(glob.escape(aside_path(self.path, "table.f")) + "*"):
            os.remove(name)
        if self.killed:
            self.files = {}
            self.save()
        elif os.path.exists(self.filename):
            os.remove(self.filename)


def aside_path(path: str, name: str) -> str:
    """Where the copy of a table's file is kept."""
    return f"{path}{SUFFIX}-{name}"


def load(path: str) -> Journal:
    """The journal of the MS at `path` (empty where there is none); its unfinished run counts as killed."""
    journal = Journal(path)
    try:
        with open(journal.filename) as stream:
            content = json.load(stream)
        runs = content["killed"] + ([content["current"]] if content["current"] else [])
        journal.killed = [Run(**run) for run in runs]
        journal.files = {name: zlib.decompress(base64.b64decode(data)) for name, data in content["files"].items()}
        journal.aside = content["aside"]
    except FileNotFoundError:
        return journal
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise MeasurementSetError(
            f"{journal.filename} cannot be read ({error}); if {path} is in order, remove that file and try again"
        ) from None
    return journal


def snapshot(path: str, tab: Any) -> dict[str, bytes]:
    """name -> content of the small files of the open table that casacore rewrites by truncation."""
    names = ["table.dat", "table.info"]
    names += [f"table.f{manager['SEQNR']}" for manager in tab.getdminfo().values() if manager["TYPE"] in TILED]
    files = {}
    for name in names:
        if os.path.isfile(os.path.join(path, name)):
            with open(os.path.join(path, name), "rb") as stream:
                files[name] = stream.read()
    return files


def put_back(path: str, files: dict[str, bytes]) -> None:
    """Write the copies back, each by an atomic replacement; columns added since are unknown to the table again."""
    for name, content in files.items():
        target = os.path.join(path, name)
        with open(target + "_tmp", "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(target + "_tmp", target)


def remove_strays(path: str, tab: Any) -> None:
    """Remove the files of data managers that the open table does not know (an interrupted addition of a column)."""
    known = {str(manager["SEQNR"]) for manager in tab.getdminfo().values()}
    for name in glob.glob(os.path.join(glob.escape(path), "table.f*")):
        match = re.fullmatch(r"table\.f(\d+)(_TSM\d+|i)?", os.path.basename(name))
        if match and match.group(1) not in known:
            os.remove(name)


def recover(path: str) -> bool:
    """Repair the table at `path` from its journal; False where there is nothing to repair it with."""
    files = load(path).files
    put_back(path, files)
    return bool(files)


def recover_abandoned(path: str) -> bool:
    """As `recover`, for readers: only where no living task is writing into the MS."""
    if not os.path.exists(path + SUFFIX):
        return False
    owner = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return recover(path)
    except OSError:
        return False
    finally:
        os.close(owner)


def repair(path: str) -> None:
    """Undo, before the table is opened, what a kill may have torn without making the table unreadable.

    A table.info cut short, and files that were copied aside because they were being rewritten.
    """
    if not os.path.exists(path + SUFFIX):
        return
    journal = load(path)
    saved = journal.files.get("table.info", b"")
    target = os.path.join(path, "table.info")
    if saved and (not os.path.exists(target) or os.path.getsize(target) < len(saved)):
        put_back(path, {"table.info": saved})
    for name in journal.aside:
        if os.path.exists(aside_path(path, name)):
            os.replace(aside_path(path, name), os.path.join(path, name))
