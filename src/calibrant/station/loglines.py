"""The lines of a Field System log in blocks of a few megabytes: where they begin, when they were written.

Every line begins with `yyyy.ddd.hh:mm:ss.ss`, UTC. Two-digit years are read too (70..99: 19yy, otherwise 20yy).
A line without a possible time stamp, with a NUL, longer than 1000 characters, or without its line end at the
end of the file is not used; `Block.faults` says why. All work is done on whole blocks: the memory needed does
not depend on the length of the log.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import FormatError
from calibrant.progress import progress as progress_bar

BLOCK_BYTES = 1 << 22
LONGEST = 1000
STAMP = 20
"""Characters of a time stamp."""
_SEPARATORS = {4: ".", 8: ".", 11: ":", 14: ":", 17: "."}
_YEAR, _DAY, _HOUR, _MINUTE, _CENTISECOND = (0, 1, 2, 3), (5, 6, 7), (9, 10), (12, 13), (15, 16, 18, 19)
"""Columns of the digits."""
_SHORT_YEAR = re.compile(rb"\n(\d\d)(?=\.\d{3}\.\d\d:\d\d:\d\d\.\d\d\D)")
_CLOCK_ONLY = re.compile(rb"\d\d:\d\d:\d\d")
_NO_YEAR = re.compile(rb"\d{3}[./]?\d\d:?\d\d")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\xff]")


@dataclass
class Block:
    """Consecutive whole lines. `data` begins with an extra line end, so that every line follows one."""

    data: bytes
    first_line: int
    """Physical number, from 1, of the first line."""
    starts: NDArray[np.int64]
    """Of each line within `data`."""
    ends: NDArray[np.int64]
    """Of each line, without its line end."""
    times: NDArray[np.float64]
    """Seconds since 1970, UTC, of each line; nan for a line that cannot be used."""
    faults: dict[int, str] = field(default_factory=dict)
    """Index of a line that cannot be used -> why."""

    def line(self, index: int) -> bytes:
        return self.data[self.starts[index] : self.ends[index]].rstrip(b"\r")


def blocks(path: str, *, progress: bool = True) -> Iterator[Block]:
    """Every line of a log, plain or gz, in blocks.

    Raises FormatError for a file that is empty, damaged (gz), or that shows no time stamp in its first 4 MB.
    """
    line, good = 1, 0
    for data in _whole_lines(path, progress):
        block = _block(data, line)
        good += len(block.times) - len(block.faults)
        if not good:
            raise FormatError(_not_a_log(path, block))
        yield block
        line += len(block.starts)
    if line == 1:
        raise FormatError(f"{path}: the file is empty; expected a Field System log. Give another file.")


def show(line: bytes) -> str:
    """The first 100 characters of a line, with ? for every byte that is no printable ASCII."""
    return "".join(chr(c) if 32 <= c < 127 else "?" for c in line[:100])


def _whole_lines(path: str, show_bar: bool) -> Iterator[bytes]:
    """The file cut at line ends, each piece with an extra line end before it."""
    carry = b""
    if os.path.isdir(path):
        raise FormatError(f"{path}: is a directory; expected a Field System log. Name the log in it.")
    title, size = os.path.basename(path), os.path.getsize(path)
    with open(path, "rb") as raw, progress_bar(title, size) if show_bar else nullcontext() as bar:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        place = 0
        while chunk := _read(file, path):
            if bar is not None:
                bar.advance(raw.tell() - place)
                place = raw.tell()
            head, end, tail = chunk.rpartition(b"\n")
            if end:
                yield b"\n" + carry + head + end
                carry = tail
            else:
                # What comes without line ends is garbage: enough of it is kept to be listed as a long line.
                carry = (carry + tail)[: 2 * LONGEST] if len(carry) > BLOCK_BYTES else carry + tail
    if carry:
        yield b"\n" + carry


def _read(file: gzip.GzipFile | io.BufferedReader, path: str) -> bytes:
    try:
        return file.read(BLOCK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(
            f"{path}: the gz file is damaged or cut off ({error}); expected a whole one. "
            "Copy it again, or save what is left with: gzip -dc FILE > LOG"
        ) from error


def _block(data: bytes, first_line: int) -> Block:
    """Line places and times of `data`, and what is wrong with lines."""
    if data.startswith(b"\n\xef\xbb\xbf"):
        data = b"\n" + data[4:]
    starts, ends = _places(data)
    times, stamped = _times(data, starts)
    if not stamped.all() and _SHORT_YEAR.search(data):
        data = _SHORT_YEAR.sub(lambda found: b"\n" + (b"19" if found[1] >= b"70" else b"20") + found[1], data)
        starts, ends = _places(data)
        times, stamped = _times(data, starts)
    block = Block(data, first_line, starts, ends, times)
    for index in np.flatnonzero(np.isnan(times)).tolist():
        block.faults[index] = _why(block.line(index), bool(stamped[index]))
    for index in np.flatnonzero(ends - starts > LONGEST).tolist():
        block.faults[index] = f"long line: {ends[index] - starts[index]} characters, more than {LONGEST}"
    if b"\0" in data:
        zeros = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
        for index in np.unique(np.searchsorted(starts, zeros, "right") - 1).tolist():
            block.faults[index] = "binary data: the line holds NUL bytes"
    if not data.endswith(b"\n"):
        block.faults[len(starts) - 1] = "cut off: the last line has no line end and is not used"
    times[list(block.faults)] = np.nan
    return block


def _places(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    line_ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    starts, ends = line_ends[:-1] + 1, line_ends[1:]
    if not data.endswith(b"\n"):
        starts, ends = line_ends + 1, np.append(ends, len(data))
    return starts, ends


def _times(data: bytes, starts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Seconds since 1970 (nan where impossible), and which lines have the form of a time stamp."""
    padded = np.frombuffer(data + bytes(STAMP), np.uint8)
    stamped = np.ones(len(starts), dtype=bool)
    for column, mark in _SEPARATORS.items():
        stamped &= padded[starts + column] == ord(mark)

    def field(columns: tuple[int, ...]) -> NDArray[np.int64]:
        value = np.zeros(len(starts), dtype=np.int64)
        for column in columns:
            digit = padded[starts + column] - np.uint8(ord("0"))
            stamped[digit > 9] = False
            value = 10 * value + digit
        return value

    year, day, hour, minute, centisecond = map(field, (_YEAR, _DAY, _HOUR, _MINUTE, _CENTISECOND))
    possible = stamped & (year >= 1970) & (day >= 1) & (day <= 366) & (hour < 24) & (minute < 60) & (centisecond < 6100)
    past = year - 1
    days = 365 * (year - 1970) + past // 4 - past // 100 + past // 400 - 477 + day - 1
    seconds = 86400 * days + 3600 * hour + 60 * minute
    return np.where(possible, seconds + centisecond / 100, np.nan), stamped


def _why(line: bytes, stamped: bool) -> str:
    """What is wrong with the time stamp of a line."""
    if stamped:
        return f"impossible time: {show(line[:STAMP])}"
    if not line.strip():
        return "empty line"
    if len(_CONTROL.findall(line[:LONGEST])) > len(line[:LONGEST]) // 4:
        return "binary data"
    if _CLOCK_ONLY.match(line) or _NO_YEAR.match(line):
        return "no date: the time stamp lacks the year or the day"
    return "no time stamp: expected yyyy.ddd.hh:mm:ss.ss"


def _not_a_log(path: str, block: Block) -> str:
    line = block.line(0)
    binary = b"\0" in block.data[:LONGEST] or len(_CONTROL.findall(line[:LONGEST])) > len(line[:LONGEST]) // 4
    found = "binary data" if binary else f'"{show(line)}"'
    return (
        f"{path}:1: found {found}, and no line with a time stamp after it; expected a Field System log, "
        "whose lines begin with yyyy.ddd.hh:mm:ss.ss. Give the log itself (plain or gz)."
    )
