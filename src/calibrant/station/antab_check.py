"""What the values of an ANTAB file must fulfil, beyond being readable (see `calibrant.station.antab`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from calibrant.station.antab import (
    HIGHEST_TSYS,
    INVALID_TSYS,
    Antab,
    AntabGain,
    AntabTsys,
    expand_label,
    invalid_tsys,
)
from calibrant.station.problem import Edit, Problem

MOST_COEFFICIENTS = 11
"""A polynomial of degree 10."""
LONG_LINE = 132
Report = Callable[[Problem], None]


class Reader(Protocol):
    """What `check_text` needs of the reader."""

    text: str
    lines: list[str]

    def report(self, problem: Problem, *, fatal: bool = False) -> None: ...


def check_text(reader: Reader) -> bool:
    """Problems of the characters and line ends; False where there is nothing to parse."""
    text, lines = reader.text, reader.lines
    if not text.strip():
        reader.report(Problem(0, "an empty file", "GAIN and TSYS groups", fix="Give an antab file."), fatal=True)
        return False
    controls = sum(text.count(chr(code)) for code in (*range(9), *range(14, 32)))
    if controls:
        line = next(i for i, one in enumerate(lines, 1) if any(ord(c) < 32 and c not in "\t\v\f" for c in one))
        reader.report(
            Problem(line, f"{controls} control characters", "text", fix="This is no antab file, or it is damaged."),
            fatal=True,
        )
        return False
    _check_characters(reader)
    return True


def _check_characters(reader: Reader) -> None:
    text, lines = reader.text, reader.lines
    if "\r" in text:
        reader.report(Problem(
            0, f"{text.count(chr(13))} carriage returns (CR LF line ends)", "LF line ends", "warning",
            fix="Convert the line ends.", edit=Edit(1, len(lines), tuple(lines)),
        ))  # fmt: skip
    for number, line in enumerate(lines, 1) if not text.isascii() else ():
        if not line.isascii():
            plain = "".join(c if c.isascii() else "?" for c in line)
            severity = "warning" if line.lstrip().startswith("!") else "error"
            reader.report(Problem(
                number, "characters outside ASCII", "ASCII only", severity,  # type: ignore[arg-type]
                fix="Write it without accents.", edit=Edit(number, number, (plain,)),
            ))  # fmt: skip
    if not text.endswith("\n"):
        reader.report(Problem(len(lines), "a last line without an end of line", "an end of line", "warning",
                              fix="Add it.", edit=Edit(len(lines), len(lines), (lines[-1],))))  # fmt: skip
    lengths = [0 if line.startswith("!") else len(line) for line in lines]
    longest = max(range(len(lines)), key=lengths.__getitem__)
    if lengths[longest] > LONG_LINE:
        count = sum(length > LONG_LINE for length in lengths)
        reader.report(Problem(
            longest + 1, f"{count} lines of more than {LONG_LINE} characters, the longest {len(lines[longest])}",
            "short lines: no limit is documented, but a reader with a fixed buffer may cut them", "note",
        ))  # fmt: skip


def check_groups(groups: Sequence[AntabGain | AntabTsys], report: Report) -> None:
    """Problems of the groups' values, one by one and together."""
    antab = Antab(tuple(groups))
    if not groups:
        report(Problem(0, "neither GAIN nor TSYS", "at least one such group", fix="This is no antab file."))
    for gain in antab.gains:
        _check_gain(gain, report)
    for tsys in antab.tsys:
        _check_index(tsys, report)
        _check_times(tsys, report)
        _check_values(tsys, report)
    _check_together(antab, report)


def _check_gain(gain: AntabGain, report: Report) -> None:
    def problem(found: str, expected: str, severity: str = "error", fix: str = "") -> None:
        report(Problem(gain.line, found, expected, severity, fix=fix))  # type: ignore[arg-type]

    if not gain.dpfu:
        problem("a GAIN group without DPFU", "DPFU=r,l", fix="Add the degrees per flux unit of R and L.")
    if len(gain.dpfu) > 2:
        problem(f"{len(gain.dpfu)} DPFU", "one, or two in the order R, L")
    if len(gain.pols) == 1 and len(gain.dpfu) == 2:
        problem(f"two DPFU with {gain.pols[0].upper()}CP", "one DPFU for one polarisation")
    if any(value <= 0 for value in gain.dpfu):
        problem(f"DPFU {min(gain.dpfu):g}", "more than 0", "warning", "Without a measurement leave the group out.")
    if len(gain.freq_mhz) > 2 or (len(gain.freq_mhz) == 2 and gain.freq_mhz[0] > gain.freq_mhz[1]):
        problem(f"FREQ={','.join(f'{f:g}' for f in gain.freq_mhz)}", "lowest, highest frequency in MHz")
    if len(gain.freq_mhz) == 1 and not gain.band:
        problem(f"one FREQ {gain.freq_mhz[0]:g}", "lowest and highest frequency", "warning",
                "casa-vlbi takes the group for every frequency.")  # fmt: skip
    if not gain.poly and not gain.table:
        problem("neither POLY nor TABLE", "a gain curve", fix="Add POLY=1.0 where it is flat.")
    if gain.poly and gain.table:
        problem("POLY and TABLE", "one of them")
    if len(gain.poly) > MOST_COEFFICIENTS:
        problem(f"{len(gain.poly)} coefficients of POLY", f"at most {MOST_COEFFICIENTS} (degree 10)")
    if gain.timerang and len(gain.timerang) != 8:
        problem(f"{len(gain.timerang)} values of TIMERANG", "year, month, day, hour of the start and of the end")
    _check_curve(gain, report)


