"""What a calibration run leaves behind, as plain data: the weblog draws it, the command line prints it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

MAX_NOTES = 12
VERDICTS = ("good", "check", "do not trust")


@dataclass(frozen=True)
class Flux:
    """Flux density of a field in one spw. `origin`: 'standard' or 'setjy' (set), or 'fluxscale' (derived);
    `resolved`: its model is, and `flux_jy` that of the shortest baselines."""

    field: str
    spw: int
    freq_hz: float
    flux_jy: float
    error_jy: float
    origin: str
    resolved: bool = False


@dataclass(frozen=True)
class FlagFraction:
    """Share of the visibilities flagged after `step`; by antenna, field and spw (names as keys)."""

    step: str
    total: float
    by_antenna: dict[str, float]
    by_field: dict[str, float]
    by_spw: dict[str, float]


@dataclass(frozen=True)
class FailedSolutions:
    """Solutions that failed for one reason: `caltable` (file name), `outcome` (sentence), count, and where."""

    caltable: str
    outcome: str
    count: int
    antennas: list[str]
    spws: list[int]
    example: str


@dataclass(frozen=True)
class Step:
    """One thing that was done: its name, why, the command that redoes it, seconds it took."""

    name: str
    reason: str
    command: str
    seconds: float


@dataclass
class CalibrationResult:
    """Everything a run says. `caltables` maps a role ('bandpass', 'phase_int', ...) to a path, in order made."""

    obs: str
    ms: str
    output: str
    telescope: str
    observed: str
    standard: str
    refant: str
    roles: dict[str, list[str]]
    verdict: str = "good"
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fluxes: list[Flux] = field(default_factory=list)
    caltables: dict[str, str] = field(default_factory=dict)
    flags: list[FlagFraction] = field(default_factory=list)
    failed: list[FailedSolutions] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    target_ms: str = ""
    report: str = ""
    listobs: str = ""

    @property
    def commands(self) -> list[str]:
        """The calibrant commands that would redo each step by hand."""
        return [step.command for step in self.steps if step.command]

    def summary(self) -> str:
        """The run in words, for a terminal."""
        if self.verdict == "planned":
            return "\n".join(self.notes)
        lines = [f"{self.ms}: verdict {self.verdict.upper()}"]
        lines += [f"  {reason}" for reason in self.reasons]
        lines.append(f"flux densities ({self.standard}):")
        for flux in self.fluxes:
            said = {"standard": "(standard)", "setjy": "(set with setjy)"}.get(flux.origin)
            error = f"  {said}{' resolved, shortest baselines' * flux.resolved}" if said else f" +- {flux.error_jy:.4f}"
            where = f"{flux.field:20.20s} spw {flux.spw:<2d} {flux.freq_hz / 1e9:10.5f} GHz"
            lines.append(f"  {where}  {flux.flux_jy:9.5f} Jy{error}")
        if self.flags:
            shares = ", ".join(f"{flag.step} {100 * flag.total:.1f} %" for flag in self.flags)
            lines.append(f"flagged (cross-correlations only): {shares}")
        lines += [f"failed solutions: {f.caltable}: {f.count}: {f.outcome}" for f in self.failed]
        lines += [f"note: {note}" for note in self.notes[:MAX_NOTES]]
        if len(self.notes) > MAX_NOTES:
            lines.append(f"note: and {len(self.notes) - MAX_NOTES} more, see the report")
        lines.append(f"tables, target and commands in {self.output}; page: {self.report}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `commands` and `caltables` (paths, in the order made) are plain lists."""
        return dataclasses.asdict(self) | {"commands": self.commands, "caltables": list(self.caltables.values())}
