"""Which frequencies of a Tcal fit are interference rather than noise diode.

A frequency that differs from its neighbours may be real: diodes and old tables have structure. It is masked only where
its own points say so as well (they scatter, are left out as outliers, or are compressed), or where it stands out from
both sides by far more than the table's own structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 5
"""Frequencies of a polarisation that are needed to tell one from the others."""
NEAR = 3
"""Frequencies on each side that are compared with."""
JUMP, SIGMAS = 0.1, 5.0
"""Off the neighbours: by more than this fraction, and by more than so many sigma."""
DISTURBED_JUMP, DISTURBED_SIGMAS = 0.05, 2.0
"""The same where the points themselves look disturbed."""
STEADY_JUMP, STEADY_STRUCTURE = 0.3, 5.0
"""Off both sides though the points are steady: by more than this fraction and this many typical steps of the table."""
SCATTER, SCATTER_TIMES = 0.03, 4.0
"""Relative scatter of disturbed points: above this, and above so many times that of the other frequencies."""
HOPELESS = 0.15
"""Scatter of disturbed points beyond which there is nothing to merge, wherever they lie."""
LOST = 0.3
"""Share of points left out as outliers."""
COMPRESSED = 0.05
"""|median gain compression - 1|."""


@dataclass(frozen=True)
class Frequency:
    """What is known of one frequency. `ratio`: measured over assumed Tcal; `scatter` of its points, relative."""

    ratio: float
    error: float
    scatter: float
    lost: float
    """Share of its points left out as outliers."""
    compression: float
    """Median; nan where unknown."""
    old_k: float


def judge(found: list[Frequency]) -> tuple[list[str], list[str]]:
    """(why each is masked, what is to be said of each that is not), of one polarisation in order of frequency."""
    masked, noted = [""] * len(found), [""] * len(found)
    if len(found) < FEWEST:
        return masked, noted
    ratio = np.array([one.ratio for one in found])
    old = np.array([one.old_k for one in found])
    usual = float(np.nanmedian([one.scatter for one in found]))
    for i, one in enumerate(found):
        near = [k for k in range(max(0, i - NEAR), min(len(found), i + NEAR + 1)) if k != i]
        middle = float(np.median(ratio[near]))
        width = 1.4826 * float(np.median(np.abs(ratio[near] - middle)))
        off = abs(ratio[i] - middle) / middle
        sigma = np.hypot(np.nan_to_num(one.error), width) / middle
        signs = _disturbed(one, usual)
        told = f"{100 * (ratio[i] / middle - 1):+.0f} % against its neighbours"
        if signs and (off > max(DISTURBED_JUMP, DISTURBED_SIGMAS * sigma) or one.scatter > HOPELESS):
            masked[i] = f"{told + ', ' if off > DISTURBED_JUMP else ''}{signs}: interference or saturation?"
        elif off > max(JUMP, SIGMAS * sigma):
            if _stands_alone(i, ratio, old, float(np.nan_to_num(one.error))):
                masked[i] = f"{told} on both sides: interference?"
            else:
                noted[i] = f"{told}, but steady (scatter {100 * one.scatter:.1f} %)"
    return masked, noted


def _disturbed(one: Frequency, usual: float) -> str:
    """What its own points say, in words; empty where they look well."""
    signs = []
    if one.scatter > max(SCATTER, SCATTER_TIMES * usual):
        signs.append(f"scatter {100 * one.scatter:.0f} % (others {100 * usual:.1f} %)")
    if one.lost > LOST:
        signs.append(f"{100 * one.lost:.0f} % of its points are outliers")
    if abs(one.compression - 1) > COMPRESSED:
        signs.append(f"gain compression {one.compression:.2f}")
    return ", ".join(signs)


def _stands_alone(i: int, ratio: Floats, old: Floats, error: float) -> bool:
    """Whether it differs alike from both sides (from the next two, at an end) by far more than the table's steps."""
    sides = [k for k in (i - 1, i + 1) if 0 <= k < len(ratio)]
    sides += [] if len(sides) == 2 else [2 if i == 0 else i - 2]
    steps = [np.abs(np.diff(column[column > 0])) / column[column > 0][:-1] for column in (np.delete(ratio, i), old)]
    structure = max((float(np.median(one)) for one in steps if len(one)), default=0.0)
    differences = (ratio[i] - ratio[sides]) / ratio[sides]
    least = max(STEADY_JUMP, STEADY_STRUCTURE * structure, SIGMAS * error / ratio[i])
    return bool(np.all(np.abs(differences) > least) and len(set(np.sign(differences).tolist())) == 1)
