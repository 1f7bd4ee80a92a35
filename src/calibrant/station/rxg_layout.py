"""Where everything of an `.rxg` text stands, and what is wrong with it: one walk for reading, checking and editing.

Data lines (not `*` in the first column, not blank), in order: LO, date, beam, polarisations, DPFU, gain curve, Tcal
rows, `end_tcal_table`, Trec, spill-over rows, `end_spillover_table`. Problems carry the Field System's own code,
`RG -(100 * data line + detail)`. Source: the Field System's reader and its error list (FS 10.2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from calibrant.station.curve import CurveKind, GainCurve
from calibrant.station.problem import Edit, Problem, Severity
from calibrant.station.text import split_lines

Pol = Literal["l", "r"]
MAX_TCAL = 1200
MAX_SPILL = 20
MAX_COEFFICIENTS = 10
MAX_LINE = 255
END_TCAL = "end_tcal_table"
END_SPILL = "end_spillover_table"
FLAG = "opacity_corrected"
END_OF_FILE = "the end of the file"

HEADER = ("lo", "date", "beam", "pols", "dpfu", "curve")
NUMBER_OF = {name: number for number, name in enumerate((*HEADER, "tcal", "trec", "spill"), 1)} | {"end": 0}
EXPECTED = {
    "lo": "'fixed LO [LO2]' or 'range LOW HIGH' in MHz",
    "date": "a date of three integers, 'yyyy mm dd' or 'yyyy 0 ddd'",
    "beam": "the beam, 'frequency [factor]' or 'constant degrees'",
    "pols": "the polarisations, one or two of lcp, rcp",
    "dpfu": "the DPFU of each polarisation in K/Jy",
    "curve": f"the gain curve, 'ELEV|ALTAZ POLY c0 ... cn [{FLAG}]' with 1 to {MAX_COEFFICIENTS} coefficients",
    "tcal": f"a row 'lcp|rcp MHz K' or {END_TCAL}",
    "trec": "Trec in K, one value per polarisation (0: unknown)",
    "spill": f"a row 'elevation K' or {END_SPILL}",
    "end": f"nothing but comments after {END_SPILL}",
}
"""What stands there, as words for a message."""
MISFIT = {"lo": 112, "date": 211, "beam": 312, "pols": 412, "dpfu": 515, "curve": 611, "tcal": 711, "trec": 815}
MISFIT |= {"spill": 911, "end": 13}
"""The code for a line that is something else altogether."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?")
_LOOKS_LIKE: dict[str, Callable[[list[str]], bool]] = {
    "lo": lambda t: t[0] in ("fixed", "range"),
    "date": lambda t: len(t) == 3 and all(re.fullmatch(r"\d+", x) for x in t),
    "beam": lambda t: t[0] in ("frequency", "constant"),
    "pols": lambda t: len(t) <= 2 and all(x in ("lcp", "rcp") for x in t),
    "dpfu": lambda t: number(t[0]) is not None,
    "curve": lambda t: t[0] in ("elev", "altaz"),
}


@dataclass(frozen=True)
class Row:
    """A row of the Tcal table: physical line, polarisation, MHz, K."""

    line: int
    pol: Pol
    freq_mhz: float
    tcal_k: float


@dataclass
class Layout:
    """Values and physical lines (from 1) of everything found. Items that lack keep their default."""

    lines: list[str]
    """Physical lines with their ends."""
    problems: list[Problem] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=dict)
    """Item (`lo` ... `curve`, `end_tcal`, `trec`, `end_spill`) -> line; absent where the item is."""
    kind: Literal["fixed", "range"] = "fixed"
    lo_mhz: tuple[float, ...] = ()
    date: tuple[int, int, int] = (0, 0, 0)
    """As written: month 0 means that the day is the day of the year."""
    beam_kind: Literal["frequency", "constant"] = "frequency"
    beam_value: float = 1.0
    pols: tuple[Pol, ...] = ()
    dpfu: tuple[float, ...] = ()
    curve: GainCurve | None = None
    tcal: list[Row] = field(default_factory=list)
    trec: tuple[float, ...] = ()
    spill: list[tuple[int, float, float]] = field(default_factory=list)
    """(line, elevation, K)"""
    generation: Literal[1, 2, 3] = 3
    """1: FS 9.5.15 to 9.6.4; 2: to 9.10, one Trec for all; 3: since 9.11, one Trec per polarisation."""


def scan(text: str) -> Layout:
    """Walk through a text; everything wrong is in `problems`, in order of lines."""
    layout = Layout(split_lines(text))
    _Walk(layout).run()
    layout.problems.sort(key=lambda problem: problem.line or len(layout.lines) + 1)
    return layout


