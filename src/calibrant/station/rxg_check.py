"""What is wrong with an `.rxg` text: the Field System's rules, and what it accepts but gets wrong numbers from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np

from calibrant.station.problem import Edit, Problem
from calibrant.station.rxg import calendar_date
from calibrant.station.rxg_layout import Layout, Pol, Row, scan

STALE_DAYS = 3 * 365
MAXIMUM_TOLERANCE = 1e-3


def check_rxg(text: str, today: date | None = None) -> list[Problem]:
    """Every problem of a text in order of lines; `today` (default: now, UTC) decides whether the date is stale.

    Errors: the Field System refuses the file, or reads a wrong number from it. Warnings: the layouts before FS 9.11,
    and values that are probably wrong. Notes: worth knowing.
    """
    layout = scan(text)
    today = today or datetime.now(UTC).date()
    found = [*layout.problems, *_date(layout, today), *_curve(layout), *_tables(layout)]
    return sorted(found, key=lambda problem: problem.line)


def _date(layout: Layout, today: date) -> list[Problem]:
    line = layout.at.get("date", 0)
    if not layout.date[2] or any(problem.line == line for problem in layout.problems):
        return []
    found = " ".join(map(str, layout.date))
    try:
        written = date(*calendar_date(layout.date))
    except ValueError:
        return [Problem(line, found, "a day of the calendar", "warning", fix="Write the day of the last change.")]
    age = (today - written).days
    if age < 0:
        return [Problem(line, found, "a day that has passed", "warning", fix="Write the day of the last change.")]
    if age > STALE_DAYS:
        fix = "Measure again, or set the date when the values have been confirmed."
        return [Problem(line, f"{found}, {age / 365.25:.0f} years ago", "a recent calibration", "note", fix=fix)]
    return []


def _curve(layout: Layout) -> list[Problem]:
    if layout.curve is None:
        return []
    line = layout.at["curve"]
    with np.errstate(over="ignore", invalid="ignore"):
        values = layout.curve(np.linspace(0.0, 90.0, 181))
    if not np.all(np.abs(values) < 1e30):
        return [Problem(line, "a curve beyond all numbers", "a gain near 1", fix="Correct the coefficients.")]
    place, largest = layout.curve.maximum()
    problems = []
    if values.min() <= 0:
        found = f"a gain of {values.min():.4g} at elevation {values.argmin() / 2:g}"
        problems.append(Problem(line, found, "a curve above 0 from 0 to 90 degrees", "warning", fix="Fit it again."))
    if largest > 0 and abs(largest - 1) > MAXIMUM_TOLERANCE:
        fix = f"Divide the coefficients by {largest:.6g} and multiply the DPFU by it; their product stays."
        found = f"a curve with maximum {largest:.4f} at elevation {place:.1f}"
        problems.append(Problem(line, found, "a maximum of 1, so that the DPFU is the peak gain", "note", fix=fix))
    return problems


def _tables(layout: Layout) -> list[Problem]:
    problems = [*_order(layout), *_repeated(layout), *_diodes(layout)]
    elevations = [elevation for _, elevation, _ in layout.spill]
    if not _increasing(elevations):
        lines = [line for line, _, _ in layout.spill]
        first = next(line for line, (a, b) in zip(lines[1:], pairwise(elevations), strict=True) if b < a)
        order = sorted(layout.spill, key=lambda row: row[1])
        edit = _permuted(layout, lines, [line for line, _, _ in order])
        problems.append(Problem(first, "elevations out of order", "increasing elevation", fix=_SORT, edit=edit))
    outside = [(line, elevation) for line, elevation, _ in layout.spill if not 0 <= elevation <= 90]
    problems += [
        Problem(line, f"elevation {e:g}", "0 to 90 degrees", "warning", fix="Correct it.") for line, e in outside
    ]
    return problems


_SORT = "Sort the table: the Field System stops at the first row that is larger, and gets a wrong value without a word."


def _order(layout: Layout) -> list[Problem]:
    """The table grouped by polarisation (in order of appearance), each group by frequency."""
    rows = layout.tcal
    groups = list(dict.fromkeys(row.pol for row in rows))
    keys = [(groups.index(row.pol), row.freq_mhz) for row in rows]
    if keys == sorted(keys):
        return []
    ordered = all(_increasing(row.freq_mhz for row in rows if row.pol == pol) for pol in groups)
    first = next(index for index, (a, b) in enumerate(pairwise(keys), 1) if b < a)
    order = sorted(rows, key=lambda row: (groups.index(row.pol), row.freq_mhz))
    edit = _permuted(layout, [row.line for row in rows], [row.line for row in order])
    row, before = rows[first], rows[first - 1]
    found = f"'{row.pol}cp {row.freq_mhz:g}' after '{before.pol}cp {before.freq_mhz:g}'"
    expected = "rows grouped by polarisation, increasing in frequency"
    fix = "Group the rows; read alike." if ordered else _SORT
    return [Problem(row.line, found, expected, "warning" if ordered else "error", fix=fix, edit=edit)]


def _increasing(values: Iterable[float]) -> bool:
    return all(a <= b for a, b in pairwise(values))


def _permuted(layout: Layout, places: list[int], order: list[int]) -> Edit:
    """Rows moved among the lines that rows stand on; comments between them stay where they are."""
    content = [line.rstrip("\r\n") for line in layout.lines]
    first, last = places[0], places[-1]
    block = content[first - 1 : last]
    for place, source in zip(places, order, strict=True):
        block[place - first] = content[source - 1]
    return Edit(first, last, tuple(block))


def _repeated(layout: Layout) -> list[Problem]:
    """Frequencies listed twice for one polarisation; the same value twice is removed without asking."""
    problems = []
    seen: dict[tuple[str, float], Row] = {}
    in_order = not _order(layout)
    for row in layout.tcal:
        first = seen.setdefault((row.pol, row.freq_mhz), row)
        if first is row:
            continue
        same = first.tcal_k == row.tcal_k and in_order
        found = f"'{row.pol}cp {row.freq_mhz:g}' again (first in line {first.line})"
        edit = Edit(row.line, row.line, ()) if same else None
        fix = "Remove one of them."
        problems.append(Problem(row.line, found, "each frequency once", "warning", fix=fix, edit=edit))
    return problems


def _diodes(layout: Layout) -> list[Problem]:
    problems = []
    count = Counter(row.pol for row in layout.tcal)
    for pol in layout.pols:
        if layout.tcal and not count[pol]:
            line, expected = layout.at.get("pols", 0), f"rows '{pol}cp MHz K' in the Tcal table"
            fix = f"Add them, or remove {pol}cp: its Tcal would be 0."
            problems.append(Problem(line, f"{pol}cp without Tcal", expected, "warning", fix=fix))
    signs: dict[Pol, list[Row]] = {}
    for row in layout.tcal:
        if row.tcal_k <= 0:
            signs.setdefault(row.pol, []).append(row)
    problems += [_no_diode(rows, all_of=len(rows) == count[pol]) for pol, rows in signs.items()]
    return problems


def _no_diode(rows: list[Row], all_of: bool) -> Problem:
    row = rows[0]
    times = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
    if all_of and row.tcal_k < 0:
        fix = "It is taken as 'no noise diode' and its size as Tsys: correct if there is none."
        return Problem(row.line, f"Tcal {row.tcal_k:g} K{times}", "a Tcal above 0", "note", fix=fix)
    found = f"Tcal {row.tcal_k:g} K beside rows with a diode{times}" if not all_of else f"Tcal {row.tcal_k:g} K{times}"
    return Problem(row.line, found, "a Tcal above 0 at every frequency", "warning", fix="Correct or remove the row.")
