"""A Field System's log while it grows: what ONOFF measures, what becomes of the noise diode, what goes wrong.

Lines are read by `calibrant.station`'s parsers, one after the other, as they are written. Only whole lines count.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

from calibrant.acquire.devices import DeviceLost, DeviceTimeout, LightState
from calibrant.station import logrecords, onoffrows
from calibrant.station.loglines import STAMP
from calibrant.station.onofflog import OnOffBlocks
from calibrant.station.onoffrows import RowError
from calibrant.station.records import STATES, LogError, OnOffScan

POLL_S = 0.25
READ_S = 10.0
"""A file system that takes longer to give a few lines is lost."""
STALE_S = 1800.0
"""An ONOFF that has written nothing for so long, while others write into the log, does not run any more."""
GOES_ON = (3, 7, 8, 80, 82)
"""Errors of ONOFF with which the one under way does not end: already running, warnings, overflows that it repeats."""
TAIL_BYTES = 2**22
"""So much of a log is read to learn how things stand."""
_WHEN = re.compile(r"(\d{4})\.(\d{3})\.(\d\d):(\d\d):(\d\d\.\d\d)")
_SOURCE = re.compile(r"(?:[;:@]|&[^/]{1,60}/)source=")
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One detector in one integration."""

    detector: str
    counts: float
    rms: float
    daz_deg: float
    del_deg: float


@dataclass
class Entry:
    """Something that the log says."""

    kind: Literal["begin", "visit", "diode", "error", "end"]
    time: float
    """UTC, seconds since 1970, by the clock of the Field System."""
    after: float = 0.0
    """Time of the entry before: a visit's integration began later."""
    state: str = ""
    """ONSO, ONSC, ... of a visit."""
    repetition: int = 0
    """Of a visit, from 1."""
    seconds: float = 0.0
    """Of a visit, since ONOFF began."""
    rows: list[Row] = field(default_factory=list)
    on: bool = False
    """Of a diode."""
    text: str = ""
    """Of an error."""
    scan: OnOffScan | None = None
    """Of an end."""


def parse_stamp(line: str) -> float | None:
    """UTC, seconds since 1970; None for a line without a possible time stamp."""
    match = _WHEN.match(line)
    if match is None:
        return None
    year, day, hour, minute = map(int, match.groups()[:4])
    try:
        start = datetime(year, 1, 1, tzinfo=UTC)
    except ValueError:
        return None
    return (start + timedelta(days=day - 1, hours=hour, minutes=minute, seconds=float(match[5]))).timestamp()


def diode_pattern(on: str, off: str) -> re.Pattern[str]:
    """Matches commands that switch the diode: those given, and calon, calonnf, calonfp, caloff, ... in any case."""
    names = f"(?P<on>{re.escape(on)}|calon(?:nf|fp)?)|(?P<off>{re.escape(off)}|caloff(?:nf|fp)?)"
    return re.compile(rf"(?:[;:@]|&[^/]{{1,60}}/)(?:{names})\s*$", re.IGNORECASE)


