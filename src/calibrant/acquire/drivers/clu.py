"""Driver `clu`: the actors of SDSS (lamps on a power switch, spectrographs, fibre mask, telescopes) over RabbitMQ.

Commands are those of lvmnps, archon/lvmscp, lvmtan and lvmpwi. What an inventory may say:

    address:   host, port, virtual_host; power (actor of the lamps' switch); telescopes {name: actor};
               overwatcher (actor: nothing is done while it is enabled); hardware_lease (false: never rely on it);
               simulated (true: the actors are stand-ins that run at `speed`)
    lamps:     address {outlet: its name on the switch}
    mask:      address {actor, tolerance: motor steps}
    detector:  address {actors: [...], exposure_number: the file with the next number, which the actors share}
    interlocks: {dome: {actor: lvmecp, command: status, key: dome_status_labels, has: [CLOSED], lacks: [MOVING]}}

The bus is `clu_bus`, the spectrographs are `clu_detector`.
"""

from __future__ import annotations

import asyncio
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from calibrant.acquire.clock import Clock, shielded
from calibrant.acquire.clu_bus import Bus, value
from calibrant.acquire.clu_detector import ANSWER_S, CluDetector, CluDevice, known, swallow, together
from calibrant.acquire.devices import DeviceLost, DeviceRefused, LightState, Observatory
from calibrant.errors import DeviceError, ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory, Mask

# Nominal seconds. Each is shorter than the engine's own watchdog for the same work.
MOVE_S = 60.0
SLEW_S = 240.0
HOMING_S = 15.0
"""findHome of a telescope answers at once; gort waits so long, and so do we."""
NEAR_DEG = 0.5
"""A telescope so near to a position is there."""


class CluLight(CluDevice):
    """A lamp on an outlet of a network power switch. The switch knows the outlet, not whether the lamp is warm."""

    def __init__(self, bus: Bus, clock: Clock, name: str, power: str, outlet: str, lease: bool) -> None:
        super().__init__(bus, clock, name, [power])
        self.outlet, self.hardware_lease = outlet, lease

    async def set(self, on: bool, *, intensity: float | None = None, lease_s: float | None = None) -> None:
        if on and intensity is not None:
            raise DeviceRefused(f"{self.name}: has no intensity, only on and off")
        words = f"{'on' if on else 'off'} {shlex.quote(self.outlet)}"
        if on and lease_s is not None and self.hardware_lease:
            words += f" --off-after {math.ceil(lease_s)}"
        await self.ask(self.actors[0], words)
        state = await self.read()
        if state is not (LightState.ON if on else LightState.OFF):
            raise DeviceRefused(f"{self.name}: switched {'on' if on else 'off'}, but {self.actors[0]} says {state}")

    async def read(self) -> LightState:
        found = value(await self.ask(self.actors[0], f"status {shlex.quote(self.outlet)}"), "outlet_info")
        state = found.get("state") if isinstance(found, dict) else None
        return {True: LightState.ON, False: LightState.OFF}.get(state, LightState.UNKNOWN)  # type: ignore[arg-type]

    async def status(self) -> dict[str, Any]:
        return {"state": str(await self.read()), "outlet": self.outlet}

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"outlet": self.outlet, "hardware_lease": self.hardware_lease}


class CluMask(CluDevice):
    """The fibre selector: a motor that knows steps; the names of its places are the inventory's."""

    def __init__(self, bus: Bus, clock: Clock, mask: Mask, where: str) -> None:
        address = known(mask.address, ("actor", "tolerance"), where)
        if "actor" not in address:
            raise ParameterError(f"{where}.address.actor is missing")
        super().__init__(bus, clock, "mask", [str(address["actor"])])
        self.places: Mapping[str, float] = dict(mask.places)
        self._tolerance = float(address.get("tolerance", 10.0))
        self._stops = 0

    async def move(self, to: str) -> None:
        if to not in self.places:
            raise DeviceRefused(f"{self.name}: no place {to!r}; there are {', '.join(self.places)}")
        steps = self.places[to]
        await self._moving(f"moveAbsolute {steps:g}")
        if await self.position() != to:
            raise DeviceRefused(f"{self.name}: was sent to {to} (step {steps:g}) and did not arrive there")

    async def home(self) -> None:
        await self._moving("moveToHome")

    async def stop(self) -> None:
        self._stops += 1
        await self.ask(self.actors[0], "stop")

    async def position(self) -> str:
        status = await self.ask(self.actors[0], "status")
        step = value(status, "Position")
        if value(status, "Moving") or not isinstance(step, int | float):
            return ""
        near = min(self.places, key=lambda place: abs(self.places[place] - step))
        return near if abs(self.places[near] - step) <= self._tolerance else ""

    async def _moving(self, words: str) -> None:
        """A motion that is stopped whenever nobody waits for its end any more."""
        actor, stops = self.actors[0], self._stops
        if value(await self.ask(actor, "isReachable"), "Reachable") is False:
            raise DeviceLost(f"{self.name}: {actor} says that its motor is not reachable")
        if self._stops != stops:
            raise DeviceRefused(f"{self.name}: was told to stop before it began to move")
        try:
            await self.ask(actor, words, MOVE_S)
        except BaseException as error:
            if not isinstance(error, DeviceLost):
                await shielded(swallow(self.stop()))
            raise


