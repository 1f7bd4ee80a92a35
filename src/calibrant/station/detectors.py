"""Which part of the sky each total power detector sees: from the set-up commands of a log.

A detector `1u`, `au` (tenth converter), `8d`, `012l` is a side band of a converter (`bbc01`, `vc10`, `bbc012`), whose
input is an IF, which an LO converts from the sky:

    sky = LO + s (converter +- bandwidth / 2),   s = +1 where the LO's side band is usb, -1 where it is lsb

with + for the upper and - for the lower side band of the converter; `d` sees both, centred on the converter. Mark IV
converters (`vcNN`) have their IF from `patch=lo1,1l,2h,...`. Source: the Field System's set-up commands.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from calibrant.station.records import Setting

_CONVERTER = re.compile(r"^(bbc|vc)(\d{2,3})$")
IF_DETECTOR = "it sees a whole IF, not a channel"
_IF_DETECTOR = re.compile(r"^i[a-h1-8]$")
_SHORT = re.compile(r"^([1-9a-g])([uld])$")
_LONG = re.compile(r"^(\d{3})([ul])$")


@dataclass(frozen=True)
class Detector:
    """One side band of a converter, as it was set up. Frequencies in MHz on the sky."""

    name: str
    converter: str
    """bbc01, vc10, ..."""
    if_name: str
    """a, b, ... or 1, 2, 3."""
    lo_mhz: float
    pol: str
    """'l' or 'r'."""
    freq_mhz: float
    """Centre."""
    bandwidth_mhz: float
    """Of all that the detector sees: twice the converter's for `d`."""
    sideband: str
    """'u', 'l' or 'd', of the converter."""


@dataclass(frozen=True)
class _Lo:
    mhz: float
    sign: int
    pol: str


@dataclass(frozen=True)
class _Converter:
    mhz: float
    if_name: str
    upper_mhz: float
    lower_mhz: float


class Setup:
    """The set-up at one time; `feed` brings it up to date with a command or response of the log.

    `version` counts the changes, so that a caller knows when to ask again.
    """

    def __init__(self) -> None:
        self.version = 0
        self._los: dict[str, _Lo] = {}
        self._converters: dict[str, _Converter] = {}
        self._patch: dict[int, str] = {}

    def feed(self, setting: Setting) -> None:
        """Take over lo, patch, bbcNN and vcNN; everything else has no effect."""
        before = (dict(self._los), dict(self._converters), dict(self._patch))
        fields = [text.strip().lower() for text in setting.fields]
        if setting.name == "lo":
            self._lo(fields)
        elif setting.name == "patch":
            self._patching(fields)
        elif match := _CONVERTER.match(setting.name):
            self._converter(setting.name, match[1], fields)
        self.version += before != (self._los, self._converters, self._patch)

    def detector(self, name: str) -> tuple[Detector | None, str]:
        """(what a detector sees, '') or (None, why that is unknown)."""
        match = _SHORT.match(name) or _LONG.match(name)
        if not match:
            return None, IF_DETECTOR if _IF_DETECTOR.match(name) else "no detector of a side band"
        number = int(match[1], 17) if len(match[1]) == 1 else int(match[1])
        width = max(len(match[1]), 2)
        key = next((k for k in (f"bbc{number:0{width}d}", f"vc{number:02d}") if k in self._converters), "")
        if not key:
            return None, "no set-up of its converter (bbc.., vc..) in the log before"
        converter = self._converters[key]
        if_name = converter.if_name or self._patch.get(number, "")
        lo = self._los.get(f"lo{if_name}")
        if lo is None:
            return (
                None,
                f"no lo=lo{if_name} in the log before" if if_name else "no patch= of its converter in the log before",
            )
        if lo.pol not in ("l", "r"):
            return None, f"lo{if_name} has no polarisation"
        return self._sky(name, key, converter, if_name, lo, match[2]), ""

    def _sky(self, name: str, key: str, converter: _Converter, if_name: str, lo: _Lo, side: str) -> Detector:
        width = {"u": converter.upper_mhz, "l": converter.lower_mhz, "d": converter.upper_mhz + converter.lower_mhz}[
            side
        ]
        shift = {"u": converter.upper_mhz / 2, "l": -converter.lower_mhz / 2, "d": 0.0}[side]
        freq = lo.mhz + lo.sign * (converter.mhz + shift)
        return Detector(name, key, if_name, lo.mhz, lo.pol, round(freq, 6), width, side)

    def _lo(self, fields: list[str]) -> None:
        """`lo=` forgets all, `lo=loa,8080.00,usb,rcp,1` sets one."""
        if not any(fields):
            self._los = {}
            return
        mhz = _number(fields[1]) if len(fields) > 1 else math.nan
        if not math.isfinite(mhz):
            return
        sideband = fields[2] if len(fields) > 2 else "usb"
        pol = fields[3][:1] if len(fields) > 3 and fields[3] in ("rcp", "lcp", "r", "l") else ""
        self._los[fields[0]] = _Lo(mhz, -1 if sideband == "lsb" else 1, pol)

    def _patching(self, fields: list[str]) -> None:
        """`patch=` forgets all, `patch=lo1,1l,2h` connects converters 1 and 2 (low, high input) to the IF of lo1."""
        if not any(fields):
            self._patch = {}
        for text in fields[1:]:
            if match := re.match(r"^(\d+)[lh]?$", text):
                self._patch[int(match[1])] = fields[0].removeprefix("lo")

    def _converter(self, name: str, kind: str, fields: list[str]) -> None:
        """`bbc01=630.49,a,32.00[,32.00]` or `vc01=132.99,8.000,ul`; `*` leaves a value as it is."""
        mhz = _number(fields[0]) if fields else math.nan
        if not math.isfinite(mhz):
            return
        old = self._converters.get(name)
        has_if = kind == "bbc"
        if_name = fields[1] if has_if and len(fields) > 1 and len(fields[1]) == 1 else ""
        widths = fields[2:4] if has_if else fields[1:2] * 2
        upper = _number(widths[0]) if widths else math.nan
        # A VLBA converter has a second bandwidth (8.000); a DBBC has its averaging time there (a whole number).
        lower = _number(widths[1]) if len(widths) > 1 and "." in widths[1] else upper
        if not math.isfinite(upper) and old:
            upper, lower = old.upper_mhz, old.lower_mhz
        if math.isfinite(upper):
            if_name = if_name if if_name not in ("", "*") else (old.if_name if old else "")
            self._converters[name] = _Converter(mhz, if_name, upper, lower if math.isfinite(lower) else upper)


def _number(text: str) -> float:
    try:
        return float(text.strip("()"))
    except ValueError:
        return math.nan
