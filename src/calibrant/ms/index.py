"""The index of a MeasurementSet: what the rows are, and the small subtables, read once.

`open_index(path)` costs one table open; each id column is read when it is first asked for and kept as a
compact array (4 bytes a row). Ids are those of the MS: `ddid`, `field`, `scan`, `state`, `obs`, `ant1`, `ant2`.
Times are seconds of Modified Julian Date, UTC or TAI as in the MS (`time_scale`). Positions in metres (ITRF),
angles in radians, frequencies in Hz. Baselines are counted as `(ANTENNA1, ANTENNA2)`; V_ij = J_i M_ij J_j^H
with i = ANTENNA1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import MeasurementSetError
from calibrant.ms.tables import open_subtable, open_table, read_column

CORR_NAMES = {
    1: "I", 2: "Q", 3: "U", 4: "V", 5: "RR", 6: "RL", 7: "LR", 8: "LL", 9: "XX", 10: "XY", 11: "YX", 12: "YY",
}  # fmt: skip
"""Stokes enumeration of the MS definition (memo 229)."""

REQUIRED_SUBTABLES = ("ANTENNA", "DATA_DESCRIPTION", "FIELD", "POLARIZATION", "SPECTRAL_WINDOW")


@dataclass(frozen=True)
class Antennas:
    """name, station, mount: lists; position (nant, 3) m ITRF; diameter (nant,) m."""

    name: list[str]
    station: list[str]
    mount: list[str]
    position: NDArray[np.float64]
    diameter: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class Fields:
    """name, code, source_id; direction (nfield, 2): right ascension and declination of PHASE_DIR in rad."""

    name: list[str]
    code: list[str]
    source_id: NDArray[np.int32]
    direction: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class SpectralWindow:
    """One spectral window; freq, width, effective_bw, resolution are (nchan,) in Hz (width may be negative)."""

    id: int
    name: str
    freq: NDArray[np.float64]
    width: NDArray[np.float64]
    effective_bw: NDArray[np.float64]
    resolution: NDArray[np.float64]
    ref_frequency: float
    total_bandwidth: float
    frame: int
    net_sideband: int

    @property
    def nchan(self) -> int:
        return len(self.freq)


@dataclass(frozen=True)
class Polarization:
    """corr_type (ncorr,) Stokes codes; product (ncorr, 2): receptor of ANTENNA1 and of ANTENNA2, 0 or 1."""

    corr_type: NDArray[np.int32]
    product: NDArray[np.int32]

    @property
    def names(self) -> list[str]:
        return [CORR_NAMES.get(int(code), str(code)) for code in self.corr_type]

    @property
    def parallel(self) -> NDArray[np.int64]:
        """Positions of the parallel hands, ordered by receptor: XX, YY or RR, LL."""
        hands = np.flatnonzero(self.product[:, 0] == self.product[:, 1])
        return hands[np.argsort(self.product[hands, 0], kind="stable")]


@dataclass(frozen=True)
class Observation:
    """telescope, observer, project; time_range (2,) s."""

    telescope: str
    observer: str
    project: str
    time_range: NDArray[np.float64]


@dataclass
class MSIndex:
    """Rows and subtables of one MeasurementSet. Made by `open_index`."""

    path: str
    nrow: int
    columns: tuple[str, ...]
    _cache: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    # ---- rows -------------------------------------------------------------------------------------------
    def column(self, name: str) -> NDArray[Any]:
        """A scalar MAIN column over all rows (ids as int32), read once and kept."""
        if name not in self._cache:
            if name not in self.columns:
                raise MeasurementSetError(f"{self.path} has no column {name}")
            tab = open_table(self.path)
            values = np.asarray(read_column(tab, name, self.path))
            tab.close()
            self._cache[name] = values
        return self._cache[name]

    @property
    def ddid(self) -> NDArray[np.int32]:
        return self.column("DATA_DESC_ID")

    @property
    def field(self) -> NDArray[np.int32]:
        return self.column("FIELD_ID")

    @property
    def scan(self) -> NDArray[np.int32]:
        return self.column("SCAN_NUMBER")

    @property
    def state(self) -> NDArray[np.int32]:
        return self.column("STATE_ID")

    @property
    def obs(self) -> NDArray[np.int32]:
        return self.column("OBSERVATION_ID")

    @property
    def array(self) -> NDArray[np.int32]:
        return self.column("ARRAY_ID")

    @property
    def ant1(self) -> NDArray[np.int32]:
        return self.column("ANTENNA1")

    @property
    def ant2(self) -> NDArray[np.int32]:
        return self.column("ANTENNA2")

    @property
    def time(self) -> NDArray[np.float64]:
        """TIME: middle of the integration (s)."""
        return self.column("TIME")

    @cached_property
    def time_scale(self) -> str:
        """What the times are: 'UTC' or 'TAI' (MEASINFO of TIME)."""
        tab = open_table(self.path)
        measure = tab.getcolkeywords("TIME").get("MEASINFO", {})
        tab.close()
        return str(measure.get("Ref", "UTC"))

    @cached_property
    def spw(self) -> NDArray[np.int32]:
        """Spectral window id of every row."""
        return self.ddid_spw[self.ddid]

    @cached_property
    def _times(self) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        # np.unique sorts every row; runs of equal TIME are long, so sort the runs instead
        time = self.time
        starts = np.flatnonzero(np.concatenate(([True], time[1:] != time[:-1]))) if len(time) else np.zeros(0, int)
        values, inverse = np.unique(time[starts], return_inverse=True)
        counts = np.diff(np.append(starts, len(time)))
        return values, np.repeat(inverse.astype(np.int32), counts)

    @property
    def times(self) -> NDArray[np.float64]:
        """The distinct TIMEs, ascending (s)."""
        return self._times[0]

    @property
    def time_id(self) -> NDArray[np.int32]:
        """Position of every row's TIME in `times`."""
        return self._times[1]

    # ---- subtables --------------------------------------------------------------------------------------
    def subtable(self, name: str) -> dict[str, NDArray[Any]]:
        """Fixed-shape columns of a subtable; {} where the subtable is absent. Variable columns are left out."""
        if not os.path.isdir(os.path.join(self.path, name)):
            return {}
        tab = open_subtable(self.path, name)
        result: dict[str, NDArray[Any]] = {}
        for column in tab.colnames():
            try:
                result[column] = np.asarray(tab.getcol(column))
            except RuntimeError:
                continue
        tab.close()
        return result

    @cached_property
    def antennas(self) -> Antennas:
        tab = open_subtable(self.path, "ANTENNA")
        where = f"{self.path}/ANTENNA"
        result = Antennas(
            list(read_column(tab, "NAME", where)),
            list(read_column(tab, "STATION", where)),
            list(read_column(tab, "MOUNT", where)),
            np.asarray(read_column(tab, "POSITION", where), float).reshape(-1, 3),
            np.asarray(read_column(tab, "DISH_DIAMETER", where), float),
        )
        tab.close()
        return result

    @cached_property
    def fields(self) -> Fields:
        tab = open_subtable(self.path, "FIELD")
        where = f"{self.path}/FIELD"
        direction = np.array([np.asarray(tab.getcell("PHASE_DIR", row))[0] for row in range(tab.nrows())])
        result = Fields(
            list(read_column(tab, "NAME", where)),
            list(read_column(tab, "CODE", where)),
            np.asarray(read_column(tab, "SOURCE_ID", where), np.int32),
            direction.reshape(-1, 2),
        )
        tab.close()
        return result

    @cached_property
    def spws(self) -> list[SpectralWindow]:
        tab = open_subtable(self.path, "SPECTRAL_WINDOW")
        result = []
        for row in range(tab.nrows()):
            cell = {name: tab.getcell(name, row) for name in tab.colnames() if tab.iscelldefined(name, row)}
            width = np.asarray(cell["CHAN_WIDTH"], float)
            result.append(
                SpectralWindow(
                    row,
                    str(cell.get("NAME", "")),
                    np.asarray(cell["CHAN_FREQ"], float),
                    width,
                    np.asarray(cell.get("EFFECTIVE_BW", np.abs(width)), float),
                    np.asarray(cell.get("RESOLUTION", np.abs(width)), float),
                    float(cell.get("REF_FREQUENCY", np.mean(cell["CHAN_FREQ"]))),
                    float(cell.get("TOTAL_BANDWIDTH", np.abs(width).sum())),
                    int(cell.get("MEAS_FREQ_REF", 5)),
                    int(cell.get("NET_SIDEBAND", 0)),
                )
            )
        tab.close()
        return result

    @cached_property
    def polarizations(self) -> list[Polarization]:
        tab = open_subtable(self.path, "POLARIZATION")
        result = [
            Polarization(
                np.asarray(tab.getcell("CORR_TYPE", row), np.int32),
                np.asarray(tab.getcell("CORR_PRODUCT", row), np.int32).reshape(-1, 2),
            )
            for row in range(tab.nrows())
        ]
        tab.close()
        return result

    @cached_property
    def _data_description(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        tab = open_subtable(self.path, "DATA_DESCRIPTION")
        where = f"{self.path}/DATA_DESCRIPTION"
        result = (
            np.asarray(read_column(tab, "SPECTRAL_WINDOW_ID", where), np.int32),
            np.asarray(read_column(tab, "POLARIZATION_ID", where), np.int32),
        )
        tab.close()
        return result

    @property
    def ddid_spw(self) -> NDArray[np.int32]:
        """Spectral window id of every DATA_DESCRIPTION row."""
        return self._data_description[0]

    @property
    def ddid_pol(self) -> NDArray[np.int32]:
        """POLARIZATION row of every DATA_DESCRIPTION row."""
        return self._data_description[1]

    @cached_property
    def state_modes(self) -> list[str]:
        """STATE.OBS_MODE, one string a state; empty list where there are no states."""
        modes = self.subtable("STATE").get("OBS_MODE")
        return [] if modes is None else [str(mode) for mode in modes]

    @cached_property
    def observations(self) -> list[Observation]:
        sub = self.subtable("OBSERVATION")
        count = len(sub.get("TELESCOPE_NAME", ()))
        ranges = sub.get("TIME_RANGE", np.zeros((count, 2)))
        return [
            Observation(
                str(sub["TELESCOPE_NAME"][row]),
                str(sub.get("OBSERVER", [""] * count)[row]),
                str(sub.get("PROJECT", [""] * count)[row]),
                np.asarray(ranges[row], float),
            )
            for row in range(count)
        ]

    def intents(self, state: int) -> list[str]:
        """The intents of a state, split at commas; [] for the id -1."""
        if not 0 <= state < len(self.state_modes):
            return []
        return [word for word in self.state_modes[state].split(",") if word]


def open_index(path: str) -> MSIndex:
    """Open the MeasurementSet at `path` and check that it is one.

    Raises MeasurementSetError where it does not exist, is no MS, has no rows, or lacks a required subtable.
    """
    path = os.path.normpath(path)
    tab = open_table(path)
    columns, nrow = tuple(tab.colnames()), tab.nrows()
    tab.close()
    missing = [name for name in ("TIME", "ANTENNA1", "ANTENNA2", "DATA_DESC_ID", "FIELD_ID") if name not in columns]
    if missing:
        raise MeasurementSetError(f"{path} is a table but not a MeasurementSet: it has no column {', '.join(missing)}")
    for name in REQUIRED_SUBTABLES:
        if not os.path.isdir(os.path.join(path, name)):
            raise MeasurementSetError(
                f"{path} has no subtable {name}; the MeasurementSet is incomplete (copy it again, or re-import it)"
            )
    if nrow == 0:
        raise MeasurementSetError(f"{path} has no rows")
    return MSIndex(path, nrow, columns)
