"""An Alpaca server with a camera, a panel with a cover, a switch, a wheel, a mount and a safety monitor, and faults.

world = FakeAlpaca()
with serve(world) as url: ...          # real HTTP on 127.0.0.1 (calibrant.simulation.tart_api.serve)
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import numpy as np

SHAPE = (24, 16)
"""X and Y of the camera."""


class AlpacaError(Exception):
    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message)
        self.number = number


@dataclass
class FakeAlpaca:
    """State of the devices; change its fields to change what they do."""

    bytes_ok: bool = True
    """Images as ImageBytes, where asked for; else as JSON."""
    can_abort: bool = True
    can_stop: bool = True
    least_s: float = 0.0
    """ExposureMin; shorter exposures are refused, biases too."""
    error_in: str = ""
    """exposing: CameraState becomes Error during the exposure."""
    hang: str = ""
    """DEVICE/NUMBER NAME that never answers."""
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    """DEVICE/NUMBER NAME -> ErrorNumber, message."""
    stuck_on: bool = False
    """The panel does not go off."""
    truncate: int = 0
    """Bytes that lack at the end of an image."""
    echo: int | None = None
    """A ClientTransactionID of its own."""
    slew_s: float = 0.15
    turn_s: float = 0.1
    altaz: bool = True
    """The mount slews to altitude and azimuth."""
    safe: bool = True
    connected: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    """Devices to which the server cannot connect."""
    calls: list[str] = field(default_factory=list)
    panel: int = 0
    """Brightness; 0 is off."""
    warm_at: float = 0.0
    cover: int = 3
    jammed: bool = False
    """The cover stays as it is."""
    outlets: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    _stop: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.begin = self.end = self.ready_at = 0.0
        self.exposing = self.has_image = False
        self.lit = 0.0
        self.settings = {"binx": 1, "biny": 1, "startx": 0, "starty": 0, "numx": SHAPE[0], "numy": SHAPE[1], "gain": 5}
        self.slot, self.turned_at = 0, 0.0
        self.parked, self.tracking, self.slewed_at = True, False, 0.0
        self.direction, self.target, self.departure = (0.0, 90.0), (0.0, 90.0), (0.0, 90.0)

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        raw = scope["query_string"] if scope["method"] == "GET" else body
        given = {name: values[-1] for name, values in parse_qs(raw.decode(), keep_blank_values=True).items()}
        headers = {name: value.decode() for name, value in scope["headers"]}
        parts = scope["path"].strip("/").split("/")
        device, name = ("management", parts[-1]) if parts[0] == "management" else ("/".join(parts[2:4]), parts[-1])
        if scope["method"] == "PUT":
            shown = ",".join(f"{key}={value}" for key, value in given.items() if not key.startswith("Client"))
            self.calls.append(f"{device} {name} {shown}".strip())
        if self.hang == f"{device} {name}":
            await asyncio.sleep(60)
        if name == "imagearray" and self.bytes_ok and "imagebytes" in headers.get(b"accept", ""):
            await self._send(send, 200, b"application/imagebytes", self._image_bytes())
            return
        await self._send(send, *self._json(scope["method"], device, name, given))

    async def _send(self, send: Callable[..., Any], status: int, kind: bytes, body: bytes) -> None:
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _json(self, method: str, device: str, name: str, given: dict[str, str]) -> tuple[int, bytes, bytes]:
        number = int(given.get("ClientTransactionID", 0))
        found: dict[str, Any] = {"ClientTransactionID": number if self.echo is None else self.echo, "ErrorNumber": 0}
        found |= {"ErrorMessage": "", "ServerTransactionID": len(self.calls)}
        if not int(given.get("ClientID", 0)):
            return 400, b"text/plain", b"no ClientID"
        try:
            if f"{device} {name}" in self.answers:
                raise AlpacaError(*self.answers[f"{device} {name}"])
            value = self._do(method, device, name, given)
            if value is not None:
                found["Value"] = value
        except AlpacaError as error:
            found |= {"ErrorNumber": error.number, "ErrorMessage": str(error)}
        except KeyError:
            return 404, b"text/plain", b"no such thing"
        return 200, b"application/json", json.dumps(found).encode()

    def _do(self, method: str, device: str, name: str, given: dict[str, str]) -> Any:
        if device == "management":
            return [1]
        common = {"name": f"{device} Simulator", "driverinfo": "tests", "driverversion": "1.0"}
        if name in common:
            return common[name]
        if name == "connected":
            if method == "PUT" and device not in self.absent:
                self.connected.add(device)
            if method == "PUT" and device in self.absent:
                raise AlpacaError(0x500, "the cable is out")
            return device in self.connected if method == "GET" else None
        if device not in self.connected:
            raise AlpacaError(0x407, "not connected")
        kind = device.partition("/")[0]
        return getattr(self, f"_{kind}")(method, name, given)

    def _covercalibrator(self, method: str, name: str, given: dict[str, str]) -> Any:
        if method == "PUT":
            if name == "calibratoron":
                if not 0 <= int(given["Brightness"]) <= 255:
                    raise AlpacaError(0x401, "Brightness is out of range")
                self.panel, self.warm_at = int(given["Brightness"]), time.time() + 0.2
            elif name == "calibratoroff":
                self.panel = self.panel if self.stuck_on else 0
            elif not self.jammed:
                self.cover = {"closecover": 1, "opencover": 3, "haltcover": 4}[name]
            return None
        state = 1 if not self.panel else 3 if time.time() >= self.warm_at else 2
        return {
            "calibratorstate": state, "brightness": self.panel, "maxbrightness": 255, "coverstate": self.cover,
        }[name]  # fmt: skip

    def _switch(self, method: str, name: str, given: dict[str, str]) -> Any:
        outlet = int(given["Id"])
        if outlet >= len(self.outlets):
            raise AlpacaError(0x401, f"there is no switch {outlet}")
        if method == "PUT":
            value = given.get("Value") or str(float(given["State"] == "True"))
            self.outlets[outlet] = float(value)
            return None
        value = self.outlets[outlet]
        return {"getswitch": value > 0, "getswitchvalue": value, "getswitchname": f"outlet {outlet}"}[name]

    def _filterwheel(self, method: str, name: str, given: dict[str, str]) -> Any:
        if method == "PUT":
            if not 0 <= int(given["Position"]) < 4:
                raise AlpacaError(0x401, "no such slot")
            self.slot, self.turned_at = int(given["Position"]), time.time() + self.turn_s
            return None
        return {"position": self.slot if time.time() >= self.turned_at else -1, "names": ["a", "b", "c", "d"]}[name]

    def _safetymonitor(self, method: str, name: str, given: dict[str, str]) -> Any:
        return {"issafe": self.safe}[name]

    def _telescope(self, method: str, name: str, given: dict[str, str]) -> Any:
        arrived = time.time() >= self.slewed_at
        if arrived:
            self.direction = self.target
        if method == "GET":
            return {
                "atpark": self.parked and arrived, "slewing": not arrived, "tracking": self.tracking,
                "cansettracking": True, "canslewaltazasync": self.altaz, "azimuth": self.direction[0],
                "altitude": self.direction[1], "siderealtime": 3.25, "sitelatitude": 44.5,
            }[name]  # fmt: skip
        if name == "tracking":
            self.tracking = given["Tracking"] == "True"
        elif name == "unpark":
            self.parked = False
        elif name == "abortslew":
            self.target, self.slewed_at, self.direction = (11.0, 22.0), 0.0, (11.0, 22.0)
        elif name == "park":
            self.parked, self.target, self.slewed_at = True, (0.0, 90.0), time.time() + self.slew_s
        else:
            self._slew(name, given)
        return None

    def _slew(self, name: str, given: dict[str, str]) -> None:
        if self.parked:
            raise AlpacaError(0x408, "parked")
        if name == "slewtoaltazasync":
            target = (float(given["Azimuth"]), float(given["Altitude"]))
        else:
            target = _altaz(15 * float(given["RightAscension"]), float(given["Declination"]), 15 * 3.25, 44.5)
        if self.tracking is (name == "slewtoaltazasync"):
            raise AlpacaError(0x40B, "wrong tracking state")
        self.target, self.slewed_at = target, time.time() + self.slew_s

    # The camera.

    def _state(self) -> int:
        now = time.time()
        if not self.exposing:
            return 0
        if self.error_in == "exposing" and now > self.begin + 0.05:
            return 5
        if now < self.end:
            return 2
        if now < self.ready_at:
            return 3
        self.exposing, self.has_image = False, True
        return 0

    def _camera(self, method: str, name: str, given: dict[str, str]) -> Any:
        state = self._state()
        if method == "PUT":
            return self._command(name, given, state)
        if name == "imagearray":
            if not self.has_image:
                raise AlpacaError(0x40B, "no image")
            return self._image().tolist()
        if name in ("offset", "readoutmode"):
            raise AlpacaError(0x400, "not implemented")
        return {
            "camerastate": state, "imageready": self.has_image, "canabortexposure": self.can_abort,
            "canstopexposure": self.can_stop, "exposuremin": self.least_s, "exposuremax": 3600.0,
            "lastexposureduration": self.end - self.begin, "ccdtemperature": -10.0, "maxadu": 65535,
            "percentcompleted": 50, "readoutmodes": ["slow", "fast"], **self.settings,
        }[name]  # fmt: skip

    def _command(self, name: str, given: dict[str, str], state: int) -> None:
        spelt = {key.lower(): value for key, value in given.items()}
        if name in self.settings:
            self.settings[name] = int(spelt[name])
        elif name == "startexposure":
            if state != 0:
                raise AlpacaError(0x40B, "exposing")
            if float(given["Duration"]) < self.least_s:
                raise AlpacaError(0x401, "too short")
            self.begin = time.time()
            self.end, self.exposing, self.has_image = self.begin + float(given["Duration"]), True, False
            self.ready_at = self.end + 0.1
            self.lit = float(self.panel) if given["Light"] == "True" else 0.0
        elif name in ("abortexposure", "stopexposure"):
            if not (self.can_abort if name == "abortexposure" else self.can_stop):
                raise AlpacaError(0x400, "not implemented")
            self.exposing, self.has_image = False, name == "stopexposure" and state != 0
        else:
            raise KeyError(name)

    def _image(self) -> np.ndarray:
        """[x, y]: a ramp in x, so that a transposed image is noticed."""
        shape = (self.settings["numx"], self.settings["numy"])
        ramp = np.arange(shape[0])[:, None] + np.zeros(shape, dtype=int)
        noise = np.random.default_rng(int(self.begin * 1e3) % 2**32).integers(0, 5, shape)
        return 1000 + ramp + noise + int(10 * self.lit)

    def _image_bytes(self) -> bytes:
        data = self._image().astype("<u2").tobytes()
        head = struct.pack("<11i", 1, 0, 1, 1, 44, 2, 8, 2, self.settings["numx"], self.settings["numy"], 0)
        whole = head + data
        return whole[: len(whole) - self.truncate]


def _altaz(ra: float, dec: float, sidereal: float, latitude: float) -> tuple[float, float]:
    """Azimuth and altitude, degrees, by the textbook (not by the driver's own functions)."""
    hour, dec, lat = np.radians([sidereal - ra, dec, latitude])
    altitude = np.arcsin(np.sin(dec) * np.sin(lat) + np.cos(dec) * np.cos(lat) * np.cos(hour))
    north = np.sin(dec) * np.cos(lat) - np.cos(dec) * np.sin(lat) * np.cos(hour)
    azimuth = np.arctan2(-np.cos(dec) * np.sin(hour), north)
    return float(np.degrees(azimuth) % 360), float(np.degrees(altitude))
