"""What `antab_make` gives: the antab, its columns, what was changed, and what a person should know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from calibrant.station.antab import Antab
from calibrant.station.detectors import Detector

Level = Literal["note", "check", "bad"]


@dataclass(frozen=True)
class Finding:
    """Something a person should know: note (as it should be), check (look at it), bad (do not use it as it is)."""

    kind: str
    level: Level
    text: str


@dataclass(frozen=True)
class Column:
    """One column of a TSYS group."""

    setup: int
    """From 1, in the order of the file."""
    label: str
    detector: Detector
    rxg: str
    """Name of the receiver file; empty where there is none."""
    tcal_k: float
    """Median, where it comes from the log."""
    tcal_from: Literal["rxg", "log"]
    median_k: float
    values: int
    """Valid ones."""
    changed: int
    swapped: bool
    """Levels with and without diode were in the wrong order."""
    noise: float
    """Scatter between successive integrations, as a fraction of the median."""


@dataclass(frozen=True)
class ListedChange:
    """One value that cleaning changed; new is nan where it was removed (999.9 in the file)."""

    time: float
    setup: int
    label: str
    detector: str
    old: float
    new: float
    reason: str


@dataclass(frozen=True)
class Made:
    """The antab and how it came about."""

    antab: Antab
    station: str
    columns: tuple[Column, ...]
    changes: tuple[ListedChange, ...]
    findings: tuple[Finding, ...]
    rows: int

    @property
    def verdict(self) -> str:
        levels = {finding.level for finding in self.findings}
        return "do not trust" if "bad" in levels else "check" if "check" in levels else "good"
