"""What a run does with the devices, step by step. `Hands.make_safe` undoes it all, at any moment.

Every wait has a watchdog. A readout that overlaps goes on as a task of its own; its failure comes to light when the
detector is needed next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from calibrant.acquire import safety
from calibrant.acquire.clock import Clock, let_go, shielded
from calibrant.acquire.devices import (
    Actuator,
    CaptureSpec,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    Exposure,
    Frame,
    LightState,
    Observatory,
)
from calibrant.acquire.filing import Evidence, Keeping, Kept
from calibrant.acquire.plan import Step
from calibrant.errors import DeviceError

BURNING = (LightState.ON, LightState.WARMING)
OWN_OPTIONS = ("on_failure", "retries", "target_counts", "discard", "mask_steps")
"""Options of a step that are for the engine, not for the detector."""
FILING_S = 60.0
"""Real seconds that frames which are being written when a run is aborted may take to be whole."""


@dataclass(frozen=True)
class Limits:
    """How long things may take beyond what the plan says; nominal seconds."""

    start_s: float = 30.0
    """From the command to expose to the integration running."""
    expose_grace_s: float = 30.0
    readout_s: float = 60.0
    readout_grace_s: float = 60.0
    move_s: float = 300.0
    switch_s: float = 20.0
    abort_s: float = 30.0
    poll_s: float = 5.0
    """Between looks at lights and interlocks."""
    burn_factor: float = 1.25
    burn_margin_s: float = 600.0
    """A light may burn so much longer than planned, unless its inventory says otherwise."""


class Filing(Protocol):
    """Checks and stores frames; called in threads."""

    def keep(self, frames: list[Frame], spec: CaptureSpec, evidence: Evidence) -> Keeping: ...

    def level(self, frames: list[Frame]) -> tuple[float, float]:
        """Counts of the brightest pixels, and of a bias."""


@dataclass(frozen=True)
class Burn:
    """A light that was switched on."""

    since: float
    """Of `Clock.mark`."""
    limit_s: float


Late = Callable[[Step, Exception], Awaitable[None]]
Taken = Callable[[Step, list[Kept]], None]


class Hands:
    """Does steps on an observatory. `on_late` hears of readouts that failed, `on_taken` of frames that were kept."""

    def __init__(
        self,
        observatory: Observatory,
        clock: Clock,
        limits: Limits,
        burn_limits: Mapping[int, float],
        filing: Filing,
        report: safety.Report,
        on_late: Late,
        on_taken: Taken,
    ) -> None:
        self.observatory, self.clock, self.limits, self.filing = observatory, clock, limits, filing
        self.report, self._on_late, self._on_taken = report, on_late, on_taken
        self._burn_limits = burn_limits
        self.burning: dict[str, Burn] = {}
        self.doubtful: set[str] = set()
        """Lights that were asked to go on and did not answer: they may yet do so."""
        self.place = ""
        """Where it points, as far as this run knows."""
        self.hurry = asyncio.Event()
        """Set when pauses and warm-ups are to end at once."""
        self._detector_busy = self._mask_busy = False
        self._alarmed: set[str] = set()
        self._began: float | None = None
        """When the last exposure began, by `Clock.mark`."""
        self._taken: dict[str, tuple[Exposure, CaptureSpec, Evidence]] = {}
        self._reading: tuple[Step, asyncio.Task[None]] | None = None
        self._does: dict[str, Callable[[Step], Awaitable[None]]] = {
            "all_off": self._all_off,
            "point": self._point,
            "park": self._point,
            "light_on": self._light_on,
            "warm": self._warm,
            "wait": self._wait,
            "expose": self._expose,
            "readout": self._readout,
            "light_off": self._light_off,
        }

    async def do(self, step: Step) -> None:
        await self._does[step.kind](step)

    # ---- lights

    async def _all_off(self, step: Step) -> None:
        await self._off(tuple(self.observatory.lights))

    async def _light_off(self, step: Step) -> None:
        await self._off(step.lights)

    async def _off(self, names: tuple[str, ...]) -> None:
        lights = {name: self.observatory.lights[name] for name in names}
        unverified, held = await safety.switch_off(lights, self.clock, self.report)
        for name in set(names) - {item.light for item in unverified}:
            self.burning.pop(name, None)
        if unverified:
            raise NotOff(unverified)
        if held:
            raise asyncio.CancelledError

    async def _light_on(self, step: Step) -> None:
        for name in step.lights:
            light, limit = self.observatory.lights[name], self._burn_limits[step.index]
            intensity = step.options.get("intensity")
            # Noted first: a light that was asked to go on may burn, whatever it answers.
            self.burning[name] = Burn(self.clock.mark(), limit)
            self.doubtful.add(name)
            try:
                lease = limit if light.hardware_lease else None
                switching = light.set(True, intensity=intensity, lease_s=lease)
                await self.clock.within(switching, self.limits.switch_s, f"switching {name} on")
                self.doubtful.discard(name)
                state = await self.clock.within(light.read(), self.limits.switch_s, f"reading {name}")
            except Exception as error:
                self.report("light", light=name, asked=True, state="unknown", verified=False, problem=str(error))
                raise
            self.report("light", light=name, asked=True, state=state.value, verified=state in BURNING)
            self.burning[name] = Burn(self.clock.mark(), limit)
            if state not in BURNING:
                raise DeviceRefused(f"{name} was switched on and says {state.value}: is it broken, or its outlet?")

    async def _warm(self, step: Step) -> None:
        """Until the lights have been on for the warm-up time, whatever was done since they were switched on."""
        wanted = float(step.options.get("warmup_s", step.duration_s))
        since = [self.burning[name].since for name in step.lights if name in self.burning]
        await self._pause(wanted - (self.clock.elapsed(max(since)) if since else 0.0), step)

    async def _wait(self, step: Step) -> None:
        """A pause, or until so long after the last exposure began."""
        interval = step.options.get("interval_s")
        if interval is None or self._began is None:
            await self._pause(step.duration_s, step)
        else:
            await self._pause(float(interval) - self.clock.elapsed(self._began), step)

    async def _pause(self, nominal_s: float, step: Step) -> None:
        """A pause, during which the step's lights are looked at; `hurry` ends it."""
        end = self.clock.mark() + nominal_s / self.clock.speed
        looks = Looks()
        while (left := end - self.clock.mark()) > 0 and not self.hurry.is_set():
            wait = asyncio.ensure_future(self.hurry.wait())
            try:
                await asyncio.wait({wait}, timeout=min(left, self.limits.poll_s / self.clock.speed))
            finally:
                wait.cancel()
            if self.clock.mark() < end:
                await self._look(step.lights, looks)

    async def _look(self, names: tuple[str, ...], looks: Looks) -> None:
        """DeviceRefused where a light that must burn does not; DeviceLost where two looks in a row say nothing."""
        lights = {name: self.observatory.lights[name] for name in names if name in self.burning}
        for name, state in (await safety.read_lights(lights, self.clock)).items():
            if state is LightState.OFF:
                self.report("light", light=name, asked=None, state=state.value, verified=True, problem="went off")
                raise DeviceRefused(f"{name} went off while it was needed")
            looks.silent[name] = looks.silent.get(name, 0) + 1 if state is LightState.UNKNOWN else 0
            if looks.silent[name] > 1:
                raise DeviceLost(f"{name} does not say any more whether it burns")

    # ---- things that move

    async def _point(self, step: Step) -> None:
        if self.observatory.pointing is None:
            raise DeviceRefused(f"{self.observatory.name} cannot point, {step.place} was asked for")
        self.place = ""
        await self._move(self.observatory.pointing, step.place)
        self.place = step.place

    async def _move(self, actuator: Actuator, place: str) -> None:
        """One more try, after homing where the device can home, when a move fails."""
        limit = self.limits.move_s
        try:
            await self.clock.within(actuator.move(place), limit, f"moving {actuator.name} to {place}")
            return
        except DeviceLost:
            raise
        except DeviceError as error:
            self.report("note", text=f"{actuator.name} did not reach {place} ({error}); homing, then one more try")
        await self.clock.within(actuator.stop(), self.limits.abort_s, f"stopping {actuator.name}")
        home = getattr(actuator, "home", None)
        if home is not None:
            await self.clock.within(home(), limit, f"homing {actuator.name}")
        await self.clock.within(actuator.move(place), limit, f"moving {actuator.name} to {place}")

    async def _mask_programme(self, step: Step, mask: Actuator, evidence: Evidence) -> None:
        for stop in step.mask:
            await self._move(mask, stop.place)
            begin = self.clock.now()
            try:
                await self.clock.sleep(stop.dwell_s)
            finally:
                evidence.mask.append((stop.place, begin, self.clock.now()))
                self.report("mask", frame=step.frame, place=stop.place, begin=begin, end=self.clock.now())

    # ---- frames

    async def _expose(self, step: Step) -> None:
        if step.options.get("target_counts"):
            await self._expose_to_level(step, step.options["target_counts"])
        else:
            await self._expose_once(step)

    async def _expose_to_level(self, step: Step, target: Mapping[str, float]) -> None:
        """Expose again and again, with the time that the counts before suggest. The last frame is the one to keep."""
        seconds, tries = step.exposure_s, int(target["max_tries"])
        for left in range(tries - 1, -1, -1):
            await self._expose_once(replace(step, exposure_s=seconds))
            exposure, spec, evidence = self._taken[step.frame]
            frames = await self._frames(exposure, step)
            level, bias = await asyncio.to_thread(self.filing.level, frames)
            reached = abs(level - target["level"]) <= target["tol"] * target["level"]
            self.report("trial", key=step.frame, exposure_s=seconds, level=level, wanted=target["level"], ok=reached)
            better = seconds * (target["level"] - bias) / max(level - bias, 1.0)
            better = min(max(better, target["tmin"]), target["tmax"])
            if reached or not left or better == seconds:
                break
            seconds = better
        if not reached:
            evidence.problems.append(f"{level:.0f} counts after {tries - left} tries, {target['level']:g} are wanted")
        self._taken[step.frame] = (Done(frames), spec, evidence)

    async def _expose_once(self, step: Step) -> None:
        await self.settle()
        detector, mask = self.observatory.detector, self.observatory.mask
        options = {name: value for name, value in step.options.items() if name not in OWN_OPTIONS}
        spec = CaptureSpec(step.frame, step.frame_kind, step.exposure_s, step.object, options)  # type: ignore[arg-type]
        if (step.mask or step.mask_start) and mask is None:
            raise DeviceRefused(f"{self.observatory.name} has no mask, {step.frame} needs one")
        self._mask_busy = mask is not None and bool(step.mask or step.mask_start)
        if mask is not None and step.mask_start:
            await self._move(mask, step.mask_start)
        await self._look(step.lights, Looks())
        evidence = await self._evidence(step)
        self._detector_busy = True
        exposure = await self.clock.within(detector.expose(spec), self.limits.start_s, f"starting {step.frame}")
        evidence.begin, self._began = self.clock.now(), self.clock.mark()
        self.report("exposure", key=step.frame, begin=evidence.begin)
        programme = self._mask_programme(step, mask, evidence) if mask is not None and step.mask else None
        await self._integrate(exposure, step, programme)
        if missed := [stop.place for stop in step.mask[len(evidence.mask) :]]:
            self.report("note", text=f"{step.frame}: the exposure ended before the mask came to {', '.join(missed)}")
        evidence.lights_end = await self._states()
        self._taken[step.frame] = (exposure, spec, evidence)

    async def _integrate(self, exposure: Exposure, step: Step, programme: Awaitable[None] | None) -> None:
        """Until the shutter closes, looking at the lights. The mask's programme ends with the exposure."""
        integration = asyncio.ensure_future(exposure.integrated())
        moving = {asyncio.ensure_future(programme)} if programme is not None else set()
        end = self.clock.mark() + self.clock.limit(step.exposure_s + self.limits.expose_grace_s)
        looks = Looks()
        try:
            while not integration.done():
                wait = min(self.limits.poll_s / self.clock.speed, max(0.0, end - self.clock.mark()))
                await asyncio.wait({integration, *moving}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in moving if task.done()]:
                    moving.discard(task)
                    task.result()
                if integration.done():
                    break
                if self.clock.mark() >= end:
                    raise DeviceTimeout(f"{step.frame}: still integrating {self.limits.expose_grace_s:g} s too long")
                await self._look(step.lights, looks)
            await integration
        finally:
            await let_go(integration, *moving)
        if self._mask_busy and self.observatory.mask is not None:
            await self.clock.within(self.observatory.mask.stop(), self.limits.abort_s, "stopping the mask")
            self._mask_busy = False

    async def _evidence(self, step: Step) -> Evidence:
        minutes = {name: self.clock.elapsed(burn.since) / 60 for name, burn in self.burning.items()}
        return Evidence(step, self.clock.now(), await self._states(), minutes)

    async def _states(self) -> dict[str, str]:
        states = await safety.read_lights(self.observatory.lights, self.clock)
        return {name: state.value for name, state in states.items()}

    async def _readout(self, step: Step) -> None:
        exposure, spec, evidence = self._taken.pop(step.frame)
        task = asyncio.create_task(self._read(step, exposure, spec, evidence))
        self._reading = (evidence.step, task)
        if not step.overlaps:
            await self.settle()

    async def _read(self, step: Step, exposure: Exposure, spec: CaptureSpec, evidence: Evidence) -> None:
        frames = await self._frames(exposure, step)
        if evidence.step.options.get("discard"):
            return
        keeping, held = await shielded(asyncio.to_thread(self.filing.keep, frames, spec, evidence))
        self._on_taken(evidence.step, keeping.kept)
        if keeping.error is not None:
            raise keeping.error
        if held:
            raise asyncio.CancelledError

    async def _frames(self, exposure: Exposure, step: Step) -> list[Frame]:
        limit = max(step.duration_s, self.limits.readout_s) + self.limits.readout_grace_s
        frames = await self.clock.within(exposure.read(), limit, f"reading out {step.frame}")
        self._detector_busy = False
        return frames

    async def settle(self) -> None:
        """Wait until nothing is read out any more. `on_late` says what a failure means."""
        if self._reading is None:
            return
        step, task = self._reading
        await asyncio.wait({task})
        self._reading = None
        if task.cancelled():
            raise DeviceRefused(f"reading out {step.frame} was given up")
        error = task.exception()
        if isinstance(error, Exception):
            await self._on_late(step, error)

    # ---- the end

    async def make_safe(self, *, drop_frames: bool) -> list[safety.Unverified]:
        """Lights off, detector idle, mask still, all at the same time, each with a time limit.

        `drop_frames`: a readout under way is thrown away, too; otherwise only an integration is. Run it shielded.
        Returns the lights that could not be verified off; other devices' failures are reported.
        """
        unverified, *_ = await asyncio.gather(
            safety.lights_off(self.observatory.lights, self.clock, self.report),
            self._quiet("aborting the detector", self._stop_detector(drop_frames)),
            self._quiet("stopping the mask", self._stop_mask()),
        )
        burning = {item.light for item in unverified}
        self.burning = {name: burn for name, burn in self.burning.items() if name in burning}
        return unverified

    async def _stop_detector(self, drop_frames: bool) -> None:
        reading_only = self._reading is not None and not self._reading[1].done()
        if not self._detector_busy and not reading_only:
            return
        if reading_only and not drop_frames:
            return
        if self._reading is not None:
            await let_go(self._reading[1], patience_s=FILING_S)
            self._reading = None
        detector = self.observatory.detector
        await self.clock.within(detector.abort(), self.limits.abort_s, "aborting the detector")
        self._detector_busy = False
        self._taken.clear()

    async def _stop_mask(self) -> None:
        if self._mask_busy and self.observatory.mask is not None:
            await self.clock.within(self.observatory.mask.stop(), self.limits.abort_s, "stopping the mask")
            self._mask_busy = False

    async def _quiet(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            text = f"{what} failed: {error}"
            if text not in self._alarmed:
                # Making safe is tried several times; a person reads it once.
                self._alarmed.add(text)
                self.report("alarm", text=text, lights=[])


@dataclass(frozen=True)
class Done:
    """An exposure that has been read out."""

    frames: list[Frame]

    async def integrated(self) -> None:
        return

    async def read(self) -> list[Frame]:
        return self.frames


@dataclass
class Looks:
    """How often in a row each light did not answer."""

    silent: dict[str, int] = field(default_factory=dict)


class NotOff(DeviceError):
    """Lights that could not be verified off."""

    def __init__(self, unverified: list[safety.Unverified]) -> None:
        super().__init__(", ".join(map(str, unverified)))
        self.unverified = unverified
