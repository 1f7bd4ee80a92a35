"""Frames of a run: checked, stored, and written up for the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from calibrant.acquire.devices import CaptureSpec, Frame, LightState, Observatory
from calibrant.acquire.framecheck import FrameChecker, levels
from calibrant.acquire.headers import LampRecord, StoreContext
from calibrant.acquire.plan import Plan, Step
from calibrant.acquire.result import FrameResult
from calibrant.acquire.storage import frame_path, store
from calibrant.errors import CalibrantError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory

OFF = LightState.OFF.value


@dataclass
class Evidence:
    """What is known about the circumstances of an exposure, for its header and its checks."""

    step: Step
    begin: float
    lights_begin: dict[str, str]
    minutes_on: dict[str, float]
    """At the beginning, nominal."""
    lights_end: dict[str, str] = field(default_factory=dict)
    mask: list[tuple[str, float, float]] = field(default_factory=list)
    """Place, and UTC of arrival and of departure."""
    problems: list[str] = field(default_factory=list)
    """Found before the frame was stored."""


@dataclass(frozen=True)
class Kept:
    """One file of a frame, checked."""

    camera: str
    path: str
    """Below the directory of the run."""
    sha256: str
    measured_s: float
    begin: float
    end: float
    problems: tuple[str, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Keeping:
    """The files of a frame, and what prevented others."""

    kept: list[Kept]
    error: CalibrantError | None = None


class DiskFiling:
    """Checks each camera's frame and stores it as FITS in the directory of the run."""

    def __init__(
        self,
        directory: str | Path,
        plan: Plan,
        observatory: Observatory,
        *,
        run_id: str,
        inventory: Inventory | None = None,
        speed: float = 1.0,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self._directory, self._plan, self._observatory = Path(directory), plan, observatory
        self._run_id, self._speed, self._versions = run_id, speed, versions or {}
        entry = inventory.detector if inventory else None
        self._bias_level = (entry.bias_level if entry else None) or 0.0
        shape = observatory.detector.describe().get("shape")
        self._checker = FrameChecker(
            shape=tuple(shape) if shape else None,
            saturation=entry.saturation if entry else None,
            bias_level=entry.bias_level if entry else None,
            # A simulated camera may know nothing of the lamp beside it (INDI's does not).
            light=getattr(observatory.detector, "sees_lights", True),
        )
        self._lvm = observatory.name == "lvm"
        self._attempts: Counter[str] = Counter()

    def learn(self, before: Mapping[str, list[FrameResult]]) -> None:
        """From the biases of earlier runs in this directory: what a frame without light looks like."""
        biases = {file.camera: file for files in before.values() for file in files if file.kind == "bias"}
        for camera, file in biases.items():
            frame = Frame(camera, 0.0, 0.0, 0.0, path=str(self._directory / file.path))
            self._checker.check(frame, CaptureSpec(file.key, "bias", 0.0))

    def keep(self, frames: list[Frame], spec: CaptureSpec, evidence: Evidence) -> Keeping:
        """Check and store; what was stored before an error stays and is reported."""
        context = self._context(frames, spec, evidence)
        kept: list[Kept] = []
        for frame in frames:
            problems = (*self._checker.check(frame, spec), *_lamp_problems(evidence), *evidence.problems)
            try:
                stored = store(frame, spec, context)
            except CalibrantError as error:
                return Keeping(kept, error)
            path = stored.path
            inside = path.relative_to(self._directory) if path.is_relative_to(self._directory) else path
            kept.append(
                Kept(
                    frame.camera, str(inside), stored.sha256, frame.exposure_s, frame.begin, frame.end,
                    problems, levels(frame),
                )
            )  # fmt: skip
        return Keeping(kept)

    def level(self, frames: list[Frame]) -> tuple[float, float]:
        """Counts of the brightest 0.1 % of the pixels of the brightest camera, and of a bias."""
        brightest = max(frames, key=lambda frame: levels(frame).get("p999", 0.0))
        known = self._checker.known.get(brightest.camera)
        bias = known.bias_level if known and known.bias_level is not None else self._bias_level
        return levels(brightest).get("p999", 0.0), bias

    def _context(self, frames: list[Frame], spec: CaptureSpec, evidence: Evidence) -> StoreContext:
        observatory = self._observatory
        return StoreContext(
            directory=self._directory,
            sequence=self._plan.name,
            step=evidence.step.index,
            plan_hash=self._plan.hash,
            run_id=self._run_id,
            observatory=observatory.name,
            driver=observatory.driver,
            simulated=observatory.simulated,
            speed=self._speed,
            lamps=[_lamp_record(name, evidence, frames) for name in observatory.lights],
            mask=evidence.mask or _still_mask(evidence, frames),
            lvm_keywords=self._lvm,
            versions=self._versions,
            attempt=self._attempt(frames, spec),
        )

    def _attempt(self, frames: list[Frame], spec: CaptureSpec) -> int:
        """The first attempt of which no camera has a file yet: an earlier run may have left some."""
        attempt = self._attempts[spec.key] + 1
        while any(self._exists(spec.key, frame.camera, attempt) for frame in frames if frame.data is not None):
            attempt += 1
        self._attempts[spec.key] = attempt
        return attempt

    def _exists(self, key: str, camera: str, attempt: int) -> bool:
        context = StoreContext(self._directory, self._plan.name, attempt=attempt)
        return frame_path(context, key, camera).exists()


def _still_mask(evidence: Evidence, frames: list[Frame]) -> list[tuple[str, float, float]]:
    """The stand of a mask that did not move."""
    place = evidence.step.mask_start
    return [(place, frames[0].begin, frames[0].end)] if place and frames else []


def _lamp_problems(evidence: Evidence) -> list[str]:
    """Lamps that had to burn and did not, at one end of the exposure."""
    problems = []
    for name in evidence.step.lights:
        for moment, states in (("beginning", evidence.lights_begin), ("end", evidence.lights_end)):
            if states.get(name) == OFF:
                problems.append(f"{name} was off at the {moment} of the exposure")
    return problems


def _lamp_record(name: str, evidence: Evidence, frames: list[Frame]) -> LampRecord:
    begin, end = evidence.lights_begin.get(name, "unknown"), evidence.lights_end.get(name, "unknown")
    burnt = evidence.minutes_on.get(name)
    exposed = max((frame.exposure_s for frame in frames), default=0.0)
    minutes = 0.0 if burnt is None or end == OFF else burnt + exposed / 60
    return LampRecord(name, LightState(begin), LightState(end), minutes)
