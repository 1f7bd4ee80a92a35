"""Runs on INDI's own simulators behind a real indiserver: files, cancellations, deaths."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).parent))
from servers import ARC_LAMP, IndiServers, Server, indiserver, wait_until

from calibrant.acquire import indi, journal
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.devices import CaptureSpec, DeviceLost, LightState, Observatory
from calibrant.acquire.drivers import connect
from calibrant.acquire.filing import DiskFiling
from calibrant.acquire.inventory import Inventory, load_inventory
from calibrant.acquire.journal import Journal
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import RunResult
from calibrant.acquire.resume import Before, verified
from calibrant.acquire.runner import Run, Setting
from calibrant.acquire.sequence import load_sequence
from calibrant.acquire.session import Request, take

pytestmark = pytest.mark.server
PANELS = {"Quartz": "Light Panel Simulator", "Argon": ARC_LAMP}
CCD, MOUNT = "CCD Simulator", "Telescope Simulator"
FAST = 20.0


@pytest.fixture
def server(indi_servers: IndiServers) -> Server:
    return indi_servers.get()


def devices() -> Inventory:
    return load_inventory("indi")


@asynccontextmanager
async def observatory(server: Server, speed: float = 1.0) -> AsyncIterator[Observatory]:
    made = await connect(devices(), port=server.port, speed=speed)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def witness(server: Server) -> AsyncIterator[indi.Client]:
    """Another client, that tells what the server says whatever the run believes."""
    client = await indi.connect("127.0.0.1", server.port)
    try:
        yield client
    finally:
        await client.close()


async def lit(client: indi.Client) -> list[str]:
    found = []
    for lamp, device in PANELS.items():
        if (await client.ask(device, "FLAT_LIGHT_CONTROL")).on("FLAT_LIGHT_ON"):
            found.append(lamp)
    return found


def lit_now(server: Server) -> list[str]:
    async def look() -> list[str]:
        async with witness(server) as client:
            return await lit(client)

    return asyncio.run(look())


def run_async(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


# ---- files


WITH_ARC = {
    "biases": {"count": 2},
    "darks": {"exposure_time": 10},
    "lamps": {"Argon": {"warmup": 20, "exposure_time": [10, 20]}, "Quartz": {"warmup": 20, "exposure_time": 20}},
}


@pytest.mark.parametrize("sequence", ["demo", WITH_ARC], ids=["demo", "bias, dark, arcs, flat"])
def test_files_are_what_the_plan_says(server: Server, tmp_path: Path, sequence: Any) -> None:
    plan = compile_plan(load_sequence(sequence), devices())
    request = Request(
        plan, devices(), tmp_path / "run", speed=FAST, options={"port": server.port}, state=str(tmp_path / "state")
    )
    result = asyncio.run(take(request, watch=False))
    assert (result.verdict, result.reason, result.exit_code) == ("complete", "", 0)
    assert [frame.key for frame in result.frames] == [step.frame for step in plan.frames]
    for frame, step in zip(result.frames, plan.frames, strict=True):
        with fits.open(tmp_path / "run" / frame.path) as hdus:
            check_file(hdus[0].header, hdus[0].data, step, plan)
    assert lit_now(server) == []
    assert sorted(path.suffix for path in (tmp_path / "run").iterdir() if path.suffix == ".fits") == [".fits"] * len(
        plan.frames
    )


def check_file(header: fits.Header, data: np.ndarray, step: Any, plan: Plan) -> None:
    assert data.shape == (1024, 1280) and data.dtype == np.uint16
    assert data.std() > 0
    assert header["IMAGETYP"] == step.frame_kind
    assert header["OBJECT"] == (step.object or step.frame_kind)
    assert header["EXPREQ"] == step.exposure_s
    assert step.exposure_s <= header["EXPTIME"] < step.exposure_s * 1.1 + 3
    assert header["DATE-BEG"] < header["DATE-END"]
    assert (header["CALPLAN"], header["CALSEQ"], header["SIMULATE"]) == (plan.hash, plan.name, True)
    assert header["INSTRUME"] == CCD
    for number in (1, 2):
        state = "on" if header[f"LAMP{number}"] in step.lights else "off"
        assert (header[f"LMP{number}BEG"], header[f"LMP{number}END"]) == (state, state)
    if step.frame_kind == "flat":
        assert data.mean() > 200


def test_a_receiver_is_a_detector(server: Server, tmp_path: Path) -> None:
    address = {"devices": {"receiver": "Receiver Simulator"}, "kind": "sensor"}
    detector = devices().detector.model_copy(update={"cameras": ["receiver"], "address": address})
    inventory = devices().model_copy(update={"detector": detector, "positions": {}, "mask": None})
    sequence = {"darks": {"exposure_time": 0.1}, "lamps": {"Quartz": {"warmup": 0.1, "exposure_time": 0.1}}}
    plan = compile_plan(load_sequence(sequence), inventory, slew_telescopes=False)
    request = Request(plan, inventory, tmp_path / "run", options={"port": server.port}, state=str(tmp_path / "state"))
    result = asyncio.run(take(request, watch=False))
    assert (result.verdict, result.reason) == ("complete", "")
    header = fits.getheader(tmp_path / "run" / result.frames[0].path)
    assert header["INSTRUME"] == "Receiver Simulator" and "1420000000" in str(header["FREQ"])


# ---- cancel


SMALL = {
    "biases": {"count": 1},
    "lamps": {
        "Quartz": {
            "warmup": 0.2,
            "exposure_time": 1.5,
            "fibsel": {"positions": ["Filter 1", "Filter 2"], "initial_position": "Filter 1", "time_per_position": 0.1},
        },
        "Argon": {"warmup": 0.2, "exposure_time": 0.2},
    },
}


def small() -> Plan:
    """All kinds of steps but pointing, which takes seconds here."""
    return compile_plan(load_sequence(SMALL), devices(), slew_telescopes=False)


STEPS = small().steps


async def make_run(directory: Path, plan: Plan, made: Observatory, before: Before | None = None) -> Run:
    setting = Setting(done=before.done if before else {})
    filing = DiskFiling(directory, plan, made, run_id=setting.run_id, inventory=devices())
    return Run(plan, made, directory, journal=Journal(directory / "journal.jsonl"), filing=filing, setting=setting)


async def broken_off(run: Run, index: int, when: str) -> RunResult | None:
    """Execute until a step begins or is half done, then cancel: once by `abort`, or three times by the task."""

    async def reached() -> None:
        async for record in run.events():
            if record["kind"] == "step" and record["index"] == index and record["phase"] == "begin":
                break
        if when == "middle":
            await asyncio.sleep(min(STEPS[index].duration_s / 2, 0.3))

    executing = asyncio.create_task(run.execute())
    await asyncio.wait({asyncio.create_task(reached()), executing}, return_when=asyncio.FIRST_COMPLETED)
    if when == "begin":
        run.abort("test")
        return await executing
    for _ in range(3):
        executing.cancel()
        await asyncio.sleep(0.01)
    await asyncio.wait({executing})
    return None if executing.cancelled() else executing.result()


MOMENTS = [(step.index, "begin") for step in STEPS] + [(step.index, "middle") for step in STEPS if step.duration_s > 0]
LANES = 7


def test_cancelled_at_every_step(tmp_path: Path) -> None:
    """Several servers at once: each run mostly waits."""

    async def lane(number: int, moments: list[tuple[int, str]]) -> None:
        with indiserver(tmp_path / f"server{number}") as server:
            while moments:
                index, when = moments.pop()
                try:
                    await cancelled_and_resumed(server, tmp_path / f"{index}-{when}", index, when)
                except BaseException as error:
                    error.add_note(f"cancelled at the {when} of step {index}, {STEPS[index].kind}")
                    raise

    async def story() -> None:
        moments = list(MOMENTS)
        async with asyncio.TaskGroup() as group:
            for number in range(LANES):
                group.create_task(lane(number, moments))

    run_async(story)


async def cancelled_and_resumed(server: Server, folder: Path, index: int, when: str) -> None:
    plan = small()
    folder.mkdir()
    async with observatory(server) as made, witness(server) as client:
        begin = time.monotonic()
        await broken_off(await make_run(folder, plan, made), index, when)
        assert time.monotonic() - begin < 15
        assert await lit(client) == []
        assert (await client.ask(CCD, "CCD_EXPOSURE")).state != "Busy"
        assert (await client.ask("Filter Simulator", "FILTER_SLOT")).state != "Busy"
        assert not [path for path in folder.iterdir() if path.name.endswith(".part")]
        assert journal.read(folder)[-1]["lights_off"]
    first = {path.name for path in folder.glob("*.fits")}
    before = verified(folder, plan)
    assert {file.path for files in before.done.values() for file in files} == first
    async with observatory(server) as made:
        resumed = await (await make_run(folder, plan, made, before)).execute()
    assert resumed.verdict == "complete", resumed.reason
    assert {path.name for path in folder.glob("*.fits")} == {f"sequence-{step.frame}-ccd.fits" for step in plan.frames}
    exposed = [record["key"] for record in journal.read(folder) if record["kind"] == "exposure"]
    assert len(exposed) <= len(plan.frames) + 1, "only the frame that was cancelled is taken twice"


def test_a_slew_that_is_cancelled_stops(server: Server) -> None:
    async def story() -> None:
        async with observatory(server) as made, witness(server) as client:
            assert made.pointing is not None
            await made.pointing.move("calibration")
            assert await made.pointing.position() == "calibration"
            task = asyncio.create_task(made.pointing.move("park"))
            await asyncio.sleep(0.3)
            assert await made.pointing.position() == ""
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.ask(MOUNT, "EQUATORIAL_EOD_COORD")).state != "Busy"
            await made.pointing.move("selfie")
            assert await made.pointing.position() == "selfie"

    run_async(story)


# ---- deaths


def test_the_servers_death_is_noticed_at_once(server: Server) -> None:
    async def story() -> None:
        async with observatory(server) as made:
            exposure = await made.detector.expose(CaptureSpec("long", "dark", 60.0))
            waits = [asyncio.create_task(work) for work in (exposure.integrated(), exposure.read())]
            await asyncio.sleep(0.2)
            begin = time.monotonic()
            server.kill()
            results = await asyncio.gather(*waits, return_exceptions=True)
            assert time.monotonic() - begin < 1.0
            assert [type(result) for result in results] == [DeviceLost, DeviceLost]

    run_async(story)


def test_a_server_that_is_frozen_is_lost(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indi, "HEARTBEAT_S", 0.4)

    async def story() -> None:
        async with observatory(server) as made:
            exposure = await made.detector.expose(CaptureSpec("long", "dark", 60.0))
            server.signal(signal.SIGSTOP)
            try:
                with pytest.raises(DeviceLost, match="no sign of life"):
                    await asyncio.wait_for(exposure.integrated(), 5)
            finally:
                server.signal(signal.SIGCONT)
            await made.detector.abort()
            assert await made.detector.is_idle()

    run_async(story)


def test_the_death_of_the_cameras_driver_does_not_take_the_lamps_away(server: Server) -> None:
    async def story() -> None:
        async with observatory(server) as made:
            lamp = made.lights["Quartz"]
            await lamp.set(True)
            exposure = await made.detector.expose(CaptureSpec("long", "flat", 60.0))
            waiting = asyncio.create_task(exposure.integrated())
            await asyncio.sleep(0.1)
            begin = time.monotonic()
            os.kill(server.children()["indi_simulator_ccd"], signal.SIGKILL)
            with pytest.raises(DeviceLost, match=CCD):
                await waiting
            assert time.monotonic() - begin < 1.0
            await lamp.set(False)
            assert await lamp.read() is LightState.OFF
            # indiserver starts it again.
            await made.detector.prepare()
            assert await made.detector.is_idle()

    run_async(story)


PROGRAM = """
import sys
from calibrant.acquire.verbs.run import run
report = run(sys.argv[1], inventory=sys.argv[2], output=sys.argv[3], state=sys.argv[4], slew_telescopes=False)
print(report.summary())
sys.exit(report.exit_code)
"""


def begin_burning(server: Server, folder: Path) -> subprocess.Popen[str]:
    """A run in a process of its own, in its flat: the lamp burns, the camera is exposing."""
    inventory = devices().model_dump(mode="json")
    inventory["address"]["port"] = server.port
    (folder / "inventory.json").write_text(json.dumps(inventory))
    sequence = {"lamps": {"Quartz": {"warmup": 0.1, "exposure_time": 60}}}
    (folder / "sequence.json").write_text(json.dumps(sequence))
    arguments = [str(folder / name) for name in ("sequence.json", "inventory.json", "run", "state")]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def exposing() -> bool:
        assert process.poll() is None, process.communicate()[0]
        path = folder / "run" / "journal.jsonl"
        return path.exists() and any(record["kind"] == "exposure" for record in journal.read(path))

    wait_until(exposing, 20, "the exposure of the flat")
    return process


def test_sigkill_leaves_no_lamp_on(server: Server, tmp_path: Path) -> None:
    process = begin_burning(server, tmp_path)
    with process:
        assert lit_now(server) == ["Quartz"]
        process.kill()
        process.wait()
    wait_until(lambda: lit_now(server) == [], 15, "the guard switches the lamp off")
    path = tmp_path / "run" / "journal.jsonl"
    wait_until(lambda: journal.read(path)[-1]["kind"] == "end", 15, "the guard writes its record")
    assert journal.read(path)[-1]["guard"] and journal.read(path)[-1]["lights_off"]

    async def idle() -> bool:
        async with witness(server) as client:
            return (await client.ask(CCD, "CCD_EXPOSURE")).state != "Busy"

    wait_until(lambda: asyncio.run(idle()), 10, "the guard stops the camera")


def test_sigterm_ends_safely(server: Server, tmp_path: Path) -> None:
    process = begin_burning(server, tmp_path)
    with process:
        process.terminate()
        text, _ = process.communicate(timeout=20)
    assert process.returncode == 1, text
    assert lit_now(server) == []
    assert not list((tmp_path / "run").glob("*.fits"))


def test_the_servers_death_is_an_alarm_that_names_the_lamp(server: Server, tmp_path: Path) -> None:
    process = begin_burning(server, tmp_path)
    with process:
        server.kill()
        text, _ = process.communicate(timeout=50)
    assert process.returncode == 3, text
    words = " ".join(text.split())
    assert "ALARM" in words and "switch off by hand: Quartz" in words and "UNKNOWN" in words
    end = journal.read(tmp_path / "run")[-1]
    assert (end["verdict"], end["lights_off"]) == ("unsafe", False)
