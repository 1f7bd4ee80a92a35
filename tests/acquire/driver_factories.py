"""Where each driver gets its devices for the conformance tests. Join: write a factory, add one line to CASES.

A factory is an async context manager that yields a `Rig`, with real servers started and stopped around it (or by a
fixture: `request.getfixturevalue("...")`); it calls `pytest.skip("... is not installed")` where it cannot.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_alpaca import FakeAlpaca
from fake_fs import FakeFs
from fake_tart import PASSWORD, FakeTart

from calibrant.acquire.devices import Observatory
from calibrant.acquire.drivers import connect
from calibrant.acquire.inventory import DetectorEntry, Inventory, LampEntry, Mask, load_inventory
from calibrant.simulation.tart_api import serve


@dataclass
class Rig:
    """One observatory to try, and how."""

    observatory: Observatory
    short_s: float = 1.0
    """An exposure that the tests can wait for."""
    long_s: float = 60.0
    """One that would last too long: it is cancelled or aborted."""
    kinds: tuple[str, ...] = ("bias", "dark", "flat")
    """What the detector can take."""
    lights_matter: bool = False
    """Whether the detector sees the lights: a lit frame is brighter than a dark one."""
    places: tuple[str, str] | None = None
    """Two places of the mask to go between; None: no mask, or none that moves."""
    slow_place: str | None = None
    """A place so far away that the motion there can be cancelled in time."""
    break_connection: Callable[[], Awaitable[None]] | None = None
    """Kills the server or cuts the line."""
    lights_are_elsewhere: bool = False
    """The lights do not hang on the connection that is broken."""
    lost_within_s: float = 10.0
    """Real seconds until a call must have failed then."""
    secrets: tuple[str, ...] = ()
    """Words that no status or description may show."""


@dataclass(frozen=True)
class Case:
    name: str
    factory: Callable[[Path, pytest.FixtureRequest], AbstractAsyncContextManager[Rig]]
    marks: tuple[pytest.MarkDecorator, ...] = ()


def sim_inventory(**changes: object) -> Inventory:
    """A small observatory that behaves like LVM's: six lamps, a mask with four places, cameras of three colours."""
    values: dict[str, object] = {
        "name": "small",
        "driver": "sim",
        "lamps": {
            "Argon": LampEntry(flavour="arc", warmup_s=120.0),
            "Neon": LampEntry(flavour="arc", warmup_s=120.0),
            "LDLS": LampEntry(flavour="flat", warmup_s=300.0),
            "Quartz": LampEntry(flavour="flat", warmup_s=120.0),
        },
        "mask": Mask(places={"P1-1": 1650.0, "P1-2": 215.0, "P1-3": 16610.0, "P1-12": 3210.0}, move_s=40.0),
        "positions": {"calibration": {}, "park": {}},
        "detector": DetectorEntry(cameras=["b1", "r1", "z1"], readout_s=55.0, light_tight=True),
        "slew_s": 20.0,
    }
    return Inventory(**(values | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def sim(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    observatory = await connect(sim_inventory(), speed=500.0, state_path=tmp_path / "lamps.json")

    async def break_connection() -> None:
        observatory.world.inject("server", "server_dead")  # type: ignore[attr-defined]

    yield Rig(
        observatory,
        short_s=60.0,
        long_s=2000.0,
        kinds=("bias", "dark", "flat", "arc"),
        lights_matter=True,
        places=("P1-2", "P1-3"),
        slow_place="P1-12",
        break_connection=break_connection,
    )
    await observatory.close()


@asynccontextmanager
async def indi(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    server = request.getfixturevalue("indi_servers").get()
    inventory = load_inventory("indi")
    observatory = await connect(inventory, port=server.port)

    async def break_connection() -> None:
        server.kill()

    try:
        yield Rig(
            observatory,
            short_s=0.3,
            kinds=("bias", "dark", "flat", "arc", "object"),
            places=("Filter 1", "Filter 2"),
            break_connection=break_connection,
            lost_within_s=1.0,
        )
    finally:
        await observatory.close()


@asynccontextmanager
async def indi_receiver(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A radio receiver as the detector. The simulator integrates almost a second too short, so 0.1 s is asked for."""
    server = request.getfixturevalue("indi_servers").get()
    address = {"devices": {"receiver": "Receiver Simulator"}, "kind": "sensor"}
    detector = DetectorEntry(cameras=["receiver"], readout_s=1.0, address=address)
    inventory = load_inventory("indi").model_copy(update={"detector": detector, "mask": None})
    observatory = await connect(inventory, port=server.port)
    try:
        yield Rig(observatory, short_s=0.1, kinds=("bias", "dark", "flat"))
    finally:
        await observatory.close()


@asynccontextmanager
async def clu(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Stand-in actors on a real RabbitMQ."""
    pytest.importorskip("clu", reason="sdss-clu is not installed (extra amqp)")
    actors = request.getfixturevalue("clu_world").actors()
    observatory = await connect(load_inventory(actors.inventory()), speed=actors.speed, floor_s=2.0)

    async def break_connection() -> None:
        actors.kill()

    try:
        yield Rig(
            observatory,
            short_s=20.0,
            long_s=2000.0,
            kinds=("bias", "dark", "flat", "arc", "object"),
            lights_matter=True,
            places=("P1-2", "P1-3"),
            slow_place="P1-12",
            break_connection=break_connection,
        )
    finally:
        await observatory.close()


@asynccontextmanager
async def alpaca(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """An Alpaca server of our own, real HTTP on loopback."""
    world = FakeAlpaca(turn_s=0.1)
    with serve(world) as url:  # type: ignore[arg-type]
        observatory = await connect(load_inventory("alpaca"), speed=20.0, url=url)

        async def break_connection() -> None:
            world._stop()

        try:
            yield Rig(
                observatory,
                short_s=2.0,
                long_s=600.0,
                kinds=("bias", "dark", "flat", "arc", "object"),
                lights_matter=True,
                places=("Filter 1", "Filter 2"),
                break_connection=break_connection,
            )
        finally:
            await observatory.close()


@asynccontextmanager
async def tart(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The simulated telescope over HTTP, with a lamp of the simulated observatory as its test source."""
    world = FakeTart(period_s=0.05)
    with serve(world) as url:
        given = load_inventory("tart").model_dump()
        given["address"] = {"url": url, "catalogue": f"{url}/catalog", "lights": "sim"}
        given["lamps"] = {"Quartz": {"warmup_s": 0.0, "flavour": "flat"}}
        observatory = await connect(Inventory.model_validate(given), directory=tmp_path)

        async def break_connection() -> None:
            world._stop()

        try:
            yield Rig(
                observatory,
                kinds=("dark", "flat", "object"),
                break_connection=break_connection,
                lights_are_elsewhere=True,
                secrets=(PASSWORD,),
            )
        finally:
            await observatory.close()


@asynccontextmanager
async def field_system(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A stand-in for a Field System: it takes SNAP commands and writes a log."""
    system = FakeFs(tmp_path)
    given = load_inventory("fs").model_dump()
    given["address"] |= {"log": str(system.log), "inject": system.inject, "procedures": str(tmp_path)}
    observatory = await connect(Inventory.model_validate(given), directory=tmp_path)

    async def break_connection() -> None:
        await asyncio.to_thread(system.break_down)

    try:
        yield Rig(observatory, kinds=("bias", "dark", "flat", "object"), break_connection=break_connection)
    finally:
        await observatory.close()
        system.close()


CASES = [
    Case("sim", sim),
    Case("alpaca", alpaca),
    Case("tart", tart),
    Case("fs", field_system),
    Case("clu", clu, (pytest.mark.server,)),
    Case("indi", indi, (pytest.mark.server,)),
    Case("indi-receiver", indi_receiver, (pytest.mark.server,)),
]
