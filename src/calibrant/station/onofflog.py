"""ONOFF's rows in the order of the log -> scans.

A scan begins with the header before its APR rows and ends with the header after its VAL rows. One that ends
otherwise is kept too: with its levels, and with the log's own error as the reason. VAL and APR rows are matched
by detector, not by position. VAL rows without any APR row before them make a scan that has only FS's results.
"""

from __future__ import annotations

from calibrant.station import onoffrows
from calibrant.station.onoffrows import RowError
from calibrant.station.records import STATES, Level, LogError, OnOffScan, PrintedSigma, Weather

OLD_RECORDS = ("source", "site", "onoff", "orig", "origin", "val", "tsys", "signal", "src", "sefd", "eta", "on", "off")
"""First words of the records before FS 9.5.15, which had two detectors and other results."""


class OnOffBlocks:
    """Fed row by row; gives a scan when it has ended. The caller keeps `source` and `weather` up to date."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.source = ""
        """Of the last source= command, lower case."""
        self.weather: Weather | None = None
        self._scan: OnOffScan | None = None
        self._visits: dict[str, list[float]] = {}
        self._damaged: list[int] = []
        self._failure = self._other_error = ""

    def row(self, line: int, time: float, text: str) -> OnOffScan | None:
        """The text after `#onoff#`; the scan that this row has ended, if any. Raises RowError."""
        name, _, rest = text.partition(" ")
        words = rest.split(None, 2)
        if not name:
            return self._narrative(words)
        try:
            return self._record(name.upper(), line, time, rest, words)
        except RowError:
            if self._scan is not None or name.upper() in ("APR", "SIG", "VAL"):
                self._damaged.append(line)
            raise

    def error(self, error: LogError) -> None:
        """An ?ERROR line of the log, which may be why a scan ends."""
        if self._scan is None or "warning" in error.text.lower():
            return
        text = f"{error.mnemonic} {error.number} {error.text} (line {error.line})"
        if error.mnemonic == "nf":
            self._failure = self._failure or text
        else:
            self._other_error = text

    def close(self, why: str) -> OnOffScan | None:
        """The open scan, ended by something else than its closing header."""
        scan, self._scan = self._scan, None
        damaged, self._damaged = self._damaged, []
        if scan is None:
            return None
        times = {(name, level.state, level.seconds) for name, levels in scan.levels.items() for level in levels}
        scan.continuous = any((name, "ONSC", seconds) in times for name, state, seconds in times if state == "ONSO")
        if not scan.printed:
            scan.status = "aborted"
            scan.reason = self._failure or self._other_error or why
        elif reason := _lacking(scan, damaged):
            scan.status, scan.reason = "partial", reason
        return scan

    def _narrative(self, words: list[str]) -> OnOffScan | None:
        """Headers end scans; `Integrating ...` and the like of FS 10 say nothing that the rows do not."""
        kinds = [word.lower() for word in words[:2]]
        if kinds == ["de", "center"]:
            return self.close("cut off by a new onoff")
        if kinds == ["source", "az"] and self._scan is not None and self._scan.printed:
            return self.close("")
        return None

    def _record(self, name: str, line: int, time: float, rest: str, words: list[str]) -> OnOffScan | None:
        if name == "APR":
            return self._apriori(line, time, rest)
        if name in STATES or name == "ORIG":
            self._levels(name, line, rest)
            return None
        if name in ("SIG", "VAL"):
            return self._result(name, line, time, rest)
        if name == "DE" or (name == "SOURCE" and words and words[0].lower() == "az"):
            return self._narrative([name, *words])
        if name.split("/")[0].lower() in OLD_RECORDS:
            raise RowError("ONOFF before FS 9.5.15: two-detector records are not supported")
        raise RowError(f'ONOFF row: unknown record "{name[:20]}"')

    def _open(self, line: int, time: float) -> OnOffScan:
        self._scan = OnOffScan(self.file, line, time, self.source, weather=self.weather)
        self._visits = {}
        self._failure = self._other_error = ""
        return self._scan

    def _apriori(self, line: int, time: float, rest: str) -> OnOffScan | None:
        row = onoffrows.apriori(line, rest)
        ended, scan = None, self._scan
        if scan is not None and (scan.levels or scan.printed or scan.sigma or row.detector in scan.apriori):
            ended, scan = self.close("cut off by a new onoff"), None
        scan = scan or self._open(line, time)
        scan.apriori[row.detector] = row
        return ended

    def _levels(self, name: str, line: int, rest: str) -> None:
        scan = self._scan
        if scan is None or not scan.apriori:
            raise RowError(f"ONOFF row outside a scan: {name} without APR rows before it")
        if name == "ORIG":
            scan.origin = onoffrows.origin(rest)
            return
        row = onoffrows.levels(name, rest)
        visits = self._visits.setdefault(name, [])
        if row.seconds not in visits:
            visits.append(row.seconds)
        visit = visits.index(row.seconds)
        for detector, counts, rms in row.levels:
            level = Level(line, name, row.seconds, row.daz_deg, row.del_deg, counts, rms, visit)
            scan.levels.setdefault(detector, []).append(level)

    def _result(self, name: str, line: int, time: float, rest: str) -> OnOffScan | None:
        row = onoffrows.sigma(line, rest) if name == "SIG" else onoffrows.printed(line, time, rest)
        ended, scan = None, self._scan
        if scan is not None and row.detector in (scan.sigma if name == "SIG" else scan.printed):
            ended, scan = self.close("cut off by new results"), None
        scan = scan or self._open(line, time)
        if isinstance(row, PrintedSigma):
            scan.sigma[row.detector] = row
        else:
            scan.printed[row.detector] = row
            scan.source = row.source or scan.source
        return ended


def _lacking(scan: OnOffScan, damaged: list[int]) -> str:
    """What a scan with results lacks, in words."""
    reasons = []
    if not scan.apriori:
        reasons.append("no APR rows")
    elif missing := [name for name in scan.apriori if name not in scan.printed]:
        reasons.append(f"no VAL row for {', '.join(missing)}")
    states = {name: {level.state for level in levels} for name, levels in scan.levels.items()}
    bare: dict[str, list[str]] = {}
    for row in scan.apriori.values():
        needed = STATES if row.tcal_k > 0 else ("ONSO", "OFFS", "ZERO")
        absent = ", ".join(state for state in needed if state not in states.get(row.detector, ()))
        bare.setdefault(absent, []).append(row.detector)
    reasons += [f"no {absent} for {', '.join(names)}" for absent, names in bare.items() if absent]
    if unknown := [name for name in scan.printed if scan.apriori and name not in scan.apriori]:
        reasons.append(f"no APR row for {', '.join(unknown)}")
    for name, level in scan.without_number:
        reasons.append(f"no number in {level.state} of {name} (line {level.line})")
    if damaged:
        reasons.append(f"damaged rows: lines {', '.join(map(str, damaged))}")
    return "; ".join(reasons)
