"""flux.ctl: flux densities and structures of the sources that ONOFF and FIVPT know.

    name type fmin fmax a b c size model...      log10 S[Jy] = a + b log10 f + c (log10 f)^2,  f in MHz

One record is one source in one range of frequency; where records overlap the last one in the file counts. An
antenna sees less than S of a source that its beam resolves: S / C, with C >= 1 the structure correction.
Source: the Field System's flux.ctl and its error codes (mnemonic FX).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.errors import FormatError
from calibrant.station.problem import Problem
from calibrant.station.text import line_end, read_text, split_lines

Floats = NDArray[np.float64]
SourceType = Literal["c", "p", "x"]

MAX_RECORDS = 100
MAX_NAME = 10
MAX_LINE = 255
SUFFIXES = {"d": 1.0, "m": 1.0 / 60.0, "s": 1.0 / 3600.0}
"""Letters behind an angle: degrees, minutes and seconds of arc, in degrees."""
CASA_EPOCH_1980 = 5.7
"""Coefficients of casa with a larger `a` are those of Baars et al. 1977, epoch 1980; the others are for 2006."""


@dataclass(frozen=True)
class Structure:
    """What a source looks like. Angles in degrees.

    gauss: `components` of (percent of the flux, FWHM axis, FWHM axis); disk: diameter; 2pts: separation.
    """

    kind: Literal["gauss", "disk", "2pts"]
    components: tuple[tuple[float, float, float], ...] = ()
    size_deg: float = 0.0

    def correction(self, fwhm_deg: ArrayLike) -> Floats:
        """C >= 1 for a beam of this FWHM (degrees): the flux density divided by what the beam sees.

        For two Gaussians the Field System adds the C of both, weighted by percent; so does this.
        """
        beam = np.asarray(fwhm_deg, dtype=np.float64)
        if self.kind == "gauss":
            parts = [p / 100.0 * np.sqrt((1 + (a / beam) ** 2) * (1 + (b / beam) ** 2)) for p, a, b in self.components]
            return np.asarray(sum(parts), dtype=np.float64)
        if self.kind == "2pts":
            return np.asarray(np.exp(4.0 * math.log(2.0) * (self.size_deg / 2.0 / beam) ** 2))
        x = np.asarray(math.log(2.0) * (self.size_deg / beam) ** 2)
        return np.where(x == 0, 1.0, x / -np.expm1(-np.where(x == 0, 1.0, x)))


@dataclass(frozen=True)
class FluxRecord:
    """One line of flux.ctl. Frequencies in MHz, inclusive; `size_arcsec` widens ONOFF's step to the off position."""

    name: str
    type: Literal["c", "p"]
    low_mhz: float
    high_mhz: float
    coefficients: tuple[float, float, float]
    size_arcsec: float
    structure: Structure
    line: int = 0

    def flux(self, freq_mhz: ArrayLike) -> Floats:
        """Total flux density in Jy, without any change in time."""
        x = np.log10(np.asarray(freq_mhz, dtype=np.float64))
        a, b, c = self.coefficients
        with np.errstate(over="ignore"):
            return np.asarray(10.0 ** (a + x * (b + x * c)), dtype=np.float64)


