"""SDSS actors over a real RabbitMQ: frames of a sequence, what goes wrong on a bus, and lights off in every ending."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from calibrant.acquire import drivers, journal
from calibrant.acquire.clock import Clock
from calibrant.acquire.clu_bus import Bus, value
from calibrant.acquire.clu_detector import CluDetector
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    LightState,
    Observatory,
)
from calibrant.acquire.gort import Gort
from calibrant.acquire.inventory import Inventory, load_inventory
from calibrant.acquire.plan import Plan
from calibrant.acquire.result import RunResult
from calibrant.acquire.resume import verified
from calibrant.acquire.runner import Run
from calibrant.acquire.sequence import SEQUENCES, load_sequence
from calibrant.acquire.session import Request, take
from calibrant.errors import ParameterError

pytest.importorskip("clu", reason="sdss-clu is not installed (extra amqp)")

SPEED = 20.0
DARK, ARC, FLAT = "dark-01", "argon-01", "quartz-01"


@pytest.fixture
def actors(clu_world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("CALIBRANT_STATE", str(tmp_path / "state"))
    return clu_world.actors(SPEED)


@asynccontextmanager
async def connected(actors: Any, floor_s: float = 1.0) -> AsyncIterator[Observatory]:
    inventory = load_inventory(actors.inventory())
    observatory = await drivers.connect(inventory, speed=SPEED, floor_s=floor_s)
    try:
        yield observatory
    finally:
        await observatory.close()


def trying(actors: Any, trial: Callable[[Observatory], Awaitable[None]], floor_s: float = 1.0) -> None:
    """Try something on the connected devices; nothing may be left of it."""

    async def whole() -> None:
        before = asyncio.all_tasks()
        async with connected(actors, floor_s) as observatory:
            await trial(observatory)
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(whole(), 40))


def the_plan(inventory: Inventory, sequence: dict[str, Any] | None = None) -> Plan:
    """The sequence demo, with a dark and an arc."""
    demo = load_sequence("demo").given
    full = {**demo, "darks": {"exposure_time": 30}}
    full["lamps"] = {**demo["lamps"], "Argon": {"warmup": 10, "exposure_time": 20}}
    whole = sequence is None
    return compile_plan(load_sequence(sequence or full), inventory, slew_telescopes=whole, park_after=whole)


def request_for(actors: Any, directory: Path, sequence: dict[str, Any] | None = None, **more: Any) -> Request:
    inventory = load_inventory(actors.inventory())
    plan = the_plan(inventory, sequence)
    return Request(plan, inventory, directory, speed=SPEED, source=str(actors.inventory()), floor_s=3.0, **more)


def all_off(actors: Any) -> bool:
    return not any(actors.lamps().values())


async def idle(actors: Any) -> bool:
    async with connected(actors) as observatory:
        return await observatory.detector.is_idle()


def no_part_left(actors: Any) -> bool:
    return not list(actors.data.rglob(".part*"))


# ---- frames


@pytest.mark.server
def test_the_demo_sequence_through_rabbitmq(actors: Any, tmp_path: Path) -> None:
    begin = len(actors.log())
    request = request_for(actors, tmp_path / "run")
    result = asyncio.run(take(request, watch=False))
    assert (result.verdict, result.alarms, all_off(actors)) == ("complete", (), True)
    check_files(request, result)
    log = actors.log()[begin:]
    numbers = [re.findall(r"--seqno (\d+)", words)[0] for actor, words in log if words.startswith("expose")]
    assert numbers[::2] == numbers[1::2] == [str(int(numbers[0]) + index) for index in range(4)], "one number for both"
    switched = [words for actor, words in log if actor == "lvmnps.calib" and words.split()[0] in ("on", "off")]
    assert [words for words in switched if words.startswith("on Quartz --off-after ")], "a hardware lease"
    pointed = [words for actor, words in log if actor == "lvm.sci.pwi" and words.startswith("goto")]
    assert pointed == ["gotoAltAzJ2000 -- 70.804 130.183", "gotoAltAzJ2000 -- -60 90"]
    assert ["lvm.overwatcher", "status"] in log and ["lvmecp", "status"] in log


def check_files(request: Request, result: RunResult) -> None:
    """The actors' own files are what the plan says."""
    plan = request.plan
    assert [step.frame_kind for step in plan.frames] == ["bias", "dark", "flat", "arc"]
    for step in plan.frames:
        files = [frame for frame in result.frames if frame.key == step.frame]
        assert {frame.camera for frame in files} == set(request.inventory.detector.cameras)
        for frame in files:
            with fits.open(request.directory / frame.path, checksum=True) as parts:
                header, data = parts[0].header, np.asarray(parts[0].data)
            assert (header["IMAGETYP"], header["EXPTIME"]) == (step.frame_kind, step.exposure_s)
            assert (header["OBJECT"], header["CALKEY"]) == (step.object or step.frame_kind, step.frame)
            assert header["CCD"] == frame.camera
            lit = step.frame_kind in ("flat", "arc")
            assert [lamp for lamp in request.inventory.lamps if header[lamp.upper()] == "ON"] == (
                [step.object] if lit else []
            )
            excess = float(np.percentile(data, 99)) - 1000
            assert 0.8 * 20 * step.exposure_s < excess < 1.3 * 20 * step.exposure_s + 100 if lit else excess < 20
    records = journal.read(request.directory)
    measured = {record["key"]: record["measured_s"] for record in records if record["kind"] == "frame"}
    assert measured["bias-01"] == 0 and 30 <= measured[DARK] < 36 and 20 <= measured[ARC] < 26


