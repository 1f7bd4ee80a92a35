"""An antab from a Field System log and the receiver files: gains, and system temperatures with the present Tcal.

    made = make_antab(records("ec071mtr.log"), Receivers.read("rxg_files"), log="ec071mtr.log")
    write_antab(made.antab, "ec071mtr.antabfs")

DPFU are written in the order R, L, the curve with its true type, FREQ from the detectors of the log. What was
corrected, replaced or looks wrong is in `findings` and `changes`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import DataError, ParameterError
from calibrant.station.antab import Antab, AntabGain, AntabTsys, format_time
from calibrant.station.antab_clean import Change, Method, clean
from calibrant.station.antab_gain import gain_groups
from calibrant.station.antab_made import Column, Finding, Level, ListedChange, Made
from calibrant.station.detectors import Detector
from calibrant.station.rxg import Receivers, Rxg
from calibrant.station.tsys_series import LogTsys, Series, collect, system_temperature

Floats = NDArray[np.float64]
MOST_REMOVED = 0.3
"""Of the values of a column; with more removed it is not to be trusted."""
MANY_REMOVED = 0.05
NOISY = 0.1
NEGATIVE_SHARE = 0.8
"""Of a detector's values: its levels are taken to be swapped."""
SWAPPED = {
    "single": "The diode was on during tpi and off during tpical of {}: taken the other way round. "
    "Check calon and caloff.",
    "continuous": "In tpcont of {} the levels with diode are the lower ones: on and off are swapped (cabling, or the "
    "polarity of cont_cal); |on - off| was used.",
}
NEGATIVE = (
    "The Field System prints a negative Tsys for {}, although its levels with diode are the higher ones: its sign is "
    "wrong, not the levels. Check the polarity of cont_cal."
)
SIDEBANDS = {"u": "USB", "l": "LSB", "d": "DSB"}


def make_antab(
    records: Iterable[Any], receivers: Receivers, *, log: str, station: str = "", method: Method = "robust",
    minus_half_diode: bool = False,
) -> Made:  # fmt: skip
    """The antab of a log.

    `records`: TotalPower, Setting and ScanStart records in the log's order; `log`: its name, for comments; `station`:
    two letters, by default those of the schedule or of the file's name; `method`: see `antab_clean.clean`;
    `minus_half_diode`: Tsys of continuous calibration without half of the diode.
    Raises DataError where the log has no total powers from which a Tsys follows.
    """
    found = collect(records)
    if not found.series:
        raise DataError(_nothing(log, found))
    maker = _Maker(receivers, found, method, minus_half_diode)
    made = [maker.setup(number, series) for number, series in enumerate(found.series, 1)]
    tsys = [group for group in made if group is not None]
    if not tsys:
        raise DataError(f"{log}: no detector has a Tcal. {maker.findings[0].text} Give the --rxg of its LO.")
    code = (station or found.station or _code(log)).upper()
    if not code:
        raise ParameterError(f"{log}: neither its scans nor its name tell the station; give --station CODE.")
    gains = gain_groups(maker.columns, maker.used, maker.say)
    header = _header(log, code, found.experiment, maker)
    groups: list[AntabGain | AntabTsys] = [AntabGain(code, **gain) for gain in gains]
    groups += [AntabTsys(code, **group) for group in tsys]
    groups[0] = replace(groups[0], comments=(*header, *groups[0].comments))
    antab = Antab(tuple(groups))
    maker.judge(found)
    return Made(
        antab, code, tuple(maker.columns), tuple(maker.changes), tuple(maker.findings),
        sum(len(group["seconds"]) for group in tsys),
    )  # fmt: skip


def _nothing(log: str, found: LogTsys) -> str:
    if found.unknown:
        name, (why, _) = next(iter(found.unknown.items()))
        return (
            f"{log}: total powers of {len(found.unknown)} detectors, but nothing is known about what they see "
            f"({name}: {why}); expected set-up commands before them. Give the whole log."
        )
    return (
        f"{log}: no total powers with calibration; expected tpi, tpical and tpdiff, or tpcont records. "
        "Was the diode calibration (caltsys, tpicd=tsys) in the schedule's procedures?"
    )


def _code(log: str) -> str:
    from calibrant.station.logrecords import code_from_name

    return code_from_name(log)


