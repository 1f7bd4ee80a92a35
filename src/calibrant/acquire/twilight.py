"""Flats of the twilight sky: the exposure times follow the sky's fading, one fibre of the mask after the other.

gort's recipe `twilight_flats` (lvmgort 1.13; K. Kreckel's fit): t = a exp(-(tau + fudge) / b) + c, where tau are the
minutes into the day (negative after sunset). In the evening frames are taken from two minutes after sunset on, as soon
as t reaches 1 s; of all twelve fibres, t being cut at 300 s; then more of them until t would exceed 100 s. In the
morning t falls: from 15 minutes before sunrise on, as soon as t is at most 300 s, one frame of each fibre.

In gort each exposure time is computed when the frame's turn comes. Here all are computed for the times at which the
frames begin in the plan, and the plan keeps those times by waiting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from calibrant.acquire.plan import Plan, Step
from calibrant.errors import ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.inventory import Inventory

RECIPE = "twilight_flats"
SKY = "twilight"
"""What the frames look at."""
A, B, C = 1.09723745, 3.55598039, -1.86597751
FUDGE_MIN = 1.0
SHORTEST_S, LONGEST_S, LONGEST_EXTRA_S = 1.0, 300.0, 100.0
BEFORE_EXPOSURE_S = 5.0
"""From gort's computing a time to the shutter's opening: fits 3350 recorded LVM exposures to 0.1 % (median)."""
OVERHEAD_S = 9.0
"""Beyond integrating and reading out, a frame takes so long: 64.0 s in all at LVM (median of 5377), readout 55 s."""
FIRST_EVENING_S = 120.0
FIRST_MORNING_S = 900.0
"""Before sunrise."""
FIBRES = 12
MOST = 60
Part = Literal["evening", "morning"]
PLACES: dict[str, str] = {"evening": "sunset_sky", "morning": "sunrise_sky"}
"""Named pointings: 40 degrees above the place where the sun has set, or will rise."""


@dataclass(frozen=True)
class SkyFlat:
    begin: float
    """UTC seconds since 1970."""
    exposure_s: float
    fibre: str


def exposure_time(seconds_of_night: float) -> float:
    """What the formula says so many seconds after sunset, or before sunrise; may be negative or huge."""
    return A * math.exp((seconds_of_night / 60 - FUDGE_MIN) / B) + C


def sky_flats(horizon: float, begin: float, part: Part, between_s: float, fibres: list[str]) -> list[SkyFlat]:
    """The frames that can be taken from `begin` on; `horizon`: sunset or sunrise; `between_s`: from end to begin."""
    if part == "evening":
        return _evening(horizon, begin, between_s, fibres)
    return _morning(horizon, begin, between_s, fibres)


def _evening(sunset: float, begin: float, between_s: float, fibres: list[str]) -> list[SkyFlat]:
    flats: list[SkyFlat] = []
    when = max(begin, sunset + FIRST_EVENING_S, sunset + _reached(SHORTEST_S) + BEFORE_EXPOSURE_S)
    while len(flats) < MOST:
        seconds = exposure_time(when - BEFORE_EXPOSURE_S - sunset)
        if len(flats) >= len(fibres) and (seconds > LONGEST_EXTRA_S or flats[-1].exposure_s >= LONGEST_EXTRA_S):
            break
        seconds = round(min(max(seconds, SHORTEST_S), LONGEST_S), 1)
        flats.append(SkyFlat(when, seconds, fibres[len(flats) % len(fibres)]))
        when += seconds + between_s
    return flats


def _morning(sunrise: float, begin: float, between_s: float, fibres: list[str]) -> list[SkyFlat]:
    flats: list[SkyFlat] = []
    when = max(begin, sunrise - FIRST_MORNING_S, sunrise - _reached(LONGEST_S) + BEFORE_EXPOSURE_S)
    for fibre in fibres:
        seconds = round(exposure_time(sunrise - when + BEFORE_EXPOSURE_S), 1)
        if seconds < SHORTEST_S:
            break
        flats.append(SkyFlat(when, seconds, fibre))
        when += seconds + between_s
    return flats


def _reached(seconds: float) -> float:
    """So long after sunset, or before sunrise, the formula says this time (to its rounding)."""
    return 60 * (FUDGE_MIN + B * math.log((seconds - 0.05 - C) / A))


def fibres_of(inventory: Inventory, night: int) -> list[str]:
    """The mask's places P1-1 to P1-12, the first one another every night (gort draws it by chance)."""
    there = list(inventory.mask.places) if inventory.mask else []
    fibres = [name for name in (f"P1-{number}" for number in range(1, FIBRES + 1)) if name in there]
    if not fibres:
        raise ParameterError(f"{RECIPE}: inventory {inventory.name!r} has no mask with places P1-1, P1-2, ...")
    first = night % len(fibres)
    return fibres[first:] + fibres[:first]


def twilight_plan(inventory: Inventory, horizon: float, begin: float, part: Part, night: int) -> Plan:
    """The plan of twilight flats that starts at `begin`; `night`: its SJD. ParameterError where none can be taken."""
    place = PLACES[part]
    if place not in inventory.positions:
        raise ParameterError(f"{RECIPE}: inventory {inventory.name!r} has no position {place!r}")
    between = inventory.detector.readout_s + OVERHEAD_S
    move = inventory.slew_s
    flats = sky_flats(horizon, begin + move, part, between, fibres_of(inventory, night))
    if not flats:
        raise ParameterError(f"{RECIPE}: it is too late: the sky changes too fast for frames")
    steps = [
        Step(0, "all_off", 0.0, 0.0),
        Step(0, "point", 0.0, move, place=place, options={"coordinates": inventory.positions[place]}),
    ]
    ended = begin + move
    for number, flat in enumerate(flats, 1):
        steps += _frame(flat, number, begin, ended, flats[number - 2] if number > 1 else None, inventory)
        ended = flat.begin + flat.exposure_s + inventory.detector.readout_s
    steps = [replace(step, index=index) for index, step in enumerate(steps)]
    per_frame = len(inventory.detector.cameras) * inventory.detector.bytes_per_frame
    return Plan(
        name=RECIPE,
        inventory=inventory.name,
        steps=tuple(steps),
        duration_s=ended - begin,
        data_bytes=len(flats) * per_frame,
        sequence={"recipe": RECIPE, "part": part, "sjd": night, "begin": begin},
    )


def _frame(
    flat: SkyFlat, number: int, begin: float, ended: float, before: SkyFlat | None, inventory: Inventory
) -> list[Step]:
    """Wait for its time, expose, read out."""
    common = {
        "frame": f"{SKY}-{number:02d}",
        "frame_kind": "flat",
        "object": SKY,
        "exposure_s": flat.exposure_s,
        # The sky does not wait: a frame that fails is left out, the next one is due.
        "options": {"on_failure": "skip"},
    }
    start = flat.begin - begin
    pause = flat.begin - ended
    options = {"wait_s": pause} if before is None else {"wait_s": pause, "interval_s": flat.begin - before.begin}
    return [
        Step(0, "wait", ended - begin, pause, options=options),
        Step(0, "expose", start, flat.exposure_s, mask_start=flat.fibre, **common),  # type: ignore[arg-type]
        Step(0, "readout", start + flat.exposure_s, inventory.detector.readout_s, **common),  # type: ignore[arg-type]
    ]
