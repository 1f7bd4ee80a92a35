"""Cameras of an ASCOM Alpaca server: exposures followed by CameraState, images as ImageBytes or JSON.

The clock of the exposure is this machine's: it starts when the server has taken the command, and ends when the state
is seen to have changed, so that both ends are late by the network and the second one by the polling.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from calibrant.acquire.alpaca import INVALID_VALUE, POLL_S, AlpacaDevice, Refusal, Server, known_options
from calibrant.acquire.clock import all_of
from calibrant.acquire.devices import CaptureSpec, DeviceBusy, DeviceRefused, DeviceTimeout, Frame
from calibrant.acquire.exposing import FollowedDetector

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory

SETTLE_S = 10.0
"""A camera may take so long to say that it has stopped."""
START_S = 5.0
GRACE_S = 10.0
READ_S = 60.0
"""An image must be there so long after its expected time for reading out."""
IDLE, BUSY, READING, BROKEN = 0, (1, 2), (3, 4), 5
"""CameraState."""
NOTES = ("phase", "repetition")
"""Options that say what a frame is for; nothing is set for them."""
SPELT = {
    "binx": "BinX", "biny": "BinY", "startx": "StartX", "starty": "StartY", "numx": "NumX", "numy": "NumY",
    "gain": "Gain", "offset": "Offset", "readoutmode": "ReadoutMode",
}  # fmt: skip
"""Names in a PUT, where upper and lower case matter."""


class Head(AlpacaDevice):
    """One camera."""

    def __init__(self, server: Server, name: str, device: str) -> None:
        super().__init__(server, name, device)
        self._defaults: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Idle and without error; what it is set to becomes the default of later frames."""
        await self.ready()
        await self.check_idle()
        names = ("binx", "biny", "startx", "starty", "numx", "numy", "gain", "offset", "readoutmode")
        found = {name: await self.perhaps(name) for name in names}
        self._defaults = {name: value for name, value in found.items() if value is not None}

    async def check_idle(self) -> None:
        state = await self.get("camerastate")
        if state == BROKEN:
            raise DeviceRefused(f"{self.name}: CameraState is Error: look at the camera and its server")
        if state != IDLE:
            raise DeviceBusy(f"{self.name}: is exposing already (CameraState {state}); abort that first")

    async def start(self, spec: CaptureSpec, seconds: float) -> None:
        await self.check_idle()
        await self._configure(spec)
        light = spec.kind not in ("bias", "dark")
        try:
            await self.put("startexposure", Duration=seconds, Light=light)
        except Refusal as refusal:
            # The shortest bias is 0 s for most cameras, and ExposureMin for some.
            if spec.kind != "bias" or refusal.number != INVALID_VALUE:
                raise
            await self.put("startexposure", Duration=await self.get("exposuremin"), Light=light)

    async def _configure(self, spec: CaptureSpec) -> None:
        wishes = dict(self._defaults)
        for option, value in spec.options.items():
            wishes |= await self._wish(option, value)
        if ("binx" in wishes or "biny" in wishes) and "window" not in spec.options and self._defaults:
            across, down = wishes["binx"] / self._defaults["binx"], wishes["biny"] / self._defaults["biny"]
            wishes["numx"], wishes["numy"] = int(wishes["numx"] / across), int(wishes["numy"] / down)
        for name, value in wishes.items():
            if await self.get(name) != value:
                await self.put(name, **{SPELT[name]: value})

    async def _wish(self, option: str, value: Any) -> dict[str, Any]:
        match option:
            case "binning":
                across, down = value if isinstance(value, list | tuple) else (value, value)
                return {"binx": int(across), "biny": int(down)}
            case "window":
                return dict(zip(("startx", "starty", "numx", "numy"), map(int, value), strict=True))
            case "gain" | "offset":
                return {option: int(value)}
            case "mode":
                modes = await self.get("readoutmodes")
                if value not in modes:
                    raise DeviceRefused(f"{self.name}: no readout mode {value!r}; there are {', '.join(modes)}")
                return {"readoutmode": modes.index(value)}
            case _ if option in NOTES:
                return {}
        raise DeviceRefused(f"{self.name}: no option {option!r}; there are binning, window, gain, offset, mode")

    async def follow(self, seconds: float) -> float:
        """Until the shutter is closed: UTC of that, late by up to the polling."""
        loop = asyncio.get_running_loop()
        begin, seen_busy = loop.time(), False
        while True:
            state = await self.get("camerastate")
            if state == BROKEN:
                raise DeviceRefused(f"{self.name}: CameraState is Error during the exposure")
            if state in READING or (state == IDLE and await self.get("imageready")):
                return time.time()
            if state == IDLE and (seen_busy or loop.time() > begin + START_S):
                raise DeviceRefused(f"{self.name}: no exposure goes on, and there is no image: did somebody stop it?")
            seen_busy = seen_busy or state in BUSY
            if loop.time() > begin + seconds + GRACE_S:
                raise DeviceTimeout(f"{self.name}: the exposure of {seconds:g} s does not end")
            await asyncio.sleep(POLL_S)

    async def _has_image(self) -> bool:
        if await self.get("camerastate") == BROKEN:
            raise DeviceRefused(f"{self.name}: CameraState is Error while reading out")
        return bool(await self.get("imageready"))

    async def frame(self, begin: float, end: float, readout_s: float, speed: float) -> Frame:
        await self.until(self._has_image, readout_s + READ_S, "no image came")
        data = await self.server.image(self.device)
        # A camera may say that it exposed for less than we saw, not for more.
        says = await self.perhaps("lastexposureduration")
        lasted = min(end - begin, float(says)) if says is not None else end - begin
        return Frame(self.name, begin, end, lasted * speed, data=data, header=await self._header())

    async def _header(self) -> dict[str, tuple[Any, str]]:
        cards = {
            "INSTRUME": ("name", "camera"),
            "CCD-TEMP": ("ccdtemperature", "degrees C"),
            "GAINSET": ("gain", "gain setting of the camera"),
            "XBINNING": ("binx", "pixels binned in x"),
            "YBINNING": ("biny", "pixels binned in y"),
            "SATURATE": ("maxadu", "largest value that the camera gives"),
        }
        found = {keyword: (await self.perhaps(name), comment) for keyword, (name, comment) in cards.items()}
        return {keyword: card for keyword, card in found.items() if card[0] is not None}

    async def halt(self) -> None:
        """Stop what goes on, and see the camera idle. One that cannot stop is waited for."""
        await self.ready()
        if await self.get("camerastate") == IDLE:
            return
        patience = SETTLE_S
        if await self.get("canabortexposure"):
            await self.put("abortexposure")
        elif await self.get("canstopexposure"):
            await self.put("stopexposure")
        else:
            patience += float(await self.perhaps("exposuremax") or 0.0)
        await self.until(self.is_idle, patience, "the exposure does not stop")

    async def is_idle(self) -> bool:
        return bool(await self.get("camerastate") == IDLE)


