"""Filling the subtables of a new MeasurementSet: one function a subtable, from our own description of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibrant.ms.index import Antennas, Fields, Observation, Polarization, SpectralWindow
from calibrant.ms.tables import open_subtable

UNIX_EPOCH_MJD = 40587 * 86400.0
"""1970 January 1 in seconds of Modified Julian Date."""

SOURCE_OPTIONAL: dict[str, tuple[str, dict[str, Any]]] = {
    "REST_FREQUENCY": (
        "double",
        {"QuantumUnits": ["Hz"], "MEASINFO": {"type": "frequency", "Ref": "LSRK"}},
    ),
    "SYSVEL": ("double", {"QuantumUnits": ["m/s"], "MEASINFO": {"type": "radialvelocity", "Ref": "LSRK"}}),
    "TRANSITION": ("string", {}),
}


@dataclass(frozen=True)
class Source:
    """One row of SOURCE: `spw` -1 means all; direction (2,) rad, proper motion rad/s; lines Hz, m/s LSRK."""

    id: int
    name: str
    direction: ArrayLike
    code: str = ""
    spw: int = -1
    proper_motion: tuple[float, float] = (0.0, 0.0)
    rest_frequency: tuple[float, ...] = ()
    sysvel: tuple[float, ...] = ()
    transition: tuple[str, ...] = ()


def _fill(place: str, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Add the rows of `columns` to subtable `name`, cell by cell (shapes may vary); subtables are small."""
    tab = open_subtable(place, name, writable=True)
    first, count = tab.nrows(), len(next(iter(columns.values())))
    tab.addrows(count)
    for column, values in columns.items():
        for row, value in enumerate(values):
            tab.putcell(column, first + row, value)
    tab.close()


def put_antennas(place: str, antennas: Antennas, offset: ArrayLike | None) -> None:
    """ANTENNA: positions in ITRF (m); offset (nant, 3) m of the axes, None: 0."""
    count = len(antennas)
    offsets = np.zeros((count, 3)) if offset is None else np.asarray(offset, float).reshape(count, 3)
    columns: dict[str, Sequence[Any]] = {
        "NAME": antennas.name,
        "STATION": antennas.station,
        "TYPE": ["GROUND-BASED"] * count,
        "MOUNT": antennas.mount,
        "POSITION": list(np.asarray(antennas.position, float)),
        "OFFSET": list(offsets),
        "DISH_DIAMETER": [float(diameter) for diameter in antennas.diameter],
        "FLAG_ROW": [False] * count,
    }
    _fill(place, "ANTENNA", columns)


def put_feeds(place: str, nant: int, polarizations: Sequence[Polarization]) -> None:
    """FEED: one ideal feed an antenna, linear or circular as the correlations are."""
    codes = np.concatenate([np.asarray(pol.corr_type) for pol in polarizations])
    receptors = ["R", "L"] if np.any((codes >= 5) & (codes <= 8)) else ["X", "Y"]
    columns: dict[str, list[Any]] = {
        "ANTENNA_ID": list(range(nant)),
        "FEED_ID": [0] * nant,
        "SPECTRAL_WINDOW_ID": [-1] * nant,
        "TIME": [0.0] * nant,
        "INTERVAL": [1e30] * nant,
        "NUM_RECEPTORS": [2] * nant,
        "BEAM_ID": [-1] * nant,
        "BEAM_OFFSET": [np.zeros((2, 2))] * nant,
        "POLARIZATION_TYPE": [receptors] * nant,
        "POL_RESPONSE": [np.eye(2, dtype=np.complex64)] * nant,
        "POSITION": [np.zeros(3)] * nant,
        "RECEPTOR_ANGLE": [np.zeros(2)] * nant,
    }
    _fill(place, "FEED", columns)


