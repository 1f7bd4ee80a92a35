"""Lights off: tried three times, read back, never interrupted; and an alarm that names what a person must do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from calibrant.acquire import journal, safety
from calibrant.acquire.clock import Clock, shielded
from calibrant.acquire.devices import DeviceLost, DeviceTimeout, LightState

from .engine import Bench, plan, virtual


@pytest.mark.parametrize("fault", ["refuse", "stuck", "hang"])
def test_a_lamp_that_does_not_go_off_at_once(tmp_path: Path, fault: str) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(faults={"Quartz": {"kind": fault, "call": "off", "after": 1, "times": 2}}))
    assert result.verdict == "complete"
    offs = [record for record in journal.read(tmp_path) if record["kind"] == "light" and record["asked"] is False]
    assert [record["tries"] for record in offs if record["light"] == "Quartz"] == [1, 3, 1]
    assert bench.lit() == []


@pytest.mark.parametrize("fault", ["refuse", "stuck"])
def test_a_lamp_that_never_goes_off(tmp_path: Path, fault: str) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(faults={"Quartz": {"kind": fault, "call": "off", "after": 1, "times": 0}}))
    assert (result.verdict, result.exit_code) == ("unsafe", 3)
    assert "A person must look and switch off by hand: Quartz." in result.alarms[-1]
    assert "state ON" in result.alarms[-1]
    assert bench.lit() == ["Quartz"]
    records = journal.read(tmp_path)
    assert records[-1]["verdict"] == "unsafe" and not records[-1]["lights_off"]
    # The others were not forgotten over it.
    assert not [call for call in bench.calls() if call == "Argon on"]


def test_server_death(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(faults={"server": {"kind": "server_dead", "at_s": 20}}))
    assert (result.verdict, result.exit_code) == ("unsafe", 3)
    assert "the simulated server is dead" in result.reason
    for lamp in bench.devices.lamps:
        assert f"{lamp} (state UNKNOWN" in result.alarms[-1]
    # Where the connection is known to be dead, a person hears it soon, and everything once.
    assert bench.world.elapsed_s() < 20 + 5
    assert len(set(result.alarms)) == len(result.alarms)


def test_lost_detector_leaves_no_lamp_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = virtual(bench.execute(faults={"detector": {"kind": "lost", "at_s": 16}}))
    assert result.verdict == "incomplete" and "connection is lost" in result.reason
    assert bench.lit() == []


@pytest.mark.parametrize(
    "fault",
    [{"detector": {"kind": "hang", "call": call, "after": 2}} for call in ("expose", "integrate", "readout", "abort")]
    + [
        {"detector": "short"},
        {"detector": "refuse"},
        {"detector": "truncated"},
        {"detector": "saturate"},
        {"mask": {"kind": "hang", "times": 0}},
        {"mask": {"kind": "slow_move", "times": 0}},
        {"mask": "refuse"},
        {"pointing": {"kind": "hang", "times": 0}},
        {"Quartz": "lamp_dies"},
        {"Quartz": {"kind": "stuck", "call": "on"}},
        {"Quartz": "lost"},
        {"dome": {"kind": "hang", "call": "*", "after": 3, "times": 0}},
    ],
    ids=str,
)
def test_fault_matrix(tmp_path: Path, fault: dict[str, Any]) -> None:
    """Whatever fails: no lamp burns, nothing moves or integrates, and the journal says why."""

    async def story() -> None:
        bench = Bench(tmp_path)
        result = await bench.execute(faults=fault)
        assert bench.lit() == []
        assert bench.leftovers() == []
        if result.verdict != "complete":
            assert result.reason
            assert all(frame.problem for frame in result.frames if not frame.ok)
        if "lost" not in fault.values():
            assert await bench.observatory.detector.is_idle()

    virtual(story())


def test_a_command_that_takes_effect_late_is_found_out(tmp_path: Path) -> None:
    """The lamp was asked to go on, hung, was verified off, and goes on after all."""

    async def story() -> None:
        bench = Bench(tmp_path)
        run = await bench.make()
        light = bench.observatory.lights["Quartz"]
        switch = light.set

        async def late(on: bool, **options: Any) -> None:
            if not on:
                return await switch(False)
            loop = asyncio.get_running_loop()
            loop.call_later(14, lambda: bench.world.state.switch("Quartz", 1.0, bench.world.utc()))
            await asyncio.sleep(1000)

        light.set = late
        result = await run.execute()
        assert result.verdict == "incomplete" and "no answer within 10 s" in result.reason
        await asyncio.sleep(100)
        assert bench.lit() == []

    virtual(story())


class Lamp:
    """A lamp that can be made to misbehave."""

    hardware_lease = False

    def __init__(self, name: str, **ways: Any) -> None:
        self.name, self.ways, self.on, self.calls = name, ways, True, 0

    async def set(self, on: bool, **options: Any) -> None:
        self.calls += 1
        await asyncio.sleep(self.ways.get("slow", 0.0))
        if self.ways.get("swallow"):
            # A driver that does not let itself be cancelled.
            for _ in range(100):
                try:
                    await asyncio.sleep(50)
                except asyncio.CancelledError:
                    continue
        self.on = on

    async def read(self) -> LightState:
        return LightState.ON if self.on else LightState.OFF


def test_cancellations_are_held_back() -> None:
    async def story() -> None:
        lamp = Lamp("L", slow=5.0)
        task = asyncio.create_task(safety.switch_off({"L": lamp}, Clock(), lambda kind, **fields: None))  # type: ignore[dict-item]
        for _ in range(3):
            await asyncio.sleep(1)
            task.cancel()
        unverified, held = await task
        assert unverified == [] and held == 3 and not lamp.on and lamp.calls == 1

    virtual(story())


def test_a_driver_that_cannot_be_cancelled_delays_nobody_for_ever() -> None:
    async def story() -> None:
        good, bad = Lamp("good"), Lamp("bad", swallow=True)
        began = asyncio.get_running_loop().time()
        lights: Any = {"good": good, "bad": bad}
        unverified, _ = await safety.switch_off(lights, Clock(), lambda kind, **fields: None)
        assert [item.light for item in unverified] == ["bad"]
        assert not good.on
        assert asyncio.get_running_loop().time() - began < 200

    virtual(story())


def test_watchdog() -> None:
    async def story() -> None:
        clock = Clock(speed=100, floor_s=5)
        with pytest.raises(DeviceTimeout, match="moving: no answer within 60 s"):
            await clock.within(asyncio.sleep(1000), 60, "moving")
        assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)

        async def lost() -> None:
            raise DeviceLost("gone")

        with pytest.raises(DeviceLost, match="gone"):
            await clock.within(lost(), 60, "moving")

    virtual(story())


def test_shielded_gives_the_error_of_its_work() -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def story() -> None:
        with pytest.raises(ValueError, match="no"):
            await shielded(fails())

    virtual(story())


def test_several_lamps_together_are_all_named(tmp_path: Path) -> None:
    sequence = {"version": 1, "groups": {"arcs": {"lamps": ["Argon", "Neon"], "exposure_time": 3, "flavour": "arc"}}}
    bench = Bench(tmp_path, plan(sequence))
    stuck = {"kind": "stuck", "call": "off", "after": 1, "times": 0}
    result = virtual(bench.execute(faults={"Argon": stuck, "Neon": stuck}))
    assert result.alarms[-1].endswith("switch off by hand: Argon, Neon.")
