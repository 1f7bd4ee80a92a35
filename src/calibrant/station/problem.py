"""One thing wrong with a file that a station operator edits, and what to do about it.

Every format has a `check_...(text) -> list[Problem]`; `calibrant station check` prints them, and `--fix`
applies the edits that need no decision by a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Edit:
    """Physical lines `first`..`last` (from 1, inclusive; last = first - 1 inserts before) become `lines`."""

    first: int
    last: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """What was found at a physical line (from 1; 0: the whole file), what was expected, and the remedy."""

    line: int
    found: str
    expected: str
    severity: Severity = "error"
    code: str = ""
    """The Field System's own error for it: "RG -211", "FX -40"; empty where it has none."""
    fix: str = ""
    """What to do, as a sentence."""
    edit: Edit | None = field(default=None, repr=False)
    """The remedy as a change of lines, where no decision is needed."""

    def describe(self, file: str) -> str:
        """`file:line: error: found ..., expected ... (RG -211). Fix.`"""
        code = f" ({self.code})" if self.code else ""
        fix = f" {self.fix}" if self.fix else ""
        place = f"{file}:{self.line}" if self.line else file
        return f"{place}: {self.severity}: found {self.found}, expected {self.expected}{code}.{fix}"

    def to_dict(self) -> dict[str, Any]:
        names = ("line", "severity", "found", "expected", "code", "fix")
        return {name: getattr(self, name) for name in names} | {"fixable": self.edit is not None}


def apply_edits(lines: Sequence[str], problems: Sequence[Problem]) -> list[str]:
    """`lines` with every edit made; edits refer to the original numbers, overlapping ones: the first wins."""
    edits = sorted((problem.edit for problem in problems if problem.edit), key=lambda edit: (edit.first, edit.last))
    result: list[str] = []
    done = 0
    for edit in edits:
        if edit.first - 1 < done:
            continue
        result += [*lines[done : edit.first - 1], *edit.lines]
        done = max(edit.last, edit.first - 1)
    return result + list(lines[done:])
