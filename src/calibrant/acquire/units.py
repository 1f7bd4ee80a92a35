"""A plan as units: what is done, skipped or tried again as a whole. Also: what is left of a plan when frames are there.

A unit is everything from a light's switching on until no light burns, or one exposure without light with its readout,
or a single other step.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from calibrant.acquire.plan import Plan, Step

CLOSED_SHUTTER = ("bias", "dark")
RETRIES = 2
"""Of on_failure "retry" without a number."""


@dataclass(frozen=True)
class Unit:
    steps: tuple[Step, ...]

    @property
    def frames(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.kind == "expose")

    @property
    def lights(self) -> tuple[str, ...]:
        """Those that it switches on."""
        return tuple(dict.fromkeys(name for step in self.steps if step.kind == "light_on" for name in step.lights))

    @property
    def open_shutter(self) -> bool:
        """Light falls on the detector in some of its frames."""
        return any(step.frame_kind not in CLOSED_SHUTTER for step in self.frames)

    @property
    def on_failure(self) -> str:
        """"stop", "skip" or "retry"."""
        return self._policy()[0]

    @property
    def tries(self) -> int:
        return 1 + self._policy()[1]

    def __str__(self) -> str:
        return "+".join(self.lights) or next((step.frame for step in self.frames), self.steps[0].kind)

    def _policy(self) -> tuple[str, int]:
        """What its steps say should happen when something fails, and how many more tries that gives."""
        text = next((str(step.options["on_failure"]) for step in self.steps if "on_failure" in step.options), "stop")
        match = re.fullmatch(r"retry(?:\((\d+)\))?", text)
        if match:
            return "retry", int(match[1] or RETRIES)
        return ("skip" if text == "skip" else "stop"), 0


def units(steps: Iterable[Step]) -> list[Unit]:
    """The steps in order, divided."""
    found: list[list[Step]] = []
    burning: set[str] = set()
    for step in steps:
        goes_on = found and (burning or _reads_one_of(step, found[-1]))
        if goes_on:
            found[-1].append(step)
        else:
            found.append([step])
        if step.kind == "light_on":
            burning |= set(step.lights)
        elif step.kind in ("light_off", "all_off"):
            burning -= set(step.lights) or burning
    return [Unit(tuple(part)) for part in found]


def _reads_one_of(step: Step, part: list[Step]) -> bool:
    return step.kind == "readout" and any(other.kind == "expose" and other.frame == step.frame for other in part)


def remaining(steps: Iterable[Step], done: Collection[str]) -> list[Step]:
    """The steps that are left when the frames of the keys `done` are there: no lamp is lit for nothing."""
    left = [step for unit in units(steps) for step in _left_of(unit, done)]
    return [step for number, step in enumerate(left) if _useful(step, left[number + 1 :])]


def _left_of(unit: Unit, done: Collection[str]) -> list[Step]:
    left = [step for step in unit.steps if not (step.kind in ("expose", "readout") and step.frame in done)]
    if any(step.kind == "expose" and step.lights for step in left):
        return left
    return [step for step in left if step.kind not in ("light_on", "warm", "light_off")]


def _useful(step: Step, after: Sequence[Step]) -> bool:
    """A pointing or a pause is for the frames that follow it; parking for having taken some."""
    if step.kind not in ("point", "wait"):
        return True
    until = next((number for number, other in enumerate(after) if other.kind == step.kind), len(after))
    return any(other.kind == "expose" for other in after[:until])
