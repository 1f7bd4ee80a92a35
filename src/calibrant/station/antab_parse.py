"""The reader and validator behind `calibrant.station.antab`: one pass, so that both understand a file alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibrant.station.antab import MOUNTS, Antab, AntabGain, AntabTsys
from calibrant.station.problem import Edit, Problem

MOST_ALIKE = 10
"""Problems of one kind in one group that are listed one by one; the rest is counted."""
_TOKEN = re.compile(
    r"""(?P<skip>\s+)|(?P<quote>'[^'\n]*'|"[^"\n]*")|(?P<mark>[=,/])|(?P<word>(?:SRC/SYS|[^\s=,/'"])+)|(?P<bad>.)""",
    re.I,
)
_FLAGS = (*MOUNTS, "TABLE", "RCP", "LCP")
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?$")
_CASA_NUMBER = re.compile(r"^[+-]?(\d*\.\d+([Ee][+-]\d{1,3})?|\d+\.?)$")


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str
    line: int


@dataclass
class _Group:
    """Keywords up to `/`: bare words, and values by keyword."""

    words: list[_Token] = field(default_factory=list)
    keys: dict[str, list[_Token]] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)

    @property
    def line(self) -> int:
        lines = [word.line for word in self.words] + list(self.key_lines.values())
        return min(lines) if lines else 0


def parse(text: str) -> tuple[Antab, list[Problem], list[int]]:
    """(groups, problems sorted by line, indices of those problems that make the content unreliable)."""
    reader = _Reader(text)
    reader.run()
    order = sorted(range(len(reader.problems)), key=lambda i: reader.problems[i].line)
    problems = [reader.problems[i] for i in order]
    fatal = [new for new, old in enumerate(order) if old in reader.fatal]
    return Antab(tuple(reader.groups), tuple(reader.comments)), problems, fatal


