"""Runs of small plans on the simulated observatory, in no time: what the tests of the engine share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from calibrant.acquire import drivers
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.filing import DiskFiling, Keeping, Kept
from calibrant.acquire.hands import Limits
from calibrant.acquire.inventory import Inventory, load_inventory
from calibrant.acquire.journal import Journal
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import FrameResult, RunResult
from calibrant.acquire.runner import Run, Setting
from calibrant.acquire.sequence import load_sequence

from .virtual_time import VirtualTimeLoop

T = TypeVar("T")


class Loop(VirtualTimeLoop):
    """Virtual time; what would run in a thread is done at once."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run it in virtual time; the disk is not waited for."""
    with mock.patch("os.fsync"), asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)


LIMITS = Limits(start_s=20, expose_grace_s=20, readout_s=10, readout_grace_s=20, move_s=40, switch_s=10, abort_s=10)

SMALL = {
    "biases": {"count": 1},
    "darks": {"exposure_time": 5},
    "lamps": {
        "Quartz": {
            "warmup": 4,
            "exposure_time": 8,
            "fibsel": {"positions": ["P1-1", "P1-2"], "time_per_position": 3},
        },
        "Argon": {"warmup": 2, "exposure_time": [3, 4]},
    },
}
"""A bias, a dark, a flat with the mask moving, two arcs: every kind of step."""


def inventory(name: str = "sim") -> Inventory:
    return load_inventory(name)


def plan(sequence: Mapping[str, Any] | str = SMALL, devices: Inventory | None = None, **options: bool) -> Plan:
    return compile_plan(load_sequence(sequence), devices or inventory(), **options)


class Notebook:
    """A filing that stores nothing."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.problems: dict[str, list[str]] = {}
        """Key -> of its next attempts, what is wrong ('': nothing)."""

    def keep(self, frames: Any, spec: Any, evidence: Any) -> Keeping:
        queue = self.problems.get(spec.key, [])
        problem = queue.pop(0) if queue else ""
        self.kept.append(spec.key)
        problems = (problem,) if problem else ()
        return Keeping(
            [Kept(f.camera, f"{spec.key}-{f.camera}", "0", f.exposure_s, f.begin, f.end, problems) for f in frames]
        )

    def level(self, frames: Any) -> tuple[float, float]:
        return 1000.0 * frames[0].exposure_s, 0.0


@dataclass
class Bench:
    """A plan, a simulated observatory that can be made anew, and a directory."""

    directory: Path
    plan: Plan = field(default_factory=plan)
    devices: Inventory = field(default_factory=inventory)
    limits: Limits = LIMITS
    speed: float = 1.0
    run: Run | None = None
    observatory: Any = None

    async def make(
        self,
        *,
        filing: Any = None,
        done: Mapping[str, list[FrameResult]] | None = None,
        max_on_s: Mapping[str, float] | None = None,
        guard: Any = None,
        **options: Any,
    ) -> Run:
        """A run, ready to be executed; options are the simulation's (`faults`, `interlocks`, ...)."""
        options.setdefault("state_path", self.directory / "simulated.json")
        options.setdefault("shape", (24, 32))
        self.observatory = await drivers.connect(self.devices, True, self.speed, **options)
        setting = Setting(speed=self.speed, limits=self.limits, done=done or {}, max_on_s=max_on_s or {})
        filing = filing or DiskFiling(
            self.directory, self.plan, self.observatory, run_id=setting.run_id, inventory=self.devices, speed=self.speed
        )
        journal = Journal(self.directory / "journal.jsonl")
        self.run = Run(
            self.plan, self.observatory, self.directory, journal=journal, filing=filing, guard=guard, setting=setting
        )
        return self.run

    async def execute(self, **options: Any) -> RunResult:
        run = await self.make(**options)
        return await run.execute()

    @property
    def world(self) -> Any:
        return self.observatory.world

    def lit(self) -> list[str]:
        """Lamps that burn now, as the simulated hardware knows, whatever anybody says."""
        now = self.world.utc()
        return [name for name in self.devices.lamps if self.world.state.level(name, now) > 0]

    def files(self) -> set[str]:
        return {path.name for path in self.directory.glob("*.fits")}

    def leftovers(self) -> list[str]:
        return [path.name for path in self.directory.iterdir() if path.name.endswith(".part")]

    def calls(self, *devices: str, phase: str = "begin") -> list[str]:
        """'Quartz on', 'detector expose bias-01', ... in the order in which they began."""
        return [
            f"{entry.device} {entry.call} {entry.detail}".rstrip()
            for entry in self.world.trace
            if entry.phase == phase and (not devices or entry.device in devices)
        ]
