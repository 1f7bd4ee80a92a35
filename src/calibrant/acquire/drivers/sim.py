"""Driver `sim`: a whole observatory that is not there, for trying sequences, for tests and for learning.

Lamps warm up, shutters open and close, a mask moves from fibre to fibre, and several cameras are read together; the
image depends on all of it (`simsky`). Everything takes its nominal time divided by `speed`. Noise is decided by
`seed` and the frame's key, so a resumed run takes the same frames. Faults, shared lamps and the trace of all calls
are in `sim_world`.
"""

from __future__ import annotations

import abc
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import calibrant
from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceRefused,
    DeviceTimeout,
    Frame,
    LightState,
    Observatory,
)
from calibrant.acquire.drivers.sim_world import Fault, SharedState, World
from calibrant.acquire.simsky import TEMPERATURES, Camera, Illumination, burning_seconds, light_image, render

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory, LampEntry

SKY, SKY_S = "twilight", 20.0
"""What flats of the twilight sky look at, and their light as seconds of a warm lamp."""
SHAPE = (64, 96)
"""Rows and columns of an image, where neither the option nor an inventory of this driver says otherwise: quick."""
LEAK = 0.02
"""Of the light gets through a closed shutter that is not light-tight."""
INTERLOCKS = ("dome", "room light", "weather")


@dataclass
class SimObservatory(Observatory):
    """The simulated devices, and `world`: their trace, faults and shared state."""

    world: World = field(kw_only=True)


class SimDevice(abc.ABC):
    """Name, description and status of anything simulated."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world

    def describe(self) -> dict[str, Any]:
        return {
            "driver": "sim",
            "version": calibrant.__version__,
            "device": self.name,
            "seed": self.world.seed,
            "speed": self.world.speed,
        }

    async def status(self) -> dict[str, Any]:
        async with self.world.call(self.name, "status"):
            return self._status()

    @abc.abstractmethod
    def _status(self) -> dict[str, Any]: ...


class SimLight(SimDevice):
    """A lamp on a switched outlet. It is warm `warmup_s` after it was switched on, whoever did it."""

    def __init__(self, name: str, world: World, entry: LampEntry, hardware_lease: bool) -> None:
        super().__init__(name, world)
        self.warmup_s, self.hardware_lease = entry.warmup_s, hardware_lease
        self.flavour = entry.flavour or ("flat" if name.lower() in TEMPERATURES else "arc")
        self.full = entry.max_intensity or 1.0
        """The intensity that is full brightness."""

    async def set(self, on: bool, *, intensity: float | None = None, lease_s: float | None = None) -> None:
        call = "on" if on else "off"
        level = (self.full if intensity is None else intensity) / self.full if on else 0.0
        async with self.world.call(self.name, call):
            if on and not 0 < level <= 1:
                raise DeviceRefused(f"{self.name}: intensity {intensity}: must be above 0 and at most {self.full:g}")
            if not on and (slow := self.world.strike("slow_off", self.name, call)):
                await self.world.wait(slow.amount, self.name)
            if self.world.strike("stuck", self.name, call):
                return
            lease = lease_s / self.world.speed if lease_s is not None and self.hardware_lease else None
            self.world.state.switch(self.name, level, self.world.utc(), lease)

    async def read(self) -> LightState:
        async with self.world.call(self.name, "read"):
            return self._state()

    def _state(self) -> LightState:
        now = self.world.utc()
        if self.world.state.level(self.name, now) <= 0:
            return LightState.OFF
        return LightState.ON if self._on_s(now) >= self.warmup_s else LightState.WARMING

    def _on_s(self, now: float) -> float:
        """Nominal seconds since it was switched on."""
        since = now
        for when, level in reversed([entry for entry in self.world.state.history(self.name) if entry[0] <= now]):
            if level <= 0:
                break
            since = when
        return (now - since) * self.world.speed

    def _status(self) -> dict[str, Any]:
        now = self.world.utc()
        level = self.world.state.level(self.name, now)
        return {"state": self._state().value, "level": level, "on_s": round(self._on_s(now), 1)}

    def burning_s(self, begin: float, end: float, frame: int) -> float:
        """Seconds of a warm lamp at full intensity between two moments, in the observatory's `frame`-th integration."""
        history, died = self.world.state.history(self.name), self.world.died(self.name, frame)
        if died < math.inf:
            history = [entry for entry in history if entry[0] < died] + [(died, 0.0)]
        # To the millisecond: what is left of the clock's jitter is below the noise of a single electron.
        return round(burning_seconds(history, begin, end, self.warmup_s, self.world.speed), 3)


