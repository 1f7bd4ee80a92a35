"""`calibrant station plan`: what an AQUIR control file will do tonight, and what a gain curve still lacks."""

from __future__ import annotations

import textwrap
import time as clock_module
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from calibrant.errors import DataError, ParameterError, SelectionError
from calibrant.params import Overwrite, Param
from calibrant.station.problem import Problem
from calibrant.station.select import clock, moment

if TYPE_CHECKING:
    from calibrant.station.aquir import Control
    from calibrant.station.plan import Bin, Sky, Visit
    from calibrant.station.records import FsLog, Site

WIDTH = 100
CELLS = (5, 10, 15, 20, 30, 60, 120, 180)
"""Minutes that one character of the time-line may stand for."""
SHOWN_VISITS = 40
STATES = {
    "covered": "",
    "reachable": "",
    "later": "not in this window, but within a day of its start",
    "limits": "outside the mask and the upper limit",
    "never": "no source of the file with ONOFF and a known flux comes here",
}


@dataclass(frozen=True)
class SourcePlan:
    """One source within the window. `line`: elevation in tens of degrees per cell of the time-line, `.` down."""

    name: str
    type: str
    maximum_deg: float
    maximum_time: float
    up: list[tuple[float, float]]
    line: str


@dataclass(frozen=True)
class PlanResult:
    """What is up when, elevations done and to come, and two orders of visits."""

    control: str
    site: Site
    start: float
    end: float
    cell_minutes: int
    sources: list[SourcePlan]
    bins: list[Bin]
    done: int
    file_order: list[Visit]
    suggested: list[Visit]
    fills: tuple[int, int, int]
    """Ranges of elevation not covered yet but reachable; how many of them the file's order and the other one fill."""
    problems: list[Problem]
    written: str = ""

    def summary(self) -> str:
        place = f"{self.site.name} " if self.site.name else ""
        where = f"{self.site.longitude_deg:.2f} E, {self.site.latitude_deg:.2f} N, {self.site.height_m:.0f} m"
        lines = [f"{self.control} at {place}({where})", f"{clock(self.start)} to {clock(self.end)} UTC", ""]
        lines += [*self._timeline(), "", *self._up(), "", *self._coverage(), "", *self._orders()]
        if self.problems:
            lines += ["", "The control file:"]
            lines += [row for problem in self.problems for row in _wrap(problem.describe(self.control), "  ", "    ")]
        if self.written:
            lines += ["", f"wrote {self.written} with the suggested order"]
        return "\n".join(line.rstrip() for line in lines)

    def _at(self, time: float) -> str:
        """Hours and minutes; with the day of the year before them where the window is longer than a day."""
        return clock(time)[5 if self.end - self.start > 86400.0 else 9 : 14]

    def _timeline(self) -> list[str]:
        head = f"Elevation in tens of degrees, one character per {self.cell_minutes} min (. down);"
        head += " c calibrator, p pointing, x unknown"
        length = max((len(source.line) for source in self.sources), default=0)
        rows = [head, f"{'source':10s}   max {_ruler(self.start, length, self.cell_minutes)}"]
        return rows + [f"{s.name:10s} {s.type} {s.maximum_deg:4.0f} {s.line}" for s in self.sources if s.up]

    def _up(self) -> list[str]:
        rows = ["Up (< since before, > beyond the window), and the highest elevation:"]
        for source in self.sources:
            if source.up:
                spans = ", ".join(self._span(first, last) for first, last in source.up)
                top = f"{source.maximum_deg:.1f} deg at {self._at(source.maximum_time)}"
                rows += _wrap(f"{source.name:10s} {top:>17s}  {spans}", "  ", " " * 32)
        down = [f"{source.name} ({source.maximum_deg:.1f} deg)" for source in self.sources if not source.up]
        if down:
            rows += _wrap(f"Never up, with the highest elevation: {', '.join(down)}", "  ", "    ")
        return rows

    def _span(self, first: float, last: float) -> str:
        before, beyond = "<" if first <= self.start else "", ">" if last >= self.end else ""
        return f"{before}{self._at(first)}-{self._at(last)}{beyond}"

    def _coverage(self) -> list[str]:
        rows = [f"Elevations for a gain curve ({self.done} scans given as done):", "  degrees  done  still to come"]
        for item in self.bins:
            count = sum(item.done.values())
            spans: dict[str, str] = {}
            for name, first, last in item.reachable:
                spans[name] = f"{spans.get(name, name)} {self._span(first, last)}"
            shown = list(spans.values())
            text = ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
            body = text or STATES[item.state] or "nothing more in this window"
            label = f"{item.low_deg:3.0f}-{item.high_deg:<3.0f}  {count or '-':>4}"
            rows += _wrap(f"{label}  {body}", "  ", " " * 17)
        lacking = [f"{item.low_deg:.0f}-{item.high_deg:.0f}" for item in self.bins if item.state == "reachable"]
        if lacking:
            rows += _wrap(f"Lacking, and to be had in this window: {', '.join(lacking)} deg", "  ", "    ")
        return rows

    def _orders(self) -> list[str]:
        lacking, by_file, by_other = self.fills
        lost = sum(not visit.reached for visit in self.file_order)
        rows = [f"In the order of the file, at least {len(self.file_order) - lost} visits (waits are upper limits);"]
        rows.append(f"they fill {by_file} of the {lacking} ranges of elevation that lack and can be had:")
        rows += _listed(self.file_order, self._at)
        if lost:
            rows.append(f"  {lost} slews are longer than the on-source wait (!): AQ -20, the source is skipped")
        rows.append(
            f"Suggested order, {len(self.suggested)} visits to sources with ONOFF and known flux; they fill {by_other}:"
        )
        return rows + _listed(self.suggested, self._at)

    def to_dict(self) -> dict[str, Any]:
        result = asdict(self)
        result["problems"] = [problem.to_dict() for problem in self.problems]
        result["sources"] = [asdict(s) | {"up": [list(span) for span in s.up]} for s in self.sources]
        result["fills"] = dict(zip(("lacking", "file_order", "suggested"), self.fills, strict=True))
        result["site"] = {k: v for k, v in result["site"].items() if v == v}
        return result


