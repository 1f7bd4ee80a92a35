"""Executes a plan on an observatory. In every ending the lights are off and verified, or a person is told.

    run = Run(plan, observatory, "night1", journal=Journal("night1/journal.jsonl"), filing=filing)
    async for record in run.events(): ...        # in another task
    result = await run.execute()

A run ends early by `stop_after_frame`, `stop_after_lamp`, `abort`, by cancelling the task of `execute`, by a device's
failure, an interlock, or a light that burns too long. Then, all at once and not to be interrupted: lights off (three
tries, read back), the integration aborted, the mask stopped. What was taken stays; `resume` takes the rest.

What a failure ends is up to the plan (option `on_failure` of its exposures): "stop" the run, "skip" the lamp or
frame, "retry" it. A frame that fails its checks is kept but does not count; with "retry" it is taken again, else the
run goes on. A lost connection, a full disk and an interlock end the run whatever the plan says; only an interlock
that is `open_shutter_only` (weather) leaves out just the frames with the shutter open.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from calibrant.acquire import safety
from calibrant.acquire.clock import Clock, let_go, shielded
from calibrant.acquire.control import Inbox
from calibrant.acquire.devices import DeviceLost, InterlockTripped, LightState, Observatory
from calibrant.acquire.events import Stream
from calibrant.acquire.filing import Kept
from calibrant.acquire.guard import Guard
from calibrant.acquire.hands import Burn, Filing, Hands, Limits, NotOff
from calibrant.acquire.journal import Journal
from calibrant.acquire.ledger import Ledger
from calibrant.acquire.oversight import Oversight
from calibrant.acquire.plan import Plan, Step
from calibrant.acquire.result import FrameResult, RunResult, Verdict
from calibrant.acquire.storage import StorageError
from calibrant.acquire.units import Unit, burn_limits, left_of, pointed_before, remaining, units, wanted
from calibrant.errors import CalibrantError, DataError, DeviceError

FATAL = (DeviceLost, InterlockTripped, StorageError)
"""End the run whatever the plan says."""


def new_id() -> str:
    """A name for a run: sortable by time, unique."""
    return time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime()) + uuid.uuid4().hex[:6]


@dataclass(frozen=True)
class Setting:
    """What surrounds a run; everything has a default that suits a test or a program."""

    run_id: str = field(default_factory=new_id)
    speed: float = 1.0
    floor_s: float = 5.0
    """No watchdog is shorter than this (real seconds), however fast a simulation runs."""
    limits: Limits = field(default_factory=Limits)
    max_on_s: Mapping[str, float] = field(default_factory=dict)
    """Light -> nominal seconds that it may burn at most."""
    done: Mapping[str, list[FrameResult]] = field(default_factory=dict)
    """Frames that are there already (`resume.verified`)."""
    start: Mapping[str, Any] = field(default_factory=dict)
    """More for the journal's start record: inventory, versions, ..."""


class _Stopped(Exception):
    """Somebody asked for an end after this frame or lamp."""


