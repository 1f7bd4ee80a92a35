"""What every driver must do, tried on every driver of `driver_factories.CASES`."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from driver_factories import CASES, Case, Rig

from calibrant.acquire.devices import (
    Actuator,
    CaptureSpec,
    Detector,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    Frame,
    Interlock,
    Light,
    LightState,
)
from calibrant.acquire.drivers import DRIVERS
from calibrant.acquire.framecheck import levels
from calibrant.errors import DeviceError

LIT = (LightState.ON, LightState.WARMING)
Try = Callable[[Callable[[Rig], Awaitable[None]]], None]


@pytest.fixture(params=[pytest.param(case, id=case.name, marks=case.marks) for case in CASES])
def on_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Try:
    """on_rig(trial) runs an async trial on this driver's devices; the lights must be off at its end."""
    case: Case = request.param

    def run(trial: Callable[[Rig], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with case.factory(tmp_path, request) as rig:
                await trial(rig)

        asyncio.run(asyncio.wait_for(whole(), 120))

    return run


def first_light(rig: Rig) -> Light:
    if not rig.observatory.lights:
        pytest.skip("this driver has no light")
    return next(iter(rig.observatory.lights.values()))


async def take(rig: Rig, kind: str, seconds: float, name: str = "") -> list[Frame]:
    exposure = await rig.observatory.detector.expose(CaptureSpec(name or f"{kind}-1", kind, seconds))  # type: ignore[arg-type]
    await exposure.integrated()
    return await exposure.read()


def quick(rig: Rig) -> tuple[str, float]:
    """The shortest frame that this detector takes."""
    return ("bias", 0.0) if "bias" in rig.kinds else (rig.kinds[0], rig.short_s)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


def test_every_driver_is_tried() -> None:
    assert {case.name.split("-")[0] for case in CASES} <= set(DRIVERS)


@pytest.mark.parametrize("name", DRIVERS)
def test_every_driver_is_one_file_that_connects(name: str) -> None:
    source = importlib.util.find_spec("calibrant.acquire.drivers").submodule_search_locations[0]  # type: ignore
    tree = ast.parse((Path(source) / f"{DRIVERS[name].rpartition('.')[2]}.py").read_text())
    connects = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name == "connect"]
    assert connects and {"speed"} <= {argument.arg for argument in connects[0].args.kwonlyargs}
    assert ast.get_docstring(tree)


def test_devices_are_what_the_engine_asks_for(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        observatory = rig.observatory
        assert all(isinstance(light, Light) for light in observatory.lights.values())
        assert isinstance(observatory.detector, Detector) and observatory.detector.cameras
        assert all(isinstance(a, Actuator) for a in (observatory.mask, observatory.pointing) if a is not None)
        assert observatory.driver in DRIVERS and observatory.name
        for interlock in observatory.interlocks:
            assert isinstance(interlock, Interlock) and await interlock.check() == []

    on_rig(trial)


def test_status_and_description_are_plain_and_hold_no_secret(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        observatory = rig.observatory
        devices = [*observatory.lights.values(), observatory.detector, observatory.mask, observatory.pointing]
        for device in (device for device in devices if device is not None):
            text = json.dumps([await device.status(), device.describe()])
            assert not [secret for secret in (*rig.secrets, "password", "token") if secret.lower() in text.lower()]
            assert device.describe().get("driver"), "a description names its driver"

    on_rig(trial)


def test_a_light_is_switched_and_its_state_comes_from_the_device(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        light = first_light(rig)
        try:
            await light.set(True)
            assert await light.read() in LIT
            await light.set(True)
            assert await light.read() in LIT, "switching on twice is switching on"
        finally:
            await light.set(False)
        assert await light.read() is LightState.OFF
        await light.set(False)
        assert await light.read() is LightState.OFF

    on_rig(trial)


@pytest.mark.parametrize("kind", ["bias", "dark", "flat", "arc", "object"])
def test_frames_come_whole(on_rig: Try, kind: str) -> None:
    async def trial(rig: Rig) -> None:
        if kind not in rig.kinds:
            pytest.skip(f"this detector takes no {kind}")
        seconds = 0.0 if kind == "bias" else rig.short_s
        await rig.observatory.detector.prepare()
        before = time.time()
        frames = await take(rig, kind, seconds)
        assert {frame.camera for frame in frames} == set(rig.observatory.detector.cameras)
        for frame in frames:
            assert before - 1 <= frame.begin <= frame.end <= time.time() + 1
            assert frame.exposure_s >= 0.98 * seconds - 0.1
            assert frame.path or (frame.data is not None and np.all(np.isfinite(frame.data)))
        assert await rig.observatory.detector.is_idle()

    on_rig(trial)


def test_a_lit_frame_is_brighter(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        if not rig.lights_matter:
            pytest.skip("this detector does not see the lights")
        dark = await take(rig, "dark", rig.short_s)
        light = first_light(rig)
        await light.set(True)
        try:
            lit = await take(rig, "flat", rig.short_s)
        finally:
            await light.set(False)
        for one, other in zip(dark, lit, strict=True):
            assert levels(other)["p999"] > levels(one)["p999"] + 10

    on_rig(trial)


def test_two_integrations_do_not_overlap(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        detector = rig.observatory.detector
        await detector.expose(CaptureSpec("long", "dark", rig.long_s))
        with pytest.raises((DeviceBusy, DeviceRefused)):
            await detector.expose(CaptureSpec("second", "dark", rig.short_s))
        await detector.abort()
        assert await detector.is_idle()

    on_rig(trial)


def test_a_readout_under_way_is_waited_for(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        detector = rig.observatory.detector
        first = await detector.expose(CaptureSpec("one", "dark", rig.short_s))
        await first.integrated()
        reading = asyncio.create_task(first.read())
        second = await detector.expose(CaptureSpec("two", "dark", rig.short_s))
        one = await reading
        await second.integrated()
        two = await second.read()
        assert one[0].end <= two[0].begin + 0.1

    on_rig(trial)


def test_abort_leaves_the_detector_idle_and_ready(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        detector = rig.observatory.detector
        exposure = await detector.expose(CaptureSpec("long", "dark", rig.long_s))
        waiting = asyncio.create_task(exposure.integrated())
        await asyncio.sleep(0.05)
        assert not await detector.is_idle()
        await detector.abort()
        assert await detector.is_idle()
        with pytest.raises(DeviceError):
            await asyncio.wait_for(waiting, 10)
        await detector.abort()
        assert len(await take(rig, *quick(rig))) == len(detector.cameras)

    on_rig(trial)


@pytest.mark.parametrize("times", [1, 3])
def test_cancelling_an_exposure_stops_the_hardware_first(on_rig: Try, times: int) -> None:
    async def trial(rig: Rig) -> None:
        detector = rig.observatory.detector

        async def expose() -> None:
            exposure = await detector.expose(CaptureSpec("long", "dark", rig.long_s))
            await exposure.integrated()

        task = asyncio.create_task(expose())
        await asyncio.sleep(0.3)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await detector.is_idle()
        await detector.prepare()
        assert await take(rig, *quick(rig))

    on_rig(trial)


def test_the_mask_goes_where_it_is_sent(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        mask = rig.observatory.mask
        if mask is None or rig.places is None:
            pytest.skip("this driver has no mask")
        for place in (*rig.places, rig.places[1]):
            await mask.move(place)
            assert await mask.position() == place
        with pytest.raises(DeviceRefused, match="nowhere"):
            await mask.move("nowhere")
        assert await mask.position() == rig.places[1]

    on_rig(trial)


@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_a_motion_that_is_given_up_stops(on_rig: Try, how: str) -> None:
    async def trial(rig: Rig) -> None:
        mask = rig.observatory.mask
        if mask is None or rig.places is None or rig.slow_place is None:
            pytest.skip("this driver has no mask that is slow enough")
        await mask.move(rig.places[0])
        task = asyncio.create_task(mask.move(rig.slow_place))
        await asyncio.sleep(0.01)
        if how == "cancel":
            task.cancel()
        else:
            await mask.stop()
        with pytest.raises((asyncio.CancelledError, DeviceError)):
            await task
        assert await mask.position() != rig.slow_place
        await mask.move(rig.places[1])
        assert await mask.position() == rig.places[1]

    on_rig(trial)


def test_a_lost_connection_is_noticed_in_bounded_time(on_rig: Try) -> None:
    async def trial(rig: Rig) -> None:
        if rig.break_connection is None:
            pytest.skip("this driver holds no connection")
        detector = rig.observatory.detector
        exposure = await detector.expose(CaptureSpec("long", "dark", rig.long_s))
        waiting = asyncio.create_task(exposure.integrated())
        await asyncio.sleep(0.05)
        await rig.break_connection()
        with pytest.raises(DeviceLost):
            await asyncio.wait_for(waiting, rig.lost_within_s)
        lights = [] if rig.lights_are_elsewhere else list(rig.observatory.lights.values())
        calls = [detector.abort, *(light.read for light in lights)]
        for call in calls:
            with pytest.raises(DeviceLost):
                await asyncio.wait_for(call(), rig.lost_within_s)

    on_rig(trial)
