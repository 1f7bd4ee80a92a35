"""A plan as units: what is done, skipped or tried again as a whole. Also: what is left of a plan when frames are there.

A unit is everything from a light's switching on until no light burns, or one exposure without light with its readout,
or a single other step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from calibrant.acquire.plan import Plan, Step

CLOSED_SHUTTER = ("bias", "dark")


@dataclass(frozen=True)
class Unit:
    steps: tuple[Step, ...]

    @property
    def begin(self) -> int:
        """Index of its first step."""
        return self.steps[0].index

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
        """What a failure ends: "stop" the run, "skip" this unit, or "retry" it."""
        return self._policy.partition("(")[0]

    @property
    def tries(self) -> int:
        """At most, the first one included: "retry(2)" makes it three."""
        word, _, number = self._policy.partition("(")
        return 1 + int(number.rstrip(")") or 1) if word == "retry" else 1

    @property
    def _policy(self) -> str:
        return next((str(step.options["on_failure"]) for step in self.frames if "on_failure" in step.options), "stop")

    def __str__(self) -> str:
        return "+".join(self.lights) or next((step.frame for step in self.frames), self.steps[0].kind)


def wanted(steps: Iterable[Step]) -> list[Step]:
    """The exposures of which files are kept."""
    return [step for step in steps if step.kind == "expose" and not step.options.get("discard")]


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
    steps = list(steps)
    unneeded = {*done, *_idle_discards(steps, done)}
    return _useful([step for unit in units(steps) for step in left_of(unit, unneeded)])


def closed_up(steps: Iterable[Step]) -> list[Step]:
    """The same steps without the time of those that were left out between them."""
    closed: list[Step] = []
    ended = saved = 0.0
    index = -1
    for step in steps:
        if step.index != index + 1:
            saved += max(0.0, step.start_s - ended)
        index, ended = step.index, max(ended, step.start_s + step.duration_s)
        closed.append(replace(step, start_s=step.start_s - saved))
    return closed


def _idle_discards(steps: list[Step], done: Collection[str]) -> set[str]:
    """Frames to be thrown away of which all the frames that they prepare for are there."""
    idle: set[str] = set()
    prepared: tuple[str, str] | None = None
    missing = False
    for step in reversed([step for step in steps if step.kind == "expose"]):
        if prepared != (step.frame_kind, step.object):
            prepared, missing = (step.frame_kind, step.object), False
        if not step.options.get("discard"):
            missing = missing or step.frame not in done
        elif not missing:
            idle.add(step.frame)
    return idle


def left_of(unit: Unit, done: Collection[str]) -> list[Step]:
    """The steps of one unit that are left; its lights only where a frame needs them."""
    left = [step for step in unit.steps if not (step.kind in ("expose", "readout") and step.frame in done)]
    if any(step.kind == "expose" and step.lights for step in left):
        return left
    return [step for step in left if step.kind not in ("light_on", "warm", "light_off")]


def _useful(steps: list[Step]) -> list[Step]:
    """Without pointings and pauses that no frame follows before the next one of their kind."""
    kept: list[Step] = []
    needed = {"point": False, "wait": False}
    for step in reversed(steps):
        if step.kind == "expose":
            needed = dict.fromkeys(needed, True)
        if needed.get(step.kind, True):
            kept.append(step)
        if step.kind in needed:
            needed[step.kind] = False
    return kept[::-1]


def pointed_before(plan: Plan, unit: Unit) -> Step | None:
    """The pointing that is in force where a unit begins."""
    earlier = [step for step in plan.steps if step.kind in ("point", "park") and step.index < unit.begin]
    return earlier[-1] if earlier and unit.frames else None


def burn_limits(plan: Plan, factor: float, margin_s: float, max_on_s: Mapping[str, float]) -> dict[int, float]:
    """For each light_on step, by its index, how long its lights may burn: longer than planned, but not for ever."""
    limits = {}
    for step in plan.steps:
        if step.kind != "light_on":
            continue
        off = (other for other in plan.steps[step.index + 1 :] if other.kind in ("light_off", "all_off"))
        end = next((other.start_s for other in off if not other.lights or set(step.lights) & set(other.lights)), None)
        planned = (plan.duration_s if end is None else end) - step.start_s
        hardest = min((max_on_s[name] for name in step.lights if name in max_on_s), default=float("inf"))
        limits[step.index] = min(planned * factor + margin_s, hardest)
    return limits
