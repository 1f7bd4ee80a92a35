"""Choosing the reference antenna: near the centre of the array, and with little flagged.

Both are ranked as ALMA users know it: score = (1 - distance / largest distance) + unflagged share, best first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.ms.index import MSIndex


def rank_antennas(index: MSIndex, flagged: dict[str, float]) -> list[str]:
    """Names of the antennas that have data, best reference first. `flagged`: share of flagged data by antenna name."""
    score = antenna_scores(index.antennas.position, np.array([flagged.get(name, 1.0) for name in index.antennas.name]))
    order = np.argsort(-score, kind="stable")
    return [index.antennas.name[k] for k in order if np.isfinite(score[k])]


def antenna_scores(position: NDArray[np.float64], flagged: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score of every antenna; -inf where everything is flagged. position (nant, 3) m, flagged (nant,) 0..1."""
    used = flagged < 1.0
    if not used.any():
        return np.full(len(flagged), -np.inf)
    distance = np.linalg.norm(position - np.median(position[used], axis=0), axis=1)
    largest = max(float(distance[used].max()), 1e-9)
    return np.where(used, (1 - distance / largest) + (1 - flagged), -np.inf)
