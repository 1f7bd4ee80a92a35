"""The Alpaca driver against a server of our own on loopback (with faults), and against the simulators of PyPI."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_alpaca import SHAPE, FakeAlpaca

from calibrant.acquire import alpaca, alpaca_camera
from calibrant.acquire.compiler import compile_plan
from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    Frame,
    LightState,
    Observatory,
)
from calibrant.acquire.drivers import connect
from calibrant.acquire.inventory import Inventory, LampEntry, load_inventory
from calibrant.acquire.sequence import load_sequence
from calibrant.acquire.session import Request
from calibrant.acquire.session import take as take_run
from calibrant.errors import ParameterError
from calibrant.simulation.tart_api import serve

Trial = Callable[[Observatory], Awaitable[None]]


@pytest.fixture
def world() -> FakeAlpaca:
    return FakeAlpaca()


@pytest.fixture
def on(world: FakeAlpaca) -> Iterator[Callable[..., None]]:
    """on(trial, inventory) runs an async trial on the observatory of `world`, 20 times faster."""
    with serve(world) as url:  # type: ignore[arg-type]

        def run(trial: Trial, inventory: Inventory | None = None) -> None:
            async def whole() -> None:
                observatory = await connect(inventory or load_inventory("alpaca"), speed=20.0, url=url)
                try:
                    await trial(observatory)
                finally:
                    await observatory.close()

            asyncio.run(asyncio.wait_for(whole(), 60))

        yield run


async def take(observatory: Observatory, kind: str, seconds: float, **options: Any) -> Frame:
    spec = CaptureSpec(f"{kind}-01", kind, seconds, options=options)  # type: ignore[arg-type]
    exposure = await observatory.detector.expose(spec)
    await exposure.integrated()
    return (await exposure.read())[0]


def changed(**lamp: Any) -> Inventory:
    """The shipped inventory with another address of its panel."""
    inventory = load_inventory("alpaca")
    quartz = LampEntry(flavour="flat", warmup_s=1, address={"device": "covercalibrator/0", **lamp})
    return inventory.model_copy(update={"lamps": {"Quartz": quartz}})


@pytest.mark.parametrize("bytes_ok", [True, False])
def test_an_image_is_upright_and_whole(on: Callable[..., None], world: FakeAlpaca, bytes_ok: bool) -> None:
    world.bytes_ok = bytes_ok

    async def trial(observatory: Observatory) -> None:
        await observatory.detector.prepare()
        dark = await take(observatory, "dark", 2.0)
        assert dark.data is not None and dark.data.dtype == np.uint16
        assert dark.data.shape == (SHAPE[1], SHAPE[0])
        ramp = dark.data.mean(axis=0)
        assert ramp[-1] - ramp[0] == pytest.approx(SHAPE[0] - 1, abs=3), "x is the last axis"
        assert dark.exposure_s == pytest.approx(2.0, abs=0.05)
        assert dark.header["SATURATE"][0] == 65535 and dark.header["CCD-TEMP"][0] == -10.0

    on(trial)


def test_a_lit_frame_sees_the_panel_and_a_dark_does_not(on: Callable[..., None], world: FakeAlpaca) -> None:
    async def trial(observatory: Observatory) -> None:
        panel = observatory.lights["Quartz"]
        await panel.set(True, intensity=50)
        assert world.panel == 50 and await panel.read() in (LightState.WARMING, LightState.ON)
        flat, dark = await take(observatory, "flat", 1.0), await take(observatory, "dark", 1.0)
        await panel.set(False)
        assert flat.data is not None and dark.data is not None
        assert flat.data.mean() - dark.data.mean() == pytest.approx(500, abs=3)
        assert await panel.read() is LightState.OFF

    on(trial)


def test_options_are_set_and_the_next_frame_has_the_defaults_again(on: Callable[..., None], world: FakeAlpaca) -> None:
    async def trial(observatory: Observatory) -> None:
        await observatory.detector.prepare()
        binned = await take(observatory, "dark", 0.2, binning=2, phase="OFFS", repetition=1)
        window = await take(observatory, "dark", 0.2, window=[2, 3, 8, 4], gain=7)
        plain = await take(observatory, "dark", 0.2)
        shapes = [frame.data.shape for frame in (binned, window, plain) if frame.data is not None]
        assert shapes == [(8, 12), (4, 8), (16, 24)]
        assert [frame.header["GAINSET"][0] for frame in (binned, window, plain)] == [5, 7, 5]
        for option, words in (({"colour": 1}, "no option 'colour'"), ({"mode": "warp"}, "no readout mode 'warp'")):
            with pytest.raises(DeviceRefused, match=words):
                await take(observatory, "dark", 0.2, **option)
        assert await observatory.detector.is_idle()

    on(trial)


def test_a_camera_without_zero_exposures_takes_its_shortest_bias(on: Callable[..., None], world: FakeAlpaca) -> None:
    world.least_s = 0.05

    async def trial(observatory: Observatory) -> None:
        bias = await take(observatory, "bias", 0.0)
        assert bias.exposure_s == pytest.approx(0.05, abs=0.01)
        with pytest.raises(DeviceRefused, match="0x401: too short"):
            await take(observatory, "dark", 0.1)

    on(trial)


@pytest.mark.parametrize(("can_abort", "can_stop"), [(True, True), (False, True), (False, False)])
def test_abort_with_every_kind_of_camera(
    on: Callable[..., None], world: FakeAlpaca, can_abort: bool, can_stop: bool
) -> None:
    world.can_abort, world.can_stop = can_abort, can_stop
    seconds = 200.0 if can_stop else 30.0

    async def trial(observatory: Observatory) -> None:
        exposure = await observatory.detector.expose(CaptureSpec("long", "dark", seconds))
        waiting = asyncio.create_task(exposure.integrated())
        await asyncio.sleep(0.1)
        await observatory.detector.abort()
        assert await observatory.detector.is_idle()
        with pytest.raises(DeviceRefused, match="aborted"):
            await waiting
        with pytest.raises(DeviceRefused, match="aborted"):
            await exposure.read()
        bias = await take(observatory, "bias", 0.0)
        assert bias.exposure_s < 0.5

    on(trial)


def test_the_camera_that_somebody_else_uses_is_left_alone(on: Callable[..., None], world: FakeAlpaca) -> None:
    async def trial(observatory: Observatory) -> None:
        world.exposing, world.begin, world.end = True, time.time(), time.time() + 60
        world.ready_at = world.end
        with pytest.raises(DeviceBusy):
            await observatory.detector.prepare()
        with pytest.raises(DeviceBusy):
            await take(observatory, "dark", 1.0)
        assert world.exposing and not [call for call in world.calls if "abort" in call]

    on(trial)


def test_an_error_of_the_camera_ends_the_exposure(on: Callable[..., None], world: FakeAlpaca) -> None:
    world.error_in = "exposing"

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match="Error during the exposure"):
            await take(observatory, "dark", 20.0)
        assert "camera/0 abortexposure" in world.calls

    on(trial)


def test_an_exposure_stopped_by_somebody_else_is_noticed(on: Callable[..., None], world: FakeAlpaca) -> None:
    async def trial(observatory: Observatory) -> None:
        exposure = await observatory.detector.expose(CaptureSpec("long", "dark", 200.0))
        await asyncio.sleep(0.3)
        world.exposing = False
        with pytest.raises(DeviceRefused, match="no exposure goes on"):
            await exposure.integrated()

    on(trial)


def test_watchdogs_end_what_never_ends(
    on: Callable[..., None], world: FakeAlpaca, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alpaca_camera, "GRACE_S", 0.2)
    monkeypatch.setattr(alpaca, "ANSWER_S", 0.3)

    async def trial(observatory: Observatory) -> None:
        exposure = await observatory.detector.expose(CaptureSpec("long", "dark", 2.0))
        world.end = time.time() + 60
        with pytest.raises(DeviceTimeout, match="does not end"):
            await exposure.integrated()
        world.hang = "covercalibrator/0 calibratorstate"
        with pytest.raises(DeviceTimeout, match="no answer within"):
            await observatory.lights["Quartz"].read()

    on(trial)


@pytest.mark.parametrize("truncate", [1, 700, 900])
def test_a_truncated_image_is_no_frame(on: Callable[..., None], world: FakeAlpaca, truncate: int) -> None:
    world.truncate = truncate

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match="truncated"):
            await take(observatory, "dark", 0.2)

    on(trial)


def image(*numbers: int, data: bytes = b"") -> bytes:
    return struct.pack("<11i", *numbers) + data


def test_image_bytes_are_read_as_the_standard_says() -> None:
    ramp = np.arange(6, dtype="<f4").reshape(2, 3)
    single = alpaca.image_of_bytes(image(1, 0, 1, 1, 44, 3, 4, 2, 2, 3, 0, data=ramp.tobytes()), "x")
    assert single.dtype == np.float32 and (single == ramp.T).all()
    colour = np.arange(12, dtype="<i4").reshape(2, 3, 2)
    planes = alpaca.image_of_bytes(image(1, 0, 1, 1, 44, 2, 2, 3, 2, 3, 2, data=colour.tobytes()), "x")
    assert planes.shape == (2, 3, 2) and planes.dtype == np.uint16 and planes[1, 2, 0] == colour[0, 2, 1]
    signed = alpaca.image_of_bytes(image(1, 0, 1, 1, 44, 2, 2, 2, 1, 2, 0, data=struct.pack("<2i", -1, 5)), "x")
    assert signed.dtype == np.int32 and signed[0, 0] == -1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (image(1, 0x40B, 1, 1, 44, 0, 0, 0, 0, 0, 0, data=b"no image yet"), "0x40B: no image yet"),
        (image(2, 0, 1, 1, 44, 2, 2, 2, 1, 1, 0, data=b"1234"), "version 2"),
        (image(1, 0, 1, 1, 44, 2, 77, 2, 1, 1, 0, data=b"1234"), "type 77"),
        (image(1, 0, 1, 1, 44, 2, 2, 2, -1, 1, 0, data=b"1234"), "is not understood"),
        (b"short", "truncated"),
    ],
)
def test_image_bytes_that_are_none(content: bytes, words: str) -> None:
    with pytest.raises(DeviceRefused, match=words):
        alpaca.image_of_bytes(content, "image of camera/0")


def test_a_panel_that_does_not_obey_is_noticed(
    on: Callable[..., None], world: FakeAlpaca, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calibrant.acquire.drivers.alpaca.SETTLE_S", 0.3)

    async def trial(observatory: Observatory) -> None:
        panel = observatory.lights["Quartz"]
        with pytest.raises(DeviceRefused, match="0x401: Brightness is out of range"):
            await panel.set(True, intensity=999)
        await panel.set(True)
        assert world.panel == 255
        world.stuck_on = True
        with pytest.raises(DeviceTimeout, match="does not say that it is off"):
            await panel.set(False)
        assert await panel.read() in (LightState.ON, LightState.WARMING)
        world.stuck_on = False
        await panel.set(False)
        world.answers["covercalibrator/0 calibratoron"] = (0x500, "bulb missing")
        with pytest.raises(DeviceRefused, match="0x500: bulb missing"):
            await panel.set(True)
        world.answers["covercalibrator/0 calibratorstate"] = (0x407, "unplugged")
        with pytest.raises(DeviceLost, match="no connection to the device"):
            await panel.read()

    on(trial)


@pytest.mark.parametrize("state", ["closed", "open"])
def test_the_cover_is_moved_before_the_lamp_burns(on: Callable[..., None], world: FakeAlpaca, state: str) -> None:
    world.cover = 1 if state == "open" else 3

    async def trial(observatory: Observatory) -> None:
        await observatory.lights["Quartz"].set(True)
        verbs = [call.split()[1] for call in world.calls if "connected" not in call]
        assert verbs == ["opencover" if state == "open" else "closecover", "calibratoron"]
        await observatory.lights["Quartz"].set(False)

    on(trial, changed(cover=state))


@pytest.mark.parametrize(("cover", "words"), [(0, "has no cover"), (5, "has an error")])
def test_without_its_cover_the_lamp_does_not_burn(
    on: Callable[..., None], world: FakeAlpaca, cover: int, words: str
) -> None:
    world.cover, world.jammed = cover, True

    async def trial(observatory: Observatory) -> None:
        with pytest.raises(DeviceRefused, match=words):
            await observatory.lights["Quartz"].set(True)
        assert world.panel == 0

    on(trial, changed(cover="closed"))


def test_a_cover_that_is_given_up_is_halted(on: Callable[..., None], world: FakeAlpaca) -> None:
    world.cover, world.jammed = 2, True

    async def trial(observatory: Observatory) -> None:
        switching = asyncio.create_task(observatory.lights["Quartz"].set(True))
        await asyncio.sleep(0.2)
        switching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await switching
        assert world.calls[-1] == "covercalibrator/0 haltcover" and world.panel == 0

    on(trial, changed(cover="closed"))


def test_a_switch_is_a_lamp(on: Callable[..., None], world: FakeAlpaca) -> None:
    dimmed = LampEntry(flavour="arc", address={"device": "switch/0", "id": 2, "brightness": 0.25})
    inventory = load_inventory("alpaca")
    inventory = inventory.model_copy(update={"lamps": {**inventory.lamps, "Neon": dimmed}})

    async def trial(observatory: Observatory) -> None:
        for name in ("Argon", "Neon"):
            await observatory.lights[name].set(True)
            assert await observatory.lights[name].read() is LightState.ON
        assert world.outlets == [1.0, 0.0, 0.25, 0.0]
        for light in observatory.lights.values():
            await light.set(False)
            assert await light.read() is LightState.OFF
        assert world.outlets == [0.0] * 4

    on(trial, inventory)


@pytest.mark.parametrize("altaz", [True, False])
def test_the_mount_points_stays_and_parks(on: Callable[..., None], world: FakeAlpaca, altaz: bool) -> None:
    world.altaz = altaz

    async def trial(observatory: Observatory) -> None:
        mount = observatory.pointing
        assert mount is not None
        await mount.move("calibration")
        assert await mount.position() == "calibration" and not world.tracking
        assert world.direction == pytest.approx((90.0, 45.0), abs=1e-6)
        await mount.move("park")
        assert await mount.position() == "park"
        world.slew_s = 60.0
        moving = asyncio.create_task(mount.move("calibration"))
        await asyncio.sleep(0.2)
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving
        assert "telescope/0 abortslew" in world.calls and await mount.position() == ""

    on(trial)


def test_a_wheel_that_is_given_up_ends_its_motion_first(on: Callable[..., None], world: FakeAlpaca) -> None:
    world.turn_s = 0.5

    async def trial(observatory: Observatory) -> None:
        wheel = observatory.mask
        assert wheel is not None
        moving = asyncio.create_task(wheel.move("Filter 4"))
        await asyncio.sleep(0.1)
        assert await wheel.position() == ""
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving
        assert await wheel.position() == "Filter 4"

    on(trial)


def test_conditions_forbid_working(on: Callable[..., None], world: FakeAlpaca) -> None:
    inventory = load_inventory("alpaca").model_copy(update={"interlocks": {"weather": {"device": "safetymonitor/0"}}})
    world.absent.add("filterwheel/0")

    async def trial(observatory: Observatory) -> None:
        present, weather = observatory.interlocks
        assert [("filterwheel/0" in text, "the cable is out" in text) for text in await present.check()] == [
            (True, True)
        ]
        world.absent.clear()
        assert await present.check() == [] and await weather.check() == []
        world.safe = False
        assert await weather.check() == ["safetymonitor/0 says that it is not safe"]

    on(trial, inventory)


def test_every_call_has_the_numbers_that_alpaca_wants(on: Callable[..., None], world: FakeAlpaca) -> None:
    async def trial(observatory: Observatory) -> None:
        world.echo = 4_000_000
        with pytest.raises(DeviceRefused, match="answered another call"):
            await observatory.lights["Argon"].read()

    on(trial)


def test_nobody_at_the_address_is_a_loss() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DeviceLost, match="no Alpaca server answers"):
        asyncio.run(connect(load_inventory("alpaca"), url=f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("lamp", "words"),
    [
        ({"colour": "red"}, "Alpaca knows no colour"),
        ({"device": "panel"}, "expected it as camera/0"),
        ({"cover": "ajar"}, "expected closed or open"),
        ({"id": 3}, "only a switch"),
        ({"device": "switch/0"}, "needs its number"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(lamp: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        asyncio.run(connect(changed(**lamp)))


def test_real_devices_take_their_own_time(world: FakeAlpaca, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca.AlpacaDevice, "simulated", property(lambda self: False))
    with serve(world) as url, pytest.raises(ParameterError, match="real devices"):  # type: ignore[arg-type]
        asyncio.run(connect(load_inventory("alpaca"), speed=2.0, url=url))


def test_a_sequence_is_run(world: FakeAlpaca, tmp_path: Path) -> None:
    """The demo sequence and more, through the engine, with files as astropy reads them."""
    from astropy.io import fits

    sequence = {
        "biases": {"count": 2},
        "darks": {"exposure_time": 4},
        "lamps": {
            "Quartz": {
                "warmup": 1,
                "exposure_time": 20,
                "fibsel": {"positions": ["Filter 1", "Filter 2"], "time_per_position": 2},
            },
            "Argon": {"warmup": 1, "exposure_time": [2, 4]},
        },
    }
    with serve(world) as url:  # type: ignore[arg-type]
        inventory = load_inventory("alpaca").model_copy(update={"address": {"url": url}})
        plan = compile_plan(load_sequence(sequence), inventory)
        request = Request(plan, inventory, tmp_path / "run", speed=20.0, state=str(tmp_path / "state"))
        result = asyncio.run(asyncio.wait_for(take_run(request, watch=False), 60))
    assert (result.verdict, result.alarms) == ("complete", ())
    assert [frame.key for frame in result.frames] == [step.frame for step in plan.frames]
    assert world.panel == 0 and world.outlets == [0.0] * 4
    for frame, step in zip(result.frames, plan.frames, strict=True):
        with fits.open(tmp_path / "run" / frame.path) as parts:
            header = parts[0].header
            assert parts[0].data.shape == (SHAPE[1], SHAPE[0])
            assert header["EXPREQ"] == step.exposure_s and header["SIMULATE"]
            assert header["EXPTIME"] == pytest.approx(step.exposure_s, abs=0.2)
    flat = next(frame for frame in result.frames if frame.key == "quartz-01")
    with fits.open(tmp_path / "run" / flat.path) as parts:
        assert list(parts["MASK"].data["PLACE"]) == ["Filter 1", "Filter 2"]
        assert parts[0].data.mean() > 3000


@pytest.fixture
def simulators() -> Iterator[str]:
    """Address of the simulators of PyPI (alpaca-simulators), where they are installed."""
    program = os.environ.get("CALIBRANT_ALPACA_SIMULATORS") or shutil.which("alpaca-simulators")
    if not program:
        pytest.skip("alpaca-simulators is not installed (CALIBRANT_ALPACA_SIMULATORS=/path/to/it)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [program, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        # It would wait for the thread of the exposure that was aborted.
        process.kill()
        process.wait(20)


@pytest.mark.server
def test_bias_dark_and_a_lamp_of_the_simulators_of_pypi(simulators: str) -> None:
    """No light frame: for it the simulated camera asks a star catalogue in the internet."""

    async def trial() -> None:
        observatory = await connect(load_inventory("alpaca"), url=simulators)
        assert observatory.simulated
        await observatory.detector.prepare()
        bias, dark = await take(observatory, "bias", 0.0), await take(observatory, "dark", 1.0, binning=2)
        assert bias.data is not None and dark.data is not None
        assert bias.data.shape == (1024, 1024) and dark.data.shape == (512, 512)
        assert dark.exposure_s == pytest.approx(1.0, abs=0.05)
        # As it is shipped, the simulated panel is not present.
        assert await observatory.lights["Quartz"].read() is LightState.UNKNOWN
        argon = observatory.lights["Argon"]
        await argon.set(True)
        assert await argon.read() is LightState.ON
        await argon.set(False)
        assert await argon.read() is LightState.OFF
        exposure = await observatory.detector.expose(CaptureSpec("long", "dark", 60.0))
        await asyncio.sleep(0.3)
        await observatory.detector.abort()
        assert await observatory.detector.is_idle()
        with pytest.raises(DeviceRefused):
            await exposure.read()
        assert observatory.mask is not None and observatory.pointing is not None
        await observatory.mask.move("Filter 3")
        await observatory.pointing.move("calibration")
        assert await observatory.pointing.position() == "calibration"
        await observatory.close()

    asyncio.run(asyncio.wait_for(trial(), 100))
