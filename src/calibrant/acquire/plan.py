"""A plan: what will be done, step by step, with its time line. `compiler.compile_plan` makes it from a sequence."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

StepKind = Literal["all_off", "point", "light_on", "warm", "expose", "readout", "light_off", "park", "wait"]


@dataclass(frozen=True)
class MaskMove:
    """One stop of the mask during an exposure: where, and how long it stays."""

    place: str
    dwell_s: float


@dataclass(frozen=True)
class Step:
    """One thing to do. Steps are done in order; a readout that `overlaps` goes on beside the steps after it."""

    index: int
    kind: StepKind
    start_s: float
    """Expected, from the start of the plan."""
    duration_s: float
    lights: tuple[str, ...] = ()
    """The lights it switches or is lit by."""
    place: str = ""
    """Of the pointing."""
    frame: str = ""
    """Key of the frame exposed or read out."""
    frame_kind: str = ""
    object: str = ""
    exposure_s: float = 0.0
    mask: tuple[MaskMove, ...] = ()
    mask_start: str = ""
    """Where the mask is put before the exposure begins; empty: it is left alone."""
    overlaps: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Steps, how long they take, and what a person should know before the start."""

    name: str
    inventory: str
    steps: tuple[Step, ...]
    duration_s: float
    warnings: tuple[str, ...] = ()
    lamp_hours: dict[str, float] = field(default_factory=dict)
    data_bytes: int = 0
    sequence: dict[str, Any] = field(default_factory=dict)
    """The sequence as it was given, for provenance."""

    @property
    def frames(self) -> tuple[Step, ...]:
        """The exposures, in order."""
        return tuple(step for step in self.steps if step.kind == "expose")

    @property
    def hash(self) -> str:
        """Of everything that decides what is taken; a resumed run must have the same."""
        content = [self.inventory, [{**asdict(step), "start_s": 0, "duration_s": 0} for step in self.steps]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "hash": self.hash}
