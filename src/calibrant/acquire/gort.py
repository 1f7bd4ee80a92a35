"""The calls of gort, on any observatory of ours: for those who know LVM's, and for work by hand.

    async with Gort(inventory="lvm", simulate=True, speed=60) as g:
        await g.telescopes.goto_named_position("calibration")
        await g.nps.calib.on("argon")
        await g.specs.expose(60, flavour="arc")
        await g.nps.calib.all_off()
        await g.specs.calibrate(sequence="normal")

`g = await Gort().init()` ... `await g.close()` is the same. Names and parameters are those of lvmgort 0.12. What is
different: lamps are read back; those that were switched on by hand are switched off when the `async with` ends, and by
the guard process when the program dies or a lamp burns for too long; frames are checked and stored with headers,
never over others; cancelling an exposure stops the hardware; `calibrate` is checked before anything moves, leaves a
journal, can be resumed, and raises `CalibrationFailed` where frames are missing. Errors are of `calibrant.errors`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

from calibrant.acquire import drivers
from calibrant.acquire.clock import Clock, shielded
from calibrant.acquire.devices import DeviceRefused, Observatory
from calibrant.acquire.gort_lamps import LampSwitch
from calibrant.acquire.gort_specs import CalibrationFailed, Exposure, Spectrographs
from calibrant.acquire.hands import Limits
from calibrant.acquire.inventory import INVENTORIES, Inventory, load_inventory
from calibrant.acquire.journal import NAME as JOURNAL_NAME
from calibrant.acquire.journal import Journal
from calibrant.acquire.session import SIMULATED_NAME
from calibrant.errors import ParameterError

__all__ = ["CalibrationFailed", "Exposure", "Gort"]

PARK = "park"


class Gort:
    """One observatory. Use as `async with`, or call `init` and `close`."""

    def __init__(
        self,
        inventory: str | Path = "lvm",
        *,
        simulate: bool = False,
        speed: float = 1.0,
        directory: str | Path = "",
        **options: Any,
    ) -> None:
        """`directory`: for frames and journals; empty: a new one, named after the time. `options`: the driver's own."""
        self.source = str(inventory) if str(inventory) in INVENTORIES else str(Path(inventory).resolve())
        self.inventory: Inventory = load_inventory(inventory)
        self.simulate, self.speed = simulate, speed
        name = time.strftime("gort-%Y%m%dT%H%M%SZ", time.gmtime())
        self.directory = Path(directory) if directory else Path(name)
        self.options = dict(options)
        if simulate or self.inventory.driver == "sim":
            # Lamps of the simulation are shared by everything in this directory.
            self.options.setdefault("state_path", str(self.directory.resolve() / SIMULATED_NAME))
        self.clock = Clock(speed)
        self.limits = Limits()
        self._observatory: Observatory | None = None
        self._journal: Journal | None = None
        self.telescopes = Telescopes(self)
        self.nps = PowerSwitches(self)
        self.specs = Spectrographs(self)

    async def init(self) -> Gort:
        """Connect. Calling it again does nothing."""
        if self._observatory is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._observatory = await drivers.connect(self.inventory, self.simulate, self.speed, **self.options)
        return self

    async def close(self) -> None:
        """Wait for a readout, switch off what was switched on by hand, let the devices go.

        Raises NotOff where a lamp could not be verified off. A cancellation goes on afterwards.
        """
        if self._observatory is None:
            return
        try:
            _, held = await shielded(self._finish())
        finally:
            observatory, self._observatory = self._observatory, None
            await observatory.close()
            if self._journal is not None:
                self._journal.close()
                self._journal = None
        if held:
            raise asyncio.CancelledError

    async def _finish(self) -> None:
        await self.specs.settle()
        await self.nps.calib.let_go()

    @property
    def observatory(self) -> Observatory:
        if self._observatory is None:
            raise ParameterError("not connected: use 'async with Gort(...) as g', or 'await Gort(...).init()' first")
        return self._observatory

    def report(self, kind: str, **fields: Any) -> None:
        """A record in the journal of what is done by hand."""
        if self._journal is None:
            self._journal = Journal(self.directory / JOURNAL_NAME)
        self._journal.append(kind, **fields)

    async def within(self, work: Awaitable[Any], nominal_s: float, what: str) -> Any:
        """The result of `work`; DeviceTimeout where it takes longer."""
        return await self.clock.within(cast(Any, work), nominal_s, what)

    async def __aenter__(self) -> Gort:
        return await self.init()

    async def __aexit__(self, *failure: object) -> None:
        if failure[0] is not None:
            await self.specs.give_up()
        await self.close()


class Telescopes:
    """`g.telescopes`: all of them together; `g.telescopes.spec.fibsel` is the mask."""

    def __init__(self, gort: Gort) -> None:
        self._gort = gort
        self.spec = MaskedTelescope(gort)

    async def goto_named_position(self, name: str) -> None:
        """Point all telescopes to a named position of the inventory; returns when they are there."""
        inventory, pointing = self._gort.inventory, self._gort.observatory.pointing
        if name not in inventory.positions:
            raise ParameterError(inventory.unknown("position", name, list(inventory.positions)))
        if pointing is None:
            raise DeviceRefused(f"{inventory.name} cannot point")
        await self._gort.within(pointing.move(name), self._gort.limits.move_s, f"pointing to {name}")

    async def park(self) -> None:
        await self.goto_named_position(PARK)

    async def stop(self) -> None:
        pointing = self._gort.observatory.pointing
        if pointing is not None:
            await self._gort.within(pointing.stop(), self._gort.limits.abort_s, "stopping the telescopes")


class MaskedTelescope:
    """`g.telescopes.spec`."""

    def __init__(self, gort: Gort) -> None:
        self.fibsel = FibSel(gort)


class FibSel:
    """The fibre mask."""

    def __init__(self, gort: Gort) -> None:
        self._gort = gort

    @property
    def _mask(self) -> Any:
        mask = self._gort.observatory.mask
        if mask is None:
            raise DeviceRefused(f"{self._gort.inventory.name} has no mask")
        return mask

    def list_positions(self) -> list[str]:
        return list(self._mask.places)

    async def move_to_position(self, position: str) -> None:
        """Returns when the mask is there; cancelling stops it."""
        if position not in self._mask.places:
            raise ParameterError(self._gort.inventory.unknown("mask position", position, self.list_positions()))
        await self._gort.within(self._mask.move(position), self._gort.limits.move_s, f"moving the mask to {position}")

    async def home(self) -> None:
        home = getattr(self._mask, "home", None)
        if home is None:
            raise DeviceRefused("this mask has no home")
        await self._gort.within(home(), self._gort.limits.move_s, "homing the mask")

    async def stop(self) -> None:
        await self._gort.within(self._mask.stop(), self._gort.limits.abort_s, "stopping the mask")

    async def status(self) -> dict[str, Any]:
        return {"position": await self._mask.position(), **await self._mask.status()}


class PowerSwitches:
    """`g.nps`: of LVM's power switches, the one with the lamps."""

    def __init__(self, gort: Gort) -> None:
        self.calib = LampSwitch(gort)

    def __getitem__(self, name: str) -> LampSwitch:
        if name != "calib":
            raise ParameterError(f"power switch {name!r}: only 'calib', the lamps', is known here")
        return self.calib
