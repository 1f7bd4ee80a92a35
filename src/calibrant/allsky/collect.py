"""Take calibration data from a telescope: visibilities and the catalogue of the sky above, saved sample by sample.

The file is the one that TART tools write and read (see `snapshots`). It is written anew, whole, after every sample,
under a temporary name that then takes the place of the old file: whatever happens, the samples taken so far are there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from calibrant.allsky.api import Catalogue, Telescope
from calibrant.allsky.files import check_output, load_json, write_json
from calibrant.allsky.snapshots import APART_S
from calibrant.allsky.words import folded
from calibrant.errors import DataError, ExistsError, FormatError, ParameterError, ServerError
from calibrant.progress import say

INTERRUPTED = 130
FRESH_WAIT_S = 60.0
"""So long new visibilities are waited for."""
POLL_S = 1.0
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
Sources = list[dict[str, Any]]
FindSources = Callable[[str, dict[str, Any]], tuple[Sources, str]]
"""(timestamp, info) -> sources, and what has to be said about them (empty: nothing)."""


@dataclass(frozen=True)
class Sample:
    """One snapshot as it was saved."""

    timestamp: str
    visibilities: int
    antennas: int
    sources: int


@dataclass(frozen=True)
class Collected:
    """What a file holds after collecting."""

    path: str
    telescope: str
    samples: list[Sample]
    wanted: int
    added: int
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.interrupted else 0

    def summary(self) -> str:
        lines = [f"{self.telescope}: {len(self.samples)} of {self.wanted} sample(s), {self.added} taken now"]
        lines += [f"{'':>4} {'time':<26} {'visibilities':>12} {'antennas':>9} {'sources':>8}"] if self.samples else []
        lines += [
            f"{number:4d} {one.timestamp or '(none)':<26} {one.visibilities:12d} {one.antennas:9d} {one.sources:8d}"
            for number, one in enumerate(self.samples, 1)
        ]
        lines += [folded(note, "Note: ") for note in self.notes]
        if self.interrupted:
            kept = f"{self.path} holds what was taken; --append goes on" if self.samples else "nothing was taken"
            lines.append(f"Interrupted: {kept}.")
        elif self.samples:
            lines.append(f"Data: {self.path}  (next: calibrant allsky calibrate {self.path} -o gains.json)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.path,
            "telescope": self.telescope,
            "samples": [vars(one) for one in self.samples],
            "wanted": self.wanted,
            "added": self.added,
            "interrupted": self.interrupted,
            "notes": list(self.notes),
        }


def collect(
    api: Telescope,
    output: str,
    n: int,
    interval_s: float,
    sources: FindSources,
    append: bool = False,
    overwrite: bool = False,
    wait_s: float = FRESH_WAIT_S,
) -> Collected:
    """Fill a file up to `n` samples, one each `interval_s` seconds.

    `append`: go on with a file of the same telescope. Ctrl-C ends it and keeps what there is. ServerError where the
    telescope stops answering: the message says what the file holds. ExistsError, ParameterError, DataError before
    anything is taken.
    """
    if n < 1 or interval_s < 0:
        raise ParameterError(f"n is {n} and the interval {interval_s:g} s; expected at least 1 and 0")
    before = _earlier(output, append, overwrite)
    notes: list[str] = []
    taken, content, data = 0, before, list(before["data"])
    try:
        content = _header(api, before, output, notes)
        start = time.monotonic()
        while len(data) < n:
            if taken:
                _sleep_until(start + taken * interval_s, n - len(data))
            sample = _sample(api, {**content, "data": data}, sources, wait_s, notes)
            write_json(output, {**content, "data": [*data, sample]}, overwrite=append or overwrite or taken > 0)
            data.append(sample)
            taken += 1
            one = _described(sample)
            say(f"sample {len(data)} of {n}: {one.timestamp}, {one.visibilities} visibilities, {one.sources} sources")
    except KeyboardInterrupt:
        return _result(output, {**content, "data": data}, n, taken, notes, interrupted=True)
    except ServerError as error:
        kept = f"{output} holds {len(data)} of {n} sample(s); --append goes on" if data else "nothing was taken"
        raise ServerError(f"{error}. {kept}", error.status) from None
    return _result(output, {**content, "data": data}, n, taken, notes)


def _earlier(output: str, append: bool, overwrite: bool) -> dict[str, Any]:
    """The file's content so far; an empty one where there is no file, or it is to be replaced."""
    if append and overwrite:
        raise ParameterError("--append keeps the file and --overwrite replaces it; give one of them")
    check_output(output, overwrite=True)
    if not os.path.exists(output) or overwrite:
        return {"data": []}
    if not append:
        raise ExistsError(f"{output} exists; give another name, --append to go on with it, or --overwrite")
    content = load_json(output, "the file of `calibrant allsky collect`")
    if not _is_calibration_file(content) or not isinstance(content.get("info"), dict) or "ant_pos" not in content:
        raise FormatError(f"{output}: is no calibration file (info, ant_pos, gains, data), so nothing can be appended")
    return dict(content)


