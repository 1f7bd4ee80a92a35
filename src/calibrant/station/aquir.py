"""AQUIR control files: which sources the Field System's calibration robot cycles through, and with which waits.

    setup record      setup-procedure wait  terminate-procedure wait  upper-limit  on-source-wait  lead
    elevation mask    AZ EL AZ EL ... AZ    (a step function; a line that ends with an EL goes on in the next one)
    source records    name RA Dec epoch  pre-procedure wait  FIVPT-wait ONOFF-wait PEAKF-wait  post-procedure wait

Procedures wait minutes; -1: until something runs `rte_go aquir`; -2: the procedure is not sent. RA and Dec only
decide whether a source is up; pointing is done by the SNAP procedure with the source's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.errors import FormatError
from calibrant.station.problem import Problem
from calibrant.station.text import read_text, split_lines

MAX_TARGETS = 200
MAX_AZIMUTHS = 36
MAX_NAME = 10
MAX_PROCEDURE = 12
MAX_LINE = 255
MAX_WAIT = 32767
SUSPEND, NOT_SENT = -1, -2
EPHEMERIS = ("sun", "moon")
"""Names whose position AQUIR computes; their RA and Dec in the file count for nothing."""


@dataclass(frozen=True)
class Call:
    """A procedure (or SNAP command) that AQUIR sends, and how long it waits: minutes, or SUSPEND or NOT_SENT."""

    procedure: str
    wait: int


@dataclass(frozen=True)
class Setup:
    """The first record. Degrees and seconds."""

    setup: Call
    terminate: Call
    upper_deg: float
    on_source_s: float
    lead_s: float
    line: int = 0


@dataclass(frozen=True)
class Mask:
    """Lower elevation limits: `elevations[i]` holds for azimuths[i] <= az <= azimuths[i + 1], degrees."""

    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]
    line: int = 0

    def minimum(self, azimuth_deg: ArrayLike) -> NDArray[np.float64]:
        """Elevation that a source must exceed; -90 at azimuths that no step covers: there AQUIR takes all as up."""
        azimuth = np.asarray(azimuth_deg, dtype=np.float64)
        limit = np.full(azimuth.shape, -90.0)
        steps = zip(self.azimuths[:-1], self.azimuths[1:], self.elevations, strict=True)
        for low, high, elevation in reversed(list(steps)):
            limit = np.where((low <= azimuth) & (azimuth <= high), elevation, limit)
        return limit


@dataclass(frozen=True)
class Target:
    """A source record. `ra` and `dec` as written: hhmmss.s and [+-]ddmmss.s; waits of the programs in minutes."""

    name: str
    ra: str
    dec: str
    epoch: float
    before: Call
    fivpt_wait: int
    onoff_wait: int
    peakf_wait: int
    after: Call
    line: int = 0

    @property
    def ra_deg(self) -> float:
        return 15.0 * _sexagesimal(self.ra)

    @property
    def dec_deg(self) -> float:
        return _sexagesimal(self.dec)


@dataclass(frozen=True)
class Control:
    """An AQUIR control file."""

    path: str
    setup: Setup
    mask: Mask
    targets: tuple[Target, ...]


# ---------------------------------------------------------------- reading


def read_aquir(path: str | Path) -> Control:
    """The control file at `path`; FormatError where it is empty, no text, or wrong (the first error is named)."""
    return parse_aquir(read_text(path), str(path))


def parse_aquir(text: str, path: str) -> Control:
    """The control file with this text; FormatError names the first error with its line."""
    control, problems = _parse(text, path)
    for problem in problems:
        if problem.severity == "error":
            raise FormatError(problem.describe(path))
    if control is None:
        raise FormatError(f"{path}: found no setup record, mask and source records, expected an AQUIR control file")
    return control


def check_aquir(text: str, procedures: Mapping[str, Sequence[str]] | None = None) -> list[Problem]:
    """Everything wrong with a control file, and its traps; `procedures`: what `read_procedures` gives."""
    control, problems = _parse(text, "")
    if control:
        problems += _check_setup(control.setup) + _check_mask(control) + _check_targets(control.targets)
        problems += _check_procedures(control, procedures) if procedures is not None else _remind(control)
    return sorted(problems, key=lambda problem: problem.line)


def read_procedures(path: str | Path) -> dict[str, list[str]]:
    """name -> lines, both lower case, of a SNAP procedure library (.prc); FormatError where it has none."""
    text = read_text(path).lower()
    found = re.findall(r"^define\s+(\S+)[^\n]*\n(.*?)^enddef", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise FormatError(f"{path}: found no 'define ... enddef', expected a SNAP procedure library (.prc)")
    return {name: [line.strip() for line in body.splitlines()] for name, body in found}


def procedures(paths: Sequence[str]) -> dict[str, list[str]] | None:
    """The procedures of several libraries (the last one of a name counts); None where none is given."""
    return {name: lines for path in paths for name, lines in read_procedures(path).items()} if paths else None


class _Bad(Exception):
    """Ends the reading of one record."""

    def __init__(self, line: int, found: str, expected: str, fix: str) -> None:
        super().__init__(found)
        self.problem = Problem(line, found, expected, fix=fix)


Line = tuple[int, list[str]]


def _parse(text: str, path: str) -> tuple[Control | None, list[Problem]]:
    """The control file, as far as its records can be read (None: setup or mask cannot), and the errors."""
    problems: list[Problem] = []
    lines = _data_lines(text, problems)
    try:
        setup = _setup(*_next(lines, "the setup record with 7 fields"))
        mask = _mask(lines)
    except _Bad as error:
        return None, [*problems, error.problem]
    targets = []
    for number, words in lines:
        try:
            targets.append(_target(number, words))
        except _Bad as error:
            problems.append(error.problem)
    if not targets and not problems:
        problems.append(Problem(0, "no source record", "at least one", fix="Add the calibrators to observe."))
    return Control(path, setup, mask, tuple(targets)), problems


def _data_lines(text: str, problems: list[Problem]) -> Iterator[Line]:
    """Numbers and words of the lines that are neither blank nor comments."""
    for number, line in enumerate(map(str.rstrip, split_lines(text)), 1):
        if len(line) > MAX_LINE:
            found, expected = f"a line of {len(line)} characters", f"at most {MAX_LINE}"
            problems.append(Problem(number, found, expected, fix="Shorten it."))
        elif line.strip() and not line.startswith("*"):
            yield number, line.split()


def _next(lines: Iterator[Line], what: str) -> Line:
    found = next(lines, None)
    if found is None:
        raise _Bad(0, "the end of the file", what, "Is it commented out by * in the first column?")
    return found


def _setup(line: int, words: list[str]) -> Setup:
    expected = "the setup record: procedure wait procedure wait upper-limit on-source-wait lead"
    if len(words) != 7:
        fix = "Is the setup record commented out?" if len(words) == 11 else "Write its 7 fields on one line."
        raise _Bad(line, f"{len(words)} fields, '{words[0]} ...'", expected, fix)
    return Setup(
        _call(line, words[0], words[1], "setup"),
        _call(line, words[2], words[3], "terminate"),
        _number(line, words[4], "the upper elevation limit in degrees", -90.0, 360.0),
        _number(line, words[5], "the on-source wait in seconds", 0, MAX_WAIT),
        _number(line, words[6], "the lead time in seconds", 0, MAX_WAIT),
        line,
    )


def _mask(lines: Iterator[Line]) -> Mask:
    """Lines until one ends with an azimuth: until the count of numbers is odd."""
    first, words = _next(lines, "the elevation mask AZ EL AZ ... AZ")
    numbers = [_mask_number(first, word) for word in words]
    last = first
    while len(numbers) % 2 == 0:
        last, words = _next(lines, "another line of the mask, since the last one ends with an elevation")
        if len(words) == 11 and not re.match(r"[-+.\d]", words[4]):
            raise _Bad(
                last,
                f"a source record, '{words[0]} ...'",
                f"more of the mask, since line {first} ends with an elevation",
                "End the mask with an azimuth, usually 360.",
            )
        numbers += [_mask_number(last, word) for word in words]
    if len(numbers) < 3:
        raise _Bad(first, f"a mask of {len(numbers)} number", "AZ EL AZ at least", "Write 0 10 360 for 10 degrees.")
    azimuths, elevations = tuple(numbers[::2]), tuple(numbers[1::2])
    if len(azimuths) > MAX_AZIMUTHS:
        fix = "Join steps with nearly the same elevation."
        raise _Bad(last, f"{len(azimuths)} azimuths in the mask", f"at most {MAX_AZIMUTHS}", fix)
    return Mask(azimuths, elevations, first)


def _mask_number(line: int, word: str) -> float:
    return _number(line, word, "a number of the elevation mask AZ EL AZ ... AZ", -360.0, 720.0)


def _target(line: int, words: list[str]) -> Target:
    if len(words) != 11:
        fix = "name RA Dec epoch procedure wait FIVPT-wait ONOFF-wait PEAKF-wait procedure wait."
        raise _Bad(line, f"{len(words)} fields in a source record, '{words[0]} ...'", "11", f"Write {fix}")
    name, ra, dec = words[:3]
    if len(name) > MAX_NAME:
        fix = "Shorten it, and the name of the SNAP procedure."
        raise _Bad(line, f"the name '{name}' of {len(name)} characters", f"at most {MAX_NAME}", fix)
    _angle(line, ra, r"\d{1,6}(\.\d*)?", 24.0, "a right ascension hhmmss.s")
    _angle(line, dec, r"[+-]?\d{1,6}(\.\d*)?", 90.0, "a declination [+-]ddmmss.s")
    programs = [
        int(_number(line, word, f"the {what} wait: 0 (skip) or whole minutes", 0, MAX_WAIT, whole=True))
        for word, what in zip(words[6:9], ("FIVPT", "ONOFF", "PEAKF"), strict=True)
    ]
    epoch = _number(line, words[3], "an epoch such as 2000 or 1950", 1800.0, 2200.0)
    before = _call(line, words[4], words[5], "pre-observation")
    after = _call(line, words[9], words[10], "post-observation")
    return Target(name, ra, dec, epoch, before, programs[0], programs[1], programs[2], after, line)


def _call(line: int, procedure: str, wait: str, what: str) -> Call:
    if len(procedure) > MAX_PROCEDURE:
        found = f"the {what} procedure '{procedure}' of {len(procedure)} characters"
        raise _Bad(line, found, f"at most {MAX_PROCEDURE}", "Shorten its name.")
    expected = f"the {what} wait: -2 (not sent), -1 (until rte_go) or whole minutes"
    return Call(procedure, int(_number(line, wait, expected, NOT_SENT, MAX_WAIT, whole=True)))


def _number(line: int, word: str, expected: str, least: float, most: float, whole: bool = False) -> float:
    pattern = r"[+-]?\d+" if whole else r"[+-]?(\d+\.?\d*|\.\d+)"
    if not re.fullmatch(pattern, word) or not least <= float(word) <= most:
        raise _Bad(line, f"'{word}'", expected, f"Write a number from {least:g} to {most:g}.")
    return float(word)


def _angle(line: int, word: str, pattern: str, most: float, expected: str) -> None:
    whole = word.lstrip("+-").partition(".")[0]
    sixties = re.fullmatch(pattern, word) and all(int(whole.zfill(6)[n : n + 2]) < 60 for n in (2, 4))
    if not sixties or abs(_sexagesimal(word)) > most:
        raise _Bad(line, f"'{word}'", expected, "Write two digits each for hours or degrees, minutes and seconds.")


def _sexagesimal(word: str) -> float:
    """hhmmss.s or +-ddmmss.s in hours or degrees; leading zeros may lack, as for any number."""
    whole, _, fraction = word.lstrip("+-").partition(".")
    whole = whole.zfill(6)
    value = int(whole[:2]) + int(whole[2:4]) / 60.0 + float(f"{whole[4:]}.{fraction or 0}") / 3600.0
    return -value if word.startswith("-") else value


# ---------------------------------------------------------------- traps


def _check_setup(setup: Setup) -> list[Problem]:
    found = []
    if setup.upper_deg <= 0:
        fix = "Write the highest elevation to observe at; 91 for no limit."
        found.append(Problem(setup.line, f"an upper limit of {setup.upper_deg:g} deg", "more than 0", fix=fix))
    if setup.on_source_s == 0:
        fix = "Write the longest slew in seconds."
        found.append(Problem(setup.line, "an on-source wait of 0 s", "time to slew", "warning", fix=fix))
    if setup.terminate.wait != NOT_SENT:
        fix = "Put nothing there that must happen, such as a stow or switching a diode off."
        what = f"the terminate procedure '{setup.terminate.procedure}'"
        expected = "that it may not run: errors AQ -10 (FIVPT or ONOFF too long), -12, -13 and -30 end AQUIR without it"
        found.append(Problem(setup.line, what, expected, "note", fix=fix))
    return found


def _check_mask(control: Control) -> list[Problem]:
    mask, upper = control.mask, control.setup.upper_deg
    found = []

    def say(what: str, expected: str, fix: str) -> None:
        found.append(Problem(mask.line, what, expected, "warning", fix=fix))

    if any(high <= low for low, high in zip(mask.azimuths[:-1], mask.azimuths[1:], strict=True)):
        say("azimuths that do not increase", "increasing azimuths", "Sort the steps; such a step never applies.")
    grid = np.arange(0.0, 360.0, 0.1)
    bare = grid[mask.minimum(grid) == -90.0]
    if len(bare):
        what = f"no step of the mask at azimuths around {bare[0]:.0f} to {bare[-1]:.0f}"
        say(what, "0 to 360", "Complete the mask: there AQUIR takes every source as up, even below the horizon.")
    if max(mask.elevations) >= upper > 0:
        what = f"a limit of {max(mask.elevations):g} deg in the mask"
        say(what, f"less than the upper limit of {upper:g}", "No source is ever up there.")
    if min(mask.elevations) < 0:
        what = f"a limit of {min(mask.elevations):g} deg in the mask"
        say(what, "0 or more", "Azimuths and elevations alternate: AZ EL AZ EL ... AZ.")
    return found


def _check_targets(targets: Sequence[Target]) -> list[Problem]:
    found = []
    seen: dict[str, int] = {}
    for target in targets:
        key = target.name.lower()
        if key in seen:
            fix = "Leave it if it is to be observed twice in each pass."
            what = f"{target.name} again, after line {seen[key]}"
            found.append(Problem(target.line, what, "each source once", "note", fix=fix))
        seen.setdefault(key, target.line)
        if not (target.fivpt_wait or target.onoff_wait or target.peakf_wait):
            fix = "Give FIVPT or ONOFF some minutes."
            what = f"no FIVPT, ONOFF or PEAKF for {target.name}"
            found.append(Problem(target.line, what, "a wait above 0", "warning", fix=fix))
        for word in (target.ra, target.dec):
            if len(word.lstrip("+-").partition(".")[0]) < 6 and key not in EPHEMERIS:
                fix = "Fill it with zeros, to be sure of what is meant."
                found.append(Problem(target.line, f"'{word}'", "six digits before the point", "warning", fix=fix))
    if len(targets) > MAX_TARGETS:
        fix = "Split the file; the Field System's limit may differ."
        extra = targets[MAX_TARGETS].line
        found.append(Problem(extra, f"{len(targets)} source records", f"at most {MAX_TARGETS}", fix=fix))
    return found


def _calls(control: Control) -> Iterator[tuple[int, Call]]:
    """Every procedure that is sent, with its line."""
    setup = control.setup
    calls = [(setup.line, setup.setup), (setup.line, setup.terminate)]
    calls += [(target.line, call) for target in control.targets for call in (target.before, target.after)]
    return ((line, call) for line, call in calls if call.wait != NOT_SENT)


def _once(control: Control, test: Callable[[Call], Problem | None]) -> list[Problem]:
    """What `test` says of each different call, at the first line that has it."""
    first: dict[Call, int] = {}
    for line, call in _calls(control):
        first.setdefault(Call(call.procedure.lower(), call.wait), line)
    return [
        Problem(line, said.found, said.expected, said.severity, fix=said.fix)
        for call, line in first.items()
        if (said := test(call))
    ]


def _remind(control: Control) -> list[Problem]:
    def test(call: Call) -> Problem | None:
        if call.wait != SUSPEND:
            return None
        expected = "that it ends with 'sy=rte_go aquir &'"
        fix = "Give the procedure library to have this checked; without rte_go AQUIR waits for ever."
        return Problem(0, f"wait -1 for '{call.procedure}'", expected, "warning", fix=fix)

    return _once(control, test)


def _check_procedures(control: Control, procedures: Mapping[str, Sequence[str]]) -> list[Problem]:
    def test(call: Call) -> Problem | None:
        name = call.procedure
        if name not in procedures:
            found = f"no procedure '{name}' in the library"
            if call.wait == SUSPEND:
                return Problem(0, found, "one that ends with 'sy=rte_go aquir &'", fix="Write it.")
            return Problem(0, found, "one", "warning", fix="Write it, unless it is a SNAP command.")
        resumes = resumes_aquir(name, procedures)
        if call.wait == SUSPEND and not resumes:
            fix = f"Add it at the end of {name}; without it AQUIR waits for ever."
            return Problem(0, f"no rte_go in '{name}', which has wait -1", "'sy=rte_go aquir &'", fix=fix)
        if call.wait >= 0 and resumes:
            fix = "Write -1, or take rte_go out: AQUIR is not suspended when it runs."
            return Problem(0, f"wait {call.wait} for '{name}', which runs rte_go", "wait -1", "note", fix=fix)
        return None

    found = _once(control, test)
    for target in control.targets:
        if target.name.lower() not in procedures:
            fix = f"Write it, with source={target.name.lower()},... in it; without it the antenna does not move there."
            what = f"no procedure '{target.name.lower()}' in the library"
            found.append(Problem(target.line, what, "one that points the antenna", fix=fix))
    return found


def resumes_aquir(name: str, procedures: Mapping[str, Sequence[str]]) -> bool:
    """Whether a procedure, or one that it calls, runs `rte_go aquir`."""
    waiting, seen = [name], set()
    while waiting:
        current = waiting.pop()
        seen.add(current)
        for line in procedures.get(current, ()):
            if re.match(r"sy=.*\brte_go\s+aquir\b", line):
                return True
            called = line.partition("=")[0].partition("@")[0].strip()
            if called in procedures and called not in seen:
                waiting.append(called)
    return False


# ---------------------------------------------------------------- writing


def format_aquir(control: Control, comments: Sequence[str] = ()) -> str:
    """The text of a control file that reads back the same; `comments` first, each as a line with a *."""
    setup = control.setup
    mask = [f"{az:.12g} {el:.12g}" for az, el in zip(control.mask.azimuths, control.mask.elevations, strict=False)]
    lines = [f"* {comment}".rstrip() for comment in comments]
    lines += [
        "* setup wait  terminate wait  upper limit (deg)  on-source wait (s)  lead (s)",
        f"  {_format_call(setup.setup)} {_format_call(setup.terminate)} "
        f"{setup.upper_deg:.12g} {setup.on_source_s:.12g} {setup.lead_s:.12g}",
        "* mask: AZ EL AZ EL ... AZ",
        # at most six steps a line: a line that goes on ends with an elevation
        *(f"  {'  '.join(mask[n : n + 6])}" for n in range(0, len(mask), 6)),
    ]
    lines[-1] += f"  {control.mask.azimuths[-1]:.12g}"
    lines.append("* name      RA         Dec        epoch  before       wait FIVPT ONOFF PEAKF after        wait")
    return "\n".join([*lines, *map(_format_target, control.targets)]) + "\n"


def _format_call(call: Call) -> str:
    return f"{call.procedure:<12s} {call.wait:2d}"


def _format_target(target: Target) -> str:
    waits = f"{target.fivpt_wait:5d} {target.onoff_wait:5d} {target.peakf_wait:5d}"
    place = f"{target.name:<10s} {target.ra:<10s} {target.dec:<10s} {target.epoch:<6.12g}"
    return f"  {place} {_format_call(target.before)} {waits} {_format_call(target.after)}"
