"""A night's schedule in text: tables of at most 100 columns, and a time line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from calibrant.acquire.night import Night, clock
from calibrant.acquire.timeline import WIDTH, wrapped

if TYPE_CHECKING:
    from calibrant.acquire.schedule import Slot
    from calibrant.acquire.schedule_run import NightResult

_LABEL = 23
_HOUR = 3600.0


def words(night: Night, inventory: str, slots: Sequence[Slot]) -> list[str]:
    """The night, the table, the time line."""
    lines = [f"Night of {night.evening} (SJD {night.sjd}), inventory {inventory}. Times are UTC; in brackets, local."]
    lines += _sun_lines(night)
    lines += ["", *_table(night, slots), "", *time_line(night, slots)]
    return lines


def _sun_lines(night: Night) -> list[str]:
    if night.sunset is None or night.sunrise is None:
        return ["The sun does not set and rise in this night."]
    return [
        f"Sunset  {clock(night.sunset)} ({_local(night, night.sunset)}); dusk: {_limits(night.dusk)}",
        f"Sunrise {clock(night.sunrise)} ({_local(night, night.sunrise)}); dawn: {_limits(night.dawn)}",
    ]


def _limits(twilights: dict[str, float | None]) -> str:
    """Where the twilights end or begin."""
    return ", ".join(f"{name} {clock(when) or 'never'}" for name, when in twilights.items())


def _table(night: Night, slots: Sequence[Slot]) -> list[str]:
    name = f"{'calibration':<{_LABEL}}"
    rows = [f"{name}{'may begin (UTC)':<19}{'local':<17}{'begins':<10}{'ends':<10}sun (deg)"]
    for slot in slots:
        first, last = slot.earliest, slot.latest
        span = f"{clock(first)}-{clock(last)}"
        local = f"{_local(night, first)}-{_local(night, last)}"
        sun = f"{slot.sun[0]:.1f} to {slot.sun[1]:.1f}" if slot.sun else ""
        state = f"{clock(slot.begin):<10}{clock(slot.end):<10}" if slot.state == "planned" else f"{slot.state:<20}"
        rows.append(f"{_name(slot)}{span:<19}{local:<17}{state}{sun:<15}".rstrip())
        told = [*slot.reasons, *slot.notes]
        if slot.frames:
            told.insert(0, f"{len(slot.frames)} frames: {_counted(slot.frames)}")
        rows += wrapped(["; ".join(told)] if told else [], "    ")
    return rows


def _name(slot: Slot) -> str:
    name = slot.entry.name
    return f"{name if len(name) < _LABEL else name[: _LABEL - 2] + '…':<{_LABEL}}"


def _counted(frames: Iterable[str]) -> str:
    """'flat 1, 2, 3.3 s, 7 x bias'."""
    parts: list[tuple[str, list[str]]] = []
    for frame in frames:
        kind, _, seconds = frame.partition(" ")
        if not parts or parts[-1][0] != kind:
            parts.append((kind, []))
        parts[-1][1].append(seconds.removesuffix(" s"))
    return "; ".join(
        f"{len(times)} x {kind}" if not times[0] else f"{kind} {', '.join(times)} s" for kind, times in parts
    )


def time_line(night: Night, slots: Sequence[Slot]) -> list[str]:
    """A row for the sun and for each calibration, from an hour before the first thing to an hour after the last."""
    times = [when for slot in slots for when in (slot.earliest, slot.latest, slot.begin, slot.end) if when is not None]
    times += [when for when in (night.sunset,) if when is not None]
    if not times:
        return []
    first = max(night.noon, (min(times) // _HOUR) * _HOUR)
    last = min(night.end, (max(times) // _HOUR + 1) * _HOUR)
    cells = WIDTH - _LABEL
    step = (last - first) / cells
    middles = [first + (number + 0.5) * step for number in range(cells)]
    marks = [" "] * (cells + 6)
    every = max(1, round((last - first) / _HOUR / 8)) * _HOUR if last - first > 2 * _HOUR else _HOUR / 4
    tick = first
    while tick < last - step:
        place = round((tick - first) / step)
        marks[place : place + 6] = f"|{clock(tick)[:5]}"
        tick += every
    rows = [f"{'UTC':<{_LABEL}}{''.join(marks)[:cells]}".rstrip()]
    rows.append(f"{'sun':<{_LABEL}}{''.join(_sky(night, when) for when in middles)}")
    for slot in slots:
        bar = "".join(_cell(slot, when, step) for when in middles)
        rows.append(f"{_name(slot)}{bar}".rstrip())
    return [*rows, "sun: █ up ▓ civil ▒ nautical ░ astronomical twilight, blank night.  · may begin  █ runs"]


def _sky(night: Night, when: float) -> str:
    for limits, mark in (
        ((night.sunset, night.sunrise), "█"),
        ((night.dusk["civil"], night.dawn["civil"]), "▓"),
        ((night.dusk["nautical"], night.dawn["nautical"]), "▒"),
        ((night.dusk["astronomical"], night.dawn["astronomical"]), "░"),
    ):
        if None in limits or when < limits[0] or when > limits[1]:  # type: ignore[operator]
            return mark
    return " "


def _cell(slot: Slot, when: float, step: float) -> str:
    if slot.begin is not None and slot.end is not None and slot.begin - step / 2 < when < slot.end + step / 2:
        return "█"
    if slot.earliest is None and slot.latest is None:
        return " "
    opens = slot.earliest is None or when >= slot.earliest - step / 2
    return "·" if opens and (slot.latest is None or when <= slot.latest + step / 2) else " "


def outcome(result: NightResult, night: Night) -> list[str]:
    """How each calibration ended."""
    rows = [f"{'calibration':<{_LABEL}}{'state':<11}{'began':<10}{'ended':<10}{'tries':>5}{'frames':>9}  directory"]
    for one in result.calibrations:
        frames = f"{one.ok} of {one.frames}" if one.frames else ""
        rows.append(
            f"{one.entry.name[: _LABEL - 1]:<{_LABEL}}{one.state:<11}{clock(one.begin):<10}{clock(one.end):<10}"
            f"{one.attempts:>5}{frames:>9}  {one.directory}".rstrip()
        )
        rows += wrapped([one.reason] if one.reason else [], "    ")
    rows += ["", f"Verdict: {result.verdict}. Night of {night.evening}, in {result.directory}"]
    rows += wrapped([result.reason] if result.reason else [], "Reason: ")
    rows += wrapped(result.alarms, "! ")
    if result.interrupted:
        rows.append("The same command goes on with it.")
    return rows


def _local(night: Night, when: float | None) -> str:
    return "" if when is None else f"{night.local(when):%H:%M}"