def _is_calibration_file(content: Any) -> bool:
    """True where `data` is [[{"data": [...]}, [...]], ...]."""
    entries = content.get("data") if isinstance(content, dict) else None
    return isinstance(entries, list) and all(
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], dict)
        and isinstance(entry[0].get("data"), list)
        and isinstance(entry[1], list)
        for entry in entries
    )


def _header(api: Telescope, before: dict[str, Any], output: str, notes: list[str]) -> dict[str, Any]:
    """info, ant_pos and gains of the telescope, with the samples of the file that is continued."""
    now: dict[str, Any] = {"info": api.info(), "ant_pos": api.positions(), "gains": api.gains()}
    if "info" not in before:
        missing = [name for name in ("gain", "phase_offset") if None in now["gains"][name]]
        if missing:
            notes.append(f"the telescope's stored {' and '.join(missing)} hold(s) null; they were kept as they came")
        return now
    if _name(before["info"]) != _name(now["info"]) or before["ant_pos"] != now["ant_pos"]:
        raise DataError(
            f"{output}: is of {_name(before['info'])!r} or of other antenna positions than {_name(now['info'])!r} "
            "has now; one file holds one array: give another name"
        )
    if before.get("gains") != now["gains"]:
        notes.append("the telescope's stored gains have changed since the first sample; the file keeps the first ones")
    return before


def _name(info: dict[str, Any]) -> str:
    return str(_inner(info).get("name", ""))


def _inner(info: dict[str, Any]) -> dict[str, Any]:
    inner = info.get("info")
    return inner if isinstance(inner, dict) else info


def _sample(
    api: Telescope, content: dict[str, Any], sources: FindSources, wait_s: float, notes: list[str]
) -> list[Any]:
    """[visibilities, sources], as the file holds them."""
    last = content["data"][-1][0].get("timestamp") if content["data"] else None
    seen = _fresh(api, last, wait_s)
    stamp = seen.get("timestamp")
    if not stamp:
        stamp = seen["timestamp"] = api.timestamp() or None
    if stamp and not _has_zone(str(stamp)):
        _note(notes, f"timestamps come without a zone ({stamp}) and are kept so; calibrate wants --assume-utc then")
    found, words = sources(str(stamp or ""), content["info"])
    if words:
        _note(notes, words)
    return [seen, found]


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
        say(f"note: {text}")


def _has_zone(stamp: str) -> bool:
    try:
        return datetime.fromisoformat(stamp).tzinfo is not None
    except ValueError:
        return False


def _fresh(api: Telescope, last: str | None, wait_s: float) -> dict[str, Any]:
    """Visibilities that are there and not those of the last sample."""
    until = time.monotonic() + wait_s
    while True:
        seen = api.visibilities()
        if seen["data"] and (not last or seen.get("timestamp") != last):
            return seen
        if time.monotonic() >= until:
            break
        time.sleep(min(POLL_S, wait_s))
    what = f"is still that of {last}" if seen["data"] else "is empty"
    raise ServerError(
        f"GET {api.address('imaging/vis')}: {what} after {wait_s:g} s{_in_mode(api)}; the telescope has to be in mode "
        "vis, with channels enabled", 200
    )  # fmt: skip


def _in_mode(api: Telescope) -> str:
    try:
        return f" (the mode is {api.mode()})"
    except ServerError:
        return ""