class _Maker:
    """Gathers columns, changes and findings set-up by set-up."""

    def __init__(self, receivers: Receivers, found: LogTsys, method: Method, minus_half_diode: bool) -> None:
        self.receivers, self.log, self.method, self.minus = receivers, found, method, minus_half_diode
        self.columns: list[Column] = []
        self.changes: list[ListedChange] = []
        self.findings: list[Finding] = []
        self.used: dict[tuple[float, str], Rxg] = {}
        """(LO, polarisation) -> file."""
        self.values = 0

    def say(self, kind: str, level: Level, text: str) -> None:
        finding = Finding(kind, level, text)
        if finding not in self.findings:
            self.findings.append(finding)

    # ---- one set-up --------------------------------------------------------------------------------------------
    def setup(self, number: int, series: Series) -> dict[str, Any] | None:
        """The fields of its TSYS group; None where no detector has a Tcal."""
        tcal, origins = self._tcal(series)
        keep = [i for i, origin in enumerate(origins) if origin]
        if not keep:
            return None
        order = _column_order(series.detectors, keep)
        detectors = [series.detectors[i] for i in order]
        labels = _labels(detectors)
        self._duplicates(labels, detectors)
        swapped, tsys = self._oriented(series, tcal)
        zero = _zero_levels(series)[:, order] if self.method == "robust" else np.zeros((len(tsys), len(order)), bool)
        tsys, swapped = tsys[:, order], swapped[order]
        cleaned, changes = clean(series.time, np.where(zero, np.nan, tsys), series.scan, self.method)
        changes += [
            Change(int(row), int(c), float(tsys[row, c]), np.nan, "a total power of 0") for row, c in np.argwhere(zero)
        ]
        changes.sort(key=lambda change: (change.row, change.column))
        self.values += int(np.isfinite(tsys).sum())
        self._list(number, series, labels, detectors, changes)
        counts = Counter(change.column for change in changes)
        noise = _noise(series.scan, cleaned)
        for k, (i, detector, label) in enumerate(zip(order, detectors, labels, strict=True)):
            rxg = self.used.get((detector.lo_mhz, detector.pol))
            good = cleaned[:, k][np.isfinite(cleaned[:, k])]
            self.columns.append(Column(
                number, label, detector, rxg.name if rxg else "", float(np.nanmedian(tcal[:, i])), origins[i],
                float(np.median(good)) if len(good) else float("nan"), len(good), counts[k], bool(swapped[k]),
                float(noise[k]),
            ))  # fmt: skip
        return self._group(number, series, labels, cleaned)

    def _group(self, number: int, series: Series, labels: list[str], values: Floats) -> dict[str, Any]:
        rows = np.nonzero(np.isfinite(values).any(axis=1))[0]
        if len(rows) < len(values):
            self.say("empty rows", "note", f"{len(values) - len(rows)} integrations without any valid value left out.")
        columns = [column for column in self.columns if column.setup == number]
        mode = "CONT" if series.mode == "continuous" else "SINGLE"
        half = ", without half of the diode" if self.minus and series.mode == "continuous" else ""
        notes = [(0, ""), (0, f" Setup {number:02d}"), (0, f" Calibration mode: {mode}{half}"), (0, "")]
        notes += [(0, _column_line(i, column)) for i, column in enumerate(columns, 1)]
        listed = [change for change in self.changes if change.setup == number]
        notes += [(0, text) for text in _changed_lines(self.method, listed, values.size)]
        scans = series.scan[rows]
        for position in np.nonzero(np.diff(scans, prepend=-2))[0]:
            if scans[position] >= 0:
                scan = self.log.scans[int(scans[position])]
                notes.append((int(position), f" {format_time(_seconds(scan.time))}: scanNum={scan.number:04d} "
                              f"scanName={scan.name or 'none'} source={scan.source or 'none'}"))  # fmt: skip
        seconds = np.array([_seconds(t) for t in series.time[rows].tolist()])
        return {"index": tuple(labels), "seconds": seconds, "values": values[rows], "notes": tuple(notes)}

    def _list(
        self, number: int, series: Series, labels: list[str], detectors: list[Detector], changes: list[Change]
    ) -> None:
        for change in changes:
            self.changes.append(ListedChange(
                float(series.time[change.row]), number, labels[change.column], detectors[change.column].name,
                change.old, change.new, change.reason,
            ))  # fmt: skip

    # ---- Tcal --------------------------------------------------------------------------------------------------
    def _tcal(self, series: Series) -> tuple[Floats, list[Any]]:
        """((integrations, detectors) K, 'rxg', 'log' or '' of each detector)."""
        tcal = np.full(series.high.shape, np.nan)
        origins: list[Any] = []
        outside = []
        for i, detector in enumerate(series.detectors):
            rxg, why = self.receivers.choose(detector.lo_mhz, detector.pol)  # type: ignore[arg-type]
            if why:
                self.say("several rxg", "check", why + ".")
            value = float(rxg.tcal_at(detector.pol, detector.freq_mhz)) if rxg else 0.0  # type: ignore[arg-type]
            if rxg is not None:
                self.used[detector.lo_mhz, detector.pol] = rxg
            if rxg is not None and value > 0:
                tcal[:, i] = value
                if not rxg.tcal_covers(detector.pol, detector.freq_mhz):  # type: ignore[arg-type]
                    outside.append(detector)
            else:
                tcal[:, i] = series.caltemp[:, i]
            origins.append(self._origin(detector, rxg, value, tcal[:, i]))
        if outside:
            self.say("extrapolated Tcal", "check", f"{_names(outside)}: outside the Tcal table of the rxg; the one at "
                     "its end was taken.")  # fmt: skip
        return tcal, origins

    def _origin(self, detector: Detector, rxg: Rxg | None, value: float, tcal: Floats) -> str:
        if value > 0:
            return "rxg"
        lo = f"LO {detector.lo_mhz:g} MHz, {detector.pol.upper()}CP"
        why = f"no rxg for {lo}" if rxg is None else f"{rxg.name} has no {'diode' if value < 0 else 'Tcal'} for {lo}"
        if np.isfinite(tcal).any() and value == 0:
            self.say("Tcal from the log", "check", f"{why}: the caltemp values of the log were used.")
            return "log"
        self.say("no Tcal", "bad", f"{why}, and the log has no caltemp: its detectors are left out.")
        return ""

    # ---- order of the levels -----------------------------------------------------------------------------------
    def _oriented(self, series: Series, tcal: Floats) -> tuple[NDArray[np.bool_], Floats]:
        """(detectors with swapped levels, Tsys with these put right)."""
        tsys = system_temperature(series, tcal, minus_half_diode=self.minus)
        known = np.isfinite(tsys).sum(axis=0)
        swapped = (known > 0) & ((tsys < 0).sum(axis=0) >= NEGATIVE_SHARE * np.maximum(known, 1))
        if swapped.any():
            self.say("on and off swapped", "check", SWAPPED[series.mode].format(_chosen(series.detectors, swapped)))
            right = system_temperature(_exchanged(series), tcal, minus_half_diode=self.minus)
            tsys = np.where(swapped[None, :], right, tsys)
        self._against_printed(series, tsys, tcal, swapped)
        return swapped, tsys

    def _against_printed(self, series: Series, tsys: Floats, tcal: Floats, swapped: NDArray[np.bool_]) -> None:
        """What the Field System printed for the same integrations; tpicd prints -1 for "no value"."""
        printed = np.where(np.abs(series.printed + 1.0) < 0.05, np.nan, series.printed)
        both = np.isfinite(printed) & np.isfinite(tsys) & (tsys > 0)
        negative = np.where(both, np.sign(printed), 0.0).sum(axis=0) < 0
        if (negative & ~swapped).any():
            self.say("negative Tsys printed", "note", NEGATIVE.format(_chosen(series.detectors, negative & ~swapped)))
        if series.mode == "single":
            with np.errstate(invalid="ignore", divide="ignore"):
                scale = tcal / series.caltemp
                bad = both & (np.abs(tsys - np.abs(printed) * scale) > (0.1 + 2e-3 * np.abs(printed)) * scale)
            if bad.any():
                self.say("differs from printed", "check", f"{int(bad.sum())} of {int(both.sum())} Tsys differ from the "
                         "Field System's own, scaled to the Tcal used here.")  # fmt: skip

    def _duplicates(self, labels: list[str], detectors: list[Detector]) -> None:
        twice = [d for label, d in zip(labels, detectors, strict=True) if label == "X"]
        if twice:
            self.say("same channel twice", "note", f"{_names(twice)}: another detector sees the same: INDEX X.")

    # ---- judgement ---------------------------------------------------------------------------------------------
    def _unknown(self, found: LogTsys) -> None:
        """Detectors whose levels could not be used, by what was missing."""
        used = {column.detector.name for column in self.columns}
        alike: dict[tuple[str, int, bool], list[str]] = {}
        for name, (why, count) in found.unknown.items():
            alike.setdefault((why, count, name in used), []).append(name)
        for (why, count, also_used), names in alike.items():
            self.say("unknown set-up", "note" if also_used else "check", f"{', '.join(names)}: {count} integration"
                     f"{'s' if count > 1 else ''} of each not used: {why}.")  # fmt: skip

    def judge(self, found: LogTsys) -> None:
        """Findings about the whole."""
        self._unknown(found)
        if found.outside:
            self.say("outside scans", "note", f"{found.outside} integrations outside data_valid=on ... off left out.")
        for column in self.columns:
            share = column.changed / max(column.values + column.changed, 1)
            where = f"{column.label} ({column.detector.name}, {column.detector.freq_mhz:g} MHz)"
            if not column.values:
                self.say("empty column", "bad", f"{where} has no valid Tsys.")
            elif share > MOST_REMOVED:
                self.say("many outliers", "bad", f"{where}: {share:.0%} of the values were changed by cleaning.")
            elif share > MANY_REMOVED:
                self.say("many outliers", "check", f"{where}: {share:.0%} of the values were changed by cleaning.")
            if column.noise > NOISY:
                self.say("noisy", "check", f"{where}: Tsys scatters by {column.noise:.0%} from one integration to the "
                         "next; interference, or too weak a diode.")  # fmt: skip
        modes = {series.mode for series in found.series}
        if "continuous" in modes and not self.minus:
            self.say("half diode", "note", "Tsys of continuous calibration contains half of the diode, as the Field "
                     "System's does.")  # fmt: skip