def plan(
    control: Annotated[str, Param("AQUIR control file (.ctl).", positional=True)],
    site: Annotated[str, Param("East longitude, latitude, height: '11.92,57.39,25'. Empty: from a log.")] = "",
    log: Annotated[str, Param("Log whose location line gives the site. Empty: the first one of `done`.")] = "",
    start: Annotated[str, Param("Start of the window (UTC): '2026-11-21T18:00', '2026.325.18:00'. Empty: now.")] = "",
    hours: Annotated[float, Param("Length of the window, up to a week.", unit="h")] = 24.0,
    done: Annotated[list[str], Param("Logs with scans that need not be observed again.")] = [],  # noqa: B006
    flux: Annotated[str, Param("flux.ctl that tells calibrators. 'default': the shipped one.")] = "default",
    proc: Annotated[list[str], Param("SNAP procedure libraries (.prc) in which to look for rte_go.")] = [],  # noqa: B006
    bin_width: Annotated[float, Param("Width of the ranges of elevation.", unit="deg")] = 10.0,
    slew: Annotated[float, Param("Slew rate of the antenna, for estimates.", unit="deg/min")] = 40.0,
    output: Annotated[str, Param("Control file to write with the suggested order. Empty: none.")] = "",
    overwrite: Overwrite = False,
) -> PlanResult:
    """Show what is up when under the mask and limits of an AQUIR file, and what a gain curve still lacks.

    Positions need no network. How long AQUIR stays is estimated from its waits, which are upper limits. The
    suggested order goes where a range of elevation has few scans; a file with it is run from its top at `start`.

    Example:
        calibrant station plan ctlpo.ctl --site 11.92,57.39,25 --start 2026-11-21T18:00 --hours 24
        calibrant station plan ctlpo.ctl --log r1749on.log --done r1749on.log --proc point.prc --output tonight.ctl
    """
    from calibrant.station.aquir import check_aquir, parse_aquir, procedures
    from calibrant.station.fslog import read_log
    from calibrant.station.load import read_flux_table
    from calibrant.station.plan import (
        aquir_order,
        coverage,
        done_scans,
        filled,
        gain_sources,
        suggested_order,
        whats_up,
    )
    from calibrant.station.text import read_text

    _check(hours, bin_width, slew)
    text = read_text(control)
    found, problems = parse_aquir(text, control), check_aquir(text, procedures(proc))
    logs = [read_log(path) for path in done]
    place = _site(site) if site else _logged_site(log, logs)
    table = read_flux_table(flux or "default")
    if table is None:
        raise ParameterError("flux: expected the name of a flux.ctl")
    sky = whats_up(found, place, _start(start), hours)
    scans = done_scans(logs)
    bins = coverage(sky, table, scans, bin_width)
    by_file = aquir_order(sky, slew)
    suggested = suggested_order(sky, table, bins, slew)
    used = list(gain_sources(found, table))
    lacking = sum(item.state == "reachable" for item in bins)
    fills = (lacking, len(filled(by_file, bins, used)), len(filled(suggested, bins, used)))
    if output:
        _write(output, found, suggested, overwrite)
    cell, sources = _sources(sky, [table.type(target.name) for target in found.targets])
    return PlanResult(
        control, place, sky.start, sky.end, cell, sources, bins, len(scans), by_file, suggested, fills, problems, output
    )  # fmt: skip


def _check(hours: float, bin_width: float, slew: float) -> None:
    if not 0 < hours <= 168:
        raise ParameterError(f"hours={hours}: expected more than 0 and at most 168")
    if not 1 <= bin_width <= 45:
        raise ParameterError(f"bin_width={bin_width}: expected 1 to 45 degrees, usually 5 or 10")
    if not slew > 0:
        raise ParameterError(f"slew={slew}: expected degrees per minute, more than 0")


