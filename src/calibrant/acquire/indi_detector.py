"""Cameras and receivers of an INDI server: exposures followed by the driver's reports, frames as FITS in BLOBs.

The clock of the exposure is this machine's: it starts with the command and ends with the count-down at zero or with
the frame. So the measured time holds the way there and back and a part of the driver's polling period.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrant.acquire import indi
from calibrant.acquire.clock import all_of, shielded
from calibrant.acquire.devices import CaptureSpec, DeviceBusy, DeviceLost, DeviceRefused, DeviceTimeout, Frame
from calibrant.acquire.indi import IndiDevice, Link
from calibrant.acquire.indi_xml import Property, Value
from calibrant.acquire.inventory import Inventory
from calibrant.errors import DeviceError, ParameterError

STOP_S = 10.0
WITHDRAW_S = 1.0
"""An exposure that is cancelled while it begins is waited for so long, in order to be stopped."""
GRACE_S = 10.0
"""After the end of the exposure time the count-down must be at zero."""
STALL_S = 30.0
"""A count-down that began must go on."""
READ_S = 60.0
"""A frame must have come so long after its expected time for reading out."""
BLOCK = 2880
"""Of FITS, bytes."""
T = TypeVar("T")
_LEFT_OUT = ("SIMPLE", "BITPIX", "EXTEND", "BZERO", "BSCALE", "COMMENT", "HISTORY", "END", "")


@dataclass(frozen=True)
class Names:
    """What libindi calls the properties of one kind of detector."""

    exposure: str
    seconds: str
    abort: str
    blob: str


KINDS = {
    "ccd": Names("CCD_EXPOSURE", "CCD_EXPOSURE_VALUE", "CCD_ABORT_EXPOSURE", "CCD1"),
    "sensor": Names("SENSOR_INTEGRATION", "SENSOR_INTEGRATION_VALUE", "SENSOR_ABORT_INTEGRATION", "SENSOR"),
}
FRAME_TYPES = {
    "bias": "FRAME_BIAS",
    "dark": "FRAME_DARK",
    "flat": "FRAME_FLAT",
    "arc": "FRAME_LIGHT",
    "object": "FRAME_LIGHT",
}
"""INDI has no type for arcs: the shutter is open, and our own header says what it is."""
SETTINGS: dict[str, Callable[[Any], tuple[str, dict[str, Value]]]] = {
    "binning": lambda value: ("CCD_BINNING", dict(zip(("HOR_BIN", "VER_BIN"), _pair(value), strict=True))),
    "window": lambda value: ("CCD_FRAME", dict(zip(("X", "Y", "WIDTH", "HEIGHT"), map(float, value), strict=True))),
    "gain": lambda value: ("CCD_GAIN", {"GAIN": float(value)}),
    "offset": lambda value: ("CCD_OFFSET", {"OFFSET": float(value)}),
}
"""Options of a frame -> property and its elements."""
OPTIONS = ("devices", "kind", "settings", "sees_lights")
"""Of `detector.address`."""
NOTES = ("phase", "repetition")
"""Options that say what a frame is for; nothing is set for them."""


def _pair(value: Any) -> tuple[float, float]:
    first, second = value if isinstance(value, list | tuple) else (value, value)
    return float(first), float(second)


class Integration:
    """One exposure of one camera, under way: follows the driver's reports to the frame."""

    def __init__(
        self, head: Head, watch: indi.Watch, begin: float, first: Property, bias: bool, limits_s: tuple[float, float]
    ) -> None:
        self._head, self._watch, self._begin, self._bias, self._limits = head, watch, begin, bias, limits_s
        self._blob: Property | None = None
        self._finished = first.state == "Ok"
        self.aborted = False
        self._integrated = asyncio.ensure_future(self._integrate())
        self.frame = asyncio.ensure_future(self._read())
        for task in (self._integrated, self.frame):
            # Who never asks for the frame need not hear of its end.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def closed(self) -> bool:
        """The shutter is closed, or nobody will hear of it any more."""
        return self._integrated.done()

    async def integrated(self) -> None:
        await asyncio.shield(self._integrated)

    async def read(self) -> Frame:
        frame = await asyncio.shield(self.frame)
        if self.aborted:
            raise self._gone()
        return frame

    async def give_up(self) -> None:
        """Stop the hardware, unless the frame is there, nobody answers any more, or another exposure has begun."""
        error = self.frame.exception() if self.frame.done() else None
        if self._head.current is self and not isinstance(error, DeviceLost) and (error or not self.frame.done()):
            await self._head.abort()

    def abandon(self) -> None:
        """The hardware was stopped: nothing of this exposure is delivered, whatever has come already."""
        self.aborted = True
        self._watch.put(self._gone())

    def _gone(self) -> DeviceRefused:
        return DeviceRefused(f"{self._head.name}: the exposure was aborted")

    async def _integrate(self) -> float:
        """UTC of the shutter's closing."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits[0]
        stall, left = math.inf, math.nan
        while not self._finished and self._blob is None:
            report = await self._next(min(deadline, stall), "the exposure does not end")
            seconds = report.values.get(self._head.names.seconds)
            if report.name == self._head.names.exposure and isinstance(seconds, float):
                if seconds <= 0:
                    break
                if seconds != left:
                    stall, left = (math.inf if math.isnan(left) else loop.time() + STALL_S), seconds
        return time.time()

    async def _read(self) -> Frame:
        try:
            end = await self._integrated
            deadline = asyncio.get_running_loop().time() + self._limits[1]
            while self._blob is None or not self._finished:
                await self._next(deadline, "no frame came (has somebody set UPLOAD_MODE to local?)")
            return await self._head.frame(self._blob, self._begin, end, self._bias)
        finally:
            self._watch.close()

    async def _next(self, deadline: float, what: str) -> Property:
        """The next report, taken note of. DeviceRefused where the driver gave up or somebody else stopped it."""
        try:
            async with asyncio.timeout_at(deadline):
                report = await self._watch.next()
        except TimeoutError:
            raise DeviceTimeout(f"{self._head.device}: {what}") from None
        if report.name == self._head.names.blob:
            self._blob = report if any(report.values.values()) else self._blob
        elif report.state == "Ok":
            self._finished = True
        elif report.state in ("Alert", "Idle"):
            why = "failed" if report.state == "Alert" else "was stopped by somebody else"
            raise DeviceRefused(f"{self._head.device}: the exposure {why}; {report.message or 'no message'}")
        return report


class Head(IndiDevice):
    """One camera or receiver."""

    def __init__(self, link: Link, name: str, device: str, names: Names, inventory: Inventory, speed: float) -> None:
        super().__init__(link, name, device)
        self.names = names
        self._readout_s, self._speed = inventory.detector.readout_s, speed
        self._defaults: dict[str, Mapping[str, Value]] = {}
        self.current: Integration | None = None
        self._asked = False
        """To begin; no answer yet."""

    @property
    def exposing(self) -> bool:
        """An exposure begun here has its shutter open."""
        return self._asked or (self.current is not None and not self.current.closed)

    async def prepare(self, settings: Mapping[str, Mapping[str, Value]]) -> None:
        """Idle, its frames sent to us, as FITS; what it is set to then becomes the default of all frames."""
        client = await self._idle_client()
        await client.defined(self.device, self.names.blob)
        wishes: list[tuple[str, dict[str, Value]]] = [
            ("UPLOAD_MODE", {"UPLOAD_CLIENT": True}),
            ("CCD_TRANSFER_FORMAT", {"FORMAT_FITS": True}),
            ("CCD_COMPRESSION", {"INDI_DISABLED": True}),
        ]
        for name, values in wishes:
            if (self.device, name) in client.properties:
                await client.set(self.device, name, values)
        for name, given in settings.items():
            await client.set(self.device, name, given)
        for name in ("CCD_BINNING", "CCD_FRAME", "CCD_GAIN", "CCD_OFFSET"):
            if (self.device, name) in client.properties:
                self._defaults[name] = (await client.ask(self.device, name)).values

    async def start(self, spec: CaptureSpec) -> Integration:
        """Begin to integrate; returns once the driver says Busy. Where that fails, nothing goes on."""
        if self.current is not None:
            await asyncio.wait({self.current.frame})
        client = await self._idle_client()
        await self._configure(client, spec)
        await client.enable_blob(self.device, self.names.blob)
        least, _ = client.properties[self.device, self.names.exposure].limits.get(self.names.seconds, (0.0, 0.0))
        seconds = max(spec.exposure_s / self._speed, least)
        watch = client.watch(self.device, self.names.exposure, self.names.blob)
        self._asked = True
        begin = time.time()
        try:
            await client.send(self.device, self.names.exposure, {self.names.seconds: seconds})
            first = await watch.until(self._began, indi.ANSWER_S, "the exposure does not begin")
        except (asyncio.CancelledError, DeviceError) as error:
            await shielded(self._withdraw(watch, isinstance(error, asyncio.CancelledError)))
            raise
        finally:
            self._asked = False
        limits = (seconds + GRACE_S, self._readout_s + READ_S)
        self.current = Integration(self, watch, begin, first, spec.kind == "bias", limits)
        return self.current

    async def _withdraw(self, watch: indi.Watch, expected: bool) -> None:
        """Stop an exposure of which it is not known whether it has begun; `expected`: its beginning is waited for."""
        with contextlib.suppress(DeviceError):
            if expected:
                await watch.until(self._began, WITHDRAW_S, "the exposure does not begin")
        watch.close()
        with contextlib.suppress(DeviceError):
            await self.abort()

    async def _idle_client(self) -> indi.Client:
        """DeviceBusy where an exposure goes on that this program has not begun, or has forgotten."""
        client = await self.link.ready(self.device)
        await client.defined(self.device, self.names.exposure)
        now = await client.ask(self.device, self.names.exposure)
        if now.state == "Busy":
            left = now.number(self.names.seconds)
            stop = f"indi_setprop '{self.device}.{self.names.abort}.ABORT=On'"
            raise DeviceBusy(f"{self.device} is exposing, {left:.0f} s are left; wait, or stop it: {stop}")
        return client

    def _began(self, report: Property) -> bool:
        return report.name == self.names.exposure and not report.defined and report.state in ("Busy", "Ok")

    async def _configure(self, client: indi.Client, spec: CaptureSpec) -> None:
        unknown = sorted(set(spec.options) - set(SETTINGS) - set(NOTES))
        if unknown:
            raise DeviceRefused(f"{self.device}: no option {', '.join(unknown)}; there are {', '.join(SETTINGS)}")
        wishes = {name: dict(values) for name, values in self._defaults.items()}
        for option, value in ((option, spec.options[option]) for option in SETTINGS if option in spec.options):
            name, values = SETTINGS[option](value)
            wishes[name] = values
        if (self.device, "CCD_FRAME_TYPE") in client.properties:
            wishes["CCD_FRAME_TYPE"] = {FRAME_TYPES[spec.kind]: True}
        for name, values in wishes.items():
            now = (await client.defined(self.device, name)).values
            if any(now.get(element) != value for element, value in values.items()):
                await client.set(self.device, name, values)

    async def abort(self) -> None:
        """Stop, and see it idle. What was being taken is thrown away."""
        if self.current is not None:
            self.current.abandon()
        client = await self.link.ready(self.device)
        await client.defined(self.device, self.names.exposure)
        with client.watch(self.device, self.names.exposure, self.names.abort) as watch:
            if (await client.ask(self.device, self.names.exposure)).state == "Busy":
                await client.send(self.device, self.names.abort, {"ABORT": True})
                await watch.until(self._ended, STOP_S, "the exposure does not stop")
        if self.current is not None:
            await asyncio.wait({self.current.frame})

    def _ended(self, report: Property) -> bool:
        return report.name == self.names.exposure and not report.defined and report.state in ("Idle", "Ok")

    async def is_idle(self) -> bool:
        client = await self.link.ready(self.device)
        await client.defined(self.device, self.names.exposure)
        busy = (await client.ask(self.device, self.names.exposure)).state == "Busy"
        return not busy and (self.current is None or self.current.frame.done())

    async def frame(self, report: Property, begin: float, end: float, bias: bool) -> Frame:
        """The frame in a BLOB. DeviceRefused where it is not the FITS file it should be."""
        (name,) = [element for element, content in report.values.items() if content]
        content = report.values[name]
        try:
            if not isinstance(content, bytes) or not report.formats.get(name, "").startswith(".fits"):
                raise ValueError(f"format {report.formats.get(name)!r}, expected .fits")
            data, header = await asyncio.to_thread(read_fits, content)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DeviceRefused(f"{self.device} delivered a frame that cannot be read: {error}") from None
        # A bias lasts as long as the hardware makes it, at any speed.
        lasted = (end - begin) * (1.0 if bias else self._speed)
        return Frame(self.name, begin, end, lasted, data=data, header=header)


def read_fits(content: bytes) -> tuple[NDArray[Any], dict[str, tuple[Any, str]]]:
    """The first image (or the first column of a table) and the keywords of a FITS file. ValueError, OSError."""
    from astropy.io import fits

    _check_whole(content)
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        hdu = next((hdu for hdu in hdus if hdu.data is not None), None)
        if hdu is None:
            raise ValueError("no image in it")
        data = hdu.data if hdu.is_image else hdu.data.field(0)
        native = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
        header = {
            card.keyword: (card.value, card.comment)
            for card in hdu.header.cards
            if card.keyword not in _LEFT_OUT and not card.keyword.startswith("NAXIS")
        }
    return native, header


def _check_whole(content: bytes) -> None:
    """ValueError where the file is shorter than its headers say (astropy only warns)."""
    from astropy.io import fits

    stream, end = io.BytesIO(content), 0
    while end < len(content):
        stream.seek(end)
        header = fits.Header.fromfile(stream)
        axes = [header[f"NAXIS{number}"] for number in range(1, header["NAXIS"] + 1)]
        elements = header.get("GCOUNT", 1) * (header.get("PCOUNT", 0) + math.prod(axes)) if axes else 0
        size = elements * abs(header["BITPIX"]) // 8
        end = stream.tell() + math.ceil(size / BLOCK) * BLOCK
        if end > len(content):
            raise ValueError(f"truncated: {len(content)} bytes came, its header speaks of {end}")


class Joint:
    """The exposure of all cameras."""

    def __init__(self, parts: list[Integration]) -> None:
        self._parts = parts

    async def integrated(self) -> None:
        await self._guarded(part.integrated() for part in self._parts)

    async def read(self) -> list[Frame]:
        return await self._guarded(part.read() for part in self._parts)

    async def _guarded(self, works: Iterable[Awaitable[T]]) -> list[T]:
        """All results; at the first failure, or when it is cancelled, the hardware is stopped first."""
        try:
            return await asyncio.gather(*works)
        except (asyncio.CancelledError, DeviceError):
            with contextlib.suppress(DeviceError):
                await shielded(all_of(part.give_up() for part in self._parts))
            raise


class IndiDetector:
    """Cameras (or receivers) that are exposed together."""

    def __init__(self, link: Link, inventory: Inventory, speed: float) -> None:
        where = f"inventory {inventory.name}: detector.address"
        options = indi.known_options(inventory.detector.address, OPTIONS, where)
        kind = options.get("kind", "ccd")
        if kind not in KINDS:
            raise ParameterError(f"{where}.kind {kind!r}: expected {' or '.join(KINDS)}")
        self.cameras = tuple(inventory.detector.cameras)
        self.name = ", ".join(self.cameras)
        self.light_tight = inventory.detector.light_tight
        self.sees_lights = bool(options.get("sees_lights", True))
        self._settings: Mapping[str, Mapping[str, Value]] = options.get("settings", {})
        devices = options.get("devices", {})
        self.heads = [
            Head(link, camera, devices.get(camera, camera), KINDS[kind], inventory, speed) for camera in self.cameras
        ]

    async def prepare(self) -> None:
        await all_of(head.prepare(self._settings) for head in self.heads)
        # Slow, and the first frame must not wait for it.
        await asyncio.to_thread(importlib.import_module, "astropy.io.fits")

    async def expose(self, spec: CaptureSpec) -> Joint:
        """Start all cameras. Where one fails, or when this is cancelled, those that run are stopped first."""
        busy = [head.name for head in self.heads if head.exposing]
        if busy:
            raise DeviceBusy(f"{', '.join(busy)}: an exposure is under way; {spec.key} cannot begin")
        starts = [asyncio.ensure_future(head.start(spec)) for head in self.heads]
        try:
            return Joint(await all_of(starts))
        except (asyncio.CancelledError, DeviceError):
            with contextlib.suppress(DeviceError):
                await shielded(self._unwind(starts))
            raise

    async def _unwind(self, starts: list[asyncio.Task[Integration]]) -> None:
        await asyncio.wait(starts)
        await all_of(start.result().give_up() for start in starts if not start.cancelled() and not start.exception())

    async def abort(self) -> None:
        await all_of(head.abort() for head in self.heads)

    async def is_idle(self) -> bool:
        return all(await all_of(head.is_idle() for head in self.heads))

    async def status(self) -> dict[str, Any]:
        names = ("CCD_TEMPERATURE", "CCD_FRAME_TYPE", "CCD_BINNING")
        states = await all_of(head.states(head.names.exposure, *names) for head in self.heads)
        return dict(zip(self.cameras, states, strict=True))

    def describe(self) -> dict[str, Any]:
        return {"driver": "indi", "cameras": {head.name: head.describe() for head in self.heads}}
