"""Which points are meant: by source, detector, polarisation, frequency, LO, scan, time, elevation or any quantity.

    select(points, source="calibrators", freq="8200~8400", where="compression 0.95~1.05") -> mask

Lists have commas between items; ranges are `low~high` (both ends included), `>low` or `<high`; a `!` before a
name leaves it out.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import SelectionError
from calibrant.registry import unknown

if TYPE_CHECKING:
    from calibrant.station.points import Points

Mask = NDArray[np.bool_]
FREQUENCY_TOLERANCE_MHZ = 0.011
"""Logs print centre frequencies with two decimals."""
KINDS = {"calibrators": "c", "pointing": "p"}
DAY = 86400.0


def select(
    points: Points,
    *,
    source: str = "",
    detector: str = "",
    pol: str = "",
    freq: str = "",
    lo: str = "",
    scan: str = "",
    time: str = "",
    elevation: str = "",
    where: str = "",
) -> Mask:
    """Mask of the points for which every given condition holds; SelectionError for text that cannot be read."""
    mask = np.ones(len(points), dtype=bool)
    if source:
        mask &= _sources(points, source)
    if detector:
        mask &= _names("detector", points["detector"], detector)
    if pol:
        mask &= _names("pol", points["pol"], pol)
    if freq:
        mask &= _numbers("freq", points["freq_mhz"], freq, FREQUENCY_TOLERANCE_MHZ)
    if lo:
        mask &= _numbers("lo", points["lo_mhz"], lo, FREQUENCY_TOLERANCE_MHZ)
    if scan:
        mask &= _scans(points, scan)
    if time:
        mask &= _times(points["time"], time)
    if elevation:
        mask &= _numbers("elevation", points["elevation_deg"], elevation, 0.0)
    if where:
        mask &= _where(points, where)
    return mask


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _sources(points: Points, text: str) -> Mask:
    kinds, names = points["type"], points["source"]
    items = [item.lower() for item in _items(text)]
    if items == ["all"]:
        return np.ones(len(points), dtype=bool)
    wanted = [item for item in items if item.lstrip("!") in KINDS]
    others = ",".join(item for item in items if item not in wanted)
    mask = _names("source", names, others) if others else np.zeros(len(points), dtype=bool)
    if not others and all(item.startswith("!") for item in wanted):
        mask[:] = True
    for item in wanted:
        hit = kinds == KINDS[item.lstrip("!")]
        mask = mask & ~hit if item.startswith("!") else mask | hit
    return mask


def _names(what: str, values: NDArray[np.str_], text: str) -> Mask:
    """Names and globs; items with `!` are taken away, from everything where nothing else is named."""
    present = sorted({str(value) for value in values})
    items = _items(text.lower())
    chosen: set[str] = set(present) if all(item.startswith("!") for item in items) else set()
    for item in items:
        pattern = item.lstrip("!")
        hits = {name for name in present if fnmatch.fnmatchcase(name.lower(), pattern)}
        if not hits and not set("*?[") & set(pattern):
            raise SelectionError(f"selection {text!r}: {unknown(what, pattern, tuple(present))}")
        chosen = chosen - hits if item.startswith("!") else chosen | hits
    return np.isin(values, sorted(chosen))


def _scans(points: Points, text: str) -> Mask:
    """ONOFF scans by number within their log, or by source: `casa`, `casa:2` (its second), `casa:1~3`."""
    mask = np.zeros(len(points), dtype=bool)
    for item in _items(text):
        name, colon, which = item.lower().partition(":")
        if not colon and not re.search("[a-z]", name):
            mask |= _numbers("scan", points["scan_number"], item, 0.0)
            continue
        mine = _names("source", points["source"], name)
        if which:
            turn = np.zeros(len(points))
            for log in np.unique(points["log"][mine]):
                rows = mine & (points["log"] == log)
                turn[rows] = np.unique(points["scan_number"][rows], return_inverse=True)[1] + 1
            mine &= _numbers("scan", turn, which, 0.0)
        mask |= mine
    return mask


def _numbers(what: str, values: NDArray[Any], text: str, tolerance: float) -> Mask:
    mask = np.zeros(len(values), dtype=bool)
    for low, high in _ranges(what, text):
        mask |= (values >= low - tolerance) & (values <= high + tolerance)
    return mask


def _ranges(what: str, text: str) -> Iterable[tuple[float, float]]:
    for item in _items(text):
        try:
            yield _range(item)
        except ValueError:
            raise SelectionError(
                f"{what}={text!r}: found {item!r}, expected a number, 'low~high', '>low' or '<high'"
            ) from None


def _range(item: str) -> tuple[float, float]:
    if item[0] == ">":
        return float(item[1:].lstrip("=")), np.inf
    if item[0] == "<":
        return -np.inf, float(item[1:].lstrip("="))
    low, _, high = item.partition("~")
    return float(low), float(high or low)


def _where(points: Points, text: str) -> Mask:
    """Conditions on quantities: a name, then a range; all must hold."""
    from calibrant.station.quantities import quantity

    mask = np.ones(len(points), dtype=bool)
    for item in _items(text):
        match = re.fullmatch(r"([A-Za-z][\w ()*-]*?)\s*(?:=\s*)?([<>]=?\s*\S+|[-+.\d]\S*)", item)
        if not match:
            raise SelectionError(f"where={text!r}: found {item!r}, expected a quantity and a range, as 'gain>0.1'")
        values = np.asarray(quantity(points, match[1]), dtype=np.float64)
        mask &= _numbers(f"where: {match[1]}", values, match[2].replace(" ", ""), 0.0)
    return mask


def _times(times: NDArray[np.float64], text: str) -> Mask:
    """Ranges of time; those without a date hold on every day, over midnight too."""
    mask = np.zeros(len(times), dtype=bool)
    for item in _items(text):
        low, high, dated = _span(item, text)
        seconds = times if dated else times % DAY
        inside = [seconds >= low, seconds <= high]
        mask |= (inside[0] | inside[1]) if low > high else (inside[0] & inside[1])
    return mask


def _span(item: str, text: str) -> tuple[float, float, bool]:
    """(first second, last second, whether dated); a moment alone lasts as long as it is precise."""
    if item[0] in "<>":
        start, _, dated = moment(item[1:], f"time={text!r}")
        return (-np.inf, start, dated) if item[0] == "<" else (start, np.inf, dated)
    low, separator, high = item.partition("~")
    start, length, dated = moment(low, f"time={text!r}")
    if not separator:
        return start, start + length, dated
    end, _, end_dated = moment(high, f"time={text!r}")
    if dated != end_dated:
        raise SelectionError(f"time={text!r}: {item!r} has a date at one end only; give it at both or at none")
    if dated and start > end:
        raise SelectionError(f"time={text!r}: {item!r} ends before it begins")
    return start, end, dated


FORMS = {"%Y.%j.%H:%M:%S.%f": 0.01, "%Y.%j.%H:%M:%S": 1.0, "%Y.%j.%H:%M": 60.0, "%Y.%j": DAY}


def moment(text: str, what: str = "") -> tuple[float, float, bool]:
    """(seconds, precision in seconds, whether dated) of a time (UTC); one without a date counts from midnight.

    Raises SelectionError, which names `what` was read.
    """
    text = text.strip()
    hours = re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d*)?))?Z?", text)
    if hours:
        return 3600 * int(hours[1]) + 60 * int(hours[2]) + float(hours[3] or 0), 1.0 if hours[3] else 60.0, False
    for form, length in FORMS.items():
        try:
            return datetime.strptime(text.removesuffix("Z"), form).replace(tzinfo=UTC).timestamp(), length, True
        except ValueError:
            continue
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        what = f"{what}: " if what else ""
        raise SelectionError(
            f"{what}found {text!r}, expected hh:mm[:ss], yyyy.ddd.hh:mm:ss or yyyy-mm-ddThh:mm:ss (UTC)"
        ) from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found.timestamp(), DAY if len(text) == 10 else 60.0 if len(text) == 16 else 1.0, True


def clock(time: float) -> str:
    """`2016.067.16:14:27`: a moment as logs write it."""
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(time))
    return when.strftime("%Y.%j.%H:%M:%S")