def _column_order(detectors: tuple[Detector, ...], keep: list[int]) -> list[int]:
    """R before L, then by frequency."""
    return sorted(keep, key=lambda i: (detectors[i].pol != "r", detectors[i].freq_mhz, detectors[i].name))


def _labels(detectors: list[Detector]) -> list[str]:
    """R1, R2, ..., L1, ...: numbered by the frequencies of both polarisations together; X for a repeated channel."""
    numbers = {freq: n for n, freq in enumerate(sorted({round(d.freq_mhz, 3) for d in detectors}), 1)}
    labels: list[str] = []
    for d in detectors:
        label = f"{d.pol.upper()}{numbers[round(d.freq_mhz, 3)]}"
        labels.append("X" if label in labels else label)
    return labels


def _zero_levels(series: Series) -> NDArray[np.bool_]:
    """Where a level is 0, which a converter logs when it was not read out."""
    if series.mode == "single":
        return np.asarray(series.high == 0)
    return np.asarray((series.high == 0) | (series.low == 0))


def _exchanged(series: Series) -> Series:
    """With the roles of the levels exchanged; single: tpi had the diode, and tpical = tpi + tpdiff had not."""
    if series.mode == "single":
        return replace(series, high=series.high + series.low, low=-series.low)
    return replace(series, high=series.low, low=series.high)