def put_fields(place: str, fields: Fields, frame: str) -> None:
    """FIELD: directions in rad, in the reference `frame`."""
    directions = [np.asarray(direction, float).reshape(1, 2) for direction in fields.direction]
    kinds = ("DELAY_DIR", "PHASE_DIR", "REFERENCE_DIR")
    _set_frame(place, "FIELD", kinds, frame)
    columns: dict[str, list[Any]] = {
        "NAME": list(fields.name),
        "CODE": list(fields.code),
        "SOURCE_ID": [int(source) for source in fields.source_id],
        "TIME": [0.0] * len(fields),
        "NUM_POLY": [0] * len(fields),
        "FLAG_ROW": [False] * len(fields),
        **dict.fromkeys(kinds, directions),
    }
    _fill(place, "FIELD", columns)


def _set_frame(place: str, name: str, columns: Sequence[str], frame: str) -> None:
    tab = open_subtable(place, name, writable=True)
    for column in columns:
        tab.putcolkeyword(column, "MEASINFO", {"type": "direction", "Ref": frame})
    tab.close()


def sources_of(fields: Fields) -> list[Source]:
    """One source for each SOURCE_ID that a field names, with that field's name, code and direction."""
    found: dict[int, Source] = {}
    for row, source in enumerate(np.asarray(fields.source_id).tolist()):
        if source >= 0:
            name, code, direction = fields.name[row], fields.code[row], fields.direction[row]
            found.setdefault(source, Source(source, name, direction, code))
    return [found[source] for source in sorted(found)]


def put_sources(place: str, main: Any, sources: Sequence[Source], frame: str) -> None:
    """SOURCE, with the optional columns that any of the sources needs."""
    from casacore.tables import default_ms_subtable

    tab = default_ms_subtable("SOURCE", f"{place}/SOURCE")
    for name, (kind, keywords) in SOURCE_OPTIONAL.items():
        desc = {
            "valueType": kind, "dataManagerType": "StandardStMan", "dataManagerGroup": "StandardStMan",
            "option": 0, "maxlen": 0, "comment": f"{name} of each line", "ndim": 1, "keywords": keywords,
        }  # fmt: skip
        tab.addcols({name: desc})
    tab.close()
    main.putkeyword("SOURCE", f"Table: {place}/SOURCE")
    _set_frame(place, "SOURCE", ["DIRECTION"], frame)
    if not sources:
        return
    columns: dict[str, list[Any]] = {
        "SOURCE_ID": [source.id for source in sources],
        "NAME": [source.name for source in sources],
        "CODE": [source.code for source in sources],
        "SPECTRAL_WINDOW_ID": [source.spw for source in sources],
        "DIRECTION": [np.asarray(source.direction, float) for source in sources],
        "PROPER_MOTION": [np.asarray(source.proper_motion, float) for source in sources],
        "CALIBRATION_GROUP": [0] * len(sources),
        "TIME": [0.0] * len(sources),
        "INTERVAL": [1e30] * len(sources),
        "NUM_LINES": [len(source.rest_frequency) for source in sources],
        "REST_FREQUENCY": [np.asarray(source.rest_frequency, float) for source in sources],
        "SYSVEL": [np.asarray(source.sysvel, float) for source in sources],
        "TRANSITION": [list(source.transition) or [""] * len(source.rest_frequency) for source in sources],
    }
    _fill(place, "SOURCE", columns)


def put_spws(place: str, spws: Sequence[SpectralWindow]) -> None:
    """SPECTRAL_WINDOW: frequencies and widths in Hz."""
    columns: dict[str, list[Any]] = {
        "NAME": [spw.name for spw in spws],
        "NUM_CHAN": [spw.nchan for spw in spws],
        "MEAS_FREQ_REF": [spw.frame for spw in spws],
        "REF_FREQUENCY": [float(spw.ref_frequency) for spw in spws],
        "CHAN_FREQ": [np.asarray(spw.freq, float) for spw in spws],
        "CHAN_WIDTH": [np.asarray(spw.width, float) for spw in spws],
        "EFFECTIVE_BW": [np.asarray(spw.effective_bw, float) for spw in spws],
        "RESOLUTION": [np.asarray(spw.resolution, float) for spw in spws],
        "TOTAL_BANDWIDTH": [float(spw.total_bandwidth) for spw in spws],
        "NET_SIDEBAND": [spw.net_sideband for spw in spws],
        "IF_CONV_CHAIN": [0] * len(spws),
        "FREQ_GROUP": [0] * len(spws),
        "FREQ_GROUP_NAME": ["Group 1"] * len(spws),
        "FLAG_ROW": [False] * len(spws),
    }
    _fill(place, "SPECTRAL_WINDOW", columns)


