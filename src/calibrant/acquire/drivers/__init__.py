"""Drivers: one file each, that makes an `Observatory` of real or simulated devices from an inventory.

A driver is a module with `async def connect(inventory, *, speed=1.0, **options) -> Observatory`; it is imported only
when it is asked for, so that a missing client library hurts nobody else. `docs/how-to/add-a-device-driver.md` says
how to add one; `tests/acquire/test_driver_conformance.py` says what it must do.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from calibrant.errors import ParameterError

if TYPE_CHECKING:
    from calibrant.acquire.devices import Observatory
    from calibrant.acquire.inventory import Inventory
    from calibrant.acquire.plan import Plan

DRIVERS: dict[str, str] = {
    "sim": "calibrant.acquire.drivers.sim",
    "indi": "calibrant.acquire.drivers.indi",
    "clu": "calibrant.acquire.drivers.clu",
    "alpaca": "calibrant.acquire.drivers.alpaca",
    "tart": "calibrant.acquire.drivers.tart",
    "fs": "calibrant.acquire.drivers.fs",
}
"""Name in an inventory -> module."""

_EXTRAS = {"clu": "amqp"}
"""Driver -> extra of this package that brings its client library."""


async def connect(
    inventory: Inventory,
    simulate: bool = False,
    speed: float = 1.0,
    *,
    directory: str | Path | None = None,
    plan: Plan | None = None,
    **options: Any,
) -> Observatory:
    """The devices of an inventory, connected: by its own driver, or all simulated. `close()` lets them go.

    `speed` makes a simulation that many times faster (real seconds = nominal / speed). `directory` and `plan` of a run
    are for drivers whose instruments write files, or want to know beforehand what comes. Options are the driver's own.
    """
    name = "sim" if simulate else inventory.driver
    if name not in DRIVERS:
        raise ParameterError(f"inventory {inventory.name}: no driver {name!r}; there are {', '.join(DRIVERS)}")
    if not speed > 0:
        raise ParameterError(f"speed {speed}: must be above 0")
    try:
        module = importlib.import_module(DRIVERS[name])
    except ModuleNotFoundError as missing:
        extra = f"; pip install 'calibrant[{_EXTRAS[name]}]'" if name in _EXTRAS else ""
        raise ParameterError(f"driver {name}: Python module {missing.name} is not installed{extra}") from missing
    asked = inspect.signature(module.connect).parameters
    known = {"directory": directory, "plan": plan}
    options |= {key: value for key, value in known.items() if value is not None and key in asked}
    return cast("Observatory", await module.connect(inventory, speed=speed, **options))