class SimMover(SimDevice):
    """A mask or a pointing: named places, the same time from any to any."""

    def __init__(self, name: str, world: World, places: Mapping[str, float], move_s: float, start: str) -> None:
        super().__init__(name, world)
        self.places: Mapping[str, float] = dict(places)
        self.move_s = move_s
        self.history: list[tuple[float, str]] = [(-math.inf, start)]
        """(UTC, place from then on); empty while moving or after a stop between places."""
        self._moving: object | None = None

    async def move(self, to: str) -> None:
        async with self.world.call(self.name, "move", to):
            if to not in self.places:
                raise DeviceRefused(f"{self.name}: no place {to!r}; there are {', '.join(self.places)}")
            if self._moving is not None:
                raise DeviceBusy(f"{self.name}: is moving already")
            if self._place() != to:
                await self._travel(to)

    async def _travel(self, to: str) -> None:
        token = self._moving = object()

        def check() -> None:
            if self._moving is not token:
                raise DeviceRefused(f"{self.name}: was stopped on the way to {to}")

        hang = self.world.strike("hang", self.name, "move")
        slow = self.world.strike("slow_move", self.name, "move")
        needs_s = math.inf if hang else self.move_s * (slow.amount if slow else 1.0)
        limit_s = self.move_s + self.world.grace_s
        self.history.append((self.world.utc(), ""))
        try:
            await self.world.wait(min(needs_s, limit_s), self.name, check)
            if needs_s > limit_s:
                raise DeviceTimeout(f"{self.name}: not at {to} within {limit_s:g} s; stopped")
            self.history.append((self.world.utc(), to))
        finally:
            # Cancelled, too late or lost: it stays between places. No motion goes on that nobody waits for.
            if self._moving is token:
                self._moving = None

    async def stop(self) -> None:
        async with self.world.call(self.name, "stop"):
            self._moving = None
            self.world.wake()

    async def position(self) -> str:
        async with self.world.call(self.name, "position"):
            return self._place()

    def _place(self) -> str:
        return self.history[-1][1]

    def _status(self) -> dict[str, Any]:
        return {"place": self._place(), "moving": self._moving is not None}

    def stays(self, begin: float, end: float) -> list[tuple[str, float, float]]:
        """(place, from, to) of its stands between two moments."""
        times = [when for when, _ in self.history[1:]] + [math.inf]
        stays = [
            (place, max(when, begin), min(until, end))
            for (when, place), until in zip(self.history, times, strict=True)
            if place
        ]
        return [stay for stay in stays if stay[2] > stay[1]]


class SimExposure:
    """An integration of the simulated cameras: the hardware ends and reads it by itself."""

    def __init__(self, detector: SimDetector, spec: CaptureSpec, number: int) -> None:
        world = detector.world
        self._detector, self._world, self.spec, self.number = detector, world, spec, number
        short = world.strike("short", detector.name, "expose")
        hangs = world.strike("hang", detector.name, "integrate") is not None
        self.begin = world.utc()
        self.end = math.inf if hangs else self.begin + spec.exposure_s / (short.amount if short else 1.0) / world.speed
        self.read_at = self.end + detector.readout_s / world.speed
        self._aborted = self._taken = False

    async def integrated(self) -> None:
        async with self._world.call(self._detector.name, "integrate", self.spec.key):
            await self._until(self.end)

    async def read(self) -> list[Frame]:
        async with self._world.call(self._detector.name, "readout", self.spec.key):
            if self._taken:
                raise DeviceRefused(f"{self._detector.name}: frame {self.spec.key} has been read already")
            await self._until(self.read_at)
            self._taken = True
            return self._detector.render(self)

    async def _until(self, moment: float) -> None:
        patience_s = self.spec.exposure_s + self._detector.readout_s + self._world.grace_s
        limit = self.begin + patience_s / self._world.speed
        try:
            await self._world.wait_until(min(moment, limit), self._detector.name, self._check)
        except BaseException:
            if self._world.utc() < self.read_at:
                self._detector.halt(self)
            raise
        if moment > limit:
            raise DeviceTimeout(f"{self._detector.name}: {self.spec.key} not finished within {patience_s:g} s")

    def _check(self) -> None:
        if self._aborted:
            raise DeviceRefused(f"{self._detector.name}: frame {self.spec.key} was aborted")

    def abort(self) -> None:
        self._aborted = True


