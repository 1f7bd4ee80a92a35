"""Changes to an `.rxg` text that leave every other byte as it is, and the text of new files.

An edit replaces the tokens it must on their own line: blanks, text behind the values, comments, the order of rows and
the line ends stay. Written numbers parse back to what was asked within the precision given here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from itertools import pairwise

import numpy as np

from calibrant.errors import FormatError, ParameterError
from calibrant.station.curve import GainCurve
from calibrant.station.rxg import Rxg
from calibrant.station.rxg_layout import (
    END_SPILL,
    END_TCAL,
    FLAG,
    MAX_COEFFICIENTS,
    MAX_LINE,
    MAX_TCAL,
    Layout,
    Pol,
    Row,
    number,
    scan,
)
from calibrant.station.text import apply_fixes, line_end

SAME_FREQ_MHZ = 0.005
"""A measured frequency replaces the row this near; detectors are given to 0.01 MHz."""
DPFU_DIGITS = 6
CURVE_DIGITS = 8
TCAL_DECIMALS = 4
TREC_DECIMALS = 2

OLDER_LAYOUTS = ("RG -813", "RG -699")

Table = Mapping[float, float]
"""MHz -> K"""


def update_text(
    text: str,
    *,
    dpfu: Mapping[Pol, float] | None = None,
    curve: GainCurve | None = None,
    tcal: Mapping[Pol, Table] | None = None,
    scale_tcal: Mapping[Pol, float] | None = None,
    trec: Mapping[Pol, float] | None = None,
    date: Date | None = None,
    comment: str | Sequence[str] | None = None,
) -> str:
    """The text with new values and nothing else changed; the same text where nothing is asked.

    dpfu (K/Jy), trec (K): per polarisation, the others stay; a single Trec for two polarisations becomes two values.
    tcal: per polarisation MHz -> K, merged: a row within 0.005 MHz is replaced, new rows are inserted in order, all
    others stay. scale_tcal: factors for the whole table of a polarisation, before the merge. date: of the date line.
    comment: lines put at the end, behind `* `.

    A text of an older layout is written in the newest one (FS 9.11) as soon as anything changes.

    Raises FormatError where the text has errors, ParameterError for values that a receiver file cannot hold.
    """
    if all(item is None for item in (dpfu, curve, tcal, scale_tcal, trec, date, comment)):
        return text
    edit = _Edit(text)
    if dpfu is not None:
        edit.dpfu(dpfu)
    if curve is not None:
        edit.curve(curve)
    if scale_tcal is not None:
        edit.scale(scale_tcal)
    if tcal is not None:
        edit.merge(tcal)
    if trec is not None:
        edit.trec(trec)
    if date is not None:
        edit.tokens(edit.layout.at["date"], [f"{date.year:04d}", f"{date.month:02d}", f"{date.day:02d}"])
    if comment is not None:
        edit.comment([comment] if isinstance(comment, str) else comment)
    return edit.text()


def format_rxg(rxg: Rxg, comments: Iterable[str] = ()) -> str:
    """The text of a new file in the newest layout, with `comments` at its top; values are written in full."""
    year, month, day = rxg.date
    rows = [
        f"{pol}cp {_plain(freq)} {_plain(kelvin)}"
        for pol in rxg.pols
        for freq, kelvin in zip(*rxg.tcal.get(pol, ((), ())), strict=True)
    ]
    spill = [f"{_plain(el)} {_plain(kelvin)}" for el, kelvin in zip(rxg.spill_elevation, rxg.spill_k, strict=True)]
    lines = [
        *(f"* {line}".rstrip()[:MAX_LINE] for comment in comments for line in comment.splitlines()),
        "* LO in MHz: range LOW HIGH, or fixed LO [LO2]",
        " ".join([rxg.kind, *map(_plain, rxg.lo_mhz)]),
        "* date of the last change: yyyy mm dd",
        f"{year:04d} {month:02d} {day:02d}",
        "* beam: frequency FACTOR (FWHM = FACTOR*1.22*c/(freq*diameter)), or constant DEGREES",
        f"{rxg.beam_kind} {_plain(rxg.beam_value)}",
        "* polarisations; DPFU (K/Jy) and Trec follow this order",
        " ".join(f"{pol}cp" for pol in rxg.pols),
        "* DPFU in K/Jy",
        " ".join(_plain(rxg.dpfu[pol]) for pol in rxg.pols),
        f"* gain curve: ELEV or ALTAZ, POLY, coefficients from order 0 (at most {MAX_COEFFICIENTS}), [{FLAG}]",
        _poly_line(rxg.curve, [_plain(value) for value in rxg.curve.coefficients]),
        "* Tcal: polarisation, MHz, K; by polarisation, then frequency",
        *rows,
        END_TCAL,
        "* Trec in K (0: unknown)",
        " ".join(_plain(rxg.trec[pol]) for pol in rxg.pols),
        "* spill-over: elevation in degrees, K",
        *spill,
        END_SPILL,
    ]
    text = "\n".join(lines) + "\n"
    for problem in scan(text).problems:
        if problem.severity == "error":
            raise ParameterError(problem.describe("the new .rxg"))
    return text


@dataclass(frozen=True)
class _Token:
    start: int
    end: int
    text: str


class _Edit:
    """The lines being changed. New rows wait in `before` and `after`, so that line numbers stay valid."""

    def __init__(self, text: str) -> None:
        self.original = text
        self.layout = _newest(scan(text), text)
        self.lines = list(self.layout.lines)
        self.end = line_end(self.lines)
        self.before: dict[int, list[str]] = {}
        self.after: dict[int, list[str]] = {}

    def text(self) -> str:
        """The new text; the original where no value has changed."""
        if self.lines == self.layout.lines and not self.before and not self.after:
            return self.original
        result: list[str] = []
        for line, content in enumerate(self.lines, 1):
            result += [*self.before.get(line, []), content, *self.after.get(line, [])]
        return "".join(result)

    # -- one line -----------------------------------------------------------------------------------------------

    def tokens(self, line: int, values: Sequence[str]) -> None:
        """The first tokens of a line become `values`, unless they are the same numbers; all else stays."""
        content = self.lines[line - 1]
        for token, value in reversed(list(zip(_tokens(content), values, strict=False))):
            if number(token.text) is None or number(token.text) != number(value):
                content = content[: token.start] + value + content[token.end :]
        if len(content.rstrip("\r\n")) > MAX_LINE:
            raise ParameterError(f"the .rxg: line {line} would have more than {MAX_LINE} characters; shorten it first.")
        self.lines[line - 1] = content

    def by_pol(self, line: int, values: Mapping[Pol, str]) -> None:
        """Values on a line that has one per polarisation; those not given keep their spelling."""
        old = [token.text for token in _tokens(self.lines[line - 1])]
        self.tokens(line, [values.get(pol, text) for pol, text in zip(self.layout.pols, old, strict=False)])

    def dpfu(self, values: Mapping[Pol, float]) -> None:
        self.known(values)
        for pol, value in values.items():
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f"dpfu: found {value!r} for {pol}cp, expected a finite number above 0 in K/Jy.")
        self.by_pol(self.layout.at["dpfu"], {pol: f"{value:.{DPFU_DIGITS}g}" for pol, value in values.items()})

    def curve(self, curve: GainCurve) -> None:
        if not 1 <= len(curve.coefficients) <= MAX_COEFFICIENTS or not np.all(np.isfinite(curve.coefficients)):
            found = " ".join(f"{value:g}" for value in curve.coefficients)
            raise ParameterError(f"curve: found {found!r}, expected 1 to {MAX_COEFFICIENTS} finite coefficients.")
        written = [f"{value:.{CURVE_DIGITS}g}" for value in curve.coefficients]
        if self.layout.curve in (curve, replace(curve, coefficients=tuple(map(float, written)))):
            return
        line = self.layout.at["curve"]
        content = self.lines[line - 1]
        indent = content[: len(content) - len(content.lstrip())]
        self.lines[line - 1] = indent + _poly_line(curve, written) + _end_of(content, self.end)

    def trec(self, values: Mapping[Pol, float]) -> None:
        self.known(values)
        for pol, value in values.items():
            if not (math.isfinite(value) and value >= 0):
                raise ParameterError(f"trec: found {value!r} for {pol}cp, expected a finite number of K, 0: unknown.")
        self.by_pol(self.layout.at["trec"], {pol: f"{value:.{TREC_DECIMALS}f}" for pol, value in values.items()})

    # -- the Tcal table -----------------------------------------------------------------------------------------

    def scale(self, factors: Mapping[Pol, float]) -> None:
        self.known(factors)
        for pol, factor in factors.items():
            if not (math.isfinite(factor) and factor > 0):
                raise ParameterError(f"scale_tcal: found {factor!r} for {pol}cp, expected a finite number above 0.")
        for row in self.layout.tcal:
            factor = factors.get(row.pol, 1.0)
            if factor != 1:
                self._set(row, row.tcal_k * factor)

    def merge(self, tables: Mapping[Pol, Table]) -> None:
        self.known(tables)
        present = {row.pol for row in self.layout.tcal}
        for pol in sorted(tables, key=lambda pol: pol not in present):
            freqs = sorted(tables[pol])
            _check_table(pol, freqs, [tables[pol][freq] for freq in freqs])
            for freq in freqs:
                self._merge_one(pol, freq, tables[pol][freq])
        new = [*self.before.values(), *self.after.values()]
        total = len(self.layout.tcal) + sum(map(len, new))
        if total > MAX_TCAL:
            raise ParameterError(f"tcal: the table would have {total} rows, expected at most {MAX_TCAL}. Average more.")

    def _merge_one(self, pol: Pol, freq: float, kelvin: float) -> None:
        rows = [row for row in self.layout.tcal if row.pol == pol]
        near = [row for row in rows if abs(row.freq_mhz - freq) <= SAME_FREQ_MHZ]
        below = [row for row in rows if row.freq_mhz < freq]
        if near:
            self._set(min(near, key=lambda row: abs(row.freq_mhz - freq)), kelvin)
        elif below or not rows:
            line = max(below, key=lambda row: row.freq_mhz).line if below else self.layout.tcal[-1].line
            self.after.setdefault(line, []).append(self._row_like(line, pol, freq, kelvin))
        else:
            line = min(rows, key=lambda row: row.freq_mhz).line
            self.before.setdefault(line, []).append(self._row_like(line, pol, freq, kelvin))

    def _row_like(self, line: int, pol: Pol, freq: float, kelvin: float) -> str:
        """A new row with the blanks and decimals of an existing one."""
        content = self.lines[line - 1]
        name, old_freq, old_kelvin = _tokens(content)[:3]
        blanks = [content[: name.start], content[name.end : old_freq.start], content[old_freq.end : old_kelvin.start]]
        word = f"{pol}cp".upper() if name.text.isupper() else f"{pol}cp"
        values = [word, _like(old_freq.text, freq), _like(old_kelvin.text, kelvin)]
        return "".join(blank + value for blank, value in zip(blanks, values, strict=True)) + _end_of(content, self.end)

    def _set(self, row: Row, kelvin: float) -> None:
        """A new Tcal on the row's line, unless it is written there already."""
        name, freq, old = (token.text for token in _tokens(self.lines[row.line - 1])[:3])
        self.tokens(row.line, [name, freq, _like(old, kelvin)])

    # -- comments -----------------------------------------------------------------------------------------------

    def comment(self, lines: Sequence[str]) -> None:
        """Comment lines behind the last line, where the Field System accepts nothing else."""
        if self.lines and not self.lines[-1].endswith("\n"):
            self.lines[-1] += self.end
        words = [part for line in lines for part in line.splitlines()]
        block = [f"* {part}".rstrip()[:MAX_LINE] + self.end for part in map(_ascii, words)]
        self.after.setdefault(len(self.lines), []).extend(block)

    def known(self, values: Iterable[str]) -> None:
        unknown = [pol for pol in values if pol not in self.layout.pols]
        if unknown:
            have = ", ".join(self.layout.pols)
            raise ParameterError(f"the .rxg: found polarisation {unknown[0]!r}, expected one of {have}, which it has.")


