"""Averaged visibilities: what the visibility figures draw. Filled by `calibrant.pipeline.visibilities`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ColumnAverages:
    """Means of one data column, weighted by WEIGHT, flagged samples left out; NaN where nothing was left.

    Axes: nbl baselines, nt times, nchan channels, ncorr parallel hands. `baseline`, `time` and `channel` are
    vector averages over everything else; `baseline_amp`, `time_amp` and `channel_amp` are means of amplitudes
    (of channel averages for baseline and time, of single samples for channel): use these where phases
    differ between baselines, as in uncalibrated data.
    """

    baseline: NDArray[np.complex128]
    baseline_amp: NDArray[np.float64]
    time: NDArray[np.complex128]
    time_amp: NDArray[np.float64]
    channel: NDArray[np.complex128]
    channel_amp: NDArray[np.float64]


@dataclass(frozen=True)
class PartAverages:
    """One field in one spw. `columns`: 'DATA', 'CORRECTED_DATA', 'MODEL_DATA' as far as present.

    uvdist (nbl,) m, ant1/ant2 (nbl,), times (nt,) s UTC, freq (nchan,) Hz, uv (npoint, 2) m: a sample of u, v.
    """

    field: int
    field_name: str
    spw: int
    correlations: tuple[str, ...]
    freq: NDArray[np.float64]
    ant1: NDArray[np.int64]
    ant2: NDArray[np.int64]
    uvdist: NDArray[np.float64]
    times: NDArray[np.float64]
    uv: NDArray[np.float64]
    columns: dict[str, ColumnAverages] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Averages:
    """All parts of one MeasurementSet, ordered by field and spw."""

    parts: list[PartAverages]

    def of_field(self, name: str) -> list[PartAverages]:
        return [part for part in self.parts if part.field_name == name]
