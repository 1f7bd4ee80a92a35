"""Spectrographs of SDSS as one detector: exposed, read, aborted and watched together by their actors' commands.

An actor keeps no promise when its client goes away, so whatever ends a wait here (cancellation, a limit, a failure of
one spectrograph of three) first aborts what the hardware does. Frames are the files that the actors write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import time
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibrant.acquire.clock import Clock
from calibrant.acquire.clu_bus import Bus, Pending, Replies, value
from calibrant.acquire.devices import CaptureSpec, DeviceBusy, DeviceLost, DeviceRefused, DeviceTimeout, Frame
from calibrant.acquire.exposing import FollowedDetector
from calibrant.errors import DeviceError, ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory

# Nominal seconds. Each is shorter than the engine's own watchdog for the same work.
ANSWER_S = 15.0
EXPOSE_GRACE_S = 25.0
READ_GRACE_S = 50.0
ABORT_S = 20.0
POLL_S = 1.0
WATCH_S = 5.0
SHORTEST_WATCH_S = 1.0
"""Real seconds."""
BUSY = {"EXPOSING", "READOUT_PENDING", "READING", "FETCHING", "FLUSHING"}


class CluDevice:
    """One actor, or several that are one device."""

    def __init__(self, bus: Bus, clock: Clock, name: str, actors: Iterable[str]) -> None:
        self.bus, self.clock, self.name, self.actors = bus, clock, name, tuple(actors)

    def describe(self) -> dict[str, Any]:
        return {**self.bus.describe(), "device": self.name, "actors": list(self.actors)}

    async def ask(self, actor: str, words: str, nominal_s: float = ANSWER_S) -> Replies:
        return await self.bus.ask(actor, words, self.clock.limit(nominal_s))

    async def status(self) -> dict[str, Any]:
        replies = await together(*(self.ask(actor, "status") for actor in self.actors))
        merged = [{key: item for reply in answer for key, item in reply.items()} for answer in replies]
        return merged[0] if len(merged) == 1 else dict(zip(self.actors, merged, strict=True))


class Spectrograph(CluDevice):
    """One actor of the detector."""

    async def states(self) -> set[str]:
        """What it says that it is: IDLE, EXPOSING, ..."""
        status = value(await self.ask(self.name, "status --simple"), "status")
        names = status.get("status_names") if isinstance(status, dict) else None
        if not isinstance(names, list):
            raise DeviceRefused(f"{self.name}: its status has no status_names: {status!r}")
        return {str(name) for name in names}

    async def is_idle(self) -> bool:
        states = await self.states()
        return "IDLE" in states and not states & BUSY

    async def make_ready(self) -> None:
        states = await self.states()
        if "ERROR" in states:
            raise DeviceRefused(f"{self.name}: says {', '.join(sorted(states))}; it has to be put right by hand")
        if "IDLE" not in states or states & BUSY:
            raise DeviceBusy(f"{self.name}: says {', '.join(sorted(states))}; abort it or wait")
        await self.ask(self.name, "reset")

    async def abort(self) -> None:
        """Stop whatever it does, and verify. DeviceTimeout where it does not become idle."""
        if await self.is_idle():
            return
        try:
            await self.ask(self.name, "abort --reset")
        except (DeviceRefused, DeviceTimeout):
            # "No exposure found": it is in some other state, which a reset ends.
            await self.ask(self.name, "reset")
        end = self.clock.mark() + self.clock.limit(ABORT_S)
        while not await self.is_idle():
            if self.clock.mark() > end:
                raise DeviceTimeout(f"{self.name}: not idle {ABORT_S:g} s after abort")
            await self.clock.sleep(POLL_S)


class Work:
    """An integration on all spectrographs (`exposing.Work`)."""

    def __init__(self, detector: CluDetector, spec: CaptureSpec, pending: list[Pending]) -> None:
        self._detector, self._spec, self._pending = detector, spec, pending
        self._begin = [time.time()] * len(pending)
        self._end = self._begin

    async def begun(self) -> None:
        """Until every spectrograph has taken the command up."""
        self._begin = await together(*(_moment(pending.begun()) for pending in self._pending))

    async def integrate(self) -> None:
        self._end = await self._watched(together(*(_moment(pending.result()) for pending in self._pending)))

    async def collect(self) -> list[Frame]:
        files = await self._watched(self._detector.read_out(self._spec))
        found: dict[str, tuple[str, int]] = {}
        for index, names in enumerate(files):
            for name in names:
                camera = self._detector.camera_of(name)
                if camera in found:
                    raise DeviceRefused(f"{self._detector.name}: two files of {camera}: {found[camera][0]}, {name}")
                found[camera] = (name, index)
        missing = [camera for camera in self._detector.cameras if camera not in found]
        if missing:
            raise DeviceRefused(f"{self._detector.name}: frame {self._spec.key}: no file of {', '.join(missing)}")
        return [self._frame(camera, *found[camera]) for camera in self._detector.cameras]

    async def _watched(self, work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
        """The result, while the actors are there. One that is lost ends the others' work, too."""
        try:
            results = await together(work, self._detector.watch(), first=True)
        except DeviceLost:
            await self._detector.halt_quietly()
            raise
        return list(results[0])

    def _frame(self, camera: str, path: str, index: int) -> Frame:
        begin, end = self._begin[index], self._end[index]
        # A bias ends when the actor answers; that is no exposure.
        lasted = (end - begin) * self._detector.clock.speed if self._spec.exposure_s else 0.0
        return Frame(camera, begin, end, round(lasted, 3), path=path)


