"""Limits beyond which visibilities are interference: from the distribution of amplitudes, robustly.

Noise makes amplitudes of residuals follow a Rayleigh distribution, whose median is sigma sqrt(2 ln 2). A limit of
`SIGMAS` sigma is passed by chance once in 10^13 visibilities; what lies beyond is not noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.ms.reader import read_chunks

SIGMAS = 8.0
NBIN = 4096
DECADES = (-9.0, 9.0)
MAX_SHARE = 0.02
"""More than this share beyond the limit is not interference but a wrong model or a bright, resolved source."""


@dataclass(frozen=True)
class Limit:
    """Clip limit in Jy for one field and spw, and the share of unflagged visibilities beyond it."""

    field: int
    spw: int
    limit: float
    share: float


def residual_limits(index: MSIndex, rows: NDArray[np.int64], subtract_model: bool) -> list[Limit]:
    """Limits of |CORRECTED - MODEL| (or |CORRECTED|) per field and spw, in one pass over `rows`."""
    counts: dict[tuple[int, int], NDArray[np.int64]] = {}
    cross = rows[index.ant1[rows] != index.ant2[rows]]
    models = _models(index, cross) if subtract_model else {}
    columns = ["CORRECTED_DATA", "FLAG"] + (["MODEL_DATA"] if _from_column(models) else [])
    for chunk in read_chunks(index, cross, columns):
        residual = chunk["CORRECTED_DATA"]
        fields = index.field[chunk.rows]
        if subtract_model:
            which = models[chunk.ddid].model_of_field[fields]
            spectra = models[chunk.ddid].spectra[np.maximum(which, 0)]
            if (which < 0).any():
                spectra = np.where((which < 0)[:, None, None], chunk["MODEL_DATA"], spectra)
            residual = residual - spectra
        good = ~chunk["FLAG"]
        for field in np.unique(fields).tolist():
            mine = fields == field
            size = np.abs(residual[mine][good[mine]])
            size = size[np.isfinite(size) & (size > 0)]
            place = (np.log10(size) - DECADES[0]) / (DECADES[1] - DECADES[0]) * NBIN
            key = (field, chunk.spw)
            histogram = np.bincount(np.clip(place, 0, NBIN - 1).astype(np.int64), minlength=NBIN)
            counts[key] = counts.get(key, np.zeros(NBIN, np.int64)) + histogram
    return [_limit(field, spw, histogram) for (field, spw), histogram in sorted(counts.items()) if histogram.any()]


def _models(index: MSIndex, rows: NDArray[np.int64]) -> dict[int, object]:
    from calibrant.tasks.models import row_models

    fields = np.unique(index.field[rows]).tolist()
    return {int(ddid): row_models(index, int(ddid), fields) for ddid in np.unique(index.ddid[rows])}


def _from_column(models: dict[int, object]) -> bool:
    return any(model.needs_column for model in models.values())  # type: ignore[attr-defined]


def _limit(field: int, spw: int, histogram: NDArray[np.int64]) -> Limit:
    total = np.cumsum(histogram)
    edges = 10 ** np.linspace(*DECADES, NBIN + 1)
    median = edges[int(np.searchsorted(total, 0.5 * total[-1])) + 1]
    limit = SIGMAS * median / np.sqrt(2 * np.log(2))
    beyond = total[-1] - total[min(int(np.searchsorted(edges, limit)), NBIN - 1)]
    return Limit(field, spw, float(limit), float(beyond / total[-1]))
