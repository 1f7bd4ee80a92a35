"""ANTAB text: gain curves and system temperatures of VLBI stations, as AIPS and casa-vlbi read them.

    GAIN TR ELEV DPFU=0.14,0.14 FREQ=4782.49,5070.49 POLY=0.943443,1.59335E-03 /
    TSYS TR FT=1.0 TIMEOFF=0 INDEX='R1','L1' /
    163 04:00.03 36.4 33.5
    /

Groups of keywords end with `/`; `!` starts a comment; keywords are case-insensitive. Two DPFU are those of R and L,
in this order. Rows of a TSYS group are day of year, time (`hh.hhh`, `hh:mm.mm` or `hh:mm:ss.ss`; the year is not in
the file) and one value per INDEX label. Source: the rules of AIPS ANTAB as casa-vlbi implements them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import FormatError
from calibrant.station.curve import GainCurve
from calibrant.station.problem import Problem

INVALID_TSYS = 999.9
"""A value that stands for "no measurement", like everything <= 0."""
HIGHEST_TSYS = 10000.0
MOUNTS = ("ELEV", "ALTAZ", "EQUAT", "GCNRAO")

_LABEL = re.compile(r"^([RLX])(\d+)(?::(\d+))?$", re.IGNORECASE)


@dataclass(frozen=True)
class AntabGain:
    """A GAIN group: power gain in K/Jy is DPFU * g(x)."""

    station: str
    mount: str
    """Of what the curve is a function: ELEV, ALTAZ (zenith distance), EQUAT (hour angle), GCNRAO."""
    dpfu: tuple[float, ...]
    """K/Jy: one value for all polarisations, or R, L."""
    poly: tuple[float, ...] = ()
    """Coefficients, low order first."""
    table: tuple[tuple[float, float], ...] = ()
    """(angle in degrees, relative gain), where the curve is a TABLE."""
    freq_mhz: tuple[float, ...] = ()
    """Lowest and highest frequency it is for; one value in the VLBA's gain file; empty: all."""
    pols: tuple[str, ...] = ()
    """'r' or 'l' where it is for one polarisation only."""
    timerang: tuple[float, ...] = ()
    """Year, month, day, hour of the start, then of the end; empty: always."""
    band: str = ""
    others: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Further keywords as they stand (TS, TR, TCAL, COMMENT, ...)."""
    comments: tuple[str, ...] = field(default=(), compare=False)
    """Comment lines before the group, without the `!`."""
    line: int = field(default=0, compare=False)

    @property
    def curve(self) -> GainCurve | None:
        """g; None where it is a table, or no function of elevation."""
        if not self.poly or self.mount not in ("ELEV", "ALTAZ"):
            return None
        return GainCurve("elev" if self.mount == "ELEV" else "altaz", self.poly)

    def dpfu_of(self, pol: str) -> float:
        """DPFU of 'r' or 'l'; nan where the group is not for it."""
        if not self.dpfu or (self.pols and pol not in self.pols):
            return float("nan")
        return self.dpfu[-1 if pol == "l" else 0]


@dataclass(frozen=True, eq=False)
class AntabTsys:
    """A TSYS group: system temperatures in K before multiplication by FT."""

    station: str
    index: tuple[str, ...]
    """Label of each column: 'R1', 'R1|L1' (one value for both), 'R1:8' (for several), 'X' (skip)."""
    seconds: NDArray[np.float64]
    """(rows): seconds since 0 h UTC of day of year 1; TIMEOFF not added."""
    values: NDArray[np.float64]
    """(rows, columns) K, as in the file: <= 0 and 999.9 are invalid."""
    ft: tuple[float, ...] = (1.0,)
    """Factor(s) by which values are to be multiplied."""
    timeoff_s: float = 0.0
    """Seconds to be added to the times."""
    index2: tuple[str, ...] = ()
    src_sys: tuple[str, ...] = ()
    range: tuple[float, ...] = ()
    others: tuple[tuple[str, tuple[str, ...]], ...] = ()
    comments: tuple[str, ...] = ()
    """Comment lines before the group, without the `!`."""
    notes: tuple[tuple[int, str], ...] = ()
    """(number of the row it stands before, comment without the `!`)."""
    line: int = 0
    lines: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(rows): physical line of each; empty where the group was not read from a file."""

    def tsys(self) -> NDArray[np.float64]:
        """(rows, columns) K, multiplied by FT; invalid ones nan."""
        return np.where(invalid_tsys(self.values), np.nan, self.values) * self.ft[0]

    def times(self, year: int) -> NDArray[np.float64]:
        """UTC in seconds since 1970, with TIMEOFF; `year` is that of the first row. Days that fall back by more than
        half a year are those of the next year."""
        start = (np.datetime64(f"{year:04d}-01-01", "s") - np.datetime64("1970-01-01", "s")).astype(float)
        length = float(
            (np.datetime64(f"{year + 1:04d}-01-01", "s") - np.datetime64(f"{year:04d}-01-01", "s")).astype(float)
        )
        first = self.seconds[0] if len(self.seconds) else 0.0
        wrapped = self.seconds < first - length / 2
        return start + self.seconds + np.where(wrapped, length, 0.0) + self.timeoff_s