class SimDetector(SimDevice):
    """Several cameras behind one shutter each, exposed and read together."""

    def __init__(
        self,
        world: World,
        cameras: Sequence[Camera],
        lights: Sequence[SimLight],
        mask: SimMover | None,
        *,
        readout_s: float,
        light_tight: bool,
    ) -> None:
        super().__init__("detector", world)
        self.cameras = tuple(camera.name for camera in cameras)
        self.readout_s, self.light_tight = readout_s, light_tight
        self._cameras, self._lights, self._mask = tuple(cameras), tuple(lights), mask
        self._current: SimExposure | None = None
        self._taken: dict[str, int] = {}
        """Frame key -> how often it was taken: a second try has other noise."""
        self._last: dict[str, np.ndarray[Any, np.dtype[np.uint16]]] = {}

    def describe(self) -> dict[str, Any]:
        first = self._cameras[0]
        return super().describe() | {"cameras": list(self.cameras), "shape": list(first.shape), "gain": first.gain}

    async def prepare(self) -> None:
        async with self.world.call(self.name, "prepare"):
            if self._state() != "idle":
                raise DeviceBusy(f"{self.name}: is {self._state()}; abort it or wait")

    async def expose(self, spec: CaptureSpec) -> SimExposure:
        async with self.world.call(self.name, "expose", spec.key):
            if not spec.exposure_s >= 0 or not math.isfinite(spec.exposure_s):
                raise DeviceRefused(f"{self.name}: exposure time {spec.exposure_s} s of {spec.key}")
            while (running := self._current) is not None and self._state() != "idle":
                if self._state() == "exposing":
                    raise DeviceBusy(f"{self.name}: is exposing {running.spec.key}")
                await self.world.wait_until(running.read_at, self.name)
            self.world.frames += 1
            self._current = SimExposure(self, spec, self.world.frames)
            return self._current

    async def abort(self) -> None:
        async with self.world.call(self.name, "abort"):
            if self._current is not None and self._state() != "idle":
                self.halt(self._current)

    async def is_idle(self) -> bool:
        async with self.world.call(self.name, "idle"):
            return self._state() == "idle"

    def halt(self, exposure: SimExposure) -> None:
        """Stop an exposure and throw it away; nothing where another one runs."""
        if self._current is exposure:
            self._current = None
            exposure.abort()
            self.world.record(self.name, "halt", "end", exposure.spec.key)
            self.world.wake()

    def _state(self) -> str:
        now = self.world.utc()
        if self._current is None or now >= self._current.read_at:
            return "idle"
        return "exposing" if now < self._current.end else "reading"

    def _status(self) -> dict[str, Any]:
        frame = self._current.spec.key if self._current is not None and self._state() != "idle" else ""
        return {"state": self._state(), "frame": frame, "cameras": list(self.cameras)}

    # The image.

    def render(self, exposure: SimExposure) -> list[Frame]:
        """The frames of an exposure that has been read, with the faults of a readout."""
        count = self._taken.get(exposure.spec.key, 0)
        self._taken[exposure.spec.key] = count + 1
        faults = {kind: self.world.strike(kind, self.name, "readout") for kind in ("truncated", "saturate", "repeat")}
        lamps = self._illumination(exposure)
        return [self._frame(camera, exposure, lamps, count, faults) for camera in self._cameras]

    def _illumination(self, exposure: SimExposure) -> list[Illumination]:
        through = 1.0 if exposure.spec.kind not in ("bias", "dark") else 0.0 if self.light_tight else LEAK
        if through == 0.0:
            return []
        stays = self._mask.stays(exposure.begin, exposure.end) if self._mask is not None else []
        lamps = []
        if exposure.spec.object == SKY:
            # The exposure times of such flats follow the sky's fading: all get the same light.
            lamps.append(Illumination(SKY, "flat", SKY_S, {place: SKY_S for place, _, _ in stays}))
        for light in self._lights:
            places: dict[str, float] = {}
            for place, begin, end in stays:
                seconds = light.burning_s(begin, end, exposure.number)
                places[place] = places.get(place, 0.0) + through * seconds
            total = through * light.burning_s(exposure.begin, exposure.end, exposure.number)
            lamps.append(Illumination(light.name, light.flavour, total, places))
        return [lamp for lamp in lamps if lamp.total_s > 0]

    def _frame(
        self,
        camera: Camera,
        exposure: SimExposure,
        lamps: Sequence[Illumination],
        count: int,
        faults: Mapping[str, Fault | None],
    ) -> Frame:
        measured_s = (exposure.end - exposure.begin) * self.world.speed
        names = f"{exposure.spec.key}/{camera.name}".encode()
        rng = np.random.default_rng([self.world.seed, zlib.crc32(names), count])
        mask = self._mask
        places = sorted(mask.places, key=lambda place: mask.places[place]) if mask is not None else []
        data = render(camera, light_image(camera, lamps, places), measured_s, rng)
        if faults["saturate"]:
            data[:] = camera.saturation
        if faults["repeat"] and camera.name in self._last:
            data = self._last[camera.name]
        if faults["truncated"]:
            data = data[: camera.shape[0] // 2]
        self._last[camera.name] = data
        return Frame(camera.name, exposure.begin, exposure.end, round(measured_s, 3), data, header=self._header(camera))

    def _header(self, camera: Camera) -> dict[str, tuple[Any, str]]:
        return {
            "GAIN": (camera.gain, "[e-/ADU]"),
            "RDNOISE": (camera.read_noise, "[e-] read noise"),
            "SATURATE": (camera.saturation, "[ADU] saturation level"),
            "SIMSEED": (self.world.seed, "seed of the simulation"),
            "SIMSPEED": (self.world.speed, "real seconds = nominal / this"),
        }


class SimInterlock:
    """A condition that the state file or `world.state.set_interlock` breaks."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world

    async def check(self) -> list[str]:
        async with self.world.call(self.name, "check"):
            problem = self.world.state.interlock(self.name)
            return [problem] if problem else []


async def connect(
    inventory: Inventory,
    *,
    speed: float = 1.0,
    seed: int = 0,
    shape: tuple[int, int] | None = None,
    state_path: str | Path | None = None,
    faults: Mapping[str, Any] | None = None,
    interlocks: Mapping[str, str] | None = None,
    latency_s: float = 0.03,
    grace_s: float = 30.0,
    hardware_lease: bool = False,
) -> SimObservatory:
    """The simulated devices of an inventory.

    `state_path`: JSON file with the lamps' state, shared with other processes. `faults`: {device: kind | {kind, call,
    after, at_s, times, probability, amount} | list}; devices are the lamps' names, detector, mask, pointing and
    server. `interlocks`: {name: what is wrong}. `latency_s`: nominal time on the wire of each call. `grace_s`: a
    device that hangs is given up (DeviceTimeout) that much after it should have answered.
    """
    guarded = tuple(inventory.interlocks) or INTERLOCKS
    devices = (*inventory.lamps, "detector", "mask", "pointing", *guarded, "server")
    state = SharedState(Path(state_path) if state_path is not None else None)
    world = World(devices, speed=speed, seed=seed, state=state, faults=faults, latency_s=latency_s, grace_s=grace_s)
    for name, problem in (interlocks or {}).items():
        state.set_interlock(name, problem)
    lights = {name: SimLight(name, world, entry, hardware_lease) for name, entry in inventory.lamps.items()}
    mask = _mask(inventory, world)
    own = inventory.detector.shape if inventory.driver == "sim" else None
    size = tuple(shape or own or SHAPE)
    detector = SimDetector(
        world,
        [Camera(name, (int(size[0]), int(size[1]))) for name in inventory.detector.cameras],
        list(lights.values()),
        mask,
        readout_s=inventory.detector.readout_s,
        light_tight=inventory.detector.light_tight,
    )
    return SimObservatory(
        name=inventory.name,
        driver="sim",
        lights=dict(lights),
        detector=detector,
        mask=mask,
        pointing=_pointing(inventory, world),
        interlocks=tuple(SimInterlock(name, world) for name in guarded),
        simulated=True,
        world=world,
    )


def _mask(inventory: Inventory, world: World) -> SimMover | None:
    if inventory.mask is None:
        return None
    places = inventory.mask.places
    start = inventory.mask.default_initial if inventory.mask.default_initial in places else next(iter(places), "")
    return SimMover("mask", world, places, inventory.mask.move_s, start)


def _pointing(inventory: Inventory, world: World) -> SimMover | None:
    names = list(inventory.positions)
    if not names:
        return None
    start = "park" if "park" in names else names[0]
    places = {name: float(index) for index, name in enumerate(names)}
    return SimMover("pointing", world, places, inventory.slew_s, start)
