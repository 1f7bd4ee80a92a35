"""Points by band and polarisation, and what is typical of each: medians and robust scatters.

A band is an rxg file with one LO, or an LO alone where no rxg was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.station.rules import RATIO_MAD

if TYPE_CHECKING:
    from calibrant.station.points import Points
    from calibrant.station.records import FsLog

POLS = ("l", "r", "")
"""Empty: the log does not tell (a scan that never came to a VAL row)."""
MOST_LOS = 4
"""An rxg with more LOs than this (a tunable receiver) is one band, not one for each LO."""
COMPRESSION_LIMITS = (0.95, 1.05)
"""GNPLT's default limits."""


def median_and_scatter(values: ArrayLike) -> tuple[float, float]:
    """(median, 1.4826 x median absolute deviation) of the finite values; nan where there are too few."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    if not len(array):
        return float("nan"), float("nan")
    middle = float(np.median(array))
    return middle, float(RATIO_MAD * np.median(np.abs(array - middle))) if len(array) > 1 else float("nan")


def stations_of(logs: Sequence[FsLog]) -> tuple[str, ...]:
    """The station of each log, as its site or its file name tells."""
    return tuple(log.site.name or log.site.code or os.path.basename(log.path) for log in logs)


def band_labels(points: Points, stations: Sequence[str] = ()) -> NDArray[np.str_]:
    """The band of every point, as people call it: 'x.rxg', 'x.rxg · LO 8080.00', 'LO 8080.00 MHz'.

    `stations`: one for each log; where they differ, the band begins with it.
    """
    names = np.array([str(name).rsplit("/", 1)[-1] for name in points["rxg"]], dtype=np.str_)
    los = np.array([f"{lo:.2f}" for lo in points["lo_mhz"]], dtype=np.str_)
    labels: NDArray[Any] = np.array([f"LO {lo} MHz" for lo in los], dtype=object)
    for name in np.unique(names):
        if name in ("", "nan"):
            continue
        mine = names == name
        many = 1 < len(np.unique(los[mine])) <= MOST_LOS
        labels[mine] = [f"{name} · LO {lo}" for lo in los[mine]] if many else name
    if len(set(stations)) > 1:
        labels = np.array([f"{stations[log]} · {label}" for log, label in zip(points["log"], labels, strict=True)])
    return np.asarray(labels, dtype=np.str_)


def ordered_bands(points: Points, labels: NDArray[np.str_]) -> tuple[str, ...]:
    """The bands from the lowest frequency up."""
    lowest = {str(band): float(np.nanmin(points["freq_mhz"][labels == band])) for band in np.unique(labels)}
    return tuple(sorted(lowest, key=lambda band: (lowest[band], band)))


def ratio_of(points: Points) -> NDArray[np.float64]:
    """Measured over assumed Tcal: against the rxg where one was given, else against what the log assumed.

    Corrected for opacity where the rxg asks for it and the opacity is known.
    """
    ratio = np.asarray(points["ratio_corrected"], dtype=np.float64)
    for name in ("ratio", "tcal_ratio"):
        ratio = np.where(np.isfinite(ratio), ratio, points[name])
    return np.where(points["no_diode"], np.nan, ratio)


@dataclass(frozen=True)
class BandSummary:
    """One band and polarisation, deleted points left out (`deleted` counts them). nan: not measured."""

    band: str
    pol: str
    points: int
    deleted: int
    scans: int
    sources: int
    detectors: int
    no_diode: int
    freq_low_mhz: float
    freq_high_mhz: float
    ratio_count: int
    ratio_median: float
    ratio_scatter: float
    compression_median: float
    compression_outside: float
    """Share of the points outside COMPRESSION_LIMITS."""
    tsys_median_k: float
    sefd_median_jy: float
    sefd_scatter: float
    """Relative, of each detector about its own median, so that steps between frequencies do not count."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def groups(points: Points, labels: NDArray[np.str_]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """(band, pol, mask) of every combination there is, lowest frequency first."""
    for band in ordered_bands(points, labels) if len(points) else ():
        for pol in POLS:
            mine = (labels == band) & (points["pol"] == pol)
            if mine.any():
                yield band, pol, mine


def summarise(points: Points, labels: NDArray[np.str_]) -> tuple[BandSummary, ...]:
    """One summary for each band and polarisation."""
    return tuple(_summary(points, band, pol, mine) for band, pol, mine in groups(points, labels))


def _summary(points: Points, band: str, pol: str, mine: NDArray[np.bool_]) -> BandSummary:
    kept = mine & ~points["deleted"]
    diode = kept & ~points["no_diode"]
    ratio = ratio_of(points)[diode]
    ratio_median, ratio_scatter = median_and_scatter(ratio)
    compression = np.asarray(points["compression"][diode], dtype=np.float64)
    known = compression[np.isfinite(compression)]
    outside = (known < COMPRESSION_LIMITS[0]) | (known > COMPRESSION_LIMITS[1])
    return BandSummary(
        band=band,
        pol=pol,
        points=int(kept.sum()),
        deleted=int((mine & points["deleted"]).sum()),
        scans=len(np.unique(points["scan"][kept])),
        sources=len(np.unique(points["source"][kept])),
        detectors=len(np.unique(points["detector"][kept])),
        no_diode=int((kept & points["no_diode"]).sum()),
        freq_low_mhz=float(np.nanmin(points["freq_mhz"][mine])),
        freq_high_mhz=float(np.nanmax(points["freq_mhz"][mine])),
        ratio_count=int(np.isfinite(ratio).sum()),
        ratio_median=ratio_median,
        ratio_scatter=ratio_scatter,
        compression_median=median_and_scatter(compression)[0],
        compression_outside=float(outside.mean()) if len(known) else float("nan"),
        tsys_median_k=median_and_scatter(points["tsys_k"][diode])[0],
        sefd_median_jy=median_and_scatter(points["sefd_jy"][kept])[0],
        sefd_scatter=_own_scatter(points, kept),
    )


def _own_scatter(points: Points, kept: NDArray[np.bool_]) -> float:
    """Robust scatter of SEFD over the median of the same detector and frequency."""
    sefd = np.asarray(points["sefd_jy"], dtype=np.float64)
    use = kept & (sefd > 0)
    pairs = np.char.add(points["detector"][use].astype(np.str_), points["freq_mhz"][use].astype(np.str_))
    names, which, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    middles = np.array([np.median(sefd[use][which == k]) for k in range(len(names))])
    repeated = counts[which] > 1
    return median_and_scatter((sefd[use] / middles[which])[repeated])[1] if repeated.any() else float("nan")