def put_polarizations(place: str, polarizations: Sequence[Polarization], ddids: Sequence[tuple[int, int]]) -> None:
    """POLARIZATION, and DATA_DESCRIPTION with (spw, polarization) of every id."""
    columns: dict[str, list[Any]] = {
        "NUM_CORR": [len(pol.corr_type) for pol in polarizations],
        "CORR_TYPE": [np.asarray(pol.corr_type, np.int32) for pol in polarizations],
        "CORR_PRODUCT": [np.asarray(pol.product, np.int32).reshape(-1, 2) for pol in polarizations],
        "FLAG_ROW": [False] * len(polarizations),
    }
    _fill(place, "POLARIZATION", columns)
    columns = {
        "SPECTRAL_WINDOW_ID": [spw for spw, _ in ddids],
        "POLARIZATION_ID": [pol for _, pol in ddids],
        "FLAG_ROW": [False] * len(ddids),
    }
    _fill(place, "DATA_DESCRIPTION", columns)


def put_states(place: str, states: Sequence[str]) -> None:
    """STATE: one for each string of intents."""
    count = len(states)
    columns: dict[str, list[Any]] = {
        "OBS_MODE": list(states),
        "SIG": [True] * count,
        "REF": [False] * count,
        "CAL": [0.0] * count,
        "LOAD": [0.0] * count,
        "SUB_SCAN": [0] * count,
        "FLAG_ROW": [False] * count,
    }
    _fill(place, "STATE", columns)


def put_observations(place: str, observations: Sequence[Observation]) -> None:
    """OBSERVATION: telescope, observer, project, time range."""
    count = len(observations)
    columns: dict[str, list[Any]] = {
        "TELESCOPE_NAME": [obs.telescope for obs in observations],
        "OBSERVER": [obs.observer for obs in observations],
        "PROJECT": [obs.project for obs in observations],
        "TIME_RANGE": [np.asarray(obs.time_range, float) for obs in observations],
        "LOG": [[""]] * count,
        "SCHEDULE": [[""]] * count,
        "SCHEDULE_TYPE": [""] * count,
        "RELEASE_DATE": [0.0] * count,
        "FLAG_ROW": [False] * count,
    }
    _fill(place, "OBSERVATION", columns)


def put_processor(place: str) -> None:
    """PROCESSOR: one correlator."""
    columns: dict[str, list[Any]] = {
        "TYPE": ["CORRELATOR"], "SUB_TYPE": [""], "TYPE_ID": [-1], "MODE_ID": [-1], "FLAG_ROW": [False],
    }  # fmt: skip
    _fill(place, "PROCESSOR", columns)


def put_history(place: str, lines: Sequence[str]) -> None:
    """Add lines of provenance to the HISTORY of the MeasurementSet at `place`, after one with our version."""
    from calibrant import __version__

    messages = [f"calibrant {__version__}", *lines]
    count = len(messages)
    columns: dict[str, list[Any]] = {
        "TIME": [time.time() + UNIX_EPOCH_MJD] * count,
        "OBSERVATION_ID": [0] * count,
        "OBJECT_ID": [0] * count,
        "MESSAGE": messages,
        "PRIORITY": ["INFO"] * count,
        "ORIGIN": ["calibrant"] * count,
        "APPLICATION": ["calibrant"] * count,
        "CLI_COMMAND": [[""]] * count,
        "APP_PARAMS": [[""]] * count,
    }
    _fill(place, "HISTORY", columns)
