"""A run with everything around it: directory, locks, devices, guard, signals, and what people see of it.

The directory of a run holds the frames, SHA256SUMS, `journal.jsonl`, `plan.json`, `inventory.json` (both as they were
at the beginning) and `control.jsonl` (commands to the run). A simulation keeps its lamps in `simulated.json` there, so
that the guard and the next run find them as they were left.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calibrant.acquire import drivers, journal
from calibrant.acquire.clock import let_go
from calibrant.acquire.control import LOCK_NAME
from calibrant.acquire.devices import Observatory
from calibrant.acquire.ears import Ears
from calibrant.acquire.events import Documents
from calibrant.acquire.filing import DiskFiling
from calibrant.acquire.guard import Guard, Orders
from calibrant.acquire.hands import Limits
from calibrant.acquire.inventory import Inventory
from calibrant.acquire.lock import Holder, Lock, state_directory
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import RunResult
from calibrant.acquire.resume import Before, content_hash
from calibrant.acquire.runner import Run, Setting, new_id
from calibrant.acquire.show import Show
from calibrant.errors import CalibrantError, DataError, ExistsError

PLAN_NAME, INVENTORY_NAME, SIMULATED_NAME = "plan.json", "inventory.json", "simulated.json"
CLOSE_S = 10.0


@dataclass(frozen=True)
class Request:
    """What to run, where, and how."""

    plan: Plan
    inventory: Inventory
    directory: Path
    simulate: bool = False
    speed: float = 1.0
    source: str = ""
    """Where the inventory came from: name or file."""
    compiled: Mapping[str, bool] = field(default_factory=dict)
    """Options of `compile_plan`."""
    before: Before | None = None
    """Of a resumed run."""
    documents: str = ""
    """File for Bluesky-like documents."""
    state: str = ""
    """Directory of locks; empty: the usual one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For the driver."""
    limits: Limits = field(default_factory=Limits)
    floor_s: float = 5.0

    @property
    def simulated(self) -> bool:
        return self.simulate or self.inventory.driver == "sim"


def default_directory(plan: Plan) -> Path:
    """A new name for each run, in the current directory."""
    return Path(f"{plan.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")


async def take(request: Request, *, on_run: Callable[[Run], None] | None = None, watch: bool = True) -> RunResult:
    """Run it. `on_run` is given the run before it starts; `watch`: show progress.

    While it runs, SIGINT, SIGTERM and SIGHUP end it safely (in the main thread; their handlers are restored).
    Raises DeviceBusy where the inventory or the directory is in use, ExistsError where the directory holds another
    run, DeviceError where the devices cannot be reached.
    """
    run_id = new_id()
    _prepare(request)
    holder = Holder.here(run_id, request.directory)
    with contextlib.ExitStack() as stack:
        here = Lock(request.directory / LOCK_NAME, holder, f"{request.directory}")
        stack.callback(here.release)
        # A simulation in another directory has lamps of its own: it may run at the same time.
        everywhere = Lock(_lock_path(request), holder, f"inventory {request.inventory.name!r}")
        stack.callback(everywhere.release)
        _write_once(request.directory / PLAN_NAME, request.plan.to_dict())
        _write_once(request.directory / INVENTORY_NAME, request.inventory.model_dump(mode="json"))
        log = journal.Journal(request.directory / journal.NAME)
        stack.callback(log.close)
        ears = stack.enter_context(Ears())
        observatory = await drivers.connect(
            request.inventory, request.simulate, request.speed, directory=request.directory, plan=request.plan,
            **_driver_options(request),
        )  # fmt: skip
        try:
            locks = (here.fileno(), everywhere.fileno())
            result = await _run(request, run_id, observatory, log, locks, ears, on_run, watch)
        finally:
            # The lights have been dealt with; a connection that cannot be closed changes nothing any more.
            with contextlib.suppress(CalibrantError, OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await observatory.close()
    return replace(result, interrupted=ears.interrupted)


async def _run(
    request: Request,
    run_id: str,
    observatory: Observatory,
    log: journal.Journal,
    locks: tuple[int, ...],
    ears: Ears,
    on_run: Callable[[Run], None] | None,
    watch: bool,
) -> RunResult:
    versions = _versions()
    filing = DiskFiling(
        request.directory, request.plan, observatory, run_id=run_id, inventory=request.inventory,
        speed=request.speed, versions=versions,
    )  # fmt: skip
    before = request.before or Before()
    await asyncio.to_thread(filing.learn, before.done)
    setting = Setting(
        run_id=run_id, speed=request.speed, floor_s=request.floor_s, limits=request.limits, done=before.done,
        max_on_s={name: lamp.max_on_s for name, lamp in request.inventory.lamps.items() if lamp.max_on_s is not None},
        start=_start_fields(request, versions),
    )  # fmt: skip
    lit = any(step.kind == "light_on" for step in request.plan.steps)
    guard = await asyncio.to_thread(Guard, _orders(request, run_id), locks) if lit else None
    run = Run(request.plan, observatory, request.directory, journal=log, filing=filing, guard=guard, setting=setting)
    documents, show = Documents(), Show(request.plan, request.speed)
    if watch:
        run.events().listen(show)
    if request.documents:
        run.events().listen(documents)
    for text in before.notes:
        run.report("note", text=text)
    if on_run is not None:
        on_run(run)
    ears.run = run
    ticking = asyncio.create_task(show.tick())
    try:
        return await run.execute()
    finally:
        await let_go(ticking)
        if request.documents:
            documents.write(request.documents)


def _prepare(request: Request) -> None:
    """The directory is there, and holds no other run."""
    try:
        request.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{request.directory}: cannot be made: {error.strerror}") from error
    if request.before is None and (request.directory / journal.NAME).exists():
        raise ExistsError(
            f"{request.directory} holds a run already: go on with 'calibrant acquire resume {request.directory}', "
            "or choose another directory"
        )


def _lock_path(request: Request) -> Path:
    name = request.inventory.name
    if request.simulated:
        where = str(_driver_options(request).get("state_path", request.directory.resolve()))
        name = f"{name}-simulated-{hashlib.sha256(where.encode()).hexdigest()[:8]}"
    return state_directory(request.state) / "locks" / f"{name}.lock"


def _driver_options(request: Request) -> dict[str, Any]:
    options = dict(request.options)
    if request.simulated:
        options.setdefault("state_path", str(request.directory.resolve() / SIMULATED_NAME))
    return options


def _orders(request: Request, run_id: str) -> Orders:
    directory = request.directory.resolve()
    # Faults are injected into the run's own connection only.
    options = {name: value for name, value in _driver_options(request).items() if name not in ("faults", "interlocks")}
    return Orders(
        inventory=str(directory / INVENTORY_NAME),
        journal=str(directory / journal.NAME),
        run=run_id,
        simulate=request.simulate,
        speed=request.speed,
        floor_s=request.floor_s,
        options=options,
    )


def _start_fields(request: Request, versions: dict[str, str]) -> dict[str, Any]:
    inventory = request.inventory
    return {
        "inventory": {
            "name": inventory.name,
            "driver": inventory.driver,
            "hash": content_hash(inventory.model_dump(mode="json")),
            "source": request.source or inventory.name,
        },
        "compiled": dict(request.compiled),
        "resumed": request.before is not None,
        "versions": versions,
    }


def _versions() -> dict[str, str]:
    import numpy as np

    import calibrant

    return {"calibrant": calibrant.__version__, "python": platform.python_version(), "numpy": np.__version__}


def _write_once(path: Path, content: Any) -> None:
    """JSON as it was at the beginning; what is there stays."""
    if path.exists():
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
