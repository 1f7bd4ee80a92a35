"""One line of a log -> a record: weather, total power, settings, errors, scan starts, and the station itself.

The texts given here are what stands behind the time stamp. Whatever does not decode raises RowError.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePath

from calibrant.station.onoffrows import DETECTOR, RowError, number, numbers
from calibrant.station.records import NAN, LogError, ScanStart, Setting, Site, TotalPower, Weather

_ERROR = re.compile(r"\?ERROR\s+(\S{1,2})\s+(-?\d+)\s?(.*)", re.DOTALL)
_POWER = re.compile(r"(?:#([^#/]+)#|/)([a-z]+)[0-9']*/(.*)", re.IGNORECASE | re.DOTALL)
_COMMAND = re.compile(r"(?:[;:@]|[&$][^/]+/)([a-z_0-9]+)=(.*)", re.IGNORECASE | re.DOTALL)
_RESPONSE = re.compile(r"/([a-z_0-9]+)/(.*)", re.IGNORECASE | re.DOTALL)
_DRUDG = re.compile(r'" \S+ +\d{4} +\S+ +\S +([A-Za-z0-9]{2}) *')
_VERSION = re.compile(r"(?:release,|Log Opened:.*Version\s+)([0-9][^\s,]*)")
_LOG_NAME = re.compile(r"(?=.*\d)[a-z][a-z0-9]*?([a-z][a-z0-9])")


def weather(line: int, time: float, text: str) -> Weather:
    """`.../wx/temperature,pressure,humidity[,wind speed,wind direction]`."""
    fields = text.lower().rpartition("/wx/")[2].split(",")
    if len(fields) < 3:
        raise RowError(f"weather: {len(fields)} values, expected at least temperature, pressure, humidity")
    values = [number(field, "weather") if field.strip() else NAN for field in fields[:5]]
    return Weather(line, time, *values)


def total_power(line: int, time: float, text: str) -> TotalPower:
    """`/tpi/dev,value,...`, `#tpicd#tpcont/dev,on,off,...`: kind tpi, tpical, tpzero, tpdiff, caltemp, tsys, tpcont.

    Numbered and dashed forms (tsys1, tpi') of the Mark III era and caltemps carry the plain name.
    """
    match = _POWER.match(text)
    if match is None:
        raise RowError(f'total power: "{text[:20]}" has no name')
    kind = "caltemp" if match[2].lower() == "caltemps" else match[2].lower()
    fields = [field.strip() for field in match[3].rstrip(", \r").split(",")]
    names, values, off = _by_detector(kind, fields, 2 if kind == "tpcont" else 1)
    return TotalPower(line, time, kind, names, values, off, (match[1] or "").lower())


def _by_detector(
    kind: str, fields: list[str], most: int
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
    """Detectors, their first values, and their second ones (nan where there is one, empty where `most` is 1)."""
    step = most + 1
    if len(fields) % step == 0 and all(map(_is_detector, fields[::step])):
        groups = [fields[i : i + step] for i in range(0, len(fields), step)]
    else:
        groups = []
        for text in fields:
            if _is_detector(text):
                groups.append([text])
            elif groups:
                groups[-1].append(text)
            else:
                raise RowError(f'{kind}: "{text[:20]}" is no detector')
    for group in groups:
        if not 2 <= len(group) <= step:
            raise RowError(f"{kind}: {len(group) - 1} values for {group[0]}, expected {' or '.join('12'[:most])}")
    names = tuple(group[0].lower() for group in groups)
    values = tuple(numbers([group[1] for group in groups], kind))
    if most == 1:
        return names, values, ()
    second = numbers([group[2] if len(group) > 2 else "$" for group in groups], kind)
    return names, values, tuple(second)


@lru_cache(maxsize=4096)
def _is_detector(text: str) -> bool:
    return DETECTOR.fullmatch(text) is not None


def scan_start(line: int, time: float, text: str) -> ScanStart:
    """A `scan_name=` or `source=` command, however it was given (see `setting`)."""
    name, fields = _command(text)
    return ScanStart(line, time, "source" if name == "source" else "scan_name", fields)


def setting(line: int, time: float, text: str) -> Setting:
    """A command: `:name=...`, `;name=...`, `@name=...` or `&procedure/name=...`."""
    name, fields = _command(text)
    return Setting(line, time, name, fields, response=False)


def response(line: int, time: float, text: str) -> Setting:
    """`/name/...`."""
    match = _RESPONSE.match(text)
    if match is None:
        raise RowError(f'response: "{text[:20]}" has no name')
    return Setting(line, time, match[1].lower(), _split(match[2]), response=True)


def error(line: int, time: float, text: str) -> LogError:
    """`?ERROR mnemonic number text`."""
    match = _ERROR.match(text)
    if match is None:
        raise RowError("?ERROR: expected a mnemonic and a number after it")
    return LogError(line, time, match[1], int(match[2]), match[3].strip())


def station(site: Site, text: str) -> Site:
    """`site` with what a `location`, `antenna`, `release`, `Log Opened` or drudg comment line adds to it.

    The first line of a kind counts. The log's longitude is positive to the west.
    """
    body = text[1:]
    if found := _VERSION.match(body):
        return site if site.release else replace(site, release=found[1].rstrip("."))
    if found := _DRUDG.fullmatch(body):
        return site if site.code else replace(site, code=found[1].lower())
    fields = body.split(",")
    if body.startswith("location,"):
        if len(fields) < 5:
            raise RowError(f"location: {len(fields) - 1} values, expected name, longitude, latitude, height")
        west, latitude, height = numbers(fields[2:5], "location")
        if site.name:
            return site
        return replace(
            site,
            name=fields[1].strip(),
            longitude_deg=(180.0 - west) % 360.0 - 180.0,
            latitude_deg=latitude,
            height_m=height,
        )
    if body.startswith("antenna,") and site.diameter_m != site.diameter_m:
        return replace(site, diameter_m=number(fields[1], "antenna"))
    return site


def code_from_name(path: str) -> str:
    """The station's two letters at the end of a log's name: r1730ny.log -> ny; empty where it has no such form."""
    stem = PurePath(path).name.lower().removesuffix(".gz").partition(".")[0]
    match = _LOG_NAME.fullmatch(stem)
    return match[1] if match else ""


def _command(text: str) -> tuple[str, tuple[str, ...]]:
    match = _COMMAND.match(text)
    if match is None:
        raise RowError(f'command: "{text[:20]}" has no name')
    return match[1].lower(), _split(match[2])


def _split(text: str) -> tuple[str, ...]:
    text = text.strip()
    return tuple(field.strip() for field in text.split(",")) if text else ()
