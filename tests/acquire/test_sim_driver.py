"""The simulated observatory: physics, faults, state shared between processes, determinism."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import virtual_time
from driver_factories import sim_inventory

from calibrant.acquire.devices import (
    CaptureSpec,
    DeviceBusy,
    DeviceLost,
    DeviceRefused,
    DeviceTimeout,
    Frame,
    LightState,
)
from calibrant.acquire.drivers import connect
from calibrant.acquire.drivers.sim import SimObservatory
from calibrant.acquire.drivers.sim import connect as connect_sim
from calibrant.acquire.drivers.sim_world import Fault, SharedState
from calibrant.acquire.framecheck import FrameChecker
from calibrant.acquire.inventory import INVENTORIES, DetectorEntry, load_inventory
from calibrant.acquire.simsky import Camera, burning_seconds, trace_rows, warm_seconds
from calibrant.errors import ParameterError


async def simulated(**options: Any) -> SimObservatory:
    inventory = options.pop("inventory", None) or sim_inventory()
    return await connect_sim(inventory, **({"latency_s": 0.0} | options))


def spec(kind: str, seconds: float, lamp: str = "", key: str = "") -> CaptureSpec:
    return CaptureSpec(key or f"{kind}-{lamp}-{seconds:g}", kind, seconds, lamp)  # type: ignore[arg-type]


async def take(observatory: SimObservatory, kind: str, seconds: float, lamp: str = "", key: str = "") -> list[Frame]:
    exposure = await observatory.detector.expose(spec(kind, seconds, lamp, key))
    await exposure.integrated()
    return await exposure.read()


def pixels(frame: Frame) -> np.ndarray[Any, Any]:
    assert frame.data is not None
    return frame.data.astype(float) - Camera(frame.camera, (64, 96)).bias_level


# Physics.


def test_bias_level_and_noise_are_the_camera_s() -> None:
    async def trial() -> None:
        for frame in await take(await simulated(), "bias", 0.0):
            image = pixels(frame)
            camera = Camera(frame.camera, (64, 96))
            sigma = camera.read_noise / camera.gain
            assert abs(image.mean()) < 5 * sigma / np.sqrt(image.size)
            assert image.std() == pytest.approx(np.hypot(sigma, np.sqrt(1 / 12)), rel=0.05)

    virtual_time.run(trial())


def test_the_dark_current_grows_with_time_and_is_dark_where_the_shutter_is_tight() -> None:
    async def trial() -> None:
        observatory = await simulated()
        await observatory.lights["Quartz"].set(True)
        await asyncio.sleep(300)
        image = pixels((await take(observatory, "dark", 900.0))[0])
        assert np.median(image) == pytest.approx(900 * 0.002 / 2.0, abs=0.6)
        leaky = sim_inventory(detector=DetectorEntry(cameras=["r1"], readout_s=55.0, light_tight=False))
        observatory = await simulated(inventory=leaky)
        await observatory.lights["Quartz"].set(True)
        await asyncio.sleep(300)
        assert pixels((await take(observatory, "dark", 900.0))[0]).mean() > 20

    virtual_time.run(trial())


@pytest.mark.parametrize(("lamp", "camera", "line"), [("Argon", "r1", 6965.4), ("Neon", "r1", 7032.4)])
def test_arc_lines_stand_at_their_wavelengths(lamp: str, camera: str, line: float) -> None:
    async def trial() -> None:
        observatory = await simulated(shape=(64, 1024))
        await observatory.lights[lamp].set(True)
        await asyncio.sleep(300)
        frame = next(f for f in await take(observatory, "arc", 60.0, lamp) if f.camera == camera)
        assert frame.data is not None
        spectrum = frame.data[2].astype(float)
        wavelengths = np.linspace(5750.0, 7570.0, 1024)
        near = np.abs(wavelengths - line) < 20
        assert wavelengths[near][spectrum[near].argmax()] == pytest.approx(line, abs=2.0)
        assert spectrum[near].max() > 5 * np.median(spectrum[~near] - 900)

    virtual_time.run(trial())


def test_the_signal_follows_lamp_time_and_warm_up() -> None:
    async def trial() -> None:
        observatory = await simulated()

        async def level(seconds: float, key: str) -> float:
            return float(pixels((await take(observatory, "flat", seconds, key=key))[1]).mean())

        assert abs(await level(30.0, "off")) < 0.5
        quartz = observatory.lights["Quartz"]
        await quartz.set(True)
        cold = await level(30.0, "cold")
        assert await quartz.read() is LightState.WARMING
        await asyncio.sleep(600)
        assert await quartz.read() is LightState.ON
        warm, twice = await level(30.0, "warm"), await level(60.0, "twice")
        assert cold / warm == pytest.approx(warm_seconds(0, 30, 120) / 30, rel=0.03)
        assert twice / warm == pytest.approx(2.0, rel=0.01)
        await quartz.set(True, intensity=0.25)
        assert await level(60.0, "dim") / twice == pytest.approx(0.25, rel=0.02)
        await quartz.set(False)
        assert abs(await level(30.0, "off again")) < 0.5

    virtual_time.run(trial())


def test_a_lamp_that_burns_for_half_of_the_exposure_gives_half() -> None:
    history = [(100.0, 1.0), (110.0, 0.0), (120.0, 0.5)]
    assert burning_seconds(history, 105.0, 130.0, 0.0) == pytest.approx(5 + 5)
    assert burning_seconds(history, 0.0, 99.0, 0.0) == 0
    assert burning_seconds(history, 100.0, 110.0, 60.0, speed=10.0) == pytest.approx(warm_seconds(0, 100, 60))
    assert burning_seconds([(0.0, 1.0), (50.0, 0.5)], 50.0, 60.0, 40.0) == pytest.approx(0.5 * warm_seconds(50, 60, 40))


def test_only_the_fibres_at_which_the_mask_stood_are_lit() -> None:
    async def trial() -> None:
        observatory = await simulated()
        mask, quartz = observatory.mask, observatory.lights["Quartz"]
        assert mask is not None
        await quartz.set(True)
        await asyncio.sleep(600)
        await mask.move("P1-1")
        exposure = await observatory.detector.expose(spec("flat", 200.0))
        await asyncio.sleep(50)
        await mask.move("P1-3")
        await exposure.integrated()
        image = pixels((await exposure.read())[1])
        places = sorted(mask.places, key=lambda place: mask.places[place])
        science, standards = trace_rows((64, 96), places)
        brightness = {place: image[round(row)].mean() for place, row in standards.items()}
        assert brightness["P1-1"] / brightness["P1-3"] == pytest.approx(50 / 110, rel=0.1)
        assert abs(brightness["P1-2"]) < 2 and abs(brightness["P1-12"]) < 2
        assert image[round(science[0])].mean() > brightness["P1-3"]

    virtual_time.run(trial())


def test_the_same_seed_gives_the_same_frames_and_another_does_not() -> None:
    async def night(seed: int) -> tuple[list[Frame], list[str]]:
        observatory = await simulated(seed=seed, latency_s=0.03)
        frames = await take(observatory, "bias", 0.0)
        await observatory.lights["Neon"].set(True)
        await asyncio.sleep(120)
        frames += await take(observatory, "arc", 30.0, "Neon")
        frames += await take(observatory, "arc", 30.0, "Neon")
        return frames, [str(entry) for entry in observatory.world.trace]

    one, trace = virtual_time.run(night(1))
    again, same = virtual_time.run(night(1))
    other, _ = virtual_time.run(night(2))
    assert trace == same
    assert all(np.array_equal(a.data, b.data) for a, b in zip(one, again, strict=True))
    assert not any(np.array_equal(a.data, b.data) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[3].data, one[6].data), "the same frame taken twice has other noise"


# Time.


def test_exposures_readouts_and_moves_take_their_nominal_time() -> None:
    async def trial() -> None:
        observatory = await simulated()
        world, loop = observatory.world, asyncio.get_running_loop()
        start = loop.time()
        frames = await take(observatory, "dark", 100.0)
        assert loop.time() - start == pytest.approx(155.0, abs=0.01)
        assert frames[0].exposure_s == 100.0 and frames[0].end - frames[0].begin == pytest.approx(100.0)
        assert observatory.mask is not None and observatory.pointing is not None
        await observatory.mask.move("P1-3")
        assert loop.time() - start == pytest.approx(195.0, abs=0.01)
        await observatory.pointing.move("calibration")
        assert world.elapsed_s() == pytest.approx(215.0, abs=0.01)

    virtual_time.run(trial())


def test_the_next_exposure_waits_for_the_readout_only() -> None:
    async def trial() -> None:
        observatory = await simulated()
        detector, loop = observatory.detector, asyncio.get_running_loop()
        first = await detector.expose(spec("dark", 10.0, key="a"))
        with pytest.raises(DeviceBusy, match="exposing a"):
            await detector.expose(spec("dark", 10.0, key="b"))
        await first.integrated()
        await asyncio.sleep(20)
        second = await detector.expose(spec("dark", 10.0, key="b"))
        assert loop.time() == pytest.approx(65.0, abs=0.01)
        # The frame of the first waits where it was read to, while the second integrates.
        assert (await first.read())[0].exposure_s == 10.0
        with pytest.raises(DeviceRefused, match="already"):
            await first.read()
        await second.integrated()
        await second.read()

    virtual_time.run(trial())


def test_cancelling_a_readout_does_not_stop_the_exposure_after_it() -> None:
    async def trial() -> None:
        detector = (await simulated()).detector
        first = await detector.expose(spec("dark", 10.0, key="a"))
        await first.integrated()
        late = asyncio.create_task(first.read())
        second = await detector.expose(spec("dark", 10.0, key="b"))
        late.cancel()
        await asyncio.sleep(0)
        await second.integrated()
        assert len(await second.read()) == 3

    virtual_time.run(trial())


# State outside of this process.


def test_lamps_are_shared_with_other_processes_and_burn_on_without_us(tmp_path: Path) -> None:
    state = tmp_path / "lamps.json"
    code = (
        "import asyncio, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from driver_factories import sim_inventory\n"
        "from calibrant.acquire.drivers import connect\n"
        "async def leave_on():\n"
        "    observatory = await connect(sim_inventory(), state_path=sys.argv[1])\n"
        "    await observatory.lights['Argon'].set(True)\n"
        "asyncio.run(leave_on())\n"
    )
    subprocess.run([sys.executable, "-c", code, str(state), str(Path(__file__).parent)], check=True)

    async def trial() -> None:
        observatory = await simulated(state_path=state)
        assert await observatory.lights["Argon"].read() is LightState.WARMING
        assert await observatory.lights["Neon"].read() is LightState.OFF
        other = SharedState(state)
        other.switch("Argon", 0.0)
        assert await observatory.lights["Argon"].read() is LightState.OFF
        assert [level for _, level in json.loads(state.read_text())["lamps"]["Argon"]] == [1.0, 0.0]
        other.set_interlock("dome", "The dome is open.")
        assert [await interlock.check() for interlock in observatory.interlocks] == [["The dome is open."], [], []]
        state.write_text("{")
        with pytest.raises(DeviceLost, match="lamps"):
            await observatory.lights["Argon"].read()

    asyncio.run(trial())


def test_a_hardware_lease_ends_the_light_by_itself() -> None:
    async def trial() -> None:
        observatory = await simulated(hardware_lease=True)
        light = observatory.lights["Argon"]
        await light.set(True, lease_s=100.0)
        await asyncio.sleep(99)
        assert await light.read() is not LightState.OFF
        await light.set(True, lease_s=100.0)
        await asyncio.sleep(99)
        assert await light.read() is not LightState.OFF, "a new lease replaces the old one"
        await asyncio.sleep(2)
        assert await light.read() is LightState.OFF

    virtual_time.run(trial())


# Faults.


async def fails(observatory: SimObservatory, error: type[Exception], device: str, call: str) -> float:
    """Nominal seconds until a call failed as it should."""
    light = observatory.lights["Argon"]
    start = observatory.world.elapsed_s()
    mask = observatory.mask
    assert mask is not None
    calls = {
        "on": lambda: light.set(True),
        "off": lambda: light.set(False),
        "read": light.read,
        "expose": lambda: take(observatory, "dark", 10.0),
        "move": lambda: mask.move("P1-1"),
    }
    with pytest.raises(error, match=device):
        await calls[call]()
    return observatory.world.elapsed_s() - start


@pytest.mark.parametrize(
    ("device", "kind", "call", "error", "within_s"),
    [
        ("Argon", "refuse", "on", DeviceRefused, 1),
        ("Argon", "hang", "off", DeviceTimeout, 31),
        ("Argon", "lost", "read", DeviceLost, 1),
        ("server", "server_dead", "read", DeviceLost, 1),
        ("detector", "refuse", "expose", DeviceRefused, 1),
        ("detector", "hang", "expose", DeviceTimeout, 96),
        ("detector", "lost", "expose", DeviceLost, 1),
        ("mask", "hang", "move", DeviceTimeout, 71),
        ("mask", "slow_move", "move", DeviceTimeout, 71),
        ("mask", "refuse", "move", DeviceRefused, 1),
    ],
)
def test_faults_of_calls(device: str, kind: str, call: str, error: type[Exception], within_s: float) -> None:
    async def trial() -> None:
        observatory = await simulated(faults={device: kind})
        named = {"server": "Argon"}.get(device, device)
        assert await fails(observatory, error, named, call) <= within_s
        if error is not DeviceLost:
            # Once only; after a hang the engine aborts.
            await observatory.detector.abort()
            assert await observatory.detector.is_idle()
            assert observatory.mask is not None
            await observatory.mask.move("P1-1")
            await observatory.lights["Argon"].set(False)

    virtual_time.run(trial())


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("truncated", "were expected"),
        ("saturate", "all pixels are 65535"),
        ("short", "too short"),
        ("repeat", "stuck"),
        ("lamp_dies", "Is it on?"),
    ],
)
def test_faults_of_frames_are_found_by_the_frame_check(kind: str, sentence: str) -> None:
    async def trial() -> None:
        device = "Quartz" if kind == "lamp_dies" else "detector"
        observatory = await simulated(faults={device: {"kind": kind, "after": 2}})
        checker = FrameChecker(shape=tuple(observatory.detector.describe()["shape"]))
        await observatory.lights["Quartz"].set(True)
        await asyncio.sleep(300)
        requests = [spec("bias", 0.0), spec("flat", 30.0, "Quartz", "one"), spec("flat", 30.0, "Quartz", "two")]
        for number, request in enumerate(requests):
            exposure = await observatory.detector.expose(request)
            await exposure.integrated()
            problems = [problem for frame in await exposure.read() for problem in checker.check(frame, request)]
            assert bool(problems) == (number == 2), problems
        assert len(problems) == 3 and all(sentence in problem for problem in problems), problems
        if kind == "lamp_dies":
            assert await observatory.lights["Quartz"].read() is LightState.ON, "the outlet does not know"

    virtual_time.run(trial())


def test_stuck_and_slow_off_show_in_the_reading() -> None:
    async def trial() -> None:
        observatory = await simulated(faults={"Argon": [{"kind": "stuck", "call": "off"}], "Neon": "slow_off"})
        argon, neon = observatory.lights["Argon"], observatory.lights["Neon"]
        await argon.set(True)
        await argon.set(False)
        assert await argon.read() is not LightState.OFF
        await argon.set(False)
        assert await argon.read() is LightState.OFF
        await neon.set(True)
        switching = asyncio.create_task(neon.set(False))
        await asyncio.sleep(5)
        switching.cancel()
        await asyncio.wait({switching})
        assert await neon.read() is not LightState.OFF, "cancelled before the relay fell"

    virtual_time.run(trial())


def test_the_server_dies_at_a_time_under_everybody_s_hands() -> None:
    async def trial() -> None:
        observatory = await simulated(faults={"server": {"kind": "server_dead", "at_s": 50.0}}, speed=10.0)
        exposure = await observatory.detector.expose(spec("dark", 900.0))
        with pytest.raises(DeviceLost, match="dead"):
            await exposure.integrated()
        assert observatory.world.elapsed_s() == pytest.approx(50.0, abs=0.5)
        with pytest.raises(DeviceLost):
            await observatory.lights["Argon"].read()

    virtual_time.run(trial())


def test_random_faults_follow_the_seed() -> None:
    async def refusals(seed: int) -> list[bool]:
        fault = Fault("refuse", probability=0.3, times=0)
        light = (await simulated(seed=seed, faults={"Argon": fault})).lights["Argon"]
        results = []
        for _ in range(50):
            try:
                await light.set(True)
                results.append(False)
            except DeviceRefused:
                results.append(True)
        return results

    one = virtual_time.run(refusals(1))
    assert one == virtual_time.run(refusals(1)) != virtual_time.run(refusals(2))
    assert 5 < sum(one) < 28


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"Argn": "hang"}, "Argon"),
        ({"Argon": "explode"}, "lamp_dies"),
        ({"Argon": {"kind": "hang", "when": 3}}, "when"),
    ],
)
def test_wrong_faults_are_refused(faults: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        asyncio.run(simulated(faults=faults))


# Connecting.


def test_every_shipped_inventory_can_be_simulated() -> None:
    async def trial(name: str) -> None:
        observatory = await connect(load_inventory(name), simulate=True, speed=1000.0)
        assert observatory.simulated and observatory.driver == "sim"
        frames = await take(observatory, "bias", 0.0)  # type: ignore[arg-type]
        assert len(frames) == len(observatory.detector.cameras)
        await observatory.close()

    for name in INVENTORIES:
        asyncio.run(trial(name))


def test_connect_says_what_is_wrong() -> None:
    with pytest.raises(ParameterError, match="no driver 'ascom'; there are sim, indi"):
        asyncio.run(connect(sim_inventory(driver="ascom")))
    with pytest.raises(ParameterError, match="speed"):
        asyncio.run(connect(sim_inventory(), speed=0.0))
