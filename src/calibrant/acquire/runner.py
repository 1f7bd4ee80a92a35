"""Executes a plan on an observatory. In every ending the lights are off and verified, or a person is told.

    run = Run(plan, observatory, "night1", journal=Journal("night1/journal.jsonl"))
    async for record in run.events(): ...        # beside
    result = await run.execute()

A run ends early by `stop_after_frame`, `stop_after_lamp`, `abort`, by cancelling the task of `execute`, by a device's
failure, an interlock, or a light that burns too long. Then, all at once and not to be interrupted: lights off (three
tries, read back), the integration aborted, the mask stopped. What was taken stays; `resume` takes the rest.

What a failure ends is up to the plan (option `on_failure` of its steps): "stop" the run, "skip" the lamp or frame,
"retry(n)" it. A frame that fails its checks is kept but does not count; the run goes on. A lost connection, a full
disk and an interlock end the run whatever the plan says, and an interlock that is `open_shutter_only` ends just the
frames with the shutter open.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from calibrant.acquire import safety
from calibrant.acquire.clock import Clock, let_go, shielded
from calibrant.acquire.control import Inbox
from calibrant.acquire.devices import (
    DeviceError,
    DeviceLost,
    InterlockTripped,
    LightState,
    Observatory,
)
from calibrant.acquire.events import Stream
from calibrant.acquire.guard import Guard
from calibrant.acquire.hands import Filing, Hands, Kept, Limits, NotOff
from calibrant.acquire.journal import Journal, Record
from calibrant.acquire.oversight import Oversight
from calibrant.acquire.plan import Plan, Step
from calibrant.acquire.units import Unit, remaining, units
from calibrant.errors import CalibrantError, DataError

Verdict = Literal["complete", "incomplete", "unsafe"]
UNSAFE_CODE = 3


@dataclass(frozen=True)
class FrameResult:
    """One file, or one frame that was not taken (no path)."""

    key: str
    path: str
    kind: str
    lamp: str
    exposure_s: float
    ok: bool
    problem: str = ""
    camera: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class RunResult:
    """How a run ended, and what it took."""

    run: str
    directory: str
    journal: str
    frames: tuple[FrameResult, ...]
    verdict: Verdict
    reason: str = ""
    alarms: tuple[str, ...] = ()
    taken_before: int = 0
    """Frames of an earlier run that were there already."""

    @property
    def exit_code(self) -> int:
        return {"complete": 0, "incomplete": 1, "unsafe": UNSAFE_CODE}[self.verdict]


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
        filing: Filing | None = None,
        run_id: str = "",
        speed: float = 1.0,
        floor_s: float = 5.0,
        limits: Limits = Limits(),
        done: Collection[str] = (),
        guard: Guard | None = None,
        start: dict[str, Any] | None = None,
    ) -> None:
        """`done`: keys of frames that are there already (`resume.verified`). `start`: more fields for its record."""
        self.plan, self.observatory, self.directory = plan, observatory, Path(directory)
        self.run_id = run_id or new_id()
        self.clock = Clock(speed, floor_s)
        self.journal, self.guard = journal, guard
        self.stream = Stream()
        self.alarms: list[str] = []
        self.result: RunResult | None = None
        self._start_fields = start or {}
        self._limits = limits
        self._done = set(done)
        self._taken_before = len(self._done)
        self._frames: list[FrameResult] = []
        self._failed: dict[str, str] = {}
        """Key -> why it is not there."""
        self._hands = Hands(
            observatory, self.clock, limits, filing or self._filing(), self.report, self._late, self._taken
        )
        self._owner = {step.frame: unit for unit in units(plan.steps) for step in unit.frames}
        self._queue: deque[tuple[Unit, int]] = deque()
        self._unit: Unit | None = None
        self._task: asyncio.Task[None] | None = None
        self._body: asyncio.Task[None] | None = None
        self._cause: Exception | None = None
        self._stop: Literal["", "frame", "lamp"] = ""
        self._abort_reason = ""
        self._journal_problem = ""

    # ---- for others

    def events(self) -> Stream:
        """The records of the journal as they come; `async for` over it gives all, from the first one on."""
        return self.stream

    def stop_after_frame(self, by: str = "the program") -> None:
        """End when the frame under way is stored; at once where none is."""
        self._stop = "frame"
        self._hands.hurry.set()
        self.report("control", command="stop after frame", by=by)

    def stop_after_lamp(self, by: str = "the program") -> None:
        """End when the lamp that burns has given its frames; after this frame where none burns."""
        self._stop = self._stop or "lamp"
        self.report("control", command="stop after lamp", by=by)

    def abort(self, reason: str = "aborted") -> None:
        """End now, throwing the frame under way away. Called again it changes nothing."""
        if self._abort_reason:
            self.report("note", text=f"{reason}: already ending; nothing interrupts switching the lights off")
            return
        self._abort_reason = reason
        self.report("control", command="abort", by=reason)
        if self._task is not None:
            self._task.cancel()

    async def execute(self) -> RunResult:
        """Do it. Returns in every ending of the run itself; a cancellation from outside goes on once all is safe."""
        self._report_start()
        cancelled: asyncio.CancelledError | None = None
        self._task = asyncio.create_task(self._work())
        if self._abort_reason:
            self._task.cancel()
        oversight = asyncio.create_task(Oversight(self, Inbox(self.directory)).watch())
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError as error:
            cancelled = error
            self._abort_reason = self._abort_reason or "cancelled"
        result, held = await shielded(self._close(self._task, oversight))
        self.result = result
        self.stream.close()
        if cancelled is not None or held:
            raise cancelled or asyncio.CancelledError
        return result

    # ---- the work

    async def _work(self) -> None:
        await self._before()
        self._queue.extend((unit, unit.tries) for unit in units(remaining(self.plan.steps, self._done)))
        while self._queue:
            while self._queue:
                if self._stop:
                    raise _Stopped
                await self._attempt(*self._queue.popleft())
            # A readout that fails late may put its unit back.
            await self._hands.settle()

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
        await self.clock.within(self.observatory.detector.prepare(), self._limits.readout_s, "preparing the detector")

    async def _attempt(self, unit: Unit, tries: int) -> None:
        """Do a unit. Raises where the run has to end."""
        steps = [step for step in unit.steps if step.kind != "expose" or step.frame not in self._done]
        steps = remaining(steps, self._done) if unit.frames else steps
        if unit.frames and not any(step.kind == "expose" for step in steps):
            return
        self._unit = unit
        try:
            if unit.open_shutter and (problems := await self.forbidding(open_shutter=True)):
                raise InterlockTripped("; ".join(problems))
            await self._supervised(steps)
        except _Stopped:
            raise
        except (DeviceError, DataError) as error:
            await self._failure(unit, error, tries - 1)
        finally:
            self._unit = None

    async def _supervised(self, steps: list[Step]) -> None:
        """Do the steps in a task of its own, which `interrupt` ends with a cause."""
        if self._cause is not None:
            cause, self._cause = self._cause, None
            raise cause
        self._body = body = asyncio.create_task(self._do(steps))
        try:
            await asyncio.wait({body})
        except asyncio.CancelledError:
            await let_go(body)
            raise
        finally:
            self._body = None
        if body.cancelled() and self._cause is not None:
            cause, self._cause = self._cause, None
            raise cause
        body.result()

    async def _do(self, steps: list[Step]) -> None:
        for step in steps:
            if self._stop == "frame" and step.kind not in ("readout", "light_off"):
                raise _Stopped
            if self._journal_problem:
                raise OSError(self._journal_problem)
            begin = time.monotonic()
            fields = _step_fields(step)
            self.report("step", phase="begin", **fields)
            await self._hands.do(step)
            self._tell_guard()
            self.report("step", phase="end", took_s=round(self.clock.elapsed(begin), 3), **fields)

    def interrupt(self, error: Exception) -> None:
        """End the unit under way, or the next one, with this error."""
        if self._cause is None:
            self._cause = error
            if self._body is not None:
                self._body.cancel()

    async def _failure(self, unit: Unit, error: Exception, tries_left: int) -> None:
        """Make safe, then go on with the next unit, try again, or raise: the run ends."""
        unverified, held = await shielded(self._hands.make_safe(drop_frames=False))
        self._tell_guard()
        if unverified:
            raise NotOff(unverified) from error
        for step in unit.frames:
            if step.frame not in self._done:
                self._fail(step.frame, str(error))
        if held:
            raise asyncio.CancelledError
        open_only = isinstance(error, InterlockTripped) and unit.open_shutter and not await self.forbidding(False)
        if open_only:
            self.report("note", text=f"{unit}: left out, {error}")
            return
        if isinstance(error, DeviceLost | InterlockTripped) or unit.on_failure == "stop":
            raise error
        if tries_left > 0:
            self.report("note", text=f"{unit}: {error}; {tries_left} more tries")
            self._queue.appendleft((unit, tries_left))
        else:
            self.report("note", text=f"{unit}: given up, {error}")

    async def _late(self, step: Step, error: Exception) -> None:
        """A readout failed, perhaps while the next unit was under way already."""
        self._fail(step.frame, str(error))
        owner = self._owner[step.frame]
        mine = self._unit is not None and step.frame in {own.frame for own in self._unit.frames}
        fatal = not isinstance(error, DeviceError | DataError) or isinstance(error, DeviceLost)
        if mine or fatal or owner.on_failure == "stop":
            raise error
        self.report("note", text=f"{step.frame}: {error}")
        if owner.on_failure == "retry":
            self._queue.append((owner, 1))

    # ---- bookkeeping

    def _taken(self, step: Step, kept: list[Kept]) -> None:
        """A frame was stored: it counts when every camera delivered and no check found anything."""
        self._frames = [frame for frame in self._frames if frame.key != step.frame or frame.path]
        problems = []
        for one in kept:
            fields = asdict(one)
            problems += [f"{one.camera}: {text}" for text in one.problems]
            self.report(
                "frame", key=step.frame, frame_kind=step.frame_kind, lamp=step.object, exposure_s=step.exposure_s,
                ok=not one.problems, **fields,
            )  # fmt: skip
            self._frames.append(_frame(step, not one.problems, "; ".join(one.problems), one))
        missing = [name for name in self.observatory.detector.cameras if name not in {one.camera for one in kept}]
        problems += [f"{name} delivered nothing" for name in missing]
        if problems:
            self._fail(step.frame, "; ".join(problems), note=bool(missing))
        else:
            self._done.add(step.frame)
            self._failed.pop(step.frame, None)

    def _fail(self, key: str, problem: str, note: bool = True) -> None:
        self._failed[key] = problem
        if note:
            self.report("failed", key=key, problem=problem)

    def report(self, kind: str, **fields: Any) -> None:
        """A record for the journal and for everybody who listens. Never raises."""
        try:
            record = self.journal.append(kind, **fields)
        except OSError as error:
            self._journal_problem = f"the journal cannot be written: {error.strerror or error}"
            record = {"kind": kind, "time": time.time(), **fields}
        self.tell(record)

    def tell(self, record: Record) -> None:
        if record["kind"] == "alarm":
            self.alarms.append(record["text"])
        self.stream.put(record)

    async def forbidding(self, open_shutter: bool) -> list[str]:
        """What the interlocks say now. Those for an open shutter only are asked when it is."""
        problems = []
        for interlock in self.observatory.interlocks:
            if getattr(interlock, "open_shutter_only", False) and not open_shutter:
                continue
            try:
                found = await self.clock.within(interlock.check(), self._limits.switch_s, f"asking {interlock.name}")
            except DeviceError as error:
                found = [f"it does not answer ({error})"]
            problems += [f"{interlock.name}: {text}" for text in found]
        return problems

    @property
    def open_shutter(self) -> bool:
        """The unit under way has frames with the shutter open."""
        return self._unit is not None and self._unit.open_shutter

    def _tell_guard(self) -> None:
        if self.guard is None:
            return
        if self._hands.burning:
            left = max(burn.limit_s - self.clock.elapsed(burn.since) for burn in self._hands.burning.values())
            self.guard.lit(self.clock.limit(left + self._limits.burn_margin_s))
        else:
            self.guard.dark()

    # ---- the end

    async def _close(self, task: asyncio.Task[None], oversight: asyncio.Task[None]) -> RunResult:
        await let_go(oversight)
        if not task.done():
            await let_go(task)
        error = None if not task.done() or task.cancelled() else task.exception()
        ending = self._abort_reason if self._abort_reason and error is None else ""
        unverified = await self._final_off(drop_frames=bool(ending) or isinstance(error, NotOff))
        ...
