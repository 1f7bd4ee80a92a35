"""What a run has taken and said so far: the journal, the stream of events, frames and alarms."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from calibrant.acquire.events import Stream
from calibrant.acquire.filing import Kept
from calibrant.acquire.journal import Journal
from calibrant.acquire.plan import Plan, Step
from calibrant.acquire.result import FrameResult
from calibrant.acquire.units import wanted


class Ledger:
    """Every record goes through `report`, which never raises: lights matter more than their record."""

    def __init__(
        self, plan: Plan, journal: Journal, cameras: tuple[str, ...], before: Mapping[str, list[FrameResult]]
    ) -> None:
        """`before`: frames that are there already, by key."""
        self._plan, self._journal, self._cameras = plan, journal, cameras
        self.stream = Stream()
        self.alarms: list[str] = []
        self.done = set(before)
        """Keys of the frames that are there and good."""
        self.journal_problem = ""
        self._files: dict[str, list[FrameResult]] = {key: list(files) for key, files in before.items()}
        self._failed: dict[str, str] = {}
        self._begun: set[str] = set()

    def report(self, kind: str, **fields: Any) -> None:
        """A record for the journal and for everybody who listens."""
        try:
            record = self._journal.append(kind, **fields)
        except OSError as error:
            self.journal_problem = f"{self._journal.path}: the journal cannot be written: {error.strerror or error}"
            record = {"kind": kind, "time": time.time(), **fields}
        if kind == "exposure":
            self._begun.add(fields["key"])
        if kind == "alarm":
            self.alarms.append(str(fields["text"]))
        self.stream.put(record)

    def taken(self, step: Step, kept: list[Kept]) -> None:
        """A frame was stored. It counts when every camera delivered and no check found anything."""
        files = []
        for one in kept:
            self.report(
                "frame", key=step.frame, frame_kind=step.frame_kind, lamp=step.object, exposure_s=step.exposure_s,
                ok=not one.problems, **asdict(one),
            )  # fmt: skip
            files.append(
                FrameResult(
                    step.frame, one.path, step.frame_kind, step.object, step.exposure_s, not one.problems,
                    "; ".join(one.problems), one.camera, one.sha256,
                )
            )  # fmt: skip
        self._files[step.frame] = files
        missing = [name for name in self._cameras if name not in {one.camera for one in kept}]
        if missing:
            self.fail(step.frame, f"nothing came from {', '.join(missing)}")
        elif all(file.ok for file in files):
            self.done.add(step.frame)
            self._failed.pop(step.frame, None)

    def fail(self, key: str, problem: str) -> None:
        """This frame was not taken."""
        self._failed[key] = problem
        self.report("failed", key=key, problem=problem)

    @property
    def bad(self) -> set[str]:
        """Keys of the frames that were taken and failed their checks."""
        return {key for key, files in self._files.items() if key not in self.done and files}

    def missing(self) -> list[Step]:
        """The frames of the plan that are not there, or not good."""
        return [step for step in wanted(self._plan.steps) if step.frame not in self.done]

    def results(self) -> tuple[FrameResult, ...]:
        """Every file of the plan's frames, and one entry for each frame that was not taken."""
        results: list[FrameResult] = []
        for step in wanted(self._plan.steps):
            files = self._files.get(step.frame, [])
            results += files
            never = "begun, not stored" if step.frame in self._begun else "not reached"
            problem = self._failed.get(step.frame, "" if files else never)
            if problem:
                nothing = FrameResult(step.frame, "", step.frame_kind, step.object, step.exposure_s, False, problem)
                results.append(nothing)
        return tuple(results)