def _check_curve(gain: AntabGain, report: Report) -> None:
    if gain.curve is None:
        return
    elevation = np.arange(5.0, 90.0, 1.0)
    values = gain.curve(elevation)
    if not np.all(np.isfinite(values)) or values.min() <= 0:
        worst = float(elevation[int(np.argmin(values))])
        report(Problem(
            gain.line, f"a gain curve of {float(values.min()):.3g} at elevation {worst:g} deg",
            "more than 0: its square root is the voltage gain", "warning", fix=f"Is {gain.mount} the right type?",
        ))  # fmt: skip
    elif values.max() > 1.5 or values.max() < 0.5:
        report(Problem(
            gain.line, f"a gain curve with its maximum at {float(values.max()):.3g}", "about 1", "warning",
            fix="DPFU times POLY is the gain.",
        ))  # fmt: skip


def _check_index(tsys: AntabTsys, report: Report) -> None:
    seen: dict[tuple[str, int], str] = {}
    for label in (*tsys.index, *tsys.index2):
        try:
            channels = expand_label(label)
        except ValueError as error:
            report(Problem(tsys.line, str(error), "R1, L1, R1|L1, R1:8 or X", fix="Correct INDEX."))
            continue
        twice = [channel for channel in channels if channel in seen and label in tsys.index]
        if twice:
            report(Problem(
                tsys.line, f"{label} and {seen[twice[0]]}, which are both {twice[0][0].upper()}{twice[0][1]}",
                "each polarisation and number once in INDEX", fix="Renumber the labels, or put X for a column to skip.",
            ))  # fmt: skip
        seen |= dict.fromkeys(channels, label)
    if any(value <= 0 for value in tsys.ft):
        report(Problem(tsys.line, f"FT={tsys.ft[0]:g}", "a factor above 0"))


def _check_times(tsys: AntabTsys, report: Report) -> None:
    steps = np.diff(tsys.seconds)
    new_year = steps < -300 * 86400.0
    back = np.nonzero((steps < 0) & ~new_year)[0]
    same = int((steps == 0).sum())
    if len(back):
        row = int(back[0]) + 1
        where = f"{len(back)} times, first by {-steps[back[0]]:.0f} s"
        report(
            Problem(_line(tsys, row), f"time going backwards {where}", "rows in order of time", fix="Sort the rows.")
        )
    if same:
        row = int(np.nonzero(steps == 0)[0][0]) + 1
        report(Problem(_line(tsys, row), f"{same} rows with the time of the row before", "one row a time", "warning"))
    if new_year.any():
        row = int(np.nonzero(new_year)[0][0]) + 1
        report(Problem(_line(tsys, row), "a new year", "one year: the file has no year in it", "note"))


def _check_values(tsys: AntabTsys, report: Report) -> None:
    values = tsys.values
    if not len(values):
        report(Problem(tsys.line, f"a TSYS group of {tsys.station} without values", "rows of values", "warning",
                       fix="Remove the group."))  # fmt: skip
        return
    kinds = (
        (values <= 0, "values <= 0", "positive values; these are taken as no measurement"),
        (np.abs(values - INVALID_TSYS) < 1e-6, f"values {INVALID_TSYS}", "measurements; these are taken as none"),
        (values > HIGHEST_TSYS, f"values above {HIGHEST_TSYS:g} K", "believable system temperatures"),
    )
    for mask, found, expected in kinds:
        if mask.any():
            row = int(np.nonzero(mask.any(axis=1))[0][0])
            report(Problem(
                _line(tsys, row), f"{int(mask.sum())} of {values.size} {found}", expected, "warning",
            ))  # fmt: skip
    empty = [label for label, column in zip(tsys.index, invalid_tsys(values).T, strict=True) if column.all()]
    if empty:
        report(Problem(tsys.line, f"no valid value in column {', '.join(empty)}", "values", "warning",
                       fix="Put X for it in INDEX."))  # fmt: skip


def _check_together(antab: Antab, report: Report) -> None:
    with_gain = {gain.station for gain in antab.gains}
    for tsys in antab.tsys:
        if tsys.station not in with_gain and antab.gains:
            report(
                Problem(
                    tsys.line, f"TSYS of {tsys.station} without its GAIN", "a GAIN group of that station", "warning"
                )
            )
    for i, gain in enumerate(antab.gains):
        for other in antab.gains[:i]:
            if _overlap(gain, other):
                report(Problem(
                    gain.line, f"a second GAIN of {gain.station} for the frequencies of line {other.line}",
                    "one for each frequency", "warning", fix="Remove one of them, or narrow FREQ.",
                ))  # fmt: skip
                break


def _overlap(a: AntabGain, b: AntabGain) -> bool:
    """Two gains of a station, band, time and polarisation for a common frequency range."""
    if (
        a.station != b.station
        or a.band != b.band
        or a.timerang != b.timerang
        or (a.pols and b.pols and a.pols != b.pols)
    ):
        return False
    if len(a.freq_mhz) != 2 or len(b.freq_mhz) != 2:
        return a.freq_mhz == b.freq_mhz or not a.freq_mhz or not b.freq_mhz
    return a.freq_mhz[0] < b.freq_mhz[1] and b.freq_mhz[0] < a.freq_mhz[1]


def _line(tsys: AntabTsys, row: int) -> int:
    return int(tsys.lines[row]) if len(tsys.lines) else tsys.line
