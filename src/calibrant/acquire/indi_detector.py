"""Cameras and receivers of an INDI server: exposures followed by the driver's reports, frames as FITS in BLOBs.

The clock of the exposure is this machine's: it starts with the driver's Busy and ends with the count-down at zero,
so that both ends are late by the network and by the driver's polling period.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from calibrant.acquire import indi
from calibrant.acquire.clock import shielded
from calibrant.acquire.devices import CaptureSpec, DeviceBusy, DeviceLost, DeviceRefused, DeviceTimeout, Frame
from calibrant.acquire.indi import IndiDevice, Link
from calibrant.acquire.indi_xml import Property, Value
from calibrant.acquire.inventory import Inventory
from calibrant.errors import DeviceError, ParameterError

STOP_S = 10.0
GRACE_S = 10.0
"""After the end of the exposure time the count-down must be at zero."""
STALL_S = 30.0
"""A count-down that began must go on."""
READ_S = 60.0
"""A frame must have come so long after its expected time for reading out."""
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
NOTES = ("phase", "repetition")
"""Options that say what a frame is for; nothing is set for them."""


def _pair(value: Any) -> tuple[float, float]:
    first, second = value if isinstance(value, list | tuple) else (value, value)
    return float(first), float(second)


class Integration:
    """One exposure of one camera, under way: follows the driver's reports to the frame."""

    def __init__(
        self, head: Head, watch: indi.Watch, first: Property, bias: bool, limits_s: tuple[float, float]
    ) -> None:
        self._head, self._watch, self._bias, self._limits = head, watch, bias, limits_s
        self._begin = time.time()
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
        self._current: Integration | None = None
        self._ours = False
        """An exposure was begun here and not seen to end."""

    async def prepare(self, polling_ms: float | None) -> None:
        """Idle, its frames sent to us, as FITS; what it is set to becomes the default of later frames."""
        client = await self.link.ready(self.device)
        state = await client.defined(self.device, self.names.exposure)
        if (await client.ask(self.device, self.names.exposure)).state == "Busy":
            raise DeviceBusy(f"{self.device} is exposing; abort that first (state of {state.name}: Busy)")
        await client.defined(self.device, self.names.blob)
        wishes: list[tuple[str, dict[str, Value]]] = [
            ("UPLOAD_MODE", {"UPLOAD_CLIENT": True}),
            ("CCD_TRANSFER_FORMAT", {"FORMAT_FITS": True}),
            ("CCD_COMPRESSION", {"INDI_DISABLED": True}),
        ]
        if polling_ms:
            wishes.append(("POLLING_PERIOD", {"PERIOD_MS": float(polling_ms)}))
        for name, values in wishes:
            if (self.device, name) in client.properties:
                await client.set(self.device, name, values)
        for name in ("CCD_BINNING", "CCD_FRAME", "CCD_GAIN", "CCD_OFFSET"):
            if (self.device, name) in client.properties:
                self._defaults[name] = (await client.ask(self.device, name)).values

    async def start(self, spec: CaptureSpec) -> Integration:
        """Begin to integrate; returns once the driver says Busy."""
        if self._current is not None:
            if not self._current.closed:
                raise DeviceBusy(f"{self.device} is exposing already")
            await asyncio.wait({self._current.frame})
        client = await self.link.ready(self.device)
        await client.defined(self.device, self.names.exposure)
        if (await client.ask(self.device, self.names.exposure)).state == "Busy":
            raise DeviceBusy(f"{self.device} is exposing already")
        await self._configure(client, spec)
        await client.enable_blob(self.device, self.names.blob)
        limits = client.properties[self.device, self.names.exposure].limits.get(self.names.seconds, (0.0, 0.0))
        seconds = max(spec.exposure_s / self._speed, limits[0])
        watch = client.watch(self.device, self.names.exposure, self.names.blob)
        try:
            self._ours = True
            await client.send(self.device, self.names.exposure, {self.names.seconds: seconds})
            first = await watch.until(self._began, indi.ANSWER_S, "the exposure does not begin")
        except BaseException:
            watch.close()
            raise
        self._current = Integration(
            self, watch, first, spec.kind == "bias", (seconds + GRACE_S, self._readout_s + READ_S)
        )
        return self._current

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
        if self._current is not None:
            self._current.abandon()
        client = await self.link.ready(self.device)
        await client.defined(self.device, self.names.exposure)
        with client.watch(self.device, self.names.exposure, self.names.abort) as watch:
            if (await client.ask(self.device, self.names.exposure)).state == "Busy":
                await client.send(self.device, self.names.abort, {"ABORT": True})
                await watch.until(self._ended, STOP_S, "the exposure does not stop")
        if self._current is not None:
            await asyncio.wait({self._current.frame})
        self._ours = False

    async def abort_ours(self) -> None:
        """The same where an exposure was begun here; somebody else's goes on."""
        if self._ours:
            await self.abort()

    def _ended(self, report: Property) -> bool:
        return report.name == self.names.exposure and not report.defined and report.state in ("Idle", "Ok")

    async def is_idle(self) -> bool:
        client = await self.link.ready(self.device)
        await client.defined(self.device, self.names.exposure)
        busy = (await client.ask(self.device, self.names.exposure)).state == "Busy"
        return not busy and (self._current is None or self._current.frame.done())

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

    if len(content) % 2880:
        raise ValueError(f"{len(content)} bytes are not whole FITS blocks of 2880: truncated?")
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


