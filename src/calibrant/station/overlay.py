"""Lines and marks that belong to a pair of axes: what the file says, and the fit where it is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calibrant.plots.station.material import Line
from calibrant.station.figures import (
    file_gain,
    file_tcal,
    fitted_gain,
    receivers_of,
    tcal_columns,
    trec_segments,
)
from calibrant.station.fitted import BandFits, fit_all

if TYPE_CHECKING:
    from calibrant.station.load import Loaded

Overlay = tuple[dict[str, Any], list[str]]
"""Fields of a `Scatter`, and remarks."""


def gain(loaded: Loaded, fit: bool) -> Overlay:
    """DPFU times curve against elevation."""
    fits, notes = _fits(loaded, fit, "gain")
    old, new = [], []
    for rxg, pol, _ in receivers_of(loaded.points, loaded.receivers):
        old.append((f"{rxg.name} {pol}", replace(file_gain(rxg, pol), tag=pol)))
        found = fits[rxg.name].gain if rxg.name in fits else None
        if found is not None and pol in found.dpfu:
            new.append((f"fit {pol}: DPFU {found.dpfu[pol]:.5f}", replace(fitted_gain(found, pol), tag=pol)))
    return {"from_file": old, "fitted": new}, notes


def tcal(loaded: Loaded, fit: bool) -> Overlay:
    """Tcal table against frequency."""
    fits, notes = _fits(loaded, fit, "tcal")
    old, new = [], []
    for rxg, pol, _ in receivers_of(loaded.points, loaded.receivers):
        freq, kelvin = file_tcal(rxg, pol)
        if len(freq):
            old.append((f"{rxg.name} {pol}", Line(freq, kelvin, tag=pol)))
        places, values, errors = tcal_columns(fits[rxg.name].tcal if rxg.name in fits else None, pol)
        if len(places):
            new.append((f"fit {pol}", Line(places, values, values - errors, values + errors, tag=pol)))
    return {"from_file": old, "fitted": new}, notes


def trec(loaded: Loaded, fit: bool) -> Overlay:
    """Trec on file at airmass 0, and the fits by time."""
    fits, notes = _fits(loaded, fit, "trec")
    marks, new = [], []
    for rxg, pol, mine in receivers_of(loaded.points, loaded.receivers):
        old = float({str(key): value for key, value in rxg.trec.items()}.get(pol, 0.0))
        if old > 0:
            marks.append((f"{rxg.name} {pol}: Trec {old:.1f} K", 0.0, old))
        found = fits[rxg.name].trec if rxg.name in fits else None
        segments = trec_segments(found, pol, np.asarray(loaded.points["airmass"][mine], dtype=np.float64))
        for number, one in enumerate(segments):
            label = f"fit {pol}: Trec {one.trec:.1f} K" if not number else ""
            new.append((label, one.line))
    return {"marks": marks, "fitted": new}, notes


def _fits(loaded: Loaded, wanted: bool, name: str) -> tuple[dict[str, BandFits], list[str]]:
    """The fits of one kind, and why those that lack could not be made."""
    if not wanted:
        return {}, []
    fits = fit_all(loaded, kinds=(name,))
    return fits, [f"{rxg}: {one.failed[name]}" for rxg, one in fits.items() if name in one.failed]
