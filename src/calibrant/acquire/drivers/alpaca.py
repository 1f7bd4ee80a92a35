"""Driver `alpaca`: cameras, flat panels, switches, wheels and mounts of ASCOM Alpaca servers, over HTTP.

In an inventory (devices are TYPE/NUMBER, as in the addresses of the server):

    address: {url: "http://127.0.0.1:11111"}
    lamps: {NAME: {address: {device: covercalibrator/0, brightness: what it burns with where the sequence does not say,
                             cover: closed | open (where the cover has to be before the lamp burns)}},
            NAME: {address: {device: switch/0, id: 3, brightness: ...}}}
    detector: {cameras: [names], address: {devices: {camera: camera/0}, sees_lights: false for a simulated camera}}
    mask: {places: {name: slot, from 0}, address: {device: filterwheel/0}}
    positions: {name: {telescope/0: [altitude, azimuth]}, park: {}}          # park: the mount's own
    interlocks: {name: {device: safetymonitor/0}, name: {device: dome/0, shutter: open | closed}}

Every answer's ErrorNumber is looked at. Alpaca cannot stop a wheel: a move that is cancelled ends at its place, and
the cancellation waits for it. There is no connection to lose: a call that nobody answers is `DeviceLost`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from calibrant.acquire.alpaca import AlpacaDevice, Server, known_options
from calibrant.acquire.alpaca_camera import AlpacaDetector
from calibrant.acquire.altaz import equatorial, separation
from calibrant.acquire.clock import shielded
from calibrant.acquire.devices import DeviceRefused, LightState, Observatory
from calibrant.errors import DeviceError, ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory, LampEntry, Mask

LOCAL = "http://127.0.0.1:11111"
SETTLE_S = 10.0
"""A lamp may take so long to say that it is off, a mount that it stands."""
TURN_S = 60.0
SLEW_S = 300.0
NEAR_DEG = 0.1
LIGHT_STATES = {1: LightState.OFF, 2: LightState.WARMING, 3: LightState.ON}
"""CalibratorState; 0 not present, 4 unknown and 5 error say nothing on the lamp."""
COVER_STATES = {"closed": 1, "open": 3}
COVER_ABSENT, COVER_BROKEN = 0, 5
SHUTTER_STATES = {"open": 0, "closed": 1}


async def connect(inventory: Inventory, *, speed: float = 1.0, url: str | None = None) -> Observatory:
    """Find the server and its devices. DeviceLost where no server answers.

    A device that is not there does not stop this: the lights of the others can still be switched off. It is an
    interlock ("devices") that forbids working. `speed` is for simulators only.
    """
    address = known_options(inventory.address, {"url": LOCAL}, f"inventory {inventory.name}: address")
    server = Server(url or str(address["url"]))
    lights = {name: _light(server, name, entry) for name, entry in inventory.lamps.items()}
    detector = AlpacaDetector(server, inventory, speed)
    mask = AlpacaWheel(server, inventory.mask) if inventory.mask else None
    pointing = AlpacaMount(server, inventory) if AlpacaMount.device_of(inventory) else None
    devices: list[AlpacaDevice] = [*lights.values(), *detector.heads]
    devices += [actuator for actuator in (mask, pointing) if actuator is not None]
    present = Present(devices)
    try:
        await server.reach()
        await present.check()
        simulated = all(device.simulated for device in devices if device.about)
        if speed != 1.0 and not simulated:
            raise ParameterError(f"speed {speed:g}: inventory {inventory.name} has real devices: they take their time")
    except BaseException:
        await server.close()
        raise
    conditions = [Condition(server, name, entry) for name, entry in inventory.interlocks.items()]
    return Observatory(
        name=inventory.name,
        driver="alpaca",
        lights=dict(lights),
        detector=detector,
        mask=mask,
        pointing=pointing,
        interlocks=(present, *conditions),
        simulated=simulated,
        closers=[server.close],
    )


def _light(server: Server, name: str, entry: LampEntry) -> AlpacaPanel | AlpacaSwitch:
    defaults = {"device": "covercalibrator/0", "id": None, "brightness": None, "cover": None}
    options = known_options(entry.address, defaults, f"lamp {name}: address")
    if options["cover"] not in (None, *COVER_STATES):
        raise ParameterError(f"lamp {name}: address.cover {options['cover']!r}: expected {' or '.join(COVER_STATES)}")
    is_switch = str(options["device"]).lower().startswith("switch/")
    if is_switch != (options["id"] is not None):
        raise ParameterError(f"lamp {name}: address.id: a switch needs its number there, and only a switch")
    return AlpacaSwitch(server, name, options) if is_switch else AlpacaPanel(server, name, options)


class AlpacaPanel(AlpacaDevice):
    """The lamp of a CoverCalibrator."""

    hardware_lease = False

    def __init__(self, server: Server, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(server, name, str(options["device"]))
        self._brightness, self._cover = options["brightness"], options["cover"]

    async def set(self, on: bool, *, intensity: float | None = None, lease_s: float | None = None) -> None:
        """Switch and read back, the cover first. DeviceRefused where it is not as asked."""
        await self.ready()
        if not on:
            await self.put("calibratoroff")
            await self.until(self._is_off, SETTLE_S, "does not say that it is off")
            return
        if self._cover:
            await self._move_cover(self._cover)
        level = intensity if intensity is not None else self._brightness
        level = round(level if level is not None else await self.get("maxbrightness"))
        await self.put("calibratoron", Brightness=level)
        if await self.read() not in (LightState.ON, LightState.WARMING):
            raise DeviceRefused(f"{self.name}: switched on, but CalibratorState is {await self.get('calibratorstate')}")
        if (is_at := await self.get("brightness")) != level:
            raise DeviceRefused(f"{self.name}: brightness {level} was asked for, and {is_at} is read back")

    async def _is_off(self) -> bool:
        return await self.read() is LightState.OFF

    async def _move_cover(self, to: str) -> None:
        wanted = COVER_STATES[to]
        if await self.get("coverstate") == wanted:
            return
        try:
            await self.put("closecover" if to == "closed" else "opencover")
            await self.until(lambda: self._cover_is(wanted), TURN_S, f"the cover is not {to}")
        except asyncio.CancelledError:
            with contextlib.suppress(DeviceError):
                await shielded(self.put("haltcover"))
            raise

    async def _cover_is(self, wanted: int) -> bool:
        state = await self.get("coverstate")
        if state in (COVER_ABSENT, COVER_BROKEN):
            raise DeviceRefused(f"{self.name}: {'has no cover' if state == COVER_ABSENT else 'the cover has an error'}")
        return bool(state == wanted)

    async def read(self) -> LightState:
        await self.ready()
        return LIGHT_STATES.get(await self.get("calibratorstate"), LightState.UNKNOWN)

    async def status(self) -> dict[str, Any]:
        return await self.states("calibratorstate", "brightness", "maxbrightness", "coverstate")


class AlpacaSwitch(AlpacaDevice):
    """A lamp on one of the outlets of a Switch."""

    hardware_lease = False

    def __init__(self, server: Server, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(server, name, str(options["device"]))
        self._id, self._level = int(options["id"]), options["brightness"]

    async def set(self, on: bool, *, intensity: float | None = None, lease_s: float | None = None) -> None:
        """Switch and read back. DeviceRefused where it is not as asked."""
        await self.ready()
        level = intensity if intensity is not None else self._level
        if on and level is not None:
            await self.put("setswitchvalue", Id=self._id, Value=float(level))
        else:
            await self.put("setswitch", Id=self._id, State=on)
        state = await self.read()
        if state is not (LightState.ON if on else LightState.OFF):
            raise DeviceRefused(
                f"{self.name}: switched {'on' if on else 'off'}, but switch {self._id} is {state.value}"
            )

    async def read(self) -> LightState:
        await self.ready()
        return LightState.ON if await self.get("getswitch", Id=self._id) else LightState.OFF

    async def status(self) -> dict[str, Any]:
        return {
            "name": await self.get("getswitchname", Id=self._id),
            "value": await self.get("getswitchvalue", Id=self._id),
        }


class AlpacaWheel(AlpacaDevice):
    """A filter wheel used as a mask: places are slots, from 0."""

    def __init__(self, server: Server, mask: Mask) -> None:
        options = known_options(mask.address, {"device": "filterwheel/0"}, "mask: address")
        super().__init__(server, "mask", str(options["device"]))
        self.places: Mapping[str, float] = dict(mask.places)

    async def move(self, to: str) -> None:
        slot = _place(self.name, self.places, to)
        await self.ready()
        try:
            await self.put("position", Position=int(slot))
            await self.until(lambda: self._is_at(slot), TURN_S, f"does not reach {to}")
        except asyncio.CancelledError:
            with contextlib.suppress(DeviceError):
                await shielded(self.stop())
            raise

    async def _is_at(self, slot: float) -> bool:
        return bool(await self.get("position") == slot)

    async def stop(self) -> None:
        """Alpaca cannot stop a wheel: waits until it is at rest."""
        await self.ready()
        await self.until(self._at_rest, TURN_S, "does not come to rest")

    async def _at_rest(self) -> bool:
        return bool(await self.get("position") >= 0)

    async def position(self) -> str:
        await self.ready()
        slot = await self.get("position")
        return next((name for name, place in self.places.items() if place == slot), "")

    async def status(self) -> dict[str, Any]:
        return await self.states("position", "names")


def _place(what: str, places: Mapping[str, float], name: str) -> float:
    if name not in places:
        raise DeviceRefused(f"{what} has no place {name!r}; it has {', '.join(places)}")
    return places[name]


class AlpacaMount(AlpacaDevice):
    """A mount with named pointings, altitude and azimuth: there it stands still, it does not follow the sky."""

    def __init__(self, server: Server, inventory: Inventory) -> None:
        super().__init__(server, "pointing", self.device_of(inventory))
        key = self.device_of(inventory)
        self._targets = {name: entry.get(key) for name, entry in inventory.positions.items()}
        self.places: Mapping[str, float] = {name: float(order) for order, name in enumerate(self._targets)}

    @staticmethod
    def device_of(inventory: Inventory) -> str:
        """The mount that the named positions speak of; empty where there is none."""
        devices = sorted({device for entry in inventory.positions.values() for device in entry})
        if len(devices) > 1:
            raise ParameterError(f"inventory {inventory.name}: positions of {', '.join(devices)}; one mount is moved")
        return devices[0] if devices else ""

    async def move(self, to: str) -> None:
        _place(self.name, self.places, to)
        target = self._targets[to]
        await self.ready()
        try:
            await (self._park() if target is None else self._point(to, *target))
        except asyncio.CancelledError:
            with contextlib.suppress(DeviceError):
                await shielded(self.stop())
            raise

    async def _park(self) -> None:
        if not await self.get("atpark"):
            await self.put("park")
            await self.until(lambda: self.get("atpark"), SLEW_S, "does not park")

    async def _point(self, to: str, altitude: float, azimuth: float) -> None:
        if await self.get("atpark"):
            await self.put("unpark")
        if await self.get("canslewaltazasync"):
            await self._follow_the_sky(False)
            await self.put("slewtoaltazasync", Azimuth=azimuth % 360, Altitude=altitude)
        else:
            await self._follow_the_sky(True)
            sidereal = 15.0 * await self.get("siderealtime")
            ra, dec = equatorial(altitude, azimuth, await self.get("sitelatitude"), sidereal)
            await self.put("slewtocoordinatesasync", RightAscension=ra / 15, Declination=dec)
        await self.until(self._at_rest, SLEW_S, f"does not reach {to}")
        await self._follow_the_sky(False)
        if await self.position() != to:
            raise DeviceRefused(f"{self.device}: it ended its motion, but it is not at {to}")

    async def _follow_the_sky(self, on: bool) -> None:
        if await self.get("cansettracking") and await self.get("tracking") != on:
            await self.put("tracking", Tracking=on)

    async def _at_rest(self) -> bool:
        return not await self.get("slewing")

    async def stop(self) -> None:
        """Stop at once, and see it at rest."""
        await self.ready()
        if not await self._at_rest():
            await self.put("abortslew")
            await self.until(self._at_rest, SETTLE_S, "does not stop")

    async def position(self) -> str:
        await self.ready()
        if not await self._at_rest():
            return ""
        if await self.get("atpark"):
            return next((name for name, target in self._targets.items() if target is None), "")
        here = (await self.get("azimuth"), await self.get("altitude"))
        for name, target in self._targets.items():
            if target is not None and separation((target[1], target[0]), here) < NEAR_DEG:
                return name
        return ""

    async def status(self) -> dict[str, Any]:
        return await self.states("altitude", "azimuth", "slewing", "atpark", "tracking")


class Present:
    """Forbids working while a device of the inventory is not there."""

    name = "devices"

    def __init__(self, devices: list[AlpacaDevice]) -> None:
        self._devices = devices

    async def check(self) -> list[str]:
        found = await asyncio.gather(*(device.ready() for device in self._devices), return_exceptions=True)
        if bad := [error for error in found if isinstance(error, BaseException) and not isinstance(error, DeviceError)]:
            raise bad[0]
        return [str(error) for error in found if error is not None]


class Condition:
    """A SafetyMonitor that must say safe, or a dome whose shutter must be as wanted."""

    def __init__(self, server: Server, name: str, entry: Mapping[str, Any]) -> None:
        self.name = name
        options = known_options(entry, {"device": "safetymonitor/0", "shutter": None}, f"interlock {name}")
        self._device = AlpacaDevice(server, name, str(options["device"]))
        self._shutter = options["shutter"]
        if self._device.device.startswith("dome/") != (self._shutter in SHUTTER_STATES):
            raise ParameterError(f"interlock {name}: a dome needs shutter: {' or '.join(SHUTTER_STATES)}")

    async def check(self) -> list[str]:
        await self._device.ready()
        if self._shutter:
            is_so = await self._device.get("shutterstatus") == SHUTTER_STATES[self._shutter]
            return [] if is_so else [f"the shutter of {self._device.device} is not {self._shutter}"]
        return [] if await self._device.get("issafe") else [f"{self._device.device} says that it is not safe"]
