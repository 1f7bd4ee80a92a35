"""Solution intervals: which rows are solved together.

A cell is one (output spw, interval): rows that share ARRAY_ID and whatever of OBSERVATION_ID, SCAN_NUMBER, FIELD_ID
and spectral window is not combined, cut in time by solint. Intervals of a given length start at the first
integration of their group (casacore's and CASA's rule), and never cross a scan unless scans are combined.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.ms.index import MSIndex

NUMBER = r"(?:\d+\.?\d*|\.\d+)"
COMBINE = ("scan", "field", "spw", "obs")
EDGE_SECONDS = 1e-5
"""Times of one MS agree to microseconds; an integration at the very edge belongs to the next interval."""


@dataclass(frozen=True)
class Solint:
    """seconds: length of an interval (inf: whole group; 0: every integration). nchan or hertz: width of a channel bin
    (0: every channel)."""

    seconds: float
    nchan: int = 0
    hertz: float = 0.0


@dataclass(frozen=True)
class Cells:
    """cell (nrow,): cell of every row. The others are (ncell,): output spw; field, scan, obs (-1 where mixed);
    first (s): earliest TIME. Cells are numbered by output spw, then time."""

    cell: NDArray[np.int32]
    spw: NDArray[np.int32]
    field: NDArray[np.int32]
    scan: NDArray[np.int32]
    obs: NDArray[np.int32]
    first: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.spw)


def parse_solint(text: str) -> Solint:
    """'int', 'inf', '30s', '2min', '1h', '10', and for bandpasses 'inf,8ch', 'inf,4MHz'. Numbers alone are seconds."""
    parts = [part.strip() for part in str(text).split(",")]
    if len(parts) > 2:
        raise ParameterError(f"solint {text!r}: expected at most one comma, as in 'inf,8ch'")
    seconds = _seconds(parts[0], text)
    if len(parts) == 1 or not parts[1]:
        return Solint(seconds)
    match = re.fullmatch(rf"({NUMBER})\s*(ch|chan|channels|[kMG]?Hz)", parts[1])
    if not match or float(match[1]) <= 0 or (match[2].startswith("ch") and not match[1].isdigit()):
        raise ParameterError(f"solint {text!r}: {parts[1]!r} is no channel width; use '8ch' or '4MHz'")
    if match[2].startswith("ch"):
        return Solint(seconds, nchan=int(match[1]))
    return Solint(seconds, hertz=float(match[1]) * {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}[match[2]])


def _seconds(part: str, text: str) -> float:
    if part in ("inf", "infinite", ""):
        return np.inf
    if part == "int":
        return 0.0
    match = re.fullmatch(rf"({NUMBER}(?:[eE][-+]?\d+)?)\s*([a-zA-Z]*)", part)
    units = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0}
    if match and match[2] == "m":
        raise ParameterError(f"solint {text!r}: use 'min' for minutes, not 'm'")
    if not match or match[2] not in units or float(match[1]) <= 0:
        raise ParameterError(f"solint {text!r} is not a time; use 'int', 'inf', '30s', '2min' or '1h'")
    return float(match[1]) * units[match[2]]


def parse_combine(text: str) -> frozenset[str]:
    """'scan,field' -> {'scan', 'field'}; ParameterError for words that are not among COMBINE."""
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    for word in sorted(words - set(COMBINE)):
        raise ParameterError(f"combine {text!r}: {word!r} is none of {', '.join(COMBINE)}")
    return words


def group(*columns: NDArray[np.generic]) -> NDArray[np.int64]:
    """A number for every distinct combination of values, ascending in the columns' order."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        code = code * len(values) + inverse
        code = np.unique(code, return_inverse=True)[1].astype(np.int64)
    return code


def plan_cells(index: MSIndex, rows: NDArray[np.int64], solint: Solint, combine: frozenset[str]) -> Cells:
    """Cells of the given rows (see the module's text)."""
    changed = np.zeros(len(rows), bool)
    changed[:1] = True
    for name in ("spw", "field", "scan", "obs", "array", "time_id"):  # one column at a time: they are long
        column = getattr(index, name)[rows]
        changed[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(changed)  # blocks of rows alike in everything that matters: few against the rows
    first_rows = rows[starts]
    spw, field, scan = index.spw[first_rows], index.field[first_rows], index.scan[first_rows]
    obs, array, time = index.obs[first_rows], index.array[first_rows], index.time[first_rows]
    out_spw = np.full_like(spw, spw.min()) if "spw" in combine else spw
    keys = [out_spw, array]
    keys += [column for name, column in (("obs", obs), ("scan", scan), ("field", field)) if name not in combine]
    chunk = group(*keys)
    first = np.full(chunk.max() + 1, np.inf)
    np.minimum.at(first, chunk, time)
    interval = _interval(time, first[chunk], solint.seconds)
    unordered = group(chunk, interval)
    begin = np.full(unordered.max() + 1, np.inf)
    np.minimum.at(begin, unordered, time)
    cell_spw = np.empty(len(begin), np.int32)
    cell_spw[unordered] = out_spw
    order = np.lexsort((begin, cell_spw))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    cell = rank[unordered]
    lengths = np.diff(np.append(starts, len(rows)))
    one = [_unique_or_mixed(column, cell, len(order)) for column in (field, scan, obs)]
    return Cells(np.repeat(cell.astype(np.int32), lengths), cell_spw[order], one[0], one[1], one[2], begin[order])


def _interval(time: NDArray[np.float64], first: NDArray[np.float64], seconds: float) -> NDArray[np.int64]:
    if np.isinf(seconds):
        return np.zeros(len(time), np.int64)
    if seconds == 0:
        return np.unique(time, return_inverse=True)[1].astype(np.int64)
    return np.floor((time - first + EDGE_SECONDS) / seconds).astype(np.int64)


def _unique_or_mixed(column: NDArray[np.int32], cell: NDArray[np.int64], ncell: int) -> NDArray[np.int32]:
    low = np.full(ncell, np.iinfo(np.int32).max, np.int32)
    high = np.full(ncell, np.iinfo(np.int32).min, np.int32)
    np.minimum.at(low, cell, column)
    np.maximum.at(high, cell, column)
    return np.where(low == high, low, -1).astype(np.int32)
