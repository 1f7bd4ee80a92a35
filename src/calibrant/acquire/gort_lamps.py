"""Lamps switched by hand (`gort.Gort().nps.calib`): read back, guarded, and verified off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from calibrant.acquire import safety
from calibrant.acquire.clock import shielded
from calibrant.acquire.devices import DeviceRefused, LightState
from calibrant.acquire.guard import Guard, Orders
from calibrant.acquire.hands import NotOff
from calibrant.acquire.journal import NAME as JOURNAL_NAME
from calibrant.errors import ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.gort import Gort

LONGEST_BY_HAND_S = 7200.0
"""A lamp switched on by hand may burn so long (nominal), unless its inventory says otherwise; then the guard acts."""


class LampSwitch:
    """`g.nps.calib`: the lamps, by name, whatever the case."""

    def __init__(self, gort: Gort) -> None:
        self._gort = gort
        self._guard: Guard | None = None
        self._since: dict[str, float] = {}
        """Lamps switched on by hand -> since when, of `Clock.mark`."""

    @property
    def burning(self) -> dict[str, float]:
        """Lamps switched on by hand -> nominal seconds that they have burnt."""
        return {name: self._gort.clock.elapsed(since) for name, since in self._since.items()}

    async def on(self, outlet: str) -> None:
        """Switch a lamp on, and read back that it burns."""
        gort, name = self._gort, self._name(outlet)
        light, limit = gort.observatory.lights[name], gort.inventory.lamps[name].max_on_s or LONGEST_BY_HAND_S
        await self._arm()
        # Noted first: a lamp that was asked to go on may burn, whatever it answers.
        self._since[name] = gort.clock.mark()
        self._tell_guard()
        lease = limit if light.hardware_lease else None
        await gort.within(light.set(True, lease_s=lease), gort.limits.switch_s, f"switching {name} on")
        state = await gort.within(light.read(), gort.limits.switch_s, f"reading {name}")
        burns = state in (LightState.ON, LightState.WARMING)
        gort.report("light", light=name, asked=True, state=state.value, verified=burns)
        if not burns:
            raise DeviceRefused(f"{name} was switched on and says {state.value}: is it broken, or its outlet?")

    async def off(self, outlet: str) -> None:
        """Switch a lamp off and verify it; NotOff where that cannot be done. Not to be interrupted."""
        await self._off([self._name(outlet)])

    async def all_off(self) -> None:
        """Switch all lamps off and verify it, as `off`."""
        await self._off(list(self._gort.observatory.lights))

    async def status(self, outlet: str | None = None) -> dict[str, Any]:
        """Of one lamp, or {lamp: of each}."""
        lights = self._gort.observatory.lights
        if outlet is not None:
            name = self._name(outlet)
            return {"name": name, "state": (await lights[name].read()).value}
        states = await safety.read_lights(lights, self._gort.clock)
        return {name: {"name": name, "state": state.value} for name, state in states.items()}

    async def let_go(self) -> None:
        """What was switched on goes off; the guard is dismissed where that is verified."""
        unverified: list[safety.Unverified] = []
        if self._since:
            unverified = await self._switch_off(list(self._since))
        guard, self._guard = self._guard, None
        if guard is None:
            return
        if not unverified:
            await asyncio.to_thread(guard.dismiss)
        elif not await asyncio.to_thread(guard.take_over):
            raise NotOff(unverified)

    async def release(self) -> None:
        """Off with what was switched on by hand: somebody else is about to use the lamps."""
        await self._off(list(self._since))

    async def _off(self, names: list[str]) -> None:
        unverified, held = await shielded(self._switch_off(names))
        if unverified:
            raise NotOff(unverified)
        if held:
            raise asyncio.CancelledError

    async def _switch_off(self, names: list[str]) -> list[safety.Unverified]:
        lights = {name: self._gort.observatory.lights[name] for name in names}
        unverified = await safety.lights_off(lights, self._gort.clock, self._gort.report)
        for name in set(names) - {item.light for item in unverified}:
            self._since.pop(name, None)
        if unverified:
            text = safety.alarm_text(unverified, self._gort.observatory.name)
            self._gort.report("alarm", text=text, lights=[item.light for item in unverified])
        self._tell_guard()
        return unverified

    async def _arm(self) -> None:
        """The guard is there before the first lamp burns."""
        gort = self._gort
        if self._guard is not None and self._guard.alive:
            return
        orders = Orders(
            inventory=gort.source,
            journal=str((gort.directory / JOURNAL_NAME).resolve()),
            run="by-hand",
            simulate=gort.simulate,
            speed=gort.speed,
            options={key: item for key, item in gort.options.items() if key not in ("faults", "interlocks")},
        )
        try:
            self._guard = await asyncio.to_thread(Guard, orders)
        except (RuntimeError, OSError) as error:
            raise DeviceRefused(f"no lamp is switched on without a guard, and it did not start: {error}") from error

    def _tell_guard(self) -> None:
        if self._guard is None:
            return
        if not self._since:
            self._guard.dark()
            return
        lamps, clock = self._gort.inventory.lamps, self._gort.clock
        left = min((lamps[name].max_on_s or LONGEST_BY_HAND_S) - spent for name, spent in self.burning.items())
        self._guard.lit(clock.limit(left))

    def _name(self, outlet: str) -> str:
        inventory = self._gort.inventory
        name = inventory.lamp_name(outlet)
        if name is None:
            raise ParameterError(inventory.unknown("lamp", outlet, list(inventory.lamps)))
        return name