def _chosen(detectors: tuple[Detector, ...], mask: NDArray[np.bool_]) -> str:
    return _names([detector for detector, chosen in zip(detectors, mask.tolist(), strict=True) if chosen])


def _names(detectors: list[Detector]) -> str:
    names = [d.name for d in detectors]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _seconds(time: float) -> float:
    """Seconds since the start of its year."""
    return time - datetime(datetime.fromtimestamp(time, UTC).year, 1, 1, tzinfo=UTC).timestamp()


def _column_line(number: int, column: Column) -> str:
    d = column.detector
    return (
        f"Column {number} = {column.label}: if{d.if_name.upper()}, {d.converter}, {d.freq_mhz:.2f} MHz , "
        f"{SIDEBANDS[d.sideband]}, BW={d.bandwidth_mhz:6.2f} MHz, Tcal={column.tcal_k:.2f} K"
    )


def _changed_lines(method: Method, changes: list[ListedChange], size: int) -> list[str]:
    done = "replaced" if method == "antabfs" else "removed (999.9)"
    reasons = Counter(change.reason for change in changes).most_common()
    return [
        f"Cleaning ({method}): {len(changes)} of {size} values {done}",
        *(f"  {count} {reason}" for reason, count in reasons),
    ]


def _noise(scan: NDArray[np.int64], values: Floats) -> Floats:
    """Scatter of each column between successive integrations of a scan, as a fraction of its median."""
    steps = np.diff(values, axis=0)[np.diff(scan) == 0]
    if not len(steps):
        return np.zeros(values.shape[1])
    return np.asarray(1.4826 * _nanmedian(np.abs(steps)) / np.sqrt(2.0) / _nanmedian(values))


def _nanmedian(values: Floats) -> Floats:
    """Along the first axis; nan for a column without values."""
    good = np.isfinite(values)
    return np.array([np.median(c[g]) if g.any() else np.nan for c, g in zip(values.T, good.T, strict=True)])


def _header(log: str, station: str, experiment: str, maker: _Maker) -> list[str]:
    name = f" in {experiment}" if experiment else ""
    lines = [
        f" Amplitude calibration data for {station}{name}.", " For use with AIPS task ANTAB.",
        f" Log: {os.path.basename(log)}", " RXG files used for each LO:",
    ]  # fmt: skip
    for (lo, pol), rxg in maker.used.items():
        lines.append(f"   LO={lo:.2f} MHz {pol}cp {rxg.name} {rxg.date[0]} {rxg.date[1]:02d} {rxg.date[2]:02d}")
    lines.append(f" Produced on {datetime.now(UTC):%Y-%m-%d} by calibrant station antab")
    return ["".join(c if c.isascii() else "?" for c in line) for line in lines]