class CluPointing(CluDevice):
    """All telescopes together: each named position is an altitude and azimuth for each of them."""

    def __init__(self, bus: Bus, clock: Clock, inventory: Inventory, telescopes: Mapping[str, str]) -> None:
        super().__init__(bus, clock, "pointing", telescopes.values())
        self._telescopes = dict(telescopes)
        self._where = inventory.positions
        unknown = {name for where in self._where.values() for name in where} - set(telescopes)
        if unknown:
            raise ParameterError(
                f"inventory {inventory.name}: address.telescopes names no actor of {', '.join(sorted(unknown))}"
            )
        self.places: Mapping[str, float] = {name: float(index) for index, name in enumerate(self._where)}

    async def move(self, to: str) -> None:
        """All at the same time; a park position also disables the axes. One that fails stops the others."""
        if to not in self._where:
            raise DeviceRefused(f"{self.name}: no place {to!r}; there are {', '.join(self.places)}")
        try:
            await together(*(self._slew(name, *where) for name, where in self._where[to].items()))
        except BaseException:
            await shielded(swallow(self.stop()))
            raise
        if to == "park":
            await together(*(self.ask(self._telescopes[name], "setEnabled false") for name in self._where[to]))

    async def stop(self) -> None:
        await together(*(self.ask(actor, "stop") for actor in self.actors), spare=True)

    async def position(self) -> str:
        """The named position at which every telescope is."""
        seen = dict(zip(self._telescopes, await together(*map(self._seen, self._telescopes)), strict=True))
        for place, where in self._where.items():
            if where and all(_near(seen[name], where[name]) for name in where):
                return place
        return ""

    async def _seen(self, name: str) -> tuple[float, float] | None:
        """Altitude and azimuth; None while it moves or where it does not say."""
        status = await self.ask(self._telescopes[name], "status")
        found = (value(status, "altitude_degs"), value(status, "azimuth_degs"))
        if value(status, "is_slewing") or not all(isinstance(angle, int | float) for angle in found):
            return None
        return float(found[0]), float(found[1])

    async def _slew(self, name: str, altitude: float, azimuth: float) -> None:
        actor = self._telescopes[name]
        status = await self.ask(actor, "status")
        if not (value(status, "is_connected") and value(status, "is_enabled")):
            for words in ("setConnected true", "setEnabled true", "findHome"):
                await self.ask(actor, words)
            await self.clock.sleep(HOMING_S)
        # After "--" nothing is an option: -16.4 is an altitude.
        await self.ask(actor, f"gotoAltAzJ2000 -- {altitude:g} {azimuth:g}", SLEW_S)
        seen = await self._seen(name)
        if not _near(seen, (altitude, azimuth)):
            raise DeviceRefused(f"{name}: was sent to altitude {altitude:g}, azimuth {azimuth:g} and says {seen}")


class Overwatcher(CluDevice):
    """Forbids working while the observatory's own robot is in charge."""

    async def check(self) -> list[str]:
        try:
            status = value(await self.ask(self.actors[0], "status"), "status")
        except DeviceLost:
            # It does not run: nobody else is in charge. A lost broker is found by everybody else.
            return []
        busy = [key for key in ("enabled", "observing", "calibrating") if isinstance(status, dict) and status.get(key)]
        return [f"the Overwatcher is {' and '.join(busy)}; disable it first"] if busy else []


class Actors(CluDevice):
    """Forbids working while one of the actors that every exposure needs is not there."""

    async def check(self) -> list[str]:
        answers = await asyncio.gather(*(self.ask(actor, "ping") for actor in self.actors), return_exceptions=True)
        return [str(answer) for answer in answers if isinstance(answer, DeviceError)]


