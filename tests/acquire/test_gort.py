"""The seed page's calls, as they are written there, on the simulated observatory and on INDI's simulators."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from calibrant.acquire import journal
from calibrant.acquire.gort import CalibrationFailed, Gort
from calibrant.acquire.inventory import load_inventory
from calibrant.errors import DeviceError, FormatError, ParameterError

SPEED = 700.0
"""300 s take 0.4 s: a busy machine that is late by 0.1 s does not spoil a frame."""


@pytest.fixture(autouse=True)
def _locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALIBRANT_STATE", str(tmp_path / "state"))


def on(tmp_path: Path, trial: Callable[[Gort], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Try it on LVM, simulated."""

    async def whole() -> None:
        async with Gort(inventory="lvm", simulate=True, speed=SPEED, directory=tmp_path / "g", **options) as g:
            await trial(g)

    asyncio.run(asyncio.wait_for(whole(), 60))


def simulated_lamps(tmp_path: Path) -> list[str]:
    """Those that burn, as the simulation's file says."""
    path = tmp_path / "g" / "simulated.json"
    lights = json.loads(path.read_text())["lamps"] if path.exists() else {}
    return [name for name, history in lights.items() if history and history[-1][1] > 0]


def test_the_page_by_hand(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        await g.telescopes.goto_named_position("calibration")
        assert g.observatory.pointing is not None and await g.observatory.pointing.position() == "calibration"
        await g.nps.calib.on("argon")
        assert (await g.nps.calib.status("ARGON"))["state"] == "warming"
        await asyncio.sleep(120 / SPEED)
        exposure = await g.specs.expose(60, flavour="arc")
        assert exposure.done() and not exposure.error and len(exposure.get_files()) == 9  # type: ignore[union-attr]
        header = fits.getheader(exposure.files[0])  # type: ignore[union-attr]
        assert (header["OBJECT"], header["IMAGETYP"], header["EXPREQ"], header["SIMULATE"]) == (
            "Argon",
            "arc",
            60,
            True,
        )
        assert header["ARGON"] == "ON" and header["NEON"] == "OFF"
        await g.nps.calib.off("Argon")
        assert (await g.nps.calib.status("argon"))["state"] == "off"

    on(tmp_path, trial)


@pytest.mark.parametrize(
    ("sequence", "frames"),
    [
        ("demo", 2),
        ({"biases": {"count": 1}, "darks": {"exposure_time": [90, 900]},
          "lamps": {"Quartz": {"warmup": 20, "exposure_time": 120, "flavour": "flat"}}}, 4),
        ({"lamps": {"LDLS": {"warmup": 300, "exposure_time": 270, "fibsel": {
            "initial_position": "P1-2", "positions": "P1-", "time_per_position": 20}}}}, 1),
        ({"lamps": {"LDLS": {"warmup": 300, "exposure_time": [270, 300], "fibsel": True}}}, 2),
        ({"lamps": {"LDLS": {"exposure_time": 10, "fibsel": False}}}, 1),
        ({"lamps": {"LDLS": {"exposure_time": 60, "fibsel": {"positions": ["P1-3", "P2-1"]}}}}, 1),
    ],
)  # fmt: skip
def test_calibrate_takes_what_the_page_says(tmp_path: Path, sequence: Any, frames: int) -> None:
    async def trial(g: Gort) -> None:
        result = await g.specs.calibrate(sequence=sequence)
        assert result.verdict == "complete"
        assert len({frame.key for frame in result.frames}) == frames and len(result.frames) == 9 * frames
        for frame in result.frames:
            header = fits.getheader(Path(result.directory) / frame.path)
            assert header["EXPREQ"] == frame.exposure_s and header["IMAGETYP"] == frame.kind
        assert journal.read(result.directory)[-1]["lights_off"]

    on(tmp_path, trial)
    assert simulated_lamps(tmp_path) == []


def test_calibrate_normal_points_parks_and_switches_off_what_was_on_by_hand(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        await g.nps.calib.on("neon")
        result = await g.specs.calibrate(sequence="normal", slew_telescopes=True, park_after=True)
        steps = [record["step"] for record in journal.read(result.directory) if record["kind"] == "step"]
        assert "point" in steps and "park" in steps
        assert len({frame.key for frame in result.frames}) == 12
        assert g.nps.calib.burning == {}
        again = await g.specs.calibrate(sequence="demo", slew_telescopes=False)
        assert again.directory != result.directory

    on(tmp_path, trial)


def test_expose_in_all_its_forms(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        bias = await g.specs.expose()
        assert bias.flavour == "bias" and bias.exposure_time == 0  # type: ignore[union-attr]
        three = await g.specs.expose(flavour="bias", count=3)
        assert isinstance(three, list) and [one.key for one in three] == ["bias-02", "bias-03", "bias-04"]
        dark = await g.specs.expose(900, flavour="dark", header='{"TILE_ID": 17}', async_readout=True, object="night")
        assert dark.reading and not dark.done()  # type: ignore[union-attr]
        sky = await g.specs.expose(30)
        assert dark.done() and sky.flavour == "object"  # type: ignore[union-attr]
        assert (await dark) is dark  # type: ignore[misc]
        header = fits.getheader(dark.files[0])  # type: ignore[union-attr]
        assert header["TILE_ID"] == 17 and header["OBJECT"] == "night"
        assert await g.specs.are_idle()
        names = {record["key"] for record in journal.read(tmp_path / "g") if record["kind"] == "frame"}
        assert names == {"bias-01", "bias-02", "bias-03", "bias-04", "dark-01", "object-01"}

    on(tmp_path, trial)


def test_a_frame_without_its_light_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def trial(g: Gort) -> None:
        await g.specs.expose()
        arc = await g.specs.expose(60, flavour="arc")
        assert arc.error and "no light" in arc.problems[0]  # type: ignore[union-attr]

    on(tmp_path, trial)
    assert "no light" in capsys.readouterr().err


def test_the_mask_by_hand(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        fibsel = g.telescopes.spec.fibsel
        assert len(fibsel.list_positions()) == 24
        await fibsel.move_to_position("P2-7")
        assert (await fibsel.status())["position"] == "P2-7"
        with pytest.raises(ParameterError, match="P2-7"):
            await fibsel.move_to_position("P2-77")

    on(tmp_path, trial)


def test_wrong_calls_are_our_errors_and_move_nothing(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        wrong: list[tuple[Coroutine[Any, Any, Any], type[Exception], str]] = [
            (g.telescopes.goto_named_position("calibraton"), ParameterError, "calibration"),
            (g.nps.calib.on("argn"), ParameterError, "Argon"),
            (g.specs.expose(10, flavour="arcs"), ParameterError, "arc"),
            (g.specs.expose(-1), ParameterError, "0 or more"),
            (g.specs.expose(flavour="arc"), ParameterError, "exposure_time"),
            (g.specs.expose(count=0), ParameterError, "count"),
            (g.specs.expose(1, header="{"), ParameterError, "JSON"),
            (g.specs.expose(1, specs=["sp1"]), ParameterError, "together"),
            (g.specs.calibrate("norml"), ParameterError, "normal"),
            (
                g.specs.calibrate({"lamps": {"Quarz": {"exposure_time": 1, "flavour": "flat"}}}),
                ParameterError,
                "Quartz",
            ),
            (g.specs.calibrate({"biases": {"count": -1}}), FormatError, "biases.count"),
        ]
        for call, error, words in wrong:
            with pytest.raises(error, match=words):
                await call
        assert not list((tmp_path / "g").glob("*.fits"))
        with pytest.raises(ParameterError, match="calib"):
            g.nps["sp1"]
        with pytest.raises(ParameterError, match="normal"):
            g.specs.get_calibration_sequence("nothing")

    on(tmp_path, trial)


def test_a_named_sequence_can_be_changed(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        sequence = g.specs.get_calibration_sequence("demo")
        sequence["biases"]["count"] = 2
        assert g.specs.get_calibration_sequence("demo")["biases"]["count"] == 1
        result = await g.specs.calibrate(sequence)
        assert len({frame.key for frame in result.frames if frame.kind == "bias"}) == 2

    on(tmp_path, trial)


def test_what_was_switched_on_goes_off_at_the_end_and_at_an_error(tmp_path: Path) -> None:
    async def leave(g: Gort) -> None:
        await g.nps.calib.on("Argon")
        await g.nps.calib.on("Neon")
        assert sorted(simulated_lamps(tmp_path)) == ["Argon", "Neon"]

    async def fail(g: Gort) -> None:
        await g.nps.calib.on("Argon")
        raise ValueError("mine")

    on(tmp_path, leave)
    assert simulated_lamps(tmp_path) == []
    with pytest.raises(ValueError, match="mine"):
        on(tmp_path, fail)
    assert simulated_lamps(tmp_path) == []


def test_cancelling_by_hand_stops_the_hardware(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        await g.nps.calib.on("Quartz")
        task = asyncio.create_task(g.specs.expose(100_000, flavour="flat"))  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        assert not await g.specs.are_idle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await g.specs.are_idle()
        assert not list((tmp_path / "g").glob("*.fits"))

    on(tmp_path, trial)
    assert simulated_lamps(tmp_path) == []


def test_cancelling_calibrate_leaves_all_dark(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        task = asyncio.create_task(g.specs.calibrate({"lamps": {"Quartz": {"exposure_time": 80_000, "warmup": 1}}}))
        while simulated_lamps(tmp_path) != ["Quartz"]:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert simulated_lamps(tmp_path) == []

    on(tmp_path, trial)


def test_a_sequence_that_fails_says_which_frames_are_missing(tmp_path: Path) -> None:
    async def trial(g: Gort) -> None:
        with pytest.raises(CalibrationFailed, match="quartz-01") as failure:
            await g.specs.calibrate("demo")
        assert failure.value.result.verdict == "incomplete"
        assert "resume" in str(failure.value)

    on(tmp_path, trial, faults={"Quartz": {"kind": "stuck", "call": "on"}})


def test_init_and_close_without_a_context(tmp_path: Path) -> None:
    async def trial() -> None:
        g = await Gort(inventory="lvm", simulate=True, speed=SPEED, directory=tmp_path / "g").init()
        assert await g.init() is g
        await g.nps.calib.all_off()
        await g.close()
        await g.close()
        with pytest.raises(ParameterError, match="init"):
            await g.nps.calib.on("Argon")

    asyncio.run(trial())


def test_a_program_that_is_killed_leaves_no_lamp_on(tmp_path: Path) -> None:
    program = f"""
import asyncio
from calibrant.acquire.gort import Gort
async def main():
    g = await Gort("lvm", simulate=True, speed=10, directory={str(tmp_path / "g")!r}).init()
    await g.nps.calib.on("Xenon")
    print("lit", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "lit\n"
    assert simulated_lamps(tmp_path) == ["Xenon"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while simulated_lamps(tmp_path) or not any(
        r.get("guard") and r["kind"] == "end" for r in journal.read(tmp_path / "g")
    ):
        assert time.monotonic() < deadline, "the guard did not act"
        time.sleep(0.05)


@pytest.mark.server
def test_the_same_calls_on_indi(tmp_path: Path, indi_servers: Any) -> None:
    server = indi_servers.get()
    lamp = next(iter(load_inventory("indi").lamps))

    async def trial() -> None:
        async with Gort(inventory="indi", directory=tmp_path / "g", port=server.port) as g:
            await g.telescopes.goto_named_position("calibration")
            await g.nps.calib.on(lamp.lower())
            flat = await g.specs.expose(0.2, flavour="flat")
            assert len(flat.get_files()) == 1  # type: ignore[union-attr]
            await g.nps.calib.all_off()
            sequence = {"biases": {"count": 1}, "lamps": {lamp: {"warmup": 0, "exposure_time": 0.2, "flavour": "flat"}}}
            result = await g.specs.calibrate(sequence=sequence, slew_telescopes=False)
            assert {frame.kind for frame in result.frames} == {"bias", "flat"}

    asyncio.run(asyncio.wait_for(trial(), 60))


def test_errors_are_of_the_family() -> None:
    assert issubclass(CalibrationFailed, DeviceError)
