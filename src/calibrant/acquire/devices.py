"""What the engine asks of instruments: structural types that every driver gives, and how things go wrong.

Everything is asynchronous. A state is always read from the device, never remembered. Cancelling a call must leave
the hardware stopped: `expose` and `move` abort it before the cancellation goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import DeviceError

FrameKind = Literal["bias", "dark", "flat", "arc", "object"]
"""A noise diode off/on pair is dark/flat, ZERO is a bias, the sky is an object."""


class DeviceLost(DeviceError):
    """The connection is gone: the state of the device is unknown."""


class DeviceBusy(DeviceError):
    """The device is doing something else."""


class DeviceRefused(DeviceError):
    """The device answered that it will not, or did something else than asked."""


class DeviceTimeout(DeviceError):
    """No answer, or no progress, in time."""


class InterlockTripped(DeviceError):
    """A condition for working is not met: dome, room light, weather, somebody in the room."""


class LightState(StrEnum):
    OFF = "off"
    WARMING = "warming"
    ON = "on"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class CaptureSpec:
    """What to capture. `exposure_s` 0 for a bias."""

    key: str
    """Names the frame within its plan; the same in a resumed run."""
    kind: FrameKind
    exposure_s: float
    object: str = ""
    """Lamp or source that is looked at; empty for biases and darks."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the detector: binning, window, gain, ..."""


@dataclass(frozen=True)
class Frame:
    """What one camera delivered: the data, or the file that the instrument wrote itself."""

    camera: str
    begin: float
    """Start of the integration: UTC, seconds since 1970."""
    end: float
    exposure_s: float
    """As measured."""
    data: NDArray[np.generic] | None = None
    path: str = ""
    header: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    """FITS keyword -> (value, comment), of the instrument's own."""


class Exposure(Protocol):
    """An integration under way. Reading out may go on while the next lamp warms."""

    async def integrated(self) -> None:
        """Returns when the shutter has closed; DeviceTimeout when it does not in time."""

    async def read(self) -> list[Frame]:
        """Returns the frames, one a camera, after reading out. May be awaited once, before or after others' work."""


@runtime_checkable
class Device(Protocol):
    name: str

    async def status(self) -> dict[str, Any]:
        """The device's own words on its state, for the journal."""

    def describe(self) -> dict[str, Any]:
        """Driver, version, address without secrets: for provenance."""


@runtime_checkable
class Light(Device, Protocol):
    """A lamp, a flat panel, a noise diode."""

    hardware_lease: bool
    """Whether `lease_s` is kept by the hardware itself: it goes off even if we are gone."""

    async def set(self, on: bool, *, intensity: float | None = None, lease_s: float | None = None) -> None:
        """Switch; returns when the device has acknowledged."""

    async def read(self) -> LightState:
        """From the device; UNKNOWN where it cannot tell."""


@runtime_checkable
class Detector(Device, Protocol):
    """A camera, several read together, a receiver, a correlator.

    One that cannot see the lights at all (a simulated camera beside a simulated lamp) has `sees_lights = False`:
    then no frame is refused because it is dark.
    """

    cameras: tuple[str, ...]
    light_tight: bool
    """Biases and darks may be taken while a lamp burns."""

    async def prepare(self) -> None:
        """Make ready before a run: idle, no error, defaults; DeviceBusy or DeviceRefused where it cannot be."""

    async def expose(self, spec: CaptureSpec) -> Exposure:
        """Start an integration; returns once it runs. Waits for a readout still under way."""

    async def abort(self) -> None:
        """Stop integrating and reading, throw the frame away; returns when idle."""

    async def is_idle(self) -> bool: ...


@runtime_checkable
class Actuator(Device, Protocol):
    """A mask, a wheel, the pointing: something with named places.

    One that also has `async def home(self)` is homed when a move fails, before the move is tried once more.
    """

    places: Mapping[str, float]
    """Name -> motor step or other coordinate that orders them."""

    async def move(self, to: str) -> None:
        """Returns when there; DeviceTimeout, DeviceRefused."""

    async def stop(self) -> None: ...

    async def position(self) -> str:
        """The name of the place, or empty between places."""


@runtime_checkable
class Interlock(Protocol):
    """A condition for working. With `open_shutter_only = True` (weather) it forbids only frames with light."""

    name: str

    async def check(self) -> list[str]:
        """What forbids working now, in words; empty: nothing."""


@dataclass
class Observatory:
    """The devices of one inventory, connected."""

    name: str
    driver: str
    lights: dict[str, Light]
    detector: Detector
    mask: Actuator | None = None
    pointing: Actuator | None = None
    interlocks: tuple[Interlock, ...] = ()
    simulated: bool = False
    closers: list[Any] = field(default_factory=list)
    """Coroutine functions that let the connections go, called in reverse order."""

    async def close(self) -> None:
        for closer in reversed(self.closers):
            await closer()
