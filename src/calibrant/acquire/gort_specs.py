"""Frames taken by hand, and sequences (`gort.Gort().specs`)."""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from calibrant.acquire import safety
from calibrant.acquire.clock import let_go, shielded
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.devices import CaptureSpec, Frame, FrameKind
from calibrant.acquire.filing import DiskFiling, Evidence, Kept
from calibrant.acquire.plan import Plan, Step
from calibrant.acquire.runner import new_id
from calibrant.acquire.sequence import SEQUENCES, load_sequence
from calibrant.acquire.session import Request, take
from calibrant.errors import DeviceError, ParameterError
from calibrant.progress import say

if TYPE_CHECKING:
    from calibrant.acquire.devices import Exposure as DeviceExposure
    from calibrant.acquire.gort import Gort
    from calibrant.acquire.result import RunResult

FLAVOURS = ("arc", "object", "flat", "bias", "dark")
_BY_HAND = "by-hand"


class CalibrationFailed(DeviceError):
    """A calibration sequence ended without all of its frames; `result` tells which, the directory holds the others."""

    def __init__(self, result: RunResult) -> None:
        missing = sorted({frame.key for frame in result.frames if not frame.ok})
        text = f"{result.verdict}: {result.reason}"
        text += f"; not taken or not good: {', '.join(missing)}" if missing else ""
        text += "".join(f"; {alarm}" for alarm in result.alarms if alarm.startswith("ALARM"))
        super().__init__(f"{text}. Go on with 'calibrant acquire resume {result.directory}'")
        self.result = result


