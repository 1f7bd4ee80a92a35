"""How a run ended, and what it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["complete", "incomplete", "unsafe"]
UNSAFE_CODE = 3
INTERRUPTED_CODE = 130


@dataclass(frozen=True)
class FrameResult:
    """One file, or one frame that was not taken (no path)."""

    key: str
    path: str
    kind: str
    lamp: str
    exposure_s: float
    ok: bool
    problem: str = ""
    camera: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class RunResult:
    """The frames of the plan, those of earlier runs in the same directory included, and the verdict.

    complete: every frame is there and passed its checks, all lights are off. incomplete: lights are off, frames are
    missing. unsafe: nobody can tell whether a light burns; `alarms` say what a person must do.
    """

    run: str
    directory: str
    journal: str
    frames: tuple[FrameResult, ...]
    verdict: Verdict
    reason: str = ""
    alarms: tuple[str, ...] = ()
    interrupted: bool = False
    """By Ctrl-C."""

    @property
    def exit_code(self) -> int:
        """0 complete, 1 incomplete, 3 unsafe, 130 ended by Ctrl-C with all lights off."""
        if self.interrupted and self.verdict == "incomplete":
            return INTERRUPTED_CODE
        return {"complete": 0, "incomplete": 1, "unsafe": UNSAFE_CODE}[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
