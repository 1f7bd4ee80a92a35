"""System temperatures from the total powers that a log holds, integration by integration.

Single calibration (diode fired now and then):    Tsys = (tpi - tpzero) Tcal / tpdiff
Continuous calibration (diode always switched):   Tsys = (on + off) / 2 Tcal / (on - off)

where `on` is the level with the diode. The latter contains half of the diode, as the Field System's and antabfs's
values do; `minus_half_diode` takes it out: Tsys = off Tcal / (on - off). Sources: the Field System's tsys and tpcont.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibrant.station.detectors import IF_DETECTOR, Detector, Setup
from calibrant.station.records import NAN, ScanStart, Setting, TotalPower

Floats = NDArray[np.float64]
Mode = Literal["single", "continuous"]
INTEGRATION_S = 1.0
"""Records closer together than this are one integration."""
SINGLE = ("tpi", "tpzero", "tpical", "tpdiff", "caltemp", "tsys")
CONTINUOUS = "tpcont"


@dataclass(frozen=True)
class ScanLabel:
    """A scan of the schedule, as the log names it; `time` in seconds since 1970."""

    number: int
    name: str
    source: str
    time: float


@dataclass
class Series:
    """Integrations with one set-up. Arrays are (integrations, detectors); nan where a level is missing.

    continuous: `high` is on, `low` is off. single: `high` is tpi - tpzero, `low` is tpdiff.
    """

    mode: Mode
    detectors: tuple[Detector, ...]
    time: Floats
    """(integrations): seconds since 1970."""
    scan: NDArray[np.int64]
    """(integrations): index into `Log.scans`; -1 before the first."""
    high: Floats
    low: Floats
    caltemp: Floats
    """Tcal that the Field System used (K), where the log prints it."""
    printed: Floats
    """Tsys that the Field System printed (K)."""
    line: NDArray[np.int64]
    """(integrations): physical line of the log."""


@dataclass
class LogTsys:
    """All integrations of a log, what could not be used, and its scans."""

    series: list[Series]
    scans: list[ScanLabel]
    unknown: dict[str, tuple[str, int]]
    """Detector -> (why nothing is known about what it sees, integrations lost by that)."""
    station: str = ""
    """Two letters, from the first scan_name command that has them."""
    experiment: str = ""
    outside: int = 0
    """Integrations of continuous calibration outside data_valid=on..off, which are left out."""


def system_temperature(series: Series, tcal_k: Floats, *, minus_half_diode: bool = False) -> Floats:
    """Tsys in K, (integrations, detectors); nan without levels, with a sign where the levels have the wrong order.

    `tcal_k`: (detectors) or (integrations, detectors).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if series.mode == "single":
            tsys = series.high * tcal_k / series.low
        elif minus_half_diode:
            tsys = np.minimum(series.high, series.low) * tcal_k / (series.high - series.low)
        else:
            tsys = 0.5 * (series.high + series.low) * tcal_k / (series.high - series.low)
    return np.where(np.isfinite(tsys), tsys, np.nan)


def collect(records: Iterable[Any], *, outside_scans: bool = False) -> LogTsys:
    """Integrations from a log's records in order (see `fslog.records`).

    Continuous calibration is taken between data_valid=on and off only, where the log has these commands, unless
    `outside_scans`.
    """
    collector = _Collector()
    for record in records:
        collector.feed(record)
    return collector.result(outside_scans)


@dataclass
class _Row:
    """One integration while it is being gathered."""

    mode: Mode
    start: float
    line: int
    scan: int
    valid: bool | None
    """Between data_valid=on and off; None before the first of them."""
    times: list[float] = field(default_factory=list)
    high: dict[str, list[float]] = field(default_factory=dict)
    low: dict[str, list[float]] = field(default_factory=dict)
    caltemp: dict[str, float] = field(default_factory=dict)
    printed: dict[str, float] = field(default_factory=dict)


