"""Which calibration may run when tonight, and in which order they will run.

`derive` walks through the night as gort's Overwatcher does: of the calibrations whose time has come and whose
predecessor is over, the one with the highest priority is taken, whole; then the next. A window limits the beginning,
not the end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from calibrant.acquire import twilight
from calibrant.acquire.calibrations import RECIPES, Entry
from calibrant.acquire.night import DAY, MJD_1970, Night, clock, stamp
from calibrant.acquire.plan import Plan
from calibrant.errors import CalibrantError, ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory

JD_1970 = 2440587.5
State = Literal["planned", "over", "disabled", "impossible"]


@dataclass(frozen=True)
class Slot:
    """What becomes of one calibration. Times are UTC seconds since 1970."""

    entry: Entry
    state: State = "impossible"
    earliest: float | None = None
    latest: float | None = None
    """It may begin between the two; None: no limit."""
    begin: float | None = None
    end: float | None = None
    """Expected."""
    frames: tuple[str, ...] = ()
    """'flat 1 s', 'arc 10 s': in the order in which they are taken."""
    reasons: tuple[str, ...] = ()
    """Why it cannot run."""
    notes: tuple[str, ...] = ()
    """What a person should know: late, dome, what it waits for."""
    sun: tuple[float, float] | None = None
    """Altitude at the beginning and at the end, degrees."""

    def to_dict(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "name": entry.name,
            "recipe": entry.recipe,
            "state": self.state,
            "earliest": stamp(self.earliest),
            "latest": stamp(self.latest),
            "begin": stamp(self.begin),
            "end": stamp(self.end),
            "sun_altitude": None if self.sun is None else [round(value, 2) for value in self.sun],
            "priority": entry.priority,
            "after": entry.after,
            "dome": entry.dome,
            "required": entry.required,
            "frames": list(self.frames),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }


def window(entry: Entry, night: Night) -> tuple[float | None, float | None]:
    """When it may begin. ParameterError where the sun does not set or rise."""
    first, last = entry.min_start_time, entry.max_start_time
    match entry.time_mode:
        case "secs_after_sunset":
            zero, unit = _needed(night.sunset, "set", night), 1.0
        case "secs_before_sunrise":
            zero, unit = _needed(night.sunrise, "rise", night), -1.0
        case "jd":
            zero, unit = -JD_1970 * DAY, DAY
        case _:
            zero, unit = (night.sjd - 1 - MJD_1970) * DAY, 3600.0
            if first is not None and last is not None and last < first:
                last += 24
    return tuple(None if value is None else zero + unit * value for value in (first, last))  # type: ignore[return-value]


def _needed(when: float | None, does: str, night: Night) -> float:
    if when is None:
        raise ParameterError(f"the sun does not {does} in the night of {night.evening}")
    return when


def plan_of(entry: Entry, inventory: Inventory, night: Night, begin: float) -> Plan:
    """The plan of a calibration that begins then. ParameterError where this observatory cannot take it then."""
    from calibrant.acquire.compiler import compile_plan
    from calibrant.acquire.sequence import load_sequence

    if entry.recipe != twilight.RECIPE:
        return compile_plan(load_sequence(RECIPES.get(entry.recipe, entry.recipe)), inventory)
    sunset, sunrise = _needed(night.sunset, "set", night), _needed(night.sunrise, "rise", night)
    if abs(begin - sunset) < abs(begin - sunrise):
        return twilight.twilight_plan(inventory, sunset, begin, "evening", night.sjd)
    return twilight.twilight_plan(inventory, sunrise, begin, "morning", night.sjd)


def derive(
    entries: Sequence[Entry], inventory: Inventory, night: Night, start: float | None = None, over: Collection[str] = ()
) -> list[Slot]:
    """What becomes of each entry, in the list's order. `start`: from then on (default: noon); `over`: they are."""
    return _Walk(entries, inventory, night, night.noon if start is None else start, set(over)).slots()


