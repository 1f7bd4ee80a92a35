"""The GAIN groups of an antab, from the receiver files that its columns use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calibrant.station.antab_made import Column, Level
from calibrant.station.rxg import Rxg

Say = Callable[[str, Level, str], None]
Files = dict[tuple[float, str], Rxg]
"""(LO, polarisation) -> file."""


def gain_groups(columns: list[Column], files: Files, say: Say) -> list[dict[str, Any]]:
    """The fields of the GAIN groups: one for each pair of receiver files of R and L. `say` takes findings."""
    pairs: dict[tuple[str, str], tuple[Rxg | None, Rxg | None, list[Column]]] = {}
    for column in columns:
        right, left = (_file_at(columns, files, column.detector.freq_mhz, pol) for pol in ("r", "l"))
        names = (right.path if right else "", left.path if left else "")
        pairs.setdefault(names, (right, left, []))[2].append(column)
    return [gain for right, left, of_pair in pairs.values() for gain in _groups(right, left, of_pair, say)]


def _file_at(columns: list[Column], files: Files, freq_mhz: float, pol: str) -> Rxg | None:
    """The file of the detectors of a polarisation at a frequency."""
    for column in columns:
        d = column.detector
        if d.pol == pol and abs(d.freq_mhz - freq_mhz) < 0.5 * d.bandwidth_mhz:
            return files.get((d.lo_mhz, d.pol))
    return None


def _groups(right: Rxg | None, left: Rxg | None, columns: list[Column], say: Say) -> list[dict[str, Any]]:
    # Half a band more on each side, as antabfs has it: the readers compare with frequencies that may be rounded.
    low = min(c.detector.freq_mhz - c.detector.bandwidth_mhz for c in columns)
    high = max(c.detector.freq_mhz + c.detector.bandwidth_mhz for c in columns)
    freq = (round(low, 6), round(high, 6))
    some = right or left
    if some is None:
        say(
            "no GAIN", "bad", f"No rxg for {freq[0]:g} to {freq[1]:g} MHz: the antab has no GAIN for these frequencies."
        )
        return []
    if right is not None and left is not None and right.curve != left.curve:
        say("two curves", "check", f"{right.name} (R) and {left.name} (L) have different curves: two GAIN groups with "
            "RCP and LCP, which casa-vlbi does not tell apart.")  # fmt: skip
        return [_fields(right, (right.dpfu["r"],), freq, ("r",)), _fields(left, (left.dpfu["l"],), freq, ("l",))]
    values = [(right or some).dpfu.get("r"), (left or some).dpfu.get("l")]
    known = tuple(value for value in values if value is not None)
    pols = ("r",) if values[1] is None else ("l",) if values[0] is None else ()
    if some.curve.opacity_corrected:
        say("opacity corrected", "note", f"The curve of {some.name} is opacity corrected: said in a comment, since "
            "a word in POLY stops readers. Tsys still contains the atmosphere.")  # fmt: skip
    if some.pols[0] == "l" and len(set(known)) == 2:
        say(
            "order of DPFU",
            "note",
            f"{some.name} lists L before R; DPFU is written in the order R, L that readers assume.",
        )
    return [_fields(some, known, freq, pols)]


def _fields(rxg: Rxg, dpfu: tuple[float, ...], freq: tuple[float, float], pols: tuple[str, ...]) -> dict[str, Any]:
    corrected = (f" The gain curve of {rxg.name} is opacity corrected.",) if rxg.curve.opacity_corrected else ()
    return {
        "mount": rxg.curve.kind.upper(), "dpfu": dpfu, "poly": rxg.curve.coefficients, "freq_mhz": freq, "pols": pols,
        "comments": corrected,
    }  # fmt: skip