class CluDetector(CluDevice, FollowedDetector):
    """Spectrographs that are exposed and read together, with one exposure number."""

    def __init__(self, bus: Bus, clock: Clock, inventory: Inventory) -> None:
        entry = inventory.detector
        address = known(entry.address, ("actors", "exposure_number"), f"inventory {inventory.name}: detector")
        actors = address.get("actors")
        if not isinstance(actors, list) or not actors:
            raise ParameterError(f"inventory {inventory.name}: detector.address.actors must list the spectrographs")
        CluDevice.__init__(self, bus, clock, "detector", actors)
        FollowedDetector.__init__(self)
        self.cameras, self.light_tight, self.readout_s = tuple(entry.cameras), entry.light_tight, entry.readout_s
        self._spectrographs = [Spectrograph(bus, clock, actor, [actor]) for actor in actors]
        number = address.get("exposure_number")
        if number is None and len(actors) > 1:
            raise ParameterError(
                f"inventory {inventory.name}: {len(actors)} spectrographs need detector.address.exposure_number, the "
                "file that holds the number of the next exposure, or each would use its own"
            )
        self._number_file = Path(number) if number is not None else None

    async def prepare(self) -> None:
        await together(*(one.make_ready() for one in self._spectrographs))

    async def is_idle(self) -> bool:
        return all(await together(*(one.is_idle() for one in self._spectrographs)))

    async def status(self) -> dict[str, Any]:
        states = await together(*(one.states() for one in self._spectrographs))
        return {name: sorted(names) for name, names in zip(self.actors, states, strict=True)}

    async def read_out(self, spec: CaptureSpec) -> list[list[str]]:
        """The files of each spectrograph."""
        header = {"OBJECT": spec.object or spec.kind, "CALKEY": spec.key, **spec.options.get("header", {})}
        words = f"read --header {shlex.quote(json.dumps(header, separators=(',', ':')))}"
        limit = self.readout_s + READ_GRACE_S
        replies = await together(*(self.ask(actor, words, limit) for actor in self.actors))
        await together(*(self.ask(actor, "wait-until-idle", READ_GRACE_S) for actor in self.actors))
        files = [[name for reply in answer for name in reply.get("filenames", [])] for answer in replies]
        return [[str(name) for name in names] for names in files]

    async def watch(self) -> list[Any]:
        """For ever ask whether the actors are there: one that dies does not end its command. Raises when one is not."""
        while True:
            await asyncio.sleep(max(WATCH_S / self.clock.speed, SHORTEST_WATCH_S))
            await together(*(one.states() for one in self._spectrographs))

    def camera_of(self, path: str) -> str:
        """The camera in the name of a file: sdR-s-b1-00001234.fits.gz is b1's."""
        parts = set(re.split(r"[-_.]", Path(path).name))
        found = [camera for camera in self.cameras if camera in parts]
        if len(found) != 1:
            raise DeviceRefused(f"{self.name}: {path}: which camera's is it? There are {', '.join(self.cameras)}")
        return found[0]

    async def _begin(self, spec: CaptureSpec) -> Work:
        words = self._words(spec)
        await self.prepare()
        limit = self.clock.limit(spec.exposure_s + EXPOSE_GRACE_S)
        try:
            pending = await together(*(self.bus.start(actor, words, limit) for actor in self.actors))
            work = Work(self, spec, pending)
            async with asyncio.timeout(self.clock.limit(ANSWER_S)):
                await work.begun()
        except TimeoutError:
            raise DeviceTimeout(f"{self.name}: {spec.key} was not taken up within {ANSWER_S:g} s") from None
        except DeviceLost:
            # The other spectrographs may have begun.
            await self.halt_quietly()
            raise
        return work

    async def _halt(self) -> None:
        await together(*(one.abort() for one in self._spectrographs), spare=True)

    def _words(self, spec: CaptureSpec) -> str:
        options = {name: wanted for name, wanted in spec.options.items() if name != "header"}
        words = f"expose {spec.exposure_s:g} --{spec.kind} --no-readout"
        if (mode := options.pop("mode", None)) is not None:
            words += f" --window-mode {shlex.quote(str(mode))}"
        if left := [name for name, wanted in options.items() if not (name == "binning" and wanted in (1, [1, 1]))]:
            raise DeviceRefused(f"{self.name}: {spec.key}: the spectrographs have no option {', '.join(left)}")
        return words if self._number_file is None else f"{words} --seqno {self._next_number(self._number_file)}"

    def _next_number(self, path: Path) -> int:
        try:
            return int(path.read_text().strip() or 1)
        except (OSError, ValueError) as error:
            raise DeviceRefused(f"{path}: the number of the next exposure cannot be read: {error}") from error


async def together(*work: Coroutine[Any, Any, Any], spare: bool = False, first: bool = False) -> list[Any]:
    """The results of all. The first failure ends the others, unless `spare`: then they go on to their own ends.

    `first`: so does the first success, and the results of the others are their cancellations.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    if not tasks:
        return []
    when = asyncio.FIRST_COMPLETED if first else asyncio.ALL_COMPLETED if spare else asyncio.FIRST_EXCEPTION
    try:
        await asyncio.wait(tasks, return_when=when)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [result for result in results if isinstance(result, Exception)]
    if failures:
        raise failures[0]
    return results


async def _moment(work: Coroutine[Any, Any, Any]) -> float:
    """When it ended: UTC, seconds since 1970."""
    await work
    return time.time()


async def swallow(work: Coroutine[Any, Any, None]) -> None:
    """On the way out of a failure, which is what the caller hears of."""
    with contextlib.suppress(DeviceError, TimeoutError):
        await work


def known(given: Mapping[str, Any], keys: tuple[str, ...], where: str) -> dict[str, Any]:
    for key in given:
        if key not in keys:
            raise ParameterError(f"{where}: {key!r} is unknown to driver clu; it knows {', '.join(keys)}")
    return dict(given)
