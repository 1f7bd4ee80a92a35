"""What is wrong with, or odd about, a Field System log, as problems with line numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress

from calibrant.station.fslog import MOST_SKIPPED, read_log, records
from calibrant.station.problem import Problem
from calibrant.station.records import FsLog, OnOffScan, Skipped, TotalPower

LISTED = 12
"""Line numbers named in one problem."""
MOSTLY = 0.9
"""Share of a detector's readings that must be odd before it is called odd."""
REMEDIES = {
    "no time stamp": "Mail text or a comment? Then nothing is lost; otherwise copy the log again.",
    "empty line": "",
    "binary data": "Copy the log again from the station's computer.",
    "impossible time": "Copy the log again from the station's computer.",
    "no date": "A screen copy has no date: use the log file itself.",
    "long line": "Line ends were lost: copy the log again.",
    "cut off": "Get the rest of the log.",
    "ONOFF row outside a scan": "The beginning of the scan is missing: get the whole log.",
    "ONOFF before FS 9.5.15": "Reduce this log with the Field System of its time.",
}
_RELEASE = re.compile(r"(\d+)\.(\d+)")


def check_log(path: str) -> list[Problem]:
    """Everything worth telling about a log, by line: lines not understood (one problem for each reason), ONOFF
    scans that broke off or lack something, overflowed values, time going back, noise diodes that do not act,
    negative Tsys, and the source types of FS >= 10.1.0. Empty: nothing to tell.

    Raises FormatError for a file that is no log.
    """
    log = read_log(path)
    found = [*_skipped(log), *_time(log), *_types(log), *_power(path)]
    for scan in log.scans:
        found += _scan(scan)
    if not log.scans:
        found.append(Problem(0, "no ONOFF scan", "at least one for amplitude calibration", "note"))
    return sorted(found, key=lambda problem: problem.line)


def _skipped(log: FsLog) -> Iterator[Problem]:
    """One problem for each reason, with the first lines."""
    lines: dict[str, list[Skipped]] = {}
    for item in log.skipped:
        lines.setdefault(item.reason.partition(":")[0], []).append(item)
    for category, count in log.skipped_counts.items():
        listed = lines.get(category, [])
        if not listed:
            found = f"{_count(count, 'line')} not understood, all after the first {MOST_SKIPPED} of other kinds"
            yield Problem(0, f"{found}: {category}", "records as the Field System writes them", "warning")
            continue
        first = listed[0]
        where = "" if count == 1 else f" (lines {_names([str(item.line) for item in listed], count)})"
        text = f': "{first.text.strip()[:60]}"' if first.text.strip() else ""
        yield Problem(
            first.line,
            f"{_count(count, 'line')} not understood, {first.reason}{where}{text}",
            "records as the Field System writes them",
            "note" if category == "empty line" else "warning",
            fix=REMEDIES.get(category, "Look at these lines; what they hold is not used."),
        )


def _time(log: FsLog) -> Iterator[Problem]:
    for line, seconds in log.time_steps[:LISTED]:
        yield Problem(
            line,
            f"time going back by {_duration(-seconds)}",
            "lines in order of time",
            "warning",
            fix="Is the log made of several, or was the clock set? Scans around this line may have a wrong time.",
        )
    if len(log.time_steps) > LISTED:
        more = len(log.time_steps) - LISTED
        yield Problem(log.time_steps[LISTED][0], f"time going back {more} more times", "order of time", "warning")


def _types(log: FsLog) -> Iterator[Problem]:
    """FS >= 10.1.0 evaluates the source's type before it knows the source."""
    release = _RELEASE.match(log.site.release)
    if release is None or (int(release[1]), int(release[2])) < (10, 1):
        return
    lines = [scan.line for scan in log.scans if scan.apriori]
    if lines:
        yield Problem(
            lines[0],
            f"source types in the APR rows of FS {log.site.release}: those of the source before, or x",
            "c, p or x of the source observed",
            "note",
            fix="Types are taken from flux.ctl instead.",
        )