class AlpacaDetector(FollowedDetector):
    """Cameras that are exposed together."""

    def __init__(self, server: Server, inventory: Inventory, speed: float) -> None:
        super().__init__()
        entry = inventory.detector
        where = f"inventory {inventory.name}: detector.address"
        options = known_options(entry.address, {"devices": {}, "sees_lights": True}, where)
        self.cameras = tuple(entry.cameras)
        self.name = ", ".join(self.cameras)
        self.light_tight, self.sees_lights = entry.light_tight, bool(options["sees_lights"])
        self.readout_s, self.speed = entry.readout_s, speed
        devices = options["devices"]
        numbered = {camera: f"camera/{number}" for number, camera in enumerate(self.cameras)}
        self.heads = [Head(server, camera, devices.get(camera, numbered[camera])) for camera in self.cameras]

    async def prepare(self) -> None:
        await all_of(head.prepare() for head in self.heads)

    async def _begin(self, spec: CaptureSpec) -> AlpacaWork:
        await all_of(head.check_idle() for head in self.heads)
        seconds = spec.exposure_s / self.speed
        await all_of(head.start(spec, seconds) for head in self.heads)
        return AlpacaWork(self, spec, seconds)

    async def _halt(self) -> None:
        await all_of(head.halt() for head in self.heads)

    async def is_idle(self) -> bool:
        return not self.working and all(await all_of(head.is_idle() for head in self.heads))

    async def status(self) -> dict[str, Any]:
        names = ("camerastate", "ccdtemperature", "percentcompleted")
        states = await all_of(head.states(*names) for head in self.heads)
        return dict(zip(self.cameras, states, strict=True))

    def describe(self) -> dict[str, Any]:
        return {"driver": "alpaca", "cameras": {head.name: head.describe() for head in self.heads}}


class AlpacaWork:
    """One exposure of all cameras. Its clock is this machine's."""

    def __init__(self, detector: AlpacaDetector, spec: CaptureSpec, seconds: float) -> None:
        self._detector, self._seconds = detector, seconds
        # A bias lasts as long as the hardware makes it, at any speed.
        self._speed = 1.0 if spec.kind == "bias" else detector.speed
        self._begin = time.time()
        self._ends: list[float] = []

    async def integrate(self) -> None:
        self._ends = await all_of(head.follow(self._seconds) for head in self._detector.heads)

    async def collect(self) -> list[Frame]:
        pairs = zip(self._detector.heads, self._ends, strict=True)
        readout_s = self._detector.readout_s
        return await all_of(head.frame(self._begin, end, readout_s, self._speed) for head, end in pairs)