class Exposure:
    """A frame of all cameras, taken by hand. Awaiting it waits until it is read out and stored, and returns it."""

    def __init__(self, key: str, flavour: str, exposure_time: float, object_name: str) -> None:
        self.key, self.flavour, self.exposure_time, self.object = key, flavour, exposure_time, object_name
        self.files: list[Path] = []
        self.problems: list[str] = []
        """What the checks of the frames found: no light, saturated, short, ..."""
        self._task: asyncio.Task[None] | None = None

    @property
    def reading(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def error(self) -> bool:
        return bool(self.problems) or (self.done() and not self.files)

    def done(self) -> bool:
        return self._task is not None and self._task.done()

    def get_files(self) -> list[Path]:
        return list(self.files)

    def follow(self, readout: asyncio.Task[None]) -> None:
        self._task = readout

    async def settled(self) -> None:
        """Until it is done, one way or the other."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def drop(self) -> None:
        if self._task is not None:
            await let_go(self._task)

    def __await__(self) -> Generator[Any, None, Exposure]:
        if self._task is not None:
            yield from self._task.__await__()
        return self

    def __repr__(self) -> str:
        state = "reading" if self.reading else "done" if self.done() else "exposing"
        return f"<Exposure {self.key}: {self.flavour}, {self.exposure_time:g} s, {state}>"


class Spectrographs:
    """`g.specs`: the detector."""

    def __init__(self, gort: Gort) -> None:
        self._gort = gort
        self.last_exposure: Exposure | None = None
        self._counts: Counter[str] = Counter()
        self._filing: DiskFiling | None = None

    async def expose(
        self,
        exposure_time: float | None = None,
        flavour: str | None = None,
        header: str | Mapping[str, Any] | None = None,
        show_progress: bool | None = None,
        async_readout: bool = False,
        count: int = 1,
        object: str | None = None,
        specs: list[str] | None = None,
    ) -> Exposure | list[Exposure]:
        """Take `count` frames; a list of exposures where that is not one.

        Without time it is a bias. `async_readout`: return when the (last) shutter has closed; await the exposure for
        the rest. `header`: more keywords, as JSON or a dictionary. `show_progress` and `specs` are gort's: there is no
        bar here, and all spectrographs are always exposed together.
        """
        kind, seconds = _kind_and_time(exposure_time, flavour)
        extra = _header(header)
        if count < 1:
            raise ParameterError(f"count {count}: must be 1 or more")
        if specs is not None:
            raise ParameterError("specs: spectrographs are exposed together here; leave it out")
        taken = []
        for number in range(1, count + 1):
            exposure = await self._one(kind, seconds, object, extra)
            if not async_readout or number < count:
                await exposure
            taken.append(exposure)
        return taken[0] if count == 1 else taken

    async def calibrate(
        self,
        sequence: str | Path | Mapping[str, Any] = "normal",
        slew_telescopes: bool = True,
        park_after: bool = False,
        show_progress: bool = False,
    ) -> RunResult:
        """Take a sequence: its name, its file, or a dictionary as gort has it. All lamps are off before and after.

        Everything is checked first (FormatError, ParameterError). CalibrationFailed where frames are missing.
        """
        gort = self._gort
        options = {"slew_telescopes": slew_telescopes, "park_after": park_after}
        plan = compile_plan(load_sequence(sequence), gort.inventory, **options)
        await self.settle()
        await gort.nps.calib.release()
        gort.report("note", text=f"sequence {plan.name} begins")
        request = Request(
            plan,
            gort.inventory,
            self._directory(plan),
            gort.simulate,
            gort.speed,
            source=gort.source,
            compiled=options,
            options=gort.options,
        )
        result = await take(request, watch=show_progress)
        if result.verdict != "complete":
            raise CalibrationFailed(result)
        return result

    def get_calibration_sequence(self, sequence: str) -> dict[str, Any]:
        """A named sequence as a dictionary, to be changed and given to `calibrate`."""
        if sequence not in SEQUENCES:
            raise ParameterError(f"sequence {sequence!r}: there are {', '.join(SEQUENCES)}")
        return copy.deepcopy(load_sequence(sequence).given)

    async def status(self) -> dict[str, Any]:
        return await self._gort.observatory.detector.status()

    async def are_idle(self) -> bool:
        return await self._gort.observatory.detector.is_idle()

    async def abort(self) -> None:
        """Stop exposing and reading; the frame is thrown away."""
        if self.last_exposure is not None:
            await self.last_exposure.drop()
        detector = self._gort.observatory.detector
        await self._gort.within(detector.abort(), self._gort.limits.abort_s, "aborting the detector")

    async def settle(self) -> None:
        """Wait for a readout under way."""
        if self.last_exposure is not None:
            await self.last_exposure.settled()

    async def give_up(self) -> None:
        """Something else failed: a readout under way is not waited for."""
        if self.last_exposure is not None and self.last_exposure.reading:
            await self.abort()

    async def _one(self, kind: FrameKind, seconds: float, name: str | None, header: dict[str, Any]) -> Exposure:
        gort, detector = self._gort, self._gort.observatory.detector
        await self.settle()
        lit = await self._lit()
        source = name or ("+".join(lit) if lit and kind in ("flat", "arc", "object") else "")
        self._counts[kind] += 1
        exposure = Exposure(f"{kind}-{self._counts[kind]:02d}", kind, seconds, source or kind)
        # Frames that an instrument writes itself get their keywords from it; others when they are stored.
        own = {"header": header} if header and gort.observatory.driver == "clu" else {}
        spec = CaptureSpec(exposure.key, kind, seconds, source, own)
        step = Step(
            self._counts.total(), "expose", 0.0, seconds, lit if kind in ("flat", "arc") else (), frame=spec.key,
            frame_kind=kind, object=source, exposure_s=seconds,
        )  # fmt: skip
        minutes = {lamp: spent / 60 for lamp, spent in gort.nps.calib.burning.items()}
        evidence = Evidence(step, gort.clock.now(), await self._states(), minutes)
        begun = await gort.within(detector.expose(spec), gort.limits.start_s, f"starting {spec.key}")
        limit = seconds + gort.limits.expose_grace_s
        await gort.within(begun.integrated(), limit, f"exposing {spec.key}")
        evidence.lights_end = await self._states()
        exposure.follow(asyncio.create_task(self._read(begun, exposure, spec, evidence, header)))
        self.last_exposure = exposure
        return exposure

    async def _read(
        self, begun: DeviceExposure, exposure: Exposure, spec: CaptureSpec, evidence: Evidence, header: dict[str, Any]
    ) -> None:
        gort = self._gort
        limit = gort.inventory.detector.readout_s + gort.limits.readout_grace_s
        frames: list[Frame] = await gort.within(begun.read(), limit, f"reading out {spec.key}")
        cards = {key: (item, "") for key, item in header.items()}
        frames = [replace(frame, header={**frame.header, **cards}) if cards else frame for frame in frames]
        keeping, held = await shielded(asyncio.to_thread(self._file().keep, frames, spec, evidence))
        for kept in keeping.kept:
            self._note(exposure, spec, kept)
        if keeping.error is not None:
            raise keeping.error
        if held:
            raise asyncio.CancelledError

    def _note(self, exposure: Exposure, spec: CaptureSpec, kept: Kept) -> None:
        exposure.files.append(self._gort.directory / kept.path)
        exposure.problems += kept.problems
        for problem in kept.problems:
            say(f"{spec.key}: {problem}")
        self._gort.report(
            "frame", key=spec.key, camera=kept.camera, path=kept.path, sha256=kept.sha256, frame_kind=spec.kind,
            lamp=spec.object, exposure_s=spec.exposure_s, measured_s=kept.measured_s, begin=kept.begin, end=kept.end,
            ok=not kept.problems, problems=kept.problems,
        )  # fmt: skip

    def _file(self) -> DiskFiling:
        if self._filing is None:
            gort = self._gort
            self._filing = DiskFiling(
                gort.directory, Plan(_BY_HAND, gort.inventory.name, (), 0.0), gort.observatory, run_id=new_id(),
                inventory=gort.inventory, speed=gort.speed,
            )  # fmt: skip
        return self._filing

    async def _states(self) -> dict[str, str]:
        states = await safety.read_lights(self._gort.observatory.lights, self._gort.clock)
        return {name: state.value for name, state in states.items()}

    async def _lit(self) -> tuple[str, ...]:
        return tuple(name for name, state in (await self._states()).items() if state in ("on", "warming"))

    def _directory(self, plan: Plan) -> Path:
        number = 1
        while (folder := self._gort.directory / f"{plan.name}-{number:02d}").exists():
            number += 1
        return folder


def _kind_and_time(exposure_time: float | None, flavour: str | None) -> tuple[FrameKind, float]:
    """Without time, or with 0, it is a bias."""
    seconds = float(exposure_time or 0.0)
    if not 0 <= seconds < math.inf:
        raise ParameterError(f"exposure_time {exposure_time}: must be 0 or more seconds")
    kind = flavour or ("object" if seconds else "bias")
    if kind not in FLAVOURS:
        raise ParameterError(f"flavour {flavour!r}: must be one of {', '.join(FLAVOURS)}")
    if kind == "bias":
        seconds = 0.0
    elif not seconds:
        raise ParameterError(f"flavour {kind!r} needs an exposure_time")
    return cast(FrameKind, kind), seconds


def _header(header: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if header is None:
        return {}
    try:
        found = json.loads(header) if isinstance(header, str) else dict(header)
    except ValueError as error:
        raise ParameterError(f"header: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ParameterError(f"header: {type(found).__name__} found, an object with FITS keywords expected")
    return found
