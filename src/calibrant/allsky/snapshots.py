"""What a telescope measured: positions, stored gains, visibilities and the catalogue of the sky above it.

The file is the one that TART tools write and read:

    {"info": {"info": {...}}, "ant_pos": [[e, n, u], ...], "gains": {"gain": [...], "phase_offset": [...]},
     "data": [[{"data": [{"i", "j", "re", "im"}, ...], "timestamp": "..."},
               [{"name", "az", "el", "r", "jy"}, ...]], ...]}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.allsky.files import load_json
from calibrant.errors import DataError, FormatError, ParameterError

L1_HZ = 1.57542e9
LIGHT = 299792458.0
APART_S = 60.0
"""Satellites move half a degree a minute: a catalogue further away in time deserves a word."""
FAR_M = 1e6
"""Sources beyond this distance are infinitely far for any array of metres."""


@dataclass(frozen=True)
class Source:
    """A point source: degrees (azimuth clockwise from north) and metres; `given` by the user, not by a catalogue."""

    name: str
    az_deg: float
    el_deg: float
    r_m: float = math.inf
    given: bool = False


@dataclass(frozen=True)
class Snapshot:
    """One integration: visibilities of baselines i < j, and the sources that may be in the sky."""

    time: float
    """UTC, seconds since 1970; nan where the file has none."""
    antenna1: NDArray[np.int64]
    antenna2: NDArray[np.int64]
    visibility: NDArray[np.complex128]
    sources: tuple[Source, ...]
    label: str = ""
    """Where it is from: `calib.json: snapshot 2`."""


@dataclass(frozen=True)
class CalibrationData:
    """Everything that a calibration starts from."""

    name: str
    positions: NDArray[np.float64]
    """(antenna, 3): east, north, up, metres."""
    snapshots: tuple[Snapshot, ...]
    frequency_hz: float = L1_HZ
    longitude_deg: float = math.nan
    latitude_deg: float = math.nan
    height_m: float = math.nan
    gain: NDArray[np.float64] | None = None
    """Corrections stored in the telescope when the data were taken; nan where it has none (null)."""
    phase: NDArray[np.float64] | None = None
    noise: float = math.nan
    """Of a visibility, per component, where the data themselves tell."""
    path: str = ""
    notes: tuple[str, ...] = field(default=())
    """What was odd about the file, in words."""

    @property
    def wavelength_m(self) -> float:
        return LIGHT / self.frequency_hz

    @property
    def size_m(self) -> float:
        """Longest baseline."""
        apart = self.positions[:, None, :] - self.positions[None, :, :]
        return float(np.sqrt((apart**2).sum(-1)).max())


def read_calibration_data(path: str, assume_utc: bool = False) -> CalibrationData:
    """Read the JSON of a calibration; FormatError says which entry is wrong and how it should be.

    `assume_utc`: a timestamp without a zone is UTC (otherwise it is refused).
    """
    return from_json(load_json(path, "the file of `calibrant allsky collect`"), path, assume_utc)


def from_json(content: Any, path: str, assume_utc: bool = False) -> CalibrationData:
    """The content of a calibration file as `CalibrationData`."""
    if not isinstance(content, dict) or not {"ant_pos", "data"} <= content.keys():
        found = f"keys {sorted(content)}" if isinstance(content, dict) else type(content).__name__
        raise FormatError(f"{path}: found {found}, expected an object with info, ant_pos, gains and data")
    if not isinstance(content["data"], list):
        raise FormatError(
            f"{path}: data is {type(content['data']).__name__}, expected a list of snapshots [visibilities, sources]"
        )
    info = _info(content.get("info"))
    positions = positions_from_json(content["ant_pos"], path)
    notes: list[str] = []
    gain, phase = _stored_gains(content.get("gains"), len(positions), path, notes)
    snapshots = tuple(
        _snapshot(entry, f"{path}: snapshot {number}", len(positions), assume_utc)
        for number, entry in enumerate(content["data"], 1)
    )
    if not snapshots:
        raise DataError(f"{path}: data is empty, expected at least one snapshot; collect again")
    location = info.get("location") or {}
    return CalibrationData(
        name=str(info.get("name", "")),
        positions=positions,
        snapshots=snapshots,
        frequency_hz=float(info.get("operating_frequency") or L1_HZ),
        longitude_deg=_number(location.get("lon")),
        latitude_deg=_number(location.get("lat")),
        height_m=_number(location.get("alt")),
        gain=gain,
        phase=phase,
        path=path,
        notes=tuple(notes),
    )


def _info(info: Any) -> Mapping[str, Any]:
    """The telescope's info, which the API wraps in a second `info`."""
    if not isinstance(info, dict):
        return {}
    inner = info.get("info")
    return inner if isinstance(inner, dict) else info


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def positions_from_json(value: Any, path: str) -> NDArray[np.float64]:
    """`[[e, n, u], ...]`, also inside {"antenna_positions": ...}, as (antenna, 3); FormatError otherwise."""
    if isinstance(value, dict):
        value = value.get("antenna_positions")
    try:
        positions = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        positions = np.empty(0)
    if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) < 3 or not np.isfinite(positions).all():
        raise FormatError(
            f"{path}: antenna positions have shape {positions.shape}, expected [[e, n, u], ...] in metres"
        )
    return positions


