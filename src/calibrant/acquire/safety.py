"""Lights off, whatever happens: asked for, asked again, read back, and never interrupted.

The reading is what the device says of itself; there is no light sensor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from calibrant.acquire.clock import Clock, shielded
from calibrant.acquire.devices import DeviceLost, Light, LightState

TRIES = 3
ANSWER_S = 20.0
"""Nominal seconds that one try of switching or reading may take."""
SETTLE_S = 1.0
"""Between a try and the next one."""
LOST_SETTLE_S = 0.2
"""The same where the connection is known to be dead: a person is told sooner."""
LATE_S = 5.0
"""So long a light is mistrusted that did not answer when it was switched on."""
Report = Callable[..., None]
"""report(kind, **fields): a record for the journal. It never raises."""


@dataclass(frozen=True)
class Unverified:
    """A light that may burn: what a person must look at."""

    light: str
    state: LightState
    problem: str

    def __str__(self) -> str:
        return f"{self.light} (state {self.state.value.upper()}: {self.problem})"


async def lights_off(lights: Mapping[str, Light], clock: Clock, report: Report) -> list[Unverified]:
    """Switch all of them off at once, verify by reading back, up to three times each.

    Returns those that could not be verified. Never raises an error of a device. It goes on when its task is
    cancelled: callers run it by `switch_off`, which also lets nobody else leave early.
    """
    results = await asyncio.gather(*(_one_off(name, light, clock, report) for name, light in lights.items()))
    return [result for result in results if result is not None]


async def switch_off(lights: Mapping[str, Light], clock: Clock, report: Report) -> tuple[list[Unverified], int]:
    """`lights_off` that no cancellation interrupts; also how many cancellations came meanwhile."""
    return await shielded(lights_off(lights, clock, report))


async def _one_off(name: str, light: Light, clock: Clock, report: Report) -> Unverified | None:
    state, problem, tries, ignored = LightState.UNKNOWN, "", 0, 0
    deadline = clock.mark() + (TRIES + 1) * (2 * clock.limit(ANSWER_S) + clock.limit(SETTLE_S))
    while tries < TRIES and clock.mark() < deadline:
        try:
            state, problem, lost = await _try_off(light, clock)
        except asyncio.CancelledError:
            # Only the end of the event loop cancels this task itself. The lamp still has to go off first.
            ignored += 1
            report("note", text=f"{name}: an interruption was ignored while the light is being switched off")
            continue
        tries += 1
        if state is LightState.OFF:
            report("light", light=name, asked=False, state=state.value, verified=True, tries=tries)
            return None
        await _pause(clock, LOST_SETTLE_S if lost else SETTLE_S)
    report("light", light=name, asked=False, state=state.value, verified=False, tries=tries, problem=problem)
    return Unverified(name, state, problem)


async def _try_off(light: Light, clock: Clock) -> tuple[LightState, str, bool]:
    """The state after one try, what went wrong, and whether the connection is dead.

    The state is read even where switching failed.
    """
    problem = ""
    try:
        await clock.within(light.set(False), ANSWER_S, f"switching {light.name} off")
    except Exception as error:
        problem = str(error) or type(error).__name__
    try:
        state = await clock.within(light.read(), ANSWER_S, f"reading {light.name}")
    except Exception as error:
        return LightState.UNKNOWN, problem or str(error) or type(error).__name__, isinstance(error, DeviceLost)
    return state, problem or f"it says {state.value} although it was switched off", False


async def _pause(clock: Clock, seconds: float) -> None:
    try:
        await clock.sleep(seconds)
    except asyncio.CancelledError:
        return


async def read_lights(lights: Mapping[str, Light], clock: Clock) -> dict[str, LightState]:
    """The state of every light, from the devices; UNKNOWN for one that does not answer."""

    async def one(light: Light) -> LightState:
        try:
            return await clock.within(light.read(), ANSWER_S, f"reading {light.name}")
        except Exception:
            return LightState.UNKNOWN

    states = await asyncio.gather(*(one(light) for light in lights.values()))
    return dict(zip(lights, states, strict=True))


def alarm_text(unverified: Iterable[Unverified], where: str) -> str:
    """What a person must do, in one sentence."""
    items = list(unverified)
    names = ", ".join(item.light for item in items)
    return (
        f"ALARM: it could not be verified that {'this light is' if len(items) == 1 else 'these lights are'} off at "
        f"{where}: {'; '.join(map(str, items))}. A person must look and switch off by hand: {names}."
    )