@pytest.mark.server
def test_the_calls_of_gort_through_rabbitmq(actors: Any, tmp_path: Path) -> None:
    async def trial() -> None:
        async with Gort(actors.inventory(), speed=SPEED, directory=tmp_path / "g") as g:
            await g.telescopes.goto_named_position("selfie")
            assert await g.observatory.pointing.position() == "selfie"  # type: ignore[union-attr]
            await g.nps.calib.on("argon")
            await g.telescopes.spec.fibsel.move_to_position("P1-3")
            arc = await g.specs.expose(10, flavour="arc", header={"TILE_ID": 11})
            assert not arc.problems and len(arc.files) == 6  # type: ignore[union-attr]
            header = fits.getheader(arc.files[0])  # type: ignore[union-attr]
            assert (header["OBJECT"], header["TILE_ID"], header["ARGON"]) == ("Argon", 11, "ON")
            fibsel = {"positions": ["P1-1", "P2-1"], "time_per_position": 5}
            lamps = {"Quartz": {"warmup": 1, "exposure_time": 20, "fibsel": fibsel}}
            result = await g.specs.calibrate({"lamps": lamps}, slew_telescopes=False)
            places = [record["place"] for record in journal.read(result.directory) if record["kind"] == "mask"]
            assert places == ["P1-1", "P2-1"]

    asyncio.run(asyncio.wait_for(trial(), 60))
    assert all_off(actors)


# ---- faults


@pytest.mark.server
@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("hang", DeviceTimeout, "no end within"),
        ("fail", DeviceRefused, "the hardware says no"),
        ("schema", DeviceRefused, "schema"),
        ("garbage", DeviceRefused, "schema"),
        ("stuck", DeviceRefused, "says on"),
    ],
)
def test_a_switch_that_misbehaves_is_an_error_in_time_and_can_be_used_again(
    actors: Any, kind: str, error: type[Exception], words: str
) -> None:
    async def trial(observatory: Observatory) -> None:
        lamp = observatory.lights["Neon"]
        await lamp.set(True)
        actors.fault("lvmnps.calib", "off", kind)
        begin = time.monotonic()
        with pytest.raises(error, match=words):
            await lamp.set(False)
        assert time.monotonic() - begin < 5
        await lamp.set(False)
        assert await lamp.read() is LightState.OFF and all_off(actors)

    trying(actors, trial)


@pytest.mark.server
@pytest.mark.parametrize(
    ("command", "kind"), [("expose", "hang"), ("expose", "fail"), ("read", "fail"), ("read", "lost file")]
)
def test_one_spectrograph_that_fails_stops_both(actors: Any, command: str, kind: str) -> None:
    async def trial(observatory: Observatory) -> None:
        detector = observatory.detector
        actors.fault("lvmscp.sp2", command, kind)
        with pytest.raises((DeviceRefused, DeviceTimeout), match=r"sp2|b2"):
            exposure = await detector.expose(CaptureSpec("a", "dark", 20.0))
            await exposure.integrated()
            await exposure.read()
        assert await detector.is_idle()
        exposure = await detector.expose(CaptureSpec("b", "bias", 0.0))
        assert len(await exposure.read()) == 6

    trying(actors, trial)