def _tokens(content: str) -> list[_Token]:
    return [_Token(match.start(), match.end(), match[0]) for match in re.finditer(r"\S+", content)]


def _end_of(content: str, default: str) -> str:
    """The line end of a line."""
    return content[len(content.rstrip("\r\n")) :] or default


def _poly_line(curve: GainCurve, written: Sequence[str]) -> str:
    return " ".join([curve.kind.upper(), "POLY", *written, *([FLAG] if curve.opacity_corrected else [])])


def _plain(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value)).removesuffix(".0") if abs(value) < 1e15 else repr(float(value))


def _like(old: str, value: float) -> str:
    """A number with the decimals of its neighbour in the table, and more where 4 decimals or 5 digits need them."""
    _, _, fraction = old.partition(".")
    shown = min(len(fraction), TCAL_DECIMALS) if fraction.isdigit() else 0
    digits = 4 - math.floor(math.log10(abs(value))) if value else 0
    needed = len(f"{value:.{min(max(TCAL_DECIMALS, digits), 9)}f}".rstrip("0").partition(".")[2])
    return f"{value:.{max(shown, needed)}f}"


def _ascii(text: str) -> str:
    """Other programs of a station read bytes."""
    return text.encode("ascii", "replace").decode()


def _check_table(pol: Pol, freqs: Sequence[float], kelvins: Sequence[float]) -> None:
    for freq, kelvin in zip(freqs, kelvins, strict=True):
        if not (math.isfinite(freq) and math.isfinite(kelvin) and freq >= 0):
            raise ParameterError(f"tcal: found {freq!r} MHz, {kelvin!r} K for {pol}cp, expected finite numbers.")
    for low, high in pairwise(freqs):
        if high - low <= SAME_FREQ_MHZ:
            raise ParameterError(
                f"tcal: found {low!r} and {high!r} MHz for {pol}cp, expected frequencies more than {SAME_FREQ_MHZ} MHz"
                " apart. Average them."
            )


def _newest(layout: Layout, text: str) -> Layout:
    """The layout with what FS 9.11 added. Raises FormatError for a text with errors."""
    for problem in layout.problems:
        if problem.severity == "error":
            raise FormatError(problem.describe("the .rxg") + " 'calibrant station check --fix' shows how.")
    if layout.generation == 3:
        return layout
    return scan(apply_fixes(text, [problem for problem in layout.problems if problem.code in OLDER_LAYOUTS]))