class _Walk:
    """Through a night, from one beginning to the next."""

    def __init__(
        self, entries: Sequence[Entry], inventory: Inventory, night: Night, start: float, over: set[str]
    ) -> None:
        self._inventory, self._night, self._now, self._over = inventory, night, start, over
        self._found = {entry.name: Slot(entry) for entry in entries}
        self._pending: list[str] = []
        self._running = ""
        """What was taken last, until `_now`."""
        for slot in list(self._found.values()):
            self._admit(slot)

    def slots(self) -> list[Slot]:
        while self._pending:
            self._drop_late()
            ready = [name for name in self._pending if self._may_begin(name, self._now)]
            if ready:
                self._take(min(ready, key=lambda name: -self._found[name].entry.priority))
                continue
            later = [
                when for name in self._pending if self._free(name) and (when := self._found[name].earliest) is not None
            ]
            if not later or min(later) > self._night.end:
                break
            self._now, self._running = min(later), ""
        for name in self._pending:
            self._refuse(name, self._why_never(name))
        return list(self._found.values())

    def _admit(self, slot: Slot) -> None:
        """Into the list of those that wait, where anything can come of it."""
        entry = slot.entry
        try:
            earliest, latest = window(entry, self._night)
        except ParameterError as error:
            self._found[entry.name] = replace(slot, reasons=(str(error),))
            return
        slot = replace(slot, earliest=earliest, latest=latest, notes=tuple(_notes(entry)))
        if entry.disabled:
            slot = replace(slot, state="disabled", reasons=("it is disabled",))
        elif entry.name in self._over:
            slot = replace(slot, state="over")
        else:
            self._pending.append(entry.name)
        self._found[entry.name] = slot

    def _free(self, name: str) -> bool:
        """Its predecessor is over."""
        after = self._found[name].entry.after
        return after is None or after in self._over

    def _may_begin(self, name: str, when: float) -> bool:
        earliest = self._found[name].earliest
        return self._free(name) and (earliest is None or earliest <= when)

    def _drop_late(self) -> None:
        for name in list(self._pending):
            latest = self._found[name].latest
            if latest is not None and latest < self._now:
                busy = f", while {self._running} was under way" if self._running else ""
                self._refuse(name, f"too late: it had to begin by {clock(latest)} UTC{busy}")
                self._pending.remove(name)
                # As in gort: what failed is over, and what comes after it may run.
                self._over.add(name)

    def _take(self, name: str) -> None:
        self._pending.remove(name)
        self._over.add(name)
        slot, begin = self._found[name], self._now
        try:
            plan = plan_of(slot.entry, self._inventory, self._night, begin)
        except CalibrantError as error:
            self._refuse(name, str(error))
            return
        end = begin + plan.duration_s
        if faults := self._forbidden(slot.entry, begin, end):
            self._refuse(name, *faults)
            return
        late = begin - slot.earliest if slot.earliest is not None and self._running else 0.0
        notes = [*slot.notes, *plan.warnings]
        if late > 0 and self._running != slot.entry.after:
            notes.insert(0, f"begins {late:.0f} s after its window opens: {self._running} is under way until then")
        self._found[name] = replace(
            slot, state="planned", begin=begin, end=end, frames=tuple(_frame_words(plan)), notes=tuple(notes),
            sun=(self._night.sun(begin), self._night.sun(end)),
        )  # fmt: skip
        self._now, self._running = end, name

    def _forbidden(self, entry: Entry, begin: float, end: float) -> list[str]:
        """What the constraints of its sequence say."""
        from calibrant.acquire.constraints import broken
        from calibrant.acquire.sequence import load_sequence

        if entry.recipe == twilight.RECIPE:
            return []
        wants = load_sequence(RECIPES.get(entry.recipe, entry.recipe)).constraints
        faults = broken(wants, begin, end, self._inventory.site)
        if wants.dome and entry.dome and wants.dome != entry.dome:
            faults.append(f"its sequence wants the dome {wants.dome}, the schedule wants it {entry.dome}")
        known = {*self._over, *(self._found[name].entry.recipe for name in self._over if name in self._found)}
        if wants.after and wants.after not in known:
            faults.append(f"its sequence wants {wants.after} before (constraints.after)")
        return faults

    def _why_never(self, name: str) -> str:
        entry = self._found[name].entry
        if not self._free(name):
            before = self._found[str(entry.after)]
            return f"it waits for {entry.after}, which is {'disabled' if before.entry.disabled else 'never over'}"
        return "its window does not open before the next noon"

    def _refuse(self, name: str, *reasons: str) -> None:
        self._found[name] = replace(self._found[name], state="impossible", reasons=reasons)


def _notes(entry: Entry) -> list[str]:
    notes = [f"after {entry.after}"] if entry.after else []
    if entry.dome:
        notes.append(f"dome {entry.dome}" + (", to be closed afterwards" if entry.close_dome_after else ""))
    if entry.abort_observing:
        notes.append("observing has to make way")
    return notes


def _frame_words(plan: Plan) -> list[str]:
    """'arc 10 s' for each exposure; biases have no time."""
    return [f"{step.frame_kind} {step.exposure_s:g} s" if step.exposure_s else step.frame_kind for step in plan.frames]
