"""Runs a night's calibrations in order, tries again what fails, and remembers everything: a restart goes on.

Each calibration is a run in a directory of its own, below the night's. `schedule.jsonl` there has a record for each
change of state: waiting, running, retrying, failed, cancelled, done, as in gort. A calibration that fails is tried
again (only the frames that are missing) for `max_try_time` and while its window is open; one that failed for good and
has `allow_post_observing_recovery` gets one more try when the night is over. Where lights may burn, all ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from calibrant.acquire import twilight
from calibrant.acquire.calibrations import Entry
from calibrant.acquire.inventory import Inventory
from calibrant.acquire.journal import Journal, Record, read
from calibrant.acquire.night import Night, clock, stamp
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import RunResult
from calibrant.acquire.resume import content_hash
from calibrant.acquire.schedule import plan_of, window
from calibrant.errors import CalibrantError, DataError, DeviceError, ParameterError

NAME = "schedule.jsonl"
State = Literal["waiting", "running", "retrying", "failed", "cancelled", "done"]
OVER = ("failed", "cancelled", "done")
KEPT = ("state", "attempts", "first_try", "begin", "end", "reason", "directory", "frames", "ok", "recovered")
"""What the journal remembers of a calibration."""
RETRY_PAUSE_S = 10.0
Take = Callable[[Plan, Path, bool], Awaitable[RunResult]]
"""Runs a plan in a directory; the last argument: go on with the run that is there."""


class NightClock:
    """UTC of the night. A simulation begins at a moment of its own and runs `speed` times faster."""

    def __init__(self, begin: float | None = None, speed: float = 1.0) -> None:
        self._begin, self._speed, self._start = begin, speed, time.monotonic()

    def now(self) -> float:
        if self._begin is None:
            return time.time()
        return self._begin + (time.monotonic() - self._start) * self._speed

    async def sleep_until(self, when: float) -> None:
        # In pieces: a computer that slept, or whose clock was set, must not oversleep.
        while (left := when - self.now()) > 0:
            await asyncio.sleep(min(left / (self._speed if self._begin is not None else 1.0), 60.0))


@dataclass
class Progress:
    """How far one calibration is. Times are the night's, UTC seconds since 1970."""

    entry: Entry
    earliest: float | None
    latest: float | None
    state: State = "waiting"
    attempts: int = 0
    first_try: float | None = None
    begin: float | None = None
    end: float | None = None
    reason: str = ""
    directory: str = ""
    """Of its last run, below the night's."""
    frames: int = 0
    ok: int = 0
    recovered: bool = False
    """It got its try after the night."""
    not_before: float = 0.0
    """A pause before the next try."""

    def to_dict(self) -> dict[str, Any]:
        shown = ("state", "attempts", "reason", "directory", "frames", "ok", "recovered")
        values = asdict(self)
        times = {name: stamp(values[name]) for name in ("earliest", "latest", "begin", "end")}
        return {"name": self.entry.name, "recipe": self.entry.recipe, **{key: values[key] for key in shown}, **times}


@dataclass(frozen=True)
class NightResult:
    """complete: every calibration that is not disabled is done. unsafe: nobody can tell whether a light burns."""

    directory: str
    calibrations: tuple[Progress, ...]
    verdict: Literal["complete", "incomplete", "unsafe"]
    reason: str = ""
    alarms: tuple[str, ...] = ()
    interrupted: bool = False


