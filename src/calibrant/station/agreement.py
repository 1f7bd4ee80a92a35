"""ONOFF as recomputed against the Field System's own VAL and SIG rows.

The Field System computes with more digits than it prints. A disagreement is a difference that neither the
tolerance nor the printed digits of VAL, of the levels, of Tcal, flux, DPFU and gain can explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.station.onoff import VALUES, Reduction, reduce_scans
from calibrant.station.records import OnOffScan

Floats = NDArray[np.float64]

WIDTHS = {"compression": (6, 4), "tsys_k": (5, 2), "sefd_jy": (6, 1), "tcal_jy": (7, 3), "tcal_ratio": (5, 2)}
"""Columns and decimals of VAL and SIG; a number too wide for its columns loses decimals."""
TCAL_WIDTH = (5, 3)
LINES_SHOWN = 5


@dataclass(frozen=True)
class Disagreement:
    """One number of a VAL row that the levels do not give."""

    file: str
    line: int
    detector: str
    quantity: str
    ours: float
    fs: float

    @property
    def relative(self) -> float:
        return abs(self.ours / self.fs - 1) if self.fs else float("inf")


@dataclass(frozen=True)
class Agreement:
    """How the VAL rows compare. Rows count once; a row agrees when all its numbers do."""

    rows: int
    """VAL rows of detectors with levels."""
    close: int
    """Rows with all numbers within tolerance and the last digit of VAL."""
    rounded: int
    """Further rows that the printed digits of levels and a-priori values explain."""
    worst: dict[str, float]
    """Largest relative difference of each quantity, digits or not."""
    disagreements: list[Disagreement]
    tolerance: float

    @property
    def disagreeing_rows(self) -> int:
        return self.rows - self.close - self.rounded

    def summary(self) -> str:
        if not self.rows:
            return "The Field System printed no VAL row that could be compared."
        words = f"{self.rows} VAL rows of the Field System: {self.close} repeated within {self.tolerance:g}"
        if self.rounded:
            words += f", {self.rounded} within the digits printed of their counts and a-priori values"
        if not self.disagreements:
            return words + "; none disagrees."
        found = sorted(self.disagreements, key=lambda one: -one.relative)
        words += f"; {self.disagreeing_rows} DISAGREE. The worst:"
        lines = [
            f"  {one.file}:{one.line}: {one.detector} {one.quantity}: {one.ours:.6g}, printed {one.fs:g}"
            for one in found[:LINES_SHOWN]
        ]
        return "\n".join([words, *lines])

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "close": self.close,
            "rounded": self.rounded,
            "disagree": self.disagreeing_rows,
            "tolerance": self.tolerance,
            "worst": self.worst,
            "disagreements": [vars(one) for one in self.disagreements],
        }


def agreement(scans: Sequence[OnOffScan], tolerance: float = 1e-3) -> Agreement:
    """Compare all VAL rows that have levels with what the levels and APR rows give."""
    reduction = reduce_scans(scans, errors="fs")
    printed = [scans[int(scan)].printed.get(row.detector) for scan, row in _rows(reduction)]
    digits = _input_rounding(reduction)
    compared = np.zeros(len(reduction), dtype=bool)
    close, explained = np.ones(len(reduction), dtype=bool), np.ones(len(reduction), dtype=bool)
    worst: dict[str, float] = {}
    found: list[Disagreement] = []
    for name in VALUES:
        fs = np.array([getattr(row, name) if row else np.nan for row in printed], dtype=np.float64)
        ours = reduction.values[name]
        both = np.isfinite(ours) & np.isfinite(fs)
        difference = np.where(both, np.abs(ours - fs), 0.0)
        near = tolerance * np.abs(fs) + 1.001 * half_unit(fs, *WIDTHS[name])
        is_close, is_explained = difference <= near, difference <= near + digits[name]
        compared |= both
        close &= is_close | ~both
        explained &= is_explained | ~both
        known = both & (fs != 0)
        worst[name] = float(np.max(difference[known] / np.abs(fs[known]), initial=0.0))
        found += [
            _disagreement(scans, reduction, printed, int(row), name) for row in np.flatnonzero(both & ~is_explained)
        ]
    rounded = int((compared & explained & ~close).sum())
    return Agreement(int(compared.sum()), int((compared & close).sum()), rounded, worst, found, tolerance)


def _rows(reduction: Reduction) -> zip[tuple[Any, Any]]:
    return zip(reduction.scan, reduction.apriori, strict=True)


def _disagreement(
    scans: Sequence[OnOffScan], reduction: Reduction, printed: Sequence[Any], row: int, name: str
) -> Disagreement:
    val, scan = printed[row], scans[int(reduction.scan[row])]
    return Disagreement(scan.file, val.line, val.detector, name, float(reduction.values[name][row]), getattr(val, name))


def half_unit(value: Floats, width: int, decimals: int) -> Floats:
    """Half of the last digit printed of numbers in `width` columns with at most so many decimals."""
    size = np.nan_to_num(np.abs(value))
    whole = np.floor(np.log10(np.maximum(size, 1.0))) + 1 + (value < 0)
    return np.asarray(0.5 * 10.0 ** -np.clip(width - whole - 1, 0, decimals))


def _input_rounding(reduction: Reduction) -> dict[str, Floats]:
    """How far each value may be off because what went into it was printed with few digits: a strict bound."""
    tcal = np.array([row.tcal_k for row in reduction.apriori], dtype=np.float64)
    dpfu = np.array([row.dpfu for row in reduction.apriori], dtype=np.float64)
    gain = np.array([row.gain for row in reduction.apriori], dtype=np.float64)
    flux = reduction.flux_jy
    coarse = bool(np.all(np.abs(flux - np.round(flux, 1))[np.isfinite(flux)] < 1e-6))
    with np.errstate(divide="ignore", invalid="ignore"):
        of_tcal = half_unit(tcal, *TCAL_WIDTH) / np.abs(tcal)
        of_flux = (0.05 if coarse else 0.005) / np.abs(flux)
        of_gain = 0.5e-6 / np.abs(dpfu) + 0.5e-5 / np.abs(gain)
    relative = {
        "compression": 0.0,
        "tsys_k": of_tcal,
        "sefd_jy": of_flux,
        "tcal_jy": of_flux,
        "tcal_ratio": of_flux + of_gain + of_tcal,
    }
    return {
        name: np.nan_to_num(reduction.rounding[name] + np.abs(reduction.values[name]) * relative[name])
        for name in VALUES
    }
