"""A sequence and an inventory -> a plan: everything checked, every step with its expected time.

Order and overlap are those of gort 0.12 (lvmgort, recipe `calibration`): all lamps off; biases and darks, each read
out before the next, the last dark's readout going on beside the slew; then each lamp: on, warm up, expose, its last
readout going on beside the lamp's switching off and the next lamp's warm-up. An exposure waits for the readout
before it. Switching and mask moves before an exposure are not counted.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from calibrant.acquire.blocks import PARK, Blocks, Item, Off, On, Point, Shot, Wait
from calibrant.acquire.inventory import Inventory
from calibrant.acquire.plan import Plan, Step, StepKind
from calibrant.acquire.sequence import Sequence
from calibrant.errors import ParameterError

_LONG_S = 86400.0


def compile_plan(
    sequence: Sequence, inventory: Inventory, *, slew_telescopes: bool = True, park_after: bool = False
) -> Plan:
    """The plan of a sequence with an inventory; `park_after` here or in the sequence parks at the end.

    Raises ParameterError that lists every fault: unknown lamps and places, patterns without match, missing flavours,
    exposures too short for the mask where coverage is required, lamps burning too long.
    """
    blocks = Blocks(sequence, inventory)
    items = blocks.items(slew_telescopes, park_after or sequence.park_after)
    timeline = _Timeline(inventory)
    if not blocks.faults:
        timeline.run(items)
        blocks.faults += _burning_too_long(timeline.burning, inventory)
    if blocks.faults:
        faults = "\n".join(f"  {fault}" for fault in blocks.faults)
        raise ParameterError(f"sequence {sequence.name!r} cannot be taken with inventory {inventory.name!r}:\n{faults}")
    warnings = list(blocks.warnings)
    if timeline.now > _LONG_S:
        warnings.append(f"the sequence takes {timeline.now / 3600:.1f} hours")
    return Plan(
        name=sequence.name,
        inventory=inventory.name,
        steps=tuple(timeline.steps),
        duration_s=timeline.now,
        warnings=tuple(warnings),
        lamp_hours={light: seconds / 3600 for light, seconds in timeline.lit_s.items()},
        data_bytes=_data_bytes(timeline.steps, inventory),
        sequence=sequence.given or sequence.model_dump(mode="json", exclude_defaults=True),
    )


def _data_bytes(steps: list[Step], inventory: Inventory) -> int:
    kept = sum(step.kind == "expose" and "discard" not in step.options for step in steps)
    return kept * len(inventory.detector.cameras) * inventory.detector.bytes_per_frame


def _burning_too_long(burning: dict[str, float], inventory: Inventory) -> list[str]:
    """Lamps whose longest burning is beyond what the inventory allows."""
    return [
        f"lamps.{light}: would burn {seconds:g} s on end; inventory {inventory.name!r} allows {limit:g} s"
        for light, seconds in burning.items()
        if (limit := inventory.lamps[light].max_on_s) is not None and seconds > limit
    ]


@dataclass
class _Timeline:
    """Lays items along time, step by step."""

    inventory: Inventory
    steps: list[Step] = field(default_factory=list)
    now: float = 0.0
    reading_until: float = 0.0
    began: float = 0.0
    """When the last exposure began."""
    lit: dict[str, float] = field(default_factory=dict)
    """Lights that are on -> since when."""
    lit_s: dict[str, float] = field(default_factory=dict)
    burning: dict[str, float] = field(default_factory=dict)
    """Light -> its longest time on end."""
    warmup: On | None = None
    """A light that is on and not yet known to be warm."""
    switched_on: int = 0
    """The last step that switched a light on."""
    keys: Counter[str] = field(default_factory=Counter)

    def run(self, items: list[Item]) -> None:
        self._step("all_off")
        for place, item in enumerate(items):
            following = items[place + 1] if place + 1 < len(items) else None
            match item:
                case Shot():
                    self._shot(item, following)
                case On():
                    self._on(item)
                case Off():
                    self._off(item)
                case Point():
                    self._point(item)
                case Wait():
                    self._wait(item)
        self.now = max(self.now, self.reading_until)
        if self.lit_s:
            self._step("all_off")

    def _step(self, kind: StepKind, duration: float = 0.0, *, passes: bool = True, **more: Any) -> None:
        """Append a step at the present; time `passes` unless it overlaps what follows."""
        self.steps.append(Step(len(self.steps), kind, self.now, duration, **more))
        if passes:
            self.now += duration

    def _point(self, item: Point) -> None:
        coordinates = self.inventory.positions[item.place]
        options = {"coordinates": coordinates} if coordinates else {}
        kind: StepKind = "park" if item.place == PARK else "point"
        self._step(kind, self.inventory.slew_s, place=item.place, options=options)

    def _on(self, item: On) -> None:
        self.switched_on = len(self.steps)
        self._step(
            "light_on", lights=item.lights, options={} if item.intensity is None else {"intensity": item.intensity}
        )
        self.lit.update(dict.fromkeys(item.lights, self.now))
        self.warmup = item if item.warmup_s else None

    def _warm(self) -> None:
        """Wait for what is left of the warm-up, which counts from the switching on."""
        if self.warmup is None:
            return
        item, self.warmup = self.warmup, None
        left = max(0.0, self.lit[item.lights[0]] + item.warmup_s - self.now)
        self._step("warm", left, lights=item.lights, options={"warmup_s": item.warmup_s})

    def _off(self, item: Off) -> None:
        self._step("light_off", lights=item.lights)
        on = self.steps[self.switched_on]
        self.steps[on.index] = replace(on, options={**on.options, **self._limits(item.lights)})
        for light in item.lights:
            seconds = self.now - self.lit.pop(light)
            self.lit_s[light] = self.lit_s.get(light, 0.0) + seconds
            self.burning[light] = max(self.burning.get(light, 0.0), seconds)

    def _limits(self, lights: tuple[str, ...]) -> dict[str, float]:
        """How long the lights are to burn, and how long they may."""
        planned = max(self.now - self.lit[light] for light in lights)
        most = [self.inventory.lamps[light].max_on_s for light in lights]
        limits = [seconds for seconds in most if seconds is not None]
        return {"planned_on_s": planned, **({"max_on_s": min(limits)} if limits else {})}

    def _wait(self, item: Wait) -> None:
        left = self.began + item.interval_s - max(self.now, self.reading_until)
        if left > 0:
            self._step("wait", left, options={"wait_s": left, "interval_s": item.interval_s})

    def _shot(self, shot: Shot, following: Item | None) -> None:
        lit = shot.kind in ("flat", "arc") or (shot.kind == "object" and bool(self.lit))
        if lit:
            self._warm()
        lights = tuple(self.lit) if lit else ()
        common: dict[str, Any] = {
            "lights": lights,
            "frame": self._key(shot.label),
            "frame_kind": shot.kind,
            "object": shot.object,
            "exposure_s": shot.exposure_s,
        }
        self.now = self.began = max(self.now, self.reading_until)
        self._step("expose", shot.exposure_s, options=shot.options, **self._mask(shot), **common)
        overlaps = isinstance(following, Off) or (shot.kind == "dark" and isinstance(following, Point | On))
        readout = self.inventory.detector.readout_s
        self.reading_until = self.now + readout
        self._step("readout", readout, passes=not overlaps, overlaps=overlaps, **common)

    def _mask(self, shot: Shot) -> dict[str, Any]:
        if shot.program is None:
            return {}
        return {"mask": shot.program.moves, "mask_start": shot.program.start}

    def _key(self, label: str) -> str:
        """'argon-02': the second frame of its label; letters, digits and .+- only, for it becomes a file's name."""
        name = re.sub(r"[^a-z0-9.+]+", "-", label.lower()).strip("-.") or "frame"
        self.keys[name] += 1
        return f"{name}-{self.keys[name]:02d}"
