"""What the figures of a run draw from: plain bars, marks and levels.

Times are nominal seconds from the start of an attempt (a run, or its resumption).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Span:
    """Something that lasted, in a row of the time line."""

    row: str
    kind: str
    begin: float
    end: float
    ok: bool = True


@dataclass(frozen=True)
class Moment:
    """Something that happened: alarm, failed, control or note."""

    time: float
    kind: str
    text: str


@dataclass(frozen=True)
class AttemptLine:
    """One start of a run."""

    title: str
    began: float
    """UTC, seconds since 1970; the axis shows clock times where `clock`."""
    seconds: float
    clock: bool
    spans: tuple[Span, ...]
    planned: tuple[Span, ...]
    """The plan's, empty for a resumption."""
    moments: tuple[Moment, ...]
    lamps: tuple[str, ...]


@dataclass(frozen=True)
class FrameLevels:
    """Counts of a frame by camera."""

    key: str
    kind: str
    state: str
    median: dict[str, float] = field(default_factory=dict)
    p999: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunMaterial:
    """One run."""

    attempts: tuple[AttemptLine, ...]
    frames: tuple[FrameLevels, ...]
    cameras: tuple[str, ...]
    saturation: float | None