class LogReader:
    """Lines in, entries out. Knows how the diode stands and whether ONOFF runs."""

    def __init__(self, name: str, diode: re.Pattern[str]) -> None:
        self.entries: list[Entry] = []
        self.diode = LightState.UNKNOWN
        self.detectors: set[str] = set()
        """Of the ONOFF under way, or of the last one."""
        self._blocks, self._pattern, self._line = OnOffBlocks(name), diode, 0
        self._visits: dict[str, int] = {}
        self._visit: Entry | None = None
        self._open = False
        self._now = self._wrote = 0.0
        """Times of the last line, and of ONOFF's last line."""

    @property
    def running(self) -> bool:
        """An ONOFF is under way."""
        return self._open and self._now - self._wrote < STALE_S

    def feed(self, line: str) -> None:
        """A whole line. What is not about ONOFF or the diode, or does not decode, says nothing."""
        self._line += 1
        time, text = parse_stamp(line), line[STAMP:].rstrip("\r\n")
        if time is None:
            return
        self._now = time
        try:
            if text.startswith("#onoff#"):
                self._onoff(time, text[len("#onoff#") :])
            elif text.startswith("?ERROR"):
                self._error(time, logrecords.error(self._line, time, text))
            elif _SOURCE.match(text):
                fields = logrecords.scan_start(self._line, time, text).fields
                self._blocks.source = fields[0].lower() if fields else ""
            elif switch := self._pattern.match(text):
                self.diode = LightState.ON if switch["on"] else LightState.OFF
                self.entries.append(Entry("diode", time, on=bool(switch["on"])))
        except RowError:
            return

    def _onoff(self, time: float, text: str) -> None:
        self._wrote = time
        name, _, rest = text.partition(" ")
        ended = self._blocks.row(self._line, time, text)
        if ended is not None:
            self._open = False
            self.entries.append(Entry("end", time, text=ended.reason, scan=ended))
        if name == "APR":
            self._apriori(time, onoffrows.apriori(self._line, rest).detector)
        elif name in STATES:
            self._level(time, onoffrows.levels(name, rest))

    def _apriori(self, time: float, detector: str) -> None:
        if not self._open:
            self._open, self._visit = True, None
            self.detectors.clear()
            self._visits.clear()
            self.entries.append(Entry("begin", time))
        self.detectors.add(detector)

    def _level(self, time: float, row: onoffrows.LevelRow) -> None:
        """A row of a visit: several rows, each with some detectors, may be one visit."""
        visit = self._visit
        if visit is None or (visit.state, visit.seconds) != (row.state, row.seconds):
            self._visits[row.state] = self._visits.get(row.state, 0) + 1
            before = self.entries[-1].time if self.entries else 0.0
            visit = self._visit = Entry("visit", time, before, row.state, self._visits[row.state], row.seconds)
            self.entries.append(visit)
        visit.rows += [Row(name, counts, rms, row.daz_deg, row.del_deg) for name, counts, rms in row.levels]

    def _error(self, time: float, error: LogError) -> None:
        self._blocks.error(error)
        if error.mnemonic not in ("nf", "aq") or "warning" in error.text.lower():
            return
        text = f"{error.mnemonic} {error.number} {error.text}"
        self.entries.append(Entry("error", time, text=text))
        if error.mnemonic == "nf" and self._open and abs(error.number) not in GOES_ON:
            self._open = False
            ended = self._blocks.close(text)
            self.entries.append(Entry("end", time, text=text, scan=ended))


class GrowingLog:
    """A log that is followed: a file, or the newest *.log of a directory, whichever that is."""

    def __init__(self, place: Path, diode: re.Pattern[str]) -> None:
        self.place, self._pattern = place, diode
        self._path: Path | None = None
        self._offset, self._rest = 0, b""
        self.reader = LogReader(str(place), diode)

    @property
    def entries(self) -> list[Entry]:
        return self.reader.entries

    @property
    def path(self) -> str:
        """The file that is followed."""
        return str(self._path or self.place)

    async def refresh(self) -> None:
        """Read what is new. DeviceLost where the log cannot be read."""
        try:
            async with asyncio.timeout(READ_S):
                new = await asyncio.to_thread(self._new)
        except TimeoutError:
            raise DeviceLost(f"{self.place}: the log cannot be read within {READ_S:g} s") from None
        except OSError as error:
            raise DeviceLost(f"{self.place}: the log cannot be read: {error.strerror or error}") from None
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            self.reader.feed(line.decode("latin-1"))

    def _new(self) -> bytes:
        path = self._newest()
        size = path.stat().st_size
        if path != self._path:
            # The first log is begun near its end; one that follows it, at its beginning.
            self._offset = max(0, size - TAIL_BYTES) if self._path is None else 0
            self._path, self._rest = path, b""
        elif size < self._offset:
            self._offset, self._rest = 0, b""
        with open(path, "rb") as file:
            file.seek(self._offset)
            content = file.read()
        self._offset += len(content)
        return content

    def _newest(self) -> Path:
        if not self.place.is_dir():
            return self.place
        logs = [path for path in self.place.iterdir() if path.suffix == ".log"]
        if not logs:
            raise FileNotFoundError(2, "no *.log in this directory")
        return max(logs, key=lambda path: path.stat().st_mtime)

    async def until(self, condition: Callable[[], T | None], seconds: float, what: str) -> T:
        """What `condition` finds, looked for after every reading; DeviceTimeout saying what did not come."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            await self.refresh()
            found = condition()
            if found is not None:
                return found
            if loop.time() > deadline:
                raise DeviceTimeout(f"{self.path}: {what} within {seconds:g} s")
            await asyncio.sleep(POLL_S)
