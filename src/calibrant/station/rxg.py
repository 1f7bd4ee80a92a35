"""The `.rxg` file: what a receiver's amplitude calibration rests on. Read, evaluated, and chosen for an LO.

`rxg_check.check_rxg` says what is wrong with a file, `rxg_edit` changes one and keeps the bytes it need not change.
Source: the Field System's reader (FS 9.5 to 10.2), whose three layouts are all read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.errors import DataError, FormatError, ParameterError
from calibrant.station.curve import GainCurve
from calibrant.station.rxg_layout import Layout, Pol, scan
from calibrant.station.text import read_text

LIGHT_M_PER_S = 299792458.0
LO_TOLERANCE_MHZ = 0.001

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rxg:
    """One receiver file. Frequencies in MHz, temperatures in K, DPFU in K/Jy, angles in degrees."""

    path: str
    kind: Literal["fixed", "range"]
    lo_mhz: tuple[float, ...]
    """fixed: one or two LO values; range: lowest and highest."""
    date: tuple[int, int, int]
    """Year, month, day of the last change."""
    beam_kind: Literal["frequency", "constant"]
    beam_value: float
    """frequency: factor k of 1.22 c / (nu D); constant: the FWHM in degrees."""
    pols: tuple[Pol, ...]
    """In the order of the file."""
    dpfu: dict[Pol, float]
    curve: GainCurve
    tcal: dict[Pol, tuple[Floats, Floats]]
    """(MHz ascending, K) of each polarisation; negative K: there is no diode."""
    trec: dict[Pol, float]
    """0: unknown."""
    spill_elevation: Floats
    spill_k: Floats
    generation: Literal[1, 2, 3]
    """1: FS 9.5.15 to 9.6.4; 2: to 9.10, one Trec for all; 3: since 9.11, one Trec per polarisation."""

    @property
    def name(self) -> str:
        """File name without its folder."""
        return os.path.basename(self.path)

    def matches(self, lo_mhz: float) -> bool:
        """Whether the Field System takes this file for an LO (within 0.001 MHz)."""
        if self.kind == "fixed":
            return any(abs(lo_mhz - lo) < LO_TOLERANCE_MHZ for lo in self.lo_mhz)
        return self.lo_mhz[0] - LO_TOLERANCE_MHZ <= lo_mhz <= self.lo_mhz[1] + LO_TOLERANCE_MHZ

    def tcal_at(self, pol: Pol, freq_mhz: ArrayLike) -> Floats:
        """Tcal (K) at frequencies: linear, constant beyond the ends of the table, 0 without rows."""
        freq, tcal = self.tcal.get(pol, (np.empty(0), np.empty(0)))
        wanted = np.asarray(freq_mhz, dtype=np.float64)
        return np.interp(wanted, freq, tcal) if len(freq) else np.zeros_like(wanted)

    def tcal_covers(self, pol: Pol, freq_mhz: ArrayLike) -> NDArray[np.bool_]:
        """Which frequencies lie inside the table of a polarisation, where Tcal is not an extrapolation."""
        freq, _ = self.tcal.get(pol, (np.empty(0), np.empty(0)))
        wanted = np.asarray(freq_mhz, dtype=np.float64)
        if not len(freq):
            return np.zeros(wanted.shape, dtype=np.bool_)
        return np.asarray((wanted >= freq[0] - LO_TOLERANCE_MHZ) & (wanted <= freq[-1] + LO_TOLERANCE_MHZ))

    def gain(self, pol: Pol, elevation_deg: ArrayLike) -> Floats:
        """DPFU * g(elevation) in K/Jy; ParameterError for a polarisation that the file does not have."""
        if pol not in self.dpfu:
            raise ParameterError(f"{self.path}: found no polarisation {pol!r}, expected one of {', '.join(self.pols)}.")
        return self.dpfu[pol] * self.curve(elevation_deg)

    def spillover(self, elevation_deg: ArrayLike) -> Floats:
        """Tspill (K): linear in elevation, constant beyond the ends, 0 for an empty table."""
        wanted = np.asarray(elevation_deg, dtype=np.float64)
        if not len(self.spill_elevation):
            return np.zeros_like(wanted)
        return np.interp(wanted, self.spill_elevation, self.spill_k)

    def fwhm(self, freq_mhz: ArrayLike, diameter_m: float) -> Floats:
        """Beam FWHM in degrees: k 1.22 c / (nu D), or the constant of the file."""
        freq = np.asarray(freq_mhz, dtype=np.float64)
        if self.beam_kind == "constant":
            return np.full_like(freq, self.beam_value)
        return np.degrees(self.beam_value * 1.22 * LIGHT_M_PER_S / (freq * 1e6 * diameter_m))


def parse(text: str, path: str) -> Rxg:
    """The content of a text; `path` names it in messages.

    Raises FormatError at the first error. What has only one possible meaning is read, although the Field System
    refuses it: the older layouts, and whatever `check --fix` can mend.
    """
    layout = scan(text)
    for problem in layout.problems:
        if problem.severity == "error" and problem.edit is None:
            raise FormatError(problem.describe(path))
    return _build(layout, path)


def read_rxg(path: str | os.PathLike[str]) -> Rxg:
    """Read a file; FormatError or DataError where it cannot be."""
    return parse(read_text(path), os.fspath(path))


def calendar_date(written: tuple[int, int, int]) -> tuple[int, int, int]:
    """(year, month, day) of a date line; month 0 marks a day of the year."""
    year, month, day = written
    if month:
        return written
    when = date(max(year, 1), 1, 1) + timedelta(days=day - 1)
    return year, when.month, when.day


def _build(layout: Layout, path: str) -> Rxg:
    if layout.curve is None or not layout.dpfu or not layout.tcal:
        raise FormatError(f"{path}: found no complete receiver file, expected the lines of an .rxg. Check the file.")
    spill = np.array([(elevation, kelvin) for _, elevation, kelvin in layout.spill], dtype=np.float64).reshape(-1, 2)
    spill = spill[np.argsort(spill[:, 0], kind="stable")]
    trec = layout.trec if len(layout.trec) == len(layout.pols) else (layout.trec or (0.0,)) * len(layout.pols)
    return Rxg(
        path=path,
        kind=layout.kind,
        lo_mhz=layout.lo_mhz,
        date=calendar_date(layout.date),
        beam_kind=layout.beam_kind,
        beam_value=layout.beam_value,
        pols=layout.pols,
        dpfu=dict(zip(layout.pols, layout.dpfu, strict=True)),
        curve=layout.curve,
        tcal={pol: _table(layout, pol) for pol in layout.pols},
        trec=dict(zip(layout.pols, trec, strict=True)),
        spill_elevation=spill[:, 0],
        spill_k=spill[:, 1],
        generation=layout.generation,
    )


def _table(layout: Layout, pol: Pol) -> tuple[Floats, Floats]:
    rows = sorted(((row.freq_mhz, row.tcal_k) for row in layout.tcal if row.pol == pol), key=lambda row: row[0])
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


class Receivers:
    """The receiver files of a station, in sorted order of their names as the Field System reads them."""

    def __init__(self, files: Iterable[Rxg]) -> None:
        self.files = sorted(files, key=lambda rxg: rxg.path)

    @classmethod
    def read(cls, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Receivers:
        """Read files, and all `*.rxg` of directories, each once.

        Raises DataError where there is nothing to read, and for two files of the same name, by which points know them.
        """
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        return cls([read_rxg(path) for path in _files(given)])

    def __len__(self) -> int:
        return len(self.files)

    def for_lo(self, lo_mhz: float, pol: Pol | None = None) -> Rxg | None:
        """The file for an LO (MHz), only among those that have `pol` where it is given; None where there is none."""
        return self.choose(lo_mhz, pol)[0]

    def choose(self, lo_mhz: float, pol: Pol | None = None) -> tuple[Rxg | None, str]:
        """The file for an LO, and a sentence where several match (else empty).

        A fixed file wins over a range; of several fixed ones the last, as in the Field System; of several ranges the
        narrowest, where the Field System takes the last one read.
        """
        able = [rxg for rxg in self.files if (pol is None or pol in rxg.pols) and rxg.matches(lo_mhz)]
        fixed = [rxg for rxg in able if rxg.kind == "fixed"]
        if not able:
            return None, ""
        chosen = fixed[-1] if fixed else min(able, key=lambda rxg: rxg.lo_mhz[1] - rxg.lo_mhz[0])
        return chosen, _several(lo_mhz, chosen, fixed or able)


def _several(lo_mhz: float, chosen: Rxg, able: list[Rxg]) -> str:
    others = [rxg.name for rxg in able if rxg is not chosen]
    if not others:
        return ""
    why = "the last name" if chosen.kind == "fixed" else "the narrowest range; the Field System may take another"
    return f"LO {lo_mhz:g} MHz: {chosen.name} used ({why}), not {', '.join(others)}"


def _files(given: list[str | os.PathLike[str]]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted(path.glob("*.rxg"))
            if not inside:
                raise DataError(f"{path}: found no *.rxg, expected receiver files. Give their directory.")
            files += inside
        else:
            files.append(path)
    once = list({path.resolve(): path for path in reversed(files)}.values())[::-1]
    for number, path in enumerate(once):
        same = next((other for other in once[:number] if other.name == path.name), None)
        if same:
            raise DataError(f"{path}: found the same name as {same}, expected different names. Rename or omit one.")
    return once