@dataclass
class _Tally:
    """How often something was seen for each detector, and where first."""

    line: int = 0
    looked: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, line: int, detectors: tuple[str, ...], seen: list[bool]) -> None:
        self.looked.update(detectors)
        if any(seen):
            self.line = self.line or line
            self.seen.update(compress(detectors, seen))

    def mostly(self) -> list[str]:
        return [name for name, count in self.looked.items() if self.seen[name] > MOSTLY * count]


def _power(path: str) -> Iterator[Problem]:
    """Detectors whose continuous-cal levels are lower with the diode on, negative Tsys, and overflows."""
    swapped, negative, overflow = _Tally(), _Tally(), _Tally()
    for record in records(path, (TotalPower,)):
        if not isinstance(record, TotalPower):
            continue
        if record.kind == "tpcont":
            pairs = zip(record.values, record.off_values, strict=True)
            swapped.add(record.line, record.detectors, [on < off for on, off in pairs])
        elif record.kind == "tsys":
            known = [not math.isnan(value) for value in record.values]
            negative.add(
                record.line,
                tuple(compress(record.detectors, known)),
                [value < 0 for value in compress(record.values, known)],
            )
        overflow.add(record.line, record.detectors, [math.isnan(value) for value in record.values])
    if names := swapped.mostly():
        yield Problem(
            swapped.line,
            f"cal on lower than cal off in continuous cal: {_names(names)}",
            "cal on, the first value, higher",
            "warning",
            fix="Is the switching of the diode inverted at the backend?",
        )
    if names := negative.mostly():
        yield Problem(
            negative.line,
            f"negative Tsys printed by the Field System for {_names(names)}",
            "Tsys above 0",
            "warning",
            fix="Compute it from the levels, as the verb antab does.",
        )
    if overflow.seen:
        each = [f"{name} ({count})" for name, count in overflow.seen.most_common()]
        yield Problem(
            overflow.line,
            f"{_count(overflow.seen.total(), 'value')} that overflowed in total power or Tsys records: {_names(each)}",
            "numbers",
            "note",
            fix="They are left out.",
        )


def _scan(scan: OnOffScan) -> Iterator[Problem]:
    name = f"ONOFF on {scan.source}" if scan.source else "ONOFF"
    if scan.status != "complete":
        yield Problem(scan.line, f"{name} {scan.status}: {scan.reason}", "a scan with APR, levels and VAL", "warning")
    overflowed = [row.detector for row in scan.printed.values() if _any_nan(row.tsys_k, row.sefd_jy, row.tcal_jy)]
    if overflowed:
        yield Problem(
            scan.line,
            f"{name}: values that overflowed or are not finite for {_names(overflowed)}",
            "numbers in the VAL rows",
            "warning",
            fix="The levels can still be reduced; look whether the detectors work.",
        )
    dead = [name for name, row in scan.apriori.items() if row.tcal_k > 0 and _diode_lowers(scan, name)]
    if dead:
        yield Problem(
            scan.line,
            f"{name}: levels not higher with the noise diode on for {_names(dead)}",
            "higher levels with the diode on",
            "warning",
            fix="Did the diode fire? Were cal on and cal off interchanged?",
        )


def _diode_lowers(scan: OnOffScan, detector: str) -> bool:
    """Off source, where nothing else changes, the mean level is not higher with the diode."""
    means = {}
    for state in ("OFFC", "OFFS"):
        counts = [level.level for level in scan.levels.get(detector, ()) if level.state == state]
        means[state] = sum(counts) / len(counts) if counts else math.nan
    return means["OFFC"] <= means["OFFS"]


def _any_nan(*values: float) -> bool:
    return any(map(math.isnan, values))


def _names(names: list[str], count: int | None = None) -> str:
    more = (count or len(names)) - min(len(names), LISTED)
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more else "")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
