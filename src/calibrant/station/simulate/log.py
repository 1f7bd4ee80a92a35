"""The text of a simulated log: everything that happens, in order of time, as the Field System would write it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np

from calibrant.errors import ParameterError
from calibrant.station.simulate import rows, setup, vlbi
from calibrant.station.simulate.levels import CHUNK, Measured, measure, sequence
from calibrant.station.simulate.model import SOURCES
from calibrant.station.simulate.truth import Truth

Line = tuple[float, str]
"""Time in seconds since 1970 and the text behind it, from the separator on."""
STEP_BEAMS = 3.0
CUTOFF_DEG = 75.0


@lru_cache(maxsize=8)
def stamp(time: float) -> str:
    """`yyyy.ddd.hh:mm:ss.ss`."""
    hundredths = round(time * 100.0)
    day = datetime.fromtimestamp(hundredths // 100, UTC)
    return f"{day:%Y.%j.%H:%M:%S}.{hundredths % 100:02d}"


@dataclass
class Writer:
    """Makes the lines slot by slot; `vlbi_scans` gathers the truth of the Tsys records."""

    truth: Truth
    vlbi_scans: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        options = self.truth.options
        self.steps = sequence(options)
        needed = options.lead_s + self.steps[-1].seconds + 5.0
        if 60.0 * options.interval_min < needed:
            raise ParameterError(
                f"interval_min: found {options.interval_min:g}, but an ONOFF of {options.repetitions} repetitions "
                f"needs {needed / 60:.1f} minutes. Take a longer interval, or fewer repetitions."
            )
        self._reason = {spoil.scan: spoil.kind for spoil in self.truth.spoils if spoil.kind in ("abort", "partial")}
        self._rng = np.random.default_rng([options.seed, 3])
        self._noise = np.random.default_rng([options.seed, 2])
        self._set = (0.0, 0.0)  # offsets in azimuth and elevation that the last good pointing left

    def blocks(self) -> Iterator[str]:
        """The text of the log, a piece for each slot; complete lines."""
        options = self.truth.options
        yield _text(setup.header(self.truth, options.start - 60.0))
        tuned = 0
        for first in range(0, len(self.truth.time), CHUNK):
            scans = np.arange(first, min(first + CHUNK, len(self.truth.time)))
            measured = measure(self.truth, scans, self._noise)
            for row, scan in enumerate(scans.tolist()):
                yield _text(self._slot(measured, row, scan, tuned))
                tuned = int(self.truth.tuning[scan])

    def _slot(self, measured: Measured, row: int, scan: int, tuned: int) -> list[Line]:
        options, truth = self.truth.options, self.truth
        begin = float(truth.time[scan]) - options.lead_s
        end = begin + 60.0 * options.interval_min
        lines: list[Line] = []
        if int(truth.tuning[scan]) != tuned:
            lines += setup.converters(truth, int(truth.tuning[scan]), begin)
        lines += source_lines(truth.sources[scan], begin)
        if options.fivpt:
            lines += self._fivpt(scan, begin + 25.0)
        lines += self._onoff(measured, row, scan)
        free = float(truth.time[scan]) + self.steps[-1].seconds + 10.0
        if options.vlbi and end - free > vlbi.SHORTEST:
            found, record = vlbi.scan(truth, scan, free, end - 5.0, len(self.vlbi_scans) + 1, self._rng)
            lines += found
            self.vlbi_scans.append(record)
        lines += self._weather(begin, end)
        lines.sort(key=itemgetter(0))
        return lines

    def _weather(self, begin: float, end: float) -> list[Line]:
        """`/wx/` every so often: a day's wave, and gusts."""
        options = self.truth.options
        first = math.ceil(begin / options.weather_s) * options.weather_s
        times = np.arange(first, end, options.weather_s)
        phase = 2.0 * math.pi * (times / 86400.0 - 0.4)
        noise = self._rng.standard_normal((3, len(times)))
        columns = (
            12.0 + 6.0 * np.sin(phase) + 0.2 * noise[0], 1009.0 + 3.0 * np.sin(phase / 2.7),
            62.0 - 18.0 * np.sin(phase), np.abs(3.0 + 1.5 * noise[1]), (210.0 + 25.0 * noise[2]) % 360.0,
        )  # fmt: skip
        lines: list[Line] = []
        for time, *values in zip(times.tolist(), *(column.tolist() for column in columns), strict=True):
            lines.append((time, ";wx"))
            lines.append((time, "/wx/" + ",".join(f"{value:.1f}" for value in values)))
        return lines

    def _onoff(self, measured: Measured, row: int, scan: int) -> list[Line]:
        """APR, ORIG, levels with the procedures that switch the diode, SIG and VAL; less where the run failed."""
        truth = self.truth
        start = float(truth.time[scan])
        reason = self._reason.get(scan, "")
        lines: list[Line] = [(start, ";onoff")]
        lines += [(start, "#onoff#" + text) for text in rows.apr_rows(truth, scan)]
        for k in np.flatnonzero(truth.correction[scan] >= 1.2).tolist():
            name = truth.detectors[k].name
            text = f"?ERROR nf   -7 WARNING: Source structure correction greater than 20% for detector {name}."
            lines.append((start, text))
        offsets = "".join(f" {offset:9.5f}" for offset in (0.0, 0.0, *self._set, 0.0, 0.0))
        lines.append((start + 0.2, f"#onoff#ORIG {start % 86400.0:7.1f}{offsets}"))
        kept = len(measured.steps) if reason != "abort" else 1 + scan % (len(measured.steps) - 1)
        for step, taken in enumerate(measured.steps[:kept]):
            time = start + taken.seconds
            offset = self._offset(scan, taken.side)
            texts = rows.level_rows(truth, measured, row, step, offset)
            lines += [(time, "#onoff#" + text) for text in texts]
            if truth.options.mode == "switched" and taken.state in ("ONSO", "OFFC"):
                lines.append((time, ";calonnf" if taken.state == "ONSO" else ";caloffnf"))
        end = start + measured.steps[kept - 1].seconds
        if reason == "abort":
            return [*lines, (end + 0.5, "?ERROR nf  -22 Antenna did not come on source within the time allowed.")]
        values = rows.val_rows(truth, measured, row, scan)
        last = [*rows.sig_rows(truth, measured, row), rows.val_heading(truth)]
        last += values[: len(values) // 2] if reason == "partial" else [*values, rows.val_heading(truth)]
        return lines + [(end + 0.02, "#onoff#" + text) for text in last]

    def _offset(self, scan: int, side: int) -> tuple[float, float]:
        """Degrees in azimuth and elevation: three beams, in elevation near the zenith."""
        truth = self.truth
        size = truth.flux_table.size_arcsec(truth.sources[scan]) / 3600.0
        step = side * STEP_BEAMS * math.hypot(float(truth.fwhm_deg[scan].max()), size)
        elevation = float(truth.elevation[scan])
        return (0.0, step) if elevation > CUTOFF_DEG else (step / math.cos(math.radians(elevation)), 0.0)

    def _fivpt(self, scan: int, time: float) -> list[Line]:
        """A pointing: it finds an offset, which is corrected; where the pointing failed, its fits are marked bad."""
        truth, site = self.truth, self.truth.options.site
        source = truth.sources[scan]
        det = next(det for det in truth.detectors if det.is_if)
        k = truth.detectors.index(det)
        fwhm, flux = float(truth.fwhm_deg[scan, k]), float(truth.apparent_jy[scan, k])
        good = 0 if self._failed(scan) else 1
        lon, lat = (0.05 * fwhm * self._rng.standard_normal(2)).tolist()
        az, el = float(truth.azimuth[scan]), float(truth.elevation[scan])
        self._set = (lon / math.cos(math.radians(el)), lat) if good else self._set
        ra, dec = SOURCES[source]
        texts = [
            f"source {source:<10} {ra} {dec.rstrip('.')} 2000.0 {stamp(time)[:-3]} ",
            f"site {site.name:<8} {-site.longitude_deg % 360:8.4f} {site.latitude_deg:8.4f} "
            f"{site.diameter_m:6.2f} azel   0  1.00  0.00 ",
            f"fivept azel  -2   9 0.40  1 {det.name} {max(truth.tcal_assumed_k[scan, k], 0.0):5.1f} {fwhm:7.4f} "
            f"{flux:9.1f} ",
            "origin " + 6 * "  0.0000 ",
            f"latfit  {lat:8.5f} {fwhm:7.4f} {5.0:7.4f} {0.3:7.4f} {0.001:7.4f}   {5 if good else -1}",
            f"laterr  {fwhm / 90:8.5f} {0.002:7.4f} {0.08:7.4f} {0.04:7.4f} {0.001:7.4f}   0.0800",
            f"lonfit  {lon:8.5f} {fwhm:7.4f} {5.0:7.4f} {0.3:7.4f} {0.001:7.4f}   {5 if good else -1}",
            f"lonerr  {fwhm / 80:8.5f} {0.002:7.4f} {0.08:7.4f} {0.04:7.4f} {0.001:7.4f}   0.0900",
            f"offset  {az:9.4f} {el:9.4f} {lon / math.cos(math.radians(el)):9.5f} {lat:9.5f}  {good}  {good} ",
            f"xoffset {az:9.4f} {el:9.4f} {lon:9.5f} {lat:9.5f} {fwhm / 80:8.5f} {fwhm / 90:8.5f} {good} {good} "
            f"{det.name} {source}",
        ]
        lines = [(time + (90.0 if n >= 4 else 0.0), "#fivpt#" + text) for n, text in enumerate(texts)]
        return [(time, ";fivept"), *lines]

    def _failed(self, scan: int) -> bool:
        return any(spoil.scan == scan for spoil in self.truth.spoiled("pointing"))


def source_lines(source: str, time: float) -> list[Line]:
    """The operator's procedure with the source's name, and the antenna on its way."""
    ra, dec = SOURCES[source]
    return [
        (time, f";{source}"), (time, f"&{source}/source={source},{ra},{dec},2000."),
        (time + 1.0, "#flagr#flagr/antenna,new-source"), (time + 20.0, "#flagr#flagr/antenna,acquired"),
    ]  # fmt: skip


def _text(lines: list[Line]) -> str:
    return "".join([f"{stamp(time)}{text}\n" for time, text in lines])