def number(token: str) -> float | None:
    """A finite number, or None."""
    if not _NUMBER.fullmatch(token.lower()):
        return None
    value = float(token)
    return value if math.isfinite(value) else None


def rg(code: int) -> str:
    """The Field System's error as text; empty for 0."""
    return f"RG -{code}" if code else ""


def end_item(item: str) -> int:
    """The code of a file that ends where `item` should stand."""
    return 100 * NUMBER_OF[item] - 1 if item in HEADER else {"tcal": 699, "trec": 799, "spill": 899}[item]


class _Walk:
    """The walk's state: the data lines not yet used, and the layout being filled."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.data = [
            (line, content.split())
            for line, content in enumerate((raw.lower() for raw in layout.lines), 1)
            if not content.startswith("*") and content.strip()
        ]
        self.next = 0
        self.item = "lo"
        self.used: dict[int, str] = {}
        """line -> what it was read as"""

    def run(self) -> None:
        for item in HEADER:
            self._header(item)
        if self.layout.curve is not None or self.peek() is not None:
            self._tcal()
            self._trec()
            self._spill()
            self._rest()
        self._last_line()
        self._long_comments()

    # -- moving on ----------------------------------------------------------------------------------------------

    def peek(self) -> tuple[int, list[str]] | None:
        """The next data line; comments after a blank, which the Field System reads as data, are reported, skipped."""
        while self.next < len(self.data):
            line, tokens = self.data[self.next]
            if not tokens[0].startswith("*"):
                return line, tokens
            content = self.layout.lines[line - 1].rstrip("\r\n")
            self.add(
                line,
                f"a blank before the '*' of {_short(content.strip())}",
                "'*' in the first column of a comment",
                MISFIT[self.item],
                "Remove the blank.",
                edit=Edit(line, line, (content.lstrip(),)),
            )
            self.next += 1
        return None

    def take(self, item: str) -> tuple[int, list[str]] | None:
        self.item = item
        found = self.peek()
        if found is not None:
            self.next += 1
            self.used[found[0]] = item
            self._too_long(found[0])
        return found

    def add(
        self,
        line: int,
        found: str,
        expected: str,
        code: int = 0,
        fix: str = "",
        severity: Severity = "error",
        edit: Edit | None = None,
    ) -> None:
        self.layout.problems.append(Problem(line, found, expected, severity, rg(code), fix, edit))

    def misfit(self, line: int, item: str, tokens: list[str], code: int | None = None, fix: str = "") -> None:
        """A line that is not what stands there."""
        code = MISFIT[item] if code is None else code
        self.add(line, _short(" ".join(tokens)), EXPECTED[item], code, fix or "Correct the line.")

    def numbers(self, line: int, tokens: list[str], what: str) -> list[float]:
        """The numbers that a line starts with; one that is none (nan, 1.2K) is reported, text behind them is not."""
        values = _leading_numbers(tokens)
        rest = tokens[len(values) :][:1]
        if rest and len(values) < 2 and (_NUMBER.match(rest[0]) or rest[0].lstrip("+-")[:3] in ("nan", "inf")):
            self.value(line, rest[0], what)
        return values

    def value(self, line: int, token: str, what: str, code: int = 0) -> float | None:
        """A finite number, or a problem."""
        result = number(token)
        if result is None:
            start = _NUMBER.match(token)
            note = f"The Field System would read {start[0]}; w" if start else "W"
            self.add(line, repr(token), f"a finite number for {what}", code, f"{note}rite a plain number.")
        return result

    # -- header -------------------------------------------------------------------------------------------------

    def _header(self, item: str) -> None:
        self.item = item
        found = self.peek()
        if found is None:
            self._ended(item)
            return
        line, tokens = found
        later = HEADER[HEADER.index(item) + 1 :]
        if not _LOOKS_LIKE[item](tokens) and any(
            _LOOKS_LIKE[name](tokens) for name in later if name != "dpfu" or item == "pols"
        ):
            self.add(line, f"no line with {item} before {_short(' '.join(tokens))}", EXPECTED[item], MISFIT[item],
                     "Insert the line.")  # fmt: skip
            return
        self.take(item)
        self.layout.at[item] = line
        {"lo": self._lo, "date": self._date, "beam": self._beam, "pols": self._pols, "dpfu": self._dpfu,
         "curve": self._curve}[item](line, tokens)  # fmt: skip

    def _ended(self, item: str) -> None:
        """The file ended before a line of the header; said once."""
        if not any(problem.found == END_OF_FILE for problem in self.layout.problems):
            last = len(self.layout.lines)
            self.add(last, END_OF_FILE, EXPECTED[item], end_item(item), "Restore it from a backup.")

    def _lo(self, line: int, tokens: list[str]) -> None:
        if tokens[0] not in ("fixed", "range"):
            return self.misfit(line, "lo", tokens)
        if len(tokens) == 1:
            return self.misfit(line, "lo", tokens, 115, "Write the LO frequency.")
        first = self.value(line, tokens[1], "the LO", 115)
        second = self.value(line, tokens[2], "the second LO", 116) if len(tokens) > 2 else None
        if first is None or (second is None and len(tokens) > 2):
            return None
        if first < 0 or (second is not None and second < first):
            code = 114 if second is None else 113
            return self.misfit(line, "lo", tokens, code, "Frequencies are not negative, the lower one comes first.")
        if tokens[0] == "range" and second is None:
            return self.misfit(line, "lo", tokens, 117, "A range needs both ends.")
        if len(tokens) > 3:
            self.add(line, f"{' '.join(tokens[3:])!r} after two frequencies", EXPECTED["lo"], 0,
                     "The Field System ignores it: remove it.", "warning")  # fmt: skip
        self.layout.kind = "fixed" if tokens[0] == "fixed" else "range"
        self.layout.lo_mhz = (first,) if second is None else (first, second)
        return None

    def _date(self, line: int, tokens: list[str]) -> None:
        fields = [int(token) for token in tokens[:3] if re.fullmatch(r"[+-]?\d+", token)]
        if len(tokens) == 2 and len(fields) == 2 and 12 < fields[1] <= 366:
            year, day = fields
            self.add(line, _short(" ".join(tokens)), EXPECTED["date"], 211,
                     "Month 0 marks a day of the year (the comment in the template is wrong).",
                     edit=Edit(line, line, (f"{year} 0 {day}",)))  # fmt: skip
            self.layout.date = (year, 0, day)
            return None
        if len(fields) != 3:
            return self.misfit(line, "date", tokens, 211, "Write the day of the last change with three numbers.")
        year, month, day = fields
        if year < 0 or not 0 <= month <= 12 or not 1 <= day <= (31 if month else 366):
            return self.misfit(line, "date", tokens, 212, "Write a day that exists.")
        self.layout.date = (year, month, day)
        return None

    def _beam(self, line: int, tokens: list[str]) -> None:
        if tokens[0] not in ("frequency", "constant"):
            return self.misfit(line, "beam", tokens)
        if len(tokens) > 2:
            return self.misfit(line, "beam", tokens, 313, "Only one number may follow.")
        if tokens == ["constant"]:
            return self.misfit(line, "beam", tokens, 315, "Write the FWHM in degrees.")
        value = self.value(line, tokens[1], "the beam", 314) if len(tokens) == 2 else 1.0
        if value is None:
            return None
        if value <= 0:
            self.add(line, f"{value:g}", "a beam wider than zero", 0, "Write the FWHM or its factor.", "warning")
        self.layout.beam_kind = "frequency" if tokens[0] == "frequency" else "constant"
        self.layout.beam_value = value
        return None

    def _pols(self, line: int, tokens: list[str]) -> None:
        names = tokens[:2]
        bad = next((index for index, name in enumerate(names) if name not in ("lcp", "rcp")), None)
        if bad is not None:
            return self.misfit(line, "pols", tokens, 412 + bad)
        if len(tokens) > 2 or len(set(names)) < len(names):
            return self.misfit(line, "pols", tokens, 0, "Name each polarisation once.")
        self.layout.pols = tuple("l" if name == "lcp" else "r" for name in names)
        return None

    def _dpfu(self, line: int, tokens: list[str]) -> None:
        found = self.numbers(line, tokens, "the DPFU")
        wanted = len(self.layout.pols) or min(2, max(1, len(found)))
        if not found:
            return self.misfit(line, "dpfu", tokens)
        if len(found) < wanted or (wanted == 1 and len(found) > 1):
            code = 513 if len(found) < wanted else 514
            words = f"{_count(len(found))} DPFU for {_count(wanted)} in the line of polarisations"
            self.add(line, words, EXPECTED["dpfu"], code, "Write one value per polarisation, in their order.")
            return None
        for place, value in enumerate(found[:wanted]):
            if value < 0:
                self.add(line, f"{value:g}", "a DPFU that is not negative", 511 + place, "Write it in K/Jy.")
        if min(found[:wanted]) == 0:
            self.add(line, "a DPFU of 0", "the sensitivity in K/Jy", 0, "Measure it: all gains are zero.", "warning")
        self.layout.dpfu = tuple(found[:wanted])
        return None

    def _curve(self, line: int, tokens: list[str]) -> None:
        form, words = tokens[0], tokens[2:]
        coefficients = _leading_numbers(words)
        rest = words[len(coefficients) :]
        if len(form) > 5 or len(tokens) < 2 or len(tokens[1]) > 4 or not coefficients:
            return self.misfit(line, "curve", tokens, 611)
        if form not in ("elev", "altaz"):
            return self.misfit(line, "curve", tokens, 612)
        if tokens[1] != "poly":
            return self.misfit(line, "curve", tokens, 613)
        if len(coefficients) > MAX_COEFFICIENTS:
            return self.add(line, f"{len(coefficients)} coefficients", f"at most {MAX_COEFFICIENTS}", 611,
                            "Fit a polynomial of lower degree.")  # fmt: skip
        if rest and rest != [FLAG]:
            return self.add(line, f"{' '.join(rest)!r} after the coefficients", f"finite numbers, then {FLAG} or"
                            " nothing", 614, f"Spell it {FLAG}, or remove it.")  # fmt: skip
        kind: CurveKind = "elev" if form == "elev" else "altaz"
        self.layout.curve = GainCurve(kind, tuple(coefficients), opacity_corrected=bool(rest))
        return None

    # -- tables -------------------------------------------------------------------------------------------------

    def _tcal(self) -> None:
        while True:
            self.item = "tcal"
            found = self.peek()
            if found is None:
                return self._no_end_tcal()
            line, tokens = found
            if any(END_TCAL in token for token in tokens):
                break
            if self.layout.tcal and _ends_table(tokens):
                words = f"{_short(' '.join(tokens))} in the Tcal table"
                self.add(line, words, EXPECTED["tcal"], 711, f"Insert {END_TCAL} before it.",
                         edit=Edit(line, line - 1, (END_TCAL,)))  # fmt: skip
                return None
            self.take("tcal")
            self._tcal_row(line, tokens)
        self.take("tcal")
        self.layout.at["end_tcal"] = line
        if not self.layout.tcal and not any(problem.code.startswith("RG -71") for problem in self.layout.problems):
            self.add(line, f"{END_TCAL} without any row before", EXPECTED["tcal"], 716,
                     "Write one row per polarisation; a negative Tcal means no diode.")  # fmt: skip
        return None

    def _tcal_row(self, line: int, tokens: list[str]) -> None:
        if len(tokens) < 3:
            return self.misfit(line, "tcal", tokens, 711)
        if tokens[0] not in ("lcp", "rcp"):
            return self.misfit(line, "tcal", tokens, 712 if number(tokens[1]) is not None else 711)
        pol: Pol = "l" if tokens[0] == "lcp" else "r"
        if self.layout.pols and pol not in self.layout.pols:
            return self.misfit(line, "tcal", tokens, 713, "Name the polarisation in data line 4, or remove the row.")
        freq, tcal = self.value(line, tokens[1], "the frequency", 711), self.value(line, tokens[2], "Tcal", 711)
        if freq is None or tcal is None:
            return None
        if freq < 0:
            return self.misfit(line, "tcal", tokens, 714, "Frequencies are not negative.")
        if len(self.layout.tcal) == MAX_TCAL:
            self.add(line, f"more than {MAX_TCAL} Tcal rows", f"at most {MAX_TCAL} for both polarisations", 715,
                     "Keep fewer frequencies.")  # fmt: skip
        self.layout.tcal.append(Row(line, pol, freq, tcal))
        return None

    def _no_end_tcal(self) -> None:
        if not self.layout.tcal:
            return self._ended("tcal")
        self.layout.generation = 1
        return self.missing_end(
            "tcal", (END_TCAL, self.zeros(), END_SPILL), f"Add {END_TCAL}, Trec (0: unknown) and {END_SPILL}.",
            "warning",
        )  # fmt: skip

    def missing_end(self, item: str, lines: tuple[str, ...], fix: str, severity: Severity = "error") -> None:
        """The file ended inside or before a table: the lines that belong there, after the last data line."""
        last = self.data[-1][0]
        edit = Edit(last + 1, last, lines)
        self.add(last, END_OF_FILE, EXPECTED[item], end_item(item), fix, severity, edit)

    def zeros(self) -> str:
        return " ".join(["0.0"] * (len(self.layout.pols) or 1))

    def _trec(self) -> None:
        if self.layout.generation == 1 or (not self.layout.tcal and "end_tcal" not in self.layout.at):
            return None
        self.item = "trec"
        found = self.peek()
        if found is None:
            return self.missing_end("trec", (self.zeros(), END_SPILL), f"Add Trec (0: unknown) and {END_SPILL}.")
        line, tokens = found
        if END_SPILL in tokens[0]:
            self.add(line, f"{END_SPILL} without Trec before", EXPECTED["trec"], 815, "Insert Trec (0: unknown).",
                     edit=Edit(line, line - 1, (self.zeros(),)))  # fmt: skip
            return None
        self.take("trec")
        self.layout.at["trec"] = line
        return self._trec_values(line, tokens)

    def _trec_values(self, line: int, tokens: list[str]) -> None:
        values = self.numbers(line, tokens, "Trec")[:2]
        wanted = len(self.layout.pols)
        if not values:
            return self.misfit(line, "trec", tokens)
        for place, value in enumerate(values):
            if value < 0:
                self.add(line, f"{value:g}", "a Trec that is not negative", 811 + place, "0 means unknown.")
        if wanted == 2 and len(values) == 1:
            self.layout.generation = 2
            content = self.layout.lines[line - 1].rstrip("\r\n")
            both = re.sub(r"\S+", lambda token: f"{token[0]} {token[0]}", content, count=1)
            self.add(line, "one Trec for two polarisations (layout before FS 9.11)", EXPECTED["trec"], 813,
                     "Repeat the value.", "warning", Edit(line, line, (both,)))  # fmt: skip
        if wanted == 1 and len(values) == 2:
            self.add(line, "two Trec for one polarisation", EXPECTED["trec"], 814, "Keep one of them.")
        self.layout.trec = tuple(values)
        return None

    def _spill(self) -> None:
        if "trec" not in self.layout.at and not self._has_end_spill():
            return None
        while True:
            found = self.take("spill")
            if found is None:
                return self.missing_end("spill", (END_SPILL,), f"Add {END_SPILL}.")
            line, tokens = found
            if any(END_SPILL in token for token in tokens):
                self.layout.at["end_spill"] = line
                return None
            self._spill_row(line, tokens)

    def _has_end_spill(self) -> bool:
        return any(END_SPILL in token for _, tokens in self.data[self.next :] for token in tokens)

    def _spill_row(self, line: int, tokens: list[str]) -> None:
        if len(tokens) < 2:
            return self.misfit(line, "spill", tokens)
        elevation = self.value(line, tokens[0], "the elevation", 911)
        kelvin = self.value(line, tokens[1], "the spill-over", 911)
        if elevation is None or kelvin is None:
            return None
        if len(self.layout.spill) == MAX_SPILL:
            self.add(line, f"more than {MAX_SPILL} spill-over rows", f"at most {MAX_SPILL}", 912, "Keep fewer.")
        self.layout.spill.append((line, elevation, kelvin))
        return None

    def _rest(self) -> None:
        found = self.take("end")
        if found is not None:
            self.misfit(found[0], "end", found[1], fix="Put '*' in its first column, or move it to its place.")

    # -- lines as such ------------------------------------------------------------------------------------------

    def _too_long(self, line: int) -> None:
        length = len(self.layout.lines[line - 1].rstrip("\r\n"))
        if length > MAX_LINE:
            code = 100 * NUMBER_OF[self.item] + 4
            self.add(line, f"a line of {length} characters", f"at most {MAX_LINE}", code, "Shorten it.")

    def _last_line(self) -> None:
        lines = self.layout.lines
        if lines and not lines[-1].endswith("\n") and not lines[-1].startswith("*"):
            code = 100 * NUMBER_OF[self.used.get(len(lines), self.item)] + 4
            self.add(len(lines), "a last line without a newline", "a newline at the end of every line", code,
                     "Add it.", edit=Edit(len(lines), len(lines), (lines[-1],)))  # fmt: skip

    def _long_comments(self) -> None:
        for line, content in enumerate(self.layout.lines, 1):
            if content.startswith("*") and len(content.rstrip("\r\n")) > MAX_LINE:
                self.add(line, f"a comment of {len(content.rstrip())} characters", f"at most {MAX_LINE}", 0,
                         "Break it into lines: other programs cut it.", "warning")  # fmt: skip


def _leading_numbers(tokens: list[str]) -> list[float]:
    """The numbers that the line starts with, as the Field System counts them."""
    values: list[float] = []
    for token in tokens:
        value = number(token)
        if value is None:
            break
        values.append(value)
    return values


def _ends_table(tokens: list[str]) -> bool:
    """A line that can only follow `end_tcal_table`: Trec, or the end of the spill-over table."""
    return END_SPILL in tokens[0] or (len(tokens) <= 2 and all(number(token) is not None for token in tokens))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _count(count: int) -> str:
    return ("no", "one", "two")[count] if count < 3 else str(count)
