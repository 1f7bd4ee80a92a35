"""A sequence and an inventory -> what to do, one after the other, without times; everything is checked here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from calibrant.acquire import maskplan
from calibrant.acquire.devices import FrameKind
from calibrant.acquire.inventory import Inventory
from calibrant.acquire.maskplan import Program
from calibrant.acquire.sequence import Darks, Frames, Group, Lit, OnOff, Sequence, Tart

DEFAULT_POSITION = "calibration"
PARK = "park"


@dataclass(frozen=True)
class Point:
    place: str


@dataclass(frozen=True)
class On:
    lights: tuple[str, ...]
    warmup_s: float = 0.0
    intensity: float | None = None


@dataclass(frozen=True)
class Off:
    lights: tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """Until so long after the last exposure began."""

    interval_s: float


@dataclass(frozen=True)
class Shot:
    label: str
    kind: FrameKind
    exposure_s: float
    object: str = ""
    program: Program | None = None
    options: dict[str, Any] = field(default_factory=dict)


Item = Point | On | Off | Wait | Shot


@dataclass
class Blocks:
    """Collects items, and every fault rather than the first."""

    sequence: Sequence
    inventory: Inventory
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def items(self, slew: bool, park: bool) -> list[Item]:
        """Everything in order. `faults` has to be looked at afterwards."""
        makers = {
            "biases": self._biases,
            "darks": self._darks,
            "lamps": self._lamps,
            "groups": self._groups,
            "onoff": self._onoff,
            "tart": self._tart,
        }
        lit = {"lamps", "groups"} & set(self.sequence.sections)
        position = self._position(bool(lit)) if slew else ""
        items: list[Item] = []
        for section in self.sequence.sections:
            if position and (section in lit or not lit):
                items.append(Point(position))
                position = ""
            items += makers[section]()
        if park and self._place(PARK, "park_after"):
            items.append(Point(PARK))
        return self._overlapped(items)

    def _position(self, lit: bool) -> str:
        """Where to point; '' for nowhere. Biases and darks alone move nothing, unless the sequence says where."""
        asked = self.sequence.position
        if asked is not None:
            return asked if self._place(asked, "position") else ""
        if not lit or not self.inventory.positions:
            return ""
        if DEFAULT_POSITION not in self.inventory.positions:
            self.warnings.append(
                f"nothing is pointed: inventory {self.inventory.name!r} has no position {DEFAULT_POSITION!r}, "
                "and the sequence names none"
            )
            return ""
        return DEFAULT_POSITION

    def _place(self, name: str, path: str) -> bool:
        known = name in self.inventory.positions
        if not known:
            self.faults.append(f"{path}: {self.inventory.unknown('position', name, list(self.inventory.positions))}")
        return known

    def _biases(self) -> Iterator[Item]:
        block = self.sequence.biases
        if block:
            yield from self._shots(block, "bias", "bias", [0.0] * block.count)

    def _darks(self) -> Iterator[Item]:
        block = self.sequence.darks
        if block:
            yield from self._shots(block, "dark", "dark", _times(block))

    def _shots(self, block: Frames, label: str, kind: FrameKind, times: list[float]) -> Iterator[Shot]:
        options = self._options(block)
        for _ in range(block.discard):
            yield Shot(f"{label}-discard", kind, times[0], options={**options, "discard": True})
        for exposure in times:
            yield Shot(label, kind, exposure, options=options)

    def _options(self, block: Frames) -> dict[str, Any]:
        """What the runner and the detector are told with each frame; only what is not the default."""
        options: dict[str, Any] = self.sequence.readout.model_dump(exclude_none=True)
        if block.on_failure != "stop":
            options["on_failure"] = block.on_failure
        return options

    def _lamps(self) -> Iterator[Item]:
        used: dict[str, str] = {}
        for name, lamp in self.sequence.lamps.items():
            known = self._light(name, f"lamps.{name}")
            if known and known in used:
                self.faults.append(f"lamps.{name}: is the same lamp as lamps.{used[known]}")
            elif known:
                used[known] = name
                yield from self._lit(lamp, f"lamps.{name}", known, (known,))

    def _groups(self) -> Iterator[Item]:
        for name, group in self.sequence.groups.items():
            path = f"groups.{name}"
            found = [self._light(lamp, f"{path}.lamps[{place}]") for place, lamp in enumerate(group.lamps)]
            known = tuple(lamp for lamp in found if lamp)
            if len(set(known)) < len(known):
                self.faults.append(f"{path}.lamps: names a lamp twice")
            elif len(known) == len(found):
                yield from self._lit(group, path, name, known)

    def _light(self, name: str, path: str) -> str:
        """The lamp as the inventory spells it; '' and a fault where it has none."""
        known = self.inventory.lamp_name(name)
        if known is None:
            self.faults.append(f"{path}: {self.inventory.unknown('lamp', name, list(self.inventory.lamps))}")
        return known or ""

    def _lit(self, block: Lit, path: str, label: str, lights: tuple[str, ...]) -> Iterator[Item]:
        flavour = block.flavour or self._default_flavour(path, lights)
        self._check_levels(block, path, lights)
        shots = list(self._lit_shots(block, path, label, lights, flavour))
        entries = [self.inventory.lamps[light] for light in lights]
        warmup = max(entry.warmup_s for entry in entries) if block.warmup is None else block.warmup
        yield On(lights, warmup, block.intensity)
        yield from shots
        yield Off(lights)
        if block.with_dark:
            options = self._options(block)
            kept = [shot for shot in shots if "discard" not in shot.options]
            yield from (Shot(f"{label}-dark", "dark", shot.exposure_s, options=options) for shot in kept)

    def _default_flavour(self, path: str, lights: tuple[str, ...]) -> FrameKind:
        flavours = {self.inventory.lamps[light].flavour for light in lights}
        flavour = flavours.pop()
        if flavour is None or flavours:
            why = "differ" if flavours else "has no default"
            self.faults.append(
                f"{path}.flavour: is required, for inventory {self.inventory.name!r} {why} for {', '.join(lights)}; "
                "allowed: arc, flat"
            )
        return flavour or "flat"

    def _check_levels(self, block: Lit, path: str, lights: tuple[str, ...]) -> None:
        target, saturation = block.target_counts, self.inventory.detector.saturation
        if target and saturation is not None and target.level >= saturation:
            self.faults.append(
                f"{path}.target_counts.level: found {target.level:g}; the detector saturates at {saturation:g}"
            )
        if target:
            self.warnings.append(f"{path}: exposure times are adapted to reach {target.level:g} counts; the plan's "
                                 "times hold for the first try")  # fmt: skip
        for light in lights if block.intensity is not None else ():
            most = self.inventory.lamps[light].max_intensity
            if most is None:
                self.faults.append(f"{path}.intensity: {light} can only be switched; leave intensity out")
            elif block.intensity is not None and block.intensity > most:
                self.faults.append(f"{path}.intensity: found {block.intensity:g}; {light} has at most {most:g}")

    def _lit_shots(
        self, block: Lit, path: str, label: str, lights: tuple[str, ...], flavour: FrameKind
    ) -> Iterator[Shot]:
        options = self._options(block)
        if block.target_counts:
            options["target_counts"] = block.target_counts.model_dump()
        made = self._programs(block, path)
        shots = [
            Shot(label, flavour, exposure, "+".join(lights), program, options)
            for exposure, program in made
        ]  # fmt: skip
        for _ in range(block.discard if shots else 0):
            first = shots[0]
            yield Shot(
                f"{label}-discard", flavour, first.exposure_s, first.object, first.program, {**options, "discard": True}
            )
        yield from shots

    def _programs(self, block: Lit, path: str) -> list[tuple[float, Program | None]]:
        """Exposure time and mask of each frame, in order; with `motion: between` all times at one place, then on."""
        if block.fibsel is None:
            return [(exposure, None) for exposure in _times(block)]
        made: dict[float, list[Program]] = {}
        for exposure in block.exposure_time:
            try:
                made[exposure], warnings = maskplan.programs(block.fibsel, exposure, self.inventory)
            except maskplan.Refused as refused:
                self.faults.append(f"{path}.fibsel: {refused}")
                return []
            self.warnings += [text for text in (f"{path}.fibsel: {w}" for w in warnings) if text not in self.warnings]
        places = range(max(len(programs) for programs in made.values()))
        programs = [made[exposure][place] for place in places for exposure in _times(block)]
        return [(program.exposure_s, program) for program in programs]

    def _onoff(self) -> Iterator[Item]:
        block = self.sequence.onoff
        if not block:
            return
        light = self._light(block.light, "onoff.light")
        places = [self._place(getattr(block, key), f"onoff.{key}") for key in ("on_source", "off_source")]
        if light and all(places):
            for repetition in range(1, block.repetitions + 1):
                yield from self._on_and_off(block, light, repetition)

    def _on_and_off(self, block: OnOff, light: str, repetition: int) -> Iterator[Item]:
        def shot(phase: str, kind: FrameKind) -> Shot:
            options = {**self._options(block), "phase": phase, "repetition": repetition}
            return Shot(phase.lower(), kind, 0.0 if kind == "bias" else block.exposure_time, phase, options=options)

        if repetition == 1:
            yield from (
                Shot("onso-discard", "object", block.exposure_time, "ONSO", options={"discard": True})
                for _ in range(block.discard)
            )
        yield Point(block.on_source)
        yield shot("ONSO", "object")
        yield On((light,), self.inventory.lamps[light].warmup_s)
        yield shot("ONSC", "flat")
        yield Point(block.off_source)
        yield shot("OFFC", "flat")
        yield Off((light,))
        yield shot("OFFS", "dark")
        if block.zero and repetition == 1:
            yield shot("ZERO", "bias")

    def _tart(self) -> Iterator[Item]:
        block = self.sequence.tart
        if not block:
            return
        light = self._light(block.light, "tart.light") if block.light is not None else ""
        if light:
            yield On((light,), self.inventory.lamps[light].warmup_s)
        yield from self._snapshots(block, light)
        if light:
            yield Off((light,))

    def _snapshots(self, block: Tart, light: str) -> Iterator[Item]:
        takes = block.exposure_time + self.inventory.detector.readout_s
        if block.count > 1 and 0 < block.interval < takes:
            self.warnings.append(f"tart.interval: {block.interval:g} s is less than a snapshot takes ({takes:g} s)")
        options = {**self._options(block), "snapshot": block.mode}
        for number in range(block.discard + block.count):
            if number and block.interval:
                yield Wait(block.interval)
            label, more = ("tart", {}) if number >= block.discard else ("tart-discard", {"discard": True})
            yield Shot(label, "flat" if light else "object", block.exposure_time, light, options={**options, **more})

    def _overlapped(self, items: list[Item]) -> list[Item]:
        """With `overlap_warmup: bias_dark`, the first lamp goes on as late as hides its whole warm-up."""
        if self.sequence.overlap_warmup == "none":
            return items
        if not self.inventory.detector.light_tight:
            self.faults.append(
                "overlap_warmup: found 'bias_dark'; it needs a light-tight detector, and inventory "
                f"{self.inventory.name!r} does not say that its detector is (detector.light_tight)"
            )
            return items
        first = next((place for place, item in enumerate(items) if isinstance(item, On)), None)
        if first is None or not any(isinstance(item, Shot) for item in items[:first]):
            self.warnings.append("overlap_warmup: no bias or dark is taken before the first lamp: nothing overlaps")
            return items
        lamp = items[first]
        place = self._latest(items[:first], lamp.warmup_s if isinstance(lamp, On) else 0.0)
        return [*items[:place], lamp, *items[place:first], *items[first + 1 :]]

    def _latest(self, before: list[Item], warmup_s: float) -> int:
        """The last place among `before` from which at least the warm-up's time passes."""
        hidden = 0.0
        for place in range(len(before) - 1, -1, -1):
            item = before[place]
            if isinstance(item, Shot):
                hidden += item.exposure_s + self.inventory.detector.readout_s
            elif isinstance(item, Point):
                hidden += self.inventory.slew_s
            if hidden >= warmup_s:
                return place
        return 0


def _times(block: Darks | Lit | Group) -> list[float]:
    """Every exposure: `count` of each time."""
    return [exposure for exposure in block.exposure_time for _ in range(block.count)]
