"""What is not known of some points, in sentences with their number: nothing is left out silently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from calibrant.station.derived import opacity_refusals
from calibrant.station.points import Points

if TYPE_CHECKING:
    from calibrant.station.rxg import Receivers
    from calibrant.station.rxg_layout import Pol


def notes_of(points: Points) -> Iterator[str]:
    """Sentences about direction, polarisation and opacity."""
    yield from places(points)
    yield from opacities(points)


def choices(points: Points, receivers: Receivers | None) -> Iterator[str]:
    """Which receiver file was taken where several match."""
    pairs = {(float(lo), str(pol)) for lo, pol in zip(points["lo_mhz"], points["pol"], strict=True) if pol}
    told = {receivers.choose(lo, cast("Pol", pol))[1] for lo, pol in sorted(pairs)} if receivers else set()
    yield from sorted(told - {""})


def places(points: Points) -> Iterator[str]:
    """Polarisation and direction come from VAL rows, which interrupted scans do not have."""
    pol, direction = points["pol"] == "", ~np.isfinite(points["elevation_deg"])
    for missing, what in ((direction, "direction"), (pol, "polarisation")):
        if missing.any():
            scans = len(np.unique(points["scan"][missing]))
            where = f"{scans} scan{'s' if scans > 1 else ''} without VAL rows"
            yield f"{int(missing.sum())} of {len(points)} points ({where}) have no {what}."


def opacities(points: Points) -> Iterator[str]:
    """Why points that an rxg serves have no opacity."""
    for reason, count in opacity_refusals(points.columns).items():
        yield f"{count} points have no opacity: {reason}."
