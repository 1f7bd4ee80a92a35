"""Field System logs: one streaming reader for everything that amplitude calibration needs.

    log = read_log("r1730ny.log")            # scans, pointings, weather, errors, what was not understood
    for record in records("ec071mtr.log", (TotalPower, ScanStart)): ...

Plain and gz files. Lines of other programs with a valid time stamp are ordinary traffic; every other line, and
every record of ours whose fields do not decode, is listed with its number and a reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from calibrant.station import logrecords
from calibrant.station.fivptlog import FivptBlocks
from calibrant.station.loglines import STAMP, Block, blocks, show
from calibrant.station.onofflog import OnOffBlocks
from calibrant.station.onoffrows import RowError
from calibrant.station.records import (
    NAN,
    Fivpt,
    FsLog,
    LogError,
    OnOffScan,
    ScanStart,
    Setting,
    Site,
    Skipped,
    TotalPower,
    Weather,
)
from calibrant.station.rxgdump import RxgDumps

Record = OnOffScan | Fivpt | TotalPower | Setting | ScanStart | Weather | LogError | Skipped

MOST_SKIPPED = 1000
MOST_ERRORS = 100
"""Kept of each kind in FsLog; all are counted."""
WEATHER_SECONDS = 60.0
BACKWARDS_SECONDS = 60.0
"""Programs log a few seconds late; more is a clock or a log that was put together."""

_COMMAND = rb"(?:[;:@]|[&$][^/\n=]{1,60}/)"
_SETTING = (
    rb"(?:lo|patch|ifd|ifd(?:ab|cd)|if[a-h1-3]|ifp\d\d|bbc\d{2,3}|vc\d\d|vclo|v[ab](?:lo)?|cont_cal|form|tpicd|"
    rb"data_valid|user_device)"
)
_POWER = rb"(?:/(?:tp(?:i|ical|zero|diff)|caltemps?|tsys)[0-9']?/|#[a-zA-Z0-9]{1,8}#(?:tpi|tsys|tpcont)/)"
# Possessive (++): what does not decode fails at once.
_DEVICE = rb" *+[0-9]*+[a-zA-Z][0-9a-zA-Z]{0,4}+ *+,"
_VALUE = rb" *+(?:[-+]?+[0-9]++(?:\.[0-9]*+)?+(?:[eE][-+][0-9]++)?+|\$++|[-+]?+\.[0-9]++) *+"
_NEXT = rb"(?:,|(?=\r?\n))"
_PAIRS = rb"(?:" + _DEVICE + _VALUE + _NEXT + rb")++\r?+\n"
_TRIPLES = rb"(?:" + _DEVICE + _VALUE + rb"(?:," + _VALUE + rb")?+" + _NEXT + rb")++\r?+\n"
GROUPS = {
    "onoff": rb"#onoff#",
    "fivpt": rb"#fivpt#",
    "weather": rb"(?:/[wW][xX]/|#[^#\n]{1,12}#/[wW][xX]/)",
    "error": rb"\?ERROR",
    "power": _POWER,
    "start": _COMMAND + rb"(?:scan_name|source)=",
    "setting": _COMMAND + _SETTING + rb"=",
    "response": rb"/" + _SETTING + rb"/",
    "rxg": rb":rxg_file,",
    "station": rb'[;:](?:location,|antenna,|release,|Log Opened|" \S+ +\d{4} )',
    # Only those whose fields do not decode: reading the others would take longer than everything else.
    "bad_power": _POWER + rb"(?!" + _PAIRS + rb")(?!(?<=tpcont/)" + _TRIPLES + rb")",
}
_OF_RECORD = {
    OnOffScan: ("onoff", "error", "start", "weather"),
    Fivpt: ("fivpt",),
    TotalPower: ("power",),
    Setting: ("setting", "response"),
    ScanStart: ("start",),
    Weather: ("weather",),
    LogError: ("error",),
    Skipped: (),
}
_OF_LOG = ("onoff", "fivpt", "weather", "error", "start", "rxg", "station", "bad_power")


def read_log(path: str, *, progress: bool = True) -> FsLog:
    """A whole log: scans, pointings, weather, errors and the station, in one pass and in constant memory.

    Total-power records and settings are checked but not kept: `records` streams them. `progress` False draws no
    bar. Raises FormatError for a file that is no Field System log, OSError for one that cannot be opened.
    """
    reader = _Reader(path, _OF_LOG, progress)
    log = FsLog(path, 0, 0, Site(), [], [], [], [], [])
    for record in reader:
        _keep(log, record)
    log.lines, log.size_bytes, log.start, log.end = reader.lines, reader.size, reader.start, reader.end
    log.time_steps, log.rxg_dumps, log.site = reader.time_steps, reader.dumps.texts(), reader.station()
    return log


def records(path: str, kinds: Collection[type] | None = None) -> Iterator[Record]:
    """Every record of a log in its order (scans and pointings where they end), streaming.

    `kinds`: the classes wanted, of OnOffScan, Fivpt, TotalPower, Setting, ScanStart, Weather, LogError, Skipped;
    None: all. Only lines that these need are looked at, so that Skipped then tells of those alone and of lines
    without a time stamp. Raises FormatError and OSError as `read_log`.
    """
    wanted = tuple(_OF_RECORD) if kinds is None else tuple(kinds)
    groups = {group for kind in wanted for group in _OF_RECORD[kind]}
    for record in _Reader(path, tuple(name for name in GROUPS if name in groups), False):
        if isinstance(record, wanted):
            yield record


def _keep(log: FsLog, record: Record) -> None:
    if isinstance(record, OnOffScan):
        log.scans.append(record)
    elif isinstance(record, Fivpt):
        log.fivpts.append(record)
    elif isinstance(record, Weather):
        if not log.weather or abs(record.time - log.weather[-1].time) >= WEATHER_SECONDS:
            log.weather.append(record)
    elif isinstance(record, LogError):
        kind = (record.mnemonic, record.number)
        log.error_counts[kind] = log.error_counts.get(kind, 0) + 1
        if log.error_counts[kind] <= MOST_ERRORS:
            log.errors.append(record)
    elif isinstance(record, Skipped):
        category = record.reason.partition(":")[0]
        log.skipped_counts[category] = log.skipped_counts.get(category, 0) + 1
        if len(log.skipped) < MOST_SKIPPED:
            log.skipped.append(record)


@lru_cache(maxsize=16)
def _pattern(groups: tuple[str, ...]) -> re.Pattern[bytes]:
    """Finds the beginnings of interesting lines; a literal first byte makes the search fast."""
    kinds = b"|".join(b"(?P<" + name.encode() + b">" + GROUPS[name] + b")" for name in groups)
    return re.compile(rb"\n.{" + str(STAMP).encode() + rb"}(?:" + kinds + rb")")


class _Reader:
    """One pass through a log; iterating gives its records, the attributes tell the rest afterwards."""

    def __init__(self, path: str, groups: tuple[str, ...], progress: bool) -> None:
        self.path, self._groups, self._progress = str(path), groups, progress
        self.lines = self.size = 0
        self.start = self.end = NAN
        self.time_steps: list[tuple[int, float]] = []
        self.dumps = RxgDumps()
        self._site, self._scan_code = Site(), ""
        self._scans, self._pointings = OnOffBlocks(self.path), FivptBlocks()
        self._handlers: dict[str, Callable[[int, float, str], Record | None]] = {
            "onoff": self._onoff,
            "fivpt": self._fivpt,
            "weather": self._weather,
            "error": self._error,
            "power": logrecords.total_power,
            "bad_power": logrecords.total_power,
            "start": self._start,
            "setting": logrecords.setting,
            "response": logrecords.response,
            "rxg": self._rxg,
            "station": self._station_line,
        }

    def __iter__(self) -> Iterator[Record]:
        for block in blocks(self.path, progress=self._progress):
            self._count(block)
            yield from self._block(block)
        if scan := self._scans.close("end of the log"):
            yield scan
        if line := self._pointings.open_line:
            yield Skipped(self.path, line, "", "FIVPT without a result: end of the log")

    def station(self) -> Site:
        """From the log's own lines; the two letters from the schedule before those of the file's name."""
        code = self._scan_code or self._site.code or logrecords.code_from_name(self.path)
        return replace(self._site, code=code)

    def _count(self, block: Block) -> None:
        self.lines += len(block.starts)
        self.size += len(block.data) - 1
        times = block.times
        known = np.flatnonzero(~np.isnan(times))
        if not len(known):
            return
        steps = np.diff(times[known], prepend=self.end)
        for place in np.flatnonzero(steps < -BACKWARDS_SECONDS)[: MOST_SKIPPED - len(self.time_steps)].tolist():
            self.time_steps.append((block.first_line + int(known[place]), float(steps[place])))
        self.start = self.start if self.start == self.start else float(times[known[0]])
        self.end = float(times[known[-1]])

    def _block(self, block: Block) -> Iterator[Record]:
        """Records and lines not understood, in the order of the lines."""
        found = [(match.start(), match.lastgroup) for match in _pattern(self._groups).finditer(block.data)]
        places = np.array([place for place, _ in found], dtype=np.int64) + 1
        indices = np.searchsorted(block.starts, places).tolist()
        work = [(index, kind) for index, (_, kind) in zip(indices, found, strict=True) if index not in block.faults]
        if block.faults:
            work = sorted([*work, *((index, None) for index in block.faults)], key=lambda item: item[0])
        for index, kind in work:
            record = self._line(block, index, kind)
            if record is not None:
                yield record

    def _line(self, block: Block, index: int, kind: str | None) -> Record | None:
        line, raw = block.first_line + index, block.line(index)
        if kind is None:
            return Skipped(self.path, line, show(raw), block.faults[index])
        try:
            return self._handlers[kind](line, float(block.times[index]), raw[STAMP:].decode("latin-1"))
        except RowError as error:
            return Skipped(self.path, line, show(raw), str(error))

    def _onoff(self, line: int, time: float, text: str) -> OnOffScan | None:
        return self._scans.row(line, time, _plain(text[len("#onoff#") :]))

    def _fivpt(self, line: int, time: float, text: str) -> Fivpt | Skipped | None:
        begun = self._pointings.open_line
        pointing = self._pointings.row(line, time, _plain(text[len("#fivpt#") :]))
        if begun and self._pointings.open_line not in (0, begun):
            return Skipped(self.path, begun, "", "FIVPT without a result: another one began")
        return pointing

    def _weather(self, line: int, time: float, text: str) -> Weather:
        self._scans.weather = record = logrecords.weather(line, time, text)
        return record

    def _error(self, line: int, time: float, text: str) -> LogError:
        record = logrecords.error(line, time, text)
        self._scans.error(record)
        return record

    def _start(self, line: int, time: float, text: str) -> ScanStart:
        record = logrecords.scan_start(line, time, text)
        if record.fields and record.kind == "source":
            self._scans.source = record.fields[0].lower()
        elif len(record.fields) > 2 and len(record.fields[2]) == 2:
            self._scan_code = self._scan_code or record.fields[2].lower()
        return record

    def _rxg(self, line: int, time: float, text: str) -> None:
        self.dumps.row(text)

    def _station_line(self, line: int, time: float, text: str) -> None:
        self._site = logrecords.station(self._site, text)


def _plain(text: str) -> str:
    """Without control bytes and stray symbols, which some copies of logs have inside records."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text.replace("\t", " ") if " " <= c < "\x7f")
