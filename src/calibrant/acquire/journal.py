"""The journal of a run: JSON lines, each on disk before the run goes on. From it a run is resumed and reported.

Every record has `kind` and `time` (UTC, seconds since 1970). Kinds:

    start    run, plan {name, hash, steps, frames, duration_s}, inventory {name, driver, hash}, sequence, cameras,
             speed, simulated, resumed, directory, host, pid, versions, devices
    step     index, step (the kind of step), phase "begin" or "end", and frame, lights, place, duration_s where they
             apply; at the end `took_s`
    light    light, state, asked (true: on, false: off, null: only read), verified, problem
    mask     frame, place, begin, end: where the mask stood during an exposure
    exposure key, begin: the integration runs
    trial    key, exposure_s, level, wanted, ok: a try at the exposure time that gives the wanted counts
    frame    key, camera, path (below the directory), sha256, frame_kind, lamp, exposure_s (asked for), measured_s,
             begin, end (of the integration), ok, problems, levels {mean, median, p999, max}
    failed   key, problem: this frame was not taken
    control  command, from, after
    note     text
    alarm    text, lights: a person must act
    end      verdict, reason, frames, ok, lights_off
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from calibrant.errors import DataError, FormatError
from calibrant.plain import plain

NAME = "journal.jsonl"
Record = dict[str, Any]


class Journal:
    """Appends records to a file; each is on the disk when `append` returns.

    Several processes may append to one journal (the run and its guard): a record is one write.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._drop_torn_line()
        new = not self.path.exists()
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(f"{self.path}: the journal cannot be written: {error.strerror}") from error
        if new:
            _sync_directory(self.path.parent)

    def append(self, kind: str, **fields: Any) -> Record:
        """Write one record and return it. Raises OSError where the disk does not take it."""
        record = {"kind": kind, "time": round(fields.pop("time", None) or time.time(), 3), **plain(fields)}
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(28, "disk full: half a line was written")
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise
        return record

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _drop_torn_line(self) -> None:
        """What a killed process left of its last record was never a record."""
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.path.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)


def read(path: str | Path) -> list[Record]:
    """All records. A last line that is torn is left out; FormatError where another one is damaged."""
    path = Path(path)
    if path.is_dir():
        path = path / NAME
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: there is no journal of a run here ({error.strerror})") from error
    records = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            record = json.loads(line)
            record["kind"], record["time"]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path}, line {number}: this is no journal record: {line[:60]!r}") from error
        records.append(record)
    return records


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
