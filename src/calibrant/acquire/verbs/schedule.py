"""`calibrant acquire schedule`: which calibration may run when tonight, and, with --run, take them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from calibrant.acquire.verbs import options
from calibrant.acquire.verbs.run import Simulate, State
from calibrant.params import Param

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory
    from calibrant.acquire.night import Night
    from calibrant.acquire.schedule import Slot
    from calibrant.acquire.schedule_run import NightResult


@dataclass(frozen=True)
class ScheduleReport:
    """The night, what becomes of each calibration, and, where they were run, how that went."""

    night: Night
    inventory: str
    slots: list[Slot] = field(repr=False)
    result: NightResult | None = None

    @property
    def verdict(self) -> str:
        if self.result is not None:
            return self.result.verdict
        lost = [slot for slot in self.slots if slot.state == "impossible" and slot.entry.required]
        return "some cannot run" if lost else "all can run"

    @property
    def exit_code(self) -> int:
        """0: all can run, or were taken; 1: a required one cannot, or failed; 3: unsafe; 130: Ctrl-C."""
        if self.result is None:
            return 0 if self.verdict == "all can run" else 1
        if self.result.interrupted:
            return 130
        return {"complete": 0, "incomplete": 1, "unsafe": 3}[self.result.verdict]

    def summary(self) -> str:
        from calibrant.acquire import schedule_text

        if self.result is not None:
            return "\n".join(schedule_text.outcome(self.result, self.night))
        return "\n".join(schedule_text.words(self.night, self.inventory, self.slots))

    def to_dict(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "night": self.night.to_dict(),
            "inventory": self.inventory,
            "verdict": self.verdict,
            "calibrations": [slot.to_dict() for slot in self.slots],
        }
        if self.result is not None:
            states = [one.to_dict() for one in self.result.calibrations]
            content["run"] = {
                "directory": self.result.directory,
                "states": states,
                "reason": self.result.reason,
                "alarms": list(self.result.alarms),
            }
        return content


def schedule(
    calibrations: Annotated[
        str, Param("The list of calibrations: a file like gort's calibrations.yaml, or 'lvm'.", positional=True)
    ] = "lvm",
    inventory: options.InventoryName = options.INVENTORY,
    date: Annotated[str, Param("The night: date of its evening, 2025-11-15, or SJD, 60995. Empty: tonight.")] = "",
    run: Annotated[bool, Param("Take them: wait for each one's time, run it, try again what fails.")] = False,
    output: Annotated[
        str, Param("Directory of the night: --run goes on with one that is there; what is over there is said.")
    ] = "",
    simulate: Simulate = False,
    speed: Annotated[float, Param("A simulated night passes so many times faster.")] = 1.0,
    state: State = "",
) -> ScheduleReport:
    """Say which calibration may run when tonight: windows in UTC and local time, the sun, the order, what forbids it.

    The list is that of gort 1.x, read strictly. Of those whose time has come, the highest priority is taken first.
    With --date, the whole night is shown; without, what is left of it. The exit code is 1 where a required
    calibration cannot run. With --run, `schedule.jsonl` in the night's directory remembers every state, and the same
    command goes on after an interruption.

    Example:
        calibrant acquire schedule lvm --date 2025-11-15
        calibrant acquire schedule lvm --date 2025-11-15 --run --simulate --speed 200 -o night

    Raises FormatError for a list that is not valid, ParameterError where the inventory has no site.
    """
    import time

    from calibrant.acquire.calibrations import load_calendar
    from calibrant.acquire.inventory import load_inventory
    from calibrant.acquire.night import night_of
    from calibrant.acquire.schedule import derive
    from calibrant.acquire.schedule_run import over_in
    from calibrant.errors import ParameterError

    entries, devices = load_calendar(calibrations), load_inventory(inventory)
    if devices.site is None:
        raise ParameterError(f"inventory {devices.name!r} has no site: nobody knows when the sun sets there")
    night = night_of(devices.site, date, time.time())
    over = over_in(Path(output)) if output else []
    slots = derive(entries, devices, night, None if date else time.time(), over)
    if not run:
        return ScheduleReport(night, devices.name, slots)
    result = _run(entries, devices, night, Path(output or f"night-{night.sjd}"), inventory, simulate, speed, state)
    return ScheduleReport(night, devices.name, slots, result)


def _run(
    entries: list[Any],
    devices: Inventory,
    night: Night,
    directory: Path,
    source: str,
    simulate: bool,
    speed: float,
    state: str,
) -> NightResult:
    import asyncio
    import time

    from calibrant.acquire.schedule_run import NightClock, Schedule, last_moment
    from calibrant.acquire.verbs.run import check_speed
    from calibrant.errors import ParameterError
    from calibrant.progress import say

    simulated = simulate or devices.driver == "sim"
    check_speed(speed, simulated)
    if not simulated and not night.noon <= time.time() < night.end:
        raise ParameterError(f"the night of {night.evening} is not now: add --simulate, or leave --date out")
    clock = NightClock(last_moment(directory) or _opening(entries, night), speed) if simulated else NightClock()
    take = _taker(devices, source, simulate, speed, state)
    schedule = Schedule(entries, devices, night, directory, clock, take, say)
    try:
        return asyncio.run(_locked(schedule))
    except KeyboardInterrupt:
        return schedule.interrupted()


async def _locked(schedule: Any) -> NightResult:
    """Two that take the same night would take everything twice."""
    from calibrant.acquire.lock import Holder, Lock

    schedule.directory.mkdir(parents=True, exist_ok=True)
    lock = Lock(schedule.directory / "schedule.lock", Holder.here("schedule", schedule.directory), "this night")
    try:
        return await schedule.execute()
    finally:
        lock.release()


def _opening(entries: list[Any], night: Night) -> float:
    """A minute before the first window opens: there a simulated night begins."""
    from calibrant.acquire.schedule import window

    opening = [window(entry, night)[0] for entry in entries if not entry.disabled]
    return min([when for when in opening if when is not None and when >= night.noon], default=night.noon + 60) - 60


def _taker(devices: Inventory, source: str, simulate: bool, speed: float, state: str) -> Any:
    """Runs one plan."""
    from calibrant.acquire import session
    from calibrant.acquire.resume import verified
    from calibrant.acquire.verbs.resume import read_json
    from calibrant.acquire.verbs.run import source_of
    from calibrant.errors import ParameterError

    async def take(plan: Any, directory: Path, again: bool) -> Any:
        if again and read_json(directory / session.PLAN_NAME)["hash"] != plan.hash:
            raise ParameterError(f"{directory}: its plan has changed since it began; begin the night in another place")
        before = verified(directory, plan) if again else None
        request = session.Request(
            plan, devices, directory, simulate and devices.driver != "sim", speed, source=source_of(source),
            compiled={}, before=before, state=state,
        )  # fmt: skip
        return await session.take(request)

    return take