class Condition(CluDevice):
    """Words that a status must, or must not, have: the dome is closed, a room is dark."""

    def __init__(self, bus: Bus, clock: Clock, name: str, address: Mapping[str, Any]) -> None:
        said = known(address, ("actor", "command", "key", "has", "lacks", "open_shutter_only"), f"interlocks.{name}")
        if missing := {"actor", "key"} - set(said):
            raise ParameterError(f"interlocks.{name}: {', '.join(sorted(missing))} missing")
        super().__init__(bus, clock, name, [str(said["actor"])])
        self._command, self._key = str(said.get("command", "status")), str(said["key"])
        self._has, self._lacks = list(said.get("has", [])), list(said.get("lacks", []))
        self.open_shutter_only = bool(said.get("open_shutter_only", False))

    async def check(self) -> list[str]:
        found = value(await self.ask(self.actors[0], self._command), self._key)
        words = {word.strip() for word in found.split(",")} if isinstance(found, str) else None
        if words is None and isinstance(found, list):
            words = set(map(str, found))
        if words is None:
            return [f"{self.actors[0]} does not say {self._key}"]
        wrong = [f"not {word}" for word in self._has if word not in words]
        wrong += [word for word in self._lacks if word in words]
        return [f"{self.actors[0]} says {self._key} {', '.join(sorted(words))}: {', '.join(wrong)}"] if wrong else []


async def connect(
    inventory: Inventory,
    *,
    speed: float = 1.0,
    host: str | None = None,
    port: int | None = None,
    floor_s: float = 5.0,
) -> Observatory:
    """Connect to the broker. DeviceLost where there is none; an actor that is missing is an interlock ("actors").

    `speed` is for actors that are stand-ins (`simulated: true`). No limit is shorter than `floor_s` of real time.
    """
    keys = ("host", "port", "virtual_host", "power", "telescopes", "overwatcher", "hardware_lease", "simulated")
    address = known(inventory.address, keys, f"inventory {inventory.name}: address")
    simulated = bool(address.get("simulated", False))
    if speed != 1.0 and not simulated:
        raise ParameterError(f"speed {speed:g}: inventory {inventory.name} has real devices, they take their own time")
    where = host or str(address.get("host", "localhost")), port or int(address.get("port", 5672))
    bus = await Bus.open(*where, str(address.get("virtual_host", "/")))
    try:
        return await _observatory(inventory, address, bus, Clock(speed, floor_s), simulated)
    except BaseException:
        await bus.close()
        raise


async def _observatory(
    inventory: Inventory, address: Mapping[str, Any], bus: Bus, clock: Clock, simulated: bool
) -> Observatory:
    detector = CluDetector(bus, clock, inventory)
    mask = CluMask(bus, clock, inventory.mask, f"inventory {inventory.name}: mask") if inventory.mask else None
    telescopes = address.get("telescopes", {})
    pointing = CluPointing(bus, clock, inventory, telescopes) if telescopes else None
    power = str(address.get("power", ""))
    if inventory.lamps and not power:
        raise ParameterError(f"inventory {inventory.name}: address.power must name the actor of the lamps' switch")
    lease = address.get("hardware_lease", True) and inventory.lamps and await _keeps_leases(bus, clock, power)
    lights = {}
    for name, entry in inventory.lamps.items():
        outlet = known(entry.address, ("outlet",), f"inventory {inventory.name}: lamps.{name}").get("outlet", name)
        lights[name] = CluLight(bus, clock, name, power, str(outlet), bool(lease))
    needed = [*([power] if power else []), *detector.actors, *(mask.actors if mask else ())]
    interlocks: list[Any] = [Actors(bus, clock, "actors", needed)]
    if overwatcher := address.get("overwatcher"):
        interlocks.append(Overwatcher(bus, clock, "overwatcher", [str(overwatcher)]))
    interlocks += [Condition(bus, clock, name, how) for name, how in inventory.interlocks.items()]
    return Observatory(
        name=inventory.name,
        driver="clu",
        lights=dict(lights),
        detector=detector,
        mask=mask,
        pointing=pointing,
        interlocks=tuple(interlocks),
        simulated=simulated,
        closers=[bus.close],
    )


async def _keeps_leases(bus: Bus, clock: Clock, power: str) -> bool:
    """A NetIO switch goes off by itself after `--off-after`; for others lvmnps only sleeps, and that dies with it."""
    try:
        return value(await bus.ask(power, "status", clock.limit(ANSWER_S)), "nps_type") == "netio"
    except DeviceError:
        return False


def _near(seen: tuple[float, float] | None, altaz: Sequence[float]) -> bool:
    """Whether two directions (altitude, azimuth in degrees) are the same."""
    if seen is None:
        return False
    one, other = math.radians(seen[0]), math.radians(altaz[0])
    cosine = math.sin(one) * math.sin(other)
    cosine += math.cos(one) * math.cos(other) * math.cos(math.radians(seen[1] - altaz[1]))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine)))) < NEAR_DEG