class _Reader:
    """Goes through the lines once; `self.at` is the index of the next one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if self.lines and not self.lines[-1]:
            self.lines.pop()
        self.at = 0
        self.groups: list[AntabGain | AntabTsys] = []
        self.comments: list[str] = []
        self.problems: list[Problem] = []
        self.fatal: set[int] = set()

    def report(self, problem: Problem, *, fatal: bool = False) -> None:
        if fatal:
            self.fatal.add(len(self.problems))
        self.problems.append(problem)

    def bad(self, line: int, found: str, expected: str, fix: str = "", edit: Edit | None = None) -> None:
        """An error after which the content cannot be trusted."""
        self.report(Problem(line, found, expected, fix=fix, edit=edit), fatal=True)

    def run(self) -> None:
        from calibrant.station import antab_check

        if not antab_check.check_text(self):
            return
        while self.at < len(self.lines):
            group = self._keywords()
            if group is not None:
                self._make(group)
        antab_check.check_groups(self.groups, self.report)

    # ---- keywords ----------------------------------------------------------------------------------------------
    def _keywords(self) -> _Group | None:
        """The group up to the next `/`; None at the end of the file, and for a lone `/`."""
        group = _Group()
        key = ""
        expect = "word"
        for token in self._tokens():
            if token.text == "/" and token.kind == "mark":
                return self._ended(group, token.line)
            if self._starts_another(group, token, expect):
                self.at = token.line - 1
                return group
            if token.kind == "mark":
                key, expect = self._mark(group, token, key)
            elif expect == "value":
                group.keys[key].append(token)
                expect = "after"
            elif token.kind == "word" and (expect == "word" or _is_keyword(token.text)):
                group.words.append(token)
                expect = "word"
            else:
                self._stray(token, key)
        if group.words or group.keys:
            self._unterminated(group, len(self.lines))
            return group
        return None

    def _tokens(self) -> Iterator[_Token]:
        """Tokens from `self.at` on; comment lines are collected on the way. Leaves `self.at` behind the line of the
        token that was taken last."""
        while self.at < len(self.lines):
            number = self.at + 1
            line = self.lines[self.at]
            self.at += 1
            if line.lstrip().startswith("!"):
                self.comments.append(line.lstrip()[1:])
                continue
            for match in _TOKEN.finditer(_without_comment(line)):
                if match.lastgroup != "skip" and match.lastgroup is not None:
                    yield _Token(match[0], match.lastgroup, number)

    def _ended(self, group: _Group, line: int) -> _Group | None:
        rest = _without_comment(self.lines[line - 1]).rstrip()
        if not rest.endswith("/") or "!" in self.lines[line - 1].split("/")[-1]:
            self.report(Problem(
                line, "text after the `/`", "the end of the line: casa-vlbi finds the end of a group only there",
                "warning", fix="Put what follows on a line of its own.",
            ))  # fmt: skip
        if group.words or group.keys:
            return group
        self.report(Problem(
            line, "a `/` that ends nothing", "a group of keywords before it", "note",
            fix="Remove the line.", edit=Edit(line, line, ()) if rest.strip() == "/" else None,
        ))  # fmt: skip
        return None

    def _starts_another(self, group: _Group, token: _Token, expect: str) -> bool:
        """A GAIN or TSYS at the start of a line while a group with such a word is open: its `/` is missing."""
        if expect == "value" or token.text.upper() not in ("GAIN", "TSYS"):
            return False
        kinds = [word for word in group.words if word.text.upper() in ("GAIN", "TSYS")]
        first = self.lines[token.line - 1].lstrip().upper().startswith(token.text.upper())
        if not kinds or not first:
            return False
        self._unterminated(group, token.line - 1)
        return True

    def _unterminated(self, group: _Group, last: int) -> None:
        kind = next((word.text.upper() for word in group.words if word.text.upper() in ("GAIN", "TSYS")), "keywords")
        self.report(Problem(
            max(last, 1), f"the end of the {kind} group of line {group.line} without `/`", "`/`",
            fix=f"Add `/` after line {last}.", edit=Edit(last + 1, last, ("/",)),
        ))  # fmt: skip

    def _mark(self, group: _Group, token: _Token, key: str) -> tuple[str, str]:
        """What `=` or `,` makes of the tokens before it: (keyword, what must follow)."""
        if token.text == ",":
            if not key or not group.keys.get(key):
                self.bad(token.line, "a comma", "a value before it", "Remove the comma.")
            return key, "value" if key in group.keys else "word"
        if not group.words or group.words[-1].line < token.line - 1:
            self.bad(token.line, "`=`", "a keyword before it", "Write KEYWORD=value.")
            return key, "value" if key in group.keys else "word"
        word = group.words.pop()
        name = word.text.upper()
        if name in group.keys:
            self.bad(word.line, f"{name} twice in one group", "each keyword once", "Remove one of them.")
        group.keys[name], group.key_lines[name] = [], word.line
        return name, "value"

    def _stray(self, token: _Token, key: str) -> None:
        line = self.lines[token.line - 1]
        if token.text.lower() == "opacity_corrected":
            text = re.sub(r"\s*,?\s*opacity_corrected", "", line, flags=re.I)
            self.report(Problem(
                token.line, "opacity_corrected after POLY", "numbers only: it stops AIPS and casa-vlbi",
                fix="Say it in a comment instead.",
                edit=Edit(token.line, token.line, ("! the gain curve is opacity corrected", text)),
            ))  # fmt: skip
            return
        self.bad(token.line, repr(token.text), f"a comma between the values of {key}" if key else "KEYWORD=value",
                 "Write values as a,b,c.")  # fmt: skip

    # ---- groups ------------------------------------------------------------------------------------------------
    def _make(self, group: _Group) -> None:
        kinds = [word.text.upper() for word in group.words if word.text.upper() in ("GAIN", "TSYS")]
        if "opacity_corrected" in [word.text.lower() for word in group.words]:
            for word in [word for word in group.words if word.text.lower() == "opacity_corrected"]:
                self._stray(word, "POLY")
                group.words.remove(word)
        for token in [t for values in group.keys.values() for t in values if t.text.lower() == "opacity_corrected"]:
            self._stray(token, "POLY")
        if not kinds:
            words = " ".join(token.text for token in group.words[:3]) or ", ".join(group.keys)
            self.bad(
                group.line, f"a group of {words[:60]!r}", "GAIN or TSYS", "Remove it, or begin it with GAIN or TSYS."
            )
            return
        comments, self.comments = tuple(self.comments), []
        maker = self._gain if kinds[0] == "GAIN" else self._tsys
        maker(group, comments)

    def _station(self, group: _Group) -> str:
        rest = [w for w in group.words if w.text.upper() not in ("GAIN", "TSYS", *_FLAGS)]
        if not rest:
            self.bad(group.line, "no station code", "two letters after GAIN or TSYS", "Add it: GAIN TR ...")
            return ""
        for word in rest[1:]:
            self.bad(word.line, repr(word.text), "a known keyword", "Remove it, or write KEYWORD=value.")
        code = rest[0].text
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]", code):
            self.report(Problem(
                rest[0].line, f"station code {code!r}", "two characters, as in the correlated data", "warning",
            ))  # fmt: skip
        return code.upper()

    def _gain(self, group: _Group, comments: tuple[str, ...]) -> None:
        words = [word.text.upper() for word in group.words]
        mounts = [word for word in words if word in MOUNTS]
        if len(mounts) != 1:
            self.bad(group.line, " and ".join(mounts) or "no type of curve", f"one of {', '.join(MOUNTS)}",
                     "Say of what POLY is a function.")  # fmt: skip
        station = self._station(group)
        known = ("DPFU", "POLY", "FREQ", "TIMERANG", "BAND")
        numbers = {name: self._numbers(group, name) for name in known[:4]}
        table = self._table(group) if "TABLE" in words else ()
        self.groups.append(AntabGain(
            station=station, mount=mounts[0] if mounts else "", dpfu=numbers["DPFU"], poly=numbers["POLY"],
            table=table, freq_mhz=numbers["FREQ"], timerang=numbers["TIMERANG"], band=_text(group, "BAND"),
            pols=tuple(word[0].lower() for word in words if word in ("RCP", "LCP")), others=_others(group, known),
            comments=comments, line=group.line,
        ))  # fmt: skip

    def _table(self, group: _Group) -> tuple[tuple[float, float], ...]:
        """Lines `angle gain` up to the next `/`."""
        rows, lines, _ = self._data(group.line)
        result = []
        for row, line in zip(rows, lines, strict=True):
            cells = row.replace(",", " ").split()
            if len(cells) != 2 or not all(_NUMBER.match(cell) for cell in cells):
                self.bad(line, repr(row[:60]), "angle and gain of the TABLE")
                continue
            result.append((_number(cells[0]), _number(cells[1])))
        return tuple(result)

    def _tsys(self, group: _Group, comments: tuple[str, ...]) -> None:
        station = self._station(group)
        known = ("FT", "TIMEOFF", "INDEX", "INDEX2", "SRC/SYS", "RANGE")
        ft, timeoff = self._numbers(group, "FT"), self._numbers(group, "TIMEOFF")
        index = tuple(_unquoted(token) for token in group.keys.get("INDEX", []))
        rows, lines, notes = self._data(group.line)
        if not index and rows:
            index = tuple(f"R{i + 1}" for i in range(max(len(rows[0].split()) - 2, 1)))
            self.report(Problem(
                group.line, "no INDEX", "a label for each column", "error",
                fix="Add INDEX='R1','L1',... in the order of the columns.",
            ))  # fmt: skip
        seconds, values, kept = self._values(rows, lines, len(index))
        self.groups.append(AntabTsys(
            station=station, index=index, seconds=seconds, values=values, ft=ft or (1.0,),
            timeoff_s=timeoff[0] if timeoff else 0.0, range=self._numbers(group, "RANGE"),
            index2=tuple(_unquoted(token) for token in group.keys.get("INDEX2", [])),
            src_sys=tuple(_unquoted(token) for token in group.keys.get("SRC/SYS", [])),
            others=_others(group, known), comments=comments, notes=tuple(notes), line=group.line,
            lines=np.array(lines, np.int64)[kept],
        ))  # fmt: skip

    def _numbers(self, group: _Group, name: str) -> tuple[float, ...]:
        result = []
        for token in group.keys.get(name, []):
            text = _unquoted(token)
            if text.lower() == "opacity_corrected":
                continue
            if not _NUMBER.match(text):
                self.bad(token.line, f"{name}={text[:40]}", "numbers", "Correct the value.")
                continue
            if not _CASA_NUMBER.match(text):
                plain = _plain(text)
                line = self.lines[token.line - 1]
                self.report(Problem(
                    token.line, f"{text} in {name}", f"{plain}: casa-vlbi reads an exponent only with a point before "
                    "and a sign after E", "warning", fix=f"Write {plain}.",
                    edit=Edit(token.line, token.line, (line.replace(text, plain, 1),)),
                ))  # fmt: skip
            result.append(_number(text))
        if name in group.keys and not group.keys[name]:
            self.bad(group.key_lines[name], f"{name}= without a value", "a number", "Add it, or remove the keyword.")
        return tuple(result)

    # ---- rows --------------------------------------------------------------------------------------------------
    def _data(self, start: int) -> tuple[list[str], list[int], list[tuple[int, str]]]:
        """(rows, their line numbers, comments by row) up to a `/`, which may stand behind the last row."""
        rows: list[str] = []
        lines: list[int] = []
        notes: list[tuple[int, str]] = []
        while self.at < len(self.lines):
            raw = self.lines[self.at].strip()
            if raw.startswith("!"):
                notes.append((len(rows), raw[1:]))
                self.at += 1
                continue
            text = _without_comment(raw).strip() if "!" in raw else raw
            if text[:1].isalpha() and text[:4].upper() in ("GAIN", "TSYS"):
                self._no_end_of_data(start, self.at)
                return rows, lines, notes
            self.at += 1
            ends = "/" in text
            text = text.split("/")[0].strip()
            if text:
                rows.append(text)
                lines.append(self.at)
            if ends:
                return rows, lines, notes
        self._no_end_of_data(start, len(self.lines))
        return rows, lines, notes

    def _no_end_of_data(self, start: int, last: int) -> None:
        self.report(Problem(
            max(last, 1), f"the end of the values of the group of line {start} without `/`", "`/` on a line of its own",
            fix=f"Add `/` after line {last}.", edit=Edit(last + 1, last, ("/",)),
        ))  # fmt: skip

    def _values(
        self, rows: list[str], lines: list[int], columns: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
        """(seconds, values, which rows they are) of all rows that have a time and `columns` numbers."""
        cells = [row.replace(",", " ").split() for row in rows]
        wrong = [i for i, row in enumerate(cells) if len(row) != columns + 2]
        for i in wrong[:MOST_ALIKE]:
            self.bad(lines[i], f"{max(len(cells[i]) - 2, 0)} values: {rows[i][:60]!r}",
                     f"day, time and {columns} values, as many as INDEX has labels", "Correct the row.")  # fmt: skip
        if len(wrong) > MOST_ALIKE:
            self.bad(lines[wrong[MOST_ALIKE]], f"{len(wrong) - MOST_ALIKE} more rows with a wrong number of values",
                     f"{columns} values")  # fmt: skip
        unusable = set(wrong)
        kept = [i for i in range(len(rows)) if i not in unusable]
        seconds, times_ok = self._seconds([cells[i][:2] for i in kept], [lines[i] for i in kept])
        values, values_ok = self._floats([cells[i][2:] for i in kept], [lines[i] for i in kept], columns)
        good = times_ok & values_ok
        return seconds[good], values[good], [i for i, ok in zip(kept, good, strict=True) if ok]

    def _floats(
        self, cells: list[list[str]], lines: list[int], columns: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        try:
            values = np.array(cells, dtype=np.float64).reshape(len(cells), columns)
            if np.isfinite(values).all():
                return values, np.ones(len(cells), bool)
        except ValueError:
            pass
        values = np.full((len(cells), columns), np.nan)
        good = np.ones(len(cells), bool)
        count = 0
        for i, row in enumerate(cells):
            strange = [cell for cell in row if not _NUMBER.match(cell)]
            if not strange:
                values[i] = [_number(cell) for cell in row]
                continue
            good[i] = False
            count += 1
            if count <= MOST_ALIKE:
                self.bad(lines[i], repr(strange[0][:40]), "a number of K (999.9: no measurement)", "Write 999.9.")
        if count > MOST_ALIKE:
            self.bad(0, f"{count - MOST_ALIKE} more rows with values that are no numbers", "numbers")
        return values, good

    def _seconds(self, cells: list[list[str]], lines: list[int]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Seconds since the start of day 1, from (ddd, time) as text in any of the three formats."""
        colons = np.array([time.count(":") for _, time in cells], dtype=np.int64)
        days = _as_floats([day for day, _ in cells])
        result = np.full(len(cells), np.nan)
        for count, scales in ((0, (3600.0,)), (1, (3600.0, 60.0)), (2, (3600.0, 60.0, 1.0))):
            rows = np.nonzero(colons == count)[0]
            parts = [cells[i][1].split(":") for i in rows]
            numbers = [_as_floats([part[k] for part in parts]) for k in range(count + 1)]
            legal = np.ones(len(rows), bool)
            for k, number in enumerate(numbers):
                legal &= (number >= 0) & (number < 60 if k else number <= 24)
            total = sum((scale * number for scale, number in zip(scales, numbers, strict=True)), np.zeros(len(rows)))
            result[rows] = np.where(legal, (days[rows] - 1) * 86400.0 + total, np.nan)
        in_year = (days >= 1) & (days <= 366) & (days == np.floor(days))
        good = np.isfinite(result) & in_year
        for i in np.nonzero(~good)[0][:MOST_ALIKE]:
            expected = "hh.hhh, hh:mm.mm or hh:mm:ss.ss" if in_year[i] else "a day of year between 1 and 366"
            self.bad(lines[i], " ".join(cells[i])[:40], expected, "Correct the time.")
        if (~good).sum() > MOST_ALIKE:
            self.bad(0, f"{int((~good).sum()) - MOST_ALIKE} more rows with bad times", "ddd hh:mm.mm")
        return result, good


def _is_keyword(text: str) -> bool:
    return not _NUMBER.match(text)


def _as_floats(texts: list[str]) -> NDArray[np.float64]:
    """Numbers, nan where the text is none."""
    try:
        return np.array(texts, dtype=np.float64)
    except ValueError:
        return np.array([_number(text) if _NUMBER.match(text) else np.nan for text in texts], dtype=np.float64)


def _number(text: str) -> float:
    return float(text.upper().replace("D", "E"))


def _plain(text: str) -> str:
    from calibrant.station.antab import format_number

    return format_number(_number(text))


def _unquoted(token: _Token) -> str:
    return token.text[1:-1].strip() if token.kind == "quote" else token.text


def _text(group: _Group, name: str) -> str:
    return ",".join(_unquoted(token) for token in group.keys.get(name, []))


def _others(group: _Group, known: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (name, tuple(_unquoted(token) for token in values)) for name, values in group.keys.items() if name not in known
    )


def _without_comment(line: str) -> str:
    """The line up to a `!` that is not inside quotes."""
    if "!" not in line:
        return line
    quote = ""
    for i, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "!":
            return line[:i]
    return line