def _sleep_until(moment: float, left: int) -> None:
    pause = moment - time.monotonic()
    if pause >= POLL_S:
        say(f"next sample in {pause:.0f} s, {left} to go; Ctrl-C ends it and keeps what there is")
    if pause > 0:
        time.sleep(pause)


def _result(
    output: str, content: dict[str, Any], n: int, taken: int, notes: list[str], interrupted: bool = False
) -> Collected:
    samples = [_described(entry) for entry in content["data"]]
    empty = sum(not one.sources for one in samples)
    if empty:
        notes.append(f"{empty} sample(s) have no sources: give them to calibrate, with --source or --catalogue")
    return Collected(output, _name(content.get("info", {})), samples, n, taken, interrupted, notes)


def _described(entry: list[Any]) -> Sample:
    seen, sources = entry
    rows = seen["data"]
    antennas = {row["i"] for row in rows} | {row["j"] for row in rows}
    return Sample(str(seen.get("timestamp") or ""), len(rows), len(antennas), len(sources))


def seconds(text: str) -> float:
    """ "5m", "30s", "1.5h", "0" or "90" as seconds; ParameterError otherwise."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h|)\s*", text.lower())
    if not found:
        raise ParameterError(f"interval is {text!r}, expected as 30s, 5m, 1h or 0")
    return float(found[1]) * UNITS[found[2]]


def find_sources(catalogue: str, timeout_s: float) -> FindSources:
    """How sources are found: from a service (http...), a file of sources or of earlier samples, or not ("none")."""
    if catalogue == "none":
        return lambda stamp, info: ([], "")
    if catalogue.startswith(("http://", "https://")):
        return _from_service(catalogue, timeout_s)
    return _from_file(catalogue)


def _from_service(url: str, timeout_s: float) -> FindSources:
    def find(stamp: str, info: dict[str, Any]) -> tuple[Sources, str]:
        place = _inner(info).get("location") or {}
        if not {"lat", "lon"} <= place.keys():
            raise DataError("the telescope's info has no location (lat, lon), so no catalogue can be asked for")
        date = stamp if not stamp or _has_zone(stamp) else f"{stamp}Z"
        try:
            with Catalogue(url, timeout_s) as service:
                return service.sources(place["lat"], place["lon"], place.get("alt") or 0.0, date), ""
        except ServerError as error:
            # The visibilities cannot be had again; the catalogue of their time can.
            return [], f"no catalogue for {stamp}: {error}"

    return find


def _from_file(path: str) -> FindSources:
    content = load_json(path, "a catalogue")
    if _is_calibration_file(content):
        timed = [(str(entry[0].get("timestamp") or ""), entry[1]) for entry in content["data"]]
        if timed:
            return lambda stamp, info: _nearest(timed, stamp, path)
    if not isinstance(content, list) or not all(isinstance(item, dict) and "az" in item for item in content):
        raise FormatError(f"{path}: is no catalogue; expected [{{name, az, el, r}}, ...] or a file of `allsky collect`")
    return lambda stamp, info: (
        list(content),
        f"{path} says nothing of its time: is it of that of the visibilities? Satellites move half a degree a minute",
    )


def _nearest(timed: list[tuple[str, Sources]], stamp: str, path: str) -> tuple[Sources, str]:
    """The catalogue nearest in time among those of a file, and how far away it is where that matters."""
    here = _moment(stamp)
    apart = [abs(_moment(text) - here) for text, _ in timed]
    number = min(range(len(timed)), key=lambda one: apart[one] if apart[one] == apart[one] else float("inf"))
    if apart[number] <= APART_S:
        return timed[number][1], ""
    return timed[number][1], (
        f"{path}: the catalogue of {timed[number][0] or 'an unknown time'} was used for {stamp or 'an unknown time'}"
        + (f", {apart[number] / 60:.0f} min away" if apart[number] == apart[number] else "")
        + "; satellites move half a degree a minute"
    )


def _moment(stamp: str) -> float:
    """Seconds since 1970, without a zone as UTC; nan where it is no time."""
    try:
        return datetime.fromisoformat(stamp if _has_zone(stamp) else f"{stamp}Z").timestamp()
    except ValueError:
        return float("nan")
