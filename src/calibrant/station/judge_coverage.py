"""Which elevations and frequencies the points cover, and the gaps by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from calibrant.station.bands import groups

if TYPE_CHECKING:
    from calibrant.station.points import Points
    from calibrant.station.rxg import Receivers, Rxg
    from calibrant.station.rxg_layout import Pol

GAP_DEG = 15.0
"""A gain curve of second degree turns by a few percent in this range: a wider gap is a guess."""
LOWEST_DEG, HIGHEST_DEG = 25.0, 65.0
"""Observations should begin below and end above: schedules use 10 to 85 degrees."""


@dataclass(frozen=True)
class FrequencyCoverage:
    """One band and polarisation: what its Tcal table has and what was observed (MHz)."""

    band: str
    pol: str
    observed: tuple[float, ...]
    table: tuple[float, ...]
    unobserved: tuple[float, ...]
    """Entries of the table that are nearest to no observed frequency."""
    outside: tuple[float, ...]
    """Observed frequencies beyond the ends of the table, which get its last value."""


@dataclass(frozen=True)
class Coverage:
    """Elevations of the included points, the gaps between them (low, high), and frequencies by band."""

    scans: int
    elevation_low: float
    elevation_high: float
    elevation_gaps: tuple[tuple[float, float], ...]
    frequencies: tuple[FrequencyCoverage, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def elevation_sentences(self) -> list[str]:
        """Gaps in words."""
        told = [f"no data between {low:.0f}° and {high:.0f}° elevation" for low, high in self.elevation_gaps]
        if self.elevation_low > LOWEST_DEG:
            told.append(f"no data below {self.elevation_low:.0f}° elevation")
        if self.elevation_high < HIGHEST_DEG:
            told.append(f"no data above {self.elevation_high:.0f}° elevation")
        return told

    def frequency_checks(self) -> list[tuple[int, str, str]]:
        """(level, topic, sentence): frequencies outside a table are to be looked at, unobserved entries are told."""
        told = []
        for one in self.frequencies:
            name = f"{one.band} {one.pol}"
            if one.outside:
                count = len(one.outside)
                words = f"{name}: {count} observed {_plural(count, 'frequency', 'frequencies')} outside the Tcal table"
                edge = f"({one.table[0]:g} to {one.table[-1]:g} MHz)" if one.table else "(it has no rows for it)"
                told.append((1, "coverage", f"{words} {edge}: {_listed(one.outside)}"))
            if one.unobserved:
                words = (
                    f"{name}: Tcal table has {len(one.unobserved)} of {len(one.table)} frequencies without observation"
                )
                told.append((0, "coverage", words))
        return told


def coverage(points: Points, labels: NDArray[np.str_], receivers: Receivers | None) -> Coverage:
    """Of the points that are not deleted."""
    kept = ~np.asarray(points["deleted"], dtype=bool)
    elevations = np.unique(np.round(points["elevation_deg"][kept & np.isfinite(points["elevation_deg"])], 1))
    steps = np.flatnonzero(np.diff(elevations) > GAP_DEG)
    return Coverage(
        scans=len(np.unique(points["scan"][kept])),
        elevation_low=float(elevations[0]) if len(elevations) else float("nan"),
        elevation_high=float(elevations[-1]) if len(elevations) else float("nan"),
        elevation_gaps=tuple((float(elevations[k]), float(elevations[k + 1])) for k in steps),
        frequencies=tuple(
            _frequencies(points, band, pol, mine & kept, receivers) for band, pol, mine in groups(points, labels)
        ),
    )


def _frequencies(
    points: Points, band: str, pol: str, mine: NDArray[np.bool_], receivers: Receivers | None
) -> FrequencyCoverage:
    observed = np.unique(points["freq_mhz"][mine])
    rxg = receiver_of(points, mine, receivers)
    if rxg is None:
        return FrequencyCoverage(band, pol, tuple(observed.tolist()), (), (), ())
    table = np.asarray(next((rows[0] for name, rows in rxg.tcal.items() if name == pol), []), dtype=np.float64)
    seen = np.abs(observed[:, None] - table[None, :]).argmin(axis=1) if len(table) and len(observed) else []
    outside = observed[~rxg.tcal_covers(cast("Pol", pol), observed)] if len(observed) else observed
    return FrequencyCoverage(
        band=band,
        pol=pol,
        observed=tuple(observed.tolist()),
        table=tuple(table.tolist()),
        unobserved=tuple(np.delete(table, np.unique(seen).astype(int)).tolist()),
        outside=tuple(outside.tolist()),
    )


def receiver_of(points: Points, mine: NDArray[np.bool_], receivers: Receivers | None) -> Rxg | None:
    """The rxg file of a group of points."""
    pol = str(points["pol"][mine][0]) if mine.any() else ""
    if receivers is None or pol not in ("l", "r"):
        return None
    return receivers.for_lo(float(points["lo_mhz"][mine][0]), cast("Pol", pol))


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _listed(values: tuple[float, ...], most: int = 6) -> str:
    text = ", ".join(f"{value:g}" for value in values[:most])
    return text + (f" and {len(values) - most} more" if len(values) > most else "") + " MHz"