@dataclass(frozen=True)
class Antab:
    """The groups of a file in order, and the comments after the last one."""

    groups: tuple[AntabGain | AntabTsys, ...]
    tail: tuple[str, ...] = ()

    @property
    def gains(self) -> list[AntabGain]:
        return [group for group in self.groups if isinstance(group, AntabGain)]

    @property
    def tsys(self) -> list[AntabTsys]:
        return [group for group in self.groups if isinstance(group, AntabTsys)]

    def stations(self) -> list[str]:
        return sorted({group.station for group in self.groups})

    def counts(self) -> dict[str, int]:
        """Numbers of groups, rows and values, and of what is invalid or above 10000 K."""
        values = [group.values for group in self.tsys]
        return {
            "gains": len(self.gains),
            "tsys_groups": len(self.tsys),
            "stations": len(self.stations()),
            "rows": sum(len(v) for v in values),
            "values": sum(v.size for v in values),
            "invalid": sum(int(invalid_tsys(v).sum()) for v in values),
            "too_high": sum(int((v > HIGHEST_TSYS).sum()) for v in values),
        }


def invalid_tsys(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where values stand for "no measurement": <= 0, 999.9 or not finite."""
    return ~np.isfinite(values) | (values <= 0) | (np.abs(values - INVALID_TSYS) < 1e-6)


def expand_label(label: str) -> list[tuple[str, int]]:
    """'R1|L1' -> [('r', 1), ('l', 1)]; 'R3:5' -> r 3, 4, 5; 'X' (skip) -> []. ValueError where it is no label."""
    result: list[tuple[str, int]] = []
    for part in label.split("|"):
        if part.strip().upper() == "X":
            continue
        match = _LABEL.match(part.strip())
        if not match or match[1].upper() == "X":
            raise ValueError(f"{label!r} is no INDEX label")
        first, last = int(match[2]), int(match[3] or match[2])
        if last < first or first < 1:
            raise ValueError(f"{label!r} counts backwards or from 0")
        result += [(match[1].lower(), number) for number in range(first, last + 1)]
    return result


# ---- reading ---------------------------------------------------------------------------------------------------
def read_antab(path: str) -> Antab:
    """The groups of a file (.gz too). Faults that leave the meaning clear are accepted (see `check_antab`); anything
    else is a FormatError that names the line."""
    text = read_text(path)
    antab, problems, fatal = parse_antab(text)
    if fatal:
        first = problems[fatal[0]]
        more = f" And {len(fatal) - 1} more; see `calibrant station check {path}`." if len(fatal) > 1 else ""
        raise FormatError(first.describe(path) + more)
    return antab


def read_text(path: str) -> str:
    """The text of an antab file (.gz too), line ends as they are. FormatError or DataError where it cannot be read."""
    from calibrant.station.text import decode, read_bytes, unpacked

    return decode(unpacked(read_bytes(path), path), path)


def parse_antab(text: str) -> tuple[Antab, list[Problem], list[int]]:
    """(what is in it, what is wrong with it, which of these problems make the content unreliable)."""
    from calibrant.station.antab_parse import parse

    return parse(text)


def check_antab(text: str) -> list[Problem]:
    """Everything that would break or mislead AIPS ANTAB or casa-vlbi, by line.

    `error`: the file is refused or read wrongly; `warning`: it is read, but probably not as meant; `note`: harmless.
    """
    return parse_antab(text)[1]


# ---- writing ---------------------------------------------------------------------------------------------------
def format_antab(antab: Antab) -> str:
    """The text of `antab`, in the plainest form that all known readers understand."""
    lines: list[str] = []
    for group in antab.groups:
        lines += [_comment(text) for text in group.comments]
        lines += _gain_lines(group) if isinstance(group, AntabGain) else _tsys_lines(group)
    return "\n".join(lines + [_comment(text) for text in antab.tail]) + "\n"


def write_antab(antab: Antab, path: str, *, overwrite: bool = False) -> None:
    """Write under a temporary name beside `path`, validate, rename.

    Raises ExistsError where `path` exists and `overwrite` is false, FormatError where the text would not pass the
    validator.
    """
    write_antab_text(format_antab(antab), path, overwrite=overwrite)


def write_antab_text(text: str, path: str, *, overwrite: bool = False) -> None:
    """`write_antab` for text that is already formatted."""
    from calibrant.station.text import write_new

    errors = [problem for problem in check_antab(text) if problem.severity == "error"]
    if errors:
        raise FormatError(errors[0].describe(path) + " Nothing was written.")
    write_new(path, text, overwrite)


def format_number(value: float) -> str:
    """Shortest text that reads back as `value`: with a point before and a sign after E, as casa-vlbi demands."""
    text = repr(float(value))
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent):+03d}"


def format_time(seconds: float) -> str:
    """Seconds since the start of the year as `ddd hh:mm.mm`."""
    return _times(np.array([seconds]))[0]


def _comment(text: str) -> str:
    return "!" + text


def _gain_lines(gain: AntabGain) -> list[str]:
    words = ["GAIN", gain.station, gain.mount]
    words += [f"{pol.upper()}CP" for pol in gain.pols]
    keys: list[tuple[str, Sequence[Any]]] = [("BAND", (f"'{gain.band}'",) if gain.band else ())]
    keys += [("TIMERANG", gain.timerang), ("DPFU", gain.dpfu), ("FREQ", gain.freq_mhz)]
    keys += [(key, [_value(v) for v in values]) for key, values in gain.others]
    keys += [("POLY", gain.poly)]
    words += [f"{key}={_values(values)}" for key, values in keys if len(values)]
    if not gain.table:
        return _wrapped([*words, "/"])
    rows = [f"{format_number(x)} {format_number(y)}" for x, y in gain.table]
    return [*_wrapped([*words, "TABLE", "/"]), *rows, "/"]


def _tsys_lines(tsys: AntabTsys) -> list[str]:
    words = ["TSYS", tsys.station, f"FT={_values(tsys.ft)}", f"TIMEOFF={format_number(tsys.timeoff_s)}"]
    words += [f"RANGE={_values(tsys.range)}"] if tsys.range else []
    words += [f"SRC/SYS={_values([_value(v) for v in tsys.src_sys])}"] if tsys.src_sys else []
    words += [f"{key}={_values([_value(v) for v in values])}" for key, values in tsys.others]
    lines = _wrapped(words)
    for name, labels in (("INDEX", tsys.index), ("INDEX2", tsys.index2)):
        if labels:
            lines += [f"{name}= " + ",".join(f"'{label}'" for label in labels)]
    return [*lines, "/", *_rows(tsys), "/"]


def _rows(tsys: AntabTsys) -> list[str]:
    rows = []
    texts = [[format_value(v) for v in column] for column in tsys.values.T]
    for cells in zip(_times(tsys.seconds), *texts, strict=True):
        rows.append(" ".join(cells))
    result, done = [], 0
    for position, note in tsys.notes:
        result += [*rows[done:position], _comment(note)]
        done = position
    return result + rows[done:]


def _times(seconds: NDArray[np.float64]) -> list[str]:
    """`ddd hh:mm.mm`, rounded to hundredths of a minute (0.6 s)."""
    hundredths = np.round(seconds / 0.6).astype(np.int64)
    minutes, rest = np.divmod(hundredths, 100)
    hours, minute = np.divmod(minutes, 60)
    day, hour = np.divmod(hours, 24)
    parts = zip((day + 1).tolist(), hour.tolist(), minute.tolist(), rest.tolist(), strict=True)
    return [f"{d:03d} {h:02d}:{m:02d}.{r:02d}" for d, h, m, r in parts]


def format_value(value: float) -> str:
    """A system temperature with one decimal; invalid ones as 999.9."""
    if not np.isfinite(value):
        return f"{INVALID_TSYS}"
    return f"{value:.1f}"


def _value(text: str) -> str:
    """A number as it is, anything else in quotes."""
    try:
        float(text)
    except ValueError:
        return f"'{text}'"
    return text


def _values(values: Sequence[Any]) -> str:
    return ",".join(value if isinstance(value, str) else format_number(value) for value in values)


def _wrapped(words: Sequence[str], width: int = 78) -> list[str]:
    """Words on lines of at most `width` characters where they fit."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
