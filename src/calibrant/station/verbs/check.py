"""`calibrant station check`: what is wrong with the files of a station, line by line, and the remedy."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from calibrant.errors import CalibrantError, DataError, FormatError, ParameterError
from calibrant.params import Param
from calibrant.station.problem import Problem

Kind = Literal["rxg", "flux", "aquir", "log", "antab"]
Checker = Callable[[str], list[Problem]]
Procedures = Mapping[str, Sequence[str]]
SHOWN = 50
"""Problems printed per file; JSON has all."""
WORDS = {"rxg": "receiver gain file", "flux": "flux densities", "aquir": "AQUIR control file", "log": "FS log"}
WORDS |= {"antab": "ANTAB file"}
HEAD = 65536
"""Bytes of a file that tell its kind."""
_LOG_LINE = re.compile(rb"^\d{4}\.\d{3}\.\d\d:\d\d:\d\d", re.MULTILINE)
_ANTAB = re.compile(r"^[^!\n]*\b(gain|tsys)\b[^!\n]*(\n[^!\n]*)?\b(dpfu|poly|table|index|ft|timeoff)\s*=", re.M | re.I)


@dataclass(frozen=True)
class FileCheck:
    """One file: what it is, what is wrong with it, and what `--fix` makes of it."""

    path: str
    kind: str
    problems: tuple[Problem, ...] = ()
    refused: str = ""
    """Why it could not be read at all."""
    diff: str = field(default="", repr=False)
    left: tuple[Problem, ...] | None = None
    """Problems after the fixes; None where none were asked for."""
    backup: str = ""
    written: bool = False

    @property
    def failed(self) -> bool:
        """Whether the file has errors as it now is on disk."""
        now = self.left if self.written and self.left is not None else self.problems
        return bool(self.refused) or any(problem.severity == "error" for problem in now)

    def lines(self) -> list[str]:
        if self.refused:
            return [self.refused]
        shown = [problem.describe(self.path) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            shown.append(f"{self.path}: ... and {len(self.problems) - SHOWN} more; --json lists all")
        if not self.problems:
            shown.append(f"{self.path}: {WORDS[self.kind]}, nothing found")
        return shown + self._fix_lines()

    def _fix_lines(self) -> list[str]:
        if self.left is None:
            return []
        if not self.diff:
            return [f"{self.path}: nothing that can be corrected without a decision"] if self.problems else []
        done = f"written, the old file is {os.path.basename(self.backup)}" if self.written else "after the fix"
        left = [f"left: {problem.describe(self.path)}" for problem in self.left if problem.severity == "error"]
        return [self.diff, f"{self.path}: {done}: {_counts(self.left)}", *left]

    def to_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = {"file": self.path, "kind": self.kind, "refused": self.refused}
        result["problems"] = [problem.to_dict() for problem in self.problems]
        if self.left is not None:
            left = [problem.to_dict() for problem in self.left]
            result |= {"diff": self.diff, "left": left, "written": self.written, "backup": self.backup}
        return result


@dataclass(frozen=True)
class CheckResult:
    """What was found in each file. `exit_code` is 1 where a file has errors."""

    files: tuple[FileCheck, ...]

    @property
    def exit_code(self) -> int:
        return int(any(file.failed for file in self.files))

    def summary(self) -> str:
        refused = sum(bool(file.refused) for file in self.files)
        lines = [line for file in self.files for line in file.lines()]
        words = _counts([problem for file in self.files for problem in file.problems], refused)
        lines.append(f"{len(self.files)} file{'s' if len(self.files) != 1 else ''}: found {words}.")
        fixable = sum(problem.edit is not None for file in self.files for problem in file.problems)
        if fixable and all(file.left is None for file in self.files):
            lines.append(f"{fixable} can be corrected without a decision: --fix shows how, --fix --write does it.")
        elif any(file.diff and not file.written for file in self.files):
            lines.append("Nothing was written; --fix --write does it, with a backup.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {"files": [file.to_dict() for file in self.files], "exit_code": self.exit_code}


def check(
    files: Annotated[
        list[str], Param("Files: .rxg, flux.ctl, AQUIR .ctl, FS log, antab; or directories of .rxg.", positional=True)
    ],
    fix: Annotated[bool, Param("Preview, as a diff, the corrections that need no decision.")] = False,
    write: Annotated[bool, Param("With --fix: write them, each old file kept as NAME.bak-YYYYmmddHHMMSS.")] = False,
    kind: Annotated[
        str,
        Param("What the files are; empty: by content and name.", choices=("", "rxg", "flux", "aquir", "log", "antab")),
    ] = "",
    proc: Annotated[
        list[str], Param("SNAP procedure libraries (.prc), in which an AQUIR file's procedures are looked up.")
    ] = [],  # noqa: B006
) -> CheckResult:
    """Check a station's files: file:line, what was found, what was expected, the Field System's error code, the fix.

    Errors: the Field System (or the reader of the antab) refuses the file, or takes a wrong value from it. Warnings:
    probably wrong, or of an older layout. Notes: worth knowing. The exit code is 1 where there are errors. Logs and
    antab files may be packed (.gz).

    Example:
        calibrant station check /usr2/control/rxg_files flux.ctl
        calibrant station check calonx.rxg --fix
        calibrant station check calonx.rxg --fix --write
        calibrant station check ctlpo.ctl --proc point.prc,station.prc
    """
    if write and not fix:
        raise ParameterError("write: found --write alone, expected it with --fix. Look at the preview of --fix first.")
    from calibrant.station.aquir import procedures

    known = procedures(proc)
    return CheckResult(tuple(_check_one(path, kind, fix, write, known) for path in _expanded(files)))


def _counts(problems: Sequence[Problem], more_errors: int = 0) -> str:
    count: Counter[str] = Counter(problem.severity for problem in problems)
    count["error"] += more_errors
    return ", ".join(f"{count[name]} {name}{'' if count[name] == 1 else 's'}" for name in ("error", "warning", "note"))


def _expanded(paths: list[str]) -> list[str]:
    result: list[str] = []
    for path in paths:
        inside = sorted(str(file) for file in Path(path).glob("*.rxg")) if os.path.isdir(path) else [path]
        if not inside:
            raise DataError(f"{path}: found no *.rxg, expected receiver gain files. Name the files.")
        result += inside
    return list(dict.fromkeys(result))


def _check_one(path: str, kind: str, fix: bool, write: bool, known: Procedures | None) -> FileCheck:
    found = kind
    try:
        found = kind or guess_kind(path)
        if found == "log":
            from calibrant.station.check_log import check_log

            return FileCheck(path, found, tuple(check_log(path)))
        return _check_text(path, found, fix, write, _checker(found, known))
    except CalibrantError as error:
        return FileCheck(path, found, refused=str(error))


def _check_text(path: str, kind: str, fix: bool, write: bool, checker: Checker) -> FileCheck:
    from calibrant.station.publish import unified_diff
    from calibrant.station.text import GZIP, decode, encode, read_bytes, replace_file, unpacked

    data = read_bytes(path)
    if write and data.startswith(GZIP):
        raise FormatError(f"{path}: found a packed file, expected a text file to write to. Unpack it first.")
    data = unpacked(data, path)
    text = decode(data, path)
    problems = tuple(checker(text))
    if not fix:
        return FileCheck(path, kind, problems)
    fixed = _fixed(text, checker)
    diff = unified_diff(text, fixed, path)
    left = tuple(checker(fixed))
    if not write or fixed == text:
        return FileCheck(path, kind, problems, diff=diff, left=left)
    backup = replace_file(path, encode(fixed, like=data))
    return FileCheck(path, kind, problems, diff=diff, left=left, backup=backup, written=True)


def _fixed(text: str, checker: Checker) -> str:
    """The text with every fix made; one fix may lay open the next."""
    from calibrant.station.text import apply_fixes

    for _ in range(5):
        new = apply_fixes(text, checker(text))
        if new == text:
            break
        text = new
    return text


def _checker(kind: str, known: Procedures | None) -> Checker:
    if kind == "rxg":
        from calibrant.station.rxg_check import check_rxg

        return check_rxg
    if kind == "flux":
        from calibrant.station.fluxctl import check_flux

        return check_flux
    if kind == "aquir":
        from calibrant.station.aquir import check_aquir

        return lambda text: check_aquir(text, known)
    from calibrant.station.antab import check_antab

    return check_antab


def guess_kind(path: str) -> Kind:
    """What a file is, by its first kilobytes, else by its name. Raises DataError where neither tells."""
    found = _by_content(_head(path)) or _by_name(os.path.basename(path).lower())
    if not found:
        raise DataError(
            f"{path}: found no sign of what it is, expected an .rxg, flux.ctl, AQUIR control file, FS log or antab."
            " Say it with --kind."
        )
    return found


def _head(path: str) -> bytes:
    """The first bytes of a file, unpacked; what is left of them where it is damaged."""
    from calibrant.station.text import GZIP

    try:
        with open(path, "rb") as file:
            start = file.read(HEAD)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Give the name of a file that exists.") from None
    if start.startswith(GZIP):
        import zlib

        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(wbits=31).decompress(start, HEAD)
    return start


def _by_content(start: bytes) -> Kind | None:
    if _LOG_LINE.search(start):
        return "log"
    text = start.decode("latin-1").lower()
    lines = [line.split() for line in text.splitlines() if line.strip() and line[0] not in "*!"]
    first = lines[0] if lines else [""]
    if first[0] in ("range", "fixed"):
        return "rxg"
    if _ANTAB.search(text):
        return "antab"
    if len(first) >= 8 and first[1] in ("c", "p"):
        return "flux"
    return "aquir" if len(first) == 7 and len(lines) > 1 else None


def _by_name(name: str) -> Kind | None:
    name = re.sub(r"(\.gz|\.bak-\d+(-\d+)?)+$", "", name)
    if name.endswith(".log"):
        return "log"
    if name.endswith(".rxg"):
        return "rxg"
    if name.endswith((".antab", ".antabfs", ".key")):
        return "antab"
    if name.startswith("flux") and name.endswith(".ctl"):
        return "flux"
    return "aquir" if re.search(r"\.ctl\b", name) else None
