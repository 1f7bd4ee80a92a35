"""What the station's figures draw from: plain arrays and names, no readers.

Times are UTC in seconds since 1970, frequencies MHz, angles degrees, polarisations 'l' and 'r'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A curve: `low`, `high` its band of one sigma; outside `observed` it is an extrapolation and drawn fainter."""

    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    observed: tuple[float, float] | None = None
    tag: str = ""
    """Written at the right end, where several are drawn together."""


@dataclass(frozen=True)
class GainPanel:
    """Measured gain (K/Jy) of one band and polarisation against elevation, with the curve on file and the new one."""

    band: str
    pol: str
    elevation: Floats
    gain: Floats
    gain_err: Floats
    source: NDArray[Any]
    old: Line | None = None
    new: Line | None = None


@dataclass(frozen=True)
class TcalPanel:
    """Tcal (K) of one band and polarisation: every measurement, the table on file and the new one."""

    band: str
    pol: str
    freq: Floats
    tcal: Floats
    old_freq: Floats
    old_tcal: Floats
    new_freq: Floats
    new_tcal: Floats
    new_err: Floats


@dataclass(frozen=True)
class TrecSegment:
    """One fit of Tsys - Tspill against airmass: UTC of its middle, Trec (K), zenith opacity and their errors."""

    time: float
    trec: float
    trec_err: float
    tau: float
    tau_err: float
    line: Line


@dataclass(frozen=True)
class TrecPanel:
    """Tsys - Tspill (K) of one band and polarisation against airmass, the fits to it, and Trec on file (0 unknown)."""

    band: str
    pol: str
    airmass: Floats
    value: Floats
    time: Floats
    segments: tuple[TrecSegment, ...] = ()
    trec: float = float("nan")
    trec_old: float = float("nan")


@dataclass(frozen=True)
class Pointings:
    """Pointing runs: offsets on the sky and their errors in beams (FWHM), whether both fits were good."""

    time: Floats
    source: NDArray[Any]
    azimuth: Floats
    elevation: Floats
    lon: Floats
    lat: Floats
    lon_err: Floats
    lat_err: Floats
    good: NDArray[np.bool_]


@dataclass(frozen=True)
class Trend:
    """One band and polarisation over the logs: middle time of each, median and robust scatter."""

    band: str
    pol: str
    time: Floats
    log: NDArray[Any]
    ratio: Floats
    ratio_scatter: Floats
    sefd: Floats
    sefd_scatter: Floats


@dataclass(frozen=True)
class StationMaterial:
    """Everything the report draws. `columns`: one value for each scan and detector (names as in `onoff --json`)."""

    columns: Mapping[str, NDArray[Any]]
    band: NDArray[Any]
    ratio: Floats
    """Tcal ratio shown: against the rxg where there is one, else as the log assumed."""
    bands: tuple[str, ...]
    beyond: float = 0.10
    """Tcal ratio further from 1 than this is not to be trusted; half of it is good."""
    gains: tuple[GainPanel, ...] = ()
    tcals: tuple[TcalPanel, ...] = ()
    trecs: tuple[TrecPanel, ...] = ()
    pointings: Pointings | None = None
    weather: Mapping[str, Floats] = field(default_factory=dict)
    """time, temperature_c, pressure_hpa, humidity_percent, wind_speed."""
    trends: tuple[Trend, ...] = ()
    tables: Mapping[str, Floats] = field(default_factory=dict)
    """Band -> frequencies of its Tcal table."""
    elevation_gaps: tuple[tuple[float, float], ...] = ()

    def get(self, name: str) -> Floats:
        """A numeric column as float64."""
        return np.asarray(self.columns[name], dtype=np.float64)

    @property
    def deleted(self) -> NDArray[np.bool_]:
        return np.asarray(self.columns["deleted"], dtype=bool)

    @property
    def pol(self) -> NDArray[Any]:
        return np.asarray(self.columns["pol"])