class Joint:
    """The exposure of all cameras."""

    def __init__(self, detector: IndiDetector, parts: list[Integration]) -> None:
        self._detector, self._parts = detector, parts

    async def integrated(self) -> None:
        await self._detector.guarded(asyncio.gather(*(part.integrated() for part in self._parts)))

    async def read(self) -> list[Frame]:
        return await self._detector.guarded(asyncio.gather(*(part.read() for part in self._parts)))


async def _all(works: Iterable[Awaitable[T]]) -> list[T]:
    """All results; the first error only after all have ended."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


class IndiDetector:
    """Cameras (or receivers) that are exposed together."""

    def __init__(self, link: Link, inventory: Inventory, speed: float) -> None:
        where = f"inventory {inventory.name}: detector.address"
        options = indi.known_options(
            inventory.detector.address, ("devices", "kind", "polling_ms", "sees_lights"), where
        )
        kind = options.get("kind", "ccd")
        if kind not in KINDS:
            raise ParameterError(f"{where}.kind {kind!r}: expected {' or '.join(KINDS)}")
        self.cameras = tuple(inventory.detector.cameras)
        self.name = ", ".join(self.cameras)
        self.light_tight = inventory.detector.light_tight
        self.sees_lights = bool(options.get("sees_lights", True))
        self._polling_ms = options.get("polling_ms")
        devices = options.get("devices", {})
        self.heads = [
            Head(link, camera, devices.get(camera, camera), KINDS[kind], inventory, speed) for camera in self.cameras
        ]

    async def prepare(self) -> None:
        await _all(head.prepare(self._polling_ms) for head in self.heads)

    async def expose(self, spec: CaptureSpec) -> Joint:
        parts = await self.guarded(_all(head.start(spec) for head in self.heads))
        return Joint(self, parts)

    async def guarded(self, work: Awaitable[T]) -> T:
        """The result of work on an exposure of ours; where it fails or is cancelled, the hardware is stopped first."""
        try:
            return await work
        except (asyncio.CancelledError, DeviceError) as error:
            if not isinstance(error, DeviceLost):
                with contextlib.suppress(DeviceError):
                    await shielded(_all(head.abort_ours() for head in self.heads))
            raise

    async def abort(self) -> None:
        await _all(head.abort() for head in self.heads)

    async def is_idle(self) -> bool:
        return all(await _all(head.is_idle() for head in self.heads))

    async def status(self) -> dict[str, Any]:
        names = ("CCD_TEMPERATURE", "CCD_FRAME_TYPE", "CCD_BINNING")
        states = await _all(head.states(head.names.exposure, *names) for head in self.heads)
        return dict(zip(self.cameras, states, strict=True))

    def describe(self) -> dict[str, Any]:
        return {"driver": "indi", "cameras": {head.name: head.describe() for head in self.heads}}
