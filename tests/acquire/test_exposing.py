"""What detectors of several drivers have in common, on one without hardware."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from calibrant.acquire.devices import CaptureSpec, DeviceBusy, DeviceLost, DeviceRefused, Frame
from calibrant.acquire.exposing import FollowedDetector

FRAME = Frame("camera", 0.0, 1.0, 1.0, path="x")


@dataclass
class Job:
    """Waits until it is told; an exception instead is raised."""

    closed: asyncio.Event = field(default_factory=asyncio.Event)
    read: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def integrate(self) -> None:
        await self.closed.wait()
        if self.error is not None:
            raise self.error

    async def collect(self) -> list[Frame]:
        await self.read.wait()
        return [FRAME]


class Toy(FollowedDetector):
    name = "toy"

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.begins = self.halts = 0
        self.begin_s = 0.0

    async def _begin(self, spec: CaptureSpec) -> Job:
        self.begins += 1
        await asyncio.sleep(self.begin_s)
        self.jobs.append(Job())
        return self.jobs[-1]

    async def _halt(self) -> None:
        await asyncio.sleep(0)
        self.halts += 1


def spec(key: str = "one") -> CaptureSpec:
    return CaptureSpec(key, "dark", 1.0)


def test_a_readout_may_go_on_beside_other_work() -> None:
    async def trial() -> None:
        toy = Toy()
        shot = await toy.expose(spec())
        assert toy.working and not shot.closed
        with pytest.raises(DeviceBusy):
            await toy.expose(spec("two"))
        toy.jobs[0].closed.set()
        await shot.integrated()
        second = asyncio.create_task(toy.expose(spec("two")))
        await asyncio.sleep(0.01)
        assert toy.begins == 1, "it waits for the readout"
        toy.jobs[0].read.set()
        assert await shot.read() == [FRAME]
        await second
        assert toy.begins == 2 and toy.halts == 0

    asyncio.run(trial())


def test_a_readout_that_is_given_up_does_not_stop_the_exposure_after_it() -> None:
    async def trial() -> None:
        toy = Toy()
        toy.begin_s = 0.05
        first = await toy.expose(spec())
        toy.jobs[0].closed.set()
        await first.integrated()
        reading = asyncio.create_task(first.read())
        second = asyncio.create_task(toy.expose(spec("two")))
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        shot = await second
        halts = toy.halts
        toy.jobs[1].closed.set()
        toy.jobs[1].read.set()
        assert await shot.read() == [FRAME] and toy.halts == halts

    asyncio.run(trial())


@pytest.mark.parametrize("error", [DeviceRefused("no"), DeviceLost("gone")])
def test_a_failure_stops_what_can_be_stopped(error: Exception) -> None:
    async def trial() -> None:
        toy = Toy()
        shot = await toy.expose(spec())
        toy.jobs[0].error = error
        toy.jobs[0].closed.set()
        for call in (shot.integrated, shot.read):
            with pytest.raises(type(error)):
                await call()
        assert toy.halts == (1 if isinstance(error, DeviceRefused) else 0)

    asyncio.run(trial())


def test_a_start_that_is_cancelled_stops_the_hardware() -> None:
    async def trial() -> None:
        toy = Toy()
        toy.begin_s = 60.0
        starting = asyncio.create_task(toy.expose(spec()))
        await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert toy.halts == 1 and not toy.working

    asyncio.run(trial())


def test_abort_tells_who_waits() -> None:
    async def trial() -> None:
        toy = Toy()
        shot = await toy.expose(spec())
        waiting = asyncio.create_task(shot.integrated())
        await asyncio.sleep(0)
        await toy.abort()
        for call in (waiting, shot.read()):
            with pytest.raises(DeviceRefused, match="one was aborted"):
                await call
        assert toy.halts == 1 and not toy.working

    asyncio.run(trial())
