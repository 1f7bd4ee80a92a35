"""Selection by time: 'T0~T1', '>T', '<T', 'T0+dT', 'T', with commas between.

    2024/08/15/05:00:00.5   15-Aug-2024/05:00   2024-08-15T05:00:00   2024/08/15   05:00:00 (date of the first data)

The times are those of the MS (UTC as a rule), compared with TIME, ends included. A single time selects the
integrations it falls into, a date alone the whole day. The end of a range takes a missing date from its start;
hours may exceed 24. 'HH:MM' needs a date: without one CASA reads it as minutes and seconds, so it is refused.
dT is HH:MM:SS or a number of seconds.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.ms.selection_text import Piece

DAY = 86400.0
ROUNDING = 5e-4
"""Times are printed to a millisecond at best: half of one either way is the same time (s)."""

MJD_EPOCH = datetime.date(1858, 11, 17)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(r"(\d{4})[/-](\d{1,2})[/-](\d{1,2})|(\d{1,2})-([A-Za-z]{3})-(\d{4})")
_CLOCK = re.compile(r"(\d+):(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?")


@dataclass(frozen=True)
class Moment:
    """day: s of MJD at 0 h; clock: s after it. None for what was not written."""

    day: float | None
    clock: float | None


def times_mask(index: MSIndex, text: str) -> NDArray[np.bool_]:
    """bool (nrow,): rows whose TIME the expression selects. Reads TIME, and INTERVAL for single times."""
    mask = np.zeros(index.nrow, bool)
    first_day = np.floor(index.time.min() / DAY) * DAY
    for piece in Piece.of("timerange", text).split(","):
        mask |= _mask(index, piece, first_day)
    return mask


def _mask(index: MSIndex, piece: Piece, first_day: float) -> NDArray[np.bool_]:
    time = index.time
    if piece.text[0] in "<>":
        bound = piece.after(2 if piece.text[1:2] == "=" else 1)
        limit = _seconds(_moment(bound), first_day)
        return time <= limit + ROUNDING if piece.text[0] == "<" else time >= limit - ROUNDING
    start, end = piece.partition("~")
    if end is not None:
        return _between(time, *_ends(piece, start, end, first_day))
    start, length = piece.partition("+")
    if length is not None:
        begin = _seconds(_moment(start), first_day)
        return _between(time, begin, begin + _duration(length))
    moment = _moment(piece)
    at = _seconds(moment, first_day)
    if moment.clock is None:
        return _between(time, at, at + DAY)
    return np.abs(time - at) <= index.column("INTERVAL") / 2 + ROUNDING


def _between(time: NDArray[np.float64], begin: float, end: float) -> NDArray[np.bool_]:
    return (time >= begin - ROUNDING) & (time <= end + ROUNDING)


def _ends(piece: Piece, start: Piece, end: Piece, first_day: float) -> tuple[float, float]:
    first = _moment(start)
    last = _moment(end, dated=first.day is not None)
    day = first_day if first.day is None else first.day
    begin, stop = _seconds(first, day), _seconds(last, day)
    if begin > stop:
        raise piece.error("the range starts after its end")
    return begin, stop


def _seconds(moment: Moment, default_day: float) -> float:
    return (default_day if moment.day is None else moment.day) + (moment.clock or 0.0)


def _moment(piece: Piece, dated: bool = False) -> Moment:
    """Reads a date, a clock time, or both. `dated`: a date is known from before, so HH:MM is clear."""
    date = _DATE.match(piece.text)
    if date is None:
        return Moment(None, _clock(piece, dated))
    day = _day(piece, date)
    rest = piece.text[date.end() :]
    if not rest:
        return Moment(day, None)
    if rest[0] not in "/T ":
        raise piece.error(f"{rest[0]!r} after the date; write YYYY/MM/DD/HH:MM:SS")
    return Moment(day, _clock(piece.after(date.end() + 1), dated=True))


def _day(piece: Piece, date: re.Match[str]) -> float:
    year, month, day = date.group(1, 2, 3) if date[1] else (date[6], date[5], date[4])
    if month.lower() in MONTHS:
        month = str(MONTHS.index(month.lower()) + 1)
    try:
        return (datetime.date(int(year), int(month), int(day)) - MJD_EPOCH).days * DAY
    except ValueError:
        raise piece.error(f"there is no date {date[0]}") from None


def _clock(piece: Piece, dated: bool) -> float:
    match = _CLOCK.fullmatch(piece.text)
    if not match:
        raise piece.error("is no time; write YYYY/MM/DD/HH:MM:SS or HH:MM:SS")
    if match[3] is None and not dated:
        raise piece.error("could be hours and minutes or minutes and seconds; write HH:MM:SS")
    minutes, seconds = int(match[2]), float(match[3] or 0)
    if minutes > 59 or seconds >= 60:
        raise piece.error("minutes and seconds end with 59")
    return int(match[1]) * 3600.0 + minutes * 60.0 + seconds


def _duration(piece: Piece) -> float:
    try:
        return float(piece.text)
    except ValueError:
        return _clock(piece, dated=False)
