"""What a MeasurementSet contains: scans, fields, spectral windows, sources, antennas, as data.

`read_listing` reads the id columns, TIME and INTERVAL once; `listobs_text` writes it as text. A line of the scan
table is one (observation, array, scan, field). Times are seconds of Modified Julian Date on the MS's own time
scale (`timeref`), from the start of the first to the end of the last integration.

Where this differs from CASA's listobs: latitudes are geodetic (WGS84; CASA lists geocentric ones), and offsets are
east, north and up of the local horizon at the array centre (CASA's are differences of geocentric coordinates).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex, Observation
from calibrant.ms.selection_text import Ids, distinct
from calibrant.ms.tables import open_subtable

DAY = 86400.0

OBSERVATORIES: dict[str, tuple[float, float, float]] = {
    "ACA": (2225066.25, -5440107.53, -2481532.70),
    "ALMA": (2225142.18, -5440307.37, -2481029.85),
    "ASKAP": (-2558266.72, 5095672.18, -2849020.84),
    "ATCA": (-4750915.84, 2792906.18, -3200483.75),
    "EVLA": (-1601156.67, -5041988.99, 3554879.24),
    "GMRT": (1657069.56, 5797969.00, 2073044.09),
    "LOFAR": (3826579.99, 461023.00, 5064890.01),
    "MEERKAT": (5109217.42, 2006797.68, -3239133.87),
    "MWA": (-2559454.08, 5095372.15, -2849057.19),
    "NOEMA": (4523932.58, 468134.73, 4460286.50),
    "SMA": (-5462448.95, -2491969.92, 2164446.11),
    "VLA": (-1601185.37, -5041977.55, 3554875.87),
    "WSRT": (3828488.86, 443253.42, 5064977.78),
}
"""Reference points of arrays, ITRF in metres, as in casacore's table of observatories. Other arrays: mean antenna."""

WGS84_RADIUS = 6378137.0
WGS84_FLATTENING = 1 / 298.257223563

FRAMES = ("REST", "LSRK", "LSRD", "BARY", "GEO", "TOPO", "GALACTO", "LGROUP", "CMB")
"""Frequency frames by MEAS_FREQ_REF (casacore MFrequency)."""


@dataclass(frozen=True)
class ScanLine:
    """Rows of one field in one scan. begin, end: s of MJD. intervals: mean INTERVAL of each of `spws` (s)."""

    observation: int
    array: int
    scan: int
    field: int
    state: int
    nrow: int
    begin: float
    end: float
    spws: list[int]
    intervals: list[float]
    intents: list[str]


@dataclass(frozen=True)
class Source:
    """A row of SOURCE. spw -1: all. rest_frequency in Hz, velocity in m/s; None where the table has none."""

    id: int
    name: str
    spw: int
    rest_frequency: float | None
    velocity: float | None