class Run:
    """One execution of a plan. `execute` may be called once."""

    def __init__(
        self,
        plan: Plan,
        observatory: Observatory,
        directory: str | Path,
        *,
        journal: Journal,
        filing: Filing,
        guard: Guard | None = None,
        setting: Setting | None = None,
    ) -> None:
        self.plan, self.observatory, self.directory = plan, observatory, Path(directory)
        self.journal, self.guard = journal, guard
        self.setting = setting or Setting()
        self.limits = self.setting.limits
        self.clock = Clock(self.setting.speed, self.setting.floor_s)
        self.ledger = Ledger(plan, journal, observatory.detector.cameras, self.setting.done)
        self.report = self.ledger.report
        burns = burn_limits(plan, self.limits.burn_factor, self.limits.burn_margin_s, self.setting.max_on_s)
        self._hands = Hands(
            observatory, self.clock, self.limits, burns, filing, self.report, self._late, self._on_taken
        )  # fmt: skip
        self._units = units(plan.steps)
        self._needed = {step.index for step in remaining(plan.steps, self.ledger.done)}
        """Steps that were left at the start."""
        self._owner = {step.frame: unit for unit in self._units for step in unit.frames}
        self._queue: deque[Unit] = deque()
        self._tries: Counter[int] = Counter()
        """How often each unit was begun, by its first step."""
        self._unit: Unit | None = None
        self._task: asyncio.Task[None] | None = None
        self._body: asyncio.Task[None] | None = None
        self._cause: Exception | None = None
        self._stop: Literal["", "frame", "lamp"] = ""
        self._abort_reason = ""

    # ---- for others

    def events(self) -> Stream:
        """The records of the journal as they come; `async for` over it gives all, from the first one on."""
        return self.ledger.stream

    @property
    def burning(self) -> Mapping[str, Burn]:
        """The lights that this run has switched on and not yet verified off."""
        return self._hands.burning

    def stop_after_frame(self, by: str = "the program") -> None:
        """End when the frame under way is stored; at once where none is."""
        if self._ended:
            return
        self._stop = "frame"
        self._hands.hurry.set()
        self.report("control", command="stop after frame", by=by)

    def stop_after_lamp(self, by: str = "the program") -> None:
        """End when the lamp that burns has given its frames; after this frame where none burns."""
        if self._ended:
            return
        self._stop = self._stop or "lamp"
        self.report("control", command="stop after lamp", by=by)

    def abort(self, reason: str = "aborted") -> None:
        """End now; the frame under way is thrown away. A second call changes nothing."""
        if self._ended:
            return
        if self._abort_reason:
            self.report("note", text=f"{reason}: already ending; switching the lights off is not interrupted")
            return
        self._abort_reason = reason
        self.report("control", command="abort", by=reason)
        if self._task is not None:
            self._task.cancel()

    def interrupt(self, error: Exception) -> None:
        """End the unit under way with this error; nothing where none is."""
        if self._cause is None and self._body is not None and not self._body.done():
            self._cause = error
            self._body.cancel()

    async def forbidding(self, open_shutter: bool) -> list[str]:
        """What the interlocks say now. Those for an open shutter only are asked when it is open."""
        problems = []
        for interlock in self.observatory.interlocks:
            if getattr(interlock, "open_shutter_only", False) and not open_shutter:
                continue
            try:
                found = await self.clock.within(interlock.check(), self.limits.switch_s, f"asking {interlock.name}")
            except DeviceError as error:
                found = [f"it does not answer ({error})"]
            problems += [f"{interlock.name}: {text}" for text in found]
        return problems

    @property
    def _ended(self) -> bool:
        return self.ledger.stream.closed

    @property
    def open_shutter(self) -> bool:
        """The unit under way has frames with the shutter open."""
        return self._unit is not None and self._unit.open_shutter

    async def execute(self) -> RunResult:
        """Do it. Returns in every ending of the run itself; a cancellation from outside goes on once all is safe.

        An error that is not the devices' or the disk's (a fault of a program) is raised, after all is safe.
        """
        self._report_start()
        self._task = task = asyncio.create_task(self._work())
        if self._abort_reason:
            task.cancel()
        oversight = asyncio.create_task(Oversight(self, Inbox(self.directory)).watch())
        cancelled = 0
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = 1
            self._abort_reason = self._abort_reason or "cancelled"
        result, held = await shielded(self._close(task, oversight))
        if cancelled or held:
            raise asyncio.CancelledError
        return result

    # ---- the work

    async def _work(self) -> None:
        try:
            await self._before()
            self._queue.extend(self._units)
            while self._queue:
                await self._attempt(self._queue.popleft())
                if not self._queue:
                    # A readout that fails late may put its unit back.
                    await self._hands.settle()
        except Exception:
            await self._safe(drop_frames=False)
            await self._hands.settle()
            raise

    async def _before(self) -> None:
        """Nothing may forbid working, every light must say what it is, the detector must be ready."""
        if problems := await self.forbidding(open_shutter=False):
            raise InterlockTripped("; ".join(problems))
        states = await safety.read_lights(self.observatory.lights, self.clock)
        for name, state in states.items():
            self.report("light", light=name, asked=None, state=state.value, verified=state is not LightState.UNKNOWN)
        if unknown := [name for name, state in states.items() if state is LightState.UNKNOWN]:
            raise DeviceLost(f"nobody can tell whether these lights burn: {', '.join(unknown)}; the run does not start")
        if lit := [name for name, state in states.items() if state is not LightState.OFF]:
            self.report("note", text=f"lights were on before the run: {', '.join(lit)}; they are switched off")
        await self.clock.within(self.observatory.detector.prepare(), self.limits.readout_s, "preparing the detector")

    async def _attempt(self, unit: Unit) -> None:
        """Do what is left of a unit. Raises where the run has to end."""
        if self._stop:
            raise _Stopped
        steps = self._left(unit)
        if not steps:
            return
        self._unit = unit
        self._tries[unit.begin] += 1
        try:
            if problems := await self.forbidding(unit.open_shutter):
                raise InterlockTripped("; ".join(problems))
            await self._supervised(steps)
        except (DeviceError, DataError) as error:
            await self._failure(unit, error)
        else:
            if any(step.frame in self.ledger.bad for step in unit.frames):
                self._again(unit, "a frame failed its checks")
        finally:
            self._unit = None

    def _left(self, unit: Unit) -> list[Step]:
        """The steps of a unit that are still needed, after the pointing that it was planned for."""
        steps = [step for step in left_of(unit, self.ledger.done) if step.index in self._needed]
        if not any(step.kind == "expose" for step in steps):
            return [] if unit.frames else steps
        first = next(number for number, step in enumerate(steps) if step.kind == "expose")
        pointing = pointed_before(self.plan, unit)
        pointed = any(step.kind == "point" for step in steps[:first])
        if pointing is not None and pointing.place != self._hands.place and not pointed:
            steps.insert(0, pointing)
        return steps

    def _again(self, unit: Unit, why: str) -> None:
        """Put a unit back where the plan allows another try: at once, or at the end if others are under way."""
        left = unit.tries - self._tries[unit.begin]
        if left <= 0 or unit in self._queue:
            return
        self.report("note", text=f"{unit}: {why}; {left} more {'try' if left == 1 else 'tries'}")
        if self._unit is unit:
            self._queue.appendleft(unit)
        else:
            self._queue.append(unit)

    async def _supervised(self, steps: list[Step]) -> None:
        """Do the steps in a task of its own, which `interrupt` ends with a cause."""
        self._cause = None
        self._body = body = asyncio.create_task(self._do(steps))
        try:
            await asyncio.wait({body})
        except asyncio.CancelledError:
            await let_go(body)
            raise
        if body.cancelled() and self._cause is not None:
            raise self._cause
        body.result()

    async def _do(self, steps: list[Step]) -> None:
        for step in steps:
            if self._stop == "frame" and step.kind not in ("readout", "light_off"):
                raise _Stopped
            if self.ledger.journal_problem:
                raise OSError(self.ledger.journal_problem)
            begin = self.clock.mark()
            fields = _step_fields(step)
            self.report("step", phase="begin", **fields)
            try:
                await self._hands.do(step)
            finally:
                self._tell_guard()
            self.report("step", phase="end", took_s=round(self.clock.elapsed(begin), 3), **fields)

    async def _failure(self, unit: Unit, error: Exception) -> None:
        """Make safe, then leave the unit out, have it tried again, or raise: the run ends."""
        await self._safe(drop_frames=False)
        for step in wanted(unit.frames):
            if step.frame not in self.ledger.done:
                self.ledger.fail(step.frame, str(error))
        weather = isinstance(error, InterlockTripped) and unit.open_shutter and not await self.forbidding(False)
        if weather:
            self.report("note", text=f"{unit} is left out: {error}")
        elif isinstance(error, FATAL) or unit.on_failure == "stop":
            raise error
        else:
            self._again(unit, str(error))

    async def _late(self, step: Step, error: Exception) -> None:
        """A readout failed, perhaps while another unit is under way."""
        self.ledger.fail(step.frame, str(error))
        owner = self._owner[step.frame]
        fatal = not isinstance(error, DeviceError | DataError) or isinstance(error, FATAL)
        if fatal or owner is self._unit or owner.on_failure == "stop":
            raise error
        self._again(owner, str(error))

    def _on_taken(self, step: Step, kept: list[Kept]) -> None:
        self.ledger.taken(step, kept)
        owner = self._owner[step.frame]
        if owner is not self._unit and step.frame in self.ledger.bad:
            self._again(owner, f"{step.frame} failed its checks")

    def _tell_guard(self) -> None:
        """How long lights may burn before the guard acts although this process lives."""
        if self.guard is None:
            return
        if not self.burning:
            self.guard.dark()
            return
        left = max(burn.limit_s - self.clock.elapsed(burn.since) for burn in self.burning.values())
        self.guard.lit(self.clock.limit(left + self.limits.burn_margin_s))

    # ---- the end

    async def _safe(self, *, drop_frames: bool) -> None:
        """Everything still and dark. NotOff where a light may burn. A cancellation goes on afterwards."""
        unverified, held = await shielded(self._hands.make_safe(drop_frames=drop_frames))
        self._tell_guard()
        if unverified:
            raise NotOff(unverified)
        if held:
            raise asyncio.CancelledError

    async def _close(self, task: asyncio.Task[None], oversight: asyncio.Task[None]) -> RunResult:
        """Nothing interrupts this: it runs shielded."""
        await let_go(oversight, task)
        error = task.exception() if task.done() and not task.cancelled() else None
        unverified = await self._final_off(clean=task.done() and not task.cancelled() and error is None)
        if unverified:
            unverified = await self._last_resort(unverified)
        elif self.guard is not None:
            await asyncio.to_thread(self.guard.dismiss)
        reason = self._reason(error)
        missing = self.ledger.missing()
        verdict: Verdict = "unsafe" if unverified else "incomplete" if missing or reason else "complete"
        reason = reason or (f"{len(missing)} of {len(wanted(self.plan.steps))} frames are missing" if missing else "")
        asked = bool(self._abort_reason) or isinstance(error, _Stopped)
        self.report(
            "end", verdict=verdict, reason=reason, asked=asked, lights_off=not unverified,
            frames=len(wanted(self.plan.steps)), ok=len(wanted(self.plan.steps)) - len(missing),
        )  # fmt: skip
        self.ledger.stream.close()
        if error is not None and not isinstance(error, CalibrantError | OSError | _Stopped):
            raise error
        return RunResult(
            self.setting.run_id, str(self.directory), str(self.journal.path), self.ledger.results(),
            verdict, reason, tuple(self.ledger.alarms),
        )  # fmt: skip

    async def _final_off(self, *, clean: bool) -> list[safety.Unverified]:
        """Off, then a last look: a command that was given up may have switched a light on later."""
        unverified = [] if clean and not self.burning else await self._hands.make_safe(drop_frames=True)
        if unverified:
            return unverified
        if self._hands.doubtful:
            await self.clock.sleep(safety.LATE_S)
        states = await safety.read_lights(self.observatory.lights, self.clock)
        if all(state is LightState.OFF for state in states.values()):
            return []
        return await self._hands.make_safe(drop_frames=True)

    async def _last_resort(self, unverified: list[safety.Unverified]) -> list[safety.Unverified]:
        """Alarm; then the guard tries by a connection of its own."""
        text = safety.alarm_text(unverified, self.observatory.name)
        self.report("alarm", text=text, lights=[item.light for item in unverified])
        if self.guard is None:
            return unverified
        verified = await asyncio.to_thread(self.guard.take_over)
        if not verified:
            return unverified
        self.report("note", text="the guard has switched all lights off by a new connection, and verified it")
        return []

    def _reason(self, error: BaseException | None) -> str:
        while isinstance(error, NotOff) and error.__context__ is not None:
            # What went wrong first, before lights could not be verified off.
            error = error.__context__
        if isinstance(error, _Stopped):
            return f"stopped after this {self._stop}, as asked"
        if error is not None:
            return str(error) or type(error).__name__
        return self._abort_reason or self.ledger.journal_problem

    def _report_start(self) -> None:
        plan, setting = self.plan, self.setting
        devices = [self.observatory.detector, *self.observatory.lights.values()]
        devices += [part for part in (self.observatory.mask, self.observatory.pointing) if part is not None]
        start = {
            "run": setting.run_id,
            "plan": {
                "name": plan.name,
                "hash": plan.hash,
                "steps": len(plan.steps),
                "frames": [step.frame for step in wanted(plan.steps)],
                "duration_s": plan.duration_s,
            },
            "inventory": {"name": plan.inventory, "driver": self.observatory.driver},
            "sequence": plan.sequence,
            "cameras": self.observatory.detector.cameras,
            "speed": setting.speed,
            "simulated": self.observatory.simulated,
            "resumed": bool(setting.done),
            "directory": str(self.directory.resolve()),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "versions": {"python": platform.python_version()},
            "devices": {device.name: device.describe() for device in devices},
            **setting.start,
        }
        self.report("start", **start)


def _step_fields(step: Step) -> dict[str, Any]:
    """What of a step is worth a line of the journal."""
    shown = {name: value for name, value in asdict(step).items() if value and name not in ("kind", "options", "index")}
    return {"index": step.index, "step": step.kind, **shown}
