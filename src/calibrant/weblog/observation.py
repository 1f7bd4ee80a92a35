"""What the report needs of the observation itself: scans, elevations, the names of the hands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex
from calibrant.plots.material import Scan

J2000_MJD = 51544.5
DAY = 86400.0


def elevation(time: float, direction: NDArray[np.float64], position: NDArray[np.float64]) -> float:
    """Elevation in degrees of (right ascension, declination) in rad, seen from an ITRF position (m) at s MJD UTC.

    Mean sidereal time, spherical Earth, no precession or refraction: good to about half a degree, for a figure.
    """
    if not np.linalg.norm(position) > 0:
        return float("nan")
    longitude = np.arctan2(position[1], position[0])
    latitude = np.arcsin(position[2] / np.linalg.norm(position))
    sidereal = np.radians((280.46062 + 360.98564737 * (time / DAY - J2000_MJD)) % 360)
    hour_angle = sidereal + longitude - direction[0]
    sine = np.sin(latitude) * np.sin(direction[1]) + np.cos(latitude) * np.cos(direction[1]) * np.cos(hour_angle)
    return float(np.degrees(np.arcsin(np.clip(sine, -1, 1))))


def scans_of(index: MSIndex) -> list[Scan]:
    """Every (scan, field) in the order of time, with its intents and the elevation of its middle."""
    key = index.scan.astype(np.int64) * len(index.fields) + index.field
    centre = np.median(index.antennas.position, axis=0)
    result = []
    for one in np.unique(key):
        rows = key == one
        times, field = index.time[rows], int(one % len(index.fields))
        states = np.unique(index.state[rows])
        intents = tuple(dict.fromkeys(word for state in states for word in index.intents(int(state))))
        start, end = float(times.min()), float(times.max())
        height = elevation((start + end) / 2, index.fields.direction[field], centre)
        result.append(Scan(int(one // len(index.fields)), index.fields.name[field], intents, start, end, height))
    return sorted(result, key=lambda scan: scan.start)


def receptors_of(index: MSIndex) -> tuple[str, ...]:
    """Names of the parallel hands in the order of the receptors, of the setup that has most of them."""
    hands = [tuple(setup.names[place] for place in setup.parallel) for setup in index.polarizations]
    return max(hands, key=len, default=())