@dataclass(frozen=True)
class Listing:
    """nrow, begin, end: of the rows listed. antennas: ids with data. timeref, epoch: 'UTC', 'J2000'."""

    index: MSIndex
    nrow: int
    begin: float
    end: float
    scans: list[ScanLine]
    sources: list[Source]
    antennas: list[int]
    timeref: str
    epoch: str

    @cached_property
    def rows_by_field(self) -> dict[int, int]:
        """Field id -> rows, ascending ids, fields with rows only."""
        counts: dict[int, int] = {}
        for line in self.scans:
            counts[line.field] = counts.get(line.field, 0) + line.nrow
        return dict(sorted(counts.items()))

    @cached_property
    def spws(self) -> list[int]:
        """Spectral windows with rows, ascending."""
        return sorted({spw for line in self.scans for spw in line.spws})

    @cached_property
    def observations(self) -> list[Observation]:
        return self.index.observations

    def corrs(self, spw: int) -> list[list[str]]:
        """The polarization setups of a spectral window, each as names of its correlations."""
        pols = sorted({int(p) for s, p in zip(self.index.ddid_spw, self.index.ddid_pol, strict=True) if s == spw})
        return [self.index.polarizations[p].names for p in pols]

    def to_dict(self) -> dict[str, Any]:
        """The layout of CASA's listobs: scan_N -> {subscan -> ...}, field_N, nfields, ...; times in days of MJD."""
        result: dict[str, Any] = {
            "BeginTime": self.begin / DAY,
            "EndTime": self.end / DAY,
            "IntegrationTime": self.end - self.begin,
            "nfields": len(self.rows_by_field),
            "numrecords": self.nrow,
            "timeref": self.timeref,
        }
        result.update({f"field_{field}": self._field_dict(field) for field in self.rows_by_field})
        for line in self.scans:
            scan = result.setdefault(f"scan_{line.scan}", {})
            scan[str(len(scan))] = self._scan_dict(line)
        return result

    def _scan_dict(self, line: ScanLine) -> dict[str, Any]:
        return {
            "BeginTime": line.begin / DAY,
            "EndTime": line.end / DAY,
            "FieldId": line.field,
            "FieldName": self.index.fields.name[line.field],
            "IntegrationTime": float(np.mean(line.intervals)),
            "SpwIds": line.spws,
            "StateId": line.state,
            "nRow": line.nrow,
            "scanId": line.scan,
        }

    def _field_dict(self, field: int) -> dict[str, Any]:
        fields = self.index.fields
        ra, dec = (float(angle) for angle in fields.direction[field])
        return {
            "code": fields.code[field],
            "name": fields.name[field],
            "direction": {
                "m0": {"unit": "rad", "value": ra},
                "m1": {"unit": "rad", "value": dec},
                "refer": self.epoch,
                "type": "direction",
            },
        }


def read_listing(index: MSIndex, rows: Ids | None = None) -> Listing:
    """List the rows `rows` (ascending), or all. Reads ids, TIME and INTERVAL; no data."""

    def column(name: str) -> NDArray[Any]:
        values = index.column(name)
        return values if rows is None else values[rows]

    half = column("INTERVAL") / 2
    begin, end = column("TIME") - half, column("TIME") + half
    ids = [column(name) for name in ("OBSERVATION_ID", "ARRAY_ID", "SCAN_NUMBER", "FIELD_ID", "STATE_ID")]
    groups = _groups([*ids, column("DATA_DESC_ID")], begin, end)
    present = np.union1d(distinct(column("ANTENNA1")), distinct(column("ANTENNA2")))
    return Listing(
        index,
        len(begin),
        float(begin.min()),
        float(end.max()),
        _scan_lines(index, groups),
        _sources(index),
        [int(i) for i in present],
        index.time_scale,
        _field_frame(index),
    )


@dataclass(frozen=True)
class _Groups:
    """Rows with equal ids taken together: ids (ngroup, 6), count, begin, end, exposure (sum of INTERVAL)."""

    ids: NDArray[np.int64]
    count: NDArray[np.int64]
    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    exposure: NDArray[np.float64]


def _groups(ids: list[NDArray[np.int32]], begin: NDArray[np.float64], end: NDArray[np.float64]) -> _Groups:
    key = _packed(ids)
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    order = np.argsort(key[starts], kind="stable")
    run_key = key[starts][order]
    first = np.flatnonzero(np.concatenate(([True], run_key[1:] != run_key[:-1])))
    length = np.diff(np.append(starts, len(key)))
    return _Groups(
        np.stack([values[starts[order[first]]] for values in ids], axis=1).astype(np.int64),
        np.add.reduceat(length[order], first),
        np.minimum.reduceat(np.minimum.reduceat(begin, starts)[order], first),
        np.maximum.reduceat(np.maximum.reduceat(end, starts)[order], first),
        np.add.reduceat(np.add.reduceat(end - begin, starts)[order], first),
    )


def _packed(ids: list[NDArray[np.int32]]) -> NDArray[np.int64]:
    """The ids of a row as one number, so that rows can be compared and sorted at once."""
    key = np.zeros(len(ids[0]), np.int64)
    for values in ids:
        low, high = int(values.min()), int(values.max())
        if high - low < 1 << 10:
            key = key * (high - low + 1) + (values - low)
        else:
            known = distinct(values)
            key = key * len(known) + np.searchsorted(known, values)
    return key