class _Collector:
    def __init__(self) -> None:
        self.setup = Setup()
        self.scans: list[ScanLabel] = []
        self.unknown: dict[str, tuple[str, int]] = {}
        self.station = self.experiment = ""
        self._blocks: dict[tuple[Mode, tuple[Detector, ...]], list[_Row]] = {}
        self._known: dict[str, Detector] = {}
        self._version = -1
        self._row: _Row | None = None
        self._levels: dict[str, dict[str, float]] = {name: {} for name in SINGLE}
        self._valid: bool | None = None
        self._fresh: set[str] = set()

    def feed(self, record: Any) -> None:
        if isinstance(record, TotalPower):
            if record.kind == CONTINUOUS:
                self._continuous(record)
            elif record.kind in SINGLE:
                self._single(record)
        elif isinstance(record, Setting):
            self._setting(record)
        elif isinstance(record, ScanStart):
            self._flush()
            self._scan(record)

    # ---- set-up and scans --------------------------------------------------------------------------------------
    def _setting(self, setting: Setting) -> None:
        if setting.name == "data_valid":
            if setting.fields:
                self._flush()
                self._valid = setting.fields[0].strip() == "on"
            return
        version = self.setup.version
        self.setup.feed(setting)
        if self.setup.version != version:
            self._flush()

    def _scan(self, record: ScanStart) -> None:
        if not record.fields:
            return
        if record.kind == "scan_name":
            if len(record.fields) > 2 and not self.station:
                self.experiment, self.station = record.fields[1].strip(), record.fields[2].strip()
            self.scans.append(ScanLabel(len(self.scans) + 1, record.fields[0], "", record.time))
            return
        last = self.scans[-1] if self.scans else None
        source = record.fields[0]
        if last is not None and not last.source and record.time - last.time < 60:
            self.scans[-1] = ScanLabel(last.number, last.name, source, last.time)
        elif last is None or last.source != source:
            self.scans.append(ScanLabel(len(self.scans) + 1, "", source, record.time))

    def _detector(self, name: str) -> Detector | None:
        if self.setup.version != self._version:
            self._version = self.setup.version
            self._known = {}
        if name not in self._known:
            detector, why = self.setup.detector(name)
            if detector is None:
                if why != IF_DETECTOR:
                    self.unknown[name] = (why, self.unknown.get(name, ("", 0))[1] + 1)
                return None
            self._known[name] = detector
        return self._known[name]

    # ---- levels ------------------------------------------------------------------------------------------------
    def _continuous(self, record: TotalPower) -> None:
        row = self._row
        if row is None or row.mode != "continuous" or record.time - row.start >= INTEGRATION_S:
            row = self._start("continuous", record)
        row.times.append(record.time)
        for name, on, off in zip(record.detectors, record.values, record.off_values, strict=True):
            row.high.setdefault(name, []).append(on)
            row.low.setdefault(name, []).append(off)

    def _single(self, record: TotalPower) -> None:
        levels = self._levels[record.kind]
        values = dict(zip(record.detectors, record.values, strict=True))
        row = self._row
        if row is not None and row.mode == "continuous":
            row.printed |= values if record.kind == "tsys" else {}
            return
        if row is not None and self._ends(row, record.kind, values):
            self._flush()
        levels |= values
        if record.kind in ("tpi", "tpdiff"):
            self._fresh |= set(values)
        if record.kind == "tpdiff":
            self._levels["caltemp"] = {k: v for k, v in self._levels["caltemp"].items() if k not in values}
        if record.kind in ("tpdiff", "tsys"):
            self._take(record, values)

    def _ends(self, row: _Row, kind: str, values: dict[str, float]) -> bool:
        """Whether these values begin another integration: a new tpi, or a detector for the second time."""
        if kind == "tpdiff" or (kind == "tsys" and self._fresh & set(values)):
            return bool(set(values) & set(row.high))
        return kind == "tpi" and bool(set(values) & set(row.high))

    def _take(self, record: TotalPower, values: dict[str, float]) -> None:
        row = self._row
        if row is None or row.mode != "single":
            if record.kind == "tsys" and not self._fresh & set(values):
                return
            row = self._start("single", record)
        row.times.append(record.time)
        for name, value in values.items():
            if name in self._fresh:
                level = self._levels["tpi"].get(name, NAN) - self._levels["tpzero"].get(name, 0.0)
                row.high[name], row.low[name] = [level], [self._levels["tpdiff"].get(name, NAN)]
                self._fresh.discard(name)
            if record.kind == "tsys":
                row.printed[name] = value

    def _start(self, mode: Mode, record: TotalPower) -> _Row:
        self._flush()
        self._row = _Row(mode, record.time, record.line, len(self.scans) - 1, self._valid)
        return self._row

    def _flush(self) -> None:
        """File the integration under its set-up."""
        row, self._row = self._row, None
        if row is None:
            return
        found = [self._detector(name) for name in row.high]
        detectors = tuple(d for d in found if d is not None)
        if not detectors:
            return
        if row.mode == "single":
            row.caltemp = {d.name: self._levels["caltemp"].get(d.name, NAN) for d in detectors}
        self._blocks.setdefault((row.mode, self._superset(row.mode, detectors)), []).append(row)

    def _superset(self, mode: Mode, detectors: tuple[Detector, ...]) -> tuple[Detector, ...]:
        """The block that these detectors belong to: one with all of them, else one that they extend, else a new one."""
        wanted = set(detectors)
        for key in [key for key in self._blocks if key[0] == mode]:
            have = set(key[1])
            names = {d.name for d in have}
            if wanted <= have:
                return key[1]
            if not any(d.name in names for d in wanted - have) and have & wanted:
                merged = (*key[1], *(d for d in detectors if d not in have))
                self._blocks = {((k[0], merged) if k == key else k): rows for k, rows in self._blocks.items()}
                return merged
        return detectors

    # ---- result ------------------------------------------------------------------------------------------------
    def result(self, outside_scans: bool) -> LogTsys:
        self._flush()
        series, outside = [], 0
        for (mode, detectors), rows in self._blocks.items():
            used = rows
            if mode == "continuous" and self._valid is not None and not outside_scans:
                used = [row for row in rows if row.valid]
            outside += len(rows) - len(used)
            if used:
                series.append(_series(mode, detectors, used))
        series.sort(key=lambda s: float(s.time[0]))
        return LogTsys(series, self.scans, self.unknown, self.station, self.experiment, outside)


def _series(mode: Mode, detectors: tuple[Detector, ...], rows: list[_Row]) -> Series:
    order = tuple(sorted(detectors, key=lambda d: (d.freq_mhz, d.name)))

    def table(values: Any) -> Floats:
        return np.array([[values(row).get(d.name, NAN) for d in order] for row in rows], dtype=np.float64)

    def mean(values: dict[str, list[float]]) -> dict[str, float]:
        return {name: sum(levels) / len(levels) for name, levels in values.items()}

    return Series(
        mode=mode,
        detectors=order,
        time=np.array([sum(row.times) / len(row.times) for row in rows]),
        scan=np.array([row.scan for row in rows], dtype=np.int64),
        high=table(lambda row: mean(row.high)),
        low=table(lambda row: mean(row.low)),
        caltemp=table(lambda row: row.caltemp),
        printed=table(lambda row: row.printed),
        line=np.array([row.line for row in rows], dtype=np.int64),
    )