@dataclass(frozen=True)
class FluxTable:
    """The records of a flux.ctl, in its order. `source` is compared without regard to case.

    All frequencies are in MHz, beams (FWHM) in degrees, times in seconds since 1970 UTC; they may be arrays that
    numpy can broadcast. Where no record fits, the result is nan; with `like_fs` it is what the Field System takes
    then: 1 Jy and C = 1. `reason` says why.
    """

    path: str
    records: tuple[FluxRecord, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Names, each once, in the order of the file."""
        return tuple(dict.fromkeys(record.name for record in self.records))

    def of(self, source: str) -> tuple[FluxRecord, ...]:
        """The records of one source, in the order of the file."""
        return tuple(record for record in self.records if record.name == source.lower())

    def record(self, source: str, freq_mhz: float) -> FluxRecord | None:
        """The record that counts at a frequency: the last one whose range holds it."""
        found = [record for record in self.of(source) if record.low_mhz <= freq_mhz <= record.high_mhz]
        return found[-1] if found else None

    def flux(self, source: str, freq_mhz: ArrayLike, time: ArrayLike = math.nan, *, like_fs: bool = False) -> Floats:
        """Total flux density in Jy. `time` matters for casa only, which fades; without it casa's flux is nan."""
        flux = self._evaluate(source, freq_mhz, lambda record, freq: record.flux(freq), 1.0 if like_fs else math.nan)
        return flux * self._fading(source, freq_mhz, time) if source.lower() == "casa" else flux

    def correction(self, source: str, freq_mhz: ArrayLike, fwhm_deg: ArrayLike, *, like_fs: bool = False) -> Floats:
        """Structure correction C >= 1 for a beam of this FWHM in degrees."""
        freq, beam = np.broadcast_arrays(np.asarray(freq_mhz, np.float64), np.asarray(fwhm_deg, np.float64))
        default = 1.0 if like_fs else math.nan
        return self._evaluate(source, freq, lambda record, _: record.structure.correction(beam), default)

    def apparent(
        self,
        source: str,
        freq_mhz: ArrayLike,
        fwhm_deg: ArrayLike,
        time: ArrayLike = math.nan,
        *,
        like_fs: bool = False,
    ) -> Floats:
        """Flux density in Jy that a beam of this FWHM (degrees) sees: flux / C."""
        correction = self.correction(source, freq_mhz, fwhm_deg, like_fs=like_fs)
        return self.flux(source, freq_mhz, time, like_fs=like_fs) / correction

    def type(self, source: str, freq_mhz: float | None = None) -> SourceType:
        """c: calibrator, p: pointing source, x: not in the table (at this frequency, where one is given)."""
        records = self.of(source)
        found = self.record(source, freq_mhz) if freq_mhz is not None else (records[-1] if records else None)
        return found.type if found else "x"

    def size_arcsec(self, source: str) -> float:
        """The largest size of all records of a source: it widens the step to the off position. 0: unknown source."""
        return max((record.size_arcsec for record in self.of(source)), default=0.0)

    def reason(self, source: str, freq_mhz: float) -> str:
        """Why the flux density is unknown; empty where it is known."""
        if self.record(source, freq_mhz):
            return ""
        ranges = ", ".join(f"{record.low_mhz:g}-{record.high_mhz:g}" for record in self.of(source))
        name = Path(self.path).name
        if not ranges:
            return f"flux unknown: {source.lower()} is not in {name}"
        return f"flux unknown: {name} has {source.lower()} at {ranges} MHz, not at {freq_mhz:g} MHz"

    def _evaluate(
        self, source: str, freq_mhz: ArrayLike, value: Callable[[FluxRecord, Floats], Floats], default: float
    ) -> Floats:
        freq = np.asarray(freq_mhz, dtype=np.float64)
        result = np.full(freq.shape, default)
        for record in self.of(source):
            inside = (record.low_mhz <= freq) & (freq <= record.high_mhz) & (freq > 0)
            result = np.where(inside, value(record, np.where(inside, freq, 1000.0)), result)
        return result

    def _fading(self, source: str, freq_mhz: ArrayLike, time: ArrayLike) -> Floats:
        """Factor by which Cas A has faded since the epoch of the record; 1 where there is none."""
        epoch = _epoch(time)

        def factor(record: FluxRecord, freq: Floats) -> Floats:
            if record.coefficients[0] > CASA_EPOCH_1980:
                yearly = (0.97 - 0.30 * (np.log10(freq) - 3.0)) / 100.0
                return np.asarray((1.0 - yearly) ** (epoch - 1980.0))
            return np.asarray((1.0 - 0.0065) ** (epoch - 2006.0))

        shape = np.broadcast_shapes(np.shape(freq_mhz), epoch.shape)
        return self._evaluate(source, np.broadcast_to(np.asarray(freq_mhz, np.float64), shape), factor, 1.0)


def _epoch(time: ArrayLike) -> Floats:
    """Year + day of year / 366 of seconds since 1970, as the Field System counts it; nan stays nan."""
    seconds = np.asarray(time, dtype=np.float64)
    known = np.isfinite(seconds)
    day = np.where(known, seconds, 0.0).astype("datetime64[s]")
    year = day.astype("datetime64[Y]")
    doy = (day.astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64) + 1
    return np.where(known, year.astype(np.int64) + 1970 + doy / 366.0, math.nan)


# ---------------------------------------------------------------- reading


def read_flux(path: str | Path) -> FluxTable:
    """The table in a flux.ctl. FormatError: it is not text, is empty, or has an error (the first one is named)."""
    return parse_flux(read_text(path), str(path))


def default_flux() -> FluxTable:
    """The table that Calibrant ships: the sources and coefficients that the Field System ships."""
    return parse_flux(read_text(Path(__file__).parent / "data" / "flux.ctl"), "flux.ctl (shipped)")


def parse_flux(text: str, path: str) -> FluxTable:
    """The table in the text of a flux.ctl; FormatError names the first error with its line."""
    records, problems = _parse(text)
    for problem in problems:
        if problem.severity == "error":
            raise FormatError(problem.describe(path))
    return FluxTable(path, tuple(records))


def check_flux(text: str) -> list[Problem]:
    """Everything wrong with the text of a flux.ctl: errors of the Field System's reader, and what looks mistaken."""
    records, problems = _parse(text)
    problems += [problem for record in records for problem in _doubts(record)]
    problems += _overlaps(records)
    return sorted(problems, key=lambda problem: problem.line)


def _parse(text: str) -> tuple[list[FluxRecord], list[Problem]]:
    records: list[FluxRecord] = []
    problems: list[Problem] = []
    for number, line in enumerate(map(str.rstrip, split_lines(text)), 1):
        if len(line) > MAX_LINE:
            problems.append(_too_long(number, line))
        elif line.strip() and not line.startswith("*"):
            try:
                records.append(_record(number, line.split()))
            except _Bad as error:
                problems.append(error.problem)
    if len(records) > MAX_RECORDS:
        first, fix = records[MAX_RECORDS].line, "Delete records of sources that you do not observe."
        problems.append(
            Problem(first, f"{len(records)} source records", f"at most {MAX_RECORDS}", code="FX -5", fix=fix)
        )
    if not records and not problems:
        fix = "Give the right file, or restore it from a backup."
        problems.append(Problem(0, "no source record", "at least one", fix=fix))
    return records, problems


def _too_long(number: int, line: str) -> Problem:
    fix = "Split the comment over several lines." if line.startswith("*") else "Shorten it: a record is one line."
    return Problem(number, f"a line of {len(line)} characters", f"at most {MAX_LINE}", code="FX -4", fix=fix)


class _Bad(Exception):
    """Ends the reading of one record."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.found)
        self.problem = problem


@dataclass
class _Fields:
    """The fields of one record, taken one after the other; what cannot be taken raises _Bad with its FX code."""

    line: int
    tokens: Sequence[str]
    position: int = 0

    @property
    def more(self) -> bool:
        return self.position < len(self.tokens)

    def word(self, missing: int, what: str) -> str:
        if not self.more:
            last = self.tokens[-1] if self.tokens else ""
            self.refuse(missing, f"the end of the line after '{last}'", what, "Add the missing field.")
        self.position += 1
        return self.tokens[self.position - 1]

    def number(self, missing: int, what: str) -> float:
        """Its code for a field that is no number is the next one after that for a missing field."""
        return self._decode(self.word(missing, what), missing - 1, what, 1.0, "Write a plain decimal number.")

    def angle(self, missing: int, what: str) -> float:
        """Degrees, from a number with the suffix d, m or s."""
        word = self.word(missing, what)
        fix = "Write a number and d, m or s (degrees, minutes or seconds of arc) without a blank: 4.5m."
        factor = SUFFIXES.get(word[-1:].lower(), 0.0)
        if not factor:
            self.refuse(missing - 1, f"'{word}'", what, fix)
        return self._decode(word[:-1], missing - 1, what, factor, fix, least=0.0)

    def _decode(self, word: str, code: int, what: str, factor: float, fix: str, least: float = -math.inf) -> float:
        try:
            value = float(word) * factor
        except ValueError:
            value = math.nan
        if "_" in word or not math.isfinite(value) or value < least:
            self.refuse(code, f"'{self.tokens[self.position - 1]}'", what, fix)
        return value

    def refuse(self, code: int, found: str, expected: str, fix: str) -> NoReturn:
        mark = f"FX {code}" if code else ""
        raise _Bad(Problem(self.line, found, expected, code=mark, fix=fix))


def _record(line: int, tokens: Sequence[str]) -> FluxRecord:
    fields = _Fields(line, tokens)
    name = fields.word(0, "a source name").lower()
    if name.startswith("*"):
        fields.refuse(-8, f"'{name}' behind a blank", "a comment's * in the first column", "Delete the leading blanks.")
    if len(name) > MAX_NAME:
        fix = "Shorten it here, in the source= command and in the AQUIR file."
        fields.refuse(-6, f"the name '{name}' of {len(name)} characters", f"at most {MAX_NAME}", fix)
    kind = fields.word(-7, "the type c or p").lower()
    if kind not in ("c", "p"):
        fields.refuse(-8, f"the type '{kind}'", "c (calibrator) or p (pointing source)", "Write c or p.")
    low = fields.number(-10, "the lowest frequency in MHz")
    high = fields.number(-12, "the highest frequency in MHz")
    coefficients = tuple(
        fields.number(-14 - 2 * n, f"flux coefficient {letter} (MHz, log10)") for n, letter in enumerate("abc")
    )
    size = fields.number(-20, "the size in seconds of arc")
    structure = _structure(fields)
    if fields.more:
        extra = fields.tokens[fields.position]
        fix = "Delete it; a comment needs a line of its own."
        fields.refuse(-40, f"'{extra}' after the {structure.kind} model", "the end of the line", fix)
    a, b, c = coefficients
    return FluxRecord(name, "c" if kind == "c" else "p", low, high, (a, b, c), size, structure, line)


def _structure(fields: _Fields) -> Structure:
    kind = fields.word(-22, "a structure model: gauss, disk or 2pts").lower()
    if kind == "2pts":
        return Structure("2pts", size_deg=fields.angle(-35, "the separation of the two points, an angle"))
    if kind == "disk":
        return Structure("disk", size_deg=fields.angle(-37, "the diameter of the disk, an angle"))
    if kind != "gauss":
        fields.refuse(-39, f"the model '{kind}'", "gauss, disk or 2pts", "Write one of these three.")
    components = [_component(fields, -23, "first")]
    if fields.more:
        components.append(_component(fields, -29, "second"))
    return Structure("gauss", tuple(components))


def _component(fields: _Fields, code: int, which: str) -> tuple[float, float, float]:
    percent = fields.number(code, f"the {which} component's percent of the flux")
    major = fields.angle(code - 2, f"the {which} component's axis, an angle")
    minor = fields.angle(code - 4, f"the {which} component's other axis, an angle") if fields.more else major
    return percent, major, minor


# ---------------------------------------------------------------- what looks mistaken


def _doubts(record: FluxRecord) -> list[Problem]:
    """Accepted by the Field System, and probably not meant."""
    found: list[Problem] = []

    def warn(what: str, expected: str, fix: str) -> None:
        found.append(Problem(record.line, what, expected, "warning", fix=fix))

    if record.high_mhz < record.low_mhz:
        warn(
            f"frequencies from {record.low_mhz:g} to {record.high_mhz:g} MHz",
            "the lower one first",
            "Exchange them; the record is never used as it is.",
        )
        return found
    if record.high_mhz <= 100.0:
        warn(f"{record.high_mhz:g} as highest frequency", "MHz", "Multiply by 1000 if it is GHz.")
    middle = float(record.flux(math.sqrt(max(record.low_mhz, 1.0) * max(record.high_mhz, 1.0))))
    if not 1e-3 < middle < 1e8:
        warn(
            f"{middle:.3g} Jy in the middle of the range",
            "a flux density that an antenna can measure",
            "Convert the coefficients: log10(f) is of MHz here, of GHz in most papers.",
        )
    total = sum(percent for percent, _, _ in record.structure.components)
    if record.structure.components and abs(total - 100.0) > 0.05:
        warn(f"components with {total:g} percent of the flux", "100", "Correct the percents.")
    if record.size_arcsec < 0:
        warn(f"a size of {record.size_arcsec:g} arcsec", "0 or more", "Write the size of the source.")
    return found


def _overlaps(records: Sequence[FluxRecord]) -> list[Problem]:
    """Records of one source that share more than an edge: the later one counts there."""
    found = []
    for n, later in enumerate(records):
        for earlier in records[:n]:
            low, high = max(later.low_mhz, earlier.low_mhz), min(later.high_mhz, earlier.high_mhz)
            if later.name == earlier.name and low < high:
                found.append(
                    Problem(
                        later.line,
                        f"{later.name} at {low:g}-{high:g} MHz again, after line {earlier.line}",
                        "ranges that share at most an edge",
                        "note",
                        fix="The later record is the one that counts.",
                    )
                )
    return found


# ---------------------------------------------------------------- writing


def format_record(record: FluxRecord) -> str:
    """One line of flux.ctl, without its end, from which the same numbers are read again."""
    a, b, c = (repr(value) for value in record.coefficients)
    head = f"   {record.name:<10s} {record.type} {record.low_mhz!r:>8s} {record.high_mhz!r:>8s}"
    return f"{head} {a:>8s} {b:>8s} {c:>8s} {record.size_arcsec!r:>6s} {_format_structure(record.structure)}"


def _format_structure(structure: Structure) -> str:
    if structure.kind != "gauss":
        return f"{structure.kind} {_format_angle(structure.size_deg)}"
    axes = [f"{percent!r} {_format_angle(a)} {_format_angle(b)}" for percent, a, b in structure.components]
    return "gauss " + " ".join(axes)


def _format_angle(degrees: float) -> str:
    """In the unit that gives the shortest text and exactly the same angle."""
    exact = [f"{degrees!r}d"]
    for suffix, factor in SUFFIXES.items():
        text = f"{degrees / factor:.6g}"
        if float(text) * factor == degrees:
            exact.append(text + suffix)
    return min(exact, key=len)


def format_flux(records: Sequence[FluxRecord], comments: Sequence[str] = ()) -> str:
    """The text of a new flux.ctl: `comments` first, each as a line with a *, then the records."""
    lines = [f"* {comment}".rstrip() for comment in comments]
    lines.append("* source     type  MHz      MHz        a        b        c   size structure")
    return "\n".join([*lines, *(format_record(record) for record in records)]) + "\n"


def update_flux(text: str, changed: Mapping[int, FluxRecord | None], added: Sequence[FluxRecord] = ()) -> str:
    """`text` with the records at some line numbers replaced (None: deleted) and others added at the end.

    All other lines, with their comments, order and ends, stay as they are.
    """
    lines = split_lines(text)
    end = line_end(lines)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    for number, record in changed.items():
        lines[number - 1] = f"{format_record(record)}{end}" if record else ""
    return "".join(lines + [format_record(record) + end for record in added])
