"""What a Field System log holds, as plain data: one class per kind of record.

Times are UTC in seconds since 1970 (float). Polarisations are `l` and `r`. Numbers that a record does not have
are nan. `line` is the physical line of the log, from 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

NAN = math.nan
STATES = ("ONSO", "ONSC", "OFFS", "OFFC", "ZERO")


@dataclass(frozen=True, slots=True)
class Apriori:
    """An APR row: what ONOFF assumed about one detector."""

    line: int
    detector: str
    freq_mhz: float
    tcal_k: float
    flux_jy: float
    """Apparent: divided by the structure correction."""
    dpfu: float
    gain: float
    """g(el), normalised gain curve."""
    lo_mhz: float
    type: str
    """c calibrator, p pointing, x neither, as printed (wrong since FS 10.1.0; see `OnOffScan.type`)."""
    fwhm_deg: float


@dataclass(frozen=True, slots=True)
class Level:
    """One integration of one detector: state, seconds since the start, offsets, counts and their printed rms."""

    line: int
    state: str
    seconds: float
    daz_deg: float
    del_deg: float
    level: float
    rms: float = NAN
    repetition: int = 0
    """Which visit of this state it was, from 0."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A VAL row: what the Field System itself computed; `$$$` and absent fields are nan."""

    line: int
    time: float
    source: str
    azimuth_deg: float
    elevation_deg: float
    detector: str
    if_chain: str
    pol: str
    freq_mhz: float
    compression: float
    tsys_k: float
    sefd_jy: float
    tcal_jy: float
    tcal_ratio: float


@dataclass(frozen=True, slots=True)
class PrintedSigma:
    """A SIG row: the scatter between repetitions that the Field System computed."""

    line: int
    detector: str
    compression: float
    tsys_k: float
    sefd_jy: float
    tcal_jy: float
    tcal_ratio: float
    tcal_k: float = NAN
    """Only in logs before FS 9.9.0."""


@dataclass(frozen=True, slots=True)
class Weather:
    """A /wx/ response: degrees C, hPa, percent, wind in m/s and its direction in degrees."""

    line: int
    time: float
    temperature_c: float
    pressure_hpa: float
    humidity_percent: float
    wind_speed: float = NAN
    wind_azimuth_deg: float = NAN


@dataclass
class OnOffScan:
    """One run of ONOFF: APR block, levels, and results where it came to an end."""

    file: str
    line: int
    """Of the first APR row."""
    time: float
    """Of the first APR row."""
    source: str
    """Lower case; from VAL, else from the last source= command before it, else empty."""
    apriori: dict[str, Apriori] = field(default_factory=dict)
    levels: dict[str, list[Level]] = field(default_factory=dict)
    """detector -> levels in the order of the log."""
    printed: dict[str, Printed] = field(default_factory=dict)
    sigma: dict[str, PrintedSigma] = field(default_factory=dict)
    origin: tuple[float, ...] = ()
    """ORIG: second of the day, then the offsets in degrees."""
    weather: Weather | None = None
    """The last record before the scan."""
    continuous: bool = False
    """Continuously switched diode: on and off levels come from the same integration."""
    status: Literal["complete", "partial", "aborted"] = "complete"
    """partial: some detectors or rows lack; aborted: no VAL at all."""
    reason: str = ""
    """Why it is not complete: the log's own error line where there is one."""

    @property
    def without_number(self) -> list[tuple[str, Level]]:
        """Levels that overflowed ($$$) or are no number, with their detectors."""
        return [(name, one) for name, levels in self.levels.items() for one in levels if math.isnan(one.level)]


@dataclass(frozen=True, slots=True)
class Fivpt:
    """A pointing: offsets at which the source was found, those already set included, their errors (degrees), and
    whether the fits were good. The Field System sets the offsets of good fits (see ORIG of the next ONOFF)."""

    line: int
    time: float
    source: str
    detector: str
    azimuth_deg: float
    elevation_deg: float
    lat_offset_deg: float
    lon_offset_deg: float
    """On the sky: multiplied by cos(lat)."""
    lat_sigma_deg: float
    lon_sigma_deg: float
    lat_good: bool
    lon_good: bool
    fwhm_deg: float = NAN
    """Measured: the mean of the good fits, on the sky."""
    tsys_k: float = NAN
    sefd_jy: float = NAN
    axes: str = "azel"
    """What (lon, lat) are: azel, hadc, xyns or xyew."""
    lat_deg: float = NAN
    """Position along the second axis, with which offsets along the first one shrink on the sky."""


@dataclass(frozen=True, slots=True)
class TotalPower:
    """Values by detector of one command's response: tpi, tpical, tpzero, tpdiff, caltemp, tsys, tpcont."""

    line: int
    time: float
    kind: str
    detectors: tuple[str, ...]
    values: tuple[float, ...]
    """tpcont: cal-on levels."""
    off_values: tuple[float, ...] = ()
    """tpcont: cal-off levels (nan for IF detectors, which carry one value)."""
    program: str = ""
    """tpicd, dbtcn, ... where a program wrote it by itself; empty for the response to a command."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A command or response that sets up the receiver: lo, bbcNN, vcNN, ifd, patch, ..., with its fields as text."""

    line: int
    time: float
    name: str
    fields: tuple[str, ...]
    response: bool
    """True for /name/..., false for a command (:;&)."""


@dataclass(frozen=True, slots=True)
class ScanStart:
    """scan_name= or source= command."""

    line: int
    time: float
    kind: Literal["scan_name", "source"]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogError:
    """?ERROR line: mnemonic, number and the text behind it."""

    line: int
    time: float
    mnemonic: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that was not understood, or a record that cannot be used, and why."""

    file: str
    line: int
    text: str
    """At most the first 100 characters, control bytes shown as ?."""
    reason: str


@dataclass(frozen=True)
class Site:
    """The `location`, `antenna` and release lines at the top of a log. East longitude positive, degrees; metres."""

    name: str = ""
    code: str = ""
    """Two letters, from the schedule's comment lines or the log's file name."""
    longitude_deg: float = NAN
    latitude_deg: float = NAN
    height_m: float = NAN
    diameter_m: float = NAN
    release: str = ""


@dataclass
class FsLog:
    """Everything that amplitude calibration needs of one log; its size grows with the scans, not with the file."""

    path: str
    lines: int
    size_bytes: int
    site: Site
    scans: list[OnOffScan]
    fivpts: list[Fivpt]
    weather: list[Weather]
    """At most one a minute; a scan carries its own."""
    errors: list[LogError]
    """The first of each kind of error; `error_counts` has them all."""
    skipped: list[Skipped]
    """The first ones; `skipped_counts` has them all."""
    start: float = NAN
    end: float = NAN
    skipped_counts: dict[str, int] = field(default_factory=dict)
    """How many lines were not understood, by the words of the reason before its colon."""
    error_counts: dict[tuple[str, int], int] = field(default_factory=dict)
    """How many ?ERROR lines there are, by mnemonic and number."""
    time_steps: list[tuple[int, float]] = field(default_factory=list)
    """Lines before which time went back by more than a minute, and by how many seconds (negative)."""
    rxg_dumps: dict[str, str] = field(default_factory=dict)
    """Name -> the text of the rxg file as FS >= 10.1.0 dumped it into the log, one line per record."""

    @property
    def skipped_total(self) -> int:
        """How many lines were not understood, also those that are not listed."""
        return sum(self.skipped_counts.values())