@pytest.mark.server
def test_what_else_a_detector_refuses(actors: Any) -> None:
    async def trial(observatory: Observatory) -> None:
        detector = observatory.detector
        with pytest.raises(DeviceRefused, match="gain"):
            await detector.expose(CaptureSpec("a", "dark", 1.0, options={"gain": 2}))
        async with connected(actors) as other:
            running = await other.detector.expose(CaptureSpec("theirs", "dark", 400.0))
            with pytest.raises(DeviceBusy, match="EXPOSING"):
                await detector.expose(CaptureSpec("ours", "dark", 1.0))
            with pytest.raises(DeviceBusy):
                await detector.prepare()
            assert not await other.detector.is_idle(), "somebody else's exposure was not touched"
            await other.detector.abort()
            with pytest.raises(DeviceRefused, match="aborted"):
                await running.read()

    trying(actors, trial)


@pytest.mark.server
def test_a_mask_that_does_not_arrive(actors: Any) -> None:
    async def trial(observatory: Observatory) -> None:
        mask = observatory.mask
        assert mask is not None
        await mask.move("P1-2")
        actors.fault("lvm.spec.fibsel", "moveAbsolute", "stuck")
        with pytest.raises(DeviceRefused, match="did not arrive"):
            await mask.move("P1-3")
        actors.fault("lvm.spec.fibsel", "moveAbsolute", "drift", amount=200)
        task = asyncio.create_task(mask.move("P1-3"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await mask.position() == "", "between places, and at rest"
        await mask.home()  # type: ignore[attr-defined]
        await mask.move("P1-12")
        assert await mask.position() == "P1-12"

    trying(actors, trial)


@pytest.mark.server
def test_who_and_what_forbids_working(actors: Any, tmp_path: Path) -> None:
    async def trial(observatory: Observatory) -> None:
        async def problems() -> list[str]:
            return [text for lock in observatory.interlocks for text in await lock.check()]

        assert await problems() == []
        actors.say("lvm.overwatcher", status={"running": True, "enabled": True, "observing": False})
        assert await problems() == ["the Overwatcher is enabled; disable it first"]
        actors.say("lvm.overwatcher", status={"running": True, "enabled": False})
        actors.say("lvmecp", dome_status_labels="OPEN,MOVING")
        (found,) = await problems()
        assert "lvmecp" in found and "not CLOSED" in found

    trying(actors, trial)
    result = asyncio.run(take(request_for(actors, tmp_path / "run"), watch=False))
    assert result.verdict == "incomplete" and "not CLOSED" in result.reason
    assert all_off(actors)


@pytest.mark.server
def test_an_actor_that_is_not_there(actors: Any) -> None:
    async def trial() -> None:
        given = load_inventory(actors.inventory()).model_dump(mode="json")
        given["address"]["power"] = "lvmnps.nobody"
        inventory = Inventory.model_validate(given)
        observatory = await drivers.connect(inventory, speed=SPEED, floor_s=1.0)
        lamp = observatory.lights["Argon"]
        assert not lamp.hardware_lease
        for call in (lamp.read(), lamp.set(False)):
            with pytest.raises(DeviceLost, match=r"lvmnps\.nobody: no such actor"):
                await call
        assert "lvmnps.nobody" in (await observatory.interlocks[0].check())[0]
        await observatory.close()

    asyncio.run(trial())


# ---- endings


@pytest.mark.server
@pytest.mark.parametrize("moment", ["warm", "expose", "readout"])
def test_cancelling_leaves_all_dark_and_still_and_resume_takes_the_rest(
    actors: Any, tmp_path: Path, moment: str
) -> None:
    sequence = {"biases": {"count": 1}, "lamps": {"Argon": {"warmup": 10, "exposure_time": [4, 5]}}}
    request = request_for(actors, tmp_path / "run", sequence)

    async def cancelled() -> None:
        task: asyncio.Task[RunResult] | None = None

        def hear(record: dict[str, Any]) -> None:
            begun = record["kind"] == "step" and record["phase"] == "begin" and record["step"] == moment
            if begun and record.get("lights"):
                asyncio.get_running_loop().call_later(0.1, task.cancel)  # type: ignore[union-attr]

        def on_run(run: Run) -> None:
            run.events().listen(hear)

        task = asyncio.create_task(take(request, on_run=on_run, watch=False))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await idle(actors)

    asyncio.run(asyncio.wait_for(cancelled(), 40))
    assert all_off(actors) and no_part_left(actors)
    before = verified(request.directory, request.plan)
    assert "bias-01" in before.done
    again = request_for(actors, tmp_path / "run", sequence, before=before)
    result = asyncio.run(take(again, watch=False))
    assert result.verdict == "complete" and {frame.key for frame in result.frames} == {"bias-01", ARC, "argon-02"}
    assert all_off(actors)


@pytest.mark.server
def test_the_guard_switches_off_after_sigkill(actors: Any, tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.inventory import load_inventory
from calibrant.acquire.sequence import load_sequence
from calibrant.acquire.session import Request, take
inventory = load_inventory({str(actors.inventory())!r})
sequence = load_sequence({{"lamps": {{"Xenon": {{"warmup": 1000, "exposure_time": 1}}}}}})
plan = compile_plan(sequence, inventory, slew_telescopes=False)
asyncio.run(take(Request(plan, inventory, Path({str(tmp_path / "run")!r}), speed={SPEED}), watch=False))
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    wait_for(lambda: actors.lamps()["Xenon"], 20, "the lamp is lit")
    process.kill()
    process.wait()
    wait_for(lambda: not actors.lamps()["Xenon"], 15, "the guard switches off")
    path = tmp_path / "run"
    wait_for(lambda: journal.read(path)[-1]["kind"] == "end", 10, "the guard's report")
    assert journal.read(path)[-1]["lights_off"] and any(
        "off" in r["text"] for r in journal.read(path) if r["kind"] == "alarm"
    )


@pytest.mark.server
def test_actors_that_die_are_a_lost_device_and_an_alarm(actors: Any, tmp_path: Path) -> None:
    ended(actors.kill, actors, tmp_path)


def ended(kill: Callable[[], None], actors: Any, tmp_path: Path) -> None:
    """A run whose server is killed during a long exposure: an alarm within seconds that says what to switch off."""
    sequence = {"lamps": {"Argon": {"warmup": 1, "exposure_time": 2000}}}
    killed = 0.0

    async def whole() -> RunResult:
        def hear(record: dict[str, Any]) -> None:
            nonlocal killed
            if record["kind"] == "exposure":
                killed = time.monotonic()
                kill()

        return await take(
            request_for(actors, tmp_path / "run", sequence), on_run=lambda run: run.events().listen(hear), watch=False
        )

    result = asyncio.run(asyncio.wait_for(whole(), 60))
    assert (result.verdict, result.exit_code) == ("unsafe", 3)
    assert any("UNKNOWN" in alarm and "Argon" in alarm and "by hand" in alarm for alarm in result.alarms)
    alarm = next(record for record in journal.read(tmp_path / "run") if record["kind"] == "alarm")
    assert alarm["time"] - time.time() + (time.monotonic() - killed) < 10


class Line:
    """A line to the broker that can be cut."""

    def __init__(self, port: int) -> None:
        self._port, self.whole = port, True
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends |= {writer, far_writer}
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await reader.read(65536):
                writer.write(content)
        writer.close()

    def cut(self) -> None:
        self.whole = False
        for end in self._ends:
            end.close()

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await asyncio.sleep(0.05)


@pytest.mark.server
def test_a_connection_that_comes_back_is_used_again(actors: Any) -> None:
    async def trial() -> None:
        line = Line(actors.port)
        inventory = load_inventory(actors.inventory())
        observatory = await drivers.connect(inventory, speed=SPEED, floor_s=1.0, port=await line.open())
        lamp, detector = observatory.lights["Argon"], observatory.detector
        await lamp.set(True)
        exposure = await detector.expose(CaptureSpec("long", "arc", 60.0))
        line.cut()
        with pytest.raises(DeviceLost, match="is gone"):
            await asyncio.wait_for(exposure.integrated(), 3)
        with pytest.raises(DeviceLost):
            await lamp.set(False)
        line.whole = True
        async with asyncio.timeout(10):
            while True:
                with suppress(DeviceLost):
                    await lamp.set(False)
                    break
                await asyncio.sleep(0.1)
        await detector.abort()
        assert all_off(actors) and await detector.is_idle()
        await observatory.close()
        await line.close()

    asyncio.run(asyncio.wait_for(trial(), 30))


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError, IndexError):
            if condition():
                return
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)


# ---- without a broker


def lvm(**changes: Any) -> Inventory:
    given = load_inventory("lvm").model_dump(mode="json")
    return Inventory.model_validate(given | changes)


def test_no_broker_is_a_lost_device_and_no_secret_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALIBRANT_AMQP_PASSWORD", "sesame")

    async def trial() -> None:
        before = asyncio.get_running_loop().get_exception_handler()
        with pytest.raises(DeviceLost, match=r"RabbitMQ at 127\.0\.0\.1:1 cannot be reached") as failure:
            await drivers.connect(lvm(), host="127.0.0.1", port=1)
        assert "sesame" not in repr(failure.value.__cause__) + str(failure.value)
        assert asyncio.get_running_loop().get_exception_handler() is before

    asyncio.run(trial())


@pytest.mark.server
def test_a_wrong_password_is_refused_and_not_told(actors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALIBRANT_AMQP_PASSWORD", "sesame")
    with pytest.raises(DeviceRefused, match="CALIBRANT_AMQP_PASSWORD") as failure:
        asyncio.run(Bus.open("127.0.0.1", actors.port))
    assert "sesame" not in str(failure.value)


def test_without_sdss_clu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clu.client", None)
    with pytest.raises(ParameterError, match=r"calibrant\[amqp\]"):
        asyncio.run(drivers.connect(lvm(), host="127.0.0.1", port=1))


def test_real_devices_have_no_speed() -> None:
    with pytest.raises(ParameterError, match="own time"):
        asyncio.run(drivers.connect(lvm(), speed=2.0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"address": {"hots": "x"}}, "'hots' is unknown"),
        ({"detector": {"cameras": ["b1"], "address": {}}}, "list the spectrographs"),
        ({"detector": {"cameras": ["b1"], "address": {"actors": ["a", "b"]}}}, "exposure_number"),
    ],
)
def test_an_inventory_that_says_too_little_is_refused(changes: dict[str, Any], words: str) -> None:
    async def trial() -> None:
        with pytest.raises(ParameterError, match=words):
            if "detector" in changes:
                CluDetector(None, Clock(), lvm(**changes))  # type: ignore[arg-type]
            else:
                await drivers.connect(lvm(**changes))

    asyncio.run(trial())


def test_files_belong_to_cameras_by_their_names() -> None:
    detector = CluDetector(None, Clock(), load_inventory("lvm"))  # type: ignore[arg-type]
    assert detector.camera_of("/data/spectro/lvm/60999/sdR-s-b1-00001234.fits.gz") == "b1"
    with pytest.raises(DeviceRefused, match="which camera"):
        detector.camera_of("sdR-s-x1-00001234.fits.gz")


def test_the_last_word_counts() -> None:
    assert value([{"a": 1}, {"b": 2}, {"a": 3}], "a") == 3
    assert value([], "a") is None


def test_the_shipped_inventory_suits_the_driver() -> None:
    inventory = load_inventory("lvm")
    assert inventory.driver == "clu" and "demo" in SEQUENCES
    telescopes = {name for places in inventory.positions.values() for name in places}
    assert telescopes == set(inventory.address["telescopes"])
    assert json.dumps(inventory.address)


# ---- last: the next test needs another broker


@pytest.mark.server
def test_a_broker_that_dies_is_a_lost_device_and_an_alarm(actors: Any, clu_world: Any, tmp_path: Path) -> None:
    ended(clu_world.broker().kill, actors, tmp_path)