def _scan_lines(index: MSIndex, groups: _Groups) -> list[ScanLine]:
    members: dict[tuple[int, int, int, int], list[int]] = {}
    for k, (obs, array, scan, field, _state, _ddid) in enumerate(groups.ids.tolist()):
        members.setdefault((obs, array, scan, field), []).append(k)
    lines = [_scan_line(index, groups, key, np.array(own)) for key, own in members.items()]
    return sorted(lines, key=lambda line: (line.observation, line.array, line.begin, line.scan, line.field))


def _scan_line(index: MSIndex, groups: _Groups, key: tuple[int, int, int, int], own: Ids) -> ScanLine:
    spw_of = index.ddid_spw[groups.ids[own, 5]]
    spws = sorted({int(spw) for spw in spw_of})
    intervals = [float(groups.exposure[own[spw_of == s]].sum() / groups.count[own[spw_of == s]].sum()) for s in spws]
    states = sorted({int(state) for state in groups.ids[own, 4]})
    return ScanLine(
        *key,
        state=states[0],
        nrow=int(groups.count[own].sum()),
        begin=float(groups.begin[own].min()),
        end=float(groups.end[own].max()),
        spws=spws,
        intervals=intervals,
        intents=sorted({intent for state in states for intent in index.intents(state)}),
    )


def _sources(index: MSIndex) -> list[Source]:
    sub = index.subtable("SOURCE")
    if not sub or len(sub.get("SOURCE_ID", ())) == 0:
        return []
    tab = open_subtable(index.path, "SOURCE")
    rest = _first_of_cells(tab, "REST_FREQUENCY")
    velocity = _first_of_cells(tab, "SYSVEL")
    tab.close()
    found: dict[tuple[int, int], Source] = {}
    for row, (ident, name, spw) in enumerate(
        zip(sub["SOURCE_ID"], sub["NAME"], sub["SPECTRAL_WINDOW_ID"], strict=True)
    ):
        # a source has a row for every change in time: the first says which source it is
        found.setdefault((int(ident), int(spw)), Source(int(ident), str(name), int(spw), rest[row], velocity[row]))
    return [found[key] for key in sorted(found)]


def _first_of_cells(tab: Any, column: str) -> list[float | None]:
    """The first value of every cell; None where the column or the cell is missing or empty."""
    count = tab.nrows()
    if column not in tab.colnames():
        return [None] * count
    defined = [tab.iscelldefined(column, row) for row in range(count)]
    cells: list[Any] = [np.ravel(tab.getcell(column, row)) if defined[row] else [] for row in range(count)]
    return [float(cell[0]) if len(cell) else None for cell in cells]


def _field_frame(index: MSIndex) -> str:
    """The frame of the fields' directions: J2000 or as MEASINFO says."""
    tab = open_subtable(index.path, "FIELD")
    keywords = tab.getcolkeywords("PHASE_DIR")
    tab.close()
    return str(keywords.get("MEASINFO", {}).get("Ref", "J2000"))


def array_centre(telescope: str, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITRF (3,) m: the observatory's reference point, or the mean of the antennas where it has none in our table."""
    known = OBSERVATORIES.get(telescope.upper())
    return positions.mean(axis=0) if known is None else np.array(known)


def geodetic(position: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude (east) and WGS84 latitude in rad of ITRF positions (..., 3) m.

    Bowring's formula (Survey Review 23, 323, 1976): within 1e-9 rad on Earth.
    """
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    minor = WGS84_RADIUS * (1 - WGS84_FLATTENING)
    e2 = WGS84_FLATTENING * (2 - WGS84_FLATTENING)
    rho = np.hypot(x, y)
    beta = np.arctan2(z * WGS84_RADIUS, rho * minor)
    top = z + e2 / (1 - e2) * minor * np.sin(beta) ** 3
    return np.arctan2(y, x), np.arctan2(top, rho - e2 * WGS84_RADIUS * np.cos(beta) ** 3)


def local_offsets(position: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """East, north, up (..., 3) in m of ITRF positions from `centre`, on the horizon there."""
    lon, lat = geodetic(centre)
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    result: NDArray[np.float64] = (position - centre) @ np.stack([east, np.cross(up, east), up], axis=1)
    return result
