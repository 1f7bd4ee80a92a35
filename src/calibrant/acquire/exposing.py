"""One integration at a time, each followed by a task of its own: what detectors of several drivers have in common.

A driver says how an integration begins (`_begin`), how it is followed and its frames are fetched (a `Work`), and how
the hardware is stopped (`_halt`). Whoever gives up waiting for an integration or its readout stops the hardware first.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from calibrant.acquire.clock import let_go, shielded
from calibrant.acquire.devices import CaptureSpec, DeviceBusy, DeviceLost, DeviceRefused, Frame
from calibrant.errors import DeviceError

T = TypeVar("T")


class Work(Protocol):
    """An integration that the hardware has begun. Both methods have deadlines of their own."""

    async def integrate(self) -> None:
        """Follow it to its end."""

    async def collect(self) -> list[Frame]:
        """The frames; called once, after the integration."""


class FollowedDetector(ABC):
    """A detector that takes one integration after the other."""

    name: str

    def __init__(self) -> None:
        self._shot: Shot | None = None
        self._beginning = False
        self._hardware = asyncio.Lock()
        """Held while an integration begins, so that giving up the one before does not stop it."""

    @abstractmethod
    async def _begin(self, spec: CaptureSpec) -> Work:
        """Start the hardware; returns once it integrates. DeviceBusy where somebody else uses it."""

    @abstractmethod
    async def _halt(self) -> None:
        """Stop the hardware; returns when it is idle. Nothing where it is."""

    @property
    def working(self) -> bool:
        """An integration or a readout that was begun here goes on."""
        return self._beginning or (self._shot is not None and not self._shot.over)

    async def expose(self, spec: CaptureSpec) -> Shot:
        if self._beginning or (self._shot is not None and not self._shot.closed):
            raise DeviceBusy(f"{self.name}: is integrating already")
        self._beginning = True
        try:
            if self._shot is not None:
                await self._shot.ended()
            async with self._hardware:
                self._shot = Shot(self, spec.key, await self._started(spec))
            return self._shot
        finally:
            self._beginning = False

    async def _started(self, spec: CaptureSpec) -> Work:
        try:
            return await self._begin(spec)
        except (DeviceBusy, DeviceLost):
            raise
        except (asyncio.CancelledError, DeviceError):
            await self.halt_quietly()
            raise

    async def abort(self) -> None:
        """Stop, throw away what was being taken, and see it idle."""
        if self._shot is not None:
            await self._shot.drop()
        await self._halt()

    async def give_up(self, shot: Shot) -> None:
        """Nobody waits for this any more: stop the hardware, if it is still about it. Not to be interrupted."""
        if shot.over:
            return
        await shot.drop()
        async with self._hardware:
            if shot is self._shot:
                await self.halt_quietly()

    async def halt_quietly(self) -> None:
        with contextlib.suppress(DeviceError):
            await shielded(self._halt())


class Shot:
    """An integration under way, and its readout (`devices.Exposure`)."""

    def __init__(self, detector: FollowedDetector, key: str, work: Work) -> None:
        self._detector, self._key = detector, key
        self._aborted = False
        self._integration = asyncio.create_task(self._guarded(work.integrate))
        self._readout = asyncio.create_task(self._read_out(work))
        for task in (self._integration, self._readout):
            # Who never asks for the frame need not hear of its end.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def closed(self) -> bool:
        """The integration has ended, one way or the other."""
        return self._integration.done()

    @property
    def over(self) -> bool:
        return self._integration.done() and self._readout.done()

    async def integrated(self) -> None:
        await self._of(self._integration)

    async def read(self) -> list[Frame]:
        return await self._of(self._readout)

    async def ended(self) -> None:
        await asyncio.wait({self._integration, self._readout})

    async def drop(self) -> None:
        """Follow it no longer; who waits for it hears that it was aborted."""
        self._aborted = True
        await let_go(self._integration, self._readout)

    async def _read_out(self, work: Work) -> list[Frame]:
        await asyncio.wait({self._integration})
        self._integration.result()
        return await self._guarded(work.collect)

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except DeviceLost:
            raise
        except DeviceError:
            await self._detector.halt_quietly()
            raise

    async def _of(self, task: asyncio.Task[T]) -> T:
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            await shielded(self._detector.give_up(self))
            raise
        if self._aborted or task.cancelled():
            raise DeviceRefused(f"{self._detector.name}: {self._key} was aborted")
        return task.result()
