"""INDI devices: cameras and receivers, flat panels and switches, wheels, mounts, by an indiserver.

In an inventory:

    address: {host: 127.0.0.1, port: 7624}
    lamps: {NAME: {address: {device: ..., property: FLAT_LIGHT_CONTROL, on: FLAT_LIGHT_ON, off: FLAT_LIGHT_OFF,
                             intensity_property: FLAT_LIGHT_INTENSITY, intensity_element: FLAT_LIGHT_INTENSITY_VALUE,
                             intensity: what it burns with where the sequence does not say}}}
    detector: {cameras: [names], address: {devices: {camera: device}, kind: ccd | sensor,
                                           settings: {PROPERTY: {ELEMENT: what it is set to before a run}},
                                           sees_lights: false for a simulated camera beside a simulated lamp}}
    mask: {places: {name: slot}, address: {device: ...}}
    positions: {name: {device of the mount: [altitude, azimuth]}, park: {}}      # park: the mount's own
    interlocks: {name: {device: ..., property: ..., element: a switch that must be on; without: state Ok or Idle}}

INDI cannot stop a wheel: a move that is cancelled ends at its place, and the cancellation waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from calibrant.acquire import indi
from calibrant.acquire.altaz import equatorial, separation, sidereal_time
from calibrant.acquire.clock import shielded
from calibrant.acquire.devices import DeviceRefused, LightState, Observatory
from calibrant.acquire.indi import IndiDevice, Link, known_options
from calibrant.acquire.indi_detector import IndiDetector
from calibrant.acquire.indi_xml import Property
from calibrant.acquire.inventory import Inventory, LampEntry, Mask
from calibrant.errors import DeviceError, ParameterError

STOP_S = 10.0
TURN_S = 60.0
"""A wheel may take so long."""
SLEW_S = 300.0
NEAR_DEG = 0.1
"""A mount so near to a named position is there."""
PARK = "park"
TRACKING = "TELESCOPE_TRACK_STATE"
COORDINATES = "EQUATORIAL_EOD_COORD"


async def connect(
    inventory: Inventory, *, speed: float = 1.0, host: str | None = None, port: int | None = None
) -> Observatory:
    """Connect to the server and to the devices. DeviceLost where no server answers.

    A device that is not there does not stop this: the lights of the others can still be switched off. It is an
    interlock ("devices") that forbids working. `speed` is for simulators only.
    """
    known = known_options(inventory.address, ("host", "port"), f"inventory {inventory.name}: address")
    link = Link(host or str(known.get("host", "127.0.0.1")), port or int(known.get("port", 7624)))
    await link.client()
    lights = {name: IndiLight(link, name, entry) for name, entry in inventory.lamps.items()}
    detector = IndiDetector(link, inventory, speed)
    mask = IndiWheel(link, inventory.mask) if inventory.mask else None
    pointing = IndiMount(link, inventory) if IndiMount.device_of(inventory) else None
    devices = [light.device for light in lights.values()] + [head.device for head in detector.heads]
    devices += [actuator.device for actuator in (mask, pointing) if actuator]
    present = Present(link, tuple(dict.fromkeys(devices)))
    await present.check()
    simulated = [link.simulated(device) for device in present.devices]
    if speed != 1.0 and False in simulated:
        await link.close()
        raise ParameterError(f"speed {speed:g}: inventory {inventory.name} has real devices, they take their own time")
    interlocks = [Condition(link, name, address) for name, address in inventory.interlocks.items()]
    return Observatory(
        name=inventory.name,
        driver="indi",
        lights=dict(lights),
        detector=detector,
        mask=mask,
        pointing=pointing,
        interlocks=(present, *interlocks),
        simulated=all(simulated),
        closers=[link.close],
    )


class IndiLight(IndiDevice):
    """A flat panel, or any switch that burns a lamp or a noise diode."""

    hardware_lease = False

    def __init__(self, link: Link, name: str, entry: LampEntry) -> None:
        self._options = {
            "device": name,
            "property": "FLAT_LIGHT_CONTROL",
            "on": "FLAT_LIGHT_ON",
            "off": "FLAT_LIGHT_OFF",
            "intensity_property": "FLAT_LIGHT_INTENSITY",
            "intensity_element": "FLAT_LIGHT_INTENSITY_VALUE",
            "intensity": None,
        }
        self._options |= known_options(entry.address, tuple(self._options), f"lamp {name}: address")
        super().__init__(link, name, str(self._options["device"]))

    async def set(self, on: bool, *, intensity: float | None = None, lease_s: float | None = None) -> None:
        """Switch and read back. DeviceRefused where it is not as asked."""
        client = await self.link.ready(self.device)
        await client.defined(self.device, self._word("property"))
        level = intensity if intensity is not None else self._options["intensity"]
        if on and level is not None:
            levels = {self._word("intensity_element"): float(level)}
            await client.set(self.device, self._word("intensity_property"), levels)
        await client.set(self.device, self._word("property"), {self._word("on" if on else "off"): True})
        state = await self.read()
        if state is not (LightState.ON if on else LightState.OFF):
            raise DeviceRefused(f"{self.name}: switched {'on' if on else 'off'}, but {self.device} says {state.value}")

    async def read(self) -> LightState:
        client = await self.link.ready(self.device)
        await client.defined(self.device, self._word("property"))
        report = await client.ask(self.device, self._word("property"))
        on, off = report.on(self._word("on")), report.on(self._word("off"))
        if report.state in ("Busy", "Alert") or on == off:
            return LightState.UNKNOWN
        return LightState.ON if on else LightState.OFF

    async def status(self) -> dict[str, Any]:
        return await self.states(self._word("property"), self._word("intensity_property"))

    def _word(self, key: str) -> str:
        return str(self._options[key])


class IndiWheel(IndiDevice):
    """A filter wheel used as a mask: places are slots."""

    def __init__(self, link: Link, mask: Mask) -> None:
        address = known_options(mask.address, ("device",), "mask: address")
        super().__init__(link, "mask", str(address.get("device", "")))
        self.places: Mapping[str, float] = dict(mask.places)

    async def move(self, to: str) -> None:
        slot = _place(self.name, self.places, to)
        if await self.position() == to:
            return
        client = await self.link.ready(self.device)
        try:
            with client.watch(self.device, "FILTER_SLOT") as watch:
                await client.send(self.device, "FILTER_SLOT", {"FILTER_SLOT_VALUE": slot})
                await watch.until(lambda report: _in_slot(report, slot), TURN_S, f"does not reach {to}")
        except asyncio.CancelledError:
            with contextlib.suppress(DeviceError):
                await shielded(self.stop())
            raise

    async def stop(self) -> None:
        """INDI cannot stop a wheel: waits until it is at rest."""
        client = await self.link.ready(self.device)
        with client.watch(self.device, "FILTER_SLOT") as watch:
            if (await client.ask(self.device, "FILTER_SLOT")).state == "Busy":
                await watch.until(_at_rest, STOP_S, "the wheel does not come to rest")

    async def position(self) -> str:
        client = await self.link.ready(self.device)
        await client.defined(self.device, "FILTER_SLOT")
        report = await client.ask(self.device, "FILTER_SLOT")
        slot = report.number("FILTER_SLOT_VALUE")
        if report.state == "Busy":
            return ""
        return next((name for name, place in self.places.items() if place == slot), "")

    async def status(self) -> dict[str, Any]:
        return await self.states("FILTER_SLOT")


def _in_slot(report: Property, slot: float) -> bool:
    return report.state == "Ok" and report.number("FILTER_SLOT_VALUE") == slot


def _at_rest(report: Property) -> bool:
    return not report.defined and report.state != "Busy"


def _place(what: str, places: Mapping[str, float], name: str) -> float:
    if name not in places:
        raise DeviceRefused(f"{what} has no place {name!r}; it has {', '.join(places)}")
    return places[name]


class IndiMount(IndiDevice):
    """A mount with pointings given by altitude and azimuth. There it stands still, it does not follow the sky."""

    def __init__(self, link: Link, inventory: Inventory) -> None:
        super().__init__(link, "pointing", self.device_of(inventory))
        self._targets = {name: entry.get(self.device) for name, entry in inventory.positions.items()}
        self.places: Mapping[str, float] = {name: float(order) for order, name in enumerate(self._targets)}

    @staticmethod
    def device_of(inventory: Inventory) -> str:
        """The mount that the named positions speak of; empty where there is none."""
        devices = sorted({device for entry in inventory.positions.values() for device in entry})
        if len(devices) > 1:
            raise ParameterError(f"inventory {inventory.name}: positions of {', '.join(devices)}; INDI moves one mount")
        unknown = [name for name, entry in inventory.positions.items() if not entry and name != PARK]
        if devices and unknown:
            raise ParameterError(f"inventory {inventory.name}: positions {', '.join(unknown)} have no coordinates")
        return devices[0] if devices else ""

    async def move(self, to: str) -> None:
        _place(self.name, self.places, to)
        client = await self.link.ready(self.device)
        await client.defined(self.device, COORDINATES)
        target = self._targets[to]
        try:
            if await self.position() != to:
                await (self._park(client) if target is None else self._point(client, to, *target))
            if target is not None and (self.device, TRACKING) in client.properties:
                await client.set(self.device, TRACKING, {"TRACK_OFF": True})
        except asyncio.CancelledError:
            with contextlib.suppress(DeviceError):
                await shielded(self.stop())
            raise
        if await self.position() != to:
            raise DeviceRefused(f"{self.device}: it ended its motion, but it is not at {to}")

    async def _park(self, client: indi.Client) -> None:
        with client.watch(self.device, "TELESCOPE_PARK") as watch:
            await client.send(self.device, "TELESCOPE_PARK", {"PARK": True})
            await watch.until(_parked, SLEW_S, "does not park")

    async def _point(self, client: indi.Client, to: str, altitude: float, azimuth: float) -> None:
        if (await client.ask(self.device, "TELESCOPE_PARK")).on("PARK"):
            await client.set(self.device, "TELESCOPE_PARK", {"UNPARK": True})
        await client.set(self.device, "ON_COORD_SET", {"SLEW": True})
        latitude, longitude = await self._site(client)
        right_ascension, declination = equatorial(altitude, azimuth, latitude, sidereal_time(time.time(), longitude))
        with client.watch(self.device, COORDINATES) as watch:
            await client.send(self.device, COORDINATES, {"RA": right_ascension / 15, "DEC": declination})
            await watch.until(lambda report: report.state == "Busy", indi.ANSWER_S, f"does not start for {to}")
            await watch.until(lambda report: report.state in ("Ok", "Idle"), SLEW_S, f"does not reach {to}")

    async def stop(self) -> None:
        """Stop at once, and see it at rest."""
        client = await self.link.ready(self.device)
        await client.set(self.device, "TELESCOPE_ABORT_MOTION", {"ABORT": True})
        with client.watch(self.device, COORDINATES) as watch:
            if (await client.ask(self.device, COORDINATES)).state == "Busy":
                await watch.until(_at_rest, STOP_S, "does not stop")

    async def position(self) -> str:
        client = await self.link.ready(self.device)
        await client.defined(self.device, COORDINATES)
        report, parking = await client.ask(self.device, COORDINATES), await client.ask(self.device, "TELESCOPE_PARK")
        if report.state == "Busy":
            return ""
        latitude, longitude = await self._site(client)
        sidereal = sidereal_time(time.time(), longitude)
        for name, target in self._targets.items():
            if target is None:
                if _parked(parking):
                    return name
            else:
                altitude, azimuth = target
                there = equatorial(altitude, azimuth, latitude, sidereal)
                if separation(there, (report.number("RA") * 15, report.number("DEC"))) < NEAR_DEG:
                    return name
        return ""

    async def status(self) -> dict[str, Any]:
        return await self.states(COORDINATES, "TELESCOPE_PARK", TRACKING)

    async def _site(self, client: indi.Client) -> tuple[float, float]:
        """Latitude and longitude as the mount has them: by them it finds the horizon."""
        site = await client.defined(self.device, "GEOGRAPHIC_COORD")
        return site.number("LAT"), site.number("LONG")


def _parked(report: Property) -> bool:
    return report.state in ("Ok", "Idle") and report.on("PARK")


class Present:
    """Interlock: all devices are at the server, and their drivers are connected to them."""

    name = "devices"

    def __init__(self, link: Link, devices: tuple[str, ...]) -> None:
        self._link, self.devices = link, devices

    async def check(self) -> list[str]:
        results = await asyncio.gather(*(self._link.ready(device) for device in self.devices), return_exceptions=True)
        return [str(result) for result in results if isinstance(result, DeviceError)]


class Condition:
    """Interlock: a switch of some device is on, or a property is in state Ok or Idle."""

    def __init__(self, link: Link, name: str, address: Mapping[str, Any]) -> None:
        self.name, self._link = name, link
        self._address = known_options(address, ("device", "property", "element"), f"interlock {name}")

    async def check(self) -> list[str]:
        device, property_name = str(self._address.get("device")), str(self._address.get("property"))
        element = self._address.get("element")
        try:
            client = await self._link.ready(device)
            await client.defined(device, property_name)
            report = await client.ask(device, property_name)
            met = report.on(element) if element else report.state in ("Ok", "Idle")
        except DeviceError as error:
            return [f"{self.name}: not known: {error}"]
        wanted = f"{element} is not on" if element else f"is in state {report.state}"
        return [] if met else [f"{self.name}: {device}: {property_name} {wanted}"]