def _site(text: str) -> Site:
    from calibrant.station.records import Site

    try:
        longitude, latitude, height = (float(word) for word in text.split(","))
    except ValueError:
        raise ParameterError(f"site={text!r}: expected east longitude, latitude, height, as '11.92,57.39,25'") from None
    if not (-180 <= longitude <= 360 and -90 <= latitude <= 90 and -500 <= height <= 9000):
        raise ParameterError(f"site={text!r}: expected longitude -180..360 (east), latitude -90..90, height in metres")
    return Site(longitude_deg=longitude, latitude_deg=latitude, height_m=height)


def _logged_site(path: str, done: Sequence[FsLog]) -> Site:
    from calibrant.station.fslog import read_log

    if not path and not done:
        raise ParameterError("no site: give --site longitude,latitude,height, or --log with a location line")
    log = read_log(path) if path else done[0]
    if np.isnan([log.site.longitude_deg, log.site.latitude_deg, log.site.height_m]).any():
        raise DataError(f"{log.path}: found no location line, expected one with the site; give --site")
    return log.site


def _start(text: str) -> float:
    """Seconds since 1970 of a UTC time with a date; now, to a whole minute, for an empty text."""
    if not text:
        return clock_module.time() // 60 * 60
    try:
        seconds, _, dated = moment(text, f"start={text!r}")
    except SelectionError as error:
        raise ParameterError(str(error)) from None
    if not dated:
        raise ParameterError(f"start={text!r}: found no date, expected 2026-11-21T18:00 or 2026.325.18:00 (UTC)")
    return seconds


def _sources(sky: Sky, kinds: Sequence[str]) -> tuple[int, list[SourcePlan]]:
    """Minutes per character of the time-line, and the targets; one that is listed twice is shown once."""
    minutes = sky.window.stop - 1
    cell = next((size for size in CELLS if minutes / size <= 72), CELLS[-1])
    shown: dict[str, SourcePlan] = {}
    for n, target in enumerate(sky.control.targets):
        elevation = sky.tracks.elevation_deg[n, sky.window]
        best = int(np.argmax(elevation))
        top, when = float(elevation[best]), float(sky.tracks.times[best])
        name = target.name.lower()
        line = _line(elevation, sky.up[n, sky.window], cell)
        shown.setdefault(name, SourcePlan(name, kinds[n], top, when, sky.intervals(n), line))
    return cell, list(shown.values())


def _line(elevation: np.ndarray, up: np.ndarray, cell: int) -> str:
    """A digit where the source is up for some of the cell: its highest elevation then, in tens of degrees."""
    value = np.where(up, elevation, -1.0)[:-1] if len(up) > 1 else np.where(up, elevation, -1.0)
    tops = [value[first : first + cell].max() for first in range(0, len(value), cell)]
    return "".join("." if top < 0 else str(int(top // 10)) for top in tops)


def _ruler(start: float, length: int, cell: int) -> str:
    """Hours (UTC) above the cells in which they begin."""
    row = [" "] * (length + 2)
    free = 0
    hour = -(-start // 3600) * 3600
    while (place := int((hour - start) // (60 * cell))) < length:
        if place >= free:
            row[place : place + 2] = f"{int(hour % 86400 // 3600):02d}"
            free = place + 4
        hour += 3600
    return "".join(row)


def _wrap(text: str, first: str, rest: str) -> list[str]:
    # only single blanks may break a line: columns stay
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False,
        drop_whitespace=False,
    )  # fmt: skip


def _listed(visits: Sequence[Visit], at: Callable[[float], str]) -> list[str]:
    """Time, source and elevation of visits, as many on a line as fit."""
    cells = [
        f"{at(v.time)} {v.name:10s} {v.elevation_deg:2.0f}{' ' if v.reached else '!'}" for v in visits[:SHOWN_VISITS]
    ]
    across = WIDTH // (2 + max(map(len, cells), default=0))
    rows = ["  " + "  ".join(cells[n : n + across]) for n in range(0, len(cells), across)]
    more = len(visits) - len(cells)
    return rows + ([f"  and {more} more (--json lists them all)"] if more > 0 else [])


def _write(path: str, control: Control, visits: Sequence[Visit], overwrite: bool) -> None:
    from calibrant.station.aquir import format_aquir
    from calibrant.station.text import write_new

    if not visits:
        raise ParameterError(
            f"output={path!r}: no source can be observed in this window, so there is no order to write"
        )
    targets = tuple(control.targets[visit.target] for visit in visits)
    first = clock(visits[0].time)
    comments = [f"From {control.path} by calibrant station plan: start it at the top at {first} UTC."]
    write_new(path, format_aquir(replace(control, targets=targets), comments), overwrite)