def _stored_gains(
    value: Any, antennas: int, path: str, notes: list[str]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if not isinstance(value, dict) or "gain" not in value or "phase_offset" not in value:
        notes.append("the file holds no stored gains; there is no 'before' to compare with")
        return None, None
    columns = []
    for name in ("gain", "phase_offset"):
        if not isinstance(value[name], list):
            raise FormatError(f"{path}: gains.{name} is {value[name]!r}, expected a list, one number an antenna")
        numbers = np.array([_number(item) for item in value[name]], dtype=np.float64)
        if len(numbers) != antennas:
            raise FormatError(f"{path}: gains.{name} has {len(numbers)} values, expected {antennas}, one an antenna")
        absent = np.flatnonzero(~np.isfinite(numbers))
        if len(absent):
            notes.append(f"stored {name} is null for antenna(s) {', '.join(map(str, absent))}")
        columns.append(numbers)
    return columns[0], columns[1]


def _snapshot(entry: Any, label: str, antennas: int, assume_utc: bool) -> Snapshot:
    if not isinstance(entry, Sequence) or len(entry) != 2 or not isinstance(entry[0], dict):
        raise FormatError(f"{label}: found {str(entry)[:60]!r}, expected [visibilities, sources]")
    visibilities, catalogue = entry
    rows = visibilities.get("data")
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{label}: there are no visibilities; the correlator had none yet, or all channels are off")
    time = parse_time(visibilities.get("timestamp"), label, assume_utc)
    try:
        pairs = np.array([(row["i"], row["j"]) for row in rows], dtype=np.int64)
        values = np.array([complex(row["re"], row["im"]) for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{label}: a visibility is not {{i, j, re, im}} with numbers: {error}") from None
    return make_snapshot(time, pairs, values, catalogue_sources(catalogue, label), label, antennas)


def make_snapshot(
    time: float,
    pairs: NDArray[np.int64],
    values: NDArray[np.complex128],
    sources: tuple[Source, ...],
    label: str,
    antennas: int,
) -> Snapshot:
    """A snapshot from (baseline, 2) antenna numbers and visibilities; turned to i < j; FormatError for bad pairs."""
    if pairs.min() < 0 or pairs.max() >= antennas:
        raise FormatError(f"{label}: a baseline names antenna {pairs.max()}, but there are positions of {antennas}")
    if not np.isfinite(values).all():
        raise FormatError(f"{label}: {np.sum(~np.isfinite(values))} visibilities are not finite; expected numbers")
    cross = pairs[:, 0] != pairs[:, 1]
    pairs, values = pairs[cross], values[cross]
    swapped = pairs[:, 0] > pairs[:, 1]
    values = np.where(swapped, values.conj(), values)
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    if len(np.unique(low * antennas + high)) != len(low):
        raise FormatError(f"{label}: a baseline occurs twice; expected each pair of antennas once")
    return Snapshot(time, low, high, values, sources, label)


def catalogue_sources(catalogue: Any, label: str) -> tuple[Source, ...]:
    """`[{name, az, el, r}, ...]` as sources; a distance that is absent is nan. FormatError names the entry."""
    result = []
    for number, entry in enumerate(catalogue or [], 1):
        try:
            distance = entry.get("r")
            far = distance is None or float(distance) >= FAR_M
            result.append(
                Source(
                    str(entry.get("name", f"source {number}")),
                    float(entry["az"]),
                    float(entry["el"]),
                    math.inf if far and distance is not None else math.nan if distance is None else float(distance),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise FormatError(
                f"{label}: source {number} is {str(entry)[:60]!r}, expected {{name, az, el, r}} in degrees and metres"
            ) from None
    return tuple(result)


def read_catalogue(path: str, time: float) -> tuple[tuple[Source, ...], str]:
    """Sources of a JSON file: a catalogue's list, or those of a calibration file's snapshot that is nearest to `time`.

    The second value says so in words where that is so far away that satellites have moved; empty otherwise.
    """
    content = load_json(path, "a list of sources {name, az, el, r}")
    apart = math.nan
    if isinstance(content, dict) and content.get("data"):
        other = from_json(content, path, assume_utc=True)
        distances = [abs(one.time - time) for one in other.snapshots]
        apart, number = min((d if math.isfinite(d) else math.inf, k) for k, d in enumerate(distances))
        sources = other.snapshots[number].sources
    elif isinstance(content, list):
        sources = catalogue_sources(content, path)
    else:
        raise FormatError(f"{path}: found {type(content).__name__}, expected a list of sources {{name, az, el, r}}")
    if APART_S < apart < math.inf:
        return (
            sources,
            f"The catalogue of {path} is of {apart / 60:.0f} min away; satellites move half a degree a minute.",
        )
    return sources, ""


def with_catalogue(data: CalibrationData, path: str) -> CalibrationData:
    """The data with sources of a catalogue file in the snapshots that have none; ParameterError where all have some."""
    if all(one.sources for one in data.snapshots):
        raise ParameterError(
            f"{data.path}: every snapshot has its own sources, so {path} would not be looked at; leave it out"
        )
    found = {one.label: read_catalogue(path, one.time) for one in data.snapshots if not one.sources}
    snapshots = tuple(one if one.sources else replace(one, sources=found[one.label][0]) for one in data.snapshots)
    words = dict.fromkeys(note for _, note in found.values() if note)
    return replace(data, snapshots=snapshots, notes=(*data.notes, *words))


def parse_time(text: Any, label: str, assume_utc: bool = False) -> float:
    """Seconds since 1970 of an ISO timestamp; FormatError where it has no zone, unless `assume_utc`."""
    if text is None:
        return math.nan
    try:
        moment = datetime.fromisoformat(str(text).strip())
    except ValueError:
        raise FormatError(f"{label}: timestamp is {text!r}, expected as 2019-05-10T00:39:27.377Z") from None
    if moment.tzinfo is None:
        if not assume_utc:
            raise FormatError(
                f"{label}: timestamp {text!r} has no zone, so its catalogue cannot be checked; "
                "add Z to it, or give --assume-utc if it is UTC"
            )
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