@dataclass
class Schedule:
    """A night's calibrations under way. `execute` takes them."""

    entries: Sequence[Entry]
    inventory: Inventory
    night: Night
    directory: Path
    clock: NightClock
    take: Take
    say: Callable[[str], None] = lambda text: None
    progress: dict[str, Progress] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    _unsafe: bool = False

    async def execute(self) -> NightResult:
        """Until all is over. Raises ParameterError where the directory holds another schedule's night."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(self.directory / NAME)
        try:
            self._begin()
            reason = await self._all()
        finally:
            self._journal.close()
        return self._result(reason)

    def _begin(self) -> None:
        """What the journal says about this night, if it says anything."""
        self.progress = {entry.name: self._new(entry) for entry in self.entries if not entry.disabled}
        start = {
            "sjd": self.night.sjd,
            "inventory": [self.inventory.name, content_hash(self.inventory.model_dump(mode="json"))],
            "schedule": content_hash([entry.model_dump(mode="json") for entry in self.entries]),
        }
        records = read(self._journal.path)
        if not records:
            self._journal.append("start", **start, evening=self.night.evening, nominal=self.clock.now())
            for one in self.progress.values():
                self._set(one, "waiting")
        for record in records:
            if record["kind"] == "start":
                self._same(record, start)
            elif record["name"] in self.progress:
                self._recall(self.progress[record["name"]], record)
        for one in self.progress.values():
            if one.state == "running":
                # Whoever ran it has died, or was interrupted.
                self._set(one, "retrying", "the schedule was interrupted while it was running")

    def _new(self, entry: Entry) -> Progress:
        earliest, latest = window(entry, self.night)
        return Progress(entry, earliest, latest)

    def _same(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        names = {"sjd": "night", "inventory": "inventory", "schedule": "list of calibrations"}
        changed = [words for key, words in names.items() if old[key] != new[key]]
        if changed:
            raise ParameterError(
                f"{self.directory} holds a schedule with another {' and '.join(changed)}: go on with what it began "
                "with, or choose another directory"
            )

    def _recall(self, one: Progress, record: Record) -> None:
        for name in KEPT:
            setattr(one, name, record[name])

    def _set(self, one: Progress, state: State, reason: str = "") -> None:
        one.state, one.reason = state, reason
        values = asdict(one)
        kept = {name: values[name] for name in KEPT}
        window = {"earliest": one.earliest, "latest": one.latest}
        self._journal.append("calibration", name=one.entry.name, nominal=self.clock.now(), **kept, **window)
        why = f": {reason}" if reason else ""
        if state == "waiting":
            return
        self.say(f"{clock(self.clock.now())} {one.entry.name}: {state}{why}")

    # ---- the night

    async def _all(self) -> str:
        """Why it ended early; empty where all is over."""
        while True:
            self._give_up_late()
            if (one := self._next()) is not None:
                if reason := await self._run(one):
                    return reason
                continue
            wake = self._wake()
            if wake is None:
                break
            await self.clock.sleep_until(wake)
        for one in self._unfinished():
            self._set(one, "failed", self._why_never(one))
        return await self._recover()

    def _unfinished(self) -> list[Progress]:
        return [one for one in self.progress.values() if one.state not in OVER]

    def _free(self, one: Progress) -> bool:
        after = one.entry.after
        return after is None or (after in self.progress and self.progress[after].state in OVER)

    def _next(self) -> Progress | None:
        """A try that is to be repeated first, and nothing else during its pause, as in gort; then by priority."""
        now = self.clock.now()
        if any(one.state == "retrying" and one.not_before > now for one in self._unfinished()):
            return None
        due = [
            one
            for one in self._unfinished()
            if self._free(one) and (one.earliest is None or one.earliest <= now) and one.not_before <= now
        ]
        return min(due, key=lambda one: (one.state != "retrying", -one.entry.priority), default=None)

    def _wake(self) -> float | None:
        """When something may be due that is not now."""
        waiting = [one for one in self._unfinished() if self._free(one)]
        pauses = [one.not_before for one in waiting if one.state == "retrying"]
        times = [when for when in pauses if when > self.clock.now()]
        times = times or [max(one.earliest or 0.0, one.not_before) for one in waiting]
        coming = [when for when in times if when <= self.night.end]
        return min(coming, default=None)

    def _give_up_late(self) -> None:
        now = self.clock.now()
        for one in self._unfinished():
            if one.latest is not None and one.latest < now:
                if one.state == "waiting":
                    self._set(one, "failed", f"too late: it had to begin by {clock(one.latest)} UTC")
                else:
                    self._set(one, "failed", f"{one.reason}; its window closed at {clock(one.latest)} UTC")

    def _why_never(self, one: Progress) -> str:
        after = one.entry.after
        if after is not None and after not in self.progress:
            return f"it waits for {after}, which is disabled"
        return "its window does not open before the next noon"

    async def _run(self, one: Progress) -> str:
        """One try. Returns why the whole night must end, else nothing."""
        now = self.clock.now()
        one.attempts += 1
        one.begin, one.end = now, None
        one.first_try = now if one.first_try is None else one.first_try
        try:
            plan = plan_of(one.entry, self.inventory, self.night, now)
            directory, again = self._place(one, plan)
            one.directory, one.frames = directory.name, len(plan.frames)
            self._set(one, "running")
            result = await self.take(plan, directory, again)
        except (CalibrantError, OSError) as error:
            one.end = self.clock.now()
            self._failed(one, str(error), final=not isinstance(error, DeviceError | OSError))
            return ""
        one.end = self.clock.now()
        bad = {frame.key for frame in result.frames if not frame.ok}
        one.ok = len({frame.key for frame in result.frames} - bad)
        return self._judged(one, result)

    def _judged(self, one: Progress, result: RunResult) -> str:
        from calibrant.acquire.ears import SIGNALS

        self.alarms += result.alarms
        if result.verdict == "unsafe":
            self._unsafe = True
            self._set(one, "failed", result.reason or "lights may burn")
            return f"{one.entry.name}: nobody can tell whether a light burns; nothing more is done"
        if result.verdict == "complete":
            self._set(one, "done")
        elif result.interrupted or result.reason in SIGNALS.values():
            self._set(one, "retrying", result.reason)
            return result.reason
        elif _asked(result):
            self._set(one, "cancelled", result.reason)
        else:
            self._failed(one, result.reason)
        return ""

    def _failed(self, one: Progress, reason: str, final: bool = False) -> None:
        """Once more, where there is time."""
        now = self.clock.now()
        spent = now - (one.first_try or now) + RETRY_PAUSE_S
        in_time = one.latest is None or now + RETRY_PAUSE_S <= one.latest
        if not final and not one.recovered and spent <= one.entry.max_try_time and in_time:
            one.not_before = now + RETRY_PAUSE_S
            self._set(one, "retrying", reason)
            return
        why = "" if final or one.recovered else f" (given up after {one.attempts} tries)"
        self._set(one, "failed", reason + why)

    def _place(self, one: Progress, plan: Plan) -> tuple[Path, bool]:
        """The directory of the next run, and whether it goes on there. The sky's flats are new every time."""
        from calibrant.acquire import journal

        name = one.entry.name
        first = self.directory / name
        if one.entry.recipe != twilight.RECIPE:
            return first, (first / journal.NAME).exists()
        number, place = 1, first
        while (place / journal.NAME).exists():
            number += 1
            place = self.directory / f"{name}-{number}"
        return place, False

    async def _recover(self) -> str:
        """One more try, when the night is over, for what failed and may have it."""
        lost = [
            one
            for one in self.progress.values()
            if one.state == "failed" and one.entry.allow_post_observing_recovery and not one.recovered
        ]
        dawn = self.night.dawn["nautical"]
        if not lost or dawn is None:
            return ""
        self.say(
            f"{', '.join(one.entry.name for one in lost)}: once more after {clock(dawn)} UTC, when the night is over"
        )
        await self.clock.sleep_until(dawn)
        for one in lost:
            one.recovered = True
            if reason := await self._run(one):
                return reason
        return ""

    def interrupted(self) -> NightResult:
        """As `execute` would have returned, after Ctrl-C while it waited."""
        return self._result("interrupted (Ctrl-C)")

    def _result(self, reason: str) -> NightResult:
        from calibrant.acquire.ears import SIGNALS

        states = {one.state for one in self.progress.values()}
        complete = states <= {"done"} and not reason
        return NightResult(
            str(self.directory),
            tuple(self.progress.values()),
            "unsafe" if self._unsafe else "complete" if complete else "incomplete",
            reason,
            tuple(self.alarms),
            reason in SIGNALS.values(),
        )


def _asked(result: RunResult) -> bool:
    """Somebody ended this run with `stop` or `abort`."""
    ends = [record for record in read(result.journal) if record["kind"] == "end"]
    return bool(ends) and bool(ends[-1].get("asked"))


def read_night(directory: Path) -> tuple[str, list[Record]]:
    """Of a night's journal: the evening's date, and each calibration's last state. DataError where there is none."""
    records = read(directory / NAME)
    starts = [record for record in records if record["kind"] == "start"]
    if not starts:
        raise DataError(f"{directory / NAME}: the journal has no start of a night")
    states = {record["name"]: record for record in records if record["kind"] == "calibration"}
    return str(starts[0]["evening"]), list(states.values())


def over_in(directory: Path) -> list[str]:
    """The calibrations that are over according to a night's directory; none where nothing was run in it."""
    if not (directory / NAME).exists():
        return []
    return [record["name"] for record in read_night(directory)[1] if record["state"] in OVER]


def last_moment(directory: Path) -> float | None:
    """The night's time when the journal was written last; a simulation goes on from there."""
    path = directory / NAME
    records = read(path) if path.exists() else []
    return float(records[-1]["nominal"]) if records else None
